"""Rows: every exit gives the same, and a file is there whole or not at all."""

import gc
import gzip
import io
import os
import random
import sys
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domokit.bulk.rows import Rows, Stream
from domokit.bulk.schema import Schema
from domokit.errors import (
    ConnectionFailedError,
    DomoDecodeError,
    IncompleteDataError,
    InvalidDataError,
    InvalidInputError,
    MissingExtraError,
)

SCHEMA = Schema.of({"n": "LONG", "x": "DOUBLE", "p": "DECIMAL", "s": "STRING", "d": "DATE", "t": "DATETIME"})
LINES = [
    b'1,0.5,1.10,"a, ""b""\nc",2024-03-19,2024-03-19T18:49:02\n',
    b",,,,,\n",
    b'3,-2,7,"",1999-12-31,0001-01-01T00:00:00\n',
]
VALUES = [
    (1, 0.5, Decimal("1.1"), 'a, "b"\nc', date(2024, 3, 19), datetime(2024, 3, 19, 18, 49, 2)),
    (None,) * 6,
    (3, -2.0, Decimal(7), "", date(1999, 12, 31), datetime(1, 1, 1)),
]
HEADER = b"n,x,p,s,d,t\n"


class Domo:
    """Gives an answer each time it is asked, and knows how many are open."""

    def __init__(
        self,
        body,
        *,
        has_header=True,
        expected=None,
        error=None,
        pause=None,
        size=50,
        schema=SCHEMA,
        may_be_empty=True,
    ):
        self.body, self.has_header, self.expected, self.error = body, has_header, expected, error
        self.may_be_empty = may_be_empty
        self.pause, self.size, self.schema = pause, size, schema
        self.asked = self.open = self.streams = 0

    @asynccontextmanager
    async def answer(self):
        self.asked += 1
        self.open += 1
        try:
            yield Stream(
                chunks=self.chunks(),
                schema=self.schema,
                has_header=self.has_header,
                expected_rows=self.expected,
                may_be_empty=self.may_be_empty,
            )
        finally:
            self.open -= 1

    async def chunks(self):
        self.streams += 1
        try:
            for at in range(0, len(self.body), self.size):
                if self.pause is not None:
                    await anyio.sleep(self.pause)
                yield self.body[at : at + self.size]
            if self.error is not None:
                raise self.error
        finally:
            self.streams -= 1

    def rows(self):
        return Rows(self.answer, what="orders", schema=self.schema)


@pytest.fixture
def domo():
    domo = Domo(HEADER + b"".join(LINES), expected=3)
    yield domo
    assert (domo.open, domo.streams) == (0, 0)


def values(table):
    return [tuple(row.values()) for row in table.to_pylist()]


# -- in memory


async def test_nothing_is_asked_before_it_must_be(domo):
    rows = domo.rows()
    assert repr(rows) == "Rows(orders: 6 columns, not read yet)"
    assert "<li>n LONG</li>" in rows._repr_html_()
    assert domo.asked == 0
    await rows.to_arrow()
    await rows.to_arrow()
    assert domo.asked == 2


async def test_to_arrow(domo):
    table = await domo.rows().to_arrow()
    assert values(table) == VALUES
    assert table.schema.types == [
        pa.int64(),
        pa.float64(),
        pa.decimal128(38, 10),
        pa.string(),
        pa.date32(),
        pa.timestamp("us"),
    ]
    assert (await domo.rows().to_arrow({"p": pa.float64()}))["p"].to_pylist() == [1.1, None, 7.0]


async def test_to_pandas(domo):
    frame = await domo.rows().to_pandas()
    assert [str(kind) for kind in frame.dtypes][:3] == ["Int64", "float64", "object"]
    assert [kind.kind for kind in frame.dtypes[4:]] == ["M", "M"]
    assert frame["n"].tolist()[::2] == [1, 3]
    assert frame["n"].isna().tolist() == [False, True, False]
    assert frame["s"].isna().tolist() == [False, True, False]
    assert frame["p"][0] == Decimal("1.1")
    assert frame["t"][0] == datetime(2024, 3, 19, 18, 49, 2)
    # Without nulls, and without rows, the dtypes are the same.
    for lines in ([LINES[0]], []):
        other = await Domo(HEADER + b"".join(lines)).rows().to_pandas()
        assert other.dtypes.drop("s").equals(frame.dtypes.drop("s"))
    assert (await domo.rows().to_pandas({"p": pa.float64()}))["p"].dtype == "float64"
    assert (await domo.rows().to_pandas(date_as_object=True))["d"][0] == date(2024, 3, 19)


async def test_to_polars(domo):
    polars = pytest.importorskip("polars")
    frame = await domo.rows().to_polars()
    assert frame.rows() == VALUES
    assert frame.schema["n"] == polars.Int64
    empty = await Domo(b"").rows().to_polars()
    assert empty.schema == frame.schema


