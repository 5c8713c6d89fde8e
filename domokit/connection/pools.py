"""The network below an auth object: many small connection pools instead of one large one.

One httpx pool walks all of its connections on every request and every close, and above its keep-alive limit it
reconnects on nearly every call; many pools of one connection each do neither.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.request import getproxies, proxy_bypass

import httpx
from anyio import RunFinishedError, from_thread, to_thread
from anyio.lowlevel import EventLoopToken

from domokit._runtime import home_loop
from domokit.connection.options import ClientOptions, is_loopback

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30.0)


def build_transport(options: ClientOptions, origin: str) -> httpx.AsyncBaseTransport:
    """The transport that the options ask for, for calls to one origin."""
    given = options.transport
    if given is not None:
        chosen = given if isinstance(given, httpx.AsyncBaseTransport) else InProcessTransport(given)
        home = home_loop()
        return chosen if home is None else HomeTransport(chosen, home)
    context = _tls_context_for(origin, options.ca_bundle)
    proxy = options.proxy or (_proxy_from_env(origin) if options.trust_env else None)

    def one_connection() -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(verify=context, proxy=proxy, limits=_ONE, trust_env=False)

    return SpreadTransport(one_connection, options.max_connections)


def _tls_context_for(origin: str, ca_bundle: str | Path | ssl.SSLContext | None) -> ssl.SSLContext:
    if isinstance(ca_bundle, ssl.SSLContext):
        return ca_bundle
    if origin.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loopback: never used, trusts nobody, costs nothing
    return _tls_context(ca_bundle)


@lru_cache(maxsize=8)
def _tls_context(ca_bundle: str | Path | None) -> ssl.SSLContext:
    """Verifying context; reading the certificates takes tens of milliseconds, so it is shared."""
    context = httpx.create_ssl_context(trust_env=True)  # SSL_CERT_FILE and SSL_CERT_DIR count
    if ca_bundle is not None:
        context.load_verify_locations(cafile=str(ca_bundle))
    return context


def _proxy_from_env(origin: str) -> str | None:
    url = httpx.URL(origin)
    if is_loopback(url.host) or proxy_bypass(url.host):
        return None
    found = getproxies()
    return found.get(url.scheme) or found.get("all")


class SpreadTransport(httpx.AsyncBaseTransport):
    """Spreads calls over `size` lanes, each a transport with one connection; the one used last is taken first.

    Lanes are made when they are needed, so a program that makes one call at a time has one connection. With more
    calls than lanes, a call waits in the least loaded one.
    """

    def __init__(self, build: Callable[[], httpx.AsyncBaseTransport], size: int) -> None:
        self._build = build
        self._size = size
        self._idle: list[httpx.AsyncBaseTransport] = []
        self._load: dict[httpx.AsyncBaseTransport, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        lane = self._take()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._give_back(lane)
            raise
        stream = cast("httpx.AsyncByteStream", response.stream)
        response.stream = _Borrowed(stream, lambda: self._give_back(lane))
        return response

    async def aclose(self) -> None:
        lanes, self._load, self._idle = list(self._load), {}, []
        for lane in lanes:
            await lane.aclose()

    def _take(self) -> httpx.AsyncBaseTransport:
        if self._idle:
            lane = self._idle.pop()
        elif len(self._load) < self._size:
            lane = self._build()
            self._load[lane] = 0
        else:
            lane = min(self._load, key=self._load.__getitem__)
        self._load[lane] += 1
        return lane

    def _give_back(self, lane: httpx.AsyncBaseTransport) -> None:
        if lane in self._load:  # not closed in the meantime
            self._load[lane] -= 1
            if not self._load[lane]:
                self._idle.append(lane)


class _Borrowed(httpx.AsyncByteStream):
    """A response body that gives its lane back when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, give_back: Callable[[], None]) -> None:
        self._stream = stream
        self._give_back: Callable[[], None] | None = give_back

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)  # no generator of our own, which nobody would close

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            if (give_back := self._give_back) is not None:
                self._give_back = None
                give_back()


class HomeTransport(httpx.AsyncBaseTransport):
    """Has a transport that somebody handed over called on the event loop it belongs to, from another thread's.

    What a token is renewed by runs in a thread of its own (see `Errand`); pools and in-process applications live on
    the loop of whoever made them.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, home: EventLoopToken) -> None:
        self._transport = transport
        self._home = home

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:

        def call() -> tuple[httpx.Response, Exception | None] | None:
            try:
                return from_thread.run(self._at_home, request, token=self._home)
            except Exception:
                raise
            except BaseException:  # noqa: BLE001 - the loop ended in the midst of it; its cancellation is not ours
                return None

        try:
            answer = await to_thread.run_sync(call)
        except RunFinishedError:
            raise httpx.ConnectError("the event loop that this transport belongs to has ended") from None
        except (CancelledError, RuntimeError) as error:
            raise httpx.ReadError(f"the event loop that this transport belongs to ended: {error}") from None
        if answer is None:
            raise httpx.ReadError("the event loop that this transport belongs to ended")
        response, lost = answer
        response.stream = _Gathered(response.stream, lost)
        return response

    async def _at_home(self, request: httpx.Request) -> tuple[httpx.Response, Exception | None]:
        response = await self._transport.handle_async_request(request)
        stream = cast("httpx.AsyncByteStream", response.stream)
        chunks: list[bytes] = []
        lost: Exception | None = None
        try:
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401 - what has come before a failure counts
        except httpx.TransportError as error:
            lost = error
        finally:
            await stream.aclose()
        kept = httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=httpx.ByteStream(b"".join(chunks)),
            extensions=response.extensions,
        )
        return kept, lost


class _Gathered(httpx.AsyncByteStream):
    """A body that has been read elsewhere, and how its reading failed, if it did."""

    def __init__(self, read: object, lost: Exception | None) -> None:
        self._read = cast("httpx.ByteStream", read)
        self._lost = lost

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._read:
            yield chunk
        if self._lost is not None:
            raise self._lost


class InProcessTransport(httpx.ASGITransport):
    """Calls an ASGI application in this process. What it raises as a lost connection is one, as over a network."""

    def __init__(self, app: Callable[..., Any]) -> None:
        super().__init__(app=cast("Any", app), raise_app_exceptions=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except OSError as lost:
            raise httpx.ReadError(type(lost).__name__, request=request) from None
