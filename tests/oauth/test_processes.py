"""Keepers in real processes: many at once, killed at every step and at random, forked, ended early, watched by `ps`."""

import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .keeping import CLIENT_SECRET, PASSWORD, USER, Keepers, Processes, fingerprint, needs_fork, until
from .server import OAuthServer

pytestmark = needs_fork


@pytest.fixture
def server():
    with OAuthServer(lifetime=60.0) as server:
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


@pytest.fixture(params=["file", "redis"])
def sharing(request, server, processes, tmp_path):
    """Keepers that share a file, and such that share a Redis."""
    common = {}
    if request.param == "redis":
        common = {"redis": request.getfixturevalue("redis_url"), "options": {"prefix": f"{tmp_path.name}:"}}
    with Keepers(server, processes, tmp_path, **common) as keepers:
        yield keepers


@pytest.fixture
def on_redis(server, processes, tmp_path, redis_url):
    with Keepers(server, processes, tmp_path, redis=redis_url, options={"prefix": f"{tmp_path.name}:"}) as keepers:
        yield keepers


# -- many at once


def test_eight_processes_spend_each_refresh_token_once(server, sharing):
    server.lifetime = 0.7
    seed, stop = sharing.issue(), sharing.stop_file()
    began = time.monotonic()
    running = [
        sharing.start(["keep", str(stop)], seed=seed, backend=backend)
        for _ in range(4)
        for backend in ("asyncio", "trio")
    ]
    server.wait_until(lambda: server.refreshes >= 10, 100)
    stop.touch()
    for one in running:
        one.finish()
    ended = time.monotonic()

    sharing.assert_each_spent_once()
    assert server.count() == server.refreshes <= (ended - began) / (0.75 * server.lifetime) + 1
    issued = [fingerprint(token) for token in sharing.family.access]
    for one in running:
        (last,) = one.did("keep")
        assert last["errors"] == 0, one.said
        served = [line["served"] for line in one.find() if "served" in line]
        assert served == sorted(served, key=issued.index)  # each was issued, and none comes back
        own = {event["gained"] for event in one.events("succeeded")}
        taken_over = {event["gained"] for event in one.events("adopted")}
        assert set(served) <= own | taken_over | {issued[0]}
    gained = [event["gained"] for one in running for event in one.events("succeeded")]
    assert sorted(gained) == sorted(issued[1:])
    assert any(one.events("adopted") for one in running)


# -- killed at every step, and what the next one does

# name → where it dies, whether the note and the answer and the new token were durable by then, whether it left.
POINTS = {
    "before the note": (("note", "before"), ""),
    "half of the note": (("note", "half"), ""),
    "note not in place": (("note", "replace"), ""),
    "note in place": (("note", "replaced"), "noted"),
    "after the note": (("note", "after"), "noted"),
    "before the request leaves": (("request", ""), "noted"),
    "in flight": ("on_request", "noted sent"),
    "after acting": ("on_acted", "noted sent"),
    "as the answer comes": (("response", ""), "noted sent"),
    "before the answer": (("answer", "before"), "noted sent"),
    "half of the answer": (("answer", "half"), "noted sent"),
    "answer not in place": (("answer", "replace"), "noted sent"),
    "answer in place": (("answer", "replaced"), "noted sent answered"),
    "before the token": (("token", "before"), "noted sent answered"),
    "half of the token": (("token", "half"), "noted sent answered"),
    "token not in place": (("token", "replace"), "noted sent answered"),
    "token in place": (("token", "replaced"), "noted sent answered stored"),
    "after the token": (("token", "after"), "noted sent answered stored"),
}


def killed_at(keepers, where, **order):
    """A process that has a token, and was killed while it got the next; what it had got so far is in the store."""
    server = keepers.server
    if isinstance(where, tuple):
        running = keepers.start("get", "renew", die=where, **order)
        running.finish(-signal.SIGKILL)
        return running
    started = []

    def kill(request):
        until(lambda: started)
        started[0].signal(signal.SIGKILL)

    setattr(server, where, kill)
    started.append(keepers.start("get", "renew", **order))
    running = started[0].finish(-signal.SIGKILL)
    setattr(server, where, None)
    server.wait_until(lambda: all(request.outcome for request in server.requests))
    return running


LADDERS = [
    (point, ladder)
    for point, (_, then) in POINTS.items()
    for ladder in ("refresh", "grace", "password")
    if ladder == "refresh" or then in ("noted", "noted sent")  # else what is on the ladder makes no difference
]


