"""`domokit data …`: rows in and out of DataSets, with files and pipes."""

# What needs httpx or pyarrow is imported on use: they take a moment to load, and --help needs neither.

import re
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from domokit.cli.command import command
from domokit.cli.options import Group

if TYPE_CHECKING:
    from domokit.auth import Auth
    from domokit.bulk.rows import Rows
    from domokit.bulk.schema import Schema
    from domokit.bulk.upload import UploadResult
    from domokit.bulk.writing import WriteOptions
    from domokit.cli.connect import Domo
    from domokit.entities.datasets import DomoDataset

app = typer.Typer(cls=Group, help="Rows of DataSets: ls, put, get, query.", no_args_is_help=True)

_COLUMNS = ("id", "name", "rows", "columns", "owner_name", "updated_at")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PIPE = "-"
_SAID_SO = (  # what hints of the library mean on this command line
    ("pass evolve_schema='add' or 'replace'", "add --evolve add or --evolve replace"),
    ("evolve_schema='add'", "--evolve add"),
    ("Call again", "Run it again"),
    ("resume=", "--resume "),
    ("format='csv'", "--format csv"),
    ("header=False", "--no-header"),
    ("DomoDataset.create(…, key=[…])", "--create and --key"),
    ("DomoDataset.create()", "--create"),
)

WhichDataset = Annotated[str, typer.Argument(metavar="ID|NAME", show_default=False)]


class Format(StrEnum):
    """How rows are written down."""

    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    NDJSON = "ndjson"
    ARROW = "arrow"


class Evolve(StrEnum):
    """What may happen to the columns."""

    ADD = "add"
    REPLACE = "replace"


async def find_dataset(auth: "Auth", which: str) -> "DomoDataset":
    """A DataSet by id, or by its whole name if only one has it. Raises: NotFoundError, ConflictError."""
    from domokit.entities.datasets import DomoDataset
    from domokit.errors import NotFoundError

    if _ID.fullmatch(which):
        found = await DomoDataset.get_by_id(auth, which.lower())
        if found.is_deleted:
            raise NotFoundError(
                f"DataSet {which} is deleted",
                asked="look at the DataSet",
                status=200,
                hint="Restore it in Domo, or with DomoDataset.restore().",
            )
        return found
    return await DomoDataset.get_by_name(auth, which)


@command(app, "ls", client_too=True)
def list_datasets(
    domo: "Domo",
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those with this text in the name.")] = None,
) -> None:
    """List the DataSets.

    Example: domokit data ls --search orders
    """
    from domokit.entities.datasets import DomoDataset

    found = domo.run(lambda auth: DomoDataset.search(auth, name_contains=search), doing="listing DataSets")
    # Lists of DataSets never tell their columns.
    rows = [{name: value for name, value in one.items() if name != "schema"} for one in found.to_dicts()]
    domo.out.listing(rows, _COLUMNS, empty="There is no such DataSet.")


