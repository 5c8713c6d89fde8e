"""Lists of dicts.

The columns are all keys, in the order in which they first appear; a key that a row lacks is NULL. A column has one
type: that of its values. Integers and floats make floats, integers and decimals make decimals, NaN counts as
missing; numpy's narrow floats stay narrow among themselves, as in a frame. Anything else that is mixed is refused, and
so are integers beyond 64 bits: Domo could not give them back.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import datetime
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from domokit.bulk.convert import fitted
from domokit.bulk.schema import Schema, check_name
from domokit.bulk.sources.base import Source, rows_at_once
from domokit.bulk.types import arrow_type, schema_of
from domokit.errors import InvalidDataError, InvalidInputError

# A type comes before those it is derived from.
_KINDS: tuple[type, ...] = (
    bool,
    int,
    float,
    str,
    Decimal,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
)
_NARROW = {"float16", "float32"}  # of numpy
_ARROW: Mapping[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.large_string(),
    datetime.datetime: pa.timestamp("us"),
    datetime.date: pa.date32(),
    datetime.time: pa.time64("us"),
    datetime.timedelta: pa.duration("us"),
}


def open_rows(rows: Sequence[Mapping[str, Any]], schema: Schema | None, time_zone: str | None) -> Source:
    """The source of a list of dicts.

    Raises: InvalidInputError for an empty list, unless `schema` says what columns it would have.
    """
    source = source_of(table_of(rows, schema))
    return source if schema is None else source.typed(schema, time_zone)


def source_of(table: pa.Table) -> Source:
    size = rows_at_once(table.num_columns)
    return Source(
        schema_of(table.schema),
        lambda: iter(table.to_batches(max_chunksize=size)),
        rows=table.num_rows,
        nbytes=table.nbytes,
        is_repeatable=True,
    )


def table_of(
    rows: Sequence[Mapping[str, Any]], schema: Schema | None = None, *, known: Sequence[str] = (), first_row: int = 1
) -> pa.Table:
    """Dicts as a table. `schema` is for the columns of an empty list alone; `known` columns are there in any case."""
    keys: dict[Any, None] = {}
    for row in rows:
        keys.update(dict.fromkeys(row))
    if odd := [key for key in keys if not isinstance(key, str)]:
        raise InvalidInputError(f"column names are texts, not {type(odd[0]).__name__}")
    for key in keys:
        check_name(key)
    there = {key.casefold() for key in keys}
    keys.update(dict.fromkeys(name for name in known if name.casefold() not in there))
    if not keys:
        if rows or schema is None:
            raise InvalidInputError("there are no columns in this data", hint="Pass schema= for a list without rows.")
        return pa.schema([(one.name, arrow_type(one.type)) for one in schema]).empty_table()
    columns = [_column([row.get(key) for row in rows], key, first_row) for key in keys]
    return pa.table(columns, names=list(keys))


def _column(values: list[Any], name: str, first_row: int) -> Any:
    kind = common_type(values, name)
    what = f"a value that does not fit to the others, which are {kind}"
    return fitted(values, lambda part: pa.array(part, kind, from_pandas=True), name, what, first_row)


def common_type(values: Sequence[Any], name: str) -> pa.DataType:
    """The Arrow type that holds all these Python values; `name` is for the text of the InvalidDataError.

    Arrow's own guess would not do: it makes dates of timestamps, and times without a zone of those with one.
    """
    kinds = {kind: _kind(kind, name) for kind in set(map(type, values))}
    found = set(kinds.values()) - {None}
    if float in found and len(found) > 1 and all(math.isnan(one) for one in values if kinds[type(one)] is float):
        found.discard(float)
    if found == {int, float}:
        return pa.float64()
    if found in ({Decimal}, {Decimal, int}):
        return _decimal_type([one for one in values if isinstance(one, Decimal)], name)
    if len(found) > 1:
        kinds = " and ".join(sorted(one.__name__ for one in found if one))
        raise InvalidDataError(f"column {name!r} holds {kinds}", hint="Make all its values of one type.")
    kind = next(iter(found), None)
    if kind is None:
        return pa.null()
    return _arrow_type(kind, [one for one in values if kinds[type(one)] is kind], name)


def _arrow_type(kind: type, values: Sequence[Any], name: str) -> pa.DataType:
    if kind is float and any(type(one).__name__ in _NARROW for one in values):
        is_narrow = all(type(one).__name__ in _NARROW or math.isnan(one) for one in values)
        return pa.float32() if is_narrow else pa.float64()
    if kind is datetime.timedelta and any(getattr(one, "nanoseconds", 0) for one in values):  # pandas has them
        return pa.duration("ns")
    if kind is datetime.time and any(one.tzinfo is not None for one in values):
        raise InvalidDataError(
            f"column {name!r} holds times of day with a zone", hint="Make them datetimes, or take the zone off."
        )
    if kind is datetime.datetime:
        zones = {one.utcoffset() is not None for one in values}
        if len(zones) > 1:
            raise InvalidDataError(
                f"column {name!r} holds times with and without a zone", hint="Give all of them a zone, or none."
            )
        return pa.timestamp("us", "UTC") if zones.pop() else pa.timestamp("us")
    return _ARROW[kind]


def _kind(kind: type, name: str) -> type | None:
    if kind is type(None) or kind.__name__ in ("NaTType", "NAType"):
        return None
    for known in _KINDS:
        if issubclass(kind, known):
            return known
    if kind.__module__ == "numpy":  # the scalars of numpy that are not derived from Python's
        for prefix, known in (("int", int), ("uint", int), ("float", float), ("bool", bool)):
            if kind.__name__.startswith(prefix):
                return known
    nested = issubclass(kind, (Mapping, list, tuple, set))
    raise InvalidDataError(
        f"column {name!r} holds {kind.__name__}, which Domo has no type for",
        hint="Encode the values as JSON text, or make columns of their parts." if nested else "Turn it into text.",
    )


def _decimal_type(decimals: list[Decimal], name: str) -> pa.DataType:
    exponents = [exponent for one in decimals if isinstance(exponent := one.as_tuple().exponent, int)]
    if len(exponents) != len(decimals):
        raise InvalidDataError(f"column {name!r} holds decimals that are no numbers (NaN or infinity)")
    scale = max(0, -min(exponents))
    whole = max(0, *(one.adjusted() + 1 for one in decimals))
    if scale + whole > 76:
        raise InvalidDataError(f"column {name!r} holds decimals of more than 76 digits")
    return pa.decimal128(38, scale) if scale + whole <= 38 else pa.decimal256(76, scale)
