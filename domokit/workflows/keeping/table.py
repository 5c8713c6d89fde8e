"""Reads one table of a configuration file, member by member; what is wrong or left over is named by its path."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from domokit._secrets import is_secret_name
from domokit.errors import InvalidInputError
from domokit.workflows.keeping.references import KINDS, Reference, path_from

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = timedelta(days=36_500)
_BY_REFERENCE = "is a secret and is given by reference: env:NAME, file:PATH, keyring:SERVICE/NAME or account:…"

# Fields of a token request that are set already, from what else the credential says.
_OF_THE_GRANT = frozenset(
    ("grant_type", "client_id", "client_secret", "refresh_token", "username", "password", "scope")
)
_SECRET_ENDS = re.compile(r"(?:assertion|code|key)\Z", re.IGNORECASE)
_RANDOM = re.compile(  # a JWT, or what no person would write: base64 and hexadecimal digits
    r"eyJ[\w-]{8,}\..*|(?=.*\d)(?=.*[a-z])(?=.*[A-Z])[\w+/=~-]{32,}|[0-9a-fA-F]{32,}", re.DOTALL
)


class Table:
    """The members of a table, each to be asked for once, and `done()` at the end.

    where:  its path, such as 'credentials.nightly'; empty for the whole file.
    """

    def __init__(self, members: Any, where: str) -> None:
        if not isinstance(members, Mapping):
            raise InvalidInputError(f"{where} must be a table")
        self._members: dict[str, Any] = dict(members)
        self._asked: list[str] = []
        self.where = where

    def maybe(self, name: str) -> str | None:
        """A text, or None where there is none. Where a text is wanted, a reference would be taken for one."""
        value = self._text(name)
        if value is not None and Reference.parse(value) is not None:
            raise self.wrong(name, "cannot be given by reference; write it out")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text, which must be there unless there is a default."""
        value = self.maybe(name) or default
        if value is None:
            raise self._missing(name)
        return value

    def checked(self, name: str, check: Callable[[str], object], default: str | None = None) -> str | None:
        """A text that `check` has nothing against; it raises InvalidInputError otherwise."""
        value = self.maybe(name) or default
        if value is not None:
            try:
                check(value)
            except InvalidInputError as error:
                raise self.wrong(name, f"will not do: {error.message}") from None
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise self.wrong(name, f"is one of {', '.join(choices)}{_near(value, choices)}")
        return value

    def maybe_secret(self, name: str) -> Reference | None:
        """A reference to a secret, or None where there is none. A value is refused, and not shown."""
        value = self._take(name)
        reference = Reference.parse(value) if isinstance(value, str) else None
        if value is not None and reference is None:
            raise self.wrong(name, _BY_REFERENCE)
        return reference

    def secret(self, name: str) -> Reference:
        reference = self.maybe_secret(name)
        if reference is None:
            raise self._missing(name)
        return reference

    def text_or_reference(self, name: str) -> str | Reference:
        """What some keep secret and others do not."""
        value = self._text(name)
        if value is None:
            raise self._missing(name)
        return self._as_reference(name, value)

    def path(self, name: str, base: Path, default: str | None = None) -> Path:
        """A file; relative to `base`."""
        value = self.text(name, default)
        try:
            return path_from(base, value)
        except InvalidInputError as error:
            raise self.wrong(name, f"will not do: {error.message}") from None

    def duration(self, name: str, default: timedelta) -> timedelta:
        """'90s', '10m', '1h', '7d'; a bare number would leave the unit to guesses."""
        return self.maybe_duration(name) or default

    def maybe_duration(self, name: str) -> timedelta | None:
        value = self._take(name)
        if value is None:
            return None
        found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0
        if not 0 < seconds <= _LONGEST.total_seconds():
            raise self.wrong(name, "must be a duration with its unit, such as '90s', '10m', '1h' or '7d'")
        return timedelta(seconds=seconds)

    def maybe_flag(self, name: str) -> bool | None:
        value = self._take(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.maybe_flag(name)
        return default if value is None else value

    def whole(self, name: str, default: int) -> int:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(name, "must be a whole number above 0")
        return value

    def name_or_id(self, name: str) -> str | int:
        value = self._take(name)
        if value is None:
            raise self._missing(name)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
            raise self.wrong(name, "must be a name or a number")
        if isinstance(value, int) and value < 1:
            raise self.wrong(name, "must be a name or a number above 0")
        if isinstance(value, str) and Reference.parse(value) is not None:
            raise self.wrong(name, "cannot be given by reference; write it out")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, or one text with spaces between."""
        value = self._take(name)
        if value is None:
            return ()
        if isinstance(value, str):
            return tuple(value.split())
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(name, "must be a text or a list of texts")
        return tuple(value)

    def table(self, name: str) -> "Table":
        """A table; an empty one where there is none."""
        value = self._take(name)
        return Table({} if value is None else value, self._path(name))

    def tables(self, name: str) -> "list[Table]":
        """One table, or a list of them."""
        value = self._take(name)
        many: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
        return [Table(one, self._path(name)) for one in many]

    def named(self, name: str) -> "dict[str, Table]":
        """The tables under a heading, by their names."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "must hold tables")
        return {str(key): Table(one, f"{self._path(name)}.{key}") for key, one in value.items()}

    def params(self, name: str) -> dict[str, str | Reference]:
        """Texts by name; those that are secrets by reference."""
        inner = self.table(name)
        found = {key: inner.text_or_reference(key) for key in list(inner._members)}
        for key, value in found.items():
            if key.lower() in _OF_THE_GRANT:
                raise inner.wrong(key, "is not one of the further fields: the credential has a place for it")
            if isinstance(value, str) and is_secret(key, value):
                raise inner.wrong(key, _BY_REFERENCE)
        return found

    def done(self) -> None:
        """Raises: InvalidInputError, if there is a member that nobody asked for."""
        for name in self._members:
            raise InvalidInputError(f"{self._path(name)} is not known{_near(name, self._asked)}")

    def wrong(self, name: str, what: str) -> InvalidInputError:
        return InvalidInputError(f"{self._path(name)} {what}")

    def _missing(self, name: str) -> InvalidInputError:
        near = get_close_matches(name, self._members, n=1)
        return self.wrong(name, "is missing" + (f"; is it what {near[0]!r} means?" if near else ""))

    def _take(self, name: str) -> Any:
        self._asked.append(name)
        return self._members.pop(name, None)

    def _text(self, name: str) -> str | None:
        value = self._take(name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self.wrong(name, "must be a text")
        if value is not None and value != value.strip():
            raise self.wrong(name, "must be a text without blanks around it")
        return value

    def _as_reference(self, name: str, text: str) -> str | Reference:
        found = Reference.parse(text)
        if found is None and text.strip().startswith(tuple(f"{kind}:" for kind in KINDS)):
            raise self.wrong(name, _BY_REFERENCE)
        return found or text

    def _path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name


def is_secret(name: str, value: str) -> bool:
    """Whether a field of a form, or of a query, is a secret by its name or by its looks."""
    return is_secret_name(name) or _SECRET_ENDS.search(name) is not None or _RANDOM.fullmatch(value) is not None


def _near(name: str, choices: Sequence[str]) -> str:
    near = get_close_matches(name, choices, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
