"""A client of a token endpoint: where it is, who asks, and what its answers mean."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, Literal, get_args
from urllib.parse import quote_plus

import attrs
import httpx

from domokit._runtime import steady
from domokit._secrets import Password, Secret, is_secret_name, wrap_secrets
from domokit.connection.exchange import Connection
from domokit.connection.options import ClientOptions, is_loopback
from domokit.errors import (
    APIError,
    DomoDecodeError,
    DomoError,
    GrantDeadError,
    GrantRefusedError,
    InvalidClientError,
    InvalidCredentialsError,
    InvalidInputError,
    OutcomeUnknown,
    SessionQuotaError,
    decode_error,
    error_for,
)

ClientAuth = Literal["basic", "basic-raw", "post", "none"]
REQUEST_TIMEOUT = 60.0  # seconds for one token request, from start to end of the answer

_HEADER = re.compile(r"[\x20-\x7e\t]*")
_FOR_A_WHILE = frozenset({"temporarily_unavailable", "server_error", "slow_down"})  # OAuth errors that pass by
_QUOTA = re.compile(r"quota|too many (?:active )?sessions|session limit", re.IGNORECASE)


def checked_endpoint(url: str, field: str) -> str:
    """`url`, if credentials may be sent there. Raises: InvalidInputError, naming the field."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        raise InvalidInputError(f"{field} is not an address") from None
    if parsed.scheme not in ("https", "http") or not parsed.host:
        raise InvalidInputError(f"{field} must be an https address, such as https://login.example.com/oauth/token")
    if parsed.scheme == "http" and not is_loopback(parsed.host):
        raise InvalidInputError(f"{field}: plain http is accepted for this machine (loopback) only: use https")
    if parsed.userinfo or parsed.fragment:
        raise InvalidInputError(f"{field} has a user or a fragment in it; it is just the address")
    if not 0 < (parsed.port or 443) <= 65535 or "" in parsed.host.removesuffix(".").split("."):
        raise InvalidInputError(f"{field}: there can be no such host or port")
    for name in parsed.params:
        if is_secret_name(name):
            raise InvalidInputError(f"{field}: its query has {name[:60]!r} in it; what is secret does not belong there")
    return str(parsed)


def checked_client_id(client_id: str, field: str) -> str:
    """A client id that can be sent. Raises: InvalidInputError, naming the field."""
    if not client_id.isprintable() or client_id != client_id.strip():
        raise InvalidInputError(f"{field} is no client id: printable text in one line, without spaces around it")
    return client_id


