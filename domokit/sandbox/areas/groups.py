"""Groups, read only. The list and the single group use different keys, as Domo does."""

from __future__ import annotations

from typing import Any

from ..clock import text_time
from ..model import Group
from ..wire import Area, Call, Refusal

area = Area("product")
PATH = "/api/content/v2/groups"
PREVIEW = 8  # members shown in the list unless all are asked for


def _list_row(call: Call, group: Group, everyone: bool) -> dict[str, Any]:
    members = sorted(group.user_ids)
    shown = members if everyone else members[:PREVIEW]
    owners: list[dict[str, Any]] = []
    for kind, owner_id in group.owners:
        known = call.state.users.get(owner_id) if kind == "USER" else call.state.groups.get(owner_id)
        name = getattr(known, "display_name", None) or getattr(known, "name", "")
        owners.append({"type": kind, "id": str(owner_id), "displayName": name})
    return {
        "name": group.name,
        "groupId": group.id,
        "owners": owners,
        "groupType": group.type,
        "groupMembers": [{"type": "USER", "id": str(member)} for member in shown],
        "memberCount": len(members),
        "created": text_time(group.created),
        "description": group.description,
    }


def _shape(group: Group) -> dict[str, Any]:
    """A single group. One that was deleted is still here: inactive and without members."""
    members = sorted(group.user_ids) if group.active else []
    return {
        "id": group.id,
        "name": group.name,
        "type": group.type,
        "userIds": members,
        "creatorId": group.creator_id,
        "memberCount": len(members),
        "guid": group.guid,
        "description": group.description,
        "hidden": False,
        "default": group.default,
        "active": group.active,
    }


@area.on("GET", PATH + "/grouplist")
async def list_groups(call: Call) -> Any:
    found = [group for group in list(call.state.groups.values()) if group.active]
    if text := call.query.get("search", "").lower():
        found = [group for group in found if text in group.name.lower()]
    if member := call.query.get("members"):
        found = [group for group in found if member in map(str, group.user_ids)]
    if owner := call.query.get("owner"):
        kind = call.query.get("ownerType")
        found = [
            group
            for group in found
            if any(str(its_id) == owner and kind in (None, its_kind) for its_kind, its_id in group.owners)
        ]
    if kind := call.query.get("groupType"):
        found = [group for group in found if group.type.lower() == kind.lower()]
    found.sort(key=lambda group: group.name.lower(), reverse=not call.flag("ascending", True))
    everyone = call.flag("includeFullMembership")
    return [_list_row(call, group, everyone) for group in found[call.page(limit=30, most=10_000)]]


@area.on("GET", PATH + "/users")
async def members(call: Call) -> Any:
    """Ids and roles of a group's people, without names."""
    try:
        group = call.state.groups.get(int(call.query.get("group", "")))
    except ValueError:
        raise Refusal(400, "group is required") from None
    if group is None:
        raise Refusal(404, "No such group")
    ids = sorted(group.user_ids)[call.page(limit=100, most=call.company.users_page_cap)]
    users = [call.state.users[each] for each in ids if each in call.state.users]
    return {
        "groupUserList": [
            {
                "userId": user.id,
                "role": call.state.role_name(user.role_id),
                "roleId": user.role_id,
                "lastSignIn": None if user.last_activity is None else text_time(user.last_activity),
                "location": str(user.attributes.get("employeeLocation") or ""),
            }
            for user in users
        ]
    }


@area.on("POST", PATH + "/get", changes=False)
async def get_many(call: Call) -> Any:
    """A bare list of ids as text; unknown ones are left out."""
    known = {str(group.id): group for group in list(call.state.groups.values())}
    found = [known[str(each)] for each in call.json_list() if str(each) in known]
    return [_shape(group) for group in found]


@area.on("GET", PATH + "/{group_id}")
async def get(call: Call) -> Any:
    group = call.state.groups.get(call.number("group_id"))
    if group is None:
        raise Refusal(404, "No such group")
    return _shape(group)
