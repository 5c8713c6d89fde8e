"""A store as a keeper uses it: however it fails, that is a `StoreError`."""

import logging
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Any

import attrs

from domokit._secrets import Secret, forget_frames, scrub
from domokit.errors import InvalidInputError, StoreError, StoreUnavailableError
from domokit.stores.base import LOCK_TIMEOUT, RESERVED, Reach, Stored, StoreLock, TokenStore, prove_sealing
from domokit.stores.threads import in_thread

log: logging.Logger = logging.getLogger("domokit.stores")


@attrs.frozen
class Guarded:
    """A store, which may be somebody's own or have an encryption of his, and fail in ways of their own.

    A token that has been received must not be lost over an error that nobody has thought of.
    """

    store: TokenStore

    @property
    def reach(self) -> Reach:
        return self.store.reach

    async def load(self, key: str) -> Stored | None:
        with _as_store_error(self.store):
            return await self.store.load(key)

    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        with _as_store_error(self.store):
            return await self.store.save(key, text, replacing=replacing)

    async def delete(self, key: str) -> None:
        with _as_store_error(self.store):
            await self.store.delete(key)

    async def keys(self) -> list[str]:
        with _as_store_error(self.store):
            return await self.store.keys()

    async def prove_sealing(self, key: str) -> None:
        """Raises: StoreError, if the store has an encryption, and that fails."""
        with _as_store_error(self.store):
            await in_thread(prove_sealing, getattr(self.store, "encryption", None), key)

    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        with _as_store_error(self.store):
            return _Holding(self.store, self.store.lock(key, timeout=timeout))


class _Holding(AbstractAsyncContextManager[StoreLock]):
    """Around holding a lock. Failing to let go of it is no reason to lose what was done while it was held."""

    def __init__(self, store: TokenStore, inner: AbstractAsyncContextManager[StoreLock]) -> None:
        self._store = store
        self._inner = inner

    async def __aenter__(self) -> StoreLock:
        with _as_store_error(self._store):
            return _GuardedLock(self._store, await self._inner.__aenter__())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._inner.__aexit__(kind, error, trace)
        except Exception as failure:  # noqa: BLE001 - whatever it is
            if failure is not error:
                log.warning("%s: a lock could not be let go: %s", type(self._store).__name__, scrub(repr(failure)))


class _GuardedLock(StoreLock):
    def __init__(self, store: TokenStore, held: StoreLock) -> None:
        self._store = store
        self._held = held

    @property
    def seconds_left(self) -> float:
        return self._held.seconds_left

    async def extend(self) -> None:
        with _as_store_error(self._store):
            await self._held.extend()

    async def reserve(self, size: int = RESERVED) -> None:
        with _as_store_error(self._store):
            await self._held.reserve(size)


@contextmanager
def _as_store_error(store: TokenStore) -> Generator[None, None, None]:
    try:
        yield
        return
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - it is not our function
        failure = _failure(store, error)
    raise failure


def _failure(store: TokenStore, error: Exception) -> StoreError:
    """What an error of any kind means. It stays as the cause, without its frames: their variables may hold tokens."""
    forget_frames(error)
    error.args = tuple[Any, ...](scrub(part) if isinstance(part, str) else part for part in error.args)
    failure: StoreError
    if isinstance(error, InvalidInputError):  # such as an encryption key that is none
        failure = StoreError(error.message, hint=error.hint)
        failure.needs_human = True
    else:
        failure = StoreUnavailableError(
            f"{type(store).__name__} failed with {type(error).__name__}: {error}", hint="See to the store."
        )
    failure.__cause__ = error
    return failure
