"""Reads from a Domo that misbehaves: all rows, or an error; never fewer rows that look like all."""

import csv
import io
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domokit import DomoDataset, errors
from domokit.sandbox.faults import AFTER, BEFORE

ROWS = [{"n": number, "text": f'row "{number}",\r\nwith ☃'} for number in range(12_000)]
EXPORT = r"^/api/query/v1/execute/export/|^/v1/datasets/[^/]+/data$"
QUERY = r"^/api/query/v1/execute/[^/]+$|^/v1/datasets/query/execute/"
# What comes of each misbehaviour, in a read of all rows and in a query: an error, or all rows if there is none.
OUTCOMES = {
    "latency": (None, None),
    "status": (None, None),
    "rate_limit": (None, None),
    "maintenance": (None, None),
    "reset_before": (None, None),
    "reset_after": (None, None),
    "slow_reader": (None, None),
    "slow_rows": (None, None),
    "truncated": (errors.IncompleteDataError, None),  # an answer that is not handed over bit by bit is asked for again
    "rows_lost": (errors.IncompleteDataError, None),  # of a file only
    "empty": (errors.IncompleteDataError, errors.EmptyAnswerError),
    "half_json": (errors.IncompleteDataError, errors.DomoDecodeError),
    "html": (errors.UnexpectedPageError, errors.UnexpectedPageError),
    "blocked": (errors.IPNotAllowedError, errors.IPNotAllowedError),
    "allowlist": (errors.IPNotAllowedError, errors.IPNotAllowedError),
    "login_redirect": (errors.AuthenticationError, errors.AuthenticationError),
}
DETAILS = {
    "latency": {"seconds": 0.02},
    "slow_rows": {"seconds": 0.02},
    "slow_reader": {"seconds": 0.02},
    "rate_limit": {"retry_after": 0},
}


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


async def dicts(dataset):
    return await dataset.to_dicts()


EXITS = [arrow, pandas, polars, batches, parquet, csv_file]


async def read(way, dataset, tmp_path):
    return await (way(dataset, tmp_path) if way in (parquet, csv_file) else way(dataset))


def test_every_misbehaviour_is_among_them():
    assert set(OUTCOMES) == BEFORE | AFTER


@pytest.mark.parametrize("kind", OUTCOMES)
async def test_all_rows_or_an_error(domo, dataset, tmp_path, kind):
    error, _ = OUTCOMES[kind]
    for way in EXITS:
        fault = domo.misbehave(kind, path=EXPORT, **DETAILS.get(kind, {}))
        if error is None:
            assert await read(way, dataset, tmp_path) == ROWS
        else:
            with pytest.raises(error):
                await read(way, dataset, tmp_path)
            assert list(tmp_path.iterdir()) == [], way
        assert fault.hits == 1
    assert await arrow(dataset) == ROWS


@pytest.mark.parametrize("kind", OUTCOMES)
async def test_all_rows_of_a_query_or_an_error(domo, dataset, tmp_path, kind):
    _, error = OUTCOMES[kind]
    for way in (arrow, parquet, csv_file):
        fault = domo.misbehave(kind, path=QUERY, **DETAILS.get(kind, {}))
        asked = dataset.query("SELECT `n`, `text` FROM table WHERE `n` < 1000 ORDER BY `n`")
        if error is None:
            assert await read(way, asked, tmp_path) == ROWS[:1000]
        else:
            with pytest.raises(error):
                await read(way, asked, tmp_path)
            assert list(tmp_path.iterdir()) == [], way
        assert fault.hits == 1


@pytest.mark.parametrize("kind", ["truncated", "empty", "half_json"])
async def test_row_policies_hide_no_loss_that_shows(domo, dataset, tmp_path, kind):
    """How many rows are due is not known then."""
    await dataset.set_pdp(enabled=True)
    for way in EXITS:
        domo.misbehave(kind, path=EXPORT)
        with pytest.raises(errors.IncompleteDataError):
            await read(way, dataset, tmp_path)
        assert list(tmp_path.iterdir()) == [], way
    assert await arrow(dataset) == ROWS


