"""Dask DataFrames in and out, by workers in processes of their own, against a served sandbox."""

import contextlib
import copy
import os
import pickle
import signal
import traceback
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import anyio
import attrs
import pytest

pytest.importorskip("distributed", reason="the cluster of these tests needs domokit[dask]")

import cloudpickle
import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from distributed import Client, LocalCluster

from domokit import DomoDataset, errors
from domokit.bulk.loads import ProductLoad
from domokit.integrations import dask as integration
from domokit.integrations.dask import WorkerAuth, read_domo, to_domo
from domokit.sandbox import Sandbox
from domokit.stores.keyring import Keyring
from domokit.testing import access_token_auth, oauth_client_auth

PART = ".*/(parts?)/[0-9]+"
FRAME = pd.DataFrame(
    {
        "order_id": [f"o{number:03}" for number in range(90)],
        "qty": pd.array([None if number % 10 == 9 else number for number in range(90)], "Int64"),
        "share": [number / 7 for number in range(90)],
        "at": pd.date_range("2026-01-01", periods=90, freq="h"),
    }
)
ROWS = [
    (one.order_id, None if pd.isna(one.qty) else one.qty, one.share, one.at.to_pydatetime())
    for one in FRAME.itertuples()
]


both_backends = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture
def anyio_backend():
    """One of them, where the event loop makes no difference: each test costs about a second of processes at work."""
    return "asyncio"


@pytest.fixture(scope="module")
def cluster():
    """Two workers, which are told nothing about any Domo; whoever dies is replaced, in 15 seconds or later."""
    patience = {"distributed.deploy.lost-worker-timeout": "300s", "distributed.scheduler.no-workers-timeout": "300s"}
    with (
        dask.config.set(patience),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
    ):
        yield cluster


@pytest.fixture
def workers(cluster):
    """The client of the test."""
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(params=["cluster", "threads"])
def by(request):
    """Runs the test with workers and without."""
    if request.param == "cluster":
        request.getfixturevalue("workers")
    return request.param


@pytest.fixture(scope="module")
def server():
    with Sandbox(users=1).serve() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server):
    """A fresh sandbox that is served."""
    sandbox = server.app.company = Sandbox()
    sandbox.served_at = server.base_url
    return sandbox


@pytest.fixture(params=["product", "platform"])
def family(request):
    return request.param


@pytest.fixture
def secret_file(tmp_path):
    """Writes a secret where only its owner reads it; gives the reference."""

    def write(name, secret):
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(secret)
        return f"file:{path}"

    return write


@pytest.fixture
def credentials_of(sandbox, secret_file):
    """What workers sign in with, by API family."""

    def make(family="product"):
        if family == "product":
            token = secret_file("token", sandbox.access_token)
            return WorkerAuth(domo_instance=sandbox.instance, access_token=token, base_url=sandbox.base_url)
        secret = secret_file("client", sandbox.client_secret)
        return WorkerAuth(client_id=sandbox.client_id, client_secret=secret, base_url=sandbox.base_url)

    return make


@pytest.fixture
async def auth_of(sandbox):
    async with contextlib.AsyncExitStack() as stack:

        async def make(family="product"):
            signing = {"product": access_token_auth, "platform": oauth_client_auth}[family]
            return await stack.enter_async_context(signing(sandbox))

        yield make


@pytest.fixture
async def orders(auth_of):
    """A DataSet with the columns of FRAME and one row, on the product API."""
    return await made(await auth_of())


async def made(auth, rows=FRAME.iloc[:1]):
    dataset = await DomoDataset.create(auth, "Orders of Dask", rows)
    await (await dataset.replace(rows)).wait_indexed()
    return dataset


def stored(sandbox, dataset):
    return sorted(sandbox.dataset_rows(dataset.id), key=lambda row: row[0])


def open_loads(sandbox):
    uploads = [one for one in sandbox.state.uploads.values() if one.state == "open"]
    return uploads + [one for one in sandbox.state.executions.values() if one.state == "ACTIVE"]


def sent_to(sandbox, path, methods=("PUT", "POST")):
    import re

    return [one.path for one in list(sandbox.requests) if one.method in methods and re.search(path, one.path)]


