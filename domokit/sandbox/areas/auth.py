"""Sign-in, sessions of one's own, and the one-time password."""

from __future__ import annotations

import hmac
import json
from http.cookies import CookieError, SimpleCookie
from typing import Any

from ..model import User
from ..wire import Area, Call, Refusal, as_object

area = Area("product")
NOBODY: frozenset[str] = frozenset()
LOCK_AFTER = 5  # wrong passwords


@area.on("POST", "/api/content/v2/authentication", accepts=NOBODY)
async def sign_in(call: Call) -> Any:
    """A refused sign-in is status 200 too: a reason and no token, or an empty object if malformed."""
    try:
        body = as_object(json.loads(call.body)) or {}
    except ValueError:
        body = {}
    if body.get("method") == "exptoken":
        return _by_cookie(call)
    email, password = body.get("emailAddress"), body.get("password")
    if body.get("method") != "password" or not isinstance(email, str) or not isinstance(password, str):
        return {}
    user = call.state.user_by_email(email)
    if user is None:
        return _refused("INVALID_CREDENTIALS")
    if user.failed_logins >= LOCK_AFTER:
        return _refused("ACCOUNT_LOCKED")
    if not hmac.compare_digest(user.password.encode(), password.encode("utf-8", "replace")):
        user.failed_logins += 1
        return _refused("INVALID_CREDENTIALS")
    user.failed_logins = 0
    return _signed_in(call, user)


def _by_cookie(call: Call) -> Any:
    cookie = SimpleCookie()
    try:
        cookie.load(call.headers.get("cookie", ""))
    except CookieError:
        return {}
    found = cookie.get("_dsidv1")
    user = call.state.users.get(call.state.cookies.get(found.value, -1)) if found else None
    return _refused("INVALID_CREDENTIALS") if user is None or user.deleted else _signed_in(call, user)


def _refused(reason: str) -> Any:
    return {"success": False, "reason": reason}


def _signed_in(call: Call, user: User) -> Any:
    now = call.now()
    call.state.prune(now)
    owed = user.one_time_password is not None
    session = call.state.add_session(user, now=now, lifetime=call.company.session_lifetime, pending=owed)
    user.pending = False
    user.last_activity = now
    call.caller = user
    return {
        "userId": user.id,
        "success": True,
        "sessionToken": session.token,
        # Only VALID is documented; what Domo answers while a second factor is owed is not. PENDING is ours.
        "twoFactorInfo": {
            "token": None,
            "key": None,
            "status": "PENDING" if owed else "VALID",
            "phoneMask": None,
        },
        "userRole": call.state.role_name(user.role_id),
    }


@area.on("PUT", "/api/identity/v1/authentication/elevations/{user_id}")
async def elevate(call: Call) -> Any:
    """Lift the wait for a one-time password from the calling session; no new token."""
    if call.number("user_id") != call.user.id:
        raise Refusal(403, "Only your own sign-in can be elevated")
    code = call.user.one_time_password
    if code is None:
        raise Refusal(403, "Elevation is not available: no second factor is set up")
    given = call.json_object().get("timeBasedOneTimePassword")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), code.encode()):
        raise Refusal(401, "Invalid one-time password")
    if call.session is not None:
        call.session.pending = False


@area.on("GET", "/api/identity/v1/authentication/session")
async def session_identity(call: Call) -> Any:
    return {"userId": call.user.id}


@area.on("GET", "/api/content/v2/authentication/session")
async def session_content(call: Call) -> Any:
    return {"userId": call.user.id}


@area.on("GET", "/api/domoweb/auth/sendReset", accepts=NOBODY)
async def send_reset(_: Call) -> Any:
    """Would send a mail. The answer does not tell whether the address is known."""
    return ""
