"""RedisStore on a real server: leases, lost answers, a full or hanging server, forks, and passwords."""

import asyncio
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import anyio
import pytest

from domokit import EncryptionKey, RedisStore, Secret, errors
from domokit.stores import redis as redis_module
from tests.redis_server import REQUIRED, RedisServer, program
from tests.stores.helpers import CANARY, assert_hidden

TEXT = Secret(f'{{"refresh_token": "{CANARY}"}}')
PASSWORD = "canary-redis-password"


@pytest.fixture
def prefix(request):
    return f"test:{abs(hash(request.node.name))}:"


@pytest.fixture
def store(redis_url, prefix):
    return RedisStore(redis_url, prefix=prefix)


@pytest.fixture
def server(tmp_path):
    """One that a test may stop, fill and hang."""
    with RedisServer(tmp_path / "redis") as running:
        yield running


async def load(store, key="k"):
    found = await store.load(key)
    return found and found.text


async def is_free(store, key="k"):
    try:
        async with store.lock(key, timeout=0):
            return True
    except errors.StoreBusyError:
        return False


# -- what stands in the server


async def test_what_stands_in_the_server(store, redis_server, prefix):
    version = await store.save("k", TEXT, replacing=None)
    name = f"{prefix}{{k}}:entry"
    assert redis_server.command("KEYS", f"{prefix}*") == [name]
    assert redis_server.command("TTL", name) == -1
    assert redis_server.command("HGET", name, "version") == version
    async with store.lock("k") as held:
        await held.reserve(5000)
        for what, longest in (("lock", 30_000), ("room", 30_000), ("last", 86_400_000)):
            assert 0 < redis_server.command("PTTL", f"{prefix}{{k}}:{what}") <= longest
        assert redis_server.command("STRLEN", f"{prefix}{{k}}:room") == 5000
    assert sorted(redis_server.command("KEYS", f"{prefix}*")) == [name, f"{prefix}{{k}}:last"]


async def test_prefixes_keep_stores_apart(redis_url, prefix):
    stores = [RedisStore(redis_url, prefix=prefix + more) for more in ("", "a:", "*:", "[a]?\\:", "{x}:")]
    for number, store in enumerate(stores):
        await store.save("k", Secret(str(number)), replacing=None)
        await store.save(f"of-{number}", Secret("x"), replacing=None)
    for number, store in enumerate(stores):
        assert await store.keys() == ["k", f"of-{number}"]
        assert await load(store) == Secret(str(number))


async def test_encrypted_it_shows_nothing(redis_url, redis_server, prefix):
    key = EncryptionKey.generate()
    plain = RedisStore(redis_url, prefix=prefix)
    store = RedisStore(redis_url, prefix=prefix, encryption=EncryptionKey.from_callable(lambda: key))
    version = await plain.save("k", TEXT, replacing=None)
    assert CANARY in redis_server.command("HGET", f"{prefix}{{k}}:entry", "text")
    assert await load(store) == TEXT
    await store.save("k", TEXT, replacing=version)
    assert sorted(redis_server.command("HKEYS", f"{prefix}{{k}}:entry")) == ["sealed", "version"]
    assert CANARY not in str(redis_server.command("HGETALL", f"{prefix}{{k}}:entry"))
    assert await load(store) == TEXT
    with pytest.raises(errors.StoreCorruptError, match="encrypted and no key was given"):
        await plain.load("k")


@pytest.mark.parametrize("what", ["text", "list", "fields"])
async def test_what_is_no_entry_is_told_and_stays(store, redis_server, prefix, what):
    name = f"{prefix}{{k}}:entry"
    if what == "text":
        redis_server.command("SET", name, CANARY)
    elif what == "list":
        redis_server.command("RPUSH", name, CANARY)
    else:
        redis_server.command("HSET", name, "text", CANARY)
    with pytest.raises(errors.StoreCorruptError) as caught:
        await store.load("k")
    assert_hidden(caught.value)
    if what != "fields":
        with pytest.raises(errors.StoreCorruptError) as caught:
            await store.save("k", TEXT, replacing=None)
        assert_hidden(caught.value)