@pytest.mark.parametrize(("point", "ladder"), LADDERS)
def test_killed_anywhere_the_next_knows_what_happened(server, keepers, point, ladder):
    where, then = POINTS[point]
    keepers.common["seed"] = seed = keepers.issue()
    if ladder == "password":
        keepers.common["password"] = [USER, PASSWORD]
    server.grace = 3600.0 if ladder == "grace" else 0.0
    killed_at(keepers, where)
    first, refresh = fingerprint(seed["access_token"]), seed["refresh_token"]
    assert server.count() == ("sent" in then)

    # The file can be read, by whatever means, and tells how far it came.
    document = json.loads(keepers.path.read_text())
    assert len(document["entries"]) == 1
    record = keepers.record()
    assert record.is_outcome_unknown == ("noted" in then and "stored" not in then)
    assert (record.answer is not None) == ("answered" in then and "stored" not in then)

    # As long as the access token lives, nobody asks for another.
    sent = server.count()
    second = keepers.run("status", "get", ["get", 3], "status")
    before, after = second.did("status")
    now = fingerprint(keepers.family.access[1]) if "stored" in then else first
    assert {token["token"] for token in second.did("get")} <= {now, *map(fingerprint, keepers.family.access[1:])}
    if "answered" not in then or "stored" in then:  # an answer that is there may be made use of at once
        assert {token["token"] for token in second.did("get")} == {now}
        assert (before, after) == (after, before)
    assert before["state"] == ("in doubt" if record.is_outcome_unknown else "fresh")
    assert server.count() == sent

    # Once it is dead, there is nothing to lose by presenting the refresh token once more.
    keepers.let_time_pass(61)
    third = keepers.run("get", "status")
    (got,), (status,) = third.did("get"), third.did("status")
    gamble = "noted" in then and "answered" not in then
    lost = gamble and "sent" in then and ladder != "grace"
    assert len(server.reuses) == lost
    if lost and ladder == "refresh":
        assert got["error"] == "RefreshTokenLost"
        assert status["state"] == "dead"
        assert third.events("lost")
    else:
        assert got["token"] == fingerprint(keepers.family.access[-1])
        assert status == {**status, "state": "fresh", "token": got["token"]}
        assert server.count("password") == lost
        assert third.events("succeeded")
    assert bool(third.events("recovered") or second.events("recovered")) == (
        "answered" in then and "stored" not in then
    )
    presented = keepers.presented()
    assert presented.count(refresh) == 1 + (gamble and "sent" in then)
    assert max(map(presented.count, presented)) == presented.count(refresh)
    keepers.assert_no_reuse_while_alive()
    assert keepers.left_behind() == []

    # And nobody presents it a third time.
    sent = server.count()
    fourth = keepers.run("get")
    assert server.count() == sent
    if lost and ladder == "refresh":
        assert fourth.did("get")[0]["error"] in ("GrantDeadError", "RefreshTokenLost")


@pytest.mark.parametrize(
    ("where", "acts"),
    [("on_request", False), ("on_request", True), ("on_acted", True), (("change", "after"), False)],
    ids=["in flight, never acted upon", "in flight", "after acting", "before the request leaves"],
)
def test_killed_while_the_password_is_changed_the_next_finds_out_which_holds(server, keepers, where, acts):
    new = "secret-canary-new-of-ann"
    keepers.common.update(seed=keepers.issue(), password=[USER, PASSWORD])
    keepers.run("get")
    started = []
    if isinstance(where, str):

        def kill(request):
            until(lambda: started)
            started[0].signal(signal.SIGKILL)

        setattr(server, where, kill)
        if not acts:
            server.fail("reset", times=1)
    started.append(keepers.start(["change_password", new], die=None if isinstance(where, str) else where))
    started[0].finish(-signal.SIGKILL)
    server.on_request = server.on_acted = None
    server.wait_until(lambda: all(request.outcome for request in server.requests))
    sent = server.count()
    assert sent == isinstance(where, str)
    assert keepers.record().changing_to.reveal() == new

    # The token goes on; who has to sign in next finds out, and from then on it is known.
    keepers.let_time_pass(61)
    server.revoke_family(keepers.family.refresh[-1])
    server.revoke_family(server.families[0].refresh[-1])
    after = keepers.run("get", "status")
    assert after.did("get")[0]["token"] == fingerprint(server.families[-1].access[-1])
    assert after.did("status")[0]["state"] == "fresh"
    tried = [one.form["password"] for one in server.requests[sent:] if one.grant == "password"]
    assert tried == ([new] if acts else [new, PASSWORD])
    record = keepers.record()
    assert record.changing_to is None
    assert (record.password and record.password.reveal()) == (new if acts else None)
    assert not any(new in line for line in keepers.processes.raw)
    assert new not in keepers.log.read_text(errors="replace")


