"""The official Python SDK's ways to move rows, against a served sandbox: nothing changed but the address."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from domokit.sandbox import Sandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pydomo = pytest.importorskip("pydomo")
    from pydomo import datasets as kit
    from pydomo.streams import CreateStreamRequest, UpdateMethod

# It opens a connection for each call and leaves closing it to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox().serve() as sb:
        yield sb


@pytest.fixture
def domo(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NO_PROXY", "*")
    host = server.base_url.removeprefix("http://")
    return pydomo.Domo(server.client_id, server.client_secret, api_host=host, use_https=False)


FRAME = pd.DataFrame({"name": ["a, b", 'q"x', "é\nz"], "n": [1, 2, 3], "x": [0.5, 1e300, -2.0]})


def test_a_frame_goes_in_and_comes_back(server: Sandbox, domo: Any):
    dataset_id = domo.ds_create(FRAME, "Py frame", "made by it")
    assert server.dataset_rows(dataset_id) == [tuple(row) for row in FRAME.itertuples(index=False)]
    back = domo.ds_get(dataset_id)
    assert list(back["name"]) == list(FRAME["name"])
    assert list(back["n"]) == [1, 2, 3]
    assert domo.ds_meta(dataset_id)["rows"] == 3
    domo.ds_update(dataset_id, FRAME.assign(more=["x", "y", "z"]))
    assert [row[-1] for row in server.dataset_rows(dataset_id)] == ["x", "y", "z"]
    domo.ds_delete(dataset_id, prompt_before_delete=False)
    assert dataset_id not in server.state.datasets


def test_times_that_are_all_midnights(server: Sandbox, domo: Any):
    """pandas writes them as dates, and pydomo passes that on."""
    days = pd.to_datetime(["2024-01-01", "2024-02-29"])
    dataset_id = domo.ds_create(pd.DataFrame({"at": days}), "Py midnights")
    assert server.state.datasets[dataset_id].columns == [{"type": "DATETIME", "name": "at"}]
    assert [row[0] for row in server.dataset_rows(dataset_id)] == list(days.to_pydatetime())


def test_large_frames_go_in_parts_that_count_from_zero(server: Sandbox, domo: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(domo.utilities, "estimate_chunk_rows", lambda data, kbytes=0: 2)
    dataset_id = domo.ds_create(FRAME, "Py parts")
    assert len(server.dataset_rows(dataset_id)) == 3
    last = list(server.state.uploads.values())[-1]
    assert sorted(last.parts) == ["0", "1"]


def test_upsert(server: Sandbox, domo: Any):
    dataset_id = domo.ds_create(FRAME, "Py keyed", "", "UPSERT", ["n"])
    domo.ds_update(dataset_id, FRAME.assign(name="new").tail(1))
    assert sorted(row[:2] for row in server.dataset_rows(dataset_id)) == [("a, b", 1), ("new", 3), ('q"x', 2)]


def test_import_and_export(server: Sandbox, domo: Any, tmp_path: Path):
    request = kit.DataSetRequest()
    request.name = "Py import"
    request.schema = kit.Schema([kit.Column(kit.ColumnType.STRING, "Friend"), kit.Column(kit.ColumnType.LONG, "Age")])
    dataset = domo.datasets.create(request)
    domo.datasets.data_import(dataset["id"], '"Euler, L.",70\nIsaac,84\n')
    domo.datasets.data_import(dataset["id"], "Emmy,53\n", update_method="APPEND")
    assert server.dataset_rows(dataset["id"]) == [("Euler, L.", 70), ("Isaac", 84), ("Emmy", 53)]
    (tmp_path / "in.csv").write_text("Ada,36\n")
    domo.datasets.data_import_from_file(dataset["id"], str(tmp_path / "in.csv"))
    assert domo.datasets.data_export(dataset["id"], True).splitlines() == ["Friend,Age", "Ada,36"]
    with domo.datasets.data_export_to_file(dataset["id"], str(tmp_path / "out.csv"), True):
        pass
    assert (tmp_path / "out.csv").read_text().splitlines() == ["Friend,Age", "Ada,36"]
    with pytest.raises(Exception, match="too many columns"):
        domo.datasets.data_import(dataset["id"], "a,1,2\n")


def test_streams(server: Sandbox, domo: Any, tmp_path: Path):
    request = kit.DataSetRequest()
    request.name = "Py stream"
    request.schema = kit.Schema([kit.Column(kit.ColumnType.LONG, "n")])
    stream = domo.streams.create(CreateStreamRequest(request, UpdateMethod.APPEND))
    assert domo.streams.get(stream["id"])["updateMethod"] == "APPEND"
    assert [one["id"] for one in domo.streams.search(f"dataSource.id:{stream['dataSet']['id']}")] == [stream["id"]]
    assert stream["id"] in [one["id"] for one in domo.streams.list(100, 0)]
    domo.streams.update(stream["id"], CreateStreamRequest(request, UpdateMethod.REPLACE))

    execution = domo.streams.create_execution(stream["id"])
    domo.streams.upload_part(stream["id"], execution["id"], 1, "1\n2\n")
    (tmp_path / "part.csv").write_text("3\n")
    domo.streams.upload_csv_part_from_file(stream["id"], execution["id"], 2, str(tmp_path / "part.csv"), "NONE")
    (tmp_path / "part.csv.gz").write_bytes(gzip.compress(b"4\n"))
    assert domo.streams.get_execution(stream["id"], execution["id"])["currentState"] == "ACTIVE"
    assert domo.streams.commit_execution(stream["id"], execution["id"])["currentState"] == "ACTIVE"
    assert domo.streams.get_execution(stream["id"], execution["id"])["currentState"] == "SUCCESS"
    assert server.dataset_rows(stream["dataSet"]["id"]) == [(1,), (2,), (3,)]

    aborted = domo.streams.create_execution(stream["id"])
    domo.streams.upload_part(stream["id"], aborted["id"], 1, "9\n")
    domo.streams.abort_execution(stream["id"], aborted["id"])
    assert domo.streams.get_execution(stream["id"], aborted["id"])["currentState"] == "ERROR"
    another = domo.streams.create_execution(stream["id"])
    domo.streams.abort_current_execution(stream["id"])
    assert domo.streams.get_execution(stream["id"], another["id"])["currentState"] == "ERROR"
    assert len(domo.streams.list_executions(stream["id"], 10, 0)) == 3
    domo.streams.delete(stream["id"])
    assert server.dataset_rows(stream["dataSet"]["id"]) == [(1,), (2,), (3,)]
