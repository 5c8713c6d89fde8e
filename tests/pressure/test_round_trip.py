"""Every cell as it was: whatever goes into the sandbox, in whatever form, comes out the same in every form."""

import csv
import gzip
import io
import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

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
from domokit.errors import InvalidDataError
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


# -- what must not change on the way, and what is refused rather than changed


def text_of(rows, *, quoting, end="\n"):
    """CSV by hand: Python's writer does not tell NULL from empty text."""

    def cell(value):
        if value is None:
            return ""
        return '"' + value.replace('"', '""') + '"' if quoting or value == "" or set(value) & set('",\r\n') else value

    return "".join(",".join(map(cell, row)) + end for row in rows).encode()


awkward_cells = st.none() | st.sampled_from(["a", "", "b c", 'say "x"', "1,2", "two\nlines", "007", 'a"b'])
DAMAGES = [
    lambda data, at: data[:at] + b'"' + data[at:],  # a quote too many
    lambda data, at: data[:at] + data[at + 1 :],  # a byte too few
    lambda data, at: data[:at],  # cut off
]


@pytest.mark.parametrize("family", ["product"])
def test_damaged_csv_is_refused_or_read_as_any_reader_would(domo, family, anyio_backend):
    """Against Python's own strict reader: never fewer rows than it finds, and never other cells."""

    async def check(rows, damage, share, quoting):
        whole = text_of([("id", "s"), *rows], quoting=quoting)
        start = whole.index(b"\n") + 1
        data = damage(whole, start + int(share * (len(whole) - start)))
        try:
            wanted = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))[1:]
        except csv.Error:
            wanted = None
        if wanted is not None and any(len(row) != 2 for row in wanted if row):
            wanted = None
        async with FAMILIES[family](domo) as auth:
            dataset = await DomoDataset.create(auth, "Damaged", [{"id": "old", "s": "old"}])
            if wanted is None:
                with pytest.raises(InvalidDataError, match="row"):
                    await dataset.replace(data, format="csv")
                assert (await dataset.to_arrow()).to_pylist() == [{"id": "old", "s": "old"}]
            else:
                await dataset.replace(data, format="csv")
                found = [(row["id"] or "", row["s"] or "") for row in (await dataset.to_arrow()).to_pylist()]
                assert found == [tuple(row) for row in wanted if row]
            await dataset.delete(for_good=True)

    @settings(CALM, max_examples=60)
    @given(
        st.lists(st.tuples(st.sampled_from(["1", "22"]), awkward_cells), min_size=1, max_size=5),
        st.sampled_from(DAMAGES),
        st.floats(0, 1, exclude_max=True),
        st.booleans(),
    )
    def run(rows, damage, share, quoting):
        anyio.run(check, rows, damage, share, quoting, backend=anyio_backend)

    run()