@pytest.mark.parametrize("pdp", [False, True])
async def test_a_dataset_without_rows_may_come_as_nothing_at_all(domo, dataset, tmp_path, pdp):
    await dataset.replace(pa.Table.from_pylist(ROWS).slice(0, 0))
    await dataset.set_pdp(enabled=pdp)
    for way in EXITS:
        domo.misbehave("empty", path=EXPORT)
        assert await read(way, dataset, tmp_path) == []


@pytest.mark.parametrize("kind", ["status", "maintenance", "reset_before", "reset_after"])
async def test_what_fails_before_the_rows_begin_is_asked_for_again(domo, dataset, tmp_path, kind):
    fault = domo.misbehave(kind, times=2, path=EXPORT)
    assert await arrow(dataset) == ROWS
    assert fault.hits == 2


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


async def test_who_stops_reading_leaves_the_auth_object_working(domo, dataset):
    domo.misbehave("slow_rows", seconds=0.05, path=EXPORT)
    async with dataset.read().iter_batches() as found:
        async for batch in found:
            assert batch.to_pylist()[0] == ROWS[0]
            break
    assert await arrow(dataset) == ROWS


# -- queries

NUMBERS = pa.table({
    "p": pa.array(
        [Decimal("12345678901234567890.1234567891"), Decimal("-99999999999999999.99"), Decimal("1E-10"), None],
        pa.decimal128(38, 10),
    ),
    "l": [2**63 - 1, -(2**63), None, 2**53 + 1],
    "x": [0.1 + 0.2, 1e22, 5e-324, None],
})  # fmt: skip


async def test_numbers_keep_every_digit_in_every_exit(auth, tmp_path):
    made = await DomoDataset.create(auth, "Numbers", NUMBERS)
    rows = NUMBERS.to_pylist()
    for found in (made.read(), made.query("SELECT `p`, `l`, `x` FROM table")):
        assert (await found.to_arrow()).equals(NUMBERS)
        assert await found.to_dicts() == rows
        assert [row async for batch in found for row in batch.to_pylist()] == rows
        assert (await found.to_polars()).to_dicts() == rows
        assert (await found.to_pandas()).astype(object).iloc[0].to_list() == list(rows[0].values())
        assert await found.to_parquet(tmp_path / "n.parquet") == 4
        assert pq.read_table(tmp_path / "n.parquet").equals(NUMBERS)
        assert await found.to_csv(tmp_path / "n.csv") == 4
        again = await DomoDataset.create(auth, "From the file", tmp_path / "n.csv", schema=await made.get_schema())
        assert (await again.to_arrow()).equals(NUMBERS)
        texts = await found.to_arrow({"p": pa.string(), "l": pa.string(), "x": pa.string()})
        assert list(map(Decimal, texts["p"].to_pylist()[:3])) == NUMBERS["p"].to_pylist()[:3]
        assert list(map(int, texts["l"].to_pylist()[:2])) == NUMBERS["l"].to_pylist()[:2]
        assert list(map(float, texts["x"].to_pylist()[:3])) == NUMBERS["x"].to_pylist()[:3]


async def test_a_decimal_longer_than_its_type_has_a_way_out(auth):
    made = await DomoDataset.create(auth, "Long", NUMBERS)
    asked = made.query("SELECT `p` * 0.00000001 AS q FROM table WHERE `l` > 0 AND `x` < 1")
    with pytest.raises(errors.InvalidDataError, match=r"Pass types=\{'q'"):
        await asked.to_arrow()
    exact = Decimal("123456789012.345678901234567891")
    assert (await asked.to_arrow({"q": pa.decimal128(38, 20)}))["q"].to_pylist() == [exact]
    file = io.BytesIO()
    assert await asked.to_csv(file, header=False) == 1
    assert Decimal(file.getvalue().decode().strip()) == exact


async def test_two_columns_of_one_name_are_refused_by_every_exit(auth, dataset, tmp_path):
    asked = dataset.query("SELECT `n`, `text` AS n FROM table WHERE `n` < 3")
    for way in (*EXITS, dicts):
        with pytest.raises(errors.InvalidInputError, match=r"several columns the name 'n'.* AS "):
            await read(way, asked, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert list((await dicts(dataset.query("SELECT `n`, `text` AS m FROM table WHERE `n` < 3")))[0]) == ["n", "m"]
