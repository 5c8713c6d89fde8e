"""Accounts and account types of the platform API. Ids are text; properties are never shown."""

from __future__ import annotations

from typing import Any

from .. import vault
from ..model import Account
from ..providers import PROVIDERS
from ..replies import empty, reply
from ..wire import Area, Call, Refusal, as_object

area = Area("platform", scope="account")
ACCOUNTS, TYPES = "/v1/accounts", "/v1/account-types"
MOST = 500  # rows a page; the SDKs ask for 50 at most


def _shape(account: Account) -> dict[str, Any]:
    return {
        "id": str(account.id),
        "name": account.display_name,
        "valid": account.valid,
        "type": {"id": account.provider, "properties": {}},
    }


def _find(call: Call, level: str = "CAN_VIEW") -> Account:
    return vault.find(call, call.params["account_id"], level, hidden=404)


def _type(body: dict[str, Any]) -> dict[str, Any]:
    given = as_object(body.get("type"))
    if given is None or "id" not in given:
        raise Refusal(400, "type.id is required")
    return given


def _valid(body: dict[str, Any]) -> bool:
    value = body.get("valid", True)
    if not isinstance(value, bool):
        raise Refusal(400, "valid must be true or false")
    return value


@area.on("GET", ACCOUNTS)
async def list_accounts(call: Call) -> Any:
    accounts = vault.visible(call.state, call.user)
    if call.query.get("sort") == "name":
        accounts.sort(key=lambda account: account.display_name.lower())
    return [_shape(account) for account in accounts[call.page(limit=50, most=MOST)]]


@area.on("GET", ACCOUNTS + "/{account_id}")
async def get(call: Call) -> Any:
    return _shape(_find(call))


@area.on("POST", ACCOUNTS)
async def create(call: Call) -> Any:
    body = call.json_object()
    name, given = body.get("name"), _type(body)
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "name is required")
    valid = _valid(body)
    provider = vault.provider_of(given["id"])
    configuration, external = vault.checked(provider, given.get("properties") or {})
    account = vault.create(
        call,
        name=name,
        display_name=name,
        provider=provider,
        configuration=configuration,
        external=bool(external),
    )
    account.valid = valid
    return _shape(account)


@area.on("PATCH", ACCOUNTS + "/{account_id}")
async def update(call: Call) -> Any:
    """202: the docs say 200, but the official Python SDK takes nothing else for success."""
    account = _find(call, "CAN_EDIT")
    body = call.json_object()
    name = body.get("name", account.display_name)
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "name must not be empty")
    valid = _valid(body) if "valid" in body else account.valid
    configuration = account.configuration
    if "type" in body:
        given = _type(body)
        if given["id"] != account.provider:
            raise Refusal(400, "The type of an account cannot change")
        changed, external = vault.checked(PROVIDERS[account.provider], given.get("properties") or {})
        configuration = configuration | changed
        if external is not None:
            account.allow_external_use = external
    account.display_name, account.valid, account.configuration = name, valid, configuration
    vault.touch(call, account)
    return reply(_shape(account), 202)


@area.on("DELETE", ACCOUNTS + "/{account_id}")
async def delete(call: Call) -> Any:
    """204, which the official Python SDK insists on."""
    vault.remove(call, _find(call, "CAN_EDIT"))
    return empty(204)


@area.on("POST", ACCOUNTS + "/{account_id}/shares")
async def share(call: Call) -> Any:
    """People only, and no choice of a level."""
    account = _find(call, "CAN_SHARE")
    user = as_object(call.json_object().get("user"))
    if user is None:
        raise Refusal(400, "user.id is required")
    key = vault.grantee(call, "USER", user.get("id"))
    if account.shares.get(key, "NONE") == "NONE":
        account.shares[key] = "CAN_VIEW"


@area.on("GET", TYPES)
async def list_types(call: Call) -> Any:
    providers = sorted(PROVIDERS.values(), key=lambda provider: provider.key)
    page = providers[call.page(limit=50, most=MOST)]
    return [{"id": provider.key, "name": provider.name} for provider in page]


@area.on("GET", TYPES + "/{account_type_id}")
async def get_type(call: Call) -> Any:
    """With a form template that names the properties."""
    provider = PROVIDERS.get(call.params["account_type_id"])
    if provider is None:
        raise Refusal(404, "No such account type")
    properties = [
        {"name": field.name, "prompt": field.name, "required": not field.optional} for field in provider.fields.values()
    ]
    template = {
        "title": f"Create {provider.name} Account",
        "contentType": "application/json",
        "method": "post",
        "key": "default",
        "properties": properties,
    }
    return {"id": provider.key, "name": provider.name, "_templates": {"default": template}}
