"""EncryptionKey: where the key comes from, what opens with it, and that nobody sees it."""

import base64
import pickle
import subprocess
import sys
import threading

import pytest

from domokit import EncryptionKey, FileStore, KeyringStore, RedisStore, Secret, errors
from tests.stores.helpers import CANARY, assert_hidden
from tests.stores.made_up import MadeUpKeyring

TEXT = Secret(f"text with {CANARY} and ü")


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("TOKENS_KEY", EncryptionKey.generate().reveal())
    return EncryptionKey.from_env("TOKENS_KEY")


def test_a_new_key_is_32_bytes_and_another_each_time():
    made = {EncryptionKey.generate().reveal() for _ in range(10)}
    assert len(made) == 10
    assert {len(base64.urlsafe_b64decode(one)) for one in made} == {32}
    assert isinstance(EncryptionKey.generate(), Secret)


def test_what_is_sealed_opens(key):
    sealed = key.seal(TEXT, "k")
    assert sealed.startswith("v1.")
    assert sealed.isascii()
    assert CANARY not in sealed
    assert CANARY.encode() not in base64.urlsafe_b64decode(sealed[3:])
    assert key.unseal(sealed, "k") == TEXT
    assert key.seal(TEXT, "k") != sealed


def test_it_is_aes_256_gcm_with_the_key_of_the_entry(monkeypatch):
    """Written down here for whoever must open one without domokit."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    raw = bytes(range(32))
    key = EncryptionKey.from_callable(lambda: base64.urlsafe_b64encode(raw).decode())
    content = base64.urlsafe_b64decode(key.seal(TEXT, "k").removeprefix("v1."))
    assert Secret(AESGCM(raw).decrypt(content[:12], content[12:], b"k").decode()) == TEXT


def flip(sealed, place):
    letter = "A" if sealed[place] != "A" else "B"
    return sealed[:place] + letter + sealed[place + 1 :]


@pytest.mark.parametrize("harm", ["other key", "other entry", "nonce", "text", "tag", "short", "empty", "no base64"])
def test_what_was_tampered_with_does_not_open(key, harm):
    sealed = key.seal(TEXT, "k")
    opener, entry = key, "k"
    if harm == "other key":
        opener = EncryptionKey.from_callable(EncryptionKey.generate)
    elif harm == "other entry":
        entry = "j"
    elif harm in ("nonce", "text", "tag"):
        sealed = flip(sealed, {"nonce": 5, "text": 30, "tag": -6}[harm])
    else:
        sealed = {"short": sealed[:12], "empty": "v1.", "no base64": "v1.äää"}[harm]
    with pytest.raises(errors.StoreCorruptError, match=rf"entry {entry} does not open with the key from") as caught:
        opener.unseal(sealed, entry)
    assert "Give the key that it was sealed with" in caught.value.hint
    assert_hidden(caught.value, key._key.reveal())


def test_one_of_a_newer_domokit_is_told_apart(key):
    with pytest.raises(errors.StoreError, match="encrypted by a newer domokit") as caught:
        key.unseal("v2.AAAA", "k")
    assert type(caught.value) is errors.StoreError


@pytest.mark.parametrize("form", ["urlsafe", "standard", "unpadded", "line"])
def test_a_key_may_be_written_in_several_ways(form):
    raw = bytes([251, 255, 190] * 10 + [1, 2])
    text = base64.b64encode(raw).decode() if form == "standard" else base64.urlsafe_b64encode(raw).decode()
    text = {"unpadded": text.rstrip("="), "line": f" {text}\n"}.get(form, text)
    sealed = EncryptionKey.from_callable(lambda: text).seal(TEXT, "k")
    assert EncryptionKey.from_callable(lambda: base64.urlsafe_b64encode(raw).decode()).unseal(sealed, "k") == TEXT


NO_KEYS = ["", CANARY, CANARY * 2, "!" * 43, "A" * 42, "A" * 45]


@pytest.mark.parametrize("text", [Secret(text) for text in NO_KEYS])
def test_what_is_no_key_is_refused(text):
    key = EncryptionKey.from_callable(text.reveal)
    with pytest.raises(errors.InvalidInputError, match=r"holds no key: 32 bytes as base64.*generate\(\)") as caught:
        key.seal(TEXT, "k")
    assert_hidden(caught.value)


# -- from the environment


def test_the_environment_is_read_on_first_use_and_once(monkeypatch):
    key = EncryptionKey.from_env("TOKENS_KEY")
    with pytest.raises(errors.MissingCredentialError, match=r"variable TOKENS_KEY is not set.*generate\(\)"):
        key.seal(TEXT, "k")
    monkeypatch.setenv("TOKENS_KEY", EncryptionKey.generate().reveal())
    sealed = key.seal(TEXT, "k")
    monkeypatch.setenv("TOKENS_KEY", EncryptionKey.generate().reveal())
    assert key.unseal(sealed, "k") == TEXT


# -- from a function


def test_a_function_is_asked_once():
    asked = []

    def fetch():
        asked.append(threading.current_thread())
        return EncryptionKey.generate()

    key = EncryptionKey.from_callable(fetch)
    assert asked == []
    assert key.unseal(key.seal(TEXT, "k"), "k") == TEXT
    assert len(asked) == 1


async def test_a_store_asks_for_the_key_in_a_worker_thread(tmp_path):
    asked = []

    def fetch():
        asked.append(threading.current_thread())
        return EncryptionKey.generate()

    store = FileStore(tmp_path / "tokens.json", encryption=EncryptionKey.from_callable(fetch))
    await store.save("k", TEXT, replacing=None)
    assert (await store.load("k")).text == TEXT
    assert len(asked) == 1
    assert asked[0] is not threading.current_thread()


def test_a_function_that_fails():
    def fetch():
        local = f"{CANARY} that it was about to give"
        raise OSError(f"vault is away {len(local)}")

    key = EncryptionKey.from_callable(fetch)
    with pytest.raises(errors.StoreUnavailableError, match=r"fetch gave no key: OSError: vault is away") as caught:
        key.seal(TEXT, "k")
    assert caught.value.retryable
    assert_hidden(caught.value)

    def refuse():
        raise errors.MissingCredentialError("no vault")

    with pytest.raises(errors.MissingCredentialError, match="no vault"):
        EncryptionKey.from_callable(refuse).seal(TEXT, "k")


@pytest.mark.parametrize("give", [lambda: None, lambda: 7, CANARY.encode], ids=["None", "number", "bytes"])
def test_a_function_that_gives_no_text(give):
    key = EncryptionKey.from_callable(give)
    with pytest.raises(errors.StoreUnavailableError, match="a secret is text, not") as caught:
        key.seal(TEXT, "k")
    assert_hidden(caught.value)


async def test_a_failure_is_told_before_anything_is_written(tmp_path):
    store = FileStore(tmp_path / "tokens.json", encryption=EncryptionKey.from_env("TOKENS_KEY"))
    with pytest.raises(errors.MissingCredentialError):
        await store.save("k", TEXT, replacing=None)
    assert not store.path.exists()


@pytest.mark.parametrize("kind", ["file", "keyring", "redis"])
async def test_a_check_finds_a_key_that_is_none(tmp_path, request, kind):
    key = EncryptionKey.from_callable(lambda: "nonsense")
    if kind == "file":
        store = FileStore(tmp_path / "tokens.json", encryption=key)
    elif kind == "keyring":
        backend = MadeUpKeyring(tmp_path / "keyring")
        store = KeyringStore("acme", backend=backend, locks=tmp_path / "locks", encryption=key)
    else:
        store = RedisStore(request.getfixturevalue("redis_url"), prefix=f"{tmp_path.name}:", encryption=key)
    with pytest.raises(errors.InvalidInputError, match="holds no key"):
        await store.check()
    assert await store.keys() == []
    await store.aclose()


# -- from a keyring


def test_a_key_is_made_in_the_keyring_when_there_is_none(tmp_path):
    backend = MadeUpKeyring(tmp_path / "keyring")
    first, second = (EncryptionKey.from_keyring("acme", "data key", backend=backend) for _ in range(2))
    sealed = first.seal(TEXT, "k")
    assert backend.names() == ["data key"]
    assert second.unseal(sealed, "k") == TEXT
    assert EncryptionKey.from_keyring("acme", "other", backend=backend).seal(TEXT, "k") != sealed
    assert backend.names() == ["data key", "other"]


def test_of_many_who_need_a_key_one_makes_it(tmp_path):
    keys = [EncryptionKey.from_keyring(backend=MadeUpKeyring(tmp_path / "keyring")) for _ in range(8)]
    sealed = []
    threads = [threading.Thread(target=lambda key=key: sealed.append(key.seal(TEXT, "k"))) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sealed) == 8
    assert all(keys[0].unseal(one, "k") == TEXT for one in sealed)


def test_a_keyring_that_keeps_nothing_gives_no_key():
    from keyring.backends import fail, null

    for backend in (fail.Keyring(), null.Keyring()):
        with pytest.raises(errors.StoreUnavailableError, match=r"keyring.*from_env"):
            EncryptionKey.from_keyring(backend=backend).seal(TEXT, "k")


def test_what_is_in_the_keyring_and_no_key_stays(tmp_path):
    backend = MadeUpKeyring(tmp_path / "keyring")
    backend.set_password("acme", "k", CANARY)
    with pytest.raises(errors.InvalidInputError, match="k of acme in the keyring holds no key") as caught:
        EncryptionKey.from_keyring("acme", "k", backend=backend).seal(TEXT, "k")
    assert_hidden(caught.value)
    assert backend.get_password("acme", "k") == CANARY


# -- nobody sees it


def test_it_shows_where_it_is_from_and_not_what_it_is(key):
    key.seal(TEXT, "k")
    shown = repr(key) + str(key) + repr(vars(key))
    assert "EncryptionKey(the environment variable TOKENS_KEY)" in shown
    assert key._key.reveal() not in shown


def test_pickled_is_where_it_is_from(key, monkeypatch):
    sealed = key.seal(TEXT, "k")
    pickled = pickle.dumps(key)
    assert key._key.reveal().encode() not in pickled
    assert pickle.loads(pickled).unseal(sealed, "k") == TEXT


def test_without_the_package_it_says_what_to_install():
    code = """
import sys
sys.modules["cryptography"] = None
from domokit import EncryptionKey, errors
for make in (lambda: EncryptionKey.from_env("X"), lambda: EncryptionKey.from_callable(str)):
    try:
        make()
    except errors.InvalidInputError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("pip install 'domokit[crypto]'") == 2
