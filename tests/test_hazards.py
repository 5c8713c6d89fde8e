"""Hazards that published tutorials and libraries really have: one test for each, named after its number.

T1 to T38 are those of the credential story; `test_peer_…` are what other clients were seen doing.
"""

import ast
import importlib
import inspect
import json
import logging
import re
import socket
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import walk_packages

import anyio
import httpx
import pytest
import respx

import domokit
from domokit import (
    MASKED,
    NO_RETRY,
    AbstractCredentialStore,
    AccessTokenAuth,
    AccountConfig,
    ClientOptions,
    DomoAccessToken,
    DomoAccessTokenConfig,
    DomoAccount,
    DomoApiClient,
    DomoDataset,
    DomoEntity,
    DomoGroup,
    DomoRole,
    DomoUser,
    OAuthClientAuth,
    RetryPolicy,
    Secret,
    SessionAuth,
    auth_from_env,
    dry_run,
    override,
    record,
    rotate_access_token,
)
from domokit.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DomoDecodeError,
    DomoError,
    InvalidCredentialsError,
    InvalidInputError,
    InvalidInstanceError,
    MissingCredentialError,
    NotFoundError,
    OutcomeUnknown,
    PermissionDeniedError,
    RateLimitedError,
    RotationError,
    ServerError,
    UnexpectedPageError,
)
from domokit.routes.platform import accounts as platform_account_routes
from domokit.routes.platform import datasets as platform_dataset_routes
from domokit.routes.platform import groups as platform_group_routes
from domokit.routes.platform import users as platform_user_routes
from domokit.routes.product import access_tokens as token_routes
from domokit.routes.product import accounts as account_routes
from domokit.routes.product import api_clients as api_client_routes
from domokit.routes.product import authentication as authentication_routes
from domokit.routes.product import groups as group_routes
from domokit.routes.product import roles as role_routes
from domokit.routes.product import users as user_routes
from domokit.testing import access_token_auth, oauth_client_auth, options_for, session_auth
from domokit.transport import Route, send

PACKAGE = Path(domokit.__file__).parent
SIGN_IN = "/api/content/v2/authentication"
TOKENS = "/api/data/v1/accesstokens"
ACCOUNTS = "/api/data/v1/accounts"
FAST = RetryPolicy(base=0.01, cap=0.02)
DAY = timedelta(days=1)

LISTINGS = {
    "tokens": DomoAccessToken.get_all,
    "accounts": DomoAccount.get_all,
    "users": DomoUser.get_all,
    "groups": DomoGroup.get_all,
    "roles": DomoRole.get_all,
    "API clients": DomoApiClient.get_all,
}
PLATFORM_LISTINGS = {
    "accounts": DomoAccount.get_all,
    "users": DomoUser.get_all,
    "groups": DomoGroup.get_all,
    "datasets": DomoDataset.get_all,
}


def answering(answer, family="product", **options):
    """An auth whose server gives every request the same answer."""

    signed_in = []

    async def handle(request):
        if request.url.path == "/oauth/token":
            signed_in.append(request)
            assert len(signed_in) < 50, "endless"
            return httpx.Response(200, json={"access_token": "bearer-of-the-test", "expires_in": 3599})
        return answer(request) if callable(answer) else httpx.Response(**answer)

    given = ClientOptions(transport=httpx.MockTransport(handle), retry=NO_RETRY, **options)
    if family == "platform":
        return OAuthClientAuth("client", "secret-of-the-client", options=given)
    return AccessTokenAuth("acme", "token-of-the-test", options=given)


def paths(sandbox, *methods):
    return [(one.method, one.path) for one in sandbox.requests if one.method in methods]


def living(sandbox, name, owner_id=None):
    now = sandbox.clock.now_ms()
    return [
        token
        for token in sandbox.state.access_tokens.values()
        if token.name == name and token.expires > now and owner_id in (None, token.owner_id)
    ]


def stored_token(sandbox, account_id):
    return json.loads(sandbox.account_config(account_id)["credentials"])["access_token"]


def someone(sandbox, place=1):
    """The id of a person who is not the administrator."""
    return list(sandbox.state.users)[place]


# -- T1 to T6: tokens, made and replaced


async def test_t01_bodies_are_json_for_every_provider_type(domo_sandbox):
    auth = session_auth(domo_sandbox)
    made = 0
    for provider in await account_routes.get_providers(auth):
        described = await account_routes.get_provider(auth, provider["key"])
        if described["authenticationScheme"] == "oauth":
            continue
        names = [field["name"] for field in described.get("authenticationSchemeConfiguration") or []]
        fields = {name: Secret(f"value of {name}") for name in names}
        account = await DomoAccount.create(
            auth, name=f"a {provider['key']}", config=AccountConfig(provider["key"], fields)
        )
        assert domo_sandbox.account_config(account.id) == {name: f"value of {name}" for name in names}
        made += 1
    assert made > 10
    for one in domo_sandbox.requests:
        if one.method == "POST":
            json.loads(one.body)


@pytest.mark.parametrize(
    "value", [{"a", "set"}, {"a": "dict"}, ["a list"], b"bytes", 7, object()], ids=lambda value: type(value).__name__
)
def test_t01_what_is_no_text_is_refused(value):
    with pytest.raises(InvalidInputError):
        AccountConfig("snowflake", {"account": value})
    with pytest.raises(InvalidInputError):
        DomoAccessTokenConfig(value)
    if isinstance(value, (set, bytes)) or type(value) is object:
        with pytest.raises(InvalidInputError):
            AbstractCredentialStore({"access_token": value})


async def test_t02_rotation_never_leaves_a_gap(domo_sandbox):
    auth, owner = session_auth(domo_sandbox), someone(domo_sandbox)
    place = {"account": "etl token", "allow_external_use": True}
    first = await rotate_access_token(auth, owner_id=owner, name="etl", **place)
    gaps = []

    def look(phase, request):
        if domo_sandbox.signs_in(stored_token(domo_sandbox, first.account_id)) != owner:
            gaps.append((phase, request))

    domo_sandbox.requests.clear()
    unsubscribe = domo_sandbox.watch(look)
    second = await rotate_access_token(auth, owner_id=owner, name="etl", **place)
    unsubscribe()

    assert not gaps
    assert second.changed
    assert stored_token(domo_sandbox, first.account_id) == second.token.token.reveal()
    assert domo_sandbox.signs_in(first.token.token.reveal()) is None
    changes = [method for method, path in paths(domo_sandbox, "POST", "PUT", "DELETE") if path != SIGN_IN]
    assert changes == ["POST", "PUT", "DELETE"]  # create, store, revoke


async def test_t02_a_rotation_whose_create_fails_leaves_the_old_token_alone(domo_sandbox):
    auth, owner = session_auth(domo_sandbox), someone(domo_sandbox)
    first = await rotate_access_token(auth, owner_id=owner, name="etl", account="etl token")
    domo_sandbox.misbehave("status", status=500, method="POST", path=TOKENS)
    with pytest.raises(RotationError) as caught:
        await rotate_access_token(auth, owner_id=owner, name="etl", account="etl token")
    assert caught.value.step == "generate"
    assert domo_sandbox.signs_in(stored_token(domo_sandbox, first.account_id)) == owner


async def test_t02_regenerate_makes_before_it_revokes(domo_sandbox):
    auth, owner = session_auth(domo_sandbox), someone(domo_sandbox)
    old = await DomoAccessToken.generate(auth, owner_id=owner, name="etl")
    new = await old.regenerate()
    assert paths(domo_sandbox, "POST", "DELETE")[-2:] == [("POST", TOKENS), ("DELETE", f"{TOKENS}/{old.id}")]
    assert domo_sandbox.signs_in(new.token.reveal()) == owner
    domo_sandbox.misbehave("status", status=500, method="POST", path=TOKENS)
    with pytest.raises(ServerError):
        await new.regenerate()
    assert domo_sandbox.signs_in(new.token.reveal()) == owner


async def test_t03_a_listed_token_is_not_taken_for_a_credential(domo_auth, domo_sandbox):
    made = await DomoAccessToken.generate(domo_auth, owner_id=domo_sandbox.admin.id, name="etl")
    listed = await DomoAccessToken.get_by_id(domo_auth, made.id)
    assert made.token is not None
    assert listed.token is None
    with pytest.raises(InvalidInputError):
        listed.auth_with()
    with pytest.raises(InvalidInputError):
        DomoAccessTokenConfig(listed)
    with pytest.raises(InvalidInputError):
        AbstractCredentialStore({"access_token": listed})


@pytest.mark.parametrize("nothing", [None, "", Secret("")], ids=repr)
def test_t03_nothing_is_not_stored_as_a_token(nothing):
    with pytest.raises(InvalidInputError):
        DomoAccessTokenConfig(nothing)


async def test_t03_a_create_answer_without_the_secret_is_an_error():
    auth = answering({"status_code": 200, "json": {"id": 5, "name": "etl", "ownerId": 7, "token": None}})
    with pytest.raises(DomoDecodeError, match="value"):
        await DomoAccessToken.generate(auth, owner_id=7, name="etl")


