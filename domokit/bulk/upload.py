"""The way of a load: parts are cut, encoded and sent side by side, and one commit makes all of them rows, or none."""

import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Protocol

import anyio
import attrs
from anyio import CapacityLimiter, to_thread

from domokit._html import record
from domokit.bulk.journal import Journal
from domokit.bulk.loads import Landed, Load
from domokit.errors import (
    ConflictError,
    DomoDecodeError,
    DomoError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknown,
    RateLimitedError,
    ServerError,
    UploadError,
)
from domokit.transport import Content

_ABORT_WITHIN = 30.0  # seconds
_COMMIT_ATTEMPTS = 4
_COMMIT_PATIENCE = 120.0  # seconds that a Domo is waited for which wants fewer calls
_GONE = (NotFoundError, ConflictError)  # how Domo speaks of loads that it has ended or never knew
COMMIT_PAUSE = 0.2  # seconds until the first look at what came of a commit; each later one waits three times as long


class Part(Protocol):
    """Rows as they are sent. body: gzip-compressed CSV without a header; raw_bytes: its size before that."""

    @property
    def rows(self) -> int: ...
    @property
    def raw_bytes(self) -> int: ...
    @property
    def body(self) -> bytes: ...


Job = Callable[[], Part]  # encodes one slice of the rows; runs in a thread


class Meter(Protocol):
    """Is told what has arrived."""

    def advance(self, *, rows: int = 0, bytes: int = 0) -> None: ...  # noqa: A002

    def finish(self) -> None: ...


@attrs.frozen(kw_only=True, repr=False)
class UploadResult:
    """What has landed. It can be queried a little later: `await result.wait_indexed()`.

    rows, parts:   how many were sent; rows is checked against what Domo counted, where it counts.
    bytes:         the size of the CSV, before it was compressed.
    bytes_sent:    what went over the line.
    seconds:       from the first request to the answer to the commit.
    upload_id:     Domo's number of the upload (product API) or of the execution (platform API); None for an import.
    stream_id:     the stream that the execution belongs to, else None.
    version_id:    the data version, where Domo has told it.
    """

    dataset_id: str
    rows: int
    parts: int
    bytes: int
    bytes_sent: int
    seconds: float
    upload_id: int | str | None = None
    stream_id: int | str | None = None
    version_id: int | None = None
    landed: Landed = attrs.field(repr=False)
    load: Load = attrs.field(repr=False, eq=False)

    @property
    def execution_id(self) -> int | str | None:
        """The number of the stream's execution; None for a load that is none."""
        return self.upload_id if self.stream_id is not None else None

    async def wait_indexed(self, timeout: float = 900.0) -> None:
        """Return when the rows can be queried.

        timeout:  seconds; Domo takes up to about 15 minutes.
        Raises: RequestTimeoutError; UploadError, if Domo failed to index them.
        """
        await self.load.wait_indexed(self.landed, timeout)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return attrs.asdict(self, filter=lambda field, _: field.name not in ("landed", "load"))

    def __repr__(self) -> str:
        return f"UploadResult({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    def _repr_html_(self) -> str:
        return record(self.to_dict())


@attrs.define
class Sent:
    """What of a load has arrived so far."""

    rows: int = 0
    parts: int = 0
    raw_bytes: int = 0
    bytes_sent: int = 0


