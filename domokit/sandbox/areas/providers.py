"""Connectors, and accounts grouped by them."""

from __future__ import annotations

from typing import Any

from .. import vault
from ..model import Account
from ..providers import PROVIDERS, Provider
from ..wire import Area, Call, Refusal
from .datasources import older_shape

area = Area("product")


def _row(provider: Provider) -> dict[str, Any]:
    return {
        "id": provider.id,
        "key": provider.key,
        "name": provider.name,
        "authenticationScheme": provider.scheme,
        "connectorValidatorPresent": False,
        "defaultConnectorId": None,
    }


@area.on("GET", "/api/data/v1/providers")
async def list_providers(call: Call) -> Any:
    """`fields` narrows the keys of each row; `filter=withAccounts` the rows."""
    rows = [_row(provider) for provider in PROVIDERS.values()]
    if "withAccounts" in call.query.get("filter", ""):
        used = {account.provider for account in vault.visible(call.state, call.user)}
        rows = [row for row in rows if row["key"] in used]
    fields = call.query.get("fields", "all")
    if fields == "all":
        return rows
    wanted = set(fields.split(","))
    return [{key: value for key, value in row.items() if key in wanted} for row in rows]


@area.on("GET", "/api/data/v1/providers/{provider_key}")
async def get(call: Call) -> Any:
    """With the names of its configuration fields."""
    provider = PROVIDERS.get(call.params["provider_key"])
    if provider is None:
        raise Refusal(404, "No such data provider")
    fields = [{"name": name} for name in provider.fields]
    row = {key: value for key, value in _row(provider).items() if key in ("id", "key", "name")}
    return row | {"authenticationScheme": provider.scheme, "authenticationSchemeConfiguration": fields}


@area.on("GET", "/api/data/v2/datasources/providers")
async def in_use(call: Call) -> Any:
    """Providers with their accounts; here `userId` is text."""
    mine = vault.visible(call.state, call.user)
    datasets = list(call.state.datasets.values())
    loose = sum(dataset.account_id is None and not dataset.deleted for dataset in datasets)
    rows: list[dict[str, Any]] = []
    for provider in PROVIDERS.values():
        accounts = [account for account in mine if account.provider == provider.key]
        unassociated = loose if provider.key == "api" else 0
        if not accounts and not unassociated:
            continue
        row: dict[str, Any] = {"key": provider.key, "name": provider.name}
        if accounts:
            row["authenticationScheme"] = provider.scheme
        row["unassociatedDataSourceCount"] = unassociated
        row["accounts"] = [_nested(call, account) for account in accounts]
        rows.append(row)
    return rows


def _nested(call: Call, account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "userId": str(account.user_id),
        "displayName": account.display_name,
        "type": "data",
        "dataProviderType": account.provider,
        "valid": account.valid,
        "dateOfExpiration": None,
        "dataSourceCount": len(vault.powered(call.state, account)),
        "daysToExpiry": None,
        "expired": None,
    }


@area.on("GET", "/api/data/v2/datasources/account/{account_id}")
async def datasets_of_account(call: Call) -> Any:
    """`fields` chooses among those of the older shape; names that are none of them are left out."""
    account = vault.find(call, call.number("account_id"))
    fields = call.query.get("fields", "dataSourceId,dataSourceName,responsibleUserId").split(",")
    rows = [older_shape(dataset) for dataset in vault.powered(call.state, account)]
    return [{key: value for key, value in row.items() if key in fields} for row in rows]
