"""Streams on the sandbox, over both API families: made, found, scheduled, run by hand."""

import pytest

from domokit import DomoDataset, DomoStream, dry_run, errors

from .helpers import body_of, product_wire, query_of, sent

SCHEMA = {"a": "LONG", "b": "STRING"}


@pytest.fixture
async def stream(anyone):
    return await DomoStream.create(anyone, "Fed", schema=SCHEMA)


def rows_in(sandbox, stream):
    return sandbox.dataset_rows(stream.dataset_id)


# -- made and found


async def test_made_with_a_dataset(anyone, domo_sandbox):
    made = await DomoStream.create(
        anyone, "Fed", schema=SCHEMA, description="d", update_method="UPSERT", key_columns=["a"]
    )
    stored = domo_sandbox.state.streams[made.id]
    assert (stored.update_method, stored.key_columns) == ("UPSERT", ["a"])
    assert (made.dataset_id, made.update_method) == (stored.dataset_id, "UPSERT")
    dataset = await made.get_dataset()
    assert (dataset.name, dataset.description) == ("Fed", "d")
    assert (await dataset.get_schema()).names == ["a", "b"]
    await dataset.upsert([{"a": 1, "b": "x"}])
    await dataset.upsert([{"a": 1, "b": "y"}])
    assert rows_in(domo_sandbox, made) == [(1, "y")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": None}, "needs a name"),
        ({"name": " "}, "needs a name"),
        ({"schema": {}}, "at least one column"),
        ({"schema": 5}, "cannot be made of int"),
        ({"update_method": "append"}, "update_method cannot be 'append'"),
        ({"update_method": "UPSERT"}, "needs key_columns"),
        ({"update_method": "DELETE"}, "needs key_columns"),
        ({"key_columns": "a"}, "key_columns is a list"),
        ({"key_columns": ["c"]}, "there is no column 'c'"),
    ],
)
async def test_what_is_refused(anyone, domo_sandbox, given, said):
    arguments = {"name": "x", "schema": SCHEMA, **given}
    with pytest.raises(errors.InvalidInputError, match=said):
        await DomoStream.create(anyone, arguments.pop("name"), **arguments)
    assert sent(domo_sandbox) == []


async def test_by_the_owner(anyone, domo_sandbox, stream):
    other = await DomoStream.create(anyone, "Other", schema=SCHEMA)
    friend = domo_sandbox.add_user("Fri End", "friend@example.com")
    domo_sandbox.state.datasets[other.dataset_id].owner_id = friend.id
    assert await DomoStream.search(anyone, owner=friend.id) == [other]
    assert stream in await DomoStream.search(anyone, owner=domo_sandbox.admin.id)
    assert await DomoStream.search(anyone, owner=1) == []


async def test_by_the_name_of_the_dataset(admin, oauth, domo_sandbox):
    fed = await DomoStream.create(admin, "Fed (daily)", schema=SCHEMA)
    await DomoStream.create(admin, "Other", schema=SCHEMA)
    assert await DomoStream.search(admin, dataset_name="Fed (daily)") == [fed]
    assert await DomoStream.search(admin, dataset_name="*dai*") == [fed]
    assert await DomoStream.search(admin, dataset_name="Fed") == []
    with pytest.raises(errors.UnsupportedByAuth):
        DomoStream.search(oauth, dataset_name="Fed")
    for given in ({}, {"owner": 1, "dataset_name": "x"}):
        with pytest.raises(errors.InvalidInputError, match="one of the two"):
            DomoStream.search(admin, **given)


# -- when it runs


async def test_a_schedule(admin, domo_sandbox):
    made = await DomoStream.create(admin, "Fed", schema=SCHEMA)
    assert made.schedule_details == {"type": "MANUAL", "timezone": "UTC"}
    daily = {"type": "DAY", "at": "08:01 PM", "timezone": "UTC"}
    assert (await made.set_schedule(daily)).schedule_details == daily
    assert (await made.set_schedule_state("ACTIVE")).schedule_state == "ACTIVE"
    # An update of something else leaves both as they are.
    await made.update(update_method="APPEND")
    assert (made.schedule_details, made.schedule_state, made.update_method) == (daily, "ACTIVE", "APPEND")
    assert (await made.set_schedule_state("INACTIVE")).schedule_state == "INACTIVE"


