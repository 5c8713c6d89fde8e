"""What depends on the running event loop, on threads or on the clock."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import EventLoopToken, RunVar, current_token
from sniffio import AsyncLibraryNotFoundError, current_async_library, current_async_library_cvar

T = TypeVar("T")
V = TypeVar("V")


class PerLoop(Generic[T, V]):
    """One lazily built value per owner and running event loop.

    Clients and locks belong to a loop, auth objects outlive loops (two `asyncio.run` calls, asyncio then trio).
    The value must not hold its owner, or neither would ever be freed.
    """

    def __init__(self, name: str, build: Callable[[T], V]) -> None:
        self._table: RunVar[WeakKeyDictionary[T, V]] = RunVar(f"domokit.{name}")
        self._build = build

    def __call__(self, owner: T) -> V:
        table = self._table_of_loop()
        if (value := table.get(owner)) is None:
            value = table[owner] = self._build(owner)
        return value

    def pop(self, owner: T) -> V | None:
        """Forget and return this loop's value, if there is one."""
        return self._table_of_loop().pop(owner, None)

    def _table_of_loop(self) -> WeakKeyDictionary[T, V]:
        if (table := self._table.get(None)) is None:
            table = WeakKeyDictionary[T, V]()
            self._table.set(table)
        return table


_home: ContextVar[EventLoopToken | None] = ContextVar("domokit.home", default=None)


def home_loop() -> EventLoopToken | None:
    """Inside an `Errand`: the event loop of whoever set it off, if there was one."""
    return _home.get()


class Errand(Generic[V]):
    """Asynchronous work in a thread and an event loop of its own.

    It belongs to nobody who waits for it: a caller that is cancelled, runs out of time or closes its loop just stops
    waiting, and the interpreter does not end before it is done. It runs in a copy of the context it was made in.

    result, error:  what came of it, once it is `done`.
    reason:         what it was made for, for whoever finds it under way.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, V]], name: str, reason: object = None) -> None:
        self.reason = reason
        self.result: V | None = None
        self.error: BaseException | None = None
        self.done = False
        self._work = work
        self._guard = threading.Lock()
        self._waiting: list[tuple[EventLoopToken, anyio.Event]] = []
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run, home_loop() or _running_loop()), name=name
        )

    def start(self) -> None:
        self._thread.start()

    async def wait(self) -> None:
        """Return when it is done; the caller may be cancelled meanwhile."""
        arrived, loop = anyio.Event(), current_token()
        with self._guard:
            if self.done:
                return
            self._waiting.append((loop, arrived))
        await arrived.wait()

    def wait_blocking(self) -> None:
        """The same where there is no event loop."""
        self._thread.join()

    async def _worked(self) -> V:
        asyncio.get_running_loop().set_default_executor(_Threads())  # names of hosts are looked up there
        return await self._work()

    def _run(self, home: EventLoopToken | None) -> None:
        current_async_library_cvar.set(None)  # the caller's, which the copied context would speak of
        _home.set(home)
        try:
            self.result = asyncio.run(self._worked())
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait shall get it
            self.error = error
        finally:
            with self._guard:
                self.done = True
            for loop, arrived in self._waiting:
                _call_in(loop, arrived.set)


class _Threads(ThreadPoolExecutor):
    """A thread for each call. An errand may outlive the main thread, after whose end no pool takes work any more."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from now on nobody cancels it

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is for who waits
                future.set_exception(error)

        try:
            threading.Thread(target=work, name="domokit-lookup").start()
        except RuntimeError:  # since Python 3.12 no thread begins after the main one's end, either
            work()
        return future


def _running_loop() -> EventLoopToken | None:
    try:
        current_async_library()
    except AsyncLibraryNotFoundError:
        return None
    return current_token()


def _call_in(loop: EventLoopToken, call: Callable[[], object]) -> None:
    """Have `call` called in an event loop of another thread, without waiting; one that has ended needs it no more."""
    native: Any = loop.native_token
    soon = native.run_sync_soon if hasattr(native, "run_sync_soon") else native.call_soon_threadsafe
    with suppress(RuntimeError):
        soon(call)


def state_directory() -> Path:
    """Where programs of this user keep what must survive them: $XDG_STATE_HOME/domokit, or as the system has it."""
    local = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_STATE_HOME")
    return (Path(local) if local else Path.home() / ".local" / "state") / "domokit"


# Counts on while the machine sleeps, where the system has such a clock, and is not set by anybody.
if hasattr(time, "CLOCK_BOOTTIME"):

    def steady() -> float:
        """Seconds on a clock that only runs forward."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    steady = time.monotonic


def utc_now() -> datetime:
    """Now, as an aware UTC datetime."""
    return datetime.now(UTC)


def from_wire(value: Any) -> datetime | None:
    """A time as Domo sends it, as an aware UTC datetime; None stays None, and so does what is no time.

    Epoch milliseconds and epoch seconds stand side by side in one object (`modified` and `created` of a user), so
    the size decides: below 10**11 are seconds. ISO 8601 texts and 'YYYY-MM-DD HH:MM:SS.f' (zone not given: UTC) too.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            if value[-1:] == "Z":  # what nearly all texts look like
                return datetime.fromisoformat(value)
            text = value.strip()
            if text.lstrip("-").isdigit():
                return from_wire(int(text))
            read = datetime.fromisoformat(text)
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    if not isinstance(value, (int, float)):
        return None
    try:
        seconds = value / 1000 if abs(value) >= 10**11 else value
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def to_epoch_ms(moment: datetime) -> int:
    """An aware datetime as epoch milliseconds; the counterpart of `from_wire`. Sub-millisecond parts are cut off."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is ambiguous; pass an aware datetime, e.g. datetime.now(UTC)")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
