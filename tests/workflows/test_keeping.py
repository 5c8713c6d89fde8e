"""The keeper of many credentials, in this process: what stays fresh, whatever else is broken."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time as real_time
from datetime import UTC, datetime, timedelta

import anyio
import attrs
import keyring
import pytest

from domokit import Secret, errors
from domokit.oauth import TokenKeeper
from domokit.sandbox import Sandbox
from domokit.stores import EncryptionKey, FileStore, RedisStore
from domokit.workflows.keeping import CredentialStatus, Keeping, KeepStatus, read_config, read_status
from domokit.workflows.keeping import keeping as keeping_module
from domokit.workflows.keeping.charges import AccessTokenCharge, OAuthCharge
from tests.oauth.server import OAuthServer
from tests.redis_server import RedisServer, free_port
from tests.stores.made_up import MadeUpKeyring
from tests.workflows.keep_world import DUE, LIFETIME, Time, World, until

LEAST_WAIT = keeping_module._LEAST_WAIT
DAY = 86400.0
LOGIN = "/api/content/v2/authentication"


@pytest.fixture(scope="module")
def one_sandbox():
    """One server for all tests: to end one takes longer than most of them."""
    with Sandbox(users=1).serve() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(one_sandbox):
    sandbox = one_sandbox.app.company = Sandbox(users=1)
    sandbox.served_at = one_sandbox.base_url
    return sandbox


@pytest.fixture
def server():
    with OAuthServer(lifetime=LIFETIME) as server:
        yield server


@pytest.fixture
def world(tmp_path, server, sandbox, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return World(tmp_path, server, sandbox, monkeypatch.setenv)


@pytest.fixture
def time(monkeypatch, server, sandbox):
    return Time(monkeypatch, sandbox, server)


@pytest.fixture(autouse=True)
def _looks_are_frequent(monkeypatch):
    for name in ("_LEAST_WAIT", "_FILE_EVERY", "_STATUS_EVERY"):
        monkeypatch.setattr(keeping_module, name, 0.1)


@pytest.fixture
def looks(monkeypatch):
    """How often each credential was looked at."""
    counted = {}

    def count(kind):
        look = kind.look

        async def counting(self, *arguments):
            counted[self.name] = counted.get(self.name, 0) + 1
            return await look(self, *arguments)

        monkeypatch.setattr(kind, "look", counting)

    count(OAuthCharge)
    count(AccessTokenCharge)
    return counted


def of(keeping, name):
    return next(one for one in keeping.status.credentials if one.name == name)


def are(keeping, state):
    return [one.state for one in keeping.status.credentials] == [state] * len(keeping.config.credentials)


def sign_ins(sandbox):
    return [record for record in sandbox.requests if record.path == LOGIN]


# -- what it is for


async def test_three_kinds_over_several_lifetimes(world, time, server, sandbox):
    world.alteryx("alteryx")
    world.rdp("rdp")
    world.access_token("nightly")
    names = list(world.sections)
    dead = []

    def look_at_nightly(phase, record):
        """With every request that Domo has carried out, so that no moment is missed."""
        token = world.published("nightly")
        if phase == "acted" and token is not None and sandbox.signs_in(token) is None:
            dead.append(("nightly", record))

    def look_at_the_others():
        dead.extend(name for name in names[:2] if not world.lives(name))
        return False

    sandbox.watch(look_at_nightly)
    keeping = world.keeping(time)
    async with world.at_work(keeping), anyio.create_task_group() as group:
        await until(lambda: all(map(world.published, names)), "all are published")
        group.start_soon(until, look_at_the_others)
        for _ in range(5):
            before = {name: world.published(name) for name in names}
            time.passes(DUE)
            await until(lambda before=before: all(world.published(name) != before[name] for name in names))
            await until(lambda: all(map(world.lives, names)), "the newest lives")
        await until(lambda: all(one.renewals >= 5 for one in keeping.status.credentials))
        group.cancel_scope.cancel()
    assert dead == []
    assert server.reuses == []
    assert server.refreshes == 10
    assert server.count() == 11, "one more, by password"
    renewals = {one.name: (one.renewals, one.adopted, one.failures) for one in keeping.status.credentials}
    # The first that Alteryx gave was brought along; the first of Domo's own had to be made.
    assert renewals == {"alteryx": (5, renewals["alteryx"][1], 0), "rdp": (6, 0, 0), "nightly": (6, 0, 0)}
    assert all(one.last_error is None for one in keeping.status.credentials)
    assert of(keeping, "rdp").expires_at - of(keeping, "rdp").last_renewal == timedelta(seconds=LIFETIME)


async def test_the_next_keeper_goes_on_where_the_first_ended(world, time, server, sandbox):
    world.alteryx("alteryx")
    world.rdp("rdp")
    world.access_token("nightly")
    async with world.at_work(first := world.keeping(time)):
        await until(lambda: are(first, "fresh"))
    assert are(first, "stopped")
    published = {name: world.published(name) for name in world.sections}
    async with world.at_work(second := world.keeping(time)):
        await until(lambda: are(second, "fresh"))
    assert {name: world.published(name) for name in world.sections} == published
    assert server.count() == 1, "the one sign-in of the first keeper"
    assert [(one.renewals, one.adopted) for one in second.status.credentials] == [(0, 1)] * 3
    tokens = [token for token in sandbox.state.access_tokens.values() if token.name == "nightly"]
    assert len(tokens) == 1
    assert of(second, "nightly").expires_at == of(first, "nightly").expires_at


# -- whatever else is broken


class Broken:
    """Places for tokens and providers that fail when they are told to."""

    def __init__(self, world, tmp_path):
        self.directory, self.aside = tmp_path / "down", tmp_path / "aside"
        self.directory.mkdir(mode=0o700)
        self.redis = RedisServer(tmp_path / "redis") if shutil.which("redis-server") else None
        url = self.redis.start().url if self.redis else f"redis://127.0.0.1:{free_port()}"
        world.secret("REDIS_URL", url)
        world.store += f"""
