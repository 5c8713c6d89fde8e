"""DomoUser: three shapes of the product API and two of the platform API, behind one class."""

from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest

from domokit import (
    NOT_GIVEN,
    DomoAccessToken,
    DomoGroup,
    DomoRole,
    DomoUser,
    OAuthClientAuth,
    RetryPolicy,
    api,
    dry_run,
    entity,
    errors,
)
from domokit.entities.listing import Listing
from domokit.routes.product import users as routes
from domokit.sandbox import Sandbox
from domokit.testing import oauth_client_auth, options_for, session_auth

from .helpers import body_of, platform_wire, product_wire, query_of, sent

USERS = "/api/identity/v1/users"
SEARCH = "/api/identity/v1/users/search"
CREATE = "/api/content/v3/users"
NOBODY = 999


def identity(user_id=27, **attributes):
    """A user as identity/v1 shows one: every attribute in a list of its own, five of them at the top as well."""
    known = {"id": user_id, "displayName": "Ann", "emailAddress": "ann@example.com", "roleId": 2, **attributes}
    return {
        "attributes": [{"key": key, "values": [value]} for key, value in known.items()],
        **{key: known[key] for key in ("id", "displayName", "emailAddress", "roleId")},
    }


@entity
class Colleague(DomoUser):
    """A subclass with a field of its own."""

    region: str | None = api("StoreRegion")


class Neighbour(DomoUser):
    """A subclass without the decorator."""


# -- one, by id


async def test_get_by_id_asks_for_details_and_reads_the_list_of_attributes():
    shown = identity(
        title="Analyst",
        department="Finance",
        phoneNumber="000",
        employeeLocation="Oslo",
        employeeId="E42",
        employeeNumber=42,
        reportsTo="5",
        isActive=True,
        isPending=False,
        isSystemUser=False,
        created=1_700_000_000_000,
        modified=1_735_689_600_453,
        lastActivity=1_735_680_000_994,
        somethingNew=["kept"],
    )
    async with product_wire() as (wire, auth):
        asked = wire.get(f"{USERS}/27").respond(json={"users": [shown]})
        user = await DomoUser.get_by_id(auth, 27)
    assert query_of(asked) == {"parts": "DETAILED"}
    assert (user.id, user.name, user.email, user.role_id) == (27, "Ann", "ann@example.com", 2)
    assert (user.title, user.department, user.phone, user.location) == ("Analyst", "Finance", "000", "Oslo")
    assert (user.employee_id, user.employee_number, user.manager_id) == ("E42", 42, 5)
    assert (user.is_active, user.is_pending, user.is_system) == (True, False, False)
    assert user.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert user.modified_at == datetime(2025, 1, 1, 0, 0, 0, 453_000, tzinfo=UTC)
    assert user.last_activity_at == datetime(2024, 12, 31, 21, 20, 0, 994_000, tzinfo=UTC)
    assert user.raw == shown


async def test_one_class_shows_the_same_person_in_both_families(anyone, person):
    user = await DomoUser.get_by_id(anyone, person.id)
    assert type(user) is DomoUser
    assert (user.id, user.name, user.email, user.role_id) == (person.id, "Zoë Quill", "Zoe.Quill@Example.com", 2)
    assert (user.title, user.phone, user.location, user.employee_number) == ("Analyst", "000-000-0001", "Oslo", 42042)
    for moment, ms in ((user.created_at, person.created), (user.modified_at, person.modified)):
        assert moment.utcoffset() == timedelta(0)
        assert int(moment.timestamp()) == ms // 1000


async def test_ids_may_be_texts(anyone, person):
    assert (await DomoUser.get_by_id(anyone, str(person.id))).id == person.id


async def test_unknown_user_is_not_found_in_both_families(anyone):
    with pytest.raises(errors.NotFoundError) as caught:
        await DomoUser.get_by_id(anyone, NOBODY)
    assert caught.value.status == 404
    assert str(NOBODY) in str(caught.value)


@pytest.mark.parametrize("answer", [{"users": []}, {"users": None}, {}], ids=str)
async def test_an_empty_list_from_identity_is_not_found_too(answer):
    async with product_wire() as (wire, auth):
        wire.get(f"{USERS}/27").respond(json=answer)
        with pytest.raises(errors.NotFoundError, match="no user 27"):
            await DomoUser.get_by_id(auth, 27)


async def test_content_v2_says_200_and_nothing_for_an_unknown_user(admin, person):
    assert (await routes.get_user_v2(admin, person.id))["id"] == person.id
    with pytest.raises(errors.NotFoundError) as caught:
        await routes.get_user_v2(admin, NOBODY)
    assert caught.value.status == 200


