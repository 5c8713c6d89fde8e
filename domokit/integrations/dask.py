"""DataSets and Dask: workers send and read partitions themselves, and one commit makes what they sent visible.

    await to_domo(frame, dataset, credentials=WorkerAuth(domo_instance="acme", access_token="env:DOMO_ACCESS_TOKEN"))
    frame = await read_domo(auth, dataset.id, credentials=…, by="order_id", npartitions=20)

Needs the extra `domokit[dask]`.
"""

# Neither Arrow nor Dask brings types.
# pyright: reportUnknownParameterType=false, reportPrivateImportUsage=false

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise
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
from domokit.bulk.upload import Sent, UploadResult, commit, give_up, result_of
from domokit.bulk.writing import agreed_columns, load_for
from domokit.entities.datasets import DomoDataset
from domokit.errors import InvalidInputError
from domokit.transport import Content
from domokit.workflows.keeping.references import Reference

__all__ = ["WorkerAuth", "read_domo", "to_domo"]

_SECRETS = ("access_token", "client_secret")


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
            value = getattr(self, name)
            found = None if value is None else Reference.parse(value)
            if value is not None and (found is None or found.kind == "account"):
                object.__setattr__(self, name, None)  # nothing that may be a secret is kept, shown or sent
                raise InvalidInputError(f"{name} must say where it is: env:NAME, file:PATH or keyring:SERVICE/NAME")
        if (self.access_token is None) == (self.client_secret is None):
            raise InvalidInputError("pass access_token=, or client_id= and client_secret=")

    async def open(self) -> Auth:
        """The auth object, on the machine where this runs. Raises: MissingCredentialError."""
        options = ClientOptions(base_url=self.base_url)
        if self.access_token is not None:
            if self.domo_instance is None:
                raise InvalidInputError("an access token is of an instance; pass domo_instance=")
            return AccessTokenAuth(self.domo_instance, await _secret(self.access_token), options=options)
        assert self.client_secret is not None
        if self.client_id is None:
            raise InvalidInputError("pass client_id=")
        secret = await _secret(self.client_secret)
        return OAuthClientAuth(self.client_id, secret, domo_instance=self.domo_instance, options=options)


