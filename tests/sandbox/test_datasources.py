"""Datasets of the product API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domokit.sandbox import Sandbox
from domokit.sandbox.model import Dataset

from .helpers import as_user, by_token

pytestmark = pytest.mark.anyio
V2, V3 = "/api/data/v2/datasources", "/api/data/v3/datasources"
COLUMNS = [{"type": "STRING", "name": "order_id"}, {"type": "LONG", "name": "qty"}]


@pytest.fixture
def orders(sb: Sandbox) -> Dataset:
    return next(dataset for dataset in sb.state.datasets.values() if dataset.name == "Orders")


async def made(admin: Any, **given: Any) -> str:
    body = {"userDefinedType": "api", "dataSourceName": "Sales", "schema": {"columns": COLUMNS}} | given
    answer = await admin.post(V2, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["dataSource"]["dataSourceId"]


async def test_list(sb: Sandbox):
    admin = by_token(sb)
    whole = (await admin.get(V3)).json()
    assert len(whole["dataSources"]) == 5
    assert whole["_metaData"] == {
        "totalCount": 5,
        "limit": 50,
        "offset": 0,
        "augmented": True,
        "executor": "SEARCH",
    }
    assert {"rowCount", "columnCount", "tags", "permissions", "status"}.isdisjoint(whole["dataSources"][0])
    names = [row["name"] for row in (await admin.get(V3, params={"orderBy": "name"})).json()["dataSources"]]
    assert names == ["Budget", "Customers", "Orders", "Stock", "Web visits"]
    page = (await admin.get(V3, params={"orderBy": "name", "limit": 2, "offset": 4})).json()
    assert [row["name"] for row in page["dataSources"]] == ["Web visits"]
    assert (page["_metaData"]["totalCount"], page["_metaData"]["offset"]) == (5, 4)
    assert (await admin.get(V3, params={"limit": 51})).status_code == 400
    assert (await admin.get(V3, params={"orderBy": "moon"})).status_code == 400
    assert (await admin.get(V3, params={"part": "moon"})).status_code == 400


async def test_list_is_narrowed(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)

    async def names(**params: Any) -> set[str]:
        return {row["name"] for row in (await admin.get(V3, params=params)).json()["dataSources"]}

    assert await names(nameLike="ORD") == {"Orders"}
    assert await names(ownerId=orders.owner_id) == {"Orders"}
    assert await names(dataSourceId=orders.id) == {"Orders"}
    assert await names(displayType="webform") == set()
    assert await names(createdSince=orders.created + 1) == set()
    orders.hidden = True
    assert "Orders" not in await names()
    assert "Orders" in await names(includeHidden="true")


async def test_get_fills_in_the_parts_asked_for(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    plain = (await admin.get(f"{V3}/{orders.id}")).json()
    owner = sb.state.users[orders.owner_id]
    assert plain["owner"] == {"id": str(owner.id), "name": owner.display_name, "type": "USER", "group": False}
    assert (plain["created"], plain["lastTouched"]) == (orders.created, orders.modified)
    assert "rowCount" not in plain
    parts = {"part": ["core", "rowcolcount", "permission", "pdp"]}
    orders.tags = ["sales", 'dai"ly']
    shown = (await admin.get(f"{V3}/{orders.id}", params=parts)).json()
    assert json.loads(shown["tags"]) == orders.tags
    assert shown["permissions"] == "READ_WRITE_DELETE_SHARE_ADMIN"
    assert (shown["columnCount"], shown["pdpEnabled"]) == (2, False)
    assert shown["accountId"] == orders.account_id
    everything = (await admin.get(f"{V3}/{orders.id}", params={"includeAllDetails": "true"})).json()
    assert everything.keys() >= shown.keys() | {"status", "state", "cryoStatus", "properties"}
    bare = (await admin.get(f"{V3}/{orders.id}", params={"part": "core", "includeFormulas": "false"})).json()
    assert "properties" not in bare
    assert (await admin.get(f"{V3}/none")).status_code == 404


async def test_what_is_not_shared(sb: Sandbox, orders: Dataset):
    other = sb.add_user("Ot Her", "ot@example.com")
    mine = as_user(sb, other)
    assert (await mine.get(V3)).json()["dataSources"] == []
    refused = await mine.get(f"{V3}/{orders.id}")
    assert refused.status_code == 403
    assert refused.json()["path"] == f"{V3}/{orders.id}"
    assert refused.json()["userId"] == str(other.id)
    assert (await mine.get(f"{V3}/bulk/datasourceIds")).json() == list(sb.state.datasets)  # of the whole instance
    assert (await mine.post(f"{V3}/bulk", json=[orders.id])).json()["dataSources"] == []
    orders.shares[f"USER:{other.id}"] = "CAN_VIEW"
    shown = (await mine.get(f"{V3}/{orders.id}", params={"part": "permission"})).json()
    assert shown["permissions"] == "READ"
    assert (await mine.get(f"{V3}/{orders.id}/permissions/currentUser")).json() == "CAN_VIEW"
    for method, path, body in (
        ("PUT", "/properties", {"dataSourceName": "x"}),
        ("DELETE", "", None),
        ("POST", "/share", {"permissions": []}),
    ):
        assert (await mine.request(method, f"{V3}/{orders.id}{path}", json=body)).status_code == 403


async def test_create(sb: Sandbox):
    admin = by_token(sb)
    second = list(sb.state.users)[1]
    dataset = sb.state.datasets[await made(admin, responsibleUserId=str(second), dataSourceDescription="d")]
    assert (dataset.name, dataset.description, dataset.owner_id, dataset.columns) == ("Sales", "d", second, COLUMNS)
    assert (dataset.display_type, dataset.provider, dataset.rows, dataset.takes_data) == ("api", "api", 0, True)
    assert sb.state.datasets[await made(admin, schema=None)].columns == []
    shown = (await admin.get(f"{V3}/{dataset.id}", params={"includeAllDetails": "true"})).json()
    assert (shown["rowCount"], shown["columnCount"], shown["status"]) == (0, 0, "IDLE")
    for wrong in (
        {"dataSourceName": ""},
        {"schema": {"columns": [{"type": "X", "name": "a"}]}},
        {"responsibleUserId": 5},
    ):
        body = {"dataSourceName": "Sales", "schema": {"columns": COLUMNS}} | wrong
        assert (await admin.post(V2, json=body)).status_code == 400
    assert (await as_user(sb, sb.add_user("P", "p@example.com")).post(V2, json={})).status_code == 403
    steward = sb.add_user("E", "e@example.com", role_id=2)
    body = {"dataSourceName": "Sales", "responsibleUserId": second}
    assert (await as_user(sb, steward).post(V2, json=body)).status_code == 403


async def test_create_keeps_what_is_documented(sb: Sandbox):
    admin = by_token(sb)
    more = {"tags": '["sales","daily"]', "dataSourceType": "webform", "cloudId": "snowflake-1"}
    dataset_id = await made(admin, **more)
    shown = (await admin.get(f"{V3}/{dataset_id}", params={"part": "core"})).json()
    assert (shown["tags"], shown["type"], shown["cloudId"]) == tuple(more.values())
    assert (shown["dataProviderType"], shown["displayType"]) == ("api", "api")
    assert [row["id"] for row in (await admin.get(V3, params={"type": "webform"})).json()["dataSources"]] == [
        dataset_id
    ]
    assert sb.state.datasets[await made(admin, tags="sales")].tags == ["sales"]
    plain = (await admin.get(f"{V3}/{await made(admin)}", params={"part": "core"})).json()
    assert (plain["tags"], plain["type"], plain["cloudId"], plain["cloudName"]) == ("[]", "api", "domo", "Domo")
    for wrong in (["sales"], '{"a": 1}', "[5]"):
        assert (await admin.post(V2, json={"dataSourceName": "x", "tags": wrong})).status_code == 400


async def test_older_shape(sb: Sandbox, orders: Dataset):
    shown = (await by_token(sb).get(f"{V2}/{orders.id}")).json()["dataSource"]
    assert (shown["dataSourceId"], shown["dataSourceName"]) == (orders.id, "Orders")
    assert (shown["created"], shown["createdDate"]) == (str(orders.created), orders.created)


async def test_properties(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    change = {"dataSourceName": "Orders 2", "dataSourceDescription": "", "moon": 1}
    shown = (await admin.put(f"{V3}/{orders.id}/properties", json=change)).json()
    assert (shown["id"], shown["name"], shown["description"]) == (orders.id, "Orders 2", "")
    assert (orders.name, orders.description) == ("Orders 2", "")
    for wrong in ({"dataSourceName": " "}, {"dataSourceDescription": 5}):
        assert (await admin.put(f"{V3}/{orders.id}/properties", json=wrong)).status_code == 400


async def test_soft_delete_and_restore(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    path = f"{V3}/{orders.id}"
    assert (await admin.delete(path, params={"deleteMethod": "mild"})).status_code == 400
    gone = await admin.delete(path)
    assert (gone.status_code, gone.content, orders.deleted) == (200, b"", True)
    shown = (await admin.get(path, params={"includeAllDetails": "true"})).json()
    assert shown["deleted"] is True
    assert shown.keys() == {"id", "name", "owner", "created", "deleted"}
    assert (await admin.get(V3)).json()["_metaData"]["totalCount"] == 4
    assert (await admin.get(f"{path}/permissions")).status_code == 404
    assert (await admin.delete(path)).status_code == 404
    second = list(sb.state.users)[1]
    for wrong in ({"datasetId": orders.id}, {"datasetId": orders.id, "newOwnerId": "5"}):
        assert (await admin.post(f"{V3}/restore", json={"datasets": [wrong]})).status_code == 400
    assert orders.deleted
    body = {"datasets": [{"datasetId": orders.id, "newOwnerId": str(second)}]}
    assert (await admin.post(f"{V3}/restore", json=body)).status_code == 200
    assert (orders.deleted, orders.owner_id) == (False, second)
    assert (await admin.post(f"{V3}/restore", json=body)).status_code == 400
    assert (await admin.post(f"{V3}/restore", json={"datasets": []})).status_code == 400
    await admin.delete(path)
    assert (await admin.delete(path, params={"deleteMethod": "hard"})).status_code == 200
    assert orders.id not in sb.state.datasets
    assert (await admin.get(path)).status_code == 404


async def test_bulk_delete_is_all_or_none(sb: Sandbox):
    admin = by_token(sb)
    ids = list(sb.state.datasets)
    assert (await admin.post(f"{V3}/delete", json=[ids[0], "none"])).status_code == 404
    assert not sb.state.datasets[ids[0]].deleted
    await admin.post(f"{V3}/delete", json=ids[:2])
    assert [sb.state.datasets[each].deleted for each in ids] == [True, True, False, False, False]
    await admin.post(f"{V3}/delete", params={"deleteMethod": "hard"}, json=ids[2:])
    assert list(sb.state.datasets) == ids[:2]


async def test_bulk_reads(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    found = (await admin.post(f"{V3}/bulk", json=[orders.id, "none"], params={"part": "rowcolcount"})).json()
    assert [row["id"] for row in found["dataSources"]] == [orders.id]
    assert "rowCount" in found["dataSources"][0]
    found = (await admin.get(f"{V3}/bulk", params={"dataSourceId": [orders.id]})).json()
    assert [row["id"] for row in found["dataSources"]] == [orders.id]
    ids = list(sb.state.datasets)
    assert (await admin.get(f"{V3}/bulk/datasourceIds", params={"limit": 2, "offset": 1})).json() == ids[1:3]
    rows = (await admin.get(f"{V3}/bulk/permissions")).json()
    assert {"dataSourceId": orders.id, "id": str(orders.owner_id), "type": "USER", "accessLevel": "OWNER"} in rows
    states = (await admin.post(f"{V3}/statuses", json=[orders.id])).json()
    assert [each["dataSourceId"] for each in states] == [orders.id]


async def test_status_before_any_data(sb: Sandbox):
    admin = by_token(sb)
    dataset_id = await made(admin)
    status = (await admin.get(f"{V3}/{dataset_id}/statuses")).json()
    assert status["dimension"] == {"rowCount": 0, "columnCount": 0, "schema": []}
    assert status["status"]["code"] == "IDLE"
    assert status["version"]["latestDataVersionId"] is None


async def test_schemas(sb: Sandbox):
    admin = by_token(sb)
    dataset_id = await made(admin)
    path = f"{V2}/{dataset_id}/schemas"
    more = [*COLUMNS, {"type": "DATE", "name": "day"}]
    assert (await admin.post(path, json={"columns": more, "objects": [], "views": []})).json() == {"schemaId": 2}
    assert (await admin.post(path, json={"columns": more})).json() == {"schemaId": 3}
    assert (await admin.post(path, json={"columns": []})).status_code == 400
    for name in ("latest", "3", "indexed"):
        columns = (await admin.get(f"{path}/{name}")).json()["schema"]["columns"]
        assert [column["name"] for column in columns] == ["order_id", "qty", "day"]
        assert columns[0]["metadata"] == {"colLabel": "", "colFormat": "", "isEncrypted": False}
    assert (await admin.get(f"{path}/7")).status_code == 404
    contract = (await admin.get(f"{V3}/{dataset_id}/schema", params={"indexedSchema": "false"})).json()
    assert contract["dataSource"] == {"id": dataset_id, "name": "Sales"}
    assert contract["schemaContract"]["schema"]["columns"] == more
    seen = (await admin.get(f"/api/query/v1/datasources/{dataset_id}/schema/indexed")).json()
    assert seen["tables"][0]["columns"][1] == {
        "name": "qty",
        "id": "qty",
        "type": "LONG",
        "visible": True,
        "order": 1,
    }


async def test_owner(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    second = list(sb.state.users)[1]
    orders.shares[f"USER:{second}"] = "CAN_VIEW"
    path = f"{V2}/{orders.id}/responsibleUsers"
    assert (await admin.put(path, json={"responsibleUserId": str(second)})).status_code == 200
    assert (orders.owner_id, orders.shares) == (second, {})
    group = sb.add_group("Readers", [second])
    assert (await admin.put(path, json={"responsibleGroupId": group.id})).status_code == 200
    shown = (await admin.get(f"{V3}/{orders.id}")).json()
    assert shown["owner"] == {"id": str(group.id), "name": "Readers", "type": "GROUP", "group": True}
    mine = as_user(sb, sb.state.users[second])
    assert (await mine.get(f"{V3}/{orders.id}/permissions/currentUser")).json() == "OWNER"
    for wrong in ({}, {"responsibleUserId": 5}, {"responsibleUserId": "x"}, {"responsibleGroupId": 3}):
        assert (await admin.put(path, json=wrong)).status_code == 400


async def test_permissions(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    other = sb.add_user("Ot Her", "ot@example.com")
    group = sb.add_group("Readers")
    path = f"{V3}/{orders.id}/permissions"
    for kind, its_id, level in (("USER", str(other.id), "CAN_EDIT"), ("GROUP", group.id, "CAN_VIEW")):
        answer = await admin.put(path, json={"type": kind, "id": its_id, "accessLevel": level})
        assert (answer.status_code, answer.content) == (200, b"")
    shown = (await admin.get(path)).json()
    assert shown["list"] == [
        {"accessLevel": "OWNER", "id": str(orders.owner_id), "name": sb.admin.display_name, "type": "USER"},
        {"accessLevel": "CAN_EDIT", "id": str(other.id), "name": "Ot Her", "type": "USER"},
        {"accessLevel": "CAN_VIEW", "id": str(group.id), "name": "Readers", "type": "GROUP"},
    ]
    assert (shown["totalUserCount"], shown["totalGroupCount"]) == (2, 1)
    assert (await admin.get(f"{path}/currentUser")).text == '"OWNER"'
    entry = {"type": "USER", "id": str(other.id), "accessLevel": "OWNER"}
    assert (await as_user(sb, other).put(path, json=entry)).status_code == 403
    assert (await admin.put(path, json=entry)).status_code == 200
    assert (orders.owner_id, orders.shares[f"USER:{sb.admin.id}"]) == (other.id, "CO_OWNER")
    assert (await admin.put(path, json=entry | {"id": str(sb.admin.id)})).status_code == 200
    assert (orders.owner_id, orders.shares[f"USER:{other.id}"]) == (sb.admin.id, "CO_OWNER")
    for kind, its_id in (("VIRTUAL_USER", "v-1"), ("CARD", 12)):
        entry = {"type": kind, "id": its_id, "accessLevel": "CAN_VIEW"}
        assert (await admin.put(path, json=entry)).status_code == 200
        for wrong in ({"accessLevel": "OWNER"}, {"id": None}, {"id": " "}):
            assert (await admin.put(path, json=entry | wrong)).status_code == 400
        shown = (await admin.get(path)).json()
        assert shown["list"][-1] == {"accessLevel": "CAN_VIEW", "id": str(its_id), "name": "", "type": kind}
        assert (shown["totalUserCount"], shown["totalGroupCount"]) == (2, 1)
        assert (await admin.delete(f"{path}/{kind}/{its_id}")).status_code == 200
    assert (await admin.delete(f"{path}/GROUP/{group.id}")).status_code == 200
    await admin.put(path, json={"type": "USER", "id": other.id, "accessLevel": "NONE"})
    assert orders.shares == {}
    for wrong in (
        {"type": "USER", "id": "5", "accessLevel": "CAN_VIEW"},
        {"type": "MOON", "id": str(other.id), "accessLevel": "CAN_VIEW"},
        {"type": "USER", "id": str(other.id), "accessLevel": "can_view"},
        {"type": "USER", "id": str(orders.owner_id), "accessLevel": "CAN_VIEW"},
    ):
        assert (await admin.put(path, json=wrong)).status_code == 400
    assert orders.shares == {}


async def test_share(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    first, second = sb.add_user("A", "a@example.com"), sb.add_user("B", "b@example.com")
    path = f"{V3}/{orders.id}/share"

    def body(level: str, *users: Any) -> dict[str, Any]:
        permissions = [{"id": str(each.id), "type": "USER", "accessLevel": level} for each in users]
        return {"permissions": permissions, "sendEmail": False, "message": ""}

    assert (await admin.post(path, json=body("CAN_SHARE", first, sb.admin))).status_code == 200
    assert orders.shares == {f"USER:{first.id}": "CAN_SHARE"}
    sharer = as_user(sb, first)
    assert (await sharer.post(path, json=body("CAN_EDIT", second))).status_code == 403
    assert (await sharer.post(path, json=body("CAN_VIEW", second))).status_code == 200
    assert orders.shares[f"USER:{second.id}"] == "CAN_VIEW"
    assert (await as_user(sb, second).post(path, json=body("CAN_VIEW", first))).status_code == 403
    await admin.post(path, json=body("CAN_EDIT", first, second))
    assert set(orders.shares.values()) == {"CAN_EDIT"}
    unknown = body("CAN_VIEW", first)["permissions"] + [{"id": "5", "type": "USER", "accessLevel": "CAN_VIEW"}]
    for wrong in ({}, {"permissions": unknown}, body("CAN_VIEW", first) | {"sendEmail": "yes"}):
        assert (await admin.post(path, json=wrong)).status_code == 400
    assert set(orders.shares.values()) == {"CAN_EDIT"}


async def test_tags_and_search(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    path = f"/api/data/ui/v3/datasources/{orders.id}/tags"
    answer = await admin.post(path, json=["sales", "daily", "sales"])
    assert (answer.status_code, answer.content, orders.tags) == (200, b"", ["sales", "daily"])
    for wrong in ({"tags": []}, ["a", 5], [" "]):
        assert (await admin.post(path, json=wrong)).status_code == 400
    search = "/api/data/ui/v3/datasources/search"
    found = (await admin.post(search, json={"query": "*ord*", "filters": [], "count": 50, "offset": 0})).json()
    assert [row["name"] for row in found["dataSources"]] == ["Orders"]
    assert found["dataSources"][0]["tags"] == '["sales","daily"]'
    assert found["_metaData"]["totalCount"] == 1
    page = (await admin.post(search, json={"count": 2, "offset": 1})).json()
    assert ([row["name"] for row in page["dataSources"]], page["_metaData"]["totalCount"]) == (
        ["Customers", "Orders"],
        5,
    )
    tagged = {"filters": [{"filterType": "term", "field": "tags", "value": "daily", "not": True}]}
    assert (await admin.post(search, json=tagged)).json()["_metaData"]["totalCount"] == 4
    wrong = {"filters": [{"filterType": "term", "field": "moon", "value": "1"}]}
    assert (await admin.post(search, json=wrong)).status_code == 400
    assert (await admin.post(path, json=[])).status_code == 200
    assert orders.tags == []


async def test_certification(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    path = f"/api/tags/v3/DATA_SOURCE/{orders.id}/system/CERTIFIED/state"
    never = {"tag": "CERTIFIED", "state": None, "metadata": None, "updated": None}
    assert (await admin.get(path)).json() == never
    assert (await admin.put(f"{path}/ACTIVE")).status_code == 200
    now = (await admin.get(path)).json()
    assert (now["state"], now["updated"]) == ("ACTIVE", orders.certified)
    shown = (await admin.get(f"{V3}/{orders.id}", params={"part": "certification"})).json()
    assert shown["certification"]["state"] == "CERTIFIED"
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).json() == never


async def test_bulk_changes_tell_what_failed(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    bulk = "/api/data/v1/ui/bulk"
    other, second = sb.add_user("Ot Her", "ot@example.com"), list(sb.state.users)[1]
    items = {"type": "DATA_SOURCE", "ids": [orders.id, "none"]}
    done = {"successful": [orders.id], "failed": {"none": "DELETED"}}
    assert (await admin.post(f"{bulk}/tag", json={"bulkItems": items, "tags": ["a", "b"]})).json() == done
    assert (await admin.post(f"{bulk}/tag/delete", json={"bulkItems": items, "tags": ["a"]})).json() == done
    assert orders.tags == ["b"]
    entity = {"permissions": [{"id": str(other.id), "type": "USER", "accessLevel": "CAN_VIEW"}], "sendEmail": False}
    shared = {"bulkItems": items, "dataSourceShareEntity": entity}
    assert (await admin.post(f"{bulk}/share", json=shared)).json() == done
    mine = as_user(sb, other)
    refused = {"successful": [], "failed": {orders.id: "NO_ACCESS"}}
    assert (await mine.post(f"{bulk}/delete", json=items | {"ids": [orders.id]})).json() == refused
    assert (await admin.post(f"{bulk}/reassign", json=items | {"userId": str(second)})).json() == done
    assert orders.owner_id == second
    assert (await admin.post(f"{bulk}/delete", json=items)).json() == done
    assert orders.deleted
    assert (await admin.post(f"{bulk}/delete", json=items | {"type": "CARD"})).status_code == 400


async def test_bulk_changes_are_checked_beforehand(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    bulk = "/api/data/v1/ui/bulk"
    items = {"type": "DATA_SOURCE", "ids": [orders.id, "none"]}
    checked = {"validItems": [orders.id], "invalidItems": {"none": "DELETED"}, "typeValid": True}
    for action in ("reassign", "delete"):
        assert (await admin.post(f"{bulk}/{action}/check", json=items)).json() == checked
    for action in ("share", "tag", "tag/delete"):
        assert (await admin.post(f"{bulk}/{action}/check", json={"bulkItems": items})).json() == checked
    mine = as_user(sb, sb.add_user("Ot Her", "ot@example.com"))
    refused = (await mine.post(f"{bulk}/delete/check", json=items | {"ids": [orders.id]})).json()
    assert refused == {"validItems": [], "invalidItems": {orders.id: "NO_ACCESS"}, "typeValid": True}
    cards = (await admin.post(f"{bulk}/delete/check", json=items | {"type": "CARD", "ids": ["1"]})).json()
    assert cards == {"validItems": [], "invalidItems": {"1": "WRONG_TYPE"}, "typeValid": False}
    assert not orders.deleted


async def test_bulk_changes_of_what_a_search_finds(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    bulk = "/api/data/v1/ui/bulk"
    items = {"type": "DATA_SOURCE", "query": "*o*", "excludeIds": [orders.id]}
    stock, customers = (
        next(one for one in sb.state.datasets.values() if one.name == name) for name in ("Stock", "Customers")
    )
    answer = (await admin.post(f"{bulk}/tag", json={"bulkItems": items, "tags": ["a"]})).json()
    assert answer == {"successful": [customers.id, stock.id], "failed": {}}
    assert (customers.tags, stock.tags, orders.tags) == (["a"], ["a"], [])
    tagged = {"query": "*", "filters": [{"filterType": "term", "field": "tags", "value": "a"}]}
    answer = (await admin.post(f"{bulk}/delete", json={"type": "DATA_SOURCE", "query": tagged})).json()
    assert answer["successful"] == [customers.id, stock.id]
    for nothing in ({}, {"query": ""}, {"ids": []}, {"query": {"filters": [{"field": "moon"}]}}):
        assert (await admin.post(f"{bulk}/delete", json={"type": "DATA_SOURCE"} | nothing)).status_code == 400
        for action in ("tag", "tag/check"):
            body = {"bulkItems": {"type": "DATA_SOURCE"} | nothing, "tags": ["a"]}
            assert (await admin.post(f"{bulk}/{action}", json=body)).status_code == 400
    assert not orders.deleted


async def test_what_depends_on_it(sb: Sandbox, orders: Dataset):
    admin = by_token(sb)
    tree = (await admin.get(f"{V3}/{orders.id}/hierarchy")).json()
    assert tree == {"dataSourceId": orders.id, "type": "ROOT_DATASOURCE", "inputDataSources": []}
    assert not any((await admin.get(f"{V3}/{orders.id}/impacted-resources")).json().values())
    assert (await admin.get(f"/api/content/v1/datasources/{orders.id}/cards")).json() == []
    assert (await admin.get("/api/content/v1/datasources/none/cards")).status_code == 404