async def test_seconds_stand_beside_milliseconds_in_one_object():
    answer = {"id": 27, "displayName": "Ann", "modified": 1_735_689_600_123, "created": 1_700_000_000, "active": True}
    async with product_wire() as (wire, auth):
        wire.get("/api/content/v2/users/27").respond(json=answer)
        user = DomoUser.from_json(auth, await routes.get_user_v2(auth, 27))
    assert user.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert user.modified_at == datetime(2025, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    assert (user.is_active, user.role_id, user.department) == (True, None, None)


async def test_the_three_product_shapes_tell_the_same(admin, person):
    shapes = [
        await routes.get_user_by_id(admin, person.id),
        await routes.get_user_v2(admin, person.id),
        await routes.get_user_v3(admin, person.id),
    ]
    users = [DomoUser.from_json(admin, shape) for shape in shapes]
    told = {(one.id, one.name, one.email, one.title, one.phone, one.is_active, one.modified_at) for one in users}
    assert len(told) == 1
    assert len({int(one.created_at.timestamp()) for one in users}) == 1
    assert users[0] == users[1] == users[2]


async def test_zero_is_an_id():
    async with product_wire() as (wire, auth):
        wire.get("/api/content/v2/users").respond(json=[{"id": 0, "displayName": "Monitoring", "systemUser": True}])
        wire.get(f"{USERS}/0").respond(json={"users": [identity(0, reportsTo=0, roleId=0, employeeNumber=0)]})
        system = DomoUser.from_json(auth, (await routes.get_all_users_v2(auth))[0])
        user = await DomoUser.get_by_id(auth, 0)
    assert system.id == user.id == 0
    assert system.is_system is True
    assert (user.manager_id, user.role_id, user.employee_number) == (0, 0, 0)
    assert user == system
    assert user.to_dict()["id"] == 0
    assert user.url.endswith("/0")


async def test_get_me(anyone, domo_sandbox):
    me = await DomoUser.get_me(anyone)
    assert (me.id, me.email, me.role_id) == (domo_sandbox.admin.id, domo_sandbox.username, 1)


# -- one, by address


async def test_get_by_email_is_exact_whatever_the_case(anyone, person, domo_sandbox):
    domo_sandbox.add_user("Almost", "azoe.quill@example.com")
    domo_sandbox.add_user("Nearly", "zoe.quill@example.com.au")
    for spelling in ("Zoe.Quill@Example.com", "zoe.quill@example.com", "ZOE.QUILL@EXAMPLE.COM"):
        assert (await DomoUser.get_by_email(anyone, spelling)).id == person.id


@pytest.mark.parametrize("part", ["quill@example.com", "zoe.quill@example", "@"])
async def test_get_by_email_does_not_take_a_part_for_the_whole(anyone, person, part):
    with pytest.raises(errors.NotFoundError, match="Check the address") as none:
        await DomoUser.get_by_email(anyone, part)
    assert "Check the id" not in str(none.value)


@pytest.mark.parametrize("address", ["", None, "zoe"])
async def test_get_by_email_refuses_what_is_no_address(admin, domo_sandbox, address):
    with pytest.raises(errors.InvalidInputError):
        await DomoUser.get_by_email(admin, address)
    assert not domo_sandbox.requests


async def test_get_by_email_sends_the_text_filter_and_compares_again():
    async with product_wire() as (wire, auth):
        asked = wire.post(SEARCH).respond(
            json={"users": [identity(1, emailAddress="joann@example.com"), identity(2)], "count": 2}
        )
        assert (await DomoUser.get_by_email(auth, "Ann@example.com")).id == 2
    body = body_of(asked)
    assert body["filters"] == [{"filterType": "text", "field": "emailAddress", "text": "Ann@example.com"}]
    assert body["includeDeleted"] is False


# -- many


async def test_get_all_asks_for_pages_until_one_is_empty():
    pages = {0: [identity(1), identity(2)], 2: [identity(3)], 3: []}
    async with product_wire() as (wire, auth):
        asked = wire.get(USERS).mock(
            side_effect=lambda request: httpx.Response(200, json={"users": pages[int(request.url.params["offset"])]})
        )
        users = await DomoUser.get_all(auth)
    assert [user.id for user in users] == [1, 2, 3]
    assert [dict(call.request.url.params) for call in asked.calls] == [
        {"offset": offset, "limit": "500", "parts": "DETAILED"} for offset in ("0", "2", "3")
    ]


@pytest.mark.parametrize("count", [1, 12, 500, 501])
@pytest.mark.parametrize("build", [session_auth, oauth_client_auth])
async def test_get_all_gives_everyone_once(build, count):
    sandbox = Sandbox(users=count)
    async with build(sandbox) as auth:
        users = await DomoUser.get_all(auth)
        assert isinstance(users, Listing)
        assert sorted(user.id for user in users) == sorted(sandbox.state.users)
        listed = [one for one in sandbox.requests if one.path.endswith("/v1/users")]
        assert len(listed) <= 6
        assert {one.query["limit"] for one in listed} == {"500"}


@pytest.mark.parametrize("cap", [1, 5, 6, 12])
async def test_a_capped_page_is_not_taken_for_the_last(domo_sandbox, admin, cap):
    domo_sandbox.users_page_cap = cap
    everyone = sorted(domo_sandbox.state.users)
    assert sorted(user.id for user in await DomoUser.get_all(admin)) == everyone
    assert sorted([user.id async for user in DomoUser.get_all(admin)]) == everyone


async def test_walking_asks_for_one_page_at_a_time(domo_sandbox, admin):
    domo_sandbox.users_page_cap = 5
    offsets = [
        [one.query["offset"] for one in domo_sandbox.requests if one.path == USERS]
        async for _ in DomoUser.get_all(admin)
    ]
    assert offsets[0] == ["0"]
    assert offsets[5] == ["0", "5"]
    assert offsets[-1] == ["0", "5", "10"]


async def test_deleted_users_are_fetched_by_id_and_found_when_asked_for(admin, oauth, person):
    person.deleted = True
    for auth in (admin, oauth):
        assert (await DomoUser.get_by_id(auth, person.id)).is_active is False
        assert person.id not in [user.id for user in await DomoUser.get_all(auth)]
        with pytest.raises(errors.NotFoundError):
            await DomoUser.get_by_email(auth, person.email)
    assert not await DomoUser.search(admin, name="Zoë")
    found = await DomoUser.search(admin, name="Zoë", include_deleted=True)
    assert [(user.id, user.is_active) for user in found] == [(person.id, False)]


# -- search


async def test_search_sends_filters_and_the_page_in_the_body():
    async with product_wire() as (wire, auth):
        asked = wire.post(SEARCH)
        asked.side_effect = [
            httpx.Response(200, json={"users": [identity(1)], "count": 1}),
            httpx.Response(200, json={"users": [], "count": 1}),
        ]
        found = await DomoUser.search(auth, "q", name="ann", email="@example.com", include_deleted=True)
        first, second = (httpx.Response(200, content=call.request.content).json() for call in asked.calls)
    assert [user.id for user in found] == [1]
    assert first["filters"] == [
        {"filterType": "text", "field": "displayName", "text": "ann"},
        {"filterType": "text", "field": "emailAddress", "text": "@example.com"},
        {"filterType": "text", "text": "q"},
    ]
    assert (first["limit"], first["offset"], first["includeDeleted"]) == (200, 0, True)
    assert first["sort"] == {"field": "displayName", "order": "ASC"}
    assert (second["limit"], second["offset"]) == (200, 1)
    assert {"id", "displayName", "emailAddress", "roleId", "isActive"} <= set(first["attributes"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("zoë",), {"Zoë Quill", "Zoë Query"}),
        (("EXAMPLE.ORG",), {"Zoë Query", "Bob Example.org"}),
        ({"name": "qu"}, {"Zoë Quill", "Zoë Query"}),
        ({"email": "quill"}, {"Zoë Quill"}),
        ({"name": "zoë", "email": "example.org"}, {"Zoë Query"}),
        ({"name": "zoë", "role_id": 2}, {"Zoë Quill"}),
        ({"name": "nobody"}, set()),
    ],
    ids=lambda value: str(sorted(value)),
)
@pytest.mark.parametrize("family", ["product", "platform"])
async def test_search_finds_the_same_in_both_families(admin, oauth, domo_sandbox, person, family, arguments, expected):
    for user in list(domo_sandbox.state.users.values()):
        if user is not person and user is not domo_sandbox.admin:
            del domo_sandbox.state.users[user.id]
    domo_sandbox.add_user("Zoë Query", "query@example.org", role_id=4)
    domo_sandbox.add_user("Bob Example.org", "bob@example.com")
    auth = admin if family == "product" else oauth
    search = DomoUser.search(auth, **arguments) if isinstance(arguments, dict) else DomoUser.search(auth, *arguments)
    assert {user.name for user in await search} == expected


