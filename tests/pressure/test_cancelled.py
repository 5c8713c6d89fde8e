"""Loads that are cancelled at any instant: nothing is left open, and the rows are the old ones or the new ones."""

import random
import time

import anyio

from .helpers import NEW, OLD, nothing_open, stored, tuples, until, with_old_rows

ROUNDS = 40
ROWS = NEW[:40]
SMALL = {"part_bytes": 1200, "workers": 2}  # three parts, or four


async def test_cancelled_at_any_instant(domo, auth):
    rng = random.Random(11)
    dataset = await with_old_rows(auth)
    began = time.monotonic()
    await dataset.append(ROWS, **SMALL)
    usual = time.monotonic() - began
    landed = 0
    for number in range(ROUNDS):
        before = stored(domo, dataset)
        rows = [{**row, "n": number * 1000 + row["n"]} for row in ROWS]
        with anyio.move_on_after(usual * rng.random() * 1.3):
            await dataset.replace(rows, **SMALL)
        await until(lambda: nothing_open(domo))
        after = stored(domo, dataset)
        assert after in (before, tuples(rows)), number
        landed += after != before
        usual *= 1.1 if after == before else 0.9  # so that some end before their time, and some do not
    assert 0 < landed < ROUNDS  # or the instants were not spread over the whole of a load
    result = await dataset.replace(OLD)
    await result.wait_indexed(timeout=60)
    assert stored(domo, dataset) == tuples(OLD)
    assert nothing_open(domo)


async def test_cancelled_at_each_request(domo, auth):
    """While Domo has it in hand, one request after the other."""
    dataset = await with_old_rows(auth)
    domo.requests.clear()
    await dataset.append([], evolve_schema="add", **SMALL)
    for place in range(60):
        before, columns = stored(domo, dataset), await dataset.get_schema()
        rows = [{"n": number, "text": "cancelled", f"more_{place}": place} for number in range(40)]
        seen = []
        with anyio.CancelScope() as scope:

            async def stop(scope=scope):
                scope.cancel()

            token = anyio.lowlevel.current_token()

            def watch(phase, record, place=place, token=token, stop=stop, seen=seen):
                if phase == "received" and not record.path.endswith("/abort"):
                    seen.append(record.path)
                    if len(seen) == place + 1:
                        anyio.from_thread.run(stop, token=token)

            unsubscribe = domo.watch(watch)
            result = await dataset.replace(rows, evolve_schema="replace", part_bytes=200, workers=1)
        unsubscribe()
        await until(lambda: nothing_open(domo))
        after, now = stored(domo, dataset), await dataset.get_schema()
        if not scope.cancelled_caught:
            assert place >= 6
            await result.wait_indexed(timeout=60)
            assert stored(domo, dataset) == tuples(rows)
            return
        assert (after, now.names) in ((before, columns.names), (tuples(rows), list(rows[0]))), seen[-1]
    raise AssertionError("a load asks for less")
