"""Signing in: three ways, their refusals, renewal, and what is shared between tasks."""

import base64
import json
import os
from datetime import timedelta
from urllib.parse import quote

import anyio
import httpx
import pytest
import respx

from domokit import (
    AccessTokenAuth,
    BrowserSessionAuth,
    ClientOptions,
    DomoDataset,
    DomoUser,
    OAuthClientAuth,
    RetryPolicy,
    Secret,
    SessionAuth,
    auth_from_env,
    errors,
)
from domokit.routes.product.authentication import get_session_token
from domokit.testing import access_token_auth, oauth_client_auth, options_for, session_auth

SIGN_IN = "/api/content/v2/authentication"


def sign_ins(sandbox):
    return [request for request in sandbox.requests if request.path.rstrip("/") in (SIGN_IN, "/oauth/token")]


# -- SessionAuth


async def test_session_auth_sends_what_domo_documents_and_signs_with_the_token():
    async with respx.mock(base_url="https://acme.domo.com") as wire:
        login = wire.post(SIGN_IN).respond(json={"success": True, "sessionToken": "abc%3D%3D", "userId": 27})
        me = wire.get("/api/content/v2/users/me").respond(
            json={"id": 27, "displayName": "Ann", "emailAddress": "a@b.c"}
        )
        async with SessionAuth("acme", "ann@example.com", "s3cret pass") as auth:
            who = await auth.who_am_i()
    assert (who.id, who.name, who.email) == (27, "Ann", "a@b.c")
    sent = login.calls.last.request
    assert json.loads(sent.content) == {
        "method": "password",
        "emailAddress": "ann@example.com",
        "password": "s3cret pass",
    }
    assert sent.headers["origin"] == "https://acme.domo.com"
    assert "x-domo-authentication" not in sent.headers
    assert me.calls.last.request.headers["x-domo-authentication"] == "abc%3D%3D"  # as it came, not decoded


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"success": False, "reason": "INVALID_CREDENTIALS"}, errors.InvalidCredentialsError),
        ({"success": False, "reason": "ACCOUNT_LOCKED"}, errors.AccountLockedError),
        ({"success": False, "reason": "SOMETHING_NEW"}, errors.AuthenticationError),
        ({}, errors.AuthenticationError),
        ({"success": False, "twoFactorInfo": {"status": "PENDING"}}, errors.OneTimePasswordRequired),
    ],
)
async def test_refusals_come_with_status_200_and_each_has_its_error(answer, kind):
    async with respx.mock(base_url="https://acme.domo.com") as wire:
        wire.post(SIGN_IN).respond(json=answer)
        async with SessionAuth("acme", "ann@example.com", "x") as auth:
            with pytest.raises(errors.AuthenticationError) as caught:
                await auth.sign_in()
    assert type(caught.value) is kind
    assert caught.value.status == 200
    assert answer.get("reason", "") in str(caught.value)


async def test_unknown_instance_and_blocked_address(domo_sandbox):
    options = options_for(domo_sandbox)
    async with SessionAuth("nobody", "a@example.com", "x", options=options) as auth:
        with pytest.raises(errors.UnknownInstanceError):
            await auth.sign_in()
    domo_sandbox.misbehave("blocked")
    async with session_auth(domo_sandbox) as auth:
        with pytest.raises(errors.IPNotAllowedError):
            await auth.sign_in()
    domo_sandbox.misbehave("allowlist")
    async with session_auth(domo_sandbox) as auth:
        with pytest.raises(errors.IPNotAllowedError, match="allowlist"):
            await auth.sign_in()


async def test_wrong_password_is_tried_once_however_many_ask(domo_sandbox):
    auth = SessionAuth(domo_sandbox.instance, domo_sandbox.username, "wrong", options=options_for(domo_sandbox))
    failed = []

    async def ask():
        try:
            await auth.who_am_i()
        except errors.InvalidCredentialsError as error:
            failed.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask)
    with pytest.raises(errors.InvalidCredentialsError):  # nor later, by itself
        await DomoUser.get_all(auth)
    assert len(failed) == 100
    assert len({id(error) for error in failed}) == 100  # one of its own for each
    assert len(sign_ins(domo_sandbox)) == 1

    async with session_auth(domo_sandbox) as right:  # the user is not locked
        await right.sign_in()
    with pytest.raises(errors.InvalidCredentialsError):  # asked for in so many words, it is tried again
        await auth.sign_in()
    assert len(sign_ins(domo_sandbox)) == 3
    await auth.aclose()


