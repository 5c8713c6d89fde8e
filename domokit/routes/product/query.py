"""SQL over one DataSet."""

from domokit.auth import Auth
from domokit.transport import Json, product, send

QUERY = product("POST", "/api/query/v1/execute/{dataset_id}", changes=False)


async def query(auth: Auth, dataset_id: str, sql: str) -> Json:
    """The answer to one SELECT: columns, metadata, rows as lists. Source: POST /api/query/v1/execute/{dataset_id}

    The DataSet is the one in the path: whatever stands after FROM means it.
    """
    return await send(auth, QUERY, json={"sql": sql}, dataset_id=dataset_id)
