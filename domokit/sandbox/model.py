"""What a Domo instance holds. Plain records: times are epoch milliseconds, secrets stay out of `repr`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class User:
    """A person. `attributes` holds what is optional, under identity/v1 keys (title, department, …)."""

    id: int
    display_name: str
    email: str
    user_name: str
    role_id: int
    created: int
    modified: int
    password: str = field(repr=False)
    old_passwords: list[str] = field(default_factory=list, repr=False)
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    invitor_id: int | None = None
    last_activity: int | None = None
    pending: bool = False
    deleted: bool = False
    direct_sign_on: bool = False
    failed_logins: int = 0
    one_time_password: str | None = field(default=None, repr=False)
    landing_pages: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def active(self) -> bool:
        return not self.deleted


@dataclass(slots=True)
class Group:
    """A group; `owners` are (type, id) pairs such as ("USER", 27)."""

    id: int
    name: str
    type: str
    creator_id: int
    guid: str
    created: int
    user_ids: set[int] = field(default_factory=set, repr=False)
    owners: list[tuple[str, int]] = field(default_factory=list)
    description: str = ""
    default: bool = False
    active: bool = True


@dataclass(slots=True)
class Role:
    """A role and the grants that it gives."""

    id: int
    name: str
    description: str
    grants: list[str] = field(repr=False)
    created: int
    modified: int


@dataclass(slots=True)
class AccessToken:
    """A developer token; stays listed after it expires."""

    id: int
    name: str
    owner_id: int
    expires: int
    token: str = field(repr=False)


@dataclass(slots=True)
class Account:
    """Stored credentials. `shares` maps "USER:27" or "GROUP:1200" to an access level."""

    id: int
    name: str
    display_name: str
    provider: str
    credentials_type: str
    user_id: int
    created: int
    created_by: int
    modified: int
    modified_by: int
    configuration: dict[str, Any] = field(repr=False)
    allow_external_use: bool = False
    valid: bool = True
    shares: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class ApiClient:
    """An OAuth client of the platform API."""

    id: int
    name: str
    description: str
    client_id: str
    client_secret: str = field(repr=False)
    user_id: int
    scopes: list[str]


@dataclass(slots=True)
class Session:
    """A sign-in. `pending` while a one-time password is still owed."""

    id: str
    user_id: int
    created: int
    expires: int
    token: str = field(repr=False)
    pending: bool = False


@dataclass(slots=True)
class Bearer:
    """An access token of the platform API. `expires` in epoch milliseconds."""

    id: str
    client_id: str
    user_id: int
    scopes: list[str]
    expires: int
    token: str = field(repr=False)


@dataclass(slots=True)
class Dataset:
    """A dataset's description; `columns` are {"type", "name"} objects."""

    id: str
    name: str
    description: str
    owner_id: int
    rows: int
    columns: list[dict[str, str]] = field(repr=False)
    created: int
    modified: int
    account_id: int | None = None
