"""DomoAccount and the configurations that accounts hold."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import httpx
import pytest

from domokit import (
    MASKED,
    AbstractCredentialStore,
    AccountConfig,
    DomoAccessTokenConfig,
    DomoAccount,
    DomoDataset,
    Secret,
    dry_run,
    entity,
    errors,
)
from domokit.entities.access import Access
from domokit.routes.platform.accounts import list_account_types
from domokit.sandbox.providers import PROVIDERS
from domokit.testing import oauth_client_auth, options_for, session_auth

from .helpers import body_of, platform_wire, product_wire, query_of, sent, token_auth_of

ACCOUNTS = "/api/data/v1/accounts"
ACS = "abstract-credential-store"
NOTE = AbstractCredentialStore({"user": "svc", "secret": "x" * 8})
SNOWFLAKE = AccountConfig("snowflake", {"account": "ab12345", "username": "svc", "password": Secret("p" * 8)})
AWKWARD = 'quote " backslash \\ line\nend tab\t ünï 東京 🚀 {"a": 1}'
FORM_PROVIDERS = [key for key, provider in PROVIDERS.items() if not provider.is_oauth]


def row(account_id=105, **more):
    """An account as the product API shows one."""
    return {
        "id": account_id,
        "userId": 27,
        "name": "Abstract Credential Store Account",
        "displayName": "etl",
        "type": "data",
        "valid": True,
        "dataProviderType": ACS,
        "credentialsType": "fields",
        "createdAt": 1_735_776_000_000,
        "createdBy": 27,
        "modifiedAt": 1_735_779_600_000,
        "modifiedBy": 27,
        "configurations": {},
        "accountId": account_id,
        **more,
    }


def config_path(account_id, provider=ACS):
    return f"/api/data/v1/providers/{provider}/account/{account_id}"


def fields_of(provider):
    """A value for each field of a provider in the sandbox's table."""
    return {name: f"{name}: {AWKWARD}" for name in PROVIDERS[provider].fields}


def labelled(sandbox, name):
    """Accounts whose label begins like this, as (label, provider)."""
    return sorted((a.display_name, a.provider) for a in sandbox.state.accounts.values() if a.display_name[:3] == name)


@entity
class MyAccount(DomoAccount):
    pass


# -- reading


async def test_get_by_id_reads_the_account():
    async with product_wire() as (wire, auth):
        wire.get(f"{ACCOUNTS}/105").respond(json=row(allowExternalUse=False, secretId=None))
        account = await DomoAccount.get_by_id(auth, 105)
    assert (account.id, account.name, account.original_name) == (105, "etl", "Abstract Credential Store Account")
    assert (account.provider_type, account.credentials_type, account.is_valid) == (ACS, "fields", True)
    assert (account.owner_id, account.allow_external_use) == (27, False)
    assert account.created_at == datetime(2025, 1, 2, tzinfo=UTC)
    assert account.modified_at == datetime(2025, 1, 2, 1, tzinfo=UTC)
    assert "secretId" in account.raw


async def test_one_class_shows_the_same_accounts_in_both_families(anyone, domo_sandbox):
    stored = {account.id: (account.display_name, account.provider) for account in domo_sandbox.state.accounts.values()}
    listed = await DomoAccount.get_all(anyone)
    assert {one.id: (one.name, one.provider_type) for one in listed} == stored
    for account_id, told in stored.items():
        account = await DomoAccount.get_by_id(anyone, account_id)
        assert (account.id, account.name, account.provider_type) == (account_id, *told)


async def test_the_product_list_is_one_request_and_the_platform_s_comes_in_pages_of_50(admin, oauth, domo_sandbox):
    for n in range(60):
        await DomoAccount.create(admin, name=f"many {n:02}", config=NOTE)
    domo_sandbox.requests.clear()
    assert len(await DomoAccount.get_all(admin)) == 64
    assert sent(domo_sandbox) == [("GET", ACCOUNTS)]
    domo_sandbox.requests.clear()
    assert len({account.id for account in await DomoAccount.get_all(oauth)}) == 64
    pages = [one for one in domo_sandbox.requests if one.path == "/v1/accounts"]
    assert {one.query["limit"] for one in pages} == {"50"}
    assert {"0", "50"} <= {one.query["offset"] for one in pages}


async def test_unknown_and_hidden_accounts(anyone, domo_sandbox):
    with pytest.raises(errors.NotFoundError):
        await DomoAccount.get_by_id(anyone, 9999)
    stranger = domo_sandbox.add_user("Stranger", "stranger@example.com")
    async with token_auth_of(domo_sandbox, stranger) as auth:
        assert await DomoAccount.get_all(auth) == []
        with pytest.raises(errors.PermissionDeniedError):
            await DomoAccount.get_by_id(auth, next(iter(domo_sandbox.state.accounts)))


async def test_the_datasets_of_an_account(admin, oauth, domo_sandbox):
    stored = next(one for one in domo_sandbox.state.datasets.values() if one.account_id)
    account = await DomoAccount.get_by_id(admin, stored.account_id)
    domo_sandbox.requests.clear()
    orders, customers = await account.get_datasets()
    assert sent(domo_sandbox) == [("GET", f"/api/data/v2/datasources/account/{account.id}")]
    assert type(orders) is DomoDataset
    assert (orders.id, orders.name, orders.owner_id) == (stored.id, "Orders", stored.owner_id)
    assert orders.rows is None
    assert (await orders.refresh()).rows == 250
    await customers.delete()
    assert await account.get_datasets() == [orders]
    with pytest.raises(errors.UnsupportedByAuth):
        await (await DomoAccount.get_by_id(oauth, account.id)).get_datasets()


