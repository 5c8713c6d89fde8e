"""Row policies of datasets, as the product manages them: there a policy is a filter group."""

from __future__ import annotations

from typing import Any

from .. import policies
from ..dataset_access import manageable
from ..model import Dataset, Policy
from ..wire import Area, Call, Refusal, list_at, objects_at

area = Area("product")
ONE = "/api/query/v1/data-control/{dataset_id}"
GROUPS = ONE + "/filter-groups"
GROUP = GROUPS + "/{filter_group_id}"
V2 = "/api/query/v2/data-control/{dataset_id}"
_OTHERS = ("secured", "external", "enabledColumn")


def _dataset(call: Call) -> Dataset:
    return manageable(call, call.params["dataset_id"])


def _set_id(call: Call, dataset: Dataset) -> int:
    """One number for all the policies of a dataset: that of the first."""
    return min((policy.id for policy in policies.of(call.state, dataset)), default=0)


def _shape(
    call: Call, dataset: Dataset, policy: Policy, *, people: bool = True, filters: bool = True
) -> dict[str, Any]:
    """Ids are numbers at the top and texts under `resources`; empty lists of people are left out."""
    row: dict[str, Any] = {
        "filterGroupId": policy.id,
        "name": policy.name,
        "dataSourceId": dataset.id,
        "policySetId": _set_id(call, dataset),
        "type": policy.type,
        "dataSourcePermissions": False,
    }
    if people:
        named: dict[str, tuple[str, list[Any]]] = {
            "USER": ("userIds", policy.user_ids),
            "GROUP": ("groupIds", policy.group_ids),
            "VIRTUAL_USER": ("virtualUserIds", policy.virtual_user_ids),
        }
        row["resources"] = {kind: [str(each) for each in ids] for kind, (_, ids) in named.items() if ids}
        row |= {key: ids for key, ids in named.values() if ids}
    if filters:
        row["parameters"] = [
            {
                "name": row_filter["column"],
                "value": row_filter["values"][0],
                "values": row_filter["values"],
                "type": row_filter["type"],
                "operator": row_filter["operator"],
                "not": row_filter["not"],
                "ignoreCase": row_filter["ignoreCase"],
            }
            for row_filter in policy.filters
        ]
    return row


def _ids(body: dict[str, Any], key: str) -> list[int]:
    """Texts or numbers. They need not be of anybody, as in Domo."""
    try:
        return list(dict.fromkeys(int(str(each)) for each in list_at(body, key)))
    except ValueError:
        raise Refusal(400, f"{key} must be a list of ids") from None


def _policy(call: Call, dataset: Dataset, kind: str = "user") -> Policy:
    """The policy in the body, whole: what is left out is empty."""
    body = call.json_object()
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "name is required")
    if body.get("dataSourceId") != dataset.id:
        raise Refusal(400, "dataSourceId must be the id of the dataset in the path")
    given = [each | {"column": each.get("name")} for each in objects_at(body, "parameters")]
    if kind == "open" and given:
        raise Refusal(400, f"The policy {policies.ALL_ROWS} takes no filters")
    return Policy(
        id=0,
        dataset_id=dataset.id,
        name=name,
        type=kind,
        filters=policies.checked(dataset, given),
        user_ids=_ids(body, "userIds"),
        group_ids=_ids(body, "groupIds"),
        virtual_user_ids=[str(each) for each in list_at(body, "virtualUserIds")],
    )


@area.on("GET", GROUPS)
async def list_groups(call: Call) -> Any:
    """`options` says what is filled in: load_associations, load_filters; and include_open_policy."""
    dataset = _dataset(call)
    options = {each.strip() for text in call.query.getlist("options") for each in text.split(",")}
    return [
        _shape(call, dataset, policy, people="load_associations" in options, filters="load_filters" in options)
        for policy in policies.of(call.state, dataset)
        if policy.type != "open" or "include_open_policy" in options
    ]


@area.on("POST", GROUPS)
async def create(call: Call) -> Any:
    dataset = _dataset(call)
    policy = _policy(call, dataset)
    policies.add(call.state, dataset, policy)
    return _shape(call, dataset, policy)


@area.on("PUT", GROUP)
async def update(call: Call) -> Any:
    dataset = _dataset(call)
    before = policies.found(call.state, dataset, call.number("filter_group_id"))
    policy = _policy(call, dataset, before.type)
    policy.id = before.id
    call.state.policies[policy.id] = policy
    return _shape(call, dataset, policy)


@area.on("DELETE", GROUP)
async def delete(call: Call) -> Any:
    dataset = _dataset(call)
    policies.remove(call.state, policies.found(call.state, dataset, call.number("filter_group_id")))


def _flags(dataset: Dataset) -> dict[str, bool]:
    return {"enabled": dataset.pdp_enabled} | {name: name in dataset.pdp_flags for name in _OTHERS}


@area.on("PUT", ONE)
async def toggle(call: Call) -> Any:
    """All four flags must be given. Those other than `enabled` are kept, and change nothing here."""
    dataset = _dataset(call)
    body = call.json_object()
    flags = {key: body.get(key) for key in _flags(dataset)}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise Refusal(400, f"{', '.join(flags)} must all be true or false")
    dataset.pdp_flags = [name for name in _OTHERS if flags[name]]
    policies.switch(call.state, dataset, flags["enabled"] is True)
    return _flags(dataset)


@area.on("GET", V2)
async def get(call: Call) -> Any:
    return _flags(_dataset(call))


@area.on("GET", V2 + "/policy-group")
async def column_policies(call: Call) -> Any:
    """There are none."""
    _dataset(call)
    return []


@area.on("GET", V2 + "/column-policy-mapping")
async def column_mapping(call: Call) -> Any:
    _dataset(call)
    return []
