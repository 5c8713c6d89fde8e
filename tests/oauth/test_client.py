"""Token requests as they cross the wire, what is refused before anything is sent, and what refusals mean."""

import gzip
from base64 import b64decode
from datetime import datetime
from urllib.parse import parse_qs

import anyio
import httpx
import pytest

from domokit import ClientOptions, Secret
from domokit.errors import (
    BadRequestError,
    ConnectionFailedError,
    DomoDecodeError,
    GrantDeadError,
    GrantRefusedError,
    InvalidClientError,
    InvalidCredentialsError,
    InvalidInputError,
    OutcomeUnknown,
    RateLimitedError,
    ServerError,
    SessionQuotaError,
)
from domokit.oauth import (
    AskGrant,
    ClientCredentialsGrant,
    OAuthClient,
    PasswordGrant,
    RefreshGrant,
    TokenKeeper,
)

from .helpers import CLIENT, SECRET, keeper_for, record_of, seed

ODD_ID, ODD_SECRET = "id: ü/+é", "p+q%2F 100%é:="
URL = "https://login.example.com/token"


# -- on the wire


@pytest.mark.parametrize(
    ("auth", "client_id", "secret", "pair"),
    [
        ("basic", ODD_ID, ODD_SECRET, "id%3A+%C3%BC%2F%2B%C3%A9:p%2Bq%252F+100%25%C3%A9%3A%3D"),
        ("basic", "app-key", "", "app-key:"),
        ("basic-raw", "id ü", ODD_SECRET, f"id ü:{ODD_SECRET}"),
        ("basic-raw", "app-key", "", "app-key:"),
        ("post", ODD_ID, ODD_SECRET, None),
        ("post", "app-key", "", None),
        ("none", ODD_ID, None, None),
    ],
)
@pytest.mark.parametrize("hide", [str, Secret])
async def test_how_the_client_shows_who_it_is(server, auth, client_id, secret, pair, hide):
    server.add_client(client_id, secret or "", auth)
    secret = None if secret is None else hide(secret)
    client = OAuthClient(server.token_url, client_id, secret, client_auth=auth)
    grant = PasswordGrant("ann", "canary-password")
    await keeper_for(server, grant, client=client).get_token()
    (request,) = server.requests
    form = dict(request.fields)
    if pair is None:
        assert "authorization" not in request.headers
        assert form["client_id"] == client_id
        shown = secret.reveal() if isinstance(secret, Secret) else secret
        assert form.get("client_secret") == (shown if auth == "post" else None)
    else:
        assert b64decode(request.headers["authorization"].removeprefix("Basic ")).decode() == pair
        assert not form.keys() & {"client_id", "client_secret"}
    assert len(request.fields) == len(form)
    assert request.url == "/token"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"
    assert "cookie" not in request.headers


async def test_what_is_asked_for(server):
    client = OAuthClient(
        server.token_url, CLIENT, SECRET, scope=["b", "a", "b"], headers={"X-Tenant": "acme", "Accept": "x/json"}
    )
    params = {"audience": "https://api.example.com/ü", "secret_answer": Secret("canary"), "number": 5}
    for grant in (
        ClientCredentialsGrant(params=params),
        PasswordGrant("ann", "canary-password", params=params),
        RefreshGrant(server.issue(CLIENT, "ann")[1], params=params),
    ):
        await keeper_for(server, grant, client=client).get_token()
        form = server.requests[-1].form
        assert form.pop("grant_type") == grant.name
        expected = {"scope": "b a", "audience": "https://api.example.com/ü", "secret_answer": "canary", "number": "5"}
        assert expected.items() <= form.items()
        if isinstance(grant, PasswordGrant):
            assert (form["username"], form["password"]) == ("ann", "canary-password")
    assert server.requests[0].headers["x-tenant"] == "acme"
    assert server.requests[0].headers["accept"] == "x/json"


