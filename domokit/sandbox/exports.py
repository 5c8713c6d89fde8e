"""How rows get out of a dataset: as a file, with what the caller may see."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from anyio import to_thread

from . import policies
from .model import Dataset, DataVersion
from .replies import FileReply
from .wire import Call


async def export(
    call: Call,
    dataset: Dataset,
    *,
    header: bool,
    null: str = "",
    versions: Sequence[DataVersion] | None = None,
    limit: int | None = None,
    bom: bool = False,
) -> FileReply:
    """The rows that the caller may see, as a file.

    null:      how NULL is spelled.
    versions:  the data versions that they are of; None for what can be queried.
    limit:     how many at most.
    bom:       begin with the mark by which some programs know UTF-8.
    """
    where = policies.condition(call.state, dataset, call.user)
    safe = call.flag("disableFormulaInterpretation")
    warehouse = call.company.warehouse
    path = warehouse.new_export()

    def work() -> None:
        warehouse.export(
            dataset, path, header=header, where=where, versions=versions, null=null, safe=safe, limit=limit
        )
        if bom:
            path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())

    try:
        await to_thread.run_sync(work)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    name = call.query.get("fileName") or f"{dataset.name}.csv"
    plain = (
        "".join(char if char.isalnum() or char in "-_. " else "_" for char in name).encode("ascii", "replace").decode()
    )
    return FileReply(path, "text/csv", {"Content-Disposition": f'attachment; filename="{plain}"'})
