"""Users of the platform API."""

from collections.abc import Mapping
from typing import Any

from domokit.auth import Auth
from domokit.transport import Json, platform, send

LIST_USERS = platform("GET", "/v1/users", returns=list)
GET_USER = platform("GET", "/v1/users/{user_id}")
CREATE_USER = platform("POST", "/v1/users")
UPDATE_USER = platform("PUT", "/v1/users/{user_id}", returns=None)
DELETE_USER = platform("DELETE", "/v1/users/{user_id}", returns=None)

ROLE_NAMES: Mapping[int, str] = {1: "Admin", 2: "Privileged", 3: "Editor", 4: "Participant", 5: "Social"}


async def list_users(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of users, reduced; 500 at most. Source: GET /v1/users"""
    return await send(auth, LIST_USERS, params={"offset": offset, "limit": limit})


async def get_user_by_id(auth: Auth, user_id: int | str) -> Json:
    """One user. Source: GET /v1/users/{user_id}"""
    return await send(auth, GET_USER, user_id=user_id)


async def create_user(
    auth: Auth, *, name: str, email: str, role_id: int, send_invite: bool = False, **details: Any
) -> Json:
    """Create a user. Source: POST /v1/users

    details:  further keys: title, alternateEmail, phone, location, timezone, locale, employeeNumber.
    """
    body = {"name": name, "email": email, **role(role_id), **details}
    return await send(auth, CREATE_USER, params={"sendInvite": send_invite}, json=body)


async def update_user(auth: Auth, user_id: int | str, fields: Mapping[str, Any]) -> None:
    """Replace a user: in spite of the name all fields are needed, email, role and name at the least.

    Source: PUT /v1/users/{user_id}
    """
    await send(auth, UPDATE_USER, json=dict(fields), user_id=user_id)


async def delete_user(auth: Auth, user_id: int | str) -> None:
    """Delete a user. Source: DELETE /v1/users/{user_id}"""
    await send(auth, DELETE_USER, user_id=user_id)


def role(role_id: int) -> dict[str, Any]:
    """How this API wants a role: a system role by name, a custom one by id as well."""
    name = ROLE_NAMES.get(role_id)
    return {"role": name} if name else {"role": "Participant", "roleId": role_id}
