"""A token in a Domo account, for others to read: a connector, a Jupyter workspace, a colleague's script."""

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import attrs

from domokit._secrets import Secret
from domokit.auth import Auth
from domokit.entities.account_config import (
    AbstractCredentialStore,
    AccountConfig,
    DomoAccessTokenConfig,
    Masked,
    read_value,
)
from domokit.entities.accounts import DomoAccount
from domokit.entities.base import class_for
from domokit.errors import InvalidInputError, UnsupportedByAuth
from domokit.oauth.token import OAuthToken, revealed
from domokit.routes.product.accounts import get_account_config
from domokit.workflows.token_account import ENTRIES, PROVIDERS, Target

_CREDENTIALS, _ACCESS_TOKEN = PROVIDERS
_PUBLISHED = ("access_token", "token_type", "scope", "expires_at")
_SETTABLE = ("username", "password")  # what an account of domo-access-token has besides


async def publish_token(
    auth: Auth,
    account: Target,
    token: OAuthToken,
    *,
    provider: str = _CREDENTIALS,
    members: Mapping[str, Any] | None = None,
    allow_external_use: bool | None = None,
) -> DomoAccount:
    """Write an access token into an account for others to read; never the refresh token. Return the account.

        token = await keeper.get_token()
        await publish_token(auth, "alteryx token", token)

    account:   an account, its id, or its name, which is created if there is none.
    provider:  where it is created: `abstract-credential-store` (JSON with access_token, token_type, scope and
               expires_at, which is ISO 8601 in UTC) or `domo-access-token` (the token alone).
    members:   what to write besides: further members of the JSON, or the username and password of the other type.
    allow_external_use:  whether those whom the account is shared with can read it in clear by the API, as a notebook
               does; connectors need not. None leaves it as it is, and allows it for a new account (product API only).

    Other members of the JSON stay, and so do user name and password, where the account can be read in clear; in a
    masked one they cannot be told, and all but the user name is replaced. Nothing is written where the account already
    holds exactly this. The platform API shows no account: all of the JSON is replaced at each call.
    Raises: InvalidInputError, if the account is of neither type, holds a text that is no JSON object, or belongs to an
    `AccountStore`, which publishes by itself; what reading and writing raise. Nothing is written then.
    """
    hidden = _encoded(members)
    members = None  # no traceback shows a local variable with a secret
    if hidden is None:
        raise InvalidInputError("members must be JSON: texts, numbers, lists, mappings")
    if allow_external_use is not None and auth.family != "product":
        raise UnsupportedByAuth(
            "allow_external_use has no place in the platform API", hint="Use SessionAuth or AccessTokenAuth."
        )
    found = await find_account(auth, account, provider)
    content = AccountContent(provider=(found and found.provider_type) or provider)
    _check_members(content.provider, hidden, token.refresh_token)
    is_known = False
    if found is not None and auth.family == "product":
        content = AccountContent.read(
            content.provider, await get_account_config(auth, content.provider, found.id, unmask=True)
        )
        if content.entries is not None:
            raise InvalidInputError(
                f"account {found.id} belongs to an AccountStore, which publishes its tokens there by itself",
                hint="Publish into another account.",
            )
        if content.strange:
            raise InvalidInputError(
                f"account {found.id} holds {content.strange}, which would be lost", hint="Publish into another account."
            )
        is_known = not content.is_masked
    changed = content.show(token, hidden)
    if found is None:
        assert isinstance(account, str)
        allow = True if allow_external_use is None else allow_external_use
        return await class_for(auth, "ACCOUNT").upsert(
            auth, name=account, config=content.config(), allow_external_use=allow
        )
    if is_known and not changed and allow_external_use in (None, content.allows_external_use):
        return found
    config = content.config(whole=auth.family == "product")
    return await found.update_config(config, allow_external_use=allow_external_use)


async def find_account(auth: Auth, target: Target, provider: str) -> DomoAccount | None:
    """The account that a caller named; None, if there is none of that name and provider yet.

    Raises: NotFoundError for an id, InvalidInputError if it cannot hold a token, ConflictError if several fit.
    """
    if provider not in PROVIDERS:
        raise InvalidInputError(f"provider {provider!r} cannot hold a token; use {' or '.join(PROVIDERS)}")
    kind = class_for(auth, "ACCOUNT")
    if isinstance(target, str):
        if not target.strip():
            raise InvalidInputError("account is empty; it is an account, its id, or its name")
        return await kind.find(auth, target, provider)
    found = await kind.get_by_id(auth, target.id if isinstance(target, DomoAccount) else target)
    if found.provider_type not in PROVIDERS:
        raise InvalidInputError(
            f"account {found.id} is of {found.provider_type}; a token is kept in {' or '.join(PROVIDERS)}"
        )
    return found


