"""A token request whose answer is lost, cut off or odd: what is asked again, what is not, and what is made of it."""

import json
import socket

import anyio
import httpx
import pytest

from domokit import ClientOptions
from domokit.errors import (
    ConnectionFailedError,
    DomoError,
    GrantDeadError,
    InvalidCredentialsError,
    MissingCredentialError,
    OutcomeUnknown,
    RateLimitedError,
    RefreshTokenLost,
    ServerError,
    UnexpectedPageError,
)
from domokit.oauth import AskGrant, ClientCredentialsGrant, PasswordGrant, RefreshGrant

from .helpers import (
    CLIENT,
    PASSWORD,
    USER,
    Events,
    Unlocked,
    assert_each_spent_once,
    assert_newest_is_stored,
    client_for,
    fingerprint,
    keeper_for,
    password,
    presented,
    record_of,
    seed,
)

# name → the fault, and whether the server acted: then the refresh token is used up.
LOST = {
    "reset after acting": ("reset", {"after_acting": True}, True),
    "reset before acting": ("reset", {}, False),
    "cut off at once": ("truncated", {"keep": 0}, True),
    "cut off before the refresh token": ("truncated", {"keep": 70}, True),
    "cut off inside the refresh token": ("truncated", {"keep": -10}, True),
    "a page after acting": ("html", {"after_acting": True}, True),
    "a page instead of acting": ("html", {}, False),
    "500 after acting": ("status", {"status": 500, "after_acting": True}, True),
    "502 after acting": ("status", {"status": 502, "after_acting": True, "body": ""}, True),
    "503 after acting": ("status", {"status": 503, "after_acting": True, "retry_after": 0}, True),
    "500 instead of acting": ("status", {"status": 500}, False),
    "503 instead of acting": ("status", {"status": 503, "retry_after": 0}, False),
}
faults = pytest.mark.parametrize("how", LOST)


def lose(server, how, **more):
    kind, details, _ = LOST[how]
    server.fail(kind, **details, **more)


async def doubtful(server, clock, how, *grants, **options):
    """A keeper with a living token, of which nobody knows whether its refresh token is used up."""
    server.lifetime = 1000.0
    keeper = keeper_for(server, seed(server), *grants, clock=clock, **options)
    token = await keeper.get_token()
    lose(server, how)
    with pytest.raises(OutcomeUnknown) as caught:
        await keeper.renew()
    assert not isinstance(caught.value, RefreshTokenLost)
    assert server.count() == 1
    return keeper, token


async def assert_served_to_its_end(server, clock, keeper, token):
    """Nothing is sent as long as it lives; a keeper that is started meanwhile does the same."""
    sent = server.count()
    again = keeper_for(server, client=keeper.client, store=keeper.store, user=keeper.user)
    for seconds in (0, 500, 400, 80):  # till 980: fresh, fresh, in the soft window, in its last seconds
        clock.advance(seconds)
        for one in (keeper, again):
            assert (await one.get_token()).access_token == token.access_token
            with pytest.raises(OutcomeUnknown, match="not presented again"):
                await one.renew()
            assert (await one.get_token()).access_token == token.access_token
            await one.aclose()
    assert server.count() == sent
    assert server.reuses == []
    assert (await keeper.status()).state == "in doubt"
    clock.advance(21)


@faults
async def test_the_living_token_is_served_and_the_refresh_token_left_alone(server, clock, how):
    events = Events()
    keeper, token = await doubtful(server, clock, how, on_event=events)
    await assert_served_to_its_end(server, clock, keeper, token)

    acted = LOST[how][2]
    if acted:
        for _ in range(2):
            with pytest.raises(RefreshTokenLost) as caught:
                await keeper.get_token()
        assert isinstance(caught.value.__cause__, GrantDeadError)
        assert caught.value.needs_human
        assert len(server.reuses) == 1  # the one gamble
        assert (await keeper.status()).state == "dead"
        again = keeper_for(server, client=keeper.client, store=keeper.store)
        with pytest.raises(GrantDeadError) as caught:
            await again.get_token()
        assert caught.value.reason == "refused before"
    else:
        assert (await keeper.get_token()).access_token.reveal() == server.families[0].access[-1]
        assert server.reuses == []
        await assert_newest_is_stored(keeper, server)
    assert presented(server) == [server.families[0].refresh[0]] * 2
    assert "lost" in events.kinds
    assert keeper.counters["lost"] == events.kinds.count("lost")


