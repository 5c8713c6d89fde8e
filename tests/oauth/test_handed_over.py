"""Refresh tokens that people hand over: presented once, whatever becomes of the store that knows it."""

import json
import logging
import stat
from datetime import timedelta

import anyio
import pytest

from domokit._runtime import state_directory
from domokit.errors import GrantDeadError, InvalidInputError, RefreshTokenLost, StoreCorruptError
from domokit.oauth import OAuthClient, PasswordGrant, RefreshGrant, TokenKeeper, ledger
from domokit.stores import FileStore, MemoryStore, RedisStore

from .helpers import CLIENT, PASSWORD, SECRET, USER, keeper_for, password, presented, record_of, seed


@pytest.fixture(autouse=True)
def _anew(monkeypatch):
    monkeypatch.setattr(ledger, "_warned", [])


def ledger_file():
    return state_directory() / "replaced-refresh-tokens.json"


async def begin(server, clock, grant, store):
    """A keeper that has been given a refresh token, and has had it replaced."""
    keeper = keeper_for(server, grant, clock=clock, store=store)
    await keeper.get_token()
    await keeper.renew()
    await keeper.aclose()
    clock.advance(101)
    return keeper


async def assert_refused(server, keeper, match="was replaced on"):
    sent = server.count()
    for _ in range(3):
        with pytest.raises(RefreshTokenLost, match=match) as caught:
            await keeper.renew()
    assert caught.value.needs_human
    assert "hand over a new refresh token" in caught.value.hint
    assert server.count() == sent
    assert server.reuses == []
    assert server.families[0].alive
    return str(caught.value)


# -- the record is lost, and the same is given again


