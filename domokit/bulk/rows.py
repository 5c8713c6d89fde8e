"""Rows that are still at Domo's, and every form they can be had in."""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from functools import partial
from html import escape
from importlib import import_module
from types import ModuleType, TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

import anyio.lowlevel
import pyarrow as pa
import pyarrow.parquet as pq
from anyio import to_thread

from domokit.bulk.cells import BadCell, convert
from domokit.bulk.decode import beside, closed, read_batches
from domokit.bulk.files import new_file
from domokit.bulk.passing import Stream, copy, write_table
from domokit.bulk.progress import Progress, Watch, watching
from domokit.bulk.schema import Schema
from domokit.bulk.types import arrow_schema
from domokit.errors import InvalidDataError, InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = ["Batches", "Rows", "Stream"]

Types = Mapping[str, Any]  # pa.DataType, which strict type checkers would call unknown in a public signature


class ToTable(Protocol):
    """Gives a table with these types. is_wide: whether a DECIMAL that is too long for its type gets a wider one."""

    def __call__(self, types: Types | None, *, is_wide: bool) -> pa.Table: ...


Showing = bool | Callable[[Progress], object]

_GROUP_ROWS = 65_536  # of one row group of a Parquet file, and what is held to make one
_GROUP_BYTES = 16 << 20


