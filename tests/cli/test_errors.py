"""How failures end: exit codes, kind lines, JSON, no traceback."""

import json
import logging
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from domokit.cli import connect
from domokit.entities.users import DomoUser

KIT = [sys.executable, "-m", "domokit"]
FULL = Path("/dev/full")
posix = pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")


def test_nothing_set_up_names_the_variables(bare):
    ran = bare("users", "list", code=2)
    assert ran.out == ""
    for name in ("DOMO_INSTANCE", "DOMO_ACCESS_TOKEN", "DOMO_USERNAME", "DOMO_PASSWORD", "--sandbox"):
        assert name in ran.err
    assert "Traceback" not in ran.err


def test_half_set_up_names_what_is_missing(bare, monkeypatch):
    monkeypatch.setenv("DOMO_PASSWORD", "x-password")
    assert "DOMO_INSTANCE, DOMO_USERNAME" in bare("whoami", code=2).err


def test_errors_as_json(bare):
    ran = bare("users", "list", "--json", code=2)
    assert ran.out == ""
    assert set(ran.error) == {"error", "message", "hint", "status", "request_id"}
    assert ran.error["error"] == "MissingCredentialError"
    assert ran.error["status"] is None


def test_a_refusal_is_1_and_quotes_the_request(cli, served):
    ran = cli("users", "get", "5", "--json", code=1)
    assert ran.error["error"] == "NotFoundError"
    assert ran.error["status"] == 404
    assert "/api/identity/v1/users/5" in ran.error["message"]
    assert len(cli("users", "get", "5", code=1).err.splitlines()) <= 2


def test_a_wrong_password_is_1_and_not_shown(cli, monkeypatch):
    monkeypatch.setenv("DOMO_PASSWORD", "wr0ng-canary-passw0rd")
    cli.seen.add("wr0ng-canary-passw0rd")
    for form in ((), ("--json",), ("--verbose",)):
        assert "DOMO_PASSWORD" in cli("whoami", *form, code=1).err


def test_instance_option_wins_and_is_checked(cli):
    assert cli("whoami", "--instance", "other", "--json").json["instance"] == "other"
    ran = cli("whoami", "--instance", "https://evil.example.com", code=2)
    assert "is not a Domo instance" in ran.err


def test_bad_usage_is_2(bare):
    for arguments in (["users", "frob"], ["tokens", "revoke", "abc"], ["users", "list", "--frob"]):
        ran = bare(*arguments, code=2)
        assert ran.out == ""
        assert "Traceback" not in ran.err


def test_fresh_needs_sandbox(bare):
    assert "--sandbox" in bare("users", "list", "--fresh", code=2).err


def test_an_unexpected_error_has_no_traceback_unless_asked(cli, served, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError(f"broken near {served.password}")

    monkeypatch.setattr(DomoUser, "get_all", broken)
    plain = cli("users", "list", code=1)
    assert "broken near ***" in plain.err
    assert "Traceback" not in plain.err
    told = cli("users", "list", "--json", code=1).error
    assert (told["error"], told["message"]) == ("RuntimeError", "broken near ***")
    verbose = cli("users", "list", "--verbose", code=1)
    assert "Traceback" in verbose.err
    assert "test_errors.py" in verbose.err


def test_a_refusal_has_no_traceback_unless_asked(cli):
    assert "Traceback" not in cli("users", "get", "5", code=1).err
    assert "Traceback" in cli("users", "get", "5", "--verbose", code=1).err


def test_interrupted_is_130_and_quiet(cli, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(connect.anyio, "run", interrupt)
    ran = cli("users", "list", code=130)
    assert (ran.out, ran.err) == ("", "")


def test_verbose_shows_the_log_once_and_puts_it_back(cli):
    before = list(logging.getLogger("domokit").handlers)
    ran = cli("whoami", "--verbose", "--json")
    assert "GET /api/content/v2/users/me -> 200" in ran.err
    assert ran.json["id"]
    assert cli("whoami").err == ""
    assert logging.getLogger("domokit").handlers == before


def test_the_library_stays_silent_otherwise(cli, monkeypatch):
    def warn(user):
        logging.getLogger("domokit.entities").warning("something odd")
        return {"id": user.id}

    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest; a command starts with none
    monkeypatch.setattr(DomoUser, "to_dict", warn)
    assert cli("users", "list").err == ""
    assert "something odd" in cli("users", "list", "--verbose").err


def test_one_document_on_stdout(cli):
    for arguments in (["users", "list"], ["accounts", "list"], ["tokens", "list"], ["whoami"]):
        ran = cli(*arguments, "--json")
        json.loads(ran.out)
        assert ran.err == ""


@pytest.mark.parametrize(
    ("kind", "details", "error"),
    [
        ("status", {"status": 500}, "ServerError"),
        ("html", {}, "UnexpectedPageError"),
        ("blocked", {}, "IPNotAllowedError"),
    ],
)
def test_bad_answers_are_1(cli, served, kind, details, error):
    served.misbehave(kind, times=None, path="/api/identity", **details)
    assert cli("users", "get", "5", "--json", code=1).error["error"] == error


def into_the_full(words):
    with FULL.open("w") as full:
        return subprocess.run([*KIT, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)


@posix
@pytest.mark.parametrize(
    "arguments",
    ["users list", "users list --json", "data get Orders", "data query Orders SELECT/1", "rotate --dry-run"],
)
def test_a_full_disk_is_told_in_one_line(arguments):
    words = [word.replace("/", " ") for word in arguments.split()]
    ran = into_the_full([*words, "--sandbox"])
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert "No space left on device" in line
    assert "Errno" not in line


@posix
@pytest.mark.parametrize(
    "arguments", ["--help", "data put --help", "--version", "sandbox --port 0", "sandbox --port 0 --json"]
)
def test_a_full_disk_ends_what_needs_no_domo(arguments):
    ran = into_the_full(arguments.split())
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "No space left on device" in ran.stderr
    assert "cannot be served" not in ran.stderr


@posix
@pytest.mark.parametrize("arguments", ["--help", "users list --sandbox", "rotate --sandbox", "sandbox --port 0"])
def test_a_closed_stdout_is_told_before_anything_is_done(arguments, state_file):
    command = f"{shlex.join(KIT)} {arguments} >&-"
    ran = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr == "Error: standard output is closed; send it to /dev/null if you do not want it.\n"
    assert not state_file.exists()


@posix
def test_a_closed_stderr_does_no_harm():
    command = f"{shlex.join(KIT)} users get 99999 --sandbox 2>&-"
    ran = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (1, "")
