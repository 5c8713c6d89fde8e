"""Loads under pressure, of Domo and of the data: all of it lands once, or nothing, and what is told is true."""

import gc
import warnings

import anyio
import pytest

from domokit import DomoDataset, Schema, errors
from domokit.testing import oauth_client_auth

from .helpers import (
    ABORT,
    COMMIT,
    FEW,
    NEW,
    OLD,
    PART,
    QUICK,
    SCHEMA,
    SMALL,
    START,
    nothing_open,
    open_uploads,
    parts_sent,
    requests_for,
    running,
    stored,
    tuples,
    with_old_rows,
)

IMPORT = r"^/v1/datasets/[^/]+/data$"


@pytest.fixture
async def dataset(auth, domo):
    made = await with_old_rows(auth)
    domo.requests.clear()
    return made


async def landed_once(domo, dataset, result, *, rows=NEW, before=()):
    """What is told is what lies there, and every part is there once."""
    await result.wait_indexed(timeout=60)
    assert stored(domo, dataset) == [*before, *tuples(rows)]
    assert (result.rows, result.parts) == (len(rows), len(set(parts_sent(domo))))
    assert nothing_open(domo)


def as_before(domo, dataset):
    assert stored(domo, dataset) == tuples(OLD)
    assert nothing_open(domo)


# -- parts


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("status", {}),
        ("status", {"status": 500}),
        ("maintenance", {}),
        ("reset_before", {}),
        ("reset_after", {}),
        ("truncated", {}),
    ],
)
@pytest.mark.parametrize("number", [1, 3])
async def test_a_part_that_did_not_get_through_is_sent_again(domo, dataset, kind, details, number):
    fault = domo.misbehave(kind, method="PUT", path=rf".*/parts?/{number}$", **details)
    result = await dataset.append(NEW, **SMALL)
    assert fault.hits == 1
    await landed_once(domo, dataset, result, before=tuples(OLD))
    assert sorted(parts_sent(domo)) == sorted([*range(1, result.parts + 1), number])
    assert len(requests_for(domo, COMMIT)) == 1


async def test_a_lost_answer_to_each_part(domo, dataset):
    """Every part arrives twice, and counts once."""
    faults = [domo.misbehave("reset_after", method="PUT", path=rf".*/parts?/{number}$") for number in range(1, 30)]
    result = await dataset.append(NEW, **SMALL)
    assert sum(fault.hits for fault in faults) == result.parts
    await landed_once(domo, dataset, result, before=tuples(OLD))
    assert sorted(parts_sent(domo)) == sorted([*range(1, result.parts + 1)] * 2)


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("status", {"status": 400}),
        ("html", {}),
        ("blocked", {}),
        ("login_redirect", {}),
        ("allowlist", {}),
    ],
)
@pytest.mark.parametrize("action", ["replace", "append"])
async def test_a_part_that_is_refused_ends_the_load(domo, dataset, kind, details, action):
    domo.misbehave(kind, method="PUT", path=r".*/parts?/3$", **details)
    with pytest.raises(errors.UploadError, match="the DataSet is as it was") as caught:
        await getattr(dataset, action)(NEW, **SMALL)
    assert (caught.value.is_open, caught.value.is_committed) == (False, False)
    assert isinstance(caught.value.__cause__, errors.APIError)
    as_before(domo, dataset)
    assert requests_for(domo, COMMIT) == []


@pytest.mark.parametrize("kind", ["status", "reset_before", "reset_after"])
async def test_a_part_that_never_gets_through_ends_the_load(domo, dataset, kind):
    fault = domo.misbehave(kind, times=None, method="PUT", path=r".*/parts?/2$")
    with pytest.raises(errors.UploadError, match="it was aborted"):
        await dataset.replace(NEW, **SMALL)
    assert fault.hits == QUICK.attempts
    as_before(domo, dataset)


async def test_domo_goes_away_for_good(domo, dataset):
    domo.misbehave("reset_before", times=None, method="PUT")
    with pytest.raises(errors.UploadError, match="could not be aborted and is open still") as caught:
        await dataset.replace(NEW, **SMALL)
    assert (caught.value.is_open, caught.value.is_committed) == (True, False)
    assert caught.value.upload_id is not None
    assert stored(domo, dataset) == tuples(OLD)