class Rows:
    """The rows of a DataSet or a query. Nothing is asked of Domo before one of the methods is called; each asks anew.

        table = await rows.to_arrow()
        count = await rows.to_parquet("orders.parquet")
        async with rows.iter_batches() as batches:
            async for batch in batches:
                …

    Column types: STRING string, LONG int64, DOUBLE float64, DECIMAL decimal128(38, 10), DATE date32, DATETIME
    timestamp("us") without a zone. `types` asks for others by column name: {"price": pa.float64()}.
    `progress` is True for a bar, or a function called with a `Progress` now and then.

    Every method raises IncompleteDataError if the answer was cut off or rows are missing, DomoDecodeError if the answer
    has other columns than the DataSet, InvalidDataError for a cell that its type cannot hold, and what the request
    raises. None of them gives part of the rows as if it were all. One thing cannot be told: where row policies take
    rows away Domo does not say how many are left, so an answer that comes without its length and ends exactly behind a
    row, or inside its very last cell, looks whole.

    open:    gives the answer, or a table, or what makes one (in a thread) of the types it is asked for; its block is
             left when enough was read. It must not span a cancel scope.
    what:    what it is, for the progress bar.
    schema:  its columns, as far as they are known before anything was asked.
    """

    def __init__(
        self,
        open: Callable[[], AbstractAsyncContextManager[Any]],  # noqa: A002
        *,
        what: str = "rows",
        schema: Schema | None = None,
    ) -> None:
        self.what = what
        self.schema = schema
        self._open = open
        self._table: pa.Table | None = None

    @classmethod
    def of_table(cls, table: Any, *, what: str = "rows") -> Self:
        """Rows of an Arrow table, which are here already."""
        rows = cls(lambda: nullcontext(table), what=what)
        rows._table = table
        return rows

    async def to_arrow(self, types: Types | None = None, *, progress: Showing = False) -> Any:
        """All of it as a pyarrow Table, in memory.

        types:     other types than the columns' own, by name.
        progress:  True for a bar, or a function that is called with a `Progress` now and then.
        """
        async with self._batches(types, progress) as (schema, batches):
            return pa.Table.from_batches([batch async for batch in batches], schema)

    async def to_pandas(
        self, types: Types | None = None, *, progress: Showing = False, **options: Any
    ) -> "pandas.DataFrame":
        """The dtypes hang on the types alone, not on the values: LONG is Int64, DOUBLE float64 (null is NaN), DATE and
        DATETIME datetime64, STRING what pandas has for text, DECIMAL objects of `decimal.Decimal`, which are slow:
        types={"price": pa.float64()} gives floats.

        options:  for `pyarrow.Table.to_pandas`.
        Raises: MissingExtraError, before anything is asked.
        """
        pandas = _needed("pandas", "pandas")
        kinds: Mapping[pa.DataType, Any] = {
            pa.int8(): pandas.Int8Dtype(),
            pa.int16(): pandas.Int16Dtype(),
            pa.int32(): pandas.Int32Dtype(),
            pa.int64(): pandas.Int64Dtype(),
            pa.uint8(): pandas.UInt8Dtype(),
            pa.uint16(): pandas.UInt16Dtype(),
            pa.uint32(): pandas.UInt32Dtype(),
            pa.uint64(): pandas.UInt64Dtype(),
            pa.bool_(): pandas.BooleanDtype(),
        }
        # Nobody else has this table: a column goes when it is converted.
        own = {"types_mapper": kinds.get, "date_as_object": False, "split_blocks": True, "self_destruct": True}
        chosen = own | options
        tables = [await self.to_arrow(types, progress=progress)]
        return await to_thread.run_sync(lambda: tables.pop().to_pandas(**chosen))

    async def to_polars(self, types: Types | None = None, *, progress: Showing = False) -> "polars.DataFrame":
        """Raises: MissingExtraError, before anything is asked; InvalidInputError, for types that polars has not."""
        polars = _needed("polars", "polars")
        if wide := [name for name, kind in (types or {}).items() if pa.types.is_decimal256(kind)]:
            raise InvalidInputError(
                f"polars has no decimals of more than 38 digits: {', '.join(map(repr, wide))}",
                hint="Take to_arrow(), or types= with pyarrow.decimal128 or string.",
            )
        tables = [await self.to_arrow(types, progress=progress)]
        return await to_thread.run_sync(lambda: polars.from_arrow(tables.pop()))

    async def to_dicts(self, types: Types | None = None, *, progress: Showing = False) -> list[dict[str, Any]]:
        """One dict for each row: handy for few rows, and large for many."""
        found: list[dict[str, Any]] = []
        async with self._batches(types, progress) as (_, batches):
            async for batch in batches:
                found += await to_thread.run_sync(batch.to_pylist)
        return found

    def iter_batches(self, types: Types | None = None, *, progress: Showing = False) -> "Batches":
        """What comes of some megabytes of CSV at a time: `async for batch in rows.iter_batches()`, in constant memory.

        If you may stop before the end, write `async with rows.iter_batches() as batches`: leaving that block closes the
        connection. Without it, that happens when Python or the event loop gets round to it.
        Errors come where they are met: the batches before were right, but were not all.
        """
        return Batches(self._each_batch(types, progress))

    def __aiter__(self) -> "Batches":
        return self.iter_batches()

    async def to_parquet(
        self,
        path: str | os.PathLike[str],
        types: Types | None = None,
        *,
        compression: str = "zstd",
        progress: Showing = False,
        **options: Any,
    ) -> int:
        """Write a Parquet file and return how many rows it has; in constant memory.

        The file is there when all of it is: before, there is one beside it that only its owner can read, and if this
        fails or is cancelled, nothing.
        options:  for `pyarrow.parquet.ParquetWriter`.
        Raises: InvalidInputError, for options that it does not take, or a path that cannot be written.
        """
        async with new_file(path, is_text=False) as file, self._batches(types, progress) as (schema, batches):
            try:
                writer = await to_thread.run_sync(
                    lambda: pq.ParquetWriter(file, schema, compression=compression, **options)
                )
            except (pa.ArrowException, ValueError, TypeError) as error:
                raise InvalidInputError(f"options of ParquetWriter: {error}") from None
            count = 0
            try:
                group = await _next_group(batches)
                while group:
                    table = pa.Table.from_batches(group, schema)
                    count += table.num_rows
                    _, group = await beside(
                        [partial(writer.write_table, table, row_group_size=max(1, table.num_rows))],
                        partial(_next_group, batches),
                    )
                await to_thread.run_sync(writer.close)
            except BaseException:
                with suppress(Exception):  # it is thrown away, and would complain later
                    writer.close()
                raise
        return count

    async def to_csv(
        self, path: str | os.PathLike[str] | IO[bytes], *, header: bool = True, progress: Showing = False
    ) -> int:
        r"""Write a CSV file and return how many rows it has; in constant memory. A name in .gz is compressed.

        The bytes are Domo's own: null may stand there as an empty cell or as \N, an empty text as "", and the columns
        in another order than the schema's. Checked are the header, the end and the number of rows, not the cells.
        A path is there when all of it is, as with `to_parquet`. A file object, open for bytes, may be left with a part
        of the rows if this fails; it is not closed.
        """
        if not (isinstance(path, (str, os.PathLike))):
            return await self._write_csv(path, header, progress)
        async with new_file(path, is_text=True) as file:
            return await self._write_csv(file, header, progress)

    async def _write_csv(self, file: IO[bytes], header: bool, progress: Showing) -> int:
        async with self._open() as stream:
            if not isinstance(stream, Stream):
                table = await _table_of(stream, None, is_wide=True)
                with watching(progress, self.what, total_rows=table.num_rows) as watch:
                    async with aclosing(_batches_of(table, watch)) as batches:
                        return await write_table(file, table.schema, batches, with_header=header)
            total = {"total_bytes": stream.total_bytes, "total_rows": stream.expected_rows}
            with watching(progress, self.what, **total) as watch:
                return await copy(stream, file, watch, with_header=header)

    @asynccontextmanager
    async def _batches(
        self, types: Types | None, progress: Showing
    ) -> AsyncGenerator[tuple[pa.Schema, AsyncIterator[pa.RecordBatch]], None]:
        """The Arrow schema, known from the start, and the batches."""
        async with self._open() as stream:
            if not isinstance(stream, Stream):
                table = await _table_of(stream, types)
                with watching(progress, self.what, total_rows=table.num_rows) as watch:
                    async with aclosing(_batches_of(table, watch)) as batches:
                        yield table.schema, batches
                return
            total = {"total_bytes": stream.total_bytes, "total_rows": stream.expected_rows}
            with watching(progress, self.what, **total) as watch:
                from_csv = read_batches(
                    _told(stream.chunks, watch),
                    stream.schema,
                    types=types,
                    has_header=stream.has_header,
                    expected_rows=stream.expected_rows,
                    may_be_empty=stream.may_be_empty,
                )
                async with aclosing(from_csv), aclosing(_counted(from_csv, watch)) as batches:
                    yield arrow_schema(stream.schema, types), batches

    async def _each_batch(self, types: Types | None, progress: Showing) -> AsyncGenerator[pa.RecordBatch, None]:
        async with self._batches(types, progress) as (_, batches):
            async for batch in batches:
                yield batch

    def __repr__(self) -> str:
        if self._table is not None:
            return f"Rows({self.what}: {self._table.num_rows:,} × {self._table.num_columns})"
        return f"Rows({self.what}{f': {len(self.schema)} columns' if self.schema is not None else ''}, not read yet)"

    def _repr_html_(self) -> str:
        columns = "".join(f"<li>{escape(str(column))}</li>" for column in self.schema or ())
        return f"<div><code>{escape(repr(self))}</code>{f'<ul>{columns}</ul>' if columns else ''}</div>"


