"""Rows in and out over the platform API: one import, one export."""

from __future__ import annotations

from typing import Any

from .. import loading
from ..dataset_access import readable, writable
from ..exports import export
from ..replies import empty
from ..wire import Area, Call, Refusal

area = Area("platform", scope="data")
PATH = "/v1/datasets/{dataset_id}/data"


@area.on("PUT", PATH)
async def import_rows(call: Call) -> Any:
    """Whatever is not exactly APPEND replaces, misspelt words as well. The rows show later."""
    dataset = writable(call, call.params["dataset_id"])
    if not dataset.takes_data:
        raise Refusal(400, "Infrastructure problem (403): Access is denied")
    action = "APPEND" if call.query.get("updateMethod") == "APPEND" else "REPLACE"
    await loading.at_once(call, dataset, action)
    return empty(204)


@area.on("GET", PATH)
async def export_rows(call: Call) -> Any:
    """Without rows: the line of names alone, or nothing."""
    dataset = readable(call, call.params["dataset_id"])
    return await export(call, dataset, header=call.flag("includeHeader"))
