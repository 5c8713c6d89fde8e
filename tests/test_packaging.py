"""What is shipped: the wheel, the names, what importing costs, the pytest plugin, and the types."""

import email.parser
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import domokit

ROOT = Path(__file__).parent.parent
OPTIONAL = ["aiohttp", "numpy", "pandas", "polars", "pyarrow", "requests", "rich", "starlette", "typer", "uvicorn"]


def python(code, *arguments, path=None, cwd=None, check=True):
    """Run `code` in a fresh interpreter. path: a folder to import from first."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=env,
        cwd=cwd,
        check=check,
        text=True,
        stdout=subprocess.PIPE,
        timeout=120,
    ).stdout


# -- the wheel


class Wheel:
    def __init__(self, path):
        self.path = path
        with zipfile.ZipFile(path) as archive:
            self.names = set(archive.namelist())
            (self.info,) = {name.partition("/")[0] for name in self.names if ".dist-info/" in name}
            metadata = archive.read(f"{self.info}/METADATA").decode()
            self.entry_points = archive.read(f"{self.info}/entry_points.txt").decode()
        self.metadata = email.parser.Parser().parsestr(metadata)

    def requirements(self, extra=None):
        """Names of the packages needed without extras, or added by one."""
        needed = map(Requirement, self.metadata.get_all("Requires-Dist"))
        if extra is None:
            return {one.name for one in needed if one.marker is None or "extra" not in str(one.marker)}
        return {one.name for one in needed if one.marker and one.marker.evaluate({"extra": extra})}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from this tree by the build backend, without a network."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    python("import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])", folder, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return Wheel(path)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with nothing but the wheel's contents."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel.path) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    sources = {str(path.relative_to(ROOT).as_posix()) for path in (ROOT / "domokit").rglob("*.py")}
    shipped = {name for name in wheel.names if not name.startswith(wheel.info)}
    assert shipped == sources | {"domokit/py.typed"}
    assert {"domokit/cli/__init__.py", "domokit/sandbox/areas/users_identity.py"} <= shipped


def test_the_wheel_says_what_it_is(wheel):
    assert wheel.metadata["Name"] == "domokit"
    assert wheel.metadata["Version"] == domokit.__version__
    assert wheel.metadata["Requires-Python"] == ">=3.11"
    assert wheel.metadata["Description-Content-Type"] == "text/markdown"
    assert wheel.metadata.get_payload().strip()
    lines = wheel.entry_points.split("\n")
    scripts, plugins = lines.index("[console_scripts]"), lines.index("[pytest11]")
    assert lines[scripts + 1] == "domokit = domokit.cli:main"
    assert lines[plugins + 1] == "domokit = domokit.testing"


def test_the_wheel_needs_little(wheel):
    assert wheel.requirements() == {"anyio", "attrs", "httpx", "sniffio"}


def test_extras_add_what_they_promise(wheel):
    extras = set(wheel.metadata.get_all("Provides-Extra"))
    assert {"aiohttp", "all", "cli", "notebook", "pandas", "sandbox"} <= extras
    assert {"starlette", "uvicorn"} <= wheel.requirements("sandbox")
    assert {"rich", "typer"} <= wheel.requirements("cli")
    assert "pandas" in wheel.requirements("pandas")
    for extra in extras:  # those that name others name existing ones
        for needed in map(Requirement, wheel.metadata.get_all("Requires-Dist")):
            if needed.name == "domokit" and needed.marker and needed.marker.evaluate({"extra": extra}):
                assert needed.extras <= extras


IMPORT_ALL = """
import importlib, pkgutil, domokit
names = ["domokit"] + [one.name for one in pkgutil.walk_packages(domokit.__path__, "domokit.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from domokit.cli import main
import domokit, sys
print(len(names), domokit.__file__, callable(main))
"""


def test_everything_in_the_wheel_can_be_imported(wheel, installed, tmp_path):
    count, file, has_main = python(IMPORT_ALL, path=installed, cwd=tmp_path).split()
    assert int(count) == len({name for name in wheel.names if name.endswith(".py")})
    assert Path(file).parent.parent.resolve() == installed.resolve()
    assert has_main == "True"


# -- names

NEEDING_PYARROW = {"Rows", "WriteOptions"}  # importable by name, but not by `import *`


def test_public_names_are_sorted_and_complete():
    names = domokit.__all__
    assert len(names) == len(set(names))
    assert names == sorted(names, key=_as_linters_sort)
    assert set(names) == {*domokit._HOME_OF, "errors"} - NEEDING_PYARROW
    promised = "SessionAuth AccessTokenAuth OAuthClientAuth ClientOptions DomoAccessToken DomoAccount DomoUser"
    assert {*promised.split(), "rotate_access_token", "errors"} <= set(names)


def _as_linters_sort(name):
    """CONSTANTS, then Classes, then the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", [*domokit.__all__, *sorted(NEEDING_PYARROW)])
def test_each_public_name_is_found(name):
    assert name in dir(domokit)
    found = getattr(domokit, name)
    home = getattr(found, "__module__", None)
    if name != "errors" and home is not None:
        assert home.startswith("domokit")
        assert getattr(found, "__name__", name) == name


def test_what_needs_pyarrow_says_so():
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from domokit import *\n"
        "for name in ('Rows', 'WriteOptions'):\n"
        "    try: exec(f'from domokit import {name}')\n"
        "    except errors.MissingExtraError as error: print(error)\n"
    )
    assert python(code).splitlines() == ["rows are moved with pyarrow. pip install 'domokit[data]'"] * 2


def test_star_import_gives_exactly_the_public_names():
    names = {}
    exec("from domokit import *", names)
    assert set(names) - {"__builtins__"} == set(domokit.__all__)


def test_unknown_names_are_refused():
    assert not hasattr(domokit, "DomoUnicorn")
    with pytest.raises(AttributeError, match="'domokit' has no attribute 'DomoUnicorn'"):
        domokit.DomoUnicorn  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'DomoUnicorn'"):
        from domokit import DomoUnicorn  # noqa: F401


def test_static_and_actual_names_agree():
    """A type checker reads the imports under TYPE_CHECKING, the interpreter the table of homes."""
    source = Path(domokit.__file__).read_text(encoding="utf-8")
    static = {}
    for line in source.splitlines():
        words = line.split()
        if words[:1] == ["from"] and words[2:3] == ["import"] and words[4:5] == ["as"] and line.startswith("    "):
            assert words[3] == words[5]
            static[words[3]] = words[1]
    assert static.pop("errors") == "domokit"
    assert static == domokit._HOME_OF


# -- what importing costs


def imported(code):
    """Names of the modules that `code` loads in a fresh interpreter."""
    told = (
        f"import sys, json; before = set(sys.modules); exec({code!r}); print(json.dumps([*set(sys.modules) - before]))"
    )
    return set(json.loads(python(told)))


def test_importing_the_package_loads_nothing_of_it():
    loaded = imported("import domokit")
    assert {name for name in loaded if name.startswith("domokit")} == {"domokit"}
    assert not loaded & {"anyio", "attrs", "httpx", "ssl", "asyncio", *OPTIONAL}
    assert "domokit.errors" in imported("import domokit; domokit.errors")  # and this is how it would show


@pytest.mark.parametrize(
    "code",
    [
        "from domokit import SessionAuth, DomoUser",
        "from domokit import *",
        "import domokit.testing; from domokit import DomoUser",
    ],
)
def test_using_it_loads_no_optional_package(code):
    by_httpx = imported("import httpx")  # it loads rich for its own command line, where that is installed
    loaded = imported(code)
    assert {"domokit.entities.users", "httpx"} <= loaded
    assert not (loaded - by_httpx) & set(OPTIONAL)
    assert not {name for name in loaded if name.startswith(("domokit.sandbox", "domokit.cli"))}


# -- the pytest plugin

DOWNSTREAM = """
import httpx
import pytest

from domokit import AccessTokenAuth, ClientOptions, DomoUser, api, entity, errors
from domokit.testing import access_token_auth, session_auth


@entity
class Colleague(DomoUser):
    desk: str | None = api("deskNumber")


class BadgeAuth(AccessTokenAuth):
    pass


@pytest.fixture
def company(domo_sandbox):
    domo_sandbox.add_user("Ann", "ann@example.com", deskNumber="4.12")
    return domo_sandbox


{mark}
async def test_a_subclass_of_ones_own(company, domo_auth):
    found = await Colleague.get_all(domo_auth)
    assert {{type(one) for one in found}} == {{Colleague}}
    assert [one.desk for one in found if one.name == "Ann"] == ["4.12"]


{mark}
async def test_each_test_has_a_sandbox_of_its_own(domo_sandbox, domo_auth):
    with pytest.raises(errors.NotFoundError):
        await DomoUser.get_by_email(domo_auth, "ann@example.com")
    assert (await domo_auth.who_am_i()).email == domo_sandbox.username


{mark}
async def test_an_auth_of_ones_own(domo_sandbox):
    options = ClientOptions(transport=domo_sandbox.app)
    async with BadgeAuth(domo_sandbox.instance, domo_sandbox.access_token, options=options) as auth:
        assert (await auth.who_am_i()).id == domo_sandbox.admin.id


{mark}
async def test_a_real_port(served_domo_sandbox):
    sandbox = served_domo_sandbox
    assert sandbox.base_url.startswith("http://127.0.0.1:")
    async with session_auth(sandbox) as auth, access_token_auth(sandbox) as other:
        assert await auth.who_am_i() == await other.who_am_i()
    headers = {{"X-DOMO-Developer-Token": sandbox.access_token}}
    answer = httpx.get(sandbox.base_url + "/api/content/v2/users/me", headers=headers, trust_env=False)
    assert answer.json()["id"] == sandbox.admin.id


{mark}
async def test_this_one_fails(domo_auth):
    assert (await domo_auth.who_am_i()).id == 0


def test_and_this_one_is_not_async(domo_auth, domo_sandbox):
    assert domo_auth.username == domo_sandbox.username
"""

LOOP = ["-o", "asyncio_default_fixture_loop_scope=function"]  # some versions of pytest-asyncio want it said


@pytest.mark.parametrize(
    ("mark", "arguments", "runs"),
    [
        ("", ["-p", "no:anyio", "-o", "asyncio_mode=auto", *LOOP], 1),
        ("@pytest.mark.asyncio", ["-p", "no:anyio", "-o", "asyncio_mode=strict", *LOOP], 1),
        ("@pytest.mark.anyio", ["-p", "no:asyncio"], 2),  # under asyncio and under trio
    ],
    ids=["pytest-asyncio, auto", "pytest-asyncio, strict", "anyio"],
)
def test_fixtures_downstream(pytester, mark, arguments, runs):
    pytester.makepyfile(DOWNSTREAM.format(mark=mark))
    result = pytester.runpytest_subprocess("-W", "error", *arguments)
    result.assert_outcomes(passed=4 * runs + 1, failed=runs)
    result.stdout.fnmatch_lines("FAILED *::test_this_one_fails*")


def test_fixtures_are_listed_with_a_word_on_each(pytester):
    result = pytester.runpytest_subprocess("--fixtures", "-p", "no:respx")
    for name in ("domo_sandbox", "served_domo_sandbox", "domo_auth"):
        found = [n for n, line in enumerate(result.outlines) if line.startswith(f"{name} -- ")]
        assert len(found) == 1, name
        assert result.outlines[found[0] + 1].startswith("    ")
        assert "no docstring" not in result.outlines[found[0] + 1]


PLAIN = """
import json
import sys


def test_plain():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)


def test_with_the_sandbox(request):
    request.getfixturevalue({fixture!r})
    with open("modules-after.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def test_the_plugin_costs_nothing_where_it_is_not_used(pytester, monkeypatch):
    """pytest loads it in every run of everyone who has domokit installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def loaded(fixture, *arguments):
        pytester.makepyfile(PLAIN.format(fixture=fixture))
        pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=2)
        return [set(json.loads((pytester.path / f"{name}.json").read_text())) for name in ("modules", "modules-after")]

    without, _ = loaded("tmp_path")
    plain, used = loaded("domo_auth", "-p", "domokit.testing")
    assert plain - without == {"domokit", "domokit.testing"}
    assert {"domokit.auth", "domokit.sandbox", "httpx"} <= used  # and this is how it would show


