"""Accounts: credentials that Domo keeps for data providers."""

import logging
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import anyio

from domokit.auth import Auth
from domokit.entities.access import Access, grantees
from domokit.entities.account_config import AbstractCredentialStore, AccountConfig, DomoAccessTokenConfig, read_config
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
from domokit.errors import (
    ConflictError,
    DomoDecodeError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknown,
    PermissionDeniedError,
    ServerError,
    UnsupportedByAuth,
)
from domokit.routes.platform import accounts as platform
from domokit.routes.product import accounts as product
from domokit.transport import Json

if TYPE_CHECKING:
    from domokit.entities.datasets import DomoDataset

__all__ = ["AbstractCredentialStore", "AccountConfig", "DomoAccessTokenConfig", "DomoAccount"]

log: logging.Logger = logging.getLogger("domokit.entities")

AccessLevel = Literal["CAN_VIEW", "CAN_EDIT", "CAN_SHARE", "OWNER"]
_LEVELS = ("CAN_VIEW", "CAN_EDIT", "CAN_SHARE", "OWNER")
_PATIENCE = (0.1, 0.3, 0.6)  # seconds
_V1_LEVELS = {"READ": "CAN_VIEW", "WRITE": "CAN_EDIT"}  # what older instances say
_accounts = BothFamilies(product, platform)


