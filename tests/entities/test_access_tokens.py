"""DomoAccessToken: found, made, replaced and revoked."""

import json
from datetime import UTC, datetime, timedelta, timezone

import anyio
import httpx
import pytest

from domokit import (
    AccessTokenAuth,
    ClientOptions,
    DomoAccessToken,
    DomoUser,
    RetryPolicy,
    Secret,
    api,
    dry_run,
    entity,
    errors,
)
from domokit.testing import access_token_auth, oauth_client_auth, options_for, session_auth

from .helpers import admin_token_id, body_of, product_wire, sent, token_auth_of

TOKENS = "/api/data/v1/accesstokens"
DAY = 86_400
NOW = datetime(2030, 6, 1, 12, 0, 0, tzinfo=UTC)


def row(token_id=1, **more):
    """A token as Domo lists one."""
    return {
        "id": token_id,
        "name": "etl",
        "ownerId": 27,
        "ownerName": None,
        "ownerEmail": None,
        "expires": 4_000_000_000_000,
        **more,
    }


def ids(tokens):
    return sorted(token.id for token in tokens)


@entity
class MyToken(DomoAccessToken):
    pass


@pytest.fixture
def ann(domo_sandbox):
    """Someone who is not the administrator, and may do little."""
    return domo_sandbox.add_user("Ann", "ann@example.com", role_id=4)


@pytest.fixture
async def as_ann(domo_sandbox, ann):
    """Ann's own auth object; its token is one of hers."""
    async with token_auth_of(domo_sandbox, ann) as auth:
        yield auth


# -- finding


async def test_the_list_is_read_and_null_entries_are_passed_over():
    async with product_wire() as (wire, auth):
        wire.get(TOKENS).respond(json=[None, row(1), None, row(2, name=None, ownerId="28", expires=None), None])
        tokens = await DomoAccessToken.get_all(auth)
        walked = [token async for token in DomoAccessToken.get_all(auth)]
        assert (await DomoAccessToken.get_all(auth).first()).id == 1
    assert ids(tokens) == ids(walked) == [1, 2]
    first, second = tokens
    assert (first.name, first.owner_id, first.owner_name, first.token) == ("etl", 27, None, None)
    assert first.expires_at == datetime(2096, 10, 2, 7, 6, 40, tzinfo=UTC)
    assert first.superseded == ()
    assert (second.name, second.owner_id, second.expires_at) == (None, 28, None)


async def test_get_all_is_one_request(admin, domo_sandbox):
    tokens = await DomoAccessToken.get_all(admin)
    assert ids(tokens) == sorted(domo_sandbox.state.access_tokens)
    assert sent(domo_sandbox) == [("GET", TOKENS)]


async def test_get_by_id(admin, domo_sandbox, ann):
    made = domo_sandbox.add_access_token(ann.id, "etl")
    for spelling in (made.id, str(made.id)):
        token = await DomoAccessToken.get_by_id(admin, spelling)
        assert (token.id, token.name, token.owner_id) == (made.id, "etl", ann.id)
    with pytest.raises(errors.NotFoundError, match="no access token 7"):
        await DomoAccessToken.get_by_id(admin, 7)


async def test_search_is_exact_and_takes_owners_as_number_or_text(admin, domo_sandbox, ann):
    mine = domo_sandbox.add_access_token(ann.id, "etl")
    twin = domo_sandbox.add_access_token(ann.id, "etl")
    domo_sandbox.add_access_token(ann.id, "etl 2")
    domo_sandbox.add_access_token(ann.id, "ETL")
    other = domo_sandbox.add_access_token(domo_sandbox.admin.id, "etl")
    for owner in (ann.id, str(ann.id)):
        assert ids(await DomoAccessToken.search(admin, owner_id=owner, name="etl")) == [mine.id, twin.id]
        assert len(await DomoAccessToken.search(admin, owner_id=owner)) == 4
    assert ids(await DomoAccessToken.search(admin, name="etl")) == [mine.id, twin.id, other.id]
    assert await DomoAccessToken.search(admin, owner_id=0) == []
    assert await DomoAccessToken.search(admin, name="") == []