class Loading:
    """One load on its way, from its first request to the commit or the abort.

    load:             where it goes.
    journal:          where to write down what has arrived; then a load that fails stays open, to be gone on with.
    sent:             what has arrived.
    may_have_landed:  whether a commit was sent that may have been heard, and no abort that was heard.
    """

    def __init__(self, load: Load, journal: Journal | None = None) -> None:
        self.load = load
        self.journal = journal
        self.sent = Sent()
        self.may_have_landed = False
        self._began = time.monotonic()

    async def begin(self) -> None:
        """Open the load, or take up an earlier one."""
        left = None if self.journal is None else self.journal.read()
        if left is not None and self.journal is not None:
            try:
                self.load.take_up(left)
            except (LookupError, TypeError):
                raise self.journal.not_ours() from None
            if self.journal.is_committing or await self.load.is_open():
                return
            self.load.upload_id = None
        if self.journal is not None:
            self.journal.open()
        with anyio.CancelScope(shield=True):  # or it would be open, and nobody knew its number
            await self.load.begin()
        if self.journal is not None:
            self.journal.began(self.load.handle())

    async def send(
        self, jobs: AsyncGenerator[Job, None], *, empty: bytes, meter: Meter, workers: int | None = None
    ) -> None:
        """Send all parts that have not arrived yet.

        jobs:     in the order of the rows; each gives one part. Taken one at a time, as workers are free.
        empty:    the body of a part without rows.
        workers:  parts in memory at most, in the making or on the line; default: processors, at least 2, and 2 more.
        """
        cores = os.cpu_count() or 2
        encoders = CapacityLimiter(max(2, cores))
        free = anyio.Semaphore(max(2, cores))
        turn = anyio.Lock()
        numbers = iter(range(1, 1 << 31))
        failed: list[Exception] = []

        async def work(cancel: Callable[[], None]) -> None:
            try:
                while True:
                    async with free:  # rows are taken when somebody can encode them, and not before
                        async with turn:
                            if (job := await anext(jobs, None)) is None:
                                return
                            number = next(numbers)
                        part = await to_thread.run_sync(job, limiter=encoders)
                        del job
                    await self._put(number, part.body)
                    self.arrived(part.rows, part.raw_bytes)
                    meter.advance(rows=part.rows, bytes=part.raw_bytes)
                    del part
            except Exception as error:  # noqa: BLE001 - the first one is raised when the others have ended
                failed.append(error)
                cancel()

        async with anyio.create_task_group() as group:
            for _ in range(workers or max(2, cores) + 2):
                group.start_soon(work, group.cancel_scope.cancel)
        if failed:
            raise failed[0]
        if self.journal is not None:
            self.journal.ends_with(self.sent.parts)
        if not self.sent.parts:  # Domo refuses a load without parts, but takes one without rows
            await self.load.put(1, Content(empty, "text/csv", "gzip"))

    async def _put(self, number: int, body: bytes) -> None:
        if self.journal is not None and self.journal.has(number, body):
            return
        await self.load.put(number, Content(body, "text/csv", "gzip"))
        self.sent.bytes_sent += len(body)
        if self.journal is not None:
            self.journal.arrived(number, body)

    def arrived(self, rows: int, raw_bytes: int, bytes_sent: int = 0) -> None:
        """Count a part."""
        self.sent.parts += 1
        self.sent.rows += rows
        self.sent.raw_bytes += raw_bytes
        self.sent.bytes_sent += bytes_sent

    async def commit(self) -> UploadResult:
        """Make the parts rows, and find out whether they are, also where the answer is lost.

        Raises: UploadError with `is_committed` None, if that cannot be found out; what Domo answers to the commit.
        """
        landed = await self._landed()
        if self.journal is not None:
            self.journal.close()
        load, sent = self.load, self.sent
        if landed.rows is not None and landed.rows != sent.rows:
            raise UploadError(
                f"{sent.rows} rows were sent, and Domo counts {landed.rows}",
                asked=f"load into {load.dataset_id}",
                hint="Compare the DataSet with the data before going on; the load is committed.",
                upload_id=load.upload_id,
                is_committed=True,
                parts_done=sent.parts,
            )
        return UploadResult(
            dataset_id=load.dataset_id,
            rows=sent.rows,
            parts=sent.parts,
            bytes=sent.raw_bytes,
            bytes_sent=sent.bytes_sent,
            seconds=time.monotonic() - self._began,
            upload_id=load.upload_id,
            stream_id=getattr(load, "stream_id", None),
            version_id=landed.version_id,
            landed=landed,
            load=load,
        )

    async def _landed(self) -> Landed:
        load, lost = self.load, None
        load.rows = self.sent.rows
        was_tried = self.journal is not None and self.journal.is_committing  # by a process that heard no answer
        if was_tried:
            self.may_have_landed = True
            if (landed := await load.settle()) is not None:
                return landed
        else:
            await load.before_commit()
            if self.journal is not None:
                self.journal.committing(load.handle())
        for attempt in range(_COMMIT_ATTEMPTS):
            try:
                if lost is None or load.can_commit_again:
                    return await self._commit_in_time()
            except (OutcomeUnknown, ServerError, DomoDecodeError) as error:
                lost = error
            except DomoError as error:  # an earlier attempt may have been heard: then this one comes too late
                if lost is None and not was_tried:
                    self.may_have_landed = False
                    raise
                lost = lost or error
            await anyio.sleep(COMMIT_PAUSE * 3**attempt)
            try:
                if (landed := await load.settle()) is not None:
                    return landed
            except UploadError:
                raise
            except DomoError as error:
                lost = error
        raise UploadError(
            "all parts have arrived, but whether the commit did is not known",
            asked=f"load into {load.dataset_id}",
            hint="Look at the DataSet: it has either all of these rows or none.",
            upload_id=load.upload_id,
            is_committed=None,
            is_open=True,
            parts_done=self.sent.parts,
        ) from lost

    async def _commit_in_time(self) -> Landed:
        """Commit once Domo takes calls again, which it did not look at before."""
        patience = _COMMIT_PATIENCE
        while True:
            try:
                self.may_have_landed = True
                return await self.load.commit()
            except RateLimitedError as error:
                wait = max(COMMIT_PAUSE, error.retry_after or 0.0)
                if wait > patience:
                    raise
                patience -= wait
                await anyio.sleep(wait)

    async def give_up(self, error: BaseException) -> None:
        """Abort the load, unless it is to be resumed or may have landed; raise what says so, for a failure at Domo's.

        What the user's own data raised, and a cancellation, are the caller's to raise again.
        """
        load, journal = self.load, self.journal
        if journal is not None and journal.is_disputed:
            return
        if isinstance(error, UploadError) and self.may_have_landed:  # what became of it is said already
            if journal is not None and error.is_committed is not None:
                journal.close()
            return
        is_gone = isinstance(error, _GONE)
        is_resumable = (
            journal is not None
            and journal.is_good
            and load.upload_id is not None
            and not is_gone
            and not isinstance(error, InvalidInputError)
        )
        is_open = load.upload_id is not None
        if is_open and not is_resumable:
            is_open = not await self._aborted()
        if not is_open and journal is not None:
            journal.close()
        if not isinstance(error, DomoError) or isinstance(error, InvalidInputError):
            return
        if load.upload_id is None and load.can_resume:  # nothing had begun: the error says it all
            return
        what = "it was aborted; the DataSet is as it was"
        hint = "Mend the cause, then load again."
        if is_resumable and journal is not None:
            what = f"it is open still, with {self.sent.parts} parts"
            hint = f"Call again with the same data and resume={str(journal.path)!r} to go on where it stopped."
        elif is_open:
            what = "it could not be aborted and is open still; the DataSet is as it was"
            hint = "Domo takes one load at a time: abort that one first, or wait until Domo gives it up."
        elif is_gone:
            what = "Domo knows it no more, and the DataSet is as it was"
            hint = "Load again, from the beginning."
        raise UploadError(
            f"the load stopped ({type(error).__name__}: {error.message}); {what}",
            asked=f"load into {load.dataset_id}",
            hint=hint,
            upload_id=load.upload_id,
            is_open=is_open,
            parts_done=self.sent.parts,
        ) from error

    async def _aborted(self) -> bool:
        """Whether it is not open any more."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_ABORT_WITHIN):
            try:
                await self.load.abort()
            except _GONE:
                return True
            except DomoError:
                return False
            self.may_have_landed = self.may_have_landed and not self.load.abort_proves_it
            return True
        return False


async def upload(
    loading: Loading,
    jobs: AsyncGenerator[Job, None],
    *,
    empty: bytes,
    meter: Meter,
    workers: int | None = None,
) -> UploadResult:
    """Send all parts and commit; for the arguments see `Loading.send`.

    Raises: UploadError, with what stopped it as cause, after the load was aborted (or left open, with a journal);
            InvalidInputError and what `jobs` itself raises, as they are, after the same; nothing of it is visible.
            Cancelled, it is aborted likewise; cancelled during the commit, all of it has landed, or nothing.
    """
    if loading.journal is not None and not loading.load.can_resume:
        raise InvalidInputError(
            "a DataSet without a stream is loaded with one request, which cannot be resumed",
            hint="Leave out resume=, or create the DataSet with DomoDataset.create(), which makes a stream.",
        )
    try:
        async with aclosing(jobs):
            await loading.begin()
            await loading.send(jobs, empty=empty, meter=meter, workers=workers)
        meter.finish()
        return await loading.commit()
    except BaseException as error:
        await loading.give_up(error)
        raise
