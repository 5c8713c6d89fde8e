"""Accounts of the product API: the catalogue's quirks, masking, sharing, search."""

from __future__ import annotations

from typing import Any

import pytest

from domokit.sandbox import Sandbox

from .helpers import as_user, by_token

pytestmark = pytest.mark.anyio
PATH = "/api/data/v1/accounts"
SHARE = "/api/data/v2/accounts/share"


def config_path(account: dict[str, Any]) -> str:
    return f"/api/data/v1/providers/{account['dataProviderType']}/account/{account['id']}"


async def create(sb: Sandbox, name: str = "etl", who: Any = None, **more: Any) -> dict[str, Any]:
    body = {
        "name": "Abstract Credential Store Account",
        "displayName": name,
        "dataProviderType": "abstract-credential-store",
        "configurations": {"credentials": '{"a": 1}'},
    } | more
    answer = await (who or by_token(sb)).post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_create_answers_blank_and_get_answers_filled(sb: Sandbox):
    made = await create(sb)
    assert (made["createdAt"], made["modifiedAt"], made["valid"]) == (None, None, False)
    assert made["configurations"] == {}
    assert made["accountId"] == made["id"]
    assert (made["name"], made["displayName"]) == ("Abstract Credential Store Account", "etl")
    got = (await by_token(sb).get(f"{PATH}/{made['id']}?unmask=True")).json()
    assert got["valid"] is True
    assert got["createdAt"] == got["modifiedAt"]
    assert got["createdAt"] % 1000 == 0
    assert got["configurations"] == {}
    assert got in (await by_token(sb).get(PATH)).json()
    assert got in (await by_token(sb).get(f"{PATH}/provider/abstract-credential-store")).json()
    assert sb.account_config(made["id"]) == {"credentials": '{"a": 1}'}


async def test_a_taken_display_name_is_suffixed_in_both_names(sb: Sandbox):
    names = [await create(sb) for _ in range(3)]
    assert [made["displayName"] for made in names] == ["etl", "etl (2)", "etl (3)"]
    assert [made["name"] for made in names[1:]] == ["etl (2)", "etl (3)"]


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (
            {"dataProviderType": "json5", "configurations": {"authType": "x"}},
            "Data provider 'json5' does not have 'authType' authentication scheme configuration",
        ),
        ({"configurations": {"credentials": {"a": 1}}}, "must be a string"),
        ({"configurations": {"credentials": None}}, "must be a string"),
        ({"configurations": "text"}, "must be an object"),
        ({"dataProviderType": "no-such"}, "Unknown data provider"),
        ({"dataProviderType": "google-spreadsheets", "configurations": {}}, "signing in"),
        ({"displayName": ""}, "displayName"),
    ],
)
async def test_unusable_bodies_are_400(sb: Sandbox, more: dict, part: str):
    before = len(sb.state.accounts)
    body = {"name": "n", "displayName": "d", "dataProviderType": "abstract-credential-store"}
    body |= {"configurations": {"credentials": "x"}} | more
    answer = await by_token(sb).post(PATH, json=body)
    assert answer.status_code == 400
    assert part in answer.json()["message"]
    assert len(sb.state.accounts) == before


async def test_secrets_are_masked_unless_external_use_is_allowed_and_asked_for(sb: Sandbox):
    admin = by_token(sb)
    secrets = {"domoAccessToken": "t0ken", "username": "svc", "password": "pw"}
    closed = await create(sb, "a", dataProviderType="domo-access-token", configurations=secrets)
    masked = {"domoAccessToken": "********", "username": "svc", "password": "********"}
    assert (await admin.get(config_path(closed))).json() == masked
    assert (await admin.get(config_path(closed), params={"unmask": "true"})).json() == masked
    for n, more in enumerate(({"allowExternalUse": True}, {"configurations": secrets | {"allowExternalUse": "true"}})):
        body = {"dataProviderType": "domo-access-token", "configurations": secrets} | more
        opened = await create(sb, f"b{n}", **body)
        assert (await admin.get(config_path(opened))).json() == masked | {"allowExternalUse": "true"}
        clear = (await admin.get(config_path(opened), params={"unmask": "True"})).json()
        assert clear == secrets | {"allowExternalUse": "true"}


async def test_config_update_is_bare_whole_and_leaves_names_alone(sb: Sandbox):
    admin = by_token(sb)
    made = await create(sb)
    sb.clock.advance(60)
    answer = await admin.put(config_path(made), json={"credentials": "new"})
    assert answer.status_code == 200
    after = answer.json()
    assert after["modifiedAt"] >= after["createdAt"] + 60_000
    assert (after["name"], after["displayName"]) == (made["name"], made["displayName"])
    assert after["configurations"] == {}
    assert sb.account_config(made["id"]) == {"credentials": "new"}
    for wrong in ({"configurations": {"credentials": "x"}}, {}, {"credentials": 5}, []):
        assert (await admin.put(config_path(made), json=wrong)).status_code == 400
    assert sb.account_config(made["id"]) == {"credentials": "new"}
    masked = (await admin.get(config_path(made))).json()
    await admin.put(config_path(made), json=masked)
    assert sb.account_config(made["id"]) == {"credentials": "********"}  # the trap that Domo lays


