"""The way from a call to its answer: what is sent, what is repeated, what never leaves.

respx where the wire is the subject; real sockets (the served sandbox, or a bare loopback server in the test's own
event loop) where connections are.
"""

import asyncio
import gc
import logging
import re
import socket
import ssl
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import import_module
from pkgutil import walk_packages

import anyio
import httpx
import pytest
import respx
import trio

import domokit.routes
from domokit import (
    NO_RETRY,
    AccessTokenAuth,
    ClientOptions,
    DomoAccessToken,
    DomoAccount,
    DomoUser,
    OAuthClientAuth,
    RetryPolicy,
    Secret,
    SessionAuth,
    auth_from_env,
    dry_run,
    override,
    record,
    rotate_access_token,
)
from domokit.connection.exchange import Connection
from domokit.connection.pools import SpreadTransport
from domokit.entities.listing import Pager
from domokit.errors import (
    APIError,
    AuthenticationError,
    ConnectionFailedError,
    DomoDecodeError,
    DryRunRefused,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknown,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    UnsupportedByAuth,
)
from domokit.testing import access_token_auth, oauth_client_auth, session_auth
from domokit.transport import Route, is_dry_run, pages, plain_text, platform, product, send, stream
from tests.loopback import at_once, http, loopback

ACME = "https://acme.domo.com"
TOKEN = "tok-4f3e2d1c0b9a8877"
THING = product("GET", "/api/things/{thing}")
THINGS = product("POST", "/api/things")
ME = "/api/content/v2/users/me"
FAST = RetryPolicy(base=0.01, cap=0.02)


def acme(**options):
    return AccessTokenAuth("acme", TOKEN, options=ClientOptions(**options))


def at(origin, **options):
    return AccessTokenAuth("acme", TOKEN, options=ClientOptions(base_url=origin, **options))


# -- what is sent


@respx.mock(base_url=ACME)
async def test_a_get_carries_path_query_and_one_credential_and_nothing_else(respx_mock):
    wire = respx_mock.get(url__regex=".*").respond(json={"id": 1})

    await send(acme(), THING, params={"q": "a&b=ü", "flag": True, "none": None, "n": 3}, thing="a b/ü?#%")

    sent = wire.calls.last.request
    assert sent.method == "GET"
    assert sent.url.raw_path == b"/api/things/a%20b%2F%C3%BC%3F%23%25?q=a%26b%3D%C3%BC&flag=true&n=3"
    assert sent.headers["X-DOMO-Developer-Token"] == TOKEN
    assert sent.headers["User-Agent"].startswith("domokit")
    assert "application/json" in sent.headers["Accept"]
    assert {"authorization", "x-domo-authentication", "cookie", "content-type"}.isdisjoint(sent.headers)
    assert sent.content == b""


@respx.mock(base_url=ACME)
async def test_a_body_is_compact_utf8_json_with_its_secrets_revealed(respx_mock):
    wire = respx_mock.post("/api/things").respond(json={})

    await send(acme(), THINGS, json={"name": "Zoë", "token": Secret("s3cret-in-body"), "deep": [{"x": None}]})

    sent = wire.calls.last.request
    assert sent.content == '{"name":"Zoë","token":"s3cret-in-body","deep":[{"x":null}]}'.encode()
    assert sent.headers["Content-Type"] == "application/json"


@respx.mock(base_url=ACME)
async def test_an_empty_json_body_is_sent_as_such(respx_mock):
    wire = respx_mock.post("/api/things").respond(json={})
    await send(acme(), THINGS, json=[])
    assert wire.calls.last.request.content == b"[]"


@respx.mock(base_url=ACME)
async def test_a_text_body_is_bare_utf8(respx_mock):
    wire = respx_mock.post("/api/things").respond(json={})
    await send(acme(), THINGS, content=plain_text("Zoë"))
    assert wire.calls.last.request.content == "Zoë".encode()
    assert wire.calls.last.request.headers["Content-Type"] == "text/plain; charset=utf-8"


@respx.mock(base_url=ACME)
async def test_a_body_that_is_no_json_is_refused_without_its_text(respx_mock):
    with pytest.raises(TypeError) as caught:
        await send(acme(), THINGS, json={"token": {"a-set-with-a-secret"}})
    assert "a-set-with-a-secret" not in str(caught.value)
    assert not respx_mock.calls


@respx.mock(base_url=ACME)
async def test_cookies_are_never_kept(respx_mock):
    wire = respx_mock.get("/api/things/1").respond(json={}, headers={"Set-Cookie": "DA-SID=stolen; Path=/"})
    auth = acme()
    for _ in range(2):
        await send(auth, THING, thing=1)
    assert [call.request.headers.get("cookie") for call in wire.calls] == [None, None]


@pytest.mark.parametrize("part", ["..", ".", "", " ", ". .", Secret("a-secret-as-a-part")], ids=repr)
@respx.mock(base_url=ACME)
async def test_a_path_part_that_would_change_the_path_is_refused(respx_mock, part):
    with pytest.raises(InvalidInputError) as caught:
        await send(acme(), THING, thing=part)
    assert not respx_mock.calls
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ("a/b", "a%2Fb"),
        ("../users", "..%2Fusers"),
        ("%2e%2e", "%252e%252e"),
        ("x?y=1", "x%3Fy%3D1"),
        ("x;y", "x%3By"),
        ("\\..\\", "%5C..%5C"),
        ("{thing}", "%7Bthing%7D"),
        ("\r\nHost: evil", "%0D%0AHost%3A%20evil"),
    ],
)
@respx.mock(base_url=ACME)
async def test_a_path_part_stays_one_part(respx_mock, part, sent):
    wire = respx_mock.get(url__regex=".*").respond(json={})
    await send(acme(), THING, thing=part)
    assert wire.calls.last.request.url.raw_path.decode() == f"/api/things/{sent}"


@respx.mock
async def test_a_family_that_the_auth_cannot_sign_is_refused_before_anything_is_sent(respx_mock):
    client = OAuthClientAuth("id", "secret-of-a-client")
    with pytest.raises(UnsupportedByAuth, match="SessionAuth or AccessTokenAuth"):
        await send(client, THING, thing=1)
    for auth in (SessionAuth("acme", "ann@example.com", "a-password"), acme()):
        with pytest.raises(UnsupportedByAuth, match="OAuthClientAuth"):
            await send(auth, platform("GET", "/v1/things"))
    assert not respx_mock.calls  # not even a sign-in


