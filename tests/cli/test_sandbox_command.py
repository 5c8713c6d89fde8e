"""`domokit sandbox`, as the process that it is."""

import json
import select
import signal
import subprocess
import sys

import httpx
import pytest

from domokit.cli import sandbox as command
from domokit.sandbox import Sandbox

from .helpers import buffered, secrets_of

KEYS = ["base_url", "instance", "username", "password", "access_token", "client_id", "client_secret"]


class Serving:
    """`domokit sandbox …` in a process of its own, until the block ends."""

    def __init__(self, *options):
        arguments = [sys.executable, "-m", "domokit", "sandbox", "--port", "0", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(arguments, **pipes, env=buffered())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def facts(self):
        """The line that it prints when it is ready."""
        assert select.select([self.process.stdout], [], [], 60)[0], "nothing was printed"
        return json.loads(self.process.stdout.readline())

    def stop(self, number=signal.SIGTERM):
        """Ask it to end; return (exit code, rest of stdout, stderr)."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def sign_in(facts):
    body = {"method": "password", "emailAddress": facts["username"], "password": facts["password"]}
    answer = httpx.post(facts["base_url"] + "/api/content/v2/authentication", json=body, trust_env=False).json()
    return {"X-Domo-Authentication": answer["sessionToken"]}


def test_json_line_signal_and_state(tmp_path):
    state = tmp_path / "company.json"
    with Serving("--json", "--state", str(state), "--users", "3", "--instance", "initech") as serving:
        facts = serving.facts()
        assert list(facts) == KEYS
        assert facts["instance"] == "initech"
        headers = sign_in(facts)
        users = httpx.get(facts["base_url"] + "/api/content/v3/users", headers=headers, trust_env=False).json()
        assert len(users) == 3
        config = {"name": "kept", "displayName": "kept", "dataProviderType": "domo-csv", "configurations": {}}
        httpx.post(facts["base_url"] + "/api/data/v1/accounts", json=config, headers=headers, trust_env=False)
        code, out, err = serving.stop()
    assert (code, out, err) == (0, "", "")
    assert state.stat().st_mode & 0o777 == 0o600

    with Serving("--json", "--state", str(state)) as serving:
        again = serving.facts()
        assert {**again, "base_url": ""} == {**facts, "base_url": ""}
        accounts = httpx.get(again["base_url"] + "/api/data/v1/accounts", headers=sign_in(again), trust_env=False)
        assert "kept" in accounts.text
        code, out, err = serving.stop(signal.SIGINT)
    assert (code, out, err) == (0, "", "")


@pytest.fixture
def not_serving(monkeypatch):
    """Says that it is served, without waiting for a signal."""
    made = []

    def run(served, *, on_ready):
        made.append((served.sandbox, served.host, served.port))
        with served as sandbox:
            on_ready(sandbox)

    monkeypatch.setattr("domokit.sandbox.serve.run", run)
    return made


def test_readable_output_leads_the_other_commands_to_it(bare, not_serving, monkeypatch):
    out = bare("sandbox", "--port", "0", "--users", "5").out
    (sandbox, host, _port) = not_serving[0]
    assert host == "127.0.0.1"
    assert "5 made-up people" in out
    for key in KEYS:
        assert key.replace("_", " ") in out
    exports = [line.removeprefix("export ") for line in out.splitlines() if line.startswith("export ")]
    assert [line.partition("=")[0] for line in exports] == [
        "DOMO_BASE_URL", "DOMO_INSTANCE", "DOMO_USERNAME", "DOMO_PASSWORD",
    ]  # fmt: skip
    assert f"# export DOMO_ACCESS_TOKEN={sandbox.access_token}" in out
    assert f"# export DOMO_CLIENT_SECRET={sandbox.client_secret}" in out
    environment = dict(line.split("=", 1) for line in exports)
    environment["DOMO_BASE_URL"] = ""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with sandbox.serve() as again:
        monkeypatch.setenv("DOMO_BASE_URL", again.base_url)
        assert sandbox.username in bare("whoami").out


def test_the_check_for_secrets_finds_them_here(bare, not_serving):
    """This command prints secrets, so the check that all other tests rely on must fail on it."""
    ran = bare("sandbox", "--port", "0", "--json")
    bare.seen |= secrets_of(not_serving[0][0])
    with pytest.raises(AssertionError, match="a secret on stdout"):
        bare.shows_no_secret(ran)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_other_machines_are_kept_out(bare, not_serving, host):
    ran = bare("sandbox", "--host", host, code=2)
    assert "--allow-remote" in ran.err
    assert not_serving == []


def test_other_machines_are_let_in_when_wanted(bare, not_serving):
    bare("sandbox", "--host", "0.0.0.0", "--port", "0", "--allow-remote", "--json")
    assert not_serving[0][1] == "0.0.0.0"


def test_a_port_that_is_taken_is_told(bare):
    with Sandbox().serve() as other:
        port = other.base_url.rpartition(":")[2]
        ran = bare("sandbox", "--port", port, "--json", code=2)
    assert ran.out == ""
    assert "--port" in ran.error["hint"]


def test_what_does_not_fit_is_told(bare, tmp_path, not_serving):
    state = tmp_path / "company.json"
    bare("sandbox", "--port", "0", "--state", str(state), "--json")
    assert "'acme', not 'other'" in bare("sandbox", "--state", str(state), "--instance", "other", code=2).err
    assert "is not a Domo instance" in bare("sandbox", "--instance", "no way", code=2).err
    bare("sandbox", "--users", "0", code=2)
    state.write_text("{}")
    assert "state file" in bare("sandbox", "--state", str(state), code=2).err
    nowhere = tmp_path / "nowhere" / "company.json"
    assert "nowhere" in bare("sandbox", "--port", "0", "--state", str(nowhere), code=2).err


def test_values_are_quoted_for_the_shell(capsys):
    class Odd:
        state = Sandbox(users=1).state
        base_url = "http://127.0.0.1:1"

        def credentials(self):
            return dict.fromkeys(KEYS, "a'b $c")

    command._print_table(Odd())
    assert """export DOMO_PASSWORD='a'"'"'b $c'""" in capsys.readouterr().out
