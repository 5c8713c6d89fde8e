"""Batches to parts: every cell as it was, parts of the size that is asked for, the same parts each time."""

import datetime as dt
import gzip
import sys
import threading
from contextlib import aclosing
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domokit.bulk.convert import check, convert
from domokit.bulk.encode import Encoder, parts_of
from domokit.bulk.schema import Column, Schema
from domokit.bulk.sources import open_source
from domokit.bulk.types import schema_of
from domokit.errors import InvalidDataError, InvalidInputError, MissingExtraError, SchemaMismatchError
from tests.bulk.parsing import cells

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
UTC = dt.UTC

tricky = st.sampled_from(
    ["", "\\N", "NA", "null", "nan", "007", '"', '""', ",", "\n", "\r", "\r\n", " a ", "\x00", "’", "😀"]
)
texts = st.one_of(tricky, st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
naive = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999))
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**20), max_value=10**20)
KINDS = {
    pa.string(): texts,
    pa.large_string(): texts,
    pa.string_view(): texts,
    pa.dictionary(pa.int16(), pa.string()): texts,
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**63 - 1),
    pa.float64(): st.floats(allow_nan=True, allow_infinity=False),
    pa.decimal128(38, 12): decimals,
    pa.decimal128(38, 2): st.decimals(places=2, min_value=-(10**20), max_value=10**20),
    pa.date32(): st.dates(),
    pa.timestamp("us"): naive,
    pa.timestamp("us", "Asia/Tokyo"): naive,
    pa.null(): st.none(),
}


@st.composite
def tables(draw, most=5):
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=most))
    rows = draw(st.integers(0, 8))
    columns = [pa.array(draw(st.lists(st.none() | KINDS[kind], min_size=rows, max_size=rows)), kind) for kind in kinds]
    return pa.record_batch(columns, names=[f"c{place}" for place in range(len(kinds))])


def meaning(cell, domo, kind):
    """What Domo makes of a cell, in Python's types."""
    if cell is None or domo == "STRING":
        return cell
    if domo == "DECIMAL":
        assert "E" not in cell
        return Decimal(cell)
    if domo == "DATE":
        return dt.date.fromisoformat(cell)
    if domo == "DATETIME":
        return dt.datetime.fromisoformat(cell)
    return int(cell) if domo == "LONG" else float(cell)


def expected(value, kind):
    if value is None or value != value:  # NaN
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def read(batch, part):
    schema = schema_of(batch.schema)
    return [
        tuple(meaning(cell, one.type, kind) for cell, one, kind in zip(row, schema, batch.schema.types, strict=True))
        for row in cells(part.body, len(schema), is_gzip=part.is_compressed)
    ]


def rows_of(batch):
    columns = []
    for column, kind in zip(batch.columns, batch.schema.types, strict=True):
        if pa.types.is_timestamp(kind) and kind.tz:  # Python's own zones do not reach the ends of the calendar
            column = column.view(pa.timestamp(kind.unit))
        columns.append([expected(value, kind) for value in column.to_pylist()])
    return list(zip(*columns, strict=True))


def encoded(table, schema=None, **options):
    batches = table.to_batches() if isinstance(table, pa.Table) else [table]
    schema = Schema.of(schema) if schema else schema_of(table.schema)
    return Encoder(schema, **options).encode(batches)


def raw(values, domo=None, kind=None, **options):
    """The CSV of one column, beside one of integers so that NULL is an empty cell."""
    table = pa.table({"a": pa.array(values, kind), "n": pa.array(range(len(values)), pa.int32())})
    schema = {"a": domo, "n": "LONG"} if domo else None
    body = encoded(table, schema, compression=None, **options).body.decode()
    return [line.rsplit(",", 1)[0] for line in body.splitlines()]


@FEW
@given(tables())
def test_every_cell_comes_back(batch):
    part = encoded(batch)
    assert read(batch, part) == rows_of(batch)
    assert part.rows == batch.num_rows
    assert part.raw_bytes == len(gzip.decompress(part.body))


@FEW
@given(tables(most=1))
def test_every_cell_of_a_single_column_comes_back(batch):
    assert read(batch, encoded(batch, compression="zlib")) == rows_of(batch)


@FEW
@given(tables(most=3))
def test_slices_are_the_same_as_the_whole(batch):
    encoder = Encoder(schema_of(batch.schema), compression=None)
    cut = batch.num_rows // 2
    halves = [batch.slice(0, cut), batch.slice(cut)]
    assert [row for half in halves for row in read(batch, encoder.encode([half]))] == rows_of(batch)
    assert read(batch, encoder.encode(halves)) == rows_of(batch)


