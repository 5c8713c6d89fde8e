"""A canary for every secret of a token's life, looked for wherever something is shown, whether it goes well or not."""

import gc
import logging
import pickle
import traceback

import anyio
import httpx
import pytest
from rich.traceback import Traceback

from domokit import ClientOptions, Secret, override, record
from domokit.errors import DomoError, InvalidInputError, UnpersistedError
from domokit.oauth import (
    AskGrant,
    ClientCredentialsGrant,
    OAuthClient,
    PasswordGrant,
    RefreshGrant,
    TokenKeeper,
    providers,
    read_token_file,
)
from domokit.stores import FileStore

from .helpers import CLIENT, PASSWORD, SECRET, USER, Flaky, client_for, keeper_for, password, record_of, seed

NEW = "canary-new-password"
ODD = 'canary "odd" ünï: 77'


class Watch:
    """Everything that was shown, and every value that must not have been."""

    def __init__(self, server):
        self.server = server
        self.shown = []
        self.events = []
        self.secrets = {PASSWORD, SECRET, NEW}

    def __call__(self, event):
        self.events.append(event)

    def show(self, *things):
        for thing in things:
            self.shown += [repr(thing), str(thing), f"{thing}", f"{thing!r:>3}"]
            if hasattr(thing, "__dict__"):
                self.shown.append(repr(vars(thing)))

    def show_keeper(self, keeper):
        """All that hangs on it, as a debugger or `vars()` in a notebook shows it."""
        self.show(
            keeper, keeper.client, keeper.store, keeper.grants, *keeper.grants, keeper.auth_for("https://x.example")
        )
        self.show(keeper._held, keeper._unsaved, keeper._hopeless, keeper._failure, keeper._flight)
        for error in (keeper._failure, keeper._flight and keeper._flight.error):
            if error is not None:
                self.show_error(error)

    def show_error(self, error):
        self.show(error, *error.args, vars(error))
        self.show_by_rich(error)
        links, link = [], error
        while link is not None and link not in links:
            links.append(link)
            self.shown += [repr(vars(link)), repr(link.args)]
            seen = traceback.TracebackException.from_exception(link, capture_locals=True)
            self.shown += [str(frame.locals) for frame in seen.stack if "/tests/" not in frame.filename]
            self.shown += list(traceback.TracebackException.from_exception(link).format())
            link = link.__cause__ or link.__context__

    def show_by_rich(self, error):
        """It looks into what it shows. Its colours take their time, and show no more."""
        seen = Traceback.extract(
            type(error), error, error.__traceback__, show_locals=True, locals_max_length=None, locals_max_string=None
        )
        for stack in seen.stacks:
            self.shown.append(stack.exc_value)
            for frame in stack.frames:
                if "/tests/" not in frame.filename:  # what the tests' own frames hold is their affair
                    self.shown += [f"{name} = {value}" for name, value in (frame.locals or {}).items()]

    def assert_clean(self, caplog):
        self.show(*self.events)
        for one in caplog.records:
            self.shown += [one.getMessage(), repr(one.args), repr(vars(one)), str(one.exc_text)]
        everything = "\n".join(self.shown)
        assert len(self.shown) > 20
        assert self.server.issued
        for secret in self.server.issued | self.secrets:
            assert len(secret) >= 8
            where = everything.find(secret)
            assert where < 0, f"shown: {everything[max(0, where - 600) : where]}{secret[:3]}…"