async def test_search_compares_the_label_and_not_the_name_of_its_creation(admin, domo_sandbox):
    account = next(one for one in domo_sandbox.state.accounts.values() if one.provider == ACS)
    assert (account.name, account.display_name) == ("Abstract Credential Store Account", "etl credentials")
    assert [one.id for one in await DomoAccount.search(admin, name="etl credentials")] == [account.id]
    for other in ("Abstract Credential Store Account", "etl", "ETL credentials", "etl credentials (2)"):
        assert await DomoAccount.search(admin, name=other) == []


async def test_search_by_provider_and_part(anyone, domo_sandbox):
    assert [one.name for one in await DomoAccount.search(anyone, provider="snowflake")] == ["warehouse"]
    assert [one.name for one in await DomoAccount.search(anyone, contains="CREDENT")] == ["etl credentials"]
    assert await DomoAccount.search(anyone, contains="credent", provider="snowflake") == []
    assert len(await DomoAccount.search(anyone)) == len(domo_sandbox.state.accounts)


async def test_search_index_sends_the_query_of_the_page_and_reads_hits():
    hit = {
        "databaseId": "105",
        "winnerText": "etl",
        "createDate": 1_735_776_000_000,
        "lastModified": 1_735_779_600_000,
        "valid": True,
        "ownedById": "27",
    }
    async with product_wire() as (wire, auth):
        asked = wire.post("/api/search/v1/query")
        asked.side_effect = [
            httpx.Response(200, json={"searchResultsMap": {"account": [hit]}}),
            httpx.Response(200, json={"searchResultsMap": {}}),
        ]
        found = await DomoAccount.search_index(auth, "etl", provider=ACS)
        first, second = (json.loads(call.request.content) for call in asked.calls)
    assert [(one.id, one.name, one.owner_id, one.is_valid) for one in found] == [(105, "etl", 27, True)]
    assert found[0].created_at == datetime(2025, 1, 2, tzinfo=UTC)
    assert found[0].modified_at == datetime(2025, 1, 2, 1, tzinfo=UTC)
    assert (first["query"], first["entityList"], first["combineResults"]) == ("*etl*", [["account"]], False)
    assert (first["count"], first["offset"], second["offset"]) == (100, 0, 1)
    assert [(one["field"], one["value"], one["not"]) for one in first["filters"]] == [
        ("dataproviderkey_facet", ACS, False)
    ]


async def test_search_index_finds_what_the_list_finds(admin, domo_sandbox):
    for n in range(105):
        original = next(one for one in domo_sandbox.state.accounts.values() if one.provider == ACS)
        domo_sandbox.state.accounts[5000 + n] = replace(original, id=5000 + n, display_name=f"copy {n:03}")
    listed = {one.id for one in await DomoAccount.get_all(admin)}
    assert {one.id for one in await DomoAccount.search_index(admin)} == listed
    assert len(await DomoAccount.search_index(admin, "OPY 00")) == 10
    assert [one.name for one in await DomoAccount.search_index(admin, provider="snowflake")] == ["warehouse"]


async def test_what_an_index_hit_does_not_tell_is_looked_up(admin, domo_sandbox):
    account_id = next(one.id for one in domo_sandbox.state.accounts.values() if one.provider == ACS)
    hit = DomoAccount.from_json(admin, {"databaseId": str(account_id), "winnerText": "etl credentials"})
    assert hit.provider_type is None
    assert (await hit.get_config()).provider_type == ACS
    assert hit.provider_type == ACS


# -- create


async def test_create_sends_the_label_and_reads_the_account_again():
    new = row(valid=False, createdAt=None, modifiedAt=None)
    async with product_wire() as (wire, auth):
        made = wire.post(ACCOUNTS).respond(json=new)
        wire.get(f"{ACCOUNTS}/105").respond(json=row())
        account = await DomoAccount.create(auth, name="etl", config=NOTE)
    sent_body = body_of(made)
    assert (sent_body["displayName"], sent_body["dataProviderType"]) == ("etl", ACS)
    assert isinstance(sent_body["name"], str)
    assert sent_body["configurations"] == {"credentials": '{"user": "svc", "secret": "xxxxxxxx"}'}
    assert "allowExternalUse" not in sent_body
    assert account.is_valid is True
    assert account.created_at == datetime(2025, 1, 2, tzinfo=UTC)
    assert account.modified_at is not None


async def test_create_in_both_families(anyone, domo_sandbox):
    account = await DomoAccount.create(anyone, name="loader", config=SNOWFLAKE)
    stored = domo_sandbox.state.accounts[account.id]
    assert (stored.display_name, stored.provider) == ("loader", "snowflake")
    assert stored.configuration == {"account": "ab12345", "username": "svc", "password": "p" * 8}
    assert (account.name, account.provider_type, account.is_valid) == ("loader", "snowflake", True)


async def test_a_label_that_is_taken_gets_a_suffix_that_the_account_tells(anyone):
    names = [(await DomoAccount.create(anyone, name="etl", config=NOTE)).name for _ in range(3)]
    assert names == ["etl", "etl (2)", "etl (3)"]


