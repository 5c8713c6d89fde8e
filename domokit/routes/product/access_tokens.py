"""Developer access tokens. There is no call for one token, no update and no regenerate."""

from domokit.auth import Auth
from domokit.errors import BadRequestError, NotFoundError
from domokit.transport import Json, product, send

LIST_TOKENS = product("GET", "/api/data/v1/accesstokens", returns=list)
GENERATE_TOKEN = product("POST", "/api/data/v1/accesstokens", errors={400: BadRequestError})
REVOKE_TOKEN = product(
    "DELETE", "/api/data/v1/accesstokens/{access_token_id}", returns=None, errors={404: NotFoundError}
)


async def get_all_access_tokens(auth: Auth) -> list[Json]:
    """Tokens the caller may see (an administrator: everyone's), without their values; expired ones too.

    Source: GET /api/data/v1/accesstokens
    """
    return await send(auth, LIST_TOKENS)


async def generate_access_token(auth: Auth, *, owner_id: int, name: str, expires: int) -> Json:
    """Create a token. `token` of the answer is its value, as a Secret; it is never shown again.

    expires:  epoch milliseconds.
    Source: POST /api/data/v1/accesstokens, never repeated by itself: a second one would appear.
    Raises: BadRequestError, if there is no such user.
    """
    return await send(auth, GENERATE_TOKEN, json={"name": name, "ownerId": owner_id, "expires": expires})


async def revoke_access_token(auth: Auth, access_token_id: int) -> None:
    """Revoke a token, at once. Source: DELETE /api/data/v1/accesstokens/{access_token_id}

    Raises: NotFoundError, if there is none (any more).
    """
    await send(auth, REVOKE_TOKEN, access_token_id=access_token_id)
