"""How rows get into a dataset: an upload, its commit, and the index that makes them visible."""

from __future__ import annotations

from datetime import UTC, datetime

from anyio import CancelScope, to_thread

from .company import Company
from .model import Dataset, DataVersion, Execution, IndexRequest, Stream, Upload
from .rows import InvalidCsv, plain
from .wire import Call, Refusal

GAPS = "Too many non-consecutive part ids. Make consecutive or upload multiple data versions"
ACTIONS = ("REPLACE", "APPEND", "UPSERT")


def start(
    call: Call, dataset: Dataset, *, action: str | None = None, tag: str | None = None, append_id: str | None = None
) -> Upload:
    """Open an upload. action: if it is known already; the commit may say it, too."""
    upload = Upload(call.state.next_id("uploads"), dataset.id, call.now(), action, tag, append_id)
    call.state.uploads[upload.id] = upload
    return upload


def open_upload(call: Call, dataset: Dataset, upload_id: int) -> Upload:
    """404 for an upload that there is not, and for one that takes nothing any more."""
    upload = call.state.uploads.get(upload_id)
    if upload is None or upload.dataset_id != dataset.id:
        raise Refusal(404, f"No upload {upload_id}")
    if upload.state != "open":
        raise Refusal(404, f"Upload {upload_id} is {upload.state}")
    return upload


async def put_part(call: Call, dataset: Dataset, upload: Upload, part: int) -> None:
    """Keep the rows of the request as a part; the same number again replaces them."""
    if part < 0:
        raise Refusal(400, "Part ids are positive numbers")
    warehouse, columns = call.company.warehouse, list(dataset.columns)
    body, encoding = call.body, call.headers.get("content-encoding")

    def work() -> tuple[int, int]:
        data = plain(body, encoding)
        return warehouse.put(upload, part, data, columns), len(data)

    try:
        rows, size = await to_thread.run_sync(work)
    except InvalidCsv as wrong:
        raise Refusal(400, str(wrong)) from None
    except Exception:
        if upload.state == "open":
            raise
        rows = size = 0  # its folder went while it was written
    if upload.state != "open":  # it ended meanwhile
        if upload.state != "committing":
            await to_thread.run_sync(warehouse.discard, upload)
        raise Refusal(404, f"Upload {upload.id} is {upload.state}")
    upload.parts[str(part)] = [rows, size]


async def commit(
    call: Call, dataset: Dataset, upload: Upload, *, action: str, index: bool = True
) -> tuple[DataVersion, IndexRequest | None]:
    """Make the parts one data version, and have it indexed if that is asked for. 400 for gaps, and without a key."""
    parts = sorted(map(int, upload.parts))
    if parts and (parts[0] > 1 or parts != list(range(parts[0], parts[0] + len(parts)))):
        raise Refusal(400, GAPS)  # from 1; the official Python client begins with 0
    now = call.now()
    version = DataVersion(
        id=call.state.next_id("data_versions"),
        dataset_id=dataset.id,
        schema_id=dataset.schema_id,
        columns=list(dataset.columns),
        rows=sum(rows for rows, _ in upload.parts.values()),
        bytes=sum(size for _, size in upload.parts.values()),
        recorded=now,
        completed=now,
        action=action,
        tag=upload.tag,
    )
    state, warehouse = call.state, call.company.warehouse

    def older() -> list[DataVersion]:
        return [state.data_versions[number] for number in dataset.versions if number in state.data_versions]

    key = _key(call, dataset) if action == "UPSERT" else []
    upload.state = "committing"  # neither parts, nor an abort or a second commit, may come in between
    try:
        if action == "UPSERT":
            version.rows = await to_thread.run_sync(warehouse.merge, upload, version, older(), key)
        else:
            await to_thread.run_sync(warehouse.publish, upload, version)
    except BaseException:
        upload.state = "open"
        raise
    kept: list[int] = []
    if action != "UPSERT" and upload.tag is not None:
        kept = [each.id for each in older() if each.tag != upload.tag]
    elif action == "APPEND":
        kept = [each.id for each in older()]
    state.data_versions[version.id] = version
    dataset.versions = [*kept, version.id]
    upload.state, upload.version_id = "committed", version.id
    request = request_index(call, dataset) if index else None
    return version, request


