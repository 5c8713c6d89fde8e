"""Whatever data users hold: its columns, its rows, and that nothing of them changes on the way."""

import csv
import datetime as dt
import gzip
import io
import json
import threading
import uuid
from contextlib import aclosing
from decimal import Decimal
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domokit.bulk.encode import Encoder, parts_of
from domokit.bulk.schema import Schema
from domokit.bulk.sources import open_source
from domokit.bulk.sources.rows import common_type
from domokit.errors import DomoError, InvalidDataError, InvalidInputError, SchemaMismatchError
from tests.bulk.parsing import cells

packed = partial(gzip.compress, mtime=0)  # the same bytes every time, for they name tests

FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
ROWS = [
    {"id": 1, "s": "x", "f": 1.5, "t": dt.datetime(2024, 1, 2, 3, 4, 5), "b": True},
    {"id": 2, "s": "", "f": None, "t": None, "b": False},
    {"id": None, "s": None, "f": -0.25, "t": dt.datetime(1999, 12, 31), "b": None},
]
CELLS = [
    ("1", "x", "1.5", "2024-01-02 03:04:05", "true"),
    ("2", "", None, None, "false"),
    (None, None, "-0.25", "1999-12-31 00:00:00", None),
]
TYPES = "id LONG, s STRING, f DOUBLE, t DATETIME, b STRING"
TABLE = pa.Table.from_pylist(ROWS)
SCHEMA = Schema.of({"id": "LONG", "s": "STRING", "f": "DOUBLE", "t": "DATETIME", "b": "STRING"})


def saved(write, table=TABLE):
    file = io.BytesIO()
    write(table, file)
    return file.getvalue()


def ipc_stream(table, file):
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def lines(rows=ROWS):
    return "".join(json.dumps(row, default=str) + "\n" for row in rows).encode()


async def read(data, *, target=None, **options):
    """(the source, the cells that a DataSet would get)"""
    async with await open_source(data, **options) as source:
        encoder = Encoder(target or source.schema)
        async with aclosing(parts_of(source, encoder)) as cuts:
            return source, [row async for cut in cuts for row in cells(encoder.encode(cut).body, len(encoder.schema))]


def shown(source):
    return ", ".join(map(str, source.schema))


class Stream:
    """What any library offers that speaks the protocol."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


FRAMES = {
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "reader": TABLE.to_reader,
    "stream": lambda: Stream(TABLE),
    "dataset": lambda: pa.dataset.dataset(TABLE),
    "scanner": lambda: pa.dataset.dataset(TABLE).scanner(),
    "polars": lambda: pl.DataFrame(ROWS),
    "lazy": lambda: pl.DataFrame(ROWS).lazy(),
    "pandas": lambda: pd.DataFrame(ROWS).astype({"id": "Int64"}),
    "pandas of Arrow": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "dicts": lambda: ROWS,
    "tuple": lambda: tuple(ROWS),
    "generator of dicts": lambda: (row for row in ROWS),
    "generator of lists": lambda: iter([ROWS[:2], [], ROWS[2:]]),
    "list of frames": lambda: [TABLE, TABLE.slice(0, 0)],
    "parquet": lambda: saved(pa.parquet.write_table),
    "feather": lambda: saved(pa.feather.write_feather),
    "ipc stream": lambda: saved(ipc_stream),
    "file object": lambda: io.BytesIO(saved(pa.parquet.write_table)),
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_typed_data_of_every_kind(kind):
    source, found = await read(FRAMES[kind]())
    assert found == CELLS
    assert shown(source) == TYPES


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_source_that_says_so_can_be_read_again(kind):
    source = await open_source(FRAMES[kind]())
    first = [batch async for batch in source.batches()]
    if source.is_repeatable:
        assert [batch async for batch in source.batches()] == first
    else:
        with pytest.raises(InvalidInputError, match="once"):
            [batch async for batch in source.batches()]
    await source.aclose()


@pytest.mark.parametrize("kind", ["table", "polars", "pandas", "dicts", "parquet"])
async def test_the_number_of_rows_is_known_where_it_can_be(kind):
    source = await open_source(FRAMES[kind]())
    assert source.rows == 3
    assert source.nbytes


safe_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
texts = (
    st.none()
    | st.sampled_from(["", "NA", "null", "nan", "007", "1.50", '"', ",", "\n", "\r\n", "\r", " x "])
    | safe_text
)


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 6))

    def column(values):
        return draw(st.lists(st.none() | values, min_size=rows, max_size=rows))

    return pa.table(
        {
            "s": pa.array(column(texts), pa.string()),
            "i": pa.array(column(st.integers(-(2**63), 2**63 - 1)), pa.int64()),
            "f": pa.array(column(st.floats(allow_nan=False, allow_infinity=False)), pa.float64()),
            "d": pa.array(column(st.dates(dt.date(1700, 1, 1))), pa.date32()),
            "t": pa.array(column(st.datetimes(dt.datetime(1700, 1, 1))), pa.timestamp("us")),
            "e": pa.array(column(st.decimals(places=6, min_value=-(10**9), max_value=10**9)), pa.decimal128(20, 6)),
        }
    )


def as_csv(table):
    """By hand, for Python's writer does not tell NULL from empty text."""

    def cell(value):
        if isinstance(value, str):
            return '"' + value.replace('"', '""') + '"'
        return "" if value is None else repr(value) if isinstance(value, float) else str(value)

    rows = [table.column_names, *zip(*(column.to_pylist() for column in table.columns), strict=True)]
    return "".join(",".join(map(cell, row)) + "\r\n" for row in rows).encode()