async def until(condition, seconds=60):
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)


# -- rows in


@both_backends
@pytest.mark.parametrize("action", ["REPLACE", "APPEND"])
async def test_partitions_are_parts_of_one_load(workers, sandbox, family, auth_of, credentials_of, action):
    dataset = await made(await auth_of(family))
    before = len(sandbox.requests)
    result = await to_domo(
        dd.from_pandas(FRAME, npartitions=5), dataset, credentials=credentials_of(family), action=action
    )
    await result.wait_indexed()
    assert stored(sandbox, dataset) == sorted(ROWS + (ROWS[:1] if action == "APPEND" else []))
    assert (result.rows, result.parts, result.dataset_id) == (90, 5, dataset.id)
    assert result.bytes > result.bytes_sent > 0
    paths = [one.path for one in list(sandbox.requests)[before:] if one.method in ("PUT", "POST")]
    assert len([path for path in paths if path.rpartition("/")[0].endswith(("/parts", "/part"))]) == 5
    assert len([path for path in paths if path.endswith("/commit")]) == 1
    assert open_loads(sandbox) == []


async def test_partitions_without_rows(workers, sandbox, orders, credentials_of):
    frame = dd.from_pandas(FRAME, npartitions=3)
    result = await to_domo(frame[frame.order_id < "o031"], orders, credentials=credentials_of())
    await result.wait_indexed()
    assert (result.rows, result.parts) == (31, 3)
    assert len(stored(sandbox, orders)) == 31
    result = await to_domo(frame[frame.order_id < "a"], orders, credentials=credentials_of())
    await result.wait_indexed()
    assert stored(sandbox, orders) == []


async def test_aware_times_are_written_in_a_zone(workers, sandbox, auth_of, credentials_of):
    dataset = await DomoDataset.create(await auth_of(), "Times", schema={"at": "DATETIME"})
    frame = pd.DataFrame({"at": pd.to_datetime(["2026-07-01T12:00:00Z", "2026-01-01T12:00:00Z"])})
    result = await to_domo(
        dd.from_pandas(frame, npartitions=2), dataset, credentials=credentials_of(), time_zone="Europe/Berlin"
    )
    await result.wait_indexed()
    assert stored(sandbox, dataset) == [(datetime(2026, 1, 1, 13),), (datetime(2026, 7, 1, 14),)]


@pytest.mark.parametrize("partitions", [1, 4])
async def test_without_a_cluster_threads_do_it(sandbox, family, auth_of, credentials_of, partitions):
    dataset = await made(await auth_of(family))
    result = await to_domo(
        dd.from_pandas(FRAME, npartitions=partitions), dataset, credentials=credentials_of(family), compression="zlib"
    )
    await result.wait_indexed()
    assert stored(sandbox, dataset) == ROWS
    assert result.parts == partitions
    assert result.load.auth is dataset.auth  # though what the threads were handed is this very object
    frame = await read_domo(
        dataset.auth, dataset.id, credentials=credentials_of(family), by="order_id", divisions=["o", "o050", "p"]
    )
    read = await anyio.to_thread.run_sync(lambda: frame.compute(scheduler="threads"))
    assert sorted(read.order_id) == list(FRAME.order_id)


# -- what is refused before anything is sent


async def test_what_cannot_be_loaded_is_refused_at_first(sandbox, auth_of, credentials_of, orders):
    frame = dd.from_pandas(FRAME, npartitions=2)
    before = len(sent_to(sandbox, "uploads|executions"))
    good = credentials_of()
    for changes, said in (
        ({"frame": FRAME}, "DataFrame is no Dask DataFrame"),
        ({"frame": frame.rename(columns={"qty": "amount"})}, r"\+ amount LONG; - qty LONG"),
        ({"action": "UPSERT"}, "use REPLACE or APPEND"),
        ({"time_zone": "Mars/Olympus"}, "no time zone"),
        ({"compression": "lz4"}, "compression is"),
        ({"credentials": credentials_of("platform")}, "another API family"),
    ):
        given = {"frame": frame, "dataset": orders, "credentials": good} | changes
        with pytest.raises(errors.InvalidInputError, match=said):
            await to_domo(given.pop("frame"), given.pop("dataset"), **given)
    assert len(sent_to(sandbox, "uploads|executions")) == before
    oauth = await auth_of("platform")
    plain = await DomoDataset.get_by_id(oauth, orders.id)
    with pytest.raises(errors.InvalidInputError, match="without a stream"):
        await to_domo(frame, plain, credentials=credentials_of("platform"))


