"""The way of a load, whatever it goes into: nothing half done, however it ends."""

import gzip
import json
import random
from functools import partial

import anyio
import attrs
import pytest

from domokit import AccessTokenAuth
from domokit.bulk.journal import Journal
from domokit.bulk.loads import Landed, Load
from domokit.bulk.upload import Loading, upload
from domokit.errors import (
    BadRequestError,
    ConnectionFailedError,
    InvalidDataError,
    InvalidInputError,
    OutcomeUnknown,
    ServerError,
    UploadError,
)

EMPTY = gzip.compress(b"")


@attrs.frozen
class Piece:
    rows: int
    raw_bytes: int
    body: bytes


class Domo:
    """What the other side knows: loads by number, and what has landed. It outlives the processes that load."""

    def __init__(self):
        self.loads = {}
        self.landed = []

    @property
    def open(self):
        return [number for number, (state, _) in self.loads.items() if state == "open"]


class Into(Load):
    """A load into `Domo`. `trouble(what, number)` is awaited before each call acts, `after` when it has."""

    def __init__(self, domo, trouble=None, after=None, rows_counted=None):
        super().__init__(AccessTokenAuth("acme", "tok-4f3e2d1c0b9a8877"), "ds-1")
        self.domo = domo
        self.trouble, self.after = trouble, after
        self.rows_counted = rows_counted
        self.calls = []
        self.in_flight = self.most_in_flight = 0

    async def _act(self, what, number, act):
        self.calls.append((what, number))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.sleep(0)
            if self.trouble is not None:
                await self.trouble(what, number)
            result = act()
            if self.after is not None:
                await self.after(what, number)
            return result
        finally:
            self.in_flight -= 1

    async def begin(self):
        def act():
            number = len(self.domo.loads) + 1
            self.domo.loads[number] = ("open", {})
            return number

        self.upload_id = await self._act("begin", 0, act)

    async def put(self, part, content):
        assert (content.type, content.encoding) == ("text/csv", "gzip")

        def act():
            state, parts = self.domo.loads[self.upload_id]
            if state != "open":
                raise BadRequestError("the upload is closed", status=400)
            parts[part] = content.data

        await self._act("put", part, act)

    async def commit(self):
        def act():
            state, parts = self.domo.loads[self.upload_id]
            if state != "open":
                raise BadRequestError("the upload is closed", status=400)
            assert sorted(parts) == list(range(1, len(parts) + 1)), "gaps"
            assert parts
            self.domo.loads[self.upload_id] = ("committed", parts)
            self.domo.landed.append(b"".join(gzip.decompress(parts[number]) for number in sorted(parts)))

        await self._act("commit", 0, act)
        return Landed(rows=self.rows_counted)

    async def settle(self):
        self.calls.append(("settle", 0))
        return Landed() if self.domo.loads[self.upload_id][0] == "committed" else None

    async def abort(self):
        def act():
            state, parts = self.domo.loads[self.upload_id]
            if state != "open":
                raise BadRequestError("the upload is closed", status=400)
            self.domo.loads[self.upload_id] = ("aborted", parts)

        await self._act("abort", 0, act)

    async def is_open(self):
        return self.domo.loads[self.upload_id][0] == "open"

    async def is_indexed(self, landed):
        return True

    def count(self, what):
        return sum(call[0] == what for call in self.calls)


class Told:
    def __init__(self):
        self.rows = self.bytes = 0

    def advance(self, *, rows=0, bytes=0):  # noqa: A002
        self.rows += rows
        self.bytes += bytes

    def finish(self):
        pass


def encoded(rows):
    text = "".join(f"{row}\n" for row in rows).encode()
    return Piece(len(rows), len(text), gzip.compress(text, mtime=0))


async def jobs_of(parts, per_part=3, after=None, before_each=None):
    for number in range(parts):
        if before_each is not None:
            before_each(number)
        yield partial(encoded, range(number * per_part, (number + 1) * per_part))
    if after is not None:
        raise after


def whole(parts, per_part=3):
    return "".join(f"{row}\n" for row in range(parts * per_part)).encode()


async def load(into, parts=10, *, told=None, jobs=None, journal=None, **options):
    return await upload(Loading(into, journal), jobs or jobs_of(parts), empty=EMPTY, meter=told or Told(), **options)


