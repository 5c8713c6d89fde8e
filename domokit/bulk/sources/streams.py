"""Iterators of batches: frames, tables, lists of dicts, or dicts.

The first batch says which columns there are; the later ones are converted to them, unless `schema` says better. But
text is not parsed for a column of which only the first batch says that it is a number or a time: "007" is no 7 then.
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

from domokit.bulk.convert import convert, refuse, typed_as
from domokit.bulk.schema import Schema
from domokit.bulk.sources.base import Source
from domokit.bulk.sources.frames import open_frame
from domokit.bulk.sources.rows import source_of, table_of
from domokit.bulk.types import is_text, plain_type
from domokit.errors import InvalidInputError

_ROWS = 10_000  # dicts that come one by one, to a batch
_HINT = "Pass schema=, with the types that all of the data fits."


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
        said = {one.casefold() for one in schema.names} if schema is not None else set()
        self._guessed = {one.name.casefold(): one for one in self.schema if one.name.casefold() not in said}

    def of(self, item: Any) -> Iterator[pa.RecordBatch]:
        for batch in self._opened(item, self._known).read():  # type: ignore[union-attr]
            for field, values in zip(batch.schema, batch.columns, strict=True):
                column = self._guessed.get(field.name.casefold())
                if column is not None and column.type != "STRING" and is_text(plain_type(field.type)):
                    what = f"text in a column that began as {column.type}"
                    refuse(values, values.is_valid(), column.name, what, self._first_row, _HINT)
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


class _Gathering:
    """Dicts to lists, batches as they are, in the order they come; no empty lists, which have no columns."""

    def __init__(self) -> None:
        self._rows: list[Any] = []

    def add(self, item: Any) -> list[Any]:
        """The groups that are complete with it."""
        if isinstance(item, Mapping):
            self._rows.append(item)
            return self.rest() if len(self._rows) == _ROWS else []
        is_empty_list = isinstance(item, (list, tuple)) and not item
        return self.rest() if is_empty_list else [*self.rest(), item]

    def rest(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return [rows] if rows else []


def _groups(iterator: Iterator[Any]) -> Generator[Any, None, None]:
    gathering = _Gathering()
    for item in iterator:
        yield from gathering.add(item)
    yield from gathering.rest()


async def _async_groups(iterator: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    gathering = _Gathering()
    async for item in iterator:
        for group in gathering.add(item):
            yield group
    for group in gathering.rest():
        yield group
