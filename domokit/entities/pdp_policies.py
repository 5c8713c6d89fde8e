"""Row policies (PDP): who sees which rows of a DataSet."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import attrs

from domokit.auth import Auth
from domokit.entities.base import (
    NOT_GIVEN,
    BothFamilies,
    DomoEntity,
    NotGiven,
    api,
    as_bool,
    as_id,
    as_text,
    entity,
    given,
    ids_of,
    many,
    unless_gone,
)
from domokit.entities.listing import Pager
from domokit.errors import InvalidInputError, UnsupportedByAuth
from domokit.routes.platform import row_policies as platform
from domokit.routes.product import row_policies as product
from domokit.transport import Json

_policies = BothFamilies(product, platform)
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
KINDS = ("COLUMN", "DYNAMIC")
_LONGEST = 255  # characters of the values of one filter, joined


class AllRows:
    """The type of `ALL_ROWS`: no filters, on purpose."""

    def __repr__(self) -> str:
        return "ALL_ROWS"


ALL_ROWS = AllRows()


def _as_values(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in many(value, "values"))


@attrs.frozen(kw_only=True)
class RowFilter:
    """Rows whose `column` stands in this relation to one of the `values`; all filters of a policy must hold.

    values:      one or more, as texts joined at most 255 characters long. A single text must stand in a list, too.
    operator:    EQUALS, LIKE, GREATER_THAN, LESS_THAN, …_EQUAL, BETWEEN, BEGINS_WITH, ENDS_WITH or CONTAINS.
    is_not:      the rows for which it does not hold.
    ignore_case: upper and lower case alike (product API).
    kind:        COLUMN; or DYNAMIC, then `values` name traits of whoever looks, such as
                 'domo.policy.managed_employee_id' (product API).

    The platform API tells neither `ignore_case` nor `kind` of a filter: change a policy that may have them over the
    product API.
    """

    column: str
    values: tuple[str, ...] = attrs.field(converter=_as_values)
    operator: str = "EQUALS"
    is_not: bool = False
    ignore_case: bool = False
    kind: str = "COLUMN"

    def __attrs_post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise InvalidInputError(f"operator cannot be {self.operator!r}; there are {', '.join(OPERATORS)}")
        if self.kind not in KINDS:
            raise InvalidInputError(f"kind cannot be {self.kind!r}; there are {', '.join(KINDS)}")
        if not self.values:
            raise InvalidInputError(f"the filter on {self.column!r} has no values")
        if len(",".join(self.values)) >= _LONGEST:
            raise InvalidInputError(
                f"the values for {self.column!r} are longer than the 255 characters Domo takes; make several policies"
            )

    def to_wire(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "values": list(self.values),
            "operator": self.operator,
            "not": self.is_not,
            "ignoreCase": self.ignore_case,
            "kind": self.kind,
        }

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> "RowFilter":
        # What Domo has is taken as it is, whatever it may have made of it since.
        found = object.__new__(cls)
        fields = {
            "column": str(value.get("column") or value.get("name") or ""),
            "values": tuple(str(one) for one in value.get("values") or ()),
            "operator": str(value.get("operator") or "EQUALS"),
            "is_not": bool(value.get("not")),
            "ignore_case": bool(value.get("ignoreCase")),
            "kind": str(value.get("type") or "COLUMN"),
        }
        for name, one in fields.items():
            object.__setattr__(found, name, one)
        return found


def _as_filters(value: Any) -> tuple[RowFilter, ...]:
    return tuple(RowFilter.from_wire(one) for one in value if isinstance(one, Mapping)) if value else ()


def _as_ids(value: Any) -> tuple[Any, ...]:
    return tuple(as_id(one) for one in value) if isinstance(value, list) else ()


def _as_texts(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


@entity
class DomoPdpPolicy(DomoEntity):
    """A row policy of a DataSet. Works with both API families.

    policy_type:  'user' or 'system'; 'open' for the one named All Rows, whose people see everything.
    filters:      all must hold for a row to be seen.
    has_dataset_permissions: as Domo has it; an update keeps it (product API).
    """

    kind: ClassVar[str] = "PDP_POLICY"

    id: int = api("filterGroupId", "id", convert=as_id)
    name: str | None = api("name", convert=as_text)
    policy_type: str | None = api("type", convert=as_text)
    filters: tuple[RowFilter, ...] = api("parameters", "filters", convert=_as_filters, default=())
    user_ids: tuple[int, ...] = api("userIds", "users", convert=_as_ids, default=())
    group_ids: tuple[int, ...] = api("groupIds", "groups", convert=_as_ids, default=())
    virtual_user_ids: tuple[str, ...] = api("virtualUserIds", "virtualUsers", convert=_as_texts, default=())
    dataset_id: str | None = api("dataSourceId", convert=as_text)
    has_dataset_permissions: bool | None = api("dataSourcePermissions", convert=as_bool)

    @classmethod
    def flatten(cls, obj: Mapping[str, Json]) -> Mapping[str, Json]:
        """Some answers have the people under `resources` only, as texts by kind."""
        resources = obj.get("resources")
        if not isinstance(resources, dict):
            return obj
        named = {"userIds": "USER", "groupIds": "GROUP", "virtualUserIds": "VIRTUAL_USER"}
        return {**obj, **{key: resources.get(kind) for key, kind in named.items() if obj.get(key) is None}}

    @classmethod
    async def get_by_id(cls, auth: Auth, policy_id: int, /, *, dataset_id: str | None = None) -> Self:
        """The policy with this id, of this DataSet. Raises: NotFoundError.

        Source: GET /api/query/v1/data-control/{dataset_id}/filter-groups, GET /v1/datasets/{id}/policies/{policy_id}
        """
        if dataset_id is None:
            raise InvalidInputError("pass dataset_id=, too: ids of policies count within their DataSet")
        return cls._of(auth, dataset_id, await _policies(auth).get_policy_by_id(auth, dataset_id, policy_id))

    @classmethod
    def get_all(cls, auth: Auth, dataset_id: str) -> Pager[Self]:
        """All policies of a DataSet.

        Source: GET /api/query/v1/data-control/{dataset_id}/filter-groups, GET /v1/datasets/{dataset_id}/policies
        """
        return Pager.of_list(
            lambda: _policies(auth).list_policies(auth, dataset_id), lambda obj: cls._of(auth, dataset_id, obj)
        )

    @classmethod
    async def create(
        cls,
        auth: Auth,
        dataset_id: str,
        *,
        name: str,
        filters: Iterable[RowFilter] | RowFilter | AllRows,
        users: Iterable[Any] | Any = (),
        groups: Iterable[Any] | Any = (),
        virtual_user_ids: Sequence[str] = (),
    ) -> Self:
        """Create a policy. It counts once PDP is switched on: `await dataset.set_pdp(enabled=True)`.

        filters:        all must hold for a row to be seen; ALL_ROWS for a policy whose people see everything.
        users, groups:  entities or ids; or one of them.
        Source: POST /api/query/v1/data-control/{dataset_id}/filter-groups, POST /v1/datasets/{dataset_id}/policies
        """
        policy = _checked(auth, name, filters) | _people(users, groups, virtual_user_ids)
        made = await _policies(auth).create_policy(auth, dataset_id, policy)
        return cls._of(auth, dataset_id, made)

    async def update(
        self,
        *,
        name: str | NotGiven = NOT_GIVEN,
        filters: Iterable[RowFilter] | RowFilter | AllRows | NotGiven = NOT_GIVEN,
        users: Iterable[Any] | Any = NOT_GIVEN,
        groups: Iterable[Any] | Any = NOT_GIVEN,
        virtual_user_ids: Sequence[str] | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Change what is given; the rest stays as it is here. Returns itself, as Domo has it afterwards.

        Source: PUT /api/query/v1/data-control/{dataset_id}/filter-groups/{id}, PUT /v1/datasets/{id}/policies/{id}
        """
        if isinstance(filters, NotGiven) and not self.filters:
            await self.refresh()  # an answer that did not tell the filters must not take them away
        now: dict[str, Any] = {
            "name": self.name or "",
            "filters": self.filters or ALL_ROWS,
            "users": self.user_ids,
            "groups": self.group_ids,
            "virtual_user_ids": self.virtual_user_ids,
        }
        new = now | given(name=name, filters=filters, users=users, groups=groups, virtual_user_ids=virtual_user_ids)
        policy = _checked(self.auth, new["name"], new["filters"])
        policy |= _people(new["users"], new["groups"], new["virtual_user_ids"])
        policy |= {"type": self.policy_type or "user", "dataset_permissions": bool(self.has_dataset_permissions)}
        changed = await _policies(self.auth).update_policy(self.auth, self.dataset_id, self.id, policy)
        return self._take_over(self._of(self.auth, self._home, changed))

    async def delete(self, *, missing_ok: bool = False) -> None:
        """Delete the policy.

        missing_ok:  that it is gone already is no error.
        Source: DELETE /api/query/v1/data-control/{id}/filter-groups/{id}, DELETE /v1/datasets/{id}/policies/{id}
        """
        with unless_gone(missing_ok):
            await _policies(self.auth).delete_policy(self.auth, self.dataset_id, self.id)

    async def refresh(self) -> Self:
        """Fetch it anew and take over all fields; returns itself. Raises: NotFoundError."""
        return self._take_over(await type(self).get_by_id(self.auth, self.id, dataset_id=self._home))

    @property
    def _home(self) -> str:
        assert self.dataset_id is not None
        return self.dataset_id

    @property
    def _key(self) -> tuple[str, str, Any]:
        return self.kind, self.auth.place, (self.dataset_id, self.id)

    @classmethod
    def _of(cls, auth: Auth, dataset_id: str, obj: Json) -> Self:
        return cls.from_json(auth, {"dataSourceId": dataset_id, **obj})


