"""Executions of streams on the wire: several uploads in one, which become visible together or not at all."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domokit.sandbox import Sandbox

from .helpers import bearer, by_token
from .upload_helpers import COLUMNS, CSV, V2, V3

pytestmark = pytest.mark.anyio
STREAMS = "/api/data/v1/streams"


async def fed(admin: httpx.AsyncClient, **more: Any) -> tuple[str, str]:
    """The path of a new stream's executions, and the id of its dataset."""
    body = {"dataSource": {"name": "Fed"}, "schemaDefinition": {"columns": COLUMNS}, **more}
    stream = (await admin.post(STREAMS, json=body)).json()
    return f"{STREAMS}/{stream['id']}/executions", stream["dataSource"]["id"]


async def started(admin: httpx.AsyncClient, home: str, **query: str) -> str:
    answer = await admin.post(home, params=query)
    assert answer.status_code == 201, answer.text
    return f"{home}/{answer.json()['executionId']}"


async def sent(admin: httpx.AsyncClient, here: str, text: str) -> str:
    """The path of a new upload that has one part."""
    answer = await admin.post(f"{here}/upload")
    assert answer.status_code == 201, answer.text
    upload = f"{here}/upload/{answer.json()['uploadId']}"
    assert (await admin.put(f"{upload}/part/1", content=text.encode(), headers=CSV)).status_code == 200
    return upload


async def uploaded(admin: httpx.AsyncClient, here: str, text: str, method: str, tag: str | None = None) -> Any:
    upload = await sent(admin, here, text)
    query = {"updateMethod": method} | ({} if tag is None else {"dataTag": tag})
    answer = await admin.put(f"{upload}/commit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ended(admin: httpx.AsyncClient, here: str, ending: str = "commit") -> Any:
    answer = await admin.put(f"{here}/{ending}")
    assert answer.status_code == 200, answer.text
    return (await admin.get(here)).json()


async def partitions(admin: httpx.AsyncClient, dataset_id: str) -> list[str]:
    found = (await admin.get(f"{V3}/{dataset_id}/partitions")).json()
    return sorted(each["partitionId"] for each in found)


async def test_uploads_become_visible_together_with_the_commit_of_their_execution():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin)
        here = await started(admin, home)
        answer = await uploaded(admin, here, "a,1\n", "REPLACE", "a")
        assert answer.items() >= {"status": "success", "dataTag": "a", "size": {"rowCount": 1, "partCount": 1}}.items()
        await uploaded(admin, here, "b,2\nb,3\n", "APPEND", "b")
        await uploaded(admin, here, "c,4\n", "APPEND")
        execution = (await admin.get(here)).json()
        assert (execution["currentState"], execution["currentPhase"]) == ("ACTIVE", "IMPORT")
        assert (execution["rowsInserted"], execution["bytesInserted"]) == (4, 16)
        stored = (await admin.get(f"{V2}/{dataset_id}/dataversions")).json()
        assert [(each["uploadStatus"], each["numRows"]) for each in stored] == [
            ("processing", 1),
            ("processing", 2),
            ("processing", 1),
        ]
        await admin.post(f"{V3}/{dataset_id}/indexes", json={"dataIds": []})
        assert sb.dataset_rows(dataset_id) == []
        assert await partitions(admin, dataset_id) == []
        assert (await admin.get(f"{V2}/{dataset_id}/dataversions/latest")).status_code == 404
        execution = await ended(admin, here)
        assert (execution["currentState"], execution["currentPhase"]) == ("SUCCESS", "FINAL")
        assert (execution["rowsInserted"], execution["bytesInserted"]) == (4, 16)
        assert sb.dataset_rows(dataset_id) == [("a", 1), ("b", 2), ("b", 3), ("c", 4)]
        assert await partitions(admin, dataset_id) == ["a", "b"]
        stored = (await admin.get(f"{V2}/{dataset_id}/dataversions")).json()
        assert [each["uploadStatus"] for each in stored] == ["success"] * 3