def test_null_empty_text_and_backslash_n_stay_apart():
    assert raw(["", None, "\\N", "x"]) == ['""', "", '"\\N"', '"x"']
    single = pa.table({"a": ["", None, "\\N", 'q"\n']})
    assert encoded(single, compression=None).body == b'""\n\\N\n"\\N"\n"q""\n"\n'


def test_numbers():
    assert raw([1.0, 0.1, 1e300, float("nan"), None, -0.0]) == ["1", "0.1", "1e+300", "", "", "-0"]
    assert raw([0.1], kind=pa.float32()) == ["0.1"]
    assert raw(np.array([0.5], np.float16)) == ["0.5"]
    assert raw([2**63 - 1, -(2**63)]) == ["9223372036854775807", "-9223372036854775808"]
    assert raw([Decimal("1E+5"), Decimal(0), Decimal("0.0000000001")], kind=pa.decimal128(38, 10)) == [
        "100000.0000000000",
        "0",
        "0.0000000001",
    ]
    assert raw([Decimal("1E+5"), None], kind=pa.decimal128(10, -3)) == ["100000", ""]
    assert raw([True, False, None]) == ["true", "false", ""]


def test_times():
    noon = dt.datetime(2024, 7, 1, 12)
    assert raw([noon, None]) == ["2024-07-01 12:00:00", ""]
    assert raw([noon.replace(microsecond=5)]) == ["2024-07-01 12:00:00.000005"]
    assert raw([noon.replace(tzinfo=UTC)]) == ["2024-07-01 12:00:00"]
    assert raw([noon.replace(tzinfo=UTC)], time_zone="Europe/Berlin") == ["2024-07-01 14:00:00"]
    assert raw([noon], time_zone="Europe/Berlin") == ["2024-07-01 12:00:00"]
    assert raw([-1, 1], kind=pa.timestamp("ns")) == ["1969-12-31 23:59:59.999999", "1970-01-01 00:00:00.000000"]
    assert raw([dt.date(1, 1, 1), dt.date(9999, 12, 31)]) == ["0001-01-01", "9999-12-31"]
    assert raw([dt.time(1, 2, 3), None]) == ["01:02:03", ""]
    assert raw([dt.time(1, 2, 3, 4), dt.time(1, 2, 3), dt.time(1, 2, 10, 500_000)]) == [
        '"01:02:03.000004"',
        '"01:02:03"',
        '"01:02:10.5"',
    ]
    assert raw([-1, 10**9], "STRING", pa.timestamp("ns")) == ['"1969-12-31 23:59:59.999999"', '"1970-01-01 00:00:01"']
    spans = [dt.timedelta(days=1, microseconds=10), dt.timedelta(seconds=-90.5), dt.timedelta(0), None]
    assert raw(spans) == ['"PT86400.00001S"', '"-PT90.5S"', '"PT0S"', ""]


@pytest.mark.parametrize(
    ("values", "kind", "target", "row"),
    [
        ([1.0, float("inf")], None, "DOUBLE", 2),
        ([1.0, float("-inf")], None, "STRING", 2),
        ([1, 2**63], pa.uint64(), "LONG", 2),
        ([1.0, 2.0, 2.5], None, "LONG", 3),
        ([1e19], None, "LONG", 1),
        ([Decimal("1.5")], None, "LONG", 1),
        ([1.0, 1e300], None, "DECIMAL", 2),
        (["1", "x"], None, "LONG", 2),
        (["1", "0x10"], None, "LONG", 2),
        (["1", "9223372036854775808"], None, "LONG", 2),
        (["1", "inf"], None, "DOUBLE", 2),
        (["1", "1,5"], None, "DECIMAL", 2),
        (["2024-01-01", "2024-02-30"], None, "DATE", 2),
        (["2024-01-01", "tomorrow"], None, "DATETIME", 2),
        ([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 1)], None, "DATE", 2),
        ([0, -(2**62)], pa.timestamp("s"), "DATETIME", 2),
        ([0, 2**30], pa.date32(), "DATE", 2),
        ([0, 5], pa.date64(), "DATE", 2),
        ([0, 86_400], pa.time32("s"), "STRING", 2),
        ([-1], pa.time32("ms"), "STRING", 1),
        ([0, 86_400_000_000], pa.time64("us"), "STRING", 2),
        ([0, 2**62], pa.timestamp("s", "UTC"), "DATETIME", 2),
        ([2**53, 2**53 + 1], None, "DOUBLE", 2),
        ([2**63 - 1], pa.uint64(), "DOUBLE", 1),
        (["1.5", "9007199254740993"], None, "DOUBLE", 2),
        ([Decimal("9007199254740993")], None, "DOUBLE", 1),
        ([Decimal(1), Decimal("12345678901234567.25")], None, "DOUBLE", 2),
    ],
)
def test_what_does_not_fit_is_refused_with_column_and_row_but_without_its_value(values, kind, target, row):
    with pytest.raises(InvalidDataError, match=rf"'a', row {row}:") as caught:
        raw(values, target, kind)
    assert caught.value.__cause__ is None
    shown = str(values[row - 1])
    assert len(shown) < 4 or shown not in str(caught.value)


