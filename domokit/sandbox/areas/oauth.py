"""The client-credentials grant of the platform API."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import uuid
from typing import Any
from urllib.parse import unquote_plus

from starlette.datastructures import QueryParams
from starlette.responses import Response

from ..model import ApiClient, Bearer
from ..replies import reply
from ..wire import Area, Call

area = Area("platform")
NOBODY: frozenset[str] = frozenset()  # the client signs in here by Basic, so no caller is needed


@area.on("GET", "/oauth/token", accepts=NOBODY, changes=True)
@area.on("POST", "/oauth/token", accepts=NOBODY)
async def token(call: Call) -> Any:
    """Answer GET and POST alike, with parameters in the query or in a form body."""
    client = _client(call)
    if client is None:
        return _error(401, "invalid_client", "Bad client credentials")
    owner = call.state.users.get(client.user_id)
    if owner is None or owner.deleted:
        return _error(401, "invalid_client", "The client's owner is gone")
    form = QueryParams(call.body.decode("utf-8", "replace")) if call.body else QueryParams()
    grant = form.get("grant_type") or call.query.get("grant_type")
    if not grant:
        return _error(400, "invalid_request", "Missing grant type")
    if grant != "client_credentials":
        return _error(400, "unsupported_grant_type", "Only client_credentials is offered")
    wanted = (form.get("scope") or call.query.get("scope") or "").split()
    if unknown := [scope for scope in wanted if scope not in client.scopes]:
        return _error(400, "invalid_scope", f"Invalid scope: {' '.join(unknown)}")
    call.caller, call.credential = owner, "client_credentials"
    bearer = _issue(call, client, wanted or client.scopes)
    return {
        "access_token": bearer.token,
        "token_type": "bearer",
        "expires_in": int(call.company.oauth_lifetime),
        "scope": " ".join(bearer.scopes),
        "customer": call.state.instance,
        "env": "prod1",
        "userId": owner.id,
        "role": call.state.role_name(owner.role_id),
        "jti": bearer.id,
    }


def _error(status: int, error: str, description: str) -> Response:
    headers = {"WWW-Authenticate": 'Basic realm="domo"'} if status == 401 else None
    return reply({"error": error, "error_description": description}, status, headers)


def _client(call: Call) -> ApiClient | None:
    """The client that signs in by Basic, its id and secret raw or percent-encoded (RFC 6749 2.3.1)."""
    kind, _, encoded = call.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        given_id, colon, given_secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    if not colon:
        return None
    for client in list(call.state.api_clients.values()):
        if client.client_id in (given_id, unquote_plus(given_id)):
            known = client.client_secret.encode()
            spellings = (given_secret.encode(), unquote_plus(given_secret).encode())
            return client if any(hmac.compare_digest(known, each) for each in spellings) else None
    return None


def _issue(call: Call, client: ApiClient, scopes: list[str]) -> Bearer:
    now = call.now()
    expires = now + int(call.company.oauth_lifetime * 1000)
    jti = str(uuid.uuid4())
    claims: dict[str, Any] = {
        "exp": expires // 1000,
        "iat": now // 1000,
        "jti": jti,
        "client_id": client.client_id,
        "domo:customer": call.state.customer_id,
        "userId": client.user_id,
        "scope": scopes,
    }
    head = {"alg": "RS256", "typ": "JWT"}
    parts = [_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims)]
    # The signature is only for show: what the sandbox issued it remembers.
    text = ".".join([*parts, _base64url(secrets.token_bytes(64))])
    bearer = Bearer(jti, client.client_id, client.user_id, list(scopes), expires, text)
    call.state.prune(now)
    call.state.add_bearer(bearer)
    return bearer


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
