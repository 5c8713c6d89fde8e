"""Where the rows of datasets lie: Parquet files in a folder, read and written with DuckDB."""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .model import Dataset, DataVersion, Upload
from .rows import InvalidCsv, check, with_line_feeds
from .sql import quoted
from .state import State

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SEED = "SEED"  # the action of a version whose made-up rows are written when they are first read

# 18 digits after the point and 20 before: what Domo takes of a DECIMAL is not documented.
_SQL_TYPES = {
    "STRING": "VARCHAR",
    "LONG": "BIGINT",
    "DOUBLE": "DOUBLE",
    "DECIMAL": "DECIMAL(38, 18)",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
}
Columns = Sequence[dict[str, str]]
_EXPORTS, _SEEDING = "exports", "seeding"  # folders of what is there for a moment only


class Warehouse:
    """The files. Every method may be called in any thread, and blocks.

    folder:  where they are kept; without one, in a folder of their own that goes with this object.
    """

    def __init__(self, state: State, folder: Path | None = None) -> None:
        self._state = state
        self._folder = folder
        self._is_made = False
        self._making = threading.Lock()

    @property
    def folder(self) -> Path:
        with self._making:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="domokit-sandbox-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            if not self._is_made:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._is_made = True
            return self._folder

    def close(self) -> None:
        """Remove what is no row of a dataset: what was cut off in the middle may have left it. Use may go on."""
        if self._is_made:
            for kind in (_EXPORTS, _SEEDING):
                shutil.rmtree(self.folder / kind, ignore_errors=True)

    def sweep(self, *, is_new: bool = False) -> None:
        """Remove the files of what the state does not know, or of an earlier state (is_new): ids begin anew with it."""
        if self._folder is None:
            return
        state = self._state
        tables = {"versions": state.data_versions, "uploads": state.uploads, "seeding": {}, "exports": {}}
        for kind, table in tables.items():
            kept = set() if is_new else {str(number) for number in table}
            for path in [one for one in (self._folder / kind).glob("*") if one.name not in kept]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # in

    def put(self, upload: Upload, part: int, data: bytes, columns: Columns) -> int:
        """Keep the rows of a part, in the place of those it had; how many. Raises InvalidCsv."""
        rows = check(data, columns)
        home = self._home("uploads", upload.id)
        raw = home / f"{secrets.token_hex(8)}.csv"
        made = raw.with_suffix(".written")
        try:
            raw.write_bytes(with_line_feeds(data))
            with _connected() as connection:
                _run(connection, f"COPY ({_typed(raw, columns)}) TO {_text(made)} (FORMAT parquet)")
            made.replace(home / f"{part:09}.parquet")
        except _duckdb().Error as error:
            if type(error).__name__ not in ("ConversionException", "OutOfRangeException", "InvalidInputException"):
                raise
            raise InvalidCsv(
                "Invalid CSV provided during upload. msg=A value is out of the range of its column's type."
            ) from None
        finally:
            raw.unlink(missing_ok=True)
            made.unlink(missing_ok=True)
        return rows

    def discard(self, upload: Upload) -> None:
        """Forget the parts of an upload."""
        shutil.rmtree(self._path("uploads", upload.id), ignore_errors=True)

    def publish(self, upload: Upload, version: DataVersion) -> None:
        """Make the parts of an upload the rows of a version."""
        source, target = self._path("uploads", upload.id), self._path("versions", version.id)
        if source.exists():
            target.parent.mkdir(exist_ok=True)
            source.rename(target)
        else:
            self._home("versions", version.id)

    def merge(
        self,
        source: Upload | DataVersion,
        version: DataVersion,
        older: Sequence[DataVersion],
        key: Sequence[str],
    ) -> int:
        """Write a version that has the rows of `older`, but for those whose key `source` has, and those of `source`.

        Of rows with the same key the last one counts, and NULL equals NULL. One that deletes has none of `source`.
        Returns how many rows there are.
        """
        target = self._home("versions", version.id) / "000000001.parquet"
        home = self._path("uploads" if isinstance(source, Upload) else "versions", source.id)
        parts = sorted(home.glob("*.parquet"))
        columns = version.columns
        new = _select(parts, columns, columns) if parts else _nothing(columns)
        cells = ", ".join(f"{quoted(column['name'])} AS c{place}" for place, column in enumerate(columns))
        keys = ", ".join(map(quoted, key))
        same = " AND ".join(f"old.{quoted(name)} IS NOT DISTINCT FROM fresh.{quoted(name)}" for name in key)
        with _connected() as connection:
            # Tables keep their rows in order, and rowid counts them.
            _run(connection, f"CREATE TEMP TABLE sent AS {new}")
            nth = f"row_number() OVER (PARTITION BY {keys} ORDER BY rowid DESC)"
            last = f"SELECT *, rowid AS place FROM sent QUALIFY {nth} = 1"
            _run(connection, f"CREATE TEMP TABLE fresh AS {last}")
            _run(connection, f"CREATE TEMP TABLE old AS {self._union(older, columns)}")
            is_old = f"NOT EXISTS (SELECT 1 FROM fresh WHERE {same})"
            kept = f"SELECT 0 AS turn, rowid AS place, {cells} FROM old WHERE {is_old}"
            both = kept
            if version.action != "DELETE":
                both += f" UNION ALL SELECT 1 AS turn, place, {cells} FROM fresh"
            chosen = ", ".join(f"c{place}" for place in range(len(columns)))
            merged = f"SELECT {chosen} FROM ({both}) ORDER BY turn, place"
            _run(connection, f"COPY ({merged}) TO {_text(target)} (FORMAT parquet)")
            rows = _run(connection, f"SELECT count(*) FROM read_parquet({_text(target)})").fetchone()
        if isinstance(source, Upload):
            self.discard(source)
        assert rows is not None
        return int(rows[0])

    def drop(self, dataset: Dataset) -> None:
        """Forget all rows of a dataset."""
        for version in [each for each in self._state.data_versions.values() if each.dataset_id == dataset.id]:
            self.drop_version(version)

    def drop_version(self, version: DataVersion) -> None:
        self._state.data_versions.pop(version.id, None)
        if self._is_made:
            shutil.rmtree(self._path("versions", version.id), ignore_errors=True)

    # out

    @contextmanager
    def connect(self, dataset: Dataset) -> Generator[DuckDBPyConnection]:
        """A connection with a view `data`: the rows that can be queried, in load order.

        The engine behind it is its own, so it may be locked.
        """
        with _started() as connection:
            self._show(connection, dataset, None)
            yield connection

    def _show(self, connection: DuckDBPyConnection, dataset: Dataset, versions: Sequence[DataVersion] | None) -> None:
        """Make the view `data` of some versions, or of what can be queried."""
        if versions is None:
            known = self._state.data_versions
            versions = [known[number] for number in dataset.indexed if number in known]
        columns = versions[-1].columns if versions else dataset.columns
        _run(connection, f"CREATE TEMP VIEW data AS {self._union(versions, columns)}")

    def new_export(self) -> Path:
        """A name for a file to export to."""
        return self._home(_EXPORTS) / f"{secrets.token_hex(8)}.csv"

    def export(
        self,
        dataset: Dataset,
        path: Path,
        *,
        header: bool,
        where: str | None = None,
        versions: Sequence[DataVersion] | None = None,
        null: str = "",
        safe: bool = False,
        limit: int | None = None,
    ) -> None:
        """Write the rows as Domo exports them, at most `limit`.

        path:  of the file, which is the caller's to remove, also if this fails.
        null:  how NULL is spelled.
        safe:  put a quote mark before cells that a spreadsheet would run as a formula.
        """
        with _connected() as connection:
            self._show(connection, dataset, versions)
            described = [(str(name), str(kind)) for name, kind, *_ in _run(connection, "DESCRIBE data").fetchall()]
            cells = ", ".join(f"{_cell(name, kind, safe)} AS {quoted(name)}" for name, kind in described)
            try:
                _run(connection, f"EXPLAIN SELECT * FROM data WHERE {where or 'TRUE'}")
            except _duckdb().BinderException:
                where = "FALSE"  # a row policy names a column that this version lacks
            few = "" if limit is None else f" LIMIT {limit}"
            found = f"SELECT {cells} FROM (SELECT * FROM data WHERE {where or 'TRUE'}{few})"
            options = f"FORMAT csv, HEADER {str(header).lower()}, NULLSTR '{null}'"
            if doubtful := _doubtful(connection, [name for name, kind in described if kind == "VARCHAR"]):
                options += f", FORCE_QUOTE ({', '.join(map(quoted, doubtful))})"
            if null and (texts := [quoted(name) for name, kind in described if kind == "VARCHAR"]):
                options += f", FORCE_QUOTE ({', '.join(texts)})"  # or an empty text would look like nothing
            _run(connection, f"COPY ({found}) TO {_text(path)} ({options})")

    def rows(self, dataset: Dataset) -> list[tuple[Any, ...]]:
        """All rows that can be queried, in load order."""
        with _connected() as connection:
            self._show(connection, dataset, None)
            return _run(connection, "SELECT * FROM data").fetchall()

    # files

    def _path(self, kind: str, number: int | str) -> Path:
        return self.folder / kind / str(number)

    def _home(self, kind: str, number: int | str | None = None) -> Path:
        home = self.folder / kind if number is None else self._path(kind, number)
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _files(self, version: DataVersion) -> list[Path]:
        home = self._path("versions", version.id)
        if version.action == SEED and not home.exists():
            _make_up(self._home(_SEEDING) / secrets.token_hex(8), home, version)
        return sorted(home.glob("*.parquet"))

    def _union(self, versions: Iterable[DataVersion], columns: Columns) -> str:
        """A SELECT of versions, one after the other, with these columns; those that one lacks are NULL in it."""
        parts = [_select(files, version.columns, columns) for version in versions if (files := self._files(version))]
        return " UNION ALL ".join(parts) or _nothing(columns)