async def test_search_knows_expired_tokens(admin, domo_sandbox, ann):
    living = domo_sandbox.add_access_token(ann.id, "etl")
    dead = domo_sandbox.add_access_token(ann.id, "etl", lifetime=-DAY)
    found = {
        expired: ids(await DomoAccessToken.search(admin, name="etl", expired=expired))
        for expired in (False, True, None)
    }
    assert found == {False: [living.id], True: [dead.id], None: [living.id, dead.id]}
    assert ids(await DomoAccessToken.search(admin, name="etl")) == [living.id]


async def test_a_token_without_an_end_does_not_expire():
    async with product_wire(clock=lambda: NOW) as (wire, auth):
        wire.get(TOKENS).respond(json=[row(1, expires=None)])
        (token,) = await DomoAccessToken.search(auth)
        assert await DomoAccessToken.expiring_soon(auth, 365) == []
    assert token.is_expired is False
    assert token.remaining == timedelta.max


async def test_life_is_reckoned_by_the_injected_clock():
    now = NOW
    rows = [row(1, expires=int(NOW.timestamp() * 1000))]
    async with product_wire(clock=lambda: now) as (wire, auth):
        wire.get(TOKENS).respond(json=rows)
        (token,) = await DomoAccessToken.get_all(auth)
        for shift, expired in ((-1, False), (0, True), (1, True)):
            now = NOW + timedelta(seconds=shift)
            assert token.remaining == timedelta(seconds=-shift)
            assert token.is_expired is expired
            assert len(await DomoAccessToken.search(auth)) == (0 if expired else 1)


async def test_expiring_soon(admin, domo_sandbox, ann):
    lifetimes = {"hour": 3600, "week": 7 * DAY, "month": 30 * DAY, "over": -1}
    made = {name: domo_sandbox.add_access_token(ann.id, name, lifetime=span).id for name, span in lifetimes.items()}
    month = timedelta(days=30)
    assert ids(await DomoAccessToken.expiring_soon(admin, 1)) == [made["hour"]]
    assert ids(await DomoAccessToken.expiring_soon(admin, timedelta(days=8))) == [made["hour"], made["week"]]
    assert ids(await DomoAccessToken.expiring_soon(admin, month)) == [made["hour"], made["week"], made["month"]]
    for senseless in (0, -1, timedelta(0)):
        with pytest.raises(errors.InvalidInputError):
            await DomoAccessToken.expiring_soon(admin, senseless)


async def test_tokens_of_deleted_owners_are_found(admin, domo_sandbox, ann):
    left = domo_sandbox.add_access_token(ann.id, "left")
    domo_sandbox.add_access_token(ann.id, "over", lifetime=-1)
    assert await DomoAccessToken.owned_by_leavers(admin) == []
    await (await DomoUser.get_by_id(admin, ann.id)).delete()
    assert ids(await DomoAccessToken.owned_by_leavers(admin)) == [left.id]


async def test_tokens_of_inactive_owners_are_found():
    def user(user_id, **attributes):
        listed = {"id": user_id, **attributes}
        return {"id": user_id, "attributes": [{"key": key, "values": [value]} for key, value in listed.items()]}

    people = [user(1, isActive=True), user(2, isActive=False), user(3), user(0)]
    tokens = [row(10 + owner, ownerId=owner) for owner in range(5)] + [row(20, ownerId=None)]
    async with product_wire() as (wire, auth):
        wire.get(TOKENS).respond(json=tokens)
        wire.get("/api/identity/v1/users").mock(
            side_effect=lambda request: httpx.Response(
                200, json={"users": people if request.url.params["offset"] == "0" else []}
            )
        )
        found = await DomoAccessToken.owned_by_leavers(auth)
    assert ids(found) == [12, 14]  # inactive, and not there at all; whom nobody calls inactive is here