def as_lines(table):
    def plain(value):
        return value if value is None or isinstance(value, (int, float, str)) else str(value)

    return "".join(json.dumps({k: plain(v) for k, v in row.items()}) + "\n" for row in table.to_pylist()).encode()


WAYS = {
    "table": lambda table: table,
    "polars": pl.from_arrow,
    "pandas": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "objects": lambda table: pd.DataFrame(
        {n: pd.Series(table[n].to_pylist(), dtype=object) for n in table.column_names}
    ),
    "dicts": pa.Table.to_pylist,
    "parquet": lambda table: saved(pa.parquet.write_table, table),
    "feather": lambda table: saved(pa.feather.write_feather, table),
    "csv": as_csv,
    "csv.gz": lambda table: packed(as_csv(table)),
    "ndjson": as_lines,
    "ndjson.gz": lambda table: packed(as_lines(table)),
}
TYPED = Schema.of({"s": "STRING", "i": "LONG", "f": "DOUBLE", "d": "DATE", "t": "DATETIME", "e": "DECIMAL"})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@FEW
@given(table=tables())
async def test_every_cell_comes_through(way, table):
    options = {"format": "ndjson"} if way.startswith("ndjson") and not table.num_rows else {}
    _, found = await read(WAYS[way](table), schema=TYPED, target=TYPED, **options)
    rows = []
    for s, i, f, d, t, e in found:
        times = t and dt.datetime.fromisoformat(t)
        rows.append((s, i and int(i), f and float(f), d and dt.date.fromisoformat(d), times, e and Decimal(e)))
    assert rows == [tuple(row.values()) for row in table.to_pylist()]


# Frames


async def test_the_index_of_a_frame_is_dropped_unless_it_has_a_name():
    frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    assert shown((await read(frame))[0]) == "a LONG"
    source, found = await read(frame.rename_axis("key"))
    assert (shown(source), found) == ("key STRING, a LONG", [("x", "1"), ("y", "2")])
    frame.index = pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["key", None])
    assert shown((await read(frame))[0]) == "key STRING, a LONG"
    assert frame.columns.tolist() == ["a"]


async def test_column_names_of_a_frame_become_text():
    assert shown((await read(pd.DataFrame({0: [1], "b": [2]})))[0]) == "0 LONG, b LONG"
    with pytest.raises(InvalidInputError, match="levels"):
        await read(pd.DataFrame({("a", "b"): [1]}))
    with pytest.raises(InvalidInputError, match="'a'"):
        await read(pd.DataFrame([[1, 2]], columns=["a", "a"]))


