"""Sign in with user name and password (or a browser's session) for a session token."""

import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from hashlib import sha256
from inspect import isawaitable
from json import dumps, loads
from typing import Any, ClassVar, Self
from urllib.parse import unquote

import attrs

from domokit._secrets import Password, Secret
from domokit.auth.base import Auth, Family, Identity, Instance, from_environment
from domokit.connection.options import ClientOptions
from domokit.errors import (
    AccountLockedError,
    APIError,
    AuthenticationError,
    InvalidCredentialsError,
    MissingCredentialError,
    OneTimePasswordRequired,
)
from domokit.oauth.record import TokenRecord
from domokit.oauth.renewal import early
from domokit.oauth.token import OAuthToken
from domokit.stores import TokenStore

OneTimePassword = str | Secret | Callable[[], str | Awaitable[str]]

_DEFAULT_LIFETIME = 8 * 3600.0  # seconds; what recorded sessions live
_REASONS: Mapping[str, type[AuthenticationError]] = {
    "INVALID_CREDENTIALS": InvalidCredentialsError,
    "ACCOUNT_LOCKED": AccountLockedError,
}


@attrs.frozen(eq=False)
class FreshUntil:
    """A credential and the monotonic time until which it counts as fresh.

    The end is early by a tenth of the lifetime, a minute at most, so that no request sets out with a credential that
    dies on the way; scaled, so that one of three seconds is not renewed before every call.
    """

    credential: Secret
    monotonic: float

    @classmethod
    def since(cls, start: float, lifetime: float, credential: Secret) -> "FreshUntil":
        """start: `time.monotonic()` when it was asked for; lifetime: seconds."""
        return cls(credential, start + lifetime - min(60.0, lifetime * 0.1))

    def current(self) -> Secret | None:
        return self.credential if time.monotonic() < self.monotonic else None


async def who_is(auth: Auth) -> Identity:
    """The user that a product credential acts for. Source: GET /api/content/v2/users/me"""
    user = await auth._ask("GET", "product", "/api/content/v2/users/me", signed=True)  # pyright: ignore[reportPrivateUsage]
    if "id" not in user:
        raise AuthenticationError("Domo did not say who this credential belongs to", asked="GET users/me", status=200)
    return Identity(
        id=int(user["id"]),
        name=user.get("displayName"),
        email=user.get("emailAddress"),
        role=user.get("role"),
        raw=user,
    )


class SessionAuth(Auth):
    """Sign in with a user name (e-mail address) and a password; renew once when the session ends.

    one_time_password:  what the instance asks for on top of the password, if it does: the code, which is good for one
                        sign-in, or a function that returns a fresh code each time (it may be async).
    store:              where the session is kept for other processes of this user, such as a `FileStore`: one signs
                        in, the others take its session. By default it stays in this object.

    A password that was refused is not presented again by itself, so that no user gets locked; `sign_in()` tries anew.
    """

    families: ClassVar[frozenset[Family]] = frozenset({"product"})
    header_name: ClassVar[str] = "X-DOMO-Authentication"
    username: str = ""

    def __init__(
        self,
        domo_instance: str | Instance,
        username: str,
        password: str | Secret,
        *,
        one_time_password: OneTimePassword | None = None,
        store: TokenStore | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        # Secrets first: whatever is raised below, its traceback shows no local variable with one.
        password = Password(password or "")
        if isinstance(one_time_password, str):
            one_time_password = Password(one_time_password)
        super().__init__(Instance.parse(domo_instance), options)
        if not username or not password:
            raise MissingCredentialError("SessionAuth needs a user name and a password")
        self.username = username
        self._password = password
        self._one_time_password = one_time_password
        self._session: FreshUntil | None = None
        self._store = store

    @classmethod
    def from_env(cls, prefix: str = "DOMO_", **overrides: Any) -> Self:
        """From DOMO_INSTANCE, DOMO_USERNAME, DOMO_PASSWORD and, if set, DOMO_BASE_URL.

        overrides:  arguments of the constructor; they win, and their variables need not be set.
        Raises: MissingCredentialError, naming what is not set.
        """
        names = {"domo_instance": "INSTANCE", "username": "USERNAME", "password": "PASSWORD"}
        return cls(**from_environment(prefix, names, overrides))

    def current(self) -> Secret | None:
        return self._session.current() if self._session else None

    async def obtain(self) -> None:
        if self._store is None:
            await self._sign_in()
            return
        key = sha256(dumps(["domo session", self.origin("product"), self.username]).encode()).hexdigest()[:32]
        refused = self._session.credential if self._session else None
        async with self._store.lock(key):
            stored = await self._store.load(key)
            token = TokenRecord.decoded(stored.text, key).token if stored else None
            now = self.options.clock()
            if token is not None and token.access_token != refused and token.remaining(now) > early(token):
                remaining = token.remaining(now).total_seconds()
                self._session = FreshUntil.since(time.monotonic(), remaining, token.access_token)
                return
            session, lifetime = await self._sign_in()
            token = OAuthToken(access_token=session, obtained_at=now, expires_at=now + timedelta(seconds=lifetime))
            record = TokenRecord(token=token).encoded()
            await self._store.save(key, record, replacing=stored.version if stored else None)

    async def _sign_in(self) -> tuple[Secret, float]:
        """A new session and its life in seconds.

        Source: POST /api/content/v2/authentication; a refusal comes with status 200 and a reason.
        """
        started = time.monotonic()
        try:
            answer = await self._ask(
                "POST",
                "product",
                "/api/content/v2/authentication",
                body=self._sign_in_body(),
                headers=self._sign_in_headers(),
            )
            token = answer.get("sessionToken")
            if not isinstance(token, Secret):
                raise _refusal(answer)
            if _second_factor_pending(answer):
                await self._elevate(answer, token)
        except (InvalidCredentialsError, AccountLockedError, OneTimePasswordRequired) as refused:
            self._refused = refused
            raise
        lifetime = _lifetime_of(token)
        self._session = FreshUntil.since(started, lifetime, token)
        return token, lifetime

    async def who_am_i(self) -> Identity:
        return await who_is(self)

    async def elevate(self, one_time_password: str | Secret) -> None:
        """Raise the session with a one-time password; some security settings can be changed only then.

        Source: PUT /api/identity/v1/authentication/elevations/{user_id}
        Raises: OneTimePasswordRequired, if the code is wrong or out of date.
        """
        one_time_password = Password(one_time_password)
        me = await self.who_am_i()
        session = self.current() or await self._renew(None)
        await self._send_code(me.id, session, one_time_password)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r}, {self.username!r})"

    def _sign_in_body(self) -> dict[str, Any]:
        return {"method": "password", "emailAddress": self.username, "password": self._password}

    def _sign_in_headers(self) -> dict[str, str | Secret]:
        return {"Origin": self.origin("product")}  # documented as required

    async def _elevate(self, answer: Mapping[str, Any], session: Secret) -> None:
        code = self._one_time_password
        if code is None:
            raise OneTimePasswordRequired("the instance asks for a one-time password", asked="sign-in", status=200)
        if isinstance(code, Secret):
            self._one_time_password = None  # a code is good once; the next sign-in needs another
        else:
            made = code()
            code = Password(await made if isawaitable(made) else made)
        await self._send_code(int(answer["userId"]), session, code)

    async def _send_code(self, user_id: int, session: Secret, code: Secret) -> None:
        try:
            await self._ask(
                "PUT",
                "product",
                f"/api/identity/v1/authentication/elevations/{user_id}",
                headers={self.header_name: Secret(self.header_value(session))},
                body={"timeBasedOneTimePassword": code},
            )
        except AuthenticationError as refused:
            raise OneTimePasswordRequired(
                "the one-time password was refused", asked=refused.asked, status=refused.status, body=refused.body
            ) from None


