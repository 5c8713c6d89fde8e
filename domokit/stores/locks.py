"""Locks that tasks, threads and processes of one machine share, and how to wait for one without blocking."""

import contextlib
import errno
import os
import re
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import uniform
from time import monotonic, sleep
from typing import Literal, TypeVar

import anyio
import attrs

from domokit.errors import InvalidInputError, StoreBusyError, StoreUnavailableError, StoreUnsafeError
from domokit.stores.base import StoreLock

T = TypeVar("T")

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


def checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidInputError(f"{key[:60]!r} is not a key: letters, digits, '-', '_' and '.' only")
    return key


async def until(
    attempt: Callable[[], Awaitable[T | None]], *, timeout: float, busy: Callable[[], str], longest: float = 0.05
) -> T:
    """What `attempt` gives once it gives something: asked again and again, after growing waits.

    Nothing waits inside the lock's own code, so a task that is cancelled meanwhile just goes, on any event loop.
    Raises: StoreBusyError, saying what `busy` says, after `timeout` seconds.
    """
    deadline = monotonic() + timeout
    wait = longest / 50
    while (found := await attempt()) is None:
        if monotonic() >= deadline:
            raise StoreBusyError(f"{busy()}; waited {timeout:.0f} s")
        await anyio.sleep(uniform(wait / 2, wait))
        wait = min(longest, wait * 1.5)
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

        async def attempt() -> Literal[True] | None:
            return self._holders.setdefault(place, mine) is mine or None

        await until(attempt, timeout=timeout, busy=lambda: f"another task holds the lock of {key}")
        try:
            yield
        finally:
            self._holders.pop(place, None)


@attrs.define(eq=False)
class LockFile:
    """A lock file that is open and locked."""

    path: Path
    descriptor: int  # -1 once it is free, and in a forked child, which has no part in it


class HeldByFile(StoreLock):
    """A lock that lasts as long as its file stays locked, and where it is."""

    def __init__(self, held: LockFile) -> None:
        self._held = held

    async def extend(self) -> None:
        if self._held.descriptor < 0 or not _leads_to(self._held.path, self._held.descriptor):
            raise StoreBusyError(f"somebody removed the lock file {self._held.path}: others may hold the lock, too")


# Descriptors that are open. The guard is held while one is opened or closed, and by every fork: otherwise a child
# could inherit a descriptor that nobody knows of yet, and hold the lock for as long as the child lives.
_open: set[LockFile] = set()
_guard = threading.Lock()


class FileLocks:
    """A lock for each name: a file in `directory`, locked by the operating system, which frees it when its holder dies.

    Each holder opens the file anew, so the lock holds between threads as well. The files stay; they are empty but for
    the name of the last holder.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @asynccontextmanager
    async def lock(self, name: str, timeout: float) -> AsyncGenerator[LockFile, None]:
        async def attempt() -> LockFile | None:
            return self.take(name)

        held = await until(attempt, timeout=timeout, busy=lambda: self.holder(name))
        try:
            yield held
        finally:
            self.free(held)

    @contextmanager
    def lock_blocking(self, name: str, timeout: float) -> Generator[LockFile, None, None]:
        """The same, for a worker thread."""
        deadline = monotonic() + timeout
        while (held := self.take(name)) is None:
            if monotonic() > deadline:
                raise StoreBusyError(f"{self.holder(name)}; waited {timeout:.0f} s")
            sleep(uniform(0.001, 0.003))
        try:
            yield held
        finally:
            self.free(held)

    def take(self, name: str) -> LockFile | None:
        """The lock file, locked; None if another holds it."""
        path = self.directory / f"{name}.lock"
        with _guard:
            descriptor = self._open(path)
            try:
                if not (_lock_now(descriptor) and _leads_to(path, descriptor)):
                    os.close(descriptor)
                    return None
            except OSError as error:
                os.close(descriptor)
                raise StoreUnavailableError(f"{path} cannot be locked: {error.strerror}") from None
            held = LockFile(path, descriptor)
            _open.add(held)
        with contextlib.suppress(OSError):  # a full disk: the name is a help, not a need
            os.ftruncate(descriptor, 0)
            os.write(descriptor, who().encode("ascii", "replace"))
        return held

    def free(self, held: LockFile) -> None:
        with _guard:
            if held.descriptor >= 0:
                _open.discard(held)
                descriptor, held.descriptor = held.descriptor, -1
                # Said aloud, for closing alone would not do it while a process that is being started has a copy.
                _unlock(descriptor)
                os.close(descriptor)

    def holder(self, name: str) -> str:
        holder = "another process"
        with contextlib.suppress(OSError, ValueError):
            holder = (self.directory / f"{name}.lock").read_text(encoding="ascii").strip()[:200] or holder
        return f"{holder} holds the lock {name} in {self.directory}"

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            if not self.directory.is_dir():
                make_private_directory(self.directory)
            check_directory(self.directory, follow=False)
            return os.open(path, flags, 0o600)
        except OSError as error:
            raise StoreUnavailableError(f"{path} cannot be locked: {error.strerror}") from None


def make_private_directory(path: Path) -> None:
    """Make a directory, and those above it, for this user alone; durably. Raises: StoreUnavailableError."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        for one in reversed(missing):
            one.mkdir(exist_ok=True, mode=0o700)
            flush_directory(one.parent)
    except OSError as error:
        raise StoreUnavailableError(f"{path} cannot be made: {error.strerror}") from None


def check_directory(path: Path, *, follow: bool = True) -> None:
    """Raises: StoreUnsafeError, if others could put a file of theirs in the place of one in this directory; OSError.

    follow:  whether it may be a symbolic link to a directory.
    """
    if sys.platform == "win32":
        return
    found = os.stat(path, follow_symlinks=follow)
    if found.st_uid not in (os.geteuid(), 0):
        raise StoreUnsafeError(f"the directory {path} belongs to another user", hint="Keep tokens in one of your own.")
    sticky = found.st_mode & 0o1000
    private_group = found.st_gid == found.st_uid  # where each user has a group of his own, 0775 is usual
    if not sticky and (found.st_mode & 0o002 or (found.st_mode & 0o020 and not private_group)):
        raise StoreUnsafeError(
            f"others may write in the directory {path} (mode {found.st_mode & 0o777:o})",
            hint=f"chmod go-w {path}",
        )


def flush_directory(path: Path) -> None:
    """Make durable what was made, renamed or removed in a directory."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing, as some on the network
            raise
    finally:
        os.close(descriptor)


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 30  # the text at the beginning stays readable for others

    def _lock_now(descriptor: int) -> bool:
        try:
            os.lseek(descriptor, _BEYOND, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock_now(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _forget_inherited() -> None:
        # A forked child shares its parent's descriptors. It closes them; unlocking would free the parent's lock.
        for held in _open:
            with contextlib.suppress(OSError):
                os.close(held.descriptor)
            held.descriptor = -1
        _open.clear()
        _guard.release()

    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_forget_inherited)
