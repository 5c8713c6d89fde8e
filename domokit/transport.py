"""From a route to JSON: `Route`, `send`, pages and the dry run.

One call: `send` looks whether the auth may sign the route and whether this is a dry run, builds the request, and hands
it to the auth object's connection, which signs, repeats, maps errors and keeps to the limits.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Mapping, Sequence, Set
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from decimal import Decimal
from types import UnionType
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

import anyio
import attrs
import httpx

from domokit._secrets import Secret
from domokit.auth import Answer, Auth, Family, override, record
from domokit.auth.base import connection_for
from domokit.connection.exchange import RETRIED_STATUSES, Connection, decode, in_utf8
from domokit.errors import (
    APIError,
    DomoDecodeError,
    DomoError,
    DryRunRefused,
    IncompleteDataError,
    InvalidInputError,
    SeveralFailedError,
    UnexpectedPageError,
    UnsupportedByAuth,
    connection_error,
)

__all__ = [
    "EVEN_500",
    "Answer",
    "Content",
    "Fetch",
    "Json",
    "Route",
    "Streamed",
    "dry_run",
    "fan_out",
    "is_dry_run",
    "member",
    "members",
    "override",
    "pages",
    "plain_text",
    "platform",
    "product",
    "record",
    "require_family",
    "send",
    "stream",
]

Json = Any  # what json.loads gives; secrets inside are Secret
T = TypeVar("T")
K = TypeVar("K")

EVEN_500: Set[int] = RETRIED_STATUSES | {500}  # for `Route.retried`
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_SIGNED_BY: Mapping[Family, str] = {
    "product": "SessionAuth or AccessTokenAuth",
    "platform": "OAuthClientAuth",
}
_dry: ContextVar[bool] = ContextVar("domokit.dry_run", default=False)


@attrs.frozen
class Route:
    """One endpoint: its family, method and path template, and what is unusual about it.

    returns:     the JSON type promised (dict, list, or a union), or bytes; None where the answer's body says nothing.
    may_be_empty:  whether an empty body is an answer, too, and gives None.
    changes:     whether it changes anything on the other side; by default all but GET do.
    repeatable:  whether sending it twice does no harm; by default GET, PUT, DELETE and what changes nothing.
    retried:     the statuses after which it is sent again, if that does no harm.
    exact:       whether numbers with a fraction or an exponent come as `Decimal`, with every digit, and not as floats.
    accept:      what to ask for instead of JSON, such as 'image/png'.
    errors:      what odd statuses of this endpoint mean.
    """

    family: Family
    method: str
    path: str
    returns: type | UnionType | None = attrs.field(default=dict, kw_only=True)
    changes: bool = attrs.field(
        default=attrs.Factory(lambda self: self.method not in _SAFE_METHODS, takes_self=True), kw_only=True
    )
    repeatable: bool = attrs.field(
        default=attrs.Factory(lambda self: self.method in _REPEATABLE_METHODS or not self.changes, takes_self=True),
        kw_only=True,
    )
    retried: Set[int] = attrs.field(default=RETRIED_STATUSES, kw_only=True, repr=False)
    accept: str | None = attrs.field(default=None, kw_only=True)
    may_be_empty: bool = attrs.field(default=False, kw_only=True)
    exact: bool = attrs.field(default=False, kw_only=True)
    errors: Mapping[int, Callable[..., APIError]] = attrs.field(factory=dict, kw_only=True, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def url(self, parts: Mapping[str, object]) -> str:
        """The path with its parts filled in, quoted. Raises InvalidInputError for a part that would change the path."""
        if not parts:
            return self.path
        quoted: dict[str, str] = {}
        for name, part in parts.items():
            text = str(part)
            if part is None or text.strip(". ") == "" or isinstance(part, Secret):
                raise InvalidInputError(f"{name} may not be {text!r}", asked=str(self))
            quoted[name] = quote(text, safe="")
        return self.path.format_map(quoted)


def product(method: str, path: str, **oddities: Any) -> Route:
    """A route of the product API, https://{instance}.domo.com/api/…"""
    return Route("product", method, path, **oddities)


def platform(method: str, path: str, **oddities: Any) -> Route:
    """A route of the platform API, https://api.domo.com/v1/…"""
    return Route("platform", method, path, **oddities)


@contextmanager
def dry_run() -> Generator[None]:
    """Inside the block no request that changes anything leaves, whatever is called: it raises DryRunRefused instead.

    Signing in and reading work as ever.
    """
    reset = _dry.set(True)
    try:
        yield
    finally:
        _dry.reset(reset)


def is_dry_run() -> bool:
    """Whether this code runs inside a `dry_run()` block."""
    return _dry.get()


@attrs.frozen
class Content:
    """A body that is not JSON: its bytes, what they are ('text/csv'), and how they are compressed ('gzip'), if so."""

    data: bytes = attrs.field(repr=False)
    type: str
    encoding: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.type, **({"Content-Encoding": self.encoding} if self.encoding else {})}