async def test_create_may_allow_external_use(admin, domo_sandbox):
    account = await DomoAccount.create(admin, name="open", config=NOTE, allow_external_use=True)
    assert account.allow_external_use is True
    assert domo_sandbox.state.accounts[account.id].allow_external_use is True


@pytest.mark.parametrize("name", ["", "   ", None])
async def test_an_account_needs_a_name(anyone, domo_sandbox, name):
    with pytest.raises(errors.InvalidInputError):
        await DomoAccount.create(anyone, name=name, config=NOTE)
    account = await DomoAccount.get_all(anyone).first()
    with pytest.raises(errors.InvalidInputError):
        await account.update_name(name)
    assert sent(domo_sandbox, "POST", "PUT", "PATCH") == []


async def test_an_answer_without_an_id_is_a_decode_error():
    async with product_wire() as (wire, auth):
        wire.post(ACCOUNTS).respond(json={"displayName": "etl"})
        with pytest.raises(errors.DomoDecodeError):
            await DomoAccount.create(auth, name="etl", config=NOTE)


async def test_create_is_not_repeated_after_a_lost_answer(anyone, domo_sandbox):
    domo_sandbox.misbehave("reset_after", method="POST", path=r"/(api/data/v1|v1)/accounts$")
    with pytest.raises(errors.OutcomeUnknown):
        await DomoAccount.create(anyone, name="once", config=NOTE)
    assert labelled(domo_sandbox, "onc") == [("once", ACS)]


# -- fields of the providers


@pytest.mark.parametrize("provider", FORM_PROVIDERS)
async def test_bodies_are_json_for_every_provider(admin, domo_sandbox, provider):
    fields = fields_of(provider)
    account = await DomoAccount.create(admin, name="awkward", config=AccountConfig(provider, fields))
    assert account.provider_type == provider
    assert domo_sandbox.account_config(account.id) == fields
    changed = {name: value + "!" for name, value in fields.items()}
    await account.update_config(AccountConfig(provider, changed))
    assert domo_sandbox.account_config(account.id) == changed


@pytest.mark.parametrize("provider", FORM_PROVIDERS)
async def test_bodies_are_json_for_every_provider_on_the_platform(oauth, domo_sandbox, provider):
    fields = fields_of(provider)
    account = await DomoAccount.create(oauth, name="awkward", config=AccountConfig(provider, fields))
    assert domo_sandbox.account_config(account.id) == fields
    changed = {name: value + "!" for name, value in fields.items()}
    await account.update_config(AccountConfig(provider, changed))
    assert domo_sandbox.account_config(account.id) == changed


async def test_null_and_flags_reach_domo_as_they_are():
    config = AccountConfig("json5", {"authentication": "none", "apiKey": None, "allowExternalUse": True})
    async with product_wire() as (wire, auth):
        wire.get("/api/data/v1/providers/json5").respond(404, json={"status": 404})
        made = wire.post(ACCOUNTS).respond(json=row())
        wire.get(f"{ACCOUNTS}/105").respond(json=row())
        await DomoAccount.create(auth, name="j", config=config)
    assert body_of(made)["configurations"] == {"authentication": "none", "apiKey": None, "allowExternalUse": True}


async def test_a_misspelt_field_is_refused_with_a_suggestion_and_only_the_provider_is_asked(admin, domo_sandbox):
    wrong = AccountConfig("snowflake", {"account": "a", "usernam": "u", "password": "p"})
    with pytest.raises(errors.InvalidInputError, match=r"'usernam'.*Did you mean 'username'"):
        await DomoAccount.create(admin, name="w", config=wrong)
    assert sent(domo_sandbox) == [("GET", "/api/data/v1/providers/snowflake")]
    account = (await DomoAccount.search(admin, provider="snowflake"))[0]
    with pytest.raises(errors.InvalidInputError, match="Did you mean 'username'"):
        await account.update_config(wrong)
    assert sent(domo_sandbox, "POST", "PUT") == []


async def test_a_misspelt_field_is_refused_on_the_platform_too(oauth, domo_sandbox):
    wrong = AccountConfig("snowflake", {"account": "a", "usernam": "u", "password": "p"})
    with pytest.raises(errors.InvalidInputError, match="Did you mean 'username'"):
        await DomoAccount.create(oauth, name="w", config=wrong)
    assert sent(domo_sandbox) == [("GET", "/v1/account-types/snowflake")]


async def test_the_platform_tells_which_fields_are_required(oauth, domo_sandbox):
    with pytest.raises(errors.InvalidInputError, match="username, password"):
        await DomoAccount.create(oauth, name="w", config=AccountConfig("snowflake", {"account": "a"}))
    assert sent(domo_sandbox, "POST") == []
    # `role` is not required
    await DomoAccount.create(oauth, name="w", config=SNOWFLAKE)


async def test_typed_configurations_are_sent_without_asking_for_the_fields(admin, domo_sandbox):
    await DomoAccount.create(admin, name="note", config=NOTE)
    await DomoAccount.create(admin, name="token", config=DomoAccessTokenConfig("t" * 8))
    assert not [path for _, path in sent(domo_sandbox) if "providers" in path]


