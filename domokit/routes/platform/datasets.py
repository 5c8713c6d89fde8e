"""DataSets of the platform API: their descriptions."""

from domokit.auth import Auth
from domokit.transport import Json, platform, send

LIST_DATASETS = platform("GET", "/v1/datasets", returns=list)
GET_DATASET = platform("GET", "/v1/datasets/{dataset_id}")


async def list_datasets(auth: Auth, offset: int, limit: int, *, name_like: str | None = None) -> list[Json]:
    """One page of DataSets by name, 50 at most, without schema. Source: GET /v1/datasets"""
    # Sorted, because the order without it is not promised and pages would overlap.
    params = {"offset": offset, "limit": limit, "sort": "name", "nameLike": name_like}
    return await send(auth, LIST_DATASETS, params=params)


async def get_dataset_by_id(auth: Auth, dataset_id: str) -> Json:
    """One DataSet with its schema and policies. Source: GET /v1/datasets/{dataset_id}"""
    return await send(auth, GET_DATASET, dataset_id=dataset_id)
