"""Roles and grants, read-only."""

from domokit.auth import Auth
from domokit.transport import Json, members, product, send

LIST_ROLES = product("GET", "/api/authorization/v1/roles", returns=list)
GET_ROLE = product("GET", "/api/authorization/v1/roles/{role_id}")
LIST_GRANTS_OF_ROLE = product("GET", "/api/authorization/v1/roles/{role_id}/authorities", returns=list)
LIST_MEMBERS = product("GET", "/api/authorization/v1/roles/{role_id}/users")
LIST_GRANTS = product("GET", "/api/authorization/v1/authorities", returns=list)


async def get_roles(auth: Auth) -> list[Json]:
    """All roles; 1 Admin, 2 Privileged, 3 Editor, 4 Participant, 5 Social, others custom.

    Source: GET /api/authorization/v1/roles
    """
    return await send(auth, LIST_ROLES)


async def get_role_by_id(auth: Auth, role_id: int | str) -> Json:
    """One role. Source: GET /api/authorization/v1/roles/{role_id}"""
    return await send(auth, GET_ROLE, role_id=role_id)


async def get_role_grants(auth: Auth, role_id: int | str) -> list[str]:
    """Names of a role's grants; none for an unknown role.

    Source: GET /api/authorization/v1/roles/{role_id}/authorities
    """
    return await send(auth, LIST_GRANTS_OF_ROLE, role_id=role_id)


async def get_role_members(auth: Auth, role_id: int | str) -> list[Json]:
    """A role's users: userId, email, displayName, jobTitle. Source: GET /api/authorization/v1/roles/{role_id}/users"""
    return members(await send(auth, LIST_MEMBERS, role_id=role_id), "users")


async def get_grants(auth: Auth) -> list[Json]:
    """All grants of the instance. Source: GET /api/authorization/v1/authorities"""
    return await send(auth, LIST_GRANTS)
