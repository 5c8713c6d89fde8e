"""Users of the product API, in all their shapes."""

from __future__ import annotations

from typing import Any

import pytest

from domokit.sandbox import Sandbox

from .helpers import as_user, by_token, sign_in

pytestmark = pytest.mark.anyio
V2, V3, ID = "/api/content/v2/users", "/api/content/v3/users", "/api/identity/v1/users"


def attributes(user: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: each["values"][0] for each in user["attributes"]}


async def search(sb: Sandbox, **body: Any) -> dict[str, Any]:
    answer = await by_token(sb).post(f"{ID}/search", json={"limit": 200, "offset": 0} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_flat_shape(sb: Sandbox):
    me = (await by_token(sb).get(f"{V2}/me")).json()
    assert me["created"] < 10**11 < me["modified"]
    assert "roleId" not in me
    assert "role" not in me
    rows = (await by_token(sb).get(V2)).json()
    assert len(rows) == 13
    assert rows[0]["id"] == 0
    assert rows[0]["systemUser"] is True
    assert next(row for row in rows if row["id"] == sb.admin.id) == me | {"roleId": 1}
    one = (await by_token(sb).get(f"{V2}/{sb.admin.id}")).json()
    assert one == me | {"role": "Admin"}
    unknown = await by_token(sb).get(f"{V2}/5")
    assert (unknown.status_code, unknown.content) == (200, b"")


async def test_the_nested_shape(sb: Sandbox):
    me = (await by_token(sb).get(f"{V3}/me")).json()
    assert (me["role"], me["roleId"], me["detail"]) == ("Admin", 1, {"email": sb.username})
    full = (await by_token(sb).get(f"{V3}/{sb.admin.id}?includeDetails=true")).json()
    assert full["detail"]["active"] is True
    assert full["detail"]["created"] == sb.admin.created
    missing = await by_token(sb).get(f"{V3}/5")
    assert missing.status_code == 404
    assert missing.json()["statusReason"] == "Not Found"


async def test_the_nested_list_pages_and_picks(sb: Sandbox):
    everyone = [user.id for user in sb.state.users.values()]
    seen: list[int] = []
    while rows := (await by_token(sb).get(V3, params={"limit": 5, "offset": len(seen)})).json():
        seen += [row["id"] for row in rows]
    assert seen == everyone
    picked = (await by_token(sb).get(V3, params={"id": f"{everyone[3]},5,{everyone[1]}"})).json()
    assert [row["id"] for row in picked] == [everyone[3], everyone[1]]
    sb.users_page_cap = 4
    assert len((await by_token(sb).get(V3, params={"limit": 500})).json()) == 4


async def test_the_attribute_shape(sb: Sandbox):
    answer = (await by_token(sb).get(f"{ID}/{sb.admin.id}")).json()
    (user,) = answer["users"]
    assert attributes(user).keys() == {"id", "displayName", "userName", "emailAddress", "roleId"}
    assert all(len(each["values"]) == 1 for each in user["attributes"])
    assert user["emailAddress"] == sb.username
    for parts in ("DETAILED", "detailed"):
        (user,) = (await by_token(sb).get(f"{ID}/{sb.admin.id}", params={"parts": parts})).json()["users"]
        full = attributes(user)
        assert full["created"] == sb.admin.created
        assert full["avatarKey"] == f"/api/content/v1/avatar/USER/{sb.admin.id}"
        assert "invitorUserId" not in full
    picked = await by_token(sb).get(f"{ID}/{sb.admin.id}", params={"attributes": "title,hireDate"})
    assert attributes(picked.json()["users"][0]).keys() == {"title"}
    assert (await by_token(sb).get(f"{ID}/5")).status_code == 404


async def test_the_attribute_list_is_capped(sb: Sandbox):
    assert len((await by_token(sb).get(ID, params={"limit": 500})).json()["users"]) == 12
    sb.users_page_cap = 5
    first = (await by_token(sb).get(ID, params={"limit": 500})).json()["users"]
    second = (await by_token(sb).get(ID, params={"limit": 500, "offset": 5})).json()["users"]
    assert len(first) == len(second) == 5
    assert not {user["id"] for user in first} & {user["id"] for user in second}


async def test_search_filters(sb: Sandbox):
    people = list(sb.state.users.values())
    value = {"filterType": "value", "field": "id", "values": [people[2].id, str(people[4].id), 5]}
    found = await search(sb, filters=[value | {"operator": "EQ"}])
    assert {user["id"] for user in found["users"]} == {people[2].id, people[4].id}
    mails = f"{people[1].email} {people[5].email.upper()}"
    found = await search(sb, filters=[{"filterType": "text", "field": "emailAddress", "text": mails}])
    assert {user["id"] for user in found["users"]} == {people[1].id, people[5].id}
    part = people[3].display_name[1:5].upper()
    found = await search(sb, filters=[{"filterType": "text", "text": part}])
    assert people[3].id in {user["id"] for user in found["users"]}
    both = [
        value | {"operator": "EQ"},
        {"filterType": "value", "field": "roleId", "values": [people[2].role_id]},
    ]
    found = await search(sb, filters=both)
    assert {user["id"] for user in found["users"]} == {people[2].id}
    team = {"filterType": "value", "field": "reportsTo", "values": [str(people[0].id)]}
    found = await search(sb, filters=[team])
    assert {u["id"] for u in found["users"]} == {
        p.id for p in people if p.attributes.get("reportsTo") == str(people[0].id)
    }
    nobody = await search(sb, filters=[{"filterType": "text", "text": "zzzz"}])
    assert nobody == {"users": []}
    bad = await by_token(sb).post(f"{ID}/search", json={"filters": [{"filterType": "moon"}]})
    assert bad.status_code == 400


async def test_search_pages_sorts_and_counts(sb: Sandbox):
    body = {"limit": 5, "showCount": "true", "sort": {"field": "displayName", "order": "ASC"}}
    pages = [await search(sb, **body, offset=offset) for offset in (0, 5, 10, 15)]
    names = [user["displayName"] for page in pages for user in page["users"]]
    assert names == sorted((user.display_name for user in sb.state.users.values()), key=str.lower)
    assert [page["count"] for page in pages] == [12] * 4
    down = await search(sb, sort={"field": "created", "order": "DESC"}, attributes=["created"])
    created = [attributes(user)["created"] for user in down["users"]]
    assert created == sorted(created, reverse=True)
    assert await search(sb, count=True) == {"count": 12}
    sb.search_page_cap = 3
    assert len((await search(sb))["users"]) == 3


async def test_create_nested(sb: Sandbox):
    body = {"displayName": "Robin New", "detail": {"email": "robin@example.com"}, "roleId": 2}
    made = (await by_token(sb).post(V3, params={"sendInvite": "false"}, json=body)).json()
    assert made["invitorUserId"] == sb.admin.id
    assert (made["role"], made["detail"]) == ("Privileged", {"email": "robin@example.com"})
    assert (await by_token(sb).get(f"{V2}/{made['id']}")).json()["pending"] is True
    top = {"displayName": "Top Level", "email": "top@example.com", "roleId": "4"}
    assert (await by_token(sb).post(V3, json=top)).status_code == 200
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"detail": {"email": "ROBIN@example.com"}},
        {"detail": {"email": "nonsense"}},
        {"roleId": 99},
        {"displayName": " "},
    )
    for more in wrong:
        assert (await by_token(sb).post(V3, json=body | more)).status_code == 400


