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
    sb.indexing_seconds = 3600  # until then a run goes on
    async with by_token(sb) as admin:
        stream = await fed(admin, transport={"type": "CONNECTOR", "description": "com.domo.example", "version": "1"})
        loaded, alone = await fed(admin), await dataset(admin)
        ids = [stream["dataSource"]["id"], loaded["dataSource"]["id"], alone, "nope"]
        wrong = {ids[1]: "WRONG_TYPE", alone: "WRONG_TYPE", "nope": "DELETED"}
        run, items = "/api/data/v1/ui/bulk/run", {"type": "DATA_SOURCE", "ids": ids}
        checked = {"validItems": ids[:1], "invalidItems": wrong, "typeValid": True}
        assert (await admin.post(f"{run}/check", json=items)).json() == checked
        assert sb.state.executions == {}
        assert (await admin.post(run, json=items)).json() == {"successful": ids[:1], "failed": wrong}
        # While it runs, no second one is started beside it, here as by POST …/executions.
        running = {"successful": [], "failed": wrong | {ids[0]: "EXCESS"}}
        assert (await admin.post(run, json=items)).json() == running
        assert (await admin.post(f"{STREAMS}/{stream['id']}/executions")).status_code == 409
        assert (await admin.get(f"{STREAMS}/{loaded['id']}/executions")).json() == []
        (execution,) = (await admin.get(f"{STREAMS}/{stream['id']}/executions")).json()
        assert execution["currentState"] == "ACTIVE"
        again = (await admin.get(f"{STREAMS}/{stream['id']}/executions/{execution['executionId']}")).json()
        assert again["toe"] == execution["toe"]
        assert [len(part) for part in execution["toe"].split("-")] == [10, 5, 5]


async def test_a_connector_shows_on_its_dataset():
    sb = Sandbox()
    first, second = [one for one in sb.state.accounts.values() if one.user_id == sb.admin.id][:2]
    connector = {
        "transport": {"type": "CONNECTOR", "description": "com.domo.connector.snowflake", "version": "1"},
        "dataProvider": {"key": "snowflake", "name": "Snowflake"},
        "account": {"id": first.id},
        "accounts": [{"accountId": str(second.id), "metadata": "{}"}],
    }
    async with by_token(sb) as admin, await bearer(sb) as platform:
        stream = await fed(admin, **connector, schemaDefinition=None)
        assert stream["schemaDefinition"] == {"columns": []}
        made, home = stream["dataSource"]["id"], f"{STREAMS}/{stream['id']}"

        async def shown():
            row = (await admin.get(f"{V3}/{made}", params={"part": "core"})).json()
            return row["dataProviderType"], row["transportType"], row.get("accountId")

        async def powered(account):
            return {each["dataSourceId"] for each in (await admin.get(f"{V2}/account/{account.id}")).json()}

        assert await shown() == ("snowflake", "CONNECTOR", first.id)
        assert made in await powered(first) & await powered(second)
        refused = await platform.put(f"/v1/datasets/{made}/data", content=b"1\n", headers=CSV)
        assert (refused.status_code, refused.json()["message"]) == (
            400,
            "Infrastructure problem (403): Access is denied",
        )
        # It can be sent back as it came, though it has no columns yet.
        whole = (await admin.get(home, params={"fields": "all"})).json()
        again = (await admin.put(home, json=whole)).json()
        assert (again["account"], again["accounts"]) == (connector["account"], connector["accounts"])
        assert await shown() == ("snowflake", "CONNECTOR", first.id)

        assert (await admin.post(f"{V2}/account/{second.id}", json=[made])).status_code == 200
        whole = (await admin.get(home, params={"fields": "all"})).json()
        assert whole["account"] == {"id": second.id}
        assert made not in await powered(first)
        api = {"transport": {"type": "API"}, "dataProvider": {"key": "api"}, "account": None, "accounts": None}
        columns = {"schemaDefinition": {"columns": COLUMNS}}
        assert (await admin.put(home, json=whole | api | columns)).status_code == 200
        assert await shown() == ("api", "API", None)
        assert made not in await powered(second)
        assert (await platform.put(f"/v1/datasets/{made}/data", content=b"1\n", headers=CSV)).status_code == 204

        before = len(sb.state.datasets)
        for wrong in (
            {"account": {"id": 5}},
            {"account": {"id": "x"}},
            {"accounts": [5]},
            {"transport": {"type": "API"}},  # and no columns
        ):
            body = {"dataSource": {"name": "Fed"}} | connector | wrong
            assert (await admin.post(STREAMS, json=body)).status_code == 400
        assert len(sb.state.datasets) == before


