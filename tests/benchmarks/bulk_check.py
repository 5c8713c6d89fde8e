"""Whether what arrived is what was sent, cell by cell; by other means than those that are measured."""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

_STEP = 20_000
_READ: dict[pa.DataType, Callable[[str], Any]] = {
    pa.int64(): int,
    pa.float64(): float,
    pa.string(): str,
    pa.date32(): date.fromisoformat,
    pa.timestamp("us"): datetime.fromisoformat,
}


def differences_in_parts(directory: Path, expected: pa.Table) -> int:
    """How many cells of the parts in a directory, read with the csv module, are not those of the table.

    The csv module does not tell NULL from an empty text, so pyarrow is asked about that.
    """
    parts = [_unpacked(path) for path in sorted(directory.iterdir())]
    readers = [_READ[kind] for kind in expected.schema.types]
    rows = _rows(parts)
    wrong = 0
    for start in range(0, expected.num_rows, _STEP):
        due = expected.slice(start, _STEP)
        found = list(islice(rows, due.num_rows))
        wrong += (due.num_rows - len(found)) * due.num_columns
        for name, cells, read in zip(due.column_names, zip(*found, strict=True), readers, strict=True):
            values = [read(cell) if cell else None for cell in cells]
            wanted = due[name].to_pylist()
            if read is str:
                wanted = [value or None for value in wanted]
            wrong += sum(map(_differ, values, wanted))
    return wrong + sum(1 for _ in rows) * expected.num_columns + _misplaced_nulls(parts, expected)


def _differ(one: Any, other: Any) -> bool:
    return one != other


def _unpacked(path: Path) -> bytes:
    body = path.read_bytes()
    return gzip.decompress(body) if path.suffix == ".gz" else body


def _rows(parts: list[bytes]) -> Iterator[list[str]]:
    for part in parts:
        yield from csv.reader(io.TextIOWrapper(io.BytesIO(part), "utf-8", newline=""), strict=True)


def _misplaced_nulls(parts: list[bytes], expected: pa.Table) -> int:
    texts = pyarrow.csv.read_csv(
        pa.BufferReader(b"".join(parts)),
        read_options=pyarrow.csv.ReadOptions(column_names=expected.column_names),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(expected.column_names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    if texts.num_rows != expected.num_rows:
        return expected.num_rows * expected.num_columns
    return sum(
        pc.sum(pc.not_equal(pc.is_null(texts[name]), pc.is_null(expected[name]))).as_py() or 0
        for name in expected.column_names
    )


def rows_in_csv(paths: Iterable[Path], *, has_header: bool = False) -> int:
    """How many rows some files of CSV have, compressed or not; in little memory."""
    rows = 0
    for path in paths:
        with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as file:
            reader = pyarrow.csv.open_csv(
                file,
                read_options=pyarrow.csv.ReadOptions(autogenerate_column_names=not has_header),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            )
            rows += sum(batch.num_rows for batch in reader)
    return rows


def differences_in_table(path: Path, expected: pa.Table) -> int:
    """How many cells of a Parquet file are not those of the table."""
    found = pyarrow.parquet.read_table(path)
    if (found.num_rows, found.column_names) != (expected.num_rows, expected.column_names):
        return expected.num_rows * expected.num_columns
    found = found.cast(expected.schema)
    wrong = 0
    for one, other in zip(found.columns, expected.columns, strict=True):
        same = pc.or_(pc.fill_null(pc.equal(one, other), False), pc.and_(pc.is_null(one), pc.is_null(other)))
        wrong += len(same) - (pc.sum(same).as_py() or 0)
    return wrong


def differences_in_files(path: Path, other: Path) -> int:
    """How many bytes differ."""
    one, two = path.read_bytes(), other.read_bytes()
    return 0 if one == two else abs(len(one) - len(two)) + sum(map(_differ, one, two))