# -- leases


async def test_a_lock_lapses(redis_url, prefix):
    store, other = (RedisStore(redis_url, prefix=prefix, lease=lease) for lease in (0.4, 30))
    started = time.monotonic()
    async with store.lock("k") as held:
        assert held.seconds_left <= 0.4
        async with other.lock("k", timeout=20) as following:
            assert time.monotonic() - started >= 0.4
            assert held.seconds_left == 0
            assert following.seconds_left > 20
            for call in (held.extend, held.reserve):
                with pytest.raises(errors.StoreBusyError, match=rf":{os.getpid()} has taken it"):
                    await call()
        with pytest.raises(errors.StoreBusyError, match="somebody else, for a while, has taken it"):
            await held.extend()  # it is free; but what was read under it may be out of date
    assert await is_free(store)


async def test_a_lock_that_lapsed_is_extended_if_nobody_had_it(redis_url, prefix):
    store, other = (RedisStore(redis_url, prefix=prefix, lease=lease) for lease in (1.5, 30))
    async with store.lock("k") as held:
        await anyio.sleep(1.6)
        assert held.seconds_left == 0
        await held.extend()
        assert held.seconds_left > 0
        assert not await is_free(other)
        for _ in range(3):
            await anyio.sleep(0.6)
            await held.reserve(10)
        assert not await is_free(other)


async def test_a_server_that_forgot_everything_gives_no_lock_back(server):
    store = RedisStore(server.url)
    async with store.lock("k") as held:
        server.command("FLUSHALL")
        with pytest.raises(errors.StoreBusyError):
            await held.extend()


async def test_who_lost_the_lock_does_not_write_while_another_has_it(redis_url, prefix):
    """Even if the version is still the one that was read: the other may be about to spend the same token."""
    store, other = (RedisStore(redis_url, prefix=prefix, lease=lease) for lease in (0.3, 30))
    version = await store.save("k", TEXT, replacing=None)
    async with store.lock("k"):
        async with other.lock("k", timeout=20):
            with pytest.raises(
                errors.StoreConflictError, match=rf"had lapsed, and .*:{os.getpid()} holds it"
            ) as caught:
                await store.save("k", Secret("late"), replacing=version)
            assert caught.value.retryable
            assert_hidden(caught.value)
            await store.save("j", Secret("of another key"), replacing=None)
        await store.save("k", Secret("late"), replacing=version)  # the other has done nothing
    assert await load(other) == Secret("late")


async def test_who_lost_the_lock_does_not_overwrite_what_another_wrote(redis_url, prefix):
    store, other = (RedisStore(redis_url, prefix=prefix, lease=lease) for lease in (0.3, 30))
    version = await store.save("k", TEXT, replacing=None)
    async with store.lock("k"):
        async with other.lock("k", timeout=20):
            await other.save("k", Secret("of the other"), replacing=version)
        with pytest.raises(errors.StoreConflictError, match="written by another"):
            await store.save("k", Secret("late"), replacing=version)
    assert await load(store) == Secret("of the other")


async def test_the_lease_is_counted_from_before_the_request(redis_url, prefix, monkeypatch):
    store = RedisStore(redis_url, prefix=prefix, lease=2)
    ask = store.server.ask

    def slow(call):
        found = ask(call)
        time.sleep(0.5)  # the answer takes its time
        return found

    monkeypatch.setattr(store.server, "ask", slow)
    async with store.lock("k") as held:
        assert 0 < held.seconds_left <= 1.5


async def test_it_says_who_holds_the_lock(store):
    async with store.lock("k"):
        with pytest.raises(errors.StoreBusyError) as caught:
            async with store.lock("k", timeout=0.1):
                pass
    assert f":{os.getpid()} holds the lock of k in redis://127.0.0.1:" in str(caught.value)
    assert caught.value.message.count(":") == 3  # host:pid, and not the random part, with which it could be freed


# -- cancelled in asyncio's own way, which nothing shields from


