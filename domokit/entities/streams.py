"""Streams: what feeds DataSets, and their executions."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from domokit.auth import Auth
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
    many,
)
from domokit.entities.listing import Pager
from domokit.errors import InvalidInputError, NotFoundError
from domokit.routes.platform import streams as platform
from domokit.routes.product import streams as product
from domokit.transport import Json

if TYPE_CHECKING:
    from domokit.entities.datasets import DomoDataset

_streams = BothFamilies(product, platform)
UPDATE_METHODS = ("REPLACE", "APPEND", "UPSERT")


def _dataset_id(value: Any) -> str | None:
    return as_text(value.get("id")) if isinstance(value, dict) else None


@entity
class DomoStreamExecution(DomoEntity):
    """One run of a stream. state: ACTIVE, then SUCCESS, WARNING or ERROR; phase (product API): … INDEX, FINAL."""

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

    async def refresh(self) -> Self:
        """Fetch it anew and take over all fields; returns itself."""
        obj = await _streams(self.auth).get_execution(self.auth, self.stream_id, self.id)
        return self._take_over(type(self).from_json(self.auth, {"streamId": self.stream_id, **obj}))

    async def abort(self) -> None:
        """Stop it and discard what it was given; the DataSet stays as it was.

        Source: PUT …/streams/{stream_id}/executions/{execution_id}/abort
        """
        await _streams(self.auth).abort_execution(self.auth, self.stream_id, self.id)

    async def commit(self) -> Self:
        """End it with the parts it was given. Loads do that by themselves.

        Source: PUT …/streams/{stream_id}/executions/{execution_id}/commit
        """
        await _streams(self.auth).commit_execution(self.auth, self.stream_id, self.id)
        return await self.refresh()

    @property
    def _key(self) -> tuple[str, str, Any]:
        return self.kind, self.auth.place, (self.stream_id, self.id)  # ids count within a stream


@entity
class DomoStream(DomoEntity):
    """What feeds a DataSet: a connector, or loads over the API. Works with both API families.

    update_method:  REPLACE, APPEND or UPSERT.
    key_columns:    what tells rows apart, for UPSERT; None where the answer does not tell.
    """

    kind: ClassVar[str] = "STREAM"

    id: int = api("id", convert=as_id)
    dataset_id: str | None = api("dataSet", "dataSource", convert=_dataset_id)
    update_method: str | None = api("updateMethod", convert=as_text)
    key_columns: list[str] | None = api("keyColumnNames")
    schedule_state: str | None = api("scheduleState", convert=as_text)
    schedule: str | None = api("scheduleExpression", convert=as_text)
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

    async def update(self, *, update_method: str, key_columns: Sequence[str] | None = None) -> Self:
        """Change how loads update the DataSet.

        update_method:  REPLACE, APPEND or UPSERT.
        key_columns:    what tells rows apart, for UPSERT; None leaves them as they are.
        Source: PUT /api/data/v1/streams/{stream_id}, PATCH /v1/streams/{stream_id}
        """
        if update_method not in UPDATE_METHODS:  # Domo would take a misspelt one for REPLACE
            raise InvalidInputError(f"update_method cannot be {update_method!r}; use {', '.join(UPDATE_METHODS)}")
        keys = None if key_columns is None else many(key_columns, "key_columns")
        await _streams(self.auth).update_stream(self.auth, self.id, update_method=update_method, key_columns=keys)
        return await self.refresh()

    async def delete(self) -> None:
        """Delete the stream; its DataSet stays.

        Source: DELETE /api/data/v1/streams/{stream_id}, DELETE /v1/streams/{stream_id}
        """
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

    async def run(self) -> DomoStreamExecution:
        """Start an execution now, of its connector if it has one.

        Source: POST …/streams/{stream_id}/executions
        """
        return self._execution(await _streams(self.auth).start_execution(self.auth, self.id))

    def _execution(self, obj: Json) -> DomoStreamExecution:
        return class_for(self.auth, "STREAM_EXECUTION").from_json(self.auth, {"streamId": self.id, **obj})