async def test_netrc_and_proxies_of_the_environment_take_no_part(server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password stolen\ndefault login mallory password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.add_client("public", auth="none")
    client = OAuthClient(server.token_url, "public", client_auth="none")
    keeper = keeper_for(server, PasswordGrant("ann", "canary-password"), client=client)
    await keeper.get_token()
    assert "authorization" not in server.requests[0].headers


async def test_a_redirect_is_not_followed(server):
    """It would take the client's secret along."""
    asked = []

    def handle(request):
        asked.append(str(request.url))
        return httpx.Response(307, headers={"Location": "https://elsewhere.example/token"})

    client = OAuthClient(URL, CLIENT, SECRET, options=ClientOptions(transport=httpx.MockTransport(handle)))
    keeper = keeper_for(server, seed(server), client=client)
    await keeper.get_token()
    with pytest.raises(DomoDecodeError, match="redirect"):
        await keeper.renew()
    assert asked == [URL]
    assert not (await record_of(keeper)).is_outcome_unknown


async def test_an_answer_that_is_compressed_against_our_wish(server):
    whole = gzip.compress(b'{"access_token": "canary-access", "refresh_token": "canary-refresh"}')
    bodies = [whole, b"not compressed at all"]

    def handle(request):
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(
            200, stream=httpx.ByteStream(bodies.pop(0)), headers={"Content-Encoding": "gzip", "Content-Type": "x/json"}
        )

    client = OAuthClient(URL, CLIENT, SECRET, options=ClientOptions(transport=httpx.MockTransport(handle)))
    keeper = keeper_for(server, seed(server), client=client)
    await keeper.get_token()
    assert (await keeper.renew()).access_token.reveal() == "canary-access"
    with pytest.raises(OutcomeUnknown):
        await keeper.renew()
    assert (await record_of(keeper)).is_outcome_unknown


async def test_a_request_ends_in_time(server, monkeypatch):
    monkeypatch.setattr("domokit.oauth.renewal.REQUEST_TIMEOUT", 0.2)
    server.fail("hang", times=None)
    keeper = keeper_for(server, ClientCredentialsGrant())
    with anyio.fail_after(60), pytest.raises(OutcomeUnknown, match=r"within 0\.2 s"):
        await keeper.get_token()


async def test_revocation(server):
    asked = []

    def handle(request):
        asked.append((str(request.url), parse_qs(request.content.decode()), request.headers.get("authorization")))
        return httpx.Response(200)

    client = OAuthClient(
        URL,
        "public",
        client_auth="none",
        revocation_url="https://login.example.com/revoke",
        options=ClientOptions(transport=httpx.MockTransport(handle)),
    )
    keeper = keeper_for(server, seed(server), client=client)
    token = await keeper.get_token()
    await keeper.revoke()
    form = {"token": [token.refresh_token.reveal()], "token_type_hint": ["refresh_token"], "client_id": ["public"]}
    assert asked == [("https://login.example.com/revoke", form, None)]
    assert (await keeper.status()).state == "empty"


# -- refused before anything is sent


def client(url=URL, client_id=CLIENT, secret=SECRET, **more):
    return OAuthClient(url, client_id, secret, **more)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: client(client_auth="digest"), "client_auth"),
        (lambda: client(client_auth=None), "client_auth"),
        (lambda: client("http://login.example.com/token"), "token_url"),
        (lambda: client("ftp://login.example.com/token"), "token_url"),
        (lambda: client("login.example.com/token"), "token_url"),
        (lambda: client("https:///token"), "token_url"),
        (lambda: client("https://login.example.com/\n"), "token_url"),
        (lambda: client(""), "token_url"),
        (lambda: client(None), "token_url"),
        (lambda: client("https://me:canary-password@login.example.com/"), "token_url"),
        (lambda: client("https://login.example.com/#x"), "token_url"),
        (lambda: client("https://login.example.com:99999/token"), "token_url"),
        (lambda: client("https://login..example.com/token"), "token_url"),
        (lambda: client("https://.example.com/token"), "token_url"),
        (lambda: client("https://login.example.com/token?client_secret=canary-x"), "'client_secret'"),
        (lambda: client("https://login.example.com/token?v=1&password=canary-x"), "'password'"),
        (lambda: client("https://login.example.com/token?access_token=canary-x"), "'access_token'"),
        (lambda: client("https://login.example.com/token?api_key=canary-x"), "'api_key'"),
        (lambda: client(revocation_url="http://login.example.com/"), "revocation_url"),
        (lambda: client(client_id=" id"), "client_id"),
        (lambda: client(client_id="id\n"), "client_id"),
        (lambda: client(client_id="a\r\nb"), "client_id"),
        (lambda: client(client_id="a\0b"), "client_id"),
        (lambda: client(client_id="a\ud800"), "client_id"),
        (lambda: client(secret="canary-\ud800"), "client_secret"),
        (lambda: client(client_id=""), "client_id"),
        (lambda: client(client_id=None), "client_id"),
        (lambda: client(client_id="a:b", client_auth="basic-raw"), "client_id"),
        (lambda: client(secret=None), "client_secret"),
        (lambda: client(secret=None, client_auth="post"), "client_secret"),
        (lambda: client(client_auth="none"), "client_secret"),
        (lambda: client(scope=["a b"]), "scope"),
        (lambda: client(scope=["a", ""]), "scope"),
        (lambda: client(scope=["a", 5]), "scope"),
        (lambda: client(scope='a"'), "scope"),
        (lambda: client(headers={"X-Tenant": "a\r\nHost: elsewhere"}), "headers"),
        (lambda: client(headers={"X-Tenant": "ü"}), "headers"),
        (lambda: client(headers={"X\n": "a"}), "headers"),
        (lambda: PasswordGrant("", "canary-password"), "username"),
        (lambda: PasswordGrant("ann", ""), "password"),
        (lambda: PasswordGrant("ann", None), "password"),
        (lambda: RefreshGrant(""), "refresh_token"),
        (lambda: RefreshGrant(access_token="canary-access"), "access_token"),
        (lambda: RefreshGrant("canary-refresh", expires_at=datetime(2026, 1, 1)), "expires_at"),
        (lambda: TokenKeeper(client(), grants=[]), "grants"),
        (
            lambda: TokenKeeper(client(), grants=[RefreshGrant(), RefreshGrant("canary-r")]),
            "RefreshGrant is there twice",
        ),
        (lambda: TokenKeeper(client(), grants=[ClientCredentialsGrant()] * 2), "ClientCredentialsGrant is there twice"),
        (lambda: TokenKeeper(client(), grants=[PasswordGrant("a", "x"), PasswordGrant("b", "y")]), "different users"),
        (lambda: TokenKeeper(client(), grants=[PasswordGrant("a", "x"), PasswordGrant("a", "y")]), "twice"),
        (
            lambda: TokenKeeper(client(secret=None, client_auth="none"), grants=[ClientCredentialsGrant()]),
            "grants: a public client",
        ),
    ],
)
def test_what_is_given_wrongly_is_refused(build, field):
    with pytest.raises(InvalidInputError) as caught:
        build()
    assert field in caught.value.message
    assert "canary-" not in str(caught.value)