async def test_the_file_is_torn(server, clock, tmp_path):
    path, grant = tmp_path / "tokens.json", seed(server)
    before = await begin(server, clock, grant, FileStore(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    again = keeper_for(server, grant, clock=clock, store=FileStore(path))
    with pytest.raises(StoreCorruptError):
        await again.get_token()
    told = await assert_refused(server, again)
    assert str(path) in told
    assert before.key in told
    # Mended and put back, it goes on where it was, by itself.
    path.write_bytes(whole)
    path.chmod(0o600)
    assert server.is_alive((await again.renew()).access_token.reveal())
    assert server.reuses == []


async def test_the_file_is_gone(server, clock, tmp_path):
    path, grant = tmp_path / "tokens.json", seed(server)
    await begin(server, clock, grant, FileStore(path))
    path.unlink()
    await assert_refused(server, keeper_for(server, grant, clock=clock, store=FileStore(path)), "is not there now")


async def test_redis_was_flushed(server, clock, redis_url, tmp_path):
    grant = seed(server)
    store = RedisStore(redis_url, prefix=f"{tmp_path.name}:")
    before = await begin(server, clock, grant, store)
    await store.delete(before.key)
    await assert_refused(server, keeper_for(server, grant, clock=clock, store=store))
    await store.aclose()


async def test_another_store(server, clock, tmp_path):
    grant = seed(server)
    await begin(server, clock, grant, FileStore(tmp_path / "one.json"))
    told = await assert_refused(
        server, keeper_for(server, grant, clock=clock, store=FileStore(tmp_path / "another.json"))
    )
    assert "one.json" in told
    assert "not there now" not in told


async def test_memory_of_a_process_that_has_ended(server, clock):
    grant = seed(server)
    await begin(server, clock, grant, MemoryStore())
    await assert_refused(server, keeper_for(server, grant, clock=clock))


@pytest.mark.parametrize("change", ["user", "scope", "issuer", "client_auth"])
@pytest.mark.parametrize("with_ledger", [True, False])
async def test_another_key_in_the_same_store(server, clock, tmp_path, change, with_ledger):
    """Without the note outside of the store, as on another host, the other entry tells."""
    store, grant = FileStore(tmp_path / "tokens.json"), seed(server)
    before = await begin(server, clock, grant, store)
    if not with_ledger:
        ledger_file().unlink()
    options = {"options": clock.options}
    if change != "user":
        options[change] = {"scope": "trapi", "issuer": "https://login.example.com", "client_auth": "post"}[change]
    client = OAuthClient(server.token_url, CLIENT, SECRET, **options)
    again = TokenKeeper(client, grants=[grant], store=store, user="ann" if change == "user" else None)
    assert again.key != before.key
    told = await assert_refused(server, again, "was replaced on" if with_ledger else "is known to the entry")
    assert before.key in told
    # Undone, it goes on.
    assert await keeper_for(server, grant, clock=clock, store=store).get_token()
    assert server.reuses == []


async def test_what_else_is_in_the_store_does_not_matter(server, clock):
    store, grant = MemoryStore(), seed(server)
    await store.save("something-else", server_text := (await _record_text(server)), replacing=None)
    await store.save("no-record", type(server_text)("{}"), replacing=None)
    keeper = keeper_for(server, grant, clock=clock, store=store)
    await keeper.get_token()
    await keeper.renew()
    assert server.refreshes == 1


async def _record_text(server):
    other = keeper_for(server, seed(server))
    await other.get_token()
    return (await other.store.load(other.key)).text


async def test_a_store_that_cannot_be_looked_through(server, clock, monkeypatch, caplog):
    """The note outside of it still tells; a refresh token that is new is taken."""
    store = MemoryStore()

    async def keys():
        raise OSError("not implemented here")

    store.keys = keys
    keeper = keeper_for(server, seed(server), clock=clock, store=store)
    await keeper.get_token()
    assert "is not known: MemoryStore failed with OSError: not implemented here" in caplog.text


# -- what comes after it in the ladder, and over a record that goes on


async def test_the_next_grant_has_its_turn(server, clock):
    grant = seed(server)
    await begin(server, clock, grant, MemoryStore())
    keeper = keeper_for(server, grant, password(), clock=clock)
    await keeper.get_token()
    assert server.requests[-1].grant == "password"
    clock.advance(101)
    await keeper.get_token()  # by what came of that
    assert server.requests[-1].grant == "refresh_token"
    assert server.refreshes == 2
    assert server.reuses == []


async def test_a_password_that_is_for_the_first_token_only_is_not_used(server, clock):
    grant = seed(server)
    await begin(server, clock, grant, MemoryStore())
    await assert_refused(server, keeper_for(server, grant, PasswordGrant(USER, PASSWORD, fallback=False), clock=clock))


async def test_over_a_token_that_lives(server, clock):
    """Callers go on with what the store has to its end; that something is wrong is told."""
    grant = seed(server)
    await begin(server, clock, grant, MemoryStore())
    store = MemoryStore()
    token = await keeper_for(server, seed(server), clock=clock, store=store).get_token()
    keeper = keeper_for(server, grant, clock=clock, store=store)
    sent = server.count()
    assert (await keeper.get_token()).access_token == token.access_token
    assert keeper.counters["failed"]
    clock.advance(101)
    with pytest.raises(RefreshTokenLost):
        await keeper.renew()
    assert server.count() == sent


async def test_a_new_one_is_taken(server, clock):
    grant = seed(server)
    await begin(server, clock, grant, MemoryStore())
    keeper = keeper_for(server, seed(server), clock=clock)
    await keeper.get_token()
    await keeper.renew()
    assert server.reuses == []


async def test_one_that_is_adopted(server, clock):
    grant = seed(server)
    first = await keeper_for(server, grant, clock=clock).get_token()
    await begin(server, clock, grant, MemoryStore())
    keeper = keeper_for(server, clock=clock)
    with pytest.raises(RefreshTokenLost, match="was replaced on"):
        await keeper.adopt(first)
    assert await record_of(keeper) is None


async def test_given_when_the_store_has_it_already(server, clock):
    """As somebody does who copies it from the store into the configuration."""
    store, grant = MemoryStore(), seed(server)
    await keeper_for(server, grant, clock=clock, store=store).get_token()
    first = await keeper_for(server, clock=clock, store=store).renew()
    clock.advance(101)
    copied = RefreshGrant(first.refresh_token)
    for _ in range(3):
        await keeper_for(server, copied, clock=clock, store=store).get_token()
        clock.advance(101)
    assert server.reuses == []
    await assert_refused(server, keeper_for(server, copied, clock=clock))


# -- providers that do not rotate


@pytest.mark.parametrize("restarts", [3])
async def test_one_that_is_never_replaced_serves_for_ever(server, clock, restarts):
    server.rotate = False
    refresh = seed(server).refresh_token
    for _ in range(restarts):
        keeper = keeper_for(server, RefreshGrant(refresh), clock=clock)
        for _ in range(2):
            await keeper.renew()
        clock.advance(101)
    assert server.refreshes == 2 * restarts
    assert not ledger_file().exists()


async def test_one_that_is_never_replaced_serves_several_keys_of_a_store(server, clock):
    server.rotate = False
    refresh, store = seed(server).refresh_token, MemoryStore()
    for user in ("", "one", "two"):
        await keeper_for(server, RefreshGrant(refresh), clock=clock, store=store, user=user).renew()
    assert server.refreshes == 3


# -- at once


async def test_two_keepers_with_a_store_each_are_given_the_same(server, clock, tmp_path):
    """Only one presents it; the other is told."""
    grant, outcomes = seed(server), []
    clock.advance(101)
    server.on_request = lambda request: anyio.run(anyio.sleep, 0.3)

    async def one(name):
        try:
            outcomes.append(await keeper_for(server, grant, clock=clock, store=FileStore(tmp_path / name)).get_token())
        except RefreshTokenLost as error:
            outcomes.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(one, "one.json")
        group.start_soon(one, "two.json")
    assert sorted(type(one).__name__ for one in outcomes) == ["OAuthToken", "RefreshTokenLost"]
    assert len(presented(server)) == 1


# -- the note itself


async def test_what_is_noted(server, clock, tmp_path):
    grant = seed(server)
    keeper = await begin(server, clock, grant, FileStore(tmp_path / "tokens.json"))
    file = ledger_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_text()
    for secret in server.issued:
        assert secret not in content
    (name,) = json.loads(content)["entries"]
    assert name == grant.refresh_token.fingerprint
    found = await ledger.Ledger().find(grant.refresh_token)
    assert (found.key, found.store) == (keeper.key, repr(keeper.store))
    await keeper_for(server, grant, clock=clock, store=keeper.store).renew()  # nothing more is written
    assert file.read_text() == content


async def test_old_notes_go(server, clock, monkeypatch):
    first, second = seed(server), seed(server)
    await begin(server, clock, first, MemoryStore())
    monkeypatch.setattr(ledger, "utc_now", lambda: clock() + timedelta(days=401))
    await begin(server, clock, second, MemoryStore())
    assert list(json.loads(ledger_file().read_text())["entries"]) == [second.refresh_token.fingerprint]


async def test_without_a_place_for_it_things_go_on(server, clock, monkeypatch, tmp_path, caplog):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a file"))
    for _ in range(2):
        await begin(server, clock, seed(server), MemoryStore())
    assert server.refreshes == 3  # the second had expired when it was handed over
    assert server.reuses == []
    (warning,) = [one for one in caplog.records if "can be neither looked up nor noted" in one.message]
    assert warning.levelno == logging.WARNING


async def test_a_lost_one_that_was_never_replaced_may_be_tried_again(server, clock):
    """It was refused, not replaced: the provider may know it again, as after an outage."""
    grant = seed(server)
    server.fail("status", times=1, status=400, body={"error": "invalid_grant"})
    clock.advance(101)
    with pytest.raises(GrantDeadError):
        await keeper_for(server, grant, clock=clock).get_token()
    await keeper_for(server, grant, clock=clock).get_token()
    assert server.refreshes == 1


async def test_another_persons_is_refused(server, clock):
    server.jwt = True
    store = MemoryStore()

    def handed(user, client=CLIENT):
        access, refresh = server.issue(client, user)
        return RefreshGrant(refresh, access_token=access)

    ann = handed("ann")
    keeper = keeper_for(server, ann, clock=clock, store=store)
    token = await keeper.get_token()
    server.add_client("other", "s")
    for grant, claim in ((handed("bob"), "sub"), (handed("ann", "other"), "client_id")):
        other = keeper_for(server, grant, clock=clock, store=store)
        with pytest.raises(InvalidInputError, match=f"access_token: its {claim} is .* user="):
            await other.get_token()
    assert server.count() == 0
    assert (await keeper_for(server, clock=clock, store=store).get_token()).access_token == token.access_token
    # The same person's next one is taken; so is the other person's, told apart.
    again = handed("ann")
    got = await keeper_for(server, again, clock=clock, store=store).get_token()
    assert got.access_token == again.access_token
    await keeper_for(server, handed("bob"), clock=clock, store=store, user="bob").get_token()