[stores.down]
kind = "file"
path = "{self.directory}/tokens.json"
[stores.redis]
kind = "redis"
url = "env:REDIS_URL"
"""

    def store_fails(self):
        """A file in the place of the directory stops even a user who may do anything."""
        self.directory.rename(self.aside)
        self.directory.write_text("")
        if self.redis:
            self.redis.pause()

    def store_works(self):
        self.directory.unlink()
        self.aside.rename(self.directory)
        if self.redis:
            self.redis.resume()


@pytest.fixture
def broken(world, tmp_path):
    broken = Broken(world, tmp_path)
    yield broken
    if broken.redis:
        broken.redis.stop()


async def test_of_200_credentials_only_those_fail_that_must(world, time, server, sandbox, broken, looks):
    """Two providers and two stores are down, the clock is wrong by an hour, and it is told to stop in mid-renewal."""
    with OAuthServer(lifetime=LIFETIME) as failing, OAuthServer(lifetime=LIFETIME) as hanging:
        good = [f"good{number}" for number in range(150)]
        for part in range(5):
            world.store += f'[stores.tokens{part}]\nkind = "file"\npath = "tokens{part}.json"\n'
        for number, name in enumerate(good):
            world.rdp(name, publish=number < 5, store=f"tokens{number % 5}")
        world.access_token("nightly")
        bad = {
            "failing": [f"failing{number}" for number in range(10)],
            "hanging": [f"hanging{number}" for number in range(15)],
            "down": [f"down{number}" for number in range(12)],
            "redis": [f"redis{number}" for number in range(12)],
        }
        for name in bad["failing"]:
            world.alteryx(name, server=failing, publish=False)
        for name in bad["hanging"]:
            world.rdp(name, server=hanging, publish=False)
        for store in ("down", "redis"):
            for name in bad[store]:
                world.rdp(name, publish=False, store=store)
        assert len(world.sections) == 200
        fine = [*good, "nightly"]
        published = [*good[:5], "nightly"]
        servers = time.servers = (server, failing, hanging)
        keeping = world.keeping(time)
        async with world.at_work(keeping) as stop:
            await until(lambda: are(keeping, "fresh"), "all are fresh at first", 120)
            count = failing.count(), hanging.count()
            sign_ins = [one.count("password") for one in servers]
            failing.fail("status", times=None)
            hanging.fail("hang", times=None)
            broken.store_fails()
            looks.clear()
            began = real_time.monotonic()
            before = {name: of(keeping, name).renewals for name in fine}
            time.stepped = 3600.0
            time.passes(DUE)
            await until(
                lambda: all(of(keeping, name).renewals > before[name] for name in fine), "the others are renewed", 120
            )
            ill = bad["failing"] + bad["down"] + bad["redis"]
            await until(lambda: all(of(keeping, name).state == "failing" for name in ill), "the ill are found out")
            assert all(of(keeping, name).state == "fresh" for name in fine)
            assert all(map(world.lives, published))
            assert not any(of(keeping, name).failures for name in fine)
            # The first wait is half a second at least, and the following ones a whole one.
            elapsed = real_time.monotonic() - began
            assert all(looks.get(name, 0) <= 3 + elapsed for name in ill)
            assert all(looks.get(name, 0) <= 3 + elapsed / 0.1 for name in fine)
            # At most two requests for each look, by refresh and by password; one look may have begun before.
            for one, requests, names in zip((failing, hanging), count, (bad["failing"], bad["hanging"]), strict=True):
                assert one.count() - requests <= 2 * sum(looks.get(name, 0) + 1 for name in names)

            in_flight, go_on = [], threading.Event()
            server.on_acted = lambda request: in_flight.append(request) or go_on.wait(60)
            time.passes(DUE)
            await until(lambda: len(in_flight) >= 8, "it is in the midst of renewals")
            stop.set()
            threading.Timer(0.5, lambda: (hanging.heal(), go_on.set())).start()
        assert are(keeping, "stopped")
        assert not any(of(keeping, name).failures for name in fine)
        assert all(map(world.lives, published))
        server.on_acted = None

        failing.heal()
        broken.store_works()
        time.stepped = 0.0
        async with world.at_work(second := world.keeping(time)):
            stored = {request.form["username"] for request in in_flight}
            await until(lambda: all(of(second, name).state == "fresh" for name in stored), "what was in flight", 120)
            assert not any(of(second, name).renewals for name in stored), "it was stored"
            time.passes(0.11 * LIFETIME)  # the end of what was renewed with an answer that never came
            await until(lambda: are(second, "fresh"), "all are fresh again", 120)
            assert all(map(world.lives, published))
        # No refresh token was presented twice, and none was lost: otherwise somebody had signed in again.
        assert [len(one.reuses) for one in servers] == [0, 0, 0]
        assert [one.count("password") for one in servers] == sign_ins == [174, 0, 15]
        for one in servers:
            assert all(family.alive for family in one.families)


async def test_those_who_hang_keep_nobody_waiting(world, time, server):
    world.keeper["at_once"] = 2
    with OAuthServer(lifetime=LIFETIME) as hanging:
        for number in range(6):
            world.rdp(f"hanging{number}", server=hanging, publish=False)
        hanging.fail("hang", times=None)
        world.rdp("good")
        keeping = world.keeping(time)
        async with world.at_work(keeping):
            await until(lambda: hanging.count() == 2, "as many ask as may")
            for times in (1, 2, 3):
                await until(lambda times=times: of(keeping, "good").renewals == times)
                time.passes(DUE)
            assert hanging.count() == 2
            hanging.heal()
            await until(lambda: are(keeping, "fresh"))
    assert hanging.count("password") == 6


@pytest.mark.parametrize("step", [3600.0, -3600.0], ids=["ahead", "back"])
async def test_a_clock_that_is_stepped_changes_nothing(world, time, server, sandbox, looks, step):
    world.alteryx("alteryx")
    world.rdp("rdp")
    world.access_token("nightly", duration=DAY, min_remaining=10800)
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        count = server.count()
        published = {name: world.published(name) for name in world.sections}
        time.stepped = step
        looks.clear()
        began = real_time.monotonic()
        await until(lambda: all(looks.get(name, 0) >= 4 for name in world.sections), "some looks later")
        elapsed = real_time.monotonic() - began
        assert {name: world.published(name) for name in world.sections} == published
        assert server.count() == count
        assert all(number <= 2 + elapsed / 0.1 for number in looks.values()), "no busy loop"
        time.passes(DUE)
        await until(lambda: all(world.published(name) != published[name] for name in ("alteryx", "rdp")))
        assert server.count() == count + 2
        assert all(map(world.lives, world.sections))
        assert world.published("nightly") == published["nightly"], "it is not due yet"

        # An hour and a half before its end it is due by either clock, and rotated under the wrong one.
        time.passes(DAY - 5400 - DUE)
        assert world.lives("nightly")
        await until(lambda: world.published("nightly") != published["nightly"])
        await until(lambda: of(keeping, "nightly").state == "fresh" and of(keeping, "nightly").renewals == 2)
        looks.clear()
        await until(lambda: looks.get("nightly", 0) >= 4, "some looks later")
        assert of(keeping, "nightly").renewals == 2
        made = [token for token in sandbox.state.access_tokens.values() if token.name == "nightly"]
        assert [token.token for token in made] == [world.published("nightly")], "the old one is revoked"
        await until(lambda: all(map(world.lives, world.sections)))
        time.passes(DAY / 2)
        assert world.lives("nightly")
    assert server.reuses == []
    assert sum(one.failures for one in keeping.status.credentials) == 0


async def test_tokens_that_die_at_once_are_no_reason_to_hurry(world, server, looks, monkeypatch):
    monkeypatch.setattr(keeping_module, "_LEAST_WAIT", LEAST_WAIT)
    server.lifetime = 0.001
    world.client("brief")
    keeping = world.keeping()
    began = real_time.monotonic()
    async with world.at_work(keeping):
        await until(lambda: looks.get("brief", 0) >= 4)
        elapsed = real_time.monotonic() - began
        assert looks["brief"] <= 1 + elapsed / LEAST_WAIT
        assert server.count() <= 2 * (looks["brief"] + 1)


async def test_a_lost_answer_is_told_and_waited_out(world, time, server, looks):
    server.grace = 10 * LIFETIME
    world.alteryx("alteryx")
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        first = world.published("alteryx")
        server.fail("reset", after_acting=True)
        time.passes(DUE)
        await until(lambda: of(keeping, "alteryx").state == "failing")
        looked = looks["alteryx"]
        await until(lambda: looks["alteryx"] >= looked + 2)
        status = of(keeping, "alteryx")
        assert (status.state, status.needs_human) == ("failing", False), "though a token lives"
        assert world.published("alteryx") == first
        assert server.is_alive(first)
        assert server.count() == 1, "a refresh token is not presented twice as long as there is something to lose"
        time.passes(LIFETIME - DUE)
        await until(lambda: status.state == "fresh")
        await until(lambda: world.published("alteryx") == world.newest("alteryx"))
    assert (server.count(), len(server.within_grace), server.reuses) == (2, 1, [])


async def test_an_answer_that_was_lost_in_the_background_is_told_as_well(world, time, server, looks, monkeypatch):
    look = TokenKeeper.look

    async def slow_look(self):
        """Whoever looks comes back when the renewal that this has set off has ended already."""
        token = await look(self)
        await until(lambda: self._flying() is None)
        return token

    monkeypatch.setattr(TokenKeeper, "look", slow_look)
    world.alteryx("alteryx", publish=False)
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        server.fail("reset", after_acting=True)
        time.passes(DUE)
        await until(lambda: of(keeping, "alteryx").state == "failing")
        looked = looks["alteryx"]
        await until(lambda: looks["alteryx"] >= looked + 2)
        assert of(keeping, "alteryx").state == "failing"
        assert server.count() == 1


def test_how_long_a_failure_is_waited_out(world, monkeypatch):
    monkeypatch.setattr(keeping_module, "uniform", lambda low, high: high)
    world.keeper |= {"first_retry": "2s", "last_retry": "1m"}
    world.rdp("rdp")
    keeping = world.keeping()

    class Charge:
        status = CredentialStatus(name="rdp", kind="rdp")
        due_in = 0.0

    def waits(error=None, failures=(1, 2, 5, 6, 1000)):
        return [keeping._wait_after(error or errors.StoreBusyError("x"), one, Charge) for one in failures]

    assert waits() == [2, 4, 32, 60, 60]
    assert waits(errors.RateLimitedError("x", retry_after=40)) == [40, 40, 40, 60, 60]
    Charge.status.needs_human = True
    assert waits() == [6, 12, 96, 180, 180]
    Charge.due_in = 10.0  # a token that is at hand, and could not be published
    assert waits() == [6, 10, 10, 10, 10]


# -- being told to stop


@pytest.mark.parametrize("how", ["told", "cancelled"])
async def test_a_renewal_under_way_is_finished_and_stored(world, time, server, how):
    world.alteryx("alteryx")
    acted, go_on = threading.Event(), threading.Event()

    def hold(request):
        acted.set()
        assert go_on.wait(60)

    keeping = world.keeping(time)
    async with anyio.create_task_group() as group:
        stop = anyio.Event()
        group.start_soon(keeping.run, stop)
        await until(lambda: are(keeping, "fresh"))
        server.on_acted = hold
        time.passes(DUE)
        await until(acted.is_set, "it is in flight")
        stop.set() if how == "told" else group.cancel_scope.cancel()
        threading.Timer(0.3, go_on.set).start()
    assert are(keeping, "stopped")
    assert keeping.status.ended_at is not None
    assert of(keeping, "alteryx").renewals == 1
    if how == "told":
        assert world.published("alteryx") == server.families[0].access[-1], "it was published, too"
    server.on_acted = None
    async with world.at_work(second := world.keeping(time)):
        await until(lambda: are(second, "fresh"))
        await until(lambda: world.published("alteryx") == server.families[0].access[-1])
    assert (server.refreshes, server.count(), server.reuses) == (1, 1, [])


async def test_what_has_not_begun_is_not_begun_any_more(world, time, server):
    world.keeper["at_once"] = 1
    for number in range(4):
        world.rdp(f"one{number}", publish=False)
    acted, go_on = threading.Event(), threading.Event()
    server.on_acted = lambda request: acted.set() or go_on.wait(60)
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(acted.is_set)
        threading.Timer(0.3, go_on.set).start()
    assert server.count() == 1
    assert sorted(one.renewals for one in keeping.status.credentials) == [0, 0, 0, 1]


async def test_what_takes_too_long_is_broken_off_but_for_token_requests(world, server, caplog, monkeypatch):
    monkeypatch.setattr(keeping_module, "_DRAIN", 0.2)
    caplog.set_level("ERROR", "domokit.keep")
    world.rdp("rdp", publish=False)
    acted, go_on = threading.Event(), threading.Event()
    server.on_acted = lambda request: acted.set() or go_on.wait(60)
    keeping = world.keeping()
    async with anyio.create_task_group() as group:
        stop = anyio.Event()
        group.start_soon(keeping.run, stop)
        await until(acted.is_set)
        stop.set()
        await until(lambda: "and broken off: rdp" in caplog.text)
        go_on.set()
    assert are(keeping, "stopped")
    assert len(await world.stored()) == 1
    assert of(keeping, "rdp").renewals == 1


# -- what is published


async def test_an_api_client_can_publish(world, server, sandbox):
    world.rdp("rdp")
    world.sections["rdp"]["publish"]["instance"] = "api"
    world.secret("CLIENT_SECRET", sandbox.client_secret)
    more = f"""
