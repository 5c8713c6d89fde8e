"""The rows that are moved: always the same ones, as files that are made once for each run."""

import atexit
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

_WORDS = (
    "order",
    "parcel",
    "Ångström",
    "naïve",
    "express",
    "東京",
    "gift",
    "fragile",
    "return",
    "invoice",
    "pallet",
    "Łódź",
)
_ODD = ('said "now"', "north, south", "two\nlines", 'a ""b""', "NA", "null", "nan", "-", "\\", "tab\tin", "'")
_REGIONS = ("north", "south", "east", "west", "Île-de-France", "Überlingen")
_DOMO = {pa.int64(): "LONG", pa.int32(): "LONG", pa.float64(): "DOUBLE", pa.date32(): "DATE"}
_BLOCK = 100_000  # rows made at a time


@attrs.frozen(eq=False)
class Data:
    """Some rows, as files.

    parquet:       as users have them: with a dictionary, booleans, and integers of 32 bits that may be null.
    csv:           as Domo exports them, with a header line.
    header_bytes:  the length of the header line.
    columns:       the schema as Domo tells it.
    """

    rows: int
    parquet: Path
    csv: Path
    csv_bytes: int
    header_bytes: int
    columns: list[dict[str, str]]

    def expected(self) -> pa.Table:
        """What a download should give, in the types of the Domo columns."""
        return _as_domo_has_it(pyarrow.parquet.read_table(self.parquet))


def usual(rows: int) -> Data:
    """Ten columns of different types, about 157 bytes of CSV a row (147 with no quotes but those needed)."""
    return _files(rows, 1)


def wide(rows: int) -> Data:
    """The same ten columns twenty times, each time with other values."""
    return _files(rows, 20)


def scratch() -> Path:
    """A directory that goes when the process ends."""
    return Path(_scratch())


@cache
def _scratch() -> str:
    directory = tempfile.TemporaryDirectory(prefix="domokit-benchmarks-")
    atexit.register(directory.cleanup)
    return directory.name


@cache
def _files(rows: int, copies: int) -> Data:
    stem = scratch() / f"{rows}x{copies}"
    parquet, csv = stem.with_suffix(".parquet"), stem.with_suffix(".csv")
    header_bytes = 0
    columns: list[dict[str, str]] = []
    with open(csv, "wb") as sink:
        writer: Any = None
        for start in range(0, rows, _BLOCK):
            block = _block(start, min(_BLOCK, rows - start), copies)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(parquet, block.schema, compression="lz4")
                sink.write((",".join(f'"{name}"' for name in block.column_names) + "\n").encode())
                header_bytes = sink.tell()
                columns = [_column(field) for field in block.schema]
            writer.write_table(block)
            plain = _as_domo_has_it(block, unit="s")
            pyarrow.csv.write_csv(plain, sink, pyarrow.csv.WriteOptions(include_header=False))
        writer.close()
    return Data(rows, parquet, csv, csv.stat().st_size, header_bytes, columns)


@cache
def repeated(data: Data, times: int) -> Path:
    """A Parquet file with the same rows so many times."""
    path = data.parquet.with_name(f"{data.parquet.stem}-{times}-times.parquet")
    with (
        pyarrow.parquet.ParquetFile(data.parquet) as source,
        pyarrow.parquet.ParquetWriter(path, source.schema_arrow, compression="lz4") as writer,
    ):
        for _ in range(times):
            for group in range(source.num_row_groups):
                writer.write_table(source.read_row_group(group))
    return path


def _column(field: pa.Field) -> dict[str, str]:
    kind = "DATETIME" if pa.types.is_timestamp(field.type) else _DOMO.get(field.type, "STRING")
    return {"name": field.name, "type": kind}


def _as_domo_has_it(table: pa.Table, unit: str = "us") -> pa.Table:
    into: Mapping[str, pa.DataType] = {
        "LONG": pa.int64(),
        "DOUBLE": pa.float64(),
        "STRING": pa.string(),
        "DATE": pa.date32(),
        "DATETIME": pa.timestamp(unit),
    }
    kinds = [pa.field(field.name, into[_column(field)["type"]]) for field in table.schema]
    return table.cast(pa.schema(kinds)).replace_schema_metadata(None)


def _block(start: int, rows: int, copies: int) -> pa.Table:
    columns: dict[str, Any] = {}
    for copy in range(copies):
        suffix = f"_{copy}" if copy else ""
        made = _ten(np.random.default_rng((start, copy)), start, rows)
        columns |= {name + suffix: values for name, values in made.items()}
    return pa.table(columns)


@cache
def _notes() -> pa.Array:
    dice = np.random.default_rng(1)
    notes = []
    for number in range(20_000):
        note = " ".join(_WORDS[word] for word in dice.integers(0, len(_WORDS), dice.integers(3, 9)))
        notes.append(f"{note} {_ODD[number // 10 % len(_ODD)]} {number}" if number % 10 == 0 else f"{note} {number}")
    notes[:200] = [""] * 100 + [odd for _ in range(10) for odd in _ODD][:100]
    return pa.array(notes, pa.string())


@cache
def _names() -> pa.Array:
    first, last = ("Ann", "Zoë", "Łukasz", "Mia", "Åsa", "Bob"), ("O'Neil", "Müller", "Sample", "王", "Smith-Jones")
    return pa.array([f"{first[n % 6]} {last[n // 6 % 5]} {n}" for n in range(30_000)], pa.string())


def _ten(dice: np.random.Generator, start: int, rows: int) -> dict[str, Any]:
    def some(share: float) -> np.ndarray:
        return dice.random(rows) < share

    def picked(pool: pa.Array, missing: float) -> pa.Array:
        return pool.take(pa.array(dice.integers(0, len(pool), rows), pa.int32(), mask=some(missing)))

    seconds = dice.integers(1_500_000_000, 1_750_000_000, rows)
    return {
        "order_id": pa.array(np.arange(start, start + rows) + 7_000_000_000),
        "qty": pa.array(dice.integers(0, 1000, rows), pa.int32(), mask=some(0.05)),
        "price": pa.array(dice.integers(0, 1_000_000, rows) / 100),
        "share": pa.array(dice.random(rows), mask=some(0.02)),
        "customer": picked(_names(), 0),
        "note": picked(_notes(), 0.03),
        "region": pa.DictionaryArray.from_arrays(
            pa.array(dice.integers(0, len(_REGIONS), rows), pa.int8()), pa.array(_REGIONS)
        ),
        "is_open": pa.array(some(0.5)),
        "day": pa.array(dice.integers(17_000, 20_000, rows), pa.int32()).cast(pa.date32()),
        "at": pc.cast(pa.array(seconds * 1_000_000), pa.timestamp("us")),
    }