@pytest.mark.parametrize("family", ["product"])
def test_times_as_text_are_the_same_wherever_they_stand(domo, family, anyio_backend):
    """A key that is a time finds its row again, whatever comes with it."""

    async def check(times, others):
        async with FAMILIES[family](domo) as auth:
            rows = [{"t": one, "n": 1} for one in times]
            dataset = await DomoDataset.create(auth, "Times", rows, key=["t"], schema={"t": "STRING", "n": "LONG"})
            again = [{"t": one, "n": 2} for one in [*others, *times]]
            await dataset.upsert(again)
            found = (await dataset.to_arrow()).to_pylist()
            assert len(found) == len({*times, *others})
            assert all(row["n"] == 2 for row in found)
            await dataset.delete(for_good=True)

    @settings(CALM, max_examples=25)
    @given(st.sampled_from([st.times(), st.datetimes()]).flatmap(lambda one: st.tuples(st.sets(one), st.sets(one))))
    def run(both):
        times, others = ({value.replace(microsecond=value.microsecond // 1000 * 1000) for value in both[0]}, both[1])
        if times:
            anyio.run(check, sorted(times), sorted(others - times), backend=anyio_backend)

    run()


@pytest.mark.parametrize("family", ["platform"])
def test_moments_with_a_zone_in_any_unit(domo, family, anyio_backend):
    """Against Python's own calendar, or refused."""
    ticks = (
        st.sampled_from([-(2**63) + 1, 2**63 - 1]) | st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-(2**60), 2**60)
    )

    async def check(unit, values, zone):
        table = pa.table({"at": pa.array(values, pa.timestamp(unit, "UTC"))})
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        wanted = []
        for value in values:
            try:
                moment = datetime(1970, 1, 1) + timedelta(microseconds=value * 10**6 // per_second)
                shift = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone or "UTC")).utcoffset()
                wanted.append(moment + shift)
            except OverflowError:
                wanted.append(None)
        async with FAMILIES[family](domo) as auth:
            try:
                dataset = await DomoDataset.create(auth, "Moments", table, time_zone=zone)
            except InvalidDataError:
                assert None in wanted
                return
            found = (await dataset.to_arrow())["at"].to_pylist()
            assert [a for a, b in zip(found, wanted, strict=True) if b is not None] == [b for b in wanted if b]
            await dataset.delete(for_good=True)

    @settings(CALM, max_examples=40)
    @given(
        st.sampled_from(["s", "ms", "us", "ns"]),
        st.lists(ticks, min_size=1, max_size=4),
        st.sampled_from([None, "UTC", "Asia/Tokyo", "America/Caracas"]),
    )
    def run(unit, values, zone):
        anyio.run(check, unit, values, zone, backend=anyio_backend)

    run()


@pytest.mark.parametrize("family", ["product"])
def test_a_single_column_comes_back_from_its_own_export(domo, family, anyio_backend, tmp_path):
    async def check(kind, values):
        async with FAMILIES[family](domo) as auth:
            rows = [{"x": value} for value in values]
            dataset = await DomoDataset.create(auth, "Single", rows, schema={"x": kind})
            for header in (True, False):
                await dataset.to_csv(tmp_path / "own.csv", header=header)
                result = await dataset.replace(tmp_path / "own.csv", header=header)
                assert result.rows == len(rows)
                assert (await dataset.to_arrow()).to_pylist() == rows
            await dataset.delete(for_good=True)

    @settings(CALM, max_examples=25)
    @given(
        st.tuples(st.just("STRING"), st.lists(st.none() | texts, min_size=1, max_size=5))
        | st.tuples(st.just("LONG"), st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=5))
    )
    def run(case):
        anyio.run(check, *case, backend=anyio_backend)

    run()


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_an_iterator_of_anything_keeps_its_order(domo, family, anyio_backend, is_asynchronous):
    """The last of two rows with one key is the one that stays."""
    forms = {
        "dict": lambda rows: rows,
        "list": lambda rows: [rows],
        "pandas": lambda rows: [pd.DataFrame(rows)],
        "polars": lambda rows: [pl.DataFrame(rows)],
        "table": lambda rows: [pa.Table.from_pylist(rows)],
        "nothing": lambda _: [[]],
    }

    async def check(names):
        rows = [{"key": str(place % 3), "n": place} for place in range(2 * len(names))]
        items = [one for place, name in enumerate(names) for one in forms[name](rows[2 * place : 2 * place + 2])]
        rows = [row for place, name in enumerate(names) for row in rows[2 * place : 2 * place + 2] if name != "nothing"]
        async with FAMILIES[family](domo) as auth:
            schema = {"key": "STRING", "n": "LONG"}
            dataset = await DomoDataset.create(auth, "Mixed", rows[:0], schema=schema, key=["key"])
            for action in (dataset.replace, dataset.upsert):
                await action(one_by_one(items) if is_asynchronous else iter(items))
                found = (await dataset.to_arrow()).to_pylist()
                last = {row["key"]: row for row in rows}
                assert found == rows if action == dataset.replace else all(row == last[row["key"]] for row in found)
                await dataset.replace([])
            await dataset.delete(for_good=True)

    @settings(CALM, max_examples=12)
    @given(st.lists(st.sampled_from(list(forms)), min_size=1, max_size=7))
    def run(names):
        anyio.run(check, names, backend=anyio_backend)

    run()


@pytest.mark.parametrize("family", ["product"])
def test_whole_numbers_in_a_column_of_floats_are_exact_or_refused(domo, family, anyio_backend):
    forms = {
        "dicts": lambda value: [{"x": value}],
        "table": lambda value: pa.table({"x": pa.array([value], pa.int64())}),
        "pandas": lambda value: pd.DataFrame({"x": [value]}),
        "objects": lambda value: pd.DataFrame({"x": [value]}, dtype=object),
        "decimals": lambda value: [{"x": Decimal(value)}],
        "texts": lambda value: [{"x": str(value)}],
        "ndjson": lambda value: b'{"x":%d}\n' % value,
        "ndjson of floats": lambda value: b'{"x":%d}\n{"x":0.5}\n' % value,
        "csv": lambda value: b"x\n%d\n" % value,
        "iterator": lambda value: iter([pa.table({"x": [0.5]}), [{"x": value}]]),
    }

    async def check(value):
        async with FAMILIES[family](domo) as auth:
            dataset = await DomoDataset.create(auth, "Floats", schema={"x": "DOUBLE"})
            for form, make in forms.items():
                how = {"format": form.split()[0]} if form[:3] in ("csv", "ndj") else {}
                # A text may be how a float is written, with zeros for the digits that do not count.
                is_text = form in ("decimals", "texts", "csv", "ndjson of floats")
                if int(float(value)) == value or (is_text and Decimal(repr(float(value))) == value):
                    await dataset.replace(make(value), **how)
                    assert float(value) in (await dataset.to_arrow())["x"].to_pylist(), form
                else:
                    with pytest.raises(InvalidDataError, match="'x', row"):
                        await dataset.replace(make(value), **how)
            await dataset.delete(for_good=True)

    @settings(CALM, max_examples=15)
    @given(
        st.sampled_from([1234567890123456700, 2**53, 2**53 + 1, -(2**53) - 1, 2**60, 10**17, 2**63 - 1])
        | st.integers(2**52, 2**55)
        | st.integers(-(2**63), 2**63 - 1)
    )
    def run(value):
        anyio.run(check, value, backend=anyio_backend)

    run()
