"""The benchmarks in a tiny size, and what they promise beyond time: counts, equal results, bounds. No clock decides."""

import asyncio
import math

import anyio
import httpx
import pytest

from domokit import ClientOptions, DomoUser, OAuthClientAuth

from .cases import CASES, FULL_IMPORT, NEVER_LOADED, OUR_IMPORT, count_locks, run_python, sign
from .clients import FAMILIES, aiohttp_transport, bare, domokit_auth, pydomo
from .measure import TINY, Row, interleaved, ratio
from .server import MAX_PAGE, TOKEN, Server, platform_user, user_ids


@pytest.fixture(scope="module")
def running_server():
    with Server(TINY.users) as server:
        yield server


@pytest.fixture
def server(running_server):
    running_server.reset()
    return running_server


# -- the benchmarks themselves


@pytest.mark.parametrize("name", CASES)
def test_every_benchmark_runs_and_counts_right(server, name):
    rows = asyncio.run(CASES[name](server, TINY))
    assert rows
    assert {row.name for row in rows} == {name}
    for row in rows:
        assert math.isfinite(row.value), row
        assert row.timed or row.met, row


async def test_rounds_are_interleaved_and_compared_round_by_round():
    order = []

    def run(name, times):
        async def once():
            order.append(name)
            return next(times)

        return once

    runs = {"ours": run("ours", iter([2.0, 30.0, 2.0])), "theirs": run("theirs", iter([1.0, 10.0, 2.0]))}
    times = await interleaved(3, runs)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert ratio(times, "ours", "theirs") == 2.0


def test_a_goal_is_met_from_either_side():
    assert Row("a", "b", 1.0, at_most=1.0).met
    assert Row("a", "b", 1.1, at_most=1.0).met is False
    assert Row("a", "b", 8.0, at_least=8).met
    assert Row("a", "b", 8.0).met is None


# -- imports


@pytest.mark.parametrize("statement", [OUR_IMPORT, FULL_IMPORT])
def test_an_import_loads_no_optional_package(statement):
    loaded = run_python(f"{statement}; import sys; print(*sys.modules)").split()
    assert "domokit" in loaded
    assert not set(NEVER_LOADED) & set(loaded)


# -- requests and connections


@pytest.mark.parametrize("family", FAMILIES)
async def test_calls_in_sequence_share_one_connection(server, family):
    async with domokit_auth(server, family) as auth:
        for user_id in user_ids(5):
            await DomoUser.get_by_id(auth, user_id)
    counts = server.counts()
    for_the_token = 1 if family == "platform" else 0  # which is asked for in a thread of its own
    assert (counts.connections, counts.requests) == (for_the_token + 1, 1 + 5)  # one sign-in


async def test_bulk_opens_a_connection_per_call_in_flight_and_keeps_it(server):
    async with domokit_auth(server) as auth:
        for count in (70, 150):
            await DomoUser.get_many(auth, user_ids(count))
    counts = server.counts()
    assert counts.requests == 1 + 70 + 150
    assert counts.connections <= 1 + 64  # one for the token


def test_bulk_over_aiohttp_does_the_same(server):
    async def twice():
        options = {"transport": aiohttp_transport(128), "max_concurrency": 128}
        async with domokit_auth(server, **options) as auth:
            for _ in range(2):
                await DomoUser.get_many(auth, user_ids(200), max_concurrency=128)

    asyncio.run(twice())
    counts = server.counts()
    assert counts.requests == 1 + 200 + 200
    assert counts.connections <= 128


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_listing_asks_for_few_pages_too_many(server, family):
    async with domokit_auth(server, family) as auth:
        await DomoUser.get_all(auth)
    needed = math.ceil(TINY.users / MAX_PAGE) + 1  # the last one is empty
    assert needed + 1 <= server.counts().requests <= 1 + needed + 3


async def test_the_work_is_done_by_a_bounded_number_of_tasks():
    class Watching(httpx.AsyncBaseTransport):
        tasks = in_flight = most_in_flight = 0

        async def handle_async_request(self, request):
            if request.method == "POST":
                return httpx.Response(200, json={"access_token": TOKEN, "expires_in": 3599})
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.tasks = max(self.tasks, len(anyio.get_running_tasks()))
            await anyio.sleep(0.001)
            self.in_flight -= 1
            return httpx.Response(200, json=platform_user(int(request.url.path.rpartition("/")[2])))

    for asked, at_most in ((None, 64), (8, 8)):
        watching = Watching()
        async with OAuthClientAuth("client", "secret", options=ClientOptions(transport=watching)) as auth:
            idle = len(anyio.get_running_tasks())
            await DomoUser.get_many(auth, user_ids(200), max_concurrency=asked)
        assert watching.most_in_flight == at_most
        assert watching.tasks <= idle + at_most


# -- results


@pytest.mark.parametrize("family", FAMILIES)
async def test_all_ways_give_the_same_users(server, family):
    ids = user_ids(50)
    async with domokit_auth(server, family) as auth, bare(server, family) as plain:
        expected = [await plain.get(user_id) for user_id in ids]
        assert [(await DomoUser.get_by_id(auth, user_id)).raw for user_id in ids[:5]] == expected[:5]
        assert [user.raw for user in await DomoUser.get_many(auth, ids)] == expected
        assert sorted(await plain.get_many(ids, 8), key=lambda user: user["id"]) == expected
        everyone = await plain.get_all()
        assert len(everyone) == TINY.users
        assert [user.raw for user in await DomoUser.get_all(auth)] == everyone
        assert [user.raw async for user in DomoUser.get_all(auth)] == everyone


async def test_pydomo_gives_them_too(server):
    client = pydomo(server)
    async with bare(server) as plain:
        for user_id in user_ids(2):
            assert client.users_get(user_id) == await plain.get(user_id)


# -- a token at hand


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_warm_token_takes_no_lock_and_a_cold_one_would_be_noticed(server, family):
    auth = domokit_auth(server, family)
    request = httpx.Request("GET", server.origin)
    with count_locks() as for_cold:
        await sign(auth, request)
    with count_locks() as for_warm:
        await sign(auth, request)
        assert auth.current() is not None
    await auth.aclose()
    assert for_cold
    assert not for_warm
    assert server.counts().requests == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_signing_with_a_warm_token_never_waits(server, family):
    async def warm():
        async with domokit_auth(server, family) as auth:
            return await auth.sign_in()

    auth = asyncio.run(warm())
    request = httpx.Request("GET", server.origin)
    flow = auth.async_auth_flow(request)
    # No event loop runs here, so anything that had to wait, or asked for a lock, would fail.
    with pytest.raises(StopIteration):
        flow.asend(None).send(None)
    with pytest.raises(StopIteration):
        flow.aclose().send(None)
    assert TOKEN in request.headers[auth.header_name]
