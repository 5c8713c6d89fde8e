"""Row policies (PDP): which rows of a dataset somebody may see, as an SQL condition."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from .model import Dataset, Policy, User
from .state import State
from .wire import Refusal, list_at

ALL_ROWS = "All Rows"
TYPES = ("user", "system", "open")
OPERATORS = (
    "EQUALS",
    "LIKE",
    "GREATER_THAN",
    "LESS_THAN",
    "GREATER_THAN_EQUAL",
    "LESS_THAN_EQUAL",
    "BETWEEN",
    "BEGINS_WITH",
    "ENDS_WITH",
    "CONTAINS",
)
LONGEST = 255  # characters that the values of one filter, joined, must stay under
NOTHING = "FALSE"

_COMPARED = {
    "EQUALS": "=",
    "GREATER_THAN": ">",
    "LESS_THAN": "<",
    "GREATER_THAN_EQUAL": ">=",
    "LESS_THAN_EQUAL": "<=",
}
_TEXTUAL = {"BEGINS_WITH": "starts_with", "ENDS_WITH": "ends_with", "CONTAINS": "contains"}
_NUMBERS = ("LONG", "DOUBLE", "DECIMAL")
_CAST = {"DATE": "DATE", "DATETIME": "TIMESTAMP"}


def owns(state: State, dataset: Dataset, user: User) -> bool:
    """Whether it is the user's, or a group's that he is in."""
    if dataset.owner_type == "GROUP":
        return any(group.id == dataset.owner_id for group in state.groups_of(user.id))
    return dataset.owner_id == user.id


# the policies of a dataset


def of(state: State, dataset: Dataset) -> list[Policy]:
    return [policy for policy in list(state.policies.values()) if policy.dataset_id == dataset.id]


def add_open(state: State, dataset: Dataset) -> None:
    """The policy that Domo adds by itself when row policies are first used on a dataset."""
    if not any(policy.type == "open" for policy in of(state, dataset)):
        policy_id = state.next_id("policies")
        policy = state.policies[policy_id] = Policy(policy_id, dataset.id, ALL_ROWS, "open")
        (policy.group_ids if dataset.owner_type == "GROUP" else policy.user_ids).append(dataset.owner_id)


def checked(dataset: Dataset, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Filters as they are kept, out of what a request gives under our keys; 400 for those Domo would not take."""
    known = {column["name"].lower(): column["name"] for column in dataset.columns}
    kept: list[dict[str, Any]] = []
    for given in filters:
        column = known.get(str(given.get("column")).lower())
        if column is None:
            raise Refusal(400, f"Unknown column {given.get('column')!r}")
        operator, kind = given.get("operator") or "EQUALS", given.get("type") or "COLUMN"
        if operator not in OPERATORS:
            raise Refusal(400, f"Unknown operator {operator!r}")
        if kind not in ("COLUMN", "DYNAMIC"):
            raise Refusal(400, f"Unknown type of filter {kind!r}")
        values = list_at(given, "values")
        if not values or any(isinstance(value, bool) or not isinstance(value, str | int | float) for value in values):
            raise Refusal(400, f"The values for {column} must be a list of texts")
        texts = [str(value) for value in values]
        if operator == "BETWEEN" and len(texts) != 2:
            raise Refusal(400, "BETWEEN takes two values")
        if len(",".join(texts)) >= LONGEST:
            raise Refusal(400, f"The values for {column}, joined, must stay under {LONGEST} characters")
        row_filter: dict[str, Any] = {"column": column, "values": texts, "operator": operator, "type": kind}
        for key in ("not", "ignoreCase"):
            if not isinstance(given.get(key) or False, bool):
                raise Refusal(400, f"{key} must be true or false")
            row_filter[key] = given.get(key) is True
        kept.append(row_filter)
    return kept


def switch(state: State, dataset: Dataset, on: bool) -> None:
    dataset.pdp_enabled = on
    if on:
        add_open(state, dataset)


def add(state: State, dataset: Dataset, policy: Policy) -> None:
    add_open(state, dataset)
    policy.id = state.next_id("policies")
    state.policies[policy.id] = policy


def found(state: State, dataset: Dataset, policy_id: int) -> Policy:
    policy = state.policies.get(policy_id)
    if policy is None or policy.dataset_id != dataset.id:
        raise Refusal(404, "No such policy")
    return policy


def remove(state: State, policy: Policy) -> None:
    if policy.type == "open":
        raise Refusal(400, f"The policy {ALL_ROWS} cannot be deleted")
    state.policies.pop(policy.id, None)


def forget(state: State, dataset: Dataset) -> None:
    for policy in of(state, dataset):
        state.policies.pop(policy.id, None)


# what they let through


def indexed_columns(state: State, dataset: Dataset) -> list[dict[str, str]]:
    """The columns of the data that can be queried, which a newer schema may have left behind."""
    versions = [state.data_versions[each] for each in dataset.indexed if each in state.data_versions]
    return versions[-1].columns if versions else dataset.columns


