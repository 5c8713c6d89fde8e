"""Many DataSets at once: fetched, deleted, given away, shared, tagged."""

import json
from dataclasses import replace

import httpx
import pytest

from domokit import DomoDataset, errors
from domokit.routes.product import streams
from domokit.transport import send

from .helpers import body_of, product_wire, sent, token_auth_of

NOBODY = "00000000-0000-4000-8000-000000000000"


async def three(auth):
    return [await DomoDataset.create(auth, name, schema={"a": "LONG"}) for name in ("One", "Two", "Three")]


async def test_in_the_order_of_the_ids(anyone, domo_sandbox):
    one, two, three_ = await three(anyone)
    wanted = [three_.id, one.id, three_.id, two.id]
    found = await DomoDataset.get_many(anyone, wanted)
    assert [each.id for each in found] == wanted
    assert [each.name for each in found] == ["Three", "One", "Three", "Two"]
    assert await DomoDataset.get_many(anyone, []) == []


async def test_a_hundred_with_each_request(admin, domo_sandbox):
    stored = list(domo_sandbox.state.datasets)
    async with product_wire() as (wire, auth):

        def answer(request):
            ids = json.loads(request.content)
            assert len(ids) <= 100
            return httpx.Response(200, json={"dataSources": [{"id": each} for each in reversed(ids)]})

        asked = wire.post("/api/data/v3/datasources/bulk").mock(side_effect=answer)
        ids = [f"d-{number}" for number in range(250)]
        assert [one.id for one in await DomoDataset.get_many(auth, ids)] == ids
        assert asked.call_count == 3
    before = len(domo_sandbox.requests)
    found = await DomoDataset.get_many(admin, stored)
    assert [one.id for one in found] == stored
    assert len(domo_sandbox.requests) <= before + 2  # the sign-in may be one


async def test_those_that_are_missing_are_told(anyone, domo_sandbox):
    one, *_ = await three(anyone)
    with pytest.raises(errors.SeveralFailedError) as caught:
        await DomoDataset.get_many(anyone, [one.id, NOBODY])
    assert list(caught.value.failures) == [NOBODY]
    assert isinstance(caught.value.failures[NOBODY], errors.NotFoundError)
    assert caught.value.results == {one.id: one}


async def test_a_deleted_one_still_comes(admin):
    one, *_ = await three(admin)
    await one.delete()
    (found,) = await DomoDataset.get_many(admin, [one.id])
    assert found.is_deleted


async def test_a_batch_that_fails_is_told_of_each(admin, domo_sandbox):
    one, two, _ = await three(admin)
    domo_sandbox.misbehave("status", status=500, times=None, path="/api/data/v3/datasources/bulk")
    with pytest.raises(errors.SeveralFailedError) as caught:
        await DomoDataset.get_many(admin, [one.id, two.id])
    assert list(caught.value.failures) == [one.id, two.id]
    assert all(isinstance(each, errors.ServerError) for each in caught.value.failures.values())


async def test_deleted(admin, domo_sandbox):
    made = await three(admin)
    await DomoDataset.delete_many(admin, made)
    assert all(domo_sandbox.state.datasets[one.id].deleted for one in made)
    await made[0].restore()
    with pytest.raises(errors.SeveralFailedError) as caught:
        await DomoDataset.delete_many(admin, [one.id for one in made])
    assert domo_sandbox.state.datasets[made[0].id].deleted
    assert set(caught.value.failures) == {made[1].id, made[2].id}
    assert isinstance(caught.value.failures[made[1].id], errors.NotFoundError)
    assert list(caught.value.results) == [made[0].id]
    await DomoDataset.delete_many(admin, made, missing_ok=True)


