"""What stores stand on is loaded when it is used."""

import subprocess
import sys

import pytest

PACKAGES = {"redis", "keyring", "cryptography"}


def loaded(code):
    told = f"{code}\nimport sys\nprint(*sorted({PACKAGES} & set(sys.modules)))"
    return set(subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "from domokit.stores import *",
        "from domokit import EncryptionKey, FileStore, KeyringStore, MemoryStore, RedisStore",
        "import domokit.testing; from domokit import FileStore; FileStore('tokens.json')",
    ],
)
def test_importing_loads_no_package_of_an_extra(code):
    assert loaded(code) == set()


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        ("from domokit import RedisStore; RedisStore('redis://localhost')", {"redis"}),
        ("from domokit import KeyringStore; KeyringStore()", {"keyring"}),
        ("from domokit import EncryptionKey; EncryptionKey.from_env('X')", {"cryptography"}),
        ("from domokit import EncryptionKey; EncryptionKey.from_keyring()", {"cryptography", "keyring"}),
    ],
)
def test_using_one_loads_what_it_needs(code, packages):
    assert packages <= loaded(code)


def test_unknown_names_are_refused():
    import domokit.stores

    assert not hasattr(domokit.stores, "FloppyStore")
    for name in domokit.stores.__all__:
        assert getattr(domokit.stores, name).__name__ == name