async def test_t04_the_secret_is_handed_over_before_any_further_call(domo_auth, domo_sandbox):
    made = await DomoAccessToken.generate(domo_auth, owner_id=domo_sandbox.admin.id, name="etl")
    assert paths(domo_sandbox, "GET", "POST", "PUT", "DELETE")[-1] == ("POST", TOKENS)
    assert domo_sandbox.signs_in(made.token.reveal()) == domo_sandbox.admin.id


@pytest.mark.parametrize("call", ["upsert", "regenerate"])
async def test_t04_a_failure_after_the_create_carries_the_token(domo_auth, domo_sandbox, call):
    owner = someone(domo_sandbox)
    old = await DomoAccessToken.generate(domo_auth, owner_id=owner, name="etl")
    domo_sandbox.misbehave("status", status=500, method="DELETE")
    calls = {
        "upsert": lambda: DomoAccessToken.upsert(domo_auth, owner_id=owner, name="etl"),
        "regenerate": lambda: old.regenerate(),
    }
    with pytest.raises(ServerError) as caught:
        await calls[call]()
    new = caught.value.attached
    assert domo_sandbox.signs_in(new.token.reveal()) == owner
    assert new.token.reveal() not in f"{caught.value!r} {caught.value} {new!r} {vars(caught.value)}"
    await new.revoke()  # the clean-up that is offered


async def test_t04_a_caller_who_goes_away_leaves_no_token_that_nobody_has(served_domo_sandbox):
    sb = served_domo_sandbox
    owner = someone(sb)
    old = sb.add_access_token(owner, "etl")
    fault = sb.misbehave("latency", seconds=0.3, method="DELETE")
    async with session_auth(sb) as auth, anyio.create_task_group() as group:

        async def upsert():
            await DomoAccessToken.upsert(auth, owner_id=owner, name="etl")

        group.start_soon(upsert)
        while not fault.hits:
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert [token.id for token in living(sb, "etl") if token.id != old.id] == []


@pytest.mark.parametrize("fault", ["reset_before", "reset_after"])
async def test_t04_a_rotation_survives_a_lost_answer(domo_sandbox, fault):
    auth, owner = session_auth(domo_sandbox), someone(domo_sandbox)
    domo_sandbox.misbehave(fault, method="POST", path=TOKENS)
    result = await rotate_access_token(auth, owner_id=owner, name="etl", account="etl token")
    (only,) = living(domo_sandbox, "etl")
    assert stored_token(domo_sandbox, result.account_id) == only.token
    assert domo_sandbox.signs_in(only.token) == owner


async def test_t04_a_rotation_that_cannot_store_revokes_the_new_token_and_says_so(domo_sandbox):
    auth, owner = session_auth(domo_sandbox), someone(domo_sandbox)
    first = await rotate_access_token(auth, owner_id=owner, name="etl", account="etl token")
    domo_sandbox.misbehave("status", status=403, method="PUT", path="/api/data/v1/providers/")
    with pytest.raises(RotationError) as caught:
        await rotate_access_token(auth, owner_id=owner, name="etl", account="etl token")
    assert (caught.value.step, caught.value.stored, caught.value.left_alive) == ("store", False, ())
    assert [token.id for token in living(domo_sandbox, "etl")] == [first.generated.id]
    assert domo_sandbox.signs_in(stored_token(domo_sandbox, first.account_id)) == owner


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_t05_upsert_replaces_none_one_or_many(domo_auth, domo_sandbox, count):
    owner = someone(domo_sandbox)
    old = [domo_sandbox.add_access_token(owner, "etl", lifetime=86_400 * (n + 1)) for n in range(count)]
    expired = domo_sandbox.add_access_token(owner, "etl", lifetime=-60)

    new = await DomoAccessToken.upsert(domo_auth, owner_id=owner, name="etl")

    assert {one.id for one in new.superseded} == {one.id for one in old}
    assert [token.id for token in living(domo_sandbox, "etl")] == [new.id]
    assert expired.id in domo_sandbox.state.access_tokens  # skipped
    assert domo_sandbox.signs_in(new.token.reveal()) == owner


async def test_t05_the_newest_of_several_is_what_a_rotation_goes_by(domo_sandbox):
    auth, owner = session_auth(domo_sandbox), someone(domo_sandbox)
    domo_sandbox.add_access_token(owner, "etl", lifetime=3600)  # the oldest, listed first, near its end
    newest = domo_sandbox.add_access_token(owner, "etl", lifetime=86_400 * 60)
    result = await rotate_access_token(auth, owner_id=owner, name="etl", min_remaining=30)
    assert not result.changed
    assert newest.id in domo_sandbox.state.access_tokens


async def test_t06_expired_tokens_are_told_apart_and_can_be_purged(domo_auth, domo_sandbox):
    owner = someone(domo_sandbox)
    dead = domo_sandbox.add_access_token(owner, "etl", lifetime=-86_400 * 365)
    alive = domo_sandbox.add_access_token(owner, "etl")

    async def ids(**filters):
        return {token.id for token in await DomoAccessToken.search(domo_auth, owner_id=owner, **filters)}

    assert await ids() == {alive.id}
    assert await ids(expired=True) == {dead.id}
    assert await ids(expired=None) == {alive.id, dead.id}
    assert {
        token.id: token.is_expired for token in await DomoAccessToken.get_all(domo_auth) if token.name == "etl"
    } == {
        alive.id: False,
        dead.id: True,
    }
    for token in await DomoAccessToken.search(domo_auth, expired=True):
        await token.revoke()
    assert not await DomoAccessToken.search(domo_auth, expired=True)


# -- T7 to T9: time


ZONES = ["Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu", "Europe/London"]
MOMENTS = [
    datetime(2025, 3, 30, 0, 30, tzinfo=UTC),  # clocks in London go forward within the hour
    datetime(2025, 10, 26, 0, 30, tzinfo=UTC),  # and back
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
]


@pytest.fixture(params=ZONES)
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("now", MOMENTS, ids=str)
async def test_t07_expiry_is_reckoned_in_utc_by_the_injected_clock(domo_sandbox, zone, now):
    auth = session_auth(domo_sandbox, clock=lambda: now)
    token = await DomoAccessToken.generate(auth, owner_id=domo_sandbox.admin.id, name="etl", duration=1)
    sent = domo_sandbox.requests[-1].json["expires"]
    exact = (now + DAY).timestamp() * 1000
    assert exact <= sent < exact + 1000  # whole seconds, rounded up
    assert sent % 1000 == 0
    assert token.expires_at.utcoffset() == timedelta(0)
    assert token.expires_at.timestamp() * 1000 == sent
    assert token.remaining == token.expires_at - now
    assert not token.is_expired


async def test_t07_a_local_clock_is_as_good_as_any(domo_sandbox):
    """An aware clock in another zone gives the same instant."""
    elsewhere = datetime(2025, 6, 1, 14, 45, tzinfo=UTC).astimezone()
    auth = session_auth(domo_sandbox, clock=lambda: elsewhere)
    token = await DomoAccessToken.generate(auth, owner_id=domo_sandbox.admin.id, name="etl", duration=1)
    assert token.expires_at == datetime(2025, 6, 2, 14, 45, tzinfo=UTC)


async def test_t08_what_is_written_is_read_back(domo_sandbox, zone):
    auth = session_auth(domo_sandbox)
    made = await DomoAccessToken.generate(auth, owner_id=domo_sandbox.admin.id, name="etl", duration=DAY)
    read = await DomoAccessToken.get_by_id(auth, made.id)
    assert read.expires_at == made.expires_at
    assert read.expires_at.tzinfo is not None
    assert abs(read.remaining - DAY) < timedelta(minutes=1)


async def test_t09_durations_have_a_default_and_limits(domo_auth, domo_sandbox):
    owner = domo_sandbox.admin.id
    before = datetime.now(UTC)
    made = await DomoAccessToken.generate(domo_auth, owner_id=owner, name="etl")
    assert timedelta(days=30) <= made.expires_at - before < timedelta(days=30, minutes=1)
    for same in (timedelta(days=2), 2, 2.0):
        made = await DomoAccessToken.generate(domo_auth, owner_id=owner, name="etl", duration=same)
        assert abs(made.remaining - 2 * DAY) < timedelta(minutes=1)
    sent = len(domo_sandbox.requests)
    for absurd in (0, -1, timedelta(0), timedelta(days=-1), 10**6, 1e300, float("nan"), float("inf"), True, "15", None):
        for call in (DomoAccessToken.generate, DomoAccessToken.upsert, rotate_access_token):
            with pytest.raises(InvalidInputError):
                await call(domo_auth, owner_id=owner, name="etl", duration=absurd)
    created = [one for one in list(domo_sandbox.requests)[sent:] if one.method != "GET"]
    assert not created


# -- T10 to T12: nothing secret is shown


