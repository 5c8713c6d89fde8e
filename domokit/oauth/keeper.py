"""A token that is always good: `TokenKeeper` holds one, renews it in time, and shares it with everybody who asks."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from random import uniform
from types import TracebackType
from typing import Any, NoReturn, Self
from weakref import WeakSet

import anyio
import attrs

from domokit._runtime import Errand, state_directory, steady
from domokit._secrets import Password, Secret
from domokit.errors import (
    APIError,
    DomoError,
    InvalidInputError,
    StoreError,
    UnpersistedError,
    same_again,
)
from domokit.oauth.bearer import BearerAuth
from domokit.oauth.client import OAuthClient
from domokit.oauth.events import EventKind, TokenEvent
from domokit.oauth.grants import Grant, PasswordGrant
from domokit.oauth.record import TokenRecord
from domokit.oauth.renewal import Renewal, early
from domokit.oauth.token import OAuthToken
from domokit.stores.base import TokenStore
from domokit.stores.file import FileStore
from domokit.stores.memory import MemoryStore

log: logging.Logger = logging.getLogger("domokit.oauth")

_SOON = timedelta(seconds=300)  # and a fifth of its life: how long before its end a token is renewed in the background
_BACK_OFF = (0.5, 60.0)  # seconds: the first wait after a failed renewal, and the longest
_LOOK_AGAIN = 15.0  # seconds between looks into the store after a failure that somebody must mend
_UNSAVED_AGAIN = 5.0  # seconds until what could not be stored is tried again
_DENIED_AGAIN = 5.0  # seconds in which a renewed token that is denied, too, is not replaced once more

_keepers: "WeakSet[TokenKeeper]" = WeakSet()


@attrs.frozen
class _Held:
    """A token and, on the steady clock, when to renew it and when not to hand it out any more."""

    token: OAuthToken
    soft: float
    hard: float


@attrs.frozen(kw_only=True)
class KeeperStatus:
    """What a store holds about a credential; no secret among it.

    state:  'empty', 'fresh', 'expired', 'in doubt' (a refresh whose answer never came) or 'dead' (its refresh token
            was refused).
    """

    key: str
    name: str
    state: str
    fingerprint: str | None = None
    obtained_at: datetime | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    scope: str | None = None


class TokenKeeper:
    """Gives a token that lives, from a ladder of grants: the stored token, then each grant in turn.

        keeper = TokenKeeper(
            OAuthClient("https://login.example.com/token", "my client", secret),
            grants=[RefreshGrant(), PasswordGrant("ann", password)],
            store=FileStore("~/.config/acme/tokens.json"),
        )
        token = await keeper.get_token()
        async with httpx.AsyncClient(auth=keeper.auth_for("https://api.example.com")) as client: ...

    grants:    in the order in which they are tried. What is not in it is not done: without a PasswordGrant nobody
               signs in by password.
    store:     where the token lives; by default in this process only. Tasks, threads, processes and hosts that share
               a store spend each refresh token once; the others take over what the one has got.
    user:      whose token it is, where neither the client nor a PasswordGrant says; two users' never mix.
    name:      what events and logs call it.
    on_event:  called with each `TokenEvent`, in the thread that renews; it must be quick and is not awaited.
    rescue:    a second place for a new token if the store fails just after it was received; by default a file in
               the user's state directory, sealed as the store's own.

    A renewal runs in a thread of its own, so whoever waits for it may be cancelled at any time, and it is finished
    and stored all the same. A token is renewed in the background when a fifth of its life is left (at most five
    minutes), while it is still handed out; in its last seconds callers wait for the new one. It may be used from many
    tasks, threads and event loops, and after a fork; it cannot be pickled: share the store instead.
    """

    def __init__(
        self,
        client: OAuthClient,
        *,
        grants: Sequence[Grant],
        store: TokenStore | None = None,
        user: str | None = None,
        name: str | None = None,
        on_event: Callable[[TokenEvent], object] | None = None,
        rescue: TokenStore | None = None,
    ) -> None:
        if not grants:
            raise InvalidInputError("grants: a keeper needs at least one way to a token")
        self.client = client
        self.grants = tuple(grants)
        self.store = store if store is not None else MemoryStore()
        self.user = user or next((grant.username for grant in grants if isinstance(grant, PasswordGrant)), "")
        self.key: str = client.key(self.user)
        self.name = name or f"{self.user or client.client_id or 'token'} at {client.asked.partition(' ')[2]}"
        self.counters: Counter[str] = Counter()
        self._on_event = on_event
        self._rescue = rescue
        self._held: _Held | None = None
        self._flight: Errand[OAuthToken] | None = None
        self._unsaved: TokenRecord | None = None
        self._failure: DomoError | None = None
        self._hopeless: tuple[DomoError, str | None] | None = None  # and the version of the record that it is about
        self._failures = 0
        self._not_before = 0.0  # on the steady clock
        self._denied: tuple[Secret, float] | None = None
        self._guard = threading.Lock()  # held for moments only, never while anything is awaited
        _keepers.add(self)

    # -- for everyone

    async def get_token(self) -> OAuthToken:
        """A token that lives; renewed first, if need be.

        Raises: what kept it from one, after its last living token has died: GrantDeadError, RefreshTokenLost,
        InvalidCredentialsError, SessionQuotaError, OutcomeUnknown, ConnectionFailedError, RateLimitedError,
        StoreError and others. After a failure, callers get the same error until it makes sense to try again.
        """
        return self.ready() or await self._renewed(None)

    def ready(self) -> OAuthToken | None:
        """The token at hand, if it needs nobody to wait; renews it in the background when its end is near."""
        held = self._held
        if held is None:
            return None
        now = steady()
        if now < held.soft:
            return held.token
        if now < held.hard:
            if now >= self._not_before:
                self._set_off(held.token.access_token)
            return held.token
        return None

    async def renew(self, refused: OAuthToken | None = None) -> OAuthToken:
        """Another token than the one at hand (or than `refused`), now; also where an earlier failure says to wait.

        If another process has renewed it already, its token comes back, without a request.
        """
        held = self._held
        self._failure = self._hopeless = None
        self._not_before = 0.0
        return await self._renewed(refused.access_token if refused else held and held.token.access_token)

    async def look(self) -> OAuthToken | None:
        """The token at hand or, if another has stored a newer one, that; None if neither is worth handing out.

        Nobody but the store is asked. Raises: StoreError.
        """
        run = self._run(None)
        await run.read()
        token, held = run.usable(), self._held
        if token is not None and (held is None or token.obtained_at > held.token.obtained_at):
            self._tell("adopted", gained=token.fingerprint)
            self._hold(token)
        return self.ready()

    @property
    def due_in(self) -> float:
        """Seconds until the token at hand is to be renewed; 0 or less if that is now, or if there is none."""
        held = self._held
        return held.soft - steady() if held is not None else 0.0

    async def replace(self, refused: OAuthToken) -> OAuthToken:
        """What to use in the place of a token that an API has refused; `refused` itself, if nothing better can be had.

        All who were refused with it share one renewal.
        """
        return refused if self._is_denied(refused) else await self._renewed(refused.access_token)

    def deny(self, token: OAuthToken) -> None:
        """Note that an API refused even a token that had just been renewed: another would fare no better for now."""
        self._denied = token.access_token, steady() + _DENIED_AGAIN

    def _is_denied(self, token: OAuthToken) -> bool:
        denied = self._denied
        return denied is not None and denied[0] == token.access_token and steady() < denied[1]

    def auth_for(self, *origins: str) -> BearerAuth:
        """For any httpx client, synchronous or not: signs requests to these origins ('https://api.example.com').

        A 401 renews the token once, for all who met it, and the request is sent once more. A request to another
        origin raises InvalidInputError: the token stays at home.
        """
        return BearerAuth(self, origins)

    async def adopt(self, token: OAuthToken) -> None:
        """Go on with a token that somebody brings, such as `read_token_file(path)`, instead of what the store holds."""
        await self._do(lambda: self._adopted(token))

    async def change_password(self, new: str | Secret) -> OAuthToken:
        """Change the password of the PasswordGrant's user, at the provider and in the store; sign in with the new one.

        The store has the new password from then on, and every keeper that shares it uses that. Killed in between, a
        keeper finds out at the next sign-in which of both holds.
        Raises: InvalidCredentialsError if the present one is wrong; GrantRefusedError if the new one is not accepted;
        OutcomeUnknown.
        """
        new = Password(new)
        grant = next((one for one in self.grants if isinstance(one, PasswordGrant)), None)
        if grant is None or not new:
            raise InvalidInputError("change_password needs a PasswordGrant and a new password")
        return await self._do(lambda: self._changed(grant, new))

    async def status(self) -> KeeperStatus:
        """What the store holds, without asking anybody else. Raises: StoreError."""
        stored = await self.store.load(self.key)
        record = TokenRecord() if stored is None else TokenRecord.decoded(stored.text, self.key)
        token, refresh = record.token, record.refresh_token
        if token is None and refresh is None:
            return KeeperStatus(key=self.key, name=self.name, state="empty")
        state = "fresh" if token and token.remaining(self.client.options.clock()) > timedelta(0) else "expired"
        if record.is_outcome_unknown:
            state = "in doubt"
        elif refresh is not None and refresh.fingerprint in record.dead:
            state = "dead"
        return KeeperStatus(
            key=self.key,
            name=self.name,
            state=state,
            fingerprint=token and token.fingerprint,
            obtained_at=token and token.obtained_at,
            expires_at=token and token.expires_at,
            refresh_expires_at=token and token.refresh_expires_at,
            scope=token and token.scope,
        )

    async def revoke(self) -> None:
        """Revoke the token at the provider (the client needs a revocation_url) and forget it."""
        stored = await self.store.load(self.key)
        token = TokenRecord.decoded(stored.text, self.key).token if stored else None
        if token is not None:
            which = token.refresh_token or token.access_token
            await self.client.revoke(which, "refresh_token" if token.refresh_token else "access_token")
            await self.store.delete(self.key)
        self._held = None

    async def aclose(self) -> None:
        """Wait for a renewal under way, and store what could not be stored before.

        The keeper can be used again afterwards. The store is not closed: others may share it.
        Raises: UnpersistedError, as long as a token is in no store; call it again when that is mended.
        """
        with anyio.CancelScope(shield=True):
            if (flight := self._flying()) is not None:
                await flight.wait()
            if self._unsaved is not None:
                self._not_before = 0.0
                flight = self._set_off(None)
                await flight.wait()
        if (unsaved := self._unsaved) is not None and unsaved.token is not None:
            error = UnpersistedError(
                f"{self.name}: the token {unsaved.token.fingerprint} could not be stored"
                + (f": {self._failure.message}" if self._failure else "")
            )
            error.attached = unsaved.token
            raise error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        held = self._held
        return f"TokenKeeper({self.name!r}, {held.token.fingerprint if held else 'no token yet'})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a TokenKeeper is not pickled; make one with the same store on the other side")

    # -- renewals: one at a time, in a thread of its own

    async def _renewed(self, refused: Secret | None) -> OAuthToken:
        while True:
            if (token := self._settled(refused)) is not None:
                return token
            flight = self._set_off(refused)
            await flight.wait()
            if (token := self._landed(flight, refused)) is not None:
                return token

    def get_token_blocking(self) -> OAuthToken:
        """`get_token` for code without an event loop."""
        return self.ready() or self._renewed_blocking(None)

    def replace_blocking(self, refused: OAuthToken) -> OAuthToken:
        """`replace` for code without an event loop."""
        return refused if self._is_denied(refused) else self._renewed_blocking(refused.access_token)

    def _renewed_blocking(self, refused: Secret | None) -> OAuthToken:
        while True:
            if (token := self._settled(refused)) is not None:
                return token
            flight = self._set_off(refused)
            flight.wait_blocking()
            if (token := self._landed(flight, refused)) is not None:
                return token

    def _settled(self, refused: Secret | None) -> OAuthToken | None:
        """What needs no renewal: a token that another caller has got meanwhile, or a failure that still stands."""
        held, now = self._held, steady()
        if held is not None and now < held.hard and held.token.access_token != refused:
            return held.token
        if self._failure is not None and now < self._not_before:
            raise same_again(self._failure)
        return None

    def _landed(self, flight: Errand[OAuthToken], refused: Secret | None) -> OAuthToken | None:
        if isinstance(flight.error, DomoError):
            raise same_again(flight.error)
        if flight.error is not None:
            raise flight.error
        token = flight.result
        # One that was under way for another reason may have ended with the very token that was refused here.
        return token if token is not None and (token.access_token != refused or flight.reason == refused) else None

    def _set_off(self, refused: Secret | None) -> Errand[OAuthToken]:
        with self._guard:
            if (flight := self._flying()) is None:
                flight = self._flight = self._errand(lambda: self._renewal(refused), refused)
                flight.start()
            return flight

    def _flying(self) -> Errand[OAuthToken] | None:
        flight = self._flight
        return None if flight is None or flight.done else flight

    def _errand(
        self, work: Callable[[], Coroutine[Any, Any, OAuthToken]], reason: Secret | None = None
    ) -> Errand[OAuthToken]:
        return Errand(work, f"domokit-keeper-{self.key[:8]}", reason)

    async def _do(self, work: Callable[[], Coroutine[Any, Any, OAuthToken]]) -> OAuthToken:
        """Something that a caller asked for and that, once begun, is finished whatever becomes of the caller."""
        errand = self._errand(work)
        errand.start()
        await errand.wait()
        if isinstance(errand.error, DomoError):
            raise same_again(errand.error)
        if errand.error is not None:
            raise errand.error
        assert errand.result is not None
        return errand.result

    # -- what runs in that thread

    async def _renewal(self, refused: Secret | None) -> OAuthToken:
        run = self._run(refused)
        try:
            token = await run.run()
        except DomoError as error:
            self._unsaved = run.unsaved
            self._fail(error, run.version)
            raise
        self._unsaved = run.unsaved
        self._hold(token)
        return token

    async def _adopted(self, token: OAuthToken) -> OAuthToken:
        self._hold(await self._run(None).adopt(token))
        return token

    async def _changed(self, grant: PasswordGrant, new: Secret) -> OAuthToken:
        run = self._run(None)
        try:
            token = await run.change_password(grant, new)
        except DomoError as error:
            self._tell("failed", error=error)
            raise
        self._unsaved = run.unsaved
        self._hold(token)
        return token

    def _run(self, refused: Secret | None) -> Renewal:
        return Renewal(
            client=self.client,
            grants=self.grants,
            store=self.store,
            rescue=self._rescue_store(),
            key=self.key,
            tell=self._tell,
            refused=refused,
            unsaved=self._unsaved,
            hopeless=self._hopeless,
        )

    def _rescue_store(self) -> TokenStore | None:
        if self._rescue is None and not isinstance(self.store, MemoryStore):
            path = state_directory() / "rescue" / f"{self.key}.json"
            self._rescue = FileStore(path, encryption=getattr(self.store, "encryption", None))
        return self._rescue

    def _hold(self, token: OAuthToken) -> None:
        before, now = self._held, steady()
        remaining = token.remaining(self.client.options.clock()).total_seconds()
        if before is not None and before.token.access_token == token.access_token:
            soft = hard = now + remaining  # nothing better was to be had: work on with it to its end
        else:
            hard = now + remaining - early(token).total_seconds()
            soft = now + remaining - min(_SOON, token.lifetime / 5).total_seconds() * uniform(0.8, 1.2)
        if self._unsaved is not None:
            soft = min(soft, now + _UNSAVED_AGAIN)
        self._held = _Held(token, min(soft, hard), hard)
        self._failure = self._hopeless = None
        self._failures, self._not_before = 0, 0.0

    def _fail(self, error: DomoError, version: str | None) -> None:
        """Remember a failure, so that callers share it and the provider is left in peace for a while.

        What a human must mend is not tried again by itself; only the store is looked at, in case somebody has.
        """
        if self._hopeless is not None and error is self._hopeless[0]:
            self._not_before = steady() + _LOOK_AGAIN
            return
        self._hopeless = (error, version) if error.needs_human and not isinstance(error, StoreError) else None
        self._failures += 1
        first, longest = _BACK_OFF
        wait = uniform(0.5, 1.0) * min(longest, first * 2 ** (self._failures - 1))
        if isinstance(error, APIError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if error.needs_human:
            wait = max(wait, _LOOK_AGAIN)
        self._failure, self._not_before = error, steady() + wait
        self._tell("failed", error=error)

    def _tell(self, kind: EventKind, **details: Any) -> None:
        event = TokenEvent(kind=kind, key=self.key, name=self.name, at=self.client.options.clock(), **details)
        self.counters[kind] += 1
        log.log(_LEVELS.get(kind, logging.INFO), "%s", event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:  # an onlooker's fault must not cost a token
                log.exception("on_event failed")

    def _after_fork(self) -> None:
        """In a child: its parent's threads are not here, and what they were doing is not this process's affair."""
        self._guard = threading.Lock()
        self._flight = None
        self._unsaved = None


_LEVELS: Mapping[str, int] = {
    "failed": logging.WARNING,
    "lost": logging.WARNING,
    "unpersisted": logging.ERROR,
    "started": logging.DEBUG,
    "adopted": logging.DEBUG,
}


def _after_fork() -> None:
    for keeper in list(_keepers):
        keeper._after_fork()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
