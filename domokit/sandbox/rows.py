"""Rows as Domo takes them: CSV without a header, checked to the letter before anything else reads it."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence

# A cell of each type, unquoted. NaN and infinity have no spelling; a DATETIME has no zone. It may be a date alone, as
# pandas, and so Domo's own client, writes a column that has midnights only.
_TYPED = {
    "LONG": rb"[+-]?\d++",
    "DOUBLE": rb"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?",
    # The warehouse has room for 18 digits after the point: more are refused, not rounded.
    "DECIMAL": rb"[+-]?(?:\d++(?:\.\d{0,18}+0*+)?|\.\d{1,18}+0*+)",
    "DATE": rb"\d{4}-\d\d-\d\d",
    "DATETIME": rb"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d++)?)?",
}
_QUOTED = rb'"(?:[^"]|"")*+"'
_BARE = rb'[^",\r\n]*+'
_TEXT = _QUOTED + rb"|" + _BARE
_END = rb"(?:\r?\n|\Z)"


class InvalidCsv(Exception):
    """What is wrong with the rows, in Domo's words."""


def plain(body: bytes, encoding: str | None) -> bytes:
    """The bytes of a request without their compression. Raises InvalidCsv."""
    if encoding in (None, "", "identity"):
        return body
    if encoding != "gzip":
        raise InvalidCsv(f"Unsupported content encoding {encoding}")
    try:
        return gzip.decompress(body)  # members may follow one another
    except (OSError, EOFError, zlib.error):
        raise InvalidCsv("The data is not gzip, or is cut off") from None


def check(data: bytes, columns: Sequence[dict[str, str]]) -> int:
    """How many rows there are. Raises InvalidCsv for the first that Domo would refuse.

    A blank line is a row without cells, so it is refused with one column, too.
    """
    cells = [_cell(column["type"], is_alone=len(columns) == 1) for column in columns]
    match = re.compile(rb",".join(cells) + _END).match
    at, end, rows = 0, len(data), 0
    while at < end:
        found = match(data, at)
        if found is None:
            raise InvalidCsv(_wrong(data, at, rows + 1, columns))
        at = found.end()
        rows += 1
    try:
        data.decode()
    except UnicodeDecodeError:
        raise InvalidCsv("Invalid CSV provided during upload. msg=The data is not UTF-8.") from None
    return rows


def with_line_feeds(data: bytes) -> bytes:
    """CSV that was checked, every row of which ends in LF, not in CR LF; its cells stay as they are."""
    if b"\r\n" not in data:
        return data
    parts = data.split(b'"')  # every other one stands in quotes
    parts[::2] = [part.replace(b"\r\n", b"\n") for part in parts[::2]]
    return b'"'.join(parts)


def _cell(kind: str, *, is_alone: bool) -> bytes:
    if kind == "STRING":
        return rb"(?:" + _QUOTED + rb"|" + (_BARE if not is_alone else _BARE[:-2] + rb"++") + rb")"
    typed = _TYPED[kind]
    missing = rb'\\N|""' if is_alone else rb'\\N|""|'
    return rb'(?:"' + typed + rb'"|' + typed + rb"|" + missing + rb")"


_ONE_CELL = re.compile(_TEXT)


def _wrong(data: bytes, at: int, row: int, columns: Sequence[dict[str, str]]) -> str:
    """Why the row that begins at `at` is refused."""
    said = "Invalid CSV provided during upload. msg="
    start, count = at, 0
    while True:
        found = _ONE_CELL.match(data, at)
        assert found is not None
        if data[at : at + 1] == b'"' and not found[0]:
            return f"{said}A quote is not closed. Row {row}, column {count + 1}."
        cell, at = found[0], found.end()
        count += 1
        after = data[at : at + 1]
        if after not in (b"", b",", b"\n") and data[at : at + 2] != b"\r\n":
            return f"{said}A quote or a line end stands outside of quotes. Row {row}, column {count}."
        if count > len(columns):
            return f"{said}There are too many columns. Expected {len(columns)}. Row {row}, column {count}."
        kind = columns[count - 1]["type"]
        if not re.fullmatch(_cell(kind, is_alone=False), cell):
            return f"{said}The value is not a {kind}. Row {row}, column {count}."
        if after != b",":
            break
        at += 1
    text = data[start:at].decode(errors="replace")
    return f"{said}There are too few columns. Expected {len(columns)}. Row {row}, column {count}. Row: {text}"
