"""KeyringStore: long texts in small entries, writes that are cut short, and keyrings that fail."""

import hashlib
import json
import os
import stat
import subprocess
import sys

import anyio
import pytest

from domokit import EncryptionKey, KeyringStore, Secret, errors
from domokit.stores import keyring as keyring_module
from tests.stores.helpers import CANARY, assert_hidden
from tests.stores.made_up import Killed, MadeUpKeyring

LENGTHS = [1, 1300, 4000]


def text_of(letter, length):
    return Secret((f"{letter} {CANARY} ü\U0001f511 " * length)[:length])


@pytest.fixture
def place(tmp_path):
    return tmp_path / "keyring"


@pytest.fixture
def store(place):
    return KeyringStore(backend=MadeUpKeyring(place))


async def load(store, key="k"):
    found = await store.load(key)
    return found and found.text


async def test_long_texts_are_spread_over_entries_that_a_windows_keyring_takes(store, place):
    backend = MadeUpKeyring(place)
    version = await store.save("k", text_of("a", 20_000), replacing=None)
    names = backend.names()
    assert {"k", "k~a0", "k~a1", "k~a20", "~keys"} <= set(names)
    assert max(len(backend.get_password("domokit", name)) for name in names) == 1200
    version = await store.save("k", text_of("b", 5000), replacing=version)
    assert {name.rstrip("0123456789") for name in backend.names()} == {"k", "k~b", "~keys"}
    version = await store.save("k", text_of("c", 5000), replacing=version)
    assert {name.rstrip("0123456789") for name in backend.names()} == {"k", "k~a", "~keys"}
    await store.save("k", Secret("short"), replacing=version)
    assert backend.names() == ["k", "~keys"]
    assert await load(store) == Secret("short")
    await store.delete("k")
    assert backend.names() == ["~keys"]


async def test_an_entry_is_what_other_programs_look_for_it_as(place):
    store = KeyringStore("acme", backend=MadeUpKeyring(place))
    await store.save("k", Secret("x"), replacing=None)
    assert json.loads(MadeUpKeyring(place).get_password("acme", "k"))["entry"] == {"text": "x"}
    assert MadeUpKeyring(place).get_password("domokit", "k") is None
    assert await KeyringStore("other", backend=MadeUpKeyring(place)).keys() == []


@pytest.mark.parametrize("before", [0, *LENGTHS])
@pytest.mark.parametrize("after", LENGTHS)
def test_a_write_that_is_cut_short_leaves_the_old_text_or_the_new(tmp_path, before, after):
    """A process killed before any one of the writing calls, and the next one after it."""

    async def replace(store, letter, length):
        found = await store.load("k")
        await store.save("k", text_of(letter, length), replacing=found.version if found else None)

    async def run(place, dies_at):
        store = KeyringStore(backend=MadeUpKeyring(place))
        await store.save("other", text_of("o", 3000), replacing=None)
        if before:
            await replace(store, "0", 2000)  # so that both generations have been there
            await replace(store, "a", before)
        killed = False
        try:
            await replace(KeyringStore(backend=MadeUpKeyring(place, dies_at=dies_at)), "b", after)
        except Killed:
            killed = True
        old, new = text_of("a", before) if before else None, text_of("b", after)
        found = await load(store)
        assert found in (old, new)
        assert await store.keys() == sorted(["other"] + ["k"] * (found is not None))
        if not killed:
            assert found == new
        for length in (2000, 1):
            await replace(store, "c", length)  # the next write works, and clears away what was left
            assert await load(store) == text_of("c", length)
        assert await load(store, "other") == text_of("o", 3000)
        assert {name for name in MadeUpKeyring(place).names() if name.startswith("k")} == {"k"}
        return killed, found == new

    seen = []
    for dies_at in range(100):
        killed, is_new = anyio.run(run, tmp_path / str(dies_at), dies_at)
        if not killed:
            break
        seen.append(is_new)
    assert not killed
    assert seen == sorted(seen)  # first the old text, from some call on the new
    assert False in seen


