"""Places where tokens are kept."""

from domokit.stores.base import Encryption, Stored, StoreLock, TokenStore
from domokit.stores.file import FileStore
from domokit.stores.memory import MemoryStore

__all__ = [
    "Encryption",
    "FileStore",
    "MemoryStore",
    "StoreLock",
    "Stored",
    "TokenStore",
]
