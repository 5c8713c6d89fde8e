"""Many rows in and out: beside pydomo with the same data and server, and beside what the processor allows."""

import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import attrs

from . import bulk_data
from .bulk_check import differences_in_files, differences_in_parts, differences_in_table, rows_in_csv
from .bulk_contenders import Job, Meter
from .bulk_data import Data
from .bulk_server import BulkServer
from .measure import Row, Seconds, Size, interleaved, ratio
from .server import Server

_ROOT = Path(__file__).parents[2]
_MIB = 2**20


@attrs.frozen
class _Race:
    """The rounds of several ways, each in a fresh process.

    cpu:    seconds of the processor, the medians: they say more than the times while others use the machine.
    extra:  bytes of memory, the medians.
    sent:   bytes in parts, in one round.
    wrong:  how many cells differ, of the ways that were checked.
    """

    times: dict[str, list[Seconds]]
    cpu: dict[str, Seconds]
    extra: dict[str, float]
    sent: dict[str, int]
    wrong: dict[str, int]

    def faster(self, way: str, than: str) -> float:
        return ratio(self.times, than, way)

    def slower(self, way: str, than: str) -> float:
        return ratio(self.times, way, than)

    def larger(self, way: str, than: str) -> float:
        return self.extra[way] / max(self.extra[than], 1.0)

    def smaller(self, way: str, than: str) -> float:
        return self.sent[way] / self.sent[than]

    def note(self, *ways: str) -> str:
        return "; ".join(
            f"{median(self.times[way]):.2f} s ({self.cpu[way]:.2f} CPU), {self.extra[way] / _MIB:.0f} MiB"
            for way in ways
        )

    def differing(self, name: str) -> list[Row]:
        return [
            Row(name, f"cells that differ, {way}", count, at_most=0, timed=False, unit="")
            for way, count in self.wrong.items()
        ]


async def _race(
    server: BulkServer, data: Data, size: Size, ways: Collection[str], *, checked: Collection[str], family: str
) -> _Race:
    """checked: the ways whose rows are looked at after the last round."""
    spent: dict[str, list[Meter]] = {way: [] for way in ways}
    sent: dict[str, int] = {}
    wrong: dict[str, int] = {}

    async def once(way: str) -> Seconds:
        is_checked = way in checked and len(spent[way]) == size.data_rounds - 1
        with _room() as room:
            is_upload = way.startswith("upload")
            server.serve(data, keep=room if is_checked and is_upload else None)
            save = str(room / "rows") if is_checked and not is_upload else None
            spent[way].append(_run(server, data, way, family=family, save=save))
            sent[way] = server.counts()["bytes_in"]
            if is_checked:
                wrong[way] = _differences(way, room, data)
        return spent[way][-1].seconds

    return _Race(
        times=await interleaved(size.data_rounds, {way: partial(once, way) for way in ways}),
        cpu={way: median(one.cpu for one in found) for way, found in spent.items()},
        extra={way: median(one.extra for one in found) for way, found in spent.items()},
        sent=sent,
        wrong=wrong,
    )


def _run(server: BulkServer, data: Data, way: str, **more: Any) -> Meter:
    job = Job(way=way, host=server.host, parquet=str(data.parquet), csv=str(data.csv), columns=data.columns)
    asked = json.dumps(attrs.asdict(attrs.evolve(job, **more)))
    command = [sys.executable, "-m", "tests.benchmarks.bulk_contenders", asked]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return Meter(**json.loads(done.stdout.splitlines()[-1]))


def _differences(way: str, room: Path, data: Data) -> int:
    if way.startswith("upload"):
        return differences_in_parts(room, data.expected())
    if way == "to_csv":
        return differences_in_files(room / "rows", data.csv)
    return differences_in_table(room / "rows", data.expected())


@contextmanager
def _room() -> Iterator[Path]:
    """A directory for what is to be checked."""
    with TemporaryDirectory(dir=bulk_data.scratch()) as path:
        yield Path(path)


def _goals(size: Size, **goal: float) -> Mapping[str, Any]:
    return goal if size.has_data_goals else {}


async def upload(server: Server, size: Size) -> list[Row]:
    """`replace(frame)`, over pydomo's `ds_update(frame)` and over encoding alone."""
    data = bulk_data.usual(size.rows)
    ours, zlib, theirs, limit = "upload_isal", "upload_zlib", "upload_pydomo", "upload_limit"
    with BulkServer() as bulk:
        race = await _race(bulk, data, size, (ours, zlib, theirs, limit), checked=(ours, zlib), family="platform")
    note = f"{data.rows} x {len(data.columns)}; {race.note(ours, theirs)}"
    return [
        Row("upload", "rate with isal, over pydomo", race.faster(ours, theirs), **_goals(size, at_least=8), note=note),
        Row("upload", "rate with zlib, over pydomo", race.faster(zlib, theirs), **_goals(size, at_least=4),
            note=race.note(zlib)),
        Row("upload", "time with isal, over encoding in two threads", race.slower(ours, limit),
            **_goals(size, at_most=1.3), note=race.note(limit)),
        Row("upload", "bytes sent with isal, over pydomo", race.smaller(ours, theirs), at_most=0.5, timed=False),
        Row("upload", "bytes sent with zlib, over pydomo", race.smaller(zlib, theirs), at_most=0.5, timed=False),
        Row("upload", "memory with isal, over pydomo", race.larger(ours, theirs), **_goals(size, at_most=0.25)),
        Row("upload", "memory with zlib, over pydomo", race.larger(zlib, theirs), **_goals(size, at_most=0.25)),
        *race.differing("upload"),
    ]  # fmt: skip


