"""Whatever data users hold, as one thing to read Arrow batches from.

    frames   pandas and polars (frames and lazy frames), Arrow tables, batches, readers, datasets and scanners, and
             everything that speaks the Arrow C stream protocol, such as DuckDB's relations
    files    CSV, TSV, JSON lines (each also as .gz), Parquet, Arrow IPC (Feather): a path, a binary file object, bytes
    rows     a list of dicts
    streams  iterators and asynchronous iterators of frames, of lists of dicts, or of dicts

What each of them means by a column's type is said in `frames`, `rows` and `files`.
"""

import inspect
from collections.abc import AsyncIterable, Iterable, Mapping
from os import PathLike
from typing import Any

import anyio.to_thread

from domokit.bulk.convert import check_time_zone
from domokit.bulk.schema import Schema
from domokit.bulk.sources.base import Source
from domokit.bulk.sources.files import open_file
from domokit.bulk.sources.frames import open_frame
from domokit.bulk.sources.rows import open_rows
from domokit.bulk.sources.streams import open_async_iterator, open_iterator
from domokit.errors import InvalidInputError

__all__ = ["Source", "open_source"]


async def open_source(
    data: Any,
    *,
    schema: Schema | None = None,
    time_zone: str | None = None,
    format: str | None = None,  # noqa: A002
    header: bool = True,
    delimiter: str | None = None,
) -> Source:
    """Data as a source of batches, with the Domo schema they have. Reads no more of it than that takes.

    schema:     the types that are wanted, found by column name (upper and lower case alike): columns of these names
                are converted or parsed; the others keep the types they have.
    time_zone:  IANA name of the zone that timestamps with a zone are moved to; UTC if None.
    format:     of a file whose name and first bytes do not say it: csv, tsv, ndjson (or jsonl), parquet,
                arrow (or ipc, feather).
    header:     whether the first row of a CSV file has the names; else `schema` has them, in the order of the file.
    delimiter:  of a CSV file; a comma if None, a tab for tsv.
    Iterators are asked in a worker thread, so what they use must not be bound to one thread (as SQLite's cursors are).
    Raises: InvalidInputError for what is no data, InvalidDataError for data that Domo cannot hold.
    """
    check_time_zone(time_zone)
    if isinstance(data, AsyncIterable):
        return await open_async_iterator(data, schema, time_zone)

    def open_it() -> Source:
        if _is_file(data):
            return open_file(data, schema, time_zone, format=format, header=header, delimiter=delimiter)
        if (frame := open_frame(data)) is not None:
            return frame if schema is None else frame.typed(schema, time_zone)
        if isinstance(data, (list, tuple)) and all(isinstance(one, Mapping) for one in data):
            return open_rows(data, schema, time_zone)
        if isinstance(data, Iterable) and not isinstance(data, (Mapping, set, frozenset)):
            return open_iterator(data, schema, time_zone)
        raise InvalidInputError(
            f"{type(data).__name__} is no data that can be uploaded",
            hint="Pass a DataFrame, an Arrow table, a path, a list of dicts, or an iterator of these.",
        )

    if inspect.iscoroutine(data):
        data.close()
        raise InvalidInputError("a coroutine is no data; await it first")
    return await anyio.to_thread.run_sync(open_it)


def _is_file(data: Any) -> bool:
    if isinstance(data, (str, PathLike, bytes, bytearray, memoryview)):
        return True
    # What pandas reads a file in chunks with has a read(), too; it gives frames.
    is_of_frames = hasattr(data, "__arrow_c_stream__") or type(data).__module__.startswith("pandas.")
    return callable(getattr(data, "read", None)) and not is_of_frames
