"""Much of it: many rows in many parts, very wide ones, and one larger than a part."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from domokit import DomoDataset

from .helpers import nothing_open, parts_sent

ROWS = 1_000_000


def awkward(count):
    numbers = pa.array(range(count))
    texts = pc.binary_join_element_wise(
        'row "', pc.cast(numbers, pa.string()), '",\nnext ☃\r\n', pc.cast(pc.multiply(numbers, 7919), pa.string()), ""
    )
    texts = pc.if_else(pc.equal(pc.bit_wise_and(numbers, 15), 3), pa.scalar(None, pa.string()), texts)
    return pa.table({"n": numbers, "text": texts, "half": pc.divide(pc.cast(numbers, pa.float64()), 2.0)})


def read_csv(path, schema):
    return pyarrow.csv.read_csv(
        path,
        # One block: between two of them Arrow loses the LF of a CR LF inside of quotes.
        read_options=pyarrow.csv.ReadOptions(block_size=1 << 30),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


async def test_a_million_rows_with_newlines_quotes_and_unicode(domo, auth, tmp_path):
    table = awkward(ROWS)
    dataset = await DomoDataset.create(auth, "Many", table.slice(0, 0))
    domo.requests.clear()
    told = []
    result = await dataset.append(table, part_bytes=2_500_000, workers=4, progress=told.append)
    await result.wait_indexed(timeout=60)
    assert (result.rows, told[-1].rows) == (ROWS, ROWS)
    assert result.parts > 15
    assert sorted(parts_sent(domo)) == list(range(1, result.parts + 1))
    assert (await dataset.to_arrow()).equals(table)
    assert await dataset.to_csv(tmp_path / "rows.csv") == ROWS
    assert read_csv(tmp_path / "rows.csv", table.schema).equals(table)
    assert await dataset.to_parquet(tmp_path / "rows.parquet") == ROWS
    assert pq.read_table(tmp_path / "rows.parquet").equals(table)
    assert nothing_open(domo)


@pytest.mark.parametrize("family", ["product"], indirect=True)
async def test_a_large_file_of_which_most_lines_end_no_row(auth, tmp_path):
    table = awkward(ROWS // 4)
    pyarrow.csv.write_csv(table, tmp_path / "in.csv")
    dataset = await DomoDataset.create(auth, "Of a file", tmp_path / "in.csv")
    assert dataset.rows == ROWS // 4
    assert (await dataset.to_arrow()).equals(table)


async def test_two_thousand_columns(domo, auth):
    kinds = [pa.int64(), pa.string(), pa.float64(), pa.date32()]

    def column(place):
        days = pa.array([place, None, place + 1] * 4, pa.int32())
        return days.cast(kinds[place % 4])

    table = pa.table({f"column {place}": column(place) for place in range(2000)})
    domo.requests.clear()
    dataset = await DomoDataset.create(auth, "Wide", table, part_bytes=90_000)
    assert len(parts_sent(domo)) > 1
    assert (await dataset.get_schema()).names == table.column_names
    assert {column.type for column in await dataset.get_schema()} == {"LONG", "STRING", "DOUBLE", "DATE"}
    assert (await dataset.to_arrow()).equals(table)


async def test_a_row_larger_than_a_part(domo, auth):
    rows = [{"n": 1, "text": "small"}, {"n": 2, "text": 'large "☃"\n' * 150_000}, {"n": 3, "text": "small"}]
    dataset = await DomoDataset.create(auth, "Large", rows, part_bytes=1000)
    assert sorted(parts_sent(domo)) == [1, 2, 3]
    assert (await dataset.to_arrow()).to_pylist() == rows
    assert nothing_open(domo)
