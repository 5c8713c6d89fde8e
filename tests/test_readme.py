"""The README's code runs, and its commands are the ones that CI runs."""

import ast
import asyncio
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import domokit
import domokit.oauth
from domokit.cli.app import app
from domokit.workflows.keeping import config, read_config

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()


def blocks(title, language="python"):
    """The blocks of a language below a heading, up to the next one."""
    section = re.split(r"^## ", README, flags=re.MULTILINE)
    (wanted,) = [part for part in section if part.startswith(title)]
    return re.findall(rf"^```{language}\n(.*?)^```", wanted, flags=re.MULTILINE | re.DOTALL)


def run_as_in_a_notebook(*titles):
    """What the names stand for once the blocks below these headings have run, one after the other."""

    async def notebook():
        names = {}
        for block in (block for title in titles for block in blocks(title)):
            code = compile(block, "README", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            outcome = eval(code, names)
            if asyncio.iscoroutine(outcome):
                await outcome
        return names

    return asyncio.run(notebook())


def test_five_minute_tour_runs_as_in_a_notebook(capsys):
    names = run_as_in_a_notebook("Five minutes")
    shown = capsys.readouterr().out

    assert len(blocks("Five minutes")) == 7
    sandbox, result = names["sandbox"], names["result"]
    assert names["me"].email == sandbox.username
    assert names["several"] == names["users"]
    assert sandbox.signs_in(result.token.token.reveal()) == names["ann"].id
    assert [old.id for old in result.revoked] == [names["token"].id]
    assert not names["again"].changed
    assert "Secret(***)" in shown
    assert "GET /api/identity/v1/users/424242: 404" in shown
    assert names["token"].token.reveal() not in shown


def test_rows_go_on_with_the_sandbox(capsys):
    names = run_as_in_a_notebook("Five minutes", "Rows in and out")
    shown = capsys.readouterr().out

    assert len(blocks("Rows in and out")) == 2
    assert names["sandbox"].dataset_rows(names["dataset"].id) == [
        ("0017", "North", 3, 9.5),
        ("0018", "South", 5, 12.25),
    ]
    assert names["table"].num_rows == 2
    assert sorted(names["totals"], key=lambda row: row["region"]) == [
        {"region": "North", "pieces": 3},
        {"region": "South", "pieces": 5},
    ]
    assert "Schema(order_id STRING, region STRING, qty LONG, price DOUBLE)" in shown


def test_tokens_of_a_provider_go_on_with_the_sandbox(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_as_in_a_notebook("Five minutes", "Tokens of any OAuth provider")
    shown = capsys.readouterr().out

    assert len(blocks("Tokens of any OAuth provider")) == 2
    assert names["response"].status_code == 200
    assert names["keeper"].counters == {"started": 1, "succeeded": 1}
    assert "started by client_credentials" in shown
    assert "Secret(***)" in shown
    assert names["token"].access_token.reveal() not in shown
    assert names["token"].access_token.reveal() in (tmp_path / "tokens.json").read_text()


def test_names_in_the_section_on_tokens_are_there():
    section = README.partition("## Tokens of any OAuth provider")[2].partition("\n## ")[0]
    public = {*vars(domokit.oauth), *dir(domokit), *dir(domokit.errors), "TokenStoreConformance", "TokenStore"}
    wanted = set(re.findall(r"`((?:[A-Z][a-z]+){2,})\b", section))
    assert len(wanted) > 12
    assert wanted <= public
    for name in re.findall(r"providers\.(\w+)\(", section):
        assert callable(getattr(domokit.oauth.providers, name))


def test_the_configuration_of_a_keeper_is_one(tmp_path):
    (block,) = blocks("Keep many credentials fresh", "toml")
    (tmp_path / "keep.toml").write_text(block)
    config = read_config(tmp_path / "keep.toml")
    kinds = {credential.kind for credential in config.credentials.values()}
    assert kinds == {"alteryx", "rdp", "domo", "oauth", "access-token"}
    assert len(config.credentials) == len(kinds)
    for reference in ("env", "file", "keyring", "account"):
        assert re.search(rf'= "{reference}:', block), reference


def test_the_commands_of_a_keeper_are_understood():
    (block,) = blocks("Keep many credentials fresh", "sh")
    commands = re.findall(r"^domokit (keep .+?) *#", block, flags=re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        words = command.replace("keep.toml", "no-such-file.toml").split()
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2, done.output  # for want of that file, and for nothing else
        assert "no-such-file.toml cannot be read" in " ".join(done.output.split())


def test_options_block_runs():
    names = {}
    exec(blocks("Proxies")[0], names)
    assert names["options"].retry.attempts == 4


async def test_fixture_example_runs(domo_sandbox, domo_auth):
    (block,) = blocks("Testing your own code")
    names = {}
    exec(block, names)
    await names["test_leavers"](domo_sandbox, domo_auth)
    assert any(request.status == 503 for request in domo_sandbox.requests)
    await domo_auth.aclose()


@pytest.mark.parametrize("mode", ["asyncio_mode", "anyio_mode"])
def test_fixture_example_runs_in_a_fresh_project(pytester, mode):
    (settings,), (block,) = blocks("Testing your own code", "toml"), blocks("Testing your own code")
    assert f'{mode} = "auto"' in settings
    if mode == "anyio_mode":
        settings = settings.partition("asyncio_mode")[0] + 'anyio_mode = "auto"\n'
    (pytester.path / "pyproject.toml").write_text(settings)
    pytester.makepyfile(block)
    other = "no:asyncio" if mode == "anyio_mode" else "no:anyio"
    result = pytester.runpytest_subprocess("-p", other)
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] >= 1


def test_all_extras_are_in_the_table():
    table = README.partition("| extra | brings |")[2].partition("\n\n")[0]
    told = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    extras = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(told) == sorted(extras.keys() - {"dev"})


def test_every_member_that_a_configuration_may_have_is_known():
    section = README.partition("## Keep many credentials fresh")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")][2:]
    assert [row[1].strip(" `") for row in rows[4:]] == list(config._KINDS)
    source = Path(config.__file__).read_text()
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])} - {"true"}
    assert len(names) > 25
    for name in names:
        assert f'"{name}"' in source, name


@pytest.mark.parametrize("name", ["try", "test"])
def test_ci_runs_the_commands_of_the_readme(name):
    found = re.search(rf"<!-- command: {name} -->\n```sh\n(.+)\n```", README)
    assert found
    assert found[1].startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert f"readme_command {name}" in (TOP / ".ci" / "run").read_text()


def test_changelog_is_kept():
    text = (TOP / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(Unreleased|\d+\.\d+\.\d+)\]", text, flags=re.MULTILINE)


def test_only_what_belongs_there_lies_at_the_top():
    allowed = {"pyproject.toml", "README.md", "CHANGELOG.md", "domokit", "tests", "notebooks", "build", "dist"}
    assert {path.name for path in TOP.iterdir() if not path.name.startswith(".")} <= allowed
