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
    """A dataset's description; `columns` are {"type", "name"} objects, as last set. Its rows are in the warehouse.

    rows, indexed:  of what can be queried: how many, and the data versions they are in, oldest first.
    versions:       the data versions that make up the present data, oldest first, indexed or not yet.
    shares:         access levels by "USER:27" or "GROUP:3"; the owner has his without an entry.
    takes_data:     False for one that a connector fills: imports are refused.
    certified:      when it was, if it is.
    schema_extras:  the objects and views of the schema, which mean nothing here.
    owner_type:     GROUP when `owner_id` is that of a group.
    type:           as it was made; empty for that of its provider.
    pdp_flags:      what is set of policies beside `pdp_enabled`: secured, external, enabledColumn.
    """

    id: str
    name: str
    description: str
    owner_id: int
    rows: int
    columns: list[dict[str, str]] = field(repr=False)
    created: int
    modified: int
    account_id: int | None = None
    display_type: str = "api"
    provider: str = "api"
    schema_id: int = 1
    tags: list[str] = field(default_factory=list[str])
    shares: dict[str, str] = field(default_factory=dict[str, str])
    pdp_enabled: bool = False
    hidden: bool = False
    deleted: bool = False
    takes_data: bool = True
    certified: int | None = None
    owner_type: str = "USER"
    type: str = ""
    cloud_id: str = "domo"
    pdp_flags: list[str] = field(default_factory=list[str])
    data_current: int | None = None
    versions: list[int] = field(default_factory=list[int])
    indexed: list[int] = field(default_factory=list[int])
    schema_extras: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]], repr=False)


@dataclass(slots=True)
class DataVersion:
    """The rows of one load; `columns` as they were then, `tag` the partition if any.

    status:  processing while its execution is not committed, then success; deleted if it can be queried until the next
             index.
    """

    id: int
    dataset_id: str
    schema_id: int
    columns: list[dict[str, str]] = field(repr=False)
    rows: int
    bytes: int
    recorded: int
    completed: int
    action: str = "REPLACE"
    tag: str | None = None
    status: str = "success"


@dataclass(slots=True)
class Upload:
    """Parts on their way in. `parts` has [rows, bytes] by part number; `state` is open, committed or aborted.

    recorded:  when the rows were recorded, if that was said.
    """

    id: int
    dataset_id: str
    created: int
    action: str | None = None
    tag: str | None = None
    append_id: str | None = None
    state: str = "open"
    parts: dict[str, list[int]] = field(default_factory=dict[str, list[int]], repr=False)
    stream_id: int | None = None
    execution_id: int | None = None
    version_id: int | None = None
    recorded: int | None = None


@dataclass(slots=True)
class IndexRequest:
    """A request to make data versions queryable; done at `due`, epoch milliseconds on the sandbox's clock."""

    id: str
    dataset_id: str
    versions: list[int]
    requested: int
    due: int
    done: bool = False


@dataclass(slots=True)
class Stream:
    """What feeds a dataset: how loads update it, and by which key columns. `details` is the rest, by wire key."""

    id: int
    dataset_id: str
    owner_id: int
    update_method: str
    created: int
    modified: int
    key_columns: list[str] = field(default_factory=list[str])
    details: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    deleted: bool = False


@dataclass(slots=True)
class Execution:
    """One run of a stream. Its id counts within the stream, so the table's key is "STREAM/EXECUTION".

    phase:      IMPORT while it takes rows, DATASTORE while they are put into the dataset, INDEX, FINAL.
    upload_id:  the upload for the parts that are sent without one.
    versions:   the data versions that its uploads made, none of which is in the dataset before the commit.
    """

    id: str
    stream_id: int
    number: int
    update_method: str
    started: int
    modified: int
    state: str = "ACTIVE"
    phase: str = "INIT"
    ended: int | None = None
    upload_id: int | None = None
    versions: list[int] = field(default_factory=list[int])
    rows: int = 0
    bytes: int = 0
    index_request: str | None = None
    started_by: int | None = None
    errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass(slots=True)
class Policy:
    """A row policy. `filters` are {"column", "values", "operator", "not", "ignoreCase", "type"} objects.

    type:  user, system, or open: the one named All Rows, which lets those it names see everything.
    """

    id: int
    dataset_id: str
    name: str
    type: str = "user"
    filters: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    user_ids: list[int] = field(default_factory=list[int])
    group_ids: list[int] = field(default_factory=list[int])
    virtual_user_ids: list[str] = field(default_factory=list[str])
