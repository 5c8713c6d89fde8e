"""Streams: what feeds a DataSet, and when."""

from collections.abc import Mapping, Sequence
from typing import Any

from domokit.auth import Auth
from domokit.errors import NotFoundError
from domokit.transport import Json, product, send

LIST_STREAMS = product("GET", "/api/data/v1/streams", returns=list)
LOOK_UP_STREAM = product("GET", "/api/data/v1/streams/lookup", returns=int | str)
SEARCH_STREAMS = product("GET", "/api/data/v1/streams/search", returns=list)
GET_STREAM = product("GET", "/api/data/v1/streams/{stream_id}")
CREATE_STREAM = product("POST", "/api/data/v1/streams")
UPDATE_STREAM = product("PUT", "/api/data/v1/streams/{stream_id}", returns=None)
DELETE_STREAM = product("DELETE", "/api/data/v1/streams/{stream_id}", returns=None)
SET_SCHEDULE = product("PUT", "/api/data/v1/streams/{stream_id}/schedule", returns=None)
SET_SCHEDULE_STATE = product(
    "POST", "/api/data/v1/streams/{stream_id}/scheduleState/{state}", returns=None, repeatable=True
)
START_EXECUTION = product("POST", "/api/data/v1/streams/{stream_id}/executions")
LIST_EXECUTIONS = product("GET", "/api/data/v1/streams/{stream_id}/executions", returns=list)
GET_EXECUTION = product("GET", "/api/data/v1/streams/{stream_id}/executions/{execution_id}")
COMMIT_EXECUTION = product("PUT", "/api/data/v1/streams/{stream_id}/executions/{execution_id}/commit", repeatable=False)
ABORT_EXECUTION = product("PUT", "/api/data/v1/streams/{stream_id}/executions/{execution_id}/abort", returns=None)
ABORT_RUNNING = product("POST", "/api/data/v1/streams/{stream_id}/executions/abort", returns=None, repeatable=True)


async def list_streams(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of streams. Source: GET /api/data/v1/streams"""
    return await send(auth, LIST_STREAMS, params={"offset": offset, "limit": limit})


async def search_streams(auth: Auth, query: str) -> list[Json]:
    """Streams that match a qualifier, all at once: dataSource.id:…, .name:…, .owner.id:…, transport.type:…

    Source: GET /api/data/v1/streams/search
    """
    return await send(auth, SEARCH_STREAMS, params={"q": query, "fields": "all"})


async def find_stream(auth: Auth, dataset_id: str) -> Json | None:
    """The stream that feeds a DataSet, or None. Source: GET /api/data/v1/streams/lookup"""
    try:
        stream_id = await send(auth, LOOK_UP_STREAM, params={"dataSourceId": dataset_id})
    except NotFoundError:
        return None
    return await get_stream_by_id(auth, stream_id)


async def get_stream_by_id(auth: Auth, stream_id: int | str) -> Json:
    """One stream, complete. Source: GET /api/data/v1/streams/{stream_id}"""
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
    """Create a stream together with a new DataSet. Source: POST /api/data/v1/streams"""
    body: dict[str, Any] = {
        "transport": {"type": "API", "description": "API", "version": "1"},
        "dataProvider": {"key": "api", "name": "API"},
        "updateMethod": update_method,
        "dataSource": {"name": name, "description": description},
        "schemaDefinition": {"columns": list(columns)},
        "configuration": [],
        "advancedScheduleJson": '{"type":"MANUAL","timezone":"UTC"}',
    }
    if key_columns:
        body["keyColumnNames"] = list(key_columns)
    return await send(auth, CREATE_STREAM, json=body)


async def update_stream(
    auth: Auth, stream_id: int | str, *, update_method: str, key_columns: Sequence[str] | None = None
) -> None:
    """Change how loads update the DataSet. What is left out is reset, so the stream is read and sent back whole.

    Source: GET and PUT /api/data/v1/streams/{stream_id}
    """
    now = dict(await get_stream_by_id(auth, stream_id))
    for name in ("lastExecution", "lastSuccessfulExecution"):
        now.pop(name, None)
    now["updateMethod"] = update_method
    if key_columns is not None:
        now["keyColumnNames"] = list(key_columns)
    await send(auth, UPDATE_STREAM, params={"changeUpdateMethod": True}, json=now, stream_id=stream_id)


async def delete_stream(auth: Auth, stream_id: int | str) -> None:
    """Delete a stream. Source: DELETE /api/data/v1/streams/{stream_id}"""
    await send(auth, DELETE_STREAM, stream_id=stream_id)


async def set_schedule(auth: Auth, stream_id: int | str, schedule: str) -> None:
    """Set when it runs. Source: PUT /api/data/v1/streams/{stream_id}/schedule

    schedule:  the schedule as JSON text, which is sent as a text: {"type": "DAY", "at": "08:01 PM", "timezone": "UTC"}.
    """
    await send(auth, SET_SCHEDULE, json=schedule, stream_id=stream_id)


async def set_schedule_state(auth: Auth, stream_id: int | str, state: str) -> None:
    """MANUAL, ACTIVE or INACTIVE. Source: POST /api/data/v1/streams/{stream_id}/scheduleState/{schedule_state}"""
    await send(auth, SET_SCHEDULE_STATE, stream_id=stream_id, state=state)


async def start_execution(auth: Auth, stream_id: int | str, *, update_method: str | None = None) -> Json:
    """Run a stream now: its connector, if it has one. Source: POST /api/data/v1/streams/{stream_id}/executions"""
    return await send(auth, START_EXECUTION, json={"runType": "MANUAL"}, stream_id=stream_id)


async def list_executions(auth: Auth, stream_id: int | str, offset: int, limit: int) -> list[Json]:
    """One page of executions, the oldest first. Source: GET /api/data/v1/streams/{stream_id}/executions"""
    return await send(auth, LIST_EXECUTIONS, params={"offset": offset, "limit": limit}, stream_id=stream_id)


async def get_execution(auth: Auth, stream_id: int | str, execution_id: int | str) -> Json:
    """One execution. Source: GET /api/data/v1/streams/{stream_id}/executions/{execution_id}"""
    return await send(auth, GET_EXECUTION, stream_id=stream_id, execution_id=execution_id)


async def commit_execution(auth: Auth, stream_id: int | str, execution_id: int | str) -> Json:
    """End an execution with what was uploaded.

    Source: PUT /api/data/v1/streams/{stream_id}/executions/{execution_id}/commit
    """
    return await send(auth, COMMIT_EXECUTION, stream_id=stream_id, execution_id=execution_id)


async def abort_execution(auth: Auth, stream_id: int | str, execution_id: int | str) -> None:
    """Stop an execution. Source: PUT /api/data/v1/streams/{stream_id}/executions/{execution_id}/abort"""
    body = {"category": "USER", "message": "stopped"}
    await send(auth, ABORT_EXECUTION, json=body, stream_id=stream_id, execution_id=execution_id)


async def abort_running(auth: Auth, stream_id: int | str) -> None:
    """Stop whatever runs. Source: POST /api/data/v1/streams/{stream_id}/executions/abort"""
    await send(auth, ABORT_RUNNING, stream_id=stream_id)
