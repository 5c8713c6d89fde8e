"""What must hold for any input: parsing never fails, times are UTC, secrets stay unseen, instances are DNS labels."""

import copy
import json
import logging
import os
import pickle
import re
import time
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from domokit import (
    MASKED,
    AbstractCredentialStore,
    AccessTokenAuth,
    AccountConfig,
    DomoAccessToken,
    DomoAccessTokenConfig,
    DomoAccount,
    DomoApiClient,
    DomoDataset,
    DomoGroup,
    DomoRole,
    DomoUser,
    Secret,
)
from domokit._runtime import from_wire, to_epoch_ms
from domokit._secrets import Password, mask, scrub, wrap_secrets
from domokit.auth import Instance
from domokit.entities.account_config import read_config
from domokit.errors import InvalidInputError, InvalidInstanceError
from domokit.transport import pages

MODERATE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
AUTH = AccessTokenAuth("acme", "token-of-the-test")

# -- entities: any object parses

MS = 1_717_170_245_123

# As the endpoints send them: four shapes of a user, and one of everything else.
WIRE = {
    "user identity": (
        DomoUser,
        {
            "id": 27,
            "displayName": "Ann",
            "emailAddress": "ann@example.com",
            "roleId": 4,
            "attributes": [
                {"key": "title", "values": ["Analyst"]},
                {"key": "created", "values": [MS]},
                {"key": "isActive", "values": [True]},
                {"key": "reportsTo", "values": ["28"]},
                {"key": "employeeNumber", "values": [1001]},
            ],
        },
    ),
    "user content v2": (
        DomoUser,
        {"id": 27, "displayName": "Ann", "emailAddress": "ann@example.com", "role": "Admin", "modified": MS},
    ),
    "user content v3": (
        DomoUser,
        {
            "id": 27,
            "displayName": "Ann",
            "roleId": 4,
            "detail": {"email": "ann@example.com", "title": "Analyst", "created": 1_717_170_245, "pending": False},
        },
    ),
    "user platform": (
        DomoUser,
        {
            "id": 27,
            "name": "Ann",
            "email": "ann@example.com",
            "createdAt": "2017-06-12T20:23:57Z",
            "role": "Admin",
            "roleId": 1,
            "phone": "000-000-0001",
            "deleted": False,
        },
    ),
    "account": (
        DomoAccount,
        {
            "id": 101,
            "userId": 27,
            "name": "Snowflake Account",
            "displayName": "warehouse",
            "valid": True,
            "dataProviderType": "snowflake",
            "createdAt": MS,
            "modifiedAt": MS,
            "configurations": {},
            "allowExternalUse": False,
        },
    ),
    "account platform": (DomoAccount, {"id": "101", "name": "warehouse", "valid": "true", "type": {"id": "snowflake"}}),
    "access token": (DomoAccessToken, {"id": 7, "name": "etl", "ownerId": 27, "expires": MS, "token": "t-0123456789"}),
    "group": (
        DomoGroup,
        {
            "id": 5,
            "name": "Team",
            "groupType": "open",
            "memberCount": 3,
            "active": True,
            "created": "2023-06-08 20:59:05.0",
        },
    ),
    "role": (DomoRole, {"id": 1, "name": "Admin", "authorityCount": 12, "userCount": 3, "created": 1_717_170_245}),
    "API client": (
        DomoApiClient,
        {"id": 9, "name": "app", "clientId": "c-1", "userId": 27, "scopes": ["data"], "clientSecret": "s-0123456789"},
    ),
    "dataset": (
        DomoDataset,
        {
            "id": "2c0a3b1e-5d4f-4e6a-8b7c-9d0e1f2a3b4c",
            "name": "Orders",
            "rows": 5,
            "columns": 2,
            "schema": {"columns": [{"name": "a", "type": "LONG"}]},
            "pdpEnabled": False,
            "createdAt": "2024-01-24T14:27:21.000Z",
        },
    ),
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def neighbours(draw, value):
    """The same value as another endpoint, or another year, might send it."""
    choices = [st.just(value), st.none(), st.just([value]), json_values]
    if isinstance(value, bool):
        choices += [st.sampled_from([str(value), str(value).lower(), int(value), "yes", ""])]
    elif isinstance(value, int):
        choices += [st.sampled_from([str(value), float(value), value // 1000, -value, value * 10**30, True])]
    elif isinstance(value, str):
        choices += [st.sampled_from([value.upper(), "", " ", {"value": value}, 7])]
    elif isinstance(value, list):
        choices += [st.sampled_from([{}, [None], [[]], ["text"], [{"key": None, "values": None}], [{"values": [1]}]])]
        choices += [st.sampled_from([[{"key": ["title"], "values": [1]}], [{"key": "title", "values": {"0": 1}}]])]
    elif isinstance(value, dict):
        choices += [st.sampled_from([[], {"id": None}, {"columns": None}, {"email": ["x"]}])]
    return draw(st.one_of(choices))


@st.composite
def bent(draw, wire):
    """An object with keys missing, null, of a neighbouring type, and more of them than known."""
    obj = {}
    for key, value in wire.items():
        match draw(st.sampled_from(["kept", "kept", "missing", "bent"])):
            case "kept":
                obj[key] = value
            case "bent":
                obj[key] = draw(neighbours(value))
    return obj | draw(st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=3))


@pytest.mark.parametrize("shape", WIRE)
def test_each_shape_is_read(shape):
    """The ground that the properties stand on: unbent, the fields are there."""
    kind, wire = WIRE[shape]
    one = kind.from_json(AUTH, wire)
    assert str(one.id) == str(wire["id"])
    assert one.name == (wire.get("displayName") or wire["name"])
    if kind is DomoUser:
        assert one.email == "ann@example.com" or shape == "user content v2"
    if shape == "user identity":
        assert (one.title, one.is_active, one.manager_id, one.employee_number) == ("Analyst", True, 28, 1001)
    if shape == "user platform":
        assert one.created_at == datetime(2017, 6, 12, 20, 23, 57, tzinfo=UTC)
    if shape == "account platform":
        assert (one.id, one.is_valid, one.provider_type) == (101, True, "snowflake")


TYPES = {
    "id": (int, str),
    "name": str,
    "email": str,
    "is_active": bool,
    "owner_id": int,
    "role_id": int,
    "token": Secret,
}


@pytest.mark.parametrize("shape", WIRE)
@MODERATE
@given(data=st.data())
def test_any_object_parses_and_is_kept_as_it_came(shape, data):
    kind, wire = WIRE[shape]
    obj = data.draw(bent(wire))
    before = copy.deepcopy(obj)

    one = kind.from_json(AUTH, obj)

    assert type(one) is kind
    assert obj == before  # not touched
    assert dict(one.raw) == before  # nothing lost, unknown keys neither
    for field in attrs.fields(kind):
        value = getattr(one, field.name)
        if isinstance(value, datetime):
            assert value.utcoffset() == timedelta(0)
        if value is not None and field.name in TYPES:
            assert isinstance(value, TYPES[field.name]), (field.name, value)
            assert not isinstance(value, bool) or TYPES[field.name] is bool
    for shown in (repr(one), one._repr_html_(), str(one.to_dict()), str(one.url)):
        assert isinstance(shown, str)
    assert one == kind.from_json(AUTH, copy.deepcopy(obj))
    assert hash(one) == hash(kind.from_json(AUTH, before))


ODD = [
    {"attributes": [{"key": ["title"], "values": ["x"]}]},
    {"attributes": [{"key": {}, "values": ["x"]}, None, 7, {"key": "title"}, {"key": "title", "values": "text"}]},
    {"attributes": {"title": "x"}, "detail": []},
    {"detail": {"attributes": []}, "deleted": "true"},
    {"type": ["snowflake"]},
    {"schema": [], "scopes": {"data": True}},
    {"id": {"id": 1}, "expires": {}, "token": ["t"], "owner": None},
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("kind", sorted({kind for kind, _ in WIRE.values()}, key=str), ids=lambda kind: kind.__name__)
def test_the_oddest_objects_parse(kind, odd):
    assert dict(kind.from_json(AUTH, {"id": 1} | odd).raw) == {"id": 1} | odd


@MODERATE
@given(number=st.integers(min_value=-(10**12), max_value=10**12))
def test_an_id_is_one_id_as_text_and_as_number(number):
    as_text = DomoUser.from_json(AUTH, {"id": str(number)})
    as_number = DomoUser.from_json(AUTH, {"id": number})
    assert as_text == as_number
    assert as_text.id == as_number.id == number
    assert as_number != DomoGroup.from_json(AUTH, {"id": number})
    assert as_number != DomoUser.from_json(AccessTokenAuth("other", "token-of-the-test"), {"id": number})


# -- times

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.timezones())
ZONES = ["UTC", "Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu", "Europe/London", "Antarctica/Troll"]


@contextmanager
def local_zone(name):
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


@pytest.mark.parametrize("zone", ZONES)
@MODERATE
@given(moment=moments)
@example(moment=datetime(2025, 3, 30, 1, 30, tzinfo=ZoneInfo("Europe/London")))  # does not exist there
@example(moment=datetime(2025, 10, 26, 1, 30, tzinfo=ZoneInfo("Europe/London")))  # exists twice
@example(moment=datetime(2025, 10, 26, 1, 30, tzinfo=ZoneInfo("Europe/London"), fold=1))
@example(moment=datetime(1970, 1, 1, tzinfo=UTC))
@example(moment=datetime(2025, 6, 1, 12, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=45))))
def test_a_time_survives_the_way_to_the_wire_and_back(zone, moment):
    with local_zone(zone):
        exact = moment.astimezone(UTC)
        milliseconds = to_epoch_ms(moment)
        assert to_epoch_ms(exact) == milliseconds
        to_ms = exact.replace(microsecond=exact.microsecond // 1000 * 1000)
        assert milliseconds == (to_ms - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        if milliseconds >= 10**11:  # smaller numbers are taken for seconds: the years before 1973
            assert from_wire(milliseconds) == to_ms
            assert from_wire(str(milliseconds)) == to_ms
        seconds = milliseconds // 1000
        assert from_wire(seconds) == exact.replace(microsecond=0)
        for text in (exact.isoformat(), moment.isoformat(), exact.isoformat().replace("+00:00", "Z")):
            assert from_wire(text) == exact
        assert from_wire(f"{exact:%Y-%m-%d %H:%M:%S}.{exact.microsecond // 100_000}") == exact.replace(
            microsecond=exact.microsecond // 100_000 * 100_000
        )


@MODERATE
@given(value=json_values)
@example(value=float("inf"))
@example(value=float("nan"))
@example(value=10**400)
@example(value="9" * 400)
@example(value="0001-01-01T00:00:00+14:00")
@example(value="9999-12-31T23:59:59-14:00")
@example(value="²")
@example(value="--5")
@example(value="2024-W01-1")
def test_what_is_no_time_is_none_and_every_time_is_utc(value):
    read = from_wire(value)
    assert read is None or read.utcoffset() == timedelta(0)
    if isinstance(value, bool) or value is None:
        assert read is None


@given(moment=st.datetimes())
def test_a_time_without_a_zone_is_refused(moment):
    with pytest.raises(ValueError, match="zone"):
        to_epoch_ms(moment)


# -- secrets

# Long enough not to stand in a message by chance.
secret_texts = st.text(min_size=8, max_size=60).filter(lambda text: len(set(text)) > 4 and not text.isspace())


def spellings(text):
    return {text, json.dumps(text)[1:-1], repr(text)[1:-1]}


def raises_with(secret):
    holder = [secret, {"deep": (secret,)}]
    raise LookupError(f"no {secret} in {holder}", secret)


@pytest.mark.parametrize("kind", [Secret, Password])
@MODERATE
@given(text=secret_texts)
def test_a_secret_never_shows_itself(kind, text):
    secret = kind(text)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", f"{secret:>40}", str([{1: secret}])]
    shown += [repr([secret]), str({"password": secret}), f"{secret:*^30}"]
    shown += [str(mask({"x": secret, "y": [text]})), scrub(f"before {text} after")]

    record = logging.LogRecord("x", logging.INFO, __file__, 1, "got %s and %r", (secret, [secret]), None)
    shown.append(logging.Formatter().format(record))

    try:
        raises_with(secret)
    except LookupError as error:
        shown.append("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
        # The frame of this test knows the text itself; all below must not show it.
        shown[-1] = shown[-1].rpartition("in raises_with")[2]

    for refused in (
        lambda: json.dumps(secret),
        lambda: json.dumps({"a": [secret]}),
        lambda: pickle.dumps(secret),
        lambda: pickle.dumps({"a": secret}),
    ):
        with pytest.raises(TypeError) as caught:
            refused()
        shown.append(str(caught.value))

    for one in shown:
        assert not any(spelling in one for spelling in spellings(text)), one
    assert secret.reveal() == text
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    assert secret == kind(text)
    assert hash(secret) == hash(kind(text))
    assert secret != text
    assert not hasattr(secret, "__dict__")


@MODERATE
@given(text=secret_texts)
def test_a_fingerprint_tells_two_tokens_apart_and_gives_none_away(text):
    fingerprint = Secret(text).fingerprint
    assert re.fullmatch(r"[0-9a-f]{12}", fingerprint)
    assert fingerprint == Secret(text).fingerprint
    assert fingerprint != Secret(text + "x").fingerprint
    with pytest.raises(TypeError):
        Password(text).fingerprint  # noqa: B018


@MODERATE
@given(text=st.text(alphabet=st.characters(codec="utf-8"), min_size=8, max_size=40), depth=st.integers(0, 4))
def test_secrets_of_an_answer_are_wrapped_at_any_depth(text, depth):
    obj = {"accessToken": text, "name": text}
    for _ in range(depth):
        obj = {"list": [obj, {"n": 1}]}
    wrapped, plain = wrap_secrets(obj), copy.deepcopy(obj)
    for _ in range(depth):
        wrapped, plain = wrapped["list"][0], plain["list"][0]
    assert wrapped["accessToken"] == Secret(text)
    assert wrapped["name"] == text
    assert plain["accessToken"] == text  # the answer itself is not touched


# -- instances

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


@MODERATE
@given(name=st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?\Z"))
def test_every_dns_label_is_an_instance_in_each_spelling(name):
    for text in (name, f"{name}.domo.com", f"https://{name}.domo.com", f"https://{name}.domo.com/a/b?c=d#e"):
        assert Instance.parse(text).origin == f"https://{name.lower()}.domo.com"


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=20)
    | st.text(alphabet="acme.domo.com/:@?#\\%-_ \t\r\n\0[]0123456789", max_size=30)
    | st.builds("{}.domo.com{}".format, st.text(max_size=10), st.text(max_size=10))
    | st.builds("https://{}.domo.com{}".format, st.text(max_size=10), st.text(max_size=10))
)
def test_any_other_text_is_refused_or_leads_to_domo(text):
    """Whatever is accepted, a credential can go to one place only: a label under domo.com."""
    try:
        origin = AccessTokenAuth(text, "token-of-the-test").origin("product")
    except InvalidInstanceError:
        assert not re.fullmatch(LABEL, text)
        return
    found = re.fullmatch(r"https://([^/]*)\.domo\.com", origin)
    assert found
    assert LABEL.fullmatch(found[1])
    assert found[1] in text.lower()


# -- account configurations

MASKS = ["*", "****", "********", "*" * 50]
field_names = st.text(alphabet="abcdefghijklmnopqrstuvwxyzABC_", min_size=1, max_size=12)
real_values = st.text(min_size=1, max_size=20).filter(lambda text: set(text) != {"*"})


@MODERATE
@given(
    values=st.dictionaries(field_names, real_values | st.none(), max_size=4),
    hidden=st.dictionaries(field_names, st.sampled_from(MASKS), min_size=1, max_size=3),
)
def test_asterisks_never_make_the_round_trip(values, hidden):
    read = read_config("snowflake", {**values, **hidden})
    assert read.is_masked
    with pytest.raises(InvalidInputError) as caught:
        read.to_wire()
    assert all(name in str(caught.value) for name in hidden)
    assert all(read.fields[name] is MASKED for name in hidden)
    again = AccountConfig(read.provider_type, read.fields)  # nor by way of another object
    with pytest.raises(InvalidInputError):
        again.to_wire()


@pytest.mark.parametrize("hidden", MASKS)
def test_asterisks_never_make_the_round_trip_of_the_typed_ones(hidden):
    store = read_config("abstract-credential-store", {"credentials": hidden})
    token = read_config("domo-access-token", {"domoAccessToken": hidden, "username": "ann", "password": ""})
    assert isinstance(store, AbstractCredentialStore)
    assert isinstance(token, DomoAccessTokenConfig)
    for config in (store, token, DomoAccessTokenConfig("t-0123456789", "ann", hidden), AbstractCredentialStore(hidden)):
        with pytest.raises(InvalidInputError):
            config.to_wire()


@MODERATE
@given(values=st.dictionaries(field_names, real_values | st.none(), max_size=5))
def test_what_is_known_makes_the_round_trip(values):
    assume("allowExternalUse" not in values)
    sent = read_config("snowflake", values).to_wire()
    assert {name: one.reveal() if isinstance(one, Secret) else one for name, one in sent.items()} == values


@MODERATE
@given(members=st.dictionaries(st.text(max_size=10), json_values, max_size=5))
def test_credentials_make_the_round_trip_as_one_text(members):
    store = AbstractCredentialStore(members)
    text = store.to_wire()["credentials"]
    assert isinstance(text, Secret)
    assert json.loads(text.reveal()) == members
    read = read_config("abstract-credential-store", {"credentials": text.reveal()}).decoded()
    assert {name: one.reveal() if isinstance(one, Secret) else one for name, one in read.items()} == members


# -- pages


@settings(max_examples=80, deadline=None)
@given(
    total=st.integers(0, 60),
    size=st.integers(1, 20),
    cap=st.integers(1, 25),
    ahead=st.integers(0, 4),
)
def test_pages_give_every_item_once_whatever_the_server_s_page_size(total, size, cap, ahead):
    items = [{"id": number} for number in range(total)]
    offsets = []

    async def fetch(offset, limit):
        offsets.append(offset)
        return items[offset : offset + min(limit, cap)]

    async def walk():
        return [item for page in [one async for one in pages(fetch, size=size, pages_ahead=ahead)] for item in page]

    assert anyio.run(walk) == items
    assert len(offsets) <= total // min(size, cap) + 3 + 2 * ahead