@pytest.fixture
def watch(server, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("domokit.oauth.journal._SAVES", (0.0, 0.01))
    caplog.set_level(logging.DEBUG)
    server.jwt = True
    server.extra = {"id_token": "canary-id-token", "nested": [{"session_token": "canary-session-token"}]}
    watch = Watch(server)
    watch.secrets |= {"canary-id-token", "canary-session-token"}
    return watch


def test_a_canary_is_found(server, watch, caplog):
    """Else the tests below would prove nothing."""
    access, _ = server.issue(CLIENT, USER)
    watch.show(*range(30))
    watch.assert_clean(caplog)
    logging.getLogger("x").debug("%s", access)
    with pytest.raises(AssertionError, match="shown: "):
        watch.assert_clean(caplog)


@pytest.mark.parametrize("auth", ["basic", "basic-raw", "post"])
async def test_when_all_goes_well(server, watch, caplog, tmp_path, auth):
    server.add_client(CLIENT, ODD, auth)
    watch.secrets.add(ODD)
    client = OAuthClient(server.token_url, CLIENT, ODD, client_auth=auth, scope="a b")
    ladders = [
        (ClientCredentialsGrant(params={"client_assertion": Secret("canary-assertion")}),),
        (RefreshGrant(), password()),
        (seed(server),),
    ]
    watch.secrets.add("canary-assertion")
    for number, grants in enumerate(ladders):
        keeper = TokenKeeper(client, grants=grants, store=FileStore(tmp_path / f"{number}.json"), on_event=watch)
        with record() as answers:
            token = await keeper.get_token()
            watch.show(token, token.extra, token.authorization, await keeper.renew(), await keeper.status())
            if number == 1:
                watch.show(await keeper.change_password(NEW))
        watch.show(*answers, answers)
        watch.show(await record_of(keeper), await keeper.store.load(keeper.key), await keeper.store.keys())
        async with httpx.AsyncClient(auth=keeper.auth_for(server.issuer)) as http:
            watch.show(await http.get(server.api_url), http)
        watch.show_keeper(keeper)
        await keeper.aclose()
    assert len(watch.events) >= 8
    watch.assert_clean(caplog)


FAULTS = [
    ("reset", {}),
    ("reset", {"after_acting": True}),
    ("truncated", {}),
    ("truncated", {"keep": -1}),
    ("html", {"after_acting": True}),
    ("odd", {"after_acting": True}),
    ("hang", {}),
    ("status", {"status": 500, "after_acting": True}),
    ("status", {"status": 429, "retry_after": 99}),
    ("status", {"status": 400, "body": {"error": "invalid_grant"}}),
    ("status", {"status": 400, "body": {"error": "invalid_scope"}}),
    ("status", {"status": 401, "body": {"error": "invalid_client"}}),
    ("status", {"status": 302, "body": ""}),
]


@pytest.mark.parametrize(("kind", "details"), FAULTS)
async def test_when_the_provider_fails(server, watch, caplog, kind, details):
    failed = 0
    with override(timeout=0.3):
        for grant in (ClientCredentialsGrant(), password(), seed(server)):
            keeper = keeper_for(server, grant, on_event=watch)
            calls = [keeper.get_token, keeper.renew, keeper.get_token]
            if isinstance(grant, PasswordGrant):
                calls.append(lambda keeper=keeper: keeper.change_password(NEW))
            for call in calls:
                server.fail(kind, times=None, **details)
                try:
                    watch.show(await call())
                except DomoError as error:
                    failed += 1
                    watch.show_error(error)
                watch.show_keeper(keeper)
                server.heal()
            watch.show(await record_of(keeper))
            await keeper.aclose()
    assert failed >= 2 or details == {"keep": -1}
    watch.assert_clean(caplog)


async def test_when_the_provider_repeats_what_it_was_sent(server, watch, caplog):
    """An error that quotes the secrets is masked: they are known here."""
    keeper = keeper_for(server, seed(server), password(), on_event=watch)
    token = await keeper.get_token()

    def quote(request):
        said = f"bad {request.form.get('password')} or {request.form.get('refresh_token')} of {SECRET}"
        server.fail("status", status=400, body={"error": "invalid_grant", "error_description": said, "more": [said]})

    server.on_request = quote
    with pytest.raises(DomoError) as caught:
        await keeper.renew()
    assert "***" in str(caught.value)
    watch.show_error(caught.value)
    watch.show(token)
    watch.show_keeper(keeper)
    watch.assert_clean(caplog)


async def test_when_the_store_fails(server, watch, caplog, tmp_path):
    store = Flaky(lambda call, record: record.spending is None and call > 1)
    rescue = FileStore(tmp_path / "rescue" / "tokens.json")
    keeper = keeper_for(server, seed(server), store=store, on_event=watch, rescue=rescue)
    await keeper.get_token()
    watch.show(await keeper.renew())
    with pytest.raises(UnpersistedError) as caught:
        await keeper.aclose()
    watch.show_error(caught.value)
    watch.show(caught.value.attached)
    watch.show_keeper(keeper)
    assert keeper._unsaved is not None
    store.is_away = True
    with pytest.raises(DomoError) as caught:
        await keeper.renew()
    watch.show_error(caught.value)
    watch.show_keeper(keeper)
    store.is_away, store.fails = False, lambda call, record: False
    await keeper.aclose()
    watch.assert_clean(caplog)


async def test_when_a_caller_runs_out_of_time(server, watch, caplog):
    """`anyio.fail_after` raises a TimeoutError with the cancellation as its context, frames and all."""
    keeper = keeper_for(server, seed(server), password(), on_event=watch)
    await keeper.get_token()
    server.fail("latency", seconds=0.3, times=None)
    for call in (keeper.renew, lambda: keeper.change_password(NEW)):
        with pytest.raises(TimeoutError) as caught, anyio.fail_after(0.05):
            await call()
        watch.show_error(caught.value)
        watch.show_keeper(keeper)
    await keeper.aclose()
    watch.assert_clean(caplog)


async def test_when_something_of_the_users_fails_in_the_midst(server, watch, caplog):
    """Hooks, transports and functions of the user raise what they like, from below frames that hold requests."""

    class OfTheirsError(Exception):
        pass

    async def fail(*_):
        raise OfTheirsError

    for options in (
        ClientOptions(event_hooks={"request": [fail]}),
        ClientOptions(event_hooks={"response": [fail]}),
        ClientOptions(transport=httpx.MockTransport(fail)),
    ):
        for grant in (seed(server), ClientCredentialsGrant(), password()):
            keeper = keeper_for(server, grant, client=client_for(server, options=options), on_event=watch)
            if isinstance(grant, RefreshGrant):
                await keeper.get_token()
            with pytest.raises(OfTheirsError) as caught:
                await keeper.renew()
            watch.show_error(caught.value)
            watch.show_keeper(keeper)
    keeper = keeper_for(server, AskGrant(fail), on_event=watch)
    with pytest.raises(DomoError) as caught:
        await keeper.get_token()
    watch.show_error(caught.value)
    watch.show_keeper(keeper)
    watch.assert_clean(caplog)


def test_when_arguments_are_wrong(server, watch, caplog, tmp_path):
    access, refresh = server.issue(CLIENT, USER)
    file = tmp_path / "token.txt"
    file.write_text(f'{{"refresh_token": "{refresh}"}}')
    server.jwt = False
    opaque, _ = server.issue(CLIENT, USER)
    for build in (
        lambda: OAuthClient("http://login.example.com", CLIENT, SECRET),
        lambda: OAuthClient("https://login.example.com", "", SECRET),
        lambda: OAuthClient("https://login.example.com", CLIENT, SECRET, client_auth="none"),
        lambda: OAuthClient("https://login.example.com", CLIENT, SECRET, scope='"'),
        lambda: PasswordGrant("", PASSWORD),
        lambda: RefreshGrant("", access_token=access),
        lambda: RefreshGrant(access_token=access),
        lambda: providers.rdp("", PASSWORD, "key"),
        lambda: providers.rdp("ann", PASSWORD, ""),
        lambda: providers.domo("", SECRET),
        lambda: providers.alteryx(access_token=access, refresh_token=refresh),
        lambda: providers.alteryx(access_token=opaque, refresh_token=refresh),
        lambda: providers.alteryx(access_token=access),
        lambda: read_token_file(file),
    ):
        with pytest.raises(InvalidInputError) as caught:
            build()
        watch.show_error(caught.value)
    watch.assert_clean(caplog)


async def test_pickling_is_refused_for_whatever_holds_a_secret(server):
    keeper = keeper_for(server, seed(server))
    token = await keeper.get_token()
    stored = await keeper.store.load(keeper.key)
    for thing in (token, stored, await record_of(keeper), keeper, keeper.client, *keeper.grants, password()):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(keeper.auth_for(server.issuer))


async def test_secrets_do_not_outlive_what_holds_them(server):
    """Used-up tokens are kept nowhere for the masking of logs."""
    keeper = keeper_for(server, seed(server))
    await keeper.get_token()
    await keeper.renew()
    gc.collect()
    before = len(Secret._live)
    for _ in range(30):
        await keeper.renew()
    gc.collect()
    assert len(Secret._live) <= before + 5
