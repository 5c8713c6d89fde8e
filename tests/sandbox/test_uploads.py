"""Uploads, streams and partitions on the wire, and what lies in the sandbox afterwards."""

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

pytestmark = pytest.mark.anyio
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


async def test_partitions_replace_only_themselves():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        for tag, text in (("a", "a,1\n"), ("b", "b,1\n"), ("a", "a,2\na,3\n")):
            await load(admin, dataset_id, text, "APPEND", dataTag=tag, appendId="latest")
        assert sorted(sb.dataset_rows(dataset_id)) == [("a", 2), ("a", 3), ("b", 1)]
        listed = (await admin.get(f"{V3}/{dataset_id}/partitions")).json()
        assert sorted(one["partitionId"] for one in listed) == ["a", "b"]
        home = f"/api/query/v1/datasources/{dataset_id}"
        assert (await admin.delete(f"{home}/tag/a/data")).status_code == 200
        assert (await admin.delete(f"{home}/tag/a/data")).status_code == 404
        assert (await admin.delete(f"{home}/partition/a")).status_code == 200
        assert len(sb.dataset_rows(dataset_id)) == 3  # until the index
        await admin.post(f"{V3}/{dataset_id}/indexes", json={"dataIds": []})
        assert sb.dataset_rows(dataset_id) == [("b", 1)]


async def test_versions_and_their_export():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        await load(admin, dataset_id, 'a,\n"",2\n')
        (version,) = (await admin.get(f"{V2}/{dataset_id}/dataversions")).json()
        assert (version["numRows"], version["uploadStatus"]) == (2, "success")
        latest = await admin.get(f"{V2}/{dataset_id}/dataversions/latest", params={"includeHeader": "true"})
        assert latest.text == '"k",v\n"a",\\N\n"",2\n'
        export = await admin.get(f"/api/query/v1/execute/export/{dataset_id}", params={"accept": "text/csv"})
        assert export.text == 'a,\n"",2\n'
        assert export.headers["content-type"].startswith("text/csv")
        assert 'filename="Up.csv"' in export.headers["content-disposition"]


async def at_once(admin: httpx.AsyncClient, dataset_id: str, text: str, **query: Any) -> httpx.Response:
    return await admin.post(f"{V3}/{dataset_id}/dataversions", content=text.encode(), params=query, headers=CSV)


async def test_a_version_is_repaired_by_other_rows():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        await load(admin, dataset_id, "a,1\n", "APPEND", dataTag="p")
        await load(admin, dataset_id, "b,1\n", "APPEND")
        first, second = sb.state.datasets[dataset_id].versions
        answer = await at_once(admin, dataset_id, "a,2\na,3\n", repairDataVersionId=first, repairAction="any")
        assert answer.status_code == 200
        assert sb.state.datasets[dataset_id].versions == [int(answer.json()), second]
        assert sb.dataset_rows(dataset_id) == [("a", 2), ("a", 3), ("b", 1)]
        assert [one["partitionId"] for one in (await admin.get(f"{V3}/{dataset_id}/partitions")).json()] == ["p"]
        await at_once(admin, dataset_id, "b,2\n", repairDataVersionId=second, index="false")
        assert len(sb.dataset_rows(dataset_id)) == 3
        assert sb.dataset_rows(dataset_id)[-1] == ("b", 1)
        await admin.post(f"{V3}/{dataset_id}/indexes", json={"dataIds": []})
        assert sb.dataset_rows(dataset_id)[-1] == ("b", 2)
        foreign = next(iter(sb.state.data_versions))
        for unknown in (999_999, foreign, "one"):
            assert (await at_once(admin, dataset_id, "x,1\n", repairDataVersionId=unknown)).status_code == 404
        assert len(sb.dataset_rows(dataset_id)) == 3


