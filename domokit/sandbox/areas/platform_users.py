"""Users and groups of the platform API. Groups are read only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import people, shapes
from ..model import Group, User
from ..replies import empty
from ..wire import Area, Call, Refusal

area = Area("platform", scope="user")
USERS, GROUPS = "/v1/users", "/v1/groups"
MOST = 500  # rows a page

# platform key -> identity/v1 key
KEYS = {
    "title": "title",
    "alternateEmail": "alternateEmail",
    "phone": "phoneNumber",
    "location": "employeeLocation",
    "timezone": "timeZone",
    "locale": "locale",
    "employeeNumber": "employeeNumber",
}


@area.on("GET", USERS)
async def list_users(call: Call) -> Any:
    users = call.state.live_users()[call.page(limit=50, most=MOST)]
    return [shapes.platform_row(call.state, user) for user in users]


@area.on("GET", USERS + "/{user_id}")
async def get_user(call: Call) -> Any:
    user = call.state.users.get(call.number("user_id"))
    if user is None:
        raise Refusal(404, f"User {call.params['user_id']} was not found")
    return shapes.platform(call.state, user)


def _role(call: Call, body: Mapping[str, Any]) -> Any:
    """By `roleId` where given (custom roles have no other way), else by name."""
    if body.get("roleId") is not None:
        return body["roleId"]
    name = str(body.get("role")).lower()
    found = [role.id for role in call.state.roles.values() if role.name.lower() == name]
    if not found:
        raise Refusal(400, "No such role")
    return found[0]


@area.on("POST", USERS)
async def create_user(call: Call) -> Any:
    """409 when the e-mail address is taken."""
    call.require("user.edit")
    body = call.json_object()
    user = people.create(call, body.get("name"), body.get("email"), _role(call, body), taken_status=409)
    extra = {KEYS[key]: value for key, value in body.items() if key in KEYS and value is not None}
    people.update(call, user, extra)
    return shapes.platform(call.state, user)


@area.on("PUT", USERS + "/{user_id}")
async def update_user(call: Call) -> Any:
    """Despite the docs' wording no partial update: email, role and name are required each time."""
    call.require("user.edit")
    user = people.living(call, call.number("user_id"))
    body = call.json_object()
    missing = [key for key in ("email", "role", "name") if not body.get(key)]
    if missing:
        raise Refusal(400, f"Missing: {', '.join(missing)}")
    people.free_email(call.state, body["email"], taken_status=409, but=user)
    values = {"displayName": body["name"], "emailAddress": body["email"], "roleId": _role(call, body)}
    people.update(call, user, values | {KEYS[key]: body[key] for key in body if key in KEYS})


@area.on("DELETE", USERS + "/{user_id}")
async def delete_user(call: Call) -> Any:
    call.require("user.edit")
    user: User = people.living(call, call.number("user_id"))
    people.delete(call, user)
    return empty(204)


@area.on("GET", GROUPS)
async def list_groups(call: Call) -> Any:
    groups = [group for group in list(call.state.groups.values()) if group.active]
    return [
        {"default": group.default, "id": group.id, "memberCount": len(group.user_ids), "name": group.name}
        for group in groups[call.page(limit=50, most=MOST)]
    ]


def _group(call: Call) -> Group:
    group = call.state.groups.get(call.number("group_id"))
    if group is None or not group.active:
        raise Refusal(404, f"Group {call.params['group_id']} was not found")
    return group


@area.on("GET", GROUPS + "/{group_id}")
async def get_group(call: Call) -> Any:
    group = _group(call)
    return {
        "active": group.active,
        "default": group.default,
        "id": group.id,
        "memberCount": len(group.user_ids),
        "name": group.name,
    }


@area.on("GET", GROUPS + "/{group_id}/users")
async def group_users(call: Call) -> Any:
    """Bare ids."""
    return sorted(_group(call).user_ids)[call.page(limit=50, most=MOST)]
