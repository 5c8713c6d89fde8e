"""SQL over one DataSet."""

from domokit.auth import Auth
from domokit.errors import NoDataError
from domokit.transport import Json, members, product, send

GET_INDEXED_SCHEMA = product("GET", "/api/query/v1/datasources/{dataset_id}/schema/indexed")
REQUEST_INDEX = product("POST", "/api/query/v1/datasources/{dataset_id}", repeatable=True)
QUERY = product("POST", "/api/query/v1/execute/{dataset_id}", changes=False, exact=True, errors={416: NoDataError})


async def query(auth: Auth, dataset_id: str, sql: str) -> Json:
    """The answer to one SELECT: columns, metadata, rows as lists. Source: POST /api/query/v1/execute/{dataset_id}

    The DataSet is the one in the path: whatever stands after FROM means it.
    Numbers with a fraction are `Decimal`.
    """
    return await send(auth, QUERY, json={"sql": sql}, dataset_id=dataset_id)


async def get_indexed_schema(auth: Auth, dataset_id: str) -> list[Json]:
    """The columns of what can be queried. Source: GET /api/query/v1/datasources/{dataset_id}/schema/indexed"""
    tables = members(await send(auth, GET_INDEXED_SCHEMA, dataset_id=dataset_id), "tables")
    return [column for table in tables[:1] for column in members(table, "columns")]


async def request_index(auth: Auth, dataset_id: str) -> Json:
    """Have what is pending indexed: the older call of what `uploads.request_index` does.

    Source: POST /api/query/v1/datasources/{dataset_id}
    """
    return await send(auth, REQUEST_INDEX, dataset_id=dataset_id)
