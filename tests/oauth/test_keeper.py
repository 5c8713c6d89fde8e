"""One keeper and its store: when it renews, what it takes over, what it is given, and what it does without a store."""

import json
import pickle
import stat
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from domokit import Secret
from domokit.errors import (
    DomoError,
    GrantDeadError,
    InvalidInputError,
    MissingCredentialError,
    OutcomeUnknown,
    RefreshTokenLost,
    StoreConflictError,
    StoreCorruptError,
    StoreUnavailableError,
    StoreUnsafeError,
    UnpersistedError,
)
from domokit.oauth import (
    AskGrant,
    ClientCredentialsGrant,
    OAuthClient,
    OAuthToken,
    PasswordGrant,
    RefreshGrant,
    TokenKeeper,
    read_token_file,
)
from domokit.oauth.record import TokenRecord
from domokit.stores import FileStore, MemoryStore

from .helpers import (
    CLIENT,
    USER,
    Events,
    Flaky,
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


@pytest.fixture(autouse=True)
def _quick_and_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("domokit.oauth.journal._SAVES", (0.0, 0.01, 0.02, 0.03))


# -- when it renews


async def test_a_token_of_three_seconds_is_asked_for_once_in_two(server):
    server.lifetime = 3.0
    keeper = keeper_for(server, ClientCredentialsGrant())
    began = anyio.current_time()
    got = []
    for _ in range(100):
        await anyio.sleep(0.02)
        if anyio.current_time() - began < 2.0:  # a slow machine makes fewer calls
            got.append(await keeper.get_token())
    assert server.count() == 1
    assert len({token.access_token for token in got}) == 1
    assert len(got) >= 2


async def test_renewed_in_the_background_while_the_old_one_serves(server, clock):
    keeper = keeper_for(server, seed(server), clock=clock)
    old = await keeper.get_token()
    clock.advance(65)
    assert keeper.due_in > 0
    assert keeper.ready() is old
    await keeper.aclose()
    assert server.count() == 0

    clock.advance(20)
    assert keeper.due_in <= 0
    server.fail("hang")
    for _ in range(50):
        assert (await keeper.get_token()).access_token == old.access_token
    server.heal()
    await keeper.aclose()
    assert (await keeper.get_token()).access_token.reveal() == server.families[0].access[1]
    assert server.count() == 1
    await assert_newest_is_stored(keeper, server)


async def test_in_its_last_seconds_callers_wait(server, clock):
    keeper = keeper_for(server, seed(server), clock=clock)
    await keeper.get_token()
    clock.advance(97)
    assert keeper.ready() is None
    assert (await keeper.get_token()).access_token.reveal() == server.families[0].access[1]
    assert_each_spent_once(server)


@pytest.mark.parametrize(
    ("lifetime", "soft", "hard"), [(1.0, 0.2, 0.05), (100.0, 20.0, 5.0), (1500.0, 300.0, 30.0), (86400.0, 300.0, 30.0)]
)
async def test_the_windows_are_scaled_to_the_lifetime(server, clock, lifetime, soft, hard):
    server.lifetime = lifetime
    softs = set()
    for _ in range(5):
        keeper = keeper_for(server, ClientCredentialsGrant(), clock=clock)
        await keeper.get_token()
        held = keeper._held
        softs.add(held.hard + hard - held.soft)
    assert len(softs) == 5  # jitter
    assert all(0.8 * soft - 1e-6 <= one <= 1.2 * soft + 1e-6 for one in softs)


async def test_failing_in_the_background_hurts_nobody_and_backs_off(server, clock):
    keeper = keeper_for(server, ClientCredentialsGrant(), clock=clock)
    server.lifetime = 10_000.0
    old = await keeper.get_token()
    clock.advance(9_765)  # the window is of 300 seconds, or a fifth less; in the last 30 callers wait
    server.fail("status", times=None)
    attempts = []
    for _ in range(300):  # 150 seconds
        assert (await keeper.get_token()).access_token == old.access_token
        await keeper.aclose()
        attempts.append(server.count() - 1)
        clock.advance(0.5)
    assert attempts[0] == 1
    assert 4 <= attempts[-1] <= 14
    clock.advance(60)  # and then nobody waits in vain
    for _ in range(5):
        assert (await keeper.get_token()).access_token == old.access_token
    await keeper.aclose()
    server.heal()
    clock.advance(60)
    assert (await keeper.get_token()).access_token != old.access_token


async def test_a_machine_without_threads_to_spare_serves_the_old_one(server, clock, monkeypatch):
    keeper = keeper_for(server, seed(server), clock=clock)
    old = await keeper.get_token()
    clock.advance(85)

    def none(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr("threading.Thread.start", none)
        assert keeper.ready() is old
    assert keeper.ready() is old
    await keeper.aclose()
    assert_each_spent_once(server)
    assert server.refreshes == 1


# -- clocks


@pytest.mark.parametrize("ahead", [-3600, -30, 30, 3600])
async def test_a_server_whose_clock_is_wrong(server, clock, ahead):
    """As far as its Date tells: what it gives lives its whole life, and not longer, in this process and the next."""
    server.date_ahead = ahead
    keeper = keeper_for(server, password(), clock=clock)
    token = await keeper.get_token()
    assert abs((token.obtained_at - clock()).total_seconds() - ahead) < 4
    for _ in range(10):
        await keeper.get_token()
    clock.advance(50)
    await keeper.get_token()
    await keeper.aclose()
    assert server.count() == 1
    assert (await keeper.status()).state == "fresh"
    clock.advance(47)
    assert (await keeper.get_token()).access_token != token.access_token
    assert server.count() == 2


async def test_a_server_without_a_date(server, clock):
    server.date_ahead = None
    keeper = keeper_for(server, ClientCredentialsGrant(), client=client_for(server, options=clock.options))
    await keeper.get_token()
    clock.step(-3600)
    await keeper.renew()
    await keeper.get_token()
    assert server.count() == 2
    assert 50 < keeper.due_in < 90


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("learned", [True, False])
async def test_a_clock_that_is_set(server, clock, hours, learned):
    """No dead token is served, none that lives is thrown away more than once, and nothing spins."""
    sibling = keeper_for(server, seed(server), clock=clock)
    keeper = keeper_for(server, seed(server) if learned else RefreshGrant(), clock=clock, store=sibling.store)
    await sibling.get_token()
    await keeper.get_token()
    if learned:
        await keeper.renew()
    clock.step(3600 * hours)
    extra = 0
    for _ in range(40):  # ten lives
        sent = server.count()
        for _ in range(5):
            token = await keeper.get_token()
            assert server.is_alive(token.access_token.reveal())
        await keeper.aclose()
        extra += max(0, server.count() - sent - 1)
        clock.advance(25)
    assert extra == 0
    # One for each life, of which nearly a fifth is cut off, and one when it was set.
    assert server.count() <= 40 * 25 / 75 + 2
    assert server.reuses == []


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_before_a_sibling_looks(server, clock, hours):
    """It has never asked, so it cannot know better; the store's token is renewed once too often at most."""
    keeper = keeper_for(server, seed(server), clock=clock)
    sibling = keeper_for(server, clock=clock, store=keeper.store)
    await keeper.get_token()
    await sibling.get_token()
    clock.step(3600 * hours)
    clock.advance(50)
    newer = await keeper.renew()
    clock.advance(35)
    for _ in range(5):
        await sibling.get_token()
        await sibling.aclose()
    assert (await sibling.get_token()).access_token == newer.access_token or hours == 1
    assert server.count() <= 2
    clock.advance(100)
    assert server.is_alive((await sibling.get_token()).access_token.reveal())


# -- taken over from others


async def test_what_another_has_renewed_is_taken_over_without_a_request(server, clock):
    events = Events()
    one = keeper_for(server, seed(server), clock=clock)
    other = keeper_for(server, RefreshGrant(), clock=clock, store=one.store, on_event=events)
    await one.get_token()
    await other.get_token()
    for number in range(1, 6):
        clock.advance(81)
        await one.renew()
        clock.advance(6)
        token = await other.renew()
        assert token.access_token.reveal() == server.families[0].access[number]
    assert server.count() == 5
    assert events.kinds == ["adopted"] * 6
    assert other.counters == {"adopted": 6}
    assert_each_spent_once(server)


async def test_looking_asks_nobody(server, clock):
    one = keeper_for(server, seed(server), clock=clock)
    other = keeper_for(server, clock=clock, store=one.store)
    assert await other.look() is None
    first = await one.get_token()
    assert (await other.look()).access_token == first.access_token
    second = await one.renew()
    assert (await other.look()).access_token == second.access_token
    assert (await other.look()).access_token == second.access_token
    clock.advance(101)
    assert await other.look() is None
    assert server.count() == 1


async def test_clients_users_scopes_and_audiences_in_one_store_do_not_mix(server):
    store = MemoryStore()
    server.add_client("second", "s")
    server.add_user("bob", "pw")
    clients = [
        client_for(server),
        client_for(server, scope="a b"),
        client_for(server, scope="a"),
        OAuthClient(server.token_url, "second", "s"),
    ]
    keepers = [TokenKeeper(client, grants=[ClientCredentialsGrant()], store=store) for client in clients]
    keepers += [
        TokenKeeper(clients[0], grants=[RefreshGrant(), grant], store=store)
        for grant in (password(), PasswordGrant("bob", "pw"))
    ]
    keepers += [
        TokenKeeper(clients[0], grants=[ClientCredentialsGrant(params={"audience": name})], store=store)
        for name in ("https://one.example", "https://two.example")
    ]
    keepers += [
        TokenKeeper(clients[0], grants=[ClientCredentialsGrant(params={"account_id": name})], store=store)
        for name in ("1", "2")
    ]
    assert len({keeper.key for keeper in keepers}) == len(keepers)
    first = [await keeper.get_token() for keeper in keepers]
    assert len({token.access_token for token in first}) == len(keepers)
    assert sorted(await store.keys()) == sorted(keeper.key for keeper in keepers)
    for keeper, token in zip(keepers, first, strict=True):
        twin = TokenKeeper(keeper.client, grants=keeper.grants, store=store)
        assert (await twin.get_token()).access_token == token.access_token
    assert server.count() == len(keepers)
    for keeper in keepers:
        await keeper.renew()
    assert server.reuses == []
    for family, keeper in zip(server.families[:6], keepers, strict=False):
        assert family.client_id == keeper.client.client_id


def test_the_key_stays_as_it_is():
    """What is in people's stores is found again."""

    def key(user="", resources=(), **options):
        return OAuthClient("https://login.example.com/token", "id", "s", **options).key(user, resources)

    assert key() == "85f228ee3ce18a56b440a9fe55cb6c68"
    assert key(scope="b a") == key(scope=["a", "b", "a"])
    assert key(resources=[("audience", "x")]) == key(resources=[("audience", "x"), ("audience", "x")])
    different = [
        key(),
        key("ann"),
        key(scope="a"),
        key(issuer="https://other.example.com"),
        key(client_auth="post"),
        key(resources=[("audience", "x")]),
        key(resources=[("resource", "x")]),
    ]
    assert len(set(different)) == len(different)

    def keeper(params):
        client = OAuthClient("https://login.example.com/token", "id", "s")
        return TokenKeeper(client, grants=[ClientCredentialsGrant(params=params)]).key

    assert keeper({"audience": "x", "resource": "y"}) == key(resources=[("audience", "x"), ("resource", "y")])
    # How to ask, not what for; and a secret is in no key.
    assert keeper({"takeExclusiveSignOnControl": "true", "username": "ann", "pin": Secret("canary")}) == key()


# -- refresh tokens that are handed over


async def test_the_first_is_given_and_then_the_store_has_it(server, clock):
    grant = seed(server)
    keeper = keeper_for(server, grant, clock=clock)
    await keeper.get_token()
    await keeper.renew()
    later = keeper_for(server, RefreshGrant(), clock=clock, store=keeper.store)
    assert (await later.get_token()).access_token.reveal() == server.families[0].access[1]
    await later.renew()
    # The old one, given again as by a script that is run every day.
    again = keeper_for(server, grant, clock=clock, store=keeper.store)
    assert (await again.get_token()).access_token.reveal() == server.families[0].access[2]
    await again.renew()
    assert_each_spent_once(server)


async def test_a_refresh_token_alone_is_enough(server):
    refresh = server.issue(CLIENT, USER)[1]
    keeper = keeper_for(server, RefreshGrant(refresh))
    assert (await keeper.get_token()).access_token.reveal() == server.families[0].access[1]
    assert_each_spent_once(server)


async def test_a_new_one_replaces_what_the_store_has(server, clock):
    keeper = keeper_for(server, seed(server), clock=clock)
    await keeper.get_token()
    server.revoke_family(server.families[0].refresh[0])
    with pytest.raises(GrantDeadError):
        await keeper.renew()
    mended = keeper_for(server, seed(server), clock=clock, store=keeper.store)
    assert (await mended.get_token()).access_token.reveal() == server.families[1].access[0]
    assert (await mended.renew()).access_token.reveal() == server.families[1].access[1]
    # The first keeper, whose own is dead, finds it.
    clock.advance(20)
    await keeper.get_token()
    await keeper.aclose()
    assert (await keeper.get_token()).access_token.reveal() == server.families[1].access[1]
    assert server.reuses == []


async def test_adopting_a_token_file(server, clock, tmp_path):
    """As the published sample of RDP writes it."""
    access, refresh = server.issue(CLIENT, USER)
    file = tmp_path / "token.txt"
    for expiry in (clock().timestamp() + 100, str(int(clock().timestamp()) + 100)):
        file.write_text(
            json.dumps({
                "access_token": access,
                "refresh_token": refresh,
                "expires_in": "100",
                "scope": "trapi",
                "token_type": "Bearer",
                "expiry_tm": expiry,
            })
        )  # fmt: skip
        before = file.read_bytes(), file.stat()
        token = read_token_file(file)
        assert abs((token.expires_at - clock()).total_seconds() - 100) < 5
        assert token.scope == "trapi"
        keeper = keeper_for(server, RefreshGrant(), clock=clock)
        await keeper.adopt(token)
        assert (await keeper.get_token()).access_token.reveal() == access
        assert (file.read_bytes(), file.stat().st_mtime_ns) == (before[0], before[1].st_mtime_ns)
    assert server.count() == 0
    await keeper.renew()
    assert presented(server) == [refresh]
    assert_each_spent_once(server)


async def test_adopting_goes_before_what_was_given_and_what_is_stored(server, clock):
    grant = seed(server)
    keeper = keeper_for(server, grant, clock=clock)
    access, refresh = server.issue(CLIENT, USER)
    end = clock() + timedelta(seconds=100)
    token = OAuthToken(access_token=Secret(access), refresh_token=Secret(refresh), expires_at=end)
    await keeper.adopt(token)
    assert (await keeper.get_token()).access_token.reveal() == access
    again = keeper_for(server, grant, clock=clock, store=keeper.store)
    assert (await again.get_token()).access_token.reveal() == access
    await again.renew()
    assert presented(server) == [refresh]
    other = OAuthToken(access_token=Secret("canary-access-other"), expires_at=end)  # one that cannot be refreshed
    await keeper.adopt(other)
    assert (await again.renew()).access_token == other.access_token
    with pytest.raises(MissingCredentialError):
        await again.renew()


async def test_adopting_an_expired_one_uses_its_refresh_token(server, tmp_path):
    access, refresh = server.issue(CLIENT, USER)
    file = tmp_path / "token.txt"
    file.write_text(json.dumps({"access_token": access, "refresh_token": refresh}))
    keeper = keeper_for(server)
    await keeper.adopt(read_token_file(file))
    assert (await keeper.get_token()).access_token.reveal() == server.families[0].access[1]
    assert_each_spent_once(server)


# -- what it tells


async def test_events_and_counters(server, clock):
    events = Events()
    keeper = keeper_for(server, RefreshGrant(), password(), clock=clock, on_event=events, name="ann's")
    assert (await keeper.status()).state == "empty"
    token = await keeper.get_token()
    assert events.kinds == ["started", "succeeded"]
    assert events[0].grant == "password"
    assert events[1].gained == token.fingerprint == fingerprint(server.families[0].access[0])
    assert {event.name for event in events} == {"ann's"}
    assert {event.key for event in events} == {keeper.key}
    assert all(abs((event.at - clock()).total_seconds()) < 30 for event in events)

    await keeper.renew()
    assert events.kinds[2:] == ["started", "succeeded"]
    assert events[-1].spent == events[-2].spent == fingerprint(server.families[0].refresh[0])
    assert str(events[-1]).startswith("ann's: succeeded spent ")
    status = await keeper.status()
    assert status.state == "fresh"
    assert status.fingerprint == events[-1].gained

    server.add_user(USER, "another")
    server.revoke_family(server.families[0].refresh[0])
    with pytest.raises(Exception, match="password"):
        await keeper.renew()
    assert events.kinds[4:] == ["started", "started", "failed"]
    assert keeper.counters == {"started": 4, "succeeded": 2, "failed": 1}
    assert (await keeper.status()).state == "dead"
    clock.advance(101)
    assert (await keeper.status()).state == "dead"


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
async def test_an_onlooker_that_fails_hurts_nobody(server, clock, error):
    def fail(event):
        raise error("no interest")

    keeper = keeper_for(server, seed(server), clock=clock, on_event=fail)
    await keeper.get_token()
    await keeper.renew()
    clock.advance(101)
    await keeper.get_token()
    assert keeper.counters["succeeded"] == 2
    assert_each_spent_once(server)
    await assert_newest_is_stored(keeper, server)


async def test_whoever_ends_the_thread_ends_no_caller(server, patient):
    asked = []

    async def leave():
        asked.append(1)
        raise SystemExit

    keeper = keeper_for(server, AskGrant(leave))
    for _ in range(5):
        with pytest.raises(DomoError, match="SystemExit"):
            await keeper.get_token()
    assert len(asked) == 1


def test_what_is_given_wrongly_is_refused(server):
    client = client_for(server)
    for grants in ([], [PasswordGrant], ["password"]):
        with pytest.raises(InvalidInputError, match="grants: "):
            TokenKeeper(client, grants=grants)


@pytest.mark.parametrize("bad", [None, "canary-text", {"access_token": "canary-text"}])
async def test_only_a_token_is_adopted(server, bad):
    keeper = keeper_for(server)
    with pytest.raises(InvalidInputError, match=r"adopt: (NoneType|str|dict) is no OAuthToken.*read_token_file"):
        await keeper.adopt(bad)
    assert await record_of(keeper) is None


def test_a_keeper_is_not_pickled(server):
    keeper = keeper_for(server)
    for thing in (keeper, keeper.auth_for(server.issuer), keeper.client, password(), seed(server)):
        with pytest.raises(TypeError):
            pickle.dumps(thing)


async def test_revoking(server, clock, monkeypatch):
    revoked = []

    async def revoke(token, hint, client_id=None):
        revoked.append((token.reveal(), hint))

    grant = seed(server)
    keeper = keeper_for(server, grant, clock=clock)
    await keeper.get_token()
    with pytest.raises(InvalidInputError, match="revocation_url"):
        await keeper.revoke()
    keeper.client.revoke = revoke
    await keeper.renew()
    await keeper.revoke()
    assert revoked == [(server.families[0].refresh[1], "refresh_token")]
    assert (await keeper.status()).state == "empty"
    sent = server.count()
    for one in (keeper, keeper_for(server, grant, clock=clock, store=keeper.store)):
        with pytest.raises(MissingCredentialError):
            await one.get_token()
    assert server.count() == sent
    await keeper.revoke()
    assert len(revoked) == 1


# -- stores that fail


async def test_failing_before_nothing_is_sent(server, clock):
    store = Flaky(lambda call, record: record.spending is not None)
    keeper = keeper_for(server, seed(server), clock=clock, store=store)
    token = await keeper.get_token()
    with pytest.raises(StoreUnavailableError):
        await keeper.renew()
    assert server.count() == 0
    record = await record_of(keeper)
    assert record.token.refresh_token == token.refresh_token
    assert record.spending is None
    clock.advance(90)
    assert (await keeper.get_token()).access_token == token.access_token
    await keeper.aclose()
    clock.advance(20)
    with pytest.raises(StoreUnavailableError):
        await keeper.get_token()
    store.fails = lambda call, record: False
    clock.advance(100)
    await keeper.get_token()
    assert_each_spent_once(server)


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreUnsafeError])
async def test_without_room_nothing_is_sent(server, error, monkeypatch):
    async def reserve(lock, size=0):
        raise error("no room")

    keeper = keeper_for(server, seed(server))
    await keeper.get_token()
    monkeypatch.setattr("domokit.stores.StoreLock.reserve", reserve)
    with pytest.raises(error):
        await keeper.renew()
    assert server.count() == 0
    assert (await record_of(keeper)).spending is None


