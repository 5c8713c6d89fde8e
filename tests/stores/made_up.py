"""Things the stores' tests make up: a keyring, and processes of their own."""

import json
from pathlib import Path

from domokit.stores.locks import FileLocks


class MadeUpKeyring:
    """A keyring whose entries are files, so that several objects and processes may have the same.

    longest:  characters of an entry, as on Windows.
    dies_at:  the number of the writing call in which the process "is killed": it raises `Killed` instead.
    """

    def __init__(self, directory, longest=1280, dies_at=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.longest = longest
        self.dies_at = dies_at
        self.writes = 0
        self.calls = 0

    def get_password(self, service, username):
        self.calls += 1
        try:
            return json.loads(self._path(service, username).read_text())
        except FileNotFoundError:
            return None

    def set_password(self, service, username, password):
        self._write()
        if len(password.encode("utf-16-le")) > 2 * self.longest:
            raise OSError(1783, "The stub received bad data", "CredWrite")
        path = self._path(service, username)
        with FileLocks(self.directory).lock_blocking("one-at-a-time", 10):
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(password))
            beside.replace(path)

    def delete_password(self, service, username):
        self._write()
        self._path(service, username).unlink()

    def names(self):
        return sorted(json.loads(bytes.fromhex(path.stem))[1] for path in self.directory.glob("*.entry"))

    def _write(self):
        self.calls += 1
        self.writes += 1
        if self.dies_at is not None and self.writes > self.dies_at:
            raise Killed

    def _path(self, service, username):
        return self.directory / f"{json.dumps([service, username]).encode().hex()[:240]}.entry"


class Killed(BaseException):
    """The process is no more: nothing of it runs afterwards, as far as a test can do that."""
