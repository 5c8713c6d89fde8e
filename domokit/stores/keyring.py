"""Tokens in the keyring of the operating system."""

import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import attrs

from domokit._runtime import state_directory
from domokit._secrets import Secret
from domokit.errors import InvalidInputError, StoreConflictError, StoreCorruptError, StoreError, StoreUnavailableError
from domokit.stores.base import (
    LOCK_TIMEOUT,
    RESERVED,
    Encryption,
    Member,
    Reach,
    Stored,
    StoreLock,
    TokenStore,
    prove_sealing,
    sealed,
    unsealed,
)
from domokit.stores.locks import FileLocks, HeldByFile, LockFile, checked_key
from domokit.stores.threads import in_thread
from domokit.stores.versions import Versions, number_of

T = TypeVar("T")

SCHEMA = 1
_LONGEST = 1200  # characters of one entry: the keyring of Windows holds 1280
_INDEX = "~keys"  # an entry with the names of the others; no key is called so
_PROBE = "~probe"
_WRITING = "~writing"  # the lock that is held while anything of a service is written
_WRITE_TIMEOUT = 60.0  # seconds; a keyring may ask its owner for a password
_READS = 20  # of an entry that others write meanwhile

Slot = Literal["", "a", "b"]


class KeyringBackend(Protocol):
    """What is used of a keyring: backends of the package `keyring` are such."""

    def get_password(self, service: str, username: str, /) -> str | None: ...
    def set_password(self, service: str, username: str, password: str, /) -> None: ...
    def delete_password(self, service: str, username: str, /) -> None: ...