# -- when something goes wrong


async def test_a_worker_that_dies_costs_nothing(workers, sandbox, family, auth_of, credentials_of):
    """Not even if the parts that it had sent before are sent again, because what it said of them is lost."""
    orders = await made(await auth_of(family))
    before = len(sent_to(sandbox, PART))
    stuck = sandbox.misbehave("latency", seconds=60, times=2, skip=2, path=PART)
    results = []

    async def load():
        frame = dd.from_pandas(FRAME, npartitions=6)
        results.append(await to_domo(frame, orders, credentials=credentials_of(family)))

    async with anyio.create_task_group() as group:
        group.start_soon(load)
        await until(lambda: stuck.hits == 2)
        for pid in (await anyio.to_thread.run_sync(workers_pids, workers)).values():
            os.kill(pid, signal.SIGKILL)
    (result,) = results
    await result.wait_indexed()
    assert (result.rows, result.parts) == (90, 6)
    assert stored(sandbox, orders) == ROWS
    sent = sent_to(sandbox, PART)[before:]
    assert len(set(sent)) == 6
    assert len(sent) >= 4 + 6  # the four of those that died, and all once more
    assert open_loads(sandbox) == []


def workers_pids(client):
    return {name: worker.pid for name, worker in client.cluster.workers.items()}


def spoil(part):
    if "o050" in set(part.order_id):
        part = part.assign(order_id=part.order_id, qty=np.where(part.order_id == "o050", 2.5, 1.0))
    return part


def stop(part):
    if "o050" in set(part.order_id):
        raise ZeroDivisionError("of the user's own")
    return part


def other_columns(part):
    return part.drop(columns=["qty"]) if "o050" in set(part.order_id) else part


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (spoil, errors.InvalidDataError, r"^partition 3: .*'qty'.*row \d"),
        (stop, ZeroDivisionError, "of the user's own"),
        (other_columns, errors.SchemaMismatchError, r"^partition 3: .*- qty LONG"),
    ],
)
async def test_a_bad_partition_aborts_the_load(sandbox, orders, credentials_of, by, change, kind, said):
    before, commits = stored(sandbox, orders), len(sent_to(sandbox, "/commit"))
    meta = FRAME.iloc[:0]
    frame = dd.from_pandas(FRAME, npartitions=4).map_partitions(change, meta=meta, enforce_metadata=False)
    with pytest.raises(kind, match=said) as caught:
        await to_domo(frame, orders, credentials=credentials_of())
    if kind is errors.SchemaMismatchError:
        assert [column.name for column in caught.value.diff.removed] == ["qty"]
    assert stored(sandbox, orders) == before
    assert open_loads(sandbox) == []
    assert len(sent_to(sandbox, "/commit")) == commits


async def test_domos_refusal_of_a_part_comes_back_whole(workers, sandbox, orders, credentials_of):
    before = stored(sandbox, orders)
    sandbox.misbehave("status", status=403, path=PART)
    with pytest.raises(errors.UploadError, match="it was aborted; the DataSet is as it was") as caught:
        await to_domo(dd.from_pandas(FRAME, npartitions=4), orders, credentials=credentials_of())
    cause = caught.value.__cause__
    assert isinstance(cause, errors.PermissionDeniedError)
    assert cause.status == 403
    assert "/parts/" in cause.asked
    assert cause.request_id
    assert stored(sandbox, orders) == before
    assert open_loads(sandbox) == []


