"""Sign with a developer access token."""

from typing import Any, ClassVar, Self

from domokit._secrets import Secret
from domokit.auth.base import Auth, Family, Identity, Instance, from_environment
from domokit.auth.session import who_is
from domokit.connection.options import ClientOptions
from domokit.errors import AuthenticationError, InvalidInputError, MissingCredentialError


class AccessTokenAuth(Auth):
    """Sign with a developer access token, made in Domo's admin pages or by `DomoAccessToken.generate`.

    It acts with all rights of its owner until it expires or is revoked; then calls raise AuthenticationError.
    """

    families: ClassVar[frozenset[Family]] = frozenset({"product"})
    header_name: ClassVar[str] = "X-DOMO-Developer-Token"
    _access_token: Secret = Secret("")

    def __init__(
        self, domo_instance: str | Instance, access_token: str | Secret, *, options: ClientOptions | None = None
    ) -> None:
        access_token = Secret(access_token or "")  # first: no traceback shows a local variable with the text
        super().__init__(Instance.parse(domo_instance), options)
        self._access_token = _checked(access_token)

    @classmethod
    def from_env(cls, prefix: str = "DOMO_", **overrides: Any) -> Self:
        """From DOMO_INSTANCE, DOMO_ACCESS_TOKEN and, if set, DOMO_BASE_URL.

        overrides:  arguments of the constructor; they win, and their variables need not be set.
        Raises: MissingCredentialError, naming what is not set.
        """
        names = {"domo_instance": "INSTANCE", "access_token": "ACCESS_TOKEN"}
        return cls(**from_environment(prefix, names, overrides))

    def current(self) -> Secret:
        return self._access_token

    @property
    def can_renew(self) -> bool:
        return False

    async def obtain(self) -> None:
        raise AuthenticationError("an access token is not renewed by itself; rotate_access_token() replaces it")

    async def sign_in(self) -> Self:
        """Check the token by asking who it belongs to."""
        await self.who_am_i()
        return self

    async def who_am_i(self) -> Identity:
        return await who_is(self)

    def signs_with(self, secret: Secret | None) -> bool:
        """Whether this is the token that this auth object signs with."""
        return self._access_token == secret

    def replace_token(self, access_token: str | Secret) -> None:
        """Sign with another token from now on, in this object and everything that holds it."""
        access_token = Secret(access_token)
        self._access_token = _checked(access_token)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r}, {self._access_token.fingerprint})"


def _checked(access_token: Secret) -> Secret:
    if not access_token:
        raise MissingCredentialError("AccessTokenAuth needs an access token")
    if not all("!" <= char <= "~" for char in access_token.reveal()):
        raise InvalidInputError(
            "an access token has no spaces, line ends or letters beyond ASCII: was it cut out badly?"
        )
    return access_token