async def test_search_by_a_custom_role(admin, domo_sandbox, person):
    person.role_id = 700_000_001
    assert person.id in [user.id for user in await DomoUser.search(admin, role_id=700_000_001)]
    assert not await DomoUser.search(admin, name="zoë", role_id=2)


async def test_search_by_a_custom_role_on_the_platform_finds_it_or_says_that_it_cannot(oauth, person):
    person.role_id = 700_000_001
    try:
        found = [user.id for user in await DomoUser.search(oauth, name="zoë", role_id=700_000_001)]
    except errors.UnsupportedByAuth:
        return
    assert found == [person.id]


async def test_search_walks_capped_pages(domo_sandbox, admin):
    domo_sandbox.search_page_cap = 5
    for n in range(12):
        domo_sandbox.add_user(f"Twelve {n:02}", f"twelve{n}@example.net")
    assert [user.name for user in await DomoUser.search(admin, "twelve")] == [f"Twelve {n:02}" for n in range(12)]


# -- create


async def test_create_sends_what_domo_wants_then_the_details_then_reads_it_again():
    async with product_wire() as (wire, auth):
        wire.post(SEARCH).respond(json={"users": []})
        made = wire.post(CREATE).respond(json={"userId": 27, "displayName": "Ann", "detail": {"email": "a@b.c"}})
        changed = wire.patch(f"{USERS}/27").respond(json=identity())
        wire.get(f"{USERS}/27").respond(json={"users": [identity(title="Analyst")]})
        user = await DomoUser.create(
            auth, name="Ann", email="ann@example.com", role_id=2, title="Analyst", location="Oslo"
        )
    assert query_of(made) == {"sendInvite": "false"}
    assert body_of(made) == {"displayName": "Ann", "roleId": 2, "detail": {"email": "ann@example.com"}}
    assert body_of(changed) == {
        "attributes": [{"key": "title", "values": ["Analyst"]}, {"key": "employeeLocation", "values": ["Oslo"]}]
    }
    assert (user.id, user.title) == (27, "Analyst")  # the id came as `userId`, the rest from the second look


async def test_create_names_a_manager_as_text_as_update_does():
    async with product_wire() as (wire, auth):
        wire.post(SEARCH).respond(json={"users": []})
        wire.post(CREATE).respond(json={"id": 27})
        changed = wire.patch(f"{USERS}/27").respond(json=identity())
        wire.get(f"{USERS}/27").respond(json={"users": [identity(reportsTo="5")]})
        user = await DomoUser.create(auth, name="Ann", email="ann@example.com", role_id=2, manager_id=5)
    assert body_of(changed) == {"attributes": [{"key": "reportsTo", "values": ["5"]}]}
    assert user.manager_id == 5


