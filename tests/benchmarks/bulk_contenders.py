"""What moves rows, one way in one fresh process: `python -m tests.benchmarks.bulk_contenders '{"way": …}'`

Prints a JSON object: the seconds, those of CPU, the most memory beyond what was held at the start, and the rows.
"""

import asyncio
import ctypes
import gc
import json
import logging
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Literal, Self

import attrs

from .bulk_server import DATASET_ID
from .server import TOKEN


@attrs.frozen(kw_only=True)
class Job:
    """way:    one of `WAYS`.
    host:      of the server.
    parquet:   the rows, for what loads.
    csv:       the rows, for what parses without a network.
    columns:   the schema as Domo tells it.
    family:    the API that domokit speaks.
    save:      where to put what came out, to be checked; None to drop it.
    """

    way: str
    host: str
    parquet: str
    csv: str
    columns: list[dict[str, str]]
    family: Literal["platform", "product"] = "platform"
    save: str | None = None

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    @property
    def out(self) -> Path:
        """Where files are written."""
        return Path(self.save or f"{self.csv}-{os.getpid()}.out")


@attrs.define
class Meter:
    """What a block takes.

    extra:  bytes of resident memory at the peak, over those at the beginning.
    rows:   how many were moved, where that is looked at.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    extra: int = 0
    rows: int = 0

    def __enter__(self) -> Self:
        gc.collect()
        _give_back()
        self.extra = -_resident()
        _forget_peak()
        self.cpu, self.seconds = -process_time(), -perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds += perf_counter()
        self.cpu += process_time()
        self.extra += _peak()


def _give_back() -> None:
    """What loading left unused goes back, or it would hide what comes after."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None:
        pyarrow.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(name: str) -> int | None:
    with suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return None


def _resident() -> int:
    return _status("VmRSS") or _peak()


def _peak() -> int:
    per_unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit


def _forget_peak() -> None:
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


# -- in


def _frame(job: Job) -> Any:
    """The rows as pandas users hold them."""
    import pandas
    import pyarrow as pa
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(job.parquet)
    # Without the mapper, integers with nulls would be floats.
    kinds = {pa.int32(): pandas.Int32Dtype()}
    return table.to_pandas(types_mapper=kinds.get, date_as_object=False, split_blocks=True)


def _pydomo(job: Job) -> Any:
    from pydomo import Domo

    return Domo("client", "client-secret", api_host=job.host, use_https=False, log_level=logging.WARNING)


@asynccontextmanager
async def _dataset(job: Job) -> Any:
    """The DataSet; signed in, and everything that is imported late is there already."""
    from domokit import AccessTokenAuth, ClientOptions, DomoDataset, OAuthClientAuth
    from domokit.bulk import read_rows, write  # noqa: F401

    options = ClientOptions(base_url=job.origin)
    if job.family == "product":
        auth: Any = AccessTokenAuth("acme", TOKEN, options=options)
    else:
        auth = OAuthClientAuth("client", "client-secret", options=options)
    async with auth:
        yield await DomoDataset.get_by_id(auth, DATASET_ID)


async def _replace(job: Job, data: Any, **options: Any) -> Meter:
    meter = Meter()
    async with _dataset(job) as dataset:
        with meter:
            result = await dataset.replace(data, **options)
    meter.rows = result.rows
    assert meter.rows
    return meter


async def upload_isal(job: Job) -> Meter:
    return await _replace(job, _frame(job), compression="isal")


async def upload_zlib(job: Job) -> Meter:
    return await _replace(job, _frame(job), compression="zlib")


async def upload_parquet(job: Job) -> Meter:
    import pyarrow.parquet  # noqa: F401

    return await _replace(job, job.parquet)


