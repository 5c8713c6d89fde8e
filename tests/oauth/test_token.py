"""Answers of token endpoints in whatever style, what is salvaged of them, and what a store keeps."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest

from domokit import Secret
from domokit.errors import InvalidInputError, StoreCorruptError, StoreError
from domokit.oauth import ClientCredentialsGrant, OAuthToken, RefreshGrant, read_token_file
from domokit.oauth.record import Spending, TokenRecord
from domokit.oauth.token import jwt_payload, salvaged

from .helpers import assert_newest_is_stored, keeper_for, password, presented, seed

NOW = datetime(2026, 3, 29, 0, 59, 58, tzinfo=UTC)  # two seconds before Europe sets its clocks


def jwt(**claims):
    parts = (b'{"alg":"none"}', json.dumps(claims).encode(), b"signature")
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def token_of(old=None, asked=None, **answer):
    answer = {"access_token": "canary-access", **answer}
    return OAuthToken.from_answer(answer, NOW, scope=asked, refresh_token=old)


def lifetime_of(**answer):
    return token_of(**answer).lifetime.total_seconds()


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (3599, 3599),
        ("300", 300),
        (" 300.5 ", 300.5),
        (2.5, 2.5),
        (None, 3600),
        ("", 3600),
        ("soon", 3600),
        (0, 3600),
        (-1, 3600),
        (float("nan"), 3600),
        (float("inf"), 3600),
        ([300], 3600),
        (10**30, 100 * 365 * 86_400),
    ],
)
def test_how_long_it_lives(told, seconds):
    assert lifetime_of(expires_in=told) == seconds
    assert token_of(expires_in=told).expires_at == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("claims", "seconds"),
    [
        ({"exp": NOW.timestamp() + 500}, 500),
        ({"exp": str(int(NOW.timestamp()) + 500)}, 500),
        ({"exp": NOW.timestamp() + 500, "iat": NOW.timestamp() - 100}, 600),  # our clock is behind the server's
        ({"exp": NOW.timestamp() - 7000, "iat": NOW.timestamp() - 7300}, 300),  # or far ahead of it
        ({"exp": NOW.timestamp() - 500}, 0),
        ({"exp": "never"}, 3600),
        ({}, 3600),
    ],
)
def test_without_expires_in_a_jwt_tells(claims, seconds):
    assert lifetime_of(access_token=jwt(**claims)) == seconds
    assert lifetime_of(access_token=jwt(**claims), expires_in=7) == 7


@pytest.mark.parametrize(
    "text", ["", "opaque", "a.b", "a.b.c", "..", "a.!!!.c", "a." + "W10" + ".c", "é.ü.ö", "a.eyJ9.c"]
)
def test_what_is_no_jwt_tells_nothing(text):
    assert jwt_payload(Secret(text)) == {}


@pytest.mark.parametrize("payload", [b"[" * 100_000, b'{"a":' * 100_000, b'{"exp":' + b"1" * 5000 + b"}"])
def test_what_is_nested_too_deeply_or_too_large_a_number_is_no_jwt(payload):
    assert jwt_payload(Secret(f"e30.{urlsafe_b64encode(payload).decode()}.s")) == {}


def test_a_number_that_no_float_holds_is_none():
    assert lifetime_of(access_token="canary", expires_in=10**400) == 3600


@pytest.mark.parametrize("length", range(8))
def test_a_jwt_of_any_length_is_read(length):
    assert jwt_payload(Secret(jwt(a="x" * length))) == {"a": "x" * length}


def test_what_else_was_answered():
    answer = {
        "token_type": "Bearer",
        "refresh_token": "canary-refresh",
        "refresh_expires_in": "1800",
        "scope": ["a", "b"],
        "id_token": "canary-id",
        "userId": 27,
        "nested": {"session_token": "canary-session", "list": [{"api-key": "canary-key"}]},
    }
    token = token_of(**answer)
    assert token.token_type == "Bearer"
    assert token.scope == "a b"
    assert token.refresh_expires_at == NOW + timedelta(seconds=1800)
    assert token.extra["userId"] == 27
    assert token.authorization.reveal() == "Bearer canary-access"
    assert "canary" not in repr(token) + repr(token.extra)
    assert "expires_in" not in token.extra
    assert token_of(asked="this").scope == "this"
    assert token_of(asked="this", **answer).scope == "a b"


@pytest.mark.parametrize("new", [None, "", 5, ["x"]])
def test_without_a_new_refresh_token_the_old_one_stays(new):
    old = Secret("canary-old")
    token = token_of(old, refresh_token=new, refresh_expires_in=5)
    assert token.refresh_token == old
    assert token.refresh_expires_at is None


@pytest.mark.parametrize("access", [None, "", 5, ["x"], {"a": "b"}])
def test_without_an_access_token_there_is_none(access):
    with pytest.raises(KeyError):
        OAuthToken.from_answer({"access_token": access}, NOW, scope=None)


def test_a_clock_that_was_set_back_does_not_prolong_a_life():
    token = token_of(expires_in=100)
    assert token.remaining(NOW + timedelta(seconds=40)).total_seconds() == 60
    assert token.remaining(NOW - timedelta(hours=1)).total_seconds() == 100
    assert token.remaining(NOW + timedelta(hours=1)).total_seconds() < 0
    assert token.is_expired


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("", {}),
        ('{"access_token": "a', {}),
        ('{"access_token": "a"', {"access_token": "a"}),
        ('{"access_token":"a","expires_in":60', {"access_token": "a"}),  # perhaps 600
        ('{"access_token":"a","expires_in":60,', {"access_token": "a", "expires_in": "60"}),
        ('{"expires_in" : "60" , "refresh_token" : "r"', {"refresh_token": "r", "expires_in": "60"}),
        (r'{"refresh_token": "a\"b\\", "access_token": "c\u00e9', {"refresh_token": 'a"b\\'}),
        (r'{"refresh_token": "\x", "access_token": "a"', {"access_token": "a"}),
        ('{"refresh_token": "a\nb", "access_token": "a"', {"access_token": "a"}),
        ("<html>", {}),
    ],
)
def test_what_stands_whole_is_salvaged(body, found):
    got = salvaged(Secret(body))
    assert {name: value.reveal() if isinstance(value, Secret) else value for name, value in got.items()} == found
    assert all(isinstance(value, Secret) for name, value in got.items() if name != "expires_in")


# -- odd answers of a real server


@pytest.mark.parametrize("style", ["number", "text", "absent"])
@pytest.mark.parametrize("is_jwt", [True, False])
async def test_odd_answers(server, clock, style, is_jwt):
    server.expires_in_style, server.jwt, server.token_type = style, is_jwt, "BEARER"
    keeper = keeper_for(server, ClientCredentialsGrant(), clock=clock)
    token = await keeper.get_token()
    assert token.lifetime.total_seconds() == (3600 if style == "absent" and not is_jwt else 100)
    clock.advance(70)
    assert (await keeper.get_token()).access_token == token.access_token
    assert server.count() == 1


async def test_a_server_that_does_not_rotate(server, clock):
    server.rotate = False
    server.extra = {"refresh_token_expires_in": 1000}
    keeper = keeper_for(server, RefreshGrant(), password(), clock=clock)
    first = await keeper.get_token()
    server.extra = {}
    for number in range(3):
        token = await keeper.renew()
        assert token.refresh_token == first.refresh_token
        assert token.refresh_expires_at == first.refresh_expires_at
        assert token.access_token.reveal() == server.families[0].access[number + 1]
    await assert_newest_is_stored(keeper, server)
    assert presented(server) == [server.families[0].refresh[0]] * 3


async def test_scope_is_asked_for_and_remembered(server, clock):
    keeper = keeper_for(server, seed(server), clock=clock)
    keeper.client.scope = "b a"
    token = await keeper.get_token()
    token = await keeper.renew()
    assert server.requests[0].form["scope"] == "b a"
    assert token.scope == "b a"


# -- what a store keeps


def full_record():
    token = token_of(refresh_token="canary-refresh", refresh_expires_in=5, id_token="canary-id", when=[1, {"a": None}])
    return TokenRecord(
        token=token,
        seed=Secret("canary-seed"),
        spending=Spending(fingerprint="f", since=NOW, by="host:1"),
        answer=Secret('{"cut'),
        taken=["t"],
        dead=["d"],
        parked=[token_of(access_token="canary-parked")],
        password=Secret("canary-password"),
        changing_to=Secret("canary-new"),
        facts={"client_id": "c"},
    )


@pytest.mark.parametrize("record", [TokenRecord(), full_record()], ids=["empty", "full"])
def test_a_record_comes_back_as_it_was(record):
    assert TokenRecord.decoded(record.encoded(), "key") == record
    assert "canary" not in repr(record)
    assert TokenRecord.decoded(record.encoded(), "key").encoded() == record.encoded()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema": 1}', '{"schema": "1"}', '{"schema":1,"token":5}'])
def test_what_is_no_record(text):
    with pytest.raises(StoreCorruptError, match="my-key"):
        TokenRecord.decoded(Secret(text), "my-key")


def test_a_record_of_a_newer_domokit():
    with pytest.raises(StoreError, match="newer") as caught:
        TokenRecord.decoded(Secret('{"schema": 2}'), "my-key")
    assert not isinstance(caught.value, StoreCorruptError)


def test_only_so_many_fingerprints_are_remembered():
    record = TokenRecord()
    for number in range(50):
        record.take(Secret(f"taken-{number}"))
        record.bury(Secret(f"dead-{number}"))
        record.bury(Secret(f"dead-{number}"))
    assert len(record.taken) == len(record.dead) == 20
    assert Secret("dead-49").fingerprint in record.dead
    record.put(token_of(refresh_token=Secret("dead-49")))  # given anew, it is good
    assert Secret("dead-49").fingerprint not in record.dead


# -- files of others


@pytest.mark.parametrize(
    ("members", "seconds"),
    [
        ({"expiry_tm": 1000}, 1000),
        ({"expiry_tm": "1000"}, 1000),
        ({"expires_at": 1000}, 1000),
        ({"expiry_tm": "1000", "expires_in": "300"}, 1000),
        ({"expires_in": 300}, 0),
        ({"expiry_tm": "soon"}, 0),
        ({}, 0),
    ],
)
def test_a_token_file(tmp_path, members, seconds):
    file, now = tmp_path / "token.txt", datetime.now(UTC)
    members = {
        name: type(value)(float(value) + now.timestamp()) if name != "expires_in" and value != "soon" else value
        for name, value in members.items()
    }
    file.write_text(json.dumps({"access_token": "canary-access", "refresh_token": "canary-refresh", **members}))
    token = read_token_file(str(file))
    assert abs((token.expires_at - now).total_seconds() - seconds) < 30
    assert token.obtained_at <= datetime.now(UTC)
    assert token.refresh_token.reveal() == "canary-refresh"
    assert (token.remaining(datetime.now(UTC)).total_seconds() > 0) == (seconds > 0)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        ("", "is not JSON"),
        ("canary-access", "is not JSON"),
        ("[]", "holds no access_token"),
        ('{"refresh_token": "canary-refresh"}', "holds no access_token"),
        ('{"access_token": 5}', "holds no access_token"),
        ('{"access_token": null}', "holds no access_token"),
    ],
)
def test_what_is_no_token_file(tmp_path, content, problem):
    file = tmp_path / "token.txt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidInputError, match=problem) as caught:
        read_token_file(file)
    assert str(file) in str(caught.value)
    assert "canary" not in str(caught.value)
