"""The OAuth server of the tests does what it says; by plain httpx, and by processes that are killed."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode, urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote_plus

import httpx
import pytest

from .server import TOKEN_PATHS, OAuthServer

BAD_REFRESH = {"error": "invalid_grant", "error_description": "The refresh token is invalid."}
RAW = "p+q%2F 100%é:="  # means something else, or nothing, once it is form-decoded


def basic(client_id="id", secret="s"):
    return {"Authorization": "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()}


@pytest.fixture
def server():
    with OAuthServer() as server:
        server.add_client("id", secret="s")
        server.add_user("ann", "pw")
        yield server


@pytest.fixture
def http():
    with httpx.Client(trust_env=False, limits=httpx.Limits(max_connections=200)) as client:
        yield client


@pytest.fixture
def ask(server, http):
    """Ask for a token as the client "id"; `headers` and `url` to ask otherwise."""

    def ask(grant, headers=None, url=None, **fields):
        form = {"grant_type": grant, **fields}
        return http.post(url or server.token_url, data=form, headers=basic() if headers is None else headers)

    return ask


@pytest.fixture
def log_in(ask):
    def log_in(username="ann", password="pw", **fields):
        return ask("password", username=username, password=password, **fields)

    return log_in


@pytest.fixture
def refresh(ask):
    def refresh(token, **fields):
        return ask("refresh_token", refresh_token=token, **fields)

    return refresh


def api(server, http, token, path=""):
    return http.get(server.api_url + path, headers={"Authorization": f"Bearer {token}"})


def refused(response, error, status=400):
    return (response.status_code, response.json()["error"]) == (status, error)


# -- clients


@pytest.mark.parametrize(
    ("auth", "secret", "headers", "fields"),
    [
        ("basic", "s", basic(), {}),
        ("basic", "", basic(secret=""), {"client_id": "id"}),
        ("basic", RAW, basic(secret=quote_plus(RAW)), {}),
        ("basic-raw", RAW, basic(secret=RAW), {}),
        ("post", "s", {}, {"client_id": "id", "client_secret": "s"}),
        ("post", "", {}, {"client_id": "id", "client_secret": ""}),
        ("none", "", {}, {"client_id": "id"}),
    ],
)
def test_a_client_is_let_in_by_its_own_way_only(server, log_in, auth, secret, headers, fields):
    server.add_client("id", secret=secret, auth=auth)
    assert log_in(headers=headers, **fields).status_code == 200
    for other in ("basic", "basic-raw", "post", "none"):
        server.add_client("id", secret=secret, auth=other)
        # Of a plain secret nobody can tell whether it was encoded.
        same = other == auth or (secret != RAW and {auth, other} == {"basic", "basic-raw"})
        answer = log_in(headers=headers, **fields)
        assert answer.status_code == (200 if same else 401), other
        if not same:
            assert refused(answer, "invalid_client", 401)
            assert answer.headers["www-authenticate"].startswith("Basic")
    assert {one.client_id for one in server.requests} == {"id"}


@pytest.mark.parametrize(
    "headers",
    [basic("nobody"), basic(secret="t"), {"Authorization": "Basic %%%"}, {"Authorization": "Bearer x"}, {}],
)
def test_a_stranger_is_told_so(server, log_in, headers):
    assert refused(log_in(headers=headers), "invalid_client", 401)
    assert not server.issued


def test_half_an_escape_is_not_form_encoded(server, log_in):
    server.add_client("id", secret="5%")
    assert refused(log_in(headers=basic(secret="5%")), "invalid_client", 401)
    assert log_in(headers=basic(secret="5%25")).status_code == 200


def test_a_client_shows_itself_once(server, log_in):
    assert refused(log_in(client_secret="s"), "invalid_request")
    assert refused(log_in(client_id="other"), "invalid_request")


# -- grants


@pytest.mark.parametrize("path", TOKEN_PATHS)
def test_client_credentials(server, http, ask, path):
    answer = ask("client_credentials", url=server.issuer + path, scope="data user")
    token = answer.json()["access_token"]
    expected = {"access_token": token, "token_type": "bearer", "expires_in": 3600, "scope": "data user"}
    assert (answer.status_code, answer.json()) == (200, expected)
    assert answer.headers["cache-control"] == "no-store"
    assert token.startswith("access-canary-")
    assert server.issued == {token}
    assert (server.requests[0].url, server.requests[0].grant, server.requests[0].outcome) == (
        path,
        "client_credentials",
        "ok",
    )
    assert api(server, http, token).json() == {"ok": True, "token_number": 1}


def test_a_public_client_has_no_credentials(server, ask):
    server.add_client("open", auth="none")
    assert refused(ask("client_credentials", headers={}, client_id="open"), "unauthorized_client")


def test_the_answer_can_look_otherwise(server, ask):
    server.lifetime, server.token_type, server.extra = 90, "Bearer", {"customer": "acme", "userId": 7}
    server.expires_in_style = "text"
    answer = ask("client_credentials").json()
    assert {**answer, "access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": "90",
        "customer": "acme",
        "userId": 7,
    }
    server.expires_in_style = "absent"
    assert "expires_in" not in ask("client_credentials").json()
    with pytest.raises(ValueError):
        server.expires_in_style = "never"


def test_what_is_missing_repeated_or_unknown(server, http, ask, log_in, refresh):
    for answer in (log_in(username=""), log_in(password=""), refresh(""), ask(""), log_in(username=["ann", "ann"])):
        assert refused(answer, "invalid_request")
    assert refused(log_in(takeExclusiveSignOnControl="perhaps"), "invalid_request")
    assert refused(http.post(server.token_url, json={"grant_type": "password"}, headers=basic()), "invalid_request")
    assert refused(ask("magic"), "unsupported_grant_type")
    assert http.get(server.token_url).status_code == 405
    assert (server.count(), server.count("magic"), server.count(outcome="invalid_request")) == (8, 1, 7)
    assert not server.issued


def test_scopes(server, log_in, refresh):
    server.scopes = {"trapi", "data"}
    assert refused(log_in(scope="trapi admin"), "invalid_scope")
    answer = log_in(scope="trapi data").json()
    assert refused(refresh(answer["refresh_token"], scope="trapi admin"), "invalid_scope")
    narrowed = refresh(answer["refresh_token"], scope="data").json()
    assert narrowed["scope"] == "data"
    assert refresh(narrowed["refresh_token"]).json()["scope"] == "trapi data"


def test_passwords(server, log_in):
    bad = {"error": "invalid_grant", "error_description": "Invalid username or password."}
    for answer in (log_in(password="no"), log_in(username="bob"), log_in(password="no", newPassword="mine")):
        assert (answer.status_code, answer.json()) == (400, bad)
    assert log_in(newPassword="new").json()["refresh_token"].startswith("refresh-canary-")
    assert log_in().json() == bad
    assert log_in(password="new").status_code == 200


def test_the_session_quota(server, log_in, refresh):
    server.session_quota = 2
    server.add_user("bob", "pw")
    first, second = log_in().json(), log_in().json()
    assert log_in(username="bob").status_code == 200
    for fields in ({}, {"takeExclusiveSignOnControl": "false"}):
        answer = log_in(newPassword="new", **fields)
        assert refused(answer, "access_denied")
        assert answer.json()["error_description"] == "Session quota is reached."
    server.revoke_family(second["refresh_token"])
    assert log_in().status_code == 200
    latest = log_in(takeExclusiveSignOnControl="true").json()
    assert not server.is_alive(first["access_token"])
    assert refresh(first["refresh_token"]).json() == BAD_REFRESH
    assert server.is_alive(latest["access_token"])
    assert [family.ended for family in server.families] == [
        "exclusive sign-on",
        "revoked",
        "",
        "exclusive sign-on",
        "",
    ]
    assert log_in().status_code == 200
    server.advance(server.refresh_lifetime)
    assert log_in().status_code == 200  # the sessions have ended by themselves


# -- refresh tokens


def test_rotation(server, http, refresh):
    access, token = server.issue("id", user="ann", scope="trapi")
    answer = refresh(token).json()
    assert answer["scope"] == "trapi"
    assert server.families[0].access == [access, answer["access_token"]]
    assert server.families[0].refresh == [token, answer["refresh_token"]]
    assert server.is_alive(access)
    assert server.is_alive(answer["access_token"])
    assert (server.refreshes, server.reuses, server.within_grace) == (1, [], [])
    record = server.requests[0]
    assert (record.refresh_token, record.access_token, record.new_refresh_token, record.status) == (
        token,
        answer["access_token"],
        answer["refresh_token"],
        200,
    )
    assert server.issued == {access, token, answer["access_token"], answer["refresh_token"]}


def test_reuse_ends_the_family(server, http, refresh):
    access, token = server.issue("id")
    other, _ = server.issue("id")
    newest = refresh(token).json()
    assert refresh(token).json() == BAD_REFRESH
    assert server.reuses == [server.requests[1]]
    assert not server.families[0].alive
    assert refresh(newest["refresh_token"]).json() == BAD_REFRESH
    for dead in (access, newest["access_token"]):
        assert api(server, http, dead).status_code == 401
    assert server.is_alive(other)
    assert (server.refreshes, len(server.reuses)) == (1, 1)


def test_grace(server, refresh):
    server.grace = 30.0
    access, token = server.issue("id")
    first = refresh(token).json()
    second = refresh(token).json()
    assert second["refresh_token"] not in (token, first["refresh_token"])
    assert (server.refreshes, server.within_grace, server.reuses) == (2, [server.requests[1]], [])
    assert refresh(first["refresh_token"]).status_code == 200
    server.advance(30)
    assert refresh(token).json() == BAD_REFRESH
    assert server.reuses == [server.requests[3]]
    assert refresh(second["refresh_token"]).json() == BAD_REFRESH
    assert not server.is_alive(access)


def test_without_rotation_the_token_stays(server, refresh):
    server.rotate = False
    _, token = server.issue("id")
    for number in (1, 2):
        assert "refresh_token" not in refresh(token).json()
        assert server.refreshes == number
    assert server.reuses == []


def test_a_bad_refresh_token_is_not_told_why(server, refresh):
    _, revoked = server.issue("id")
    server.revoke_family(revoked)
    _, expired = server.issue("id")
    server.advance(server.refresh_lifetime)
    server.add_client("other")
    _, foreign = server.issue("other")
    for token in (foreign, revoked, expired, "unknown"):
        answer = refresh(token)
        assert (answer.status_code, answer.json()) == (400, BAD_REFRESH)
    assert (server.refreshes, server.reuses) == (0, [])
    assert server.families[2].alive


def test_one_of_two_hundred_at_once_wins(server, http, refresh):
    """All are held until all have arrived; so this is also how many it can hold."""
    _, token = server.issue("id")
    all_here = threading.Barrier(200)
    server.on_request = lambda record: all_here.wait(30)
    with ThreadPoolExecutor(200) as threads:
        codes = [answer.status_code for answer in threads.map(refresh, [token] * 200)]
    assert (codes.count(200), codes.count(400)) == (1, 199)
    assert (server.count(), server.refreshes, len(server.reuses)) == (200, 1, 199)
    assert not server.families[0].alive


# -- access tokens


def test_the_api(server, http):
    access, _ = server.issue("id")
    other, _ = server.issue("id")
    assert api(server, http, other).json()["token_number"] == 2
    assert api(server, http, access, "/forbidden").status_code == 403
    for token in ("-", "unknown"):
        answer = api(server, http, token)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert http.get(server.api_url).status_code == 401
    server.deny(access)
    assert api(server, http, access).status_code == 401
    assert api(server, http, other).status_code == 200
    server.advance(server.lifetime)
    assert api(server, http, other).status_code == 401
    assert [one.status for one in server.api_requests] == [200, 403, 401, 401, 401, 401, 200, 401]
    assert server.count() == 0


def test_jwts(server, ask, log_in):
    server.jwt, server.lifetime = True, 60
    before = int(time.time())
    token = log_in(scope="trapi").json()["access_token"]
    header, payload, signature = token.split(".")
    assert "=" not in token
    assert len(urlsafe_b64decode(signature + "==")) == 64
    assert json.loads(urlsafe_b64decode(header + "=="))["typ"] == "JWT"
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] - claims["iat"] == 60
    assert claims["jti"].startswith("access-canary-")
    assert (claims["iss"], claims["client_id"], claims["sub"]) == (server.issuer, "id", "ann")
    assert claims["scope"] == "trapi"
    assert {token, claims["jti"]} < server.issued
    assert server.is_alive(token)
    assert not server.is_alive(claims["jti"])


# -- faults


@pytest.mark.parametrize("after_acting", [False, True])
@pytest.mark.parametrize("kind", ["reset", "html", "status", "odd"])
def test_a_fault_strikes_before_or_after_acting(server, refresh, kind, after_acting):
    _, token = server.issue("id")
    server.fail(kind, after_acting=after_acting)
    if kind == "reset":
        with pytest.raises(httpx.ReadError):
            refresh(token)
        assert server.requests[0].status is None
    else:
        answer = refresh(token)
        assert (answer.status_code, server.requests[0].status) == ((500, 500) if kind == "status" else (200, 200))
        if kind == "html":
            assert answer.headers["content-type"].startswith("text/html")
        else:
            assert "access_token" not in answer.json()
    assert (server.requests[0].fault, server.requests[0].outcome) == (kind, "ok" if after_acting else kind)
    assert server.refreshes == after_acting
    assert refresh(token).status_code == (400 if after_acting else 200)
    assert len(server.reuses) == after_acting


@pytest.mark.parametrize("keep", [None, 0, 30, -1, 10_000])
def test_a_truncated_answer(server, keep):
    _, token = server.issue("id")
    fault = server.fail("truncated", **({} if keep is None else {"keep": keep}))
    client = httpx.Client(trust_env=False)
    got = b""
    form = {"grant_type": "refresh_token", "refresh_token": token}
    with client, client.stream("POST", server.token_url, data=form, headers=basic()) as answer:
        length = int(answer.headers["content-length"])
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012
            for part in answer.iter_raw():
                got += part
    assert len(got) == {None: length * 4 // 5, -1: length - 1, 10_000: length - 1}.get(keep, keep)
    assert (fault.hits, server.refreshes, server.requests[0].outcome) == (1, 1, "ok")


def test_faults_are_used_up_in_order(server, ask):
    server.fail("status", status=503, retry_after=7, body="")
    server.fail("status", status=429, times=2, body={"code": 1})
    server.fail("html", grant="password", times=None)
    first, *others = [ask("client_credentials") for _ in range(4)]
    assert (first.status_code, first.headers["retry-after"], first.content) == (503, "7", b"")
    assert [(one.status_code, one.json().get("code")) for one in others] == [(429, 1), (429, 1), (200, None)]
    for _ in range(3):
        assert "text/html" in ask("password").headers["content-type"]
    server.heal()
    assert refused(ask("password"), "invalid_request")


def test_what_is_no_fault(server):
    for kind, details in (("explode", {}), ("html", {"seconds": 1}), ("latency", {})):
        with pytest.raises((ValueError, TypeError)):
            server.fail(kind, **details)


@pytest.mark.parametrize("after_acting", [False, True])
def test_latency(server, http, refresh, after_acting):
    _, token = server.issue("id")
    server.fail("latency", seconds=0.2, after_acting=after_acting)
    acted = []
    server.on_acted = lambda record: acted.append(time.monotonic())
    assert refresh(token).status_code == 200
    slow = (acted[0], time.monotonic()) if after_acting else (server.requests[0].at, acted[0])
    assert slow[1] - slow[0] >= 0.19


@pytest.mark.parametrize("after_acting", [False, True])
def test_what_hangs_goes_on_when_healed(server, http, refresh, after_acting):
    _, token = server.issue("id")
    server.fail("hang", after_acting=after_acting)
    with ThreadPoolExecutor(1) as threads:
        try:
            answer = threads.submit(refresh, token)
            server.wait_until(lambda: server.refreshes if after_acting else server.count())
            server.issue("id")
            assert http.get(server.api_url).status_code == 401  # others are served meanwhile
            assert not answer.done()
        finally:
            server.heal()
        assert answer.result().status_code == 200
    assert server.refreshes == 1


# -- the test and the server


def test_hooks_see_a_request_before_and_after_acting(server, http, refresh):
    _, token = server.issue("id")
    seen = []

    def look(record):
        seen.append((record.refresh_token, record.outcome, server.refreshes, record.status))
        http.get(server.api_url)  # a hook does not stop the server

    server.on_request = server.on_acted = look
    assert refresh(token).status_code == 200
    assert seen == [(token, "", 0, None), (token, "ok", 1, None)]


CHILD = """
import sys
from urllib.request import Request, urlopen
url, body, authorization = sys.argv[1:]
print(urlopen(Request(url, body.encode(), {"Authorization": authorization})).read())
"""


@pytest.mark.parametrize("hook", ["on_request", "on_acted"])
def test_a_client_killed_at_a_hook(server, refresh, hook):
    """The server has the request, so it acts; only nobody is there to hear of it."""
    _, token = server.issue("id")
    children, started, states = [], threading.Event(), []

    def kill(record):
        states.append(server.refreshes)
        started.wait(30)
        children[0].kill()
        children[0].wait()

    setattr(server, hook, kill)
    body = f"grant_type=refresh_token&refresh_token={token}"
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-c", CHILD, server.token_url, body, basic()["Authorization"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        children.append(child)
        started.set()
        assert child.communicate(timeout=30)[0] == b""
    server.wait_until(lambda: server.requests[0].status)
    assert child.returncode != 0
    assert states == [0 if hook == "on_request" else 1]
    assert server.refreshes == 1
    setattr(server, hook, None)
    assert refresh(token).json() == BAD_REFRESH


def test_what_a_hook_raises_is_raised_when_the_server_is_left(http):
    def fail(record):
        raise LookupError("hook")

    with pytest.raises(LookupError, match="hook"), OAuthServer(on_request=fail) as server:
        assert http.post(server.token_url).status_code == 400


def test_closing_waits_for_nobody(http):
    """Neither for connections that are idle or fell silent, nor for what hangs, is slow, or is held by a hook."""
    held = threading.Event()
    with ThreadPoolExecutor(3) as threads:
        with OAuthServer(on_request=lambda record: record.grant == "held" and held.wait(30)) as server:
            host, port = server.issuer.removeprefix("http://").split(":")
            silent = socket.create_connection((host, int(port)))
            silent.sendall(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            assert http.get(server.api_url).status_code == 401
            server.fail("hang", grant="hung")
            server.fail("latency", grant="slow", seconds=60)
            asked = [
                threads.submit(http.post, server.token_url, data={"grant_type": grant})
                for grant in ("hung", "slow", "held")
            ]
            server.wait_until(lambda: server.count() == 3)
            start = time.monotonic()
        assert time.monotonic() - start < 25  # what is slow or held goes on longer
        held.set()
        for one in asked:
            with pytest.raises(httpx.TransportError):
                one.result()
    silent.close()
    assert [one.outcome for one in server.requests] == [""] * 3
    with pytest.raises(httpx.ConnectError):
        http.get(server.api_url)


def test_waiting_in_vain(server):
    with pytest.raises(TimeoutError):
        server.wait_until(lambda: server.count() == 1, seconds=0.01)
