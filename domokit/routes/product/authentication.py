"""Who is signed in, and the sessions of the instance."""

from domokit.auth import Auth, Secret, SessionAuth
from domokit.transport import Json, product, send

WHO_AM_I = product("GET", "/api/content/v2/users/me")
WHO_AM_I_V3 = product("GET", "/api/content/v3/users/me")
LIST_SESSIONS = product("GET", "/api/sessions/v1/admin", returns=list)
REVOKE_SESSION = product("DELETE", "/api/sessions/v1/admin/{session_id}", returns=None)


async def get_session_token(auth: SessionAuth) -> Secret:
    """Sign in and give the session token. Source: POST /api/content/v2/authentication"""
    await auth.sign_in()
    token = auth.current()
    assert token is not None
    return token


async def get_me(auth: Auth) -> Json:
    """The calling user, content/v2 shape (no roleId). Source: GET /api/content/v2/users/me"""
    return await send(auth, WHO_AM_I)


async def get_me_v3(auth: Auth) -> Json:
    """The calling user, content/v3 shape (with roleId). Source: GET /api/content/v3/users/me"""
    return await send(auth, WHO_AM_I_V3)


async def get_sessions(auth: Auth, *, limit: int = 1_000_000) -> list[Json]:
    """Active sessions of the instance, for administrators. Source: GET /api/sessions/v1/admin"""
    return await send(auth, LIST_SESSIONS, params={"limit": limit})


async def revoke_session(auth: Auth, session_id: str) -> None:
    """End a session. Source: DELETE /api/sessions/v1/admin/{session_id}"""
    await send(auth, REVOKE_SESSION, session_id=session_id)
