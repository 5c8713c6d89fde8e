"""Row policies of datasets, as the platform API manages them."""

from __future__ import annotations

from typing import Any

from .. import policies
from ..dataset_access import manageable
from ..dataset_shapes import platform_policy
from ..model import Dataset, Policy
from ..replies import empty, reply
from ..wire import Area, Call, Refusal, list_at, objects_at

area = Area("platform", scope="data")
PATH = "/v1/datasets/{dataset_id}/policies"
ONE = PATH + "/{pdp_id}"


def _dataset(call: Call) -> Dataset:
    return manageable(call, call.params["dataset_id"])


def _ids(body: dict[str, Any], key: str) -> list[int]:
    """Whole numbers. They need not be of anybody, as in Domo."""
    ids = list_at(body, key)
    if any(isinstance(each, bool) or not isinstance(each, int) for each in ids):
        raise Refusal(400, f"{key} must be a list of ids")
    return list(dict.fromkeys(ids))


def _fill(dataset: Dataset, policy: Policy, body: dict[str, Any]) -> Policy:
    """The policy as the body has it; what the body leaves out stays, but for the name. Not yet stored."""
    name, kind = body.get("name"), body.get("type") or policy.type
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "A policy needs a name")
    # The documentation names the type open, but of the policy that is there by itself: there is no second one.
    if kind not in policies.TYPES or (kind == "open") != (policy.type == "open"):
        raise Refusal(400, f"A policy cannot be made of the type {kind!r}")
    filters = policies.checked(dataset, objects_at(body, "filters")) if "filters" in body else policy.filters
    if kind == "open" and filters:
        raise Refusal(400, f"The policy {policies.ALL_ROWS} takes no filters")
    return Policy(
        id=policy.id,
        dataset_id=dataset.id,
        name=name,
        type=kind,
        filters=filters,
        user_ids=_ids(body, "users") if "users" in body else policy.user_ids,
        group_ids=_ids(body, "groups") if "groups" in body else policy.group_ids,
        virtual_user_ids=(
            [str(each) for each in list_at(body, "virtualUsers")] if "virtualUsers" in body else policy.virtual_user_ids
        ),
    )


@area.on("GET", PATH)
async def list_policies(call: Call) -> Any:
    return [platform_policy(policy) for policy in policies.of(call.state, _dataset(call))]


@area.on("POST", PATH)
async def create(call: Call) -> Any:
    """Filters nothing before `pdpEnabled` of the dataset is set."""
    dataset = _dataset(call)
    policy = _fill(dataset, Policy(0, dataset.id, ""), call.json_object())
    policies.add(call.state, dataset, policy)
    return reply(platform_policy(policy), 201)


@area.on("GET", ONE)
async def get(call: Call) -> Any:
    return platform_policy(policies.found(call.state, _dataset(call), call.number("pdp_id")))


@area.on("PUT", ONE)
async def update(call: Call) -> Any:
    dataset = _dataset(call)
    policy = policies.found(call.state, dataset, call.number("pdp_id"))
    changed = _fill(dataset, policy, call.json_object())
    call.state.policies[policy.id] = changed
    return platform_policy(changed)


@area.on("DELETE", ONE)
async def delete(call: Call) -> Any:
    policies.remove(call.state, policies.found(call.state, _dataset(call), call.number("pdp_id")))
    return empty(204)
