"""Datasets as the product lists, shows, makes and deletes them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from .. import vault
from ..dataset_access import columns_of, give, manageable, readable, remove, touch, visible, writable
from ..dataset_search import searched
from ..dataset_shapes import (
    PARTS,
    current_as_of,
    has_data,
    in_order,
    product,
)
from ..loading import stream_of
from ..model import Dataset
from ..policies import indexed_columns
from ..wire import Area, Call, Refusal, as_list, objects_at, page_of

area = Area("product")
V2, V3 = "/api/data/v2/datasources", "/api/data/v3/datasources"
ONE = V3 + "/{dataset_id}"
MOST = 50  # rows a page; more are refused
DONE = "success"  # what is answered where Domo documents no more than "string"


def parts_of(call: Call) -> set[str]:
    """Which fields are asked for, by `part` and `includeAllDetails`; 400 for a part that does not exist."""
    parts = {each for text in call.query.getlist("part") for each in text.split(",") if each}
    if unknown := parts - PARTS:
        raise Refusal(400, f"Unknown part {', '.join(sorted(unknown))}")
    return set(PARTS) if call.flag("includeAllDetails") else parts


def _shown(call: Call, dataset: Dataset) -> dict[str, Any]:
    return product(call.state, dataset, call.user, parts_of(call), call.flag("includeFormulas", True))


def envelope(rows: list[Any], total: int, page: slice) -> dict[str, Any]:
    size = page.stop - page.start
    meta = {"totalCount": total, "limit": size, "offset": page.start, "augmented": True, "executor": "SEARCH"}
    return {"dataSources": rows, "_metaData": meta}


# lists


@area.on("GET", V3)
async def list_datasources(call: Call) -> Any:
    query = call.query
    page = page_of(query.get("offset"), query.get("limit"), limit=MOST, most=100_000)
    if page.stop - page.start > MOST:
        raise Refusal(400, f"limit must not be greater than {MOST}")
    found = visible(call.state, call.user)
    if not call.flag("includeHidden"):
        found = [dataset for dataset in found if not dataset.hidden]
    reads: dict[str, Callable[[Dataset], str]] = {
        "ownerId": lambda dataset: str(dataset.owner_id),
        "displayType": lambda dataset: dataset.display_type,
        "type": lambda dataset: dataset.type or dataset.provider,
        "dataProviderType": lambda dataset: dataset.provider,
        "dataSourceId": lambda dataset: dataset.id,
    }
    for name, read in reads.items():
        if wanted := query.getlist(name):
            found = [dataset for dataset in found if read(dataset) in wanted]
    if text := query.get("nameLike", "").lower():
        found = [dataset for dataset in found if text in dataset.name.lower()]
    if since := query.get("createdSince"):
        if not since.isdecimal():
            raise Refusal(400, "createdSince must be a time in milliseconds")
        found = [dataset for dataset in found if dataset.created >= int(since)]
    found = in_order(found, query.get("orderBy"))
    return envelope([_shown(call, dataset) for dataset in found[page]], len(found), page)


def _bulk(call: Call, ids: list[Any]) -> dict[str, Any]:
    wanted = {str(each) for each in ids}
    found = [dataset for dataset in visible(call.state, call.user) if dataset.id in wanted]
    return envelope([_shown(call, dataset) for dataset in found], len(found), slice(0, len(ids)))


@area.on("POST", V3 + "/bulk", changes=False)
async def bulk_get(call: Call) -> Any:
    """Ids that are unknown, or not shared with the caller, are left out."""
    return _bulk(call, call.json_list())


@area.on("GET", V3 + "/bulk")
async def bulk_get_query(call: Call) -> Any:
    return _bulk(call, call.query.getlist("dataSourceId"))


@area.on("GET", V3 + "/bulk/datasourceIds")
async def all_ids(call: Call) -> Any:
    """Of the whole instance, whatever the caller may see."""
    found = [dataset.id for dataset in list(call.state.datasets.values()) if not dataset.deleted]
    return found[call.page(limit=100, most=10_000)]


@area.on("POST", "/api/data/ui/v3/datasources/search", changes=False)
async def ui_search(call: Call) -> Any:
    body = call.json_object()
    page = page_of(body.get("offset"), body.get("count"), limit=10, most=10_000)
    found = searched(call, body)
    rows = [product(call.state, dataset, call.user, PARTS) for dataset in found[page]]
    return envelope(rows, len(found), page)


# one


@area.on("GET", ONE)
async def get(call: Call) -> Any:
    """A soft-deleted one is still here, with `deleted`."""
    return _shown(call, readable(call, call.params["dataset_id"], deleted=True))


def older_shape(dataset: Dataset) -> dict[str, Any]:
    """The older names: `created` is text here, and `createdDate` the number."""
    shown: dict[str, Any] = {
        "dataSourceId": dataset.id,
        "dataSourceName": dataset.name,
        "responsibleUserId": str(dataset.owner_id),
        "dataProviderType": dataset.provider,
        "created": str(dataset.created),
        "createdDate": dataset.created,
        "lastUpdated": current_as_of(dataset) or dataset.created,
        "lastTouched": dataset.modified,
        "tags": dataset.tags,
        "cardCount": 0,
        "hidden": dataset.hidden,
    }
    if dataset.indexed:
        shown["lastIndexedDataVersionId"] = dataset.indexed[-1]
    return shown


@area.on("GET", V2 + "/{dataset_id}")
async def get_v2(call: Call) -> Any:
    return {"dataSource": older_shape(readable(call, call.params["dataset_id"])), "_metaData": {}}


@area.on("POST", V2)
async def create_v2(call: Call) -> Any:
    """Without a schema it has no columns until one is set."""
    call.require("dataset.create")
    body = call.json_object()
    name = body.get("dataSourceName")
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "dataSourceName is required")
    owner_id = call.user.id
    if (given := body.get("responsibleUserId")) not in (None, "", owner_id, str(owner_id)):
        call.require("dataset.manage")
        owner_id = int(new_owner(call, given).removeprefix("USER:"))
    display_type = str(body.get("userDefinedType") or "api")
    now = call.now()
    dataset = Dataset(
        id=str(uuid.uuid4()),
        name=name,
        description=str(body.get("dataSourceDescription") or ""),
        owner_id=owner_id,
        rows=0,
        columns=columns_of(body["schema"]) if body.get("schema") else [],
        created=now,
        modified=now,
        display_type=display_type,
        provider=str(body.get("dataProviderType") or display_type),
        hidden=body.get("hidden") is True,
        tags=_tags(body.get("tags") or "[]"),
        type=str(body.get("dataSourceType") or ""),
        cloud_id=str(body.get("cloudId") or "domo"),
    )
    call.state.datasets[dataset.id] = dataset
    return {"dataSource": {"dataSourceId": dataset.id}}


def _tags(text: Any) -> list[str]:
    """A text that holds JSON, as tags are shown; one that holds none is a tag itself."""
    if not isinstance(text, str):
        raise Refusal(400, "tags must be a text")
    try:
        tags = as_list(json.loads(text))
    except ValueError:
        tags = [text]
    if tags is None or not all(isinstance(tag, str) and tag.strip() for tag in tags):
        raise Refusal(400, "tags must hold a list of texts")
    return list(dict.fromkeys(map(str, tags)))


@area.on("PUT", ONE + "/properties")
async def properties(call: Call) -> Any:
    """Unknown properties are taken and forgotten."""
    dataset = writable(call, call.params["dataset_id"])
    body = call.json_object()
    fields = {"dataSourceName": "name", "dataSourceDescription": "description", "dataProviderType": "provider"}
    given = {field: body[key] for key, field in fields.items() if body.get(key) is not None}
    if not all(isinstance(value, str) for value in given.values()) or not given.get("name", "x").strip():
        raise Refusal(400, "Properties must be texts, and a name not empty")
    for field, value in given.items():
        setattr(dataset, field, value)
    touch(call, dataset)
    return product(call.state, dataset, call.user, PARTS)


@area.on("PUT", V2 + "/{dataset_id}/responsibleUsers")
async def set_owner(call: Call) -> Any:
    dataset = manageable(call, call.params["dataset_id"])
    body = call.json_object()
    give(call, dataset, new_owner(call, body.get("responsibleUserId"), body.get("responsibleGroupId")))
    return DONE


def new_owner(call: Call, user_id: Any, group_id: Any = None) -> str:
    """ "USER:27" or "GROUP:3", of the one that is given; 400 unless it exists."""
    if (user_id is None) == (group_id is None):
        raise Refusal(400, "A user id or a group id is required")
    try:
        if user_id is not None:
            return vault.grantee(call, "USER", user_id)
        return vault.grantee(call, "GROUP", group_id)
    except Refusal as refusal:
        raise Refusal(400, refusal.message) from None  # 404 would be of the dataset


@area.on("PUT", V2 + "/responsible-user/{user_id}")
async def bulk_owner(call: Call) -> Any:
    """All or none."""
    owner = new_owner(call, call.params["user_id"])
    for dataset in [manageable(call, str(each)) for each in dict.fromkeys(call.json_list())]:
        give(call, dataset, owner)
    return DONE


@area.on("POST", V2 + "/account/{account_id}")
async def switch_account(call: Call) -> Any:
    """All or none of the datasets sign in with that account from now on."""
    account = vault.find(call, call.number("account_id"))
    for dataset in [writable(call, str(each)) for each in dict.fromkeys(call.json_list())]:
        dataset.account_id = account.id
        if (stream := stream_of(call, dataset)) is not None:
            vault.sign_in_with(stream, account.id)
        touch(call, dataset)
    return DONE


# deleting


def delete_by(call: Call, dataset: Dataset) -> None:
    """Delete it in the way that `deleteMethod` says."""
    method = call.query.get("deleteMethod", "soft")
    if method == "hard":
        remove(call, dataset)
    elif method == "soft":
        dataset.deleted = True
        touch(call, dataset)
    else:
        raise Refusal(400, "deleteMethod must be soft or hard")


@area.on("DELETE", ONE)
async def delete(call: Call) -> Any:
    """One that was soft-deleted can still be deleted hard."""
    hard = call.query.get("deleteMethod") == "hard"
    delete_by(call, manageable(call, call.params["dataset_id"], deleted=hard))


@area.on("POST", V3 + "/delete")
async def bulk_delete(call: Call) -> Any:
    """All or none: ids are looked at before anything is deleted."""
    for dataset in [manageable(call, str(each)) for each in dict.fromkeys(call.json_list())]:
        delete_by(call, dataset)
    return DONE


@area.on("POST", V3 + "/restore")
async def restore(call: Call) -> Any:
    """All or none; each of them goes to the user that is named for it."""
    given = objects_at(call.json_object(), "datasets")
    if not given:
        raise Refusal(400, "datasets is required")
    if any(each.get("newOwnerId") is None for each in given):
        raise Refusal(400, "newOwnerId is required")
    back: list[tuple[Dataset, str]] = []
    for each in given:
        dataset = manageable(call, str(each.get("datasetId")), deleted=True)
        if not dataset.deleted:
            raise Refusal(400, "Only a deleted dataset can be restored")
        back.append((dataset, new_owner(call, each["newOwnerId"])))
    for dataset, owner in back:
        dataset.deleted = False
        give(call, dataset, owner)
    return DONE


# how it is


def _status(call: Call, dataset: Dataset) -> dict[str, Any]:
    open_requests = [
        request
        for request in call.state.index_requests.values()
        if request.dataset_id == dataset.id and not request.done
    ]
    code = "PROCESSING" if open_requests else "SUCCESS" if has_data(dataset) else "IDLE"
    columns = indexed_columns(call.state, dataset) if has_data(dataset) else []
    current = current_as_of(dataset)
    return {
        "dataSourceId": dataset.id,
        "cachedTimestamp": call.now(),
        "dimension": {"rowCount": dataset.rows, "columnCount": len(columns), "schema": columns},
        "status": {
            "code": code,
            "message": "",
            "percent": 0 if open_requests else 100,
            "dataCurrentAsOf": current,
            "dataUpdatedAsOf": current,
        },
        "version": {
            "appendChain": str(len(dataset.indexed)),
            "latestDataVersionId": dataset.indexed[-1] if dataset.indexed else None,
        },
    }


@area.on("GET", ONE + "/statuses")
async def status(call: Call) -> Any:
    return _status(call, readable(call, call.params["dataset_id"]))


@area.on("POST", V3 + "/statuses", changes=False)
async def statuses(call: Call) -> Any:
    wanted = {str(each) for each in call.json_list()}
    return [_status(call, dataset) for dataset in visible(call.state, call.user) if dataset.id in wanted]


@area.on("GET", ONE + "/hierarchy")
async def hierarchy(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    return {"dataSourceId": dataset.id, "type": "ROOT_DATASOURCE", "inputDataSources": []}


@area.on("GET", ONE + "/impacted-resources")
async def impacted(call: Call) -> Any:
    """Nothing: there are neither cards nor dataflows."""
    readable(call, call.params["dataset_id"])
    kinds = ("Cards", "DataFlows", "Alerts")
    return {f"{what}{kind}": [] for what in ("broken", "affected") for kind in kinds} | {"unaffectedDataFlows": []}


@area.on("GET", "/api/content/v1/datasources/{dataset_id}/cards")
async def cards(call: Call) -> Any:
    readable(call, call.params["dataset_id"])
    return []
