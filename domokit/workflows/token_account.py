"""An account that keeps an access token, for others to read."""

from typing import Any

import attrs

from domokit._secrets import Secret
from domokit.auth import Auth
from domokit.entities.access_tokens import DomoAccessToken
from domokit.entities.account_config import AbstractCredentialStore, AccountConfig, DomoAccessTokenConfig
from domokit.entities.accounts import DomoAccount
from domokit.entities.base import class_for
from domokit.errors import (
    APIError,
    DomoError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
)
from domokit.routes.product.accounts import update_account_config

PROVIDERS = (AbstractCredentialStore.PROVIDER_TYPE, DomoAccessTokenConfig.PROVIDER_TYPE)

ENTRIES = "domokit"  # the member under which an `AccountStore` keeps its entries

Target = DomoAccount | int | str


@attrs.define(kw_only=True, eq=False)
class TokenAccount:
    """Where a token is kept: an account that exists, or one that will be created under a name.

    target:   what the caller named: an account, its id, or its name.
    account:  what was found by `find()`; None as long as there is none.
    """

    auth: Auth
    target: Target
    provider: str
    owner_id: int
    allow_external_use: bool | None = None
    account: DomoAccount | None = None
    _username: str | None = None
    _members: dict[str, Any] = attrs.field(factory=dict, repr=False)  # of the account's JSON; other people's stay

    def __str__(self) -> str:
        return f"account {self.account.id}" if self.account else f"the account {self.target!r}"

    async def find(self) -> None:
        """Look for the account. Raises: NotFoundError for an id, InvalidInputError if it cannot hold a token."""
        kind = class_for(self.auth, "ACCOUNT")
        if isinstance(self.target, str):
            found = await kind.find(self.auth, self.target, self.provider)
        else:
            account_id = self.target.id if isinstance(self.target, DomoAccount) else self.target
            found = await kind.get_by_id(self.auth, account_id)
        if found is not None and found.provider_type not in PROVIDERS:
            raise InvalidInputError(
                f"account {found.id} is of {found.provider_type}; a token is kept in {' or '.join(PROVIDERS)}"
            )
        self.account = found

    async def prepare(self) -> None:
        """Look up all that will be written besides the token: nothing stands between having it and storing it."""
        self._username = (await class_for(self.auth, "USER").get_by_id(self.auth, self.owner_id)).email
        if self.account is None:
            return
        config = await self._get_config()
        if isinstance(config, AbstractCredentialStore):
            self._members = config.decoded() or {}
        password = config.fields.get("password") if config is not None else None
        holds_entries = isinstance(password, Secret) and password.reveal().startswith(f'{{"{ENTRIES}"')
        if ENTRIES in self._members or holds_entries:
            raise InvalidInputError(
                f"{self} belongs to an AccountStore, whose tokens a rotation would overwrite",
                hint="Use another account.",
            )

    async def read(self) -> tuple[Secret | None, int | None]:
        """The token that the account holds, and its id where it is noted; None for what is masked or not there."""
        config = await self._get_config()
        if isinstance(config, DomoAccessTokenConfig):
            return (config.access_token if isinstance(config.access_token, Secret) else None), None
        if isinstance(config, AbstractCredentialStore) and (members := config.decoded()) is not None:
            value, token_id = members.get("access_token"), members.get("token_id")
            return (value if isinstance(value, Secret) else None), (token_id if isinstance(token_id, int) else None)
        return None, None

    async def write(self, token: DomoAccessToken) -> None:
        """Put the token into the account, which is created if there is none."""
        config = self._config(token)
        if self.account is None:
            assert isinstance(self.target, str)
            kind = class_for(self.auth, "ACCOUNT")
            self.account = await kind.upsert(
                self.auth, name=self.target, config=config, allow_external_use=self.allow_external_use
            )
        else:
            # The bare request: a failure of anything else would leave in the dark whether the account was written.
            fields = config.to_wire()
            if self.allow_external_use is not None:
                fields["allowExternalUse"] = self.allow_external_use
            await update_account_config(self.auth, config.provider_type, self.account.id, fields)

    async def is_untouched_by(self, failure: DomoError) -> bool:
        """Whether a `write()` that failed like this changed nothing for sure: it was refused, and nothing was made."""
        if isinstance(failure, InvalidInputError):
            return True
        if not isinstance(failure, APIError) or not 400 <= failure.status < 500:
            return False  # it may have arrived all the same
        if self.account is not None:
            return True
        try:
            await self.find()
        except DomoError:
            return False
        return self.account is None

    async def _get_config(self) -> AccountConfig | None:
        assert self.account is not None
        try:
            return await self.account.get_config(unmask=True)
        except (PermissionDeniedError, NotFoundError):
            return None

    def _config(self, token: DomoAccessToken) -> AccountConfig:
        assert token.token is not None
        provider = (self.account.provider_type if self.account else None) or self.provider
        if provider == DomoAccessTokenConfig.PROVIDER_TYPE:
            return DomoAccessTokenConfig(token.token, self._username)
        return AbstractCredentialStore({
            **self._members,
            "domo_instance": self.auth.place,
            "access_token": token.token,
            "token_id": token.id,
            "token_name": token.name,
            "owner_id": self.owner_id,
            "username": self._username,
            "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        })  # fmt: skip