@faults
async def test_under_a_grace_window_it_comes_back(server, clock, how):
    server.grace = 10_000.0
    keeper, token = await doubtful(server, clock, how)
    await assert_served_to_its_end(server, clock, keeper, token)
    better = await keeper.get_token()
    assert server.is_alive(better.access_token.reveal())
    assert server.reuses == []
    await assert_newest_is_stored(keeper, server)
    assert server.count() == 2


@faults
async def test_with_a_password_on_the_ladder_it_signs_in(server, clock, how):
    keeper, token = await doubtful(server, clock, how, password())
    await assert_served_to_its_end(server, clock, keeper, token)
    assert server.count("password") == 0
    better = await keeper.get_token()
    assert server.is_alive(better.access_token.reveal())
    acted = LOST[how][2]
    assert (server.count("password"), len(server.reuses)) == (acted, acted)
    await assert_newest_is_stored(keeper, server)


@faults
async def test_with_the_access_token_dead_the_ladder_goes_on_at_once(server, clock, how):
    """Nothing lives that could be served, and a sign-in costs no refresh token."""
    keeper = keeper_for(server, seed(server), password(), clock=clock)
    await keeper.get_token()
    clock.advance(101)
    lose(server, how)
    assert (await keeper.get_token()).access_token.reveal() == server.families[1].access[0]
    assert [one.grant for one in server.requests] == ["refresh_token", "password"]
    assert server.reuses == []


@pytest.mark.parametrize("fallback", [True, False])
async def test_a_password_for_the_first_token_only_is_no_way_out(server, clock, fallback):
    grants = RefreshGrant(), PasswordGrant(USER, PASSWORD, fallback=fallback)
    keeper = keeper_for(server, *grants, clock=clock)
    await keeper.get_token()
    await keeper.renew()
    assert [one.grant for one in server.requests] == ["password", "refresh_token"]
    server.revoke_family(server.families[0].refresh[-1])
    if fallback:
        await keeper.renew()
        assert server.count("password") == 2
    else:
        with pytest.raises(GrantDeadError):
            await keeper.renew()
        assert server.count("password") == 1


async def test_a_token_that_an_api_refuses_is_dead_also_in_doubt(server, clock):
    """Its dates say that it lives. Within a grace window the gamble is won at once."""
    server.grace = 10.0
    keeper, token = await doubtful(server, clock, "reset after acting")
    server.deny(token.access_token.reveal())
    better = await keeper.replace(token)
    assert server.is_alive(better.access_token.reveal())
    assert server.count() == 2
    await assert_newest_is_stored(keeper, server)


async def test_the_gamble_that_is_lost_as_well_is_tried_after_a_while_only(server, clock, patient):
    keeper, _ = await doubtful(server, clock, "reset after acting")
    clock.advance(1001)
    server.fail("reset", times=None, after_acting=True)
    for _ in range(20):
        with pytest.raises(OutcomeUnknown):
            await keeper.get_token()
    assert server.count() == 2
    server.heal()
    clock.advance(100)
    with pytest.raises(RefreshTokenLost):
        await keeper.get_token()
    assert server.count() == 3


# -- answers of which enough has come


@pytest.mark.parametrize("keep", [-1, -2])
async def test_an_answer_cut_off_behind_the_refresh_token_is_good(server, clock, keep):
    """-1: all but the last brace. -2: the closing quote is missing, too, so nobody knows whether that was all of it."""
    events = Events()
    keeper = keeper_for(server, seed(server), clock=clock, on_event=events)
    await keeper.get_token()
    server.fail("truncated", keep=keep)
    if keep == -1:
        better = await keeper.renew()
        assert better.access_token.reveal() == server.families[0].access[-1]
        assert better.lifetime.total_seconds() == 100
        await assert_newest_is_stored(keeper, server)
        assert events.kinds == ["started", "recovered", "succeeded"]
        clock.advance(101)
        await keeper.get_token()
        assert_each_spent_once(server)
    else:
        with pytest.raises(OutcomeUnknown):
            await keeper.renew()
        assert (await record_of(keeper)).is_outcome_unknown


