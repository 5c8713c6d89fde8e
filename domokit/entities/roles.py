"""Roles, read-only."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from domokit.auth import Auth
from domokit.entities.base import DomoEntity, api, as_id, as_int, as_text, as_time, class_for, entity
from domokit.entities.listing import Listing, Pager
from domokit.routes.product import roles as routes

if TYPE_CHECKING:
    from domokit.entities.users import DomoUser


@entity
class DomoRole(DomoEntity):
    """What its members may do. 1 Admin, 2 Privileged, 3 Editor, 4 Participant, 5 Social; others are custom."""

    kind: ClassVar[str] = "ROLE"
    _page: ClassVar[str] = "/admin/roles/{id}"

    id: int = api("id", convert=as_id)
    name: str | None = api("name", convert=as_text)
    description: str | None = api("description", convert=as_text)
    grant_count: int | None = api("authorityCount", convert=as_int)
    user_count: int | None = api("userCount", convert=as_int)
    created_at: datetime | None = api("created", convert=as_time)
    modified_at: datetime | None = api("modified", convert=as_time)

    @classmethod
    async def get_by_id(cls, auth: Auth, role_id: int | str, /) -> Self:
        """The role with this id. Source: GET /api/authorization/v1/roles/{role_id}"""
        return cls.from_json(auth, await routes.get_role_by_id(auth, role_id))

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All roles. Source: GET /api/authorization/v1/roles"""
        return Pager.of_list(lambda: routes.get_roles(auth), lambda obj: cls.from_json(auth, obj))

    async def get_grants(self) -> list[str]:
        """Names of its grants. Source: GET /api/authorization/v1/roles/{role_id}/authorities"""
        return await routes.get_role_grants(self.auth, self.id)

    async def get_members(self) -> "Listing[DomoUser]":
        """Its users, with the few fields that this endpoint tells.

        Source: GET /api/authorization/v1/roles/{role_id}/users
        """
        user = class_for(self.auth, "USER")
        return Listing(user.from_json(self.auth, obj) for obj in await routes.get_role_members(self.auth, self.id))
