"""Users. Three generations of endpoints show the same people in three shapes; DomoUser reads all of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from domokit.auth import Auth, Password, Secret
from domokit.errors import BadRequestError, NotFoundError
from domokit.transport import Json, members, product, send

LIST_USERS = product("GET", "/api/identity/v1/users")
GET_USER = product("GET", "/api/identity/v1/users/{user_id}")
SEARCH_USERS = product("POST", "/api/identity/v1/users/search", changes=False)
CREATE_USER_IDENTITY = product("POST", "/api/identity/v1/users")
UPDATE_USER = product("PATCH", "/api/identity/v1/users/{user_id}", returns=None, repeatable=True)
DELETE_USER = product("DELETE", "/api/identity/v1/users/{user_id}", returns=None)
SET_PASSWORD = product("PUT", "/api/identity/v1/password", may_be_empty=True, repeatable=False)

LIST_USERS_V2 = product("GET", "/api/content/v2/users", returns=list)
GET_USER_V2 = product("GET", "/api/content/v2/users/{user_id}", may_be_empty=True)
BULK_UPDATE = product("PUT", "/api/content/v2/users/bulk", returns=None)
GET_TEAMS = product("GET", "/api/content/v2/users/{user_id}/teams")
SET_TEAMS = product("POST", "/api/content/v2/users/{user_id}/teams", returns=None)
GET_STATE = product("GET", "/api/content/v2/users/{user_id}/state")

LIST_USERS_V3 = product("GET", "/api/content/v3/users", returns=list)
GET_USER_V3 = product("GET", "/api/content/v3/users/{user_id}")
CREATE_USER = product("POST", "/api/content/v3/users")
DIRECT_SIGN_ON = product("POST", "/api/content/v3/users/directSignOn", returns=None, repeatable=True)

TYPEAHEAD = product("GET", "/api/content/v1/typeahead")
SEND_RESET = product("GET", "/api/domoweb/auth/sendReset", returns=None, changes=True, repeatable=False)
LANDING_PAGE = product(
    "PUT", "/api/content/v1/landings/target/{target}/entity/PAGE/id/{page_id}/{user_id}", returns=None
)
GET_AVATAR = product("GET", "/api/content/v1/avatar/{entity_type}/{entity_id}", returns=bytes, accept="image/png")

_SEARCHED = [
    "id", "displayName", "userName", "emailAddress", "roleId", "department", "title", "phoneNumber", "employeeId",
    "employeeNumber", "employeeLocation", "hireDate", "reportsTo", "locale", "timeZone", "avatarKey", "created",
    "modified", "lastActivity", "isActive", "isPending", "isAnonymous", "isSystemUser", "invitorUserId",
]  # fmt: skip


async def list_users(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of users, identity shape. Source: GET /api/identity/v1/users"""
    params = {"offset": offset, "limit": limit, "parts": "DETAILED"}
    return members(await send(auth, LIST_USERS, params=params), "users")


async def get_user_by_id(auth: Auth, user_id: int | str) -> Json:
    """One user, identity shape. Source: GET /api/identity/v1/users/{user_id}

    Raises: NotFoundError, also where Domo answers with an empty list.
    """
    users = members(await send(auth, GET_USER, params={"parts": "DETAILED"}, user_id=user_id), "users")
    if not users:
        raise NotFoundError(f"there is no user {user_id}", asked=str(GET_USER), status=200)
    return users[0]


async def search_users(
    auth: Auth,
    offset: int,
    limit: int,
    *,
    filters: Sequence[Mapping[str, Any]] = (),
    ids: Iterable[int] | None = None,
    include_deleted: bool = False,
    more_attributes: Iterable[str] = (),
) -> list[Json]:
    """One page of users that match all filters, identity shape, by display name. Text matches are 'contains'.

    filters:  such as {'filterType': 'text', 'field': 'emailAddress', 'text': 'ann@example.com'} or
              {'filterType': 'value', 'field': 'id', 'operator': 'EQ', 'values': [27]}.
    more_attributes:  keys to return beside the usual ones, such as an instance's own.
    Source: POST /api/identity/v1/users/search
    """
    body: dict[str, Any] = {
        "showCount": True,
        "count": False,
        "includeDeleted": include_deleted,
        "includeSupport": False,
        "limit": limit,
        "offset": offset,
        "sort": {"field": "displayName", "order": "ASC"},
        "filters": [dict(one) for one in filters],
        "parts": ["DETAILED", "ROLE"],
        "attributes": list(dict.fromkeys([*_SEARCHED, *more_attributes])),
    }
    if ids is not None:
        body["ids"] = list(ids)
    return members(await send(auth, SEARCH_USERS, json=body), "users")


async def create_user(
    auth: Auth, *, name: str, email: str, role_id: int, send_invite: bool = False, **details: Any
) -> Json:
    """Create a user, content/v3 shape. Source: POST /api/content/v3/users

    details:  further keys of the `detail` object, such as title.
    Raises: BadRequestError, if the address is taken or the role unknown: Domo says neither which nor why.
    """
    body = {"displayName": name, "roleId": role_id, "detail": {"email": email, **details}}
    return await send(auth, CREATE_USER, params={"sendInvite": send_invite}, json=body)


async def create_user_identity(auth: Auth, *, name: str, email: str, role_id: int) -> Json:
    """The documented alternative, identity shape; sends no choice of invitation. Source: POST /api/identity/v1/users"""
    body = {"displayName": name, "emailAddress": email, "roleId": role_id}
    return await send(auth, CREATE_USER_IDENTITY, json=body)