[instances.api]
auth = "client"
client_id = "{sandbox.client_id}"
client_secret = "env:CLIENT_SECRET"
base_url = "{sandbox.base_url}"
"""
    keeping = Keeping(read_config(world.write(more)))
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
    assert world.published("rdp") == world.newest("rdp")
    assert of(keeping, "rdp").published[0].startswith("api: account ")


async def test_where_one_instance_fails_the_others_get_the_token(world, time, server, sandbox):
    world.rdp("rdp")
    with Sandbox(users=1).serve() as other:
        world.secret("OTHER_PASSWORD", other.password)
        world.sections["rdp"]["publish"] = None
        del world.sections["rdp"]["publish"]
        more = f"""
[[credentials.rdp.publish]]
instance = "other"
account = "rdp token"
[[credentials.rdp.publish]]
instance = "acme"
account = "rdp token"
provider = "domo-access-token"
[instances.other]
auth = "session"
instance = "{other.instance}"
username = "{other.username}"
password = "env:OTHER_PASSWORD"
base_url = "{other.base_url}"
"""
        other.misbehave("status", times=None, status=400, path="/api/data")
        keeping = Keeping(read_config(world.write(more)))
        async with world.at_work(keeping):
            for times in (1, 2):
                await until(lambda times=times: of(keeping, "rdp").renewals == times)
                await until(lambda: world.published("rdp") == server.families[0].access[-1])
                time.passes(DUE)
            await until(lambda: of(keeping, "rdp").renewals == 3)
            assert of(keeping, "rdp").state == "failing"
            assert of(keeping, "rdp").fingerprint is not None
            assert of(keeping, "rdp").published == [place for place in of(keeping, "rdp").published if "acme" in place]
            other.heal()
            await until(lambda: of(keeping, "rdp").state == "fresh")
            held = [one.configuration for one in other.state.accounts.values() if one.name == "rdp token"]
            assert json.loads(held[0]["credentials"])["access_token"] == server.families[0].access[-1]
            assert len(of(keeping, "rdp").published) == 2
    assert server.reuses == []


async def test_a_slow_keeper_does_not_leave_an_old_token_in_the_place_of_a_new_one(world, time, server, sandbox):
    world.rdp("rdp")
    held_back, go_on, overwritten = [], threading.Event(), []

    async def hold(phase, record):
        """The first that writes the account is held back, until the second has written it."""
        if phase == "received" and record.method == "PUT" and "/account" in record.path and not held_back:
            held_back.append(record)
            while not go_on.is_set():
                await asyncio.sleep(0.01)
        if phase == "acted" and record in held_back:
            overwritten.append(world.published("rdp"))

    async with world.at_work(first := world.keeping(time)):
        await until(lambda: are(first, "fresh"))
        sandbox.watch(hold)
        time.passes(DUE)
        await until(lambda: held_back, "the first keeper writes the second token")
        old = world.newest("rdp")
        time.passes(DUE)
        async with world.at_work(world.keeping(time)):
            await until(lambda: world.published("rdp") == world.newest("rdp") != old, "the second writes the third")
        go_on.set()
        await until(lambda: overwritten == [old], "the first has overwritten it with the second")
        await until(lambda: world.published("rdp") == world.newest("rdp"))
    assert server.refreshes == 2


def fingerprint(token):
    return Secret(token).fingerprint


# -- what only a human can mend


async def test_a_wrong_password_is_presented_once_and_the_right_one_when_it_is_there(world, server, monkeypatch):
    world.keeper |= {"first_retry": "200ms", "last_retry": "200ms"}
    world.rdp("rdp")
    monkeypatch.setenv("PASSWORD_RDP", "wrong-password-canary")
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: of(keeping, "rdp").failures >= 3)
        status = of(keeping, "rdp")
        assert (status.state, status.needs_human) == ("failing", True)
        assert server.count() == 1, "a user who signs in wrongly too often is locked"
        monkeypatch.setenv("PASSWORD_RDP", "canary-password-of-rdp")
        await until(lambda: status.state == "fresh")
        assert server.count() == 2
        assert not status.needs_human
        assert status.last_error is not None, "when it was, and what, is still told"


async def test_what_was_mended_elsewhere_is_tried_when_somebody_says_so(world, server):
    world.keeper |= {"first_retry": "200ms", "last_retry": "200ms"}
    world.rdp("rdp")
    server.add_user("rdp", "another password")
    wanted = []
    keeping = world.keeping()
    async with world.at_work(keeping, reload=lambda: bool(wanted and wanted.pop())):
        await until(lambda: of(keeping, "rdp").failures >= 2)
        server.add_user("rdp", "canary-password-of-rdp")
        failures = of(keeping, "rdp").failures
        await until(lambda: of(keeping, "rdp").failures >= failures + 2)
        assert server.count() == 1
        wanted.append(True)
        await until(lambda: of(keeping, "rdp").state == "fresh")
        assert server.count() == 2


async def test_a_dead_refresh_token_is_replaced_by_the_next_that_is_brought(world, time, server, monkeypatch):
    world.keeper |= {"first_retry": "200ms", "last_retry": "200ms"}
    world.alteryx("alteryx")
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        server.revoke_family(server.families[0].refresh[-1])
        time.passes(DUE)
        await until(lambda: of(keeping, "alteryx").failures >= 3)
        assert server.count() == 1
        assert of(keeping, "alteryx").needs_human
        access, refresh = server.issue("alteryx", user="alteryx")
        monkeypatch.setenv("ACCESS_ALTERYX", access)
        monkeypatch.setenv("REFRESH_ALTERYX", refresh)
        await until(lambda: are(keeping, "fresh"))
        assert world.published("alteryx") == access
        time.passes(DUE)
        await until(lambda: world.published("alteryx") == server.families[1].access[-1] != access)
    assert server.reuses == []


@pytest.mark.parametrize("change", ["user", "store"])
async def test_a_change_that_would_present_a_token_again_is_told_and_undone(world, time, server, caplog, change):
    """Under another key, or in another store, what was handed over at first has been replaced long ago."""
    world.keeper |= {"first_retry": "200ms", "last_retry": "200ms"}
    world.store += '[stores.other]\nkind = "file"\npath = "other.json"\n'
    world.alteryx("alteryx")
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        time.passes(DUE)
        await until(lambda: of(keeping, "alteryx").renewals == 1)
        await until(lambda: world.published("alteryx") == world.newest("alteryx"))
        before = dict(world.sections["alteryx"])
        world.sections["alteryx"][change] = "other"
        world.write()
        await until(lambda: of(keeping, "alteryx").failures >= 3)
        status = of(keeping, "alteryx")
        assert (status.state, status.needs_human) == ("failing", True)
        assert "the refresh token that was handed over was replaced" in status.last_error
        assert "undo what was changed of user, scope, client or store" in status.last_error, "what to do is said, too"
        assert f"alteryx: {status.last_error}" in caplog.text
        assert (server.count(), server.reuses) == (1, [])
        assert world.lives("alteryx")

        world.sections["alteryx"] = before
        world.write()
        await until(lambda: are(keeping, "fresh") and of(keeping, "alteryx").failures == 0)
        time.passes(DUE)
        await until(lambda: of(keeping, "alteryx").renewals == 1)
        await until(lambda: world.published("alteryx") == world.newest("alteryx"))
    assert (server.count(), server.reuses) == (2, [])


async def test_many_credentials_try_a_wrong_password_of_domo_once(world, sandbox, monkeypatch):
    world.keeper |= {"first_retry": "200ms", "last_retry": "200ms"}
    for number in range(4):
        world.rdp(f"one{number}")
    world.access_token("nightly")
    monkeypatch.setenv("DOMO_PASSWORD_OF_KEEP", "wrong-password-canary")
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: all(one.failures >= 2 for one in keeping.status.credentials))
        assert len(sign_ins(sandbox)) == 1
        assert all(one.needs_human for one in keeping.status.credentials)
        monkeypatch.setenv("DOMO_PASSWORD_OF_KEEP", sandbox.password)
        await until(lambda: are(keeping, "fresh"))
        assert len(sign_ins(sandbox)) == 2


async def test_who_signs_in_may_be_given_by_reference(world, server, sandbox):
    world.rdp("rdp")
    world.client("client")
    world.sections["rdp"]["username"] = world.secret("RDP_USER", "rdp")
    world.sections["client"]["client_id"] = world.secret("CLIENT_ID", "client")
    written = world.write().read_text()
    world.path.write_text(written.replace(f'"{sandbox.username}"', f'"{world.secret("DOMO_USER", sandbox.username)}"'))
    keeping = Keeping(read_config(world.path))
    status = await keeping.once()
    assert [(one.state, one.last_error) for one in status.credentials] == [("fresh", None)] * 2
    assert {request.client_id for request in server.requests} == {"app-key", "client"}
    assert world.lives("rdp")


async def test_a_missing_reference_is_waited_for(world, server, monkeypatch):
    world.keeper |= {"first_retry": "200ms", "last_retry": "200ms"}
    world.rdp("rdp")
    world.rdp("other")
    monkeypatch.delenv("PASSWORD_RDP")
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: of(keeping, "rdp").failures >= 2)
        assert of(keeping, "rdp").needs_human
        assert "env:PASSWORD_RDP holds nothing" in of(keeping, "rdp").last_error
        await until(lambda: of(keeping, "other").state == "fresh")
        monkeypatch.setenv("PASSWORD_RDP", "canary-password-of-rdp")
        await until(lambda: are(keeping, "fresh"))


async def test_two_that_are_the_same_token_do_not_share_it(world, server):
    world.alteryx("first")
    world.sections["second"] = dict(world.sections["first"])
    world.access_token("nightly")
    world.sections["again"] = dict(world.sections["nightly"])
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: all(one.state != "waiting" for one in keeping.status.credentials))
    said = {one.name: one.last_error for one in keeping.status.credentials}
    for one, other in (("first", "second"), ("nightly", "again")):
        bad, good = (one, other) if said[one] else (other, one)
        assert said[good] is None
        assert f"credentials.{bad} is the same token as credentials.{good}" in said[bad]


async def test_a_bug_in_one_stops_no_other(world, server, monkeypatch):
    world.rdp("rdp", publish=False)
    world.access_token("nightly")

    async def bug(self, ahead=0.0):
        raise ZeroDivisionError("password=canary-of-a-bug")

    monkeypatch.setattr(AccessTokenCharge, "look", bug)
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: of(keeping, "nightly").failures)
        await until(lambda: of(keeping, "rdp").state == "fresh")
        assert "unexpected ZeroDivisionError" in of(keeping, "nightly").last_error
        assert "canary" not in of(keeping, "nightly").last_error


# -- stores


async def test_what_could_not_be_stored_is_stored_when_that_works_again(world, time, server, broken):
    world.alteryx("alteryx", store="down")
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        server.on_acted = lambda request: broken.store_fails()
        time.passes(DUE)
        await until(lambda: of(keeping, "alteryx").state == "failing")
        server.on_acted = None
        assert (server.refreshes, server.count()) == (1, 1)
        broken.store_works()
        await until(lambda: of(keeping, "alteryx").state == "fresh")
        await until(lambda: world.published("alteryx") == server.families[0].access[-1])
    assert of(keeping, "alteryx").renewals == 1
    async with world.at_work(second := world.keeping(time)):
        await until(lambda: are(second, "fresh"))
        time.passes(DUE)
        await until(lambda: server.refreshes == 2)
        await until(lambda: are(second, "fresh"))
    assert server.reuses == []


async def test_what_could_not_be_stored_goes_to_the_store_that_comes_next(world, time, server, tmp_path, monkeypatch):
    with RedisServer(tmp_path / "first") as first, RedisServer(tmp_path / "second") as second:
        world.secret("REDIS_URL", first.url)
        world.store = '[stores.tokens]\nkind = "redis"\nurl = "env:REDIS_URL"\n'
        world.alteryx("alteryx")
        wanted = []
        keeping = world.keeping(time)
        async with world.at_work(keeping, reload=lambda: bool(wanted and wanted.pop())):
            await until(lambda: are(keeping, "fresh"))
            server.on_acted = lambda request: first.stop()
            time.passes(DUE)
            await until(lambda: of(keeping, "alteryx").state == "failing")
            server.on_acted = None
            monkeypatch.setenv("REDIS_URL", second.url)
            wanted.append(True)
            await until(lambda: of(keeping, "alteryx").state == "fresh")
            time.passes(DUE)
            await until(lambda: server.refreshes == 2)
            await until(lambda: world.published("alteryx") == world.newest("alteryx"))
        async with RedisStore(second.url) as store:
            assert len(await store.keys()) == 1
    assert (server.count(), server.reuses) == (2, [])


def file_sealed(world, tmp_path, monkeypatch):
    world.secret("KEEP_KEY", EncryptionKey.generate().reveal())
    world.store = '[stores.tokens]\nkind = "file"\npath = "sealed.json"\nencryption = "env:KEEP_KEY"\n'
    return FileStore(tmp_path / "sealed.json", encryption=EncryptionKey.from_env("KEEP_KEY"))


def in_the_keyring(world, tmp_path, monkeypatch):
    ring = MadeUpKeyring(tmp_path / "ring")
    monkeypatch.setattr(keyring, "get_keyring", lambda: ring)
    world.store = '[stores.tokens]\nkind = "keyring"\nservice = "keep"\nencryption = "keyring:keep/key"\n'


@pytest.mark.parametrize("kind", [file_sealed, in_the_keyring], ids=["file", "keyring"])
async def test_other_kinds_of_stores(world, time, server, tmp_path, monkeypatch, kind):
    store = kind(world, tmp_path, monkeypatch)
    world.alteryx("alteryx")
    world.access_token("nightly")
    for _ in range(2):
        keeping = world.keeping(time)
        async with world.at_work(keeping):
            await until(lambda keeping=keeping: are(keeping, "fresh"))
            refreshes = server.refreshes
            time.passes(DUE)
            await until(lambda refreshes=refreshes: server.refreshes == refreshes + 1)
            await until(lambda: world.published("alteryx") == server.families[0].access[-1])
    assert (server.refreshes, server.count(), server.reuses) == (2, 2, [])
    held = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".toml"]
    assert len(held) > 1
    assert not any(secret.encode() in one for secret in server.issued for one in held), "all of it is sealed"
    if store is not None:
        assert len(await store.keys()) == 1


async def test_two_keepers_share_a_redis(world, time, server, tmp_path):
    with RedisServer(tmp_path / "redis") as redis:
        world.secret("REDIS_URL", redis.url)
        world.store = '[stores.tokens]\nkind = "redis"\nurl = "env:REDIS_URL"\n'
        world.alteryx("alteryx")
        world.access_token("nightly")
        first, second = world.keeping(time), world.keeping(time)
        async with world.at_work(first), world.at_work(second):
            for times in (1, 2, 3):
                await until(lambda: are(first, "fresh") and are(second, "fresh"))
                time.passes(DUE)
                await until(lambda times=times: server.refreshes == times)
                await until(
                    lambda times=times: sum(of(one, "nightly").renewals for one in (first, second)) == times + 1
                )
                newest = fingerprint(server.families[0].access[-1])
                await until(
                    lambda newest=newest: all(of(one, "alteryx").fingerprint == newest for one in (first, second))
                )
                await until(lambda: world.published("alteryx") == server.families[0].access[-1])
            async with RedisStore(redis.url) as store:
                assert len(await store.keys()) == 1
    assert (server.count(), server.refreshes, server.reuses) == (3, 3, [])
    made = [of(one, "nightly").renewals for one in (first, second)]
    assert sum(made) == 4
    assert sum(of(one, "alteryx").adopted for one in (first, second)) >= 3
    assert sum(one.failures for keeping in (first, second) for one in keeping.status.credentials) == 0


# -- the configuration changes


async def test_a_reload_disturbs_nobody_who_is_the_same(world, time, server, sandbox):
    for name in ("same", "goes", "changes"):
        world.rdp(name)
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        assert server.count() == 3
        same = of(keeping, "same")
        del world.sections["goes"]
        world.sections["changes"]["check_every"] = "300ms"
        world.rdp("new")
        world.write()
        await until(lambda: list(keeping.config.credentials) == ["same", "changes", "new"])
        await until(lambda: are(keeping, "fresh"))
        assert [one.name for one in keeping.status.credentials] == ["same", "changes", "new"]
        assert of(keeping, "same") is same
        assert (of(keeping, "changes").renewals, of(keeping, "changes").adopted) == (0, 1)
        assert server.count() == 4, "the new one's"
        time.passes(DUE)
        await until(lambda: server.refreshes == 3)
        await until(lambda: all(world.published(name) == world.newest(name) for name in world.sections))
    assert sorted(len(family.access) for family in server.families) == [1, 2, 2, 2]
    assert world.published("goes") == world.newest("goes"), "what was kept no more is left as it is"


async def test_a_broken_file_keeps_what_was_before(world, time, server):
    world.rdp("rdp")
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        world.write("[credentials.rdp.oops]\n")
        await until(lambda: keeping.status.config_error)
        assert "credentials.rdp.oops is not known" in keeping.status.config_error
        await until(lambda: read_status(keeping.config.status).config_error == keeping.status.config_error)
        time.passes(DUE)
        await until(lambda: of(keeping, "rdp").renewals == 2)
        world.path.unlink()
        await until(lambda: "cannot be read" in (keeping.status.config_error or ""))
        world.write()
        await until(lambda: keeping.status.config_error is None)
        time.passes(DUE)
        await until(lambda: of(keeping, "rdp").renewals == 3)
    assert server.count() == 3


BAD_EDITS = {
    "digits": ("[keeper]\nat_once = " + "1" * 5000, "a number in it is too long"),
    "nesting": ("x = " + "[" * 5000, "nested too deeply"),
    "NUL in a path": ('[stores.tokens]\nkind = "file"\npath = "a\\u0000b"\n', "stores.tokens.path will not do"),
    "NUL in the path of the status": ('[keeper]\nstatus = "a\\u0000b"\n', "keeper.status will not do"),
    "NUL in a reference": (
        '[credentials.rdp]\nkind = "rdp"\nusername = "a"\npassword = "file:a\\u0000b"\napp_key = "k"\n',
        "credentials.rdp.password will not do",
    ),
    "home of nobody": ('[stores.t]\nkind = "file"\npath = "~nobody-of-this-name/t"\n', "stores.t.path will not do"),
    "no text": ("\udcff", "is no text in UTF-8"),
    "secret": ("[stores.t]\nkind = 'redis'\nurl = 'redis://:canary-password@host'\n", "stores.t.url is a secret"),
}


async def test_no_edit_of_the_file_ends_the_keeper(world, time, server, caplog):
    caplog.set_level("ERROR", "domokit.keep")
    world.rdp("rdp")
    good = world.write().read_text()
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        for times, (what, (text, said)) in enumerate(BAD_EDITS.items(), 2):
            if "credentials" not in text:
                text += "\n[credentials.rdp]\nkind = 'rdp'\nusername = 'a'\npassword = 'env:P'\napp_key = 'k'\n"
            world.path.write_bytes(text.encode(errors="surrogateescape"))
            await until(lambda said=said: said in (keeping.status.config_error or ""), what)
            assert "the one before goes on" in caplog.records[-1].getMessage()
            time.passes(DUE)
            await until(lambda times=times: of(keeping, "rdp").renewals == times, what)
        assert "canary" not in caplog.text
        world.path.write_text(good)
        await until(lambda: keeping.status.config_error is None)
    assert of(keeping, "rdp").failures == 0


async def test_a_bug_in_reading_the_file_does_not_end_the_keeper(world, time, monkeypatch):
    def bug(path):
        raise ZeroDivisionError("unheard of")

    world.rdp("rdp")
    keeping = world.keeping(time)
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        with monkeypatch.context() as patch:
            patch.setattr(keeping_module, "read_config", bug)
            world.write("# changed")
            await until(lambda: "unexpected ZeroDivisionError" in (keeping.status.config_error or ""))
        time.passes(DUE)
        await until(lambda: of(keeping, "rdp").renewals == 2)


async def test_a_file_is_read_when_it_has_rested(world, monkeypatch):
    world.rdp("rdp", publish=False)
    stamps = iter([1, 1, 2, 3, 3, 3, 4, None, None])
    seen, read_after = [], []
    keeping, stop = world.keeping(), anyio.Event()

    async def stamp():
        seen.append(next(stamps, "end"))
        if seen[-1] == "end":
            stop.set()
        return seen[-1]

    async def reload(group):
        read_after.append(list(seen))

    monkeypatch.setattr(keeping, "_stamp", stamp)
    monkeypatch.setattr(keeping, "_reload", reload)
    await keeping.run(stop)
    assert read_after == [[1, 1, 2, 3, 3], [1, 1, 2, 3, 3, 3, 4, None, None]]


async def test_a_credential_may_get_another_name(world, server):
    world.alteryx("old")
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        world.sections["new"] = world.sections.pop("old")
        world.write()
        await until(lambda: list(keeping.config.credentials) == ["new"])
        await until(lambda: are(keeping, "fresh"))
    assert of(keeping, "new").failures == 0
    assert of(keeping, "new").adopted == 1
    assert server.count() == 0


async def test_it_stops_though_what_was_taken_out_hangs(world, server):
    world.rdp("hangs", publish=False)
    server.fail("hang", times=None)
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: server.count() == 1)
        del world.sections["hangs"]
        world.rdp("next", publish=False)
        world.write()
        await until(lambda: list(keeping.config.credentials) == ["next"])
        threading.Timer(0.3, server.heal).start()
    assert server.count() == 1, "what waits for another's end is not begun any more"
    assert len(await world.stored()) == 1


# -- once, and checks


async def test_once_renews_what_is_due_before_the_next_time(world, time, server, sandbox):
    for name in ("rdp", "alteryx"):
        getattr(world, name)(name, check_every="200s")
    world.access_token("nightly", check_every="200s", min_remaining=100)
    status = await world.keeping(time).once()
    assert [one.state for one in status.credentials] == ["fresh"] * 3
    assert not status.is_running
    first = {name: world.published(name) for name in world.sections}
    assert server.count() == 1

    time.passes(0.4 * LIFETIME)
    status = await world.keeping(time).once()
    assert {name: world.published(name) for name in world.sections} == first
    assert [(one.renewals, one.adopted, one.last_error) for one in status.credentials] == [(0, 1, None)] * 3

    time.passes(0.35 * LIFETIME)  # 250 seconds are left: more than 200, though less than those and a fifth of its life
    status = await world.keeping(time).once()
    assert all(world.published(name) != first[name] for name in world.sections)
    assert [one.renewals for one in status.credentials] == [1] * 3
    assert server.reuses == []
    assert read_status(world.path.with_name("keep.status.json")).credentials == status.credentials


async def test_once_tells_what_failed_and_does_the_rest(world, server, monkeypatch):
    world.rdp("bad")
    world.rdp("good")
    monkeypatch.setenv("PASSWORD_BAD", "wrong-password-canary")
    status = await world.keeping().once()
    assert [(one.name, one.state) for one in status.credentials] == [("bad", "failing"), ("good", "fresh")]
    assert world.lives("good")


async def test_once_begins_nothing_after_it_was_told_to_stop(world, server):
    world.rdp("rdp")
    stop = anyio.Event()
    stop.set()
    status = await world.keeping().once(stop)
    assert [one.state for one in status.credentials] == ["waiting"]
    assert server.count() == 0


def contents(directory):
    """Every file, but for locks."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock"}


