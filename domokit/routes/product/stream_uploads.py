"""Parts for an execution of a stream: straight into it, or in uploads of their own, one for each partition."""

from domokit.auth import Auth
from domokit.transport import Content, Json, member, product, send

_EXECUTION = "/api/data/v1/streams/{stream_id}/executions/{execution_id}"

PUT_PART = product("PUT", f"{_EXECUTION}/part/{{part}}", returns=None)
START_UPLOAD = product("POST", f"{_EXECUTION}/upload")
PUT_UPLOAD_PART = product("PUT", f"{_EXECUTION}/upload/{{upload_id}}/part/{{part}}", returns=None)
COMMIT_UPLOAD = product("PUT", f"{_EXECUTION}/upload/{{upload_id}}/commit", repeatable=False)


async def upload_part(auth: Auth, stream_id: int | str, execution_id: int | str, part: int, content: Content) -> None:
    """Send the rows of one part, numbered from 1 without gaps; the same number again replaces it.

    Source: PUT /api/data/v1/streams/{stream_id}/executions/{execution_id}/part/{part_id}
    """
    await send(auth, PUT_PART, content=content, stream_id=stream_id, execution_id=execution_id, part=part)


async def start_execution_upload(auth: Auth, stream_id: int | str, execution_id: int | str) -> int | str:
    """Open one of several uploads of an execution; return its number.

    Source: POST /api/data/v1/streams/{stream_id}/executions/{execution_id}/upload
    """
    return member(await send(auth, START_UPLOAD, stream_id=stream_id, execution_id=execution_id), "uploadId")


async def put_execution_upload_part(
    auth: Auth, stream_id: int | str, execution_id: int | str, upload_id: int | str, part: int, content: Content
) -> None:
    """Send the rows of one part of such an upload, numbered from 1 within it.

    Source: PUT /api/data/v1/streams/{stream_id}/executions/{execution_id}/upload/{upload_id}/part/{part_id}
    """
    await send(
        auth,
        PUT_UPLOAD_PART,
        content=content,
        stream_id=stream_id,
        execution_id=execution_id,
        upload_id=upload_id,
        part=part,
    )


async def commit_execution_upload(
    auth: Auth,
    stream_id: int | str,
    execution_id: int | str,
    upload_id: int | str,
    *,
    update_method: str,
    partition: str | None = None,
) -> Json:
    """End such an upload with all its parts; the execution goes on.

    update_method:  REPLACE, APPEND, UPSERT or DELETE.
    Source: PUT /api/data/v1/streams/{stream_id}/executions/{execution_id}/upload/{upload_id}/commit
    """
    params = {"updateMethod": update_method, "dataTag": partition}
    return await send(
        auth, COMMIT_UPLOAD, params=params, stream_id=stream_id, execution_id=execution_id, upload_id=upload_id
    )
