"""The auth object that the environment is set up for."""

from os import environ
from typing import Any

from domokit.auth.access_token import AccessTokenAuth
from domokit.auth.base import Auth
from domokit.auth.oauth_client import OAuthClientAuth
from domokit.auth.session import SessionAuth
from domokit.errors import MissingCredentialError

_KINDS: tuple[tuple[str, type[AccessTokenAuth | SessionAuth | OAuthClientAuth]], ...] = (
    ("ACCESS_TOKEN", AccessTokenAuth),
    ("PASSWORD", SessionAuth),
    ("CLIENT_SECRET", OAuthClientAuth),
)


def auth_from_env(prefix: str = "DOMO_", **overrides: Any) -> Auth:
    """The auth object for whichever secret is set: an access token, else a password, else a client secret.

    prefix:     of the variables' names.
    overrides:  arguments of the constructor; they win, and their variables need not be set.
    Raises: MissingCredentialError, if none is, or if what belongs to it is missing.
    """
    for secret, kind in _KINDS:
        if environ.get(prefix + secret):
            return kind.from_env(prefix, **overrides)
    choices = ", ".join(prefix + secret for secret, _ in _KINDS)
    raise MissingCredentialError(
        f"none of {choices} is set in the environment",
        hint=f"Set {prefix}INSTANCE with {prefix}ACCESS_TOKEN, or with {prefix}USERNAME and {prefix}PASSWORD, "
        f"or {prefix}CLIENT_ID with {prefix}CLIENT_SECRET.",
    )