@pytest.mark.parametrize(("values", "target"), [([1], "DATE"), ([dt.date(2024, 1, 1)], "LONG"), ([True], "LONG")])
def test_what_has_no_meaning_there_is_refused(values, target):
    table = pa.table({"a": values})
    assert check(schema_of(table.schema), Schema.of({"a": target})).changed
    with pytest.raises(InvalidDataError, match="'a'"):
        raw(values, target)


@pytest.mark.parametrize(
    ("values", "target", "lines"),
    [
        ([1.0, None, float("nan")], "LONG", ["1", "", ""]),
        ([Decimal("2.00")], "LONG", ["2"]),
        ([2**53, 2**60, -(2**63)], "DOUBLE", ["9007199254740992", "1152921504606846976", "-9223372036854775808"]),
        (
            ["9007199254740992", "1e300", "1152921504606846976", "1152921504606847000"],
            "DOUBLE",
            ["9.007199254740992e+15", "1e+300", "1.152921504606847e+18", "1.152921504606847e+18"],
        ),
        (
            [Decimal(2**60), Decimal("0.12345678901234567890")],
            "DOUBLE",
            ["1152921504606846976.00000000000000000000", "0.12345678901234567890"],
        ),
        ([0.1, 1e-7], "DECIMAL", ["0.1000000000", "0.0000001000"]),
        ([0.1, 2.5], "DECIMAL", ["0.100000", "2.500000"]),
        ([dt.datetime(2024, 1, 1), None], "DATE", ["2024-01-01", ""]),
        ([dt.date(2024, 1, 1)], "DATETIME", ["2024-01-01 00:00:00"]),
        ([1, None], "STRING", ["1", ""]),
        ([0.1], "STRING", ["0.1"]),
        ([None, None], "LONG", ["", ""]),
        (["007", " 1 ", "+5", "", None], "LONG", ["7", "1", "5", "", ""]),
        (["1.50", "nan"], "DOUBLE", ["1.5", ""]),
        (["1.12345678901234"], "DECIMAL", ["1.12345678901234000000000000000000000000"]),
        (["2024-01-31"], "DATE", ["2024-01-31"]),
        (
            ["2024-01-31", "2024-01-31T01:02:03Z", "2024-01-31 01:02:03.5+02:00", "2024-01-31 01:02:03.1234567"],
            "DATETIME",
            [
                "2024-01-31 00:00:00.000000",
                "2024-01-31 01:02:03.000000",
                "2024-01-30 23:02:03.500000",
                "2024-01-31 01:02:03.123456",
            ],
        ),
    ],
)
def test_what_fits_is_converted(values, target, lines):
    assert raw(values, target) == lines


def test_a_time_is_written_alike_whatever_stands_beside_it():
    """A step of the encoder has 4096 rows."""
    nine, odd = dt.time(9), dt.time(9, 0, 0, 5)
    for values in ([nine] * 5000, [odd, *[nine] * 4999], [*[nine] * 4999, odd, None]):
        stamps = [None if one is None else dt.datetime.combine(dt.date(2024, 1, 1), one) for one in values]
        for column, kind in ((values, pa.time64("us")), (values, pa.time64("ns")), (stamps, pa.timestamp("ns"))):
            found = {cell.strip('"').split(" ")[-1] for cell in raw(column, "STRING", kind)}
            assert found <= {"09:00:00", "09:00:00.000005", ""}


