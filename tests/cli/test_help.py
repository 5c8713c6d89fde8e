"""The help of every command, and what starting up costs."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from domokit import __version__
from domokit.cli.app import app

COMMANDS = [
    "rotate", "tokens list", "tokens generate", "tokens revoke", "accounts list", "accounts get", "accounts upsert",
    "users list", "users get", "whoami", "sandbox", "data ls", "data put", "data get", "data query",
]  # fmt: skip
KEEPING = ["keep run", "keep status"]  # whose instances are in their configuration; `keep FILE` is `keep run FILE`
CHANGING = {"rotate", "tokens generate", "tokens revoke", "accounts upsert", "data put"}


def help_of(*path):
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"}, prog_name="domokit")
    assert result.exit_code == 0
    return result.stdout


def all_commands(group, *path):
    for name, command in group.commands.items():
        yield from all_commands(command, *path, name) if hasattr(command, "commands") else [" ".join((*path, name))]


def test_these_are_all_commands():
    assert sorted(all_commands(typer.main.get_command(app))) == sorted(COMMANDS + KEEPING)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    text = help_of(*command.split())
    assert f"Example: domokit {command}" in text
    assert "Environment:" in text
    if command != "sandbox":
        for word in ("--instance", "--sandbox", "--fresh", "--verbose", "DOMO_ACCESS_TOKEN", "DOMO_BASE_URL"):
            assert word in text
    assert "--json" in text
    assert ("--dry-run" in text) == (command in CHANGING)


@pytest.mark.parametrize("command", ["", "tokens", "accounts", "users", "data", *COMMANDS])
def test_help_has_no_types_of_flags_and_no_braces(command):
    text = help_of(*command.split())
    assert "--help" in text
    for noise in ("<bool>", "BOOLEAN", "<int range>", "INTEGER RANGE"):
        assert noise not in text
    (usage,) = [line for line in text.splitlines() if "Usage:" in line]
    assert "{" not in usage
    if command.split()[:1] == ["data"] and command.split()[1:] in (["put"], ["get"], ["query"]):
        assert "ID|NAME" in usage


@pytest.mark.parametrize("command", KEEPING)
def test_what_keeps_explains_itself(command):
    text = help_of(*command.split())
    assert f"Example: domokit {command.removesuffix(' run')} " in text
    for word in ("Environment:", "CONFIG.toml", "--json", "--verbose"):
        assert word in text


@pytest.mark.parametrize("group", [(), ("tokens",), ("accounts",), ("users",), ("data",)])
def test_groups(group):
    text = help_of(*group)
    for command in COMMANDS:
        path = command.split()
        if tuple(path[:-1]) == group:
            assert path[-1] in text


def test_version():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"{__version__}\n"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['domokit', 'rotate', '--help']\n"
        "from domokit.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print({'httpx', 'attrs', 'starlette', 'uvicorn', 'anyio'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines()[-1] == "set()"


def test_without_the_extra_one_line_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; from domokit.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.splitlines() == ["The command line needs a few more packages: pip install 'domokit[cli]'"]