@pytest.fixture
def anyio_backend(request):
    return getattr(request, "param", "asyncio")


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_cancelled_while_the_request_is_under_way(redis_url, prefix, monkeypatch, times):
    """At any point: before it is sent, while it is, and after the lock was taken."""
    store, other = (RedisStore(redis_url, prefix=prefix) for _ in range(2))
    run = redis_module._RedisLock._run
    sent, waits = threading.Event(), [0.0]

    def slow(lock, script):
        if script is redis_module._TAKE:
            time.sleep(waits[0])
            answer = run(lock, script)
            sent.set()
            time.sleep(0.03 - waits[0])
            return answer
        return run(lock, script)

    async def hold():
        async with store.lock("k"):
            await anyio.sleep(60)

    monkeypatch.setattr(redis_module._RedisLock, "_run", slow)
    for waits[0] in (0, 0.01, 0.02):
        for delay in (0, 0.005, 0.015, 0.025, 0.035):
            sent.clear()
            task = asyncio.get_running_loop().create_task(hold())
            await asyncio.sleep(delay)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            with suppress(asyncio.CancelledError):
                await task
            if delay:
                await anyio.to_thread.run_sync(sent.wait, 5)
            async with other.lock("k", timeout=10):
                pass
    assert store.held == set()


async def test_the_end_of_a_loop_frees_the_lock(redis_url, prefix):
    def loop():
        store = RedisStore(redis_url, prefix=prefix)
        held = threading.Event()

        async def hold():
            async with store.lock("k"):
                held.set()
                await asyncio.sleep(60)

        async def main():
            task = asyncio.get_running_loop().create_task(hold())
            while not held.is_set():
                await asyncio.sleep(0.001)
            return task  # which asyncio.run cancels

        asyncio.run(main())

    await anyio.to_thread.run_sync(loop)
    async with RedisStore(redis_url, prefix=prefix).lock("k", timeout=10):
        pass


# -- a server that is away, or full


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_a_server_that_is_away(server):
    store = RedisStore(server.url)
    version = await store.save("k", TEXT, replacing=None)
    async with store.lock("k") as held:
        server.stop()
        for call in (
            lambda: store.load("k"),
            store.keys,
            lambda: store.save("k", TEXT, replacing=version),
            lambda: store.delete("k"),
            held.extend,
            held.reserve,
            store.check,
        ):
            with pytest.raises(
                errors.StoreUnavailableError, match=rf"redis://127.0.0.1:{server.port}/0: Connection"
            ) as e:
                await call()
            assert e.value.retryable
            assert_hidden(e.value)
    # letting go of the lock raised nothing: what was done under it is done


async def test_a_server_that_comes_back(server):
    """Connections that have died in the meantime are no failure."""
    store = RedisStore(server.url)
    for number in range(3):
        version = await store.save("k", Secret(str(number)), replacing=None)
        async with store.lock("k"):
            server.stop()
            server.start()
        assert await load(store) is None
        assert await store.save("k", TEXT, replacing=None) != version
        await store.delete("k")


async def test_a_server_that_hangs(server):
    store = RedisStore(f"{server.url}?socket_timeout=0.5")
    version = await store.save("k", TEXT, replacing=None)
    server.pause()
    try:
        with pytest.raises(errors.StoreUnavailableError, match="TimeoutError") as caught:
            await store.load("k")
        assert_hidden(caught.value)
        with pytest.raises(errors.StoreUnavailableError, match="TimeoutError"):
            async with store.lock("k"):
                pass
        with pytest.raises(errors.StoreUnavailableError, match="TimeoutError") as caught:
            await store.save("k", Secret("new"), replacing=version)
    finally:
        server.resume()
    assert server.command("PING")
    # It acts on what it was sent as soon as it wakes; the same write once more is no conflict with itself.
    version = await store.save("k", Secret("new"), replacing=version)
    found = await store.load("k")
    assert (found.text, found.version) == (Secret("new"), version)
    with pytest.raises(errors.StoreConflictError):
        await store.save("k", Secret("newer"), replacing=None)


