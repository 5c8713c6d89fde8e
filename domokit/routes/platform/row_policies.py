"""Row policies (PDP) of the platform API."""

from collections.abc import Mapping
from typing import Any

from domokit.auth import Auth
from domokit.transport import Json, platform, send

LIST_POLICIES = platform("GET", "/v1/datasets/{dataset_id}/policies", returns=list)
GET_POLICY = platform("GET", "/v1/datasets/{dataset_id}/policies/{policy_id}")
CREATE_POLICY = platform("POST", "/v1/datasets/{dataset_id}/policies")
UPDATE_POLICY = platform("PUT", "/v1/datasets/{dataset_id}/policies/{policy_id}")
DELETE_POLICY = platform("DELETE", "/v1/datasets/{dataset_id}/policies/{policy_id}", returns=None)
SWITCH = platform("PUT", "/v1/datasets/{dataset_id}", returns=None)


async def list_policies(auth: Auth, dataset_id: str) -> list[Json]:
    """All policies. Source: GET /v1/datasets/{dataset_id}/policies"""
    return await send(auth, LIST_POLICIES, dataset_id=dataset_id)


async def get_policy_by_id(auth: Auth, dataset_id: str, policy_id: int) -> Json:
    """One policy. Source: GET /v1/datasets/{dataset_id}/policies/{policy_id}"""
    return await send(auth, GET_POLICY, dataset_id=dataset_id, policy_id=policy_id)


async def create_policy(auth: Auth, dataset_id: str, policy: Mapping[str, Any]) -> Json:
    """Create a policy. Source: POST /v1/datasets/{dataset_id}/policies

    policy:  name, type (user if left out; system or open), user_ids, group_ids, virtual_user_ids, and filters, each
             with column, values, operator, not; `ignoreCase` and `kind` have no place here.
    """
    return await send(auth, CREATE_POLICY, json=_body(policy), dataset_id=dataset_id)


async def update_policy(auth: Auth, dataset_id: str, policy_id: int, policy: Mapping[str, Any]) -> Json:
    """Replace a policy: all of it. Source: PUT /v1/datasets/{dataset_id}/policies/{policy_id}"""
    body = _body(policy) | {"id": policy_id}
    return await send(auth, UPDATE_POLICY, json=body, dataset_id=dataset_id, policy_id=policy_id)


async def delete_policy(auth: Auth, dataset_id: str, policy_id: int) -> None:
    """Delete a policy. Source: DELETE /v1/datasets/{dataset_id}/policies/{policy_id}"""
    await send(auth, DELETE_POLICY, dataset_id=dataset_id, policy_id=policy_id)


async def switch_policies(auth: Auth, dataset_id: str, *, enabled: bool) -> None:
    """Apply the policies of a DataSet, or none of them. Source: PUT /v1/datasets/{dataset_id}"""
    await send(auth, SWITCH, json={"pdpEnabled": enabled}, dataset_id=dataset_id)


def _body(policy: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("column", "values", "operator", "not")
    return {
        "type": policy.get("type", "user"),
        "name": policy["name"],
        "filters": [{key: one[key] for key in shown} for one in policy["filters"]],
        "users": [int(one) for one in policy["user_ids"]],
        "virtualUsers": list(policy["virtual_user_ids"]),
        "groups": [int(one) for one in policy["group_ids"]],
    }
