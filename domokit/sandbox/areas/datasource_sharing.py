"""Who may do what with a dataset, and its marks: tags and certification."""

from __future__ import annotations

from typing import Any

from .. import vault
from ..dataset_access import (
    LEVELS,
    give,
    grantee_name,
    level_of,
    manageable,
    owner_of,
    readable,
    shareable,
    touch,
    visible,
    writable,
)
from ..model import Dataset
from ..replies import empty
from ..wire import Area, Call, Refusal, objects_at
from .datasources import DONE

area = Area("product")
V3 = "/api/data/v3/datasources"
PERMISSIONS = V3 + "/{dataset_id}/permissions"
# Who else than users and groups can have access; it is kept, and lets nobody see anything here.
THINGS = (
    "CARD",
    "VIRTUAL_USER",
    "APPROVAL",
    "ENIGMA_FORM_INSTANCE",
    "DATA_APP",
    "DATA_APP_VIEW",
    "WORKFLOW",
    "REPORT_VIEW_PAGE",
)
CERTIFIED = "/api/tags/v3/DATA_SOURCE/{dataset_id}/system/CERTIFIED/state"


def _entries(call: Call, dataset: Dataset) -> list[dict[str, Any]]:
    """The owner, then those whom it is shared with."""
    entries: list[dict[str, Any]] = []
    for grantee, level in {owner_of(dataset): "OWNER", **dataset.shares}.items():
        kind, _, its_id = grantee.partition(":")
        name = grantee_name(call.state, grantee)
        entries.append({"accessLevel": level, "id": its_id, "name": name, "type": kind})
    return entries


def checked(call: Call, dataset: Dataset, entry: dict[str, Any]) -> tuple[str, str]:
    """(grantee, level) that the caller may give; the same rules for one entry and for many."""
    level = entry.get("accessLevel")
    if level not in LEVELS:
        raise Refusal(400, f"accessLevel must be one of {', '.join(LEVELS)}")
    kind, its_id = entry.get("type"), entry.get("id")
    if kind in THINGS:
        if level == "OWNER" or not str(its_id or "").strip():
            raise Refusal(400, f"A {kind} needs an id, and cannot be the owner")
        grantee = f"{kind}:{its_id}"
    else:
        try:
            grantee = vault.grantee(call, kind, its_id)
        except Refusal as refusal:
            raise Refusal(400, refusal.message) from None  # 404 would be of the dataset
    mine = LEVELS.index(level_of(call.state, dataset, call.user))
    if max(LEVELS.index(level), LEVELS.index(dataset.shares.get(grantee, "NONE"))) > mine:
        raise Refusal(403, "You cannot give or take more than you have")
    return grantee, level


def put(call: Call, dataset: Dataset, grantee: str, level: str) -> None:
    """The owner has his access whatever else he is given; a new owner leaves the old one a co-owner."""
    if level == "OWNER" and grantee != owner_of(dataset):
        before = owner_of(dataset)
        give(call, dataset, grantee)
        dataset.shares[before] = "CO_OWNER"
    elif level == "NONE" or grantee == owner_of(dataset):
        dataset.shares.pop(grantee, None)
    else:
        dataset.shares[grantee] = level


@area.on("GET", PERMISSIONS)
async def list_permissions(call: Call) -> Any:
    entries = _entries(call, readable(call, call.params["dataset_id"]))
    kinds = [entry["type"] for entry in entries]
    return {"list": entries, "totalUserCount": kinds.count("USER"), "totalGroupCount": kinds.count("GROUP")}


@area.on("GET", PERMISSIONS + "/currentUser")
async def mine(call: Call) -> Any:
    """A bare word. Whoever manages all datasets counts as owner of each."""
    return level_of(call.state, readable(call, call.params["dataset_id"]), call.user)


def _put_one(call: Call, dataset: Dataset, entry: dict[str, Any]) -> None:
    grantee, level = checked(call, dataset, entry)
    if grantee == owner_of(dataset):
        raise Refusal(400, "The owner's access cannot be changed")
    put(call, dataset, grantee, level)


@area.on("PUT", PERMISSIONS)
async def set_permission(call: Call) -> Any:
    dataset = shareable(call, call.params["dataset_id"])
    _put_one(call, dataset, call.json_object())


@area.on("DELETE", PERMISSIONS + "/{type}/{id}")
async def delete_permission(call: Call) -> Any:
    dataset = shareable(call, call.params["dataset_id"])
    entry = {"type": call.params["type"], "id": call.params["id"], "accessLevel": "NONE"}
    _put_one(call, dataset, entry)


def shared(call: Call, dataset: Dataset, body: dict[str, Any]) -> None:
    """Give what a share asks for: all of it, or nothing. Mails are not sent."""
    entries = objects_at(body, "permissions")
    if not entries:
        raise Refusal(400, "permissions is required")
    if not isinstance(body.get("sendEmail", False), bool):
        raise Refusal(400, "sendEmail must be true or false")
    for grantee, level in [checked(call, dataset, entry) for entry in entries]:
        put(call, dataset, grantee, level)


@area.on("POST", V3 + "/{dataset_id}/share")
async def share(call: Call) -> Any:
    """Sets the level also of those who have one already."""
    shared(call, shareable(call, call.params["dataset_id"]), call.json_object())
    return DONE


@area.on("GET", V3 + "/bulk/permissions")
async def bulk_permissions(call: Call) -> Any:
    rows = [
        {"dataSourceId": dataset.id} | {key: entry[key] for key in ("id", "type", "accessLevel")}
        for dataset in visible(call.state, call.user)
        for entry in _entries(call, dataset)
    ]
    return rows[call.page(limit=100, most=10_000)]


def tags_of(value: list[Any]) -> list[str]:
    """Tags without repetitions; 400 for what is none."""
    if not all(isinstance(tag, str) and tag.strip() for tag in value):
        raise Refusal(400, "Tags must be texts")
    return list(dict.fromkeys(value))


@area.on("POST", "/api/data/ui/v3/datasources/{dataset_id}/tags")
async def set_tags(call: Call) -> Any:
    """The whole list, replacing the one before."""
    dataset = writable(call, call.params["dataset_id"])
    dataset.tags = tags_of(call.json_list())
    touch(call, dataset)


@area.on("GET", CERTIFIED)
async def certification(call: Call) -> Any:
    """Of one that never was certified, all but the tag is null."""
    dataset = readable(call, call.params["dataset_id"])
    state = None if dataset.certified is None else "ACTIVE"
    return {"tag": "CERTIFIED", "state": state, "metadata": None, "updated": dataset.certified}


@area.on("PUT", CERTIFIED + "/ACTIVE")
async def certify(call: Call) -> Any:
    manageable(call, call.params["dataset_id"]).certified = call.now()


@area.on("DELETE", CERTIFIED)
async def clear_certification(call: Call) -> Any:
    manageable(call, call.params["dataset_id"]).certified = None
    return empty(204)
