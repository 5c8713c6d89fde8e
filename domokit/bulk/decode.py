"""A CSV that comes in chunks, as record batches typed by the schema of the DataSet; nothing is guessed.

The stream is cut between rows into pieces of some megabytes. While threads parse some, the next come in. No thread
waits for the network or outlives the step it was started for, so a reader that stops leaves nothing behind.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import os
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import anyio
import pyarrow as pa
import pyarrow.csv as pc
from anyio import to_thread

from domokit.bulk.cells import BadCell, bad_cell_error, convert
from domokit.bulk.scan import (
    BOM,
    LONGEST_ROW,
    check_count,
    end_of_first_row,
    end_of_rows,
    inside_quotes,
    inside_row,
    no_header,
    order_of,
    too_long,
)
from domokit.bulk.schema import Schema
from domokit.bulk.types import arrow_schema
from domokit.errors import DomoDecodeError, DomoError

T = TypeVar("T")
V = TypeVar("V")

_PIECE_BYTES = 3 << 19  # of CSV; what one thread parses at a time …
_PIECE_BYTES_A_COLUMN = 10 << 10  # … or more of many columns, for every column of a piece costs something …
_LARGEST_PIECE = 8 << 20  # … up to this
_FIRST_BYTES = 1 << 20
_WORKERS = max(1, min(4, os.cpu_count() or 1))

# Arrow reads these right and quickly. Decimals are not among them: Arrow lets numbers that are too large wrap around.
_DIRECT = (pa.string(), pa.int64(), pa.float64(), pa.date32(), pa.timestamp("us"))
_COLUMN = re.compile(r"CSV column #(\d+)")
_WRONG_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


async def read_batches(
    chunks: AsyncIterable[bytes],
    schema: Schema,
    *,
    types: Mapping[str, pa.DataType] | None = None,
    has_header: bool = True,
    expected_rows: int | None = None,
    may_be_empty: bool = True,
    piece_bytes: int | None = None,
) -> AsyncGenerator[pa.RecordBatch, None]:
    r"""The rows of a CSV as Domo exports it, in the order they come and with the columns in the order of the schema.

    An empty cell and \N are null, unless they are quoted. The texts NA, null, nan and true are texts. An empty body is
    no rows, if it may be empty. The chunks may be cut anywhere; they are closed at the end, if they can be.

    types:          other Arrow types than those of the Domo types, by column name.
    has_header:     whether the first row holds names. They say which column is which, in any order and case.
    expected_rows:  how many rows are due at least.
    may_be_empty:   whether the line of names, if there is one, may be missing together with all rows.
    piece_bytes:    of CSV that one thread parses at a time; None for what suits the number of columns. Twice that is
                    held for each processor, up to four of them, besides the batches that are yielded.
    Raises: IncompleteDataError, if the CSV was cut off (inside the very last cell only, that cannot be told) or there
            are too few rows; DomoDecodeError, if the columns are not those of the schema or a row has too many or too
            few cells; InvalidDataError, for a cell that is not of its column's type; what `chunks` raises.
    """
    source = aiter(chunks)
    try:
        reader = _Reader(schema, types)
        suiting = min(_LARGEST_PIECE, max(_PIECE_BYTES, _PIECE_BYTES_A_COLUMN * len(schema)))
        pieces = _Pieces(source, piece_bytes or suiting)
        following = await pieces.first(reader if has_header else None, may_be_empty=may_be_empty)
        while following:
            works = [partial(reader.read, place, *piece) for place, piece in enumerate(following)]
            tables: list[pa.Table] = []
            fault: _Fault | None = None
            try:
                tables, following = await beside(works, partial(pieces.take, _WORKERS))
            except _Fault as caught:
                fault = caught
            if fault is not None:
                raise fault.error(reader.rows_before(fault.place) + fault.row)
            del works
            reader.settle()
            for table in tables:
                for batch in table.to_batches():
                    if batch.num_rows:
                        yield batch
            tables.clear()
        check_count(reader.rows, expected_rows)
    finally:
        await closed(source)


async def closed(source: object) -> None:
    """Close what can be closed, also while this task is being cancelled."""
    if (close := getattr(source, "aclose", None)) is not None:
        with anyio.CancelScope(shield=True):
            await close()


async def gather(source: AsyncIterator[bytes], data: bytearray, size: int) -> bool:
    """Add chunks until there are `size` bytes; return whether that was all."""
    chunks: list[bytes] = []  # added at once, or the data would be moved again and again as it grows
    left = size - len(data)
    is_over = False
    while left > 0 and not is_over:
        try:
            chunks.append(await anext(source))
            left -= len(chunks[-1])
        except StopAsyncIteration:
            is_over = True
    data += b"".join(chunks)
    return is_over


async def beside(works: Sequence[Callable[[], T]], wait: Callable[[], Awaitable[V]]) -> tuple[list[T], V]:
    """Call all of `works`, each in a thread, and await `wait` in this task, at once; return all results.

    If one of `works` fails, `wait` is cancelled. Nothing can stop a thread: when this ends, all of `works` have ended.
    What the first of them raised is raised before what others, and `wait`, did; never in a group.
    """
    done: dict[int, T] = {}
    waited: list[V] = []
    failed: dict[int, Exception] = {}

    async def run(place: int, work: Callable[[], T]) -> None:
        try:
            done[place] = await to_thread.run_sync(work)
        except Exception as error:  # noqa: BLE001 - raised below
            failed[place] = error
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for place, work in enumerate(works):
            group.start_soon(run, place, work)
        try:
            waited.append(await wait())
        except Exception as error:  # noqa: BLE001 - raised below
            failed[len(works)] = error
    if failed:
        raise failed[min(failed)]
    return [done[place] for place in range(len(works))], waited[0]


class _Pieces:
    """Cuts a stream between rows. size: of a piece, about."""

    def __init__(self, source: AsyncIterator[bytes], size: int) -> None:
        self._source = source
        self._size = size
        self._data = bytearray()
        self._is_over = False

    async def first(self, reader: "_Reader | None", *, may_be_empty: bool) -> list[tuple[bytearray, bool]]:
        """The beginning, a small piece, so that rows are there soon. `reader` gets the header line, if any."""
        size = min(self._size, _FIRST_BYTES)
        self._is_over = await gather(self._source, self._data, size)
        if self._data.startswith(BOM):
            del self._data[: len(BOM)]
        if reader is not None and not self._data and not may_be_empty:
            raise no_header()
        while reader is not None and self._data:
            end = end_of_first_row(self._data)
            if end or self._is_over:
                end = end or len(self._data)
                reader.take_header(self._data[:end])
                del self._data[:end]
                break
            await self._more()
        return await self.take(1, size)

    async def take(self, count: int, size: int = 0) -> list[tuple[bytearray, bool]]:
        """So many of the next pieces, each with whether it is the last; none at the end."""
        pieces: list[tuple[bytearray, bool]] = []
        while len(pieces) < count and not self._is_over:
            self._is_over = await gather(self._source, self._data, size or self._size)
            end = 0
            while not self._is_over and not (end := end_of_rows(self._data)):
                await self._more()
            if self._is_over:
                end = len(self._data)
            piece, self._data = self._data, self._data[end:]
            del piece[end:]
            pieces.append((piece, self._is_over))
        if self._is_over and self._data:
            pieces.append((self._data, True))
            self._data = bytearray()
        return pieces

    async def _more(self) -> None:
        if len(self._data) > LONGEST_ROW:
            raise too_long()
        self._is_over = await gather(self._source, self._data, 2 * len(self._data))


class _Fault(Exception):
    """What is wrong with a piece, before it is known how many rows the pieces before it have.

    place:  of the piece, among those that are read at the same time.
    row:    in the piece, from 1.
    error:  makes the error for the user, of the number of the row in the whole.
    """

    def __init__(self, place: int, row: int, error: Callable[[int], DomoError]) -> None:
        super().__init__()
        self.place = place
        self.row = row
        self.error = error


class _Reader:
    """Parses pieces, several at a time.

    rows:  how many rows the pieces had for which `settle` was called.
    """

    def __init__(self, schema: Schema, types: Mapping[str, pa.DataType] | None) -> None:
        if not len(schema):
            raise DomoDecodeError("the DataSet has no columns", status=200)
        self.rows = 0
        self._counts: dict[int, int] = {}  # rows of the pieces that are being read
        self._schema = schema
        self._arrow = arrow_schema(schema, types)
        self._order = list(range(len(schema)))  # for each cell of a row, its column
        self._as_text = {place for place, field in enumerate(self._arrow) if field.type not in _DIRECT}
        # A row of nulls, put behind each piece: it comes out as one exactly if the piece ends outside quotes.
        self._end = b",".join([rb"\N"] * len(schema)) + b"\n"

    def take_header(self, line: bytearray) -> None:
        self._order = order_of(line, self._schema)

    def rows_before(self, place: int) -> int:
        return self.rows + sum(self._counts[before] for before in range(place))

    def settle(self) -> None:
        self.rows += sum(self._counts.values())
        self._counts.clear()

    def read(self, place: int, data: bytearray, is_last: bool) -> pa.Table:
        """The rows of a piece, which begins between rows, and ends so unless it is the last; `data` is used up."""
        if data.startswith(BOM):
            data[:0] = BOM  # the parser takes one off, and this one belongs to a cell
        whole = end_of_rows(data) if is_last else len(data)
        is_cut = whole < len(data)
        if is_cut and not data.endswith(b"\r"):
            data += b"\n"
        data += self._end
        table, as_text = self._parsed(place, data, whole if is_cut else None)
        count = table.num_rows - 1
        if count < 0 or any(column[count].is_valid for column in table.columns):
            raise _Fault(place, count + 1, inside_quotes if is_last else _misplaced_quote)
        table = self._typed(place, table.slice(0, count), as_text, is_cut=is_cut)
        self._counts[place] = count
        return table

    def _parsed(self, place: int, data: bytearray, whole: int | None) -> tuple[pa.Table, set[int]]:
        """A table in the order of the schema, and which of its columns are still texts.

        whole:  where the last whole row ends, if it is not the last row of the data.
        """
        as_text = set(self._as_text)
        try:
            return self._parse(data, as_text), as_text
        except pa.ArrowInvalid as error:
            said = str(error)
        if found := _COLUMN.search(said):
            # Texts are slower, but take what Arrow is too strict for. If one piece has such cells, the next will, too.
            self._as_text.add(self._order[int(found[1])])
        every = set(range(len(self._order)))
        try:
            return self._parse(data, every), every
        except pa.ArrowInvalid as error:
            said = str(error)
        if whole is not None:
            try:
                raise _Fault(place, self._parse(data[:whole] + self._end, every).num_rows, inside_row)
            except pa.ArrowInvalid as error:
                said = str(error)
        if found := _WRONG_ROW.search(said):
            raise _Fault(place, int(found[1]), partial(_wrong_row, found[3], found[2]))
        raise _Fault(place, 1, _no_csv)

    def _parse(self, data: bytearray, as_text: set[int]) -> pa.Table:
        kinds = [pa.binary() if place in as_text else self._arrow.field(place).type for place in self._order]
        return pc.read_csv(
            pa.BufferReader(pa.py_buffer(data)),
            # One block, in this thread: other threads have pieces of their own, and that is quicker.
            pc.ReadOptions(
                use_threads=False,
                block_size=len(data),
                column_names=[str(place) for place in self._order],
            ),
            pc.ParseOptions(
                newlines_in_values=True,
                ignore_empty_lines=len(self._order) > 1,  # with one column, an empty line is a null
            ),
            pc.ConvertOptions(
                column_types={str(place): kind for place, kind in zip(self._order, kinds, strict=True)},
                include_columns=[str(place) for place in range(len(self._order))],
                null_values=["", r"\N"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _typed(self, place: int, table: pa.Table, as_text: set[int], *, is_cut: bool) -> pa.Table:
        columns: list[pa.ChunkedArray] = []
        for index, field in enumerate(self._arrow):
            try:
                columns.append(convert(table.column(index), field.type) if index in as_text else table.column(index))
            except BadCell as caught:
                bad = caught
            else:
                continue
            if is_cut and bad.row == table.num_rows - 1 and index == self._order[-1]:
                raise _Fault(place, bad.row + 1, inside_row)
            raise _Fault(place, bad.row + 1, partial(bad_cell_error, bad, field.name, field.type))
        return pa.Table.from_arrays(columns, schema=self._arrow)


def _misplaced_quote(row: int) -> DomoDecodeError:
    return DomoDecodeError(f"a double quote stands inside an unquoted cell, before row {row + 1:,}", status=200)


def _no_csv(row: int) -> DomoDecodeError:
    return DomoDecodeError(f"the answer is no CSV from row {row:,} on", status=200)


def _wrong_row(cells: str, columns: str, row: int) -> DomoDecodeError:
    return DomoDecodeError(f"row {row:,} has {cells} cells, and the DataSet has {columns} columns", status=200)