# -- when all is well


@pytest.mark.parametrize("workers", [None, 1, 3, 50])
async def test_all_parts_land_in_the_order_of_the_rows(workers):
    domo, told = Domo(), Told()
    result = await load(Into(domo), 10, workers=workers, told=told)
    assert domo.landed == [whole(10)]
    assert (result.rows, result.parts, result.bytes) == (30, 10, len(whole(10)))
    assert result.bytes_sent == sum(map(len, domo.loads[1][1].values()))
    assert (result.upload_id, result.dataset_id, result.stream_id, result.execution_id) == (1, "ds-1", None, None)
    assert (told.rows, told.bytes) == (30, len(whole(10)))
    assert "rows=30" in repr(result)
    assert "<th>rows</th><td>30</td>" in result._repr_html_()
    assert domo.open == []


async def test_parts_are_sent_side_by_side_but_not_more_than_allowed():
    async def slow(what, number):
        if what == "put":
            await anyio.sleep(0.01)

    into = Into(Domo(), slow)
    await load(into, 20, workers=4)
    assert into.most_in_flight == 4


async def test_rows_are_taken_as_workers_are_free():
    """What is not sent yet is not cut yet either: memory is bounded by the workers."""
    ahead = []

    async def slow(what, number):
        if what == "put":
            await anyio.sleep(0.01)

    into = Into(Domo(), slow)
    jobs = jobs_of(30, before_each=lambda number: ahead.append(number + 1 - into.count("put")))
    await load(into, jobs=jobs, workers=3)
    assert max(ahead) <= 4


async def test_no_rows_are_one_part_without_rows():
    domo = Domo()
    result = await load(Into(domo), 0)
    assert domo.landed == [b""]
    assert (result.rows, result.bytes_sent) == (0, 0)
    assert list(domo.loads[1][1]) == [1]


async def test_a_count_of_domo_that_differs_is_an_error():
    domo = Domo()
    with pytest.raises(UploadError, match="30 rows were sent, and Domo counts 29") as caught:
        await load(Into(domo, rows_counted=29), 10)
    assert caught.value.is_committed is True
    await load(Into(domo, rows_counted=30), 10)


# -- when something fails


@pytest.mark.parametrize("failing", [1, 5, 10])
async def test_a_part_that_is_refused_aborts_the_load(failing):
    async def refuse(what, number):
        if (what, number) == ("put", failing):
            raise BadRequestError("There are too many columns", asked="PUT …", status=400)

    domo = Domo()
    with pytest.raises(UploadError, match="too many columns") as caught:
        await load(Into(domo, refuse), 10)
    assert isinstance(caught.value.__cause__, BadRequestError)
    assert (caught.value.upload_id, caught.value.is_open, caught.value.is_committed) == (1, False, False)
    assert "the DataSet is as it was" in str(caught.value)
    assert domo.landed == []
    assert domo.open == []


async def test_an_upload_that_cannot_be_aborted_says_so():
    async def away(what, number):
        if what in ("put", "abort"):
            raise ConnectionFailedError("no answer")

    domo = Domo()
    with pytest.raises(UploadError, match="could not be aborted") as caught:
        await load(Into(domo, away), 3)
    assert caught.value.is_open
    assert domo.open == [1]


async def test_what_never_began_leaves_nothing():
    async def away(what, number):
        raise ConnectionFailedError("no answer")

    domo = Domo()
    into = Into(domo, away)
    with pytest.raises(ConnectionFailedError):
        await load(into, 3)
    assert into.calls == [("begin", 0)]


@pytest.mark.parametrize("error", [RuntimeError("the user's own"), InvalidDataError("row 7")])
@pytest.mark.parametrize("parts", [0, 4])
async def test_what_the_data_raises_comes_through_after_the_load_was_aborted(error, parts):
    domo = Domo()
    with pytest.raises(type(error)) as caught:
        await load(Into(domo), jobs=jobs_of(parts, after=error))
    assert caught.value is error
    assert domo.landed == []
    assert domo.open == []


async def test_what_encoding_raises_comes_through_too():
    def fail():
        raise InvalidDataError("column 'a' holds inf")

    async def jobs():
        yield partial(encoded, range(3))
        yield fail
        yield partial(encoded, range(3))

    domo = Domo()
    with pytest.raises(InvalidDataError):
        await load(Into(domo), jobs=jobs())
    assert (domo.landed, domo.open) == ([], [])


