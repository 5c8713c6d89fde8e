"""JSON lines: one object to a line.

Columns and their types are those of the first block of about 4 MB: integers LONG, other numbers DOUBLE, text STRING
even if it looks like a time, true and false STRING. With a schema, text is parsed to what it says. Fields that are
missing are NULL. Integers beyond 64 bits are DOUBLE; if that would cost digits, they are refused, unless the schema
says DECIMAL or DOUBLE.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from domokit.bulk.convert import WIDE_DECIMAL, check_digits, convert, fitted, refuse, typed_as
from domokit.bulk.decimals import check_size
from domokit.bulk.schema import Schema
from domokit.bulk.sources.base import Source
from domokit.bulk.sources.text import USE_UTF8, filled, not_damaged, without_mark
from domokit.bulk.types import is_text, schema_of
from domokit.errors import InvalidDataError, InvalidInputError

_BLOCK = 4 * 1024 * 1024
_SAFE_INTEGER = 2.0**53
_WRAPS = 5e38  # from here on WIDE_DECIMAL may wrap around
_HINT = "Pass schema=, with the types that all of the file fits."


def open_ndjson(open_it: Callable[[], Any], schema: Schema | None, time_zone: str | None) -> Source:
    """Raises: InvalidInputError, InvalidDataError."""
    blocks = _blocks(open_it)
    first = next(blocks, None)
    blocks.close()
    if first is None:
        if schema is None:
            raise InvalidInputError("the file is empty", hint="Pass schema= for data that may have no rows.")
        return Source(schema, lambda: iter(()))
    table = _parse(first, {}, 1)
    own = schema_of(table.schema)
    found = own if schema is None else typed_as(own, schema)
    # What the parser is told from here on. Its choice would lose digits of decimals, and change from block to block.
    types: dict[str, pa.DataType] = {}
    for field, column in zip(table.schema, found, strict=True):
        if column.type == "DECIMAL":
            types[column.name] = WIDE_DECIMAL
        elif is_text(field.type) or (schema is None and pa.types.is_null(field.type)):
            types[column.name] = pa.string()
        elif schema is None:
            types[column.name] = field.type

    def read() -> Iterator[pa.RecordBatch]:
        first_row = 1
        for block in _blocks(open_it):
            table = _with_columns(_parse(block, types, first_row), found)
            for column in found:
                values = table.column(column.name).combine_chunks()
                if pa.types.is_floating(values.type):
                    _check_digits(block, column.name, values, types, first_row)
                elif column.type == "DECIMAL":
                    _check_size(block, column.name, types, first_row)
            for batch in table.combine_chunks().to_batches():
                yield convert(batch, found, time_zone=time_zone, first_row=first_row)
                first_row += batch.num_rows

    return Source(found, read)


def _with_columns(table: pa.Table, schema: Schema) -> pa.Table:
    for one in schema:
        if one.name not in table.column_names:
            table = table.append_column(one.name, pa.nulls(table.num_rows))
    return table


def _blocks(open_it: Callable[[], Any]) -> Generator[bytes, None, None]:
    """Pieces of the file that end at the end of a line; JSON has no newline inside of a value."""
    with not_damaged(), open_it() as stream:
        rest = b""
        is_first = True
        while more := filled(stream, _BLOCK):
            if is_first:
                more, is_first = without_mark(more), False
            end = more.rfind(b"\n") + 1
            if end:
                block, rest = rest + more[:end], more[end:]
                if not block.isspace():
                    yield block
            else:
                rest += more
        if rest and not rest.isspace():
            yield rest


def _parse(block: bytes, types: dict[str, pa.DataType], first_row: int) -> pa.Table:
    table = _read(block, types, first_row)
    if times := [field.name for field in table.schema if pa.types.is_timestamp(field.type)]:
        types = {**types, **dict.fromkeys(times, pa.string())}
        # Columns of which the parser is told come first.
        table = _read(block, types, first_row).select(table.column_names)
    return table


def _check_digits(block: bytes, name: str, floats: Any, types: dict[str, pa.DataType], first_row: int) -> None:
    """Refuses integers that came as floats because they are too long for an integer, and lost digits."""
    largest = pc.max(pc.abs(floats)).as_py()
    if largest is None or not largest >= _SAFE_INTEGER:
        return
    # What is larger has digits enough only if it was written as a float is.
    floats = pc.if_else(pc.less(pc.abs(floats), _WRAPS), floats, pa.scalar(None, floats.type))
    try:
        numbers = _read(block, {**types, name: WIDE_DECIMAL}, first_row).column(name).combine_chunks()
    except InvalidDataError:
        return  # so large or so small that only floats are written like that
    check_digits(numbers, floats, name, first_row, "Pass schema= that says DECIMAL, or write it as text.")


def _check_size(block: bytes, name: str, types: dict[str, pa.DataType], first_row: int) -> None:
    """Refuses numbers that are too large for DECIMAL: the parser lets those wrap around that have an exponent."""
    if not pc.match_substring_regex(pa.scalar(block), r"[0-9.][eE]\+?[0-9][0-9]").as_py():
        return
    what = "a number with too many digits for DECIMAL"
    for kind in (pa.float64(), pa.string()):  # one of them, for the column has one type
        with suppress(InvalidDataError):
            values = _read(block, {**types, name: kind}, first_row).column(name).combine_chunks()
            break
    else:
        return
    if kind == pa.string():
        fitted(values, lambda part: check_size(part, WIDE_DECIMAL), name, what, first_row)
    else:
        refuse(values, pc.greater_equal(pc.abs(values), _WRAPS), name, what, first_row)


def _read(block: bytes, types: dict[str, pa.DataType], first_row: int) -> pa.Table:
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(block),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())) if types else None, unexpected_field_behavior="infer"
            ),
        )
        list(table.column_names)  # which are decoded only now
    except UnicodeDecodeError:
        raise InvalidDataError(f"the name of a field after row {first_row - 1} is not UTF-8", hint=USE_UTF8) from None
    except pa.ArrowException as error:
        raise _meaning(str(error), first_row) from None
    return table


def _meaning(said: str, first_row: int) -> InvalidDataError:
    """An error of pyarrow, without the values that it quotes."""
    row = f", row {first_row + int(found[1])}" if (found := re.search(r"in row (\d+)", said)) else ""
    if found := re.search(r"Column\(/([^)]*)\) changed from (\w+) to (\w+)", said):
        return InvalidDataError(f"column {found[1]!r}{row}: {found[3]} after {found[2]}", hint=_HINT)
    if found := re.search(r"Column\(/([^)]*)\) was specified twice", said):
        return InvalidDataError(f"column {found[1]!r}{row}: twice in one object")
    if "convert JSON" in said:
        return InvalidDataError(f"a value after row {first_row - 1} does not fit to those before it", hint=_HINT)
    return InvalidDataError(f"this is no object per line in JSON{row or f', after row {first_row - 1}'}")
