"""A CSV in chunks becomes typed batches, or an error; never fewer rows, never other values."""

import math
import random
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise

import anyio
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domokit.bulk.cells import from_query_json
from domokit.bulk.decode import beside, read_batches
from domokit.bulk.scan import RowCounter, end_of_first_row, end_of_rows
from domokit.bulk.schema import Schema
from domokit.bulk.types import arrow_schema
from domokit.errors import (
    ConnectionFailedError,
    DomoDecodeError,
    IncompleteDataError,
    InvalidDataError,
    InvalidInputError,
)

ALL = Schema.of({"n": "LONG", "x": "DOUBLE", "p": "DECIMAL", "s": "STRING", "d": "DATE", "t": "DATETIME"})
TWO = Schema.of({"a": "LONG", "b": "STRING"})


# -- helpers


def cell(value, null):
    """One cell as Domo exports it."""
    if value is None:
        return null
    if isinstance(value, str):
        plain = value not in ("", "\\N") and not set(value) & set(',"\r\n')
        return value if plain else '"' + value.replace('"', '""') + '"'
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return repr(value) if isinstance(value, float) else str(value)


def csv_of(rows, names=None, null="", end="\n"):
    lines = [",".join(cell(name, "") for name in names)] if names else []
    lines += [",".join(cell(value, null) for value in row) for row in rows]
    return "".join(line + end for line in lines).encode()


def cut(data, sizes):
    """Chunks of the given sizes, over and over."""
    chunks, at = [], 0
    while at < len(data):
        for size in sizes:
            chunks.append(data[at : at + size])
            at += size
    return chunks


async def stream(chunks, error=None):
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


async def read(data, schema=TWO, sizes=(7,), error=None, **options):
    batches = [batch async for batch in read_batches(stream(cut(data, sizes), error), schema, **options)]
    return pa.Table.from_batches(batches, arrow_schema(schema, options.get("types")))


def same(found, wanted):
    if isinstance(found, float) and isinstance(wanted, float) and math.isnan(found):
        return math.isnan(wanted)
    return found == wanted and type(found) is type(wanted)


def assert_same(table, rows):
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert len(found) == len(rows)
    for mine, theirs in zip(found, rows, strict=True):
        assert all(same(a, b) for a, b in zip(mine, theirs, strict=True)), (mine, theirs)


# -- values

texts = st.one_of(
    st.sampled_from(
        ["", " ", "NA", "null", "nan", "NULL", "true", "False", "\\N", "007", '"', '""', "a,b", "x\ny", "\r\n"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
decimals = st.integers(1 - 10**38, 10**38 - 1).map(lambda value: Decimal(f"{value}E-10"))
cells = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(width=64),
    st.none() | decimals,
    st.none() | texts,
    st.none() | st.dates(date(1, 1, 1)),
    st.none() | st.datetimes(datetime(1, 1, 1)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(cells, max_size=12),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4) | st.just([10**6]),
    piece=st.integers(1, 200),
    null=st.sampled_from(["", "\\N"]),
    end=st.sampled_from(["\n", "\r\n"]),
    has_header=st.booleans(),
)
def test_every_value_comes_back(rows, sizes, piece, null, end, has_header):
    data = csv_of(rows, ALL.names if has_header else None, null, end)
    if not has_header and data.startswith(b"\xef\xbb\xbf"):
        return

    async def go():
        return await read(data, ALL, sizes, has_header=has_header, expected_rows=len(rows), piece_bytes=piece)

    assert_same(anyio.run(go), rows)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.none() | texts), max_size=12), piece=st.integers(1, 30))
def test_every_value_of_a_single_column_comes_back(rows, piece):
    async def go():
        return await read(csv_of(rows, ["s"]), Schema.of({"s": "STRING"}), (5,), piece_bytes=piece)

    assert_same(anyio.run(go), rows)


