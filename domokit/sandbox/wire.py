"""What crosses the wire: the request as handlers see it, refusals, and the table of routes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.datastructures import QueryParams

from .company import Company
from .model import Session, User
from .state import State

EITHER = frozenset({"session", "developer_token"})


class Refusal(Exception):
    """Raised by a handler to answer with an error."""

    def __init__(self, status: int, message: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.status, self.message, self.headers = status, message, headers


@dataclass(slots=True)
class Call:
    """One request on its way to a handler."""

    company: Company
    method: str
    path: str
    query: QueryParams = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    caller: User | None = None
    credential: str | None = None
    session: Session | None = None

    @property
    def state(self) -> State:
        return self.company.state

    @property
    def user(self) -> User:
        """The caller, on routes that need one."""
        assert self.caller is not None
        return self.caller

    def now(self) -> int:
        """The company's present, in epoch milliseconds."""
        return self.company.clock.now_ms()

    def number(self, name: str) -> int:
        """A whole number from the path; 400 when it is none."""
        try:
            return int(self.params[name])
        except ValueError:
            raise Refusal(400, f"{name} must be a number") from None

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean of the query, in either spelling that clients use (true, True)."""
        text = self.query.get(name)
        return default if text is None else text.lower() == "true"

    def page(self, *, limit: int, most: int) -> slice:
        """The slice that `limit` and `offset` of the query ask for, at most `most` rows."""
        return page_of(self.query.get("offset"), self.query.get("limit"), limit=limit, most=most)

    def json(self) -> Any:
        """The body as JSON; 400 when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refusal(400, "The request body is not valid JSON") from None

    def json_object(self) -> dict[str, Any]:
        if (value := as_object(self.json())) is None:
            raise Refusal(400, "The request body must be a JSON object")
        return value

    def json_list(self) -> list[Any]:
        if (value := as_list(self.json())) is None:
            raise Refusal(400, "The request body must be a JSON list")
        return value

    def require(self, grant: str) -> None:
        """403 unless the caller's role has the grant."""
        if grant not in self.state.grants_of(self.user):
            raise Refusal(403, f"You do not have the {grant} grant")


def as_object(value: Any) -> dict[str, Any] | None:
    """The value if it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    """The value if it is a JSON list."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def list_at(body: Mapping[str, Any], key: str) -> list[Any]:
    """A list of the body; empty when absent, 400 when it is something else."""
    if (value := as_list(body.get(key) or [])) is None:
        raise Refusal(400, f"{key} must be a list")
    return value


def objects_at(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The same of objects."""
    objects = [as_object(each) for each in list_at(body, key)]
    if any(each is None for each in objects):
        raise Refusal(400, f"{key} must be a list of objects")
    return [each for each in objects if each is not None]


def page_of(offset: Any, count: Any, *, limit: int, most: int) -> slice:
    """A slice from loosely typed offset and count; `limit` when no count is given; 400 if unusable."""
    try:
        first = int(offset or 0)
        size = limit if count in (None, "") else int(count)
    except (TypeError, ValueError):
        raise Refusal(400, "limit and offset must be whole numbers") from None
    if first < 0 or size < 0:
        raise Refusal(400, "limit and offset must not be negative")
    return slice(first, first + min(size, most))


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(slots=True)
class Route:
    """One endpoint: where it is, who may call it, and what answers.

    `accepts` is the set of credential kinds; empty means that none is needed. `scope` is the OAuth
    scope that the platform family asks for.
    """

    family: str
    method: str
    path: str
    handler: Handler
    accepts: frozenset[str]
    scope: str | None
    changes: bool


class Area:
    """The routes of one area, collected by decorating their handlers."""

    def __init__(self, family: str, *, scope: str | None = None) -> None:
        self.family, self.scope = family, scope
        self.routes: list[Route] = []

    def on(
        self, method: str, path: str, *, accepts: frozenset[str] | None = None, changes: bool | None = None
    ) -> Callable[[Handler], Handler]:
        """Serve `method` on `path`. `changes` says whether state may change; by default all but GET do."""
        if accepts is None:
            accepts = frozenset({"oauth_client"}) if self.family == "platform" else EITHER
        changing = method != "GET" if changes is None else changes

        def register(handler: Handler) -> Handler:
            self.routes.append(Route(self.family, method, path, handler, accepts, self.scope, changing))
            return handler

        return register
