"""DataSets on the sandbox, over both API families: what they are, and their rows in and out."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import anyio
import httpx
import pytest

from domokit import Column, DomoDataset, DomoGroup, DomoStream, DomoUser, Schema, dry_run, entity, errors
from domokit.testing import oauth_client_auth, session_auth

from .helpers import platform_wire, product_wire

SCHEMA = {"order_id": "STRING", "qty": "LONG", "price": "DECIMAL", "share": "DOUBLE", "day": "DATE", "at": "DATETIME"}
ROWS = [
    {
        "order_id": "0017",
        "qty": 3,
        "price": Decimal("9.50"),
        "share": 0.1,
        "day": date(2026, 1, 2),
        "at": datetime(2026, 1, 2, 3, 4, 5),
    },
    {"order_id": 'a "b",\nc', "qty": None, "price": Decimal("-0.0001"), "share": 1e300, "day": None, "at": None},
    {"order_id": "", "qty": -(2**63), "price": None, "share": None, "day": date(1, 1, 1), "at": None},
    {"order_id": None, "qty": 2**63 - 1, "price": Decimal(0), "share": -0.0, "day": date(9999, 12, 31), "at": None},
]


@pytest.fixture
async def orders(anyone):
    return await DomoDataset.create(anyone, "Orders of today", ROWS, schema=SCHEMA, description="daily")


def rows_in(sandbox, dataset):
    return sandbox.dataset_rows(dataset.id)


def open_uploads(sandbox):
    return [one for one in sandbox.state.uploads.values() if one.state == "open"]


def running(sandbox):
    return [one for one in sandbox.state.executions.values() if one.state == "ACTIVE" and one.phase != "INDEX"]


# -- what they are


async def test_listings(anyone, domo_sandbox):
    listed = await DomoDataset.get_all(anyone)
    stored = domo_sandbox.state.datasets
    assert [one.name for one in listed] == sorted((one.name for one in stored.values()), key=str.lower)
    seeded = next(one for one in stored.values() if one.name == "Orders")
    dataset = await DomoDataset.get_by_id(anyone, seeded.id)
    assert (dataset.id, dataset.rows, dataset.columns) == (seeded.id, 250, 2)
    assert await dataset.get_schema() == Schema.of({"order_id": "STRING", "qty": "LONG"})
    assert (dataset.description, dataset.is_pdp_enabled) == ("Orders, refreshed daily", False)
    assert dataset.owner_id == seeded.owner_id
    assert int(dataset.created_at.timestamp() * 1000) == seeded.created
    assert [one.name for one in await DomoDataset.search(anyone, name_contains="ORD")] == ["Orders"]
    assert await DomoDataset.search(anyone, name_contains="nothing like it") == []
    assert (await DomoDataset.get_by_name(anyone, "Orders")).id == seeded.id
    with pytest.raises(errors.NotFoundError, match="Check the name") as none:
        await DomoDataset.get_by_name(anyone, "orders")
    assert "Check the id" not in str(none.value)
    with pytest.raises(errors.NotFoundError):
        await DomoDataset.get_by_id(anyone, "00000000-0000-4000-8000-000000000000")


async def test_of_several_of_one_name_none_is_guessed(anyone, domo_sandbox):
    twins = [await DomoDataset.create(anyone, name, [{"a": 1}]) for name in ("Twins", "Others")]
    domo_sandbox.state.datasets[twins[1].id].name = "Twins"
    for call in (DomoDataset.get_by_name(anyone, "Twins"), DomoDataset.upsert(anyone, "Twins", [{"a": 2}])):
        with pytest.raises(errors.ConflictError, match="2 DataSets are named 'Twins'") as several:
            await call
        assert all(one.id in str(several.value) for one in twins)
    assert [rows_in(domo_sandbox, one) for one in twins] == [[(1,)], [(1,)]]


async def test_made_with_a_schema_alone(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Empty", schema=[Column("a", "STRING"), {"name": "b", "type": "long"}])
    assert domo_sandbox.state.datasets[made.id].columns == [
        {"type": "STRING", "name": "a"},
        {"type": "LONG", "name": "b"},
    ]
    assert await made.get_schema() == Schema.of({"a": "STRING", "b": "LONG"})
    assert (await made.set_schema({"a": "STRING", "c": "DATE"})).names == ["a", "c"]
    assert [one["name"] for one in domo_sandbox.state.datasets[made.id].columns] == ["a", "c"]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, "at least one column"),
        ({"a": "BOOLEAN"}, "cannot be 'BOOLEAN'"),
        ({"a": "LONG", "A": "LONG"}, "does not tell upper from lower"),
        ([{"name": "a"}], "is no column"),
        ({" ": "LONG"}, "no name"),
        (Schema({"a": "BOOLEAN"}), "cannot be 'BOOLEAN'"),
        ({"a": int}, "are texts"),
        ("a LONG", "cannot be made of str"),
        (5, "cannot be made of int"),
        (None, "pass data, or schema="),
    ],
)
async def test_a_schema_that_domo_would_not_take_is_refused(anyone, domo_sandbox, schema, said):
    before = len(domo_sandbox.requests)
    with pytest.raises(errors.InvalidInputError, match=said):
        await DomoDataset.create(anyone, "x", schema=schema)
    assert len(domo_sandbox.requests) == before


async def test_renamed_and_deleted(anyone, domo_sandbox, orders):
    assert (await orders.update(name="Orders", description="hourly")).name == "Orders"
    stored = domo_sandbox.state.datasets[orders.id]
    assert (stored.name, stored.description) == ("Orders", "hourly")
    with pytest.raises(errors.InvalidInputError):
        await orders.update(name=" ")
    await orders.delete()
    assert orders.is_deleted
    assert orders.id not in {one.id for one in await DomoDataset.get_all(anyone)}


async def test_a_deletion_is_taken_back(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Kept", [{"a": 1}])
    await made.delete()
    assert (await DomoDataset.get_by_id(admin, made.id)).is_deleted
    assert (await made.restore()).is_deleted is None
    assert await made.read().to_dicts() == [{"a": 1}]
    await made.delete(for_good=True)
    with pytest.raises(errors.NotFoundError):
        await made.refresh()


async def test_a_deletion_is_taken_back_for_whose_it_was_or_for_another(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Kept", schema={"a": "LONG"})
    stored = domo_sandbox.state.datasets[made.id]
    one, other = (domo_sandbox.add_user(name, f"{name}@example.com") for name in ("one", "other"))
    team = domo_sandbox.add_group("Team", [one.id])

    async def restored(**given):
        await made.delete()
        domo_sandbox.requests.clear()
        await made.restore(**given)
        asked = [each for each in domo_sandbox.requests if each.method == "POST"]
        assert [each.path for each in asked] == ["/api/data/v3/datasources/restore"]
        assert asked[0].json["datasets"][0]["datasetId"] == made.id
        assert not stored.deleted
        return asked[0].json["datasets"][0]["newOwnerId"]

    await DomoDataset.set_owner_many(admin, [made], user=one.id)  # the object at hand does not know
    assert await restored() == str(one.id)
    assert (stored.owner_id, made.owner_id) == (one.id, one.id)
    assert await restored(owner=await DomoUser.get_by_id(admin, other.id)) == str(other.id)
    assert (stored.owner_id, made.owner_id) == (other.id, other.id)
    await made.set_owner(group=team.id)
    assert await restored() == str(domo_sandbox.admin.id)
    assert (stored.owner_type, stored.owner_id) == ("GROUP", team.id)
    assert (made.owner_kind, made.owner_id) == ("GROUP", team.id)
    await made.delete()
    with pytest.raises(errors.InvalidInputError, match="owner"):
        await made.restore(owner=await DomoGroup.get_by_id(admin, team.id))
    with pytest.raises(errors.BadRequestError):
        await made.restore(owner=5)
    assert stored.deleted


async def test_tags(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Tagged", schema={"a": "LONG"})
    await made.set_tags(["sales", "daily", "sales"])
    assert domo_sandbox.state.datasets[made.id].tags == ["sales", "daily"]
    assert (await made.refresh()).tags == ["sales", "daily"]
    await made.set_tags([])
    assert (await made.refresh()).tags == []
    for bad in ("sales", b"sales", None):
        with pytest.raises(errors.InvalidInputError, match="tags is a list"):
            await made.set_tags(bad)


async def test_access(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Shared", schema={"a": "LONG"})
    friend, team = domo_sandbox.add_user("Fay", "fay@example.com"), domo_sandbox.add_group("Team")
    await made.share(users=[friend.id], groups=[team.id], level="CAN_EDIT")
    found = {(one.kind, one.id): one.level for one in await made.get_access()}
    assert found == {
        ("USER", domo_sandbox.admin.id): "OWNER",
        ("USER", friend.id): "CAN_EDIT",
        ("GROUP", team.id): "CAN_EDIT",
    }
    await made.unshare(users=[friend.id])
    assert ("USER", friend.id) not in {(one.kind, one.id) for one in await made.get_access()}
    assert await made.get_my_level() == "OWNER"
    assert (await made.set_owner(user=friend.id)).owner_id == friend.id
    for bad in ({"users": []}, {"users": [1], "level": "OWNER"}):
        with pytest.raises(errors.InvalidInputError):
            await made.share(**bad)
    with pytest.raises(errors.InvalidInputError):
        await made.set_owner()


async def test_one_person_is_a_list_of_one_and_a_text_is_none(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Shared", schema={"a": "LONG"})
    friend = await DomoUser.get_by_id(admin, domo_sandbox.add_user("Fay", "fay@example.com").id)
    await made.share(users=friend)
    assert domo_sandbox.state.datasets[made.id].shares[f"USER:{friend.id}"] == "CAN_VIEW"
    before = len(domo_sandbox.requests)
    for bad in ({"users": str(friend.id)}, {"groups": [friend]}, {"users": made}, {"users": [friend, None]}):
        for call in (made.share, made.unshare):
            with pytest.raises(errors.InvalidInputError, match=next(iter(bad))):
                await call(**bad)
    with pytest.raises(errors.InvalidInputError, match="version_ids is a list"):
        await made.delete_versions("12")
    with pytest.raises(errors.InvalidInputError, match="ids is a list"):
        await DomoDataset.get_many(admin, made.id)
    assert len(domo_sandbox.requests) == before
    await made.unshare(users=friend.id)
    assert len(await made.get_access()) == 1


async def test_what_only_the_product_api_has_says_so(oauth, domo_sandbox):
    made = await DomoDataset.create(oauth, "x", [{"a": 1}])
    before = len(domo_sandbox.requests)
    for call in (
        made.set_tags(["a"]),
        made.get_access(),
        made.share(users=[1]),
        made.replace_partition("p", [{"a": 1}]),
        made.get_versions(),
        made.restore(),
    ):
        with pytest.raises(errors.UnsupportedByAuth, match="SessionAuth or AccessTokenAuth"):
            await call
    assert len(domo_sandbox.requests) == before


async def test_a_subclass_comes_back_as_itself(anyone):
    @entity
    class Ours(DomoDataset):
        pass

    made = await Ours.create(anyone, "Ours", [{"a": 1}])
    assert type(made) is Ours
    assert type(await Ours.get_by_name(anyone, "Ours")) is Ours
    assert type(await Ours.upsert(anyone, "Ours", [{"a": 2}])) is Ours


# -- rows in


async def test_the_rows_are_what_they_were(domo_sandbox, orders):
    assert rows_in(domo_sandbox, orders) == [tuple(row.values()) for row in ROWS]
    table = await orders.to_arrow()
    assert table.schema.names == list(SCHEMA)
    expected = [{**row, "share": None if row["share"] is None else row["share"]} for row in ROWS]
    assert table.to_pylist() == expected
    assert (orders.rows, orders.columns) == (4, 6)


async def test_replace_append_and_zero_rows(domo_sandbox, orders):
    result = await orders.append(ROWS[:1])
    assert (result.rows, result.parts, result.dataset_id) == (1, 1, orders.id)
    await result.wait_indexed()
    assert len(rows_in(domo_sandbox, orders)) == 5
    result = await orders.replace(ROWS[1:3])
    await result.wait_indexed()
    assert [row[0] for row in rows_in(domo_sandbox, orders)] == ['a "b",\nc', ""]
    result = await orders.append([])
    await result.wait_indexed()
    assert len(rows_in(domo_sandbox, orders)) == 2
    result = await orders.replace([])
    await result.wait_indexed()
    assert rows_in(domo_sandbox, orders) == []
    assert (await orders.to_arrow()).num_rows == 0
    assert (await orders.refresh()).rows == 0


async def test_upsert_by_key(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Keyed", [{"k": "a", "v": 1}, {"k": "b", "v": 2}], key=["k"])
    result = await made.upsert([{"k": "b", "v": 20}, {"k": "c", "v": 30}, {"k": "c", "v": 31}])
    await result.wait_indexed()
    assert sorted(rows_in(domo_sandbox, made)) == [("a", 1), ("b", 20), ("c", 31)]
    result = await made.upsert([{"k": "z", "v": 20}], key=["v"])
    await result.wait_indexed()
    assert sorted(rows_in(domo_sandbox, made)) == [("a", 1), ("c", 31), ("z", 20)]
    stream = await made.get_stream()
    assert (stream.update_method, stream.key_columns, stream.dataset_id) == ("UPSERT", ["v"], made.id)
    for key, said in (([], "list of column names"), ("k", "list of column names"), (["x"], "no column 'x'")):
        with pytest.raises(errors.InvalidInputError, match=said):
            await made.upsert([{"k": "z", "v": 20}], key=key)


async def test_upsert_without_a_stream_or_a_key_is_refused(admin, oauth):
    plain = await DomoDataset.create(admin, "Plain", [{"k": 1}])
    with pytest.raises(errors.InvalidInputError, match="no stream"):
        await plain.upsert([{"k": 1}], key=["k"])
    streamed = await DomoDataset.create(oauth, "Streamed", [{"k": 1}])
    with pytest.raises(errors.InvalidInputError, match="no key yet"):
        await streamed.upsert([{"k": 1}])
    await streamed.upsert([{"k": 1}, {"k": 2}], key=["k"])


async def test_upsert_by_name(anyone, domo_sandbox):
    made = await DomoDataset.upsert(anyone, "Named", [{"a": 1}], description="one")
    same = await DomoDataset.upsert(anyone, "Named", [{"a": 2}], description="two")
    assert same.id == made.id
    assert same.description == "two"
    assert rows_in(domo_sandbox, same) == [(2,)]
    again = await DomoDataset.upsert(anyone, "Named", schema={"a": "LONG", "b": "DATE"})
    assert (await again.get_schema()).names == ["a", "b"]
    assert rows_in(domo_sandbox, again) == [(2,)]
    assert again.description == "two"


async def test_upsert_by_name_honours_the_key_or_refuses_it(anyone, domo_sandbox):
    rows = [{"k": "a", "v": 1}, {"k": "b", "v": 2}]
    made = await DomoDataset.upsert(anyone, "Keyed", rows, key=["k"])
    before = len(domo_sandbox.requests)
    await DomoDataset.upsert(anyone, "Keyed", rows, key=["k"])
    sent = {(one.method, one.path.rpartition("/")[0]) for one in list(domo_sandbox.requests)[before:]}
    assert not sent & {("PATCH", "/v1/streams"), ("PUT", "/api/data/v1/streams")}  # it has that key
    assert (await made.get_stream()).key_columns == ["k"]
    await DomoDataset.upsert(anyone, "Keyed", rows, key=["v"])
    stream = await made.get_stream()
    assert (stream.key_columns, stream.update_method) == (["v"], "UPSERT")
    for key, said in (([], "key is a list"), (["x"], r"no column 'x' among \['k', 'v'\]"), ("k", "key is a list")):
        with pytest.raises(errors.InvalidInputError, match=said):
            await DomoDataset.upsert(anyone, "Keyed", [], key=key, description="not set")
    await stream.delete()
    with pytest.raises(errors.InvalidInputError, match="has no stream"):
        await DomoDataset.upsert(anyone, "Keyed", [], key=["v"], description="not set")
    assert len(rows_in(domo_sandbox, made)) == 2
    assert not (await made.refresh()).description


async def test_upsert_by_name_is_done_whole_or_not_at_all(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Whole", [{"a": 1}], description="one")
    wider = {"a": "LONG", "b": "DATE"}
    bad = [{"a": 1, "b": date(2026, 1, 2)}, {"a": "x", "b": None}]
    with pytest.raises(errors.InvalidDataError):
        await DomoDataset.upsert(anyone, "Whole", bad, schema=wider, description="two")
    with pytest.raises(errors.SchemaMismatchError):
        await DomoDataset.upsert(anyone, "Whole", [{"c": 1}], schema=wider, description="two")
    domo_sandbox.misbehave("status", status=403, path=".*/parts?/")
    with pytest.raises(errors.UploadError):
        await DomoDataset.upsert(anyone, "Whole", bad[:1], schema=wider, description="two")
    with anyio.move_on_after(0.3) as scope:
        stuck = domo_sandbox.misbehave("latency", seconds=60, path=".*/parts?/")
        await DomoDataset.upsert(anyone, "Whole", bad[:1], schema=wider, description="two")
    assert scope.cancelled_caught
    assert stuck.hits
    assert (await made.get_schema()).names == ["a"]
    assert (await made.refresh()).description == "one"
    assert rows_in(domo_sandbox, made) == [(1,)]
    await DomoDataset.upsert(anyone, "Whole", bad[:1], schema=wider, description="two")
    assert (await made.get_schema()).names == ["a", "b"]
    assert rows_in(domo_sandbox, made) == [(1, date(2026, 1, 2))]


async def test_partitions(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Parted", schema={"month": "STRING", "qty": "LONG"})
    for month, qty in (("2026-01", 1), ("2026-02", 2), ("2026-01", 3)):
        result = await made.replace_partition(month, [{"month": month, "qty": qty}])
        await result.wait_indexed()
    assert sorted(rows_in(domo_sandbox, made)) == [("2026-01", 3), ("2026-02", 2)]
    listed = await made.get_partitions()
    assert [(one.name, one.rows) for one in listed] == [("2026-01", 1), ("2026-02", 1)]
    assert listed[0].completed_at.tzinfo is not None
    await made.delete_partition("2026-01")
    assert [one.name for one in await made.get_partitions()] == ["2026-02"]
    assert rows_in(domo_sandbox, made) == [("2026-02", 2)]
    with pytest.raises(errors.InvalidInputError):
        await made.replace_partition(" ", [])


async def test_versions(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Versions", [{"a": 1}])
    await made.append([{"a": 2}, {"a": 3}])
    first, second = await made.get_versions()
    assert (first.rows, second.rows, second.status) == (1, 2, "SUCCESS")
    await made.delete_versions([second.id])
    assert rows_in(domo_sandbox, made) == [(1,)]


async def test_rows_show_when_they_are_indexed(anyone, domo_sandbox):
    domo_sandbox.indexing_seconds = 60
    made = await DomoDataset.create(anyone, "Later", [{"a": 1}])
    assert rows_in(domo_sandbox, made) == []
    domo_sandbox.clock.advance(60)
    assert rows_in(domo_sandbox, made) == [(1,)]
    result = await made.append([{"a": 2}])
    with pytest.raises(errors.RequestTimeoutError, match="cannot be queried after"):
        await result.wait_indexed(timeout=0.3)
    domo_sandbox.clock.advance(60)
    await result.wait_indexed()
    assert rows_in(domo_sandbox, made) == [(1,), (2,)]


# -- what crosses the wire


async def test_what_a_load_sends_on_the_product_api(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "Wire", schema={"a": "LONG", "b": "STRING"})
    domo_sandbox.requests.clear()
    result = await made.append([{"a": n, "b": "x" * 80} for n in range(100)], part_bytes=3000, workers=1)
    sent = [(one.method, one.path) for one in domo_sandbox.requests]
    home = f"/api/data/v3/datasources/{made.id}"
    upload = f"{home}/uploads/{result.upload_id}"
    assert sent == [
        ("GET", f"/api/data/v2/datasources/{made.id}/schemas/latest"),
        ("POST", f"{home}/uploads"),
        *[("PUT", f"{upload}/parts/{number}") for number in range(1, result.parts + 1)],
        ("GET", f"{home}/dataversions/details"),
        ("PUT", f"{upload}/commit"),
        ("GET", f"{home}/dataversions/details"),
    ]
    assert result.parts >= 3
    start, *parts, commit = [one for one in domo_sandbox.requests if one.method != "GET"]
    assert start.json == {"action": None, "appendId": None}
    assert commit.json == {"action": "APPEND", "index": True}
    assert {(one.headers["content-type"], one.headers["content-encoding"]) for one in parts} == {("text/csv", "gzip")}
    text = b"".join(gzip.decompress(one.body) for one in parts).decode()
    assert list(csv.reader(io.StringIO(text))) == [[str(n), "x" * 80] for n in range(100)]
    assert (result.bytes, result.bytes_sent) == (len(text), sum(len(one.body) for one in parts))
    assert result.version_id == domo_sandbox.state.datasets[made.id].versions[-1]


async def test_what_a_load_sends_on_the_platform_api(oauth, domo_sandbox):
    made = await DomoDataset.create(oauth, "Wire", schema={"a": "LONG"})
    domo_sandbox.requests.clear()
    result = await made.replace([{"a": n} for n in range(100)], part_bytes=100, workers=1)
    sent = [(one.method, one.path) for one in domo_sandbox.requests]
    execution = f"/v1/streams/{result.stream_id}/executions/{result.execution_id}"
    assert sent == [
        ("GET", f"/v1/datasets/{made.id}"),
        ("GET", "/v1/streams/search"),
        ("POST", f"/v1/streams/{result.stream_id}/executions"),
        *[("PUT", f"{execution}/part/{number}") for number in range(1, result.parts + 1)],
        ("PUT", f"{execution}/commit"),
    ]
    assert domo_sandbox.requests[1].query["q"] == f"dataSource.id:{made.id}"
    assert domo_sandbox.requests[2].json == {"updateMethod": "REPLACE"}
    assert result.parts >= 3


async def test_a_dataset_without_a_stream_is_loaded_with_one_request(oauth, domo_sandbox):
    stored = next(one for one in domo_sandbox.state.datasets.values() if one.name == "Web visits")
    dataset = await DomoDataset.get_by_id(oauth, stored.id)
    assert len(rows_in(domo_sandbox, dataset)) == stored.rows == 1000
    domo_sandbox.requests.clear()
    rows = [{"order_id": f"{n:03}", "qty": n} for n in range(50)]
    result = await dataset.replace(rows, part_bytes=100)
    assert result.parts > 3
    imports = [one for one in domo_sandbox.requests if one.method == "PUT"]
    assert [(one.path, one.query) for one in imports] == [
        (f"/v1/datasets/{dataset.id}/data", {"updateMethod": "REPLACE"})
    ]
    await result.wait_indexed()
    assert rows_in(domo_sandbox, dataset) == [(row["order_id"], row["qty"]) for row in rows]
    with pytest.raises(errors.InvalidInputError, match="cannot be resumed"):
        await dataset.replace(rows, resume="state.json")


async def test_a_dry_run_loads_nothing(anyone, domo_sandbox, orders):
    before = rows_in(domo_sandbox, orders)
    with dry_run():
        for call in (orders.replace([]), orders.append(ROWS), orders.delete(), orders.set_schema({"a": "LONG"})):
            with pytest.raises(errors.DryRunRefused):
                await call
        assert len(await orders.read().to_dicts()) == 4
        assert await orders.query("SELECT COUNT(*) AS n FROM table").to_dicts() == [{"n": 4}]
    assert rows_in(domo_sandbox, orders) == before


# -- columns that differ


async def test_columns_that_differ_are_refused_with_a_diff(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Columns", [{"a": 1, "b": "x"}])
    before = len(domo_sandbox.state.uploads)
    with pytest.raises(errors.SchemaMismatchError) as caught:
        await made.append([{"a": 1, "c": date(2026, 1, 1)}])
    assert "+ c DATE" in str(caught.value)
    assert "- b STRING" in str(caught.value)
    assert caught.value.diff.added == (Column("c", "DATE"),)
    assert len(domo_sandbox.state.uploads) == before
    assert rows_in(domo_sandbox, made) == [(1, "x")]


async def test_columns_may_be_added(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Columns", [{"a": 1, "b": "x"}])
    result = await made.append([{"c": 5, "a": 2}], evolve_schema="add")
    await result.wait_indexed()
    assert rows_in(domo_sandbox, made) == [(1, "x", None), (2, None, 5)]
    assert (await made.get_schema()).names == ["a", "b", "c"]
    assert await made.read().to_dicts() == [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": None, "c": 5}]


async def test_columns_may_be_replaced(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Columns", [{"a": 1, "b": "x"}])
    result = await made.replace([{"b": date(2026, 1, 1), "z": 1.5}], evolve_schema="replace")
    await result.wait_indexed()
    assert await made.get_schema() == Schema.of({"b": "DATE", "z": "DOUBLE"})
    assert rows_in(domo_sandbox, made) == [(date(2026, 1, 1), 1.5)]
    with pytest.raises(errors.InvalidInputError, match="for replace"):
        await made.append([{"q": 1}], evolve_schema="replace")


async def test_a_load_that_fails_takes_back_what_it_did_to_the_columns(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Columns", [{"a": 1}])
    domo_sandbox.misbehave("status", status=400, times=None, method="PUT", path=r".*/parts?/1$")
    with pytest.raises(errors.UploadError):
        await made.replace([{"a": 1, "b": 2}], evolve_schema="add")
    assert await made.get_schema() == Schema.of({"a": "LONG"})
    assert rows_in(domo_sandbox, made) == [(1,)]
    assert (open_uploads(domo_sandbox), running(domo_sandbox)) == ([], [])


async def test_a_new_dataset_goes_with_the_load_that_fails(anyone, domo_sandbox):
    before = set(domo_sandbox.state.datasets)
    domo_sandbox.misbehave("status", status=400, method="PUT", path=r".*/parts?/1$")
    with pytest.raises(errors.UploadError):
        await DomoDataset.create(anyone, "New", [{"a": 1}])
    with pytest.raises(errors.InvalidDataError):
        await DomoDataset.create(anyone, "New", [{"a": "x"}], schema={"a": "LONG"})
    with pytest.raises(errors.InvalidInputError, match="made twice"):
        await DomoDataset.create(anyone, "New", [{"a": 1}], resume="state.json")
    assert set(domo_sandbox.state.datasets) == before
    assert (open_uploads(domo_sandbox), running(domo_sandbox)) == ([], [])


async def test_the_order_of_columns_does_not_matter(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Order", [{"a": 1, "b": "x"}])
    result = await made.append([{"b": "y", "a": 2}])
    await result.wait_indexed()
    assert rows_in(domo_sandbox, made) == [(1, "x"), (2, "y")]


async def test_a_value_that_does_not_fit_is_told_and_nothing_lands(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Values", [{"a": 1}])
    with pytest.raises(errors.InvalidDataError, match="'a'") as caught:
        await made.append([{"a": "1"}, {"a": "s3cret words"}])
    assert "s3cret" not in str(caught.value)
    assert (open_uploads(domo_sandbox), running(domo_sandbox)) == ([], [])
    assert rows_in(domo_sandbox, made) == [(1,)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"evolve_schema": "all"}, "'add' or 'replace'"),
        ({"part_bytes": 0}, "at least 1"),
        ({"workers": -1}, "at least 1"),
        ({"nonsense": 1}, "unknown option nonsense"),
        ({"time_zone": "Mars/Base"}, "Mars/Base"),
        ({"compression": "zip"}, "zip"),
    ],
)
async def test_bad_options_are_refused(anyone, domo_sandbox, orders, options, said):
    before = len(domo_sandbox.state.uploads)
    with pytest.raises(errors.InvalidInputError, match=said):
        await orders.append(ROWS, **options)
    assert len(domo_sandbox.state.uploads) == before


# -- rows out


async def test_a_query_is_answered_by_domo(domo_sandbox, orders):
    rows = orders.query("SELECT `order_id`, `qty` * 2 AS twice FROM table WHERE `qty` > 0 AND `qty` < 100")
    assert await rows.to_dicts() == [{"order_id": "0017", "twice": 6}]
    assert (await rows.to_arrow()).schema.names == ["order_id", "twice"]
    assert list((await rows.to_pandas())["twice"]) == [6]
    assert (await rows.to_polars())["twice"].to_list() == [6]
    with pytest.raises(errors.BadRequestError):
        await orders.query("SELECT `nothing` FROM table").to_arrow()
    with pytest.raises(errors.InvalidInputError):
        orders.query(" ")


async def test_a_query_of_what_has_no_data_yet_says_so(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Empty", schema={"a": "LONG"})
    with pytest.raises(errors.NoDataError, match=r"no data.*Load rows into it first.*wait_indexed") as caught:
        await made.query("SELECT * FROM table").to_dicts()
    assert caught.value.status == (416 if anyone.family == "product" else 400)
    assert caught.value.domo_message == "The dataset has no data that can be queried"
    assert await made.read().to_dicts() == []
    await (await made.replace([])).wait_indexed()
    assert await made.query("SELECT * FROM table").to_dicts() == []
    with pytest.raises(errors.BadRequestError) as caught:
        await made.query("SELECT `nothing` FROM table").to_dicts()
    assert type(caught.value) is errors.BadRequestError


async def test_types_mean_the_same_for_rows_and_for_answers(anyone):
    float64 = pytest.importorskip("pyarrow").float64()
    made = await DomoDataset.create(anyone, "Large", [{"n": 2**63 - 1}])
    for rows in (made.read(), made.query("SELECT * FROM table")):
        assert (await rows.to_arrow({"n": float64}))["n"].to_pylist() == [float(2**63 - 1)]


async def test_files(orders, tmp_path):
    pyarrow_parquet = pytest.importorskip("pyarrow.parquet")
    assert await orders.to_parquet(tmp_path / "a.parquet") == 4
    assert pyarrow_parquet.read_table(tmp_path / "a.parquet").equals(await orders.to_arrow())
    assert await orders.to_csv(tmp_path / "a.csv") == 4
    text = (tmp_path / "a.csv").read_text()
    assert text.splitlines()[0] == ",".join(SCHEMA)
    assert text.splitlines()[1] == "0017,3,9.5,0.1,2026-01-02,2026-01-02T03:04:05"
    assert await orders.to_csv(tmp_path / "a.csv.gz", header=False) == 4
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).decode() == text.split("\n", 1)[1]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.csv", "a.csv.gz", "a.parquet"]


async def test_a_file_that_was_read_can_be_loaded_again(anyone, domo_sandbox, orders, tmp_path):
    await orders.to_csv(tmp_path / "a.csv")
    result = await orders.replace(tmp_path / "a.csv")
    await result.wait_indexed()
    assert rows_in(domo_sandbox, orders) == [tuple(row.values()) for row in ROWS]


async def test_batches(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Many", [{"a": n} for n in range(5000)], part_bytes=2000)
    seen = []
    async for batch in made.iter_batches():
        seen += batch.column("a").to_pylist()
    assert seen == list(range(5000))
    assert len(domo_sandbox.state.uploads[1].parts) > 5


async def test_times_with_a_zone_are_moved(anyone, domo_sandbox):
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    made = await DomoDataset.create(anyone, "Times", [{"at": noon}])
    assert rows_in(domo_sandbox, made) == [(datetime(2026, 7, 1, 12),)]
    result = await made.append([{"at": noon + timedelta(hours=1)}], time_zone="Europe/Oslo")
    await result.wait_indexed()
    assert rows_in(domo_sandbox, made)[1] == (datetime(2026, 7, 1, 15),)


async def test_nothing_was_ever_loaded(anyone):
    made = await DomoDataset.create(anyone, "Bare", schema={"a": "LONG"})
    table = await made.to_arrow()
    assert (table.num_rows, table.schema.names) == (0, ["a"])


# -- quirks of the wire


async def test_the_id_of_a_new_dataset_may_come_bare():
    async with product_wire() as (wire, auth):
        wire.post("/api/data/v2/datasources").respond(json="a-b-c")
        wire.get("/api/data/v3/datasources/a-b-c").respond(json={"id": "a-b-c", "name": "x", "tags": '["t"]'})
        made = await DomoDataset.create(auth, "x", schema={"a": "LONG"})
        assert (made.id, made.tags) == ("a-b-c", ["t"])
        body = json.loads(wire.calls[0].request.content)
        assert body["schema"] == {"columns": [{"type": "LONG", "name": "a"}]}


async def test_unknown_keys_stay_readable():
    async with platform_wire() as (wire, auth):
        wire.get("/v1/datasets/a-b").respond(json={"id": "a-b", "new": 1, "schema": "odd", "rows": "many"})
        dataset = await DomoDataset.get_by_id(auth, "a-b")
        assert (dataset.raw["new"], dataset.schema, dataset.rows) == (1, None, None)


async def test_an_upload_that_counts_other_rows_is_an_error():
    async with product_wire() as (wire, auth):
        home = "/api/data/v3/datasources/a-b"
        wire.get("/api/data/v2/datasources/a-b/schemas/latest").respond(
            json={"schema": {"columns": [{"name": "a", "type": "LONG"}]}}
        )
        wire.get(f"{home}/dataversions/details").respond(404, json={"message": "nothing yet"})
        wire.post(f"{home}/uploads").respond(json={"uploadId": 17})
        wire.put(f"{home}/uploads/17/parts/1").respond(json={})
        wire.put(f"{home}/uploads/17/commit").respond(json={"size": {"rowCount": 1}})
        with pytest.raises(errors.UploadError, match="2 rows were sent, and Domo counts 1"):
            await DomoDataset.from_json(auth, {"id": "a-b"}).append([{"a": 1}, {"a": 2}])


async def test_streams(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Fed", [{"a": 1}], key=["a"])
    stream = await made.get_stream()
    assert [one.id for one in await DomoStream.get_all(anyone)] == [stream.id]
    assert (await stream.get_dataset()).id == made.id
    assert (await stream.update(update_method="APPEND")).update_method == "APPEND"
    with pytest.raises(errors.InvalidInputError):
        await stream.update(update_method="replace")
    with pytest.raises(errors.InvalidInputError, match="key_columns is a list"):
        await stream.update(update_method="UPSERT", key_columns="a")
    execution = await stream.run()
    assert (execution.state, execution.stream_id) == ("ACTIVE", stream.id)
    assert (await stream.get_execution(execution.id)) == execution
    await execution.abort()
    assert (await execution.refresh()).state == "ERROR"
    listed = await stream.get_executions()
    assert listed[-1] == execution
    await stream.delete()
    with pytest.raises(errors.NotFoundError):
        await made.get_stream()
    assert rows_in(domo_sandbox, made) == [(1,)]


@pytest.mark.parametrize(("make", "anyio_backend"), [(session_auth, "asyncio"), (oauth_client_auth, "trio")])
async def test_a_hundred_at_once(domo_sandbox, make):
    async with make(domo_sandbox) as auth:
        made = []

        async def one(number):
            made.append(await DomoDataset.create(auth, f"N {number}", [{"a": number}, {"a": -number}]))

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(one, number)
        assert sorted(rows_in(domo_sandbox, one) for one in made) == sorted([[(n,), (-n,)] for n in range(100)])
        assert (open_uploads(domo_sandbox), running(domo_sandbox)) == ([], [])


def test_a_schema_shows_itself():
    schema = Schema.of({"a": "long", "b": "STRING"})
    assert repr(schema) == "Schema(a LONG, b STRING)"
    assert "<td>a</td><td>LONG</td>" in schema._repr_html_()
    assert (len(schema), schema[0], schema.names) == (2, Column("a", "LONG"), ["a", "b"])
    columns = [Column("a", "LONG"), Column("b", "STRING")]
    objects = [{"name": "a", "type": "long"}, {"name": "b", "type": "STRING"}]
    for made_of in ({"a": "LONG", "b": "string"}, columns, objects, schema):
        assert Schema(made_of) == Schema(iter(Schema(made_of))) == Schema.of(made_of) == schema
    assert Schema(Column("a", "LONG")) == Schema({"a": "LONG"})
    diff = schema.diff(Schema.of({"b": "DATE", "c": "LONG"}))
    assert str(diff) == "+ c LONG; - a LONG; ~ b STRING -> DATE"
    assert not schema.diff(Schema.of({"b": "STRING", "a": "LONG"}))
    assert schema.diff(Schema.of({"b": "STRING", "a": "LONG"})).is_reordered


async def test_what_has_no_columns_is_not_guessed():
    async with platform_wire() as (wire, auth):
        wire.get("/v1/datasets/a-b").mock(return_value=httpx.Response(200, json={"id": "a-b"}))
        with pytest.raises(errors.NotFoundError, match="no columns"):
            await DomoDataset.from_json(auth, {"id": "a-b"}).to_arrow()