async def test_an_answer_without_an_access_token_yields_its_refresh_token(server, clock):
    keeper = keeper_for(server, seed(server), clock=clock)
    await keeper.get_token()
    server.fail("odd", after_acting=True)
    better = await keeper.renew()
    assert server.count() == 2
    assert better.access_token.reveal() == server.families[0].access[-1]
    assert_each_spent_once(server)
    await assert_newest_is_stored(keeper, server)


async def test_a_server_that_only_gives_such_answers_is_not_asked_for_ever(server, clock):
    keeper = keeper_for(server, seed(server), clock=clock)
    token = await keeper.get_token()
    server.fail("odd", times=None, after_acting=True)
    with pytest.raises(OutcomeUnknown):
        await keeper.renew()
    assert server.count() == 2
    assert (await keeper.get_token()).access_token == token.access_token
    await keeper.aclose()
    server.heal()
    assert (await keeper.renew()).access_token.reveal() == server.families[0].access[-1]
    assert_each_spent_once(server)


async def test_an_answer_that_was_stored_and_not_read_is_read_by_the_next(server, clock):
    """As a process leaves it that dies between the two."""
    keeper = keeper_for(server, seed(server), clock=clock)
    await keeper.get_token()
    server.lifetime = 1000.0
    save, keeper.store.save = keeper.store.save, None

    class DiedError(BaseException):
        pass

    async def save_till_the_answer(key, text, *, replacing):
        version = await save(key, text, replacing=replacing)
        if json.loads(text.reveal())["answer"]:
            raise DiedError
        return version

    keeper.store.save = save_till_the_answer
    with pytest.raises(DomoError, match="DiedError"):
        await keeper.renew()
    keeper.store.save = save
    events = Events()
    again = keeper_for(server, clock=clock, store=keeper.store, on_event=events)
    old = await again.get_token()  # it is still good, and nobody looks further
    clock.advance(85)
    assert (await again.get_token()).access_token == old.access_token
    await again.aclose()
    assert (await again.get_token()).access_token.reveal() == server.families[0].access[1]
    assert server.count() == 1
    assert "recovered" in events.kinds
    await assert_newest_is_stored(again, server)


# -- what may be asked again


async def test_a_busy_server_is_waited_for(server):
    server.fail("status", times=2, status=429, retry_after=0.1)
    keeper = keeper_for(server, seed(server))
    await keeper.get_token()
    await keeper.renew()
    assert server.count() == 3
    first, second, third = (one.at for one in server.requests)
    assert second - first >= 0.1
    assert third - second >= 0.1
    assert server.refreshes == 1
    assert server.reuses == []


@pytest.mark.parametrize("retry_after", [0.05, 3600])
async def test_a_server_that_stays_busy_is_left_in_peace(server, clock, patient, retry_after):
    """So many requests and no more; told to wait for long, only one. Nothing was spent, and the old token serves."""
    server.lifetime = 1000.0
    server.fail("status", times=None, status=429, retry_after=retry_after)
    keeper = keeper_for(server, seed(server), clock=clock)
    token = await keeper.get_token()
    with pytest.raises(RateLimitedError):
        await keeper.renew()
    sent = 3 if retry_after < 1 else 1
    assert server.count() == sent
    assert not (await record_of(keeper)).is_outcome_unknown
    clock.advance(900)
    for _ in range(20):
        assert (await keeper.get_token()).access_token == token.access_token
    await keeper.aclose()
    assert server.count() == (sent if retry_after > 1 else 2 * sent)
    clock.advance(101)
    if retry_after > 1:
        for _ in range(20):
            with pytest.raises(RateLimitedError):
                await keeper.get_token()
        assert server.count() == sent
        clock.advance(3600)
    server.heal()
    await keeper.get_token()
    assert_each_spent_once_but_for(server, 429)


def assert_each_spent_once_but_for(server, status):
    """What was answered with this status did not count."""
    taken = [one.refresh_token for one in server.requests if one.status != status]
    assert taken == server.families[0].refresh[:-1]
    assert server.reuses == []


def nobody():
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/token"


