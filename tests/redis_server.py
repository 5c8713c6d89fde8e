"""A real redis-server of the tests' own: on a free port, in a scratch directory, gone with the tests."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

REQUIRED = "DOMOKIT_TESTS_REQUIRE_REDIS"  # set where a missing server must not go unnoticed


class RedisServer:
    """`redis-server`, running from `start()` to `stop()`, which may be called again and again; the port stays.

    options:  of redis.conf, with '_' for '-', such as maxmemory="2mb".
    What it holds is lost when it stops, unless the options say otherwise.
    """

    def __init__(self, directory, *, password=None, **options):
        self.directory = Path(directory)
        self.password = password
        self.options = {name.replace("_", "-"): str(value) for name, value in options.items()}
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        given = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
            **self.options,
        }
        if self.password:
            given["requirepass"] = self.password
        config = self.directory / "redis.conf"
        config.write_text("".join(f'{name} "{value}"\n' for name, value in given.items()))
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([program(), str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start: {(self.directory / 'redis.log').read_text()[-2000:]}")
            time.sleep(0.01)
        return self

    def stop(self):
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def pause(self):
        """Let it hang: connections are accepted, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words):
        """What the server answers to a command."""
        import redis

        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*words)

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def __enter__(self):
        return self.start()

    def __exit__(self, *error):
        self.stop()


def program():
    """The path of redis-server. Skips the test where there is none; fails it where there must be one."""
    if (found := shutil.which("redis-server")) is None:
        reason = "redis-server is not installed (Debian package redis-server)"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """One server for all tests that leave it as it is. Import it into a conftest.py."""
    program()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server):
    return redis_server.url
