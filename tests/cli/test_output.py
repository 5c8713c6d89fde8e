"""Tables, plain text and JSON."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from domokit.auth import Secret
from domokit.cli import output
from domokit.cli.output import Output, Progress, cell, plain, printable
from domokit.entities.account_config import MASKED

NOON = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))


def test_json_values():
    value = {"when": NOON, "secret": Secret("x" * 9), "masked": [MASKED], "life": timedelta(minutes=1), "n": 1}
    assert plain(value) == {"when": "2026-05-01T12:00:00Z", "secret": "***", "masked": ["***"], "life": 60.0, "n": 1}


def test_cells():
    assert [cell(value) for value in (None, True, False, NOON, Secret("x" * 9), MASKED, [1, None], 1.5)] == [
        "", "yes", "no", "2026-05-01 12:00 UTC", "***", "***", "1, ", "1.5",
    ]  # fmt: skip
    assert cell({"user": "svc", "password": MASKED}) == "user: svc\npassword: ***"


def test_control_characters_are_written_out():
    assert printable("Zoë\x1b[2J\n\u202eb") == "Zoë\\x1b[2J\\n\\u202eb"


def test_a_pipe_gets_whole_lines_without_colour(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "a rather long name " * 20
    Output(as_json=False).listing([{"id": 1, "name": long}, {"id": 20, "name": "日本"}], ("id", "name"), empty="")
    assert capsys.readouterr().out == f"id  name\n1   {long.rstrip()}\n20  日本\n"


def test_a_terminal_gets_a_table_that_fits(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    row = {"id": 1234567890, "name": "[red]" + "x" * 60}
    Output(as_json=False).table([row], ("id", "name"), title="Names")
    lines = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 30
    assert lines[0].strip() == "Names"
    assert "[red]" in "".join(lines)
    assert any("1234567890" in line for line in lines)
    assert "".join(lines).count("x") == 60


def test_json_only_on_stdout_with_json(capsys):
    out = Output(as_json=True)
    out.say("hello")
    out.table([{"id": 1}], ("id",))
    assert capsys.readouterr().out == ""
    out.record({"name": "Zoë", "empty": None})
    assert json.loads(capsys.readouterr().out) == {"name": "Zoë", "empty": None}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_stays_json_in_any_encoding(tmp_path, monkeypatch, encoding):
    path = tmp_path / "out"
    with path.open("w", encoding=encoding, errors="backslashreplace") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        Output(as_json=True).document("Zoë")
    assert json.loads(path.read_text(encoding=encoding)) == "Zoë"


class Terminal:
    """A stderr that is a terminal."""

    def __init__(self):
        self.written = ""

    def write(self, text):
        self.written += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True

    def fileno(self):
        raise OSError


def on_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal


def test_progress_appears_after_a_while_and_goes(monkeypatch):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(output, "_SPINNER_AFTER", 0)
    with Progress("listing users") as progress:
        progress._timer.join()
        assert "listing users" in terminal.written
        with progress.away():
            gone = len(terminal.written)
            assert progress._display.live.is_started is False
        assert "listing users" in terminal.written[gone:]
    assert progress._display.live.is_started is False
    assert terminal.written.endswith("\x1b[2K")


def test_no_progress_for_what_is_quick_or_not_wanted(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with Progress("listing users"):
        pass
    monkeypatch.setattr(output, "_SPINNER_AFTER", 0)
    for progress in (Progress("listing users", wanted=False), Progress("")):
        with progress:
            assert progress._timer is None
    assert terminal.written == ""


def test_times_of_other_zones_are_utc():
    assert plain(NOON.astimezone(UTC)) == plain(NOON)
