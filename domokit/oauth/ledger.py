"""Which refresh tokens that people handed over are replaced by now, kept apart from the stores that may be lost.

A keeper is given a refresh token to begin with, in its configuration, and is given the same one at each start. That it
was used up long ago is told by the record of its successor; where that is lost, torn or looked for in another place,
the old one would be presented again, and providers that see one twice revoke all that came of it.
"""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import attrs

from domokit._runtime import state_directory, utc_now
from domokit._secrets import Secret
from domokit.errors import StoreError
from domokit.stores.file import FileStore
from domokit.stores.guarded import Guarded
from domokit.stores.locks import who

log: logging.Logger = logging.getLogger("domokit.oauth")

_KEPT = timedelta(days=400)  # longer than refresh tokens live that are issued by hand
_PATIENCE = 10.0  # seconds to wait for another who presents the same refresh token
_warned: list[str] = []  # what has been said, once in a process


@attrs.frozen(kw_only=True)
class Replaced:
    """That a refresh token was replaced: when, and where its successor went.

    key, store:  of the record that has the successor; the store as people know it.
    by:          host:pid.
    """

    at: datetime
    key: str
    store: str
    by: str


class Ledger:
    """A file in the user's state directory with the fingerprints of such tokens, for all keepers on this machine.

    Where it cannot be used things go on without it, and a warning says so once.
    """

    async def find(self, refresh: Secret) -> Replaced | None:
        """What is known of a refresh token; None if it was not replaced."""
        try:
            stored = await _file().load(refresh.fingerprint)
        except StoreError as error:
            return _warn(error)
        return _decoded(stored.text) if stored is not None else None

    @asynccontextmanager
    async def holding(self, refresh: Secret) -> AsyncGenerator[None, None]:
        """Around presenting a refresh token that was handed over: it may be in other stores as well.

        Who hangs with it does not keep others from it for long: in one store its lock is what counts.
        """
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(_file().lock(refresh.fingerprint, timeout=_PATIENCE))
            except StoreError as error:
                _warn(error)
            yield

    async def note(self, refresh: Secret, *, key: str, store: str) -> None:
        """Note that a refresh token was replaced just now."""
        replaced = {"at": utc_now().timestamp(), "key": key, "store": store, "by": who()}
        try:
            file, name = _file(), refresh.fingerprint
            there = await file.load(name)
            if there is None:
                await file.save(name, Secret(json.dumps(replaced)), replacing=None)
                await _prune(file)
        except StoreError as error:
            _warn(error)


def _file() -> Guarded:
    """Found anew each time: whoever becomes another user has another one."""
    try:
        return Guarded(FileStore(state_directory() / "replaced-refresh-tokens.json"))
    except RuntimeError:
        raise StoreError("this user has no home directory") from None


async def _prune(file: Guarded) -> None:
    oldest = utc_now() - _KEPT
    for name in await file.keys():
        stored = await file.load(name)
        replaced = _decoded(stored.text) if stored is not None else None
        if replaced is not None and replaced.at < oldest:
            await file.delete(name)


def _decoded(text: Secret) -> Replaced | None:
    try:
        found = json.loads(text.reveal())
        at = datetime.fromtimestamp(found["at"], UTC)
        return Replaced(at=at, key=str(found["key"]), store=str(found["store"]), by=str(found["by"]))
    except (ValueError, LookupError, TypeError, OverflowError, OSError, RecursionError):
        return None


def _warn(error: StoreError) -> None:
    if not _warned:
        _warned.append(error.message)
        log.warning("whether refresh tokens were replaced can be neither looked up nor noted: %s", error.message)