async def test_a_secret_that_the_workers_lack_is_named(workers, sandbox, orders):
    credentials = WorkerAuth(domo_instance="acme", access_token="env:NOT_SET_ANYWHERE", base_url=sandbox.base_url)
    with pytest.raises(errors.MissingCredentialError, match="partition 1: env:NOT_SET_ANYWHERE holds nothing"):
        await to_domo(dd.from_pandas(FRAME, npartitions=1), orders, credentials=credentials)
    assert open_loads(sandbox) == []


@both_backends
async def test_who_is_cancelled_leaves_nothing_open(sandbox, orders, credentials_of, by):
    before = stored(sandbox, orders)
    stuck = sandbox.misbehave("latency", seconds=1, times=None, path=PART)
    async with anyio.create_task_group() as group:
        frame = dd.from_pandas(FRAME, npartitions=40)
        group.start_soon(lambda: to_domo(frame, orders, credentials=credentials_of()))
        await until(lambda: stuck.hits)
        group.cancel_scope.cancel()
    assert open_loads(sandbox) == []
    assert stored(sandbox, orders) == before
    sandbox.heal()
    result = await to_domo(dd.from_pandas(FRAME, npartitions=2), orders, credentials=credentials_of())
    await result.wait_indexed()
    assert stored(sandbox, orders) == ROWS


async def test_a_cluster_that_gives_up_aborts_the_load(workers, sandbox, orders, credentials_of, monkeypatch):
    class Lost(Exception):
        __module__ = "distributed.scheduler"

    async def check(gather, said):
        monkeypatch.setattr(Client, "gather", gather)
        with pytest.raises(errors.UploadError, match=said):
            await to_domo(dd.from_pandas(FRAME, npartitions=2), orders, credentials=credentials_of())
        assert open_loads(sandbox) == []

    def killed(self, futures):
        raise Lost("all those workers died")

    def cancelled(self, futures):
        self.cancel(futures)
        return gather(self, futures)

    gather = Client.gather
    await check(killed, "the cluster did not finish: Lost: all those workers died.*it was aborted")
    await check(cancelled, "the tasks were cancelled.*it was aborted")


# -- secrets


async def test_secrets_stay_where_they_are(workers, sandbox, family, auth_of, credentials_of, monkeypatch):
    orders = await made(await auth_of(family))
    seen = []
    submit = Client._send_to_scheduler

    def watched(self, message):
        seen.append(cloudpickle.dumps(message))
        return submit(self, message)

    monkeypatch.setattr(Client, "_send_to_scheduler", watched)
    graphs = []
    update = Client._graph_to_futures

    def graph(self, expr, *arguments, **options):
        graphs.append(cloudpickle.dumps(expr))
        return update(self, expr, *arguments, **options)

    monkeypatch.setattr(Client, "_graph_to_futures", graph)
    credentials = credentials_of(family)
    result = await to_domo(dd.from_pandas(FRAME, npartitions=3), orders, credentials=credentials)
    await result.wait_indexed()
    frame = await read_domo(orders.auth, orders.id, credentials=credentials, by="qty", npartitions=2)
    assert len(await anyio.to_thread.run_sync(frame.compute)) == 90
    everything = b"".join(seen + graphs)
    reference = credentials.access_token or credentials.client_secret
    assert reference.encode() in b"".join(graphs)  # it is what went to the workers
    for secret in (sandbox.access_token, sandbox.password, sandbox.client_secret):
        assert secret.encode() not in everything
        assert secret not in repr(credentials)


@pytest.mark.parametrize("name", ["access_token", "client_secret"])
@pytest.mark.parametrize("literal", ["s3cret-canary", "env:", "env:no-name-canary", "account:acme/name-canary", ""])
def test_a_literal_secret_is_refused(name, literal):
    given = {"domo_instance": "acme", "client_id": "id", name: literal}
    with pytest.raises(errors.InvalidInputError, match=f"{name} must say where it is") as caught:
        WorkerAuth(**given)
    if "canary" in literal:
        del given
        shown = "".join(traceback.format_exception(caught.value))
        assert "canary" not in shown
        assert "canary" not in str(vars(caught.value))
        trace = caught.value.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        assert "canary" not in str(trace.tb_frame.f_locals)


