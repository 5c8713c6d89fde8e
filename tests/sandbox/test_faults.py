"""Every misbehaviour, in process and over a real socket."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from domokit.sandbox import Sandbox
from domokit.sandbox.faults import AFTER, BEFORE

from .helpers import by_token

pytestmark = pytest.mark.anyio
TOKENS = "/api/data/v1/accesstokens"
ME = "/api/content/v2/users/me"


@pytest.fixture(params=["in process", "served"])
def place(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if request.param == "served":
        served: Sandbox = request.getfixturevalue("shared_server")
        yield served
        served.heal()
    else:
        yield Sandbox()


async def create(sb: Sandbox) -> httpx.Response:
    body = {"name": "t", "ownerId": sb.admin.id, "expires": sb.clock.now_ms() + 10**6}
    async with by_token(sb) as admin:
        return await admin.post(TOKENS, json=body)


async def test_latency(place: Sandbox):
    fault = place.misbehave("latency", seconds=0.15)
    before, begin = len(place.state.access_tokens), time.perf_counter()
    assert (await create(place)).status_code == 200
    assert time.perf_counter() - begin >= 0.15
    assert (fault.hits, len(place.state.access_tokens)) == (1, before + 1)


@pytest.mark.parametrize(
    ("kind", "details", "status", "retry_after"),
    [
        ("status", {}, 503, None),
        ("status", {"status": 502, "retry_after": 7}, 502, "7"),
        ("status", {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 503, "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("rate_limit", {}, 429, None),
        ("rate_limit", {"retry_after": 0}, 429, "0"),
    ],
)
async def test_statuses(place: Sandbox, kind: str, details: dict, status: int, retry_after: str | None):
    place.misbehave(kind, **details)
    before = len(place.state.access_tokens)
    answer = await create(place)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers.get("retry-after") == retry_after
    assert len(place.state.access_tokens) == before
    assert (await create(place)).status_code == 200


@pytest.mark.parametrize(("kind", "acts"), [("reset_before", 0), ("reset_after", 1)])
async def test_resets(place: Sandbox, kind: str, acts: int):
    place.misbehave(kind)
    before = len(place.state.access_tokens)
    with pytest.raises(httpx.TransportError if place.served_at else ConnectionResetError):
        await create(place)
    assert len(place.state.access_tokens) == before + acts
    assert place.requests[-1].status is None
    assert (await create(place)).status_code == 200


async def test_a_served_reset_is_a_tcp_reset(shared_server: Sandbox):
    shared_server.misbehave("reset_before")
    with pytest.raises(httpx.ReadError) as caught:  # an orderly close would be a RemoteProtocolError
        await create(shared_server)
    chain: list[BaseException] = [caught.value]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    assert any(isinstance(each, ConnectionResetError) for each in chain)


async def test_truncated(place: Sandbox):
    place.misbehave("truncated")
    before = len(place.state.access_tokens)
    if place.served_at:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            await create(place)
    else:
        answer = await create(place)
        assert len(answer.content) == int(answer.headers["content-length"]) // 2
    assert len(place.state.access_tokens) == before + 1
    assert (await create(place)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "location", "text"),
    [
        ("html", 200, None, "<html>"),
        ("blocked", 200, None, "<title>Domo - Blocked</title>"),
        ("allowlist", 303, "whitelist", "blocked"),
        ("login_redirect", 302, "/auth/index", "Sign in"),
        ("maintenance", 503, None, "maintenance"),
    ],
)
async def test_pages_instead_of_answers(place: Sandbox, kind: str, status: int, location: str | None, text: str):
    place.misbehave(kind)
    before = len(place.state.access_tokens)
    answer = await create(place)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert text in answer.text
    assert location is None or location in answer.headers["location"]
    assert kind != "blocked" or "127.0.0.1" in answer.text
    assert len(place.state.access_tokens) == before


async def test_empty_and_half_json_act(place: Sandbox):
    before = len(place.state.access_tokens)
    place.misbehave("empty")
    answer = await create(place)
    assert (answer.status_code, answer.content) == (200, b"")
    place.misbehave("half_json")
    answer = await create(place)
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.content) == int(answer.headers["content-length"]) > 10
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert len(place.state.access_tokens) == before + 2


async def export(sb: Sandbox, **options: Any) -> httpx.Response:
    """The rows of the seeded dataset without a connector, about five kilobytes."""
    dataset = next(one for one in sb.state.datasets.values() if one.name == "Stock")
    async with by_token(sb) as admin:
        path = f"/api/query/v1/execute/export/{dataset.id}?accept=text/csv&includeHeader=true"
        return await admin.get(path, **options)


async def test_rows_that_are_lost_from_an_export(place: Sandbox):
    whole = (await export(place)).text
    place.misbehave("rows_lost")
    answer = await export(place)
    assert answer.status_code == 200
    assert whole.startswith(answer.text)
    assert answer.text.endswith("\n")
    assert 0.8 < len(answer.text) / len(whole) < 0.95
    assert (await export(place)).text == whole


def exports(sb: Sandbox) -> list[str]:
    return [one.name for one in sb.warehouse.folder.glob("exports/*")]


async def test_an_export_is_damaged_like_any_answer(place: Sandbox):
    whole = (await export(place)).content
    place.misbehave("half_json")
    answer = await export(place)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == whole[: len(whole) // 2]
    place.misbehave("empty")
    answer = await export(place)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await export(place)).content == whole


@pytest.mark.parametrize("kind", sorted(AFTER))
async def test_no_file_is_left_of_an_export(place: Sandbox, kind: str):
    for _ in range(2):
        place.misbehave(kind)
        with suppress(httpx.TransportError, ConnectionResetError):
            await export(place)
    with anyio.fail_after(60):  # the server may be a moment longer at it than its client
        while exports(place):
            await anyio.sleep(0.01)
    assert len((await export(place)).text.splitlines()) == 751


async def test_no_file_is_left_of_an_export_that_fails(sb: Sandbox, monkeypatch: pytest.MonkeyPatch):
    def fail(dataset: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(sb.warehouse, "export", fail)
    assert (await export(sb)).status_code == 500
    assert exports(sb) == []


async def test_no_file_is_left_of_an_export_whose_reader_goes(shared_server: Sandbox):
    shared_server.misbehave("slow_rows", seconds=0.2)
    with pytest.raises(httpx.ReadTimeout):
        await export(shared_server, timeout=0.05)
    with anyio.fail_after(60):
        while exports(shared_server):
            await anyio.sleep(0.01)


async def test_a_client_that_goes_before_it_is_cut_off(shared_server: Sandbox, caplog: pytest.LogCaptureFixture):
    shared_server.misbehave("latency", seconds=0.3)
    fault = shared_server.misbehave("reset_before")
    with pytest.raises(httpx.ReadTimeout):
        await export(shared_server, timeout=0.05)
    await anyio.sleep(0.4)
    assert fault.hits == 1
    assert [one for one in caplog.records if one.name.startswith("uvicorn")] == []


async def test_a_slow_reader(place: Sandbox):
    body = json.dumps({"name": "t" * 300_000, "ownerId": place.admin.id, "expires": 1}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 65_536):
            yield body[at : at + 65_536]

    async def seconds() -> float:
        begin = time.perf_counter()
        async with by_token(place) as admin:
            await admin.post(TOKENS, content=pieces(), headers={"content-type": "application/json"})
        return time.perf_counter() - begin

    fault = place.misbehave("slow_reader", seconds=0.1, method="POST")
    other = place.misbehave("status", skip=1)
    assert await seconds() > 0.15  # two pieces at least, however they are cut on their way
    assert place.requests[-1].size == len(body)
    assert (fault.hits, other.hits) == (1, 0)
    await seconds()
    assert (fault.hits, other.hits) == (1, 1)  # it hits besides others, and those do not count its turns


async def test_a_sender_notices_a_slow_reader(shared_server: Sandbox):
    """A body that nobody reads does not vanish into buffers."""
    shared_server.misbehave("slow_reader", seconds=1)
    length, sent = 64 << 20, 0
    where = httpx.URL(shared_server.base_url)
    async with await anyio.connect_tcp(where.host, where.port or 80) as stream:
        head = f"POST {TOKENS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        await stream.send(head.encode())
        with anyio.move_on_after(0.3):
            while sent < length:
                await stream.send(bytes(65_536))
                sent += 65_536
    assert sent < 16 << 20
    assert (await create(shared_server)).status_code == 200


async def test_slow_rows(place: Sandbox):
    begin = time.perf_counter()
    place.misbehave("slow_rows", seconds=0.15)
    assert len((await export(place)).text.splitlines()) == 751
    assert time.perf_counter() - begin > 0.1


async def test_an_export_that_breaks_off(place: Sandbox):
    place.misbehave("truncated")
    with pytest.raises((httpx.RemoteProtocolError, ConnectionResetError)):
        await export(place)
    assert len((await export(place)).text.splitlines()) == 751


def test_every_kind_is_tested():
    tested = {
        "latency",
        "status",
        "rate_limit",
        "reset_before",
        "reset_after",
        "truncated",
        "html",
        "blocked",
    }
    tested |= {"allowlist", "login_redirect", "maintenance", "empty", "half_json", "slow_rows", "rows_lost"}
    tested |= {"slow_reader"}
    assert tested == BEFORE | AFTER


async def test_times_skip_cancel_and_heal(sb: Sandbox):
    admin = by_token(sb)

    async def statuses(n: int) -> list[int]:
        return [(await admin.get(ME)).status_code for _ in range(n)]

    fault = sb.misbehave("status", times=2, skip=1)
    assert await statuses(5) == [200, 503, 503, 200, 200]
    assert fault.hits == 2
    fault.cancel()
    endless = sb.misbehave("status", times=None, status=500)
    assert await statuses(4) == [500] * 4
    endless.cancel()
    assert await statuses(1) == [200]
    sb.misbehave("status", times=None)
    sb.misbehave("html", times=None)
    sb.heal()
    assert await statuses(2) == [200, 200]


async def test_faults_queue_one_per_request_and_latency_adds(sb: Sandbox):
    admin = by_token(sb)
    sb.misbehave("latency", seconds=0.05, times=None)
    sb.misbehave("status", status=500)
    sb.misbehave("status", status=502)
    begin = time.perf_counter()
    assert [(await admin.get(ME)).status_code for _ in range(3)] == [500, 502, 200]
    assert time.perf_counter() - begin >= 0.15


@pytest.mark.parametrize(
    ("restriction", "hit"),
    [
        ({"method": "post"}, {"POST " + TOKENS}),
        ({"path": TOKENS}, {"POST " + TOKENS, "GET " + TOKENS}),
        ({"method": "GET", "path": TOKENS}, {"GET " + TOKENS}),
        ({"method": ["GET", "POST"], "path": r"tokens$"}, {"POST " + TOKENS, "GET " + TOKENS}),
        ({"path": r"/api/content/v\d/users/me"}, {"GET " + ME}),
        ({"path": "/users/me"}, set()),
        ({"path": "users/me"}, {"GET " + ME}),
    ],
)
async def test_restrictions(sb: Sandbox, restriction: dict, hit: set[str]):
    fault = sb.misbehave("status", times=None, **restriction)
    for method, path in (("GET", TOKENS), ("POST", TOKENS), ("GET", ME)):
        async with by_token(sb) as admin:
            answer = await admin.request(method, path)
        assert (answer.status_code == 503) is (f"{method} {path}" in hit), (method, path)
    assert fault.hits == len(hit)


def test_mistakes_in_planning(sb: Sandbox):
    with pytest.raises(ValueError, match="unknown misbehaviour"):
        sb.misbehave("tantrum")
    with pytest.raises(TypeError, match="seconds"):
        sb.misbehave("latency")
    with pytest.raises(TypeError, match="takes no"):
        sb.misbehave("html", seconds=3)
    assert sb.faults.active == []