async def update_user(auth: Auth, user_id: int | str, attributes: Mapping[str, Any]) -> None:
    """Change the given attributes, named as on the wire; None clears one.

    Source: PATCH /api/identity/v1/users/{user_id}
    """
    body = {"attributes": [{"key": key, "values": [value]} for key, value in attributes.items()]}
    await send(auth, UPDATE_USER, json=body, user_id=user_id)


async def delete_user(auth: Auth, user_id: int | str) -> None:
    """Delete a user (who stays visible with include_deleted). Source: DELETE /api/identity/v1/users/{user_id}"""
    await send(auth, DELETE_USER, user_id=user_id)


async def set_password(auth: Auth, user_id: int | str, password: str | Secret) -> None:
    """Set a user's password, as an administrator. Source: PUT /api/identity/v1/password

    Raises: BadRequestError, with Domo's reason: a refusal by the password policy comes with status 200.
    """
    password = Password(password)  # from here on no traceback shows it
    answer = await send(auth, SET_PASSWORD, json={"domoUserId": user_id, "password": password})
    if answer and (said := answer.get("description")):
        raise BadRequestError(str(said), asked=str(SET_PASSWORD), status=200, domo_message=str(said))


async def get_all_users_v2(auth: Auth) -> list[Json]:
    """All users in one answer, content/v2 shape; includes system rows with id 0. Source: GET /api/content/v2/users"""
    return await send(auth, LIST_USERS_V2)


async def get_user_v2(auth: Auth, user_id: int | str) -> Json:
    """One user, content/v2 shape, without roleId. Source: GET /api/content/v2/users/{user_id}

    Raises: NotFoundError: an unknown id is answered with 200 and nothing.
    """
    found = await send(auth, GET_USER_V2, user_id=user_id)
    if found is None:
        raise NotFoundError(f"there is no user {user_id}", asked=str(GET_USER_V2), status=200)
    return found


async def get_user_v3(auth: Auth, user_id: int | str) -> Json:
    """One user, content/v3 shape with details. Source: GET /api/content/v3/users/{user_id}"""
    return await send(auth, GET_USER_V3, params={"includeDetails": True}, user_id=user_id)


async def list_users_v3(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of users, content/v3 shape with details. Source: GET /api/content/v3/users"""
    return await send(auth, LIST_USERS_V3, params={"offset": offset, "limit": limit, "includeDetails": True})


async def get_users_by_ids(auth: Auth, user_ids: Iterable[int | str]) -> list[Json]:
    """Several users at once, content/v3 shape; unknown ids are left out. Source: GET /api/content/v3/users?id="""
    params = {"id": ",".join(str(one) for one in user_ids), "includeDetails": True}
    return await send(auth, LIST_USERS_V3, params=params)


async def bulk_update_users(auth: Auth, transaction_id: str, users: Sequence[Mapping[str, Any]]) -> None:
    """Change several users; each has its id as text and the keys to change. Source: PUT /api/content/v2/users/bulk"""
    await send(auth, BULK_UPDATE, json={"transactionId": transaction_id, "users": [dict(one) for one in users]})


async def get_user_manager(auth: Auth, user_id: int | str) -> list[Json]:
    """The manager (userId, displayName) in a list, which may be empty.

    Source: GET /api/content/v2/users/{user_id}/teams
    """
    return members(await send(auth, GET_TEAMS, user_id=user_id), "reportsTo")


async def set_user_manager(auth: Auth, user_id: int | str, manager_id: int) -> None:
    """Set the manager. Source: POST /api/content/v2/users/{user_id}/teams"""
    await send(auth, SET_TEAMS, json={"reportsTo": [{"userId": manager_id}]}, user_id=user_id)


async def get_user_state(auth: Auth, user_id: int | str, *keys: str) -> Json:
    """State flags such as twoFactorEnabled, as texts. Source: GET /api/content/v2/users/{user_id}/state"""
    return await send(auth, GET_STATE, params={"keys": ",".join(keys)}, user_id=user_id)


async def find_users_with_grants(auth: Auth, offset: int, limit: int, *, grants: Iterable[str]) -> list[Json]:
    """One page of users (id, displayName) that hold a grant. Source: GET /api/content/v1/typeahead"""
    params = {"type": "userByName", "authorities": ",".join(grants), "offset": offset, "limit": limit}
    return members(await send(auth, TYPEAHEAD, params=params), "users")


async def set_direct_sign_on(auth: Auth, user_ids: Iterable[int], *, allowed: bool) -> None:
    """Allow or forbid signing in with a password beside single sign-on.

    Source: POST /api/content/v3/users/directSignOn
    """
    await send(auth, DIRECT_SIGN_ON, params={"value": allowed}, json=list(user_ids))


async def request_password_reset(auth: Auth, email: str, *, locale: str = "en-us") -> None:
    """Send the mail for a new password. Source: GET /api/domoweb/auth/sendReset, a GET that does something"""
    # Older clients use the misspelt key, a newer one the right one: both are sent.
    await send(auth, SEND_RESET, params={"email": email, "local": locale, "locale": locale})


async def set_landing_page(auth: Auth, user_id: int | str, page_id: int, *, target: str = "DESKTOP") -> None:
    """Set the first page of a user on DESKTOP or MOBILE.

    Source: PUT /api/content/v1/landings/target/{target}/entity/PAGE/id/{page_id}/{user_id}
    """
    await send(auth, LANDING_PAGE, target=target, page_id=page_id, user_id=user_id)


async def get_avatar(auth: Auth, user_id: int | str, *, size: int = 300) -> bytes:
    """The picture, PNG bytes; a placeholder where there is none. Source: GET /api/content/v1/avatar/USER/{user_id}"""
    return await send(auth, GET_AVATAR, params={"size": size}, entity_type="USER", entity_id=user_id)
