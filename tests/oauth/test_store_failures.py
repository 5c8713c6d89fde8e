"""Stores that cannot be written, fill up, hang or vanish; locks whose holder is dead or asleep. In real processes."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.redis_server import RedisServer

from .keeping import Keepers, Processes, fingerprint, needs_fork, until
from .server import OAuthServer

pytestmark = needs_fork
NOBODY = 65534  # whom permissions bind, where root runs the tests


@pytest.fixture
def server():
    with OAuthServer(lifetime=600.0) as server:
        yield server


@pytest.fixture(scope="module")
def processes():
    processes = Processes()
    yield processes
    processes.close()


@pytest.fixture
def keepers(server, processes, tmp_path):
    with Keepers(server, processes, tmp_path) as keepers:
        yield keepers


@pytest.fixture
def bound(server, processes):
    """Keepers of a user whom the permissions of files bind."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Keepers(server, processes, directory) as keepers:
            is_root = os.geteuid() == 0
            for one in (keepers.path.parent, keepers.state):
                one.mkdir(mode=0o700)
                if is_root:
                    try:
                        os.chown(one, NOBODY, NOBODY)
                    except OSError:
                        pytest.skip("root may do everything here, and there is no other user")
            if is_root:
                keepers.common["user_id"] = NOBODY
            yield keepers
            keepers.path.parent.chmod(0o700)


@pytest.fixture
def disk(tmp_path):
    """A small disk, with `fill()` and `empty()`."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs a user who may mount")
    yield Disk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


class Disk:
    def __init__(self, path):
        self.path = path

    def fill(self, *_):
        for size in (65536, 4096, 1):
            try:
                with (self.path / f"{size}.filler").open("ab", buffering=0) as file:
                    while file.write(b"." * size):
                        pass
            except OSError:
                continue

    def empty(self):
        for one in self.path.glob("*.filler"):
            one.unlink()


@pytest.fixture
def redis(tmp_path):
    """A Redis of this test's own, which remembers when it is started again."""
    with RedisServer(tmp_path / "redis", appendonly="yes", appendfsync="always") as redis:
        yield redis


@pytest.fixture
def on_redis(server, processes, tmp_path, redis):
    with Keepers(server, processes, tmp_path, redis=redis.url, options={"prefix": "tests:"}) as keepers:
        yield keepers


def assert_refused(running, keepers, error="StoreUnavailableError"):
    """It did not renew, and spent nothing; what it has it still serves."""
    (renewed,) = running.did("renew")
    assert renewed["error"] == error
    first = fingerprint(keepers.family.access[0])
    assert [one["token"] for one in running.did("get")] == [first] * len(running.did("get"))
    assert keepers.server.count() == 0
    assert not running.events("started")
    return renewed


def assert_works_again(keepers, generations=1):
    """Another renews with what the store holds."""
    running = keepers.run("get", "renew")
    assert running.did("renew")[0]["token"] == fingerprint(keepers.family.access[generations])
    keepers.assert_each_spent_once()
    assert len(keepers.family.access) == generations + 1


# -- refused before anything is spent


def test_a_directory_that_cannot_be_written_is_noticed_before(bound):
    bound.run("get", seed=bound.issue())
    before = bound.path.read_bytes()
    bound.path.parent.chmod(0o500)
    assert_refused(bound.run("get", "renew", "get"), bound)
    assert bound.path.read_bytes() == before
    bound.path.parent.chmod(0o700)
    assert_works_again(bound)


def test_a_file_that_cannot_be_written_is_replaced(bound):
    bound.run("get", seed=bound.issue())
    bound.path.chmod(0o400)
    assert_works_again(bound)
    assert bound.path.stat().st_mode & 0o777 == 0o600


def test_files_that_cannot_grow_are_noticed_before(keepers):
    keepers.run("get", seed=keepers.issue())
    before = keepers.path.read_bytes()
    assert_refused(keepers.run("get", "renew", "get", file_size=1024), keepers)
    assert keepers.path.read_bytes() == before
    assert keepers.left_behind() == []
    assert_works_again(keepers)


def test_a_full_disk_is_noticed_before(keepers, disk):
    keepers.common["file"] = str(disk.path / "tokens.json")
    keepers.run("get", seed=keepers.issue())
    before = keepers.path.read_bytes()
    disk.fill()
    refused = assert_refused(keepers.run("get", "renew", "get"), keepers)
    assert "No space left" in refused["message"]
    assert keepers.path.read_bytes() == before
    disk.empty()
    assert_works_again(keepers)
    assert keepers.left_behind() == []


