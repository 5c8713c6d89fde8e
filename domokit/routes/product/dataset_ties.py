"""What hangs on a DataSet: inputs, cards, what would break without it; and its certification."""

from domokit.auth import Auth
from domokit.transport import Json, product, send

_CERTIFIED = "/api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state"

GET_HIERARCHY = product("GET", "/api/data/v3/datasources/{dataset_id}/hierarchy")
GET_IMPACT = product("GET", "/api/data/v3/datasources/{dataset_id}/impacted-resources")
LIST_CARDS = product("GET", "/api/content/v1/datasources/{dataset_id}/cards", returns=list)
GET_CERTIFICATION = product("GET", _CERTIFIED)
CERTIFY = product("PUT", f"{_CERTIFIED}/ACTIVE", returns=None)
CLEAR_CERTIFICATION = product("DELETE", _CERTIFIED, returns=None)


async def get_hierarchy(auth: Auth, dataset_id: str) -> Json:
    """What it is made of: dataSourceId, type, and inputDataSources, each of the same shape.

    Source: GET /api/data/v3/datasources/{dataset_id}/hierarchy
    """
    return await send(auth, GET_HIERARCHY, dataset_id=dataset_id)


async def get_impact(auth: Auth, dataset_id: str) -> Json:
    """What would break, or change, without it: lists such as brokenCards, affectedDataFlows.

    Source: GET /api/data/v3/datasources/{dataset_id}/impacted-resources
    """
    return await send(auth, GET_IMPACT, dataset_id=dataset_id)


async def list_cards(auth: Auth, dataset_id: str, *, drills: bool = False) -> list[Json]:
    """The cards that show it. Source: GET /api/content/v1/datasources/{dataset_id}/cards

    drills:  those that are drilled into, as well.
    """
    return await send(auth, LIST_CARDS, params={"drill": True if drills else None}, dataset_id=dataset_id)


async def get_certification(auth: Auth, dataset_id: str) -> Json:
    """tag, state, metadata, updated; all but the tag are null of one that never was certified.

    Source: GET /api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state
    """
    return await send(auth, GET_CERTIFICATION, dataset_id=dataset_id)


async def certify(auth: Auth, dataset_id: str) -> None:
    """Certify it. Source: PUT /api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state/ACTIVE"""
    await send(auth, CERTIFY, dataset_id=dataset_id)


async def clear_certification(auth: Auth, dataset_id: str) -> None:
    """Take the certification away. Source: DELETE /api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state"""
    await send(auth, CLEAR_CERTIFICATION, dataset_id=dataset_id)