@pytest.mark.parametrize("status", [403, 404])
async def test_where_domo_does_not_tell_the_fields_the_call_itself_decides(anyone, domo_sandbox, status):
    domo_sandbox.misbehave(
        "status", status=status, times=None, path=r"/(api/data/v1/providers|v1/account-types)/snowflake$"
    )
    account = await DomoAccount.create(anyone, name="loader", config=SNOWFLAKE)
    await account.update_config(SNOWFLAKE)
    wrong = AccountConfig("snowflake", {"usernam": "u"})
    with pytest.raises(errors.BadRequestError, match="usernam"):
        await DomoAccount.create(anyone, name="w", config=wrong)


async def test_a_provider_without_declared_fields_takes_any():
    async with product_wire() as (wire, auth):
        wire.get("/api/data/v1/providers/new").respond(json={"key": "new", "authenticationSchemeConfiguration": None})
        wire.post(ACCOUNTS).respond(json=row(dataProviderType="new"))
        wire.get(f"{ACCOUNTS}/105").respond(json=row(dataProviderType="new"))
        account = await DomoAccount.create(auth, name="n", config=AccountConfig("new", {"anything": "goes"}))
    assert account.provider_type == "new"


# -- configurations


@pytest.mark.parametrize("value", [1, 2.5, {"a": 1}, ["x"], b"bytes", object()], ids=lambda value: type(value).__name__)
def test_a_value_that_is_no_text_is_refused_by_its_name(value):
    with pytest.raises(errors.InvalidInputError, match="password must be a text"):
        AccountConfig("snowflake", {"password": value})


@pytest.mark.parametrize(("provider", "fields"), [("", {}), (None, {}), ("snowflake", None), ("snowflake", ["a"])])
def test_a_configuration_is_of_a_provider_and_has_fields(provider, fields):
    with pytest.raises(errors.InvalidInputError):
        AccountConfig(provider, fields)


def test_configurations_hide_their_values():
    config = AccountConfig("snowflake", {"account": "ab12345", "password": "p" * 8, "privateKey": "k" * 8})
    assert repr(config) == "AccountConfig('snowflake', {account, password, privateKey})"
    assert isinstance(config.fields["password"], Secret)
    assert isinstance(config.fields["privateKey"], Secret)
    assert config.fields["account"] == "ab12345"
    assert config == AccountConfig("snowflake", {"account": "ab12345", "password": "p" * 8, "privateKey": "k" * 8})
    assert config != AccountConfig("snowflake", {"account": "ab12345", "password": "q" * 8, "privateKey": "k" * 8})


def test_abstract_credential_store_takes_a_mapping_or_a_text():
    given = {"user": "svc", "secret": Secret("x" * 8), "n": 7, "deep": {"list": [None, True]}, "ü": "ß"}
    config = AbstractCredentialStore(given)
    plain = {**given, "secret": "x" * 8}
    assert config.provider_type == ACS
    assert json.loads(config.credentials.reveal()) == plain
    assert config.decoded()["user"].reveal() == "svc"
    assert (config.decoded()["n"], config.decoded()["deep"]) == (7, {"list": [None, True]})
    for text in ("not json", Secret("not json")):
        assert AbstractCredentialStore(text).credentials.reveal() == "not json"
        assert AbstractCredentialStore(text).decoded() is None
    assert AbstractCredentialStore("[1]").decoded() is None
    assert "svc" not in repr(config)
    with pytest.raises(errors.InvalidInputError):
        AbstractCredentialStore({"when": datetime(2025, 1, 1)})


def test_domo_access_token_config_fills_what_is_unused_with_empty_texts():
    config = DomoAccessTokenConfig("t" * 8)
    assert config.provider_type == "domo-access-token"
    assert config.to_wire() == {"domoAccessToken": Secret("t" * 8), "username": "", "password": ""}
    full = DomoAccessTokenConfig(Secret("t" * 8), username="ann@example.com", password="p" * 8)
    assert (full.access_token.reveal(), full.username) == ("t" * 8, "ann@example.com")
    assert full.to_wire()["password"] == Secret("p" * 8)
    assert "t" * 8 not in repr(full)


async def test_get_config_masks_and_unmasks(admin, domo_sandbox):
    closed = await DomoAccount.create(admin, name="closed", config=SNOWFLAKE)
    opened = await DomoAccount.create(admin, name="open", config=SNOWFLAKE, allow_external_use=True)
    for account, unmask in ((closed, False), (closed, True), (opened, False)):
        config = await account.get_config(unmask=unmask)
        assert type(config) is AccountConfig
        assert config.provider_type == "snowflake"
        assert (config.fields["account"], config.fields["username"]) == ("ab12345", "svc")
        assert config.fields["password"] is MASKED
        assert config.is_masked
    clear = await opened.get_config(unmask=True)
    assert not clear.is_masked
    assert clear.fields["password"] == Secret("p" * 8)
    assert clear.fields["allowExternalUse"] is True  # 'true' on the wire
    asked = [one.query for one in domo_sandbox.requests if "/account/" in one.path]
    assert [query.get("unmask") for query in asked] == [None, "true", None, "true"]
    await opened.update_config(clear)  # what was read in clear may be written back
    assert domo_sandbox.account_config(opened.id)["password"] == "p" * 8


async def test_get_config_gives_the_typed_configurations(admin):
    note = await DomoAccount.create(admin, name="note", config=NOTE, allow_external_use=True)
    read = await note.get_config(unmask=True)
    assert type(read) is AbstractCredentialStore
    assert read.decoded()["secret"] == Secret("x" * 8)
    assert (await note.get_config()).credentials is MASKED
    assert (await note.get_config()).decoded() is None

    token = await DomoAccount.create(
        admin, name="token", config=DomoAccessTokenConfig("t" * 8, "ann", "p" * 8), allow_external_use=True
    )
    read = await token.get_config(unmask=True)
    assert type(read) is DomoAccessTokenConfig
    assert (read.access_token, read.username) == (Secret("t" * 8), "ann")
    masked = await token.get_config()
    assert (masked.access_token, masked.username) == (MASKED, "ann")


