"""One renewal: from what the store holds to a token that lives, with each refresh token spent by one spender, once.

The order is all there is to it. Hold the store's lock → read the store again; if another has renewed the token
meanwhile, take that → prove that the store can take an answer → note durably that this refresh token is being spent
→ ask → keep the raw answer durably → read it → store the new token → only then show it to anybody.

Whatever ends a run in between, the note tells the next one. An answer that was never seen makes the outcome unknown:
as long as the access token lives, the old refresh token is not presented again, for a provider that sees one twice
revokes everything that came of it. Once the access token is dead there is nothing to lose by trying.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import uniform
from typing import Any

import anyio
import attrs

from domokit._runtime import from_wire
from domokit._secrets import Secret, wrap_secrets
from domokit.connection.exchange import Connection
from domokit.errors import (
    APIError,
    DomoError,
    GrantDeadError,
    GrantRefusedError,
    InvalidClientError,
    InvalidCredentialsError,
    InvalidInputError,
    MissingCredentialError,
    OutcomeUnknown,
    RateLimitedError,
    RefreshTokenLost,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    UnpersistedError,
)
from domokit.oauth.client import REQUEST_TIMEOUT, OAuthClient, Outcome, as_wrong_password, decoded_answer
from domokit.oauth.grants import AskGrant, ClientCredentialsGrant, Grant, PasswordGrant, RefreshGrant
from domokit.oauth.record import Spending, TokenRecord
from domokit.oauth.token import OAuthToken, jwt_payload, salvaged
from domokit.stores.base import StoreLock, TokenStore
from domokit.stores.locks import who

log: logging.Logger = logging.getLogger("domokit.oauth")

_REQUESTS = 3  # of one grant at most, where it is certain that none before was acted upon
_PATIENCE = 10.0  # seconds that are waited at most for a busy server, while the lock is held
_SAVES = (0.0, 0.1, 0.5, 1.0)  # waits before each try to store what was received
_EARLY = timedelta(seconds=30)  # and a twentieth of its life: what a token must live yet to be of use


def early(token: OAuthToken) -> timedelta:
    """How long before its end a token is not handed out any more, so that none dies on its way."""
    return min(_EARLY, token.lifetime / 20)


@attrs.define(kw_only=True, eq=False)
class Renewal:
    """One run, in an event loop of its own. The methods stand roughly in the order in which they are called.

    refused:  an access token that is not good enough, whatever its dates say: another is wanted.
    is_denied: whether that is because an API refused it, so that it counts as dead.
    unsaved:  a record that an earlier run received and could not store.
    hopeless: how an earlier run failed in a way that only a human can mend, and the version of the record then.
    held:     the token that the keeper has at hand.
    outliving: a living token before whose end nothing is to be tried, if that is how it ended.
    tell:     is told what happens: (kind, **details of a TokenEvent).
    """

    client: OAuthClient
    grants: Sequence[Grant]
    store: TokenStore
    rescue: TokenStore | None
    key: str
    tell: Callable[..., None]
    refused: Secret | None = None
    is_denied: bool = False
    unsaved: TokenRecord | None = None
    hopeless: tuple[DomoError, str | None] | None = None
    record: TokenRecord = attrs.field(factory=TokenRecord)
    version: str | None = None
    lock: StoreLock = attrs.field(factory=StoreLock)
    held: OAuthToken | None = None
    outliving: OAuthToken | None = None
    _connection: Connection | None = None

    async def run(self) -> OAuthToken:
        """A token that lives. Raises: what kept it from one."""
        try:
            return await self._run()
        except StoreError as error:
            if isinstance(error, UnpersistedError) or not self._can_do_without_store():
                raise
            log.warning("%s: going on without the store: %s", self.key, error.message)
            self.lock = StoreLock()
            token = attrs.evolve(await self._ask_plainly(self.grants[0]), unpersisted=True)
            self.tell("unpersisted", gained=token.fingerprint, error=error)
            return token
        finally:
            if self._connection is not None:
                await self._connection.aclose()

    async def _run(self) -> OAuthToken:
        if self.unsaved is None:
            await self.read()
            if (token := self.usable()) is not None:
                self.tell("adopted", gained=token.fingerprint)
                return token
        async with self.store.lock(self.key) as self.lock:
            await self.read()
            if self.unsaved is None and (token := self.usable()) is not None:
                self.tell("adopted", gained=token.fingerprint)
                return token
            await self.remember()
            await self.recover()
            await self.take_seeds()
            if (token := self.usable()) is not None:
                return token
            if self.hopeless is not None and self.hopeless[1] == self.version:
                raise self.hopeless[0].with_traceback(None)  # which would grow each time
            return await self.climb()

    # -- what is there

    async def read(self) -> None:
        stored = await self.store.load(self.key)
        self.record = TokenRecord() if stored is None else TokenRecord.decoded(stored.text, self.key)
        self.version = stored.version if stored else None

    async def save(self) -> None:
        self.version = await self.store.save(self.key, self.record.encoded(), replacing=self.version)

    def usable(self) -> OAuthToken | None:
        """The stored token, if it is worth handing out."""
        token = self.record.token
        if token is None or token.access_token == self.refused or self._new_seed() is not None:
            return None
        return token if token.remaining(self.now) > early(token) else None

    def alive(self) -> OAuthToken | None:
        """The stored token, as long as it lives: callers are served with it if no better is to be had."""
        token = self.record.token
        if token is None or (self.is_denied and token.access_token == self.refused):
            return None
        return token if token.remaining(self.now) > timedelta(0) else None

    @property
    def now(self) -> datetime:
        return self.client.now()

    # -- before anything is asked

    async def remember(self) -> None:
        """Where the store has lost what it held (a Redis that was flushed), go on with the token at hand.

        Others may hold newer ones; so its refresh token counts as presented, and is not before the access token ends.
        """
        held = self.held
        if self.version is not None or held is None or held.refresh_token is None:
            return
        for grant in self.grants:
            if isinstance(grant, RefreshGrant) and grant.refresh_token is not None:
                self.record.take(grant.refresh_token)
        self.record.token = held
        if self.store.reach != "process":
            self.record.spending = Spending(fingerprint=held.refresh_token.fingerprint, since=self.now, by=who())
        await self.save()

    async def recover(self) -> None:
        """Finish what an earlier run could not: an answer that was not read, a token that could not be stored."""
        if self.unsaved is not None or self.record.is_outcome_unknown or self.record.refresh_token is None:
            await self._take_rescued()
        if self.record.answer is not None and self.record.is_outcome_unknown:
            self._take_answer(self.record.answer, self.record.spending.since if self.record.spending else self.now)
            if not self.record.is_outcome_unknown:
                await self.save()
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
        if self.rescue is None or self._can_do_without_store():
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

    def _new_seed(self) -> RefreshGrant | None:
        """The grant that brings a refresh token which the store has not seen before."""
        for grant in self.grants:
            if isinstance(grant, RefreshGrant) and (seed := grant.refresh_token) is not None:
                known = self.record.refresh_token
                if seed.fingerprint not in self.record.taken and seed != known:
                    return grant
        return None

    async def take_seeds(self) -> None:
        if (grant := self._new_seed()) is None or grant.refresh_token is None:
            return
        self.hold_seed(grant.refresh_token, grant.access_token, grant.expires_at)
        await self.save()

    def hold_seed(self, refresh: Secret, access: Secret | None, expires_at: datetime | None) -> None:
        """Put what somebody handed over in the place of what the record holds."""
        payload = jwt_payload(access) if access is not None else {}
        end = expires_at or from_wire(payload.get("exp"))
        self.record.take(refresh)
        self.record.seed = refresh
        self.record.token = self.record.spending = self.record.answer = None
        self.record.dig_up(refresh)
        for fact in ("client_id", "iss"):
            if isinstance(payload.get(fact), str):
                self.record.facts[fact] = payload[fact]
        if access is not None and end is not None:
            start = min(from_wire(payload.get("iat")) or self.now, end)
            self.record.token = OAuthToken(
                access_token=access, refresh_token=refresh, expires_at=end, obtained_at=start, scope=self.client.scope
            )

    # -- the ladder

    async def climb(self) -> OAuthToken:
        """Try one grant after the other; what one cannot do may be done by the next."""
        stopped: DomoError | None = None
        for grant in self.grants:
            try:
                token = await self._try(grant)
            except (GrantDeadError, GrantRefusedError, InvalidCredentialsError, OutcomeUnknown) as error:
                if isinstance(error, InvalidClientError):
                    raise
                if isinstance(error, OutcomeUnknown) and (token := self.alive()) is not None:
                    self.outliving = token if self.record.is_outcome_unknown else None
                    raise  # callers are served with what lives; see the head of this module
                if stopped is not None:
                    log.warning("%s: %s", self.key, stopped)
                stopped = error
                continue
            if token is not None:
                return token
        if stopped is not None:
            raise stopped
        raise MissingCredentialError(
            "there is no way to a token: "
            + ("no refresh token was given, and the store has none" if self.grants else "no grant was given"),
            hint="Give the keeper a refresh token, or another grant.",
        )

    async def _try(self, grant: Grant) -> OAuthToken | None:
        if isinstance(grant, RefreshGrant):
            return await self.refresh(grant)
        if isinstance(grant, PasswordGrant):
            return await self.sign_in(grant)
        token = await self._ask_plainly(grant)
        return await self.persist(token)

    async def _ask_plainly(self, grant: Grant) -> OAuthToken:
        """By a grant that spends nothing."""
        form = grant.form(self.record) or {}
        self.tell("started", grant=grant.name)
        if isinstance(grant, AskGrant):
            return self._read(await _asked(grant), self.now, keep_refresh=False)
        outcome = await self.ask(form)
        if outcome.answer is None:
            raise _error_of(outcome)
        return self._token_of(outcome, keep_refresh=False)

    # -- refresh

    async def refresh(self, grant: RefreshGrant, *, again: bool = True) -> OAuthToken | None:
        """By the refresh token; None if there is none.

        again:  whether one that comes without an access token is used at once.
        """
        refresh = self.record.refresh_token
        if refresh is None:
            return None
        form = grant.form(self.record)
        if form is None:
            if self._take_parked():
                await self.save()
                return self.usable() or await self.refresh(grant)
            raise _dead("it was refused before, and is not presented again", "refused before", self.client.asked)
        in_doubt = self.record.spending if self.record.is_outcome_unknown else None
        if in_doubt is not None and (token := self.alive()) is not None:
            unknown = OutcomeUnknown(
                f"{_never_came(in_doubt)}; the refresh token is not presented again before the access token has ended "
                f"({token.expires_at:%Y-%m-%d %H:%M:%S} UTC)",
                asked=self.client.asked,
                hint="Until then the access token is good; afterwards it is tried.",
            )
            self.tell("lost", grant=grant.name, spent=refresh.fingerprint, error=unknown)
            raise unknown
        self._client_id()  # whatever may be wrong on our side comes out before the token is noted as spent
        await self.lock.extend()
        await self.lock.reserve()
        self.record.spending = Spending(fingerprint=refresh.fingerprint, since=self.now, by=who())
        self.record.answer = None
        await self.save()
        self.tell("started", grant=grant.name, spent=refresh.fingerprint)
        outcome = await self.ask(form)
        if outcome.answer is not None:
            return await self._received(outcome, refresh)
        if outcome.unknown is not None:
            return await self._lost(grant, outcome, outcome.unknown, refresh, again=again)
        assert outcome.refused is not None
        return await self._refused(grant, outcome.refused, refresh, in_doubt)

    async def _received(self, outcome: Outcome, refresh: Secret) -> OAuthToken:
        self.record.answer = outcome.body
        await self._save_if_possible()  # before it is read, so that nothing in reading it can lose it
        return await self.persist(self._token_of(outcome), spent=refresh)

    async def _lost(
        self, grant: RefreshGrant, outcome: Outcome, unknown: OutcomeUnknown, refresh: Secret, *, again: bool
    ) -> OAuthToken | None:
        """No answer, or one that cannot be used as a whole; perhaps a part of it can."""
        if outcome.body:
            self.record.answer = outcome.body
            await self._save_if_possible()
            note = self.record.spending
            self._take_answer(outcome.body, outcome.asked_at)
            if not self.record.is_outcome_unknown:
                self.tell("recovered", grant=grant.name, spent=refresh.fingerprint)
                self.record.spending = note  # says what is replaced, should the store fail now
                kept = self.record.token and await self.persist(self.record.token, spent=refresh)
                if kept is None:
                    self.record.spending = None
                    await self.save()
                if kept is not None and self.usable() is not None:
                    return kept
                if again:
                    return await self.refresh(grant, again=False)
                raise unknown
        self.tell("lost", grant=grant.name, spent=refresh.fingerprint, error=unknown)
        raise unknown

    def _take_answer(self, body: Secret, asked_at: datetime) -> None:
        """Read what is there of an answer; a new refresh token in it settles what became of the old one."""
        whole, old, spent = decoded_answer(body), self.record.token, self.record.refresh_token
        found = whole or salvaged(body)
        new = found.get("refresh_token")
        self.record.answer = None
        if isinstance(found.get("access_token"), Secret) and (whole or new):
            if old is not None and whole is None and "expires_in" not in found:
                found = {**found, "expires_in": old.lifetime.total_seconds()}
            self.record.put(self._read(found, asked_at), spent=spent)
        elif isinstance(new, Secret) and old is not None:
            self.record.put(attrs.evolve(old, refresh_token=new, refresh_expires_at=None), spent=spent)
        elif isinstance(new, Secret):
            self.record.seed, self.record.spending = new, None

    async def _refused(
        self, grant: RefreshGrant, refused: DomoError, refresh: Secret, in_doubt: Spending | None
    ) -> OAuthToken | None:
        if not isinstance(refused, GrantDeadError):
            self.record.spending = in_doubt  # nothing was spent
            await self._save_if_possible()
            raise refused
        # A question, rather than an answer: has somebody who did not hold the lock renewed it?
        version = self.version
        await self.read()
        if self.version != version and self.record.refresh_token != refresh:
            if (token := self.usable()) is not None:
                self.tell("adopted", gained=token.fingerprint)
            return token or await self.refresh(grant)
        refused.reason = "expired" if self._has_expired() else "unknown"
        self.record.bury(refresh)
        parked = self._take_parked()
        await self._save_if_possible()
        if parked:
            return self.usable() or await self.refresh(grant)
        if in_doubt is None:
            raise refused
        lost = RefreshTokenLost(
            f"{_never_came(in_doubt)}, and the refresh token that was presented then is refused now",
            asked=self.client.asked,
        )
        self.tell("lost", grant=grant.name, spent=refresh.fingerprint, error=lost)
        raise lost from refused

    def _take_parked(self) -> bool:
        """Go on with a token that came too late for somebody, if there is one that may be good."""
        while self.record.parked:
            token = self.record.parked.pop()
            if token.refresh_token is not None and token.refresh_token.fingerprint not in self.record.dead:
                self.record.token, self.record.spending = token, None
                return True
        return False

    def _has_expired(self) -> bool:
        """Whether the refresh token's life is over; not certain enough to spare the question, for clocks go wrong."""
        token = self.record.token
        return token is not None and token.refresh_expires_at is not None and token.refresh_expires_at <= self.now

    # -- sign in

    async def sign_in(self, grant: PasswordGrant) -> OAuthToken | None:
        """By user name and password."""
        if (form := grant.form(self.record)) is None:
            return None
        choices = [form]
        if self.record.changing_to is not None:  # a change of which nobody knows whether it happened
            choices.insert(0, grant.form_with(self.record.changing_to))
        elif self.record.password is not None:  # changed by a keeper, and perhaps once more by somebody else
            choices.append(grant.form_with(grant.password))
        wrong: InvalidCredentialsError | None = None
        self.tell("started", grant=grant.name)
        for choice in choices:
            outcome = await self.ask(choice)
            if outcome.answer is not None:
                used = choice["password"]
                assert isinstance(used, Secret)
                self.record.password = None if used == grant.password else used
                self.record.changing_to = None
                return await self.persist(self._token_of(outcome, keep_refresh=False))
            error = _error_of(outcome)
            if not isinstance(error, GrantDeadError):
                raise error
            wrong = as_wrong_password(error)
        assert wrong is not None
        raise wrong

    async def change_password(self, grant: PasswordGrant, new: Secret) -> OAuthToken:
        """Change the password by signing in with both; the store knows the new one before it is sent."""
        try:
            async with self.store.lock(self.key) as self.lock:
                await self.read()
                await self.lock.extend()
                await self.lock.reserve()
                if self.record.changing_to is not None:
                    await self.sign_in(grant)  # first find out which password an earlier change has left
                form = grant.form_with(self.record.password or grant.password)
                self.record.changing_to = new
                await self.save()
                self.tell("started", grant=grant.name)
                outcome = await self.ask({**form, "newPassword": new})
                if outcome.answer is not None:
                    self.record.password, self.record.changing_to = new, None
                    return await self.persist(self._token_of(outcome, keep_refresh=False))
                if outcome.refused is not None:
                    self.record.changing_to = None
                    await self._save_if_possible()
                error = outcome.refused or outcome.unknown
                assert error is not None
                raise as_wrong_password(error) if isinstance(error, GrantDeadError) else error
        finally:
            if self._connection is not None:
                await self._connection.aclose()

    async def adopt(self, token: OAuthToken) -> OAuthToken:
        """Put a token that somebody brings in the place of what the store holds."""
        async with self.store.lock(self.key) as self.lock:
            await self.read()
            for grant in self.grants:  # what this one replaces is not to come back
                if isinstance(grant, RefreshGrant) and grant.refresh_token is not None:
                    self.record.take(grant.refresh_token)
            if token.refresh_token is not None:
                self.hold_seed(token.refresh_token, token.access_token, token.expires_at)
            self.record.put(token)
            await self.save()
            return token

    async def revoke(self) -> None:
        """Revoke the token at the provider and forget it, but for the fingerprint that keeps it from coming back."""
        async with self.store.lock(self.key) as self.lock:
            await self.read()
            await self.recover()
            token, refresh = self.record.token, self.record.refresh_token
            client_id = self.record.facts.get("client_id")
            if refresh is not None:
                await self.client.revoke(refresh, "refresh_token", client_id=client_id)
                self.record.bury(refresh)
            elif token is not None:
                await self.client.revoke(token.access_token, "access_token", client_id=client_id)
            self.record.token = self.record.seed = None
            self.record.parked = []
            if self.version is not None:
                await self.save()

    # -- asking, and keeping what comes

    async def ask(self, form: Mapping[str, str | Secret]) -> Outcome:
        """One answer. Asked again only if what was sent certainly never arrived, or the server was too busy to look."""
        if self._connection is None:
            self._connection = self.client.connect()
        client_id = self._client_id()
        if self.client.scope:
            form = {**form, "scope": self.client.scope}
        for attempt in range(1, _REQUESTS + 1):
            total = min(REQUEST_TIMEOUT, 0.8 * self.lock.seconds_left)
            outcome = await self.client.ask(self._connection, form, client_id=client_id, total=total)
            wait = uniform(0.1, 0.5) * attempt
            if isinstance(outcome.refused, RateLimitedError):
                wait = outcome.refused.retry_after if outcome.refused.retry_after is not None else wait
            elif not outcome.never_left:
                return outcome
            if attempt == _REQUESTS or wait > min(_PATIENCE, 0.3 * self.lock.seconds_left):
                return outcome
            log.info("%s: %s; asking again in %.1f s", self.client.asked, outcome.refused, wait)
            await anyio.sleep(wait)
            await self.lock.extend()
        raise AssertionError

    def _client_id(self) -> str:
        if client_id := self.client.client_id or self.record.facts.get("client_id"):
            return client_id
        raise InvalidInputError("client_id is neither given nor told by a token in the store")

    def _token_of(self, outcome: Outcome, *, keep_refresh: bool = True) -> OAuthToken:
        assert outcome.answer is not None
        return self._read(outcome.answer, outcome.asked_at, keep_refresh=keep_refresh)

    def _read(self, answer: Mapping[str, Any], asked_at: datetime, *, keep_refresh: bool = True) -> OAuthToken:
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
                kind = "succeeded" if is_ours else "parked"
                self.tell(kind, gained=token.fingerprint, spent=spent and spent.fingerprint)
                return token if is_ours else self.usable() or token
        assert failed is not None
        token = attrs.evolve(token, unpersisted=True)
        if token.refresh_token is not None:
            self.unsaved = attrs.evolve(self.record, token=token, spending=note)
            await self._rescue(self.unsaved)
        self.tell("unpersisted", gained=token.fingerprint, spent=spent and spent.fingerprint, error=failed)
        return token

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

    async def _save_if_possible(self) -> None:
        """Save a note whose loss does no harm beyond caution."""
        try:
            await self.save()
        except StoreError as error:
            log.warning("%s: %s", self.key, error.message)

    def _can_do_without_store(self) -> bool:
        return all(isinstance(grant, ClientCredentialsGrant) for grant in self.grants)


async def _asked(grant: AskGrant) -> Mapping[str, Any]:
    """What somebody answered. Raises: a DomoError, whatever came of it; nobody is asked again by itself."""
    try:
        answer: Any = await grant.ask()
    except DomoError:
        raise
    except Exception as error:
        failed = DomoError(f"AskGrant: `ask` failed with {type(error).__name__}: {error}")
        failed.needs_human = True
        raise failed from error
    if not isinstance(answer, Mapping) or not answer.get("access_token"):
        raise InvalidInputError("AskGrant: what `ask` gave is no mapping with an access_token")
    return wrap_secrets(answer)


def _never_came(spending: Spending) -> str:
    return f"the answer to a refresh by {spending.by} at {spending.since:%Y-%m-%d %H:%M:%S} UTC never came"


def _error_of(outcome: Outcome) -> DomoError:
    """How a grant failed that spends nothing: then what the server answered says more than that it may have acted."""
    error = outcome.refused or outcome.unknown
    assert error is not None
    return error.__cause__ if isinstance(error.__cause__, APIError) else error


def _dead(why: str, reason: str, asked: str) -> GrantDeadError:
    error = GrantDeadError(f"the refresh token is of no use: {why}", asked=asked)
    error.reason = reason
    return error
