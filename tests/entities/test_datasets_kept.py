"""What changes of a DataSet keep, what can be repeated after a failure, and what is refused before it is sent."""

import pytest

from domokit import NO_RETRY, DomoDataset, Schema, errors
from domokit.testing import session_auth

from .helpers import body_of, product_wire, sent

SCHEMA = {"month": "STRING", "qty": "LONG"}


@pytest.fixture
async def impatient(domo_sandbox):
    """The administrator, who tries nothing twice."""
    async with session_auth(domo_sandbox, retry=NO_RETRY) as auth:
        yield auth


async def parted(auth):
    made = await DomoDataset.create(auth, "Parted", schema=SCHEMA)
    for qty, month in enumerate(("2026-01", "2026-02")):
        await made.replace_partition(month, [{"month": month, "qty": qty}])
    return made


# -- loads


async def test_rows_without_a_key_are_not_taken_for_one_row(anyone, domo_sandbox):
    keyed = await DomoDataset.create(
        anyone, "Keyed", [{"month": "a", "qty": 1}, {"month": None, "qty": 7}], key=["month"]
    )
    before = domo_sandbox.dataset_rows(keyed.id)
    domo_sandbox.requests.clear()
    for key in (None, ["month"]):
        with pytest.raises(errors.InvalidInputError, match="the data lacks 'month'"):
            await keyed.upsert([{"other": "x", "qty": n} for n in range(9)], key=key, evolve_schema="add")
    assert [method for method, _ in sent(domo_sandbox) if method != "GET"] == []
    await keyed.upsert([{"Month": "a", "qty": 2}])  # names are told apart by their letters alone
    assert sorted(domo_sandbox.dataset_rows(keyed.id), key=str) == sorted([("a", 2), (None, 7)], key=str)
    assert before != domo_sandbox.dataset_rows(keyed.id)


async def test_a_new_key_is_of_the_new_columns(anyone, domo_sandbox):
    keyed = await DomoDataset.create(anyone, "Keyed", [{"a": 1, "b": 1}], key=["a"])
    with pytest.raises(errors.InvalidInputError, match="there is no column 'a'"):
        await DomoDataset.upsert(anyone, "Keyed", [{"b": 5}], key=["a", "b"], evolve_schema="replace")
    assert domo_sandbox.dataset_rows(keyed.id) == [(1, 1)]
    await DomoDataset.upsert(anyone, "Keyed", [{"c": 5}], key=["c"], evolve_schema="replace")
    assert domo_sandbox.dataset_rows(keyed.id) == [(5,)]
    assert (await keyed.get_stream()).key_columns == ["c"]


async def test_what_looks_on_may_stop_a_load_but_not_after_its_commit(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "Watched", [{"qty": 1}])

    def look(progress):
        raise BrokenPipeError("nobody looks any more")

    for load in (made.append, made.replace):
        with pytest.raises(BrokenPipeError):
            await load([{"qty": 2}], progress=look)
    assert domo_sandbox.dataset_rows(made.id) == [(1,)]
    with pytest.raises(BrokenPipeError):
        await DomoDataset.create(anyone, "Second", [{"qty": 2}], progress=look)
    assert [one.name for one in await DomoDataset.search(anyone, name_contains="Second")] == []
    assert [one for one in domo_sandbox.state.uploads.values() if one.state == "open"] == []


@pytest.mark.parametrize("compression", ["gzip", None, 1])
async def test_a_compression_that_is_none_is_refused_before_anything_is_sent(anyone, domo_sandbox, compression):
    with pytest.raises(errors.InvalidInputError, match="compression is 'auto', 'isal' or 'zlib'"):
        await DomoDataset.create(anyone, "New", [{"qty": 1}], compression=compression)
    assert sent(domo_sandbox) == []


# -- partitions


@pytest.mark.parametrize("stage", ["tag/2026", "partition/2026", "indexes"])
async def test_a_partition_is_deleted_by_a_second_call(impatient, domo_sandbox, stage):
    made = await parted(impatient)
    domo_sandbox.misbehave("status", status=503, path=stage)
    with pytest.raises(errors.ServiceUnavailableError):
        await made.delete_partition("2026-01")
    await made.delete_partition("2026-01")
    assert domo_sandbox.dataset_rows(made.id) == [("2026-02", 1)]
    assert [one.name for one in await made.get_partitions()] == ["2026-02"]


@pytest.mark.parametrize("stage", ["tag/2026", "partition/2026", "indexes"])
async def test_a_lost_answer_does_not_end_the_deletion(admin, domo_sandbox, stage):
    """It is sent again, and Domo has nothing left to delete then."""
    made = await parted(admin)
    lost = domo_sandbox.misbehave("reset_after", path=stage)
    await made.delete_partition("2026-01")
    assert lost.hits == 1
    assert domo_sandbox.dataset_rows(made.id) == [("2026-02", 1)]


