"""DataSets: descriptions, schemas, who may see them, versions. The product API calls them data sources."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from domokit.auth import Auth
from domokit.errors import NotFoundError
from domokit.transport import Json, member, members, product, send

LIST_DATASETS = product("GET", "/api/data/v3/datasources")
GET_DATASETS = product("POST", "/api/data/v3/datasources/bulk", changes=False)
GET_DATASET = product("GET", "/api/data/v3/datasources/{dataset_id}")
CREATE_DATASET = product("POST", "/api/data/v2/datasources", returns=dict | str)
UPDATE_PROPERTIES = product("PUT", "/api/data/v3/datasources/{dataset_id}/properties", returns=None)
DELETE_DATASET = product("DELETE", "/api/data/v3/datasources/{dataset_id}", returns=None)
RESTORE_DATASETS = product("POST", "/api/data/v3/datasources/restore", returns=None, repeatable=True)
GET_STATUS = product("GET", "/api/data/v3/datasources/{dataset_id}/statuses")
GET_SCHEMA = product("GET", "/api/data/v2/datasources/{dataset_id}/schemas/{schema_id}")
SET_SCHEMA = product("POST", "/api/data/v2/datasources/{dataset_id}/schemas", returns=None, repeatable=True)
GET_STORED_SCHEMA = product("GET", "/api/data/v3/datasources/{dataset_id}/schema")
GET_INDEXED_SCHEMA = product("GET", "/api/data/v2/datasources/{dataset_id}/schemas/indexed")
LIST_VERSIONS = product("GET", "/api/data/v3/datasources/{dataset_id}/dataversions/details", returns=list)
DELETE_VERSIONS = product("DELETE", "/api/data/v2/datasources/{dataset_id}/dataversions", returns=None)
SET_OWNER = product("PUT", "/api/data/v2/datasources/{dataset_id}/responsibleUsers", returns=None)
SET_PERMISSION = product("PUT", "/api/data/v3/datasources/{dataset_id}/permissions", returns=None)
LIST_PERMISSIONS = product("GET", "/api/data/v3/datasources/{dataset_id}/permissions")
DELETE_PERMISSION = product(
    "DELETE", "/api/data/v3/datasources/{dataset_id}/permissions/{kind}/{grantee_id}", returns=None
)
GET_MY_LEVEL = product("GET", "/api/data/v3/datasources/{dataset_id}/permissions/currentUser", returns=str)
SHARE = product("POST", "/api/data/v3/datasources/{dataset_id}/share", returns=None, repeatable=True)
SEARCH = product("POST", "/api/data/ui/v3/datasources/search", changes=False)
SET_TAGS = product("POST", "/api/data/ui/v3/datasources/{dataset_id}/tags", returns=None, repeatable=True)


async def list_datasets(
    auth: Auth,
    offset: int,
    limit: int,
    *,
    name_like: str | None = None,
    order: str = "name",
    owner_id: int | str | None = None,
    provider: str | None = None,
) -> list[Json]:
    """One page of DataSets in order; more than 50 are refused. Source: GET /api/data/v3/datasources"""
    params = {"offset": offset, "limit": limit, "orderBy": order, "nameLike": name_like, "part": _PARTS}
    params |= {"ownerId": owner_id, "dataProviderType": provider}
    return members(await send(auth, LIST_DATASETS, params=params), "dataSources")


async def search_datasets(
    auth: Auth,
    offset: int,
    limit: int,
    *,
    text: str,
    filters: Mapping[str, int | str],
    sort: tuple[str, str] = ("name_sort", "ASC"),
) -> list[Json]:
    """One page of what Domo's search finds; it lags behind, and ends at 10,000.

    text:     as typed into the search of the Data Center; `*` for all.
    filters:  by field: owned_by_id, dataprovidername_facet, …
    sort:     field and ASC or DESC.
    Source: POST /api/data/ui/v3/datasources/search
    """
    field, direction = sort
    body: dict[str, Any] = {
        "entities": ["DATASET"],
        "query": text,
        "filters": [
            {"filterType": "term", "field": name, "value": str(value), "not": False} for name, value in filters.items()
        ],
        "combineResults": True,
        "count": limit,
        "offset": offset,
        "sort": {"isRelevance": False, "fieldSorts": [{"field": field, "sortOrder": direction}]},
    }
    return members(await send(auth, SEARCH, json=body), "dataSources")


async def get_datasets(auth: Auth, dataset_ids: Sequence[str]) -> list[Json]:
    """Those of 100 DataSets at most that there are and that the caller may see, in any order.

    Source: POST /api/data/v3/datasources/bulk
    """
    return members(await send(auth, GET_DATASETS, params={"part": _PARTS}, json=list(dataset_ids)), "dataSources")


async def get_dataset_by_id(auth: Auth, dataset_id: str) -> Json:
    """One DataSet, without its schema; a deleted one still comes, with `deleted` true.

    Source: GET /api/data/v3/datasources/{dataset_id}
    """
    return await send(auth, GET_DATASET, params={"part": _PARTS}, dataset_id=dataset_id)


async def create_dataset(auth: Auth, *, name: str, description: str, columns: Sequence[Mapping[str, str]]) -> str:
    """Create an empty DataSet that takes data over the API; return its id. Source: POST /api/data/v2/datasources"""
    body: dict[str, Any] = {
        "userDefinedType": "api",
        "dataSourceName": name,
        "dataSourceDescription": description,
        "schema": {"columns": list(columns)},
    }
    made = await send(auth, CREATE_DATASET, json=body)
    return made if isinstance(made, str) else member(made.get("dataSource") or made, "dataSourceId")


async def update_dataset(
    auth: Auth, dataset_id: str, *, name: str | None = None, description: str | None = None
) -> None:
    """Change what is given. Source: PUT /api/data/v3/datasources/{dataset_id}/properties"""
    given = {"dataSourceName": name, "dataSourceDescription": description}
    body = {key: value for key, value in given.items() if value is not None}
    await send(auth, UPDATE_PROPERTIES, json=body, dataset_id=dataset_id)


async def delete_dataset(auth: Auth, dataset_id: str, *, for_good: bool = False) -> None:
    """Delete a DataSet; unless for good it can be restored. Source: DELETE /api/data/v3/datasources/{dataset_id}"""
    params = {"deleteMethod": "hard" if for_good else "soft"}
    await send(auth, DELETE_DATASET, params=params, dataset_id=dataset_id)


async def restore_datasets(auth: Auth, dataset_ids: Sequence[str], *, owner_id: int | str) -> None:
    """Take back deletions; the DataSets are this user's then. Source: POST /api/data/v3/datasources/restore"""
    body = {"datasets": [{"datasetId": dataset_id, "newOwnerId": str(owner_id)} for dataset_id in dataset_ids]}
    await send(auth, RESTORE_DATASETS, json=body)


