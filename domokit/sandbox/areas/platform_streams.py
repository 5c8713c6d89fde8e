"""Streams of the platform API and their executions."""

from __future__ import annotations

from typing import Any

from .. import loading
from ..clock import iso_z
from ..dataset_access import columns_of
from ..dataset_shapes import platform as shown_dataset
from ..executions import (
    begin,
    end,
    execution_of,
    executions_of,
    held,
    is_running,
    key_columns,
    new_dataset,
    new_stream,
    searched,
    stop,
    update_method,
    visible_streams,
)
from ..model import Execution, Stream
from ..replies import empty, reply
from ..wire import Area, Call, Refusal, as_object, list_at

area = Area("platform", scope="data")
PATH = "/v1/streams"
ONE = PATH + "/{stream_id}"
EXECUTIONS = ONE + "/executions"
EXECUTION = EXECUTIONS + "/{execution_id}"
MOST = 500  # rows a page


def _shown(call: Call, stream: Stream) -> dict[str, Any]:
    dataset = call.state.datasets[stream.dataset_id]
    row = shown_dataset(call.state, dataset)
    row.pop("dataCurrentAt", None)
    row["columns"] = len(dataset.columns)
    shown: dict[str, Any] = {
        "id": stream.id,
        "dataSet": row,
        "updateMethod": stream.update_method,
        "createdAt": iso_z(stream.created),
        "modifiedAt": iso_z(stream.modified),
    }
    return shown | ({"keyColumnNames": stream.key_columns} if stream.key_columns else {})


def _execution(execution: Execution) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": execution.number,
        "startedAt": iso_z(execution.started),
        "currentState": execution.state,
        "createdAt": iso_z(execution.started),
        "modifiedAt": iso_z(execution.modified),
    }
    if execution.ended is not None:
        row |= {"endedAt": iso_z(execution.ended), "updateMethod": execution.update_method}
    return row


@area.on("POST", PATH)
async def create(call: Call) -> Any:
    """A stream always comes with a new dataset."""
    body = call.json_object()
    given = as_object(body.get("dataSet"))
    if given is None:
        raise Refusal(400, "dataSet is required")
    method = update_method(body.get("updateMethod"), "REPLACE")
    columns = columns_of(given.get("schema"))
    key = key_columns(columns, list_at(body, "keyColumnNames"))
    dataset = new_dataset(call, given.get("name"), given.get("description"), columns)
    stream = new_stream(call, dataset, method, key, {})
    return reply(_shown(call, stream), 201, {"Location": f"/v1/streams/{stream.id}"})


@area.on("GET", PATH)
async def list_streams(call: Call) -> Any:
    return [_shown(call, each) for each in visible_streams(call)[call.page(limit=50, most=MOST)]]


@area.on("GET", PATH + "/search")
async def search(call: Call) -> Any:
    return [_shown(call, each) for each in searched(call)]


@area.on("GET", ONE)
async def get(call: Call) -> Any:
    return _shown(call, held(call)[0])


@area.on("PATCH", ONE)
async def update(call: Call) -> Any:
    stream, dataset = held(call, to_write=True)
    body = call.json_object() if call.body.strip() else {}
    stream.update_method = update_method(
        body.get("updateMethod") or call.query.get("updateMethod"), stream.update_method
    )
    if "keyColumnNames" in body:
        stream.key_columns = key_columns(dataset.columns, list_at(body, "keyColumnNames"))
    stream.modified = call.now()
    return _shown(call, stream)


@area.on("DELETE", ONE)
async def delete(call: Call) -> Any:
    """The dataset stays."""
    stream, _ = held(call, to_write=True)
    del call.state.streams[stream.id]
    return empty(204)


@area.on("POST", EXECUTIONS)
async def start(call: Call) -> Any:
    """An empty body is taken. What a second one does while another runs is not documented: here it starts as well."""
    stream, dataset = held(call, to_write=True)
    body = call.json_object() if call.body.strip() else {}
    method = update_method(body.get("updateMethod"), stream.update_method)
    return reply(_execution(begin(call, stream, dataset, method)), 201)


@area.on("GET", EXECUTIONS)
async def list_executions(call: Call) -> Any:
    found = executions_of(call, held(call)[0])
    return [_execution(each) for each in found[call.page(limit=50, most=MOST)]]


@area.on("GET", EXECUTION)
async def get_execution(call: Call) -> Any:
    return _execution(execution_of(call, held(call)[0]))


@area.on("PUT", EXECUTION + "/part/{part_id}")
async def part(call: Call) -> Any:
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    upload = loading.open_upload(call, dataset, execution.upload_id or 0)
    await loading.put_part(call, dataset, upload, call.number("part_id"))
    return _execution(execution)


@area.on("PUT", EXECUTION + "/commit")
async def commit(call: Call) -> Any:
    """The answer is that of an execution still ACTIVE: the rows show later."""
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    upload = call.state.uploads.get(execution.upload_id or 0)
    if not execution.versions and (upload is None or not upload.parts):
        raise Refusal(400, "The execution has no parts")
    await end(call, execution, dataset)
    return _execution(execution)


@area.on("PUT", EXECUTION + "/abort")
async def abort(call: Call) -> Any:
    stream, _ = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    await stop(call, execution)
    return _execution(execution)


@area.on("PUT", EXECUTIONS + "/abort")
async def abort_current(call: Call) -> Any:
    stream, _ = held(call, to_write=True)
    running = [each for each in executions_of(call, stream) if is_running(each)]
    if not running:
        raise Refusal(404, "There is nothing to abort")
    for execution in running:
        await stop(call, execution)
    return empty(204)
