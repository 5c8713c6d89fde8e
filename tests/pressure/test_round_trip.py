"""Every cell as it was: whatever goes into the sandbox, in whatever form, comes out the same in every form."""

import csv
import gzip
import io
import json
import math
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import anyio
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domokit import DomoDataset
from domokit.sandbox import Sandbox

from .helpers import FAMILIES

SCHEMA = {"text": "STRING", "whole": "LONG", "real": "DOUBLE", "exact": "DECIMAL", "day": "DATE", "at": "DATETIME"}
ARROW = pa.schema(
    {
        "text": pa.string(),
        "whole": pa.int64(),
        "real": pa.float64(),
        "exact": pa.decimal128(38, 10),
        "day": pa.date32(),
        "at": pa.timestamp("us"),
    }
)
WORDS = ["", " ", "NA", "N/A", "null", "NULL", "None", "nan", r"\N", "007", "-0", "1e5", "true", "'", '"', '""', ","]
WORDS += ["a,b", 'say "hi"', "\n", "\r\n", "\r", "a\nb\r\nc\rd", '"\n",\r\n"', " padded ", "\t", "ÆØÅ ☃ 🂡 e\u0301"]
WORDS += [";", "\ufeff", "\\", "=1+1", "\x7f\x01", "\u2028", "x" * 5000]
MOMENTS = [None, datetime.min, datetime.max, datetime(2026, 3, 29, 2, 30), datetime(1969, 12, 31, 23, 59, 59, 1)]

texts = st.one_of(
    st.sampled_from(WORDS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
)
decimals = st.integers(-(10**28) + 1, 10**28 - 1).map(lambda number: Decimal(number).scaleb(-10))
rows_of = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | texts,
            "whole": st.none() | st.sampled_from([-(2**63), 2**63 - 1, 0]) | st.integers(-(2**63), 2**63 - 1),
            "real": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "exact": st.none() | decimals,
            "day": st.none() | st.sampled_from([date.min, date.max, date(1970, 1, 1)]) | st.dates(),
            "at": st.none() | st.sampled_from([datetime.min, datetime.max]) | st.datetimes(),
        }
    ),
    min_size=1,
    max_size=25,
)
CALM = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

HARD = [
    {
        "text": word,
        "whole": [None, -(2**63), 2**63 - 1, number][number % 4],
        "real": [None, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, float(number)][number % 6],
        "exact": [None, Decimal(number), Decimal("-0.0000000001"), Decimal("12345678901234567.0123456789")][number % 4],
        "day": [None, date.min, date.max, date(2024, 2, 29)][number % 4],
        "at": [None, datetime.min, datetime.max, datetime(2026, 3, 29, 2, 30), datetime(1969, 12, 31, 23, 59, 59, 1)][
            number % 5
        ],
    }
    for number, word in enumerate([None, *WORDS])
]


@pytest.fixture(scope="module")
def domo():
    """One for all: what a dataset holds says each test itself."""
    return Sandbox()


@pytest.fixture
async def auth(domo, family):
    async with FAMILIES[family](domo) as auth:
        yield auth


def table_of(rows):
    return pa.Table.from_pylist(rows, ARROW)


def signs(table):
    return [None if one is None else math.copysign(1, one) for one in table["real"].to_pylist()]


def assert_same(table, expected):
    """Of the same bits, too: 0.0 is not -0.0."""
    assert table.schema.equals(expected.schema)
    assert table.to_pylist() == expected.to_pylist()
    signs = [
        [None if one is None else math.copysign(1, one) for one in each["real"].to_pylist()]
        for each in (table, expected)
    ]
    assert signs[0] == signs[1]


