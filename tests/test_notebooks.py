"""The notebooks: each is executed in a kernel of its own, tells its story, and shows no secret."""

import ast
import inspect
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
ROWS = "03-rows-in-and-out"
OAUTH = "04-the-life-of-an-oauth-token"
NAMES = ["01-the-life-of-an-access-token", "02-your-own-classes", ROWS, OAUTH]

# Runs before a notebook: notes every secret that any sandbox in it ever has, those that are revoked later, too.
WATCH = """
import json as _json

from domokit.sandbox import Sandbox as _Sandbox

_secrets = set()


def _note(sandbox):
    state = sandbox.state
    _secrets.update((sandbox.password, sandbox.access_token, sandbox.client_secret), state.cookies)
    _secrets.update(user.password for user in state.users.values())
    for table in (state.access_tokens, state.sessions, state.bearers):
        _secrets.update(row.token for row in table.values())
    for account in state.accounts.values():
        _secrets.update(v for k, v in account.configuration.items() if k in ("accessToken", "credentials", "password"))
        if account.provider == "abstract-credential-store":
            stored = _json.loads(account.configuration["credentials"])
            _secrets.update(v for k, v in stored.items() if k in ("access_token", "secret"))


def _watched(sandbox, *args, _init=_Sandbox.__init__, **kwargs):
    _init(sandbox, *args, **kwargs)
    _note(sandbox)
    sandbox.watch(lambda phase, request: _note(sandbox))


_Sandbox.__init__ = _watched
"""
# Runs after it: adds what the OAuth servers in it issued and were shown, and every secret that has a name.
TELL = """
from domokit import Secret as _Secret

for _value in list(globals().values()):
    if isinstance(_value, _Secret):
        _secrets.add(_value.reveal())
    if type(_value).__name__ == "OAuthServer":
        _secrets.update(_value.issued)
        for _name in ("password", "newPassword", "refresh_token"):
            _secrets.update(_request.form[_name] for _request in _value.requests if _name in _request.form)

with open("secrets.json", "w") as _file:
    _json.dump(sorted(_secrets), _file)
"""


