"""One answer from Domo: a request goes out, within limits, is repeated where it may be, and comes back read.

Everything that is the same for all endpoints happens here and has no parameter anywhere above.
"""

import logging
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Set
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from json import dumps, loads
from types import UnionType
from typing import Any, Self
from urllib.parse import urlencode

import anyio
import attrs
import httpx
from anyio.lowlevel import RunVar
from sniffio import current_async_library

from domokit._secrets import MASK, Secret, forget_frames, is_secret_name, mask, may_hold_secrets, scrub, wrap_secrets
from domokit.connection.options import ClientOptions, RetryPolicy
from domokit.connection.pools import build_transport
from domokit.errors import (
    APIError,
    DomoDecodeError,
    DomoError,
    EmptyAnswerError,
    InvalidInputError,
    OutcomeUnknown,
    RateLimitedError,
    RequestTimeoutError,
    connection_error,
    decode_error,
    error_for,
)

log: logging.Logger = logging.getLogger("domokit.transport")

USER_AGENT = "domokit"
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_PIECE = 256 * 1024  # bytes
_MOST_SHOWN = 64 * 1024  # bytes of rows in a record
_HIDDEN_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


@attrs.frozen
class Answer:
    """One request and its answer, as `record()` keeps them: secrets masked.

    request_body and body are decoded JSON where they are JSON, else text; headers have lower-case names.
    """

    method: str
    url: str
    request_headers: Mapping[str, str]
    request_body: Any
    status: int
    headers: Mapping[str, str]
    body: Any
    seconds: float


@attrs.frozen(kw_only=True)
class Overrides:
    """Options for the calls inside an `override()` block; None keeps what the auth object has."""

    timeout: httpx.Timeout | None = None
    total_timeout: float | None = None
    retry: RetryPolicy | None = None


_recorders: ContextVar[tuple[list[Answer], ...]] = ContextVar("domokit.recorders", default=())
_overrides: ContextVar[Overrides | None] = ContextVar("domokit.overrides", default=None)


@contextmanager
def record() -> Generator[list[Answer]]:
    """Keep every request and answer of the calls inside the block, raw but for masked secrets.

    Repeated requests and sign-ins are in the list too, in the order in which they ended.

        with record() as answers:
            await DomoUser.get_by_id(auth, 27)
        print(answers[-1].body)
    """
    answers: list[Answer] = []
    reset = _recorders.set((*_recorders.get(), answers))
    try:
        yield answers
    finally:
        _recorders.reset(reset)


@contextmanager
def override(
    *,
    timeout: float | httpx.Timeout | None = None,
    total_timeout: float | None = None,
    retry: RetryPolicy | None = None,
) -> Generator[None]:
    """Other timeouts (seconds) or another retry policy for the calls inside the block."""
    given = Overrides(
        timeout=httpx.Timeout(timeout) if timeout is not None else None, total_timeout=total_timeout, retry=retry
    )
    if (outer := _overrides.get()) is not None:  # what is not named here stays as the block around has it
        named = attrs.asdict(given, recurse=False, filter=lambda _, value: value is not None)
        given = attrs.evolve(outer, **named)
    reset = _overrides.set(given)
    try:
        yield
    finally:
        _overrides.reset(reset)


@attrs.frozen(kw_only=True)
class Reply:
    """What came of a request that is sent once, whatever happens.

    response:    with as much of its body as arrived; None if nothing did.
    lost:        why it is not whole; None if it is.
    never_left:  whether it is certain that nothing reached the other side.
    """

    response: httpx.Response | None
    lost: DomoError | None = None
    never_left: bool = False