def loses_the_token(after=False):
    """Fails in the moment at which a token has come that was paid for with a refresh token."""
    return Flaky(lambda call, record: record.spending is None and call > 1, after=after)


def rescue_file(keeper, tmp_path):
    return tmp_path / "state" / "domokit" / "rescue" / f"{keeper.key}.json"


def with_rescue(keeper, tmp_path):
    """Stores in memory have no second place of their own: what they hold is gone with the process anyway."""
    keeper._rescue = FileStore(rescue_file(keeper, tmp_path))
    return keeper


async def test_failing_after_the_token_is_served_and_rescued(server, clock, tmp_path):
    events = Events()
    store = loses_the_token()
    keeper = with_rescue(keeper_for(server, seed(server), clock=clock, store=store, on_event=events), tmp_path)
    await keeper.get_token()
    token = await keeper.renew()
    assert token.unpersisted
    assert token.access_token.reveal() == server.families[0].access[1]
    assert events.kinds == ["started", "unpersisted"]
    assert isinstance(events[-1].error, StoreUnavailableError)
    file = rescue_file(keeper, tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (
        server.families[0].refresh[1]
        in json.loads(json.loads(file.read_text())["entries"][keeper.key]["text"])["token"].values()
    )
    for _ in range(5):
        assert (await keeper.get_token()).access_token == token.access_token

    with pytest.raises(UnpersistedError) as caught:
        await keeper.aclose()
    assert caught.value.attached.refresh_token.reveal() == server.families[0].refresh[1]
    assert server.count() == 1

    store.fails = lambda call, record: False
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)
    assert not json.loads(file.read_text())["entries"]
    again = await keeper.get_token()
    assert (again.access_token, again.unpersisted) == (token.access_token, False)
    await keeper.aclose()
    assert events.kinds.count("recovered") == 1
    clock.advance(101)
    await keeper.get_token()
    assert_each_spent_once(server)


