"""`Company`: one company's Domo, with its state, its clock, its rows and its troubles; a sandbox without its doors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import seed, store
from .clock import Clock
from .faults import Fault, Faults
from .model import IndexRequest
from .records import RequestRecord
from .state import State
from .warehouse import Warehouse

Watcher = Callable[[str, RequestRecord], object]


class Company:
    """What the handlers of requests work on. Its members and settings are described at `Sandbox`."""

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

    @property
    def instance(self) -> str:
        """The sub-domain that it answers to."""
        return self.state.instance

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

    def save(self) -> None:
        """Write the state file. Happens by itself after each request that may have changed something."""
        if self.state_file is None:
            raise ValueError("this sandbox has no state file")
        with self._saving:
            store.write(self.state_file, store.dump(self.state, self.clock.offset, self._credentials))

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
