"""CSV as bytes: the cells of one row, however long they are."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domokit.bulk.scan import RowCounter, cells_of, order_of
from domokit.bulk.schema import Schema
from domokit.errors import IncompleteDataError

LONG = "x" * 300_000  # csv.reader takes no cell of more than 131,072 characters


@given(st.lists(st.text(st.sampled_from('ab",\n\ré'), max_size=5), min_size=1, max_size=5))
def test_the_cells_of_a_row(values):
    line = io.StringIO(newline="")
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(values)
    assert cells_of(line.getvalue().encode()) == values
    assert cells_of(line.getvalue().rstrip("\n").encode() + b"\r\n") == values


def test_cells_without_quotes():
    assert cells_of(b"a,,b\n") == ["a", "", "b"]
    assert cells_of(b"") == cells_of(b"\n") == []
    assert cells_of(b'a,"b,c') == ["a", '"b,c']


def test_long_cells_and_names():
    assert cells_of(f'1,"{LONG}"\n'.encode()) == ["1", LONG]
    assert order_of(f"n,{LONG}\n".encode(), Schema.of({LONG: "LONG", "n": "LONG"})) == [1, 0]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_long_last_row_counts(end):
    counter = RowCounter()
    counter.feed(b"1,a\n2," + LONG.encode() + end)
    assert counter.finish(2, 2) == 2
    cut = RowCounter()
    cut.feed(b"1,a\n" + LONG.encode())
    with pytest.raises(IncompleteDataError, match="row 2"):
        cut.finish(2, None)
