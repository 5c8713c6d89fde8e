"""DataSets of the platform API: their descriptions, and their rows in one request each way."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from domokit.auth import Auth
from domokit.transport import Content, Json, Streamed, member, platform, send, stream

LIST_DATASETS = platform("GET", "/v1/datasets", returns=list)
GET_DATASET = platform("GET", "/v1/datasets/{dataset_id}")
CREATE_DATASET = platform("POST", "/v1/datasets")
UPDATE_DATASET = platform("PUT", "/v1/datasets/{dataset_id}", returns=None)
DELETE_DATASET = platform("DELETE", "/v1/datasets/{dataset_id}", returns=None)
# An append that is repeated would add the rows twice.
IMPORT = platform("PUT", "/v1/datasets/{dataset_id}/data", returns=None, repeatable=False)
EXPORT = platform("GET", "/v1/datasets/{dataset_id}/data", accept="text/csv")
QUERY = platform("POST", "/v1/datasets/query/execute/{dataset_id}", changes=False, exact=True)


async def list_datasets(
    auth: Auth, offset: int, limit: int, *, name_like: str | None = None, order: str = "name"
) -> list[Json]:
    """One page of DataSets in order, 50 at most, without schema. Source: GET /v1/datasets"""
    # Sorted, because the order without it is not promised and pages would overlap.
    params = {"offset": offset, "limit": limit, "sort": order, "nameLike": name_like}
    return await send(auth, LIST_DATASETS, params=params)


async def get_dataset_by_id(auth: Auth, dataset_id: str) -> Json:
    """One DataSet with its schema and policies. Source: GET /v1/datasets/{dataset_id}"""
    return await send(auth, GET_DATASET, dataset_id=dataset_id)


async def create_dataset(auth: Auth, *, name: str, description: str, columns: Sequence[Mapping[str, str]]) -> str:
    """Create an empty DataSet; return its id. Source: POST /v1/datasets"""
    body: dict[str, Any] = {"name": name, "description": description, "schema": {"columns": list(columns)}}
    return member(await send(auth, CREATE_DATASET, json=body), "id")


async def update_dataset(
    auth: Auth, dataset_id: str, *, name: str | None = None, description: str | None = None
) -> None:
    """Change what is given. Source: PUT /v1/datasets/{dataset_id}"""
    given = {"name": name, "description": description}
    body = {key: value for key, value in given.items() if value is not None}
    await send(auth, UPDATE_DATASET, json=body, dataset_id=dataset_id)


async def delete_dataset(auth: Auth, dataset_id: str, *, for_good: bool = True) -> None:
    """Delete a DataSet, always for good. Source: DELETE /v1/datasets/{dataset_id}"""
    await send(auth, DELETE_DATASET, dataset_id=dataset_id)


async def get_schema(auth: Auth, dataset_id: str) -> list[Json]:
    """The columns that the next load must have. Source: GET /v1/datasets/{dataset_id}"""
    schema = (await get_dataset_by_id(auth, dataset_id)).get("schema") or {}
    return schema.get("columns") or []


async def set_schema(auth: Auth, dataset_id: str, columns: Sequence[Mapping[str, str]]) -> None:
    """Change the columns; the rows there are stay as they are. Source: PUT /v1/datasets/{dataset_id}"""
    await send(auth, UPDATE_DATASET, json={"schema": {"columns": list(columns)}}, dataset_id=dataset_id)


async def import_rows(auth: Auth, dataset_id: str, content: Content, *, update_method: str) -> None:
    """Replace all rows, or append, with one request. Source: PUT /v1/datasets/{dataset_id}/data

    update_method:  REPLACE or APPEND; anything else would be taken for REPLACE.
    """
    await send(auth, IMPORT, params={"updateMethod": update_method}, content=content, dataset_id=dataset_id)


def export_rows(auth: Auth, dataset_id: str) -> AbstractAsyncContextManager[Streamed]:
    """All rows the caller may see, as CSV with a header line. Source: GET /v1/datasets/{dataset_id}/data"""
    return stream(auth, EXPORT, params={"includeHeader": True}, dataset_id=dataset_id)


async def query(auth: Auth, dataset_id: str, sql: str) -> Json:
    """The answer to one SELECT: columns, metadata, rows as lists. Source: POST /v1/datasets/query/execute/{dataset_id}

    The DataSet is the one in the path: whatever stands after FROM means it.
    Numbers with a fraction are `Decimal`.
    """
    return await send(auth, QUERY, json={"sql": sql}, dataset_id=dataset_id)