async def test_an_account_that_is_deleted_is_none_of_a_stream_any_more():
    sb = Sandbox()
    async with by_token(sb) as admin:
        account = next(one for one in sb.state.accounts.values() if one.user_id == sb.admin.id)
        stream = await fed(admin, transport={"type": "CONNECTOR"}, account={"id": account.id})
        assert (await admin.delete(f"/api/data/v1/accounts/{account.id}")).status_code == 200
        home = f"{STREAMS}/{stream['id']}"
        whole = (await admin.get(home, params={"fields": "all"})).json()
        assert "account" not in whole
        assert (await admin.put(home, json=whole)).status_code == 200


async def test_the_datasets_of_an_account():
    sb = Sandbox()
    async with by_token(sb) as admin:
        account = next(one.account_id for one in sb.state.datasets.values() if one.account_id)
        path = f"{V2}/account/{account}"
        orders, customers = (await admin.get(path)).json()
        assert orders.keys() == {"dataSourceId", "dataSourceName", "responsibleUserId"}
        chosen = (await admin.get(path, params={"fields": "dataSourceName,dataProviderType,moon"})).json()
        assert [each.keys() for each in chosen] == [{"dataSourceName", "dataProviderType"}] * 2
        await admin.delete(f"{V3}/{orders['dataSourceId']}")
        assert (await admin.get(path)).json() == [customers]


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


async def test_the_search_filters():
    sb = Sandbox()
    sb.state.datasets.clear()
    async with by_token(sb) as admin:
        ids = {name: await dataset(admin, name) for name in ("a", "b", "c")}
        sb.state.datasets[ids["a"]].provider = "snowflake"
        sb.state.datasets[ids["b"]].certified = 1
        sb.state.datasets[ids["c"]].tags = ["x"]

        def term(field, *values, **more):
            value = {"value": values[0]} if len(values) == 1 else {"values": values}
            return {"filterType": "term", "field": field, **value, **more}

        async def names(**filters):
            answer = await admin.post("/api/data/ui/v3/datasources/search", json={"query": "*", **filters})
            assert answer.status_code == 200, answer.text
            return "".join(each["name"] for each in answer.json()["dataSources"])

        for word in ("API", "api"):
            assert await names(filters=[term("dataprovidername_facet", word)]) == "bc"
        assert await names(filters=[term("dataprovidername_facet", "SnowFlake")]) == "a"
        assert await names(filters=[term("dataprovidername_facet", "API", "snowflake")]) == "abc"
        assert await names(filters=[term("databaseId", ids["a"], ids["b"])]) == "ab"
        assert await names(filters=[term("databaseId", ids["a"], ids["b"], **{"not": True})]) == "c"
        assert await names(filters=[term("certification.state", "CERTIFIED")]) == "b"
        assert await names(filters=[term("certification.state", "NOT_CERTIFIED")]) == "ac"
        assert await names(orFilters=[term("tags", "x"), term("databaseId", ids["a"])]) == "ac"
        assert await names(notFilters=[term("tags", "x"), term("databaseId", ids["a"])]) == "b"
        owned = term("owned_by_id", str(sb.admin.id))
        assert await names(filters=[owned], orFilters=[term("tags", "x")], notFilters=[owned]) == ""
        for wrong in (
            {"filters": [term("moon", "1")]},
            {"orFilters": [{"filterType": "wildcard", "field": "tags", "query": "x*"}]},
            {"notFilters": [term("tags")]},
        ):
            assert (await admin.post("/api/data/ui/v3/datasources/search", json=wrong)).status_code == 400


@pytest.mark.parametrize("field", ["schema_extras"])
def test_what_is_kept_in_a_file(tmp_path, field):
    path = tmp_path / "state.json"
    with Sandbox(state_file=path).serve() as sb:
        first = next(iter(sb.state.datasets.values()))
        setattr(first, field, {"objects": [1], "views": []})
    assert getattr(Sandbox(state_file=path).state.datasets[first.id], field) == {"objects": [1], "views": []}
