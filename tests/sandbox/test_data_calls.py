"""What is asked of datasets and streams less often: many at once, versions chosen, schedules, the limit of commits."""

from __future__ import annotations

import json

import pytest

from domokit.sandbox import Sandbox

from .helpers import bearer, by_token

COLUMNS = [{"type": "LONG", "name": "a"}]
CSV = {"content-type": "text/csv"}
STREAMS = "/api/data/v1/streams"
V2, V3 = "/api/data/v2/datasources", "/api/data/v3/datasources"


async def dataset(admin, name="x", columns=COLUMNS):
    body = {"dataSourceName": name, "schema": {"columns": columns}}
    return (await admin.post(V2, json=body)).json()["dataSource"]["dataSourceId"]


async def fed(admin, **more):
    body = {"dataSource": {"name": "Fed"}, "schemaDefinition": {"columns": COLUMNS}, **more}
    return (await admin.post(STREAMS, json=body)).json()


async def test_the_owner_of_several():
    sb = Sandbox()
    friend = sb.add_user("Fri End", "friend@example.com")
    async with by_token(sb) as admin:
        ids = [await dataset(admin), await dataset(admin)]
        path = f"{V2}/responsible-user/{friend.id}"
        assert (await admin.put(path, json=[*ids, "nope"])).status_code == 404
        assert {sb.state.datasets[each].owner_id for each in ids} == {sb.admin.id}
        assert (await admin.put(path, json=ids)).status_code == 200
        assert {sb.state.datasets[each].owner_id for each in ids} == {friend.id}
        assert (await admin.put(f"{V2}/responsible-user/1", json=ids)).status_code == 400


async def test_another_account():
    sb = Sandbox()
    account = next(iter(sb.state.accounts))
    async with by_token(sb) as admin:
        ids = [await dataset(admin), await dataset(admin)]
        assert (await admin.post(f"{V2}/account/{account}", json=[*ids, "nope"])).status_code == 404
        assert (await admin.post(f"{V2}/account/999999", json=ids)).status_code == 404
        assert {sb.state.datasets[each].account_id for each in ids} == {None}
        assert (await admin.post(f"{V2}/account/{account}", json=ids)).status_code == 200
        listed = (await admin.get(f"{V2}/account/{account}")).json()
        assert set(ids) <= {each["dataSourceId"] for each in listed}


async def test_several_are_run():
    sb = Sandbox()
    async with by_token(sb) as admin:
        stream = await fed(admin)
        alone = await dataset(admin)
        ids = [stream["dataSource"]["id"], alone, "nope"]
        answer = (await admin.post("/api/data/v1/ui/bulk/run", json={"type": "DATA_SOURCE", "ids": ids})).json()
        assert answer == {"successful": ids[:1], "failed": {alone: "WRONG_TYPE", "nope": "DELETED"}}
        (execution,) = (await admin.get(f"{STREAMS}/{stream['id']}/executions")).json()
        assert execution["currentState"] == "ACTIVE"
        again = (await admin.get(f"{STREAMS}/{stream['id']}/executions/{execution['executionId']}")).json()
        assert again["toe"] == execution["toe"]
        assert [len(part) for part in execution["toe"].split("-")] == [10, 5, 5]


async def test_schemas_keep_what_is_given_with_them():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home = f"{V2}/{await dataset(admin)}/schemas"
        assert (await admin.get(f"{home}/latest")).json()["schema"].items() >= {"objects": [], "views": []}.items()
        extras = {"objects": [{"name": "o"}], "views": [1]}
        assert (await admin.post(home, json={"columns": COLUMNS, **extras})).json() == {"schemaId": 2}
        assert (await admin.get(f"{home}/latest")).json()["schema"].items() >= extras.items()
        assert (await admin.post(home, json={"columns": COLUMNS, "views": "v"})).status_code == 400
        await admin.post(home, json={"columns": COLUMNS})
        assert (await admin.get(f"{home}/latest")).json()["schema"]["objects"] == []


