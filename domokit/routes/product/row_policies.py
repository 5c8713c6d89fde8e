"""Row policies (PDP): who sees which rows of a DataSet. The product API calls a policy a filter group."""

from collections.abc import Mapping, Sequence
from typing import Any

from domokit.auth import Auth
from domokit.transport import Json, product, send

LIST_POLICIES = product("GET", "/api/query/v1/data-control/{dataset_id}/filter-groups", returns=list)
CREATE_POLICY = product("POST", "/api/query/v1/data-control/{dataset_id}/filter-groups")
UPDATE_POLICY = product("PUT", "/api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}")
DELETE_POLICY = product("DELETE", "/api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}", returns=None)
SWITCH = product("PUT", "/api/query/v1/data-control/{dataset_id}", returns=None)


async def list_policies(auth: Auth, dataset_id: str) -> list[Json]:
    """All policies with their filters and people. Source: GET /api/query/v1/data-control/{dataset_id}/filter-groups"""
    params = {"options": "load_associations,load_filters,include_open_policy"}
    return await send(auth, LIST_POLICIES, params=params, dataset_id=dataset_id)


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
    """Create a policy. Source: POST /api/query/v1/data-control/{dataset_id}/filter-groups

    filters:  {'column', 'values', 'operator', 'not', 'ignoreCase'} each.
    """
    body = _body(dataset_id, name, filters, user_ids, group_ids, virtual_user_ids)
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
    """Replace a policy: all of it. Source: PUT /api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}"""
    body = _body(dataset_id, name, filters, user_ids, group_ids, virtual_user_ids) | {"filterGroupId": policy_id}
    return await send(auth, UPDATE_POLICY, json=body, dataset_id=dataset_id, policy_id=policy_id)


async def delete_policy(auth: Auth, dataset_id: str, policy_id: int) -> None:
    """Delete a policy. Source: DELETE /api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}"""
    await send(auth, DELETE_POLICY, dataset_id=dataset_id, policy_id=policy_id)


async def switch_policies(auth: Auth, dataset_id: str, *, enabled: bool) -> None:
    """Apply the policies of a DataSet, or none of them. Source: PUT /api/query/v1/data-control/{dataset_id}"""
    body = {"enabled": enabled, "secured": False, "external": False, "enabledColumn": False}
    await send(auth, SWITCH, json=body, dataset_id=dataset_id)


def _body(
    dataset_id: str,
    name: str,
    filters: Sequence[Mapping[str, Any]],
    user_ids: Sequence[int | str],
    group_ids: Sequence[int | str],
    virtual_user_ids: Sequence[str],
) -> dict[str, Any]:
    parameters = [
        {
            "type": one.get("type", "COLUMN"),
            "name": one["column"],
            "values": list(one["values"]),
            "operator": one["operator"],
            "not": one.get("not", False),
            "ignoreCase": one.get("ignoreCase", False),
        }
        for one in filters
    ]
    return {
        "name": name,
        "dataSourceId": dataset_id,
        "userIds": [str(one) for one in user_ids],
        "virtualUserIds": list(virtual_user_ids),
        "groupIds": [str(one) for one in group_ids],
        "dataSourcePermissions": False,
        "parameters": parameters,
    }