_EXITS = {"to_arrow": 5.0, "to_pandas": 4.0, "to_polars": 4.0}  # and how many times pydomo's rate each should have


def _exits(race: _Race, name: str, size: Size) -> list[Row]:
    rows: list[Row] = []
    for way, goal in _EXITS.items():
        rows += [
            Row(name, f"rate {way}, over pydomo", race.faster(way, "ds_get"), **_goals(size, at_least=goal),
                note=race.note(way, "ds_get")),
            Row(name, f"memory {way}, over pydomo", race.larger(way, "ds_get"), **_goals(size, at_most=1 / 6)),
        ]  # fmt: skip
    return rows


async def download(server: Server, size: Size) -> list[Row]:
    """Every form of the rows, over pydomo's `ds_get()` and over parsing alone; and files."""
    data = bulk_data.usual(size.rows)
    ours = (*_EXITS, "to_parquet", "to_csv")
    with BulkServer() as bulk:
        ways = (*ours, "ds_get", "export_to_file", "parse_limit")
        race = await _race(bulk, data, size, ways, checked=ours, family="platform")
    rows = [
        Row("download", "time to_arrow, over parsing alone", race.slower("to_arrow", "parse_limit"),
            **_goals(size, at_most=1.3), note=f"{data.rows} x {len(data.columns)}; {race.note('parse_limit')}"),
    ]  # fmt: skip
    return [
        *rows,
        *_exits(race, "download", size),
        Row("download", "rate to_parquet, over pydomo", race.faster("to_parquet", "ds_get"),
            **_goals(size, at_least=2.5), note=race.note("to_parquet")),
        Row("download", "rate to_csv, over pydomo's file", race.faster("to_csv", "export_to_file"),
            **_goals(size, at_least=1), note=race.note("to_csv", "export_to_file")),
        Row("download", "memory to_csv", race.extra["to_csv"] / _MIB, **_goals(size, at_most=20), unit="MiB"),
        *race.differing("download"),
    ]  # fmt: skip


async def wide(server: Server, size: Size) -> list[Row]:
    """200 columns, both ways."""
    data = bulk_data.wide(size.wide_rows)
    up, down = ("upload_isal", "upload_pydomo", "upload_limit"), (*_EXITS, "to_parquet", "ds_get", "parse_limit")
    with BulkServer() as bulk:
        checked = ("upload_isal", *_EXITS, "to_parquet")
        race = await _race(bulk, data, size, (*up, *down), checked=checked, family="platform")
    note = f"{data.rows} x {len(data.columns)}; {race.note('upload_isal', 'upload_pydomo')}"
    rows = [
        Row("wide", "rate of an upload, over pydomo", race.faster("upload_isal", "upload_pydomo"),
            **_goals(size, at_least=8), note=note),
        Row("wide", "time of an upload, over encoding in two threads", race.slower("upload_isal", "upload_limit"),
            **_goals(size, at_most=1.3), note=race.note("upload_limit")),
        Row("wide", "bytes sent, over pydomo", race.smaller("upload_isal", "upload_pydomo"), at_most=0.5, timed=False),
        Row("wide", "memory of an upload, over pydomo", race.larger("upload_isal", "upload_pydomo"),
            **_goals(size, at_most=0.25)),
        *_exits(race, "wide", size),
        Row("wide", "rate to_parquet, over pydomo", race.faster("to_parquet", "ds_get"),
            **_goals(size, at_least=2.5), note=race.note("to_parquet")),
        Row("wide", "time to_arrow, over parsing alone", race.slower("to_arrow", "parse_limit"),
            **_goals(size, at_most=1.3), note=race.note("parse_limit")),
    ]  # fmt: skip
    return rows + race.differing("wide")


async def flat(server: Server, size: Size) -> list[Row]:
    """What more rows cost in memory where they pass through; by the product API, for nobody else takes part."""
    data, times = bulk_data.usual(size.rows), size.times_as_many
    whole = str(bulk_data.repeated(data, times))
    rows: list[Row] = []
    with BulkServer() as bulk:
        for way in ("upload_parquet", "upload_batches", "to_parquet", "to_csv", "batches"):
            bulk.serve(data)
            few = _run(bulk, data, way, family="product")
            with _room() as room:
                bulk.serve(data, times=times, keep=room if way.startswith("upload") else None)
                many = _run(bulk, data, way, family="product", parquet=whole)
                found = rows_in_csv(room.iterdir()) if way.startswith("upload") else many.rows
            note = f"{few.extra / _MIB:.0f} MiB, {many.extra / _MIB:.0f} MiB; {few.seconds:.2f} s, {many.seconds:.2f} s"
            what = f"memory {way}, {data.rows * times} rows over {data.rows}"
            rows.append(Row("flat", what, many.extra / max(few.extra, 1), **_goals(size, at_most=1.3), note=note))
            missing = abs(data.rows - few.rows) + abs(data.rows * times - many.rows) + abs(many.rows - found)
            rows.append(Row("flat", f"rows too few or too many, {way}", missing, at_most=0, timed=False, unit=""))
    return rows
