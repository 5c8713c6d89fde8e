"""Whatever data users hold: its columns, its rows, and that nothing of them changes on the way."""

import csv
import datetime as dt
import gzip
import io
import json
import os
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


async def test_the_size_of_a_csv_file_is_known(tmp_path):
    """Of what is packed, and of other formats, the CSV has another size."""
    for name, content, nbytes in (
        ("x.csv", b"a\n1\n", 4),
        ("x.csv.gz", packed(b"a\n1\n"), None),
        ("x.ndjson", lines(), None),
    ):
        (tmp_path / name).write_bytes(content)
        assert (await open_source(tmp_path / name)).nbytes == nbytes


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


async def test_objects_are_written_as_columns_of_their_type_are():
    values = {
        "f": np.array([0.1, 3.4e38], np.float32),
        "h": np.array([0.1, 0.5], np.float16),
        "d": np.array([1, 90_000_000_000], "timedelta64[ns]"),
        "t": np.array([1_500_000_001, -1], "datetime64[ns]"),
    }
    frame = pd.DataFrame(values)
    rows = [{name: (values if name in "fh" else frame)[name][place] for name in values} for place in range(2)]
    objects = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in values})
    wanted = [
        ("0.1", "0.099975586", "PT0.000000001S", "1970-01-01 00:00:01.500000"),
        ("3.4e+38", "0.5", "PT90S", "1969-12-31 23:59:59.999999"),
    ]
    for data in (frame, objects, rows, iter(rows), pa.Table.from_pandas(frame)):
        assert (await read(data))[1] == wanted


@pytest.mark.parametrize("name", ["\ud800", "a\udfff", "\ufeffid", " "])
async def test_names_that_no_file_could_hold_are_refused(name):
    odd = pd.Index([name], dtype=object)
    for data in ([{name: 1}], iter([{name: 1}]), pd.DataFrame([[1]], columns=odd), pd.DataFrame({"a": [1]}, index=odd)):
        if isinstance(data, pd.DataFrame) and "a" in data:
            data.index.name = name
        with pytest.raises(InvalidInputError, match="name"):
            await open_source(data)
    with pytest.raises(InvalidInputError, match="name"):
        Schema.of({name: "LONG"})


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
        ([np.float32(1), 0.5], pa.float64()),
        ([np.float32(1), np.float16(1), float("nan"), None], pa.float32()),
        ([float("nan"), None], pa.float64()),
        ([dt.timedelta(1), pd.Timedelta(1, "us")], pa.duration("us")),
        ([dt.timedelta(1), pd.Timedelta(1, "ns")], pa.duration("ns")),
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
        [dt.time(9), dt.time(9, tzinfo=dt.UTC)],
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


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ([], {}),
        (iter([]), {}),
        (TABLE.slice(0, 0), {}),
        (b"id,s,f,t,b", {}),
        (b"id,s,f,t,b\n", {}),
        (b"", {"header": False}),
        (b"", {"format": "ndjson"}),
        (io.BytesIO(), {"format": "ndjson"}),
    ],
)
async def test_no_rows_are_data_too(data, options):
    source, found = await read(data, schema=SCHEMA, **options)
    assert (found, shown(source)) == ([], TYPES)


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", packed(b"")])
async def test_csv_without_so_much_as_a_header_is_no_data(data):
    """It is what is left of an export that failed."""
    for one in (data, io.BytesIO(data), Pipe(data)):
        with pytest.raises(InvalidDataError, match="not even a header"):
            await open_source(one, schema=SCHEMA, format="csv")


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


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'id,s\n0,a\n1,"a\n2,a\n', "row 2: .*never closed"),
        (b'id,s\n0,a\n1,"a', "row 2: .*never closed"),
        (b'id,s\n0,"a"\n1,"a\n2,"a"\n3,"a"\n', "row 2: .*goes on"),
        (b'id,s\n0,"a"\n1,"a\n2,"a"\n3,"a"\n4,"a"\n', "row 2: .*goes on"),
        (b'id,s\n1,"x"y\n', "row 1: .*goes on"),
        (b'id,s\n\n\n1,x\n\n2,"x" \n', "row 2: .*goes on"),
        (b'id,s\n1,""x\n', "row 1: .*goes on"),
        (b'"id"x,s\n1,x\n', "header .*goes on"),
        (b'"id,s\n1,x\n', "header .*never closed"),
        (b'\xef\xbb\xbf"id,s\n1,x\n', "header .*never closed"),
    ],
)
@pytest.mark.parametrize("wrap", [bytes, packed, io.BytesIO], ids=["bytes", "gzip", "file"])
async def test_double_quotes_that_do_not_match_are_refused(data, said, wrap):
    for schema in (None, Schema.of({"id": "LONG", "s": "STRING"})):
        with pytest.raises(InvalidDataError, match=said):
            await read(wrap(data), schema=schema, format="csv")


