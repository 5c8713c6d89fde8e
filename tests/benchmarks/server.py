"""A small Domo for measuring: prepared answers, a chosen latency, and a count of connections and requests.

It runs in a process of its own and must never be what limits; so it knows a handful of GETs and nothing else. It is
steered over its standard input, which keeps the counts free of anything but the traffic measured.
"""

import asyncio
import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

MAX_PAGE = 500
_FIRST = 800_000_000


def _segment(value: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


TOKEN = f"{_segment({'alg': 'RS256'})}.{_segment({'exp': 4_000_000_000})}.{'c2ln' * 8}"  # pydomo reads `exp`


def user_ids(count: int) -> list[int]:
    """The ids of the first users."""
    return list(range(_FIRST, _FIRST + count))


def platform_user(user_id: int) -> dict[str, Any]:
    """A user as GET /v1/users/{id} tells it, of about 515 bytes."""
    return {
        "id": user_id,
        "title": "Senior Analyst, Supply Chain",
        "email": f"user{user_id}@example.com",
        "alternateEmail": f"user{user_id}.private@example.com",
        "role": "Participant",
        "roleId": "4",
        "phone": "801-555-0100",
        "name": f"Alex Sample {user_id}",
        "location": "Lehi, Utah",
        "timezone": "America/Denver",
        "locale": "en-US",
        "employeeNumber": user_id % 100_000,
        "createdAt": "2017-06-12T20:23:57Z",
        "updatedAt": "2024-11-05T08:15:30Z",
        "deleted": False,
        "image": f"https://acme.domo.com/avatar/thumb/domo/{user_id}",
        "groups": [{"id": 1_200_000_004, "name": "Default"}],
    }


def identity_user(user_id: int) -> dict[str, Any]:
    """A user as the product API tells it: a list of attributes, and the main ones once more."""
    plain = {
        "id": user_id,
        "displayName": f"Alex Sample {user_id}",
        "roleId": 2,
        "userName": f"user{user_id}@example.com",
        "emailAddress": f"user{user_id}@example.com",
    }
    attributes = {
        **plain,
        "modified": 1_735_689_600_453,
        "created": 1_700_000_000_000,
        "isAnonymous": False,
        "isSystemUser": False,
        "isPending": False,
        "isActive": True,
        "invitorUserId": _FIRST,
        "avatarKey": f"/api/content/v1/avatar/USER/{user_id}",
        "department": "Supply Chain",
        "title": "Senior Analyst",
    }
    listed: list[dict[str, Any]] = [{"key": key, "values": [value]} for key, value in attributes.items()]
    listed.append({"key": "lastActivity", "values": [1_735_680_000_994], "source": "domo"})
    return {"attributes": listed, **plain}


# -- answers


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@cache
def _user(make: Callable[[int], dict[str, Any]], user_id: int) -> bytes:
    return _encode(make(user_id))


@cache
def page(make: Callable[[int], dict[str, Any]], offset: int, limit: int, users: int) -> bytes:
    """One page of so many users: a list from the platform API, an object with a list from the product API."""
    ids = user_ids(users)[offset : offset + min(limit, MAX_PAGE)]
    body = b"[" + b",".join(_user(make, user_id) for user_id in ids) + b"]"
    return b'{"users":' + body + b"}" if make is identity_user else body


def _page(make: Callable[[int], dict[str, Any]], query: str, users: int) -> bytes:
    asked = parse_qs(query)
    return page(make, int(asked["offset"][0]), int(asked["limit"][0]), users)


def _body(path: str, query: str, users: int) -> bytes | None:
    """What is answered to a request; None for 404."""
    head, _, last = path.rstrip("/").rpartition("/")
    if last.isdigit():
        if head == "/v1/users":
            return _user(platform_user, int(last))
        if head == "/api/identity/v1/users":
            return b'{"users":[' + _user(identity_user, int(last)) + b"]}"
        return None
    match path.rstrip("/"):
        case "/v1/users":
            return _page(platform_user, query, users)
        case "/api/identity/v1/users":
            return _page(identity_user, query, users)
        case "/oauth/token":
            return _encode({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3599, "userId": _FIRST})
        case "/api/content/v2/authentication":
            return _encode({"userId": _FIRST, "success": True, "sessionToken": TOKEN})
        case "/api/content/v2/users/me":
            return _encode({"id": _FIRST, "displayName": "Alex Sample", "emailAddress": "alex@example.com"})
    return None


_SIGN_INS = ("/oauth/token", "/api/content/v2/authentication")


class _State:
    users = 0
    latency = 0.0
    connections = 0
    requests = 0


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self._state = state
        self._waiting = b""
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._state.connections += 1

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head = self._waiting[:end]
            _, found, length = head.lower().partition(b"content-length:")
            end += 4 + (int(length.split(b"\r\n", 1)[0]) if found else 0)
            if len(self._waiting) < end:
                return  # the body is still to come
            self._waiting = self._waiting[end:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        self._state.requests += 1
        path, _, query = head.split(b" ", 2)[1].decode().partition("?")
        if path not in _SIGN_INS and TOKEN.encode() not in head:
            status, body = b"401 Unauthorized", b'{"status":401}'
        elif (body := _body(path, query, self._state.users)) is None:
            status, body = b"404 Not Found", b'{"status":404}'
        else:
            status = b"200 OK"
        answer = b"HTTP/1.1 %b\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (
            status,
            len(body),
            body,
        )
        if self._state.latency:
            self._loop.call_later(self._state.latency, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def _serve(users: int) -> None:
    """Serve so many users until standard input ends.

    Each line there sets the latency and zeroes the counts, or asks for the counts.
    """
    state, loop = _State(), asyncio.get_running_loop()
    state.users = users
    server = await loop.create_server(lambda: _Connection(state), "127.0.0.1", 0, backlog=1024)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await lines.readline():
        if line.strip() == b"counts":
            print(state.connections, state.requests, flush=True)
        else:
            state.latency, state.connections, state.requests = float(line), 0, 0
            print(flush=True)


# -- the other end


@dataclass(frozen=True)
class Counts:
    connections: int
    requests: int


class Process:
    """A server in a process of its own, which prints its port and then answers line by line."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, *self._arguments],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.host = f"127.0.0.1:{self._read()}"
        self.origin = f"http://{self.host}"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=10)

    def ask(self, line: str) -> str:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("the benchmark server did not start, or has died")
        return line.strip()


class Server(Process):
    """The server as its starter sees it.

    with Server(users=10_000) as server:
        server.reset(latency=0.05)
        …                           # requests to server.origin
        server.counts().connections
    """

    def __init__(self, users: int) -> None:
        super().__init__(__file__, str(users))
        self.users = users

    def reset(self, latency: float = 0.0) -> None:
        """Answer each request after so many seconds from now on, and count from zero."""
        self.ask(str(latency))

    def counts(self) -> Counts:
        """Connections opened and requests received since the last `reset()`."""
        return Counts(*map(int, self.ask("counts").split()))


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
