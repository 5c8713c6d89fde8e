"""The providers that are ready to use, against a server that does as they do."""

import json
from base64 import b64decode, urlsafe_b64encode

import anyio
import pytest

from domokit import ClientOptions
from domokit.errors import (
    GrantRefusedError,
    InvalidClientError,
    InvalidCredentialsError,
    InvalidInputError,
    MissingCredentialError,
    OutcomeUnknown,
    SessionQuotaError,
)
from domokit.oauth import ClientCredentialsGrant, RefreshGrant, providers
from domokit.oauth.record import TokenRecord
from domokit.stores import FileStore, MemoryStore

from .helpers import PASSWORD, USER, Events, assert_newest_is_stored, keeper_for, presented, record_of

APP_KEY = "app-key"
NEW = "canary-new-password"


# -- Domo


async def test_domo(server):
    server.scopes = ["data", "user"]
    server.extra = {"customer": "acme", "role": "Admin", "userId": 27, "jti": "j", "env": "prod3", "domain": "x"}
    keeper = providers.domo(
        "keeper", "canary-client-secret", scope=["user", "data"], token_url=server.issuer + "/oauth/token"
    )
    token = await keeper.get_token()
    (request,) = server.requests
    assert request.url == "/oauth/token"
    assert request.form == {"grant_type": "client_credentials", "scope": "user data"}
    assert token.extra == server.extra
    assert token.refresh_token is None
    assert token.scope == "user data"
    assert providers.domo("id", "s").client.token_url == "https://api.domo.com/oauth/token"
    for client_id, secret, field in (
        ("", "s", "client_id"),
        ("id", "", "client_secret"),
        ("id", None, "client_secret"),
    ):
        with pytest.raises(InvalidInputError, match=field):
            providers.domo(client_id, secret)


async def test_a_domo_client_that_is_refused(server):
    keeper = providers.domo("keeper", "wrong", token_url=server.token_url)
    for _ in range(5):
        with pytest.raises(InvalidClientError):
            await keeper.get_token()
    assert server.count() == 1


# -- LSEG Data Platform


@pytest.fixture
def rdp(server, clock):
    """Keepers for the one user, each as if in a process of its own, on one store."""
    server.add_client(APP_KEY, "")
    server.scopes = ["trapi"]
    server.lifetime = 300.0
    store = MemoryStore()

    def rdp(password=PASSWORD, **options):
        options = {"store": store, "token_url": f"{server.issuer}/auth/oauth2/v1/token", **options}
        return providers.rdp(USER, password, APP_KEY, options=clock.options, **options)

    return rdp


async def test_rdp(server, rdp, clock):
    keeper = rdp()
    await keeper.get_token()
    clock.advance(290)
    token = await keeper.get_token()
    sign_in, refresh = server.requests
    assert sign_in.url == refresh.url == "/auth/oauth2/v1/token"
    assert sign_in.form == {
        "grant_type": "password",
        "username": USER,
        "password": PASSWORD,
        "scope": "trapi",
        "takeExclusiveSignOnControl": "true",
    }
    assert refresh.form == {
        "grant_type": "refresh_token",
        "username": USER,
        "refresh_token": server.families[0].refresh[0],
        "scope": "trapi",
    }
    for request in server.requests:
        assert b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"app-key:"
    assert (await rdp().get_token()).access_token == token.access_token
    assert server.count() == 2
    assert providers.rdp(USER, PASSWORD, APP_KEY).client.token_url == ("https://api.refinitiv.com/auth/oauth2/v1/token")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_rdp_needs_all_three(missing):
    given = [USER, PASSWORD, APP_KEY]
    given[missing] = ""
    with pytest.raises(InvalidInputError, match=("username", "password", "app_key")[missing]):
        providers.rdp(*given)


async def test_the_quota_of_sessions(server, rdp, clock, patient):
    """Exclusively, a sign-in ends the others. Otherwise a full quota is told as what it is, and waited for."""
    server.session_quota = 1
    await rdp().get_token()
    polite = rdp(exclusive=False, store=MemoryStore())
    for _ in range(5):
        with pytest.raises(SessionQuotaError) as caught:
            await polite.get_token()
    assert caught.value.retryable
    assert not caught.value.needs_human
    assert server.count() == 2
    server.families[0].alive = False
    clock.advance(60)
    await polite.get_token()
    await rdp(store=MemoryStore()).get_token()
    assert [family.ended for family in server.families[1:]] == ["exclusive sign-on", ""]


