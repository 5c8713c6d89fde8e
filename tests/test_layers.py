"""Imports point down only, never sideways; importing domokit touches neither environment nor files."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import domokit

PACKAGE = Path(domokit.__file__).parent

# From the bottom up. A module may import its own layer where that is one thing, and all below.
LAYERS = (
    "_secrets",
    "_runtime",
    "_html",
    "errors",
    "connection",
    "stores",
    "oauth",
    "auth",
    "transport",
    "routes",
    "bulk",
    "entities",
    "workflows",
    "integrations",
    "cli",
)
HTTPX = {"connection", "auth", "oauth", "transport", "errors", "testing"}
COMMON_ENTITIES = {"access", "base", "listing"}
PARTS_OF = {
    "accounts": {"account_config"},
    "datasets": {"dataset_exits", "dataset_search", "dataset_ties", "datasets_together"},
}  # of one area
PLATFORM_ONLY = {"fcntl", "msvcrt", "termios"}
OPTIONAL = PLATFORM_ONLY | {
    "pandas",
    "polars",
    "pyarrow",
    "uvicorn",
    "typer",
    "rich",
    "redis",
    "keyring",
    "cryptography",
    "aiohttp",
    "httpx_aiohttp",
    "isal",
    "duckdb",
    "tqdm",
    "dask",
    "distributed",
}


def modules():
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        yield pytest.param(file, parts, id=".".join(parts) or "domokit")


EVERY = list(modules())


def imports(file, parts):
    """(name in full, whether it stands inside a function, line) of every import but those for type checkers."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped, inside = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped |= {id(one) for one in ast.walk(node)}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside |= {id(one) for one in ast.walk(node)}
    package = parts if file.name == "__init__.py" else parts[:-1]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = ["domokit", *package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if is_module(full) else base), id(node) in inside, node.lineno


def is_module(name):
    path = PACKAGE.parent.joinpath(*name.split("."))
    return name.startswith("domokit") and (path.with_suffix(".py").exists() or path.is_dir())


def own(name):
    """The path inside the package, ('entities', 'users'); None for what others wrote."""
    first, *rest = name.split(".")
    return tuple(rest) if first == "domokit" else None


def test_there_is_something_to_look_at():
    names = {param.id for param in EVERY}
    assert {"errors", "auth.session", "transport", "routes.product.users", "entities.users", "sandbox.app"} <= names
    found = {name for param in EVERY for name, _, _ in imports(*param.values)}
    assert {"domokit.auth", "domokit.transport", "domokit.sandbox.wire", "httpx", "domokit.entities.base"} <= found


def test_every_part_has_its_layer():
    tops = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert tops <= {*LAYERS, "sandbox", "testing", "__init__", "__main__"}


@pytest.mark.parametrize(("file", "parts"), EVERY)
def test_imports_point_down(file, parts):
    if not parts or parts[0] in ("sandbox", "testing", "__main__"):
        return
    mine = LAYERS.index(parts[0])
    for name, _, line in imports(file, parts):
        target = own(name)
        if target is None or (parts[0] == "cli" and target[:1] in ((), ("sandbox",))):
            continue  # the CLI stands above everything, and runs the sandbox
        assert target, f"{file.name}:{line} imports the package as a whole"
        assert target[0] in LAYERS, f"{file.name}:{line} imports {name}"
        assert LAYERS.index(target[0]) <= mine, f"{file.name}:{line} imports {name}, which is above"


@pytest.mark.parametrize(("file", "parts"), [param for param in EVERY if param.id.startswith("routes.")])
def test_areas_of_routes_do_not_know_each_other(file, parts):
    for name, _, line in imports(file, parts):
        target = own(name) or ()
        assert target[:1] != ("routes",), f"{file.name}:{line} imports {name}"


