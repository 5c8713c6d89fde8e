"""Groups, read-only."""

from collections.abc import Iterable

from domokit.auth import Auth
from domokit.transport import Json, members, product, send

LIST_GROUPS = product("GET", "/api/content/v2/groups/grouplist", returns=list)
GET_GROUP = product("GET", "/api/content/v2/groups/{group_id}")
GET_GROUPS = product("POST", "/api/content/v2/groups/get", returns=list, changes=False)
LIST_MEMBERS = product("GET", "/api/content/v2/groups/users")


async def list_groups(auth: Auth, offset: int, limit: int, *, search: str | None = None) -> list[Json]:
    """One page of groups, by name; `search` is contained in the name. Source: GET /api/content/v2/groups/grouplist"""
    params = {"offset": offset, "limit": limit, "ascending": True, "sort": "name", "search": search}
    return await send(auth, LIST_GROUPS, params=params)


async def get_group_by_id(auth: Auth, group_id: int | str) -> Json:
    """One group with its userIds; a deleted one is answered with `active` false.

    Source: GET /api/content/v2/groups/{group_id}
    """
    return await send(auth, GET_GROUP, params={"includeUsers": True}, group_id=group_id)


async def get_groups_by_ids(auth: Auth, group_ids: Iterable[int | str]) -> list[Json]:
    """Several groups at once. Source: POST /api/content/v2/groups/get"""
    params = {"includeActive": True, "includeUsers": True}
    return await send(auth, GET_GROUPS, params=params, json=[str(one) for one in group_ids])


async def list_group_members(auth: Auth, group_id: int | str, offset: int, limit: int) -> list[Json]:
    """One page of members: userId, role, roleId, lastSignIn, location. Source: GET /api/content/v2/groups/users"""
    params = {"group": group_id, "offset": offset, "limit": limit}
    return members(await send(auth, LIST_MEMBERS, params=params), "groupUserList")