async def test_wrong_schedules(admin, oauth, domo_sandbox):
    made = await DomoStream.create(admin, "Fed", schema=SCHEMA)
    before = len(domo_sandbox.requests)
    for call in (made.set_schedule("DAY"), made.set_schedule({"at": "8"}), made.set_schedule_state("paused")):
        with pytest.raises(errors.InvalidInputError):
            await call
    assert len(domo_sandbox.requests) == before
    other = await DomoStream.get_by_id(oauth, made.id)
    for call in (other.set_schedule({"type": "MANUAL"}), other.set_schedule_state("ACTIVE")):
        with pytest.raises(errors.UnsupportedByAuth):
            await call


# -- executions


async def test_parts_by_hand(anyone, domo_sandbox, stream):
    execution = await stream.run()
    await execution.upload_part(2, b"2,y\n")
    await execution.upload_part(1, b"9,wrong\n")
    await execution.upload_part(1, b"1,x\n")
    assert execution.parts_sent == 3
    assert rows_in(domo_sandbox, stream) == []
    assert await execution.commit() is execution
    assert rows_in(domo_sandbox, stream) == [(1, "x"), (2, "y")]
    assert (await execution.refresh()).state == "SUCCESS"


async def test_several_uploads_become_visible_together(admin, domo_sandbox):
    stream = await DomoStream.create(admin, "Fed", schema=SCHEMA)
    execution = await stream.run()
    for month in ("2026-01", "2026-02"):
        upload = await execution.start_upload()
        await upload.upload_part(1, f"{month[-1]},{month}\n".encode())
        await upload.commit(update_method="REPLACE", partition=month)
    assert rows_in(domo_sandbox, stream) == []
    await execution.commit()
    assert rows_in(domo_sandbox, stream) == [(1, "2026-01"), (2, "2026-02")]
    partitions = await (await stream.get_dataset()).get_partitions()
    assert {one.name for one in partitions} == {"2026-01", "2026-02"}
    home = f"/api/data/v1/streams/{stream.id}/executions/{execution.id}/upload/{upload.id}"
    asked = [(one.method, one.path, one.query) for one in domo_sandbox.requests if one.path.startswith(home)]
    assert asked == [
        ("PUT", f"{home}/part/1", {}),
        ("PUT", f"{home}/commit", {"updateMethod": "REPLACE", "dataTag": "2026-02"}),
    ]
    before = len(domo_sandbox.requests)
    for call in (upload.upload_part(0, b""), upload.upload_part(1, "text"), upload.commit(update_method="replace")):
        with pytest.raises(errors.InvalidInputError):
            await call
    assert len(domo_sandbox.requests) == before


async def test_several_uploads_are_of_the_product_api(oauth):
    execution = await (await DomoStream.create(oauth, "Fed", schema=SCHEMA)).run()
    with pytest.raises(errors.UnsupportedByAuth):
        await execution.start_upload()