async def test_a_request_is_sent_twice_at_most():
    """By the package `redis` itself it would be sent again and again, after ever longer waits."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        store = RedisStore(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(errors.StoreUnavailableError):
            await store.load("k")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(connections) == 2


async def test_an_answer_that_is_lost_after_the_server_acted(redis_url, prefix, monkeypatch):
    """Each request may be repeated, and is, once."""
    from redis import exceptions

    store = RedisStore(redis_url, prefix=prefix)
    client = store.server._client
    lose = []

    def losing(name):
        original = getattr(client, name)

        def call(*arguments, **options):
            answer = original(*arguments, **options)
            if lose:
                lose.pop()
                raise exceptions.ConnectionError("Connection closed by server.")
            return answer

        monkeypatch.setattr(client, name, call)

    for name in ("eval", "hmget", "hget", "set"):
        losing(name)

    async def with_lost(times, call):
        lose.extend([1] * times)
        try:
            return await call()
        finally:
            lose.clear()

    version = await with_lost(1, lambda: store.save("k", TEXT, replacing=None))
    assert (await with_lost(1, lambda: store.load("k"))).version == version
    for _ in range(2):
        with pytest.raises(errors.StoreUnavailableError) as caught:
            await with_lost(2, lambda: store.save("k", Secret(f"new {CANARY}"), replacing=version))
        assert_hidden(caught.value)
    version = await store.save("k", Secret(f"new {CANARY}"), replacing=version)
    assert (await store.load("k")).version == version
    lose.append(1)
    async with store.lock("k", timeout=0) as held:
        await with_lost(1, held.extend)
        await with_lost(1, held.reserve)
        lose.append(1)
    assert await is_free(store)
    await with_lost(1, lambda: store.delete("k"))
    assert await store.load("k") is None


async def test_a_deletion_that_is_repeated_does_not_hit_what_was_written_since(store, monkeypatch):
    client = store.server._client
    await store.save("k", Secret("old"), replacing=None)
    run = client.eval

    def and_then_another_writes(*arguments):
        monkeypatch.undo()
        run(*arguments)
        anyio.run(lambda: store.save("k", Secret("new"), replacing=None))
        from redis import exceptions

        raise exceptions.ConnectionError("Connection closed by server.")

    monkeypatch.setattr(client, "eval", and_then_another_writes)
    await store.delete("k")
    assert await load(store) == Secret("new")


def fill_up(server):
    """Leave it less memory than it uses; by more than what a connection takes, and by less than the room below."""
    used = server.command("INFO", "memory")["used_memory"]
    server.command("CONFIG", "SET", "maxmemory", str(used - 150_000))


async def test_a_full_server_is_noticed_before_anything_is_spent(server):
    store = RedisStore(server.url)
    version = await store.save("k", TEXT, replacing=None)
    async with store.lock("k") as held:
        fill_up(server)
        with pytest.raises(errors.StoreUnavailableError, match="maxmemory") as caught:
            await held.reserve()
        assert_hidden(caught.value)
        with pytest.raises(errors.StoreUnavailableError, match="maxmemory") as caught:
            await store.save("k", Secret(f"{CANARY} " * 1000), replacing=version)
        assert_hidden(caught.value)
        assert await load(store) == TEXT
    with pytest.raises(errors.StoreUnavailableError, match="maxmemory"):
        await store.check()
    server.command("CONFIG", "SET", "maxmemory", "0")
    await store.save("k", Secret("new"), replacing=version)


async def test_room_that_was_reserved_is_there_when_the_server_is_full(server):
    store = RedisStore(server.url)
    version = await store.save("k", TEXT, replacing=None)
    async with store.lock("k") as held:
        await held.reserve(400_000)
        fill_up(server)
        with pytest.raises(errors.StoreUnavailableError, match="maxmemory"):
            await store.save("j", TEXT, replacing=None)
        await store.save("k", Secret(f"{CANARY} " * 500), replacing=version)
    assert await load(store) == Secret(f"{CANARY} " * 500)
    assert server.command("EXISTS", "domokit:{k}:room") == 0


async def test_a_server_that_can_only_be_read(server, tmp_path):
    with RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}") as replica:
        pass
    replica.options["replicaof"] = ""
    del replica.options["replicaof"]
    with replica:
        store = RedisStore(replica.url)
        version = await store.save("k", TEXT, replacing=None)
        async with store.lock("k") as held:
            replica.command("REPLICAOF", "127.0.0.1", str(server.port))
            for call in (held.extend, held.reserve, lambda: store.save("k", TEXT, replacing=version), store.check):
                with pytest.raises(errors.StoreUnavailableError, match=r"(?i)read.?only") as caught:
                    await call()
                assert_hidden(caught.value)


async def test_a_server_that_cannot_save_its_own_data(tmp_path):
    """As when its disk is full, and it was told to stop writes then."""
    with RedisServer(tmp_path, save="1 1", dbfilename="dump.rdb") as server:
        store = RedisStore(server.url)
        (tmp_path / "dump.rdb").mkdir()
        (tmp_path / "dump.rdb" / "in-the-way").mkdir()
        async with store.lock("k") as held:
            await store.save("k", TEXT, replacing=None)
            with anyio.fail_after(60):
                while server.command("INFO", "persistence")["rdb_last_bgsave_status"] == "ok":
                    with suppress(Exception):
                        server.command("BGSAVE")
                    await anyio.sleep(0.05)
            with pytest.raises(errors.StoreUnavailableError, match=r"RDB|MISCONF|persist") as caught:
                await held.reserve()
            assert_hidden(caught.value)


async def test_a_server_that_drops_entries_is_warned_of_once(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "domokit")
    with RedisServer(tmp_path, maxmemory="50mb", maxmemory_policy="allkeys-lru") as server:
        store = RedisStore(server.url)
        for _ in range(2):
            await store.check()
        (record,) = caplog.records
        assert "maxmemory-policy allkeys-lru" in record.getMessage()
        caplog.clear()
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await RedisStore(server.url).check()
        assert caplog.records == []


# -- many processes


def test_processes_lose_no_update(processes, redis_url, prefix):
    url = redis_url
    children = [processes.start("count", ["redis", url], times=20) for _ in range(8)]
    for child in children:
        child.wait_for("done")
    store = RedisStore(url)
    assert anyio.run(load, store, "number") == Secret("160")
    anyio.run(store.delete, "number")


def test_the_lock_of_a_killed_holder_lapses(processes, redis_server, tmp_path):
    holder = processes.start("hold", ["redis", redis_server.url], key="of-the-dead")
    holder.wait_for("held")
    waiter = processes.start("wait_for_lock", ["redis", redis_server.url], key="of-the-dead")
    waiter.wait_for("waits")
    holder.kill()
    assert 0 < redis_server.command("PTTL", "domokit:{of-the-dead}:lock") <= 30_000
    redis_server.command("PEXPIRE", "domokit:{of-the-dead}:lock", "1000")  # 30 s are long for a test
    time.sleep(0.1)
    assert waiter.said() == ["waits"]
    waiter.wait_for("held", seconds=20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_after_a_fork(redis_url, prefix):
    """Parent and child each have connections of their own, and the child has no part in its parent's locks."""
    store = RedisStore(redis_url, prefix=prefix)

    async def use(letter):
        for number in range(30):
            found = await store.load(letter)
            assert (found.text.reveal() if found else f"{letter}0") == f"{letter}{number}"
            await store.save(letter, Secret(f"{letter}{number + 1}"), replacing=found.version if found else None)

    async def parent():
        async with store.lock("k") as held:
            pid = os.fork()
            if pid == 0:
                os._exit(in_another_thread(child, held))
            await use("p")
            _, status = await anyio.to_thread.run_sync(os.waitpid, pid, 0)
            await held.extend()
            return os.waitstatus_to_exitcode(status)

    def in_another_thread(call, held):  # where no event loop runs
        done = []
        thread = threading.Thread(target=lambda: done.append(call(held)))
        thread.start()
        thread.join()
        return 17 if done else 18

    def child(held):
        anyio.run(use, "c")
        with pytest.raises(errors.StoreBusyError, match="forked this one"):
            anyio.run(held.extend)
        anyio.run(held.let_go)  # as the end of the block would
        assert not anyio.run(is_free, store)

    assert anyio.run(parent) == 17


