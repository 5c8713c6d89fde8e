"""Rotation in real processes against a served sandbox: killed with SIGKILL at every request, and many at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domokit.entities.account_config import AbstractCredentialStore
from domokit.sandbox import Sandbox

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
NAME, LABEL = "nightly", "nightly token"
PROVIDERS = ["abstract-credential-store", "domo-access-token"]


class Rotations:
    """A sandbox on a port, and processes that rotate one token on it."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.owner_id = sandbox.signs_in(sandbox.access_token)
        self.pids = []
        environment = {
            **os.environ,
            "DOMO_BASE_URL": sandbox.base_url,
            "DOMO_INSTANCE": sandbox.instance,
            "DOMO_USERNAME": sandbox.username,
            "DOMO_PASSWORD": sandbox.password,
        }
        script = Path(__file__).with_name("rotating_process.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def start(self, count=1, **arguments):
        given = {"owner_id": self.owner_id, "name": NAME, "account": LABEL, **arguments}
        self.process.stdin.write(json.dumps({"count": count, "arguments": given}) + "\n")
        self.process.stdin.flush()
        self.pids = json.loads(self.process.stdout.readline())["pids"]

    def finish(self):
        return [json.loads(self.process.stdout.readline()) for _ in self.pids]

    def run(self, count=1, **arguments):
        self.start(count, **arguments)
        return self.finish()

    def living(self):
        now = self.sandbox.clock.now().timestamp() * 1000
        tokens = self.sandbox.state.access_tokens.values()
        return {one.id for one in tokens if one.name == NAME and one.owner_id == self.owner_id and one.expires > now}

    def accounts(self):
        return [one for one in self.sandbox.state.accounts.values() if one.display_name.startswith(LABEL)]

    def stored(self, provider):
        config = self.sandbox.account_config(self.accounts()[0].id)
        if provider == "domo-access-token":
            return config["domoAccessToken"]
        return AbstractCredentialStore(config["credentials"]).decoded()["access_token"].reveal()

    def assert_account_works(self, provider):
        assert self.sandbox.signs_in(self.stored(provider)) == self.owner_id


@pytest.fixture
def rotations():
    with Sandbox().serve() as sandbox:
        running = Rotations(sandbox)
        yield running
        running.close()


def kill_at(rotations, phase, position):
    """Kill the running rotation as its request number `position` is received or acted upon; returns a stop function."""
    seen = []

    def watch(now, request):
        if now == phase:
            seen.append(request)
            if len(seen) == position:
                while not rotations.pids:  # it may be quicker than the word of who it is
                    time.sleep(0.001)
                os.kill(rotations.pids[0], signal.SIGKILL)

    return rotations.sandbox.watch(watch)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("first_time", [True, False], ids=["first rotation", "later rotation"])
@pytest.mark.parametrize("phase", ["received", "acted"])
def test_t02_killed_at_every_request_the_next_run_converges(rotations, provider, first_time, phase):
    killed = 0
    for position in range(1, 40):
        for account in rotations.accounts():
            del rotations.sandbox.state.accounts[account.id]
        if not first_time:
            assert rotations.run(provider=provider)[0]["status"] == 0

        stop = kill_at(rotations, phase, position)
        rotations.pids = []
        rotations.start(provider=provider)
        (ended,) = rotations.finish()
        stop()
        if ended["status"] == 0:  # it ended before that many requests
            break
        assert os.WIFSIGNALED(ended["status"])
        killed += 1
        if not first_time or rotations.accounts():
            rotations.assert_account_works(provider)

        (after,) = rotations.run(provider=provider)
        assert after["status"] == 0, after
        rotations.assert_account_works(provider)
        assert rotations.living() == {after["report"]["generated"]["id"]}
        assert len(rotations.accounts()) == 1
    assert killed >= 8


@pytest.mark.parametrize("provider", PROVIDERS)
def test_killed_at_every_request_a_run_with_min_remaining_leaves_a_working_account_too(rotations, provider):
    """What cron does: after the kill the next run may find nothing to do, but never trusts a token nobody holds."""
    for position in range(1, 40):
        assert rotations.run(provider=provider)[0]["status"] == 0
        stop = kill_at(rotations, "acted", position)
        rotations.pids = []
        rotations.start(provider=provider)
        (ended,) = rotations.finish()
        stop()
        (after,) = rotations.run(provider=provider, min_remaining=7)
        assert after["status"] == 0, after
        rotations.assert_account_works(provider)
        assert len(rotations.living()) == 1
        if ended["status"] == 0:
            break


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("readable", [True, False], ids=["readable account", "masked account"])
@pytest.mark.parametrize("first_time", [True, False], ids=["first rotation", "later rotation"])
def test_eight_processes_at_once_end_with_a_working_token(rotations, provider, readable, first_time):
    for _ in range(2):
        for account in rotations.accounts():
            del rotations.sandbox.state.accounts[account.id]
        if not first_time:
            rotations.run(provider=provider, allow_external_use=readable)
        rotations.sandbox.misbehave("latency", seconds=0.005, times=None)
        ended = rotations.run(8, provider=provider, allow_external_use=readable)
        rotations.sandbox.heal()

        assert [one["status"] for one in ended] == [0] * 8, ended
        rotations.assert_account_works(provider)
        assert len(rotations.accounts()) == 1
        named = {one["report"]["generated"]["id"] for one in ended if one["report"]["generated"]}
        assert rotations.living() <= named
        assert any(one["report"]["generated"] for one in ended)

        (after,) = rotations.run(provider=provider)
        assert rotations.living() == {after["report"]["generated"]["id"]}
