"""Sign in as an API client (client id and secret) for the platform API."""

import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from os import environ
from typing import Any, ClassVar, Self
from urllib.parse import quote_plus

from domokit._secrets import Password, Secret
from domokit.auth.base import Auth, Family, Identity, Instance, from_environment
from domokit.auth.session import FreshUntil
from domokit.connection.options import ClientOptions
from domokit.errors import AuthenticationError, InvalidCredentialsError, InvalidInputError, MissingCredentialError

SCOPES = ("account", "audit", "buzz", "cards", "dashboard", "data", "user", "workflow")
_DEFAULT_LIFETIME = 3599.0  # seconds; what Domo answers, for an answer that does not say


class OAuthClientAuth(Auth):
    """Sign in with client id and secret (client credentials) for a bearer token of about an hour; renew it in time.

    scope:          what the token may do, a text ('data user') or a list; None for all the client may. One of:
                    account, audit, buzz, cards, dashboard, data, user, workflow.
    domo_instance:  only names the place in `entity.url` and the like; the client belongs to one instance anyway.
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
        options: ClientOptions | None = None,
    ) -> None:
        client_secret = Password(client_secret or "")  # first: no traceback shows a local variable with the text
        super().__init__(domo_instance, options)
        if not client_id or not client_secret:
            raise MissingCredentialError("OAuthClientAuth needs a client id and a client secret")
        self.client_id = client_id
        self._client_secret = client_secret
        self.scope = _checked_scope(scope)
        self._token: FreshUntil | None = None
        self._identity: Identity | None = None

    @classmethod
    def from_env(cls, prefix: str = "DOMO_", **overrides: Any) -> Self:
        """From DOMO_CLIENT_ID, DOMO_CLIENT_SECRET and, if set, DOMO_INSTANCE and DOMO_BASE_URL.

        Raises: MissingCredentialError, naming what is not set.
        """
        names = {"client_id": "CLIENT_ID", "client_secret": "CLIENT_SECRET"}
        if instance := environ.get(prefix + "INSTANCE"):
            overrides.setdefault("domo_instance", instance)
        return cls(**from_environment(prefix, names, overrides))

    def current(self) -> Secret | None:
        return self._token.current() if self._token else None

    def header_value(self, credential: Secret) -> str:
        return f"bearer {credential.reveal()}"

    async def obtain(self) -> None:
        """Source: POST /oauth/token with grant_type=client_credentials"""
        started = time.monotonic()
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        try:
            answer = await self._ask(
                "POST", "platform", "/oauth/token", form=form, headers={"Authorization": self._basic_header()}
            )
        except AuthenticationError as refused:
            self._refused = InvalidCredentialsError(
                refused.message,
                asked=refused.asked,
                status=refused.status,
                domo_message=refused.domo_message,
                body=refused.body,
                request_id=refused.request_id,
            )
            raise self._refused from None
        token = answer.get("access_token")
        if not isinstance(token, Secret):
            raise AuthenticationError("no access token in the answer", asked="POST /oauth/token", status=200, body=None)
        self._token = FreshUntil.since(started, _seconds(answer.get("expires_in")), token)
        self._identity = _identity(answer)

    async def who_am_i(self) -> Identity:
        """The user the client acts for, by the token answer: id and role; the platform API tells no more."""
        if self._identity is None:
            await self.sign_in()
        if self._identity is None:
            raise AuthenticationError(
                "the token answer does not say whom the client acts for", asked="POST /oauth/token"
            )
        return self._identity

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.client_id!r}, scope={self.scope!r})"

    def _basic_header(self) -> Secret:
        # Form-encoded first (RFC 6749, 2.3.1): a ':' or a letter beyond ASCII must not break the pair.
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self._client_secret.reveal())}"
        return Secret("Basic " + b64encode(pair.encode()).decode())


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


def _seconds(expires_in: Any) -> float:
    try:
        seconds = float(expires_in)
    except (TypeError, ValueError):
        return _DEFAULT_LIFETIME
    return seconds if seconds > 0 else _DEFAULT_LIFETIME


def _identity(answer: Mapping[str, Any]) -> Identity | None:
    try:
        user_id = int(answer["userId"])  # a number in the documentation, a text in one client
    except (KeyError, TypeError, ValueError):
        return None
    public = {key: value for key, value in answer.items() if not isinstance(value, Secret)}
    return Identity(id=user_id, role=answer.get("role"), raw=public)
