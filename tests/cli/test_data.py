"""`domokit data …`"""

import gzip
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from domokit.cli import data

from .helpers import buffered, changing, secrets_of
from .test_terminal import Person

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, terminals and signals of POSIX")

KIT = [sys.executable, "-m", "domokit"]
ROWS = [("a", 1), ("b", 2), ("c", None)]
CSV = "order_id,qty\na,1\nb,2\nc,\n"
TABLE = pa.table({"order_id": ["a", "b", "c"], "qty": pa.array([1, 2, None], pa.int64())})
ASKING = ("/execute/", "/query", "/search", "/token", "/authentication")  # POSTs that change nothing


def named(sandbox, name):
    return next(one for one in sandbox.state.datasets.values() if one.name == name)


def rows_of(sandbox, name):
    return sandbox.dataset_rows(named(sandbox, name).id)


def writes(sandbox):
    """The requests that changed something."""
    return [(one.method, one.path) for one in changing(sandbox) if not any(word in one.path for word in ASKING)]


def nothing_open(sandbox):
    return not [one for one in sandbox.state.uploads.values() if one.state == "open"]


def arrow_bytes(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_bytes(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


FILES = {
    "rows.csv": CSV.encode(),
    "rows.csv.gz": gzip.compress(CSV.encode()),
    "rows.tsv": CSV.replace(",", "\t").encode(),
    "rows.ndjson": b'{"order_id":"a","qty":1}\n{"order_id":"b","qty":2}\n{"order_id":"c","qty":null}\n',
    "rows.parquet": parquet_bytes(TABLE),
    "rows.arrow": arrow_bytes(TABLE),
}


@pytest.fixture
def file(tmp_path):
    """Writes a file and gives its path."""

    def write(name="rows.csv", content=None):
        content = FILES[name] if content is None else content
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def api_client(served, monkeypatch):
    """The environment signs in as the API client, on the platform API."""
    monkeypatch.delenv("DOMO_USERNAME")
    monkeypatch.delenv("DOMO_PASSWORD")
    monkeypatch.setenv("DOMO_CLIENT_ID", served.client_id)
    monkeypatch.setenv("DOMO_CLIENT_SECRET", served.client_secret)


@pytest.fixture(params=["product", "platform"])
def family(request):
    """Runs the test with either API family."""
    if request.param == "platform":
        request.getfixturevalue("api_client")
    return request.param


# -- ls


def test_ls(cli, served, family):
    rows = cli("data", "ls", "--json").json
    assert {row["id"] for row in rows} == set(served.state.datasets)
    assert {"id", "name", "rows", "columns", "owner_name", "updated_at"} <= rows[0].keys()
    table = cli("data", "ls", "--search", "ORD").out
    assert table.splitlines()[0].split()[:2] == ["id", "name"]
    assert named(served, "Orders").id in table
    assert len(table.splitlines()) == 2
    assert cli("data", "ls", "--search", "no such").out == "There is no such DataSet.\n"
    assert cli("data", "ls", "--search", "no such", "--json").json == []


# -- put


@pytest.mark.parametrize("name", FILES)
def test_put_replaces_the_rows(cli, served, file, name):
    done = cli("data", "put", "Orders", file(name), "--wait", "--json").json
    assert rows_of(served, "Orders") == ROWS
    assert (done["action"], done["dry_run"], done["name"]) == ("replace", False, "Orders")
    assert (done["rows"], done["dataset_id"]) == (3, named(served, "Orders").id)


def test_put_by_id_and_what_it_prints(cli, served, family, file):
    cli("data", "put", "Mine", file(), "--create")
    out = cli("data", "put", named(served, "Mine").id.upper(), file(), "--append", "--wait").out
    assert re.search(r"^rows +3$", out, re.MULTILINE)
    assert re.search(r"^action +append$", out, re.MULTILINE)
    assert rows_of(served, "Mine") == ROWS * 2


def test_put_creates_appends_and_goes_by_a_key(cli, served, family, file):
    path = file()
    made = cli("data", "put", "Mine", path, "--create", "--key", "order_id", "--json").json
    assert made["action"] == "create"
    again = cli("data", "put", "Mine", path, "--create", "--json").json
    assert (again["action"], again["dataset_id"]) == ("replace", made["dataset_id"])
    more = file("more.csv", "order_id,qty\nc,3\nd,4\n")
    assert cli("data", "put", "Mine", more, "--key", "order_id", "--wait", "--json").json["action"] == "upsert"
    assert sorted(rows_of(served, "Mine")) == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    cli("data", "put", "Mine", more, "--append", "--wait")
    assert len(rows_of(served, "Mine")) == 6


def test_put_into_a_partition(cli, served, file):
    cli("data", "put", "Parted", file("head.ndjson", '{"order_id":"a","qty":1}'), "--create")
    cli("data", "put", "Parted", file("head.csv", "order_id,qty\n"))
    for name, text in (("one", "a,1"), ("two", "b,2"), ("one", "c,3")):
        path = file("part.csv", f"order_id,qty\n{text}\n")
        done = cli("data", "put", "Parted", path, "--partition", name, "--wait", "--json").json
        assert done["action"] == "partition"
    assert sorted(rows_of(served, "Parted")) == [("b", 2), ("c", 3)]


def test_partitions_need_the_product_api(cli, served, api_client, file):
    ran = cli("data", "put", "Orders", file(), "--partition", "one", code=1)
    assert "DOMO_ACCESS_TOKEN" in ran.err
    assert writes(served) == []


def test_put_evolves_the_columns(cli, served, file):
    wider = file("wider.csv", "order_id,qty,note\na,1,x\n")
    cli("data", "put", "Orders", wider, "--evolve", "add", "--wait")
    assert rows_of(served, "Orders") == [("a", 1, "x")]
    cli("data", "put", "Orders", file("other.csv", "day\n2026-01-02\n"), "--evolve", "replace", "--wait")
    assert named(served, "Orders").columns == [{"type": "DATE", "name": "day"}]


def test_put_without_a_header_goes_by_place(cli, served, file):
    path = file("bare.csv", "7,1\n8,2\n")
    cli("data", "put", "Orders", path, "--no-header", "--wait")
    assert rows_of(served, "Orders") == [("7", 1), ("8", 2)]
    said = cli("data", "put", "New", path, "--no-header", "--create", code=2).err
    assert "header" in said
    cli("data", "put", "Orders", file("wide.csv", "7,1,x\n"), "--no-header", code=2)
    assert rows_of(served, "Orders") == [("7", 1), ("8", 2)]


def test_put_writes_times_in_a_zone(cli, served, file):
    times = pa.table({"at": pa.array([1_782_907_200], pa.timestamp("s", "UTC"))})
    path = file("times.parquet", parquet_bytes(times))
    cli("data", "put", "Times", path, "--create", "--time-zone", "Europe/Berlin", "--wait")
    assert [str(row[0]) for row in rows_of(served, "Times")] == ["2026-07-01 14:00:00"]


def test_put_without_rows_empties(cli, served, file):
    assert cli("data", "put", "Orders", file("head.csv", "order_id,qty\n"), "--wait", "--json").json["rows"] == 0
    assert rows_of(served, "Orders") == []


# -- put --dry-run


def test_a_dry_run_tells_the_columns(cli, served, family, file):
    cli("data", "put", "Mine", file(), "--create", "--wait")
    before = len(writes(served))
    done = cli("data", "put", "Mine", file("rows.parquet"), "--dry-run", "--append", "--json").json
    assert done == {
        "action": "append",
        "dry_run": True,
        "id": named(served, "Mine").id,
        "name": "Mine",
        "rows_now": 3,
        "rows": 3,
        "columns": [
            {"name": "order_id", "type": "STRING", "type_now": "STRING", "diff": ""},
            {"name": "qty", "type": "LONG", "type_now": "LONG", "diff": ""},
        ],
        "would_be_refused": False,
    }
    ran = cli("data", "put", "Mine", file(), "--dry-run")
    assert ran.out.startswith("Dry run: would replace the rows of 'Mine'. Nothing was sent.\n")
    assert cli("data", "put", "Mine", file(), "--dry-run", "--json").json["rows"] is None  # a CSV is not counted
    assert len(writes(served)) == before
    assert rows_of(served, "Mine") == ROWS


def test_a_dry_run_tells_what_differs(cli, served, file):
    path = file("other.parquet", parquet_bytes(pa.table({"ORDER_ID": ["a"], "qty": ["1"], "note": ["x"]})))
    told = cli("data", "put", "Orders", path, "--dry-run", "--evolve", "add", "--json").json
    assert [(one["name"], one["diff"]) for one in told["columns"]] == [("order_id", ""), ("qty", ""), ("note", "+")]
    ran = cli("data", "put", "Orders", path, "--dry-run", code=2)
    assert [line.split() for line in ran.out.splitlines()[-3:]] == [
        ["order_id", "STRING", "STRING"],
        ["qty", "LONG", "LONG"],  # text that may be numbers: the values decide
        ["+", "note", "STRING"],
    ]
    assert ran.out.startswith("Dry run: this would be refused: the columns differ from the DataSet's: + note STRING.")
    assert "would replace" not in ran.out
    assert "the columns differ from the DataSet's: + note STRING" in ran.err
    assert "--evolve add or --evolve replace" in ran.err
    flags = file("flags.parquet", parquet_bytes(pa.table({"order_id": ["a"], "qty": [True]})))
    assert "~ qty LONG -> STRING of bool" in cli("data", "put", "Orders", flags, "--dry-run", code=2).err
    dates = file("dates.parquet", parquet_bytes(pa.table({"qty": pa.array([0], pa.date32())})))
    ran = cli("data", "put", "Orders", dates, "--dry-run", "--json", code=2)
    assert [(one["name"], one["type"], one["diff"]) for one in ran.json["columns"]] == [
        ("order_id", None, "-"),
        ("qty", "DATE", "~"),
    ]
    assert ran.json["would_be_refused"] is True
    assert ran.error["error"] == "SchemaMismatchError"
    told = cli("data", "put", "Orders", dates, "--dry-run", "--evolve", "replace", "--json").json
    assert [one["diff"] for one in told["columns"]] == ["-", "~"]
    assert writes(served) == []


def test_a_dry_run_of_a_new_one(cli, served, file):
    told = cli("data", "put", "New", file(), "--create", "--dry-run", "--key", "qty", "--json").json
    assert (told["action"], told["id"], told["name"]) == ("create", None, "New")
    assert [(one["name"], one["type"], one["type_now"]) for one in told["columns"]] == [
        ("order_id", "STRING", None),
        ("qty", "LONG", None),
    ]
    assert "would create 'New'" in cli("data", "put", "New", file(), "--create", "--dry-run").out
    assert "no column 'x'" in cli("data", "put", "New", file(), "--create", "--dry-run", "--key", "x", code=2).err
    assert writes(served) == []


def test_a_dry_run_of_data_without_its_key(cli, served, file):
    path = file("other.csv", "ident,qty\na,1\n")
    for more in (["--dry-run"], []):
        err = cli("data", "put", "Orders", path, "--key", "order_id", "--evolve", "add", *more, code=2).err
        assert "the data lacks 'order_id', by which rows are told apart" in err
    told = cli("data", "put", "Orders", path, "--key", "ident", "--evolve", "add", "--dry-run", "--json").json
    assert not told["would_be_refused"]  # a key may be of the columns that come with the data
    assert writes(served) == []


# -- what is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["put", "Orders", "FILE", "--append", "--key", "qty"], "--append, --key and --partition exclude each other"),
        (["put", "Orders", "FILE", "--key", "qty", "--partition", "x"], "exclude each other"),
        (["put", "Orders", "-"], "add --format"),
        (["put", "Orders", "nowhere.csv"], "there is no file nowhere.csv"),
        (["put", "Orders", "."], ". is a directory"),
        (["put", "Orders", "FILE", "--key", " , "], "--key names columns"),
        (["put", "Orders", "FILE", "--partition", " "], "a partition needs a name"),
        (["put", "Orders", "FILE", "--partition", "x", "--create"], "--create makes no partitions"),
        (["put", "Orders", "FILE", "--append", "--evolve", "replace"], "--evolve replace is for all rows"),
        (["put", "Orders", "FILE", "--resume", "nowhere/state"], "there is no directory nowhere"),
        (["put", "Orders", "FILE", "--time-zone", "Mars/Olympus"], "no time zone"),
        (["put", "Orders", "FILE", "--format", "xls"], "'xls' is not one of"),
        (["put", "Orders"], "Missing argument"),
        (["get", "Orders", "rows.xls"], "rows.xls is neither .csv, .csv.gz nor .parquet"),
        (["get", "Orders", "nowhere/rows.csv"], "there is no directory nowhere"),
        (["get", "Orders", "--json"], "name a file"),
        (["query", "Orders", "SELECT 1", "--output", "-", "--json"], "name a file"),
        (["query", "Orders", "SELECT 1", "--output", "x.json"], "neither"),
    ],
)
def test_bad_usage_sends_nothing(cli, served, file, tmp_path, monkeypatch, arguments, said):
    path = file()
    monkeypatch.chdir(tmp_path)
    before = len(served.requests)
    ran = cli("data", *(path if one == "FILE" else one for one in arguments), code=2)
    assert said in " ".join(ran.err.replace("│", " ").split())
    assert ran.out == ""
    assert len(served.requests) == before