@entity
class DomoAccount(DomoEntity):
    """A stored credential. Works with both API families.

    name:           the label people see (`displayName` of the product API): what rename changes and search compares.
    original_name:  the product API's `name`, set at creation for ever; often the provider's.
    provider_type:  the key of its data provider, such as 'abstract-credential-store'.
    is_valid:       Domo's flag; false right after creation.

    Its configuration is not part of it: see `get_config()`.
    """

    kind: ClassVar[str] = "ACCOUNT"
    _page: ClassVar[str] = "/datacenter/accounts"

    id: int = api("id", "accountId", "databaseId", convert=as_id)
    name: str | None = api("displayName", "name", "winnerText", convert=as_text)
    original_name: str | None = api("name", convert=as_text)
    provider_type: str | None = api("dataProviderType", convert=as_text)
    credentials_type: str | None = api("credentialsType", convert=as_text)
    is_valid: bool | None = api("valid", convert=as_bool)
    owner_id: int | None = api("userId", "ownedById", convert=as_int)
    allow_external_use: bool | None = api("allowExternalUse", convert=as_bool)
    created_at: datetime | None = api("createdAt", "createDate", convert=as_time)
    modified_at: datetime | None = api("modifiedAt", "lastModified", convert=as_time)

    @classmethod
    def flatten(cls, obj: Any) -> Any:
        """The platform API keeps the provider in `type`, as an object."""
        kind = obj.get("type")
        return {"dataProviderType": kind.get("id"), **obj} if isinstance(kind, dict) else obj  # pyright: ignore

    @classmethod
    async def get_by_id(cls, auth: Auth, account_id: int | str, /) -> Self:
        """The account with this id. Source: GET /api/data/v1/accounts/{account_id}, GET /v1/accounts/{account_id}

        Raises: NotFoundError; PermissionDeniedError, if it is not shared with the caller.
        """
        return cls.from_json(auth, await _accounts(auth).get_account_by_id(auth, account_id))

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All accounts the caller can read. Source: GET /api/data/v1/accounts, GET /v1/accounts (pages of 50)"""

        def build(obj: Json) -> Self:
            return cls.from_json(auth, obj)

        if auth.family == "platform":
            return Pager(lambda offset, limit: platform.list_accounts(auth, offset, limit), build, size=50)
        return Pager.of_list(lambda: product.get_accounts(auth), build)

    @classmethod
    def search(
        cls, auth: Auth, *, name: str | None = None, provider: str | None = None, contains: str | None = None
    ) -> Pager[Self]:
        """Accounts by exact label (`name`), by a part of it (`contains`), by provider. Several may have one label.

        It goes through the list, which is never behind; `search_index` asks Domo's search, which sees more.
        """

        def matches(account: Self) -> bool:
            return (
                (name is None or account.name == name)
                and (provider is None or account.provider_type == provider)
                and (contains is None or contains.casefold() in (account.name or "").casefold())
            )

        return cls.get_all(auth).where(matches)

    @classmethod
    def search_index(cls, auth: Auth, text: str | None = None, *, provider: str | None = None) -> Pager[Self]:
        """Accounts by Domo's search: also those not shared with the caller, where he may manage all accounts.

        text:  contained in the label. Hits lag behind writes, hold few fields, and end at 10,000.
        Source: POST /api/search/v1/query
        """
        query = f"*{text}*" if text else "**"

        async def fetch(offset: int, limit: int) -> list[Json]:
            return await product.search_accounts(auth, query=query, provider_type=provider, count=limit, offset=offset)

        return Pager(fetch, lambda obj: cls.from_json(auth, obj), size=100)

    @classmethod
    async def create(
        cls, auth: Auth, *, name: str, config: AccountConfig, allow_external_use: bool | None = None
    ) -> Self:
        """Create an account. A label that is taken gets ' (2)' from Domo: compare `.name` with what you asked for.

        allow_external_use:  True lets those with access read the secrets in clear (product API only).
        Source: POST /api/data/v1/accounts, POST /v1/accounts
        Raises: InvalidInputError, if a field is none of the provider's; nothing is sent then.
        """
        if not name or not name.strip():
            raise InvalidInputError("an account needs a name")
        fields = config.to_wire()
        await check_fields(auth, config, complete=True)
        made = await _accounts(auth).create_account(
            auth, name=name, provider_type=config.provider_type, fields=fields, allow_external_use=allow_external_use
        )
        # The answer's times are null and `valid` false; what a later read gives is true.
        account = cls.from_json(auth, made)
        if account.id is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise DomoDecodeError("the new account came without an id", asked="create an account", status=200)
        return await account.refresh()

    async def update_name(self, name: str) -> Self:
        """Change the label people see.

        Source: PUT /api/data/v1/accounts/{account_id}/name, PATCH /v1/accounts/{account_id}
        """
        if not name or not name.strip():
            raise InvalidInputError("an account needs a name")
        await _accounts(self.auth).update_account_name(self.auth, self.id, name)
        return await self.refresh()

    async def update_config(self, config: AccountConfig, *, allow_external_use: bool | None = None) -> Self:
        """Replace the configuration, all of it.

        allow_external_use:  True lets those with access read the secrets in clear, False forbids it; None leaves it
                             (product API only).
        Source: PUT /api/data/v1/providers/{provider_type}/account/{account_id}, PATCH /v1/accounts/{account_id}
        Raises: InvalidInputError, before anything is sent, if the configuration is of another provider or came masked.
        """
        if self.provider_type is None:
            await self.refresh()
        if config.provider_type != self.provider_type:
            raise InvalidInputError(f"account {self.id} is of {self.provider_type}, not of {config.provider_type}")
        fields = config.to_wire()
        if allow_external_use is not None and self.auth.family == "product":
            fields["allowExternalUse"] = allow_external_use
        await check_fields(self.auth, config, complete=False)
        await _accounts(self.auth).update_account_config(self.auth, config.provider_type, self.id, fields)
        return await self.refresh()

    async def get_config(self, *, unmask: bool = False) -> AccountConfig:
        """The configuration. Secrets are `MASKED`, or `Secret` where unmasking is asked for and the account allows it.

        Source: GET /api/data/v1/providers/{provider_type}/account/{account_id}
        Raises: UnsupportedByAuth on the platform API, which never shows it.
        """
        if self.auth.family == "platform":
            raise UnsupportedByAuth(
                "the platform API does not give configurations", hint="Use SessionAuth or AccessTokenAuth."
            )
        if self.provider_type is None:
            await self.refresh()
        provider_type = self.provider_type or ""
        answer = await product.get_account_config(self.auth, provider_type, self.id, unmask=unmask)
        return read_config(provider_type, answer)

    @classmethod
    async def upsert(
        cls, auth: Auth, *, name: str, config: AccountConfig, allow_external_use: bool | None = None
    ) -> Self:
        """The account of this label and provider, with this configuration: updated, or created if there is none.

        Where another account holds the label, Domo gives ours a suffix, 'etl (2)'; it is found by that the next time.
        Two upserts at once leave one account.
        Raises: ConflictError, if several accounts fit: which one is meant, only you can say.
        """
        provider = config.provider_type
        if (account := await cls._find_in_peace(auth, name, provider)) is not None:
            return await account.update_config(config, allow_external_use=allow_external_use)
        try:
            made = await cls.create(auth, name=name, config=config, allow_external_use=allow_external_use)
        except OutcomeUnknown:
            if (account := await cls._find_in_peace(auth, name, provider)) is None:
                raise
            return await account.update_config(config, allow_external_use=allow_external_use)
        if made.name != name:
            log.info("account %s: the label %r was taken, Domo made it %r", made.id, name, made.name)
            # Perhaps by another upsert at the same time. Both choose alike: the exact label, else the lowest id.
            first = min(await cls._candidates(auth, name, provider), key=lambda one: (one.name != name, one.id))
            if first.id != made.id:
                await made.delete()
                return await first.update_config(config, allow_external_use=allow_external_use)
        return made

    @classmethod
    async def find(cls, auth: Auth, name: str, provider: str) -> Self | None:
        """The account of this label, or of this label with a suffix ' (n)' from Domo, and this provider; else None.

        Raises: ConflictError, if several fit equally well.
        """
        fitting = await cls._candidates(auth, name, provider)
        found = [account for account in fitting if account.name == name] or fitting
        if len(found) > 1:
            ids = ", ".join(str(account.id) for account in found)
            raise ConflictError(
                f"several accounts of {provider} are called {name!r}: {ids}",
                asked="find an account",
                status=200,
                hint="Name one by its id, or rename or delete the others.",
            )
        return found[0] if found else None

    @classmethod
    async def _candidates(cls, auth: Auth, name: str, provider: str) -> list[Self]:
        suffixed = re.compile(re.escape(name) + r"(?: \(\d+\))?")
        return [
            account for account in await cls.search(auth, provider=provider) if suffixed.fullmatch(account.name or "")
        ]

    @classmethod
    async def _find_in_peace(cls, auth: Auth, name: str, provider: str) -> Self | None:
        """`find()`, with patience for other upserts at work, which leave one account in the end."""
        for wait in _PATIENCE:
            try:
                return await cls.find(auth, name, provider)
            except ConflictError:
                await anyio.sleep(wait)
        return await cls.find(auth, name, provider)

    async def get_datasets(self) -> "Listing[DomoDataset]":
        """The DataSets that sign in with it: id, name and owner alone; `refresh()` of each tells more.

        Source: GET /api/data/v2/datasources/account/{account_id} (product API)
        """
        dataset = class_for(self.auth, "DATA_SOURCE")
        found = await product.get_account_datasets(self.auth, self.id)
        return Listing(dataset.from_json(self.auth, {"ownerId": one.get("responsibleUserId"), **one}) for one in found)

    async def delete(self) -> None:
        """Delete the account. Source: DELETE /api/data/v1/accounts/{account_id}, DELETE /v1/accounts/{account_id}"""
        await _accounts(self.auth).delete_account(self.auth, self.id)

    async def share(
        self, *, users: Iterable[Any] | Any = (), groups: Iterable[Any] | Any = (), level: AccessLevel = "CAN_VIEW"
    ) -> None:
        """Give users and groups (entities or ids, or one of them) access; those who have it get this level.

        One call each: if one fails, those before it have their access, and all may be named again.

        level:  CAN_VIEW, CAN_EDIT, CAN_SHARE or OWNER; the platform API knows users and viewing only.
        Source: PUT /api/data/v2/accounts/share/{account_id}, POST /v1/accounts/{account_id}/shares
        """
        if level not in _LEVELS:
            raise InvalidInputError(f"level {level!r} is none of {', '.join(_LEVELS)}")
        to = grantees(users, groups)
        if self.auth.family == "platform":
            if level != "CAN_VIEW" or any(kind != "USER" for kind, _ in to):
                raise UnsupportedByAuth(
                    "the platform API shares with users, for viewing, only", hint="Use SessionAuth or AccessTokenAuth."
                )
            for _, user_id in to:
                await platform.share_account_with_user(self.auth, self.id, user_id)
            return
        for kind, grantee in to:
            try:
                await product.share_account(self.auth, self.id, kind=kind, grantee_id=grantee, level=level)
            except ServerError as error:  # how older servers say "has it already"
                if error.status != 500 or not await self._has_access(kind, grantee, level):
                    raise

    async def unshare(self, *, users: Iterable[Any] | Any = (), groups: Iterable[Any] | Any = ()) -> None:
        """Take access away. Source: PUT /api/data/v2/accounts/share/{account_id} with NONE (product API)"""
        for kind, grantee in grantees(users, groups):
            await product.share_account(self.auth, self.id, kind=kind, grantee_id=grantee, level="NONE")

    async def get_access(self) -> Listing[Access]:
        """Who has access. Source: GET /api/data/v2/accounts/share/{account_id}"""
        return Listing(
            Access(
                kind=str(one.get("type") or "USER"),
                id=as_id(one.get("id")),
                level=_V1_LEVELS.get(one.get("accessLevel"), as_text(one.get("accessLevel")) or "NONE"),
                name=as_text(one.get("name")),
            )
            for one in await product.get_account_access(self.auth, self.id)
        )

    async def _has_access(self, kind: str, grantee: int, level: str) -> bool:
        return any((one.kind, one.id, one.level) == (kind, grantee, level) for one in await self.get_access())


async def check_fields(auth: Auth, config: AccountConfig, *, complete: bool) -> None:
    """Compare a configuration with the fields that its provider declares, where Domo tells them.

    complete:  also look whether required fields are missing (the platform API marks them).
    Raises: InvalidInputError.
    """
    if config.is_typed:
        return
    try:
        if auth.family == "platform":
            declared, required = await _declared_on_platform(auth, config.provider_type)
        else:
            provider = await product.get_provider(auth, config.provider_type)
            declared, required = _names(provider.get("authenticationSchemeConfiguration")), []
    except (NotFoundError, PermissionDeniedError, DomoDecodeError):
        return  # Domo does not say; the call itself will
    if not declared:
        return
    config.check_names(declared)
    if complete and (missing := [name for name in required if name not in config.fields]):
        raise InvalidInputError(f"{config.provider_type} needs {', '.join(missing)} as well")


async def _declared_on_platform(auth: Auth, provider_type: str) -> tuple[list[str], list[str]]:
    described = await platform.get_account_type(auth, provider_type)
    template = (described.get("_templates") or {}).get("default") or {}
    properties: Sequence[Json] = template.get("properties") or []
    return _names(properties), [one["name"] for one in properties if one.get("required") and one.get("name")]


def _names(properties: Sequence[Json] | None) -> list[str]:
    return [one["name"] for one in properties or [] if isinstance(one, dict) and one.get("name")]