def shown_by(error):
    """All that a traceback printed with local variables would show, but for the frames of this very file."""
    seen, todo, lines = set(), [error], []
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        lines += [str(one), repr(one), repr(vars(one))]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != __file__:
                lines += map(repr, frame.f_locals.values())
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return "\n".join(lines)


async def failing_calls(sb, token):
    """Errors of every kind that know a secret, each from a call of its own."""
    auth = session_auth(sb, retry=NO_RETRY)
    await auth.sign_in()
    config = AccountConfig("snowflake", {"account": "a", "username": "u", "password": Secret(token), "rolle": "x"})
    store = AbstractCredentialStore({"access_token": Secret(token)})
    lost = {"method": ["POST", "PUT"], "times": 1}
    calls = [
        (None, lambda: AccessTokenAuth(sb.instance, token, options=options_for(sb)).who_am_i()),
        (None, lambda: AccessTokenAuth("evil.com/", token)),
        (None, lambda: SessionAuth(sb.instance, sb.username, token, options=options_for(sb)).sign_in()),
        (None, lambda: OAuthClientAuth(sb.client_id, token, options=options_for(sb)).sign_in()),
        (None, lambda: DomoAccount.create(auth, name="x", config=config)),
        ("reset_after", lambda: DomoAccount.create(auth, name="x", config=store)),
        ("status", lambda: DomoAccount.create(auth, name="x", config=store)),
        ("html", lambda: DomoAccount.create(auth, name="x", config=store)),
        ("half_json", lambda: DomoAccessToken.generate(auth, owner_id=sb.admin.id, name="etl")),
        ("truncated", lambda: DomoAccessToken.generate(auth, owner_id=sb.admin.id, name="etl")),
        ("reset_before", lambda: DomoUser.get_many(auth, [1, 2, 3])),
        (None, lambda: send(auth, Route("product", "POST", "/api/x"), json={"key": Secret(token), "x": object()})),
        (None, lambda: send(auth, Route("product", "POST", "/api/{x}"), json={"y": Secret(token)}, x="..")),
    ]
    for fault, call in calls:
        if fault is not None:
            sb.misbehave(fault, **(lost if fault != "reset_before" else {"method": "GET", "times": 3}))
        try:
            made = call()
            await made
        except Exception as error:  # whatever it is, it must not show the secret
            yield error
        else:
            pytest.fail("this call should have failed")
        sb.heal()
    yield None if auth.current() is None else auth


async def test_t10_no_secret_in_errors_logs_or_tracebacks(served_domo_sandbox, caplog):
    sb = served_domo_sandbox
    token = "never-to-be-seen-0123456789"
    with caplog.at_level(logging.DEBUG):
        *errors, auth = [outcome async for outcome in failing_calls(sb, token)]
    secrets = [token, sb.password, sb.client_secret, auth.current().reveal()]
    secrets += [one.token for one in sb.state.access_tokens.values() if one.name == "etl"]
    assert len(errors) == 13
    for error in errors:
        shown = shown_by(error)
        for secret in secrets:
            assert secret not in shown, f"{type(error).__name__} shows a secret"
    for secret in secrets:
        assert secret not in caplog.text
    await auth.aclose()


async def test_t10_no_secret_in_the_tracebacks_of_a_cancelled_call(served_domo_sandbox):
    sb = served_domo_sandbox
    sb.misbehave("latency", seconds=5, times=None)
    token = "never-to-be-seen-0123456789"
    auth = AccessTokenAuth(sb.instance, token, options=options_for(sb))
    shown = ""
    with anyio.move_on_after(0.2):
        try:
            await DomoAccount.create(auth, name="x", config=AbstractCredentialStore({"access_token": Secret(token)}))
        except anyio.get_cancelled_exc_class() as cancelled:
            shown = shown_by(cancelled)
            raise
    await auth.aclose()
    assert shown
    assert token not in shown


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # under trio httpx itself leaves a generator half-read then
async def test_t10_no_secret_in_the_traceback_of_a_body_that_did_not_get_through():
    """The frames of the HTTP library hold the encoded body while it is being written."""
    body = {"password": Secret("never-to-be-seen-0123456789"), "more": "x" * 16_000_000}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        options = ClientOptions(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3, retry=NO_RETRY)
        async with AccessTokenAuth("acme", "token-of-the-test", options=options) as auth:
            with pytest.raises(OutcomeUnknown) as caught:
                await send(auth, Route("product", "POST", "/api/x"), json=body)
    shown = shown_by(caught.value)
    assert "WriteTimeout" in shown
    assert "never-to-be-seen" not in shown
    assert "token-of-the-test" not in shown


async def test_t10_no_secret_in_what_objects_show(domo_sandbox):
    auth = session_auth(domo_sandbox)
    token = await DomoAccessToken.generate(auth, owner_id=domo_sandbox.admin.id, name="etl")
    with record() as answers:
        result = await rotate_access_token(
            auth, owner_id=domo_sandbox.admin.id, name="other", account="a", allow_external_use=True
        )
        account = await DomoAccount.get_by_id(auth, result.account_id)
        config = await account.get_config(unmask=True)
    objects = [auth, token, token.auth_with(), result, result.token, account, config, config.fields, answers]
    objects += [oauth_client_auth(domo_sandbox), auth.options, token.token]
    secrets = [domo_sandbox.password, domo_sandbox.client_secret, auth.current().reveal()]
    secrets += [token.token.reveal(), result.token.token.reveal()]
    for one in objects:
        shown = [repr(one), str(one), f"{one}", repr(getattr(one, "__dict__", ""))]
        shown += [one._repr_html_()] if hasattr(one, "_repr_html_") else []
        shown += [repr(one.to_dict()), json.dumps(one.to_dict(), default=str)] if hasattr(one, "to_dict") else []
        for secret in secrets:
            assert secret not in "".join(shown), type(one).__name__


async def test_t11_secrets_in_answers_are_wrapped_at_any_depth():
    body = {
        "sessionToken": "wrapped-1",
        "deep": [{"apiKey": "wrapped-2", "list": [{"client_secret": "wrapped-3"}]}],
        "name": "open",
        "token_type": "bearer",
        "tokenId": "77",
    }
    answer = await send(answering({"status_code": 200, "json": body}), Route("product", "GET", "/api/x"))
    assert "wrapped" not in repr(answer)
    assert answer["sessionToken"].reveal() == "wrapped-1"
    assert answer["deep"][0]["apiKey"].reveal() == "wrapped-2"
    assert answer["deep"][0]["list"][0]["client_secret"].reveal() == "wrapped-3"
    assert (answer["name"], answer["token_type"], answer["tokenId"]) == ("open", "bearer", "77")


async def test_t11_the_answer_to_a_create_shows_nothing(domo_auth, domo_sandbox):
    expires = int(time.time() + 3600) * 1000
    made = await token_routes.generate_access_token(
        domo_auth, owner_id=domo_sandbox.admin.id, name="etl", expires=expires
    )
    (token,) = living(domo_sandbox, "etl")
    assert token.token not in repr(made)
    assert made["token"].reveal() == token.token


async def test_t12_secrets_are_taken_as_secret_everywhere(domo_sandbox):
    sb, options = domo_sandbox, options_for(domo_sandbox)
    for auth in (
        SessionAuth(sb.instance, sb.username, Secret(sb.password), options=options),
        AccessTokenAuth(sb.instance, Secret(sb.access_token), options=options),
        OAuthClientAuth(sb.client_id, Secret(sb.client_secret), options=options),
    ):
        assert (await auth.who_am_i()).id == sb.admin.id
        held = [value for value in vars(auth).values() if isinstance(value, str)]
        assert not {sb.password, sb.access_token, sb.client_secret} & set(held)
    user = await DomoUser.get_by_id(session_auth(sb), someone(sb))
    await user.set_password(Secret("a-new-password-1"))
    assert sb.find_user(user.id).password == "a-new-password-1"


async def test_t12_the_session_token_is_a_secret(domo_auth):
    token = await authentication_routes.get_session_token(domo_auth)
    assert isinstance(token, Secret)
    assert len(token.reveal()) > 20


# -- T13 to T17: answers are looked at


def routes_of(*modules):
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, Route):
                yield pytest.param(value, id=f"{module.__name__.rpartition('.')[2]}.{name}")


PRODUCT = (
    token_routes,
    account_routes,
    api_client_routes,
    authentication_routes,
    group_routes,
    role_routes,
    user_routes,
)
PLATFORM = (platform_account_routes, platform_dataset_routes, platform_group_routes, platform_user_routes)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
async def test_t13_every_route_raises_for_every_refusal(status):
    said = {"status": status, "message": "no, because", "toe": "ABC-123"}
    for param in [*routes_of(*PRODUCT), *routes_of(*PLATFORM)]:
        (route,) = param.values
        auth = answering({"status_code": status, "json": said}, route.family)
        with pytest.raises(APIError) as caught:
            await send(auth, route, **dict.fromkeys(re.findall(r"{(\w+)}", route.path), 7))
        assert (caught.value.status, caught.value.domo_message) == (status, "no, because"), param.id