async def test_create_in_both_families(anyone, domo_sandbox):
    user = await DomoUser.create(
        anyone, name="Ida", email="ida@example.com", role_id=4, title="Analyst", phone="1", location="Oslo"
    )
    stored = domo_sandbox.find_user("ida@example.com")
    assert (stored.id, stored.display_name, stored.role_id) == (user.id, "Ida", 4)
    assert (stored.attributes["title"], stored.attributes["employeeLocation"]) == ("Analyst", "Oslo")
    assert (user.title, user.phone, user.location, user.role_id) == ("Analyst", "1", "Oslo", 4)
    invitations = [one.query["sendInvite"] for one in domo_sandbox.requests if "sendInvite" in one.query]
    assert invitations == ["false"]
    await DomoUser.create(anyone, name="Ivo", email="ivo@example.com", role_id=4, send_invite=True)
    assert [one.query["sendInvite"] for one in domo_sandbox.requests if "sendInvite" in one.query][-1] == "true"


@pytest.mark.parametrize(("role_id", "sent_role"), [(1, {"role": "Admin"}), (4, {"role": "Participant"})])
async def test_create_on_the_platform_names_a_system_role(role_id, sent_role):
    async with platform_wire() as (wire, auth):
        made = wire.post("/v1/users").respond(json={"id": 5})
        wire.get("/v1/users/5").respond(json={"id": 5, "name": "Ann", "roleId": str(role_id)})
        user = await DomoUser.create(auth, name="Ann", email="a@b.c", role_id=role_id, time_zone="UTC")
    assert body_of(made) == {"name": "Ann", "email": "a@b.c", **sent_role, "timezone": "UTC"}
    assert user.role_id == role_id


async def test_create_with_a_custom_role_in_both_families(anyone, domo_sandbox):
    user = await DomoUser.create(anyone, name="Ida", email="ida@example.com", role_id=700_000_001)
    assert user.role_id == domo_sandbox.find_user(user.id).role_id == 700_000_001


async def test_a_taken_address_is_a_conflict_in_both_families(anyone, person, domo_sandbox):
    before = len(domo_sandbox.state.users)
    with pytest.raises(errors.ConflictError):
        await DomoUser.create(anyone, name="Other", email=person.email.upper(), role_id=4)
    assert len(domo_sandbox.state.users) == before


@pytest.mark.parametrize("wrong", [{"name": ""}, {"email": "nowhere"}, {"shoe_size": 42}], ids=str)
async def test_create_refuses_bad_arguments_before_anything_is_sent(anyone, domo_sandbox, wrong):
    with pytest.raises(errors.InvalidInputError):
        await DomoUser.create(anyone, **({"name": "Ann", "email": "a@b.c", "role_id": 4} | wrong))
    assert not domo_sandbox.requests


async def test_fields_that_the_platform_lacks_are_refused_by_name_before_anything_is_sent(oauth, domo_sandbox):
    with pytest.raises(errors.InvalidInputError, match="department"):
        await DomoUser.create(oauth, name="Ann", email="a@b.c", role_id=4, department="Finance")
    assert not domo_sandbox.requests


async def test_an_answer_without_an_id_is_a_decode_error():
    async with product_wire() as (wire, auth):
        wire.post(SEARCH).respond(json={"users": []})
        wire.post(CREATE).respond(json={"displayName": "Ann"})
        with pytest.raises(errors.DomoDecodeError):
            await DomoUser.create(auth, name="Ann", email="a@b.c", role_id=4)


async def test_an_answer_without_an_id_from_the_platform_is_a_decode_error_too():
    async with platform_wire() as (wire, auth):
        wire.post("/v1/users").respond(json={"name": "Ann"})
        with pytest.raises(errors.DomoDecodeError):
            await DomoUser.create(auth, name="Ann", email="a@b.c", role_id=4)


async def test_create_is_not_repeated_after_a_lost_answer(anyone, domo_sandbox):
    domo_sandbox.misbehave("reset_after", method="POST", path=r"/(api/content/v3|v1)/users$")
    with pytest.raises(errors.OutcomeUnknown):
        await DomoUser.create(anyone, name="Ida", email="ida@example.com", role_id=4)
    assert len([one for one in domo_sandbox.state.users.values() if one.email == "ida@example.com"]) == 1


# -- update


async def test_update_sends_what_was_given_and_nothing_else():
    async with product_wire() as (wire, auth):
        wire.get(f"{USERS}/27").respond(json={"users": [identity(displayName="Anna", roleId=3)]})
        changed = wire.patch(f"{USERS}/27").respond(json=identity())
        user = DomoUser.from_json(auth, identity(title="Analyst"))
        assert await user.update(name="Anna", role_id=3, title=None, department=NOT_GIVEN, manager_id=5) is user
    assert body_of(changed) == {
        "attributes": [
            {"key": "displayName", "values": ["Anna"]},
            {"key": "roleId", "values": [3]},
            {"key": "title", "values": [None]},
            {"key": "reportsTo", "values": ["5"]},  # a text, alone among the ids
        ]
    }
    assert (user.name, user.role_id, user.title) == ("Anna", 3, None)


async def test_update_knows_each_field_by_its_name_on_the_wire():
    given = {
        "name": ("displayName", "N"),
        "email": ("emailAddress", "n@example.com"),
        "role_id": ("roleId", 3),
        "title": ("title", "T"),
        "department": ("department", "D"),
        "phone": ("phoneNumber", "1"),
        "location": ("employeeLocation", "L"),
        "employee_id": ("employeeId", "E1"),
        "employee_number": ("employeeNumber", 7),
        "manager_id": ("reportsTo", "5"),
        "alternate_email": ("alternateEmail", "m@example.com"),
        "locale": ("locale", "en-US"),
        "time_zone": ("timeZone", "UTC"),
    }
    async with product_wire() as (wire, auth):
        wire.get(f"{USERS}/27").respond(json={"users": [identity()]})
        changed = wire.patch(f"{USERS}/27").respond(json=identity())
        await DomoUser.from_json(auth, identity()).update(**{name: value for name, (_, value) in given.items()})
    assert body_of(changed) == {"attributes": [{"key": key, "values": [value]} for key, value in given.values()]}