async def upload_batches(job: Job) -> Meter:
    """From an iterator, as of someone who makes the rows."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(job.parquet, pre_buffer=False) as file:  # or it holds what it has read
        return await _replace(job, file.iter_batches(20_000))


async def upload_pydomo(job: Job) -> Meter:
    domo, frame, meter = _pydomo(job), _frame(job), Meter()
    with meter:
        domo.ds_update(DATASET_ID, frame)
    return meter


async def upload_limit(job: Job) -> Meter:
    """Encoding and compressing in two threads, as plainly as can be, and nothing is sent."""
    import pyarrow as pa
    import pyarrow.csv
    from isal import isal_zlib

    frame, meter = _frame(job), Meter()
    dates = [one["name"] for one in job.columns if one["type"] == "DATE"]
    rows = max(1, 600_000 // frame.shape[1])
    plain = pyarrow.csv.WriteOptions(include_header=False, batch_size=4096)

    class Sink:
        closed = False

        def __init__(self) -> None:
            self.packed = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
            self.size = 0

        def write(self, data: Any) -> None:
            self.size += len(self.packed.compress(data))

        def flush(self) -> None: ...

    def encode(start: int) -> int:
        table = pa.Table.from_pandas(frame.iloc[start : start + rows], preserve_index=False, nthreads=1)
        for name in dates:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.date32()))
        sink = Sink()
        pyarrow.csv.write_csv(table, sink, plain)
        return sink.size + len(sink.packed.flush())

    with meter, ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(encode, range(0, len(frame), rows)))
    return meter


# -- out


async def _read(job: Job, how: str, save: Callable[[Any], Any], *given: Any) -> Meter:
    meter = Meter()
    async with _dataset(job) as dataset:
        with meter:
            result = await getattr(dataset, how)(*given)
    if job.save is not None:
        save(result)
    return meter


def _keep(job: Job) -> Callable[[Any], Any]:
    """Write a table down."""

    def keep(table: Any) -> None:
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, job.out, compression="lz4")

    return keep


def _nothing(_: Any) -> None: ...


async def to_arrow(job: Job) -> Meter:
    return await _read(job, "to_arrow", _keep(job))


async def to_pandas(job: Job) -> Meter:
    import pandas  # noqa: F401
    import pyarrow as pa

    return await _read(job, "to_pandas", lambda frame: _keep(job)(pa.Table.from_pandas(frame, preserve_index=False)))


async def to_polars(job: Job) -> Meter:
    import polars  # noqa: F401

    return await _read(job, "to_polars", lambda frame: _keep(job)(frame.to_arrow()))


async def to_parquet(job: Job) -> Meter:
    import pyarrow.parquet

    try:
        meter = await _read(job, "to_parquet", _nothing, job.out)
        meter.rows = pyarrow.parquet.read_metadata(job.out).num_rows
        return meter
    finally:
        _dropped(job)


async def to_csv(job: Job) -> Meter:
    from .bulk_check import rows_in_csv

    try:
        meter = await _read(job, "to_csv", _nothing, job.out)
        meter.rows = rows_in_csv([job.out], has_header=True)
        return meter
    finally:
        _dropped(job)


async def batches(job: Job) -> Meter:
    """Read and dropped."""
    meter = Meter()
    async with _dataset(job) as dataset:
        with meter:
            async with dataset.iter_batches() as every:
                async for batch in every:
                    meter.rows += batch.num_rows
    return meter


async def ds_get(job: Job) -> Meter:
    domo, meter = _pydomo(job), Meter()
    with meter:
        frame = domo.ds_get(DATASET_ID)
    assert len(frame)
    return meter


async def export_to_file(job: Job) -> Meter:
    domo, meter = _pydomo(job), Meter()
    path = job.out.with_suffix(".csv")  # where it writes, whatever it is given
    with meter:
        domo.datasets.data_export_to_file(DATASET_ID, path, include_csv_header=True).close()
    path.unlink()
    return meter


async def parse_limit(job: Job) -> Meter:
    """pyarrow reads the same bytes from memory, and nothing is received."""
    import pyarrow as pa
    import pyarrow.csv

    from domokit.bulk.types import arrow_type

    body, meter = Path(job.csv).read_bytes(), Meter()
    with meter:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(body),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={one["name"]: arrow_type(one["type"]) for one in job.columns},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    assert table.num_rows
    return meter


def _dropped(job: Job) -> None:
    if job.save is None:
        job.out.unlink(missing_ok=True)


WAYS: dict[str, Callable[[Job], Awaitable[Meter]]] = {
    way.__name__: way
    for way in (
        upload_isal,
        upload_zlib,
        upload_parquet,
        upload_batches,
        upload_pydomo,
        upload_limit,
        to_arrow,
        to_pandas,
        to_polars,
        to_parquet,
        to_csv,
        batches,
        ds_get,
        export_to_file,
        parse_limit,
    )
}


if __name__ == "__main__":
    asked = Job(**json.loads(sys.argv[1]))
    print(json.dumps(attrs.asdict(asyncio.run(WAYS[asked.way](asked)))))