async def test_fifty_with_each_request():
    async with product_wire() as (wire, auth):

        def answer(request):
            ids = json.loads(request.content)["ids"]
            return httpx.Response(200, json={"successful": ids[1:], "failed": {ids[0]: "HAS_DEPENDENCIES"}})

        asked = wire.post("/api/data/v1/ui/bulk/delete").mock(side_effect=answer)
        with pytest.raises(errors.SeveralFailedError, match="3 of 120") as caught:
            await DomoDataset.delete_many(auth, [f"d-{number}" for number in range(120)])
        assert asked.call_count == 3
    assert set(caught.value.failures) == {"d-0", "d-50", "d-100"}
    assert "HAS_DEPENDENCIES" in str(caught.value.failures["d-50"])


async def test_what_domo_does_not_mention_is_not_taken_for_done():
    async with product_wire() as (wire, auth):
        wire.post("/api/data/v1/ui/bulk/delete").respond(json={"successful": ["a"], "failed": {}})
        with pytest.raises(errors.SeveralFailedError, match="did not say"):
            await DomoDataset.delete_many(auth, ["a", "b"])


async def test_given_away_and_shared(admin, domo_sandbox):
    friend = domo_sandbox.add_user("Fri End", "friend@example.com")
    team = domo_sandbox.add_group("Team", [friend.id])
    made = await three(admin)
    await DomoDataset.set_owner_many(admin, made, user=friend.id)
    stored = [domo_sandbox.state.datasets[one.id] for one in made]
    assert {(one.owner_type, one.owner_id) for one in stored} == {("USER", friend.id)}
    await DomoDataset.set_owner_many(admin, made, group=team.id)
    assert {(one.owner_type, one.owner_id) for one in stored} == {("GROUP", team.id)}
    found = await DomoDataset.get_many(admin, [one.id for one in made])
    assert {(one.owner_id, one.owner_kind) for one in found} == {(team.id, "GROUP")}
    await DomoDataset.share_many(admin, made, users=[friend.id], level="CAN_EDIT")
    assert {one.shares[f"USER:{friend.id}"] for one in stored} == {"CAN_EDIT"}


async def test_tagged(admin, domo_sandbox):
    made = await three(admin)
    await DomoDataset.tag_many(admin, made, add=["sales", "old"])
    await DomoDataset.tag_many(admin, made[:2], add=["new"], remove=["old"])
    assert [domo_sandbox.state.datasets[one.id].tags for one in made] == [
        ["sales", "new"],
        ["sales", "new"],
        ["sales", "old"],
    ]


async def test_run(admin, domo_sandbox):
    domo_sandbox.indexing_seconds = 3600  # until then a run goes on
    transport = {"type": "CONNECTOR", "description": "com.domo.connector.example", "version": "1"}
    ids = []
    for name in ("One", "Two"):  # domokit itself makes no connectors
        body = {"dataSource": {"name": name}, "transport": transport}
        ids.append((await send(admin, streams.CREATE_STREAM, json=body))["dataSource"]["id"])
    plain = (await three(admin))[0]
    domo_sandbox.requests.clear()
    with pytest.raises(errors.SeveralFailedError, match="1 of 3") as caught:
        await DomoDataset.run_many(admin, [*ids, plain])
    assert "WRONG_TYPE" in str(caught.value.failures[plain.id])
    asked = [one for one in domo_sandbox.requests if one.path == "/api/data/v1/ui/bulk/run"]
    assert [one.json for one in asked] == [{"type": "DATA_SOURCE", "ids": [*ids, plain.id]}]
    assert [one.state for one in domo_sandbox.state.executions.values()] == ["ACTIVE", "ACTIVE"]
    with pytest.raises(errors.SeveralFailedError, match="EXCESS"):
        await DomoDataset.run_many(admin, ids)
    assert len(domo_sandbox.state.executions) == 2


