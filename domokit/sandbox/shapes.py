"""The many shapes in which Domo shows the same user. Absent values are left out, never null."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .clock import iso_z
from .model import User
from .seed import CUSTOM_ATTRIBUTE
from .state import State

Json = dict[str, Any]

# identity/v1 keys that a user may be given besides name, mail and role
_FREE = (
    "phoneNumber deskPhoneNumber title department webLandingPage webMobileLandingPage employeeId "
    "employeeNumber employeeLocation hireDate reportsTo alternateEmail locale timeZone avatarKey"
)
FREE_ATTRIBUTES = frozenset(_FREE.split()) | {CUSTOM_ATTRIBUTE}
DEFAULT_ATTRIBUTES = ("id", "displayName", "userName", "emailAddress", "roleId")


def _present(pairs: Json) -> Json:
    return {key: value for key, value in pairs.items() if value is not None}


def content_v2(user: User) -> Json:
    """The flat shape: `created` in seconds beside `modified` in milliseconds, no role."""
    extra = user.attributes
    row: Json = {"id": user.id}
    if user.invitor_id is not None:
        row["invitorUserId"] = user.invitor_id
    row["displayName"] = user.display_name
    for key in ("department", "title", "phoneNumber", "avatarKey"):
        if extra.get(key) is not None:
            row[key] = extra[key]
    row["userName"] = user.user_name
    row["emailAddress"] = user.email
    row["accepted"] = not user.pending
    row["userType"] = "USER"
    row["modified"] = user.modified
    row["created"] = user.created // 1000
    row["active"] = user.active
    row["pending"] = user.pending
    row["anonymous"] = False
    row["systemUser"] = False
    return row


def content_v3(state: State, user: User, *, details: bool = False) -> Json:
    """The nested shape: personal fields under `detail`, only the e-mail unless details are asked for."""
    extra = user.attributes
    detail: Json = {"email": user.email}
    if details:
        hired = extra.get("hireDate")
        detail = _present(
            {
                "title": extra.get("title"),
                "email": user.email,
                "phoneNumber": extra.get("phoneNumber"),
                "employeeNumber": extra.get("employeeNumber"),
                "pending": user.pending,
                "timeZone": extra.get("timeZone"),
                "locale": extra.get("locale"),
                "active": user.active,
                "created": user.created,
                "modified": user.modified,
                "department": extra.get("department"),
                "employeeId": extra.get("employeeId"),
                "hireDate": _day(hired),
            }
        )
    return _present(
        {
            "id": user.id,
            "invitorUserId": user.invitor_id,
            "displayName": user.display_name,
            "role": state.role_name(user.role_id),
            "roleId": user.role_id,
            "avatarKey": extra.get("avatarKey"),
            "detail": detail,
        }
    )


def _day(hired: Any) -> str | None:
    try:
        return None if hired is None else f"{datetime.fromtimestamp(int(hired) / 1000, UTC):%Y-%m-%d}"
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def identity_values(user: User) -> Json:
    """Every identity/v1 attribute that the user has, by key. Times in milliseconds."""
    values: Json = {
        "id": user.id,
        "displayName": user.display_name,
        "userName": user.user_name,
        "emailAddress": user.email,
        "modified": user.modified,
        "created": user.created,
        "roleId": user.role_id,
        "isAnonymous": False,
        "isSystemUser": False,
        "isPending": user.pending,
        "isActive": user.active,
    }
    if user.invitor_id is not None:
        values["invitorUserId"] = user.invitor_id
    if user.last_activity is not None:
        values["lastActivity"] = user.last_activity
    values["avatarKey"] = f"/api/content/v1/avatar/USER/{user.id}"
    for key, value in user.attributes.items():
        if value is not None:
            values[key] = value
    return values


def identity(user: User, keys: frozenset[str] | None = None) -> Json:
    """The attribute-list shape with the attributes in `keys`, or all of them."""
    attributes: list[Json] = []
    for key, value in identity_values(user).items():
        if keys is None or key in keys:
            attribute: Json = {"key": key, "values": [value]}
            if key == "lastActivity":
                attribute["source"] = "domo"
            attributes.append(attribute)
    return {
        "attributes": attributes,
        "id": user.id,
        "displayName": user.display_name,
        "roleId": user.role_id,
        "userName": user.user_name,
        "emailAddress": user.email,
    }


def platform_row(state: State, user: User) -> Json:
    """The platform's reduced object, as its list shows it."""
    return _present(
        {
            "id": user.id,
            "title": user.attributes.get("title"),
            "email": user.email,
            "role": state.role_name(user.role_id),
            "phone": user.attributes.get("phoneNumber"),
            "name": user.display_name,
        }
    )


def platform(state: State, user: User) -> Json:
    """The platform's full object; `roleId` is text, times are ISO-8601 with Z."""
    if user.deleted:
        return {"id": user.id, "name": user.display_name, "email": user.email, "deleted": True}
    extra = user.attributes
    return _present(
        {
            "id": user.id,
            "title": extra.get("title"),
            "email": user.email,
            "alternateEmail": extra.get("alternateEmail"),
            "role": state.role_name(user.role_id),
            "roleId": str(user.role_id),
            "phone": extra.get("phoneNumber"),
            "name": user.display_name,
            "location": extra.get("employeeLocation"),
            "employeeNumber": extra.get("employeeNumber"),
            "createdAt": iso_z(user.created),
            "updatedAt": iso_z(user.modified),
            "deleted": False,
            "image": f"https://{state.instance}.domo.com/avatar/thumb/domo/{user.id}",
            "groups": [{"id": group.id, "name": group.name} for group in state.groups_of(user.id)],
        }
    )