async def test_texts_that_look_like_something_else_stay_texts():
    table = await read(b'a,b\n1,NA\n2,null\n3,nan\n4,true\n5,007\n6,""\n7,\n8,"\\N"\n9,\\N\n')
    assert table["b"].to_pylist() == ["NA", "null", "nan", "true", "007", "", None, "\\N", None]


async def test_types_are_those_of_the_schema_also_without_rows():
    for data in (b"", b"a,b\n", b"a,b", b"\xef\xbb\xbfa,b\n"):
        assert (await read(data)).schema == pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert (await read(b"", has_header=False)).num_rows == 0


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "-0", "+1.5", " 2 "])
async def test_floats(text):
    table = await read(f"x\n{text}\n".encode(), Schema.of({"x": "DOUBLE"}))
    assert same(table["x"][0].as_py(), float(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-03-19T18:49:02", datetime(2024, 3, 19, 18, 49, 2)),
        ("2024-03-19 18:49:02", datetime(2024, 3, 19, 18, 49, 2)),
        ("2024-03-19 18:49:02.5", datetime(2024, 3, 19, 18, 49, 2, 500000)),
        ("2024-03-19T18:49:02.123456Z", datetime(2024, 3, 19, 18, 49, 2, 123456)),
        ("2024-03-19T18:49:02.123456000", datetime(2024, 3, 19, 18, 49, 2, 123456)),
        ("2024-03-19T18:49:02+00:00", datetime(2024, 3, 19, 18, 49, 2)),
        ("2024-03-19", datetime(2024, 3, 19)),
        (" 2024-03-19T18:49 ", datetime(2024, 3, 19, 18, 49)),
        ('""', None),
    ],
)
async def test_datetimes(text, value):
    table = await read(f"n,t\n1,{text}\n2,2020-01-01T00:00:00\n".encode(), Schema.of({"n": "LONG", "t": "DATETIME"}))
    assert table["t"].to_pylist() == [value, datetime(2020, 1, 1)]


async def test_a_zone_is_asked_for():
    table = await read(
        b"t\n2024-03-19T18:49:02\n2024-03-19T18:49:02.25Z\n",
        Schema.of({"t": "DATETIME"}),
        types={"t": pa.timestamp("ms", "UTC")},
    )
    assert table["t"].to_pylist() == [
        datetime(2024, 3, 19, 18, 49, 2, tzinfo=UTC),
        datetime(2024, 3, 19, 18, 49, 2, 250000, UTC),
    ]


async def test_other_types_are_asked_for():
    types = {"n": pa.int16(), "p": pa.decimal256(60, 20), "s": pa.dictionary(pa.int32(), pa.string()), "x": pa.bool_()}
    schema = Schema.of({"n": "LONG", "p": "DECIMAL", "s": "STRING", "x": "STRING"})
    table = await read(b"n,p,s,x\n1,1.00000000000000000001,u,True\n,,,\n", schema, types=types)
    assert table.schema.types == list(types.values())
    assert table.to_pylist()[0] == {"n": 1, "p": Decimal("1.00000000000000000001"), "s": "u", "x": True}
    for name, kind, error in (("z", pa.string(), "'z'"), ("n", pa.list_(pa.int64()), "list")):
        with pytest.raises(InvalidInputError, match=error):
            await read(b"n,p,s,x\n1,1,1,1\n", schema, types={name: kind})


async def test_dates_with_a_midnight_and_whole_numbers_with_a_point():
    table = await read(b"d,n\n2024-03-19T00:00:00,7.0\n2024-03-20,+8\n", Schema.of({"d": "DATE", "n": "LONG"}))
    assert table.to_pylist() == [{"d": date(2024, 3, 19), "n": 7}, {"d": date(2024, 3, 20), "n": 8}]


# -- decimals: Arrow multiplies without looking


