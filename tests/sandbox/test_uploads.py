"""Uploads and streams on the wire, and what lies in the sandbox afterwards."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from domokit.sandbox import Sandbox, warehouse

from .helpers import bearer, by_token
from .upload_helpers import COLUMNS, CSV, V2, V3, begun, load, made, part

pytestmark = pytest.mark.anyio


async def test_parts_become_rows_with_the_commit():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        upload = await begun(admin, dataset_id)
        assert (await part(admin, upload, 2, "c,3\n")).json() == {"uploadMessage": "ok", "uploadStatus": "ok"}
        await part(admin, upload, 1, "x,9\n")
        body = gzip.compress(b'a,1\n"b, ""c""",\n')
        again = await admin.put(f"{upload}/parts/1", content=body, headers=CSV | {"content-encoding": "gzip"})
        assert again.status_code == 200
        assert sb.dataset_rows(dataset_id) == []
        answer = (await admin.put(f"{upload}/commit", json={"action": "REPLACE", "index": True})).json()
        assert answer["size"]["rowCount"] == 3
        assert answer["size"]["partCount"] == 2
        key = answer["indexing"]["requestKey"]
        progress = (await admin.get(f"{V3}/{dataset_id}/indexes/{key}/statuses")).json()["progress"]
        assert (progress["status"], progress["progress"], progress["requestKey"]) == ("SUCCESS", 100, key)
        assert sb.dataset_rows(dataset_id) == [("a", 1), ('b, "c"', None), ("c", 3)]


async def test_how_far_an_index_is():
    sb = Sandbox()
    sb.indexing_seconds = 60
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        key = (await load(admin, dataset_id, "a,1\n"))["indexing"]["requestKey"]
        request = sb.state.index_requests[key]

        async def status() -> Any:
            return (await admin.get(f"{V3}/{dataset_id}/indexes/{key}/statuses")).json()

        before = await status()
        assert before["detail"] == {"rowCount": 0, "columnCount": 0, "schema": []}
        assert (before["progress"]["status"], before["progress"]["lastSuccessfulIndex"]) == ("PROCESSING", None)
        sb.clock.advance(61)
        wider = [*COLUMNS, {"type": "DATE", "name": "day"}]
        await admin.post(f"{V2}/{dataset_id}/schemas", json={"columns": wider})  # for the loads to come
        after = await status()
        assert after["detail"] == {"rowCount": 1, "columnCount": 2, "schema": COLUMNS}
        assert after["progress"].pop("lastUpdate") >= request.due
        assert after["progress"] == {
            "status": "SUCCESS",
            "message": "",
            "progress": 100,
            "requestKey": key,
            "lastSuccessfulIndex": request.due,
        }


async def test_what_a_commit_refuses():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        upload = await begun(admin, dataset_id)
        await part(admin, upload, 1, "a,1\n")
        await part(admin, upload, 3, "a,1\n")
        gaps = await admin.put(f"{upload}/commit", json={"action": "REPLACE"})
        assert (gaps.status_code, gaps.json()["message"]) == (
            400,
            "Too many non-consecutive part ids. Make consecutive or upload multiple data versions",
        )
        assert (await admin.put(f"{upload}/commit", json={"action": "replace"})).status_code == 400
        assert (await admin.put(f"{upload}/commit", json={"action": "UPSERT"})).status_code == 400
        await part(admin, upload, 2, "a,1\n")
        assert (await admin.put(f"{upload}/commit", json={"action": "REPLACE"})).status_code == 200
        assert (await admin.put(f"{upload}/commit", json={"action": "REPLACE"})).status_code == 404
        assert (await part(admin, upload, 1, "a,1\n")).status_code == 404
        assert (await admin.put(f"{upload.rpartition('/')[0]}/999/commit", json={})).status_code == 404
        assert sb.dataset_rows(dataset_id) == []  # stored, but nobody asked for an index
        asked = (await admin.post(f"{V3}/{dataset_id}/indexes", json={"dataIds": []})).json()
        assert asked["requested"] is True
        assert len(sb.dataset_rows(dataset_id)) == 3


