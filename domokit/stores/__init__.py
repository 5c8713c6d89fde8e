"""Places where tokens are kept."""

from domokit.stores.base import Encryption, Stored, StoreLock, TokenStore
from domokit.stores.crypto import EncryptionKey
from domokit.stores.file import FileStore
from domokit.stores.keyring import KeyringStore
from domokit.stores.memory import MemoryStore
from domokit.stores.redis import RedisStore

__all__ = [
    "Encryption",
    "EncryptionKey",
    "FileStore",
    "KeyringStore",
    "MemoryStore",
    "RedisStore",
    "StoreLock",
    "Stored",
    "TokenStore",
]
