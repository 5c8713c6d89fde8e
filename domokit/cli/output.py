"""What goes to stdout: tables for people, plain text for pipes, one JSON document for programs. No secret, ever."""

import json
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from domokit._secrets import MASK, Secret

Row = Mapping[str, Any]

_SPINNER_AFTER = 1.0  # seconds
_NEVER_FOLDED = ("id", " at", "days left")  # ends of column heads: half an id or half a date is of no use


class Output:
    """Where a command's result goes.

    as_json:  whether it is printed as JSON; then `say` and `step` print nothing, so that stdout is one document.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def document(self, value: Any) -> None:
        """The result, as JSON."""
        utf8 = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf8")
        print(json.dumps(plain(value), indent=2, ensure_ascii=not utf8))

    def say(self, text: str) -> None:
        """A sentence for people."""
        if not self.as_json:
            print(printable(text))

    def listing(self, rows: Sequence[Row], columns: Sequence[str], *, empty: str) -> None:
        """A list: as JSON all members of the rows, as a table those in `columns`."""
        if self.as_json:
            self.document(rows)
        elif rows:
            self.table(rows, columns)
        else:
            self.say(empty)

    def record(self, row: Row) -> None:
        """One thing: as JSON an object, else its members one below the other, without those that are empty.

        Whether it was a dry run is told in words, by the command.
        """
        if self.as_json:
            self.document(row)
            return
        shown = [
            (_head(name), cell(value))
            for name, value in row.items()
            if value not in (None, "", [], ()) and name != "dry_run"
        ]
        _print_table([], shown, title=None)

    def table(self, rows: Sequence[Row], columns: Sequence[str], *, title: str | None = None) -> None:
        """A table for people."""
        if not self.as_json:
            body = [tuple(cell(row.get(name)) for name in columns) for row in rows]
            _print_table([_head(name) for name in columns], body, title=title)


def plain(value: Any) -> Any:
    """A value as JSON knows it: secrets and masked values are '***', times ISO 8601 with Z."""
    if _is_hidden(value):
        return MASK
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        members: Mapping[Any, Any] = value
        return {str(key): plain(item) for key, item in members.items()}
    if isinstance(value, (list, tuple)):
        items: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [plain(item) for item in items]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def cell(value: Any) -> str:
    """A value as people read it in a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        case Mapping():
            members: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
            return "\n".join(f"{printable(str(key))}: {cell(item)}" for key, item in members.items())
        case list() | tuple():
            items: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]
            return ", ".join(cell(item) for item in items)
        case _:
            return MASK if _is_hidden(value) else printable(str(value))


def printable(text: str) -> str:
    """`text` with its control characters written out: a name from Domo must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _is_hidden(value: Any) -> bool:
    return isinstance(value, Secret) or type(value).__name__ == "Masked"


def _head(name: str) -> str:
    return name.replace("_", " ")


def _print_table(head: Sequence[str], body: Sequence[Sequence[str]], *, title: str | None) -> None:
    if sys.stdout.isatty():
        _print_for_people(head, body, title=title)
        return
    # A pipe has no width: nothing is cut or folded, one row is one line.
    from rich.cells import cell_len

    flat = [[text.replace("\n", "; ") for text in row] for row in (*([head] if head else []), *body)]
    widths = [max(map(cell_len, column)) for column in zip(*flat, strict=True)]
    if title:
        print(printable(title))
    for row in flat:
        padded = [text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)]
        print("  ".join(padded).rstrip())


def _print_for_people(head: Sequence[str], body: Sequence[Sequence[str]], *, title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=None if title is None else Text(printable(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD if head else None,
        show_header=bool(head),
        pad_edge=False,
    )
    for name in head or ("", ""):
        fixed = name.endswith(_NEVER_FOLDED)
        table.add_column(name, style=None if head or table.columns else "bold", overflow="fold", no_wrap=fixed)
    for row in body:
        table.add_row(*map(Text, row))  # Text, not str: a name like '[red]' is no markup
    Console(highlight=False).print(table)


class Progress:
    """A line on stderr, from the second second on, while something takes its time. Only on a terminal."""

    def __init__(self, text: str, *, wanted: bool = True) -> None:
        self._text = text
        self._wanted = wanted and bool(text) and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._display: Any = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self._wanted:
            self._timer = threading.Timer(_SPINNER_AFTER, self._start)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()  # else it might start the display after its end
        if self._display is not None:
            self._display.stop()

    @contextmanager
    def away(self) -> Generator[None]:
        """Inside the block the line is gone, so that something else can be printed."""
        with self._lock:
            if self._display is not None:
                self._display.stop()
            try:
                yield
            finally:
                if self._display is not None:
                    self._display.start()

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Display
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            display = Display(*columns, console=Console(stderr=True), transient=True)
            display.add_task(self._text, total=None)
            display.start()
            self._display = display
