"""The sandbox's own clock, which tests and people may move forward."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Real time plus an offset. Everything in the sandbox that expires asks this clock."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset: float = offset  # seconds ahead of real time

    def now(self) -> datetime:
        """The sandbox's present, as an aware UTC datetime."""
        return datetime.now(UTC) + timedelta(seconds=self.offset)

    def now_ms(self) -> int:
        """The same instant in milliseconds since 1970."""
        return int(self.now().timestamp() * 1000)

    def advance(self, by: timedelta | float) -> datetime:
        """Jump by a timedelta or a number of seconds (negative goes back); return the new time."""
        self.offset += by.total_seconds() if isinstance(by, timedelta) else float(by)
        return self.now()

    def __repr__(self) -> str:
        return f"Clock(offset={self.offset})"


def iso_z(ms: int) -> str:
    """Milliseconds since 1970 as the platform writes times: `2017-06-12T20:23:57Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text_time(ms: int) -> str:
    """Milliseconds since 1970 as group listings write times: `2023-06-08 20:59:05.0`."""
    when = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 100_000}"
