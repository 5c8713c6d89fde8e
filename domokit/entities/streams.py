"""Streams: what feeds DataSets, and their executions."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs

from domokit.auth import Auth
from domokit.bulk.schema import Schema
from domokit.entities.base import (
    BothFamilies,
    DomoEntity,
    api,
    as_id,
    as_int,
    as_text,
    as_time,
    class_for,
    entity,
    id_of,
    texts_of,
    unless_gone,
)
from domokit.entities.listing import Pager
from domokit.errors import InvalidInputError, NotFoundError
from domokit.routes.platform import streams as platform
from domokit.routes.product import stream_uploads
from domokit.routes.product import streams as product
from domokit.transport import Content, Json, member, require_family

if TYPE_CHECKING:
    from domokit.entities.datasets import DomoDataset

_streams = BothFamilies(product, platform)
UPDATE_METHODS = ("REPLACE", "APPEND", "UPSERT", "DELETE")
Csv = bytes  # the name that a field of an execution has as well
SCHEDULE_STATES = ("MANUAL", "ACTIVE", "INACTIVE")


def _dataset_id(value: Any) -> str | None:
    return as_text(value.get("id")) if isinstance(value, dict) else None


def _schedule(value: Any) -> dict[str, Any] | None:
    """A schedule comes as JSON in a text."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@entity
class DomoStreamExecution(DomoEntity):
    """One run of a stream. state: ACTIVE, then SUCCESS, WARNING or ERROR; phase (product API): … INDEX, FINAL.

    parts_sent:  how many parts this object has sent.
    """

    kind: ClassVar[str] = "STREAM_EXECUTION"

    id: int = api("executionId", "id", convert=as_id)
    stream_id: int | None = api("streamId", convert=as_int)
    state: str | None = api("currentState", convert=as_text)
    phase: str | None = api("currentPhase", convert=as_text)
    update_method: str | None = api("updateMethod", convert=as_text)
    rows: int | None = api("rowsInserted", convert=as_int)
    bytes: int | None = api("bytesInserted", convert=as_int)
    errors: list[Json] | None = api("errors")
    started_at: datetime | None = api("startedAt", convert=as_time)
    ended_at: datetime | None = api("endedAt", convert=as_time)
    parts_sent: int = attrs.field(default=0, init=False, repr=False)

    async def refresh(self) -> Self:
        """Fetch it anew and take over all fields; returns itself."""
        obj = await _streams(self.auth).get_execution(self.auth, self.stream_id, self.id)
        return self._take_over(type(self).from_json(self.auth, {"streamId": self.stream_id, **obj}))

    async def abort(self) -> None:
        """Stop it and discard what it was given; the DataSet stays as it was.

        Source: PUT …/streams/{stream_id}/executions/{execution_id}/abort
        """
        await _streams(self.auth).abort_execution(self.auth, self.stream_id, self.id)

    async def upload_part(self, part: int, rows: Csv, *, is_gzip: bool = False) -> None:
        """Send rows by hand, as CSV without a header; `DomoDataset.replace` and its like do all of this.

        part:  counts from 1, without gaps; the same number again replaces that part.
        Source: PUT …/streams/{stream_id}/executions/{execution_id}/part/{part_id}
        """
        content = _part(part, rows, is_gzip=is_gzip)
        send = platform.upload_part if self.auth.family == "platform" else stream_uploads.upload_part
        await send(self.auth, *_place(self), part, content)
        self.parts_sent += 1

    async def start_upload(self) -> "ExecutionUpload":
        """Begin one of several uploads of this execution, such as one for each partition.

        Their rows become visible together, with the execution's own commit.
        Source: POST /api/data/v1/streams/{stream_id}/executions/{execution_id}/upload (product API)
        """
        return ExecutionUpload(execution=self, id=await stream_uploads.start_execution_upload(self.auth, *_place(self)))

    async def commit(self, *, even_if_empty: bool = False) -> Self:
        """End it with the parts it was given. Loads do that by themselves.

        even_if_empty:  also where this object has sent none (others may have): on the product API, an execution
                        without parts that replaces empties the DataSet.
        Source: PUT …/streams/{stream_id}/executions/{execution_id}/commit
        Raises: InvalidInputError, before anything is sent, if that might happen.
        """
        replaces = self.update_method not in ("APPEND", "UPSERT", "DELETE")
        if self.auth.family == "product" and replaces and not (self.parts_sent or even_if_empty):
            raise InvalidInputError(
                f"execution {self.id} was given no parts here, and without any the commit would empty the DataSet",
                hint="Call upload_part() before, or abort(); or pass even_if_empty=True.",
            )
        await _streams(self.auth).commit_execution(self.auth, self.stream_id, self.id)
        return await self.refresh()

    @property
    def _key(self) -> tuple[str, str, Any]:
        return self.kind, self.auth.place, (self.stream_id, self.id)  # ids count within a stream