# -- generate


async def test_generate_sends_name_owner_and_whole_seconds():
    now = NOW + timedelta(milliseconds=250)
    made = row(5, ownerName="Ann", ownerEmail="ann@example.com", token="s3cret" * 8)
    async with product_wire(clock=lambda: now) as (wire, auth):
        post = wire.post(TOKENS).respond(json=made)
        token = await DomoAccessToken.generate(auth, owner_id="27", name="etl", duration=1)
        sent_body = body_of(post)
    day_later = int((NOW + timedelta(days=1)).timestamp())
    assert sent_body == {"name": "etl", "ownerId": 27, "expires": (day_later + 1) * 1000}
    assert type(sent_body["ownerId"]) is int
    assert type(sent_body["expires"]) is int
    assert isinstance(token.token, Secret)
    assert token.token.reveal() == "s3cret" * 8
    assert (token.id, token.owner_id, token.owner_name, token.owner_email) == (5, 27, "Ann", "ann@example.com")
    assert "s3cret" not in repr(token) + token._repr_html_() + str(token.to_dict()) + str(token.raw)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (1, DAY),
        (0.5, DAY // 2),
        (timedelta(hours=3), 10_800),
        (timedelta(microseconds=1), 1),
        (timedelta(seconds=1, milliseconds=1), 2),
        (365 * 20, 365 * 20 * DAY),
    ],
    ids=str,
)
async def test_durations_are_days_or_timedeltas(duration, seconds):
    async with product_wire(clock=lambda: NOW) as (wire, auth):
        post = wire.post(TOKENS).respond(json=row(5, token="s3cret"))
        await DomoAccessToken.generate(auth, owner_id=27, name="etl", duration=duration)
    assert body_of(post)["expires"] == (int(NOW.timestamp()) + seconds) * 1000


async def test_a_token_lives_thirty_days_unless_told_otherwise():
    async with product_wire(clock=lambda: NOW) as (wire, auth):
        post = wire.post(TOKENS).respond(json=row(5, token="s3cret"))
        await DomoAccessToken.generate(auth, owner_id=27, name="etl")
    assert body_of(post)["expires"] == (int(NOW.timestamp()) + 30 * DAY) * 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 0},
        {"duration": -1},
        {"duration": timedelta(0)},
        {"duration": timedelta(days=-1)},
        {"duration": True},
        {"duration": "30"},
        {"duration": None},
        {"duration": float("nan")},
        {"duration": float("inf")},
        {"duration": 1e12},
        {"duration": 365 * 20 + 1},
        {"name": ""},
        {"name": "  "},
        {"name": None},
        {"owner_id": None},
        {"owner_id": "ann@example.com"},
        {"owner_id": ""},
        {"owner_id": True},
        {"owner_id": 2.5},
    ],
    ids=str,
)
async def test_generate_refuses_bad_arguments_before_anything_is_sent(admin, domo_sandbox, wrong):
    given = {"owner_id": 27, "name": "etl", "duration": 30} | wrong
    with pytest.raises(errors.InvalidInputError):
        await DomoAccessToken.generate(admin, **given)
    assert not domo_sandbox.requests


async def test_generate_for_somebody_else_and_nobody(admin, domo_sandbox, ann):
    token = await DomoAccessToken.generate(admin, owner_id=ann.id, name="etl", duration=1)
    assert domo_sandbox.signs_in(token.token.reveal()) == ann.id
    assert timedelta(hours=23) < token.remaining <= timedelta(days=1, seconds=1)
    with pytest.raises(errors.BadRequestError, match="ownerId"):
        await DomoAccessToken.generate(admin, owner_id=999, name="etl")


