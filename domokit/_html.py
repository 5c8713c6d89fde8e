"""Tables for notebooks."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any


def cell(value: Any) -> str:
    """A value as text for a cell; nothing for None."""
    if value is None:
        return ""
    return escape(f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else str(value))


def record(values: Mapping[str, Any]) -> str:
    """A table of names and values, one below the other."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{cell(value)}</td></tr>" for name, value in values.items())
    return f"<table>{rows}</table>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> str:
    """A table of rows. The cells are HTML already."""
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{one}</td>" for one in row) + "</tr>" for row in rows)
    return f"<table>{above}<tr>{names}</tr>{body}</table>"
