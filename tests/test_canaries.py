"""A canary for every kind of credential, looked for wherever something is shown: reprs, logs, tracebacks, locals."""

import io
import logging
import pickle
import traceback
from datetime import timedelta

import anyio
import pytest
from rich.console import Console
from rich.traceback import Traceback

from domokit import (
    AbstractCredentialStore,
    AccessTokenAuth,
    AccountConfig,
    BrowserSessionAuth,
    ClientOptions,
    DomoAccessToken,
    DomoAccessTokenConfig,
    DomoAccount,
    DomoApiClient,
    DomoUser,
    OAuthClientAuth,
    RetryPolicy,
    Secret,
    SessionAuth,
    errors,
    override,
    record,
    rotate_access_token,
)
from domokit.testing import access_token_auth, oauth_client_auth, options_for, session_auth

QUICK = RetryPolicy(attempts=2, base=0.01, cap=0.02)
# Made-up secrets that the tests hand over themselves; those that the sandbox issues are added as they appear.
PASSWORD = "canary-password-1f3a"
ACCOUNT_SECRET = 'canary-account "quoted" ünï 77'
NEW_PASSWORD = "canary-new-password-9c"
CODE = "90817263"
PROXY_PASSWORD = "canary-proxy-55aa"


class Watch:
    """Everything that was shown, and every value that must not have been."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.shown = []
        self.secrets = {PASSWORD, ACCOUNT_SECRET, NEW_PASSWORD, CODE, PROXY_PASSWORD}

    def show(self, *things):
        for thing in things:
            self.shown += [repr(thing), str(thing), f"{thing}", f"{thing!r:>3}"]
            for name in ("_repr_html_", "to_dict"):
                if hasattr(thing, name):
                    self.shown.append(str(getattr(thing, name)()))
            if hasattr(thing, "raw"):
                self.shown.append(str(thing.raw))

    def show_error(self, error):
        self.show(error, *error.args, vars(error))
        seen = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.shown += list(seen.format(chain=True))
        console = Console(file=io.StringIO(), width=400)
        rich = Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True, locals_max_string=None
        )
        console.print(rich)
        self.shown.append(console.file.getvalue())
        link = error
        while link is not None:  # also what is not printed by default
            self.shown += [repr(vars(link)), repr(link.args)]
            self.shown += list(traceback.TracebackException.from_exception(link, capture_locals=True).format())
            link = link.__cause__ or link.__context__

    def assert_clean(self, caplog):
        self.shown += [record_.getMessage() for record_ in caplog.records]
        self.shown += [repr(record_.args) for record_ in caplog.records]
        self.shown += [repr(vars(record_)) for record_ in caplog.records]
        state = self.sandbox.state
        sandbox = self.sandbox
        issued = {sandbox.password, sandbox.access_token, sandbox.client_secret}
        for request in sandbox.requests:
            for name in ("authorization", "x-domo-authentication", "x-domo-developer-token"):
                value = request.headers.get(name)
                if value:
                    issued.add(value.removeprefix("bearer ").removeprefix("Basic "))
        issued |= {str(token) for token in getattr(state, "sessions", {})}
        everything = "\n".join(self.shown)
        assert len(self.shown) > 20
        for secret in issued | self.secrets:
            assert len(secret) >= 8
            where = everything.find(secret)
            assert where < 0, f"shown: {everything[max(0, where - 300) : where]}{secret[:3]}…"


@pytest.fixture
def watch(domo_sandbox, caplog):
    caplog.set_level(logging.DEBUG)
    return Watch(domo_sandbox)


@pytest.fixture
def served(served_domo_sandbox, caplog):
    caplog.set_level(logging.DEBUG)
    return Watch(served_domo_sandbox)


async def test_when_all_goes_well(watch, caplog):
    sandbox = watch.sandbox
    async with (
        session_auth(sandbox) as auth,
        access_token_auth(sandbox) as token_auth,
        oauth_client_auth(sandbox) as oauth,
    ):
        with record() as answers:
            watch.show(await auth.who_am_i(), await token_auth.who_am_i(), await oauth.who_am_i())
            me = await DomoUser.get_me(auth)
            token = await DomoAccessToken.generate(auth, owner_id=me.id, name="canary", duration=1)
            watch.secrets.add(token.token.reveal())
            config = AbstractCredentialStore({"password": ACCOUNT_SECRET, "token": token.token})
            account = await DomoAccount.create(auth, name="canary", config=config, allow_external_use=True)
            readable = await account.get_config(unmask=True)
            snowflake = AccountConfig("snowflake", {"account": "a", "username": "u", "password": PASSWORD, "role": "r"})
            other = await DomoAccount.upsert(auth, name="canary 2", config=snowflake)
            third = DomoAccessTokenConfig(token.token, "ann@example.com", PASSWORD)
            client = await DomoApiClient.create(token_auth, name="canary", scopes=["data"])
            watch.secrets.add(client.client_secret.reveal())
            result = await rotate_access_token(auth, owner_id=me.id, name="canary", account="canary rotation")
            watch.secrets.add(result.token.token.reveal())
            await me.set_password(NEW_PASSWORD)
        watch.show(auth, token_auth, oauth, vars(auth), vars(token_auth), vars(oauth), me, token, account, readable)
        watch.show(config, snowflake, third, other, client, result, result.token, answers, readable.decoded())
        watch.show(await DomoAccessToken.get_all(auth), await DomoAccount.get_all(auth), auth.options)
        watch.show(sandbox, sandbox.state, list(sandbox.requests))
        watch.show(OAuthClientAuth("id", PASSWORD), ClientOptions(proxy=f"http://u:{PROXY_PASSWORD}@127.0.0.1:9"))
    watch.assert_clean(caplog)


async def test_when_signing_in_fails(watch, caplog):
    sandbox = watch.sandbox
    options = options_for(sandbox)
    for auth in (
        SessionAuth(sandbox.instance, sandbox.username, PASSWORD, options=options),
        SessionAuth(sandbox.instance, sandbox.username, PASSWORD, one_time_password=CODE, options=options),
        SessionAuth("nobody", sandbox.username, PASSWORD, options=options),
        BrowserSessionAuth(sandbox.instance, PASSWORD, options=options),
        OAuthClientAuth(sandbox.client_id, PASSWORD, options=options),
        AccessTokenAuth(sandbox.instance, PASSWORD, options=options),
    ):
        async with auth:
            with pytest.raises(errors.DomoError) as caught:
                await auth.sign_in()
        watch.show_error(caught.value)
        watch.show(auth)
    sandbox.require_one_time_password(sandbox.username, code="12345678")
    auth = SessionAuth(sandbox.instance, sandbox.username, sandbox.password, one_time_password=CODE, options=options)
    with pytest.raises(errors.OneTimePasswordRequired) as caught:
        await auth.sign_in()
    watch.show_error(caught.value)
    await auth.aclose()
    watch.assert_clean(caplog)


FAULTS = [
    ("status", {"status": 500}),
    ("status", {"status": 400}),
    ("reset_before", {}),
    ("reset_after", {}),
    ("truncated", {}),
    ("half_json", {}),
    ("html", {}),
    ("empty", {}),
    ("latency", {"seconds": 2}),
]


@pytest.mark.parametrize(("kind", "details"), FAULTS)
async def test_when_a_secret_is_on_its_way_and_the_network_fails(served, caplog, kind, details):
    """Signing in, generating, storing and reading, each met by the fault: over a real socket, with a short timeout."""
    sandbox = served.sandbox
    with override(timeout=0.3, total_timeout=0.3, retry=QUICK):
        async with (
            session_auth(sandbox) as auth,
            access_token_auth(sandbox) as token_auth,
            oauth_client_auth(sandbox) as oauth,
        ):
            me = await DomoUser.get_me(auth)
            await oauth.sign_in()
            config = AbstractCredentialStore({"password": ACCOUNT_SECRET})
            account = await DomoAccount.create(auth, name="canary", config=config, allow_external_use=True)
            calls = [
                auth.sign_in,
                oauth.sign_in,
                token_auth.who_am_i,
                lambda: DomoAccessToken.generate(auth, owner_id=me.id, name="canary", duration=1),
                lambda: account.update_config(AbstractCredentialStore(ACCOUNT_SECRET)),
                lambda: account.get_config(unmask=True),
                lambda: me.set_password(NEW_PASSWORD),
                lambda: rotate_access_token(auth, owner_id=me.id, name="canary", account="canary"),
            ]
            failed = 0
            for call in calls:
                sandbox.misbehave(kind, times=None, **details)
                try:
                    served.show(await call())
                except errors.DomoError as error:
                    failed += 1
                    served.show_error(error)
                sandbox.heal()
            assert failed >= len(calls) - 2
            served.show(auth, token_auth, oauth)
    for token in sandbox.state.access_tokens.values():
        if isinstance(getattr(token, "token", None), str):
            served.secrets.add(token.token)
    served.assert_clean(caplog)


async def test_when_nobody_listens_or_the_proxy_is_gone(served, caplog):
    sandbox = served.sandbox
    for options in (
        ClientOptions(base_url="http://127.0.0.1:9", retry=QUICK),
        options_for(sandbox, proxy=f"http://user:{PROXY_PASSWORD}@127.0.0.1:9", retry=QUICK),
    ):
        async with SessionAuth(sandbox.instance, sandbox.username, PASSWORD, options=options) as auth:
            with pytest.raises(errors.ConnectionFailedError) as caught:
                await auth.who_am_i()
            served.show_error(caught.value)
            served.show(auth, options)
    async with session_auth(sandbox) as auth:
        await auth.who_am_i()
    for _ in range(10):
        served.show(auth)
    served.assert_clean(caplog)


async def test_when_a_caller_runs_out_of_time(served, caplog):
    """`anyio.fail_after` raises a TimeoutError with the cancellation as its context, frames and all."""
    sandbox = served.sandbox
    async with session_auth(sandbox) as auth:
        me = await DomoUser.get_me(auth)
        sandbox.misbehave("latency", seconds=1, times=None)
        for call in (
            lambda: DomoAccessToken.generate(auth, owner_id=me.id, name="canary", duration=1),
            lambda: DomoAccount.upsert(auth, name="canary", config=AbstractCredentialStore(ACCOUNT_SECRET)),
        ):
            with pytest.raises(TimeoutError) as caught:
                with anyio.fail_after(0.1):
                    await call()
            served.show_error(caught.value)
            served.show(auth, me, auth.options, vars(auth))
    served.assert_clean(caplog)


async def test_when_arguments_are_wrong(watch, caplog):
    """Refused in a constructor, with the secret among its arguments."""
    sandbox = watch.sandbox
    for build in (
        lambda: SessionAuth("no such/name", "ann@example.com", PASSWORD, one_time_password=CODE),
        lambda: SessionAuth("acme", "", PASSWORD),
        lambda: AccessTokenAuth("no such/name", PASSWORD),
        lambda: AccessTokenAuth("acme", PASSWORD + "\n"),
        lambda: BrowserSessionAuth("acme", PASSWORD + ";"),
        lambda: OAuthClientAuth("id", PASSWORD, scope="dta"),
        lambda: AbstractCredentialStore({"password": PASSWORD, "bad": {1, 2}}),
        lambda: AccountConfig("snowflake", {"password": PASSWORD, "account": 5}),
        lambda: AccountConfig("snowflake", {"password": PASSWORD}).check_names(["username"]),
        lambda: DomoAccessTokenConfig(PASSWORD, 5),
    ):
        with pytest.raises(errors.InvalidInputError) as caught:
            build()
        error = caught.value
        # The lambda's own frame is the caller's affair; what domokit's frames hold is ours.
        watch.shown += [repr(vars(error)), str(error), repr(error)]
        seen = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [frame for frame in seen.stack if "/tests/" not in frame.filename]
        assert ours
        watch.shown += [str(frame.locals) for frame in ours]
    watch.show(sandbox)
    watch.assert_clean(caplog)


async def test_domo_repeating_a_secret_in_its_words_is_masked(domo_sandbox, caplog):
    """An error message that quotes what was sent: the value is known here, so it is taken out."""
    secret = Secret("canary-echo-4711")
    error = errors.BadRequestError(f"bad value canary-echo-4711 and {secret}", asked="POST /x", body=None)
    assert "canary-echo" not in str(error) + repr(error)
    assert "***" in str(error)


def test_pickling_is_refused_for_whatever_holds_a_secret():
    secret = Secret(PASSWORD)
    for thing in (
        secret,
        SessionAuth("acme", "ann@example.com", PASSWORD),
        AccessTokenAuth("acme", PASSWORD),
        OAuthClientAuth("id", PASSWORD),
        AbstractCredentialStore({"a": PASSWORD}),
        DomoAccessToken(auth=AccessTokenAuth("acme", PASSWORD), id=1, token=secret),
    ):
        with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
            pickle.dumps(thing)


async def test_tokens_do_not_outlive_the_objects_that_hold_them(domo_sandbox, sessions):
    """Expired or replaced secrets are not kept anywhere for the masking of logs."""
    auth = sessions(domo_sandbox)
    before = len(Secret._live)
    for _ in range(50):
        await auth.sign_in()
        domo_sandbox.clock.advance(timedelta(hours=9))
    assert len(Secret._live) < before + 20