class _Pieces(httpx.AsyncByteStream):
    """A body, handed over piece by piece: whole, a large one would be copied twice on its way to the socket.

    Nothing is left over of one that is not sent to its end, other than of httpx's own, which are generators.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Reading(self._content)


class _Reading:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = self._content[self._at : self._at + _PIECE]
        if not piece:
            raise StopAsyncIteration
        self._at += len(piece)
        return piece


def _untie(response: httpx.Response) -> None:
    """Part a response that is over from its stream, or the two would hold each other, and with them the request.

    Its body, up to a whole part of a load, would stay in memory until the next garbage collection.
    """
    response.stream = httpx.ByteStream(b"")


class Connection:
    """What one auth object has open on one event loop: a client, a limit, and a common pace."""

    def __init__(self, options: ClientOptions, origin: str) -> None:
        self.options = options
        self._limit = anyio.Semaphore(options.max_concurrency, fast_acquire=True)
        self._not_before = 0.0  # on this loop's clock: a 429 slows every task of this auth
        self._closer: AsyncGenerator[None, None] | None = None
        self._timeout = options.timeout.as_dict()
        self._client = httpx.AsyncClient(
            transport=build_transport(options, origin),
            timeout=options.timeout,
            follow_redirects=False,
            trust_env=False,  # neither .netrc nor proxies by surprise; proxies are chosen in pools.py
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # who we are is said by a header alone
            event_hooks={kind: list(hooks) for kind, hooks in options.event_hooks.items()},
        )
        self.headers: httpx.Headers = httpx.Headers({
            "Accept": "application/json, text/plain",
            "Accept-Encoding": self._client.headers["accept-encoding"],
            "Connection": "keep-alive",
            "User-Agent": USER_AGENT,
        })  # fmt: skip

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        asked: str = "",
    ) -> httpx.Request:
        """A request with this connection's headers. Secrets in `headers`, `json` and `form` are revealed only here.

        A function of its own so that no frame alive while the request is under way holds the encoded body.
        asked:   method and path, for errors.
        Raises: InvalidInputError, for what UTF-8 cannot say.
        """
        sent = httpx.Headers(self.headers)
        if json is not None:
            content = in_utf8(asked, lambda: dumps(json, default=_reveal, ensure_ascii=False, separators=(",", ":")))
            sent["Content-Type"] = "application/json"
        elif form is not None:
            content = in_utf8(asked, lambda: urlencode({key: _plain(value) for key, value in form.items()}))
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        if headers:
            sent.update({name: _plain(value) for name, value in headers.items()})
        request = httpx.Request(method, url, headers=sent, content=content)
        if content:
            request.stream = _Pieces(content)
        return request

    async def exchange(
        self,
        request: httpx.Request,
        *,
        asked: str,
        repeatable: bool,
        auth: httpx.Auth | None,
        meanings: Mapping[int, Callable[..., APIError]] | None = None,
        retried: Set[int] = RETRIED_STATUSES,
        urgent: bool = False,
        to_stream: bool = False,
    ) -> httpx.Response:
        """Send `request`, signed by `auth` if given, until an answer is in hand that is no error.

        asked:       method and path, for errors and the log.
        repeatable:  whether sending it twice does no harm.
        retried:     the statuses after which one that is repeatable is sent again.
        urgent:      past the limit on calls in flight: a sign-in, for which those in flight are waiting.
        to_stream:   leave the body of an answer that is no error unread; for `streamed`, which keeps to the limit.
        Raises: what `error_for` makes of the answer, ConnectionFailedError, RequestTimeoutError, OutcomeUnknown.
        """
        if self._closer is None:
            await self._close_with_loop()
        special = _overrides.get()
        policy = (special and special.retry) or self.options.retry
        total = (special and special.total_timeout) or self.options.total_timeout
        timeout = special.timeout.as_dict() if special and special.timeout else self._timeout
        request.extensions["timeout"] = timeout
        started = time.monotonic()
        attempt = 1
        while True:
            if not urgent:
                await self._keep_pace(asked, policy.budget)
            error: DomoError | None = None
            response: httpx.Response | None = None
            if urgent or to_stream:
                response, error = await self._once(request, asked, repeatable, auth, total, to_stream)
            else:
                async with self._limit:
                    response, error = await self._once(request, asked, repeatable, auth, total)
            if response is not None:
                if not response.is_closed:
                    return response
                if (error := error_for(asked, response, meanings)) is None:
                    return response
                if error.retry_after is not None and error.status == 429:
                    self._slow_down(error.retry_after)
            assert error is not None
            wait = policy.wait_before(attempt + 1, getattr(error, "retry_after", None))
            spent = time.monotonic() - started
            if not _again(error, repeatable, retried) or attempt >= policy.attempts or spent + wait > policy.budget:
                try:
                    raise error
                finally:
                    del error  # or it and this frame would hold each other, and with them the request
            attempt += 1
            log.info("%s: %s; attempt %d of %d in %.2f s", asked, error.message, attempt, policy.attempts, wait)
            if getattr(error, "status", 0) == 429:
                self._slow_down(wait)
            await anyio.sleep(wait)

    @asynccontextmanager
    async def streamed(
        self,
        request: httpx.Request,
        *,
        asked: str,
        auth: httpx.Auth | None,
        meanings: Mapping[int, Callable[..., APIError]] | None = None,
    ) -> AsyncGenerator[httpx.Response, None]:
        """The same for an answer whose body is read by the caller, inside the block; it counts as a call in flight.

        What fails before the body begins is repeated as ever; what fails later is the reader's affair.
        """
        async with self._limit:
            response = await self.exchange(
                request, asked=asked, repeatable=True, auth=auth, meanings=meanings, to_stream=True
            )
            try:
                yield response
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
                _untie(response)

    async def _once(
        self,
        request: httpx.Request,
        asked: str,
        repeatable: bool,
        auth: httpx.Auth | None,
        total: float | None,
        to_stream: bool = False,
    ) -> tuple[httpx.Response | None, DomoError | None]:
        began = time.monotonic()
        lost: Exception | None = None
        with anyio.move_on_after(total) as scope:
            try:
                response = await self._client.send(request, auth=auth, stream=to_stream)
                if to_stream and not (response.is_success and "html" not in response.headers.get("content-type", "")):
                    await response.aread()  # an error: it is told by its body
                if response.is_closed:
                    _untie(response)
            except (httpx.TransportError, httpx.DecodingError) as caught:
                lost = caught
            except BaseException as passing:  # a cancellation, or an error of ours: neither needs the frames below
                forget_frames(passing)
                raise
            else:
                seconds = time.monotonic() - began
                log.debug("%s -> %d in %.0f ms", asked, response.status_code, seconds * 1000)
                if recorders := _recorders.get():
                    answer = _answer(request, response, seconds)
                    for answers in recorders:
                        answers.append(answer)
                return response, None
        if scope.cancelled_caught:
            late = f"no answer within {total:g} s"
            return None, (RequestTimeoutError if repeatable else OutcomeUnknown)(late, asked=asked)
        assert lost is not None
        return None, connection_error(asked, lost, repeatable=repeatable)

    async def send_once(self, request: httpx.Request, *, asked: str, total: float) -> Reply:
        """Send `request`, which spends something: never repeated, and every byte of the answer is kept.

        total:  seconds for all of it.
        """
        special = _overrides.get()
        request.extensions["timeout"] = special.timeout.as_dict() if special and special.timeout else self._timeout
        request.headers["Accept-Encoding"] = "identity"  # what is cut off can still be read
        began = time.monotonic()
        lost: Exception | None = None
        got: httpx.Response | None = None
        content = bytearray()
        with anyio.move_on_after(total) as scope:
            try:
                got = await self._client.send(request, auth=None, stream=True)
                try:
                    async for chunk in got.aiter_raw():
                        content += chunk
                finally:
                    await got.aclose()
                    _untie(got)
            except (httpx.TransportError, httpx.StreamError) as caught:
                lost = caught
            except BaseException as passing:
                forget_frames(passing)
                raise
        whole: httpx.Response | None = None
        if got is not None:
            try:
                whole = httpx.Response(got.status_code, headers=got.headers, content=bytes(content), request=request)
            except httpx.DecodingError as caught:  # compressed against our wish, and not even as it says
                lost = lost or caught
                whole = httpx.Response(got.status_code, content=bytes(content), request=request)
            log.debug("%s -> %d in %.0f ms", asked, got.status_code, (time.monotonic() - began) * 1000)
            if recorders := _recorders.get():
                answer = _answer(request, whole, time.monotonic() - began)
                for answers in recorders:
                    answers.append(answer)
        if scope.cancelled_caught:
            return Reply(response=whole, lost=OutcomeUnknown(f"no answer within {total:g} s", asked=asked))
        if lost is None:
            return Reply(response=whole)
        error = connection_error(asked, lost, repeatable=False)
        return Reply(response=whole, lost=error, never_left=not isinstance(error, OutcomeUnknown))

    async def aclose(self) -> None:
        """Close the client. The connection must not be used afterwards."""
        await self._client.aclose()
        if (closer := self._closer) is not None:
            await closer.aclose()
            if (closers := _closers.get(None)) is not None:
                closers.discard(closer)

    async def _close_with_loop(self) -> None:
        """See to it that the client is closed when the event loop ends, also where nobody calls `aclose()`.

        asyncio and trio both finish the asynchronous generators that are still open then, while they can still await.
        The loop holds them till then: trio warns of one that is dropped earlier, where asyncio finishes it quietly.
        """
        if (closers := _closers.get(None)) is None:
            closers = set[AsyncGenerator[None, None]]()
            _closers.set(closers)
        self._closer = _closing(self._client)
        await anext(self._closer)
        closers.add(self._closer)
        if current_async_library() == "asyncio":
            weakref.finalize(self, closers.discard, self._closer)

    async def _keep_pace(self, asked: str, budget: float) -> None:
        if self._not_before:
            while (wait := self._not_before - anyio.current_time()) > 0:
                if wait > budget:
                    raise RateLimitedError(
                        f"not sent, for Domo wants no call in the next {wait:.0f} s",
                        asked=asked,
                        status=429,
                        retry_after=wait,
                    )
                await anyio.sleep(wait)

    def _slow_down(self, seconds: float) -> None:
        self._not_before = max(self._not_before, anyio.current_time() + seconds)


_closers: RunVar[set[AsyncGenerator[None, None]]] = RunVar("domokit.closers")


async def _closing(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await client.aclose()


def decode(
    asked: str, response: httpx.Response, promised: type | UnionType, *, number: Callable[[str], Any] | None = None
) -> Any:
    """The JSON of an answer, of the promised type (dict, list …); every secret text in it is a `Secret`.

    number:  makes something else than a float of a number with a fraction or an exponent.
    Raises: EmptyAnswerError, DomoDecodeError. Neither keeps the text as context, nor in a frame.
    """
    decoded, problem = _read(response.content, promised, number)
    if problem is not None:
        raise decode_error(EmptyAnswerError if problem is _NOTHING else DomoDecodeError, asked, response, problem)
    return decoded


_NOTHING = "without the data that was promised"


def _read(content: bytes, promised: type | UnionType, number: Callable[[str], Any] | None) -> tuple[Any, str | None]:
    """What the content holds, or else what is wrong with it."""
    if not content.strip():
        return None, _NOTHING
    try:
        decoded = loads(content, parse_float=number)
    except (ValueError, ArithmeticError):
        return None, "the answer is not JSON, or is cut off"
    if not isinstance(decoded, promised):
        kinds = promised.__name__ if isinstance(promised, type) else str(promised)
        return None, f"a {type(decoded).__name__} came where a {kinds} was due"
    return wrap_secrets(decoded) if may_hold_secrets(content) else decoded, None


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def in_utf8(asked: str, text: Callable[[], str]) -> bytes:
    """A text as it is sent. Raises: InvalidInputError, for half a character, such as undecodable bytes leave behind."""
    with suppress(UnicodeEncodeError):  # which holds all of the text, secrets too
        return text().encode()
    raise InvalidInputError("a text holds half a character (a lone surrogate), which UTF-8 has not", asked=asked)


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def _again(error: DomoError, repeatable: bool, retried: Set[int]) -> bool:
    if isinstance(error, APIError):
        return repeatable and error.status in retried
    # A lost connection is ConnectionFailedError only if nothing was done or the request may be repeated.
    return not isinstance(error, OutcomeUnknown)


def _answer(request: httpx.Request, response: httpx.Response, seconds: float) -> Answer:
    return Answer(
        request.method,
        scrub(str(request.url)),
        _shown(request.headers),
        _body(request.headers, request.content),
        response.status_code,
        _shown(response.headers),
        _body(response.headers, response.content) if response.is_closed else "<streamed>",
        seconds,
    )


def _body(headers: httpx.Headers, content: bytes) -> Any:
    kind = headers.get("content-type", "")
    if kind.startswith("text/csv") and len(content) > _MOST_SHOWN:  # rows: nobody reads ten megabytes of them
        return f"<{len(content)} bytes of {' '.join(filter(None, [headers.get('content-encoding'), kind]))}>"
    return mask(_decoded(content))


def _shown(headers: httpx.Headers) -> dict[str, str]:
    return {
        name: MASK if name in _HIDDEN_HEADERS or is_secret_name(name) else scrub(value)
        for name, value in headers.items()
    }


def _decoded(body: bytes) -> Any:
    try:
        return httpx.Response(200, content=body).json()
    except ValueError:
        return body.decode(errors="replace")
