"""What the tests of several entities ask of the wire and of the sandbox."""

import json
from contextlib import asynccontextmanager

import respx

from domokit import NO_RETRY, AccessTokenAuth, ClientOptions, OAuthClientAuth
from domokit.testing import options_for

SIGN_INS = ("/api/content/v2/authentication", "/oauth/token")


@asynccontextmanager
async def product_wire(**options):
    """respx in front of acme.domo.com, and an auth object that need not sign in."""
    options = ClientOptions(retry=NO_RETRY, **options)
    async with (
        respx.mock(base_url="https://acme.domo.com") as wire,
        AccessTokenAuth("acme", "t" * 48, options=options) as auth,
    ):
        yield wire, auth


@asynccontextmanager
async def platform_wire(**options):
    """respx in front of api.domo.com, where the auth object is given a token as it signs in."""
    options = ClientOptions(retry=NO_RETRY, **options)
    async with (
        respx.mock(base_url="https://api.domo.com") as wire,
        OAuthClientAuth("client", "secret of the client", options=options) as auth,
    ):
        wire.post("/oauth/token").respond(json={"access_token": "jwt", "expires_in": 3599, "userId": 27})
        yield wire, auth


def sent(sandbox, *methods):
    """(method, path) of what arrived, sign-ins left out; of these methods only, if some are named."""
    return [
        (one.method, one.path)
        for one in sandbox.requests
        if one.path.rstrip("/") not in SIGN_INS and (not methods or one.method in methods)
    ]


def body_of(call):
    """The JSON body of the last request of a respx route."""
    return json.loads(call.calls.last.request.content)


def query_of(call):
    """The query of the last request of a respx route, as a dict."""
    return dict(call.calls.last.request.url.params)


def token_auth_of(sandbox, user, **options):
    """An AccessTokenAuth that acts for a user of the sandbox."""
    token = sandbox.add_access_token(user.id, "signs the tests").token
    return AccessTokenAuth(sandbox.instance, token, options=options_for(sandbox, **options))


def admin_token_id(sandbox):
    """The id of the token that `access_token_auth(sandbox)` signs with."""
    return sandbox.state.find_access_token(sandbox.access_token).id
