"""Queries of one dataset, in both families."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from domokit.sandbox import Sandbox, sql
from domokit.sandbox.model import Dataset

from .dataset_helpers import filled, found
from .helpers import as_user, bearer, by_token

pytestmark = pytest.mark.anyio
PRODUCT, PLATFORM = "/api/query/v1/execute", "/v1/datasets/query/execute"


@pytest.fixture
async def sales(sb: Sandbox) -> Dataset:
    return await filled(sb)


def some_rows() -> duckdb.DuckDBPyConnection:
    """The same rows, in a connection as the warehouse hands it out."""
    connection = duckdb.connect()
    connection.execute(
        """CREATE TABLE stored AS SELECT * FROM (VALUES
        ('West', 1::BIGINT, 1.5::DECIMAL(38, 10), DATE '2024-01-01', TIMESTAMP '2024-01-01 10:00:00', 0.25::DOUBLE),
        ('East', 2, 2.25, DATE '2024-01-02', TIMESTAMP '2024-01-02 11:30:15', 0.5),
        ('west', 3, 3, DATE '2024-01-03', NULL, 1e300),
        ('O\'\'Brien, "North"', 4, -4, NULL, NULL, NULL),
        (NULL, 5, NULL, NULL, NULL, NULL)
        ) t(region, qty, price, day, "at time", share)"""
    )
    connection.execute("CREATE VIEW data AS SELECT * FROM stored")
    return connection


async def test_the_product_answers(sb: Sandbox, sales: Dataset):
    statement = "SELECT `region`, SUM(`qty`) AS total FROM table WHERE `qty` < 3 GROUP BY `region` ORDER BY total"
    answer = await by_token(sb).post(f"{PRODUCT}/{sales.id}", json={"sql": statement})
    body = answer.json()
    assert re.fullmatch(r"\d+", body.pop("duration"))
    assert body == {
        "datasource": sales.id,
        "columns": ["region", "total"],
        "metadata": [
            {"type": "STRING", "dataSourceId": sales.id, "maxLength": 4, "minLength": 4},
            {"type": "LONG", "dataSourceId": sales.id, "maxLength": -1, "minLength": -1, "aggregated": True},
        ],
        "rows": [["West", 1], ["East", 2]],
        "numRows": 2,
        "numColumns": 2,
        "fromcache": "false",
    }


async def test_the_platform_answers(sb: Sandbox, sales: Dataset):
    mine = await bearer(sb)
    statement = {"sql": "SELECT region, qty FROM table ORDER BY qty LIMIT 1"}
    answer = await mine.post(f"{PLATFORM}/{sales.id}", json=statement, params={"IncludeHeaders": "true"})
    assert answer.json() == {
        "datasource": sales.id,
        "columns": ["region", "qty"],
        "metadata": [
            {"type": "STRING", "dataSourceId": sales.id, "maxLength": 4, "minLength": 4, "periodIndex": 0},
            {"type": "LONG", "dataSourceId": sales.id, "maxLength": -1, "minLength": -1, "periodIndex": 0},
        ],
        "rows": [["West", 1]],
        "numRows": 1,
        "numColumns": 2,
        "fromcache": False,
    }


async def test_values_and_types(sb: Sandbox, sales: Dataset):
    answer = await by_token(sb).post(f"{PRODUCT}/{sales.id}", json={"sql": "SELECT * FROM table ORDER BY qty"})
    body = answer.json()
    kinds = [each["type"] for each in body["metadata"]]
    assert kinds == ["STRING", "LONG", "DECIMAL", "DATE", "DATETIME", "DOUBLE"]
    assert body["columns"] == ["region", "qty", "price", "day", "at time", "share"]
    assert body["rows"][0] == ["West", 1, 1.5, "2024-01-01", "2024-01-01T10:00:00", 0.25]
    assert body["rows"][3] == ['O\'Brien, "North"', 4, -4, None, None, None]
    assert body["rows"][4] == [None, 5, None, None, None, None]
    assert "123456789012345678.25" in answer.text
    computed = (
        "SELECT AVG(qty), qty > 1, 0.0 / 0, COUNT(*), CAST(price AS VARCHAR), qty * 1.5 FROM table GROUP BY qty, price"
    )
    answer = await by_token(sb).post(f"{PRODUCT}/{sales.id}", json={"sql": computed + " ORDER BY qty LIMIT 1"})
    assert found(answer)[0][:4] == [1.0, 0, None, 1]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select qty from table where region = 'West'", [[1]]),
        ('select qty from table where region = "West"', [[1]]),
        ("SELECT `qty` FROM `3f1c9a52-8d0e-4b7a-9c11-0a5b6c7d8e9f` WHERE `at time` = '2024-01-02 11:30:15'", [[2]]),
        ("SELECT qty FROM dataset WHERE region = 'O''Brien, \"North\"'", [[4]]),
        ("SELECT qty FROM dataset WHERE region = 'O\\'Brien, \"North\"'", [[4]]),
        ("SELECT table.qty FROM table WHERE table.`qty` = 1;", [[1]]),
        ("SELECT t1.qty AS 'n' FROM whatever AS t1 WHERE t1.region LIKE 'E%'", [[2]]),
        ("SELECT QTY -- FROM nothing\n FROM /* a, b */ t # the end\n WHERE `Region` = 'East'", [[2]]),
        ("SELECT 'a `b` -- c' x FROM t LIMIT 1", [["a `b` -- c"]]),
        ("SELECT EXTRACT(YEAR FROM day) y, COUNT(*) FROM t WHERE day IS NOT NULL GROUP BY y", [[2024, 3]]),
        ("SELECT qty FROM t WHERE region IS DISTINCT FROM 'West' ORDER BY 1 LIMIT 2 OFFSET 1", [[3], [4]]),
        ("SELECT SUM(n) FROM (SELECT qty AS n FROM t) x", [[15]]),
        ("SELECT COUNT(*) FROM t WHERE qty = (SELECT MAX(qty) FROM other)", [[1]]),
        ("SELECT qty FROM t WHERE qty = 1 UNION ALL SELECT qty FROM t WHERE qty = 2 ORDER BY 1", [[1], [2]]),
        ("SELECT COUNT(DISTINCT region) FROM t HAVING COUNT(*) > 3", [[4]]),
        ("SELECT qty FROM t WHERE qty > 9", []),
    ],
)
def test_what_domo_would_run(statement: str, expected: list[Any]):
    assert json.loads(sql.rows_json(sql.run(some_rows(), statement))) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "   ",
        "SELECT nope FROM table",
        "SELEC 1",
        "SELECT qty FROM",
        "SELECT (qty FROM t",
        "SELECT qty FROM t)",
        "SELECT qty FROM t WHERE",
        "SELECT 'a FROM t",
        "DELETE FROM table",
        "UPDATE table SET qty = 1",
        "INSERT INTO t VALUES (1)",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE data",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "COPY data TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "ATTACH 'x.db'",
        "PRAGMA version",
        "SET threads = 1",
        "INSTALL httpfs",
        "SHOW TABLES",
        "SELECT qty INTO x FROM t",
        "SELECT * FROM a JOIN b ON a.x = b.x",
        "SELECT * FROM a, b",
        "SELECT * FROM a LEFT JOIN b USING (x)",
        "SELECT * FROM a NATURAL JOIN b",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM (FROM data)",
        "SELECT * FROM (SHOW TABLES)",
        "SELECT * FROM (DESCRIBE data)",
        "SELECT * FROM (SELECT * FROM read_text('/etc/passwd'))",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT 1 UNION FROM data",
        "SELECT 1 UNION TABLE data",
        "SELECT getenv('HOME')",
        "SELECT pg_catalog.version()",
        "SELECT $1 FROM t",
        "SELECT ? FROM t",
        "SELECT $$x$$ FROM t",
        "SELECT qty FROM t TABLESAMPLE 1",
        "SELECT 'a\0b' FROM t",
    ],
)
def test_what_it_would_not(statement: str):
    with pytest.raises(sql.BadQuery) as caught:
        sql.run(some_rows(), statement)
    assert str(caught.value)


def test_a_connection_that_ran_a_statement_reaches_no_file(tmp_path: Path):
    connection = some_rows()
    sql.run(connection, "SELECT qty FROM table", '"qty" > 3')
    file = tmp_path / "x.txt"
    file.write_text("secret")
    for attempt in (
        f"SELECT * FROM read_text('{file}')",
        "SET enable_external_access = true",
        f"ATTACH '{tmp_path / 'x.db'}'",
        f"COPY (SELECT 1) TO '{file}'",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(attempt)


def test_a_statement_sees_the_rows_of_the_condition_only():
    assert sql.run(some_rows(), "SELECT qty FROM data WHERE TRUE OR TRUE", '"qty" > 3').rows == [(4,), (5,)]
    assert sql.run(some_rows(), "SELECT COUNT(*) FROM data", "FALSE").rows == [(0,)]
    assert sql.run(some_rows(), "SELECT (SELECT MIN(qty) FROM data) FROM t LIMIT 1", '"qty" > 3').rows == [(4,)]
    with pytest.raises(sql.BadQuery):
        sql.run(some_rows(), "SELECT qty FROM data", '"gone" = 1')


async def test_a_bad_statement_is_told(sb: Sandbox, sales: Dataset):
    for client, path in ((by_token(sb), PRODUCT), (await bearer(sb), PLATFORM)):
        refused = await client.post(f"{path}/{sales.id}", json={"sql": "SELECT nope FROM table"})
        assert refused.status_code == 400
        assert "nope" in refused.json()["message"]


async def test_other_bodies(sb: Sandbox, sales: Dataset):
    admin = by_token(sb)
    structured = {"querySource": "x", "query": {"columns": [{"exprType": "COLUMN", "column": "qty"}]}}
    for body in ({}, structured, {"sql": None}, {"sql": ["SELECT 1"]}, ["SELECT 1"]):
        assert (await admin.post(f"{PRODUCT}/{sales.id}", json=body)).status_code == 400
    assert (await admin.post(f"{PRODUCT}/none", json={"sql": "SELECT 1"})).status_code == 404
    other = as_user(sb, sb.add_user("Ot Her", "ot@example.com"))
    assert (await other.post(f"{PRODUCT}/{sales.id}", json={"sql": "SELECT * FROM t"})).status_code == 403


async def test_before_there_is_data(sb: Sandbox):
    mine = await bearer(sb)
    body = {"name": "Empty", "schema": {"columns": [{"type": "LONG", "name": "n"}]}}
    dataset_id = (await mine.post("/v1/datasets", json=body)).json()["id"]
    statement = {"sql": "SELECT * FROM table"}
    assert (await by_token(sb).post(f"{PRODUCT}/{dataset_id}", json=statement)).status_code == 416
    refused = await mine.post(f"{PLATFORM}/{dataset_id}", json=statement)
    assert (refused.status_code, refused.json()["message"]) == (400, "The dataset has no data that can be queried")


async def test_export(sb: Sandbox, sales: Dataset):
    admin = by_token(sb)
    path = f"{PRODUCT}/export/{sales.id}"
    statement = {"sql": f"SELECT region, price, `at time` FROM `{sales.id}` ORDER BY qty"}
    body = (await admin.post(path, json=statement, headers={"accept": "application/json"})).json()
    assert (body["numRows"], body["fromcache"]) == (5, "false")
    answer = await admin.post(path, json=statement, headers={"accept": "text/csv"}, params={"includeHeader": "true"})
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.reader(io.StringIO(answer.text)))
    assert lines[0] == ["region", "price", "at time"]
    assert lines[1] == ["West", "1.5", "2024-01-01T10:00:00"]
    assert lines[4:] == [['O\'Brien, "North"', "-4", ""], ["", "", ""]]


def test_decimals_keep_their_digits():
    assert sql.text_of(Decimal("12.500")) == "12.5"
    assert sql.text_of(Decimal("1200")) == "1200"
    assert sql.text_of(Decimal("0.000")) == "0"
