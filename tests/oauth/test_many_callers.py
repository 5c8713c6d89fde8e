"""Many tasks, threads and event loops around one token; callers that are cancelled, and loops that end."""

import asyncio
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio
import anyio.to_thread
import httpx
import pytest

from domokit import ClientOptions, override, record
from domokit.errors import ConnectionFailedError, OutcomeUnknown
from domokit.oauth import ClientCredentialsGrant
from domokit.stores import FileStore

from .helpers import (
    CLIENT,
    Events,
    assert_each_spent_once,
    assert_newest_is_stored,
    client_for,
    keeper_for,
    presented,
    record_of,
    seed,
)

EXPIRIES = 10
ROUNDS = 200


async def keep_asking(keeper, server):
    """Ask for the token until it has expired often enough; the tokens that came, without repetitions."""
    served = []
    while server.refreshes < EXPIRIES:
        token = (await keeper.get_token()).access_token.reveal()
        if token not in served[-1:]:
            served.append(token)
        await anyio.sleep(0.005)
    return served


@pytest.fixture
def bounded(server):
    """A token is renewed once in its life: not sooner than in its last fifth, give or take some."""
    server.lifetime = 0.5
    began = time.monotonic()
    yield server
    assert server.count() == server.refreshes >= EXPIRIES
    assert server.refreshes <= (time.monotonic() - began) / (0.75 * server.lifetime) + 1


def assert_in_turn(served, server):
    """Nobody got an older token after a newer one."""
    issued = server.families[0].access
    for tokens in served:
        assert [issued.index(token) for token in tokens] == sorted({issued.index(token) for token in tokens})
        assert len(tokens) > EXPIRIES / 2


async def test_tasks(bounded, anyio_backend_name):
    server = bounded
    keeper, served = keeper_for(server, seed(server)), []

    async def task():
        served.append(await keep_asking(keeper, server))

    async with anyio.create_task_group() as group:
        for _ in range(50 if anyio_backend_name == "asyncio" else 20):
            group.start_soon(task)
    await keeper.aclose()
    assert_each_spent_once(server)
    assert_in_turn(served, server)
    await assert_newest_is_stored(keeper, server)


@pytest.mark.parametrize("share", ["keeper", "file"])
def test_threads_with_event_loops_of_their_own(bounded, tmp_path, share):
    server = bounded
    grant = seed(server)
    common = keeper_for(server, grant)

    def thread(number):
        keeper = common if share == "keeper" else keeper_for(server, grant, store=FileStore(tmp_path / "tokens.json"))

        async def main():
            async with keeper:
                return await keep_asking(keeper, server)

        return anyio.run(main, backend=("asyncio", "trio")[number % 2])

    with ThreadPoolExecutor(16) as pool:
        served = list(pool.map(thread, range(16)))
    assert_each_spent_once(server)
    assert_in_turn(served, server)


def test_threads_without_event_loops(bounded):
    server = bounded
    keeper, served = keeper_for(server, seed(server)), [[] for _ in range(8)]

    def thread(number):
        while server.refreshes < EXPIRIES:
            token = keeper.get_token_blocking().access_token.reveal()
            if token not in served[number][-1:]:
                served[number].append(token)
            time.sleep(0.005)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(thread, range(8)))
    anyio.run(keeper.aclose)
    assert_each_spent_once(server)
    assert_in_turn(served, server)


# -- cancelled


@pytest.fixture
def slow(server):
    """Each token request takes its time, so that most cancellations meet one under way."""
    server.on_request = server.on_acted = lambda request: time.sleep(random.uniform(0, 0.006))
    return server


async def renewed_by_others(keeper, others):
    """What callers get that come with the leading one."""
    got = []

    async def other():
        got.append(await keeper.renew())

    async with anyio.create_task_group() as group:
        for _ in range(others):
            group.start_soon(other)
    return got


async def test_the_leading_caller_is_cancelled_by_its_scope(slow):
    keeper = keeper_for(slow, seed(slow))
    await keeper.get_token()
    cancelled = 0
    for _ in range(ROUNDS):
        before = len(presented(slow))
        got = []

        async def others(got=got):
            got += await renewed_by_others(keeper, 2)

        async with anyio.create_task_group() as group:
            with anyio.move_on_after(random.uniform(0, 0.025)) as scope:
                group.start_soon(others)
                await keeper.renew()
            cancelled += scope.cancelled_caught
        assert len(got) == 2
        assert len(presented(slow)) > before
    await keeper.aclose()
    assert cancelled > ROUNDS / 20
    assert_each_spent_once(slow)
    await assert_newest_is_stored(keeper, slow)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_leading_task_is_cancelled(slow):
    keeper = keeper_for(slow, seed(slow))
    await keeper.get_token()
    cancelled = 0
    for number in range(ROUNDS):
        leader = asyncio.create_task(keeper.renew())
        others = [asyncio.create_task(keeper.renew()) for _ in range(number % 3)]
        await asyncio.sleep(random.uniform(0, 0.025))
        leader.cancel()
        (outcome,) = await asyncio.gather(leader, return_exceptions=True)
        cancelled += isinstance(outcome, asyncio.CancelledError)
        for token in await asyncio.gather(*others):
            assert token.access_token.reveal() in slow.families[0].access
    await keeper.aclose()
    assert cancelled > ROUNDS / 20
    assert_each_spent_once(slow)
    await assert_newest_is_stored(keeper, slow)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_event_loop_of_the_leading_caller_ends(slow, tmp_path, backend):
    keeper = keeper_for(slow, seed(slow), store=FileStore(tmp_path / "tokens.json"))

    async def leave_in_the_midst():
        with anyio.move_on_after(random.uniform(0, 0.02)):
            await keeper.renew()

    anyio.run(keeper.get_token)
    while slow.refreshes < ROUNDS // 10:
        anyio.run(leave_in_the_midst, backend=backend)
    anyio.run(keeper.aclose, backend=backend)
    assert_each_spent_once(slow)
    anyio.run(assert_newest_is_stored, keeper, slow)


