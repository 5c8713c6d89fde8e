"""Who may do what with something: users and groups, and how much."""

from typing import Any

import attrs

from domokit.entities.base import id_of, ids_of
from domokit.errors import InvalidInputError


@attrs.frozen(kw_only=True)
class Access:
    """Somebody's access to something. kind: USER, GROUP, …; level: OWNER, CAN_EDIT, CAN_SHARE, CAN_VIEW, ….

    A DataSet has CO_OWNER, too.
    """

    kind: str
    id: int | str
    name: str | None
    level: str


def grantees(users: Any, groups: Any) -> list[tuple[str, Any]]:
    """("USER" or "GROUP", id) of each. Raises: InvalidInputError, if there is nobody."""
    found = [("USER", one) for one in ids_of(users, "users", "USER")]
    found += [("GROUP", one) for one in ids_of(groups, "groups", "GROUP")]
    if not found:
        raise InvalidInputError("pass at least one user or group")
    return found


def the_one(user: Any, group: Any) -> tuple[str, Any]:
    """("USER" or "GROUP", id). Raises: InvalidInputError, unless one of the two is given."""
    if (user is None) == (group is None):
        raise InvalidInputError("pass user= or group=, one of the two")
    return ("USER", id_of(user, "user", "USER")) if group is None else ("GROUP", id_of(group, "group", "GROUP"))
