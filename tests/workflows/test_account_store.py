"""AccountStore on the sandbox: what is in the account, whom it serves, and what it does when Domo fails."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest

from domokit import (
    NO_RETRY,
    AbstractCredentialStore,
    AccessTokenAuth,
    DomoAccessTokenConfig,
    DomoAccount,
    RetryPolicy,
    Secret,
    SessionAuth,
    dry_run,
    errors,
    override,
    rotate_access_token,
)
from domokit._runtime import state_directory
from domokit.oauth import OAuthClient, OAuthToken, RefreshGrant, TokenKeeper
from domokit.oauth.record import TokenRecord
from domokit.sandbox import Sandbox
from domokit.stores import EncryptionKey, FileStore, MemoryStore, Stored, StoreLock
from domokit.testing import TokenStoreConformance, oauth_client_auth, options_for, session_auth
from domokit.workflows import account_store
from domokit.workflows.account_store import AccountStore
from tests.oauth.server import OAuthServer

QUICK = RetryPolicy(attempts=2, base=0.01, cap=0.02)
PROVIDERS = ["abstract-credential-store", "domo-access-token"]
NAME = "kept token"
CONFIG = r"/api/data/v1/providers/.*/account/"
ACCOUNTS = r"/api/data/v1/accounts$"
KEY = EncryptionKey.generate()


def encryption():
    return EncryptionKey.from_callable(lambda: KEY)


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class OnSandbox(TokenStoreConformance):
    __test__ = False
    provider = PROVIDERS[0]
    encryption = None

    @pytest.fixture(autouse=True)
    def _sandboxes(self):
        self.sandboxes = {}

    def make_store(self, tmp_path):
        sandbox = self.sandboxes.setdefault(tmp_path, Sandbox())
        return AccountStore(session_auth(sandbox), NAME, provider=self.provider, encryption=self.encryption)


class TestCredentialStore(OnSandbox):
    pass


class TestEncryptedAccessTokenAccount(OnSandbox):
    provider = PROVIDERS[1]
    encryption = EncryptionKey.from_callable(lambda: KEY)


def token(number=1, **more):
    now = datetime.now(UTC)
    given = {
        "access_token": Secret(f"access-canary-{number}-aaaa"),
        "refresh_token": Secret(f"refresh-canary-{number}-aaaa"),
        "expires_at": now + timedelta(hours=1),
        "obtained_at": now,
        "scope": "data user",
    }
    return OAuthToken(**{**given, **more})


def text_of(number=1, **more):
    return TokenRecord(token=token(number, **more)).encoded()


class Place:
    """A sandbox, who signs in there, and what the sandbox itself knows of the account."""

    def __init__(self, sandbox, provider):
        self.sandbox, self.provider = sandbox, provider
        self.auths = []

    def auth(self, **options):
        self.auths.append(session_auth(self.sandbox, **{"retry": QUICK, **options}))
        return self.auths[-1]

    def store(self, account=NAME, *, auth=None, **options):
        return AccountStore(auth or self.auth(), account, provider=self.provider, **options)

    async def account(self, *, name=NAME, allow_external_use=True, **members):
        """One that somebody else made."""
        if self.provider == PROVIDERS[0]:
            config = AbstractCredentialStore(members)
        else:
            config = DomoAccessTokenConfig(**{"access_token": "somebody's", "username": "ann@example.com", **members})
        return await DomoAccount.create(self.auth(), name=name, config=config, allow_external_use=allow_external_use)

    @property
    def accounts(self):
        return [one for one in self.sandbox.state.accounts.values() if one.display_name.startswith(NAME)]

    @property
    def config(self):
        (account,) = self.accounts
        return dict(account.configuration)

    @property
    def members(self):
        return json.loads(self.config["credentials"])

    @property
    def entries(self):
        if self.provider == PROVIDERS[0]:
            return self.members.get("domokit", {})
        return json.loads(self.config["password"] or "{}").get("domokit", {})

    @property
    def shown(self):
        """The access token that readers see."""
        if self.provider == PROVIDERS[0]:
            return self.members.get("access_token")
        return self.config["domoAccessToken"]

    def writes(self):
        return sum(
            (one.method == "PUT" and "/account/" in one.path)
            or (one.method == "POST" and one.path == "/api/data/v1/accounts")
            for one in self.sandbox.requests
        )

    async def aclose(self):
        for auth in self.auths:
            await auth.aclose()


@pytest.fixture(params=PROVIDERS)
async def place(request, domo_sandbox):
    made = Place(domo_sandbox, request.param)
    yield made
    await made.aclose()


@pytest.fixture
async def credentials(domo_sandbox):
    made = Place(domo_sandbox, PROVIDERS[0])
    yield made
    await made.aclose()


# -- what is in the account


async def test_readers_find_the_token_and_when_it_ends(credentials):
    store = credentials.store()
    text = text_of(1, expires_at=datetime(2031, 2, 3, 4, 5, 6, 700_000, tzinfo=UTC))
    version = await store.save("k", text, replacing=None)
    assert credentials.members == {
        "access_token": "access-canary-1-aaaa",
        "token_type": "bearer",
        "scope": "data user",
        "expires_at": "2031-02-03T04:05:06+00:00",
        "domokit": {"k": {"version": version, "text": text.reveal()}},
    }
    account = await DomoAccount.find(store.auth, NAME, credentials.provider)
    config = await account.get_config(unmask=True)
    assert config.decoded()["access_token"] == Secret("access-canary-1-aaaa")
    assert await store.load("k") == Stored(text, version)


async def test_a_reader_of_an_access_token_account_finds_the_token(domo_sandbox, sessions):
    auth = sessions(domo_sandbox)
    store = AccountStore(auth, NAME, provider=PROVIDERS[1])
    await store.save("k", text_of(1), replacing=None)
    account = await DomoAccount.find(auth, NAME, PROVIDERS[1])
    config = await account.get_config(unmask=True)
    assert config.access_token == Secret("access-canary-1-aaaa")
    assert config.username == ""


async def test_the_token_saved_last_is_the_one_that_is_shown(place):
    store = place.store()
    first = await store.save("one", text_of(1), replacing=None)
    await store.save("two", text_of(2), replacing=None)
    assert place.shown == "access-canary-2-aaaa"
    await store.save("one", text_of(3), replacing=first)
    assert place.shown == "access-canary-3-aaaa"
    await store.delete("two")
    assert place.shown == "access-canary-3-aaaa"
    await store.delete("one")
    assert not place.shown
    assert place.entries == {}
    assert place.accounts


async def test_what_holds_no_token_leaves_what_readers_see(place):
    store = place.store()
    first = await store.save("k", text_of(1), replacing=None)
    second = await store.save("k", TokenRecord(seed=Secret("refresh-canary-seed")).encoded(), replacing=first)
    await store.save("other", Secret("some text"), replacing=None)
    assert place.shown == "access-canary-1-aaaa"
    await store.save("k", TokenRecord(dead=["0123456789ab"]).encoded(), replacing=second)
    assert place.shown == "access-canary-1-aaaa"  # another's, for all we know


async def test_a_revoked_token_is_shown_no_more(place):
    store = place.store()
    version = await store.save("k", text_of(1), replacing=None)
    await store.save("k", TokenRecord(dead=["0123456789ab"]).encoded(), replacing=version)
    assert not place.shown
    assert await store.keys() == ["k"]


async def test_what_others_keep_in_the_account_stays(credentials):
    account = await credentials.account(host="db.example.com", nested={"password": "p", "n": [1, None]}, scope="old")
    store = credentials.store(account.id)
    await store.save("k", text_of(1), replacing=None)
    assert credentials.members["host"] == "db.example.com"
    assert credentials.members["nested"] == {"password": "p", "n": [1, None]}
    assert credentials.members["scope"] == "data user"
    await store.delete("k")
    assert credentials.members == {"host": "db.example.com", "nested": {"password": "p", "n": [1, None]}}


async def test_the_user_name_of_an_access_token_account_stays(domo_sandbox):
    place = Place(domo_sandbox, PROVIDERS[1])
    account = await place.account()
    store = place.store(account)
    await store.save("k", text_of(1), replacing=None)
    assert place.config["username"] == "ann@example.com"
    assert place.shown == "access-canary-1-aaaa"
    assert list(place.entries) == ["k"]
    await place.aclose()


@pytest.mark.parametrize("by", ["entity", "id", "name"])
async def test_an_account_is_named_in_three_ways(place, by):
    account = await place.account()
    named = {"entity": account, "id": account.id, "name": NAME}[by]
    text = text_of(1)
    await place.store(named).save("k", text, replacing=None)
    assert (await place.store(named).load("k")).text == text
    assert [one.id for one in place.accounts] == [account.id]


async def test_it_is_made_with_the_first_write_and_not_before(place):
    store = place.store()
    assert await store.load("k") is None
    assert await store.keys() == []
    await store.delete("k")
    await store.check()
    async with store.lock("k") as held:
        await held.reserve()
    assert place.accounts == []
    await store.save("k", text_of(1), replacing=None)
    (account,) = place.accounts
    assert account.allow_external_use
    assert account.provider == place.provider


async def test_sealed_nobody_who_reads_the_account_has_the_refresh_token(place):
    store = place.store(encryption=encryption())
    await store.save("k", text_of(1), replacing=None)
    assert place.shown == "access-canary-1-aaaa"
    assert "refresh-canary" not in json.dumps(place.config)
    assert TokenRecord.decoded((await store.load("k")).text, "k").refresh_token == Secret("refresh-canary-1-aaaa")
    with pytest.raises(errors.StoreCorruptError, match="encrypted"):
        await place.store().load("k")


async def test_what_is_in_clear_is_sealed_when_it_is_next_written(place):
    version = await place.store().save("k", text_of(1), replacing=None)
    assert "refresh-canary" in json.dumps(place.config)
    store = place.store(encryption=encryption())
    found = await store.load("k")
    assert found.version == version
    await store.save("k", found.text, replacing=version)
    assert "refresh-canary" not in json.dumps(place.config)


async def test_the_other_type_of_account_is_kept_as_what_it_is(domo_sandbox):
    """An account that is named by its id may be of the type that is not the store's own."""
    place = Place(domo_sandbox, PROVIDERS[1])
    account = await place.account()
    store = AccountStore(place.auth(), account.id, provider=PROVIDERS[0])
    await store.save("k", text_of(1), replacing=None)
    assert place.shown == "access-canary-1-aaaa"
    await place.aclose()


