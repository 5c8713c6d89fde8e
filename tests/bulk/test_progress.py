"""Progress: a bar, a function, or nothing."""

import io
import sys

import pytest

from domokit.bulk.progress import Progress, watching
from domokit.errors import MissingExtraError


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("domokit.bulk.progress.time", clock)
    return clock


def test_a_function_is_called_now_and_then_and_at_the_end(clock):
    seen = []
    with watching(seen.append, "upload", total_rows=500, total_bytes=1000) as watch:
        for _ in range(100):
            clock.now += 0.01
            watch.advance(rows=5, bytes=9)
    assert 9 <= len(seen) - 1 <= 10
    last = Progress(what="upload", rows=500, bytes=900, total_rows=500, total_bytes=1000, seconds=seen[-1].seconds)
    assert seen[-1] == last
    assert seen[-1].seconds == pytest.approx(1.0)
    assert [one.bytes for one in seen] == sorted(one.bytes for one in seen)


def test_rows_are_none_until_some_are_known_of(clock):
    seen = []
    with watching(seen.append, "read") as watch:
        watch.advance(bytes=3)
        clock.now += 1
        watch.advance(bytes=3)
        watch.advance(rows=0)
    assert [one.rows for one in seen] == [None, 0]


def test_a_failure_is_not_told_as_an_end():
    seen = []
    with pytest.raises(ZeroDivisionError), watching(seen.append, "read"):
        raise ZeroDivisionError
    assert seen == []


def test_what_the_function_raises_comes_through(clock):
    def refuse(progress):
        raise KeyError(progress.what)

    def step():
        with watching(refuse, "read") as watch:
            clock.now += 1
            watch.advance(bytes=1)
            pytest.fail("it was called too late")

    with pytest.raises(KeyError, match="read"):
        step()


@pytest.mark.parametrize(
    ("total", "shown"), [({"total_rows": 40}, "40.0/40.0"), ({"total_bytes": 2048}, "2.00k/2.00k"), ({}, "2.00kB")]
)
def test_a_bar(capsys, clock, total, shown):
    with watching(True, "orders", **total) as watch:
        watch.advance(rows=40, bytes=2048)
    said = capsys.readouterr()
    assert said.out == ""
    assert "orders" in said.err
    assert shown in said.err


def test_a_bar_is_closed_when_it_fails(capsys):
    with pytest.raises(ZeroDivisionError), watching(True, "orders", total_rows=4):
        raise ZeroDivisionError
    assert "0.00/4.00" in capsys.readouterr().err


def test_an_end_that_is_told_before_is_not_told_again():
    seen = []
    with watching(seen.append, "upload") as watch:
        watch.advance(rows=3)
        watch.finish()
        watch.finish()
    assert [one.rows for one in seen] == [3]


def test_a_bar_that_nobody_sees_any_more_stops_nothing(monkeypatch, clock):
    class Going(io.StringIO):
        is_gone = False

        def write(self, text):
            if self.is_gone:
                raise BrokenPipeError
            return super().write(text)

    for at_once in (False, True):
        monkeypatch.setattr(sys, "stderr", stderr := Going())
        stderr.is_gone = at_once
        with watching(True, "orders", total_rows=4) as watch:
            stderr.is_gone = True
            clock.now += 1
            watch.advance(rows=4)


def test_nothing_is_shown(capsys):
    with watching(False, "orders") as watch:
        watch.advance(rows=1, bytes=1)
    assert capsys.readouterr() == ("", "")


def test_a_bar_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.delitem(sys.modules, "tqdm.auto", raising=False)
    with pytest.raises(MissingExtraError, match=r"domokit\[data\]"), watching(True, "orders"):
        pass
