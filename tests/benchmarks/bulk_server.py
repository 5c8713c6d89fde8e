"""A small Domo for measuring loads and exports of one DataSet, in both API families.

It runs in a process of its own and does as little as it can: what comes in is counted and dropped (or written to files
when the rows are to be checked), what goes out is sent from a file by the kernel. It is steered over its standard
input, as the other server is.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import attrs

from .server import TOKEN, Process

if TYPE_CHECKING:
    from .bulk_data import Data

DATASET_ID = "4405ff58-1957-45f0-82bd-914d989a3ea3"
_STREAM = {"id": 42, "dataSet": {"id": DATASET_ID}, "updateMethod": "REPLACE"}
_BUFFER_BYTES = 1 << 18


@attrs.define
class _State:
    """What is served and counted. keep: the directory that parts are written to; None to drop them."""

    columns: list[dict[str, str]] = attrs.field(factory=list)
    rows: int = 0
    csv: str = ""
    header_bytes: int = 0
    csv_bytes: int = 0
    times: int = 1
    keep: str | None = None
    connections: int = 0
    requests: int = 0
    parts: int = 0
    bytes_in: int = 0
    commits: int = 0
    cpu: float = attrs.field(factory=process_time)

    def counts(self) -> dict[str, Any]:
        counted = ("connections", "requests", "parts", "bytes_in", "commits")
        return {name: getattr(self, name) for name in counted} | {"cpu": process_time() - self.cpu}


# -- answers


def _dataset(state: _State) -> Any:
    return {
        "id": DATASET_ID,
        "name": "Orders",
        "rows": state.rows,
        "columns": len(state.columns),
        "schema": {"columns": state.columns},
        "pdpEnabled": False,
    }


def _ending_upload(state: _State) -> Any:
    state.commits += 1
    return {"size": {}, "indexing": {"requestKey": 1}}


def _ending_execution(state: _State) -> Any:
    state.commits += 1
    return {"id": 1, "currentState": "SUCCESS"}


_ID = re.escape(DATASET_ID)
_PRODUCT = rf"/api/data/v3/datasources/{_ID}"
_ANSWERS: list[tuple[re.Pattern[str], Callable[[_State], Any]]] = [
    (re.compile(asked), answer)
    for asked, answer in (
        ("(GET|POST) /oauth/token", lambda _: {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3599}),
        # the platform API
        (f"(GET|PUT) /v1/datasets/{_ID}", _dataset),
        ("GET /v1/streams/search", lambda _: [_STREAM]),
        ("POST /v1/streams/42/executions", lambda _: {"id": 1, "currentState": "ACTIVE"}),
        ("GET /v1/streams/42/executions/1", lambda _: {"id": 1, "currentState": "SUCCESS"}),
        ("PUT /v1/streams/42/executions/1/commit", _ending_execution),
        # the product API
        (f"GET {_PRODUCT}", _dataset),
        (f"GET /api/data/v2/datasources/{_ID}/schemas/latest", lambda state: {"schema": {"columns": state.columns}}),
        (f"GET {_PRODUCT}/statuses", lambda state: {"dimension": {"rowCount": state.rows}, "version": {}}),
        (f"POST {_PRODUCT}/uploads", lambda _: {"uploadId": 1}),
        (f"PUT {_PRODUCT}/uploads/1/commit", _ending_upload),
        (
            f"GET /api/query/v1/datasources/{_ID}/schema/indexed",
            lambda state: {"tables": [{"columns": state.columns}]},
        ),
        (f"GET /api/query/v2/data-control/{_ID}", lambda _: {"enabled": False}),
    )
]
_PART = re.compile(rf"PUT (?:/v1/streams/42/executions/1/part|{_PRODUCT}/uploads/1/parts)/(\d+)|PUT /v1/.*/data")
_EXPORT = re.compile(rf"GET (/v1/datasets/{_ID}/data|/api/query/v1/execute/export/{_ID})")


# -- connections


class _Connection(asyncio.BufferedProtocol):
    def __init__(self, state: _State) -> None:
        self._state = state
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._head = b""
        self._asked = ""
        self._left = 0  # of the body
        self._file: Any = None
        self._transport: Any = None
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._state.connections += 1

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        at = 0
        while at < nbytes:
            if self._left:
                took = min(self._left, nbytes - at)
                if self._file is not None:
                    self._file.write(self._buffer[at : at + took])
                self._left -= took
                at += took
            else:
                self._head += bytes(self._buffer[at:nbytes])
                end = self._head.find(b"\r\n\r\n") + 4
                if end < 4:
                    return
                at = nbytes - len(self._head) + end
                self._begin(self._head[:end])
                self._head = b""
            if not self._left:
                self._answer()

    def _begin(self, head: bytes) -> None:
        method, target, _ = head.decode().split(" ", 2)
        self._asked = f"{method} {target.partition('?')[0].rstrip('/')}"
        if TOKEN.encode() not in head and "/oauth/token" not in target:
            self._asked = "401"
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        self._left = int(found[1]) if found else 0
        if part := _PART.fullmatch(self._asked):
            self._state.parts += 1
            self._state.bytes_in += self._left
            if self._state.keep is not None:
                ending = "gz" if re.search(rb"(?i)\r\ncontent-encoding: *gzip", head) else "csv"
                self._file = open(Path(self._state.keep) / f"{int(part[1] or 0):06}.{ending}", "wb")  # noqa: SIM115

    def _answer(self) -> None:
        self._state.requests += 1
        if self._file is not None:
            self._file.close()
            self._file = None
        if _EXPORT.fullmatch(self._asked):
            self._sending = asyncio.get_running_loop().create_task(self._send_rows())
            return
        status, body = b"404 Not Found", b'{"status":404}'
        if self._asked == "401":
            status, body = b"401 Unauthorized", b'{"status":401}'
        elif _PART.fullmatch(self._asked):
            # What pydomo takes for success differs between the two.
            status, body = (b"204 No Content", b"") if self._asked.endswith("/data") else (b"200 OK", b"{}")
        else:
            for pattern, answer in _ANSWERS:
                if pattern.fullmatch(self._asked):
                    status, body = b"200 OK", json.dumps(answer(self._state)).encode()
                    break
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)

    async def _send_rows(self) -> None:
        state, loop = self._state, asyncio.get_running_loop()
        rows_bytes = state.csv_bytes - state.header_bytes
        length = state.header_bytes + rows_bytes * state.times
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n" % length)
        with open(state.csv, "rb") as file:
            for number in range(state.times):
                await loop.sendfile(self._transport, file, state.header_bytes if number else 0)


async def _serve() -> None:
    """Serve until standard input ends. Each line is `counts`, or a JSON object of what is served from now on."""
    state, loop = _State(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(state), "127.0.0.1", 0)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await lines.readline():
        if line.strip() == b"counts":
            print(json.dumps(state.counts()), flush=True)
        else:
            for name, value in attrs.asdict(_State(**json.loads(line))).items():
                setattr(state, name, value)
            print(flush=True)


# -- the other end


class BulkServer(Process):
    """The server as its starter sees it.

    with BulkServer() as server:
        server.serve(usual(1000))
        …                       # loads and exports of DATASET_ID
        server.counts()["bytes_in"]
    """

    def __init__(self) -> None:
        super().__init__("-m", __name__)

    def serve(self, data: "Data", *, times: int = 1, keep: Path | None = None) -> None:
        """Have a DataSet with these rows, so many times, and count from zero. keep: a directory to write parts to."""
        facts = {name: getattr(data, name) for name in ("columns", "header_bytes", "csv_bytes")}
        facts |= {"rows": data.rows * times, "times": times, "csv": str(data.csv)}
        self.ask(json.dumps({**facts, "keep": None if keep is None else str(keep)}))

    def counts(self) -> dict[str, Any]:
        """Connections, requests, parts, the bytes in them, commits, and the seconds of CPU spent since `serve()`."""
        return json.loads(self.ask("counts"))


if __name__ == "__main__":
    asyncio.run(_serve())
