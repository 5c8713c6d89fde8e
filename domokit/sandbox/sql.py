"""Queries of one dataset: Domo's dialect read as DuckDB's, run on a connection that can reach nothing else.

Names are in backticks, texts in single or double quotes. Whatever table the statement names is the dataset.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from json.encoder import encode_basestring
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLE = "visible_rows"  # what every table name becomes

_TOKEN = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]* | \#[^\n]* | /\*.*?\*/)
  | (?P<text>'(?:[^'\\]|''|\\.)*' | "(?:[^"\\]|""|\\.)*")
  | (?P<name>`(?:[^`]|``)+`)
  | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<word>[^\W\d]\w*)
  | (?P<sign><=|>=|<>|!=|\|\||[()*,.+\-/%<>=!&|^~;])
    """,
    re.VERBOSE | re.DOTALL,
)
_AFTER_TABLE = frozenset({"WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT"})
_STATEMENTS = ("FROM", "VALUES", "TABLE", "WITH", "SHOW", "DESCRIBE", "SUMMARIZE", "PIVOT", "UNPIVOT", "CALL")
_JOINED = ("JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL", "STRAIGHT_JOIN")
_WITH_FROM = frozenset({"EXTRACT", "TRIM", "SUBSTRING", "OVERLAY", "POSITION"})  # functions, as in YEAR FROM day
_AGGREGATES = ("SUM", "COUNT", "AVG", "MIN", "MAX", "STDDEV", "VARIANCE", "MEDIAN", "GROUP_CONCAT")


class BadQuery(Exception):
    """The statement is none that Domo would run; its text says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the statement. `value` is without its quotes, and for a word in upper case."""

    kind: str
    value: str
    raw: str

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.value in words

    def is_sign(self, sign: str) -> bool:
        return self.kind == "sign" and self.value == sign


_END = Token("end", "", "")


