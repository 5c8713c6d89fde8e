"""Users in the content/v2 and content/v3 shapes."""

from __future__ import annotations

from typing import Any

from .. import people, shapes
from ..wire import Area, Call, Refusal, as_object, objects_at

area = Area("product")
V2, V3 = "/api/content/v2/users", "/api/content/v3/users"

# Domo lists a monitoring user of its own, whose id is 0.
SYSTEM_ROW: dict[str, Any] = {
    "id": 0,
    "displayName": "Domo Monitoring",
    "userName": "monitoring@domo.com",
    "emailAddress": "monitoring@domo.com",
    "accepted": True,
    "userType": "USER",
    "modified": 1_700_000_000_123,
    "created": 1_700_000_000,
    "active": True,
    "pending": False,
    "anonymous": False,
    "systemUser": True,
    "roleId": 1,
}


@area.on("GET", V2)
async def list_v2(call: Call) -> Any:
    """Everyone in one answer. Unlike the single user, rows carry roleId."""
    rows = [shapes.content_v2(user) | {"roleId": user.role_id} for user in call.state.live_users()]
    return [SYSTEM_ROW, *rows]


@area.on("GET", V2 + "/me")
async def me_v2(call: Call) -> Any:
    return shapes.content_v2(call.user)


@area.on("GET", V2 + "/{user_id}")
async def get_v2(call: Call) -> Any:
    """Nobody of that id: status 200 and an empty body."""
    user = call.state.users.get(call.number("user_id"))
    if user is None:
        return None
    return shapes.content_v2(user) | {"role": call.state.role_name(user.role_id)}


@area.on("GET", V3)
async def list_v3(call: Call) -> Any:
    """All, or those of the comma list `id`, where unknown ids are left out and deleted people are not."""
    details = call.flag("includeDetails")
    if (ids := call.query.get("id")) is not None:
        try:
            wanted = dict.fromkeys(int(each) for each in ids.split(",") if each.strip())
        except ValueError:
            raise Refusal(400, "id must be a comma separated list of numbers") from None
        found = [call.state.users[each] for each in wanted if each in call.state.users]
        return [shapes.content_v3(call.state, user, details=details) for user in found]
    users = list(call.state.users.values())
    active = call.flag("active", True)
    cap = call.company.users_page_cap
    users = [user for user in users if user.active == active][call.page(limit=100, most=cap)]
    return [shapes.content_v3(call.state, user, details=details) for user in users]


@area.on("GET", V3 + "/me")
async def me_v3(call: Call) -> Any:
    return shapes.content_v3(call.state, call.user, details=call.flag("includeDetails"))


@area.on("GET", V3 + "/{user_id}")
async def get_v3(call: Call) -> Any:
    user = call.state.users.get(call.number("user_id"))
    if user is None:
        raise Refusal(404, f"User {call.params['user_id']} was not found")
    return shapes.content_v3(call.state, user, details=call.flag("includeDetails"))


@area.on("POST", V3)
async def create(call: Call) -> Any:
    """`detail.email`; one client sends `email` at top level, which works too."""
    call.require("user.edit")
    body = call.json_object()
    email = (as_object(body.get("detail")) or {}).get("email")
    user = people.create(call, body.get("displayName"), email or body.get("email"), body.get("roleId"))
    return shapes.content_v3(call.state, user)


@area.on("POST", V3 + "/directSignOn")
async def direct_sign_on(call: Call) -> Any:
    """A bare list of ids, numbers or text."""
    call.require("user.edit")
    allowed = call.flag("value")
    users = [_known(call, each) for each in call.json_list()]
    for user in users:
        user.direct_sign_on = allowed


def _known(call: Call, user_id: Any) -> Any:
    try:
        return people.living(call, int(user_id))
    except (TypeError, ValueError):
        raise Refusal(400, "Ids must be numbers") from None


@area.on("PUT", V2 + "/bulk")
async def bulk_update(call: Call) -> Any:
    """Several people at once, ids as text; the flat keys are those of identity/v1."""
    call.require("user.edit")
    rows = objects_at(call.json_object(), "users")
    for user, values in [(_known(call, row.get("id")), row) for row in rows]:
        people.update(call, user, {key: value for key, value in values.items() if key != "id"})
    return {}


@area.on("GET", V2 + "/{user_id}/teams")
async def teams(call: Call) -> Any:
    """The manager, in a list of one or none."""
    user = people.living(call, call.number("user_id"))
    above = user.attributes.get("reportsTo")
    manager = None if above is None else call.state.users.get(int(above))
    rows = [] if manager is None else [{"userId": manager.id, "displayName": manager.display_name}]
    return {"reportsTo": rows}


@area.on("POST", V2 + "/{user_id}/teams")
async def set_teams(call: Call) -> Any:
    call.require("user.edit")
    user = people.living(call, call.number("user_id"))
    rows = objects_at(call.json_object(), "reportsTo")
    people.update(call, user, {"reportsTo": rows[0].get("userId") if rows else None})


@area.on("GET", V2 + "/{user_id}/state")
async def state(call: Call) -> Any:
    """Flags as text."""
    user = people.living(call, call.number("user_id"))
    flags = {"twoFactorEnabled": "true" if user.one_time_password is not None else "false"}
    wanted = call.query.get("keys")
    return flags if wanted is None else {k: v for k, v in flags.items() if k in wanted.split(",")}


@area.on("PUT", "/api/content/v1/landings/target/{target}/entity/PAGE/id/{page_id}/{user_id}")
async def set_landing_page(call: Call) -> Any:
    user = people.living(call, call.number("user_id"))
    if user.id != call.user.id:
        call.require("user.edit")
    if call.params["target"] not in ("DESKTOP", "MOBILE"):
        raise Refusal(400, "target must be DESKTOP or MOBILE")
    user.landing_pages[call.params["target"]] = str(call.number("page_id"))