BROKEN = {
    "401": ({"status_code": 401, "json": {"status": 401, "message": "Full authentication"}}, AuthenticationError),
    "403": ({"status_code": 403, "json": {"status": 403, "message": "Forbidden"}}, PermissionDeniedError),
    "500": ({"status_code": 500, "text": ""}, ServerError),
    "502 page": ({"status_code": 502, "html": "<html><title>Bad Gateway</title></html>"}, ServerError),
    "page": ({"status_code": 200, "html": "<!DOCTYPE html><html></html>"}, UnexpectedPageError),
    "nothing": ({"status_code": 200, "text": ""}, DomoDecodeError),
    "half": ({"status_code": 200, "text": '[{"id": 1'}, DomoDecodeError),
    "error as 200": (
        {"status_code": 200, "json": {"status": 401, "message": "no", "accessToken": "hidden-in-body"}},
        DomoDecodeError,
    ),
    "text": ({"status_code": 200, "json": "a text"}, DomoDecodeError),
    "null": ({"status_code": 200, "json": None}, DomoDecodeError),
}


def listing_params():
    for family, listings in (("product", LISTINGS), ("platform", PLATFORM_LISTINGS)):
        for name, listing in listings.items():
            yield pytest.param(listing, family, id=f"{name}-{family}")


@pytest.mark.parametrize(("listing", "family"), list(listing_params()))
async def test_t14_every_listing_says_what_went_wrong(listing, family):
    for name in ("401", "403", "500", "502 page", "page", "nothing", "half", "text", "null"):
        answer, kind = BROKEN[name]
        with pytest.raises(kind):
            await listing(answering(answer, family))
        with pytest.raises(kind):
            await listing(answering(answer, family)).first()


WRAPPED = (DomoUser.get_all, DomoApiClient.get_all)  # their answer is an object that holds the list


@pytest.mark.parametrize(("listing", "family"), list(listing_params()))
async def test_t15_an_error_object_is_not_walked_as_a_list(listing, family):
    if family == "product" and listing in WRAPPED:
        return  # an object is what they expect; see the next test
    answer, kind = BROKEN["error as 200"]
    with pytest.raises(kind) as caught:
        await listing(answering(answer, family))
    assert len(str(caught.value)) < 400
    assert "hidden-in-body" not in shown_by(caught.value)


@pytest.mark.parametrize("item", [1, "text", True, ["a list"]], ids=repr)
@pytest.mark.parametrize(("listing", "family"), list(listing_params()))
async def test_t15_items_that_are_no_objects_are_a_decode_error(listing, family, item):
    body = {"users": [item]} if listing == DomoUser.get_all and family == "product" else [item]
    with pytest.raises(DomoDecodeError):
        await listing(answering({"status_code": 200, "json": body}, family))


@pytest.mark.parametrize("users", ["text", 7, {"id": 1}, True], ids=repr)
async def test_t15_a_list_inside_an_object_is_checked_too(users):
    auth = answering({"status_code": 200, "json": {"users": users}})
    with pytest.raises(DomoDecodeError):
        await DomoUser.get_all(auth)
    with pytest.raises(DomoDecodeError):
        await DomoUser.get_by_id(auth, 7)


def public_functions():
    for module in (*PRODUCT, *PLATFORM):
        for name, value in vars(module).items():
            if inspect.iscoroutinefunction(value) and value.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", value
    for kind in (DomoAccessToken, DomoAccount, DomoApiClient, DomoDataset, DomoGroup, DomoRole, DomoUser):
        for name, value in inspect.getmembers(kind, callable):
            if not name.startswith("_"):
                yield f"{kind.__name__}.{name}", value


async def test_t16_one_contract_for_what_comes_back(domo_auth, domo_sandbox):
    user = await DomoUser.get_by_id(domo_auth, domo_sandbox.admin.id)
    assert type(user) is DomoUser
    assert type(await user_routes.get_user_by_id(domo_auth, domo_sandbox.admin.id)) is dict
    for listing in LISTINGS.values():
        if listing == DomoApiClient.get_all:
            continue
        assert all(isinstance(one, DomoEntity) for one in await listing(domo_auth))
    flags = {"return_raw", "raw", "debug_api", "session", "parent_class", "is_suppress_errors"}
    for name, function in public_functions():
        assert not flags & set(inspect.signature(function).parameters), name


async def test_t17_the_answer_is_not_touched(domo_auth, domo_sandbox):
    for kind, answer in {
        DomoUser: await user_routes.get_user_by_id(domo_auth, domo_sandbox.admin.id),
        DomoAccount: (await account_routes.get_accounts(domo_auth))[0],
        DomoAccessToken: (await token_routes.get_all_access_tokens(domo_auth))[0],
        DomoGroup: (await group_routes.list_groups(domo_auth, 0, 10))[0],
        DomoRole: (await role_routes.get_roles(domo_auth))[0],
    }.items():
        before = json.dumps(answer)
        built = kind.from_json(domo_auth, answer)
        repr(built), built._repr_html_(), built.to_dict()
        assert json.dumps(answer) == json.dumps(dict(built.raw)) == before


async def test_t17_changes_leave_the_answer_of_before_alone(domo_auth, domo_sandbox):
    user = await DomoUser.get_by_id(domo_auth, someone(domo_sandbox))
    raw, before = user.raw, json.dumps(dict(user.raw))
    await user.update(title="Something new")
    assert json.dumps(dict(raw)) == before
    assert user.title == "Something new"


# -- T18 to T22: what goes in


async def test_t18_owner_id_as_text_or_number_is_one_owner(domo_auth, domo_sandbox):
    owner = someone(domo_sandbox)
    first = await DomoAccessToken.upsert(domo_auth, owner_id=str(owner), name="etl")
    second = await DomoAccessToken.upsert(domo_auth, owner_id=owner, name="etl")
    assert [one.id for one in second.superseded] == [first.id]
    result = await rotate_access_token(domo_auth, owner_id=str(owner), name="etl", account="etl token")
    assert [one.id for one in result.revoked] == [second.id]
    assert len(living(domo_sandbox, "etl")) == 1
    for spelling in (owner, str(owner)):
        assert len(await DomoAccessToken.search(domo_auth, owner_id=spelling, name="etl")) == 1
        assert (await DomoUser.get_by_id(domo_auth, spelling)).id == owner


async def test_t18_ids_that_come_as_texts_are_the_same_ids():
    rows = [
        {"id": "5", "name": "etl", "ownerId": "27", "expires": 4_000_000_000_000},
        {"id": 6, "name": "etl", "ownerId": 27, "expires": 4_000_000_000_000},
    ]
    auth = answering({"status_code": 200, "json": rows})
    found = await DomoAccessToken.search(auth, owner_id=27)
    assert [(token.id, token.owner_id) for token in found] == [(5, 27), (6, 27)]
    assert (await DomoAccessToken.get_by_id(auth, "5")) == (await DomoAccessToken.get_by_id(auth, 5))


async def test_t19_arguments_are_not_changed(domo_auth, domo_sandbox):
    fields = {"account": "a", "username": "u", "password": "p-1234567"}
    credentials = {"access_token": "t-1234567", "nested": {"list": [1]}}
    body = {"name": "x", "secret": Secret("s-1234567"), "list": [{"a": 1}]}
    params, details = {"a": None, "b": True}, {"title": "T"}
    before = [repr(one) for one in (fields, credentials, body, params, details)]

    await DomoAccount.create(domo_auth, name="a", config=AccountConfig("snowflake", fields))
    await DomoAccount.create(domo_auth, name="b", config=AbstractCredentialStore(credentials))
    with pytest.raises(NotFoundError):
        await send(domo_auth, Route("product", "POST", "/api/no/such/thing"), json=body, params=params)
    await DomoUser.create(domo_auth, name="Zoë", email="zoe@example.com", role_id=4, **details)

    assert [repr(one) for one in (fields, credentials, body, params, details)] == before


async def test_t19_options_are_shared_without_a_session_leaking_into_them(domo_sandbox):
    options = options_for(domo_sandbox, event_hooks={"request": []})
    before = repr(vars(options) if hasattr(options, "__dict__") else [getattr(options, n) for n in ("event_hooks",)])
    admin = SessionAuth(domo_sandbox.instance, domo_sandbox.username, domo_sandbox.password, options=options)
    person = domo_sandbox.add_user("Zoë", "zoe@example.com", password="a-password-1")
    other = SessionAuth(domo_sandbox.instance, "zoe@example.com", "a-password-1", options=options)
    assert (await admin.who_am_i()).id == domo_sandbox.admin.id
    assert (await other.who_am_i()).id == person.id
    after = repr(vars(options) if hasattr(options, "__dict__") else [getattr(options, n) for n in ("event_hooks",)])
    assert after == before


