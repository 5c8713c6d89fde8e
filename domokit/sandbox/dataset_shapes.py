"""The shapes in which Domo shows the same dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from . import policies
from .clock import iso_z
from .dataset_access import allows, level_of, owner_name
from .model import Dataset, Policy, User
from .policies import indexed_columns
from .state import State
from .wire import Refusal

Json = dict[str, Any]

PARTS = frozenset(
    {
        "core",
        "permission",
        "status",
        "pdp",
        "rowcolcount",
        "certification",
        "sharecount",
        "alertcount",
        "dataprovider",
        "features",
        "impactcounts",
        "functions",
        "cryo",
        "warnings",
        "pharos",
    }
)
MASKS = {
    "NONE": "NONE",
    "FEDERATED": "LIMITED_READ",
    "CAN_VIEW": "READ",
    "CAN_SHARE": "READ_SHARE",
    "CAN_EDIT": "READ_WRITE_SHARE",
    "CO_OWNER": "READ_WRITE_DELETE_SHARE",
    "OWNER": "READ_WRITE_DELETE_SHARE_ADMIN",
}


def has_data(dataset: Dataset) -> bool:
    """Whether anything was ever indexed."""
    return bool(dataset.indexed or dataset.rows or dataset.data_current)


def current_as_of(dataset: Dataset) -> int | None:
    """When the data that can be queried came in."""
    return (dataset.data_current or dataset.modified) if has_data(dataset) else None


# platform


def platform(state: State, dataset: Dataset) -> Json:
    """As listed. `description` is absent when there never was one; rows and columns are of what was indexed."""
    row: Json = {"id": dataset.id, "name": dataset.name}
    if dataset.description:
        row["description"] = dataset.description
    row |= {
        "rows": dataset.rows,
        "columns": len(indexed_columns(state, dataset)) if has_data(dataset) else 0,
        "owner": {"id": dataset.owner_id, "name": owner_name(state, dataset)},
        "createdAt": iso_z(dataset.created),
        "updatedAt": iso_z(dataset.modified),
        "pdpEnabled": dataset.pdp_enabled,
    }
    if (current := current_as_of(dataset)) is not None:
        row["dataCurrentAt"] = iso_z(current)
    return row


def platform_whole(state: State, dataset: Dataset, user: User) -> Json:
    """With the schema, and with the policies for those who may change them."""
    shown = policies.of(state, dataset) if allows(state, dataset, user, "CO_OWNER") else []
    extra: Json = {"schema": {"columns": dataset.columns}, "policies": [platform_policy(each) for each in shown]}
    return platform(state, dataset) | extra


def platform_policy(policy: Policy) -> Json:
    shown = ("column", "values", "operator", "not")
    return {
        "id": policy.id,
        "type": policy.type,
        "name": policy.name,
        "filters": [{key: row_filter[key] for key in shown} for row_filter in policy.filters],
        "users": policy.user_ids,
        "virtualUsers": policy.virtual_user_ids,
        "groups": policy.group_ids,
    }


# product


def product(state: State, dataset: Dataset, user: User, parts: Collection[str] = (), formulas: bool = True) -> Json:
    """As the product shows it; `parts` decides on what it fills in. A deleted one is hardly more than its name."""
    owned = {
        "id": str(dataset.owner_id),
        "name": owner_name(state, dataset),
        "type": dataset.owner_type,
        "group": dataset.owner_type == "GROUP",
    }
    if dataset.deleted:
        return {"id": dataset.id, "name": dataset.name, "owner": owned, "created": dataset.created, "deleted": True}
    row: Json = {
        "id": dataset.id,
        "name": dataset.name,
        "description": dataset.description,
        "displayType": dataset.display_type,
        "dataProviderType": dataset.provider,
        "type": dataset.type or dataset.provider,
        "owner": owned,
        "created": dataset.created,
        "lastTouched": dataset.modified,
        "lastUpdated": current_as_of(dataset) or dataset.created,
        "nextUpdate": None,
        "validConfiguration": True,
        "validAccount": True,
        "transportType": "API" if dataset.takes_data else "CONNECTOR",
        "adc": False,
        "adcExternal": False,
        "cloudId": dataset.cloud_id,
        "cloudName": "Domo" if dataset.cloud_id == "domo" else dataset.cloud_id,
        "hidden": dataset.hidden,
        "scheduleActive": False,
    }
    for part in sorted(parts):
        row |= _part(state, dataset, user, part)
    if not formulas:
        row.pop("properties", None)
    return row


def _part(state: State, dataset: Dataset, user: User, part: str) -> Json:
    match part:
        case "core":
            core: Json = {
                "tags": json.dumps(dataset.tags, separators=(",", ":"), ensure_ascii=False),
                "properties": {"formulas": {"formulas": {}}},
                "cardInfo": {"cardCount": 0, "cardViewCount": 0},
            }
            if (stream_id := stream_of(state, dataset)) is not None:
                core["streamId"] = stream_id
            if dataset.account_id is not None:
                core["accountId"] = dataset.account_id
            return core
        case "permission":
            return {"permissions": MASKS[level_of(state, dataset, user)]}
        case "status":
            code = "SUCCESS" if has_data(dataset) else "IDLE"
            return {"status": code, "state": code}
        case "pdp":
            return {"pdpEnabled": dataset.pdp_enabled}
        case "rowcolcount":
            columns = len(indexed_columns(state, dataset)) if has_data(dataset) else 0
            return {"rowCount": dataset.rows, "columnCount": columns}
        case "certification" if dataset.certified is not None:
            certified = {"state": "CERTIFIED", "processType": "COMPANY", "lastUpdated": dataset.certified}
            return {"certification": certified}
        case "sharecount":
            return {"shareCount": len(dataset.shares)}
        case "alertcount":
            return {"alertCount": 0}
        case "cryo":
            return {"cryoStatus": "ADRENALINE"}
        case _:
            return {}


def stream_of(state: State, dataset: Dataset) -> int | None:
    for stream in list(state.streams.values()):
        if stream.dataset_id == dataset.id and not stream.deleted:
            return stream.id
    return None


def product_columns(columns: list[dict[str, str]]) -> list[Json]:
    """Columns as the product's schemas list them."""
    metadata: Json = {"colLabel": "", "colFormat": "", "isEncrypted": False}
    return [column | {"id": column["name"], "visible": True, "metadata": metadata} for column in columns]


# lists

Key = Callable[[Dataset], Any]
_KEYS: dict[str, Key] = {
    "name": lambda dataset: dataset.name.lower(),
    "lastTouched": lambda dataset: dataset.modified,
    "lastUpdated": lambda dataset: current_as_of(dataset) or dataset.created,
    "createdAt": lambda dataset: dataset.created,
    "cardCount": lambda dataset: 0,
    "cardViewCount": lambda dataset: 0,
    "errorState": lambda dataset: 0,
    "dataSourceId": lambda dataset: dataset.id,
}
_RISING = ("name", "errorState", "dataSourceId")  # the others begin with the latest or the most


def in_order(datasets: list[Dataset], order: str | None) -> list[Dataset]:
    """Sorted by one of Domo's words for it; 400 for a word that is none."""
    if not order:
        return datasets
    for name, key in _KEYS.items():
        rising = name in _RISING
        if order in (name, f"{name}{'Descending' if rising else 'Ascending'}"):
            return sorted(datasets, key=key, reverse=(order == name) != rising)
    raise Refusal(400, f"Unknown order {order!r}")
