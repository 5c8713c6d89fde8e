"""Places where tokens are kept.

The stores that stand on further packages, and the key, are imported when they are first used: few programs need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from domokit.stores.base import Encryption, Stored, StoreLock, TokenStore
from domokit.stores.file import FileStore
from domokit.stores.memory import MemoryStore

if TYPE_CHECKING:
    from domokit.stores.crypto import EncryptionKey as EncryptionKey
    from domokit.stores.keyring import KeyringStore as KeyringStore
    from domokit.stores.redis import RedisStore as RedisStore

_HOME_OF = {"EncryptionKey": "crypto", "KeyringStore": "keyring", "RedisStore": "redis"}

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


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'domokit.stores' has no attribute {name!r}")
    return getattr(import_module(f"domokit.stores.{home}"), name)