async def test_flushed_by_itself_once_the_store_is_back(server, clock):
    store = loses_the_token()
    keeper = keeper_for(server, seed(server), clock=clock, store=store)
    await keeper.get_token()
    await keeper.renew()
    clock.advance(6)
    assert (await keeper.get_token()).unpersisted  # still away: tried in vain
    keeper._flying() and await keeper._flying().wait()
    store.fails = lambda call, record: False
    clock.advance(6)
    await keeper.get_token()
    await keeper.aclose()
    assert not (await keeper.get_token()).unpersisted
    assert 50 < keeper.due_in < 80  # it is as good as any, and not renewed for having been flushed
    assert server.count() == 1
    await assert_newest_is_stored(keeper, server)


async def test_never_renewed_while_the_store_is_away(server, clock):
    """The next refresh token is not spent as long as this one is not stored."""
    store = loses_the_token()
    keeper = keeper_for(server, seed(server), clock=clock, store=store)
    await keeper.get_token()
    token = await keeper.renew()
    store.is_away = True
    for _ in range(9):
        clock.advance(10)
        assert (await keeper.get_token()).access_token == token.access_token
    clock.advance(30)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await keeper.get_token()
    assert server.count() == 1
    store.is_away, store.fails = False, lambda call, record: False
    clock.advance(61)
    await keeper.get_token()
    assert_each_spent_once(server)
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)


