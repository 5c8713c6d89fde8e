"""Rows on their way in and out: uploads in parts, indexes, partitions, exports."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from domokit.auth import Auth
from domokit.errors import NoDataError, NotFoundError
from domokit.transport import EVEN_500, Content, Json, Streamed, member, product, send, stream

START_UPLOAD = product("POST", "/api/data/v3/datasources/{dataset_id}/uploads")
UPLOAD_PART = product(  # sent again even after a 500: its number sees to it that it counts once
    "PUT", "/api/data/v3/datasources/{dataset_id}/uploads/{upload_id}/parts/{part}", returns=None, retried=EVEN_500
)
COMMIT_UPLOAD = product("PUT", "/api/data/v3/datasources/{dataset_id}/uploads/{upload_id}/commit", repeatable=False)
ABORT_UPLOAD = product("PUT", "/api/data/v3/datasources/{dataset_id}/uploads/{upload_id}/abort", returns=None)
REQUEST_INDEX = product("POST", "/api/data/v3/datasources/{dataset_id}/indexes", repeatable=True)
GET_INDEX = product("GET", "/api/data/v3/datasources/{dataset_id}/indexes/{request_key}/statuses")
LIST_PARTITIONS = product("POST", "/api/query/v1/datasources/{dataset_id}/partition/list", returns=list, changes=False)
DELETE_PARTITION_DATA = product("DELETE", "/api/query/v1/datasources/{dataset_id}/tag/{partition}/data", returns=None)
DELETE_PARTITION = product("DELETE", "/api/query/v1/datasources/{dataset_id}/partition/{partition}", returns=None)
EXPORT = product("GET", "/api/query/v1/execute/export/{dataset_id}", accept="text/csv", errors={416: NoDataError})


async def start_upload(auth: Auth, dataset_id: str, *, partition: str | None = None) -> int | str:
    """Open an upload; return its number. Source: POST /api/data/v3/datasources/{dataset_id}/uploads"""
    body: dict[str, Any] = {"action": None, "appendId": "latest" if partition else None}
    answer = await send(auth, START_UPLOAD, params={"dataTag": partition}, json=body, dataset_id=dataset_id)
    return member(answer, "uploadId")


async def upload_part(auth: Auth, dataset_id: str, upload_id: int | str, part: int, content: Content) -> None:
    """Send the rows of one part, numbered from 1 without gaps; the same number again replaces it.

    Source: PUT /api/data/v3/datasources/{dataset_id}/uploads/{upload_id}/parts/{part_id}
    """
    await send(auth, UPLOAD_PART, content=content, dataset_id=dataset_id, upload_id=upload_id, part=part)


async def commit_upload(
    auth: Auth, dataset_id: str, upload_id: int | str, *, action: str, partition: str | None = None
) -> Json:
    """Make all parts one data version and have it indexed: size{rowCount …}, indexing{requestKey …}.

    Source: PUT /api/data/v3/datasources/{dataset_id}/uploads/{upload_id}/commit
    """
    body: dict[str, Any] = {"action": action, "index": True}
    if partition is not None:
        body |= {"action": "APPEND", "dataTag": partition, "appendId": "latest"}
    return await send(auth, COMMIT_UPLOAD, json=body, dataset_id=dataset_id, upload_id=upload_id)


async def abort_upload(auth: Auth, dataset_id: str, upload_id: int | str) -> None:
    """Discard an upload and its parts. Source: PUT /api/data/v3/datasources/{dataset_id}/uploads/{upload_id}/abort"""
    await send(auth, ABORT_UPLOAD, json={}, dataset_id=dataset_id, upload_id=upload_id)


async def request_index(auth: Auth, dataset_id: str) -> Json:
    """Have all that is not indexed yet indexed. Source: POST /api/data/v3/datasources/{dataset_id}/indexes"""
    return await send(auth, REQUEST_INDEX, json={"dataIds": []}, dataset_id=dataset_id)


async def get_index_status(auth: Auth, dataset_id: str, request_key: str) -> Json:
    """How far an index request is. Source: GET /api/data/v3/datasources/{dataset_id}/indexes/{key}/statuses"""
    return await send(auth, GET_INDEX, dataset_id=dataset_id, request_key=request_key)


async def list_partitions(auth: Auth, dataset_id: str, offset: int, limit: int) -> list[Json]:
    """One page of partitions, the latest first: dataId, partitionId, dateCompleted, rowCount.

    Source: POST /api/query/v1/datasources/{dataset_id}/partition/list
    """
    newest: Mapping[str, Any] = {
        "fieldName": "datecompleted",
        "sortOrder": "DESC",
        "filterValues": {"MIN": None, "MAX": None},
    }
    body = {"paginationFields": [newest], "limit": limit, "offset": offset}
    return await send(auth, LIST_PARTITIONS, json=body, dataset_id=dataset_id)


async def delete_partition(auth: Auth, dataset_id: str, partition: str) -> bool:
    """Drop the rows of a partition, then its name, and have what is left indexed: three calls.

    What an earlier call that was cut off has done already is passed over, and the index is asked for in any case.
    Returns whether there was anything left to drop.
    Source: DELETE …/tag/{partition}/data, DELETE …/partition/{partition}, POST …/indexes
    """
    found = False
    for stage in (DELETE_PARTITION_DATA, DELETE_PARTITION):
        with suppress(NotFoundError):
            await send(auth, stage, dataset_id=dataset_id, partition=partition)
            found = True
    await request_index(auth, dataset_id)
    return found


def export_rows(auth: Auth, dataset_id: str) -> AbstractAsyncContextManager[Streamed]:
    """All rows the caller may see, as CSV with a header line. Source: GET /api/query/v1/execute/export/{dataset_id}"""
    return stream(auth, EXPORT, params={"accept": "text/csv", "includeHeader": True}, dataset_id=dataset_id)