@command(app, "put", changes=True, client_too=True)
def put_rows(
    domo: "Domo",
    dataset: WhichDataset,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="CSV, Parquet, NDJSON or Arrow; - for stdin.")],
    append: Annotated[bool, typer.Option("--append", help="Add the rows; by default they replace all others.")] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,…", help="Replace rows that are the same in these columns, and add the others."),
    ] = None,
    partition: Annotated[str | None, typer.Option(metavar="NAME", help="Replace the rows of one partition.")] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the DataSet, if none has this name.")] = False,
    evolve: Annotated[
        Evolve | None,
        typer.Option(help="Add columns that only the data has, or replace all columns; else they must be the same."),
    ] = None,
    format: Annotated[Format | None, typer.Option(help="Of stdin, or of a file whose name does not tell.")] = None,  # noqa: A002
    no_header: Annotated[
        bool, typer.Option("--no-header", help="The CSV has no line of names: its columns are those of the DataSet.")
    ] = False,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Write times that have a zone in this one, instead of UTC.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="State file: run the same again to go on where a load was cut off."),
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Stdin may give nothing at all, which is no rows; else it is refused.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="End when the rows can be queried.")] = False,
) -> None:
    """Load a file into a DataSet: all of it, or nothing. With --dry-run, say how its columns fit.

    Example: domokit data put Orders orders.parquet

    Example: zcat orders.csv.gz | domokit data put Orders - --format csv --append
    """
    kind = format.value if format else None
    asked = {"append": append, "upsert": key is not None, "partition": partition is not None}
    if sum(asked.values()) > 1:
        raise _bad_usage("--append, --key and --partition exclude each other")
    asked["replace"] = True
    job = _Put(
        dataset=dataset,
        file=file,
        action=next(name for name, is_asked in asked.items() if is_asked),
        key=None if key is None else [name.strip() for name in key.split(",") if name.strip()],
        partition=partition,
        create=create,
        options={
            "evolve_schema": evolve.value if evolve else None,
            "format": kind,
            "header": not no_header,
            "time_zone": time_zone,
            "resume": resume,
            "progress": sys.stderr.isatty() and not domo.options.json,
        },
    )
    _check_put(job)
    matters = allow_empty or job.action in ("replace", "partition")
    is_empty = file == _PIPE and matters and _is_over(sys.stdin.buffer)
    if is_empty and not allow_empty:
        raise _bad_usage("nothing came through stdin; if that means no rows, add --allow-empty")

    async def load(auth: "Auth") -> dict[str, Any]:
        from domokit.errors import NotFoundError

        found: DomoDataset | None = None
        try:
            found = await find_dataset(auth, dataset)
        except NotFoundError as error:
            if _ID.fullmatch(dataset):
                raise
            if not create:
                error.hint = "Add --create to have it made."
                raise
        facts = {"action": job.action if found else "create", "dry_run": domo.is_dry_run}
        if domo.is_dry_run:
            return facts | await _foreseen(found, data, job)
        name, result = await _loaded(auth, found, data, job)
        if wait:
            await result.wait_indexed()
        return facts | {"name": name, **result.to_dict(), "seconds": round(result.seconds, 3)}

    with nullcontext([]) if is_empty else _data_of(file, kind) as data, _told_in_options():
        done = domo.run(load, doing="" if job.options.get("progress") and not domo.is_dry_run else "loading")
    if domo.is_dry_run:
        _tell_foreseen(domo, done)
    else:
        domo.out.record(done)


class _Put(NamedTuple):
    """What `put` is to do. action: append, upsert, partition or replace."""

    dataset: str
    file: str
    action: str
    key: list[str] | None
    partition: str | None
    create: bool
    options: "WriteOptions"


def _check_put(job: _Put) -> None:
    """What can be told without asking anybody. Raises: InvalidInputError."""
    kind, resume = job.options.get("format"), job.options.get("resume")
    if job.file != _PIPE and not Path(job.file).is_file():
        raise _bad_usage(f"{job.file} is a directory" if Path(job.file).is_dir() else f"there is no file {job.file}")
    if job.file == _PIPE and kind is None:
        raise _bad_usage("stdin has no name that tells what it holds; add --format")
    if job.file == _PIPE and sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - it was closed: <&-
        raise _bad_usage("stdin is closed")
    if job.file == _PIPE and sys.stdin.isatty():
        raise _bad_usage("stdin is the terminal; pipe the rows in, or name a file")
    if job.key is not None and not job.key:
        raise _bad_usage("--key names columns, such as --key order_id")
    if job.partition is not None and not job.partition.strip():
        raise _bad_usage("a partition needs a name")
    if job.create and job.partition is not None:
        raise _bad_usage("--create makes no partitions; create the DataSet first, then load into a partition of it")
    if job.action != "replace" and job.options.get("evolve_schema") == "replace":
        raise _bad_usage("--evolve replace is for all rows: those that stay would keep their columns")
    if resume is not None and not Path(resume).absolute().parent.is_dir():
        raise _bad_usage(f"there is no directory {Path(resume).parent}")
    if job.options.get("time_zone") is not None:
        from domokit import bulk

        _ = bulk.write  # says what to install, if pyarrow is missing
        from domokit.bulk.convert import check_time_zone

        check_time_zone(job.options.get("time_zone"))