async def test_update_of_nothing_asks_nobody(anyone, person, domo_sandbox):
    user = await DomoUser.get_by_id(anyone, person.id)
    domo_sandbox.requests.clear()
    assert await user.update() is user
    assert await user.update(name=NOT_GIVEN, title=NOT_GIVEN) is user
    assert not domo_sandbox.requests


async def test_none_clears_and_the_rest_stays_in_both_families(anyone, person):
    user = await DomoUser.get_by_id(anyone, person.id)
    await user.update(title=None, phone="2")
    assert (user.title, user.phone) == (None, "2")
    assert "title" not in person.attributes
    assert person.attributes["phoneNumber"] == "2"
    assert person.attributes["employeeLocation"] == "Oslo"
    assert person.attributes["alternateEmail"] == "zq@example.com"
    assert person.attributes["department"] == "Finance"
    assert (person.display_name, person.email, person.role_id) == ("Zoë Quill", "Zoe.Quill@Example.com", 2)


async def test_a_manager_is_set_and_taken_away(admin, person, domo_sandbox):
    manager = domo_sandbox.add_user("Boss", "boss@example.com")
    user = await DomoUser.get_by_id(admin, person.id)
    assert user.manager_id == domo_sandbox.admin.id
    assert (await user.update(manager_id=manager.id)).manager_id == manager.id
    assert person.attributes["reportsTo"] == str(manager.id)
    assert (await user.update(manager_id=None)).manager_id is None


async def test_a_refused_update_leaves_the_object_as_it_was(admin, person, domo_sandbox):
    user = await DomoUser.get_by_id(admin, person.id)
    before = user.to_dict()
    with pytest.raises(errors.BadRequestError):
        await user.update(title="New", manager_id=person.id)  # nobody reports to himself
    with pytest.raises(errors.BadRequestError):
        await user.update(email=domo_sandbox.username)
    assert user.to_dict() == before


async def test_update_on_the_platform_sends_the_whole_user_merged():
    now = {
        "id": 5,
        "name": "Ann",
        "email": "a@b.c",
        "role": "Data steward",
        "roleId": "700000001",
        "title": "Analyst",
        "phone": "1",
        "location": "Oslo",
        "employeeNumber": 42,
        "alternateEmail": "x@b.c",
        "createdAt": "2017-06-12T20:23:57Z",
        "deleted": False,
        "image": "https://acme.domo.com/x",
        "groups": [{"id": 1, "name": "Default"}],
    }
    async with platform_wire() as (wire, auth):
        wire.get("/v1/users/5").respond(json=now)
        put = wire.put("/v1/users/5").respond(200)
        await (await DomoUser.get_by_id(auth, 5)).update(name="Anna", title=None, time_zone="UTC")
    assert body_of(put) == {
        "name": "Anna",
        "email": "a@b.c",
        "role": "Participant",
        "roleId": 700_000_001,  # a custom role has no name here
        "title": None,
        "phone": "1",
        "location": "Oslo",
        "employeeNumber": 42,
        "alternateEmail": "x@b.c",
        "timezone": "UTC",
    }


async def test_update_on_the_platform_changes_and_keeps_roles(oauth, person):
    user = await DomoUser.get_by_id(oauth, person.id)
    await user.update(role_id=700_000_001)
    assert person.role_id == user.role_id == 700_000_001
    await user.update(name="Zoë Q.")
    assert (person.role_id, person.display_name) == (700_000_001, "Zoë Q.")
    await user.update(role_id=3)
    assert person.role_id == 3


async def test_a_field_that_the_platform_lacks_is_refused_before_anything_is_sent(oauth, person, domo_sandbox):
    user = await DomoUser.get_by_id(oauth, person.id)
    domo_sandbox.requests.clear()
    with pytest.raises((errors.InvalidInputError, errors.UnsupportedByAuth), match="department"):
        await user.update(name="New", department="Finance")
    assert sent(domo_sandbox) == []


# -- upsert


async def test_upsert_creates_then_updates_the_same_user(anyone, domo_sandbox):
    made = await DomoUser.upsert(anyone, name="Ida", email="ida@example.com", role_id=4, title="Analyst")
    again = await DomoUser.upsert(anyone, name="Ida B.", email="IDA@example.com", role_id=2, title=None)
    assert made.id == again.id
    stored = domo_sandbox.find_user(made.id)
    assert (stored.display_name, stored.role_id, stored.attributes.get("title")) == ("Ida B.", 2, None)
    assert stored.email == "ida@example.com"


@pytest.mark.parametrize("fault", ["reset_after", "truncated", "empty"])
async def test_upsert_finds_the_user_whose_creation_went_unanswered(anyone, domo_sandbox, fault):
    domo_sandbox.misbehave(fault, method="POST", path=r"/(api/content/v3|v1)/users$")
    if fault != "reset_after":  # an answer that cannot be read says less, and is passed on; the next run converges
        with pytest.raises(errors.DomoError):
            await DomoUser.upsert(anyone, name="Ida", email="ida@example.com", role_id=4, title="Analyst")
    user = await DomoUser.upsert(anyone, name="Ida", email="ida@example.com", role_id=4, title="Analyst")
    assert user.title == "Analyst"
    assert [one.id for one in domo_sandbox.state.users.values() if one.email == "ida@example.com"] == [user.id]


