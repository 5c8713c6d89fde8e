"""`domokit data …`: rows in and out of DataSets, with files and pipes."""

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domokit.cli.command import command
from domokit.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from domokit.auth import Auth
    from domokit.bulk.rows import Rows
    from domokit.bulk.upload import UploadResult
    from domokit.cli.connect import Domo
    from domokit.entities.datasets import DomoDataset

app = typer.Typer(help="Rows of DataSets: ls, put, get, query.", no_args_is_help=True)

_COLUMNS = ("id", "name", "rows", "columns", "owner_name", "updated_at")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PIPE = "-"

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
    """A DataSet by id or by its whole name."""
    from domokit.entities.datasets import DomoDataset

    return await (DomoDataset.get_by_id(auth, which) if _ID.fullmatch(which) else DomoDataset.get_by_name(auth, which))


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
    rows = [{**one, "schema": None} for one in found.to_dicts()]
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
    evolve: Annotated[Evolve | None, typer.Option(help="What may happen to the DataSet's columns.")] = None,
    format: Annotated[Format | None, typer.Option(help="Of stdin, or of a file whose name does not tell.")] = None,  # noqa: A002
    no_header: Annotated[bool, typer.Option("--no-header", help="The CSV has no line of names.")] = False,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Write aware times in this zone instead of UTC.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FILE", help="State file: run again to go on where a load was cut off.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="End when the rows can be queried.")] = False,
) -> None:
    """Load a file into a DataSet: all of it, or nothing.

    Example: domokit data put Orders orders.parquet

    Example: zcat orders.csv.gz | domokit data put Orders - --format csv --append
    """
    if sum([append, key is not None, partition is not None]) > 1:
        raise InvalidInputError("--append, --key and --partition exclude each other")
    if file == _PIPE and format is None:
        raise InvalidInputError("stdin has no name to tell by what it is; add --format")
    if file != _PIPE and not Path(file).is_file():
        raise InvalidInputError(f"there is no file {file}")
    options: dict[str, Any] = {
        "evolve_schema": evolve.value if evolve else None,
        "format": format.value if format else None,
        "header": not no_header,
        "time_zone": time_zone,
        "resume": resume,
        "progress": sys.stderr.isatty() and not domo.options.json,
    }
    keys = None if key is None else [name.strip() for name in key.split(",")]

    async def load(auth: "Auth") -> dict[str, Any]:
        from domokit import bulk
        from domokit.entities.datasets import DomoDataset

        source: Any = sys.stdin.buffer if file == _PIPE else Path(file)
        result: UploadResult | None
        try:
            found = await find_dataset(auth, dataset)
        except NotFoundError:
            if not create or _ID.fullmatch(dataset):
                raise
            if domo.is_dry_run:
                return {"dry_run": True, "would": "create", "name": dataset}
            dataset_id, result = await bulk.create(auth, dataset, source, key=keys, options=options)  # pyright: ignore[reportArgumentType]
            found = await DomoDataset.get_by_id(auth, dataset_id)
        else:
            if domo.is_dry_run:
                how = "append" if append else "upsert" if keys else "replace"
                return {"dry_run": True, "would": how, "id": found.id, "name": found.name, "rows_now": found.rows}
            if keys is not None:
                result = await found.upsert(source, key=keys, **options)
            elif partition is not None:
                result = await found.replace_partition(partition, source, **options)
            elif append:
                result = await found.append(source, **options)
            else:
                result = await found.replace(source, **options)
        assert result is not None
        if wait:
            await result.wait_indexed()
        return {"name": found.name, **result.to_dict()}

    done = domo.run(load, doing="" if options["progress"] else "loading")
    if domo.is_dry_run:
        domo.out.say(f"Dry run: would {done['would']} {done['name']}. Nothing was sent.")
    domo.out.record(done)


@command(app, "get", client_too=True)
def get_rows(
    domo: "Domo",
    dataset: WhichDataset,
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="….csv, ….csv.gz or ….parquet; - for CSV on stdout.")
    ] = _PIPE,
) -> None:
    """Write the rows of a DataSet into a file, or to stdout.

    Example: domokit data get Orders orders.parquet

    Example: domokit data get Orders | head
    """
    target = _target(file)

    async def fetch(auth: "Auth") -> dict[str, Any]:
        found = await find_dataset(auth, dataset)
        rows = await _write(found.read(), file, progress=sys.stderr.isatty() and not domo.options.json)
        return {"id": found.id, "name": found.name, "rows": rows, "file": file}

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
    """Ask a DataSet one SELECT.

    Example: domokit data query Orders 'SELECT `region`, SUM(`qty`) AS total FROM table GROUP BY `region`'
    """
    target = None if output is None else _target(output)

    async def ask(auth: "Auth") -> list[dict[str, Any]] | int:
        found = (await find_dataset(auth, dataset)).query(sql)
        if output is not None:
            return await _write(found, output, progress=False)
        return await found.to_dicts()

    done = domo.run(ask, doing="asking")
    if isinstance(done, list):
        domo.out.listing(done, list(done[0]) if done else [], empty="No rows.")
    elif target is not None:
        domo.out.record({"rows": done, "file": output})


def _target(file: str) -> Path | None:
    """The file to be written; None for stdout. Raises: InvalidInputError."""
    if file == _PIPE:
        return None
    path = Path(file)
    if not path.name.endswith((".csv", ".csv.gz", ".parquet")):
        raise InvalidInputError(f"{path.name} is neither .csv, .csv.gz nor .parquet")
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(f"there is no directory {path.parent}")
    return path


async def _write(rows: "Rows", file: str, *, progress: bool) -> int:
    if file == _PIPE:
        written = await rows.to_csv(sys.stdout.buffer, progress=progress)
        sys.stdout.buffer.flush()
        return written
    if file.endswith(".parquet"):
        return await rows.to_parquet(file, progress=progress)
    return await rows.to_csv(file, progress=progress)