async def test_a_provider_that_does_not_match_is_404(sb: Sandbox):
    made = await create(sb)
    path = config_path(made | {"dataProviderType": "json5"})
    assert (await by_token(sb).get(path)).status_code == 404
    assert (await by_token(sb).put(path, json={"authentication": "none"})).status_code == 404


async def test_oauth_accounts_have_an_empty_configuration(sb: Sandbox):
    rows = (await by_token(sb).get(f"{PATH}/provider/google-spreadsheets")).json()
    assert (await by_token(sb).get(config_path(rows[0]), params={"unmask": "true"})).json() == {}


async def test_rename_takes_bare_text(sb: Sandbox):
    made = await create(sb)
    answer = await by_token(sb).put(f"{PATH}/{made['id']}/name", content="etl – 2024".encode())
    assert answer.json()["displayName"] == "etl – 2024"
    assert answer.json()["name"] == made["name"]
    assert (await by_token(sb).put(f"{PATH}/{made['id']}/name", content=b" ")).status_code == 400


async def test_delete(sb: Sandbox):
    made = await create(sb)
    assert (await by_token(sb).delete(f"{PATH}/{made['id']}")).status_code == 200
    assert (await by_token(sb).get(f"{PATH}/{made['id']}")).status_code == 404
    assert (await by_token(sb).delete(f"{PATH}/{made['id']}")).status_code == 404


async def test_what_each_access_level_may_do(sb: Sandbox):
    owner, admin = sb.add_user("Ow Ner", "ow@example.com"), by_token(sb)
    other = sb.add_user("Ot Her", "ot@example.com")
    made = await create(sb, who=as_user(sb, owner))
    mine, share = as_user(sb, other), f"{SHARE}/{made['id']}"
    rename, body = f"{PATH}/{made['id']}/name", {"type": "USER", "id": sb.admin.id, "accessLevel": "CAN_VIEW"}

    async def statuses() -> list[int]:
        return [
            (await mine.get(f"{PATH}/{made['id']}")).status_code,
            (await mine.get(config_path(made))).status_code,
            (await mine.put(rename, content=b"renamed")).status_code,
            (await mine.put(config_path(made), json={"credentials": "c"})).status_code,
            (await mine.put(share, json=body | {"accessLevel": "NONE"})).status_code,
        ]

    assert await statuses() == [403, 403, 403, 403, 403]
    assert (await mine.delete(f"{PATH}/{made['id']}")).status_code == 403
    assert made["id"] not in [row["id"] for row in (await mine.get(PATH)).json()]
    expected = {
        "CAN_VIEW": [200, 200, 403, 403, 403],
        "CAN_EDIT": [200, 200, 200, 200, 403],
        "CAN_SHARE": [200, 200, 200, 200, 200],
        "OWNER": [200, 200, 200, 200, 200],
        "NONE": [403, 403, 403, 403, 403],
    }
    for level, statuses_now in expected.items():
        grant = {"type": "USER", "id": str(other.id), "accessLevel": level}
        assert (await admin.put(share, json=grant)).status_code == 200
        assert await statuses() == statuses_now, level


async def test_sharing_with_a_group_and_the_access_list(sb: Sandbox):
    member = sb.add_user("Mem Ber", "mem@example.com")
    group = sb.add_group("Crew", [member.id])
    made, admin = await create(sb), by_token(sb)
    path = f"{SHARE}/{made['id']}"
    grant = {"type": "GROUP", "id": group.id, "accessLevel": "CAN_VIEW"}
    assert (await admin.put(path, json=grant)).status_code == 200
    assert (await admin.put(path, json=grant)).status_code == 500
    assert (await admin.get(path)).json() == {
        "list": [
            {"type": "USER", "id": str(sb.admin.id), "accessLevel": "OWNER", "name": sb.admin.display_name},
            {"type": "GROUP", "id": str(group.id), "accessLevel": "CAN_VIEW", "name": "Crew"},
        ],
        "totalUserCount": 1,
    }
    assert (await as_user(sb, member).get(f"{PATH}/{made['id']}")).status_code == 200
    group.active = False
    assert (await as_user(sb, member).get(f"{PATH}/{made['id']}")).status_code == 403


async def test_ownership_moves_in_two_calls_and_is_never_lost(sb: Sandbox):
    heir, admin = sb.add_user("He Ir", "heir@example.com"), by_token(sb)
    made = await create(sb)
    path = f"{SHARE}/{made['id']}"
    last = {"type": "USER", "id": sb.admin.id, "accessLevel": "NONE"}
    assert (await admin.put(path, json=last)).status_code == 400
    assert (await admin.put(path, json={"type": "USER", "id": heir.id, "accessLevel": "OWNER"})).status_code == 200
    assert (await admin.put(path, json=last)).status_code == 200
    assert (await admin.get(f"{PATH}/{made['id']}")).json()["userId"] == heir.id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"type": "USER", "id": 1, "accessLevel": "CAN_VIEW"}, 404),
        ({"type": "ROBOT", "id": 1, "accessLevel": "CAN_VIEW"}, 400),
        ({"type": "USER", "id": "x", "accessLevel": "CAN_VIEW"}, 400),
        ({"type": "USER", "id": 1, "accessLevel": "READ"}, 400),
    ],
)
async def test_unusable_shares(sb: Sandbox, body: dict, status: int):
    made = await create(sb)
    assert (await by_token(sb).put(f"{SHARE}/{made['id']}", json=body)).status_code == status