def test_an_empty_query_is_refused(cli, served):
    assert "the query is empty" in cli("data", "query", "Orders", " ", code=2).err


def test_a_directory_is_not_written_over(cli, tmp_path):
    (tmp_path / "x.csv").mkdir()
    assert "is a directory" in cli("data", "get", "Orders", str(tmp_path / "x.csv"), code=2).err


def test_differing_columns_are_refused_before_anything_is_sent(cli, served, file):
    ran = cli("data", "put", "Orders", file("wide.csv", "order_id,qty,note\na,1,x\n"), "--json", code=2)
    assert ran.error["error"] == "SchemaMismatchError"
    assert "+ note STRING" in ran.error["message"]
    assert "--evolve" in ran.error["hint"]
    assert writes(served) == []


def test_a_bad_value_takes_the_load_back(cli, served, file):
    before = rows_of(served, "Orders")
    ran = cli("data", "put", "Orders", file("bad.csv", "order_id,qty\na,1\nb,zwei\n"), code=2)
    assert "row 2" in ran.err
    assert "zwei" not in ran.err
    assert rows_of(served, "Orders") == before
    assert nothing_open(served)


def test_who_is_not_there(cli, served, family, file):
    assert "Add --create" in cli("data", "put", "Nobody", file(), code=1).err
    said = cli("data", "get", "orders", code=1).err
    assert "there is no DataSet named 'orders'" in said
    assert "Check the name" in said
    cli("data", "get", "00000000-0000-4000-8000-000000000000", code=1)
    cli("data", "put", "00000000-0000-4000-8000-000000000000", file(), "--create", code=1)
    assert writes(served) == []


