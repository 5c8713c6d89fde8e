"""How it goes: what a keeper tells about each credential, in a file that others read. No secret is in it."""

import contextlib
import json
import os
import secrets
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import attrs

from domokit._runtime import from_wire, utc_now
from domokit.errors import InvalidInputError

State = Literal["waiting", "fresh", "failing", "stopped"]
_SILENT = timedelta(seconds=90)  # a keeper that has not written for so long is not there any more


@attrs.define(kw_only=True)
class CredentialStatus:
    """One credential.

    state:         'waiting' (not looked at yet), 'fresh', 'failing' (see last_error; it may still be valid until
                   expires_at), or 'stopped'.
    fingerprint:   of the access token; for an access token of Domo's own, of one that this keeper has made.
    renewals, adopted, failures:  since the keeper began: made by it, taken over from another, gone wrong.
    next_at:       when it will be looked at again.
    published:     where others read it.
    """

    name: str
    kind: str
    state: State = "waiting"
    fingerprint: str | None = None
    last_renewal: datetime | None = None
    expires_at: datetime | None = None
    next_at: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    needs_human: bool = False
    renewals: int = 0
    adopted: int = 0
    failures: int = 0
    published: list[str] = attrs.field(factory=list)

    def to_dict(self) -> dict[str, Any]:
        return attrs.asdict(self)


@attrs.define(kw_only=True)
class KeepStatus:
    """One keeper: where it runs, since when, and each of its credentials.

    config_error:  why the configuration, as it is in the file now, is not what the keeper works by.
    """

    config: str
    host: str = attrs.field(factory=socket.gethostname)
    pid: int = attrs.field(factory=os.getpid)
    started_at: datetime = attrs.field(factory=utc_now)
    written_at: datetime = attrs.field(factory=utc_now)
    ended_at: datetime | None = None
    config_error: str | None = None
    credentials: list[CredentialStatus] = attrs.field(factory=list)

    @property
    def is_running(self) -> bool:
        """Whether the keeper is at work, as far as can be seen from here."""
        if self.ended_at is not None:
            return False
        if self.host == socket.gethostname() and os.name == "posix":
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
            except PermissionError:
                pass  # it is another user's
        return utc_now() - self.written_at < _SILENT

    @property
    def has_died(self) -> bool:
        """Whether it is not at work and was not told to end: it was killed, or its machine went down."""
        return self.ended_at is None and not self.is_running

    def to_dict(self) -> dict[str, Any]:
        return {**attrs.asdict(self), "is_running": self.is_running, "has_died": self.has_died}

    def write(self, path: Path) -> None:
        """Replace the file, whole, readable for its owner only. Raises: OSError."""
        self.written_at = utc_now()
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(attrs.asdict(self), file, indent=1, default=datetime.isoformat)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def read_status(path: Path) -> KeepStatus:
    """What the keeper told last. Raises: InvalidInputError, if it has told nothing that can be read."""
    try:
        document = json.loads(path.read_bytes())
        credentials = [_with_times(CredentialStatus, one) for one in document.pop("credentials")]
        return attrs.evolve(_with_times(KeepStatus, document), credentials=credentials)
    except FileNotFoundError:
        raise InvalidInputError(
            f"no keeper has written {path} yet", hint="Start one: domokit keep CONFIG.toml"
        ) from None
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InvalidInputError(f"{path} is not the status of a keeper") from None


def _with_times(kind: type[Any], document: dict[str, Any]) -> Any:
    known = {field.name for field in attrs.fields(kind)}
    values = {name: value for name, value in document.items() if name in known}
    for name, value in values.items():
        if name.endswith("_at") or name == "last_renewal":
            values[name] = from_wire(value)
    return kind(**values)
