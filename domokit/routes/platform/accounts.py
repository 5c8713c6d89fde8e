"""Accounts and account types of the platform API. Their ids are texts."""

from collections.abc import Mapping
from typing import Any

from domokit.auth import Auth
from domokit.transport import Json, platform, send

LIST_ACCOUNTS = platform("GET", "/v1/accounts", returns=list)
GET_ACCOUNT = platform("GET", "/v1/accounts/{account_id}")
CREATE_ACCOUNT = platform("POST", "/v1/accounts")
UPDATE_ACCOUNT = platform("PATCH", "/v1/accounts/{account_id}", returns=None, repeatable=True)
DELETE_ACCOUNT = platform("DELETE", "/v1/accounts/{account_id}", returns=None)
SHARE_ACCOUNT = platform("POST", "/v1/accounts/{account_id}/shares", returns=None, repeatable=True)
LIST_TYPES = platform("GET", "/v1/account-types", returns=list)
GET_TYPE = platform("GET", "/v1/account-types/{account_type_id}")


async def list_accounts(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of accounts; clients enforce at most 50. Source: GET /v1/accounts"""
    return await send(auth, LIST_ACCOUNTS, params={"offset": offset, "limit": limit})


async def get_account_by_id(auth: Auth, account_id: int | str) -> Json:
    """One account, without its properties. Source: GET /v1/accounts/{account_id}"""
    return await send(auth, GET_ACCOUNT, account_id=account_id)


async def create_account(
    auth: Auth, *, name: str, provider_type: str, fields: Mapping[str, Any], allow_external_use: bool | None = None
) -> Json:
    """Create an account; `allow_external_use` has no place in this API. Source: POST /v1/accounts"""
    body = {"name": name, "type": {"id": provider_type, "properties": dict(fields)}}
    return await send(auth, CREATE_ACCOUNT, json=body)


async def update_account_config(
    auth: Auth, provider_type: str, account_id: int | str, fields: Mapping[str, Any]
) -> None:
    """Replace the properties. Source: PATCH /v1/accounts/{account_id}"""
    body = {"type": {"id": provider_type, "properties": dict(fields)}}
    await send(auth, UPDATE_ACCOUNT, json=body, account_id=account_id)


async def update_account_name(auth: Auth, account_id: int | str, name: str) -> None:
    """Change the name. Source: PATCH /v1/accounts/{account_id}"""
    await send(auth, UPDATE_ACCOUNT, json={"name": name}, account_id=account_id)


async def delete_account(auth: Auth, account_id: int | str) -> None:
    """Delete an account. Source: DELETE /v1/accounts/{account_id}"""
    await send(auth, DELETE_ACCOUNT, account_id=account_id)


async def share_account_with_user(auth: Auth, account_id: int | str, user_id: int) -> None:
    """Share with a user; groups and levels are not offered. Source: POST /v1/accounts/{account_id}/shares"""
    await send(auth, SHARE_ACCOUNT, json={"user": {"id": user_id}}, account_id=account_id)


async def list_account_types(auth: Auth, offset: int, limit: int) -> list[Json]:
    """One page of account types: id, name. Source: GET /v1/account-types"""
    return await send(auth, LIST_TYPES, params={"offset": offset, "limit": limit})


async def get_account_type(auth: Auth, account_type_id: str) -> Json:
    """One account type; `_templates.default.properties` lists its fields.

    Source: GET /v1/account-types/{account_type_id}
    """
    return await send(auth, GET_TYPE, account_type_id=account_type_id)
