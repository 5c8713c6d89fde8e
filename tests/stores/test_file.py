"""FileStore on real files: who may read them, what is found in them, full disks, and processes that are killed."""

import copy
import json
import logging
import os
import pickle
import random
import stat
import threading
import time

import anyio
import pytest

from domokit import EncryptionKey, FileStore, Secret, errors
from domokit.stores import file as file_module
from tests.stores.helpers import CANARY, assert_hidden, content_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes and owners are those of POSIX")
as_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
SOMEBODY = 12345
TEXT = Secret(json.dumps({"refresh_token": CANARY}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "tokens.json"


@pytest.fixture
def store(path):
    return FileStore(path)


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


async def fill(store, **texts):
    for key, text in (texts or {"k": TEXT}).items():
        await store.save(key, text if isinstance(text, Secret) else Secret(text), replacing=None)


async def everything(store):
    """Each way of using a store: (its name, a call)."""

    async def under_lock():
        async with store.lock("k", timeout=5) as held:
            await held.reserve()

    return {
        "load": lambda: store.load("k"),
        "keys": store.keys,
        "save": lambda: store.save("new", TEXT, replacing=None),
        "delete": lambda: store.delete("k"),
        "reserve": under_lock,
    }


async def assert_each_raises(store, kind, match):
    for name, call in (await everything(store)).items():
        with pytest.raises(kind, match=match) as caught:
            await call()
        assert type(caught.value) is kind, name
        assert_hidden(caught.value)


def left(path):
    """Names in the directory of a store's file, but for that and the locks."""
    return sorted(set(os.listdir(path.parent)) - {path.name, f"{path.name}.locks"})


# -- who may read it


async def test_nobody_else_may_read_it_from_its_first_byte_on(store, path, monkeypatch):
    seen = set()
    write = os.write

    def watched(descriptor, content):
        for one in [path.parent, *path.parent.iterdir()]:
            seen.add((one.is_dir(), mode(one)))
        return write(descriptor, content)

    monkeypatch.setattr(file_module.os, "write", watched)
    mask = os.umask(0)
    try:
        async with store.lock("k") as held:
            await held.reserve()
            await fill(store)
    finally:
        os.umask(mask)
    assert seen == {(True, 0o700), (False, 0o600)}
    assert mode(path) == 0o600
    assert {mode(one) for one in (path.parent / "tokens.json.locks").iterdir()} == {0o600}


@pytest.mark.parametrize("found", [0o644, 0o640, 0o604, 0o666, 0o777], ids=oct)
async def test_one_that_is_open_to_others_is_closed_with_a_warning(store, path, caplog, found):
    await fill(store)
    path.chmod(found)
    assert (await store.load("k")).text == TEXT
    assert mode(path) == 0o600
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("domokit.stores", logging.WARNING)
    assert str(path) in record.getMessage()
    assert f"{found:o}" in record.getMessage()
    await store.load("k")
    assert len(caplog.records) == 1
    path.chmod(found)
    await fill(store, other="x")
    assert (mode(path), len(caplog.records)) == (0o600, 2)


async def test_one_that_stays_open_to_others_is_refused(store, path, monkeypatch):
    await fill(store)
    path.chmod(0o666)
    monkeypatch.setattr(file_module.os, "fchmod", lambda *_: None)  # as on a file system without modes
    await assert_each_raises(store, errors.StoreUnsafeError, "cannot be closed")


async def test_a_symbolic_link_is_refused(store, path):
    await fill(store)
    target = path.rename(path.with_name("elsewhere"))
    target.chmod(0o644)
    before = content_of(target)
    path.symlink_to(target)
    await assert_each_raises(store, errors.StoreUnsafeError, "symbolic link")
    assert path.is_symlink()
    assert (content_of(target), mode(target)) == (before, 0o644)
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))
    await assert_each_raises(store, errors.StoreUnsafeError, "symbolic link")
    assert left(path) == ["elsewhere"]


