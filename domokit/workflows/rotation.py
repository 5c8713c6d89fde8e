"""Replace an access token before it expires, with no moment in which nobody holds a valid one.

The order is all there is to it: look which tokens of this owner and name live → generate a new one → prove that it
signs in as its owner → write it to the account → verify that it is there → only then revoke those seen at the start.
Whatever ends a run in between, the next one starts from what is there and removes what is left over.

Several runs at once. There is no lock that all of them could hold, so each keeps to three rules:
- It revokes only what it saw before it generated its own, and its own.
- After each write to the account it proves that what it wrote still signs in; if it was revoked meanwhile by another
  run, it starts over.
- After revoking, it looks at the account again; if another run's token is there and lives, that run has won, and this
  one revokes its own; if it is dead (this run has just revoked it), this run writes its own again.
So whoever writes last has either proven his token alive after that, or somebody who killed it later writes again.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import anyio
import attrs

from domokit._secrets import Secret
from domokit.auth import AccessTokenAuth, Auth
from domokit.entities.access_tokens import DomoAccessToken, as_duration
from domokit.entities.account_config import AbstractCredentialStore, AccountConfig, DomoAccessTokenConfig
from domokit.entities.accounts import DomoAccount
from domokit.entities.base import as_id, class_for
from domokit.errors import (
    APIError,
    AuthenticationError,
    DomoError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknown,
    PermissionDeniedError,
    RotationError,
    UnsupportedByAuth,
)
from domokit.routes.product.accounts import update_account_config
from domokit.transport import dry_run as dry_run_block
from domokit.transport import is_dry_run

log = logging.getLogger("domokit.rotation")

Step = Literal["look", "generate", "prove", "store", "verify", "revoke", "done"]
OnStep = Callable[[Step, str], None]

_ATTEMPTS = 5  # times a run starts over because others rotate the same token
_CLOCK_SLACK = timedelta(minutes=5)  # between this clock and Domo's
_CLEAN_UP_SECONDS = 60.0
_PROOF_WAITS = (0.25, 1.0, 0.0)
_STORES: dict[str, type[AbstractCredentialStore | DomoAccessTokenConfig]] = {
    AbstractCredentialStore.PROVIDER_TYPE: AbstractCredentialStore,
    DomoAccessTokenConfig.PROVIDER_TYPE: DomoAccessTokenConfig,
}


@attrs.frozen(kw_only=True)
class TokenNote:
    """A token in a result: everything but its value. fingerprint is known for a new one only."""

    id: int
    expires_at: datetime | None
    fingerprint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "expires_at": self.expires_at, "fingerprint": self.fingerprint}


@attrs.frozen(kw_only=True)
class RotationResult:
    """What a rotation did, or with `dry_run` would do. It shows no secret.

    changed:     whether anything was, or would be, changed.
    reason:      why, in a sentence.
    generated:   the new token; None if none was made.
    account_id, account_name: where it is kept; None without an account.
    revoked:     tokens that were revoked.
    kept:        older ones left alive: for `keep_old_for`, or because without an account nobody else holds a valid one.
    token:       the new `DomoAccessToken` with its value as a `Secret`; None if none was made.
    """

    owner_id: int
    name: str
    changed: bool
    reason: str
    dry_run: bool = False
    generated: TokenNote | None = None
    account_id: int | None = None
    account_name: str | None = None
    revoked: tuple[TokenNote, ...] = ()
    kept: tuple[TokenNote, ...] = ()
    superseded: bool = False
    token: DomoAccessToken | None = attrs.field(default=None, repr=False, eq=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain values; no secret is among them."""
        return {
            "owner_id": self.owner_id,
            "name": self.name,
            "changed": self.changed,
            "reason": self.reason,
            "dry_run": self.dry_run,
            "superseded": self.superseded,
            "generated": self.generated and self.generated.to_dict(),
            "account_id": self.account_id,
            "account_name": self.account_name,
            "revoked": [one.to_dict() for one in self.revoked],
            "kept": [one.to_dict() for one in self.kept],
        }