async def test_whether_there_was_anything_to_delete(admin, domo_sandbox):
    made = await parted(admin)
    assert await made.delete_partition("2026-01") is True
    assert await made.delete_partition("2026-01") is False
    assert await made.delete_partition("none") is False
    assert sent(domo_sandbox)[-1] == ("POST", f"/api/data/v3/datasources/{made.id}/indexes")


@pytest.mark.parametrize("name", ["a b", "ä?#%", "a..b", '"'])
async def test_what_can_be_loaded_can_be_deleted(admin, domo_sandbox, name):
    made = await parted(admin)
    await made.replace_partition(name, [{"month": "x", "qty": 9}])
    assert name in [one.name for one in await made.get_partitions()]
    assert await made.delete_partition(name)
    assert len(domo_sandbox.dataset_rows(made.id)) == 2


@pytest.mark.parametrize("name", ["..", ".", " . ", "", " ", None, 5, "2026/01", "/"])
async def test_names_that_lead_nowhere(admin, domo_sandbox, name):
    made = await DomoDataset.create(admin, "Parted", schema=SCHEMA)
    before = len(domo_sandbox.requests)
    for call in (made.replace_partition(name, [{"month": "x", "qty": 1}]), made.delete_partition(name)):
        with pytest.raises(errors.InvalidInputError, match="a partition"):
            await call
    assert len(domo_sandbox.requests) == before


# -- the schema


async def test_objects_and_views_of_a_schema_are_kept(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "x", schema=SCHEMA)
    extras = {"objects": [{"name": "o"}], "views": [{"name": "v"}]}
    domo_sandbox.state.datasets[made.id].schema_extras = dict(extras)
    await made.set_schema({"month": "STRING"})
    assert domo_sandbox.state.datasets[made.id].schema_extras == extras
    await made.replace([{"month": "a", "more": 1}], evolve_schema="replace")
    assert domo_sandbox.state.datasets[made.id].schema_extras == extras
    assert (await made.get_schema()).names == ["month", "more"]


async def test_what_a_new_schema_sends():
    async with product_wire() as (wire, auth):
        home = "/api/data/v2/datasources/a-b/schemas"
        before = {"columns": [{"name": "a", "type": "LONG"}], "objects": [{"o": 1}], "views": None}
        wire.get(f"{home}/latest").respond(json={"schema": before})
        made = wire.post(home).respond(json={"schemaId": 3})
        await DomoDataset.from_json(auth, {"id": "a-b"}).set_schema({"b": "LONG"})
        assert body_of(made) == {"columns": [{"name": "b", "type": "LONG"}], "objects": [{"o": 1}], "views": []}
        wire.get(f"{home}/latest").respond(404, json={"message": "no schema yet"})
        await DomoDataset.from_json(auth, {"id": "a-b"}).set_schema({"b": "LONG"})
        assert body_of(made) == {"columns": [{"name": "b", "type": "LONG"}], "objects": [], "views": []}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"a": 5}, "its type are texts"),
        ({"a": None}, "its type are texts"),
        ({5: "LONG"}, "its name and its type are texts"),
        ([{"name": 5, "type": "LONG"}], "its name and its type are texts"),
        (5, "cannot be made of int"),
        ("LONG", "cannot be made of str"),
    ],
)
async def test_what_is_no_schema(anyone, domo_sandbox, schema, said):
    with pytest.raises(errors.InvalidInputError, match=said):
        Schema.of(schema)
    with pytest.raises(errors.InvalidInputError, match=said):
        await DomoDataset.create(anyone, "x", schema=schema)
    assert sent(domo_sandbox) == []


# -- versions


async def test_a_version_is_read_alone(admin, domo_sandbox, tmp_path):
    made = await DomoDataset.create(
        admin, "v", [{"a": 1, "b": "x"}, {"a": None, "b": ""}], schema={"a": "LONG", "b": "STRING"}
    )
    await made.append([{"a": 3, "b": None}])
    first, second = await made.get_versions()
    assert await made.read_version(first).to_dicts() == [{"a": 1, "b": "x"}, {"a": None, "b": ""}]
    assert await made.read_version(second.id).to_dicts() == [{"a": 3, "b": None}]
    assert await made.read_version(first.id).to_csv(tmp_path / "v.csv") == 2
    assert (tmp_path / "v.csv").read_text().splitlines() == ['a,"b"', '1,"x"', '\\N,""']
    await made.set_schema({"a": "LONG", "c": "DATE"})
    await made.replace([{"a": 4, "c": None}])
    assert await made.read_version(second).to_dicts() == [{"a": 3, "b": None}]  # as it was then
    with pytest.raises(errors.NotFoundError, match="no data version 99"):
        await made.read_version(99).to_dicts()


async def test_what_reading_a_version_asks(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "v", [{"a": 1}])
    (only,) = await made.get_versions()
    await made.read_version(only).to_arrow()
    asked = domo_sandbox.requests[-1]
    assert asked.path == f"/api/data/v2/datasources/{made.id}/dataversions/{only.id}"
    assert asked.query == {"includeHeader": "true", "excludeAppendedData": "true", "accept": "text/csv"}


