"""publish_token on the sandbox: what readers find, and what of other people's stays."""

import json
import traceback
from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest

from domokit import (
    NO_RETRY,
    AbstractCredentialStore,
    AccessTokenAuth,
    DomoAccessTokenConfig,
    DomoAccount,
    Secret,
    dry_run,
    errors,
)
from domokit.oauth import OAuthToken
from domokit.testing import oauth_client_auth, options_for, session_auth
from domokit.workflows.account_store import AccountStore
from domokit.workflows.publication import publish_token

CREDENTIALS, ACCESS_TOKEN = PROVIDERS = ["abstract-credential-store", "domo-access-token"]
NAME = "published token"
END = datetime(2031, 2, 3, 4, 5, 6, 700_000, tzinfo=UTC)
SHOWN = {
    "access_token": "access-canary-1",
    "token_type": "bearer",
    "scope": "data user",
    "expires_at": "2031-02-03T04:05:06+00:00",
}


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def token(number=1, **more):
    given = {
        "access_token": Secret(f"access-canary-{number}"),
        "refresh_token": Secret(f"refresh-canary-{number}"),
        "expires_at": END,
        "scope": "data user",
        "extra": {"id_token": Secret("extra-canary")},
    }
    return OAuthToken(**{**given, **more})


@pytest.fixture
async def auth(domo_sandbox, sessions):
    return sessions(domo_sandbox)


@pytest.fixture(params=["product", "platform"])
async def any_auth(request, domo_sandbox):
    made = {"product": session_auth, "platform": oauth_client_auth}[request.param](domo_sandbox)
    yield made
    await made.aclose()


def accounts(sandbox):
    return [one for one in sandbox.state.accounts.values() if one.display_name.startswith(NAME)]


def config(sandbox):
    (account,) = accounts(sandbox)
    return dict(account.configuration)


def members(sandbox):
    return json.loads(config(sandbox)["credentials"])


def writes(sandbox):
    paths = ("/api/data/v1/", "/v1/accounts")
    return [one.path for one in sandbox.requests if one.method != "GET" and one.path.startswith(paths)]


async def test_readers_find_the_access_token_and_never_the_refresh_token(domo_sandbox, any_auth):
    account = await publish_token(any_auth, NAME, token())
    assert (account.name, account.provider_type) == (NAME, CREDENTIALS)
    assert members(domo_sandbox) == SHOWN
    again = await publish_token(any_auth, NAME, token(2, scope=None, token_type="Bearer"))
    assert again.id == account.id
    assert members(domo_sandbox) == {**SHOWN, "access_token": "access-canary-2", "token_type": "Bearer", "scope": None}


async def test_an_access_token_account_holds_the_token_alone(domo_sandbox, any_auth):
    account = await publish_token(any_auth, NAME, token(), provider=ACCESS_TOKEN)
    assert account.provider_type == ACCESS_TOKEN
    assert config(domo_sandbox)["domoAccessToken"] == "access-canary-1"
    await publish_token(any_auth, account, token(2))
    assert config(domo_sandbox)["domoAccessToken"] == "access-canary-2"
    assert "refresh-canary" not in json.dumps(config(domo_sandbox))


async def test_times_are_in_utc(domo_sandbox, auth):
    east = timezone(timedelta(hours=9))
    await publish_token(auth, NAME, token(expires_at=END.astimezone(east), obtained_at=END - timedelta(hours=1)))
    assert members(domo_sandbox) == SHOWN