async def to_domo(
    frame: Any,
    dataset: DomoDataset,
    *,
    credentials: WorkerAuth,
    action: Literal["REPLACE", "APPEND"] = "REPLACE",
    time_zone: str | None = None,
    compression: Literal["auto", "isal", "zlib"] = "auto",
) -> UploadResult:
    """Load a Dask DataFrame: each partition is one part, sent by the worker that has it; then all become rows at once.

    frame:        its partitions should be of 10 to 50 MB; `frame.repartition(partition_size="30MB")` sees to that.
    dataset:      who opens and commits the load is its own `auth`.
    credentials:  for the workers; of the same user, or one who may write to the DataSet.
    A worker that dies has its partition sent again by another, under the same number, so nothing is lost or doubled.
    Raises: SchemaMismatchError, InvalidInputError before anything is sent; UploadError, after the load was aborted.
    """
    began = time.monotonic()
    auth, dataset_id = dataset.auth, str(dataset.id)
    async with await open_source(frame._meta, time_zone=time_zone) as source:
        target = await dataset.get_schema()
        columns = agreed_columns(source, target, None, is_whole=action == "REPLACE")
    load = await load_for(auth, dataset_id, columns, action, None, None)
    if not load.can_resume:
        raise InvalidInputError(
            "a DataSet without a stream is loaded with one request, which workers cannot share",
            hint="Create the DataSet with DomoDataset.create(), which makes a stream.",
        )
    sent = Sent()
    with anyio.CancelScope(shield=True):  # or it would be open, and nobody knew its number
        await load.begin()
    try:
        send = dask.delayed(_send, pure=False)
        partitions: Sequence[Any] = frame.to_delayed()
        tasks = [
            send(partition, number, load, columns, credentials, time_zone, compression)
            for number, partition in enumerate(partitions, start=1)
        ]
        for rows, raw_bytes, bytes_sent in await _computed(tasks):
            sent.rows, sent.parts = sent.rows + rows, sent.parts + 1
            sent.raw_bytes, sent.bytes_sent = sent.raw_bytes + raw_bytes, sent.bytes_sent + bytes_sent
        landed = await commit(load, sent)
    except BaseException as error:
        await give_up(load, error, sent)
        raise
    return result_of(load, sent, landed, time.monotonic() - began)


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

    by:           a column to split the rows by; without it one worker reads everything, as one partition.
    npartitions:  how many ranges of equal width between its least and greatest value (numbers, DATE or DATETIME).
    divisions:    the bounds themselves, ascending: n + 1 of them for n partitions; what lies outside is in the first
                  or last one. NULL is in the first.
    types:        as for `Rows.to_pandas`.
    Domo has no snapshot for readers: rows that change meanwhile may be missed or come twice.
    Raises: InvalidInputError.
    """
    dataset = await DomoDataset.get_by_id(auth, dataset_id)
    schema = await dataset.get_schema()
    meta = await Rows.of_table(arrow_schema(schema, types).empty_table()).to_pandas()
    if by is None:
        if npartitions is not None or divisions is not None:
            raise InvalidInputError("say by which column to split: by=")
        wheres: list[str | None] = [None]
    else:
        if by not in schema.names:
            raise InvalidInputError(f"by: there is no column {by!r}")
        bounds = list(divisions) if divisions is not None else await _bounds(dataset, by, npartitions or 8)
        if sorted(bounds) != bounds:
            raise InvalidInputError("divisions must ascend")
        wheres = _ranges(by, bounds[1:-1])
    read = partial(_read, dataset_id=dataset_id, credentials=credentials, types=types)
    return dd.from_map(read, wheres, meta=meta)


# -- what runs on workers


def _send(
    frame: Any,
    number: int,
    load: Load,
    columns: Schema,
    credentials: WorkerAuth,
    time_zone: str | None,
    compression: Literal["auto", "isal", "zlib"],
) -> tuple[int, int, int]:
    async def run() -> tuple[int, int, int]:
        encoder = Encoder(columns, time_zone=time_zone, compression=compression)
        async with (
            await open_source(frame, schema=columns, time_zone=time_zone) as source,
            aclosing(source.batches()) as batches,
        ):
            gathered = [batch async for batch in batches]
        part = encoder.encode(gathered)
        load.auth = await credentials.open()
        async with load.auth:
            await load.put(number, Content(part.body, "text/csv", "gzip"))
        return part.rows, part.raw_bytes, len(part.body)

    return anyio.run(run)


def _read(
    where: str | None, *, dataset_id: str, credentials: WorkerAuth, types: Mapping[str, pa.DataType] | None
) -> Any:
    async def run() -> Any:
        async with await credentials.open() as auth:
            if where is None:
                return await read_rows(auth, dataset_id).to_pandas(types)
            return await query_rows(auth, dataset_id, f"SELECT * FROM table WHERE {where}").to_pandas(types)  # noqa: S608

    return anyio.run(run)


async def _secret(reference: str) -> Secret:
    found = Reference.parse(reference)
    assert found is not None
    return await found.resolve(Path())


# -- what runs here


async def _computed(tasks: list[Any]) -> list[tuple[int, int, int]]:
    """The results of all tasks, by the cluster that is at hand, else in threads of this process."""
    client = _client()
    if client is None:
        return await to_thread.run_sync(partial(dask.compute, *tasks, scheduler="threads"))
    futures = client.compute(tasks)
    try:
        return await to_thread.run_sync(client.gather, futures, abandon_on_cancel=True)
    except BaseException:
        client.cancel(futures, force=True)  # a part that still arrives afterwards belongs to an aborted load
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


async def _bounds(dataset: DomoDataset, by: str, npartitions: int) -> list[Any]:
    if npartitions < 1:
        raise InvalidInputError("npartitions must be at least 1")
    name = _quoted(by)
    found = await dataset.query(f"SELECT MIN({name}) AS low, MAX({name}) AS high FROM table").to_dicts()  # noqa: S608
    low, high = found[0]["low"], found[0]["high"]
    if low is None:
        return [0, 0]
    if isinstance(low, str):
        raise InvalidInputError(f"{by!r} is text: say where to split it with divisions=")
    if isinstance(low, Decimal):
        low, high = float(low), float(high)
    return [low + (high - low) * place / npartitions for place in range(npartitions)] + [high]


def _ranges(by: str, inner: Sequence[Any]) -> list[str | None]:
    """Conditions that each row meets exactly one of. inner: the bounds between them."""
    name = _quoted(by)
    if not inner:
        return [None]
    first = f"{name} < {_literal(inner[0])} OR {name} IS NULL"
    between = [f"{name} >= {_literal(low)} AND {name} < {_literal(high)}" for low, high in pairwise(inner)]
    return [first, *between, f"{name} >= {_literal(inner[-1])}"]


def _quoted(name: str) -> str:
    if "`" in name:
        raise InvalidInputError(f"column {name!r} cannot be named in a query")
    return f"`{name}`"


_LITERALS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (bool, lambda value: f"'{str(value).lower()}'"),
    ((int, float, Decimal), str),
    (datetime, lambda value: f"'{value:%Y-%m-%dT%H:%M:%S}'"),
    (date, lambda value: f"'{value:%Y-%m-%d}'"),
)


def _literal(value: Any) -> str:
    for kind, write in _LITERALS:
        if isinstance(value, kind):
            return write(value)
    return "'" + str(value).replace("'", "''") + "'"