async def test_create_identity(sb: Sandbox):
    body = {"displayName": "Robin New", "emailAddress": "robin@example.com", "roleId": 2}
    made = (await by_token(sb).post(ID, json=body)).json()
    assert "users" not in made
    assert attributes(made)["invitorUserId"] == sb.admin.id
    assert (await by_token(sb).post(ID, json=body)).status_code == 400


async def test_patch_in_both_forms(sb: Sandbox):
    user = sb.add_user("Al Old", "al@example.com", title="Analyst", department="Sales")
    path = f"{ID}/{user.id}"
    body = {
        "attributes": [
            {"key": "displayName", "values": ["Al New"]},
            {"key": "emailAddress", "values": ["al.new@example.com"]},
            {"key": "roleId", "values": [3]},
            {"key": "reportsTo", "values": [str(sb.admin.id)]},
            {"key": "department", "values": [None]},
            {"key": "StoreRegion", "values": ["North"]},
        ]
    }
    after = (await by_token(sb).patch(path, json=body)).json()
    assert "users" not in after
    assert (after["displayName"], after["roleId"]) == ("Al New", 3)
    assert after["userName"] == after["emailAddress"] == "al.new@example.com"
    shown = attributes(after)
    assert (shown["reportsTo"], shown["StoreRegion"], shown["title"]) == (
        str(sb.admin.id),
        "North",
        "Analyst",
    )
    assert "department" not in shown
    assert (await by_token(sb).patch(path, json={"roleId": 5})).json()["roleId"] == 5
    team = (await by_token(sb).get(f"{V2}/{user.id}/teams")).json()
    assert team == {"reportsTo": [{"userId": sb.admin.id, "displayName": sb.admin.display_name}]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("roleId", 99),
        ("emailAddress", "admin"),
        ("displayName", ""),
        ("NoSuchKey", "x"),
        ("reportsTo", "me"),
        ("reportsTo", "5"),
        ("emailAddress", "taken"),
    ],
)
async def test_a_bad_attribute_changes_nothing(sb: Sandbox, key: str, value: Any):
    user = sb.add_user("Al Old", "al@example.com")
    value = {"me": str(user.id), "taken": sb.username}.get(str(value), value)
    good = {"key": "title", "values": ["Boss"]}
    body = {"attributes": [good, {"key": key, "values": [value]}]}
    assert (await by_token(sb).patch(f"{ID}/{user.id}", json=body)).status_code == 400
    assert "title" not in user.attributes


