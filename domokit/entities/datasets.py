"""DataSets: what they are, who may see them, and their rows in and out."""

import json
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, Unpack, overload

import attrs

from domokit import bulk
from domokit.auth import Auth
from domokit.bulk.schema import Schema, check_key
from domokit.entities.access import Access, grantees, the_one
from domokit.entities.base import (
    NOT_GIVEN,
    BothFamilies,
    NotGiven,
    api,
    as_bool,
    as_id,
    as_int,
    as_text,
    as_time,
    class_for,
    entity,
    given,
    id_of,
    many,
    texts_of,
    unless_gone,
)
from domokit.entities.dataset_exits import RowsOut
from domokit.entities.dataset_search import DatasetSearch
from domokit.entities.dataset_ties import DatasetTies
from domokit.entities.datasets_together import DatasetsTogether, grants
from domokit.entities.listing import Listing, Pager
from domokit.errors import ConflictError, InvalidInputError, NotFoundError
from domokit.routes.platform import datasets as platform
from domokit.routes.platform import row_policies as platform_policies
from domokit.routes.product import datasets as product
from domokit.routes.product import row_policies as product_policies
from domokit.routes.product import uploads
from domokit.transport import Json, require_family

if TYPE_CHECKING:
    from domokit.bulk.rows import Rows
    from domokit.bulk.upload import UploadResult
    from domokit.bulk.writing import WriteOptions
    from domokit.entities.pdp_policies import DomoPdpPolicy
    from domokit.entities.streams import DomoStream

_datasets = BothFamilies(product, platform)
_policies = BothFamilies(product_policies, platform_policies)


D = TypeVar("D", bound="DomoDataset")
D_co = TypeVar("D_co", bound="DomoDataset", covariant=True)


class _UpsertByName(Protocol[D_co]):
    def __call__(
        self,
        auth: Auth,
        name: str,
        data: Any = None,
        *,
        schema: Any = None,
        description: str | None = None,
        key: Sequence[str] | None = None,
        **options: "Unpack[WriteOptions]",
    ) -> Coroutine[Any, Any, D_co]: ...


class _UpsertRows(Protocol):
    def __call__(
        self, data: Any, *, key: Sequence[str] | None = None, **options: "Unpack[WriteOptions]"
    ) -> Coroutine[Any, Any, "UploadResult"]: ...


class _Upsert:
    """One name for two things: on the class, the DataSet of a name; on a DataSet, rows by their key."""

    @overload
    def __get__(self, instance: None, owner: type[D]) -> _UpsertByName[D]: ...
    @overload
    def __get__(self, instance: "DomoDataset", owner: Any = None) -> _UpsertRows: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return owner._upsert_by_name if instance is None else instance._upsert_rows