async def test_to_dicts(domo):
    assert await domo.rows().to_dicts() == [dict(zip(SCHEMA.names, row, strict=True)) for row in VALUES]


@pytest.mark.parametrize("name", ["pandas", "polars"])
async def test_what_is_not_installed_is_named_before_anything_is_asked(domo, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"domokit\[{name}\]"):
        await getattr(domo.rows(), f"to_{name}")()
    assert domo.asked == 0


# -- batches


def large(lines=20_000, **options):
    return Domo(HEADER + b"".join(LINES) * lines, size=100_000, expected=3 * lines, **options)


async def test_batches_come_as_they_are_read():
    domo = large(250_000)
    count = 0
    async for batch in domo.rows():
        count += batch.num_rows
    assert count == 750_000
    async with domo.rows().iter_batches({"p": pa.string()}) as batches:
        async for batch in batches:
            assert batch.schema.field("p").type == pa.string()
            assert (domo.open, domo.streams) == (1, 1)
            break
    assert (domo.open, domo.streams) == (0, 0)
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio warns of such a loop, rightly
async def test_a_loop_left_early_is_closed_by_and_by():
    domo = large()
    async for _ in domo.rows():
        break
    gc.collect()
    await anyio.wait_all_tasks_blocked()
    assert (domo.open, domo.streams) == (0, 0)


async def test_batches_before_an_error_come_and_then_the_error():
    domo = large(250_000, error=ConnectionFailedError("gone"))
    counts = []

    async def read():
        async for batch in domo.rows():
            counts.append(batch.num_rows)  # noqa: PERF401 - those before the error count

    with pytest.raises(ConnectionFailedError):
        await read()
    assert 0 < sum(counts) < 750_000
    assert (domo.open, domo.streams) == (0, 0)


# -- files


def files(directory):
    return sorted(os.listdir(directory))


async def test_to_parquet(domo, tmp_path):
    path = tmp_path / "o.parquet"
    assert await domo.rows().to_parquet(path) == 3
    assert values(pq.read_table(path)) == VALUES
    assert path.stat().st_mode & 0o777 == 0o600
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    os.chmod(path, 0o640)
    assert await Domo(b"").rows().to_parquet(path, compression="snappy") == 0
    assert pq.read_table(path).schema == (await domo.rows().to_arrow()).schema
    assert path.stat().st_mode & 0o777 == 0o640
    assert files(tmp_path) == ["o.parquet"]
    await domo.rows().to_parquet(tmp_path / "o.gz")
    assert values(pq.read_table(tmp_path / "o.gz")) == VALUES


async def test_row_groups_are_large_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("domokit.bulk.rows._GROUP_ROWS", 20_000)
    assert await large().rows().to_parquet(tmp_path / "o.parquet") == 60_000
    data = pq.ParquetFile(tmp_path / "o.parquet").metadata
    assert data.row_group(0).num_rows >= 20_000
    assert 2 <= data.num_row_groups <= 3


async def test_to_csv_passes_the_bytes_through(domo, tmp_path):
    path = tmp_path / "o.csv"
    assert await domo.rows().to_csv(path) == 3
    assert path.read_bytes() == domo.body
    assert await domo.rows().to_csv(path, header=False) == 3
    assert path.read_bytes() == b"".join(LINES)
    file = io.BytesIO()
    assert await domo.rows().to_csv(file) == 3
    assert file.getvalue() == domo.body
    assert await domo.rows().to_csv(tmp_path / "o.csv.gz") == 3
    assert gzip.decompress((tmp_path / "o.csv.gz").read_bytes()) == domo.body
    assert files(tmp_path) == ["o.csv", "o.csv.gz"]


