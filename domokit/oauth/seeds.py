"""Refresh tokens that people hand over: which one is new, and which must not be presented any more."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

import attrs

from domokit._runtime import from_wire
from domokit._secrets import Secret
from domokit.errors import InvalidInputError, RefreshTokenLost, StoreError
from domokit.oauth.grants import RefreshGrant
from domokit.oauth.journal import Journal
from domokit.oauth.record import Spending, TokenRecord
from domokit.oauth.token import OAuthToken, jwt_payload
from domokit.stores.locks import who

log: logging.Logger = logging.getLogger("domokit.oauth")

_OWNERS = ("sub", "client_id")  # claims that tell whose a token is
_MEND = (
    "Bring back the store, or the file that was set aside; undo what was changed of user, scope, client or store; "
    "or hand over a new refresh token."
)


@attrs.define(kw_only=True, eq=False)
class Seeds(Journal):
    """Takes what is handed over into the record.

    held:     the token that the keeper has at hand.
    refusal:  why the refresh token that was handed over must not be presented.
    """

    held: OAuthToken | None = None
    refusal: RefreshTokenLost | None = None

    async def remember(self) -> None:
        """Where the store has lost what it held (a Redis that was flushed), go on with the token at hand.

        Others may hold newer ones; so its refresh token counts as presented, and is not before the access token ends.
        """
        held = self.held
        if self.version is not None or held is None or held.refresh_token is None:
            return
        for seed in self._handed_over():
            self.record.take(seed)
        self.record.token = held
        if self.store.reach != "process":
            self.record.spending = Spending(fingerprint=held.refresh_token.fingerprint, since=self.now, by=who())
        await self.save()

    def new_seed(self) -> RefreshGrant | None:
        """The grant that brings a refresh token which the store has not seen before."""
        for grant in self.grants:
            if isinstance(grant, RefreshGrant) and (seed := grant.refresh_token) is not None:
                known = self.record.refresh_token
                if seed != known and seed.fingerprint not in (*self.record.taken, *self.record.dead):
                    return grant
        return None

    async def take_seeds(self) -> None:
        """Raises: InvalidInputError, if it is somebody else's than what the record holds."""
        if (grant := self.new_seed()) is None or (seed := grant.refresh_token) is None:
            return
        self._check_owner(grant)
        self.refusal = await self._refusal(seed)
        if self.refusal is not None:
            # Not stored, unless another grant brings a token: what was lost may come back.
            self.record.take(seed)
            self.record.bury(seed)
            return
        self.hold_seed(seed, grant.access_token, grant.expires_at)
        await self.save()

    def hold_seed(self, refresh: Secret, access: Secret | None, expires_at: datetime | None) -> None:
        """Put what somebody handed over in the place of what the record holds."""
        payload = jwt_payload(access) if access is not None else {}
        end = expires_at or from_wire(payload.get("exp"))
        self.record.take(refresh)
        self.record.seed = refresh
        self.record.token = self.record.spending = self.record.answer = None
        self.record.dig_up(refresh)
        if payload:
            self.record.facts.pop("sub", None)
        for fact in (*_OWNERS, "iss"):
            if isinstance(payload.get(fact), str):
                self.record.facts[fact] = payload[fact]
        if access is not None and end is not None:
            start = min(from_wire(payload.get("iat")) or self.now, end)
            self.record.token = OAuthToken(
                access_token=access, refresh_token=refresh, expires_at=end, obtained_at=start, scope=self.client.scope
            )

    async def adopt(self, token: OAuthToken) -> OAuthToken:
        """Put a token that somebody brings in the place of what the store holds."""
        async with self.store.lock(self.key) as self.lock:
            await self.read()
            for seed in self._handed_over():  # what this one replaces is not to come back
                self.record.take(seed)
            if token.refresh_token is not None:
                if (refusal := await self._replaced(token.refresh_token)) is not None:
                    raise refusal
                self.hold_seed(token.refresh_token, token.access_token, token.expires_at)
            self.record.put(token)
            await self.save()
            return token

    @asynccontextmanager
    async def presenting(self, refresh: Secret) -> AsyncGenerator[None, None]:
        """Around presenting a refresh token: one that was handed over may be in other records and stores as well.

        Raises: RefreshTokenLost, if one of those has had it replaced.
        """
        if any(seed == refresh for seed in self._handed_over()) and refresh.fingerprint not in self.record.taken:
            self.record.take(refresh)  # handed over when the store had it already
        if self.ledger is None or refresh.fingerprint not in self.record.taken:
            yield
            return
        async with self.ledger.holding(refresh):
            if (refusal := await self._replaced(refresh)) is not None:
                raise refusal
            yield

    def _handed_over(self) -> list[Secret]:
        grants = [grant for grant in self.grants if isinstance(grant, RefreshGrant)]
        return [grant.refresh_token for grant in grants if grant.refresh_token is not None]

    async def _refusal(self, seed: Secret) -> RefreshTokenLost | None:
        if (refusal := await self._replaced(seed)) is not None:
            return refusal
        if self.record.refresh_token is None and self.record.token is None:
            return await self._known_elsewhere(seed)
        return None

    async def _replaced(self, refresh: Secret) -> RefreshTokenLost | None:
        """Why not to present a refresh token that the ledger knows as replaced."""
        replaced = await self.ledger.find(refresh) if self.ledger is not None else None
        if replaced is None:
            return None
        return self._no_more(
            f"was replaced on {replaced.at:%Y-%m-%d at %H:%M} UTC by {replaced.by}; its successor was kept in "
            f"{replaced.store} as the entry {replaced.key}"
            + (", and is not there now" if (replaced.key, replaced.store) == (self.key, self.place) else "")
        )

    async def _known_elsewhere(self, seed: Secret) -> RefreshTokenLost | None:
        """Why not to present a refresh token that another record of the same store has, or had."""
        try:
            for key in await self.store.keys():
                record = await self._other(key)
                if record is None or seed.fingerprint not in (*record.taken, *record.dead):
                    continue
                if record.refresh_token != seed or record.is_outcome_unknown or seed.fingerprint in record.dead:
                    return self._no_more(f"is known to the entry {key} of the same store, and was presented there")
        except StoreError as error:
            log.warning("%s: whether another entry has this refresh token is not known: %s", self.key, error.message)
        return None

    async def _other(self, key: str) -> TokenRecord | None:
        """Another entry of the store; None for what is no record of a token, or cannot be read."""
        if key == self.key:
            return None
        try:
            stored = await self.store.load(key)
            return None if stored is None else TokenRecord.decoded(stored.text, key)
        except StoreError:
            return None

    def _no_more(self, what: str) -> RefreshTokenLost:
        return RefreshTokenLost(
            f"the refresh token that was handed over {what}; presenting it again would revoke all that came of it",
            asked=self.client.asked,
            hint=_MEND,
        )

    def _check_owner(self, grant: RefreshGrant) -> None:
        """Raises: InvalidInputError, if a token that was handed over is another user's than the record's."""
        told = jwt_payload(grant.access_token) if grant.access_token is not None else {}
        token = self.record.token
        known = {**(jwt_payload(token.access_token) if token is not None else {}), **self.record.facts}
        for claim in _OWNERS:
            old, new = known.get(claim), told.get(claim)
            if isinstance(old, str) and isinstance(new, str) and old != new:
                self.record = TokenRecord()  # nobody here is served with what is another's
                raise InvalidInputError(
                    f"access_token: its {claim} is {new[:60]!r}, and the store holds a token of {old[:60]!r} here",
                    hint="Give user= to tell them apart, or keep each in a store of its own.",
                )