def condition(state: State, dataset: Dataset, user: User) -> str | None:
    """The rows that `user` may see: a DuckDB condition over quoted column names. None is all, "FALSE" none.

    Whoever is in no policy sees nothing, but for the owner and those who manage all datasets: they see
    everything, until a policy names them.
    """
    if not dataset.pdp_enabled:
        return None
    groups = {group.id for group in state.groups_of(user.id)}
    mine = [
        policy for policy in of(state, dataset) if user.id in policy.user_ids or not groups.isdisjoint(policy.group_ids)
    ]
    if not mine:
        trusted = owns(state, dataset, user) or "dataset.manage" in state.grants_of(user)
        return None if trusted else NOTHING
    parts: list[str] = []
    for policy in mine:
        part = rows_of(state, dataset, policy, user)
        if part is None:
            return None
        if part != NOTHING:
            parts.append(f"({part})")
    return " OR ".join(parts) or NOTHING


def rows_of(state: State, dataset: Dataset, policy: Policy, user: User) -> str | None:
    """The same of one policy, for a user whom it names."""
    if policy.type == "open" or not policy.filters:
        return None
    # A column counts while both the schema and the rows, which may be of an older one, have it.
    known = {column["name"].lower() for column in dataset.columns}
    types = {
        column["name"].lower(): column["type"]
        for column in indexed_columns(state, dataset)
        if column["name"].lower() in known
    }
    tests = [_test(types, each, _values(state, user, each)) for each in policy.filters]
    return NOTHING if NOTHING in tests else " AND ".join(tests)


def _test(types: dict[str, str], row_filter: dict[str, Any], values: list[str]) -> str:
    """One filter. What cannot be compared (NULL, text against a number) is let through by no filter."""
    column = str(row_filter["column"])
    kind = types.get(column.lower())
    if kind is None or not values:
        return NOTHING  # the column is gone, or nothing is known of the user: rather hide too much
    operator = str(row_filter.get("operator", "EQUALS"))
    fold = row_filter.get("ignoreCase") is True and (kind == "STRING" or operator in _TEXTUAL or operator == "LIKE")
    name = quoted(column)
    if operator in _TEXTUAL or operator == "LIKE":
        name, kind = f"CAST({name} AS VARCHAR)", "STRING"
    elif kind == "DECIMAL":
        name = f"CAST({name} AS DOUBLE)"  # there are values that fit beside no other DECIMAL
    if fold:
        name = f"lower({name})"
    cells = [f"lower({cell})" if fold else cell for cell in (literal(value, kind) for value in values)]
    if operator == "BETWEEN":
        if len(cells) != 2:
            return NOTHING
        tests = [f"{name} BETWEEN {cells[0]} AND {cells[1]}"]
    elif operator in _TEXTUAL:
        tests = [f"{_TEXTUAL[operator]}({name}, {cell})" for cell in cells]
    else:
        sign = "LIKE" if operator == "LIKE" else _COMPARED.get(operator)
        if sign is None:
            return NOTHING
        tests = [f"{name} {sign} {cell}" for cell in cells]
    return f"{'NOT ' if row_filter.get('not') is True else ''}({' OR '.join(tests)})"


def quoted(name: str) -> str:
    """A name as DuckDB reads it, whatever is in it."""
    return '"' + name.replace('"', '""').replace("\0", "") + '"'


def literal(value: str, kind: str) -> str:
    """A text as an SQL value of a column's type; NULL, which equals nothing, when it is none of that type."""
    if "\0" in value:
        return "NULL"
    text = "'" + value.replace("'", "''") + "'"
    if kind in _CAST:
        return f"TRY_CAST({text} AS {_CAST[kind]})"
    if kind not in _NUMBERS:
        return text
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        return "NULL"
    if not number.is_finite() or not isfinite(float(number)):
        return "NULL"
    if kind == "LONG" and abs(number.adjusted()) < 30 and number == number.to_integral_value():
        return f"{number:.0f}"  # exact, which DOUBLE would not be
    return f"TRY_CAST('{float(number)!r}' AS DOUBLE)"


# values that stand for a trait of whoever looks


def _values(state: State, user: User, row_filter: dict[str, Any]) -> list[str]:
    given = [str(value) for value in row_filter.get("values") or ()]
    if row_filter.get("type") != "DYNAMIC":
        return given
    return [text for name in given for text in trait(state, user, name)]


def trait(state: State, user: User, name: str) -> list[str]:
    """What a dynamic value such as `domo.policy.email_address` or `department` stands for; empty if unknown."""
    words = [word for word in re.split(r"[_\s]+", name.removeprefix("domo.policy.").strip()) if word]
    if not words:
        return []
    if words[0].lower() == "managed" and len(words) > 1:  # of those who report to him
        key = _camel(words[1:])
        reports = [each for each in state.live_users() if str(each.attributes.get("reportsTo")) == str(user.id)]
        return _texts(_traits(each).get(key) for each in reports)
    return _texts([_traits(user).get(_camel(words))])


def _camel(words: list[str]) -> str:
    first, *rest = words
    return first[:1].lower() + first[1:] + "".join(word[:1].upper() + word[1:] for word in rest)


def _traits(user: User) -> dict[str, Any]:
    named = {
        "id": user.id,
        "userId": user.id,
        "displayName": user.display_name,
        "name": user.display_name,
        "emailAddress": user.email,
        "email": user.email,
        "userName": user.user_name,
    }
    return user.attributes | named


def _texts(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values if value is not None]
