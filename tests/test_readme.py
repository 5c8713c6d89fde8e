"""The README's code runs, and its commands are the ones that CI runs."""

import ast
import asyncio
import re
from pathlib import Path

import pytest

import domokit

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()


def blocks(title):
    """The Python blocks below a heading, up to the next one."""
    section = re.split(r"^## ", README, flags=re.MULTILINE)
    (wanted,) = [part for part in section if part.startswith(title)]
    return re.findall(r"^```python\n(.*?)^```", wanted, flags=re.MULTILINE | re.DOTALL)


def test_five_minute_tour_runs_as_in_a_notebook(capsys):
    async def notebook():
        names = {}
        for block in blocks("Five minutes"):
            code = compile(block, "README", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            outcome = eval(code, names)
            if asyncio.iscoroutine(outcome):
                await outcome
        return names

    names = asyncio.run(notebook())
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


def test_options_block_runs():
    names = {}
    exec(blocks("Proxies")[0], names)
    assert names["options"].retry.attempts == 4


async def test_fixture_example_runs(domo_sandbox, domo_auth):
    (block,) = blocks("Testing your own code")
    names = {"DomoUser": domokit.DomoUser}
    exec(block, names)
    await names["test_leavers"](domo_sandbox, domo_auth)
    assert any(request.status == 503 for request in domo_sandbox.requests)
    await domo_auth.aclose()


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