@pytest.mark.parametrize(("file", "parts"), [param for param in EVERY if param.id.startswith("entities.")])
def test_areas_of_entities_do_not_know_each_other(file, parts):
    allowed = COMMON_ENTITIES | PARTS_OF.get(parts[-1], set())
    if parts[-1] == "listing":
        allowed = set()  # base knows it, not the other way round
    for name, _, line in imports(file, parts):
        target = own(name) or ()
        if target[:1] == ("entities",):
            assert target[1] in allowed, f"{file.name}:{line} imports {name}"


@pytest.mark.parametrize(("file", "parts"), [param for param in EVERY if param.id.startswith("sandbox")])
def test_the_sandbox_knows_nothing_of_the_sdk(file, parts):
    for name, _, line in imports(file, parts):
        target = own(name)
        assert target is None or target[:1] == ("sandbox",), f"{file.name}:{line} imports {name}"


def test_testing_knows_auth_stores_and_the_sandbox_only():
    (param,) = [param for param in EVERY if param.id == "testing"]
    targets = {target[0] for name, _, _ in imports(*param.values) if (target := own(name))}
    assert targets <= {"auth", "errors", "sandbox", "stores"}


@pytest.mark.parametrize(("file", "parts"), EVERY)
def test_few_know_the_http_library(file, parts):
    for name, _, line in imports(file, parts):
        if name.split(".")[0] in ("httpx", "httpcore"):
            assert parts[0] in HTTPX, f"{'.'.join(parts)}:{line} imports {name}"


@pytest.mark.parametrize(("file", "parts"), EVERY)
def test_imports_inside_functions_are_for_optional_packages(file, parts):
    if parts[:1] == ("testing",):
        return  # pytest loads it in every run of everyone who has domokit installed
    for name, inside, line in imports(file, parts):
        if inside:
            # The command line loads what a command needs: `domokit --help` would take a second otherwise.
            lazy = parts[:1] == ("cli",) and own(name) is not None
            assert lazy or name.split(".")[0] in OPTIONAL, f"{'.'.join(parts)}:{line} imports {name} inside a function"


AUDIT = """
import json, os, sys

seen, watching = [], False

def ours_asks():
    # Whether code of domokit asks, itself or through others: not Python as it loads a module, nor a module of
    # somebody else as it is loaded.
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE + os.sep):
            return True
        if name.startswith("<frozen importlib"):
            return False
        frame = frame.f_back
    return False

def watch(event, arguments):
    if watching and event.split(".")[0] in ("open", "os", "socket", "subprocess", "shutil", "sqlite3", "urllib"):
        if ours_asks():
            seen.append([event, repr(arguments)[:200]])

class Environment(os._Environ):
    def __getitem__(self, name):
        if watching and ours_asks():
            seen.append(["environment", name])
        return super().__getitem__(name)

os.environ.__class__ = Environment
sys.addaudithook(watch)
watching = True
import domokit
for name in domokit.__all__:
    getattr(domokit, name)
for name in MODULES:
    __import__(name)
watching = False
print(json.dumps(seen))
"""


def audited(package, modules):
    """What was done as the modules of a package were imported, in a Python of its own."""
    head = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r})\nPACKAGE = {str(package)!r}\nMODULES = {modules!r}\n"
    )
    ran = subprocess.run([sys.executable, "-c", head + AUDIT], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def test_importing_touches_neither_environment_nor_files():
    names = [f"domokit.{param.id}" for param in EVERY if param.id.split(".")[0] not in ("cli", "__main__", "domokit")]
    assert audited(PACKAGE, names) == []


def test_the_audit_would_notice(tmp_path):
    """A module that reads a file and the environment as it is imported is caught, by whatever way it does."""
    package = tmp_path / "domokit"
    package.mkdir()
    (package / "__init__.py").write_text("__all__ = []\n")
    (package / "bad.py").write_text(
        "import os, pathlib\n"
        "os.environ.get('DOMO_INSTANCE')\n"
        "os.getenv('DOMO_PASSWORD')\n"
        "pathlib.Path(__file__).read_text()\n"
        "os.listdir('.')\n"
    )
    kinds = [kind for kind, _ in audited(package, ["domokit.bad"])]
    assert kinds == ["environment", "environment", "open", "os.listdir"]