def test_killed_in_flight_a_request_that_was_never_acted_upon_is_made_up_for(server, keepers):
    server.fail("reset")
    seed = keepers.issue()
    killed_at(keepers, "on_request", seed=seed)
    assert (server.count(), server.refreshes) == (1, 0)
    second = keepers.run("status", "get")
    assert second.did("status")[0]["state"] == "in doubt"
    assert second.did("get")[0]["token"] == fingerprint(seed["access_token"])
    assert server.count() == 1
    keepers.let_time_pass(61)
    third = keepers.run("get", "status")
    assert third.did("get")[0]["token"] == third.did("status")[0]["token"] == fingerprint(keepers.family.access[1])
    assert keepers.presented() == [seed["refresh_token"]] * 2
    assert not server.reuses


@pytest.mark.parametrize("point", ["in flight", "before the answer", "before the token", "after the token"])
def test_killed_on_redis_the_next_knows_what_happened_once_the_lease_is_over(server, on_redis, point):
    where, then = POINTS[point]
    on_redis.common["seed"] = seed = on_redis.issue()
    killed_at(on_redis, where)
    second = on_redis.run("status", "get")
    assert second.did("status")[0]["state"] == ("fresh" if "stored" in then else "in doubt")
    assert server.count() == 1
    on_redis.let_time_pass(61)
    on_redis.lapse()
    third = on_redis.run("get")
    gamble = "answered" not in then
    assert third.did("get")[0].get("error") == ("RefreshTokenLost" if gamble else None)
    assert bool(third.events("recovered")) == (point == "before the token")
    assert on_redis.presented().count(seed["refresh_token"]) == 1 + gamble
    assert len(server.reuses) == gamble
    on_redis.assert_no_reuse_while_alive()


@pytest.mark.parametrize("ladder", ["refresh", "password"])
def test_in_doubt_the_old_token_is_served_to_its_end(server, keepers, ladder):
    """By a process that runs on through the token's last fifth, in which it would be renewed, and beyond."""
    server.lifetime = 20.0
    keepers.common["seed"] = keepers.issue()
    if ladder == "password":
        keepers.common["password"] = [USER, PASSWORD]
    killed_at(keepers, "on_acted")
    keepers.let_time_pass(17.5)
    stop = keepers.stop_file()
    running = keepers.start(["keep", str(stop)])
    if ladder == "refresh":
        assert running.wait_for(failed="keep")["error"] == "RefreshTokenLost"
    else:
        running.wait_for(event="succeeded", grant=None)
        until(lambda: running.find(served=fingerprint(server.families[-1].access[0])))
        assert not running.find(failed="keep")
    stop.touch()
    running.finish()
    keepers.assert_no_reuse_while_alive()
    assert len(server.reuses) == 1
    assert not any(line["late"] for line in running.find() if "late" in line)
    assert running.events("lost")


# -- killed at random


def test_killed_at_random_instants_nothing_is_spent_twice_while_it_lives(server, processes, tmp_path):
    server.lifetime = 0.5
    server.fail("latency", times=None, after_acting=True, seconds=0.05)  # so that many are killed in flight
    rounds, lanes = 15, 4

    def lane(number):
        """Kill whoever renews, again and again; each process goes on with what the one before it left."""
        dice, all_of_them = random.Random(number), []
        directory = tmp_path / str(number)
        directory.mkdir()
        keepers = Keepers(server, processes, directory, password=[USER, PASSWORD])
        keepers.run("get")
        for _ in range(rounds):
            running = keepers.start(["keep", str(keepers.stop_file()), 0.001], backend=dice.choice(["asyncio", "trio"]))
            all_of_them.append(running)
            time.sleep(dice.uniform(0.0, 0.6))
            running.signal(signal.SIGKILL)
            running.finish(-signal.SIGKILL)
            json.loads(keepers.path.read_text())
            assert keepers.record() is not None
        return keepers, all_of_them

    with ThreadPoolExecutor(lanes) as pool:
        ended = list(pool.map(lane, range(lanes)))
    for keepers, all_of_them in ended:
        keepers.let_time_pass(1)  # what is in doubt may be tried
        all_of_them.append(keepers.run("get", "renew"))
        assert all_of_them[-1].did("get")[0]["token"] != all_of_them[-1].did("renew")[0]["token"]
        assert keepers.left_behind() == []
        assert not any(running.find(failed="keep") for running in all_of_them)
        keepers.assert_no_reuse_while_alive(*all_of_them)
    said = processes.forget()
    for keepers, _ in ended:
        keepers.assert_nothing_shows(said)


