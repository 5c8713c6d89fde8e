"""Small look-ups around people: typeahead, pictures, custom attributes."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from starlette.responses import Response

from ..seed import CUSTOM_ATTRIBUTE
from ..wire import Area, Call

area = Area("product")


def _png(red: int, green: int, blue: int, size: int = 8) -> bytes:
    """A square of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes((red, green, blue)) * size) * size
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


PLACEHOLDER, SYSTEM_PICTURE = _png(153, 204, 238), _png(119, 119, 119, size=12)


@area.on("GET", "/api/content/v1/avatar/{entity_type}/{entity_id}")
async def avatar(call: Call) -> Any:
    """Nobody has a picture here: the same placeholder for all, even for ids that do not exist."""
    system = call.params["entity_id"] == "0"
    return Response(SYSTEM_PICTURE if system else PLACEHOLDER, media_type="image/png")


@area.on("GET", "/api/content/v1/typeahead")
async def typeahead(call: Call) -> Any:
    """People who match a typed text, hold all of some grants, or both."""
    kinds = call.query.getlist("type") or ["userByName", "userByEmail"]
    text = call.query.get("filter", "").lower()
    grants = {grant for grant in call.query.get("authorities", "").split(",") if grant}
    roles = {role.id for role in call.state.roles.values() if grants <= set(role.grants)}
    found = [
        user
        for user in call.state.live_users()
        if user.role_id in roles
        and (
            ("userByName" in kinds and text in user.display_name.lower())
            or ("userByEmail" in kinds and text in user.email.lower())
        )
    ]
    page = found[call.page(limit=20, most=call.company.users_page_cap)]
    return {"users": [{"id": user.id, "displayName": user.display_name} for user in page]}


@area.on("GET", "/api/user/v1/properties/meta/keys")
async def attribute_keys(call: Call) -> Any:
    """The instance's own attributes and one of Domo's; `issuerTypes` is ignored."""
    common = {"validator": "ANY_VALUE", "validatorConfiguration": None, "securityVoter": "FULL_VIS_ADMIN_IDP"}
    return [
        {
            "key": CUSTOM_ATTRIBUTE,
            "title": "store region",
            "description": "sales region",
            "keyspace": "customer-defined",
            "context": call.state.customer_id,
            "valueType": "STRING",
            **common,
            "custom": True,
        },
        {
            "key": "domo.policy.managed_email_address",
            "title": None,
            "description": None,
            "keyspace": "domo-defined",
            "context": None,
            "valueType": None,
            **common,
            "custom": False,
        },
    ]
