"""Roles and grants, read only. An unknown role has no grants and no members, rather than being an error."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..model import Role
from ..seed import GRANTS
from ..wire import Area, Call, Refusal

area = Area("product")
PATH = "/api/authorization/v1/roles"


def _counts(call: Call) -> Counter[int]:
    return Counter(user.role_id for user in call.state.live_users())


def _shape(role: Role, users: int) -> dict[str, Any]:
    return {
        "id": role.id,
        "name": role.name,
        "description": role.description,
        "authorityCount": len(role.grants),
        "userCount": users,
        "created": role.created,
        "modified": role.modified,
    }


@area.on("GET", PATH)
async def list_roles(call: Call) -> Any:
    counts = _counts(call)
    return [_shape(role, counts[role.id]) for role in list(call.state.roles.values())]


@area.on("GET", PATH + "/{role_id}")
async def get(call: Call) -> Any:
    role = call.state.roles.get(call.number("role_id"))
    if role is None:
        raise Refusal(404, "No such role")
    return _shape(role, _counts(call)[role.id])


@area.on("GET", PATH + "/{role_id}/authorities")
async def grants_of_role(call: Call) -> Any:
    role = call.state.roles.get(call.number("role_id"))
    return list(role.grants) if role else []


@area.on("GET", PATH + "/{role_id}/users")
async def members(call: Call) -> Any:
    """Yet another shape of a user."""
    role_id = call.number("role_id")
    return {
        "users": [
            {
                "userId": user.id,
                "email": user.email,
                "displayName": user.display_name,
                "roleId": user.role_id,
                "department": user.attributes.get("department"),
                "jobTitle": user.attributes.get("title"),
                "hireDate": user.attributes.get("hireDate"),
                "location": user.attributes.get("employeeLocation"),
            }
            for user in call.state.live_users()
            if user.role_id == role_id
        ]
    }


@area.on("GET", "/api/authorization/v1/authorities")
async def list_grants(call: Call) -> Any:
    counts = _counts(call)
    rows: list[dict[str, Any]] = []
    for grant, (title, group) in GRANTS.items():
        holders = [role.id for role in call.state.roles.values() if grant in role.grants]
        rows.append(
            {
                "authority": grant,
                "title": title,
                "description": f"{title}.",
                "authorityUIGroup": group,
                "userCount": sum(counts[role_id] for role_id in holders),
                "roleIds": holders,
                "dependsOnAuthorities": ["ui.admin"] if grant == "authorization.roles" else [],
                "systemGroup": True,
            }
        )
    return rows
