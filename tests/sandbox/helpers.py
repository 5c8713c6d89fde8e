"""Raw httpx clients for the sandbox; nothing of domokit's own client takes part."""

from __future__ import annotations

from typing import Any

import httpx

from domokit.sandbox import Sandbox


def client(sb: Sandbox, *, platform: bool = False, **headers: str) -> httpx.AsyncClient:
    """In process when the sandbox is not served, else over its socket."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    if sb.served_at:
        return httpx.AsyncClient(base_url=sb.base_url, headers=named, trust_env=False, verify=False, timeout=60)
    base = "https://api.domo.com" if platform else sb.base_url
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=sb.app), base_url=base, headers=named)


def by_token(sb: Sandbox, token: str | None = None) -> httpx.AsyncClient:
    """The administrator, or whoever owns `token`."""
    return client(sb, x_domo_developer_token=token or sb.access_token)


def as_user(sb: Sandbox, user: Any) -> httpx.AsyncClient:
    return by_token(sb, sb.add_access_token(user.id, "test").token)


async def sign_in(sb: Sandbox, email: str, password: str) -> dict[str, Any]:
    body = {"method": "password", "emailAddress": email, "password": password}
    async with client(sb) as anonymous:
        return (await anonymous.post("/api/content/v2/authentication", json=body)).json()


async def by_session(sb: Sandbox) -> httpx.AsyncClient:
    answer = await sign_in(sb, sb.username, sb.password)
    return client(sb, x_domo_authentication=answer["sessionToken"])


async def bearer(sb: Sandbox, scope: str | None = None, **credentials: str) -> httpx.AsyncClient:
    given = (credentials.get("client_id", sb.client_id), credentials.get("client_secret", sb.client_secret))
    data = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    async with client(sb, platform=True) as anonymous:
        answer = await anonymous.post("/oauth/token", data=data, auth=given)
    assert answer.status_code == 200, answer.text
    return client(sb, platform=True, authorization=f"bearer {answer.json()['access_token']}")
