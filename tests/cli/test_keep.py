"""`domokit keep` and `domokit keep status`: what they print, and keepers that are stopped, killed and told things."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from domokit._secrets import Secret
from domokit.cli import keep
from domokit.oauth.record import TokenRecord
from domokit.stores import EncryptionKey, FileStore
from domokit.workflows.keeping import read_status
from tests.oauth.server import OAuthServer
from tests.redis_server import RedisServer
from tests.workflows.keep_world import LIFETIME, SECONDS, World

from .helpers import buffered

LIFE = 8.0  # seconds, of tokens that are watched while they are replaced
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.fixture
def provider():
    with OAuthServer(lifetime=LIFETIME) as provider:
        yield provider


@pytest.fixture
def world(tmp_path, provider, served, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return World(tmp_path, provider, served, monkeypatch.setenv)


@pytest.fixture
def run(cli, world, provider):
    """Runs commands and looks for every secret in what they print."""

    def run(*arguments, **expected):
        cli.seen |= world.secrets
        ran = cli("keep", *map(str, arguments), **expected)
        cli.seen |= provider.issued
        cli.shows_no_secret(ran)
        return ran

    return run


def fingerprint(token):
    return Secret(token).fingerprint


# -- one command, in this process


def test_once_and_what_it_prints(run, world, provider):
    world.alteryx("alteryx")
    world.rdp("rdp")
    world.access_token("nightly")
    path = world.write()
    ran = run("--once", path)
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"Keeper {os.getpid()} on ")
    assert ", not at work: it ended at 20" in lines[0]
    assert lines[1].split("  ")[0] == "name"
    for name, kind, line in zip(world.sections, ("alteryx", "rdp", "access-token"), lines[2:], strict=True):
        assert line.split()[:3] == [name, kind, "fresh"]
    assert ran.err == ""
    assert all(map(world.lives, world.sections))

    told = run("--once", path, "--json").json
    assert [(one["name"], one["state"], one["renewals"]) for one in told["credentials"]] == [
        ("alteryx", "fresh", 0),
        ("rdp", "fresh", 0),
        ("nightly", "fresh", 0),
    ]
    assert told["credentials"][1]["fingerprint"] == fingerprint(world.newest("rdp"))
    assert told["is_running"] is False
    assert provider.count() == 1
    shown = run("--once", path, "--verbose")
    assert "DEBUG domokit" in shown.err


def test_once_with_something_that_fails(run, world, monkeypatch):
    world.rdp("bad")
    world.rdp("good")
    monkeypatch.setenv("PASSWORD_BAD", "wrong-password-canary")
    ran = run("--once", world.write(), code=1)
    assert ran.out.splitlines()[2].split()[:3] == ["bad", "rdp", "failing"]
    assert ran.out.splitlines()[3].split()[:3] == ["good", "rdp", "fresh"]
    assert ran.out.splitlines()[4].startswith("bad: 20")
    told = run("--json", "--once", world.path, code=1).json
    assert [one["needs_human"] for one in told["credentials"]] == [True, False]


@pytest.mark.parametrize("order", ["--check FILE --json", "FILE --check --json", "run --json --check FILE"])
def test_options_stand_where_they_like(run, world, order):
    world.rdp("rdp")
    path = world.write()
    found = run(*[path if one == "FILE" else one for one in order.split()]).json
    assert [one["what"] for one in found] == [
        "instances.acme",
        "stores.tokens",
        "credentials.rdp.password",
        "credentials.rdp",
    ]
    assert all(one["good"] and one["error"] is None for one in found)


def test_a_check_that_finds_something(run, world, provider, served, monkeypatch):
    world.rdp("rdp")
    world.access_token("nightly")
    monkeypatch.delenv("PASSWORD_RDP")
    accounts = dict(served.state.accounts)
    ran = run("--check", world.write(), code=1)
    rows = {line.split()[0]: line for line in ran.out.splitlines()}
    assert rows["credentials.rdp.password"].split()[1] == "no"
    assert "env:PASSWORD_RDP holds nothing" in rows["credentials.rdp.password"]
    assert rows["credentials.nightly"].split()[1] == "yes"
    found = {one["what"]: one for one in run("--check", world.path, "--json", code=1).json}
    assert found["credentials.rdp"]["good"] is False
    assert (provider.count(), served.state.accounts) == (0, accounts)
    assert not world.path.with_name("keep.status.json").exists()


def broken_off(path):
    path.write_bytes(path.read_bytes()[:-40])


def open_to_others(path):
    path.chmod(0o644)


def somebody_elses(path):
    path.write_text("notes\n")


@pytest.mark.parametrize(
    ("damage", "what", "said"),
    [
        (broken_off, "stores.tokens", "will be set aside when it is used"),
        (open_to_others, "stores.tokens", "is open to others (mode 644)"),
        (somebody_elses, "stores.tokens", "is no file of tokens. It was left as it is"),
        (None, "credentials.alteryx", "does not open with the key from env:KEEP_KEY"),
    ],
    ids=["corrupt", "0644", "foreign", "wrong key"],
)
def test_a_check_leaves_a_store_as_it_is(run, world, provider, tmp_path, damage, what, said):
    world.secret("KEEP_KEY", EncryptionKey.generate().reveal())
    world.store += 'encryption = "env:KEEP_KEY"\n'
    world.alteryx("alteryx", publish=False)
    run("--once", world.write())
    if damage is None:
        world.secret("KEEP_KEY", EncryptionKey.generate().reveal())
    else:
        damage(tmp_path / "tokens.json")

    def everything():
        return {one: (one.stat().st_mode, one.is_file() and one.read_bytes()) for one in tmp_path.rglob("*")}

    before = everything()
    for _ in range(2):
        found = {one["what"]: one for one in run("--check", world.path, "--json", code=1).json}
        assert found[what]["good"] is False
        assert said in found[what]["error"]
        assert found["credentials.alteryx"]["good"] is False
    assert everything() == before
    assert provider.count() == 0


def test_once_and_check_exclude_each_other(run, world):
    world.rdp("rdp")
    assert "exclude each other" in run("--once", "--check", world.write(), code=2).err


@pytest.mark.parametrize("arguments", [(), ("--once",), ("--check",)], ids=["run", "once", "check"])
def test_a_config_that_will_not_do(run, world, arguments):
    world.rdp("rdp")
    world.sections["rdp"]["password"] = "canary-literal-password"
    world.secrets.add("canary-literal-password")
    ran = run(*arguments, world.write(), code=2)
    assert ran.out == ""
    assert "credentials.rdp.password is a secret and is given by reference" in ran.err
    error = run(*arguments, world.path, "--json", code=2).error
    assert error["error"] == "InvalidInputError"
    run(*arguments, world.path, "--verbose", code=2)


def test_a_config_that_is_not_there(run, tmp_path):
    for arguments in ((), ("--once",), ("--check",), ("status",)):
        assert "nothing.toml cannot be read" in run(*arguments, tmp_path / "nothing.toml", code=2).err


def test_a_status_before_any_keeper(run, world):
    world.rdp("rdp")
    ran = run("status", world.write(), code=2)
    assert "no keeper has written" in ran.err
    assert "Start one: domokit keep" in ran.err
    assert run("status", world.path, "--json", code=2).error["error"] == "InvalidInputError"


def test_a_status_after_the_keeper(run, world):
    world.rdp("rdp")
    run("--once", world.write())
    ran = run("status", world.path)
    assert ", not at work: it ended at 20" in ran.out.splitlines()[0]
    assert ran.out.splitlines()[2].split()[:3] == ["rdp", "rdp", "fresh"]
    for order in (("status", world.path, "--json"), ("--json", "status", world.path), ("status", "--json", world.path)):
        assert (
            run(
                *order,
            ).json["credentials"][0]["name"]
            == "rdp"
        )


def test_help(bare):
    text = bare("keep", "--help").out
    for word in (
        "--once",
        "--check",
        "--json",
        "--verbose",
        "CONFIG.toml",
        "domokit keep status CONFIG.toml",
        "SIGHUP",
    ):
        assert word in text
    assert bare("keep", "run", "--help").out == text
    assert bare("keep", "-h").out == text
    status = bare("keep", "status", "--help").out
    assert "Exit code 1" in status
    for part in ("run", "status"):
        assert part in bare("keep", code=2).out
    assert "No such option" in bare("keep", "--frob", "x.toml", code=2).err
    assert "Missing argument" in bare("keep", "status", code=2).err
    assert "Missing argument" in bare("keep", "--once", code=2).err


# -- keepers in processes of their own


class Keeper:
    """`domokit keep FILE` in a process of its own."""

    def __init__(self, world, path, *options):
        self.world, self.path = world, Path(path)
        self.out, self.err = self.path.with_suffix(".out"), self.path.with_suffix(".err")
        arguments = [sys.executable, "-m", "domokit", "keep", *options, str(path)]
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=err, env=buffered() | world.env)
        if sys.platform == "linux":
            self.command_line = Path(f"/proc/{self.process.pid}/cmdline").read_text()

    @property
    def log(self):
        return self.err.read_text()

    @property
    def status(self):
        return read_status(self.path.with_suffix(".status.json"))

    def credential(self, name):
        return next((one for one in self.status.credentials if one.name == name), None)

    def wait(self, condition, what=""):
        """Until something holds that is bound to come about."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert self.process.poll() is None, f"it has ended: {self.log}"
            assert time.monotonic() < deadline, f"not so after {SECONDS} seconds: {what}\n{self.log}"
            time.sleep(0.02)
        return self

    def begun(self):
        return self.wait(lambda: "keeping " in self.log, "it is at work")

    def fresh(self, *names):
        """Until its status tells so."""

        def are_fresh():
            try:
                found = self.status
            except ValueError:
                return False
            return (
                found.pid == self.process.pid
                and [one.name for one in found.credentials] == list(names)
                and all(one.state == "fresh" for one in found.credentials)
            )

        return self.wait(are_fresh, f"{names} are fresh")

    def signal(self, number):
        self.process.send_signal(number)
        return self

    def ended(self, code=0):
        assert self.process.wait(SECONDS) == code, self.log
        return self


