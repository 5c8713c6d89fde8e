"""A provider, a Domo and a configuration for tests of the keeper, and a time that passes when it is told to."""

import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from domokit.auth import ClientOptions
from domokit.stores import FileStore
from domokit.workflows.keeping import Keeping, read_config

SECONDS = 60.0  # at most, for whatever takes a moment
LIFETIME = 1000.0  # of the provider's tokens
DUE = 0.9 * LIFETIME  # then every token is due, and none is dead


class Time:
    """The time of everybody: the steady clock and the wall clock of the keeper, the provider's and Domo's.

    Nothing here lives so short that it could die of a slow machine.
    """

    def __init__(self, monkeypatch, sandbox, *servers):
        self.sandbox, self.servers = sandbox, servers
        self.passed = 0.0
        self.stepped = 0.0  # by which the wall clock of the keeper is wrong
        for module in ("keeper", "client"):
            monkeypatch.setattr(f"domokit.oauth.{module}.steady", lambda: time.monotonic() + self.passed)

    def clock(self):
        return datetime.now(UTC) + timedelta(seconds=self.passed + self.stepped)

    def passes(self, seconds):
        self.passed += seconds
        self.sandbox.clock.advance(seconds)
        for server in self.servers:
            server.advance(seconds)
            server.date_ahead += seconds


class World:
    """Writes configurations whose instance is the sandbox and whose provider is the server, and looks at what comes."""

    def __init__(self, directory, server, sandbox, setenv):
        self.directory, self.server, self.sandbox, self._setenv = Path(directory), server, sandbox, setenv
        self.path = self.directory / "keep.toml"
        self.store = '[stores.tokens]\nkind = "file"\npath = "tokens.json"\n'
        self.keeper = {"check_every": "200ms", "first_retry": "1s", "last_retry": "2s"}
        self.secrets = {sandbox.password}
        self.env = {}
        self.sections = {}
        self.secret("DOMO_PASSWORD_OF_KEEP", sandbox.password)

    def secret(self, name, value):
        """Put a secret where a reference finds it; the reference."""
        self.secrets.add(value)
        self.env[name] = value
        self._setenv(name, value)
        return f"env:{name}"

    # -- credentials

    def alteryx(self, name, *, server=None, publish=True, **more):
        """A public client with a rotating refresh token, which was issued to it elsewhere."""
        server = server or self.server
        server.jwt = True
        server.add_client("alteryx", auth="none")
        access, refresh = server.issue("alteryx", user=name)
        self._add(
            name,
            kind="alteryx",
            issuer=server.issuer,
            user=name,
            access_token=self.secret(f"ACCESS_{name.upper()}", access),
            refresh_token=self.secret(f"REFRESH_{name.upper()}", refresh),
            publish=self._publish(name, publish),
            **more,
        )

    def rdp(self, name, *, server=None, publish=True, **more):
        """A password and refresh tokens."""
        server = server or self.server
        server.add_client("app-key", "")
        password = f"canary-password-of-{name}"
        server.add_user(name, password)
        self._add(
            name,
            kind="rdp",
            username=name,
            password=self.secret(f"PASSWORD_{name.upper()}", password),
            app_key="app-key",
            token_url=server.token_url,
            publish=self._publish(name, publish),
            **more,
        )

    def client(self, name, *, server=None, **more):
        """An id and a secret, by configuration alone."""
        server = server or self.server
        server.add_client(name, f"canary-secret-of-{name}")
        self._add(
            name,
            kind="oauth",
            token_url=server.token_url,
            client_id=name,
            client_secret=self.secret(f"SECRET_{name.upper()}", f"canary-secret-of-{name}"),
            grants=["client_credentials"],
            **more,
        )

    def access_token(self, name, *, duration=LIFETIME, min_remaining=LIFETIME / 5, **more):
        """A token of Domo's own."""
        self._add(
            name,
            kind="access-token",
            instance="acme",
            owner=self.sandbox.username,
            name=name,
            duration=f"{duration}s",
            min_remaining=f"{min_remaining}s",
            account=f"{name} token",
            allow_external_use=True,
            **more,
        )

    def _publish(self, name, wanted):
        return {"instance": "acme", "account": f"{name} token"} if wanted else None

    def _add(self, credential, **fields):
        self.sections[credential] = {field: value for field, value in fields.items() if value is not None}

    # -- the configuration

    def write(self, more=""):
        """Put the file in place, and read it."""
        parts = [
            _table("keeper", self.keeper),
            self.store,
            _table(
                "instances.acme",
                {
                    "auth": "session",
                    "instance": self.sandbox.instance,
                    "username": self.sandbox.username,
                    "password": "env:DOMO_PASSWORD_OF_KEEP",
                    "base_url": self.sandbox.base_url,
                },
            ),
            *(_table(f"credentials.{name}", fields) for name, fields in self.sections.items()),
            more,
        ]
        beside = self.path.with_suffix(".new")
        beside.write_text("".join(parts))
        beside.replace(self.path)
        return self.path

    def keeping(self, time=None):
        options = ClientOptions(clock=time.clock) if time else None
        return Keeping(read_config(self.write()), options=options)

    @asynccontextmanager
    async def at_work(self, keeping, **more):
        """A keeper that runs during the block."""
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: keeping.run(stop, **more))
            await until(lambda: keeping.status.credentials, "it has begun")
            yield stop
            stop.set()

    # -- what comes of it

    def published(self, name):
        """The token that readers of the account find now; None, if there is no such account yet."""
        for account in list(self.sandbox.state.accounts.values()):
            if account.name == f"{name} token":
                held = account.configuration
                return held.get("domoAccessToken") or json.loads(held["credentials"]).get("access_token")
        return None

    def lives(self, name):
        """Whether the token that readers find is good for anything."""
        token = self.published(name)
        if self.sections[name]["kind"] == "access-token":
            return self.sandbox.signs_in(token) == self.sandbox.admin.id
        return self.server.is_alive(token)

    def newest(self, user):
        """The newest access token that the provider has issued to a user."""
        return [family for family in self.server.families if family.user == user][-1].access[-1]

    async def stored(self):
        """The keys in the file."""
        return await FileStore(self.directory / "tokens.json").keys()


async def until(condition, what="", seconds=SECONDS):
    """Wait for something that is bound to happen."""
    with anyio.move_on_after(seconds):
        while not condition():
            await anyio.sleep(0.01)
        return
    raise AssertionError(f"not so after {seconds} seconds: {what}")


def _table(name, fields):
    return f"\n[{name}]\n" + "".join(f"{field} = {_value(value)}\n" for field, value in fields.items())


def _value(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_value(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)  # texts, numbers, flags and lists of these are the same in TOML