async def test_hundred_tasks_meet_a_dead_session_with_one_sign_in(domo_sandbox):
    async with session_auth(domo_sandbox) as auth:
        await auth.sign_in()
        domo_sandbox.clock.advance(timedelta(hours=9))
        domo_sandbox.requests.clear()
        found = []

        async def ask():
            found.append(await auth.who_am_i())

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(ask)

    assert len(found) == 100
    assert len(sign_ins(domo_sandbox)) == 1
    asked = [request for request in domo_sandbox.requests if request.path.endswith("/users/me")]
    refused = [request for request in asked if request.status == 401]
    assert len(asked) - len(refused) == 100
    assert 1 <= len(refused) <= 100  # nobody was refused twice


async def test_hundred_tasks_on_a_cold_auth_sign_in_once_over_one_connection(served_domo_sandbox):
    """The renewal needs a connection while all others are taken by those who wait for it."""
    async with session_auth(served_domo_sandbox, max_connections=1, max_concurrency=2) as auth:
        await auth.sign_in()
        served_domo_sandbox.clock.advance(timedelta(hours=9))
        served_domo_sandbox.requests.clear()
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(auth.who_am_i)
    assert len(sign_ins(served_domo_sandbox)) == 1


async def test_renewal_outlives_the_caller_who_started_it(domo_sandbox):
    async with session_auth(domo_sandbox) as auth:
        fault = domo_sandbox.misbehave("latency", seconds=0.2, path=SIGN_IN)
        got = []

        async def patient():
            got.append(await auth.who_am_i())

        async with anyio.create_task_group() as group:
            with anyio.move_on_after(0.05):
                group.start_soon(patient)
                await auth.who_am_i()
        assert fault.hits == 1
        assert len(got) == 1
        await auth.who_am_i()
    assert len(sign_ins(domo_sandbox)) == 1


async def test_cancelled_leader_keeps_the_token_for_the_others(served_domo_sandbox):
    async with session_auth(served_domo_sandbox) as auth:
        served_domo_sandbox.misbehave("latency", seconds=0.1, path=SIGN_IN)
        with anyio.move_on_after(0.02) as scope:
            await auth.who_am_i()
        assert scope.cancelled_caught
        assert auth.current() is not None
        await auth.who_am_i()
    assert len(sign_ins(served_domo_sandbox)) == 1


async def test_revoked_session_is_renewed_and_the_call_replayed_once(domo_sandbox):
    async with session_auth(domo_sandbox) as auth:
        await auth.sign_in()
        domo_sandbox.state.sessions.clear()
        domo_sandbox.requests.clear()
        await DomoUser.get_all(auth).first()
    statuses = [request.status for request in domo_sandbox.requests]
    assert statuses == [401, 200, 200]


async def test_second_401_is_an_error_not_a_loop(domo_sandbox):
    domo_sandbox.misbehave("status", status=401, path="/api/content/v2/users/me", times=None)
    async with session_auth(domo_sandbox) as auth:
        with pytest.raises(errors.AuthenticationError):
            await auth.who_am_i()
    assert len([request for request in domo_sandbox.requests if request.path.endswith("/users/me")]) == 2
    assert len(sign_ins(domo_sandbox)) == 2