async def test_the_index_of_an_execution_commits_what_was_uploaded():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, updateMethod="APPEND")
        here = await started(admin, home)
        await uploaded(admin, here, "a,1\n", "APPEND")
        answer = (await admin.post(f"{here}/index")).json()
        execution = (await admin.get(here)).json()
        assert answer.keys() == {"requestKey", "requested", "requestedOn", "dataTag"}
        assert (execution["currentState"], execution["indexRequestKey"]) == ("SUCCESS", float(answer["requestKey"]))
        assert sb.dataset_rows(dataset_id) == [("a", 1)]


async def test_the_rows_of_uploads_wait_for_one_index():
    sb = Sandbox()
    sb.indexing_seconds = 60
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin)
        here = await started(admin, home)
        for tag in ("a", "b"):
            await uploaded(admin, here, f"{tag},1\n", "REPLACE", tag)
        assert (await ended(admin, here))["currentPhase"] == "INDEX"
        assert len(sb.state.index_requests) == 1
        # It is too late to stop it.
        assert (await admin.put(f"{here}/abort")).status_code == 404
        await started(admin, home, abortRunning="true")
        sb.clock.advance(61)
        assert (await admin.get(here)).json()["currentState"] == "SUCCESS"
        assert sb.dataset_rows(dataset_id) == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("tag", [None, "a"])
@pytest.mark.parametrize("method", ["REPLACE", "APPEND", "UPSERT"])
@pytest.mark.parametrize("way", ["abort", "abort all", "abortRunning"])
async def test_what_was_uploaded_goes_with_an_aborted_execution(method: str, tag: str | None, way: str):
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, keyColumnNames=["k"])
        here = await started(admin, home)
        await uploaded(admin, here, "a,1\n", "REPLACE", "a")
        await uploaded(admin, here, "b,2\n", "REPLACE", "b")
        await ended(admin, here)
        before = list(sb.state.data_versions)
        here = await started(admin, home)
        await uploaded(admin, here, "a,9\n", method, tag)
        waiting = await sent(admin, here, "a,10\n")
        if way == "abort":
            assert (await admin.put(f"{here}/abort")).json()["currentState"] == "ERROR"
        elif way == "abort all":
            assert (await admin.post(f"{home}/abort")).status_code == 200
        else:
            await started(admin, home, abortRunning="true")
        for late in (f"{waiting}/commit?updateMethod=REPLACE", f"{here}/commit"):
            assert (await admin.put(late)).status_code == 404
        await admin.post(f"{V3}/{dataset_id}/indexes", json={"dataIds": []})
        assert sb.dataset_rows(dataset_id) == [("a", 1), ("b", 2)]
        assert await partitions(admin, dataset_id) == ["a", "b"]
        assert list(sb.state.data_versions) == before
    kept = {one.name for one in (sb.warehouse.folder / "versions").iterdir()}
    assert kept == {str(number) for number in before if sb.state.data_versions[number].dataset_id == dataset_id}


async def test_what_an_upload_replaces_is_its_partition_or_everything():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin)
        here = await started(admin, home)
        for tag in ("a", "b"):
            await uploaded(admin, here, f"{tag},1\n", "REPLACE", tag)
        await ended(admin, here)
        here = await started(admin, home)
        await uploaded(admin, here, "a,2\n", "REPLACE", "a")
        await uploaded(admin, here, "a,3\n", "REPLACE", "a")
        await ended(admin, here)
        assert sorted(sb.dataset_rows(dataset_id)) == [("a", 3), ("b", 1)]
        here = await started(admin, home)
        await uploaded(admin, here, "x,1\n", "REPLACE")
        await uploaded(admin, here, "c,4\n", "REPLACE", "c")
        await ended(admin, here)
        assert sorted(sb.dataset_rows(dataset_id)) == [("c", 4), ("x", 1)]
        assert await partitions(admin, dataset_id) == ["c"]