def test_several_of_one_name_are_told_apart_by_id(cli, served, family, file):
    path = file()
    first = cli("data", "put", "Twins", path, "--create", "--json").json["dataset_id"]
    named(served, "Twins").name = "Twin"
    second = cli("data", "put", "Twins", path, "--create", "--json").json["dataset_id"]
    served.state.datasets[first].name = "Twins"
    for arguments in (["put", "Twins", path, "--create"], ["get", "Twins"], ["query", "Twins", "SELECT 1"]):
        ran = cli("data", *arguments, code=1)
        assert "2 DataSets are named 'Twins'" in ran.err
        assert "Name one by its id" in ran.err
        assert first in ran.err
        assert second in ran.err
    cli("data", "put", first, file("one.csv", "order_id,qty\nz,9\n"), "--wait")
    assert (served.dataset_rows(first), served.dataset_rows(second)) == ([("z", 9)], ROWS)


def test_a_deleted_one_is_not_written(cli, served, file):
    cli("data", "put", "Gone", file(), "--create")
    gone = named(served, "Gone").id
    served.state.datasets[gone].deleted = True
    assert "is deleted" in cli("data", "put", gone, file(), code=1).err


def test_what_domo_refuses(cli, served, file):
    before = rows_of(served, "Orders")
    served.misbehave("status", status=403, path=".*/parts/")
    ran = cli("data", "put", "Orders", file(), "--json", code=1)
    assert ran.error["error"] == "UploadError"
    assert "the DataSet is as it was" in ran.error["message"]
    assert rows_of(served, "Orders") == before
    assert nothing_open(served)
    assert "Error: " in cli("data", "query", "Orders", "SELECT nothing_like_it FROM table", code=1).err
    served.misbehave("truncated", path=".*/export/")
    ran = cli("data", "get", "Orders", code=1)
    assert ran.err.startswith("Error: ")