# -- what comes back


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"content": b'{"id": 1'}, "DomoDecodeError"),
        ({"content": b""}, "EmptyAnswerError"),
        ({"json": ["a list"]}, "DomoDecodeError"),
        ({"text": "<html><title>Sign in</title></html>"}, "UnexpectedPageError"),
        ({"status_code": 204}, "EmptyAnswerError"),
    ],
)
@respx.mock(base_url=ACME)
async def test_an_answer_that_is_not_what_was_promised_is_an_error(respx_mock, answer, kind):
    respx_mock.get("/api/things/1").respond(**answer)
    with pytest.raises(DomoDecodeError) as caught:
        await send(acme(), THING, thing=1)
    assert type(caught.value).__name__ == kind
    assert caught.value.asked == "GET /api/things/1"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # under trio httpx itself leaves a generator half-read then
async def test_an_answer_that_cannot_be_decompressed_is_a_lost_answer():
    async def answer(request):
        return http(Content_Encoding="gzip")

    async with loopback(answer) as server, at(server.origin, retry=NO_RETRY) as auth:
        with pytest.raises(ConnectionFailedError):
            await send(auth, THING, thing=1)
        with pytest.raises(OutcomeUnknown):
            await send(auth, THINGS, json={})


# -- what is repeated


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_passing_trouble_is_waited_out(domo_sandbox, status):
    domo_sandbox.misbehave("status", status=status, path=ME, times=2)
    auth = access_token_auth(domo_sandbox, retry=FAST)
    assert (await auth.who_am_i()).id == domo_sandbox.admin.id
    assert len(domo_sandbox.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 501])
async def test_other_refusals_are_not_repeated(domo_sandbox, status):
    domo_sandbox.misbehave("status", status=status, path=ME)
    with pytest.raises(APIError) as caught:
        await access_token_auth(domo_sandbox, retry=FAST).who_am_i()
    assert caught.value.status == status
    assert len(domo_sandbox.requests) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_creating_post_is_not_repeated_whatever_the_status(domo_sandbox, status):
    domo_sandbox.misbehave("status", status=status, method="POST")
    with pytest.raises(APIError) as caught:
        await DomoAccessToken.generate(
            access_token_auth(domo_sandbox, retry=FAST), owner_id=domo_sandbox.admin.id, name="etl"
        )
    assert caught.value.status == status
    assert len(domo_sandbox.requests) == 1


async def test_a_post_that_only_searches_is_repeated(domo_sandbox):
    domo_sandbox.misbehave("status", status=503, method="POST", path="/api/identity/v1/users/search")
    found = await DomoUser.search(access_token_auth(domo_sandbox, retry=FAST), email=domo_sandbox.username)
    assert [user.email for user in found] == [domo_sandbox.username]


async def test_retry_after_in_seconds_is_waited_for(domo_sandbox):
    domo_sandbox.misbehave("rate_limit", retry_after=0.4, path=ME)
    auth = access_token_auth(domo_sandbox, retry=FAST)
    started = time.monotonic()
    await auth.who_am_i()
    assert time.monotonic() - started >= 0.4


async def test_retry_after_as_a_date_is_waited_for(domo_sandbox):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)  # the format knows whole seconds
    domo_sandbox.misbehave("rate_limit", retry_after=format_datetime(until, usegmt=True), path=ME)
    await access_token_auth(domo_sandbox, retry=FAST).who_am_i()
    assert datetime.now(UTC) >= until


async def test_no_more_attempts_than_the_policy_says(domo_sandbox):
    domo_sandbox.misbehave("status", status=503, times=None)
    with pytest.raises(ServerError):
        await access_token_auth(domo_sandbox, retry=RetryPolicy(attempts=3, base=0.01)).who_am_i()
    assert len(domo_sandbox.requests) == 3


async def test_the_budget_ends_the_attempts(domo_sandbox):
    domo_sandbox.misbehave("status", status=503, times=None)
    policy = RetryPolicy(attempts=1000, base=0.05, cap=0.05, budget=1)
    with pytest.raises(ServerError):
        await access_token_auth(domo_sandbox, retry=policy).who_am_i()
    assert 2 < len(domo_sandbox.requests) < 1000


async def test_a_wait_that_would_break_the_budget_is_not_begun(domo_sandbox):
    domo_sandbox.misbehave("rate_limit", retry_after=3600)
    with pytest.raises(RateLimitedError) as caught:
        await access_token_auth(domo_sandbox).who_am_i()
    assert caught.value.retry_after == 3600
    assert len(domo_sandbox.requests) == 1


async def test_nor_is_it_begun_by_the_calls_that_follow(domo_sandbox):
    """They know what Domo asked for, and would otherwise hang for the hour that the first call did not wait."""
    domo_sandbox.misbehave("rate_limit", retry_after=3600)
    auth = access_token_auth(domo_sandbox, retry=RetryPolicy(budget=1))
    with anyio.fail_after(60):
        for _ in range(3):
            with pytest.raises(RateLimitedError):
                await auth.who_am_i()


async def test_an_endless_retry_after_stops_nobody(domo_sandbox):
    domo_sandbox.misbehave("rate_limit", retry_after="inf", path=ME)
    with anyio.fail_after(60):
        await access_token_auth(domo_sandbox, retry=FAST).who_am_i()


def test_waits_are_drawn_from_the_whole_range():
    policy = RetryPolicy(base=1, cap=3)
    second, fifth = [[policy.wait_before(attempt) for _ in range(400)] for attempt in (2, 5)]
    assert min(second) < 0.1
    assert 0.9 < max(second) <= 1
    assert 2.7 < max(fifth) <= 3  # capped
    assert policy.wait_before(2, told=7.5) == 7.5