async def test_session_is_renewed_before_it_ends_by_its_own_word():
    """The token says how long it lives; an opaque one counts as a usual one."""

    def token(lifetime_ms):
        payload = json.dumps({"timestamp": 1_000_000, "expiration": 1_000_000 + lifetime_ms}).encode()
        return quote(base64.b64encode(payload).decode())

    async with respx.mock(base_url="https://acme.domo.com") as wire:
        login = wire.post(SIGN_IN)
        login.side_effect = [
            httpx.Response(200, json={"sessionToken": token(300)}),
            httpx.Response(200, json={"sessionToken": token(60_000)}),
        ]
        wire.get("/api/content/v2/users/me").respond(json={"id": 27})
        async with SessionAuth("acme", "ann@example.com", "x") as auth:
            await auth.who_am_i()
            await auth.who_am_i()
            assert login.call_count == 1
            await anyio.sleep(0.35)
            await auth.who_am_i()
            await auth.who_am_i()
    assert login.call_count == 2


async def test_one_time_password_where_the_instance_asks_for_it(domo_sandbox):
    domo_sandbox.require_one_time_password(domo_sandbox.username, code="123456")
    options = options_for(domo_sandbox)
    given = domo_sandbox.instance, domo_sandbox.username, domo_sandbox.password

    async with SessionAuth(*given, options=options) as auth:
        with pytest.raises(errors.OneTimePasswordRequired):
            await auth.who_am_i()
    async with SessionAuth(*given, one_time_password="999999", options=options) as auth:
        with pytest.raises(errors.OneTimePasswordRequired, match="refused"):
            await auth.who_am_i()
    async with SessionAuth(*given, one_time_password="123456", options=options) as auth:
        assert (await auth.who_am_i()).email == domo_sandbox.username
        domo_sandbox.state.sessions.clear()
        with pytest.raises(errors.OneTimePasswordRequired):  # a code is good once
            await auth.who_am_i()

    asked = []

    async def fresh_code():
        asked.append(None)
        return "123456"

    async with SessionAuth(*given, one_time_password=fresh_code, options=options) as auth:
        await auth.who_am_i()
        domo_sandbox.state.sessions.clear()
        await auth.who_am_i()
    assert len(asked) == 2


async def test_browser_session(domo_sandbox):
    cookie = domo_sandbox.browser_cookie(domo_sandbox.username)
    async with BrowserSessionAuth(domo_sandbox.instance, cookie, options=options_for(domo_sandbox)) as auth:
        assert (await auth.who_am_i()).email == domo_sandbox.username
    sent = sign_ins(domo_sandbox)[0]
    assert sent.json == {"method": "exptoken"}


async def test_session_token_route(domo_sandbox):
    async with session_auth(domo_sandbox) as auth:
        token = await get_session_token(auth)
    assert isinstance(token, Secret)
    assert token.reveal().endswith("%3D") or token.reveal()


# -- AccessTokenAuth


async def test_access_token_auth_signs_with_its_header(domo_sandbox):
    async with access_token_auth(domo_sandbox) as auth:
        assert (await auth.sign_in()) is auth
        assert (await auth.who_am_i()).email == domo_sandbox.username
    headers = {name.lower() for name in domo_sandbox.requests[0].headers}
    assert "x-domo-developer-token" in headers
    assert not headers & {"authorization", "x-domo-authentication", "cookie"}


async def test_revoked_access_token_is_an_error_after_one_request(domo_sandbox):
    async with access_token_auth(domo_sandbox) as auth:
        await auth.who_am_i()
        domo_sandbox.state.access_tokens.clear()
        domo_sandbox.requests.clear()
        with pytest.raises(errors.AuthenticationError, match="expired nor been revoked"):
            await auth.who_am_i()
    assert len(domo_sandbox.requests) == 1


@pytest.mark.parametrize("token", ["", None, "two words", "line\nend", "naïve"])
def test_access_tokens_that_cannot_be_one_are_refused(token):
    with pytest.raises(errors.InvalidInputError) as caught:
        AccessTokenAuth("acme", token)
    assert "naïve" not in str(caught.value)


# -- OAuthClientAuth


