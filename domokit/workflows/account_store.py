"""Tokens in a Domo account, for others to read."""

import json
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from hashlib import sha256
from typing import ClassVar, NoReturn

import anyio
import attrs

from domokit._runtime import state_directory
from domokit._secrets import Secret
from domokit.auth import Auth
from domokit.entities.accounts import DomoAccount
from domokit.entities.base import class_for
from domokit.errors import (
    APIError,
    ConnectionFailedError,
    DomoDecodeError,
    DomoError,
    DryRunRefused,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknown,
    PermissionDeniedError,
    ServerError,
    StoreBusyError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
    UnsupportedByAuth,
)
from domokit.oauth.record import TokenRecord
from domokit.routes.product.accounts import (
    create_account,
    delete_account,
    get_account_config,
    update_account_config,
)
from domokit.routes.product.roles import get_role_grants
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
)
from domokit.stores.base import sealed as seal
from domokit.stores.base import unsealed as unseal
from domokit.stores.locks import FileLocks, HeldByFile, checked_key
from domokit.stores.threads import in_thread
from domokit.stores.versions import Versions
from domokit.transport import is_dry_run
from domokit.workflows.publication import AccountContent, find_account
from domokit.workflows.token_account import PROVIDERS, Target

log: logging.Logger = logging.getLogger("domokit.stores")

_BUSY_AFTER = 60.0  # seconds to wait for another's write
_WRITE_SECONDS = 60.0  # at most for one write; those who wait for it wait no longer
_TRIES = 5  # at finding the account, while others make and delete it
_EDITORS = ("CAN_EDIT", "CAN_SHARE", "OWNER")
_MANAGES_ALL = "account.admin"
# After these the write may have been carried out all the same.
_IN_DOUBT = (ConnectionFailedError, OutcomeUnknown, ServerError, DomoDecodeError)
_UNREADABLE_HINT = "Allow external use of the account: update_config(…, allow_external_use=True), or name a new one."


@attrs.frozen
class _Place:
    id: int
    provider: str
    name: str | None