async def test_upsert_passes_the_lost_answer_on_where_nothing_was_made(anyone, domo_sandbox):
    domo_sandbox.misbehave("reset_before", method="POST", path=r"/(api/content/v3|v1)/users$")
    with pytest.raises(errors.OutcomeUnknown):
        await DomoUser.upsert(anyone, name="Ida", email="ida@example.com", role_id=4)
    assert domo_sandbox.state.user_by_email("ida@example.com") is None


async def test_upserts_at_once_make_one_user_and_all_succeed(anyone, domo_sandbox):
    domo_sandbox.misbehave("latency", seconds=0.02, times=None)  # so that all look before one of them creates
    made = []

    async def upsert():
        made.append(await DomoUser.upsert(anyone, name="Ida", email="ida@example.com", role_id=4))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(upsert)
    assert len(made) == 8
    assert len({user.id for user in made}) == 1


@pytest.mark.parametrize("exists", [False, True])
async def test_upsert_refuses_an_unknown_field_alike_whether_the_user_exists(admin, person, exists):
    email = person.email if exists else "new@example.com"
    with pytest.raises(errors.InvalidInputError, match="shoe_size"):
        await DomoUser.upsert(admin, name="Ida", email=email, role_id=4, shoe_size=42)


@pytest.mark.parametrize("exists", [False, True])
async def test_upsert_may_invite_whom_it_creates(anyone, person, exists, domo_sandbox):
    email = person.email if exists else "new@example.com"
    user = await DomoUser.upsert(anyone, name="Ida", email=email, role_id=4, send_invite=True)
    assert user.name == "Ida"
    asked = [one.query["sendInvite"] for one in domo_sandbox.requests if "sendInvite" in one.query]
    assert asked == ([] if exists else ["true"])


# -- the end, and passwords


async def test_delete_in_both_families(anyone, person, domo_sandbox):
    user = await DomoUser.get_by_id(anyone, person.id)
    await user.delete()
    assert user.is_active is False
    assert person.deleted is True
    assert person.id not in [one.id for one in await DomoUser.get_all(anyone)]
    with pytest.raises(errors.NotFoundError):
        await user.delete()


async def test_direct_sign_on_is_a_bare_list_and_a_lower_case_flag():
    async with product_wire() as (wire, auth):
        asked = wire.post("/api/content/v3/users/directSignOn").respond(200)
        await DomoUser.from_json(auth, identity()).set_direct_sign_on(True)
        assert (query_of(asked), body_of(asked)) == ({"value": "true"}, [27])
        await DomoUser.from_json(auth, identity()).set_direct_sign_on(False)
        assert query_of(asked) == {"value": "false"}


async def test_direct_sign_on(admin, person):
    user = await DomoUser.get_by_id(admin, person.id)
    await user.set_direct_sign_on(True)
    assert person.direct_sign_on is True
    await user.set_direct_sign_on(False)
    assert person.direct_sign_on is False


@pytest.mark.parametrize("body", [b"", b"{}", b'{"status": "ok"}'])
async def test_a_password_is_set_also_where_domo_answers_nothing(body):
    async with product_wire() as (wire, auth):
        asked = wire.put("/api/identity/v1/password").respond(200, content=body)
        await DomoUser.from_json(auth, identity()).set_password("N3w!pass")
    assert body_of(asked) == {"domoUserId": 27, "password": "N3w!pass"}


async def test_a_password_that_was_used_before_is_refused_with_status_200(admin, person):
    user = await DomoUser.get_by_id(admin, person.id)
    await user.set_password("N3w!pass 1")
    assert person.password == "N3w!pass 1"
    with pytest.raises(errors.BadRequestError, match="used previously") as caught:
        await user.set_password("N3w!pass 1")
    assert caught.value.status == 200
    assert caught.value.domo_message == "Password has been used previously."
    assert "N3w!pass" not in repr(caught.value) + str(caught.value)


async def test_a_password_is_not_set_twice_after_a_lost_answer(domo_sandbox, person):
    """The second time Domo would call it used before, and a success would look like a refusal."""
    domo_sandbox.misbehave("reset_after", path="/api/identity/v1/password")
    async with session_auth(domo_sandbox, retry=RetryPolicy(attempts=4, base=0.01)) as auth:
        with pytest.raises(errors.OutcomeUnknown):
            await (await DomoUser.get_by_id(auth, person.id)).set_password("N3w!pass 1")
    assert len(sent(domo_sandbox, "PUT")) == 1


# -- related


async def test_get_role(admin, person):
    person.role_id = 700_000_001
    role = await (await DomoUser.get_by_id(admin, person.id)).get_role()
    assert type(role) is DomoRole
    assert (role.id, role.name) == (700_000_001, "Data steward")


async def test_get_role_where_the_shape_at_hand_does_not_tell_it(admin, person):
    user = DomoUser.from_json(admin, await routes.get_user_v2(admin, person.id))
    assert user.role_id is None
    assert (await user.get_role()).id == user.role_id == 2


async def test_get_access_tokens_are_the_living_ones_of_this_user(admin, person, domo_sandbox):
    mine = domo_sandbox.add_access_token(person.id, "mine")
    domo_sandbox.add_access_token(person.id, "over", lifetime=-1)
    domo_sandbox.add_access_token(domo_sandbox.admin.id, "not mine")
    tokens = await (await DomoUser.get_by_id(admin, person.id)).get_access_tokens()
    assert [(type(token), token.id) for token in tokens] == [(DomoAccessToken, mine.id)]


UNSUPPORTED = {
    "set_direct_sign_on": lambda user: user.set_direct_sign_on(True),
    "set_password": lambda user: user.set_password("N3w!pass"),
    "get_role": lambda user: user.get_role(),
    "get_access_tokens": lambda user: user.get_access_tokens(),
}


