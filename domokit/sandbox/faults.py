"""Misbehaviour on demand: what can go wrong between a client and Domo, and when it should."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from starlette.responses import Response

from .records import RequestRecord
from .replies import error_reply, html_page

_BEFORE = "slow_reader latency status rate_limit reset_before html blocked allowlist login_redirect maintenance"
BEFORE = frozenset(_BEFORE.split())
AFTER = frozenset(["reset_after", "truncated", "empty", "half_json", "slow_rows", "rows_lost"])
DETAILS: dict[str, frozenset[str]] = {
    "latency": frozenset({"seconds"}),
    "slow_rows": frozenset({"seconds"}),
    "slow_reader": frozenset({"seconds"}),
    "status": frozenset({"status", "retry_after"}),
    "rate_limit": frozenset({"retry_after"}),
}


def _check(times: Any, skip: Any, details: dict[str, Any]) -> None:
    """Refuse when planned, not when it strikes. Plans may come over HTTP."""
    if not (times is None or isinstance(times, int)) or not isinstance(skip, int):
        raise TypeError("times and skip are whole numbers")
    if not isinstance(details.get("seconds", 0), int | float) or not isinstance(details.get("status", 503), int):
        raise TypeError("seconds is a number, status a whole one")


class Fault:
    """One planned misbehaviour: `hits` counts how often it struck, `cancel()` ends it."""

    def __init__(
        self,
        kind: str,
        *,
        times: int | None,
        skip: int,
        method: str | Iterable[str] | None,
        path: str | None,
        details: dict[str, Any],
        drop: Callable[[Fault], None],
    ) -> None:
        if kind not in BEFORE | AFTER:
            raise ValueError(f"unknown misbehaviour {kind!r}; known are {', '.join(sorted(BEFORE | AFTER))}")
        if unknown := details.keys() - DETAILS.get(kind, frozenset()):
            raise TypeError(f"misbehaviour {kind!r} takes no {', '.join(sorted(unknown))}")
        if kind == "latency" and "seconds" not in details:
            raise TypeError("misbehaviour 'latency' needs seconds=…")
        _check(times, skip, details)
        self.kind: str = kind
        self.times: int | None = times
        self.skip: int = skip
        self.details: dict[str, Any] = details
        methods = [method] if isinstance(method, str) else list(method or ())
        self.methods: set[str] = {each.upper() for each in methods}
        self.path = path
        # A path that starts at the root means "from here on": /v1/users must not strike /api/…/v1/users.
        anchored = path is not None and path.startswith(("/", "^"))
        try:
            pattern = re.compile(path or "")
        except re.error as error:
            raise ValueError(f"path is no regular expression: {error}") from None
        self._matches = pattern.match if anchored else pattern.search
        self.hits: int = 0
        self._drop = drop

    def __repr__(self) -> str:
        return f"Fault({self.kind!r}, times={self.times}, hits={self.hits})"

    def cancel(self) -> None:
        """Stop misbehaving in this way; harmless when already over."""
        self._drop(self)

    def strikes(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it when it is."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.methods and method not in self.methods:
            return False
        if not self._matches(path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        if self.hits == self.times:
            self._drop(self)
        return True


class Faults:
    """The misbehaviours in force, oldest first."""

    def __init__(self) -> None:
        self.active: list[Fault] = []

    def add(
        self,
        kind: str,
        *,
        times: int | None = 1,
        skip: int = 0,
        method: str | Iterable[str] | None = None,
        path: str | None = None,
        **details: Any,
    ) -> Fault:
        """Plan one; see `Sandbox.misbehave`."""
        fault = Fault(kind, times=times, skip=skip, method=method, path=path, details=details, drop=self._drop)
        self.active = [*self.active, fault]
        return fault

    def heal(self) -> None:
        self.active = []

    def _drop(self, fault: Fault) -> None:
        self.active = [each for each in self.active if each is not fault]

    def pause(self, method: str, path: str) -> float:
        """How many seconds to wait before each piece of the body of a request is read."""
        return sum(
            float(fault.details.get("seconds", 0.0))
            for fault in self.active
            if fault.kind == "slow_reader" and fault.strikes(method, path)
        )

    def strike(self, record: RequestRecord) -> tuple[float, Fault | None]:
        """(seconds of latency, the fault that hits this request or None). One hit besides latency."""
        seconds = 0.0
        for fault in self.active:
            if fault.kind != "slow_reader" and fault.strikes(record.method, record.path):
                if fault.kind != "latency":
                    return seconds, fault
                seconds += float(fault.details["seconds"])
        return seconds, None


def answer_instead(fault: Fault, *, instance: str, path: str, ip: str) -> Response:
    """The answer of a fault that keeps the request from being acted on."""
    origin = f"https://{instance}.domo.com"
    match fault.kind:
        case "status" | "rate_limit":
            status = int(fault.details.get("status", 503)) if fault.kind == "status" else 429
            after = fault.details.get("retry_after")
            return error_reply(status, path=path, headers={} if after is None else {"Retry-After": str(after)})
        case "blocked":
            page = f"<p>Access from your network is not allowed.</p><p>{ip}</p>"
            return html_page("Domo - Blocked", page)
        case "allowlist":
            where = f"{origin}/auth/whitelist/blocked"
            return html_page("Not on the whitelist", "<p>blocked</p>", status=303, headers={"Location": where})
        case "login_redirect":
            return html_page("Found", "<p>Sign in</p>", status=302, headers={"Location": "/auth/index"})
        case "maintenance":
            return html_page("Domo - Maintenance", "<p>Domo is down for maintenance.</p>", status=503)
        case _:
            return html_page("Domo", "<p>Something went wrong.</p>")