async def test_a_version_that_lacks_rows_is_an_error(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "v", [{"a": 1}])
    (only,) = await made.get_versions()
    domo_sandbox.state.data_versions[only.id].rows = 2
    with pytest.raises(errors.IncompleteDataError):
        await made.read_version(only).to_dicts()


async def test_versions_are_for_the_product_api(oauth, domo_sandbox):
    made = await DomoDataset.create(oauth, "v", [{"a": 1}])
    with pytest.raises(errors.UnsupportedByAuth):
        made.read_version(1)


@pytest.mark.parametrize("ids", ["5", None, 5.5, ["x"], [None], [True]])
async def test_what_are_no_versions(admin, domo_sandbox, ids):
    made = await DomoDataset.create(admin, "v", [{"a": 1}])
    before = len(domo_sandbox.requests)
    with pytest.raises(errors.InvalidInputError, match=r"version"):
        await made.delete_versions(ids)
    assert len(domo_sandbox.requests) == before


# -- names, descriptions, owners


@pytest.mark.parametrize("name", [None, 5, "", " "])
async def test_a_dataset_needs_a_name(anyone, domo_sandbox, name):
    made = await DomoDataset.create(anyone, "x", schema=SCHEMA)
    before = len(domo_sandbox.requests)
    for call in (made.update(name=name), DomoDataset.create(anyone, name, schema=SCHEMA)):
        with pytest.raises(errors.InvalidInputError, match="needs a name"):
            await call
    with pytest.raises(errors.InvalidInputError, match="description"):
        await made.update(description=5)
    assert len(domo_sandbox.requests) == before


async def test_a_description_is_emptied(anyone, domo_sandbox):
    made = await DomoDataset.create(anyone, "x", schema=SCHEMA, description="of old")
    await made.update(description=None)
    assert domo_sandbox.state.datasets[made.id].description == ""
    await made.update(name="y")
    assert (made.name, domo_sandbox.state.datasets[made.id].description) == ("y", "")


async def test_whose_it_is(admin, oauth, domo_sandbox):
    team = domo_sandbox.add_group("Team")
    made = await DomoDataset.create(admin, "x", schema=SCHEMA)
    assert (made.owner_kind, made.owner_id) == ("USER", domo_sandbox.admin.id)
    await made.set_owner(group=team.id)
    assert (made.owner_kind, made.owner_id, made.owner_name) == ("GROUP", team.id, "Team")
    assert (await DomoDataset.get_by_id(oauth, made.id)).owner_kind is None  # not told there
    assert DomoDataset.from_json(admin, {"id": "a", "owner": {"id": "3", "group": True}}).owner_kind == "GROUP"


async def test_deleted_twice(anyone):
    made = await DomoDataset.create(anyone, "x", schema=SCHEMA)
    await made.delete()
    await made.delete(missing_ok=True)
    assert made.is_deleted
    with pytest.raises(errors.NotFoundError):
        await made.delete()


# -- what hangs on it


async def test_certified(admin, domo_sandbox):
    made = await DomoDataset.create(admin, "x", schema=SCHEMA)
    before = await made.get_certification()
    assert (before.is_certified, before.state, before.updated_at) == (False, None, None)
    await made.certify()
    found = await made.get_certification()
    assert (found.is_certified, found.updated_at.tzinfo is not None) == (True, True)
    await made.uncertify()
    assert not (await made.get_certification()).is_certified


async def test_ties_of_a_new_dataset(admin):
    made = await DomoDataset.create(admin, "x", schema=SCHEMA)
    assert (await made.get_card_ids(), await made.get_input_ids(), await made.get_impact()) == ([], [], [])


async def test_ties():
    async with product_wire() as (wire, auth):
        home = "/api/data/v3/datasources/a-b"
        card = {"id": 7, "name": "Per day", "ownerId": "27", "impactType": "COLUMN_REMOVED", "cause": "qty"}
        wire.get(f"{home}/impacted-resources").respond(
            json={
                "brokenCards": [card | {"resourceType": "CARD"}],
                "affectedDataFlows": None,
                "unaffectedDataFlows": [{"id": 3}],
            }
        )
        wire.get(f"{home}/hierarchy").respond(
            json={"dataSourceId": "a-b", "inputDataSources": [{"dataSourceId": "c-d", "inputDataSources": []}]}
        )
        wire.get("/api/content/v1/datasources/a-b/cards").respond(json=[{"id": 123, "title": "t"}, {"id": "124"}])
        dataset = DomoDataset.from_json(auth, {"id": "a-b"})
        broken, other = await dataset.get_impact()
        assert (broken.effect, broken.kind, broken.id, broken.owner_id) == ("broken", "CARD", 7, 27)
        assert (broken.impact, broken.cause) == ("COLUMN_REMOVED", "qty")
        assert (other.effect, other.kind, other.id, other.name) == ("unaffected", "DataFlows", 3, None)
        assert await dataset.get_input_ids() == ["c-d"]
        assert await dataset.get_card_ids() == [123, 124]
