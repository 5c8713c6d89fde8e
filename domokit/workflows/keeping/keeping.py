"""Runs the charges: each on its own schedule, none in the way of another."""

import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import timedelta
from pathlib import Path
from random import uniform
from typing import Any

import anyio
import attrs
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup

from domokit._runtime import utc_now
from domokit.auth import ClientOptions
from domokit.errors import APIError, DomoError, InvalidInputError
from domokit.workflows.keeping.charges import AccessTokenCharge, Charge, OAuthCharge
from domokit.workflows.keeping.config import read_config
from domokit.workflows.keeping.places import Places
from domokit.workflows.keeping.settings import AccessTokenSettings, KeepConfig, OAuthSettings
from domokit.workflows.keeping.status import CredentialStatus, KeepStatus, read_status

log: logging.Logger = logging.getLogger("domokit.keep")

_LEAST_WAIT = 0.5  # seconds between two looks, however short a provider lets its tokens live
_STATUS_EVERY = 0.5  # seconds at least between two writings of the status
_HEARTBEAT = 20.0  # seconds at most, so that others see that the keeper is alive
_FILE_EVERY = 1.0  # seconds between looks at the configuration file
_DRAIN = 75.0  # seconds for what is under way when the keeper is told to stop; a token request may take 60
_MENDING = 3  # how much longer the waits are where a human must mend something

Stamp = tuple[int, int, int] | None


@attrs.frozen(kw_only=True)
class Finding:
    """What a check found about one part of a configuration; `error` is None if all is well."""

    what: str
    error: DomoError | None = None


@attrs.define(eq=False)
class _Task:
    """A charge at work.

    after:  tasks of a configuration before, which it does not begin before the end of.
    wake:   ends the wait for the next look.
    """

    charge: Charge
    definition: tuple[Any, ...]
    after: Sequence["_Task"] = ()
    is_stopping: bool = False
    wake: anyio.Event = attrs.field(factory=anyio.Event)
    ended: anyio.Event = attrs.field(factory=anyio.Event)

    def stop(self) -> None:
        self.is_stopping = True
        self.wake.set()


