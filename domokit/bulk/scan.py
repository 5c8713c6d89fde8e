"""CSV as bytes: where rows end, how many there are, and what the header line says. Nothing here parses cells."""

from collections.abc import Sequence

from domokit.bulk.schema import Schema
from domokit.errors import DomoDecodeError, IncompleteDataError

BOM = b"\xef\xbb\xbf"
LONGEST_ROW = 64 << 20  # bytes; what goes on for longer without the end of a row is no CSV

_NO_MARKS = bytes(set(range(256)) - set(b'"\n'))


def end_of_rows(data: bytes | bytearray, *, is_quoted: bool | None = None) -> int:
    """Where the last whole row ends: behind the last line feed that stands outside quotes; 0 if there is none.

    is_quoted:  whether the data ends inside quotes; None if it begins outside of them and is to be looked through.
    """
    if is_quoted is None:
        is_quoted = data.count(b'"') % 2 == 1
    end = len(data)
    while True:
        quote = data.rfind(b'"', 0, end)
        if not is_quoted and (found := data.rfind(b"\n", quote + 1, end)) >= 0:
            return found + 1
        if quote < 0:
            return 0
        end, is_quoted = quote, not is_quoted


def end_of_first_row(data: bytes | bytearray) -> int:
    """The same for the first row."""
    start = quotes = 0
    while (found := data.find(b"\n", start)) >= 0:
        quotes += data.count(b'"', start, found)
        if quotes % 2 == 0:
            return found + 1
        start = found + 1
    return 0


def too_long() -> DomoDecodeError:
    return DomoDecodeError(
        f"no row ends within {LONGEST_ROW >> 20} MiB: a quoted cell is not closed, or this is no CSV", status=200
    )


def cells_of(row: bytes | bytearray) -> list[str]:
    """The cells of one row. What is no UTF-8 in them is replaced."""
    text = bytes(row).decode(errors="replace").removesuffix("\n").removesuffix("\r")
    if not text:
        return []
    # Not csv.reader, which takes no cell of more than 128 KiB.
    cells: list[str] = []
    parts: list[str] = []
    is_quoted = False
    for part in text.split(","):
        parts.append(part)
        is_quoted ^= part.count('"') % 2 == 1
        if not is_quoted:
            cell, parts = ",".join(parts), []
            cells.append(cell[1:-1].replace('""', '"') if cell.startswith('"') else cell)
    return [*cells, ",".join(parts)] if parts else cells


def order_of(header: bytes | bytearray, schema: Schema) -> list[int]:
    """For each name in the header line, the column of the schema that it means, upper or lower case notwithstanding.

    Raises: DomoDecodeError, if they are not the same columns; IncompleteDataError, if the line was cut off.
    """
    names = cells_of(header.removeprefix(BOM))
    left = list(enumerate(schema.names))
    order: list[int | None] = [_take(left, name) for name in names]
    for place, name in enumerate(names):  # only now, so that an exact name is never taken by one that looks like it
        if order[place] is None:
            order[place] = _take(left, name, ignoring_case=True)
    unknown = [name for name, found in zip(names, order, strict=True) if found is None]
    if not left and not unknown:
        return [found for found in order if found is not None]
    if not header.endswith(b"\n"):
        raise IncompleteDataError("the answer ends inside the header line")
    parts = [f"it lacks {_listed([name for _, name in left])}"] if left else []
    parts += [f"it has {_listed(unknown)} besides"] if unknown else []
    raise DomoDecodeError(
        f"the answer has other columns than the DataSet: {' and '.join(parts)}",
        status=200,
        hint="If the schema was changed just now, read again.",
    )


def _take(left: list[tuple[int, str]], name: str, *, ignoring_case: bool = False) -> int | None:
    for place, (column, known) in enumerate(left):
        if known == name or (ignoring_case and known.casefold() == name.casefold()):
            del left[place]
            return column
    return None


def _listed(names: Sequence[str]) -> str:
    few = ", ".join(repr(name) for name in names[:5])
    return few if len(names) <= 5 else f"{few} and {len(names) - 5} more"


class RowCounter:
    """Counts the rows of a CSV that passes by, in chunks of any size, at some hundred megabytes a second.

    A line feed inside quotes ends no row; a last row without a line feed counts. Blank lines count, too.

    rows:  how many whole rows there were so far.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._is_quoted = False
        self._tail = bytearray()  # what came after the end of the last whole row

    def feed(self, chunk: bytes | bytearray) -> None:
        marks = chunk.translate(None, _NO_MARKS)
        if self._is_quoted:
            marks = b'"' + marks
        # Two quotes side by side have no line feed between them; what is left are the cells that have one inside.
        parts = marks.replace(b'""', b"").split(b'"')
        self.rows += sum(map(len, parts[::2]))
        self._is_quoted = len(parts) % 2 == 0
        end = end_of_rows(chunk, is_quoted=self._is_quoted)
        if end:
            self._tail = bytearray(chunk[end:])
        else:
            self._tail += chunk
            if len(self._tail) > LONGEST_ROW:
                raise too_long()

    def finish(self, columns: int, expected: int | None) -> int:
        """The number of rows in all. Raises: IncompleteDataError, if the end, or rows, are missing."""
        if self._is_quoted:
            raise inside_quotes(self.rows + 1)
        if self._tail:
            if len(cells_of(self._tail)) < columns:
                raise inside_row(self.rows + 1)
            self.rows += 1
        check_count(self.rows, expected)
        return self.rows


def inside_quotes(row: int) -> IncompleteDataError:
    return IncompleteDataError(f"the answer ends inside a quoted cell, in row {row:,}")


def inside_row(row: int) -> IncompleteDataError:
    return IncompleteDataError(f"the answer ends in the middle of row {row:,}")


def no_header() -> IncompleteDataError:
    return IncompleteDataError("the answer is empty, where there are rows and the line of their names was due")


def check_count(rows: int, expected: int | None) -> None:
    """More rows than expected are no error: what Domo says of a DataSet lags behind what is in it."""
    if expected is not None and rows < expected:
        raise IncompleteDataError(f"{rows:,} rows came where {expected:,} were due")