async def test_frames_of_pandas_in_all_their_types():
    frame = pd.DataFrame(
        {
            "cat": pd.Categorical(["a", None]),
            "mixed": pd.Series(["x", np.nan], dtype=object),
            "na": pd.Series([pd.NA, 1], dtype=object),
            "nat": pd.Series([pd.NaT, pd.Timestamp("2024-01-01", tz="Asia/Tokyo")], dtype=object),
            "ns": pd.to_datetime(["2024-01-01 00:00:00.123456789", None]),
            "zone": pd.to_datetime(["2024-01-01", None]).tz_localize("Asia/Tokyo"),
            "float": [1.5, np.nan],
            "flag": pd.array([True, None], dtype="boolean"),
            "span": pd.to_timedelta([90, None], unit="s"),
            "date": [dt.date(2024, 1, 1), None],
            "dec": [Decimal("1.50"), None],
            "none": [None, None],
            "np": pd.Series([np.int8(1), np.uint16(3)], dtype=object),
        }
    )
    source, found = await read(frame)
    assert shown(source) == (
        "cat STRING, mixed STRING, na LONG, nat DATETIME, ns DATETIME, zone DATETIME, float DOUBLE, flag STRING, "
        "span STRING, date DATE, dec DECIMAL, none STRING, np LONG"
    )
    assert found == [
        ("a", "x", None, None, "2024-01-01 00:00:00.123456", "2023-12-31 15:00:00", "1.5", "true", "PT90S",
         "2024-01-01", "1.50", None, "1"),
        (None, None, "1", "2023-12-31 15:00:00", None, None, None, None, None, None, None, None, "3"),
    ]  # fmt: skip


async def test_large_frames_are_read_in_several_batches():
    frame = pd.DataFrame({"a": range(150_000), "s": pd.Series(["x", "é"] * 75_000, dtype=object)})
    for data in (frame, pl.from_pandas(frame), frame.to_dict("records")):
        source = await open_source(data)
        sizes = [batch.num_rows async for batch in source.batches()]
        assert sum(sizes) == 150_000
        assert max(sizes) <= 65_536


async def test_frames_of_polars_in_their_own_types():
    frame = pl.DataFrame(
        {
            "cat": pl.Series(["a", None], dtype=pl.Categorical),
            "enum": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
            "time": [dt.time(1, 2, 3), None],
            "span": [dt.timedelta(seconds=1), None],
            "nan": [float("nan"), 1.0],
            "zone": pl.Series([dt.datetime(2024, 1, 1), None]).dt.replace_time_zone("Asia/Tokyo"),
        }
    )
    source, found = await read(frame)
    assert shown(source) == "cat STRING, enum STRING, time STRING, span STRING, nan DOUBLE, zone DATETIME"
    assert found[0] == ("a", "a", "01:02:03", "PT1S", None, "2023-12-31 15:00:00")


async def test_what_a_frame_cannot_give_is_refused_by_name():
    for frame in (
        pd.DataFrame({"odd": [[1], [2]]}),
        pd.DataFrame({"odd": [1 + 2j]}),
        pd.DataFrame({"odd": pd.period_range("2024", periods=1, freq="Y")}),
        pd.DataFrame({"odd": ["x", 1]}),
        pd.DataFrame({"odd": ["\ud800"]}, dtype=object),
        pd.DataFrame({"odd": [2**70]}),
        pl.DataFrame({"odd": [[1]]}),
        pl.DataFrame({"odd": [b"x"]}),
        [{"odd": {"a": 1}}],
        [{"odd": uuid.UUID(int=1)}],
    ):
        with pytest.raises(InvalidDataError, match="'odd'"):
            await read(frame)


# Dicts


