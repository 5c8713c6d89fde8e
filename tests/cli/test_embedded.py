"""Where the embedded sandbox is kept, and that one command at a time uses it."""

import stat
from pathlib import Path

import pytest

from domokit import DomoDataset, _runtime
from domokit.cli import connect
from domokit.sandbox import Sandbox
from domokit.testing import session_auth


@pytest.mark.parametrize(
    ("name", "environment", "expected"),
    [
        ("posix", {"DOMOKIT_SANDBOX_STATE": "/x/own.json", "XDG_STATE_HOME": "/s"}, "/x/own.json"),
        ("posix", {"XDG_STATE_HOME": "/s", "LOCALAPPDATA": "/l"}, "/s/domokit/sandbox.json"),
        ("posix", {"HOME": "/h"}, "/h/.local/state/domokit/sandbox.json"),
        ("nt", {"LOCALAPPDATA": "/l", "XDG_STATE_HOME": "/s"}, "/l/domokit/sandbox.json"),
    ],
)
def test_where_it_is_kept(monkeypatch, name, environment, expected):
    class System:
        environ = environment

    System.name = name
    monkeypatch.setattr(connect, "os", System)
    monkeypatch.setattr(_runtime, "os", System)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert connect.state_file() == Path(expected)


def test_only_its_owner_reads_it(embedded, state_file):
    embedded("whoami")
    assert stat.S_IMODE(state_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state_file.parent.stat().st_mode) == 0o700


def test_the_environment_of_a_real_one_is_not_used(embedded, monkeypatch):
    monkeypatch.setenv("DOMO_BASE_URL", "https://real.example.com")
    monkeypatch.setenv("DOMO_INSTANCE", "real")
    monkeypatch.setenv("DOMO_ACCESS_TOKEN", "real-token")
    assert embedded("whoami", "--json").json["instance"] == "acme"


def test_another_instance_is_refused_unless_new(embedded):
    assert embedded("whoami", "--instance", "other.domo.com", "--json").json["instance"] == "other"
    assert embedded("whoami", "--json").json["instance"] == "other"
    assert "'other', not 'third'" in embedded("whoami", "--instance", "third", code=2).err
    assert embedded("whoami", "--instance", "third", "--fresh", "--json").json["instance"] == "third"


def test_a_damaged_file_is_left_alone(bare, state_file):
    state_file.parent.mkdir()
    state_file.write_text("{ not mine")
    assert "--fresh" in bare("whoami", "--sandbox", code=2).err
    assert state_file.read_text() == "{ not mine"
    bare("whoami", "--sandbox", "--fresh")


def test_a_place_that_cannot_be_written_is_told(bare, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DOMOKIT_SANDBOX_STATE", str(tmp_path / "file" / "sandbox.json"))
    assert "DOMOKIT_SANDBOX_STATE" in bare("whoami", "--sandbox", code=2).err


def test_an_error_of_the_command_is_not_blamed_on_the_sandbox(embedded, monkeypatch):
    def broken(*arguments, **options):
        raise FileNotFoundError(2, "No such file", "/elsewhere")

    monkeypatch.setattr(connect.Domo, "run", broken)
    assert "/elsewhere" in embedded("whoami", code=1).err


def test_commands_take_turns(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    lock = tmp_path / "lock"

    def is_free():
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with connect._only_one(lock):
        assert not is_free()
    assert is_free()


def test_the_lock_is_held_while_a_command_runs(embedded, state_file, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    held = []
    run = connect.Domo.run

    def look_then_run(self, *arguments, **options):
        with state_file.with_name("sandbox.json.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
            else:
                held.append(False)
        return run(self, *arguments, **options)

    monkeypatch.setattr(connect.Domo, "run", look_then_run)
    embedded("whoami")
    assert held == [True]


def test_a_new_one_has_no_rows_of_the_one_before(embedded, state_file, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("order_id,qty\n" + "a,1\n" * 5)
    embedded("data", "put", "Mine", str(rows), "--create")
    embedded("data", "put", "Orders", str(rows))
    folder = state_file.with_name("sandbox.json.data")
    before = {path.name for path in (folder / "versions").iterdir()}
    assert before
    foreign = folder / "of-somebody-else"
    foreign.mkdir()

    def is_whole():
        rows.write_text("order_id,qty\nb,2\n")
        assert embedded("data", "put", "Mine", str(rows), "--create", "--json").json["action"] == "create"
        assert embedded("data", "put", "Orders", str(rows), "--append", "--json").json["rows"] == 1
        assert embedded("data", "get", "Mine").out == "order_id,qty\nb,2\n"
        return len(embedded("data", "get", "Orders").out.splitlines()) == 1 + 250 + 1

    embedded("whoami", "--fresh")
    assert not [*(folder / "versions").iterdir()]
    assert is_whole()
    state_file.unlink()
    assert is_whole()
    assert foreign.is_dir()


async def test_rows_that_the_state_does_not_know_are_removed(tmp_path):
    path = tmp_path / "company.json"
    async with Sandbox(state_file=path) as sandbox, session_auth(sandbox) as auth:
        made = await DomoDataset.create(auth, "Mine", [{"a": 1}])
    folder = tmp_path / "company.json.data"
    (known,) = (folder / "versions").iterdir()
    for kind in ("versions", "uploads"):
        (folder / kind / "987").mkdir(parents=True)
    (folder / "exports").mkdir(exist_ok=True)
    (folder / "exports" / "left.csv").write_text("a\n1\n")
    assert Sandbox(state_file=path).dataset_rows(made.id) == [(1,)]
    assert (folder / "versions" / "987").exists()  # to look is not to use
    async with Sandbox(state_file=path) as again:
        assert again.dataset_rows(made.id) == [(1,)]
    assert [*(folder / "versions").iterdir()] == [known]
    assert not [*folder.glob("uploads/*"), *folder.glob("exports/*")]
