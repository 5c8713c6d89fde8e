"""Tokens in a Redis server, which many hosts may share."""

import logging
import math
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from secrets import token_hex
from typing import Any, ClassVar, NoReturn, TypeVar

import anyio

from domokit._runtime import steady
from domokit._secrets import Secret
from domokit.errors import (
    InvalidInputError,
    StoreBusyError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from domokit.stores.base import (
    LOCK_TIMEOUT,
    RESERVED,
    Encryption,
    Member,
    Reach,
    Stored,
    StoreLock,
    TokenStore,
    prove_sealing,
    sealed,
    unsealed,
)
from domokit.stores.locks import checked_key, until, who
from domokit.stores.threads import in_thread
from domokit.stores.versions import Versions

T = TypeVar("T")

log: logging.Logger = logging.getLogger("domokit.stores")

_TIMEOUT = 5.0  # seconds for each request, unless the URL says otherwise
_LONGEST_WAIT = 0.25  # seconds between two looks whether a lock is free
_REMEMBERED = 86_400_000  # ms: how long it is known who held a lock last

# Each script is one step that nobody comes in between of. Each may be repeated when its answer was lost.
#
# KEYS: the entry, its lock. ARGV: the version to replace or '', the new one, 'text' or 'sealed', what it holds, what to
# drop, and the owners under which this process holds the lock. The holder of a lock that lapsed and was taken over does
# not write while another works.
_SAVE = """
local present = redis.call('HGET', KEYS[1], 'version') or ''
if present == ARGV[2] then return '' end
if present ~= ARGV[1] then return 'version' end
local holder = redis.call('GET', KEYS[2])
if holder and #ARGV > 5 then
  local ours = false
  for i = 6, #ARGV do ours = ours or holder == ARGV[i] end
  if not ours then return holder end
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], ARGV[3], ARGV[4])
redis.call('HDEL', KEYS[1], ARGV[5])
return ''
"""
_DELETE = """
if redis.call('HGET', KEYS[1], 'version') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
# KEYS: the lock, who held it last, the room. ARGV: the owner, ms. They answer who holds it, or ''.
_TAKE = f"""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', {_REMEMBERED})
return ''
"""
# A lock that lapsed is taken again only if nobody held it in between: he may have spent what we are about to spend.
_EXTEND = """
local holder = redis.call('GET', KEYS[1])
if not holder and redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  return holder or 'somebody else, for a while,'
end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return ''
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[3]) end
"""


class RedisStore(TokenStore):
    """Keeps tokens in a Redis server, which many hosts may share.

    url:         such as 'redis://:password@host:6379/0', 'rediss://…' (TLS) or 'unix://…'; with the options of the
                 package `redis`, such as '?socket_timeout=2' (5 seconds otherwise).
    lease:       seconds after which the lock of a holder that died is free. It must be longer than a renewal takes.
    prefix:      in front of the name of each Redis key.
    encryption:  an `EncryptionKey`; what is found in clear is sealed when it is next written.

    Needs the extra `domokit[redis]`. What Redis has accepted is as durable as Redis was told to be: `appendonly yes`
    and `appendfsync always` for no loss at all, and `maxmemory-policy noeviction`. A replica that takes over may lack
    the last writes and locks. It works under asyncio and trio, in many threads, and after a fork.
    """

    reach: ClassVar[Reach] = "hosts"

    # Defaults for an object that is being built, which a traceback may show.
    address: str = ""
    prefix: str = ""

    def __init__(
        self,
        url: str | Secret,
        *,
        lease: float = 30.0,
        prefix: str = "domokit:",
        encryption: Encryption | None = None,
    ) -> None:
        url = Secret(url)
        if not (math.isfinite(lease) and lease > 0):
            raise InvalidInputError(f"lease: {lease} is no number of seconds")
        self.lease = lease
        self.prefix = prefix
        self.encryption = encryption
        self.server: _Server = _Server(url)
        self.address = self.server.address
        self.held: set[_RedisLock] = set()
        self._versions = Versions()
        self._policy_known = False

    async def load(self, key: str) -> Stored | None:
        return await in_thread(self._load, checked_key(key))

    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        return await in_thread(self._save, checked_key(key), text, replacing)

    async def delete(self, key: str) -> None:
        await in_thread(self._delete, checked_key(key))

    async def keys(self) -> list[str]:
        return await in_thread(self._keys)

    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        return self._lock(checked_key(key), timeout)

    async def aclose(self) -> None:
        await in_thread(self.server.close)

    def __repr__(self) -> str:
        return f"RedisStore({self.address!r}, prefix={self.prefix!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a RedisStore is not pickled: its URL may hold a password; make one on the other side")

    def name(self, key: str, what: str) -> str:
        """Of a Redis key. The braces keep all that belongs to one entry in one slot of a cluster."""
        return f"{self.prefix}{{{key}}}:{what}"

    @asynccontextmanager
    async def _lock(self, key: str, timeout: float) -> AsyncGenerator[StoreLock, None]:
        lock = _RedisLock(self, key)
        await until(lock.attempt, timeout=timeout, busy=lock.holder, longest=_LONGEST_WAIT)
        self.held.add(lock)
        try:
            yield lock
        finally:
            self.held.discard(lock)
            await lock.let_go()

    # -- these run in worker threads

    def _load(self, key: str) -> Stored | None:
        found = self.server.ask(
            lambda redis: _entry(redis.hmget(self.name(key, "entry"), ["version", "text", "sealed"]))
        )
        if found is None:
            return None
        where = f"{self.name(key, 'entry')} in {self.address}"
        member, content, version = found
        if not version:
            raise StoreCorruptError(f"{where} is not an entry of domokit's", hint="Look what it is, or use a prefix.")
        return Stored(unsealed(self.encryption, member, content, key, where), version)

    def _save(self, key: str, text: Secret, replacing: str | None) -> str:
        member, content = sealed(self.encryption, text, key)
        other: Member = "text" if member == "sealed" else "sealed"
        process = os.getpid()
        owners = [lock.owner for lock in list(self.held) if lock.key == key and lock.process == process]
        names = self.name(key, "entry"), self.name(key, "lock")

        def write(redis: Any) -> str:
            return _text(
                redis.eval(_SAVE, 2, *names, replacing or "", version, member, content.reveal(), other, *owners)
            )

        def write_in_need(redis: Any) -> str:
            try:
                return write(redis)
            except Exception as error:
                if "maxmemory" not in str(error) or not redis.delete(self.name(key, "room")):
                    raise
            return write(redis)

        with self._versions.next(key, text, replacing) as version:
            refused = self.server.ask(write_in_need)
        if refused == "version":
            raise StoreConflictError(f"{names[0]} has been written by another")
        if refused:
            raise StoreConflictError(f"the lock of {key} had lapsed, and {_name_of(refused)} holds it now")
        return version

    def _delete(self, key: str) -> None:
        # By version, for a deletion whose answer was lost is repeated, and must not hit what was written since.
        name = self.name(key, "entry")
        version = self.server.ask(lambda redis: redis.hget(name, "version"))
        if version is not None:
            self.server.ask(lambda redis: redis.eval(_DELETE, 1, name, version))

    def _keys(self) -> list[str]:
        start, end = self.prefix + "{", "}:entry"
        pattern = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in start) + "*" + end
        names = self.server.ask(lambda redis: [_text(one) for one in redis.scan_iter(match=pattern, count=1000)])
        keys = {name[len(start) : -len(end)] for name in names}
        return sorted(key for key in keys if "{" not in key)  # that would be one of a longer prefix

    def make_room(self, key: str, size: int) -> None:
        """Take up memory of the server for what will be written under this key's lock."""
        prove_sealing(self.encryption, key)
        self.server.ask(
            lambda redis: redis.set(self.name(key, "room"), b"." * size, px=max(1, round(self.lease * 1000)))
        )
        if not self._policy_known:
            self._policy_known = True
            self._look_at_policy()

    def _look_at_policy(self) -> None:
        try:
            found: dict[str, Any] = self.server.ask(lambda redis: redis.info("memory"))
        except StoreError:
            return  # a server that does not let everybody ask
        policy = found.get("maxmemory_policy", "noeviction")
        if found.get("maxmemory") and policy != "noeviction":
            log.warning(
                "%s drops entries when its memory is full (maxmemory-policy %s): tokens and locks may vanish; "
                "it should be noeviction",
                self.address,
                policy,
            )