class Keeping:
    """Keeps the credentials of a configuration fresh.

        keeping = Keeping(read_config("keep.toml"))
        findings = await keeping.check()      # or
        status = await keeping.once()         # or
        status = await keeping.run(stop)      # until the event `stop` is set

    Each credential is looked at every `check_every`, and renewed when its time has come; one that fails is tried
    again after growing waits, and does not hold up the others. Several keepers may share a store: who comes first
    renews, the others take over what it got.

    options:  proxy, certificates, timeouts and clock for every connection; base_url is each instance's own.
    """

    def __init__(self, config: KeepConfig, *, options: ClientOptions | None = None) -> None:
        self.config: KeepConfig = config
        self.status: KeepStatus = KeepStatus(config=str(config.path))
        self._places = Places(config, options or ClientOptions())
        self._tasks: dict[str, _Task] = {}
        self._ending: list[_Task] = []
        self._limiters: dict[Hashable, CapacityLimiter] = {}
        self._changed = False

    # -- once

    async def check(self) -> list[Finding]:
        """Look whether every reference, store, instance and account is there and lets us in; change nothing."""
        findings: dict[str, Finding] = {}
        config, places = self.config, self._places

        async def prove(what: str, needs: Sequence[str], proof: Callable[[], Awaitable[object]]) -> None:
            """Note whether it is so; and if what it needs is known not to be so, that, without asking again."""
            known = [findings[one].error for one in needs if one in findings]
            error = next((one for one in known if one is not None), None) or await _error_of(proof)
            findings[what] = Finding(what=what, error=error)

        async def check_store(name: str) -> None:
            await (await places.store(name)).check()

        async def check_instance(name: str) -> None:
            await (await places.auth(name)).sign_in()

        try:
            for name in config.instances:
                await prove(f"instances.{name}", (), lambda name=name: check_instance(name))
            for name in config.stores:
                await prove(f"stores.{name}", (), lambda name=name: check_store(name))
            for name, settings in config.credentials.items():
                what = f"credentials.{name}"
                instances = [f"instances.{one}" for one in config.instances_of(name)]
                references = settings.references if isinstance(settings, OAuthSettings) else {}
                for field, one in references.items():
                    await prove(f"{what}.{field}", instances, lambda one=one: places.secrets({"": one}))
                needs = [f"stores.{settings.store}", *instances, *(f"{what}.{field}" for field in references)]
                charge = self._charge(name)
                await prove(what, needs, charge.check)
        finally:
            with anyio.CancelScope(shield=True):
                await places.aclose()
        return list(findings.values())

    async def once(self, stop: anyio.Event | None = None) -> KeepStatus:
        """Look at every credential once, renew what is due before the next time, and return.

        `check_every` tells when that is. When `stop` is set, no further one is begun. The status file is written unless
        it is that of a keeper at work, which will tell for itself what it finds.
        """

        async def look(charge: Charge, ahead: timedelta) -> None:
            await self._look(charge, lambda: stop is not None and stop.is_set(), ahead.total_seconds())
            await self._close(charge)

        try:
            async with anyio.create_task_group() as group:
                for name, settings in self.config.credentials.items():
                    group.start_soon(look, self._charge(name), settings.check_every)
        finally:
            await self._finish(beside=True)
        return self.status

    # -- for ever

    async def run(self, stop: anyio.Event, *, reload: Callable[[], bool] = lambda: False) -> KeepStatus:
        """Keep them until `stop` is set; then finish the renewals under way, and return.

        reload:  asked now and then whether the configuration shall be read again even if its file looks unchanged.
        """
        try:
            async with anyio.create_task_group() as group:
                self._begin(group)
                group.start_soon(self._write_status_now_and_then)
                await self._watch(group, stop, reload)
                await self._drain()
                group.cancel_scope.cancel()
        finally:
            await self._finish()
        return self.status

    def _begin(self, group: TaskGroup) -> None:
        """Set off what is in the configuration and not at work."""
        for name in self.config.credentials:
            if name not in self._tasks:
                after = [task for task in self._ending if not task.ended.is_set()]
                self._tasks[name] = _Task(self._charge(name), self.config.definition(name), after)
                group.start_soon(self._keep, self._tasks[name])
        log.info("keeping %d credentials of %s", len(self._tasks), self.config.path)

    async def _drain(self) -> None:
        log.info("told to stop; finishing what is under way")
        tasks = [*self._ending, *self._tasks.values()]
        for task in tasks:
            task.stop()
        with anyio.move_on_after(_DRAIN):
            for task in tasks:
                await task.ended.wait()
            return
        left = ", ".join(task.charge.name for task in tasks if not task.ended.is_set())
        log.error("still under way after %.0f s, and broken off: %s; token requests go on to their end", _DRAIN, left)

    async def _finish(self, *, beside: bool = False) -> None:
        """Close what is open, and tell of the end.

        beside:  whether the status may be another's, who is at work.
        """
        with anyio.CancelScope(shield=True):
            await self._places.aclose()
            self.status.ended_at = utc_now()
            if not (beside and await to_thread.run_sync(_is_told_by_another, self.config.status)):
                await self._write_status()

    async def _keep(self, task: _Task) -> None:
        charge, failures = task.charge, 0
        try:
            for before in task.after:
                await before.ended.wait()
            while not task.is_stopping:
                task.wake = anyio.Event()
                found = await self._look(charge, lambda: task.is_stopping)
                if task.is_stopping:
                    break
                failures = failures + 1 if isinstance(found, DomoError) else 0
                wait = self._wait_after(found, failures, charge) if isinstance(found, DomoError) else found
                wait = max(wait + 0.01, _LEAST_WAIT)  # rather a little late than too early, and in vain
                charge.status.next_at = utc_now() + timedelta(seconds=wait)
                with anyio.move_on_after(wait):
                    await task.wake.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close(charge)
                charge.status.state, self._changed = "stopped", True
                task.ended.set()

    def _wait_after(self, error: DomoError, failures: int, charge: Charge) -> float:
        first, last = self.config.first_retry.total_seconds(), self.config.last_retry.total_seconds()
        wait = min(last, first * 2.0 ** min(failures - 1, 30)) * uniform(0.5, 1.0)
        if charge.status.needs_human:
            wait *= _MENDING
        if isinstance(error, APIError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        # What failed may have been its publication: that does not put off the renewal.
        return min(wait, charge.due_in) if charge.due_in > 0 else wait

    async def _look(self, charge: Charge, is_over: Callable[[], bool], ahead: float = 0.0) -> float | DomoError:
        """One look: the seconds until the next, or how it failed.

        Some wait until others are done, but only for those that share whatever makes them slow.
        """
        limiter = self._limiters.setdefault(charge.group, CapacityLimiter(self.config.at_once))
        async with limiter:
            wait = 0.0
            if is_over():
                return wait

            async def look() -> None:
                nonlocal wait
                if charge.status.needs_human:
                    await self._places.reread()
                wait = await charge.look(ahead)

            error = await _error_of(look)
        self._changed = True
        if error is not None:
            _note_failure(charge, error)
            return error
        charge.status.state, charge.status.needs_human = "fresh", False
        return wait

    async def _close(self, charge: Charge) -> None:
        if (error := await _error_of(charge.aclose)) is not None:
            _note_failure(charge, error)

    def _charge(self, name: str) -> Charge:
        settings = self.config.credentials[name]
        status = CredentialStatus(name=name, kind=settings.kind)
        others = {one.name: one for one in self.status.credentials} | {name: status}
        self.status.credentials = [others[one] for one in self.config.credentials if one in others]
        if isinstance(settings, AccessTokenSettings):
            return AccessTokenCharge(name, settings, status, self._places)
        return OAuthCharge(name, settings, status, self._places)

    # -- the configuration, reread

    async def _watch(self, group: TaskGroup, stop: anyio.Event, reload: Callable[[], bool]) -> None:
        in_use = before = await self._stamp()
        while not stop.is_set():
            with anyio.move_on_after(_FILE_EVERY):
                await stop.wait()
                return
            stamp = await self._stamp()
            # A file that is still being written is left alone until it has rested.
            if reload() or (stamp != in_use and stamp == before):
                in_use = stamp
                await self._reload(group)
            before = stamp

    async def _stamp(self) -> Stamp:
        try:
            found = await anyio.Path(self.config.path).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    async def _reload(self, group: TaskGroup) -> None:
        """Go over to what the file says now; what is the same goes on undisturbed. What fails is tried at once."""
        found: list[KeepConfig] = []

        async def read() -> None:
            found.append(await to_thread.run_sync(read_config, self.config.path))

        if (error := await _error_of(read)) is not None:
            self.status.config_error, self._changed = error.message, True
            log.error("the configuration is not reloaded, and the one before goes on: %s", error)
            return
        (config,) = found
        self.status.config_error = None
        gone = [
            name
            for name, task in self._tasks.items()
            if name not in config.credentials or config.definition(name) != task.definition
        ]
        log.info("the configuration is reloaded; %d credentials end or change", len(gone))
        self._ending = [task for task in self._ending if not task.ended.is_set()]
        for name in gone:
            task = self._tasks.pop(name)
            task.stop()
            self._ending.append(task)
        self.config = self._places.config = config
        self._limiters = {}
        self.status.credentials = [one for one in self.status.credentials if one.name in config.credentials]
        group.start_soon(self._begin_anew, list(self._tasks.values()))
        self._changed = True
        self._begin(group)

    async def _begin_anew(self, tasks: list[_Task]) -> None:
        """Try at once what fails: somebody may have mended it, and told us so."""
        await _error_of(lambda: self._places.reread(sign_in=True))
        for task in tasks:
            if task.charge.status.state == "failing":
                task.charge.begin_anew()
                task.wake.set()

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
        except (OSError, ValueError) as error:
            log.error("the status cannot be written to %s: %s", self.config.status, error)


def _is_told_by_another(path: Path) -> bool:
    try:
        found = read_status(path)
    except InvalidInputError:
        return False
    if found.is_running:
        log.info("the status is left to keeper %d on %s, which is at work", found.pid, found.host)
    return found.is_running


async def _error_of(work: Callable[[], Awaitable[object]]) -> DomoError | None:
    """How something failed; None if it did not. What is no DomoError is a bug: told, and no reason to stop others."""
    try:
        await work()
    except DomoError as error:
        return error
    except Exception as error:
        log.debug("unexpected", exc_info=True)
        return DomoError(f"unexpected {type(error).__name__}: {error}")
    return None


def _note_failure(charge: Charge, error: DomoError) -> None:
    status = charge.status
    status.state = "failing"
    status.needs_human = error.needs_human or isinstance(error, InvalidInputError)
    status.failures += 1
    status.last_error, status.last_error_at = str(error), utc_now()
    log.warning("%s: %s", charge.name, error)
