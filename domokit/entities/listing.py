"""Lists of entities: fetched when they are awaited or walked, and shown as tables."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import aclosing
from typing import Any, Generic, TypeVar, cast

from domokit.errors import InvalidInputError
from domokit.transport import Fetch, Json, pages

T = TypeVar("T")

_PAGES_AHEAD = 3  # asked for at once when all of a listing is wanted


class Listing(list[T]):
    """A list that shows itself as a table in notebooks and goes to pandas."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """The items as plain dicts, in order."""
        return [cast("Any", item).to_dict() if hasattr(item, "to_dict") else dict(cast("Any", item)) for item in self]

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each item. Needs the extra `domokit[pandas]`."""
        try:
            import pandas
        except ImportError:
            raise InvalidInputError("to_pandas() needs pandas", hint="pip install 'domokit[pandas]'") from None
        return pandas.DataFrame(self.to_dicts())

    def _repr_html_(self) -> str:
        # The row is drawn by the item, so that this layer knows nothing of entities.
        rows = [cast("Any", item) for item in self[:100]]
        if not rows or not hasattr(rows[0], "html_cells"):
            return f"<pre>{len(self)} items</pre>"
        head = "".join(f"<th>{name}</th>" for name in rows[0].html_names())
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row.html_cells()) + "</tr>" for row in rows)
        more = f"<caption>{len(rows)} of {len(self)}</caption>" if len(self) > len(rows) else ""
        return f"<table>{more}<tr>{head}</tr>{body}</table>"


class Pager(Generic[T]):
    """A listing that is not fetched yet.

    `await pager` gives all of it as a list, asking for some pages at once; `async for` goes through it page by page,
    holding one page; `await pager.first()` gives the first item or None; `await pager.to_pandas()` a DataFrame.
    Each use asks Domo anew.
    """

    def __init__(
        self, fetch: Fetch, build: Callable[[Json], T], *, size: int, keep: Callable[[T], bool] | None = None
    ) -> None:
        self._fetch = fetch
        self._build = build
        self._size = size
        self._keep = keep

    @classmethod
    def of_list(
        cls,
        fetch: Callable[[], Awaitable[list[Json]]],
        build: Callable[[Json], T],
        *,
        keep: Callable[[T], bool] | None = None,
    ) -> "Pager[T]":
        """For an endpoint that answers with everything at once."""

        async def once(offset: int, limit: int) -> list[Json]:
            return [] if offset else await fetch()

        return Pager(once, build, size=1, keep=keep)

    def where(self, keep: Callable[[T], bool]) -> "Pager[T]":
        """The same listing, with only those items for which `keep(item)` holds."""
        also = self._keep
        both = keep if also is None else lambda item: also(item) and keep(item)
        return Pager(self._fetch, self._build, size=self._size, keep=both)

    async def first(self) -> T | None:
        """The first item, or None if there is none; fetches no further page than it must."""
        walk = aiter(self)
        try:
            return await anext(walk, None)
        finally:
            await cast("AsyncGenerator[T, None]", walk).aclose()

    async def to_pandas(self) -> Any:
        """All of it as a pandas DataFrame. Needs the extra `domokit[pandas]`."""
        return (await self).to_pandas()

    def __await__(self) -> Generator[Any, Any, Listing[T]]:
        return self._all().__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        async with aclosing(pages(self._fetch, size=self._size)) as walk:
            async for batch in walk:
                for obj in batch:
                    if obj is not None:  # a null among tokens was seen
                        item = self._build(obj)
                        if self._keep is None or self._keep(item):
                            yield item

    async def _all(self) -> Listing[T]:
        build, keep = self._build, self._keep
        items: Listing[T] = Listing()
        async with aclosing(pages(self._fetch, size=self._size, pages_ahead=_PAGES_AHEAD)) as walk:
            async for batch in walk:
                items += [build(obj) for obj in batch if obj is not None]
        return Listing(filter(keep, items)) if keep else items