async def at_once(
    call: Call, dataset: Dataset, action: str, tag: str | None = None, *, index: bool = True
) -> tuple[Upload, DataVersion, IndexRequest | None]:
    """An upload of one part, the body of the request, and its commit; nothing stays open of one that is refused."""
    upload = start(call, dataset, action=action, tag=tag)
    try:
        await put_part(call, dataset, upload, 1)
        version, request = await commit(call, dataset, upload, action=action, index=index)
    except BaseException:
        with CancelScope(shield=True):
            await abort(call, upload)
        raise
    return upload, version, request


def _key(call: Call, dataset: Dataset) -> list[str]:
    stream = stream_of(call, dataset)
    key = stream.key_columns if stream is not None else []
    names = {column["name"] for column in dataset.columns}
    if not key or not names.issuperset(key):
        raise Refusal(400, "Upsert needs key columns")
    return key


def stream_of(call: Call, dataset: Dataset) -> Stream | None:
    for stream in call.state.streams.values():
        if stream.dataset_id == dataset.id and not stream.deleted:
            return stream
    return None


async def abort(call: Call, upload: Upload) -> None:
    """Discard an upload and its parts."""
    upload.state = "aborted"
    await to_thread.run_sync(call.company.warehouse.discard, upload)
    upload.parts.clear()


def request_index(call: Call, dataset: Dataset) -> IndexRequest:
    """Have what makes up the dataset now become what can be queried, after the sandbox's `indexing_seconds`."""
    now = call.now()
    count = call.state.next_id("index_requests")
    moment = datetime.fromtimestamp(now / 1000, UTC)
    key = f"{moment:%Y%m%d%H%M%S}.{count % 1000:03}"
    due = now + int(call.company.indexing_seconds * 1000)
    request = IndexRequest(key, dataset.id, list(dataset.versions), now, due)
    call.state.index_requests[key] = request
    call.company.pending.append(request)
    return request


def finish(call: Call, execution: Execution, request: IndexRequest, version: DataVersion) -> None:
    """What an execution knows once it is committed; it ends when its rows can be queried."""
    execution.phase = "INDEX"
    execution.rows, execution.bytes = version.rows, version.bytes
    execution.index_request = request.id
    execution.modified = call.now()


def settle(company: Company) -> None:
    """Do what is due by the company's clock: rows become visible, executions end."""
    now = company.clock.now_ms()
    due = [request for request in company.pending if request.due <= now]
    if not due:
        return
    company.pending[:] = [request for request in company.pending if request.due > now]
    state = company.state
    for request in due:
        request.done = True
        dataset = state.datasets.get(request.dataset_id)
        if dataset is not None:
            dataset.indexed = [number for number in request.versions if number in state.data_versions]
            dataset.rows = sum(state.data_versions[number].rows for number in dataset.indexed)
            dataset.data_current = dataset.modified = max(request.requested, request.due)
            _forget_unused(company, dataset)
        for execution in state.executions.values():
            if execution.index_request == request.id and execution.state == "ACTIVE":
                execution.state, execution.phase = "SUCCESS", "FINAL"
                execution.ended = execution.modified = max(request.requested, request.due)


_KEPT = 10  # versions of a dataset that no row comes from any more


def _forget_unused(company: Company, dataset: Dataset) -> None:
    waiting = {number for request in company.pending for number in request.versions}
    used = {*dataset.versions, *dataset.indexed, *waiting}
    unused = [
        version
        for version in company.state.data_versions.values()
        if version.dataset_id == dataset.id and version.id not in used
    ]
    for version in sorted(unused, key=lambda version: version.id)[:-_KEPT]:
        company.warehouse.drop_version(version)
