"""Changes to users, shared by the areas through which they arrive."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from .model import User
from .shapes import FREE_ATTRIBUTES
from .state import State
from .wire import Call, Refusal


def role_of(state: State, value: Any) -> int:
    """An existing role's id, from a number or numeric text; 400 otherwise."""
    try:
        role_id = int(value)
    except (TypeError, ValueError):
        role_id = -1
    if role_id not in state.roles:
        raise Refusal(400, "No such role")
    return role_id


def free_email(state: State, value: Any, *, taken_status: int = 400, but: User | None = None) -> str:
    """A usable e-mail address that no other living user has."""
    if not isinstance(value, str) or value.count("@") != 1 or value.strip() != value:
        raise Refusal(400, "Not a valid email address")
    other = state.user_by_email(value)
    if other is not None and other is not but:
        raise Refusal(taken_status, "A user with this email address already exists")
    return value


def living(call: Call, user_id: int) -> User:
    """A user who is not deleted; 404 otherwise."""
    user = call.state.users.get(user_id)
    if user is None or user.deleted:
        raise Refusal(404, f"User {user_id} was not found")
    return user


def create(call: Call, name: Any, email: Any, role_id: Any, *, taken_status: int = 400) -> User:
    """A new, invited user. Nobody knows the password until it is reset."""
    state = call.state
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "A display name is required")
    address = free_email(state, email, taken_status=taken_status)
    now = call.now()
    user = User(
        id=state.next_id("users"),
        display_name=name,
        email=address,
        user_name=address,
        role_id=role_of(state, role_id),
        created=now,
        modified=now,
        password=secrets.token_urlsafe(12),
        invitor_id=call.user.id,
        pending=True,
    )
    state.users[user.id] = user
    default = next((group for group in state.groups.values() if group.default), None)
    if default is not None:
        default.user_ids.add(user.id)
    return user


def update(call: Call, user: User, values: Mapping[str, Any]) -> None:
    """Set attributes by identity/v1 key, all or none. None clears. Raises Refusal 400."""
    state = call.state
    for key, value in values.items():
        if key == "roleId":
            role_of(state, value)
        elif key == "emailAddress":
            free_email(state, value, but=user)
        elif key in ("displayName", "userName"):
            if not isinstance(value, str) or not value.strip():
                raise Refusal(400, f"{key} must not be empty")
        elif key == "reportsTo":
            if value is not None:
                _manager(state, user, value)
        elif key not in FREE_ATTRIBUTES:
            raise Refusal(400, f"Unknown attribute key {key}")
    for key, value in values.items():
        if key == "roleId":
            user.role_id = int(value)
        elif key == "displayName":
            user.display_name = value
        elif key == "userName":
            user.user_name = value
        elif key == "emailAddress":
            user.email = user.user_name = value
        elif value is None:
            user.attributes.pop(key, None)
        else:
            user.attributes[key] = str(value) if key == "reportsTo" else value
    user.modified = call.now()


def _manager(state: State, user: User, value: Any) -> None:
    seen = {user.id}
    above: Any = value
    while above is not None:
        try:
            manager = state.users.get(int(above))
        except (TypeError, ValueError):
            manager = None
        if manager is None:
            raise Refusal(400, "reportsTo names nobody")
        if manager.id in seen:
            raise Refusal(400, "reportsTo would make a loop")
        seen.add(manager.id)
        above = manager.attributes.get("reportsTo")


def delete(call: Call, user: User) -> None:
    """A soft delete: the person stays visible where deleted people are asked for, and is signed out."""
    user.deleted = True
    user.modified = call.now()
    call.state.sign_out(user.id)
    for group in list(call.state.groups.values()):
        group.user_ids.discard(user.id)


def set_password(user: User, password: str) -> bool:
    """False, and no change, when the user had this password before."""
    if password == user.password or password in user.old_passwords:
        return False
    user.old_passwords.append(user.password)
    user.password = password
    user.failed_logins = 0  # an administrator's reset is the way out of a locked account
    return True
