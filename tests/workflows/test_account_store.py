"""AccountStore on the sandbox."""

import pytest

from domokit.sandbox import Sandbox
from domokit.stores import EncryptionKey
from domokit.testing import TokenStoreConformance, access_token_auth, session_auth
from domokit.workflows.account_store import AccountStore

KEY = EncryptionKey.generate()


class OnSandbox(TokenStoreConformance):
    provider = "abstract-credential-store"
    encryption = None

    @pytest.fixture(autouse=True)
    def _places(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        self.sandboxes = {}

    def make_store(self, tmp_path):
        sandbox = self.sandboxes.setdefault(tmp_path, Sandbox())
        return AccountStore(session_auth(sandbox), "kept token", provider=self.provider, encryption=self.encryption)


class TestCredentialStore(OnSandbox):
    pass


class TestAccessTokenAccount(OnSandbox):
    provider = "domo-access-token"


class TestEncrypted(OnSandbox):
    encryption = EncryptionKey.from_callable(lambda: KEY)