def test_threads_with_loops_of_their_own(store):
    failed = []

    async def use(number):
        for turn in range(10):
            async with store.lock(f"k{number % 4}"):
                found = await store.load(f"k{number % 4}")
                so_far = int(found.text.reveal()) if found else 0
                await store.save(f"k{number % 4}", Secret(str(so_far + 1)), replacing=found.version if found else None)
            if turn == 5:
                await store.aclose()  # closes what is idle, of whatever thread

    def run(number):
        try:
            anyio.run(use, number, backend=("asyncio", "trio")[number % 2])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for number in range(4):
        assert anyio.run(load, store, f"k{number}") == Secret("40")


# -- the password


async def test_the_password_is_seen_nowhere(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with RedisServer(tmp_path, password=PASSWORD) as server:
        store = RedisStore(Secret(server.url))
        await store.save("k", TEXT, replacing=None)
        await store.check()
        shown = [repr(store), str(store), repr(vars(store)), repr(vars(store.server))]
        assert repr(store) == f"RedisStore('redis://127.0.0.1:{server.port}/0', prefix='domokit:')"
        with pytest.raises(TypeError, match="not pickled") as caught:
            pickle.dumps(store)
        assert_hidden(caught.value, PASSWORD)
        server.command("CONFIG", "SET", "requirepass", "another")
        await store.aclose()
        for call in (lambda: store.load("k"), lambda: store.save("k", TEXT, replacing=None), store.check):
            with pytest.raises(errors.StoreUnavailableError, match="AuthenticationError") as caught:
                await call()
            assert_hidden(caught.value, PASSWORD)
        server.password = "another"
    shown += [record.getMessage() for record in caplog.records]
    assert not any(PASSWORD in text or CANARY in text for text in shown)


NO_URLS = [
    "",
    "localhost:6379",
    f"http://:{PASSWORD}@localhost:6379",
    f"redis://:{PASSWORD}#x@localhost:6379/0",
    f"redis://:{PASSWORD}@localhost:port/0",
    f"redis://:{PASSWORD}@localhost:6379?socket_timeout={PASSWORD}",
]


@pytest.mark.parametrize(
    "url",
    [Secret(url) for url in NO_URLS],
    ids=["empty", "no scheme", "http", "hash", "port", "option"],
)
def test_what_is_no_url_of_a_server_is_refused_without_showing_it(url):
    with pytest.raises(errors.InvalidInputError, match="url: this is not the URL of a Redis server") as caught:
        RedisStore(url.reveal())
    assert_hidden(caught.value, PASSWORD, rich=url == Secret(NO_URLS[-1]))


@pytest.mark.parametrize("lease", [0, -1, float("inf"), float("nan")])
def test_a_lease_is_a_number_of_seconds(lease):
    with pytest.raises(errors.InvalidInputError, match="lease"):
        RedisStore("redis://localhost", lease=lease)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("rediss://user:secret-password@cache.example.com:6380/3", "redis://cache.example.com:6380/3"),
        ("unix://:secret-password@/run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
def test_its_address(url, shown):
    store = RedisStore(url)
    assert repr(store) == f"RedisStore({shown!r}, prefix='domokit:')"


def test_without_the_package_it_says_what_to_install():
    code = """
import sys
sys.modules["redis"] = None
from domokit import RedisStore, errors
try:
    RedisStore("redis://:canary-redis-password@localhost")
except errors.InvalidInputError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'domokit[redis]'" in ran.stdout
    assert PASSWORD not in ran.stdout


# -- the server of the tests


def test_a_missing_server_is_a_failure_where_there_must_be_one(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="redis-server is not installed"):
        program()
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="redis-server is not installed"):
        program()


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="no-such-option"):
        RedisServer(tmp_path, no_such_option="x").start()


async def test_nothing_is_left_open(redis_url, prefix):
    """Connections close with the store: an unclosed socket would be a warning, and that an error here."""
    import gc

    for _ in range(3):
        async with RedisStore(redis_url, prefix=prefix) as store:
            await store.check()
        del store
    gc.collect()