@pytest.mark.parametrize("listed", [False, True], ids=["fetched", "listed"])
@pytest.mark.parametrize("what", UNSUPPORTED)
async def test_what_the_platform_lacks_is_refused_before_anything_is_sent(oauth, person, domo_sandbox, what, listed):
    user = await DomoUser.get_by_email(oauth, person.email) if listed else await DomoUser.get_by_id(oauth, person.id)
    domo_sandbox.requests.clear()
    with pytest.raises(errors.UnsupportedByAuth, match="SessionAuth or AccessTokenAuth"):
        await UNSUPPORTED[what](user)
    assert sent(domo_sandbox) == []


async def test_nothing_is_changed_in_a_dry_run(anyone, person, domo_sandbox):
    user = await DomoUser.get_by_id(anyone, person.id)
    with dry_run():
        for change in (
            lambda: user.update(name="New"),
            lambda: user.delete(),
            lambda: DomoUser.create(anyone, name="Ida", email="ida@example.com", role_id=4),
            lambda: DomoUser.upsert(anyone, name="New", email=person.email, role_id=4),
        ):
            with pytest.raises(errors.DryRunRefused):
                await change()
    assert (person.display_name, person.deleted) == ("Zoë Quill", False)
    assert user.is_active is not False
    assert domo_sandbox.state.user_by_email("ida@example.com") is None


# -- get_many


async def test_get_many_keeps_the_order_of_the_ids(anyone, domo_sandbox):
    ids = sorted(domo_sandbox.state.users, reverse=True)
    users = await DomoUser.get_many(anyone, ids, max_concurrency=3)
    assert isinstance(users, Listing)
    assert [user.id for user in users] == ids
    assert await DomoUser.get_many(anyone, []) == []
    assert [user.id for user in await DomoUser.get_many(anyone, iter(ids[:2]))] == ids[:2]


async def test_get_many_reports_all_failures_and_hands_over_the_rest(admin, domo_sandbox):
    ids = list(domo_sandbox.state.users)
    with pytest.raises(errors.SeveralFailedError, match="2 of 14") as caught:
        await DomoUser.get_many(admin, [NOBODY, *ids, 998])
    assert set(caught.value.failures) == {NOBODY, 998}
    assert all(type(error) is errors.NotFoundError for error in caught.value.failures.values())
    assert list(caught.value.results) == ids
    assert all(user.id == user_id for user_id, user in caught.value.results.items())


async def test_get_many_keeps_to_its_limit(domo_sandbox, admin):
    await admin.sign_in()
    under_way, most = 0, 0

    def watch(phase, record):
        nonlocal under_way, most
        if phase == "received":
            under_way += 1
            most = max(most, under_way)

    domo_sandbox.watch(watch)
    domo_sandbox.misbehave("latency", seconds=0.01, times=None)

    def done(phase, record):
        nonlocal under_way
        if phase == "acted":
            under_way -= 1

    domo_sandbox.watch(done)
    await DomoUser.get_many(admin, list(domo_sandbox.state.users), max_concurrency=3)
    assert most == 3


@pytest.mark.parametrize("limit", [0, -1])
async def test_get_many_refuses_a_limit_that_lets_nothing_through(admin, domo_sandbox, limit):
    with pytest.raises(errors.InvalidInputError):
        await DomoUser.get_many(admin, [1], max_concurrency=limit)
    assert not domo_sandbox.requests


# -- equality, and what is shown


async def test_users_are_equal_by_kind_instance_and_id(admin, token_admin, oauth, person, domo_sandbox):
    user = await DomoUser.get_by_id(admin, person.id)
    same = await Colleague.get_by_id(token_admin, person.id)
    assert user == same
    assert hash(user) == hash(same)
    assert len({user, same}) == 1
    assert user != await DomoUser.get_by_id(admin, domo_sandbox.admin.id)
    assert user != DomoGroup.from_json(admin, {"id": person.id})
    assert user != person.id
    assert user != await DomoUser.get_by_id(oauth, person.id)  # nobody said that it is the same instance
    options = options_for(domo_sandbox)
    async with OAuthClientAuth(
        domo_sandbox.client_id, domo_sandbox.client_secret, domo_instance="ACME.domo.com", options=options
    ) as told:
        assert user == await DomoUser.get_by_id(told, person.id)


async def test_url_opens_the_person_where_the_instance_is_known(admin, oauth, person):
    user = await DomoUser.get_by_id(admin, person.id)
    assert user.url == f"https://acme.domo.com/admin/people/{person.id}"
    assert (await DomoUser.get_by_id(oauth, person.id)).url is None


async def test_to_dict_and_repr_leave_out_the_plumbing(admin, person):
    user = await DomoUser.get_by_id(admin, person.id)
    told = user.to_dict()
    assert next(iter(told)) == "id"
    assert not {"auth", "raw"} & set(told)
    assert (told["id"], told["name"], told["title"]) == (person.id, "Zoë Quill", "Analyst")
    assert isinstance(told["created_at"], datetime)
    assert f"id={person.id}" in repr(user)
    assert "SessionAuth" not in repr(user)


async def test_html_escapes_what_people_call_themselves(admin, person):
    person.display_name = '<script>alert("x")</script> & Co'
    user = await DomoUser.get_by_id(admin, person.id)
    for shown in (user._repr_html_(), (await DomoUser.search(admin, email=person.email))._repr_html_()):
        assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; Co" in shown
        assert "<script>" not in shown
        assert shown.count("<table>") == shown.count("</table>") == 1


