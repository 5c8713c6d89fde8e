"""A source of batches, and how it is read without holding up the event loop."""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Self

import anyio.to_thread
import attrs
import pyarrow as pa

from domokit.bulk.convert import convert, typed_as
from domokit.bulk.schema import Schema
from domokit.errors import InvalidInputError


def _nothing() -> None: ...


@attrs.define(eq=False)
class Source:
    """Rows to upload.

    schema:         their columns in Domo's types. Batches have these columns, in Arrow types that convert to them.
    rows:           how many, if that is known before reading.
    nbytes:         about how many bytes they take, if known: of CSV, if they come from a CSV file, else in memory.
    is_repeatable:  whether `batches()` can be called again and gives the same rows in the same batches.
    """

    schema: Schema
    _read: Callable[[], Iterator[pa.RecordBatch] | AsyncGenerator[pa.RecordBatch, None]] = attrs.field(
        alias="read", repr=False
    )
    rows: int | None = None
    nbytes: int | None = None
    is_repeatable: bool = False
    _close: Callable[[], Any] = attrs.field(default=_nothing, alias="close", repr=False)
    _is_spent: bool = attrs.field(default=False, init=False, repr=False)

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """The rows, batch by batch; each is read, in a worker thread, when it is asked for, and none before."""
        reading = self.read()
        if isinstance(reading, AsyncGenerator):
            async with aclosing(reading):
                async for batch in reading:
                    yield batch
            return
        try:
            while (batch := await anyio.to_thread.run_sync(_next, reading)) is not None:
                yield batch
        finally:
            _close_iterator(reading)

    def read(self) -> Iterator[pa.RecordBatch] | AsyncGenerator[pa.RecordBatch, None]:
        """As `batches()`, without a thread."""
        if self._is_spent and not self.is_repeatable:
            raise InvalidInputError("this data can be read only once, and it was")
        self._is_spent = True
        return self._read()

    def typed(self, wanted: Schema, time_zone: str | None) -> "Source":
        """The same, with columns converted to the types that are wanted."""
        schema = typed_as(self.schema, wanted)
        if schema == self.schema:
            return self
        return attrs.evolve(self, schema=schema, read=lambda: converted(self.read(), schema, time_zone))  # type: ignore[arg-type]

    async def aclose(self) -> None:
        """Closes what was opened here: files, and iterators that were handed over. Files of the user stay open."""
        closing = self._close()
        if closing is not None:
            await closing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def converted(
    batches: Iterator[pa.RecordBatch], schema: Schema, time_zone: str | None, first_row: int = 1
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield convert(batch, schema, time_zone=time_zone, first_row=first_row)
        first_row += batch.num_rows


def rows_at_once(columns: int) -> int:
    """How many rows to make a batch of, where that is ours to say: fewer of wide ones."""
    return max(256, min(16_384, 1_000_000 // max(1, columns)))


def _next(reading: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    return next(reading, None)


def _close_iterator(reading: Any) -> None:
    if (close := getattr(reading, "close", None)) is not None:
        close()
