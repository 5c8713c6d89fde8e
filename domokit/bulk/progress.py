"""How far a transfer has come, shown as a bar or told to a function."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import attrs

from domokit.errors import MissingExtraError

_PAUSE = 0.1  # seconds between two calls


@attrs.frozen(kw_only=True)
class Progress:
    """How far it has come.

    what:         what is under way, such as 'upload'.
    rows:         None, as long as none is known of.
    bytes:        of CSV, uncompressed.
    total_rows, total_bytes:  what is due, as far as that is known.
    seconds:      since the beginning.
    """

    what: str
    rows: int | None
    bytes: int
    total_rows: int | None
    total_bytes: int | None
    seconds: float


class Watch:
    """Is told what was done since it was told last. Only the thread that made it may do so."""

    def __init__(
        self, show: Callable[[Progress], object] | None, what: str, total_bytes: int | None, total_rows: int | None
    ) -> None:
        self._show = show
        self._what = what
        self._total_bytes, self._total_rows = total_bytes, total_rows
        self._rows: int | None = None
        self._bytes = 0
        self._began = time.monotonic()
        self._next = self._began + _PAUSE
        self._is_over = False

    def advance(self, *, rows: int | None = None, bytes: int = 0) -> None:  # noqa: A002
        if self._show is None:
            return
        if rows is not None:
            self._rows = (self._rows or 0) + rows
        self._bytes += bytes
        if (now := time.monotonic()) >= self._next:
            self._next = now + _PAUSE
            self._show(self.state)

    def finish(self) -> None:
        """Show the end, once."""
        if self._show is not None and not self._is_over:
            self._is_over = True
            self._show(self.state)

    @property
    def state(self) -> Progress:
        return Progress(
            what=self._what,
            rows=self._rows,
            bytes=self._bytes,
            total_rows=self._total_rows,
            total_bytes=self._total_bytes,
            seconds=time.monotonic() - self._began,
        )


@contextmanager
def watching(
    progress: bool | Callable[[Progress], object],
    what: str,
    *,
    total_bytes: int | None = None,
    total_rows: int | None = None,
) -> Generator[Watch, None, None]:
    """Shows what the Watch is told while the block runs.

    progress:  True for a bar (on stderr, or as a widget in a notebook); or a function, called about ten times a second
               and once at the end, though not if the block fails. What it raises ends the transfer; so a block whose
               outcome cannot be taken back tells the Watch before that it is finished.
    Raises: MissingExtraError, if a bar is asked for and tqdm is not installed.
    """
    if progress is False:
        yield Watch(None, what, total_bytes, total_rows)
        return
    bar = _Bar(what, total_bytes, total_rows) if progress is True else None
    show = bar.show if bar is not None else progress
    assert callable(show)
    try:
        watch = Watch(show, what, total_bytes, total_rows)
        yield watch
        watch.finish()
    finally:
        if bar is not None:
            bar.close()


class _Bar:
    """A bar of rows where it is known how many are due; else of bytes."""

    def __init__(self, what: str, total_bytes: int | None, total_rows: int | None) -> None:
        try:
            tqdm: Any = import_module("tqdm.auto")
        except ModuleNotFoundError as missing:
            if (missing.name or "").split(".")[0] != "tqdm":
                raise
            tqdm = None
        if tqdm is None:
            raise MissingExtraError("a progress bar needs tqdm", hint="pip install 'domokit[data]'")
        self._of_rows = total_rows is not None
        # Without the thread that tqdm would start, for good, to look after bars that are seldom told anything.
        bar: Any = type("Bar", (tqdm.tqdm,), {"monitor_interval": 0})
        self._bar: Any = None
        with suppress(OSError):  # that nobody can see it is no reason to stop
            if self._of_rows:
                self._bar = bar(desc=what, total=total_rows, unit=" rows", unit_scale=True)
            else:
                self._bar = bar(desc=what, total=total_bytes, unit="B", unit_scale=True, unit_divisor=1024)

    def show(self, progress: Progress) -> None:
        now = (progress.rows or 0) if self._of_rows else progress.bytes
        with suppress(OSError):
            if self._bar is not None:
                self._bar.update(now - self._bar.n)

    def close(self) -> None:
        with suppress(OSError):
            if self._bar is not None:
                self._bar.close()
