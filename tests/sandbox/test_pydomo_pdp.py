"""The official Python SDK's calls for datasets, queries and row policies, against a served sandbox."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from domokit.sandbox import Sandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pydomo = pytest.importorskip("pydomo")
    from pydomo import datasets as kit

# It opens a connection for each call and leaves closing it to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox().serve() as sb:
        yield sb


@pytest.fixture
def domo(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NO_PROXY", "*")
    host = server.base_url.removeprefix("http://")
    return pydomo.Domo(server.client_id, server.client_secret, api_host=host, use_https=False)


@pytest.fixture
def dataset(domo: Any) -> Iterator[Any]:
    request = kit.DataSetRequest()
    request.name, request.description = "Leonhard Euler Party", "Mathematician Guest List"
    request.schema = kit.Schema([kit.Column(kit.ColumnType.STRING, "Friend"), kit.Column(kit.ColumnType.LONG, "Age")])
    made = domo.datasets.create(request)
    yield made
    domo.datasets.delete(made["id"])


def test_life_of_a_dataset(server: Sandbox, domo: Any):
    request = kit.DataSetRequest()
    request.name, request.schema = "Guests", kit.Schema([kit.Column(kit.ColumnType.STRING, "Friend")])
    made = domo.datasets.create(request)
    assert domo.datasets.get(made["id"]) == made
    update = kit.DataSetRequest()
    update.name = "Guests, updated"
    update.schema = kit.Schema(
        [kit.Column(kit.ColumnType.STRING, "Friend"), kit.Column(kit.ColumnType.STRING, "Attending")]
    )
    changed = domo.datasets.update(made["id"], update)
    assert changed["name"] == "Guests, updated"
    assert [column["name"] for column in changed["schema"]["columns"]] == ["Friend", "Attending"]
    named = list(domo.datasets.list(sort=kit.Sorting.NAME, name_like="guests"))
    assert [row["id"] for row in named] == [made["id"]]
    domo.datasets.delete(made["id"])
    assert made["id"] not in server.state.datasets
    with pytest.raises(Exception, match="No such dataset"):
        domo.datasets.get(made["id"])


def test_walking_the_list(server: Sandbox, domo: Any, dataset: Any):
    rows = list(domo.datasets.list(sort=kit.Sorting.NAME, per_page=2))
    assert [row["id"] for row in rows] == [
        each.id for each in sorted(server.state.datasets.values(), key=lambda each: each.name.lower())
    ]
    assert len(list(domo.datasets.list(per_page=2, limit=3))) == 3


def test_life_of_a_policy(server: Sandbox, domo: Any, dataset: Any):
    row_filter = kit.PolicyFilter()
    row_filter.column, row_filter.operator, row_filter.values = "Friend", kit.FilterOperator.EQUALS, ["Isaac Newton"]
    request = kit.Policy()
    request.name, request.filters, request.type = "Only Newton", [row_filter], kit.PolicyType.USER
    request.users, request.groups = [998, 999], [99, 100]
    made = domo.datasets.create_pdp(dataset["id"], request)
    assert domo.datasets.get_pdp(dataset["id"], made["id"]) == made
    assert made["filters"][0]["values"] == ["Isaac Newton"]
    assert [each["name"] for each in domo.datasets.list_pdps(dataset["id"])] == ["All Rows", "Only Newton"]
    second = kit.PolicyFilter()
    second.column, second.operator, second.values = "Age", kit.FilterOperator.GREATER_THAN, ["20"]
    setattr(second, "not", True)
    request.filters, request.name = [row_filter, second], "Newton, young"
    changed = domo.datasets.update_pdp(dataset["id"], made["id"], request)
    assert ([each["not"] for each in changed["filters"]], changed["users"]) == ([False, True], [998, 999])
    domo.datasets.delete_pdp(dataset["id"], made["id"])
    assert [each["name"] for each in domo.datasets.list_pdps(dataset["id"])] == ["All Rows"]
    with pytest.raises(Exception, match="No such policy"):
        domo.datasets.get_pdp(dataset["id"], made["id"])


def test_the_helpers_for_tables(server: Sandbox, domo: Any, dataset: Any):
    filters = [{"column": "Friend", "values": ["Euler"], "operator": "EQUALS", "not": False}]
    made = domo.pdp_create(dataset["id"], {"name": "p", "filters": filters, "type": "user", "users": [27]})
    assert set(domo.pdp_list(dataset["id"])["name"]) == {"All Rows", "p"}
    domo.datasets.update(dataset["id"], {"pdpEnabled": True})
    assert server.state.datasets[dataset["id"]].pdp_enabled
    domo.pdp_delete(dataset["id"], made["id"])
    assert domo.ds_meta(dataset["id"])["pdpEnabled"] is True
    assert list(domo.ds_list(name_like="euler")["id"]) == [dataset["id"]]


def test_queries(server: Sandbox, domo: Any, dataset: Any):
    domo.datasets.data_import(dataset["id"], "Leonhard,70\nIsaac,84\nEmmy,53\n")
    answer = domo.datasets.query(dataset["id"], "SELECT `Friend`, `Age` FROM table WHERE `Age` > 60 ORDER BY `Age`")
    assert (answer["columns"], answer["rows"]) == (["Friend", "Age"], [["Leonhard", 70], ["Isaac", 84]])
    table = domo.ds_query(dataset["id"], "SELECT COUNT(*) AS n, AVG(`Age`) AS mean FROM table")
    assert table.to_dict("records") == [{"n": 3, "mean": 69.0}]
    reader = server.add_user("Re Ader", f"{dataset['id']}@example.com")
    server.state.datasets[dataset["id"]].owner_id = reader.id
    request = {"name": "p", "type": "user", "users": [server.admin.id]}
    filters = [{"column": "Friend", "values": ["Emmy"], "operator": "EQUALS", "not": False}]
    domo.pdp_create(dataset["id"], request | {"filters": filters})
    domo.datasets.update(dataset["id"], {"pdpEnabled": True})
    assert domo.datasets.query(dataset["id"], "SELECT `Friend` FROM table")["rows"] == [["Emmy"]]
    assert domo.datasets.data_export(dataset["id"], False).split() == ["Emmy,53"]