def as_tags(value: Any) -> list[str] | None:
    """Tags come as a list, or as JSON in a text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return [str(one) for one in value] if isinstance(value, list) else None


@attrs.frozen(kw_only=True)
class Partition:
    """A part of the rows that is replaced as a whole. name: what replace_partition() calls it."""

    name: str
    rows: int | None
    completed_at: datetime | None
    version_id: int | None


@attrs.frozen(kw_only=True)
class DataVersion:
    """The rows of one load. status: SUCCESS, ERROR or PROCESSING, as Domo says."""

    id: int
    status: str | None
    rows: int | None
    bytes: int | None
    recorded_at: datetime | None


@entity
class DomoDataset(RowsOut, DatasetSearch, DatasetTies, DatasetsTogether):
    """A DataSet: columns, rows, and who may see them. Works with both API families.

    rows, columns:   how many there are, of what can be queried; they lag behind loads.
    schema:          its columns; None where the answer at hand does not tell, then `get_schema()` asks.
    display_type:    what kind it is in Domo's words, such as 'api'.
    provider:        what it is fed by, such as 'api' or a connector's key.
    stream_id:       the stream that feeds it, if one does and the product API says so; `get_stream()` asks.
    status:          how its last load went, in Domo's words, such as 'SUCCESS' (product API).
    data_current_at: when the rows last changed.
    owner_id, owner_kind:  whose it is, and whether that is a USER or a GROUP.
    What the family or endpoint at hand does not tell is None.
    """

    kind: ClassVar[str] = "DATA_SOURCE"
    _page: ClassVar[str] = "/datasources/{id}/details/overview"

    id: str = api("id", "dataSourceId", convert=as_id)
    name: str | None = api("name", "dataSourceName", convert=as_text)
    description: str | None = api("description", convert=as_text)
    rows: int | None = api("rows", "rowCount", convert=as_int)
    columns: int | None = api("columns", "columnCount", convert=as_int)
    schema: Schema | None = api("schema", convert=Schema.from_wire)
    owner_id: int | None = api("ownerId", convert=as_int)
    owner_name: str | None = api("ownerName", convert=as_text)
    owner_kind: str | None = api("ownerKind", convert=as_text)
    tags: list[str] | None = api("tagsList", "tags", convert=as_tags)
    display_type: str | None = api("displayType", convert=as_text)
    provider: str | None = api("dataProviderType", convert=as_text)
    stream_id: int | None = api("streamId", convert=as_int)
    status: str | None = api("status", convert=as_text)
    is_pdp_enabled: bool | None = api("pdpEnabled", convert=as_bool)
    is_deleted: bool | None = api("deleted", convert=as_bool)
    created_at: datetime | None = api("createdAt", "created", convert=as_time)
    updated_at: datetime | None = api("updatedAt", "lastTouched", convert=as_time)
    data_current_at: datetime | None = api("dataCurrentAt", "lastUpdated", convert=as_time)

    @classmethod
    def flatten(cls, obj: Mapping[str, Json]) -> Mapping[str, Json]:
        """The owner is an object with an id and a name in both families."""
        owner = obj.get("owner")
        if not isinstance(owner, dict):
            return obj
        kind = owner.get("type") or ("GROUP" if owner.get("group") else None)
        return {"ownerId": owner.get("id"), "ownerName": owner.get("name"), "ownerKind": kind, **obj}

    # -- finding and making

    @classmethod
    async def get_by_id(cls, auth: Auth, dataset_id: str, /) -> Self:
        """The DataSet with this id. Source: GET /api/data/v3/datasources/{dataset_id}, GET /v1/datasets/{dataset_id}

        Raises: NotFoundError. A deleted one that can be restored comes with `is_deleted` (product API).
        """
        return cls.from_json(auth, await _datasets(auth).get_dataset_by_id(auth, dataset_id))

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All DataSets the caller may see, by name.

        Source: GET /api/data/v3/datasources, GET /v1/datasets (pages of 50)
        """
        return cls.search(auth)

    @classmethod
    async def get_by_name(cls, auth: Auth, name: str) -> Self:
        """The DataSet of exactly this name, out of what the search finds.

        Source: GET /api/data/v3/datasources, GET /v1/datasets (pages of 50)
        Raises: NotFoundError; ConflictError, if several have the name: which one is meant, only you can say.
        """
        found = await cls.search(auth, name_contains=_named(name)).where(lambda dataset: dataset.name == name)
        if not found:
            raise NotFoundError(
                f"there is no DataSet named {name!r}",
                asked="search of DataSets",
                status=200,
                hint="Check the name, upper and lower case too; what is not shared with you is not found.",
            )
        if len(found) > 1:
            ids = ", ".join(sorted(dataset.id for dataset in found))
            raise ConflictError(
                f"{len(found)} DataSets are named {name!r}: {ids}",
                asked="search of DataSets",
                status=200,
                hint="Name one by its id, or rename or delete the others.",
            )
        return found[0]

    @classmethod
    async def create(
        cls,
        auth: Auth,
        name: str,
        data: Any = None,
        *,
        schema: Any = None,
        description: str = "",
        key: Sequence[str] | None = None,
        **options: "Unpack[WriteOptions]",
    ) -> Self:
        """Create a DataSet, and load rows into it if there are any.

        data:     what `replace` takes; None for a DataSet without rows.
        schema:   its columns, {'order_id': 'STRING', 'qty': 'LONG'} or a `Schema`; by default those of the data.
        key:      columns that tell rows apart, for `upsert` later.
        options:  see `WriteOptions`.
        Raises: InvalidInputError, InvalidDataError before anything is sent; UploadError, if the load failed: the new
                DataSet is deleted again then, unless the load is to be resumed.
        Source: POST /api/data/v2/datasources, POST /v1/streams, and the endpoints of a load
        """
        dataset_id, _ = await bulk.create(
            auth, _named(name), data, schema=schema, description=description, key=key, options=options
        )
        return await cls.get_by_id(auth, dataset_id)

    @classmethod
    async def _upsert_by_name(
        cls,
        auth: Auth,
        name: str,
        data: Any = None,
        *,
        schema: Any = None,
        description: str | None = None,
        key: Sequence[str] | None = None,
        **options: "Unpack[WriteOptions]",
    ) -> Self:
        """The DataSet of this name, created or brought up to date.

        data:         replaces all rows, if given.
        schema:       its columns, if they are to change; by default those of the data for a new one.
        description:  set if given.
        key:          columns that tell rows apart; one that is there needs a stream for that.
        options:      see `WriteOptions`.
        Source: the endpoints of `get_by_name`, `create`, `set_schema`, `replace`, `update` and `DomoStream.update`
        Raises: ConflictError, if several have the name; InvalidInputError, for a key that cannot be; what `create`
                and `replace` raise. If the load fails, the columns are those of before, and nothing else was changed.
        """
        try:
            dataset = await cls.get_by_name(auth, name)
        except NotFoundError:
            return await cls.create(auth, name, data, schema=schema, description=description or "", key=key, **options)
        wanted = None if schema is None else Schema.of(schema)
        columns = None if key is None else many(key, "key")
        if columns is not None and data is None:
            check_key(columns, wanted or await dataset.get_schema())
        stream = None if columns is None else await dataset._stream_for(columns)
        if data is not None:
            await bulk.write(auth, dataset.id, data, action="REPLACE", schema=wanted, key=columns, options=options)
        elif wanted is not None and wanted != await dataset.get_schema():
            await dataset.set_schema(wanted)
        if description is not None and description != dataset.description:
            await dataset.update(description=description)
        if stream is not None:
            await stream.update(update_method="UPSERT", key_columns=columns)
        return await dataset.refresh()

    async def _stream_for(self, key: list[str]) -> "DomoStream | None":
        """The stream that must be given this key; None if it has it. Raises: InvalidInputError."""
        try:
            stream = await self.get_stream()
        except NotFoundError:
            raise InvalidInputError(
                f"DataSet {self.name!r} has no stream, and only a stream has a key",
                hint="Leave key= out, or delete the DataSet to have it made anew.",
            ) from None
        return None if stream.key_columns == key and stream.update_method == "UPSERT" else stream

    async def _upsert_rows(
        self, data: Any, *, key: Sequence[str] | None = None, **options: "Unpack[WriteOptions]"
    ) -> "UploadResult":
        """Rows with the same key columns replace older rows; the others are added.

        data, options:  as for `replace`.
        key:            the columns that tell rows apart; None for those the DataSet has.
        Source: the endpoints of a load; for a new key GET and PUT /api/data/v1/streams/{stream_id}, or
                PATCH /v1/streams/{stream_id}
        Raises: InvalidInputError, for a DataSet without a stream, or without a key; and what `replace` raises.
        """
        return await bulk.write(self.auth, self.id, data, action="UPSERT", key=key, options=options)

    # `await DomoDataset.upsert(auth, name, data)`: the DataSet of this name, created or brought up to date.
    # `await dataset.upsert(data, key=["order_id"])`: rows with the same key replace older ones.
    upsert: ClassVar[_Upsert] = _Upsert()

    # -- describing

    async def update(self, *, name: str | NotGiven = NOT_GIVEN, description: str | None | NotGiven = NOT_GIVEN) -> Self:
        """Change what is given. Returns itself, as Domo has it afterwards.

        description:  None empties it.
        Source: PUT /api/data/v3/datasources/{dataset_id}/properties, PUT /v1/datasets/{dataset_id}
        """
        changes = given(name=name, description=description)
        if "name" in changes:
            _named(changes["name"])
        if "description" in changes:
            changes["description"] = "" if description is None else description
            if not isinstance(changes["description"], str):
                raise InvalidInputError(f"description is a text, or None for none, not {description!r}")
        if not changes:
            return self
        await _datasets(self.auth).update_dataset(self.auth, self.id, **changes)
        return await self.refresh()

    async def get_schema(self) -> Schema:
        """The columns that the next load must have.

        Source: GET /api/data/v2/datasources/{dataset_id}/schemas/latest, GET /v1/datasets/{dataset_id}
        """
        self.schema = Schema.from_wire(await _datasets(self.auth).get_schema(self.auth, self.id)) or Schema(())
        return self.schema

    async def set_schema(self, schema: Any) -> Schema:
        """Change the columns; the rows there are stay as they are until the next load.

        schema:  {'name': 'TYPE'}, a `Schema`, or a list of columns.
        Source: POST /api/data/v2/datasources/{dataset_id}/schemas, PUT /v1/datasets/{dataset_id}
        """
        wanted = Schema.of(schema)
        await _datasets(self.auth).set_schema(self.auth, self.id, wanted.to_wire())
        self.schema = wanted
        return wanted

    async def delete(self, *, for_good: bool = False, missing_ok: bool = False) -> None:
        """Delete the DataSet and its rows. On the platform API it is always for good; else `restore` takes it back.

        missing_ok:  that it is gone already is no error.
        Source: DELETE /api/data/v3/datasources/{dataset_id}, DELETE /v1/datasets/{dataset_id}
        """
        with unless_gone(missing_ok):
            await _datasets(self.auth).delete_dataset(self.auth, self.id, for_good=for_good)
        self.is_deleted = True

    async def restore(self, *, owner: Any = None) -> Self:
        """Take back a deletion that was not for good.

        owner:  the user (entity or id) whose it is then; by default whose it was.
        Source: POST /api/data/v3/datasources/restore (product API); for one of a group PUT …/responsibleUsers, too
        """
        require_family(self.auth, "product", asked=str(product.RESTORE_DATASETS))
        group = None
        if owner is None:
            await self.refresh()  # it may have been given away since
            owner = self.owner_id
            if self.owner_kind == "GROUP" or owner is None:  # Domo restores to users only
                group, owner = owner, (await self.auth.who_am_i()).id
        owner_id = id_of(owner, "owner", "USER")
        await product.restore_datasets(self.auth, [self.id], owner_id=owner_id)
        if group is not None:
            await product.set_owner(self.auth, self.id, kind="GROUP", owner_id=group)
        return await self.refresh()

    async def set_tags(self, tags: Iterable[str]) -> None:
        """Replace all tags. Source: POST /api/data/ui/v3/datasources/{dataset_id}/tags (product API)"""
        wanted = texts_of(tags, "tags")
        await product.set_tags(self.auth, self.id, wanted)
        self.tags = wanted

    # -- people

    async def get_access(self) -> Listing[Access]:
        """Who has access, and how much. Source: GET /api/data/v3/datasources/{dataset_id}/permissions (product API)"""
        return Listing(
            Access(
                kind=str(one.get("type")),
                id=as_id(one.get("id")),
                name=as_text(one.get("name")),
                level=str(one.get("accessLevel")),
            )
            for one in await product.list_permissions(self.auth, self.id)
        )

    async def get_my_level(self) -> str:
        """What the caller may do. Source: GET …/permissions/currentUser (product API)"""
        return await product.get_my_level(self.auth, self.id)

    async def share(
        self,
        *,
        users: Iterable[Any] | Any = (),
        groups: Iterable[Any] | Any = (),
        level: str = "CAN_VIEW",
        message: str | None = None,
    ) -> None:
        """Give users and groups (entities or ids, or one of them) access; those who have it get this level.

        level:    CO_OWNER, CAN_EDIT, CAN_SHARE or CAN_VIEW.
        message:  mailed to them; without one no mail is sent.
        Source: POST /api/data/v3/datasources/{dataset_id}/share (product API)
        """
        permissions = grants(users, groups, level)
        await product.share_dataset(self.auth, self.id, permissions, message=message)

    async def unshare(self, *, users: Iterable[Any] | Any = (), groups: Iterable[Any] | Any = ()) -> None:
        """Take access away. Source: DELETE …/datasources/{dataset_id}/permissions/{type}/{id} (product API)"""
        for kind, grantee in grantees(users, groups):
            await product.delete_permission(self.auth, self.id, kind=kind, grantee_id=grantee)

    async def set_owner(self, *, user: Any = None, group: Any = None) -> Self:
        """Make a user or a group (entity or id) the owner.

        Source: PUT /api/data/v2/datasources/{dataset_id}/responsibleUsers (product API)
        """
        kind, owner_id = the_one(user, group)
        await product.set_owner(self.auth, self.id, kind=kind, owner_id=owner_id)
        return await self.refresh()

    # -- row policies

    def get_policies(self) -> "Pager[DomoPdpPolicy]":
        """The row policies (PDP)."""
        return class_for(self.auth, "PDP_POLICY").get_all(self.auth, self.id)

    async def set_pdp(self, *, enabled: bool) -> None:
        """Apply the row policies, or none of them: then everybody with access sees all rows.

        Source: PUT /api/query/v1/data-control/{dataset_id} after a GET, PUT /v1/datasets/{dataset_id}
        """
        await _policies(self.auth).switch_policies(self.auth, self.id, enabled=enabled)
        self.is_pdp_enabled = enabled

    # -- rows in

    async def replace(self, data: Any, **options: "Unpack[WriteOptions]") -> "UploadResult":
        """Make `data` the only rows. All of it lands, or nothing changes.

        data:     a pandas or polars frame (lazy, too), anything of Arrow, a path or open file (CSV, Parquet, NDJSON,
                  Arrow; gzip), a list of dicts, or an iterator, async as well, of any of these. Zero rows empty it.
        options:  see `WriteOptions`.
        Raises: SchemaMismatchError, InvalidDataError, InvalidInputError before anything is sent, or after the load
                was aborted; UploadError.
        """
        return await bulk.write(self.auth, self.id, data, action="REPLACE", options=options)

    async def append(self, data: Any, **options: "Unpack[WriteOptions]") -> "UploadResult":
        """Add rows; see `replace`."""
        return await bulk.write(self.auth, self.id, data, action="APPEND", options=options)

    async def replace_partition(self, partition: str, data: Any, **options: "Unpack[WriteOptions]") -> "UploadResult":
        """Make `data` the only rows of a partition, a new one or one that is there; see `replace`. Product API."""
        _partition(partition)
        require_family(self.auth, "product", asked="load into a partition")
        return await bulk.write(self.auth, self.id, data, action="APPEND", partition=partition, options=options)

    def get_partitions(self) -> Pager[Partition]:
        """The partitions, the latest first. Source: POST …/datasources/{dataset_id}/partition/list (product API)"""
        return Pager(
            lambda offset, limit: uploads.list_partitions(self.auth, self.id, offset, limit),
            lambda obj: Partition(
                name=str(obj.get("partitionId")),
                rows=as_int(obj.get("rowCount")),
                completed_at=as_time(obj.get("dateCompleted")),
                version_id=as_int(obj.get("dataId")),
            ),
            size=100,
        )

    async def delete_partition(self, partition: str) -> bool:
        """Drop a partition with its rows. After a failure it is called again: it goes on where it was cut off.

        Returns False if nothing was left of it, or there never was such a partition.
        Source: three calls, see `routes.product.uploads` (product API)
        """
        return await uploads.delete_partition(self.auth, self.id, _partition(partition))

    async def get_versions(self) -> Listing[DataVersion]:
        """The loads that are kept. Source: GET …/datasources/{dataset_id}/dataversions/details (product API)"""
        return Listing(
            DataVersion(
                id=as_id(one.get("dataVersionId")),
                status=as_text(one.get("status")),
                rows=as_int(one.get("rowCount")),
                bytes=as_int(one.get("sizeBytes")),
                recorded_at=as_time(one.get("datetimeRecorded")),
            )
            for one in await product.list_versions(self.auth, self.id)
        )

    async def delete_versions(self, version_ids: Sequence[int]) -> None:
        """Drop loads for good, with their rows. Source: DELETE …/datasources/{dataset_id}/dataversions (product API)"""
        await product.delete_versions(
            self.auth, self.id, [_version_id(one) for one in many(version_ids, "version_ids")]
        )

    async def get_stream(self) -> "DomoStream":
        """The stream that feeds it. Raises: NotFoundError."""
        return await class_for(self.auth, "STREAM").get_by_dataset(self.auth, self.id)

    def read_version(self, version_id: "int | DataVersion") -> "Rows":
        """The rows of one load, of those that `get_versions()` gives; the same exits as `read()`.

        Source: GET /api/data/v2/datasources/{dataset_id}/dataversions/{data_version_id} (product API)
        """
        return bulk.read_version(self.auth, self.id, _version_id(version_id))


def _named(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError("a DataSet needs a name")
    return name


def _version_id(version: Any) -> int:
    found = as_id(version.id if isinstance(version, DataVersion) else version)
    if not isinstance(found, int):
        raise InvalidInputError(f"{version!r} is no id of a data version")
    return found


def _partition(name: Any) -> str:
    """The name of a partition. Raises: InvalidInputError, for one that could be loaded, but never deleted."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError("a partition needs a name")
    if "/" in name or not name.strip(". "):
        raise InvalidInputError(
            f"a partition cannot be called {name!r}: as a part of a path, which deleting it takes, it leads elsewhere"
        )
    return name
