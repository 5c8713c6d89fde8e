"""A dataset, and rows for it over the product API."""

from __future__ import annotations

from typing import Any

import httpx

V2, V3 = "/api/data/v2/datasources", "/api/data/v3/datasources"
COLUMNS = [{"type": "STRING", "name": "k"}, {"type": "LONG", "name": "v"}]
CSV = {"content-type": "text/csv"}


async def made(admin: httpx.AsyncClient, columns: list[dict[str, str]] = COLUMNS) -> str:
    answer = await admin.post(V2, json={"dataSourceName": "Up", "schema": {"columns": columns}})
    return answer.json()["dataSource"]["dataSourceId"]


async def begun(admin: httpx.AsyncClient, dataset_id: str, **query: str) -> str:
    answer = await admin.post(f"{V3}/{dataset_id}/uploads", json={"action": None, "appendId": None}, params=query)
    assert answer.json().keys() == {"dataSourceId", "uploadId", "requestedAsOf"}
    return f"{V3}/{dataset_id}/uploads/{answer.json()['uploadId']}"


async def part(admin: httpx.AsyncClient, upload: str, number: int, text: str) -> httpx.Response:
    return await admin.put(f"{upload}/parts/{number}", content=text.encode(), headers=CSV)


async def load(admin: httpx.AsyncClient, dataset_id: str, text: str, action: str = "REPLACE", **more: Any) -> Any:
    upload = await begun(admin, dataset_id)
    assert (await part(admin, upload, 1, text)).status_code == 200
    return (await admin.put(f"{upload}/commit", json={"action": action, "index": True, **more})).json()
