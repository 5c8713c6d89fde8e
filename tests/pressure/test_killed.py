"""Real processes that are killed while they load, and the next ones, which go on where they stopped."""

import json
import os
import re
import signal
import stat
import subprocess
import sys

import pytest
from anyio import to_thread

from domokit import errors

from .helpers import (
    COMMIT,
    NEW,
    OLD,
    PART,
    START,
    nothing_open,
    open_uploads,
    parts_sent,
    requests_for,
    stored,
    tuples,
    with_old_rows,
)
from .helpers import running as running_executions

OPTIONS = {"part_bytes": 2000, "workers": 1}
PARTS = 6


@pytest.fixture
async def dataset(auth, domo):
    made = await with_old_rows(auth)
    domo.requests.clear()
    return made


@pytest.fixture
def start(domo, dataset, family):
    """Start a load in a process of its own."""
    begun = []

    def start(action="append", **options):
        order = {
            "family": family,
            "credentials": domo.credentials(),
            "dataset_id": dataset.id,
            "action": action,
            "options": OPTIONS | options,
        }
        command = [sys.executable, "-m", "tests.pressure.loading_process", json.dumps(order)]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def ended(process):
    """(return code, what it printed as JSON)"""
    said, _ = await to_thread.run_sync(lambda: process.communicate(timeout=120))
    return process.returncode, json.loads(said) if said else None


def kill_at(domo, process, phase, pattern):
    """Kill it when this is asked for: before Domo acts on it ('received'), or before it answers ('acted')."""

    def watch(now, record):
        if now == phase and re.search(pattern, record.path) and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    domo.watch(watch)


async def test_killed_between_parts_the_next_one_sends_the_rest(domo, dataset, start, tmp_path):
    state = tmp_path / "load.json"
    first = start(resume=str(state))
    kill_at(domo, first, "received", r"/parts?/4$")
    assert await ended(first) == (-signal.SIGKILL, None)
    assert stored(domo, dataset) == tuples(OLD)
    assert parts_sent(domo) == [1, 2, 3, 4]

    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    text = state.read_text()
    assert list(json.loads(text)["parts"]) == ["1", "2", "3"]
    secrets = [value for name, value in domo.credentials().items() if name in ("password", "client_secret")]
    for word in ["line", "another", *secrets, *domo.state.sessions, *domo.state.bearers]:
        assert word not in text

    domo.requests.clear()
    code, said = await ended(start(resume=str(state)))
    assert (code, said["rows"], said["parts"]) == (0, len(NEW), PARTS)
    assert parts_sent(domo) == [4, 5, 6]
    assert requests_for(domo, START, "POST") == []
    assert stored(domo, dataset) == tuples(OLD + NEW)
    assert nothing_open(domo)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("family", "phase"), [("product", "acted"), ("platform", "received")], indirect=["family"])
async def test_killed_at_the_commit_all_of_it_lands_once(domo, dataset, start, tmp_path, phase):
    """The commit is heard either way. The next process finds that out, and sends nothing."""
    state = tmp_path / "load.json"
    first = start(resume=str(state))
    kill_at(domo, first, phase, COMMIT)
    assert (await ended(first))[0] == -signal.SIGKILL
    assert json.loads(state.read_text())["committing"] is True
    domo.requests.clear()
    result = await dataset.append(NEW, resume=state, **OPTIONS)
    assert (result.rows, result.parts, result.bytes_sent) == (len(NEW), PARTS, 0)
    assert parts_sent(domo) == []
    assert stored(domo, dataset) == tuples(OLD + NEW)
    assert nothing_open(domo)
    assert list(tmp_path.iterdir()) == []


async def cut_off(domo, dataset, state, action="append", data=NEW, *, path=r".*/parts?/4$", **options):
    """A load that a lost connection has ended, and that is to be gone on with."""
    fault = domo.misbehave("reset_before", times=None, method="PUT", path=path)
    with pytest.raises(errors.UploadError) as caught:
        await getattr(dataset, action)(data, resume=state, **OPTIONS | options)
    assert fault.hits > 0
    assert caught.value.is_open
    domo.heal()
    domo.requests.clear()


