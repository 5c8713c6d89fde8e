"""What a keeper tells: events and counters, with fingerprints instead of tokens."""

from datetime import datetime
from typing import Literal

import attrs

from domokit.errors import DomoError

EventKind = Literal[
    "started",  # a token is being asked for
    "succeeded",  # a new one is in the store
    "failed",  # the renewal ended without one
    "adopted",  # another had renewed it: taken from the store, without a request
    "lost",  # the answer to a refresh never came; outcome unknown
    "unpersisted",  # received, but the store failed: held in memory, and if possible in the rescue file
    "recovered",  # an answer or token that an earlier process could not finish with was found and used
    "parked",  # received after another had written a newer one: kept aside
]


@attrs.frozen(kw_only=True)
class TokenEvent:
    """Something that happened to a credential.

    key:      the credential, as the store names it; name: as people do.
    grant:    the way to the token that was taken, if one was.
    spent:    fingerprint of the refresh token that was presented.
    gained:   fingerprint of the access token that came of it.
    error:    how it failed.
    at:       when, by this machine's clock.
    """

    kind: EventKind
    key: str
    name: str
    at: datetime
    grant: str | None = None
    spent: str | None = None
    gained: str | None = None
    error: DomoError | None = None

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.kind}"]
        parts += [f"{what} {value}" for what, value in (("by", self.grant), ("spent", self.spent)) if value]
        parts += [f"gained {self.gained}"] if self.gained else []
        parts += [f"({self.error})"] if self.error else []
        return " ".join(parts)