async def test_each_repetition_is_logged(domo_sandbox, caplog):
    domo_sandbox.misbehave("status", status=503, path=ME, times=2)
    with caplog.at_level(logging.INFO, "domokit"):
        await access_token_auth(domo_sandbox, retry=FAST).who_am_i()
    told = [entry.getMessage() for entry in caplog.records if entry.name == "domokit.transport"]
    assert len(told) == 2
    assert f"GET {ME}" in told[0]
    assert "503" in told[0]
    assert "attempt 2 of 4" in told[0]
    assert "attempt 3 of 4" in told[1]
    assert domo_sandbox.access_token not in caplog.text


async def test_a_reset_before_the_answer_is_repeated_on_get(served_domo_sandbox):
    served_domo_sandbox.misbehave("reset_before", method="GET", times=2)
    async with access_token_auth(served_domo_sandbox, retry=FAST) as auth:
        assert (await auth.who_am_i()).id == served_domo_sandbox.admin.id
    assert len(served_domo_sandbox.requests) == 3


@pytest.mark.parametrize(("fault", "made"), [("reset_before", 0), ("reset_after", 1), ("truncated", 1)])
async def test_a_reset_before_the_answer_is_not_repeated_on_post(served_domo_sandbox, fault, made):
    sb = served_domo_sandbox
    sb.misbehave(fault, method="POST", times=None)
    async with access_token_auth(sb, retry=FAST) as auth:
        with pytest.raises(OutcomeUnknown) as caught:
            await DomoAccessToken.generate(auth, owner_id=sb.admin.id, name="etl")
    assert isinstance(caught.value.__cause__, httpx.TransportError)
    assert [one.method for one in sb.requests] == ["POST"]
    assert sum(token.name == "etl" for token in sb.state.access_tokens.values()) == made


async def test_a_lost_answer_to_a_delete_is_asked_for_again(served_domo_sandbox):
    sb = served_domo_sandbox
    made = sb.add_access_token(sb.username, "etl")
    sb.misbehave("reset_before", method="DELETE")
    async with session_auth(sb, retry=FAST) as auth:
        await (await DomoAccessToken.get_by_id(auth, made.id)).revoke()
    assert sb.signs_in(made.token) is None


async def test_a_connection_that_the_server_closed_meanwhile_costs_nothing():
    """Not even a POST, because nothing was sent over the dead connection."""

    async def once(request):
        await request.send(http())  # no 'Connection: close', yet closed

    async with loopback(once) as server, at(server.origin, retry=NO_RETRY) as auth:
        for _ in range(3):
            await send(auth, THINGS, json={})
            await anyio.sleep(0.05)
    assert len(server.requests) == server.connections == 3


async def sent(auth, origin):
    await send(auth, THINGS, json={"password": "s3cret"})


async def streamed(auth, origin):
    async with stream(auth, THING, thing=1) as answer:
        assert [chunk async for chunk in answer.chunks()] == [b"{}"]


async def spent(auth, origin):
    """As the token of an OAuth provider is asked for."""
    connection = Connection(auth.options, origin)
    request = connection.request("POST", f"{origin}/token", form={"refresh_token": "s3cret"})
    reply = await connection.send_once(request, asked="POST /token", total=10)
    assert reply.lost is None
    await connection.aclose()


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("way", [sent, streamed, spent])
async def test_an_answered_request_is_gone_at_once(way, status):
    """With its body, which may be a part of some megabytes, or hold a secret; not at the next garbage collection."""

    async def answer(request):
        return http({}, status=status)

    def alive():
        requests = [one for one in gc.get_objects() if isinstance(one, httpx.Request)]
        return sum(str(one.url).startswith(server.origin) for one in requests)

    async with loopback(answer) as server, at(server.origin, retry=NO_RETRY) as auth:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                with suppress(NotFoundError):
                    await way(auth, server.origin)
            assert alive() == 0
        finally:
            gc.enable()
    assert len(server.requests) == 3


async def test_nothing_listening_is_no_unknown_outcome():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        auth = at(f"http://127.0.0.1:{unused.getsockname()[1]}", retry=NO_RETRY)
        for call in (send(auth, THING, thing=1), send(auth, THINGS, json={})):
            with pytest.raises(ConnectionFailedError) as caught:
                await call
            assert isinstance(caught.value.__cause__, httpx.ConnectError)


