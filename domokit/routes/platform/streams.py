"""Streams of the platform API: what feeds a DataSet in parts, one execution at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

from domokit.auth import Auth
from domokit.transport import EVEN_500, Content, Json, platform, send

LIST_STREAMS = platform("GET", "/v1/streams", returns=list)
SEARCH_STREAMS = platform("GET", "/v1/streams/search", returns=list)
GET_STREAM = platform("GET", "/v1/streams/{stream_id}")
CREATE_STREAM = platform("POST", "/v1/streams")
UPDATE_STREAM = platform("PATCH", "/v1/streams/{stream_id}", returns=None, repeatable=True)
DELETE_STREAM = platform("DELETE", "/v1/streams/{stream_id}", returns=None)
START_EXECUTION = platform("POST", "/v1/streams/{stream_id}/executions")
LIST_EXECUTIONS = platform("GET", "/v1/streams/{stream_id}/executions", returns=list)
GET_EXECUTION = platform("GET", "/v1/streams/{stream_id}/executions/{execution_id}")
UPLOAD_PART = platform(  # sent again even after a 500: its number sees to it that it counts once
    "PUT", "/v1/streams/{stream_id}/executions/{execution_id}/part/{part}", returns=None, retried=EVEN_500
)
COMMIT_EXECUTION = platform("PUT", "/v1/streams/{stream_id}/executions/{execution_id}/commit", repeatable=False)
ABORT_EXECUTION = platform("PUT", "/v1/streams/{stream_id}/executions/{execution_id}/abort", returns=None)
ABORT_RUNNING = platform("PUT", "/v1/streams/{stream_id}/executions/abort", returns=None)


async def list_streams(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of streams, 500 at most. Source: GET /v1/streams"""
    return await send(auth, LIST_STREAMS, params={"offset": offset, "limit": limit, "fields": "all"})


async def search_streams(auth: Auth, query: str) -> list[Json]:
    """Streams that match a qualifier, all at once: dataSource.id:… or dataSource.owner.id:…

    Source: GET /v1/streams/search
    """
    return await send(auth, SEARCH_STREAMS, params={"q": query, "fields": "all"})


async def find_stream(auth: Auth, dataset_id: str) -> Json | None:
    """The stream that feeds a DataSet, or None. Source: GET /v1/streams/search"""
    params = {"q": f"dataSource.id:{dataset_id}", "fields": "all"}
    for found in await send(auth, SEARCH_STREAMS, params=params):
        if (found.get("dataSet") or {}).get("id") == dataset_id:
            return found
    return None


async def get_stream_by_id(auth: Auth, stream_id: int | str) -> Json:
    """One stream. Source: GET /v1/streams/{stream_id}"""
    return await send(auth, GET_STREAM, params={"fields": "all"}, stream_id=stream_id)


async def create_stream(
    auth: Auth,
    *,
    name: str,
    description: str,
    columns: Sequence[Mapping[str, str]],
    update_method: str,
    key_columns: Sequence[str] = (),
) -> Json:
    """Create a stream together with a new DataSet. Source: POST /v1/streams"""
    dataset = {"name": name, "description": description, "schema": {"columns": list(columns)}}
    body: dict[str, Any] = {"dataSet": dataset, "updateMethod": update_method}
    if key_columns:
        body["keyColumnNames"] = list(key_columns)
    return await send(auth, CREATE_STREAM, json=body)


async def update_stream(
    auth: Auth, stream_id: int | str, *, update_method: str, key_columns: Sequence[str] | None = None
) -> None:
    """Change how loads update the DataSet. Source: PATCH /v1/streams/{stream_id}"""
    body: dict[str, Any] = {"updateMethod": update_method}
    if key_columns is not None:
        body["keyColumnNames"] = list(key_columns)
    await send(auth, UPDATE_STREAM, json=body, stream_id=stream_id)


async def delete_stream(auth: Auth, stream_id: int | str) -> None:
    """Delete a stream; its DataSet stays. Source: DELETE /v1/streams/{stream_id}"""
    await send(auth, DELETE_STREAM, stream_id=stream_id)


async def start_execution(auth: Auth, stream_id: int | str, *, update_method: str | None = None) -> Json:
    """Open an execution, to take parts. Source: POST /v1/streams/{stream_id}/executions

    update_method:  for this execution alone; None for the stream's own.
    """
    body = {"updateMethod": update_method} if update_method else None
    return await send(auth, START_EXECUTION, json=body, stream_id=stream_id)


async def list_executions(auth: Auth, stream_id: int | str, offset: int, limit: int) -> list[Json]:
    """One page of executions, 500 at most. Source: GET /v1/streams/{stream_id}/executions"""
    return await send(auth, LIST_EXECUTIONS, params={"offset": offset, "limit": limit}, stream_id=stream_id)


async def get_execution(auth: Auth, stream_id: int | str, execution_id: int | str) -> Json:
    """One execution. Source: GET /v1/streams/{stream_id}/executions/{execution_id}"""
    return await send(auth, GET_EXECUTION, stream_id=stream_id, execution_id=execution_id)


async def upload_part(auth: Auth, stream_id: int | str, execution_id: int | str, part: int, content: Content) -> None:
    """Send the rows of one part, numbered from 1 without gaps; the same number again replaces it.

    Source: PUT /v1/streams/{stream_id}/executions/{execution_id}/part/{part_id}
    """
    await send(auth, UPLOAD_PART, content=content, stream_id=stream_id, execution_id=execution_id, part=part)


async def commit_execution(auth: Auth, stream_id: int | str, execution_id: int | str) -> Json:
    """End an execution with all its parts; the rows show when it is indexed.

    Source: PUT /v1/streams/{stream_id}/executions/{execution_id}/commit
    """
    return await send(auth, COMMIT_EXECUTION, stream_id=stream_id, execution_id=execution_id)


async def abort_execution(auth: Auth, stream_id: int | str, execution_id: int | str) -> None:
    """Discard an execution and its parts. Source: PUT /v1/streams/{stream_id}/executions/{execution_id}/abort"""
    await send(auth, ABORT_EXECUTION, stream_id=stream_id, execution_id=execution_id)


async def abort_running(auth: Auth, stream_id: int | str) -> None:
    """Stop whatever runs. Source: PUT /v1/streams/{stream_id}/executions/abort. Raises: NotFoundError, if none does."""
    await send(auth, ABORT_RUNNING, stream_id=stream_id)
