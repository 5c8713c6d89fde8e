"""What a keeper looks after: one charge for each credential, whatever its kind."""

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from random import uniform
from typing import Any

import anyio

from domokit._secrets import Secret
from domokit.auth import Auth, ClientOptions
from domokit.entities.users import DomoUser
from domokit.errors import (
    DomoError,
    InvalidInputError,
    RequestTimeoutError,
    StoreError,
    UnpersistedError,
    same_again,
)
from domokit.oauth import (
    ClientCredentialsGrant,
    Grant,
    OAuthClient,
    OAuthToken,
    PasswordGrant,
    RefreshGrant,
    TokenEvent,
    TokenKeeper,
    providers,
)
from domokit.stores import TokenStore
from domokit.workflows.keeping.places import Places, plain
from domokit.workflows.keeping.settings import AccessTokenSettings, OAuthSettings, Publication
from domokit.workflows.keeping.status import CredentialStatus
from domokit.workflows.publication import find_account, publish_token
from domokit.workflows.rotation import rotate_access_token

log: logging.Logger = logging.getLogger("domokit.keep")

_PUBLISH_SECONDS = 60.0  # for one publication: it must not keep the next renewal waiting


class Charge(ABC):
    """One credential that is looked after, by one task."""

    def __init__(self, name: str, status: CredentialStatus, places: Places) -> None:
        self.name = name
        self.status = status
        self.places = places

    @property
    @abstractmethod
    def group(self) -> Hashable:
        """What it depends on: those with the same group are well or ill together."""

    @property
    def due_in(self) -> float:
        """Seconds until it is to be renewed, as far as is known."""
        return math.inf

    @abstractmethod
    async def look(self, ahead: float = 0.0) -> float:
        """See that it is fresh, renewing it if its time has come, or comes within `ahead` seconds.

        Returns: the seconds until the next look. Raises: DomoError.
        """

    @abstractmethod
    async def check(self) -> None:
        """Prove that all it needs is there, changing nothing. Raises: DomoError."""

    @abstractmethod
    def begin_anew(self) -> None:
        """Forget what was hopeless, or looked up before: somebody may have mended it."""

    async def aclose(self) -> None:
        """Finish what is under way. Raises: DomoError, if a token was left in memory only."""
        self.places.give_up(self.name)


