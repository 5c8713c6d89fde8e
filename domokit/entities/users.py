"""People."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from domokit.auth import Auth, Password, Secret
from domokit.entities.base import (
    NOT_GIVEN,
    BothFamilies,
    DomoEntity,
    NotGiven,
    api,
    as_bool,
    as_id,
    as_int,
    as_text,
    as_time,
    entity,
    given,
)
from domokit.entities.listing import Pager
from domokit.errors import (
    BadRequestError,
    ConflictError,
    DomoDecodeError,
    DomoError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknown,
)
from domokit.routes.platform import users as platform
from domokit.routes.product import users as product
from domokit.transport import Json, require_family

if TYPE_CHECKING:
    from domokit.entities.access_tokens import DomoAccessToken
    from domokit.entities.roles import DomoRole

_users = BothFamilies(product, platform)
_PAGE_SIZE = 500

# What update() and create() take, and what each family calls it.
_PRODUCT_KEYS: Mapping[str, str] = {
    "name": "displayName",
    "email": "emailAddress",
    "role_id": "roleId",
    "title": "title",
    "department": "department",
    "phone": "phoneNumber",
    "location": "employeeLocation",
    "employee_id": "employeeId",
    "employee_number": "employeeNumber",
    "manager_id": "reportsTo",
    "alternate_email": "alternateEmail",
    "locale": "locale",
    "time_zone": "timeZone",
}
_PLATFORM_KEYS: Mapping[str, str] = {
    "name": "name",
    "email": "email",
    "title": "title",
    "phone": "phone",
    "location": "location",
    "employee_number": "employeeNumber",
    "alternate_email": "alternateEmail",
    "locale": "locale",
    "time_zone": "timezone",
}


@entity
class DomoUser(DomoEntity):
    """A person who can sign in to an instance. Works with both API families.

    is_active is False for a deleted user; what the family or endpoint at hand does not tell is None.
    """

    kind: ClassVar[str] = "USER"
    _page: ClassVar[str] = "/admin/people/{id}"

    id: int = api("id", "userId", convert=as_id)
    name: str | None = api("displayName", "name", convert=as_text)
    email: str | None = api("emailAddress", "email", convert=as_text)
    role_id: int | None = api("roleId", convert=as_int)
    role: str | None = api("role", convert=as_text)
    title: str | None = api("title", "jobTitle", convert=as_text)
    department: str | None = api("department", convert=as_text)
    phone: str | None = api("phoneNumber", "phone", convert=as_text)
    location: str | None = api("employeeLocation", "location", convert=as_text)
    employee_id: str | None = api("employeeId", convert=as_text)
    employee_number: int | None = api("employeeNumber", convert=as_int)
    manager_id: int | None = api("reportsTo", convert=as_int)
    is_active: bool | None = api("isActive", "active", convert=as_bool)
    is_pending: bool | None = api("isPending", "pending", convert=as_bool)
    is_system: bool | None = api("isSystemUser", "systemUser", convert=as_bool)
    created_at: datetime | None = api("created", "createdAt", convert=as_time)
    modified_at: datetime | None = api("modified", "updatedAt", convert=as_time)
    last_activity_at: datetime | None = api("lastActivity", convert=as_time)

    @classmethod
    def flatten(cls, obj: Mapping[str, Json]) -> Mapping[str, Json]:
        """The identity shape keeps a list of attributes, content/v3 a `detail` object; others are flat."""
        if isinstance(attributes := obj.get("attributes"), list):
            flat: dict[Any, Any] = {}
            for one in attributes:
                if isinstance(one, dict) and isinstance(key := one.get("key"), str):
                    values = one.get("values")
                    if isinstance(values, list) and values:
                        flat[key] = values[0]
            flat.update(obj)
            return flat
        if isinstance(detail := obj.get("detail"), dict):
            return {**detail, **obj}
        if obj.get("deleted") is True:
            return {"isActive": False, **obj}
        return obj

    @classmethod
    async def get_by_id(cls, auth: Auth, user_id: int | str, /) -> Self:
        """The user with this id. Source: GET /api/identity/v1/users/{user_id}, GET /v1/users/{user_id}

        Raises: NotFoundError.
        """
        return cls.from_json(auth, await _users(auth).get_user_by_id(auth, user_id))

    @classmethod
    async def get_me(cls, auth: Auth) -> Self:
        """The user that `auth` acts for, with all fields."""
        return await cls.get_by_id(auth, (await auth.who_am_i()).id)

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All users the caller may see. Source: GET /api/identity/v1/users, GET /v1/users (pages of 500)"""
        listed = _users(auth).list_users
        return Pager(lambda offset, limit: listed(auth, offset, limit), cls._builder(auth), size=_PAGE_SIZE)

    @classmethod
    def search(
        cls,
        auth: Auth,
        text: str | None = None,
        *,
        name: str | None = None,
        email: str | None = None,
        role_id: int | None = None,
        include_deleted: bool = False,
    ) -> Pager[Self]:
        """Users whose fields contain the given texts, upper and lower case alike.

        text:             in the name or the address.
        include_deleted:  with those who left (product API only).
        Source: POST /api/identity/v1/users/search. The platform API has no search: there all users are fetched and
        looked through.
        """
        wanted: dict[str, str | None] = {"displayName": name, "emailAddress": email}
        role_name: str | None = None

        def matches(user: Self) -> bool:
            return (
                _contains(user.name, name)
                and _contains(user.email, email)
                and (text is None or _contains(user.name, text) or _contains(user.email, text))
                and (role_id is None or user.role_id == role_id or user.role == role_name)
            )

        if auth.family == "platform":  # its listings have the name of the role only, and 'Custom' is no name
            role_name = None if role_id is None else platform.ROLE_NAMES.get(role_id)
            if role_id is not None and role_name is None:
                require_family(auth, "product", asked="search by a custom role")
            return cls.get_all(auth).where(matches)
        filters: list[dict[str, Any]] = [
            {"filterType": "text", "field": field, "text": part} for field, part in wanted.items() if part
        ]
        if text:
            filters.append({"filterType": "text", "text": text})

        async def fetch(offset: int, limit: int) -> list[Json]:
            return await product.search_users(
                auth,
                offset,
                limit,
                filters=filters,
                include_deleted=include_deleted,
                more_attributes=[key for _, key, *_ in cls._plan[len(DomoUser._plan) :]],  # a subclass's own
            )

        found = Pager(fetch, cls._builder(auth), size=200)
        return found if role_id is None else found.where(lambda user: user.role_id == role_id)

    @classmethod
    async def get_by_email(cls, auth: Auth, email: str) -> Self:
        """The user with exactly this address, upper and lower case alike.

        Raises: NotFoundError. The search behind it is a 'contains', so its hits are compared again here.
        """
        if not email or "@" not in email:
            raise InvalidInputError(f"{email!r} is not an e-mail address")
        hits = cls.search(auth, email=email)
        user = await hits.where(lambda user: (user.email or "").casefold() == email.casefold()).first()
        if user is None:
            raise NotFoundError(
                f"there is no user with the address {email}",
                asked="search of users",
                status=200,
                hint="Check the address; people who left are not found by theirs.",
            )
        return user

    @classmethod
    async def create(
        cls,
        auth: Auth,
        *,
        name: str,
        email: str,
        role_id: int,
        send_invite: bool = False,
        **details: Any,
    ) -> Self:
        """Create a user.

        details:  further fields, named as the attributes: title, department, phone, location, employee_id …
        Source: POST /api/content/v3/users, POST /v1/users
        Raises: ConflictError, if the address is taken.
        """
        if not name or "@" not in email:
            raise InvalidInputError("a user needs a name and an e-mail address")
        if auth.family == "platform":
            extra = _renamed(details, _PLATFORM_KEYS)
            made = await platform.create_user(
                auth, name=name, email=email, role_id=role_id, send_invite=send_invite, **extra
            )
            return await cls.get_by_id(auth, _id_in(made))
        changes = _for_product(details)
        # Domo says 400 for a taken address, without a reason; a look first can say it plainly.
        if await cls._find(auth, email) is not None:
            raise ConflictError(f"there is a user with the address {email} already", asked="create a user", status=400)
        made = await product.create_user(auth, name=name, email=email, role_id=role_id, send_invite=send_invite)
        user_id = _id_in(made)
        try:
            if changes:
                await product.update_user(auth, user_id, changes)
            return await cls.get_by_id(auth, user_id)
        except DomoError as error:
            error.attached = cls.from_json(auth, made)  # the user is there, though perhaps without the details
            raise

    async def update(
        self,
        *,
        name: str | NotGiven = NOT_GIVEN,
        email: str | NotGiven = NOT_GIVEN,
        role_id: int | NotGiven = NOT_GIVEN,
        title: str | None | NotGiven = NOT_GIVEN,
        department: str | None | NotGiven = NOT_GIVEN,
        phone: str | None | NotGiven = NOT_GIVEN,
        location: str | None | NotGiven = NOT_GIVEN,
        employee_id: str | None | NotGiven = NOT_GIVEN,
        employee_number: int | None | NotGiven = NOT_GIVEN,
        manager_id: int | None | NotGiven = NOT_GIVEN,
        alternate_email: str | None | NotGiven = NOT_GIVEN,
        locale: str | None | NotGiven = NOT_GIVEN,
        time_zone: str | None | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Change what is given; None clears. Returns itself, as Domo has it afterwards.

        Source: PATCH /api/identity/v1/users/{user_id}; PUT /v1/users/{user_id}, which wants all fields, so the user
        is read and merged first.
        """
        changes = given(
            name=name,
            email=email,
            role_id=role_id,
            title=title,
            department=department,
            phone=phone,
            location=location,
            employee_id=employee_id,
            employee_number=employee_number,
            manager_id=manager_id,
            alternate_email=alternate_email,
            locale=locale,
            time_zone=time_zone,
        )
        if not changes:
            return self
        if self.auth.family == "platform":
            await self._replace(changes)
        else:
            await product.update_user(self.auth, self.id, _for_product(changes))
        return await self.refresh()

    @classmethod
    async def upsert(
        cls, auth: Auth, *, name: str, email: str, role_id: int, send_invite: bool = False, **details: Any
    ) -> Self:
        """The user with this address, created or updated to match.

        send_invite:  whether to invite the person, if created.
        Raises: what create() and update() raise. After a lost answer to the creation it is looked for again.
        """
        _renamed(details, _PLATFORM_KEYS if auth.family == "platform" else _PRODUCT_KEYS)
        user = await cls._find(auth, email)
        if user is None:
            try:
                return await cls.create(
                    auth, name=name, email=email, role_id=role_id, send_invite=send_invite, **details
                )
            except (BadRequestError, OutcomeUnknown) as lost:  # someone else may have been quicker
                if (user := await cls._find(auth, email)) is None:
                    raise lost
        return await user.update(name=name, role_id=role_id, **details)

    async def delete(self) -> None:
        """Delete the user, who afterwards is found by search(include_deleted=True) only.

        Source: DELETE /api/identity/v1/users/{user_id}, DELETE /v1/users/{user_id}
        """
        await _users(self.auth).delete_user(self.auth, self.id)
        self.is_active = False

    async def set_direct_sign_on(self, allowed: bool) -> None:
        """Allow or forbid signing in with a password beside single sign-on: Domo's way to shut a person out or let
        them in without deleting them. Source: POST /api/content/v3/users/directSignOn
        """
        await product.set_direct_sign_on(self.auth, [self.id], allowed=allowed)

    async def set_password(self, password: str | Secret) -> None:
        """Set the password, as an administrator. Raises: BadRequestError with the policy's reason."""
        password = Password(password)  # from here on no traceback shows it
        await product.set_password(self.auth, self.id, password)

    async def get_role(self) -> "DomoRole":
        """The user's role."""
        require_family(self.auth, "product", asked="get_role")
        if self.role_id is None:
            await self.refresh()
        return await self.related("ROLE").get_by_id(self.auth, self.role_id)

    def get_access_tokens(self) -> "Pager[DomoAccessToken]":
        """The user's developer access tokens."""
        return self.related("ACCESS_TOKEN").search(self.auth, owner_id=self.id)

    @classmethod
    async def _find(cls, auth: Auth, email: str) -> Self | None:
        try:
            return await cls.get_by_email(auth, email)
        except NotFoundError:
            return None

    @classmethod
    def _builder(cls, auth: Auth) -> Any:
        return lambda obj: cls.from_json(auth, obj)

    async def _replace(self, changes: Mapping[str, Any]) -> None:
        rest = _renamed({name: value for name, value in changes.items() if name != "role_id"}, _PLATFORM_KEYS)
        now = await platform.get_user_by_id(self.auth, self.id)
        fields = {key: now[key] for key in _PLATFORM_KEYS.values() if now.get(key) is not None}
        role_id = changes.get("role_id", as_int(now.get("roleId")))
        fields |= platform.role(role_id) if role_id is not None else {"role": now.get("role")}
        await platform.update_user(self.auth, self.id, fields | rest)


def _renamed(values: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    if unknown := [name for name in values if name not in keys]:
        raise InvalidInputError(f"this API has no {', '.join(unknown)} of a user; it has {', '.join(keys)}")
    return {keys[name]: value for name, value in values.items()}


def _for_product(changes: Mapping[str, Any]) -> dict[str, Any]:
    wire = _renamed(changes, _PRODUCT_KEYS)
    if isinstance(wire.get("reportsTo"), int):
        wire["reportsTo"] = str(wire["reportsTo"])  # a text, alone among the ids
    return wire


def _id_in(made: Mapping[str, Any]) -> Any:
    user_id = made.get("id", made.get("userId"))  # some servers say userId
    if user_id is None:
        raise DomoDecodeError("the new user came without an id", asked="create a user", status=200)
    return user_id


def _contains(text: str | None, part: str | None) -> bool:
    return part is None or part.casefold() in (text or "").casefold()
