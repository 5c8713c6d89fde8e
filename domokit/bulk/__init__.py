"""Rows in and out: what users hold, to and from CSV parts on the wire, in memory bounded by the parts in flight.

What needs pyarrow (extra `domokit[data]`) is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from domokit.bulk.schema import Column, Schema, SchemaDiff
from domokit.errors import MissingExtraError

if TYPE_CHECKING:
    from domokit.bulk.reading import query_rows as query_rows
    from domokit.bulk.reading import read_rows as read_rows
    from domokit.bulk.reading import read_version as read_version
    from domokit.bulk.rows import Rows as Rows
    from domokit.bulk.writing import WriteOptions as WriteOptions
    from domokit.bulk.writing import create as create
    from domokit.bulk.writing import write as write

_HOME_OF = {
    "Rows": "rows",
    "WriteOptions": "writing",
    "create": "writing",
    "query_rows": "reading",
    "read_rows": "reading",
    "read_version": "reading",
    "write": "writing",
}

__all__ = [
    "Column",
    "Rows",
    "Schema",
    "SchemaDiff",
    "WriteOptions",
    "create",
    "query_rows",
    "read_rows",
    "read_version",
    "write",
]


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'domokit.bulk' has no attribute {name!r}")
    try:
        return getattr(import_module(f"domokit.bulk.{home}"), name)
    except ModuleNotFoundError as missing:
        if missing.name != "pyarrow":
            raise
        raise MissingExtraError("rows are moved with pyarrow", hint="pip install 'domokit[data]'") from None