async def assert_read_alike(dataset, expected, folder):
    """Through every exit."""
    assert_same(await dataset.to_arrow(), expected)
    batches = [batch async for batch in dataset.iter_batches()]
    assert_same(pa.Table.from_batches(batches, ARROW), expected)
    frame = await dataset.to_pandas()
    for name in expected.column_names:
        column = [None if pd.isna(one) else one for one in frame[name]]
        wanted = expected[name].to_pylist()
        if name in ("day", "at"):
            column = [None if one is None else one.to_pydatetime(warn=False) for one in column]
            wanted = [
                None if one is None else datetime(one.year, one.month, one.day) if name == "day" else one
                for one in wanted
            ]
        assert column == wanted, name
    assert (await dataset.to_polars()).to_dicts() == expected.to_pylist()
    assert await dataset.to_parquet(folder / "out.parquet") == expected.num_rows
    assert_same(pq.read_table(folder / "out.parquet"), expected)
    for name in ("out.csv", "out.csv.gz"):
        assert await dataset.to_csv(folder / name) == expected.num_rows
        raw = (folder / name).read_bytes()
        raw = gzip.decompress(raw) if name.endswith(".gz") else raw
        cells = list(csv.reader(io.StringIO(raw.decode(), newline="")))
        assert cells[0] == expected.column_names
        assert [row[0] for row in cells[1:]] == [one or "" for one in expected["text"].to_pylist()]
        assert [row[1] for row in cells[1:]] == [
            "" if one is None else str(one) for one in expected["whole"].to_pylist()
        ]
        found = [Decimal(row[3]) if row[3] else None for row in cells[1:]]
        assert found == expected["exact"].to_pylist()


@pytest.mark.parametrize(("family", "compression"), [("product", "isal"), ("platform", "zlib")], indirect=["family"])
def test_any_cell(domo, family, anyio_backend, compression, tmp_path):
    async def check(rows):
        async with FAMILIES[family](domo) as auth:
            dataset = await DomoDataset.create(
                auth, "Any", rows, schema=SCHEMA, compression=compression, part_bytes=500
            )
            await assert_read_alike(dataset, table_of(rows), tmp_path)
            await dataset.delete(for_good=True)

    @CALM
    @given(rows_of)
    def run(rows):
        anyio.run(check, rows, backend=anyio_backend)

    run()


async def test_hard_cells_through_every_exit(auth, tmp_path):
    dataset = await DomoDataset.create(auth, "Hard", HARD, schema=SCHEMA, part_bytes=700)
    await assert_read_alike(dataset, table_of(HARD), tmp_path)
    await dataset.to_csv(tmp_path / "again.csv")
    await dataset.replace(tmp_path / "again.csv")
    assert_same(await dataset.to_arrow(), table_of(HARD))


# -- every kind of data


def plain(row):
    """As JSON has it."""
    return {name: str(one) if isinstance(one, (date, Decimal)) else one for name, one in row.items()}