async def test_domo_wants_fewer_calls(domo, dataset):
    fault = domo.misbehave("rate_limit", times=2, retry_after=1, method="PUT", path=PART)
    result = await dataset.append(NEW, **SMALL)
    assert fault.hits == 2
    await landed_once(domo, dataset, result, before=tuples(OLD))


async def test_a_slow_domo(domo, dataset):
    domo.misbehave("latency", seconds=0.03, times=None, method="PUT")
    result = await dataset.append(NEW, **SMALL)
    await landed_once(domo, dataset, result, before=tuples(OLD))
    assert sorted(parts_sent(domo)) == list(range(1, result.parts + 1))


# -- the start


@pytest.mark.parametrize("kind", ["reset_after", "half_json", "empty"])
async def test_a_lost_answer_to_the_start(domo, dataset, kind):
    """What was opened stays open, for nobody knows its number; it never becomes rows, and hinders no later load."""
    domo.misbehave(kind, method="POST", path=START)
    with pytest.raises((errors.OutcomeUnknown, errors.DomoDecodeError)):
        await dataset.replace(FEW, **SMALL)
    assert len(requests_for(domo, START, "POST")) == 1  # repeated, it would open another
    assert parts_sent(domo) == []
    (left,) = open_uploads(domo)
    assert left.parts == {}
    assert stored(domo, dataset) == tuples(OLD)
    result = await dataset.replace(FEW, **SMALL)
    await result.wait_indexed(timeout=60)
    assert stored(domo, dataset) == tuples(FEW)
    assert open_uploads(domo) == [left]
    assert len(running(domo)) == (dataset.auth.family == "platform")


@pytest.mark.parametrize("kind", ["reset_before", "status"])
async def test_a_start_that_was_not_heard(domo, dataset, kind):
    domo.misbehave(kind, method="POST", path=START)
    with pytest.raises((errors.OutcomeUnknown, errors.ServerError)):
        await dataset.replace(FEW, **SMALL)
    as_before(domo, dataset)


# -- the commit


@pytest.mark.parametrize("kind", ["reset_after", "reset_before", "truncated", "empty", "half_json", "status", "html"])
@pytest.mark.parametrize("action", ["replace", "append"])
async def test_a_lost_answer_to_the_commit(domo, dataset, kind, action, no_waiting):
    fault = domo.misbehave(kind, method="PUT", path=COMMIT)
    result = await getattr(dataset, action)(FEW, **SMALL)
    assert fault.hits == 1
    await landed_once(domo, dataset, result, rows=FEW, before=tuples(OLD) if action == "append" else ())


@pytest.mark.parametrize("kind", ["reset_after", "reset_before", "half_json"])
async def test_a_lost_answer_to_the_commit_of_rows_that_show_later(domo, dataset, kind, no_waiting):
    domo.indexing_seconds = 3600
    domo.misbehave(kind, method="PUT", path=COMMIT)
    try:
        result = await dataset.append(FEW, **SMALL)
    except errors.UploadError as error:
        assert (error.is_committed, kind) in ((None, "reset_after"), (None, "half_json"))  # noqa: PT017
        result = None
    domo.clock.advance(3600)
    assert stored(domo, dataset) == tuples(OLD + FEW)
    assert nothing_open(domo)
    domo.indexing_seconds = 0.3  # of the index that is asked for where the answer did not name one
    if result is not None:
        await result.wait_indexed(timeout=60)


async def test_rows_of_an_earlier_load_are_not_taken_for_these(domo, dataset, no_waiting):
    """They show while the load is under way, whose commit is not heard."""
    domo.indexing_seconds = 3600
    await dataset.append([{"n": 7, "text": "earlier"}])

    def due(phase, record):
        if phase == "received" and record.path.endswith("/commit"):
            unsubscribe()
            domo.clock.advance(3600)

    unsubscribe = domo.watch(due)
    domo.misbehave("reset_before", method="PUT", path=COMMIT)
    result = await dataset.append(FEW, **SMALL)
    assert result.rows == len(FEW)
    domo.clock.advance(3600)
    assert stored(domo, dataset) == [*tuples(OLD), (7, "earlier"), *tuples(FEW)]