async def test_accounts_made_by_signing_in_have_no_configuration(admin):
    sheets = (await DomoAccount.search(admin, provider="google-spreadsheets"))[0]
    config = await sheets.get_config()
    assert dict(config.fields) == {}


async def test_get_config_of_the_platform_is_refused_before_anything_is_sent(oauth, domo_sandbox):
    account = await DomoAccount.get_all(oauth).first()
    domo_sandbox.requests.clear()
    with pytest.raises(errors.UnsupportedByAuth, match="SessionAuth or AccessTokenAuth"):
        await account.get_config()
    assert sent(domo_sandbox) == []


# -- changes


async def test_update_name_sends_bare_utf8_text():
    name = 'Übertragung "东京" 🚀'
    async with product_wire() as (wire, auth):
        put = wire.put(f"{ACCOUNTS}/105/name").respond(json=row())
        wire.get(f"{ACCOUNTS}/105").respond(json=row(displayName=name))
        account = DomoAccount.from_json(auth, row())
        assert await account.update_name(name) is account
    request = put.calls.last.request
    assert request.content == name.encode()
    assert request.headers["content-type"].partition(";")[0] == "text/plain"
    assert "utf-8" in request.headers["content-type"].lower()
    assert account.name == name


async def test_update_name_in_both_families(anyone, domo_sandbox):
    account = (await DomoAccount.search(anyone, name="etl credentials"))[0]
    await account.update_name("Übertragung")
    stored = domo_sandbox.state.accounts[account.id]
    assert (stored.display_name, account.name) == ("Übertragung", "Übertragung")
    assert stored.name == "Abstract Credential Store Account"
    assert [one.id for one in await DomoAccount.search(anyone, name="Übertragung")] == [account.id]


async def test_update_config_sends_the_bare_object():
    async with product_wire() as (wire, auth):
        put = wire.put(config_path(105)).respond(json=row())
        wire.get(f"{ACCOUNTS}/105").respond(json=row(modifiedAt=1_735_783_200_000))
        account = DomoAccount.from_json(auth, row())
        assert await account.update_config(NOTE) is account
    assert body_of(put) == {"credentials": '{"user": "svc", "secret": "xxxxxxxx"}'}
    assert account.modified_at == datetime(2025, 1, 2, 2, tzinfo=UTC)


async def test_update_config_on_the_platform_patches_the_type():
    shown = {"id": "88", "name": "etl", "valid": True, "type": {"id": ACS, "properties": {}}}
    async with platform_wire() as (wire, auth):
        patch = wire.patch("/v1/accounts/88").respond(202)
        wire.get("/v1/accounts/88").respond(json=shown)
        account = await DomoAccount.get_by_id(auth, "88")
        assert (account.id, account.provider_type) == (88, ACS)
        await account.update_config(NOTE)
        assert body_of(patch) == {
            "type": {"id": ACS, "properties": {"credentials": '{"user": "svc", "secret": "xxxxxxxx"}'}}
        }
        await account.update_name("new")
        assert body_of(patch) == {"name": "new"}


async def test_update_config_of_another_provider_is_refused_before_anything_is_sent(anyone, domo_sandbox):
    account = (await DomoAccount.search(anyone, name="etl credentials"))[0]
    domo_sandbox.requests.clear()
    with pytest.raises(errors.InvalidInputError, match=f"{ACS}, not of snowflake"):
        await account.update_config(SNOWFLAKE)
    assert sent(domo_sandbox) == []


@pytest.mark.parametrize(
    "masked",
    [
        AbstractCredentialStore("********"),
        AbstractCredentialStore(MASKED),
        AccountConfig(ACS, {"credentials": "********"}),
        AccountConfig(ACS, {"credentials": Secret("********")}),
    ],
    ids=repr,
)
async def test_a_masked_configuration_is_refused_before_anything_is_sent(anyone, domo_sandbox, masked):
    account = (await DomoAccount.search(anyone, name="etl credentials"))[0]
    before = domo_sandbox.account_config(account.id)
    domo_sandbox.requests.clear()
    with pytest.raises(errors.InvalidInputError, match="masked"):
        await account.update_config(masked)
    with pytest.raises(errors.InvalidInputError, match="masked"):
        await DomoAccount.create(anyone, name="copy", config=masked)
    assert sent(domo_sandbox) == []
    assert domo_sandbox.account_config(account.id) == before


async def test_update_config_sets_external_use_only_when_told(admin, domo_sandbox):
    account = await DomoAccount.create(admin, name="note", config=NOTE)
    stored = domo_sandbox.state.accounts[account.id]
    assert (await account.update_config(NOTE, allow_external_use=True)).allow_external_use is True
    assert (await account.update_config(NOTE)).allow_external_use is True
    assert (await account.update_config(NOTE, allow_external_use=False)).allow_external_use is False
    assert stored.allow_external_use is False
    assert "allowExternalUse" not in stored.configuration


