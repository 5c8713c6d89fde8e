"""Signs requests with a keeper's token, for any httpx client."""

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Protocol

import httpx

from domokit._secrets import Secret
from domokit.connection.options import origin_of
from domokit.errors import DomoError, InvalidInputError
from domokit.oauth.token import OAuthToken


class Keeper(Protocol):
    """What gives the tokens; a `TokenKeeper`."""

    def ready(self) -> OAuthToken | None: ...
    async def get_token(self) -> OAuthToken: ...
    async def replace(self, refused: OAuthToken) -> OAuthToken: ...
    def get_token_blocking(self) -> OAuthToken: ...
    def replace_blocking(self, refused: OAuthToken) -> OAuthToken: ...
    def deny(self, token: OAuthToken) -> None: ...
    def accept(self, token: OAuthToken) -> None: ...


class BearerAuth(httpx.Auth):
    """An `httpx.Auth` for the origins it is told; made by `TokenKeeper.auth_for`.

    A request whose body is streamed cannot be sent twice, so its 401 is left as it is; the token is renewed for the
    next one all the same.
    """

    _origins: tuple[str, ...] = ()

    def __init__(self, keeper: Keeper, origins: tuple[str, ...]) -> None:
        if not origins:
            raise InvalidInputError(
                "auth_for needs the origin that the token is for, such as 'https://api.example.com'"
            )
        self._keeper = keeper
        self._origins = tuple(origin_of(origin) for origin in origins)
        urls = [httpx.URL(origin) for origin in self._origins]
        self._home = {(url.scheme, url.host, url.port) for url in urls}
        self._signed: tuple[OAuthToken, Secret] | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        self._check(request.url)
        token = self._keeper.ready() or await self._keeper.get_token()
        self._sign(request, token)
        response = yield request
        if not self._is_refused(response):
            return
        if not _can_be_sent_again(request):
            with suppress(DomoError):
                await self._keeper.replace(token)
            return
        await response.aread()  # gives its connection back
        better = await self._keeper.replace(token)
        if better.access_token != token.access_token:
            self._sign(request, better)
            self._judge(better, (yield request))

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._check(request.url)
        token = self._keeper.ready() or self._keeper.get_token_blocking()
        self._sign(request, token)
        response = yield request
        if not self._is_refused(response):
            return
        if not _can_be_sent_again(request):
            with suppress(DomoError):
                self._keeper.replace_blocking(token)
            return
        response.read()
        better = self._keeper.replace_blocking(token)
        if better.access_token != token.access_token:
            self._sign(request, better)
            self._judge(better, (yield request))

    def _is_refused(self, response: httpx.Response) -> bool:
        """Whether this is a 401 to a token: a redirect may have led to where it was not shown."""
        return response.status_code == 401 and "Authorization" in response.request.headers

    def _judge(self, token: OAuthToken, response: httpx.Response) -> None:
        if self._is_refused(response):
            self._keeper.deny(token)
        else:
            self._keeper.accept(token)

    def _check(self, url: httpx.URL) -> None:
        if (url.scheme, url.host, url.port) not in self._home:
            raise InvalidInputError(
                f"the token is for {', '.join(self._origins)} and is not sent to {url.host}",
                hint="Name every origin it is for in auth_for(…).",
            )

    def _sign(self, request: httpx.Request, token: OAuthToken) -> None:
        # The header is made once for each token: this is on the way of every request.
        signed = self._signed
        if signed is None or signed[0] is not token:
            signed = self._signed = token, token.authorization
        request.headers["Authorization"] = signed[1].reveal()

    def __repr__(self) -> str:
        return f"BearerAuth({', '.join(map(repr, self._origins))})"


def _can_be_sent_again(request: httpx.Request) -> bool:
    return isinstance(request.stream, httpx.ByteStream)