# -- types

# What users import from, and what these modules hand out. Tests of other layers look after the rest.
SURFACE = (
    "domokit.auth",
    "domokit.entities",
    "domokit.errors",
    "domokit.sandbox.clock",
    "domokit.sandbox.faults",
    "domokit.sandbox.model",
    "domokit.sandbox.records",
    "domokit.sandbox.sandbox",
    "domokit.sandbox.serve.Served",
    "domokit.sandbox.state",
    "domokit.sandbox.store",
    "domokit.testing",
    "domokit.transport",
    "domokit.workflows",
)


@pytest.fixture(scope="module")
def verified(installed, tmp_path_factory):
    """Every public symbol of the wheel, as a type checker sees it who has nothing but the wheel."""
    if importlib.util.find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed")
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    # It asks the first `python` of the path where to look for packages.
    env = {**os.environ, "PATH": os.pathsep.join(folders), "PYTHONPATH": str(installed)}
    ran = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--verifytypes", "domokit", "--ignoreexternal", "--outputjson"],
        cwd=tmp_path_factory.mktemp("nowhere"),
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        timeout=300,
    )
    report = json.loads(ran.stdout)
    found = report["typeCompleteness"]
    assert Path(found["pyTypedPath"]).resolve() == (installed / "domokit" / "py.typed").resolve()
    assert found["exportedSymbolCounts"]["withKnownType"] > 1000
    return found