def test_a_thread_that_waits_in_another_loop_is_unaffected_by_its_end(server):
    """The loop of whoever set a renewal off ends while others, in loops of their own, wait for it."""
    arrived, go = threading.Event(), threading.Event()

    def hold(request):
        arrived.set()
        assert go.wait(60)

    server.on_request = hold
    keeper = keeper_for(server, seed(server))
    first = anyio.run(keeper.get_token)
    got = []

    async def leave():
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(keeper.renew)
                await anyio.to_thread.run_sync(arrived.wait, 60)
                scope.cancel()

    def wait(backend):
        got.append(anyio.run(keeper.renew, backend=backend))

    anyio.run(leave)
    threads = [threading.Thread(target=wait, args=(backend,)) for backend in ("asyncio", "trio", "asyncio")]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert server.refreshes in (1, 2, 3, 4)  # whoever came when it had ended asked for one more
    assert all(token.access_token != first.access_token for token in got)
    assert_each_spent_once(server)


# -- what goes with a renewal into its thread, and what stays at home


async def test_options_and_records_of_the_caller_reach_the_renewal(server):
    keeper = keeper_for(server, ClientCredentialsGrant())
    with record() as answers:
        await keeper.get_token()
    (answer,) = answers
    assert answer.status == 200
    assert answer.body["access_token"] == answer.request_headers["authorization"] == "***"

    server.fail("hang")
    with override(timeout=0.05), pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        await keeper.renew()
    server.heal()
    assert await keeper.renew()


def answering(number=1):
    return httpx.Response(200, json={"access_token": f"canary-access-{number}", "expires_in": 100})


async def test_a_transport_that_is_handed_over_is_called_in_the_loop_it_belongs_to(server, clock):
    """For a caller who waits, and in the background."""
    home, seen = threading.get_ident(), []

    async def handle(request):
        await anyio.sleep(0.01)
        seen.append(threading.get_ident())
        return answering(len(seen))

    options = ClientOptions(transport=httpx.MockTransport(handle), clock=clock)
    keeper = keeper_for(server, ClientCredentialsGrant(), client=client_for(server, options=options))
    token = await keeper.get_token()
    assert token.access_token.reveal() == "canary-access-1"
    clock.advance(88)
    assert await keeper.get_token() is token
    await keeper.aclose()
    assert (await keeper.get_token()).access_token.reveal() == "canary-access-2"
    assert seen == [home, home]


async def test_an_application_is_called_in_the_loop_it_belongs_to(server):
    home, seen = threading.get_ident(), []

    async def app(scope, receive, send):
        seen.append(threading.get_ident())
        asked = await receive()
        while asked["more_body"]:
            more = await receive()
            asked = {"body": asked["body"] + more["body"], "more_body": more["more_body"]}
        assert b"grant_type=client_credentials" in asked["body"]
        body = answering().content
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    keeper = keeper_for(
        server, ClientCredentialsGrant(), client=client_for(server, options=ClientOptions(transport=app))
    )
    assert (await keeper.get_token()).access_token.reveal() == "canary-access-1"
    assert seen == [home]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("when", ["before", "in the midst"])
def test_a_transport_whose_loop_ends(server, backend, when):
    """Ended before it was asked: never sent. In the midst of it: unknown. Either way nobody hangs."""
    left, reached = threading.Event(), threading.Event()
    events = Events()

    async def handle(request):
        reached.set()
        await anyio.sleep(60)

    def wait_till_left(request):
        raise AssertionError("not over the network")

    server.on_request = wait_till_left
    options = ClientOptions(transport=httpx.MockTransport(handle))
    keeper = keeper_for(server, seed(server), client=client_for(server, options=options), on_event=events)

    async def leave():
        await keeper.get_token()
        if when == "before":
            load, keeper.store.load = keeper.store.load, None

            async def late(key):
                await anyio.to_thread.run_sync(left.wait, 60)
                keeper.store.load = load
                return await load(key)

            keeper.store.load = late
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(keeper.renew)
                await (
                    anyio.to_thread.run_sync(reached.wait, 60)
                    if when == "in the midst"
                    else anyio.wait_all_tasks_blocked()
                )
                scope.cancel()

    anyio.run(leave, backend=backend)
    left.set()
    anyio.run(keeper.aclose)
    (failed,) = (event for event in events if event.kind == "failed")
    assert isinstance(failed.error, ConnectionFailedError if when == "before" else OutcomeUnknown)
    assert anyio.run(partial(record_of, keeper)).is_outcome_unknown == (when == "in the midst")
    assert CLIENT in repr(keeper)
    assert server.count() == 0
