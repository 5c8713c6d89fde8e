"""Accounts of the product API: stored credentials and what is known of them."""

from __future__ import annotations

from typing import Any

from .. import vault
from ..model import Account
from ..providers import PROVIDERS
from ..wire import Area, Call, Refusal

area = Area("product")
PATH = "/api/data/v1/accounts"
CONFIG = "/api/data/v1/providers/{provider_type}/account/{account_id}"


def shape(account: Account, *, new: bool = False) -> dict[str, Any]:
    """An account object. `configurations` is always empty here; a new one has no dates and is not valid."""
    return {
        "id": account.id,
        "userId": account.user_id,
        "name": account.name,
        "displayName": account.display_name,
        "type": "data",
        "valid": account.valid and not new,
        "dataProviderType": account.provider,
        "credentialsType": account.credentials_type,
        "createdAt": None if new else account.created,
        "createdBy": account.created_by,
        "modifiedAt": None if new else account.modified,
        "modifiedBy": account.modified_by,
        "configurations": {},
        "accountId": account.id,
        "accountTemplateId": None,
        "accountTemplateAuthorizationId": None,
        "allowExternalUse": account.allow_external_use,
        "secretManagerAccountId": None,
        "secretId": None,
    }


@area.on("GET", PATH)
async def list_accounts(call: Call) -> Any:
    return [shape(account) for account in vault.visible(call.state, call.user)]


@area.on("GET", PATH + "/{account_id}")
async def get(call: Call) -> Any:
    """Metadata only, whatever `unmask` says."""
    return shape(vault.find(call, call.number("account_id")))


@area.on("POST", PATH)
async def create(call: Call) -> Any:
    body = call.json_object()
    display_name = body.get("displayName")
    name = body.get("name", display_name)
    if not isinstance(display_name, str) or not display_name.strip() or not isinstance(name, str):
        raise Refusal(400, "displayName is required")
    provider = vault.provider_of(body.get("dataProviderType"))
    configuration, external = vault.checked(provider, body.get("configurations"))
    if external is None:
        external = str(body.get(vault.EXTERNAL, False)).lower() == "true"
    account = vault.create(
        call,
        name=name,
        display_name=display_name,
        provider=provider,
        configuration=configuration,
        external=external,
        credentials_type=str(body.get("credentialsType") or "fields"),
    )
    return shape(account, new=True)


@area.on("PUT", PATH + "/{account_id}/name")
async def rename(call: Call) -> Any:
    """The body is the bare text. Only displayName changes."""
    account = vault.find(call, call.number("account_id"), "CAN_EDIT")
    try:
        text = call.body.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "The name must be UTF-8 text") from None
    if not text.strip():
        raise Refusal(400, "The name must not be empty")
    account.display_name = text
    vault.touch(call, account)
    return shape(account)


@area.on("DELETE", PATH + "/{account_id}")
async def delete(call: Call) -> Any:
    vault.remove(call, vault.find(call, call.number("account_id"), "CAN_EDIT"))


def _of_type(call: Call, level: str) -> Account:
    account = vault.find(call, call.number("account_id"), level)
    if account.provider != call.params["provider_type"]:
        raise Refusal(404, f"Account {account.id} is not of the provider {call.params['provider_type']}")
    return account


@area.on("GET", CONFIG)
async def get_config(call: Call) -> Any:
    """Secrets are masked unless `unmask` is asked for and the account allows external use."""
    account = _of_type(call, "CAN_VIEW")
    provider = PROVIDERS[account.provider]
    if provider.is_oauth:
        return {}
    clear = call.flag("unmask") and account.allow_external_use
    shown: dict[str, Any] = {}
    for key, value in account.configuration.items():
        field = provider.fields.get(key)
        masked = not clear and field is not None and field.secret and value is not None
        shown[key] = vault.MASK if masked else value
    if account.allow_external_use:
        shown[vault.EXTERNAL] = "true"
    return shown


@area.on("PUT", CONFIG)
async def update_config(call: Call) -> Any:
    """The body is the bare configuration, whole. Eight asterisks would be stored as such."""
    account = _of_type(call, "CAN_EDIT")
    provider = PROVIDERS[account.provider]
    configuration, external = vault.checked(provider, call.json_object(), whole=True)
    account.configuration = dict(configuration)
    if external is not None:
        account.allow_external_use = external
    vault.touch(call, account)
    return shape(account)


@area.on("GET", PATH + "/provider/{provider_key}")
async def list_for_provider(call: Call) -> Any:
    accounts = vault.visible(call.state, call.user)
    return [shape(account) for account in accounts if account.provider == call.params["provider_key"]]


@area.on("POST", PATH + "/validators", changes=False)
async def validate(call: Call) -> Any:
    """Nobody is asked whether the credentials work, only whether the provider has such fields."""
    body = call.json_object()
    vault.checked(vault.provider_of(body.get("dataProviderKey")), body.get("credentials"))
    return {}
