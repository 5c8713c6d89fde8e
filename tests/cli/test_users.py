"""`domokit users …` and `domokit whoami`"""

import pytest


def test_list(cli, served):
    rows = cli("users", "list", "--json").json
    assert {row["id"] for row in rows} == set(served.state.users)
    table = cli("users", "list").out
    for user in served.state.users.values():
        assert user.email in table


def test_list_of_an_api_client(cli, served, monkeypatch):
    monkeypatch.delenv("DOMO_PASSWORD")
    monkeypatch.setenv("DOMO_CLIENT_ID", served.client_id)
    monkeypatch.setenv("DOMO_CLIENT_SECRET", served.client_secret)
    assert len(cli("users", "list", "--json").json) == len(served.state.users)
    identity = cli("whoami", "--json").json
    assert identity["signed_in_with"] == "OAuthClientAuth"
    assert identity["instance"] == served.instance


def test_search(cli, served):
    served.add_user("Zoë Ångström", "zoe@example.com")
    assert [row["name"] for row in cli("users", "list", "--search", "ZOE", "--json").json] == ["Zoë Ångström"]
    assert "Zoë Ångström" in cli("users", "list", "--search", "zoe").out
    assert cli("users", "list", "--search", "nobody").out == "There is no such user.\n"


def test_get(cli, served):
    by_id = cli("users", "get", str(served.admin.id), "--json").json
    assert by_id["email"] == served.username
    assert by_id["created_at"].endswith("Z")
    assert cli("users", "get", served.username.upper(), "--json").json["id"] == by_id["id"]
    assert served.username in cli("users", "get", served.username).out


def test_get_nobody(cli):
    assert "no user with the address" in cli("users", "get", "no@example.com", code=1).err
    cli("users", "get", "5", code=1)
    assert "is not an e-mail address" in cli("users", "get", "Ann", code=2).err


@pytest.mark.parametrize("how", ["password", "token"])
def test_whoami(cli, served, monkeypatch, how):
    if how == "token":
        monkeypatch.setenv("DOMO_ACCESS_TOKEN", served.access_token)
    identity = cli("whoami", "--json").json
    assert (identity["id"], identity["email"]) == (served.admin.id, served.username)
    assert identity["signed_in_with"] == {"password": "SessionAuth", "token": "AccessTokenAuth"}[how]
    assert served.username in cli("whoami").out


def test_with_the_embedded_one(embedded):
    me = embedded("whoami", "--json").json
    assert embedded("users", "get", str(me["id"]), "--json").json["email"] == me["email"]
    assert me["email"] in embedded("users", "list").out
    assert me["email"] in embedded("whoami").out


def test_names_cannot_steer_the_terminal(cli, served):
    served.add_user("Mal\x1b[31mlory [red]x[/red] \n second line", "mal@example.com")
    out = cli("users", "list", "--search", "mal@").out
    assert "\x1b" not in out
    assert "Mal\\x1b[31mlory [red]x[/red]" in out
    assert len(out.splitlines()) == 2