# -- what it refuses


async def test_platform_auth_is_refused_before_anything_is_sent(domo_sandbox):
    async with oauth_client_auth(domo_sandbox) as auth:
        with pytest.raises(errors.UnsupportedByAuth, match="AccessTokenAuth"):
            AccountStore(auth, NAME)
    assert not domo_sandbox.requests


@pytest.mark.parametrize("account", ["", "  ", None, 1.5, True], ids=["empty", "blank", "none", "float", "bool"])
async def test_what_is_no_account_is_refused(domo_sandbox, sessions, account):
    with pytest.raises(errors.InvalidInputError, match="account"):
        AccountStore(sessions(domo_sandbox), account)


async def test_another_provider_is_refused(domo_sandbox, sessions):
    auth = sessions(domo_sandbox)
    with pytest.raises(errors.InvalidInputError, match="snowflake"):
        AccountStore(auth, NAME, provider="snowflake")
    warehouse = next(one.id for one in domo_sandbox.state.accounts.values() if one.provider == "snowflake")
    before = domo_sandbox.account_config(warehouse)
    store = AccountStore(auth, warehouse)
    for call in calls(store):
        with pytest.raises(errors.StoreError, match="snowflake") as caught:
            await call()
        assert caught.value.needs_human
    assert domo_sandbox.account_config(warehouse) == before