async def test_decimals_are_kept_to_the_digit_or_refused():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin, [{"type": "STRING", "name": "k"}, {"type": "DECIMAL", "name": "p"}])
        upload = await begun(admin, dataset_id)
        for text in ("a,0.1234567890123456785\n", "a,123456789012345678901\n"):
            assert (await part(admin, upload, 1, text)).status_code == 400
        assert (await part(admin, upload, 1, "a,-12345678901234567890.123456789012345678000\n")).status_code == 200
        await admin.put(f"{upload}/commit", json={"action": "REPLACE", "index": True})
        assert sb.dataset_rows(dataset_id) == [("a", Decimal("-12345678901234567890.123456789012345678"))]


async def test_thousands_of_columns():
    sb = Sandbox()
    kinds = ("LONG", "STRING", "DOUBLE", "DECIMAL", "DATE", "DATETIME")
    row = ("7", "7", "7.5", "7.25", "2024-02-29", "2024-02-29T01:02:03")
    async with by_token(sb) as admin:
        dataset_id = await made(admin, [{"type": kinds[n % 6], "name": f"c{n}"} for n in range(1800)])
        upload = await begun(admin, dataset_id)
        assert (await part(admin, upload, 1, ",".join(row * 300) + "\n")).status_code == 200
        await admin.put(f"{upload}/commit", json={"action": "REPLACE", "index": True})
        (kept,) = sb.dataset_rows(dataset_id)
    assert kept[:6] == (7, "7", 7.5, Decimal("7.25"), date(2024, 2, 29), datetime(2024, 2, 29, 1, 2, 3))
    assert kept == kept[:6] * 300


def test_columns_that_are_cast_cost_in_proportion():
    """The engine's search for common subexpressions takes ten seconds for a thousand of them."""
    with warehouse._connected() as connection:
        ((left_out,),) = connection.execute("SELECT current_setting('disabled_optimizers')").fetchall()
    assert "common_subexpressions" in left_out


async def test_what_is_refused_at_once_leaves_no_upload_open():
    sb = Sandbox()
    async with by_token(sb) as admin, await bearer(sb) as client:
        dataset_id = await made(admin)
        for sender, method, path in (
            (admin, "POST", f"{V3}/{dataset_id}/uploads/stream?action=REPLACE"),
            (admin, "POST", f"{V3}/{dataset_id}/uploads/stream?action=UPSERT"),
            (admin, "POST", f"{V3}/{dataset_id}/dataversions"),
            (client, "PUT", f"/v1/datasets/{dataset_id}/data"),
        ):
            body = b"a,1\n" if "UPSERT" in path else b"a,x\n"
            assert (await sender.request(method, path, content=body, headers=CSV)).status_code == 400
    assert [one.state for one in sb.state.uploads.values()] == ["aborted"] * 4
    assert not [one for one in sb.warehouse.folder.rglob("*") if one.is_file()]


async def test_bad_rows_are_refused_and_an_abort_leaves_nothing():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        await load(admin, dataset_id, "old,1\n")
        upload = await begun(admin, dataset_id)
        bad = await part(admin, upload, 1, "a,1,2\n")
        assert (bad.status_code, bad.json()["message"]) == (
            400,
            "Invalid CSV provided during upload. msg=There are too many columns. Expected 2. Row 1, column 3.",
        )
        assert (await part(admin, upload, 1, "a,9999999999999999999\n")).status_code == 400
        assert (await part(admin, upload, 1, "a,1\n")).status_code == 200
        assert (await admin.put(f"{upload}/abort", json={})).status_code == 200
        assert (await admin.put(f"{upload}/abort", json={})).status_code == 404
        assert (await part(admin, upload, 1, "a,1\n")).status_code == 404
        assert (await admin.put(f"{upload}/commit", json={"action": "REPLACE"})).status_code == 404
        assert sb.dataset_rows(dataset_id) == [("old", 1)]


async def test_zero_rows_with_replace_empty_the_dataset():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        await load(admin, dataset_id, "old,1\n")
        await load(admin, dataset_id, "", "APPEND")
        assert len(sb.dataset_rows(dataset_id)) == 1
        await load(admin, dataset_id, "")
        assert sb.dataset_rows(dataset_id) == []


