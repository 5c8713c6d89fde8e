"""Stores and encryptions of somebody's own, which fail in ways of their own: no token is lost over it."""

from contextlib import asynccontextmanager

import anyio
import pytest

from domokit import Secret
from domokit.errors import InvalidInputError, StoreError, StoreUnavailableError, UnpersistedError
from domokit.oauth import ClientCredentialsGrant
from domokit.oauth.record import TokenRecord
from domokit.stores import EncryptionKey, FileStore, MemoryStore, RedisStore

from .helpers import Events, assert_each_spent_once, assert_newest_is_stored, keeper_for, seed


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("domokit.oauth.journal._SAVES", (0.0, 0.01, 0.02, 0.03))


class Own(MemoryStore):
    """Fails with `error` where `fails(what, record)` says so; `what` is 'load', 'note', 'token', 'keys', 'lock', …"""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.fails = lambda what: False

    def at(self, what):
        if self.fails(what):
            raise self.error

    async def load(self, key):
        self.at("load")
        return await super().load(key)

    async def save(self, key, text, *, replacing):
        record = TokenRecord.decoded(text, key)
        self.at("answer" if record.answer else "note" if record.spending else "token")
        return await super().save(key, text, replacing=replacing)

    def lock(self, key, **options):
        self.at("lock")
        return self.locked(key)

    @asynccontextmanager
    async def locked(self, key):
        self.at("entering")
        async with super().lock(key) as held:
            yield held
        self.at("leaving")


ERRORS = [OSError(28, "no space"), RuntimeError("canary-nothing"), InvalidInputError("no key"), TimeoutError()]


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def own(request):
    return Own(request.param)


async def test_failing_when_the_token_has_come(server, clock, own, tmp_path):
    events = Events()
    rescue = FileStore(tmp_path / "rescue.json")
    keeper = keeper_for(server, seed(server), clock=clock, store=own, on_event=events, rescue=rescue)
    await keeper.get_token()
    own.fails = lambda what: what in ("answer", "token")
    got = []

    async def ask():
        got.append(await keeper.renew())

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    got += [await keeper.get_token() for _ in range(3)]
    assert {(one.access_token.reveal(), one.unpersisted) for one in got} == {(server.families[0].access[1], True)}
    assert events.kinds == ["started", "unpersisted"]
    assert isinstance(events[-1].error, StoreError)
    assert events[-1].error.__cause__ is own.error
    assert await rescue.keys() == [keeper.key]
    with pytest.raises(UnpersistedError):
        await keeper.aclose()
    own.fails = lambda what: False
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)
    assert_each_spent_once(server)


async def test_rescued_where_the_rescue_fails_in_its_own_way_as_well(server, clock, own):
    rescue = Own(ZeroDivisionError())
    rescue.fails = lambda what: True
    keeper = keeper_for(server, seed(server), clock=clock, store=own, rescue=rescue)
    await keeper.get_token()
    own.fails = lambda what: what == "token"
    assert (await keeper.renew()).unpersisted


@pytest.mark.parametrize("where", ["load", "lock", "entering", "note"])
async def test_failing_before_anything_is_spent(server, clock, own, where, patient):
    keeper = keeper_for(server, seed(server), clock=clock, store=own)
    await keeper.get_token()
    own.fails = lambda what: what == where
    with pytest.raises(StoreError) as caught:
        await keeper.renew()
    assert caught.value.__cause__ is own.error
    assert str(own.error).split(".")[0] in str(caught.value)
    assert server.count() == 0
    own.fails = lambda what: False
    await keeper.renew()
    assert_each_spent_once(server)


async def test_failing_to_let_go_of_the_lock(server, clock, own, caplog):
    keeper = keeper_for(server, seed(server), clock=clock, store=own)
    await keeper.get_token()
    own.fails = lambda what: what == "leaving"
    token = await keeper.renew()
    assert not token.unpersisted
    assert "could not be let go" in caplog.text
    await assert_newest_is_stored(keeper, server)


async def test_an_error_shows_no_token(server, clock):
    own = Own(RuntimeError("canary-secret-of-a-store"))
    secret = Secret("canary-secret-of-a-store")
    own.fails = lambda what: True
    with pytest.raises(StoreUnavailableError) as caught:
        await keeper_for(server, seed(server), clock=clock, store=own).get_token()
    assert secret.reveal() not in str(caught.value) + repr(caught.value.__cause__)
    assert caught.value.__cause__.__traceback__ is None


# -- encryption


class Sealing:
    """Seals until it is told to fail."""

    error = None

    def seal(self, text, key):
        if self.error is not None:
            raise self.error
        return text.reveal()[::-1]

    def unseal(self, sealed, key):
        return Secret(sealed[::-1])


@pytest.fixture(params=["file", "redis"])
def sealing(request, tmp_path):
    encryption = Sealing()
    if request.param == "file":
        return FileStore(tmp_path / "tokens.json", encryption=encryption)
    url = request.getfixturevalue("redis_url")
    return RedisStore(url, prefix=f"{tmp_path.name}:", encryption=encryption)


@pytest.mark.parametrize("error", [InvalidInputError("no key"), OSError("no HSM")])
async def test_a_key_that_is_none_any_more_is_noticed_before(server, clock, sealing, error):
    keeper = keeper_for(server, seed(server), clock=clock, store=sealing)
    await keeper.get_token()
    sealing.encryption.error = error
    with pytest.raises(StoreError) as caught:
        await keeper.renew()
    assert caught.value.__cause__ is error
    assert server.count() == 0
    assert (await keeper.status()).state == "fresh"
    sealing.encryption.error = None
    await keeper.renew()
    await sealing.aclose()


async def test_a_key_that_fails_when_the_token_has_come(server, clock, sealing):
    keeper = keeper_for(server, seed(server), clock=clock, store=sealing)
    await keeper.get_token()

    def fail(request):
        sealing.encryption.error = OSError("no HSM")

    server.on_request = fail
    token = await keeper.renew()
    assert token.unpersisted
    sealing.encryption.error = server.on_request = None
    await keeper.aclose()
    await assert_newest_is_stored(keeper, server)
    await sealing.aclose()


async def test_a_wrong_key_is_told_where_the_token_could_do_without_a_store(server, tmp_path):
    """Somebody who asks for encryption is not to be left without by a warning."""
    store = FileStore(tmp_path / "tokens.json", encryption=EncryptionKey.from_callable(lambda: "nonsense"))
    with pytest.raises(StoreError, match="holds no key: 32 bytes as base64") as caught:
        await keeper_for(server, ClientCredentialsGrant(), store=store).get_token()
    assert caught.value.needs_human
