"""DataSets and Dask: workers send and read partitions themselves, and one commit makes what they sent visible.

    await to_domo(frame, dataset, credentials=WorkerAuth(domo_instance="acme", access_token="env:DOMO_ACCESS_TOKEN"))
    frame = await read_domo(auth, dataset.id, credentials=…, by="order_id", npartitions=20)

Needs the extra `domokit[dask]`.
"""

# Neither Arrow nor Dask brings types.
# pyright: reportUnknownParameterType=false, reportPrivateImportUsage=false

from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures as concurrent
from contextlib import aclosing, suppress
from copy import copy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import anyio
import attrs
import dask
import dask.dataframe as dd
import pyarrow as pa
from anyio import to_thread

from domokit._secrets import Secret
from domokit.auth import AccessTokenAuth, Auth, ClientOptions, OAuthClientAuth
from domokit.bulk.encode import Encoder
from domokit.bulk.loads import Load
from domokit.bulk.reading import query_rows, read_rows
from domokit.bulk.rows import Rows
from domokit.bulk.schema import Schema
from domokit.bulk.sources import open_source
from domokit.bulk.types import arrow_schema
from domokit.bulk.upload import Loading, UploadResult
from domokit.bulk.writing import agreed_columns, load_for
from domokit.entities.datasets import DomoDataset
from domokit.errors import DomoError, InvalidInputError
from domokit.transport import Content
from domokit.workflows.keeping.references import Reference

__all__ = ["WorkerAuth", "read_domo", "to_domo"]

_SECRETS = ("access_token", "client_secret")
_CANCEL_WITHIN = 10.0  # seconds

Compression = Literal["auto", "isal", "zlib"]


@attrs.frozen(kw_only=True)
class WorkerAuth:
    """How a worker signs in. It travels to the workers, so it says where a secret is, and never the secret.

    access_token, client_secret:  'env:NAME', 'file:PATH' or 'keyring:SERVICE/NAME', as the worker's machine has it.
                                  Either an access token, or a client id with its secret.
    base_url:                     of another origin, such as a sandbox.
    """

    domo_instance: str | None = None
    access_token: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    base_url: str | None = None

    def __attrs_post_init__(self) -> None:
        for name in _SECRETS:
            if not _is_reference(getattr(self, name)):
                object.__setattr__(self, name, None)  # nothing that may be a secret is kept, shown or sent
                raise InvalidInputError(f"{name} must say where it is: env:NAME, file:PATH or keyring:SERVICE/NAME")
        try:
            ClientOptions(base_url=self.base_url)  # refuses one with a user and a password
        except InvalidInputError:
            object.__setattr__(self, "base_url", None)
            raise
        if (self.access_token is None) == (self.client_secret is None):
            raise InvalidInputError("pass access_token=, or client_id= and client_secret=")
        if self.access_token is not None and self.domo_instance is None:
            raise InvalidInputError("an access token is of an instance; pass domo_instance=")
        if self.client_secret is not None and self.client_id is None:
            raise InvalidInputError("pass client_id=")

    async def open(self) -> Auth:
        """The auth object, on the machine where this runs. Raises: MissingCredentialError."""
        options = ClientOptions(base_url=self.base_url)
        if self.access_token is not None:
            assert self.domo_instance is not None
            return AccessTokenAuth(self.domo_instance, await _secret(self.access_token), options=options)
        assert self.client_secret is not None
        assert self.client_id is not None
        secret = await _secret(self.client_secret)
        return OAuthClientAuth(self.client_id, secret, domo_instance=self.domo_instance, options=options)


async def to_domo(
    frame: Any,
    dataset: DomoDataset,
    *,
    credentials: WorkerAuth,
    action: Literal["REPLACE", "APPEND"] = "REPLACE",
    time_zone: str | None = None,
    compression: Compression = "auto",
) -> UploadResult:
    """Load a Dask DataFrame: each partition is one part, sent by the worker that has it; then all become rows at once.

    The workers are those of the current `distributed.Client`; without one, threads of this process.

    frame:        its partitions should be of 10 to 50 MB; `frame.repartition(partition_size="30MB")` sees to that.
    dataset:      who opens and commits the load is its own `auth`.
    credentials:  for the workers; of the same API family and user, or of one who may write to the DataSet.
    A worker that dies has its partition sent again by another, under the same number, so nothing is lost or doubled,
    as long as computing a partition again gives the same rows. If none is left, Dask waits for new ones, and its
    setting `distributed.scheduler.no-workers-timeout` says how long; by default for ever.
    Raises: SchemaMismatchError, InvalidInputError before anything is sent; the same, UploadError, or what computing a
            partition raises, after the load was aborted.
    """
    if not hasattr(frame, "to_delayed"):
        raise InvalidInputError(f"{type(frame).__name__} is no Dask DataFrame")
    if action not in ("REPLACE", "APPEND"):
        raise InvalidInputError(f"action cannot be {action!r}; use REPLACE or APPEND")
    auth, dataset_id = dataset.auth, str(dataset.id)
    async with await open_source(frame._meta, time_zone=time_zone) as source:
        target = await dataset.get_schema()
        columns = agreed_columns(source, target, None, is_whole=action == "REPLACE")
    Encoder(columns, time_zone=time_zone, compression=compression)  # raises what it would raise on the workers
    load = await load_for(auth, dataset_id, action)
    if not load.can_resume:
        raise InvalidInputError(
            "a DataSet without a stream is loaded with one request, which workers cannot share",
            hint="Create the DataSet with DomoDataset.create(), which makes a stream.",
        )
    if (auth.family == "product") != (credentials.access_token is not None):
        raise InvalidInputError(
            "the workers would use another API family than the DataSet's auth",
            hint="An access token goes with SessionAuth and AccessTokenAuth, a client secret with OAuthClientAuth.",
        )
    loading = Loading(load)
    send = partial(
        _send, load=load, columns=columns, credentials=credentials, time_zone=time_zone, compression=compression
    )
    try:
        await loading.begin()
        partitions: Sequence[Any] = await to_thread.run_sync(frame.to_delayed)
        for rows, raw_bytes, bytes_sent in await _computed(send, partitions):
            loading.arrived(rows, raw_bytes, bytes_sent)
        return await loading.commit()
    except BaseException as error:
        await loading.give_up(error)
        raise