async def test_the_plain_import_takes_misspelt_methods_for_replace():
    sb = Sandbox()
    async with by_token(sb) as admin, await bearer(sb) as client:
        dataset_id = await made(admin)
        for method in ("REPLACE", "append", "APPEND"):
            answer = await client.put(
                f"/v1/datasets/{dataset_id}/data", content=b"a,1\n", params={"updateMethod": method}, headers=CSV
            )
            assert (answer.status_code, answer.content) == (204, b"")
        assert sb.dataset_rows(dataset_id) == [("a", 1), ("a", 1)]
        connector = next(one for one in sb.state.datasets.values() if not one.takes_data)
        refused = await client.put(f"/v1/datasets/{connector.id}/data", content=b"a,1\n", headers=CSV)
        assert (refused.status_code, refused.json()["message"]) == (
            400,
            "Infrastructure problem (403): Access is denied",
        )


async def test_one_execution_at_a_time_on_the_product():
    sb = Sandbox()
    async with by_token(sb) as admin:
        body = {"dataSource": {"name": "Fed"}, "schemaDefinition": {"columns": COLUMNS}, "updateMethod": "APPEND"}
        stream = (await admin.post("/api/data/v1/streams", json=body)).json()
        home = f"/api/data/v1/streams/{stream['id']}"
        first = (await admin.post(f"{home}/executions")).json()
        assert (first["currentState"], first["executionId"]) == ("ACTIVE", 1)
        assert (await admin.post(f"{home}/executions")).status_code == 409
        second = (await admin.post(f"{home}/executions", params={"abortRunning": "true"})).json()
        assert (await admin.get(f"{home}/executions/1")).json()["currentState"] == "ERROR"
        here = f"{home}/executions/{second['executionId']}"
        await admin.put(f"{here}/part/1", content=b"a,1\n", headers=CSV)
        assert (await admin.put(f"{here}/commit")).json()["currentState"] == "ACTIVE"
        done = (await admin.get(here)).json()
        assert (done["currentState"], done["currentPhase"], done["rowsInserted"]) == ("SUCCESS", "FINAL", 1)
        dataset_id = stream["dataSource"]["id"]
        assert (await admin.get("/api/data/v1/streams/lookup", params={"dataSourceId": dataset_id})).json() == stream[
            "id"
        ]
        assert sb.dataset_rows(dataset_id) == [("a", 1)]


async def test_an_execution_that_has_ended_is_not_found_by_what_comes_late():
    sb = Sandbox()
    async with await bearer(sb) as client:
        body = {"dataSet": {"name": "Fed", "schema": {"columns": COLUMNS}}, "updateMethod": "APPEND"}
        stream = (await client.post("/v1/streams", json=body)).json()
        home = f"/v1/streams/{stream['id']}/executions"
        assert (await client.put(f"{home}/abort")).status_code == 404
        for ending in ("commit", "abort"):
            here = f"{home}/{(await client.post(home, json={})).json()['id']}"
            assert (await client.put(f"{here}/part/1", content=b"a,1\n", headers=CSV)).status_code == 200
            assert (await client.put(f"{here}/{ending}")).status_code == 200
            for late in ("commit", "abort"):
                assert (await client.put(f"{here}/{late}")).status_code == 404
            assert (await client.put(f"{here}/part/1", content=b"b,2\n", headers=CSV)).status_code == 404
        assert (await client.put(f"{home}/99/part/1", content=b"a,1\n", headers=CSV)).status_code == 404
        await client.post(home, json={})
        assert (await client.put(f"{home}/abort")).status_code == 204
        assert (await client.put(f"{home}/abort")).status_code == 404
        assert sb.dataset_rows(stream["dataSet"]["id"]) == [("a", 1)]


