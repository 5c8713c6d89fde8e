"""A small made-up company. The same every time, but for its secrets, which are random."""

from __future__ import annotations

import random
import secrets
import uuid
from itertools import product
from typing import Any

from .clock import Clock
from .model import Account, ApiClient, Dataset, DataVersion, Group, Role, User
from .state import ALL_SCOPES, State

DAY = 86_400_000  # milliseconds
FOUNDED = 1_700_000_000_000  # when the company signed up; epoch milliseconds, a whole second

_FIRST = (
    "Ada Ben Cleo Dario Edith Farid Greta Hugo Ines Jonas Kira Liam Mona Nils Olga Pablo Qiana Ravi Sara "
    "Tomas Uma Viktor Wanda Xavier Yara Zeno Amara Bruno Carla Dmitri Elena Felix Gita Henrik Irene Jamal"
)
_LAST = (
    "Ames Brook Castle Dunn Ekwall Fisher Grant Holm Ibarra Jansen Kaur Lund Mercer Novak Okafor Petit "
    "Quist Rossi Stone Tanaka Ueda Vance Weber Xu Young Zorn Adler Bauer Costa Diaz Evans Frost Gill Hahn"
)
FIRST_NAMES, LAST_NAMES = _FIRST.split(), _LAST.split()

DEPARTMENTS = ("Analytics", "Finance", "Sales", "Operations", "Marketing")
TITLES = ("Analyst", "Manager", "Engineer", "Director", "Specialist")

# grant -> (title, group in the UI)
GRANTS: dict[str, tuple[str, str]] = {
    "account.admin": ("Manage all accounts", "DATA"),
    "audit": ("View the activity log", "COMPANY"),
    "authorization.roles": ("Manage all roles", "COMPANY"),
    "content.card.edit": ("Edit cards", "CONTENT"),
    "content.page.edit": ("Edit pages", "CONTENT"),
    "dataset.create": ("Create DataSets", "DATA"),
    "dataset.manage": ("Manage all DataSets", "DATA"),
    "developer.token.manage": ("Manage all access tokens", "COMPANY"),
    "group.manage": ("Manage all groups", "COMPANY"),
    "ui.admin": ("Use the admin pages", "COMPANY"),
    "user.edit": ("Manage all people", "COMPANY"),
    "user.invite": ("Invite people", "COMPANY"),
}
DATA_STEWARD = 700_000_001
_ROLES: tuple[tuple[int, str, str, list[str]], ...] = (
    (1, "Admin", "Full access to everything", list(GRANTS)),
    (2, "Privileged", "Edits content and data", ["content.card.edit", "content.page.edit", "dataset.create"]),
    (3, "Editor", "Edits content", ["content.card.edit", "content.page.edit"]),
    (4, "Participant", "Views and shares content", []),
    (5, "Social", "Takes part in conversations", []),
    (DATA_STEWARD, "Data steward", "Looks after all data", ["dataset.create", "dataset.manage", "ui.admin"]),
)

CUSTOM_ATTRIBUTE = "StoreRegion"
FIRST_IDS = {
    "users": 2_000_000_001,
    "groups": 1_200_000_001,
    "access_tokens": 200_001,
    "accounts": 101,
    "api_clients": 4711,
}


