"""The rows of a DataSet, in every form they can be had in."""

import os
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from domokit import bulk
from domokit.auth import Auth

if TYPE_CHECKING:
    import pandas
    import polars

    from domokit.bulk.progress import Progress
    from domokit.bulk.rows import Batches, Rows

    Showing = bool | Callable[[Progress], object]

Types = Mapping[str, Any]  # of Arrow, by column name


class RowsOut:
    """What a DataSet gives its rows by: `await dataset.to_pandas()` is `await dataset.read().to_pandas()`."""

    __slots__ = ()

    auth: Auth
    id: Any

    def read(self) -> "Rows":
        """All rows the caller may see, not fetched yet: `await dataset.read().to_pandas()`, `async for batch in …`.

        Source: GET /api/query/v1/execute/export/{dataset_id}, GET /v1/datasets/{dataset_id}/data
        """
        return bulk.read_rows(self.auth, self.id)

    def query(self, sql: str) -> "Rows":
        """The rows of one SELECT, not fetched yet; the same exits as `read()`. They are held in memory.

        sql:  Domo's dialect: 'SELECT `region`, SUM(`qty`) FROM table GROUP BY `region`'; the table is this DataSet.
        Source: POST /api/query/v1/execute/{dataset_id}, POST /v1/datasets/query/execute/{dataset_id}
        """
        return bulk.query_rows(self.auth, self.id, sql)

    async def to_arrow(self, types: Types | None = None, *, progress: "Showing" = False) -> Any:
        """All rows as a pyarrow Table; see `Rows.to_arrow`."""
        return await self.read().to_arrow(types, progress=progress)

    async def to_pandas(
        self, types: Types | None = None, *, progress: "Showing" = False, **options: Any
    ) -> "pandas.DataFrame":
        """All rows as a pandas DataFrame; see `Rows.to_pandas`."""
        return await self.read().to_pandas(types, progress=progress, **options)

    async def to_polars(self, types: Types | None = None, *, progress: "Showing" = False) -> "polars.DataFrame":
        """All rows as a polars DataFrame; see `Rows.to_polars`."""
        return await self.read().to_polars(types, progress=progress)

    async def to_dicts(self, types: Types | None = None, *, progress: "Showing" = False) -> list[dict[str, Any]]:
        """All rows as dicts; see `Rows.to_dicts`."""
        return await self.read().to_dicts(types, progress=progress)

    async def to_parquet(
        self,
        path: str | os.PathLike[str],
        types: Types | None = None,
        *,
        compression: str = "zstd",
        progress: "Showing" = False,
        **options: Any,
    ) -> int:
        """All rows into a Parquet file, in constant memory; how many. See `Rows.to_parquet`."""
        return await self.read().to_parquet(path, types, compression=compression, progress=progress, **options)

    async def to_csv(
        self, path: str | os.PathLike[str] | IO[bytes], *, header: bool = True, progress: "Showing" = False
    ) -> int:
        """All rows into a CSV file, in constant memory; how many. See `Rows.to_csv`."""
        return await self.read().to_csv(path, header=header, progress=progress)

    def iter_batches(self, types: Types | None = None, *, progress: "Showing" = False) -> "Batches":
        """`async for batch in dataset.iter_batches()`: pyarrow RecordBatches, in constant memory."""
        return self.read().iter_batches(types, progress=progress)