def test_what_is_missing_is_named():
    reference = "env:TOKEN"
    for given, said in (
        ({}, "pass access_token="),
        ({"access_token": reference, "client_secret": reference}, "pass access_token="),
        ({"access_token": reference}, "pass domo_instance="),
        ({"client_secret": reference}, "pass client_id="),
        ({"access_token": reference, "domo_instance": "a", "base_url": "http://me:pw-canary@host"}, "base_url"),
    ):
        with pytest.raises(errors.InvalidInputError, match=said) as caught:
            WorkerAuth(**given)
        assert "canary" not in str(caught.value)


async def test_all_kinds_of_references(monkeypatch, secret_file):
    monkeypatch.setenv("THE_TOKEN", "t" * 40)
    from domokit import Secret

    monkeypatch.setattr(Keyring, "get", lambda self, name: Secret("k" * 40) if name == "token" else None)
    for reference in ("env:THE_TOKEN", secret_file("token", "f" * 40), "keyring:domo/token"):
        credentials = WorkerAuth(domo_instance="acme", access_token=reference)
        assert pickle.loads(pickle.dumps(credentials)) == credentials
        async with await credentials.open() as auth:
            assert auth.family == "product"
        async with await WorkerAuth(client_id="c", client_secret=reference).open() as auth:
            assert auth.family == "platform"
    with pytest.raises(errors.MissingCredentialError, match="keyring:domo/other holds nothing"):
        await WorkerAuth(domo_instance="acme", access_token="keyring:domo/other").open()


async def test_a_load_travels_without_its_auth(auth_of):
    load = ProductLoad(await auth_of(), "some-id", action="REPLACE")
    load.take_up({"upload_id": 7, "version_before": 3})
    for other in (copy.copy(load), pickle.loads(pickle.dumps(load))):
        assert not hasattr(other, "auth")
        assert other.handle() == load.handle()
        assert other.dataset_id == "some-id"


# -- rows out


async def read(dataset, credentials, **how):
    """Dask's frame, and what its partitions are when they are computed."""
    frame = await read_domo(dataset.auth, dataset.id, credentials=credentials, **how)
    parts = await anyio.to_thread.run_sync(lambda: dask.compute(*frame.to_delayed()))
    for part in parts:
        pd.testing.assert_series_equal(part.dtypes, frame._meta.dtypes)
        assert list(part.columns) == list(frame.columns)
    return frame, parts


WIDE = {
    "id": ["a'b", "c", None, "z", "é", "b"],
    "qty": [-(2**63), 2**63 - 1, None, 0, 5, -7],
    "share": [-1.7e308, 1.7e308, None, 0.5, 1e-300, -3.0],
    "price": [Decimal("-1.5"), Decimal("12345678901234567890.5"), None, Decimal(0), Decimal("0.0000000001"), None],
    "day": [date(1, 1, 1), date(9999, 12, 31), None, date(2026, 1, 1), date(2026, 1, 2), None],
    "at": [
        datetime(1700, 1, 1), datetime(2200, 12, 31, 23, 59, 59), None, datetime(2026, 1, 1),
        datetime(2026, 1, 1, 0, 0, 1), None,
    ],
}  # fmt: skip
TYPES = {"id": "STRING", "qty": "LONG", "share": "DOUBLE", "price": "DECIMAL", "day": "DATE", "at": "DATETIME"}


@pytest.fixture(params=["product", "platform"])
async def wide(request, auth_of):
    auth = await auth_of(request.param)
    rows = [dict(zip(WIDE, values, strict=True)) for values in zip(*WIDE.values(), strict=True)]
    dataset = await DomoDataset.create(auth, "Wide", rows, schema=TYPES)
    await (await dataset.replace(rows)).wait_indexed()
    return dataset, request.param


def keys(parts):
    return sorted(repr(key) for part in parts for key in part["share"].fillna(-9).tolist())