@attrs.frozen(kw_only=True)
class ExecutionUpload:
    """One of several uploads of an execution. id: among the uploads of the DataSet."""

    execution: DomoStreamExecution
    id: int | str

    async def upload_part(self, part: int, rows: Csv, *, is_gzip: bool = False) -> None:
        """Send rows, as `DomoStreamExecution.upload_part` does; parts count from 1 within this upload.

        Source: PUT /api/data/v1/streams/{stream_id}/executions/{execution_id}/upload/{upload_id}/part/{part_id}
        """
        content, one = _part(part, rows, is_gzip=is_gzip), self.execution
        await stream_uploads.put_execution_upload_part(one.auth, *_place(one), self.id, part, content)
        one.parts_sent += 1

    async def commit(self, *, update_method: str, partition: str | None = None) -> None:
        """End this upload with the parts it was given; the execution goes on.

        update_method:  REPLACE, APPEND, UPSERT or DELETE: of the partition, if one is named, else of all rows.
        Source: PUT /api/data/v1/streams/{stream_id}/executions/{execution_id}/upload/{upload_id}/commit
        """
        _checked(update_method, None)
        one = self.execution
        await stream_uploads.commit_execution_upload(
            one.auth, *_place(one), self.id, update_method=update_method, partition=partition
        )


