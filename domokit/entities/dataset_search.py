"""DataSets by what is known of them."""

from collections.abc import Iterable
from typing import Any, Self

from domokit.auth import Auth
from domokit.entities.base import BothFamilies, DomoEntity, entity, id_of, texts_of
from domokit.entities.listing import Pager
from domokit.errors import InvalidInputError
from domokit.routes.platform import datasets as platform
from domokit.routes.product import datasets as product
from domokit.transport import require_family

_datasets = BothFamilies(product, platform)
_PAGE_SIZE = 50  # more are refused
ORDERS = (
    "name",
    "nameDescending",
    "lastTouched",
    "lastTouchedAscending",
    "lastUpdated",
    "lastUpdatedAscending",
    "createdAt",
    "createdAtAscending",
    "cardCount",
    "cardCountAscending",
    "cardViewCount",
    "cardViewCountAscending",
    "errorState",
    "errorStateDescending",
    "dataSourceId",
)
# What a search by text can sort by, as it calls it.
_SORTS = {
    "name": ("name_sort", "ASC"),
    "nameDescending": ("name_sort", "DESC"),
    "createdAt": ("create_date", "DESC"),
    "createdAtAscending": ("create_date", "ASC"),
}


@entity
class DatasetSearch(DomoEntity):
    """Class methods of `DomoDataset`."""

    @classmethod
    def search(
        cls,
        auth: Auth,
        text: str | None = None,
        *,
        name_contains: str | None = None,
        owner: Any = None,
        provider: str | None = None,
        tags: Iterable[str] = (),
        order: str = "name",
    ) -> Pager[Self]:
        """DataSets for which all that is given holds. `text`, `owner`, `provider` and `tags` are for the product API.

        text:           what one types into the search of the Data Center; such hits lag behind writes, and end at
                        10,000. Without it, the list is walked, which is never behind.
        name_contains:  upper and lower case alike.
        owner:          a user, entity or id.
        provider:       what `.provider` says, such as 'api'.
        tags:           it has all of them.
        order:          one of Domo's words: name, lastTouched, lastUpdated, createdAt (the latest first), …Ascending, …
        Source: GET /api/data/v3/datasources, POST /api/data/ui/v3/datasources/search, GET /v1/datasets (pages of 50)
        """
        wanted = set(texts_of(tags, "tags"))
        orders = ORDERS if text is None else tuple(_SORTS)
        if order not in orders:
            raise InvalidInputError(f"order cannot be {order!r}; use {', '.join(orders)}")
        if text is not None or owner is not None or provider is not None or wanted:
            require_family(auth, "product", asked="search of DataSets by more than their name")
        ask: dict[str, Any] = {"name_like": name_contains, "order": order}
        listed: Any = _datasets(auth).list_datasets
        if text is not None:
            ask = {"text": text, "filters": {}, "sort": _SORTS[order]}
            listed = product.search_datasets
            if owner is not None:
                ask["filters"] = {"owned_by_id": id_of(owner, "owner", "USER")}
        elif auth.family == "product":
            ask |= {"owner_id": None if owner is None else id_of(owner, "owner", "USER"), "provider": provider}

        def keeps(dataset: Any) -> bool:
            """What the list, or the search, does not look at itself."""
            return (
                wanted.issubset(dataset.tags or ())
                and provider in (None, dataset.provider)
                and (name_contains is None or name_contains.casefold() in (dataset.name or "").casefold())
            )

        pager = Pager(
            lambda offset, limit: listed(auth, offset, limit, **ask),
            lambda obj: cls.from_json(auth, obj),
            size=_PAGE_SIZE,
        )
        return pager.where(keeps) if wanted or text is not None else pager
