"""What a store holds about a credential, read and written in such a way that no token is lost.

Whatever ends a run, the record tells the next one how far it came: a note that a refresh token is being presented, the
raw answer to that, the new token. Where the store itself fails once a token has been received, the token is kept in
memory and in a second place, and taken from there when it works again.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import anyio
import attrs

from domokit._secrets import Secret
from domokit.errors import StoreConflictError, StoreError, StoreUnavailableError
from domokit.oauth.client import OAuthClient, decoded_answer
from domokit.oauth.grants import ClientCredentialsGrant, Grant
from domokit.oauth.ledger import Ledger
from domokit.oauth.record import Spending, TokenRecord
from domokit.oauth.token import OAuthToken, salvaged
from domokit.stores.base import StoreLock
from domokit.stores.guarded import Guarded
from domokit.stores.locks import who

log: logging.Logger = logging.getLogger("domokit.oauth")

_SAVES = (0.0, 0.1, 0.5, 1.0)  # waits before each try to store what was received


@attrs.define(kw_only=True, eq=False)
class Journal(ABC):
    """The record of one credential, as one run has read it, and the ways to write it.

    store:    what it is in; place: what people call that.
    ledger:   where it is noted which refresh tokens were replaced; None for a provider that is only played.
    unsaved:  a record that an earlier run received and could not store.
    tell:     is told what happens: (kind, **details of a TokenEvent).
    """

    client: OAuthClient
    grants: Sequence[Grant]
    store: Guarded
    place: str
    rescue: Guarded | None
    ledger: Ledger | None
    key: str
    tell: Callable[..., None]
    unsaved: TokenRecord | None = None
    record: TokenRecord = attrs.field(factory=TokenRecord)
    version: str | None = None
    lock: StoreLock = attrs.field(factory=StoreLock)

    @property
    def now(self) -> datetime:
        return self.client.now()

    async def read(self) -> None:
        stored = await self.store.load(self.key)
        self.record = TokenRecord() if stored is None else TokenRecord.decoded(stored.text, self.key)
        self.version = stored.version if stored else None

    async def save(self) -> None:
        self.version = await self.store.save(self.key, self.record.encoded(), replacing=self.version)

    async def save_if_possible(self) -> None:
        """Save a note whose loss does no harm beyond caution."""
        try:
            await self.save()
        except StoreError as error:
            log.warning("%s: %s", self.key, error.message)

    def can_do_without_store(self) -> bool:
        return all(isinstance(grant, ClientCredentialsGrant) for grant in self.grants)

    # -- a new token

    async def persist(self, token: OAuthToken, *, spent: Secret | None = None) -> OAuthToken:
        """Store a new token, and only then let it be seen.

        Where the store fails after all, it is kept in memory and in the rescue file, and marked as unpersisted.
        """
        note, replaced = self.record.spending, self.record.refresh_token
        if note is None and replaced is not None:
            note = Spending(fingerprint=replaced.fingerprint, since=self.now, by=who())
        self.record.put(token, spent=spent)
        is_ours = True
        failed: StoreError | None = None
        for wait in _SAVES:
            await anyio.sleep(wait)
            try:
                if isinstance(failed, StoreConflictError):
                    is_ours = await self._give_way(token, spent)
                await self.save()
            except StoreError as error:
                failed = error
            else:
                await self.note_replaced(spent, token.refresh_token)
                kind = "succeeded" if is_ours else "parked"
                self.tell(kind, gained=token.fingerprint, spent=spent and spent.fingerprint)
                return token if is_ours else self.usable() or token
        assert failed is not None
        token = attrs.evolve(token, unpersisted=True)
        if token.refresh_token is not None:
            self.unsaved = attrs.evolve(self.record, token=token, spending=note)
            await self._rescue(self.unsaved)
        await self.note_replaced(spent, token.refresh_token)
        self.tell("unpersisted", gained=token.fingerprint, spent=spent and spent.fingerprint, error=failed)
        return token

    @abstractmethod
    def usable(self) -> OAuthToken | None:
        """The stored token, if it is worth handing out."""

    async def note_replaced(self, spent: Secret | None, new: Secret | None) -> None:
        """Note it outside of the store, where a refresh token that somebody handed over is replaced by another."""
        if self.ledger is None or spent is None or new is None or spent == new:
            return
        if spent.fingerprint in self.record.taken:
            await self.ledger.note(spent, key=self.key, store=self.place)

    async def _rescue(self, record: TokenRecord) -> None:
        if self.rescue is None:
            return
        for is_last in (False, True):  # what cannot be read there is set aside when it is met
            try:
                there = await self.rescue.load(self.key)
                await self.rescue.save(self.key, record.encoded(), replacing=there.version if there else None)
            except StoreError as error:
                if is_last:
                    log.error("%s: the new token could not be kept in a second place either: %s", self.key, error)
            else:
                return

    async def _give_way(self, token: OAuthToken, spent: Secret | None) -> bool:
        """Another, who took the lock over, has written: if it was only a note, ours stands; else ours is put aside."""
        ours = self.record
        await self.read()
        if self.version is None:  # somebody has deleted it: ours is all that is known, with what must not come back
            self.record = ours
            return True
        if self._knows(token):  # the other was us, in a try that was said to have failed
            return True
        if (refresh := self.record.refresh_token) is None or refresh == spent:
            self.record.put(token, spent=spent)
            return True
        self.record.parked.append(token)
        return False

    # -- what an earlier run left

    async def recover(self) -> None:
        """Finish what an earlier run could not: an answer that was not read, a token that could not be stored."""
        if self.unsaved is not None or self.record.is_outcome_unknown or self.record.refresh_token is None:
            await self._take_rescued()
        if self.record.answer is not None and self.record.is_outcome_unknown:
            spent = self.record.refresh_token
            self.take_answer(self.record.answer, self.record.spending.since if self.record.spending else self.now)
            if not self.record.is_outcome_unknown:
                await self.save()
                await self.note_replaced(spent, self.record.refresh_token)
                self.tell("recovered", gained=self.record.token and self.record.token.fingerprint)

    async def _take_rescued(self) -> None:
        rescued = self.unsaved or await self._rescued()
        if rescued is None or rescued.token is None:
            return
        token = attrs.evolve(rescued.token, unpersisted=False)
        refresh, replaced = self.record.refresh_token, rescued.spending
        if self._knows(token):
            pass  # it did get there
        elif refresh is None:
            self.record = attrs.evolve(rescued, token=token, spending=None, answer=None)
        elif replaced is not None and replaced.fingerprint == refresh.fingerprint:  # nobody has got a newer one
            self.record.put(token, spent=refresh)
            self.record.password = rescued.password or self.record.password
        else:
            self.record.parked.append(token)
        await self.save()
        self.tell("recovered", gained=token.fingerprint)
        await self._forget_rescued()

    async def _rescued(self) -> TokenRecord | None:
        if self.rescue is None or self.can_do_without_store():
            return None
        try:
            stored = await self.rescue.load(self.key)
        except StoreUnavailableError as error:  # then this user can have put nothing there either
            log.warning("%s: a rescue file could not be looked for: %s", self.key, error.message)
            return None
        return TokenRecord.decoded(stored.text, self.key) if stored else None

    def _knows(self, token: OAuthToken) -> bool:
        """Whether the record has this token, or had it and has used it up."""
        refresh = token.refresh_token
        return (refresh is not None and refresh.fingerprint in self.record.dead) or any(
            known is not None and known.access_token == token.access_token
            for known in (self.record.token, *self.record.parked)
        )

    async def _forget_rescued(self) -> None:
        self.unsaved = None
        if self.rescue is not None:
            try:
                await self.rescue.delete(self.key)
            except StoreError as error:
                log.warning("%s: the rescue file could not be cleared: %s", self.key, error.message)

    # -- reading answers

    def take_answer(self, body: Secret, asked_at: datetime) -> None:
        """Read what is there of an answer; a new refresh token in it settles what became of the old one."""
        whole, old, spent = decoded_answer(body), self.record.token, self.record.refresh_token
        found = whole or salvaged(body)
        new = found.get("refresh_token")
        self.record.answer = None
        if isinstance(found.get("access_token"), Secret) and (whole or new):
            if old is not None and whole is None and "expires_in" not in found:
                found = {**found, "expires_in": old.lifetime.total_seconds()}
            self.record.put(self.read_answer(found, asked_at), spent=spent)
        elif isinstance(new, Secret) and old is not None:
            self.record.put(attrs.evolve(old, refresh_token=new, refresh_expires_at=None), spent=spent)
        elif isinstance(new, Secret):
            self.record.seed, self.record.spending = new, None

    def read_answer(self, answer: Mapping[str, Any], asked_at: datetime, *, keep_refresh: bool = True) -> OAuthToken:
        old = self.record.token
        token = OAuthToken.from_answer(
            answer,
            asked_at,
            refresh_token=self.record.refresh_token if keep_refresh else None,
            scope=(old.scope if old else None) or self.client.scope,
        )
        if old is not None and keep_refresh and token.refresh_token == old.refresh_token:
            return attrs.evolve(token, refresh_expires_at=old.refresh_expires_at)
        return token