def _checked(auth: Auth, name: Any, filters: Any) -> dict[str, Any]:
    """Name and filters for the routes. Raises: InvalidInputError; UnsupportedByAuth, for a filter of the other API."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError("a policy needs a name")
    wanted = [] if isinstance(filters, AllRows) else many(filters, "filters")
    if not wanted and not isinstance(filters, AllRows):
        raise InvalidInputError(
            "a policy without filters lets its people see all rows", hint="Pass filters=ALL_ROWS if that is meant."
        )
    for one in wanted:
        if not isinstance(one, RowFilter):
            raise InvalidInputError(f"filters takes RowFilter objects, not {type(one).__name__}")
        if auth.family == "platform" and (one.kind != "COLUMN" or one.ignore_case):
            what = "ignore_case" if one.ignore_case else f"kind={one.kind!r}"
            raise UnsupportedByAuth(
                f"{type(auth).__name__}: a filter with {what} (column {one.column!r}) is for the product API alone",
                hint="Use SessionAuth or AccessTokenAuth.",
            )
    return {"name": name, "filters": [one.to_wire() for one in wanted]}


def _people(users: Any, groups: Any, virtual_user_ids: Any) -> dict[str, Any]:
    return {
        "user_ids": ids_of(users, "users", "USER"),
        "group_ids": ids_of(groups, "groups", "GROUP"),
        "virtual_user_ids": [str(one) for one in many(virtual_user_ids, "virtual_user_ids")],
    }