def test_names_cannot_steer_the_terminal(cli, served, file):
    cli("data", "put", "Evil \x1b[31mred", file(), "--create")
    ran = cli("data", "put", "Evil \x1b[31mred", file(), "--dry-run")
    assert "\x1b" not in ran.out
    assert "\x1b" not in cli("data", "query", "Evil \x1b[31mred", "SELECT '\x1b[31m' AS x FROM table").out


# -- get


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet"])
def test_get_into_a_file(cli, served, family, file, tmp_path, name):
    cli("data", "put", "Mine", file(), "--create", "--wait")
    path = tmp_path / name
    done = cli("data", "get", "Mine", str(path), "--json").json
    assert done == {"id": named(served, "Mine").id, "name": "Mine", "rows": 3, "file": str(path)}
    if name.endswith(".parquet"):
        assert pq.read_table(path).to_pylist() == TABLE.to_pylist()
    else:
        text = (gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()).decode()
        assert pyarrow.csv.read_csv(io.BytesIO(text.encode())).to_pylist() == TABLE.to_pylist()
    assert os.listdir(tmp_path).count(name) == 1
    out = cli("data", "get", "Mine", str(path)).out
    assert re.search(r"^rows +3$", out, re.MULTILINE)


def test_get_to_stdout(cli, family, file):
    cli("data", "put", "Mine", file(), "--create", "--wait")
    ran = cli("data", "get", "Mine")
    assert [line.replace('"', "") for line in ran.out.splitlines()] == ["order_id,qty", "a,1", "b,2", "c,"]
    assert ran.err == ""
    assert cli("data", "get", "Mine", "-").out == ran.out