@pytest.mark.parametrize("kind", ["reset_before", "status", "reset_after"])
@pytest.mark.parametrize("is_indexed", [True, False])
async def test_appends_of_equal_size_of_which_one_is_not_heard(domo, dataset, kind, is_indexed, no_waiting):
    """The load before, which does not show yet, is not taken for this one."""
    domo.indexing_seconds = 0 if is_indexed else 3600
    batches = [[{"n": 1000 * batch + row, "text": f"batch {batch}"} for row in range(30)] for batch in range(3)]
    for batch, rows in enumerate(batches):
        fault = domo.misbehave(kind, method="PUT", path=COMMIT) if batch == 2 else None
        try:
            result = await dataset.append(rows, **SMALL)
        except errors.UploadError as error:  # where nothing shows, whether it was heard may not be found out
            assert (error.is_committed, kind, is_indexed) == (None, "reset_after", False)  # noqa: PT017
        else:
            assert result.rows == 30
            if dataset.auth.family == "product":
                assert result.version_id == domo.state.datasets[dataset.id].versions[-1]
        domo.clock.advance(1)
    assert fault.hits == 1
    domo.clock.advance(3600)
    assert stored(domo, dataset) == [*tuples(OLD), *[row for rows in batches for row in tuples(rows)]]
    assert nothing_open(domo)


async def test_a_load_of_equal_size_by_another_is_not_taken_for_this_one(domo, auth, dataset, no_waiting):
    """It lands while this one is under way, whose commit is not heard."""
    theirs = [{"n": 5000 + row, "text": "theirs"} for row in range(len(FEW))]

    async def rows():
        yield FEW[:10]
        if auth.family == "product":  # where two loads may be under way at once
            await (await DomoDataset.get_by_id(auth, dataset.id)).append(theirs, **SMALL)
        domo.misbehave("reset_before", method="PUT", path=COMMIT)
        yield FEW[10:]

    result = await dataset.append(rows(), **SMALL)
    await result.wait_indexed(timeout=60)
    between = tuples(theirs) if auth.family == "product" else []
    assert stored(domo, dataset) == [*tuples(OLD), *between, *tuples(FEW)]
    assert nothing_open(domo)


async def test_domo_wants_fewer_calls_at_the_commit(domo, dataset, monkeypatch):
    """It was not looked at, so it is sent again when the time has come, and no part is lost for it."""
    fault = domo.misbehave("rate_limit", times=2, retry_after=1, method="PUT", path=COMMIT)
    result = await dataset.append(FEW, **SMALL)
    assert fault.hits == 2
    await landed_once(domo, dataset, result, rows=FEW, before=tuples(OLD))
    monkeypatch.setattr("domokit.bulk.upload._COMMIT_PATIENCE", 0.5)
    domo.misbehave("rate_limit", retry_after=1, method="PUT", path=COMMIT)
    with pytest.raises(errors.UploadError, match="it was aborted") as caught:
        await dataset.append(FEW, **SMALL)
    assert isinstance(caught.value.__cause__, errors.RateLimitedError)
    assert stored(domo, dataset) == tuples(OLD + FEW)
    assert nothing_open(domo)


async def test_a_look_at_the_index_that_fails_is_not_the_last(domo, dataset):
    domo.indexing_seconds = 0.2
    result = await dataset.append(FEW, **SMALL)
    fault = domo.misbehave("status", status=500, times=2, method="GET", path=r".*(statuses|executions/\d+)$")
    await result.wait_indexed(timeout=60)
    assert fault.hits == 2
    assert stored(domo, dataset) == tuples(OLD + FEW)


@pytest.mark.parametrize("kind", ["reset_after", "reset_before"])
async def test_domo_goes_away_with_the_commit(domo, auth, dataset, kind, no_waiting):
    """Whether it was heard cannot be found out, so neither is said, and nothing is undone."""

    def away(phase, record):
        if phase == "received" and record.path.endswith("/commit"):
            domo.misbehave("reset_before", times=None, path="^/(?!oauth)")

    domo.misbehave(kind, method="PUT", path=COMMIT)
    domo.watch(away)
    with pytest.raises(errors.UploadError, match="whether the commit did is not known") as caught:
        await dataset.replace([{"n": 1, "more": 2}], evolve_schema="add")
    assert caught.value.is_committed is None
    domo.watchers.clear()
    domo.heal()
    assert requests_for(domo, ABORT) == []
    assert await dataset.get_schema() == Schema.of({**SCHEMA, "more": "LONG"})
    assert stored(domo, dataset) == (tuples(OLD) if kind == "reset_before" else [(1, None, 2)])