class _RedisLock(StoreLock):
    """A key of the server that lapses after a lease. Whose it is, is in its value: host:pid:random."""

    def __init__(self, store: RedisStore, key: str) -> None:
        self.key = key
        self.owner = f"{who()}:{token_hex(16)}"
        self.process = os.getpid()
        self._store = store
        self._until = 0.0
        self._abandoned = False
        self._holder = ""

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._until - steady())

    async def attempt(self) -> "_RedisLock | None":
        """Take it, if it is free. A task that is cancelled meanwhile, in whatever way, does not leave it taken."""
        try:
            self._holder = await in_thread(self._take)
        except StoreError:
            raise
        except BaseException:
            # The thread goes on where cancelling does not wait for it. Either it sees this mark when it has taken the
            # lock, or it has taken it before what comes now.
            self._abandoned = True
            await self.let_go()
            raise
        return None if self._holder else self

    def holder(self) -> str:
        return f"{_name_of(self._holder)} holds the lock of {self.key} in {self._store.address}"

    async def let_go(self) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await in_thread(self._release)
        except BaseException:
            # Cancelled once more, in asyncio's own way, and perhaps before the thread began.
            threading.Thread(target=self._release, name="domokit-release").start()
            raise

    async def extend(self) -> None:
        await in_thread(self._extend)

    async def reserve(self, size: int = RESERVED) -> None:
        await self.extend()
        await in_thread(self._store.make_room, self.key, size)

    # -- these run in worker threads

    def _take(self) -> str:
        holder = self._run(_TAKE)
        if not holder and self._abandoned:
            self._release()
        return holder

    def _extend(self) -> None:
        if self.process != os.getpid():
            raise StoreBusyError(f"process {self.process} holds the lock of {self.key}, which forked this one")
        if holder := self._run(_EXTEND):
            raise StoreBusyError(f"the lock of {self.key} had lapsed, and {_name_of(holder)} has taken it")

    def _release(self) -> None:
        if self.process != os.getpid():
            return  # a forked child, in which the task of the parent comes to an end as well
        try:
            self._run(_RELEASE)
        except StoreError as error:
            log.info("the lock of %s stays until it lapses: %s", self.key, error.message)

    def _run(self, script: str) -> str:
        names = [self._store.name(self.key, what) for what in ("lock", "last", "room")]
        lease, sent = self._store.lease, steady()
        answer = self._store.server.ask(
            lambda redis: _text(redis.eval(script, 3, *names, self.owner, max(1, round(lease * 1000))))
        )
        if not answer:
            self._until = sent + lease  # counted from before it was sent: the server may have begun at once
        return answer


