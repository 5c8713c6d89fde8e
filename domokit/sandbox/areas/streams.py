"""Streams of the product API: what feeds datasets, when, and its executions. Times are epoch seconds here."""

from __future__ import annotations

import json
from collections.abc import Collection
from hashlib import sha256
from typing import Any

from .. import loading, vault
from ..dataset_access import columns_of, readable, set_columns
from ..executions import (
    commit_upload,
    end,
    execution_of,
    executions_of,
    held,
    is_running,
    key_columns,
    new_dataset,
    new_stream,
    run,
    searched,
    stop,
    update_method,
    upload_of,
    visible_streams,
)
from ..model import Dataset, Execution, Stream
from ..replies import reply
from ..wire import Area, Call, Refusal, as_object, list_at

area = Area("product")
PATH = "/api/data/v1/streams"
ONE = PATH + "/{stream_id}"
EXECUTIONS = ONE + "/executions"
EXECUTION = EXECUTIONS + "/{execution_id}"
UPLOAD = EXECUTION + "/upload/{upload_id}"
# What a client may set, beside the columns and the method; it comes back as it was given.
DETAILS = (
    "transport",
    "dataProvider",
    "configuration",
    "account",
    "accounts",
    "scheduleState",
    "scheduleExpression",
    "scheduleStartDate",
    "scheduleRetryExpression",
    "scheduleRetryCount",
    "advancedScheduleJson",
)
DEFAULTS: dict[str, Any] = {
    "transport": {"type": "API", "description": "API", "version": "1"},
    "dataProvider": {"key": "api", "name": "API"},
    "configuration": [],
    "scheduleState": "MANUAL",
    "scheduleExpression": "MANUAL",
    "advancedScheduleJson": '{"type":"MANUAL","timezone":"UTC"}',
}
STATES = ("MANUAL", "ACTIVE", "INACTIVE")


def _shown(call: Call, stream: Stream, *, whole: bool) -> dict[str, Any]:
    """`whole` is what fields=all gives; else schema, configuration and accounts are left out."""
    dataset = call.state.datasets[stream.dataset_id]
    details = DEFAULTS | stream.details
    shown: dict[str, Any] = {
        "id": stream.id,
        "createdAt": stream.created // 1000,
        "modifiedAt": stream.modified // 1000,
        "createdBy": stream.owner_id,
        "updateMethod": stream.update_method,
        "dataSource": {"id": dataset.id, "name": dataset.name},
        "valid": True,
    }
    light = ("scheduleState", "scheduleExpression", "transport", "dataProvider")
    shown |= {name: details[name] for name in DETAILS if name in details and (whole or name in light)}
    if whole:
        shown["schemaDefinition"] = {"columns": dataset.columns}
        if stream.key_columns:
            shown["keyColumnNames"] = stream.key_columns
    if executions := executions_of(call, stream):
        last = executions[-1]
        shown["currentExecutionState"] = last.state
        shown["currentExecution"] = {
            "executionId": last.number,
            "currentState": last.state,
            "startedAt": last.started // 1000,
            "endedAt": None if last.ended is None else last.ended // 1000,
        }
    return shown


def _trace(execution: Execution) -> str:
    """The support trace id of a run, the same each time: shaped like those of errors."""
    digits = sha256(f"{execution.id} {execution.started}".encode()).hexdigest().upper()
    return f"{digits[:10]}-{digits[10:15]}-{digits[15:20]}"


def _execution(execution: Execution) -> dict[str, Any]:
    key = execution.index_request
    return {
        "streamId": execution.stream_id,
        "executionId": execution.number,
        "toe": _trace(execution),
        "startedAt": execution.started // 1000,
        "endedAt": None if execution.ended is None else execution.ended // 1000,
        "createdAt": execution.started // 1000,
        "modifiedAt": execution.modified // 1000,
        "currentState": execution.state,
        "currentPhase": execution.phase,
        "updateMethod": execution.update_method,
        "runType": "API",
        "index": True,
        "indexRequestKey": None if key is None else float(key),  # a number here, a text where it is asked for
        "rowsInserted": execution.rows,
        "bytesInserted": execution.bytes,
        "startedBy": str(execution.started_by),
        "retryCount": 0,
        "errors": execution.errors,
    }


def _is_whole(call: Call) -> bool:
    return call.query.get("fields") == "all"


def _details(body: dict[str, Any]) -> dict[str, Any]:
    """All of them: what is left out is reset."""
    details = {name: body[name] for name in DETAILS if body.get(name) is not None}
    if (state := details.get("scheduleState")) is not None and state not in STATES:
        raise Refusal(400, f"Unknown scheduleState {state}")
    return details


def _is_connector(body: dict[str, Any]) -> bool:
    return (as_object(body.get("transport")) or {}).get("type") == "CONNECTOR"