# -- forked


def test_after_a_fork_parent_and_children_share_a_store(server, sharing):
    server.lifetime = 0.8
    stop = sharing.stop_file()
    sharing.common["seed"] = sharing.issue()
    parent = sharing.start(
        "get_blocking",
        ["fork", 2, [["keep_blocking", str(stop)]]],
        ["fork", 2, [["keep", str(stop)]]],
        ["keep", str(stop)],
        "join",
    )
    children = sharing.children_of(parent, 4)
    server.wait_until(lambda: server.refreshes >= 4, 100)
    stop.touch()
    parent.finish()
    for one in children:
        one.finish()
    sharing.assert_each_spent_once()
    for one in (parent, *children):
        assert not one.find(failed="keep")
        served = {line["served"] for line in one.find() if "served" in line}
        assert served
        assert served <= {*map(fingerprint, sharing.family.access)}


def test_a_child_with_tokens_in_memory_does_not_spend_its_parents(server, keepers):
    keepers.common.update(file=None, memory=True, seed=keepers.issue())
    go_on = keepers.stop_file("go on")
    parent = keepers.start(
        "get", ["fork", 1, ["get", "renew", "get_blocking"]], "join", ["wait", str(go_on)], "renew", "get"
    )
    (child,) = keepers.children_of(parent, 1)
    child.finish()
    first = fingerprint(keepers.family.access[0])
    assert [one.get("token") for one in child.did("get") + child.did("get_blocking")] == [first, first]
    (refused,) = child.did("renew")
    assert refused["error"] == "StoreUnsafeError"
    assert "adopt" in refused["message"]
    assert server.count() == 0

    go_on.touch()
    parent.finish()
    second = fingerprint(keepers.family.access[1])
    assert [one["token"] for one in parent.did("renew") + parent.did("get")[1:]] == [second, second]
    keepers.assert_each_spent_once()


def test_a_child_may_go_on_alone_with_tokens_in_memory(server, keepers):
    keepers.common.update(file=None, memory=True, seed=keepers.issue())
    parent = keepers.start("get", "renew", ["fork", 1, ["adopt_store", "renew", "renew"]], "join").finish()
    (child,) = keepers.children_of(parent, 1)
    assert [one["token"] for one in child.did("renew")] == [fingerprint(one) for one in keepers.family.access[2:]]
    keepers.assert_each_spent_once()


@pytest.fixture
def held(server):
    """Keeps token requests from being acted upon, until it is set; `arrived` is set when there is one."""
    server.lifetime = 600.0
    released, arrived = threading.Event(), threading.Event()

    def hold(request):
        arrived.set()
        assert released.wait(60)

    server.on_request = hold
    released.arrived = arrived
    yield released
    released.set()


def forked_in_mid_renewal(keepers, held, *child_steps):
    """A parent whose thread is renewing while it forks, and its child."""
    keepers.run("get", seed=keepers.issue())
    keepers.let_time_pass(540)  # into the last fifth, in which it is renewed in the background
    under_way = keepers.stop_file("under way")
    parent = keepers.start(["get", 2], ["wait", str(under_way)], ["fork", 1, list(child_steps)], "join", "close", "get")
    assert held.arrived.wait(60)
    under_way.touch()
    (child,) = keepers.children_of(parent, 1)
    return parent, child


def test_a_fork_in_mid_renewal_leaves_a_child_that_works(server, sharing, held):
    parent, child = forked_in_mid_renewal(sharing, held, "get", "renew", "get_blocking")
    first, *_ = sharing.family.access
    assert child.wait_for(did="get")["token"] == fingerprint(first)  # it lives yet, so nobody waits
    held.set()
    for one in (parent, child):
        one.finish()
    new = fingerprint(sharing.family.access[1])
    assert [one.get("token") for one in child.did("renew") + child.did("get_blocking")] == [new, new]
    assert parent.did("get")[-1]["token"] == new
    assert parent.events("succeeded")
    assert not child.events("succeeded")
    sharing.assert_each_spent_once()


