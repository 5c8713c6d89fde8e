"""Lists of entities: fetched when they are awaited or walked, and shown as tables."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import attrs

from domokit import _html
from domokit.errors import InvalidInputError
from domokit.transport import Fetch, Json, pages

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")

_SHOWN = 100  # rows of a table in a notebook
_PAGES_AHEAD = 3  # asked for at once when all of a listing is wanted


class Listing(list[T]):
    """A list that shows itself as a table in notebooks and goes to pandas."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """The items as plain dicts, in order."""
        return [_as_dict(item) for item in self]

    def to_pandas(self) -> "pandas.DataFrame":
        """A DataFrame with a row for each item. Needs the extra `domokit[pandas]`."""
        try:
            import pandas
        except ImportError:
            raise InvalidInputError("to_pandas() needs pandas", hint="pip install 'domokit[pandas]'") from None
        return pandas.DataFrame(self.to_dicts())

    def _repr_html_(self) -> str:
        # Entities draw their rows themselves, so that this layer knows nothing of them.
        items = [cast("Any", item) for item in self[:_SHOWN]]
        caption = f"{len(items)} of {len(self)}" if len(self) > len(items) else ""
        if not items:
            return "<pre>0 items</pre>"
        if all(hasattr(item, "html_cells") for item in items):
            return _html.table(items[0].html_names(), [item.html_cells() for item in items], caption=caption)
        if all(attrs.has(type(item)) for item in items):
            names = [field.name for field in attrs.fields(type(items[0])) if field.repr]
            rows = [[_html.cell(getattr(item, name, None)) for name in names] for item in items]
            return _html.table(names, rows, caption=caption)
        return _html.table(["item"], [[_html.cell(repr(item))] for item in items], caption=caption)


def _as_dict(item: Any) -> dict[str, Any]:
    if hasattr(item, "to_dict"):
        return item.to_dict()
    return attrs.asdict(item, recurse=False) if attrs.has(type(item)) else dict(item)


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

    async def to_pandas(self) -> "pandas.DataFrame":
        """All of it as a pandas DataFrame. Needs the extra `domokit[pandas]`."""
        return (await self).to_pandas()

    def __repr__(self) -> str:
        return "<Pager, not fetched yet: await it, or async for>"

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