@pytest.mark.parametrize("nothing", [None, "", Secret("")], ids=repr)
@respx.mock
def test_t20_no_credential_is_an_error_before_anything_is_sent(respx_mock, nothing):
    for build in (
        lambda: AccessTokenAuth("acme", nothing),
        lambda: SessionAuth("acme", "ann@example.com", nothing),
        lambda: OAuthClientAuth("client", nothing),
    ):
        with pytest.raises(MissingCredentialError):
            build()
    for kind in (AccessTokenAuth, SessionAuth, OAuthClientAuth):
        with pytest.raises(MissingCredentialError, match="DOMO_"):
            kind.from_env()
    with pytest.raises(MissingCredentialError):
        auth_from_env()
    assert not respx_mock.calls


async def test_t20_no_request_goes_out_without_its_header(domo_sandbox):
    for auth, header in (
        (session_auth(domo_sandbox), "x-domo-authentication"),
        (access_token_auth(domo_sandbox), "x-domo-developer-token"),
        (oauth_client_auth(domo_sandbox), "authorization"),
    ):
        domo_sandbox.requests.clear()
        await DomoUser.get_all(auth)
        await DomoAccount.get_all(auth)
        asked = [one for one in domo_sandbox.requests if one.path not in (SIGN_IN, "/oauth/token")]
        assert asked
        assert all(one.headers.get(header) for one in asked)


async def test_t20_a_sign_in_without_a_token_signs_nothing():
    asked = []

    async def handle(request):
        asked.append(request.url.path)
        return httpx.Response(200, json={"success": True, "sessionToken": None})

    auth = SessionAuth(
        "acme", "ann@example.com", "a-password", options=ClientOptions(transport=httpx.MockTransport(handle))
    )
    with pytest.raises(AuthenticationError):
        await DomoUser.get_by_id(auth, 7)
    assert asked == [SIGN_IN]


@pytest.mark.parametrize(
    "instance",
    ["acme", "ACME", "acme.domo.com", "https://acme.domo.com", "https://acme.domo.com/", "https://acme.domo.com/a?b#c"],
)
@respx.mock
async def test_t21_every_spelling_of_an_instance_leads_to_it(respx_mock, instance):
    wire = respx_mock.get("https://acme.domo.com/api/content/v2/users/me").respond(json={"id": 7})
    auth = AccessTokenAuth(instance, "token-of-the-test")
    assert (await auth.who_am_i()).id == 7
    assert wire.call_count == 1
    assert auth.instance.name == "acme"


@pytest.mark.parametrize(
    "instance",
    [
        "evil.com/",
        "evil.com/acme",
        "evil.com#",
        "evil.com?",
        "evil.com:443/x",
        "acme@evil.com",
        "evil.com/.domo.com",
        "evil.com#.domo.com",
        "evil.com?.domo.com",
        "evil.com\\.domo.com",
        "https://evil.com/acme.domo.com",
        "https://evil.com#.domo.com",
        "https://acme.domo.com.evil.com",
        "https://acme.domo.com@evil.com",
        "https://user:pw@acme.domo.com",
        "http://acme.domo.com",
        "https://acme.domo.com:8443",
        "acme.domo.com:80",
        "a.b.domo.com",
        ".domo.com",
        "-acme",
        "acme-",
        "ac me",
        " acme",
        "acme\n",
        "acme.domo.com\nevil",
        "acme\r\nHost: evil.com",
        "ac\x00me",
        "açme",
        "ⓐcme",
        "acme。domo。com",
        "a" * 64,
        "",
        "..",
        "127.0.0.1",
        None,
        7,
        b"acme",
    ],
    ids=repr,
)
@respx.mock
def test_t21_anything_else_is_refused_and_gets_nothing(respx_mock, instance):
    for build in (
        lambda: SessionAuth(instance, "ann@example.com", "a-password"),
        lambda: AccessTokenAuth(instance, "token-of-the-test"),
    ):
        with pytest.raises(InvalidInstanceError) as caught:
            build()
        assert "a-password" not in shown_by(caught.value)
    assert not respx_mock.calls


@respx.mock
async def test_t21_another_host_takes_an_explicit_word(respx_mock):
    wire = respx_mock.get("https://gateway.example.com/api/content/v2/users/me").respond(json={"id": 7})
    options = ClientOptions(base_url="https://gateway.example.com")
    await AccessTokenAuth("acme", "token-of-the-test", options=options).who_am_i()
    assert wire.call_count == 1


async def test_t22_a_silent_server_does_not_hold_a_caller(served_domo_sandbox):
    sb = served_domo_sandbox
    sb.misbehave("latency", seconds=5, times=None)
    for build in (access_token_auth, session_auth, oauth_client_auth):  # signing in has its limit, too
        async with build(sb, retry=NO_RETRY) as auth:
            with override(timeout=0.1), pytest.raises(DomoError):
                await DomoUser.get_by_id(auth, sb.admin.id)
    defaults = ClientOptions()
    assert None not in defaults.timeout.as_dict().values()
    assert defaults.total_timeout is not None


# -- T23 to T25: repeating and revoking


async def test_t23_a_lost_creation_is_looked_for_and_not_repeated(domo_sandbox):
    auth = session_auth(domo_sandbox, retry=FAST)
    await auth.sign_in()
    for fault, people in (("reset_before", 0), ("reset_after", 1)):
        domo_sandbox.misbehave(fault, method="POST", path=TOKENS, times=None)
        domo_sandbox.requests.clear()
        with pytest.raises(OutcomeUnknown):
            await DomoAccessToken.generate(auth, owner_id=domo_sandbox.admin.id, name=f"etl {fault}")
        assert paths(domo_sandbox, "POST") == [("POST", TOKENS)]
        assert len(living(domo_sandbox, f"etl {fault}")) == people
        domo_sandbox.heal()


async def test_t23_an_upsert_reads_back_after_a_lost_creation(domo_sandbox):
    auth = session_auth(domo_sandbox, retry=FAST)
    config = AbstractCredentialStore({"access_token": "t-1234567"})
    domo_sandbox.misbehave("reset_after", method="POST", path=f"{ACCOUNTS}$")
    account = await DomoAccount.upsert(auth, name="etl", config=config)
    domo_sandbox.misbehave("reset_after", method="POST", path="/api/content/v3/users$")
    user = await DomoUser.upsert(auth, name="Zoë", email="zoe@example.com", role_id=4)

    assert [one.id for one in await DomoAccount.search(auth, contains="etl")].count(account.id) == 1
    assert len([one for one in domo_sandbox.state.accounts.values() if one.display_name.startswith("etl (")]) == 0
    assert len([one for one in domo_sandbox.state.users.values() if one.email == "zoe@example.com"]) == 1
    assert paths(domo_sandbox, "POST").count(("POST", ACCOUNTS)) == 1
    assert user.name == "Zoë"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_t23_what_may_be_repeated_is(domo_sandbox, method):
    auth = session_auth(domo_sandbox, retry=FAST)
    account = await DomoAccount.create(auth, name="etl", config=AbstractCredentialStore("{}"))
    fault = domo_sandbox.misbehave("reset_before", method=method, path="/api/data/", times=2)
    match method:
        case "GET":
            await account.refresh()
        case "PUT":
            await account.update_name("renamed")
        case "DELETE":
            await account.delete()
    assert fault.hits == 2


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_t24_a_refused_revocation_is_not_reported_as_done(domo_auth, domo_sandbox, status):
    token = await DomoAccessToken.generate(domo_auth, owner_id=someone(domo_sandbox), name="etl")
    domo_sandbox.misbehave("status", status=status, method="DELETE")
    with pytest.raises(APIError) as caught:
        await token.revoke(missing_ok=True)
    assert caught.value.status == status
    assert domo_sandbox.signs_in(token.token.reveal())


async def test_t24_gone_already_is_an_error_unless_it_is_meant(domo_auth, domo_sandbox):
    token = await DomoAccessToken.generate(domo_auth, owner_id=someone(domo_sandbox), name="etl")
    await token.revoke()
    assert domo_sandbox.signs_in(token.token.reveal()) is None
    with pytest.raises(NotFoundError):
        await token.revoke()
    await token.revoke(missing_ok=True)


async def test_t25_the_token_in_use_is_not_revoked_by_accident(domo_sandbox):
    auth = access_token_auth(domo_sandbox)
    me = domo_sandbox.admin.id
    made = await DomoAccessToken.generate(auth, owner_id=me, name="etl")
    own = made.auth_with()
    at_hand = DomoAccessToken(auth=own, id=made.id, name="etl", owner_id=me, token=made.token)
    with pytest.raises(InvalidInputError, match="is the one"):
        await at_hand.revoke()
    listed = await DomoAccessToken.get_by_id(own, made.id)
    with pytest.raises(InvalidInputError):
        await listed.revoke()
    with pytest.raises(InvalidInputError):
        await DomoAccessToken.upsert(own, owner_id=me, name="etl")
    with pytest.raises(InvalidInputError):
        await listed.regenerate()
    assert not paths(domo_sandbox, "DELETE")
    assert len(living(domo_sandbox, "etl")) == 1  # nor was another made
    await listed.revoke(even_if_in_use=True)
    assert domo_sandbox.signs_in(made.token.reveal()) is None


