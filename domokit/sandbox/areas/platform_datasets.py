"""The few made-up datasets, as the platform API lists them. Read only, without their data."""

from __future__ import annotations

from typing import Any

from ..clock import iso_z
from ..model import Dataset
from ..wire import Area, Call, Refusal

area = Area("platform", scope="data")
PATH = "/v1/datasets"
MOST = 50  # rows a page


def _row(call: Call, dataset: Dataset) -> dict[str, Any]:
    """`description` is absent when there never was one."""
    owner = call.state.users.get(dataset.owner_id)
    row: dict[str, Any] = {"id": dataset.id, "name": dataset.name}
    if dataset.description:
        row["description"] = dataset.description
    return row | {
        "rows": dataset.rows,
        "columns": len(dataset.columns),
        "owner": {"id": dataset.owner_id, "name": owner.display_name if owner else ""},
        "createdAt": iso_z(dataset.created),
        "updatedAt": iso_z(dataset.modified),
        "pdpEnabled": False,
        "dataCurrentAt": iso_z(dataset.modified),
    }


def _visible(call: Call) -> list[Dataset]:
    everything = "dataset.manage" in call.state.grants_of(call.user)
    datasets = list(call.state.datasets.values())
    return [dataset for dataset in datasets if everything or dataset.owner_id == call.user.id]


@area.on("GET", PATH)
async def list_datasets(call: Call) -> Any:
    """`nameLike` is a part of the name, whatever the case; `sort=name` is the one order offered."""
    text = call.query.get("nameLike", "").lower()
    found = [dataset for dataset in _visible(call) if text in dataset.name.lower()]
    if call.query.get("sort") in ("name", "-name"):
        found.sort(key=lambda dataset: dataset.name.lower(), reverse=call.query["sort"] == "-name")
    return [_row(call, dataset) for dataset in found[call.page(limit=50, most=MOST)]]


@area.on("GET", PATH + "/{dataset_id}")
async def get(call: Call) -> Any:
    """With schema and policies, which the list lacks."""
    dataset = call.state.datasets.get(call.params["dataset_id"])
    if dataset is None:
        raise Refusal(404, "No such dataset")
    if dataset not in _visible(call):
        raise Refusal(403, "The dataset is not shared with you")
    extra: dict[str, Any] = {"schema": {"columns": dataset.columns}, "policies": []}
    return _row(call, dataset) | extra
