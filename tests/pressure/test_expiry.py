"""Sessions and bearer tokens that end while rows are on their way: one renewal, and every row once."""

import re

import pytest

from .helpers import COMMIT, NEW, OLD, PART, SMALL, nothing_open, parts_sent, sign_ins, stored, tuples, with_old_rows

DAY = 86_400


def end_all_at(domo, pattern, phase="acted"):
    """All that anyone has signed in with ends when this is asked for."""

    def watch(now, record):
        if now == phase and re.search(pattern, record.path):
            unsubscribe()
            domo.clock.advance(DAY)

    unsubscribe = domo.watch(watch)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("place", [r"/parts?/1$", r"/parts?/3$", r"/(uploads|executions)$"])
async def test_a_token_that_ends_between_parts(domo, auth, place, workers):
    dataset = await with_old_rows(auth)
    domo.requests.clear()
    end_all_at(domo, place)
    result = await dataset.append(NEW, **SMALL | {"workers": workers})
    await result.wait_indexed(timeout=60)
    assert len(sign_ins(domo)) == 1
    assert stored(domo, dataset) == tuples(OLD + NEW)
    taken = [one for one in domo.requests if re.search(PART, one.path) and one.status == 200]
    assert len(taken) == len(set(parts_sent(domo))) == result.parts
    assert nothing_open(domo)


@pytest.mark.parametrize("phase", ["received", "acted"])
async def test_a_token_that_ends_with_the_commit(domo, auth, phase):
    """Refused for its token, a commit was not heard, and is sent again."""
    dataset = await with_old_rows(auth)
    domo.requests.clear()
    end_all_at(domo, COMMIT, phase)
    result = await dataset.append(NEW, **SMALL)
    await result.wait_indexed(timeout=60)
    assert len(sign_ins(domo)) == 1
    assert stored(domo, dataset) == tuples(OLD + NEW)


async def test_a_token_that_ended_before_an_export(domo, auth):
    dataset = await with_old_rows(auth)
    domo.clock.advance(DAY)
    domo.requests.clear()
    assert (await dataset.to_arrow()).to_pylist() == OLD
    assert len(sign_ins(domo)) == 1
    domo.requests.clear()
    end_all_at(domo, "statuses$|/v1/datasets/[^/]+$")  # between the questions before the export, and the export
    assert (await dataset.to_arrow()).to_pylist() == OLD
    assert len(sign_ins(domo)) == 1


async def test_tokens_that_live_shortly(domo, auth):
    """Each lives for less than a load takes, as Domo's clock has it."""
    domo.session_lifetime = domo.oauth_lifetime = 3600
    dataset = await with_old_rows(auth)
    domo.requests.clear()

    def watch(phase, record):
        if phase == "acted" and re.search(PART, record.path) and record.status == 200:
            domo.clock.advance(2000)

    domo.watch(watch)
    result = await dataset.append(NEW, **SMALL | {"workers": 1})
    await result.wait_indexed(timeout=60)
    assert 1 <= len(sign_ins(domo)) <= result.parts
    assert stored(domo, dataset) == tuples(OLD + NEW)
