"""The data versions of a dataset: listed, deleted, exported, and as partitions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from anyio import to_thread

from .. import loading
from ..dataset_access import readable, touch, writable
from ..exports import export
from ..model import Dataset, DataVersion
from ..wire import Area, Call, Refusal, as_object, page_of

area = Area("product")
V2, V3 = "/api/data/v2/datasources/{dataset_id}", "/api/data/v3/datasources/{dataset_id}"
QUERY = "/api/query/v1/datasources/{dataset_id}"


def _dataset(call: Call) -> Dataset:
    return writable(call, call.params["dataset_id"])


def versions_of(call: Call, dataset: Dataset) -> list[DataVersion]:
    known = call.state.data_versions.values()
    return [each for each in known if each.dataset_id == dataset.id and each.status != "deleted"]


def stored_versions(call: Call, dataset: Dataset) -> list[DataVersion]:
    """Without those of executions that are not committed."""
    return [each for each in versions_of(call, dataset) if each.status == "success"]


def time_of(name: str, value: Any) -> int | None:
    """A time, as a number of milliseconds or in ISO's form."""
    if value in (None, ""):
        return None
    text = str(value)
    try:
        if text.isdecimal():
            _iso(int(text))  # which fails for one that no date can tell
            return int(text)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise Refusal(400, f"{name} is no time") from None
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
        for each in versions_of(call, readable(call, call.params["dataset_id"]))
        if wanted in (None, each.status)
    ]


@area.on("GET", V3 + "/dataversions/details")
async def versions_details(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    found = versions_of(call, dataset)
    if call.flag("limitToIndexed", True):
        found = [each for each in found if each.id in dataset.indexed]
    if ids := call.query.get("dataVersionIds"):
        found = [each for each in found if str(each.id) in ids.split(",")]
    if statuses := call.query.get("statuses"):
        found = [each for each in found if each.status.upper() in statuses.upper().split(",")]
    since, until = (time_of(name, call.query.get(name)) for name in ("startRecordedTime", "endRecordedTime"))
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
    known = {str(each.id): each for each in versions_of(call, dataset)}
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
    found = stored_versions(call, dataset)
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
    dataset, body = readable(call, call.params["dataset_id"]), call.json_object() if call.body.strip() else {}
    orders = [as_object(each) or {} for each in body.get("paginationFields") or []]
    found, is_descending = _partitions(call, dataset), False
    for order in orders:
        if (field := str(order.get("fieldName", "datecompleted"))).lower() != "datecompleted":
            raise Refusal(400, f"Partitions are not listed by {field}")
        is_descending = is_descending or str(order.get("sortOrder")).upper() == "DESC"
        bounds = as_object(order.get("filterValues")) or {}
        low, high = (time_of(name, bounds.get(name)) for name in ("MIN", "MAX"))
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
    named = [each for each in stored_versions(call, dataset) if each.tag == tag]
    if not named:
        raise Refusal(404, f"No partition {tag}")
    for each in named:
        each.tag = None
