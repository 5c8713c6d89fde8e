"""CSV that is passed on to a file."""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from typing import IO

import attrs
import pyarrow as pa
from anyio import to_thread

from domokit.bulk.decode import beside, closed, gather
from domokit.bulk.encode import Encoder
from domokit.bulk.progress import Watch
from domokit.bulk.scan import BOM, LONGEST_ROW, RowCounter, end_of_first_row, no_header, order_of, too_long
from domokit.bulk.schema import Schema
from domokit.bulk.types import schema_of
from domokit.errors import DomoDecodeError

_WRITE_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class Stream:
    """An answer that holds rows as CSV.

    chunks:         its bytes, decompressed, cut anywhere. They are closed when they are no longer read.
    schema:         its columns.
    has_header:     whether its first row holds their names.
    expected_rows:  how many rows are due; fewer are an error.
    may_be_empty:   whether the first row with the names may be missing together with all others.
    total_bytes:    how many bytes `chunks` will give, if that is known.
    """

    chunks: AsyncIterable[bytes]
    schema: Schema
    has_header: bool
    expected_rows: int | None = None
    may_be_empty: bool = True
    total_bytes: int | None = None


async def copy(stream: Stream, file: IO[bytes], watch: Watch, *, with_header: bool) -> int:
    """Write the CSV of `stream` as it is; return how many rows it has. Header, end and number of rows are checked."""
    source = aiter(stream.chunks)
    try:
        data = bytearray()
        is_last = await gather(source, data, _WRITE_BYTES)
        while stream.has_header and not is_last and not end_of_first_row(data):
            if len(data) > LONGEST_ROW:
                raise too_long()
            is_last = await gather(source, data, 2 * len(data))
        if not data.removeprefix(BOM):
            data.clear()
        if stream.has_header and not data and not stream.may_be_empty:
            raise no_header()
        watch.advance(bytes=len(data))
        counter = RowCounter()
        data = _after_header(data, stream, file if with_header else None)
        while data or not is_last:
            before, following = counter.rows, bytearray()
            work = partial(_put, file, data, counter)
            _, is_over = await beside([work], partial(gather, source, following, 0 if is_last else _WRITE_BYTES))
            is_last = is_last or is_over
            watch.advance(rows=counter.rows - before, bytes=len(following))
            data = following
        return counter.finish(len(stream.schema), stream.expected_rows)
    finally:
        await closed(source)


def _put(file: IO[bytes], data: bytearray, counter: RowCounter) -> None:
    counter.feed(data)
    file.write(data)


def _after_header(data: bytearray, stream: Stream, file: IO[bytes] | None) -> bytearray:
    """Check the header and write it, or one of our own, into `file`, if there is one. Returns what comes after it."""
    head = b""
    if stream.has_header and data:
        head = bytes(data[: end_of_first_row(data) or len(data)])
        order = order_of(head, stream.schema)
        if file is None and order != sorted(order):
            raise DomoDecodeError(
                "the answer has the columns in another order than the DataSet",
                status=200,
                hint="Pass header=True, so that the file says which is which.",
            )
    if file is not None:
        file.write(head or _header(stream.schema.names))
    return data[len(head) :] if head or not data.startswith(BOM) else data[len(BOM) :]


def _header(names: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue().encode()


async def write_table(
    file: IO[bytes], schema: pa.Schema, batches: AsyncIterator[pa.RecordBatch], *, with_header: bool
) -> int:
    """Write batches as the CSV that Domo takes; return how many rows they have."""
    encoder = Encoder(schema_of(schema), compression=None)
    if with_header:
        file.write(_header(schema.names))
    count = 0
    async for batch in batches:
        part = await to_thread.run_sync(encoder.encode, [batch])
        await to_thread.run_sync(file.write, part.body)
        count += batch.num_rows
    return count