async def test_a_429_slows_every_task_of_that_auth_and_no_other(domo_sandbox):
    begun = time.monotonic()
    limited = domo_sandbox.misbehave("rate_limit", retry_after=0.8, path=ME)
    auth = access_token_auth(domo_sandbox)
    ended = []

    async def timed():
        await auth.who_am_i()
        ended.append(time.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(timed)
        while not limited.hits:
            await anyio.sleep(0.01)
        for _ in range(3):
            group.start_soon(timed)
    assert min(ended) >= begun + 0.8

    domo_sandbox.misbehave("rate_limit", retry_after=3600, path=ME)
    for _ in range(2):
        with pytest.raises(RateLimitedError):
            await auth.who_am_i()
    assert (await access_token_auth(domo_sandbox).who_am_i()).id


async def test_half_a_character_is_refused_and_not_shown():
    secret = "secret-canary-\udcff"
    async with loopback(at_once) as server, at(server.origin) as auth:
        for arguments in ({"json": {"name": secret}}, {"params": {"q": secret}}, {"thing": secret}):
            route = THING if "thing" in arguments else THINGS
            with pytest.raises(InvalidInputError, match="half a character") as caught:
                await send(auth, route, **arguments)
            assert caught.value.asked == str(route)
            assert "canary" not in "".join(traceback.format_exception(caught.value))
            assert caught.value.__context__ is None
        with pytest.raises(InvalidInputError, match="half a character"):
            plain_text(secret)
        options = ClientOptions(base_url=server.origin)
        with pytest.raises(InvalidInputError, match="half a character") as caught:
            await SessionAuth("acme", "ann@example.com", secret, options=options).who_am_i()
        assert caught.value.asked == "POST /api/content/v2/authentication"
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        assert server.requests == []


# -- timeouts


@pytest.mark.parametrize("lost", [httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ReadTimeout, httpx.WriteTimeout])
@respx.mock(base_url=ACME)
async def test_each_timeout_is_ours_with_the_library_s_as_cause(respx_mock, lost):
    respx_mock.route().mock(side_effect=lost("too slow"))
    auth = acme(retry=NO_RETRY)
    with pytest.raises(RequestTimeoutError) as caught:
        await send(auth, THING, thing=1)
    assert isinstance(caught.value.__cause__, lost)
    # What never left may be repeated safely; what may have arrived has an unknown outcome.
    never_left = lost in (httpx.ConnectTimeout, httpx.PoolTimeout)
    with pytest.raises(RequestTimeoutError if never_left else OutcomeUnknown):
        await send(auth, THINGS, json={})


@respx.mock(base_url=ACME)
async def test_a_post_that_never_left_is_repeated(respx_mock):
    wire = respx_mock.post("/api/things")
    wire.side_effect = [httpx.ConnectTimeout("too slow"), httpx.Response(200, json={"id": 1})]
    assert await send(acme(retry=FAST), THINGS, json={}) == {"id": 1}


async def test_a_silent_server_is_a_read_timeout(served_domo_sandbox):
    sb = served_domo_sandbox
    sb.misbehave("latency", seconds=3, times=None)
    async with access_token_auth(sb, timeout=0.2, retry=NO_RETRY) as auth:
        with pytest.raises(RequestTimeoutError):
            await auth.who_am_i()
        with pytest.raises(OutcomeUnknown):
            await DomoAccessToken.generate(auth, owner_id=sb.admin.id, name="etl")


async def drip(request):
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        await request.send(b" ")
        await anyio.sleep(0.05)


async def test_a_dripping_server_meets_the_total_timeout():
    async with loopback(drip) as server, at(server.origin, timeout=5, total_timeout=0.3, retry=NO_RETRY) as auth:
        with pytest.raises(RequestTimeoutError):
            await send(auth, THING, thing=1)
        with pytest.raises(OutcomeUnknown):
            await send(auth, THINGS, json={})


@respx.mock(base_url=ACME)
async def test_there_is_a_timeout_for_everything_by_default(respx_mock):
    wire = respx_mock.route().respond(json={"sessionToken": "session-1234"})
    await send(SessionAuth("acme", "ann@example.com", "a-password"), THING, thing=1)
    for call in wire.calls:  # the sign-in too
        limits = call.request.extensions["timeout"]
        assert set(limits) == {"connect", "read", "write", "pool"}
        assert all(0 < seconds <= 120 for seconds in limits.values())
    assert ClientOptions().total_timeout


async def test_override_changes_the_timeouts_inside_its_block_only(domo_sandbox):
    domo_sandbox.misbehave("latency", seconds=0.4, times=None)
    auth = access_token_auth(domo_sandbox, retry=NO_RETRY)
    with override(total_timeout=0.05), pytest.raises(RequestTimeoutError):
        await auth.who_am_i()
    assert (await auth.who_am_i()).id


@respx.mock(base_url=ACME)
async def test_override_of_the_timeout_reaches_the_wire(respx_mock):
    wire = respx_mock.route().respond(json={})
    auth = acme()
    with override(timeout=1.5):
        await send(auth, THING, thing=1)
    await send(auth, THING, thing=1)
    inside, after = [call.request.extensions["timeout"] for call in wire.calls]
    assert inside == dict.fromkeys(("connect", "read", "write", "pool"), 1.5)
    assert after == ClientOptions().timeout.as_dict()


async def test_override_changes_the_retries_inside_its_block_only(domo_sandbox):
    domo_sandbox.misbehave("status", status=503, path=ME, times=2)
    auth = access_token_auth(domo_sandbox, retry=FAST)
    with override(retry=NO_RETRY), pytest.raises(ServerError):
        await auth.who_am_i()
    assert len(domo_sandbox.requests) == 1
    await auth.who_am_i()


@respx.mock(base_url=ACME)
async def test_an_override_inside_another_keeps_what_it_does_not_name(respx_mock):
    wire = respx_mock.route().respond(json={})
    with override(timeout=1.5), override(retry=NO_RETRY):
        await send(acme(), THING, thing=1)
    assert wire.calls.last.request.extensions["timeout"]["read"] == 1.5


# -- record


async def test_record_keeps_everything_but_secrets(domo_sandbox):
    auth = session_auth(domo_sandbox)
    with record() as answers:
        made = await DomoAccessToken.generate(auth, owner_id=domo_sandbox.admin.id, name="etl")
    await auth.who_am_i()  # outside

    assert [(one.method, one.status) for one in answers] == [("POST", 200), ("POST", 200)]
    sign_in, generate = answers
    assert sign_in.url.endswith("/api/content/v2/authentication")
    assert sign_in.request_body == {"method": "password", "emailAddress": domo_sandbox.username, "password": "***"}
    assert sign_in.body["sessionToken"] == "***"
    assert generate.request_headers["x-domo-authentication"] == "***"
    assert generate.request_body["name"] == "etl"
    assert generate.body["token"] == "***"
    assert generate.body["id"] == made.id
    assert generate.headers["content-type"] == "application/json"
    assert generate.seconds >= 0
    for secret in (domo_sandbox.password, made.token.reveal(), auth.current().reveal()):
        assert secret not in repr(answers)


async def test_record_masks_basic_and_bearer(domo_sandbox):
    with record() as answers:
        await DomoUser.get_all(oauth_client_auth(domo_sandbox))
    assert {one.request_headers["authorization"] for one in answers} == {"***"}
    assert domo_sandbox.client_secret not in repr(answers)


async def test_recordings_nest_and_see_repetitions(domo_sandbox):
    auth = access_token_auth(domo_sandbox, retry=FAST)
    with record() as outer:
        await auth.who_am_i()
        domo_sandbox.misbehave("status", status=503, path=ME)
        with record() as inner:
            await auth.who_am_i()
    assert [one.status for one in inner] == [503, 200]
    assert [one.status for one in outer] == [200, 503, 200]


async def test_a_recording_sees_its_own_tasks_only(domo_sandbox):
    auth = access_token_auth(domo_sandbox)
    kept = {}

    async def recorded(name):
        with record() as answers:
            await anyio.sleep(0.01)
            await auth.who_am_i()
            await anyio.sleep(0.05)
        kept[name] = answers

    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(recorded, name)
    assert [len(answers) for answers in kept.values()] == [1, 1]

    with record() as answers:  # while tasks that are started inside belong to it
        await DomoUser.get_many(auth, [domo_sandbox.admin.id] * 3)
    assert len(answers) == 3


# -- dry run


def every_route():
    for module in walk_packages(domokit.routes.__path__, "domokit.routes."):
        for name, value in vars(import_module(module.name)).items():
            if isinstance(value, Route):
                yield pytest.param(value, id=f"{module.name.removeprefix('domokit.routes.')}.{name}")


@pytest.mark.parametrize("route", list(every_route()))
async def test_in_a_dry_run_no_changing_request_leaves(route):
    left = []

    async def answer(request):
        left.append(request)
        if request.url.path == "/oauth/token" or route.returns in (dict, None):
            return httpx.Response(200, json={"access_token": "bearer-1"})
        return httpx.Response(200, json="text" if isinstance("text", route.returns) else [])

    options = ClientOptions(transport=httpx.MockTransport(answer))
    auth = (
        AccessTokenAuth("acme", TOKEN, options=options)
        if route.family == "product"
        else OAuthClientAuth("id", "secret-of-a-client", options=options)
    )
    parts = dict.fromkeys(re.findall(r"{(\w+)}", route.path), 7)
    with dry_run():
        if route.changes:
            with pytest.raises(DryRunRefused):
                await send(auth, route, **parts)
            assert not left  # not even a sign-in
        else:
            await send(auth, route, **parts)
            assert left[-1].method == route.method


def test_the_posts_that_change_nothing_are_those_that_search():
    readers = {str(param.values[0]) for param in every_route() if not param.values[0].changes}
    assert {route for route in readers if not route.startswith("GET ")} == {
        "POST /api/content/v2/groups/get",
        "POST /api/data/ui/v3/datasources/search",
        "POST /api/data/v3/datasources/bulk",
        "POST /api/data/v3/datasources/statuses",
        "POST /api/identity/v1/users/search",
        "POST /api/query/v1/datasources/{dataset_id}/partition/list",
        "POST /api/query/v1/execute/{dataset_id}",
        "POST /api/search/v1/query",
        "POST /v1/datasets/query/execute/{dataset_id}",
    }


async def test_in_a_dry_run_reading_goes_on_and_nothing_changes(domo_sandbox):
    auth, people = session_auth(domo_sandbox), dict(domo_sandbox.state.users)
    victim = next(user for user in people if user != domo_sandbox.admin.id)
    with dry_run():
        user = (await DomoUser.search(auth, email=domo_sandbox.find_user(victim).email))[0]
        account = (await DomoAccount.get_all(auth))[0]
        for change in (
            user.delete,
            lambda: user.update(title="gone"),
            lambda: user.set_password("another-one"),
            account.delete,
            lambda: account.update_name("gone"),
            lambda: account.share(users=victim),
            lambda: DomoAccessToken.generate(auth, owner_id=victim, name="etl"),
            lambda: DomoAccessToken.upsert(auth, owner_id=victim, name="etl"),
        ):
            with pytest.raises(DryRunRefused):
                await change()
        plan = await rotate_access_token(auth, owner_id=victim, name="etl", account="new account")
        assert is_dry_run()
    assert not is_dry_run()
    assert plan.dry_run
    assert plan.changed
    assert domo_sandbox.state.users == people
    reading = {"/api/content/v2/authentication", "/api/identity/v1/users/search"}
    assert {one.path for one in domo_sandbox.requests if one.method != "GET"} == reading


async def test_a_dry_run_holds_in_the_tasks_started_inside(domo_sandbox):
    auth = session_auth(domo_sandbox)
    users = await DomoUser.get_all(auth)
    refused = []

    async def delete(user):
        with pytest.raises(DryRunRefused):
            await user.delete()
        refused.append(user.id)

    with dry_run():
        async with anyio.create_task_group() as group:
            for user in users[1:4]:
                group.start_soon(delete, user)
    assert len(refused) == 3
    assert not any(one.method == "DELETE" for one in domo_sandbox.requests)


# -- the credential stays at home


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status):
    async with loopback(at_once) as elsewhere:

        async def away(request):
            return http(status=status, Location=f"{elsewhere.origin}/api/stolen")

        async with loopback(away) as server, at(server.origin, retry=FAST) as auth:
            with pytest.raises(DomoDecodeError, match=r"redirect to 127\.0\.0\.1"):
                await send(auth, THING, thing=1)
            with pytest.raises(DomoDecodeError):
                await send(auth, THINGS, json={"token": Secret("s3cret-in-body")})
    assert elsewhere.connections == 0
    assert len(server.requests) == 2