@pytest.mark.parametrize("alive", [True, False])
async def test_the_next_process_finds_the_rescued_token(server, clock, tmp_path, alive):
    store = loses_the_token()
    keeper = with_rescue(keeper_for(server, seed(server), clock=clock, store=store), tmp_path)
    await keeper.get_token()
    await keeper.renew()
    store.fails = lambda call, record: False
    events = Events()
    another = with_rescue(keeper_for(server, clock=clock, store=store, on_event=events), tmp_path)
    if alive:
        await another.get_token()  # the one before lives yet
        token = await another.renew()
    else:
        clock.advance(101)
        token = await another.get_token()
    assert "recovered" in events.kinds
    assert token.access_token.reveal() == server.families[0].access[1 if alive else 2]
    assert server.count() == (1 if alive else 2)
    await assert_newest_is_stored(another, server)
    # The first process, which still holds it, neither brings it back nor presents it once more.
    clock.advance(101)
    await another.get_token()
    await keeper.aclose()
    await keeper.get_token()
    await keeper.renew()
    assert_each_spent_once(server)
    await assert_newest_is_stored(keeper, server)


async def test_a_first_token_is_rescued_as_well(server, clock, tmp_path):
    store = Flaky(lambda call, record: True)
    keeper = with_rescue(keeper_for(server, RefreshGrant(), password(), clock=clock, store=store), tmp_path)
    token = await keeper.get_token()
    assert token.unpersisted
    store.fails = lambda call, record: False
    another = with_rescue(keeper_for(server, RefreshGrant(), password(), clock=clock, store=store), tmp_path)
    assert (await another.get_token()).access_token == token.access_token
    assert server.count() == 1
    await assert_newest_is_stored(another, server)