async def test_the_new_token_gives_an_auth_object_at_once(admin, domo_sandbox, ann):
    token = await DomoAccessToken.generate(admin, owner_id=ann.id, name="etl")
    async with token.auth_with() as auth:
        assert isinstance(auth, AccessTokenAuth)
        assert (await auth.who_am_i()).id == ann.id
    with pytest.raises(errors.InvalidInputError):
        (await DomoAccessToken.get_by_id(admin, token.id)).auth_with()


@pytest.mark.parametrize("kind", ["reset_after", "reset_before"])
async def test_generate_is_never_repeated_after_a_lost_answer(domo_sandbox, ann, kind):
    domo_sandbox.misbehave(kind, method="POST", path=TOKENS)
    async with session_auth(domo_sandbox, retry=RetryPolicy(attempts=4, base=0.01)) as auth:
        with pytest.raises(errors.OutcomeUnknown):
            await DomoAccessToken.generate(auth, owner_id=ann.id, name="etl")
        found = await DomoAccessToken.search(auth, owner_id=ann.id, name="etl")
    assert sent(domo_sandbox, "POST") == [("POST", TOKENS)]
    assert len(found) == (1 if kind == "reset_after" else 0)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_generate_is_not_repeated_after_an_answer_either(domo_sandbox, ann, status):
    domo_sandbox.misbehave("status", status=status, method="POST", path=TOKENS)
    async with session_auth(domo_sandbox, retry=RetryPolicy(attempts=4, base=0.01)) as auth:
        with pytest.raises(errors.APIError) as caught:
            await DomoAccessToken.generate(auth, owner_id=ann.id, name="etl")
    assert caught.value.status == status
    assert sent(domo_sandbox, "POST") == [("POST", TOKENS)]


@pytest.mark.parametrize("answer", [row(5), row(5, token=None), row(None, token="s3cret"), {}], ids=str)
async def test_an_answer_without_the_value_is_a_decode_error(answer):
    async with product_wire() as (wire, auth):
        wire.post(TOKENS).respond(json=answer)
        with pytest.raises(errors.DomoDecodeError) as caught:
            await DomoAccessToken.generate(auth, owner_id=27, name="etl")
    assert "s3cret" not in str(caught.value)


async def test_an_empty_value_is_no_value():
    async with product_wire() as (wire, auth):
        wire.post(TOKENS).respond(json=row(5, token=""))
        with pytest.raises(errors.DomoDecodeError):
            await DomoAccessToken.generate(auth, owner_id=27, name="etl")


async def test_refresh_does_not_lose_the_only_copy_of_the_value(admin, ann):
    token = await DomoAccessToken.generate(admin, owner_id=ann.id, name="etl")
    value = token.token.reveal()
    await token.refresh()
    assert token.name == "etl"
    assert token.token is not None
    assert token.token.reveal() == value


# -- revoke


async def test_revoke(admin, domo_sandbox, ann):
    made = domo_sandbox.add_access_token(ann.id, "etl")
    token = await DomoAccessToken.get_by_id(admin, made.id)
    await token.revoke()
    assert domo_sandbox.signs_in(made.token) is None
    assert sent(domo_sandbox, "DELETE") == [("DELETE", f"{TOKENS}/{made.id}")]
    with pytest.raises(errors.NotFoundError):
        await token.revoke()
    await token.revoke(missing_ok=True)


async def test_missing_ok_forgives_nothing_else(admin, domo_sandbox, ann):
    token = await DomoAccessToken.get_by_id(admin, domo_sandbox.add_access_token(ann.id, "etl").id)
    for status, kind in ((403, errors.PermissionDeniedError), (500, errors.ServerError)):
        domo_sandbox.misbehave("status", status=status, method="DELETE")
        with pytest.raises(kind):
            await token.revoke(missing_ok=True)


