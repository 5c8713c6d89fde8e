"""How rows get into a dataset: an upload, its commit, and the index that makes them visible."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from anyio import CancelScope, to_thread

from .company import Company
from .model import Dataset, DataVersion, IndexRequest, Stream, Upload
from .rows import InvalidCsv, plain
from .wire import Call, Refusal

GAPS = "Too many non-consecutive part ids. Make consecutive or upload multiple data versions"
ACTIONS = ("REPLACE", "APPEND", "UPSERT")
METHODS = (*ACTIONS, "DELETE")  # of streams
MERGED = ("UPSERT", "DELETE")  # those that look at the rows that are there


def start(
    call: Call,
    dataset: Dataset,
    *,
    action: str | None = None,
    tag: str | None = None,
    append_id: str | None = None,
    recorded: int | None = None,
) -> Upload:
    """Open an upload. action: if it is known already; the commit may say it, too."""
    upload = Upload(call.state.next_id("uploads"), dataset.id, call.now(), action, tag, append_id, recorded=recorded)
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
    call: Call,
    dataset: Dataset,
    upload: Upload,
    *,
    action: str,
    index: bool = True,
    repaired: DataVersion | None = None,
) -> tuple[DataVersion, IndexRequest | None]:
    """Make the parts one data version, and have it indexed if that is asked for. 400 for gaps, and without a key.

    repaired:  the one in whose place it comes; then the action does not count.
    """
    version = _version(call, dataset, upload, action)
    state, warehouse = call.state, call.company.warehouse
    with _committing(upload):
        if action in MERGED:
            key = _key(call, dataset)
            gone = _replaced(version, _known(state.data_versions, dataset.versions))
            version.rows = await to_thread.run_sync(warehouse.merge, upload, version, gone, key)
        else:
            await to_thread.run_sync(warehouse.publish, upload, version)
            gone = _replaced(version, _known(state.data_versions, dataset.versions))
    state.data_versions[version.id] = version
    if repaired is None:
        dataset.versions = [*_without(dataset.versions, gone), version.id]
    else:
        version.tag = repaired.tag
        dataset.versions = [version.id if number == repaired.id else number for number in dataset.versions]
    upload.version_id = version.id
    request = request_index(call, dataset) if index else None
    return version, request


async def stage(call: Call, dataset: Dataset, upload: Upload, *, action: str) -> DataVersion:
    """Make the parts a data version that is no part of the dataset until `join`. 400 for gaps, and without a key."""
    version = _version(call, dataset, upload, action)
    if action in MERGED:
        _key(call, dataset)
    version.status = "processing"
    with _committing(upload):
        await to_thread.run_sync(call.company.warehouse.publish, upload, version)
    call.state.data_versions[version.id] = version
    upload.version_id = version.id
    return version


async def join(call: Call, dataset: Dataset, staged: Sequence[int]) -> None:
    """Make staged data versions part of the dataset, one after the other, and all at once for those who look."""
    state, warehouse = call.state, call.company.warehouse
    before, known = set(dataset.versions), dict(state.data_versions)
    versions = list(dataset.versions)
    made: list[DataVersion] = []
    for version in _known(known, staged):
        gone = _replaced(version, _known(known, versions))
        if version.action in MERGED:
            sent, version = version, replace(version, id=state.next_id("data_versions"))
            version.rows = await to_thread.run_sync(warehouse.merge, sent, version, gone, _key(call, dataset))
            known[version.id] = version
        made.append(version)
        versions = [*_without(versions, gone), version.id]
    # What others have put into the dataset meanwhile stays in it.
    kept = [number for number in dataset.versions if number in versions or number not in before]
    dataset.versions = [*kept, *(number for number in versions if number not in before)]
    now = call.now()
    for version in made:
        version.status, version.completed = "success", now
        state.data_versions[version.id] = version
    await drop(call, set(staged) - {version.id for version in made})


async def drop(call: Call, numbers: Iterable[int]) -> None:
    """Forget data versions that are in no dataset."""
    for version in _known(call.state.data_versions, numbers):
        await to_thread.run_sync(call.company.warehouse.drop_version, version)


def _known(table: Mapping[int, DataVersion], numbers: Iterable[int]) -> list[DataVersion]:
    return [table[number] for number in numbers if number in table]


def _without(numbers: Iterable[int], gone: Iterable[DataVersion]) -> list[int]:
    ids = {version.id for version in gone}
    return [number for number in numbers if number not in ids]


def _replaced(version: DataVersion, older: list[DataVersion]) -> list[DataVersion]:
    """Those in whose place a version comes: of its partition, if it has one; else all, unless it is appended."""
    if version.tag is not None:
        return [each for each in older if each.tag == version.tag]
    return [] if version.action == "APPEND" else older


@contextmanager
def _committing(upload: Upload) -> Generator[None]:
    """Neither parts, nor an abort or a second commit, may come in between."""
    upload.state = "committing"
    try:
        yield
    except BaseException:
        upload.state = "open"
        raise
    upload.state = "committed"


def _version(call: Call, dataset: Dataset, upload: Upload, action: str) -> DataVersion:
    parts = sorted(map(int, upload.parts))
    if parts and (parts[0] > 1 or parts != list(range(parts[0], parts[0] + len(parts)))):
        raise Refusal(400, GAPS)  # from 1; the official Python client begins with 0
    now = call.now()
    return DataVersion(
        id=call.state.next_id("data_versions"),
        dataset_id=dataset.id,
        schema_id=dataset.schema_id,
        columns=list(dataset.columns),
        rows=sum(rows for rows, _ in upload.parts.values()),
        bytes=sum(size for _, size in upload.parts.values()),
        recorded=now if upload.recorded is None else upload.recorded,
        completed=now,
        action=action,
        tag=upload.tag,
    )


async def at_once(
    call: Call,
    dataset: Dataset,
    action: str,
    tag: str | None = None,
    *,
    index: bool = True,
    recorded: int | None = None,
    repaired: DataVersion | None = None,
) -> tuple[Upload, DataVersion, IndexRequest | None]:
    """An upload of one part, the body of the request, and its commit; nothing stays open of one that is refused."""
    upload = start(call, dataset, action=action, tag=tag, recorded=recorded)
    try:
        await put_part(call, dataset, upload, 1)
        version, request = await commit(call, dataset, upload, action=action, index=index, repaired=repaired)
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
        raise Refusal(400, "Upsert and delete need key columns")
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


def request_index(call: Call, dataset: Dataset, versions: Sequence[int] | None = None) -> IndexRequest:
    """Have what makes up the dataset now, or `versions`, be what can be queried after `indexing_seconds`."""
    now = call.now()
    count = call.state.next_id("index_requests")
    moment = datetime.fromtimestamp(now / 1000, UTC)
    key = f"{moment:%Y%m%d%H%M%S}.{count % 1000:03}"
    due = now + int(call.company.indexing_seconds * 1000)
    request = IndexRequest(key, dataset.id, list(dataset.versions if versions is None else versions), now, due)
    call.state.index_requests[key] = request
    call.company.pending.append(request)
    return request


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
            found = [each for each in _known(state.data_versions, request.versions) if each.status != "deleted"]
            dataset.indexed = [each.id for each in found]
            dataset.rows = sum(each.rows for each in found)
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
        if version.dataset_id == dataset.id and version.id not in used and version.status != "processing"
    ]
    kept = sorted(each.id for each in unused if each.status != "deleted")[-_KEPT:]
    for version in unused:
        if version.id not in kept:
            company.warehouse.drop_version(version)
