"""What the tests of this directory start from: a Redis, an OAuth server, and a clock that can be moved."""

import pytest

from tests.redis_server import redis_server, redis_url

from .helpers import CLIENT, PASSWORD, SECRET, USER, Clock
from .server import OAuthServer

__all__ = ["redis_server", "redis_url"]


@pytest.fixture(autouse=True)
def _state_of_its_own(monkeypatch, tmp_path):
    """What keepers note in the user's state directory is no other test's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


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


@pytest.fixture
def patient(monkeypatch):
    """After a failure, keepers wait for so long that no machine is too slow for what a test does meanwhile."""
    monkeypatch.setattr("domokit.oauth.keeper._BACK_OFF", (30.0, 60.0))
    monkeypatch.setattr("domokit.oauth.keeper._DENIED_AGAIN", 60.0)