def test_deleting_that_is_cut_short(tmp_path):
    async def run(place, dies_at):
        store = KeyringStore(backend=MadeUpKeyring(place))
        version = await store.save("k", text_of("a", 5000), replacing=None)
        killed = False
        try:
            await KeyringStore(backend=MadeUpKeyring(place, dies_at=dies_at)).delete("k")
        except Killed:
            killed = True
        found = await store.load("k")
        assert found is None or (found.text, found.version) == (text_of("a", 5000), version)
        assert await store.keys() == (["k"] if found else [])
        await store.delete("k")
        assert await store.keys() == []
        assert MadeUpKeyring(place).names() == ["~keys"] or not killed
        await store.save("k", text_of("b", 3000), replacing=None)
        assert await load(store) == text_of("b", 3000)
        return killed

    assert [anyio.run(run, tmp_path / str(dies_at), dies_at) for dies_at in (0, 1, 2, 50)] == [True, True, True, False]


class Torn(MadeUpKeyring):
    """A keyring in which something else happens between two reads."""

    def __init__(self, directory, meanwhile):
        super().__init__(directory)
        self.meanwhile = meanwhile

    def get_password(self, service, username):
        found = super().get_password(service, username)
        if username == "k" and self.meanwhile:
            self.meanwhile.pop()()
        return found


def test_who_reads_while_others_write_gets_a_whole_text(tmp_path):
    place, written = tmp_path / "keyring", []
    store = KeyringStore(backend=MadeUpKeyring(place))

    async def replace(letter):
        found = await store.load("k")
        await store.save("k", text_of(letter, 4000), replacing=found.version if found else None)
        written.append(letter)

    anyio.run(replace, "a")
    for times in (1, 2, 5):

        def write(times=times):
            for letter in "bcdefg"[:times]:
                anyio.run(replace, letter)

        reader = KeyringStore(backend=Torn(place, [write, write]))
        assert anyio.run(load, reader) == text_of(written[-1], 4000)


@pytest.mark.parametrize("harm", ["missing part", "part of another", "longer", "no json", "other json", "list", "slot"])
async def test_what_is_torn_or_foreign_is_told_and_stays(store, place, harm):
    backend = MadeUpKeyring(place)
    version = await store.save("k", text_of("a", 5000), replacing=None)
    head = json.loads(backend.get_password("domokit", "k"))
    if harm == "missing part":
        backend.delete_password("domokit", "k~a2")
    elif harm == "part of another":
        backend.set_password("domokit", "k~a2", backend.get_password("domokit", "k~a1"))
    elif harm == "longer":
        backend.set_password("domokit", "k~a4", backend.get_password("domokit", "k~a4") + " ")
    elif harm == "no json":
        backend.set_password("domokit", "k", CANARY)
    else:
        content = {"other json": '{"a": 1}', "list": "[]", "slot": json.dumps({**head, "slot": "c"})}
        backend.set_password("domokit", "k", content[harm])
    before = {name: Secret(backend.get_password("domokit", name)) for name in backend.names()}
    with pytest.raises(errors.StoreCorruptError, match="k of domokit in the keyring") as caught:
        await store.load("k")
    assert caught.value.needs_human
    assert_hidden(caught.value)
    if "part" not in harm and harm != "longer":
        for replacing in (None, version):
            with pytest.raises(errors.StoreCorruptError) as caught:
                await store.save("k", text_of("b", 5000), replacing=replacing)
            assert_hidden(caught.value)
    assert {name: Secret(backend.get_password("domokit", name)) for name in backend.names()} == before
    await store.delete("k")
    await store.save("k", text_of("b", 5000), replacing=None)
    assert await load(store) == text_of("b", 5000)


