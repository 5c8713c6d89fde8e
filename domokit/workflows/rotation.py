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
from random import uniform
from typing import Any, Literal

import anyio
import attrs

from domokit._secrets import Secret
from domokit.auth import AccessTokenAuth, Auth
from domokit.entities.access_tokens import DomoAccessToken, as_duration
from domokit.entities.base import as_id, class_for
from domokit.errors import (
    AuthenticationError,
    DomoError,
    InvalidInputError,
    OutcomeUnknown,
    RotationError,
    UnsupportedByAuth,
)
from domokit.transport import dry_run as dry_run_block
from domokit.transport import is_dry_run
from domokit.workflows.rotation_result import RotationResult, TokenNote, note_of
from domokit.workflows.token_account import PROVIDERS, Target, TokenAccount

log: logging.Logger = logging.getLogger("domokit.rotation")

Step = Literal["look", "generate", "prove", "store", "verify", "revoke", "done"]
OnStep = Callable[[Step, str], None]
Verdict = Literal["ours", "another's", "dead"]  # whose token the account holds

_ATTEMPTS = 5  # times a dead token that overwrote ours is overwritten again
_RUNS = 12  # times a run starts over because others rotate the same token, after growing waits
_CLOCK_SLACK = timedelta(minutes=5)  # between this clock and Domo's
_CLEAN_UP_SECONDS = 60.0
_PROOF_WAITS = (0.25, 1.0, 0.0)
_FOREVER = datetime.max.replace(tzinfo=UTC)