def plain_text(value: str) -> Content:
    """Bare UTF-8 text, for the endpoints that take no JSON."""
    return Content(in_utf8("", lambda: value), "text/plain; charset=utf-8")


async def send(
    auth: Auth,
    route: Route,
    *,
    params: Mapping[str, Any] | None = None,
    json: Json = None,
    content: Content | None = None,
    **parts: object,
) -> Json:
    """Send one request; return its decoded JSON (or bytes), or None where the route promises none.

    params:  query parameters; those that are None are left out, booleans are sent as true and false.
    json:    the body. `Secret` values in it are revealed as it is encoded.
    content: the body, for the endpoints that take no JSON.
    parts:   what stands in braces in the route's path.
    Raises: a kind of APIError for any answer that is not what was promised; ConnectionFailedError, OutcomeUnknown;
            UnsupportedByAuth, DryRunRefused and InvalidInputError before anything is sent.
    """
    connection, request, asked = _prepared(auth, route, params, json, content, parts)
    response = await connection.exchange(
        request,
        asked=asked,
        repeatable=route.repeatable,
        auth=auth,
        meanings=route.errors,
        retried=route.retried,
    )
    if route.returns is None or (route.may_be_empty and not response.content.strip()):
        return None
    if route.returns is bytes:
        return response.content
    return decode(asked, response, route.returns, number=Decimal if route.exact else None)


