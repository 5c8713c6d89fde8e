"""What is in the file of a `FileStore`, and whether a file is one at all."""

import json
from pathlib import Path
from typing import Any

import attrs

from domokit._secrets import Secret
from domokit.errors import DomoError, InvalidInputError, StoreCorruptError, StoreError
from domokit.stores.base import Member
from domokit.stores.versions import number_of

SCHEMA = 1
_BEGINNING = b'{"domokit":"tokens"'  # of every one, but for blanks
_BLANKS = b" \t\r\n\0"  # a file system that went down may have left zeros


@attrs.frozen
class Document:
    """What the file holds. Its entries have secret texts, hence they are in no repr, and in no variable elsewhere."""

    entries: dict[str, dict[str, str]] = attrs.field(factory=dict, repr=False)

    def version(self, key: str) -> str | None:
        return self.entries[key]["version"] if key in self.entries else None

    def get(self, key: str) -> tuple[Member, Secret, str] | None:
        """How a text is kept, what is kept, and its version."""
        if key not in self.entries:
            return None
        member: Member = "text" if "text" in self.entries[key] else "sealed"
        return member, Secret(self.entries[key][member]), self.entries[key]["version"]

    def put(self, key: str, version: str, member: Member, content: Secret) -> None:
        self.entries[key] = {"version": version, member: content.reveal()}

    def encoded(self) -> bytes:
        return json.dumps({"domokit": "tokens", "schema": SCHEMA, "entries": self.entries}, indent=1).encode()


@attrs.frozen
class Refused:
    """A file that is left as it is, and why.

    is_ours:  whether it is one of tokens all the same.
    """

    error: DomoError
    is_ours: bool = False


def parsed(content: bytes, path: Path) -> Document | Refused | None:
    """What a file holds; None if it is one of ours, or what may be left of one, and cannot be read.

    An error is given back, not raised: a traceback from here would show the content.
    """
    document = _decoded(content)
    if "access_token" in document and "entries" not in document:
        return Refused(
            InvalidInputError(
                f"{path} holds the bare answer of a token endpoint",
                hint="Read it with read_token_file(path), give that to keeper.adopt(), and name another file here.",
            )
        )
    if document.get("domokit") != "tokens":
        return None if _may_be_the_rest_of_one(content) else Refused(_foreign(path))
    try:
        if document["schema"] > SCHEMA:
            error = StoreError(
                f"{path} was written by a newer domokit (schema {int(document['schema'])})",
                hint="Use that version, or another file.",
            )
            return Refused(error, is_ours=True)
        entries: dict[str, Any] = document["entries"]
        good = all(
            number_of(entry["version"]) > 0 and isinstance(entry["text"] if "text" in entry else entry["sealed"], str)
            for entry in entries.values()
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return Document(entries) if good else None


def _decoded(content: bytes) -> dict[str, Any]:
    """The members of a JSON object; none if it is no such thing."""
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _may_be_the_rest_of_one(content: bytes) -> bool:
    """Whether it begins as a file of tokens does, as far as it goes."""
    return _BEGINNING.startswith(content.translate(None, _BLANKS)[: len(_BEGINNING)])


def _foreign(path: Path) -> StoreError:
    return StoreCorruptError(
        f"{path} is no file of tokens", hint="It was left as it is: name another file, or move this one away."
    )
