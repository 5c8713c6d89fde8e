"""With somebody at a terminal, who is asked and may press Ctrl-C; and with a pipe that is closed early."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from domokit.cli import connect

from .helpers import buffered

pytestmark = pytest.mark.skipif(os.name == "nt", reason="terminals and signals of POSIX")


class Person:
    """A command on a terminal, and what a person sees and types there."""

    def __init__(self, *arguments):
        import fcntl
        import pty
        import termios

        self._own, other = pty.openpty()

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "domokit", *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(other)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._own)

    def sees(self, text, seconds=60):
        """Read until the text is there."""
        until = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < until, f"{text!r} did not appear: {self.seen!r}"
            if select.select([self._own], [], [], 0.2)[0]:
                self.seen += self._read()

    def types(self, text):
        os.write(self._own, text.encode())

    def leaves(self):
        """Read to the end; return the exit code."""
        while part := self._read():
            self.seen += part
        return self.process.wait(timeout=60)

    def _read(self):
        try:
            return os.read(self._own, 4096).decode()
        except OSError:  # what Linux says when the other side is closed
            return ""


@pytest.fixture
def without_password(served, monkeypatch):
    monkeypatch.delenv("DOMO_PASSWORD")
    return served


def test_asks_for_the_password_and_before_revoking(without_password):
    served = without_password
    token = served.add_access_token(served.admin.id, "old one")
    with Person("tokens", "revoke", str(token.id)) as person:
        person.sees(f"Password of {served.username} at acme: ")
        person.types(served.password + "\n")
        person.sees(f"Revoke access token {token.id}? [y/N]: ")
        assert "old one" in person.seen
        assert token.id in served.state.access_tokens
        person.types("y\n")
        assert person.leaves() == 0
    assert token.id not in served.state.access_tokens
    assert served.password not in person.seen


def test_ctrl_c_at_a_question_is_quiet(without_password):
    with Person("whoami") as person:
        person.sees("Password of")
        person.types("\x03")
        assert person.leaves() == 130
    assert "Traceback" not in person.seen
    assert "Error" not in person.seen


def test_ctrl_c_in_a_rotation_leaves_nothing_behind(served):
    before = dict(served.state.access_tokens)
    served.misbehave("latency", seconds=5, times=None, path="/api/content/v2/users/me")
    arguments = ["rotate", "--owner", str(served.admin.id), "--name", "n", "--account", "a", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "domokit", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 60
    while not [record for record in served.requests if record.path == "/api/content/v2/users/me"]:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert len(served.state.access_tokens) == len(before) + 1
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130
    assert served.state.access_tokens == before


def test_a_pipe_that_is_closed_early_is_no_error(served):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "domokit", "users", "list", "--json"]
        ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=buffered(), timeout=30, check=False)
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (1, b"")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_is_1_and_nothing_happens(cli, served, monkeypatch, form):
    monkeypatch.setattr(connect, "stdin_is_terminal", lambda: True)
    token = served.add_access_token(served.admin.id, "old one")
    ran = cli("tokens", "revoke", str(token.id), *form, text="n\n", code=1)
    assert "Nothing was revoked." in ran.err
    assert "old one" in (ran.err if form else ran.out)
    assert token.id in served.state.access_tokens
    if form:
        assert ran.out.strip() == "n"  # what was typed, which the runner repeats; no document


def test_a_field_can_be_typed(cli, served, monkeypatch):
    asked = []

    def getpass(prompt, stream=None):
        asked.append(prompt)
        return "typed-canary"

    cli.seen.add("typed-canary")
    monkeypatch.setattr(connect, "stdin_is_terminal", lambda: True)
    monkeypatch.setattr(connect, "getpass", getpass)
    given = ("--name", "etl", "--provider", "domo-governance-d14c2fef-49a8-4898-8ddd-f64998005600")
    fields = ("--field", "customer=acme", "--secret-field", "apikey=prompt")
    made = cli("accounts", "upsert", *given, *fields, "--json").json
    assert asked == ["Value of apikey: "]
    assert served.account_config(made["id"])["apikey"] == "typed-canary"


@pytest.mark.parametrize("answer", ["123456", ""])
def test_the_one_time_password_is_asked_for(cli, served, monkeypatch, answer):
    served.require_one_time_password(served.username, "123456")
    assert "terminal" in cli("whoami", "--json", code=1).error["hint"]
    monkeypatch.setattr(connect, "stdin_is_terminal", lambda: True)
    monkeypatch.setattr(connect, "getpass", lambda prompt, stream=None: answer)
    if answer:
        assert served.username in cli("whoami").out
    else:
        assert "no one-time password was given" in cli("whoami", code=2).err