async def test_a_refused_change_leaves_the_object_as_it_was(admin, domo_sandbox):
    account = (await DomoAccount.search(admin, name="etl credentials"))[0]
    before = account.to_dict()
    domo_sandbox.misbehave("status", status=400, times=2, method="PUT")
    with pytest.raises(errors.BadRequestError):
        await account.update_name("new")
    with pytest.raises(errors.BadRequestError):
        await account.update_config(NOTE)
    assert account.to_dict() == before


async def test_delete(anyone, domo_sandbox):
    account = (await DomoAccount.search(anyone, name="etl credentials"))[0]
    await account.delete()
    assert account.id not in domo_sandbox.state.accounts
    with pytest.raises(errors.NotFoundError):
        await account.delete()
    with pytest.raises(errors.NotFoundError):
        await account.refresh()


# -- access


@pytest.mark.parametrize(
    ("to", "body"),
    [
        ({"users": 27}, {"type": "USER", "id": "27", "accessLevel": "CAN_VIEW"}),
        ({"users": [0]}, {"type": "USER", "id": "0", "accessLevel": "CAN_VIEW"}),
        ({"groups": 12, "level": "CAN_EDIT"}, {"type": "GROUP", "id": "12", "accessLevel": "CAN_EDIT"}),
        ({"users": 27, "level": "OWNER"}, {"type": "USER", "id": "27", "accessLevel": "OWNER"}),
    ],
    ids=str,
)
async def test_share_sends_one_grantee(to, body):
    async with product_wire() as (wire, auth):
        put = wire.put("/api/data/v2/accounts/share/105").respond(200)
        await DomoAccount.from_json(auth, row()).share(**to)
    assert {**body_of(put), "id": str(body_of(put)["id"])} == body


async def test_share_list_and_unshare(admin, domo_sandbox, person):
    account = await DomoAccount.create(admin, name="shared", config=NOTE)
    group = domo_sandbox.add_group("Pair", [person.id])
    await account.share(users=[person.id])
    await account.share(groups=group.id, level="CAN_EDIT")
    assert set(await account.get_access()) == {
        Access(kind="USER", id=domo_sandbox.admin.id, level="OWNER", name=domo_sandbox.admin.display_name),
        Access(kind="USER", id=person.id, level="CAN_VIEW", name="Zoë Quill"),
        Access(kind="GROUP", id=group.id, level="CAN_EDIT", name="Pair"),
    }
    async with token_auth_of(domo_sandbox, person) as auth:
        assert [one.id for one in await DomoAccount.get_all(auth)] == [account.id]
    await account.unshare(groups=group.id)
    await account.unshare(users=person.id)
    assert [one.id for one in await account.get_access()] == [domo_sandbox.admin.id]
    assert domo_sandbox.requests[-2].json["accessLevel"] == "NONE"


async def test_sharing_again_is_no_error(admin, domo_sandbox, person):
    """Older servers answer with 500 to who has access already; the sandbox does, too."""
    account = await DomoAccount.create(admin, name="shared", config=NOTE)
    for level in ("CAN_VIEW", "CAN_VIEW", "CAN_SHARE", "CAN_SHARE"):
        await account.share(users=person.id, level=level)
    statuses = [one.status for one in domo_sandbox.requests if one.method == "PUT"]
    assert statuses == [200, 500, 200, 500]
    assert domo_sandbox.state.accounts[account.id].shares[f"USER:{person.id}"] == "CAN_SHARE"


async def test_a_server_error_that_does_not_mean_shared_is_passed_on(admin, domo_sandbox, person):
    account = await DomoAccount.create(admin, name="shared", config=NOTE)
    domo_sandbox.misbehave("status", status=500, method="PUT")
    with pytest.raises(errors.ServerError):
        await account.share(users=person.id)
    assert f"USER:{person.id}" not in domo_sandbox.state.accounts[account.id].shares


async def test_access_of_older_instances_is_told_in_today_s_levels():
    answer = {
        "list": [
            {"type": "USER", "id": "1", "accessLevel": "READ", "name": "A"},
            {"type": "USER", "id": "2", "accessLevel": "WRITE", "name": "B"},
            {"type": "USER", "id": "3", "accessLevel": "OWNER", "name": "C"},
            {"type": "GROUP", "id": "4", "accessLevel": "CAN_SHARE", "name": "D"},
        ],
        "totalUserCount": 3,
    }
    async with product_wire() as (wire, auth):
        wire.get("/api/data/v2/accounts/share/105").respond(json=answer)
        put = wire.put("/api/data/v2/accounts/share/105").respond(500, json={"status": 500})
        account = DomoAccount.from_json(auth, row())
        access = await account.get_access()
        await account.share(users=1)  # has READ, which is CAN_VIEW
        with pytest.raises(errors.ServerError):
            await account.share(users=2)
        put.respond(502)
        with pytest.raises(errors.ServiceUnavailableError):  # not the answer that means "has it already"
            await account.share(users=1)
        assert put.call_count == 3
    assert [(one.kind, one.id, one.level, one.name) for one in access] == [
        ("USER", 1, "CAN_VIEW", "A"),
        ("USER", 2, "CAN_EDIT", "B"),
        ("USER", 3, "OWNER", "C"),
        ("GROUP", 4, "CAN_SHARE", "D"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"users": ()}, {"users": [1, "x"]}, {"users": 1, "level": "NONE"}, {"users": 1, "level": "can_view"}],
    ids=str,
)
async def test_share_refuses_bad_arguments_before_anything_is_sent(anyone, domo_sandbox, wrong):
    account = await DomoAccount.get_all(anyone).first()
    domo_sandbox.requests.clear()
    with pytest.raises(errors.InvalidInputError):
        await account.share(**wrong)
    assert sent(domo_sandbox) == []


