"""Streams and their executions, whichever API asks for them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

from . import loading
from .dataset_access import readable, visible, writable
from .model import Dataset, DataVersion, Execution, IndexRequest, Stream, Upload
from .wire import Call, Refusal


def visible_streams(call: Call) -> list[Stream]:
    seen = {dataset.id for dataset in visible(call.state, call.user)}
    return [each for each in call.state.streams.values() if not each.deleted and each.dataset_id in seen]


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


def update_method(value: Any, default: str) -> str:
    """As Domo knows them; 400 for a word that it does not know."""
    if value in (None, ""):
        return default
    if value not in loading.METHODS:
        raise Refusal(400, f"Unknown updateMethod {value}")
    return str(value)


def new_dataset(call: Call, name: Any, description: Any, columns: list[dict[str, str]]) -> Dataset:
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
        columns=columns,
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
    if is_open and not is_running(execution):
        raise Refusal(404, f"Execution {number} takes nothing any more")
    return execution


def is_running(execution: Execution) -> bool:
    """Whether it can still be given rows, and be aborted."""
    return execution.state == "ACTIVE" and execution.phase not in ("DATASTORE", "INDEX")


def upload_of(call: Call, dataset: Dataset, execution: Execution, upload_id: int) -> Upload:
    """404 for an upload that is not of this execution, and for one that takes nothing any more."""
    upload = loading.open_upload(call, dataset, upload_id)
    if upload not in _uploads_of(call, execution):
        raise Refusal(404, f"No upload {upload_id}")
    return upload


def _uploads_of(call: Call, execution: Execution) -> list[Upload]:
    place = execution.stream_id, execution.number
    return [each for each in call.state.uploads.values() if (each.stream_id, each.execution_id) == place]


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


def run(call: Call, stream: Stream, dataset: Dataset, tag: str | None = None) -> Execution:
    """Start an execution as a person does. That of a connector brings nothing here: it ends by itself with an index."""
    execution = begin(call, stream, dataset, stream.update_method, tag)
    if not dataset.takes_data and call.flag("startConnector", True):
        call.state.uploads[execution.upload_id or 0].state = "aborted"
        asked = [each.versions for each in call.company.pending if each.dataset_id == dataset.id]
        execution.index_request = loading.request_index(call, dataset, asked[-1] if asked else dataset.indexed).id
    return execution


async def stop(call: Call, execution: Execution) -> None:
    """Discard what an execution was given; the dataset stays as it was."""
    if not is_running(execution):
        return  # too late
    execution.state, execution.phase = "ERROR", "FINAL"
    execution.ended = execution.modified = call.now()
    execution.errors = [{"code": "ABORTED", "category": "USER", "message": "The execution was aborted"}]
    await _discard_open(call, execution)
    await loading.drop(call, execution.versions)


async def _discard_open(call: Call, execution: Execution) -> None:
    for upload in _uploads_of(call, execution):
        if upload.state == "open":
            await loading.abort(call, upload)


def _refuse_haste(call: Call, execution: Execution) -> None:
    """400 within the sandbox's `commit_seconds` after the last commit of the stream."""
    limit = call.company.commit_seconds
    for each in executions_of(call, call.state.streams[execution.stream_id]) if limit else ():
        request = call.state.index_requests.get(each.index_request or "")
        if request is not None and call.now() < request.requested + limit * 1000:
            raise Refusal(400, f"A stream can be committed once in {limit / 60:g} minutes")


async def commit_upload(call: Call, execution: Execution, dataset: Dataset, upload: Upload, method: str) -> None:
    """End one of its uploads; the rows wait for the commit of the execution."""
    version = await loading.stage(call, dataset, upload, action=method)
    if not is_running(execution):  # it ended meanwhile
        await loading.drop(call, [version.id])
        raise Refusal(404, f"Execution {execution.number} takes nothing any more")
    _count(call, execution, version)
    execution.versions.append(version.id)


async def end(call: Call, execution: Execution, dataset: Dataset) -> IndexRequest:
    """Commit an execution: what its uploads committed, and the parts it was given without one, become visible."""
    _refuse_haste(call, execution)
    own = call.state.uploads.get(execution.upload_id or 0)
    has_own = own is not None and own.state == "open" and bool(own.parts)
    execution.phase = "DATASTORE"
    try:
        if has_own or not execution.versions:
            upload = loading.open_upload(call, dataset, execution.upload_id or 0)
            version = await loading.stage(call, dataset, upload, action=execution.update_method)
            _count(call, execution, version)
            execution.versions.insert(0, version.id)  # so that, if it replaces, what was uploaded beside it stays
        await loading.join(call, dataset, execution.versions)
    except BaseException:
        execution.phase = "IMPORT"
        raise
    request = loading.request_index(call, dataset)
    execution.phase, execution.index_request, execution.modified = "INDEX", request.id, call.now()
    await _discard_open(call, execution)
    return request


def _count(call: Call, execution: Execution, version: DataVersion) -> None:
    execution.rows += version.rows
    execution.bytes += version.bytes
    execution.modified = call.now()