async def test_the_token_in_use_is_not_revoked_unless_asked_for(token_admin, domo_sandbox):
    token = await DomoAccessToken.get_by_id(token_admin, admin_token_id(domo_sandbox))
    with pytest.raises(errors.InvalidInputError, match="even_if_in_use"):
        await token.revoke()
    with pytest.raises(errors.InvalidInputError):
        await token.revoke(missing_ok=True)
    assert sent(domo_sandbox, "DELETE") == []
    await token.revoke(even_if_in_use=True)
    with pytest.raises(errors.AuthenticationError):
        await DomoAccessToken.get_all(token_admin)


async def test_a_token_whose_value_is_known_not_to_be_the_one_in_use_is_revoked(token_admin, domo_sandbox):
    token = await DomoAccessToken.generate(token_admin, owner_id=domo_sandbox.admin.id, name="other")
    await token.revoke()
    assert token.id not in domo_sandbox.state.access_tokens


async def test_a_token_whose_value_is_known_to_be_the_one_in_use_is_not(admin, domo_sandbox):
    token = await DomoAccessToken.generate(admin, owner_id=domo_sandbox.admin.id, name="own")
    async with token.auth_with() as auth:
        same = DomoAccessToken.from_json(auth, {"id": token.id, "token": token.token})
        with pytest.raises(errors.InvalidInputError, match="is the one"):
            await same.revoke()
    assert token.id in domo_sandbox.state.access_tokens


async def test_other_people_s_tokens_are_revoked_by_token_auth(token_admin, domo_sandbox, ann):
    made = domo_sandbox.add_access_token(ann.id, "etl")
    await (await DomoAccessToken.get_by_id(token_admin, made.id)).revoke()
    assert made.id not in domo_sandbox.state.access_tokens


# -- regenerate


def changes(sandbox):
    """'generate' and 'revoke <id>', in the order of arrival."""
    return [
        "generate" if method == "POST" else f"revoke {path.rpartition('/')[2]}"
        for method, path in sent(sandbox, "POST", "DELETE")
    ]


async def test_regenerate_makes_the_new_one_before_it_revokes_the_old(admin, domo_sandbox, ann):
    old = domo_sandbox.add_access_token(ann.id, "etl")
    new = await (await DomoAccessToken.get_by_id(admin, old.id)).regenerate(timedelta(days=2))
    assert changes(domo_sandbox) == ["generate", f"revoke {old.id}"]
    assert (new.name, new.owner_id) == ("etl", ann.id)
    assert new.id != old.id
    assert ids(new.superseded) == [old.id]
    assert timedelta(days=1) < new.remaining <= timedelta(days=2, seconds=1)
    assert domo_sandbox.signs_in(new.token.reveal()) == ann.id
    assert domo_sandbox.signs_in(old.token) is None


async def test_regenerate_of_the_token_in_use_makes_nothing(token_admin, domo_sandbox):
    token = await DomoAccessToken.get_by_id(token_admin, admin_token_id(domo_sandbox))
    with pytest.raises(errors.InvalidInputError):
        await token.regenerate()
    assert changes(domo_sandbox) == []


async def test_regenerate_needs_owner_and_name(admin, domo_sandbox):
    for known in ({"id": 1, "name": "etl"}, {"id": 1, "ownerId": 27}):
        with pytest.raises(errors.InvalidInputError):
            await DomoAccessToken.from_json(admin, known).regenerate()
    assert not domo_sandbox.requests


async def test_what_could_not_be_revoked_leaves_the_new_token_with_the_error(admin, domo_sandbox, ann):
    old = domo_sandbox.add_access_token(ann.id, "etl")
    token = await DomoAccessToken.get_by_id(admin, old.id)
    domo_sandbox.misbehave("status", status=500, method="DELETE")
    with pytest.raises(errors.ServerError) as caught:
        await token.regenerate()
    attached = caught.value.attached
    assert isinstance(attached, DomoAccessToken)
    assert domo_sandbox.signs_in(attached.token.reveal()) == ann.id
    assert domo_sandbox.signs_in(old.token) == ann.id
    assert attached.token.reveal() not in str(caught.value) + repr(caught.value)