async def test_uploads_that_merge_see_those_before_them():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, updateMethod="UPSERT", keyColumnNames=["k"])
        here = await started(admin, home)
        await admin.put(f"{here}/part/1", content=b"a,1\nb,1\n", headers=CSV)
        await ended(admin, here)
        here = await started(admin, home)
        await uploaded(admin, here, "a,2\nc,2\n", "UPSERT")
        await uploaded(admin, here, "c,3\n", "UPSERT")
        load = await admin.post(f"{V3}/{dataset_id}/uploads/stream?action=APPEND", content=b"z,0\n", headers=CSV)
        assert load.status_code == 200
        execution = await ended(admin, here)
        assert execution["rowsInserted"] == 3  # what was sent
        assert sorted(sb.dataset_rows(dataset_id)) == [("a", 2), ("b", 1), ("c", 3), ("z", 0)]


async def test_an_upsert_with_a_partition_looks_at_no_other():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, keyColumnNames=["k"])
        here = await started(admin, home)
        await uploaded(admin, here, "a,1\nb,1\n", "REPLACE", "p")
        await uploaded(admin, here, "a,1\n", "REPLACE", "q")
        await uploaded(admin, here, "a,2\n", "UPSERT", "p")
        await ended(admin, here)
        assert sorted(sb.dataset_rows(dataset_id)) == [("a", 1), ("a", 2), ("b", 1)]
        assert await partitions(admin, dataset_id) == ["p", "q"]


async def test_parts_of_the_execution_itself_and_uploads_beside_them():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin)
        here = await started(admin, home)
        await uploaded(admin, here, "b,2\n", "APPEND")
        await admin.put(f"{here}/part/1", content=b"a,1\n", headers=CSV)
        open_still = await sent(admin, here, "c,3\n")
        assert (await ended(admin, here))["rowsInserted"] == 2
        assert sb.dataset_rows(dataset_id) == [("a", 1), ("b", 2)]
        assert (await admin.put(f"{open_still}/commit?updateMethod=APPEND")).status_code == 404
        assert {one.state for one in sb.state.uploads.values()} == {"committed", "aborted"}
        # Nothing at all was given, so it replaces by nothing.
        await ended(admin, await started(admin, home))
        assert sb.dataset_rows(dataset_id) == []


async def test_the_partition_of_an_execution_may_come_with_its_commit():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin)
        for tag, text in (("a", b"a,1\n"), ("b", b"b,1\n"), ("a", b"a,2\n")):
            here = await started(admin, home)
            await admin.put(f"{here}/part/1", content=text, headers=CSV)
            assert (await admin.put(f"{here}/commit", params={"dataTag": tag})).status_code == 200
        assert sorted(sb.dataset_rows(dataset_id)) == [("a", 2), ("b", 1)]


async def test_an_upload_of_another_execution_is_not_found():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin)
        platform = await bearer(sb)  # where a second execution may start while one runs
        first = await started(admin, home)
        other = (await sent(admin, first, "a,1\n")).rpartition("/")[2]
        alone = (await admin.post(f"{V3}/{dataset_id}/uploads", json={})).json()["uploadId"]
        stream = home.split("/")[-2]
        second = f"{home}/{(await platform.post(f'/v1/streams/{stream}/executions', json={})).json()['id']}"
        for number in (other, alone, 999):
            upload = f"{second}/upload/{number}"
            assert (await admin.put(f"{upload}/part/1", content=b"b,2\n", headers=CSV)).status_code == 404
            assert (await admin.put(f"{upload}/commit", params={"updateMethod": "REPLACE"})).status_code == 404
            assert (await admin.put(f"{upload}/abort")).status_code == 404
        await uploaded(admin, second, "b,2\n", "APPEND")
        stopped = f"{first}/upload/{other}"
        assert (await admin.put(f"{stopped}/abort")).status_code == 200
        assert (await platform.put(f"/v1{second.removeprefix('/api/data/v1')}/commit")).status_code == 200
        assert sb.dataset_rows(dataset_id) == [("b", 2)]