@as_root
async def test_one_of_another_user_is_refused(store, path):
    await fill(store)
    os.chown(path, SOMEBODY, SOMEBODY)
    path.chmod(0o644)
    before = content_of(path)
    await assert_each_raises(store, errors.StoreUnsafeError, "another user")
    assert (content_of(path), mode(path), os.stat(path).st_uid) == (before, 0o644, SOMEBODY)


@as_root
async def test_a_directory_of_another_user_is_refused(store, path):
    await fill(store)
    os.chown(path.parent, SOMEBODY, SOMEBODY)
    before = content_of(path)
    await assert_each_raises(store, errors.StoreUnsafeError, "another user")
    assert content_of(path) == before


@pytest.mark.parametrize("found", [0o777, 0o757], ids=oct)
async def test_a_directory_where_others_may_write_is_refused(store, path, found):
    await fill(store)
    path.parent.chmod(found)
    before = content_of(path)
    await assert_each_raises(store, errors.StoreUnsafeError, r"others may write .*\(mode 7\d7\).*chmod go-w")
    assert (content_of(path), mode(path.parent)) == (before, found)


@as_root
async def test_a_directory_where_a_group_may_write_is_refused_unless_it_is_the_users_own(store, path):
    await fill(store)
    path.parent.chmod(0o775)
    assert (await store.load("k")).text == TEXT
    os.chown(path.parent, -1, SOMEBODY)
    await assert_each_raises(store, errors.StoreUnsafeError, "others may write")


async def test_a_directory_like_tmp_will_do(store, path):
    path.parent.mkdir()
    path.parent.chmod(0o1777)
    await fill(store)
    assert (await store.load("k")).text == TEXT


@pytest.mark.parametrize("what", ["symlink", "open", pytest.param("foreign", marks=as_root)])
async def test_locks_that_others_could_replace_are_refused(store, path, what, tmp_path):
    await fill(store)
    locks = path.with_name("tokens.json.locks")
    if what == "symlink":
        locks.rename(tmp_path / "theirs")
        locks.symlink_to(tmp_path / "theirs")
    elif what == "open":
        locks.chmod(0o777)
    else:
        os.chown(locks, SOMEBODY, SOMEBODY)
    with pytest.raises(errors.StoreUnsafeError):
        async with store.lock("k", timeout=5):
            pass
    with pytest.raises(errors.StoreUnsafeError):
        await store.save("new", TEXT, replacing=None)


async def test_a_lock_file_that_is_a_link_is_not_followed(store, path, tmp_path):
    await fill(store)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (path.with_name("tokens.json.locks") / "k.lock").symlink_to(precious)
    with pytest.raises(errors.StoreUnavailableError, match=r"k\.lock"):
        async with store.lock("k", timeout=5):
            pass
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("what", ["pipe", "directory"])
async def test_what_is_no_file_is_refused(store, path, what):
    path.parent.mkdir()
    os.mkfifo(path, 0o600) if what == "pipe" else path.mkdir(mode=0o700)
    opened = []
    other_end = threading.Timer(60, lambda: opened.append(os.open(path, os.O_RDWR)))  # who opens a pipe waits for it
    other_end.start()
    try:
        await assert_each_raises(store, errors.StoreUnsafeError, "not a file")
    finally:
        other_end.cancel()
    assert opened == []


async def test_a_place_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    await assert_each_raises(FileStore(tmp_path / "file" / "tokens.json"), errors.StoreUnavailableError, "file")


# -- what is found in it