async def test_one_of_a_newer_domokit_is_refused(store, place):
    await store.save("k", Secret("x"), replacing=None)
    backend = MadeUpKeyring(place)
    newer = json.dumps({**json.loads(backend.get_password("domokit", "k")), "schema": 2})
    backend.set_password("domokit", "k", newer)
    for call in (lambda: store.load("k"), lambda: store.save("k", Secret("y"), replacing=None)):
        with pytest.raises(errors.StoreError, match=r"newer domokit \(schema 2\)") as caught:
            await call()
        assert type(caught.value) is errors.StoreError
    assert backend.get_password("domokit", "k") == newer


async def test_a_list_of_keys_that_cannot_be_read_is_told_before_anything_is_spent(store, place):
    await store.save("k", Secret("x"), replacing=None)
    MadeUpKeyring(place).set_password("domokit", "~keys", "?")
    for call in (store.keys, store.check, lambda: store.save("j", Secret("x"), replacing=None)):
        with pytest.raises(errors.StoreCorruptError, match="~keys of domokit"):
            await call()
    assert await load(store) == Secret("x")


async def test_many_keys(store, place):
    keys = sorted(hashlib.sha256(str(number).encode()).hexdigest() for number in range(60))
    for key in keys:
        await store.save(key, Secret("x"), replacing=None)
    assert await store.keys() == keys
    assert "~keys~a0" in MadeUpKeyring(place).names() or "~keys~b0" in MadeUpKeyring(place).names()
    for key in keys[1:]:
        await store.delete(key)
    assert await store.keys() == keys[:1]
    assert MadeUpKeyring(place).names() == sorted([keys[0], "~keys"])


async def test_what_failed_after_it_was_written_is_not_a_conflict_with_itself(store, place):
    class Deaf(MadeUpKeyring):
        def get_password(self, service, username):
            if self.writes >= 2:  # the list of keys, then the entry
                raise OSError("the bus is gone")
            return super().get_password(service, username)

    backend = Deaf(place)
    failing = KeyringStore(backend=backend)
    with pytest.raises(errors.StoreUnavailableError, match="the bus is gone") as caught:
        await failing.save("k", text_of("a", 100), replacing=None)
    assert_hidden(caught.value)
    backend.writes = -100
    version = await failing.save("k", text_of("a", 100), replacing=None)
    found = await store.load("k")
    assert (found.text, found.version) == (text_of("a", 100), version)


# -- keyrings that fail


async def test_where_there_is_no_keyring():
    from keyring.backends import fail, null

    for backend, kind in ((fail.Keyring(), "NoKeyringError"), (null.Keyring(), "does not keep what is written")):
        store = KeyringStore(backend=backend)
        for call in (store.check, lambda store=store: store.save("k", text_of("a", 9), replacing=None)):
            with pytest.raises(errors.StoreUnavailableError, match=kind) as caught:
                await call()
            assert "EncryptionKey.from_env" in str(caught.value)
            assert caught.value.retryable
            assert_hidden(caught.value)


async def test_the_keyring_is_the_one_that_the_package_chooses(monkeypatch, place):
    import keyring

    monkeypatch.setattr(keyring, "get_keyring", lambda: MadeUpKeyring(place))
    await KeyringStore().save("k", Secret("x"), replacing=None)
    assert MadeUpKeyring(place).names() == ["k", "~keys"]


@pytest.mark.parametrize("name", ["set_password", "get_password", "delete_password"])
async def test_a_keyring_that_shows_what_it_was_given(store, place, monkeypatch, name):
    """Backends raise what they like, and their frames hold the text."""
    version = await store.save("k", text_of("a", 3000), replacing=None)

    def fail(self, service, username, password=f"local {CANARY}"):
        copy = password
        raise RuntimeError(f"no {len(copy)}: it was locked") from ValueError(password)

    monkeypatch.setattr(MadeUpKeyring, name, fail)
    if name == "delete_password":
        calls = [lambda: store.delete("k")]
    else:
        calls = [lambda: store.save("k", text_of("b", 3000), replacing=version), store.check]
    for call in calls:
        with pytest.raises(errors.StoreUnavailableError, match=r"RuntimeError: no .*it was locked") as caught:
            await call()
        assert_hidden(caught.value, rich=name == "set_password" and call is calls[0])