@pytest.fixture
def keepers(world, provider, served):
    """Starts keepers, and ends what is left; then looks for every secret in all they told."""
    started, seen = [], set()
    served.watch(lambda phase, record: seen.update(one.token for one in served.state.access_tokens.values()))
    served.watch(lambda phase, record: seen.update(one.token for one in served.state.sessions.values()))

    def start(*options, path=None):
        started.append(Keeper(world, path or world.path, *options))
        return started[-1]

    yield start
    provider.heal()
    for keeper in started:
        if keeper.process.poll() is None:
            keeper.process.kill()
        keeper.process.wait()
    told = "".join(keeper.log + keeper.out.read_text() + getattr(keeper, "command_line", "") for keeper in started)
    told += "".join(path.read_text() for path in world.directory.glob("*.status.json"))
    assert "Traceback" not in told
    for secret in (*provider.issued, *world.secrets, *seen):
        assert secret not in told


@pytest.fixture
def held(provider):
    """Holds every answer of the provider back, when the request has been acted upon, until `go_on` is set."""

    class Held:
        acted, go_on = threading.Event(), threading.Event()

    def hold(request):
        Held.acted.set()
        assert Held.go_on.wait(SECONDS)

    provider.on_acted = hold
    yield Held
    Held.go_on.set()


