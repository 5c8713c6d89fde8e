"""Keepers for the OAuth server of the tests, and a look at what they leave in the store."""

import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from domokit import ClientOptions
from domokit.errors import StoreUnavailableError
from domokit.oauth import OAuthClient, PasswordGrant, RefreshGrant, TokenKeeper
from domokit.oauth.record import TokenRecord
from domokit.stores import MemoryStore, StoreLock

CLIENT, SECRET = "keeper", "canary-client-secret"
USER, PASSWORD = "ann", "canary-password"


class Clock:
    """This machine's clocks, as the keepers see them, with the server's: all go on by themselves, and can be moved."""

    def __init__(self, server, monkeypatch):
        self.server = server
        self.wall = 0.0
        self.counted = 0.0
        for module in ("client", "keeper"):
            monkeypatch.setattr(f"domokit.oauth.{module}.steady", lambda: time.monotonic() + self.counted)

    def __call__(self):
        return datetime.now(UTC) + timedelta(seconds=self.wall)

    def advance(self, seconds):
        """Let time pass for everybody."""
        self.counted += seconds
        self.wall += seconds
        self.server.advance(seconds)
        self.server.date_ahead += seconds

    def step(self, seconds):
        """Set this machine's clock, which shows the date; time goes on as ever."""
        self.wall += seconds

    @property
    def options(self):
        return ClientOptions(clock=self)


class Events(list):
    """What a keeper told, in its order."""

    def __call__(self, event):
        self.append(event)

    @property
    def kinds(self):
        return [event.kind for event in self]


def client_for(server, **options):
    return OAuthClient(server.token_url, CLIENT, SECRET, **options)


def keeper_for(server, *grants, clock=None, client=None, **options):
    client = client or client_for(server, options=clock and clock.options)
    return TokenKeeper(client, grants=grants or [RefreshGrant()], **options)


def seed(server, **options):
    """The grant for a pair of tokens that were issued elsewhere, just now."""
    access, refresh = server.issue(CLIENT, USER)
    end = datetime.now(UTC) + timedelta(seconds=server.lifetime)
    return RefreshGrant(refresh, access_token=access, expires_at=end, **options)


def password():
    return PasswordGrant(USER, PASSWORD)


async def record_of(keeper):
    """What the store holds for a keeper; None if nothing."""
    stored = await keeper.store.load(keeper.key)
    return None if stored is None else TokenRecord.decoded(stored.text, keeper.key)


def presented(server):
    """The refresh tokens that were presented, in their order."""
    return [one.refresh_token for one in server.requests if one.grant == "refresh_token"]


def assert_each_spent_once(server):
    """Every refresh token of the one family was presented once, in turn, but for the last."""
    (family,) = server.families
    assert presented(server) == family.refresh[:-1]
    assert server.refreshes == len(family.access) - 1
    assert server.reuses == []


async def assert_newest_is_stored(keeper, server):
    record = await record_of(keeper)
    assert record.token.refresh_token.reveal() == server.families[-1].refresh[-1]
    assert record.token.access_token.reveal() == server.families[-1].access[-1]
    assert record.spending is None
    assert record.answer is None
    assert record.parked == []


def fingerprint(text):
    return sha256(text.encode()).hexdigest()[:12]


class Unlocked(MemoryStore):
    """As if every lease had lapsed: its lock keeps nobody out."""

    @asynccontextmanager
    async def lock(self, key, **options):
        yield StoreLock()


class Flaky(MemoryStore):
    """A store that fails where it is told to.

    fails:  asked with the number of the call of `save` (from 1) and the record that is to be saved, whether it fails.
    after:  whether it fails only after having saved.
    """

    def __init__(self, fails=lambda number, record: False, *, after=False):
        super().__init__()
        self.fails = fails
        self.after = after
        self.saves = 0
        self.is_away = False  # then nothing works at all

    async def load(self, key):
        self._here()
        return await super().load(key)

    async def save(self, key, text, *, replacing):
        self._here()
        self.saves += 1
        fails = self.fails(self.saves, TokenRecord.decoded(text, key))
        if fails and not self.after:
            raise StoreUnavailableError("the store is full")
        version = await super().save(key, text, replacing=replacing)
        if fails:
            raise StoreUnavailableError("the store has lost its answer")
        return version

    def lock(self, key, **options):
        self._here()
        return super().lock(key, **options)

    def _here(self):
        if self.is_away:
            raise StoreUnavailableError("the store is away")
