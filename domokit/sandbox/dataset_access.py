"""Who may do what with a dataset, and its other rules that both API families share."""

from __future__ import annotations

from typing import Any

from . import policies
from .model import Dataset, User
from .policies import owns
from .state import State
from .wire import Call, Refusal, as_list, as_object

# Each includes those before it. Editing includes sharing, other than for accounts.
LEVELS = ("NONE", "FEDERATED", "CAN_VIEW", "CAN_SHARE", "CAN_EDIT", "CO_OWNER", "OWNER")
COLUMN_TYPES = frozenset({"STRING", "LONG", "DOUBLE", "DECIMAL", "DATE", "DATETIME"})


def owner_of(dataset: Dataset) -> str:
    """As in `shares`: "USER:27" or "GROUP:3"."""
    return f"{dataset.owner_type}:{dataset.owner_id}"


def owner_name(state: State, dataset: Dataset) -> str:
    return grantee_name(state, owner_of(dataset))


def grantee_name(state: State, grantee: str) -> str:
    """The name of a user or group; empty of one that is gone, and of whatever else it may be."""
    kind, _, its_id = grantee.partition(":")
    if kind == "USER":
        user = state.users.get(int(its_id))
        return user.display_name if user else ""
    group = state.groups.get(int(its_id)) if kind == "GROUP" else None
    return group.name if group else ""


def level_of(state: State, dataset: Dataset, user: User) -> str:
    """The user's strongest access level, through himself, his groups or his role."""
    if owns(state, dataset, user) or "dataset.manage" in state.grants_of(user):
        return "OWNER"
    grantees = [f"USER:{user.id}", *(f"GROUP:{group.id}" for group in state.groups_of(user.id))]
    return max((dataset.shares.get(grantee, "NONE") for grantee in grantees), key=LEVELS.index)


def allows(state: State, dataset: Dataset, user: User, level: str) -> bool:
    return LEVELS.index(level_of(state, dataset, user)) >= LEVELS.index(level)


def visible(state: State, user: User) -> list[Dataset]:
    """The datasets that are not deleted and that the user may see, in the order of their making."""
    return [
        dataset
        for dataset in list(state.datasets.values())
        if not dataset.deleted and allows(state, dataset, user, "CAN_VIEW")
    ]


def readable(call: Call, dataset_id: str, *, deleted: bool = False) -> Dataset:
    """The dataset, if the caller may see it; 404 for an unknown or deleted one, 403 for one not shared with him."""
    return _held(call, dataset_id, "CAN_VIEW", deleted)


def shareable(call: Call, dataset_id: str) -> Dataset:
    """The same for whoever may share it on."""
    return _held(call, dataset_id, "CAN_SHARE")


def writable(call: Call, dataset_id: str) -> Dataset:
    """The same for whoever may change its data and its description."""
    return _held(call, dataset_id, "CAN_EDIT")


def manageable(call: Call, dataset_id: str, *, deleted: bool = False) -> Dataset:
    """The same for whoever may delete it, give it away and set its policies."""
    return _held(call, dataset_id, "CO_OWNER", deleted)


def _held(call: Call, dataset_id: str, level: str, deleted: bool = False) -> Dataset:
    dataset = call.state.datasets.get(dataset_id)
    if dataset is None or (dataset.deleted and not deleted):
        raise Refusal(404, "No such dataset")
    if not allows(call.state, dataset, call.user, level):
        if allows(call.state, dataset, call.user, "CAN_VIEW"):
            raise Refusal(403, f"You need {level} on this dataset")
        raise Refusal(403, "The dataset is not shared with you")
    return dataset


def give(call: Call, dataset: Dataset, owner: str) -> None:
    """Make "USER:27" or "GROUP:3" the owner; whose it was has no more than he is given otherwise."""
    kind, _, its_id = owner.partition(":")
    dataset.owner_type, dataset.owner_id = kind, int(its_id)
    dataset.shares.pop(owner, None)
    touch(call, dataset)


def touch(call: Call, dataset: Dataset) -> None:
    dataset.modified = call.now()


def remove(call: Call, dataset: Dataset) -> None:
    """Delete it for good, with its rows, its policies and the streams that feed it."""
    state = call.state
    state.datasets.pop(dataset.id, None)
    policies.forget(state, dataset)
    for stream in state.streams.values():
        stream.deleted = stream.deleted or stream.dataset_id == dataset.id
    call.company.warehouse.drop(dataset)


def columns_of(value: Any) -> list[dict[str, str]]:
    """Columns out of a request's schema, `{"columns": [{"type", "name"}]}`; 400 for what Domo would not take."""
    given = as_list((as_object(value) or {}).get("columns"))
    if not given:
        raise Refusal(400, "A schema needs columns")
    columns: list[dict[str, str]] = []
    names: set[str] = set()
    for each in map(as_object, given):
        name, kind = (each or {}).get("name"), (each or {}).get("type")
        if not isinstance(name, str) or not name.strip():
            raise Refusal(400, "Each column needs a name")
        if kind not in COLUMN_TYPES:
            raise Refusal(400, f"Invalid column type {kind!r} of column {name}")
        if name.casefold() in names:
            raise Refusal(400, f"Duplicate column name {name}")
        names.add(name.casefold())
        columns.append({"type": str(kind), "name": name})
    return columns


def set_columns(call: Call, dataset: Dataset, columns: list[dict[str, str]]) -> None:
    """A new schema version, unless nothing changes. Data that is there stays as it is until the next load."""
    if columns != dataset.columns:
        new_schema(call, dataset, columns)


def new_schema(call: Call, dataset: Dataset, columns: list[dict[str, str]]) -> None:
    """The same, even if nothing changes."""
    dataset.columns = columns
    dataset.schema_id += 1
    touch(call, dataset)
