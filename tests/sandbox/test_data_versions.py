"""Data versions and partitions on the wire: repaired, deleted, exported, listed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domokit.sandbox import Sandbox

from .helpers import by_token
from .upload_helpers import CSV, V2, V3, begun, load, made

pytestmark = pytest.mark.anyio


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
        for wrong in ("soon", "9" * 16, "9" * 30):
            assert (await at_once(admin, dataset_id, "a,1\n", recordedDate=wrong)).status_code == 400
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
