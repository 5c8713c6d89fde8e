"""Tokens in one file that only its owner reads."""

import contextlib
import errno
import json
import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from anyio import to_thread

from domokit._secrets import Secret
from domokit.errors import (
    InvalidInputError,
    StoreBusyError,
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
    sealed,
    unsealed,
)
from domokit.stores.locks import FileLocks, check_directory, checked_key, make_private_directory

log: logging.Logger = logging.getLogger("domokit.stores")

SCHEMA = 1
_WHOLE_FILE = "-file-"  # the name of the lock that is held while the file is rewritten
_REWRITE_TIMEOUT = 20.0  # seconds; a rewrite takes milliseconds

Entries = dict[str, dict[str, Any]]


class FileStore(TokenStore):
    """Keeps tokens in a JSON file, which all processes of this machine may share.

    path:        the file, such as '~/.config/acme/tokens.json'; made, with its directory, when first written. The
                 locks are next to it, in '<path>.locks/'.
    encryption:  an `EncryptionKey`; what is found in clear is sealed when it is next written.

    It is 0600 from its first byte, written beside and put in place whole, and flushed to the disk. On every read and
    write: one that is readable by others is closed to them (and a warning logged, for they may have read it); one that
    is a symbolic link, or belongs to another user, or lies in a directory where others may write raises
    StoreUnsafeError and stays untouched. One that cannot be read as what it should be is set aside, renamed to
    '<path>.corrupt-<time>', and raises StoreCorruptError once. One of a newer domokit raises StoreError.
    """

    reach: ClassVar[Reach] = "machine"

    def __init__(self, path: str | os.PathLike[str], *, encryption: Encryption | None = None) -> None:
        self.path = Path(path).expanduser().absolute()
        self.encryption = encryption
        self._locks = FileLocks(self.path.with_name(self.path.name + ".locks"))
        self._reserved: dict[str, tuple[int, Path]] = {}  # by key: room for what will be written under its lock

    async def load(self, key: str) -> Stored | None:
        entries = await to_thread.run_sync(self._read)
        if (entry := entries.get(checked_key(key))) is None:
            return None
        return Stored(unsealed(self.encryption, entry, key, str(self.path)), entry["version"])

    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        entry = sealed(self.encryption, text, checked_key(key))
        return await to_thread.run_sync(self._replace, key, Secret(json.dumps(entry)), replacing)

    async def delete(self, key: str) -> None:
        await to_thread.run_sync(self._delete, checked_key(key))

    async def keys(self) -> list[str]:
        return sorted(await to_thread.run_sync(self._read))

    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        return self._lock(checked_key(key), timeout)

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"

    # -- the lock of a key

    @asynccontextmanager
    async def _lock(self, key: str, timeout: float) -> AsyncGenerator[StoreLock, None]:
        self._check_place()
        async with self._locks.lock(key, timeout):
            try:
                yield _FileLock(self, key)
            finally:
                self._give_up_room(key)

    def make_room(self, key: str, size: int) -> None:
        """Keep room on the disk for what will be written under this key's lock."""
        self._check_place()
        self._give_up_room(key)
        for left in self.path.parent.glob(f".{self.path.name}.{key}.*.tmp"):
            left.unlink(missing_ok=True)  # of a holder that was killed: we hold the lock now
        path = self._temporary(key)
        try:
            present = self.path.stat().st_size if self.path.exists() else 0
            descriptor = _create(path)
            try:
                _allocate(descriptor, present + size)
            except BaseException:
                os.close(descriptor)
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._unavailable(error) from None
        self._reserved[key] = descriptor, path

    def _give_up_room(self, key: str) -> None:
        if (reserved := self._reserved.pop(key, None)) is not None:
            os.close(reserved[0])
            with contextlib.suppress(OSError):
                reserved[1].unlink()

    def _temporary(self, key: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{key}.{secrets.token_hex(4)}.tmp")

    # -- the file; these run in worker threads

    def _replace(self, key: str, entry: Secret, replacing: str | None) -> str:
        with self._rewriting():
            entries = self._read()
            present = entries.get(key)
            if (present and present["version"]) != replacing:
                raise StoreConflictError(f"{key} in {self.path} has been written by another")
            number = int(replacing.partition("-")[0]) + 1 if replacing else 1
            version = f"{number}-{secrets.token_hex(4)}"
            entries[key] = {"version": version, **json.loads(entry.reveal())}
            self._write(entries, key)
            return version

    def _delete(self, key: str) -> None:
        with self._rewriting():
            entries = self._read()
            if entries.pop(key, None) is not None:
                self._write(entries, key)

    @contextmanager
    def _rewriting(self) -> Generator[None]:
        self._check_place()
        deadline = time.monotonic() + _REWRITE_TIMEOUT
        while (descriptor := self._locks.take(_WHOLE_FILE)) is None:
            if time.monotonic() > deadline:
                raise StoreBusyError(self._locks.holder(_WHOLE_FILE))
            time.sleep(0.002)
        try:
            yield
        finally:
            self._locks.free(descriptor)

    def _read(self) -> Entries:
        try:
            content = self._content()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unavailable(error) from None
        entries = _parsed(content, self.path)
        if entries is None:
            self._set_aside(content)
        return entries or {}

    def _content(self) -> bytes:
        """The bytes of the file, having looked at whose it is and who may read it."""
        check_directory(self.path.parent)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise StoreUnsafeError(
                    f"{self.path} is a symbolic link", hint="Give the path of the file itself."
                ) from None
            raise
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise StoreUnsafeError(f"{self.path} is not a file")
            if sys.platform != "win32":
                if found.st_uid != os.geteuid():
                    raise StoreUnsafeError(f"{self.path} belongs to another user", hint="Keep one for each user.")
                if found.st_mode & 0o077:
                    os.fchmod(file.fileno(), 0o600)
                    log.warning(
                        "%s was open to others (mode %o) and is closed now; if they may have read it, revoke what it "
                        "holds",
                        self.path,
                        found.st_mode & 0o777,
                    )
            return file.read()

    def _write(self, entries: Entries, key: str) -> None:
        content = json.dumps({"domokit": "tokens", "schema": SCHEMA, "entries": entries}, indent=1).encode()
        descriptor, path = self._reserved.pop(key, None) or (None, self._temporary(key))
        try:
            if descriptor is None:
                descriptor = _create(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            os.replace(path, self.path)
            _flush_directory(self.path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise self._unavailable(error) from None

    def _check_place(self) -> None:
        directory = self.path.parent
        if not directory.exists():
            make_private_directory(directory)
        check_directory(directory)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StoreUnavailableError(f"nothing can be written in {directory}")

    def _set_aside(self, content: bytes) -> None:
        """Rename a file that cannot be read, and say so; another may have done it, or mended it, just before."""
        with self._rewriting():
            try:
                if self._content() != content:
                    raise StoreUnavailableError(f"{self.path} was being replaced")
            except FileNotFoundError:
                return
            aside = self.path.with_name(f"{self.path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
            os.rename(self.path, aside)
        raise StoreCorruptError(
            f"{self.path} could not be read as a file of tokens and was set aside as {aside.name}",
            hint="Look whether it can be mended and put back; else go on: tokens are asked for anew.",
        )

    def _unavailable(self, error: OSError) -> StoreError:
        return StoreUnavailableError(f"{self.path}: {error.strerror or type(error).__name__}")


class _FileLock(StoreLock):
    def __init__(self, store: FileStore, key: str) -> None:
        self._store = store
        self._key = key

    async def reserve(self, size: int = RESERVED) -> None:
        await to_thread.run_sync(self._store.make_room, self._key, size)


def _parsed(content: bytes, path: Path) -> Entries | None:
    """The entries of a file; None if it is not one of ours. Raises: StoreError for one of a newer schema."""
    try:
        document = json.loads(content)
        if "access_token" in document and "entries" not in document:
            raise InvalidInputError(
                f"{path} holds the bare answer of a token endpoint",
                hint="Read it with read_token_file(path), give that to keeper.adopt(), and name another file here.",
            )
        if document["domokit"] != "tokens":
            return None
        if document["schema"] > SCHEMA:
            raise StoreError(
                f"{path} was written by a newer domokit (schema {document['schema']})",
                hint="Use that version, or another file.",
            )
        entries: Entries = document["entries"]
        good = all(
            isinstance(entry["version"], str)
            and int(entry["version"].partition("-")[0]) > 0
            and isinstance(entry["text"] if "text" in entry else entry["sealed"], str)
            for entry in entries.values()
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return entries if good else None


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(path, flags, 0o600)


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.write(descriptor, bytes(size))
        os.lseek(descriptor, 0, os.SEEK_SET)


def _flush_directory(path: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
