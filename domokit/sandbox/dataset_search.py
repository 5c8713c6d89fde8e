"""Datasets as the Data Center's search finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .dataset_access import visible
from .model import Dataset
from .providers import PROVIDERS
from .wire import Call, Refusal, as_object, list_at, objects_at


def _provider(dataset: Dataset) -> list[str]:
    """Its key, and the name that is shown for it."""
    known = PROVIDERS.get(dataset.provider)
    return [dataset.provider.casefold(), *([known.name.casefold()] if known else [])]


# What a filter compares; in lower case where upper and lower case count alike.
_READS: dict[str, Callable[[Dataset], list[str]]] = {
    "name_sort": lambda dataset: [dataset.name.casefold()],
    "databaseid": lambda dataset: [dataset.id],
    "owned_by_id": lambda dataset: [str(dataset.owner_id)],
    "dataprovidername_facet": _provider,
    "certification.state": lambda dataset: ["certified" if dataset.certified is not None else "not_certified"],
    "data_flow_type": lambda dataset: [],  # there are no dataflows
    "tags": lambda dataset: dataset.tags,
}
_FOLDED = ("name_sort", "dataprovidername_facet", "certification.state")


def _test(given: Mapping[str, Any]) -> Callable[[Dataset], bool]:
    """One filter; 400 for a kind or a field that is not known here."""
    field, kind = str(given.get("field")).lower(), given.get("filterType")
    if kind != "term" or field not in _READS:
        raise Refusal(400, f"Unknown filter {kind} of {field}")
    values = {str(each) for each in (given.get("value"), *list_at(given, "values")) if each is not None}
    if not values:
        raise Refusal(400, f"The filter of {field} needs a value")
    wanted = {each.casefold() for each in values} if field in _FOLDED else values
    read, inverted = _READS[field], given.get("not") in (True, "true")
    return lambda dataset: wanted.isdisjoint(read(dataset)) == inverted


def searched(call: Call, body: Mapping[str, Any]) -> list[Dataset]:
    """What a search of the instance-wide kind finds; its query is a part of the name, or has wildcards."""
    words = str(body.get("query") or "").lower().replace("*", " ").split()
    every, some, none = (
        [_test(each) for each in objects_at(body, key)] for key in ("filters", "orFilters", "notFilters")
    )
    found = [
        dataset
        for dataset in visible(call.state, call.user)
        if not dataset.hidden
        and all(word in dataset.name.lower() for word in words)
        and all(test(dataset) for test in every)
        and (not some or any(test(dataset) for test in some))
        and not any(test(dataset) for test in none)
    ]
    sorts = objects_at(as_object(body.get("sort")) or {}, "fieldSorts")
    field, order = (str(sorts[0].get(key)) for key in ("field", "sortOrder")) if sorts else ("name_sort", "ASC")
    if field not in ("name_sort", "create_date"):
        raise Refusal(400, f"Unknown field to sort by {field}")
    by_name = field == "name_sort"
    return sorted(found, key=lambda one: one.name.lower() if by_name else f"{one.created:020}", reverse=order == "DESC")