async def test_a_commit_that_is_refused(domo, dataset):
    domo.misbehave("status", status=400, method="PUT", path=COMMIT)
    with pytest.raises(errors.UploadError, match="it was aborted"):
        await dataset.replace(FEW, **SMALL)
    as_before(domo, dataset)


# -- one import, for a DataSet without a stream


@pytest.fixture
async def imported(domo):
    async with oauth_client_auth(domo, retry=QUICK) as auth:
        made = await with_old_rows(auth)
        await (await made.get_stream()).delete()
        domo.requests.clear()
        yield made


@pytest.mark.parametrize("action", ["append", "replace"])
@pytest.mark.parametrize("kind", ["reset_after", "truncated"])
async def test_a_lost_answer_to_an_import(domo, imported, action, kind, no_waiting):
    """Twice within a second, which is as fine as Domo tells the time."""
    before = tuples(OLD) if action == "append" else []
    for _ in range(2):
        fault = domo.misbehave(kind, method="PUT", path=IMPORT)
        result = await getattr(imported, action)(FEW, **SMALL)
        assert (fault.hits, result.rows) == (1, len(FEW))
        assert stored(domo, imported) == before + tuples(FEW)
        before = stored(domo, imported) if action == "append" else []
    assert nothing_open(domo)


@pytest.mark.parametrize("kind", ["reset_after", "reset_before"])
async def test_a_lost_answer_to_an_import_that_shows_later(domo, imported, kind, no_waiting):
    """Whether it was heard cannot be found out in time, so an append is not sent again, and a replace is."""
    domo.indexing_seconds = 3600
    domo.misbehave(kind, method="PUT", path=IMPORT)
    with pytest.raises(errors.UploadError, match="not known") as caught:
        await imported.append(FEW, **SMALL)
    assert caught.value.is_committed is None
    assert len(requests_for(domo, IMPORT)) == 1
    domo.clock.advance(3600)
    assert stored(domo, imported) == tuples(OLD + FEW if kind == "reset_after" else OLD)
    domo.misbehave(kind, method="PUT", path=IMPORT)
    try:
        await imported.replace(FEW, **SMALL)
    except errors.UploadError as error:
        assert error.is_committed is None  # noqa: PT017
    domo.clock.advance(3600)
    assert stored(domo, imported) == tuples(FEW)


async def test_an_import_of_as_many_rows_within_a_second_can_be_waited_for(domo, imported):
    for rows in (FEW, FEW[::-1], [], []):
        result = await imported.replace(rows, **SMALL)
        await result.wait_indexed(timeout=10)
        assert stored(domo, imported) == tuples(rows)
    for rows in ([], []):
        await (await imported.append(rows, **SMALL)).wait_indexed(timeout=10)


async def test_an_import_is_not_taken_for_the_one_before(domo, imported):
    domo.indexing_seconds = 10
    await imported.replace(FEW[:1], **SMALL)
    domo.clock.advance(5)
    second = await imported.replace(FEW[:2], **SMALL)
    domo.clock.advance(6)
    with pytest.raises(errors.RequestTimeoutError):
        await second.wait_indexed(timeout=0.3)
    domo.clock.advance(6)
    await second.wait_indexed(timeout=10)
    assert stored(domo, imported) == tuples(FEW[:2])


@pytest.mark.parametrize(("kind", "status"), [("status", 503), ("status", 400), ("html", None)])
async def test_an_import_that_is_refused(domo, imported, kind, status, no_waiting):
    domo.misbehave(kind, times=None, method="PUT", path=IMPORT, **({"status": status} if status else {}))
    with pytest.raises(errors.UploadError):
        await imported.append(FEW, **SMALL)
    as_before(domo, imported)


# -- what an upsert that fails leaves