async def test_managers_make_no_loop(sb: Sandbox):
    one, two = sb.add_user("One", "one@example.com"), sb.add_user("Two", "two@example.com")
    path = "/api/content/v2/users/{}/teams"
    set_two = {"reportsTo": [{"userId": one.id}]}
    assert (await by_token(sb).post(path.format(two.id), json=set_two)).status_code == 200
    set_one = {"reportsTo": [{"userId": two.id}]}
    assert (await by_token(sb).post(path.format(one.id), json=set_one)).status_code == 400
    assert (await by_token(sb).post(path.format(two.id), json={"reportsTo": []})).status_code == 200
    assert (await by_token(sb).get(path.format(two.id))).json() == {"reportsTo": []}


async def test_delete_is_soft(sb: Sandbox):
    user = sb.add_user("De Leted", "de@example.com", password="pw")
    group = sb.add_group("Crew", [user.id])
    gone = await by_token(sb).delete(f"{ID}/{user.id}")
    assert (gone.status_code, gone.content) == (200, b"")
    assert (await by_token(sb).delete(f"{ID}/{user.id}")).status_code == 404
    assert user.id not in [row["id"] for row in (await by_token(sb).get(V2)).json()]
    assert user.id not in [row["id"] for row in (await search(sb))["users"]]
    assert user.id in [row["id"] for row in (await search(sb, includeDeleted=True))["users"]]
    assert [row["id"] for row in (await search(sb, onlyDeleted=True))["users"]] == [user.id]
    details = await by_token(sb).get(V3, params={"id": str(user.id), "includeDetails": "true"})
    assert details.json()[0]["detail"]["active"] is False
    assert (await sign_in(sb, user.email, "pw"))["reason"] == "INVALID_CREDENTIALS"
    assert user.id not in group.user_ids
    sb.add_user("Same Mail", "de@example.com")  # the address is free again


async def test_bulk_update(sb: Sandbox):
    one, two = sb.add_user("One", "one@example.com"), sb.add_user("Two", "two@example.com")
    rows = [{"id": str(one.id), "title": "Chief"}, {"id": str(two.id), "reportsTo": str(one.id)}]
    answer = await by_token(sb).put(f"{V2}/bulk", json={"transactionId": "x", "users": rows})
    assert answer.json() == {}
    assert (one.attributes["title"], two.attributes["reportsTo"]) == ("Chief", str(one.id))
    assert (await by_token(sb).put(f"{V2}/bulk", json={"users": [{"id": "5"}]})).status_code == 404


