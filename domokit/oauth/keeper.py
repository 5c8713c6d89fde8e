"""A token that is always good: `TokenKeeper` holds one, renews it in time, and shares it with everybody who asks."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from random import uniform
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, cast
from weakref import WeakSet

import anyio
import attrs
import httpx

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
from domokit.oauth.grants import ClientCredentialsGrant, Grant, PasswordGrant, RefreshGrant
from domokit.oauth.ledger import Ledger
from domokit.oauth.record import TokenRecord
from domokit.oauth.renewal import Renewal, early
from domokit.oauth.status import KeeperStatus, status_of
from domokit.oauth.token import OAuthToken
from domokit.stores.base import TokenStore
from domokit.stores.file import FileStore
from domokit.stores.guarded import Guarded
from domokit.stores.memory import MemoryStore

T = TypeVar("T")
log: logging.Logger = logging.getLogger("domokit.oauth")

_SOON = timedelta(seconds=300)  # and a fifth of its life: how long before its end a token is renewed in the background
_BACK_OFF = (0.5, 60.0)  # seconds: the first wait after a failed renewal, and the longest
_LOOK_AGAIN = 15.0  # seconds between looks into the store after a failure that somebody must mend
_UNSAVED_AGAIN = 5.0  # seconds until what could not be stored is tried again
_DENIED_AGAIN = 5.0  # seconds in which a token that came for a denied one is not replaced if it is denied, too
_ASIDE = ("username", "takeExclusiveSignOnControl")  # form fields that do not tell what a token is for

_keepers: "WeakSet[TokenKeeper]" = WeakSet()


@attrs.frozen
class _Held:
    """A token and, on the steady clock, when to renew it and when not to hand it out any more."""

    token: OAuthToken
    soft: float
    hard: float


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

    A refresh token that was handed over in a grant and has been replaced since is presented no more, even if the
    store has lost its successor: that is noted in the user's state directory as well.

    A renewal runs in a thread of its own, so whoever waits for it may be cancelled at any time, and it is finished
    and stored all the same. A token is renewed in the background when a fifth of its life is left (at most five
    minutes), while it is still handed out; in its last seconds callers wait for the new one. It may be used from many
    tasks, threads and event loops, and after a fork; it cannot be pickled: share the store instead.
    """

    name: str = ""
    _held: _Held | None = None

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
        for grant in grants:
            if not isinstance(grant, Grant):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidInputError(f"grants: {type(grant).__name__} is no grant")
        self.client = client
        self.grants: tuple[Grant, ...] = tuple(grants)
        self.store: TokenStore = store if store is not None else MemoryStore()
        self.user: str = user or next((grant.username for grant in grants if isinstance(grant, PasswordGrant)), "")
        _check_ladder(client, self.grants)
        named = [item for grant in grants for item in grant.params.items() if item[0] not in _ASIDE]
        self.key: str = client.key(self.user, [(name, value) for name, value in named if isinstance(value, str)])
        self.name = name or f"{self.user or client.client_id or 'token'} at {client.asked.partition(' ')[2]}"
        self.counters: Counter[str] = Counter()
        self._on_event = on_event
        self._rescue = rescue
        self._flight: Errand[OAuthToken] | None = None
        self._errands: list[Errand[Any]] = []  # whatever else is under way
        self._unsaved: TokenRecord | None = None
        self._failure: Exception | None = None
        self._hopeless: tuple[DomoError, str | None] | None = None  # and the version of the record that it is about
        self._failures = 0
        self._insists = False  # what the next renewal is to do
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
                self._renew_in_background(held)
            return held.token
        return None

    async def renew(self, refused: OAuthToken | None = None, *, insist: bool = True) -> OAuthToken:
        """Another token than the one at hand (or than `refused`, by an API), now; also where an earlier failure says
        to wait.

        If another process has renewed it already, its token comes back, without a request.

        insist:  whether somebody wants it who knows better, so that even a password that was refused as wrong is
                 presented once more. Whatever calls this again and again says False, or the account gets locked.
        """
        held = self._held
        self._failure = self._hopeless = None
        self._not_before = 0.0
        self._insists = insist
        if refused is not None:
            return await self._renewed(refused.access_token, is_denied=True)
        return await self._renewed(held and held.token.access_token)

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
        if self._is_denied(refused):
            return refused
        return await self._renewed(refused.access_token, is_denied=True)

    def deny(self, token: OAuthToken) -> None:
        """Note that an API refuses even a token that has just been renewed: another would fare no better for now.

        Each that comes for a denied one counts as denied till it is accepted: an API that refuses all of them must not
        use them up one after the other.
        """
        self._denied = token.access_token, steady() + _DENIED_AGAIN

    def accept(self, token: OAuthToken) -> None:
        """Note that an API has taken it."""
        if (denied := self._denied) is not None and denied[0] == token.access_token:
            self._denied = None

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
        if not isinstance(token, OAuthToken):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError(
                f"adopt: {type(token).__name__} is no OAuthToken", hint="read_token_file(path) reads one."
            )
        await self._do(lambda: self._adopted(token))

    async def change_password(self, new: str | Secret) -> OAuthToken:
        """Change the password of the PasswordGrant's user, at the provider and in the store; sign in with the new one.

        The store has the new password from then on, and every keeper that shares it uses that. Killed in between, a
        keeper finds out at the next sign-in which of both holds.
        Raises: InvalidInputError if it is the present one; InvalidCredentialsError if that one is wrong;
        GrantRefusedError if the new one is not accepted; OutcomeUnknown.
        """
        new = Password(new)
        grant = next((one for one in self.grants if isinstance(one, PasswordGrant)), None)
        if grant is None or not new.reveal().strip():
            raise InvalidInputError("change_password needs a PasswordGrant and a new password")
        return await self._do(lambda: self._changed(grant, new))

    async def status(self) -> KeeperStatus:
        """What the store holds, without asking anybody else. Raises: StoreError."""
        stored = await Guarded(self.store).load(self.key)
        record = TokenRecord() if stored is None else TokenRecord.decoded(stored.text, self.key)
        return status_of(record, key=self.key, name=self.name, now=self.client.now())

    async def revoke(self) -> None:
        """Revoke the token at the provider (the client needs a revocation_url) and forget it."""
        await self._do(self._revoked)

    async def aclose(self) -> None:
        """Wait for a renewal under way, and store what could not be stored before.

        The keeper can be used again afterwards. The store is not closed: others may share it.
        Raises: UnpersistedError, as long as a token is in no store; call it again when that is mended.
        """
        with anyio.CancelScope(shield=True):
            for errand in (*self._errands, self._flying()):
                if errand is not None:
                    await errand.wait()
            if self._unsaved is not None:
                with self._guard:
                    flight = self._flying() or self._set_off(None)
                await flight.wait()
        if (unsaved := self._unsaved) is not None and unsaved.token is not None:
            error = UnpersistedError(
                f"{self.name}: the token {unsaved.token.fingerprint} could not be stored"
                + (f": {self._failure.message}" if isinstance(self._failure, DomoError) else "")
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

    async def _renewed(self, refused: Secret | None, *, is_denied: bool = False) -> OAuthToken:
        while True:
            flight = self._next(refused, is_denied)
            if isinstance(flight, OAuthToken):
                return flight
            await flight.wait()
            if (token := self._landed(flight, refused)) is not None:
                return token

    def get_token_blocking(self) -> OAuthToken:
        """`get_token` for code without an event loop."""
        return self.ready() or self._renewed_blocking(None)

    def replace_blocking(self, refused: OAuthToken) -> OAuthToken:
        """`replace` for code without an event loop."""
        if self._is_denied(refused):
            return refused
        return self._renewed_blocking(refused.access_token, is_denied=True)

    def _renewed_blocking(self, refused: Secret | None, *, is_denied: bool = False) -> OAuthToken:
        while True:
            flight = self._next(refused, is_denied)
            if isinstance(flight, OAuthToken):
                return flight
            flight.wait_blocking()
            if (token := self._landed(flight, refused)) is not None:
                return token

    def _next(self, refused: Secret | None, is_denied: bool) -> OAuthToken | Errand[OAuthToken]:
        """A token that needs no renewal, or the renewal to wait for. Raises: a failure that still stands."""
        with self._guard:
            flight = self._flying()  # first: what comes of one is there before it counts as ended
            if (token := self._living(refused)) is not None:
                return token
            if flight is None and (failure := self._failure) is not None and steady() < self._not_before:
                raise _again(failure)
            return flight or self._set_off(refused, is_denied)

    def _living(self, refused: Secret | None) -> OAuthToken | None:
        held = self._held
        if held is None or steady() >= held.hard or held.token.access_token == refused:
            return None
        return held.token

    def _landed(self, flight: Errand[OAuthToken], refused: Secret | None) -> OAuthToken | None:
        if flight.error is not None:
            if (token := self._living(refused)) is not None:
                return token
            if self._failure is None and self._living(None) is None:
                return None  # its end was to be waited for, and has come
            raise _again(flight.error)
        token = flight.result
        # One that was under way for another reason may have ended with the very token that was refused here.
        return token if token is not None and (token.access_token != refused or flight.reason == refused) else None

    def _renew_in_background(self, held: _Held) -> None:
        with self._guard:
            if self._flying() is None and self._held is held and steady() >= self._not_before:
                with suppress(RuntimeError):  # no thread to be had: there will be later
                    self._set_off(None if self._unsaved is not None else held.token.access_token)

    def _set_off(self, refused: Secret | None, is_denied: bool = False) -> Errand[OAuthToken]:
        """Start a renewal; the caller holds the guard."""
        flight = self._errand(lambda: self._renewal(refused, is_denied), refused)
        flight.start()
        self._flight = flight
        return flight

    def _flying(self) -> Errand[OAuthToken] | None:
        flight = self._flight
        return None if flight is None or flight.done else flight

    def _errand(self, work: Callable[[], Coroutine[Any, Any, T]], reason: Secret | None = None) -> Errand[T]:
        return Errand(work, f"domokit-keeper-{self.key[:8]}", reason)

    async def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Something that a caller asked for and that, once begun, is finished whatever becomes of the caller."""
        errand = self._errand(work)
        errand.start()
        self._errands = [errand, *(one for one in self._errands if not one.done)]
        await errand.wait()
        if errand.error is not None:
            raise _again(errand.error)
        return cast("T", errand.result)

    # -- what runs in that thread

    async def _renewal(self, refused: Secret | None, is_denied: bool) -> OAuthToken:
        run = self._run(refused, is_denied)
        run.insist, self._insists = self._insists, False
        try:
            token = await run.run()
        except BaseException as error:
            self._unsaved = run.unsaved
            self._fail(error if isinstance(error, Exception) else _again(error), run.version)
            self._hold_on(run)
            raise
        self._unsaved = run.unsaved
        if is_denied:
            self.deny(token)
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

    async def _revoked(self) -> None:
        await self._run(None).revoke()
        self._held = self._unsaved = None

    def _run(self, refused: Secret | None, is_denied: bool = False) -> Renewal:
        return Renewal(
            client=self.client,
            grants=self.grants,
            store=Guarded(self.store),
            place=_described(self.store),
            rescue=self._rescue_store(),
            ledger=None if _is_played(self.client) else Ledger(),
            key=self.key,
            tell=self._tell,
            refused=refused,
            is_denied=is_denied,
            unsaved=self._unsaved,
            hopeless=self._hopeless,
            held=self._held.token if self._held is not None else None,
        )

    def _rescue_store(self) -> Guarded | None:
        if self._rescue is None and not isinstance(self.store, MemoryStore):
            with suppress(RuntimeError):  # a user without a home has no second place
                path = state_directory() / "rescue" / f"{self.key}.json"
                self._rescue = FileStore(path, encryption=getattr(self.store, "encryption", None))
        return None if self._rescue is None else Guarded(self._rescue)

    def _hold(self, token: OAuthToken) -> None:
        end = steady() + token.remaining(self.client.now()).total_seconds()
        hard = end - early(token).total_seconds()
        soft = end - min(_SOON, token.lifetime / 5).total_seconds() * uniform(0.8, 1.2)
        if self._unsaved is not None:
            soft = min(soft, steady() + _UNSAVED_AGAIN)
        self._held = _Held(token, min(soft, hard), hard)
        self._failure = self._hopeless = None
        self._failures, self._not_before = 0, 0.0

    def _hold_on(self, run: Renewal) -> None:
        """Nothing better is to be had: go on with the token that is there, to its very end."""
        held, token = self._held, run.outliving or run.alive()
        if token is None or (
            held is not None and steady() < held.hard and held.token.access_token != token.access_token
        ):
            return
        end = steady() + token.remaining(self.client.now()).total_seconds()
        self._held = _Held(token, steady() if run.outliving is None else end, end)
        if run.outliving is not None:
            self._failure, self._not_before = None, 0.0

    def _fail(self, error: Exception, version: str | None) -> None:
        """Remember a failure, so that callers share it and the provider is left in peace for a while.

        What a human must mend is not tried again by itself; only the store is looked at, in case somebody has.
        """
        if self._hopeless is not None and error is self._hopeless[0]:
            self._not_before = steady() + _LOOK_AGAIN
            return
        told = error if isinstance(error, DomoError) else DomoError(f"{type(error).__name__}: {error}")
        self._hopeless = (told, version) if told.needs_human and not isinstance(told, StoreError) else None
        self._failures += 1
        first, longest = _BACK_OFF
        wait = uniform(0.5, 1.0) * min(longest, first * 2 ** (self._failures - 1))
        if isinstance(error, APIError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if told.needs_human:
            wait = max(wait, _LOOK_AGAIN)
        self._failure, self._not_before = error, steady() + wait
        self._tell("failed", error=told)

    def _tell(self, kind: EventKind, **details: Any) -> None:
        event = TokenEvent(kind=kind, key=self.key, name=self.name, at=self.client.options.clock(), **details)
        self.counters[kind] += 1
        log.log(_LEVELS.get(kind, logging.INFO), "%s", event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except (Exception, SystemExit):  # an onlooker's fault must not cost a token
                log.exception("on_event failed")

    def _after_fork(self) -> None:
        """In a child: its parent's threads are not here, and what they were doing is not this process's affair."""
        self._guard = threading.Lock()
        self._flight = None
        self._errands = []
        self._unsaved = None


def _check_ladder(client: OAuthClient, grants: Sequence[Grant]) -> None:
    """Raises: InvalidInputError for grants that cannot be meant together."""
    if client.client_auth == "none" and any(isinstance(grant, ClientCredentialsGrant) for grant in grants):
        raise InvalidInputError("grants: a public client (client_auth='none') has no credentials to present by itself")
    users = {grant.username for grant in grants if isinstance(grant, PasswordGrant)}
    if len(users) > 1:
        raise InvalidInputError("grants: two PasswordGrants of different users; give each user a keeper")
    for kind in (RefreshGrant, PasswordGrant, ClientCredentialsGrant):
        if sum(isinstance(grant, kind) for grant in grants) > 1:
            raise InvalidInputError(f"grants: {kind.__name__} is there twice")


def _described(store: TokenStore) -> str:
    """A store as people know it; of one that is not ours only the kind, for its repr may show anything."""
    is_ours = getattr(type(store).__repr__, "__module__", "").startswith("domokit.")
    return repr(store) if is_ours else type(store).__name__


def _is_played(client: OAuthClient) -> bool:
    """Whether no real provider is asked; then what it replaces is forgotten with it."""
    transport = client.options.transport
    return isinstance(transport, httpx.MockTransport) or (
        transport is not None and not isinstance(transport, httpx.AsyncBaseTransport)
    )


def _again(error: BaseException) -> Exception:
    """An error of a renewal, for one of those who wait; no other thread's end or cancellation becomes theirs."""
    if isinstance(error, DomoError):
        return same_again(error)
    return error if isinstance(error, Exception) else DomoError(f"the renewal ended with {type(error).__name__}")


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
