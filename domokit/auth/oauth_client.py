"""Sign in as an API client (client id and secret) for the platform API."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from os import environ
from typing import Any, ClassVar, Self

from domokit._secrets import Password, Secret
from domokit.auth.base import Auth, Family, Identity, Instance, from_environment
from domokit.connection.options import ClientOptions
from domokit.errors import AuthenticationError, InvalidCredentialsError, InvalidInputError, MissingCredentialError
from domokit.oauth import TokenKeeper, providers
from domokit.stores import TokenStore

SCOPES = ("account", "audit", "buzz", "cards", "dashboard", "data", "user", "workflow")


class OAuthClientAuth(Auth):
    """Sign in with client id and secret (client credentials) for a bearer token of about an hour; renew it in time.

    scope:          what the token may do, a text ('data user') or a list; None for all the client may. One of:
                    account, audit, buzz, cards, dashboard, data, user, workflow.
    domo_instance:  only names the place in `entity.url` and the like; the client belongs to one instance anyway.
    store:          where the token is kept for other processes of this client, such as a `FileStore`; by default in
                    memory. See `domokit.oauth.TokenKeeper`, which does the work.
    """

    families: ClassVar[frozenset[Family]] = frozenset({"platform"})
    header_name: ClassVar[str] = "Authorization"
    client_id: str = ""
    scope: str | None = None

    def __init__(
        self,
        client_id: str,
        client_secret: str | Secret,
        *,
        scope: str | Iterable[str] | None = None,
        domo_instance: str | Instance | None = None,
        store: TokenStore | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        client_secret = Password(client_secret or "")  # first: no traceback shows a local variable with the text
        super().__init__(domo_instance, options)
        if not client_id or not client_secret:
            raise MissingCredentialError("OAuthClientAuth needs a client id and a client secret")
        self.client_id = client_id
        self.scope = _checked_scope(scope)
        self.keeper: TokenKeeper = providers.domo(
            client_id,
            client_secret,
            scope=self.scope,
            token_url=self.origin("platform") + "/oauth/token",
            store=store,
            options=self.options,
            name=f"API client {client_id}",
        )

    @classmethod
    def from_env(cls, prefix: str = "DOMO_", **overrides: Any) -> Self:
        """From DOMO_CLIENT_ID, DOMO_CLIENT_SECRET and, if set, DOMO_INSTANCE and DOMO_BASE_URL.

        overrides:  arguments of the constructor; they win, and their variables need not be set.
        Raises: MissingCredentialError, naming what is not set.
        """
        names = {"client_id": "CLIENT_ID", "client_secret": "CLIENT_SECRET"}
        if instance := environ.get(prefix + "INSTANCE"):
            overrides.setdefault("domo_instance", instance)
        return cls(**from_environment(prefix, names, overrides))

    def current(self) -> Secret | None:
        token = self.keeper.ready()
        return token and token.access_token

    def header_value(self, credential: Secret) -> str:
        return f"bearer {credential.reveal()}"

    async def obtain(self) -> None:
        """Source: POST /oauth/token with grant_type=client_credentials"""
        try:
            await self.keeper.renew()
        except InvalidCredentialsError as refused:
            self._refused = refused
            raise

    async def who_am_i(self) -> Identity:
        """The user the client acts for, by the token answer: id and role; the platform API tells no more."""
        if (token := self.keeper.ready()) is None:
            await self.sign_in()
            token = self.keeper.ready()
        if token is None or (identity := _identity(token.extra)) is None:
            raise AuthenticationError(
                "the token answer does not say whom the client acts for", asked="POST /oauth/token"
            )
        return identity

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and wait for a renewal under way."""
        await super().aclose()
        await self.keeper.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.client_id!r}, scope={self.scope!r})"


def _checked_scope(scope: str | Iterable[str] | None) -> str | None:
    if scope is None:
        return None
    names = scope.replace(",", " ").split() if isinstance(scope, str) else list(scope)
    for name in names:
        if name not in SCOPES:
            near = get_close_matches(str(name), SCOPES, n=1)
            raise InvalidInputError(
                f"scope: {name!r} is none of {', '.join(SCOPES)}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
    return " ".join(dict.fromkeys(names)) or None


def _identity(answer: Mapping[str, Any]) -> Identity | None:
    try:
        user_id = int(answer["userId"])  # a number in the documentation, a text in one client
    except (KeyError, TypeError, ValueError):
        return None
    public = {key: value for key, value in answer.items() if not isinstance(value, Secret)}
    return Identity(id=user_id, role=answer.get("role"), raw=public)