async def rotate_access_token(
    auth: Auth,
    *,
    owner_id: int | str,
    name: str,
    duration: timedelta | float = timedelta(days=30),
    account: DomoAccount | int | str | None = None,
    provider: str = AbstractCredentialStore.PROVIDER_TYPE,
    min_remaining: timedelta | float | None = None,
    keep_old_for: timedelta | float | None = None,
    allow_external_use: bool | None = None,
    dry_run: bool = False,
    on_step: OnStep | None = None,
) -> RotationResult:
    """Replace the access token of an owner and name by a new one and keep it in an account.

    auth:           SessionAuth or AccessTokenAuth of someone who may manage the owner's tokens. If it is the token
                    that gets replaced, the auth object goes on with the new one.
    duration:       life of the new token, a timedelta or a number of days.
    account:        where it is kept: an account, its id, or its name, which is created if there is none. It may be of
                    `abstract-credential-store` (JSON with access_token, token_id, expires_at and more; other members
                    of it stay, if they can be read) or of `domo-access-token`. Without an account the caller keeps
                    `result.token`; the newest older token then stays valid until the next run.
    provider:       which of the two kinds, where the account is given by its name.
    min_remaining:  a timedelta or a number of days. If the token in the account lives at least that long, nothing is
                    changed: cron may call this hourly.
    keep_old_for:   how long replaced tokens stay valid; the first run after that revokes them.
    allow_external_use:  for an account that is created: whether its secrets can be read in clear by those it is
                    shared with. Where they can, the stored token is compared; else the account's times must do.
    dry_run:        say what would be done; nothing that changes anything is sent.
    on_step:        called with each step and a sentence on it, for progress displays.

    Returns: a RotationResult. Raises: RotationError, which says where it stopped and what it left; before anything was
    done InvalidInputError, UnsupportedByAuth, and what reading raises.
    A cancelled run revokes its new token, unless that may be in the account already.
    """
    if "product" not in auth.families:
        raise UnsupportedByAuth(
            f"{type(auth).__name__} cannot manage access tokens", hint="Use SessionAuth or AccessTokenAuth."
        )
    if isinstance(account, str) and provider not in _STORES:
        raise InvalidInputError(f"provider {provider!r} cannot hold a token; use {' or '.join(_STORES)}")
    owner = as_id(owner_id)
    if not isinstance(owner, int) or not name.strip():
        raise InvalidInputError("a rotation needs the owner's id and the token's name")
    rotation = _Rotation(
        auth=auth,
        owner_id=owner,
        name=name,
        duration=as_duration(duration),
        target=account,
        provider=provider,
        min_remaining=None if min_remaining is None else _not_negative(min_remaining, "min_remaining"),
        keep_old_for=None if keep_old_for is None else _not_negative(keep_old_for, "keep_old_for"),
        allow_external_use=allow_external_use,
        on_step=on_step,
    )
    if not dry_run and not is_dry_run():
        return await rotation.run()
    with dry_run_block():
        return await rotation.plan()


