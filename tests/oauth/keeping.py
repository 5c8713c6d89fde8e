"""Starts, watches, stops and kills the processes of `keeping_process.py`, and looks at what they leave behind."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import anyio
import pytest
import redis

from domokit._secrets import Secret
from domokit.oauth.record import TokenRecord
from domokit.stores import FileStore, RedisStore

CLIENT_ID, CLIENT_SECRET = "keeper", "secret-canary-of-the-client"
USER, PASSWORD = "ann", "secret-canary-of-ann"
SECONDS = 60.0  # at most, for whatever takes a moment

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def fingerprint(token):
    return sha256(token.encode()).hexdigest()[:12]


class Running:
    """One process, and all that it said."""

    def __init__(self, pid, changed):
        self.pid = pid
        self.said = []
        self.ended = None  # its exit status; minus the signal that killed it
        self._changed = changed

    def signal(self, number):
        os.kill(self.pid, number)

    def sleeps(self):
        """Return once all of its threads are stopped."""
        until(lambda: set(self._states()) <= {"T"})

    def _states(self):
        for one in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # a thread that has ended
                yield one.read_text().rpartition(")")[2].split()[0]

    def find(self, **like):
        return [one for one in self.said if like.items() <= one.items()]

    def wait_for(self, seconds=SECONDS, count=1, **like):
        """What it said that is like this, once it has said it, or said it `count` times."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.find(**like)) >= count or self.ended is not None, seconds):
                raise TimeoutError(f"{self.pid} has not said {like} in {seconds} seconds, but {self.said}")
        found = self.find(**like)
        assert len(found) >= count, f"{self.pid} ended with {self.ended} and never said {like}, but {self.said}"
        return found[count - 1]

    def finish(self, expected=0, seconds=SECONDS):
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended is not None, seconds):
                raise TimeoutError(f"{self.pid} has not ended in {seconds} seconds, and said {self.said}")
        assert self.ended == expected, self.said
        return self

    def events(self, kind=None):
        return [one for one in self.said if "event" in one and kind in (None, one["event"])]

    def did(self, step):
        """How its steps of this name ended, in their order."""
        return self.find(did=step)


class Processes:
    """Where the processes come from: one program that has everything loaded, and forks."""

    def __init__(self):
        self.changed = threading.Condition()
        self.known = {}
        self.raw = []
        self._started = {}
        self._numbers = itertools.count(1)
        self._programs = []
        self._server = self._open()

    def close(self):
        self._server.stdin.close()
        for program, reader in self._programs:
            program.wait(SECONDS)
            reader.join(SECONDS)
            program.stdout.close()

    def _open(self, *arguments):
        program = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("keeping_process.py")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        reader = threading.Thread(target=self._read, args=(program, bool(arguments)), daemon=True)
        reader.start()
        self._programs.append((program, reader))
        return program

    def _read(self, program, alone):
        for line in program.stdout:
            what = json.loads(line)
            with self.changed:
                self.raw.append(line)
                if "started" in what:
                    self._started[what["number"]] = self._of(what["started"])
                elif "ended" in what:
                    self._of(what["pid"]).ended = os.waitstatus_to_exitcode(what["ended"])
                else:
                    self._of(what["pid"]).said.append(what)
                self.changed.notify_all()
        if alone:
            status = program.wait()
            with self.changed:
                self._of(program.pid).ended = status
                self.changed.notify_all()

    def _of(self, pid):
        if pid not in self.known:
            self.known[pid] = Running(pid, self.changed)
        return self.known[pid]

    def forget(self):
        """Kill what still runs, and give back all that was said."""
        with self.changed:
            for running in self.known.values():
                if running.ended is None:
                    for number in (signal.SIGKILL, signal.SIGCONT):
                        with contextlib.suppress(ProcessLookupError):
                            running.signal(number)
            self.known, self._started, raw, self.raw = {}, {}, self.raw, []
            return raw

    def fork(self, order):
        number = next(self._numbers)
        with self.changed:
            _send(self._server, {**order, "number": number})
            assert self.changed.wait_for(lambda: number in self._started, SECONDS)
            return self._started[number]

    def alone(self, order):
        program = self._open("alone")
        _send(program, order)
        program.stdin.close()
        with self.changed:
            return self._of(program.pid)


def _send(program, order):
    program.stdin.write(json.dumps(order) + "\n")
    program.stdin.flush()