def name_of(content):
    return content[:75].decode("ascii", "replace") or "empty"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\0" * 4096,
        b"{",
        b'{\n "domo',
        b'{"domokit": "tokens"' + b"[" * 100_000,
        b'{"domokit": "tokens", "schema": 1, "entries": {"k": {"version": "1-00000000", "text": "\xff"}}}',
        b'{"domokit": "tokens", "schema": 1}',
        b'{"domokit": "tokens", "schema": "2", "entries": {}}',
        b'{"domokit": "tokens", "schema": 1, "entries": []}',
        b'{"domokit": "tokens", "schema": 1, "entries": {"k": "x"}}',
        b'{"domokit": "tokens", "schema": 1, "entries": {"k": {"version": "x", "text": "x"}}}',
        b'{"domokit": "tokens", "schema": 1, "entries": {"k": {"version": "1-00000000", "text": 1}}}',
        b'{"domokit": "tokens", "schema": 1, "entries": {"k": {"version": "1-00000000"}}}',
        b'{"domokit": "tokens", "schema": 1, "entries": {"k": {"text": "x"}}}',
        b'{"schema": 1, "domokit": "tokens", "entries": []}',
    ],
    ids=name_of,
)
@pytest.mark.parametrize("call", ["load", "keys", "save", "delete", "reserve"])
async def test_what_cannot_be_read_is_set_aside_once(store, path, content, call):
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    use = (await everything(store))[call]
    with pytest.raises(errors.StoreCorruptError, match=r"set aside as tokens\.json\.corrupt-") as caught:
        await use()
    assert caught.value.needs_human
    (aside,) = left(path)
    assert aside in str(caught.value)
    assert path.with_name(aside).read_bytes() == content
    assert mode(path.with_name(aside)) == 0o600
    await use()  # it was told once
    await fill(store)
    assert left(path) == [aside]
    assert path.with_name(aside).read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        b"my thesis\n",
        b"# a configuration\n[stores.t]\n",
        b"\xff\xfe",
        b"null",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'"access_token"',
        b'["access_token"]',
        b'{"some": "configuration"}',
        b'{"domokit": "other", "schema": 1, "entries": {}}',
        b'{"domokit": 1, "schema": 1, "entries": {}}',
    ],
    ids=name_of,
)
async def test_what_is_somebody_elses_is_refused_and_stays(store, path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o644)
    for read in (store.load("k"), store.keys()):
        with pytest.raises(errors.StoreCorruptError, match=r"tokens\.json is no file of tokens"):
            await read
    assert left(path) == []
    assert not path.with_name("tokens.json.locks").exists(), "reading leaves nothing behind"
    await assert_each_raises(store, errors.StoreCorruptError, "is no file of tokens.*left as it is")
    with pytest.raises(errors.StoreCorruptError, match="is no file of tokens"):
        await store.check()
    assert (path.read_bytes(), mode(path)) == (content, 0o644)
    assert left(path) == []


async def test_a_half_written_file_is_set_aside_with_what_it_holds(store, path):
    await fill(store, k=TEXT, j=TEXT)
    path.write_bytes(path.read_bytes()[:-40])
    half = content_of(path)
    with pytest.raises(errors.StoreCorruptError) as caught:
        await store.save("new", TEXT, replacing=None)
    assert_hidden(caught.value, rich=True)
    (aside,) = left(path)
    assert content_of(path.with_name(aside)) == half


async def test_of_many_who_find_it_unreadable_one_is_told(path):
    path.parent.mkdir()
    path.write_bytes(b"{")
    told = []

    async def look():
        try:
            assert await FileStore(path).load("k") is None
        except errors.StoreCorruptError as error:
            told.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(look)
    assert len(told) == 1
    assert len(left(path)) == 1


async def test_what_cannot_be_set_aside_is_told_again_and_again(store, path, monkeypatch):
    await fill(store)
    path.write_bytes(path.read_bytes()[:-40])
    before = content_of(path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(file_module.os, "rename", refuse)
    for _ in range(2):
        await assert_each_raises(store, errors.StoreCorruptError, "could not be set aside: Permission denied")
    assert content_of(path) == before


async def test_one_of_a_newer_domokit_is_refused(store, path):
    await fill(store)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "schema": 2, "new": "things"}))
    before = content_of(path)
    await assert_each_raises(store, errors.StoreError, r"newer domokit \(schema 2\)")
    assert content_of(path) == before
    assert left(path) == []


