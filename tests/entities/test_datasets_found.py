"""DataSets by what is known of them."""

import httpx
import pytest

from domokit import DomoDataset, errors

from .helpers import body_of, product_wire, sent

SCHEMA = {"a": "LONG"}


@pytest.fixture
async def made(admin, domo_sandbox):
    """Four DataSets, of two owners, two providers, with tags."""
    friend = domo_sandbox.add_user("Fri End", "friend@example.com")
    domo_sandbox.state.datasets.clear()
    found = {}
    for name, owner, provider, tags in (
        ("Sales West", friend.id, "api", ["sales", "daily"]),
        ("Sales East", domo_sandbox.admin.id, "api", ["sales"]),
        ("Costs West", friend.id, "mysql", ["daily"]),
        ("Costs East", friend.id, "api", []),
    ):
        dataset = await DomoDataset.create(admin, name, schema=SCHEMA)
        stored = domo_sandbox.state.datasets[dataset.id]
        stored.owner_id, stored.provider, stored.tags = owner, provider, tags
        stored.created += 1000 * len(found)
        stored.modified = stored.created
        found[name] = dataset
    return friend


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["Costs East", "Costs West", "Sales East", "Sales West"]),
        ({"name_contains": "WEST"}, ["Costs West", "Sales West"]),
        ({"owner": "friend"}, ["Costs East", "Costs West", "Sales West"]),
        ({"provider": "mysql"}, ["Costs West"]),
        ({"tags": ["daily"]}, ["Costs West", "Sales West"]),
        ({"tags": ["daily", "sales"]}, ["Sales West"]),
        ({"tags": ["daily"], "provider": "api"}, ["Sales West"]),
        ({"text": "sales"}, ["Sales East", "Sales West"]),
        ({"text": "west sales"}, ["Sales West"]),
        ({"text": "west", "provider": "api"}, ["Sales West"]),
        ({"text": "*", "owner": "friend", "name_contains": "costs"}, ["Costs East", "Costs West"]),
        ({"text": "west", "tags": ["sales"]}, ["Sales West"]),
        ({"text": "*", "order": "createdAt"}, ["Costs East", "Costs West", "Sales East", "Sales West"]),
        ({"text": "*", "order": "createdAtAscending"}, ["Sales West", "Sales East", "Costs West", "Costs East"]),
        ({"order": "nameDescending"}, ["Sales West", "Sales East", "Costs West", "Costs East"]),
        ({"order": "createdAt"}, ["Costs East", "Costs West", "Sales East", "Sales West"]),
        ({"order": "lastTouchedAscending"}, ["Sales West", "Sales East", "Costs West", "Costs East"]),
    ],
)
async def test_found(admin, made, given, names):
    if given.get("owner") == "friend":
        given = given | {"owner": made.id}
    assert [one.name for one in await DomoDataset.search(admin, **given)] == names


@pytest.mark.parametrize("order", ["name", "nameDescending", "lastTouched", "createdAtAscending"])
async def test_in_the_same_order_over_both(admin, oauth, made, order):
    both = [[one.name for one in await DomoDataset.search(auth, order=order)] for auth in (admin, oauth)]
    assert both[0] == both[1]


@pytest.mark.parametrize("given", [{"text": "x"}, {"owner": 27}, {"provider": "api"}, {"tags": ["x"]}])
async def test_for_the_product_api_alone(oauth, domo_sandbox, given):
    with pytest.raises(errors.UnsupportedByAuth, match="AccessTokenAuth"):
        DomoDataset.search(oauth, **given)
    assert sent(domo_sandbox) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"order": "size"}, "order cannot be 'size'"),
        ({"text": "x", "order": "lastTouched"}, "use name, nameDescending, createdAt"),
        ({"tags": "daily"}, "tags is a list"),
        ({"tags": [None]}, "None is no text"),
    ],
)
async def test_wrong_arguments(admin, domo_sandbox, given, said):
    with pytest.raises(errors.InvalidInputError, match=said):
        DomoDataset.search(admin, **given)
    assert sent(domo_sandbox) == []


async def test_by_name_there_is_a_name(anyone, domo_sandbox):
    for call in (DomoDataset.get_by_name(anyone, None), DomoDataset.upsert(anyone, None, schema=SCHEMA)):
        with pytest.raises(errors.InvalidInputError, match="needs a name"):
            await call
    assert sent(domo_sandbox) == []


async def test_pages_of_a_search():
    async with product_wire() as (wire, auth):
        pages = [[{"id": f"d-{number}"} for number in range(50)], [{"id": "d-50"}], []]
        asked = wire.post("/api/data/ui/v3/datasources/search")
        asked.side_effect = [httpx.Response(200, json={"dataSources": page}) for page in pages]
        assert len([one async for one in DomoDataset.search(auth, "x")]) == 51
        assert (body_of(asked)["offset"], body_of(asked)["count"]) == (51, 50)
