"""Sign-in, sessions, developer tokens, one-time passwords, hosts and unknown paths."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import unquote

import pytest

from domokit.sandbox import Sandbox

from .helpers import as_user, bearer, by_session, by_token, client, sign_in

pytestmark = pytest.mark.anyio
ME = "/api/content/v2/users/me"
TOE = re.compile(r"[A-Z0-9]{10}-[A-Z0-9]{5}-[A-Z0-9]{5}")


async def test_password_sign_in_gives_a_session_of_eight_hours(sb: Sandbox):
    answer = await sign_in(sb, sb.username, sb.password)
    assert answer["success"] is True
    assert answer["userId"] == sb.admin.id
    assert answer["twoFactorInfo"]["status"] == "VALID"
    token = answer["sessionToken"]
    assert token.endswith("%3D")
    claims = json.loads(base64.b64decode(unquote(token)))
    keys = {"customerId", "expiration", "hmacSignature", "sid", "timestamp", "toes", "userId"}
    assert claims.keys() == keys
    assert claims["userId"] == str(sb.admin.id)
    assert claims["expiration"] - claims["timestamp"] == 28_800_000
    me = await client(sb, x_domo_authentication=token).get(ME)
    assert me.json()["id"] == sb.admin.id
    decoded = await client(sb, x_domo_authentication=unquote(token)).get(ME)
    assert decoded.status_code == 401


async def test_refused_sign_ins_are_status_200(sb: Sandbox):
    async with client(sb) as anonymous:
        for body, expected in [
            (
                {"method": "password", "emailAddress": sb.username, "password": "no"},
                {"success": False, "reason": "INVALID_CREDENTIALS"},
            ),
            (
                {"method": "password", "emailAddress": "nobody@example.com", "password": "no"},
                {"success": False, "reason": "INVALID_CREDENTIALS"},
            ),
            ({"emailAddress": sb.username, "password": sb.password}, {}),
            ({"method": "password", "emailAddress": sb.username}, {}),
            ([], {}),
        ]:
            answer = await anonymous.post("/api/content/v2/authentication", json=body)
            assert (answer.status_code, answer.json()) == (200, expected)
        garbage = await anonymous.post("/api/content/v2/authentication", content=b"{")
        assert (garbage.status_code, garbage.json()) == (200, {})


async def test_five_wrong_passwords_lock_until_an_administrator_resets(sb: Sandbox):
    user = sb.add_user("Lou Lock", "lou@example.com", password="right")
    for _ in range(5):
        assert (await sign_in(sb, user.email, "wrong"))["reason"] == "INVALID_CREDENTIALS"
    assert (await sign_in(sb, user.email, "right")) == {"success": False, "reason": "ACCOUNT_LOCKED"}
    reset = await by_token(sb).put("/api/identity/v1/password", json={"domoUserId": user.id, "password": "fresh"})
    assert reset.json() == {}
    assert "sessionToken" in await sign_in(sb, user.email, "fresh")


async def test_a_success_forgets_earlier_failures(sb: Sandbox):
    user = sb.add_user("Lou Lock", "lou@example.com", password="right")
    for _ in range(2):
        for _ in range(4):
            await sign_in(sb, user.email, "wrong")
        assert "sessionToken" in await sign_in(sb, user.email, "right")


async def test_cookie_exchange(sb: Sandbox):
    cookie = sb.browser_cookie(sb.username)
    body = {"method": "exptoken"}
    async with client(sb, cookie=f"other=1; _dsidv1={cookie}") as browser:
        answer = (await browser.post("/api/content/v2/authentication", json=body)).json()
    me = await client(sb, x_domo_authentication=answer["sessionToken"]).get(ME)
    assert me.json()["id"] == sb.admin.id
    async with client(sb, cookie="_dsidv1=made-up") as browser:
        answer = (await browser.post("/api/content/v2/authentication", json=body)).json()
    assert "sessionToken" not in answer


@pytest.mark.parametrize("header", ["x_domo_authentication", "x_domo_developer_token", None])
async def test_no_or_unknown_credential_is_401_with_the_product_body(sb: Sandbox, header: str | None):
    answer = await client(sb, **({header: "nonsense"} if header else {})).get(ME)
    assert answer.status_code == 401
    body = answer.json()
    assert TOE.fullmatch(body.pop("toe"))
    assert body == {
        "status": 401,
        "statusReason": "Unauthorized",
        "path": ME,
        "message": "Full authentication is required to access this resource",
    }


async def test_a_bearer_is_refused_by_the_product(sb: Sandbox):
    token = (await bearer(sb)).headers["authorization"]
    assert (await client(sb, authorization=token).get(ME)).status_code == 401


async def test_session_expiry_follows_the_clock(sb: Sandbox):
    mine = await by_session(sb)
    sb.clock.advance(8 * 3600 - 5)
    assert (await mine.get(ME)).status_code == 200
    sb.clock.advance(6)
    assert (await mine.get(ME)).status_code == 401
    sb.session_lifetime = 10
    mine = await by_session(sb)
    sb.clock.advance(11)
    assert (await mine.get(ME)).status_code == 401


async def test_one_time_password_holds_a_session_back_until_elevated(sb: Sandbox):
    sb.require_one_time_password(sb.username, code="424242")
    answer = await sign_in(sb, sb.username, sb.password)
    assert answer["twoFactorInfo"]["status"] == "PENDING"
    mine = client(sb, x_domo_authentication=answer["sessionToken"])
    refused = await mine.get(ME)
    assert refused.status_code == 403
    assert "levation" in refused.json()["message"]
    url = f"/api/identity/v1/authentication/elevations/{answer['userId']}"
    assert (await mine.put(url, json={"timeBasedOneTimePassword": "000000"})).status_code == 401
    assert (await mine.get(ME)).status_code == 403
    other = url.replace(str(answer["userId"]), "1")
    assert (await mine.put(other, json={"timeBasedOneTimePassword": "424242"})).status_code == 403
    done = await mine.put(url, json={"timeBasedOneTimePassword": "424242"})
    assert (done.status_code, done.content) == (200, b"")
    assert (await mine.get(ME)).status_code == 200
    flags = await mine.get(f"/api/content/v2/users/{answer['userId']}/state?keys=twoFactorEnabled")
    assert flags.json() == {"twoFactorEnabled": "true"}
    assert (await by_token(sb).get(ME)).status_code == 200  # a developer token owes no code


async def test_elevation_is_refused_without_a_second_factor(sb: Sandbox):
    url = f"/api/identity/v1/authentication/elevations/{sb.admin.id}"
    assert (await by_token(sb).put(url, json={"timeBasedOneTimePassword": "1"})).status_code == 403


async def test_bootstrap_takes_sessions_only(sb: Sandbox):
    answer = (await (await by_session(sb)).get("/api/domoweb/bootstrap")).json()
    assert answer["currentUser"]["USER_ID"] == sb.admin.id
    assert answer["currentUser"]["USER_GROUP"] == sb.state.customer_id
    assert "account.admin" in answer["data"]["authorities"]
    assert "accounts-v2" in [feature["name"] for feature in answer["data"]["features"]]
    for other in (by_token(sb), client(sb)):
        redirect = await other.get("/api/domoweb/bootstrap")
        assert (redirect.status_code, redirect.headers["location"]) == (302, "/auth/index")


async def test_session_information(sb: Sandbox):
    for path in ("/api/identity/v1/authentication/session", "/api/content/v2/authentication/session"):
        assert (await by_token(sb).get(path)).json() == {"userId": sb.admin.id}


async def test_reset_mail_needs_no_credential_and_tells_nothing(sb: Sandbox):
    async with client(sb) as anonymous:
        one = await anonymous.get("/api/domoweb/auth/sendReset", params={"email": sb.username})
        two = await anonymous.get("/api/domoweb/auth/sendReset", params={"email": "no@example.com"})
    assert one.status_code == two.status_code == 200
    assert one.content == two.content


async def test_sessions_are_listed_and_revoked_by_administrators(sb: Sandbox):
    mine = await by_session(sb)
    rows = (await by_token(sb).get("/api/sessions/v1/admin", params={"limit": 10**9})).json()
    assert [row["userId"] for row in rows] == [sb.admin.id]
    path = f"/api/sessions/v1/admin/{rows[0]['id']}"
    plain = as_user(sb, sb.add_user("Pat Plain", "pat@example.com"))
    assert (await plain.get("/api/sessions/v1/admin")).status_code == 403
    assert (await plain.delete(path)).status_code == 403
    assert (await mine.get(ME)).status_code == 200
    assert (await by_token(sb).delete(path)).status_code == 200
    assert (await mine.get(ME)).status_code == 401
    assert (await by_token(sb).delete(path)).status_code == 404


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("acme.domo.com", "/api/data/v1/accounts", 200),
        ("ACME.domo.com:443", "/api/data/v1/accounts", 200),
        ("acme.domo.com", "/v1/users", 404),
        ("api.domo.com", "/api/data/v1/accounts", 404),
        ("api.domo.com", "/v1/users", 401),
        ("other.domo.com", "/api/data/v1/accounts", 403),
        ("127.0.0.1:8000", "/api/data/v1/accounts", 200),
        ("localhost", "/v1/users", 401),
        ("[::1]:80", "/v1/users", 401),
        ("acme.domo.com", "/_sandbox/requests", 404),
    ],
)
async def test_hosts(sb: Sandbox, host: str, path: str, status: int):
    answer = await by_token(sb).get(path, headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text == "Forbidden"


async def test_trailing_slashes_are_accepted(sb: Sandbox):
    for path in (
        "/api/data/v1/accounts/",
        "/api/identity/v1/users/",
        f"/api/content/v2/users/{sb.admin.id}/",
    ):
        assert (await by_token(sb).get(path)).status_code == 200


async def test_an_unknown_path_names_the_nearest(sb: Sandbox):
    answer = await client(sb).get("/api/data/v1/accesstoken")
    body = answer.json()
    assert answer.status_code == 404
    assert (body["status"], body["statusReason"], body["path"]) == (
        404,
        "Not Found",
        "/api/data/v1/accesstoken",
    )
    assert "/api/data/v1/accesstokens" in body["message"]
    assert TOE.fullmatch(body["toe"])


async def test_a_wrong_method_names_the_right_ones(sb: Sandbox):
    answer = await by_token(sb).put("/api/data/v1/accounts/101", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET"
    assert answer.json()["statusReason"] == "Method Not Allowed"
    assert "DELETE, GET" in answer.json()["message"]


async def test_malformed_numbers_and_bodies_are_400(sb: Sandbox):
    admin = by_token(sb)
    assert (await admin.get("/api/content/v2/users/abc")).status_code == 400
    assert (await admin.get("/api/identity/v1/users?limit=x")).status_code == 400
    assert (await admin.get("/api/identity/v1/users?offset=-1")).status_code == 400
    for content in (b"", b"{", b"[]", b"null"):
        answer = await admin.post("/api/data/v1/accesstokens", content=content)
        assert answer.status_code == 400