def test_a_failed_get_leaves_the_file_as_it_was(cli, served, file, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before")
    served.misbehave("rows_lost", path=".*/export/")
    assert "rows" in cli("data", "get", "Orders", str(path), code=1).err
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir() if "out" in one.name] == ["out.csv"]


# -- query


def test_query(cli, served, family, file, tmp_path):
    text = "kind,price,at\nx,0.1,2026-01-02T03:04:05\ny,12345678901234567.89,\n"
    cli("data", "put", "Mine", file("rows.csv", text), "--create", "--wait")
    sql = "SELECT `kind`, `at`, COUNT(`kind`) AS n FROM table GROUP BY `kind`, `at` ORDER BY `kind`"
    assert cli("data", "query", "Mine", sql, "--json").json == [
        {"kind": "x", "at": "2026-01-02 03:04:05", "n": 1},
        {"kind": "y", "at": None, "n": 1},
    ]
    table = [line.split() for line in cli("data", "query", "Mine", sql).out.splitlines()]
    assert table == [["kind", "at", "n"], ["x", "2026-01-02", "03:04:05", "1"], ["y", "1"]]
    assert cli("data", "query", "Mine", "SELECT `kind` FROM table WHERE `kind` = 'z'").out == "No rows.\n"
    path = tmp_path / "answer.parquet"
    done = cli("data", "query", "Mine", "SELECT `kind` FROM table", "--output", str(path), "--json").json
    assert done == {"rows": 2, "file": str(path)}
    assert sorted(pq.read_table(path).column("kind").to_pylist()) == ["x", "y"]
    ran = cli("data", "query", "Mine", "SELECT `kind` FROM table ORDER BY `kind`", "--output", "-")
    assert ran.out.replace('"', "").splitlines() == ["kind", "x", "y"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("0.1000000000"), 0.1),
        (Decimal("3.0"), 3),
        (Decimal("-12345678901234567890123"), -12345678901234567890123),
        (Decimal("12345678901234567.89"), "12345678901234567.89"),
        (datetime(2026, 1, 2, 3, 4, 5, 600000), "2026-01-02 03:04:05.600000"),
        (date(1, 2, 3), date(1, 2, 3)),
        (None, None),
    ],
)
def test_cells_keep_their_digits(value, shown):
    assert data._shown(value) == shown
    assert type(data._shown(value)) is type(shown)


