"""Who is asking: the instance, the credential, and the header that proves it."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from os import environ
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import anyio
import attrs
import httpx

from domokit._runtime import PerLoop
from domokit._secrets import Secret
from domokit.connection.exchange import Connection, decode
from domokit.connection.options import ClientOptions
from domokit.errors import (
    AuthenticationError,
    DomoError,
    InvalidInputError,
    InvalidInstanceError,
    MissingCredentialError,
    same_again,
)

Family = Literal["product", "platform"]
PLATFORM_ORIGIN = "https://api.domo.com"

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ADDRESS = re.compile(r"(?:https://)?(?P<name>[^./:@?#\\\s]+)\.domo\.com(?:/\S*)?", re.ASCII | re.IGNORECASE)


@attrs.frozen
class Instance:
    """The name of a Domo instance: 'acme' for https://acme.domo.com."""

    name: str

    @classmethod
    def parse(cls, text: "str | Instance") -> "Instance":
        """Read 'acme', 'acme.domo.com' or 'https://acme.domo.com/…'.

        Raises: InvalidInstanceError for anything else; nothing is sent.
        """
        if isinstance(text, Instance):
            return text
        if not isinstance(text, str) or not text:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInstanceError("the Domo instance is missing")
        found = _ADDRESS.fullmatch(text)
        name = (found["name"] if found else text).lower()
        if not _LABEL.fullmatch(name):
            raise InvalidInstanceError(f"{text[:80]!r} is not a Domo instance")
        return cls(name)

    @property
    def origin(self) -> str:
        return f"https://{self.name}.domo.com"


@attrs.frozen(kw_only=True)
class Identity:
    """Who an auth object acts for. What an API family does not tell is None."""

    id: int
    name: str | None = None
    email: str | None = None
    role: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.define(eq=False)
class _Flight:
    """A renewal under way: who waits for it, what it gave, and how it failed if it did."""

    done: anyio.Event = attrs.field(factory=anyio.Event)
    made: Secret | None = None
    error: DomoError | None = None


@attrs.define(eq=False)
class _Flights:
    current: _Flight | None = None


_flights: "PerLoop[Auth, _Flights]" = PerLoop("auth.flights", lambda _: _Flights())


