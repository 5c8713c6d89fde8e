"""How rows get out of a dataset: as a file, with what the caller may see."""

from __future__ import annotations

from anyio import to_thread

from . import policies
from .model import Dataset, DataVersion
from .replies import FileReply
from .wire import Call


async def export(
    call: Call, dataset: Dataset, *, header: bool, null: str = "", version: DataVersion | None = None
) -> FileReply:
    """The rows that the caller may see, as a file."""
    where = policies.condition(call.state, dataset, call.user)
    safe = call.flag("disableFormulaInterpretation")
    warehouse = call.company.warehouse
    versions = None if version is None else [version]

    path = warehouse.new_export()
    try:
        await to_thread.run_sync(
            lambda: warehouse.export(dataset, path, header=header, where=where, versions=versions, null=null, safe=safe)
        )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    name = call.query.get("fileName") or f"{dataset.name}.csv"
    plain = (
        "".join(char if char.isalnum() or char in "-_. " else "_" for char in name).encode("ascii", "replace").decode()
    )
    return FileReply(path, "text/csv", {"Content-Disposition": f'attachment; filename="{plain}"'})