def stored(world):
    """The token in the store of a world with one credential."""

    async def read():
        store = FileStore(world.directory / "tokens.json")
        (key,) = await store.keys()
        return TokenRecord.decoded((await store.load(key)).text, key)

    return anyio.run(read)


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_told_to_stop_it_finishes_what_is_under_way(keepers, world, provider, held, number):
    provider.lifetime = 0.5  # of the first token: it is due at once
    world.alteryx("alteryx")
    provider.lifetime = LIFETIME
    world.write()
    keeper = keepers().begun()
    assert held.acted.wait(SECONDS)
    keeper.signal(number).wait(lambda: "told to stop" in keeper.log, "it has heard")
    assert keeper.process.poll() is None
    held.go_on.set()
    keeper.ended(0)
    token = stored(world).token
    assert token.access_token.reveal() == world.newest("alteryx") == world.published("alteryx")
    assert token.refresh_token.reveal() == provider.families[0].refresh[-1]
    assert (provider.refreshes, provider.count(), provider.reuses) == (1, 1, [])
    assert not keeper.status.is_running
    assert keeper.status.ended_at is not None
    told = keeper.credential("alteryx")
    assert (told.state, told.renewals, told.last_error) == ("stopped", 1, None)
    assert told.fingerprint == token.fingerprint