async def test_refresh_takes_over_everything(anyone, person):
    user = await DomoUser.get_by_id(anyone, person.id)
    person.display_name = "Renamed"
    person.attributes.pop("title")
    assert await user.refresh() is user
    assert (user.name, user.title) == ("Renamed", None)
    assert "Renamed" in str(user.raw)


async def test_refresh_of_what_is_gone_leaves_the_object_alone(admin, person, domo_sandbox):
    user = await DomoUser.get_by_id(admin, person.id)
    del domo_sandbox.state.users[person.id]
    with pytest.raises(errors.NotFoundError):
        await user.refresh()
    assert (user.id, user.name) == (person.id, "Zoë Quill")


# -- the ways out of a pager


async def test_first_fetches_one_page(admin, domo_sandbox):
    domo_sandbox.users_page_cap = 5
    first = await DomoUser.get_all(admin).first()
    assert first.id == domo_sandbox.admin.id
    assert sent(domo_sandbox) == [("GET", USERS)]
    assert await DomoUser.search(admin, name="nobody at all").first() is None


async def test_where_narrows_and_leaves_the_pager_as_it_was(admin, domo_sandbox):
    domo_sandbox.add_user("Second", "second@example.com", role_id=1)
    everyone = DomoUser.get_all(admin)
    admins = everyone.where(lambda user: user.role_id == 1)
    some = admins.where(lambda user: user.id != domo_sandbox.admin.id)
    expected = {user.id for user in domo_sandbox.state.users.values() if user.role_id == 1}
    assert {user.id for user in await admins} == expected
    assert {user.id for user in await some} == expected - {domo_sandbox.admin.id}
    assert {user.id async for user in some} == expected - {domo_sandbox.admin.id}
    assert len(await everyone) == len(domo_sandbox.state.users)
    assert (await some.first()).name == "Second"


async def test_each_use_of_a_pager_asks_anew(admin, domo_sandbox):
    everyone = DomoUser.get_all(admin)
    before = len(await everyone)
    domo_sandbox.add_user("New", "new@example.com")
    assert len(await everyone) == before + 1


async def test_to_pandas(admin, domo_sandbox, person):
    frame = await DomoUser.get_all(admin).to_pandas()
    assert len(frame) == len(domo_sandbox.state.users)
    assert {"id", "name", "email", "created_at"} <= set(frame.columns)
    assert not {"auth", "raw"} & set(frame.columns)
    assert frame.set_index("id").loc[person.id, "title"] == "Analyst"
    assert frame["created_at"].dt.tz is not None
    listed = await DomoUser.get_all(admin)
    assert listed.to_pandas().equals(frame)
    assert listed.to_dicts() == [user.to_dict() for user in listed]


async def test_a_listing_shows_itself_as_a_table(admin):
    listed = await DomoUser.get_all(admin)
    shown = listed._repr_html_()
    assert shown.count("<tr>") == len(listed) + 1
    assert "<th>email</th>" in shown
    assert Listing()._repr_html_() == "<pre>0 items</pre>"


# -- classes of other people


@pytest.mark.parametrize("kind", [Colleague, Neighbour])
async def test_a_subclass_comes_back_as_itself_everywhere(anyone, person, kind):
    user = await kind.get_by_id(anyone, person.id)
    found = [
        user,
        await kind.get_me(anyone),
        await kind.get_by_email(anyone, person.email),
        await kind.get_all(anyone).first(),
        *await kind.get_all(anyone),
        *await kind.search(anyone, name="zoë"),
        *await kind.get_many(anyone, [person.id]),
        await kind.create(anyone, name="Ida", email="ida@example.com", role_id=4),
        await kind.upsert(anyone, name="Ida", email="ida@example.com", role_id=4),
        await kind.upsert(anyone, name="Ivo", email="ivo@example.com", role_id=4),
        await user.update(title="T"),
        await user.refresh(),
    ]
    assert {type(one) for one in found} == {kind}


async def test_a_subclass_reads_fields_of_its_own(admin, person):
    person.attributes["StoreRegion"] = "North"
    user = await Colleague.get_by_id(admin, person.id)
    assert user.region == user.to_dict()["region"] == "North"
    assert (await Colleague.get_by_id(admin, admin_id := (await admin.who_am_i()).id)).region is None
    assert admin_id != person.id
    person.attributes["StoreRegion"] = "South"
    assert (await user.refresh()).region == "South"
    for listing in (Colleague.get_all(admin), Colleague.search(admin, name="zoë")):
        assert [one.region for one in await listing if one.id == person.id] == ["South"]


@entity
class MyToken(DomoAccessToken):
    pass


@entity
class MyRole(DomoRole):
    pass


async def test_options_choose_the_classes_of_related_objects(domo_sandbox, person):
    token = domo_sandbox.add_access_token(person.id, "left behind")
    team = domo_sandbox.add_group("Pair", [person.id])
    classes = {"USER": Colleague, "ACCESS_TOKEN": MyToken, "ROLE": MyRole}
    async with session_auth(domo_sandbox, classes=classes) as auth:
        user = await DomoUser.get_by_id(auth, person.id)
        assert type(user) is DomoUser  # what is asked for by name is what comes
        assert type(await user.get_role()) is MyRole
        assert [(type(one), one.id) for one in await user.get_access_tokens()] == [(MyToken, token.id)]
        group = await DomoGroup.get_by_id(auth, team.id)
        assert [(type(one), one.id) for one in await group.get_members()] == [(Colleague, person.id)]
        members = await (await DomoRole.get_by_id(auth, 2)).get_members()
        assert {type(one) for one in members} == {Colleague}