async def test_keys_of_dicts_are_columns_in_order_of_appearance():
    source, found = await read([{"b": 1}, {"a": "x", "b": 2}])
    assert (shown(source), found) == ("b LONG, a STRING", [("1", None), ("2", "x")])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5], pa.float64()),
        ([1, None], pa.int64()),
        ([None], pa.null()),
        ([float("nan"), "x"], pa.large_string()),
        ([Decimal("1.5"), 1000], pa.decimal128(38, 1)),
        ([Decimal("1E+50")], pa.decimal256(76, 0)),
        ([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", "UTC")),
        ([np.float32(1), np.int64(1)], pa.float64()),
        ([np.bool_(True)], pa.bool_()),
    ],
)
def test_values_have_one_type(values, kind):
    assert common_type(values, "a") == kind


@pytest.mark.parametrize(
    "values",
    [
        [1, "x"],
        [True, 1],
        [dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 5)],
        [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
        [dt.date(2024, 1, 1), 1],
        [Decimal("1.5"), 1.5],
        [Decimal("NaN")],
        [Decimal("1E+100")],
        ["x", b"x"],
        [2**63],
        [2**53 + 1, 0.5],
        [{1}],
    ],
)
async def test_values_that_are_mixed_or_too_large_are_refused(values):
    with pytest.raises(InvalidDataError, match="'a'"):
        await read([{"a": value} for value in values])


@pytest.mark.parametrize("data", [[], iter([]), b"", [{}], io.BytesIO()])
async def test_nothing_at_all_needs_a_schema(data):
    with pytest.raises(InvalidInputError):
        await open_source(data)


@pytest.mark.parametrize("data", [[], iter([]), b"", io.BytesIO(), TABLE.slice(0, 0), b"id,s,f,t,b", b"id,s,f,t,b\n"])
async def test_no_rows_are_data_too(data):
    source, found = await read(data, schema=SCHEMA)
    assert (found, shown(source)) == ([], TYPES)


@pytest.mark.parametrize(
    "data", [1, None, {"a": [1]}, object(), pd.Series([1]), pl.Series([1]), pa.array([1]), [1, 2], "a,b\n1,2"]
)
async def test_what_is_no_data_is_refused(data):
    with pytest.raises(InvalidInputError):
        await open_source(data)


# CSV


async def test_types_of_csv_are_those_that_come_back_the_same():
    data = (
        b"zip,plus,big,long,price,digits,exp,day,time,zone,word,empty\n"
        b"007,+1,12345678901234567890,-5,1.50,0.30000000000000004,1e-7,2024-01-31,2024-01-31T01:02:03,"
        b"2024-01-31T01:02:03Z,NA,\n"
        b"8,2,1,9223372036854775807,2,0.1,5,2024-02-29,2024-01-31 01:02:03.5,2024-01-31T01:02:03Z,null,\n"
    )
    source, found = await read(data)
    assert shown(source) == (
        "zip STRING, plus STRING, big STRING, long LONG, price DOUBLE, digits DOUBLE, exp DOUBLE, day DATE, "
        "time DATETIME, zone STRING, word STRING, empty STRING"
    )
    assert found[0][:7] == ("007", "+1", "12345678901234567890", "-5", "1.5", "0.30000000000000004", "1e-7")
    assert found[1][-3:] == ("2024-01-31T01:02:03Z", "null", None)


@pytest.mark.parametrize(
    "cell", ["0.1234567890123456789", "1e400", "0x10", "1_000", "2024-02-30", "+5", " 1", "1,5", "0000-00-00", "inf"]
)
async def test_what_would_not_come_back_stays_text(cell):
    source, found = await read(f'a,b\n"{cell}",x\n'.encode())
    assert (source.schema[0].type, found[0][0]) == ("STRING", cell)


@pytest.mark.parametrize(("first", "later"), [("1", "007"), ("1", "1.5"), ("1.5", "x"), ("2024-01-01", "2024-1-1")])
async def test_a_later_cell_of_another_form_is_refused(first, later):
    rows = [f"{first},{'x' * 100}\n"] * 30_000
    data = ("a,b\n" + "".join(rows) + f"{later},y\n").encode()
    with pytest.raises(InvalidDataError, match=r"'a', row 30001: .*schema=") as caught:
        await read(data)
    assert len(later) < 2 or later not in str(caught.value)
    _, found = await read(data, schema=Schema.of({"a": "STRING"}))
    assert found[-1] == (later, "y")


