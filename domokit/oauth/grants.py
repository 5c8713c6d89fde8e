"""Grants: the ways to a token, in the order in which a keeper tries them (its ladder)."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from domokit._secrets import Password, Secret
from domokit.errors import InvalidInputError
from domokit.oauth.record import TokenRecord

Params = Mapping[str, str | Secret]


class Grant(ABC):
    """One way to a token.

    name:        the grant type, as events and logs name it.
    spends:      whether asking uses something up, so that a lost answer must not be asked for again.
    own_fields:  form fields that `params` cannot bring.
    """

    name: ClassVar[str]
    spends: ClassVar[bool] = False
    own_fields: ClassVar[frozenset[str]] = frozenset(
        {"grant_type", "refresh_token", "password", "newPassword", "client_id", "client_secret", "scope"}
    )

    def __init__(self, params: Params | None) -> None:
        if taken := sorted(self.own_fields & set(params or ())):
            raise InvalidInputError(
                f"{type(self).__name__}: params: {taken[0]} is a field that is filled in by itself",
                hint="Give it where it belongs: to the OAuthClient, or to the grant by its own argument.",
            )
        self.params: dict[str, Secret | str] = {
            key: value if isinstance(value, Secret) else str(value) for key, value in (params or {}).items()
        }

    @abstractmethod
    def form(self, record: TokenRecord) -> dict[str, str | Secret] | None:
        """What to send, given what the store holds; None, if this way is closed now."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ClientCredentialsGrant(Grant):
    """The client acts for itself: client id and secret are all it takes.

    params:  further form fields, such as {'audience': 'https://api.example.com'}.
    """

    name: ClassVar[str] = "client_credentials"

    def __init__(self, *, params: Params | None = None) -> None:
        super().__init__(params)

    def form(self, record: TokenRecord) -> dict[str, str | Secret] | None:
        return {"grant_type": self.name, **self.params}


class PasswordGrant(Grant):
    """A user name and a password.

    fallback:  whether it may be used where a refresh token was refused or lost. With False it is for the first
               token only, and what comes after a dead refresh token is a human.
    params:    further form fields, such as {'takeExclusiveSignOnControl': 'true'}.
    """

    name: ClassVar[str] = "password"
    own_fields: ClassVar[frozenset[str]] = Grant.own_fields | {"username"}
    username: str = ""

    def __init__(
        self, username: str, password: str | Secret, *, fallback: bool = True, params: Params | None = None
    ) -> None:
        password = Password(password or "")
        super().__init__(params)
        if not username:
            raise InvalidInputError("PasswordGrant: username is missing")
        if not password:
            raise InvalidInputError("PasswordGrant: password is missing")
        self.username = username
        self.password = password
        self.fallback = fallback

    def form(self, record: TokenRecord) -> dict[str, str | Secret] | None:
        if not self.fallback and record.has_had_refresh_token:
            return None
        return self.form_with(record.password or self.password)

    def form_with(self, password: Secret) -> dict[str, str | Secret]:
        return {"grant_type": self.name, "username": self.username, "password": password, **self.params}

    def __repr__(self) -> str:
        return f"PasswordGrant({self.username!r})"


class RefreshGrant(Grant):
    """A refresh token: the store's, or to begin with the given one.

    refresh_token:  one that was issued elsewhere, to begin with; None for the store's. A given one that the store has
                    not seen before replaces what the store holds.
    access_token, expires_at:  what was issued with it, if it may still live; read from a JWT where not given.
    params:         further form fields.
    """

    name: ClassVar[str] = "refresh_token"
    spends: ClassVar[bool] = True

    def __init__(
        self,
        refresh_token: str | Secret | None = None,
        *,
        access_token: str | Secret | None = None,
        expires_at: datetime | None = None,
        params: Params | None = None,
    ) -> None:
        # Hidden first: whatever is raised below, its traceback shows no local variable with a token.
        refresh_token = None if refresh_token is None else Secret(refresh_token)
        access_token = None if access_token is None else Secret(access_token)
        super().__init__(params)
        if refresh_token is not None and not refresh_token:
            raise InvalidInputError("RefreshGrant: refresh_token is empty; leave it out to use the store's")
        if access_token is not None and refresh_token is None:
            raise InvalidInputError("RefreshGrant: an access_token alone is none to refresh; give refresh_token too")
        if expires_at is not None and expires_at.tzinfo is None:
            raise InvalidInputError("RefreshGrant: expires_at must be an aware datetime")
        self.refresh_token = refresh_token
        self.access_token = access_token
        self.expires_at = expires_at

    def form(self, record: TokenRecord) -> dict[str, str | Secret] | None:
        refresh = record.refresh_token
        if refresh is None or refresh.fingerprint in record.dead:
            return None
        return {"grant_type": self.name, "refresh_token": refresh, **self.params}


class AskGrant(Grant):
    """Somebody is asked: the last rung of a ladder.

    ask:  an async function that gives the answer of a token endpoint, {'access_token': …, 'expires_in': …,
          'refresh_token': …}, from wherever a person gets one: a browser, a device code, a ticket.
    """

    name: ClassVar[str] = "ask"

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        super().__init__(None)
        self.ask = ask

    def form(self, record: TokenRecord) -> dict[str, str | Secret] | None:
        return {}