async def test_oauth_client_auth_builds_the_basic_header_and_sends_the_scope():
    async with respx.mock(base_url="https://api.domo.com") as wire:
        answer = {"access_token": "jwt", "expires_in": 3599, "token_type": "Bearer", "userId": "27", "role": "Admin"}
        token = wire.post("/oauth/token").respond(json=answer)
        users = wire.get("/v1/users/5").respond(json={"id": 5, "name": "Ann"})
        async with OAuthClientAuth("id:with colon", "sécret", scope=["user", "data", "user"]) as auth:
            assert (await DomoUser.get_by_id(auth, 5)).name == "Ann"
            who = await auth.who_am_i()
    assert (who.id, who.role, who.name) == (27, "Admin", None)
    sent = token.calls.last.request
    assert base64.b64decode(sent.headers["authorization"].removeprefix("Basic ")) == b"id%3Awith+colon:s%C3%A9cret"
    assert sent.content == b"grant_type=client_credentials&scope=user+data"
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert users.calls.last.request.headers["authorization"] == "bearer jwt"
    assert token.call_count == 1


def test_scopes_are_checked_for_spelling():
    with pytest.raises(errors.InvalidInputError, match="did you mean 'dashboard'"):
        OAuthClientAuth("id", "secret", scope="data dashbord")
    assert OAuthClientAuth("id", "secret", scope="data,user").scope == "data user"


@pytest.mark.parametrize("expires_in", [1, "1", 1.0])
async def test_token_of_a_second_serves_many_calls_and_is_renewed_in_time(domo_sandbox, expires_in):
    async with respx.mock(base_url="https://api.domo.com") as wire:
        token = wire.post("/oauth/token").respond(json={"access_token": "jwt", "expires_in": expires_in})
        wire.get("/v1/users/5").respond(json={"id": 5})
        async with OAuthClientAuth("id", "secret") as auth:
            for _ in range(20):
                await DomoUser.get_by_id(auth, 5)
            assert token.call_count == 1
            await anyio.sleep(0.95)  # not yet over, but within the margin of a tenth
            await DomoUser.get_by_id(auth, 5)
    assert token.call_count == 2


async def test_wrong_client_secret_is_tried_once(domo_sandbox):
    async with OAuthClientAuth(domo_sandbox.client_id, "wrong", options=options_for(domo_sandbox)) as auth:
        for _ in range(3):
            with pytest.raises(errors.InvalidCredentialsError):
                await DomoDataset.get_all(auth)
    assert len(sign_ins(domo_sandbox)) == 1


async def test_token_request_is_never_repeated_blindly(domo_sandbox):
    domo_sandbox.misbehave("reset_after", path="/oauth/token")
    async with oauth_client_auth(domo_sandbox, retry=RetryPolicy(attempts=5, base=0.01)) as auth:
        with pytest.raises(errors.OutcomeUnknown):
            await DomoDataset.get_all(auth)
        await DomoDataset.get_all(auth)  # the next call may ask anew
    assert len(sign_ins(domo_sandbox)) == 2


async def test_missing_scope_says_so(domo_sandbox):
    async with oauth_client_auth(domo_sandbox, scope="data") as auth:
        with pytest.raises(errors.PermissionDeniedError):
            await DomoUser.get_all(auth)


async def test_expired_bearer_is_renewed(domo_sandbox):
    async with oauth_client_auth(domo_sandbox) as auth:
        await DomoDataset.get_all(auth)
        domo_sandbox.clock.advance(timedelta(hours=2))
        await DomoDataset.get_all(auth)
    assert len(sign_ins(domo_sandbox)) == 2


# -- from the environment