def _duckdb() -> Any:
    return importlib.import_module("duckdb")  # on first use: it takes longer than all the rest of the sandbox


@lru_cache(maxsize=1)
def _engine(process_id: int) -> DuckDBPyConnection:
    """One for all: to start it takes as long as all else that is done for a small part. It does not outlive a fork."""
    return _started()


def _started() -> DuckDBPyConnection:
    # What looks for common subexpressions takes ten seconds for a thousand columns that are cast.
    return _duckdb().connect(config={"disabled_optimizers": "common_subexpressions"})


@contextmanager
def _connected() -> Generator[DuckDBPyConnection]:
    """A connection of its own, with temporary tables and views that nobody else sees."""
    connection = _engine(os.getpid()).cursor()
    try:
        yield connection
    finally:
        connection.close()


def _run(connection: DuckDBPyConnection, sql: str) -> DuckDBPyConnection:
    return connection.execute(sql)


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _typed(raw: Path, columns: Columns) -> str:
    """A SELECT of a CSV file that has been checked. Columns are c0, c1 …: what people call them comes later."""
    read = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(columns)))
    cells = ", ".join(
        f"c{place}"
        if column["type"] == "STRING"
        else f"CAST({_value(place)} AS {_SQL_TYPES[column['type']]}) AS c{place}"
        for place, column in enumerate(columns)
    )
    # With the line end named: DuckDB would guess it from the first one, even if that stands in quotes.
    options = (
        "header = false, auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = ['', '\\N'], "
        f"allow_quoted_nulls = false, new_line = '\\n', max_line_size = 100000000, columns = {{{read}}}"
    )
    return f"SELECT {cells} FROM read_csv({_text(raw)}, {options})"


