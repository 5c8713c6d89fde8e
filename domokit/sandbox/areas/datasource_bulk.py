"""What the pages of the product do to many datasets at once: each for itself, failures are part of the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import executions
from ..dataset_access import give, manageable, shareable, touch, writable
from ..loading import stream_of
from ..model import Dataset
from ..wire import Area, Call, Refusal, as_object, list_at
from .datasource_sharing import shared, tags_of
from .datasources import new_owner

area = Area("product")
PATH = "/api/data/v1/ui/bulk"


def _items(value: Any) -> list[str]:
    items = as_object(value)
    if items is None or items.get("type") != "DATA_SOURCE":
        raise Refusal(400, "type must be DATA_SOURCE")
    left_out = set(map(str, list_at(items, "excludeIds")))
    return [each for each in dict.fromkeys(map(str, list_at(items, "ids"))) if each not in left_out]


def _each(
    call: Call, ids: list[str], find: Callable[[Call, str], Dataset], change: Callable[[Dataset], None]
) -> dict[str, Any]:
    done: list[str] = []
    failed: dict[str, str] = {}
    for dataset_id in ids:
        try:
            change(find(call, dataset_id))
            done.append(dataset_id)
        except Refusal as refusal:
            if refusal.status not in (403, 404):
                raise
            failed[dataset_id] = "NO_ACCESS" if refusal.status == 403 else "DELETED"
    return {"successful": done, "failed": failed}


@area.on("POST", PATH + "/reassign")
async def reassign(call: Call) -> Any:
    body = call.json_object()
    ids, owner = _items(body), new_owner(call, body.get("userId"), body.get("groupId"))
    return _each(call, ids, manageable, lambda dataset: give(call, dataset, owner))


@area.on("POST", PATH + "/delete")
async def delete(call: Call) -> Any:
    """Soft: they can be restored."""

    def soften(dataset: Dataset) -> None:
        dataset.deleted = True
        touch(call, dataset)

    return _each(call, _items(call.json_object()), manageable, soften)


@area.on("POST", PATH + "/share")
async def share(call: Call) -> Any:
    body = call.json_object()
    entity = as_object(body.get("dataSourceShareEntity")) or {}
    return _each(call, _items(body.get("bulkItems")), shareable, lambda dataset: shared(call, dataset, entity))


@area.on("POST", PATH + "/tag")
async def tag(call: Call) -> Any:
    body = call.json_object()
    tags = tags_of(list_at(body, "tags"))

    def add(dataset: Dataset) -> None:
        dataset.tags = list(dict.fromkeys([*dataset.tags, *tags]))
        touch(call, dataset)

    return _each(call, _items(body.get("bulkItems")), writable, add)


@area.on("POST", PATH + "/tag/delete")
async def untag(call: Call) -> Any:
    body = call.json_object()
    tags = set(tags_of(list_at(body, "tags")))

    def drop(dataset: Dataset) -> None:
        dataset.tags = [each for each in dataset.tags if each not in tags]
        touch(call, dataset)

    return _each(call, _items(body.get("bulkItems")), writable, drop)


@area.on("POST", PATH + "/run")
async def run(call: Call) -> Any:
    """Starts the streams of those that have a connector; the others are of the wrong type."""

    def start(dataset: Dataset) -> None:
        stream = stream_of(call, dataset)
        assert stream is not None
        executions.run(call, stream, dataset)

    ids = _items(call.json_object())
    wrong = [each for each in ids if (found := call.state.datasets.get(each)) and stream_of(call, found) is None]
    answer = _each(call, [each for each in ids if each not in wrong], writable, start)
    answer["failed"] |= dict.fromkeys(wrong, "WRONG_TYPE")
    return answer