async def get_dataset_status(auth: Auth, dataset_id: str) -> Json:
    """Dimensions and state of what can be queried, fresh. Source: GET /api/data/v3/datasources/{dataset_id}/statuses"""
    return await send(auth, GET_STATUS, params={"expireCache": True}, dataset_id=dataset_id)


async def get_schema(auth: Auth, dataset_id: str) -> list[Json]:
    """The columns that the next load must have. Source: GET /api/data/v2/datasources/{dataset_id}/schemas/latest"""
    answer = await send(auth, GET_SCHEMA, dataset_id=dataset_id, schema_id="latest")
    return members(answer.get("schema") or {}, "columns")


async def get_schema_version(auth: Auth, dataset_id: str, schema_id: int | str) -> list[Json]:
    """The columns of an older version. Source: GET /api/data/v2/datasources/{dataset_id}/schemas/{schema_id}"""
    answer = await send(auth, GET_SCHEMA, dataset_id=dataset_id, schema_id=schema_id)
    return members(answer.get("schema") or {}, "columns")


async def set_schema(auth: Auth, dataset_id: str, columns: Sequence[Mapping[str, str]]) -> None:
    """A new version of the schema, with the objects and views of the one before; the rows there are stay as they are.

    Source: GET and POST /api/data/v2/datasources/{dataset_id}/schemas
    """
    before: Json = {}
    with suppress(NotFoundError):  # it has no schema yet
        before = (await send(auth, GET_SCHEMA, dataset_id=dataset_id, schema_id="latest")).get("schema") or {}
    body: dict[str, Any] = {"columns": list(columns), "objects": [], "views": []}
    body |= {name: before[name] for name in ("objects", "views") if before.get(name)}
    await send(auth, SET_SCHEMA, json=body, dataset_id=dataset_id)