def tokens_of(sql: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:
            raise BadQuery(f"Unexpected {sql[at]!r} at position {at + 1}")
        at, kind, raw = match.end(), str(match.lastgroup), match.group()
        if kind == "space":
            continue
        value = raw
        if kind == "word":
            value = raw.upper()
        elif kind == "name":
            value = raw[1:-1].replace("``", "`")
        elif kind == "text":
            quote = raw[0]
            value = re.sub(rf"\\([\\'\"])|{quote}({quote})", r"\1\2", raw[1:-1])
        if "\0" in value:
            raise BadQuery("A statement cannot hold a NUL character")
        tokens.append(Token(kind, value, raw))
    return tokens


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(slots=True)
class Statement:
    """One SELECT, as DuckDB takes it.

    aggregated: of each column of the answer, whether it is an aggregate; None when that is unknown.
    mentions:   every word and name in it, in lower case; None when it asks for all columns.
    """

    sql: str
    aggregated: list[bool] | None
    mentions: set[str] | None


def translate(sql: str) -> Statement:
    """Raises BadQuery for anything but one SELECT from one table."""
    tokens = tokens_of(sql)
    while tokens and tokens[-1].is_sign(";"):
        tokens.pop()
    if not tokens or not tokens[0].is_word("SELECT"):
        raise BadQuery("Only SELECT statements can be run")
    written = " ".join(_written(tokens))
    if any(_is_all_columns(before, token) for before, token in pairwise(tokens)):
        return Statement(written, None, None)
    mentions = {token.value.lower() for token in tokens if token.kind in ("word", "name")}
    return Statement(written, _aggregated(tokens), mentions)


def _is_all_columns(before: Token, token: Token) -> bool:
    """Whether a star stands for columns: in a list of them, not in COUNT(*) or a product."""
    listing = before.is_word("SELECT", "DISTINCT", "ALL") or before.is_sign(",") or before.is_sign(".")
    return token.is_sign("*") and listing


def _written(tokens: list[Token]) -> Iterator[str]:
    opened: list[Token] = []  # what stood before each open parenthesis
    at, last = 0, _END

    def peek(ahead: int = 1) -> Token:
        return tokens[at + ahead] if at + ahead < len(tokens) else _END

    while at < len(tokens):
        token = tokens[at]
        if token.is_sign(";"):
            raise BadQuery("Only one statement can be run at a time")
        if token.is_word("JOIN"):
            raise BadQuery("JOIN is not supported: a query reads one dataset")
        if token.is_word("INTO"):
            raise BadQuery("Only SELECT statements can be run")
        if token.is_sign("("):
            opened.append(last)
            if peek().kind == "word" and peek().value in _STATEMENTS:
                raise BadQuery("Only SELECT statements can be run")
        elif token.is_sign(")"):
            if not opened:
                raise BadQuery("Unexpected ')'")
            opened.pop()
        if token.is_word("UNION", "EXCEPT", "INTERSECT"):
            follower = peek(2) if peek().is_word("ALL", "DISTINCT") else peek()
            if not (follower.is_word("SELECT") or follower.is_sign("(")):
                raise BadQuery("Only SELECT statements can be run")
        of_a_table = not (last.is_word("DISTINCT") or (opened and opened[-1].is_word(*_WITH_FROM)))
        if token.is_word("FROM") and of_a_table:
            yield "FROM"
            at, last = at + 1, token
            if tokens[at : at + 1] and tokens[at].is_sign("("):
                if not peek().is_word("SELECT"):
                    raise BadQuery("FROM takes one table name")
                continue
            length, text = _table(tokens[at:])
            yield text
            at += length
            last = tokens[at - 1]
            continue
        yield _piece(token, last, peek())
        at, last = at + 1, token
    if opened:
        raise BadQuery("Missing ')'")


def _table(rest: list[Token]) -> tuple[int, str]:
    """(how many tokens, what they become) of a table name and its alias, which must be all there is."""
    rest = [*rest, _END, _END, _END, _END]
    if rest[0].kind not in ("word", "name", "text") or rest[0].raw.startswith("'"):
        raise BadQuery("FROM takes one table name")
    alias, length = rest[0], 1
    if rest[1].is_word("AS"):
        alias, length = rest[2], 3
        if alias.kind not in ("word", "name"):
            raise BadQuery("AS takes a name")
    elif rest[1].kind == "name" or (rest[1].kind == "word" and rest[1].value not in _AFTER_TABLE):
        alias, length = rest[1], 2
    follower = rest[length]
    if follower.kind != "end" and not follower.is_sign(")") and not follower.is_word(*_AFTER_TABLE):
        if follower.is_word("JOIN") or follower.is_sign(",") or alias.is_word(*_JOINED):
            raise BadQuery("JOIN is not supported: a query reads one dataset")
        raise BadQuery(f"Unexpected {follower.raw!r} after the table")
    return length, f"{TABLE} AS {quoted(alias.raw if alias.kind == 'word' else alias.value)}"


def _piece(token: Token, before: Token, after: Token) -> str:
    if token.kind == "text":
        if before.is_word("AS"):
            return quoted(token.value)
        return "'" + token.value.replace("'", "''") + "'"
    if token.kind == "name":
        if after.is_sign("("):
            raise BadQuery(f"Unknown function {token.value}")
        return quoted(token.value)
    if token.kind == "word" and (before.is_sign(".") or after.is_sign(".")):
        # Also so that FROM table, SELECT table.qty works: the word is reserved.
        if after.is_sign("("):
            raise BadQuery(f"Unknown function {token.raw}")
        return quoted(token.raw)
    return token.raw


def _aggregated(tokens: list[Token]) -> list[bool]:
    """Whether each item of the outer select list is an aggregate."""
    items, depth = [False], 0
    for before, token in pairwise(tokens):
        if token.is_sign("("):
            if before.is_word(*_AGGREGATES):
                items[-1] = True
            depth += 1
        elif token.is_sign(")"):
            depth -= 1
        elif depth == 0:
            if token.is_word("FROM"):
                break
            if token.is_sign(","):
                items.append(False)
    return items


# running it


@dataclass(slots=True)
class Result:
    """What a query found. Cells are as Python has them; `types` are Domo's words."""

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]] = field(repr=False)
    aggregated: list[bool]