async def test_reading_by_each_type(wide, credentials_of):
    dataset, family = wide
    credentials = credentials_of(family)
    frame, (whole,) = await read(dataset, credentials)
    assert (frame.npartitions, len(whole)) == (1, 6)
    every = keys([whole])
    day, at = date(2026, 1, 2), datetime(2026, 1, 1, 0, 0, 1)
    for how, count in (
        ({"by": "qty", "npartitions": 3}, 3),
        ({"by": "share", "npartitions": 3}, 3),
        ({"by": "price", "npartitions": 3}, 3),
        ({"by": "day", "npartitions": 4}, 4),
        ({"by": "at"}, 8),
        ({"by": "qty", "npartitions": 1}, 1),
        ({"by": "qty", "divisions": [-10, np.int64(0), 5.0, Decimal(6)]}, 3),
        ({"by": "day", "divisions": [date(1, 1, 1), day, date(2027, 1, 1)]}, 2),
        ({"by": "at", "divisions": [datetime(2020, 1, 1), at, pd.Timestamp("2027-01-01")]}, 2),
        ({"by": "id", "divisions": ["a", "a'b", "c", "d"]}, 3),
        ({"by": "id", "divisions": ["a", "z"], "npartitions": 1}, 1),
    ):
        frame, parts = await read(dataset, credentials, **how)
        assert frame.npartitions == len(parts) == count, how
        assert keys(parts) == every, how  # each row once, NULL too
        if count > 1:
            nulls = [int(part[how["by"]].isna().sum()) for part in parts]
            assert nulls[0] >= 1, how
            assert sum(nulls[1:]) == 0, how


async def test_bounds_split_where_they_say(auth_of, credentials_of):
    auth = await auth_of()
    dataset = await made(auth, FRAME)
    credentials = credentials_of()
    for how, sizes in (
        ({"by": "qty", "npartitions": 4}, [29, 20, 20, 21]),
        ({"by": "at", "npartitions": 2}, [45, 45]),
        ({"by": "order_id", "divisions": ["o000", "o010", "o080", "o089"]}, [10, 70, 10]),
        ({"by": "at", "divisions": [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 3, 4)]}, [3, 87]),
    ):
        _, parts = await read(dataset, credentials, **how)
        assert [len(part) for part in parts] == sizes
    few = await read_domo(auth, dataset.id, credentials=credentials, by="qty", npartitions=500)
    assert few.npartitions < 90  # no more than there are numbers


async def test_types_can_be_chosen(wide, credentials_of):
    dataset, family = wide
    types = {"price": pa.float64(), "qty": pa.float32()}
    frame, parts = await read(dataset, credentials_of(family), by="day", npartitions=2, types=types)
    assert (frame.dtypes["price"], frame.dtypes["qty"]) == (np.dtype("float64"), np.dtype("float32"))
    assert sum(len(part) for part in parts) == 6


async def test_nothing_to_read(auth_of, credentials_of, family):
    dataset = await DomoDataset.create(await auth_of(family), "Empty", schema=TYPES)
    result = await dataset.replace([])
    await result.wait_indexed()
    for how in ({}, {"by": "qty", "npartitions": 3}, {"by": "day"}):
        frame, parts = await read(dataset, credentials_of(family), **how)
        assert (frame.npartitions, [len(part) for part in parts]) == (1, [0])


async def test_nothing_but_null_to_go_by(auth_of, credentials_of):
    dataset = await DomoDataset.create(await auth_of(), "Nulls", schema={"a": "LONG", "b": "STRING"})
    await (await dataset.replace([{"a": None, "b": "x"}, {"a": None, "b": "y"}])).wait_indexed()
    frame, parts = await read(dataset, credentials_of(), by="a", npartitions=3)
    assert (frame.npartitions, [len(part) for part in parts]) == (1, [2])


async def test_columns_that_changed_meanwhile_are_an_error(auth_of, credentials_of):
    dataset = await made(await auth_of(), FRAME)
    frame = await read_domo(dataset.auth, dataset.id, credentials=credentials_of())
    await (await dataset.replace(FRAME.assign(note="x"), evolve_schema="add")).wait_indexed()
    with pytest.raises(errors.InvalidInputError, match="other columns than when"):
        await anyio.to_thread.run_sync(lambda: frame.compute(scheduler="threads"))


