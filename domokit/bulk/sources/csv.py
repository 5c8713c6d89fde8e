"""CSV files.

An empty cell that is not quoted is NULL, and so is an unquoted \\N, which is how Domo's exports write it; a quoted
empty cell is an empty text (but NULL in a column that is not STRING).

Without a schema the types are those of the first piece of about 2 MB, and only what comes back the same is made
anything but text: LONG without leading zeros or '+', DOUBLE with all its digits held by a float (trailing zeros do
not count), DATE as 2024-01-31, DATETIME as 2024-01-31 17:05:00 (or with a T, and up to six digits of a second). A
later cell that is of another form is refused.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from domokit.bulk.convert import Values, convert, fitted, refuse, same_numbers, typed_as
from domokit.bulk.schema import Column, Schema
from domokit.bulk.sources.base import Source
from domokit.bulk.sources.pieces import BadRow, Cutter
from domokit.bulk.sources.text import MARK, USE_UTF8, not_damaged
from domokit.bulk.types import schema_of
from domokit.errors import InvalidDataError, InvalidInputError

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
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise InvalidInputError("the delimiter of a CSV file is one ASCII character, and no quote")
    if not header and schema is None:
        raise InvalidInputError("a CSV file without a header needs schema=, which has the names of its columns")
    file = _File(open_it, delimiter, None if header or schema is None else schema.names)
    with closing(file.texts()) as reading:
        first = next(reading, None)
    text = schema_of(pa.schema([(name, pa.string()) for name in file.names]))
    if schema is not None:
        found = typed_as(text, schema)
    elif first is not None:
        found = Schema(Column(name, _type(first.column(name))) for name in file.names)
    else:
        found = text

    def read() -> Iterator[pa.RecordBatch]:
        first_row = 1
        for batch in file.texts():
            if schema is None:
                for column in found:
                    _check_form(batch.column(column.name), column, first_row)
            yield convert(batch, found, time_zone=time_zone, first_row=first_row)
            first_row += batch.num_rows

    return Source(found, read)


class _File:
    """A file as rows of text.

    names:  of its columns, once the header was read; of a file without a header they are given.
    """

    def __init__(self, open_it: Callable[[], Any], delimiter: str, names: list[str] | None) -> None:
        self._open = open_it
        self._delimiter = delimiter
        self._cutter = Cutter(delimiter)
        self._has_header = names is None
        self.names = names or []

    def texts(self) -> Generator[pa.RecordBatch, None, None]:
        """Raises: InvalidDataError."""
        rows = 0
        try:
            with not_damaged(), self._open() as stream:
                for piece in self._pieces(stream):
                    batch = self._texts(piece, rows)
                    rows += batch.num_rows
                    yield batch
        except BadRow as bad:
            row = rows + self._texts(bad.before, rows).num_rows + 1
            hint = "A double quote inside a quoted cell is written twice."
            raise InvalidDataError(f"row {row}: {bad.what}", hint=hint) from None

    def _pieces(self, stream: Any) -> Iterator[bytes]:
        """Without the header. Raises: InvalidDataError if there should be one and is none; BadRow."""
        pieces = self._cutter.pieces(stream)
        if self._has_header:
            try:
                piece = next(pieces, b"")
            except BadRow as bad:
                if not bad.before.strip(b"\r\n"):
                    raise InvalidDataError(f"the header of the CSV file has {bad.what}") from None
                bad.before = self._headless(bad.before)
                raise
            yield self._headless(piece)
        yield from pieces

    def _headless(self, piece: bytes) -> bytes:
        start = len(piece) - len(piece.lstrip(b"\r\n"))
        end = self._cutter.end_of_first_row(piece, start)
        if start == end:
            raise InvalidDataError(
                "the CSV file is empty, it has not even a header",
                hint="To load no rows, pass a file that has a header, or an empty list.",
            )
        self.names = self._names_in(piece[start:end])
        return piece[end:]

    def _names_in(self, row: bytes) -> list[str]:
        try:
            row.decode()
        except UnicodeDecodeError:
            raise InvalidDataError("the header of the CSV file is not UTF-8", hint=USE_UTF8) from None
        names = self._table(row, None).column_names
        if not all(name.strip() for name in names):
            raise InvalidInputError(
                "a column of the CSV file has no name", hint="Is there a header? Else header=False."
            )
        return names

    def _texts(self, piece: bytes, rows: int) -> pa.RecordBatch:
        """Whole rows, behind so many others."""
        try:
            return self._cells(piece, pa.string())
        except pa.ArrowInvalid as error:
            said = str(error)
        if "UTF8" in said:
            for name, column in zip(self.names, self._cells(piece, pa.binary()).columns, strict=True):
                fitted(column, lambda part: part.cast(pa.string()), name, "text that is not UTF-8", rows + 1, USE_UTF8)
        if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", said):
            raise InvalidDataError(
                f"row {rows + int(found[1])} has {found[3]} cells, and the columns are {found[2]}",
                hint="Cells that hold a comma, a double quote or a newline must be in double quotes.",
            )
        raise InvalidDataError(f"the CSV file cannot be read after row {rows}")

    def _cells(self, piece: bytes, kind: pa.DataType) -> pa.RecordBatch:
        if piece:
            table = self._table(
                piece,
                self.names,
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(self.names, kind),
                    null_values=["", "\\N"],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            if table.num_rows:
                return table.to_batches()[0]
        return pa.record_batch([pa.array([], kind) for _ in self.names], names=self.names)

    def _table(self, piece: bytes, names: list[str] | None, options: Any = None) -> pa.Table:
        if piece.startswith(MARK):
            piece = MARK + piece  # the parser takes one off, and this one belongs to a cell
        if not piece.endswith((b"\n", b"\r")):
            piece += b"\n"
        return pyarrow.csv.read_csv(
            pa.BufferReader(piece),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(piece), column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=True,
                # In a single column, a blank line is a row: NULL.
                ignore_empty_lines=names is None or len(names) > 1,
            ),
            options,
        )


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