@pytest.mark.parametrize("by", ["entity", "id", "name"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_account_is_named_in_three_ways(domo_sandbox, any_auth, by, provider):
    account = await publish_token(any_auth, NAME, token(), provider=provider)
    named = {"entity": account, "id": account.id, "name": NAME}[by]
    found = await publish_token(any_auth, named, token(2), provider=provider)
    assert found == account
    assert "access-canary-2" in json.dumps(config(domo_sandbox))


async def test_a_new_account_can_be_read_in_clear_unless_that_is_forbidden(domo_sandbox, auth):
    account = await publish_token(auth, NAME, token())
    assert account.allow_external_use
    read = await account.get_config(unmask=True)
    assert read.decoded()["access_token"] == Secret("access-canary-1")
    closed = await publish_token(auth, "another", token(), allow_external_use=False)
    assert not closed.allow_external_use
    assert (await closed.get_config(unmask=True)).is_masked


async def test_external_use_of_an_account_stays_as_it_is_unless_it_is_named(domo_sandbox, auth):
    account = await publish_token(auth, NAME, token(), allow_external_use=False)
    assert not (await publish_token(auth, NAME, token(2))).allow_external_use
    assert (await publish_token(auth, NAME, token(2), allow_external_use=True)).allow_external_use
    assert (await publish_token(auth, account.id, token(3))).allow_external_use
    before = len(writes(domo_sandbox))
    assert not (await publish_token(auth, account.id, token(3), allow_external_use=False)).allow_external_use
    assert len(writes(domo_sandbox)) == before + 1


async def test_what_others_keep_in_the_account_stays(domo_sandbox, auth):
    theirs = {"host": "db.example.com", "nested": {"password": "p", "n": [1, None, "ü"]}}
    made = AbstractCredentialStore({**theirs, "access_token": "old", "scope": "old"})
    await DomoAccount.create(auth, name=NAME, config=made, allow_external_use=True)
    await publish_token(auth, NAME, token(), members={"domo_instance": "acme", "host": "new.example.com"})
    assert members(domo_sandbox) == {**theirs, **SHOWN, "domo_instance": "acme", "host": "new.example.com"}
    await publish_token(auth, NAME, token(2))
    assert members(domo_sandbox)["domo_instance"] == "acme"


@pytest.mark.parametrize("is_readable", [True, False], ids=["in clear", "masked"])
async def test_user_name_and_password_of_an_access_token_account(domo_sandbox, auth, is_readable):
    made = DomoAccessTokenConfig("old", "ann@example.com", "of ann")
    await DomoAccount.create(auth, name=NAME, config=made, allow_external_use=is_readable)
    await publish_token(auth, NAME, token(), provider=ACCESS_TOKEN)
    password = "of ann" if is_readable else ""
    assert config(domo_sandbox) == {
        "domoAccessToken": "access-canary-1",
        "username": "ann@example.com",
        "password": password,
    }
    besides = {"username": "bob@example.com", "password": Secret("of bob")}
    await publish_token(auth, NAME, token(), provider=ACCESS_TOKEN, members=besides)
    assert config(domo_sandbox)["username"] == "bob@example.com"
    assert config(domo_sandbox)["password"] == "of bob"


async def test_in_a_masked_account_all_is_replaced(domo_sandbox, auth):
    made = AbstractCredentialStore({"host": "db.example.com"})
    await DomoAccount.create(auth, name=NAME, config=made)
    await publish_token(auth, NAME, token())
    assert members(domo_sandbox) == SHOWN
    assert not accounts(domo_sandbox)[0].allow_external_use


async def test_the_platform_api_leaves_what_it_need_not_name(domo_sandbox, auth):
    made = DomoAccessTokenConfig("old", "ann@example.com", "of ann")
    account = await DomoAccount.create(auth, name=NAME, config=made)
    async with oauth_client_auth(domo_sandbox) as client:
        await publish_token(client, account.id, token())
        assert config(domo_sandbox)["password"] == "of ann"
        assert config(domo_sandbox)["username"] == "ann@example.com"
        before = len(domo_sandbox.requests)
        with pytest.raises(errors.UnsupportedByAuth, match="AccessTokenAuth"):
            await publish_token(client, account.id, token(), allow_external_use=True)
        assert len(domo_sandbox.requests) == before


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_nothing_is_written_where_it_is_already(domo_sandbox, auth, provider):
    account = await publish_token(auth, NAME, token(), provider=provider, members={"username": "ann@example.com"})
    domo_sandbox.requests.clear()
    again = {"provider": provider, "members": {"username": "ann@example.com"}}
    assert await publish_token(auth, NAME, token(), **again) == account
    assert await publish_token(auth, NAME, token(), provider=provider, allow_external_use=True) == account
    with dry_run():
        assert await publish_token(auth, account.id, token()) == account
    assert writes(domo_sandbox) == []
    await publish_token(auth, NAME, token(), provider=provider, members={"username": "bob@example.com"})
    assert len(writes(domo_sandbox)) == 1


async def test_in_a_dry_run_nothing_is_written(domo_sandbox, any_auth):
    with dry_run(), pytest.raises(errors.DryRunRefused):
        await publish_token(any_auth, NAME, token())
    account = await publish_token(any_auth, NAME, token())
    with dry_run(), pytest.raises(errors.DryRunRefused):
        await publish_token(any_auth, account.id, token(2))
    assert members(domo_sandbox) == SHOWN


# -- what it refuses


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_account_store_publishes_by_itself(domo_sandbox, auth, provider):
    """Writing beside it could bring a refresh token back that is spent."""
    store = AccountStore(auth, NAME, provider=provider)
    await store.save("k", Secret("some text"), replacing=None)
    before = config(domo_sandbox)
    with pytest.raises(errors.InvalidInputError, match="AccountStore"):
        await publish_token(auth, NAME, token(), provider=provider)
    assert config(domo_sandbox) == before
    await store.delete("k")
    await publish_token(auth, NAME, token(), provider=provider)


@pytest.mark.parametrize("text", ["somebody's password", "[1]", '{"domokit": 1}'], ids=["text", "list", "member"])
async def test_a_text_that_would_be_lost_is_not_overwritten(domo_sandbox, auth, text):
    await DomoAccount.create(auth, name=NAME, config=AbstractCredentialStore(text), allow_external_use=True)
    with pytest.raises(errors.InvalidInputError, match="lost"):
        await publish_token(auth, NAME, token())
    assert config(domo_sandbox) == {"credentials": text}


BAD_MEMBERS = {
    "refresh token": (CREDENTIALS, {"refresh_token": "x"}, "refresh"),
    "refresh token by another name": (CREDENTIALS, {"other": {"deep": ["refresh-canary-1"]}}, "refresh"),
    "written anyway": (CREDENTIALS, {"expires_at": "soon"}, "expires_at"),
    "the store's": (CREDENTIALS, {"domokit": {}}, "domokit"),
    "not JSON": (CREDENTIALS, {"x": {1, 2}}, "JSON"),
    "no such field": (ACCESS_TOKEN, {"host": "x"}, "host"),
    "no text": (ACCESS_TOKEN, {"username": 5}, "username"),
    "password": (ACCESS_TOKEN, {"password": "refresh-canary-1"}, "refresh"),
}


@pytest.mark.parametrize(("provider", "besides", "word"), BAD_MEMBERS.values(), ids=BAD_MEMBERS)
async def test_bad_members_are_refused_by_name(domo_sandbox, auth, provider, besides, word):
    with pytest.raises(errors.InvalidInputError, match=word):
        await publish_token(auth, NAME, token(), provider=provider, members=besides)
    assert writes(domo_sandbox) == []


async def test_accounts_that_cannot_hold_a_token_are_refused(domo_sandbox, any_auth):
    warehouse = next(one.id for one in domo_sandbox.state.accounts.values() if one.provider == "snowflake")
    with pytest.raises(errors.InvalidInputError, match="snowflake"):
        await publish_token(any_auth, warehouse, token())
    with pytest.raises(errors.InvalidInputError, match="snowflake"):
        await publish_token(any_auth, NAME, token(), provider="snowflake")
    with pytest.raises(errors.InvalidInputError, match="empty"):
        await publish_token(any_auth, " ", token())
    with pytest.raises(errors.NotFoundError):
        await publish_token(any_auth, 999_999, token())
    assert writes(domo_sandbox) == []


async def test_who_may_only_view_is_refused(domo_sandbox, auth):
    account = await publish_token(auth, NAME, token())
    someone = domo_sandbox.add_user("Eve", "eve@example.com", 2)
    await account.share(users=someone.id)
    secret = domo_sandbox.add_access_token(someone.id, "eve").token
    async with AccessTokenAuth(domo_sandbox.instance, secret, options=options_for(domo_sandbox)) as eve:
        assert await publish_token(eve, account.id, token()) == account
        with pytest.raises(errors.PermissionDeniedError):
            await publish_token(eve, account.id, token(2))
    assert members(domo_sandbox) == SHOWN


# -- when Domo fails


async def test_a_lost_answer_leaves_one_account(domo_sandbox, sessions):
    auth = sessions(domo_sandbox, retry=NO_RETRY)
    await auth.sign_in()
    domo_sandbox.misbehave("reset_after", method="POST", path="/api/data/v1/accounts$")
    await publish_token(auth, NAME, token())
    assert members(domo_sandbox) == SHOWN
    domo_sandbox.misbehave("reset_after", method="PUT", path="/api/data/")
    with pytest.raises(errors.ConnectionFailedError):
        await publish_token(auth, NAME, token(2))
    domo_sandbox.requests.clear()
    await publish_token(auth, NAME, token(2))
    assert writes(domo_sandbox) == []


async def test_many_who_publish_at_once_leave_one_account(domo_sandbox, sessions):
    auths = [sessions(domo_sandbox) for _ in range(4)]

    async def publish(auth):
        await publish_token(auth, NAME, token())

    async with anyio.create_task_group() as tasks:
        for auth in auths:
            tasks.start_soon(publish, auth)
    assert members(domo_sandbox) == SHOWN


@pytest.mark.parametrize("kind", ["status", "reset_before", "reset_after", "html", "truncated", "half_json"])
async def test_no_secret_is_shown_whatever_fails(served_domo_sandbox, caplog, kind):
    caplog.set_level("DEBUG")
    sandbox = served_domo_sandbox
    failed, shown = 0, []
    async with session_auth(sandbox, retry=NO_RETRY) as auth:
        await publish_token(auth, NAME, token(), members={"nested": {"anything": "canary-of-others"}})
        for number, (besides, method) in enumerate(
            [({}, "GET"), ({}, "PUT"), ({"x": "members-canary"}, "PUT"), ({"x": {"members-canary"}}, "PUT")]
        ):
            sandbox.misbehave(kind, times=None, method=method, path="/api/data/")
            try:
                shown.append(repr(await publish_token(auth, NAME, token(number), members=besides)))
            except errors.DomoError as error:
                failed += 1
                link = error
                while link is not None:
                    trace = traceback.TracebackException.from_exception(link, capture_locals=True)
                    shown += [str(link), repr(vars(link)), repr(link.args)]
                    shown += [str(frame.locals) for frame in trace.stack if "/tests/" not in frame.filename]
                    link = link.__cause__ or link.__context__
            sandbox.heal()
    shown += [record.getMessage() + repr(vars(record)) for record in caplog.records]
    assert failed >= 2
    assert "canary" not in "\n".join(shown)