def complaints(symbols):
    return [
        f"{symbol['name']}: {problem['message']}"
        for symbol in symbols
        for problem in symbol["diagnostics"]
        if problem["severity"] == "error"
    ]


def test_no_type_is_unknown(verified):
    assert verified["exportedSymbolCounts"]["withUnknownType"] == 0
    assert verified["otherSymbolCounts"]["withUnknownType"] == 0
    unknown = [one for one in verified["symbols"] if not (one["isTypeKnown"] or one["isTypeAmbiguous"])]
    assert complaints(unknown) == []


def test_every_type_of_the_public_surface_is_written_down(verified):
    """Another type checker might infer another one."""
    modules = {one["name"] for one in verified["modules"]}
    symbols = [one for one in verified["symbols"] if one["isExported"]]
    for name in SURFACE:
        assert any(one["name"].startswith(name) for one in symbols), f"{name} is gone"
    assert {"domokit", "domokit.auth", "domokit.errors"} <= modules
    public = [one for one in symbols if one["name"].startswith(SURFACE) or one["name"].count(".") == 1]
    assert complaints(one for one in public if not one["isTypeKnown"]) == []


STRICT = """
from importlib import import_module
from typing import Any

from domokit import (
    ALL_ROWS, Auth, ClientOptions, Column, DomoDataset, DomoGroup, DomoPdpPolicy, DomoStream, DomoUser, FileStore,
    Listing, Pager, Progress, RowFilter, Rows, Schema, SessionAuth, UploadResult, WriteOptions, entity, errors,
)
from domokit.oauth import ClientCredentialsGrant, KeeperStatus, OAuthClient, OAuthToken, TokenKeeper


pa: Any = import_module("pyarrow")  # it has no types


@entity
class Ours(DomoDataset):
    pass


def told(progress: Progress) -> None:
    print(progress.what, progress.rows)


async def rows_in(auth: Auth) -> UploadResult:
    options: WriteOptions = {"evolve_schema": "add", "progress": told}
    mine: Ours = await Ours.upsert(auth, "Orders", [{"a": 1}], schema=Schema({"a": "LONG"}), key=["a"], **options)
    one: DomoDataset = await DomoDataset.create(auth, "Orders", schema=[Column("a", "LONG")], workers=2)
    await one.replace("orders.csv", format="csv", resume="load.json")
    result: UploadResult = await mine.upsert([{"a": 1}], key=["a"], progress=True)
    await result.wait_indexed()
    return result


async def rows_out(dataset: DomoDataset) -> int:
    rows: Rows = dataset.query("SELECT 1")
    table = await dataset.to_arrow({"a": pa.float64()}, progress=told)
    print(table.num_rows, await rows.to_arrow())
    frame = await dataset.to_pandas({"a": pa.float64()}, progress=True)
    print(len(frame), len(await dataset.to_polars()), (await rows.to_dicts())[0]["a"])
    async for batch in dataset.iter_batches(progress=False):
        print(batch.num_rows)
    async with rows.iter_batches() as batches:
        async for batch in batches:
            print(batch.num_rows)
    count: int = await dataset.to_csv("orders.csv", header=False)
    return count + await dataset.to_parquet("orders.parquet", compression="snappy")


async def about(auth: SessionAuth, dataset: DomoDataset) -> str | None:
    user: DomoUser = await DomoUser.get_by_email(auth, "ann@example.com")
    users: Listing[DomoUser] = await DomoUser.get_all(auth)
    frame = await DomoUser.get_all(auth).to_pandas()
    print(len(frame), len(users.to_pandas()), (await user.get_role()).name)
    await dataset.share(users=user, groups=[1, 2], level="CAN_EDIT")
    for access in await dataset.get_access():
        print(access.level.lower())
    policies: Pager[DomoPdpPolicy] = dataset.get_policies()
    async for policy in policies:
        print([one.values for one in policy.filters])
    west = RowFilter(column="region", values=["West"])
    made = await DomoPdpPolicy.create(auth, dataset.id, name="West", filters=west, users=users)
    await made.update(filters=ALL_ROWS, groups=await DomoGroup.get_all(auth))
    stream: DomoStream = await dataset.get_stream()
    execution = await stream.run()
    async for each in stream.get_executions():
        print(each.rows)
    print((await stream.get_execution(execution.id)).state, (await stream.get_dataset()).name)
    async for token in user.get_access_tokens():
        print(token.expires_at)
    return (await stream.update(update_method="UPSERT", key_columns=("a",))).update_method


async def keeping() -> OAuthToken:
    client = OAuthClient("https://login.example.com/token", "id", "secret", options=ClientOptions(timeout=5))
    keeper = TokenKeeper(client, grants=[ClientCredentialsGrant()], store=FileStore("tokens.json"), on_event=print)
    status: KeeperStatus = await keeper.status()
    try:
        return await keeper.get_token()
    except errors.DomoError as error:
        print(error.hint, status)
        raise


async def this_is_how_it_would_show(auth: Auth) -> int:
    return await DomoDataset.upsert(auth, "Orders", [])
"""


def checked(source, installed, folder):
    """What a strict type checker says of a file that uses the wheel."""
    (folder / "downstream.py").write_text(source)
    (folder / "pyrightconfig.json").write_text(
        json.dumps(
            {
                "typeCheckingMode": "strict",
                "extraPaths": [str(installed)],
                "reportMissingTypeStubs": False,
                "include": ["downstream.py"],
            }
        )
    )
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--outputjson"]
    ran = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, timeout=300)
    report = json.loads(ran.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return [f"line {one['range']['start']['line']}: {one['message']}" for one in report["generalDiagnostics"]]


def test_strict_users_have_no_false_errors(installed, tmp_path):
    if importlib.util.find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed")
    *false, due = checked(STRICT, installed, tmp_path)
    assert false == []
    assert '"DomoDataset" is not assignable to "int"' in due
