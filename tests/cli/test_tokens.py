"""`domokit tokens …`"""

import os
import stat
from datetime import timedelta

import pytest

from .helpers import changing


@pytest.fixture
def tokens(served):
    """One of each sort, by what it is; beside the administrator's own, 'sandbox', they are all there are."""
    for token in list(served.state.access_tokens.values()):
        if token.token != served.access_token:
            del served.state.access_tokens[token.id]
    leaver = served.add_user("Lea Ver", "lea@example.com")
    made = {
        "long": served.add_access_token(served.admin.id, "long", lifetime=200 * 86400),
        "soon": served.add_access_token(served.admin.id, "soon", lifetime=3 * 86400),
        "dead": served.add_access_token(served.admin.id, "dead", lifetime=-86400),
        "left": served.add_access_token(leaver.id, "left", lifetime=50 * 86400),
    }
    leaver.deleted = True
    return {name: token.id for name, token in made.items()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"long", "soon", "left"}),
        (("--expired",), {"dead"}),
        (("--all",), {"long", "soon", "left", "dead"}),
        (("--expiring-within", "5"), {"soon"}),
        (("--expiring-within", "60"), {"soon", "left"}),
        (("--leavers",), {"left"}),
        (("--leavers", "--expiring-within", "5"), set()),
        (("--name", "long"), {"long"}),
        (("--owner", "ADMIN"), {"long", "soon"}),
        (("--owner", "ADMIN@"), {"long", "soon"}),
    ],
)
def test_list(cli, served, tokens, options, expected):
    by = {"ADMIN": str(served.admin.id), "ADMIN@": served.username}
    options = [by.get(option, option) for option in options]
    rows = cli("tokens", "list", *options, "--json").json
    assert {row["name"] for row in rows} - {"sandbox"} == expected
    table = cli("tokens", "list", *options).out
    for name, token_id in tokens.items():
        assert (str(token_id) in table) == (name in expected)


def test_list_is_sorted_and_complete(cli, tokens):
    rows = cli("tokens", "list", "--all", "--json").json
    assert [row["name"] for row in rows] == ["dead", "soon", "left", "long", "sandbox"]
    assert set(rows[0]) == {
        "id", "name", "owner_id", "owner_name", "owner_email", "expires_at", "is_expired", "days_left",
    }  # fmt: skip
    assert [row["is_expired"] for row in rows] == [True, False, False, False, False]
    assert rows[1]["days_left"] == 3.0
    assert rows[1]["expires_at"].endswith("Z")


def test_list_of_nothing(cli):
    assert cli("tokens", "list", "--name", "nothing").out == "There is no such access token.\n"
    assert cli("tokens", "list", "--name", "nothing", "--json").json == []


@pytest.mark.parametrize(
    "options",
    [
        ("--expired", "--all"),
        ("--leavers", "--expired"),
        ("--expired", "--expiring-within", "5"),
        ("--expiring-within", "0"),
    ],
)
def test_list_refuses_what_makes_no_sense(cli, served, options):
    cli("tokens", "list", *options, code=2)
    assert not served.requests


GENERATE = ("tokens", "generate", "--name", "ci", "--days", "30")


def test_generate_into_a_file(cli, served, tmp_path):
    path = tmp_path / "ci.token"
    facts = cli(*GENERATE, "--owner", served.username, "--out", str(path), "--json").json
    token = served.state.access_tokens[facts["id"]]
    assert path.read_text() == token.token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert facts["file"] == str(path)
    assert facts["owner_id"] == token.owner_id == served.admin.id
    assert served.clock.now_ms() + timedelta(days=29).total_seconds() * 1000 < token.expires
    assert os.listdir(tmp_path) == ["ci.token"]


def test_generate_does_not_overwrite_unless_forced(cli, served, tmp_path):
    path = tmp_path / "ci.token"
    path.write_text("mine")
    path.chmod(0o644)
    ran = cli(*GENERATE, "--owner", served.username, "--out", str(path), code=2)
    assert "--force" in ran.err
    assert path.read_text() == "mine"
    assert changing(served) == []
    facts = cli(*GENERATE, "--owner", served.username, "--out", str(path), "--force", "--json").json
    assert path.read_text() == served.state.access_tokens[facts["id"]].token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_whose_file_appears_meanwhile_is_revoked(cli, served, tmp_path):
    path = tmp_path / "ci.token"

    def occupy(phase, record):
        if record.method == "POST" and record.path == "/api/data/v1/accesstokens":
            path.write_text("mine")

    served.watch(occupy)
    before = dict(served.state.access_tokens)
    ran = cli(*GENERATE, "--owner", served.username, "--out", str(path), code=1)
    assert "revoked again" in ran.err
    assert served.state.access_tokens == before
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["ci.token"]