async def test_a_redirected_sign_in_takes_the_password_nowhere():
    async with loopback(at_once) as elsewhere:

        async def away(request):
            return http(status=307, Location=f"{elsewhere.origin}/api/content/v2/authentication")

        async with loopback(away) as server:
            options = ClientOptions(base_url=server.origin)
            for auth in (
                SessionAuth("acme", "ann@example.com", "a-password", options=options),
                OAuthClientAuth("id", "secret-of-a-client", options=options),
            ):
                async with auth:
                    with pytest.raises(APIError):
                        await auth.sign_in()
    assert elsewhere.connections == 0


async def test_an_auth_used_with_another_client_signs_its_own_origin_only():
    async with loopback(at_once) as home, loopback(at_once) as elsewhere:
        auth = at(home.origin)
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            await client.get(f"{home.origin}/api/x")
            with pytest.raises(InvalidInputError, match="stays at home"):
                await client.get(f"{elsewhere.origin}/api/x")
    assert home.requests[0].headers["x-domo-developer-token"] == TOKEN
    assert elsewhere.connections == 0


async def test_proxies_and_netrc_of_the_environment_do_not_touch_calls_to_this_machine(
    served_domo_sandbox, monkeypatch, tmp_path
):
    sb = served_domo_sandbox
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password stolen\ndefault login mallory password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with loopback(at_once) as trap:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, trap.origin)
        for build, header in ((access_token_auth, "x-domo-developer-token"), (session_auth, "x-domo-authentication")):
            async with build(sb) as auth:
                assert (await auth.who_am_i()).id == sb.admin.id
            assert header in sb.requests[-1].headers
        async with oauth_client_auth(sb) as auth:
            await DomoUser.get_by_id(auth, sb.admin.id)
        assert sb.requests[-1].headers["authorization"].startswith("bearer ")
    assert trap.connections == 0
    assert not any("authorization" in one.headers for one in sb.requests if one.path.startswith("/api/"))


