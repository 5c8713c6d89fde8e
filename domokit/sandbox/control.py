"""The sandbox's own HTTP interface, for those who run it as a server: `/_sandbox/…`."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from .replies import error_reply, reply
from .wire import Call, Refusal


def answer(call: Call) -> Response:
    """Answer one control request. These are neither recorded nor made to misbehave."""
    handler = _HANDLERS.get((call.method, call.path.rstrip("/")))
    if handler is None:
        known = ", ".join(f"{method} {path}" for method, path in _HANDLERS)
        return error_reply(404, f"Known are {known}", path=call.path)
    try:
        return reply(handler(call))
    except Refusal as refusal:
        return error_reply(refusal.status, refusal.message, path=call.path)
    except (TypeError, ValueError, OverflowError) as error:
        return error_reply(400, str(error), path=call.path)


def _clock(call: Call) -> Any:
    """POST {"advance": seconds}; answers the new time."""
    seconds = call.json_object().get("advance")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise Refusal(400, "advance must be a number of seconds")
    return {"now": call.company.clock.advance(seconds).isoformat()}


def _now(call: Call) -> Any:
    return {"now": call.company.clock.now().isoformat()}


def _misbehave(call: Call) -> Any:
    """POST {"kind": …, "times": …, …}, the arguments of `Sandbox.misbehave`."""
    fault = call.company.misbehave(**call.json_object())
    return {"kind": fault.kind, "times": fault.times}


def _heal(call: Call) -> Any:
    call.company.heal()
    return {}


def _requests(call: Call) -> Any:
    return [
        {"method": r.method, "path": r.path, "status": r.status, "user_id": r.user_id}
        for r in list(call.company.requests)
    ]


_HANDLERS = {
    ("GET", "/_sandbox/clock"): _now,
    ("POST", "/_sandbox/clock"): _clock,
    ("POST", "/_sandbox/misbehave"): _misbehave,
    ("DELETE", "/_sandbox/misbehave"): _heal,
    ("GET", "/_sandbox/requests"): _requests,
}