async def load(admin, dataset_id, rows, **body):
    home = f"{V3}/{dataset_id}/uploads"
    upload = (await admin.post(home, json={})).json()["uploadId"]
    await admin.put(f"{home}/{upload}/parts/1", content=rows, headers=CSV)
    answer = await admin.put(f"{home}/{upload}/commit", json={"action": "APPEND", **body})
    assert answer.status_code == 200, answer.text


async def test_versions_are_indexed_one_by_one():
    sb = Sandbox()
    async with by_token(sb) as admin:
        made = await dataset(admin)
        for rows in (b"1\n", b"2\n", b"3\n"):
            await load(admin, made, rows)
        ids = sb.state.datasets[made].versions
        assert sb.dataset_rows(made) == []
        home = f"{V3}/{made}/indexes"
        assert (await admin.post(home, json={"dataIds": ["99"]})).status_code == 400
        await admin.post(home, json={"dataIds": [str(ids[1])]})
        assert sb.dataset_rows(made) == [(2,)]
        await admin.post(home, json={"dataIds": [ids[0]]})
        assert sb.dataset_rows(made) == [(1,), (2,)]
        await admin.post(home, json={"dataIds": []})
        assert sb.dataset_rows(made) == [(1,), (2,), (3,)]


async def test_versions_by_time_and_status():
    sb = Sandbox()
    async with by_token(sb) as admin:
        made = await dataset(admin)
        times = []
        for rows in (b"1\n", b"2\n"):
            times.append(sb.clock.now_ms())
            await load(admin, made, rows, index=True)
            sb.clock.advance(60)

        async def found(**query):
            answer = await admin.get(f"{V3}/{made}/dataversions/details", params=query)
            return answer.json() if answer.status_code != 200 else [each["dataVersionId"] for each in answer.json()]

        both = sb.state.datasets[made].versions
        assert await found() == both
        later = times[1] - 1000
        assert await found(startRecordedTime=str(later)) == both[1:]
        assert await found(endRecordedTime=str(later)) == both[:1]
        assert await found(startRecordedTime="2000-01-01", endRecordedTime="2000-01-02T00:00:00Z") == []
        assert (await found(startRecordedTime="soon"))["status"] == 400
        assert await found(statuses="SUCCESS,ERROR") == both
        assert await found(statuses="error") == []
        assert await found(offset="1") == await found(offset="1", limit="-1") == both[1:]
        assert await found(limit="1") == both[:1]
        assert await found(limit="1", offset="1") == both[1:]


async def test_the_name_of_a_partition_goes_in_the_second_stage():
    sb = Sandbox()
    async with by_token(sb) as admin:
        made = await dataset(admin)
        await load(admin, made, b"1\n", dataTag="p", index=True)
        home = f"/api/query/v1/datasources/{made}"
        assert (await admin.delete(f"{home}/partition/q")).status_code == 404
        assert (await admin.delete(f"{home}/tag/p/data")).status_code == 200
        assert (await admin.delete(f"{home}/tag/p/data")).status_code == 404
        assert (await admin.delete(f"{home}/partition/p")).status_code == 200
        assert (await admin.delete(f"{home}/partition/p")).status_code == 404


async def test_a_schedule_is_a_text_that_holds_json():
    sb = Sandbox()
    async with by_token(sb) as admin:
        home = f"{STREAMS}/{(await fed(admin))['id']}"
        text = '{"type":"DAY","at":"08:01 PM","timezone":"UTC"}'
        answer = await admin.put(f"{home}/schedule", json=text)
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await admin.get(home, params={"fields": "all"})).json()["advancedScheduleJson"] == text
        for wrong in (json.loads(text), "DAY", '{"at":"8"}', 5):
            assert (await admin.put(f"{home}/schedule", json=wrong)).status_code == 400
        assert (await admin.post(f"{home}/scheduleState/INACTIVE")).content == b""
        assert (await admin.get(home)).json()["scheduleState"] == "INACTIVE"


