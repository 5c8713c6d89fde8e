"""What hangs on a DataSet: inputs, cards, what would break without it; and its certification."""

from datetime import datetime

import attrs

from domokit.entities.base import DomoEntity, as_id, as_int, as_text, as_time, entity
from domokit.entities.listing import Listing
from domokit.routes.product import dataset_ties as routes

_CERTIFIED = ("ACTIVE", "CERTIFIED")  # the one in paths, the other among Domo's enumerations


@attrs.frozen(kw_only=True)
class Certification:
    """Whether a DataSet is certified, and since when. state: in Domo's words."""

    is_certified: bool
    state: str | None
    updated_at: datetime | None


@attrs.frozen(kw_only=True)
class Impact:
    """Something that hangs on a DataSet. effect: broken, affected or unaffected; kind, impact, cause: as Domo says."""

    effect: str
    kind: str | None
    id: int | str | None
    name: str | None
    owner_id: int | None
    impact: str | None
    cause: str | None


@entity
class DatasetTies(DomoEntity):
    """Methods of `DomoDataset`, all of the product API."""

    async def get_certification(self) -> Certification:
        """Whether it is certified. Source: GET /api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state"""
        answer = await routes.get_certification(self.auth, self.id)
        state = as_text(answer.get("state"))
        return Certification(is_certified=state in _CERTIFIED, state=state, updated_at=as_time(answer.get("updated")))

    async def certify(self) -> None:
        """Certify it. Source: PUT /api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state/ACTIVE"""
        await routes.certify(self.auth, self.id)

    async def uncertify(self) -> None:
        """Take the certification away. Source: DELETE /api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state"""
        await routes.clear_certification(self.auth, self.id)

    async def get_input_ids(self) -> list[str]:
        """Ids of the DataSets that it is made of. Source: GET /api/data/v3/datasources/{dataset_id}/hierarchy"""
        inputs = (await routes.get_hierarchy(self.auth, self.id)).get("inputDataSources") or []
        return [str(one.get("dataSourceId")) for one in inputs]

    async def get_card_ids(self) -> list[int]:
        """Ids of the cards that show it. Source: GET /api/content/v1/datasources/{dataset_id}/cards"""
        return [as_id(one.get("id")) for one in await routes.list_cards(self.auth, self.id)]

    async def get_impact(self) -> Listing[Impact]:
        """What would break, or change, without it: cards, dataflows, alerts.

        Source: GET /api/data/v3/datasources/{dataset_id}/impacted-resources
        """
        found: Listing[Impact] = Listing()
        for name, resources in (await routes.get_impact(self.auth, self.id)).items():
            effect = next((word for word in ("unaffected", "affected", "broken") if name.startswith(word)), None)
            if effect is not None and isinstance(resources, list):
                found += [
                    Impact(
                        effect=effect,
                        kind=as_text(one.get("resourceType")) or name.removeprefix(effect),
                        id=as_id(one.get("id")),
                        name=as_text(one.get("name")),
                        owner_id=as_int(one.get("ownerId")),
                        impact=as_text(one.get("impactType")),
                        cause=as_text(one.get("cause")),
                    )
                    for one in resources
                ]
        return found