class Keepers:
    """Processes with a keeper for one client of a server; what is the same for all of them is said once, in `common`.

    Leaving it kills what still runs, and then looks for every secret in all that the processes said and logged.
    """

    def __init__(self, server, processes, directory, **common):
        self.server = server
        self.processes = processes
        self.directory = Path(directory)
        self.state = self.directory / "state"
        self.log = self.directory / "log"
        self.common = {
            "client": {"token_url": server.token_url, "id": CLIENT_ID, "secret": CLIENT_SECRET},
            "file": None if "redis" in common else str(self.directory / "store" / "tokens.json"),
            "log": str(self.log),
            "state": str(self.state),
            **common,
        }
        self.is_quiet = True  # whether no traceback is to be expected in the log
        server.add_client(CLIENT_ID, CLIENT_SECRET)
        server.add_user(USER, PASSWORD)

    def __enter__(self):
        return self

    def __exit__(self, kind=None, *rest):
        said = self.processes.forget()
        if kind is None:
            self.assert_nothing_shows(said)

    def assert_nothing_shows(self, said):
        log = self.log.read_text(errors="replace")
        assert "DEBUG:domokit." in log
        for secret in (*self.server.issued, CLIENT_SECRET, PASSWORD):
            assert secret not in log
            assert not any(secret in line for line in said)
        if self.is_quiet:
            assert "Traceback" not in log, log[-6000:]
        assert "never retrieved" not in log, log[-6000:]

    def start(self, *steps, **order):
        """A process that does these steps: texts, or lists with arguments. It runs when this returns."""
        return self.processes.fork(self._order(steps, order))

    def alone(self, *steps, **order):
        """The same as a program of its own."""
        return self.processes.alone(self._order(steps, order))

    def _order(self, steps, order):
        return {**self.common, **order, "steps": steps}

    def run(self, *steps, **order):
        """A process that does these steps, once it has ended well."""
        return self.start(*steps, **order).finish()

    def children_of(self, parent, count):
        with self.processes.changed:
            found = []

            def are_there():
                found[:] = [one for one in self.processes.known.values() if one.find(did="forked", parent=parent.pid)]
                return len(found) == count

            assert self.processes.changed.wait_for(are_there, SECONDS)
            return found

    def stop_file(self, name="stop"):
        """The path of a file that does not exist yet."""
        return self.directory / name

    # -- tokens

    def issue(self, lifetime=None):
        """Access and refresh token of a new family, as `seed` for an order."""
        access, refresh = self.server.issue(CLIENT_ID, USER)
        return {
            "access_token": access,
            "refresh_token": refresh,
            "lifetime": self.server.lifetime if lifetime is None else lifetime,
        }

    @property
    def family(self):
        return self.server.families[-1]

    def presented(self):
        """The refresh tokens that were presented, in their order."""
        return [one.refresh_token for one in self.server.requests if one.grant == "refresh_token"]

    def assert_each_spent_once(self):
        """Each refresh token of the one family was presented once, in turn, but for the last."""
        assert len(self.server.families) == 1
        assert self.presented() == self.family.refresh[:-1]
        assert self.server.refreshes == len(self.family.access) - 1 == len(self.presented())
        assert not self.server.reuses

    def assert_no_reuse_while_alive(self, *processes):
        """Whoever presented a refresh token another time knew its access token to be dead."""
        started = [one for running in processes or self.processes.known.values() for one in running.events("started")]
        reused = {fingerprint(one.refresh_token) for one in self.server.reuses}
        for spent in reused & {one["spent"] for one in started}:
            again = [one["remaining"] for one in started if one["spent"] == spent]
            assert len(again) >= 2
            assert sum(remaining > 0 for remaining in again) <= 1, again

    # -- the store

    @property
    def path(self):
        return Path(self.common["file"])

    def store(self):
        if url := self.common.get("redis"):
            return RedisStore(url, **self.common["options"])
        return FileStore(self.path)

    @contextlib.contextmanager
    def _as_user(self):
        """As the user whom the processes run as."""
        user_id = self.common.get("user_id")
        if user_id is not None:
            os.seteuid(user_id)
        try:
            yield
        finally:
            if user_id is not None:
                os.seteuid(0)

    def record(self):
        """What the store holds; read anew, and with a key that is the only one."""
        with self._as_user():
            found = anyio.run(self._load)
        return None if found is None else TokenRecord.decoded(found[1].text, found[0])

    async def _load(self):
        async with self.store() as store:
            keys = await store.keys()
            assert len(keys) <= 1
            return (keys[0], await store.load(keys[0])) if keys else None

    def let_time_pass(self, seconds):
        """For the server, and for what the store holds: as if it had been written so long ago."""
        self.server.advance(seconds)
        with self._as_user():
            anyio.run(self._age, seconds)

    async def _age(self, seconds):
        async with self.store() as store:
            (key,) = await store.keys()
            stored = await store.load(key)
            document = json.loads(stored.text.reveal())
            for part, names in (("token", ("obtained_at", "expires_at")), ("spending", ("since",))):
                for name in names:
                    if document[part]:
                        document[part][name] -= seconds
            await store.save(key, Secret(json.dumps(document)), replacing=stored.version)

    def lapse(self):
        """Have the leases of Redis end that a dead process left."""
        with redis.Redis.from_url(self.common["redis"]) as client:
            for name in client.scan_iter(match=f"{self.common['options']['prefix']}*:lock"):
                client.delete(name)

    def left_behind(self):
        """Files beside the store's own."""
        own = {self.path.name, self.path.name + ".locks"}
        return sorted({one.name for one in self.path.parent.iterdir()} - own)


def until(condition, seconds=SECONDS):
    """Return once something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)
