"""Datasets as the platform API manages them: their descriptions and schemas, not their rows."""

from __future__ import annotations

import uuid
from typing import Any

from .. import policies
from ..dataset_access import columns_of, manageable, readable, remove, set_columns, touch, visible, writable
from ..dataset_shapes import in_order, platform, platform_whole
from ..model import Dataset
from ..replies import empty, reply
from ..wire import Area, Call, Refusal

area = Area("platform", scope="data")
PATH = "/v1/datasets"
ONE = PATH + "/{dataset_id}"
MOST = 50  # rows a page


@area.on("GET", PATH)
async def list_datasets(call: Call) -> Any:
    """`nameLike` is a part of the name, whatever the case."""
    text = call.query.get("nameLike", "").lower()
    found = [dataset for dataset in visible(call.state, call.user) if text in dataset.name.lower()]
    order = call.query.get("sort")
    found = in_order(found, "nameDescending" if order == "-name" else order)
    return [platform(call.state, dataset) for dataset in found[call.page(limit=50, most=MOST)]]


@area.on("POST", PATH)
async def create(call: Call) -> Any:
    """`rows` of the request counts for nothing."""
    call.require("dataset.create")
    body = call.json_object()
    now = call.now()
    dataset = Dataset(
        id=str(uuid.uuid4()),
        name=_name(body.get("name")),
        description=_text(body.get("description")),
        owner_id=call.user.id,
        rows=0,
        columns=columns_of(body.get("schema")),
        created=now,
        modified=now,
    )
    call.state.datasets[dataset.id] = dataset
    return reply(platform_whole(call.state, dataset, call.user), 201)


@area.on("GET", ONE)
async def get(call: Call) -> Any:
    """With schema and policies, which the list lacks."""
    dataset = readable(call, call.params["dataset_id"])
    return platform_whole(call.state, dataset, call.user)


@area.on("PUT", ONE)
async def update(call: Call) -> Any:
    """Only what is given changes. `owner` gives nothing away."""
    dataset = writable(call, call.params["dataset_id"])
    body = {key: value for key, value in call.json_object().items() if value is not None}
    name = _name(body.get("name", dataset.name))
    description = _text(body.get("description", dataset.description))
    columns = columns_of(body["schema"]) if "schema" in body else None
    enabled = body.get("pdpEnabled", dataset.pdp_enabled)
    if not isinstance(enabled, bool):
        raise Refusal(400, "pdpEnabled must be true or false")
    if enabled != dataset.pdp_enabled:
        manageable(call, dataset.id)
        policies.switch(call.state, dataset, enabled)
    dataset.name, dataset.description = name, description
    if columns is not None:
        set_columns(call, dataset, columns)
    touch(call, dataset)
    return platform_whole(call.state, dataset, call.user)


@area.on("DELETE", ONE)
async def delete(call: Call) -> Any:
    """For good: what the product calls a hard delete."""
    remove(call, manageable(call, call.params["dataset_id"]))
    return empty(204)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refusal(400, "A dataset needs a name")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str | None):
        raise Refusal(400, "description must be a text")
    return value or ""
