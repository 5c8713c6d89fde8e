"""Loads of data, whichever API they come by: uploads and their parts, commits, versions, what can be queried."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from anyio import to_thread

from .csv_strict import BadCsv
from .model import Dataset, DataVersion, Execution, IndexRequest, Stream, Upload
from .wire import Call, Refusal

if TYPE_CHECKING:
    from .sandbox import Sandbox
    from .state import State
    from .warehouse import Received

ACTIONS = ("REPLACE", "APPEND", "UPSERT")
GAPS = "Too many non-consecutive part ids. Make consecutive or upload multiple data versions"


# the sandbox's time passes


def settle(sandbox: Sandbox) -> None:
    """Do what is due: index requests are done, and what waits for them with them. Costs nothing when none waits."""
    waiting = sandbox.warehouse.waiting
    if not waiting:
        return
    now = sandbox.clock.now_ms()
    for request in sorted(waiting.values(), key=lambda each: each.due):
        if request.due <= now:
            del waiting[request.id]
            _index(sandbox, request)


def _index(sandbox: Sandbox, request: IndexRequest) -> None:
    state = sandbox.state
    request.done = True
    dataset = state.datasets.get(request.dataset_id)
    if dataset is None:
        return
    known = state.data_versions
    dataset.indexed = [each for each in request.versions if each in known and known[each].status == "success"]
    dataset.rows = sum(known[each].rows for each in dataset.indexed)
    dataset.data_current = dataset.modified = request.due
    for execution in list(state.executions.values()):
        if execution.index_request == request.id and execution.state == "ACTIVE":
            execution.state, execution.phase = "SUCCESS", "FINAL"
            execution.ended = execution.modified = request.due
    sweep(sandbox, dataset)


def sweep(sandbox: Sandbox, dataset: Dataset) -> None:
    """Forget deleted versions that nothing refers to any more."""
    known = sandbox.state.data_versions
    for version in [each for each in known.values() if each.dataset_id == dataset.id]:
        if version.status == "deleted" and version.tag is None and version.id not in dataset.indexed:
            del known[version.id]
            sandbox.warehouse.forget_version(version.id)


def request_index(call: Call, dataset: Dataset, versions: Sequence[int]) -> IndexRequest:
    """Ask that these versions be what can be queried, `indexing_seconds` from now."""
    now = call.now()
    when = now
    # The key is shown as a number as well, which must come back as the same digits.
    while (key := _key(when)) in call.state.index_requests or repr(float(key)) != key:
        when += 1
    request = IndexRequest(key, dataset.id, list(versions), now, now + int(call.sandbox.indexing_seconds * 1000))
    call.state.index_requests[key] = request
    call.sandbox.warehouse.waiting[key] = request
    return request


def _key(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y%m%d%H%M%S}.{ms % 1000:03d}"


# parts


def start(call: Call, dataset: Dataset) -> Upload:
    upload = Upload(call.state.next_id("uploads"), dataset.id, call.now())
    call.state.uploads[upload.id] = upload
    return upload


def part_number(call: Call) -> int:
    """From the path; 400 unless it is a number that a part may have."""
    number = call.number("part_id")
    if not 0 <= number < 1_000_000:
        raise Refusal(400, "A part id must be a number from 1")
    return number


async def receive(call: Call, dataset: Dataset, upload: Upload, part: int) -> None:
    """Take the body of the request as a part; 400 for CSV that Domo would not take."""
    require_open(upload)
    columns, schema_id = dataset.columns, dataset.schema_id
    encoding = call.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "identity"):
        raise Refusal(415, f"Content-Encoding {encoding} is not supported")

    def work() -> tuple[Received, int]:
        body = _gunzipped(call.body) if encoding == "gzip" else call.body
        return call.sandbox.warehouse.receive(upload, part, body, columns), len(body)

    try:
        received, size = await to_thread.run_sync(work)
    except BadCsv as error:
        raise Refusal(400, str(error)) from None
    except OSError:
        require_open(upload)  # its directory goes when it is aborted
        raise
    try:
        require_open(upload)  # it may have been aborted, or committed without this part, in the meantime
    except Refusal:
        received.drop()
        raise
    received.keep()
    upload.parts[str(part)] = [received.rows, size, schema_id]


def _gunzipped(body: bytes) -> bytes:
    pieces: list[bytes] = []
    rest = body
    try:
        while rest:
            member = zlib.decompressobj(31)
            pieces.append(member.decompress(rest))
            if not member.eof:
                raise Refusal(400, "The gzip content is cut short")
            rest = member.unused_data
    except zlib.error:
        raise Refusal(400, "The content is not gzip, which Content-Encoding says it is") from None
    return b"".join(pieces)


def require_open(upload: Upload) -> None:
    if upload.state != "open":
        raise Refusal(409, f"Upload {upload.id} is {upload.state}")


def abort(call: Call, upload: Upload) -> None:
    """Discard its parts; the data stays as it was."""
    upload.state = "aborted"
    upload.parts = {}
    call.sandbox.warehouse.discard(upload)


def parts_in_order(dataset: Dataset, upload: Upload) -> list[int]:
    """The part numbers; 400 unless they are 1..n, or 0..n-1 as the official client has them."""
    numbers = sorted(int(each) for each in upload.parts)
    if numbers and (numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers)))):
        raise Refusal(400, GAPS)
    if any(part[2] != dataset.schema_id for part in upload.parts.values()):
        raise Refusal(400, "The schema has changed since the parts were uploaded; upload them again")
    return numbers


# commits


def action_of(value: object) -> str:
    if value not in ACTIONS:
        raise Refusal(400, f"Unknown action {value!r}; known are {', '.join(ACTIONS)}")
    return str(value)


def stream_of(state: State, dataset: Dataset) -> Stream | None:
    """What feeds a dataset, if anything."""
    for stream in list(state.streams.values()):
        if stream.dataset_id == dataset.id and not stream.deleted:
            return stream
    return None


def _keys(call: Call, dataset: Dataset) -> list[int]:
    """Positions of the key columns; 400 when there are none."""
    stream = stream_of(call.state, dataset)
    names = [column["name"].casefold() for column in dataset.columns]
    wanted = stream.key_columns if stream else []
    if not wanted:
        raise Refusal(400, "UPSERT needs key columns on the stream of the dataset")
    if missing := [key for key in wanted if key.casefold() not in names]:
        raise Refusal(400, f"The key column {missing[0]} is not in the schema")
    return [names.index(key.casefold()) for key in wanted]


async def commit(
    call: Call,
    dataset: Dataset,
    uploads: Sequence[Upload],
    action: str,
    *,
    tag: str | None = None,
    restate: bool = False,
) -> DataVersion:
    """Make parts the data, or part of it, as one version; what can be queried stays as it is.

    tag:      the partition that the rows belong to; with `restate` they replace what is in it.
    Uploads that were checked are closed; when this refuses, nothing has changed.
    """
    async with call.sandbox.warehouse.busy(dataset.id):
        taken = [(upload, parts_in_order(dataset, upload)) for upload in uploads]
        keys = _keys(call, dataset) if action == "UPSERT" else []
        now = call.now()
        sizes = [part for upload in uploads for part in upload.parts.values()]
        version = DataVersion(
            id=call.state.next_id("data_versions"),
            dataset_id=dataset.id,
            schema_id=dataset.schema_id,
            columns=dataset.columns,
            rows=sum(size[0] for size in sizes),
            bytes=sum(size[1] for size in sizes),
            recorded=min(upload.created for upload in uploads),
            completed=now,
            action=action,
            tag=tag,
        )
        before = [upload.state for upload in uploads]
        for upload in uploads:
            upload.state = "committed"
        warehouse = call.sandbox.warehouse
        try:
            if action == "UPSERT":
                merge = partial(warehouse.merge, taken, version.id, dataset, keys)
                version.rows = await to_thread.run_sync(merge)
            else:
                warehouse.adopt(taken, version.id)
        except BaseException:
            for upload, state in zip(uploads, before, strict=True):
                upload.state = state
            warehouse.forget_version(version.id)
            raise
        known = call.state.data_versions
        kept: list[int] = []
        if action == "APPEND":
            kept = [each for each in dataset.versions if not (restate and known[each].tag == tag)]
        for upload in uploads:
            upload.version_id = version.id
        version.chain = [*kept, version.id]
        known[version.id] = version
        dataset.versions = list(version.chain)
        return version


def execution_of(call: Call, stream: Stream, number: int) -> Execution:
    found = call.state.executions.get(f"{stream.id}/{number}")
    if found is None:
        raise Refusal(404, "No such execution")
    return found
