"""Fixtures of the stores' tests: a Redis server, processes that use stores, and small disks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.redis_server import redis_server, redis_url

__all__ = ["redis_server", "redis_url"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path, monkeypatch):
    """The locks of keyrings lie in the user's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Child:
    """A process at work with a store; see `store_process`."""

    def __init__(self, pid, output):
        self.pid = pid
        self.output = output

    def said(self):
        return self.output.read_text().splitlines() if self.output.exists() else []

    def wait_for(self, word, seconds=60):
        """The first line that starts with a word; an error if the process ends without saying it."""
        deadline = time.monotonic() + seconds
        while True:
            lines = self.said()
            for line in lines:
                if line.split()[:1] == [word]:
                    return line
            if lines[-1:] in (["failed"], ["done"]) or time.monotonic() > deadline:
                raise AssertionError(f"{word!r} was not said, but:\n" + "\n".join(lines))
            time.sleep(0.003)

    def kill(self):
        """SIGKILL; return once it is gone."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            while True:
                os.kill(self.pid, 0)
                time.sleep(0.001)
        except ProcessLookupError:
            pass


class Processes:
    def __init__(self, directory):
        self.directory = directory
        self.children = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stores.store_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def start(self, work, store, **arguments):
        output = self.directory / f"child-{len(self.children)}.txt"
        order = {"work": work, "store": store, "output": str(output), "arguments": arguments}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.children.append(Child(int(self._process.stdout.readline()), output))
        return self.children[-1]

    def close(self):
        for child in self.children:
            child.kill()
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def _processes(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("needs fork and SIGKILL")
    running = Processes(tmp_path_factory.mktemp("children"))
    yield running
    running.close()


@pytest.fixture
def processes(_processes):
    """Starts children that use stores; those of a test end with it."""
    first = len(_processes.children)
    yield _processes
    for child in _processes.children[first:]:
        child.kill()


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a file system of 256 KiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    options = ["-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(place)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
