"""Row policies (PDP) of the platform API."""

from collections.abc import Mapping, Sequence
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


async def create_policy(
    auth: Auth,
    dataset_id: str,
    *,
    name: str,
    filters: Sequence[Mapping[str, Any]],
    user_ids: Sequence[int | str],
    group_ids: Sequence[int | str],
    virtual_user_ids: Sequence[str],
) -> Json:
    """Create a policy; `ignoreCase` of a filter has no place here. Source: POST /v1/datasets/{dataset_id}/policies"""
    body = _body(name, filters, user_ids, group_ids, virtual_user_ids)
    return await send(auth, CREATE_POLICY, json=body, dataset_id=dataset_id)


async def update_policy(
    auth: Auth,
    dataset_id: str,
    policy_id: int,
    *,
    name: str,
    filters: Sequence[Mapping[str, Any]],
    user_ids: Sequence[int | str],
    group_ids: Sequence[int | str],
    virtual_user_ids: Sequence[str],
) -> Json:
    """Replace a policy: all of it. Source: PUT /v1/datasets/{dataset_id}/policies/{policy_id}"""
    body = _body(name, filters, user_ids, group_ids, virtual_user_ids) | {"id": policy_id}
    return await send(auth, UPDATE_POLICY, json=body, dataset_id=dataset_id, policy_id=policy_id)


async def delete_policy(auth: Auth, dataset_id: str, policy_id: int) -> None:
    """Delete a policy. Source: DELETE /v1/datasets/{dataset_id}/policies/{policy_id}"""
    await send(auth, DELETE_POLICY, dataset_id=dataset_id, policy_id=policy_id)


async def switch_policies(auth: Auth, dataset_id: str, *, enabled: bool) -> None:
    """Apply the policies of a DataSet, or none of them. Source: PUT /v1/datasets/{dataset_id}"""
    await send(auth, SWITCH, json={"pdpEnabled": enabled}, dataset_id=dataset_id)


def _body(
    name: str,
    filters: Sequence[Mapping[str, Any]],
    user_ids: Sequence[int | str],
    group_ids: Sequence[int | str],
    virtual_user_ids: Sequence[str],
) -> dict[str, Any]:
    keys = ("column", "values", "operator", "not")
    return {
        "type": "user",
        "name": name,
        "filters": [{key: one.get(key, False) for key in keys} for one in filters],
        "users": [int(one) for one in user_ids],
        "virtualUsers": list(virtual_user_ids),
        "groups": [int(one) for one in group_ids],
    }
