"""Requests signed with a keeper's token: for which origins, and what a 401 does."""

import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from domokit.errors import GrantDeadError, InvalidInputError
from domokit.oauth import ClientCredentialsGrant

from .helpers import assert_each_spent_once, keeper_for, seed
from .server import OAuthServer


@pytest.fixture
def keeper(server, clock):
    return keeper_for(server, seed(server), clock=clock)


def client_of(keeper, server, **options):
    return httpx.AsyncClient(auth=keeper.auth_for(server.issuer), trust_env=False, **options)


def statuses(server):
    return [one.status for one in server.api_requests]


async def test_signed_with_the_token_at_hand(server, keeper):
    async with client_of(keeper, server) as client:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert (await client.request(method, server.api_url)).status_code == 200
    assert {one.access_token for one in server.api_requests} == {server.families[0].access[0]}
    assert server.count() == 0


async def test_a_storm_of_401(server, keeper):
    """A hundred calls are under way when the token is denied: one refresh, and each call is sent once more."""
    token = await keeper.get_token()
    server.deny(token.access_token.reveal())
    answers, waiting, all_here = [], 0, anyio.Event()

    async def hold(response):
        """Till all of them have got their 401, so that nobody comes late enough to find the new token."""
        nonlocal waiting
        if response.status_code == 401:
            waiting += 1
            if waiting == 100:
                all_here.set()
            await all_here.wait()

    async with client_of(keeper, server, event_hooks={"response": [hold]}, timeout=60) as client:

        async def call():
            answers.append(await client.post(server.api_url, json={"a": 1}))

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(call)
    assert [answer.status_code for answer in answers] == [200] * 100
    assert sorted(statuses(server)) == [200] * 100 + [401] * 100
    assert server.refreshes == server.count() == 1
    assert_each_spent_once(server)

    # And the same again: what an API has taken is no reason to leave it at that.
    token = await keeper.get_token()
    server.deny(token.access_token.reveal())
    async with client_of(keeper, server) as client:
        assert (await client.get(server.api_url)).status_code == 200
    assert server.refreshes == 2


def test_a_storm_of_401_in_threads(server, keeper):
    token = keeper.get_token_blocking()
    server.deny(token.access_token.reveal())
    here = threading.Barrier(16)

    def call(number):
        with httpx.Client(auth=keeper.auth_for(server.issuer), trust_env=False) as client:
            here.wait(60)
            return client.get(server.api_url).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(call, range(16))) == {200}
    assert server.refreshes == 1
    assert statuses(server).count(401) <= 16


async def test_a_late_401_to_an_older_token_costs_nothing(server, keeper):
    old = await keeper.get_token()
    new = await keeper.renew()
    assert await keeper.replace(old) is new
    assert server.refreshes == 1


async def test_403_is_not_401(server, keeper):
    async with client_of(keeper, server) as client:
        assert (await client.get(f"{server.api_url}/forbidden")).status_code == 403
    assert statuses(server) == [403]
    assert server.count() == 0


@pytest.mark.parametrize("way", ["async", "sync"])
async def test_an_api_that_always_says_401_uses_up_no_tokens(server, keeper, clock, patient, way):
    """It takes no token at all: one more is tried, and then not for a while. Another API is not harmed."""
    sent = []

    def handle(request):
        sent.append(request.headers["authorization"])
        return httpx.Response(401)

    for _ in range(20):
        if way == "async":
            async with client_of(keeper, server, transport=httpx.MockTransport(handle)) as client:
                assert (await client.get(server.api_url)).status_code == 401
        else:
            with httpx.Client(
                auth=keeper.auth_for(server.issuer), trust_env=False, transport=httpx.MockTransport(handle)
            ) as client:
                assert client.get(server.api_url).status_code == 401
    assert server.refreshes == 1
    assert len(sent) == 21
    assert len(set(sent)) == 2
    async with client_of(keeper, server) as client:
        assert (await client.get(server.api_url)).status_code == 200
    clock.advance(61)
    async with client_of(keeper, server, transport=httpx.MockTransport(handle)) as client:
        await client.get(server.api_url)
    assert server.refreshes == 2


async def test_calls_that_overlap_to_an_api_that_always_says_401(server, keeper, patient):
    """The second sets out with the new token before anybody knows that it is refused as well."""
    old = await keeper.get_token()
    arrived, go_on = anyio.Event(), anyio.Event()

    async def handle(request):
        if request.headers["authorization"] != old.authorization.reveal() and not arrived.is_set():
            arrived.set()
            await go_on.wait()
        return httpx.Response(401)

    async with client_of(keeper, server, transport=httpx.MockTransport(handle)) as client:

        async def first():
            assert (await client.get(server.api_url)).status_code == 401

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await arrived.wait()
            assert (await client.get(server.api_url)).status_code == 401
            go_on.set()
        assert (await client.get(server.api_url)).status_code == 401
    assert server.refreshes == 1