async def test_the_token_file_of_a_sample_is_refused(store, path):
    path.parent.mkdir()
    answer = {"access_token": CANARY, "refresh_token": CANARY, "expires_in": "300", "expiry_tm": 1.5}
    path.write_text(json.dumps(answer))
    path.chmod(0o644)
    before = content_of(path)
    await assert_each_raises(store, errors.InvalidInputError, "bare answer of a token endpoint.*read_token_file")
    assert (content_of(path), mode(path)) == (before, 0o644), "it is not ours"
    assert left(path) == []


async def test_what_it_does_not_know_of_an_entry_stays(store, path):
    await fill(store, k=TEXT, j=TEXT)
    document = json.loads(path.read_text())
    document["entries"]["k"]["note"] = "of a later domokit"
    path.write_text(json.dumps(document))
    found = await store.load("j")
    await store.save("j", Secret("new"), replacing=found.version)
    assert json.loads(path.read_text())["entries"]["k"] == document["entries"]["k"]


# -- a look that changes nothing


def whole(directory):
    """Everything below a directory: modes and contents."""
    return {one: (mode(one), content_of(one) if one.is_file() else None) for one in directory.rglob("*")}


async def test_a_check_finds_what_is_wrong_and_changes_nothing(store, path, tmp_path):
    await store.check()
    assert list(tmp_path.iterdir()) == [], "not even its directory is made"
    await fill(store)
    await store.check()
    good = Secret(path.read_text())
    for content, found, said in (
        (good, 0o644, r"open to others \(mode 644\).*chmod 600"),
        (Secret(good.reveal()[:-40]), 0o600, "could not be read as a file of tokens and will be set aside when it is"),
        (Secret(good.reveal()[:-40]), 0o644, "open to others"),
        (b"", 0o600, "will be set aside"),
        (b'{"domokit": "tokens", "schema": 2, "entries": {}}', 0o600, "newer domokit"),
        (b"notes", 0o644, "is no file of tokens"),
    ):
        path.write_bytes(content if isinstance(content, bytes) else content.reveal().encode())
        path.chmod(found)
        before = whole(tmp_path)
        for _ in range(2):
            with pytest.raises(errors.StoreError, match=said) as caught:
                await store.check()
            assert_hidden(caught.value)
        assert whole(tmp_path) == before
    path.unlink()
    locks = path.with_name("tokens.json.locks")
    locks.chmod(0o777)
    with pytest.raises(errors.StoreUnsafeError, match=r"others may write .*locks"):
        await store.check()
    assert mode(locks) == 0o777


async def test_a_check_finds_a_key_that_is_none(path):
    store = FileStore(path, encryption=EncryptionKey.from_callable(lambda: "nonsense"))
    with pytest.raises(errors.InvalidInputError, match="holds no key"):
        await store.check()
    assert not path.parent.exists()


async def test_a_check_sees_a_disk_that_is_full_or_can_only_be_read(small_disk):
    import subprocess

    store = FileStore(small_disk / "tokens.json")
    await fill(store)
    fill_up(small_disk)
    with pytest.raises(errors.StoreUnavailableError, match="No space left"):
        await store.check()
    assert left(store.path) == ["ballast"]
    (small_disk / "ballast").unlink()
    await store.check()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(errors.StoreUnavailableError):
        await store.check()


# -- encryption


async def test_encrypted_it_shows_nothing(path):
    key = EncryptionKey.generate()
    store = FileStore(path, encryption=EncryptionKey.from_callable(lambda: key))
    await fill(store)
    assert CANARY not in path.read_text()
    assert (await store.load("k")).text == TEXT
    with pytest.raises(errors.StoreCorruptError, match=r"encrypted and no key was given.*encryption=") as caught:
        await FileStore(path).load("k")
    assert_hidden(caught.value)
    assert left(path) == []  # somebody else can read it


