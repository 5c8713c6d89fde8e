"""Rows of the table, sizes, and how two things are compared fairly."""

from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Size:
    """How much is done. What is slow is done less often, and its rate is what counts."""

    name: str
    imports: int  # fresh interpreters for each statement
    users: int  # of the server, all of which are listed
    calls: int  # sequential calls, in `rounds` interleaved parts
    rounds: int
    bulk: int  # users in one bulk read
    plain: int  # of them by one plain httpx pool …
    pydomo: int  # … and by pydomo
    wide: int  # most calls in flight
    bulk_rounds: int
    memory: int  # items
    list_rounds: int
    signatures: int
    rows: int  # of the usual DataSet …
    wide_rows: int  # … and of the one of 200 columns
    times_as_many: int  # rows, to see that memory stays
    data_rounds: int
    has_data_goals: bool  # few rows cost what many do to begin with, so they say little


FULL = Size(
    name="full",
    imports=9,
    users=10_000,
    calls=2000,
    rounds=20,
    bulk=5000,
    plain=500,
    pydomo=100,
    wide=256,
    bulk_rounds=3,
    memory=10_000,
    list_rounds=7,
    signatures=200_000,
    rows=1_000_000,
    wide_rows=50_000,
    times_as_many=10,
    data_rounds=3,
    has_data_goals=True,
)
QUICK = attrs.evolve(
    FULL,
    name="quick",
    imports=3,
    calls=400,
    rounds=8,
    bulk=1000,
    plain=150,
    pydomo=30,
    bulk_rounds=1,
    memory=1000,
    list_rounds=3,
    signatures=50_000,
    rows=100_000,
    wide_rows=5000,
    times_as_many=3,
    data_rounds=1,
    has_data_goals=False,
)
TINY = Size(
    name="tiny",
    imports=1,
    users=1200,
    calls=6,
    rounds=2,
    bulk=80,
    plain=10,
    pydomo=2,
    wide=80,
    bulk_rounds=1,
    memory=100,
    list_rounds=1,
    signatures=100,
    rows=10_000,
    wide_rows=500,
    times_as_many=2,
    data_rounds=1,
    has_data_goals=False,
)


@attrs.frozen
class Row:
    """One line of the table.

    goal:     what `value` should be at most, or at least; None for a figure that is only shown.
    timed:    whether a clock has a part in it; if not, tests hold it to its goal.
    """

    name: str
    what: str
    value: float
    at_most: float | None = attrs.field(default=None, kw_only=True)
    at_least: float | None = attrs.field(default=None, kw_only=True)
    timed: bool = attrs.field(default=True, kw_only=True)
    unit: str = attrs.field(default="x", kw_only=True)
    note: str = attrs.field(default="", kw_only=True)

    @property
    def met(self) -> bool | None:
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"


Seconds = float
Run = Callable[[], Awaitable[Seconds]]


async def interleaved(rounds: int, runs: Mapping[str, Run]) -> dict[str, list[Seconds]]:
    """The times of every run in every round. Each round begins with another run, so that none has the better place."""
    times: dict[str, list[Seconds]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(await runs[name]())
    return times


def ratio(times: Mapping[str, list[Seconds]], over: str, under: str) -> float:
    """The median over the rounds of one time over another: what slows a whole round down cancels out."""
    return median(a / b for a, b in zip(times[over], times[under], strict=True))


async def timed(work: Awaitable[Any]) -> Seconds:
    began = perf_counter()
    await work
    return perf_counter() - began