# -- the embedded sandbox


def test_with_the_embedded_one(embedded, file, tmp_path):
    made = embedded("data", "put", "Mine", file(), "--create", "--wait", "--json").json
    told = embedded("data", "put", "Mine", file("rows.parquet"), "--dry-run", "--json").json
    assert (told["id"], told["rows_now"], told["rows"]) == (made["dataset_id"], 3, 3)
    assert "Mine" in embedded("data", "ls", "--search", "min").out
    embedded("data", "put", "Mine", file("rows.ndjson"), "--append", "--wait")
    count = "SELECT COUNT(`order_id`) AS n FROM table"
    assert embedded("data", "query", "Mine", count, "--json").json == [{"n": 6}]
    path = tmp_path / "out.parquet"
    assert embedded("data", "get", "Mine", str(path), "--json").json["rows"] == 6
    assert pq.read_table(path).num_rows == 6
    assert embedded("data", "get", "Mine").out.count("\n") == 7
    assert "no DataSet named" in embedded("data", "get", "Other", code=1).err


# -- real processes


def run(served, *arguments, stdin=b"", shell=None):
    """A command in a process of its own, or a line of bash; its output holds no secret."""
    command = [*KIT, *arguments] if shell is None else ["bash", "-c", shell]
    ran = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    for secret in secrets_of(served):
        assert secret.encode() not in ran.stdout + ran.stderr
    return ran


def test_a_file_that_is_read_from_its_end_comes_through_a_pipe(served):
    ran = run(served, "data", "put", "Orders", "-", "--format", "parquet", "--wait", stdin=FILES["rows.parquet"])
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert rows_of(served, "Orders") == ROWS


@pytest.mark.parametrize("options", [["--format", "csv"], ["--format", "csv", "--no-header"], ["--format", "ndjson"]])
def test_a_pipe_that_gives_nothing_empties_nothing(served, options):
    """What is before the pipe has failed, as a rule."""
    before = rows_of(served, "Orders")
    assert before
    ran = run(served, "data", "put", "Orders", "-", *options, stdin=b"")
    assert ran.returncode == 2
    assert b"nothing came through stdin" in ran.stderr
    assert b"--allow-empty" in ran.stderr
    assert rows_of(served, "Orders") == before
    ran = run(served, "data", "put", "Orders", "-", *options, "--allow-empty", stdin=b"")
    assert (ran.returncode, rows_of(served, "Orders")) == (0, [])


@posix
def test_an_empty_csv_is_no_rows_if_it_has_a_header(served):
    ran = run(served, "data", "put", "Orders", "-", "--format", "csv", "--append", stdin=b"")
    assert (ran.returncode, rows_of(served, "Orders") != []) == (2, True)
    assert b"not even a header" in ran.stderr
    assert b"a file that has a header" in ran.stderr
    assert run(served, "data", "put", "Orders", "-", "--format", "csv", stdin=b"order_id,qty\n").returncode == 0
    assert rows_of(served, "Orders") == []


