"""Groups, roles, API clients and DataSets; and what a family does not have."""

from datetime import UTC, datetime

import httpx
import pytest

from domokit import (
    AccessTokenAuth,
    AccountConfig,
    DomoAccessToken,
    DomoAccount,
    DomoApiClient,
    DomoDataset,
    DomoEntity,
    DomoGroup,
    DomoRole,
    DomoUser,
    OAuthClientAuth,
    Secret,
    dry_run,
    entity,
    errors,
)
from domokit.entities.listing import Listing
from domokit.sandbox import Sandbox
from domokit.testing import options_for, session_auth

from .helpers import body_of, platform_wire, product_wire, query_of, sent, token_auth_of

GROUPS = "/api/content/v2/groups"
CLIENTS = "/api/identity/v1/developer-tokens"
ROLES = "/api/authorization/v1/roles"


# -- groups


async def test_the_two_shapes_of_a_product_group_tell_the_same():
    listed = {
        "name": "Data team",
        "groupId": 1200,
        "owners": [{"type": "USER", "id": "27", "displayName": "Ann"}],
        "groupType": "open",
        "groupMembers": [{"type": "USER", "id": "27"}],
        "memberCount": 2,
        "created": "2023-06-08 20:59:05.0",
        "description": "who count",
    }
    single = {
        "id": 1200,
        "name": "Data team",
        "type": "open",
        "userIds": [27, 28],
        "creatorId": 27,
        "memberCount": 2,
        "description": "who count",
        "active": True,
    }
    async with product_wire() as (wire, auth):
        asked = wire.get(f"{GROUPS}/grouplist")
        asked.side_effect = [httpx.Response(200, json=[listed]), httpx.Response(200, json=[])]
        wire.get(f"{GROUPS}/1200").respond(json=single)
        (group,) = await DomoGroup.get_all(auth)
        fetched = await DomoGroup.get_by_id(auth, 1200)
    assert group == fetched
    for one in (group, fetched):
        assert (one.id, one.name, one.group_type) == (1200, "Data team", "open")
        assert (one.description, one.member_count) == ("who count", 2)
    assert group.created_at == datetime(2023, 6, 8, 20, 59, 5, tzinfo=UTC)
    assert fetched.is_active is True
    assert fetched.url == "https://acme.domo.com/admin/groups/1200"


async def test_groups_in_both_families(anyone, domo_sandbox, person):
    team = domo_sandbox.add_group("Pair", [person.id, domo_sandbox.admin.id])
    living = {group.id for group in domo_sandbox.state.groups.values() if group.active}
    assert {group.id for group in await DomoGroup.get_all(anyone)} == living
    group = await DomoGroup.get_by_id(anyone, str(team.id))
    assert (group.id, group.name, group.member_count, group.is_active) == (team.id, "Pair", 2, True)
    assert sorted(await group.get_member_ids()) == sorted([person.id, domo_sandbox.admin.id])
    members = await group.get_members()
    assert isinstance(members, Listing)
    assert {(type(one), one.email) for one in members} == {
        (DomoUser, "Zoe.Quill@Example.com"),
        (DomoUser, domo_sandbox.username),
    }
    with pytest.raises(errors.NotFoundError):
        await DomoGroup.get_by_id(anyone, 999)


async def test_group_search_is_exact_in_both_families(anyone, domo_sandbox):
    wanted = domo_sandbox.add_group("Pair")
    for name in ("Pair programming", "pair", "Au Pair"):
        domo_sandbox.add_group(name)
    assert [group.id for group in await DomoGroup.search(anyone, name="Pair")] == [wanted.id]
    assert await DomoGroup.search(anyone, name="Pai") == []


async def test_a_big_group_is_read_in_pages():
    sandbox = Sandbox(users=30)
    sandbox.users_page_cap = 7
    big = sandbox.add_group("Everybody", sandbox.state.users)
    async with session_auth(sandbox) as auth:
        found = await (await DomoGroup.get_by_id(auth, big.id)).get_member_ids()
    assert sorted(found) == sorted(sandbox.state.users)


async def test_many_groups_are_read_in_pages(anyone, domo_sandbox):
    for n in range(130):
        domo_sandbox.add_group(f"G {n:03}")
    expected = {group.name for group in domo_sandbox.state.groups.values() if group.active}
    found = [group.name for group in await DomoGroup.get_all(anyone)]
    assert len(found) == len(expected)
    assert set(found) == expected


async def test_a_deleted_group_is_still_fetched_by_the_product_api_and_says_so(admin, oauth, domo_sandbox):
    team = domo_sandbox.add_group("Gone")
    team.active = False
    assert (await DomoGroup.get_by_id(admin, team.id)).is_active is False
    with pytest.raises(errors.NotFoundError):
        await DomoGroup.get_by_id(oauth, team.id)