async def test_other_data_after_a_commit_that_was_heard(domo, dataset, start, tmp_path):
    """The file is left from a load that has landed; the next night's rows are not those."""
    state = tmp_path / "load.json"
    first = start(resume=str(state))
    kill_at(domo, first, "acted", COMMIT)
    assert (await ended(first))[0] == -signal.SIGKILL
    night = [{"n": 9000 + row["n"], "text": row["text"]} for row in NEW]
    for other in (night, NEW[:-30], [*NEW, *night]):
        with pytest.raises(errors.InvalidInputError, match="cannot be gone on with") as caught:
            await dataset.append(other, resume=state, **OPTIONS)
        assert str(state) in caught.value.hint
    await dataset.append(NEW, resume=state, **OPTIONS)
    domo.clock.advance(60)
    assert stored(domo, dataset) == tuples(OLD + NEW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", ["product"], indirect=True)
async def test_a_load_by_another_after_a_commit_that_was_not_heard(domo, auth, dataset, tmp_path, no_waiting):
    state = tmp_path / "load.json"
    domo.misbehave("reset_before", times=None, method="PUT", path=COMMIT)
    with pytest.raises(errors.UploadError, match="not known"):
        await dataset.append(NEW, resume=state, **OPTIONS)
    domo.heal()
    await dataset.append([{"n": 7, "text": "another"}])
    result = await dataset.append(NEW, resume=state, **OPTIONS)
    assert (result.rows, result.bytes_sent) == (len(NEW), 0)
    assert stored(domo, dataset) == [*tuples(OLD), (7, "another"), *tuples(NEW)]
    assert nothing_open(domo)


@pytest.mark.parametrize("action", ["replace", "append"])
@pytest.mark.parametrize("count", [0, 25])
async def test_data_that_has_become_shorter_is_refused(domo, dataset, tmp_path, action, count):
    state = tmp_path / "load.json"
    await cut_off(domo, dataset, state, action)
    with pytest.raises(errors.InvalidInputError, match="cannot be gone on with"):
        await getattr(dataset, action)(NEW[:count], resume=state, **OPTIONS)
    assert requests_for(domo, COMMIT) == []
    assert stored(domo, dataset) == tuples(OLD)
    await getattr(dataset, action)(NEW, resume=state, **OPTIONS)
    domo.clock.advance(60)
    assert stored(domo, dataset) == tuples([*(OLD if action == "append" else ()), *NEW])


async def test_a_state_file_counts_for_the_same_action_alone(domo, auth, dataset, tmp_path):
    state = tmp_path / "load.json"
    await cut_off(domo, dataset, state, "replace")
    with pytest.raises(errors.InvalidInputError, match=r"another load .*action"):
        await dataset.append(NEW, resume=state, **OPTIONS)
    if auth.family == "product":
        with pytest.raises(errors.InvalidInputError, match=r"another load .*partition"):
            await dataset.replace_partition("2026-01", NEW, resume=state, **OPTIONS)
    assert stored(domo, dataset) == tuples(OLD)
    await dataset.replace(NEW, resume=state, **OPTIONS)
    domo.clock.advance(60)
    assert stored(domo, dataset) == tuples(NEW)


@pytest.mark.parametrize("when", ["before", "under way"])
async def test_a_state_file_that_cannot_be_written_leaves_nothing_open(domo, dataset, tmp_path, when):
    folder = tmp_path / "folder"
    if when == "under way":
        folder.mkdir()

    async def rows():
        yield NEW[:100]
        for each in folder.glob("*"):
            each.unlink()
        if when == "under way":
            folder.rmdir()
        yield NEW[100:]

    with pytest.raises(errors.InvalidInputError, match="cannot be used as a state file"):
        await dataset.append(rows(), resume=folder / "load.json", **OPTIONS)
    if when == "before":
        assert requests_for(domo, START, "POST") == []
    assert nothing_open(domo)
    assert stored(domo, dataset) == tuples(OLD)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\xff"])
async def test_what_is_no_state_file_is_refused_and_left_alone(domo, dataset, tmp_path, text):
    state = tmp_path / "load.json"
    state.write_bytes(text.encode("latin-1"))
    with pytest.raises(errors.InvalidInputError, match="no state file of a load"):
        await dataset.append(NEW, resume=state, **OPTIONS)
    assert state.read_bytes() == text.encode("latin-1")
    assert requests_for(domo, START, "POST") == []


async def test_a_load_that_domo_has_given_up_is_begun_anew(domo, dataset, tmp_path):
    """The product API tells only by refusing the next part."""
    state = tmp_path / "load.json"
    await cut_off(domo, dataset, state)
    for upload in open_uploads(domo):
        upload.state = "aborted"
    for execution in running_executions(domo):
        execution.state = "ERROR"
    if dataset.auth.family == "product":
        with pytest.raises(errors.UploadError, match="Domo knows it no more") as caught:
            await dataset.append(NEW, resume=state, **OPTIONS)
        assert not caught.value.is_open
        assert list(tmp_path.iterdir()) == []
    result = await dataset.append(NEW, resume=state, **OPTIONS)
    await result.wait_indexed(timeout=60)
    assert stored(domo, dataset) == tuples(OLD + NEW)
    assert nothing_open(domo)


async def test_killed_at_the_commit_of_rows_that_show_later(domo, dataset, start, tmp_path, no_waiting):
    """Before they show, the next process may not know; after that it does."""
    domo.indexing_seconds = 3600
    state = tmp_path / "load.json"
    first = start(resume=str(state))
    kill_at(domo, first, "acted", COMMIT)
    assert (await ended(first))[0] == -signal.SIGKILL
    try:
        await dataset.append(NEW, resume=state, **OPTIONS)
    except errors.UploadError as error:
        assert error.is_committed is None  # noqa: PT017
        domo.clock.advance(3600)
        await dataset.append(NEW, resume=state, **OPTIONS)
    domo.clock.advance(3600)
    assert stored(domo, dataset) == tuples(OLD + NEW)
    assert list(tmp_path.iterdir()) == []


async def test_killed_without_a_state_file_nothing_has_changed(domo, dataset, start):
    """What it opened stays open: nobody is left who could abort it."""
    first = start("replace")
    kill_at(domo, first, "received", r"/parts?/4$")
    assert (await ended(first))[0] == -signal.SIGKILL
    assert requests_for(domo, COMMIT) == []
    assert stored(domo, dataset) == tuples(OLD)
    assert len(open_uploads(domo)) == 1
    result = await dataset.replace(NEW, **OPTIONS)
    await result.wait_indexed(timeout=60)
    assert stored(domo, dataset) == tuples(NEW)
    assert len(open_uploads(domo)) == 1
    assert len(running_executions(domo)) <= 1


@pytest.mark.parametrize("family", ["product"], indirect=True)
async def test_killed_before_anything_was_opened(domo, dataset, start, tmp_path):
    state = tmp_path / "load.json"
    first = start(resume=str(state))
    kill_at(domo, first, "received", "schemas/latest$|streams/search$")
    assert (await ended(first))[0] == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
    assert nothing_open(domo)
    assert requests_for(domo, PART) == []