async def test_what_was_in_clear_is_sealed_when_it_is_next_written(path):
    await fill(FileStore(path))
    store = FileStore(path, encryption=EncryptionKey.from_callable(EncryptionKey.generate))
    found = await store.load("k")
    assert found.text == TEXT
    assert CANARY in path.read_text()
    await store.save("k", found.text, replacing=found.version)
    assert CANARY not in path.read_text()
    assert (await store.load("k")).text == TEXT


# -- where nothing can be written


def fill_up(place, but=0):
    """Fill a disk, all but some bytes."""
    with (place / "ballast").open("wb", buffering=0) as ballast:
        size = 4096
        try:
            while True:
                ballast.write(b"x" * size)
        except OSError:
            pass
        if but:
            ballast.truncate(ballast.tell() - but)


async def test_a_full_disk_is_noticed_before_anything_is_spent(small_disk):
    store = FileStore(small_disk / "tokens.json")
    await fill(store)
    before = content_of(store.path)
    fill_up(small_disk)
    async with store.lock("k", timeout=5) as held:
        with pytest.raises(errors.StoreUnavailableError, match="No space left") as caught:
            await held.reserve()
        assert_hidden(caught.value)
        found = await store.load("k")
        with pytest.raises(errors.StoreUnavailableError, match="No space left") as caught:
            await store.save("k", Secret(f"{CANARY} " * 1000), replacing=found.version)
        assert_hidden(caught.value)
    assert content_of(store.path) == before
    assert left(store.path) == ["ballast"]
    (small_disk / "ballast").unlink()
    await store.save("k", Secret("new"), replacing=found.version)


async def test_room_that_was_reserved_is_there_when_the_disk_is_full(small_disk):
    store = FileStore(small_disk / "tokens.json")
    await fill(store, other=TEXT)
    async with store.lock("k") as held:
        await held.reserve()
        version = None
        for number in range(4):  # a note, an answer, a token: one renewal writes several times
            fill_up(small_disk)
            version = await store.save("k", Secret(f"{number} " * 8000), replacing=version)
            assert (await store.load("k")).text.reveal().startswith(f"{number} ")
        assert len(left(store.path)) == 2  # the ballast and the room
    assert left(store.path) == ["ballast"]
    assert (await store.load("other")).text == TEXT
    assert mode(store.path) == 0o600


async def test_a_disk_that_can_only_be_read(small_disk):
    import subprocess

    store = FileStore(small_disk / "tokens.json")
    await fill(store)
    before = content_of(store.path)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert (await store.load("k")).text == TEXT
    for use in ("save", "delete", "reserve"):
        with pytest.raises(errors.StoreUnavailableError) as caught:
            await (await everything(store))[use]()
        assert_hidden(caught.value)
    assert content_of(store.path) == before
    store.path = small_disk / "new" / "tokens.json"
    with pytest.raises(errors.StoreUnavailableError, match="Read-only file system"):
        await store.save("k", TEXT, replacing=None)


@pytest.mark.parametrize("reserve", [True, False], ids=["reserve", "save"])
def test_a_limit_on_the_size_of_files(processes, path, reserve):
    anyio.run(fill, FileStore(path))
    before = content_of(path)
    child = processes.start("small_files", ["file", str(path)], size=20_000, reserve=reserve)
    assert "File too large" in child.wait_for("refused")
    assert child.wait_for("still") == "still True"
    child.wait_for("done")
    assert content_of(path) == before
    assert left(path) == []


