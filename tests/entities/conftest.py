"""Auth objects of each kind, closed at the end."""

import pytest

from domokit.testing import access_token_auth, oauth_client_auth, session_auth


@pytest.fixture
async def admin(domo_sandbox):
    """The administrator, by name and password."""
    async with session_auth(domo_sandbox) as auth:
        yield auth


@pytest.fixture
async def token_admin(domo_sandbox):
    """The administrator, by access token."""
    async with access_token_auth(domo_sandbox) as auth:
        yield auth


@pytest.fixture
async def oauth(domo_sandbox):
    """The API client, on the platform API."""
    async with oauth_client_auth(domo_sandbox) as auth:
        yield auth


@pytest.fixture(params=[session_auth, oauth_client_auth], ids=["product", "platform"])
async def anyone(request, domo_sandbox):
    """An administrator on each API family in turn."""
    async with request.param(domo_sandbox) as auth:
        yield auth


@pytest.fixture
def person(domo_sandbox):
    """Someone with every field that both families know."""
    return domo_sandbox.add_user(
        "Zoë Quill",
        "Zoe.Quill@Example.com",
        role_id=2,
        title="Analyst",
        department="Finance",
        phoneNumber="000-000-0001",
        employeeLocation="Oslo",
        employeeNumber=42042,
        alternateEmail="zq@example.com",
        reportsTo=str(domo_sandbox.admin.id),
    )
