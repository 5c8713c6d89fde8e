"""A sandbox on a port of this machine, and auth objects of both API families that lose no time between two tries."""

import pytest

from .helpers import FAMILIES, QUICK


@pytest.fixture
def domo(served_domo_sandbox):
    return served_domo_sandbox


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture
def anyio_backend(family):
    """Each family on an event loop of its own kind: both families on both would take twice as long."""
    return {"product": "asyncio", "platform": "trio"}[family]


@pytest.fixture
async def auth(domo, family):
    async with FAMILIES[family](domo, retry=QUICK) as auth:
        yield auth


@pytest.fixture
def no_waiting(monkeypatch):
    """A load looks again for the outcome of its commit without waiting longer each time."""
    monkeypatch.setattr("domokit.bulk.upload.COMMIT_PAUSE", 0.01)