async def test_what_an_upload_brought_is_repaired():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        upload = (await load(admin, dataset_id, "a,1\n"))["uploadId"]
        await load(admin, dataset_id, "b,1\n", "APPEND")
        path = f"{V3}/{dataset_id}/uploads/stream"

        async def repair(**query: Any) -> int:
            return (await admin.post(path, content=b"a,2\n", params=query, headers=CSV)).status_code

        assert await repair(action="REPAIR", repairUploadId=upload) == 200
        assert sb.dataset_rows(dataset_id) == [("a", 2), ("b", 1)]
        assert await repair(repairUploadId=999) == 404
        # Without a word on which load is meant.
        assert await repair(action="REPAIR") == 400
        assert (await admin.post(f"{V3}/{dataset_id}/uploads", json={"action": "REPAIR"})).status_code == 400
        here = await begun(admin, dataset_id)
        assert (await admin.put(f"{here}/commit", json={"action": "REPAIR", "repair": {}})).status_code == 400
        assert sb.dataset_rows(dataset_id) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("word", ["dataunchanged", "norows"])
async def test_a_load_that_brings_nothing_leaves_the_rows_alone(word: str):
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        await load(admin, dataset_id, "a,1\n", "APPEND", dataTag="p")
        assert sb.dataset_rows(dataset_id) == [("a", 1)]
        loaded = sb.state.datasets[dataset_id].data_current
        sb.clock.advance(3600)
        answer = await at_once(admin, dataset_id, "", **{word: "true"}, dataTag="p")
        listed = (await admin.get(f"{V2}/{dataset_id}/dataversions")).json()
        assert [(one["dataId"], one["numRows"]) for one in listed][-1] == (int(answer.json()), 0)
        assert sb.dataset_rows(dataset_id) == [("a", 1)]
        current = sb.state.datasets[dataset_id].data_current
        assert loaded is not None
        assert current is not None
        assert current >= loaded + 3_600_000
        await at_once(admin, dataset_id, "", **{word: "false"})
        assert sb.dataset_rows(dataset_id) == []


async def test_when_rows_were_recorded_may_be_said():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        assert (await at_once(admin, dataset_id, "a,1\n", recordedDate="soon")).status_code == 400
        await at_once(admin, dataset_id, "a,1\n", recordedDate="2024-03-20T02:00:00Z", append="latest")
        await at_once(admin, dataset_id, "", recordedDate="1710900060000", norows="true")
        query = {"action": "APPEND", "recordedDate": "1710900120000"}
        await admin.post(f"{V3}/{dataset_id}/uploads/stream", content=b"a,1\n", params=query, headers=CSV)
        await load(admin, dataset_id, "a,1\n", "APPEND", recordedDate=1710900180000)
        begun_with = await admin.post(f"{V3}/{dataset_id}/uploads", json={"recordedDate": 1710900240000})
        upload = f"{V3}/{dataset_id}/uploads/{begun_with.json()['uploadId']}"
        await admin.put(f"{upload}/commit", json={"action": "APPEND", "index": True})
        listed = (await admin.get(f"{V3}/{dataset_id}/dataversions/details")).json()
        assert [one["datetimeRecorded"] for one in listed] == [1710900000000 + 60_000 * n for n in range(5)]
        assert min(one["datetimeUploadCompleted"] for one in listed) > 1710900240000


