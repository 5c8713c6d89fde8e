"""What all entities are: attrs classes that know where their fields stand on the wire."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from importlib import import_module
from operator import index
from types import ModuleType
from typing import Any, ClassVar, Self, SupportsIndex, TypeVar, dataclass_transform

import attrs

from domokit import _html
from domokit._runtime import from_wire
from domokit.auth import Auth, Family, Secret
from domokit.entities.listing import Listing
from domokit.errors import DomoDecodeError, InvalidInputError, NotFoundError
from domokit.transport import Json, fan_out

C = TypeVar("C", bound=type)

# Where the class of each kind lives; `ClientOptions(classes={"USER": MyUser})` takes precedence.
HOMES: Mapping[str, str] = {
    "ACCESS_TOKEN": "domokit.entities.access_tokens:DomoAccessToken",
    "ACCOUNT": "domokit.entities.accounts:DomoAccount",
    "API_CLIENT": "domokit.entities.api_clients:DomoApiClient",
    "DATA_SOURCE": "domokit.entities.datasets:DomoDataset",
    "GROUP": "domokit.entities.groups:DomoGroup",
    "PDP_POLICY": "domokit.entities.pdp_policies:DomoPdpPolicy",
    "ROLE": "domokit.entities.roles:DomoRole",
    "STREAM": "domokit.entities.streams:DomoStream",
    "STREAM_EXECUTION": "domokit.entities.streams:DomoStreamExecution",
    "USER": "domokit.entities.users:DomoUser",
}


class NotGiven:
    """The type of `NOT_GIVEN`, which tells "leave it as it is" from None, "clear it"."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


NOT_GIVEN = NotGiven()


def given(**values: Any) -> dict[str, Any]:
    """Those of the values that were given."""
    return {name: value for name, value in values.items() if not isinstance(value, NotGiven)}


def unless_gone(missing_ok: bool) -> AbstractContextManager[None]:
    """A block in which, if `missing_ok`, it is no error that what is to be deleted is gone already."""
    return suppress(NotFoundError) if missing_ok else nullcontext()


_IDS: Mapping[str, type] = {"USER": int, "GROUP": int, "DATA_SOURCE": str}  # of kinds whose ids are of one type always

# -- converters: what comes from the wire never makes parsing fail; what makes no sense stays readable in `raw`


def as_id(value: Any) -> Any:
    """An id once and for all: digits become an int (some endpoints send texts), other texts stay."""
    if isinstance(value, str) and value.lstrip("-").isdecimal() and value.isascii():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def as_int(value: Any) -> int | None:
    found = as_id(value)
    return found if isinstance(found, int) else None


def as_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None if value is None or isinstance(value, (dict, list)) else str(value)


def as_bool(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


# What each of them hands back as it is.
_KEEPS: Mapping[Any, type] = {as_id: int, as_int: int, as_text: str, as_bool: bool}


def as_secret(value: Any) -> Secret | None:
    return Secret(value) if isinstance(value, (str, Secret)) and value else None


def as_time(value: Any) -> datetime | None:
    return from_wire(value)


def api(*keys: str, convert: Callable[[Any], Any] | None = None, default: Any = None, once: bool = False) -> Any:
    """A field read from the first of `keys` that the server's object has, through `convert` unless it is null.

    once:  it comes with one answer only, such as a secret with the answer to its creation; `refresh()` keeps it.
    """
    return attrs.field(default=default, metadata={"api": (keys, convert), "once": once})


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(attrs.field, api))
def entity(cls: C) -> C:
    """Make a class an entity: slotted, keyword-only, compared by kind, place and id."""
    return attrs.define(cls, kw_only=True, eq=False)  # type: ignore[return-value]


