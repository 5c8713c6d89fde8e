"""Reads from a Domo that misbehaves: all rows, or an error; never fewer rows that look like all."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domokit import DomoDataset, errors

ROWS = [{"n": number, "text": f'row "{number}",\r\nwith ☃'} for number in range(12_000)]
EXPORT = r"^/api/query/v1/execute/export/|^/v1/datasets/[^/]+/data$"


@pytest.fixture
async def dataset(auth, domo):
    table = pa.Table.from_pylist(ROWS)
    made = await DomoDataset.create(auth, "Read", table)
    domo.requests.clear()
    return made


async def batches(dataset):
    seen = []
    async for batch in dataset.iter_batches():
        seen += batch.to_pylist()
    return seen


async def parquet(dataset, tmp_path):
    count = await dataset.to_parquet(tmp_path / "rows.parquet")
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(rows) == count
    return rows


async def csv_file(dataset, tmp_path, name="rows.csv"):
    count = await dataset.to_csv(tmp_path / name)
    with open(tmp_path / name, newline="") as file:
        rows = [{"n": int(row["n"]), "text": row["text"]} for row in csv.DictReader(file)]
    assert len(rows) == count
    return rows


async def arrow(dataset):
    return (await dataset.to_arrow()).to_pylist()


async def pandas(dataset):
    return (await dataset.to_pandas()).to_dict("records")


async def polars(dataset):
    return (await dataset.to_polars()).to_dicts()


EXITS = [arrow, pandas, polars, batches, parquet, csv_file]


async def read(way, dataset, tmp_path):
    return await (way(dataset, tmp_path) if way in (parquet, csv_file) else way(dataset))


@pytest.mark.parametrize("kind", ["truncated", "rows_lost"])
async def test_rows_that_are_missing(domo, dataset, tmp_path, kind):
    for way in EXITS:
        fault = domo.misbehave(kind, path=EXPORT)
        with pytest.raises(errors.IncompleteDataError):
            await read(way, dataset, tmp_path)
        assert fault.hits == 1
        assert list(tmp_path.iterdir()) == [], way
    assert await arrow(dataset) == ROWS


@pytest.mark.parametrize("kind", ["truncated", "rows_lost"])
async def test_a_file_that_was_there_stays(domo, dataset, tmp_path, kind):
    for way, name in ((parquet, "rows.parquet"), (csv_file, "rows.csv")):
        (tmp_path / name).write_bytes(b"of yesterday")
        domo.misbehave(kind, path=EXPORT)
        with pytest.raises(errors.IncompleteDataError):
            await read(way, dataset, tmp_path)
        assert (tmp_path / name).read_bytes() == b"of yesterday"


async def test_batches_before_the_end_was_lost_were_right(domo, dataset):
    domo.misbehave("truncated", path=EXPORT)
    seen = []

    async def read_all():
        async for batch in dataset.iter_batches():
            seen.extend(batch.to_pylist())

    with pytest.raises(errors.IncompleteDataError):
        await read_all()
    assert seen == ROWS[: len(seen)]
    assert len(seen) < len(ROWS)


@pytest.mark.parametrize("kind", ["status", "maintenance", "reset_before", "reset_after"])
async def test_what_fails_before_the_rows_begin_is_asked_for_again(domo, dataset, tmp_path, kind):
    for way in (arrow, csv_file, parquet):
        fault = domo.misbehave(kind, times=2, path=EXPORT)
        assert await read(way, dataset, tmp_path) == ROWS
        assert fault.hits == 2


@pytest.mark.parametrize(
    ("kind", "error"),
    [("html", errors.UnexpectedPageError), ("blocked", errors.APIError), ("login_redirect", errors.APIError)],
)
async def test_a_page_is_no_row(domo, dataset, tmp_path, kind, error):
    for way in EXITS:
        domo.misbehave(kind, path=EXPORT)
        with pytest.raises(error):
            await read(way, dataset, tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_rows_that_drip(domo, dataset, tmp_path):
    fault = domo.misbehave("slow_rows", times=None, seconds=0.02, path=EXPORT)
    for way in EXITS:
        assert await read(way, dataset, tmp_path) == ROWS
    assert fault.hits == len(EXITS)


async def test_who_stops_reading_leaves_the_auth_object_working(domo, dataset):
    domo.misbehave("slow_rows", seconds=0.05, path=EXPORT)
    async with dataset.read().iter_batches() as found:
        async for batch in found:
            assert batch.to_pylist()[0] == ROWS[0]
            break
    assert await arrow(dataset) == ROWS