def joined_scope(scope: str | Iterable[str] | None, field: str = "scope") -> str | None:
    """Scopes as they are sent: separated by spaces, each once. Raises: InvalidInputError."""
    if scope is None:
        return None
    names = scope.split() if isinstance(scope, str) else list(scope)
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", name):  # pyright: ignore
            raise InvalidInputError(f"{field}: {str(name)[:60]!r} is not the name of a scope")
    return " ".join(dict.fromkeys(names)) or None


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one request to a token endpoint. Exactly one of the first three is what happened.

    answer:       the decoded answer, with an access token in it.
    refused:      the server answered that it will not; nothing was spent.
    unknown:      no answer, or none that tells: it may have been acted upon.
    never_left:   with `refused`: it certainly never reached the server.
    body:         the raw body, as far as it came.
    asked_at:     when the request set out, by the server's clock where that is known.
    """

    answer: Mapping[str, Any] | None = None
    refused: DomoError | None = None
    unknown: OutcomeUnknown | None = None
    never_left: bool = False
    body: Secret
    asked_at: datetime


class OAuthClient:
    """A client of an OAuth 2.0 token endpoint.

    token_url:      https; plain http for loopback only.
    client_id:      None only for `client_auth='none'` where the token itself tells it.
    client_secret:  may be empty: some providers have a client id alone, sent as a user without a password.
    client_auth:    how both are presented: 'basic' (form-encoded as RFC 6749 2.3.1 wants it), 'basic-raw' (as they
                    are), 'post' (in the body), or 'none' (a public client: its id in the body).
    scope:          what to ask for, a text or a list.
    issuer:         who the provider is, if that is not told by the token_url; part of the store's key.
    revocation_url: where tokens are revoked (RFC 7009), if anywhere.
    headers:        further headers for token requests.
    options:        proxy, certificates, timeouts, transport and clock; see `ClientOptions`.
    """

    token_url: str = ""  # for the repr of one whose arguments were refused
    client_id: str | None = None
    client_auth: ClientAuth = "basic"

    def __init__(
        self,
        token_url: str,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        *,
        client_auth: ClientAuth = "basic",
        scope: str | Iterable[str] | None = None,
        issuer: str | None = None,
        revocation_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        client_secret = None if client_secret is None else Password(client_secret)
        if client_secret is not None and not _is_sendable(client_secret):
            raise InvalidInputError("client_secret: it is no text that can be sent")
        if client_auth not in get_args(ClientAuth):
            raise InvalidInputError(f"client_auth is one of {', '.join(get_args(ClientAuth))}, not {client_auth!r}")
        self.token_url = checked_endpoint(token_url, "token_url")
        self.revocation_url: str | None = (
            None if revocation_url is None else checked_endpoint(revocation_url, "revocation_url")
        )
        if client_auth == "none":
            if client_secret is not None:
                raise InvalidInputError("client_secret: a public client (client_auth='none') has none")
        elif not client_id:
            raise InvalidInputError("client_id is missing")
        elif client_secret is None:
            raise InvalidInputError(
                "client_secret is missing", hint="Pass '' if the provider has none, or client_auth='none'."
            )
        if client_auth == "basic-raw" and ":" in (client_id or ""):
            raise InvalidInputError("client_id has a ':' in it, which raw Basic cannot carry; use client_auth='basic'")
        self.client_id = client_id and checked_client_id(client_id, "client_id")
        self.client_auth = client_auth
        self.scope: str | None = joined_scope(scope)
        self.issuer = issuer
        self.headers: dict[str, str] = dict(headers or {})
        for name, value in self.headers.items():
            if not (_HEADER.fullmatch(name) and _HEADER.fullmatch(value)):
                raise InvalidInputError(f"headers: {name[:60]!r} cannot be sent: printable ASCII only")
        self.options: ClientOptions = options or ClientOptions()
        self._client_secret = client_secret
        self._time = self.options.clock(), steady(), False  # and whether the provider has told it

    def now(self) -> datetime:
        """The time by the provider's clock: as its last answer told, and counted on from there.

        This machine's clock may be set meanwhile and changes nothing. Before the first answer, the later of what it
        says and said counts: a clock that is set back makes no dead token look alive.
        """
        then, at, is_told = self._time
        counted = then + timedelta(seconds=steady() - at)
        return counted if is_told else max(counted, self.options.clock())

    @property
    def asked(self) -> str:
        """The endpoint as errors name it."""
        url = httpx.URL(self.token_url)
        return f"POST {url.netloc.decode()}{url.path}"

    def key(self, user: str, resources: Iterable[tuple[str, str]] = ()) -> str:
        """What tells this client's tokens for a user from all others, in any store; a hash.

        resources:  what they are for, where that is asked for beside the scope: [('audience', 'https://…')].
        """
        scopes: list[Any] = sorted((self.scope or "").split())
        parts = [self.issuer or self.token_url, self.token_url, self.client_id or "", self.client_auth, user, scopes]
        if found := sorted(set(resources)):
            parts.append(found)
        return sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def connect(self) -> Connection:
        """A connection to the endpoint, on the running event loop; to be closed."""
        url = httpx.URL(self.token_url)
        return Connection(self.options, f"{url.scheme}://{url.netloc.decode()}")

    def request(
        self, connection: Connection, form: Mapping[str, str | Secret], *, client_id: str | None = None
    ) -> httpx.Request:
        """What to ask with.

        client_id:  where the client has none of its own.
        Raises: InvalidInputError, if there is something in it that cannot be sent.
        """
        for name, value in form.items():
            if not _is_sendable(value):
                raise InvalidInputError(f"{name}: it is no text that can be sent (half of a surrogate pair is in it)")
        client_id = checked_client_id(client_id or self.client_id or "", "client_id")
        return self._request(connection, self.token_url, form, client_id)

    async def ask(
        self,
        connection: Connection,
        request: httpx.Request,
        *,
        total: float = REQUEST_TIMEOUT,
    ) -> Outcome:
        """Ask for a token, once, by what `request` has made.

        total:  seconds for all of it.
        """
        asked_at, began = self.now(), steady()
        reply = await connection.send_once(request, asked=self.asked, total=total)
        if reply.response is None:
            assert reply.lost is not None
            nothing = Secret("")
            if isinstance(reply.lost, OutcomeUnknown):
                return Outcome(unknown=reply.lost, body=nothing, asked_at=asked_at)
            return Outcome(refused=reply.lost, never_left=reply.never_left, body=nothing, asked_at=asked_at)
        told, now = _told_time(reply.response, self.options.clock()), steady()
        self._time = told, now, True
        return self._read(reply.response, reply.lost, told - timedelta(seconds=now - began))

    async def revoke(self, token: Secret, hint: str, *, client_id: str | None = None) -> None:
        """Revoke a token (RFC 7009). Raises: InvalidInputError without a revocation_url; APIError."""
        if self.revocation_url is None:
            raise InvalidInputError("this client has no revocation_url")
        connection = self.connect()
        try:
            form = {"token": token, "token_type_hint": hint}
            request = self._request(connection, self.revocation_url, form, client_id or self.client_id)
            await connection.exchange(request, asked="POST (revocation)", repeatable=True, auth=None)
        finally:
            await connection.aclose()

    def _request(
        self, connection: Connection, url: str, form: Mapping[str, str | Secret], client_id: str | None
    ) -> httpx.Request:
        body = dict(form)
        headers: dict[str, str | Secret] = {"Accept": "application/json", **self.headers}
        secret = self._client_secret or Password("")
        if self.client_auth in ("basic", "basic-raw"):
            headers["Authorization"] = _basic(client_id or "", secret, encoded=self.client_auth == "basic")
        else:
            body["client_id"] = client_id or ""
            if self.client_auth == "post":
                body["client_secret"] = secret
        return connection.request("POST", url, headers=headers, form=body, asked=self.asked)

    def _read(self, response: httpx.Response, lost: DomoError | None, asked_at: datetime) -> Outcome:
        body = Secret(response.text)
        if lost is None and (error := error_for(self.asked, response)) is not None and not _is_success(response):
            if response.status_code >= 500:  # it may have acted and then failed
                unknown = OutcomeUnknown(f"the server failed: {error.message}", asked=self.asked)
                unknown.__cause__ = error
                return Outcome(unknown=unknown, body=body, asked_at=asked_at)
            return Outcome(refused=_refusal(error, response), body=body, asked_at=asked_at)
        if not _is_success(response):
            assert lost is not None
            return Outcome(unknown=_as_unknown(lost), body=body, asked_at=asked_at)
        answer = decoded_answer(body)
        if answer is not None and lost is None:
            if isinstance(answer.get("access_token"), Secret):
                return Outcome(answer=answer, body=body, asked_at=asked_at)
            if isinstance(answer.get("error"), str):  # some refuse with status 200
                said = decode_error(DomoDecodeError, self.asked, response, f"refused: {answer['error']}")
                return Outcome(refused=_refusal(said, response), body=body, asked_at=asked_at)
        strange = lost or error_for(self.asked, response) or _no_token(self.asked, response)
        return Outcome(unknown=_as_unknown(strange), body=body, asked_at=asked_at)

    def __repr__(self) -> str:
        # A traceback may show an object that is not finished.
        url, client_id = getattr(self, "token_url", "?"), getattr(self, "client_id", "?")
        return f"OAuthClient({url!r}, {client_id!r}, client_auth={getattr(self, 'client_auth', '?')!r})"


def decoded_answer(body: Secret) -> dict[str, Any] | None:
    """The members of a token endpoint's answer, secrets as `Secret`; None if it is no JSON object."""
    try:
        answer = json.loads(body.reveal().removeprefix("\ufeff"))
        return wrap_secrets(answer) if isinstance(answer, dict) else None
    except (ValueError, RecursionError):
        return None