def _columns(body: dict[str, Any], before: list[dict[str, str]]) -> list[dict[str, str]]:
    """A connector may leave them out: its first run finds them."""
    schema = as_object(body.get("schemaDefinition")) or {}
    return before if _is_connector(body) and not schema.get("columns") else columns_of(schema)


def _accounts(call: Call, body: dict[str, Any], before: Collection[int] = ()) -> list[int]:
    """Those that the stream signs in with; the caller must be able to use any that are new."""
    wanted = vault.accounts_of(body)
    try:
        for account_id in set(wanted).difference(before):
            vault.find(call, account_id)
    except Refusal as refusal:
        raise Refusal(400 if refusal.status == 404 else refusal.status, refusal.message) from None
    return wanted


def _feed(stream: Stream, dataset: Dataset, accounts: list[int]) -> None:
    """What the dataset shows of its stream."""
    details = DEFAULTS | stream.details
    dataset.takes_data = not _is_connector(details)
    dataset.provider = str((as_object(details["dataProvider"]) or {}).get("key") or "api")
    dataset.account_id = accounts[0] if accounts else None


@area.on("GET", PATH)
async def list_streams(call: Call) -> Any:
    found = visible_streams(call)[call.page(limit=50, most=500)]
    return [_shown(call, each, whole=_is_whole(call)) for each in found]


@area.on("GET", PATH + "/lookup")
async def look_up(call: Call) -> Any:
    """A bare number."""
    dataset = readable(call, call.query.get("dataSourceId", ""))
    stream = loading.stream_of(call, dataset)
    if stream is None:
        raise Refusal(404, "No stream feeds this dataset")
    return stream.id


@area.on("GET", PATH + "/search")
async def search(call: Call) -> Any:
    return [_shown(call, each, whole=_is_whole(call)) for each in searched(call)]


@area.on("GET", PATH + "/bulk")
async def bulk(call: Call) -> Any:
    wanted = {part for text in call.query.getlist("streamId") for part in text.split(",")}
    return [_shown(call, each, whole=True) for each in visible_streams(call) if str(each.id) in wanted]


@area.on("POST", PATH)
async def create(call: Call) -> Any:
    """With a new dataset; a body that is read and sent back has its columns under schemaDefinition."""
    body = call.json_object()
    source = as_object(body.get("dataSource")) or {}
    method = update_method(body.get("updateMethod"), "REPLACE")
    columns, accounts = _columns(body, []), _accounts(call, body)
    key, details = key_columns(columns, list_at(body, "keyColumnNames")), _details(body)
    dataset = new_dataset(call, source.get("name"), source.get("description"), columns)
    stream = new_stream(call, dataset, method, key, details)
    _feed(stream, dataset, accounts)
    dataset.display_type = dataset.provider
    return reply(_shown(call, stream, whole=True), 201)


@area.on("GET", ONE)
async def get(call: Call) -> Any:
    return _shown(call, held(call)[0], whole=_is_whole(call))


@area.on("PUT", ONE)
async def update(call: Call) -> Any:
    """The whole object, as fields=all gave it: what is left out is reset."""
    stream, dataset = held(call, to_write=True)
    body = call.json_object()
    method = update_method(body.get("updateMethod"), "REPLACE")
    columns = _columns(body, dataset.columns) if body.get("schemaDefinition") else dataset.columns
    accounts = _accounts(call, body, vault.accounts_of(stream.details))
    stream.key_columns, stream.details = key_columns(columns, list_at(body, "keyColumnNames")), _details(body)
    if call.flag("changeUpdateMethod", True):
        stream.update_method = method
    _feed(stream, dataset, accounts)
    set_columns(call, dataset, columns)
    stream.modified = call.now()
    return _shown(call, stream, whole=True)


@area.on("DELETE", ONE)
async def delete(call: Call) -> None:
    """The dataset stays."""
    stream, _ = held(call, to_write=True)
    del call.state.streams[stream.id]


@area.on("PUT", ONE + "/schedule")
async def set_schedule(call: Call) -> None:
    """The body is a JSON text that holds the schedule as JSON."""
    stream, _ = held(call, to_write=True)
    text = call.json()
    try:
        schedule = as_object(json.loads(text)) if isinstance(text, str) else None
    except ValueError:
        schedule = None
    if schedule is None or not isinstance(schedule.get("type"), str):
        raise Refusal(400, "The schedule must be a text that holds a JSON object with a type")
    stream.details["advancedScheduleJson"] = text
    stream.modified = call.now()


@area.on("POST", ONE + "/scheduleState/{schedule_state}")
async def set_schedule_state(call: Call) -> None:
    stream, _ = held(call, to_write=True)
    state = call.params["schedule_state"].upper()
    if state not in STATES:
        raise Refusal(400, f"Unknown scheduleState {state}")
    stream.details["scheduleState"] = state
    stream.modified = call.now()


# executions