def test_times_at_the_ends_of_what_a_type_holds():
    ends = pa.array([-(2**63) + 1, 2**63 - 1, -1], pa.timestamp("ns", "UTC"))
    assert raw(ends) == ["1677-09-21 00:12:43.145224", "2262-04-11 23:47:16.854775", "1969-12-31 23:59:59.999999"]
    assert raw(ends, time_zone="Asia/Tokyo") == [
        "1677-09-21 09:31:42.145224",
        "2262-04-12 08:47:16.854775",
        "1970-01-01 08:59:59.999999",
    ]
    with pytest.raises(InvalidDataError, match="'a', row 1: a year"):
        raw([2**63 - 1], kind=pa.timestamp("s", "UTC"), time_zone="Asia/Tokyo")
    with pytest.raises(InvalidDataError, match="'a', row 1: a year"):
        raw([253_402_300_799], kind=pa.timestamp("s", "UTC"), time_zone="Asia/Tokyo")
    assert raw([-(2**63), 2**63 - 1], kind=pa.duration("s")) == [
        '"-PT9223372036854775808S"',
        '"PT9223372036854775807S"',
    ]


def test_text_that_is_not_utf8_is_refused_by_row():
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(np.array([0, 1, 3, 4], "i4").tobytes()), pa.py_buffer(b"a\xe4bc")]
    )
    for values in (broken, broken.dictionary_encode(), broken.cast(pa.large_string(), safe=False)):
        with pytest.raises(InvalidDataError, match=r"'a', row 2: .*UTF-8"):
            raw(values)
    assert raw(broken.slice(2)) == ['"c"']
    words = pa.DictionaryArray.from_arrays(pa.array([0, 2, 2, 0], pa.int8()), broken)
    assert raw(words) == ['"a"', '"c"', '"c"', '"a"']  # the broken word is not used
    often = pa.DictionaryArray.from_arrays(pa.array([0, 0, 2, 0, 1], pa.int8()), broken)
    with pytest.raises(InvalidDataError, match=r"'a', row 5: .*UTF-8"):
        raw(often)


@pytest.mark.parametrize("columns", [1, 10, 200, 3000])
def test_rows_are_numbered_through_all_steps(columns):
    """However many rows are written at a time, which hangs on the number of columns."""
    count = 700 if columns > 100 else 40_000
    table = pa.table({f"c{place}": pa.array(range(count)) for place in range(columns)})
    schema = Schema.of(dict.fromkeys(table.column_names, "LONG"))
    encoder = Encoder(schema, compression=None)
    assert encoder.encode(table.to_batches()).body == "".join(
        ",".join([str(row)] * columns) + "\n" for row in range(count)
    ).encode()  # fmt: skip
    values = pa.array([1.0] * (count - 1) + [float("inf")])
    broken = table.set_column(0, "c0", values)
    with pytest.raises(InvalidDataError, match=f"'c0', row {count}: infinity"):
        Encoder(Schema.of(dict.fromkeys(table.column_names, "DOUBLE"))).encode(broken.to_batches())


def test_runs_of_dictionaries():
    words = pa.array(["x", None, "y"]).dictionary_encode()
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 6], pa.int32()), words)
    assert raw(runs) == ['"x"', '"x"', "", '"y"', '"y"', '"y"']
    assert raw(runs.slice(1, 3)) == ['"x"', "", '"y"']


def test_columns_are_found_by_name_and_then_without_regard_to_case():
    table = pa.table({"B": [1], "a": ["x"]})
    assert encoded(table, {"a": "STRING", "b": "LONG"}, compression=None).body == b'"x",1\n'
    with pytest.raises(SchemaMismatchError) as caught:
        encoded(table, {"a": "STRING"})
    assert [one.name for one in caught.value.diff.added] == ["B"]


def test_a_column_that_the_data_lacks_is_null():
    assert encoded(pa.table({"b": [1]}), {"a": "DATE", "b": "LONG"}, compression=None).body == b",1\n"
    with pytest.raises(SchemaMismatchError):
        convert(pa.record_batch({"b": [1]}), Schema.of({"a": "DATE", "b": "LONG"}))


def test_real_differences_are_told_from_those_that_are_converted():
    data = Schema.of({"A": "LONG", "b": "STRING", "c": "DATE", "d": "DATETIME", "e": "DOUBLE", "f": "DATE"})
    target = Schema.of({"b": "DATE", "a": "STRING", "c": "DATETIME", "d": "DATE", "e": "LONG", "g": "LONG"})
    diff = check(data, target)
    assert diff.added == (Column("f", "DATE"),)
    assert diff.removed == (Column("g", "LONG"),)
    assert diff.changed == ()
    assert diff.is_reordered
    assert check(data, data) == type(diff)()
    assert check(Schema.of({"a": "DATE"}), Schema.of({"a": "LONG"})).changed == (("a", "LONG", "DATE"),)
    # An exact name is never given to a column of another case.
    both = check(Schema([Column("a", "LONG"), Column("A", "LONG")]), Schema.of({"A": "LONG"}))
    assert both.added == (Column("a", "LONG"),)


