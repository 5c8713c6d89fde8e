"""Groups of people, read-only."""

from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from domokit.auth import Auth
from domokit.entities.base import (
    BothFamilies,
    DomoEntity,
    api,
    as_bool,
    as_id,
    as_int,
    as_text,
    as_time,
    class_for,
    entity,
)
from domokit.entities.listing import Listing, Pager
from domokit.routes.platform import groups as platform
from domokit.routes.product import groups as product
from domokit.transport import Json, pages

if TYPE_CHECKING:
    from domokit.entities.users import DomoUser

_groups = BothFamilies(product, platform)


@entity
class DomoGroup(DomoEntity):
    """A group. Works with both API families. is_active is False for a deleted one, which can still be fetched."""

    kind: ClassVar[str] = "GROUP"
    _page: ClassVar[str] = "/admin/groups/{id}"

    id: int = api("id", "groupId", convert=as_id)
    name: str | None = api("name", convert=as_text)
    group_type: str | None = api("groupType", "type", convert=as_text)
    description: str | None = api("description", convert=as_text)
    member_count: int | None = api("memberCount", convert=as_int)
    is_active: bool | None = api("active", convert=as_bool)
    created_at: datetime | None = api("created", convert=as_time)

    @classmethod
    async def get_by_id(cls, auth: Auth, group_id: int | str, /) -> Self:
        """The group with this id. Source: GET /api/content/v2/groups/{group_id}, GET /v1/groups/{group_id}"""
        return cls.from_json(auth, await _groups(auth).get_group_by_id(auth, group_id))

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All groups. Source: GET /api/content/v2/groups/grouplist, GET /v1/groups"""
        listed = _groups(auth).list_groups
        return Pager(lambda offset, limit: listed(auth, offset, limit), lambda obj: cls.from_json(auth, obj), size=100)

    @classmethod
    def search(cls, auth: Auth, *, name: str) -> Pager[Self]:
        """Groups of exactly this name (Domo's own search is a 'contains')."""
        if auth.family == "platform":
            return cls.get_all(auth).where(lambda group: group.name == name)

        async def fetch(offset: int, limit: int) -> list[Json]:
            return await product.list_groups(auth, offset, limit, search=name)

        return Pager(fetch, lambda obj: cls.from_json(auth, obj), size=100).where(lambda group: group.name == name)

    async def get_member_ids(self) -> list[int]:
        """Ids of the members. Source: GET /api/content/v2/groups/users, GET /v1/groups/{group_id}/users"""
        listed = _groups(self.auth).list_group_members
        found: list[int] = []
        async with aclosing(pages(lambda offset, limit: listed(self.auth, self.id, offset, limit), size=500)) as walk:
            async for batch in walk:
                found += [as_id(one.get("userId") if isinstance(one, Mapping) else one) for one in batch]  # pyright: ignore
        return found

    async def get_members(self) -> "Listing[DomoUser]":
        """The members, as users."""
        return await class_for(self.auth, "USER").get_many(self.auth, await self.get_member_ids())