async def _loaded(auth: "Auth", found: "DomoDataset | None", data: Any, job: _Put) -> tuple[str, "UploadResult"]:
    """The name of the DataSet, and what has landed."""
    from domokit import bulk

    if found is None:
        _, result = await bulk.create(auth, job.dataset, data, key=job.key, options=job.options)
        assert result is not None
        return job.dataset, result
    match job.action:
        case "upsert":
            result = await found.upsert(data, key=job.key, **job.options)
        case "partition":
            result = await found.replace_partition(job.partition or "", data, **job.options)
        case "append":
            result = await found.append(data, **job.options)
        case _:
            result = await found.replace(data, **job.options)
    return found.name or job.dataset, result


async def _foreseen(found: "DomoDataset | None", data: Any, job: _Put) -> dict[str, Any]:
    """What a load would meet, as far as the beginning of the data and the DataSet's columns tell."""
    from domokit import bulk

    _ = bulk.write  # says what to install, if pyarrow is missing
    from domokit.bulk.schema import Schema, check_key
    from domokit.bulk.sources import open_source
    from domokit.bulk.writing import agreed_columns
    from domokit.errors import SchemaMismatchError

    target = Schema(()) if found is None else await found.get_schema()
    options = job.options
    evolve = options.get("evolve_schema")
    source = await open_source(
        data,
        schema=None if evolve == "replace" else target or None,
        time_zone=options.get("time_zone"),
        format=options.get("format"),
        header=options.get("header", True),
    )
    async with source:
        problem: SchemaMismatchError | None = None
        try:
            columns = agreed_columns(source, target, evolve, is_whole=job.action == "replace")
            if job.key:
                check_key(job.key, columns, source.schema)
        except SchemaMismatchError as error:
            problem = error
        return {
            "id": found.id if found else None,
            "name": job.dataset if found is None else found.name,
            "rows_now": found.rows if found else None,
            "rows": source.rows,
            "columns": _compared(source.schema, target, evolve),
            "problem": problem,
        }


def _compared(data: "Schema", target: "Schema", evolve: str | None) -> list[dict[str, Any]]:
    """The columns side by side. diff: '+' only in the data, '-' only in the DataSet, '~' of types that do not fit."""
    from domokit.bulk.encode import check

    diff = target.diff(data) if evolve == "replace" or not target else check(data, target)
    marks = {column.name: "+" for column in diff.added} | {column.name: "-" for column in diff.removed}
    marks |= {name: "~" for name, _, _ in diff.changed}
    types = {column.name: column.type for column in data}
    alike = {column.name.casefold(): column.type for column in data}
    now = [
        {
            "name": column.name,
            "type": types.get(column.name) or alike.get(column.name.casefold()),
            "type_now": column.type,
            "diff": marks.get(column.name, ""),
        }
        for column in target
    ]
    new = [{"name": one.name, "type": one.type, "type_now": None, "diff": "+" if target else ""} for one in diff.added]
    return now + new


def _tell_foreseen(domo: "Domo", facts: dict[str, Any]) -> None:
    """Print it; then fail as the load itself would, if it would."""
    problem, columns = facts.pop("problem"), facts.pop("columns")
    if domo.options.json:
        domo.out.document({**facts, "columns": columns, "would_be_refused": problem is not None})
    else:
        would = f"would {_DOES[facts['action']]} {facts['name']!r}"
        if problem is not None:
            would = f"this would be refused: {problem.message}"
        domo.out.say(f"Dry run: {would}. Nothing was sent.")
        domo.out.record(facts)
        domo.out.table(columns, ("diff", "name", "type", "type_now"))
    if problem is not None:
        with _told_in_options():
            raise problem


_DOES = {
    "append": "add rows to",
    "create": "create",
    "partition": "replace a partition of",
    "replace": "replace the rows of",
    "upsert": "replace rows by key in",
}


@command(app, "get", client_too=True)
def get_rows(
    domo: "Domo",
    dataset: WhichDataset,
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="….csv, ….csv.gz or ….parquet; - for CSV on stdout.")
    ] = _PIPE,
) -> None:
    """Write the rows of a DataSet into a file, or to stdout, which --json has no room on.

    Example: domokit data get Orders orders.parquet

    Example: domokit data get Orders | head
    """
    target = _target(file, as_json=domo.options.json)

    async def fetch(auth: "Auth") -> dict[str, Any]:
        found = await find_dataset(auth, dataset)
        rows = await _write(found.read(), file, progress=_may_show_bar(domo, file))
        return {"id": found.id, "name": found.name, "rows": rows, "file": file}

    with _told_in_options():
        done = domo.run(fetch)
    if target is not None:
        domo.out.record(done)


