"""Encryption of what a store writes."""

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any

from domokit._secrets import Secret
from domokit.errors import (
    DomoError,
    InvalidInputError,
    MissingCredentialError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from domokit.stores.keyring import Keyring, KeyringBackend

_BYTES = 32
_NONCE = 12
_FORMAT = "v1."
_KEY = re.compile(r"[A-Za-z0-9_+/-]{43}=?")
_MAKE_ONE = "Make one with EncryptionKey.generate(), once, and keep it there."


class EncryptionKey:
    """A key to encrypt what a store writes, with AES-256-GCM. Needs the extra `domokit[crypto]`.

    `from_env`, `from_keyring` and `from_callable` say where it is: 32 bytes as base64. It is fetched when it is first
    needed, in a worker thread, and kept in this object; pickled is only where it is. What was sealed opens for the
    same entry of a store only, so entries cannot be exchanged for one another.
    """

    def __init__(self, source: Callable[[], str | Secret], where: str) -> None:
        _import_cipher()  # missing: to be told now, not when a token is to be stored
        self._source = source
        self._where = where
        self._key: Secret | None = None

    @classmethod
    def from_env(cls, name: str) -> "EncryptionKey":
        """The key in an environment variable."""
        return cls(partial(_from_env, name), f"the environment variable {name}")

    @classmethod
    def from_keyring(
        cls,
        service: str = "domokit",
        name: str = "encryption-key",
        *,
        locks: str | PathLike[str] | None = None,
        backend: KeyringBackend | None = None,
    ) -> "EncryptionKey":
        """The key in the keyring of the operating system; made there if there is none yet.

        locks, backend:  as of `KeyringStore`.
        """
        source = partial(_from_keyring, service, name, locks, backend)
        Keyring(service, locks=locks, backend=backend)  # complains now
        return cls(source, f"{name} of {service} in the keyring")

    @classmethod
    def from_callable(cls, fetch: Callable[[], str | Secret]) -> "EncryptionKey":
        """The key that a function gives, such as one that asks a secret manager. It may block."""
        return cls(fetch, f"the function {getattr(fetch, '__qualname__', type(fetch).__name__)}")

    @staticmethod
    def generate() -> Secret:
        """A new key, to be revealed once and put where it shall be kept."""
        return Secret(urlsafe_b64encode(os.urandom(_BYTES)).decode())

    def seal(self, text: Secret, key: str) -> str:
        """`text` encrypted, for the entry `key` of a store. Raises: StoreUnavailableError, InvalidInputError."""
        nonce = os.urandom(_NONCE)
        return _FORMAT + urlsafe_b64encode(
            nonce + self._cipher().encrypt(nonce, text.reveal().encode(), key.encode())
        ).decode("ascii")

    def unseal(self, sealed: str, key: str) -> Secret:
        """The counterpart of `seal`. Raises: StoreCorruptError, and as `seal` does."""
        cipher = self._cipher()
        if re.match(r"v[0-9]+\.", sealed) and not sealed.startswith(_FORMAT):
            raise StoreError(f"the entry {key} was encrypted by a newer domokit", hint="Use that version.")
        opened = _opened(cipher, sealed, key)
        if opened is None:
            raise StoreCorruptError(
                f"the entry {key} does not open with the key from {self._where}",
                hint="Give the key that it was sealed with. If that is lost or the entry was tampered with, delete it.",
            )
        return opened

    def __repr__(self) -> str:
        return f"EncryptionKey({self._where})"

    def __reduce__(self) -> tuple[type["EncryptionKey"], tuple[Callable[[], str | Secret], str]]:
        return EncryptionKey, (self._source, self._where)

    def _cipher(self) -> Any:
        if self._key is None:
            found = self._fetched()
            if not _KEY.fullmatch(found.reveal()):
                raise InvalidInputError(f"{self._where} holds no key: 32 bytes as base64", hint=_MAKE_ONE)
            self._key = found
        return _import_cipher()(urlsafe_b64decode(self._key.reveal().translate(_URLSAFE).rstrip("=") + "="))

    def _fetched(self) -> Secret:
        try:
            return _stripped(Secret(self._source()))
        except DomoError:
            raise
        except Exception as error:  # noqa: BLE001 - it is not our function
            failure = StoreUnavailableError(
                f"{self._where} gave no key: {type(error).__name__}: {error}", hint="See to it; nothing was spent."
            )
        raise failure  # outside, for the frames of that function may hold the key


_URLSAFE = str.maketrans("+/", "-_")


def _stripped(text: Secret) -> Secret:
    return Secret(text.reveal().strip())


def _from_env(name: str) -> Secret:
    if not os.environ.get(name):
        raise MissingCredentialError(f"the environment variable {name} is not set", hint=_MAKE_ONE)
    return Secret(os.environ[name])


def _from_keyring(service: str, name: str, locks: str | PathLike[str] | None, backend: KeyringBackend | None) -> Secret:
    keyring = Keyring(service, locks=locks, backend=backend)
    if (found := keyring.get(name)) is not None:
        return found
    with keyring.writing():
        if (found := keyring.get(name)) is not None:
            return found  # another process has made one meanwhile
        made = EncryptionKey.generate()
        keyring.set(name, made)
        return made


def _opened(cipher: Any, sealed: str, key: str) -> Secret | None:
    from cryptography.exceptions import InvalidTag

    try:
        content = urlsafe_b64decode(sealed.removeprefix(_FORMAT))
        return Secret(cipher.decrypt(content[:_NONCE], content[_NONCE:], key.encode()).decode())
    except (InvalidTag, ValueError):
        return None


def _import_cipher() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise InvalidInputError(
            "EncryptionKey needs the package cryptography", hint="pip install 'domokit[crypto]'"
        ) from None
    return AESGCM
