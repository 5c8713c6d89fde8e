"""Row policies: managed in both families, obeyed wherever rows are read."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from domokit.sandbox import Sandbox, policies
from domokit.sandbox.model import Dataset, Policy, User

from .dataset_helpers import COLUMNS, filled, found
from .helpers import as_user, bearer, by_token

pytestmark = pytest.mark.anyio
WEST = {"column": "region", "values": ["West"], "operator": "EQUALS", "not": False}


def control(dataset_id: str, rest: str = "/filter-groups", version: int = 1) -> str:
    return f"/api/query/v{version}/data-control/{dataset_id}{rest}"


async def empty_dataset(sb: Sandbox) -> str:
    body = {"name": "Sales", "schema": {"columns": COLUMNS}}
    return (await (await bearer(sb)).post("/v1/datasets", json=body)).json()["id"]


# the platform


async def test_platform_life(sb: Sandbox):
    mine = await bearer(sb)
    dataset_id = await empty_dataset(sb)
    path = f"/v1/datasets/{dataset_id}/policies"
    assert (await mine.get(path)).json() == []
    body = {"type": "user", "name": "West only", "filters": [WEST], "users": [27], "virtualUsers": ["v"], "groups": [3]}
    made = await mine.post(path, json=body)
    assert (made.status_code, made.json()) == (201, body | {"id": made.json()["id"]})
    opened, west = (await mine.get(path)).json()
    assert west == made.json()
    assert (opened["type"], opened["name"], opened["filters"]) == ("open", "All Rows", [])
    assert opened["users"] == [sb.admin.id]
    one = f"{path}/{west['id']}"
    changed = await mine.put(one, json={"name": "East", "filters": [WEST | {"values": ["East"]}]})
    assert (changed.status_code, changed.json()["users"], changed.json()["groups"]) == (200, [27], [3])
    assert (await mine.get(one)).json() == changed.json()
    whole = (await mine.get(f"/v1/datasets/{dataset_id}")).json()
    assert ([each["name"] for each in whole["policies"]], whole["pdpEnabled"]) == (["All Rows", "East"], False)
    gone = await mine.delete(one)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await mine.delete(one)).status_code == 404
    assert (await mine.get(f"{path}/x")).status_code == 400
    assert len(sb.state.policies) == 1


async def test_the_open_policy(sb: Sandbox):
    mine = await bearer(sb)
    dataset_id = await empty_dataset(sb)
    await mine.put(f"/v1/datasets/{dataset_id}", json={"pdpEnabled": True})
    await mine.put(f"/v1/datasets/{dataset_id}", json={"pdpEnabled": True})
    (opened,) = (await mine.get(f"/v1/datasets/{dataset_id}/policies")).json()
    one = f"/v1/datasets/{dataset_id}/policies/{opened['id']}"
    assert (await mine.delete(one)).status_code == 400
    named = {"name": "All Rows"}
    assert (await mine.put(one, json=named | {"filters": [WEST]})).status_code == 400
    assert (await mine.put(one, json=named | {"type": "user"})).status_code == 400
    assert (await mine.put(one, json={"users": [1, 2]})).status_code == 400
    assert (await mine.put(one, json=named | {"users": [1, 2], "groups": [3]})).json()["users"] == [1, 2]
    another = {"name": "x", "type": "open"}
    assert (await mine.post(f"/v1/datasets/{dataset_id}/policies", json=another)).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"type": "moon"},
        {"users": ["27"]},
        {"groups": "3"},
        {"filters": ["West"]},
        {"filters": [WEST | {"column": "nope"}]},
        {"filters": [WEST | {"operator": "equals"}]},
        {"filters": [WEST | {"values": []}]},
        {"filters": [WEST | {"values": "West"}]},
        {"filters": [WEST | {"values": [None]}]},
        {"filters": [WEST | {"values": ["x" * 127, "y" * 127]}]},
        {"filters": [WEST | {"operator": "BETWEEN"}]},
        {"filters": [WEST | {"not": "no"}]},
    ],
)
async def test_what_is_no_policy(sb: Sandbox, change: dict[str, Any]):
    mine = await bearer(sb)
    dataset_id = await empty_dataset(sb)
    path = f"/v1/datasets/{dataset_id}/policies"
    good = {"name": "West only", "filters": [WEST]}
    assert (await mine.post(path, json=good | change)).status_code == 400
    assert not sb.state.policies
    made = (await mine.post(path, json=good)).json()
    assert (await mine.put(f"{path}/{made['id']}", json={"name": "x"} | change)).status_code == 400
    assert (await mine.put(f"{path}/{made['id']}", json={"filters": [WEST]})).status_code == 400  # no name
    assert (await mine.get(f"{path}/{made['id']}")).json() == made
    fits = {"name": "x", "filters": [WEST | {"values": ["x" * 127, "y" * 126]}]}
    assert (await mine.post(path, json=fits)).status_code == 201


async def test_policies_are_for_those_who_manage_the_dataset(sb: Sandbox):
    dataset_id = await empty_dataset(sb)
    other = sb.add_user("Ot Her", "ot@example.com")
    sb.state.datasets[dataset_id].shares[f"USER:{other.id}"] = "CAN_EDIT"
    mine = as_user(sb, other)
    assert (await mine.get(control(dataset_id))).status_code == 403
    next(iter(sb.state.api_clients.values())).user_id = other.id
    platform = await bearer(sb)
    assert (await platform.get(f"/v1/datasets/{dataset_id}/policies")).status_code == 403
    assert (await platform.get(f"/v1/datasets/{dataset_id}")).json()["policies"] == []


# the product


async def test_product_life(sb: Sandbox):
    admin = by_token(sb)
    dataset_id = await empty_dataset(sb)
    parameter = {
        "type": "COLUMN",
        "name": "REGION",
        "values": ["West", "East"],
        "operator": "EQUALS",
        "not": False,
        "ignoreCase": True,
    }
    body: dict[str, Any] = {
        "name": "West only",
        "dataSourceId": dataset_id,
        "userIds": [],
        "virtualUserIds": [],
        "groupIds": ["1324000001"],
        "dataSourcePermissions": False,
        "parameters": [parameter],
    }
    made = (await admin.post(control(dataset_id), json=body)).json()
    set_id = made["policySetId"]
    assert made == {
        "filterGroupId": made["filterGroupId"],
        "name": "West only",
        "dataSourceId": dataset_id,
        "policySetId": set_id,
        "type": "user",
        "dataSourcePermissions": False,
        "groupIds": [1324000001],
        "resources": {"GROUP": ["1324000001"]},
        "parameters": [parameter | {"name": "region", "value": "West"}],
    }
    options = {"options": "load_associations,load_filters,include_open_policy"}
    opened, listed = (await admin.get(control(dataset_id), params=options)).json()
    assert listed == made
    assert (opened["type"], opened["policySetId"], opened["parameters"]) == ("open", set_id, [])
    assert opened["resources"] == {"USER": [str(sb.admin.id)]}
    (bare,) = (await admin.get(control(dataset_id))).json()
    assert {"resources", "groupIds", "parameters"}.isdisjoint(bare)
    one = f"{control(dataset_id)}/{made['filterGroupId']}"
    change = body | {"filterGroupId": made["filterGroupId"], "name": "West", "userIds": ["27"], "groupIds": []}
    changed = (await admin.put(one, json=change)).json()
    assert (changed["userIds"], "groupIds" in changed) == ([27], False)
    for wrong in (
        {"name": ""},
        {"dataSourceId": "other"},
        {"userIds": ["x"]},
        {"parameters": [parameter | {"name": "nope"}]},
        {"parameters": [parameter | {"type": "MOON"}]},
    ):
        assert (await admin.post(control(dataset_id), json=body | wrong)).status_code == 400
        assert (await admin.put(one, json=body | wrong)).status_code == 400
    platform = await bearer(sb)
    seen = (await platform.get(f"/v1/datasets/{dataset_id}/policies/{made['filterGroupId']}")).json()
    assert (seen["name"], seen["users"]) == ("West", [27])
    gone = await admin.delete(one)
    assert (gone.status_code, gone.content) == (200, b"")
    assert (await admin.delete(one)).status_code == 404
    assert (await admin.delete(f"{control(dataset_id)}/{opened['filterGroupId']}")).status_code == 400


async def test_toggle(sb: Sandbox):
    admin = by_token(sb)
    dataset_id = await empty_dataset(sb)
    flags = {"enabled": True, "secured": False, "external": False, "enabledColumn": False}
    assert (await admin.put(control(dataset_id, ""), json=flags)).json() == flags
    assert sb.state.datasets[dataset_id].pdp_enabled
    assert (await admin.get(control(dataset_id, "", 2))).json() == flags
    assert (await admin.put(control(dataset_id, ""), json={"enabled": False})).status_code == 400
    for name in ("secured", "external", "enabledColumn"):
        assert (await admin.put(control(dataset_id, ""), json=flags | {name: True})).json() == flags | {name: True}
        assert (await admin.get(control(dataset_id, "", 2))).json() == flags | {name: True}
    await admin.put(control(dataset_id, ""), json=flags | {"enabled": False})
    assert not sb.state.datasets[dataset_id].pdp_enabled
    for rest in ("/policy-group", "/column-policy-mapping"):
        assert (await admin.get(control(dataset_id, rest, 2))).json() == []


# what a policy lets through


@pytest.fixture
def reader(sb: Sandbox) -> User:
    return sb.add_user("Re Ader", "reader@example.com", employeeLocation="West", reportsTo=str(sb.admin.id))


@pytest.fixture
def dataset(sb: Sandbox) -> Dataset:
    made = Dataset("d", "Sales", "", sb.admin.id, 5, [*COLUMNS, {"type": "STRING", "name": 'odd "name"'}], 0, 0)
    made.pdp_enabled = True
    sb.state.datasets["d"] = made
    return made


def seen_by(sb: Sandbox, dataset: Dataset, user: User) -> list[int]:
    """The `qty` of the rows that somebody may see, by asking DuckDB."""
    condition = policies.condition(sb.state, dataset, user)
    connection = duckdb.connect()
    connection.execute(
        '''CREATE TABLE data AS SELECT * FROM (VALUES
        ('West', 1, 1.5::DECIMAL(38, 18), DATE '2024-01-01', TIMESTAMP '2024-01-01 10:00:00', 0.25::DOUBLE, 'a'),
        ('East', 2, 2.25, DATE '2024-01-02', TIMESTAMP '2024-01-02 11:30:15', 0.5, 'b'),
        ('west', 3, 3, DATE '2024-01-03', NULL, 1e300, '10% off'),
        ('O''Brien', 4, -4, NULL, NULL, NULL, '10_off'),
        (NULL, 5, NULL, NULL, NULL, NULL, NULL)
        ) t(region, qty, price, day, "at time", share, "odd ""name""")'''
    )
    found_rows = connection.table("data").filter(condition or "TRUE").order("qty").fetchall()
    return [row[1] for row in found_rows]


def name(sb: Sandbox, dataset: Dataset, *filters: dict[str, Any], **people: Any) -> Policy:
    policy = Policy(0, dataset.id, "p", filters=policies.checked(dataset, list(filters)), **people)
    policies.add(sb.state, dataset, policy)
    return policy


def rule(column: str, operator: str, *values: str, **more: Any) -> dict[str, Any]:
    return {"column": column, "operator": operator, "values": list(values), **more}


EVERYTHING = [1, 2, 3, 4, 5]


def test_who_is_in_no_policy(sb: Sandbox, dataset: Dataset, reader: User):
    steward = sb.add_user("St Eward", "st@example.com", role_id=700_000_001)
    assert seen_by(sb, dataset, reader) == []
    assert policies.condition(sb.state, dataset, reader) == "FALSE"
    assert policies.condition(sb.state, dataset, sb.admin) is None
    assert policies.condition(sb.state, dataset, steward) is None
    dataset.owner_id = reader.id
    assert policies.condition(sb.state, dataset, reader) is None
    dataset.pdp_enabled = False
    assert policies.condition(sb.state, dataset, sb.add_user("X", "x@example.com")) is None


def test_policies_add_up(sb: Sandbox, dataset: Dataset, reader: User):
    group = sb.add_group("Readers", [reader.id])
    name(sb, dataset, rule("region", "EQUALS", "West", "East"), rule("qty", "GREATER_THAN", "1"), user_ids=[reader.id])
    assert seen_by(sb, dataset, reader) == [2]
    name(sb, dataset, rule("qty", "EQUALS", "5"), group_ids=[group.id])
    assert seen_by(sb, dataset, reader) == [2, 5]
    name(sb, dataset, rule("qty", "EQUALS", "4"), user_ids=[5])
    assert seen_by(sb, dataset, reader) == [2, 5]
    group.active = False
    assert seen_by(sb, dataset, reader) == [2]


def test_one_who_manages_it_is_held_by_a_policy_that_names_him(sb: Sandbox, dataset: Dataset, reader: User):
    steward = sb.add_user("St Eward", "st@example.com", role_id=700_000_001)
    name(sb, dataset, rule("region", "EQUALS", "West"), user_ids=[steward.id, sb.admin.id])
    assert seen_by(sb, dataset, steward) == [1]
    assert seen_by(sb, dataset, sb.admin) == EVERYTHING  # the open policy names the owner
    opened = next(policy for policy in sb.state.policies.values() if policy.type == "open")
    opened.user_ids = [reader.id]
    assert seen_by(sb, dataset, sb.admin) == [1]
    assert seen_by(sb, dataset, reader) == EVERYTHING


@pytest.mark.parametrize(
    ("row_filter", "expected"),
    [
        (rule("region", "EQUALS", "West"), [1]),
        (rule("REGION", "EQUALS", "wEST", ignoreCase=True), [1, 3]),
        (rule("region", "EQUALS", "O'Brien"), [4]),
        (rule("region", "EQUALS", "' OR TRUE --"), []),
        (rule("region", "EQUALS", "a\0b"), []),
        (rule("region", "EQUALS", "West", **{"not": True}), [2, 3, 4]),
        (rule("region", "LIKE", "%est"), [1, 3]),
        (rule("region", "LIKE", "W%", ignoreCase=True), [1, 3]),
        (rule("region", "BEGINS_WITH", "W"), [1]),
        (rule("region", "ENDS_WITH", "ST", ignoreCase=True), [1, 2, 3]),
        (rule("region", "CONTAINS", "as", "'"), [2, 4]),
        (rule('odd "name"', "CONTAINS", "%"), [3]),
        (rule('odd "name"', "BEGINS_WITH", "10_"), [4]),
        (rule("qty", "EQUALS", "1", "2.0"), [1, 2]),
        (rule("qty", "GREATER_THAN", "3"), [4, 5]),
        (rule("qty", "LESS_THAN", "2"), [1]),
        (rule("qty", "GREATER_THAN_EQUAL", "4"), [4, 5]),
        (rule("qty", "LESS_THAN_EQUAL", "2"), [1, 2]),
        (rule("qty", "BETWEEN", "2", "3"), [2, 3]),
        (rule("qty", "BETWEEN", "2", "3", **{"not": True}), [1, 4, 5]),
        (rule("qty", "EQUALS", "many"), []),
        (rule("qty", "EQUALS", "many", **{"not": True}), []),
        (rule("qty", "LESS_THAN", "1e999999999"), []),
        (rule("qty", "CONTAINS", "3"), [3]),
        (rule("price", "EQUALS", "1.50"), [1]),
        (rule("price", "LESS_THAN", "0"), [4]),
        (rule("price", "LESS_THAN", "1" + "0" * 25), [1, 2, 3, 4]),
        (rule("price", "GREATER_THAN", "0." + "0" * 25 + "1"), [1, 2, 3]),
        (rule("qty", "LESS_THAN", "1" + "0" * 25), EVERYTHING),
        (rule("qty", "GREATER_THAN", "3.5"), [4, 5]),
        (rule("qty", "LESS_THAN", "1." + "0" * 25 + "1"), []),
        (rule("share", "GREATER_THAN", "1e200"), [3]),
        (rule("day", "EQUALS", "2024-01-02"), [2]),
        (rule("day", "GREATER_THAN", "2024-01-01"), [2, 3]),
        (rule("day", "EQUALS", "soon"), []),
        (rule("at time", "BETWEEN", "2024-01-01", "2024-01-02T12:00:00"), [1, 2]),
        (rule("region", "EQUALS", "domo.policy.employee_location", type="DYNAMIC"), [1]),
        (rule("region", "EQUALS", "domo.policy.moon", type="DYNAMIC"), []),
        (rule("region", "EQUALS", "domo.policy.moon", type="DYNAMIC", **{"not": True}), []),
    ],
)
def test_operators(sb: Sandbox, dataset: Dataset, reader: User, row_filter: dict[str, Any], expected: list[int]):
    name(sb, dataset, row_filter, user_ids=[reader.id])
    assert seen_by(sb, dataset, reader) == expected


def test_those_who_report_to_him(sb: Sandbox, dataset: Dataset, reader: User):
    sb.add_user("A", "a@example.com", reportsTo=str(reader.id), employeeId="West")
    sb.add_user("B", "b@example.com", reportsTo=str(reader.id), employeeId="East")
    sb.add_user("C", "c@example.com", employeeId="west")
    managed = rule("region", "EQUALS", "domo.policy.managed_employee_id", type="DYNAMIC")
    name(sb, dataset, managed, user_ids=[reader.id])
    assert seen_by(sb, dataset, reader) == [1, 2]


def test_a_filter_of_a_column_that_is_gone_hides_everything(sb: Sandbox, dataset: Dataset, reader: User):
    name(sb, dataset, rule("region", "EQUALS", "West", **{"not": True}), user_ids=[reader.id])
    dataset.columns = dataset.columns[1:]
    assert policies.condition(sb.state, dataset, reader) == "FALSE"


# wherever rows are read


async def test_queries_obey(sb: Sandbox, reader: User):
    sales = await filled(sb)
    sales.shares[f"USER:{reader.id}"] = "CAN_VIEW"
    statement = {"sql": "SELECT qty FROM table ORDER BY qty"}
    mine = as_user(sb, reader)
    query = f"/api/query/v1/execute/{sales.id}"
    assert found(await mine.post(query, json=statement)) == [[1], [2], [3], [4], [5]]
    flags = {"enabled": True, "secured": False, "external": False, "enabledColumn": False}
    await by_token(sb).put(control(sales.id, ""), json=flags)
    hidden = await mine.post(query, json=statement)
    assert (hidden.status_code, hidden.json()["numRows"]) == (200, 0)
    assert len(found(await by_token(sb).post(query, json=statement))) == 5
    name(sb, sales, rule("region", "EQUALS", "West", ignoreCase=True), user_ids=[reader.id])
    assert found(await mine.post(query, json=statement)) == [[1], [3]]
    sneaky = {"sql": "SELECT (SELECT COUNT(*) FROM data) FROM table WHERE 1 = 1 OR 1 = 1"}
    assert found(await mine.post(query, json=sneaky)) == [[2], [2]]
    next(iter(sb.state.api_clients.values())).user_id = reader.id
    platform = await bearer(sb)
    assert found(await platform.post(f"/v1/datasets/query/execute/{sales.id}", json=statement)) == [[1], [3]]


async def test_exports_obey(sb: Sandbox, reader: User):
    sales = await filled(sb)
    sales.shares[f"USER:{reader.id}"] = "CAN_VIEW"
    policies.switch(sb.state, sales, on=True)
    name(sb, sales, rule("region", "EQUALS", "West", ignoreCase=True), user_ids=[reader.id])
    next(iter(sb.state.api_clients.values())).user_id = reader.id
    for client, path, params in (
        (await bearer(sb), f"/v1/datasets/{sales.id}/data", {"includeHeader": "false"}),
        (as_user(sb, reader), f"/api/query/v1/execute/export/{sales.id}", {"accept": "text/csv"}),
    ):
        answer = await client.get(path, params=params, headers={"accept": "text/csv"})
        assert answer.status_code == 200
        assert [line.split(",")[0].strip('"') for line in answer.text.splitlines()] == ["West", "west"]


async def test_a_policy_of_a_column_that_has_no_rows_yet(sb: Sandbox, reader: User):
    """The schema is ahead of the data: nothing can be compared, so nothing is shown, and nothing fails."""
    sales = await filled(sb)
    sales.shares[f"USER:{reader.id}"] = "CAN_VIEW"
    mine = await bearer(sb)
    columns = [*COLUMNS, {"type": "STRING", "name": "team"}]
    await mine.put(f"/v1/datasets/{sales.id}", json={"schema": {"columns": columns}, "pdpEnabled": True})
    name(sb, sales, rule("team", "EQUALS", "a", **{"not": True}), user_ids=[reader.id])
    query = f"/api/query/v1/execute/{sales.id}"
    assert found(await as_user(sb, reader).post(query, json={"sql": "SELECT * FROM table"})) == []