async def test_the_platform_shares_with_users_for_viewing_only(oauth, domo_sandbox, person):
    account = (await DomoAccount.search(oauth, name="warehouse"))[0]
    await account.share(users=person.id)
    assert domo_sandbox.requests[-1].json == {"user": {"id": person.id}}
    assert domo_sandbox.requests[-1].method == "POST"
    assert domo_sandbox.state.accounts[account.id].shares[f"USER:{person.id}"] == "CAN_VIEW"
    domo_sandbox.requests.clear()
    for refused in (
        lambda: account.share(groups=1),
        lambda: account.share(users=person.id, level="CAN_EDIT"),
        lambda: account.unshare(users=person.id),
        lambda: account.get_access(),
        lambda: DomoAccount.search_index(oauth),
    ):
        with pytest.raises(errors.UnsupportedByAuth, match="SessionAuth or AccessTokenAuth"):
            await refused()
    assert sent(domo_sandbox) == []


# -- upsert


async def test_upsert_repeated_keeps_one_account(anyone, domo_sandbox):
    made = [await DomoAccount.upsert(anyone, name="etl", config=AbstractCredentialStore({"n": n})) for n in range(4)]
    assert len({account.id for account in made}) == 1
    assert labelled(domo_sandbox, "etl") == [("etl", ACS), ("etl credentials", ACS)]
    assert json.loads(domo_sandbox.account_config(made[0].id)["credentials"]) == {"n": 3}


@pytest.mark.parametrize("tasks", [2, 12])
async def test_upserts_at_once_leave_one_account(anyone, domo_sandbox, tasks):
    domo_sandbox.misbehave("latency", seconds=0.01, times=None)  # so that all look before one of them creates
    made = []

    async def upsert(n):
        made.append(await DomoAccount.upsert(anyone, name="new", config=AbstractCredentialStore({"n": n})))

    async with anyio.create_task_group() as group:
        for n in range(tasks):
            group.start_soon(upsert, n)
    assert labelled(domo_sandbox, "new") == [("new", ACS)]
    assert len(made) == tasks
    assert {account.id for account in made} <= set(domo_sandbox.state.accounts)
    stored = json.loads(domo_sandbox.account_config(made[0].id)["credentials"])
    assert stored in [{"n": n} for n in range(tasks)]


async def test_upsert_finds_its_account_again_where_another_provider_holds_the_label(anyone, domo_sandbox):
    other = await DomoAccount.create(anyone, name="new", config=SNOWFLAKE)
    first = await DomoAccount.upsert(anyone, name="new", config=AbstractCredentialStore({"n": 1}))
    second = await DomoAccount.upsert(anyone, name="new", config=AbstractCredentialStore({"n": 2}))
    assert first.id == second.id != other.id
    assert labelled(domo_sandbox, "new") == [("new", "snowflake"), ("new (2)", ACS)]
    assert json.loads(domo_sandbox.account_config(first.id)["credentials"]) == {"n": 2}
    assert domo_sandbox.account_config(other.id)["username"] == "svc"


@pytest.mark.parametrize("tasks", [2, 12])
async def test_upserts_at_once_leave_one_account_where_another_provider_holds_the_label(anyone, domo_sandbox, tasks):
    await DomoAccount.create(anyone, name="new", config=SNOWFLAKE)
    domo_sandbox.misbehave("latency", seconds=0.01, times=None)
    made = []

    async def upsert(n):
        made.append(await DomoAccount.upsert(anyone, name="new", config=AbstractCredentialStore({"n": n})))

    async with anyio.create_task_group() as group:
        for n in range(tasks):
            group.start_soon(upsert, n)
    assert [provider for _, provider in labelled(domo_sandbox, "new")] == ["snowflake", ACS]
    assert len({account.id for account in made}) == 1
    again = await DomoAccount.upsert(anyone, name="new", config=AbstractCredentialStore({"n": "last"}))
    assert again.id == made[0].id


async def test_upsert_asks_which_one_is_meant_where_several_fit(anyone, domo_sandbox):
    twins = [await DomoAccount.create(anyone, name=name, config=NOTE) for name in ("one", "two")]
    for twin in twins:
        domo_sandbox.state.accounts[twin.id].display_name = "new"
    domo_sandbox.requests.clear()
    with pytest.raises(errors.ConflictError) as caught:
        await DomoAccount.upsert(anyone, name="new", config=NOTE)
    assert all(str(twin.id) in str(caught.value) for twin in twins)
    assert sent(domo_sandbox, "POST", "PUT", "PATCH", "DELETE") == []


async def test_upsert_prefers_the_exact_label_to_a_suffix(anyone, domo_sandbox):
    exact, suffixed = [await DomoAccount.create(anyone, name="new", config=NOTE) for _ in range(2)]
    assert suffixed.name == "new (2)"
    assert (await DomoAccount.upsert(anyone, name="new", config=NOTE)).id == exact.id
    await exact.delete()
    assert (await DomoAccount.upsert(anyone, name="new", config=NOTE)).id == suffixed.id