# -- upsert


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_upsert_replaces_none_one_or_many(admin, domo_sandbox, ann, count):
    old = [domo_sandbox.add_access_token(ann.id, "etl") for _ in range(count)]
    bystanders = [
        domo_sandbox.add_access_token(ann.id, "etl 2"),
        domo_sandbox.add_access_token(domo_sandbox.admin.id, "etl"),
        domo_sandbox.add_access_token(ann.id, "etl", lifetime=-1),
    ]
    new = await DomoAccessToken.upsert(admin, owner_id=str(ann.id), name="etl", duration=5)
    assert changes(domo_sandbox) == ["generate", *(f"revoke {token.id}" for token in old)]
    assert isinstance(new.superseded, tuple)
    assert ids(new.superseded) == [token.id for token in old]
    assert ids(await DomoAccessToken.search(admin, owner_id=ann.id, name="etl")) == [new.id]
    assert {token.id for token in bystanders} <= set(domo_sandbox.state.access_tokens)
    assert domo_sandbox.signs_in(new.token.reveal()) == ann.id


async def test_upsert_does_not_mind_that_another_has_revoked_first(admin, domo_sandbox, ann):
    old = domo_sandbox.add_access_token(ann.id, "etl")

    def revoke_meanwhile(phase, record):
        if (record.method, record.path) == ("POST", TOKENS):
            domo_sandbox.state.access_tokens.pop(old.id, None)

    domo_sandbox.watch(revoke_meanwhile)
    new = await DomoAccessToken.upsert(admin, owner_id=ann.id, name="etl")
    assert [one.status for one in domo_sandbox.requests if one.method == "DELETE"] == [404]
    assert domo_sandbox.signs_in(new.token.reveal()) == ann.id


async def test_a_failure_while_replacing_leaves_the_new_token_with_the_error(admin, domo_sandbox, ann):
    old = [domo_sandbox.add_access_token(ann.id, "etl") for _ in range(3)]
    domo_sandbox.misbehave("status", status=500, method="DELETE", skip=1)
    with pytest.raises(errors.ServerError) as caught:
        await DomoAccessToken.upsert(admin, owner_id=ann.id, name="etl")
    attached = caught.value.attached
    assert domo_sandbox.signs_in(attached.token.reveal()) == ann.id
    assert [domo_sandbox.signs_in(token.token) for token in old] == [None, ann.id, ann.id]
    # The next run takes up from there.
    new = await DomoAccessToken.upsert(admin, owner_id=ann.id, name="etl")
    assert ids(new.superseded) == sorted([old[1].id, old[2].id, attached.id])


async def test_a_failed_creation_revokes_nothing_and_attaches_nothing(admin, domo_sandbox, ann):
    old = domo_sandbox.add_access_token(ann.id, "etl")
    domo_sandbox.misbehave("status", status=500, method="POST", path=TOKENS)
    with pytest.raises(errors.ServerError) as caught:
        await DomoAccessToken.upsert(admin, owner_id=ann.id, name="etl")
    assert caught.value.attached is None
    assert domo_sandbox.signs_in(old.token) == ann.id


async def test_upsert_of_the_token_in_use_makes_nothing(token_admin, domo_sandbox):
    with pytest.raises(errors.InvalidInputError):
        await DomoAccessToken.upsert(token_admin, owner_id=domo_sandbox.admin.id, name="sandbox")
    assert changes(domo_sandbox) == []
    assert domo_sandbox.signs_in(domo_sandbox.access_token) == domo_sandbox.admin.id