OWN_FIELDS = ["grant_type", "refresh_token", "password", "newPassword", "client_id", "client_secret", "scope"]


@pytest.mark.parametrize("field", OWN_FIELDS)
@pytest.mark.parametrize("hide", [str, Secret])
def test_params_do_not_override_what_the_protocol_sends(field, hide):
    for build in (ClientCredentialsGrant, RefreshGrant, lambda **more: PasswordGrant("ann", "canary-password", **more)):
        with pytest.raises(InvalidInputError, match=f"params: {field} is") as caught:
            build(params={"audience": "x", field: hide("canary-value")})
        assert "canary-" not in str(caught.value)


def test_the_user_of_a_password_is_told_once():
    with pytest.raises(InvalidInputError, match="params: username is"):
        PasswordGrant("ann", "canary-password", params={"username": "bob"})
    assert RefreshGrant(params={"username": "ann"}).params == {"username": "ann"}  # as some providers want it


async def test_what_cannot_be_sent_puts_nothing_in_doubt(server):
    half = "\ud800"
    for grants, field in (
        ([RefreshGrant(server.issue(CLIENT, "ann")[1], params={"tenant": half})], "tenant"),
        ([RefreshGrant("canary-" + half)], "refresh_token"),
        ([PasswordGrant("ann", "canary-" + half)], "password"),
    ):
        keeper = keeper_for(server, *grants)
        with pytest.raises(InvalidInputError, match=f"^{field}: it is no text that can be sent"):
            await keeper.get_token()
        assert (await keeper.status()).state in ("expired", "empty")
    assert server.count() == 0


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_that_is_nested_too_deeply(server, status):
    """As odd as any other: unknown where it may have acted, refused where it says so."""
    server.fail("status", status=status, body="[" * 100_000, after_acting=status == 200)
    keeper = keeper_for(server, RefreshGrant(server.issue(CLIENT, "ann")[1]))
    with pytest.raises(OutcomeUnknown if status == 200 else BadRequestError):
        await keeper.get_token()
    assert (await keeper.status()).state == ("in doubt" if status == 200 else "expired")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/t", "http://localhost/t", "http://[::1]/t", "https://x.example/t"])
def test_addresses_that_are_accepted(url):
    assert client(url).token_url == url
    assert client(url).asked.startswith("POST ")


def test_the_query_of_an_address_is_not_shown():
    one = client("https://login.example.com/token?key=canary-key")
    assert one.asked == "POST login.example.com/token"


async def test_without_a_client_id_from_anywhere_nothing_is_sent(server):
    server.add_client("public", auth="none")
    nameless = OAuthClient(server.token_url, client_auth="none")
    refresh = server.issue("public", "ann")[1]
    for grant in (RefreshGrant(refresh), PasswordGrant("ann", "canary-password")):
        keeper = keeper_for(server, grant, client=nameless)
        with pytest.raises(InvalidInputError, match="client_id"):
            await keeper.get_token()
    assert server.count() == 0
    keeper = keeper_for(server, RefreshGrant(refresh), client=nameless)
    with pytest.raises(InvalidInputError, match="client_id"):
        await keeper.get_token()
    assert (await record_of(keeper)).spending is None