@pytest.mark.parametrize("by", ["environment", "option"])
async def test_a_proxy_sees_a_tunnel_and_no_credential(monkeypatch, by):
    async def refuse(request):
        return http(status=407)

    async with loopback(refuse) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", proxy.origin if by == "environment" else "http://127.0.0.1:9")
        options = {"proxy": proxy.origin.replace("//", "//me:proxy-pass@")} if by == "option" else {}
        with pytest.raises(ConnectionFailedError) as caught:
            await send(acme(retry=NO_RETRY, **options), THING, thing=1)
    (seen,) = proxy.requests
    assert (seen.method, seen.target) == ("CONNECT", "acme.domo.com:443")
    assert TOKEN not in repr(seen)
    assert ("proxy-authorization" in seen.headers) == (by == "option")
    assert "proxy-pass" not in str(caught.value)


async def test_without_trust_env_no_proxy_is_taken_from_the_environment(monkeypatch):
    asked = []

    def nowhere(host, *rest, **more):
        asked.append(host)
        raise socket.gaierror("no such host")

    async with loopback(at_once) as trap:
        monkeypatch.setenv("HTTPS_PROXY", trap.origin)
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        with pytest.raises(ConnectionFailedError):
            await send(acme(retry=NO_RETRY, trust_env=False), THING, thing=1)
    assert trap.connections == 0
    assert {str(host).strip("b'") for host in asked} == {"acme.domo.com"}


@pytest.mark.parametrize(
    "base_url",
    [
        "http://acme.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "ftp://127.0.0.1",
        "127.0.0.1:8080",
        "//127.0.0.1",
        "https://user:password@acme.example.com",
        "https://acme.example.com/path",
        "https://acme.example.com?x=1",
        "https://acme.example.com#x",
        "https://",
        "",
    ],
)
def test_an_address_that_is_no_safe_origin_is_refused(base_url, monkeypatch):
    with pytest.raises(InvalidInputError) as caught:
        ClientOptions(base_url=base_url)
    assert "password" not in str(caught.value)
    if base_url:
        monkeypatch.setenv("DOMO_INSTANCE", "acme")
        monkeypatch.setenv("DOMO_ACCESS_TOKEN", TOKEN)
        monkeypatch.setenv("DOMO_BASE_URL", base_url)
        with pytest.raises(InvalidInputError):
            auth_from_env()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "[::1]"])
def test_plain_http_is_accepted_on_this_machine(host):
    assert ClientOptions(base_url=f"http://{host}:8080/").base_url == f"http://{host}:8080"


# -- TLS

# A certificate for localhost that nobody trusts, and its key, which protects nothing.
CERTIFICATE = (
    "MIIBZzCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAx"
    "MDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLLog0FIHTjJo3mc1fEee3xY"
    "0/4mdrtdyfgGNhmdpwFCidxrXv2e/UfEKmt6/DLblD225Ar9XTPtwXf3/H6Mu+2jTjBMMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcE"
    "fwAAATAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBSrK9BFMeQQN7rMTRI2n6r9MAeRvDAKBggqhkjOPQQDAgNIADBFAiEA/Gk1"
    "8BujNzvxmXupyXzFAY/mC7Px2bDvvJlVap4XGKICIGn210hRq6011e4ARgvu8cWtXuRlKPJNR2ZFYDDLm6Ba"
)
KEY = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggNxA5qCi6SFwa3I8F/R0zhgBBlC6TKWmaS2AyohwujKhRANCAASy"
    "6INBSB04yaN5nNXxHnt8WNP+Jna7Xcn4BjYZnacBQonca179nv1HxCprevwy25Q9tuQK/V0z7cF39/x+jLvt"
)


@pytest.fixture
def certificate(tmp_path):
    for name, kind, text in (("cert.pem", "CERTIFICATE", CERTIFICATE), ("key.pem", "PRIVATE KEY", KEY)):
        (tmp_path / name).write_text(f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    return tmp_path / "cert.pem"


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


async def test_an_unknown_certificate_is_refused_and_the_credential_not_sent(tls, caplog):
    async with loopback(at_once, tls=tls) as server, at(server.origin, retry=NO_RETRY) as auth:
        with pytest.raises(ConnectionFailedError, match=r"(?i)certificate"):
            await send(auth, THING, thing=1)
    assert not server.requests


@pytest.mark.parametrize("how", ["path", "context"])
async def test_a_further_certificate_can_be_trusted(tls, certificate, how):
    bundle = certificate if how == "path" else ssl.create_default_context(cafile=certificate)
    async with loopback(at_once, tls=tls) as server, at(server.origin, ca_bundle=bundle) as auth:
        assert await send(auth, THING, thing=1) == {"id": 1}


async def test_a_certificate_of_another_host_is_refused(tls, certificate):
    async with loopback(at_once, tls=tls) as server:
        other = server.origin.replace("127.0.0.1", "127.0.0.2")
        async with loopback(at_once, tls=tls), at(other, ca_bundle=certificate, retry=NO_RETRY) as auth:
            with pytest.raises(ConnectionFailedError):
                await send(auth, THING, thing=1)
    assert not server.requests


def unverifying(mode, check_hostname=False):
    context = ssl.create_default_context()
    context.check_hostname = check_hostname
    context.verify_mode = mode
    return context


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(unverifying(ssl.CERT_NONE), id="any certificate"),
        pytest.param(unverifying(ssl.CERT_OPTIONAL), id="no certificate needed"),
        pytest.param(unverifying(ssl.CERT_REQUIRED), id="anybody's certificate"),
    ],
)
def test_a_context_that_does_not_verify_is_refused(context):
    with pytest.raises(InvalidInputError, match="verif"):
        ClientOptions(ca_bundle=context)