async def test_a_caller_who_goes_away_while_replacing_leaves_no_token_that_nobody_has(admin, domo_sandbox, ann):
    old = [domo_sandbox.add_access_token(ann.id, "etl") for _ in range(2)]
    domo_sandbox.misbehave("latency", seconds=0.5, method="DELETE", skip=1)
    before = set(domo_sandbox.state.access_tokens)
    with anyio.move_on_after(10) as scope:

        def go_away(phase, record):
            if record.method == "DELETE" and record.path.endswith(str(old[1].id)):
                scope.cancel()

        domo_sandbox.watch(go_away)
        await DomoAccessToken.upsert(admin, owner_id=ann.id, name="etl")
    assert scope.cancelled_caught
    assert set(domo_sandbox.state.access_tokens) <= before  # the new one is gone again
    made = [f"revoke {200_001 + n}" for n in range(20)]
    assert changes(domo_sandbox)[0] == "generate"
    assert changes(domo_sandbox)[-1] in made
    assert changes(domo_sandbox)[-1] not in {f"revoke {token.id}" for token in old}


# -- who may what


async def test_others_see_their_own_tokens_only(as_ann, domo_sandbox, ann):
    mine = domo_sandbox.add_access_token(ann.id, "etl")
    theirs = domo_sandbox.add_access_token(domo_sandbox.admin.id, "etl")
    assert {token.owner_id for token in await DomoAccessToken.get_all(as_ann)} == {ann.id}
    assert ids(await DomoAccessToken.search(as_ann, name="etl")) == [mine.id]
    assert await DomoAccessToken.search(as_ann, owner_id=domo_sandbox.admin.id) == []
    with pytest.raises(errors.NotFoundError):
        await DomoAccessToken.get_by_id(as_ann, theirs.id)


async def test_others_make_and_revoke_tokens_of_their_own_only(as_ann, domo_sandbox, ann):
    token = await DomoAccessToken.generate(as_ann, owner_id=ann.id, name="own")
    assert domo_sandbox.signs_in(token.token.reveal()) == ann.id
    await token.revoke()
    with pytest.raises(errors.PermissionDeniedError):
        await DomoAccessToken.generate(as_ann, owner_id=domo_sandbox.admin.id, name="not mine")
    theirs = domo_sandbox.add_access_token(domo_sandbox.admin.id, "etl")
    with pytest.raises(errors.PermissionDeniedError):
        await DomoAccessToken.from_json(as_ann, {"id": theirs.id, "ownerId": domo_sandbox.admin.id}).revoke()
    assert domo_sandbox.signs_in(theirs.token) == domo_sandbox.admin.id
    with pytest.raises(errors.PermissionDeniedError):
        await DomoAccessToken.upsert(as_ann, owner_id=domo_sandbox.admin.id, name="etl")
    assert len(domo_sandbox.state.access_tokens) == 4  # two of the seed, Ann's auth, `theirs`


@pytest.mark.parametrize(
    "call",
    [
        lambda auth: DomoAccessToken.get_all(auth),
        lambda auth: DomoAccessToken.get_by_id(auth, 1),
        lambda auth: DomoAccessToken.search(auth, name="etl"),
        lambda auth: DomoAccessToken.expiring_soon(auth, 1),
        lambda auth: DomoAccessToken.owned_by_leavers(auth),
        lambda auth: DomoAccessToken.generate(auth, owner_id=27, name="etl"),
        lambda auth: DomoAccessToken.upsert(auth, owner_id=27, name="etl"),
        lambda auth: DomoAccessToken.from_json(auth, {"id": 1, "ownerId": 27}).revoke(),
    ],
    ids=["get_all", "get_by_id", "search", "expiring_soon", "owned_by_leavers", "generate", "upsert", "revoke"],
)
async def test_the_platform_has_no_access_tokens_and_is_not_asked(domo_sandbox, call):
    async with oauth_client_auth(domo_sandbox) as auth:
        with pytest.raises(errors.UnsupportedByAuth, match="SessionAuth or AccessTokenAuth"):
            await call(auth)
    assert not domo_sandbox.requests


# -- the rest