async def test_members_of_the_platform_are_bare_ids():
    async with platform_wire() as (wire, auth):
        asked = wire.get("/v1/groups/12/users")
        asked.side_effect = [httpx.Response(200, json=[5, 6]), httpx.Response(200, json=[])]
        assert await DomoGroup.from_json(auth, {"id": 12}).get_member_ids() == [5, 6]
        assert query_of(asked) == {"offset": "2", "limit": "500"}


# -- roles


async def test_roles(admin, domo_sandbox):
    roles = await DomoRole.get_all(admin)
    assert {role.id: role.name for role in roles} == {role.id: role.name for role in domo_sandbox.state.roles.values()}
    steward = await DomoRole.get_by_id(admin, "700000001")
    assert (steward.id, steward.name, steward.description) == (700_000_001, "Data steward", "Looks after all data")
    assert steward.grant_count == 3
    assert steward.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert await steward.get_grants() == ["dataset.create", "dataset.manage", "ui.admin"]
    holders = {user.id for user in domo_sandbox.state.users.values() if user.role_id == steward.id}
    assert steward.user_count == len(holders)
    assert {user.id for user in await steward.get_members()} == holders
    with pytest.raises(errors.NotFoundError):
        await DomoRole.get_by_id(admin, 99)


async def test_members_of_a_role_come_in_a_shape_of_their_own():
    member = {
        "userId": 27,
        "email": "ann@example.com",
        "displayName": "Ann",
        "roleId": 1,
        "department": "Analytics",
        "jobTitle": "Analyst",
        "hireDate": 1_590_000_000_000,
        "location": None,
    }
    async with product_wire() as (wire, auth):
        wire.get(f"{ROLES}/1/users").respond(json={"users": [member]})
        (user,) = await DomoRole.from_json(auth, {"id": 1}).get_members()
    assert (user.id, user.name, user.email, user.role_id) == (27, "Ann", "ann@example.com", 1)
    assert (user.department, user.title, user.location) == ("Analytics", "Analyst", None)


async def test_an_unknown_role_has_no_grants_and_no_members(admin):
    nothing = DomoRole.from_json(admin, {"id": 99})
    assert await nothing.get_grants() == []
    assert await nothing.get_members() == []


# -- API clients


@pytest.mark.parametrize("wrapped", [False, True])
async def test_both_shapes_of_the_list_of_api_clients(admin, domo_sandbox, wrapped):
    domo_sandbox.legacy_api_clients = wrapped
    (client,) = await DomoApiClient.get_all(admin)
    stored = next(iter(domo_sandbox.state.api_clients.values()))
    assert (client.id, client.name, client.client_id) == (stored.id, "sandbox", stored.client_id)
    assert (client.owner_id, client.scopes) == (domo_sandbox.admin.id, stored.scopes)
    assert client.client_secret is None
    assert await DomoApiClient.get_by_id(admin, str(stored.id)) == client
    with pytest.raises(errors.NotFoundError):
        await DomoApiClient.get_by_id(admin, 1)


@pytest.mark.parametrize("answer", [[], {"entries": []}, {"entries": None}, {}], ids=str)
async def test_no_api_clients(answer):
    async with product_wire() as (wire, auth):
        wire.get(CLIENTS).respond(json=answer)
        assert await DomoApiClient.get_all(auth) == []


async def test_create_an_api_client_and_sign_in_with_it(token_admin, domo_sandbox):
    client = await DomoApiClient.create(token_admin, name="etl", scopes=["data", "user"], description="nightly")
    assert (client.name, client.scopes, client.description) == ("etl", ["data", "user"], "nightly")
    assert isinstance(client.client_secret, Secret)
    assert client.client_secret.reveal() not in repr(client) + str(client.to_dict()) + client._repr_html_()
    options = options_for(domo_sandbox)
    async with OAuthClientAuth(client.client_id, client.client_secret, options=options) as auth:
        assert await DomoDataset.get_all(auth).first()
        await client.revoke()
        with pytest.raises(errors.AuthenticationError):
            await DomoDataset.get_all(auth)
    with pytest.raises(errors.NotFoundError):  # Domo says 400
        await client.revoke()


async def test_create_sends_scopes_in_the_plural_and_no_owner():
    made = {"id": 4711, "name": "etl", "clientId": "d6e2", "userId": 27, "scopes": ["data"], "clientSecret": "s3cret"}
    async with product_wire() as (wire, auth):
        post = wire.post(CLIENTS).respond(201, json=made)
        client = await DomoApiClient.create(auth, name="etl", scopes=("data",))
    assert body_of(post) == {"name": "etl", "description": "", "scopes": ["data"]}
    assert (client.id, client.owner_id, client.client_secret) == (4711, 27, Secret("s3cret"))