@pytest.mark.parametrize(
    "text",
    [
        "9999999999999999999999999999.9999999999",
        "-9999999999999999999999999999.9999999999",
        "1e27",
        "1.5E-3",
        "0.1234567891000000000000000",
        "12.",
        ".5",
    ],
)
async def test_decimals_that_fit(text):
    table = await read(f"p\n{text}\n".encode(), Schema.of({"p": "DECIMAL"}))
    assert table["p"][0].as_py() == Decimal(text)


@pytest.mark.parametrize("text", ["1e30", "803270735076970192706394217309784", "1e28", "0.00000000001", "9" * 60])
async def test_decimals_that_do_not_fit_say_what_would(text):
    rows = f"n,p\n1,2.5\n2,{text}\n".encode()
    schema = Schema.of({"n": "LONG", "p": "DECIMAL"})
    with pytest.raises(InvalidDataError, match="row 2, column 'p' has more digits") as caught:
        await read(rows, schema)
    assert text not in str(caught.value)
    kind = eval(caught.value.hint.split("'p': ")[1].rstrip("}."), {"pa": pa})  # what it tells to pass helps
    assert (await read(rows, schema, types={"p": kind}))["p"].to_pylist() == [Decimal("2.5"), Decimal(text)]


def test_no_large_decimal_ever_wraps_around():
    dice = random.Random(5)
    texts = [str(dice.randrange(10**28, 10**37)) for _ in range(60)]

    async def go():
        for text in texts:
            with pytest.raises(InvalidDataError):
                await read(f"{text}\n".encode(), Schema.of({"p": "DECIMAL"}), has_header=False)

    anyio.run(go)


# -- what does not fit


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"12x,y", "column 'a' holds no whole number"),
        (b"9223372036854775808,y", "column 'a' holds no whole number"),
        (b"1,\xff", "column 'b' is no UTF-8"),
    ],
)
@pytest.mark.parametrize("piece", [16, 4 << 20])
async def test_a_bad_cell_is_named_and_not_shown(bad, said, piece):
    data = b"a,b\n" + b'1,"x\ny"\n\n' * 300 + bad + b"\n" + b"2,z\n" * 200
    with pytest.raises(InvalidDataError, match=f"row 301, {said}") as caught:
        await read(data, sizes=(1000,), piece_bytes=piece)
    assert "12x" not in str(caught.value)
    assert "pa." in caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("bad", "count"), [(b"1", 1), (b"1,2,3", 3)])
@pytest.mark.parametrize("piece", [16, 4 << 20])
async def test_a_row_with_other_cells_is_named(bad, count, piece):
    data = b"a,b\n" + b"1,x\n" * 300 + bad + b"\n" + b"2,z\n" * 200
    with pytest.raises(DomoDecodeError, match=f"row 301 has {count} cells, and the DataSet has 2 columns"):
        await read(data, sizes=(1000,), piece_bytes=piece)
    if count == 1:
        with pytest.raises(DomoDecodeError, match="row 2 has 1 cells"):  # a whole row, though the last
            await read(b"a,b\n1,x\n1\n")


async def test_columns_are_found_by_name():
    assert (await read(b"B,a\nx,1\n")).to_pylist() == [{"a": 1, "b": "x"}]
    odd = Schema.from_wire([{"name": "A", "type": "LONG"}, {"name": "a", "type": "STRING"}])
    assert (await read(b"a,A\nx,1\n", odd)).to_pylist() == [{"A": 1, "a": "x"}]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"a", "lacks 'b'"),
        (b"a,b,c", "has 'c' besides"),
        (b"a,c", "lacks 'b' and it has 'c' besides"),
        (b"1,x", "lacks 'a', 'b' and it has '1', 'x' besides"),
        (b"a,a", "lacks 'b' and it has 'a' besides"),
    ],
)
async def test_other_columns_are_refused(header, said):
    with pytest.raises(DomoDecodeError, match=said):
        await read(header + b"\n1,x\n")
    with pytest.raises(IncompleteDataError, match="header"):
        await read(header[:1])