def _value(place: int) -> str:
    return f"NULLIF(NULLIF(c{place}, ''), '\\N')"  # an empty text is no number, and neither is one in quotes


def _select(files: Sequence[Path], has: Columns, wanted: Columns) -> str:
    places = {column["name"]: place for place, column in enumerate(has)}
    cells = ", ".join(
        f"CAST({f'c{places[name]}' if name in places else 'NULL'} AS {_SQL_TYPES[column['type']]}) AS {quoted(name)}"
        for column in wanted
        for name in [column["name"]]
    )
    return f"SELECT {cells} FROM read_parquet([{', '.join(map(_text, files))}])"


def _nothing(columns: Columns) -> str:
    cells = ", ".join(f"CAST(NULL AS {_SQL_TYPES[one['type']]}) AS {quoted(one['name'])}" for one in columns)
    return f"SELECT {cells or 'NULL AS nothing'} WHERE FALSE"


def _doubtful(connection: DuckDBPyConnection, names: Sequence[str]) -> list[str]:
    r"""The columns of texts in which one is \N, which DuckDB would leave without quotes, as if it were NULL."""
    if not names:
        return []
    asked = ", ".join(f"bool_or({quoted(name)} = '\\N')" for name in names)
    answer = _run(connection, f"SELECT {asked} FROM data").fetchone() or ()
    return [name for name, is_there in zip(names, answer, strict=True) if is_there]


def _cell(name: str, kind: str, safe: bool) -> str:
    """How a cell is exported: decimals without trailing zeros, times with a T, and a fraction if there is one."""
    cell = quoted(name)
    if kind.startswith("DECIMAL"):
        return f"regexp_replace(CAST({cell} AS VARCHAR), '\\.?0+$', '')"
    if kind == "TIMESTAMP":
        return f"replace(CAST({cell} AS VARCHAR), ' ', 'T')"
    if kind == "VARCHAR" and safe:
        return f"CASE WHEN regexp_matches({cell}, '^[=+@-]') THEN '''' || {cell} ELSE {cell} END"
    return cell


def _make_up(scratch: Path, home: Path, version: DataVersion) -> None:
    """The rows of a seeded dataset: the same every time."""
    made = {
        "STRING": "printf('%06d', i + 1000)",
        "LONG": "i * 7 % 23 + 1",
        "DECIMAL": "CAST((i * 37 % 9973) / 100.0 AS DECIMAL(38, 18))",
        "DATE": "DATE '2024-01-01' + CAST(i % 366 AS INTEGER)",
    }
    cells = ", ".join(f"{made[column['type']]} AS c{place}" for place, column in enumerate(version.columns))
    scratch.mkdir()
    found = f"SELECT {cells} FROM range({version.rows}) AS t(i)"
    with _connected() as connection:
        _run(connection, f"COPY ({found}) TO {_text(scratch / '000000001.parquet')} (FORMAT parquet)")
    home.parent.mkdir(exist_ok=True)
    try:
        scratch.rename(home)  # whole, for whoever asks at the same time
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