def test_a_redis_that_is_gone_is_noticed_before(on_redis, redis):
    go_on, again = on_redis.stop_file("go on"), on_redis.stop_file("again")
    running = on_redis.start(
        "get", ["wait", str(go_on)], "renew", "get", ["wait", str(again)], "renew", seed=on_redis.issue()
    )
    running.wait_for(did="get")
    redis.stop()
    go_on.touch()
    running.wait_for(did="get", count=2)
    assert_refused(running, on_redis)
    redis.start()
    again.touch()
    running.finish()
    assert running.did("renew")[1]["token"] == fingerprint(on_redis.family.access[1])
    assert_works_again(on_redis, generations=2)


def test_a_redis_that_hangs_is_noticed_before(on_redis, redis):
    on_redis.run("get", seed=on_redis.issue())
    go_on = on_redis.stop_file("go on")
    url = f"{redis.url}?socket_timeout=2"
    running = on_redis.start("get", ["wait", str(go_on)], "renew", "get", redis=url)
    running.wait_for(did="get")
    redis.pause()
    go_on.touch()
    running.finish()
    redis.resume()
    assert_refused(running, on_redis)
    assert_works_again(on_redis)


# -- room was kept


def test_a_disk_that_fills_up_while_the_request_is_under_way_costs_nothing(server, keepers, disk):
    keepers.common["file"] = str(disk.path / "tokens.json")
    keepers.run("get", seed=keepers.issue())
    server.on_request = disk.fill
    running = keepers.run("get", "renew")
    server.on_request = None
    assert running.did("renew")[0] == {
        **running.did("renew")[0],
        "token": fingerprint(keepers.family.access[1]),
        "unpersisted": False,
    }
    assert not running.events("unpersisted")
    assert keepers.record().token.fingerprint == fingerprint(keepers.family.access[1])
    disk.empty()
    assert_works_again(keepers, generations=2)


# -- rescued


def assert_rescued(running, keepers):
    """It has the new token, says that it is in no store, and has put it into the second place."""
    (renewed,), (closed,) = running.did("renew"), running.did("close")
    assert renewed["token"] == fingerprint(keepers.family.access[1])
    assert renewed["unpersisted"]
    assert closed["error"] == "UnpersistedError"
    assert renewed["token"] in closed["message"]
    assert running.events("unpersisted")
    assert not running.events("succeeded")
    (rescued,) = (keepers.state / "domokit" / "rescue").glob("*.json")
    assert rescued.stat().st_mode & 0o777 == 0o600
    assert rescued.parent.stat().st_mode & 0o777 == 0o700
    assert keepers.family.refresh[1] in rescued.read_text()
    return rescued


def assert_recovered(keepers, rescued):
    """Who comes next works on with what was rescued, and asks for nothing."""
    assert keepers.server.count() == 1
    (status,) = keepers.run("status").did("status")
    assert status["state"] == "in doubt"
    after = keepers.run("get", "renew", "status")
    assert after.did("renew")[0]["token"] == after.did("status")[0]["token"] == fingerprint(keepers.family.access[1])
    assert after.did("status")[0]["state"] == "fresh"
    assert after.events("recovered")
    assert keepers.server.count() == 1
    assert keepers.family.refresh[1] not in rescued.read_text()
    assert_works_again(keepers, generations=2)


def test_a_store_that_becomes_unwritable_meanwhile_has_a_second_place(server, bound):
    bound.run("get", seed=bound.issue())
    server.on_request = lambda _: bound.path.parent.chmod(0o500)
    running = bound.run("get", "renew", "close", "get")
    server.on_request = None
    assert running.did("get")[1]["token"] == running.did("renew")[0]["token"]
    rescued = assert_rescued(running, bound)
    bound.path.parent.chmod(0o700)
    assert_recovered(bound, rescued)


def test_a_redis_that_goes_meanwhile_has_a_second_place(server, on_redis, redis):
    on_redis.run("get", seed=on_redis.issue())
    server.on_request = lambda _: redis.stop()
    running = on_redis.run("get", "renew", "close", "get")
    server.on_request = None
    assert running.did("get")[1]["token"] == running.did("renew")[0]["token"]
    rescued = assert_rescued(running, on_redis)
    redis.start()
    on_redis.lapse()
    assert_recovered(on_redis, rescued)


