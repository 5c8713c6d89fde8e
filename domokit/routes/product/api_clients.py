"""OAuth API clients. In spite of the path this is not about developer access tokens."""

from collections.abc import Sequence
from functools import partial

from domokit.auth import Auth
from domokit.errors import NotFoundError, PermissionDeniedError
from domokit.transport import Json, members, product, send

LIST_CLIENTS = product("GET", "/api/identity/v1/developer-tokens", returns=list | dict)
CREATE_CLIENT = product(
    "POST",
    "/api/identity/v1/developer-tokens",
    errors={403: partial(PermissionDeniedError, hint="Domo takes AccessTokenAuth only for this, of an administrator.")},
)
REVOKE_CLIENT = product(
    "DELETE", "/api/identity/v1/developer-tokens/{api_client_id}", returns=None, errors={400: NotFoundError}
)


async def get_api_clients(auth: Auth) -> list[Json]:
    """All API clients, without their secrets. Source: GET /api/identity/v1/developer-tokens

    Until June 2025 the list came wrapped in `entries`.
    """
    answer = await send(auth, LIST_CLIENTS)
    return answer if isinstance(answer, list) else members(answer, "entries")


async def create_api_client(auth: Auth, *, name: str, description: str, scopes: Sequence[str]) -> Json:
    """Create an API client; `clientSecret` of the answer is shown once. Takes AccessTokenAuth only.

    Source: POST /api/identity/v1/developer-tokens
    Raises: BadRequestError, if the name is taken.
    """
    body = {"name": name, "description": description, "scopes": list(scopes)}
    return await send(auth, CREATE_CLIENT, json=body)


async def revoke_api_client(auth: Auth, api_client_id: int | str) -> None:
    """Revoke by the numeric id, not the OAuth client id.

    Source: DELETE /api/identity/v1/developer-tokens/{api_client_id}

    Raises: NotFoundError, which Domo says as 400.
    """
    await send(auth, REVOKE_CLIENT, api_client_id=api_client_id)
