"""A bare HTTP server in the test's own event loop, where connections and bytes are the subject."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener


@dataclass
class Arrived:
    method: str
    target: str
    headers: dict
    body: bytes
    send: object = field(repr=False)


@dataclass
class Loopback:
    """Counts connections, requests, and how many of them are under way at once."""

    answer: object
    origin: str = ""
    connections: int = 0
    closed: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    requests: list = field(default_factory=list)

    async def serve(self, stream):
        self.connections += 1
        try:
            await self._serve(stream)
        finally:
            self.closed += 1

    async def _serve(self, stream):
        async with stream:
            incoming = BufferedByteReceiveStream(stream)
            while True:
                try:
                    head = await incoming.receive_until(b"\r\n\r\n", 65536)
                    line, *rows = head.decode().split("\r\n")
                    headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
                    body = await incoming.receive_exactly(int(headers.get("content-length", 0)))
                except (anyio.IncompleteRead, anyio.BrokenResourceError):
                    return
                method, target, _ = line.split(" ")
                self.requests.append(Arrived(method, target, headers, body, stream.send))
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    answer = await self.answer(self.requests[-1])
                    if answer is None:  # hangs up
                        return
                    await stream.send(answer)
                except anyio.BrokenResourceError:
                    return
                finally:
                    self.in_flight -= 1


@asynccontextmanager
async def loopback(answer, tls=None):
    server = Loopback(answer)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    if tls is not None:
        listener = TLSListener(listener, tls, standard_compatible=False)
    server.origin = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield server
        group.cancel_scope.cancel()


def http(value=None, status=200, **headers):
    body = json.dumps({"id": 1} if value is None else value).encode()
    named = {"Content-Type": "application/json", "Content-Length": len(body)} | {
        name.replace("_", "-"): one for name, one in headers.items()
    }
    rows = "".join(f"{name}: {one}\r\n" for name, one in named.items())
    return f"HTTP/1.1 {status} Whatever\r\n{rows}\r\n".encode() + body


async def at_once(request):
    return http()