def test_a_file_that_cannot_be_is_told_before_a_token_is_made(cli, served, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "ci.token"):
        cli(*GENERATE, "--owner", served.username, "--out", str(path), code=2)
    assert changing(served) == []


@pytest.mark.parametrize("provider", ["abstract-credential-store", "domo-access-token"])
def test_generate_into_an_account_leaves_the_others(cli, served, provider):
    older = served.add_access_token(served.admin.id, "ci")
    options = ("--owner", served.username, "--account", "ci token", "--provider", provider)
    facts = cli(*GENERATE, *options, "--json").json
    config = str(served.account_config(facts["account_id"]))
    assert served.state.access_tokens[facts["id"]].token in config
    assert older.id in served.state.access_tokens
    assert facts["account_name"] == "ci token"
    assert "is in account ci token." in cli(*GENERATE, *options).out


def test_generate_wants_one_place(cli, served, tmp_path):
    cli(*GENERATE, "--owner", served.username, code=2)
    cli(*GENERATE, "--owner", served.username, "--account", "a", "--out", str(tmp_path / "f"), code=2)
    assert not served.requests


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("where", ["file", "account"])
def test_generate_dry_run(cli, served, tmp_path, where, form):
    path = tmp_path / "ci.token"
    place = ("--out", str(path)) if where == "file" else ("--account", "ci token")
    ran = cli(*GENERATE, "--owner", served.username, *place, "--dry-run", *form)
    assert changing(served) == []
    assert served.requests
    assert os.listdir(tmp_path) == []
    if form:
        assert ran.json["dry_run"] is True
        assert ran.json["id"] is None
    else:
        assert "would be generated" in ran.out


def test_revoke_shows_and_refuses_without_a_terminal(cli, served, tokens):
    ran = cli("tokens", "revoke", str(tokens["long"]), code=2)
    assert "--yes" in ran.err
    assert f"{tokens['long']}  long" in ran.out
    assert tokens["long"] in served.state.access_tokens
    assert cli("tokens", "revoke", str(tokens["long"]), "--json", code=2).out == ""


def test_revoke(cli, served, tokens):
    out = cli("tokens", "revoke", str(tokens["long"]), "--yes").out
    assert f"Access token {tokens['long']} was revoked." in out
    facts = cli("tokens", "revoke", str(tokens["soon"]), "--yes", "--json").json
    assert (facts["id"], facts["revoked"], facts["dry_run"]) == (tokens["soon"], True, False)
    assert not {tokens["long"], tokens["soon"]} & set(served.state.access_tokens)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_revoke_dry_run_asks_nothing(cli, served, tokens, form):
    ran = cli("tokens", "revoke", str(tokens["long"]), "--dry-run", *form)
    assert changing(served) == []
    assert tokens["long"] in served.state.access_tokens
    if form:
        assert (ran.json["revoked"], ran.json["dry_run"]) == (False, True)
    else:
        assert "would be revoked" in ran.out


def test_revoke_of_what_is_not_there(cli):
    assert "there is no access token 5" in cli("tokens", "revoke", "5", "--yes", code=1).err


def test_the_token_in_use_is_spared_unless_insisted(cli, served, monkeypatch):
    token = served.add_access_token(served.admin.id, "own")
    monkeypatch.setenv("DOMO_ACCESS_TOKEN", token.token)
    ran = cli("tokens", "revoke", str(token.id), "--yes", code=2)
    assert "--even-if-in-use" in ran.err
    assert token.id in served.state.access_tokens
    cli("tokens", "revoke", str(token.id), "--yes", "--even-if-in-use")
    assert token.id not in served.state.access_tokens


def test_an_api_client_cannot(cli, served, monkeypatch):
    monkeypatch.delenv("DOMO_PASSWORD")
    monkeypatch.setenv("DOMO_CLIENT_ID", served.client_id)
    monkeypatch.setenv("DOMO_CLIENT_SECRET", served.client_secret)
    ran = cli("tokens", "list", "--json", code=1)
    assert ran.error["error"] == "UnsupportedByAuth"
    assert "DOMO_ACCESS_TOKEN" in ran.error["hint"]


def test_all_of_it_with_the_embedded_one(embedded, tmp_path):
    path = tmp_path / "ci.token"
    owner = embedded("whoami", "--json").json["email"]
    made = embedded(*GENERATE, "--owner", owner, "--out", str(path), "--json").json
    assert embedded.now.signs_in(path.read_text()) == embedded.now.admin.id
    assert "ci" in embedded("tokens", "list").out
    embedded("tokens", "revoke", str(made["id"]), "--yes")
    assert embedded.now.signs_in(path.read_text()) is None