async def test_a_check_changes_nothing(world, server, sandbox, tmp_path):
    world.alteryx("alteryx")
    world.rdp("rdp")
    world.access_token("nightly")
    keeping = world.keeping()
    before, accounts = contents(tmp_path), dict(sandbox.state.accounts)
    found = await keeping.check()
    assert {one.what: one.error for one in found} == dict.fromkeys(
        [
            "instances.acme", "stores.tokens", "credentials.alteryx.access_token", "credentials.alteryx.refresh_token",
            "credentials.alteryx", "credentials.rdp.password", "credentials.rdp", "credentials.nightly",
        ]
    )  # fmt: skip
    assert server.count() == 0
    assert sandbox.state.accounts == accounts
    assert contents(tmp_path) == before
    harmless = {LOGIN, "/api/identity/v1/users/search", "/api/search/v1/query"}
    assert {record.path for record in sandbox.requests if record.method != "GET"} <= harmless


async def test_a_check_names_everything_that_is_wrong(world, server, sandbox, monkeypatch, tmp_path):
    world.store += '[stores.down]\nkind = "file"\npath = "keep.toml/tokens.json"\n'
    world.rdp("good", publish=False)
    world.rdp("down", publish=False, store="down")
    world.alteryx("alteryx")
    world.sections["alteryx"]["publish"]["account"] = 99999
    world.alteryx("nothing", publish=False)
    del world.sections["nothing"]["access_token"], world.sections["nothing"]["refresh_token"]
    world.access_token("nightly")
    world.sections["nightly"]["owner"] = "nobody@example.com"
    world.client("client")
    world.sections["client"]["params"] = {"api_key": "env:NOT_THERE"}
    for name in ("PASSWORD_DOWN", "REFRESH_ALTERYX", "SECRET_CLIENT"):
        monkeypatch.delenv(name)
    errors_of = {one.what: one.error for one in await world.keeping().check()}
    bad = {what: str(error) for what, error in errors_of.items() if error is not None}
    said = {
        "stores.down": "keep.toml",
        "credentials.down.password": "env:PASSWORD_DOWN holds nothing",
        "credentials.down": "keep.toml",
        "credentials.alteryx.refresh_token": "env:REFRESH_ALTERYX holds nothing",
        "credentials.alteryx": "env:REFRESH_ALTERYX holds nothing",
        "credentials.nothing": "refresh_token is missing",
        "credentials.nightly": "nobody@example.com",
        "credentials.client.client_secret": "env:SECRET_CLIENT holds nothing",
        "credentials.client.params.api_key": "env:NOT_THERE holds nothing",
        "credentials.client": "env:SECRET_CLIENT holds nothing",
    }
    assert bad.keys() == said.keys()
    for what, part in said.items():
        assert part in bad[what], what
    world.secret("REFRESH_ALTERYX", server.issue("alteryx", user="alteryx")[1])
    found = {one.what: one.error for one in await world.keeping().check()}
    assert isinstance(found["credentials.alteryx"], errors.NotFoundError)
    assert server.count() == 0