@pytest.mark.parametrize("option", ["verify", "ssl_verify", "verify_ssl", "insecure"])
def test_there_is_no_option_to_switch_verification_off(option):
    with pytest.raises(TypeError):
        ClientOptions(**{option: False})


# -- limits and connections


async def slow(request):
    await anyio.sleep(0.05)
    return http()


async def many(auth, count):
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(lambda n=number: send(auth, THING, thing=n + 1))


async def test_no_more_than_max_concurrency_are_in_flight():
    async with loopback(slow) as server, at(server.origin, max_concurrency=3) as auth:
        await many(auth, 12)
    assert len(server.requests) == 12
    assert server.most_in_flight == 3
    assert server.connections <= 3


async def test_no_more_than_max_connections_are_opened():
    async with loopback(slow) as server, at(server.origin, max_connections=2) as auth:
        await many(auth, 10)
    assert len(server.requests) == 10
    assert server.connections == server.most_in_flight == 2


async def test_calls_one_after_another_share_one_connection():
    async with loopback(at_once) as server, at(server.origin) as auth:
        for _ in range(10):
            await send(auth, THING, thing=1)
    assert server.connections == 1


async def test_calls_at_once_open_connections_which_the_next_calls_use_again():
    async with loopback(slow) as server, at(server.origin) as auth:
        await many(auth, 8)
        opened = server.connections
        await many(auth, 8)
    assert opened == 8
    assert server.connections == 8


async def test_errors_give_their_connection_back():
    answers = iter([None, http(status=404), http(status=500), b"no http at all\r\n\r\n", http(), http()])

    async def answer(request):
        return next(answers)

    one = {"max_connections": 1, "max_concurrency": 1}
    async with loopback(answer) as server, at(server.origin, retry=NO_RETRY, **one) as auth:
        with anyio.fail_after(60):
            for kind in (ConnectionFailedError, NotFoundError, ServerError, ConnectionFailedError):
                with pytest.raises(kind):
                    await send(auth, THING, thing=1)
            for _ in range(2):
                assert await send(auth, THING, thing=1) == {"id": 1}
    assert server.connections == 3  # a new one after each that was lost, none after an error that was answered


async def test_a_cancelled_call_gives_its_connection_back():
    async def answer(request):
        await anyio.sleep(30 if len(server.requests) == 1 else 0)
        return http()

    async with loopback(answer) as server, at(server.origin, max_connections=1, max_concurrency=1) as auth:
        with anyio.move_on_after(0.1) as scope:
            await send(auth, THING, thing=1)
        assert scope.cancelled_caught
        with anyio.fail_after(60):
            assert await send(auth, THING, thing=1) == {"id": 1}


async def test_a_call_that_is_cancelled_while_it_waits_for_its_turn_leaves_the_turn_to_others():
    go_on = anyio.Event()

    async def held(request):
        await go_on.wait()
        return http()

    async with loopback(held) as server, at(server.origin, max_concurrency=1) as auth:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: send(auth, THING, thing=1))
            while not server.requests:
                await anyio.sleep(0.01)
            with anyio.move_on_after(0.05):
                await send(auth, THING, thing=2)
            go_on.set()
        with anyio.fail_after(60):
            assert await send(auth, THING, thing=3) == {"id": 1}
    assert [one.target[-1] for one in server.requests] == ["1", "3"]


async def test_lanes_come_back_from_errors_cancellations_and_unread_answers():
    async def answer(request):
        if request.target == "/hang-up":
            return None
        if request.target == "/hang":
            await anyio.sleep(30)
        return http({"text": "x" * 100_000})

    built = []

    def build():
        built.append(httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1), trust_env=False))
        return built[-1]

    async with loopback(answer) as server, httpx.AsyncClient(transport=SpreadTransport(build, 2)) as client:
        with anyio.fail_after(60):
            for _ in range(5):
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get(f"{server.origin}/hang-up")
                with anyio.move_on_after(0.02):
                    await client.get(f"{server.origin}/hang")
                async with client.stream("GET", f"{server.origin}/long") as unread:
                    assert unread.status_code == 200
                assert (await client.get(f"{server.origin}/long")).status_code == 200
    assert len(built) == 1  # never two calls at once, so never a second lane


async def test_no_lane_is_shared_while_another_is_free():
    async with loopback(slow) as server:
        lanes = SpreadTransport(lambda: httpx.AsyncHTTPTransport(trust_env=False), 4)
        async with httpx.AsyncClient(transport=lanes) as client, anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(client.get, server.origin)
    assert server.most_in_flight == 4


def test_one_auth_object_serves_one_event_loop_after_another(served_domo_sandbox):
    """Twice asyncio, then trio; nothing is left open, also where nobody closes it."""
    sb = served_domo_sandbox
    auth = session_auth(sb)

    async def work():
        users = await DomoUser.get_many(auth, [sb.admin.id] * 5)
        return {user.id for user in users}

    assert asyncio.run(work()) == {sb.admin.id}
    assert asyncio.run(work()) == {sb.admin.id}
    assert trio.run(work) == {sb.admin.id}
    gc.collect()  # an open socket would warn now, and warnings are errors here
    sign_ins = [one for one in sb.requests if one.path.endswith("/authentication")]
    assert len(sign_ins) == 1


async def test_closing_is_not_the_end(domo_sandbox):
    auth = session_auth(domo_sandbox)
    async with auth:
        await auth.who_am_i()
    await auth.aclose()
    assert (await auth.who_am_i()).id == domo_sandbox.admin.id


async def test_closing_ends_the_connections():
    async with loopback(at_once) as server:
        auth = at(server.origin)
        await send(auth, THING, thing=1)
        await auth.aclose()
        with anyio.fail_after(60):
            while server.closed < 1:
                await anyio.sleep(0.01)


async def test_event_hooks_see_each_request_and_answer(domo_sandbox):
    seen = []

    async def on_request(request):
        seen.append(("request", request.method, request.url.path))

    async def on_response(response):
        seen.append(("response", response.status_code, response.url.path))

    hooks = {"request": [on_request], "response": [on_response]}
    await access_token_auth(domo_sandbox, event_hooks=hooks).who_am_i()
    assert seen == [("request", "GET", ME), ("response", 200, ME)]
    assert list(hooks) == ["request", "response"]
    assert len(hooks["request"]) == 1


