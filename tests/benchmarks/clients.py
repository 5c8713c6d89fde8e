"""The same calls by domokit, by bare httpx, and by pydomo."""

import json
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx
from httpx_aiohttp import AiohttpTransport

from domokit import Auth, ClientOptions, OAuthClientAuth, SessionAuth

from .server import MAX_PAGE, TOKEN, Server

FAMILIES = ("platform", "product")
_HEADERS = {"platform": {"Authorization": f"bearer {TOKEN}"}, "product": {"X-DOMO-Authentication": TOKEN}}


def domokit_auth(server: Server, family: str = "platform", **options: Any) -> Auth:
    """An auth object for the server; `options` are those of `ClientOptions`."""
    given = ClientOptions(base_url=server.origin, **options)
    if family == "platform":
        return OAuthClientAuth("client", "client-secret", options=given)
    return SessionAuth("acme", "ann@example.com", "password", options=given)


def aiohttp_transport(in_flight: int) -> AiohttpTransport:
    return AiohttpTransport(limits=httpx.Limits(max_connections=in_flight))


class Bare:
    """What one would write without an SDK: a signed httpx client, and `json.loads`."""

    def __init__(self, server: Server, family: str, client: httpx.AsyncClient) -> None:
        self._client = client
        self._list = server.origin + ("/v1/users" if family == "platform" else "/api/identity/v1/users")
        self._product = family == "product"

    async def get(self, user_id: int) -> Any:
        url = f"{self._list}/{user_id}"
        if not self._product:
            return await self._loaded(url)
        return (await self._loaded(url + "?parts=DETAILED"))["users"][0]

    async def get_many(self, user_ids: Iterable[int], workers: int) -> list[Any]:
        """Some workers feed on one iterator; the results come in no order."""
        todo = iter(user_ids)
        results: list[Any] = []

        async def work() -> None:
            results.extend([await self.get(user_id) for user_id in todo])

        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(work)
        return results

    async def get_all(self) -> list[Any]:
        """All users, page by page, until a page is empty."""
        results: list[Any] = []
        parts = "&parts=DETAILED" if self._product else ""
        while True:
            page = await self._loaded(f"{self._list}?offset={len(results)}&limit={MAX_PAGE}{parts}")
            users = page["users"] if self._product else page
            if not users:
                return results
            results += users

    async def _loaded(self, url: str) -> Any:
        response = await self._client.get(url)
        response.raise_for_status()
        return json.loads(response.content)


@asynccontextmanager
async def bare(server: Server, family: str = "platform", **options: Any):
    """A `Bare`; `options` are those of `httpx.AsyncClient`."""
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(headers=_HEADERS[family], timeout=60, **options)
        yield Bare(server, family, await stack.enter_async_context(client))


def pydomo(server: Server) -> Any:
    """A pydomo client, which signs in at once."""
    from pydomo import Domo

    return Domo("client", "client-secret", api_host=server.host, use_https=False, log_level=logging.WARNING)
