"""Who is asking: sessions, developer tokens and OAuth bearers, each where Domo takes it."""

from __future__ import annotations

from starlette.responses import Response

from .clock import iso_z
from .model import User
from .replies import empty
from .wire import Call, Refusal, Route

FULL_AUTHENTICATION = "Full authentication is required to access this resource"
ELEVATION_PATH = "/api/identity/v1/authentication/elevations/{user_id}"


def _living(call: Call, user_id: int) -> User | None:
    user = call.state.users.get(user_id)
    return None if user is None or user.deleted else user


def _product_caller(call: Call) -> bool:
    """Fill in the caller from a product header; False when there is no live credential."""
    now = call.now()
    if (secret := call.headers.get("x-domo-authentication")) is not None:
        session = call.state.find_session(secret)
        if session is None or session.expires <= now:
            return False
        call.caller, call.credential, call.session = _living(call, session.user_id), "session", session
    elif (secret := call.headers.get("x-domo-developer-token")) is not None:
        token = call.state.find_access_token(secret)
        if token is None or token.expires <= now:
            return False
        call.caller, call.credential = _living(call, token.owner_id), "developer_token"
    return call.caller is not None


def _bearer(call: Call, scope: str | None) -> Response | None:
    kind, _, secret = call.headers.get("authorization", "").partition(" ")
    found = call.state.find_bearer(secret.strip()) if kind.lower() == "bearer" else None
    if found is not None and found.expires <= call.now():
        return _challenge(f"Jwt expired at {iso_z(found.expires)}")
    user = None if found is None else _living(call, found.user_id)
    if found is None or user is None:
        return _challenge("Invalid token" if secret else FULL_AUTHENTICATION)
    call.caller, call.credential = user, "oauth_client"
    if scope is not None and scope not in found.scopes:
        raise Refusal(403, f"The access token lacks the {scope} scope")
    return None


def _challenge(reason: str) -> Response:
    """The platform's 401: everything in the header, nothing in the body."""
    challenge = (
        f'Bearer error="invalid_token", error_description="An error occurred while attempting to decode '
        f'the Jwt: {reason}", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1"'
    )
    return empty(401, {"WWW-Authenticate": challenge})


def authenticate(call: Call, route: Route) -> Response | None:
    """Fill in the caller, or answer in the handler's place, or raise Refusal."""
    if not route.accepts:
        return None
    if "oauth_client" in route.accepts:
        return _bearer(call, route.scope)
    session_only = route.accepts == frozenset({"session"})
    if not _product_caller(call):
        call.credential = None
        if session_only and route.family == "product":
            return empty(302, {"Location": "/auth/index"})
        raise Refusal(401, FULL_AUTHENTICATION)
    if call.session is not None and call.session.pending and route.path != ELEVATION_PATH:
        raise Refusal(403, "Elevation with a one-time password is required for this session")
    if call.credential not in route.accepts:
        if session_only and route.family == "product":
            return empty(302, {"Location": "/auth/index"})
        raise Refusal(403, f"This endpoint does not accept a {(call.credential or '').replace('_', ' ')}")
    return None
