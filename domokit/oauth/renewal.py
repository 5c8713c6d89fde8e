"""One renewal: from what the store holds to a token that lives, with each refresh token spent by one spender, once.

The order is all there is to it. Hold the store's lock → read the store again; if another has renewed the token
meanwhile, take that → prove that the store can take an answer → note durably that this refresh token is being spent
→ ask → keep the raw answer durably → read it → store the new token → only then show it to anybody.

Whatever ends a run in between, the note tells the next one. An answer that was never seen makes the outcome unknown:
as long as the access token lives, the old refresh token is not presented again, for a provider that sees one twice
revokes everything that came of it. Once the access token is dead there is nothing to lose by trying.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from random import uniform
from typing import Any

import anyio
import attrs
import httpx

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
    StoreError,
    UnpersistedError,
)
from domokit.oauth.client import REQUEST_TIMEOUT, Outcome, as_wrong_password
from domokit.oauth.grants import AskGrant, Grant, PasswordGrant, RefreshGrant
from domokit.oauth.record import Spending
from domokit.oauth.seeds import Seeds
from domokit.oauth.token import OAuthToken
from domokit.stores.base import StoreLock
from domokit.stores.locks import who

log: logging.Logger = logging.getLogger("domokit.oauth")

_REQUESTS = 3  # of one grant at most, where it is certain that none before was acted upon
_PATIENCE = 10.0  # seconds that are waited at most for a busy server, while the lock is held
_EARLY = timedelta(seconds=30)  # and a twentieth of its life: what a token must live yet to be of use


def early(token: OAuthToken) -> timedelta:
    """How long before its end a token is not handed out any more, so that none dies on its way."""
    return min(_EARLY, token.lifetime / 20)


@attrs.define(kw_only=True, eq=False)
class Renewal(Seeds):
    """One run, in an event loop of its own. The methods stand roughly in the order in which they are called.

    refused:  an access token that is not good enough, whatever its dates say: another is wanted.
    is_denied: whether that is because an API refused it, so that it counts as dead.
    insist:   whether even a password that was refused before is presented once more.
    hopeless: how an earlier run failed in a way that only a human can mend, and the version of the record then.
    outliving: a living token before whose end nothing is to be tried, if that is how it ended.
    """

    refused: Secret | None = None
    is_denied: bool = False
    insist: bool = False
    hopeless: tuple[DomoError, str | None] | None = None
    outliving: OAuthToken | None = None
    _connection: Connection | None = None

    async def run(self) -> OAuthToken:
        """A token that lives. Raises: what kept it from one."""
        try:
            return await self._run()
        except StoreError as error:
            if isinstance(error, UnpersistedError) or not self.can_do_without_store():
                raise
            if isinstance(error.__cause__, InvalidInputError):
                raise  # what was given is wrong: no key to encrypt with, the name of another file
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
            if self.refusal is None and (token := self.usable()) is not None:
                return token
            if self.hopeless is not None and self.hopeless[1] == self.version:
                raise self.hopeless[0].with_traceback(None)  # which would grow each time
            await self.store.prove_sealing(self.key)  # a key that is none is told before anybody signs in
            return await self.climb()

    # -- what is there

    def usable(self) -> OAuthToken | None:
        """The stored token, if it is worth handing out."""
        token = self.record.token
        if token is None or token.access_token == self.refused or self.new_seed() is not None:
            return None
        return token if token.remaining(self.now) > early(token) else None

    def alive(self) -> OAuthToken | None:
        """The stored token, as long as it lives: callers are served with it if no better is to be had."""
        token = self.record.token
        if token is None or (self.is_denied and token.access_token == self.refused):
            return None
        return token if token.remaining(self.now) > timedelta(0) else None

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
            return self.read_answer(await _asked(grant), self.now, keep_refresh=False)
        outcome = await self.ask(self._request(form))
        if outcome.answer is None:
            raise _error_of(outcome)
        return self._token_of(outcome, keep_refresh=False)

    # -- refresh

    async def refresh(self, grant: RefreshGrant, *, again: bool = True) -> OAuthToken | None:
        """By the refresh token; None if there is none.

        again:  whether one that comes without an access token is used at once.
        """
        if self.refusal is not None:
            raise self.refusal
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
        async with self.presenting(refresh):
            return await self._spend(grant, form, refresh, in_doubt, again=again)

    async def _spend(
        self,
        grant: RefreshGrant,
        form: Mapping[str, str | Secret],
        refresh: Secret,
        in_doubt: Spending | None,
        *,
        again: bool,
    ) -> OAuthToken | None:
        """Present a refresh token, and keep what comes of it."""
        request = self._request(form)  # whatever may be wrong on our side comes out before it is noted as spent
        await self.lock.extend()
        await self.lock.reserve()
        self.record.spending = Spending(fingerprint=refresh.fingerprint, since=self.now, by=who())
        self.record.answer = None
        await self.save()
        self.tell("started", grant=grant.name, spent=refresh.fingerprint)
        outcome = await self.ask(request)
        if outcome.answer is not None:
            return await self._received(outcome, refresh)
        if outcome.unknown is not None:
            return await self._lost(grant, outcome, outcome.unknown, refresh, again=again)
        assert outcome.refused is not None
        return await self._refused(grant, outcome.refused, refresh, in_doubt)

    async def _received(self, outcome: Outcome, refresh: Secret) -> OAuthToken:
        self.record.answer = outcome.body
        await self.save_if_possible()  # before it is read, so that nothing in reading it can lose it
        return await self.persist(self._token_of(outcome), spent=refresh)

    async def _lost(
        self, grant: RefreshGrant, outcome: Outcome, unknown: OutcomeUnknown, refresh: Secret, *, again: bool
    ) -> OAuthToken | None:
        """No answer, or one that cannot be used as a whole; perhaps a part of it can."""
        if outcome.body:
            self.record.answer = outcome.body
            await self.save_if_possible()
            note = self.record.spending
            self.take_answer(outcome.body, outcome.asked_at)
            if not self.record.is_outcome_unknown:
                self.tell("recovered", grant=grant.name, spent=refresh.fingerprint)
                self.record.spending = note  # says what is replaced, should the store fail now
                kept = self.record.token and await self.persist(self.record.token, spent=refresh)
                if kept is None:
                    self.record.spending = None
                    await self.save()
                    await self.note_replaced(refresh, self.record.refresh_token)
                if kept is not None and self.usable() is not None:
                    return kept
                if again:
                    return await self.refresh(grant, again=False)
                raise unknown
        self.tell("lost", grant=grant.name, spent=refresh.fingerprint, error=unknown)
        raise unknown

    async def _refused(
        self, grant: RefreshGrant, refused: DomoError, refresh: Secret, in_doubt: Spending | None
    ) -> OAuthToken | None:
        if not isinstance(refused, GrantDeadError):
            self.record.spending = in_doubt  # nothing was spent
            await self.save_if_possible()
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
        await self.save_if_possible()
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
        if grant.form(self.record) is None:
            return None
        wrong: InvalidCredentialsError | None = None
        for password in self._passwords(grant):
            if (known := self._known_as_wrong(password)) is not None:
                wrong = wrong or known
                continue
            self.tell("started", grant=grant.name)
            outcome = await self.ask(self._request(grant.form_with(password)))
            if outcome.answer is not None:
                self._know_as_right(grant, password)
                return await self.persist(self._token_of(outcome, keep_refresh=False))
            error = _error_of(outcome)
            if not isinstance(error, GrantDeadError):
                raise error
            self.record.refuse(password, self.now)
            await self.save_if_possible()
            wrong = as_wrong_password(error)
        assert wrong is not None
        raise wrong

    def _passwords(self, grant: PasswordGrant) -> list[Secret]:
        """Which password may be the right one, the most likely first."""
        present = self.record.password or grant.password
        if self.record.changing_to is not None:  # a change of which nobody knows whether it happened
            return list(dict.fromkeys([self.record.changing_to, present]))
        return list(dict.fromkeys([present, grant.password]))  # changed by a keeper, and perhaps by others since

    def _known_as_wrong(self, password: Secret) -> InvalidCredentialsError | None:
        when = None if self.insist else self.record.refused_at(password)
        if when is None:
            return None
        return InvalidCredentialsError(
            f"this password was refused on {when:%Y-%m-%d at %H:%M} UTC and is not presented again",
            asked=self.client.asked,
            hint="Correct it. If it is right by now, keeper.renew() presents it once more.",
        )

    def _know_as_right(self, grant: PasswordGrant, password: Secret) -> None:
        self.record.password = None if password == grant.password else password
        self.record.changing_to = None
        self.record.refused = []

    async def change_password(self, grant: PasswordGrant, new: Secret) -> OAuthToken:
        """Change the password by signing in with both; the store knows the new one before it is sent."""
        try:
            async with self.store.lock(self.key) as self.lock:
                await self.read()
                await self.lock.extend()
                await self.lock.reserve()
                if self.record.changing_to is not None:
                    await self.sign_in(grant)  # first find out which password an earlier change has left
                return await self._change(grant, new)
        finally:
            if self._connection is not None:
                await self._connection.aclose()

    async def _change(self, grant: PasswordGrant, new: Secret) -> OAuthToken:
        wrong: InvalidCredentialsError | None = None
        before = self.record.password
        choices = [password for password in self._passwords(grant) if password != new]
        if not choices or (self.record.changing_to is None and new == (before or grant.password)):
            raise InvalidInputError("change_password: the new password is the present one")
        for password in choices:
            request = self._request({**grant.form_with(password), "newPassword": new})
            self.record.password = None if password == grant.password else password
            self.record.changing_to = new
            await self.save()
            self.tell("started", grant=grant.name)
            outcome = await self.ask(request)
            if outcome.answer is not None:
                self._know_as_right(grant, new)
                return await self.persist(self._token_of(outcome, keep_refresh=False))
            if outcome.unknown is not None:
                raise outcome.unknown
            self.record.password, self.record.changing_to = before, None
            await self.save_if_possible()
            error = _error_of(outcome)
            if not isinstance(error, GrantDeadError):
                raise error
            wrong = as_wrong_password(error)
        assert wrong is not None
        raise wrong

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

    def _request(self, form: Mapping[str, str | Secret]) -> httpx.Request:
        """What to send. Raises: InvalidInputError, if it cannot be sent."""
        if self._connection is None:
            self._connection = self.client.connect()
        if self.client.scope:
            form = {**form, "scope": self.client.scope}
        return self.client.request(self._connection, form, client_id=self._client_id())

    async def ask(self, request: httpx.Request) -> Outcome:
        """One answer. Asked again only if what was sent certainly never arrived, or the server was too busy to look."""
        assert self._connection is not None
        for attempt in range(1, _REQUESTS + 1):
            total = min(REQUEST_TIMEOUT, 0.8 * self.lock.seconds_left)
            outcome = await self.client.ask(self._connection, request, total=total)
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
        return self.read_answer(outcome.answer, outcome.asked_at, keep_refresh=keep_refresh)


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
