"""Rows into a DataSet: what the columns must be, which way they go, and what becomes of them if it fails."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any, Literal, TypedDict

import anyio

from domokit.auth import Auth
from domokit.bulk.encode import Encoder, check, parts_of
from domokit.bulk.journal import Journal
from domokit.bulk.loads import ImportLoad, Load, ProductLoad, StreamLoad
from domokit.bulk.progress import Progress, watching
from domokit.bulk.schema import Schema, SchemaDiff, check_key
from domokit.bulk.sources import Source, open_source
from domokit.bulk.upload import Job, Loading, UploadResult, upload
from domokit.errors import DomoError, InvalidInputError, SchemaMismatchError
from domokit.routes.platform import datasets as platform_datasets
from domokit.routes.platform import streams as platform_streams
from domokit.routes.product import datasets as product_datasets
from domokit.routes.product import streams as product_streams
from domokit.transport import member, require_family

Action = Literal["REPLACE", "APPEND", "UPSERT"]
PART_BYTES = 10_000_000


class WriteOptions(TypedDict, total=False):
    """How rows are written; all may be left out.

    evolve_schema:  'add': columns that only the data has are added to the DataSet, and those that only the DataSet
                    has stay empty; 'replace': the DataSet takes the columns of the data. Default: differing columns
                    are refused, with a diff, before anything is sent.
    time_zone:      IANA name of the zone in which aware times are written; default UTC. Naive times stay as they are.
    format:         'csv', 'tsv', 'parquet', 'ndjson', 'arrow': of a file whose name does not tell.
    header:         whether the first line of CSV names the columns; default True.
    progress:       True for a progress bar, or a function that is called with a `Progress` now and then.
    resume:         path of a small state file: a load that was cut off, by a crash even, goes on where it stopped
                    when it is called again with the same data. Without it a load that fails is aborted.
    part_bytes:     CSV in a part, in bytes before compression; default 10,000,000.
    workers:        parts in the making or on the line at once; default: processors, at least 2, and 2 more.
    compression:    'isal', 'zlib' or 'auto' (isal where it is installed).
    """

    evolve_schema: Literal["add", "replace"] | None
    time_zone: str | None
    format: str | None
    header: bool
    progress: bool | Callable[[Progress], object]
    resume: str | os.PathLike[str] | None
    part_bytes: int
    workers: int | None
    compression: Literal["auto", "isal", "zlib"]


async def write(
    auth: Auth,
    dataset_id: str,
    data: Any,
    *,
    action: Action,
    schema: Schema | None = None,
    key: Sequence[str] | None = None,
    partition: str | None = None,
    options: WriteOptions,
) -> UploadResult:
    """Load `data` into a DataSet.

    schema:     the columns it is to have from now on; None for those it has.
    key:        the columns that tell rows apart. For UPSERT the stream is given them, and None is for those it has
                already; else it is only looked whether they could be.
    partition:  the partition that is replaced; then `action` does not count.
    Raises: SchemaMismatchError, InvalidInputError before anything is sent; else see `upload`.
    """
    _check_options(options)
    routes = _datasets(auth)
    before = Schema.from_wire(await routes.get_schema(auth, dataset_id)) or Schema(())
    target = schema or before
    is_free = options.get("evolve_schema") == "replace"  # then the columns have the types of the data
    source = await _opened(data, None if is_free else target or None, options)
    mending = AsyncExitStack()  # what is to be done if the load fails
    loading: Loading | None = None
    try:
        columns = agreed_columns(
            source, target, options.get("evolve_schema"), is_whole=action == "REPLACE" and not partition
        )
        if action == "UPSERT":
            await _agree_on_key(auth, dataset_id, source.schema, columns, key, mending)
        elif key is not None:
            check_key(key, columns)
        loading = _loading(await load_for(auth, dataset_id, action, partition), columns, key, options)
        if columns != before:
            mending.push_async_callback(_quietly, partial(routes.set_schema, auth, dataset_id, before.to_wire()))
            await routes.set_schema(auth, dataset_id, columns.to_wire())
        return await _send(loading, source, columns, options)
    except BaseException as error:
        # Nothing has landed, so columns and key are those of before; unless it may have, or is to be gone on with.
        if not (getattr(error, "is_open", False) or (loading is not None and loading.may_have_landed)):
            with anyio.CancelScope(shield=True), anyio.move_on_after(30):
                await mending.aclose()
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await source.aclose()


async def create(
    auth: Auth,
    name: str,
    data: Any,
    *,
    schema: Any = None,
    description: str = "",
    key: Sequence[str] | None = None,
    options: WriteOptions,
) -> tuple[str, UploadResult | None]:
    """Create a DataSet and load `data` into it, if there is any; its id, and what has landed.

    A load that fails takes the new DataSet with it.
    """
    _check_options(options)
    if not name.strip():
        raise InvalidInputError("a DataSet needs a name")
    if options.get("resume") is not None:
        raise InvalidInputError(
            "a new DataSet cannot be resumed: called again, it would be made twice",
            hint="Create it with schema= and without data, then call replace(data, resume=…).",
        )
    given = None if schema is None else Schema.of(schema)
    if data is None and given is None:
        raise InvalidInputError("pass data, or schema= for a DataSet without rows")
    source = None if data is None else await _opened(data, given, options)
    try:
        columns = source.schema if given is None and source is not None else given
        assert columns is not None
        columns.check()
        if source is not None:
            agreed_columns(source, columns, None, is_whole=True)
        if key:
            check_key(key, columns)
        dataset_id = await _created(auth, name, description, columns, key or ())
        if source is None:
            return dataset_id, None
        try:
            loading = _loading(await load_for(auth, dataset_id, "REPLACE"), columns, None, options)
            return dataset_id, await _send(loading, source, columns, options)
        except BaseException as error:
            if getattr(error, "is_committed", False) is False:  # nothing of it has landed
                with anyio.CancelScope(shield=True), anyio.move_on_after(30):
                    await _quietly(partial(_datasets(auth).delete_dataset, auth, dataset_id, for_good=True))
            raise
    finally:
        if source is not None:
            with anyio.CancelScope(shield=True):
                await source.aclose()


async def _created(auth: Auth, name: str, description: str, columns: Schema, key: Sequence[str]) -> str:
    """On the platform API together with a stream, for only a stream takes rows in parts; else where a key needs one."""
    wire = columns.to_wire()
    method = "UPSERT" if key else "REPLACE"
    if auth.family == "platform":
        made = await platform_streams.create_stream(
            auth, name=name, description=description, columns=wire, update_method=method, key_columns=key
        )
        return member(made, "dataSet", "id")
    if key:
        made = await product_streams.create_stream(
            auth, name=name, description=description, columns=wire, update_method=method, key_columns=key
        )
        return member(made, "dataSource", "id")
    return await product_datasets.create_dataset(auth, name=name, description=description, columns=wire)


def agreed_columns(source: Source, target: Schema, evolve: str | None, *, is_whole: bool) -> Schema:
    """The columns to load with. Raises: SchemaMismatchError."""
    if evolve == "replace":
        if not is_whole:
            raise InvalidInputError("evolve_schema='replace' is for replace() alone: other rows keep their columns")
        return source.schema if target.diff(source.schema) else target
    if not target:
        return source.schema
    diff: SchemaDiff = check(source.schema, target)
    if not diff:
        return target
    if evolve == "add" and not diff.changed:
        return Schema((*target.columns, *diff.added))
    hint = ""
    if evolve == "add":
        hint = "evolve_schema='add' adds columns and leaves some empty, but changes no types: change the data."
    raise SchemaMismatchError(f"the columns differ from the DataSet's: {diff}", diff=diff, hint=hint)


async def load_for(auth: Auth, dataset_id: str, action: Action, partition: str | None = None) -> Load:
    """The way into the DataSet for this auth object."""
    if auth.family == "product":
        return ProductLoad(auth, dataset_id, action=action, partition=partition)
    if partition is not None:
        require_family(auth, "product", asked="load into a partition")
    stream = await platform_streams.find_stream(auth, dataset_id)
    if stream is None:
        return ImportLoad(auth, dataset_id, update_method=action)
    return StreamLoad(auth, dataset_id, member(stream, "id"), update_method=action)


async def _agree_on_key(
    auth: Auth, dataset_id: str, given: Schema, columns: Schema, key: Sequence[str] | None, mending: AsyncExitStack
) -> None:
    """Have the stream tell rows apart by these columns. Raises: InvalidInputError, where there is no stream or key."""
    if key is not None:
        check_key(key, columns, given)
    routes = product_streams if auth.family == "product" else platform_streams
    stream = await routes.find_stream(auth, dataset_id)
    if stream is None:
        raise InvalidInputError(
            "upsert goes by the key of a stream, and this DataSet has no stream",
            hint="Create the DataSet with DomoDataset.create(…, key=[…]).",
        )
    method, now = stream.get("updateMethod"), stream.get("keyColumnNames")
    if key is None:
        if not now and method != "UPSERT":
            raise InvalidInputError("the stream has no key yet; pass key=[…]")
        if now:
            check_key(now, columns, given)
    elif list(key) != now or method != "UPSERT":
        change = partial(routes.update_stream, auth, member(stream, "id"))
        mending.push_async_callback(_quietly, partial(change, update_method=method or "REPLACE", key_columns=now or []))
        await change(update_method="UPSERT", key_columns=list(key))


def _check_options(options: WriteOptions) -> None:
    if unknown := options.keys() - WriteOptions.__annotations__.keys():
        raise InvalidInputError(
            f"unknown option {', '.join(sorted(unknown))}; there are {', '.join(WriteOptions.__annotations__)}"
        )
    if options.get("evolve_schema") not in (None, "add", "replace"):
        raise InvalidInputError("evolve_schema is 'add' or 'replace'")
    if (compression := options.get("compression", "auto")) not in ("auto", "isal", "zlib"):
        raise InvalidInputError(f"compression is 'auto', 'isal' or 'zlib', not {compression!r}")
    if not (isinstance(progress := options.get("progress", False), bool) or callable(progress)):
        raise InvalidInputError("progress is True, or a function that is called with a Progress")
    for name in ("part_bytes", "workers"):
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InvalidInputError(f"{name} must be at least 1")


async def _opened(data: Any, schema: Schema | None, options: WriteOptions) -> Source:
    if isinstance(data, Source):
        return data
    return await open_source(
        data,
        schema=schema,
        time_zone=options.get("time_zone"),
        format=options.get("format"),
        header=options.get("header", True),
    )


def _encoder(columns: Schema, options: WriteOptions) -> Encoder:
    return Encoder(columns, time_zone=options.get("time_zone"), compression=options.get("compression", "auto"))


def _loading(load: Load, columns: Schema, key: Sequence[str] | None, options: WriteOptions) -> Loading:
    if (path := options.get("resume")) is None:
        return Loading(load)
    facts = load.facts() | {
        "columns": columns.to_wire(),
        "key": None if key is None else list(key),
        "part_bytes": options.get("part_bytes", PART_BYTES),
        "compression": _encoder(columns, options).compression,
    }
    return Loading(load, Journal(path, facts))


async def _send(loading: Loading, source: Source, columns: Schema, options: WriteOptions) -> UploadResult:
    encoder = _encoder(columns, options)
    due = {"total_rows": source.rows, "total_bytes": source.nbytes if source.rows is None else None}
    with watching(options.get("progress", False), "upload", **due) as meter:
        return await upload(
            loading,
            _jobs(source, encoder, options.get("part_bytes", PART_BYTES)),
            empty=encoder.encode([]).body,
            meter=meter,
            workers=options.get("workers"),
        )


async def _jobs(source: Source, encoder: Encoder, part_bytes: int) -> AsyncGenerator[Job, None]:
    async with aclosing(parts_of(source, encoder, part_bytes=part_bytes)) as cuts:
        async for cut in cuts:
            yield partial(encoder.encode, cut)


def _datasets(auth: Auth) -> Any:
    return product_datasets if auth.family == "product" else platform_datasets


async def _quietly(call: Callable[[], Awaitable[object]]) -> None:
    """Do what mends a failure: if it fails, too, the first failure is the one to be told."""
    try:
        await call()
    except DomoError:
        return