async def test_nobody_listens(server, clock, monkeypatch):
    """It never left, so it may be asked again; and the note that it was is taken back."""
    server.lifetime = 1000.0
    events = Events()
    keeper = keeper_for(server, seed(server), password(), clock=clock, on_event=events)
    token = await keeper.get_token()
    url, keeper.client.token_url = keeper.client.token_url, nobody()
    with pytest.raises(ConnectionFailedError):
        await keeper.renew()
    record = await record_of(keeper)
    assert record.spending is None
    assert record.token.refresh_token == token.refresh_token
    assert (await keeper.get_token()).access_token == token.access_token
    clock.advance(975)  # where callers would wait for another, and there is none
    assert (await keeper.get_token()).access_token == token.access_token
    await keeper.aclose()
    clock.advance(50)
    with pytest.raises(ConnectionFailedError):
        await keeper.get_token()
    assert server.count() == 0
    keeper.client.token_url = url
    clock.advance(100)
    await keeper.get_token()
    assert_each_spent_once(server)
    assert events.kinds.count("failed") == 3


@pytest.mark.parametrize("tries", [1, 2])
async def test_a_connection_that_is_refused_is_tried_again(server, tries):
    asked = []

    async def handle(request):
        asked.append(request)
        if len(asked) <= tries:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"access_token": "canary-access", "expires_in": 100})

    options = ClientOptions(transport=httpx.MockTransport(handle))
    keeper = keeper_for(server, ClientCredentialsGrant(), client=client_for(server, options=options))
    await keeper.get_token()
    assert len(asked) == tries + 1


# -- failures are shared, and not repeated


@pytest.mark.parametrize(
    ("failure", "kind"), [("status", ServerError), ("reset", OutcomeUnknown), ("html", UnexpectedPageError)]
)
async def test_many_callers_share_one_failure(server, clock, patient, failure, kind):
    server.fail(failure, times=None)
    keeper = keeper_for(server, ClientCredentialsGrant(), clock=clock)
    failed = []

    async def ask():
        for _ in range(10):
            with pytest.raises(kind) as caught:
                await keeper.get_token()
            failed.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert server.count() < 5  # one, unless all this took so long that it made sense to ask again
    assert len(set(map(id, failed))) == 500  # the same error, but each its own exception
    assert len({str(error) for error in failed}) <= server.count()


async def test_failures_back_off(server, clock):
    """Half a second, then twice as long each time, up to a minute."""
    server.fail("status", times=None)
    keeper = keeper_for(server, ClientCredentialsGrant(), clock=clock)
    waits = []
    for _ in range(11):
        sent, waited = server.count(), 0.0
        while server.count() == sent:
            assert waited < 70
            clock.advance(0.25)
            waited += 0.25
            with pytest.raises(ServerError):
                await keeper.get_token()
        waits.append(waited)
    assert waits[1] <= 2.0
    assert all(wait >= 29 for wait in waits[-2:])
    assert all(wait <= 61 for wait in waits)


async def test_what_a_human_must_mend_is_not_repeated(server, clock):
    server.add_user(USER, "another")
    keeper = keeper_for(server, RefreshGrant(), password(), clock=clock)
    for _ in range(10):
        with pytest.raises(InvalidCredentialsError):
            await keeper.get_token()
        clock.advance(20)
    assert server.count() == 1
    with pytest.raises(InvalidCredentialsError):
        await keeper.renew()
    assert server.count() == 2

    # Somebody mends it, by another keeper on the same store.
    other = keeper_for(server, RefreshGrant(), PasswordGrant(USER, "another"), clock=clock, store=keeper.store)
    assert other.key == keeper.key
    token = await other.get_token()
    clock.advance(20)
    assert (await keeper.get_token()).access_token == token.access_token
    assert server.count() == 3


async def test_an_unknown_client_is_not_asked_for_again_nor_is_the_next_grant_tried(server, clock):
    server.add_client(CLIENT, "another")
    keeper = keeper_for(server, seed(server), password(), clock=clock)
    token = await keeper.get_token()
    with pytest.raises(InvalidCredentialsError):
        await keeper.renew()
    for _ in range(5):
        clock.advance(16)
        assert (await keeper.get_token()).access_token == token.access_token
        await keeper.aclose()
    clock.advance(50)
    for _ in range(5):
        clock.advance(16)
        with pytest.raises(InvalidCredentialsError):
            await keeper.get_token()
    assert [one.grant for one in server.requests] == ["refresh_token"]
    record = await record_of(keeper)
    assert record.refresh_token == token.refresh_token
    assert not record.is_outcome_unknown