def calls(store):
    async def reserve():
        async with store.lock("k") as held:
            await held.reserve()

    return [
        lambda: store.load("k"),
        lambda: store.save("k", text_of(9), replacing=None),
        lambda: store.delete("k"),
        store.keys,
        store.check,
        reserve,
    ]


async def test_a_masked_account_is_never_overwritten(place):
    account = await place.account(allow_external_use=False)
    before = place.config
    for store in (place.store(), place.store(account.id)):
        for call in calls(store):
            with pytest.raises(errors.StoreError, match="masked") as caught:
                await call()
            assert "allow_external_use" in caught.value.hint
            assert caught.value.needs_human
    assert place.config == before


async def test_external_use_taken_away_later_is_noticed(place):
    store = place.store()
    version = await store.save("k", text_of(1), replacing=None)
    before = place.config
    place.accounts[0].allow_external_use = False
    with pytest.raises(errors.StoreError, match="masked"):
        await store.save("k", text_of(2), replacing=version)
    assert place.config == before


STRANGE = {
    "text": "a bare password",
    "list": "[1, 2]",
    "member": json.dumps({"domokit": "something else"}),
    "entry": json.dumps({"domokit": {"k": {"version": 1}}}),
    "cut": '{"access_token": "canary-of-ot',
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
async def test_what_is_neither_members_nor_entries_is_never_overwritten(credentials, content):
    account = await credentials.account()
    credentials.sandbox.state.accounts[account.id].configuration["credentials"] = content
    store = credentials.store()
    for call in calls(store):
        with pytest.raises(errors.StoreCorruptError):
            await call()
    assert credentials.config == {"credentials": content}


async def test_an_account_with_nothing_in_it_will_do(credentials):
    account = await credentials.account()
    for number, content in enumerate(("", "{}", '{"domokit": {}}')):
        credentials.sandbox.state.accounts[account.id].configuration["credentials"] = content
        await credentials.store().save("k", text_of(number), replacing=None)
        assert credentials.shown == f"access-canary-{number}-aaaa"


async def test_somebody_s_password_is_never_overwritten(domo_sandbox):
    place = Place(domo_sandbox, PROVIDERS[1])
    await place.account(password="of ann")
    before = place.config
    for call in calls(place.store()):
        with pytest.raises(errors.StoreCorruptError, match="password"):
            await call()
    assert place.config == before
    await place.aclose()


async def test_of_several_accounts_that_fit_none_is_chosen(place):
    for _ in range(3):
        await place.account()
    place.sandbox.state.accounts.pop(place.accounts[0].id)
    with pytest.raises(errors.StoreError, match="several"):
        await place.store().load("k")


async def test_a_name_that_is_taken_out_of_sight_is_refused(place):
    """Two accounts that both mean to be the store would spend one refresh token twice."""
    await place.account()
    someone = place.sandbox.add_user("Eve", "eve@example.com", 2, "password")
    options = options_for(place.sandbox, retry=QUICK)
    secret = place.sandbox.add_access_token(someone.id, "eve").token
    async with AccessTokenAuth(place.sandbox.instance, secret, options=options) as auth:
        store = place.store(auth=auth)
        assert await store.load("k") is None
        with pytest.raises(errors.StoreError, match="taken"):
            await store.save("k", text_of(1), replacing=None)
    assert len(place.accounts) == 1
    assert place.entries == {}


async def test_who_may_only_view_is_told_before_a_token_is_spent(place):
    account = await place.account()
    someone = place.sandbox.add_user("Eve", "eve@example.com", 2, "password")
    team = place.sandbox.add_group("editors", [someone.id])
    await account.share(users=someone.id, level="CAN_VIEW")
    secret = place.sandbox.add_access_token(someone.id, "eve").token
    async with AccessTokenAuth(place.sandbox.instance, secret, options=options_for(place.sandbox)) as auth:
        store = place.store(auth=auth)
        assert await store.load("k") is None
        for call in (store.check, calls(store)[-1]):
            with pytest.raises(errors.StoreError, match="viewing") as caught:
                await call()
            assert caught.value.needs_human
        with pytest.raises(errors.StoreError) as caught:
            await store.save("k", text_of(1), replacing=None)
        assert not isinstance(caught.value, errors.StoreUnavailableError)
        assert isinstance(caught.value.__cause__, errors.PermissionDeniedError)
        assert "editing" in caught.value.hint
        await account.share(groups=team.id, level="CAN_EDIT")
        await store.check()
        await store.save("k", text_of(1), replacing=None)
        await account.unshare(groups=team.id)
        await account.unshare(users=someone.id)
        with pytest.raises(errors.StoreError):
            await store.load("k")


async def test_a_manager_of_all_accounts_needs_no_share(place):
    account = await place.account()
    place.sandbox.state.accounts[account.id].shares.clear()
    store = place.store(account.id)
    await store.check()
    await store.save("k", text_of(1), replacing=None)


async def test_in_a_dry_run_nothing_is_reserved_or_stored(place):
    store = place.store()
    version = await store.save("k", text_of(1), replacing=None)
    before = place.config
    with dry_run():
        assert (await store.load("k")).version == version
        for call in (
            lambda: store.save("k", text_of(2), replacing=version),
            lambda: store.delete("k"),
            store.check,
            calls(store)[-1],
        ):
            with pytest.raises(errors.StoreUnavailableError, match="dry run"):
                await call()
        with pytest.raises(errors.StoreUnavailableError, match="dry run"):
            await place.store("kept token, another").save("k", text_of(1), replacing=None)
    assert place.config == before
    await store.save("k", text_of(2), replacing=version)


# -- when Domo fails

READ_FAULTS = {
    "503": ("status", {"status": 503}),
    "500": ("status", {"status": 500}),
    "429": ("rate_limit", {}),
    "html": ("html", {}),
    "maintenance": ("maintenance", {}),
    "reset": ("reset_before", {}),
    "truncated": ("truncated", {}),
    "empty": ("empty", {}),
}


@pytest.mark.parametrize(("kind", "details"), READ_FAULTS.values(), ids=READ_FAULTS)
async def test_a_domo_that_fails_is_an_unavailable_store(place, kind, details):
    store = place.store()
    version = await store.save("k", text_of(1), replacing=None)
    before = place.config
    place.sandbox.misbehave(kind, times=None, path=r"/api/data/", **details)
    for call in (*calls(store)[:1], *calls(store)[2:], lambda: store.save("k", text_of(2), replacing=version)):
        with pytest.raises(errors.StoreUnavailableError) as caught:
            await call()
        assert isinstance(caught.value.__cause__, errors.DomoError)
        assert caught.value.retryable
        assert not caught.value.needs_human
    place.sandbox.heal()
    assert place.config == before
    await store.save("k", text_of(2), replacing=version)


async def test_a_passing_failure_is_not_noticed(place):
    store = place.store()
    await place.account()
    for number, kind in enumerate(("status", "rate_limit", "reset_before")):
        place.sandbox.misbehave(kind, path=CONFIG)
        assert await store.load(f"k{number}") is None
        place.sandbox.misbehave(kind, path=CONFIG, method="PUT")
        await store.save(f"k{number}", text_of(number), replacing=None)


@pytest.mark.parametrize("kind", ["reset_after", "truncated", "empty", "half_json"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new account", "account"])
async def test_a_write_whose_answer_is_lost_is_looked_after(place, kind, is_new):
    """It is found to have been carried out; there is one account, and one entry of the version that is returned."""
    store = place.store(auth=place.auth(retry=NO_RETRY))
    if not is_new:
        await place.account()
    await store.load("k")
    before = place.writes()
    place.sandbox.misbehave(kind, method=["PUT", "POST"], path=r"/api/data/v1/(providers|accounts)")
    version = await store.save("k", text_of(1), replacing=None)
    assert place.writes() == before + 1
    assert place.entries["k"]["version"] == version
    assert len(place.accounts) == 1
    place.sandbox.misbehave(kind, method="PUT", path=CONFIG)
    await store.delete("k")
    assert place.entries == {}


@pytest.mark.parametrize("is_new", [True, False], ids=["new account", "account"])
async def test_a_write_that_did_not_arrive_is_said_to_have_failed(place, is_new):
    store = place.store(auth=place.auth(retry=NO_RETRY))
    if not is_new:
        await place.account()
    await store.load("k")
    for kind in ("reset_before", "html", "status"):
        place.sandbox.misbehave(kind, method=["PUT", "POST"], path=r"/api/data/v1/(providers|accounts)")
        with pytest.raises(errors.StoreUnavailableError):
            await store.save("k", text_of(1), replacing=None)
        assert len(place.accounts) == (not is_new)
    await store.save("k", text_of(1), replacing=None)
    assert len(place.accounts) == 1


@pytest.mark.parametrize("is_new", [True, False], ids=["new account", "account"])
async def test_the_same_write_again_is_no_conflict(place, is_new):
    """Its answer was lost, and so was the look whether it was carried out: the next try finds that it was."""
    store = place.store(auth=place.auth(retry=NO_RETRY))
    first = None if is_new else await store.save("k", text_of(0), replacing=None)
    await store.load("k")
    text = text_of(1)

    def stop_reading(phase, request):
        if phase == "acted" and request.method in ("PUT", "POST"):
            place.sandbox.misbehave("status", times=None, method="GET", path="/api/data/")

    place.sandbox.misbehave("reset_after", method=["PUT", "POST"], path="/api/data/")
    unwatch = place.sandbox.watch(stop_reading)
    with pytest.raises(errors.StoreUnavailableError):
        await store.save("k", text, replacing=first)
    unwatch()
    place.sandbox.heal()
    assert place.shown == "access-canary-1-aaaa"
    writes = place.writes()
    version = await store.save("k", text, replacing=first)
    assert place.writes() == writes
    assert place.entries["k"]["version"] == version
    with pytest.raises(errors.StoreConflictError):
        await place.store().save("k", text, replacing=first)


async def test_a_write_that_takes_too_long_is_given_up(place, monkeypatch):
    store = place.store(auth=place.auth(retry=NO_RETRY))
    version = await store.save("k", text_of(1), replacing=None)
    monkeypatch.setattr(account_store, "_WRITE_SECONDS", 0.1)
    place.sandbox.misbehave("latency", seconds=5, method="PUT", path=CONFIG)
    with pytest.raises(errors.StoreUnavailableError, match="no answer within"):
        await store.save("k", text_of(2), replacing=version)
    assert place.shown == "access-canary-1-aaaa"


async def test_a_write_that_was_begun_is_finished_though_its_caller_is_gone(place):
    store = place.store()
    version = await store.save("k", text_of(1), replacing=None)
    place.sandbox.misbehave("latency", seconds=0.2, method="PUT", path=CONFIG)
    with anyio.move_on_after(0.1) as scope:
        await store.save("k", text_of(2), replacing=version)
    assert scope.cancel_called
    assert place.shown == "access-canary-2-aaaa"


async def test_who_cannot_sign_in_is_told_what_domo_says(place):
    await place.account()
    auth = AccessTokenAuth(place.sandbox.instance, "no-such-token", options=options_for(place.sandbox))
    store = place.store(auth=auth)
    with pytest.raises(errors.StoreError) as caught:
        await store.load("k")
    assert not isinstance(caught.value, errors.StoreUnavailableError)
    assert isinstance(caught.value.__cause__, errors.AuthenticationError)
    assert caught.value.needs_human
    await auth.aclose()


# -- when the account goes, or comes


async def test_an_account_that_was_deleted_is_made_anew_by_its_name(place):
    store = place.store()
    version = await store.save("k", text_of(1), replacing=None)
    place.sandbox.state.accounts.pop(place.accounts[0].id)
    assert await store.load("k") is None
    with pytest.raises(errors.StoreConflictError):
        await store.save("k", text_of(2), replacing=version)
    assert place.accounts == []
    await store.delete("k")
    assert place.accounts == []
    await store.save("k", text_of(2), replacing=None)
    assert place.shown == "access-canary-2-aaaa"


async def test_an_account_named_by_its_id_is_not_made_anew(place):
    account = await place.account()
    store = place.store(account.id)
    await store.save("k", text_of(1), replacing=None)
    place.sandbox.state.accounts.pop(account.id)
    for call in calls(store):
        with pytest.raises(errors.StoreError) as caught:
            await call()
        assert isinstance(caught.value.__cause__, errors.NotFoundError)
        assert caught.value.needs_human
    assert place.accounts == []


async def test_an_account_made_by_another_under_the_name_is_taken(place):
    store, other = place.store(), place.store()
    assert await store.load("k") is None
    assert await other.load("k") is None
    version = await store.save("k", text_of(1), replacing=None)
    assert (await other.load("k")).version == version
    place.sandbox.state.accounts.pop(place.accounts[0].id)
    await other.save("k", text_of(2), replacing=None)
    found = await store.load("k")
    assert TokenRecord.decoded(found.text, "k").token.access_token == Secret("access-canary-2-aaaa")


async def test_of_two_hosts_that_make_it_at_once_one_is_told_that_it_came_too_late(place):
    """No lock reaches both of them. One account is left, and nothing is lost that anybody was told is stored."""
    stores = [place.store(locks=MemoryStore()) for _ in range(2)]
    ended = []

    async def save(number):
        try:
            ended.append((number, await stores[number].save("k", text_of(number), replacing=None)))
        except errors.StoreConflictError as error:
            ended.append((number, error))

    for store in stores:
        await store.load("k")
    place.sandbox.misbehave("latency", seconds=0.05, times=None, path=ACCOUNTS)
    async with anyio.create_task_group() as tasks:
        for number in range(2):
            tasks.start_soon(save, number)
    ((winner, version),) = [one for one in ended if isinstance(one[1], str)]
    assert len(place.accounts) == 1
    assert place.accounts[0].display_name == NAME
    assert place.entries["k"]["version"] == version
    assert place.shown == f"access-canary-{winner}-aaaa"
    loser = stores[1 - winner]
    assert (await loser.load("k")).version == version


# -- locks


async def test_locks_reach_as_far_as_those_of_the_store_that_gives_them(place, tmp_path):
    assert place.store().reach == "machine"
    shared = MemoryStore()
    store, other = place.store(locks=shared), place.store(locks=shared)
    assert store.reach == "process"
    assert AccountStore.reach == "machine"
    async with store.lock("k"):
        with pytest.raises(errors.StoreBusyError):
            async with shared.lock("k", timeout=0):
                pass
        with pytest.raises(errors.StoreBusyError):
            async with other.lock("k", timeout=0):
                pass
        await other.save("k", text_of(1), replacing=None)
    assert not (state_directory() / "locks").exists()
    filed = place.store(locks=FileStore(tmp_path / "tokens.json"))
    assert filed.reach == "machine"
    async with filed.lock("k") as held:
        await held.extend()
        await held.reserve()
        await filed.delete("k")
    assert not (tmp_path / "tokens.json").exists()


class Lapsing(MemoryStore):
    """Its locks last for half a second, and lapse when they are told to."""

    reach = "hosts"
    lapsed = False

    def lock(self, key, *, timeout=1):
        store = self

        class Lock(StoreLock):
            @property
            def seconds_left(self):
                return 0.5

            async def extend(self):
                if store.lapsed:
                    raise errors.StoreBusyError("another host holds it")

        @contextlib.asynccontextmanager
        async def held():
            yield Lock()

        return held()


async def test_nothing_is_written_under_a_lock_that_has_lapsed(place):
    locks = Lapsing()
    store = place.store(locks=locks)
    assert store.reach == "hosts"
    version = await store.save("k", text_of(1), replacing=None)
    locks.lapsed = True
    with pytest.raises(errors.StoreConflictError, match="another host"):
        await store.save("k", text_of(2), replacing=version)
    assert place.shown == "access-canary-1-aaaa"
    with pytest.raises(errors.StoreBusyError):
        await calls(store)[-1]()
    locks.lapsed = False
    place.sandbox.misbehave("latency", seconds=3, method="PUT", path=CONFIG)
    with pytest.raises(errors.StoreUnavailableError):  # a write ends before its lock does
        await store.save("k", text_of(2), replacing=version)


async def test_a_lock_file_that_somebody_removes_is_noticed(place):
    store = place.store()
    async with store.lock("k") as held:
        for file in (state_directory() / "locks").iterdir():
            file.unlink()
        for call in (held.extend, held.reserve):
            with pytest.raises(errors.StoreBusyError):
                await call()


async def test_many_writers_lose_nothing(place):
    stores = [place.store() for _ in range(4)]

    async def work(number, store):
        for key in range(3):
            await store.save(f"{number}.{key}", Secret(f"text {number}"), replacing=None)

    async with anyio.create_task_group() as tasks:
        for number, store in enumerate(stores):
            tasks.start_soon(work, number, store)
    assert len(await stores[0].keys()) == 12


# -- a keeper of tokens


@pytest.fixture
def server():
    with OAuthServer() as running:
        running.add_client("id", "secret")
        yield running


def keeper(server, store, seed=None, **options):
    first = RefreshGrant() if seed is None else RefreshGrant(seed[1])
    client = OAuthClient(server.token_url, "id", "secret")
    return TokenKeeper(client, grants=[first], store=store, **options)


async def reader_sees(place, auth):
    """What somebody reads who knows nothing of the store."""
    account = await DomoAccount.find(auth, NAME, place.provider)
    config = await account.get_config(unmask=True)
    if place.provider == PROVIDERS[1]:
        return config.access_token.reveal()
    members = config.decoded()
    assert datetime.fromisoformat(members["expires_at"].reveal()) > datetime.now(UTC) - timedelta(seconds=1)
    return members["access_token"].reveal()


@pytest.mark.parametrize(
    ("anyio_backend", "served", "provider"),
    [("asyncio", False, PROVIDERS[0]), ("trio", False, PROVIDERS[1]), ("asyncio", True, PROVIDERS[0])],
    ids=["asyncio, in process", "trio, in process", "asyncio, served"],
)
async def test_readers_always_see_a_token_that_lives(server, served, provider):
    """Over several lifetimes. In process, the sandbox runs on the loop of whoever waits for the renewal."""
    server.lifetime = 3.0
    sandbox = Sandbox()
    with sandbox.serve() if served else contextlib.nullcontext(), httpx.Client(trust_env=False) as api:

        def lives(token):
            return api.get(server.api_url, headers={"Authorization": f"Bearer {token}"}).status_code == 200

        place = Place(sandbox, provider)
        reader = place.auth()
        kept = keeper(server, place.store(encryption=encryption()), server.issue("id"))
        await kept.get_token()
        seen, given = set(), set()
        while len(seen) < 3:
            given.add((await kept.get_token()).access_token.reveal())
            began = time.monotonic()
            found = await reader_sees(place, reader)
            # A fifth of its life is left to a token when it is renewed; a reader may be slower than that.
            assert await anyio.to_thread.run_sync(lives, found) or time.monotonic() - began > 0.1 * server.lifetime
            seen.add(found)
            await anyio.sleep(0.02)
        await kept.aclose()
        given.add(kept.ready().access_token.reveal())
        assert given >= seen
        assert server.reuses == []
        assert server.refreshes >= len(given) >= len(seen)
        assert len(place.accounts) == 1
        await place.aclose()


def test_keepers_in_many_threads_spend_each_token_once(server, domo_sandbox):
    server.lifetime = 1.5
    seed = server.issue("id")
    given, failed = set(), []

    async def work():
        auth = session_auth(domo_sandbox, retry=QUICK)
        kept = keeper(server, AccountStore(auth, NAME), seed)
        while server.refreshes < 3:
            given.add((await kept.get_token()).fingerprint)
            await anyio.sleep(0.02)
        await kept.aclose()
        given.add(kept.ready().fingerprint)
        await auth.aclose()

    def run(number):
        try:
            anyio.run(work, backend=["asyncio", "trio"][number % 2])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert server.reuses == []
    assert len(given) <= server.refreshes <= (time.monotonic() - began) / (0.75 * server.lifetime) + 1


PROCESS = """
import json, os, sys
import anyio
from domokit import ClientOptions, SessionAuth
from domokit.oauth import OAuthClient, RefreshGrant, TokenKeeper
from domokit.workflows.account_store import AccountStore

token_url, refresh_token, provider, stop, backend = json.loads(sys.stdin.readline())

async def main():
    async with SessionAuth.from_env() as auth:
        store = AccountStore(auth, "kept token", provider=provider)
        client = OAuthClient(token_url, "id", "secret")
        kept = TokenKeeper(client, grants=[RefreshGrant(refresh_token)], store=store)
        given = ""
        while not os.path.exists(stop):
            token = await kept.get_token()
            if token.fingerprint != given:
                given = token.fingerprint
                print(given, flush=True)
            await anyio.sleep(0.02)
        await kept.aclose()
        print(kept.ready().fingerprint, flush=True)

anyio.run(main, backend=backend)
"""


def test_processes_that_share_an_account_spend_each_token_once(server, served_domo_sandbox, monkeypatch, tmp_path):
    """The second that renews is killed when it has noted that it spends the token; the others go on."""
    sandbox = served_domo_sandbox
    server.lifetime = 1.5
    seed = server.issue("id")
    for name, value in (("INSTANCE", "instance"), ("USERNAME", "username"), ("PASSWORD", "password")):
        monkeypatch.setenv(f"DOMO_{name}", getattr(sandbox, value))
    monkeypatch.setenv("DOMO_BASE_URL", sandbox.base_url)
    place = Place(sandbox, PROVIDERS[0])
    key = keeper(server, MemoryStore()).key
    stop, killed = tmp_path / "stop", []

    def kill(phase, request):
        if phase == "acted" and request.method == "PUT" and server.refreshes == 2 and not killed:
            spending = TokenRecord.decoded(Secret(place.entries[key]["text"]), key).spending
            if spending is not None:
                killed.append(int(spending.by.rpartition(":")[2]))
                os.kill(killed[0], signal.SIGKILL)

    sandbox.watch(kill)
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for number, process in enumerate(processes):
        order = [server.token_url, seed[1], place.provider, str(stop), ["asyncio", "trio"][number % 2]]
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
    given = set()
    server.wait_until(lambda: server.refreshes >= 3)
    stop.touch()
    for process in processes:
        said, _ = process.communicate(timeout=60)
        given |= set(said.split())
        assert process.returncode == (-signal.SIGKILL if process.pid in killed else 0)
    assert len(killed) == 1
    assert server.reuses == []
    assert given <= {Secret(token).fingerprint for token in server.families[0].access}
    assert server.refreshes >= len(given) >= 2  # on a slow machine one may end before anybody has seen it
    assert len(place.accounts) == 1
    assert list(place.entries) == [key]


async def spends_nothing(server, kept, kind):
    before = server.count("refresh_token")
    with pytest.raises(kind) as caught:
        await kept.renew()
    assert server.count("refresh_token") == before
    return caught.value


async def test_no_token_is_spent_that_could_not_be_stored(server, place):
    kept = keeper(server, place.store(), server.issue("id"))
    first = await kept.get_token()
    with dry_run():
        await spends_nothing(server, kept, errors.StoreUnavailableError)
    place.sandbox.misbehave("status", times=None, path="/api/data/")
    await spends_nothing(server, kept, errors.StoreUnavailableError)
    place.sandbox.heal()
    place.sandbox.misbehave("status", times=None, path="/api/data/", method="PUT")
    await spends_nothing(server, kept, errors.StoreUnavailableError)
    place.sandbox.heal()
    place.accounts[0].allow_external_use = False
    assert (await spends_nothing(server, kept, errors.StoreError)).needs_human
    place.accounts[0].allow_external_use = True
    assert (await kept.renew()).access_token != first.access_token
    await kept.aclose()
    assert server.reuses == []


async def test_a_token_that_came_when_domo_had_gone_is_kept_and_stored_later(server, credentials):
    kept = keeper(server, credentials.store(encryption=encryption()), server.issue("id"))
    await kept.get_token()
    server.on_acted = lambda request: credentials.sandbox.misbehave("status", times=None, path="/api/data/")
    token = await kept.renew()
    server.on_acted = None
    assert token.unpersisted
    assert credentials.shown != token.access_token.reveal()
    with pytest.raises(errors.UnpersistedError):
        await kept.aclose()
    credentials.sandbox.heal()
    await kept.aclose()
    assert credentials.shown == token.access_token.reveal()
    another = keeper(server, credentials.store(encryption=encryption()))
    assert (await another.get_token()).access_token == token.access_token
    await another.renew()
    assert server.reuses == []


async def test_an_account_that_is_deleted_while_a_token_comes_is_made_anew(server, place):
    await keeper(server, place.store(), server.issue("id")).get_token()
    kept = keeper(server, place.store())
    await kept.get_token()
    server.on_acted = lambda request: place.sandbox.state.accounts.pop(place.accounts[0].id)
    token = await kept.renew()
    server.on_acted = None
    assert place.shown == token.access_token.reveal()
    await kept.renew()
    await kept.aclose()
    assert server.reuses == []


async def test_a_revoked_token_is_taken_from_the_readers(server, place):
    kept = keeper(server, place.store(), server.issue("id"))
    token = await kept.get_token()
    assert place.shown == token.access_token.reveal()

    async def revoke(*arguments, **options):
        """The server has no such endpoint."""

    kept.client.revoke = revoke
    await kept.revoke()
    assert not place.shown
    await kept.aclose()


async def test_a_session_of_domo_s_own_can_be_kept_there(place):
    """Another's SessionAuth shares its session by the account."""
    store = place.store()
    sandbox = place.sandbox
    for _ in range(2):
        auth = SessionAuth(
            sandbox.instance, sandbox.username, sandbox.password, store=store, options=options_for(sandbox)
        )
        await auth.sign_in() if not place.accounts else await auth.who_am_i()
        await auth.aclose()
    signed_in = [one for one in sandbox.requests if one.path.endswith("/authentication")]
    assert len(signed_in) == 2  # the store's own, and the one that was shared


# -- and nobody sees a secret

SHOWN_FAULTS = {
    "500": ("status", {"status": 500}),
    "400": ("status", {"status": 400}),
    "reset before": ("reset_before", {}),
    "reset after": ("reset_after", {}),
    "truncated": ("truncated", {}),
    "half": ("half_json", {}),
    "html": ("html", {}),
    "empty": ("empty", {}),
    "late": ("latency", {"seconds": 1}),
}


def shown_by(error):
    """All that a traceback with local variables shows of domokit's frames, and those of its causes."""
    shown, link = [], error
    while link is not None:
        trace = traceback.TracebackException.from_exception(link, capture_locals=True)
        shown += [str(link), repr(link), repr(vars(link)), repr(link.args)]
        shown += [f"{frame.name} {frame.locals}" for frame in trace.stack if "/tests/" not in frame.filename]
        link = link.__cause__ or link.__context__
    assert len(shown) > 4
    return shown


def assert_clean(shown, caplog):
    shown = [*shown, *(record.getMessage() + repr(vars(record)) for record in caplog.records)]
    assert "canary" not in "\n".join(shown)


@pytest.mark.parametrize(("kind", "details"), SHOWN_FAULTS.values(), ids=SHOWN_FAULTS)
async def test_no_secret_is_shown_whatever_fails(served_domo_sandbox, caplog, kind, details):
    caplog.set_level("DEBUG")
    place = Place(served_domo_sandbox, PROVIDERS[0])
    await place.account(nested={"anything": "canary-of-others"})
    failed, shown = 0, []
    with override(timeout=0.1, total_timeout=0.1, retry=NO_RETRY):
        store = place.store()
        version = await store.save("k", text_of(1), replacing=None)
        shown += map(repr, (store, vars(store), await store.load("k"), str(store)))
        write = [lambda: store.save("k", text_of(2), replacing=version), lambda: store.delete("k")]
        for method, call in [*(("GET", call) for call in calls(store)), *(("PUT", call) for call in write)]:
            place.sandbox.misbehave(kind, times=None, method=method, path="/api/data/", **details)
            try:
                shown.append(repr(await call()))
            except errors.DomoError as error:
                failed += 1
                shown += shown_by(error)
            place.sandbox.heal()
    assert failed > 2
    assert_clean(shown, caplog)
    await place.aclose()


async def test_no_secret_is_shown_when_the_account_is_refused(place, caplog):
    caplog.set_level("DEBUG")
    account = await place.account()
    wrong = [
        {"credentials": "canary-of-others"},
        {"credentials": '["canary-of-others"]'},
        {"credentials": '{"x": {"y": "canary-of-others"}, "domokit": "canary-of-others"}'},
        {"domoAccessToken": "canary", "username": "", "password": "canary-of-others"},
        {"domoAccessToken": "canary", "username": "", "password": '{"domokit": {"k": "canary-of-others"}}'},
        {"domoAccessToken": "canary", "username": "", "password": '{"domokit": {"k": {"version": "canary"}}}'},
    ]
    shown = []
    for content in wrong:
        if ("credentials" in content) is (place.provider == PROVIDERS[0]):
            place.sandbox.state.accounts[account.id].configuration = content
            for call in calls(place.store()):
                with pytest.raises(errors.StoreCorruptError) as caught:
                    await call()
                shown += shown_by(caught.value)
    assert_clean(shown, caplog)


def test_a_store_is_not_pickled(domo_sandbox):
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(AccountStore(session_auth(domo_sandbox), NAME))


@pytest.mark.parametrize("provider", ["abstract-credential-store", "domo-access-token"])
async def test_a_rotation_does_not_write_into_the_account_of_a_store(domo_sandbox, sessions, provider):
    auth = sessions(domo_sandbox)
    store = AccountStore(auth, "kept here", provider=provider)
    await store.save("k", Secret("text"), replacing=None)
    with pytest.raises(errors.InvalidInputError, match="belongs to an AccountStore"):
        await rotate_access_token(
            auth, owner_id=domo_sandbox.admin.id, name="n", account="kept here", provider=provider, duration=1
        )
    assert await store.keys() == ["k"]


async def test_an_account_whose_token_is_empty_can_be_read(domo_sandbox, sessions):
    auth = sessions(domo_sandbox)
    store = AccountStore(auth, "kept here", provider="domo-access-token")
    await store.save("k", Secret("text"), replacing=None)
    await store.delete("k")
    account = await DomoAccount.search(auth, name="kept here").first()
    config = await account.get_config(unmask=True)
    assert not config.fields["domoAccessToken"]
