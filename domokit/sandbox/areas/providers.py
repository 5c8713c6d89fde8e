"""Connectors, and accounts grouped by them."""

from __future__ import annotations

from typing import Any

from .. import vault
from ..model import Account
from ..providers import PROVIDERS, Provider
from ..wire import Area, Call, Refusal

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
    loose = sum(dataset.account_id is None for dataset in datasets)
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
        "dataSourceCount": sum(d.account_id == account.id for d in call.state.datasets.values()),
        "daysToExpiry": None,
        "expired": None,
    }


@area.on("GET", "/api/data/v2/datasources/account/{account_id}")
async def datasets_of_account(call: Call) -> Any:
    account = vault.find(call, call.number("account_id"))
    return [
        {"dataSourceId": d.id, "dataSourceName": d.name, "responsibleUserId": str(d.owner_id)}
        for d in list(call.state.datasets.values())
        if d.account_id == account.id
    ]