def test_from_env(monkeypatch, domo_sandbox):
    monkeypatch.setenv("DOMO_INSTANCE", "acme.domo.com")
    monkeypatch.setenv("DOMO_USERNAME", "ann@example.com")
    with pytest.raises(errors.MissingCredentialError, match="DOMO_PASSWORD"):
        SessionAuth.from_env()
    with pytest.raises(errors.MissingCredentialError, match="DOMO_ACCESS_TOKEN, DOMO_PASSWORD, DOMO_CLIENT_SECRET"):
        auth_from_env()
    monkeypatch.setenv("DOMO_PASSWORD", "x")
    monkeypatch.setenv("DOMO_BASE_URL", "http://127.0.0.1:9")
    auth = auth_from_env()
    assert isinstance(auth, SessionAuth)
    assert (auth.instance.name, auth.username, auth.origin("product")) == (
        "acme",
        "ann@example.com",
        "http://127.0.0.1:9",
    )
    assert SessionAuth.from_env(username="bob@example.com").username == "bob@example.com"
    assert SessionAuth.from_env(options=ClientOptions(base_url="http://127.0.0.1:8")).origin("product").endswith(":8")
    monkeypatch.setenv("DOMO_ACCESS_TOKEN", "t" * 48)
    assert isinstance(auth_from_env(), AccessTokenAuth)
    monkeypatch.delenv("DOMO_ACCESS_TOKEN")
    monkeypatch.delenv("DOMO_PASSWORD")
    monkeypatch.setenv("DOMO_CLIENT_ID", "id")
    monkeypatch.setenv("DOMO_CLIENT_SECRET", "s")
    assert isinstance(auth_from_env(), OAuthClientAuth)
    monkeypatch.setenv("ACME_INSTANCE", "acme")
    monkeypatch.setenv("ACME_ACCESS_TOKEN", "t" * 48)
    assert isinstance(auth_from_env("ACME_"), AccessTokenAuth)


# -- instance names


@pytest.mark.parametrize(
    "text",
    [
        "acme",
        "ACME",
        "acme.domo.com",
        "https://acme.domo.com",
        "https://acme.domo.com/",
        "https://acme.domo.com/page/-1?x=y",
    ],
)
def test_instance_names_are_normalised(text):
    assert SessionAuth(text, "u", "p").origin("product") == "https://acme.domo.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "evil.com/",
        "evil.com",
        "a b",
        "acme.domo.com.evil.com",
        "https://acme.domo.com.evil.com/",
        "https://evil.com/acme.domo.com",
        "https://evil.com#.domo.com",
        "https://user@acme.domo.com",
        "https://acme.domo.com@evil.com/",
        "https://acme.domo.com:8443/",
        "http://acme.domo.com",
        "acme\\.domo.com",
        "acmé",
        "аcme",  # a Cyrillic a
        "-acme",
        "acme-",
        "a" * 64,
        "acme\n",
        " acme",
        "acme/../x",
        None,
        7,
    ],
)
def test_bad_instance_names_are_refused_before_any_request(text):
    with pytest.raises(errors.InvalidInstanceError):
        SessionAuth(text, "u", "p")


# -- origins


async def test_auth_of_one_origin_does_not_sign_requests_to_another(domo_sandbox):
    """Also when the auth object is used in someone else's httpx client."""
    auth = AccessTokenAuth("acme", "t" * 48)
    sent = []
    trap = httpx.MockTransport(lambda request: sent.append(request) or httpx.Response(200))
    async with httpx.AsyncClient(transport=trap, auth=auth) as client:
        await client.get("https://acme.domo.com/api/anything")
        for address in ("https://evil.example.com/", "http://acme.domo.com/", "https://acme.domo.com:444/"):
            with pytest.raises(errors.InvalidInputError, match="stays at home"):
                await client.get(address)
    assert [str(request.url) for request in sent] == ["https://acme.domo.com/api/anything"]


def test_two_event_loops_one_after_the_other(served_domo_sandbox):
    import asyncio

    import trio

    auth = session_auth(served_domo_sandbox)

    async def ask():
        return (await auth.who_am_i()).email

    assert asyncio.run(ask()) == asyncio.run(ask()) == trio.run(ask) == served_domo_sandbox.username
    assert len(sign_ins(served_domo_sandbox)) == 1


def test_repr_tells_who_without_the_secret():
    assert repr(SessionAuth("acme", "ann@example.com", "hunter22")) == "SessionAuth('acme', 'ann@example.com')"
    assert "hunter22" not in repr(OAuthClientAuth("id", "hunter22"))
    token = AccessTokenAuth("acme", "hunter22")
    assert "hunter22" not in repr(token)
    assert Secret("hunter22").fingerprint in repr(token)
    assert os.environ.get("DOMO_PASSWORD") is None