@posix
def test_a_closed_stdin(served):
    ran = subprocess.run(
        ["sh", "-c", f"{shlex.join(KIT)} data put Orders - --format csv <&-"], capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"stdin is closed" in ran.stderr


@posix
def test_ctrl_c_ends_a_load_whose_pipe_stays_open(served):
    before = rows_of(served, "Orders")
    command = [*KIT, "data", "put", "Orders", "-", "--format", "csv"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"order_id,qty\n" + b"x,1\n" * 2000)
    process.stdin.flush()
    until = time.monotonic() + 60
    while not any(one.method == "GET" and "/data" in one.path for one in list(served.requests)):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    assert nothing_open(served)
    assert rows_of(served, "Orders") == before


@posix
def test_a_pipe_from_one_to_another(served):
    kit = shlex.join(KIT)
    text = f"set -o pipefail; {kit} data get Orders - | {kit} data put Copy - --format csv --create --wait --json"
    ran = run(served, shell=text)
    assert (ran.returncode, ran.stderr) == (0, b"")
    done = json.loads(ran.stdout)
    assert (done["action"], done["rows"]) == ("create", 250)
    assert [row[0] for row in rows_of(served, "Copy")] == [row[0] for row in rows_of(served, "Orders")]


@posix
def test_a_reader_that_has_seen_enough_is_no_error(cli, served, file):
    wide = "order_id,qty\n" + ("x" * 1000 + ",1\n") * 2000  # more than a pipe holds
    cli("data", "put", "Orders", file("wide.csv", wide), "--wait")
    process = subprocess.Popen(
        [*KIT, "data", "get", "Orders"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered()
    )
    assert process.stdout.readline().replace(b'"', b"") == b"order_id,qty\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


@posix
def test_progress_is_shown_on_a_terminal(served, file, tmp_path):
    with Person("data", "put", "Orders", file(), "--wait") as person:
        assert person.leaves() == 0
    assert "upload" in person.seen
    assert "B/s" in person.seen or "rows" in person.seen
    with Person("data", "put", "Orders", file(), "--json") as person:
        assert person.leaves() == 0
    assert "upload" not in person.seen.replace("upload_id", "")
    with Person("data", "get", "Orders") as person:  # the rows are there themselves
        assert person.leaves() == 0
    assert "download" not in person.seen
    for secret in secrets_of(served):
        assert secret not in person.seen


@posix
def test_a_terminal_is_no_data(served):
    with Person("data", "put", "Orders", "-", "--format", "csv") as person:
        assert person.leaves() == 2
    assert "stdin is the terminal" in person.seen


@posix
def test_a_load_that_was_killed_goes_on(cli, served, file, tmp_path, family):
    path = file("long.csv", "order_id,qty\n" + "".join(f"{'x' * 10_000},{number}\n" for number in range(2500)))
    cli("data", "put", "Long", file("head.csv", "order_id,qty\nx,1\n"), "--create", "--wait")
    state = tmp_path / "load.json"
    arguments = ["data", "put", "Long", path, "--resume", str(state), "--json"]
    arrived = served.state.uploads
    stuck = served.misbehave("latency", seconds=60, times=None, skip=1, method="PUT", path=".*/parts?/")
    process = subprocess.Popen([*KIT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while not (state.exists() and json.loads(state.read_text())["parts"]):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    stuck.cancel()
    begun = len(arrived)
    kept = set(json.loads(state.read_text())["parts"])
    assert state.stat().st_mode & 0o777 == 0o600
    assert not [secret for secret in secrets_of(served) if secret in state.read_text()]
    assert rows_of(served, "Long") == [("x", 1)]
    before = len(served.requests)
    done = cli(*arguments, "--wait").json
    sent = [one.path for one in list(served.requests)[before:] if re.search("/parts?/", one.path)]
    assert (done["rows"], done["parts"]) == (2500, 3)
    assert len(sent) == 3 - len(kept)
    assert len(arrived) == begun  # it is the same upload
    assert [row[1] for row in rows_of(served, "Long")] == list(range(2500))
    assert not state.exists()


@posix
def test_ctrl_c_takes_the_load_back(served, file):
    before = rows_of(served, "Orders")
    stuck = served.misbehave("latency", seconds=60, times=None, path=".*/parts/")
    command = [*KIT, "data", "put", "Orders", file(), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not stuck.hits:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
    assert nothing_open(served)
    assert rows_of(served, "Orders") == before


def test_a_state_file_of_another_load_is_refused(cli, served, file, tmp_path):
    state = tmp_path / "load.json"
    served.misbehave("status", status=403, path=".*/parts?/")
    ran = cli("data", "put", "Orders", file(), "--resume", str(state), "--json", code=1)
    assert f"Run it again with the same data and --resume '{state}'" in ran.error["hint"]
    cli("data", "put", "Other", file(), "--create")
    assert "tells of another load" in cli("data", "put", "Other", file(), "--resume", str(state), code=2).err
    assert cli("data", "put", "Orders", file(), "--resume", str(state), "--wait", "--json").json["rows"] == 3
    assert rows_of(served, "Orders") == ROWS
    assert nothing_open(served)
