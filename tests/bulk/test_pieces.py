"""CSV cut between rows: against a reader that looks at one byte after the other."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domokit.bulk.scan import LONGEST_ROW
from domokit.bulk.sources import pieces
from domokit.bulk.sources.pieces import BadRow, Cutter

MARKS = [b'"', b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b"\xff", b'"a"', b',"x",', b'"\n"']


def ends_of_rows(data):
    """Where rows end; and what is wrong with the one behind the last of them, if anything is."""
    state, ends, at = "start", [], 0
    while at < len(data):
        one, two = data[at : at + 1], data[at : at + 2]
        if state == "quoted":
            if two == b'""':
                at += 1
            elif one == b'"':
                state = "closed"
        elif one == b"," or one in b"\r\n":
            if one != b",":
                at += two == b"\r\n"
                ends.append(at + 1)
            state = "start"
        elif state == "closed":
            return ends, "goes on"
        else:
            state = "quoted" if state == "start" and one == b'"' else "plain"
        at += 1
    return ends, "never closed" if state == "quoted" else None


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(MARKS), max_size=20).map(b"".join), st.integers(1, 9))
def test_pieces_end_where_rows_do(data, size):
    ends, wrong = ends_of_rows(data)
    found, before, said = [], None, ""
    try:
        found.extend(Cutter(",").pieces(io.BytesIO(data), size))
    except BadRow as bad:
        before, said = bad.before, bad.what
    at = 0
    for piece in found:
        at += len(piece)
        assert at in ends or at == len(data)
    assert (before is None) == (wrong is None)
    assert (wrong or "") in said
    if before is None:
        assert b"".join(found) == data
    else:
        assert at + len(before) == (ends[-1] if ends else 0)
        assert data[at:].startswith(before)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(MARKS), min_size=1, max_size=12).map(b"".join))
def test_where_the_first_row_ends(data):
    ends, wrong = ends_of_rows(data)
    if ends or wrong is None:
        assert Cutter(",").end_of_first_row(data, 0) == (ends[0] if ends else len(data))


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^", "]", "-", "\\", "x"])
def test_other_delimiters(delimiter):
    data = f'"a"{delimiter}b"\n'.encode()
    assert list(Cutter(delimiter).pieces(io.BytesIO(data))) == [data]
    with pytest.raises(BadRow):
        list(Cutter(delimiter).pieces(io.BytesIO(f'"a",{delimiter}b\n'.encode())))


class Endless(io.RawIOBase):
    """A stream without the end of a row."""

    given = 0

    def read(self, size=-1):
        self.given += size
        return b"x" * size


@pytest.mark.parametrize("is_longer", [False, True])
def test_the_longest_row(monkeypatch, is_longer):
    monkeypatch.setattr(pieces, "LONGEST_ROW", 1000)
    for start in range(7):  # wherever it lies
        data = b"ab\n" * start + b"x" * (1000 + is_longer) + b"\nab\n"
        if is_longer:
            with pytest.raises(BadRow):
                list(Cutter(",").pieces(io.BytesIO(data), 16))
        else:
            assert b"".join(Cutter(",").pieces(io.BytesIO(data), 16)) == data


def test_what_never_ends_is_not_read_for_ever():
    endless = Endless()
    with pytest.raises(BadRow) as caught:
        list(Cutter(",").pieces(endless))
    assert "64 MiB" in caught.value.what
    assert endless.given <= LONGEST_ROW + 1
