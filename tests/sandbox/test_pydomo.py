"""The official Python SDK against a served sandbox: nothing changed but the address."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from domokit.sandbox import Sandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pydomo = pytest.importorskip("pydomo")

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


def test_a_wrong_secret_is_refused(server: Sandbox):
    host = server.base_url.removeprefix("http://")
    with pytest.raises(Exception, match="invalid_client"):
        pydomo.Domo(server.client_id, "wrong", api_host=host, use_https=False)


def test_users(server: Sandbox, domo: Any):
    rows = domo.users_list(df_output=False)
    assert [row["email"] for row in rows] == [user.email for user in server.state.users.values()]
    assert len(domo.users_list()) == len(rows)
    made = domo.users_add("Robin New", "robin.py@example.com", "Participant", True)
    assert domo.users_get(made["id"])["role"] == "Participant"
    domo.users_update(made["id"], {"name": "Robin X", "email": "robin.py@example.com", "role": "Editor"})
    assert domo.users_get(made["id"])["name"] == "Robin X"
    domo.users_delete(made["id"])
    assert domo.users_get(made["id"])["deleted"] is True


def test_accounts(server: Sandbox, domo: Any):
    made = domo.accounts_create(name="py", valid=True, type={"id": "domo-csv", "properties": {}})
    assert domo.accounts_get(made["id"]) == made
    assert made in domo.accounts_list()
    assert domo.accounts_update(made["id"], name="py 2")["name"] == "py 2"
    domo.accounts_delete(made["id"])
    with pytest.raises(Exception, match="was not found"):
        domo.accounts_get(made["id"])


def test_account_types(domo: Any):
    # pydomo has no client for these; its transport signs and sends.
    rows = domo.transport.get("/v1/account-types", {"limit": 50}).json()
    one = domo.transport.get(f"/v1/account-types/{rows[0]['id']}", {}).json()
    assert one["name"] == rows[0]["name"]


def test_datasets_and_groups(server: Sandbox, domo: Any):
    datasets = list(domo.datasets.list())
    assert {row["id"] for row in datasets} == set(server.state.datasets)
    assert domo.ds_meta(datasets[0]["id"])["schema"]["columns"]
    groups = domo.groups.list(50, 0)
    assert len(domo.groups.list_users(groups[0]["id"], 50, 0)) == groups[0]["memberCount"]


def test_it_renews_its_token(server: Sandbox, domo: Any):
    before = domo.transport.access_token
    domo.transport.token_expiration = 0
    assert domo.users_get(server.admin.id)["email"] == server.username
    assert domo.transport.access_token != before
