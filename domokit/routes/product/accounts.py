"""Accounts: stored credentials for data providers."""

from collections.abc import Mapping
from typing import Any

from domokit.auth import Auth
from domokit.transport import Json, members, plain_text, product, send

LIST_ACCOUNTS = product("GET", "/api/data/v1/accounts", returns=list)
GET_ACCOUNT = product("GET", "/api/data/v1/accounts/{account_id}")
CREATE_ACCOUNT = product("POST", "/api/data/v1/accounts")
GET_CONFIG = product("GET", "/api/data/v1/providers/{provider_type}/account/{account_id}")
UPDATE_CONFIG = product("PUT", "/api/data/v1/providers/{provider_type}/account/{account_id}", returns=None)
UPDATE_NAME = product("PUT", "/api/data/v1/accounts/{account_id}/name", returns=None)
DELETE_ACCOUNT = product("DELETE", "/api/data/v1/accounts/{account_id}", returns=None)
SHARE_ACCOUNT = product("PUT", "/api/data/v2/accounts/share/{account_id}", returns=None)
LIST_ACCESS = product("GET", "/api/data/v2/accounts/share/{account_id}")
SEARCH = product("POST", "/api/search/v1/query", changes=False)
LIST_DATASETS = product("GET", "/api/data/v2/datasources/account/{account_id}", returns=list)
LIST_BY_PROVIDER = product("GET", "/api/data/v2/datasources/providers", returns=list)
LIST_PROVIDERS = product("GET", "/api/data/v1/providers", returns=list)
GET_PROVIDER = product("GET", "/api/data/v1/providers/{provider_key}")


async def get_accounts(auth: Auth) -> list[Json]:
    """Accounts the caller can read, all at once; configurations are empty. Source: GET /api/data/v1/accounts"""
    return await send(auth, LIST_ACCOUNTS)


async def get_account_by_id(auth: Auth, account_id: int | str) -> Json:
    """One account without its configuration. Source: GET /api/data/v1/accounts/{account_id}

    Raises: NotFoundError; PermissionDeniedError, if it is not shared with the caller.
    """
    return await send(auth, GET_ACCOUNT, account_id=account_id)


async def create_account(
    auth: Auth, *, name: str, provider_type: str, fields: Mapping[str, Any], allow_external_use: bool | None = None
) -> Json:
    """Create an account. The answer has null times, `valid` false, and ' (2)' on a label that was taken.

    fields:  the provider's configuration, by name; text values.
    Source: POST /api/data/v1/accounts
    """
    body: dict[str, Any] = {
        "name": name,
        "displayName": name,
        "dataProviderType": provider_type,
        "type": "data",
        "configurations": dict(fields),
    }
    if allow_external_use is not None:
        body["allowExternalUse"] = allow_external_use
    return await send(auth, CREATE_ACCOUNT, json=body)


async def get_account_config(auth: Auth, provider_type: str, account_id: int | str, *, unmask: bool = False) -> Json:
    """The configuration; secrets are asterisks unless unmasking is asked for and granted.

    Source: GET /api/data/v1/providers/{provider_type}/account/{account_id}
    Raises: NotFoundError, also if the account is of another provider.
    """
    params = {"unmask": True} if unmask else None
    return await send(auth, GET_CONFIG, params=params, provider_type=provider_type, account_id=account_id)


async def update_account_config(
    auth: Auth, provider_type: str, account_id: int | str, fields: Mapping[str, Any]
) -> None:
    """Replace the configuration: all fields of the provider, bare.

    Source: PUT /api/data/v1/providers/{provider_type}/account/{account_id}
    """
    await send(auth, UPDATE_CONFIG, json=dict(fields), provider_type=provider_type, account_id=account_id)


async def update_account_name(auth: Auth, account_id: int | str, name: str) -> None:
    """Change the label people see. Source: PUT /api/data/v1/accounts/{account_id}/name, a bare text body"""
    await send(auth, UPDATE_NAME, content=plain_text(name), account_id=account_id)


async def delete_account(auth: Auth, account_id: int | str) -> None:
    """Delete an account. Source: DELETE /api/data/v1/accounts/{account_id}"""
    await send(auth, DELETE_ACCOUNT, account_id=account_id)


async def share_account(auth: Auth, account_id: int | str, *, kind: str, grantee_id: int | str, level: str) -> None:
    """Give one user or group access; level NONE takes it away.

    kind:   USER or GROUP.
    level:  NONE, CAN_VIEW, CAN_EDIT, CAN_SHARE or OWNER.
    Source: PUT /api/data/v2/accounts/share/{account_id}; older servers answer 500 where the access exists already.
    """
    body = {"type": kind, "id": str(grantee_id), "accessLevel": level}
    await send(auth, SHARE_ACCOUNT, json=body, account_id=account_id)


async def get_account_access(auth: Auth, account_id: int | str) -> list[Json]:
    """Who has access, and how much. Source: GET /api/data/v2/accounts/share/{account_id}"""
    return members(await send(auth, LIST_ACCESS, account_id=account_id), "list")


async def search_accounts(
    auth: Auth, *, query: str = "**", provider_type: str | None = None, count: int = 100, offset: int = 0
) -> list[Json]:
    """One page of hits of the search index (keyed databaseId), at most 10,000 in all.

    Sees accounts that are not shared with the caller, too, where he may manage all accounts; lags behind writes.
    Source: POST /api/search/v1/query
    """
    filters: list[Json] = []
    if provider_type is not None:
        filters.append({
            "field": "dataproviderkey_facet",
            "filterType": "term",
            "name": "Data Provider Type",
            "value": provider_type,
            "not": False,
        })  # fmt: skip
    body = {
        "query": query,
        "entityList": [["account"]],
        "count": count,
        "offset": offset,
        "combineResults": False,
        "filters": filters,
        "facetValuesToInclude": [],
        "queryProfile": "GLOBAL",
        "hideSearchObjects": True,
        "sort": {"fieldSorts": [{"field": "display_name_sort", "sortOrder": "ASC"}]},
    }
    return members((await send(auth, SEARCH, json=body)).get("searchResultsMap") or {}, "account")


async def get_account_datasets(auth: Auth, account_id: int | str) -> list[Json]:
    """DataSets fed through an account. Source: GET /api/data/v2/datasources/account/{account_id}"""
    return await send(auth, LIST_DATASETS, account_id=account_id)


async def get_providers_in_use(auth: Auth) -> list[Json]:
    """Providers with their accounts and DataSet counts. Source: GET /api/data/v2/datasources/providers"""
    return await send(auth, LIST_BY_PROVIDER)


async def get_providers(auth: Auth) -> list[Json]:
    """All data providers: key, name, authenticationScheme. Source: GET /api/data/v1/providers"""
    fields = "id,key,name,authenticationScheme,connectorValidatorPresent,defaultConnectorId"
    return await send(auth, LIST_PROVIDERS, params={"fields": fields})


async def get_provider(auth: Auth, provider_key: str) -> Json:
    """One provider; authenticationSchemeConfiguration lists its fields.

    Source: GET /api/data/v1/providers/{provider_key}
    """
    return await send(auth, GET_PROVIDER, params={"fields": "all"}, provider_key=provider_key)