@as_root
def test_a_directory_without_the_right_to_write(processes, tmp_path):
    import tempfile

    with tempfile.TemporaryDirectory() as place:  # pytest's own directories are root's alone
        os.chmod(place, 0o755)
        child = processes.start("as_nobody", ["file", f"{place}/tokens.json"])
        child.wait_for("done")
        assert child.said() == [
            "load worked",  # there is nothing
            "keys worked",
            "save StoreUnavailableError",
            "check StoreUnavailableError",
            "done",
        ]
        assert os.listdir(place) == []
        os.chmod(place, 0o700)
        child = processes.start("as_nobody", ["file", f"{place}/tokens.json"])
        child.wait_for("done")
        assert [line.split()[1] for line in child.said()[:4]] == ["StoreUnavailableError"] * 4


async def test_what_failed_after_it_was_put_in_place_is_not_a_conflict_with_itself(store, path, monkeypatch):
    """The file is replaced, then flushing the directory fails; who writes the same again shall succeed."""
    await fill(store)
    found = await store.load("k")

    def fail(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(file_module, "flush_directory", fail)
        for _ in range(2):
            with pytest.raises(errors.StoreUnavailableError, match="Input/output error") as caught:
                await store.save("k", Secret(f"new {CANARY}"), replacing=found.version)
            assert_hidden(caught.value)
    version = await store.save("k", Secret(f"new {CANARY}"), replacing=found.version)
    assert (await store.load("k")).version == version
    with pytest.raises(errors.StoreConflictError):
        await store.save("k", Secret(f"new {CANARY}"), replacing=found.version)


# -- many processes, and dead ones


def test_processes_and_threads_lose_no_update(processes, path):
    children = [processes.start("count", ["file", str(path)], times=12) for _ in range(8)]
    store, failed = FileStore(path), []

    async def count():
        for _ in range(6):
            async with store.lock("number"):
                found = await store.load("number")
                number = int(found.text.reveal()) if found else 0
                await store.save("number", Secret(str(number + 1)), replacing=found.version if found else None)

    def run(backend):
        try:
            anyio.run(count, backend=backend)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(("asyncio", "trio")[n % 2],)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        child.wait_for("done")
    assert failed == []
    assert anyio.run(store.load, "number").text.reveal() == str(8 * 12 + 16 * 6)
    assert left(path) == []


def test_killed_while_writing(processes, path):
    """Always readable, and never older than what a writer has called stored."""
    chance, store, stored = random.Random(1), FileStore(path), 0
    for number in range(25):
        child = processes.start("write", ["file", str(path)], size=chance.choice([10, 3000, 100_000]))
        child.wait_for("starts")
        time.sleep(chance.uniform(0, 0.03))
        child.kill()
        told = [int(line) for line in child.said() if line.isdigit()]
        stored = max([stored, *told])
        found = anyio.run(store.load, "number")
        now = int(found.text.reveal().split()[0]) if found else 0
        assert now in (stored, stored + 1), number
        stored = now
    assert stored > 0
    found = anyio.run(store.load, "number")
    anyio.run(lambda: store.save("number", Secret("end"), replacing=found.version if found else None))
    assert left(path) == []  # what the killed ones left is gone with the next write


def test_the_lock_and_the_room_of_a_killed_holder_are_free(processes, path):
    store = FileStore(path)
    other = processes.start("hold", ["file", str(path)], key="k.k", reserve=True)
    child = processes.start("hold", ["file", str(path)], key="k", reserve=True)
    for one in (other, child):
        one.wait_for("held")
    assert len(left(path)) == 2

    async def get(timeout):
        async with store.lock("k", timeout=timeout) as held:
            await held.reserve()

    with pytest.raises(errors.StoreBusyError, match=rf":{child.pid} holds the lock k in .*waited 0 s"):
        anyio.run(get, 0.1)
    child.kill()
    anyio.run(get, 10)
    (of_other,) = left(path)  # which lives
    assert of_other.endswith(".k.k.room")


def test_a_child_of_a_killed_holder_does_not_keep_the_lock(processes, path):
    child = processes.start("hold", ["file", str(path)], fork=True)
    child.wait_for("held")
    grandchild = int(child.wait_for("child").split()[1])
    try:
        child.kill()
        os.kill(grandchild, 0)

        async def get():
            async with FileStore(path).lock("k", timeout=10):
                pass

        anyio.run(get)
    finally:
        os.kill(grandchild, 9)


def test_who_waits_gets_the_lock_of_a_killed_holder(processes, path):
    holder = processes.start("hold", ["file", str(path)])
    holder.wait_for("held")
    waiter = processes.start("wait_for_lock", ["file", str(path)])
    waiter.wait_for("waits")
    time.sleep(0.1)
    assert waiter.said() == ["waits"]
    holder.kill()
    waiter.wait_for("held", seconds=5)


async def test_a_lock_file_that_was_removed_locks_nobody_out(store, path):
    async with store.lock("k") as held:
        await held.extend()
        (path.with_name("tokens.json.locks") / "k.lock").unlink()
        with pytest.raises(errors.StoreBusyError, match="removed the lock file"):
            await held.extend()
        with pytest.raises(errors.StoreBusyError, match="removed the lock file"):
            await held.reserve()
        async with store.lock("k", timeout=5) as other:
            await other.extend()
    async with store.lock("k", timeout=5):
        pass


async def test_room_for_a_task_that_is_gone_is_given_back(store, path):
    """A thread may still take up room for a task that was cancelled in asyncio's own way."""
    async with store.lock("k") as held:
        room = store._rooms[os.getpid(), "k"]
        await held.reserve()
        assert len(left(path)) == 1
    assert left(path) == []
    store._rooms[os.getpid(), "k"] = room  # it got hold of it before the lock was let go
    store.make_room("k", 1000)
    assert left(path) == []


# -- odds and ends


async def test_it_can_be_copied_and_pickled(path):
    store = FileStore(path, encryption=EncryptionKey.from_env("TOKENS_KEY"))
    for twin in (pickle.loads(pickle.dumps(store)), copy.copy(store), copy.deepcopy(store)):
        assert (twin.path, repr(twin.encryption)) == (path, "EncryptionKey(the environment variable TOKENS_KEY)")
        assert repr(twin) == f"FileStore({str(path)!r})"


async def test_a_path_may_start_with_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    await fill(FileStore("~/.config/acme/tokens.json"))
    assert mode(tmp_path / ".config") == mode(tmp_path / ".config" / "acme") == 0o700


async def test_a_name_with_signs_of_patterns(tmp_path):
    store = FileStore(tmp_path / "[a]*" / "t?[x].json")
    async with store.lock("k") as held:
        await held.reserve()
        await fill(store)
    assert left(store.path) == []


async def test_secrets_stay_hidden_when_others_were_faster(store):
    await fill(store, k=TEXT, j=TEXT)
    with pytest.raises(errors.StoreConflictError) as caught:
        await store.save("k", TEXT, replacing=None)
    assert_hidden(caught.value)


async def test_secrets_stay_hidden_when_writing_breaks_in_the_middle(store, path, monkeypatch):
    await fill(store, k=TEXT, j=TEXT)
    before = content_of(path)
    for name in ("write", "ftruncate", "fsync", "replace"):

        def fail(*_):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(file_module.os, name, fail)
            with pytest.raises(errors.StoreUnavailableError, match="Input/output error") as caught:
                await store.save("new", TEXT, replacing=None)
            assert_hidden(caught.value)
        assert content_of(path) == before
        assert left(path) == []


async def test_secrets_stay_hidden_when_something_unheard_of_happens(store, monkeypatch):
    await fill(store, k=TEXT, j=TEXT)

    class Surprise(Exception):
        pass

    def fail(*_):
        raise Surprise

    for module, name in ((file_module.os, "fsync"), (file_module, "unsealed")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            call = store.save("new", TEXT, replacing=None) if name == "fsync" else store.load("k")
            with pytest.raises(Surprise) as caught:
                await call
            assert_hidden(caught.value)