@attrs.define(kw_only=True, eq=False)
class _Rotation:
    """One run. The methods stand in the order in which they are called."""

    auth: Auth
    owner_id: int
    name: str
    duration: timedelta
    target: DomoAccount | int | str | None
    provider: str
    min_remaining: timedelta | None
    keep_old_for: timedelta | None
    allow_external_use: bool | None
    on_step: OnStep | None = None
    account: DomoAccount | None = None
    old: list[DomoAccessToken] = attrs.field(factory=list)
    username: str | None = None
    members: dict[str, Any] = attrs.field(factory=dict, repr=False)  # of the account's JSON, other than ours
    revoked: list[TokenNote] = attrs.field(factory=list)
    orphans: list[int] = attrs.field(factory=list)  # new tokens that could not be revoked again

    async def run(self) -> RotationResult:
        lost = 0
        for _ in range(_ATTEMPTS):
            await self.look()
            if (unchanged := await self.unless_due()) is not None:
                return unchanged
            await self.prepare()
            try:
                new = await self.generate()
            except OutcomeUnknown as error:
                # There may be a token whose value nobody knows. The next look sees it as an old one.
                lost += 1
                if lost == 2:
                    raise await self.lost_twice(error) from error
                self.tell("generate", "the answer was lost; looking again")
                continue
            except DomoError as error:
                raise self.stopped(error, "generate") from error
            if (result := await self.hand_over(new)) is not None:
                return result
        raise RotationError(
            "other rotations of this token got in the way every time",
            step="verify",
            left_alive=self.orphans,
            stored=None,
        )

    async def plan(self) -> RotationResult:
        """What a run would do now."""
        await self.look()
        if (unchanged := await self.unless_due(dry_run=True)) is not None:
            return unchanged
        keep = self._kept_after_rotation()
        return self.result(
            changed=True,
            reason="a new token would be generated and stored, and older ones revoked",
            dry_run=True,
            revoked=tuple(_note(token) for token in self.old if token not in keep),
            kept=keep,
        )

    # -- look

    async def look(self) -> None:
        """What is there: the account, and the living tokens of this owner and name, newest first."""
        self.account = await self._find_account()
        kind = class_for(self.auth, "ACCESS_TOKEN")
        living = await kind.search(self.auth, owner_id=self.owner_id, name=self.name)
        self.old = sorted(living, key=lambda token: (token.expires_at or datetime.max.replace(tzinfo=UTC), token.id))[
            ::-1
        ]
        where = f"account {self.account.id}" if self.account else "no account yet" if self.target else "no account"
        self.tell("look", f"{len(self.old)} living token(s) of {self.name!r}, {where}")

    async def _find_account(self) -> DomoAccount | None:
        kind = class_for(self.auth, "ACCOUNT")
        found: DomoAccount | None
        match self.target:
            case None:
                return None
            case DomoAccount():
                found = await kind.get_by_id(self.auth, self.target.id)
            case int():
                found = await kind.get_by_id(self.auth, self.target)
            case str():
                found = await kind.find(self.auth, self.target, self.provider)
        if found is not None and found.provider_type not in _STORES:
            raise InvalidInputError(
                f"account {found.id} is of {found.provider_type}; a token is kept in {' or '.join(_STORES)}"
            )
        return found

    async def unless_due(self, *, dry_run: bool = False) -> RotationResult | None:
        """The result if no new token is due: the newest lives long enough and is what the account holds."""
        if self.min_remaining is None or not self.old:
            return None
        newest, *older = self.old
        if newest.remaining < self.min_remaining:
            return None
        if self.target is not None and not await self._holds(newest):
            return None
        due, kept = ([], older) if self.target is None else self._split(older, newest)
        if due and await self._may_sign_with_one_of_them(due):
            due, kept = [], older
        if due and not dry_run:
            self.tell("revoke", f"{len(due)} older token(s) have been kept long enough")
            await self._revoke(due, self.auth)
        return self.result(
            changed=bool(due),
            reason=f"{_span(newest.remaining)} left, {_span(self.min_remaining)} wanted"
            + ("; older tokens were due" if due else ""),
            dry_run=dry_run,
            revoked=tuple(map(_note, due)) if dry_run else tuple(self.revoked),
            kept=kept,
        )

    async def _may_sign_with_one_of_them(self, tokens: Sequence[DomoAccessToken]) -> bool:
        """Whether the auth object may sign with one of these; if so, it goes on with the account's token if it can."""
        if not isinstance(self.auth, AccessTokenAuth) or (await self.auth.who_am_i()).id != self.owner_id:
            return False
        stored, _ = await self._read()
        if stored is None:
            return True
        self.auth.replace_token(stored)
        return False

    async def _holds(self, newest: DomoAccessToken) -> bool:
        """Whether the account holds this token, as far as can be known without its value."""
        if self.account is None:
            return False
        stored, token_id = await self._read()
        if stored is not None:
            if not await self._signs_in(stored):
                return False
            if token_id is not None:
                return token_id == newest.id
        # Its value is not shown, or not whose it is. Only one token lives, or as many as this keeps: then it is that one
        # if the account was written after it was made.
        usual = 1 if self.keep_old_for is None else 2
        written = self.account.modified_at
        if len(self.old) > usual or written is None or newest.expires_at is None:
            return False
        return written >= newest.expires_at - self.duration - _CLOCK_SLACK

    def _split(
        self, older: Sequence[DomoAccessToken], newest: DomoAccessToken
    ) -> tuple[list[DomoAccessToken], list[DomoAccessToken]]:
        """Which older tokens are due for revocation now, and which are kept longer, `newest` having replaced them."""
        if self.keep_old_for is None:
            return list(older), []
        made_at = newest.expires_at - self.duration if newest.expires_at else self.auth.options.clock()
        is_due = self.auth.options.clock() >= made_at + self.keep_old_for
        return (list(older), []) if is_due else ([], list(older))

    async def prepare(self) -> None:
        """What the account will need besides the token, looked up now: nothing stands between generating and storing."""
        if self.target is None:
            return
        user = await class_for(self.auth, "USER").get_by_id(self.auth, self.owner_id)
        self.username = user.email
        if self.account is not None and self.account.provider_type == AbstractCredentialStore.PROVIDER_TYPE:
            try:
                config = await self.account.get_config(unmask=True)
            except PermissionDeniedError:
                return
            self.members = (config.decoded() or {}) if isinstance(config, AbstractCredentialStore) else {}

    # -- generate

    async def generate(self) -> DomoAccessToken:
        self.tell("generate", f"a new token for {_span(self.duration)}")
        kind = class_for(self.auth, "ACCESS_TOKEN")
        return await kind.generate(self.auth, owner_id=self.owner_id, name=self.name, duration=self.duration)

    async def lost_twice(self, error: OutcomeUnknown) -> RotationError:
        """The error for two lost answers in a row, naming the tokens that appeared, whose values nobody knows."""
        known = {token.id for token in self.old}
        try:
            await self.look()
        except DomoError:
            return self.stopped(error, "generate")
        self.orphans += [token.id for token in self.old if token.id not in known]
        return self.stopped(error, "generate")

    async def hand_over(self, new: DomoAccessToken) -> RotationResult | None:
        """From the new token to the result; None to start over. The new one is revoked if it does not get there."""
        step: Step = "prove"
        try:
            if not await self.prove(new):
                return await self.give_way(new, "dead")
            if self.target is not None:
                step = "store"
                await self.store(new)
                step = "verify"
                if (verdict := await self.verify(new)) != "ours":
                    return await self.give_way(new, verdict)
            step = "revoke"
            return await self.finish(new, self._kept_after_rotation())
        except RotationError as error:
            error.attached = new
            raise
        except DomoError as error:
            stored = await self._settle(new, step, error)
            raise self.stopped(error, step, new=new, stored=stored) from error
        except anyio.get_cancelled_exc_class():
            await self._settle(new, step, None)
            raise

    async def prove(self, new: DomoAccessToken) -> bool:
        """The new token must sign in as its owner. False if another run has revoked it already."""
        assert new.token is not None
        self.tell("prove", f"does token {new.id} ({new.token.fingerprint}) sign in as user {self.owner_id}?")
        for wait in _PROOF_WAITS:  # a moment may pass until all of Domo knows it
            if await self._signs_in(new.token):
                return True
            await anyio.sleep(wait)
        listed = await class_for(self.auth, "ACCESS_TOKEN").search(self.auth, owner_id=self.owner_id, name=self.name)
        if all(token.id != new.id for token in listed):
            return False
        raise AuthenticationError(
            f"the new token does not sign in as user {self.owner_id}",
            asked="who am I",
            hint="Is the user active? The new token was revoked; the old ones are untouched.",
        )

    # -- store and verify

    async def store(self, new: DomoAccessToken) -> None:
        config = self._config(new)
        if self.account is None:
            assert isinstance(self.target, str)
            self.tell("store", f"creating the account {self.target!r}")
            kind = class_for(self.auth, "ACCOUNT")
            self.account = await kind.upsert(
                self.auth, name=self.target, config=config, allow_external_use=self.allow_external_use
            )
        else:
            self.tell("store", f"writing it to account {self.account.id}")
            await self._write(self.account, config)

    async def _write(self, account: DomoAccount, config: AccountConfig) -> None:
        # The bare request: a failure of anything else would leave in the dark whether the account was written.
        await update_account_config(self.auth, config.provider_type, account.id, config.to_wire())

    def _config(self, new: DomoAccessToken) -> AccountConfig:
        assert new.token is not None
        provider = (self.account.provider_type if self.account else None) or self.provider
        if provider == DomoAccessTokenConfig.PROVIDER_TYPE:
            return DomoAccessTokenConfig(new.token, self.username)
        return AbstractCredentialStore({
            **self.members,
            "domo_instance": self.auth.place,
            "access_token": new.token,
            "token_id": new.id,
            "token_name": self.name,
            "owner_id": self.owner_id,
            "username": self.username,
            "expires_at": new.expires_at.isoformat() if new.expires_at else None,
        })  # fmt: skip

    async def verify(self, new: DomoAccessToken) -> Literal["ours", "another's", "dead"]:
        """Whose living token the account holds after our write."""
        assert self.account is not None
        assert new.token is not None
        self.tell("verify", f"is token {new.id} in account {self.account.id}, and does it live?")
        for _ in range(_ATTEMPTS):
            stored, _ = await self._read()
            if stored is not None and stored != new.token:
                if await self._signs_in(stored):
                    return "another's"
                if not await self._signs_in(new.token):
                    return "dead"
                await self._write(self.account, self._config(new))  # a dead token overwrote ours
                continue
            return "ours" if await self._signs_in(new.token) else "dead"
        return "dead"

    async def _read(self) -> tuple[Secret | None, int | None]:
        """The token that the account holds, and its id where it is noted; None for what is masked or not there."""
        assert self.account is not None
        try:
            config = await self.account.get_config(unmask=True)
        except (PermissionDeniedError, NotFoundError):
            return None, None
        if isinstance(config, DomoAccessTokenConfig):
            return (config.access_token if isinstance(config.access_token, Secret) else None), None
        if isinstance(config, AbstractCredentialStore) and (members := config.decoded()) is not None:
            value, token_id = members.get("access_token"), members.get("token_id")
            return (value if isinstance(value, Secret) else None), (token_id if isinstance(token_id, int) else None)
        return None, None

    async def _signs_in(self, token: Secret) -> bool:
        """Whether a token signs in as the owner, now."""
        assert self.auth.instance is not None
        try:
            async with AccessTokenAuth(self.auth.instance, token, options=self.auth.options) as signed:
                return (await signed.who_am_i()).id == self.owner_id
        except (AuthenticationError, InvalidInputError):
            return False

    async def give_way(self, new: DomoAccessToken, verdict: str) -> RotationResult | None:
        """Another run was at work: if its token is in the account, ours is not needed; if ours is dead, start over."""
        await self._revoke_new(new)
        if verdict == "dead":
            self.tell("verify", "another rotation revoked it; starting over")
            return None
        self.tell("done", "another rotation has put its token there; ours is revoked again")
        return self.result(
            changed=True,
            superseded=True,
            reason="another rotation at the same time has put its token into the account",
            revoked=tuple(self.revoked),
        )

    # -- revoke

    def _kept_after_rotation(self) -> list[DomoAccessToken]:
        if not self.old:
            return []
        newest, *older = self.old
        if self.keep_old_for:
            return [newest, *self._split(older, newest)[1]]
        # Without an account nothing durable holds the new token yet: the caller's current one must go on working.
        return [newest] if self.target is None else []

    async def finish(self, new: DomoAccessToken, keep: list[DomoAccessToken]) -> RotationResult | None:
        """Revoke what is not kept, then look once more at who has the last word; None to start over."""
        going = [token for token in self.old if token not in keep]
        if going:
            self.tell("revoke", f"{len(going)} older token(s)")
        own = await self._is_own(new)
        # The token that signs these calls may be among them, so the new one of the same user signs instead.
        async with new.auth_with() as signed:
            await self._revoke(going, signed if own else self.auth)
        if own and isinstance(self.auth, AccessTokenAuth) and new.token is not None:
            await self._go_on_with(self.auth, new.token)
        if going and self.account is not None and (again := await self._after_revoking(new)) is not None:
            return await self.give_way(new, again)
        assert new.token is not None
        self.tell("done", f"token {new.id} ({new.token.fingerprint}) is in place")
        return self.result(
            changed=True,
            reason="a new token is in place",
            generated=_note(new),
            revoked=tuple(self.revoked),
            kept=keep,
            token=new,
        )

    async def _is_own(self, new: DomoAccessToken) -> bool:
        return isinstance(self.auth, AccessTokenAuth) and (await self.auth.who_am_i()).id == self.owner_id

    async def _revoke(self, tokens: Sequence[DomoAccessToken], auth: Auth) -> None:
        """Revoke all of them; the errors of those that fail are raised together, after the last."""
        failed: list[tuple[DomoAccessToken, DomoError]] = []
        for token in tokens:
            try:
                signed = attrs.evolve(token, auth=auth)
                await signed.revoke(missing_ok=True, even_if_in_use=True)
            except DomoError as error:
                failed.append((token, error))
            else:
                self.revoked.append(_note(token))
        if failed:
            left = [token.id for token, _ in failed]
            raise RotationError(
                f"token(s) {', '.join(map(str, left))} could not be revoked: {failed[0][1]}",
                step="revoke",
                left_alive=left,
                stored=True if self.account is not None else None,
                hint="The new token is in place. Run the rotation again to revoke the rest.",
            ) from failed[0][1]

    async def _go_on_with(self, auth: AccessTokenAuth, token: Secret) -> None:
        try:
            await auth.who_am_i()
        except AuthenticationError:
            auth.replace_token(token)

    async def _after_revoking(self, new: DomoAccessToken) -> str | None:
        """None if all is well; else what `give_way` needs to know."""
        assert self.account is not None
        stored, _ = await self._read()
        if stored is None:
            # Masked: nobody can see whether another run's token, which we may just have revoked, got there in between.
            await self._write(self.account, self._config(new))
        verdict = await self.verify(new)
        return None if verdict == "ours" else verdict

    # -- when it goes wrong

    async def _settle(self, new: DomoAccessToken, step: Step, error: DomoError | None) -> bool | None:
        """After a failure or (None) a cancellation: is the new token in the account? None if that is unknown.

        It is revoked if it certainly is not.
        """
        if step == "revoke":
            return self.target is not None
        if step == "verify":
            return None
        if step == "store" and not await self._certainly_not_stored(error):
            return None
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            await self._revoke_new(new)
        return False

    async def _certainly_not_stored(self, error: DomoError | None) -> bool:
        """Whether a failed write changed nothing for sure: Domo said no, and there is no account, or only the old one."""
        if not isinstance(error, APIError) or not 400 <= error.status < 500:
            return isinstance(error, InvalidInputError)  # refused here; anything else may have arrived
        if self.account is not None:
            return True
        try:
            return await self._find_account() is None
        except DomoError:
            return False

    async def _revoke_new(self, new: DomoAccessToken) -> None:
        try:
            await new.revoke(missing_ok=True, even_if_in_use=True)
        except DomoError as error:
            self.orphans.append(new.id)
            log.warning("token %s could not be revoked again: %s", new.id, error)

    def stopped(
        self, error: DomoError, step: Step, *, new: DomoAccessToken | None = None, stored: bool | None = False
    ) -> RotationError:
        left = list(self.orphans)
        if new is not None and stored is not False:
            left.append(new.id)
        where = {
            True: "the new token is in the account",
            False: "the account is as it was",
            None: "the new token may be in the account, so neither it nor the old ones were revoked",
        }[stored]
        stopped = RotationError(
            f"stopped at {step!r}: {error.message}; {where}", step=step, left_alive=left, stored=stored
        )
        stopped.asked = error.asked
        return stopped

    # --

    def result(
        self,
        *,
        changed: bool,
        reason: str,
        kept: Sequence[DomoAccessToken] = (),
        **more: Any,
    ) -> RotationResult:
        return RotationResult(
            owner_id=self.owner_id,
            name=self.name,
            changed=changed,
            reason=reason,
            account_id=self.account.id if self.account else None,
            account_name=self.account.name if self.account else self.target if isinstance(self.target, str) else None,
            kept=tuple(map(_note, kept)),
            **more,
        )

    def tell(self, step: Step, what: str) -> None:
        log.info("%s: %s", step, what)
        if self.on_step is not None:
            self.on_step(step, what)


def _note(token: DomoAccessToken) -> TokenNote:
    return TokenNote(
        id=token.id, expires_at=token.expires_at, fingerprint=token.token.fingerprint if token.token else None
    )


def _not_negative(value: timedelta | float, name: str) -> timedelta:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
        return timedelta(0)
    if isinstance(value, timedelta) and not value:
        return value
    try:
        return as_duration(value)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error.message}") from None


def _span(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{span / timedelta(hours=1):.1f} hours"