async def test_an_upsert_that_fails_leaves_the_key_as_it_was(domo, auth):
    keyed = await DomoDataset.create(auth, "Keyed", OLD, schema=SCHEMA, key=["n"])
    with pytest.raises(errors.InvalidDataError):
        await keyed.upsert([{"n": "no number", "text": "x"}], key=["text"])
    domo.misbehave("status", status=400, method="PUT", path=PART)
    with pytest.raises(errors.UploadError):
        await keyed.upsert(FEW, key=["text"], evolve_schema="add", **SMALL)
    await (await keyed.upsert([{"n": -1, "text": "newer"}])).wait_indexed(timeout=60)
    assert sorted(stored(domo, keyed)) == [(-2, None), (-1, "newer")]
    assert nothing_open(domo)


async def test_a_key_that_the_columns_lack_is_refused(domo, auth):
    keyed = await DomoDataset.create(auth, "Keyed", OLD, schema=SCHEMA, key=["n"])
    await keyed.set_schema({"text": "STRING"})
    domo.requests.clear()
    with pytest.raises(errors.InvalidInputError, match="no column 'n'"):
        await keyed.upsert([{"text": "x"}])
    assert {one.method for one in domo.requests} == {"GET"}


# -- data that misbehaves


def breaking(rows):
    yield from ([row] for row in rows)
    raise RuntimeError("the source broke")


async def breaking_async(rows):
    for row in rows:
        yield [row]
    raise RuntimeError("the source broke")


@pytest.mark.parametrize("source", [breaking, breaking_async])
@pytest.mark.parametrize("count", [0, 1, 60])
async def test_a_generator_that_fails(domo, dataset, source, count):
    with pytest.raises(RuntimeError, match="the source broke"):
        await dataset.replace(source(NEW[:count]), **SMALL)
    as_before(domo, dataset)
    assert requests_for(domo, COMMIT) == []


async def test_a_generator_that_gives_something_else_later(domo, dataset):
    with pytest.raises(errors.InvalidInputError):
        await dataset.replace(iter([NEW[:50], 17]), **SMALL)
    with pytest.raises(errors.InvalidDataError):
        await dataset.replace(iter([NEW[:50], [{"n": "no number", "text": None}]]), **SMALL)
    as_before(domo, dataset)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_slow_generator(domo, dataset, is_async):
    async def slow():
        for start in range(0, len(NEW), 10):
            await anyio.sleep(0.005)
            yield NEW[start : start + 10]

    def blocking():
        for start in range(0, len(NEW), 10):
            anyio.from_thread.run(anyio.sleep, 0.005)
            yield NEW[start : start + 10]

    result = await dataset.append(slow() if is_async else blocking(), **SMALL)
    await landed_once(domo, dataset, result, before=tuples(OLD))


async def test_a_generator_is_closed_when_the_load_fails(domo, dataset):
    closed = []

    async def rows():
        try:
            for row in NEW:
                yield [row]
        finally:
            closed.append(True)

    domo.misbehave("status", status=400, method="PUT", path=r".*/parts?/2$")
    with pytest.raises(errors.UploadError):
        await dataset.replace(rows(), **SMALL)
    assert closed == [True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    as_before(domo, dataset)


@pytest.fixture
def told_each_time(monkeypatch):
    monkeypatch.setattr("domokit.bulk.progress._PAUSE", 0.0)


async def test_a_progress_function_that_fails(domo, dataset, told_each_time):
    def show(progress):
        raise ValueError("cannot show it")

    with pytest.raises(ValueError, match="cannot show it"):
        await dataset.replace([{"n": 1, "more": 2}], progress=show, evolve_schema="add", **SMALL)
    as_before(domo, dataset)
    assert await dataset.get_schema() == Schema.of(SCHEMA)


async def test_a_progress_function_is_told_of_the_end_before_the_commit(domo, auth, dataset):
    """After it, what the function raises would make a load that has landed look like one that failed."""
    told = []

    def show(progress):
        told.append((progress.rows, bool(requests_for(domo, COMMIT))))

    await (await dataset.replace(OLD, progress=show)).wait_indexed(timeout=60)
    assert told[-1] == (len(OLD), False)
    assert not any(is_committed for _, is_committed in told)
    assert nothing_open(domo)