async def test_a_quote_inside_an_unquoted_cell_never_shifts_the_rest():
    data = b"a,b\n" + b'1,5" pipe\n2,"x\ny"\n' * 50
    assert (await read(data, piece_bytes=10**6))["b"].to_pylist() == ['5" pipe', "x\ny"] * 50
    for piece in range(5, 60, 3):
        try:
            table = await read(data, piece_bytes=piece)
        except (DomoDecodeError, IncompleteDataError):
            continue
        assert table["b"].to_pylist() == ['5" pipe', "x\ny"] * 50


async def test_a_byte_order_mark_inside_a_cell_stays():
    rows = [("\ufeffx", "y")] * 20
    for piece in (1, 10**6):
        table = await read(csv_of(rows, ["p", "q"]), Schema.of({"p": "STRING", "q": "STRING"}), piece_bytes=piece)
        assert_same(table, rows)


async def test_a_row_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("domokit.bulk.decode.LONGEST_ROW", 2000)
    with pytest.raises(DomoDecodeError, match="not closed"):
        await read(b'a,b\n1,"' + b"x\n" * 5000, sizes=(100,), piece_bytes=50)
    with pytest.raises(DomoDecodeError, match="not closed"):
        await read(b'"' + b"x\n" * 5000, sizes=(100,), piece_bytes=50)


# -- truncation

SMALL = [(1, "x"), (None, 'y "z"\nw'), (3, None), (-40, "é, ü"), (5, "end")]


@pytest.mark.parametrize("sizes", [(3,), (1000,)])
@pytest.mark.parametrize("piece", [8, 1000])
async def test_a_cut_at_any_byte_is_an_error(sizes, piece):
    whole = csv_of(SMALL, TWO.names)
    assert_same(await read(whole, sizes=sizes, expected_rows=5, piece_bytes=piece), SMALL)
    last_cell = whole.rindex(b",") + 1
    for end in range(last_cell):
        with pytest.raises(IncompleteDataError):
            await read(whole[:end], sizes=sizes, expected_rows=5, piece_bytes=piece)


async def test_a_cut_is_noticed_without_a_count_unless_it_is_between_cells():
    whole = csv_of(SMALL, TWO.names)
    legal = set()
    for end in range(len(whole) + 1):
        try:
            table = await read(whole[:end])
        except IncompleteDataError:
            continue
        legal.add(end)
        found = [tuple(row.values()) for row in table.to_pylist()]
        assert found[:-1] == SMALL[: max(0, len(found) - 1)]  # only the last cell of the last row can be short
    inside = whole.index(b'"y')
    assert inside + 3 not in legal
    assert whole.index(b"-40") + 1 not in legal


@pytest.mark.parametrize("tail", [b"9,2024-03-1", b"9,2024-03-19T18:4"])
async def test_a_last_cell_that_is_no_value_was_cut(tail):
    with pytest.raises(IncompleteDataError, match="middle of row 2"):
        await read(b"n,t\n8,2024-03-19\n" + tail[:-1] + b"x", Schema.of({"n": "LONG", "t": "DATETIME"}))
    with pytest.raises(IncompleteDataError, match="middle of row 1"):
        await read("a,b\n1,é".encode()[:-1])


async def test_rows_are_counted():
    data = csv_of(SMALL, TWO.names)
    with pytest.raises(IncompleteDataError, match="5 rows came where 1,006 were due"):
        await read(data, expected_rows=1006)
    assert (await read(data, expected_rows=2)).num_rows == 5
    assert (await read(data.removesuffix(b"\n"), expected_rows=5)).num_rows == 5
    with pytest.raises(IncompleteDataError, match="0 rows"):
        await read(b"", expected_rows=1)