async def test_a_dead_refresh_token_is_presented_by_nobody_again(server, clock):
    events = Events()
    keeper = keeper_for(server, seed(server), clock=clock, on_event=events)
    token = await keeper.get_token()
    server.revoke_family(server.families[0].refresh[0])
    with pytest.raises(GrantDeadError) as caught:
        await keeper.renew()
    assert caught.value.reason == "unknown"
    for one in (keeper, keeper_for(server, clock=clock, store=keeper.store)):
        with pytest.raises(GrantDeadError) as caught:
            await one.renew()
        assert caught.value.reason == "refused before"
        clock.advance(200)
        for _ in range(5):
            with pytest.raises(GrantDeadError):
                await one.get_token()
            clock.advance(20)
    assert server.count() == 1
    assert events[-1].kind == "failed"
    assert fingerprint(token.refresh_token.reveal()) in (await record_of(keeper)).dead


@pytest.mark.parametrize("ahead", [0, 3600])
async def test_a_refresh_token_whose_life_is_over_is_named_so(server, clock, ahead):
    """It is presented all the same: our clock may be wrong, and nothing is lost by it."""
    server.extra = {"refresh_token_expires_in": 500}
    keeper = keeper_for(server, RefreshGrant(), password(), clock=clock)
    token = await keeper.get_token()
    assert (token.refresh_expires_at - token.obtained_at).total_seconds() == 500
    assert (await keeper.status()).refresh_expires_at == token.refresh_expires_at
    only = keeper_for(server, RefreshGrant(), clock=clock, client=keeper.client, user=USER, store=keeper.store)
    clock.step(ahead)
    if not ahead:
        clock.advance(600)
        server.revoke_family(server.families[0].refresh[0])
        with pytest.raises(GrantDeadError) as caught:
            await only.renew(token)
        assert caught.value.reason == "expired"
    else:
        assert (await only.renew(token)).access_token != token.access_token
    assert server.count("refresh_token") == 1


async def test_somebody_who_did_not_hold_the_lock_has_renewed_it(server, clock, monkeypatch):
    """'invalid_grant' is a question: the store is read again, and what is found there used."""
    monkeypatch.setattr("domokit.oauth.ledger._PATIENCE", 0.1)
    keeper = keeper_for(server, seed(server), clock=clock, store=Unlocked())
    await keeper.get_token()
    rogue = keeper_for(server, clock=clock, store=keeper.store)
    clock.advance(101)

    def overtake(request):
        if request.number == 1:
            anyio.run(rogue.get_token)
            server.fail("status", status=400, body={"error": "invalid_grant"})

    server.on_request = overtake
    better = await keeper.get_token()
    assert better.access_token.reveal() == server.families[0].access[1]
    assert server.refreshes == 1
    await assert_newest_is_stored(keeper, server)


async def test_nothing_on_the_ladder_leads_to_a_token(server):
    keeper = keeper_for(server, RefreshGrant())
    with pytest.raises(MissingCredentialError, match="no refresh token was given, and the store has none"):
        await keeper.get_token()
    assert server.count() == 0


# -- asking somebody


async def test_somebody_is_asked_last(server, clock):
    asked = []

    async def ask():
        asked.append(1)
        access, refresh = server.issue(CLIENT, USER)
        return {"access_token": access, "refresh_token": refresh, "expires_in": "100", "at": clock()}

    keeper = keeper_for(server, seed(server), AskGrant(ask), clock=clock)
    await keeper.get_token()
    await keeper.renew()
    assert not asked
    server.revoke_family(server.families[0].refresh[-1])
    token = await keeper.renew()
    assert len(asked) == 1
    await assert_newest_is_stored(keeper, server)
    await keeper.renew(token)
    assert len(asked) == 1
    assert presented(server)[-1] == server.families[1].refresh[0]


@pytest.mark.parametrize("answer", [None, {}, {"access_token": ""}, "canary-text", RuntimeError("closed the window")])
async def test_nobody_is_asked_again_and_again(server, clock, patient, answer):
    asked = []

    async def ask():
        asked.append(1)
        if isinstance(answer, Exception):
            raise answer
        return answer

    keeper = keeper_for(server, AskGrant(ask), clock=clock)
    for _ in range(10):
        with pytest.raises(Exception, match="AskGrant") as caught:
            await keeper.get_token()
    assert len(asked) == 1
    assert "canary-text" not in str(caught.value)
    assert caught.value.__cause__ is (answer if isinstance(answer, Exception) else None)
    clock.advance(100)
    with pytest.raises(Exception, match="AskGrant"):
        await keeper.get_token()
    assert len(asked) == (1 if isinstance(answer, Exception) else 2)
