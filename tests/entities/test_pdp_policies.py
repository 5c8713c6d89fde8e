"""Row policies over both API families, and what they let people see."""

import pytest

from domokit import ALL_ROWS, AccessTokenAuth, DomoDataset, DomoGroup, DomoPdpPolicy, DomoUser, RowFilter, errors
from domokit.testing import options_for

from .helpers import body_of, product_wire

ROWS = [{"region": region, "qty": n} for n, region in enumerate(("West", "East", "west", "North"))]


@pytest.fixture
async def sales(anyone):
    return await DomoDataset.create(anyone, "Sales", ROWS)


@pytest.fixture
async def reader(domo_sandbox, sales):
    """Somebody else, who may see the DataSet."""
    person = domo_sandbox.add_user("Re Ader", "reader@example.com")
    domo_sandbox.state.datasets[sales.id].shares[f"USER:{person.id}"] = "CAN_VIEW"
    token = domo_sandbox.add_access_token(person.id, "reading").token
    async with AccessTokenAuth(domo_sandbox.instance, token, options=options_for(domo_sandbox)) as auth:
        auth.person = person
        yield auth


async def seen(reader, sales):
    dataset = await DomoDataset.get_by_id(reader, sales.id)
    exported = [row["region"] for row in await dataset.read().to_dicts()]
    asked = await dataset.query("SELECT `region` FROM table").to_dicts()
    assert [row["region"] for row in asked] == exported
    return exported


async def test_a_policy_lets_people_see_some_rows(anyone, domo_sandbox, sales, reader):
    assert len(await seen(reader, sales)) == 4
    policy = await DomoPdpPolicy.create(
        anyone,
        sales.id,
        name="West only",
        filters=[RowFilter(column="region", values=["West"])],
        users=[reader.person.id],
    )
    assert (policy.name, policy.user_ids, policy.dataset_id) == ("West only", (reader.person.id,), sales.id)
    assert len(await seen(reader, sales)) == 4  # not switched on yet
    await sales.set_pdp(enabled=True)
    assert sales.is_pdp_enabled
    assert await seen(reader, sales) == ["West"]
    assert len(await sales.read().to_dicts()) == 4

    await policy.update(filters=[RowFilter(column="region", values=["West", "East"])])
    assert await seen(reader, sales) == ["West", "East"]
    await policy.update(
        filters=[RowFilter(column="qty", values=[1], operator="GREATER_THAN", is_not=True)], users=[reader.person.id]
    )
    assert await seen(reader, sales) == ["West", "East"]
    await policy.update(name="Few")
    listed = await sales.get_policies()
    assert sorted(one.name for one in listed) == ["All Rows", "Few"]
    few = next(one for one in listed if one.name == "Few")
    assert few == policy
    assert few.filters == (RowFilter(column="qty", values=["1"], operator="GREATER_THAN", is_not=True),)

    await policy.delete()
    assert await seen(reader, sales) == []
    with pytest.raises(errors.NotFoundError):
        await policy.refresh()
    await sales.set_pdp(enabled=False)
    assert len(await seen(reader, sales)) == 4


async def test_what_else_is_set_stays(admin, domo_sandbox):
    sales = await DomoDataset.create(admin, "Sales", ROWS)
    domo_sandbox.state.datasets[sales.id].pdp_flags = ["enabledColumn"]
    await sales.set_pdp(enabled=True)
    put = next(one for one in domo_sandbox.requests if one.path.endswith(f"/data-control/{sales.id}") and one.json)
    assert put.json == {"enabled": True, "secured": False, "external": False, "enabledColumn": True}
    stored = domo_sandbox.state.datasets[sales.id]
    assert (stored.pdp_enabled, stored.pdp_flags) == (True, ["enabledColumn"])


async def test_groups(anyone, domo_sandbox, sales, reader):
    team = domo_sandbox.add_group("Team", [reader.person.id])
    policy = await DomoPdpPolicy.create(
        anyone, sales.id, name="Team", filters=[RowFilter(column="region", values=["North"])], groups=[team.id]
    )
    assert policy.group_ids == (team.id,)
    await sales.set_pdp(enabled=True)
    assert await seen(reader, sales) == ["North"]


async def test_upper_and_lower_case_alike(admin, domo_sandbox):
    sales = await DomoDataset.create(admin, "Sales", ROWS)
    policy = await DomoPdpPolicy.create(
        admin, sales.id, name="w", filters=[RowFilter(column="region", values=["WEST"], ignore_case=True)]
    )
    assert (await policy.refresh()).filters[0].ignore_case is True


async def test_what_domo_would_refuse_is_refused(anyone, domo_sandbox, sales):
    before = len(domo_sandbox.requests)
    with pytest.raises(errors.InvalidInputError, match="operator"):
        RowFilter(column="region", values=["x"], operator="equals")
    with pytest.raises(errors.InvalidInputError, match="255 characters"):
        RowFilter(column="region", values=["x" * 100] * 3)
    with pytest.raises(errors.InvalidInputError, match="needs a name"):
        await DomoPdpPolicy.create(anyone, sales.id, name=" ", filters=[])
    assert len(domo_sandbox.requests) == before
    with pytest.raises(errors.BadRequestError):
        await DomoPdpPolicy.create(anyone, sales.id, name="x", filters=[RowFilter(column="nope", values=["x"])])