async def read_domo(
    auth: Auth,
    dataset_id: str,
    *,
    credentials: WorkerAuth,
    by: str | None = None,
    npartitions: int | None = None,
    divisions: Sequence[Any] | None = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> Any:
    """A Dask DataFrame whose partitions the workers read themselves, when they are needed.

    by:           a column to split the rows by; without it one worker reads everything, as one partition. With it each
                  partition is a query, which workers hold in memory: for some 100,000 rows each.
    npartitions:  how many ranges of equal width between its least and greatest value (LONG, DOUBLE, DECIMAL, DATE or
                  DATETIME); default 8, and fewer where there are fewer values.
    divisions:    the bounds themselves, ascending: n + 1 of them for n partitions; what lies outside is in the first
                  or last one. NULL is in the first. Text is compared as Domo does.
    types:        as for `Rows.to_pandas`.
    Domo has no snapshot for readers: rows that change meanwhile may be missed or come twice.
    Raises: InvalidInputError. Computing raises it, too, if the columns have changed since.
    """
    dataset = await DomoDataset.get_by_id(auth, dataset_id)
    schema = await dataset.get_schema()
    meta = await Rows.of_table(arrow_schema(schema, types).empty_table()).to_pandas()
    if by is None:
        if npartitions is not None or divisions is not None:
            raise InvalidInputError("say by which column to split: by=")
        inner: list[Any] = []
        by = ""
    else:
        if by not in schema.names:
            raise InvalidInputError(f"by: there is no column {by!r}")
        if divisions is not None:
            inner = _inner_of(divisions, npartitions)
        else:
            kind = schema[schema.names.index(by)].type
            inner = await _equal_steps(dataset, by, kind, 8 if npartitions is None else npartitions)
    read = partial(_read, dataset_id=dataset_id, credentials=credentials, types=types, meta=meta)
    return dd.from_map(read, _ranges(by, inner), meta=meta)


# -- what runs on workers


def _send(
    frame: Any,
    number: int,
    *,
    load: Load,
    columns: Schema,
    credentials: WorkerAuth,
    time_zone: str | None,
    compression: Compression,
) -> tuple[int, int, int]:
    """Rows, bytes of CSV, and bytes sent."""

    async def run() -> tuple[int, int, int]:
        encoder = Encoder(columns, time_zone=time_zone, compression=compression)
        async with await open_source(frame, schema=columns, time_zone=time_zone) as source:
            agreed_columns(source, columns, None, is_whole=True)  # a partition need not be what the frame says it is
            async with aclosing(source.batches()) as batches:
                part = encoder.encode([batch async for batch in batches])
        own = copy(load)  # threads of one process share what they are handed
        async with await credentials.open() as own.auth:
            await own.put(number, Content(part.body, "text/csv", "gzip"))
        return part.rows, part.raw_bytes, len(part.body)

    try:
        return anyio.run(run)
    except InvalidInputError as error:  # it counts rows from the beginning of the partition
        error.asked = error.asked or f"partition {number}"
        raise


def _read(
    where: str | None,
    *,
    dataset_id: str,
    credentials: WorkerAuth,
    types: Mapping[str, pa.DataType] | None,
    meta: Any,
) -> Any:
    async def run() -> Any:
        async with await credentials.open() as auth:
            if where is None:
                return await read_rows(auth, dataset_id).to_pandas(types)
            return await query_rows(auth, dataset_id, f"SELECT * FROM table WHERE {where}").to_pandas(types)  # noqa: S608

    frame = anyio.run(run)
    if not frame.dtypes.equals(meta.dtypes):
        raise InvalidInputError("the DataSet has other columns than when read_domo() was called; call it again")
    return frame


async def _secret(reference: str) -> Secret:
    found = Reference.parse(reference)
    assert found is not None
    return await found.resolve(Path())


def _is_reference(text: str | None) -> bool:
    if text is None:
        return True
    found = Reference.parse(text)
    return found is not None and found.kind != "account"


# -- what runs here


async def _computed(send: partial[tuple[int, int, int]], partitions: Sequence[Any]) -> list[tuple[int, int, int]]:
    """What `send` gives for each, by the cluster that is at hand, else in threads of this process."""
    task = dask.delayed(send, name="domokit.send", pure=False)
    tasks = [task(partition, number) for number, partition in enumerate(partitions, start=1)]
    if (client := _client()) is None:
        # Cancelled, Dask's threads go on until the first of them meets the abort.
        compute = partial(dask.compute, *tasks, scheduler="threads")
        return list(await to_thread.run_sync(compute, abandon_on_cancel=True))
    # All of it in threads: it would block the event loop, and a client made for asyncio answers differently there.
    futures = await to_thread.run_sync(client.compute, tasks)

    def gathered() -> list[tuple[int, int, int]]:
        try:
            return client.gather(futures)
        except (CancelledError, concurrent.CancelledError):  # here it would pass for a cancellation of the caller
            why = "the tasks were cancelled, or the client was closed"
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "distributed":
                raise
            why = f"{type(error).__name__}: {error}"
        raise DomoError(f"the cluster did not finish: {why}")

    try:
        return await to_thread.run_sync(gathered, abandon_on_cancel=True)
    except BaseException:
        # A part that still arrives afterwards belongs to an aborted load.
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CANCEL_WITHIN), suppress(Exception):
            await to_thread.run_sync(partial(client.cancel, futures, force=True), abandon_on_cancel=True)
        raise


