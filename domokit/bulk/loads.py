"""The ways into a DataSet: an upload (product API), an execution of its stream, or one import (platform API)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio
import attrs

from domokit._runtime import from_wire
from domokit.auth import Auth
from domokit.errors import (
    APIError,
    ConnectionFailedError,
    DomoError,
    NotFoundError,
    RequestTimeoutError,
    ServerError,
    UploadError,
)
from domokit.routes.platform import datasets as platform_datasets
from domokit.routes.platform import streams as platform_streams
from domokit.routes.product import datasets as product_datasets
from domokit.routes.product import uploads as product_uploads
from domokit.transport import Content, Json, member

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0  # seconds between two looks at whether rows are indexed
_TICK = 1.1  # seconds, after which Domo's time of a change certainly is another


@attrs.frozen(kw_only=True)
class Landed:
    """What Domo said to a commit. rows: how many it counted, if it said so."""

    rows: int | None = None
    version_id: int | None = None
    index_key: str | None = None


class Load(ABC):
    """One load: where its parts go, and what makes them rows.

    upload_id:        Domo's number of it, once it has begun; None for a load that needs none.
    rows:             how many were sent, once all were.
    can_commit_again: whether a commit that may have been heard does no harm when it is sent once more.
    abort_proves_it:  whether an abort that was heard proves that nothing has landed.
    """

    can_resume: bool = True
    can_commit_again: bool = True
    abort_proves_it: bool = True

    def __init__(self, auth: Auth, dataset_id: str) -> None:
        self.auth = auth
        self.dataset_id = dataset_id
        self.upload_id: int | str | None = None
        self.rows: int | None = None

    @abstractmethod
    async def begin(self) -> None:
        """Open it. Whoever cancels this may leave it open, so the caller does not let that happen."""

    @abstractmethod
    async def put(self, part: int, content: Content) -> None:
        """Send a part, numbered from 1; sending it again replaces it."""

    async def before_commit(self) -> None:  # noqa: B027 - not each has to look
        """Look at what is there now, so that `settle` can tell what has been added."""

    @abstractmethod
    async def commit(self) -> Landed:
        """Make the parts rows. Raises: OutcomeUnknown, if the answer is lost; then `settle` tells."""

    @abstractmethod
    async def settle(self) -> Landed | None:
        """After a lost answer to the commit: what came of it; None if nothing has yet."""

    @abstractmethod
    async def abort(self) -> None:
        """Discard what was sent."""

    @abstractmethod
    async def is_indexed(self, landed: Landed) -> bool:
        """Whether the rows can be queried. Raises: UploadError, if Domo says that they never will."""

    def __getstate__(self) -> dict[str, Any]:
        """Where it goes may be told to other processes; who signs is theirs to find."""
        return {name: value for name, value in vars(self).items() if name != "auth"}

    def facts(self) -> dict[str, Any]:
        """What tells it from other loads into the same place."""
        return {"place": self.auth.place, "dataset_id": self.dataset_id, "kind": type(self).__name__}

    def handle(self) -> dict[str, Any]:
        """What another process needs to go on with it."""
        return {"upload_id": self.upload_id}

    def take_up(self, handle: Mapping[str, Any]) -> None:
        """Go on with what another process began."""
        self.upload_id = handle["upload_id"]

    async def is_open(self) -> bool:
        """Whether a load that was taken up still takes parts, as far as Domo tells."""
        return True

    async def wait_indexed(self, landed: Landed, timeout: float) -> None:
        """Return when the rows can be queried. Raises: RequestTimeoutError, after `timeout` seconds; UploadError."""
        wait = _FIRST_WAIT
        failed: DomoError | None = None
        with anyio.move_on_after(timeout):
            while True:
                try:
                    if await self.is_indexed(landed):
                        return
                except (ConnectionFailedError, ServerError) as error:  # the next look may tell
                    failed = error
                await anyio.sleep(wait)
                wait = min(_LONGEST_WAIT, wait * 1.5)
        raise RequestTimeoutError(
            f"the rows have landed, but cannot be queried after {timeout:g} s",
            asked=f"index of {self.dataset_id}",
            hint="Domo takes up to about 15 minutes; wait on, nothing needs to be sent again.",
        ) from failed


class ProductLoad(Load):
    """An upload of the product API.

    action:     REPLACE, APPEND or UPSERT.
    partition:  the name of the partition that is replaced; then the action does not count.
    """

    def __init__(self, auth: Auth, dataset_id: str, *, action: str, partition: str | None = None) -> None:
        super().__init__(auth, dataset_id)
        self._action = action
        self._partition = partition
        self._version_before = 0
        self._index_key: str | None = None

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"action": self._action, "partition": self._partition}

    async def begin(self) -> None:
        self.upload_id = await product_uploads.start_upload(self.auth, self.dataset_id, partition=self._partition)

    async def put(self, part: int, content: Content) -> None:
        await product_uploads.upload_part(self.auth, self.dataset_id, self._id(), part, content)

    async def before_commit(self) -> None:
        # Not the status, which tells of what can be queried and lags behind. As late as can be: whoever loads as many
        # rows between this look and the commit cannot be told from it, should the answer be lost.
        self._version_before = max(await self._versions(), default=0)

    async def commit(self) -> Landed:
        answer = await product_uploads.commit_upload(
            self.auth, self.dataset_id, self._id(), action=self._action, partition=self._partition
        )
        size, indexing = answer.get("size") or {}, answer.get("indexing") or {}
        key = indexing.get("requestKey")
        version = None
        with suppress(DomoError):  # it has landed, whether this is known or not
            version = await self._own_version()
        return Landed(rows=size.get("rowCount"), version_id=version, index_key=None if key is None else str(key))

    async def settle(self) -> Landed | None:
        version = await self._own_version()
        return None if version is None else Landed(version_id=version)

    async def _own_version(self) -> int | None:
        """The newest version since `before_commit` that can be of this load. Upserts count what they left."""
        due = (None, self.rows)
        newer = {number: rows for number, rows in (await self._versions()).items() if number > self._version_before}
        is_counted = self._action != "UPSERT" and self.rows is not None
        return max((number for number, rows in newer.items() if not is_counted or rows in due), default=None)

    async def _versions(self) -> dict[int, int | None]:
        """The number of rows of each data version, by its id."""
        try:
            found = await product_datasets.list_versions(self.auth, self.dataset_id)
        except ServerError:
            raise
        except APIError:  # nothing was ever loaded
            return {}
        return {int(one["dataVersionId"]): one.get("rowCount") for one in found}

    async def abort(self) -> None:
        await product_uploads.abort_upload(self.auth, self.dataset_id, self._id())

    async def is_indexed(self, landed: Landed) -> bool:
        key = landed.index_key or self._index_key
        if key is None:  # the answer to the commit was lost: all that is pending then
            key = str((await product_uploads.request_index(self.auth, self.dataset_id))["requestKey"])
            self._index_key = key
        progress = await product_uploads.get_index_status(self.auth, self.dataset_id, key)
        facts = progress.get("progress") or {}
        if str(facts.get("status")).upper() in ("ERROR", "FAILED"):
            raise _never_indexed(self, facts.get("message"))
        return facts.get("progress") == 100 or str(facts.get("status")).upper() == "SUCCESS"

    def handle(self) -> dict[str, Any]:
        return super().handle() | {"version_before": self._version_before}

    def take_up(self, handle: Mapping[str, Any]) -> None:
        super().take_up(handle)
        self._version_before = handle["version_before"]

    def _id(self) -> int | str:
        assert self.upload_id is not None
        return self.upload_id


class StreamLoad(Load):
    """An execution of the DataSet's stream, platform API. update_method: REPLACE, APPEND or UPSERT."""

    def __init__(self, auth: Auth, dataset_id: str, stream_id: int | str, *, update_method: str) -> None:
        super().__init__(auth, dataset_id)
        self.stream_id = stream_id
        self._update_method = update_method

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"stream_id": self.stream_id, "action": self._update_method}

    async def begin(self) -> None:
        execution = await platform_streams.start_execution(self.auth, self.stream_id, update_method=self._update_method)
        self.upload_id = member(execution, "id")

    async def put(self, part: int, content: Content) -> None:
        await platform_streams.upload_part(self.auth, self.stream_id, self._id(), part, content)

    async def commit(self) -> Landed:
        await platform_streams.commit_execution(self.auth, self.stream_id, self._id())
        return Landed()

    async def settle(self) -> Landed | None:
        state = await self._state()
        if state == "ERROR":
            raise _never_indexed(self, None)
        return Landed() if state in ("SUCCESS", "WARNING") else None

    async def abort(self) -> None:
        await platform_streams.abort_execution(self.auth, self.stream_id, self._id())

    async def is_open(self) -> bool:
        try:
            return await self._state() == "ACTIVE"
        except NotFoundError:
            return False

    async def is_indexed(self, landed: Landed) -> bool:
        return await self.settle() is not None

    async def _state(self) -> str:
        execution: Json = await platform_streams.get_execution(self.auth, self.stream_id, self._id())
        return str(execution.get("currentState")).upper()

    def _id(self) -> int | str:
        assert self.upload_id is not None
        return self.upload_id


