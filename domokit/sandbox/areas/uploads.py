"""Rows in and out over the product API: uploads in parts, indexes, versions, partitions, exports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from anyio import to_thread

from .. import loading
from ..dataset_access import readable, touch, writable
from ..dataset_shapes import has_data
from ..exports import export
from ..model import Dataset, DataVersion, IndexRequest, Upload
from ..policies import indexed_columns
from ..wire import Area, Call, Refusal, as_object, list_at, page_of

area = Area("product")
V2, V3 = "/api/data/v2/datasources/{dataset_id}", "/api/data/v3/datasources/{dataset_id}"
QUERY = "/api/query/v1/datasources/{dataset_id}"
UPLOAD = V3 + "/uploads/{upload_id}"


def _dataset(call: Call) -> Dataset:
    return writable(call, call.params["dataset_id"])


def _body(call: Call) -> dict[str, Any]:
    return call.json_object() if call.body.strip() else {}


def _started(upload: Upload) -> dict[str, Any]:
    return {"dataSourceId": upload.dataset_id, "uploadId": upload.id, "requestedAsOf": upload.created}


def _action(value: Any) -> str:
    if value == "REPAIR":
        raise Refusal(400, "REPAIR is taken with repairDataVersionId or repairUploadId, by calls that load at once")
    if value not in loading.ACTIONS:
        raise Refusal(400, f"Unknown action {value}")
    return str(value)


def _committed(upload: Upload, version: DataVersion, request: IndexRequest | None) -> dict[str, Any]:
    rows = sum(rows for rows, _ in upload.parts.values())
    answer: dict[str, Any] = {
        "dataSourceId": upload.dataset_id,
        "uploadId": upload.id,
        "status": "success",
        "dataTag": upload.tag,
        "size": {
            "columnCount": len(version.columns),
            "rowCount": rows,
            "numberOfBytes": version.bytes,
            "partCount": len(upload.parts),
        },
    }
    if request is not None:
        answer["indexing"] = _requested(request) | {"dataTag": upload.tag}
    return answer


def _requested(request: IndexRequest) -> dict[str, Any]:
    return {"requestKey": request.id, "requested": True, "requestedOn": request.requested}


# uploads


@area.on("POST", V3 + "/uploads")
async def start(call: Call) -> Any:
    dataset, body = _dataset(call), _body(call)
    tag = (
        call.query.get("restateDataTag")
        or call.query.get("dataTag")
        or body.get("restateDataTag")
        or body.get("dataTag")
    )
    action = body.get("action")
    return _started(
        loading.start(
            call,
            dataset,
            action=None if action is None else _action(action),
            tag=None if tag is None else str(tag),
            append_id=body.get("appendId"),
            recorded=_ms("recordedDate", body.get("recordedDate")),
        )
    )


@area.on("PUT", UPLOAD + "/parts/{part_id}")
async def part(call: Call) -> Any:
    dataset = _dataset(call)
    await loading.put_part(
        call, dataset, loading.open_upload(call, dataset, call.number("upload_id")), call.number("part_id")
    )
    return {"uploadMessage": "ok", "uploadStatus": "ok"}


@area.on("PUT", UPLOAD + "/commit")
async def commit(call: Call) -> Any:
    """`index` comes as a boolean, or as the text "true"."""
    dataset, body = _dataset(call), _body(call)
    upload = loading.open_upload(call, dataset, call.number("upload_id"))
    action = _action(body.get("action") or upload.action or "REPLACE")
    if tag := body.get("restateDataTag") or body.get("dataTag"):
        upload.tag = str(tag)
    if (recorded := _ms("recordedDate", body.get("recordedDate"))) is not None:
        upload.recorded = recorded
    index = str(body.get("index", False)).lower() == "true"
    version, request = await loading.commit(call, dataset, upload, action=action, index=index)
    return _committed(upload, version, request)


@area.on("PUT", UPLOAD + "/abort")
async def abort(call: Call) -> Any:
    dataset = _dataset(call)
    upload = loading.open_upload(call, dataset, call.number("upload_id"))
    await loading.abort(call, upload)
    return {"dataSourceId": dataset.id, "uploadId": upload.id, "status": "aborted"}


async def _at_once(
    call: Call, dataset: Dataset, action: str, repaired: DataVersion | None
) -> tuple[Upload, DataVersion, IndexRequest | None]:
    """Start, one part and commit in one request. The words of `repairAction` are not documented: it is passed over."""
    return await loading.at_once(
        call,
        dataset,
        "REPAIR" if repaired is not None else action,
        call.query.get("restateDataTag") or call.query.get("dataTag"),
        index=call.flag("index", True),
        recorded=_ms("recordedDate", call.query.get("recordedDate")),
        repaired=repaired,
    )


def _repaired(call: Call, dataset: Dataset, wanted: object) -> DataVersion:
    found = [each for each in _stored(call, dataset) if str(each.id) == str(wanted)]
    if not found:
        raise Refusal(404, f"No data version {wanted} to repair")
    return found[0]


@area.on("POST", V3 + "/uploads/stream")
async def stream(call: Call) -> Any:
    """With `repairUploadId` it repairs what that upload brought."""
    dataset, number = _dataset(call), call.query.get("repairUploadId")
    action = call.query.get("action") or ("REPLACE" if number is None else "REPAIR")
    if action != "REPAIR" or number is None:
        upload, _, _ = await _at_once(call, dataset, _action(action), None)
        return _started(upload)
    known = [each for each in call.state.uploads.values() if str(each.id) == number and each.dataset_id == dataset.id]
    if not known:
        raise Refusal(404, f"No upload {number}")
    upload, _, _ = await _at_once(call, dataset, action, _repaired(call, dataset, known[0].version_id))
    return _started(upload)


@area.on("POST", V3 + "/dataversions")
async def create_version(call: Call) -> Any:
    """Appends where `append` is anything but none."""
    dataset, repaired = _dataset(call), call.query.get("repairDataVersionId")
    if call.flag("dataunchanged") or call.flag("norows"):  # it is noted that a load brought nothing, and that is all
        upload = loading.start(call, dataset, recorded=_ms("recordedDate", call.query.get("recordedDate")))
        version, _ = await loading.commit(call, dataset, upload, action="APPEND", index=call.flag("index", True))
        return str(version.id)
    adds = call.query.get("append", "none").lower() not in ("none", "false")
    _, version, _ = await _at_once(
        call,
        dataset,
        "APPEND" if adds else "REPLACE",
        None if repaired is None else _repaired(call, dataset, repaired),
    )
    return str(version.id)


# indexes


@area.on("POST", V3 + "/indexes")
async def index(call: Call) -> Any:
    """Of all that is pending, or of the versions that `dataIds` names."""
    dataset = _dataset(call)
    wanted = {str(each) for each in list_at(_body(call), "dataIds")}
    if unknown := wanted - {str(each.id) for each in _versions(call, dataset)}:
        raise Refusal(400, f"No data version {', '.join(sorted(unknown))}")
    request = loading.request_index(call, dataset)
    if wanted:
        request.versions = [each for each in dataset.versions if str(each) in wanted or each in dataset.indexed]
    return _requested(request) | {"dataTag": None}


@area.on("POST", QUERY)
async def index_v1(call: Call) -> Any:
    """The older call of the same."""
    return _requested(loading.request_index(call, _dataset(call)))


@area.on("GET", V3 + "/indexes/{request_key}/statuses")
async def index_status(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    request = call.state.index_requests.get(call.params["request_key"])
    if request is None or request.dataset_id != dataset.id:
        raise Refusal(404, "No such index request")
    progress: dict[str, Any] = {
        "status": "SUCCESS" if request.done else "PROCESSING",
        "message": "",
        "progress": 100 if request.done else 50,
        "requestKey": request.id,
        "lastUpdate": call.now(),
        "lastSuccessfulIndex": dataset.data_current,
    }
    columns = indexed_columns(call.state, dataset) if has_data(dataset) else []
    detail = {"rowCount": dataset.rows, "columnCount": len(columns), "schema": columns}
    return {"dataSourceId": dataset.id, "detail": detail, "progress": progress}


# versions


def _versions(call: Call, dataset: Dataset) -> list[DataVersion]:
    known = call.state.data_versions.values()
    return [each for each in known if each.dataset_id == dataset.id and each.status != "deleted"]


def _stored(call: Call, dataset: Dataset) -> list[DataVersion]:
    """Without those of executions that are not committed."""
    return [each for each in _versions(call, dataset) if each.status == "success"]


def _ms(name: str, value: Any) -> int | None:
    """A time, as a number of milliseconds or in ISO's form."""
    if value in (None, ""):
        return None
    text = str(value)
    try:
        moment = None if text.isdecimal() else datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(400, f"{name} is no time") from None
    if moment is None:
        return int(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _iso(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


@area.on("GET", V2 + "/dataversions")
async def versions(call: Call) -> Any:
    """Times are ISO texts here, and numbers in the details."""
    wanted = call.query.get("statusFilter")
    return [
        {
            "schemaId": each.schema_id,
            "dataId": each.id,
            "uploadStatus": each.status,
            "recordedDate": _iso(each.recorded),
            "uploadCompletedDate": _iso(each.completed),
            "numRows": each.rows,
            "numBytes": each.bytes,
        }
        for each in _versions(call, readable(call, call.params["dataset_id"]))
        if wanted in (None, each.status)
    ]


@area.on("GET", V3 + "/dataversions/details")
async def versions_details(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    found = _versions(call, dataset)
    if call.flag("limitToIndexed", True):
        found = [each for each in found if each.id in dataset.indexed]
    if ids := call.query.get("dataVersionIds"):
        found = [each for each in found if str(each.id) in ids.split(",")]
    if statuses := call.query.get("statuses"):
        found = [each for each in found if each.status.upper() in statuses.upper().split(",")]
    since, until = (_ms(name, call.query.get(name)) for name in ("startRecordedTime", "endRecordedTime"))
    found = [each for each in found if (since or 0) <= each.recorded and (until is None or each.recorded <= until)]
    limit = call.query.get("limit", "-1")
    found = found[
        page_of(call.query.get("offset"), None if limit == "-1" else limit, limit=len(found), most=len(found))
    ]
    return [
        {
            "dataSourceId": dataset.id,
            "schemaId": each.schema_id,
            "dataVersionId": each.id,
            "status": each.status.upper(),
            "statusMessage": "",
            "datetimeRecorded": each.recorded,
            "datetimeUploadCompleted": each.completed,
            "runDurationSeconds": max(0, each.completed - each.recorded) // 1000,
            "sizeBytes": each.bytes,
            "rowCount": each.rows,
        }
        for each in found
    ]


@area.on("DELETE", V2 + "/dataversions")
async def delete_versions(call: Call) -> None:
    """They leave the list at once, and what can be queried with the next index, which may be asked for with it."""
    dataset = _dataset(call)
    ids = {str(each) for each in call.json_list()}
    known = {str(each.id): each for each in _versions(call, dataset)}
    if unknown := ids - known.keys():
        raise Refusal(400, f"No data version {', '.join(sorted(unknown))}")
    dataset.versions = [number for number in dataset.versions if str(number) not in ids]
    for version in [known[number] for number in ids]:
        if version.id in dataset.indexed:
            version.status = "deleted"
        else:
            await to_thread.run_sync(call.company.warehouse.drop_version, version)
    if call.flag("index", True):
        loading.request_index(call, dataset)
    touch(call, dataset)


@area.on("GET", V2 + "/dataversions/{data_version_id}")
async def export_version(call: Call) -> Any:
    """One version, or the latest, with those that it was appended to; NULL is spelled \\N here."""
    dataset = readable(call, call.params["dataset_id"])
    wanted = call.params["data_version_id"]
    found = _stored(call, dataset)
    chosen = [each for each in found if str(each.id) == wanted] or (found[-1:] if wanted == "latest" else [])
    if not chosen:
        raise Refusal(404, f"No data version {wanted}")
    shown, present = chosen[:1], dataset.versions
    if chosen[0].id in present and not call.flag("excludeAppendedData"):
        ids = present[: present.index(chosen[0].id) + 1]
        shown = [call.state.data_versions[number] for number in ids if number in call.state.data_versions]
    limit = call.query.get("rowLimit", "-1")
    if not limit.removeprefix("-").isdecimal():
        raise Refusal(400, "rowLimit must be a whole number")
    return await export(
        call,
        dataset,
        header=call.flag("includeHeader"),
        null="\\N",
        versions=shown,
        limit=None if limit.startswith("-") else int(limit),
        bom=call.flag("includeBOM"),
    )


@area.on("GET", "/api/query/v1/execute/export/{dataset_id}")
async def export_rows(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    if call.query.get("accept", "text/csv") != "text/csv":
        raise Refusal(400, "Only text/csv is exported here")
    if not dataset.indexed:
        raise Refusal(416, "The dataset has no data that can be queried")
    return await export(call, dataset, header=call.flag("includeHeader"))


# partitions


def _partitions(call: Call, dataset: Dataset) -> list[DataVersion]:
    known = call.state.data_versions
    return [known[number] for number in dataset.versions if number in known and known[number].tag is not None]


@area.on("GET", V3 + "/partitions")
async def partitions(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    return [{"dataId": each.id, "partitionId": each.tag} for each in _partitions(call, dataset)]


def _shown(version: DataVersion) -> dict[str, Any]:
    completed = _iso(version.completed).replace("Z", "+00:00")
    return {"dataId": version.id, "partitionId": version.tag, "dateCompleted": completed, "rowCount": version.rows}


@area.on("GET", QUERY + "/partition")
async def partitions_v1(call: Call) -> Any:
    return [_shown(each) for each in _partitions(call, readable(call, call.params["dataset_id"]))]


@area.on("POST", QUERY + "/partition/list", changes=False)
async def list_partitions(call: Call) -> Any:
    dataset, body = readable(call, call.params["dataset_id"]), _body(call)
    orders = [as_object(each) or {} for each in body.get("paginationFields") or []]
    found, is_descending = _partitions(call, dataset), False
    for order in orders:
        if (field := str(order.get("fieldName", "datecompleted"))).lower() != "datecompleted":
            raise Refusal(400, f"Partitions are not listed by {field}")
        is_descending = is_descending or str(order.get("sortOrder")).upper() == "DESC"
        bounds = as_object(order.get("filterValues")) or {}
        low, high = (_ms(name, bounds.get(name)) for name in ("MIN", "MAX"))
        found = [each for each in found if (low or 0) <= each.completed and (high is None or each.completed <= high)]
    found = sorted(found, key=lambda each: (each.completed, each.id), reverse=is_descending)
    return [_shown(each) for each in found[page_of(body.get("offset"), body.get("limit"), limit=100, most=1000)]]


def _drop(dataset: Dataset, found: list[DataVersion], tag: str) -> None:
    gone = {each.id for each in found if each.tag == tag}
    if not gone:
        raise Refusal(404, f"No partition {tag}")
    dataset.versions = [number for number in dataset.versions if number not in gone]


@area.on("DELETE", V3 + "/partitions/{partition}")
async def delete_partition(call: Call) -> Any:
    """In one step; `mode` is taken and makes no difference here."""
    dataset = _dataset(call)
    _drop(dataset, _partitions(call, dataset), call.params["partition"])
    loading.request_index(call, dataset)
    return "success"


@area.on("DELETE", QUERY + "/tag/{partition}/data")
async def delete_partition_data(call: Call) -> None:
    """Stage 1 of 3: the rows are gone for the next index."""
    dataset = _dataset(call)
    _drop(dataset, _partitions(call, dataset), call.params["partition"])


@area.on("DELETE", QUERY + "/partition/{partition}")
async def delete_partition_tag(call: Call) -> None:
    """Stage 2 of 3: the name is gone; stage 3 is the index."""
    dataset, tag = _dataset(call), call.params["partition"]
    named = [each for each in _stored(call, dataset) if each.tag == tag]
    if not named:
        raise Refusal(404, f"No partition {tag}")
    for each in named:
        each.tag = None