@command(app, "query", client_too=True)
def query_rows(
    domo: "Domo",
    dataset: WhichDataset,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="SELECT … FROM table; columns in backticks.")],
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="….csv, ….csv.gz or ….parquet, or - for CSV on stdout; else a table."),
    ] = None,
) -> None:
    """Ask a DataSet one SELECT. In JSON, a DECIMAL with more digits than a float holds is a text.

    Example: domokit data query Orders 'SELECT `region`, SUM(`qty`) AS total FROM table GROUP BY `region`'
    """
    target = None if output is None else _target(output, as_json=domo.options.json)

    async def ask(auth: "Auth") -> list[dict[str, Any]] | int:
        found = (await find_dataset(auth, dataset)).query(sql)
        if output is not None:
            return await _write(found, output, progress=False)
        return [{name: _shown(value) for name, value in row.items()} for row in await found.to_dicts()]

    with _told_in_options():
        done = domo.run(ask, doing="" if output == _PIPE else "asking")
    if isinstance(done, list):
        domo.out.listing(done, list(done[0]) if done else [], empty="No rows.")
    elif target is not None:
        domo.out.record({"rows": done, "file": output})


def _shown(value: Any) -> Any:
    """A cell of an answer as tables and JSON take it."""
    match value:
        case datetime():  # Domo's times have no zone, and get none by being shown
            return value.isoformat(sep=" ")
        case Decimal():
            number = int(value) if value == value.to_integral_value() else float(value)
            return number if Decimal(repr(number)) == value else f"{value:f}"
        case _:
            return value


def _target(file: str, *, as_json: bool) -> Path | None:
    """The file to be written; None for stdout. Raises: InvalidInputError."""
    if file == _PIPE:
        if as_json:
            raise _bad_usage("--json prints one document on stdout, so the rows cannot go there; name a file")
        return None
    path = Path(file)
    if not path.name.endswith((".csv", ".csv.gz", ".parquet")):
        raise _bad_usage(f"{path.name} is neither .csv, .csv.gz nor .parquet")
    if path.is_dir():
        raise _bad_usage(f"{path} is a directory")
    if not path.absolute().parent.is_dir():
        raise _bad_usage(f"there is no directory {path.parent}")
    return path


def _may_show_bar(domo: "Domo", file: str) -> bool:
    """On a terminal, unless the rows themselves go there."""
    return sys.stderr.isatty() and not domo.options.json and not (file == _PIPE and sys.stdout.isatty())


async def _write(rows: "Rows", file: str, *, progress: bool) -> int:
    if file == _PIPE:
        written = await rows.to_csv(sys.stdout.buffer, progress=progress)
        sys.stdout.buffer.flush()
        return written
    if file.endswith(".parquet"):
        return await rows.to_parquet(file, progress=progress)
    return await rows.to_csv(file, progress=progress)


@contextmanager
def _data_of(file: str, kind: str | None) -> Generator[Any]:
    """What to load: the path, or stdin; kept in a file first if it is of a format that is read from its end."""
    if file != _PIPE:
        yield Path(file)
    elif kind not in (Format.PARQUET, Format.ARROW) or sys.stdin.buffer.seekable():
        yield sys.stdin.buffer
    else:
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            kept.seek(0)
            yield kept


def _is_over(stdin: Any) -> bool:
    """Waits for the first byte, and leaves it there."""
    return hasattr(stdin, "peek") and not stdin.peek(1)


def _bad_usage(message: str) -> Exception:
    from domokit.errors import InvalidInputError

    return InvalidInputError(message)


@contextmanager
def _told_in_options() -> Generator[None]:
    """The library's hints name arguments of functions; who types a command knows its options."""
    from domokit.errors import DomoError

    try:
        yield
    except DomoError as error:
        hint = error.hint
        if "types=" in hint:
            hint = "A .csv file takes the cells as they are."
        elif "schema=" in hint and "evolve" not in hint:
            hint = "Create the DataSet with the types that all of the data fits, then load into it."
        for words, option in _SAID_SO:
            hint = hint.replace(words, option)
        error.hint = hint
        raise
