"""What a configuration of a keeper says, and whether its parts fit together."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

from domokit.errors import InvalidInputError
from domokit.oauth.client import ClientAuth
from domokit.workflows.keeping.references import Reference, path_from

# The field of an instance that holds its secret, by the way of signing in.
SECRET_OF = {"session": "password", "access-token": "access_token", "client": "client_secret"}


@attrs.frozen(kw_only=True)
class StoreSettings:
    """Where tokens are kept; which fields count depends on the kind."""

    kind: str
    path: Path | None = None
    url: Reference | None = None
    lease: timedelta = timedelta(seconds=30)
    prefix: str = "domokit:"
    service: str = "domokit"
    encryption: Reference | None = None

    @property
    def references(self) -> dict[str, Reference]:
        return references_in(self)

    @property
    def place(self) -> tuple[Any, ...]:
        """The same for two that are the same store."""
        return self.kind, self.path and os.path.realpath(self.path), self.url, self.prefix, self.service


@attrs.frozen(kw_only=True)
class InstanceSettings:
    """An instance of Domo, and who signs in there."""

    auth: str
    instance: str | None
    username: str | Reference | None = None
    secret: Reference
    client_id: str | Reference | None = None
    base_url: str | None = None

    @property
    def references(self) -> dict[str, Reference]:
        return references_in(self)


@attrs.frozen(kw_only=True)
class Publication:
    """An account that others read the token from."""

    instance: str
    account: str | int
    provider: str


@attrs.frozen(kw_only=True)
class OAuthSettings:
    """A token of some provider; which fields count depends on the kind."""

    kind: str
    store: str
    check_every: timedelta
    publish: tuple[Publication, ...] = ()
    token_url: str | None = None
    client_id: str | Reference | None = None
    client_secret: Reference | None = None
    client_auth: ClientAuth = "basic"
    scope: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    username: str | Reference | None = None
    password: Reference | None = None
    access_token: Reference | None = None
    refresh_token: Reference | None = None
    issuer: str | None = None
    user: str | None = None
    app_key: str | Reference | None = None
    exclusive: bool = True
    params: Mapping[str, str | Reference] = attrs.field(factory=dict)

    @property
    def references(self) -> dict[str, Reference]:
        found = {f"params.{name}": value for name, value in self.params.items()}
        return references_in(self) | {name: one for name, one in found.items() if isinstance(one, Reference)}


@attrs.frozen(kw_only=True)
class AccessTokenSettings:
    """An access token of Domo's own, to be rotated."""

    kind: str = "access-token"
    store: str
    check_every: timedelta
    instance: str
    owner: str | int
    name: str
    duration: timedelta
    min_remaining: timedelta
    account: str | int
    provider: str
    keep_old_for: timedelta | None = None
    allow_external_use: bool | None = None


CredentialSettings = OAuthSettings | AccessTokenSettings


@attrs.frozen(kw_only=True)
class KeepConfig:
    """A configuration as read.

    path:         the file.
    status:       where the keeper tells how it goes.
    at_once:      renewals at the same time at most, of those that share provider, store and instances.
    first_retry:  wait after a first failure; it doubles up to `last_retry`.
    """

    path: Path
    status: Path
    at_once: int
    first_retry: timedelta
    last_retry: timedelta
    stores: Mapping[str, StoreSettings]
    instances: Mapping[str, InstanceSettings]
    credentials: Mapping[str, CredentialSettings]

    def definition(self, name: str) -> tuple[Any, ...]:
        """All that a credential depends on: if it is the same after a reload, it goes on undisturbed."""
        settings = self.credentials[name]
        return settings, self.stores[settings.store], *(self.instances[one] for one in self.instances_of(name))

    def instances_of(self, name: str) -> list[str]:
        """The instances that a credential needs."""
        return [instance for _, instance in self._named_by(name)]

    def check(self) -> None:
        """Raises: InvalidInputError, if one part does not fit another."""
        self._check_names()
        self._check_files()
        self._check_stores()

    def _check_names(self) -> None:
        """Every instance that is named somewhere is there, and can do what it must."""
        named = [
            (f"stores.{name}.{field}", one.instance)
            for name, store in self.stores.items()
            for field, one in store.references.items()
            if one.instance
        ]
        for name in self.credentials:
            named += [(f"credentials.{name}.{field}", instance) for field, instance in self._named_by(name)]
        for where, instance in named:
            if instance not in self.instances:
                raise InvalidInputError(f"{where} names {instance!r}, which is not under [instances]")
            if self.instances[instance].auth == "client" and not where.endswith("publish.instance"):
                raise InvalidInputError(
                    f"{where} names {instance!r}, which signs in as an API client and can only publish"
                )

    def _check_files(self) -> None:
        """What is written is no file that is read for something else."""
        read = {os.path.realpath(self.path): "this configuration"}
        for where, reference in self._references():
            if reference.kind == "file":
                try:
                    read[os.path.realpath(path_from(self.path.parent, reference.place))] = f"what {where} refers to"
                except InvalidInputError as error:
                    raise InvalidInputError(f"{where} will not do: {error.message}") from None
        stores: dict[str, str] = {}
        for name, store in self.stores.items():
            if store.path is not None:
                stores[os.path.realpath(store.path)] = f"stores.{name}.path"
        for path, where in stores.items():
            if path in read:
                raise InvalidInputError(f"{where} is {read[path]}; tokens need a file of their own")
        if (path := os.path.realpath(self.status)) in read | stores:
            raise InvalidInputError(
                f"keeper.status is a file of its own, which the keeper overwrites, not {(read | stores)[path]}"
            )

    def _check_stores(self) -> None:
        """Two that are the same one agree on its key, or each could not read what the other has written."""
        known: dict[Any, str] = {}
        for name, store in self.stores.items():
            other = known.setdefault(store.place, name)
            if self.stores[other].encryption != store.encryption:
                raise InvalidInputError(f"stores.{name} is the same place as stores.{other} with another encryption")

    def _references(self) -> list[tuple[str, Reference]]:
        """All that is given by reference, and where it says so."""
        tables = {f"stores.{name}": one.references for name, one in self.stores.items()}
        for name, settings in self.instances.items():
            found = settings.references
            tables[f"instances.{name}"] = {SECRET_OF[settings.auth]: found.pop("secret"), **found}
        for name, settings in self.credentials.items():
            if isinstance(settings, OAuthSettings):
                tables[f"credentials.{name}"] = settings.references
        return [(f"{where}.{field}", one) for where, found in tables.items() for field, one in found.items()]

    def _named_by(self, name: str) -> list[tuple[str, str]]:
        """The fields of a credential that name instances, and which."""
        settings = self.credentials[name]
        if isinstance(settings, AccessTokenSettings):
            return [("instance", settings.instance)]
        references = [(field, one.instance) for field, one in settings.references.items() if one.instance]
        return [*(("publish.instance", one.instance) for one in settings.publish), *references]


def references_in(settings: Any) -> dict[str, Reference]:
    """The fields that are given by reference."""
    found = {field.name: getattr(settings, field.name) for field in attrs.fields(type(settings))}
    return {name: value for name, value in found.items() if isinstance(value, Reference)}
