"""Runs the charges: each on its own schedule, none in the way of another."""

import logging
from collections.abc import Callable
from datetime import timedelta
from random import uniform
from typing import Any

import anyio
import attrs
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup

from domokit._runtime import utc_now
from domokit._secrets import scrub
from domokit.auth import ClientOptions
from domokit.errors import DomoError, InvalidInputError
from domokit.workflows.keeping.charges import AccessTokenCharge, Charge, OAuthCharge, Places
from domokit.workflows.keeping.config import AccessTokenSettings, KeepConfig, read_config
from domokit.workflows.keeping.status import CredentialStatus, KeepStatus

log: logging.Logger = logging.getLogger("domokit.keep")

_STATUS_EVERY = 0.5  # seconds at least between two writings of the status
_HEARTBEAT = 20.0  # seconds at most, so that others see that the keeper is alive
_FILE_EVERY = 1.0  # seconds between looks at the configuration file
_DRAIN = 60.0  # seconds for renewals under way when the keeper is told to stop
_MENDING = 3  # how much longer the waits are where a human must mend something


@attrs.frozen(kw_only=True)
class Finding:
    """What a check found about one part of a configuration; `error` is None if all is well."""

    what: str
    error: DomoError | None = None


@attrs.define(eq=False)
class _Task:
    """A charge at work."""

    charge: Charge
    definition: tuple[Any, ...]
    stop: anyio.Event = attrs.field(factory=anyio.Event)
    ended: anyio.Event = attrs.field(factory=anyio.Event)


