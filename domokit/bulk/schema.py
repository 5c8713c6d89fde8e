"""The columns of a DataSet, and how two sets of them differ. Loads nothing else."""

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast, overload

import attrs

from domokit import _html
from domokit.errors import InvalidInputError

# What Domo has; there is no boolean: true and false are texts.
TYPES: frozenset[str] = frozenset({"STRING", "LONG", "DOUBLE", "DECIMAL", "DATE", "DATETIME"})


@attrs.frozen
class Column:
    """One column: its name, and its type in Domo's words (STRING, LONG, DOUBLE, DECIMAL, DATE or DATETIME).

    holds:  what a STRING column of data holds where that is no text, such as 'bool'.
    """

    name: str
    type: str
    holds: str = attrs.field(default="", eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name} {self.type}"


def _columns(value: Any) -> tuple[Column, ...]:
    if isinstance(value, Schema):
        return value.columns
    if isinstance(value, Column):
        return (value,)
    if isinstance(value, Mapping):
        types = cast("Mapping[Any, Any]", value)
        return tuple(_column({"name": name, "type": kind}) for name, kind in types.items())
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidInputError(
            f"a schema cannot be made of {type(value).__name__}", hint="Pass {'name': 'TYPE'}, or a list of columns."
        )
    several = cast("Iterable[Any]", value)
    return tuple(one if isinstance(one, Column) else _column(one) for one in several)


@attrs.frozen(repr=False)
class Schema(Sequence[Column]):
    """The columns of a DataSet, in order, out of {'name': 'TYPE'}, of columns, or of {'name': …, 'type': …} objects.

    Names are unique, upper and lower case alike; `check()` and `of()` look whether Domo would take it.
    """

    columns: tuple[Column, ...] = attrs.field(converter=_columns)

    @classmethod
    def of(cls, columns: "Schema | Column | Mapping[str, str] | Iterable[Column | Mapping[str, Any]]") -> "Schema":
        """The same, checked.

        Raises: InvalidInputError, for a type that Domo does not have, a name that is empty or comes twice.
        """
        schema = columns if isinstance(columns, Schema) else cls(columns)
        schema.check()
        return schema

    @classmethod
    def from_wire(cls, value: Any) -> "Schema | None":
        """What Domo sends, a list of columns or an object holding one; None for anything else. No check of names."""
        found = value.get("columns") if isinstance(value, Mapping) else value
        if not isinstance(found, list):
            return None
        named = [one for one in found if isinstance(one, Mapping) and isinstance(one.get("name"), str)]
        return cls(Column(one["name"], str(one.get("type") or "STRING").upper()) for one in named)

    def to_wire(self) -> list[dict[str, str]]:
        """As Domo takes it."""
        return [{"type": column.type, "name": column.name} for column in self.columns]

    def check(self) -> None:
        """Raises InvalidInputError unless Domo would take it."""
        if not self.columns:
            raise InvalidInputError("a DataSet needs at least one column")
        seen: dict[str, Column] = {}
        for column in self.columns:
            check_name(column.name)
            if column.type not in TYPES:
                raise InvalidInputError(
                    f"column {column.name!r} cannot be {column.type!r}; Domo has {', '.join(sorted(TYPES))}"
                )
            if (other := seen.get(column.name.casefold())) is not None:
                both = f"{other.name!r} and {column.name!r}"
                raise InvalidInputError(f"columns {both} are one to Domo, which does not tell upper from lower case")
            seen[column.name.casefold()] = column

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return [column.name for column in self.columns]

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @overload
    def __getitem__(self, index: int) -> Column: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Column, ...]: ...
    def __getitem__(self, index: int | slice) -> Column | tuple[Column, ...]:
        return self.columns[index]

    def __repr__(self) -> str:
        return f"Schema({', '.join(map(str, self.columns))})"

    def _repr_html_(self) -> str:
        return _html.table(["column", "type"], [[_html.cell(one.name), _html.cell(one.type)] for one in self.columns])

    def diff(self, other: "Schema") -> "SchemaDiff":
        """What would have to change for this schema to become `other`."""
        mine = {column.name: column.type for column in self.columns}
        theirs = {column.name: column.type for column in other.columns}
        return SchemaDiff(
            added=tuple(one for one in other.columns if one.name not in mine),
            removed=tuple(one for one in self.columns if one.name not in theirs),
            changed=tuple(
                (one.name, one.type, theirs[one.name])
                for one in self.columns
                if theirs.get(one.name, one.type) != one.type
            ),
            is_reordered=[name for name in mine if name in theirs] != [name for name in theirs if name in mine],
        )


@attrs.frozen
class SchemaDiff:
    """How the columns of data differ from those of a DataSet.

    added, removed:  columns that the data has and the DataSet lacks, and the other way round.
    changed:         (name, type in the DataSet, type of the data).
    is_reordered:    the common columns stand in another order. That alone is no difference: names decide.
    """

    added: tuple[Column, ...] = ()
    removed: tuple[Column, ...] = ()
    changed: tuple[tuple[str, str, str], ...] = ()
    is_reordered: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        lines = [f"+ {column}" for column in self.added]
        lines += [f"- {column}" for column in self.removed]
        lines += [f"~ {name} {before} -> {after}" for name, before, after in self.changed]
        return "; ".join(lines)


def check_name(name: str) -> None:
    """Raises InvalidInputError unless Domo can have a column of this name, and give it back."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInputError(f"the name of a column is a text, not {name!r}")
    if not name.strip():
        raise InvalidInputError("a column has no name")
    if name.startswith("\ufeff"):
        raise InvalidInputError(
            f"the name of column {name!r} begins with a byte order mark", hint="Rename it; is it of a file's beginning?"
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"the name of column {name!r} is no Unicode text") from None


def _column(value: Any) -> Column:
    try:
        name, kind = value["name"], value["type"]
    except (KeyError, TypeError):
        raise InvalidInputError(f"{value!r} is no column; pass {{'name': …, 'type': …}}") from None
    if not isinstance(name, str) or not isinstance(kind, str):
        raise InvalidInputError(f"{value!r} is no column: its name and its type are texts")
    return Column(name, kind.upper())


def check_key(key: Sequence[str], columns: Schema, given: Schema | None = None) -> None:
    """Whether these may tell rows apart. Raises: InvalidInputError.

    given:  the columns of the data, which may lack others, but not these: rows without a key would be one row.
    """
    if isinstance(key, str) or not key:
        raise InvalidInputError("key is a list of column names, such as ['order_id']")
    if unknown := [name for name in key if name not in columns.names]:
        known = reprlib.repr(columns.names)
        raise InvalidInputError(f"key: there is no column {', '.join(map(repr, unknown))} among {known}")
    has = {name.casefold() for name in (given or columns).names}
    if missing := [name for name in key if name.casefold() not in has]:
        raise InvalidInputError(f"the data lacks {', '.join(map(repr, missing))}, by which rows are told apart")
