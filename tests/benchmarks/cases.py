"""The benchmarks. Each takes the server and a size, and gives rows of the table."""

import asyncio
import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import anyio
import httpx

from domokit import Auth, DomoUser

from .bulk_cases import download, flat, upload, wide
from .clients import FAMILIES, aiohttp_transport, bare, domokit_auth, pydomo
from .keepers import keeper, stores
from .measure import Row, Seconds, Size, interleaved, ratio, timed
from .server import MAX_PAGE, Server, identity_user, page, platform_user, user_ids

Case = Callable[[Server, Size], Awaitable[list[Row]]]

_ROOT = Path(__file__).parents[2]
LATENCY = 0.05  # seconds, of every answer in bulk reads
MIB = 2**20


# -- import time

OUR_IMPORT = "import domokit"
FULL_IMPORT = "from domokit import DomoUser, SessionAuth"
_FLOOR = "import anyio, attrs, httpx"
NEVER_LOADED = ("pandas", "numpy", "pyarrow", "polars", "aiohttp", "typer", "starlette")


async def imports(server: Server, size: Size) -> list[Row]:
    """Fresh interpreters, over what domokit stands on."""
    statements = (_FLOOR, OUR_IMPORT, FULL_IMPORT, "import pydomo")
    times = await interleaved(size.imports, {one: _importing(one) for one in statements})
    return [
        Row("import", "import domokit, over httpx + attrs + anyio", ratio(times, OUR_IMPORT, _FLOOR), at_most=1.3),
        Row("import", "SessionAuth and DomoUser too", ratio(times, FULL_IMPORT, _FLOOR), at_most=1.6),
        Row("import", "pydomo", ratio(times, "import pydomo", _FLOOR)),
    ]


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _import_time(statement: str) -> Seconds:
    code = f"from time import perf_counter; t = perf_counter(); {statement}; print(perf_counter() - t)"
    return float(run_python(code))


def _importing(statement: str) -> Callable[[], Awaitable[Seconds]]:
    async def run() -> Seconds:
        return _import_time(statement)

    return run


# -- one call after another


