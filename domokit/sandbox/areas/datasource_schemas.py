"""Schemas of datasets: as last set, and as of the data that can be queried."""

from __future__ import annotations

from typing import Any

from ..dataset_access import columns_of, new_schema, readable, writable
from ..dataset_shapes import product_columns
from ..model import Dataset
from ..policies import indexed_columns
from ..wire import Area, Call, Refusal, list_at

area = Area("product")
V2 = "/api/data/v2/datasources/{dataset_id}/schemas"


def _shown(dataset: Dataset, columns: list[dict[str, str]]) -> dict[str, Any]:
    extras: dict[str, list[Any]] = {"objects": [], "views": []}
    return {"schema": {"columns": product_columns(columns)} | extras | dataset.schema_extras}


@area.on("GET", "/api/data/v3/datasources/{dataset_id}/schema")
async def get(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    columns = indexed_columns(call.state, dataset) if call.flag("indexedSchema", True) else dataset.columns
    return {
        "dataSource": {"id": dataset.id, "name": dataset.name},
        "schemaContract": {"schema": {"columns": columns}},
    }


@area.on("POST", V2)
async def replace(call: Call) -> Any:
    """A new version of the schema, for the loads to come."""
    dataset = writable(call, call.params["dataset_id"])
    body = call.json_object()
    extras = {name: list_at(body, name) for name in ("objects", "views")}
    new_schema(call, dataset, columns_of(body))
    dataset.schema_extras = extras
    return {"schemaId": dataset.schema_id}


@area.on("GET", V2 + "/indexed")
async def get_indexed(call: Call) -> Any:
    dataset = readable(call, call.params["dataset_id"])
    return _shown(dataset, indexed_columns(call.state, dataset))


@area.on("GET", V2 + "/{schema_id}")
async def get_v2(call: Call) -> Any:
    """An older version is known as long as there is data of it."""
    dataset = readable(call, call.params["dataset_id"])
    if call.params["schema_id"] == "latest":
        return _shown(dataset, dataset.columns)
    schema_id = call.number("schema_id")
    if schema_id == dataset.schema_id:
        return _shown(dataset, dataset.columns)
    for version in list(call.state.data_versions.values()):
        if version.dataset_id == dataset.id and version.schema_id == schema_id:
            return _shown(dataset, version.columns)
    raise Refusal(404, "No such schema")


@area.on("GET", "/api/query/v1/datasources/{dataset_id}/schema/indexed")
async def query_schema(call: Call) -> Any:
    """As queries see it. No column is ever hidden here."""
    dataset = readable(call, call.params["dataset_id"])
    columns = [
        {"name": column["name"], "id": column["name"], "type": column["type"], "visible": True, "order": order}
        for order, column in enumerate(indexed_columns(call.state, dataset))
    ]
    return {
        "name": dataset.name,
        "dataSourceId": dataset.id,
        "versionId": dataset.indexed[-1] if dataset.indexed else None,
        "tables": [{"columns": columns}],
    }