async def test_csv_with_a_schema_is_parsed_by_name():
    schema = Schema.of({"B": "DOUBLE", "a": "LONG", "other": "DATE"})
    source, found = await read(b'b,A,c\n007,"8",007\n,"",\n', schema=schema)
    assert (shown(source), found) == ("b DOUBLE, A LONG, c STRING", [("7", "8", "007"), (None, None, None)])
    with pytest.raises(InvalidDataError, match="'A', row 2"):
        await read(b"b,A\n1,2\n1,x\n", schema=schema)


async def test_csv_without_a_header_has_the_columns_of_the_schema():
    schema = Schema.of({"a": "LONG", "b": "STRING"})
    source, found = await read(b"1,x\n2,y", schema=schema, header=False)
    assert (shown(source), found) == ("a LONG, b STRING", [("1", "x"), ("2", "y")])
    with pytest.raises(InvalidInputError, match="schema="):
        await read(b"1,x\n", header=False)
    with pytest.raises(InvalidDataError, match="row 2 has 1 cells"):
        await read(b"1,x\n2\n", schema=schema, header=False)


async def test_null_and_empty_text_of_csv():
    _, found = await read(b'a,b\n"",x\n,"\\N"\n\\N,NA\n')
    assert found == [("", "x"), (None, "\\N"), (None, "NA")]
    _, found = await read(b'a\n""\n\nx\n')
    assert found == [("",), (None,), ("x",)]


async def test_csv_of_other_makes():
    assert (await read(b"\xef\xbb\xbfa;b\r\n1;'\r\n", delimiter=";"))[1] == [("1", "'")]
    assert (await read(b"a\tb\n1,5\tx\n", format="tsv"))[1] == [("1,5", "x")]
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a\nb", "c"], [1, ""], [2, "x\r\ny"]])
    source, found = await read(file.getvalue().encode())
    assert (source.schema.names, found) == (["a\nb", "c"], [("1", ""), ("2", "x\r\ny")])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,b\n1,\xff\n", "UTF-8"),
        (b"a\xff,b\n1,2\n", "UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1,2\n3\n", "row 2 has 1 cells"),
        (b"a,a\n1,2\n", "'a'"),
        (b"a,\n1,2\n", "no name"),
        (packed(b"a,b\n" + b"1,2\n" * 100_000)[:-100], "cut off|cannot be read"),
    ],
)
async def test_csv_that_is_broken(data, said):
    with pytest.raises(InvalidInputError, match=said):
        await read(data, format="csv")


async def test_rows_of_csv_are_counted_through_all_blocks():
    data = b"a,b\n" + b"1,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 100_000 + b"1\n"
    with pytest.raises(InvalidDataError, match="row 100001 has 1 cells"):
        await read(data)


# JSON lines


async def test_json_lines():
    source, found = await read(lines())
    assert shown(source) == "id LONG, s STRING, f DOUBLE, t STRING, b STRING"
    assert [row[:3] for row in found] == [row[:3] for row in CELLS]
    assert [row[4] for row in found] == ["true", "false", None]
    source, found = await read(lines(), schema=SCHEMA)
    assert (shown(source), found) == (TYPES, CELLS)


async def test_fields_of_json_lines_may_come_late_or_be_missing():
    _, found = await read(b'{"a":1}\n\n{"b":"x","a":null}\n{}')
    assert found == [("1", None), (None, "x"), (None, None)]


async def test_times_in_json_lines_stay_text_without_a_schema():
    stamps = ["2024-01-01", "2024-01-01T00:00:00Z", "x"]
    data = "".join(json.dumps({"a": one, "n": 1}) + "\n" for one in stamps).encode()
    assert [row[0] for row in (await read(data))[1]] == stamps