# -- cancellation and renewal


async def test_a_cancelled_sign_in_is_finished_and_kept_for_those_who_wait(served_domo_sandbox):
    sb = served_domo_sandbox
    sb.misbehave("latency", seconds=0.3, path="/api/content/v2/authentication")
    async with session_auth(sb) as auth:

        async def gives_up():
            with anyio.move_on_after(0.1) as scope:
                await auth.who_am_i()
            assert scope.cancelled_caught

        async with anyio.create_task_group() as group:
            group.start_soon(gives_up)
            await anyio.sleep(0.02)
            group.start_soon(auth.who_am_i)
        assert auth.current() is not None
    assert [one.path for one in sb.requests] == ["/api/content/v2/authentication", ME]


# -- pages


class Listed:
    """A listing of `total` items whose server gives at most `cap` at a time, or ignores the offset."""

    def __init__(self, total, cap=10**9, ignores_offset=False):
        self.items = [{"id": number} for number in range(total)]
        self.cap, self.ignores_offset, self.asked = cap, ignores_offset, []

    async def __call__(self, offset, limit):
        self.asked.append((offset, limit))
        start = 0 if self.ignores_offset else offset
        return self.items[start : start + min(limit, self.cap)]


async def collected(fetch, **options):
    return [item for batch in [page async for page in pages(fetch, **options)] for item in batch]


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("cap", [1, 7, 10, 1000])
@pytest.mark.parametrize("total", [0, 1, 6, 7, 8, 10, 20, 21, 30, 69, 70, 71])
async def test_pages_give_every_item_once_and_in_order(total, cap, ahead):
    listed = Listed(total, cap)
    assert await collected(listed, size=10, pages_ahead=ahead) == listed.items
    assert all(offset >= 0 and limit == 10 for offset, limit in listed.asked)


async def test_a_capped_page_size_is_followed():
    listed = Listed(100, cap=40)
    await collected(listed, size=100)
    assert [offset for offset, _ in listed.asked] == [0, 40, 80, 100]


async def test_an_exact_multiple_ends_with_an_empty_page():
    listed = Listed(20)
    await collected(listed, size=10)
    assert [offset for offset, _ in listed.asked] == [0, 10, 20]


async def test_an_empty_listing_costs_one_request():
    listed = Listed(0)
    assert await collected(listed, size=10, pages_ahead=3) == []
    assert len(listed.asked) == 1


@pytest.mark.parametrize("ahead", [0, 3])
async def test_a_server_that_ignores_the_offset_ends_a_small_listing(ahead):
    listed = Listed(5, ignores_offset=True)
    assert await collected(listed, size=10, pages_ahead=ahead) == listed.items


@pytest.mark.parametrize("ahead", [0, 3])
async def test_a_server_that_ignores_the_offset_breaks_a_full_listing(ahead):
    listed = Listed(30, ignores_offset=True)
    with pytest.raises(DomoDecodeError, match="offset"):
        await collected(listed, size=10, pages_ahead=ahead)


async def test_pages_asked_for_ahead_overlap():
    flying = most = 0

    async def fetch(offset, limit):
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await anyio.sleep(0.01)
        flying -= 1
        return list(range(100))[offset : offset + limit]

    assert await collected(fetch, size=10, pages_ahead=3) == list(range(100))
    assert most == 4


async def test_a_failed_page_ends_the_listing_with_its_own_error():
    async def fetch(offset, limit):
        if offset >= 20:
            raise NotFoundError("gone", status=404)
        return list(range(offset, offset + limit))

    with pytest.raises(NotFoundError):
        await collected(fetch, size=10, pages_ahead=3)


async def test_null_items_are_left_out_and_end_nothing():
    listed = Listed(30)
    listed.items[0] = listed.items[10] = listed.items[29] = None
    pager = Pager(listed, lambda obj: obj["id"], size=10)
    expected = [number for number in range(30) if number not in (0, 10, 29)]
    assert await pager == expected
    assert [item async for item in pager] == expected
    assert await Pager(listed, lambda obj: obj["id"], size=10).first() == 1


async def test_first_fetches_one_page():
    listed = Listed(100)
    pager = Pager(listed, lambda obj: obj["id"], size=10)
    assert await pager.first() == 0
    assert len(listed.asked) == 1
    assert await pager.where(lambda item: item == 15).first() == 15
    assert [offset for offset, _ in listed.asked[1:]] == [0, 10]
    assert await Pager(Listed(0), lambda obj: obj, size=10).first() is None


async def test_a_small_listing_costs_few_requests(domo_sandbox):
    """Sixteen requests for five tokens have been seen elsewhere."""
    auth = access_token_auth(domo_sandbox)
    for number in range(3):
        domo_sandbox.add_access_token(domo_sandbox.username, f"token {number}")
    assert len(await DomoAccessToken.get_all(auth)) == 5
    assert len(domo_sandbox.requests) == 1
    assert len(await DomoUser.get_all(auth)) == 12
    assert len(domo_sandbox.requests) <= 3
    domo_sandbox.requests.clear()
    assert [token.name async for token in DomoAccessToken.get_all(auth)]
    assert len(domo_sandbox.requests) == 1


async def test_a_large_company_is_read_whole_whatever_the_page_cap(domo_sandbox):
    for number in range(60):
        domo_sandbox.add_user(f"Person {number:03d}", f"person{number}@example.com")
    domo_sandbox.users_page_cap = 7
    auth = access_token_auth(domo_sandbox)
    ids = [user.id for user in await DomoUser.get_all(auth)]
    assert len(ids) == len(set(ids)) == 72
    assert ids == [user.id async for user in DomoUser.get_all(auth)]


async def test_refusals_come_through_a_listing_as_they_are(domo_sandbox):
    auth = AccessTokenAuth("acme", "revoked-long-ago", options=ClientOptions(transport=domo_sandbox.app))
    with pytest.raises(AuthenticationError):
        await DomoUser.get_all(auth)
    with pytest.raises(AuthenticationError):
        await DomoAccessToken.get_all(auth).first()