async def test_all_ids(admin, domo_sandbox):
    stored = domo_sandbox.state.datasets
    for number in range(100):
        stored[f"d-{number}"] = replace(next(iter(stored.values())), id=f"d-{number}")
    domo_sandbox.requests.clear()
    assert await DomoDataset.get_all_ids(admin) == list(stored)
    pages = [one.query for one in domo_sandbox.requests if one.path == "/api/data/v3/datasources/bulk/datasourceIds"]
    assert {"offset": "0", "limit": "100"} in pages
    assert {"offset": "100", "limit": "100"} in pages
    nobody = domo_sandbox.add_user("No Body", "nobody@example.com")
    async with token_auth_of(domo_sandbox, nobody) as auth:
        assert await DomoDataset.get_all(auth) == []
        assert [one async for one in DomoDataset.get_all_ids(auth)] == list(stored)


async def test_those_that_are_not_shared_are_told(admin, domo_sandbox):
    made = await three(admin)
    other = domo_sandbox.add_user("Other", "other@example.com", role_id=2)
    async with token_auth_of(domo_sandbox, other) as auth:
        with pytest.raises(errors.SeveralFailedError) as caught:
            await DomoDataset.tag_many(auth, made, add=["x"])
    assert len(caught.value.failures) == 3
    assert all(isinstance(one, errors.PermissionDeniedError) for one in caught.value.failures.values())


async def test_another_account(admin, domo_sandbox):
    account = next(iter(domo_sandbox.state.accounts))
    made = await three(admin)
    await DomoDataset.set_account_many(admin, made[:2], account)
    assert [domo_sandbox.state.datasets[one.id].account_id for one in made] == [account, account, None]
    before = len(domo_sandbox.requests)
    await DomoDataset.set_account_many(admin, [], account)
    assert len(domo_sandbox.requests) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda auth: DomoDataset.delete_many(auth, "a-b"),
        lambda auth: DomoDataset.set_owner_many(auth, ["a-b"]),
        lambda auth: DomoDataset.set_owner_many(auth, ["a-b"], user=1, group=2),
        lambda auth: DomoDataset.share_many(auth, ["a-b"]),
        lambda auth: DomoDataset.share_many(auth, ["a-b"], users=["x"]),
        lambda auth: DomoDataset.delete_many(auth, 5),
        lambda auth: DomoDataset.run_many(auth, "a-b"),
        lambda auth: DomoDataset.share_many(auth, ["a-b"], users=[1], level="OWNER"),
        lambda auth: DomoDataset.tag_many(auth, ["a-b"]),
        lambda auth: DomoDataset.tag_many(auth, ["a-b"], add="sales"),
        lambda auth: DomoDataset.tag_many(auth, ["a-b"], add=[5]),
        lambda auth: DomoDataset.set_account_many(auth, "a-b", 1),
    ],
)
async def test_wrong_arguments(admin, domo_sandbox, call):
    with pytest.raises(errors.InvalidInputError):
        await call(admin)
    assert sent(domo_sandbox) == []


async def test_for_the_product_api_alone(oauth, domo_sandbox):
    for call in (
        DomoDataset.delete_many(oauth, ["a"]),
        DomoDataset.set_owner_many(oauth, ["a"], user=1),
        DomoDataset.share_many(oauth, ["a"], users=[1]),
        DomoDataset.tag_many(oauth, ["a"], add=["x"]),
        DomoDataset.set_account_many(oauth, ["a"], 1),
        DomoDataset.run_many(oauth, ["a"]),
        DomoDataset.get_all_ids(oauth).first(),
    ):
        with pytest.raises(errors.UnsupportedByAuth):
            await call
    assert sent(domo_sandbox) == []


async def test_a_message_is_mailed():
    async with product_wire() as (wire, auth):
        shared = wire.post("/api/data/v1/ui/bulk/share").respond(json={"successful": ["a"], "failed": {}})
        await DomoDataset.share_many(auth, ["a"], users=[31], message="Look")
    assert body_of(shared)["dataSourceShareEntity"] == {
        "permissions": [{"type": "USER", "id": "31", "accessLevel": "CAN_VIEW"}],
        "sendEmail": True,
        "message": "Look",
    }
