"""Users in the identity/v1 shape: search, create, change, delete, and passwords."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import people, shapes
from ..model import User
from ..wire import Area, Call, Refusal, as_list, as_object, list_at, objects_at, page_of

area = Area("product")
PATH = "/api/identity/v1/users"
Test = Callable[[User], bool]


def _keys(attributes: list[str], parts: list[str]) -> frozenset[str] | None:
    """Which attributes to show: those asked for, else all for DETAILED, else the documented five."""
    if attributes:
        return frozenset(attributes)
    detailed = any(part.upper() == "DETAILED" for part in parts)
    return None if detailed else frozenset(shapes.DEFAULT_ATTRIBUTES)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


@area.on("GET", PATH)
async def list_users(call: Call) -> Any:
    keys = _keys(_words(call.query.get("attributes")), _words(call.query.get("parts")))
    page = call.page(limit=100, most=call.company.users_page_cap)
    return {"users": [shapes.identity(user, keys) for user in call.state.live_users()[page]]}


@area.on("GET", PATH + "/{user_id}")
async def get(call: Call) -> Any:
    """One user, still inside a `users` list."""
    user = call.state.users.get(call.number("user_id"))
    if user is None:
        raise Refusal(404, f"User {call.params['user_id']} was not found")
    keys = _keys(_words(call.query.get("attributes")), _words(call.query.get("parts")))
    return {"users": [shapes.identity(user, keys)]}


@area.on("POST", PATH + "/search", changes=False)
async def search(call: Call) -> Any:
    """Filters are AND-ed; `limit` and `offset` are in the body; `count` in the answer when asked for."""
    body = call.json_object()
    tests = [_test(each) for each in list_at(body, "filters")]
    if ids := list_at(body, "ids"):
        wanted = {str(each) for each in ids}
        tests.append(lambda user: str(user.id) in wanted)
    only_deleted = _true(body, "onlyDeleted")
    with_deleted = only_deleted or _true(body, "includeDeleted")
    found = [
        user
        for user in list(call.state.users.values())
        if (with_deleted or not user.deleted)
        and (user.deleted or not only_deleted)
        and all(test(user) for test in tests)
    ]
    if _true(body, "count"):
        return {"count": len(found)}
    _sort(found, body.get("sort"))
    page = page_of(body.get("offset"), body.get("limit"), limit=100, most=call.company.search_page_cap)
    keys = _keys(list_at(body, "attributes"), [str(part) for part in list_at(body, "parts")])
    answer: dict[str, Any] = {"users": [shapes.identity(user, keys) for user in found[page]]}
    if _true(body, "showCount"):
        answer["count"] = len(found)
    return answer


def _true(body: dict[str, Any], key: str) -> bool:
    return str(body.get(key, False)).lower() == "true"  # one client sends 'true' as text


def _value(user: User, field: str) -> Any:
    quick = {"id": user.id, "displayName": user.display_name, "emailAddress": user.email}
    return quick[field] if field in quick else shapes.identity_values(user).get(field)


def _test(value: Any) -> Test:
    """A value filter (equal to one of several) or a text filter (a part, whatever the case)."""
    if (given := as_object(value)) is None:
        raise Refusal(400, "A filter must be an object")
    kind, field = given.get("filterType"), given.get("field")
    if kind == "value":
        if not isinstance(field, str) or given.get("operator", "EQ") != "EQ":
            raise Refusal(400, "A value filter needs a field and the operator EQ")
        wanted = {str(value) for value in list_at(given, "values")}
        return lambda user: str(_value(user, field)) in wanted
    if kind == "text":
        text = str(given.get("text", "")).lower()
        if field == "emailAddress":
            parts = text.split()
            return lambda user: any(part in user.email.lower() for part in parts)
        if field:
            return lambda user: text in str(_value(user, str(field)) or "").lower()
        return lambda user: text in user.display_name.lower() or text in user.email.lower()
    raise Refusal(400, "filterType must be value or text")


def _sort(users: list[User], value: Any) -> None:
    if value is None:
        return
    given = as_object(value) or {}
    field = given.get("field")
    if not isinstance(field, str):
        raise Refusal(400, "sort needs a field")

    def key(user: User) -> tuple[bool, Any]:
        value = _value(user, field)
        if isinstance(value, int | float):
            return False, f"{value:020.3f}"
        return value is None, str(value).lower()

    users.sort(key=key, reverse=str(given.get("order", "ASC")).upper() == "DESC")


@area.on("POST", PATH)
async def create(call: Call) -> Any:
    """Answers the bare user, not a `users` list."""
    call.require("user.edit")
    body = call.json_object()
    user = people.create(call, body.get("displayName"), body.get("emailAddress"), body.get("roleId"))
    return shapes.identity(user)


@area.on("PATCH", PATH + "/{user_id}")
async def update(call: Call) -> Any:
    """`{"attributes": [{"key": …, "values": […]}]}`, or the flat `{"roleId": 5}` of the official page."""
    call.require("user.edit")
    user = people.living(call, call.number("user_id"))
    body = call.json_object()
    if "attributes" not in body:
        values = dict(body)
    else:
        values: dict[str, Any] = {}
        for each in objects_at(body, "attributes"):
            given = as_list(each.get("values"))
            if given is None or not isinstance(each.get("key"), str):
                raise Refusal(400, "An attribute needs a key and a list of values")
            values[each["key"]] = given[0] if given else None
    people.update(call, user, values)
    return shapes.identity(user)


@area.on("DELETE", PATH + "/{user_id}")
async def delete(call: Call) -> Any:
    call.require("user.edit")
    people.delete(call, people.living(call, call.number("user_id")))


@area.on("PUT", "/api/identity/v1/password")
async def reset_password(call: Call) -> Any:
    """A password that was used before is refused with status 200 and a description."""
    call.require("user.edit")
    body = call.json_object()
    password = body.get("password")
    if not isinstance(password, str) or not password:
        raise Refusal(400, "password is required")
    try:
        user = people.living(call, int(body.get("domoUserId", "")))
    except (TypeError, ValueError):
        raise Refusal(400, "domoUserId must be a number") from None
    changed = people.set_password(user, password)
    return {} if changed else {"description": "Password has been used previously."}