class KeyringStore(TokenStore):
    """Keeps tokens in the keyring of the operating system: Windows, macOS, Secret Service, KWallet.

    service:     the name under which the entries stand there; each has its key as the user name.
    encryption:  an `EncryptionKey`; what is found in clear is sealed when it is next written.
    locks:       the directory of the lock files that make the processes of this user take turns; by default
                 'domokit/locks' in $XDG_STATE_HOME, ~/.local/state or %LOCALAPPDATA%.
    backend:     a keyring backend; else the one that the package `keyring` chooses.

    Needs the extra `domokit[keyring]`. A text that is too long for one entry is spread over several, 'KEY~a0',
    'KEY~a1', …; the entry KEY itself says which of them count, so that whatever ends a write leaves the old text or
    the new one. A keyring does not tell what is in it: `keys()` reads the entry '~keys', which every write keeps up.
    """

    reach: ClassVar[Reach] = "machine"

    def __init__(
        self,
        service: str = "domokit",
        *,
        encryption: Encryption | None = None,
        locks: str | PathLike[str] | None = None,
        backend: KeyringBackend | None = None,
    ) -> None:
        self.service = service
        self.encryption = encryption
        self._keyring = Keyring(service, locks=locks, backend=backend)
        self._versions = Versions()

    async def load(self, key: str) -> Stored | None:
        return await in_thread(self._load, checked_key(key))

    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        return await in_thread(self._save, checked_key(key), text, replacing)

    async def delete(self, key: str) -> None:
        await in_thread(self._delete, checked_key(key))

    async def keys(self) -> list[str]:
        return await in_thread(self._keys)

    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        return self._lock(checked_key(key), timeout)

    def __repr__(self) -> str:
        return f"KeyringStore({self.service!r})"

    @asynccontextmanager
    async def _lock(self, key: str, timeout: float) -> AsyncGenerator[StoreLock, None]:
        async with self._keyring.locks.lock(key, timeout) as held:
            yield _KeyringLock(self, held)

    # -- these run in worker threads

    def prove(self, size: int) -> None:
        """Raises: StoreError, if nothing can be written; what sealing raises."""
        prove_sealing(self.encryption, _PROBE)
        with self._keyring.writing():
            self._listed()
            self._keyring.set(_PROBE, Secret("." * min(size, _LONGEST)))
            self._keyring.delete(_PROBE)

    def _load(self, key: str) -> Stored | None:
        found = self._read(key)
        if found is None:
            return None
        member, content, version = found
        return Stored(unsealed(self.encryption, member, content, key, self._where(key)), version)

    def _save(self, key: str, text: Secret, replacing: str | None) -> str:
        member, content = sealed(self.encryption, text, key)
        with self._versions.next(key, text, replacing) as version, self._keyring.writing():
            head = self._head(key)
            present = head and head.version
            if present == version:
                return version
            if present != replacing:
                raise StoreConflictError(f"{self._where(key)} has been written by another")
            listed = self._listed()
            if key not in listed:
                self._list([*listed, key])
            self._write(key, head, version, member, content)
            return version

    def _delete(self, key: str) -> None:
        with self._keyring.writing():
            self._keyring.delete(key)
            self._cut(key, "a", 0)
            self._cut(key, "b", 0)
            listed = self._listed()
            if key in listed:
                self._list([one for one in listed if one != key])

    def _keys(self) -> list[str]:
        return sorted(key for key in self._listed() if self._keyring.get(key) is not None)

    def _listed(self) -> list[str]:
        found = self._read(_INDEX)
        keys = _parsed_list(found[1]) if found is not None else []
        if keys is None:
            raise self._corrupt(_INDEX)
        return keys

    def _list(self, keys: list[str]) -> None:
        head = self._head(_INDEX)
        version = f"{number_of(head.version if head else None) + 1}-{0:08x}"
        self._write(_INDEX, head, version, "text", Secret(json.dumps(sorted(keys))))

    # -- one entry, of one part or several

    def _read(self, name: str) -> tuple[Member, Secret, str] | None:
        """How a text is kept, what is kept, and its version."""
        before: _Head | None = None
        for _ in range(_READS):
            head = self._head(name)
            if head is None:
                return None
            entry = head.entry or self._joined(name, head)
            if entry is not None:
                return *entry, head.version
            if head == before:
                raise self._corrupt(name)
            before = head  # if it has not changed by the next look, nobody is at work
        raise StoreUnavailableError(f"{self._where(name)} is written by others all the time")

    def _head(self, name: str) -> "_Head | None":
        raw = self._keyring.get(name)
        if raw is None:
            return None
        head = _parsed_head(raw)
        if isinstance(head, int):
            raise StoreError(
                f"{self._where(name)} was written by a newer domokit (schema {head})",
                hint="Use that version, or another service name.",
            )
        if head is None:
            raise self._corrupt(name)
        return head

    def _joined(self, name: str, head: "_Head") -> "tuple[Member, Secret] | None":
        """What the parts of an entry are together; None if they do not belong together."""
        parts: list[Secret] = []
        for number in range(head.parts):
            part = self._keyring.get(_part(name, head.slot, number))
            if part is None:
                return None
            parts.append(part)
        return _parsed_parts(parts, head.digest)

    def _write(self, name: str, old: "_Head | None", version: str, member: Member, content: Secret) -> None:
        slot: Slot = ""
        head = _head(version, member, content)
        parts: list[Secret] = []
        if len(head.reveal()) > _LONGEST:
            slot = "b" if old is not None and old.slot == "a" else "a"
            parts, head = _split(version, slot, member, content)
        for number, part in enumerate(parts):
            self._keyring.set(_part(name, slot, number), part)
        self._keyring.set(name, head)  # from here on the new text is the one that counts
        with suppress(StoreError):  # what is left over does no harm, and goes with the next write
            self._cut(name, "a", len(parts) if slot == "a" else 0)
            self._cut(name, "b", len(parts) if slot == "b" else 0)

    def _cut(self, name: str, slot: Slot, start: int) -> None:
        """Delete the parts from a number on; the last first, so that none is left behind a gap."""
        end = start
        while self._keyring.get(_part(name, slot, end)) is not None:
            end += 1
        for number in reversed(range(start, end)):
            self._keyring.delete(_part(name, slot, number))

    def _corrupt(self, name: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self._where(name)} cannot be read as an entry of domokit's",
            hint="Look what it is; if it can go, delete it there or use another service name.",
        )

    def _where(self, name: str) -> str:
        return f"{name} of {self.service} in the keyring"


class _KeyringLock(HeldByFile):
    def __init__(self, store: KeyringStore, held: LockFile) -> None:
        super().__init__(held)
        self._store = store

    async def reserve(self, size: int = RESERVED) -> None:
        await self.extend()
        await in_thread(self._store.prove, size)


