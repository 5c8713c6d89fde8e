"""Locks that tasks, threads and processes of one machine share, and how to wait for one without blocking."""

import contextlib
import os
import re
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import uniform
from time import monotonic
from typing import TypeVar

import anyio

from domokit.errors import InvalidInputError, StoreBusyError, StoreUnavailableError, StoreUnsafeError

T = TypeVar("T")

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_held: set[int] = set()  # descriptors of the locks of this process


def checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidInputError(f"{key[:60]!r} is not a key: letters, digits, '-', '_' and '.' only")
    return key


async def until(attempt: Callable[[], T | None], *, timeout: float, busy: Callable[[], str]) -> T:
    """What `attempt` gives once it gives something: asked again and again, after growing waits.

    Asking never blocks, so a task that is cancelled meanwhile just goes, on any event loop and in any thread.
    Raises: StoreBusyError, saying what `busy` says, after `timeout` seconds.
    """
    deadline = monotonic() + timeout
    wait = 0.001
    while (found := attempt()) is None:
        if monotonic() >= deadline:
            raise StoreBusyError(f"{busy()}; waited {timeout:.0f} s")
        await anyio.sleep(uniform(wait / 2, wait))
        wait = min(0.05, wait * 1.5)
    return found


def who() -> str:
    """This process, for others to read: 'host:pid'."""
    return f"{socket.gethostname()}:{os.getpid()}"


class ThreadLocks:
    """A lock for each key, shared by the tasks and threads of this process."""

    def __init__(self) -> None:
        # By process too: what the parent held at a fork binds nobody here. `setdefault` is atomic, so no lock guards
        # this, which a fork could leave locked.
        self._holders: dict[tuple[int, str], object] = {}

    @asynccontextmanager
    async def lock(self, key: str, timeout: float) -> AsyncGenerator[None, None]:
        mine, place = object(), (os.getpid(), key)
        await until(
            lambda: self._holders.setdefault(place, mine) is mine or None,
            timeout=timeout,
            busy=lambda: f"another task holds the lock of {key}",
        )
        try:
            yield
        finally:
            self._holders.pop(place, None)


class FileLocks:
    """A lock for each key: a file in `directory`, locked by the operating system, which frees it when its holder dies.

    Each holder opens the file anew, so the lock holds between threads as well. The files stay; they are empty but for
    the name of the last holder.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @asynccontextmanager
    async def lock(self, key: str, timeout: float) -> AsyncGenerator[None, None]:
        descriptor = await until(lambda: self.take(key), timeout=timeout, busy=lambda: self.holder(key))
        try:
            yield
        finally:
            self.free(descriptor)

    def take(self, key: str) -> int | None:
        """The descriptor of the lock file, locked; None if another holds it."""
        descriptor = self._open(key)
        try:
            if not _lock_now(descriptor):
                os.close(descriptor)
                return None
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, who().encode(), 0)
        except OSError as error:
            if error.errno not in (None, 28):  # a full disk: the name is a help, not a need
                os.close(descriptor)
                raise StoreUnavailableError(f"{self._directory} cannot be locked: {error.strerror}") from None
        _held.add(descriptor)
        return descriptor

    def free(self, descriptor: int) -> None:
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)

    def holder(self, key: str) -> str:
        name = "another process"
        with contextlib.suppress(OSError, ValueError):
            name = (self._directory / f"{key}.lock").read_text(encoding="ascii").strip()[:200] or name
        return f"{name} holds the lock of {key} in {self._directory}"

    def _open(self, key: str) -> int:
        path = self._directory / f"{checked_key(key)}.lock"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        for _ in range(2):
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                make_private_directory(self._directory)
            except OSError as error:
                raise StoreUnavailableError(f"{path} cannot be locked: {error.strerror}") from None
        raise StoreUnavailableError(f"{path} cannot be made")


def make_private_directory(path: Path) -> None:
    """Make a directory, and those above it, for this user alone. Raises: StoreUnavailableError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreUnavailableError(f"{path} cannot be made: {error.strerror}") from None


def check_directory(path: Path) -> None:
    """Raises: StoreUnsafeError, if others could put a file of theirs in the place of one in this directory."""
    if sys.platform == "win32":
        return
    found = os.stat(path)
    if found.st_uid not in (os.geteuid(), 0):
        raise StoreUnsafeError(f"the directory {path} belongs to another user", hint="Keep tokens in one of your own.")
    sticky = found.st_mode & 0o1000
    private_group = found.st_gid == found.st_uid  # where each user has a group of his own, 0775 is usual
    if not sticky and (found.st_mode & 0o002 or (found.st_mode & 0o020 and not private_group)):
        raise StoreUnsafeError(
            f"others may write in the directory {path} (mode {found.st_mode & 0o777:o})",
            hint=f"chmod go-w {path}",
        )


if sys.platform == "win32":
    import msvcrt

    def _lock_now(descriptor: int) -> bool:
        try:
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which others may read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock_now(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _forget_inherited() -> None:
        # A forked child shares its parent's descriptors: open in the child, they would hold the lock for the parent.
        for descriptor in _held:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        _held.clear()

    os.register_at_fork(after_in_child=_forget_inherited)
