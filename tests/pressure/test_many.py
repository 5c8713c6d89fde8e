"""Many loads at once."""

import anyio

from domokit import DomoDataset

from .helpers import SCHEMA, nothing_open, parts_sent, stored, tuples

DATASETS = 100


async def test_a_hundred_datasets_at_once(domo, auth):
    """Each has several parts, and gets its own rows and no others."""
    loads = {}

    async def load(number):
        rows = [{"n": 1000 * number + row, "text": f'"{number}",\n☃ {row}'} for row in range(60)]
        made = await DomoDataset.create(auth, f"Number {number}", rows, schema=SCHEMA, part_bytes=400)
        loads[number] = made, rows

    async def read(made, rows):
        assert (await made.read().to_arrow()).to_pylist() == rows

    async with anyio.create_task_group() as group:
        for number in range(DATASETS):
            group.start_soon(load, number)
    assert len(parts_sent(domo)) >= 2 * DATASETS
    for made, rows in loads.values():
        assert stored(domo, made) == tuples(rows)
    async with anyio.create_task_group() as group:
        for made, rows in loads.values():
            group.start_soon(read, made, rows)
    assert nothing_open(domo)
