"""The way of a load: parts are cut, encoded and sent side by side, and one commit makes all of them rows, or none."""

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from html import escape
from typing import Any, Protocol

import anyio
import attrs
from anyio import CapacityLimiter, to_thread

from domokit.bulk.journal import Journal
from domokit.bulk.loads import Landed, Load
from domokit.errors import (
    DomoDecodeError,
    DomoError,
    InvalidInputError,
    OutcomeUnknown,
    ServerError,
    UploadError,
)
from domokit.transport import Content

_ABORT_WITHIN = 30.0  # seconds
_COMMIT_ATTEMPTS = 4
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
        rows = "".join(
            f"<tr><th>{name}</th><td>{escape('' if value is None else str(value))}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<table>{rows}</table>"


@attrs.define
class Sent:
    """What of a load has arrived so far."""

    rows: int = 0
    parts: int = 0
    raw_bytes: int = 0
    bytes_sent: int = 0


async def upload(
    load: Load,
    jobs: AsyncGenerator[Job, None],
    *,
    empty: bytes,
    meter: Meter,
    workers: int | None = None,
    journal: Journal | None = None,
) -> UploadResult:
    """Send all parts and commit.

    jobs:     in the order of the rows; each gives one part. Taken one at a time, as workers are free.
    empty:    the body of a part without rows.
    workers:  parts in memory at most, in the making or on the line; default: processors, at least 2, and 2 more.
    journal:  where to write down what has arrived; then a load that fails stays open, to be gone on with.
    Raises: UploadError, with what stopped it as cause, after the load was aborted (or left open, with a journal);
            InvalidInputError and what `jobs` itself raises, as they are, after the same; nothing of it is visible.
            Cancelled, it is aborted likewise; cancelled during the commit, all of it has landed, or nothing.
    """
    if journal is not None and not load.can_resume:
        raise InvalidInputError(
            "a DataSet without a stream is loaded with one request, which cannot be resumed",
            hint="Leave out resume=, or create the DataSet with DomoDataset.create(), which makes a stream.",
        )
    began = time.monotonic()
    sent = Sent()
    landed: Landed | None = None
    try:
        async with aclosing(jobs):
            if await _begin(load, journal):
                landed = await load.settle()
            await _send_all(load, jobs, sent, empty, meter, workers, journal, is_over=landed is not None)
        if landed is None:
            landed = await commit(load, sent, journal)
    except BaseException as error:
        await give_up(load, error, sent, journal)
        raise
    if journal is not None:
        journal.close()
    return result_of(load, sent, landed, time.monotonic() - began)


def result_of(load: Load, sent: Sent, landed: Landed, seconds: float) -> UploadResult:
    """Raises: UploadError, if Domo counts other than was sent."""
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
        seconds=seconds,
        upload_id=load.upload_id,
        stream_id=getattr(load, "stream_id", None),
        version_id=landed.version_id,
        landed=landed,
        load=load,
    )


async def _begin(load: Load, journal: Journal | None) -> bool:
    """Open the load, or take up an earlier one; whether that had come to its commit."""
    left = None if journal is None else journal.read()
    if left is not None and journal is not None:
        load.take_up(left)
        if journal.is_committing or await load.is_open():
            return journal.is_committing
    with anyio.CancelScope(shield=True):  # or it would be open, and nobody knew its number
        await load.begin()
    if journal is not None:
        journal.began(load.handle())
    return False