class Auth(httpx.Auth, ABC):
    """What every call needs: where to, signed by whom, and how.

    Subclasses say which API families they can sign, which header they set, and how to obtain what goes into it.
    An auth object may be used from many tasks, and from one event loop after another. As an `httpx.Auth` it also
    signs requests of any other httpx client, to its own origins only; let that client not follow redirects, for httpx
    would carry Domo's own headers along to wherever they lead.

    After `aclose()` it can be used again; it then opens new connections.
    """

    families: ClassVar[frozenset[Family]] = frozenset()
    header_name: ClassVar[str] = ""

    # Defaults for an object that is being built, which a traceback may show.
    instance: Instance | None = None
    options: ClientOptions = ClientOptions()

    def __init__(self, domo_instance: "str | Instance | None", options: ClientOptions | None) -> None:
        self.instance = None if domo_instance is None else Instance.parse(domo_instance)
        self.options = options or ClientOptions()
        self._refused: DomoError | None = None
        self._origins: set[tuple[str, str, int | None]] = set()

    # -- for subclasses

    @abstractmethod
    def current(self) -> Secret | None:
        """The credential to sign with if it is at hand and fresh; None if it must be obtained. Takes no lock."""

    @abstractmethod
    async def obtain(self) -> None:
        """Obtain a new credential, so that `current()` gives it. Called by one task at a time."""

    def header_value(self, credential: Secret) -> str:
        """What the header says, for a credential."""
        return credential.reveal()

    @property
    def can_renew(self) -> bool:
        """Whether a refused credential can be replaced by asking again."""
        return True

    # -- for everyone

    @property
    def family(self) -> Family:
        """The API family whose routes entities take with this auth."""
        return next(iter(self.families))

    def origin(self, family: Family) -> str:
        """The origin of an API family, 'https://acme.domo.com': `options.base_url` where it is given."""
        if self.options.base_url:
            return self.options.base_url
        if family == "platform":
            return PLATFORM_ORIGIN
        assert self.instance is not None
        return self.instance.origin

    @property
    def place(self) -> str:
        """What ids are unique in: the instance, or where it is not known the origin."""
        return self.instance.name if self.instance else self.options.base_url or PLATFORM_ORIGIN

    async def sign_in(self) -> Self:
        """Obtain a credential now, also where an earlier attempt was refused; return this object.

        Raises: AuthenticationError and its kinds, UnknownInstanceError, IPNotAllowedError, ConnectionFailedError.
        """
        self._refused = None
        await self._renew(self.current())
        return self

    @abstractmethod
    async def who_am_i(self) -> Identity:
        """The user this auth object acts for, as Domo says; signs in if need be."""

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        if (connection := connection_for.pop(self)) is not None:
            await connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r})"

    # -- signing

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign a request; after a 401 renew the credential once, for all who wait, and send the request once more."""
        self._check_origin(request)
        used = self.current() or await self._renew(None)
        request.headers[self.header_name] = self.header_value(used)
        response = yield request
        if response.status_code == 401 and self.can_renew:
            await response.aread()  # gives its connection back, which the renewal may need
            renewed = await self._renew(used)
            request.headers[self.header_name] = self.header_value(renewed)
            yield request

    def _check_origin(self, request: httpx.Request) -> None:
        url = request.url
        if (url.scheme, url.host, url.port) not in self._home():
            raise InvalidInputError(f"{self!r} does not sign requests to {url.host}: its credential stays at home")

    def _home(self) -> set[tuple[str, str, int | None]]:
        """Scheme, host and port of each origin it signs for; worked out once, for it is asked on every request."""
        if not self._origins:
            urls = [httpx.URL(self.origin(family)) for family in self.families]
            self._origins = {(url.scheme, url.host, url.port) for url in urls}
        return self._origins

    async def _renew(self, refused: Secret | None) -> Secret:
        """A credential other than `refused`. All who ask at once share one renewal, and its failure."""
        flights = _flights(self)
        while True:
            current = self.current()
            if current is not None and (refused is None or current != refused):
                return current  # someone else has renewed it already
            if self._refused is not None:
                raise same_again(self._refused)
            if (flight := flights.current) is not None:
                await flight.done.wait()
                if flight.error is not None:
                    raise same_again(flight.error)
                if flight.made is not None:
                    return flight.made
                continue
            flight = flights.current = _Flight()
            try:
                with anyio.CancelScope(shield=True):  # a caller that goes away neither stops it nor loses its result
                    await self.obtain()
                # Taken as it is, fresh or not, the refused one again or another: if it will not do, Domo says so.
                flight.made = self.current()
                if flight.made is None:
                    raise AuthenticationError("the credential had expired as soon as it was obtained")
                return flight.made
            except DomoError as error:
                flight.error = error
                raise
            finally:
                flights.current = None
                flight.done.set()

    async def _ask(
        self,
        method: str,
        family: Family,
        path: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        body: Any = None,
        form: Mapping[str, Any] | None = None,
        signed: bool = False,
    ) -> Any:
        """Ask one of the few endpoints that auth objects themselves need; return the decoded object, or {} for none.

        Secrets in the answer come as `Secret`. Only a signed GET is repeated: signing in never is.
        """
        asked = f"{method} {path}"
        connection = connection_for(self)
        response = await connection.exchange(
            connection.request(method, self.origin(family) + path, headers=headers, json=body, form=form, asked=asked),
            asked=asked,
            repeatable=signed and method == "GET",
            auth=self if signed else None,
            urgent=not signed,
        )
        if not response.content.strip():
            return {}
        return decode(asked, response, dict)


connection_for: PerLoop[Auth, Connection] = PerLoop(
    "auth.connection", lambda auth: Connection(auth.options, auth.origin(auth.family))
)


def from_environment(prefix: str, names: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments from environment variables.

    names:      environment names (without the prefix) by argument name, such as {'username': 'USERNAME'}.
    overrides:  arguments given in code; they win, and their variables are not needed. `options` gets the base URL of
                the environment unless it has one of its own.
    Raises: MissingCredentialError, naming every variable that is missing.
    """
    given = dict(overrides)
    for argument, name in names.items():
        if given.get(argument) is None and (value := environ.get(prefix + name)):
            given[argument] = value
    if missing := [prefix + name for argument, name in names.items() if given.get(argument) is None]:
        raise MissingCredentialError(f"not set in the environment: {', '.join(missing)}")
    if base_url := environ.get(prefix + "BASE_URL"):
        options: ClientOptions = given.get("options") or ClientOptions()
        given["options"] = options if options.base_url else attrs.evolve(options, base_url=base_url)
    return given