@pytest.mark.parametrize("values", ["North", b"North", (), [], None])
def test_a_filter_takes_no_text_for_its_letters(values):
    for is_not in (False, True):
        with pytest.raises(errors.InvalidInputError, match="values"):
            RowFilter(column="region", values=values, is_not=is_not)


def test_a_filter_takes_one_value_or_several():
    assert RowFilter(column="qty", values=5).values == ("5",)
    assert RowFilter(column="qty", values=(n for n in (1, 2))).values == ("1", "2")


async def test_all_rows_are_shown_by_name_only(anyone, domo_sandbox, sales, reader):
    await sales.set_pdp(enabled=True)
    assert await seen(reader, sales) == []
    before = len(domo_sandbox.requests)
    for filters in ([], (), iter(())):
        with pytest.raises(errors.InvalidInputError, match=r"all rows.*filters=ALL_ROWS"):
            await DomoPdpPolicy.create(anyone, sales.id, name="x", filters=filters, users=[reader.person.id])
    assert len(domo_sandbox.requests) == before
    policy = await DomoPdpPolicy.create(anyone, sales.id, name="x", filters=ALL_ROWS, users=[reader.person.id])
    assert policy.filters == ()
    assert len(await seen(reader, sales)) == 4
    assert (await policy.update(name="Everything")).filters == ()
    assert len(await seen(reader, sales)) == 4
    await policy.update(filters=RowFilter(column="region", values=["West"]))
    assert await seen(reader, sales) == ["West"]
    with pytest.raises(errors.InvalidInputError, match="filters=ALL_ROWS"):
        await policy.update(filters=[])
    with pytest.raises(errors.InvalidInputError, match="RowFilter objects, not dict"):
        await policy.update(filters=[{"column": "region", "values": ["West"]}])
    assert await seen(reader, sales) == ["West"]


async def test_filters_that_an_answer_did_not_tell_are_not_taken_away(anyone, sales, reader):
    west = [RowFilter(column="region", values=["West"])]
    policy = await DomoPdpPolicy.create(anyone, sales.id, name="w", filters=west, users=[reader.person.id])
    await sales.set_pdp(enabled=True)
    bare = DomoPdpPolicy.from_json(anyone, {"id": policy.id, "name": "w", "dataSourceId": sales.id})
    assert bare.filters == ()
    assert (await bare.update(name="W")).filters == tuple(west)
    assert await seen(reader, sales) == ["West"]


async def test_people_are_entities_or_ids(anyone, domo_sandbox, sales, reader):
    person = await DomoUser.get_by_id(anyone, reader.person.id)
    team = await DomoGroup.get_by_id(anyone, domo_sandbox.add_group("Team").id)
    west = [RowFilter(column="region", values=["West"])]
    policy = await DomoPdpPolicy.create(anyone, sales.id, name="w", filters=west, users=person, groups=[team])
    assert (policy.user_ids, policy.group_ids) == ((person.id,), (team.id,))
    before = len(domo_sandbox.requests)
    for people in (
        {"users": str(person.id)},
        {"users": team},
        {"groups": [person]},
        {"users": [None]},
        {"users": [2.5]},
        {"virtual_user_ids": "abc"},
    ):
        with pytest.raises(errors.InvalidInputError, match=next(iter(people))):
            await policy.update(**people)
    assert len(domo_sandbox.requests) == before


async def test_people_that_are_told_as_resources_only_are_kept():
    people = {"USER": ["27"], "GROUP": ["3"], "VIRTUAL_USER": ["v", "007"]}
    west = {"name": "region", "values": ["West"], "type": "COLUMN", "operator": "EQUALS", "not": False}
    told = {"filterGroupId": 8, "name": "w", "userIds": None, "resources": people, "parameters": [west]}
    path = "/api/query/v1/data-control/a-b/filter-groups"
    async with product_wire() as (wire, auth):
        wire.get(path).respond(json=[told])
        changed = wire.put(f"{path}/8").respond(json=told | {"name": "W"})
        (policy,) = await DomoPdpPolicy.get_all(auth, "a-b")
        assert (policy.user_ids, policy.group_ids, policy.virtual_user_ids) == ((27,), (3,), ("v", "007"))
        await policy.update(name="W")
    body = body_of(changed)
    assert (body["userIds"], body["groupIds"], body["virtualUserIds"]) == (["27"], ["3"], ["v", "007"])
    assert (policy.name, policy.virtual_user_ids) == ("W", ("v", "007"))


async def test_ids_of_policies_count_within_their_dataset(admin):
    one = DomoPdpPolicy.from_json(admin, {"filterGroupId": 8, "dataSourceId": "a"})
    assert one != DomoPdpPolicy.from_json(admin, {"filterGroupId": 8, "dataSourceId": "b"})
    assert one == DomoPdpPolicy.from_json(admin, {"id": 8, "dataSourceId": "a"})
    resources = {"filterGroupId": 8, "resources": {"USER": ["27"], "GROUP": ["3"]}}
    assert DomoPdpPolicy.from_json(admin, resources).user_ids == (27,)
    assert DomoPdpPolicy.from_json(admin, resources).group_ids == (3,)
