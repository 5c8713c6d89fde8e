"""The stores and instances of a configuration, and the secrets that open them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from domokit._secrets import Secret
from domokit.auth import AccessTokenAuth, Auth, ClientOptions, OAuthClientAuth, SessionAuth
from domokit.errors import DomoError, InvalidInputError
from domokit.stores import EncryptionKey, FileStore, KeyringStore, RedisStore, TokenStore
from domokit.workflows.keeping.references import Reference
from domokit.workflows.keeping.settings import InstanceSettings, KeepConfig, StoreSettings

T = TypeVar("T", Auth, TokenStore)


@attrs.frozen
class _Opened(Generic[T]):
    """An auth object or a store, and what it was made from."""

    what: T
    settings: Any
    secrets: Mapping[str, Secret]


@attrs.define(eq=False)
class Places:
    """Opens each store and instance when it is first needed, for all credentials together.

    What the configuration says differently after a reload is opened anew; what was open before serves those who still
    use it, until the end.
    """

    config: KeepConfig
    options: ClientOptions
    _auths: dict[str, _Opened[Auth]] = attrs.field(factory=dict)
    _stores: dict[str, _Opened[TokenStore]] = attrs.field(factory=dict)
    _former: list[Auth | TokenStore] = attrs.field(factory=list)
    _claims: dict[tuple[str, ...], str] = attrs.field(factory=dict)

    async def secrets(self, references: Mapping[str, Reference]) -> dict[str, Secret]:
        """What is there now. Raises: DomoError, naming the reference."""
        return {name: await self._secret(one) for name, one in references.items()}

    async def auth(self, name: str) -> Auth:
        settings = self.config.instances[name]
        opened = self._auths.get(name)
        if opened is not None and opened.settings == settings:
            return opened.what
        secrets = await self.secrets(_references(settings))
        return self._put(self._auths, name, opened, _Opened(_auth(settings, secrets, self.options), settings, secrets))

    async def store(self, name: str) -> TokenStore:
        settings = self.config.stores[name]
        opened = self._stores.get(name)
        if opened is not None and opened.settings == settings:
            return opened.what
        secrets = await self.secrets(_references(settings))
        return self._put(self._stores, name, opened, _Opened(_store(settings, secrets), settings, secrets))

    def _put(self, table: dict[str, _Opened[T]], name: str, before: _Opened[T] | None, made: _Opened[T]) -> T:
        if (now := table.get(name)) is not None and now is not before:
            return now.what  # another was quicker, while the secrets were fetched
        if before is not None:
            self._former.append(before.what)
        table[name] = made
        return made.what

    async def reread(self, *, sign_in: bool = False) -> None:
        """Open anew, at its next use, what was opened by secrets that are others now.

        sign_in:  also sign in anew where that was refused: somebody may have seen to it.
        """
        for table in (self._auths, self._stores):
            for name, opened in list(table.items()):
                again = sign_in and isinstance(opened.what, Auth) and opened.what.can_renew
                if again or not await self._is_up_to_date(opened):
                    self._former.append(opened.what)
                    table.pop(name, None)

    async def _is_up_to_date(self, opened: _Opened[Any]) -> bool:
        try:
            return await self.secrets(_references(opened.settings)) == opened.secrets
        except DomoError:
            return True  # what is open may still serve

    async def _secret(self, reference: Reference) -> Secret:
        auth = None if reference.instance is None else await self.auth(reference.instance)
        return await reference.resolve(self.config.path.parent, auth)

    def claim(self, name: str, *what: str) -> None:
        """Note that a credential looks after something. Raises: InvalidInputError, if another does already."""
        if (other := self._claims.setdefault(what, name)) != name:
            raise InvalidInputError(
                f"credentials.{name} is the same token as credentials.{other}",
                hint="Tell them apart by `user` (or `name`), or give each a store of its own.",
            )

    def give_up(self, name: str) -> None:
        self._claims = {what: owner for what, owner in self._claims.items() if owner != name}

    async def aclose(self) -> None:
        opened = (*self._auths.values(), *self._stores.values())
        for one in (*self._former, *(each.what for each in opened)):
            await one.aclose()


def _references(settings: InstanceSettings | StoreSettings) -> dict[str, Reference]:
    found = settings.references
    if "encryption" in found and found["encryption"].kind == "keyring":
        del found["encryption"]  # the key makes itself there, when it is first needed
    return found


def plain(value: str | Reference | None, name: str, secrets: Mapping[str, Secret]) -> str:
    """A text that was written out, or given by reference under this name."""
    return secrets[name].reveal() if isinstance(value, Reference) else value or ""


def _auth(settings: InstanceSettings, secrets: Mapping[str, Secret], options: ClientOptions) -> Auth:
    options, secret = attrs.evolve(options, base_url=settings.base_url), secrets["secret"]
    if settings.auth == "client":
        client_id = plain(settings.client_id, "client_id", secrets)
        return OAuthClientAuth(client_id, secret, domo_instance=settings.instance, options=options)
    assert settings.instance is not None
    if settings.auth == "session":
        username = plain(settings.username, "username", secrets)
        return SessionAuth(settings.instance, username, secret, options=options)
    return AccessTokenAuth(settings.instance, secret, options=options)


def _store(settings: StoreSettings, secrets: Mapping[str, Secret]) -> TokenStore:
    key = None
    if settings.encryption is not None:
        given = secrets.get("encryption")
        key = _key_in_keyring(settings.encryption) if given is None else _key(given, str(settings.encryption))
    if settings.kind == "redis":
        lease = settings.lease.total_seconds()
        return RedisStore(secrets["url"], lease=lease, prefix=settings.prefix, encryption=key)
    if settings.kind == "keyring":
        return KeyringStore(settings.service, encryption=key)
    return FileStore(settings.path or Path(), encryption=key)


def _key(given: Secret, where: str) -> EncryptionKey:
    key = EncryptionKey(lambda: given, where)
    key.seal(Secret(""), "check")  # what is no key is told now, not when a token is to be stored
    return key


def _key_in_keyring(reference: Reference) -> EncryptionKey:
    service, _, name = reference.place.partition("/")
    return EncryptionKey.from_keyring(service, name)