async def test_v1_sharing(sb: Sandbox):
    other, made = sb.add_user("Ot Her", "ot@example.com"), await create(sb)
    path, body = f"{PATH}/{made['id']}/share", {"type": "USER", "id": other.id, "permissions": ["WRITE"]}
    assert (await by_token(sb).put(path, json=body)).status_code == 200
    assert sb.state.accounts[made["id"]].shares[f"USER:{other.id}"] == "CAN_EDIT"
    assert (await by_token(sb).put(path, json=body)).status_code == 500
    for wrong in ({"type": "GROUP"}, {"permissions": ["CAN_VIEW"]}, {"permissions": []}):
        assert (await by_token(sb).put(path, json=body | wrong)).status_code == 400


async def search(sb: Sandbox, who: Any = None, **body: Any) -> list[dict[str, Any]]:
    whole = {
        "query": "**",
        "entityList": [["account"]],
        "count": 100,
        "offset": 0,
        "combineResults": False,
    } | body
    answer = await (who or by_token(sb)).post("/api/search/v1/query", json=whole)
    assert answer.status_code == 200, answer.text
    return answer.json()["searchResultsMap"]["account"]


async def test_search(sb: Sandbox):
    for name in ("alpha", "Alphabet", "beta"):
        await create(sb, name)
    names = [hit["displayName"] for hit in await search(sb, query="*alpha*")]
    assert names == ["alpha", "Alphabet"]
    assert [hit["displayName"] for hit in await search(sb, query="alphabet")] == ["Alphabet"]
    term = {"field": "dataproviderkey_facet", "filterType": "term", "value": "snowflake", "not": False}
    assert [hit["displayName"] for hit in await search(sb, filters=[term])] == ["warehouse"]
    others = await search(sb, filters=[term | {"not": True}])
    assert len(others) == len(sb.state.accounts) - 1
    owner = {"field": "owned_by_id", "filterType": "term", "value": str(sb.admin.id)}
    assert {hit["ownedById"] for hit in await search(sb, filters=[owner])} == {str(sb.admin.id)}
    down = {"fieldSorts": [{"field": "display_name_sort", "sortOrder": "DESC"}]}
    everything = [hit["databaseId"] for hit in await search(sb)]
    assert [hit["databaseId"] for hit in await search(sb, sort=down)] == everything[::-1]
    pages = [await search(sb, count=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [hit["databaseId"] for page in pages for hit in page] == everything
    assert isinstance(everything[0], str)
    plain = as_user(sb, sb.add_user("Pat Plain", "pat@example.com"))
    assert await search(sb, plain) == []


async def test_providers(sb: Sandbox):
    admin = by_token(sb)
    rows = (await admin.get("/api/data/v1/providers", params={"fields": "id,key,name"})).json()
    assert all(row.keys() == {"id", "key", "name"} for row in rows)
    keys = [row["key"] for row in rows]
    assert len(keys) == len(set(keys))
    assert {"abstract-credential-store", "domo-access-token", "json5", "snowflake"} <= set(keys)
    used = (await admin.get("/api/data/v1/providers", params={"filter": "withAccounts"})).json()
    assert {row["key"] for row in used} == {account.provider for account in sb.state.accounts.values()}
    one = (await admin.get("/api/data/v1/providers/dataset-copy")).json()
    assert one["authenticationSchemeConfiguration"] == [{"name": "accessToken"}, {"name": "instance"}]
    assert (await admin.get("/api/data/v1/providers/none")).status_code == 404
    in_use = (await admin.get("/api/data/v2/datasources/providers")).json()
    store = next(row for row in in_use if row["key"] == "abstract-credential-store")
    assert isinstance(store["accounts"][0]["userId"], str)
    assert "authenticationScheme" not in next(row for row in in_use if row["key"] == "api")
    warehouse = next(a for a in sb.state.accounts.values() if a.provider == "snowflake")
    datasets = (await admin.get(f"/api/data/v2/datasources/account/{warehouse.id}")).json()
    assert [row["dataSourceName"] for row in datasets] == ["Orders", "Customers"]


async def test_validators(sb: Sandbox):
    path = "/api/data/v1/accounts/validators"
    body = {"dataProviderKey": "json5", "credentials": {"authentication": "none"}, "accountId": None}
    assert (await by_token(sb).post(path, json=body)).json() == {}
    assert (await by_token(sb).post(path, json=body | {"credentials": {"x": "y"}})).status_code == 400
