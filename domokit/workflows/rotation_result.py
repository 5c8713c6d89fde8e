"""What a rotation reports: ids, times and fingerprints, no secret."""

from datetime import datetime
from typing import Any

import attrs

from domokit.entities.access_tokens import DomoAccessToken


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
    expires_at:  end of the life of the token in place, new or not; None if unknown.
    account_id, account_name: where it is kept; None without an account.
    revoked:     tokens that were revoked.
    superseded:  another run at the same time has put its token into the account; this run's was revoked again.
    kept:        older ones left alive: for `keep_old_for`, or because without an account nobody else holds a valid one.
    token:       the new `DomoAccessToken` with its value as a `Secret`; None if none was made.
    """

    owner_id: int
    name: str
    changed: bool
    reason: str
    dry_run: bool = False
    generated: TokenNote | None = None
    expires_at: datetime | None = None
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
            "expires_at": self.expires_at,
            "account_id": self.account_id,
            "account_name": self.account_name,
            "revoked": [one.to_dict() for one in self.revoked],
            "kept": [one.to_dict() for one in self.kept],
        }


def note_of(token: DomoAccessToken) -> TokenNote:
    return TokenNote(
        id=token.id, expires_at=token.expires_at, fingerprint=token.token.fingerprint if token.token else None
    )