class ImportLoad(Load):
    """One import, platform API, for a DataSet without a stream: its parts are gathered and leave in one request."""

    can_resume = False
    abort_proves_it = False

    def __init__(self, auth: Auth, dataset_id: str, *, update_method: str) -> None:
        super().__init__(auth, dataset_id)
        self._update_method = update_method
        self.can_commit_again = update_method != "APPEND"  # it would add the rows twice
        self._parts: dict[int, bytes] = {}
        self._encoding: str | None = None
        self._before: tuple[Any, Any] = (None, None)

    async def begin(self) -> None:
        """There is nothing to open."""

    async def put(self, part: int, content: Content) -> None:
        self._parts[part] = content.data
        self._encoding = content.encoding

    async def before_commit(self) -> None:
        self._before = await self._data()
        changed_at = from_wire(self._before[0])
        now = self.auth.options.clock()
        if self._before[1] == self._due and changed_at is not None and abs((now - changed_at).total_seconds()) < _TICK:
            # As many rows as before, in the same second: nobody could tell the one from the other.
            await anyio.sleep(_TICK)

    async def commit(self) -> Landed:
        whole = b"".join(self._parts[part] for part in sorted(self._parts))  # gzip members follow each other
        await platform_datasets.import_rows(
            self.auth, self.dataset_id, Content(whole, "text/csv", self._encoding), update_method=self._update_method
        )
        return Landed()

    async def settle(self) -> Landed | None:
        now = await self._data()
        # Rows of an earlier load may have shown since, so the number must be right as well.
        return Landed() if now != self._before and now[1] in (None, self._due) else None

    async def abort(self) -> None:
        self._parts.clear()

    async def is_indexed(self, landed: Landed) -> bool:
        now = await self._data()
        if self._due is None or now[1] is None:
            return now != self._before
        # Appends before this one, that were not indexed then, make it more.
        is_due = now[1] >= self._due if self._update_method == "APPEND" else now[1] == self._due
        return is_due and now != self._before

    @property
    def _due(self) -> int | None:
        """How many rows there will be."""
        if self.rows is None or self._update_method != "APPEND":
            return self.rows
        return self.rows + (self._before[1] or 0)

    async def _data(self) -> tuple[Any, Any]:
        """Since when the rows are what they are, to the second, and how many they are."""
        facts = await platform_datasets.get_dataset_by_id(self.auth, self.dataset_id)
        return facts.get("dataCurrentAt"), facts.get("rows")


def _never_indexed(load: Load, said: Any) -> UploadError:
    why = f": {said}" if isinstance(said, str) and said else ""
    return UploadError(
        f"Domo has the rows, but failed to take them into the DataSet{why}",
        asked=f"load into {load.dataset_id}",
        hint="The earlier rows are still there; look at the DataSet's history in Domo, then load again.",
        upload_id=load.upload_id,
    )