def test_a_child_of_a_fork_in_mid_renewal_writes_nothing_through_its_parents_file(server, keepers, held):
    """What the parent has reserved to write its answer to is open in the child, too."""
    access, refresh = server.issue("keeper", USER)
    parent, child = forked_in_mid_renewal(keepers, held, ["adopt", access, refresh, 600], "renew")
    held.set()
    for one in (parent, child):
        one.finish()
    assert child.did("adopt") == [{"pid": child.pid, "did": "adopt"}]
    adopted, renewed = server.families
    assert parent.events("succeeded")
    assert child.did("renew")[0]["token"] == fingerprint(adopted.access[1])
    assert keepers.record().token.fingerprint == fingerprint(adopted.access[1])
    assert sorted(keepers.presented()) == sorted([adopted.refresh[0], renewed.refresh[0]])
    assert keepers.left_behind() == []


# -- ended early


def in_its_last_fifth(keepers):
    """A store whose token is renewed in the background as soon as anybody asks for it twice."""
    keepers.server.lifetime = 600.0
    keepers.run("get", seed=keepers.issue())
    keepers.let_time_pass(540)


def assert_renewed_and_stored(keepers):
    keepers.assert_each_spent_once()
    record = keepers.record()
    assert record.token.fingerprint == fingerprint(keepers.family.access[1])
    assert record.spending is None
    assert record.answer is None
    assert keepers.left_behind() == []


@pytest.mark.parametrize("way", ["asyncio", "trio", "blocking"])
def test_a_program_that_ends_still_finishes_a_renewal_in_the_background(server, keepers, way):
    in_its_last_fifth(keepers)
    started = []

    def hold(request):
        until(lambda: started)
        started[0].wait_for(did="ending")
        time.sleep(0.2)  # the interpreter is well on its way out

    server.on_request = hold
    step, backend = ("get_blocking", "asyncio") if way == "blocking" else ("get", way)
    started.append(keepers.alone([step, 2], backend=backend))
    started[0].finish()
    assert started[0].did(step)[0]["token"] == fingerprint(keepers.family.access[0])
    assert_renewed_and_stored(keepers)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_renewal_may_begin_when_the_program_is_about_to_end(server, keepers, host):
    """Its connection is made after the main thread's end, when no executor takes work any more."""
    keepers.common["client"]["token_url"] = server.token_url.replace("127.0.0.1", host)
    in_its_last_fifth(keepers)
    running = keepers.alone(["get", 2], trouble="outlived").finish()
    assert running.did("get")[0]["token"] == fingerprint(keepers.family.access[0])
    assert_renewed_and_stored(keepers)


@pytest.mark.parametrize("way", ["asyncio", "trio", "blocking"])
def test_interrupted_by_ctrl_c_a_renewal_is_finished(server, keepers, way):
    keepers.is_quiet = False  # Python shows where it was interrupted
    server.lifetime = 600.0
    keepers.run("get", seed=keepers.issue())
    started = []

    def interrupt(request):
        until(lambda: started)
        started[0].signal(signal.SIGINT)
        until(lambda: "KeyboardInterrupt" in keepers.log.read_text())  # told just before the interpreter ends
        time.sleep(0.1)

    server.on_request = interrupt
    step, backend = ("renew_blocking", "asyncio") if way == "blocking" else ("renew", way)
    started.append(keepers.alone("get", step, backend=backend))
    started[0].finish(-signal.SIGINT)
    assert not started[0].did(step)
    assert_renewed_and_stored(keepers)


# -- watched


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_no_secret_is_on_a_command_line_or_in_an_environment(server, keepers, processes):
    seen = {}

    def look(request):
        for pid in descendants(os.getpid()):
            for what in ("cmdline", "environ"):
                try:
                    seen[pid, what] = Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace")
                except OSError:
                    continue

    server.on_request = server.on_acted = look
    forked = keepers.run("get", "renew", seed=keepers.issue(), password=[USER, PASSWORD])
    alone = keepers.alone("get", "renew", password=[USER, PASSWORD]).finish()
    assert forked.events("succeeded")
    assert alone.events("succeeded")
    for pid in (forked.pid, alone.pid):
        assert "keeping_process" in seen[pid, "cmdline"]
        assert "PATH=" in seen[pid, "environ"]
    for secret in (*server.issued, CLIENT_SECRET, PASSWORD):
        assert not any(secret in text for text in seen.values())


def descendants(pid):
    parents = {}
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = one.read_text().rpartition(")")[::2]
        except OSError:
            continue
        parents[int(number.partition(" ")[0])] = int(rest.split()[1])
    found, new = set(), {pid}
    while new:
        new = {one for one, parent in parents.items() if parent in new} - found
        found |= new
    return found
