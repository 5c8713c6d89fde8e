"""What is done to many DataSets at once, with one request for fifty or a hundred of them."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Self

from domokit.auth import Auth
from domokit.entities.access import grantees, the_one
from domokit.entities.base import DomoEntity, entity, id_of, ids_of, texts_of
from domokit.entities.listing import Listing, Pager
from domokit.errors import (
    APIError,
    BadRequestError,
    DomoError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    SeveralFailedError,
    same_again,
)
from domokit.routes.product import datasets as routes
from domokit.routes.product import many_datasets as many
from domokit.transport import Json, fan_out, require_family

LEVELS = ("CO_OWNER", "CAN_EDIT", "CAN_SHARE", "CAN_VIEW")
_READ_AT_ONCE = 100  # what a request for many may name
_CHANGED_AT_ONCE = 50
_SIDE_BY_SIDE = 4  # requests, each of which is much work for Domo
_REASONS: dict[str, type[APIError]] = {
    "NO_ACCESS": PermissionDeniedError,
    "NO_ACCOUNT_ACCESS": PermissionDeniedError,
    "DELETED": NotFoundError,
}


@entity
class DatasetsTogether(DomoEntity):
    """Class methods of `DomoDataset` for many; `datasets` are entities or ids.

    Those that change something try all of them. Raises: SeveralFailedError with the error of each that failed, by id.
    """

    @classmethod
    async def get_many(  # pyright: ignore[reportIncompatibleMethodOverride] - a list of Self, as there
        cls, auth: Auth, ids: Iterable[Any], *, max_concurrency: int | None = None
    ) -> Listing[Self]:
        """Several by id, in the order of the ids; on the product API a hundred with each request.

        Raises: SeveralFailedError with the error of each id that failed and the others' results.
        Source: POST /api/data/v3/datasources/bulk, GET /v1/datasets/{dataset_id}
        """
        wanted = ids_of(ids, "ids", "DATA_SOURCE")
        if auth.family == "platform":
            return await super().get_many(auth, wanted, max_concurrency=max_concurrency)
        found: dict[Any, Json] = {}
        failed: dict[Any, DomoError] = {}

        async def some(batch: Sequence[Any]) -> None:
            try:
                found.update((one.get("id"), one) for one in await routes.get_datasets(auth, batch))
            except DomoError as error:
                failed.update(dict.fromkeys(batch, error))

        async def one(dataset_id: Any) -> Self:
            if dataset_id in failed:
                raise same_again(failed[dataset_id])
            if dataset_id in found:
                return cls.from_json(auth, found[dataset_id])
            return await cls.get_by_id(auth, dataset_id)  # this one says what is the matter with it

        await fan_out(some, _batches(wanted, _READ_AT_ONCE), max_concurrency=max_concurrency)
        return Listing(await fan_out(one, wanted, max_concurrency=max_concurrency, what=f"{cls.__name__} ids"))

    @classmethod
    def get_all_ids(cls, auth: Auth) -> Pager[str]:
        """Ids of all DataSets of the instance, also of those the caller may not see: less work than `get_all`.

        Source: GET /api/data/v3/datasources/bulk/datasourceIds (product API)
        """
        return Pager(lambda offset, limit: many.list_dataset_ids(auth, offset, limit), str, size=_READ_AT_ONCE)

    @classmethod
    async def delete_many(cls, auth: Auth, datasets: Iterable[Any], *, missing_ok: bool = False) -> None:
        """Delete them, so that `restore` can take it back.

        missing_ok:  that one is gone already is no error.
        Source: POST /api/data/v1/ui/bulk/delete (product API)
        """
        gone = (NotFoundError,) if missing_ok else ()
        await _each(auth, datasets, lambda batch: many.delete_each(auth, batch), fine=gone)

    @classmethod
    async def set_owner_many(cls, auth: Auth, datasets: Iterable[Any], *, user: Any = None, group: Any = None) -> None:
        """Make a user or a group the owner. Source: POST /api/data/v1/ui/bulk/reassign (product API)"""
        kind, owner = the_one(user, group)
        await _each(auth, datasets, lambda batch: many.reassign_each(auth, batch, kind=kind, owner_id=owner))

    @classmethod
    async def share_many(
        cls,
        auth: Auth,
        datasets: Iterable[Any],
        *,
        users: Iterable[Any] = (),
        groups: Iterable[Any] = (),
        level: str = "CAN_VIEW",
        message: str | None = None,
    ) -> None:
        """Give users and groups access, as `share` does. Source: POST /api/data/v1/ui/bulk/share (product API)"""
        permissions = grants(users, groups, level)
        await _each(auth, datasets, lambda batch: many.share_each(auth, batch, permissions, message=message))

    @classmethod
    async def tag_many(
        cls, auth: Auth, datasets: Iterable[Any], *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> None:
        """Add tags and take others away; those that are not named stay.

        Source: POST /api/data/v1/ui/bulk/tag, POST /api/data/v1/ui/bulk/tag/delete (product API)
        """
        new, old, all_of_them = texts_of(add, "add"), texts_of(remove, "remove"), _ids(datasets)
        if not new and not old:
            raise InvalidInputError("pass add= or remove=, lists of tags")
        if new:
            await _each(auth, all_of_them, lambda batch: many.add_tags_to_each(auth, batch, new))
        if old:
            await _each(auth, all_of_them, lambda batch: many.remove_tags_of_each(auth, batch, old))

    @classmethod
    async def run_many(cls, auth: Auth, datasets: Iterable[Any]) -> None:
        """Have their connectors run now, without waiting for the end; one that no connector feeds is a failure.

        Source: POST /api/data/v1/ui/bulk/run (product API)
        """
        await _each(auth, datasets, lambda batch: many.run_each(auth, batch))

    @classmethod
    async def set_account_many(cls, auth: Auth, datasets: Iterable[Any], account: Any) -> None:
        """Have their connectors sign in with another account (entity or id), all or none of them.

        Source: POST /api/data/v2/datasources/account/{account_id} (product API)
        """
        if ids := _ids(datasets):
            await many.switch_account(auth, id_of(account, "account", "ACCOUNT"), ids)


def grants(users: Any, groups: Any, level: str) -> list[dict[str, str]]:
    """What a share gives, for the wire. Raises: InvalidInputError."""
    entries = grantees(users, groups)
    if level not in LEVELS:
        raise InvalidInputError(f"level cannot be {level!r}; use CO_OWNER, CAN_EDIT, CAN_SHARE or CAN_VIEW")
    return [{"type": kind, "id": str(grantee), "accessLevel": level} for kind, grantee in entries]


def _ids(datasets: Iterable[Any]) -> list[str]:
    return [str(one) for one in ids_of(datasets, "datasets", "DATA_SOURCE")]


def _batches(ids: Iterable[Any], size: int) -> list[tuple[Any, ...]]:
    distinct = list(dict.fromkeys(ids))
    return [tuple(distinct[at : at + size]) for at in range(0, len(distinct), size)]


async def _each(
    auth: Auth,
    datasets: Iterable[Any],
    call: Callable[[Sequence[str]], Awaitable[Json]],
    *,
    fine: tuple[type[DomoError], ...] = (),
) -> None:
    """Change all of them. Raises: SeveralFailedError, unless all that failed is `fine`."""
    require_family(auth, "product")
    ids = _ids(datasets)
    failures: dict[Any, DomoError] = {}

    async def some(batch: Sequence[str]) -> None:
        try:
            answer = await call(batch)
        except DomoError as error:
            failures.update(dict.fromkeys(batch, error))
            return
        done: set[Any] = set(answer.get("successful") or ())
        failed: dict[Any, Any] = answer.get("failed") or {}
        failures.update({one: _failure(one, failed.get(one)) for one in batch if one not in done})

    await fan_out(some, _batches(ids, _CHANGED_AT_ONCE), max_concurrency=_SIDE_BY_SIDE)
    told = {one: failures[one] for one in ids if one in failures and not isinstance(failures[one], fine)}
    if told:
        first = next(iter(told.values()))
        raise SeveralFailedError(
            f"{len(told)} of {len(set(ids))} DataSets failed; the first: {first}",
            failures=told,
            results={one: None for one in ids if one not in told},
        )


def _failure(dataset_id: str, reason: Any) -> APIError:
    said = str(reason) if reason else "Domo did not say what came of it"
    return _REASONS.get(said, BadRequestError)(f"DataSet {dataset_id}: {said}", status=200, domo_message=said)