async def test_what_the_source_raises_comes_through():
    for error in (ConnectionFailedError("gone"), ValueError("own")):
        for data in (b"", b"a,b\n1,x\n2", b"a,b\n" + b"1,x\n" * 5000):
            with pytest.raises(type(error)) as caught:
                await read(data, sizes=(64,), error=error, piece_bytes=200)
            assert caught.value is error


async def test_a_bad_cell_comes_before_what_the_source_raises_later():
    with pytest.raises(InvalidDataError, match="row 1,"):
        await read(b"a,b\nq,x\n" + b"1,x\n" * 50, sizes=(20,), error=ValueError(), piece_bytes=30)


# -- stopping


class Source:
    """Endless rows; says how much was taken, and whether it was closed."""

    def __init__(self, pause=0.0):
        self.taken = 0
        self.is_closed = False
        self.pause = pause

    async def chunks(self):
        try:
            yield b"a,b\n"
            while True:
                await anyio.sleep(self.pause)
                self.taken += 1000
                yield b"1,abcdef\n" * 100 + b"22," + b"x" * 96 + b"\n"
        finally:
            self.is_closed = True


@pytest.fixture
def no_threads():
    """Fails if a thread is left that is not one of the idle workers of the event loop."""
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert [one.name for one in left if "AnyIO worker" not in one.name and not one.name.startswith("Trio")] == []


async def test_a_reader_that_stops_closes_the_source(no_threads):
    source = Source()
    batches = read_batches(source.chunks(), TWO, piece_bytes=5000)
    async for _ in batches:
        break
    await batches.aclose()
    assert source.is_closed


async def test_what_is_held_is_bounded_when_the_reader_is_slow():
    source, piece = Source(), 10_000
    batches = read_batches(source.chunks(), TWO, piece_bytes=piece)
    given, ahead = 0, []
    for _ in range(60):
        batch = await anext(batches)
        given += batch.nbytes
        ahead.append(source.taken)
        await anyio.sleep(0)
    await batches.aclose()
    # Between two batches nothing is read; within a step, two pieces for each of at most four threads.
    assert max(b - a for a, b in pairwise(ahead)) <= 5 * (piece + 1000)
    assert source.taken <= 60 * piece + 9 * (piece + 1000)


async def test_cancelled_at_any_instant_nothing_is_left(no_threads):
    dice = random.Random(7)
    for _ in range(25):
        source = Source(pause=dice.choice([0, 0, 0.0003]))
        batches = read_batches(source.chunks(), TWO, piece_bytes=dice.choice([50, 3000, 200_000]))
        with anyio.move_on_after(dice.random() * 0.03) as scope:
            async for _ in batches:
                pass
        assert scope.cancelled_caught
        await batches.aclose()
        assert source.is_closed


async def test_a_source_that_hangs_can_be_left(no_threads):
    async def hanging():
        yield b"a,b\n1,x\n" * 1
        await anyio.sleep_forever()

    with anyio.move_on_after(0.02) as scope:
        async for _ in read_batches(hanging(), TWO, piece_bytes=2):
            pass
    assert scope.cancelled_caught


async def test_beside_raises_the_first_error_and_no_group():
    async def hang():
        await anyio.sleep_forever()

    async def fail():
        raise ValueError("wait")

    async def give():
        return 3

    def bad(kind):
        raise kind("work")

    assert await beside([lambda: 1, lambda: 2], give) == ([1, 2], 3)
    with pytest.raises(KeyError):
        await beside([lambda: 1, lambda: bad(KeyError)], hang)
    with pytest.raises(ValueError, match="wait"):
        await beside([lambda: 1], fail)


# -- bytes


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(texts, st.none() | texts), max_size=8), sizes=st.lists(st.integers(1, 9), min_size=1))
def test_rows_are_counted_without_parsing(rows, sizes):
    data = csv_of([(f"{at}{a}", b) for at, (a, b) in enumerate(rows)])
    counter = RowCounter()
    for chunk in cut(data, sizes):
        counter.feed(chunk)
    assert counter.finish(2, len(rows)) == len(rows)
    assert end_of_rows(data) == len(data)
    assert end_of_first_row(data) == len(csv_of([("0" + rows[0][0], rows[0][1])])) if rows else True


