"""Many DataSets in one request. Those of the pages of the product say of each whether it was done."""

from collections.abc import Mapping, Sequence
from typing import Any

from domokit.auth import Auth
from domokit.transport import Json, product, send

_UI = "/api/data/v1/ui/bulk"

LIST_IDS = product("GET", "/api/data/v3/datasources/bulk/datasourceIds", returns=list)
LIST_PERMISSIONS = product("GET", "/api/data/v3/datasources/bulk/permissions", returns=list)
GET_STATUSES = product("POST", "/api/data/v3/datasources/statuses", returns=list, changes=False)
DELETE_ALL = product("POST", "/api/data/v3/datasources/delete", returns=None)
SET_OWNER_OF_ALL = product("PUT", "/api/data/v2/datasources/responsible-user/{user_id}", returns=None)
SWITCH_ACCOUNT = product("POST", "/api/data/v2/datasources/account/{account_id}", returns=None, repeatable=True)
REASSIGN = product("POST", f"{_UI}/reassign", repeatable=True)
SHARE = product("POST", f"{_UI}/share", repeatable=True)
ADD_TAGS = product("POST", f"{_UI}/tag", repeatable=True)
REMOVE_TAGS = product("POST", f"{_UI}/tag/delete", repeatable=True)
DELETE = product("POST", f"{_UI}/delete", repeatable=True)
RUN = product("POST", f"{_UI}/run")


async def list_dataset_ids(auth: Auth, offset: int, limit: int) -> list[str]:
    """One page of the ids of all DataSets. Source: GET /api/data/v3/datasources/bulk/datasourceIds"""
    return await send(auth, LIST_IDS, params={"offset": offset, "limit": limit})


async def list_all_permissions(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of who has access to what: dataSourceId, id, type, accessLevel.

    Source: GET /api/data/v3/datasources/bulk/permissions
    """
    return await send(auth, LIST_PERMISSIONS, params={"offset": offset, "limit": limit})


async def get_statuses(auth: Auth, dataset_ids: Sequence[str]) -> list[Json]:
    """Dimensions and states of several. Source: POST /api/data/v3/datasources/statuses"""
    return await send(auth, GET_STATUSES, json=list(dataset_ids))


async def delete_datasets(auth: Auth, dataset_ids: Sequence[str], *, for_good: bool = False) -> None:
    """Delete several; for good, too, which `delete_each` cannot. Source: POST /api/data/v3/datasources/delete"""
    params = {"deleteMethod": "hard" if for_good else "soft"}
    await send(auth, DELETE_ALL, params=params, json=list(dataset_ids))


async def set_owner_of_datasets(auth: Auth, user_id: int | str, dataset_ids: Sequence[str]) -> None:
    """Make a user the owner of several; `reassign_each` does so for groups, too, and tells of each.

    Source: PUT /api/data/v2/datasources/responsible-user/{user_id}
    """
    await send(auth, SET_OWNER_OF_ALL, json=list(dataset_ids), user_id=user_id)


async def switch_account(auth: Auth, account_id: int | str, dataset_ids: Sequence[str]) -> None:
    """Have the connectors of several sign in with another account.

    Source: POST /api/data/v2/datasources/account/{account_id}
    """
    await send(auth, SWITCH_ACCOUNT, json=list(dataset_ids), account_id=account_id)


async def reassign_each(auth: Auth, dataset_ids: Sequence[str], *, kind: str, owner_id: int | str) -> Json:
    """Make a USER or GROUP the owner of 50 at most: successful[ids], failed{id: reason}.

    Source: POST /api/data/v1/ui/bulk/reassign
    """
    owner = {"groupId" if kind == "GROUP" else "userId": str(owner_id)}
    return await send(auth, REASSIGN, json=_items(dataset_ids) | owner)


async def share_each(
    auth: Auth, dataset_ids: Sequence[str], permissions: Sequence[Mapping[str, str]], *, message: str | None = None
) -> Json:
    """Grant access to 50 at most: {'type', 'id', 'accessLevel'} each; answers as `reassign_each`.

    Source: POST /api/data/v1/ui/bulk/share
    """
    entity = {"permissions": list(permissions), "sendEmail": message is not None, "message": message or ""}
    return await send(auth, SHARE, json={"bulkItems": _items(dataset_ids), "dataSourceShareEntity": entity})


async def add_tags_to_each(auth: Auth, dataset_ids: Sequence[str], tags: Sequence[str]) -> Json:
    """Add tags to those of 50 at most; answers as `reassign_each`. Source: POST /api/data/v1/ui/bulk/tag"""
    return await send(auth, ADD_TAGS, json={"bulkItems": _items(dataset_ids), "tags": list(tags)})


async def remove_tags_of_each(auth: Auth, dataset_ids: Sequence[str], tags: Sequence[str]) -> Json:
    """Take tags from 50 at most; answers as `reassign_each`. Source: POST /api/data/v1/ui/bulk/tag/delete"""
    return await send(auth, REMOVE_TAGS, json={"bulkItems": _items(dataset_ids), "tags": list(tags)})


async def delete_each(auth: Auth, dataset_ids: Sequence[str]) -> Json:
    """Delete 50 at most, so that they can be restored; answers as `reassign_each`.

    Source: POST /api/data/v1/ui/bulk/delete
    """
    return await send(auth, DELETE, json=_items(dataset_ids))


async def run_each(auth: Auth, dataset_ids: Sequence[str]) -> Json:
    """Have the connectors of 50 at most run now; answers as `reassign_each`. Source: POST /api/data/v1/ui/bulk/run"""
    return await send(auth, RUN, json=_items(dataset_ids))


def _items(dataset_ids: Sequence[str]) -> dict[str, Any]:
    return {"type": "DATA_SOURCE", "ids": list(dataset_ids)}
