"""What a keeper costs: beside a fixed header, and beside bare reads of where the token is kept."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import httpx

from domokit.oauth import providers
from tests.redis_server import RedisServer, program

from .measure import Row, Seconds, Size, interleaved, ratio
from .server import TOKEN, Server, user_ids

_ROOT = Path(__file__).parents[2]
PROCESSES = 8


async def keeper(server: Server, size: Size) -> list[Row]:
    """Requests of an httpx client: with a keeper whose token is fresh, and with the same header written down."""
    server.reset()
    urls = [f"{server.origin}/v1/users/{user_id}" for user_id in user_ids(max(size.calls // size.rounds, 1))]
    tokens = providers.domo("client", "client-secret", token_url=f"{server.origin}/oauth/token")
    await tokens.get_token()
    fixed = httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)
    kept = httpx.AsyncClient(auth=tokens.auth_for(server.origin), trust_env=False)

    async def get(client: httpx.AsyncClient) -> Seconds:
        began = perf_counter()
        for url in urls:
            await client.get(url)
        return perf_counter() - began

    async with fixed, kept:
        for client in (fixed, kept):
            assert (await client.get(urls[0])).status_code == 200
        times = await interleaved(size.rounds, {"fixed": lambda: get(fixed), "kept": lambda: get(kept)})
    calls = f"{len(urls) * size.rounds} calls each"
    return [
        Row("keeper", "a fresh token, over a fixed header", ratio(times, "kept", "fixed"), at_most=1.05, note=calls)
    ]


# A process that asks a keeper for a token again and again, and then reads as often, barely, where it is kept.
_WORKER = """
import asyncio, json, sys, time
from domokit import FileStore, RedisStore
from domokit.oauth import providers

kind, place, token_url, times = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
base = FileStore if kind == "file" else RedisStore
reads = 0

class Counted(base):
    async def load(self, key):
        global reads
        reads += 1
        return await super().load(key)

async def main():
    keeper = providers.domo("client", "client-secret", token_url=token_url, store=Counted(place))
    began = time.perf_counter()
    for _ in range(times):
        await keeper.get_token()
    return time.perf_counter() - began, keeper.counters

asking, counters = asyncio.run(main())
if kind == "file":
    def read():
        with open(place, "rb") as file:
            json.loads(file.read())
else:
    import redis
    client = redis.Redis.from_url(place)
    key = next(client.scan_iter())
    def read():
        client.hgetall(key) if client.type(key) == b"hash" else client.get(key)
began = time.perf_counter()
for _ in range(times):
    read()
print(json.dumps({"asking": asking, "reading": time.perf_counter() - began, "reads": reads, "counters": counters}))
"""


async def stores(server: Server, size: Size) -> list[Row]:
    """Processes that share a warm store."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        rows += _shared("file", f"{scratch}/tokens.json", server, size)
        if program() is not None:
            with RedisServer(scratch) as redis:
                rows += _shared("redis", redis.url, server, size)
    return rows


def _shared(kind: str, place: str, server: Server, size: Size) -> list[Row]:
    server.reset()
    times = max(size.calls // 2, 10)
    command = [sys.executable, "-c", _WORKER, kind, place, f"{server.origin}/oauth/token", str(times)]
    subprocess.run([*command[:-1], "1"], check=True, cwd=_ROOT, capture_output=True)  # warms it
    running = [subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    told = [json.loads(process.communicate()[0]) for process in running]
    name = {"file": "FileStore", "redis": "RedisStore"}[kind]
    asked = sum(one["counters"].get("started", 0) for one in told)
    over = sum(one["asking"] for one in told) / sum(one["reading"] for one in told)
    note = f"{PROCESSES} processes x {times}"
    return [
        Row("stores", f"{name}: reads of it by each process", max(one["reads"] for one in told), at_most=1, timed=False,
            unit="", note=note),
        Row("stores", f"{name}: token requests of all", asked, at_most=0, timed=False, unit="", note=note),
        Row("stores", f"{name}: get_token(), over bare reads of it", over, note=note),
    ]  # fmt: skip