def files_of(table, folder):
    folder = Path(folder)
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(table, folder / "in.csv", options)
    (folder / "in.csv.gz").write_bytes(gzip.compress((folder / "in.csv").read_bytes()))
    pq.write_table(table, folder / "in.parquet", row_group_size=7)
    (folder / "in.ndjson").write_text("".join(json.dumps(plain(row)) + "\n" for row in table.to_pylist()))
    pyarrow.feather.write_feather(table, folder / "in.feather", compression="lz4")
    with pa.ipc.new_stream(folder / "in.arrows", table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


async def one_by_one(rows):
    for row in rows:
        yield row


async def in_tables(table):
    for start in range(0, table.num_rows, 7):
        yield table.slice(start, 7)


KINDS = {
    "pandas": lambda table, folder: table.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda table, folder: pl.from_arrow(table),
    "polars lazy": lambda table, folder: pl.from_arrow(table).lazy(),
    "table": lambda table, folder: table,
    "batch": lambda table, folder: table.combine_chunks().to_batches()[0],
    "reader": lambda table, folder: table.to_reader(max_chunksize=7),
    "dataset": lambda table, folder: pyarrow.dataset.dataset(folder / "in.parquet"),
    "csv": lambda table, folder: folder / "in.csv",
    "csv.gz": lambda table, folder: str(folder / "in.csv.gz"),
    "parquet": lambda table, folder: folder / "in.parquet",
    "ndjson": lambda table, folder: folder / "in.ndjson",
    "feather": lambda table, folder: folder / "in.feather",
    "arrow stream": lambda table, folder: folder / "in.arrows",
    "open csv": lambda table, folder: io.BytesIO((folder / "in.csv").read_bytes()),
    "open parquet": lambda table, folder: io.BytesIO((folder / "in.parquet").read_bytes()),
    "open arrow": lambda table, folder: io.BytesIO((folder / "in.feather").read_bytes()),
    "bytes": lambda table, folder: (folder / "in.parquet").read_bytes(),
    "dicts": lambda table, folder: table.to_pylist(),
    "iterator of dicts": lambda table, folder: iter(table.to_pylist()),
    "iterator of tables": lambda table, folder: (table.slice(start, 7) for start in range(0, table.num_rows, 7)),
    "async iterator of dicts": lambda table, folder: one_by_one(table.to_pylist()),
    "async iterator of tables": lambda table, folder: in_tables(table),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    files_of(table_of(HARD), folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_data(auth, folder, kind):
    table = table_of(HARD)
    formats = {"open csv": "csv"}
    dataset = await DomoDataset.create(auth, kind, schema=SCHEMA)
    for compression, action in (("isal", dataset.replace), ("zlib", dataset.append)):
        how = {"format": formats[kind]} if kind in formats else {}
        await action(KINDS[kind](table, folder), compression=compression, part_bytes=3000, **how)
    assert_same(await dataset.to_arrow(), pa.concat_tables([table, table]))


async def test_pandas_as_most_people_have_it(auth):
    """numpy's types: what is missing is NaN or NaT."""
    frame = pd.DataFrame(
        {
            "text": ["a", None, "", "NA"],
            "whole": [1, 2, 3, -(2**63)],
            "real": [0.5, float("nan"), -0.0, 1e300],
            "day": pd.to_datetime(["2026-01-01", None, "1999-12-31", "2024-02-29"]),
            "flag": ["x", "y", None, "z"],
        }
    )
    dataset = await DomoDataset.create(auth, "numpy", frame)
    table = await dataset.to_arrow()
    assert table["text"].to_pylist() == ["a", None, "", "NA"]
    assert table["whole"].to_pylist() == [1, 2, 3, -(2**63)]
    assert table["real"].to_pylist() == [0.5, None, -0.0, 1e300]
    assert [None if one is None else str(one)[:10] for one in table["day"].to_pylist()] == [
        "2026-01-01",
        None,
        "1999-12-31",
        "2024-02-29",
    ]


@pytest.mark.parametrize("kind", SCHEMA.values())
async def test_a_single_column_with_nulls(auth, kind):
    name = next(name for name, one in SCHEMA.items() if one == kind)
    column = table_of(HARD).select([name])
    dataset = await DomoDataset.create(auth, f"One {kind}", column, schema={name: kind}, part_bytes=300)
    assert (await dataset.to_arrow()).to_pylist() == column.to_pylist()
    nothing = pa.table({name: pa.nulls(5, ARROW.field(name).type)})
    await dataset.append(nothing)
    assert (await dataset.to_arrow()).to_pylist() == column.to_pylist() + nothing.to_pylist()


async def test_zero_rows_of_every_kind(auth, tmp_path):
    table = table_of([])
    files_of(table, tmp_path)
    dataset = await DomoDataset.create(auth, "None", HARD, schema=SCHEMA)
    for kind, make in KINDS.items():
        if kind == "batch":
            continue  # an empty table has none
        how = {"format": "csv"} if kind == "open csv" else {}
        result = await dataset.append(make(table, tmp_path), **how)
        assert result.rows == 0, kind
    assert (await dataset.to_arrow()).num_rows == len(HARD)
    await dataset.replace(table)
    assert_same(await dataset.to_arrow(), table)
