"""The client-credentials grant, scopes, and API clients."""

from __future__ import annotations

import base64
import json
import secrets
from urllib.parse import quote

import pytest

from domokit.sandbox import Sandbox

from .helpers import as_user, bearer, by_session, by_token, client

pytestmark = pytest.mark.anyio
TOKEN = "/oauth/token"
CLIENTS = "/api/identity/v1/developer-tokens"


def basic(client_id: str, client_secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()


async def test_get_and_post_with_query_or_form_answer_alike(sb: Sandbox):
    grant = {"grant_type": "client_credentials", "scope": "data user"}
    async with client(sb, platform=True, authorization=basic(sb.client_id, sb.client_secret)) as anonymous:
        answers = [
            await anonymous.get(TOKEN, params=grant),
            await anonymous.post(TOKEN, data=grant),
            await anonymous.post(TOKEN, params=grant),
        ]
    for answer in answers:
        assert answer.status_code == 200
        token = answer.json()
        assert (token["token_type"], token["expires_in"]) == ("bearer", 3599)
        assert (token["scope"], token["userId"]) == ("data user", sb.admin.id)
        payload = token["access_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert abs(claims["exp"] - (sb.clock.now().timestamp() + 3599)) < 5
    assert len({answer.json()["access_token"] for answer in answers}) == 3


async def test_percent_encoded_and_raw_basic(sb: Sandbox):
    own = next(iter(sb.state.api_clients.values()))
    own.client_secret = "s:p e/c+i%al"
    for given in (own.client_secret, quote(own.client_secret, safe="")):
        header = basic(own.client_id, given)
        async with client(sb, platform=True, authorization=header) as anonymous:
            answer = await anonymous.post(TOKEN, data={"grant_type": "client_credentials"})
        assert answer.status_code == 200, given


@pytest.mark.parametrize(
    ("header", "form", "status", "error"),
    [
        (None, {"grant_type": "client_credentials"}, 401, "invalid_client"),
        ("Basic !!!", {"grant_type": "client_credentials"}, 401, "invalid_client"),
        (basic("nobody", "x"), {"grant_type": "client_credentials"}, 401, "invalid_client"),
        ("wrong secret", {"grant_type": "client_credentials"}, 401, "invalid_client"),
        ("right", {"grant_type": "password"}, 400, "unsupported_grant_type"),
        ("right", {}, 400, "invalid_request"),
        ("right", {"grant_type": "client_credentials", "scope": "data moon"}, 400, "invalid_scope"),
    ],
)
async def test_refused_grants(sb: Sandbox, header: str | None, form: dict, status: int, error: str):
    if header in ("right", "wrong secret"):
        header = basic(sb.client_id, sb.client_secret if header == "right" else "wrong")
    async with client(sb, platform=True, **({"authorization": header} if header else {})) as anonymous:
        answer = await anonymous.post(TOKEN, data=form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_expiry_and_the_empty_401(sb: Sandbox):
    mine = await bearer(sb)
    assert (await mine.get("/v1/users")).status_code == 200
    sb.clock.advance(3600)
    answer = await mine.get("/v1/users")
    assert (answer.status_code, answer.content) == (401, b"")
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="invalid_token"')
    assert "Jwt expired at" in challenge
    sb.oauth_lifetime = 5
    mine = await bearer(sb)
    sb.clock.advance(6)
    assert (await mine.get("/v1/users")).status_code == 401


async def test_other_credentials_are_refused_on_the_platform(sb: Sandbox):
    session = await by_session(sb)
    for headers in ({}, {"x_domo_developer_token": sb.access_token}, dict(session.headers)):
        kept = {k.replace("-", "_"): v for k, v in headers.items() if k.lower().startswith("x")}
        answer = await client(sb, platform=True, **kept).get("/v1/users")
        assert (answer.status_code, answer.content) == (401, b"")
        assert "www-authenticate" in answer.headers
    for bad in ("Bearer nonsense", "Bearer", basic(sb.client_id, sb.client_secret)):
        assert (await client(sb, platform=True, authorization=bad).get("/v1/users")).status_code == 401


async def test_bearer_in_either_case(sb: Sandbox):
    token = (await bearer(sb)).headers["authorization"].partition(" ")[2]
    for kind in ("bearer", "Bearer"):
        assert (await client(sb, platform=True, authorization=f"{kind} {token}").get("/v1/users")).status_code == 200


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ("user", "/v1/users"),
        ("user", "/v1/groups"),
        ("account", "/v1/accounts"),
        ("account", "/v1/account-types"),
        ("data", "/v1/datasets"),
    ],
)
async def test_scopes_are_enforced(sb: Sandbox, scope: str, path: str):
    assert (await (await bearer(sb, scope)).get(path)).status_code == 200
    for other in {"user", "account", "data"} - {scope}:
        refused = await (await bearer(sb, other)).get(path)
        assert refused.status_code == 403
        assert refused.json().keys() == {"status", "statusReason", "message", "toe"}


async def test_a_client_is_created_once_with_a_developer_token(sb: Sandbox):
    body = {"name": "automation", "description": "jobs", "scopes": ["data", "audit"]}
    assert (await (await by_session(sb)).post(CLIENTS, json=body)).status_code == 403
    answer = await by_token(sb).post(CLIENTS, json=body)
    assert answer.status_code == 201
    made = answer.json()
    secret = made.pop("clientSecret")
    assert made == {
        "id": made["id"],
        "name": "automation",
        "description": "jobs",
        "clientId": made["clientId"],
        "userId": sb.admin.id,
        "scopes": ["data", "audit"],
    }
    listed = await by_token(sb).get(CLIENTS)
    assert made in listed.json()
    assert secret not in listed.text
    mine = await bearer(sb, client_id=made["clientId"], client_secret=secret)
    assert (await mine.get("/v1/datasets")).status_code == 200
    assert (await mine.get("/v1/users")).status_code == 403
    for wrong in (body, body | {"name": "b", "userId": 1}, {"name": "c", "scopes": ["moon"]}, {"name": "d"}):
        assert (await by_token(sb).post(CLIENTS, json=wrong)).status_code == 400
    gone = await by_token(sb).delete(f"{CLIENTS}/{made['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await mine.get("/v1/datasets")).status_code == 401
    assert (await by_token(sb).delete(f"{CLIENTS}/{made['id']}")).status_code == 400


async def test_the_older_list_of_clients_is_wrapped(sb: Sandbox):
    bare = (await by_token(sb).get(CLIENTS)).json()
    sb.legacy_api_clients = True
    wrapped = (await by_token(sb).get(CLIENTS)).json()
    extra = {"authorizedGrantTypes": ["client_credentials"]}
    assert wrapped == {"entries": [row | extra for row in bare]}


async def test_api_clients_are_for_administrators(sb: Sandbox):
    plain = as_user(sb, sb.add_user("Pat Plain", "pat@example.com"))
    assert (await plain.get(CLIENTS)).status_code == 403
    assert (await plain.post(CLIENTS, json={"name": "x", "scopes": ["data"]})).status_code == 403
    assert (await plain.delete(f"{CLIENTS}/4711")).status_code == 403
    bearer_header = (await bearer(sb)).headers["authorization"]
    assert (await client(sb, authorization=bearer_header).get(CLIENTS)).status_code == 401


async def test_a_client_on_the_platform_host_needs_session_and_domain(sb: Sandbox):
    session = (await by_session(sb)).headers["x-domo-authentication"]
    body = {"name": f"n-{secrets.token_hex(3)}", "scope": ["data"]}

    async def post(**headers: str) -> int:
        async with client(sb, platform=True, **headers) as platform:
            return (await platform.post("/clients", json=body)).status_code

    domain = "acme.domo.com"
    assert await post(x_domo_customerdomain=domain) == 401
    assert await post(x_domo_developer_token=sb.access_token, x_domo_customerdomain=domain) == 403
    assert await post(x_domo_authentication=session) == 400
    assert await post(x_domo_authentication=session, x_domo_customerdomain=domain) == 201
    assert await post(x_domo_authentication=session, x_domo_customerdomain=domain) == 400  # the name is taken
