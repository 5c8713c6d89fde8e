"""The loads that a DataSet keeps, one by one, and the ways of loading that take one request."""

from contextlib import AbstractAsyncContextManager

from domokit.auth import Auth
from domokit.transport import Content, Json, Streamed, product, send, stream

LIST_VERSIONS = product("GET", "/api/data/v2/datasources/{dataset_id}/dataversions", returns=list)
EXPORT_VERSION = product("GET", "/api/data/v2/datasources/{dataset_id}/dataversions/{version_id}", accept="text/csv")
# Either would load the rows twice, if it is sent twice.
CREATE_VERSION = product("POST", "/api/data/v3/datasources/{dataset_id}/dataversions", returns=int | str | dict)
LOAD_AT_ONCE = product("POST", "/api/data/v3/datasources/{dataset_id}/uploads/stream")
LIST_PARTITIONS = product("GET", "/api/data/v3/datasources/{dataset_id}/partitions", returns=list)
DELETE_PARTITION = product("DELETE", "/api/data/v3/datasources/{dataset_id}/partitions/{partition}", returns=None)


async def list_data_versions(auth: Auth, dataset_id: str, *, status: str | None = None) -> list[Json]:
    """The older list, with dates as texts; `datasets.list_versions` tells more.

    status:  success, error or processing.
    Source: GET /api/data/v2/datasources/{dataset_id}/dataversions
    """
    return await send(auth, LIST_VERSIONS, params={"statusFilter": status}, dataset_id=dataset_id)


def export_version(auth: Auth, dataset_id: str, version_id: int | str) -> AbstractAsyncContextManager[Streamed]:
    r"""The rows of one load, as CSV with a header line; NULL is \N.

    Source: GET /api/data/v2/datasources/{dataset_id}/dataversions/{data_version_id}
    """
    params = {"includeHeader": True, "excludeAppendedData": True, "accept": "text/csv"}
    return stream(auth, EXPORT_VERSION, params=params, dataset_id=dataset_id, version_id=version_id)


async def create_version(
    auth: Auth, dataset_id: str, content: Content, *, append: bool = False, partition: str | None = None
) -> int | str | Json:
    """Load all rows with one request; uploads in parts do the same, and can be repeated.

    Source: POST /api/data/v3/datasources/{dataset_id}/dataversions
    """
    params = {"index": True, "append": "latest" if append else None, "dataTag": partition}
    return await send(auth, CREATE_VERSION, params=params, content=content, dataset_id=dataset_id)


async def load_at_once(
    auth: Auth, dataset_id: str, content: Content, *, action: str, partition: str | None = None
) -> Json:
    """Start, one part and commit with one request: uploadId, requestedAsOf. See `create_version`.

    action:  REPLACE, APPEND or UPSERT.
    Source: POST /api/data/v3/datasources/{dataset_id}/uploads/stream
    """
    params = {"action": action, "dataTag": partition}
    return await send(auth, LOAD_AT_ONCE, params=params, content=content, dataset_id=dataset_id)


async def list_partition_versions(auth: Auth, dataset_id: str) -> list[Json]:
    """Which load each partition is: dataId, partitionId; `uploads.list_partitions` tells more, by pages.

    Source: GET /api/data/v3/datasources/{dataset_id}/partitions
    """
    return await send(auth, LIST_PARTITIONS, dataset_id=dataset_id)


async def delete_partition_at_once(auth: Auth, dataset_id: str, partition: str, *, mode: str = "HARD") -> None:
    """Delete a partition with one request; `uploads.delete_partition` is the way Domo's clients go.

    mode:  HARD or SOFT.
    Source: DELETE /api/data/v3/datasources/{dataset_id}/partitions/{partition}
    """
    await send(auth, DELETE_PARTITION, params={"mode": mode}, dataset_id=dataset_id, partition=partition)