async def test_rows_are_deleted_by_their_key():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, updateMethod="DELETE", keyColumnNames=["k"])
        here = await started(admin, home)
        await uploaded(admin, here, "a,1\na,2\nb,3\n,4\nc,5\n", "REPLACE")
        await uploaded(admin, here, "c,\nx,9\n", "DELETE")
        await ended(admin, here)
        assert sb.dataset_rows(dataset_id) == [("a", 1), ("a", 2), ("b", 3), (None, 4)]
        here = await started(admin, home)
        await admin.put(f"{here}/part/1", content=b"a,7\n,\n", headers=CSV)
        await ended(admin, here)
        assert sb.dataset_rows(dataset_id) == [("b", 3)]
        await ended(admin, await started(admin, home))
        assert sb.dataset_rows(dataset_id) == [("b", 3)]


async def test_what_merges_needs_a_key():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, _ = await fed(admin)
        here = await started(admin, home)
        upload = await sent(admin, here, "a,1\n")
        for method in ("UPSERT", "DELETE", "REPAIR", "delete", ""):
            assert (await admin.put(f"{upload}/commit", params={"updateMethod": method})).status_code == 400
        assert (await admin.put(f"{upload}/commit", params={"updateMethod": "APPEND"})).status_code == 200


CONNECTOR = {"transport": {"type": "CONNECTOR", "description": "com.domo.connector.example", "version": "1"}}


async def test_the_execution_of_a_connector_ends_by_itself():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, **CONNECTOR)
        await admin.post(f"{V3}/{dataset_id}/uploads/stream", content=b"a,1\n", headers=CSV)
        here = await started(admin, home)
        execution = (await admin.get(here)).json()
        assert (execution["currentState"], execution["currentPhase"]) == ("SUCCESS", "FINAL")
        assert (execution["rowsInserted"], execution["errors"]) == (0, [])
        sb.indexing_seconds = 60
        here = await started(admin, home)
        assert (await admin.get(here)).json()["currentState"] == "ACTIVE"
        assert (await admin.put(f"{here}/part/1", content=b"x,1\n", headers=CSV)).status_code == 404
        assert (await admin.post(home)).status_code == 409
        sb.clock.advance(61)
        assert (await admin.get(here)).json()["currentState"] == "SUCCESS"
        assert sb.dataset_rows(dataset_id) == [("a", 1)]


async def test_what_waits_for_an_index_is_not_touched_by_a_connector():
    sb = Sandbox()
    sb.indexing_seconds = 60
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, **CONNECTOR)
        await admin.post(f"{V3}/{dataset_id}/uploads/stream", content=b"a,1\n", headers=CSV)
        unindexed = {"append": "latest", "index": "false"}
        await admin.post(f"{V3}/{dataset_id}/dataversions", content=b"b,2\n", params=unindexed, headers=CSV)
        await started(admin, home)
        sb.clock.advance(61)
        assert sb.dataset_rows(dataset_id) == [("a", 1)]


async def test_the_execution_of_a_connector_is_aborted_or_waits_for_rows():
    sb = Sandbox()
    sb.indexing_seconds = 60
    async with by_token(sb) as admin:
        home, dataset_id = await fed(admin, **CONNECTOR)
        here = await started(admin, home)
        assert (await ended(admin, here, "abort"))["currentState"] == "ERROR"
        sb.clock.advance(61)
        assert (await admin.get(here)).json()["currentState"] == "ERROR"
        here = await started(admin, home, startConnector="false")
        sb.clock.advance(61)
        assert (await admin.put(f"{here}/part/1", content=b"x,1\n", headers=CSV)).status_code == 200
        await ended(admin, here)
        sb.clock.advance(61)
        assert sb.dataset_rows(dataset_id) == [("x", 1)]