async def test_refresh_does_not_lose_the_only_copy_of_the_client_secret(token_admin):
    client = await DomoApiClient.create(token_admin, name="etl", scopes=["data"])
    secret = client.client_secret
    await client.refresh()
    assert client.client_secret == secret


@pytest.mark.parametrize("scopes", [[], ["dat"], "data", ["data", "everything"]], ids=str)
async def test_scopes_are_checked_before_anything_is_sent(token_admin, domo_sandbox, scopes):
    with pytest.raises(errors.InvalidInputError, match="scopes"):
        await DomoApiClient.create(token_admin, name="etl", scopes=scopes)
    assert not domo_sandbox.requests


async def test_domo_refuses_to_make_a_client_for_a_session_and_the_error_is_its_own(admin, domo_sandbox):
    before = dict(domo_sandbox.state.api_clients)
    with pytest.raises(errors.APIError) as caught:
        await DomoApiClient.create(admin, name="etl", scopes=["data"])
    assert isinstance(caught.value, (errors.AuthenticationError, errors.PermissionDeniedError))
    assert caught.value.asked == f"POST {CLIENTS}"
    assert "AccessTokenAuth" in str(caught.value)  # what to do about it
    assert domo_sandbox.state.api_clients == before


async def test_a_taken_name_is_refused_in_domo_s_words(token_admin):
    with pytest.raises(errors.BadRequestError, match="exists"):
        await DomoApiClient.create(token_admin, name="sandbox", scopes=["data"])


async def test_those_who_may_not_see_clients_are_told(domo_sandbox, person):
    async with token_auth_of(domo_sandbox, person) as auth:
        with pytest.raises(errors.PermissionDeniedError, match=r"developer\.token\.manage"):
            await DomoApiClient.get_all(auth)


# -- DataSets


async def test_datasets_are_asked_for_in_order_50_at_a_time():
    async with platform_wire() as (wire, auth):
        asked = wire.get("/v1/datasets")
        asked.side_effect = [httpx.Response(200, json=[{"id": "a-b", "name": "A"}]), httpx.Response(200, json=[])]
        (dataset,) = await DomoDataset.search(auth, name_contains="a")
        assert [dict(call.request.url.params) for call in asked.calls] == [
            {"offset": "0", "limit": "50", "sort": "name", "nameLike": "a"},
            {"offset": "1", "limit": "50", "sort": "name", "nameLike": "a"},
        ]
    assert (dataset.description, dataset.rows, dataset.schema) == (None, None, None)


async def test_the_page_of_a_dataset(domo_sandbox):
    dataset_id = next(iter(domo_sandbox.state.datasets))
    auth = OAuthClientAuth("id", "secret", domo_instance="acme")
    dataset = DomoDataset.from_json(auth, {"id": dataset_id})
    assert dataset.url == f"https://acme.domo.com/datasources/{dataset_id}/details/overview"


# -- what a family does not have

ROLE_CALLS = [
    lambda auth: DomoRole.get_all(auth),
    lambda auth: DomoRole.get_all(auth).first(),
    lambda auth: DomoRole.get_by_id(auth, 1),
    lambda auth: DomoRole.from_json(auth, {"id": 1}).get_grants(),
    lambda auth: DomoRole.from_json(auth, {"id": 1}).get_members(),
    lambda auth: DomoApiClient.get_all(auth),
    lambda auth: DomoApiClient.get_by_id(auth, 1),
    lambda auth: DomoApiClient.create(auth, name="etl", scopes=["data"]),
    lambda auth: DomoApiClient.from_json(auth, {"id": 1}).revoke(),
]


@pytest.mark.parametrize("call", ROLE_CALLS)
async def test_what_only_the_product_has_names_its_auth_kinds(oauth, domo_sandbox, call):
    with pytest.raises(errors.UnsupportedByAuth, match="OAuthClientAuth cannot sign the product API") as caught:
        await call(oauth)
    assert "SessionAuth or AccessTokenAuth" in str(caught.value)
    assert caught.value.asked
    assert not domo_sandbox.requests


# -- what all entities share