@pytest.mark.parametrize("place", [3, 149_999, 270_000, 299_999])
@pytest.mark.parametrize("quoted", [False, True])
async def test_a_double_quote_is_missed_wherever_it_is(place, quoted):
    """In any piece of the file, and at the border of two."""
    rows = [f'{n},"a, b"\n' if quoted else f"{n},a cell\n" for n in range(300_000)]
    rows[place] = f'{place},"a cell\n'
    with pytest.raises(InvalidDataError, match=f"row {place + 1}: "):
        await read(("id,s\n" + "".join(rows)).encode())


async def test_double_quotes_inside_a_cell_that_begins_with_none_are_text():
    data = b'\xef\xbb\xbf"id",s\n1,5" pipe\n2,"a ""b"" c"\n3,x"\n4,"\n"\n'
    assert (await read(data))[1] == [("1", '5" pipe'), ("2", 'a "b" c'), ("3", 'x"'), ("4", "\n")]
    many = b"id,s\n" + b'1,5" pipe\n2,"a\nb"\n' * 120_000
    assert (await read(many))[1] == [("1", '5" pipe'), ("2", "a\nb")] * 120_000


async def test_a_single_column():
    assert (await read(b"x\n\n\n5\n"))[1] == [(None,), (None,), ("5",)]
    assert (await read(b"\nx\n5\n"))[1] == [("5",)]
    assert (await read(b"\r\nx\r\n5\r\n\r\n"))[1] == [("5",), (None,)]
    wanted = Schema.of({"x": "LONG"})
    assert (await read(b"x\n\n\n", schema=wanted))[1] == [(None,), (None,)]
    assert (await read(b"\n\n", schema=wanted, header=False))[1] == [(None,), (None,)]
    assert (await read(b"\\N\n7", schema=wanted, header=False))[1] == [(None,), ("7",)]
    blank = 2_200_000  # more than a piece
    assert (await read(b"x\n" + b"\n" * blank, schema=wanted))[1] == [(None,)] * blank


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("cell", [b"abc", b'"a ""b"""'])
async def test_rows_that_lie_across_pieces(end, cell):
    """The first cell moves the borders by one byte each time."""
    for shift in range(2, 6):
        rows = [b"1," + b"x" * shift + cell[:0], *[b"2," + cell] * 400_000]
        source = await open_source(b"id,s" + end + end.join(rows) + end, format="csv")
        async with aclosing(source.batches()) as batches:
            found = [(batch.num_rows, batch.column(1).null_count) async for batch in batches]
        assert sum(rows for rows, _ in found) == 400_001
        assert not any(nulls for _, nulls in found)
        assert len(found) > 1


@pytest.mark.parametrize("shift", [0, 1])
async def test_line_ends_in_cells_that_lie_across_pieces(shift):
    """Between two blocks of its own, Arrow would lose the LF of a CR LF."""
    rows = [("x" * (shift + 1), "y"), *[(str(place), "\r\n" * 300) for place in range(8_000)]]
    data = "a,b\r\n" + "".join(f'"{a}","{b}"\r\n' for a, b in rows)
    assert (await read(data.encode(), schema=Schema.of({"a": "STRING"})))[1] == rows