@pytest.mark.parametrize("columns", [200, 2000])
def test_wide_tables(columns):
    batch = pa.record_batch({f"c{n}": [n, None] if n % 2 else [str(n), ""] for n in range(columns)})
    assert read(batch, encoded(batch)) == rows_of(batch)


async def test_parts_have_about_the_size_that_is_asked_for():
    # The texts grow, so a fixed number of rows would not do.
    table = pa.table({"n": range(40_000), "s": ["x" * (row // 400) for row in range(40_000)]})
    source = await open_source(table)
    encoder = Encoder(source.schema, compression=None)
    cuts = [cut async for cut in parts_of(source, encoder, part_bytes=200_000)]
    sizes = [encoder.encode(cut).raw_bytes for cut in cuts]
    assert all(150_000 < size < 260_000 for size in sizes[:-1])
    assert [cut.number for cut in cuts] == list(range(1, len(cuts) + 1))
    assert sum(cut.rows for cut in cuts) == 40_000
    firsts = [cut.first_row for cut in cuts]
    assert firsts == [1 + sum(cut.rows for cut in cuts[:place]) for place in range(len(cuts))]
    again = [cut async for cut in parts_of(source, encoder, part_bytes=200_000)]
    assert [cut.rows for cut in again] == [cut.rows for cut in cuts]


@pytest.mark.parametrize("part_bytes", [1, 100, 10_000_000])
async def test_parts_together_are_the_whole(part_bytes):
    rows = [{"n": row, "s": "é" * (row % 50)} for row in range(300)]
    source = await open_source(rows)
    encoder = Encoder(source.schema)
    bodies = [encoder.encode(cut).body async for cut in parts_of(source, encoder, part_bytes=part_bytes)]
    found = [row for body in bodies for row in cells(body, 2)]
    assert found == [(str(row["n"]), row["s"]) for row in rows]
    assert len(bodies) == 300 if part_bytes == 1 else len(bodies) < 300


async def test_no_rows_make_no_parts():
    source = await open_source(pa.table({"a": pa.array([], pa.int64())}))
    assert [cut async for cut in parts_of(source, Encoder(source.schema))] == []
    empty = Encoder(source.schema).encode([])
    assert (empty.rows, gzip.decompress(empty.body)) == (0, b"")


async def test_rows_are_counted_through_all_parts():
    source = await open_source(pa.table({"a": [1.0] * 9_000 + [0.5], "b": range(9_001)}))
    encoder = Encoder(Schema.of({"a": "LONG", "b": "LONG"}))
    async with aclosing(parts_of(source, encoder, part_bytes=5_000)) as cuts:
        with pytest.raises(InvalidDataError, match=r"row 9001:"):
            [encoder.encode(cut) async for cut in cuts]


def test_many_small_batches_are_the_same_as_one():
    table = pa.table({"a": range(500), "s": [None, "x"] * 250})
    encoder = Encoder(schema_of(table.schema), compression=None)
    assert encoder.encode(table.to_batches(max_chunksize=7)).body == encoder.encode(table.to_batches()).body
    mixed = [pa.record_batch({"a": pa.array([1], pa.int8())}), pa.record_batch({"a": pa.array([2], pa.int32())})]
    assert Encoder(Schema.of({"a": "LONG"}), compression=None).encode(mixed).body == b"1\n2\n"


def test_threads_may_share_an_encoder():
    table = pa.table({"a": range(20_000), "s": [f"text {row}" for row in range(20_000)]})
    encoder = Encoder(schema_of(table.schema))
    wanted = encoder.encode(table.to_batches()).body
    found = []
    threads = [threading.Thread(target=lambda: found.append(encoder.encode(table.to_batches()).body)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


def test_compression(monkeypatch):
    schema = Schema.of({"a": "LONG"})
    assert not Encoder(schema, compression=None).encode([]).is_compressed
    with pytest.raises(InvalidInputError):
        Encoder(schema, compression="zstd")
    monkeypatch.setitem(sys.modules, "isal", None)
    with pytest.raises(MissingExtraError, match="domokit"):
        Encoder(schema, compression="isal")
    body = Encoder(schema).encode([pa.record_batch({"a": [1]})]).body
    assert gzip.decompress(body) == b"1\n"


@pytest.mark.parametrize("wrong", ["Mars/Olympus", ""])
def test_a_time_zone_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="time zone"):
        Encoder(Schema.of({"a": "LONG"}), time_zone=wrong)