@entity
class DomoStream(DomoEntity):
    """What feeds a DataSet: a connector, or loads over the API. Works with both API families.

    update_method:  REPLACE, APPEND, UPSERT or DELETE.
    key_columns:    what tells rows apart, for UPSERT and DELETE; None where the answer does not tell.
    schedule, schedule_state, schedule_details:  when it runs: as a cron expression or MANUAL; MANUAL, ACTIVE or
                    INACTIVE; and in all details, such as {'type': 'DAY', 'at': '08:01 PM', 'timezone': 'UTC'}
                    (product API).
    """

    kind: ClassVar[str] = "STREAM"

    id: int = api("id", convert=as_id)
    dataset_id: str | None = api("dataSet", "dataSource", convert=_dataset_id)
    update_method: str | None = api("updateMethod", convert=as_text)
    key_columns: list[str] | None = api("keyColumnNames")
    schedule_state: str | None = api("scheduleState", convert=as_text)
    schedule: str | None = api("scheduleExpression", convert=as_text)
    schedule_details: dict[str, Any] | None = api("advancedScheduleJson", convert=_schedule)
    created_at: datetime | None = api("createdAt", convert=as_time)
    modified_at: datetime | None = api("modifiedAt", convert=as_time)

    @classmethod
    async def get_by_id(cls, auth: Auth, stream_id: int | str, /) -> Self:
        """The stream with this id. Source: GET /api/data/v1/streams/{stream_id}, GET /v1/streams/{stream_id}"""
        return cls.from_json(auth, await _streams(auth).get_stream_by_id(auth, stream_id))

    @classmethod
    async def get_by_dataset(cls, auth: Auth, dataset_id: str) -> Self:
        """The stream that feeds a DataSet. Source: GET /api/data/v1/streams/lookup, GET /v1/streams/search

        Raises: NotFoundError.
        """
        found = await _streams(auth).find_stream(auth, dataset_id)
        if found is None:
            raise NotFoundError(
                f"no stream feeds DataSet {dataset_id}",
                asked="search of streams",
                status=200,
                hint="A DataSet that was created over the product API without a key has none.",
            )
        return cls.from_json(auth, found)

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All streams the caller may see. Source: GET /api/data/v1/streams, GET /v1/streams"""
        listed = _streams(auth).list_streams
        return Pager(lambda offset, limit: listed(auth, offset, limit), lambda obj: cls.from_json(auth, obj), size=500)

    @classmethod
    def search(cls, auth: Auth, *, owner: Any = None, dataset_name: str | None = None) -> Pager[Self]:
        """Streams by the owner of their DataSet (entity or id), or by its name; one of the two.

        dataset_name:  `*` stands for anything (product API).
        Source: GET /api/data/v1/streams/search, GET /v1/streams/search
        """
        if (owner is None) == (dataset_name is None):
            raise InvalidInputError("pass owner= or dataset_name=, one of the two: Domo takes one at a time")
        if dataset_name is not None:
            require_family(auth, "product", asked="search of streams by the name of their DataSet")
        query = (
            f"dataSource.name:{dataset_name}"
            if owner is None
            else f"dataSource.owner.id:{id_of(owner, 'owner', 'USER')}"
        )
        return Pager.of_list(lambda: _streams(auth).search_streams(auth, query), lambda obj: cls.from_json(auth, obj))

    @classmethod
    async def create(
        cls,
        auth: Auth,
        name: str,
        *,
        schema: Any,
        description: str = "",
        update_method: str = "REPLACE",
        key_columns: Sequence[str] = (),
    ) -> Self:
        """Create a stream together with a new DataSet, which it feeds; `.dataset_id` tells which.

        name, schema:  of the DataSet; see `DomoDataset.create`.
        key_columns:   what tells rows apart, for UPSERT and DELETE.
        Source: POST /api/data/v1/streams, POST /v1/streams
        """
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError("a DataSet needs a name")
        columns, keys = Schema.of(schema), _checked(update_method, key_columns)
        if unknown := [one for one in keys or () if one not in columns.names]:
            raise InvalidInputError(f"key_columns: there is no column {', '.join(map(repr, unknown))}")
        if update_method in ("UPSERT", "DELETE") and not keys:
            raise InvalidInputError(f"{update_method} needs key_columns=, the columns that tell rows apart")
        made = await _streams(auth).create_stream(
            auth,
            name=name,
            description=description,
            columns=columns.to_wire(),
            update_method=update_method,
            key_columns=keys or (),
        )
        return await cls.get_by_id(auth, member(made, "id"))

    async def update(self, *, update_method: str, key_columns: Sequence[str] | None = None) -> Self:
        """Change how loads update the DataSet.

        update_method:  REPLACE, APPEND or UPSERT; or DELETE, of the rows whose key a load names.
        key_columns:    what tells rows apart, for UPSERT and DELETE; None leaves them as they are.
        Source: PUT /api/data/v1/streams/{stream_id}, PATCH /v1/streams/{stream_id}
        """
        keys = _checked(update_method, key_columns)
        await _streams(self.auth).update_stream(self.auth, self.id, update_method=update_method, key_columns=keys)
        return await self.refresh()

    async def set_schedule(self, details: Mapping[str, Any]) -> Self:
        """Set when it runs: what `schedule_details` gives. Returns itself, as Domo has it afterwards.

        Source: PUT /api/data/v1/streams/{stream_id}/schedule (product API)
        """
        if not isinstance(details, Mapping) or not isinstance(details.get("type"), str):  # pyright: ignore
            raise InvalidInputError("a schedule is a dict with a 'type': {'type': 'MANUAL', 'timezone': 'UTC'}")
        await product.set_schedule(self.auth, self.id, json.dumps(dict(details)))
        return await self.refresh()

    async def set_schedule_state(self, state: str) -> Self:
        """Let its schedule rest (INACTIVE), or count (ACTIVE), or run it by hand alone (MANUAL).

        Source: POST /api/data/v1/streams/{stream_id}/scheduleState/{schedule_state} (product API)
        """
        if state not in SCHEDULE_STATES:
            raise InvalidInputError(f"state cannot be {state!r}; use {', '.join(SCHEDULE_STATES)}")
        await product.set_schedule_state(self.auth, self.id, state)
        return await self.refresh()

    async def delete(self, *, missing_ok: bool = False) -> None:
        """Delete the stream; its DataSet stays.

        missing_ok:  that it is gone already is no error.
        Source: DELETE /api/data/v1/streams/{stream_id}, DELETE /v1/streams/{stream_id}
        """
        with unless_gone(missing_ok):
            await _streams(self.auth).delete_stream(self.auth, self.id)

    async def get_dataset(self) -> "DomoDataset":
        """The DataSet that it feeds."""
        return await class_for(self.auth, "DATA_SOURCE").get_by_id(self.auth, self.dataset_id)

    def get_executions(self) -> Pager[DomoStreamExecution]:
        """Its executions.

        Source: GET /api/data/v1/streams/{stream_id}/executions (the oldest first), GET /v1/streams/{id}/executions
        """
        listed = _streams(self.auth).list_executions
        return Pager(lambda offset, limit: listed(self.auth, self.id, offset, limit), self._execution, size=500)

    async def get_execution(self, execution_id: int | str) -> DomoStreamExecution:
        """One of its executions. Source: GET …/streams/{stream_id}/executions/{execution_id}"""
        return self._execution(await _streams(self.auth).get_execution(self.auth, self.id, execution_id))

    async def run(self, *, abort_running: bool = False) -> DomoStreamExecution:
        """Start an execution now, of its connector if it has one.

        abort_running:  stop one that runs already, which is refused otherwise.
        Source: POST …/streams/{stream_id}/executions
        """
        if abort_running:
            await self.abort_running()
        return self._execution(await _streams(self.auth).start_execution(self.auth, self.id))

    async def abort_running(self) -> None:
        """Stop the execution that runs, if one does; the DataSet stays as it was.

        Source: POST /api/data/v1/streams/{stream_id}/executions/abort, PUT /v1/streams/{stream_id}/executions/abort
        """
        with unless_gone(self.auth.family == "platform"):  # which says so where nothing runs
            await _streams(self.auth).abort_running(self.auth, self.id)

    def _execution(self, obj: Json) -> Any:
        return class_for(self.auth, "STREAM_EXECUTION").from_json(self.auth, {"streamId": self.id, **obj})


def _place(execution: DomoStreamExecution) -> tuple[int | str, int]:
    return member({"stream": execution.stream_id}, "stream"), execution.id


def _part(part: int, rows: Csv, *, is_gzip: bool) -> Content:
    if isinstance(part, bool) or not isinstance(part, int) or part < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInputError(f"parts count from 1, so part cannot be {part!r}")
    if not isinstance(rows, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInputError("rows is CSV, as bytes; frames and files go in by DomoDataset.replace(…)")
    return Content(rows, "text/csv", "gzip" if is_gzip else None)


def _checked(update_method: str, key_columns: Any) -> list[str] | None:
    if update_method not in UPDATE_METHODS:  # Domo would take a misspelt one for REPLACE
        raise InvalidInputError(f"update_method cannot be {update_method!r}; use {', '.join(UPDATE_METHODS)}")
    return None if key_columns is None else texts_of(key_columns, "key_columns")
