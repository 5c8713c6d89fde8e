"""The platform API over the same state."""

from __future__ import annotations

from typing import Any

import pytest

from domokit.sandbox import Sandbox

from .helpers import bearer, by_token

pytestmark = pytest.mark.anyio
ACCOUNT = {
    "name": "loader",
    "type": {"id": "dataset-copy", "properties": {"accessToken": "t", "instance": "i"}},
}


async def test_users_list_pages(sb: Sandbox):
    for n in range(500):
        sb.add_user(f"Extra {n}", f"extra{n}@example.com")
    mine = await bearer(sb)
    assert len((await mine.get("/v1/users")).json()) == 50
    first = (await mine.get("/v1/users/", params={"limit": 5000})).json()
    rest = (await mine.get("/v1/users", params={"limit": 500, "offset": 500})).json()
    assert (len(first), len(rest)) == (500, 12)
    assert first[0].keys() == {"id", "title", "email", "role", "phone", "name"}
    assert first[-1].keys() == {"id", "email", "role", "name"}


async def test_user_get(sb: Sandbox):
    mine = await bearer(sb)
    user = (await mine.get(f"/v1/users/{sb.admin.id}")).json()
    assert (user["role"], user["roleId"], user["deleted"]) == ("Admin", "1", False)
    assert user["createdAt"] == "2023-11-14T22:13:20Z"
    assert isinstance(user["employeeNumber"], int)
    assert {group["name"] for group in user["groups"]} == {"Default", "Data team"}
    missing = await mine.get("/v1/users/5")
    assert missing.status_code == 404
    assert missing.json().keys() == {"status", "statusReason", "message", "toe"}


async def test_user_life(sb: Sandbox):
    mine = await bearer(sb)
    body: dict[str, Any] = {
        "name": "Robin New",
        "email": "robin@example.com",
        "role": "participant",
        "title": "Analyst",
        "timezone": "UTC",
        "location": "Utah",
    }
    made = (await mine.post("/v1/users", params={"sendInvite": "False"}, json=body)).json()
    assert (made["role"], made["roleId"], made["location"]) == ("Participant", "4", "Utah")
    assert "timezone" not in made
    assert [group["name"] for group in made["groups"]] == ["Default"]
    assert (await mine.post("/v1/users", json=body)).status_code == 409
    assert (await mine.post("/v1/users", json=body | {"email": "b@example.com", "role": "King"})).status_code == 400
    custom = {"name": "Cu Stom", "email": "c@example.com", "roleId": 700_000_001}
    assert (await mine.post("/v1/users", json=custom)).json()["role"] == "Data steward"
    path = f"/v1/users/{made['id']}"
    for missing in ("email", "role", "name"):
        part = {key: value for key, value in body.items() if key != missing}
        assert (await mine.put(path, json=part)).status_code == 400
    assert (await mine.put(path, json=body | {"email": sb.username})).status_code == 409
    answer = await mine.put(path, json=body | {"name": "Robin Newer", "role": "Editor"})
    assert (answer.status_code, answer.content) == (200, b"")
    after = (await mine.get(path)).json()
    assert (after["name"], after["role"], after["title"]) == ("Robin Newer", "Editor", "Analyst")
    assert (await mine.delete(path)).status_code == 204
    assert (await mine.get(path)).json()["deleted"] is True
    assert (await mine.delete(path)).status_code == 404


async def test_writes_need_an_administrator_behind_the_client(sb: Sandbox):
    plain = sb.add_user("Pat Plain", "pat@example.com")
    next(iter(sb.state.api_clients.values())).user_id = plain.id
    mine = await bearer(sb)
    body = {"name": "X", "email": "x@example.com", "role": "Admin"}
    assert (await mine.post("/v1/users", json=body)).status_code == 403
    assert (await mine.put(f"/v1/users/{plain.id}", json=body)).status_code == 403
    assert (await mine.delete(f"/v1/users/{sb.admin.id}")).status_code == 403
    assert (await mine.get("/v1/users")).status_code == 200
    assert (await mine.get("/v1/accounts")).json() == []
    assert (await mine.get("/v1/datasets")).json() == []


