"""The configuration of a keeper: which credentials, from where, kept where, published where.

    [keeper]
    store = "tokens"                  # where tokens live, unless a credential says otherwise
    check_every = "1m"                # how often each credential is looked at

    [stores.tokens]
    kind = "file"                     # file, redis or keyring
    path = "tokens.json"

    [instances.acme]
    auth = "session"                  # session, access-token or client
    instance = "acme"
    username = "ann@example.com"
    password = "env:ACME_PASSWORD"

    [credentials.alteryx]
    kind = "alteryx"                  # alteryx, rdp, domo, oauth or access-token
    access_token = "file:first-access-token"
    refresh_token = "file:first-refresh-token"
    publish = {instance = "acme", account = "Alteryx token"}

    [credentials.nightly]
    kind = "access-token"
    instance = "acme"
    owner = "ann@example.com"
    name = "nightly sync"
    duration = "30d"
    min_remaining = "7d"
    account = "nightly sync token"

Secrets are references (`Reference`); unknown members and literal secrets are refused.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

from domokit.errors import InvalidInputError
from domokit.workflows.keeping.references import Reference
from domokit.workflows.keeping.table import Table

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_ACCOUNT_KINDS = ("abstract-credential-store", "domo-access-token")


@attrs.frozen(kw_only=True)
class StoreSettings:
    kind: str
    path: Path | None = None
    url: Reference | None = None
    lease: timedelta = timedelta(seconds=30)
    prefix: str = "domokit:"
    service: str = "domokit"
    encryption: Reference | None = None


@attrs.frozen(kw_only=True)
class InstanceSettings:
    auth: str
    instance: str | None
    username: str | None = None
    secret: Reference
    client_id: str | None = None
    base_url: str | None = None


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
    client_id: str | None = None
    client_secret: Reference | None = None
    client_auth: str = "basic"
    scope: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    username: str | None = None
    password: Reference | None = None
    access_token: Reference | None = None
    refresh_token: Reference | None = None
    issuer: str | None = None
    user: str | None = None
    app_key: str | Reference | None = None
    exclusive: bool = True
    params: Mapping[str, str] = attrs.field(factory=dict)


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
    at_once:      renewals at the same time at most.
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
        places = [settings.instance] if isinstance(settings, AccessTokenSettings) else []
        if isinstance(settings, OAuthSettings):
            places = [publication.instance for publication in settings.publish]
        return (
            settings,
            self.stores[settings.store],
            tuple(self.instances[place] for place in places),
            self.first_retry,
            self.last_retry,
        )


def read_config(path: str | os.PathLike[str]) -> KeepConfig:
    """Read a TOML file. Raises: InvalidInputError, naming what is wrong; nothing is resolved, asked or sent."""
    name = Path(path).expanduser().absolute()
    try:
        root = Table(tomllib.loads(name.read_text(encoding="utf-8")), "")
    except OSError as error:
        raise InvalidInputError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{name} is no text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{name} is not TOML: {error}") from None
    try:
        return _config(root, name)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name.name}: {error.message}", hint=error.hint) from None


def _config(root: Table, path: Path) -> KeepConfig:
    (keeper,) = root.tables("keeper") or [Table({}, "keeper")]
    stores = {name: _store(table, path.parent) for name, table in root.named("stores").items()}
    instances = {name: _instance(table) for name, table in root.named("instances").items()}
    if not stores:  # beside the configuration, unless it says otherwise
        stores["tokens"] = StoreSettings(kind="file", path=path.with_suffix(".tokens.json"))
    usual_store = keeper.text("store", default=next(iter(stores)))
    assert usual_store is not None
    usual_check = keeper.duration("check_every", default=_MINUTE)
    status = keeper.text("status", default=f"{path.stem}.status.json")
    first, last = keeper.duration("first_retry"), keeper.duration("last_retry")
    at_once = keeper.whole("at_once", default=16)
    if usual_store not in stores:
        raise keeper.wrong("store", f"names {usual_store!r}, which is not under [stores]")
    keeper.done()
    credentials: dict[str, CredentialSettings] = {}
    for name, table in root.named("credentials").items():
        kind = table.choice("kind", tuple(_KINDS))
        store = table.text("store", default=usual_store)
        if store not in stores:
            raise table.wrong("store", f"names {store!r}, which is not under [stores]")
        check_every = table.duration("check_every", default=usual_check)
        credentials[name] = _KINDS[kind](table, {"kind": kind, "store": store, "check_every": check_every})
        table.done()
    root.done()
    if not credentials:
        raise InvalidInputError("there is nothing to keep: no [credentials.NAME]")
    config = KeepConfig(
        path=path,
        status=path.parent / Path(status or "").expanduser(),
        at_once=at_once,
        first_retry=first or timedelta(seconds=5),
        last_retry=last or timedelta(minutes=5),
        stores=stores,
        instances=instances,
        credentials=credentials,
    )
    _check_names(config)
    return config


def _store(table: Table, base: Path) -> StoreSettings:
    kind = table.choice("kind", ("file", "redis", "keyring"))
    encryption = table.secret("encryption")
    settings = StoreSettings(kind=kind, encryption=encryption)
    if kind == "file":
        settings = attrs.evolve(settings, path=base / Path(table.needed("path")).expanduser())
    elif kind == "redis":
        lease = table.duration("lease", default=settings.lease)
        prefix = table.text("prefix", default=settings.prefix)
        settings = attrs.evolve(settings, url=table.needed_secret("url"), lease=lease, prefix=prefix)
    else:
        settings = attrs.evolve(settings, service=table.text("service", default=settings.service))
    table.done()
    return settings


def _instance(table: Table) -> InstanceSettings:
    auth = table.choice("auth", ("session", "access-token", "client"))
    instance = table.text("instance", required=auth != "client")
    base_url = table.text("base_url")
    if auth == "session":
        given = {"username": table.needed("username"), "secret": table.needed_secret("password")}
    elif auth == "access-token":
        given = {"secret": table.needed_secret("access_token")}
    else:
        given = {"client_id": table.needed("client_id"), "secret": table.needed_secret("client_secret")}
    table.done()
    return InstanceSettings(auth=auth, instance=instance, base_url=base_url, **given)  # pyright: ignore


def _publications(table: Table) -> tuple[Publication, ...]:
    found: list[Publication] = []
    for one in table.tables("publish"):
        found.append(
            Publication(
                instance=one.needed("instance"),
                account=one.text_or_number("account"),
                provider=one.choice("provider", _ACCOUNT_KINDS, default=_ACCOUNT_KINDS[0]),
            )
        )
        one.done()
    return tuple(found)


def _alteryx(table: Table, common: dict[str, Any]) -> OAuthSettings:
    return OAuthSettings(
        access_token=table.secret("access_token"),
        refresh_token=table.secret("refresh_token"),
        issuer=table.text("issuer"),
        user=table.text("user"),
        publish=_publications(table),
        **common,
    )


def _rdp(table: Table, common: dict[str, Any]) -> OAuthSettings:
    app_key = table.needed("app_key")
    return OAuthSettings(
        username=table.needed("username"),
        password=table.needed_secret("password"),
        app_key=Reference.parse(app_key) or app_key,
        scope=table.texts("scope") or ("trapi",),
        exclusive=table.flag("exclusive", default=True) is True,
        token_url=table.text("token_url"),
        publish=_publications(table),
        **common,
    )


def _domo(table: Table, common: dict[str, Any]) -> OAuthSettings:
    return OAuthSettings(
        client_id=table.needed("client_id"),
        client_secret=table.needed_secret("client_secret"),
        scope=table.texts("scope"),
        token_url=table.text("token_url"),
        publish=_publications(table),
        **common,
    )


def _oauth(table: Table, common: dict[str, Any]) -> OAuthSettings:
    grants = table.texts("grants")
    for grant in grants:
        if grant not in ("refresh_token", "password", "client_credentials"):
            raise table.wrong("grants", f"knows refresh_token, password and client_credentials, not {grant!r}")
    if not grants:
        raise table.wrong("grants", "is missing: which ways to a token, in their order")
    client_auth = table.choice("client_auth", ("basic", "basic-raw", "post", "none"), default="basic")
    signs_in = "password" in grants
    return OAuthSettings(
        token_url=table.needed("token_url"),
        client_id=table.needed("client_id"),
        client_secret=table.secret("client_secret", required=client_auth != "none"),
        client_auth=client_auth,
        scope=table.texts("scope"),
        grants=grants,
        username=table.text("username", required=signs_in),
        password=table.secret("password", required=signs_in),
        access_token=table.secret("access_token"),
        refresh_token=table.secret("refresh_token"),
        user=table.text("user"),
        params=table.params("params"),
        publish=_publications(table),
        **common,
    )


def _access_token(table: Table, common: dict[str, Any]) -> AccessTokenSettings:
    duration = table.duration("duration", default=30 * _DAY)
    min_remaining = table.duration("min_remaining", default=duration / 4 if duration else None)
    assert duration is not None
    assert min_remaining is not None
    if min_remaining >= duration:
        raise table.wrong("min_remaining", "must be less than duration, or every look would make a new token")
    return AccessTokenSettings(
        instance=table.needed("instance"),
        owner=table.text_or_number("owner"),
        name=table.needed("name"),
        duration=duration,
        min_remaining=min_remaining,
        account=table.text_or_number("account"),
        provider=table.choice("provider", _ACCOUNT_KINDS, default=_ACCOUNT_KINDS[0]),
        keep_old_for=table.duration("keep_old_for"),
        allow_external_use=table.flag("allow_external_use"),
        **common,
    )


_KINDS: Mapping[str, Callable[[Table, dict[str, Any]], CredentialSettings]] = {
    "alteryx": _alteryx,
    "rdp": _rdp,
    "domo": _domo,
    "oauth": _oauth,
    "access-token": _access_token,
}


def _check_names(config: KeepConfig) -> None:
    """Every instance that is named must be there."""
    for name, settings in config.credentials.items():
        if isinstance(settings, AccessTokenSettings):
            named = [(settings.instance, f"credentials.{name}.instance")]
        else:
            named = [(one.instance, f"credentials.{name}.publish.instance") for one in settings.publish]
        for instance, where in named:
            if instance not in config.instances:
                raise InvalidInputError(f"{where} names {instance!r}, which is not under [instances]")
            if config.instances[instance].auth == "client":
                raise InvalidInputError(
                    f"{where} names {instance!r}: an API client can neither read nor keep tokens there"
                )
