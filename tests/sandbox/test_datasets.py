"""Datasets of the platform API: their descriptions and schemas."""

from __future__ import annotations

from typing import Any

import pytest

from domokit.sandbox import Sandbox
from domokit.sandbox.model import Dataset

from .helpers import bearer, by_token

pytestmark = pytest.mark.anyio
COLUMNS = [{"type": "STRING", "name": "order_id"}, {"type": "LONG", "name": "qty"}]
BODY: dict[str, Any] = {"name": "Sales", "description": "all", "rows": 7, "schema": {"columns": COLUMNS}}


def stored(sb: Sandbox, name: str) -> Dataset:
    return next(dataset for dataset in sb.state.datasets.values() if dataset.name == name)


async def bearer_of(sb: Sandbox, user: Any):
    next(iter(sb.state.api_clients.values())).user_id = user.id
    return await bearer(sb)


async def test_create(sb: Sandbox):
    mine = await bearer(sb)
    answer = await mine.post("/v1/datasets", json=BODY)
    made = answer.json()
    assert answer.status_code == 201
    assert made == {
        "id": made["id"],
        "name": "Sales",
        "description": "all",
        "rows": 0,
        "columns": 0,
        "owner": {"id": sb.admin.id, "name": sb.admin.display_name},
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
        "pdpEnabled": False,
        "schema": {"columns": COLUMNS},
        "policies": [],
    }
    assert (await mine.get(f"/v1/datasets/{made['id']}")).json() == made
    dataset = sb.state.datasets[made["id"]]
    assert (dataset.owner_id, dataset.columns, dataset.schema_id, dataset.provider) == (sb.admin.id, COLUMNS, 1, "api")
    assert made["id"] in {row["id"] for row in (await mine.get("/v1/datasets")).json()}


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"description": 5},
        {"schema": None},
        {"schema": {"columns": []}},
        {"schema": {"columns": [{"type": "BOOLEAN", "name": "a"}]}},
        {"schema": {"columns": [{"type": "string", "name": "a"}]}},
        {"schema": {"columns": [{"type": "STRING", "name": " "}]}},
        {"schema": {"columns": [{"type": "STRING", "name": "a"}, {"type": "STRING", "name": "A"}]}},
        {"schema": {"columns": ["a"]}},
    ],
)
async def test_what_cannot_be_created(sb: Sandbox, change: dict[str, Any]):
    mine = await bearer(sb)
    before = len(sb.state.datasets)
    assert (await mine.post("/v1/datasets", json=BODY | change)).status_code == 400
    assert len(sb.state.datasets) == before


async def test_creating_needs_a_grant(sb: Sandbox):
    mine = await bearer_of(sb, sb.add_user("Pat Plain", "pat@example.com"))
    assert (await mine.post("/v1/datasets", json=BODY)).status_code == 403


async def test_update_keeps_what_is_left_out(sb: Sandbox):
    mine = await bearer(sb)
    made = (await mine.post("/v1/datasets", json=BODY)).json()
    path = f"/v1/datasets/{made['id']}"
    answer = await mine.put(path, json={"name": "Sales 2", "owner": {"id": 5, "name": "x"}})
    assert answer.status_code == 200
    assert answer.json() == made | {"name": "Sales 2", "updatedAt": answer.json()["updatedAt"]}
    more = [*COLUMNS, {"type": "DATE", "name": "day"}]
    after = (await mine.put(path, json={"schema": {"columns": more}, "description": ""})).json()
    assert (after["schema"], after["columns"], "description" in after) == ({"columns": more}, 0, False)
    assert sb.state.datasets[made["id"]].schema_id == 2
    await mine.put(path, json={"schema": {"columns": more}, "pdpEnabled": None})
    assert sb.state.datasets[made["id"]].schema_id == 2
    for wrong in ({"name": " "}, {"pdpEnabled": "yes"}, {"schema": {}}, {"name": "x", "schema": {"columns": [1]}}):
        assert (await mine.put(path, json=wrong)).status_code == 400
    assert sb.state.datasets[made["id"]].name == "Sales 2"
    assert (await mine.put("/v1/datasets/none", json={"name": "x"})).status_code == 404


async def test_delete_is_for_good(sb: Sandbox):
    mine = await bearer(sb)
    made = (await mine.post("/v1/datasets", json=BODY)).json()
    path = f"/v1/datasets/{made['id']}"
    await mine.post(f"{path}/policies", json={"name": "p", "filters": []})
    answer = await mine.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await mine.delete(path)).status_code == 404
    assert (await mine.get(path)).status_code == 404
    assert made["id"] not in sb.state.datasets
    assert not sb.state.policies


async def test_a_soft_deleted_one_is_unknown_here(sb: Sandbox):
    mine, product = await bearer(sb), by_token(sb)
    orders = stored(sb, "Orders")
    await product.delete(f"/api/data/v3/datasources/{orders.id}")
    assert (await mine.get(f"/v1/datasets/{orders.id}")).status_code == 404
    assert orders.id not in {row["id"] for row in (await mine.get("/v1/datasets")).json()}


async def test_list_pages_and_orders(sb: Sandbox):
    mine = await bearer(sb)
    for n in range(55):
        await mine.post("/v1/datasets", json=BODY | {"name": f"Extra {n:02}"})
    first = (await mine.get("/v1/datasets", params={"sort": "name", "limit": 500})).json()
    rest = (await mine.get("/v1/datasets", params={"sort": "name", "limit": 50, "offset": 50})).json()
    assert (len(first), len(rest)) == (50, 10)
    assert [row["name"] for row in [*first, *rest]] == sorted(row["name"] for row in [*first, *rest])
    down = (await mine.get("/v1/datasets", params={"sort": "nameDescending", "limit": 1})).json()
    assert down[0]["name"] == "Web visits"
    sb.clock.advance(1)
    await mine.post("/v1/datasets", json=BODY | {"name": "Latest"})
    latest = (await mine.get("/v1/datasets", params={"sort": "createdAt", "limit": 1})).json()
    assert latest[0]["name"] == "Latest"
    assert (await mine.get("/v1/datasets", params={"sort": "moon"})).status_code == 400
    named = (await mine.get("/v1/datasets", params={"nameLike": "extra 1"})).json()
    assert len(named) == 10
    assert named[0].keys().isdisjoint({"schema", "policies", "dataCurrentAt"})


async def test_each_level_allows_more(sb: Sandbox):
    other = sb.add_user("Ot Her", "ot@example.com")
    orders = stored(sb, "Orders")
    mine = await bearer_of(sb, other)
    path = f"/v1/datasets/{orders.id}"
    reads, writes, switches = [], [], []
    for level in ("NONE", "CAN_VIEW", "CAN_SHARE", "CAN_EDIT", "CO_OWNER"):
        orders.shares[f"USER:{other.id}"] = level
        reads.append((await mine.get(path)).status_code)
        writes.append((await mine.put(path, json={"name": "Orders"})).status_code)
        switches.append((await mine.put(path, json={"pdpEnabled": level == "CAN_EDIT"})).status_code)
        assert len((await mine.get("/v1/datasets")).json()) == (level != "NONE")
    assert reads == [403, 200, 200, 200, 200]
    assert writes == [403, 403, 403, 200, 200]
    assert switches == [403, 403, 403, 403, 200]
    del orders.shares[f"USER:{other.id}"]
    group = sb.add_group("Readers", [other.id])
    orders.shares[f"GROUP:{group.id}"] = "CAN_VIEW"
    assert (await mine.get(path)).status_code == 200
    assert (await mine.delete(path)).status_code == 403
    assert orders.id in sb.state.datasets
