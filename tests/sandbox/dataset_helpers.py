"""A dataset with rows, for the tests of what is read from one."""

from __future__ import annotations

from typing import Any

from domokit.sandbox import Sandbox
from domokit.sandbox.model import Dataset

from .helpers import bearer

COLUMNS = [
    {"type": "STRING", "name": "region"},
    {"type": "LONG", "name": "qty"},
    {"type": "DECIMAL", "name": "price"},
    {"type": "DATE", "name": "day"},
    {"type": "DATETIME", "name": "at time"},
    {"type": "DOUBLE", "name": "share"},
]
ROWS = '''West,1,1.50,2024-01-01,2024-01-01T10:00:00,0.25
East,2,2.25,2024-01-02,2024-01-02T11:30:15,0.5
west,3,123456789012345678.25,2024-01-03,,1e300
"O'Brien, ""North""",4,-4,,,
,5,,,,
'''


async def filled(sb: Sandbox, columns: list[dict[str, str]] = COLUMNS, rows: str = ROWS) -> Dataset:
    """A dataset of the administrator, whose rows can be queried."""
    mine = await bearer(sb)
    made = (await mine.post("/v1/datasets", json={"name": "Sales", "schema": {"columns": columns}})).json()
    answer = await mine.put(
        f"/v1/datasets/{made['id']}/data", content=rows.encode(), headers={"content-type": "text/csv"}
    )
    assert answer.status_code == 204, answer.text
    return sb.state.datasets[made["id"]]


def found(answer: Any) -> list[Any]:
    """The rows of a query's answer."""
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]