async def test_who_lost_the_session_to_another_signs_in_again(server, rdp, clock):
    keeper = rdp()
    token = await keeper.get_token()
    await rdp(store=MemoryStore()).get_token()
    assert not server.is_alive(token.access_token.reveal())
    better = await keeper.replace(token)
    assert server.is_alive(better.access_token.reveal())
    assert [one.grant for one in server.requests] == ["password", "password", "refresh_token", "password"]


async def test_changing_the_password(server, rdp, clock):
    keeper, sibling = rdp(), rdp()
    await keeper.get_token()
    await sibling.get_token()
    token = await keeper.change_password(NEW)
    request = server.requests[-1]
    assert (request.form["password"], request.form["newPassword"]) == (PASSWORD, NEW)
    assert (await keeper.get_token()).access_token == token.access_token
    assert (await record_of(keeper)).password.reveal() == NEW
    assert (await record_of(keeper)).changing_to is None
    await assert_newest_is_stored(keeper, server)

    # A sibling that was started with the old one uses the new one when it has to sign in.
    server.revoke_family(server.families[-1].refresh[0])
    clock.advance(400)
    assert server.is_alive((await sibling.get_token()).access_token.reveal())
    assert server.requests[-1].form["password"] == NEW
    assert server.count("password", "invalid_grant") == 0

    # One that is started with the new one needs the note no more.
    later = rdp(NEW)
    server.revoke_family(server.families[-1].refresh[0])
    clock.advance(400)
    await later.get_token()
    assert (await record_of(later)).password is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_grant"}, InvalidCredentialsError),
        (400, {"error": "invalid_request", "error_description": "The new password is too short."}, GrantRefusedError),
        (400, {"error": "access_denied", "error_description": "Session quota is reached."}, SessionQuotaError),
    ],
)
async def test_a_change_of_password_that_is_refused(server, rdp, clock, status, body, kind):
    events = Events()
    keeper = rdp(on_event=events)
    token = await keeper.get_token()
    server.fail("status", status=status, body=body)
    with pytest.raises(kind):
        await keeper.change_password(NEW)
    assert events[-1].kind == "failed"
    record = await record_of(keeper)
    assert record.password is record.changing_to is None
    assert (await keeper.get_token()).access_token == token.access_token
    server.revoke_family(server.families[0].refresh[0])
    clock.advance(400)
    await keeper.get_token()
    assert server.requests[-1].form["password"] == PASSWORD


@pytest.mark.parametrize("fault", ["reset", "html", "status"])
@pytest.mark.parametrize("acted", [True, False])
async def test_a_change_of_password_of_which_nobody_knows(server, rdp, clock, acted, fault):
    """The next sign-in, by whomever, finds out which of both holds."""
    keeper = rdp()
    await keeper.get_token()
    server.fail(fault, after_acting=acted)
    with pytest.raises(OutcomeUnknown):
        await keeper.change_password(NEW)
    record = await record_of(keeper)
    assert record.changing_to.reveal() == NEW
    server.revoke_family(server.families[0].refresh[0])
    clock.advance(400)
    sibling = rdp()
    assert server.is_alive((await sibling.get_token()).access_token.reveal())
    assert server.requests[-1].form["password"] == (NEW if acted else PASSWORD)
    record = await record_of(keeper)
    assert record.changing_to is None
    assert (record.password and record.password.reveal()) == (NEW if acted else None)
    assert (await keeper.get_token()).access_token.reveal() == server.families[-1].access[0]


@pytest.mark.parametrize("acted", [True, False])
async def test_another_change_of_password_first_finds_out_about_the_one_before(server, rdp, acted):
    keeper = rdp()
    await keeper.get_token()
    server.fail("reset", after_acting=acted)
    with pytest.raises(OutcomeUnknown):
        await keeper.change_password(NEW)
    await keeper.change_password("canary-newest-password")
    assert server.requests[-1].form["password"] == (NEW if acted else PASSWORD)
    record = await record_of(keeper)
    assert record.password.reveal() == "canary-newest-password"
    assert record.changing_to is None
    await assert_newest_is_stored(keeper, server)


