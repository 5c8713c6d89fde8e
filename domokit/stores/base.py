"""What every place for tokens can do: `TokenStore`, and the lock that makes one spender of many."""

import math
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import ClassVar, Literal, Protocol, Self

import attrs

from domokit._secrets import Secret
from domokit.errors import StoreCorruptError

LOCK_TIMEOUT = 120.0  # seconds to wait for another's renewal: longer than one takes at most
RESERVED = 64 * 1024  # bytes: more than a record ever takes

Reach = Literal["process", "machine", "hosts"]


@attrs.frozen
class Stored:
    """A text as it was read, and the version it had; every write gives another version."""

    text: Secret
    version: str


class Encryption(Protocol):
    """Seals what a store writes. `EncryptionKey` is one."""

    def seal(self, text: Secret, key: str) -> str:
        """`text` encrypted, as printable text. It opens for the same `key` (of the entry) only."""
        ...

    def unseal(self, sealed: str, key: str) -> Secret:
        """The counterpart of `seal`. Raises: StoreCorruptError, if it was not sealed with this, for this key."""
        ...


class StoreLock:
    """A lock that is held: nobody else in the store's reach holds the same key's.

    seconds_left:  until it lapses by itself; infinite where it ends with its holder.
    """

    @property
    def seconds_left(self) -> float:
        return math.inf

    async def extend(self) -> None:
        """Hold it for its whole lease from now. Raises: StoreBusyError, if it has lapsed and another holds it."""

    async def reserve(self, size: int = RESERVED) -> None:
        """Prove, before a token is spent, that `size` bytes can be sealed and saved under this lock, and keep room.

        Raises: StoreUnavailableError, StoreUnsafeError; InvalidInputError for a key that none can be sealed with.
        """


class TokenStore(ABC):
    """Where tokens are kept: secret texts by key, written by comparison, with a lock for each key.

    A store of your own implements `load`, `save`, `delete`, `keys` and `lock`; `domokit.testing.TokenStoreConformance`
    tests it. Keys are texts of letters, digits, '-', '_' and '.'; texts are JSON of a few kilobytes. It may be called
    from several threads, each with an event loop of its own, and after a fork.

    reach:  how far its lock reaches: tasks and threads of one 'process', all processes of one 'machine', or 'hosts'.
    """

    reach: ClassVar[Reach] = "process"

    @abstractmethod
    async def load(self, key: str) -> Stored | None:
        """What is stored under `key`; None if nothing is. Raises: StoreError."""

    @abstractmethod
    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        """Store `text`, durably: when this returns, a crash of anything does not lose it. Return its version.

        replacing:  the version that is to be replaced; None if there must be nothing yet.
        Raises: StoreConflictError, if another is there; nothing is overwritten. StoreError.
        """

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Forget what is stored under `key`, if anything is."""

    @abstractmethod
    async def keys(self) -> list[str]:
        """All keys, sorted."""

    @abstractmethod
    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        """Hold the lock of `key`. It need not exist yet, and reading and writing do not need the lock.

        timeout:  seconds to wait for whoever holds it. A holder that dies does not hold it longer than its lease.
        Raises: StoreBusyError.
        """

    async def check(self) -> None:
        """Prove that the store can be read and written, changing nothing that lasts. Raises: StoreError.

        With encryption, that its key is one, as well. Raises: InvalidInputError.
        """
        async with self.lock("check", timeout=10) as held:
            await held.reserve(1024)
        await self.load("check")

    async def aclose(self) -> None:  # noqa: B027 - most stores have nothing to close
        """Let go of connections. The store can be used again afterwards."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


# -- for stores: how texts are written down

Member = Literal["text", "sealed"]


def sealed(encryption: Encryption | None, text: Secret, key: str) -> tuple[Member, Secret]:
    """What an entry keeps of a text, and the member that holds it: 'sealed' if it is encrypted, else 'text'."""
    return ("text", text) if encryption is None else ("sealed", Secret(encryption.seal(text, key)))


def prove_sealing(encryption: Encryption | None, key: str) -> None:
    """Raises: what sealing raises, such as InvalidInputError for a key that is none."""
    if encryption is not None:
        encryption.seal(Secret("a text as any other"), key)


def unsealed(encryption: Encryption | None, member: Member, content: Secret, key: str, where: str) -> Secret:
    """The counterpart of `sealed`. Raises: StoreCorruptError."""
    if member == "text":
        return content  # found in clear in a store that encrypts from now on: the next write seals it
    if encryption is None:
        raise StoreCorruptError(
            f"{where} is encrypted and no key was given", hint="Pass encryption=EncryptionKey.from_…()."
        )
    return encryption.unseal(content.reveal(), key)