def test_the_counter_notices_a_cut():
    def count(data, expected=None):
        counter = RowCounter()
        counter.feed(data)
        return counter.finish(2, expected)

    assert count(b'1,x\n2,"a\nb"') == 2
    for data in (b'1,"x', b"1,x\n2"):
        with pytest.raises(IncompleteDataError):
            count(data)
    with pytest.raises(IncompleteDataError, match="1 rows came where 2 were due"):
        count(b"1,x\n", 2)


# -- small floats


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.float16(), "1e22"),
        (pa.float16(), "-65520"),
        (pa.float16(), "1e-30"),
        (pa.float32(), "1e39"),
        (pa.float32(), "-1e-60"),
    ],
)
async def test_a_number_beyond_the_range_of_a_float_is_refused(kind, text):
    with pytest.raises(InvalidDataError, match="row 2, column 'v' holds no number, or one beyond"):
        await read(f"1\n{text}\n".encode(), Schema.of({"v": "DOUBLE"}), types={"v": kind}, has_header=False)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32()])
async def test_infinity_and_zero_are_values_of_small_floats(kind):
    data = b"0\n-0.0\n0e5\ninf\n-Infinity\n0.1\n65504\n"
    table = await read(data, Schema.of({"v": "DOUBLE"}), types={"v": kind}, has_header=False)
    found = table["v"].cast(pa.float64()).to_pylist()
    assert found[:5] == [0, 0, 0, math.inf, -math.inf]
    assert found[5] == pytest.approx(0.1, rel=1e-3)
    assert found[6] == 65504


# -- odd decimals


@pytest.mark.parametrize("zeros", [20, 30, 50, 128, 1000, 100_000])
async def test_decimals_may_have_zeros_behind_them(zeros):
    data = f"1.{'0' * zeros}\n-12345678901234567890.25{'0' * zeros}\n".encode()
    table = await read(data, Schema.of({"v": "DECIMAL"}), has_header=False)
    assert table["v"].to_pylist() == [Decimal(1), Decimal("-12345678901234567890.25")]


@pytest.mark.parametrize("text", ["1e-999999999", "1E-00099999", "0." + "0" * 200 + "1", "1" + "0" * 200])
async def test_decimals_that_no_column_holds(text):
    for kind in (pa.decimal128(38, 10), pa.decimal256(76, 40)):
        with pytest.raises(InvalidDataError, match="row 2, column 'v' has more digits"):
            await read(f"1\n{text}\n".encode(), Schema.of({"v": "DECIMAL"}), types={"v": kind}, has_header=False)


# -- an empty body


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
async def test_an_empty_body_where_names_are_due(data):
    assert (await read(data)).num_rows == 0
    assert (await read(b"a,b\n", may_be_empty=False)).num_rows == 0
    assert (await read(data, may_be_empty=False, has_header=False)).num_rows == 0
    with pytest.raises(IncompleteDataError):
        await read(data, may_be_empty=False)


# -- answers of the query endpoint

ANSWER = {
    "columns": ["n", "x", "p", "s", "d", "t"],
    "metadata": [{"type": kind} for kind in ("LONG", "DOUBLE", "DECIMAL", "STRING", "DATE", "DATETIME")],
    "rows": [
        [1, 0.1, 1.25, "NA", "2024-03-19", "2024-03-19T18:49:02"],
        [2.0, 3, 7, "", "2024-03-20", "2024-03-19 18:49:02.5"],
        [None] * 6,
    ],
    "numRows": 3,
}


