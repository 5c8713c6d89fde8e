"""Queries, in both API families: one SELECT over one dataset, as the caller may see it."""

from __future__ import annotations

import csv
import io
import json
from time import perf_counter
from typing import Any

from anyio import to_thread
from starlette.responses import Response

from .. import policies, sql
from ..dataset_access import readable
from ..model import Dataset
from ..wire import Area, Call, Refusal

area = Area("product")
platform_area = Area("platform", scope="data")
PATH = "/api/query/v1/execute"


async def _found(call: Call, *, without_data: int = 416) -> tuple[Dataset, sql.Result, int]:
    """The dataset, what the statement of the request finds in it, and how many milliseconds that took."""
    dataset = readable(call, call.params["dataset_id"])
    statement = call.json_object().get("sql")
    if not isinstance(statement, str) or not statement.strip():
        raise Refusal(400, "sql is required; queries written as objects are not answered here")
    if not dataset.indexed:
        raise Refusal(without_data, "The dataset has no data that can be queried")
    condition = policies.condition(call.state, dataset, call.user)
    warehouse = call.company.warehouse

    def work() -> sql.Result:
        with warehouse.connect(dataset) as connection:
            return sql.run(connection, statement, condition)

    began = perf_counter()
    try:
        result = await to_thread.run_sync(work)
    except sql.BadQuery as error:
        raise Refusal(400, str(error)) from None
    return dataset, result, max(1, round((perf_counter() - began) * 1000))


def _answer(dataset: Dataset, result: sql.Result, *, platform: bool, took: int) -> Response:
    metadata: list[dict[str, Any]] = []
    for column, (kind, aggregated) in enumerate(zip(result.types, result.aggregated, strict=True)):
        longest, shortest = sql.lengths(result, column)
        entry: dict[str, Any] = {"type": kind, "dataSourceId": dataset.id, "maxLength": longest, "minLength": shortest}
        if platform:
            entry["periodIndex"] = 0
        elif aggregated:
            entry["aggregated"] = True
        metadata.append(entry)
    before = {"datasource": dataset.id, "columns": result.columns, "metadata": metadata}
    after: dict[str, Any] = {"numRows": len(result.rows), "numColumns": len(result.columns)}
    after |= {"fromcache": False} if platform else {"fromcache": "false", "duration": str(took)}
    # The rows are written apart: they hold decimals, which go out as numbers with all their digits.
    text = f'{_json(before)[:-1]},"rows":{sql.rows_json(result)},{_json(after)[1:]}'
    return Response(text.encode(), 200, None, "application/json")


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@area.on("POST", PATH + "/{dataset_id}", changes=False)
async def execute(call: Call) -> Any:
    dataset, result, took = await _found(call)
    return _answer(dataset, result, platform=False, took=took)


@area.on("POST", PATH + "/export/{dataset_id}", changes=False)
async def export(call: Call) -> Any:
    """The same answer; as CSV for those who accept nothing else."""
    dataset, result, took = await _found(call)
    if not call.headers.get("accept", "").startswith("text/csv"):
        return _answer(dataset, result, platform=False, took=took)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if call.flag("includeHeader"):
        writer.writerow(result.columns)
    writer.writerows([None if cell is None else sql.text_of(cell) for cell in row] for row in result.rows)
    return Response(file.getvalue().encode(), 200, None, "text/csv")


@platform_area.on("POST", "/v1/datasets/query/execute/{dataset_id}", changes=False)
async def platform_execute(call: Call) -> Any:
    """Other than for the product, no status of its own is documented for a dataset without data."""
    dataset, result, took = await _found(call, without_data=400)
    return _answer(dataset, result, platform=True, took=took)
