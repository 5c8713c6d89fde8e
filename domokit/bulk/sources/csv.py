"""CSV files.

An empty cell that is not quoted is NULL, and so is an unquoted \\N, which is how Domo's exports write it; a quoted
empty cell is an empty text (but NULL in a column that is not STRING).

Without a schema the types are those of the first block of about 2 MB, and only what comes back the same is made
anything but text: LONG without leading zeros or '+', DOUBLE with all its digits held by a float (trailing zeros do
not count), DATE as 2024-01-31, DATETIME as 2024-01-31 17:05:00 (or with a T, and up to six digits of a second). A
later cell that is of another form is refused.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from domokit.bulk.convert import Values, convert, refuse, same_numbers, typed_as
from domokit.bulk.schema import Column, Schema
from domokit.bulk.sources.base import Source
from domokit.bulk.sources.text import USE_UTF8, not_damaged, without_mark
from domokit.bulk.types import schema_of
from domokit.errors import InvalidDataError, InvalidInputError

_BLOCK = 2 * 1024 * 1024
_HEAD = 1024 * 1024  # the header must end within
_FORMS = {
    "LONG": r"^(?:0|-?[1-9][0-9]{0,18})$",
    "DOUBLE": r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$",
    "DATE": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "DATETIME": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?$",
}
_SURE_DIGITS = 15  # a float holds as many decimal digits, whatever they are
_HINT = "Pass schema=, with the types that all of the file fits."


def open_csv(
    open_it: Callable[[], Any], schema: Schema | None, time_zone: str | None, *, header: bool, delimiter: str
) -> Source:
    """Raises: InvalidInputError, InvalidDataError."""
    if len(delimiter) != 1:
        raise InvalidInputError("the delimiter of a CSV file is one character")
    head = _head(open_it)
    if header:
        names = _header(head, delimiter)
        if names is None and schema is not None:
            return Source(schema, lambda: iter(()))
    elif schema is None:
        raise InvalidInputError("a CSV file without a header needs schema=, which has the names of its columns")
    else:
        names = schema.names
    if not names:
        raise InvalidInputError("the CSV file is empty", hint="Pass schema= for data that may have no rows.")
    text = schema_of(pa.schema([(name, pa.string()) for name in names]))
    has_rows = bool(head) and (not header or _has_more(head, delimiter))

    def texts() -> Iterator[pa.RecordBatch]:
        return _texts(open_it, names, header=header, delimiter=delimiter) if has_rows else iter(())

    if schema is not None:
        types = typed_as(text, schema)

        def read() -> Iterator[pa.RecordBatch]:
            first_row = 1
            for batch in texts():
                yield convert(batch, types, time_zone=time_zone, first_row=first_row)
                first_row += batch.num_rows

        return Source(types, read)

    opening = texts()
    first = next(opening, None)
    if close := getattr(opening, "close", None):
        close()
    found = text if first is None else Schema(Column(name, _type(first.column(name))) for name in names)

    def read_strictly() -> Iterator[pa.RecordBatch]:
        first_row = 1
        for batch in texts():
            for column in found:
                _check_form(batch.column(column.name), column, first_row)
            yield convert(batch, found, first_row=first_row)
            first_row += batch.num_rows

    return Source(found, read_strictly)


def _head(open_it: Callable[[], Any]) -> bytes:
    head = b""
    with not_damaged(), open_it() as stream:
        while len(head) < _HEAD and (more := bytes(stream.read(_HEAD - len(head)))):
            head += more
    return without_mark(head)


def _header(head: bytes, delimiter: str) -> list[str] | None:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # else a character is cut off by the end of the head
            text = head[: error.start].decode()
            if "\n" not in text:
                raise _not_utf8() from None
        text = head[: error.start].decode()
    names = next((row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row), None)
    if names and any(not name.strip() for name in names):
        raise InvalidInputError("a column of the CSV file has no name", hint="Is there a header? Else header=False.")
    return names


def _has_more(head: bytes, delimiter: str) -> bool:
    """Whether anything follows the header: pyarrow takes a file that ends with it, without a newline, for broken."""
    rows = csv.reader(io.StringIO(head.decode(errors="replace"), newline=""), delimiter=delimiter)
    return any(row for place, row in enumerate(row for row in rows if row) if place) or len(head) >= _HEAD


def _texts(open_it: Callable[[], Any], names: list[str], *, header: bool, delimiter: str) -> Iterator[pa.RecordBatch]:
    """The cells as text."""
    rows = 0
    try:
        with not_damaged(), open_it() as stream:
            reader = pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=None if header else names),
                pyarrow.csv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    # In a single column, a blank line is a row: NULL.
                    ignore_empty_lines=len(names) > 1,
                ),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=["", "\\N"],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                rows += batch.num_rows
                yield batch
    except pa.ArrowInvalid as error:
        raise _meaning(str(error), rows, header=header) from None


def _meaning(said: str, rows: int, *, header: bool) -> InvalidDataError:
    """An error of pyarrow, without the cells that it quotes."""
    where = f"after row {rows}" if rows else "near the beginning"
    if "UTF8" in said:
        return _not_utf8()
    if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", said):
        return InvalidDataError(
            f"row {int(found[1]) - header} has {found[3]} cells, and the columns are {found[2]}",
            hint="Cells that hold a comma, a double quote or a newline must be in double quotes.",
        )
    if "straddling" in said:
        return InvalidDataError(f"a row {where} is longer than {_BLOCK} bytes, or a double quote is never closed")
    return InvalidDataError(f"the CSV file cannot be read {where}")


def _not_utf8() -> InvalidDataError:
    return InvalidDataError("the CSV file is not UTF-8", hint=USE_UTF8)


def _type(texts: Values) -> str:
    cells = pc.drop_null(pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts))
    if not len(cells):
        return "STRING"
    for kind in _FORMS:
        if pc.all(_has_form(cells, kind)).as_py():
            return kind
    return "STRING"


def _check_form(texts: Values, column: Column, first_row: int) -> None:
    if column.type != "STRING":
        bad = pc.and_(pc.invert(_has_form(texts, column.type)), pc.not_equal(texts, ""))
        what = f"text that is no {column.type}, as the rows before it are"
        refuse(texts, bad, column.name, what, first_row, _HINT)


def _has_form(texts: Values, kind: str) -> Values:
    """A mask of the texts that are of this type and come back from it the same."""
    fits = pc.match_substring_regex(texts, _FORMS[kind])
    if kind == "LONG":
        return _parses(texts, fits, pa.int64()) if _any_longer(texts, 18) else fits
    if kind == "DOUBLE":
        return _exact(texts, fits)
    return _parses(texts, fits, pa.date32() if kind == "DATE" else pa.timestamp("us"))


def _any_longer(texts: Values, length: int) -> bool:
    longest = pc.max(pc.binary_length(texts)).as_py()
    return longest is not None and longest > length


def _parses(texts: Values, fits: Values, kind: pa.DataType) -> Values:
    candidates = pc.if_else(fits, texts, pa.scalar(None, texts.type))
    try:
        candidates.cast(kind)
    except pa.ArrowInvalid:
        flags = [
            bool(one) and _casts(candidates[place : place + 1], kind) for place, one in enumerate(fits.to_pylist())
        ]
        return pa.array([None if one is None else flag for one, flag in zip(fits.to_pylist(), flags, strict=True)])
    return fits


def _casts(text: Values, kind: pa.DataType) -> bool:
    try:
        text.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _exact(texts: Values, fits: Values) -> Values:
    """A mask of the texts of which a float keeps all digits."""
    candidates = pc.if_else(fits, texts, pa.scalar(None, texts.type))
    is_short = pc.and_(
        pc.less_equal(pc.binary_length(candidates), _SURE_DIGITS),
        pc.invert(pc.match_substring_regex(candidates, "[eE]")),
    )
    if pc.all(is_short).as_py() in (True, None):
        return fits
    floats = candidates.cast(pa.float64())
    sure = pc.or_(is_short, pc.equal(floats.cast(pa.string()), candidates))
    doubtful = pc.fill_null(pc.invert(sure), False)
    if pc.any(doubtful).as_py():
        try:
            exact = same_numbers(pc.filter(candidates, doubtful), pc.filter(floats, doubtful))
        except pa.ArrowInvalid:  # beyond 38 digits on a side of the point
            exact = pa.repeat(False, pc.sum(doubtful).as_py())
        sure = pc.replace_with_mask(sure, doubtful, exact)
    return pc.if_else(fits, sure, fits)
