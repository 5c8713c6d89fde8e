"""Who is asking: auth objects, their options, and what they answer."""

from domokit._secrets import Password, Secret
from domokit.auth.access_token import AccessTokenAuth
from domokit.auth.base import Auth, Family, Identity, Instance
from domokit.auth.environment import auth_from_env
from domokit.auth.oauth_client import SCOPES, OAuthClientAuth
from domokit.auth.session import BrowserSessionAuth, SessionAuth
from domokit.connection.exchange import Answer, override, record
from domokit.connection.options import NO_RETRY, ClientOptions, RetryPolicy

__all__ = [
    "NO_RETRY",
    "SCOPES",
    "AccessTokenAuth",
    "Answer",
    "Auth",
    "BrowserSessionAuth",
    "ClientOptions",
    "Family",
    "Identity",
    "Instance",
    "OAuthClientAuth",
    "Password",
    "RetryPolicy",
    "Secret",
    "SessionAuth",
    "auth_from_env",
    "override",
    "record",
]