async def test_nothing_is_changed_in_a_dry_run(admin, domo_sandbox, ann):
    made = domo_sandbox.add_access_token(ann.id, "etl")
    token = await DomoAccessToken.get_by_id(admin, made.id)
    with dry_run():
        for change in (
            lambda: DomoAccessToken.generate(admin, owner_id=ann.id, name="etl"),
            lambda: DomoAccessToken.upsert(admin, owner_id=ann.id, name="etl"),
            lambda: token.regenerate(),
            lambda: token.revoke(missing_ok=True),
        ):
            with pytest.raises(errors.DryRunRefused):
                await change()
    assert changes(domo_sandbox) == []
    assert domo_sandbox.signs_in(made.token) == ann.id


async def test_a_subclass_comes_back_as_itself_everywhere(admin, ann):
    token = await MyToken.generate(admin, owner_id=ann.id, name="etl")
    new = await MyToken.upsert(admin, owner_id=ann.id, name="etl")
    found = [
        token,
        new,
        *new.superseded,
        await new.regenerate(),
        *await MyToken.get_all(admin),
        *await MyToken.search(admin, name="etl"),
        await MyToken.get_by_id(admin, (await MyToken.get_all(admin).first()).id),
        *await MyToken.expiring_soon(admin, 400),
    ]
    assert {type(one) for one in found} == {MyToken}
    assert new.superseded


@entity
class PersonWhoStays(DomoUser):
    """Somebody who is here whatever Domo says."""

    is_active: bool | None = api("neverThere", default=True)


async def test_leavers_are_looked_for_with_the_chosen_class():
    people = [{"id": 2, "attributes": [{"key": "isActive", "values": [False]}]}]
    async with product_wire(classes={"USER": PersonWhoStays}) as (wire, auth):
        wire.get(TOKENS).respond(json=[row(1, ownerId=2)])
        wire.get("/api/identity/v1/users").mock(
            side_effect=[httpx.Response(200, json={"users": one}) for one in (people, [])]
        )
        assert await DomoAccessToken.owned_by_leavers(auth) == []


async def test_times_are_aware_whatever_the_clock_of_the_caller(domo_sandbox, ann):
    zone = timezone(timedelta(hours=9))
    async with access_token_auth(domo_sandbox, clock=lambda: NOW.astimezone(zone)) as auth:
        token = await DomoAccessToken.generate(auth, owner_id=ann.id, name="etl", duration=1)
    assert token.expires_at == NOW + timedelta(days=1)
    assert token.expires_at.utcoffset() == timedelta(0)


def test_a_clock_is_an_option_of_its_own():
    assert ClientOptions(clock=lambda: NOW).clock() == NOW
    assert abs(ClientOptions().clock() - datetime.now(UTC)) < timedelta(minutes=1)


async def test_what_is_shown_can_be_encoded_without_the_value(admin, ann):
    token = await DomoAccessToken.generate(admin, owner_id=ann.id, name="<b>etl</b>")
    shown = json.dumps(token.to_dict(), default=str)
    assert token.token.reveal() not in shown
    assert "Secret(***)" in shown
    assert "<b>" not in token._repr_html_()


async def test_upsert_may_replace_the_token_in_use_and_the_auth_goes_on_with_the_new_one(domo_sandbox):
    sb = domo_sandbox
    old = sb.add_access_token(sb.admin.id, "mine")
    other = sb.add_access_token(sb.admin.id, "mine")
    async with AccessTokenAuth(sb.instance, old.token, options=options_for(sb)) as auth:
        with pytest.raises(errors.InvalidInputError, match="even_if_in_use"):
            await DomoAccessToken.upsert(auth, owner_id=sb.admin.id, name="mine")
        new = await DomoAccessToken.upsert(auth, owner_id=sb.admin.id, name="mine", even_if_in_use=True)
        assert {token.id for token in new.superseded} == {old.id, other.id}
        assert (await auth.who_am_i()).id == sb.admin.id
        assert auth.signs_with(new.token)