@pytest.mark.parametrize("how", [{}, {"by": "qty", "npartitions": 2}], ids=["whole", "split"])
async def test_what_goes_wrong_in_reading_comes_back_whole(sandbox, family, auth_of, credentials_of, by, how):
    orders = await made(await auth_of(family), FRAME)
    good = credentials_of(family)

    async def failed(kind, said, *, credentials=good, fault=None, **more):
        frame = await read_domo(orders.auth, orders.id, credentials=credentials, **how, **more)
        if fault is not None:
            sandbox.misbehave(path=r".*(/execute/|/data$)", times=None, **fault)
        with pytest.raises(kind, match=said) as caught:
            await anyio.to_thread.run_sync(frame.compute)
        sandbox.heal()
        return caught.value

    refused = await failed(errors.PermissionDeniedError, "(GET|POST) /", fault={"kind": "status", "status": 403})
    assert refused.status == 403
    assert refused.request_id
    await failed(errors.UnexpectedPageError, "page", fault={"kind": "html"})
    lost = errors.EmptyAnswerError if how else errors.IncompleteDataError
    await failed(lost, "without the data|the answer is empty", fault={"kind": "empty"})
    bad = await failed(errors.InvalidDataError, "row 1, column 'order_id' holds no", types={"order_id": pa.int64()})
    assert "Pass types" in bad.hint
    secret = {"access_token" if family == "product" else "client_secret": "env:NOT_SET_ANYWHERE"}
    lacking = attrs.evolve(good, **secret)
    await failed(errors.MissingCredentialError, "env:NOT_SET_ANYWHERE holds nothing", credentials=lacking)
    with pytest.raises(errors.InvalidInputError, match="types names 'none'"):
        await read_domo(orders.auth, orders.id, credentials=good, types={"none": pa.int64()})


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"npartitions": 2}, "say by which column"),
        ({"divisions": [1, 2]}, "say by which column"),
        ({"by": "nothing"}, "no column 'nothing'"),
        ({"by": "order_id"}, "say where to split it"),
        ({"by": "qty", "npartitions": 0}, "at least 1"),
        ({"by": "qty", "divisions": [1]}, "at least two"),
        ({"by": "qty", "divisions": [2, 1]}, "must ascend"),
        ({"by": "qty", "divisions": [1, "x"]}, "must ascend"),
        ({"by": "qty", "divisions": [1, 2, 3], "npartitions": 3}, "3 divisions make 2 partitions"),
        ({"by": "qty", "divisions": [float("-inf"), float("inf"), float("inf")]}, "cannot be a bound"),
        ({"by": "order_id", "divisions": ["a", "b\\", "c"]}, "cannot be a bound"),
    ],
)
async def test_what_cannot_be_split_is_refused(orders, credentials_of, how, said):
    with pytest.raises(errors.InvalidInputError, match=said):
        await read_domo(orders.auth, orders.id, credentials=credentials_of(), **how)


@both_backends
async def test_there_and_back(workers, sandbox, family, auth_of, credentials_of):
    dataset = await made(await auth_of(family))
    credentials = credentials_of(family)
    result = await to_domo(dd.from_pandas(FRAME, npartitions=3), dataset, credentials=credentials)
    await result.wait_indexed()
    frame = await read_domo(dataset.auth, dataset.id, credentials=credentials, by="at", npartitions=3)
    again = await to_domo(frame, dataset, credentials=credentials, action="APPEND")
    await again.wait_indexed()
    assert (again.rows, again.parts) == (90, 3)
    assert stored(sandbox, dataset) == sorted(ROWS * 2, key=lambda row: row[0])


def test_conditions_meet_each_row_once():
    low, step = datetime(17, 1, 1), timedelta(microseconds=1)
    assert integration._ranges("a", [low, low + step]) == [
        "`a` < '0017-01-01T00:00:00' OR `a` IS NULL",
        "`a` >= '0017-01-01T00:00:00' AND `a` < '0017-01-01T00:00:00.000001'",
        "`a` >= '0017-01-01T00:00:00.000001'",
    ]
    with pytest.raises(errors.InvalidInputError, match="cannot be named"):
        integration._ranges("a`b", [1])