async def test_passwords_are_not_used_twice(sb: Sandbox):
    user = sb.add_user("Pa Ss", "pa@example.com", password="first")

    async def reset(password: str) -> Any:
        body = {"domoUserId": user.id, "password": password}
        return (await by_token(sb).put("/api/identity/v1/password", json=body)).json()

    refused = {"description": "Password has been used previously."}
    assert await reset("first") == refused
    assert await reset("second") == {}
    assert await reset("first") == refused
    assert "sessionToken" in await sign_in(sb, user.email, "second")


async def test_direct_sign_on_typeahead_landing_page(sb: Sandbox):
    user = sb.add_user("Ty Pe", "ty@example.com")
    admin = by_token(sb)
    assert (await admin.post(f"{V3}/directSignOn?value=true", json=[str(user.id)])).status_code == 200
    assert user.direct_sign_on is True
    assert (await admin.post(f"{V3}/directSignOn?value=False", json=[user.id])).status_code == 200
    assert user.direct_sign_on is False
    found = (await admin.get("/api/content/v1/typeahead", params={"filter": "ty@", "type": "userByEmail"})).json()
    assert found == {"users": [{"id": user.id, "displayName": "Ty Pe"}]}
    found = (await admin.get("/api/content/v1/typeahead", params={"filter": "ty@", "type": "userByName"})).json()
    assert found == {"users": []}
    found = (await admin.get("/api/content/v1/typeahead", params={"authorities": "account.admin"})).json()
    assert [each["id"] for each in found["users"]] == [sb.admin.id]
    landing = f"/api/content/v1/landings/target/DESKTOP/entity/PAGE/id/77/{user.id}"
    assert (await as_user(sb, user).put(landing)).status_code == 200
    assert user.landing_pages == {"DESKTOP": "77"}
    assert (await admin.put(landing.replace("DESKTOP", "WATCH"))).status_code == 400


async def test_avatars_are_placeholders(sb: Sandbox):
    path = "/api/content/v1/avatar/USER/"
    mine = await by_token(sb).get(f"{path}{sb.admin.id}", params={"size": 100})
    nobody = await by_token(sb).get(f"{path}5")
    system = await by_token(sb).get(f"{path}0")
    assert mine.headers["content-type"] == "image/png"
    assert mine.content.startswith(b"\x89PNG")
    assert mine.content == nobody.content != system.content


async def test_attribute_keys(sb: Sandbox):
    rows = (await by_token(sb).get("/api/user/v1/properties/meta/keys", params={"issuerTypes": "idp"})).json()
    assert {row["keyspace"] for row in rows} == {"customer-defined", "domo-defined"}


WRITES: list[tuple[str, str, Any]] = [
    ("POST", V3, {"displayName": "X", "detail": {"email": "x@example.com"}, "roleId": 1}),
    ("POST", ID, {"displayName": "X", "emailAddress": "x@example.com", "roleId": 1}),
    ("PATCH", f"{ID}/{{user}}", {"roleId": 1}),
    ("DELETE", f"{ID}/{{user}}", None),
    ("PUT", f"{V2}/bulk", {"users": [{"id": "{user}", "title": "X"}]}),
    ("POST", f"{V2}/{{user}}/teams", {"reportsTo": []}),
    ("PUT", "/api/identity/v1/password", {"domoUserId": "{user}", "password": "x"}),
    ("POST", f"{V3}/directSignOn?value=true", []),
]


@pytest.mark.parametrize("role_id", [2, 3, 4, 5, 700_000_001])
async def test_only_administrators_write(sb: Sandbox, role_id: int):
    before = {user.id: repr(user) for user in sb.state.users.values()}
    plain = sb.add_user("Pat Plain", "pat@example.com", role_id=role_id)
    mine = as_user(sb, plain)
    for method, path, body in WRITES:
        answer = await mine.request(method, path.format(user=plain.id), json=body)
        assert answer.status_code == 403, (method, path)
        assert answer.json()["statusReason"] == "Forbidden"
    assert {user_id: repr(sb.state.users[user_id]) for user_id in before} == before
    for path in (V2, V3, ID, f"{V2}/me", f"{V3}/me"):
        assert (await mine.get(path)).status_code == 200


