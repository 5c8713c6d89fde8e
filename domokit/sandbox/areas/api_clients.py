"""OAuth clients. Despite the path, `developer-tokens` are these and not access tokens."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from ..model import ApiClient
from ..replies import empty, reply
from ..state import ALL_SCOPES
from ..wire import Area, Call, Refusal, list_at

area = Area("product")
platform_area = Area("platform")
PATH = "/api/identity/v1/developer-tokens"
MANAGE = "developer.token.manage"


def _shape(client: ApiClient) -> dict[str, Any]:
    return {
        "id": client.id,
        "name": client.name,
        "description": client.description,
        "clientId": client.client_id,
        "userId": client.user_id,
        "scopes": client.scopes,
    }


@area.on("GET", PATH)
async def list_clients(call: Call) -> Any:
    """A bare list; wrapped in `entries`, as before June 2025, when the sandbox is told so."""
    call.require(MANAGE)
    rows = [_shape(client) for client in list(call.state.api_clients.values())]
    if call.company.legacy_api_clients:
        return {"entries": [row | {"authorizedGrantTypes": ["client_credentials"]} for row in rows]}
    return rows


def _create(call: Call, body: dict[str, Any], scopes: list[Any]) -> ApiClient:
    call.require(MANAGE)
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "name is required")
    if any(client.name == name for client in list(call.state.api_clients.values())):
        raise Refusal(400, "A client of this name exists")
    if not scopes or any(scope not in ALL_SCOPES for scope in scopes):
        raise Refusal(400, f"Scopes must be some of {', '.join(ALL_SCOPES)}")
    client = ApiClient(
        id=call.state.next_id("api_clients"),
        name=name,
        description=str(body.get("description") or ""),
        client_id=str(uuid.uuid4()),
        client_secret=secrets.token_hex(32),
        user_id=call.user.id,
        scopes=list(dict.fromkeys(scopes)),
    )
    call.state.api_clients[client.id] = client
    return client


@area.on("POST", PATH, accepts=frozenset({"developer_token"}))
async def create(call: Call) -> Any:
    """201, with the secret, this once."""
    body = call.json_object()
    if "userId" in body:
        raise Refusal(400, "userId must not be given")
    client = _create(call, body, list_at(body, "scopes"))
    return reply(_shape(client) | {"clientSecret": client.client_secret}, 201)


@area.on("DELETE", PATH + "/{client_id}")
async def revoke(call: Call) -> Any:
    """By the numeric id. Its bearers stop working at once."""
    call.require(MANAGE)
    client = call.state.api_clients.pop(call.number("client_id"), None)
    if client is None:
        raise Refusal(400, "No such client")
    state = call.state
    for bearer in [row for row in state.bearers.values() if row.client_id == client.client_id]:
        state.forget(state.bearers.pop(bearer.id).token)
    return empty(204)


@platform_area.on("POST", "/clients", accepts=frozenset({"session"}))
async def create_on_platform(call: Call) -> Any:
    """On the platform's host, yet signed by a product session; which instance is told by a header."""
    domain = call.headers.get("x-domo-customerdomain", "").lower()
    if domain != f"{call.state.instance}.domo.com".lower():
        raise Refusal(400, "The header X-DOMO-CustomerDomain must name the instance")
    body = call.json_object()
    client = _create(call, body, list_at(body, "scope"))
    answer = {
        "scope": client.scopes,
        "name": client.name,
        "description": client.description,
        "user": client.user_id,
        "role": "Anonymous",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "authorized_grant_types": ["client_credentials"],
    }
    return reply(answer, 201)