def test_with_no_place_at_all_it_is_kept_in_memory_until_there_is_one(server, keepers):
    keepers.run("get", seed=keepers.issue())
    running = keepers.run("get", "renew", "close", "unlimited", "close", "status", trouble="limit")
    assert running.did("renew")[0]["unpersisted"]
    new = fingerprint(keepers.family.access[1])
    first, second = running.did("close")
    assert first["error"] == "UnpersistedError"
    assert "error" not in second
    assert running.did("status") == [{**running.did("status")[0], "state": "fresh", "token": new}]
    assert keepers.record().token.refresh_token.reveal() == keepers.family.refresh[1]
    assert server.count() == 1
    assert_works_again(keepers, generations=2)


def test_a_directory_that_is_removed_meanwhile_is_made_again(server, keepers):
    keepers.run("get", seed=keepers.issue())
    server.on_request = lambda _: shutil.rmtree(keepers.path.parent)
    running = keepers.run("get", "renew", "close")
    server.on_request = None
    assert running.did("renew")[0]["token"] == fingerprint(keepers.family.access[1])
    assert "error" not in running.did("close")[0]
    assert_works_again(keepers, generations=2)


def test_a_redis_that_has_forgotten_everything_leads_nobody_to_spend_twice(server, on_redis, redis):
    """Who began with a refresh token that is long used up does not begin with it once more."""
    forgotten = on_redis.stop_file("forgotten")
    running = on_redis.start(
        "get", "renew", ["wait", str(forgotten)], "renew", "get", "renew", "get", seed=on_redis.issue()
    )
    running.wait_for(did="renew")
    redis.command("FLUSHALL")
    forgotten.touch()
    running.finish()
    assert not server.reuses
    later = {*map(fingerprint, on_redis.family.access[1:])}
    assert {one["token"] for one in running.did("get")[1:]} <= later


# -- locks whose holder is dead


@pytest.fixture(params=["file", "redis"])
def sharing(request, server, processes, tmp_path):
    common = {}
    if request.param == "redis":
        # The lock of a dead holder lapses after the lease.
        options = {"prefix": f"{tmp_path.name}:", "lease": 3.0}
        common = {"redis": request.getfixturevalue("redis_url"), "options": options}
    with Keepers(server, processes, tmp_path, **common) as keepers:
        yield keepers


def test_the_lock_of_a_dead_holder_binds_nobody(sharing):
    sharing.run("get", seed=sharing.issue())
    holder = sharing.start("hold_lock")
    holder.wait_for(did="hold lock")
    waiting = sharing.run("get", "renew", "get", patience=0.2)
    refused = assert_refused(waiting, sharing, "StoreBusyError")
    assert f":{holder.pid} " in refused["message"]
    holder.signal(signal.SIGKILL)
    holder.finish(-signal.SIGKILL)
    assert_works_again(sharing)


def test_a_child_that_outlives_the_holder_does_not_hold_its_lock(server, keepers):
    """A program may start another in mid-renewal, and die."""
    keepers.run("get", seed=keepers.issue())
    holder = keepers.start("get", "renew", trouble="fork", die=["request", ""]).finish(-signal.SIGKILL)
    (child,) = keepers.children_of(holder, 1)
    child.wait_for(did="lives on")
    keepers.let_time_pass(601)
    running = keepers.run("get", patience=5)
    assert running.did("get")[0]["token"] == fingerprint(keepers.family.access[1])
    os.kill(child.pid, 0)  # it does live
    keepers.assert_each_spent_once()


# -- locks whose holder is asleep


def stopped_in_flight(keepers, **order):
    """A process that is asleep with its request under way."""
    server, started = keepers.server, []

    def stop(request):
        until(lambda: started)
        started[0].signal(signal.SIGSTOP)
        started[0].sleeps()

    server.on_request = stop
    started.append(keepers.start("get", "renew", "get", **order))
    server.wait_until(lambda: server.requests and server.requests[-1].outcome)
    server.on_request = None
    return started[0]


