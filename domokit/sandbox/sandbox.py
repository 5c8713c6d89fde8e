"""`Sandbox`: one local Domo, in process or served, and what tests do with it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from .app import ROUTER, App
from .company import Company
from .loading import settle
from .model import AccessToken, Group, User
from .serve import Served


class Sandbox(Company):
    """A local Domo with a small made-up company in it.

    instance:   the sub-domain that it answers to; a state file brings its own.
    users:      how many people the company has; the first is the administrator.
    state_file: where state is kept; read now if it exists, else made on first use. It holds secrets in
                clear and is readable by its owner only. Raises StateFileError, if the file is unusable. The
                rows of datasets lie beside it, in a folder whose name ends in .data and which goes with it.

    What a client signs in with: `instance`, and `username` and `password` of the administrator, `access_token`, or
    `client_id` and `client_secret`; `credentials()` has them all.

    Settings, to be changed at any time: `session_lifetime` and `oauth_lifetime` in seconds,
    `users_page_cap` and `search_page_cap` in rows (a larger `limit` is cut down to it), and
    `legacy_api_clients` (the list of API clients as Domo wrapped it before June 2025). `indexing_seconds` is how long
    after a commit its rows can be queried; with 0 from the next request on. `commit_seconds` is how long a stream takes
    no further commit: 900 with Domo, and 0 here, unless you set it.
    """

    def __init__(self, instance: str = "acme", users: int = 12, state_file: str | Path | None = None) -> None:
        super().__init__(instance, users, state_file)
        self.app: App = App(self)

    def __repr__(self) -> str:
        return f"<Sandbox {self.base_url} users={len(self.state.users)}>"

    # who may sign in

    @property
    def base_url(self) -> str:
        """Where it is served, for both API families; the instance's own address while it is not."""
        return self.served_at or f"https://{self.instance}.domo.com"

    @property
    def admin(self) -> User:
        """The administrator whose credentials are handed out."""
        return self.state.users[self._credentials["admin_id"]]

    @property
    def username(self) -> str:
        """The administrator's e-mail address."""
        return self.admin.email

    @property
    def password(self) -> str:
        """The administrator's password, in clear."""
        return self.admin.password

    @property
    def access_token(self) -> str:
        """A developer token of the administrator, in clear."""
        return self._credentials["access_token"]

    @property
    def client_id(self) -> str:
        """The id of an API client with all scopes, owned by the administrator."""
        return self._credentials["client_id"]

    @property
    def client_secret(self) -> str:
        """The API client's secret, in clear."""
        return self._credentials["client_secret"]

    def credentials(self) -> dict[str, str]:
        """Everything a client needs, as plain text."""
        names = ("base_url", "instance", "username", "password", "access_token", "client_id", "client_secret")
        return {name: getattr(self, name) for name in names}

    # running it

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Served[Sandbox]:
        """A context manager, for `with` and `async with`, that serves this sandbox; port 0 picks one."""
        return Served(self, self.app, host, port)

    async def __aenter__(self) -> Sandbox:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()

    # the company

    def find_user(self, who: int | str) -> User:
        """A user by id or e-mail address. Raises LookupError."""
        user = self.state.users.get(who) if isinstance(who, int) else self.state.user_by_email(who)
        if user is None:
            raise LookupError("no such user in the sandbox")
        return user

    def add_user(
        self,
        display_name: str,
        email: str,
        role_id: int = 4,
        password: str = "password",  # noqa: S107 - of a made-up person
        **attributes: Any,
    ) -> User:
        """Add someone who can sign in. `attributes` by identity/v1 key: title, department, …"""
        if self.state.user_by_email(email):
            raise ValueError(f"{email} is taken")
        if role_id not in self.state.roles:
            raise ValueError(f"no role {role_id}")
        now = self.clock.now_ms()
        user = User(
            id=self.state.next_id("users"),
            display_name=display_name,
            email=email,
            user_name=email,
            role_id=role_id,
            created=now,
            modified=now,
            password=password,
            attributes=dict(attributes),
            invitor_id=self.admin.id,
        )
        self.state.users[user.id] = user
        return user

    def add_group(self, name: str, user_ids: Iterable[int] = (), *, kind: str = "open") -> Group:
        """Add a group owned by the administrator."""
        group_id = self.state.next_id("groups")
        guid = f"00000000-0000-4000-8000-{group_id:012d}"
        owners = [("USER", self.admin.id)]
        now = self.clock.now_ms()
        group = Group(group_id, name, kind, self.admin.id, guid, now, set(user_ids), owners)
        self.state.groups[group.id] = group
        return group

    def add_access_token(self, owner: int | str, name: str, *, lifetime: float = 90 * 86_400) -> AccessToken:
        """Issue a developer token for a user (id or e-mail address); `lifetime` in seconds."""
        expires = self.clock.now_ms() // 1000 * 1000 + int(lifetime * 1000)
        return self.state.add_access_token(self.find_user(owner).id, name, expires)

    def require_one_time_password(self, who: int | str, code: str | None = "123456") -> None:
        """Make a user's sign-ins wait for `code`; None lifts it."""
        self.find_user(who).one_time_password = code

    def browser_cookie(self, who: int | str) -> str:
        """Sign a user in by browser: the value of a fresh `_dsidv1` cookie."""
        user = self.find_user(who)
        value = secrets.token_urlsafe(32)
        self.state.cookies[value] = user.id
        return value

    def account_config(self, account_id: int | str) -> dict[str, Any]:
        """A copy of an account's stored configuration, secrets in clear."""
        return dict(self.state.accounts[int(account_id)].configuration)

    def dataset_rows(self, dataset_id: str) -> list[tuple[Any, ...]]:
        """The rows of a dataset that can be queried now, in the order in which they were loaded. Raises LookupError."""
        settle(self)
        return self.warehouse.rows(self.state.datasets[dataset_id])

    def signs_in(self, access_token: str) -> int | None:
        """The id of the user whom this developer token signs in right now, or None."""
        token = self.state.find_access_token(access_token)
        if token is None or token.expires <= self.clock.now_ms():
            return None
        owner = self.state.users.get(token.owner_id)
        return None if owner is None or owner.deleted else owner.id

    # a look inside

    @property
    def routes(self) -> list[tuple[str, str, str]]:
        """(family, method, path template) of every endpoint served."""
        return [(route.family, route.method, route.path) for route in ROUTER.routes]