async def test_json_numbers_of_many_digits():
    with pytest.raises(InvalidDataError, match="'a', row 2"):
        await read(b'{"a":1}\n{"a":12345678901234567890}\n')
    assert (await read(b'{"a":1e300}\n{"a":1e16}\n'))[1] == [("1e+300",), ("1e+16",)]
    exact = Schema.of({"a": "DECIMAL"})
    _, found = await read(b'{"a":12345678901234567890.123}\n{"a":0}\n', schema=exact)
    assert [Decimal(cell) for (cell,) in found] == [Decimal("12345678901234567890.123"), 0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a":1}\n{"a":"secret"}\n', "'a', row 2: string after number"),
        (b'{"a":1}\n{"a":\n', "JSON"),
        (b'{"a":[1]}\n', "'a'"),
        (b'{"a":1,"a":2}\n', "'a'"),
        (b'[{"a":1}]', "JSON array"),
    ],
)
async def test_json_lines_that_are_broken(data, said):
    with pytest.raises(InvalidInputError, match=said) as caught:
        await read(data)
    assert "secret" not in str(caught.value)


async def test_json_lines_of_many_blocks():
    rows = [{"n": row, "s": "é" * 40} for row in range(120_000)]
    _, found = await read(lines(rows))
    assert found == [(str(row["n"]), row["s"]) for row in rows]
    late = lines(rows) + b'{"n":0.5,"s":"x"}\n'
    with pytest.raises(InvalidDataError, match="schema="):
        await read(late)
    wanted = Schema.of({"n": "DOUBLE"})
    assert (await read(late, schema=wanted))[1][-1] == ("0.5", "x")