class Batches:
    """pyarrow RecordBatches as they come; see `Rows.iter_batches`. To be read, and closed, by one task."""

    def __init__(self, batches: AsyncGenerator[Any, None]) -> None:
        self._batches = batches

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._batches)

    async def aclose(self) -> None:
        """Close the connection. There are no more batches."""
        await self._batches.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _needed(module: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module:
            raise
    raise MissingExtraError(f"this needs {module}", hint=f"pip install 'domokit[{extra}]'")


async def _told(chunks: AsyncIterable[bytes], watch: Watch) -> AsyncGenerator[bytes, None]:
    source = aiter(chunks)
    try:
        async for chunk in source:
            watch.advance(bytes=len(chunk))
            yield chunk
    finally:
        await closed(source)


async def _counted(batches: AsyncIterator[pa.RecordBatch], watch: Watch) -> AsyncGenerator[pa.RecordBatch, None]:
    async for batch in batches:
        watch.advance(rows=batch.num_rows)
        yield batch


async def _batches_of(table: pa.Table, watch: Watch) -> AsyncGenerator[pa.RecordBatch, None]:
    for batch in table.to_batches(max_chunksize=_GROUP_ROWS):
        await anyio.lowlevel.checkpoint()
        watch.advance(rows=batch.num_rows, bytes=batch.nbytes)
        yield batch


async def _next_group(batches: AsyncIterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Batches for one row group; none at the end."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    while rows < _GROUP_ROWS and size < _GROUP_BYTES:
        try:
            batch = await anext(batches)
        except StopAsyncIteration:
            break
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    return group


async def _table_of(answer: pa.Table | ToTable, types: Types | None, *, is_wide: bool = False) -> pa.Table:
    make = partial(_retyped, answer, types) if isinstance(answer, pa.Table) else partial(answer, types, is_wide=is_wide)
    return await to_thread.run_sync(make)


def _retyped(table: pa.Table, types: Types | None) -> pa.Table:
    """Raises: InvalidInputError for a column there is not, InvalidDataError for values that the type cannot hold."""
    for name, kind in (types or {}).items():
        if name not in table.column_names:
            raise InvalidInputError(f"types names {name!r}, and there is no such column")
        place = table.column_names.index(name)
        cells = table.column(place)
        try:
            typed = convert(cells.cast(pa.string()).cast(pa.binary()), kind)  # that is how types are read from CSV
        except BadCell:
            raise InvalidDataError(f"column {name!r} holds what {kind} cannot") from None
        table = table.set_column(place, pa.field(name, kind), typed)
    return table