async def test_the_new_password_is_stored_before_it_is_sent(server, rdp, tmp_path):
    """Killed at any time, the next process has both."""
    store = FileStore(tmp_path / "tokens.json")
    keeper = rdp(store=store)
    await keeper.get_token()
    seen = []

    def look(request):
        async def load():
            return TokenRecord.decoded((await store.load(keeper.key)).text, keeper.key)

        seen.append(anyio.run(load))

    server.on_request = look
    await keeper.change_password(NEW)
    assert seen[0].changing_to.reveal() == NEW
    assert NEW not in repr(seen[0])


async def test_a_change_of_password_needs_a_password_grant(server):
    for keeper, new in ((keeper_for(server, ClientCredentialsGrant()), NEW), (providers.rdp("a", "b", "c"), "")):
        with pytest.raises(InvalidInputError, match="change_password needs"):
            await keeper.change_password(new)
    assert server.count() == 0


# -- Alteryx


@pytest.fixture
def alteryx(server, clock):
    """Keepers, each as if in a process of its own, on one store; `first` is what was generated in its settings."""
    server.jwt = True
    server.add_client("public", auth="none")
    store = MemoryStore()

    def alteryx(**tokens):
        return providers.alteryx(store=store, issuer=server.issuer, options=clock.options, **tokens)

    return alteryx


async def test_alteryx(server, alteryx, clock):
    access, refresh = server.issue("public", USER)
    keeper = alteryx(access_token=access, refresh_token=refresh)
    assert (await keeper.get_token()).access_token.reveal() == access
    clock.advance(101)
    await keeper.get_token()
    (request,) = server.requests
    assert request.url == "/token"
    assert request.form == {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "public"}
    assert "authorization" not in request.headers
    # From then on the store's are used, whether or not the old ones are given again.
    for tokens in ({}, {"access_token": access, "refresh_token": refresh}, {"refresh_token": refresh}):
        clock.advance(101)
        again = alteryx(**tokens)
        assert again.key == keeper.key
        await again.get_token()
        assert server.requests[-1].form["client_id"] == "public"
    assert presented(server) == server.families[0].refresh[:-1]
    assert server.reuses == []


async def test_alteryx_with_nothing_in_the_store(server, alteryx):
    with pytest.raises(MissingCredentialError):
        await alteryx().get_token()
    with pytest.raises(InvalidInputError, match="client_id"):
        await alteryx(refresh_token=server.issue("public", USER)[1]).get_token()
    assert server.count() == 0


async def test_two_users_of_alteryx_in_one_store(server, alteryx):
    first, second = server.issue("public", "ann"), server.issue("public", "bob")
    ann = alteryx(access_token=first[0], refresh_token=first[1], user="ann")
    bob = alteryx(access_token=second[0], refresh_token=second[1], user="bob")
    assert (await ann.get_token()).access_token.reveal() == first[0]
    assert (await bob.get_token()).access_token.reveal() == second[0]
    assert (await alteryx(user="ann").get_token()).access_token.reveal() == first[0]


async def test_two_users_of_alteryx_who_are_not_told_apart(server, alteryx):
    """Nobody gets the other's token, and nothing is sent."""
    first, second = server.issue("public", "ann"), server.issue("public", "bob")
    ann = alteryx(access_token=first[0], refresh_token=first[1])
    token = await ann.get_token()
    bob = alteryx(access_token=second[0], refresh_token=second[1])
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"access_token: its sub is 'bob'.*user="):
            await bob.get_token()
    assert bob.ready() is None
    assert (await ann.get_token()).access_token == token.access_token
    assert server.count() == 0


def jwt(**claims):
    payload = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.canary-signature"


PINGAUTH = "https://pingauth.alteryxcloud.com/as"