async def test_t25_nobody_else_s_token_is_touched(domo_auth, domo_sandbox):
    mine, yours = someone(domo_sandbox, 1), someone(domo_sandbox, 2)
    foreign = domo_sandbox.add_access_token(yours, "etl")
    namesake = domo_sandbox.add_access_token(mine, "etl (old)")
    await DomoAccessToken.upsert(domo_auth, owner_id=mine, name="etl")
    await DomoAccessToken.upsert(domo_auth, owner_id=mine, name="etl")
    await rotate_access_token(domo_auth, owner_id=mine, name="etl", account="etl token")
    assert domo_sandbox.signs_in(foreign.token) == yours
    assert domo_sandbox.signs_in(namesake.token) == mine


async def test_t25_a_dry_run_sends_nothing_that_changes_anything(domo_auth, domo_sandbox):
    owner = someone(domo_sandbox)
    old = domo_sandbox.add_access_token(owner, "etl")
    await domo_auth.sign_in()
    domo_sandbox.requests.clear()
    plan = await rotate_access_token(domo_auth, owner_id=owner, name="etl", account="etl token", dry_run=True)
    assert plan.dry_run
    assert [one.id for one in plan.revoked] == [old.id]
    with dry_run(), pytest.raises(DomoError):
        await (await DomoAccessToken.get_by_id(domo_auth, old.id)).revoke()
    assert {one.method for one in domo_sandbox.requests} == {"GET"}


# -- T26 to T33: accounts


async def test_t26_an_account_is_found_again_on_another_day(domo_sandbox):
    auth = session_auth(domo_sandbox)
    config = AbstractCredentialStore({"a": 1})
    first = await DomoAccount.upsert(auth, name="etl", config=config)
    domo_sandbox.clock.advance(3 * DAY)
    second = await DomoAccount.upsert(auth, name="etl", config=config)
    assert (second.id, second.name) == (first.id, "etl")


async def test_t26_a_suffix_of_domo_s_is_not_another_account(domo_sandbox):
    auth = session_auth(domo_sandbox)
    other = await DomoAccount.create(
        auth, name="etl", config=AccountConfig("snowflake", {"account": "a", "username": "u", "password": "p"})
    )
    first = await DomoAccount.upsert(auth, name="etl", config=AbstractCredentialStore({"a": 1}))
    second = await DomoAccount.upsert(auth, name="etl", config=AbstractCredentialStore({"a": 2}))
    assert first.name == "etl (2)"
    assert second.id == first.id != other.id
    assert json.loads(domo_sandbox.account_config(first.id)["credentials"]) == {"a": 2}


async def test_t26_duplicates_are_reported(domo_sandbox):
    auth = session_auth(domo_sandbox)
    twins = [await DomoAccount.create(auth, name=f"etl{n}", config=AbstractCredentialStore({"n": n})) for n in range(2)]
    for twin in twins:
        domo_sandbox.state.accounts[twin.id].display_name = "etl"
    with pytest.raises(ConflictError) as caught:
        await DomoAccount.upsert(auth, name="etl", config=AbstractCredentialStore({"n": 3}))
    assert all(str(twin.id) in str(caught.value) for twin in twins)
    with pytest.raises(ConflictError):
        await rotate_access_token(auth, owner_id=domo_sandbox.admin.id, name="etl", account="etl")
    assert not living(domo_sandbox, "etl")


async def test_t27_search_compares_the_label_that_people_see(domo_auth, domo_sandbox):
    account = next(one for one in domo_sandbox.state.accounts.values() if one.name != one.display_name)
    read = await DomoAccount.get_by_id(domo_auth, account.id)
    assert (read.name, read.original_name) == (account.display_name, account.name)
    assert [one.id for one in await DomoAccount.search(domo_auth, name=account.display_name)] == [account.id]
    assert not await DomoAccount.search(domo_auth, name=account.name)
    await read.update_name("renamed")
    assert (read.name, read.original_name) == ("renamed", account.name)


async def test_t28_name_and_configuration_are_two_calls_and_none_is_forgotten(domo_auth, domo_sandbox):
    account = await DomoAccount.upsert(domo_auth, name="etl", config=AbstractCredentialStore({"a": 1}))
    domo_sandbox.requests.clear()
    await DomoAccount.upsert(domo_auth, name="etl", config=AbstractCredentialStore({"a": 2}))
    config = f"/api/data/v1/providers/abstract-credential-store/account/{account.id}"
    assert paths(domo_sandbox, "POST", "PUT") == [("PUT", config)]
    await account.update_name("renamed")
    assert paths(domo_sandbox, "PUT")[-1] == ("PUT", f"{ACCOUNTS}/{account.id}/name")
    assert json.loads(domo_sandbox.account_config(account.id)["credentials"]) == {"a": 2}


async def test_t28_a_configuration_that_could_not_be_written_is_not_success(domo_auth, domo_sandbox):
    await DomoAccount.upsert(domo_auth, name="etl", config=AbstractCredentialStore({"a": 1}))
    domo_sandbox.misbehave("status", status=400, method="PUT")
    with pytest.raises(BadRequestError, match="/account/"):
        await DomoAccount.upsert(domo_auth, name="etl", config=AbstractCredentialStore({"a": 2}))


async def test_t29_a_masked_value_is_never_written_back(domo_auth, domo_sandbox):
    secret = {"account": "a", "username": "u", "password": "p-1234567"}
    account = await DomoAccount.create(domo_auth, name="w", config=AccountConfig("snowflake", secret))
    read = await account.get_config()
    assert read.fields["password"] is MASKED
    assert read.is_masked
    assert (read.fields["account"], read.fields["username"]) == ("a", "u")
    domo_sandbox.requests.clear()
    for refused in (
        lambda: account.update_config(read),
        lambda: account.update_config(AccountConfig("snowflake", {**secret, "password": "********"})),
        lambda: DomoAccount.upsert(domo_auth, name="w", config=read),
        lambda: DomoAccount.create(domo_auth, name="w2", config=read),
        lambda: account.update_config(AccountConfig("snowflake", {**secret, "password": MASKED})),
    ):
        with pytest.raises(InvalidInputError, match=r"masked|asterisk"):
            await refused()
    assert not paths(domo_sandbox, "POST", "PUT")
    assert domo_sandbox.account_config(account.id) == secret


async def test_t29_unknown_is_not_empty(domo_auth):
    hidden = await DomoAccount.create(domo_auth, name="h", config=AbstractCredentialStore({"a": "b-1234567"}))
    read = await hidden.get_config(unmask=True)  # the account does not allow it
    assert read.credentials is MASKED
    assert read.decoded() is None
    empty = await DomoAccount.create(domo_auth, name="e", config=AbstractCredentialStore("{}"), allow_external_use=True)
    read = await empty.get_config(unmask=True)
    assert not read.is_masked
    assert read.decoded() == {}


async def test_t30_a_provider_that_does_not_fit_is_an_error_before_anything_is_written(domo_auth, domo_sandbox):
    account = await DomoAccount.create(domo_auth, name="etl", config=AbstractCredentialStore({"a": 1}))
    domo_sandbox.requests.clear()
    with pytest.raises(InvalidInputError, match="abstract-credential-store"):
        await account.update_config(DomoAccessTokenConfig("t-1234567"))
    assert not paths(domo_sandbox, "PUT")
    # The type is the stored one's, whatever the object at hand says.
    stale = DomoAccount.from_json(domo_auth, {"id": account.id})
    await stale.update_config(AbstractCredentialStore({"a": 2}))
    assert paths(domo_sandbox, "PUT")[0][1].startswith("/api/data/v1/providers/abstract-credential-store/")


async def test_t31_credentials_are_a_json_text_on_the_wire_and_a_mapping_here(domo_auth, domo_sandbox):
    given = {"access_token": Secret("t-1234567"), "ü": "ß", "n": 7, "list": [1, None, True]}
    account = await DomoAccount.create(
        domo_auth, name="etl", config=AbstractCredentialStore(given), allow_external_use=True
    )
    sent = next(one for one in domo_sandbox.requests if (one.method, one.path) == ("POST", ACCOUNTS)).json
    assert isinstance(sent["configurations"]["credentials"], str)
    plain = {**given, "access_token": "t-1234567"}
    assert json.loads(sent["configurations"]["credentials"]) == plain
    read = (await account.get_config(unmask=True)).decoded()
    assert {name: one.reveal() if isinstance(one, Secret) else one for name, one in read.items()} == plain


async def test_t32_a_new_account_is_read_again(domo_auth):
    account = await DomoAccount.create(domo_auth, name="etl", config=AbstractCredentialStore({"a": 1}))
    assert account.is_valid is True
    assert account.created_at.utcoffset() == timedelta(0)
    assert account.modified_at is not None


