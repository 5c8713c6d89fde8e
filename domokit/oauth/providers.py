"""Keepers for providers whose ways are known."""

import re
from collections.abc import Iterable
from typing import Any

import httpx

from domokit._secrets import Password, Secret
from domokit.connection.options import ClientOptions
from domokit.errors import InvalidInputError
from domokit.oauth.client import OAuthClient, checked_client_id, checked_endpoint
from domokit.oauth.grants import ClientCredentialsGrant, PasswordGrant, RefreshGrant
from domokit.oauth.keeper import TokenKeeper
from domokit.oauth.token import jwt_payload
from domokit.stores.base import TokenStore

DOMO_TOKEN_URL = "https://api.domo.com/oauth/token"  # noqa: S105
RDP_TOKEN_URL = "https://api.refinitiv.com/auth/oauth2/v1/token"  # noqa: S105
ALTERYX_ISSUER = "https://pingauth.alteryxcloud.com/as"

_ALTERYX_HOST = re.compile(r"[a-z0-9.-]+\.alteryxcloud\.com")


def domo(
    client_id: str,
    client_secret: str | Secret,
    *,
    scope: str | Iterable[str] | None = None,
    token_url: str = DOMO_TOKEN_URL,
    store: TokenStore | None = None,
    options: ClientOptions | None = None,
    **more: Any,
) -> TokenKeeper:
    """Domo's platform API: client credentials, tokens of an hour. `OAuthClientAuth` stands on this.

    more:  what else `TokenKeeper` takes, such as on_event.
    """
    client_secret = Password(client_secret or "")
    if not client_secret:
        raise InvalidInputError("client_secret is missing")
    client = OAuthClient(token_url, client_id, client_secret, scope=scope, options=options)
    return TokenKeeper(client, grants=[ClientCredentialsGrant()], store=store, **more)


def rdp(
    username: str,
    password: str | Secret,
    app_key: str,
    *,
    scope: str | Iterable[str] = "trapi",
    exclusive: bool = True,
    token_url: str = RDP_TOKEN_URL,
    store: TokenStore | None = None,
    options: ClientOptions | None = None,
    **more: Any,
) -> TokenKeeper:
    """LSEG Data Platform ("RDP"), version 1: password, then refresh; tokens of minutes.

    app_key:    the client id; there is no secret, so it goes out as a user without a password.
    exclusive:  whether a sign-in ends the user's other sessions, of which there is a quota. Without it a full quota
                raises SessionQuotaError.
    more:       what else `TokenKeeper` takes, such as on_event.

    `keeper.change_password(new)` changes the password, at the provider and in the store. A token file that a
    published sample wrote is taken over by `await keeper.adopt(read_token_file(path))`.
    """
    password = Password(password or "")
    if not app_key:
        raise InvalidInputError("app_key is missing")
    grants = [
        RefreshGrant(params={"username": username}),  # published samples send it; the documentation does not ask for it
        PasswordGrant(username, password, params={"takeExclusiveSignOnControl": "true" if exclusive else "false"}),
    ]
    client = OAuthClient(token_url, app_key, "", scope=scope, options=options)
    return TokenKeeper(client, grants=grants, store=store, **more)


def alteryx(
    *,
    access_token: str | Secret | None = None,
    refresh_token: str | Secret | None = None,
    issuer: str | None = None,
    user: str | None = None,
    store: TokenStore | None = None,
    options: ClientOptions | None = None,
    **more: Any,
) -> TokenKeeper:
    """Alteryx Analytics Cloud: a refresh token that is replaced at every use; presenting one twice revokes them all.

    access_token, refresh_token:  as generated in its settings, once; from then on the store's are used, and the same
              call works with the old ones or without any. Client id and issuer are read from the access token.
    issuer:   pins who the token may come from. None accepts https hosts of alteryxcloud.com, and without an access
              token means https://pingauth.alteryxcloud.com/as.
    user:     tells several users' tokens in one store apart; any text. Without it, a first token of another user or
              client than what the store holds is refused.
    more:     what else `TokenKeeper` takes, such as on_event.

    Raises: InvalidInputError for an access token that is no JWT, or of another issuer; nothing is sent.
    """
    access_token = None if access_token is None else Secret(access_token)
    refresh_token = None if refresh_token is None else Secret(refresh_token)
    if issuer is not None:
        checked_endpoint(issuer, "issuer")
        _check_issuer(issuer, "issuer")
    if access_token is not None:
        told = _issuer_of(access_token)
        if (issuer is not None and told.rstrip("/") != issuer.rstrip("/")) or (
            issuer is None and not _is_alteryx(told)
        ):
            raise InvalidInputError(
                f"access_token: it was issued by {told[:80]!r}, where no credentials of yours belong",
                hint="Pass issuer= if that is right.",
            )
        _check_issuer(told, "access_token: iss")
        issuer = told
    issuer = (issuer or ALTERYX_ISSUER).rstrip("/")
    # The client id stays out of the key and is kept with the token: without the first access token nobody knows it.
    client = OAuthClient(f"{issuer}/token", client_auth="none", issuer=issuer, options=options)
    grant = RefreshGrant(refresh_token, access_token=access_token)
    return TokenKeeper(client, grants=[grant], store=store, user=user or "", **more)


def _issuer_of(access_token: Secret) -> str:
    payload = jwt_payload(access_token)
    if not payload:
        raise InvalidInputError("access_token is not a JWT: was it cut off?")
    for name in ("client_id", "iss"):
        if not isinstance(payload.get(name), str) or not payload[name]:
            raise InvalidInputError(f"access_token: its payload tells no {name}")
    if not checked_client_id(payload["client_id"], "access_token: its client_id").isascii():
        raise InvalidInputError("access_token: its client_id is not ASCII: was it cut off or mended?")
    checked_endpoint(payload["iss"], "access_token: iss")
    return payload["iss"]


def _check_issuer(issuer: str, field: str) -> None:
    """Raises: InvalidInputError for an address to which '/token' cannot be added."""
    if "?" in issuer or {".", ".."} & set(issuer.split("/")):
        raise InvalidInputError(f"{field} is no issuer: an address without a query, and without dots between slashes")


def _is_alteryx(issuer: str) -> bool:
    url = httpx.URL(issuer)
    return url.scheme == "https" and _ALTERYX_HOST.fullmatch(url.host) is not None
