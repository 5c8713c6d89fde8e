"""pytest fixtures on the sandbox; installed with domokit, so `domo_sandbox` and `domo_auth` are simply there.

    async def test_my_subclass(domo_sandbox, domo_auth):
        domo_sandbox.add_user("Ann", "ann@example.com")
        assert (await MyUser.get_by_email(domo_auth, "ann@example.com")).name == "Ann"

They need the extra `domokit[sandbox]`, and work with pytest-asyncio, pytest-trio and anyio's own plugin alike.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from domokit.auth import AccessTokenAuth, ClientOptions, OAuthClientAuth, SessionAuth
    from domokit.sandbox import Sandbox

__all__ = [
    "access_token_auth",
    "domo_auth",
    "domo_sandbox",
    "oauth_client_auth",
    "options_for",
    "served_domo_sandbox",
    "session_auth",
]


# pytest loads this module in every run of everyone who has domokit installed, hence imports on use only.


def options_for(sandbox: "Sandbox", **options: Any) -> "ClientOptions":
    """Client options that lead to a sandbox: over its port while it is served, in process otherwise."""
    from domokit.auth import ClientOptions

    if sandbox.base_url.startswith("http://"):
        return ClientOptions(base_url=sandbox.base_url, **options)
    return ClientOptions(transport=sandbox.app, **options)


def session_auth(sandbox: "Sandbox", **options: Any) -> "SessionAuth":
    """A SessionAuth of the sandbox's administrator."""
    from domokit.auth import SessionAuth

    return SessionAuth(sandbox.instance, sandbox.username, sandbox.password, options=options_for(sandbox, **options))


def access_token_auth(sandbox: "Sandbox", **options: Any) -> "AccessTokenAuth":
    """An AccessTokenAuth of the sandbox's administrator."""
    from domokit.auth import AccessTokenAuth

    return AccessTokenAuth(sandbox.instance, sandbox.access_token, options=options_for(sandbox, **options))


def oauth_client_auth(sandbox: "Sandbox", *, scope: Any = None, **options: Any) -> "OAuthClientAuth":
    """An OAuthClientAuth of the sandbox's API client, with all scopes unless some are named."""
    from domokit.auth import OAuthClientAuth

    options_ = options_for(sandbox, **options)
    return OAuthClientAuth(sandbox.client_id, sandbox.client_secret, scope=scope, options=options_)


@pytest.fixture
def domo_sandbox() -> "Sandbox":
    """A fresh sandbox in this process: no port, no thread; it ends with the test."""
    from domokit.sandbox import Sandbox

    return Sandbox()


@pytest.fixture
def served_domo_sandbox() -> "Iterator[Sandbox]":
    """A fresh sandbox on a free port of this machine, for code in other processes or with other HTTP clients."""
    from domokit.sandbox import Sandbox

    with Sandbox().serve() as sandbox:
        yield sandbox


@pytest.fixture
def domo_auth(domo_sandbox: "Sandbox") -> "SessionAuth":
    """An auth object of the administrator of `domo_sandbox`."""
    return session_auth(domo_sandbox)
