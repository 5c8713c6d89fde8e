"""Developer access tokens."""

from datetime import datetime, timedelta
from typing import ClassVar, Self

import attrs
from anyio import CancelScope, get_cancelled_exc_class

from domokit._runtime import to_epoch_ms
from domokit.auth import AccessTokenAuth, Auth, Secret
from domokit.entities.base import DomoEntity, api, as_id, as_int, as_secret, as_text, as_time, class_for, entity
from domokit.entities.listing import Listing, Pager
from domokit.errors import DomoDecodeError, DomoError, InvalidInputError, NotFoundError
from domokit.routes.product import access_tokens as routes

_LONGEST = timedelta(days=20 * 365)


@entity
class DomoAccessToken(DomoEntity):
    """A developer access token: who may act as whom, until when.

    token:        its value, in what `generate` and `regenerate` return and nowhere else; None in listings.
    superseded:   the tokens that `upsert` or `regenerate` replaced by this one, and revoked.

    owner_name and owner_email come with the answer to `generate` only; Domo's list leaves them empty.
    """

    kind: ClassVar[str] = "ACCESS_TOKEN"
    _page: ClassVar[str] = "/admin/security/accesstokens"

    id: int = api("id", convert=as_id)
    name: str | None = api("name", convert=as_text)
    owner_id: int | None = api("ownerId", convert=as_int)
    owner_name: str | None = api("ownerName", convert=as_text, once=True)
    owner_email: str | None = api("ownerEmail", convert=as_text, once=True)
    expires_at: datetime | None = api("expires", convert=as_time)
    token: Secret | None = api("token", convert=as_secret, once=True)
    superseded: tuple["DomoAccessToken", ...] = attrs.field(default=(), repr=False)

    @property
    def is_expired(self) -> bool:
        """Whether it has expired; expired tokens stay in Domo's list."""
        return self.remaining <= timedelta(0)

    @property
    def remaining(self) -> timedelta:
        """The life it has left; negative once expired, the longest possible if it has no end."""
        if self.expires_at is None:
            return timedelta.max
        return self.expires_at - self.auth.options.clock()

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All tokens the caller may see: an administrator everyone's, others their own; expired ones too.

        Source: GET /api/data/v1/accesstokens
        """
        return Pager.of_list(lambda: routes.get_all_access_tokens(auth), lambda obj: cls.from_json(auth, obj))

    @classmethod
    async def get_by_id(cls, auth: Auth, access_token_id: int | str, /) -> Self:
        """The token with this id, out of the list: Domo has no call for one.

        Raises: NotFoundError.
        """
        wanted = as_id(access_token_id)
        if (token := await cls.get_all(auth).where(lambda token: token.id == wanted).first()) is None:
            raise NotFoundError(
                f"there is no access token {access_token_id}", asked=str(routes.LIST_TOKENS), status=200
            )
        return token

    @classmethod
    def search(
        cls, auth: Auth, *, owner_id: int | str | None = None, name: str | None = None, expired: bool | None = False
    ) -> Pager[Self]:
        """Tokens by owner and by exact name. Names are not unique: expect several.

        expired:  False leaves expired ones out, True gives only those, None both.
        """
        owner = None if owner_id is None else as_id(owner_id)

        def matches(token: Self) -> bool:
            return (
                (owner is None or token.owner_id == owner)
                and (name is None or token.name == name)
                and (expired is None or token.is_expired is expired)
            )

        return cls.get_all(auth).where(matches)

    @classmethod
    def expiring_soon(cls, auth: Auth, within: timedelta | float) -> Pager[Self]:
        """Living tokens that expire within this time, a timedelta or a number of days."""
        horizon = as_duration(within)
        return cls.get_all(auth).where(lambda token: timedelta(0) < token.remaining <= horizon)

    @classmethod
    async def owned_by_leavers(cls, auth: Auth) -> Listing[Self]:
        """Living tokens whose owner is deleted or inactive: somebody left, and a key of theirs still fits."""
        tokens = await cls.search(auth)
        owners = {token.owner_id for token in tokens if token.owner_id is not None}
        here: set[int] = set()
        async for user in class_for(auth, "USER").get_all(auth):
            if user.is_active is not False:
                here.add(user.id)
        return Listing(token for token in tokens if token.owner_id in owners - here)

    @classmethod
    async def generate(
        cls, auth: Auth, *, owner_id: int | str, name: str, duration: timedelta | float = timedelta(days=30)
    ) -> Self:
        """Create a token. Its `.token` is the only copy there will ever be: store it before anything else.

        duration:  how long it lives, a timedelta or a number of days; whole seconds, rounded up.
        Source: POST /api/data/v1/accesstokens. Not repeated after a lost answer (a second token would appear):
        OutcomeUnknown then, and `search` shows whether there is one whose value nobody knows.
        Raises: InvalidInputError, BadRequestError (no such owner), PermissionDeniedError, OutcomeUnknown.
        """
        owner = as_id(owner_id)
        if not isinstance(owner, int):
            raise InvalidInputError(f"owner_id {owner_id!r} is not the id of a user")
        if not name or not name.strip():
            raise InvalidInputError("an access token needs a name")
        expires = auth.options.clock() + as_duration(duration)
        if expires.microsecond:  # Domo keeps whole seconds
            expires = expires.replace(microsecond=0) + timedelta(seconds=1)
        made = await routes.generate_access_token(auth, owner_id=owner, name=name, expires=to_epoch_ms(expires))
        token = cls.from_json(auth, made)
        if token.token is None or token.id is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise DomoDecodeError(
                "the new token came without its value",
                asked=str(routes.GENERATE_TOKEN),
                status=200,
                hint="Revoke it (search by owner and name shows it) and generate another.",
            )
        return token

    async def revoke(self, *, missing_ok: bool = False, even_if_in_use: bool = False) -> None:
        """Revoke the token; it stops working at once.

        missing_ok:      that it is gone already is no error.
        even_if_in_use:  also if it is, or may be, the token that `auth` signs with.
        Source: DELETE /api/data/v1/accesstokens/{access_token_id}
        Raises: InvalidInputError, if it may be the one in use; NotFoundError.
        """
        if not even_if_in_use:
            await self._refuse_if_in_use()
        try:
            await routes.revoke_access_token(self.auth, self.id)
        except NotFoundError:
            if not missing_ok:
                raise

    async def regenerate(
        self, duration: timedelta | float = timedelta(days=30), *, even_if_in_use: bool = False
    ) -> Self:
        """Replace it by a new one of the same owner and name: made first, then the old one is revoked.

        Returns the new one; its id is another. If the revocation fails, the new token is the error's `attached`.
        `rotate_access_token` is the way that survives crashes, too.
        """
        if self.owner_id is None or self.name is None:
            raise InvalidInputError("a token without owner and name cannot be made anew")
        if not even_if_in_use:
            await self._refuse_if_in_use()
        new = await type(self).generate(self.auth, owner_id=self.owner_id, name=self.name, duration=duration)
        return await new.replace([self], even_if_in_use=even_if_in_use)

    @classmethod
    async def upsert(
        cls,
        auth: Auth,
        *,
        owner_id: int | str,
        name: str,
        duration: timedelta | float = timedelta(days=30),
        even_if_in_use: bool = False,
    ) -> Self:
        """A new token of this owner and name; living ones of the same owner and name are revoked afterwards.

        It is always a new one, because the value of an existing one cannot be had. See `.superseded` for what it
        replaced.
        """
        before = await cls.search(auth, owner_id=owner_id, name=name)
        for token in before if not even_if_in_use else ():
            await token._refuse_if_in_use()
        new = await cls.generate(auth, owner_id=owner_id, name=name, duration=duration)
        return await new.replace(before, even_if_in_use=even_if_in_use)

    async def replace(self, others: "list[Self]", *, even_if_in_use: bool = False) -> Self:
        """Revoke the tokens that this new one replaces.

        Raises: what the revocation raises, with this token, whose value nobody else has, as `error.attached`.
        A caller who is cancelled never gets it, so it is revoked again.
        even_if_in_use:  also the one that `auth` signs with, which then goes on with this one.
        """
        auth = self.auth
        if (
            even_if_in_use
            and isinstance(auth, AccessTokenAuth)
            and self.token is not None
            and self.owner_id == (await auth.who_am_i()).id
        ):
            auth.replace_token(self.token)
        try:
            for other in others:
                await other.revoke(missing_ok=True, even_if_in_use=even_if_in_use)
        except DomoError as error:
            error.attached = self
            raise
        except get_cancelled_exc_class():
            with CancelScope(shield=True):
                await self.revoke(missing_ok=True, even_if_in_use=True)
            raise
        self.superseded = tuple(others)
        return self

    def auth_with(self) -> AccessTokenAuth:
        """An auth object that signs with this token. Raises: InvalidInputError, if its value is not at hand."""
        if self.token is None or self.auth.instance is None:
            raise InvalidInputError("the value of a token is known only right after it was generated")
        return AccessTokenAuth(self.auth.instance, self.token, options=self.auth.options)

    async def _refuse_if_in_use(self) -> None:
        auth = self.auth
        if not isinstance(auth, AccessTokenAuth):
            return
        if self.token is not None:
            in_use, how = auth.signs_with(self.token), "is"
        else:
            in_use, how = self.owner_id == (await auth.who_am_i()).id, "may be"
        if in_use:
            raise InvalidInputError(
                f"access token {self.id} {how} the one this call would be signed with",
                hint="Use another auth, or pass even_if_in_use=True.",
            )


def as_duration(value: timedelta | float) -> timedelta:
    """A timedelta, or a number of days, as a timedelta. Raises: InvalidInputError, if it is not positive, or absurd."""
    if isinstance(value, bool) or not isinstance(value, (timedelta, int, float)):  # pyright: ignore
        raise InvalidInputError("a duration is a timedelta or a number of days")
    try:
        duration = value if isinstance(value, timedelta) else timedelta(days=value)
    except (OverflowError, ValueError):
        raise InvalidInputError(f"a duration of {value} days makes no sense") from None
    if not timedelta(0) < duration <= _LONGEST:
        raise InvalidInputError(
            f"a duration must be more than nothing and at most {_LONGEST.days} days, not {duration}"
        )
    return duration
