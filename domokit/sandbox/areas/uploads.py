"""Rows in over the product API: uploads in parts and at once, and indexes."""

from __future__ import annotations

from typing import Any

from .. import loading
from ..dataset_access import readable, writable
from ..dataset_shapes import has_data
from ..model import Dataset, DataVersion, IndexRequest, Upload
from ..policies import indexed_columns
from ..wire import Area, Call, Refusal, list_at
from .data_versions import stored_versions, time_of, versions_of

area = Area("product")
V3 = "/api/data/v3/datasources/{dataset_id}"
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
            recorded=time_of("recordedDate", body.get("recordedDate")),
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
    if (recorded := time_of("recordedDate", body.get("recordedDate"))) is not None:
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
        recorded=time_of("recordedDate", call.query.get("recordedDate")),
        repaired=repaired,
    )


def _repaired(call: Call, dataset: Dataset, wanted: object) -> DataVersion:
    found = [each for each in stored_versions(call, dataset) if str(each.id) == str(wanted)]
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
        upload = loading.start(call, dataset, recorded=time_of("recordedDate", call.query.get("recordedDate")))
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
    if unknown := wanted - {str(each.id) for each in versions_of(call, dataset)}:
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
