"""The configuration of a keeper: which credentials, from where, kept where, published where.

    [keeper]
    store = "tokens"                  # where tokens live, unless a credential says otherwise
    check_every = "1m"                # how often each credential is looked at; with --once, how often that is called

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
from urllib.parse import parse_qsl, urlsplit

import attrs

from domokit.auth import Instance
from domokit.connection.options import origin_of
from domokit.errors import InvalidInputError
from domokit.oauth.client import checked_endpoint, joined_scope
from domokit.workflows.keeping.references import Reference, path_from
from domokit.workflows.keeping.settings import (
    SECRET_OF,
    AccessTokenSettings,
    CredentialSettings,
    InstanceSettings,
    KeepConfig,
    OAuthSettings,
    Publication,
    StoreSettings,
)
from domokit.workflows.keeping.table import Table, is_secret
from domokit.workflows.token_account import PROVIDERS

_OFTEN, _SELDOM = timedelta(minutes=1), timedelta(minutes=15)
_MONTH = timedelta(days=30)


def read_config(path: str | os.PathLike[str]) -> KeepConfig:
    """Read a TOML file. Raises: InvalidInputError, naming what is wrong; nothing is resolved, asked or sent."""
    name = Path(path).expanduser().absolute()
    found = _config(name)
    if isinstance(found, str):  # raised here, for the frames below hold what is in the file
        raise InvalidInputError(found)
    return found


def status_path(path: str | os.PathLike[str]) -> Path:
    """Where the keeper of a file tells how it goes, even if the file has become unusable meanwhile.

    Raises: InvalidInputError, if it is not there.
    """
    name = Path(path).expanduser().absolute()
    keeper: Any = None
    try:
        keeper = tomllib.loads(name.read_text(encoding="utf-8")).get("keeper")
    except OSError as error:
        raise InvalidInputError(f"{name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        pass
    given = keeper.get("status") if isinstance(keeper, dict) else None
    try:
        return path_from(name.parent, given if isinstance(given, str) else _usual_status(name))
    except InvalidInputError:
        return name.with_name(_usual_status(name))


def _usual_status(path: Path) -> str:
    return f"{path.stem}.status.json"


def _config(path: Path) -> KeepConfig | str:
    """The configuration, or what is wrong with it."""
    try:
        config = _read(Table(tomllib.loads(path.read_text(encoding="utf-8")), ""), path)
        config.check()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        return f"{path} is no text in UTF-8"
    except tomllib.TOMLDecodeError as error:
        return f"{path} is not TOML: {error}"
    except InvalidInputError as error:
        return f"{path.name}: {error.message}"
    except (ValueError, RecursionError):  # Python's own limits
        return f"{path} is not TOML: a number in it is too long, or something is nested too deeply"
    return config


def _read(root: Table, path: Path) -> KeepConfig:
    keeper = root.table("keeper")
    stores = {name: _store(table, path.parent) for name, table in root.named("stores").items()}
    instances = {name: _instance(table) for name, table in root.named("instances").items()}
    if not stores:  # beside the configuration, unless it says otherwise
        stores["tokens"] = StoreSettings(kind="file", path=path.with_suffix(".tokens.json"))
    usual_store = _known_store(keeper, stores, next(iter(stores)))
    check_every = keeper.maybe_duration("check_every")
    status = keeper.path("status", path.parent, _usual_status(path))
    first_retry = keeper.duration("first_retry", timedelta(seconds=5))
    last_retry = keeper.duration("last_retry", timedelta(minutes=5))
    at_once = keeper.whole("at_once", 8)
    keeper.done()
    credentials: dict[str, CredentialSettings] = {}
    for name, table in root.named("credentials").items():
        kind = table.choice("kind", tuple(_KINDS))
        usual = check_every or (_SELDOM if kind == "access-token" else _OFTEN)
        common = {
            "kind": kind,
            "store": _known_store(table, stores, usual_store),
            "check_every": table.duration("check_every", usual),
        }
        credentials[name] = _KINDS[kind](table, common)
        table.done()
    root.done()
    if not credentials:
        raise InvalidInputError("there is nothing to keep: no [credentials.NAME]")
    return KeepConfig(
        path=path,
        status=status,
        at_once=at_once,
        first_retry=first_retry,
        last_retry=last_retry,
        stores=stores,
        instances=instances,
        credentials=credentials,
    )


def _known_store(table: Table, stores: Mapping[str, StoreSettings], usual: str) -> str:
    name = table.text("store", usual)
    if name not in stores:
        raise table.wrong("store", f"names {name!r}, which is not under [stores]")
    return name


def _store(table: Table, base: Path) -> StoreSettings:
    kind = table.choice("kind", ("file", "redis", "keyring"))
    settings = StoreSettings(kind=kind, encryption=table.maybe_secret("encryption"))
    if kind == "file":
        settings = attrs.evolve(settings, path=table.path("path", base))
    elif kind == "redis":
        lease = table.duration("lease", settings.lease)
        prefix = table.text("prefix", settings.prefix)
        settings = attrs.evolve(settings, url=table.secret("url"), lease=lease, prefix=prefix)
    else:
        settings = attrs.evolve(settings, service=table.text("service", settings.service))
    table.done()
    return settings


def _instance(table: Table) -> InstanceSettings:
    auth = table.choice("auth", tuple(SECRET_OF))
    instance = table.checked("instance", Instance.parse)
    if instance is None and auth != "client":
        raise table.wrong("instance", "is missing")
    username = table.text_or_reference("username") if auth == "session" else None
    client_id = table.text_or_reference("client_id") if auth == "client" else None
    field = SECRET_OF[auth]
    secret = table.secret(field)
    for name, one in {"username": username, "client_id": client_id, field: secret}.items():
        if isinstance(one, Reference) and one.instance is not None:
            raise table.wrong(name, "cannot be in an account: it is what opens accounts")
    base_url = table.checked("base_url", origin_of)
    table.done()
    return InstanceSettings(
        auth=auth, instance=instance, username=username, client_id=client_id, secret=secret, base_url=base_url
    )


def _publications(table: Table) -> tuple[Publication, ...]:
    found: list[Publication] = []
    for one in table.tables("publish"):
        instance, account = one.text("instance"), one.name_or_id("account")
        found.append(Publication(instance=instance, account=account, provider=_provider(one)))
        one.done()
    return tuple(found)


def _provider(table: Table) -> str:
    return table.choice("provider", PROVIDERS, PROVIDERS[0])


def _first_tokens(table: Table) -> dict[str, Reference | None]:
    """What was issued elsewhere, to begin with."""
    access, refresh = table.maybe_secret("access_token"), table.maybe_secret("refresh_token")
    if access is not None and refresh is None:
        raise table.wrong("refresh_token", "is missing: an access_token alone cannot be renewed")
    return {"access_token": access, "refresh_token": refresh}


def _scope(table: Table) -> tuple[str, ...]:
    scope = table.texts("scope")
    try:
        joined_scope(scope)
    except InvalidInputError:
        raise table.wrong("scope", "holds something that is not the name of a scope") from None
    return scope


def _endpoint(table: Table, name: str) -> str | None:
    url = table.checked(name, lambda url: checked_endpoint(url, "it"))
    for key, value in parse_qsl(urlsplit(url or "").query, keep_blank_values=True):
        if is_secret(key, value):
            raise table.wrong(name, f"has a secret in its query, {key[:60]!r}; give that by reference, in params")
    return url


def _alteryx(table: Table, common: dict[str, Any]) -> OAuthSettings:
    return OAuthSettings(
        **_first_tokens(table),
        issuer=_endpoint(table, "issuer"),
        user=table.maybe("user"),
        publish=_publications(table),
        **common,
    )


def _rdp(table: Table, common: dict[str, Any]) -> OAuthSettings:
    return OAuthSettings(
        username=table.text_or_reference("username"),
        password=table.secret("password"),
        app_key=table.text_or_reference("app_key"),
        scope=_scope(table) or ("trapi",),
        exclusive=table.flag("exclusive", True),
        token_url=_endpoint(table, "token_url"),
        publish=_publications(table),
        **common,
    )


def _domo(table: Table, common: dict[str, Any]) -> OAuthSettings:
    return OAuthSettings(
        client_id=table.text_or_reference("client_id"),
        client_secret=table.secret("client_secret"),
        scope=_scope(table),
        token_url=_endpoint(table, "token_url"),
        publish=_publications(table),
        **common,
    )


def _oauth(table: Table, common: dict[str, Any]) -> OAuthSettings:
    """Any provider. What the grants and the way of authenticating have no use for is not known here."""
    grants = table.texts("grants")
    for grant in grants:
        if grant not in ("refresh_token", "password", "client_credentials"):
            raise table.wrong("grants", "knows refresh_token, password and client_credentials")
    if not grants:
        raise table.wrong("grants", "is missing: which ways to a token, in their order")
    if len(set(grants)) < len(grants):
        raise table.wrong("grants", "names one twice")
    token_url = _endpoint(table, "token_url")
    if token_url is None:
        raise table.wrong("token_url", "is missing")
    client_auth = table.choice("client_auth", ("basic", "basic-raw", "post", "none"), "basic")
    given: dict[str, Any] = {"client_auth": client_auth}
    if client_auth != "none":
        given["client_secret"] = table.secret("client_secret")
    if "password" in grants:
        given |= {"username": table.text_or_reference("username"), "password": table.secret("password")}
    if "refresh_token" in grants:
        given |= _first_tokens(table)
    return OAuthSettings(
        token_url=token_url,
        client_id=table.text_or_reference("client_id"),
        scope=_scope(table),
        grants=grants,
        user=table.maybe("user"),
        params=table.params("params"),
        publish=_publications(table),
        **given,
        **common,
    )


def _access_token(table: Table, common: dict[str, Any]) -> AccessTokenSettings:
    duration = table.duration("duration", _MONTH)
    min_remaining = table.duration("min_remaining", duration / 4)
    if min_remaining >= duration:
        raise table.wrong("min_remaining", "must be less than duration, or every look would make a new token")
    return AccessTokenSettings(
        instance=table.text("instance"),
        owner=table.name_or_id("owner"),
        name=table.text("name"),
        duration=duration,
        min_remaining=min_remaining,
        account=table.name_or_id("account"),
        provider=_provider(table),
        keep_old_for=table.maybe_duration("keep_old_for"),
        allow_external_use=table.maybe_flag("allow_external_use"),
        **common,
    )


_KINDS: Mapping[str, Callable[[Table, dict[str, Any]], CredentialSettings]] = {
    "alteryx": _alteryx,
    "rdp": _rdp,
    "domo": _domo,
    "oauth": _oauth,
    "access-token": _access_token,
}
