"""Answers that are read as they come: rows by the million must neither be held nor be cut short unnoticed."""

import gzip

import anyio
import pytest

from domokit import NO_RETRY, AccessTokenAuth, ClientOptions, RetryPolicy, dry_run, record
from domokit.errors import (
    AuthenticationError,
    IncompleteDataError,
    NotFoundError,
    ServiceUnavailableError,
    UnexpectedPageError,
)
from domokit.transport import Content, product, send, stream

from .loopback import http, loopback

ROWS = product("GET", "/api/rows/{name}", accept="text/csv")
PART = product("PUT", "/api/parts/{part}", returns=None)
# What is left early leaves generators of httpx and httpcore unfinished; trio tells of it, and nobody can close them.
left_early = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")
FAST = RetryPolicy(base=0.01, cap=0.02)


def at(origin, **options):
    return AccessTokenAuth("acme", "tok-4f3e2d1c0b9a8877", options=ClientOptions(base_url=origin, **options))


def csv(body, *, length=None, **headers):
    named = {"Content-Type": "text/csv", "Content-Length": len(body) if length is None else length} | {
        name.replace("_", "-"): one for name, one in headers.items()
    }
    rows = "".join(f"{name}: {one}\r\n" for name, one in named.items())
    return f"HTTP/1.1 200 OK\r\n{rows}\r\n".encode() + body


async def read(auth, name="a"):
    async with stream(auth, ROWS, name=name) as answer:
        return b"".join([chunk async for chunk in answer.chunks()]), answer


async def test_the_body_comes_as_it_arrives():
    more = anyio.Event()

    async def answer(request):
        await request.send(csv(b"1,a\n", length=8))
        await more.wait()
        return b"2,b\n"

    async with loopback(answer) as server, at(server.origin) as auth, stream(auth, ROWS, name="a") as answered:
        chunks = answered.chunks()
        assert await anext(chunks) == b"1,a\n"
        assert (answered.total_bytes, answered.received_bytes) == (8, 4)
        more.set()
        assert await anext(chunks) == b"2,b\n"
        assert await anext(chunks, None) is None
        asked = server.requests[0]
        assert (asked.method, asked.target) == ("GET", "/api/rows/a")
        assert asked.headers["accept"] == "text/csv"
        assert asked.headers["x-domo-developer-token"] == "tok-4f3e2d1c0b9a8877"


async def test_a_compressed_body_is_decompressed():
    rows = b"1,a\n" * 1000

    async def answer(request):
        return csv(gzip.compress(rows), Content_Encoding="gzip")

    async with loopback(answer) as server, at(server.origin) as auth:
        body, answered = await read(auth)
    assert body == rows
    assert answered.received_bytes < len(rows)
    assert answered.total_bytes is None


async def test_a_body_that_breaks_off_is_an_error_and_not_its_beginning():
    async def answer(request):
        await request.send(csv(b"1,a\n2,b\n", length=100))

    async with loopback(answer) as server, at(server.origin) as auth:
        with pytest.raises(IncompleteDataError, match="broke off after 8 bytes") as caught:
            await read(auth)
        assert caught.value.asked == "GET /api/rows/a"
        assert len(server.requests) == 1


@pytest.mark.parametrize("cut", [-1, -9, 20, 5])
async def test_a_compressed_body_that_is_cut_is_an_error_too(cut):
    """Also where its length is what was announced: then nothing but the compression knows."""

    async def answer(request):
        return csv(gzip.compress(b"1,a\n" * 1000)[:cut], Content_Encoding="gzip")

    async with loopback(answer) as server, at(server.origin) as auth:
        with pytest.raises(IncompleteDataError):
            await read(auth)


async def test_an_error_before_the_body_is_told_as_ever():
    async def answer(request):
        return http({"message": "No such dataset", "toe": "A-B"}, 404)

    async with loopback(answer) as server, at(server.origin) as auth:
        with pytest.raises(NotFoundError, match="No such dataset") as caught:
            await read(auth)
        assert caught.value.request_id == "A-B"


