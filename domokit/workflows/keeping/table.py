"""Reads one table of a configuration file, member by member; what is wrong or left over is named by its path."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from domokit.errors import InvalidInputError
from domokit.workflows.keeping.references import Reference

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Table:
    """The members of a table, each to be asked for once, and `done()` at the end.

    where:  its path, such as 'credentials.nightly'.
    """

    def __init__(self, members: Any, where: str) -> None:
        if not isinstance(members, Mapping):
            raise InvalidInputError(f"{where} must be a table")
        self._members: dict[str, Any] = dict(members)  # pyright: ignore[reportUnknownArgumentType]
        self._asked: list[str] = []
        self.where = where

    def text(self, name: str, *, default: str | None = None, required: bool = False) -> str | None:
        value = self._take(name, required=required)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "must be a text")
        return value

    def needed(self, name: str) -> str:
        text = self.text(name, required=True)
        assert text is not None
        return text

    def choice(self, name: str, choices: Sequence[str], *, default: str | None = None) -> str:
        value = self.text(name, default=default, required=default is None)
        if value is None or value not in choices:
            raise self.wrong(name, f"is one of {', '.join(choices)}{_near(str(value), choices)}")
        return value

    def secret(self, name: str, *, required: bool = False) -> Reference | None:
        """A reference to a secret. A value is refused, and not shown."""
        value = self._take(name, required=required)
        if value is None:
            return None
        reference = Reference.parse(value) if isinstance(value, str) else None
        del value  # it may be the secret itself, and a traceback may show what is here
        if reference is None:
            raise self.wrong(
                name, "is a secret and is given by reference: env:NAME, file:PATH, keyring:SERVICE/NAME or account:…"
            )
        return reference

    def needed_secret(self, name: str) -> Reference:
        reference = self.secret(name, required=True)
        assert reference is not None
        return reference

    def duration(self, name: str, *, default: timedelta | None = None) -> timedelta | None:
        """'90s', '10m', '1h', '7d'; a bare number would leave the unit to guesses."""
        value = self._take(name)
        if value is None:
            return default
        found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None or float(found[1]) == 0:
            raise self.wrong(name, "must be a duration with its unit, such as '90s', '10m', '1h' or '7d'")
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])

    def flag(self, name: str, *, default: bool | None = None) -> bool | None:
        value = self._take(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return default if value is None else value

    def whole(self, name: str, *, default: int) -> int:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(name, "must be a whole number above 0")
        return value

    def text_or_number(self, name: str) -> str | int:
        value = self._take(name, required=True)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self.wrong(name, "must be a name or a number")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, or one text with spaces between."""
        value = self._take(name)
        if isinstance(value, str):
            return tuple(value.split())
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):  # pyright: ignore
            raise self.wrong(name, "must be a text or a list of texts")
        return tuple(value)  # pyright: ignore[reportUnknownArgumentType]

    def tables(self, name: str) -> "list[Table]":
        """One table, or a list of them."""
        value = self._take(name)
        if value is None:
            return []
        many: list[Any] = value if isinstance(value, list) else [value]
        return [Table(one, f"{self.where}.{name}") for one in many]

    def named(self, name: str) -> "dict[str, Table]":
        """The tables under a heading, by their names."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "must hold tables")
        prefix = f"{self.where}.{name}" if self.where else name
        return {str(key): Table(one, f"{prefix}.{key}") for key, one in value.items()}  # pyright: ignore

    def params(self, name: str) -> dict[str, str]:
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):  # pyright: ignore
            raise self.wrong(name, "must be a table of texts")
        return {str(key): str(one) for key, one in value.items()}  # pyright: ignore

    def done(self) -> None:
        """Raises: InvalidInputError, if there is a member that nobody asked for."""
        for name in self._members:
            raise InvalidInputError(f"{self._path(name)} is not known{_near(name, self._asked)}")

    def wrong(self, name: str, what: str) -> InvalidInputError:
        return InvalidInputError(f"{self._path(name)} {what}")

    def _take(self, name: str, *, required: bool = False) -> Any:
        self._asked.append(name)
        value = self._members.pop(name, None)
        if value is None and required:
            raise self.wrong(name, "is missing")
        return value

    def _path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name


def _near(name: str, choices: Sequence[str]) -> str:
    near = get_close_matches(name, choices, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
