"""Tokens in the memory of this process."""

import os
import threading
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from domokit._secrets import Secret
from domokit.errors import StoreConflictError, StoreUnsafeError
from domokit.stores.base import LOCK_TIMEOUT, Reach, Stored, StoreLock, TokenStore
from domokit.stores.locks import ThreadLocks, checked_key


class MemoryStore(TokenStore):
    """Keeps tokens as long as this process lives; for tokens that can be had anew at any time.

    After a fork the tokens are there twice, and whoever spends a refresh token first makes the other's useless. So in
    the child reading works, and locking (which comes before spending) and writing raise StoreUnsafeError, unless it
    says with `adopt()` that it goes on alone.
    """

    reach: ClassVar[Reach] = "process"

    def __init__(self) -> None:
        self._entries: dict[str, Stored] = {}
        self._written = 0
        self._guard = threading.Lock()
        self._locks = ThreadLocks()
        self._process = os.getpid()

    def adopt(self) -> None:
        """Say, after a fork, that this process goes on alone with what the store holds, and its parent does not."""
        self._process = os.getpid()
        self._guard = threading.Lock()

    async def load(self, key: str) -> Stored | None:
        return self._entries.get(checked_key(key))

    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        self._check_process()
        checked_key(key)
        with self._guard:
            found = self._entries.get(key)
            if (found and found.version) != replacing:
                raise StoreConflictError(f"{key} has been written by another task")
            self._written += 1
            self._entries[key] = Stored(text, str(self._written))
            return str(self._written)

    async def delete(self, key: str) -> None:
        self._check_process()
        with self._guard:
            self._entries.pop(checked_key(key), None)

    async def keys(self) -> list[str]:
        return sorted(self._entries)

    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        return self._lock(checked_key(key), timeout)

    @asynccontextmanager
    async def _lock(self, key: str, timeout: float) -> AsyncGenerator[StoreLock, None]:
        self._check_process()
        async with self._locks.lock(key, timeout):
            yield StoreLock()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise StoreUnsafeError(
                f"process {self._process} forked this one, and both hold the same tokens: the first to renew one would "
                "make the other's useless",
                hint="Share a FileStore, or call MemoryStore.adopt() in the one process that goes on.",
            )

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._entries)} entries)"
