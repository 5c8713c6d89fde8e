"""The ASGI application: hosts, misbehaviour, records, and the way from a request to its handler."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse, Response

from . import control
from .areas import AREAS
from .company import Company
from .credentials import authenticate
from .faults import AFTER, Fault, answer_instead
from .loading import settle
from .records import RequestRecord
from .replies import FileReply, empty, error_reply, reply
from .router import FAMILIES, Router
from .wire import Call, Refusal, Route

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("domokit.sandbox")
NO_QUERY = QueryParams()
ROUTER = Router(route for area in AREAS for route in area.routes)


def families_of(host: str, instance: str) -> tuple[str, ...]:
    """Which API families a Host header reaches; none for an instance that does not exist."""
    name = host.rsplit(":", 1)[0].lower() if not host.endswith("]") else host
    if name == f"{instance}.domo.com".lower():
        return ("product",)
    if name == "api.domo.com":
        return ("platform",)
    return () if name.endswith(".domo.com") else FAMILIES


class App:
    """The sandbox over ASGI. It keeps nothing of its own: state and faults are the company's."""

    def __init__(self, company: Company) -> None:
        self.company = company

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "websocket.close"})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        pieces: list[bytes] = []
        pause = self.company.faults.pause(scope["method"], path) if self.company.faults.active else 0.0
        if pause and (line := _line(scope)) is not None:
            line.narrow()
        while True:
            if pause:
                await anyio.sleep(pause)
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = b"".join(pieces)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = QueryParams(scope["query_string"]) if scope["query_string"] else NO_QUERY
        families = families_of(headers.get("host", ""), self.company.instance)
        call = Call(self.company, scope["method"], path, query, headers, body)
        if path.startswith("/_sandbox/") and families == FAMILIES:
            await _send(send, control.answer(call))
            return
        record = RequestRecord(call.method, path, dict(query), headers, body)
        await self._serve(call, record, families, scope, receive, send)

    async def _serve(
        self,
        call: Call,
        record: RequestRecord,
        families: tuple[str, ...],
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        company = self.company
        line = _line(scope)
        company.requests.append(record)
        await self._tell("received", record)
        fault = None
        if company.faults.active:
            seconds, fault = company.faults.strike(record)
            if seconds:
                await anyio.sleep(seconds)
        if fault is not None and fault.kind == "reset_before":
            self._log(record)
            await _reset(line, receive)
            return
        response: Response | None = None
        try:
            if fault is not None and fault.kind not in AFTER:
                ip = (scope.get("client") or ("127.0.0.1",))[0]
                response = answer_instead(fault, instance=company.instance, path=record.path, ip=ip)
            else:
                response = await self._act(call, families)
                record.user_id = call.caller.id if call.caller else None
                record.credential = call.credential
                record.status = response.status_code
                await self._tell("acted", record)
            answer = response if fault is None else _damaged(response, fault)
            record.status = None if answer is None else answer.status_code
            self._log(record)
            if answer is None:
                await _reset(line, receive)
            elif fault is not None and fault.kind == "truncated":
                await _send_half(answer, line, receive, send)
            elif fault is not None and isinstance(answer, FileReply):
                await _send_slowly_or_short(answer, fault, send)
            else:
                await _send(send, answer)
        finally:
            if isinstance(response, FileReply):
                response.path.unlink(missing_ok=True)

    async def _act(self, call: Call, families: tuple[str, ...]) -> Response:
        if not families:
            return PlainTextResponse("Forbidden", 403)
        product_path: str | None = call.path
        if self.company.pending:
            settle(self.company)
        try:
            route, call.params = ROUTER.find(families, call.method, call.path)
            if route.family == "platform":
                product_path = None
            response = authenticate(call, route)
            if response is None:
                response = _rendered(await route.handler(call))
            if route.changes:
                self._keep(route)
            return response
        except Refusal as refusal:
            who, headers = call.caller.id if call.caller else None, refusal.headers
            return error_reply(refusal.status, refusal.message, path=product_path, user_id=who, headers=headers)
        except Exception as error:  # noqa: BLE001 - a fault of the sandbox is answered like one of Domo
            # Where, not what: the text of an exception may quote a body.
            where = traceback.extract_tb(error.__traceback__)[-1]
            logger.error("%s in %s line %s", type(error).__name__, where.name, where.lineno)
            return error_reply(500, path=product_path, user_id=call.caller.id if call.caller else None)

    def _keep(self, route: Route) -> None:
        if self.company.state_file is None:
            return
        try:
            self.company.save()
        except OSError as error:
            logger.error("could not save the state after %s: %s", route.method, type(error).__name__)

    async def _tell(self, phase: str, record: RequestRecord) -> None:
        for callback in self.company.watchers:
            outcome = callback(phase, record)
            if inspect.isawaitable(outcome):
                await outcome

    def _log(self, record: RequestRecord) -> None:
        logger.info("%s %s %s %s", record.method, record.path, record.status or "cut", record.user_id or "-")


def _line(scope: Message) -> Any:
    """The served connection, if any."""
    return scope.get("extensions", {}).get("domokit.sandbox")


def _rendered(value: Any) -> Response:
    if isinstance(value, Response):
        return value
    return empty() if value is None else reply(value)


def _damaged(response: Response, fault: Fault) -> Response | None:
    """The answer as a fault of the kind "acts, then answers badly" leaves it; None if none is given."""
    if fault.kind == "reset_after":
        return None
    if fault.kind == "empty":
        return empty()
    if fault.kind == "half_json":
        body = response.path.read_bytes() if isinstance(response, FileReply) else bytes(response.body)
        return Response(body[: len(body) // 2], response.status_code, media_type="application/json")
    return response


_PIECE = 256 * 1024  # bytes of a file that are sent at once


async def _send(send: Send, response: Response) -> None:
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    if isinstance(response, FileReply):
        await _send_file(send, response)
    await send({"type": "http.response.body", "body": response.body})


async def _send_file(send: Send, response: FileReply, most: int | None = None, pause: float = 0.0) -> None:
    """The file, or at most so many bytes of it, with a pause in seconds before each piece."""
    left = response.path.stat().st_size if most is None else most
    async with await anyio.open_file(response.path, "rb") as file:
        while left > 0 and (piece := await file.read(min(left, _PIECE))):
            left -= len(piece)
            await anyio.sleep(pause)
            await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _send_half(response: Response, line: Any, receive: Receive, send: Send) -> None:
    """The head of the whole answer, half of its body, and then silence."""
    if isinstance(response, FileReply):
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await _send_file(send, response, response.path.stat().st_size // 2)
        if line is None:
            raise ConnectionResetError("connection reset by the sandbox")
        line.close()
        await _until_gone(receive)
        return
    body = bytes(response.body)
    if len(body) < 2:
        await _reset(line, receive)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    half = body[: len(body) // 2]
    if line is None:
        await send({"type": "http.response.body", "body": half})
        return
    await send({"type": "http.response.body", "body": half, "more_body": True})
    line.close()
    await _until_gone(receive)


async def _send_slowly_or_short(response: FileReply, fault: Fault, send: Send) -> None:
    """Rows that drip, or of which the last are missing though the answer ends as it should."""
    whole = response.path.read_bytes() if fault.kind == "rows_lost" else b""
    kept = whole[: whole[: int(len(whole) * 0.9)].rfind(b"\n") + 1]
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await _send_file(send, response, len(kept) if whole else None, float(fault.details.get("seconds", 0.0)))
    await send({"type": "http.response.body", "body": b""})


async def _reset(line: Any, receive: Receive) -> None:
    if line is None:
        raise ConnectionResetError("connection reset by the sandbox")
    line.abort()
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    # The server notices a lost connection a little later; returning before would be taken for a bug.
    while (await receive())["type"] != "http.disconnect":
        pass