class AccountStore(TokenStore):
    """Keeps tokens in a Domo account, where others read the access token: connectors, Jupyter workspaces, colleagues.

        store = AccountStore(auth, "alteryx token", encryption=EncryptionKey.from_keyring())
        keeper = providers.alteryx(access_token=…, refresh_token=…, store=store)

    account:     an account, its id, or its name, by which it is created with the first write. Found by its name, it
                 must not be renamed; by its id it may.
    provider:    of the account that is created: `abstract-credential-store` or `domo-access-token`.
    encryption:  an `EncryptionKey`; it seals all but the access token that others are to read.
    locks:       a store whose locks are used, such as a `RedisStore` for workers on several hosts. Without it they are
                 files in this user's state directory, so all who write must be one user's processes of one machine.

    Readers find the token that was saved last as `access_token`, `token_type`, `scope` and `expires_at` (ISO 8601, UTC)
    in the JSON of an abstract-credential-store, whose other members stay; or as the token of a domo-access-token.
    Whoever may read the account in clear reads the REFRESH TOKEN as well, and can spend it, unless `encryption` is
    given: without it keep the account to yourself, or keep tokens elsewhere and only `publish_token()` them.

    The account must be readable in clear (`allow_external_use`, which a new one gets): what comes masked cannot be read
    back, raises StoreError and is never overwritten. Domo has no compare-and-set, so a write is a read, a comparison
    and a write under a lock of its own: what somebody writes into the account meanwhile without it is lost. Needs
    SessionAuth or AccessTokenAuth of somebody who may edit the account, which stays open when the store is closed.
    """

    reach: ClassVar[Reach] = "machine"

    def __init__(
        self,
        auth: Auth,
        account: Target,
        *,
        provider: str = PROVIDERS[0],
        encryption: Encryption | None = None,
        locks: TokenStore | None = None,
    ) -> None:
        if "product" not in auth.families:
            raise UnsupportedByAuth(
                f"{type(auth).__name__} cannot read an account back: the platform API shows no configuration",
                hint="Use SessionAuth or AccessTokenAuth; or publish_token(), which only writes.",
            )
        if provider not in PROVIDERS:
            raise InvalidInputError(f"provider {provider!r} cannot hold a token; use {' or '.join(PROVIDERS)}")
        target = account.id if isinstance(account, DomoAccount) else account
        if isinstance(target, bool) or not isinstance(target, (int, str)) or not str(target).strip():  # pyright: ignore
            raise InvalidInputError("account is an account, its id, or its name")
        self.auth = auth
        self.account = target
        self.provider = provider
        self.encryption = encryption
        self.locks = locks
        if locks is not None:
            self.reach = locks.reach  # pyright: ignore[reportAttributeAccessIssue]  (as far as those of `locks`)
        self._versions = Versions()
        self._found: _Place | None = None

    async def load(self, key: str) -> Stored | None:
        checked_key(key)
        place, content = await self._read()
        entry = (content.entries or {}).get(key)
        if entry is None or place is None:
            return None
        member: Member = "text" if "text" in entry else "sealed"
        kept, version = Secret(entry[member]), entry["version"]
        del content, entry
        return Stored(await in_thread(unseal, self.encryption, member, kept, key, str(self)), version)

    async def save(self, key: str, text: Secret, *, replacing: str | None) -> str:
        checked_key(key)
        member, kept = await in_thread(seal, self.encryption, text, key)
        record = _record_in(text, key)

        def put(content: AccountContent) -> bool:
            present = _version(content, key)
            if present == version:  # an earlier try, whose answer was lost, did it
                return False
            if present != replacing:
                raise StoreConflictError(f"{key} in {self} has been written by another")
            content.entries = {**(content.entries or {}), key: {"version": version, member: kept.reveal()}}
            if record is not None and record.token is not None:
                content.show(record.token)
            elif record is not None and record.refresh_token is None and len(content.entries) == 1:
                content.hide()  # it has been revoked
            return True

        with self._versions.next(key, text, replacing) as version:
            await self._change(put, lambda content: _version(content, key) == version)
        return version

    async def delete(self, key: str) -> None:
        checked_key(key)

        def drop(content: AccountContent) -> bool:
            if key not in (content.entries or {}):
                return False
            content.entries = {one: entry for one, entry in (content.entries or {}).items() if one != key} or None
            if content.entries is None:
                content.hide()
            return True

        await self._change(drop, lambda content: key not in (content.entries or {}), make=False)

    async def keys(self) -> list[str]:
        _, content = await self._read()
        return sorted(content.entries or {})

    def lock(self, key: str, *, timeout: float = LOCK_TIMEOUT) -> AbstractAsyncContextManager[StoreLock]:
        return self._lock(checked_key(key), timeout)

    async def check(self) -> None:
        place = await self._find()
        async with self._write_lock(place, timeout=10):
            await self.prove()

    async def prove(self) -> None:
        """That it can be read and, as far as can be known without writing, written."""
        if is_dry_run():
            raise StoreUnavailableError(
                f"nothing can be stored in {self} in a dry run", hint="Leave the dry_run() block; nothing was spent."
            )
        place, _ = await self._read()
        if place is not None:
            with self._as_store_errors():
                await self._check_access(place)

    def __repr__(self) -> str:
        return f"AccountStore({self.auth!r}, {self.account!r})"

    def __str__(self) -> str:
        return f"account {self.account!r} of {self.auth.place}"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an AccountStore is not pickled: its auth holds a secret; make one on the other side")

    # -- locks

    @asynccontextmanager
    async def _lock(self, key: str, timeout: float) -> AsyncGenerator[StoreLock, None]:
        # Named by the credential, and not by the account: that may have a name today and an id tomorrow.
        if self.locks is not None:
            async with self.locks.lock(key, timeout=timeout) as held:
                yield _AccountLock(self, held)
            return
        async with self._files().lock(self._lock_name("key", key), timeout) as file:
            yield _AccountLock(self, HeldByFile(file))

    @asynccontextmanager
    async def _write_lock(self, place: _Place | None, timeout: float = _BUSY_AFTER) -> AsyncGenerator[StoreLock, None]:
        """Held around a read and the write that rests on it, whoever holds the lock of a key."""
        name = self._lock_name("account", *([self.provider, self.account] if place is None else [place.id]))
        if self.locks is not None:
            async with self.locks.lock(name, timeout=timeout) as held:
                yield held
            return
        async with self._files().lock(name, timeout) as file:
            yield HeldByFile(file)

    def _files(self) -> FileLocks:
        return FileLocks(state_directory() / "locks")

    def _lock_name(self, kind: str, *parts: str | int) -> str:
        return f"{kind}-{sha256(json.dumps([self.auth.place, *parts]).encode()).hexdigest()[:32]}"

    # -- the account

    async def _find(self) -> _Place | None:
        """Where it is; None, if there is no account of that name yet."""
        if self._found is None:
            with self._as_store_errors():
                account = await find_account(self.auth, self.account, self.provider)
            if account is not None:
                self._found = _Place(account.id, account.provider_type or self.provider, account.name)
        return self._found

    async def _read(self) -> tuple[_Place | None, AccountContent]:
        """The account and what is in it. Raises: StoreError, if any of it is not shown, or is not ours to overwrite."""
        for _ in range(_TRIES):
            if (place := await self._find()) is None:
                return None, AccountContent(provider=self.provider)
            try:
                with self._as_store_errors():
                    answer = await get_account_config(self.auth, place.provider, place.id, unmask=True)
            except StoreError as error:
                if not isinstance(error.__cause__, NotFoundError):
                    raise
                self._found = None  # deleted; perhaps there is another of that name
                continue
            content = AccountContent.read(place.provider, answer)
            del answer
            self._check(content)
            return place, content
        raise StoreUnavailableError(f"{self} is made and deleted all the time")

    def _check(self, content: AccountContent) -> None:
        if content.is_masked:
            raise _for_human(StoreError(f"{self} cannot be read: its content comes masked", hint=_UNREADABLE_HINT))
        if content.strange or (content.provider == PROVIDERS[1] and content.members.get("password")):
            what = content.strange or "somebody's password, where the store would keep its entries"
            raise StoreCorruptError(f"{self} holds {what}", hint="Name another account; this one was not touched.")

    async def _change(
        self, change: Callable[[AccountContent], bool], is_done: Callable[[AccountContent], bool], *, make: bool = True
    ) -> None:
        """Read, change and write, with nobody else writing in between.

        change:   changes what was read; False, if there is nothing to write.
        is_done:  tells from a later read whether the write was carried out.
        make:     whether an account that does not exist is created.
        """
        for _ in range(_TRIES):
            seen = await self._find()
            async with self._write_lock(seen) as held:
                place, content = await self._read()
                if (place and place.id) != (seen and seen.id):
                    continue  # it has another lock now
                if (place is None and not make) or not change(content):
                    return
                await self._extend(held)
                seconds = min(_WRITE_SECONDS, 0.8 * held.seconds_left)
                await self._write(place, content, is_done, seconds)
                return
        raise StoreUnavailableError(f"{self} is made and deleted all the time")

    async def _extend(self, held: StoreLock) -> None:
        try:
            await held.extend()
        except StoreBusyError as error:
            raise StoreConflictError(f"the lock of {self} had lapsed: {error.message}") from None

    async def _write(
        self,
        place: _Place | None,
        content: AccountContent,
        is_done: Callable[[AccountContent], bool],
        seconds: float,
    ) -> None:
        """Write it. What was begun is finished, whatever becomes of the caller: half an answer says nothing."""
        failure: DomoError | None = None
        with anyio.move_on_after(seconds, shield=True) as scope:
            try:
                await (self._create(content) if place is None else self._update(place, content))
            except DomoError as error:
                failure = error
        if scope.cancelled_caught:
            failure = OutcomeUnknown(f"no answer within {seconds:.0f} s", asked=f"write {self}")
        if failure is not None:
            if not (isinstance(failure, _IN_DOUBT) and await self._turned_out_well(is_done, seconds)):
                raise self._store_error(failure) from failure
            log.info("%s: written, though the answer was lost: %s", self, failure.message)
        if place is None:
            await self._keep_label()

    async def _update(self, place: _Place, content: AccountContent) -> None:
        await update_account_config(self.auth, place.provider, place.id, content.fields())

    async def _create(self, content: AccountContent) -> None:
        assert isinstance(self.account, str)
        made = await create_account(
            self.auth,
            name=self.account,
            provider_type=self.provider,
            fields=content.fields(),
            allow_external_use=True,  # or nobody could read it back
        )
        account = class_for(self.auth, "ACCOUNT").from_json(self.auth, made)
        self._found = _Place(account.id, self.provider, account.name)

    async def _turned_out_well(self, is_done: Callable[[AccountContent], bool], seconds: float) -> bool:
        with anyio.move_on_after(seconds, shield=True):
            try:
                _, content = await self._read()
            except StoreError:
                return False
            return is_done(content)
        return False

    async def _keep_label(self) -> None:
        """See to it that a new account has the name that everybody will look for.

        Two accounts that both mean to be the store would soon spend one refresh token twice.
        """
        made = self._found
        if made is None or made.name == self.account:
            return
        self._found = None
        try:
            await delete_account(self.auth, made.id)
        except DomoError as error:
            log.warning("%s: account %s (%r) was made in vain and is left: %s", self, made.id, made.name, error.message)
        found = await self._find()
        if found is not None and found.name == self.account:
            raise StoreConflictError(f"{self} has just been made by another")
        self._found = None
        raise _for_human(
            StoreError(
                f"the name {self.account!r} is taken by an account that is of another type, or not shared with you",
                hint="Choose another name, or have it shared with you.",
            )
        )

    async def _check_access(self, place: _Place) -> None:
        """Raises: StoreError, if it is certain that the caller may not edit the account."""
        try:
            access = await class_for(self.auth, "ACCOUNT")(auth=self.auth, id=place.id).get_access()
            me = await self.auth.who_am_i()
            for one in access:
                if one.level in _EDITORS and (one.kind != "USER" or one.id == me.id):
                    return  # by himself, or by a group that may be his
            role_id = (await class_for(self.auth, "USER").get_by_id(self.auth, me.id)).role_id
            grants = await get_role_grants(self.auth, role_id)
        except (PermissionDeniedError, NotFoundError, DomoDecodeError, InvalidInputError):
            return  # Domo does not say; the write will
        if grants and _MANAGES_ALL not in grants:
            raise _for_human(
                StoreError(f"{self} is shared with you for viewing only", hint="Have it shared with you for editing.")
            )

    # -- errors

    @contextmanager
    def _as_store_errors(self) -> Generator[None]:
        try:
            yield
        except StoreError:
            raise
        except DomoError as error:
            raise self._store_error(error) from error

    def _store_error(self, error: DomoError) -> StoreError:
        """What an error of Domo's means for a store."""
        if isinstance(error, StoreError):
            return error
        kind: type[StoreError] = StoreError
        if error.retryable or isinstance(error, (*_IN_DOUBT, DryRunRefused)):
            kind = StoreUnavailableError
        hint = error.hint or ""
        if isinstance(error, PermissionDeniedError):
            hint = "Have the account shared with you for editing."
        found = kind(f"{self}: {error.message}", asked=error.asked, hint=hint)
        if kind is StoreError and (error.needs_human or isinstance(error, (APIError, InvalidInputError))):
            found.needs_human = True
        return found


class _AccountLock(StoreLock):
    """The lock of a key, and the account that the key is in."""

    def __init__(self, store: AccountStore, held: StoreLock) -> None:
        self._store = store
        self._held = held

    @property
    def seconds_left(self) -> float:
        return self._held.seconds_left

    async def extend(self) -> None:
        await self._held.extend()

    async def reserve(self, size: int = RESERVED) -> None:
        await self.extend()
        await in_thread(prove_sealing, self._store.encryption, str(self._store))
        await self._store.prove()
        await self.extend()


def _version(content: AccountContent, key: str) -> str | None:
    entry = (content.entries or {}).get(key)
    return entry["version"] if entry else None


def _record_in(text: Secret, key: str) -> TokenRecord | None:
    """What a text says of a token; None for other texts."""
    try:
        return TokenRecord.decoded(text, key)
    except StoreError:
        return None


def _for_human(error: StoreError) -> StoreError:
    error.needs_human = True
    return error