async def sequential(server: Server, size: Size) -> list[Row]:
    """`get_by_id`, over the same GET and `json.loads`."""
    rows: list[Row] = []
    ids = user_ids(max(size.calls // size.rounds, 1))

    async def each(get: Callable[[int], Awaitable[Any]]) -> None:
        for user_id in ids:
            await get(user_id)

    for family in FAMILIES:
        server.reset()
        async with domokit_auth(server, family) as auth, bare(server, family) as plain:
            await plain.get(ids[0])
            await DomoUser.get_by_id(auth, ids[0])
            runs = {
                "bare": lambda plain=plain: timed(each(plain.get)),
                "domokit": lambda auth=auth: timed(each(lambda user_id: DomoUser.get_by_id(auth, user_id))),
            }
            if family == "platform":
                client = pydomo(server)
                runs["pydomo"] = lambda client=client: timed(_by_pydomo(client, ids))
            times = await interleaved(size.rounds, runs)
        note = f"{len(ids) * size.rounds} calls each"
        rows.append(
            Row("sequential", f"get_by_id, {family}, over bare httpx", ratio(times, "domokit", "bare"),
                at_most=1.15, note=note)
        )  # fmt: skip
        if "pydomo" in times:
            rows.append(Row("sequential", "pydomo users_get, over bare httpx", ratio(times, "pydomo", "bare")))
    return rows


async def _by_pydomo(client: Any, user_ids: list[int]) -> None:
    for user_id in user_ids:
        client.users_get(user_id)


# -- many at a time


async def bulk(server: Server, size: Size) -> list[Row]:
    """`get_many` at a latency of 50 ms; the times are per user."""
    opened: dict[int, int] = {}  # most connections opened by one run of domokit, by calls in flight

    async def ours(in_flight: int, count: int, *, over_aiohttp: bool = False) -> Seconds:
        transport = aiohttp_transport(in_flight) if over_aiohttp else None
        options = {"max_concurrency": in_flight, "max_connections": in_flight, "transport": transport}
        async with domokit_auth(server, **options) as auth:
            await auth.sign_in()  # on a connection of its own
            server.reset(LATENCY)
            await DomoUser.get_many(auth, user_ids(in_flight), max_concurrency=in_flight)
            spent = await timed(DomoUser.get_many(auth, user_ids(count), max_concurrency=in_flight))
        opened[in_flight] = max(opened.get(in_flight, 0), server.counts().connections)
        return spent / count

    async def theirs(in_flight: int, count: int, **options: Any) -> Seconds:
        server.reset(LATENCY)
        async with bare(server, **options) as plain:
            await plain.get_many(user_ids(in_flight), in_flight)
            return await timed(plain.get_many(user_ids(count), in_flight)) / count

    async def by_pydomo() -> Seconds:
        server.reset(LATENCY)
        return await timed(_by_pydomo(pydomo(server), user_ids(size.pydomo))) / size.pydomo

    fewer = max(size.bulk // 4, 1)
    one_pool = httpx.Limits(max_connections=64)
    times = await interleaved(
        size.bulk_rounds,
        {
            "64": lambda: ours(64, size.bulk),
            "16": lambda: ours(16, fewer),
            "one pool": lambda: theirs(64, size.plain, limits=one_pool),
            "pydomo": by_pydomo,
            "aiohttp 64": lambda: ours(64, size.bulk, over_aiohttp=True),
            "aiohttp wide": lambda: ours(size.wide, size.bulk, over_aiohttp=True),
            "bare aiohttp 64": lambda: theirs(64, size.bulk, transport=aiohttp_transport(64)),
            "bare aiohttp wide": lambda: theirs(size.wide, size.bulk, transport=aiohttp_transport(size.wide)),
        },
    )
    times["limit 64"] = [LATENCY / 64] * size.bulk_rounds
    shown = f"{size.bulk} users; the other "
    return [
        Row("bulk", "rate at 64 in flight, over one httpx pool of 64", ratio(times, "one pool", "64"), at_least=8,
            note=f"{shown}{size.plain}"),
        Row("bulk", "rate at 64 in flight, over pydomo", ratio(times, "pydomo", "64"), at_least=40,
            note=f"{shown}{size.pydomo}"),
        Row("bulk", "rate at 64 in flight, over 16 in flight", ratio(times, "16", "64"), at_least=2,
            note=f"{shown}{fewer}"),
        Row("bulk", "rate at 64 in flight, over in flight / latency", ratio(times, "limit 64", "64")),
        Row("bulk", "aiohttp, 64 in flight, over in flight / latency", ratio(times, "limit 64", "aiohttp 64"),
            at_least=0.85),
        Row("bulk", "aiohttp, 64 in flight, over bare httpx-aiohttp", ratio(times, "bare aiohttp 64", "aiohttp 64")),
        Row("bulk", f"aiohttp, {size.wide} in flight, over bare httpx-aiohttp",
            ratio(times, "bare aiohttp wide", "aiohttp wide"), at_least=0.85),
        *(
            Row("bulk", f"connections opened, per call in flight, at {in_flight}", count / in_flight, at_most=1,
                timed=False)
            for in_flight, count in sorted(opened.items())
        ),
    ]  # fmt: skip


# -- memory


async def memory(server: Server, size: Size) -> list[Row]:
    """What `get_many` needs while it runs, beyond what it gives back."""
    server.reset()
    async with domokit_auth(server) as auth:
        await DomoUser.get_many(auth, user_ids(64))
        extra, kept = await _extra_memory(DomoUser.get_many(auth, user_ids(size.memory)))
    note = f"{size.memory} items, {kept / MIB:.1f} MiB themselves"
    return [Row("memory", "get_many, over its results", extra / MIB, at_most=20, timed=False, unit="MiB", note=note)]


async def _extra_memory(work: Awaitable[Any]) -> tuple[int, int]:
    """Bytes at the peak beyond the results, and bytes of the results."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        results = await work
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        with_results = tracemalloc.get_traced_memory()[0]
        del results
        gc.collect()
        kept = with_results - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return peak - before - kept, kept


# -- listings


async def listing(server: Server, size: Size) -> list[Row]:
    """All users in pages of 500: fetched, and built from bytes."""
    rows: list[Row] = []
    async with domokit_auth(server) as auth, bare(server) as plain:
        await plain.get(user_ids(1)[0])
        await auth.sign_in()
        for latency, goal in ((0.0, None), (LATENCY, 1.0)):
            server.reset(latency)
            runs = {"bare": lambda: timed(plain.get_all()), "domokit": lambda: timed(_all(auth))}
            times = await interleaved(size.list_rounds, runs)
            what = f"get_all, {latency * 1000:.0f} ms latency, over bare httpx page by page"
            rows.append(
                Row("listing", what, ratio(times, "domokit", "bare"), at_most=goal, note=f"{server.users} users")
            )
        for shape, make in {"platform": platform_user, "identity": identity_user}.items():
            bodies = [page(make, offset, MAX_PAGE, server.users) for offset in range(0, server.users, MAX_PAGE)]
            runs = {
                "loads": lambda bodies=bodies: timed(_loading(bodies)),
                "build": lambda bodies=bodies: timed(_building(auth, bodies)),
            }
            times = await interleaved(size.list_rounds, runs)
            what = f"json.loads + from_json, {shape} shape, over json.loads"
            rows.append(Row("listing", what, ratio(times, "build", "loads"), at_most=2.5))
    return rows


async def _all(auth: Auth) -> list[DomoUser]:
    return await DomoUser.get_all(auth)


def _users_of(body: bytes) -> list[Any]:
    found = json.loads(body)
    return found["users"] if isinstance(found, dict) else found


async def _loading(bodies: list[bytes]) -> list[Any]:
    return [user for body in bodies for user in _users_of(body)]


async def _building(auth: Auth, bodies: list[bytes]) -> list[DomoUser]:
    return [DomoUser.from_json(auth, user) for body in bodies for user in _users_of(body)]


# -- a token at hand


async def token(server: Server, size: Size) -> list[Row]:
    """What a warm token costs each call."""
    server.reset()
    auth = await domokit_auth(server).sign_in()
    request = httpx.Request("GET", f"{server.origin}/v1/users/1")
    await auth.aclose()

    async def nothing() -> None:
        pass

    async def waiting() -> Seconds:
        began = perf_counter()
        for _ in range(size.signatures):
            await nothing()
        return perf_counter() - began

    async def looking() -> Seconds:
        began = perf_counter()
        for _ in range(size.signatures):
            credential = auth.current()
            assert credential is not None
            auth.header_value(credential)
        return perf_counter() - began

    async def signing() -> Seconds:
        began = perf_counter()
        for _ in range(size.signatures // 10):
            await sign(auth, request)
        return (perf_counter() - began) * 10

    times = await interleaved(5, {"await": waiting, "look": looking, "sign": signing})
    with count_locks() as taken:
        await sign(auth, request)

    def each(name: str) -> str:
        return f"{min(times[name]) / size.signatures * 1e9:.0f} ns"

    return [
        Row("token", "current() and header, over an empty await", ratio(times, "look", "await"), note=each("look")),
        Row("token", "a request signed, over an empty await", ratio(times, "sign", "await"), note=each("sign")),
        Row("token", "locks, events and semaphores for a warm token", len(taken), at_most=0, timed=False, unit=""),
    ]


async def sign(auth: Auth, request: httpx.Request) -> None:
    """Sign a request as httpx has it done, without sending it."""
    flow = auth.async_auth_flow(request)
    await anext(flow)
    await flow.aclose()


@contextmanager
def count_locks() -> Iterator[list[str]]:
    """The names of the primitives that are made or used inside the block."""
    seen: list[str] = []
    kinds = (anyio.Lock, anyio.Event, anyio.Semaphore, anyio.Condition, anyio.CapacityLimiter)
    kinds += (asyncio.Lock, asyncio.Event, asyncio.Semaphore, asyncio.Condition)
    with ExitStack() as stack:
        for kind in kinds:
            for name in {"__init__", "__new__", "acquire", "acquire_nowait", "wait"} & set(vars(kind)):
                counted = _counted(vars(kind)[name], f"{kind.__name__}.{name}", seen)
                stack.enter_context(patch.object(kind, name, counted))
        yield seen


def _counted(original: Any, name: str, seen: list[str]) -> Any:
    static = isinstance(original, staticmethod)
    call = original.__func__ if static else original

    def counted(*args: Any, **named: Any) -> Any:
        seen.append(name)
        return call(*args, **named)

    return staticmethod(counted) if static else counted


CASES: Mapping[str, Case] = {
    "import": imports,
    "sequential": sequential,
    "bulk": bulk,
    "memory": memory,
    "listing": listing,
    "token": token,
    "keeper": keeper,
    "stores": stores,
    "upload": upload,
    "download": download,
    "wide": wide,
    "flat": flat,
}