def fill(state: State, clock: Clock, users: int) -> dict[str, Any]:
    """Fill an empty state with a company of `users` people; return the credentials to hand out."""
    rng = random.Random(20)
    state.next_ids.update(FIRST_IDS)
    for role_id, name, description, grants in _ROLES:
        state.roles[role_id] = Role(role_id, name, description, grants, FOUNDED, FOUNDED)
    people = _people(state, rng, users)
    _groups(state, rng, people)
    _accounts(state, people)
    _datasets(state, rng, people)
    admin = people[0]
    token = state.add_access_token(admin.id, "sandbox", clock.now_ms() // 1000 * 1000 + 365 * DAY)
    state.add_access_token(admin.id, "last year's sync", FOUNDED + 30 * DAY)  # expired, yet listed
    client = ApiClient(
        id=state.next_id("api_clients"),
        name="sandbox",
        description="all scopes",
        client_id=str(uuid.uuid4()),
        client_secret=secrets.token_hex(32),
        user_id=admin.id,
        scopes=list(ALL_SCOPES),
    )
    state.api_clients[client.id] = client
    return {
        "admin_id": admin.id,
        "access_token": token.token,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
    }


def _people(state: State, rng: random.Random, count: int) -> list[User]:
    names = list(product(FIRST_NAMES, LAST_NAMES))
    rng.shuffle(names)
    ids = rng.sample(range(1_000_000_000, 2_000_000_000), count)
    roles = (1, 2, 3, 4, DATA_STEWARD, 4, 2, 4, 5, 4)
    people: list[User] = []
    for n, user_id in enumerate(ids):
        again, which = divmod(n, len(names))  # a big company has namesakes; their addresses differ
        first, last = names[which]
        email = f"{first}.{last}{again + 1 if again else ''}@example.com".lower()
        created = FOUNDED + n % 500 * 3_600_000
        attributes: dict[str, Any] = {
            "department": DEPARTMENTS[n % len(DEPARTMENTS)],
            "title": TITLES[n // 5 % len(TITLES)],
            "employeeNumber": 1000 + n,
            "phoneNumber": f"000-000-{n % 10_000:04d}",
            "timeZone": "UTC",
            "locale": "en-US",
        }
        if people:
            attributes["reportsTo"] = str(people[(n - 1) // 8].id)
        user = User(
            id=user_id,
            display_name=f"{first} {last}",
            email=email,
            user_name=email,
            role_id=roles[n % len(roles)] if n else 1,
            created=created,
            modified=created + 35 * DAY + 123,
            password=secrets.token_urlsafe(12),
            attributes=attributes,
            invitor_id=people[0].id if people else None,
            last_activity=created + 34 * DAY + 994,
        )
        state.users[user.id] = user
        people.append(user)
    # One administrator is enough to start with; the cycle above would make every tenth person another.
    for user in people[1:]:
        if user.role_id == 1:
            user.role_id = 2
    return people


def _groups(state: State, rng: random.Random, people: list[User]) -> None:
    ids = [user.id for user in people]
    teams: list[tuple[str, str, list[int], bool]] = [
        ("Default", "system", ids, True),
        ("Data team", "open", ids[: max(2, len(ids) // 3)], True),
        ("Finance", "closed", ids[1::4], True),
        ("Old team", "open", [], False),
    ]
    for name, kind, members, active in teams:
        guid = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        group = Group(
            id=state.next_id("groups"),
            name=name if active else f"{name}_deleted_{guid}",
            type=kind,
            creator_id=ids[0],
            guid=guid,
            created=FOUNDED + 5_000,
            user_ids=set(members),
            owners=[("USER", ids[0])],
            default=name == "Default",
            active=active,
        )
        state.groups[group.id] = group


def _accounts(state: State, people: list[User]) -> None:
    admin, second = people[0], people[1 % len(people)]
    team = next(group for group in state.groups.values() if group.name == "Data team")
    hidden = secrets.token_hex
    rows: list[tuple[str, str, str, User, dict[str, Any], bool]] = [
        (
            "DataSet Copy Account",
            "copy to test",
            "dataset-copy",
            admin,
            {"accessToken": hidden(24), "instance": "acme-dev"},
            False,
        ),
        (admin.email, "sheets", "google-spreadsheets", admin, {}, False),
        (
            "Abstract Credential Store Account",
            "etl credentials",
            "abstract-credential-store",
            second,
            {"credentials": f'{{"user": "svc", "secret": "{hidden(8)}"}}'},
            False,
        ),
        (
            "Snowflake Account",
            "warehouse",
            "snowflake",
            admin,
            {"account": "ab12345", "username": "svc", "password": hidden(12), "role": "LOADER"},
            True,
        ),
    ]
    for name, display_name, provider, owner, configuration, external in rows:
        account = Account(
            id=state.next_id("accounts"),
            name=name,
            display_name=display_name,
            provider=provider,
            credentials_type="oauth" if provider == "google-spreadsheets" else "fields",
            user_id=owner.id,
            created=FOUNDED + DAY,
            created_by=owner.id,
            modified=FOUNDED + DAY + 3_600_000,
            modified_by=owner.id,
            configuration=configuration,
            allow_external_use=external,
            shares={f"USER:{owner.id}": "OWNER"},
        )
        if provider == "abstract-credential-store":
            account.shares[f"GROUP:{team.id}"] = "CAN_VIEW"
        state.accounts[account.id] = account


def _datasets(state: State, rng: random.Random, people: list[User]) -> None:
    columns = [
        {"type": "STRING", "name": "order_id"},
        {"type": "LONG", "name": "qty"},
        {"type": "DECIMAL", "name": "price"},
        {"type": "DATE", "name": "day"},
    ]
    warehouse = next(account for account in state.accounts.values() if account.provider == "snowflake")
    for n, name in enumerate(("Orders", "Customers", "Stock", "Web visits", "Budget")):
        dataset = Dataset(
            id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            name=name,
            description=f"{name}, refreshed daily" if n % 2 == 0 else "",
            owner_id=people[n % len(people)].id,
            rows=250 * (n + 1),
            columns=columns[: 2 + n % 3],
            created=FOUNDED + 2 * DAY,
            modified=FOUNDED + (40 + n) * DAY,
            account_id=warehouse.id if n < 2 else None,
            takes_data=n >= 2,
        )
        state.datasets[dataset.id] = dataset
        version = DataVersion(
            id=state.next_id("data_versions"),
            dataset_id=dataset.id,
            schema_id=dataset.schema_id,
            columns=dataset.columns,
            rows=dataset.rows,
            bytes=dataset.rows * 20,
            recorded=dataset.modified,
            completed=dataset.modified,
            action="SEED",  # the rows are made up when they are first read
        )
        state.data_versions[version.id] = version
        dataset.versions, dataset.indexed = [version.id], [version.id]
        dataset.data_current = dataset.modified
