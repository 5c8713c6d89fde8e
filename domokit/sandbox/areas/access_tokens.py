"""Developer access tokens. The secret is seen once, in the answer that creates it."""

from __future__ import annotations

from typing import Any

from ..model import AccessToken
from ..wire import Area, Call, Refusal

area = Area("product")
PATH = "/api/data/v1/accesstokens"
MANAGE = "developer.token.manage"


def _row(token: AccessToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "ownerId": token.owner_id,
        "ownerName": None,
        "ownerEmail": None,
        "expires": token.expires // 1000 * 1000,
    }


@area.on("GET", PATH)
async def list_tokens(call: Call) -> Any:
    """Everyone's for an administrator, else one's own; expired ones too, owners' names never."""
    everyone = MANAGE in call.state.grants_of(call.user)
    tokens = list(call.state.access_tokens.values())
    return [_row(token) for token in tokens if everyone or token.owner_id == call.user.id]


@area.on("POST", PATH)
async def create(call: Call) -> Any:
    """Status 200. Names need not be unique; `expires` is echoed as sent."""
    body = call.json_object()
    name, owner_id, expires = body.get("name"), body.get("ownerId"), body.get("expires")
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "name is required")
    if isinstance(expires, bool) or not isinstance(expires, int):
        raise Refusal(400, "expires is required, in epoch milliseconds")
    try:
        owner = call.state.users.get(int(str(owner_id)))
    except ValueError:
        owner = None
    if owner is None or owner.deleted:
        raise Refusal(400, "ownerId is not an existing user")
    if owner.id != call.user.id:
        call.require(MANAGE)
    token = call.state.add_access_token(owner.id, name, expires)
    answer = _row(token) | {"expires": expires, "token": token.token}
    return answer | {"ownerName": owner.display_name, "ownerEmail": owner.email}


@area.on("DELETE", PATH + "/{access_token_id}")
async def revoke(call: Call) -> Any:
    """200 and nothing; works on the token that signs this very request too."""
    token = call.state.access_tokens.get(call.number("access_token_id"))
    if token is None:
        raise Refusal(404, "No such access token")
    if token.owner_id != call.user.id:
        call.require(MANAGE)
    del call.state.access_tokens[token.id]
    call.state.forget(token.token)