@needs_signals
def test_told_twice_it_breaks_off_but_loses_no_token(keepers, world, provider, held):
    world.rdp("rdp")
    world.write()
    keeper = keepers("--verbose").begun()
    assert held.acted.wait(SECONDS)
    keeper.signal(signal.SIGTERM).wait(lambda: "told to stop" in keeper.log)
    keeper.signal(signal.SIGTERM)
    threading.Timer(0.5, held.go_on.set).start()
    keeper.ended(1)
    assert stored(world).token.access_token.reveal() == world.newest("rdp")
    assert keeper.status.ended_at is not None


@needs_signals
def test_once_is_told_to_stop(keepers, world, provider, held):
    world.keeper["at_once"] = 1
    for name in ("first", "second"):
        world.rdp(name, publish=False)
    world.write()
    keeper = keepers("--once", "--json")
    assert held.acted.wait(SECONDS)
    keeper.signal(signal.SIGTERM)
    threading.Timer(0.5, held.go_on.set).start()
    keeper.ended(1)
    told = json.loads(keeper.out.read_text())
    assert sorted(one["state"] for one in told["credentials"]) == ["fresh", "waiting"]
    assert provider.count() == 1


@needs_signals
def test_killed_and_restarted_it_goes_on(keepers, world, provider, run):
    world.alteryx("alteryx")
    world.rdp("rdp")
    world.access_token("nightly")
    path, names = world.write(), tuple(world.sections)
    keeper = keepers().fresh(*names)
    ran = run("status", path)
    assert f"Keeper {keeper.process.pid} on " in ran.out
    assert ", at work, since" in ran.out
    published = {name: world.published(name) for name in names}
    keeper.signal(signal.SIGKILL).ended(-signal.SIGKILL)
    first = run("status", path, code=1).out.splitlines()[0]
    assert first.startswith(f"Keeper {keeper.process.pid} on ")
    assert ", not at work: it died, and was last heard of at 20" in first
    told = run("status", path, "--json", code=1).json
    assert (told["is_running"], told["has_died"]) == (False, True)
    assert [one["state"] for one in told["credentials"]] == ["fresh"] * 3, "as far as was told"

    again = keepers().fresh(*names)
    told = run("status", path, "--json").json
    assert (told["pid"], told["is_running"], told["has_died"]) == (again.process.pid, True, False)
    assert {name: world.published(name) for name in names} == published
    assert provider.count() == 1
    again.signal(signal.SIGTERM).ended(0)
    assert ", not at work: it ended at 20" in run("status", path).out.splitlines()[0]
    told = run("status", path, "--json").json
    assert (told["is_running"], told["has_died"]) == (False, False)
    assert path.with_suffix(".status.json").stat().st_mode & 0o777 == 0o600


@needs_signals
def test_once_beside_a_keeper_leaves_it_its_status(keepers, world, provider, run):
    world.keeper["check_every"] = "100s"  # so that it does not soon write again what another has overwritten
    world.rdp("rdp")
    path = world.write()
    keeper = keepers().fresh("rdp")
    once = run("--once", path)
    assert f"Keeper {os.getpid()} on " in once.out
    assert keeper.status.pid == keeper.process.pid
    first = run("status", path).out.splitlines()[0]
    assert first.startswith(f"Keeper {keeper.process.pid} on ")
    assert ", at work, since" in first
    keeper.signal(signal.SIGKILL).ended(-signal.SIGKILL)
    run("--once", path)
    assert run("status", path, "--json").json["pid"] == os.getpid(), "nobody is at work any more"
    assert provider.count() == 1


