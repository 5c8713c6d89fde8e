"""Who may use an account: levels of today (v2) and of older instances (v1)."""

from __future__ import annotations

from typing import Any

from .. import vault
from ..state import LEVELS
from ..wire import Area, Call, Refusal, list_at

area = Area("product")
PATH = "/api/data/v2/accounts/share/{account_id}"
V1_LEVELS = {"READ": "CAN_VIEW", "WRITE": "CAN_EDIT", "OWNER": "OWNER"}


@area.on("PUT", PATH)
async def share(call: Call) -> Any:
    """One grantee a call; NONE revokes."""
    account = vault.find(call, call.number("account_id"), "CAN_SHARE")
    body = call.json_object()
    level = body.get("accessLevel")
    if level not in LEVELS:
        raise Refusal(400, f"accessLevel must be one of {', '.join(LEVELS)}")
    held = call.state.level_on(account, call.user)
    if level == "OWNER" and held != "OWNER":
        raise Refusal(403, "Only an owner can name another")
    vault.share(account, vault.grantee(call, body.get("type"), body.get("id")), level)


@area.on("GET", PATH)
async def access_list(call: Call) -> Any:
    """Grantees with ids as text; `totalUserCount` counts people only."""
    account = vault.find(call, call.number("account_id"))
    entries: list[dict[str, Any]] = []
    for key, level in account.shares.items():
        kind, _, number = key.partition(":")
        if kind == "USER":
            user = call.state.users.get(int(number))
            name = user.display_name if user else ""
        else:
            group = call.state.groups.get(int(number))
            name = group.name if group else ""
        entries.append({"type": kind, "id": number, "accessLevel": level, "name": name})
    return {"list": entries, "totalUserCount": sum(entry["type"] == "USER" for entry in entries)}


@area.on("PUT", "/api/data/v1/accounts/{account_id}/share")
async def share_v1(call: Call) -> Any:
    """People only; 500 when the person has access already."""
    account = vault.find(call, call.number("account_id"), "CAN_SHARE")
    body = call.json_object()
    permissions = list_at(body, "permissions")
    if body.get("type") != "USER":
        raise Refusal(400, "type must be USER")
    if len(permissions) != 1 or permissions[0] not in V1_LEVELS:
        raise Refusal(400, f"permissions must hold one of {', '.join(V1_LEVELS)}")
    level = V1_LEVELS[permissions[0]]
    if level == "OWNER" and call.state.level_on(account, call.user) != "OWNER":
        raise Refusal(403, "Only an owner can name another")
    key = vault.grantee(call, "USER", body.get("id"))
    if key in account.shares:
        raise Refusal(500, "Internal Server Error")
    vault.share(account, key, level)
