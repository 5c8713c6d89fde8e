"""What is told about a credential, from what a store holds."""

from datetime import datetime, timedelta

import attrs

from domokit.oauth.record import TokenRecord


@attrs.frozen(kw_only=True)
class KeeperStatus:
    """What a store holds about a credential; no secret among it.

    state:  'empty', 'fresh', 'expired', 'in doubt' (a refresh whose answer never came) or 'dead' (its refresh token
            was refused).
    """

    key: str
    name: str
    state: str
    fingerprint: str | None = None
    obtained_at: datetime | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    scope: str | None = None


def status_of(record: TokenRecord, *, key: str, name: str, now: datetime) -> KeeperStatus:
    token, refresh = record.token, record.refresh_token
    if token is None and refresh is None:
        return KeeperStatus(key=key, name=name, state="empty")
    state = "fresh" if token and token.remaining(now) > timedelta(0) else "expired"
    if record.is_outcome_unknown:
        state = "in doubt"
    elif refresh is not None and refresh.fingerprint in record.dead:
        state = "dead"
    return KeeperStatus(
        key=key,
        name=name,
        state=state,
        fingerprint=token and token.fingerprint,
        obtained_at=token and token.obtained_at,
        expires_at=token and token.expires_at,
        refresh_expires_at=token and token.refresh_expires_at,
        scope=token and token.scope,
    )