async def test_a_sign_in_that_could_not_be_stored_replaces_what_is_dead(server, clock):
    """Not put aside as something old, and what it came for is not presented again."""
    store = Flaky(lambda call, record: record.spending is None and call > 1)
    keeper = keeper_for(server, seed(server), password(), clock=clock, store=store)
    await keeper.get_token()
    clock.advance(101)
    server.fail("reset", after_acting=True)
    token = await keeper.get_token()
    assert token.unpersisted
    assert [one.grant for one in server.requests] == ["refresh_token", "password"]
    store.fails = lambda call, record: False
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)
    assert (await keeper.get_token()).access_token == token.access_token
    assert server.count() == 2
    assert server.reuses == []


@pytest.mark.parametrize("kind", ["truncated", "odd"])
async def test_half_an_answer_that_could_not_be_stored(server, clock, kind):
    """Both at once: what was salvaged is neither lost nor put aside."""
    store = Flaky(lambda call, record: (record.spending is None or record.answer is not None) and call > 1)
    keeper = keeper_for(server, seed(server), clock=clock, store=store)
    await keeper.get_token()
    server.fail(kind, after_acting=True, **({"keep": -1} if kind == "truncated" else {}))
    token = await keeper.renew()
    assert token.unpersisted
    assert token.access_token.reveal() == server.families[0].access[-1]
    store.fails = lambda call, record: False
    clock.advance(101)
    await keeper.aclose()
    await keeper.get_token()
    assert_each_spent_once(server)
    await assert_newest_is_stored(keeper, server)


