"""What the sandbox remembers of each request."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

LONGEST, KEPT = 1 << 20, 1 << 16  # bytes: of bodies remembered whole, and of the beginning of longer ones


@dataclass(slots=True)
class RequestRecord:
    """One request as it arrived. Its repr shows method, path and status only; the rest may be secret.

    `headers` have lower-case names. `query` keeps the last value of a repeated key. `status` is what
    was answered, None while in flight or when the connection was cut instead. `credential` is the kind
    that was accepted: "session", "developer_token", "oauth_client", "client_credentials" or None.
    Of a body of more than a megabyte only the beginning is kept; `size` is that of the whole.
    """

    method: str
    path: str
    query: dict[str, str] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None
    user_id: int | None = field(default=None, repr=False)
    credential: str | None = field(default=None, repr=False)
    size: int = 0

    def __post_init__(self) -> None:
        self.size = len(self.body)
        if self.size > LONGEST:
            self.body = self.body[:KEPT]

    @property
    def json(self) -> Any:
        """The body as JSON; None when it is empty. Raises ValueError for anything else."""
        return json.loads(self.body) if self.body else None
