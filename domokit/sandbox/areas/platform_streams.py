"""Streams of the platform API and their executions."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

from .. import loading
from ..clock import iso_z
from ..dataset_access import columns_of, readable, visible, writable
from ..dataset_shapes import platform as shown_dataset
from ..model import Dataset, Execution, Stream
from ..wire import Area, Call, Refusal, as_object, empty, list_at, reply

area = Area("platform", scope="data")
PATH = "/v1/streams"
ONE = PATH + "/{stream_id}"
EXECUTIONS = ONE + "/executions"
EXECUTION = EXECUTIONS + "/{execution_id}"
MOST = 500  # rows a page


def update_method(value: Any, default: str) -> str:
    """As Domo knows them; 400 for a word that it does not know."""
    if value in (None, ""):
        return default
    if value not in loading.ACTIONS:
        raise Refusal(400, f"Unknown updateMethod {value}")
    return str(value)


def new_dataset(call: Call, name: Any, description: Any, schema: Any) -> Dataset:
    """The dataset that is made together with a stream."""
    call.require("dataset.create")
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "A dataset needs a name")
    now = call.now()
    dataset = Dataset(
        id=str(uuid.uuid4()),
        name=name,
        description=str(description or ""),
        owner_id=call.user.id,
        rows=0,
        columns=columns_of(schema),
        created=now,
        modified=now,
    )
    call.state.datasets[dataset.id] = dataset
    return dataset


def new_stream(call: Call, dataset: Dataset, method: str, key: list[str], details: dict[str, Any]) -> Stream:
    now = call.now()
    stream = Stream(call.state.next_id("streams"), dataset.id, call.user.id, method, now, now, key, details)
    call.state.streams[stream.id] = stream
    return stream


def key_columns(dataset_columns: list[dict[str, str]], value: list[Any]) -> list[str]:
    names = {column["name"] for column in dataset_columns}
    if unknown := [str(each) for each in value if each not in names]:
        raise Refusal(400, f"Unknown key column {', '.join(unknown)}")
    return [str(each) for each in value]


def held(call: Call, *, to_write: bool = False) -> tuple[Stream, Dataset]:
    """The stream of the path and its dataset; 404 for one that there is not."""
    stream = call.state.streams.get(call.number("stream_id"))
    if stream is None or stream.deleted or stream.dataset_id not in call.state.datasets:
        raise Refusal(404, "No such stream")
    return stream, (writable if to_write else readable)(call, stream.dataset_id)


def execution_of(call: Call, stream: Stream, *, is_open: bool = False) -> Execution:
    number = call.number("execution_id")
    execution = call.state.executions.get(f"{stream.id}/{number}")
    if execution is None:
        raise Refusal(404, f"No execution {number}")
    if is_open and (execution.state != "ACTIVE" or execution.phase == "INDEX" or _is_ending(call, execution)):
        raise Refusal(404, f"Execution {number} takes nothing any more")
    return execution


def _is_ending(call: Call, execution: Execution) -> bool:
    """Whether its parts become rows right now."""
    upload = call.state.uploads.get(execution.upload_id or 0)
    return upload is not None and upload.state == "committing"


def executions_of(call: Call, stream: Stream) -> list[Execution]:
    return sorted(
        (each for each in call.state.executions.values() if each.stream_id == stream.id),
        key=lambda each: each.number,
    )


def begin(call: Call, stream: Stream, dataset: Dataset, method: str, tag: str | None = None) -> Execution:
    """Start an execution, with an upload to take its parts."""
    number = call.state.next_id(f"executions of {stream.id}")
    now = call.now()
    upload = loading.start(call, dataset, action=method, tag=tag)
    execution = Execution(
        id=f"{stream.id}/{number}",
        stream_id=stream.id,
        number=number,
        update_method=method,
        started=now,
        modified=now,
        phase="IMPORT",
        upload_id=upload.id,
        started_by=call.user.id,
    )
    upload.stream_id, upload.execution_id = stream.id, number
    call.state.executions[execution.id] = execution
    return execution


async def stop(call: Call, execution: Execution) -> None:
    """Discard what an execution was given; the dataset stays as it was."""
    if _is_ending(call, execution):
        return  # too late
    upload = call.state.uploads.get(execution.upload_id or 0)
    if upload is not None and upload.state == "open":
        await loading.abort(call, upload)
    execution.state, execution.phase = "ERROR", "FINAL"
    execution.ended = execution.modified = call.now()
    execution.errors = [{"code": "ABORTED", "category": "USER", "message": "The execution was aborted"}]


def _refuse_haste(call: Call, execution: Execution) -> None:
    """400 within the sandbox's `commit_seconds` after the last commit of the stream."""
    limit = call.sandbox.commit_seconds
    for each in executions_of(call, call.state.streams[execution.stream_id]) if limit else ():
        request = call.state.index_requests.get(each.index_request or "")
        if request is not None and call.now() < request.requested + limit * 1000:
            raise Refusal(400, f"A stream can be committed once in {limit / 60:g} minutes")


async def end(call: Call, execution: Execution, dataset: Dataset) -> None:
    """Commit an execution with the parts it was given."""
    upload = loading.open_upload(call, dataset, execution.upload_id or 0)
    _refuse_haste(call, execution)
    version, request = await loading.commit(call, dataset, upload, action=execution.update_method)
    assert request is not None
    loading.finish(call, execution, request, version)


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


def visible_streams(call: Call) -> list[Stream]:
    seen = {dataset.id for dataset in visible(call.state, call.user)}
    return [each for each in call.state.streams.values() if not each.deleted and each.dataset_id in seen]


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
    dataset = new_dataset(call, given.get("name"), given.get("description"), given.get("schema"))
    stream = new_stream(call, dataset, method, key, {})
    return reply(_shown(call, stream), 201, {"Location": f"/v1/streams/{stream.id}"})


@area.on("GET", PATH)
async def list_streams(call: Call) -> Any:
    return [_shown(call, each) for each in visible_streams(call)[call.page(limit=50, most=MOST)]]


def searched(call: Call) -> list[Stream]:
    """What `q` finds, one qualifier: dataSource.id, dataSource.owner.id or dataSource.name."""
    qualifier, _, wanted = call.query.get("q", "").partition(":")
    reads: dict[str, Callable[[Dataset], str]] = {
        "dataSource.id": lambda dataset: dataset.id,
        "dataSource.owner.id": lambda dataset: str(dataset.owner_id),
        "dataSource.name": lambda dataset: dataset.name,
    }
    if (read := reads.get(qualifier)) is None:
        raise Refusal(400, "q must have one of the qualifiers dataSource.id, dataSource.owner.id")
    # A star in a name stands for anything.
    parts = wanted.split("*") if qualifier == "dataSource.name" else [wanted]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    return [each for each in visible_streams(call) if pattern.fullmatch(read(call.state.datasets[each.dataset_id]))]


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
    if upload is None or not upload.parts:
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
    running = [each for each in executions_of(call, stream) if each.state == "ACTIVE" and each.phase != "INDEX"]
    if not running:
        raise Refusal(404, "There is nothing to abort")
    for execution in running:
        await stop(call, execution)
    return empty(204)