KINDS = (DomoAccessToken, DomoAccount, DomoApiClient, DomoDataset, DomoGroup, DomoRole, DomoUser)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_missing_null_odd_and_unknown_members(kind):
    auth = AccessTokenAuth("acme", "t" * 48)
    keys = {key for field in kind.__attrs_attrs__ for key in field.metadata.get("api", ((), None))[0]}
    assert "id" in keys
    for odd in (None, "text", 7, 1.5, True, [], {}, "2023-13-45", 10**30):
        obj = {**dict.fromkeys(keys, odd), "id": 5, "newcomer": {"deep": [1]}}
        one = kind.from_json(auth, obj)
        assert one.id == 5
        assert one.raw["newcomer"] == {"deep": [1]}
        assert one.to_dict()["id"] == 5
        assert one._repr_html_().startswith("<table>")
        assert repr(one)
    empty = kind.from_json(auth, {})
    assert not [name for name, value in empty.to_dict().items() if value not in (None, (), [])]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_equal_by_kind_place_and_id(kind):
    auth, other = AccessTokenAuth("acme", "t" * 48), AccessTokenAuth("other", "t" * 48)
    one = kind.from_json(auth, {"id": 5})
    assert one == kind.from_json(AccessTokenAuth("ACME.domo.com", "u" * 48), {"id": "5", "name": "x"})
    assert hash(one) == hash(kind.from_json(auth, {"id": 5, "name": "y"}))
    assert one != kind.from_json(other, {"id": 5})
    assert one != kind.from_json(auth, {"id": 6})
    for another in KINDS:
        assert (one == another.from_json(auth, {"id": 5})) is (another is kind)


@pytest.mark.parametrize("kind", KINDS)
def test_entities_are_slotted_and_keyword_only(kind):
    auth = AccessTokenAuth("acme", "t" * 48)
    one = kind.from_json(auth, {"id": 5})
    with pytest.raises(AttributeError):
        one.no_such_field = 1
    with pytest.raises(TypeError):
        kind(auth, 5)


async def test_an_entity_that_cannot_be_fetched_says_so():
    @entity
    class Nameless(DomoEntity):
        pass

    auth = AccessTokenAuth("acme", "t" * 48)
    with pytest.raises(errors.InvalidInputError, match="Nameless"):
        await Nameless.get_by_id(auth, 1)


async def test_what_was_read_is_never_posted_back(admin, domo_sandbox, person):
    """Changes are built from the arguments: no unknown member of an answer travels back."""
    user = await DomoUser.get_by_id(admin, person.id)
    account = await DomoAccount.create(admin, name="w", config=AccountConfig("snowflake", {"account": "a"}))
    account.raw = {**account.raw, "canary": "raw"}
    user.raw = {**user.raw, "canary": "raw"}
    await user.update(title="T")
    await account.update_name("w2")
    assert not [one for one in domo_sandbox.requests if b"canary" in one.body]
    assert {method for method, _ in sent(domo_sandbox)} >= {"PATCH", "PUT"}


async def test_revoking_a_client_is_refused_in_a_dry_run(admin, domo_sandbox):
    client = await DomoApiClient.get_all(admin).first()
    with dry_run():
        with pytest.raises(errors.DryRunRefused):
            await client.revoke()
        with pytest.raises(errors.DryRunRefused):
            await DomoApiClient.create(admin, name="etl", scopes=["data"])
    assert client.id in domo_sandbox.state.api_clients


# -- in notebooks


async def test_lists_of_anything_are_tables(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "<b>Shown</b>", [{"a": 1}])
    access = await made.get_access()
    html = access._repr_html_()
    assert html.startswith("<table><tr><th>kind</th><th>id</th><th>name</th><th>level</th></tr><tr><td>USER</td>")
    assert access.to_dicts()[0]["level"] == "OWNER"
    assert "<th>recorded_at</th>" in (await made.get_versions())._repr_html_()
    assert "UTC</td>" in (await made.get_versions())._repr_html_()
    assert "&lt;b&gt;Shown" in (await DomoDataset.get_all(admin))._repr_html_()
    assert Listing(["<i>", 5])._repr_html_() == (
        "<table><tr><th>item</th></tr><tr><td>&#x27;&lt;i&gt;&#x27;</td></tr><tr><td>5</td></tr></table>"
    )
    assert Listing([made, 5])._repr_html_().count("<tr>") == 3  # of several kinds: each as it shows itself
    assert Listing()._repr_html_() == "<pre>0 items</pre>"
    assert "<caption>100 of 101</caption>" in Listing(range(101))._repr_html_()
    partitions = await made.get_partitions()
    assert isinstance(partitions, Listing)


async def test_access_to_an_account_is_a_table(admin, domo_sandbox):
    account = (await DomoAccount.get_all(admin))[0]
    access = await account.get_access()
    assert "<th>level</th>" in access._repr_html_()
    for bad in ({"users": account}, {"groups": "x"}, {}):
        with pytest.raises(errors.InvalidInputError):
            await account.share(**bad)


async def test_a_pager_says_that_nothing_was_fetched(admin, domo_sandbox):
    before = len(domo_sandbox.requests)
    assert repr(DomoUser.get_all(admin)) == "<Pager, not fetched yet: await it, or async for>"
    assert len(domo_sandbox.requests) == before