@pytest.mark.parametrize("label", ["new (x)", "new (2) old", "new(2)", "a new (2)", "NEW (2)", "new  (2)"])
async def test_upsert_takes_no_other_account_for_a_suffixed_one(admin, domo_sandbox, label):
    other = await DomoAccount.create(admin, name=label, config=NOTE)
    made = await DomoAccount.upsert(admin, name="new", config=AbstractCredentialStore({"n": 1}))
    assert made.id != other.id
    assert made.name == "new"


async def test_upsert_takes_special_letters_in_a_label_literally(admin):
    other = await DomoAccount.create(admin, name="nxw", config=NOTE)
    made = [await DomoAccount.upsert(admin, name="n.w", config=NOTE) for _ in range(2)]
    assert made[0].id == made[1].id != other.id


@pytest.mark.parametrize("holder", [None, "snowflake"])
async def test_upsert_finds_the_account_whose_creation_went_unanswered(anyone, domo_sandbox, holder):
    if holder:
        await DomoAccount.create(anyone, name="new", config=SNOWFLAKE)
    domo_sandbox.misbehave("reset_after", method="POST", path=r"/(api/data/v1|v1)/accounts$")
    account = await DomoAccount.upsert(anyone, name="new", config=AbstractCredentialStore({"n": 1}))
    ours = [one for one in labelled(domo_sandbox, "new") if one[1] == ACS]
    assert ours == [("new (2)" if holder else "new", ACS)]
    assert json.loads(domo_sandbox.account_config(account.id)["credentials"]) == {"n": 1}


async def test_upsert_passes_the_lost_answer_on_where_nothing_was_made(anyone, domo_sandbox):
    domo_sandbox.misbehave("reset_before", method="POST", path=r"/(api/data/v1|v1)/accounts$")
    with pytest.raises(errors.OutcomeUnknown):
        await DomoAccount.upsert(anyone, name="new", config=NOTE)
    assert labelled(domo_sandbox, "new") == []


async def test_upsert_sets_external_use_of_new_and_old_accounts(admin, domo_sandbox):
    for _ in range(2):
        account = await DomoAccount.upsert(admin, name="new", config=NOTE, allow_external_use=True)
        assert account.allow_external_use is True
        domo_sandbox.state.accounts[account.id].allow_external_use = False
    assert (await DomoAccount.upsert(admin, name="new", config=NOTE)).allow_external_use is False


# -- the rest


async def test_nothing_is_changed_in_a_dry_run(anyone, person, domo_sandbox):
    account = (await DomoAccount.search(anyone, name="etl credentials"))[0]
    before = dict(domo_sandbox.state.accounts)
    with dry_run():
        for change in (
            lambda: DomoAccount.create(anyone, name="new", config=NOTE),
            lambda: DomoAccount.upsert(anyone, name="new", config=NOTE),
            lambda: DomoAccount.upsert(anyone, name="etl credentials", config=NOTE),
            lambda: account.update_name("new"),
            lambda: account.update_config(NOTE),
            lambda: account.share(users=person.id),
            lambda: account.delete(),
        ):
            with pytest.raises(errors.DryRunRefused):
                await change()
    assert domo_sandbox.state.accounts == before
    assert {method for method, _ in sent(domo_sandbox)} == {"GET"}


async def test_a_subclass_comes_back_as_itself_everywhere(anyone):
    account = await MyAccount.create(anyone, name="new", config=NOTE)
    found = [
        account,
        await MyAccount.get_by_id(anyone, account.id),
        *await MyAccount.get_all(anyone),
        *await MyAccount.search(anyone, name="new"),
        *await MyAccount.get_many(anyone, [account.id]),
        await MyAccount.upsert(anyone, name="new", config=NOTE),
        await MyAccount.upsert(anyone, name="newer", config=NOTE),
        await MyAccount.find(anyone, "new", ACS),
        await account.update_name("newest"),
        await account.update_config(NOTE),
    ]
    assert {type(one) for one in found} == {MyAccount}


async def test_html_escapes_labels(admin):
    account = await DomoAccount.create(admin, name="<script>x</script>", config=NOTE)
    shown = account._repr_html_() + (await DomoAccount.get_all(admin))._repr_html_()
    assert "&lt;script&gt;x&lt;/script&gt;" in shown
    assert "<script>" not in shown


async def test_account_types_are_paged(oauth):
    first = await list_account_types(oauth, 0, 5)
    second = await list_account_types(oauth, 5, 5)
    assert len(first) == len(second) == 5
    assert {one["id"] for one in first}.isdisjoint(one["id"] for one in second)
    assert {"id", "name"} <= set(first[0])


@pytest.mark.parametrize("build", [session_auth, oauth_client_auth])
async def test_options_reach_every_call(domo_sandbox, build):
    """A custom class for accounts is one more option; what is asked for by name still decides."""
    async with build(domo_sandbox, classes={"ACCOUNT": MyAccount}) as auth:
        account = await DomoAccount.get_all(auth).first()
        assert type(account) is DomoAccount
        assert account.related("ACCOUNT") is MyAccount
    assert options_for(domo_sandbox).classes == {}


async def test_unmask_is_asked_for_in_lower_case():
    async with product_wire() as (wire, auth):
        asked = wire.get(config_path(105)).respond(json={"credentials": "********", "allowExternalUse": "false"})
        config = await DomoAccount.from_json(auth, row()).get_config(unmask=True)
    assert query_of(asked) == {"unmask": "true"}
    assert config.credentials is MASKED
