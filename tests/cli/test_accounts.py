"""`domokit accounts …`"""

import pytest

from .helpers import changing

UPSERT = ("accounts", "upsert", "--name", "etl", "--provider", "snowflake")
PLAIN = ("--field", "account=xy1", "--field", "username=svc")
CANARY = "c4nary-of-an-account"


def test_list(cli, served):
    rows = cli("accounts", "list", "--json").json
    assert {row["id"] for row in rows} == set(served.state.accounts)
    assert rows[0]["modified_at"].endswith("Z")
    table = cli("accounts", "list").out.splitlines()
    assert table[0].split()[:2] == ["id", "name"]
    assert len(table) == len(rows) + 1
    assert [row["name"] for row in cli("accounts", "list", "--name", "WARE", "--json").json] == ["warehouse"]
    only = cli("accounts", "list", "--provider", "snowflake", "--json").json
    assert [row["provider_type"] for row in only] == ["snowflake"]
    assert cli("accounts", "list", "--name", "nothing").out == "There is no such account.\n"


def test_list_with_an_api_client(cli, served, monkeypatch):
    monkeypatch.delenv("DOMO_PASSWORD")
    monkeypatch.setenv("DOMO_CLIENT_ID", served.client_id)
    monkeypatch.setenv("DOMO_CLIENT_SECRET", served.client_secret)
    assert "warehouse" in cli("accounts", "list").out


def test_get_by_id_and_by_name(cli, served):
    by_name = cli("accounts", "get", "warehouse", "--json").json
    assert cli("accounts", "get", str(by_name["id"]), "--json").json == by_name
    assert "config" not in by_name
    out = cli("accounts", "get", "warehouse").out
    assert f"id                  {by_name['id']}" in out
    assert "provider type       snowflake" in out


def test_get_with_config_shows_no_secret(cli, served):
    # This account's secrets could be read in clear; the command still does not ask for them.
    config = cli("accounts", "get", "warehouse", "--config", "--json").json["config"]
    assert config["account"] == "ab12345"
    assert config["password"] == "***"
    assert "password: ***" in cli("accounts", "get", "warehouse", "--config").out
    assert not [record for record in served.requests if record.query.get("unmask") == "true"]


def test_get_what_is_not_there_or_there_twice(cli, served):
    assert "'nothing'" in cli("accounts", "get", "nothing", code=1).err
    first, second, *_ = served.state.accounts.values()
    second.display_name = first.display_name
    ran = cli("accounts", "get", first.display_name, code=1)
    assert f"{first.id}, {second.id}" in ran.err


def test_upsert_creates_then_updates(cli, served, monkeypatch, tmp_path):
    monkeypatch.setenv("ETL_PASSWORD", CANARY)
    cli.seen.add(CANARY)
    made = cli(*UPSERT, *PLAIN, "--secret-field", "password=env:ETL_PASSWORD", "--json").json
    assert made["action"] == "create"
    assert served.account_config(made["id"]) == {"account": "xy1", "username": "svc", "password": CANARY}

    secret = tmp_path / "secret"
    secret.write_text(CANARY + "-2\n")
    again = cli(*UPSERT, *PLAIN, "--secret-field", f"password=file:{secret}", "--json").json
    assert (again["action"], again["id"]) == ("update", made["id"])
    assert served.account_config(made["id"])["password"] == CANARY + "-2"
    assert "Account 'etl' was updated." in cli(*UPSERT, *PLAIN, "--secret-field", f"password=file:{secret}").out


def test_upsert_allows_external_use(cli, served, monkeypatch):
    monkeypatch.setenv("ETL_PASSWORD", CANARY)
    secret = ("--secret-field", "password=env:ETL_PASSWORD")
    made = cli(*UPSERT, *PLAIN, *secret, "--allow-external-use", "--json").json
    assert served.state.accounts[made["id"]].allow_external_use is True
    served.state.accounts[made["id"]].allow_external_use = False
    cli(*UPSERT, *PLAIN, *secret)
    assert served.state.accounts[made["id"]].allow_external_use is False
    cli(*UPSERT, *PLAIN, *secret, "--allow-external-use")
    assert served.state.accounts[made["id"]].allow_external_use is True


def test_typed_providers(cli, served, monkeypatch):
    monkeypatch.setenv("ETL", '{"user": "svc"}')
    made = cli(
        "accounts", "upsert", "--name", "store", "--provider", "abstract-credential-store",
        "--secret-field", "credentials=env:ETL", "--json",
    ).json  # fmt: skip
    assert served.account_config(made["id"]) == {"credentials": '{"user": "svc"}'}


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("exists", [False, True])
def test_upsert_dry_run(cli, served, monkeypatch, form, exists):
    monkeypatch.setenv("ETL_PASSWORD", CANARY)
    cli.seen.add(CANARY)
    secret = ("--secret-field", "password=env:ETL_PASSWORD")
    if exists:
        cli(*UPSERT, *PLAIN, *secret)
        served.requests.clear()
    ran = cli(*UPSERT, *PLAIN, *secret, "--dry-run", *form)
    assert changing(served) == []
    assert served.requests
    if form:
        assert ran.json["action"] == ("update" if exists else "create")
        assert ran.json["dry_run"] is True
        assert (ran.json["id"] is None) != exists
    else:
        assert f"would be {'updated' if exists else 'created'}" in ran.out


def test_dry_run_finds_a_wrong_field(cli):
    ran = cli(*UPSERT, *PLAIN, "--field", "colour=red", "--dry-run", code=2)
    assert "'colour'" in ran.err


@pytest.mark.parametrize("name", ["password", "apiKey", "client-secret", "domoAccessToken", "credentials"])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(cli, served, name):
    cli.seen.add(CANARY)
    for form in ((), ("--json",), ("--verbose",)):
        ran = cli(*UPSERT, "--field", f"{name}={CANARY}", *form, code=2)
        assert f"--secret-field {name}=env:" in ran.err
    assert not served.requests


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "needs a configuration"),
        (("--field", "account"), "--field takes"),
        (("--field", "=x"), "--field takes"),
        (("--field", "role=a", "--field", "role=b"), "twice"),
        (("--secret-field", f"password={CANARY}"), "where the secret is"),
        (("--secret-field", "password=env:"), "where the secret is"),
        (("--secret-field", "password=env:NOT_SET"), "NOT_SET is not set"),
        (("--secret-field", "password=file:/no/such/file"), "/no/such/file cannot be read"),
        (("--secret-field", "password=prompt"), "no terminal to ask for the value of password"),
    ],
)
def test_what_cannot_be_is_told(cli, served, options, said):
    cli.seen.add(CANARY)
    ran = cli(*UPSERT, *options, code=2)
    assert said in ran.err
    assert not served.requests


def test_empty_and_undecodable_secret_files(cli, tmp_path):
    path = tmp_path / "secret"
    path.write_text("\n")
    assert "is empty" in cli(*UPSERT, "--secret-field", f"password=file:{path}", code=2).err
    path.write_bytes(b"\xff\xfe\x00")
    assert "no text in UTF-8" in cli(*UPSERT, "--secret-field", f"password=file:{path}", code=2).err


def test_with_the_embedded_one(embedded, monkeypatch):
    monkeypatch.setenv("ETL_PASSWORD", CANARY)
    made = embedded(*UPSERT, *PLAIN, "--secret-field", "password=env:ETL_PASSWORD", "--json").json
    assert "etl" in embedded("accounts", "list").out
    assert embedded("accounts", "get", "etl", "--config", "--json").json["config"]["password"] == "***"
    assert embedded.now.account_config(made["id"])["password"] == CANARY
