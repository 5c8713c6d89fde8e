"""Commands run in this process against a served sandbox or the embedded one; no output may show a secret of it."""

import json
from dataclasses import dataclass, field

import pytest
from typer.testing import CliRunner

from domokit.cli.app import app
from domokit.sandbox import Sandbox

from .helpers import secrets_of


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        return json.loads(self.err)


@dataclass
class Cli:
    """Runs commands. `seen` collects all secrets that ever were, so that revoked ones count, too."""

    seen: set = field(default_factory=set)
    sandbox: Sandbox | None = None

    def __call__(self, *arguments, code=0, text=None):
        result = CliRunner().invoke(app, list(arguments), input=text, prog_name="domokit")
        ran = Ran(result.exit_code, result.stdout, result.stderr)
        assert ran.code == code, f"exit {ran.code}\n{ran.out}\n{ran.err}\n{result.exception!r}"
        if self.sandbox is not None:
            self.seen |= secrets_of(self.sandbox)
        self.shows_no_secret(ran)
        return ran

    def shows_no_secret(self, ran):
        for secret in self.seen:
            # Inside JSON a quote is written \", so a credential that is JSON itself would not be found as it is.
            for form in (secret, json.dumps(secret)[1:-1]):
                assert form not in ran.out, "a secret on stdout"
                assert form not in ran.err, "a secret on stderr"


@pytest.fixture(autouse=True)
def state_file(tmp_path, monkeypatch):
    """The embedded sandbox of a test is the test's own."""
    path = tmp_path / "state" / "sandbox.json"
    monkeypatch.setenv("DOMOKIT_SANDBOX_STATE", str(path))
    monkeypatch.setenv("COLUMNS", "100")
    return path


@pytest.fixture(scope="session")
def server():
    """One server for all tests: to end one takes longer than most of them."""
    with Sandbox(users=1).serve() as sandbox:
        yield sandbox


@pytest.fixture
def served(server, monkeypatch):
    """A fresh sandbox that is served, and an environment that signs in as its administrator with the password."""
    sandbox = server.app.company = Sandbox()
    sandbox.served_at = server.base_url
    monkeypatch.setenv("DOMO_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("DOMO_INSTANCE", sandbox.instance)
    monkeypatch.setenv("DOMO_USERNAME", sandbox.username)
    monkeypatch.setenv("DOMO_PASSWORD", sandbox.password)
    return sandbox


@pytest.fixture
def cli(served):
    """Runs commands against the served sandbox."""
    cli = Cli(sandbox=served)
    served.watch(lambda phase, record: cli.seen.update(secrets_of(served)) if phase == "acted" else None)
    return cli


@pytest.fixture
def embedded(state_file):
    """Runs commands with --sandbox."""

    class Embedded(Cli):
        def __call__(self, *arguments, **expected):
            ran = super().__call__(*arguments, "--sandbox", **expected)
            if state_file.exists():
                self.seen |= secrets_of(self.now)
            self.shows_no_secret(ran)
            return ran

        @property
        def now(self):
            return Sandbox(state_file=state_file)

    return Embedded()


@pytest.fixture
def bare():
    """Runs commands with nothing set up."""
    return Cli()