@needs_signals
def test_three_kinds_over_lifetimes_of_a_killed_and_a_second_keeper(keepers, world, provider, served, run):
    provider.lifetime = LIFE
    world.keeper |= {"check_every": "1s", "first_retry": "1s", "last_retry": "1s"}
    world.alteryx("alteryx")
    world.rdp("rdp")
    world.access_token("nightly", duration=LIFE, min_remaining=LIFE / 3)
    path, names = world.write(), tuple(world.sections)
    published, dead, is_over = {name: [] for name in names}, [], threading.Event()

    def look():
        """At what readers of the accounts find, all the time."""
        while not is_over.wait(0.01):
            for name in names:
                token = world.published(name)
                if published[name][-1:] != [token]:
                    published[name].append(token)
                # What was replaced between these two looks may be revoked by now.
                if not world.lives(name) and world.published(name) == token:
                    dead.append((name, len(published[name])))

    def has_time():
        """Whether no renewal is under way, and none is due before the next keeper can have come."""
        told, now = keeper.status.credentials, datetime.now(UTC)
        return all(
            one.fingerprint == fingerprint(world.published(one.name))
            and (one.expires_at - now).total_seconds() > 0.55 * LIFE
            for one in told
        )

    keeper = keepers().fresh(*names)
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        keeper.wait(lambda: all(len(tokens) >= 3 for tokens in published.values()), "each is replaced twice")
        keeper.wait(has_time, "all of them are young")
        keeper.signal(signal.SIGKILL).ended(-signal.SIGKILL)
        assert "it died" in run("status", path, code=1).out
        again = keepers()
        seen = {name: len(tokens) for name, tokens in published.items()}
        again.wait(
            lambda: all(len(published[name]) >= seen[name] + 2 for name in names), "each is replaced twice again"
        )
        again.fresh(*names)
        again.signal(signal.SIGTERM).ended(0)
    finally:
        is_over.set()
        watcher.join()
    assert dead == []
    assert provider.reuses == []
    assert provider.count("password") == 1
    assert [(one.state, one.failures) for one in again.status.credentials] == [("stopped", 0)] * 3
    assert "it ended" in run("status", path).out


@needs_signals
def test_killed_in_mid_renewal_and_restarted(keepers, world, provider, held):
    provider.lifetime, provider.grace = 2, 3600
    world.alteryx("alteryx")
    world.write()
    keeper = keepers().begun()
    assert held.acted.wait(SECONDS)
    keeper.signal(signal.SIGKILL).ended(-signal.SIGKILL)
    held.go_on.set()
    provider.on_acted = None
    provider.lifetime = LIFETIME
    assert stored(world).is_outcome_unknown
    again = keepers().fresh("alteryx")
    # Not before the access token has died, and then because there was nothing to lose.
    assert len(provider.within_grace) == 1
    assert provider.reuses == []
    again.signal(signal.SIGTERM).ended(0)
    assert world.published("alteryx") == world.newest("alteryx")


@needs_signals
def test_what_is_reloaded_and_what_goes_on(keepers, world, provider, run):
    for name in ("same", "goes", "new"):
        world.rdp(name)
    new = world.sections.pop("new")
    path = world.write()
    keeper = keepers().fresh("same", "goes")
    adopted = keeper.credential("same").adopted

    del world.sections["goes"]
    world.sections["new"] = new
    world.write()
    keeper.signal(signal.SIGHUP).fresh("same", "new")
    assert provider.count() == 3
    assert (keeper.credential("same").renewals, keeper.credential("same").adopted) == (1, adopted)

    world.write("[credentials.new.oops]\n")  # without a signal: the file is watched
    keeper.wait(lambda: keeper.status.config_error)
    for form in ((), ("--json",)):
        assert "credentials.new.oops is not known" in run("status", path, *form).out
    path.write_text("[half a tab")
    keeper.wait(lambda: "is not TOML" in (keeper.status.config_error or ""))
    assert "is not in use" in run("status", path).out
    assert [one.state for one in keeper.status.credentials] == ["fresh", "fresh"]

    world.write()
    keeper.wait(lambda: keeper.status.config_error is None)
    assert "is not in use" not in run("status", path).out
    keeper.signal(signal.SIGTERM).ended(0)
    assert provider.count() == 3


