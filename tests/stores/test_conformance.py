"""Every store passes the suite that users run on their own."""

import hashlib

import pytest

from domokit.stores import EncryptionKey, FileStore, KeyringStore, MemoryStore, RedisStore
from domokit.testing import TokenStoreConformance
from tests.stores.made_up import MadeUpKeyring

KEY = EncryptionKey.generate()


def encryption():
    return EncryptionKey.from_callable(lambda: KEY)


class TestMemoryStore(TokenStoreConformance):
    def make_store(self, tmp_path):
        return MemoryStore()


class TestFileStore(TokenStoreConformance):
    def make_store(self, tmp_path):
        return FileStore(tmp_path / "tokens.json")


class TestEncryptedFileStore(TokenStoreConformance):
    def make_store(self, tmp_path):
        return FileStore(tmp_path / "tokens.json", encryption=encryption())


class TestKeyringStore(TokenStoreConformance):
    def make_store(self, tmp_path):
        return KeyringStore(backend=MadeUpKeyring(tmp_path / "keyring"), locks=tmp_path / "locks")


class TestEncryptedKeyringStore(TokenStoreConformance):
    def make_store(self, tmp_path):
        backend = MadeUpKeyring(tmp_path / "keyring")
        return KeyringStore("acme", backend=backend, locks=tmp_path / "locks", encryption=encryption())


class OnRedis(TokenStoreConformance):
    @pytest.fixture(autouse=True)
    def _server(self, redis_url):
        self.url = redis_url

    def prefix(self, tmp_path):
        return hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12] + ":"


class TestRedisStore(OnRedis):
    def make_store(self, tmp_path):
        return RedisStore(self.url, prefix=self.prefix(tmp_path))


class TestEncryptedRedisStore(OnRedis):
    def make_store(self, tmp_path):
        return RedisStore(self.url, prefix=self.prefix(tmp_path), encryption=encryption())
