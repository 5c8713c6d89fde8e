"""The locks of one machine by themselves: forks, threads, and the odd moments between two system calls."""

import os
import stat
import threading
import time
from pathlib import Path

import anyio
import pytest

from domokit import errors
from domokit.stores import locks as locks_module
from domokit.stores.locks import FileLocks, ThreadLocks, checked_key, make_private_directory, until
from domokit.stores.threads import in_thread

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # which is what is tested


@pytest.fixture
def locks(tmp_path):
    return FileLocks(tmp_path / "locks")


def in_child(call):
    """What `call` returns in a forked child: True or False."""
    pid = os.fork()
    if pid == 0:
        os._exit(17 if call() else 18)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (17, 18)
    return status == 17


def is_free(locks, name="k"):
    held = locks.take(name)
    if held is not None:
        locks.free(held)
    return held is not None


def test_a_lock_is_taken_once(locks):
    held = locks.take("k")
    assert locks.take("k") is None
    assert is_free(locks, "other")
    locks.free(held)
    assert is_free(locks)
    locks.free(held)  # once more does nothing
    assert is_free(locks)


def test_freeing_twice_does_not_free_the_next(locks):
    held = locks.take("k")
    locks.free(held)
    following = locks.take("k")
    locks.free(held)  # though the descriptor has the same number
    assert locks.take("k") is None
    locks.free(following)


def test_the_holder_is_named(locks):
    held = locks.take("k")
    assert locks.holder("k") == f"{locks_module.who()} holds the lock k in {locks.directory}"
    assert str(os.getpid()) in locks_module.who()
    locks.free(held)
    assert locks.holder("unknown").startswith("another process holds")


def test_a_copy_of_the_descriptor_does_not_keep_the_lock(locks):
    """A process that is being started has one, until it runs its own program."""
    held = locks.take("k")
    copy = os.dup(held.descriptor)
    try:
        locks.free(held)
        assert is_free(locks)
    finally:
        os.close(copy)


@forks
def test_a_forked_child_has_no_part_in_its_parents_locks(locks):
    held = locks.take("k")

    def child():
        locks.free(held)  # as a block that the fork happened in would, at its end
        mine = locks.take("other")  # which may get the number that the descriptor had
        locks.free(held)
        return held.descriptor == -1 and not is_free(locks) and not is_free(locks, "other") and mine is not None

    assert in_child(child)
    assert not is_free(locks)
    locks.free(held)
    assert is_free(locks)
    assert in_child(lambda: is_free(locks))


@forks
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_forks_at_any_moment_leave_no_lock_behind(locks):
    """A child that inherits a descriptor it does not know of would hold the lock as long as it lives."""
    stop, pids = threading.Event(), []
    lives, tells = os.pipe()

    def churn(name):
        while not stop.is_set():
            held = locks.take(name)
            if held is not None:
                locks.free(held)

    threads = [threading.Thread(target=churn, args=(f"k{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                os.write(tells, b".")
                time.sleep(30)
                os._exit(0)
            pids.append(pid)
            os.read(lives, 1)  # until it has run, what it inherited is open in it
    finally:
        stop.set()
        os.close(lives)
        os.close(tells)
        for thread in threads:
            thread.join()
    try:
        assert all(is_free(locks, f"k{number}") for number in range(3))
        here = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
        assert not any(str(locks.directory) in name for name in here)
        for pid in pids:
            there = [os.path.realpath(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
            assert not any(str(locks.directory) in name for name in there)
    finally:
        for pid in pids:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def test_a_lock_file_that_is_replaced_while_it_is_opened_does_not_count(locks, monkeypatch):
    lock_now = locks_module._lock_now

    def replace_and_lock(descriptor):
        path = locks.directory / "k.lock"
        path.unlink()
        path.touch(0o600)
        return lock_now(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(locks_module, "_lock_now", replace_and_lock)
        assert locks.take("k") is None
    assert is_free(locks)


def test_a_full_disk_does_not_keep_anybody_from_a_lock(locks, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(locks_module.os, "write", fail)
    held = locks.take("k")
    assert not is_free(locks)
    locks.free(held)


def test_a_file_system_without_locks_is_said(locks, monkeypatch):
    def fail(*_):
        raise OSError(37, "No locks available")

    assert is_free(locks)
    monkeypatch.setattr(locks_module, "_lock_now", fail)
    closed = []
    monkeypatch.setattr(locks_module.os, "close", closed.append)
    with pytest.raises(errors.StoreUnavailableError, match="No locks available"):
        locks.take("k")
    monkeypatch.undo()
    (descriptor,) = closed
    os.close(descriptor)


def test_waiting_in_a_thread(locks):
    held = locks.take("k")
    with pytest.raises(errors.StoreBusyError, match="waited 0 s"), locks.lock_blocking("k", 0.05):
        pass
    threading.Timer(0.1, lambda: locks.free(held)).start()
    with locks.lock_blocking("k", 5):
        assert not is_free(locks)
    assert is_free(locks)


@forks
async def test_what_a_task_held_at_a_fork_binds_nobody_in_the_child():
    locks = ThreadLocks()

    def child():
        return locks._holders.setdefault((os.getpid(), "k"), "mine") == "mine"

    async with locks.lock("k", 1):
        assert in_child(child)
        assert (os.getpid(), "k") in locks._holders
    assert locks._holders == {}


async def test_until_gives_up_in_time():
    asked = []

    async def attempt():
        asked.append(time.monotonic())

    with pytest.raises(errors.StoreBusyError, match=r"somebody has it; waited 0 s") as caught:
        await until(attempt, timeout=0.3, busy=lambda: "somebody has it")
    assert caught.value.retryable
    assert 0.3 <= asked[-1] - asked[0] < 2
    assert 2 < len(asked) < 60  # often at first, then every 25 to 50 ms
    asked.clear()
    with pytest.raises(errors.StoreBusyError):
        await until(attempt, timeout=0, busy=lambda: "somebody has it")
    assert len(asked) == 1


async def test_worker_threads_are_there_when_all_others_wait():
    """An application whose own threads all wait for a token must not keep it from being read."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    tokens = int(limiter.total_tokens)
    waiters = [object() for _ in range(tokens)]
    for waiter in waiters:
        limiter.acquire_on_behalf_of_nowait(waiter)
    try:
        with anyio.fail_after(60):
            assert await in_thread(lambda number: number + 1, 1) == 2
    finally:
        for waiter in waiters:
            limiter.release_on_behalf_of(waiter)


@pytest.mark.parametrize("key", ["a", "0", "A-b_c.d", "-", "x" * 128])
def test_keys(key):
    assert checked_key(key) == key


@pytest.mark.parametrize("key", ["", ".", "..", ".a", "a/b", "a b", "a\n", "ä", "~a", "x" * 129])
def test_what_is_no_key(key):
    with pytest.raises(errors.InvalidInputError, match="is not a key"):
        checked_key(key)


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_directories_are_made_for_their_owner(tmp_path):
    mask = os.umask(0)
    try:
        make_private_directory(tmp_path / "a" / "b" / "c")
        make_private_directory(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(mask)
    for name in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