async def get_stored_schema(auth: Auth, dataset_id: str, *, indexed: bool = False) -> list[Json]:
    """The columns of what is stored, or of what can be queried; `get_schema` tells more of each.

    Source: GET /api/data/v3/datasources/{dataset_id}/schema
    """
    answer = await send(auth, GET_STORED_SCHEMA, params={"indexedSchema": indexed}, dataset_id=dataset_id)
    return members((answer.get("schemaContract") or {}).get("schema") or {}, "columns")


async def get_indexed_schema(auth: Auth, dataset_id: str) -> list[Json]:
    """The columns of what can be queried, as `query.get_indexed_schema` has them.

    Source: GET /api/data/v2/datasources/{dataset_id}/schemas/indexed
    """
    answer = await send(auth, GET_INDEXED_SCHEMA, dataset_id=dataset_id)
    return members(answer.get("schema") or {}, "columns")


async def list_versions(auth: Auth, dataset_id: str) -> list[Json]:
    """All data versions, indexed or not. Source: GET /api/data/v3/datasources/{dataset_id}/dataversions/details"""
    return await send(auth, LIST_VERSIONS, params={"limitToIndexed": False}, dataset_id=dataset_id)


async def delete_versions(auth: Auth, dataset_id: str, version_ids: Sequence[int]) -> None:
    """Drop data versions for good, from what can be queried, too.

    Source: DELETE /api/data/v2/datasources/{dataset_id}/dataversions
    """
    await send(auth, DELETE_VERSIONS, params={"index": True}, json=list(version_ids), dataset_id=dataset_id)


async def set_owner(auth: Auth, dataset_id: str, *, kind: str, owner_id: int | str) -> None:
    """Make a USER or GROUP the owner. Source: PUT /api/data/v2/datasources/{dataset_id}/responsibleUsers"""
    key = "responsibleGroupId" if kind == "GROUP" else "responsibleUserId"
    await send(auth, SET_OWNER, json={key: owner_id}, dataset_id=dataset_id)


async def list_permissions(auth: Auth, dataset_id: str) -> list[Json]:
    """Who has access, and how much. Source: GET /api/data/v3/datasources/{dataset_id}/permissions"""
    return members(await send(auth, LIST_PERMISSIONS, dataset_id=dataset_id), "list")


async def set_permission(auth: Auth, dataset_id: str, *, kind: str, grantee_id: int | str, level: str) -> None:
    """Set the access of one, without a word to them; `share_dataset` does so for several.

    Source: PUT /api/data/v3/datasources/{dataset_id}/permissions
    """
    body = {"type": kind, "id": str(grantee_id), "accessLevel": level}
    await send(auth, SET_PERMISSION, json=body, dataset_id=dataset_id)


async def delete_permission(auth: Auth, dataset_id: str, *, kind: str, grantee_id: int | str) -> None:
    """Take access away. Source: DELETE /api/data/v3/datasources/{dataset_id}/permissions/{type}/{id}"""
    await send(auth, DELETE_PERMISSION, dataset_id=dataset_id, kind=kind, grantee_id=grantee_id)


async def get_my_level(auth: Auth, dataset_id: str) -> str:
    """The caller's own level. Source: GET /api/data/v3/datasources/{dataset_id}/permissions/currentUser"""
    return await send(auth, GET_MY_LEVEL, dataset_id=dataset_id)


async def share_dataset(
    auth: Auth, dataset_id: str, permissions: Sequence[Mapping[str, str]], *, message: str | None = None
) -> None:
    """Grant access to several at once: {'type', 'id', 'accessLevel'} each; with a message it is mailed to them.

    Source: POST /api/data/v3/datasources/{dataset_id}/share
    """
    body = {"permissions": list(permissions), "sendEmail": message is not None, "message": message or ""}
    await send(auth, SHARE, json=body, dataset_id=dataset_id)


async def set_tags(auth: Auth, dataset_id: str, tags: Sequence[str]) -> None:
    """Replace all tags. Source: POST /api/data/ui/v3/datasources/{dataset_id}/tags"""
    await send(auth, SET_TAGS, json=list(tags), dataset_id=dataset_id)


# What answers are to hold beside the core: rows and columns, state, permissions.
_PARTS = ["core", "permission", "status", "rowcolcount", "pdp", "dataprovider"]