async def test_cancelled_at_any_instant_nothing_is_left_open():
    rng = random.Random(5)
    landed = 0

    async def slow(what, number):
        await anyio.sleep(rng.random() * 0.004)

    for _ in range(60):
        domo = Domo()
        with anyio.move_on_after(rng.random() * 0.03):
            await load(Into(domo, slow, slow), 6, workers=3)
        assert domo.open == []
        assert domo.landed in ([], [whole(6)])
        landed += len(domo.landed)
    assert 0 < landed < 60


# -- when the answer to the commit is lost


@pytest.mark.parametrize("acts", [True, False])
async def test_a_lost_answer_to_the_commit_is_found_out(acts):
    lost = []

    async def lose(what, number):
        if what == "commit" and not lost:
            lost.append(number)
            raise OutcomeUnknown("the connection was lost")

    domo = Domo()
    into = Into(domo, after=lose) if acts else Into(domo, lose)
    result = await load(into, 4)
    assert domo.landed == [whole(4)]
    assert result.rows == 12
    assert into.count("commit") == (1 if acts else 2)


@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), ServerError("500", status=500)])
async def test_a_commit_that_never_succeeds_is_not_called_done_nor_aborted(error, monkeypatch):
    async def lose(what, number):
        if what == "commit":
            raise error

    async def at_once(seconds):
        await anyio.lowlevel.checkpoint()

    domo = Domo()
    into = Into(domo, lose)
    monkeypatch.setattr("domokit.bulk.upload.anyio.sleep", at_once)
    with pytest.raises(UploadError, match="whether the commit did is not known") as caught:
        await load(into, 4)
    assert caught.value.is_committed is None
    assert into.count("abort") == 0


async def test_a_commit_that_is_refused_aborts():
    async def refuse(what, number):
        if what == "commit":
            raise BadRequestError("Too many non-consecutive part ids", status=400)

    domo = Domo()
    with pytest.raises(UploadError, match="non-consecutive"):
        await load(Into(domo, refuse), 4)
    assert (domo.landed, domo.open) == ([], [])


# -- going on with it


def journal(tmp_path, **facts):
    return Journal(tmp_path / "load.json", {"dataset_id": "ds-1", **facts})


async def cut_off(domo, tmp_path, *, at, parts=6):
    """A load that ends after `at` parts, as that of a killed process."""

    async def die(what, number):
        if what == "put" and number > at:
            await anyio.sleep_forever()

    into = Into(domo, die)
    with anyio.move_on_after(0.2):
        await load(into, parts, journal=journal(tmp_path), workers=2)
    return into


@pytest.mark.parametrize("at", [0, 1, 3, 5])
async def test_a_load_goes_on_with_the_parts_it_lacks(tmp_path, at):
    domo = Domo()
    await cut_off(domo, tmp_path, at=at)
    assert domo.open == [1]
    assert (tmp_path / "load.json").stat().st_mode & 0o777 == 0o600

    into, told = Into(domo), Told()
    result = await load(into, 6, journal=journal(tmp_path), told=told)
    assert domo.landed == [whole(6)]
    assert (result.rows, result.parts, told.rows) == (18, 6, 18)
    assert result.upload_id == 1
    assert into.count("begin") == 0
    assert sorted(number for what, number in into.calls if what == "put") == list(range(at + 1, 7))
    assert list(tmp_path.iterdir()) == []


async def test_a_failed_load_stays_open_and_says_how_to_go_on(tmp_path):
    async def refuse(what, number):
        if (what, number) == ("put", 4):
            raise ConnectionFailedError("no answer")

    domo = Domo()
    with pytest.raises(UploadError, match="open still") as caught:
        await load(Into(domo, refuse), 6, journal=journal(tmp_path))
    assert caught.value.is_open
    assert str(tmp_path / "load.json") in caught.value.hint
    assert domo.open == [1]
    await load(Into(domo), 6, journal=journal(tmp_path))
    assert domo.landed == [whole(6)]


