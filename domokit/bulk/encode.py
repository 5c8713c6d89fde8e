"""Batches to parts: CSV as Domo takes it, straight into the compressor.

The CSV: UTF-8, no header, LF after every row. Text is always in double quotes and NULL never is, so an empty text,
the text '\\N' and NULL stay apart. A DataSet of a single column has NULL as \\N, since Domo refuses blank lines.
Floats have the fewest digits that give the same float, decimals never have an exponent. The values: see
`domokit.bulk.convert`.

The same rows give the same CSV in the same parts, with the same versions of the libraries; how isal compresses it may
differ in a few bytes.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Literal, Protocol

import anyio.to_thread
import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from domokit.bulk.convert import PLAIN_SCALE, Values, check, check_time_zone, convert, settled
from domokit.bulk.schema import Schema
from domokit.bulk.sources import Source
from domokit.bulk.types import is_text
from domokit.errors import InvalidInputError, MissingExtraError

__all__ = ["Compression", "Cut", "Encoder", "Part", "check", "parts_of"]

Compression = Literal["auto", "isal", "zlib"]

_STEP_ROWS, _STEP_CELLS = 16_384, 300_000  # converted and written at a time, at most: larger steps need more memory
_LOOK_ROWS = 4096  # whose size is looked at together, to see where a part ends
_SAMPLE = 1000  # rows that say how long the CSV of the others will be
_GZIP = 31  # zlib's window bits for a gzip wrapper
_ROWS_WORTH_A_BATCH = 1024


class Compressor(Protocol):
    def compress(self, data: Any, /) -> bytes: ...
    def flush(self) -> bytes: ...


@attrs.frozen
class Cut:
    """Rows that make one part.

    number:     of the part, from 1.
    first_row:  number of its first row in the data, from 1.
    """

    number: int
    first_row: int
    rows: int
    batches: tuple[pa.RecordBatch, ...] = attrs.field(repr=False)


@attrs.frozen
class Part:
    """What goes over the wire.

    raw_bytes:  of the CSV before compression.
    body:       gzip, or plain CSV if the encoder does not compress.
    """

    rows: int
    raw_bytes: int
    body: bytes = attrs.field(repr=False)
    is_compressed: bool = True


@attrs.frozen
class Encoder:
    """Makes parts for a DataSet with these columns. Any number of threads may use it at once; it keeps nothing.

    time_zone:    IANA name of the zone that timestamps with a zone are moved to; UTC if None.
    compression:  'isal' (several times faster) or 'zlib', 'auto' for the best there is; None for plain CSV.
    Raises: MissingExtraError if isal is asked for and not installed; InvalidInputError.
    """

    schema: Schema = attrs.field(validator=lambda _self, _field, value: value.check())
    time_zone: str | None = attrs.field(default=None, validator=lambda _self, _field, value: check_time_zone(value))
    compression: Compression | None = "auto"
    _compressor: Callable[[], Compressor] | None = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_compressor", _compressor(self.compression))

    def encode(self, cut: Cut | Sequence[pa.RecordBatch]) -> Part:
        """One part of these rows, whose columns are found by name. Blocks: call it in a thread.

        A column that the rows lack is NULL in all of them: `check` says whether that is so.
        Raises: InvalidDataError, SchemaMismatchError for a column too many.
        """
        batches, first_row = (cut.batches, cut.first_row) if isinstance(cut, Cut) else (cut, 1)
        sink = _Sink(self._compressor() if self._compressor else None)
        rows = self._write(batches, sink, first_row)
        return Part(rows=rows, raw_bytes=sink.raw_bytes, body=sink.finish(), is_compressed=self._compressor is not None)

    def measure(self, batches: Sequence[pa.RecordBatch]) -> int:
        """How many bytes of CSV these batches make."""
        sink = _Sink(None, keep=False)
        self._write(batches, sink, 1)
        return sink.raw_bytes

    def _write(self, batches: Sequence[pa.RecordBatch], sink: "_Sink", first_row: int) -> int:
        at = first_row
        step = max(1, min(_STEP_ROWS, _STEP_CELLS // max(1, len(self.schema))))
        for batch in _gathered(batches):
            for start in range(0, batch.num_rows, step):
                piece = convert(
                    batch.slice(start, step), self.schema, time_zone=self.time_zone, first_row=at + start, fill=True
                )
                _write_csv(piece, sink)
            at += batch.num_rows
        return at - first_row


async def parts_of(source: Source, encoder: Encoder, *, part_bytes: int = 10_000_000) -> AsyncGenerator[Cut, None]:
    """The rows of a source, cut where a part of the CSV has about `part_bytes` before compression. Copies nothing.

    A source without rows gives no parts. Where it cuts depends on the data alone, so the same source is always cut
    alike, and a load that stopped can go on with the part it lacks.
    """
    if part_bytes < 1:
        raise InvalidInputError("part_bytes must be at least 1")
    cutter = _Cutter(part_bytes)
    async with aclosing(source.batches()) as batches:
        async for batch in batches:
            if not batch.num_rows:
                continue
            if cutter.row_bytes is None:
                sample = batch.slice(0, _SAMPLE)
                raw_bytes = await anyio.to_thread.run_sync(encoder.measure, [sample])
                of_texts = _Texts(sample.columns).size(0, sample.num_rows)
                cutter.row_bytes = max(1.0, (raw_bytes - of_texts) / sample.num_rows)
            for cut in cutter.feed(batch):
                yield cut
    if (cut := cutter.rest()) is not None:
        yield cut


class _Cutter:
    """Collects rows to parts. The size of their CSV is that of the texts and, for all else, a fixed size of a row."""

    def __init__(self, part_bytes: int) -> None:
        self.row_bytes: float | None = None  # without its texts
        self._part_bytes = part_bytes
        self._pending: list[pa.RecordBatch] = []
        self._size = 0.0
        self._number = 1
        self._first_row = 1

    def feed(self, batch: pa.RecordBatch) -> Iterator[Cut]:
        begin = 0  # of the rows of this batch that are not in a part yet
        for start, size in self._steps(batch):
            if self._size and self._size + size / 2 > self._part_bytes:
                if start > begin:
                    self._pending.append(batch.slice(begin, start - begin))
                    begin = start
                if (cut := self.rest()) is not None:
                    yield cut
            self._size += size
        if begin < batch.num_rows:
            self._pending.append(batch.slice(begin))

    def rest(self) -> Cut | None:
        if not self._pending:
            return None
        rows = sum(one.num_rows for one in self._pending)
        cut = Cut(number=self._number, first_row=self._first_row, rows=rows, batches=tuple(self._pending))
        self._pending, self._size = [], 0.0
        self._number += 1
        self._first_row += rows
        return cut

    def _steps(self, batch: pa.RecordBatch) -> Iterator[tuple[int, float]]:
        """(first row, bytes of CSV): steps that are small against a part, of one row at least."""
        text = _Texts(batch.columns)
        for start in range(0, batch.num_rows, _LOOK_ROWS):
            rows = min(_LOOK_ROWS, batch.num_rows - start)
            size = text.size(start, rows) + rows * (self.row_bytes or 1.0)
            step = max(1, min(rows, int(rows * self._part_bytes / 8 / size)))
            for inner in range(0, rows, step):
                yield start + inner, size * min(step, rows - inner) / rows


class _Texts:
    """What the texts of some columns take; nothing is looked at but the ends of their buffers."""

    def __init__(self, columns: Iterable[Values]) -> None:
        self._ends: list[tuple[Any, int]] = []  # where the texts of a column end, and which of the ends is the first
        self._of_a_row = 0.0
        for column in columns:
            self._add(column)

    def _add(self, column: Values) -> None:
        kind = column.type
        if isinstance(kind, pa.DictionaryType):
            words = column.dictionary
            self._of_a_row += _Texts([words]).size(0, len(words)) / max(1, len(words))
        elif pa.types.is_string_view(kind):
            self._add(settled(column))
        elif is_text(kind) and len(column):
            offsets = memoryview(column.buffers()[1]).cast("i" if pa.types.is_string(kind) else "q")
            self._ends.append((offsets, column.offset))

    def size(self, start: int, rows: int) -> float:
        stop = start + rows
        return rows * self._of_a_row + sum(ends[at + stop] - ends[at + start] for ends, at in self._ends)


def _gathered(batches: Sequence[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """The batches, or fewer and larger ones if they are so small that handling each would cost more than a copy."""
    if len(batches) > 1 and sum(one.num_rows for one in batches) < len(batches) * _ROWS_WORTH_A_BATCH:
        first = batches[0].schema
        if all(one.schema.equals(first) for one in batches):
            return pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batches


def _write_csv(batch: pa.RecordBatch, sink: "_Sink") -> None:
    if _needs_own_text(batch):
        sink.write(_own_text(batch))
    else:
        options = pyarrow.csv.WriteOptions(include_header=False, batch_size=_STEP_ROWS, quoting_style="needed")
        pyarrow.csv.write_csv(batch, sink, options)


def _needs_own_text(batch: pa.RecordBatch) -> bool:
    """Whether Arrow's writer would make a blank line, or a decimal with an exponent."""
    if batch.num_columns == 1 and batch.column(0).null_count:
        return True
    return any(pa.types.is_decimal(kind) and kind.scale > PLAIN_SCALE for kind in batch.schema.types)


