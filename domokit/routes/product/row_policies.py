"""Row policies (PDP): who sees which rows of a DataSet. The product API calls a policy a filter group."""

from collections.abc import Mapping
from typing import Any

from domokit.auth import Auth
from domokit.errors import NotFoundError
from domokit.transport import Json, product, send

LIST_POLICIES = product("GET", "/api/query/v1/data-control/{dataset_id}/filter-groups", returns=list)
CREATE_POLICY = product("POST", "/api/query/v1/data-control/{dataset_id}/filter-groups")
UPDATE_POLICY = product("PUT", "/api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}")
DELETE_POLICY = product("DELETE", "/api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}", returns=None)
GET_DATA_CONTROL = product("GET", "/api/query/v2/data-control/{dataset_id}")
SWITCH = product("PUT", "/api/query/v1/data-control/{dataset_id}", returns=None)


async def list_policies(auth: Auth, dataset_id: str) -> list[Json]:
    """All policies with their filters and people. Source: GET /api/query/v1/data-control/{dataset_id}/filter-groups"""
    params = {"options": "load_associations,load_filters,include_open_policy"}
    return await send(auth, LIST_POLICIES, params=params, dataset_id=dataset_id)


async def get_policy_by_id(auth: Auth, dataset_id: str, policy_id: int) -> Json:
    """One policy, out of the list: there is no other way. Raises: NotFoundError.

    Source: GET /api/query/v1/data-control/{dataset_id}/filter-groups
    """
    for policy in await list_policies(auth, dataset_id):
        if policy.get("filterGroupId") == policy_id:
            return policy
    raise NotFoundError(f"there is no policy {policy_id}", asked=str(LIST_POLICIES), status=200)


async def create_policy(auth: Auth, dataset_id: str, policy: Mapping[str, Any]) -> Json:
    """Create a policy. Source: POST /api/query/v1/data-control/{dataset_id}/filter-groups

    policy:  name, user_ids, group_ids, virtual_user_ids, dataset_permissions (False if left out), and filters, each
             with column, values, operator, not, ignoreCase, and kind (COLUMN if left out, or DYNAMIC).
    """
    return await send(auth, CREATE_POLICY, json=_body(dataset_id, policy), dataset_id=dataset_id)


async def update_policy(auth: Auth, dataset_id: str, policy_id: int, policy: Mapping[str, Any]) -> Json:
    """Replace a policy: all of it. Source: PUT /api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}"""
    body = _body(dataset_id, policy) | {"filterGroupId": policy_id}
    return await send(auth, UPDATE_POLICY, json=body, dataset_id=dataset_id, policy_id=policy_id)


async def delete_policy(auth: Auth, dataset_id: str, policy_id: int) -> None:
    """Delete a policy. Source: DELETE /api/query/v1/data-control/{dataset_id}/filter-groups/{policy_id}"""
    await send(auth, DELETE_POLICY, dataset_id=dataset_id, policy_id=policy_id)


async def get_data_control(auth: Auth, dataset_id: str) -> Json:
    """Whether row policies apply. Source: GET /api/query/v2/data-control/{dataset_id}"""
    return await send(auth, GET_DATA_CONTROL, dataset_id=dataset_id)


async def switch_policies(auth: Auth, dataset_id: str, *, enabled: bool) -> None:
    """Apply the row policies of a DataSet, or none of them; what else is set, such as for columns, stays.

    Source: GET /api/query/v2/data-control/{dataset_id}, PUT /api/query/v1/data-control/{dataset_id}
    """
    now = await get_data_control(auth, dataset_id)
    others = {name: now.get(name) is True for name in ("secured", "external", "enabledColumn")}
    await send(auth, SWITCH, json={"enabled": enabled, **others}, dataset_id=dataset_id)


def _body(dataset_id: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [
        {
            "type": one.get("kind", "COLUMN"),
            "name": one["column"],
            "values": one["values"],
            "operator": one["operator"],
            "not": one["not"],
            "ignoreCase": one["ignoreCase"],
        }
        for one in policy["filters"]
    ]
    return {
        "name": policy["name"],
        "dataSourceId": dataset_id,
        "userIds": [str(one) for one in policy["user_ids"]],
        "virtualUserIds": list(policy["virtual_user_ids"]),
        "groupIds": [str(one) for one in policy["group_ids"]],
        "dataSourcePermissions": policy.get("dataset_permissions", False),
        "parameters": parameters,
    }