@pytest.mark.parametrize(
    ("claims", "issuer", "url"),
    [
        ({"iss": PINGAUTH}, None, f"{PINGAUTH}/token"),
        ({"iss": PINGAUTH + "/"}, None, f"{PINGAUTH}/token"),
        ({"iss": "https://eu1.alteryxcloud.com/as"}, None, "https://eu1.alteryxcloud.com/as/token"),
        ({"iss": "https://login.example.com"}, "https://login.example.com/", "https://login.example.com/token"),
        (None, None, f"{PINGAUTH}/token"),
    ],
)
def test_the_issuer_tells_where_tokens_are_asked_for(claims, issuer, url):
    tokens = claims and {"access_token": jwt(client_id="c", **claims), "refresh_token": "canary-refresh"}
    keeper = providers.alteryx(issuer=issuer, **(tokens or {}))
    assert keeper.client.token_url == url
    assert keeper.client.client_auth == "none"
    without = providers.alteryx(issuer=issuer) if issuer or url.startswith(PINGAUTH) else keeper
    assert without.key == keeper.key


@pytest.mark.parametrize(
    ("access", "issuer", "problem"),
    [
        (jwt(client_id="c", iss="https://evil.example"), None, "issued by"),
        (jwt(client_id="c", iss="https://alteryxcloud.com.evil.example/as"), None, "issued by"),
        (jwt(client_id="c", iss="https://evilalteryxcloud.com/as"), None, "issued by"),
        (jwt(client_id="c", iss="https://evil.example/.alteryxcloud.com"), None, "issued by"),
        (jwt(client_id="c", iss="https://evil.example?pingauth.alteryxcloud.com"), None, "issued by"),
        (jwt(client_id="c", iss=PINGAUTH), "https://eu1.alteryxcloud.com/as", "issued by"),
        (jwt(client_id="c", iss="http://pingauth.alteryxcloud.com/as"), None, "iss"),
        (jwt(client_id="c", iss="https://me@pingauth.alteryxcloud.com/as"), None, "iss"),
        (jwt(client_id="c", iss=5), None, "iss"),
        (jwt(client_id="c"), None, "iss"),
        (jwt(iss=PINGAUTH), None, "client_id"),
        (jwt(client_id="", iss=PINGAUTH), None, "client_id"),
        (jwt(client_id="a\r\nb", iss=PINGAUTH), None, "client_id"),
        (jwt(client_id=" c", iss=PINGAUTH), None, "client_id"),
        (jwt(client_id="\ud800", iss=PINGAUTH), None, "client_id"),
        (jwt(client_id="ü", iss=PINGAUTH), None, "client_id"),
        (jwt(client_id="c", iss=PINGAUTH + "?a=b"), None, "iss is no issuer"),
        (jwt(client_id="c", iss=PINGAUTH + "/../evil"), None, "iss is no issuer"),
        (jwt(client_id="c", iss=PINGAUTH + "#a"), None, "iss"),
        (jwt(client_id="c", iss="https://pingauth.alteryxcloud.com:99999/as"), None, "iss"),
        (jwt(client_id="c", iss="https://..alteryxcloud.com/as"), None, "iss"),
        ("e30." + urlsafe_b64encode(b"[" * 100_000).decode(), None, "not a JWT"),
        (None, "https://login.example.com?a=b", "issuer is no issuer"),
        ("canary-opaque", None, "not a JWT"),
        (jwt(client_id="c", iss=PINGAUTH)[:20], None, "not a JWT"),
        ("", None, "not a JWT"),
        (None, "http://login.example.com", "issuer"),
        (None, "nonsense", "issuer"),
    ],
)
def test_tokens_of_others_are_refused(access, issuer, problem):
    with pytest.raises(InvalidInputError, match=problem) as caught:
        providers.alteryx(access_token=access, refresh_token="canary-refresh", issuer=issuer)
    assert "canary" not in str(caught.value)


def test_alteryx_needs_both_tokens():
    with pytest.raises(InvalidInputError, match="give refresh_token too"):
        providers.alteryx(access_token=jwt(client_id="c", iss=PINGAUTH))


def test_further_options_reach_the_keeper(server):
    events, options = Events(), ClientOptions()
    for keeper in (
        providers.domo("id", "s", name="n", on_event=events, options=options),
        providers.rdp("a", "b", "c", name="n", on_event=events, options=options),
        providers.alteryx(name="n", on_event=events, options=options),
    ):
        assert keeper.name == "n"
        assert keeper.client.options is options
        keeper._tell("started")
    assert len(events) == 3
    assert isinstance(providers.rdp("a", "b", "c").grants[0], RefreshGrant)
