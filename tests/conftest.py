"""Every async test runs under asyncio and under trio, unless it asks for one of them."""

import os
import signal
from weakref import WeakValueDictionary

import pytest

from domokit import Secret
from domokit.testing import session_auth

pytest_plugins = ["pytester"]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as of a shell's background jobs; their children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture(autouse=True)
def _no_domo_in_the_environment(monkeypatch):
    """Nobody's real credentials reach a test."""
    for name in list(os.environ):
        if name.startswith("DOMO_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_secret_of_another_test(monkeypatch):
    """What another test left alive, such as a Secret("secret"), masks no word of the messages of this one."""
    monkeypatch.setattr(Secret, "_live", WeakValueDictionary())


@pytest.fixture
async def sessions():
    """Opens auth objects of a sandbox's administrator and closes them at the end: `sessions(sandbox, retry=…)`."""
    opened = []

    def open_session(sandbox, **options):
        opened.append(session_auth(sandbox, **options))
        return opened[-1]

    yield open_session
    for auth in opened:
        await auth.aclose()
