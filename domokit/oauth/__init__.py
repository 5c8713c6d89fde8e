"""The life of OAuth tokens: of any provider, in any store, renewed in time and never spent twice."""

from domokit.oauth import providers
from domokit.oauth.bearer import BearerAuth
from domokit.oauth.client import OAuthClient
from domokit.oauth.events import EventKind, TokenEvent
from domokit.oauth.grants import AskGrant, ClientCredentialsGrant, Grant, PasswordGrant, RefreshGrant
from domokit.oauth.keeper import TokenKeeper
from domokit.oauth.status import KeeperStatus
from domokit.oauth.token import OAuthToken, read_token_file

__all__ = [
    "AskGrant",
    "BearerAuth",
    "ClientCredentialsGrant",
    "EventKind",
    "Grant",
    "KeeperStatus",
    "OAuthClient",
    "OAuthToken",
    "PasswordGrant",
    "RefreshGrant",
    "TokenEvent",
    "TokenKeeper",
    "providers",
    "read_token_file",
]