async def test_gzip_without_isal(domo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.delitem(sys.modules, "isal.igzip", raising=False)
    assert await domo.rows().to_csv(tmp_path / "o.csv.gz") == 3
    assert gzip.decompress((tmp_path / "o.csv.gz").read_bytes()) == domo.body


async def test_to_csv_gives_a_header_to_what_has_none():
    for body, rows in ((b"".join(LINES), 3), (b"", 0)):
        file = io.BytesIO()
        assert await Domo(body, has_header=False).rows().to_csv(file) == rows
        assert file.getvalue() == HEADER + body
    file = io.BytesIO()
    assert await Domo(b"").rows().to_csv(file) == 0
    assert file.getvalue() == HEADER
    file = io.BytesIO()
    assert await Domo(b"\xef\xbb\xbf" + HEADER + LINES[0]).rows().to_csv(file, header=False) == 1
    assert file.getvalue() == LINES[0]


@pytest.mark.parametrize("way", ["to_arrow", "to_dicts", "to_csv", "to_parquet"])
@pytest.mark.parametrize("body", [b"", b"\xef\xbb\xbf"])
async def test_an_answer_without_even_a_header_where_there_are_rows(tmp_path, way, body):
    domo = Domo(body, may_be_empty=False)
    arguments = [tmp_path / "o"] if way in ("to_csv", "to_parquet") else []
    with pytest.raises(IncompleteDataError):
        await getattr(domo.rows(), way)(*arguments)
    assert files(tmp_path) == []
    for fine in (Domo(HEADER, may_be_empty=False), Domo(body), Domo(b"", has_header=False, may_be_empty=False)):
        await getattr(fine.rows(), way)(*arguments)


async def test_to_csv_at_any_chunks():
    for size in (1, 2, 3, 7, 64):
        file = io.BytesIO()
        domo = Domo(HEADER + b"".join(LINES) * 4, size=size, expected=12)
        assert await domo.rows().to_csv(file) == 12
        assert file.getvalue() == domo.body


async def test_a_row_without_end_is_refused(monkeypatch):
    for place in ("scan", "passing"):
        monkeypatch.setattr(f"domokit.bulk.{place}.LONGEST_ROW", 3_000_000)
    for head in (HEADER, b""):
        with pytest.raises(DomoDecodeError, match="not closed"):
            await Domo(head + b'"' + b"x\n" * 3_000_000, size=10_000).rows().to_csv(io.BytesIO())


async def test_to_csv_refuses_other_columns(tmp_path):
    with pytest.raises(DomoDecodeError, match="lacks 'n'"):
        await Domo(b"m,x,p,s,d,t\n" + LINES[0]).rows().to_csv(tmp_path / "o.csv")
    moved = Domo(b"b,a\nx,1\n", schema=Schema.of({"a": "LONG", "b": "STRING"}))
    with pytest.raises(DomoDecodeError, match="another order"):
        await moved.rows().to_csv(tmp_path / "o.csv", header=False)
    assert await moved.rows().to_csv(tmp_path / "o.csv") == 1


@pytest.mark.parametrize("way", ["to_parquet", "to_csv"])
@pytest.mark.parametrize("name", ["o.out", "o.out.gz"])
async def test_what_fails_leaves_nothing_and_changes_nothing(tmp_path, way, name):
    path = tmp_path / name
    broken = [
        (large(error=ConnectionFailedError("gone")), ConnectionFailedError),
        (Domo(HEADER + LINES[0], expected=2), IncompleteDataError),
        (Domo(HEADER + LINES[0][:20]), IncompleteDataError),
        (Domo(b"q\n"), DomoDecodeError),
        (Domo(b"", error=ValueError("at once")), ValueError),
    ]
    for old in (None, b"old"):
        if old:
            path.write_bytes(old)
        for domo, kind in broken:
            with pytest.raises(kind):
                await getattr(domo.rows(), way)(path)
            assert files(tmp_path) == ([name] if old else [])
            assert (domo.open, domo.streams) == (0, 0)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("way", ["to_parquet", "to_csv"])
async def test_what_is_cancelled_leaves_nothing_and_changes_nothing(tmp_path, way):
    dice = random.Random(3)
    path = tmp_path / "o"
    path.write_bytes(b"old")
    cancelled = 0
    for _ in range(12):
        domo = large(pause=0)
        with anyio.move_on_after(dice.random() * 0.1) as scope:
            await getattr(domo.rows(), way)(path)
        assert files(tmp_path) == ["o"]
        assert (domo.open, domo.streams) == (0, 0)
        if scope.cancelled_caught:
            cancelled += 1
        path.write_bytes(b"old")
    domo = Domo(HEADER + LINES[0], pause=60)
    with anyio.move_on_after(0.02):
        await getattr(domo.rows(), way)(path)
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["o"]


async def test_a_link_keeps_pointing_at_its_file(domo, tmp_path):
    (tmp_path / "real.csv").write_bytes(b"old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    await domo.rows().to_csv(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_bytes() == domo.body


async def test_where_nothing_can_be_written_nothing_is_asked(domo, tmp_path):
    for path in (tmp_path, tmp_path / "none" / "o.csv"):
        for way in ("to_csv", "to_parquet"):
            with pytest.raises(InvalidInputError):
                await getattr(domo.rows(), way)(path)
    assert domo.asked == 0


async def test_a_full_disk(domo, tmp_path):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await domo.rows().to_csv(Full())


# -- progress


@pytest.mark.parametrize(
    "way", ["to_arrow", "to_pandas", "to_polars", "to_dicts", "to_csv", "to_parquet", "iter_batches"]
)
async def test_every_exit_tells_how_far_it_is(domo, tmp_path, way):
    seen = []
    arguments = [tmp_path / "o"] if way in ("to_csv", "to_parquet") else []
    if way == "iter_batches":
        async for _ in domo.rows().iter_batches(progress=seen.append):
            pass
    else:
        await getattr(domo.rows(), way)(*arguments, progress=seen.append)
    assert (seen[-1].what, seen[-1].rows, seen[-1].total_rows) == ("orders", 3, 3)
    assert seen[-1].bytes == len(domo.body)


# -- a table that is here already


async def test_a_table_has_every_exit(domo, tmp_path):
    table = await domo.rows().to_arrow()
    rows = Rows.of_table(table, what="result")
    assert repr(rows) == "Rows(result: 3 × 6)"
    assert "result" in rows._repr_html_()
    assert await rows.to_arrow() == table
    assert (await rows.to_pandas())["n"].isna().tolist() == [False, True, False]
    assert (await rows.to_polars()).rows() == VALUES
    assert len(await rows.to_dicts()) == 3
    assert await rows.to_parquet(tmp_path / "o.parquet") == 3
    assert sum([batch.num_rows async for batch in rows]) == 3
    assert await rows.to_csv(tmp_path / "o.csv") == 3
    again = Domo((tmp_path / "o.csv").read_bytes(), expected=3)
    assert await again.rows().to_arrow() == table
    assert values(await rows.to_arrow()) == VALUES  # to_pandas has not used it up
    assert (await rows.to_arrow({"p": pa.float64()}))["p"].to_pylist() == [1.1, None, 7.0]
    with pytest.raises(InvalidDataError, match="'s'"):
        await rows.to_arrow({"s": pa.int64()})
    with pytest.raises(InvalidInputError, match="'z'"):
        await rows.to_arrow({"z": pa.int64()})
    with pytest.raises(InvalidDataError, match="'n'"):
        await Rows.of_table(pa.table({"n": [1e22]})).to_arrow({"n": pa.float16()})
    seen = []
    await rows.to_arrow(progress=seen.append)
    assert seen[-1].rows == 3
    assert table.equals(await rows.to_arrow())


async def test_the_answer_may_be_a_table(domo):
    table, asked = await domo.rows().to_arrow(), []

    @asynccontextmanager
    async def answer():
        asked.append(1)
        yield table

    rows = Rows(answer, what="query")
    assert repr(rows) == "Rows(query, not read yet)"
    assert (await rows.to_pandas())["s"][0] == 'a, "b"\nc'
    assert await rows.to_arrow() == table
    assert len(asked) == 2


async def test_the_answer_may_become_a_table_of_the_types_that_are_asked_for(tmp_path):
    asked = []

    def to_table(types, *, is_wide):
        asked.append((types, is_wide))
        return pa.table({"p": pa.array([Decimal("0.5")], pa.decimal256(76, 20) if is_wide else pa.decimal128(38, 10))})

    @asynccontextmanager
    async def answer():
        yield to_table

    rows = Rows(answer)
    assert await rows.to_dicts() == [{"p": Decimal("0.5")}]
    await rows.to_arrow({"p": pa.string()})
    assert await rows.to_csv(tmp_path / "o.csv") == 1
    assert asked == [(None, False), ({"p": pa.string()}, False), (None, True)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("way_out", ["to_csv", "to_parquet"])
async def test_no_file_takes_the_place_of_a_pipe(tmp_path, way_out):
    os.mkfifo(tmp_path / "rows.csv")
    (tmp_path / "link.csv").symlink_to("rows.csv")
    domo = Domo(HEADER)
    for path in ("rows.csv", "link.csv"):
        with pytest.raises(InvalidInputError, match="is a pipe or a device"):
            await getattr(Rows(domo.answer), way_out)(tmp_path / path)
    assert (tmp_path / "rows.csv").is_fifo()
    assert domo.asked == 0
    with pytest.raises(InvalidInputError, match="NUL"):
        await getattr(Rows(domo.answer), way_out)("rows\0.csv")


@pytest.mark.parametrize("options", [{"compression": "bogus"}, {"version": "9"}, {"nonsense": 1}])
async def test_what_parquet_does_not_know(tmp_path, options):
    domo = Domo(HEADER + LINES[0])
    with pytest.raises(InvalidInputError, match="options of ParquetWriter"):
        await Rows(domo.answer).to_parquet(tmp_path / "rows.parquet", **options)
    assert list(tmp_path.iterdir()) == []
    assert domo.open == 0


async def test_decimals_that_polars_has_not():
    domo = Domo(HEADER)
    with pytest.raises(InvalidInputError, match="more than 38 digits: 'p'"):
        await Rows(domo.answer).to_polars({"p": pa.decimal256(50, 20)})
    assert domo.asked == 0
