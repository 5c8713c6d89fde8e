"""OAuth API clients: what `OAuthClientAuth` signs in with."""

from collections.abc import Iterable
from typing import ClassVar, Self

from domokit.auth import SCOPES, Auth, Secret
from domokit.entities.base import DomoEntity, api, as_id, as_int, as_secret, as_text, entity, many
from domokit.entities.listing import Pager
from domokit.errors import InvalidInputError, NotFoundError
from domokit.routes.product import api_clients as routes


@entity
class DomoApiClient(DomoEntity):
    """An API client. client_secret is there in what `create` returns and nowhere else."""

    kind: ClassVar[str] = "API_CLIENT"
    _page: ClassVar[str] = "/admin/security/apiclients"

    id: int = api("id", convert=as_id)
    name: str | None = api("name", convert=as_text)
    description: str | None = api("description", convert=as_text)
    client_id: str | None = api("clientId", convert=as_text)
    owner_id: int | None = api("userId", convert=as_int)
    scopes: list[str] = api("scopes", convert=lambda value: list(value) if isinstance(value, list) else [], default=())
    client_secret: Secret | None = api("clientSecret", convert=as_secret, once=True)

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All API clients. Source: GET /api/identity/v1/developer-tokens"""
        return Pager.of_list(lambda: routes.get_api_clients(auth), lambda obj: cls.from_json(auth, obj))

    @classmethod
    async def get_by_id(cls, auth: Auth, api_client_id: int | str, /) -> Self:
        """The one with this numeric id, out of the list. Raises: NotFoundError."""
        wanted = as_id(api_client_id)
        if (client := await cls.get_all(auth).where(lambda client: client.id == wanted).first()) is None:
            raise NotFoundError(f"there is no API client {api_client_id}", asked=str(routes.LIST_CLIENTS), status=200)
        return client

    @classmethod
    async def create(cls, auth: Auth, *, name: str, scopes: Iterable[str], description: str = "") -> Self:
        """Create one; its `.client_secret` is shown this once. Domo takes AccessTokenAuth only for this.

        Source: POST /api/identity/v1/developer-tokens
        """
        wanted = many(scopes, "scopes")
        if not wanted or not set(wanted) <= set(SCOPES):
            raise InvalidInputError(f"scopes must be some of {', '.join(SCOPES)}, not {wanted}")
        made = await routes.create_api_client(auth, name=name, description=description, scopes=wanted)
        return cls.from_json(auth, made)

    async def revoke(self) -> None:
        """Revoke it; its tokens stop working. Source: DELETE /api/identity/v1/developer-tokens/{id}"""
        await routes.revoke_api_client(self.auth, self.id)