async def test_secrets_stay_hidden_when_others_were_faster(store):
    await store.save("k", text_of("a", 3000), replacing=None)
    with pytest.raises(errors.StoreConflictError) as caught:
        await store.save("k", text_of("b", 3000), replacing=None)
    assert_hidden(caught.value)


# -- locks


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
async def test_locks_lie_in_the_users_state_directory(monkeypatch, tmp_path, place):
    store = KeyringStore("acme", backend=MadeUpKeyring(place))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))  # read when it is used
    async with store.lock("k"):
        pass
    (directory,) = (tmp_path / "mine" / "domokit" / "locks").iterdir()
    assert directory.name.startswith("keyring-")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    await store.check()
    assert [one.name for one in (tmp_path / "home/.local/state/domokit/locks").iterdir()] == [directory.name]


async def test_without_a_home_the_locks_must_be_named(monkeypatch, place, tmp_path):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(keyring_module, "state_directory", fail)
    with pytest.raises(errors.StoreUnavailableError, match=r"no home directory.*locks="):
        await KeyringStore(backend=MadeUpKeyring(place)).save("k", Secret("x"), replacing=None)
    await KeyringStore(backend=MadeUpKeyring(place), locks=tmp_path / "locks").save("k", Secret("x"), replacing=None)


def test_processes_lose_no_update(processes, tmp_path):
    children = [processes.start("count", ["keyring", str(tmp_path)], times=6) for _ in range(4)]
    for child in children:
        child.wait_for("done")
    store = KeyringStore(backend=MadeUpKeyring(tmp_path / "keyring"), locks=tmp_path / "locks")
    assert anyio.run(load, store, "number") == Secret("24")


def test_the_lock_of_a_killed_holder_is_free(processes, tmp_path):
    child = processes.start("hold", ["keyring", str(tmp_path)], reserve=True)
    child.wait_for("held")
    store = KeyringStore(backend=MadeUpKeyring(tmp_path / "keyring"), locks=tmp_path / "locks")

    async def get(timeout):
        async with store.lock("k", timeout=timeout):
            pass

    with pytest.raises(errors.StoreBusyError, match=f":{child.pid} holds"):
        anyio.run(get, 0.1)
    child.kill()
    anyio.run(get, 10)


# -- odds and ends


async def test_encrypted_it_shows_nothing(place):
    key = EncryptionKey.generate()
    store = KeyringStore(backend=MadeUpKeyring(place), encryption=EncryptionKey.from_callable(lambda: key))
    for number, length in enumerate((10, 5000)):
        await store.save(f"k{number}", text_of("a", length), replacing=None)
        assert await load(store, f"k{number}") == text_of("a", length)
        with pytest.raises(errors.StoreCorruptError, match="encrypted and no key was given"):
            await KeyringStore(backend=MadeUpKeyring(place)).load(f"k{number}")
    assert not any(CANARY in path.read_text() for path in place.glob("*.entry"))


def test_what_it_shows(place):
    assert repr(KeyringStore("acme", backend=MadeUpKeyring(place))) == "KeyringStore('acme')"


def test_a_service_needs_a_name(place):
    with pytest.raises(errors.InvalidInputError, match="service"):
        KeyringStore("", backend=MadeUpKeyring(place))


def test_without_the_package_it_says_what_to_install():
    code = """
import sys
sys.modules["keyring"] = None
from domokit import EncryptionKey, KeyringStore, errors
for make in (KeyringStore, EncryptionKey.from_keyring):
    try:
        make()
    except errors.InvalidInputError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("pip install 'domokit[keyring]'") == 2