def _own_text(batch: pa.RecordBatch) -> memoryview:
    """The same CSV that Arrow's writer makes, but for NULL in a single column and for decimals. Slower."""
    null = "\\N" if batch.num_columns == 1 else ""
    cells = [pc.fill_null(_cells(column), null) for column in batch.columns]
    rows = _joined(*cells, between=",") if len(cells) > 1 else cells[0]
    lines = _joined(rows, "\n")
    _, offsets, data = lines.buffers()
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]] if data else memoryview(b"")


def _cells(column: Values) -> Values:
    text = column.cast(pa.large_string())
    if is_text(column.type):
        return _joined('"', pc.replace_substring(text, '"', '""'), '"')
    if pa.types.is_decimal(column.type) and column.type.scale > PLAIN_SCALE:
        text = pc.if_else(pc.equal(column, pa.scalar(Decimal(0), column.type)), pa.scalar("0", pa.large_string()), text)
        odd = pc.fill_null(pc.match_substring(text, "E"), False)
        if pc.any(odd).as_py():
            plain = [format(Decimal(one), "f") for one in pc.filter(text, odd).to_pylist()]
            text = pc.replace_with_mask(text, odd, pa.array(plain, pa.large_string()))
    return text


def _joined(*texts: Values, between: str = "") -> Values:
    large = [pa.scalar(one, pa.large_string()) if isinstance(one, str) else one for one in (*texts, between)]
    return pc.binary_join_element_wise(*large)


