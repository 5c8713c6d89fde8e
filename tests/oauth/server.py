"""A small OAuth 2.0 server on a real port, which remembers everything it was asked and misbehaves when it is told to.

It knows nothing of domokit, so that what both believe of the protocol is written down twice. It runs in a thread of the
test, which steers it by plain attributes, and counts what processes of their own ask of it.
"""

import asyncio
import contextlib
import json
import re
import secrets
import socket
import struct
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus

import attrs
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.auto import AutoHTTPProtocol

TOKEN_PATHS = ("/token", "/oauth/token", "/auth/oauth2/v1/token")
API_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CLIENT_AUTHS = ("basic", "basic-raw", "post", "none")
EXPIRES_IN_STYLES = ("number", "text", "absent")
FAULTS = {
    "reset": frozenset(),
    "truncated": frozenset({"keep"}),
    "html": frozenset({"status"}),
    "status": frozenset({"status", "retry_after", "body"}),
    "latency": frozenset({"seconds"}),
    "odd": frozenset(),
    "hang": frozenset(),
}
_BAD_REFRESH = "The refresh token is invalid."  # whatever is wrong with it: nothing is told to who guesses
_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LINGER_NONE = struct.pack("ii", 1, 0)  # closing then sends RST instead of FIN


# -- what is remembered


