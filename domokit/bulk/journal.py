"""The state file of a load that may be resumed: what was cut, and which parts have arrived."""

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from domokit.errors import InvalidInputError

_VERSION = 1


class Journal:
    """Written after each step, replaced as a whole, readable by its owner only; it holds neither rows nor secrets.

    path:   the file; it is made when the load begins, and removed when its rows have landed.
    facts:  what must be the same for a load to be gone on with: the DataSet, the columns, the size of parts …
    """

    def __init__(self, path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._facts = dict(facts)
        self._handle: Mapping[str, Any] | None = None
        self._parts: dict[int, str] = {}
        self._is_committing = False
        self.is_good: bool = False  # whether what is known stands in the file
        self._is_ours = False  # whether the file is of this load, and may be removed
        # Whether other data was given than what the load began with: nobody may abort it for that.
        self.is_disputed: bool = False

    def read(self) -> Mapping[str, Any] | None:
        """The handle of the load that the file tells of; None if there is no file, or nothing had begun.

        Raises: InvalidInputError, if the file tells of another load, or cannot be read.
        """
        try:
            kept = json.loads(self.path.read_bytes())
            facts, handle = kept["facts"], kept["handle"]
            self._parts = {int(number): digest for number, digest in kept["parts"].items()}
            self._is_committing = kept["committing"]
            known = kept["version"] == _VERSION
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            known, facts, handle = False, {}, None
        if not known:
            raise self.not_ours()
        if handle is None:
            return None
        if facts != json.loads(json.dumps(self._facts)):
            differing = ", ".join(name for name in self._facts if facts.get(name) != self._facts[name])
            raise InvalidInputError(
                f"{self.path} tells of another load (it differs in {differing})",
                hint="Remove the file to begin anew; what that load left open is then Domo's to forget.",
            )
        self._handle = handle
        self.is_good = self._is_ours = True
        return handle

    def not_ours(self) -> InvalidInputError:
        """The error for a file that somebody else may need: it stays."""
        self.is_good = self._is_ours = False
        return InvalidInputError(f"{self.path} is no state file of a load; name another, or move it away")

    @property
    def is_committing(self) -> bool:
        """Whether the load had come to its commit, of which the outcome is not known."""
        return self._is_committing

    def has(self, part: int, body: bytes) -> bool:
        """Whether this part has arrived already. Raises: InvalidInputError, if it was not the same rows."""
        kept = self._parts.get(part)
        if kept is None and not self._is_committing:
            return False
        if kept != _digest(body):
            self._dispute(f"part {part} is not what it was when the load began")
        return True

    def ends_with(self, parts: int) -> None:
        """Raises: InvalidInputError, if more parts than this have arrived."""
        if max(self._parts, default=0) > parts:
            self._dispute(f"the data has {parts} parts, fewer than when the load began")

    def _dispute(self, what: str) -> None:
        self.is_disputed = True
        raise InvalidInputError(
            f"{what}, so it cannot be gone on with",
            hint=f"Give the same data, or remove {self.path} to begin anew.",
        )

    def open(self) -> None:
        """Make the file. Raises: InvalidInputError, if that cannot be done; nothing needs to be sent then."""
        self.began(None)

    def began(self, handle: Mapping[str, Any] | None) -> None:
        self._handle, self._parts, self._is_committing = handle, {}, False
        self._write()

    def arrived(self, part: int, body: bytes) -> None:
        self._parts[part] = _digest(body)
        self._write()

    def committing(self, handle: Mapping[str, Any]) -> None:
        self._handle, self._is_committing = handle, True
        self._write()

    def close(self) -> None:
        """The load is over, in one way or another."""
        if self._is_ours:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        document = {
            "version": _VERSION,
            "facts": self._facts,
            "handle": self._handle,
            "parts": self._parts,
            "committing": self._is_committing,
        }
        self.is_good = False
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}.tmp")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(document, file)
            os.replace(temporary, self.path)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(error, (OSError, ValueError)):
                raise self._unusable(error) from error
            raise
        self.is_good = self._is_ours = True

    def _unusable(self, error: Exception) -> InvalidInputError:
        return InvalidInputError(f"resume: {self.path} cannot be used as a state file: {error}")


def _digest(body: bytes) -> str:
    """The checksum and the size of the CSV, with which gzip ends. The same CSV is not always compressed to the same."""
    return body[-8:].hex()