# -- what refusals mean


@pytest.mark.parametrize(
    ("status", "body", "kind", "is_for_humans"),
    [
        (400, {"error": "invalid_grant"}, GrantDeadError, True),
        (401, {"error": "invalid_grant"}, GrantDeadError, True),
        (200, {"error": "invalid_grant"}, GrantDeadError, True),
        (401, {"error": "invalid_client"}, InvalidClientError, True),
        (400, {"error": "invalid_client"}, InvalidClientError, True),
        (401, "", InvalidClientError, True),
        (400, {"error": "unauthorized_client"}, GrantRefusedError, True),
        (400, {"error": "invalid_scope"}, GrantRefusedError, True),
        (400, {"error": "unsupported_grant_type"}, GrantRefusedError, True),
        (403, {"error": "access_denied", "error_description": "Session quota is reached."}, SessionQuotaError, False),
        (400, {"error": "invalid_grant", "error_description": "Too many sessions"}, SessionQuotaError, False),
        (400, {"error": "temporarily_unavailable"}, BadRequestError, False),
        (400, {"error": "slow_down"}, BadRequestError, False),
        (429, {"error": "invalid_request"}, RateLimitedError, False),
        (429, "", RateLimitedError, False),
        (400, "nonsense", BadRequestError, False),
        (500, {"error": "invalid_grant"}, OutcomeUnknown, False),
        (503, "", OutcomeUnknown, False),
        (200, {"token_type": "bearer"}, OutcomeUnknown, False),
        (200, [], OutcomeUnknown, False),
        (200, "", OutcomeUnknown, False),
        (200, {"access_token": 5}, OutcomeUnknown, False),
        (204, "", OutcomeUnknown, False),
    ],
)
async def test_what_a_refused_refresh_means(server, clock, status, body, kind, is_for_humans):
    server.fail("status", status=status, body=body, times=None, retry_after=60 if status == 429 else None)
    keeper = keeper_for(server, seed(server), clock=clock)
    await keeper.get_token()
    with pytest.raises(kind) as caught:
        await keeper.renew()
    assert type(caught.value) is kind
    assert caught.value.needs_human == is_for_humans
    assert (await record_of(keeper)).is_outcome_unknown == (kind is OutcomeUnknown)
    assert server.count() == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_grant"}, InvalidCredentialsError),
        (401, {"error": "invalid_client"}, InvalidClientError),
        (400, {"error": "invalid_scope"}, GrantRefusedError),
        (500, "", ServerError),
    ],
)
async def test_what_a_refused_sign_in_means(server, clock, status, body, kind):
    server.fail("status", status=status, body=body)
    keeper = keeper_for(server, PasswordGrant("ann", "canary-password"), clock=clock)
    with pytest.raises(kind) as caught:
        await keeper.get_token()
    assert type(caught.value) is kind
    assert server.count() == 1


async def test_a_refused_grant_leaves_the_way_to_the_next(server, clock):
    """What the client may not do it is told so; its refresh token has not been spent by asking."""
    server.fail("status", status=400, body={"error": "unauthorized_client"}, grant="refresh_token")
    keeper = keeper_for(server, seed(server), ClientCredentialsGrant(), clock=clock)
    await keeper.get_token()
    await keeper.renew()
    assert [one.grant for one in server.requests] == ["refresh_token", "client_credentials"]


async def test_errors_are_the_last_ones_of_the_ladder(server, clock):
    keeper = keeper_for(server, seed(server), PasswordGrant("ann", "wrong"), clock=clock)
    await keeper.get_token()
    server.revoke_family(server.families[0].refresh[0])
    with pytest.raises(InvalidCredentialsError):
        await keeper.renew()
    asked = []

    async def ask():
        asked.append(1)
        raise ConnectionFailedError("nobody is there")

    other = keeper_for(server, seed(server), PasswordGrant("ann", "wrong"), AskGrant(ask), clock=clock)
    await other.get_token()
    server.revoke_family(server.families[1].refresh[0])
    with pytest.raises(ConnectionFailedError, match="nobody is there"):
        await other.renew()
    assert asked == [1]


def test_what_they_show():
    assert repr(client()) == "OAuthClient('https://login.example.com/token', 'keeper', client_auth='basic')"
    assert repr(PasswordGrant("ann", "canary-password")) == "PasswordGrant('ann')"
    assert repr(RefreshGrant("canary-refresh")) == "RefreshGrant()"