_KINDS = {
    "VARCHAR": "STRING",
    "DOUBLE": "DOUBLE",
    "FLOAT": "DOUBLE",
    "DATE": "DATE",
    "TIMESTAMP": "DATETIME",
    "TIMESTAMP_S": "DATETIME",
    "TIMESTAMP_MS": "DATETIME",
    "TIMESTAMP_NS": "DATETIME",
    "TIMESTAMP WITH TIME ZONE": "DATETIME",
    "BOOLEAN": "LONG",
    "TINYINT": "LONG",
    "SMALLINT": "LONG",
    "INTEGER": "LONG",
    "BIGINT": "LONG",
    "HUGEINT": "LONG",
    "UBIGINT": "LONG",
    "UHUGEINT": "LONG",
}


def run(connection: DuckDBPyConnection, sql: str, condition: str | None = None) -> Result:
    """Run a statement on the view `data` of a connection, of which it sees the rows of `condition`.

    The connection is then locked for good: no file, no other database, no setting. Raises BadQuery.
    """
    # On first use: importing it takes longer than all the rest of the sandbox.
    duckdb = importlib.import_module("duckdb")
    statement = translate(sql)
    names = [str(each[0]) for each in connection.execute("DESCRIBE data").fetchall()]
    used = [name for name in names if statement.mentions is None or name.lower() in statement.mentions] or names[:1]
    columns = ", ".join(map(quoted, used))
    try:
        # Copied first, since the view reads files and the statement must not.
        connection.execute(f"CREATE TEMP TABLE {TABLE} AS FROM data SELECT {columns} WHERE {condition or 'TRUE'}")
    except duckdb.BinderException:
        raise BadQuery("A row policy names a column that the data does not have") from None
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    try:
        if [each.type for each in connection.extract_statements(statement.sql)] != [duckdb.StatementType.SELECT]:
            raise BadQuery("Only one SELECT statement can be run")
        connection.execute(statement.sql)
        described = connection.description or []
        cells = connection.fetchall()
    except (duckdb.OutOfMemoryException, duckdb.InternalException):
        raise
    except duckdb.Error as error:
        raise BadQuery(str(error).partition("\n")[0]) from None
    types = [_kind(str(each[1])) for each in described]
    marks = statement.aggregated
    if marks is None or len(marks) != len(types):
        marks = [False] * len(types)
    return Result([str(each[0]) for each in described], types, cells, marks)


def _kind(type_name: str) -> str:
    return "DECIMAL" if type_name.startswith("DECIMAL") else _KINDS.get(type_name, "STRING")


# writing it


def text_of(cell: Any) -> str:
    """A cell as text: of dates without a zone, of decimals without trailing zeros."""
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None).isoformat(timespec="seconds")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        text = f"{cell:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(cell, bool):
        return str(int(cell))
    return str(cell)


def _number(cell: Any) -> str:
    # JSON knows neither NaN nor infinity.
    return "null" if isinstance(cell, float) and not isfinite(cell) else text_of(cell)


def _text(cell: Any) -> str:
    return encode_basestring(text_of(cell))


def rows_json(result: Result) -> str:
    """The rows as JSON arrays. Decimals keep every digit, which Python's own encoder would not."""
    encoders: list[Callable[[Any], str]] = [
        _number if kind in ("LONG", "DOUBLE", "DECIMAL") else _text for kind in result.types
    ]
    lines = (
        "["
        + ",".join("null" if cell is None else encode(cell) for encode, cell in zip(encoders, row, strict=True))
        + "]"
        for row in result.rows
    )
    return "[" + ",".join(lines) + "]"


def lengths(result: Result, column: int) -> tuple[int, int]:
    """(longest, shortest) of a column of texts; -1 for any other, and where there are no texts."""
    if result.types[column] != "STRING":
        return -1, -1
    sizes = [len(text_of(row[column])) for row in result.rows if row[column] is not None]
    return (max(sizes), min(sizes)) if sizes else (-1, -1)
