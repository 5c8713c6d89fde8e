"""The conformance suite notices what a store does wrong, and fits into anybody's tests."""

import time
from contextlib import asynccontextmanager

import anyio
import pytest

from domokit import MemoryStore, Secret, errors
from domokit.stores import Stored, StoreLock
from domokit.testing import TokenStoreConformance


class NoComparison(MemoryStore):
    async def save(self, key, text, *, replacing):
        found = await self.load(key)
        return await super().save(key, text, replacing=found and found.version)


class ComparesAndWaits(MemoryStore):
    async def save(self, key, text, *, replacing):
        found = await self.load(key)
        if (found and found.version) != replacing:
            raise errors.StoreConflictError("other")
        await anyio.sleep(0.001)
        return await NoComparison.save(self, key, text, replacing=replacing)


class VersionsByContent(MemoryStore):
    async def save(self, key, text, *, replacing):
        found = await self.load(key)
        if (found and found.version) != replacing:
            raise errors.StoreConflictError("other")
        self._entries[key] = Stored(text, text.fingerprint)
        return text.fingerprint


class Ascii(MemoryStore):
    async def save(self, key, text, *, replacing):
        return await super().save(key, Secret(text.reveal().encode("ascii", "replace").decode()), replacing=replacing)


class Unsorted(MemoryStore):
    async def keys(self):
        return list(self._entries)


class AnyKey(MemoryStore):
    async def load(self, key):
        return self._entries.get(key)


class KeepsDeleted(MemoryStore):
    async def delete(self, key):
        pass


class NoLock(MemoryStore):
    @asynccontextmanager
    async def lock(self, key, *, timeout=120):
        MemoryStore.lock(self, key)
        yield StoreLock()


class RaisesItsOwn(MemoryStore):
    @asynccontextmanager
    async def lock(self, key, *, timeout=120):
        try:
            async with super().lock(key, timeout=timeout) as held:
                yield held
        except errors.StoreBusyError:
            raise TimeoutError from None


class OneLockForAll(MemoryStore):
    def lock(self, key, *, timeout=120):
        super().lock(key)
        return super().lock("k", timeout=timeout)


class OfMyOwn(MemoryStore):
    """With a lock that is a set of keys."""

    def __init__(self):
        super().__init__()
        self.taken = set()

    async def take(self, key, timeout):
        super().lock(key)
        ends = time.monotonic() + timeout
        while key in self.taken:
            if time.monotonic() >= ends:
                raise errors.StoreBusyError("busy")
            await anyio.sleep(0.001)
        self.taken.add(key)


class KeepsLockOnError(OfMyOwn):
    @asynccontextmanager
    async def lock(self, key, *, timeout=120):
        await self.take(key, timeout)
        yield StoreLock()
        self.taken.discard(key)


class LeaksLockWhenCancelled(OfMyOwn):
    """As if it were taken in a thread, and who is cancelled meanwhile in asyncio's way never heard of it."""

    @asynccontextmanager
    async def lock(self, key, *, timeout=120):
        with anyio.CancelScope(shield=True):
            await self.take(key, timeout)
            await anyio.sleep(0.002)
        try:
            yield StoreLock()
        finally:
            self.taken.discard(key)


class LockMakesEntry(MemoryStore):
    @asynccontextmanager
    async def lock(self, key, *, timeout=120):
        async with super().lock(key, timeout=timeout) as held:
            self._entries.setdefault(key, Stored(Secret(""), "0"))
            yield held


class ShowsTexts(MemoryStore):
    def __repr__(self):
        return str([one.text.reveal() for one in self._entries.values()])


class TextsInFrames(MemoryStore):
    async def save(self, key, text, *, replacing):
        content = {"text": text.reveal()}
        version = await super().save(key, text, replacing=replacing)
        return version if content else ""


class EndsWhenClosed(MemoryStore):
    async def aclose(self):
        self._entries = None


WRONG = {
    NoComparison: "only_the_present_version_is_replaced",
    ComparesAndWaits: "of_many_writers_one_wins",
    VersionsByContent: "each_write_gives_another_version",
    Ascii: "a_text_comes_back_as_it_was",
    Unsorted: "keys_are_listed_and_kept_apart",
    AnyKey: "what_is_no_key_is_refused",
    KeepsDeleted: "deleting",
    NoLock: "a_lock_lets_one_task_in",
    RaisesItsOwn: "who_waits_too_long_is_told",
    OneLockForAll: "keys_are_locked_one_by_one",
    KeepsLockOnError: "a_lock_ends_with_its_block",
    LeaksLockWhenCancelled: "who_is_cancelled_in_the_way_of_asyncio_gets_no_lock",
    LockMakesEntry: "a_lock_can_be_extended_and_room_reserved",
    ShowsTexts: "it_shows_no_text",
    TextsInFrames: "it_shows_no_text",
    EndsWhenClosed: "it_works_after_it_was_closed",
}


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.__name__)
def test_a_wrong_store_fails(kind, tmp_path):
    class TestIt(TokenStoreConformance):
        patience = 0.5

        def make_store(self, tmp_path):
            return kind()

    test = getattr(TestIt(), f"test_{WRONG[kind]}")
    arguments = ["a/b"] if kind is AnyKey else []
    with pytest.raises(BaseException) as caught:  # whatever a wrong store comes up with
        test(tmp_path, *arguments)
    assert not isinstance(caught.value, (NameError, TypeError)) or kind is EndsWhenClosed
    assert caught.value.__notes__ == ["under asyncio"]


KEYS = "what_is_no_key_is_refused"  # one is enough, to see whether plugins get in the way

OF_A_USER = """
import pytest
from domokit import MemoryStore
from domokit.testing import TokenStoreConformance

class WithServer(TokenStoreConformance):
    @pytest.fixture(autouse=True)
    def _server(self, tmp_path_factory):
        self.server = tmp_path_factory.mktemp("server")

class TestMine(WithServer):
    def make_store(self, tmp_path):
        assert tmp_path.is_dir() and not list(tmp_path.iterdir())
        assert self.server.is_dir()
        return MemoryStore()

class TestNotYet(TestMine):
    __test__ = False
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "no:anyio", "-p", "no:asyncio"],
        ["-k", KEYS, "-p", "no:anyio", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"],
        ["-k", KEYS, "-p", "no:asyncio", "-o", "anyio_mode=auto"],
    ],
    ids=["no plugin", "pytest-asyncio", "anyio"],
)
def test_it_needs_no_plugin_and_minds_none(pytester, arguments):
    pytester.makepyfile(OF_A_USER)
    result = pytester.runpytest_subprocess("-W", "error", "-o", "python_classes=Test* *Conformance With*", *arguments)
    # Neither the class itself nor the one between was collected; `what_is_no_key` is there once for each.
    tests = 11 if KEYS in arguments else sum(name.startswith("test_") for name in vars(TokenStoreConformance)) + 10
    assert {**result.parseoutcomes(), "deselected": 0} == {"passed": tests, "deselected": 0}


def test_what_a_failure_tells(pytester):
    pytester.makepyfile(
        OF_A_USER
        + """
class TestWrong(WithServer):
    def make_store(self, tmp_path):
        store = MemoryStore()
        store.keys = store.aclose
        return store
"""
    )
    result = pytester.runpytest_subprocess("-k", "TestWrong and at_first", "-p", "no:anyio", "-p", "no:asyncio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert None == [[][]]*", "*under asyncio*"])