class _Server:
    """The connections to a server. Its address, all that is shown, is without user and password."""

    address: str = ""

    def __init__(self, url: Secret) -> None:
        self._client = _client(url)
        given: dict[str, Any] = self._client.connection_pool.connection_kwargs
        self._password = Secret(given["password"]) if given.get("password") else None  # masked in messages, as it lives
        if "path" in given:
            self.address = f"unix://{given['path']}"
        else:
            self.address = f"redis://{given.get('host', 'localhost')}:{given.get('port', 6379)}/{given.get('db') or 0}"

    def __repr__(self) -> str:
        return f"<{self.address}>"

    def ask(self, call: Callable[[Any], T]) -> T:
        """What `call` gives, with the client; called again where the connection was lost, be it before or after.

        Raises: StoreUnavailableError, StoreCorruptError.
        """
        tried = False
        while True:
            try:
                return call(self._client)
            except Exception as error:  # noqa: BLE001 - redis, ssl and socket errors
                failure = self._meaning(error)
                was_lost = _is_lost(error)
            if tried or not was_lost:
                raise failure  # outside, for the frames of redis hold what was sent
            tried = True

    def close(self) -> None:
        self._client.connection_pool.disconnect(inuse_connections=False)

    def _meaning(self, error: Exception) -> StoreError:
        said = str(error).splitlines()[0][:200] if str(error) else ""
        text = f"{self.address}: {type(error).__name__}: {said}"
        if "WRONGTYPE" in text:
            return StoreCorruptError(
                f"{self.address}: something else stands where an entry should be", hint="Use another prefix."
            )
        return StoreUnavailableError(text)


def _client(url: Secret) -> Any:
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise InvalidInputError("RedisStore needs the package redis", hint="pip install 'domokit[redis]'") from None
    try:
        return Redis.from_url(
            url.reveal(),
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # what may be repeated is decided here
        )
    except Exception:  # noqa: BLE001, S110 - what it says may hold the password
        pass
    raise InvalidInputError("url: this is not the URL of a Redis server", hint="Such as redis://localhost:6379/0.")


def _is_lost(error: Exception) -> bool:
    from redis import exceptions

    return isinstance(error, exceptions.ConnectionError)


def _entry(found: list[Any]) -> tuple[Member, Secret, str] | None:
    """How a text is kept, what is kept, and its version; no version if it is not one of ours."""
    version, text, sealed = found
    if version is None and text is None and sealed is None:
        return None
    member: Member = "text" if text is not None else "sealed"
    content = text if text is not None else sealed
    if version is None or content is None:
        return member, Secret(""), ""
    return member, Secret(_text(content)), _text(version)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _name_of(owner: str) -> str:
    """The host and the process of an owner; its random part is what frees the lock."""
    return owner.rpartition(":")[0] or owner
