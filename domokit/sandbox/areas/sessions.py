"""Active sessions, for administrators."""

from __future__ import annotations

from typing import Any

from ..wire import Area, Call, Refusal

area = Area("product")
PATH = "/api/sessions/v1/admin"
MANAGE = "user.edit"


@area.on("GET", PATH)
async def list_sessions(call: Call) -> Any:
    call.require(MANAGE)
    now = call.now()
    live = [session for session in list(call.state.sessions.values()) if session.expires > now]
    page = call.page(limit=100, most=1_000_000_000)
    return [{"id": session.id, "userId": session.user_id} for session in live[page]]


@area.on("DELETE", PATH + "/{session_id}")
async def revoke(call: Call) -> Any:
    call.require(MANAGE)
    session = call.state.sessions.pop(call.params["session_id"], None)
    if session is None:
        raise Refusal(404, "No such session")
    call.state.forget(session.token)
