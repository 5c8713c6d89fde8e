"""The CSV that the sandbox takes: to the letter, as Domo does."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domokit.sandbox.rows import InvalidCsv, check, plain

TEXTS = [{"type": "STRING", "name": "a"}, {"type": "STRING", "name": "b"}]


def columns(*kinds: str) -> list[dict[str, str]]:
    return [{"type": kind, "name": f"c{place}"} for place, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", 0),
        ("a,b\n", 1),
        ("a,b", 1),
        ("a,b\r\nc,d\r\n", 2),
        (",\n", 1),
        ('"",\\N\n', 1),
        ('"a,""b""\nc",d\n', 1),
        (" a , b \n", 1),
        ("é,日本\n", 1),
        ('"a\r\nb",c\n', 1),
    ],
)
def test_what_is_taken(text: str, rows: int):
    assert check(text.encode(), TEXTS) == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nc\n", r"too few columns. Expected 2. Row 2, column 1. Row: c$"),
        ("a,b,c\n", r"too many columns. Expected 2. Row 1, column 3.$"),
        ("a,b\n\nc,d\n", "too few columns. Expected 2. Row 2, column 1"),
        ('a"b,c\n', "outside of quotes. Row 1, column 1"),
        ('"a"b,c\n', "outside of quotes. Row 1, column 1"),
        ('x,y\n"a,b\n', "not closed. Row 2, column 1"),
        ("a\rb,c\n", "outside of quotes. Row 1, column 1"),
    ],
)
def test_what_is_refused(text: str, said: str):
    with pytest.raises(InvalidCsv, match=said):
        check(text.encode(), TEXTS)


def test_bytes_that_are_no_text():
    with pytest.raises(InvalidCsv, match="UTF-8"):
        check(b"\xff,b\n", TEXTS)


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        (
            "LONG",
            ["1", "-1", "+7", "007", '"1"', '""', "\\N", ""],
            ["1.0", "1e3", "a", "1 000", "0x1", "1,000"[:1] + "_1"],
        ),
        ("DOUBLE", ["1", "-1.5", ".5", "1.", "1e300", "1E-5"], ["NaN", "Infinity", "1,5"[:2] + "e", "--1"]),
        (
            "DECIMAL",
            ["1", "-1.50", "0.0001", "1.", ".5", "0.123456789012345678", f"-.123456789012345678{'0' * 9}"],
            ["1e5", "NaN", ".", "0.1234567890123456789", "-.0000000000000000001", "1.0000000000000000000 "],
        ),
        ("DATE", ["2024-01-31", "0001-01-01"], ["2024-1-1", "31.01.2024", "2024-01-31T00:00:00"]),
        (
            "DATETIME",
            ["2024-01-31T10:00:00", "2024-01-31 10:00:00.123456", "2024-01-31"],
            ["2024-01-31T", "2024-01-31T10:00", "2024-01-31T10:00:00Z"],
        ),
    ],
)
def test_the_types(kind: str, taken: list[str], refused: list[str]):
    for cell in taken:
        assert check(f"{cell},x\n".encode(), columns(kind, "STRING")) == 1, cell
    for cell in refused:
        with pytest.raises(InvalidCsv, match=rf"The value is not a {kind}. Row 1, column 1|too many"):
            check(f"{cell},x\n".encode(), columns(kind, "STRING"))


def test_one_column():
    """A blank line is a row without cells, whatever a NULL would look like."""
    assert check(b'a\n""\n\\N\n', columns("STRING")) == 3
    assert check(b"1\n\\N\n", columns("LONG")) == 2
    for kind in ("STRING", "LONG"):
        with pytest.raises(InvalidCsv, match="Row 2"):
            check(b"1\n\n2\n", columns(kind))


def test_compression():
    two = gzip.compress(b"a,b\n") + gzip.compress(b"c,d\n")
    assert plain(two, "gzip") == b"a,b\nc,d\n"
    assert plain(b"x", None) == b"x"
    for body, encoding in ((b"x", "gzip"), (two[:-4], "gzip"), (b"x", "br")):
        with pytest.raises(InvalidCsv):
            plain(body, encoding)


CELL = st.text(alphabet=st.sampled_from('ab",\n\r\\N é'), max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), max_size=5))
def test_whatever_is_quoted_is_taken(rows: list[tuple[str, str]]):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert check(file.getvalue().encode(), TEXTS) == len(rows)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from('ab",\n'), max_size=12))
def test_what_is_taken_is_what_a_plain_reader_makes_of_it(text: str):
    try:
        rows = check(text.encode(), TEXTS)
    except InvalidCsv:
        return
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert len(read) == rows
    assert all(len(row) == 2 for row in read)