async def test_a_passing_trouble_is_waited_out():
    async def answer(request):
        return http({}, 503) if len(server.requests) < 3 else csv(b"1\n")

    async with loopback(answer) as server, at(server.origin, retry=FAST) as auth:
        assert (await read(auth))[0] == b"1\n"
        assert len(server.requests) == 3
    async with loopback(answer) as server, at(server.origin, retry=NO_RETRY) as auth:
        with pytest.raises(ServiceUnavailableError):
            await read(auth)


@left_early
@pytest.mark.parametrize("kind", ["text/html", "text/csv"])
async def test_a_page_in_place_of_rows_is_an_error(kind):
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"

    async def answer(request):
        return csv(page).replace(b"text/csv", kind.encode())

    async with loopback(answer) as server, at(server.origin) as auth:
        with pytest.raises(UnexpectedPageError):
            await read(auth)


async def test_a_refused_token_is_an_error(domo_sandbox):
    options = ClientOptions(transport=domo_sandbox.app)
    async with AccessTokenAuth(domo_sandbox.instance, "no-such-token-0123456789", options=options) as auth:
        with pytest.raises(AuthenticationError):
            async with stream(auth, product("GET", "/api/data/v1/accounts")):
                pytest.fail("entered")


@left_early
async def test_leaving_early_gives_the_place_back():
    async def answer(request):
        await request.send(csv(b"1\n", length=10**9))
        await anyio.sleep(60)

    async with loopback(answer) as server, at(server.origin, max_concurrency=1, max_connections=1) as auth:
        for _ in range(3):
            with anyio.fail_after(60):
                async with stream(auth, ROWS, name="a") as answered:
                    assert await anext(answered.chunks()) == b"1\n"


async def test_a_transfer_counts_as_a_call_in_flight():
    enough = anyio.Event()

    async def answer(request):
        await request.send(csv(b"1\n", length=4))
        await enough.wait()
        return b"2\n"

    async with loopback(answer) as server, at(server.origin, max_concurrency=2) as auth:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(read, auth)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.3):
                while server.in_flight < 3:
                    await anyio.sleep(0.01)
            assert server.in_flight == 2
            enough.set()
        assert len(server.requests) == 5


async def test_a_part_is_sent_as_it_is():
    body = gzip.compress(b"1,a\n")

    async def answer(request):
        return http({})

    async with loopback(answer) as server, at(server.origin) as auth:
        with record() as answers:
            await send(auth, PART, content=Content(body, "text/csv", "gzip"), part=3)
        asked = server.requests[0]
        assert (asked.method, asked.target, asked.body) == ("PUT", "/api/parts/3", body)
        assert asked.headers["content-type"] == "text/csv"
        assert asked.headers["content-encoding"] == "gzip"
        assert answers[0].status == 200
        with dry_run(), pytest.raises(Exception, match="dry run"):
            await send(auth, PART, content=Content(body, "text/csv", "gzip"), part=4)
        assert len(server.requests) == 1


async def test_a_large_part_arrives_whole_and_may_be_repeated():
    body = bytes(range(256)) * 8192

    async def answer(request):
        return http({}, 503) if len(server.requests) == 1 else http({})

    async with loopback(answer) as server, at(server.origin, retry=FAST) as auth:
        with record() as answers:
            await send(auth, PART, content=Content(body, "text/csv", "gzip"), part=1)
        assert [request.body == body for request in server.requests] == [True, True]
        for request in server.requests:
            assert request.headers["content-length"] == str(len(body))
            assert request.headers["host"] == server.origin.removeprefix("http://")
            assert "transfer-encoding" not in request.headers
        assert answers[-1].request_body == f"<{len(body)} bytes of gzip text/csv>"


async def test_a_record_holds_no_rows_by_the_million():
    async def answer(request):
        return csv(b"x" * 200_000)

    async with loopback(answer) as server, at(server.origin) as auth:
        with record() as answers:
            await send(auth, PART, content=Content(b"y" * 200_000, "text/csv", "gzip"), part=1)
            await read(auth)
        assert answers[0].request_body == "<200000 bytes of gzip text/csv>"
        assert answers[1].body == "<streamed>"