@pytest.mark.parametrize("index", ["true", "false"])
async def test_deleted_versions_can_be_queried_until_the_next_index(index: str):
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        for text in ("a,1\n", "b,2\n"):
            await load(admin, dataset_id, text, "APPEND")
        await load(admin, dataset_id, "c,3\n", "APPEND", index=False)
        first, second, unindexed = sb.state.datasets[dataset_id].versions
        sb.indexing_seconds = 60

        async def delete(*ids: int) -> httpx.Response:
            query = {"index": index}
            return await admin.request("DELETE", f"{V2}/{dataset_id}/dataversions", json=ids, params=query)

        assert (await delete(first, unindexed)).status_code == 200
        assert sb.state.datasets[dataset_id].versions == [second]
        assert [one["dataId"] for one in (await admin.get(f"{V2}/{dataset_id}/dataversions")).json()] == [second]
        details = (await admin.get(f"{V3}/{dataset_id}/dataversions/details")).json()
        assert [one["dataVersionId"] for one in details] == [second]
        assert (await admin.get(f"{V2}/{dataset_id}/dataversions/{first}")).status_code == 404
        assert (await delete(first)).status_code == 400
        assert sb.dataset_rows(dataset_id) == [("a", 1), ("b", 2)]
        assert len(sb.state.index_requests) == (3 if index == "true" else 2)
        await admin.post(f"{V3}/{dataset_id}/indexes", json={"dataIds": []})
        sb.clock.advance(61)
        assert sb.dataset_rows(dataset_id) == [("b", 2)]
    kept = {one.name for one in (sb.warehouse.folder / "versions").iterdir()}
    assert kept == {str(second)}


async def test_what_of_a_version_is_exported():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        await load(admin, dataset_id, "old,0\n")
        await load(admin, dataset_id, "a,1\nb,2\n")
        await load(admin, dataset_id, "c,3\nd,\n", "APPEND")
        old, first, second = [one.id for one in sb.state.data_versions.values() if one.dataset_id == dataset_id]

        async def exported(version: object, **query: Any) -> str:
            answer = await admin.get(f"{V2}/{dataset_id}/dataversions/{version}", params=query)
            assert answer.status_code == 200
            return answer.content.decode()

        assert await exported(old) == '"old",0\n'
        assert await exported(first) == '"a",1\n"b",2\n'
        for whole in (second, "latest"):
            assert await exported(whole) == '"a",1\n"b",2\n"c",3\n"d",\\N\n'
            assert await exported(whole, excludeAppendedData="true") == '"c",3\n"d",\\N\n'
        assert await exported(second, rowLimit=3) == '"a",1\n"b",2\n"c",3\n'
        assert await exported(second, rowLimit=-1, excludeAppendedData="true") == '"c",3\n"d",\\N\n'
        assert await exported(second, rowLimit=0, includeHeader="true") == '"k",v\n'
        assert await exported(first, rowLimit=1, includeBOM="true") == '\ufeff"a",1\n'
        answer = await admin.get(f"{V2}/{dataset_id}/dataversions/{first}", params={"rowLimit": "few"})
        assert answer.status_code == 400


async def test_partitions_by_when_they_were_completed():
    sb = Sandbox()
    async with by_token(sb) as admin:
        dataset_id = await made(admin)
        for tag in ("a", "b", "c"):
            await load(admin, dataset_id, f"{tag},1\n", "APPEND", dataTag=tag)
            sb.clock.advance(60)

        async def listed(**field: Any) -> Any:
            path = f"/api/query/v1/datasources/{dataset_id}/partition/list"
            answer = await admin.post(path, json={"paginationFields": [field]})
            return [one["partitionId"] for one in answer.json()] if answer.status_code == 200 else answer.status_code

        path = f"/api/query/v1/datasources/{dataset_id}/partition"
        middle = (await admin.get(path)).json()[1]["dateCompleted"]
        at = {"fieldName": "datecompleted"}
        assert await listed(**at, filterValues={"MIN": None, "MAX": None}) == ["a", "b", "c"]
        assert await listed(**at, sortOrder="DESC", filterValues={"MIN": middle}) == ["c", "b"]
        assert await listed(**at, filterValues={"MAX": middle}) == ["a", "b"]
        version = sb.state.data_versions[sb.state.datasets[dataset_id].versions[1]]
        assert await listed(**at, filterValues={"MIN": version.completed, "MAX": version.completed}) == ["b"]
        assert await listed(**at, filterValues={"MIN": "soon"}) == 400
        assert await listed(fieldName="rowCount") == 400


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
