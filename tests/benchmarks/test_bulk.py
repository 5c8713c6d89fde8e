"""That the comparison of rows, and the server's counts, would notice what is wrong."""

import gzip

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from domokit import AccessTokenAuth, ClientOptions, DomoDataset

from .bulk_check import differences_in_files, differences_in_parts, differences_in_table, rows_in_csv
from .bulk_data import repeated, usual, wide
from .bulk_server import DATASET_ID, BulkServer
from .server import TOKEN


@pytest.fixture(scope="module")
def data():
    return usual(2000)


def changed(table, name, value, row=1500):
    """The table with another value in one cell."""
    place = table.column_names.index(name)
    values = table[name].to_pylist()
    values[row] = value
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


CHANGES = {"order_id": 5, "qty": None, "share": 0.25, "note": "other", "is_open": "yes", "at": None}


def as_parts(table, directory):
    for number, start in enumerate((0, 700), 1):
        sink = pa.BufferOutputStream()
        options = pyarrow.csv.WriteOptions(include_header=False)
        pyarrow.csv.write_csv(table.slice(start, 700 if number == 1 else None), sink, options)
        (directory / f"{number:06}.gz").write_bytes(gzip.compress(sink.getvalue()))


def test_parts_of_the_same_rows_do_not_differ(data, tmp_path):
    as_parts(data.expected(), tmp_path)
    assert differences_in_parts(tmp_path, data.expected()) == 0


@pytest.mark.parametrize("name", CHANGES)
def test_one_other_cell_is_found(data, tmp_path, name):
    expected = data.expected()
    other = changed(expected, name, CHANGES[name])
    (tmp_path / "parts").mkdir()
    as_parts(other, tmp_path / "parts")
    assert differences_in_parts(tmp_path / "parts", expected) >= 1
    pyarrow.parquet.write_table(other, tmp_path / "rows")
    assert differences_in_table(tmp_path / "rows", expected) == 1


def test_null_and_an_empty_text_differ(data, tmp_path):
    expected = data.expected()
    row = expected["note"].to_pylist().index("")
    as_parts(changed(expected, "note", None, row), tmp_path)
    assert differences_in_parts(tmp_path, expected) == 1


def test_a_row_too_few_and_one_too_many_are_found(data, tmp_path):
    expected = data.expected()
    for rows, parts in ((expected.slice(1), "few"), (pa.concat_tables([expected, expected.slice(0, 1)]), "many")):
        (tmp_path / parts).mkdir()
        as_parts(rows, tmp_path / parts)
        assert differences_in_parts(tmp_path / parts, expected) >= expected.num_columns
        pyarrow.parquet.write_table(rows, tmp_path / "rows")
        assert differences_in_table(tmp_path / "rows", expected) >= expected.num_columns


def test_rows_are_counted_in_files_of_any_kind(data, tmp_path):
    as_parts(data.expected(), tmp_path)
    assert rows_in_csv(tmp_path.iterdir()) == 2000
    (tmp_path / "000003").write_bytes(b'"a","b\nc"\n"","d"\n')
    assert rows_in_csv(tmp_path.iterdir()) == 2002
    assert rows_in_csv([data.csv], has_header=True) == 2000
    assert rows_in_csv([]) == 0


def test_files_are_compared_byte_by_byte(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a,b\n1,2\n")
    two.write_bytes(b"a,b\n1,3\n4,5\n")
    assert differences_in_files(one, one) == 0
    assert differences_in_files(one, two) == 1 + 4


def test_the_data_are_always_the_same_and_of_all_kinds(data):
    table = pyarrow.parquet.read_table(data.parquet)
    assert len(table.column_names) == 10
    assert {one["type"] for one in data.columns} == {"LONG", "DOUBLE", "STRING", "DATE", "DATETIME"}
    notes = table["note"].to_pylist()
    assert None in notes
    assert "" in notes
    text = "".join(note or "" for note in notes)
    assert all(mark in text for mark in ('"', ",", "\n", "東京"))
    assert 100 < data.csv_bytes / data.rows < 180
    assert len(wide(100).columns) == 200
    assert pyarrow.parquet.read_metadata(repeated(data, 3)).num_rows == 6000


async def test_the_server_counts_and_repeats(data, tmp_path):
    with BulkServer() as server:
        server.serve(data, times=3, keep=tmp_path)
        options = ClientOptions(base_url=server.origin)
        async with AccessTokenAuth("acme", TOKEN, options=options) as auth:
            dataset = await DomoDataset.get_by_id(auth, DATASET_ID)
            assert (await dataset.to_arrow()).equals(pa.concat_tables([data.expected()] * 3))
            result = await dataset.replace(data.parquet)
        counts = server.counts()
    assert (counts["parts"], counts["commits"], counts["connections"]) == (result.parts, 1, 1)
    assert counts["bytes_in"] == result.bytes_sent
    assert differences_in_parts(tmp_path, data.expected()) == 0