class Ran:
    """A notebook after it has run: the outputs of its cells by id, and the secrets that there were."""

    def __init__(self, notebook, secrets):
        self.cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
        self.secrets = [secret for secret in secrets if secret != "password"]  # what people added by a cell have

    def printed(self, cell_id):
        return "".join(out.text for out in self.cells[cell_id].outputs if out.output_type == "stream")

    def shown(self, cell_id, kind="text/plain"):
        found = [out.data[kind] for out in self.cells[cell_id].outputs if kind in out.get("data", {})]
        assert len(found) == 1, f"{cell_id} shows {len(found)} times {kind}"
        return found[0]

    def leaks(self):
        """How many of the secrets stand in an output, as they are or as JSON, HTML or a Python text writes them."""
        outputs = json.dumps([cell.outputs for cell in self.cells.values()], ensure_ascii=False)
        for escaped, plain in (("\\\\", "\\"), ('\\"', '"'), ("&quot;", '"'), ("&#x27;", "'"), ("&amp;", "&")):
            outputs = outputs.replace(escaped, plain)
        return sum(secret in outputs for secret in self.secrets)


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def run(notebook, folder):
    """Execute a notebook in `folder`, by a kernel of this interpreter. Raises: CellExecutionError."""
    spec = folder / "kernels" / "here" / "kernel.json"
    spec.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    watch, tell = new_code_cell(WATCH), new_code_cell(TELL)
    notebook.cells = [watch, *notebook.cells, tell]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
            patch.setenv(f"JUPYTER_{name}", str(folder / name.lower()))
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        for name in ("DOMO_INSTANCE", "DOMO_USERNAME", "DOMO_PASSWORD", "DOMO_ACCESS_TOKEN", "DOMO_BASE_URL"):
            patch.delenv(name, raising=False)
        client = NotebookClient(
            notebook,
            kernel_name="here",
            timeout=60,
            startup_timeout=60,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute()
    notebook.cells = [cell for cell in notebook.cells if cell not in (watch, tell)]
    return Ran(notebook, json.loads((folder / "secrets.json").read_text()))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Each notebook, executed once."""
    done = {}

    def execute(name):
        if name not in done:
            done[name] = run(read(name), tmp_path_factory.mktemp("notebook"))
        return done[name]

    return execute


@pytest.fixture
def life(ran):
    return ran(NAMES[0])


@pytest.fixture
def classes(ran):
    return ran(NAMES[1])


@pytest.fixture
def rows(ran):
    return ran(ROWS)


@pytest.fixture
def oauth(ran):
    return ran(OAUTH)


def test_no_notebook_is_left_out():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_runs_without_a_complaint(ran, name):
    cells = ran(name).cells.values()
    assert len(cells) > 10
    counts = [cell.execution_count for cell in cells]
    assert all(after == before + 1 for before, after in pairwise(counts)), counts
    kinds = {(out.output_type, out.get("name")) for cell in cells for out in cell.outputs}
    assert kinds <= {("stream", "stdout"), ("execute_result", None), ("display_data", None)}


@pytest.mark.parametrize("name", NAMES)
def test_no_output_holds_a_secret(ran, name):
    notebook = ran(name)
    assert len(notebook.secrets) > 15
    assert min(map(len, notebook.secrets)) >= 12
    assert notebook.leaks() == 0


def test_a_secret_in_an_output_is_found(tmp_path):
    """The test above can fail: a token that is gone at the end, and a password, in an error's text."""
    notebook = new_notebook(
        cells=[
            new_code_cell(
                "from domokit.sandbox import Sandbox\n"
                "from domokit import DomoAccessToken\n"
                "from domokit.testing import session_auth\n"
                "sandbox = Sandbox()\n"
                "auth = session_auth(sandbox)\n"
                "me = await auth.who_am_i()\n"
                "token = await DomoAccessToken.generate(auth, owner_id=me.id, name='n', duration=1)\n"
                "await token.revoke()\n"
                "print({'token': token.token.reveal()})\n"
                "repr('it is \"' + sandbox.password)"
            )
        ]
    )
    assert run(notebook, tmp_path).leaks() == 2


def test_a_token_of_a_provider_in_an_output_is_found(tmp_path):
    notebook = new_notebook(
        cells=[
            new_code_cell(
                f"import sys; sys.path.insert(0, {str(NOTEBOOKS.parent)!r})\n"
                "from tests.oauth.server import OAuthServer\n"
                "with OAuthServer() as server:\n"
                "    server.add_client('id')\n"
                "    print(server.issue('id'))"
            )
        ]
    )
    assert run(notebook, tmp_path).leaks() == 2


def test_a_cell_that_fails_is_found(tmp_path):
    with pytest.raises(CellExecutionError, match="no such thing"):
        run(new_notebook(cells=[new_code_cell("raise LookupError('no such thing')")]), tmp_path)


# -- 01


def test_tables_are_drawn(life):
    table = life.shown("users", "text/html")
    assert table.startswith("<table>")
    assert "<th>email</th>" in table
    assert table.count("<tr>") == 13
    assert "<td>sandbox</td>" in life.shown("tokens", "text/html")
    assert "<td>abstract-credential-store</td>" in life.shown("account", "text/html")


def test_the_token_stays_hidden(life):
    assert life.shown("secret") == "Secret(***)"
    assert life.printed("secret").split() == ["Secret(***)"] * 3
    assert "<td>Secret(***)</td>" in life.shown("generate", "text/html")
    assert re.fullmatch(r"'[0-9a-f]{12}'", life.shown("fingerprint"))
    assert life.shown("masked") == "MASKED"
    assert "'access_token': Secret(***)" in life.shown("unmasked")


def test_the_rotation_takes_its_steps_in_order(life):
    steps = re.findall(r"^ *(\w+): ", life.printed("rotate"), re.MULTILINE)
    assert list(dict.fromkeys(steps)) == ["look", "generate", "prove", "store", "verify", "revoke", "done"]
    result = life.shown("result")
    assert "'changed': True" in result
    assert "'account_name': 'nightly-etl'" in result
    new, old = re.findall(r"'id': (\d+)", result)
    assert new != old
    assert f"id={old}," in life.shown("rotate-dry")  # what it said it would revoke is what it revoked
    assert life.shown("stored") == "(True, False)"


def test_the_second_rotation_changes_nothing(life):
    assert life.shown("again") == "(False, '30 days left, 7 days wanted')"
    assert re.findall(r"^ *(\w+): ", life.printed("again"), re.MULTILINE) == ["look"]


def test_the_token_signs_in_until_it_is_revoked(life):
    assert life.shown("use") == life.shown("who-am-i")
    assert life.shown("revoke") == "[]"
    name, said = life.printed("error").splitlines()
    assert name == "AuthenticationError"
    assert "401" in said
    assert "has neither expired nor been revoked" in said
    assert "is not a Domo instance" in life.printed("error-early")


async def test_the_same_with_a_real_address(served_domo_sandbox, monkeypatch):
    """The cell for one's own instance works as it stands there, given the environment that it names."""
    cell = next(cell for cell in read(NAMES[0]).cells if cell.id == "sign-in-for-real")
    sandbox = served_domo_sandbox
    monkeypatch.setenv("DOMO_BASE_URL", sandbox.base_url)
    named = re.findall(r"DOMO_\w+", cell.source)
    values = {
        "DOMO_INSTANCE": sandbox.instance,
        "DOMO_USERNAME": sandbox.username,
        "DOMO_PASSWORD": sandbox.password,
    }
    assert sorted(named) == sorted(values)
    for name in named:
        monkeypatch.setenv(name, values[name])
    names = {}
    exec("from domokit import SessionAuth", names)
    await run_block(cell.source, names)
    async with names["auth"] as auth:
        assert (await auth.who_am_i()).id == sandbox.admin.id


async def run_block(markdown, names):
    (block,) = re.findall(r"^```python\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    running = eval(compile(block, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(running):
        await running


# -- 02


def test_a_field_of_ones_own(classes):
    assert classes.shown("raw") == "'4.12'"
    assert classes.printed("get") == "Ada Quill sits at 4.12\n"
    assert "<th>desk</th><td>4.12</td>" in classes.shown("get", "text/html")
    assert classes.shown("equal") == "True"
    assert classes.shown("refresh") == "'4.13'"
    assert classes.shown("json") == "(27, '1.01', 1, 'blue')"


def test_a_classmethod_and_related_objects_give_the_subclass(classes):
    assert classes.shown("method-use") == "['Ada Quill', 'Ben Okoro']"
    assert classes.shown("related-before") == "['DomoUser', 'DomoUser']"
    assert classes.shown("related") == "[('Ada Quill', '4.12'), ('Ben Okoro', '4.13')]"
    assert classes.shown("related-kind") == "'Colleague'"


def test_the_vault_is_asked_when_it_is_needed(classes):
    asked = "the vault is asked\n"
    assert classes.printed("vault-first") == asked
    assert classes.printed("vault-again") == ""
    assert classes.shown("vault-again") == classes.shown("vault-first")
    assert classes.printed("vault-rotated") == asked  # once, for fourteen calls that were refused
    assert classes.shown("vault-rotated") == "14"
    assert classes.printed("vault-empty").startswith(asked + "the vault still holds the token that Domo refused")


def test_the_example_of_a_test_is_one(pytester):
    cell = next(cell for cell in read(NAMES[1]).cells if cell.id == "test-example")
    (source,) = re.findall(r"^```python\n(.*?)^```", cell.source, re.MULTILINE | re.DOTALL)
    pytester.makepyfile(test_right=source, test_wrong=source.replace('== "4.12"', '== "5.01"'))
    loop = "asyncio_default_fixture_loop_scope=function"  # some versions of pytest-asyncio want it said
    result = pytester.runpytest_subprocess("-p", "no:anyio", "-o", "asyncio_mode=auto", "-o", loop)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("E*assert '4.12' == '5.01'")


# -- 03


def test_a_million_rows_go_in_and_come_back(rows):
    assert rows.shown("checked") == "1001000"
    assert "rows=1000, parts=1" in rows.shown("append")
    assert "<td>order_id</td><td>STRING</td>" in rows.shown("schema", "text/html")
    assert rows.printed("file").startswith("1,001,000 rows, ")


def test_other_columns_are_refused(rows):
    assert "+ discount DOUBLE" in rows.printed("refused")


def test_the_answer_is_drawn(rows):
    assert "pieces" in rows.shown("query", "text/html")
    assert rows.shown("plot", "image/png")


# -- 04


def test_the_file_of_a_published_sample_is_taken_over(oauth):
    assert "access_token=Secret(***)" in oauth.shown("rdp-adopt")
    assert "scope='trapi'" in oauth.shown("rdp-adopt")
    assert oauth.shown("rdp-asked") == "0"
    assert oauth.shown("rdp-mode") == "'-rw-------'"


def test_eight_scripts_that_share_a_file_refresh_once(oauth):
    assert oauth.printed("rdp-use") == "80 answers, 1 refresh, 0 spent twice\n"


def test_the_ladder_goes_from_refresh_to_password(oauth):
    started = re.findall(r"started by (\w+)", oauth.printed("rdp-ladder"))
    assert started == ["refresh_token", "password"]
    assert oauth.shown("rdp-password") == "(3, 0)"


def test_a_pair_of_tokens_is_handed_over_once(oauth):
    assert "Pass issuer=" in oauth.printed("alteryx-refused")
    assert oauth.shown("alteryx-first").endswith("['grant_type', 'refresh_token', 'client_id'])")
    assert oauth.shown("alteryx-again") == "([True, True], 1)"
    assert "'ok': True" in oauth.printed("alteryx-use")
    assert "is not sent to elsewhere.example.com" in oauth.printed("alteryx-use")


def test_readers_in_domo_find_the_access_token_alone(oauth):
    assert oauth.printed("published").split() == ["access_token", "token_type", "scope", "expires_at"]
    assert oauth.shown("published") == "True"
    assert "domokit" in oauth.printed("account-store").split()
    assert oauth.shown("account-store") == "(True, [['sealed', 'version']])"


def test_two_jobs_of_one_api_client_have_one_token(oauth):
    assert oauth.shown("domo-auth") == "(12, 12, 1)"
    assert oauth.shown("domo-expired") == "(12, 2)"
    assert oauth.shown("domo-keeper") == "(200, 3, 'Admin')"


def test_a_lost_answer_is_told_and_survived(oauth):
    assert "the connection was lost before the answer" in oauth.printed("lost")
    assert oauth.shown("in-doubt").startswith("(True, 'in doubt', ['started', 'lost', ")
    assert oauth.printed("lost-for-good").startswith("RefreshTokenLost needs a human: True\n")
    assert oauth.shown("lost-for-good") == "'dead'"
    assert oauth.shown("human") == "'fresh'"


def test_stores_are_closed_to_others_and_sealed(oauth):
    assert oauth.printed("stores").startswith("3 tokens in the file\nfresh until ")
    mode, said = oauth.printed("stores-safe").splitlines()
    assert mode == "-rw-------"
    assert "was open to others (mode 644) and is closed now" in said
    assert oauth.shown("sealed") == "[['sealed'], ['text'], ['text']]"
    assert "'lost': 2" in oauth.printed("watch")


def test_the_example_of_a_store_of_ones_own_is_one(pytester):
    cell = next(cell for cell in read(OAUTH).cells if cell.id == "stores-own")
    (source,) = re.findall(r"^```python\n(.*?)^```", cell.source, re.MULTILINE | re.DOTALL)
    store = "from domokit import MemoryStore as Memory\n\ndef MyStore(place):\n    return Memory()\n\n"
    pytester.makepyfile(test_right=store + source)
    loop = "asyncio_default_fixture_loop_scope=function"
    result = pytester.runpytest_subprocess("-p", "no:anyio", "-o", loop)
    assert result.parseoutcomes()["passed"] > 5
    assert set(result.parseoutcomes()) <= {"passed", "skipped"}


# -- the files


@pytest.mark.parametrize("name", NAMES)
def test_saved_notebooks_are_clean(name):
    """Without outputs, so that no saved one can hold a secret; readable by any Jupyter."""
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}  # no version of whoever saved it last
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    for cell in notebook.cells:
        assert cell.metadata == {}
        assert cell.source.strip()
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 30, f"{cell.id} is long"


@pytest.mark.parametrize("name", NAMES)
def test_no_notebook_reveals_anything(name):
    code = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")
    assert "reveal" not in code
