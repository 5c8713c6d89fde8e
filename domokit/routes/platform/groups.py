"""Groups of the platform API, read-only."""

from domokit.auth import Auth
from domokit.transport import Json, platform, send

LIST_GROUPS = platform("GET", "/v1/groups", returns=list)
GET_GROUP = platform("GET", "/v1/groups/{group_id}")
LIST_MEMBERS = platform("GET", "/v1/groups/{group_id}/users", returns=list)


async def list_groups(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of groups, 500 at most. Source: GET /v1/groups"""
    return await send(auth, LIST_GROUPS, params={"offset": offset, "limit": limit})


async def get_group_by_id(auth: Auth, group_id: int | str) -> Json:
    """One group. Source: GET /v1/groups/{group_id}"""
    return await send(auth, GET_GROUP, group_id=group_id)


async def list_group_members(auth: Auth, group_id: int | str, offset: int, limit: int) -> list[int]:
    """One page of user ids. Source: GET /v1/groups/{group_id}/users"""
    return await send(auth, LIST_MEMBERS, params={"offset": offset, "limit": limit}, group_id=group_id)
