"""pa.ChunkedArray as texts into columns of a type, and which cell it was that did not fit."""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from domokit.bulk.decimals import check_size, number_of
from domokit.bulk.schema import Column, Schema
from domokit.bulk.types import DECIMAL, arrow_schema
from domokit.errors import DomoDecodeError, IncompleteDataError, InvalidDataError, InvalidInputError

_PLAIN_DIGITS = 400  # more than any column has room for; a number of a billion zeros is a short text


class BadCell(Exception):
    """A text that is no value of the column's type. row: counted from 0 in what was converted."""

    def __init__(self, row: int, text: str | None) -> None:
        super().__init__()
        self.row = row
        self.text = text  # None: it is no UTF-8


def convert(cells: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Texts (as bytes) as values. Blanks around them, a zone of UTC, a midnight behind a DATE are tolerated.

    A timestamp with a zone takes them as UTC. Nothing is rounded, but for the digits that a float has no room for;
    what is beyond the range of a float is refused.

    Raises: BadCell.
    """
    if pa.types.is_nested(kind):
        raise InvalidInputError(f"a cell is text, and cannot be read into {kind}")
    try:
        return _converted(cells, kind)
    except pa.ArrowNotImplementedError:
        unable = True
    except pa.ArrowInvalid:
        unable = False
    if unable:
        raise InvalidInputError(f"a cell is text, and cannot be read into {kind}")
    row = _first_bad(cells, lambda some: _converted(some, kind))
    found: bytes = cells[row].as_py()
    try:
        text = found.decode()
    except UnicodeDecodeError:
        text = None
    raise BadCell(row, text)


def bad_cell_error(bad: BadCell, name: str, kind: pa.DataType, row: int) -> InvalidDataError:
    """What the user gets for it: column and row (counted from 1), never the value."""
    where = f"row {row:,}, column {name!r}"
    if bad.text is None:
        return InvalidDataError(
            f"{where} is no UTF-8 text", hint=f"Pass types={{{name!r}: pa.binary()}} for the bytes."
        )
    hint = f"Pass types={{{name!r}: pa.string()}} to read the column as text."
    if pa.types.is_decimal(kind) and (number := number_of(bad.text)) is not None and number.is_finite():
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)
        scale = max(0, -exponent, kind.scale)
        needed = max(len(digits) + exponent, 1) + scale
        if needed <= 38:
            hint = f"Pass types={{{name!r}: pa.decimal128(38, {max(scale, 20) if needed - scale <= 18 else scale})}}."
        elif needed <= 76:
            hint = f"Pass types={{{name!r}: pa.decimal256(76, {scale})}}."
        return InvalidDataError(f"{where} has more digits than {kind} holds", hint=hint)
    return InvalidDataError(f"{where} holds no {_WORDS.get(kind, str(kind))}", hint=hint)


_WORDS: Mapping[pa.DataType, str] = {
    pa.int64(): "whole number of 64 bits",
    pa.float64(): "number",
    pa.float32(): "number, or one beyond the range of its type",
    pa.float16(): "number, or one beyond the range of its type",
    pa.date32(): "date (2024-03-19)",
    pa.timestamp("us"): "date and time (2024-03-19T18:49:02)",
}


def _converted(cells: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return cells.cast(kind)
    texts = cells.cast(pa.string())
    if _is_text(kind):
        return texts if kind == pa.string() else texts.cast(kind)
    try:
        return _plain(texts, kind)
    except pa.ArrowInvalid:
        return _plain(_tidied(texts, kind), kind)


def _is_text(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _plain(texts: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_decimal(kind):
        check_size(texts, kind)
    if isinstance(kind, pa.TimestampType):
        if kind.tz is not None:
            return texts.cast(pa.timestamp(kind.unit)).cast(kind)
        if kind.unit in ("s", "ms"):  # a fraction that is all zeros is welcome
            return texts.cast(pa.timestamp("us")).cast(kind)
    if pa.types.is_floating(kind):
        return _in_range(texts, texts.cast(kind))
    return texts.cast(kind)


def _in_range(texts: pa.ChunkedArray, floats: pa.ChunkedArray) -> pa.ChunkedArray:
    """The floats. Raises ArrowInvalid, if one is infinite, or zero, that is not in the text."""
    wide = floats.cast(pa.float64())
    for suspects, number in ((pc.is_inf(wide), r"\d"), (pc.equal(wide, 0), r"^[^eE]*[1-9]")):
        if pc.any(suspects).as_py() and pc.any(pc.match_substring_regex(texts.filter(suspects), number)).as_py():
            raise pa.ArrowInvalid("beyond the range")
    return floats


def _tidied(texts: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(texts)
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)  # a quoted "" where no text can be
    for pattern, instead in _tidy_rules(kind):
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=instead)
    return pc.utf8_lower(texts) if pa.types.is_boolean(kind) else texts


def _tidy_rules(kind: pa.DataType) -> Sequence[tuple[str, str]]:
    if isinstance(kind, pa.TimestampType):
        digits = 9 if kind.unit == "ns" else 6
        return [(r"(Z|[+-]00:?00)$", ""), (rf"(\.\d{{{digits}}})0+$", r"\1")]
    if pa.types.is_date(kind):
        return [(r"^(\d{4}-\d\d-\d\d)[T ]00:00(:00(\.0+)?)?Z?$", r"\1")]
    if pa.types.is_integer(kind):
        return [(r"^\+?(-?\d+)(\.0*)?$", r"\1")]
    if pa.types.is_decimal(kind):
        return [(r"^([+-]?\d*\.\d*[1-9])0+$", r"\1"), (r"^([+-]?\d+)\.0*$", r"\1")]
    return []


def _first_bad(cells: pa.ChunkedArray, attempt: Callable[[pa.ChunkedArray], object]) -> int:
    """The first row that cannot be converted; there must be one."""
    low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            attempt(cells.slice(low, middle - low))
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


# -- answers of the query endpoint


def from_query_json(
    answer: Mapping[str, Any], types: Mapping[str, pa.DataType] | None = None, *, is_wide: bool = False
) -> pa.Table:
    """The table in an answer of Domo's query endpoint (columns, metadata, rows), typed by its metadata.

    Numbers with a fraction should come as `Decimal`: a float has lost digits of a DECIMAL already.

    Such an answer stands in memory as a whole, first as text and then as Python objects: some 100 bytes a cell. It is
    for some 100,000 rows; for more, have the answer as CSV.

    is_wide:  whether a DECIMAL with more digits than its type holds gets a wider type.
    Raises: DomoDecodeError, if it is no such answer; IncompleteDataError, if it has fewer rows than it says;
            InvalidDataError, for a value that is not of the type it is said to be; InvalidInputError, if several
            columns have the same name.
    """
    schema, rows = _parts_of(answer)
    said = answer.get("numRows")
    if isinstance(said, int) and len(rows) < said:
        raise IncompleteDataError(f"{len(rows):,} rows came where {said:,} were due")
    arrow = arrow_schema(schema, types)
    columns: list[pa.ChunkedArray] = []
    for place, (column, field) in enumerate(zip(schema, arrow, strict=True)):
        text = _float_text if column.type == "DOUBLE" else _text
        cells = pa.chunked_array([pa.array([text(row[place]) for row in rows], pa.binary())])
        try:
            columns.append(convert(cells, field.type))
            continue
        except BadCell as caught:
            bad, kind = caught, field.type
        if is_wide and kind == DECIMAL:
            kind = pa.decimal256(76, max(_scale(row[place]) for row in rows))
            try:
                columns.append(convert(cells, kind))
                continue
            except BadCell as caught:
                bad = caught
        raise bad_cell_error(bad, field.name, kind, bad.row + 1)
    return pa.table(columns, arrow.names)


def _parts_of(answer: Mapping[str, Any]) -> tuple[Schema, list[list[Any]]]:
    names, metadata, rows = answer.get("columns"), answer.get("metadata"), answer.get("rows")
    if not (isinstance(names, list) and isinstance(metadata, list) and isinstance(rows, list)):
        raise DomoDecodeError("the answer to the query lacks columns, metadata or rows", status=200)
    if twice := [name for name, count in Counter(map(str, names)).items() if count > 1]:
        raise InvalidInputError(
            f"the query gives several columns the name {twice[0]!r}", hint="Name each of them by AS in the SELECT."
        )
    if len(names) != len(metadata):
        raise DomoDecodeError(f"the answer has {len(names)} columns and types for {len(metadata)}", status=200)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(names):
            raise DomoDecodeError(f"row {number:,} of the answer does not have {len(names)} cells", status=200)
    kinds = [str(one.get("type") or "STRING").upper() if isinstance(one, Mapping) else "STRING" for one in metadata]
    also_seen = {"INTEGER": "LONG"}
    return Schema(Column(str(n), also_seen.get(k, k)) for n, k in zip(names, kinds, strict=True)), rows


def _text(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, Decimal) and abs(value.adjusted()) < _PLAIN_DIGITS:
        return format(value, "f").encode()  # only a float is read from a text with an exponent
    return str(value).encode()


def _float_text(value: Any) -> bytes | None:
    """A number as the shortest text of the float that it is."""
    if isinstance(value, Decimal) and isfinite(number := float(value)):
        return repr(number).encode()
    return _text(value)


def _scale(value: Any) -> int:
    """How many digits it has after the point, up to what the widest decimal has."""
    exponent = value.as_tuple().exponent if isinstance(value, Decimal) else 0
    return min(max(0, -exponent), 76) if isinstance(exponent, int) else 0
