"""What the pages of the product do to many datasets at once: each for itself, failures are part of the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import executions
from ..dataset_access import give, manageable, shareable, touch, writable
from ..dataset_search import searched
from ..executions import executions_of
from ..loading import stream_of
from ..model import Dataset
from ..wire import Area, Call, Refusal, as_object, list_at
from .datasource_sharing import shared, tags_of
from .datasources import new_owner

area = Area("product")
PATH = "/api/data/v1/ui/bulk"
Find = Callable[[Call, str], Dataset]
Change = Callable[[Dataset], None]
Unfit = Callable[[Call, Dataset], str | None]  # why this one cannot be treated so, if it cannot


def _ids(call: Call, items: dict[str, Any]) -> list[str]:
    """Those that are named, or that a search finds: its text, or the whole of its body."""
    ids, query = list_at(items, "ids"), items.get("query")
    if not ids and query:
        found = searched(call, as_object(query) or {"query": query})
        ids = [dataset.id for dataset in found]
    elif not ids:
        raise Refusal(400, "ids or query is required")
    left_out = set(map(str, list_at(items, "excludeIds")))
    return [each for each in dict.fromkeys(map(str, ids)) if each not in left_out]


def _items(body: dict[str, Any]) -> dict[str, Any]:
    """Some actions have them one level down."""
    return (as_object(body.get("bulkItems")) or {}) if "bulkItems" in body else body


def _tried(call: Call, dataset_id: str, find: Find, unfit: Unfit, change: Change | None = None) -> str | None:
    """Why an action cannot be done to a dataset, in Domo's words; None if it can, and `change` has done it then."""
    try:
        dataset = find(call, dataset_id)
        reason = unfit(call, dataset)
        if reason is None and change is not None:
            change(dataset)
        return reason
    except Refusal as refusal:
        if refusal.status not in (403, 404):
            raise
        return "NO_ACCESS" if refusal.status == 403 else "DELETED"


def _offer(
    action: str,
    find: Find,
    prepared: Callable[[Call, dict[str, Any]], Change],
    unfit: Unfit = lambda call, dataset: None,
) -> None:
    """Serve an action, and the check that tells beforehand with which datasets it would fail."""

    async def act(call: Call) -> Any:
        body = call.json_object()
        items = _items(body)
        if items.get("type") != "DATA_SOURCE":
            raise Refusal(400, "type must be DATA_SOURCE")
        ids, change = _ids(call, items), prepared(call, body)
        done, failed = _sorted_out({each: _tried(call, each, find, unfit, change) for each in ids})
        return {"successful": done, "failed": failed}

    async def check(call: Call) -> Any:
        items = _items(call.json_object())
        fits = items.get("type") == "DATA_SOURCE"
        ids = _ids(call, items)
        valid, invalid = _sorted_out({each: _tried(call, each, find, unfit) if fits else "WRONG_TYPE" for each in ids})
        return {"validItems": valid, "invalidItems": invalid, "typeValid": fits}

    area.on("POST", f"{PATH}/{action}")(act)
    area.on("POST", f"{PATH}/{action}/check", changes=False)(check)


def _sorted_out(reasons: dict[str, str | None]) -> tuple[list[str], dict[str, str]]:
    failed = {each: reason for each, reason in reasons.items() if reason is not None}
    return [each for each in reasons if each not in failed], failed


def _reassigned(call: Call, body: dict[str, Any]) -> Change:
    owner = new_owner(call, body.get("userId"), body.get("groupId"))
    return lambda dataset: give(call, dataset, owner)


def _deleted(call: Call, body: dict[str, Any]) -> Change:
    """Soft: they can be restored."""

    def soften(dataset: Dataset) -> None:
        dataset.deleted = True
        touch(call, dataset)

    return soften


def _shared(call: Call, body: dict[str, Any]) -> Change:
    entity = as_object(body.get("dataSourceShareEntity")) or {}
    return lambda dataset: shared(call, dataset, entity)


def _tagged(call: Call, body: dict[str, Any]) -> Change:
    tags = tags_of(list_at(body, "tags"))

    def add(dataset: Dataset) -> None:
        dataset.tags = list(dict.fromkeys([*dataset.tags, *tags]))
        touch(call, dataset)

    return add


def _untagged(call: Call, body: dict[str, Any]) -> Change:
    tags = set(tags_of(list_at(body, "tags")))

    def drop(dataset: Dataset) -> None:
        dataset.tags = [each for each in dataset.tags if each not in tags]
        touch(call, dataset)

    return drop


def _run(call: Call, body: dict[str, Any]) -> Change:
    def start(dataset: Dataset) -> None:
        stream = stream_of(call, dataset)
        assert stream is not None
        executions.run(call, stream, dataset)

    return start


def _runs_not(call: Call, dataset: Dataset) -> str | None:
    """Connectors are run; and one execution at a time, though no word is documented for a second one."""
    stream = stream_of(call, dataset)
    if stream is None or dataset.takes_data:
        return "WRONG_TYPE"
    return "EXCESS" if any(each.state == "ACTIVE" for each in executions_of(call, stream)) else None


_offer("reassign", manageable, _reassigned)
_offer("delete", manageable, _deleted)
_offer("share", shareable, _shared)
_offer("tag", writable, _tagged)
_offer("tag/delete", writable, _untagged)
_offer("run", writable, _run, _runs_not)