async def _send_all(
    load: Load,
    jobs: AsyncGenerator[Job, None],
    sent: Sent,
    empty: bytes,
    meter: Meter,
    workers: int | None,
    journal: Journal | None,
    *,
    is_over: bool,
) -> None:
    """is_over: the rows have landed already; they are only counted."""
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
                await put(number, part)
                del part
        except Exception as error:  # noqa: BLE001 - the first one is raised when the others have ended
            failed.append(error)
            cancel()

    async def put(number: int, part: Part) -> None:
        if not is_over and not (journal is not None and journal.has(number, part.body)):
            await load.put(number, Content(part.body, "text/csv", "gzip"))
            sent.bytes_sent += len(part.body)
            if journal is not None:
                journal.arrived(number, part.body)
        sent.rows += part.rows
        sent.parts += 1
        sent.raw_bytes += part.raw_bytes
        meter.advance(rows=part.rows, bytes=part.raw_bytes)

    async with anyio.create_task_group() as group:
        for _ in range(workers or max(2, cores) + 2):
            group.start_soon(work, group.cancel_scope.cancel)
    if failed:
        raise failed[0]
    if not sent.parts and not is_over:  # Domo refuses a load without parts, but takes one without rows
        await load.put(1, Content(empty, "text/csv", "gzip"))


async def commit(load: Load, sent: Sent, journal: Journal | None = None) -> Landed:
    """Make the parts rows, and find out whether they are, also where the answer is lost.

    Raises: UploadError with `is_committed` None, if that cannot be found out; what Domo answers to the commit.
    """
    was_tried = journal is not None and journal.is_committing  # by a process that did not live to hear the answer
    if journal is not None:
        journal.committing()
    load.rows, load.may_have_landed = sent.rows, True
    lost: DomoError | None = None
    for attempt in range(_COMMIT_ATTEMPTS):
        try:
            if lost is None or load.can_commit_again:
                return await load.commit()
        except (OutcomeUnknown, ServerError, DomoDecodeError) as error:
            lost = error
        except DomoError as error:  # an earlier attempt may have been heard: then this one comes too late
            if lost is None and not was_tried:
                load.may_have_landed = False
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
        parts_done=sent.parts,
    ) from lost


async def give_up(load: Load, error: BaseException, sent: Sent, journal: Journal | None = None) -> None:
    """Abort the load, unless it is to be resumed or may have landed; raise what says so, for what went wrong at Domo's.

    What the user's own data raised, and a cancellation, are the caller's to raise again.
    """
    if (isinstance(error, UploadError) and error.is_committed is None) or (journal is not None and journal.is_disputed):
        return
    is_resumable = journal is not None and load.upload_id is not None and not isinstance(error, InvalidInputError)
    is_open = load.upload_id is not None
    if is_open and not is_resumable:
        is_open = not await _aborted(load)
    if not is_open and journal is not None and load.upload_id is not None:
        journal.close()
    if isinstance(error, UploadError) or not isinstance(error, DomoError) or isinstance(error, InvalidInputError):
        return
    if load.upload_id is None and load.can_resume:  # nothing had begun: the error says it all
        return
    what = "it was aborted; the DataSet is as it was"
    hint = "Mend the cause, then load again."
    if is_resumable and journal is not None:
        what = f"it is open still, with {sent.parts} parts"
        hint = f"Call again with the same data and resume={str(journal.path)!r} to go on where it stopped."
    elif is_open:
        what = "it could not be aborted and is open still; the DataSet is as it was"
        hint = "Domo takes one load at a time: abort that one first, or wait until Domo gives it up."
    raise UploadError(
        f"the load stopped ({_words(error)}); {what}",
        asked=f"load into {load.dataset_id}",
        hint=hint,
        upload_id=load.upload_id,
        is_open=is_open,
        parts_done=sent.parts,
    ) from error


async def _aborted(load: Load) -> bool:
    with anyio.CancelScope(shield=True), anyio.move_on_after(_ABORT_WITHIN):
        try:
            await load.abort()
        except DomoError:
            return False
        load.may_have_landed = load.may_have_landed and not load.abort_proves_it
        return True
    return False


def _words(error: DomoError) -> str:
    return f"{type(error).__name__}: {error.message}"


def facts_of(load: Load, **facts: Any) -> Mapping[str, Any]:
    """What a journal compares, to know that it tells of this load."""
    return {"place": load.auth.place, "dataset_id": load.dataset_id, "kind": type(load).__name__, **facts}
