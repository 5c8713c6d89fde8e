"""Frames and tables, as Arrow batches. Nothing here loads pandas or polars; what is passed has loaded them.

pandas: the index is dropped, but levels that have a name become columns, before the others. Column names become text.
Object columns have the type that all their values have; see `domokit.bulk.sources.rows`. Frames are converted slice
by slice, so that no second copy of them is ever in memory.
polars: lazy frames are collected in batches; they may come out in another order the next time, so not repeatable.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from domokit.bulk.convert import fitted, settled
from domokit.bulk.schema import check_name
from domokit.bulk.sources.base import Source, rows_at_once
from domokit.bulk.sources.rows import common_type
from domokit.bulk.types import schema_of
from domokit.errors import DomoError, InvalidDataError, InvalidInputError


def open_frame(data: Any) -> Source | None:
    """The source of a frame, a table, or anything that speaks Arrow; None for what is none of these."""
    if isinstance(data, pa.Table):
        return _of_arrow(data.schema, data.to_batches, rows=data.num_rows, nbytes=data.nbytes)
    if isinstance(data, pa.RecordBatch):
        return _of_arrow(data.schema, lambda: [data], rows=data.num_rows, nbytes=data.nbytes)
    if isinstance(data, pa.RecordBatchReader):
        return _of_reader(data)
    if _is_a(data, "pandas", "DataFrame"):
        return _of_pandas(data)
    if _is_a(data, "polars", "DataFrame"):
        return _of_polars(data)
    if _is_a(data, "polars", "LazyFrame"):
        return _of_lazy(data)
    if _is_a(data, "pyarrow.dataset", "Dataset"):
        return _of_dataset(data)
    if _is_a(data, "pyarrow.dataset", "Scanner"):
        return _of_reader(data.to_reader())
    if _is_a(data, "pandas", "Series") or _is_a(data, "polars", "Series"):
        raise InvalidInputError("a Series is one column without a name for the DataSet", hint="Pass series.to_frame().")
    if isinstance(data, (pa.Array, pa.ChunkedArray)):
        raise InvalidInputError("an array is no table", hint="Pass pyarrow.table({'name': array}).")
    if hasattr(data, "__arrow_c_stream__"):
        return _of_reader(pa.RecordBatchReader.from_stream(data))
    if hasattr(data, "__arrow_c_array__"):
        return open_frame(pa.record_batch(data))
    return None


def _is_a(data: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None)
    return kind is not None and isinstance(data, kind)


def _of_arrow(arrow: pa.Schema, read: Callable[[], Any], **facts: Any) -> Source:
    return Source(schema_of(arrow), lambda: iter(read()), is_repeatable=True, **facts)


def _of_reader(reader: pa.RecordBatchReader) -> Source:
    try:
        schema = schema_of(reader.schema)
    except DomoError:
        reader.close()  # DuckDB would refuse the next query on this connection
        raise
    return Source(schema, lambda: iter(reader), close=reader.close)


def _of_dataset(data: Any) -> Source:
    def read() -> Iterator[pa.RecordBatch]:
        # By default it reads far ahead, which is a lot of memory.
        rows = rows_at_once(len(data.schema))
        return data.scanner(batch_size=rows, batch_readahead=2, fragment_readahead=1).to_batches()

    return Source(schema_of(data.schema), read, is_repeatable=True)


def _of_polars(data: Any) -> Source:
    def read() -> Iterator[pa.RecordBatch]:
        size = rows_at_once(data.width)
        for start in range(0, data.height, size):
            yield from data.slice(start, size).to_arrow().to_batches()

    try:
        arrow = data.clear().to_arrow().schema
    except BaseException as error:  # polars panics with a BaseException of its own
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise InvalidDataError(f"polars cannot hand over a column of this frame: {type(error).__name__}") from error
    return Source(schema_of(arrow), read, rows=data.height, nbytes=int(data.estimated_size()), is_repeatable=True)


def _of_lazy(data: Any) -> Source:
    empty = sys.modules["polars"].DataFrame(schema=data.collect_schema())

    def read() -> Iterator[pa.RecordBatch]:
        if hasattr(data, "collect_batches"):  # polars 1.35
            frames = iter(data.collect_batches(chunk_size=rows_at_once(empty.width), maintain_order=True))
        else:
            frames = iter([data.collect(engine="streaming")])
        for frame in frames:
            source = _of_polars(frame)
            yield from source.read()  # type: ignore[misc]

    return Source(_of_polars(empty).schema, read)


def _of_pandas(data: Any) -> Source:
    named = [place for place, name in enumerate(data.index.names) if name is not None]
    names = [str(data.index.names[place]) for place in named] + [_column_name(name) for name in data.columns]
    columns: list[Callable[[int, int], Any]] = [
        *(_level(data.index, place) for place in named),
        *(_column(data, place) for place in range(data.shape[1])),
    ]
    rows = len(data)
    for name in names:
        check_name(name)
    types = [_pandas_type(get(0, rows), name) for get, name in zip(columns, names, strict=True)]
    arrow = pa.schema(list(zip(names, types, strict=True)))
    schema = schema_of(arrow)

    def read() -> Iterator[pa.RecordBatch]:
        size = rows_at_once(len(names))
        for start in range(0, rows, size):
            yield pa.record_batch(
                [
                    _array(get(start, start + size), kind, name, start + 1)
                    for get, kind, name in zip(columns, types, names, strict=True)
                ],
                names=names,
            )

    return Source(schema, read, rows=rows, nbytes=int(data.memory_usage().sum()), is_repeatable=True)


def _column(data: Any, place: int) -> Callable[[int, int], Any]:
    column = data.iloc[:, place]
    return lambda start, stop: column.iloc[start:stop]


def _level(index: Any, place: int) -> Callable[[int, int], Any]:
    # get_level_values of the whole index would spell out a MultiIndex.
    return lambda start, stop: index[start:stop].get_level_values(place)


def _column_name(name: Any) -> str:
    if isinstance(name, tuple):
        raise InvalidInputError(
            "the columns of the frame have several levels",
            hint="Join them, such as frame.columns = ['_'.join(map(str, name)) for name in frame.columns].",
        )
    return str(name)


def _pandas_type(values: Any, name: str) -> pa.DataType:
    if values.dtype == object:
        return common_type(values[values.notna()].tolist(), name)
    try:
        return pa.array(values[:0], from_pandas=True).type
    except (pa.ArrowException, TypeError, ValueError):
        raise InvalidDataError(
            f"column {name!r} holds {values.dtype}, which Domo has no type for", hint="Turn it into text."
        ) from None


def _array(values: Any, kind: pa.DataType, name: str, first_row: int) -> Any:
    what = f"a value that does not fit to the others, which are {kind}"
    array = fitted(values, lambda part: pa.array(part, kind, from_pandas=True), name, what, first_row)
    return settled(array) if isinstance(array, pa.ChunkedArray) else array
