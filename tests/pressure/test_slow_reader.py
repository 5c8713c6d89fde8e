"""Loads into a Domo that takes its time over what is sent: nothing piles up here, and who waits too long says so."""

import pytest

from domokit import errors, override

from .helpers import FEW, NEW, OLD, PART, SMALL, nothing_open, parts_sent, requests_for, stored, tuples, with_old_rows


async def test_parts_that_are_read_slowly_arrive_whole(domo, auth):
    dataset = await with_old_rows(auth)
    fault = domo.misbehave("slow_reader", times=None, seconds=0.05, path=PART)
    result = await dataset.append(NEW, **SMALL)
    assert fault.hits == result.parts
    assert stored(domo, dataset) == tuples(OLD + NEW)


async def test_rows_are_not_fetched_before_they_can_be_sent(domo, auth):
    fetched = 0

    async def batches():
        nonlocal fetched
        for row in NEW:
            fetched += 1
            yield [row]

    seen = []
    dataset = await with_old_rows(auth)
    domo.watch(lambda phase, record: seen.append(fetched) if phase == "acted" and "/part" in record.path else None)
    domo.misbehave("slow_reader", times=None, seconds=0.3, path=PART)
    result = await dataset.append(batches(), part_bytes=800, workers=2)
    assert result.parts > 12
    assert seen[0] < len(NEW) / 2  # when the first part was read
    assert stored(domo, dataset) == tuples(OLD + NEW)


async def test_a_part_that_is_not_read_in_time_is_sent_again(domo, auth):
    dataset = await with_old_rows(auth)
    domo.requests.clear()
    fault = domo.misbehave("slow_reader", seconds=3, path=r".*/parts?/1$")
    with override(total_timeout=0.5):
        await dataset.append(FEW, **SMALL)
    assert fault.hits == 1
    assert sorted(set(parts_sent(domo))) == [1, 2]
    assert stored(domo, dataset) == tuples(OLD + FEW)


async def test_a_load_that_is_never_read_in_time_ends(domo, auth):
    dataset = await with_old_rows(auth)
    domo.requests.clear()
    domo.misbehave("slow_reader", times=None, seconds=3, path=r".*/parts?/1$")
    with override(total_timeout=0.3), pytest.raises(errors.UploadError, match="no answer within") as caught:
        await dataset.append(FEW, **SMALL)
    assert (caught.value.is_open, caught.value.is_committed) == (False, False)
    assert nothing_open(domo)
    assert requests_for(domo, r".*/commit$") == []
    assert stored(domo, dataset) == tuples(OLD)