async def test_a_streamed_body_is_not_sent_twice(server, keeper):
    async def parts():
        yield b"a"
        yield b"b"

    token = await keeper.get_token()
    server.deny(token.access_token.reveal())
    async with client_of(keeper, server) as client:
        assert (await client.post(server.api_url, content=parts())).status_code == 401
        assert statuses(server) == [401]
        # But the token is renewed for what comes next.
        assert (await client.post(server.api_url, content=parts())).status_code == 200
    assert server.refreshes == 1


def test_a_streamed_body_is_not_sent_twice_by_threads_either(server, keeper):
    token = keeper.get_token_blocking()
    server.deny(token.access_token.reveal())
    with httpx.Client(auth=keeper.auth_for(server.issuer), trust_env=False) as client:
        assert client.post(server.api_url, content=iter([b"a", b"b"])).status_code == 401
        assert client.post(server.api_url, content=iter([b"a", b"b"])).status_code == 200
    assert statuses(server) == [401, 200]


async def test_a_streamed_body_gets_its_401_also_when_no_token_is_to_be_had(server, keeper):
    async def parts():
        yield b"a"

    token = await keeper.get_token()
    server.revoke_family(token.refresh_token.reveal())
    async with client_of(keeper, server) as client:
        assert (await client.post(server.api_url, content=parts())).status_code == 401
        with pytest.raises(GrantDeadError):
            await client.post(server.api_url, json={})


def test_for_a_synchronous_client(server, keeper):
    with httpx.Client(auth=keeper.auth_for(server.issuer), trust_env=False) as client:
        assert client.get(server.api_url).status_code == 200
        server.deny(server.families[0].access[0])
        assert client.get(server.api_url).status_code == 200
    assert statuses(server) == [200, 401, 200]
    assert_each_spent_once(server)


# -- where it goes


async def test_another_origin_is_refused(server, keeper):
    with OAuthServer() as elsewhere:
        async with client_of(keeper, server) as client:
            for url in (elsewhere.api_url, server.api_url.replace("127.0.0.1", "localhost"), "https://127.0.0.1/api"):
                with pytest.raises(InvalidInputError, match="is not sent to"):
                    await client.get(url)
        with (
            httpx.Client(auth=keeper.auth_for(server.issuer), trust_env=False) as client,
            pytest.raises(InvalidInputError, match="is not sent to"),
        ):
            client.get(elsewhere.api_url)
        assert elsewhere.api_requests == []
        auth = keeper.auth_for(server.issuer, elsewhere.issuer)
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            assert (await client.get(server.api_url)).status_code == 200
            assert (await client.get(f"{elsewhere.api_url}?x=1")).status_code == 401  # another's token
            assert elsewhere.api_requests[0].access_token == server.families[0].access[0]


@pytest.mark.parametrize("way", ["async", "sync"])
@pytest.mark.parametrize("status", [200, 401])
async def test_a_redirect_to_another_origin_does_not_carry_the_token(server, keeper, way, status):
    """And a 401 from there says nothing about it."""
    seen = []

    def handle(request):
        seen.append((request.url.host, "authorization" in request.headers))
        if request.url.host == "elsewhere.example":
            return httpx.Response(status)
        return httpx.Response(302, headers={"Location": "https://elsewhere.example/"})

    options = {
        "auth": keeper.auth_for("https://home.example"),
        "transport": httpx.MockTransport(handle),
        "follow_redirects": True,
    }
    if way == "async":
        async with httpx.AsyncClient(**options) as client:
            answer = await client.get("https://home.example/x")
    else:
        with httpx.Client(**options) as client:
            answer = client.get("https://home.example/x")
    assert answer.status_code == status
    assert seen == [("home.example", True), ("elsewhere.example", False)]
    assert server.count() == 0


@pytest.mark.parametrize("origin", ["http://api.example.com", "https://api.example.com/v1", "api.example.com", ""])
def test_what_is_no_origin_is_refused(keeper, origin):
    with pytest.raises(InvalidInputError):
        keeper.auth_for(origin)


def test_no_origin_at_all_is_refused(keeper):
    with pytest.raises(InvalidInputError, match="auth_for needs the origin"):
        keeper.auth_for()


def test_the_default_port_and_the_case_of_a_host_make_no_difference(server, keeper):
    with httpx.Client(
        auth=keeper.auth_for("https://API.example.com:443/"),
        transport=httpx.MockTransport(lambda _: httpx.Response(200)),
    ) as client:
        assert client.get("https://api.example.com/x").status_code == 200
        assert client.get("https://api.example.com:443/x").status_code == 200
        with pytest.raises(InvalidInputError):
            client.get("https://api.example.com:8443/x")


async def test_the_header(server, clock):
    """'Bearer', however the provider wrote it."""
    server.token_type = "BEARER"
    keeper, seen = keeper_for(server, ClientCredentialsGrant(), clock=clock), []

    def handle(request):
        seen.append(request.headers["authorization"])
        return httpx.Response(200)

    async with client_of(keeper, server, transport=httpx.MockTransport(handle)) as client:
        for _ in range(2):
            await client.get(server.api_url)
            await keeper.renew()
        await client.get(server.api_url)
    assert seen == [f"Bearer {family.access[0]}" for family in server.families]
    assert repr(keeper.auth_for(server.issuer)) == f"BearerAuth({server.issuer!r})"
