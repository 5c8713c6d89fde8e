"""No command shows a secret, in no form, whether it works or fails. (`cli` looks at every output; see conftest.)"""

import pytest

CANARY = "c4nary/of+an account"
UPSERT = (
    "accounts", "upsert", "--name", "etl", "--provider", "snowflake", "--field", "account=xy1", "--field",
    "username=svc", "--secret-field", "password=env:ETL_PASSWORD",
)  # fmt: skip
GENERATE = ("tokens", "generate", "--owner", "ADMIN", "--name", "ci", "--days", "3")
ROTATE = ("rotate", "--owner", "ADMIN", "--name", "ci", "--account", "ci token")
COMMANDS = {
    "rotate": ROTATE,
    "rotate readable": (*ROTATE, "--allow-external-use"),
    "rotate the other kind": (*ROTATE, "--provider", "domo-access-token"),
    "generate to account": (*GENERATE, "--account", "ci token"),
    "generate to file": (*GENERATE, "--out", "FILE"),
    "tokens list": ("tokens", "list", "--all"),
    "revoke": ("tokens", "revoke", "TOKEN", "--yes"),
    "accounts list": ("accounts", "list"),
    "accounts get": ("accounts", "get", "warehouse", "--config"),
    "accounts get store": ("accounts", "get", "etl credentials", "--config"),
    "upsert": UPSERT,
    "users list": ("users", "list"),
    "users get": ("users", "get", "ADMIN"),
    "whoami": ("whoami",),
}


@pytest.fixture
def filled(cli, served, monkeypatch, tmp_path):
    """Fills in what stands in capitals."""
    monkeypatch.setenv("ETL_PASSWORD", CANARY)
    cli.seen.add(CANARY)
    token = served.add_access_token(served.admin.id, "ci")
    values = {"ADMIN": served.username, "FILE": str(tmp_path / "ci.token"), "TOKEN": str(token.id)}
    return lambda command: [values.get(part, part) for part in COMMANDS[command]]


@pytest.mark.parametrize("form", [(), ("--json",), ("--verbose",)], ids=["table", "json", "verbose"])
@pytest.mark.parametrize("command", COMMANDS)
def test_when_it_works(cli, filled, command, form):
    ran = cli(*filled(command), *form)
    assert ran.out
    assert bool(ran.err) == (form == ("--verbose",))


@pytest.mark.parametrize("how", ["token", "client"])
def test_with_other_credentials(cli, served, filled, monkeypatch, how):
    if how == "token":
        monkeypatch.setenv("DOMO_ACCESS_TOKEN", served.access_token)
    else:
        monkeypatch.delenv("DOMO_PASSWORD")
        monkeypatch.setenv("DOMO_CLIENT_ID", served.client_id)
        monkeypatch.setenv("DOMO_CLIENT_SECRET", served.client_secret)
    for command in ("whoami", "users list", "accounts list"):
        cli(*filled(command), "--verbose")


@pytest.mark.parametrize("form", [(), ("--json", "--verbose")], ids=["plain", "verbose"])
@pytest.mark.parametrize(
    ("command", "method", "path"),
    [
        ("rotate", "POST", "/api/data/v1/accounts"),
        ("rotate", "GET", "/api/content/v2/users/me"),
        ("rotate", "DELETE", "/api/data/v1/accesstokens"),
        ("generate to file", "POST", "/api/data/v1/accesstokens"),
        ("upsert", "POST", "/api/data/v1/accounts"),
        ("whoami", "POST", "/api/content/v2/authentication"),
    ],
)
def test_when_it_fails(cli, served, filled, command, method, path, form):
    if method == "DELETE":  # its answer has no body that could be cut
        served.misbehave("status", times=None, method=method, path=path, status=500)
    else:
        served.misbehave("half_json", times=None, method=method, path=path)
    ran = cli(*filled(command), *form, code=1)
    assert ran.err
    assert ("Traceback" in ran.err) == ("--verbose" in form)