def test_a_holder_that_sleeps_keeps_others_from_renewing_and_not_from_working(server, keepers):
    keepers.run("get", seed=keepers.issue())
    first, stop = fingerprint(keepers.family.access[0]), keepers.stop_file()
    holder = stopped_in_flight(keepers)
    keepers.let_time_pass(540)  # into the last fifth, in which others try to renew it in the background
    other = keepers.start(["keep", str(stop)], patience=0.3)
    failed = other.wait_for(event="failed")
    assert failed["error"] == "StoreBusyError"
    busy = keepers.run("get", "renew", "get", patience=0.3)
    assert [one.get("token", one.get("error")) for one in busy.find() if "did" in one] == [
        first,
        "StoreBusyError",
        first,
    ]
    patient = keepers.start("get", "renew")
    patient.wait_for(did="get")

    holder.signal(signal.SIGCONT)
    for one in (holder, patient):
        one.finish()
    new = fingerprint(keepers.family.access[1])
    assert [holder.did("renew")[0]["token"], patient.did("renew")[0]["token"]] == [new, new]
    other.wait_for(served=new)
    stop.touch()
    other.finish()
    assert not other.find(failed="keep")
    assert [line["served"] for line in other.find() if "served" in line] == [first, new]
    keepers.assert_each_spent_once()


@pytest.fixture
def leased(server, processes, tmp_path, redis_url):
    """Keepers whose lock lapses while its holder sleeps."""
    options = {"prefix": f"{tmp_path.name}:", "lease": 3.0}
    with Keepers(server, processes, tmp_path, redis=redis_url, options=options) as keepers:
        yield keepers


def test_a_lease_that_lapses_in_flight_lets_nobody_present_the_token_again(server, leased):
    leased.run("get", seed=leased.issue())
    first = fingerprint(leased.family.access[0])
    holder = stopped_in_flight(leased)
    other = leased.run("get", "renew", "get")  # waits for the lease to end
    assert [one["token"] for one in other.did("get")] == [first, first]
    assert other.did("renew")[0]["error"] == "OutcomeUnknown"
    holder.signal(signal.SIGCONT)
    holder.finish()
    new = fingerprint(leased.family.access[1])
    (renewed,) = holder.did("renew")
    # Its answer was there when it woke up, and the time for it was over.
    assert renewed.get("token", new) == new
    assert renewed.get("error", "OutcomeUnknown") == "OutcomeUnknown"
    assert holder.did("get")[1]["token"] == (new if "token" in renewed else first)
    after = leased.run("get", "status")
    assert after.did("status")[0]["state"] == ("fresh" if "token" in renewed else "in doubt")
    assert server.count() == 1


def test_a_holder_whose_lease_lapsed_may_store_what_it_has_got(server, leased):
    leased.run("get", seed=leased.issue())
    holder = leased.start("get", "renew", "get", stop=["answer", "before"])
    holder.wait_for(did="stop")
    holder.sleeps()
    other = leased.run("get", "renew", "get")
    assert other.did("renew")[0]["error"] == "OutcomeUnknown"
    holder.signal(signal.SIGCONT)
    holder.finish()
    new = fingerprint(leased.family.access[1])
    assert [holder.did(step)[-1]["token"] for step in ("renew", "get")] == [new, new]
    assert holder.events("succeeded")
    assert_works_again(leased, generations=2)


def test_a_holder_whose_lease_lapsed_puts_its_own_aside_where_another_has_renewed(server, leased):
    server.grace = 7200.0
    leased.run("get", seed=leased.issue())
    holder = leased.start("get", "renew", "get", stop=["answer", "before"])
    holder.wait_for(did="stop")
    holder.sleeps()
    leased.lapse()
    leased.let_time_pass(601)
    other = leased.run("get")
    theirs = fingerprint(leased.family.access[2])
    assert other.did("get")[0]["token"] == theirs
    holder.signal(signal.SIGCONT)
    holder.finish()
    assert holder.events("parked"), holder.said
    assert holder.did("get")[1]["token"] == theirs
    record = leased.record()
    assert record.token.fingerprint == theirs
    assert [one.fingerprint for one in record.parked] == [fingerprint(leased.family.access[1])]
    after = leased.run("get", "renew")
    assert after.did("renew")[0]["token"] == fingerprint(leased.family.access[3])
    assert leased.presented() == [leased.family.refresh[one] for one in (0, 0, 2)]
    assert not server.reuses
