"""Rows out of a DataSet: all of them, or those of a query."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from domokit.auth import Auth
from domokit.bulk.cells import from_query_json
from domokit.bulk.passing import Stream
from domokit.bulk.rows import Rows, ToTable
from domokit.bulk.schema import Schema
from domokit.errors import BadRequestError, InvalidInputError, NoDataError, NotFoundError, PermissionDeniedError
from domokit.routes.platform import datasets as platform
from domokit.routes.product import data_versions, row_policies, uploads
from domokit.routes.product import datasets as product
from domokit.routes.product import query as product_query
from domokit.transport import Json, require_family


def read_rows(auth: Auth, dataset_id: str) -> Rows:
    """All rows the caller may see. Each reading asks for the columns and the number of rows first."""
    opened = _from_product if auth.family == "product" else _from_platform
    return Rows(lambda: opened(auth, dataset_id), what="download")


def read_version(auth: Auth, dataset_id: str, version_id: int) -> Rows:
    """The rows of one load. Product API."""
    require_family(auth, "product", asked=str(data_versions.EXPORT_VERSION))
    return Rows(lambda: _of_version(auth, dataset_id, version_id), what="download")


def query_rows(auth: Auth, dataset_id: str, sql: str) -> Rows:
    """The rows of one SELECT."""
    if not sql.strip():
        raise InvalidInputError("the query is empty")
    ask = product_query.query if auth.family == "product" else _query_platform

    @asynccontextmanager
    async def answered() -> AsyncGenerator[ToTable, None]:
        yield partial(from_query_json, await ask(auth, dataset_id, sql))

    return Rows(answered, what="query")


async def _query_platform(auth: Auth, dataset_id: str, sql: str) -> Json:
    """The answer to a query. Raises: NoDataError, for which the platform API has no status of its own."""
    try:
        return await platform.query(auth, dataset_id, sql)
    except BadRequestError as error:
        facts: Json = await platform.get_dataset_by_id(auth, dataset_id)
        if facts.get("rows") or facts.get("dataCurrentAt"):
            raise
        raise NoDataError(
            f"DataSet {dataset_id} has no data yet; Domo said: {error.domo_message}",
            asked=error.asked,
            status=error.status,
            domo_message=error.domo_message,
            body=error.body,
            request_id=error.request_id,
        ) from error


@asynccontextmanager
async def _from_product(auth: Auth, dataset_id: str) -> AsyncGenerator[Stream, None]:
    schema = Schema.from_wire(await product_query.get_indexed_schema(auth, dataset_id)) or Schema(())
    dimension = (await product.get_dataset_status(auth, dataset_id)).get("dimension") or {}
    count = _count(dimension.get("rowCount"))
    is_filtered = await _may_be_filtered(auth, dataset_id)
    async with AsyncExitStack() as stack:
        try:
            answer = await stack.enter_async_context(uploads.export_rows(auth, dataset_id))
        except NoDataError:
            answer = None
        yield Stream(
            chunks=_nothing() if answer is None else answer.chunks(),
            schema=schema,
            has_header=answer is not None,
            expected_rows=None if is_filtered else count,
            may_be_empty=not count,
            total_bytes=None if answer is None else answer.total_bytes,
        )


@asynccontextmanager
async def _of_version(auth: Auth, dataset_id: str, version_id: int) -> AsyncGenerator[Stream, None]:
    known = await product.list_versions(auth, dataset_id)
    facts: Json = next((one for one in known if one.get("dataVersionId") == version_id), None)
    if facts is None:
        raise NotFoundError(f"there is no data version {version_id}", asked="list of data versions", status=200)
    columns = await product.get_schema_version(auth, dataset_id, facts.get("schemaId") or "latest")
    is_filtered = await _may_be_filtered(auth, dataset_id)
    async with data_versions.export_version(auth, dataset_id, version_id) as answer:
        yield Stream(
            chunks=answer.chunks(),
            schema=Schema.from_wire(columns) or Schema(()),
            has_header=True,
            expected_rows=None if is_filtered else facts.get("rowCount"),
            total_bytes=answer.total_bytes,
        )


async def _may_be_filtered(auth: Auth, dataset_id: str) -> bool:
    """Whether row policies may take rows away, unannounced; those who may not know have to reckon with it."""
    try:
        return bool((await row_policies.get_data_control(auth, dataset_id)).get("enabled", True))
    except PermissionDeniedError:
        return True


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


@asynccontextmanager
async def _from_platform(auth: Auth, dataset_id: str) -> AsyncGenerator[Stream, None]:
    facts: Json = await platform.get_dataset_by_id(auth, dataset_id)
    schema = Schema.from_wire(facts.get("schema"))
    if schema is None:
        raise NotFoundError(f"DataSet {dataset_id} has no columns", asked="its schema", status=200)
    count = _count(facts.get("rows"))
    async with platform.export_rows(auth, dataset_id) as answer:
        yield Stream(
            chunks=answer.chunks(),
            schema=schema,
            has_header=True,
            expected_rows=None if facts.get("pdpEnabled") else count,
            may_be_empty=not count,
            total_bytes=answer.total_bytes,
        )


def _count(value: Any) -> int | None:
    """How many rows there are, row policies aside; None where Domo does not say."""
    return value if isinstance(value, int) else None