class _Sink:
    """A file to write to, that keeps what comes out of the compressor."""

    closed = False

    def __init__(self, compressor: Compressor | None, *, keep: bool = True) -> None:
        self.raw_bytes = 0
        self._compressor = compressor
        self._keep = keep
        self._kept: list[bytes] = []

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.raw_bytes += view.nbytes
        if self._compressor is not None:
            if compressed := self._compressor.compress(view):
                self._kept.append(compressed)
        elif self._keep:
            self._kept.append(bytes(view))
        return view.nbytes

    def finish(self) -> bytes:
        if self._compressor is not None:
            self._kept.append(self._compressor.flush())
        return b"".join(self._kept)

    def writable(self) -> bool:
        return True

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _compressor(compression: Compression | None) -> Callable[[], Compressor] | None:
    if compression is None:
        return None
    if compression not in ("auto", "isal", "zlib"):
        raise InvalidInputError(f"compression is 'auto', 'isal', 'zlib' or None, not {compression!r}")
    if compression != "zlib":
        try:
            from isal import isal_zlib
        except ImportError:
            if compression == "isal":
                raise MissingExtraError(
                    "isal is not installed", hint="pip install 'domokit[data]', or pass compression='zlib'."
                ) from None
        else:
            return lambda: isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)
    return lambda: zlib.compressobj(1, zlib.DEFLATED, _GZIP)
