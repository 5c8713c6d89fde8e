"""MemoryStore after a fork: two processes with the same tokens."""

import os

import anyio
import pytest

from domokit import MemoryStore, Secret, errors

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def in_child(call):
    """Whether `call` succeeds in a forked child; it has an event loop to itself."""
    pid = os.fork()
    if pid == 0:
        try:
            anyio.run(call)
        except BaseException as error:
            print(repr(error))
            os._exit(18)
        os._exit(17)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 17


@pytest.fixture
def store():
    made = MemoryStore()
    anyio.run(lambda: made.save("k", Secret("one"), replacing=None))
    return made


def test_a_forked_child_reads_and_does_not_renew(store):
    async def child():
        assert (await store.load("k")).text.reveal() == "one"
        assert await store.keys() == ["k"]
        with pytest.raises(errors.StoreUnsafeError, match=r"forked this one.*adopt"):
            async with store.lock("k"):
                pass
        for call in (store.save("k", Secret("two"), replacing="1"), store.delete("k"), store.check()):
            with pytest.raises(errors.StoreUnsafeError):
                await call
        assert (await store.load("k")).text.reveal() == "one"

    assert in_child(child)


def test_a_forked_child_may_go_on_alone(store):
    async def child():
        store.adopt()
        async with store.lock("k", timeout=1):
            await store.save("k", Secret("two"), replacing="1")
        assert (await store.load("k")).text.reveal() == "two"

    assert in_child(child)
    assert anyio.run(store.load, "k").text.reveal() == "one"


def test_a_child_that_was_forked_amid_a_write_and_a_lock_is_not_stuck(store):
    async def child():
        store.adopt()
        async with store.lock("k", timeout=1):
            await store.save("k", Secret("two"), replacing="1")

    with store._guard:  # another thread writes
        store._locks._holders[os.getpid(), "k"] = object()
        assert in_child(child)


def test_what_it_shows(store):
    assert repr(store) == "MemoryStore(1 entries)"