async def test_streams_by_name_and_by_ids():
    sb = Sandbox()
    async with by_token(sb) as admin:
        ids = [(await fed(admin))["id"], (await fed(admin))["id"]]
        found = (await admin.get(f"{STREAMS}/search", params={"q": "dataSource.name:F*d"})).json()
        assert [each["id"] for each in found] == ids
        assert (await admin.get(f"{STREAMS}/search", params={"q": "dataSource.name:F"})).json() == []
        found = (await admin.get(f"{STREAMS}/bulk", params={"streamId": ",".join(map(str, ids))})).json()
        assert [each["id"] for each in found] == ids


async def test_nothing_to_abort():
    sb = Sandbox()
    async with by_token(sb) as admin:
        number = (await fed(admin))["id"]
    async with await bearer(sb) as platform:
        assert (await platform.put(f"/v1/streams/{number}/executions/abort")).status_code == 404


async def test_a_stream_can_be_committed_once_in_fifteen_minutes():
    sb = Sandbox()
    async with by_token(sb) as admin:
        number = (await fed(admin))["id"]
    async with await bearer(sb) as platform:
        home = f"/v1/streams/{number}/executions"

        async def load_and_commit():
            execution = (await platform.post(home, json={})).json()["id"]
            await platform.put(f"{home}/{execution}/part/1", content=b"1\n", headers=CSV)
            return execution, await platform.put(f"{home}/{execution}/commit")

        for _ in range(2):  # off, unless it is switched on
            assert (await load_and_commit())[1].status_code == 200
        sb.commit_seconds = 900
        execution, answer = await load_and_commit()
        assert (answer.status_code, "15 minutes" in answer.json()["message"]) == (400, True)
        sb.clock.advance(899)
        assert (await platform.put(f"{home}/{execution}/commit")).status_code == 400
        sb.clock.advance(2)
        assert (await platform.put(f"{home}/{execution}/commit")).status_code == 200


async def test_midnights_without_a_time():
    """So pandas, and pydomo with it, writes a column of times that are midnights, all of them."""
    sb = Sandbox()
    async with by_token(sb) as admin:
        made = await dataset(admin, columns=[{"type": "DATETIME", "name": "at"}])
        await load(admin, made, b"2024-01-31\n2024-02-01 10:00:00\n", index=True)
    assert [str(at) for (at,) in sb.dataset_rows(made)] == ["2024-01-31 00:00:00", "2024-02-01 10:00:00"]


async def test_the_search_sorts():
    sb = Sandbox()
    sb.state.datasets.clear()
    async with by_token(sb) as admin:
        for name in ("b", "a", "c"):
            await dataset(admin, name)
            sb.clock.advance(1)

        async def names(**sort):
            body = {"query": "*", "filters": [], "sort": {"fieldSorts": [sort]} if sort else None}
            answer = await admin.post("/api/data/ui/v3/datasources/search", json=body)
            return [each["name"] for each in answer.json().get("dataSources", [])]

        assert await names() == ["a", "b", "c"]
        assert await names(field="name_sort", sortOrder="DESC") == ["c", "b", "a"]
        assert await names(field="create_date", sortOrder="DESC") == ["c", "a", "b"]
        assert await names(field="size", sortOrder="ASC") == []


@pytest.mark.parametrize("field", ["schema_extras"])
def test_what_is_kept_in_a_file(tmp_path, field):
    path = tmp_path / "state.json"
    with Sandbox(state_file=path).serve() as sb:
        first = next(iter(sb.state.datasets.values()))
        setattr(first, field, {"objects": [1], "views": []})
    assert getattr(Sandbox(state_file=path).state.datasets[first.id], field) == {"objects": [1], "views": []}