def _is_sendable(value: str | Secret) -> bool:
    try:
        (value.reveal() if isinstance(value, Secret) else value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_success(response: httpx.Response) -> bool:
    return 200 <= response.status_code < 300


def _basic(client_id: str, secret: Secret, *, encoded: bool) -> Secret:
    pair = f"{client_id}:{secret.reveal()}"
    if encoded:
        # A ':' or a letter beyond ASCII must not break the pair.
        pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    return Secret("Basic " + b64encode(pair.encode()).decode())


def _as_unknown(error: DomoError) -> OutcomeUnknown:
    if isinstance(error, OutcomeUnknown):
        return error
    unknown = OutcomeUnknown(f"the answer cannot be used: {error.message}", asked=error.asked)
    unknown.__cause__ = error
    return unknown


def _no_token(asked: str, response: httpx.Response) -> APIError:
    return decode_error(DomoDecodeError, asked, response, "without an access token in the answer")


def _refusal(error: APIError, response: httpx.Response) -> DomoError:
    """What a refusal means: its OAuth code first, then its words, then its status."""
    code, said = error.error, f"{error.domo_message or ''} {_description(error)}"
    kind: type[APIError] | None = None
    if _QUOTA.search(said):
        kind = SessionQuotaError
    elif code == "invalid_client" or (response.status_code == 401 and code is None):
        kind = InvalidClientError
    elif code == "invalid_grant":
        kind = GrantDeadError
    elif code is not None and code not in _FOR_A_WHILE and response.status_code != 429:
        kind = GrantRefusedError
    if kind is None:
        return error
    return kind(
        error.message,
        asked=error.asked,
        status=error.status,
        domo_message=error.domo_message,
        body=error.body,
        request_id=error.request_id,
        retry_after=error.retry_after,
    )


def _description(error: APIError) -> str:
    found = error.body.get("error_description") if isinstance(error.body, Mapping) else None
    return found if isinstance(found, str) else ""


def as_wrong_password(error: GrantDeadError) -> InvalidCredentialsError:
    """What 'invalid_grant' means where a password was presented."""
    return InvalidCredentialsError(
        error.message, asked=error.asked, status=error.status, domo_message=error.domo_message, body=error.body
    )


def _told_time(response: httpx.Response, now: datetime) -> datetime:
    """The server's time by its `Date`; ours, which is finer, where both agree within what that can tell."""
    try:
        told = parsedate_to_datetime(response.headers.get("date", ""))
        return told if abs(told - now) > timedelta(seconds=5) else now
    except (ValueError, TypeError):
        return now
