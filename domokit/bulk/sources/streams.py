"""Iterators of batches: frames, tables, lists of dicts, or dicts.

The first batch says which columns there are; the later ones are converted to them, unless `schema` says better.
They can be read once only.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import chain
from typing import Any

import anyio.to_thread
import pyarrow as pa

from domokit.bulk.convert import convert, typed_as
from domokit.bulk.schema import Schema
from domokit.bulk.sources.base import Source
from domokit.bulk.sources.frames import open_frame
from domokit.bulk.sources.rows import source_of, table_of
from domokit.errors import InvalidInputError

_ROWS = 10_000  # dicts that come one by one, to a batch


def open_iterator(data: Iterable[Any], schema: Schema | None, time_zone: str | None) -> Source:
    """Blocks until the first batch is there."""
    iterator = iter(data)
    groups = _groups(iterator)

    def close() -> None:
        groups.close()
        if (close_it := getattr(iterator, "close", None)) is not None:
            close_it()

    try:
        first = next(groups, None)
        reading = _Batches(first, schema, time_zone)
    except BaseException:
        close()
        raise

    def read() -> Iterator[pa.RecordBatch]:
        for group in groups if first is None else chain([first], groups):
            yield from reading.of(group)

    return Source(reading.schema, read, close=close)


async def open_async_iterator(data: AsyncIterable[Any], schema: Schema | None, time_zone: str | None) -> Source:
    """Waits for the first batch. The iterator itself is awaited in the event loop."""
    iterator = aiter(data)
    groups = _async_groups(iterator)

    async def close() -> None:
        await groups.aclose()
        if (close_it := getattr(iterator, "aclose", None)) is not None:
            await close_it()

    try:
        first = await anext(groups, None)
        reading = await anyio.to_thread.run_sync(_Batches, first, schema, time_zone)
    except BaseException:
        await close()
        raise

    async def read() -> AsyncGenerator[pa.RecordBatch, None]:
        group = first
        while group is not None:
            for batch in await anyio.to_thread.run_sync(list, reading.of(group)):
                yield batch
            group = await anext(groups, None)

    return Source(reading.schema, read, close=close)


class _Batches:
    """Makes batches of what an iterator gives, all with the columns of the first."""

    def __init__(self, first: Any, schema: Schema | None, time_zone: str | None) -> None:
        if first is None and schema is None:
            raise InvalidInputError("the iterator gave nothing", hint="Pass schema= for data that may have no rows.")
        self._known: list[str] = []  # columns that dicts may lack
        self._time_zone = time_zone
        self._first_row = 1
        found = schema if first is None else self._opened(first, [] if schema is None else schema.names).schema
        assert found is not None
        self.schema = found if schema is None else typed_as(found, schema)
        self._known = found.names

    def of(self, item: Any) -> Iterator[pa.RecordBatch]:
        for batch in self._opened(item, self._known).read():  # type: ignore[union-attr]
            yield convert(batch, self.schema, time_zone=self._time_zone, first_row=self._first_row)
            self._first_row += batch.num_rows

    def _opened(self, item: Any, known: Sequence[str]) -> Source:
        if (frame := open_frame(item)) is not None:
            return frame
        if isinstance(item, Sequence) and all(isinstance(row, Mapping) for row in item):
            return source_of(table_of(item, known=known, first_row=self._first_row))
        raise InvalidInputError(
            f"the iterator gave {type(item).__name__}, which is no batch of rows",
            hint="Let it give frames, Arrow tables or batches, lists of dicts, or dicts.",
        )


def _groups(iterator: Iterator[Any]) -> Generator[Any, None, None]:
    """Batches as they are, dicts gathered to lists; no empty lists, which have no columns."""
    rows: list[Any] = []
    for item in iterator:
        if isinstance(item, Mapping):
            rows.append(item)
            if len(rows) == _ROWS:
                yield rows
                rows = []
        elif not _is_empty_list(item):
            yield item
    if rows:
        yield rows


async def _async_groups(iterator: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    rows: list[Any] = []
    async for item in iterator:
        if isinstance(item, Mapping):
            rows.append(item)
            if len(rows) == _ROWS:
                yield rows
                rows = []
        elif not _is_empty_list(item):
            yield item
    if rows:
        yield rows


def _is_empty_list(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and not item