async def test_a_save_that_was_said_to_have_failed(server, clock):
    """It had not: what is there is our own, and no other's."""
    store = loses_the_token(after=True)
    events = Events()
    keeper = keeper_for(server, seed(server), clock=clock, store=store, on_event=events)
    await keeper.get_token()
    store.saves = 0
    token = await keeper.renew()
    store.fails = lambda call, record: False
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)
    assert "parked" not in events.kinds
    assert (await keeper.get_token()).access_token == token.access_token
    clock.advance(101)
    await keeper.get_token()
    assert_each_spent_once(server)


async def test_a_rescue_place_that_cannot_be_read_is_nothing_to_stop_for(server, clock, tmp_path, caplog):
    class AwayError(StoreUnavailableError):
        pass

    class Away(MemoryStore):
        async def load(self, key):
            raise AwayError("no such place")

    keeper = keeper_for(server, seed(server), clock=clock, rescue=Away())
    await keeper.get_token()
    server.fail("reset", after_acting=False)
    with pytest.raises(OutcomeUnknown):
        await keeper.renew()
    clock.advance(101)
    await keeper.get_token()
    assert (await record_of(keeper)).token.access_token.reveal() == server.families[0].access[-1]
    assert "no such place" in caplog.text


async def test_a_user_without_a_home_has_no_second_place(server, tmp_path, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr("pathlib.Path.home", nowhere)
    keeper = keeper_for(server, seed(server), store=FileStore(tmp_path / "tokens.json"))
    await keeper.get_token()
    await keeper.renew()
    await assert_newest_is_stored(keeper, server)


async def test_client_credentials_do_without_a_store(server, clock):
    store, events = Flaky(), Events()
    keeper = keeper_for(server, ClientCredentialsGrant(), clock=clock, store=store, on_event=events)
    await keeper.get_token()
    store.is_away = True
    token = await keeper.renew()
    assert token.unpersisted
    assert server.count() == 2
    assert events.kinds[-1] == "unpersisted"
    for _ in range(5):
        assert await keeper.get_token() is token
    await keeper.aclose()  # nothing is lost with it
    store.is_away = False
    clock.advance(101)
    assert not (await keeper.get_token()).unpersisted


async def test_what_others_wrote_is_never_taken_for_a_record(server):
    store = MemoryStore()
    keeper = keeper_for(server, seed(server), store=store)
    await store.save(keeper.key, Secret('{"not": "a record"}'), replacing=None)
    for _ in range(2):
        with pytest.raises(StoreCorruptError):
            await keeper.renew()
    with pytest.raises(StoreCorruptError):
        await keeper.status()
    assert server.count() == 0
    assert (await store.load(keeper.key)).text.reveal() == '{"not": "a record"}'


# -- a lease that has lapsed


@pytest.mark.parametrize("grace", [0.0, 1000.0])
async def test_a_holder_whose_lease_has_lapsed_overwrites_nothing_newer(server, clock, monkeypatch, grace):
    """Both present the same refresh token; within a grace window both get a pair, and the later puts its own aside."""
    monkeypatch.setattr("domokit.oauth.ledger._PATIENCE", 0.1)  # the late one holds it all the while
    server.grace = grace
    events = Events()
    late = keeper_for(server, seed(server), clock=clock, store=Unlocked(), on_event=events)
    quick = keeper_for(server, clock=clock, store=late.store)
    await late.get_token()
    clock.advance(101)

    def overtake(request):
        if request.number == 1:
            with nullcontext() if grace else pytest.raises(RefreshTokenLost):
                anyio.run(quick.get_token)

    server.on_acted = overtake
    token = await late.get_token()
    record = await record_of(late)
    if grace:
        assert events.kinds[-1] == "parked"
        assert token.access_token == (await quick.get_token()).access_token == record.token.access_token
        (parked,) = record.parked
        assert parked.access_token.reveal() == server.requests[0].access_token
        # When what is stored dies, what was put aside is taken, without a request as long as it lives.
        server.on_acted = None
        sent = server.count()
        server.fail("status", status=400, body={"error": "invalid_grant"})
        again = await quick.renew()
        assert again.access_token == parked.access_token
        assert server.count() == sent + 1
        assert server.reuses == []
    else:
        assert len(server.reuses) == 1
        assert record.token.access_token == token.access_token
        assert record.parked == []


async def test_a_note_of_another_is_no_newer_token(server, clock):
    """Only the note of a holder that came after, and has not got an answer: ours stands."""
    keeper = keeper_for(server, seed(server), clock=clock, store=Unlocked())
    await keeper.get_token()
    store = keeper.store

    def note(request):
        async def rewrite():
            stored = await store.load(keeper.key)
            await store.save(keeper.key, stored.text, replacing=stored.version)

        anyio.run(rewrite)

    server.on_acted = note
    token = await keeper.renew()
    assert not token.unpersisted
    await assert_newest_is_stored(keeper, server)
    assert keeper.counters["succeeded"] == 1


async def test_a_seed_that_came_meanwhile_is_not_overwritten(server, clock):
    """Somebody gave a new refresh token while we were asking with the old one."""
    keeper = keeper_for(server, seed(server), clock=clock, store=Unlocked())
    await keeper.get_token()
    newer = keeper_for(server, seed(server), clock=clock, store=keeper.store)

    def overtake(request):
        anyio.run(newer.get_token)

    server.on_acted = overtake
    token = await keeper.renew()
    assert token.access_token.reveal() == server.families[1].access[0]
    record = await record_of(keeper)
    assert record.token.refresh_token.reveal() == server.families[1].refresh[0]
    assert [one.refresh_token.reveal() for one in record.parked] == [server.families[0].refresh[1]]


async def test_others_that_write_all_the_time_do_not_lose_us_the_token(server, clock, tmp_path):
    class Busy(Unlocked):
        is_busy = False

        async def save(self, key, text, *, replacing):
            if self.is_busy and TokenRecord.decoded(text, key).spending is None:
                raise StoreConflictError("somebody else was quicker")
            return await super().save(key, text, replacing=replacing)

    store = Busy()
    keeper = with_rescue(keeper_for(server, seed(server), clock=clock, store=store), tmp_path)
    await keeper.get_token()
    store.is_busy = True
    token = await keeper.renew()
    assert token.unpersisted
    assert token.access_token.reveal() == server.families[0].access[1]
    assert rescue_file(keeper, tmp_path).exists()
    store.is_busy = False
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)


# -- closing


async def test_closing_waits_for_whatever_is_under_way(server, clock):
    keeper = keeper_for(server, RefreshGrant(), password(), clock=clock)
    await keeper.get_token()
    server.fail("latency", seconds=0.3)
    with anyio.move_on_after(0.05) as scope:
        await keeper.change_password("canary-new-password")
    assert scope.cancelled_caught
    await keeper.aclose()
    assert (await record_of(keeper)).password is not None
    server.fail("latency", seconds=0.3)
    with anyio.move_on_after(0.05):
        await keeper.renew()
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)
    assert server.count() == 3
    async with keeper:
        assert (await keeper.get_token()).expires_at > datetime.now(UTC)