class Keyring:
    """The entries of one service in a keyring, and the locks that go with them. Its methods block."""

    def __init__(
        self, service: str, *, locks: str | PathLike[str] | None = None, backend: KeyringBackend | None = None
    ) -> None:
        if not service:
            raise InvalidInputError("service: the entries in a keyring need a name")
        if backend is None:
            _import_keyring()  # missing: to be told now, not when a token is to be stored
        self._service = service
        self._backend = backend
        self._locks = None if locks is None else Path(locks).expanduser().absolute()

    @property
    def locks(self) -> FileLocks:
        directory = self._locks
        if directory is None:
            try:
                directory = state_directory() / "locks"
            except RuntimeError:
                raise StoreUnavailableError("this user has no home directory for locks", hint="Pass locks=…") from None
        return FileLocks(directory / f"keyring-{sha256(self._service.encode()).hexdigest()[:12]}")

    @contextmanager
    def writing(self) -> Generator[None, None, None]:
        """Hold this around writes: some keyrings lose one of two writes at a time, even to different entries."""
        with self.locks.lock_blocking(_WRITING, _WRITE_TIMEOUT):
            yield

    def get(self, name: str) -> Secret | None:
        return self._ask(lambda backend: _secret(backend.get_password(self._service, name)))

    def set(self, name: str, text: Secret) -> None:
        """Write an entry, and see that it is there. Raises: StoreUnavailableError."""
        self._ask(lambda backend: backend.set_password(self._service, name, text.reveal()))
        if self.get(name) != text:
            raise StoreUnavailableError("the keyring does not keep what is written", hint=_NO_KEYRING)

    def delete(self, name: str) -> None:
        if self.get(name) is not None:
            self._ask(lambda backend: backend.delete_password(self._service, name))

    def _ask(self, call: Callable[[KeyringBackend], T]) -> T:
        try:
            return call(self._backend if self._backend is not None else _import_keyring().get_keyring())
        except Exception as error:  # noqa: BLE001 - backends raise what the libraries below them raise
            failure = StoreUnavailableError(f"the keyring failed: {type(error).__name__}: {error}", hint=_NO_KEYRING)
        raise failure  # outside, for the frames of a backend hold the text


_NO_KEYRING = "Unlock the keyring; where there is none, use FileStore(path, encryption=EncryptionKey.from_env(…))."


def _import_keyring() -> Any:
    try:
        import keyring
    except ImportError:
        raise InvalidInputError("a keyring needs the package keyring", hint="pip install 'domokit[keyring]'") from None
    return keyring


def _secret(text: str | None) -> Secret | None:
    return None if text is None else Secret(text)


# -- how an entry is written. None of these raises, for their variables hold the texts.


@attrs.frozen
class _Head:
    """An entry as it stands under its own name: a text, or where the parts of one are."""

    version: str
    entry: tuple[Member, Secret] | None = None
    slot: Slot = ""
    parts: int = 0
    digest: str = ""


def _part(name: str, slot: Slot, number: int) -> str:
    return f"{name}~{slot}{number}"


def _head(version: str, member: Member, content: Secret) -> Secret:
    return _dumped(version=version, entry={member: content.reveal()})


def _split(version: str, slot: Slot, member: Member, content: Secret) -> tuple[list[Secret], Secret]:
    whole = json.dumps({member: content.reveal()})  # ASCII, so that a character is a character everywhere
    parts = [Secret(whole[start : start + _LONGEST]) for start in range(0, len(whole), _LONGEST)]
    digest = sha256(whole.encode()).hexdigest()
    return parts, _dumped(version=version, slot=slot, parts=len(parts), digest=digest)


def _dumped(**members: Any) -> Secret:
    return Secret(json.dumps({"domokit": "tokens", "schema": SCHEMA, **members}, separators=(",", ":")))


def _parsed_head(raw: Secret) -> _Head | int | None:
    """The schema, if it is one of a newer domokit; None for what is no entry."""
    try:
        document: dict[str, Any] = json.loads(raw.reveal())
        if document["domokit"] != "tokens":
            return None
        if document["schema"] > SCHEMA:
            return int(document["schema"])
        if number_of(document["version"]) == 0:
            return None
        if "entry" in document:
            return _Head(document["version"], entry=_entry(document["entry"]))
        if document["slot"] not in ("a", "b"):
            return None
        return _Head(
            document["version"],
            slot=document["slot"],
            parts=int(document["parts"]),
            digest=str(document["digest"]),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _parsed_parts(parts: list[Secret], digest: str) -> tuple[Member, Secret] | None:
    try:
        whole = "".join(part.reveal() for part in parts)
        return _entry(json.loads(whole)) if sha256(whole.encode()).hexdigest() == digest else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _parsed_list(text: Secret) -> list[str] | None:
    try:
        return [str(key) for key in json.loads(text.reveal())]
    except (ValueError, TypeError, RecursionError):
        return None


def _entry(members: dict[str, Any]) -> tuple[Member, Secret]:
    member: Member = "text" if "text" in members else "sealed"
    return member, Secret(members[member])