@attrs.define(kw_only=True, eq=False)
class AccountContent:
    """What an account holds: what is there for its readers, and the entries of an `AccountStore`.

    members:    of the JSON, or the fields, by name; plain, so they are in no repr.
    entries:    by key; None, if it belongs to no `AccountStore`.
    strange:    says what is there that is neither; empty, if nothing is.
    is_masked:  whether there is something that Domo does not show. It counts as not there.
    """

    provider: str
    members: dict[str, Any] = attrs.field(factory=dict, repr=False)
    entries: dict[str, dict[str, str]] | None = attrs.field(default=None, repr=False)
    strange: str = ""
    is_masked: bool = False
    allows_external_use: bool = False

    @classmethod
    def read(cls, provider: str, answer: Mapping[str, Any]) -> "AccountContent":
        """From the answer to a request for the configuration. It raises nothing: a traceback would show the answer."""
        content = cls(provider=provider)
        fields = {name: read_value(name, value) for name, value in answer.items()}
        content.allows_external_use = fields.pop("allowExternalUse", False) is True
        content.is_masked = any(isinstance(value, Masked) for value in fields.values())
        texts = {name: revealed(value) for name, value in fields.items() if isinstance(value, (str, Secret))}
        if provider == _ACCESS_TOKEN:
            content.members = texts
            if (kept := _object(texts.get("password"))) is not None and set(kept) == {ENTRIES}:
                content.members["password"] = ""
                content._take_entries(kept[ENTRIES])
        elif (members := _object(texts.get("credentials") or "{}")) is not None:
            content.members = members
            if ENTRIES in members:
                content._take_entries(members.pop(ENTRIES))
        else:
            content.strange = "a text that is no JSON object"
        return content

    def show(self, token: OAuthToken, besides: Mapping[str, Secret] | None = None) -> bool:
        """Put a token where readers look for it; say whether that changed anything.

        besides:  further members, each as JSON text.
        """
        before = dict(self.members)
        if self.provider == _ACCESS_TOKEN:
            self.members["domoAccessToken"] = token.access_token.reveal()
        else:
            self.members |= {
                "access_token": token.access_token.reveal(),
                "token_type": token.token_type,
                "scope": token.scope,
                "expires_at": token.expires_at.astimezone(UTC).isoformat(timespec="seconds"),
            }
        self.members |= {name: json.loads(value.reveal()) for name, value in (besides or {}).items()}
        return self.members != before

    def hide(self) -> None:
        """Take the token away from where readers look for it."""
        for name in ("domoAccessToken",) if self.provider == _ACCESS_TOKEN else _PUBLISHED:
            self.members.pop(name, None)

    def fields(self) -> dict[str, Any]:
        """All of it as Domo wants to be sent it, secrets as `Secret`."""
        entries = {} if self.entries is None else {ENTRIES: self.entries}
        if self.provider == _ACCESS_TOKEN:
            kept = json.dumps(entries) if entries else self.members.get("password") or ""
            return {
                "domoAccessToken": Secret(self.members.get("domoAccessToken") or ""),
                "username": self.members.get("username") or "",
                "password": Secret(kept),
            }
        return {"credentials": Secret(json.dumps(self.members | entries))}

    def config(self, *, whole: bool = True) -> AccountConfig:
        """The same as a configuration.

        whole:  whether what was not set is sent as empty, too.
        """
        fields = self.fields()
        if self.provider == _CREDENTIALS:
            return AbstractCredentialStore(fields["credentials"])
        if whole:
            return DomoAccessTokenConfig(fields["domoAccessToken"], fields["username"], fields["password"])
        return AccountConfig(self.provider, {name: fields[name] for name in fields if name in self.members})

    def _take_entries(self, found: Any) -> None:
        if isinstance(found, dict) and all(_is_entry(entry) for entry in found.values()):
            self.entries = found
        else:
            self.strange = f"a member {ENTRIES!r} that no AccountStore wrote"


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("version"), str)
        and isinstance(entry.get("text", entry.get("sealed")), str)
    )


def _object(text: Any) -> dict[str, Any] | None:
    """The members of a JSON object; None for what is none."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _encoded(members: Mapping[str, Any] | None) -> dict[str, Secret] | None:
    """Each member as JSON text; None, if one is nothing that JSON knows."""
    try:
        return {str(name): Secret(json.dumps(revealed(value))) for name, value in (members or {}).items()}
    except (TypeError, ValueError, RecursionError):
        return None


def _check_members(provider: str, members: Mapping[str, Secret], refresh: Secret | None) -> None:
    for name, value in members.items():
        if name == "refresh_token" or (refresh is not None and refresh.reveal() in value.reveal()):
            raise InvalidInputError(f"members: {name} is a refresh token, and whoever uses that ends everybody's")
        if provider == _ACCESS_TOKEN:
            if name not in _SETTABLE:
                raise InvalidInputError(f"members: an account of {provider} has no {name!r}, only username, password")
            if not value.reveal().startswith('"'):
                raise InvalidInputError(f"members: {name} must be a text")
        elif name in (*_PUBLISHED, ENTRIES):
            raise InvalidInputError(f"members: {name!r} is written by domokit itself")