@attrs.define(eq=False)
class TokenRequest:
    """One request of the token endpoint.

    `outcome` is "" while nothing has been decided, then "ok", the OAuth error, or the fault that kept the server from
    acting. `status` is what was answered: None while in flight and when the connection was cut. `at` is
    `time.monotonic()`, which all processes of a machine share.
    """

    number: int
    url: str
    headers: dict[str, str] = attrs.field(repr=False)
    body: str = attrs.field(repr=False)
    at: float = attrs.field(factory=time.monotonic)
    form: dict[str, str] = attrs.field(init=False)
    client_id: str = ""
    outcome: str = ""
    status: int | None = None
    fault: str = ""
    access_token: str | None = None  # what was issued, even if it never arrived
    new_refresh_token: str | None = None

    def __attrs_post_init__(self) -> None:
        self.form = dict(self.fields)
        self.client_id = self.form.get("client_id", "")

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The form with fields sent twice in it twice."""
        return parse_qsl(self.body, keep_blank_values=True)

    @property
    def grant(self) -> str:
        return self.form.get("grant_type", "")

    @property
    def refresh_token(self) -> str | None:
        """The refresh token presented."""
        return self.form.get("refresh_token")


@attrs.frozen
class ApiRequest:
    """One request of the API behind the tokens."""

    path: str
    access_token: str | None
    status: int
    at: float = attrs.field(factory=time.monotonic)


@attrs.define(eq=False)
class Family:
    """All tokens that came of one sign-in, oldest first; they are revoked together. `ended` says why they were."""

    number: int
    client_id: str
    user: str | None
    scope: str
    alive: bool = True
    ended: str = ""
    access: list[str] = attrs.field(factory=list)
    refresh: list[str] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Access:
    number: int
    family: Family
    expires: float
    denied: bool = False


@attrs.define(eq=False)
class _Refresh:
    family: Family
    expires: float
    spent: float | None = None


@attrs.frozen
class _Client:
    id: str
    secret: str
    auth: str


@attrs.define(eq=False)
class Fault:
    """A planned misbehaviour; `hits` counts the requests it struck."""

    kind: str
    times: int | None
    grant: str | None
    after_acting: bool
    details: dict[str, Any]
    healed: asyncio.Event = attrs.field(repr=False)
    hits: int = 0


class _RefusedError(Exception):
    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status

    def response(self) -> Response:
        challenge = {"WWW-Authenticate": 'Basic realm="oauth"'} if self.status == 401 else {}
        return _json({"error": self.error, "error_description": self.description}, self.status, challenge)


class _ClosingError(Exception):
    """The server is closing, so a request that waits is never answered."""


# -- the wire


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(value, status, {"Cache-Control": "no-store", "Pragma": "no-cache", **(headers or {})})


class _Cut(Response):
    """Promises the whole body, sends its first bytes only and ends the connection; or resets it without a word."""

    def __init__(self, whole: Response | None = None, keep: int | None = None) -> None:
        super().__init__(whole.body if whole else b"", whole.status_code if whole else 200)
        self.whole = whole
        self.keep = keep

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        connection = scope["extensions"]["connection"]
        if self.whole is None:
            connection.reset()
        else:
            size = len(self.body)
            part = bytes(self.body[: size * 4 // 5 if self.keep is None else min(self.keep, size - 1)])
            headers = self.whole.raw_headers
            await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": part, "more_body": True})
            connection.transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass  # uvicorn would take an earlier return for a bug


class _Protocol(AutoHTTPProtocol):
    """One connection, which the application reaches as an ASGI extension."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False
        app = self.app

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})["connection"] = self
            await app(scope, receive, send)

        self.app = with_connection

    def reset(self) -> None:
        if (connection := self.transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self.transport.abort()


class _Uvicorn(uvicorn.Server):
    """Starts and ends at once, where uvicorn looks up ten times a second and waits for its clients to leave."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop
        self.closing: asyncio.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop, self.closing = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.closing.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if tasks := list(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=5)


# -- the server


@attrs.define(kw_only=True, eq=False, repr=False)
class OAuthServer:
    """Clients, users and tokens, served while it is entered. All that can be given can also be changed later.

    with OAuthServer(rotate=True, grace=0.0) as server:
        server.add_client("id", secret="s")
        …                                   # requests to server.token_url
        assert server.count("refresh_token") == 1

    rotate: whether a refresh token is spent by using it; if not, the answer to a refresh holds none.
    grace: for so many seconds a spent refresh token is answered with one more new pair.
    session_quota: how many sessions a user may have open, None for any number.
    date_ahead: how many seconds its Date is ahead of this machine's clock; None for no Date at all.
    scopes: what may be asked for, None for anything.
    on_request: called with the request once it has arrived, before anything is done about it.
    on_acted: called after acting, before a byte of the answer is sent.

    The two hooks run in threads of their own, so they may block without stopping other requests. What they raise is
    raised again when the server is left.
    """

    lifetime: float = 3600.0
    refresh_lifetime: float = 86400.0
    rotate: bool = True
    grace: float = 0.0
    jwt: bool = False
    token_type: str = "bearer"
    expires_in_style: str = attrs.field(default="number", validator=attrs.validators.in_(EXPIRES_IN_STYLES))
    scopes: Iterable[str] | None = None
    extra: dict[str, Any] = attrs.field(factory=dict)
    session_quota: int | None = None
    date_ahead: float | None = 0.0
    on_request: Callable[[TokenRequest], object] | None = None
    on_acted: Callable[[TokenRequest], object] | None = None

    requests: list[TokenRequest] = attrs.field(init=False, factory=list)
    api_requests: list[ApiRequest] = attrs.field(init=False, factory=list)
    families: list[Family] = attrs.field(init=False, factory=list)
    refreshes: int = attrs.field(init=False, default=0)  # successful ones, whether or not the answer arrived
    reuses: list[TokenRequest] = attrs.field(init=False, factory=list)
    within_grace: list[TokenRequest] = attrs.field(init=False, factory=list)
    errors: list[BaseException] = attrs.field(init=False, factory=list)
    issuer: str = attrs.field(init=False, default="")

    _clients: dict[str, _Client] = attrs.field(init=False, factory=dict)
    _users: dict[str, str] = attrs.field(init=False, factory=dict)
    _access: dict[str, _Access] = attrs.field(init=False, factory=dict)
    _refresh: dict[str, _Refresh] = attrs.field(init=False, factory=dict)
    _issued: set[str] = attrs.field(init=False, factory=set)
    _faults: list[Fault] = attrs.field(init=False, factory=list)
    _healed: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)
    _ahead: float = attrs.field(init=False, default=0.0)
    _changed: threading.Condition = attrs.field(init=False, factory=threading.Condition)  # its lock guards the state
    _server: _Uvicorn | None = attrs.field(init=False, default=None)
    _thread: threading.Thread | None = attrs.field(init=False, default=None)

    def __enter__(self) -> Self:
        # With the protocol named, asyncio switches Nagle's algorithm off; else an answer in two parts takes 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        self.issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = Starlette(
            routes=[
                *(Route(path, self._token, methods=["POST"]) for path in TOKEN_PATHS),
                *(Route(path, self._api, methods=API_METHODS) for path in ("/api", "/api/{rest:path}")),
            ]
        )
        server = self._server = _Uvicorn(
            uvicorn.Config(
                self._dated(app),
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                backlog=2048,
                date_header=False,
            )
        )

        def work() -> None:
            try:
                server.run(sockets=[listener])
            except BaseException as error:
                self.errors.append(error)
            finally:
                server.ready.set()
                listener.close()

        self._thread = threading.Thread(target=work, name="oauth-server", daemon=True)
        self._thread.start()
        server.ready.wait()
        if not server.started:
            self._thread.join()
            raise RuntimeError("the OAuth server did not start") from (self.errors or [None])[0]
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *rest: object) -> None:
        assert self._server is not None
        assert self._thread is not None
        with contextlib.suppress(RuntimeError):  # the loop may have ended by itself
            self._server.loop.call_soon_threadsafe(self._server.closing.set)
        self._thread.join()
        self._server = self._thread = None
        if self.errors and kind is None:
            raise self.errors[0]

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    @property
    def api_url(self) -> str:
        return f"{self.issuer}/api"

    # -- whom it knows

    def add_client(self, client_id: str, secret: str = "", auth: str = "basic") -> None:
        """Let a client in by one way of showing who it is, and by no other.

        auth: "basic" with both parts form-encoded first (RFC 6749, 2.3.1), "basic-raw" with them as they are, "post"
        for fields of the form, "none" for a public client. An empty secret has to be shown like any other.
        """
        if auth not in CLIENT_AUTHS:
            raise ValueError(f"unknown client authentication {auth!r}; known are {', '.join(CLIENT_AUTHS)}")
        with self._changed:
            self._clients[client_id] = _Client(client_id, secret, auth)

    def add_user(self, name: str, password: str) -> None:
        with self._changed:
            self._users[name] = password

    def issue(self, client_id: str, user: str | None = None, scope: str = "") -> tuple[str, str]:
        """An access and a refresh token of a fresh family, as if a person had signed in with a browser."""
        with self._changed:
            if client_id not in self._clients:
                raise ValueError(f"no client {client_id!r}")
            family = self._new_family(client_id, user, scope)
            return self._new_access(family, scope), self._new_refresh(family)

    # -- what has happened

    @property
    def issued(self) -> frozenset[str]:
        """Every secret it ever gave out, and the canary inside each JWT."""
        with self._changed:
            return frozenset(self._issued)

    def count(self, grant: str | None = None, outcome: str | None = None) -> int:
        """How many token requests arrived, or those of one grant, or with one outcome."""
        with self._changed:
            return sum(grant in (None, one.grant) and outcome in (None, one.outcome) for one in self.requests)

    def wait_until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Return once something holds, looked at whenever a token request gets further; else TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise TimeoutError(f"still not so after {seconds} seconds and {len(self.requests)} requests")

    def is_alive(self, access_token: str) -> bool:
        """Whether the API takes this token now."""
        with self._changed:
            token = self._access.get(access_token)
            return token is not None and self._is_good(token)

    # -- what befalls it

    def deny(self, access_token: str) -> None:
        """Revoke one access token, and leave its family alone."""
        with self._changed:
            self._access[access_token].denied = True

    def revoke_family(self, refresh_token: str) -> None:
        """Revoke every token that came of the same sign-in."""
        with self._changed:
            self._end(self._refresh[refresh_token].family, "revoked")

    def advance(self, seconds: float) -> None:
        """Move the server's clock, by which tokens expire and grace ends."""
        with self._changed:
            self._ahead += seconds

    def fail(
        self,
        kind: str,
        times: int | None = 1,
        grant: str | None = None,
        after_acting: bool = False,
        **details: Any,
    ) -> Fault:
        """Misbehave on the next token requests. Each is hit by the oldest fault that fits it, and by no other.

        kind: what happens.
            "reset": the connection is reset.
            "truncated": it ends after the first `keep` bytes of the body, counted from its end if negative, by
                default after four fifths; never after all. This one always comes after acting.
            "html": a page, with `status` 200.
            "status": an error, with `status` 500, perhaps `retry_after`, and as `body` a text or JSON; "" for none.
            "latency": the answer comes `seconds` later.
            "odd": the answer is JSON, but holds no access token.
            "hang": nothing until `heal()`; then the request goes on as if nothing had been.
        times: how many requests are hit, None for all until `heal()`.
        grant: hit this grant only.
        after_acting: act first, so that what was issued is lost.
        """
        if kind not in FAULTS:
            raise ValueError(f"unknown fault {kind!r}; known are {', '.join(FAULTS)}")
        if unknown := details.keys() - FAULTS[kind]:
            raise TypeError(f"fault {kind!r} takes no {', '.join(sorted(unknown))}")
        if kind == "latency" and "seconds" not in details:
            raise TypeError("fault 'latency' needs seconds=…")
        with self._changed:
            fault = Fault(kind, times, grant, after_acting or kind == "truncated", details, self._healed)
            self._faults.append(fault)
            return fault

    def heal(self) -> None:
        """Forget all faults, and let go on what hangs."""
        with self._changed:
            self._faults.clear()
            healed, self._healed = self._healed, asyncio.Event()
        if self._server is not None:
            self._server.loop.call_soon_threadsafe(healed.set)

    # -- requests

    def _dated(self, app: Any) -> Any:
        async def dated(scope: Any, receive: Any, send: Any) -> None:
            async def with_date(message: Any) -> None:
                if message["type"] == "http.response.start" and self.date_ahead is not None:
                    date = formatdate(time.time() + self.date_ahead, usegmt=True).encode()
                    message = {**message, "headers": [*message["headers"], (b"date", date)]}
                await send(message)

            await app(scope, receive, with_date)

        return dated

    async def _token(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:  # it has not arrived
            return Response()
        record = self._arrived(request, body)
        try:
            response = await self._answer(record)
        except _ClosingError:
            return _Cut()
        except Exception as error:
            self.errors.append(error)
            return Response(status_code=500)
        if not isinstance(response, _Cut):
            with self._changed:
                record.status = response.status_code
                self._changed.notify_all()
        return response

    def _arrived(self, request: Request, body: bytes) -> TokenRequest:
        with self._changed:
            url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            record = TokenRequest(len(self.requests) + 1, url, dict(request.headers), body.decode("ascii", "replace"))
            self.requests.append(record)
            self._changed.notify_all()
        return record

    async def _answer(self, record: TokenRequest) -> Response:
        await self._tell(self.on_request, record)
        fault = self._strike(record)
        if fault and not fault.after_acting:
            await self._pause(fault)
            if (response := _answer_of(fault, None)) is not None:
                record.outcome = fault.kind
                return response
        response = self._act(record)
        await self._tell(self.on_acted, record)
        if fault and fault.after_acting:
            await self._pause(fault)
            return _answer_of(fault, response) or response
        return response

    def _strike(self, record: TokenRequest) -> Fault | None:
        with self._changed:
            fault = next((one for one in self._faults if one.grant in (None, record.grant)), None)
            if fault is not None:
                fault.hits += 1
                record.fault = fault.kind
                if fault.hits == fault.times:
                    self._faults.remove(fault)
            return fault

    async def _pause(self, fault: Fault) -> None:
        if fault.kind == "latency":
            await self._wait(seconds=fault.details["seconds"])
        elif fault.kind == "hang":
            await self._wait(fault.healed)

    async def _tell(self, hook: Callable[[TokenRequest], object] | None, record: TokenRequest) -> None:
        if hook is None:
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            try:
                hook(record)
            except BaseException as error:
                self.errors.append(error)
            with contextlib.suppress(RuntimeError):  # the server may be gone
                loop.call_soon_threadsafe(done.set)

        # No pool: its threads are few, and a hook that holds many requests back would need all of them.
        threading.Thread(target=work, name="oauth-hook", daemon=True).start()
        await self._wait(done)

    async def _wait(self, *events: asyncio.Event, seconds: float | None = None) -> None:
        assert self._server is not None
        closing = self._server.closing
        waits = [asyncio.ensure_future(event.wait()) for event in (*events, closing)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        if closing.is_set():
            raise _ClosingError

    async def _api(self, request: Request) -> Response:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        presented = text if scheme.lower() == "bearer" else None
        with self._changed:
            token = self._access.get(presented or "")
            if token is None or not self._is_good(token):
                headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
                response = _json({"error": "invalid_token"}, 401, headers)
            elif request.url.path == "/api/forbidden":
                headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
                response = _json({"error": "insufficient_scope"}, 403, headers)
            else:
                response = _json({"ok": True, "token_number": token.number})
            self.api_requests.append(ApiRequest(request.url.path, presented, response.status_code))
        return response

    # -- grants; all under the lock

    def _act(self, record: TokenRequest) -> Response:
        with self._changed:
            try:
                response = _json(self._grant(record))
                record.outcome = "ok"
            except _RefusedError as refused:
                record.outcome = refused.error
                response = refused.response()
            self._changed.notify_all()
        return response

    def _grant(self, record: TokenRequest) -> dict[str, Any]:
        kind = record.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise _RefusedError("invalid_request", "The request is no form.")
        if len(record.fields) > len(record.form):
            raise _RefusedError("invalid_request", "A parameter is repeated.")
        self._required(record, "grant_type")
        client = self._authenticated(record)
        match record.grant:
            case "client_credentials":
                return self._client_credentials(record, client)
            case "password":
                return self._password(record, client)
            case "refresh_token":
                return self._refresh_token(record, client)
        raise _RefusedError("unsupported_grant_type", "The grant type is not supported.")

    def _authenticated(self, record: TokenRequest) -> _Client:
        unknown = _RefusedError("invalid_client", "Client authentication failed.", 401)
        header, named = record.headers.get("authorization"), record.form.get("client_id")
        if header is None:
            client = self._clients.get(named or "")
            if client is None or client.auth not in ("post", "none"):
                raise unknown
            if record.form.get("client_secret") != (client.secret if client.auth == "post" else None):
                raise unknown
            return client
        if "client_secret" in record.form:
            raise _RefusedError("invalid_request", "The client authenticates in more than one way.")
        scheme, _, credentials = header.partition(" ")
        try:
            raw_id, colon, raw_secret = b64decode(credentials, validate=True).decode().partition(":")
        except (NotBase64, UnicodeDecodeError):
            raise unknown from None
        if scheme.lower() != "basic" or not colon:
            raise unknown
        decoded = None
        if not _HALF_ESCAPE.search(raw_id + raw_secret):
            decoded = _Client(unquote_plus(raw_id), unquote_plus(raw_secret), "basic")
        for shown in (decoded, _Client(raw_id, raw_secret, "basic-raw")):
            if shown is not None and self._clients.get(shown.id) == shown:
                record.client_id = shown.id
                if named not in (None, shown.id):
                    raise _RefusedError("invalid_request", "The client has two ids.")
                return shown
        record.client_id = raw_id
        raise unknown

    def _client_credentials(self, record: TokenRequest, client: _Client) -> dict[str, Any]:
        if client.auth == "none":
            raise _RefusedError("unauthorized_client", "A public client has no credentials.")
        family = self._new_family(client.id, None, self._scope(record))
        return self._tokens(record, family, family.scope)

    def _password(self, record: TokenRequest, client: _Client) -> dict[str, Any]:
        user, password = self._required(record, "username"), self._required(record, "password")
        exclusive = record.form.get("takeExclusiveSignOnControl", "false").lower()
        if exclusive not in ("true", "false"):
            raise _RefusedError("invalid_request", "takeExclusiveSignOnControl is true or false.")
        scope = self._scope(record)
        if self._users.get(user) != password:
            raise _RefusedError("invalid_grant", "Invalid username or password.")
        if exclusive == "true":
            for family in self._open_families(user):
                self._end(family, "exclusive sign-on")
        elif self.session_quota is not None and len(self._open_families(user)) >= self.session_quota:
            raise _RefusedError("access_denied", "Session quota is reached.")
        if new := record.form.get("newPassword"):
            self._users[user] = new
        family = self._new_family(client.id, user, scope)
        return self._tokens(record, family, scope, self._new_refresh(family))

    def _refresh_token(self, record: TokenRequest, client: _Client) -> dict[str, Any]:
        presented = self._required(record, "refresh_token")
        token, now = self._refresh.get(presented), self._now()
        if token is None or token.family.client_id != client.id:
            raise _RefusedError("invalid_grant", _BAD_REFRESH)
        family, again = token.family, token.spent is not None
        if again and now - token.spent >= self.grace:
            self.reuses.append(record)
            self._end(family, "reuse")
        if not family.alive or now >= token.expires:
            raise _RefusedError("invalid_grant", _BAD_REFRESH)
        scope = self._scope(record, family)
        self.refreshes += 1
        if again:
            self.within_grace.append(record)
        elif self.rotate:
            token.spent = now
        return self._tokens(record, family, scope, self._new_refresh(family) if again or self.rotate else None)

    def _required(self, record: TokenRequest, name: str) -> str:
        if value := record.form.get(name):
            return value
        raise _RefusedError("invalid_request", f"{name} is missing.")

    def _scope(self, record: TokenRequest, family: Family | None = None) -> str:
        """What was asked for, if it may be had; by default all that the family has."""
        asked = record.form.get("scope", "").split()
        allowed = family.scope.split() if family and family.scope else self.scopes
        if allowed is not None and not set(asked) <= set(allowed):
            raise _RefusedError("invalid_scope", "The scope is invalid.")
        return " ".join(asked) or (family.scope if family else "")

    # -- tokens; all under the lock

    def _tokens(self, record: TokenRequest, family: Family, scope: str, refresh: str | None = None) -> dict[str, Any]:
        record.access_token, record.new_refresh_token = self._new_access(family, scope), refresh
        answer: dict[str, Any] = {"access_token": record.access_token, "token_type": self.token_type}
        if self.expires_in_style != "absent":
            seconds = int(self.lifetime) if self.lifetime == int(self.lifetime) else self.lifetime
            answer["expires_in"] = seconds if self.expires_in_style == "number" else str(seconds)
        if scope:
            answer["scope"] = scope
        if refresh is not None:
            answer["refresh_token"] = refresh
        return answer | self.extra

    def _new_family(self, client_id: str, user: str | None, scope: str) -> Family:
        family = Family(len(self.families) + 1, client_id, user, scope)
        self.families.append(family)
        return family

    def _new_access(self, family: Family, scope: str) -> str:
        text = self._secret("access-canary-")
        if self.jwt:
            now = time.time() + self._ahead
            claims = {
                "iss": self.issuer,
                "client_id": family.client_id,
                "sub": family.user or family.client_id,
                "iat": int(now),
                "exp": int(now + self.lifetime),
                "jti": text,
                "scope": scope,
            }
            header = {"alg": "RS256", "typ": "JWT"}
            parts = (json.dumps(header).encode(), json.dumps(claims).encode(), secrets.token_bytes(64))
            text = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
            self._issued.add(text)
        self._access[text] = _Access(len(self._access) + 1, family, self._now() + self.lifetime)
        family.access.append(text)
        return text

    def _new_refresh(self, family: Family) -> str:
        text = self._secret("refresh-canary-")
        self._refresh[text] = _Refresh(family, self._now() + self.refresh_lifetime)
        family.refresh.append(text)
        return text

    def _secret(self, prefix: str) -> str:
        text = prefix + secrets.token_urlsafe(24)
        self._issued.add(text)
        return text

    def _now(self) -> float:
        return time.monotonic() + self._ahead

    def _is_good(self, token: _Access) -> bool:
        return token.family.alive and not token.denied and self._now() < token.expires

    def _open_families(self, user: str) -> list[Family]:
        return [family for family in self.families if family.user == user and self._is_open(family)]

    def _is_open(self, family: Family) -> bool:
        """Whether anything can still be done with one of its tokens."""
        refreshes = (self._refresh[text] for text in family.refresh)
        return family.alive and (
            any(self._is_good(self._access[text]) for text in family.access)
            or any(token.spent is None and self._now() < token.expires for token in refreshes)
        )

    def _end(self, family: Family, why: str) -> None:
        if family.alive:
            family.alive, family.ended = False, why


def _answer_of(fault: Fault, acted: Response | None) -> Response | None:
    """What is answered instead; None if the fault only takes time. `acted`: what would be answered."""
    details = fault.details
    match fault.kind:
        case "reset":
            return _Cut()
        case "truncated":
            return _Cut(acted, details.get("keep"))
        case "html":
            page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Sign in</p></body></html>"
            return HTMLResponse(page, details.get("status", 200))
        case "status":
            after = details.get("retry_after")
            headers = {} if after is None else {"Retry-After": str(after)}
            body = details.get("body", {"error": "temporarily_unavailable", "error_description": "Try again later."})
            status = details.get("status", 500)
            return Response(body, status, headers) if isinstance(body, str) else _json(body, status, headers)
        case "odd":
            answer = {"token_type": "bearer"} if acted is None else json.loads(bytes(acted.body))
            return _json({name: value for name, value in answer.items() if name != "access_token"})
    return None