@needs_signals
def test_a_hangup_has_what_fails_tried_at_once(keepers, world, provider, run):
    world.keeper |= {"first_retry": "1h", "last_retry": "1h"}
    world.rdp("rdp")
    provider.add_user("rdp", "another password")
    path = world.write()
    keeper = keepers().begun()
    keeper.wait(lambda: "WARNING domokit.keep: rdp: " in keeper.log)
    keeper.wait(lambda: keeper.credential("rdp").state == "failing")
    ran = run("status", path, code=1)
    assert ran.out.splitlines()[-1].startswith("rdp: 20")
    provider.add_user("rdp", "canary-password-of-rdp")
    keeper.signal(signal.SIGHUP).fresh("rdp")
    run("status", path)
    keeper.signal(signal.SIGTERM).ended(0)
    assert provider.count() == 2


@needs_signals
def test_two_keepers_share_the_work_and_survive_each_other(keepers, world, provider, served, tmp_path):
    provider.lifetime = 2.0
    made = []

    def note(phase, record):
        if phase == "acted" and record.method == "POST" and record.path == "/api/data/v1/accesstokens":
            made.append(record.json["expires"])

    with RedisServer(tmp_path / "redis") as redis:
        world.secret("REDIS_URL", redis.url)
        world.store = '[stores.tokens]\nkind = "redis"\nurl = "env:REDIS_URL"\nlease = "5s"\n'
        world.alteryx("alteryx")
        world.rdp("rdp")
        world.access_token("nightly", duration=4, min_remaining=2)
        served.watch(note)
        text = world.write().read_text()
        paths = tmp_path / "first.toml", tmp_path / "second.toml"
        for path in paths:
            path.write_text(text)
        first, second = (keepers(path=path) for path in paths)
        for keeper in (first, second):
            keeper.fresh("alteryx", "rdp", "nightly")

        def adopted(keeper):
            return keeper.credential("alteryx").adopted + keeper.credential("rdp").adopted

        first.wait(lambda: provider.refreshes >= 4 and adopted(first) + adopted(second) >= 4 and len(made) >= 3)
        first.signal(signal.SIGKILL).ended(-signal.SIGKILL)
        before, rotated = provider.refreshes, len(made)
        second.wait(lambda: provider.refreshes >= before + 4 and len(made) >= rotated + 2, "the other goes on")
        second.fresh("alteryx", "rdp", "nightly")
        second.signal(signal.SIGTERM).ended(0)

    assert provider.count("password") == 1, "one signed in, the other took it over"
    assert provider.count() == provider.count("password") + provider.refreshes
    assert provider.reuses == []
    for user in ("alteryx", "rdp"):
        assert world.published(user) == world.newest(user)
    # A new one is made when less than two of four seconds are left of the one before, and by one keeper only.
    assert all(later - earlier >= 2000 for earlier, later in pairwise(made))
    tokens = {one.token for one in served.state.access_tokens.values() if one.name == "nightly"}
    assert {token for token in tokens if served.signs_in(token)} <= {world.published("nightly")}


def test_the_log_goes_when_the_keeper_goes(monkeypatch):
    import logging

    log = logging.getLogger("domokit")
    before = log.level, list(log.handlers)
    for wanted in (True, False):
        with keep._log_on_stderr(wanted=wanted):
            assert (len(log.handlers) > len(before[1])) is wanted
        assert (log.level, list(log.handlers)) == before
