"""Much of it: many rows in many parts, very wide ones, and one larger than a part."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from domokit import DomoDataset

from .helpers import nothing_open, parts_sent

ROWS = 200_000


def awkward(count):
    numbers = pa.array(range(count))
    texts = pc.binary_join_element_wise(
        'row "', pc.cast(numbers, pa.string()), '",\nnext ☃\r\n', pc.cast(pc.multiply(numbers, 7919), pa.string()), ""
    )
    texts = pc.if_else(pc.equal(pc.bit_wise_and(numbers, 15), 3), pa.scalar(None, pa.string()), texts)
    return pa.table({"n": numbers, "text": texts, "half": pc.divide(pc.cast(numbers, pa.float64()), 2.0)})


async def test_two_hundred_thousand_rows_in_many_parts(domo, auth, tmp_path):
    table = awkward(ROWS)
    dataset = await DomoDataset.create(auth, "Many", table.slice(0, 0))
    domo.requests.clear()
    told = []
    result = await dataset.append(table, part_bytes=500_000, workers=4, progress=told.append)
    await result.wait_indexed(timeout=60)
    assert (result.rows, told[-1].rows) == (ROWS, ROWS)
    assert result.parts > 15
    assert sorted(parts_sent(domo)) == list(range(1, result.parts + 1))
    assert (await dataset.to_arrow()).equals(table)
    assert await dataset.to_csv(tmp_path / "rows.csv.gz") == ROWS
    assert await dataset.to_parquet(tmp_path / "rows.parquet") == ROWS
    assert nothing_open(domo)


@pytest.mark.parametrize("family", ["product"], indirect=True)
async def test_two_thousand_columns(domo, auth):
    kinds = [pa.int64(), pa.string(), pa.float64(), pa.date32()]
    table = pa.table(
        {f"column {place}": pa.array([place, None, place + 1]).cast(kinds[place % 3]) for place in range(2000)}
    )
    dataset = await DomoDataset.create(auth, "Wide", table)
    assert dataset.columns == 2000
    assert (await dataset.to_arrow()).equals(table)


async def test_a_row_larger_than_a_part(domo, auth):
    rows = [{"n": 1, "text": "small"}, {"n": 2, "text": 'large "☃"\n' * 150_000}, {"n": 3, "text": "small"}]
    dataset = await DomoDataset.create(auth, "Large", rows, part_bytes=1000)
    assert sorted(parts_sent(domo)) == [1, 2, 3]
    assert (await dataset.to_arrow()).to_pylist() == rows
    assert nothing_open(domo)