async def rotate_access_token(
    auth: Auth,
    *,
    owner_id: int | str,
    name: str,
    duration: timedelta | float = timedelta(days=30),
    account: Target | None = None,
    provider: str = PROVIDERS[0],
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
    allow_external_use:  whether the account's secrets can be read in clear by those it is shared with; None leaves it
                    as it is. Where they can, the stored token is compared; else the account's times must do.
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
    if provider not in PROVIDERS:
        raise InvalidInputError(f"provider {provider!r} cannot hold a token; use {' or '.join(PROVIDERS)}")
    owner = as_id(owner_id)
    if not isinstance(owner, int) or not name.strip():
        raise InvalidInputError("a rotation needs the owner's id and the token's name")
    place = None
    if account is not None:
        place = TokenAccount(
            auth=auth, target=account, provider=provider, owner_id=owner, allow_external_use=allow_external_use
        )
    rotation = _Rotation(
        auth=auth,
        owner_id=owner,
        name=name,
        duration=as_duration(duration),
        place=place,
        min_remaining=None if min_remaining is None else _not_negative(min_remaining, "min_remaining"),
        keep_old_for=None if keep_old_for is None else _not_negative(keep_old_for, "keep_old_for"),
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
    place: TokenAccount | None
    min_remaining: timedelta | None
    keep_old_for: timedelta | None
    on_step: OnStep | None = None
    old: list[DomoAccessToken] = attrs.field(factory=list)
    revoked: list[TokenNote] = attrs.field(factory=list)
    orphans: list[int] = attrs.field(factory=list)  # new tokens that could not be revoked again

    async def run(self) -> RotationResult:
        lost = 0
        for run in range(_RUNS):
            if run:  # so that those who get in each other's way do not do so for ever
                await anyio.sleep(uniform(0, min(5.0, 0.1 * 2**run)))
            await self.look()
            if (unchanged := await self.unless_due()) is not None:
                return unchanged
            if self.place is not None:
                await self.place.prepare()
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
            reason="a new token would be generated" + (f" and written to {self.place}" if self.place else ""),
            dry_run=True,
            revoked=tuple(note_of(token) for token in self.old if token not in keep),
            kept=keep,
        )

    # -- look

    async def look(self) -> None:
        """What is there: the account, and the living tokens of this owner and name, newest first."""
        if self.place is not None:
            await self.place.find()
        kind = class_for(self.auth, "ACCESS_TOKEN")
        self.old = list(await kind.search(self.auth, owner_id=self.owner_id, name=self.name))
        self.old.sort(key=lambda token: (token.expires_at or _FOREVER, token.id), reverse=True)
        self.tell("look", f"{len(self.old)} living token(s) of {self.name!r}; {self.place or 'no account'}")

    async def unless_due(self, *, dry_run: bool = False) -> RotationResult | None:
        """The result if no new token is due: the newest lives long enough and is what the account holds."""
        if self.min_remaining is None or not self.old:
            return None
        newest, *older = self.old
        if newest.remaining < self.min_remaining:
            return None
        if self.place is not None and not await self._holds(self.place, newest):
            return None
        due, kept = ([], older) if self.place is None else self._split(older, newest)
        if due and self.place is not None and not dry_run:
            if await self._signs_with_an_older_one(self.place):
                due, kept = [], older
            else:
                self.tell("revoke", f"{len(due)} older token(s) are due")
                await self._revoke(due, self.auth)
                if not await self._holds(self.place, newest):  # another run has stored one of them in the meantime
                    await self.look()
                    return None
        return self.result(
            changed=bool(due),
            expires_at=newest.expires_at,
            reason=f"{_span(newest.remaining)} left, {_span(self.min_remaining)} wanted"
            + ("; older tokens were due" if due else ""),
            dry_run=dry_run,
            revoked=tuple(map(note_of, due)) if dry_run else tuple(self.revoked),
            kept=kept,
        )

    async def _signs_with_an_older_one(self, place: TokenAccount) -> bool:
        """Whether it may be an older token of the owner that signs; if so, the account's takes over if it can."""
        if not await self._is_own() or not isinstance(self.auth, AccessTokenAuth):
            return False
        stored, _ = await place.read()
        if stored is None:
            return True
        self.auth.replace_token(stored)
        return False

    async def _holds(self, place: TokenAccount, newest: DomoAccessToken) -> bool:
        """Whether the account holds this token, as far as can be known without its value."""
        if place.account is None:
            return False
        stored, token_id = await place.read()
        if stored is not None:
            if not await self._signs_in(stored):
                return False
            if token_id is not None:
                return token_id == newest.id
        # Its value is not shown, or not which token it is. If only one lives, or as many as are kept, it is the newest,
        # provided that the account was written after that was made.
        usual = 1 if self.keep_old_for is None else 2
        written = place.account.modified_at
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
            if self.place is not None:
                step = "store"
                self.tell("store", f"writing it to {self.place}")
                await self.place.write(new)
                step = "verify"
                if (verdict := await self.verify(self.place, new)) != "ours":
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

    # -- verify

    async def verify(self, place: TokenAccount, new: DomoAccessToken) -> Verdict:
        """Whose living token the account holds after our write."""
        assert new.token is not None
        self.tell("verify", f"is token {new.id} in {place}, and does it live?")
        for _ in range(_ATTEMPTS):
            stored, _ = await place.read()
            if stored is None or stored == new.token:  # masked: then its life must do
                return "ours" if await self._signs_in(new.token) else "dead"
            if await self._signs_in(stored):
                return "another's"
            if not await self._signs_in(new.token):
                return "dead"
            await place.write(new)  # a dead one has overwritten ours
        return "dead"

    async def _signs_in(self, token: Secret) -> bool:
        """Whether a token signs in as the owner, now."""
        assert self.auth.instance is not None
        try:
            async with AccessTokenAuth(self.auth.instance, token, options=self.auth.options) as signed:
                return (await signed.who_am_i()).id == self.owner_id
        except (AuthenticationError, InvalidInputError):
            return False

    async def give_way(self, new: DomoAccessToken, verdict: Verdict) -> RotationResult | None:
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
        return [newest] if self.place is None else []

    async def finish(self, new: DomoAccessToken, keep: list[DomoAccessToken]) -> RotationResult | None:
        """Revoke what is not kept, then look once more at who has the last word; None to start over."""
        going = [token for token in self.old if token not in keep]
        if going:
            self.tell("revoke", f"{len(going)} older token(s)")
        own = await self._is_own()
        # The token that signs these calls may be among them, so the new one of the same user signs instead.
        async with new.auth_with() as signed:
            await self._revoke(going, signed if own else self.auth)
        if own and isinstance(self.auth, AccessTokenAuth) and new.token is not None:
            await self._go_on_with(self.auth, new.token)
        if going and self.place is not None and (verdict := await self._after_revoking(self.place, new)) != "ours":
            return await self.give_way(new, verdict)
        assert new.token is not None
        self.tell("done", f"token {new.id} ({new.token.fingerprint}) is in place")
        return self.result(
            changed=True,
            reason="a new token is in place",
            generated=note_of(new),
            expires_at=new.expires_at,
            revoked=tuple(self.revoked),
            kept=keep,
            token=new,
        )

    async def _is_own(self) -> bool:
        """Whether a token of this owner signs these calls: perhaps one that is to be revoked."""
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
                self.revoked.append(note_of(token))
        if failed:
            left = [token.id for token, _ in failed]
            raise RotationError(
                f"token(s) {', '.join(map(str, left))} could not be revoked: {failed[0][1]}",
                step="revoke",
                left_alive=left,
                stored=True if self.place else None,
                hint="The new token is in place. Run the rotation again to revoke the rest.",
            ) from failed[0][1]

    async def _go_on_with(self, auth: AccessTokenAuth, token: Secret) -> None:
        try:
            await auth.who_am_i()
        except AuthenticationError:
            auth.replace_token(token)

    async def _after_revoking(self, place: TokenAccount, new: DomoAccessToken) -> Verdict:
        stored, _ = await place.read()
        if stored is None:
            # Masked: nobody can see whether another run's token, which we may just have revoked, got there in between.
            await place.write(new)
        return await self.verify(place, new)

    # -- when it goes wrong

    async def _settle(self, new: DomoAccessToken, step: Step, error: DomoError | None) -> bool | None:
        """After a failure or (None) a cancellation: is the new token in the account? None if that is unknown.

        It is revoked if it certainly is not.
        """
        if step == "revoke":
            return self.place is not None
        if step == "verify":
            return None
        if step == "store" and (self.place is None or error is None or not await self.place.is_untouched_by(error)):
            return None
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            await self._revoke_new(new)
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
        place = self.place
        named = place.target if place is not None and isinstance(place.target, str) else None
        return RotationResult(
            owner_id=self.owner_id,
            name=self.name,
            changed=changed,
            reason=reason,
            account_id=place.account.id if place and place.account else None,
            account_name=place.account.name if place and place.account else named,
            kept=tuple(map(note_of, kept)),
            **more,
        )

    def tell(self, step: Step, what: str) -> None:
        log.info("%s: %s", step, what)
        if self.on_step is not None:
            self.on_step(step, what)


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
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "hours"), (timedelta(minutes=1), "minutes")):
        if span >= 2 * unit:
            return f"{span / unit:.0f} {name}" if name == "days" else f"{span / unit:.1f} {name}"
    return f"{span.total_seconds():.1f} seconds"