def test_an_answer_becomes_a_table():
    table = from_query_json(ANSWER)
    assert table.schema == arrow_schema(ALL)
    assert_same(
        table,
        [
            (1, 0.1, Decimal("1.25"), "NA", date(2024, 3, 19), datetime(2024, 3, 19, 18, 49, 2)),
            (2, 3.0, Decimal(7), "", date(2024, 3, 20), datetime(2024, 3, 19, 18, 49, 2, 500000)),
            (None,) * 6,
        ],
    )
    assert from_query_json(ANSWER | {"rows": [], "numRows": 0}).schema == arrow_schema(ALL)
    assert from_query_json(ANSWER, {"n": pa.float64()})["n"].to_pylist() == [1.0, 2.0, None]


def of_numbers(kind, *values, **options):
    answer = {"columns": ["v"], "metadata": [{"type": kind}], "rows": [[value] for value in values]}
    return from_query_json(answer, **options)["v"].to_pylist()


def test_an_answer_keeps_every_digit():
    exact = [Decimal("12345678901234567890.1234567891"), Decimal("-1E-10"), Decimal("1.5E+20"), Decimal("0E-7"), 7]
    assert of_numbers("DECIMAL", *exact) == exact
    assert of_numbers("LONG", Decimal("9007199254740993.0"), Decimal("1E+3")) == [9007199254740993, 1000]
    assert of_numbers("STRING", Decimal("1.50")) == ["1.50"]
    floats = [0.1 + 0.2, 1e22, 5e-324, 1.7976931348623157e308, -0.0]
    assert list(map(repr, of_numbers("DOUBLE", *(Decimal(repr(one)) for one in floats)))) == list(map(repr, floats))
    assert of_numbers("DOUBLE", Decimal("1.10"), Decimal("1E+22"), types={"v": pa.string()}) == ["1.1", "1e+22"]


def test_more_digits_than_the_type_of_a_decimal_has():
    long = [Decimal("0.12345678901234567890"), Decimal("12345678901234567890.5"), None]
    with pytest.raises(InvalidDataError, match=r"row 1, column 'v' has more digits.*Pass types") as caught:
        of_numbers("DECIMAL", *long)
    kind = eval(caught.value.hint.partition(": ")[2].rstrip("}."), {"pa": pa})
    assert of_numbers("DECIMAL", long[0], types={"v": kind}) == long[:1]
    assert of_numbers("DECIMAL", *long, is_wide=True) == long
    assert of_numbers("DECIMAL", Decimal("1.5"), is_wide=True) == [Decimal("1.5")]
    for none in ("1E-80", "1E+80", "1E+999999999", "-1E-999999999"):
        with pytest.raises(InvalidDataError, match="more digits"):
            of_numbers("DECIMAL", Decimal(none), is_wide=True)
    with pytest.raises(InvalidDataError):
        of_numbers("DOUBLE", Decimal("1E+400"))


def test_an_answer_with_two_columns_of_a_name_is_refused():
    answer = {"columns": ["a", "b", "a"], "metadata": [{"type": "LONG"}] * 3, "rows": [[1, 2, 3]]}
    with pytest.raises(InvalidInputError, match=r"several columns the name 'a'.* AS "):
        from_query_json(answer)
    assert from_query_json(answer | {"columns": ["a", "b", "A"]}).column_names == ["a", "b", "A"]


def test_types_must_name_columns():
    with pytest.raises(InvalidInputError, match="'z'"):
        from_query_json(ANSWER, {"z": pa.int64()})


def test_a_bad_answer_is_refused():
    with pytest.raises(IncompleteDataError, match="3 rows came where 4 were due"):
        from_query_json(ANSWER | {"numRows": 4})
    for change in ({"rows": None}, {"metadata": []}, {"rows": [[1]]}, {"rows": [1]}):
        with pytest.raises(DomoDecodeError):
            from_query_json(ANSWER | change)
    with pytest.raises(InvalidDataError, match="row 1, column 'n' holds no whole number"):
        from_query_json(ANSWER | {"rows": [[1.5, *[None] * 5]], "numRows": 1})
