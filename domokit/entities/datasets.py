"""DataSets: their descriptions."""

from datetime import datetime
from typing import Any, ClassVar, Self

from domokit.auth import Auth
from domokit.entities.base import DomoEntity, api, as_bool, as_id, as_int, as_text, as_time, entity
from domokit.entities.listing import Pager
from domokit.routes.platform import datasets as routes


@entity
class DomoDataset(DomoEntity):
    """A DataSet. schema is [{'name': …, 'type': …}, …], in what `get_by_id` gives; None in listings."""

    kind: ClassVar[str] = "DATA_SOURCE"
    _page: ClassVar[str] = "/datasources/{id}/details/overview"

    id: str = api("id", convert=as_id)
    name: str | None = api("name", convert=as_text)
    description: str | None = api("description", convert=as_text)
    rows: int | None = api("rows", convert=as_int)
    columns: int | None = api("columns", convert=as_int)
    schema: list[Any] | None = api(
        "schema", convert=lambda value: value.get("columns") if isinstance(value, dict) else None
    )
    is_pdp_enabled: bool | None = api("pdpEnabled", convert=as_bool)
    created_at: datetime | None = api("createdAt", convert=as_time)
    updated_at: datetime | None = api("updatedAt", convert=as_time)
    data_current_at: datetime | None = api("dataCurrentAt", convert=as_time)

    @classmethod
    async def get_by_id(cls, auth: Auth, dataset_id: str, /) -> Self:
        """The DataSet with this id. Source: GET /v1/datasets/{dataset_id}"""
        return cls.from_json(auth, await routes.get_dataset_by_id(auth, dataset_id))

    @classmethod
    def get_all(cls, auth: Auth) -> Pager[Self]:
        """All DataSets the caller may see, by name. Source: GET /v1/datasets (pages of 50)"""
        return cls.search(auth)

    @classmethod
    def search(cls, auth: Auth, *, name_contains: str | None = None) -> Pager[Self]:
        """DataSets whose name contains a text. Source: GET /v1/datasets"""
        return Pager(
            lambda offset, limit: routes.list_datasets(auth, offset, limit, name_like=name_contains),
            lambda obj: cls.from_json(auth, obj),
            size=50,
        )