async def test_account_life(sb: Sandbox):
    mine = await bearer(sb)
    made = (await mine.post("/v1/accounts", json=ACCOUNT | {"valid": True})).json()
    shown = {
        "id": made["id"],
        "name": "loader",
        "valid": True,
        "type": {"id": "dataset-copy", "properties": {}},
    }
    assert made == shown
    assert isinstance(made["id"], str)
    assert sb.account_config(made["id"]) == {"accessToken": "t", "instance": "i"}
    path = f"/v1/accounts/{made['id']}"
    assert (await mine.get(path)).json() == shown
    assert shown in (await mine.get("/v1/accounts", params={"limit": 50})).json()
    change = {"name": "loader 2", "type": {"id": "dataset-copy", "properties": {"accessToken": "u"}}}
    answer = await mine.patch(path, json=change)
    assert (answer.status_code, answer.json()["name"]) == (202, "loader 2")
    assert sb.account_config(made["id"]) == {"accessToken": "u", "instance": "i"}
    product = (await by_token(sb).get(f"/api/data/v1/accounts/{made['id']}")).json()
    assert (product["displayName"], product["name"]) == ("loader 2", "loader")
    for wrong in ({"type": {"id": "snowflake"}}, {"type": {}}, {"name": ""}, {"valid": "yes"}):
        assert (await mine.patch(path, json=wrong)).status_code == 400
    other = sb.add_user("Ot Her", "ot@example.com")
    shared = await mine.post(f"{path}/shares", json={"user": {"id": other.id}})
    assert (shared.status_code, shared.content) == (200, b"")
    assert sb.state.accounts[int(made["id"])].shares[f"USER:{other.id}"] == "CAN_VIEW"
    assert (await mine.delete(path)).status_code == 204
    assert (await mine.get(path)).status_code == 404
    assert (await mine.get("/v1/accounts/x")).status_code == 404


async def test_account_bodies_are_checked(sb: Sandbox):
    mine = await bearer(sb)
    wrong: tuple[dict[str, Any], ...] = (
        {"name": "x"},
        {"type": ACCOUNT["type"]},
        {"name": "x", "type": {"id": "none"}},
        {"name": "x", "type": {"id": "dataset-copy", "properties": {"moon": "1"}}},
    )
    for body in wrong:
        assert (await mine.post("/v1/accounts", json=body)).status_code == 400


async def test_account_types(sb: Sandbox):
    mine = await bearer(sb)
    rows = (await mine.get("/v1/account-types", params={"limit": 3, "offset": 1})).json()
    assert len(rows) == 3
    assert all(row.keys() == {"id", "name"} for row in rows)
    one = (await mine.get("/v1/account-types/domo-access-token")).json()
    properties = {each["name"]: each["required"] for each in one["_templates"]["default"]["properties"]}
    assert properties == {"domoAccessToken": True, "username": True, "password": False}
    assert (await mine.get("/v1/account-types/none")).status_code == 404


async def test_groups(sb: Sandbox):
    mine = await bearer(sb)
    rows = (await mine.get("/v1/groups/")).json()
    assert {row["name"]: row["memberCount"] for row in rows} == {"Default": 12, "Data team": 4, "Finance": 3}
    assert [row["name"] for row in rows if row["default"]] == ["Default"]
    one = (await mine.get(f"/v1/groups/{rows[1]['id']}")).json()
    assert (one["active"], one["memberCount"]) == (True, 4)
    ids = (await mine.get(f"/v1/groups/{rows[0]['id']}/users", params={"limit": 10, "offset": 5})).json()
    assert len(ids) == 7
    assert all(isinstance(each, int) for each in ids)
    deleted = next(group.id for group in sb.state.groups.values() if not group.active)
    assert (await mine.get(f"/v1/groups/{deleted}")).status_code == 404


async def test_datasets(sb: Sandbox):
    mine = await bearer(sb)
    rows = (await mine.get("/v1/datasets", params={"sort": "name", "limit": 2})).json()
    assert [row["name"] for row in rows] == ["Budget", "Customers"]
    assert "description" not in rows[1]
    assert "schema" not in rows[0]
    found = (await mine.get("/v1/datasets", params={"nameLike": "ORDER"})).json()
    assert [row["name"] for row in found] == ["Orders"]
    one = (await mine.get(f"/v1/datasets/{found[0]['id']}")).json()
    assert len(one["schema"]["columns"]) == one["columns"]
    assert one["policies"] == []
    assert (await mine.get("/v1/datasets/none")).status_code == 404