class Keeping:
    """Keeps the credentials of a configuration fresh.

        keeping = Keeping(read_config("keep.toml"))
        findings = await keeping.check()      # or
        status = await keeping.once()         # or
        await keeping.run(stop)               # until the event `stop` is set

    Each credential is looked at every `check_every`, and renewed when its time has come; one that fails is tried
    again after growing waits, and does not hold up the others. Several keepers may share a store: who comes first
    renews, the others take over what it got.

    options:  proxy, certificates, timeouts and clock for every connection; base_url is each instance's own.
    """

    def __init__(self, config: KeepConfig, *, options: ClientOptions | None = None) -> None:
        self.config: KeepConfig = config
        self.options: ClientOptions = options or ClientOptions()
        self.status: KeepStatus = KeepStatus(config=str(config.path))
        self._tasks: dict[str, _Task] = {}
        self._places = Places(config, self.options)
        self._former: list[Places] = []  # of configurations before; what goes on undisturbed still uses them
        self._changed = False
        self._limiter: CapacityLimiter | None = None

    # -- once

    async def check(self) -> list[Finding]:
        """Look whether every reference, store, instance and account is there and lets us in; change nothing."""
        findings: dict[str, Finding] = {}

        async def prove(what: str, proof: Callable[[], Any]) -> None:
            findings[what] = Finding(what=what, error=await _error_of(proof))

        config = self.config
        try:
            for name in config.stores:
                await prove(f"stores.{name}", lambda name=name: self._check_store(name))
            for name in config.instances:
                await prove(f"instances.{name}", lambda name=name: self._check_instance(name))
            for name in config.credentials:
                charge = self._charge(name, self._places)
                await prove(f"credentials.{name}", charge.check)
        finally:
            await self._places.aclose()
        return list(findings.values())

    async def _check_store(self, name: str) -> None:
        await (await self._places.store(name)).check()

    async def _check_instance(self, name: str) -> None:
        await (await self._places.auth(name)).sign_in()

    async def once(self) -> KeepStatus:
        """Look at every credential once, renew what is due, and end."""
        try:
            async with anyio.create_task_group() as group:
                for name in self.config.credentials:
                    charge = self._charge(name, self._places)
                    group.start_soon(self._look_once, charge)
        finally:
            with anyio.CancelScope(shield=True):
                await self._places.aclose()
        self.status.ended_at = utc_now()
        await self._write_status()
        return self.status

    async def _look_once(self, charge: Charge) -> None:
        await self._look(charge)
        if (error := await _error_of(charge.aclose)) is not None:
            _note_failure(charge, error)

    # -- for ever

    async def run(self, stop: anyio.Event, *, reload: Callable[[], bool] = lambda: False) -> KeepStatus:
        """Keep them until `stop` is set; then finish the renewals under way, and return.

        reload:  asked now and then whether the configuration shall be read again even if its file looks unchanged.
        """
        async with anyio.create_task_group() as group:
            self._begin(group)
            group.start_soon(self._write_status_now_and_then)
            await self._watch(group, stop, reload)
            with anyio.move_on_after(_DRAIN) as drained:
                await self._end(list(self._tasks))
            if drained.cancelled_caught:
                log.error("renewals were still under way after %.0f s; their threads go on to their end", _DRAIN)
            group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for places in (self._places, *self._former):
                await places.aclose()
            self.status.ended_at = utc_now()
            await self._write_status()
        return self.status

    def _begin(self, group: TaskGroup) -> None:
        """Set off what is in the configuration and not at work."""
        for name in self.config.credentials:
            if name not in self._tasks:
                task = _Task(self._charge(name, self._places), self.config.definition(name))
                self._tasks[name] = task
                group.start_soon(self._keep, task)
        log.info("keeping %d credentials of %s", len(self._tasks), self.config.path)

    async def _end(self, names: list[str]) -> None:
        """Stop some charges, each after what it is doing now."""
        tasks = [self._tasks[name] for name in names]
        for task in tasks:
            task.stop.set()
        for task in tasks:
            await task.ended.wait()
        for name in names:
            del self._tasks[name]

    async def _keep(self, task: _Task) -> None:
        charge, failures = task.charge, 0
        try:
            while not task.stop.is_set():
                wait = await self._look(charge)
                failures = 0 if wait is not None else failures + 1
                if wait is None:
                    first, last = self.config.first_retry.total_seconds(), self.config.last_retry.total_seconds()
                    wait = min(last, first * 2 ** min(failures - 1, 20)) * uniform(0.5, 1.0)
                    wait *= _MENDING if charge.status.needs_human else 1
                charge.status.next_at = utc_now() + timedelta(seconds=wait)
                self._changed = True
                with anyio.move_on_after(max(wait, 0.05)):
                    await task.stop.wait()
        finally:
            with anyio.CancelScope(shield=True):
                if (error := await _error_of(charge.aclose)) is not None:
                    _note_failure(charge, error)
                charge.status.state = "stopped"
                task.ended.set()

    async def _look(self, charge: Charge) -> float | None:
        """One look; the seconds until the next, or None if it failed."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self.config.at_once)
        async with self._limiter:
            wait: float | None = None

            async def look() -> None:
                nonlocal wait
                wait = await charge.look()

            error = await _error_of(look)
        self._changed = True
        if error is not None:
            _note_failure(charge, error)
            return None
        charge.status.state, charge.status.needs_human = "fresh", False
        return wait

    def _charge(self, name: str, places: Places) -> Charge:
        settings = self.config.credentials[name]
        known = {status.name: status for status in self.status.credentials}
        status = known.get(name)
        if status is None or status.kind != settings.kind or status.state == "stopped":
            status = CredentialStatus(name=name, kind=settings.kind)
            self.status.credentials = [one for one in self.status.credentials if one.name != name] + [status]
        if isinstance(settings, AccessTokenSettings):
            return AccessTokenCharge(name, settings, status, places)
        return OAuthCharge(name, settings, status, places)

    # -- the configuration, reread

    async def _watch(self, group: TaskGroup, stop: anyio.Event, reload: Callable[[], bool]) -> None:
        seen = await self._stamp()
        while not stop.is_set():
            with anyio.move_on_after(_FILE_EVERY):
                await stop.wait()
            if stop.is_set():
                return
            stamp = await self._stamp()
            if stamp != seen or reload():
                seen = stamp
                await self._reload(group)

    async def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = await anyio.Path(self.config.path).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    async def _reload(self, group: TaskGroup) -> None:
        """Go over to what the file says now: what is the same goes on undisturbed."""
        try:
            config = await to_thread.run_sync(read_config, self.config.path)
        except InvalidInputError as error:
            self.status.config_error, self._changed = error.message, True
            log.error("the configuration is not reloaded, and the one before goes on: %s", error)
            return
        self.status.config_error = None
        gone = [
            name
            for name, task in self._tasks.items()
            if name not in config.credentials or config.definition(name) != task.definition
        ]
        log.info("the configuration is reloaded; %d credentials end or change", len(gone))
        await self._end(gone)
        self.config = config
        self._former.append(self._places)
        self._places = Places(config, self.options)
        self.status.credentials = [one for one in self.status.credentials if one.name in config.credentials]
        self._changed = True
        self._begin(group)

    # -- the status

    async def _write_status_now_and_then(self) -> None:
        last = -_HEARTBEAT
        while True:
            if self._changed or anyio.current_time() - last >= _HEARTBEAT:
                self._changed, last = False, anyio.current_time()
                await self._write_status()
            await anyio.sleep(_STATUS_EVERY)

    async def _write_status(self) -> None:
        try:
            await to_thread.run_sync(self.status.write, self.config.status)
        except OSError as error:
            log.error("the status cannot be written to %s: %s", self.config.status, error.strerror)


async def _error_of(work: Callable[[], Any]) -> DomoError | None:
    """How something failed; None if it did not. What is no DomoError is a bug: told, and no reason to stop others."""
    try:
        await work()
    except DomoError as error:
        return error
    except Exception as error:  # noqa: BLE001
        log.error("unexpected: %s: %s", type(error).__name__, scrub(str(error)))
        return DomoError(f"unexpected {type(error).__name__}: {error}")
    return None


def _note_failure(charge: Charge, error: DomoError) -> None:
    status = charge.status
    status.state, status.needs_human = "failing", error.needs_human
    status.failures += 1
    status.last_error, status.last_error_at = str(error), utc_now()
    log.warning("%s: %s", charge.name, error)