async def test_a_check_asks_an_instance_once(world, sandbox, monkeypatch):
    for number in range(4):
        world.rdp(f"one{number}")
    monkeypatch.setenv("DOMO_PASSWORD_OF_KEEP", "wrong-password-canary")
    found = {one.what: one.error for one in await world.keeping().check()}
    assert [isinstance(found[f"credentials.one{number}"], errors.InvalidCredentialsError) for number in range(4)] == [
        True
    ] * 4
    assert len(sign_ins(sandbox)) == 1


async def test_a_check_knows_a_refresh_token_that_is_dead(world, time, server):
    world.alteryx("alteryx", publish=False)
    await world.keeping(time).once()
    server.revoke_family(server.families[0].refresh[-1])
    time.passes(DUE)
    await world.keeping(time).once()
    count = server.count()
    found = {one.what: one.error for one in await world.keeping(time).check()}
    assert "is presented no more" in str(found["credentials.alteryx"])
    assert server.count() == count


# -- what it tells


async def test_the_status_is_a_file_of_its_owner_without_secrets(world, server, sandbox):
    world.rdp("rdp")
    world.access_token("nightly")
    keeping = world.keeping()
    path = keeping.config.status
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
        await until(lambda: path.exists() and [one.state for one in read_status(path).credentials] == ["fresh"] * 2)
        told = read_status(path)
        assert told.is_running
        assert told.credentials == keeping.status.credentials
        assert (told.pid, told.config) == (os.getpid(), str(world.path))
        assert path.stat().st_mode & 0o777 == 0o600
        text = path.read_text()
    told = read_status(path)
    assert (told.is_running, told.ended_at) == (False, keeping.status.ended_at)
    assert told.credentials[0].published == [f"acme: account {max(sandbox.state.accounts) - 1} (rdp token)"] or (
        told.credentials[0].published == [f"acme: account {max(sandbox.state.accounts)} (rdp token)"]
    )
    for secret in (*server.issued, *world.secrets, world.published("nightly")):
        assert secret not in text
        assert secret not in path.read_text()
    assert [one for one in path.parent.iterdir() if one.name.endswith(".tmp")] == []