def _client() -> Any:
    try:
        from distributed import default_client
    except ImportError:
        return None
    try:
        return default_client()
    except ValueError:
        return None


def _inner_of(divisions: Sequence[Any], npartitions: int | None) -> list[Any]:
    bounds = list(divisions)
    if len(bounds) < 2:
        raise InvalidInputError("divisions are the bounds of partitions: at least two")
    if npartitions not in (None, len(bounds) - 1):
        raise InvalidInputError(f"{len(bounds)} divisions make {len(bounds) - 1} partitions; leave out npartitions")
    try:
        ascend = all(low <= high for low, high in pairwise(bounds))
    except TypeError:
        ascend = False
    if not ascend:
        raise InvalidInputError("divisions must ascend")
    return bounds[1:-1]


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "LONG": int,
    "DOUBLE": float,
    "DECIMAL": Decimal,
    "DATE": lambda value: value.date() if isinstance(value, datetime) else value,
    "DATETIME": lambda value: value if isinstance(value, datetime) else datetime(value.year, value.month, value.day),
}


async def _equal_steps(dataset: DomoDataset, by: str, kind: str, npartitions: int) -> list[Any]:
    """The bounds inside, each of them once."""
    if npartitions < 1:
        raise InvalidInputError("npartitions must be at least 1")
    if (exact := _KINDS.get(kind)) is None:
        raise InvalidInputError(f"{by!r} is text: say where to split it with divisions=")
    name = _quoted(by)
    found = await dataset.query(f"SELECT MIN({name}) AS low, MAX({name}) AS high FROM table").to_dicts()  # noqa: S608
    if not found or found[0]["low"] is None:  # no rows, or nothing but NULL
        return []
    low, high = exact(found[0]["low"]), exact(found[0]["high"])
    steps = [_between(low, high, place, npartitions) for place in range(1, npartitions)]
    return sorted({step for step in steps if low < step <= high})


def _between(low: Any, high: Any, place: int, of: int) -> Any:
    match low:
        case int():
            return low + (high - low) * place // of
        case float():
            return low * (1 - place / of) + high * (place / of)  # the difference might be too large for a float
        case Decimal():
            return low + (high - low) * place / of
        case datetime():
            return (low + (high - low) * place / of).replace(microsecond=0)
        case _:
            return low + timedelta(days=(high - low).days * place // of)


def _ranges(by: str, inner: Sequence[Any]) -> list[str | None]:
    """Conditions that each row meets exactly one of. inner: the bounds between them."""
    if not inner:
        return [None]
    name = _quoted(by)
    bounds = [_literal(one) for one in inner]
    first = f"{name} < {bounds[0]} OR {name} IS NULL"
    between = [f"{name} >= {low} AND {name} < {high}" for low, high in pairwise(bounds)]
    return [first, *between, f"{name} >= {bounds[-1]}"]


def _quoted(name: str) -> str:
    if "`" in name:
        raise InvalidInputError(f"column {name!r} cannot be named in a query")
    return f"`{name}`"


def _literal(value: Any) -> str:
    match value:
        case bool():
            return f"'{str(value).lower()}'"
        case datetime():
            naive = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            return f"'{naive.isoformat(timespec='microseconds').removesuffix('.000000')}'"
        case date():
            return f"'{value.isoformat()}'"  # strftime would write the year 17 with two digits
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case Integral():
            return str(int(value))
        case Real() if isfinite(value):
            return repr(float(value))
        case str() if "\\" not in value:  # which some dialects take for an escape, and others do not
            return "'" + value.replace("'", "''") + "'"
        case _:
            raise InvalidInputError(f"{value!r} cannot be a bound between partitions")
