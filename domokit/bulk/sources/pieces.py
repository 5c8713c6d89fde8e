"""CSV, cut between rows into pieces of some megabytes, with a strict look at its double quotes.

A cell that begins with a double quote ends at the next one that is not doubled, and nothing may stand between that and
the end of the cell. Arrow's parser would not notice: it drops the quote and goes on, and takes the end of the file for
the end of the cell, so that one quote too few makes a few rows one. Quotes inside a cell that begins with none are
text (5" pipe).
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from domokit.bulk.scan import LONGEST_ROW, end_of_rows
from domokit.bulk.sources.text import filled, without_mark

PIECE_BYTES = 2 * 1024 * 1024
_NEVER_CLOSED = "a double quote that is never closed"
_GOES_ON = "a cell that goes on behind its closing double quote, or a double quote before it that is never closed"
_TOO_LONG = f"no end within {LONGEST_ROW >> 20} MiB, or a double quote that is never closed"
_LINE_END = re.compile(rb"\r\n|\r|\n")


class BadRow(Exception):
    """A row that is none. before: the whole rows in front of it that were not handed out."""

    def __init__(self, before: bytes, what: str) -> None:
        super().__init__()
        self.before = before
        self.what = what


class Cutter:
    """Knows where rows end, which is at LF, CR LF or CR."""

    def __init__(self, delimiter: str) -> None:
        mark = re.escape(delimiter)
        # Arrow's expressions need one look at each byte, whatever there is in it: 600 MB a second.
        cell = rf'(?:[^"{mark}\r\n][^{mark}\r\n]*|"(?:[^"]|"")*")?'
        self._whole_rows = rf"\A(?:{cell}[{mark}\r\n])*{cell}\z"
        inner = rf"[^{mark}\r\n]"
        self._quoted = re.compile(rf'(?<!{inner})"[^"]*(?:""[^"]*)*("?)({inner}?)'.encode())
        self._opening = re.compile(rf'(?<!{inner})"'.encode())

    def pieces(self, stream: Any, size: int = PIECE_BYTES) -> Iterator[bytes]:
        """All that the stream gives. A piece is larger only if a row is. Raises: BadRow."""
        data, wanted, is_first, is_over = b"", size, True, False
        while not is_over:
            more = filled(stream, wanted)
            is_over = len(more) < wanted
            data += without_mark(more) if is_first else more
            is_first = False
            end = self._end_of_rows(data, is_over=is_over)
            if end:
                yield data[:end]
                data, wanted = data[end:], size
            elif len(data) > LONGEST_ROW:
                raise BadRow(b"", _TOO_LONG)
            else:
                wanted = min(len(data), LONGEST_ROW + 1 - len(data))

    def end_of_first_row(self, data: bytes, start: int) -> int:
        """Where the row that begins at `start` ends, behind its line end."""
        at = start
        while (end := _LINE_END.search(data, at)) is not None:
            opening = self._opening.search(data, at, end.start())
            if opening is None:
                return end.end()
            cell = self._quoted.match(data, opening.start())
            assert cell is not None
            at = cell.end(1)
        return len(data)

    def _end_of_rows(self, data: bytes, *, is_over: bool) -> int:
        """Where the last whole row ends; 0 if none does. Raises: BadRow."""
        if is_over:
            end = len(data)
        elif b"\n" in data:
            end = end_of_rows(data)
        else:  # a CR at the very end may be half a line end
            end = end_of_rows(data.removesuffix(b"\r").replace(b"\r", b"\n"))
        if b'"' not in data:
            return end
        if end and pc.match_substring_regex(pa.scalar(data[:end]), self._whole_rows).as_py():
            return end
        return self._end_of_odd_rows(data, is_over=is_over)

    def _end_of_odd_rows(self, data: bytes, *, is_over: bool) -> int:
        """The same, quoted cell by quoted cell."""
        ends = {b"\n": 0, b"\r": 0}
        at = 0  # behind the last quoted cell
        for cell in self._quoted.finditer(data):
            for mark in ends:
                ends[mark] = data.rfind(mark, at, cell.start()) + 1 or ends[mark]
            if cell[2]:
                raise BadRow(data[: max(ends.values())], _GOES_ON)
            at = cell.end(1)
            if not cell[1]:
                if is_over:
                    raise BadRow(data[: max(ends.values())], _NEVER_CLOSED)
                return ends[b"\n"] or ends[b"\r"]
        if is_over:
            return len(data)
        found = data.rfind(b"\n", at) + 1 or ends[b"\n"]
        return found or data.rfind(b"\r", at, len(data) - 1) + 1 or ends[b"\r"]