async def test_a_status_that_cannot_be_written_stops_nothing(world, server, tmp_path):
    world.rdp("rdp")
    world.keeper["status"] = "nowhere/status.json"
    keeping = world.keeping()
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))
    assert not (tmp_path / "nowhere").exists()
    keeping = world.keeping()
    keeping.config = attrs.evolve(keeping.config, status=tmp_path / "a\0b")
    async with world.at_work(keeping):
        await until(lambda: are(keeping, "fresh"))


def test_whether_a_keeper_is_at_work():
    now = datetime.now(UTC)
    silent = now - timedelta(minutes=5)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert KeepStatus(config="x").is_running
    assert not KeepStatus(config="x", ended_at=now).is_running
    assert not KeepStatus(config="x", pid=gone.pid).is_running
    assert not KeepStatus(config="x", written_at=silent).is_running, "its process id may be somebody else's by now"
    assert KeepStatus(config="x", host="elsewhere", pid=gone.pid).is_running
    assert not KeepStatus(config="x", host="elsewhere", pid=gone.pid, written_at=silent).is_running
    assert KeepStatus(config="x", pid=gone.pid).has_died
    assert KeepStatus(config="x", written_at=silent).has_died
    assert not KeepStatus(config="x").has_died
    assert not KeepStatus(config="x", pid=gone.pid, ended_at=now).has_died, "it was told to end"


@pytest.mark.parametrize(
    "text", ["", "3", "[]", "{}", '{"credentials": 3}', '{"credentials": [3]}', "\x00", '{"credentials": []}']
)
def test_what_is_no_status(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(errors.InvalidInputError, match="is not the status of a keeper"):
        read_status(tmp_path / "status.json")


def test_a_status_of_a_newer_domokit_is_read(tmp_path):
    path = tmp_path / "status.json"
    KeepStatus(config="x", credentials=[CredentialStatus(name="a", kind="rdp")]).write(path)
    told = json.loads(path.read_text())
    told["more"] = told["credentials"][0]["more"] = 1
    path.write_text(json.dumps(told))
    assert read_status(path).credentials == [CredentialStatus(name="a", kind="rdp")]


def test_no_status_yet(tmp_path):
    with pytest.raises(errors.InvalidInputError, match="no keeper has written") as caught:
        read_status(tmp_path / "status.json")
    assert "domokit keep" in caught.value.hint
