"""The instance-wide search, as far as it finds accounts."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from typing import Any

from .. import vault
from ..model import Account
from ..wire import Area, Call, Refusal, as_list, as_object, list_at, page_of

area = Area("product")
HARD_CAP = 10_000  # hits that any walk through the pages can reach


@area.on("POST", "/api/search/v1/query", changes=False)
async def query(call: Call) -> Any:
    """Paged by `count` and `offset` in the body. Other entities than accounts find nothing."""
    body = call.json_object()
    kinds = {str(kind) for group in list_at(body, "entityList") for kind in as_list(group) or [group]}
    page = page_of(body.get("offset"), body.get("count"), limit=10, most=HARD_CAP)
    found: list[Account] = []
    if "account" in kinds:
        matches = _text(body.get("query", "**"))
        filters = [_filter(each) for each in list_at(body, "filters")]
        found = [
            account
            for account in vault.visible(call.state, call.user)
            if matches(account.display_name) and all(keep(account) for keep in filters)
        ]
        found.sort(key=lambda account: account.display_name.lower(), reverse=_descending(body))
    hits = [_hit(call, account) for account in found[:HARD_CAP][page]]
    total: dict[str, Any] = {"totalResultCount": len(found), "facetMap": {}}
    if body.get("combineResults", True) in (True, "true"):
        return {"searchObjects": hits, **total}
    by_kind: dict[str, list[Any]] = {kind: hits if kind == "account" else [] for kind in sorted(kinds)}
    return {"searchResultsMap": by_kind, **total}


def _text(wanted: Any) -> Callable[[str], bool]:
    """A case-insensitive test: wildcards must match the whole name, plain text a part of it."""
    if not isinstance(wanted, str):
        raise Refusal(400, "query must be text")
    text = wanted.lower().strip()
    if "*" not in text:
        return lambda name: text in name.lower()
    # Brackets and question marks are no wildcards to Domo, but would be to fnmatch.
    pattern = re.compile(translate(re.sub(r"([\[?])", r"[\1]", text)))
    return lambda name: pattern.match(name.lower()) is not None


READ: dict[str, Callable[[Account], str]] = {
    "dataproviderkey_facet": lambda account: account.provider,
    "owned_by_id": lambda account: str(account.user_id),
    "display_name_sort": lambda account: account.display_name,
}


def _filter(value: Any) -> Callable[[Account], bool]:
    given = as_object(value)
    if given is None or given.get("filterType") != "term":
        raise Refusal(400, "filters must be of the filterType term")
    field, wanted = str(given.get("field")).lower(), str(given.get("value"))
    inverted = given.get("not") in (True, "true")
    read = READ.get(field)
    if read is None:
        raise Refusal(400, f"Unknown filter field {field}")
    return lambda account: (read(account) == wanted) != inverted


def _descending(body: dict[str, Any]) -> bool:
    sorts = list_at(as_object(body.get("sort")) or {}, "fieldSorts")
    first = as_object(sorts[0]) if sorts else None
    return first is not None and str(first.get("sortOrder", "ASC")).upper() == "DESC"


def _hit(call: Call, account: Account) -> dict[str, Any]:
    owner = call.state.users.get(account.user_id)
    name = owner.display_name if owner else ""
    return {
        "entityType": "account",
        "databaseId": str(account.id),
        "winnerText": account.display_name,
        "name": account.display_name,
        "displayName": account.display_name,
        "dataProviderType": account.provider,
        "createDate": account.created,
        "lastModified": account.modified,
        "valid": account.valid,
        "datasetCount": len(vault.powered(call.state, account)),
        "ownedById": str(account.user_id),
        "ownedByName": name,
        "ownerNamePrimary": name,
        "owners": [{"id": str(account.user_id), "type": "USER", "displayName": name}],
    }