@pytest.mark.parametrize("handle", [{}, 5, "x", [1]])
async def test_a_state_file_whose_load_cannot_be_taken_up(tmp_path, handle):
    domo = Domo()
    await cut_off(domo, tmp_path, at=3)
    path = tmp_path / "load.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"handle": handle}))
    before = path.read_text()
    with pytest.raises(InvalidInputError, match="no state file of a load"):
        await load(Into(domo), 6, journal=journal(tmp_path))
    assert path.read_text() == before
    assert domo.open == [1]


async def test_a_state_file_that_is_nested_without_end(tmp_path):
    (tmp_path / "load.json").write_text("[" * 100_000)
    with pytest.raises(InvalidInputError, match="no state file of a load"):
        await load(Into(Domo()), 6, journal=journal(tmp_path))


async def test_other_data_is_refused_and_nothing_is_lost(tmp_path):
    domo = Domo()
    await cut_off(domo, tmp_path, at=3)
    with pytest.raises(InvalidInputError, match="not what it was"):
        await load(Into(domo), jobs=jobs_of(6, per_part=4), journal=journal(tmp_path))
    assert domo.open == [1]
    await load(Into(domo), 6, journal=journal(tmp_path))
    assert domo.landed == [whole(6)]


async def test_parts_are_known_by_what_they_hold_not_by_how_it_is_compressed(tmp_path):
    """The faster compressor does not give the same bytes each time."""
    domo = Domo()
    await cut_off(domo, tmp_path, at=3)

    def otherwise(rows):
        piece = encoded(rows)
        return attrs.evolve(piece, body=gzip.compress(gzip.decompress(piece.body), 0, mtime=1))

    async def jobs():
        for number in range(6):
            yield partial(otherwise, range(number * 3, (number + 1) * 3))

    into = Into(domo)
    await load(into, jobs=jobs(), journal=journal(tmp_path))
    assert domo.landed == [whole(6)]
    assert sorted(number for what, number in into.calls if what == "put") == [4, 5, 6]


async def test_a_file_of_another_load_is_refused(tmp_path):
    domo = Domo()
    await cut_off(domo, tmp_path, at=3)
    into = Into(domo)
    with pytest.raises(InvalidInputError, match=r"another load .*part_bytes"):
        await load(into, 6, journal=journal(tmp_path, part_bytes=5))
    (tmp_path / "load.json").write_text("{")
    with pytest.raises(InvalidInputError, match="no state file"):
        await load(into, 6, journal=journal(tmp_path))
    assert into.calls == []


async def test_a_load_that_domo_has_given_up_begins_anew(tmp_path):
    domo = Domo()
    await cut_off(domo, tmp_path, at=3)
    domo.loads[1] = ("aborted", {})
    result = await load(Into(domo), 6, journal=journal(tmp_path))
    assert result.upload_id == 2
    assert domo.landed == [whole(6)]


@pytest.mark.parametrize("acts", [True, False])
async def test_cut_off_at_the_commit_it_lands_once(tmp_path, acts):
    async def die(what, number):
        if what == "commit":
            await anyio.sleep_forever()

    domo = Domo()
    with anyio.move_on_after(0.2):
        await load(Into(domo, after=die) if acts else Into(domo, die), 6, journal=journal(tmp_path))
    assert len(domo.landed) == acts
    result = await load(Into(domo), 6, journal=journal(tmp_path))
    assert domo.landed == [whole(6)]
    assert result.rows == 18
    assert list(tmp_path.iterdir()) == []


async def test_bad_data_ends_a_load_that_could_be_resumed(tmp_path):
    """It would be as bad the next time."""
    domo = Domo()
    with pytest.raises(InvalidDataError):
        await load(Into(domo), jobs=jobs_of(3, after=InvalidDataError("row 10")), journal=journal(tmp_path))
    assert domo.open == []
    assert list(tmp_path.iterdir()) == []


async def test_what_cannot_be_resumed_says_so_before_anything_is_sent(tmp_path):
    into = Into(Domo())
    into.can_resume = False
    with pytest.raises(InvalidInputError, match="cannot be resumed"):
        await load(into, 3, journal=journal(tmp_path))
    assert into.calls == []


async def test_waiting_for_the_index_has_an_end():
    into = Into(Domo())
    result = await load(into, 1)

    async def never(landed):
        return False

    into.is_indexed = never
    with pytest.raises(Exception, match="cannot be queried after"):
        await result.wait_indexed(timeout=0.3)