class OAuthCharge(Charge):
    """A token of a provider, kept by a `TokenKeeper` and published into accounts."""

    def __init__(self, name: str, settings: OAuthSettings, status: CredentialStatus, places: Places) -> None:
        super().__init__(name, status, places)
        self.settings = settings
        self.keeper: TokenKeeper | None = None
        self._secrets: Mapping[str, Secret] = {}  # by which it was made
        self._hopeless: DomoError | None = None
        self._lost: DomoError | None = None  # an answer, in a renewal that nobody may have waited for
        self._doubt: tuple[DomoError, str] | None = None  # and the fingerprint of the token that goes on meanwhile
        self._insists = False  # whether even a password that was refused is to be presented once more
        self._is_suspect = False  # whether the secrets are to be compared with what is there now
        self._published: dict[Publication, str] = {}  # fingerprints

    @property
    def group(self) -> Hashable:
        settings = self.settings
        instances = frozenset(publication.instance for publication in settings.publish)
        return settings.store, settings.kind, settings.token_url, settings.issuer, instances

    @property
    def due_in(self) -> float:
        return math.inf if self.keeper is None else self.keeper.due_in

    async def look(self, ahead: float = 0.0) -> float:
        keeper = await self._open()
        token = await keeper.look()
        if token is None or keeper.due_in <= ahead:
            token = await self._renewed(keeper, token)
        token = keeper.ready() or token
        await self._publish(keeper, token)
        if self._lost is not None:
            self._doubt, self._lost = (self._lost, token.fingerprint), None
        if self._doubt is not None and self._doubt[1] == token.fingerprint:
            raise same_again(self._doubt[0])
        self._hopeless = self._doubt = None
        return min(_jittered(self.settings.check_every), keeper.due_in)

    async def check(self) -> None:
        keeper = await self._open()
        if (found := await keeper.status()).state == "dead":
            raise InvalidInputError("the refresh token was refused and is presented no more; a new one is needed")
        if found.state == "empty" and not self._can_begin(keeper):
            raise InvalidInputError("refresh_token is missing: the store holds none either")
        for publication in self.settings.publish:
            await find_account(await self.places.auth(publication.instance), publication.account, publication.provider)

    def _can_begin(self, keeper: TokenKeeper) -> bool:
        return any(not isinstance(grant, RefreshGrant) or grant.refresh_token for grant in keeper.grants)

    def begin_anew(self) -> None:
        self._hopeless, self._is_suspect, self._insists = None, True, True

    async def aclose(self) -> None:
        await super().aclose()
        if self.keeper is not None:
            await self.keeper.aclose()

    async def _renewed(self, keeper: TokenKeeper, token: OAuthToken | None) -> OAuthToken:
        """Another token than the one at hand.

        What only a human can mend is not tried again: many a provider locks users whose password is wrong too often.
        """
        if self._hopeless is None:
            try:
                insist, self._insists = self._insists, False
                return await keeper.renew(insist=insist)
            except DomoError as error:
                if error.needs_human and not isinstance(error, StoreError):
                    self._hopeless, self._is_suspect = error, True
                raise
        if token is not None:
            raise same_again(self._hopeless)
        return await keeper.get_token()  # presents nothing, unless the store has something new

    async def _open(self) -> TokenKeeper:
        """The keeper; another one, if the store or a secret is another by now."""
        store = await self.places.store(self.settings.store)
        before = self.keeper
        if before is not None and before.store is store and not self._is_suspect:
            return before
        secrets = await self.places.secrets(self.settings.references)
        self._is_suspect = self._hopeless is not None
        if before is not None and before.store is store and secrets == self._secrets:
            return before
        keeper = _keeper(
            self.settings, secrets, store, name=self.name, on_event=self._count, options=self.places.options
        )
        self.places.claim(self.name, repr(store), keeper.key)
        if before is not None:
            try:
                await before.aclose()
            except UnpersistedError as error:
                await keeper.adopt(error.attached)
        self.keeper, self._secrets = keeper, secrets
        self._hopeless, self._is_suspect = None, False
        return keeper

    def _count(self, event: TokenEvent) -> None:
        if event.kind in ("succeeded", "unpersisted"):
            self.status.renewals, self._lost = self.status.renewals + 1, None
        elif event.kind == "adopted":
            self.status.adopted, self._lost = self.status.adopted + 1, None
        elif event.kind == "lost":
            self._lost = event.error
        if event.kind in ("lost", "unpersisted"):
            self.status.last_error, self.status.last_error_at = str(event), event.at

    def _note(self, token: OAuthToken) -> None:
        self.status.fingerprint = token.fingerprint
        self.status.expires_at = token.expires_at
        self.status.last_renewal = token.obtained_at

    async def _publish(self, keeper: TokenKeeper, token: OAuthToken) -> None:
        """Put it where others read it.

        Only who finds his token still in the store after he has written it may rest: a slow keeper must not leave an
        old token in the place of a newer one that another has published.
        """
        self._note(token)
        while any(self._published.get(one) != token.fingerprint for one in self.settings.publish):
            failures: list[DomoError] = []
            async with anyio.create_task_group() as group:
                for publication in self.settings.publish:
                    group.start_soon(self._publish_in, publication, token, failures)
            for failure in failures[1:]:
                log.warning("%s: %s", self.name, failure)
            if failures:
                raise failures[0]
            token = await keeper.look() or token
            self._note(token)

    async def _publish_in(self, publication: Publication, token: OAuthToken, failures: list[DomoError]) -> None:
        if self._published.get(publication) == token.fingerprint:
            return
        try:
            with anyio.fail_after(_PUBLISH_SECONDS):
                auth = await self.places.auth(publication.instance)
                account = await publish_token(auth, publication.account, token, provider=publication.provider)
        except TimeoutError:
            asked = f"publish in {publication.instance}: {publication.account}"
            failures.append(RequestTimeoutError(f"no answer within {_PUBLISH_SECONDS:.0f} s", asked=asked))
        except DomoError as error:
            failures.append(error)
        else:
            self._published[publication] = token.fingerprint
            place = f"{publication.instance}: account {account.id} ({account.name})"
            if place not in self.status.published:
                self.status.published.append(place)
            log.info("%s: %s is in %s", self.name, token.fingerprint, place)