@pytest.mark.parametrize("size", [100_000, 200_000, 1_999_990, 2_097_152, 3_500_000, 6_000_000])
async def test_long_cells_and_long_names(size):
    long, quoted = "é" * (size // 2), 'é"\n' * (size // 4)
    cell = '"' + quoted.replace('"', '""') + '"'
    assert (await read(f"a,b\nw,x\n{long},y\n{cell},z".encode()))[1] == [("w", "x"), (long, "y"), (quoted, "z")]
    assert (await read(f"a,b\n{long},1\n".encode()))[1] == [(long, "1")]
    assert (await read(f"{long},b\n1,2\n".encode()))[0].schema.names == [long, "b"]


async def test_a_cell_that_is_not_utf8_is_named():
    data = b"a,b\n" + b"1,xxxxxxxxxxxxxxxxxxxxxxxxx\n" * 150_000 + b"2,\xe4\n"
    with pytest.raises(InvalidDataError, match=r"'b', row 150001: .*UTF-8"):
        await read(data)


async def test_marks_of_a_byte_order():
    assert (await read(b'\xef\xbb\xbf"id",s\n1,\xef\xbb\xbfx\n'))[1] == [("1", "\ufeffx")]
    wanted = Schema.of({"s": "STRING"})
    rows = b"\xef\xbb\xbfx\n" * 1_000_000
    assert (await read(b"\xef\xbb\xbf" + rows, schema=wanted, header=False))[1] == [("\ufeffx",)] * 1_000_000


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


async def test_json_lines_that_are_not_utf8():
    with pytest.raises(InvalidDataError, match=r"'s', row 2: .*UTF-8"):
        await read(b'{"k":1,"s":"ok"}\n{"k":2,"s":"M\xe4rz"}\n')
    with pytest.raises(InvalidDataError, match="UTF-8"):
        await read(b'{"k":1,"M\xe4rz":1}\n')


@pytest.mark.parametrize("digits", ["3.5995547663568026e+40", '"3.5995547663568026e+40"', "-1e60", '"1e60"', "1E039"])
async def test_json_numbers_that_are_too_large_for_a_decimal(digits):
    """Arrow's parser lets some of them wrap around."""
    with pytest.raises(InvalidDataError):
        await read(b'{"a":%s}\n' % digits.encode(), schema=Schema.of({"a": "DECIMAL"}))


async def test_json_numbers_of_many_digits():
    for data in (b'{"a":9007199254740993}\n', b'{"a":0.5}\n{"a":9007199254740993}\n'):
        with pytest.raises(InvalidDataError, match="digits"):
            await read(data, schema=Schema.of({"a": "DOUBLE"}))
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
    closed = io.BytesIO(b"a\n1\n")
    closed.close()
    with (tmp_path / "out.csv").open("wb") as to_write:
        for data, said in (
            (tmp_path, "directory"),
            (tmp_path / "none.csv", "not there"),
            (str(tmp_path / ("x" * 300)), "cannot be read"),
            ("a\0b", "cannot be read"),
            (io.StringIO("a\n1\n"), "text"),
            (closed, "closed"),
            (to_write, "not open for reading"),
        ):
            with pytest.raises(InvalidInputError, match=said):
                await open_source(data)
    with pytest.raises(InvalidInputError, match="format"):
        await open_source(b"a\n", format="xlsx")
    for kind in ("parquet", "arrow"):
        with pytest.raises(InvalidInputError):
            await open_source(b"not one of them", format=kind)


@pytest.mark.parametrize("form", ["parquet", "feather", "stream"])
async def test_files_that_are_damaged(form):
    write = {"parquet": pa.parquet.write_table, "feather": pa.feather.write_feather, "stream": ipc_stream}[form]
    content = saved(write, pa.table({"s": [uuid.UUID(int=n * 7919**5).hex for n in range(5000)]}))
    middle = len(content) // 2
    spoilt = content[:middle] + b"\xff" * 3000 + content[middle + 3000 :]
    broken = [content[:middle], content[:-20], content[:6]]
    broken += [spoilt, content[:-60] + b"\xff" * 52 + content[-8:]] if form == "parquet" else []
    for data in broken:
        with pytest.raises(InvalidDataError, match="file"):
            await read(data, format="parquet" if form == "parquet" else "arrow")


@pytest.mark.parametrize("kind", ["parquet", "feather"])
async def test_what_is_read_from_its_end_must_be_able_to_seek(kind):
    with pytest.raises(InvalidInputError, match="cannot seek"):
        await open_source(Pipe(FRAMES[kind]()))


class OnlyRead:
    """The least that a file can be; it gives as much as it is asked for."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def read(self, size=-1):
        return self._file.read(size)


@pytest.mark.parametrize("form", ["csv", "csv.gz", "ndjson"])
async def test_pipes_of_more_than_is_kept_while_types_are_guessed(form):
    columns = {"at": "2024-01-31 17:05:00", "x": 0.30000000000000004, "s": "some text" * 4}
    row = (json.dumps(columns) if form == "ndjson" else ",".join(map(str, columns.values()))).encode() + b"\n"
    count = 24_000_000 // len(row)
    content = (b"" if form == "ndjson" else b"at,x,s\n") + row * count
    types = ["STRING" if form == "ndjson" else "DATETIME", "DOUBLE", "STRING"]
    content = packed(content) if form == "csv.gz" else content

    async def check(file):
        source = await open_source(file)
        assert [column.type for column in source.schema] == types
        async with aclosing(source.batches()) as batches:
            assert sum([batch.num_rows async for batch in batches]) == count

    await check(OnlyRead(content))
    reading, writing = os.pipe()

    def feed():
        with open(writing, "wb") as pipe:
            pipe.write(content)

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reading, "rb", buffering=0) as pipe:
        await check(pipe)
    thread.join()


# Iterators


@pytest.mark.parametrize("is_asynchronous", [False, True])
async def test_dicts_and_batches_keep_their_order(is_asynchronous):
    def mixed():
        yield {"a": 1}
        yield {"a": 2}
        yield pd.DataFrame({"a": [3]})
        yield {"a": 4}
        yield []
        yield {"a": 5}
        yield [{"a": 6}, {"a": 7}]
        yield from ({"a": n} for n in range(8, 15_000))
        yield pa.table({"a": [15_000]})

    async def later():
        for one in mixed():
            yield one

    _, found = await read(later() if is_asynchronous else mixed())
    assert [int(cell) for (cell,) in found] == list(range(1, 15_001))


@pytest.mark.parametrize(
    ("first", "later"),
    [(1, "007"), (1.5, "2"), (dt.date(2024, 1, 1), "2024-01-02"), (Decimal("1.5"), "x"), (1, "")],
)
async def test_text_is_not_parsed_for_a_column_whose_type_is_only_that_of_the_first_batch(first, later):
    def batches(table):
        rows = [{"A": first, "n": 1}], [{"a": None, "n": 2}, {"a": later, "n": 3}]
        return iter([pa.Table.from_pylist(one) if table else one for one in rows])

    for data in (batches(table=True), batches(table=False)):
        with pytest.raises(InvalidDataError, match=r"'A', row 3: text .*began as"):
            await read(data)
    wanted = Schema.of({"a": "STRING"})
    assert [row[0] for row in (await read(batches(table=True), schema=wanted))[1]][1:] == [None, later]


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


# -- data that is not what it seems


class Dripping(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._data.read(min(size, 7) if size > 0 else size)


def cut_stream():
    """Of three batches and an end mark, two and no mark."""
    file = io.BytesIO()
    writer = pa.ipc.new_stream(file, TABLE.schema)
    for batch in TABLE.to_batches(max_chunksize=1)[:2]:
        writer.write_batch(batch)
    return file.getvalue()


@pytest.mark.parametrize("form", [bytes, io.BytesIO, Dripping, "path"], ids=str)
async def test_an_arrow_stream_without_its_end_is_not_whole(tmp_path, form):
    def given(data):
        if form != "path":
            return form(data)
        (tmp_path / "rows.arrows").write_bytes(data)
        return tmp_path / "rows.arrows"

    _, found = await read(given(saved(ipc_stream)), format="arrow")
    assert found == CELLS
    with pytest.raises(InvalidDataError, match="no end mark"):
        await read(given(cut_stream()), format="arrow")
    _, found = await read(pa.ipc.open_stream(cut_stream()))
    assert found == CELLS[:2]


async def test_a_dictionary_that_lacks_a_word():
    broken = pa.DictionaryArray.from_arrays(pa.array([0, 5], pa.int8()), pa.array(["x"]), safe=False)
    with pytest.raises(InvalidDataError, match="its dictionary has not"):
        await read(pa.table({"a": broken}))


async def test_a_later_batch_with_another_column():
    async def batches():
        yield pa.table({"a": [1]})
        yield pa.table({"a": [1], "b": [2]})

    with pytest.raises(SchemaMismatchError, match="a later batch") as caught:
        await read(batches())
    assert "evolve_schema" not in caught.value.hint
