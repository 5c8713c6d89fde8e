"""Tokens in one file that only its owner reads."""

import contextlib
import errno
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import ClassVar

import attrs

from domokit._secrets import Secret
from domokit.errors import (
    DomoError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
    StoreUnsafeError,
)
from domokit.stores.base import (
    LOCK_TIMEOUT,
    RESERVED,
    Encryption,
    Reach,
    Stored,
    StoreLock,
    TokenStore,
    prove_sealing,
    sealed,
    unsealed,
)
from domokit.stores.document import Document, Refused, parsed
from domokit.stores.locks import (
    FileLocks,
    HeldByFile,
    LockFile,
    check_directory,
    checked_key,
    flush_directory,
    make_private_directory,
)
from domokit.stores.threads import in_thread
from domokit.stores.versions import Versions

log: logging.Logger = logging.getLogger("domokit.stores")

_WHOLE_FILE = "~file"  # the lock that is held while the file is rewritten; no key is called so
_REWRITE_TIMEOUT = 20.0  # seconds; a rewrite takes milliseconds


class FileStore(TokenStore):
    """Keeps tokens in a JSON file, which all processes of this machine may share.

    path:        the file, such as '~/.config/acme/tokens.json'; made, with its directory, when first written. The
                 locks are next to it, in '<path>.locks/'.
    encryption:  an `EncryptionKey`; what is found in clear is sealed when it is next written.

    It is 0600 from its first byte, written beside and put in place whole, and flushed to the disk. On every read and
    write: one that is readable by others is closed to them (and a warning logged, for they may have read it); one that
    is a symbolic link, or belongs to another user, or lies in a directory where others may write raises
    StoreUnsafeError and stays untouched. One of tokens that cannot be read, for it is cut off or damaged, is set aside,
    renamed to '<path>.corrupt-<time>', and raises StoreCorruptError once. Whatever else is found in its place raises
    StoreCorruptError and stays untouched, and so does one of a newer domokit, which raises StoreError.
    """

    reach: ClassVar[Reach] = "machine"

    def __init__(self, path: str | os.PathLike[str], *, encryption: Encryption | None = None) -> None:
        self.path: Path = Path(path).expanduser().absolute()
        self.encryption = encryption
        self._locks = FileLocks(self.path.with_name(self.path.name + ".locks"))
        self._versions = Versions()
        # By process and key, as long as the key's lock is held: for a forked child these are none of its business.
        self._rooms: dict[tuple[int, str], _Room] = {}

    async def load(self, key: str) -> Stored | None:
        return await in_thread(self._load, checked_key(key))

    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        return await in_thread(self._save, checked_key(key), text, replacing)

    async def delete(self, key: str) -> None:
        await in_thread(self._delete, checked_key(key))

    async def keys(self) -> list[str]:
        return sorted((await in_thread(self._read)).entries)

    async def check(self) -> None:
        """Look whether it could be read and written; nothing is made, closed or set aside, and no lock is taken.

        Raises: StoreError; what its encryption raises. (A key of the keyring is made there if there is none yet.)
        """
        await in_thread(self._check)

    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        return self._lock(checked_key(key), timeout)

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"

    def __reduce__(self) -> tuple[Callable[..., "FileStore"], tuple[str]]:
        return partial(FileStore, encryption=self.encryption), (str(self.path),)

    # -- the lock of a key

    @asynccontextmanager
    async def _lock(self, key: str, timeout: float) -> AsyncGenerator[StoreLock, None]:
        self._check_place()
        async with self._locks.lock(key, timeout) as held:
            place, room = (os.getpid(), key), _Room()
            self._rooms[place] = room
            try:
                yield _FileLock(self, key, held)
            finally:
                if place[0] == os.getpid():
                    self._rooms.pop(place, None)
                    room.close()

    def make_room(self, key: str, size: int) -> None:
        """Take up room on the disk for what will be written under this key's lock."""
        self._check_place()
        if (room := self._rooms.get((os.getpid(), key))) is None:
            return  # the lock was let go by a task that was cancelled
        room.put(None)
        suffix = f".{key}.room"
        self._sweep(suffix)  # what a holder left who was killed: we hold the lock now
        present = len(self._read().encoded())  # whatever else may be wrong with the file comes out now
        try:
            made = self._create(suffix)
            try:
                _allocate(made.descriptor, present + size)
            except BaseException:
                made.discard()
                raise
        except OSError as error:
            raise self._unavailable(error) from None
        room.put(made)

    def _make_room_again(self, key: str) -> None:
        """After room was used: what it was larger than needed is free now, and so is what was the file until then."""
        for part in (2, 4, 8, 16):
            with contextlib.suppress(StoreError):
                self.make_room(key, RESERVED // part)
                return

    # -- the file; these run in worker threads

    def _load(self, key: str) -> Stored | None:
        found = self._read().get(key)
        if found is None:
            return None
        member, content, version = found
        return Stored(unsealed(self.encryption, member, content, key, str(self.path)), version)

    def _save(self, key: str, text: Secret, replacing: str | None) -> str:
        member, content = sealed(self.encryption, text, key)
        with self._versions.next(key, text, replacing) as version, self._locked():
            document = self._read(locked=True)
            present = document.version(key)
            if present == version:  # it was put in place, and then something failed
                if (failure := self._flush()) is not None:
                    raise failure
                return version
            if present != replacing:
                raise StoreConflictError(f"{key} in {self.path} has been written by another")
            document.put(key, version, member, content)
            self._write(document, key)
            return version

    def _delete(self, key: str) -> None:
        with self._locked():
            document = self._read(locked=True)
            if document.entries.pop(key, None) is not None:
                self._write(document, key)

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        self._check_place()
        with self._locks.lock_blocking(_WHOLE_FILE, _REWRITE_TIMEOUT):
            yield

    def _read(self, *, locked: bool = False) -> Document:
        found = self._look()
        if isinstance(found, Document):
            return found
        if isinstance(found, DomoError):
            raise found
        if locked:
            raise self._set_aside()
        try:
            with self._locked():  # another may have set it aside, or mended it, just before
                return self._read(locked=True)
        except StoreUnavailableError as error:
            raise self._corrupt(f"could not be set aside: {error.message}") from None

    def _look(self, *, mend: bool = True) -> Document | DomoError | None:
        """What is in the file; None if it is one of tokens that cannot be read, an error where it is somebody else's.

        The error is for the caller to raise, and the content in no variable: a traceback would show it.

        mend:  whether one that is open to others is closed to them, rather than an error.
        """
        try:
            check_directory(self.path.parent)
            with os.fdopen(self._open(), "rb") as file:
                found = parsed(file.read(), self.path)
                if not isinstance(found, Refused) or found.is_ours:
                    self._close_to_others(file.fileno(), mend=mend)
        except FileNotFoundError:
            return Document()
        except OSError as error:
            return self._unavailable(error)
        return found.error if isinstance(found, Refused) else found

    def _open(self) -> int:
        """The file, having looked at whose it is."""
        # Without O_NONBLOCK, opening a pipe that somebody put there would wait for its other end.
        flags = (getattr(os, name, 0) for name in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
        try:
            descriptor = os.open(self.path, sum(flags))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK) and self.path.is_symlink():
                raise StoreUnsafeError(
                    f"{self.path} is a symbolic link", hint="Give the path of the file itself."
                ) from None
            raise
        try:
            self._check_file(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_file(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StoreUnsafeError(f"{self.path} is not a file")
        if sys.platform != "win32" and found.st_uid != os.geteuid():
            raise StoreUnsafeError(f"{self.path} belongs to another user", hint="Keep one for each user.")

    def _close_to_others(self, descriptor: int, *, mend: bool) -> None:
        mode = os.fstat(descriptor).st_mode
        if sys.platform == "win32" or not mode & 0o077:
            return
        was = f"{mode & 0o777:o}"
        if not mend:
            raise StoreUnsafeError(
                f"{self.path} is open to others (mode {was})",
                hint=f"chmod 600 {self.path}; if they may have read it, revoke what it holds.",
            )
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o600)
        if os.fstat(descriptor).st_mode & 0o077:
            raise StoreUnsafeError(
                f"{self.path} is open to others (mode {was}) and cannot be closed to them",
                hint="Keep it on a file system that knows who may read a file.",
            )
        log.warning(
            "%s was open to others (mode %s) and is closed now; if they may have read it, revoke what it holds",
            self.path,
            was,
        )

    def _write(self, document: Document, key: str) -> None:
        self._sweep(".new")  # what a writer left who was killed: we hold the lock now
        failure = self._put(document, None)
        if failure is not None and (room := self._rooms.get((os.getpid(), key))) and (made := room.take()):
            failure = self._put(document, made)
            if failure is None:
                self._make_room_again(key)
        if failure is not None:
            raise failure

    def _put(self, document: Document, made: "_NewFile | None") -> StoreError | None:
        """Put a new file in the place of the old: one made for it, or one that was made before."""
        try:
            made = made or self._create(".new")
            try:
                _fill(made.descriptor, document)
                made.close()
                _replace(made.path, self.path)
            except BaseException:
                made.discard()
                raise
        except OSError as error:
            return self._unavailable(error)
        return self._flush()

    def _flush(self) -> StoreError | None:
        try:
            flush_directory(self.path.parent)
        except OSError as error:
            return self._unavailable(error)
        return None

    def _create(self, suffix: str) -> "_NewFile":
        path = self.path.with_name(f".{self.path.name}.{token_hex(4)}{suffix}")
        flags = ("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")
        return _NewFile(os.open(path, sum(getattr(os, name, 0) for name in flags), 0o600), path)

    def _sweep(self, suffix: str) -> None:
        """Remove files that `_create` made for the same purpose, and whose maker is no more."""
        start = f".{self.path.name}."
        length = len(start) + 8 + len(suffix)
        with contextlib.suppress(OSError):
            for name in os.listdir(self.path.parent):
                if len(name) == length and name.startswith(start) and name.endswith(suffix):
                    self.path.with_name(name).unlink(missing_ok=True)

    def _check(self) -> None:
        found = self._look(mend=False)
        if found is None:
            raise self._corrupt("will be set aside when it is used")
        if isinstance(found, DomoError):
            raise found
        sealed(self.encryption, Secret(""), "check")
        try:
            directory = next(one for one in self.path.parents if one.exists())
            self._check_directory(directory)
            if self._locks.directory.exists():
                check_directory(self._locks.directory, follow=False)
            if directory == self.path.parent:
                made = self._create(".new")
                try:
                    _allocate(made.descriptor, len(found.encoded()) + RESERVED)
                finally:
                    made.discard()
        except OSError as error:
            raise self._unavailable(error) from None

    def _check_place(self) -> None:
        directory = self.path.parent
        try:
            if not directory.exists():
                make_private_directory(directory)
            self._check_directory(directory)
        except OSError as error:
            raise self._unavailable(error) from None

    def _check_directory(self, directory: Path) -> None:
        check_directory(directory)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StoreUnavailableError(f"nothing can be written in {directory}")

    def _set_aside(self) -> StoreCorruptError:
        aside = self.path.with_name(f"{self.path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        try:
            os.rename(self.path, aside)
        except OSError as error:
            return self._corrupt(f"could not be set aside: {error.strerror}")
        return self._corrupt(f"was set aside as {aside.name}")

    def _corrupt(self, what: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self.path} could not be read as a file of tokens and {what}",
            hint="Look whether it can be mended and put back; else go on: tokens are asked for anew.",
        )

    def _unavailable(self, error: OSError) -> StoreError:
        return StoreUnavailableError(f"{self.path}: {error.strerror or type(error).__name__}")


class _FileLock(HeldByFile):
    def __init__(self, store: FileStore, key: str, held: LockFile) -> None:
        super().__init__(held)
        self._store = store
        self._key = key

    async def reserve(self, size: int = RESERVED) -> None:
        await self.extend()
        await in_thread(prove_sealing, self._store.encryption, self._key)
        await in_thread(self._store.make_room, self._key, size)


@attrs.define(eq=False)
class _NewFile:
    """A file that is open for writing, and nobody's yet."""

    descriptor: int
    path: Path

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


class _Room:
    """Room on the disk, taken up by a file that nobody reads.

    It ends with its lock even if a thread is still making it, for a task that was cancelled.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._made: _NewFile | None = None
        self._closed = False

    def put(self, made: _NewFile | None) -> None:
        with self._guard:
            old, self._made = (made, None) if self._closed else (self._made, made)
        if old is not None:
            old.discard()

    def take(self) -> _NewFile | None:
        with self._guard:
            made, self._made = self._made, None
        return made

    def close(self) -> None:
        with self._guard:
            self._closed = True
        if (made := self.take()) is not None:
            made.discard()


def _fill(descriptor: int, document: Document) -> None:
    content = memoryview(document.encoded())  # whose repr does not show it
    written = 0
    while written < len(content):
        written += os.write(descriptor, content[written:])
    os.ftruncate(descriptor, written)
    os.fsync(descriptor)


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    written = 0
    while written < size:
        written += os.write(descriptor, bytes(min(size - written, 1 << 16)))
    os.lseek(descriptor, 0, os.SEEK_SET)


def _replace(new: Path, old: Path) -> None:
    for wait in (0.01, 0.05, 0.2, 0.5):
        try:
            os.replace(new, old)
        except PermissionError:
            if sys.platform != "win32":
                raise
            time.sleep(wait)  # another is reading the old one, which only Windows minds
        else:
            return
    os.replace(new, old)
