"""domokit: an async SDK for Domo.

    from domokit import DomoUser, SessionAuth

    async with SessionAuth("acme", "ann@example.com", password) as auth:
        me = await DomoUser.get_me(auth)

Names are imported when they are first used, so `import domokit` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domokit import errors as errors
    from domokit.auth import NO_RETRY as NO_RETRY
    from domokit.auth import AccessTokenAuth as AccessTokenAuth
    from domokit.auth import Auth as Auth
    from domokit.auth import BrowserSessionAuth as BrowserSessionAuth
    from domokit.auth import ClientOptions as ClientOptions
    from domokit.auth import Identity as Identity
    from domokit.auth import OAuthClientAuth as OAuthClientAuth
    from domokit.auth import RetryPolicy as RetryPolicy
    from domokit.auth import Secret as Secret
    from domokit.auth import SessionAuth as SessionAuth
    from domokit.auth import auth_from_env as auth_from_env
    from domokit.auth import override as override
    from domokit.auth import record as record
    from domokit.bulk import Rows as Rows
    from domokit.bulk import WriteOptions as WriteOptions
    from domokit.bulk.progress import Progress as Progress
    from domokit.bulk.schema import Column as Column
    from domokit.bulk.schema import Schema as Schema
    from domokit.bulk.schema import SchemaDiff as SchemaDiff
    from domokit.bulk.upload import UploadResult as UploadResult
    from domokit.entities.access_tokens import DomoAccessToken as DomoAccessToken
    from domokit.entities.account_config import MASKED as MASKED
    from domokit.entities.account_config import AbstractCredentialStore as AbstractCredentialStore
    from domokit.entities.account_config import AccountConfig as AccountConfig
    from domokit.entities.account_config import DomoAccessTokenConfig as DomoAccessTokenConfig
    from domokit.entities.accounts import DomoAccount as DomoAccount
    from domokit.entities.api_clients import DomoApiClient as DomoApiClient
    from domokit.entities.base import NOT_GIVEN as NOT_GIVEN
    from domokit.entities.base import DomoEntity as DomoEntity
    from domokit.entities.base import api as api
    from domokit.entities.base import entity as entity
    from domokit.entities.datasets import DomoDataset as DomoDataset
    from domokit.entities.groups import DomoGroup as DomoGroup
    from domokit.entities.listing import Listing as Listing
    from domokit.entities.listing import Pager as Pager
    from domokit.entities.pdp_policies import ALL_ROWS as ALL_ROWS
    from domokit.entities.pdp_policies import DomoPdpPolicy as DomoPdpPolicy
    from domokit.entities.pdp_policies import RowFilter as RowFilter
    from domokit.entities.roles import DomoRole as DomoRole
    from domokit.entities.streams import DomoStream as DomoStream
    from domokit.entities.streams import DomoStreamExecution as DomoStreamExecution
    from domokit.entities.users import DomoUser as DomoUser
    from domokit.stores import EncryptionKey as EncryptionKey
    from domokit.stores import FileStore as FileStore
    from domokit.stores import KeyringStore as KeyringStore
    from domokit.stores import MemoryStore as MemoryStore
    from domokit.stores import RedisStore as RedisStore
    from domokit.stores import TokenStore as TokenStore
    from domokit.transport import dry_run as dry_run
    from domokit.workflows.account_store import AccountStore as AccountStore
    from domokit.workflows.publication import publish_token as publish_token
    from domokit.workflows.rotation import rotate_access_token as rotate_access_token
    from domokit.workflows.rotation_result import RotationResult as RotationResult

__version__ = "0.1.0"

# Where each public name lives. Importing entities costs about a millisecond a class, hence only on use.
_HOMES = {
    "auth": (
        "NO_RETRY AccessTokenAuth Auth BrowserSessionAuth ClientOptions Identity OAuthClientAuth RetryPolicy Secret "
        "SessionAuth auth_from_env override record"
    ),
    "entities.access_tokens": "DomoAccessToken",
    "entities.account_config": "MASKED AbstractCredentialStore AccountConfig DomoAccessTokenConfig",
    "entities.accounts": "DomoAccount",
    "entities.api_clients": "DomoApiClient",
    "entities.base": "NOT_GIVEN DomoEntity api entity",
    "entities.datasets": "DomoDataset",
    "entities.groups": "DomoGroup",
    "bulk": "Rows WriteOptions",
    "bulk.progress": "Progress",
    "bulk.schema": "Column Schema SchemaDiff",
    "bulk.upload": "UploadResult",
    "entities.listing": "Listing Pager",
    "entities.pdp_policies": "ALL_ROWS DomoPdpPolicy RowFilter",
    "entities.roles": "DomoRole",
    "entities.streams": "DomoStream DomoStreamExecution",
    "entities.users": "DomoUser",
    "stores": "EncryptionKey FileStore KeyringStore MemoryStore RedisStore TokenStore",
    "transport": "dry_run",
    "workflows.account_store": "AccountStore",
    "workflows.publication": "publish_token",
    "workflows.rotation": "rotate_access_token",
    "workflows.rotation_result": "RotationResult",
}
_HOME_OF = {name: f"domokit.{module}" for module, names in _HOMES.items() for name in names.split()}

# Not among them, for `import *` must do without pyarrow: Rows, WriteOptions.
__all__ = [
    "ALL_ROWS",
    "MASKED",
    "NOT_GIVEN",
    "NO_RETRY",
    "AbstractCredentialStore",
    "AccessTokenAuth",
    "AccountConfig",
    "AccountStore",
    "Auth",
    "BrowserSessionAuth",
    "ClientOptions",
    "Column",
    "DomoAccessToken",
    "DomoAccessTokenConfig",
    "DomoAccount",
    "DomoApiClient",
    "DomoDataset",
    "DomoEntity",
    "DomoGroup",
    "DomoPdpPolicy",
    "DomoRole",
    "DomoStream",
    "DomoStreamExecution",
    "DomoUser",
    "EncryptionKey",
    "FileStore",
    "Identity",
    "KeyringStore",
    "Listing",
    "MemoryStore",
    "OAuthClientAuth",
    "Pager",
    "Progress",
    "RedisStore",
    "RetryPolicy",
    "RotationResult",
    "RowFilter",
    "Schema",
    "SchemaDiff",
    "Secret",
    "SessionAuth",
    "TokenStore",
    "UploadResult",
    "api",
    "auth_from_env",
    "dry_run",
    "entity",
    "errors",
    "override",
    "publish_token",
    "record",
    "rotate_access_token",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("domokit.errors")
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'domokit' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOME_OF})
