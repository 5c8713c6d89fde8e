"""The state file: JSON, readable by its owner only from the first byte, replaced in one step."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import fields
from pathlib import Path
from typing import Any

from .model import (
    AccessToken,
    Account,
    ApiClient,
    Bearer,
    Dataset,
    DataVersion,
    Execution,
    Group,
    IndexRequest,
    Policy,
    Role,
    Session,
    Stream,
    Upload,
    User,
)
from .state import State

VERSION = 1
TABLES: dict[str, type[Any]] = {
    "users": User,
    "groups": Group,
    "roles": Role,
    "access_tokens": AccessToken,
    "accounts": Account,
    "api_clients": ApiClient,
    "sessions": Session,
    "bearers": Bearer,
    "datasets": Dataset,
    "data_versions": DataVersion,
    "uploads": Upload,
    "index_requests": IndexRequest,
    "streams": Stream,
    "executions": Execution,
    "policies": Policy,
}


class StateFileError(ValueError):
    """The state file cannot be used; it was left untouched."""


def dump(state: State, clock_offset: float, credentials: dict[str, Any]) -> bytes:
    """Everything worth keeping, as JSON. It holds secrets in clear."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, kind in TABLES.items():
        names = [each.name for each in fields(kind)]
        rows = list(getattr(state, name).values())
        tables[name] = [{key: getattr(row, key) for key in names} for row in rows]
    document = {
        "version": VERSION,
        "instance": state.instance,
        "clock_offset": clock_offset,
        "credentials": credentials,
        "next_ids": state.next_ids,
        "signing_key": state.signing_key,
        "cookies": state.cookies,
        "tables": tables,
    }
    return json.dumps(document, separators=(",", ":"), default=sorted).encode()  # sorted: sets


def load(path: Path) -> tuple[State, float, dict[str, Any]]:
    """(state, clock offset in seconds, credentials) from a file. Raises StateFileError."""
    try:
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise StateFileError(f"{path}: version {document['version']!r} of the state file is not known")
        state = State(document["instance"])
        state.next_ids = document["next_ids"]
        state.signing_key = document["signing_key"]
        state.cookies = document["cookies"]
        for name, kind in TABLES.items():
            table = getattr(state, name)
            for row in document["tables"].get(name, []):  # a file of an older release lacks some
                table[row["id"]] = kind(**row)
        for group in state.groups.values():
            group.user_ids = set(group.user_ids)
            group.owners = [(kind, owner) for kind, owner in group.owners]
        credentials = document["credentials"]
        if credentials["admin_id"] not in state.users:
            raise KeyError("admin_id")
        state.index()
        return state, float(document["clock_offset"]), credentials
    except StateFileError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # No text of the file in the message: it may hold secrets.
        raise StateFileError(
            f"{path} is not a sandbox state file ({type(error).__name__}); move it away or name another"
        ) from None


def write(path: Path, content: bytes) -> None:
    """Replace `path` in one step with a file that only its owner can read."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
