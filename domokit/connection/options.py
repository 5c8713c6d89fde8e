"""How an auth object talks to Domo: addresses, timeouts, retries, limits, proxies, certificates."""

import ipaddress
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from random import uniform
from typing import Any

import attrs
import httpx

from domokit._runtime import utc_now
from domokit.errors import InvalidInputError

DEFAULT_TIMEOUT = httpx.Timeout(60.0, connect=10.0)


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def origin_of(text: str) -> str:
    """`text` as an origin, 'https://host[:port]'. Raises InvalidInputError for anything that is more or less."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError):
        raise InvalidInputError("base_url is not an address") from None
    if url.scheme not in ("https", "http") or not url.host:
        raise InvalidInputError("base_url must be an https address, such as https://proxy.example.com")
    if url.userinfo or url.query or url.fragment or url.path not in ("", "/"):
        raise InvalidInputError("base_url is an origin only: scheme, host and port, without user, path or query")
    if url.scheme == "http" and not is_loopback(url.host):
        raise InvalidInputError("plain http is accepted for this machine (loopback) only: use https")
    return str(url).rstrip("/")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a request that may be repeated is repeated: after 429, 502, 503, 504 and lost connections.

    attempts:    requests at most, the first included.
    base, cap:   the wait before attempt n+1 is drawn evenly from 0 to min(cap, base * 2**(n-1)) seconds ("full
                 jitter"), unless Domo says how long to wait.
    budget:      seconds at most for all attempts and waits of one call.
    """

    attempts: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    base: float = 0.5
    cap: float = 20.0
    budget: float = 120.0

    def wait_before(self, attempt: int, told: float | None = None) -> float:
        """Seconds to wait before the attempt of this number (from 2), `told` being Domo's own wish, if any."""
        return told if told is not None else uniform(0, min(self.cap, self.base * 2 ** (attempt - 2)))


NO_RETRY = RetryPolicy(attempts=1)


def _as_timeout(value: float | httpx.Timeout) -> httpx.Timeout:
    return value if isinstance(value, httpx.Timeout) else httpx.Timeout(value)


def _as_origin(value: str | None) -> str | None:
    return None if value is None else origin_of(value)


@attrs.frozen(kw_only=True)
class ClientOptions:
    """Options of an auth object; all have sensible defaults.

    base_url:         another origin for both API families: the sandbox, a gateway. Plain http for loopback only.
    timeout:          seconds for each of connect, read, write and waiting for a connection, or an `httpx.Timeout`.
    total_timeout:    seconds for one attempt from start to end of the answer; None for no limit.
    retry:            see `RetryPolicy`.
    max_connections:  connections kept open, per event loop.
    max_concurrency:  requests in flight, per event loop; the others wait.
    proxy:            address of a proxy, such as 'http://user:pass@proxy.example.com:8080' (never shown). Without it
                      HTTPS_PROXY, ALL_PROXY and NO_PROXY are honoured unless `trust_env` is False.
    ca_bundle:        path of a PEM file with further trusted certificates (a corporate proxy's), or an
                      `ssl.SSLContext` that verifies. There is no way to switch verification off.
    transport:        an `httpx.AsyncBaseTransport`, or an ASGI application such as `Sandbox().app`, to use instead.
    event_hooks:      httpx event hooks, {'request': [...], 'response': [...]}.
    classes:          entity classes to build instead of domokit's own, by kind: {'USER': MyUser}.
    clock:            gives the time now as an aware datetime; for tests.
    """

    base_url: str | None = attrs.field(default=None, converter=_as_origin)
    timeout: httpx.Timeout = attrs.field(default=DEFAULT_TIMEOUT, converter=_as_timeout)
    total_timeout: float | None = 300.0
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    max_connections: int = attrs.field(default=64, validator=attrs.validators.ge(1))
    max_concurrency: int = attrs.field(default=64, validator=attrs.validators.ge(1))
    proxy: str | None = attrs.field(default=None, repr=False)
    trust_env: bool = True
    ca_bundle: str | Path | ssl.SSLContext | None = None
    transport: httpx.AsyncBaseTransport | Callable[..., Any] | None = attrs.field(default=None, repr=False)
    event_hooks: Mapping[str, Sequence[Callable[..., Any]]] = attrs.field(factory=dict, repr=False)
    classes: Mapping[str, type] = attrs.field(factory=dict, repr=False)
    clock: Callable[[], datetime] = attrs.field(default=utc_now, repr=False)

    def __attrs_post_init__(self) -> None:
        context = self.ca_bundle
        if isinstance(context, ssl.SSLContext) and not (
            context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
        ):
            raise InvalidInputError("ca_bundle: this SSLContext does not verify certificates, and domokit always does")