async def test_groups(sb: Sandbox):
    admin, path = by_token(sb), "/api/content/v2/groups"
    rows = (await admin.get(f"{path}/grouplist", params={"sort": "name", "ascending": "true"})).json()
    assert [row["name"] for row in rows] == ["Data team", "Default", "Finance"]
    everyone = next(row for row in rows if row["name"] == "Default")
    assert everyone["memberCount"] == 12 > len(everyone["groupMembers"])
    assert isinstance(everyone["groupMembers"][0]["id"], str)
    assert everyone["created"].endswith(".0")
    full = await admin.get(f"{path}/grouplist", params={"includeFullMembership": "true", "search": "defa"})
    assert len(full.json()[0]["groupMembers"]) == 12
    one = (await admin.get(f"{path}/{everyone['groupId']}")).json()
    assert (one["id"], one["type"], one["memberCount"]) == (everyone["groupId"], "system", 12)
    assert len(one["userIds"]) == 12
    deleted = next(group for group in sb.state.groups.values() if not group.active)
    shown = (await admin.get(f"{path}/{deleted.id}")).json()
    assert (shown["active"], shown["userIds"]) == (False, [])
    assert "_deleted_" in shown["name"]
    assert (await admin.get(f"{path}/5")).status_code == 404
    many = (await admin.post(f"{path}/get", json=[str(deleted.id), "5", str(one["id"])])).json()
    assert [group["id"] for group in many] == [deleted.id, one["id"]]
    members = (await admin.get(f"{path}/users", params={"group": one["id"], "limit": 5, "offset": 10})).json()
    assert len(members["groupUserList"]) == 2
    assert members["groupUserList"][0].keys() == {"userId", "role", "roleId", "lastSignIn", "location"}
    mine = (await admin.get(f"{path}/grouplist", params={"members": sb.admin.id})).json()
    assert {row["name"] for row in mine} == {"Default", "Data team"}


async def test_roles_and_grants(sb: Sandbox):
    admin, path = by_token(sb), "/api/authorization/v1/roles"
    rows = (await admin.get(path)).json()
    assert {row["id"]: row["name"] for row in rows}[1] == "Admin"
    assert sum(row["userCount"] for row in rows) == 12
    one = (await admin.get(f"{path}/1")).json()
    assert one == rows[0]
    assert one["userCount"] == 1
    grants = (await admin.get(f"{path}/1/authorities")).json()
    assert len(grants) == one["authorityCount"]
    members = (await admin.get(f"{path}/1/users")).json()
    assert members["users"][0]["email"] == sb.username
    assert (await admin.get(f"{path}/99")).status_code == 404
    assert (await admin.get(f"{path}/99/authorities")).json() == []
    assert (await admin.get(f"{path}/99/users")).json() == {"users": []}
    table = (await admin.get("/api/authorization/v1/authorities")).json()
    assert [row["authority"] for row in table] == grants
    assert next(row for row in table if row["authority"] == "user.edit")["roleIds"] == [1]


def test_the_company_is_the_same_every_time_but_for_its_secrets():
    one, two = Sandbox(), Sandbox()
    assert [user.email for user in one.state.users.values()] == [user.email for user in two.state.users.values()]
    assert all(user.email.endswith("@example.com") for user in one.state.users.values())
    for name in ("password", "access_token", "client_id", "client_secret"):
        assert getattr(one, name) != getattr(two, name)


def test_the_size_of_the_company():
    for size in (1, 2, 1500):
        big = Sandbox(users=size)
        assert len(big.state.users) == size
        assert len({user.email for user in big.state.users.values()}) == size
        assert [user.id for user in big.state.users.values() if user.role_id == 1] == [big.admin.id]
    with pytest.raises(ValueError, match="at least one"):
        Sandbox(users=0)


async def test_ten_thousand_people_are_built_and_listed():
    big = Sandbox(users=10_000)
    rows = (await by_token(big).get(V2)).json()
    assert len({row["id"] for row in rows}) == 10_001