class BrowserSessionAuth(SessionAuth):
    """Sign in with the session cookie of a signed-in browser, for instances that only know single sign-on.

    cookie:  the value of the browser's cookie `_dsidv1`. It cannot be renewed beyond its own life.
    Source: POST /api/content/v2/authentication with method 'exptoken'
    """

    def __init__(
        self, domo_instance: str | Instance, cookie: str | Secret, *, options: ClientOptions | None = None
    ) -> None:
        cookie = Password(cookie or "")
        super().__init__(domo_instance, "browser session", cookie, options=options)
        if not all("!" <= char <= "~" and char not in '";,\\' for char in self._password.reveal()):
            raise MissingCredentialError("this is not the value of a cookie")

    @classmethod
    def from_env(cls, prefix: str = "DOMO_", **overrides: Any) -> Self:
        """From DOMO_INSTANCE, DOMO_BROWSER_COOKIE and, if set, DOMO_BASE_URL.

        overrides:  arguments of the constructor; they win, and their variables need not be set.
        Raises: MissingCredentialError, naming what is not set.
        """
        names = {"domo_instance": "INSTANCE", "cookie": "BROWSER_COOKIE"}
        return cls(**from_environment(prefix, names, overrides))

    def _sign_in_body(self) -> dict[str, Any]:
        return {"method": "exptoken"}

    def _sign_in_headers(self) -> dict[str, str | Secret]:
        return {**super()._sign_in_headers(), "Cookie": Secret(f"_dsidv1={self._password.reveal()}")}


def _refusal(answer: Mapping[str, Any]) -> APIError:
    reason = str(answer.get("reason") or "")
    if not reason and _second_factor_pending(answer):
        return OneTimePasswordRequired("the instance asks for a one-time password", asked="sign-in", status=200)
    kind = _REASONS.get(reason, AuthenticationError)
    said = f"Domo refused the sign-in: {reason}" if reason else "Domo answered the sign-in without a session token"
    return kind(said, asked="sign-in", status=200, domo_message=reason or None, body=dict(answer))


def _second_factor_pending(answer: Mapping[str, Any]) -> bool:
    # Only VALID (nothing pending) is documented; whatever else stands there means that the session is not yet whole.
    factor = answer.get("twoFactorInfo")
    return isinstance(factor, Mapping) and factor.get("status") not in (None, "VALID")  # pyright: ignore


def _lifetime_of(token: Secret) -> float:
    """Seconds that a session lives, by its own word; a hint, so an opaque token counts as a usual one."""
    try:
        payload = loads(b64decode(unquote(token.reveal())))
        lifetime = (int(payload["expiration"]) - int(payload["timestamp"])) / 1000
    except (ValueError, KeyError, TypeError):
        return _DEFAULT_LIFETIME
    return lifetime if lifetime > 0 else _DEFAULT_LIFETIME
