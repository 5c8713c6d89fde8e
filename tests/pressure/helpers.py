"""What the tests of loads and reads under pressure look at: what lies in the sandbox, and what crossed the wire."""

import re

import anyio

from domokit import DomoDataset, RetryPolicy
from domokit.testing import oauth_client_auth, session_auth

FAMILIES = {"product": session_auth, "platform": oauth_client_auth}
QUICK = RetryPolicy(base=0.01, cap=0.02)
SCHEMA = {"n": "LONG", "text": "STRING"}
OLD = [{"n": -1, "text": "old"}, {"n": -2, "text": None}]
# Six parts of these rows, or a few more.
NEW = [{"n": number, "text": f'line "{number}",\nand another ☃' * 3} for number in range(120)]
FEW = NEW[:30]  # two parts
SMALL = {"part_bytes": 2000, "workers": 3}

PART = r".*/parts?/\d+$"
ABORT = r".*/abort$"
COMMIT = r".*/commit$"
START = r".*/(uploads|executions)$"


def tuples(rows):
    return [tuple(row.values()) for row in rows]


async def with_old_rows(auth, name="Under pressure", **how):
    return await DomoDataset.create(auth, name, OLD, schema=SCHEMA, **how)


def stored(sandbox, dataset):
    return sandbox.dataset_rows(dataset.id)


def open_uploads(sandbox):
    return [one for one in sandbox.state.uploads.values() if one.state not in ("committed", "aborted")]


def running(sandbox):
    return [one for one in sandbox.state.executions.values() if one.state == "ACTIVE" and one.phase != "INDEX"]


def nothing_open(sandbox):
    return not open_uploads(sandbox) and not running(sandbox)


async def until(condition, seconds=60.0):
    """Wait for what the server does in its own time."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.005)


def requests_for(sandbox, pattern, method="PUT"):
    return [one for one in sandbox.requests if one.method == method and re.search(pattern, one.path)]


def parts_sent(sandbox):
    """The numbers of the parts that were sent, in the order they came."""
    return [int(one.path.rpartition("/")[2]) for one in requests_for(sandbox, PART)]


def sign_ins(sandbox):
    return [one for one in sandbox.requests if re.search(r"^/(api/content/v2/authentication|oauth/token)/?$", one.path)]