async def test_t33_a_name_is_sent_as_utf8_text(domo_auth, domo_sandbox):
    account = await DomoAccount.create(domo_auth, name="etl", config=AbstractCredentialStore({"a": 1}))
    await account.update_name("Übertragung – 東京 🚀")
    put = next(one for one in domo_sandbox.requests if one.method == "PUT")
    assert put.body == "Übertragung – 東京 🚀".encode()
    assert put.headers["content-type"] == "text/plain; charset=utf-8"
    assert account.name == "Übertragung – 東京 🚀"


# -- T34 to T38


def test_t34_no_real_instance_id_or_token_in_code_and_examples():
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.parent.glob("*.md"), *PACKAGE.parent.glob("notebooks/*.ipynb")]
    assert len(files) > 30
    for file in files:
        text = file.read_text(encoding="utf-8")
        hosts = set(re.findall(r"(?<![\w.{}-])([\w-]+)\.domo\.com", text))
        assert hosts <= {"acme", "api", "developer", "www", "example", "my-company", "your-instance"}, file
        # What tokens look like; made-up ones are shorter, and ids of commits do not stand in quotes.
        assert not re.search(r"""["'][0-9a-f]{40,}["']""", text), file


def test_t35_arguments_are_checked_also_without_assertions():
    code = """
import sys
from datetime import timedelta
from domokit import *
from domokit.errors import InvalidInputError
from domokit.entities.access_tokens import as_duration

assert False  # to be sure that assertions are off
auth = AccessTokenAuth("acme", "token-of-the-test")
for wrong in (
    lambda: SessionAuth("evil.com/", "ann", "pw"),
    lambda: AccessTokenAuth("acme", ""),
    lambda: OAuthClientAuth("", ""),
    lambda: OAuthClientAuth("a", "b", scope="everything"),
    lambda: ClientOptions(base_url="http://example.com"),
    lambda: as_duration(-1),
    lambda: AccountConfig("", {}),
    lambda: AccountConfig("x", {"a": {1}}),
    lambda: AbstractCredentialStore("****").to_wire(),
):
    try:
        wrong()
    except InvalidInputError:
        continue
    sys.exit("accepted")
"""
    ran = subprocess.run([sys.executable, "-O", "-W", "error", "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_t35_importing_reads_no_environment_and_no_dotenv(tmp_path):
    (tmp_path / ".env").write_text("DOMO_INSTANCE=from-a-file\n")
    code = "import domokit, os; [getattr(domokit, n) for n in domokit.__all__]; print('DOMO_INSTANCE' in os.environ)"
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PATH": ""}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize(("listing", "family"), list(listing_params()))
async def test_t36_no_listing_is_endless(listing, family):
    """The server gives the same 50 items for any offset."""
    rows = [{"id": n, "name": f"n{n}"} for n in range(50)]
    asked = []

    def answer(request):
        asked.append(request)
        if len(asked) > 20:
            raise AssertionError("endless")
        wrapped = listing == DomoUser.get_all and family == "product"
        return httpx.Response(200, json={"users": rows} if wrapped else rows)

    for walk in (lambda one: collect(one), lambda one: collect_all(one)):
        asked.clear()
        try:
            found = await walk(listing(answering(answer, family)))
        except DomoDecodeError:
            continue  # a full page came twice: better no answer than half of one
        assert [one.id for one in found] == list(range(50))


async def collect(pager):
    return [one async for one in pager]


async def collect_all(pager):
    return await pager


async def test_t37_a_session_is_renewed_before_it_ends(domo_sandbox):
    domo_sandbox.session_lifetime = 1.0
    auth = session_auth(domo_sandbox)
    await auth.who_am_i()
    await anyio.sleep(1.05)
    await auth.who_am_i()
    assert [one.status for one in domo_sandbox.requests] == [200] * 4  # no 401 in between
    assert [path for _, path in paths(domo_sandbox, "POST")] == [SIGN_IN, SIGN_IN]


async def test_t37_a_session_that_ended_early_is_renewed_once_for_all(domo_sandbox):
    auth = session_auth(domo_sandbox)
    await auth.sign_in()
    domo_sandbox.state.sessions.clear()
    domo_sandbox.requests.clear()
    ids = [domo_sandbox.admin.id] * 40
    assert len(await DomoUser.get_many(auth, ids)) == 40
    assert len(paths(domo_sandbox, "POST")) == 1


async def test_t37_a_second_refusal_is_final(domo_sandbox):
    auth = session_auth(domo_sandbox)
    domo_sandbox.misbehave("status", status=401, path="/api/identity", times=None)
    with pytest.raises(AuthenticationError):
        await DomoUser.get_by_id(auth, domo_sandbox.admin.id)
    assert [path for _, path in paths(domo_sandbox, "POST")] == [SIGN_IN, SIGN_IN]
    assert len(paths(domo_sandbox, "GET")) == 2


@pytest.mark.parametrize("build", ["session", "oauth"])
async def test_t37_a_server_that_gives_the_same_token_again_is_not_asked_for_ever(build):
    asked = []

    async def handle(request):
        asked.append(request.url.path)
        assert len(asked) < 50, "endless"
        if request.url.path in (SIGN_IN, "/oauth/token"):
            return httpx.Response(200, json={"sessionToken": "always-the-same", "access_token": "always-the-same"})
        return httpx.Response(401, json={"status": 401})

    options = ClientOptions(transport=httpx.MockTransport(handle))
    auth = (
        SessionAuth("acme", "ann@example.com", "a-password", options=options)
        if build == "session"
        else OAuthClientAuth("client", "secret-of-the-client", options=options)
    )
    with pytest.raises(AuthenticationError):
        await DomoUser.get_by_id(auth, 7)
    assert len(asked) == 4  # signed in and refused, twice


async def test_t37_a_token_that_ends_before_it_arrives_is_not_asked_for_for_ever():
    asked = []

    async def handle(request):
        asked.append(request)
        assert len(asked) < 50, "endless"
        await anyio.sleep(0.02)
        return httpx.Response(200, json={"access_token": "short-lived", "expires_in": 0.001})

    options = ClientOptions(transport=httpx.MockTransport(handle))
    with pytest.raises(AuthenticationError):
        await DomoUser.get_by_id(OAuthClientAuth("client", "secret-of-the-client", options=options), 7)
    assert len(asked) == 1


@pytest.mark.parametrize("token", ["opaque", "AAAA", "e30=", "eyJ", "%%%", "bnVsbA==", "WzFd"])
@respx.mock(base_url="https://acme.domo.com")
async def test_t37_the_life_that_a_token_tells_is_a_hint(respx_mock, token):
    respx_mock.post(SIGN_IN).respond(json={"sessionToken": token, "userId": 7, "success": True})
    wire = respx_mock.get("/api/content/v2/users/me").respond(json={"id": 7})
    async with SessionAuth("acme", "ann@example.com", "a-password") as auth:
        for _ in range(2):
            assert (await auth.who_am_i()).id == 7
    assert [call.request.headers["x-domo-authentication"] for call in wire.calls] == [token, token]
    assert respx_mock.calls.call_count == 3  # one sign-in


async def test_t38_a_rotation_from_cron_acts_only_when_it_is_due(domo_sandbox):
    auth, owner = session_auth(domo_sandbox), someone(domo_sandbox)

    async def ensure():
        return await rotate_access_token(
            auth,
            owner_id=owner,
            name="etl",
            duration=30,
            account="etl token",
            min_remaining=10,
            allow_external_use=True,
        )

    first = await ensure()
    domo_sandbox.requests.clear()
    again = await ensure()
    assert (first.changed, again.changed) == (True, False)
    assert {one.method for one in domo_sandbox.requests} == {"GET"}
    assert stored_token(domo_sandbox, first.account_id) == first.token.token.reveal()

    domo_sandbox.clock.advance(21 * DAY)  # on both clocks: Domo's, and that of the next run
    auth = session_auth(domo_sandbox, clock=domo_sandbox.clock.now)
    renewed = await ensure()
    assert renewed.changed
    assert domo_sandbox.signs_in(stored_token(domo_sandbox, first.account_id)) == owner
    assert [one.id for one in renewed.revoked] == [first.generated.id]


async def test_t38_two_hosts_at_once_end_with_one_working_token(domo_sandbox):
    owner, account = someone(domo_sandbox), None
    await rotate_access_token(session_auth(domo_sandbox), owner_id=owner, name="etl", account="etl token")
    results = []

    async def host():
        results.append(
            await rotate_access_token(session_auth(domo_sandbox), owner_id=owner, name="etl", account="etl token")
        )

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(host)
    account = results[0].account_id
    assert results[1].account_id == account
    assert domo_sandbox.signs_in(stored_token(domo_sandbox, account)) == owner
    await rotate_access_token(session_auth(domo_sandbox), owner_id=owner, name="etl", account="etl token")
    assert len(living(domo_sandbox, "etl")) == 1


# -- OAuth in general


def oauth(handler, **more):
    return OAuthClientAuth(
        "client", "secret-of-the-client", options=ClientOptions(transport=httpx.MockTransport(handler)), **more
    )


async def test_peer_oauth_expires_in_is_the_authority_and_the_token_may_be_anything():
    asked = []

    async def handle(request):
        asked.append(request)
        if request.url.path == "/oauth/token":
            answer = {
                "access_token": f"no jwt {len(asked)}".replace(" ", "-"),
                "token_type": "Bearer",
                "expires_in": "1",
            }
            return httpx.Response(200, json={**answer, "userId": "7", "unknown": [1]})
        return httpx.Response(200, json={"id": 7})

    auth = oauth(handle)
    assert (await auth.who_am_i()).id == 7
    for _ in range(2):
        await DomoUser.get_by_id(auth, 7)
    await anyio.sleep(1.0)
    await DomoUser.get_by_id(auth, 7)
    tokens = [one for one in asked if one.url.path == "/oauth/token"]
    assert len(tokens) == 2
    assert asked[-1].headers["authorization"].lower() == "bearer no-jwt-4"
    assert (await auth.who_am_i()).raw["unknown"] == [1]


@pytest.mark.parametrize("scope", ["data user", ["data", "user"], "data,user", ("data", "user", "data")], ids=repr)
async def test_peer_oauth_scope_is_joined_by_spaces_and_nothing_secret_is_in_the_address(scope):
    asked = []

    async def handle(request):
        asked.append(request)
        return httpx.Response(200, json={"access_token": "bearer-of-the-test", "userId": 7})

    await oauth(handle, scope=scope).sign_in()
    (sent,) = asked
    assert httpx.QueryParams(sent.content.decode())["scope"] == "data user"
    assert httpx.QueryParams(sent.content.decode())["grant_type"] == "client_credentials"
    assert str(sent.url) == "https://api.domo.com/oauth/token"
    assert b"secret" not in sent.content


@pytest.mark.parametrize(("client_id", "secret"), [("a:b", "c:d"), ("ünï", "pässwörd€"), ("a b+c%", "d&e=f/g")])
async def test_peer_oauth_basic_survives_colons_and_letters_beyond_ascii(client_id, secret):
    from base64 import b64decode
    from urllib.parse import unquote_plus

    asked = []

    async def handle(request):
        asked.append(request)
        return httpx.Response(200, json={"access_token": "bearer-of-the-test"})

    options = ClientOptions(transport=httpx.MockTransport(handle))
    await OAuthClientAuth(client_id, secret, options=options).sign_in()
    kind, _, pair = asked[0].headers["authorization"].partition(" ")
    assert kind == "Basic"
    assert [unquote_plus(part) for part in b64decode(pair).decode("ascii").split(":")] == [client_id, secret]


async def test_peer_oauth_unknown_scopes_are_refused_before_anything_is_sent():
    with pytest.raises(InvalidInputError, match="did you mean 'user'"):
        OAuthClientAuth("client", "secret-of-the-client", scope="users")


# -- what peers do


@pytest.mark.parametrize("kind", [DomoUser, DomoAccount, DomoAccessToken])
async def test_peer_a_failed_search_inside_an_upsert_makes_no_twin(domo_sandbox, kind):
    auth = session_auth(domo_sandbox, retry=NO_RETRY)
    owner = someone(domo_sandbox)
    arguments = {
        DomoUser: {"name": "Zoë", "email": "zoe@example.com", "role_id": 4},
        DomoAccount: {"name": "etl", "config": AbstractCredentialStore({"a": 1})},
        DomoAccessToken: {"owner_id": owner, "name": "etl"},
    }[kind]
    await kind.upsert(auth, **arguments)
    for fault in ("status", "html", "empty", "half_json", "blocked", "rate_limit"):
        domo_sandbox.requests.clear()
        domo_sandbox.misbehave(fault, path=r"/api/data/v1/accesstokens$|/api/data/v1/accounts$|.*/users/search$")
        with pytest.raises(DomoError):
            await kind.upsert(auth, **arguments)
        assert not [path for _, path in paths(domo_sandbox, "POST", "PUT", "DELETE", "PATCH") if "search" not in path]
        domo_sandbox.heal()


@pytest.mark.parametrize("build", [session_auth, oauth_client_auth])
@pytest.mark.parametrize(
    ("fault", "details", "kind"),
    [
        ("rate_limit", {}, RateLimitedError),
        ("status", {"status": 500}, ServerError),
        ("status", {"status": 503}, ServerError),
        ("html", {}, UnexpectedPageError),
        ("maintenance", {}, ServerError),
        ("blocked", {}, APIError),
    ],
)
async def test_peer_trouble_while_signing_in_is_not_called_wrong_credentials(domo_sandbox, build, fault, details, kind):
    domo_sandbox.misbehave(fault, times=None, **details)
    auth = build(domo_sandbox)
    with pytest.raises(kind) as caught:
        await auth.sign_in()
    assert not isinstance(caught.value, InvalidCredentialsError)
    # A sign-in is not repeated blindly; after 429, which says that nothing was looked at, a token request may be.
    repeated = fault == "rate_limit" and auth.family == "platform"
    assert len(domo_sandbox.requests) == (3 if repeated else 1)
    domo_sandbox.heal()
    assert (await auth.who_am_i()).id == domo_sandbox.admin.id  # and nothing is held against the credentials


@pytest.mark.parametrize("build", [SessionAuth, OAuthClientAuth])
async def test_peer_wrong_credentials_are_presented_once(domo_sandbox, build):
    options = options_for(domo_sandbox)
    auth = (
        SessionAuth(domo_sandbox.instance, domo_sandbox.username, "wrong-password", options=options)
        if build is SessionAuth
        else OAuthClientAuth(domo_sandbox.client_id, "wrong-secret", options=options)
    )
    for _ in range(10):
        with pytest.raises(InvalidCredentialsError):
            await DomoUser.get_all(auth)
    assert len(domo_sandbox.requests) == 1
    if build is SessionAuth:
        assert domo_sandbox.admin.failed_logins == 1
    with pytest.raises(InvalidCredentialsError):
        await auth.sign_in()  # an explicit word tries anew
    assert len(domo_sandbox.requests) == 2


@pytest.mark.parametrize("build", [session_auth, oauth_client_auth])
async def test_peer_a_crowd_signs_in_once(domo_sandbox, build):
    domo_sandbox.misbehave("latency", seconds=0.1, path=f"{SIGN_IN}|/oauth/token")
    auth = build(domo_sandbox)
    await DomoUser.get_many(auth, [domo_sandbox.admin.id] * 50)
    assert len([one for one in domo_sandbox.requests if one.path in (SIGN_IN, "/oauth/token")]) == 1


async def test_peer_a_crowd_is_refused_once(domo_sandbox):
    domo_sandbox.misbehave("latency", seconds=0.1, path=SIGN_IN)
    auth = SessionAuth(domo_sandbox.instance, domo_sandbox.username, "wrong", options=options_for(domo_sandbox))
    refused = []

    async def call():
        with pytest.raises(InvalidCredentialsError) as caught:
            await auth.who_am_i()
        refused.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(call)
    assert len({id(error) for error in refused}) == 20  # each has an error of its own
    assert len(domo_sandbox.requests) == 1


def test_peer_nothing_blocks_the_loop():
    """No time.sleep, and no blocking file or process calls, inside `async def`."""
    blocking = {"sleep": {"time"}, "run": {"subprocess"}, "system": {"os"}, "get": {"requests"}, "urlopen": {"request"}}
    for file in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if not isinstance(call, ast.Call):
                    continue
                if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                    assert call.func.value.id not in blocking.get(call.func.attr, ()), f"{file}:{call.lineno}"
                if isinstance(call.func, ast.Name):
                    assert call.func.id != "open", f"{file}:{call.lineno}"


def test_peer_no_file_turns_certificate_checks_off():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"verify\s*=\s*False|CERT_NONE|_create_unverified|check_hostname\s*=\s*False", text), file


def test_peer_importing_loads_no_http_library_and_no_extra():
    code = """
import sys
import domokit
heavy = {"httpx", "attrs", "pandas", "starlette", "uvicorn", "typer", "rich", "pytest", "aiohttp", "asyncio", "trio"}
print(sorted(heavy & set(sys.modules)))
for name in domokit.__all__:
    getattr(domokit, name)
print(sorted((heavy - {"httpx", "attrs", "asyncio", "trio", "rich"}) & set(sys.modules)))  # rich is httpx's
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "[]"]


def test_peer_types_are_shipped():
    assert (PACKAGE / "py.typed").exists()
    assert domokit.__all__ == sorted(
        domokit.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    for name in domokit.__all__:
        assert getattr(domokit, name) is not None
    modules = [
        importlib.import_module(one.name)
        for one in walk_packages(domokit.__path__, "domokit.")
        if "cli" not in one.name and "__main__" not in one.name
    ]
    assert modules