async def test_rows_are_deleted_by_their_key(anyone, domo_sandbox):
    made = await DomoStream.create(anyone, "Fed", schema=SCHEMA, update_method="DELETE", key_columns=["a"])
    await (await made.get_dataset()).replace([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    execution = await made.run()
    await execution.upload_part(1, b"2,\n")
    await execution.commit()
    assert rows_in(domo_sandbox, made) == [(1, "x")]


async def test_a_commit_without_parts_does_not_empty_a_dataset(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Fed", [{"a": 1}], key=["a"])
    stream = await (await made.get_stream()).update(update_method="REPLACE")
    execution = await stream.run()
    before = len(domo_sandbox.requests)
    with pytest.raises(errors.InvalidInputError, match=r"would empty the DataSet.*upload_part.*even_if_empty=True"):
        await execution.commit()
    assert len(domo_sandbox.requests) == before
    assert domo_sandbox.dataset_rows(made.id) == [(1,)]
    await execution.commit(even_if_empty=True)
    assert domo_sandbox.dataset_rows(made.id) == []
    await stream.update(update_method="APPEND")
    await (await stream.run()).commit()  # adds nothing, and takes nothing away


async def test_the_platform_refuses_a_commit_without_parts(oauth):
    made = await DomoStream.create(oauth, "Fed", schema=SCHEMA)
    with pytest.raises(errors.BadRequestError, match="no parts"):
        await (await made.run()).commit()


@pytest.mark.parametrize(("part", "rows"), [(0, b"1,x\n"), (-1, b""), (True, b""), ("1", b""), (1, "1,x\n"), (1, None)])
async def test_what_is_no_part(stream, domo_sandbox, part, rows):
    execution = await stream.run()
    before = len(domo_sandbox.requests)
    with pytest.raises(errors.InvalidInputError):
        await execution.upload_part(part, rows)
    assert len(domo_sandbox.requests) == before


async def test_one_that_runs_is_aborted(anyone, domo_sandbox, stream):
    first = await stream.run()
    await first.upload_part(1, b"1,x\n")
    second = await stream.run(abort_running=True)
    assert ((await first.refresh()).state, second.state) == ("ERROR", "ACTIVE")
    await stream.abort_running()
    assert (await second.refresh()).state == "ERROR"
    await stream.abort_running()  # nothing runs
    assert rows_in(domo_sandbox, stream) == []


async def test_one_at_a_time_on_the_product_api(admin):
    made = await DomoStream.create(admin, "Fed", schema=SCHEMA)
    await made.run()
    with pytest.raises(errors.ConflictError):
        await made.run()


async def test_aborting_what_is_not_there_is_an_error(admin, domo_sandbox):
    made = await DomoStream.create(admin, "Fed", schema=SCHEMA)
    await made.delete()
    with pytest.raises(errors.NotFoundError):
        await made.abort_running()


async def test_a_dry_run_sends_nothing(anyone, domo_sandbox, stream):
    execution = await stream.run()
    before = len(domo_sandbox.requests)
    with dry_run():
        for call in (
            DomoStream.create(anyone, "x", schema=SCHEMA),
            stream.abort_running(),
            stream.run(abort_running=True),
            execution.upload_part(1, b"1,x\n"),
        ):
            with pytest.raises(errors.DryRunRefused):
                await call
    assert len(domo_sandbox.requests) == before
    assert execution.parts_sent == 0


async def test_deleted_twice(stream):
    await stream.delete()
    await stream.delete(missing_ok=True)
    with pytest.raises(errors.NotFoundError):
        await stream.delete()


async def test_a_compressed_part():
    async with product_wire() as (wire, auth):
        wire.post("/api/data/v1/streams/42/executions").respond(json={"executionId": 7, "updateMethod": "APPEND"})
        part = wire.put("/api/data/v1/streams/42/executions/7/part/1").respond(json={"executionId": 7})
        execution = await DomoStream.from_json(auth, {"id": 42}).run()
        await execution.upload_part(1, b"\x1f\x8b", is_gzip=True)
    request = part.calls.last.request
    assert (request.headers["content-type"], request.headers["content-encoding"]) == ("text/csv", "gzip")


async def test_what_a_search_and_a_schedule_send():
    async with product_wire() as (wire, auth):
        found = wire.get("/api/data/v1/streams/search").respond(json=[{"id": 42}])
        await DomoStream.search(auth, dataset_name="Fed*")
        assert query_of(found) == {"q": "dataSource.name:Fed*", "fields": "all"}
        schedule = wire.put("/api/data/v1/streams/42/schedule").respond(200)
        wire.get("/api/data/v1/streams/42").respond(json={"id": 42, "advancedScheduleJson": "no JSON"})
        stream = await DomoStream.from_json(auth, {"id": 42}).set_schedule({"type": "MANUAL"})
        assert body_of(schedule) == '{"type": "MANUAL"}'
        assert stream.schedule_details is None
