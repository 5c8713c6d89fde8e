"""`Sandbox`: one local Domo, in process or served, and what tests do with it."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from . import seed, store
from .app import ROUTER, App
from .clock import Clock
from .faults import Fault, Faults
from .loading import settle
from .model import AccessToken, Group, IndexRequest, User
from .records import RequestRecord
from .serve import Served
from .state import State
from .warehouse import Warehouse

Watcher = Callable[[str, RequestRecord], object]


class Sandbox:
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
        if users < 1:
            raise ValueError("a company needs at least one user")
        self.state_file: Path | None = None if state_file is None else Path(state_file)
        self.session_lifetime: float = 8 * 3600
        self.oauth_lifetime: float = 3599
        self.users_page_cap = 500
        self.search_page_cap = 1000
        self.legacy_api_clients = False
        self.indexing_seconds: float = 0.0
        self.commit_seconds: float = 0.0
        self.requests: deque[RequestRecord] = deque(maxlen=100_000)
        self.faults: Faults = Faults()
        self.watchers: list[Watcher] = []
        self.served_at: str | None = None
        self.app: App = App(self)
        self.state: State
        self.clock: Clock
        self._saving = threading.Lock()
        is_new = self.state_file is None or not self.state_file.exists()
        if self.state_file is not None and not is_new:
            self.state, offset, self._credentials = store.load(self.state_file)
            self.clock = Clock(offset)
        else:
            self.state, self.clock = State(instance), Clock()
            self._credentials = seed.fill(self.state, self.clock, users)
        self.pending: list[IndexRequest] = [each for each in self.state.index_requests.values() if not each.done]
        folder = None if self.state_file is None else self.state_file.with_name(f"{self.state_file.name}.data")
        self.warehouse: Warehouse = Warehouse(self.state, folder)
        if is_new:
            self.warehouse.sweep(is_new=True)  # an earlier state, whose file is gone, may have left rows

    def __repr__(self) -> str:
        return f"<Sandbox {self.base_url} users={len(self.state.users)}>"

    # who may sign in

    @property
    def instance(self) -> str:
        """The sub-domain that it answers to."""
        return self.state.instance

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

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Served:
        """A context manager, for `with` and `async with`, that serves this sandbox; port 0 picks one."""
        return Served(self, host, port)

    def open(self) -> None:
        """Begin use: put down the state file, if there is to be one, and remove rows that it does not know."""
        if self.state_file is not None:
            self.warehouse.sweep()
            self.save()

    def close(self) -> None:
        """End use: remove what was there for a moment only, and save the state, if it is kept in a file."""
        self.warehouse.close()
        if self.state_file is not None:
            self.save()

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

    def save(self) -> None:
        """Write the state file. Happens by itself after each request that may have changed something."""
        if self.state_file is None:
            raise ValueError("this sandbox has no state file")
        with self._saving:
            store.write(self.state_file, store.dump(self.state, self.clock.offset, self._credentials))

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

    # trouble, and a look inside

    def misbehave(
        self,
        kind: str,
        *,
        times: int | None = 1,
        skip: int = 0,
        method: str | Iterable[str] | None = None,
        path: str | None = None,
        **details: Any,
    ) -> Fault:
        """Plan a misbehaviour for coming requests; kinds are listed in `faults`.

        times: how many requests it hits; None means until cancelled.   skip: how many go free first.
        path:  a regular expression; one that begins with / must match from the start of the path.
        details: seconds= for "latency"; status= (503) and retry_after= for "status"; retry_after= for
        "rate_limit" (a number of seconds or an HTTP date); seconds= for "slow_rows", between pieces of an export, and
        for "slow_reader", between pieces of a request's body, some 64 KiB where it is served; it hits besides others.
        """
        return self.faults.add(kind, times=times, skip=skip, method=method, path=path, **details)

    def heal(self) -> None:
        """End all misbehaviour."""
        self.faults.heal()

    def watch(self, callback: Watcher) -> Callable[[], None]:
        """Call `callback(phase, record)` around each request; the result unsubscribes.

        phase: "received", before anything is done, and "acted", when it is done but not yet answered.
        A callback may be async; while served it runs in the server's thread and loop.
        """
        self.watchers = [*self.watchers, callback]

        def unsubscribe() -> None:
            self.watchers = [each for each in self.watchers if each is not callback]

        return unsubscribe

    @property
    def routes(self) -> list[tuple[str, str, str]]:
        """(family, method, path template) of every endpoint served."""
        return [(route.family, route.method, route.path) for route in ROUTER.routes]