@area.on("GET", EXECUTIONS)
async def list_executions(call: Call) -> Any:
    """Ascending: the newest are on the last page."""
    found = executions_of(call, held(call)[0])
    return [_execution(each) for each in found[call.page(limit=50, most=500)]]


@area.on("POST", EXECUTIONS)
async def start(call: Call) -> Any:
    """One runs at a time; `abortRunning` makes way."""
    stream, dataset = held(call, to_write=True)
    running = [each for each in executions_of(call, stream) if each.state == "ACTIVE"]
    if running and not call.flag("abortRunning"):
        raise Refusal(409, f"Execution {running[-1].number} is running")
    for execution in running:
        await stop(call, execution)
    tag = call.query.get("restateDataTag") or call.query.get("dataTag")
    return reply(_execution(run(call, stream, dataset, tag)), 201)


@area.on("GET", EXECUTION)
async def get_execution(call: Call) -> Any:
    return _execution(execution_of(call, held(call)[0]))


@area.on("PUT", EXECUTION + "/abort")
async def abort(call: Call) -> Any:
    stream, _ = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    await stop(call, execution)
    return _execution(execution)


@area.on("POST", EXECUTIONS + "/abort")
async def abort_current(call: Call) -> None:
    stream, _ = held(call, to_write=True)
    for execution in executions_of(call, stream):
        if execution.state == "ACTIVE":
            await stop(call, execution)


@area.on("PUT", EXECUTION + "/commit")
async def commit(call: Call) -> Any:
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    tag = call.query.get("restateDataTag") or call.query.get("dataTag")
    if tag and (own := call.state.uploads.get(execution.upload_id or 0)) is not None:
        own.tag = tag
    await end(call, execution, dataset)
    return _execution(execution)


@area.on("POST", EXECUTION + "/index")
async def index(call: Call) -> Any:
    """Where uploads were committed, it commits the execution."""
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream)
    if is_running(execution) and execution.versions:
        request = await end(call, execution, dataset)
    else:
        request = loading.request_index(call, dataset)
    return {"requestKey": request.id, "requested": True, "requestedOn": request.requested, "dataTag": None}


@area.on("POST", EXECUTION + "/multi-part")
async def start_multipart(call: Call) -> Any:
    """An execution takes parts from its start; this is for those who ask first."""
    stream, _ = held(call, to_write=True)
    return reply(_execution(execution_of(call, stream, is_open=True)), 201)


@area.on("PUT", EXECUTION + "/part/{part_id}")
async def part(call: Call) -> Any:
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    upload = loading.open_upload(call, dataset, execution.upload_id or 0)
    await loading.put_part(call, dataset, upload, call.number("part_id"))
    return _execution(execution)


# several uploads in one execution


def _place(stream: Stream, dataset: Dataset, execution: Execution, upload_id: int) -> dict[str, Any]:
    return {
        "dataSourceId": dataset.id,
        "streamId": stream.id,
        "executionId": execution.number,
        "uploadId": upload_id,
    }


@area.on("POST", EXECUTION + "/upload")
async def upload_start(call: Call) -> Any:
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    upload = loading.start(call, dataset)
    upload.stream_id, upload.execution_id = stream.id, execution.number
    return reply(_place(stream, dataset, execution, upload.id) | {"requestedAsOf": upload.created}, 201)


@area.on("PUT", UPLOAD + "/part/{part_id}")
async def upload_part(call: Call) -> Any:
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    upload = upload_of(call, dataset, execution, call.number("upload_id"))
    await loading.put_part(call, dataset, upload, call.number("part_id"))
    return _place(stream, dataset, execution, upload.id) | {"uploadMessage": "ok", "uploadStatus": "ok"}


@area.on("PUT", UPLOAD + "/commit")
async def upload_commit(call: Call) -> Any:
    """The method and the partition are in the query, other than for an upload of the dataset.

    More uploads may follow; their rows become visible with the commit of the execution.
    """
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    upload = upload_of(call, dataset, execution, call.number("upload_id"))
    if not call.query.get("updateMethod"):
        raise Refusal(400, "updateMethod is required")
    upload.tag = call.query.get("dataTag") or upload.tag
    method = update_method(call.query.get("updateMethod"), "REPLACE")
    await commit_upload(call, execution, dataset, upload, method)
    size = {"rowCount": sum(rows for rows, _ in upload.parts.values()), "partCount": len(upload.parts)}
    place = _place(stream, dataset, execution, upload.id)
    return place | {"status": "success", "dataTag": upload.tag, "size": size}


@area.on("PUT", UPLOAD + "/abort")
async def upload_abort(call: Call) -> Any:
    stream, dataset = held(call, to_write=True)
    execution = execution_of(call, stream, is_open=True)
    upload = upload_of(call, dataset, execution, call.number("upload_id"))
    await loading.abort(call, upload)
    return _place(stream, dataset, execution, upload.id) | {"status": "aborted"}
