"""What the tests of this directory start from: a Redis, an OAuth server, and a clock that can be moved."""

import pytest

from tests.redis_server import redis_server, redis_url

from .helpers import CLIENT, PASSWORD, SECRET, USER, Clock
from .server import OAuthServer

__all__ = ["redis_server", "redis_url"]


@pytest.fixture
def server():
    """It knows one client and one user; its tokens live for 100 seconds."""
    with OAuthServer(lifetime=100.0) as server:
        server.add_client(CLIENT, SECRET)
        server.add_user(USER, PASSWORD)
        yield server


@pytest.fixture
def clock(server, monkeypatch):
    return Clock(server, monkeypatch)