# Files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"a\n1\n"),
        ("x.CSV.GZ", packed(b"a\n1\n")),
        ("x.tsv", b"a\n1\n"),
        ("x.jsonl", b'{"a":1}\n'),
        ("x.ndjson.gz", packed(b'{"a":1}\n')),
        ("x.json", b'{"a":1}\n'),
        ("x.parquet", saved(pa.parquet.write_table, pa.table({"a": [1]}))),
        ("x.feather", saved(pa.feather.write_feather, pa.table({"a": [1]}))),
        ("x.arrow", saved(ipc_stream, pa.table({"a": [1]}))),
        ("odd.dat", saved(pa.parquet.write_table, pa.table({"a": [1]}))),
        ("no_suffix", b"a\n1\n"),
    ],
)
async def test_files_by_name_or_by_their_first_bytes(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    for data in (path, str(path), path.open("rb")):
        source, found = await read(data)
        assert (shown(source), found, source.is_repeatable) == ("a LONG", [("1",)], True)
        if data not in (path, str(path)):
            assert not data.closed
            data.close()


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._file.readinto(memoryview(buffer)[:7])


@pytest.mark.parametrize("content", [b"a,b\n1,x\n" * 2, packed(b"a,b\n1,x\n" * 2), lines(), b""])
async def test_files_that_cannot_seek_are_read_once(content):
    if not content:
        with pytest.raises(InvalidInputError):
            await read(Pipe(content))
        return
    source, found = await read(Pipe(content))
    assert not source.is_repeatable
    assert found == (await read(content))[1]


async def test_a_file_object_is_read_from_where_it_stands():
    file = io.BytesIO(b"not this\na,b\n1,x\n")
    file.readline()
    assert (await read(file))[1] == [("1", "x")]


async def test_files_that_are_none(tmp_path):
    for data in (tmp_path, tmp_path / "none.csv", io.StringIO("a\n1\n")):
        with pytest.raises(InvalidInputError):
            await open_source(data)
    with pytest.raises(InvalidInputError, match="format"):
        await open_source(b"a\n", format="xlsx")
    for kind in ("parquet", "arrow"):
        with pytest.raises(InvalidInputError):
            await open_source(b"not one of them", format=kind)


# Iterators


async def rows_one_by_one(rows=ROWS):
    for row in rows:
        yield row


async def frames_one_by_one():
    yield pl.DataFrame(ROWS[:2])
    yield TABLE.slice(2)


@pytest.mark.parametrize("make", [rows_one_by_one, frames_one_by_one])
async def test_asynchronous_iterators(make):
    source, found = await read(make())
    assert (shown(source), found) == (TYPES, CELLS)


async def test_the_first_batch_says_what_the_columns_are():
    assert (await read(iter([[{"a": 1}], [{"a": 2.0}]])))[1] == [("1",), ("2",)]
    with pytest.raises(InvalidDataError, match="'a', row 2"):
        await read(iter([[{"a": 1}], [{"a": 2.5}]]))
    wanted = Schema.of({"a": "DOUBLE"})
    assert (await read(iter([[{"a": 1}], [{"a": 2.5}]]), schema=wanted))[1] == [("1",), ("2.5",)]
    with pytest.raises(SchemaMismatchError):
        await read(iter([pa.table({"a": [1]}), pa.table({"b": [1]})]))
    assert (await read(iter([[{"a": 1, "b": 2}], [{"b": 3}]])))[1] == [("1", "2"), (None, "3")]
    wanted = Schema.of({"a": "LONG", "c": "DATE"})
    source, found = await read(iter([{"A": 1}]), schema=wanted)
    assert (shown(source), found) == ("A LONG, c DATE", [("1", None)])


async def test_reading_goes_on_while_the_loop_lives():
    """Iterators are asked in a thread, asynchronous ones in the loop, and neither further than is needed."""
    asked = []

    def batches():
        for place in range(5):
            asked.append((place, threading.current_thread() is threading.main_thread()))
            yield pa.table({"a": [place]})

    source = await open_source(batches())
    assert asked == [(0, False)]
    async with aclosing(source.batches()) as reading:
        await anext(reading)
        await anext(reading)
    assert asked == [(0, False), (1, False)]
    await source.aclose()


async def test_iterators_are_closed():
    closed = []

    def batches():
        try:
            yield TABLE
            yield TABLE
        finally:
            closed.append("generator")

    async def later():
        try:
            yield TABLE
            yield TABLE
        finally:
            closed.append("async generator")

    for data in (batches(), later()):
        async with await open_source(data) as source, aclosing(source.batches()) as reading:
            await anext(reading)
    assert closed == ["generator", "async generator"]


async def test_an_iterator_that_fails_fails_the_reading():
    def batches():
        yield [{"a": 1}]
        raise RuntimeError("the database has gone")

    async def later():
        yield [{"a": 1}]
        raise RuntimeError("the database has gone")

    for data in (batches(), later()):
        async with await open_source(data) as source, aclosing(source.batches()) as reading:
            assert (await anext(reading)).num_rows == 1
            with pytest.raises(RuntimeError, match="database"):
                await anext(reading)


async def test_an_iterator_of_nonsense():
    for data in (iter([1]), iter(["a"]), iter([TABLE, None])):
        with pytest.raises(DomoError, match="gave"):
            await read(data)


@pytest.mark.parametrize("columns", [200, 2000])
async def test_wide_data(columns):
    row = {f"c{n}": n if n % 2 else str(n) for n in range(columns)}
    wanted = [tuple(map(str, row.values()))] * 2
    header = ",".join(row)
    line = ",".join(map(str, row.values()))
    for data in (
        [row, row],
        pd.DataFrame([row, row]),
        pl.DataFrame([row, row]),
        f"{header}\n{line}\n{line}\n".encode(),
    ):
        assert (await read(data))[1] == wanted


async def test_aware_times_are_moved_to_the_zone_that_is_asked_for():
    data = b"a,b\n2024-07-01T12:00:00Z,x\n"
    schema = Schema.of({"a": "DATETIME"})
    assert (await read(data, schema=schema))[1] == [("2024-07-01 12:00:00", "x")]
    assert (await read(data, schema=schema, time_zone="Europe/Berlin"))[1] == [("2024-07-01 14:00:00", "x")]
    with pytest.raises(InvalidInputError, match="time zone"):
        await open_source(data, time_zone="Nowhere/Land")