class Streamed:
    """An answer whose body is still to come; see `stream`.

    total_bytes:     how many bytes the body has, if the answer says so; it does not where it is compressed.
    received_bytes:  how many have come so far, as they are on the line: perhaps compressed.
    """

    def __init__(self, response: httpx.Response, asked: str) -> None:
        self._response = response
        self._asked = asked
        self._reading: list[AsyncGenerator[bytes, None]] = []
        length = response.headers.get("content-length", "") if "content-encoding" not in response.headers else ""
        self.total_bytes: int | None = int(length) if length.isdecimal() else None

    @property
    def received_bytes(self) -> int:
        return self._response.num_bytes_downloaded

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, decompressed, as it comes. To be read once.

        Raises: IncompleteDataError, if the connection is lost before its end; UnexpectedPageError, if it is a page.
        """
        reading = self._chunks()
        self._reading.append(reading)
        return reading

    async def aclose(self) -> None:
        """End the reading; `stream` does."""
        for reading in self._reading:
            await reading.aclose()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        is_first = True
        lost: Exception | None = None
        raw = cast("AsyncGenerator[bytes, None]", self._response.aiter_raw())
        decoded = _inflated(raw) if self._response.headers.get("content-encoding") == "gzip" else raw
        try:
            async with aclosing(raw), aclosing(decoded):
                async for chunk in decoded:
                    if is_first and chunk[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                        raise UnexpectedPageError("a web page came where rows were due", asked=self._asked, status=200)
                    is_first = False
                    yield chunk
        except (httpx.TransportError, zlib.error, EOFError) as caught:
            lost = caught
        if lost is not None:
            reason = connection_error(self._asked, lost, repeatable=True)
            raise IncompleteDataError(
                f"the answer broke off after {self.received_bytes} bytes: {reason.message}", asked=self._asked
            ) from lost


async def _inflated(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """gzip, decompressed. Raises: EOFError, if its end is missing, which httpx lets pass; zlib.error."""
    member: Any = None
    async for chunk in chunks:
        while chunk:  # one member may follow another
            member = member or zlib.decompressobj(wbits=31)
            if inflated := member.decompress(chunk):
                yield inflated
            chunk, member = (member.unused_data, None) if member.eof else (b"", member)
    if member is not None:
        raise EOFError("the compressed data has no end")


@asynccontextmanager
async def stream(
    auth: Auth, route: Route, *, params: Mapping[str, Any] | None = None, json: Json = None, **parts: object
) -> AsyncGenerator[Streamed, None]:
    """Send one request whose answer is long, and read it inside the block; leaving the block ends the transfer.

    Raises: what `send` raises, before the block is entered.
    """
    connection, request, asked = _prepared(auth, route, params, json, None, parts)
    request.headers["Accept-Encoding"] = "gzip"
    async with connection.streamed(request, asked=asked, auth=auth, meanings=route.errors) as response:
        streamed = Streamed(response, asked)
        try:
            yield streamed
        finally:
            with anyio.CancelScope(shield=True):
                await streamed.aclose()


def _prepared(
    auth: Auth,
    route: Route,
    params: Mapping[str, Any] | None,
    json: Json,
    content: Content | None,
    parts: Mapping[str, object],
) -> tuple[Connection, httpx.Request, str]:
    """The connection, the request, and what is asked in words; refused here is what must not be sent."""
    require_family(auth, route.family, asked=str(route))
    if route.changes and _dry.get():
        raise DryRunRefused("not sent, because this is a dry run", asked=str(route))
    path = in_utf8(str(route), lambda: route.url(parts)).decode()
    url = auth.origin(route.family) + path
    if params and (query := in_utf8(str(route), lambda: _query(params)).decode()):
        url = f"{url}?{query}"
    connection, asked = connection_for(auth), f"{route.method} {path}"
    headers = {"Accept": route.accept} if route.accept else {}
    if content is None:
        request = connection.request(route.method, url, json=json, headers=headers, asked=asked)
    else:
        request = connection.request(route.method, url, content=content.data, headers=headers | content.headers)
    return connection, request, asked


def members(answer: Json, name: str) -> list[Json]:
    """The list that an answer holds under a name; an empty one if it is missing or null.

    Raises: DomoDecodeError, if something else stands there.
    """
    found = answer.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise DomoDecodeError(f"{name!r} of the answer is a {type(found).__name__}, not a list", status=200)
    return found  # pyright: ignore[reportUnknownVariableType]


def member(answer: Json, *names: str) -> Any:
    """What an answer holds under a name, or under names one within the other.

    Raises: DomoDecodeError, if it is missing or null.
    """
    found = answer
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    if found is None:
        raise DomoDecodeError(f"the answer lacks {'.'.join(names)}", status=200)
    return found


def require_family(auth: Auth, family: Family, *, asked: str = "") -> None:
    """Raise UnsupportedByAuth, naming the kinds of auth that can, unless `auth` can sign the API of this family."""
    if family not in auth.families:
        raise UnsupportedByAuth(
            f"{type(auth).__name__} cannot sign the {family} API", asked=asked, hint=f"Use {_SIGNED_BY[family]}."
        )


def _query(params: Mapping[str, Any]) -> str:
    pairs = [(name, value) for name, value in params.items() if value is not None]
    return urlencode(
        [(name, str(value).lower() if isinstance(value, bool) else value) for name, value in pairs], doseq=True
    )


# -- many items

Fetch = Callable[[int, int], Awaitable[list[Json]]]


async def pages(fetch: Fetch, *, size: int, pages_ahead: int = 0) -> AsyncGenerator[list[Json], None]:
    """Yield the pages of an offset and limit listing; `fetch(offset, limit)` gets one.

    A short page is not the end, for the server may cap the page size: the end is an empty page. A server that ignores
    the offset would never give one, so a page that begins like the one before is not yielded again; if it is a full
    one, items would be missing, and that is a DomoDecodeError.
    pages_ahead:  how many pages are asked for at once after the first. Whoever wants that must read to the end.
    """
    offset, before = 0, None
    step, steady = size, False  # what a page seems to hold, and whether one has just held as much
    while True:
        ahead = pages_ahead if steady else 0
        batches: list[list[Json]] = [[] for _ in range(ahead + 1)]

        async def get(number: int, start: int, into: list[list[Json]] = batches) -> None:
            into[number] = await fetch(start, size)

        if ahead:
            await _together([lambda n=n, o=offset + n * step: get(n, o) for n in range(ahead + 1)])
        else:
            await get(0, offset)
        for batch in batches:
            if not batch:
                return
            if before is not None and batch[0] == before:
                if len(batch) >= size:
                    raise DomoDecodeError("the server ignores the offset: the same page came twice", status=200)
                return
            yield batch
            before = batch[0]
            offset += len(batch)
            steady = len(batch) == step
            if not steady:  # the last page, or a capped page size: what was asked for ahead does not fit
                step = len(batch)
                break


async def _together(calls: list[Callable[[], Awaitable[None]]]) -> None:
    """Run a few calls at once; the first that fails cancels the others and is raised as it is."""
    failed: list[Exception] = []

    async def guarded(call: Callable[[], Awaitable[None]], cancel: Callable[[], None]) -> None:
        try:
            await call()
        except DomoError as error:
            failed.append(error)
            cancel()

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(guarded, call, group.cancel_scope.cancel)
    if failed:
        raise failed[0]


async def fan_out(
    call: Callable[[K], Awaitable[T]], items: Sequence[K], *, max_concurrency: int | None = None, what: str = "items"
) -> list[T]:
    """`call` each item; return the results in the order of the items.

    A few workers pull from one iterator; there is never one task per item.
    max_concurrency:  workers at most, default 64; the auth object's own limit holds too.
    Raises: SeveralFailedError with every error by item, when all the others have ended.
    """
    if max_concurrency is not None and max_concurrency < 1:
        raise InvalidInputError("max_concurrency must be at least 1")
    results: list[Any] = [None] * len(items)
    failures: dict[K, DomoError] = {}
    todo = iter(enumerate(items))

    async def work() -> None:
        for index, item in todo:
            try:
                results[index] = await call(item)
            except DomoError as error:
                failures[item] = error

    async with anyio.create_task_group() as group:
        for _ in range(min(max_concurrency or 64, len(items))):
            group.start_soon(work)
    if failures:
        done = {item: result for item, result in zip(items, results, strict=True) if item not in failures}
        first = next(iter(failures.values()))
        raise SeveralFailedError(
            f"{len(failures)} of {len(items)} {what} failed; the first: {first}", failures=failures, results=done
        )
    return results