@entity
class DomoEntity:
    """Base of everything with an id. Equal when kind, instance and id are equal.

    id:   unique within kind and instance; an int where Domo's are numbers.
    raw:  the server's object as it came, unknown keys included. It is read, never sent back.
    """

    kind: ClassVar[str] = ""
    _plan: ClassVar[list[tuple[str, str, tuple[str, ...], type | None, Callable[[Any], Any] | None]]] = []
    _page: ClassVar[str] = ""  # path of its page in Domo's own interface

    auth: Auth = attrs.field(repr=False)
    id: Any = api("id", convert=as_id)
    raw: Mapping[str, Json] = attrs.field(factory=dict, repr=False)

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        cls._plan = []
        for field in attrs.fields(cls):
            if "api" in field.metadata:
                keys, convert = field.metadata["api"]
                cls._plan.append((field.alias, keys[0], keys[1:], _KEEPS.get(convert), convert))

    @classmethod
    def from_json(cls, auth: Auth, obj: Mapping[str, Json]) -> Self:
        """Build one from a server's object. Missing keys take the default, unknown ones stay in `raw`."""
        if not isinstance(obj, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DomoDecodeError(
                f"a {type(obj).__name__} came where the object of a {cls.__name__} was due", status=200
            )
        flat = cls.flatten(obj)
        known: dict[str, Any] = {}
        get = flat.get
        for name, key, others, keeps, convert in cls._plan:
            value = get(key)
            if value is None:
                for key in others:
                    if (value := get(key)) is not None:
                        break
                else:
                    continue
            # A value that is of the right type already needs no call: a listing converts hundreds of thousands.
            known[name] = value if convert is None or type(value) is keeps else convert(value)
        return cls(auth=auth, raw=obj, **known)

    @classmethod
    def flatten(cls, obj: Mapping[str, Json]) -> Mapping[str, Json]:
        """The server's object with all members at the top, for endpoints that nest them; the original stays."""
        return obj

    @classmethod
    async def get_by_id(cls, auth: Auth, entity_id: Any, /) -> Self:
        """The one with this id. Raises: NotFoundError."""
        raise InvalidInputError(f"{cls.__name__} cannot be fetched by id")

    @classmethod
    async def get_many(cls, auth: Auth, ids: Iterable[Any], *, max_concurrency: int | None = None) -> Listing[Self]:
        """Several by id, many at a time, in the order of the ids.

        max_concurrency:  requests in flight, 64 if not given; never more than `ClientOptions.max_concurrency`.
        Raises: SeveralFailedError with the error of each id that failed and the others' results.
        """

        async def one(entity_id: Any) -> Self:
            return await cls.get_by_id(auth, entity_id)

        return Listing(
            await fan_out(one, many(ids, "ids"), max_concurrency=max_concurrency, what=f"{cls.__name__} ids")
        )

    async def refresh(self) -> Self:
        """Fetch it anew and take over all fields; returns itself."""
        return self._take_over(await type(self).get_by_id(self.auth, self.id))

    def _take_over(self, fresh: Self) -> Self:
        for field in attrs.fields(type(self)):
            value = getattr(fresh, field.name)
            if "api" in field.metadata and not (value is None and field.metadata["once"]):
                setattr(self, field.name, value)
        self.raw = fresh.raw
        return self

    def related(self, kind: str) -> Any:
        """The class for `kind`: the one this auth was given, else the package's own."""
        return class_for(self.auth, kind)

    @property
    def url(self) -> str | None:
        """Its page in Domo's own interface; None where the instance is not known, or there is no page."""
        if not self._page or self.auth.instance is None:
            return None
        return self.auth.instance.origin + self._page.format(id=self.id)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, without `auth` and `raw`."""
        return {field.name: getattr(self, field.name) for field in self._shown_fields()}

    @property
    def _key(self) -> tuple[str, str, Any]:
        return self.kind, self.auth.place, self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DomoEntity) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @classmethod
    def _shown_fields(cls) -> list["attrs.Attribute[Any]"]:
        fields = [field for field in attrs.fields(cls) if field.name not in ("auth", "raw")]
        return sorted(fields, key=lambda field: field.name != "id")

    def _repr_html_(self) -> str:
        return _html.record(self.to_dict())

    @classmethod
    def html_names(cls) -> list[str]:
        """Column heads of a table of these."""
        return [field.name for field in cls._shown_fields() if field.repr]

    def html_cells(self) -> list[str]:
        """The cells of its row in a table, as HTML."""
        return [_html.cell(getattr(self, name)) for name in self.html_names()]


def many(value: Any, what: str) -> list[Any]:
    """What an argument that takes several was given, as a list; one thing that is no list counts as a list of one.

    Raises: InvalidInputError for a text, for its letters would be taken for the items, and for None.
    """
    if value is None or isinstance(value, (str, bytes)):
        raise InvalidInputError(f"{what} is a list, not {type(value).__name__}", hint=f"Pass {what}=[…].")
    return list(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else [value]


def texts_of(value: Any, what: str) -> list[str]:
    """A list of texts, each once. Raises: InvalidInputError, for a single text and for what is none."""
    found = list(dict.fromkeys(many(value, what)))
    if wrong := [one for one in found if not isinstance(one, str)]:
        raise InvalidInputError(f"{what}: {wrong[0]!r} is no text")
    return found


def id_of(one: Any, what: str, kind: str) -> Any:
    """The id of an entity, or of what is an id. Raises: InvalidInputError for another kind, and for what is no id."""
    if isinstance(one, DomoEntity) and one.kind != kind:
        raise InvalidInputError(f"{what} takes the kind {kind}, and {type(one).__name__} {one.id} is of {one.kind}")
    given_id: Any = one.id if isinstance(one, DomoEntity) else one
    if isinstance(given_id, SupportsIndex) and not isinstance(given_id, bool):
        given_id = index(given_id)  # numpy has integers of its own
    entity_id = as_id(given_id)
    if entity_id is None or not isinstance(entity_id, _IDS.get(kind, object)):
        raise InvalidInputError(f"{what} takes entities or their ids, not {one!r}")
    return entity_id


def ids_of(value: Any, what: str, kind: str) -> list[Any]:
    """The ids of the entities and ids that an argument such as users= was given, or of the only one."""
    return [id_of(one, what, kind) for one in many(value, what)]


def class_for(auth: Auth, kind: str) -> Any:
    """The entity class for a kind: the one the auth object was given, else the package's own."""
    if chosen := auth.options.classes.get(kind):
        return chosen
    module, _, name = HOMES[kind].partition(":")
    return getattr(import_module(module), name)


@attrs.frozen
class BothFamilies:
    """An area whose routes exist in both families under the same names; the auth object decides."""

    product: ModuleType
    platform: ModuleType

    def __call__(self, auth: Auth) -> Any:
        by_family: Mapping[Family, ModuleType] = {"product": self.product, "platform": self.platform}
        return by_family[auth.family]