class AccessTokenCharge(Charge):
    """An access token of Domo's own, rotated by `rotate_access_token`; its store's lock lets one keeper at a time."""

    def __init__(self, name: str, settings: AccessTokenSettings, status: CredentialStatus, places: Places) -> None:
        super().__init__(name, status, places)
        self.settings = settings
        self._owner_id: int | None = None

    def begin_anew(self) -> None:
        self._owner_id = None

    @property
    def group(self) -> Hashable:
        return self.settings.store, self.settings.instance

    async def look(self, ahead: float = 0.0) -> float:
        settings = self.settings
        auth = await self.places.auth(settings.instance)
        store = await self._claimed(auth)
        async with store.lock(self._key(auth)):
            result = await rotate_access_token(
                auth,
                owner_id=await self._owner(auth),
                name=settings.name,
                duration=settings.duration,
                account=settings.account,
                provider=settings.provider,
                min_remaining=settings.min_remaining + timedelta(seconds=ahead),
                keep_old_for=settings.keep_old_for,
                allow_external_use=settings.allow_external_use,
            )
        if result.generated is not None:
            self.status.renewals += 1
            self._note(result.generated.fingerprint, result.expires_at)
            log.info("%s: a new token, %s, is in account %s", self.name, self.status.fingerprint, result.account_id)
        elif result.expires_at is not None and result.expires_at != self.status.expires_at:
            self.status.adopted += 1
            self._note(None, result.expires_at)
        self.status.published = [f"{settings.instance}: account {result.account_id} ({result.account_name})"]
        wait = _jittered(settings.check_every)
        if (end := self.status.expires_at) is not None:
            wait = min(wait, (end - settings.min_remaining - auth.options.clock()).total_seconds())
        return wait

    async def check(self) -> None:
        auth = await self.places.auth(self.settings.instance)
        await self._claimed(auth)
        await self._owner(auth)
        await find_account(auth, self.settings.account, self.settings.provider)

    def _note(self, fingerprint: str | None, end: datetime | None) -> None:
        self.status.fingerprint, self.status.expires_at = fingerprint, end
        self.status.last_renewal = None if end is None else end - self.settings.duration

    async def _claimed(self, auth: Auth) -> TokenStore:
        store = await self.places.store(self.settings.store)
        self.places.claim(self.name, self._key(auth))
        return store

    async def _owner(self, auth: Auth) -> int:
        owner = self.settings.owner
        if self._owner_id is None:
            by_id = isinstance(owner, int)
            user = await (DomoUser.get_by_id(auth, owner) if by_id else DomoUser.get_by_email(auth, owner))
            self._owner_id = user.id
        return self._owner_id

    def _key(self, auth: Auth) -> str:
        parts = ["rotation", auth.place, str(self.settings.owner), self.settings.name]
        return sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _jittered(wait: timedelta) -> float:
    """Somewhat less, so that many credentials do not go in step for ever."""
    return wait.total_seconds() * uniform(0.9, 1.0)


def _keeper(
    settings: OAuthSettings, secrets: Mapping[str, Secret], store: TokenStore, *, options: ClientOptions, **more: Any
) -> TokenKeeper:
    """The TokenKeeper that the settings describe.

    more:  what it is called, and who is told.
    """
    common: dict[str, Any] = {"store": store, **more}
    address: dict[str, Any] = {"token_url": settings.token_url} if settings.token_url else {}
    if settings.kind == "alteryx":
        return providers.alteryx(
            access_token=secrets.get("access_token"),
            refresh_token=secrets.get("refresh_token"),
            issuer=settings.issuer,
            user=settings.user,
            options=options,
            **common,
        )
    if settings.kind == "rdp":
        return providers.rdp(
            plain(settings.username, "username", secrets),
            secrets["password"],
            plain(settings.app_key, "app_key", secrets),
            scope=settings.scope,
            exclusive=settings.exclusive,
            options=options,
            **address,
            **common,
        )
    if settings.kind == "domo":
        return providers.domo(
            plain(settings.client_id, "client_id", secrets),
            secrets["client_secret"],
            scope=settings.scope or None,
            options=options,
            **address,
            **common,
        )
    client = OAuthClient(
        settings.token_url or "",
        plain(settings.client_id, "client_id", secrets),
        secrets.get("client_secret"),
        client_auth=settings.client_auth,
        scope=settings.scope or None,
        options=options,
    )
    grants = [_grant(grant, settings, secrets) for grant in settings.grants]
    return TokenKeeper(client, grants=grants, user=settings.user, **common)


def _grant(grant: str, settings: OAuthSettings, secrets: Mapping[str, Secret]) -> Grant:
    params: dict[str, str | Secret] = {}
    for name, value in settings.params.items():
        params[name] = value if isinstance(value, str) else secrets[f"params.{name}"]
    if grant == "refresh_token":
        return RefreshGrant(secrets.get("refresh_token"), access_token=secrets.get("access_token"), params=params)
    if grant == "password":
        return PasswordGrant(plain(settings.username, "username", secrets), secrets["password"], params=params)
    return ClientCredentialsGrant(params=params)