async def test_a_stream_that_is_sent_back_keeps_what_was_in_it():
    sb = Sandbox()
    async with by_token(sb) as admin:
        body = {"dataSource": {"name": "Fed"}, "schemaDefinition": {"columns": COLUMNS}, "scheduleState": "ACTIVE"}
        stream = (await admin.post("/api/data/v1/streams", json=body)).json()
        home = f"/api/data/v1/streams/{stream['id']}"
        assert "schemaDefinition" not in (await admin.get(home)).json()
        whole = (await admin.get(home, params={"fields": "all"})).json()
        whole["updateMethod"], whole["keyColumnNames"] = "UPSERT", ["k"]
        answer = (await admin.put(home, json=whole)).json()
        assert (answer["updateMethod"], answer["keyColumnNames"], answer["scheduleState"]) == (
            "UPSERT",
            ["k"],
            "ACTIVE",
        )
        del whole["scheduleState"]
        assert (await admin.put(home, json=whole)).json()["scheduleState"] == "MANUAL"
        whole["updateMethod"] = "APPEND"
        for query, method in (({"changeUpdateMethod": "false"}, "UPSERT"), ({"changeUpdateMethod": "true"}, "APPEND")):
            assert (await admin.put(home, json=whole, params=query)).json()["updateMethod"] == method


async def test_who_may_load_and_read():
    sb = Sandbox()
    reader = sb.add_user("Re Ader", "reader@example.com")
    token = sb.add_access_token(reader.id, "reading").token
    async with by_token(sb) as admin, by_token(sb, token) as other:
        dataset_id = await made(admin)
        await load(admin, dataset_id, "a,1\n")
        export = f"/api/query/v1/execute/export/{dataset_id}"
        assert (await other.get(export)).status_code == 403
        sb.state.datasets[dataset_id].shares[f"USER:{reader.id}"] = "CAN_VIEW"
        assert (await other.get(export)).text == "a,1\n"
        assert (await other.post(f"{V3}/{dataset_id}/uploads", json={})).status_code == 403
        sb.state.datasets[dataset_id].shares[f"USER:{reader.id}"] = "CAN_EDIT"
        assert (await other.post(f"{V3}/{dataset_id}/uploads", json={})).status_code == 200


async def test_rows_are_kept_beside_the_state_file(tmp_path: Path):
    path = tmp_path / "domo.json"
    with Sandbox(state_file=path).serve() as sb, httpx.Client(base_url=sb.base_url) as http:
        http.headers["X-Domo-Developer-Token"] = sb.access_token
        body = {"dataSourceName": "Kept", "schema": {"columns": COLUMNS}}
        dataset_id = http.post(V2, json=body).json()["dataSource"]["dataSourceId"]
        answer = http.post(f"{V3}/{dataset_id}/uploads/stream?action=REPLACE", content=b"a,1\n", headers=CSV)
        assert answer.status_code == 200
        seeded = next(one for one in sb.state.datasets.values() if one.name == "Orders")
        assert len(sb.dataset_rows(seeded.id)) == 250
    again = Sandbox(state_file=path)
    assert again.dataset_rows(dataset_id) == [("a", 1)]
    assert len(again.dataset_rows(seeded.id)) == 250
    assert (tmp_path / "domo.json.data").stat().st_mode & 0o777 == 0o700


def test_the_end_of_use_removes_what_was_cut_off(tmp_path: Path):
    with Sandbox(state_file=tmp_path / "domo.json").serve() as sb:
        seeded = next(one for one in sb.state.datasets.values() if one.name == "Orders")
        assert len(sb.dataset_rows(seeded.id)) == 250
        sb.warehouse.new_export().write_bytes(b"a,b\n")
    kept = {one.relative_to(sb.warehouse.folder).parts[0] for one in sb.warehouse.folder.rglob("*")}
    assert kept == {"versions"}
    assert len(sb.dataset_rows(seeded.id)) == 250
    sb.warehouse.new_export().write_bytes(b"use goes on")


def test_rows_of_a_sandbox_without_a_file_go_with_it():
    sb = Sandbox()
    dataset = next(iter(sb.state.datasets.values()))
    assert sb.dataset_rows(dataset.id) == sb.dataset_rows(dataset.id)
    folder = sb.warehouse.folder
    assert folder.exists()
    del sb
    import gc

    gc.collect()
    assert not folder.exists()
