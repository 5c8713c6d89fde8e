"""What depends on the running event loop or on the clock."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from anyio.lowlevel import RunVar

T = TypeVar("T")
V = TypeVar("V")


class PerLoop(Generic[T, V]):
    """One lazily built value per owner and running event loop.

    Clients and locks belong to a loop, auth objects outlive loops (two `asyncio.run` calls, asyncio then trio).
    The value must not hold its owner, or neither would ever be freed.
    """

    def __init__(self, name: str, build: Callable[[T], V]) -> None:
        self._table: RunVar[WeakKeyDictionary[T, V]] = RunVar(f"domokit.{name}")
        self._build = build

    def __call__(self, owner: T) -> V:
        table = self._table_of_loop()
        if (value := table.get(owner)) is None:
            value = table[owner] = self._build(owner)
        return value

    def pop(self, owner: T) -> V | None:
        """Forget and return this loop's value, if there is one."""
        return self._table_of_loop().pop(owner, None)

    def _table_of_loop(self) -> WeakKeyDictionary[T, V]:
        if (table := self._table.get(None)) is None:
            table = WeakKeyDictionary[T, V]()
            self._table.set(table)
        return table


def utc_now() -> datetime:
    """Now, as an aware UTC datetime."""
    return datetime.now(UTC)


def from_wire(value: Any) -> datetime | None:
    """A time as Domo sends it, as an aware UTC datetime; None stays None, and so does what is no time.

    Epoch milliseconds and epoch seconds stand side by side in one object (`modified` and `created` of a user), so
    the size decides: below 10**11 are seconds. ISO 8601 texts and 'YYYY-MM-DD HH:MM:SS.f' (zone not given: UTC) too.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            if value[-1:] == "Z":  # what nearly all texts look like
                return datetime.fromisoformat(value)
            text = value.strip()
            if text.lstrip("-").isdigit():
                return from_wire(int(text))
            read = datetime.fromisoformat(text)
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    if not isinstance(value, (int, float)):
        return None
    try:
        seconds = value / 1000 if abs(value) >= 10**11 else value
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def to_epoch_ms(moment: datetime) -> int:
    """An aware datetime as epoch milliseconds; the counterpart of `from_wire`. Sub-millisecond parts are cut off."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is ambiguous; pass an aware datetime, e.g. datetime.now(UTC)")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
