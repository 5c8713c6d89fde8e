"""Every async test runs under asyncio and under trio, unless it asks for one of them."""

import inspect
import os

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def pytest_collection_modifyitems(items):
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)) and not item.get_closest_marker("asyncio"):
            item.add_marker(pytest.mark.anyio)


@pytest.fixture(autouse=True)
def _no_domo_in_the_environment(monkeypatch):
    """Nobody's real credentials reach a test."""
    for name in list(os.environ):
        if name.startswith("DOMO_"):
            monkeypatch.delenv(name)
