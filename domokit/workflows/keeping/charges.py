"""What a keeper looks after: one charge for each credential, whatever its kind."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from random import uniform
from typing import Any

import attrs

from domokit._secrets import Secret
from domokit.auth import AccessTokenAuth, Auth, ClientOptions, OAuthClientAuth, SessionAuth
from domokit.entities.accounts import DomoAccount
from domokit.entities.users import DomoUser
from domokit.errors import InvalidInputError
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
from domokit.stores import EncryptionKey, FileStore, KeyringStore, RedisStore, TokenStore
from domokit.workflows.keeping.config import (
    AccessTokenSettings,
    InstanceSettings,
    KeepConfig,
    OAuthSettings,
    Publication,
    StoreSettings,
)
from domokit.workflows.keeping.references import Reference, find_account
from domokit.workflows.keeping.status import CredentialStatus
from domokit.workflows.publication import publish_token
from domokit.workflows.rotation import rotate_access_token

log: logging.Logger = logging.getLogger("domokit.keep")


@attrs.define(eq=False)
class Places:
    """The stores and instances of a configuration, opened when they are first needed."""

    config: KeepConfig
    options: ClientOptions = attrs.field(factory=ClientOptions)
    auths: dict[str, Auth] = attrs.field(factory=dict)
    stores: dict[str, TokenStore] = attrs.field(factory=dict)

    async def secret(self, reference: Reference) -> Secret:
        if reference.kind == "account":
            await self.auth(reference.place.partition("/")[0])
        return await reference.resolve(self.config.path.parent, self.auths)

    async def maybe_secret(self, reference: Reference | None) -> Secret | None:
        return None if reference is None else await self.secret(reference)

    async def auth(self, name: str) -> Auth:
        if name not in self.config.instances:
            raise InvalidInputError(f"there is no instance {name!r} in the configuration")
        if name not in self.auths:
            settings = self.config.instances[name]
            if settings.secret.kind == "account":
                raise InvalidInputError(f"instances.{name}: a secret to sign in with cannot be in an account")
            auth = _auth(settings, await settings.secret.resolve(self.config.path.parent, {}), self.options)
            self.auths.setdefault(name, auth)
        return self.auths[name]

    async def store(self, name: str) -> TokenStore:
        if name not in self.stores:
            settings = self.config.stores[name]
            store = _store(settings, await self.maybe_secret(settings.url), await self._key(settings))
            self.stores.setdefault(name, store)
        return self.stores[name]

    async def _key(self, settings: StoreSettings) -> EncryptionKey | None:
        reference = settings.encryption
        if reference is None:
            return None
        if reference.kind == "keyring":
            return EncryptionKey.from_keyring(*reference.place.partition("/")[::2])
        key = await self.secret(reference)
        return EncryptionKey.from_callable(lambda: key)

    async def aclose(self) -> None:
        for auth in self.auths.values():
            await auth.aclose()
        for store in self.stores.values():
            await store.aclose()


def _auth(settings: InstanceSettings, secret: Secret, options: ClientOptions) -> Auth:
    options = attrs.evolve(options, base_url=settings.base_url)
    if settings.auth == "client":
        return OAuthClientAuth(settings.client_id or "", secret, domo_instance=settings.instance, options=options)
    assert settings.instance is not None
    if settings.auth == "session":
        return SessionAuth(settings.instance, settings.username or "", secret, options=options)
    return AccessTokenAuth(settings.instance, secret, options=options)


def _store(settings: StoreSettings, url: Secret | None, key: EncryptionKey | None) -> TokenStore:
    if settings.kind == "redis":
        assert url is not None
        lease = settings.lease.total_seconds()
        return RedisStore(url, lease=lease, prefix=settings.prefix, encryption=key)
    if settings.kind == "keyring":
        return KeyringStore(settings.service, encryption=key)
    return FileStore(settings.path or Path(), encryption=key)


class Charge(ABC):
    """One credential that is looked after. Its methods are called by one task."""

    def __init__(self, name: str, status: CredentialStatus, places: Places) -> None:
        self.name = name
        self.status = status
        self.places = places

    @abstractmethod
    async def look(self) -> float:
        """See that it is fresh, renewing it if its time has come; return the seconds until the next look."""

    @abstractmethod
    async def check(self) -> None:
        """Prove that all it needs is there, changing nothing. Raises: DomoError."""

    async def aclose(self) -> None:  # noqa: B027 - some have nothing under way between two looks
        """Finish what is under way."""


class OAuthCharge(Charge):
    """A token of a provider, kept by a `TokenKeeper` and published into accounts."""

    def __init__(self, name: str, settings: OAuthSettings, status: CredentialStatus, places: Places) -> None:
        super().__init__(name, status, places)
        self.settings = settings
        self.keeper: TokenKeeper | None = None
        self._published: dict[Publication, str] = {}  # fingerprints

    async def look(self) -> float:
        keeper = await self._open()
        token = await keeper.look() or await keeper.get_token()
        if keeper.due_in <= 0:
            token = await keeper.renew()
        self._note(token)
        await self._publish(token)
        wait = min(self.settings.check_every.total_seconds(), keeper.due_in)
        return max(wait, 0.0) * uniform(0.95, 1.0)

    async def check(self) -> None:
        keeper = await self._open()
        await keeper.store.check()
        await keeper.status()
        for publication in self.settings.publish:
            await _check_account(await self.places.auth(publication.instance), publication.account)

    async def aclose(self) -> None:
        if self.keeper is not None:
            await self.keeper.aclose()

    async def _open(self) -> TokenKeeper:
        if self.keeper is None:
            store = await self.places.store(self.settings.store)
            self.keeper = await _keeper(self.settings, self.places, store, self.name, self._count)
        return self.keeper

    def _count(self, event: TokenEvent) -> None:
        if event.kind == "succeeded":
            self.status.renewals += 1
            self.status.last_renewal = event.at
        elif event.kind == "adopted":
            self.status.adopted += 1
        elif event.kind in ("lost", "unpersisted"):
            self.status.last_error, self.status.last_error_at = str(event), event.at

    def _note(self, token: OAuthToken) -> None:
        self.status.fingerprint = token.fingerprint
        self.status.expires_at = token.expires_at
        self.status.last_renewal = token.obtained_at

    async def _publish(self, token: OAuthToken) -> None:
        for publication in self.settings.publish:
            if self._published.get(publication) == token.fingerprint:
                continue
            auth = await self.places.auth(publication.instance)
            account = await publish_token(auth, publication.account, token, provider=publication.provider)
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

    async def look(self) -> float:
        settings = self.settings
        auth = await self.places.auth(settings.instance)
        store = await self.places.store(settings.store)
        async with store.lock(self._key(auth)):
            result = await rotate_access_token(
                auth,
                owner_id=await self._owner(auth),
                name=settings.name,
                duration=settings.duration,
                account=settings.account,
                provider=settings.provider,
                min_remaining=settings.min_remaining,
                keep_old_for=settings.keep_old_for,
                allow_external_use=settings.allow_external_use,
            )
        if result.generated is not None:
            self.status.renewals += 1
            self.status.fingerprint = result.generated.fingerprint
            self.status.expires_at = result.generated.expires_at
            self.status.last_renewal = auth.options.clock()
        elif result.expires_at is not None and result.expires_at != self.status.expires_at:
            self.status.adopted += 1
            self.status.fingerprint = None
            self.status.expires_at = result.expires_at
        self.status.published = [f"{settings.instance}: account {result.account_id} ({result.account_name})"]
        wait = settings.check_every.total_seconds()
        if (end := self.status.expires_at) is not None:
            wait = min(wait, self._due_in(end, auth.options.clock()))
        return max(wait, 0.0) * uniform(1.0, 1.05)  # not before it is due, when a look would be in vain

    async def check(self) -> None:
        auth = await self.places.auth(self.settings.instance)
        await (await self.places.store(self.settings.store)).check()
        await self._owner(auth)
        await _check_account(auth, self.settings.account)

    def _due_in(self, end: datetime, now: datetime) -> float:
        return (end - self.settings.min_remaining - now + timedelta(milliseconds=50)).total_seconds()

    async def _owner(self, auth: Auth) -> int:
        owner = self.settings.owner
        if isinstance(owner, int):
            return (await DomoUser.get_by_id(auth, owner)).id
        return (await DomoUser.get_by_email(auth, owner)).id

    def _key(self, auth: Auth) -> str:
        parts = ["rotation", auth.place, str(self.settings.owner), self.settings.name]
        return sha256(json.dumps(parts).encode()).hexdigest()[:32]


async def _check_account(auth: Auth, account: str | int) -> None:
    """The instance lets us in; an account given by its id must be there, one given by its name will be made."""
    await auth.sign_in()
    if isinstance(account, int):
        await find_account(auth, str(account))
    else:
        await DomoAccount.search(auth, name=account).first()


async def _keeper(
    settings: OAuthSettings,
    places: Places,
    store: TokenStore,
    name: str,
    on_event: Callable[[TokenEvent], object],
) -> TokenKeeper:
    """The TokenKeeper that the settings describe."""
    common: dict[str, Any] = {"store": store, "name": name, "on_event": on_event, "options": places.options}
    more: dict[str, Any] = {"token_url": settings.token_url} if settings.token_url else {}
    if settings.kind == "alteryx":
        return providers.alteryx(
            access_token=await places.maybe_secret(settings.access_token),
            refresh_token=await places.maybe_secret(settings.refresh_token),
            issuer=settings.issuer,
            user=settings.user,
            **common,
        )
    if settings.kind == "rdp":
        assert settings.password is not None
        app_key = settings.app_key
        if isinstance(app_key, Reference):
            app_key = (await places.secret(app_key)).reveal()
        return providers.rdp(
            settings.username or "",
            await places.secret(settings.password),
            app_key or "",
            scope=settings.scope,
            exclusive=settings.exclusive,
            **more,
            **common,
        )
    assert settings.client_id is not None
    secret = await places.maybe_secret(settings.client_secret)
    if settings.kind == "domo":
        assert secret is not None
        return providers.domo(settings.client_id, secret, scope=settings.scope or None, **more, **common)
    client = OAuthClient(
        settings.token_url or "",
        settings.client_id,
        secret,
        client_auth=settings.client_auth,  # pyright: ignore[reportArgumentType]
        scope=settings.scope or None,
        options=common.pop("options"),
    )
    grants = [await _grant(grant, settings, places) for grant in settings.grants]
    return TokenKeeper(client, grants=grants, user=settings.user, **common)


async def _grant(grant: str, settings: OAuthSettings, places: Places) -> Grant:
    if grant == "refresh_token":
        return RefreshGrant(
            await places.maybe_secret(settings.refresh_token),
            access_token=await places.maybe_secret(settings.access_token),
            params=settings.params,
        )
    if grant == "password":
        assert settings.password is not None
        return PasswordGrant(settings.username or "", await places.secret(settings.password), params=settings.params)
    return ClientCredentialsGrant(params=settings.params)
