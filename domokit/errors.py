"""Every exception of domokit: one tree by meaning, and the one place where an answer becomes an error.

    DomoError
    ├── InvalidInputError            refused before anything was sent (also a ValueError)
    │   ├── InvalidInstanceError     not the name of a Domo instance
    │   ├── MissingCredentialError   an argument or environment variable that signing in needs
    │   ├── MissingExtraError        a library that this needs is not installed (also an ImportError)
    │   ├── InvalidDataError         a value that Domo cannot hold, and where it stands
    │   └── SchemaMismatchError      the columns of the data are not those of the DataSet
    ├── UnsupportedByAuth            this kind of auth cannot sign that API
    ├── DryRunRefused                a request that changes something, inside dry_run()
    ├── ConnectionFailedError        no answer, and nothing was done
    │   └── RequestTimeoutError      the same, because time ran out
    ├── OutcomeUnknown               no answer, and the other side may have acted
    │   └── RefreshTokenLost         its successor never came, or is in no store; a human must see to it
    ├── StoreError                   a place where tokens are kept failed
    │   ├── StoreUnavailableError    it cannot be reached, read or written now
    │   ├── StoreBusyError           another holds its lock for too long
    │   ├── StoreConflictError       another has written in the meantime
    │   ├── StoreUnsafeError         others could read it or put something else in its place
    │   ├── StoreCorruptError        what is there cannot be read
    │   └── UnpersistedError         a token is held in memory only, for the store failed after it was received
    ├── SeveralFailedError           some items of a fan-out failed; the rest is attached
    ├── RotationError                a rotation stopped; says what it left
    ├── UploadError                  a load stopped; says what it left, and how to resume
    ├── IncompleteDataError          rows are missing from what was read
    └── APIError                     Domo answered, and the answer is an error
        ├── AuthenticationError      401, or a sign-in that was refused
        │   ├── InvalidCredentialsError, AccountLockedError, OneTimePasswordRequired
        │   │   └── InvalidClientError    a token endpoint does not know this client, or not this secret
        │   ├── GrantDeadError       a refresh token is good no more; a human must issue a new one
        │   └── SessionQuotaError    the user has too many sessions
        ├── PermissionDeniedError    403
        ├── UnknownInstanceError     403 without JSON: no such instance
        ├── IPNotAllowedError        the caller's address is blocked
        ├── NotFoundError            404, or Domo's other ways of saying so
        ├── BadRequestError          400 and other 4xx
        │   ├── ConflictError        409
        │   ├── NoDataError          a DataSet into which nothing was loaded yet
        │   └── GrantRefusedError    a token endpoint does not grant what was asked
        ├── RateLimitedError         429
        ├── ServerError              5xx
        │   └── ServiceUnavailableError, MaintenanceError
        └── DomoDecodeError          the answer is not what the API promises
            ├── UnexpectedPageError  a web page where data was expected
            └── EmptyAnswerError     nothing where data was expected

Each error says what was asked, what Domo answered, and what to do next; none of them holds a secret.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

import httpx

from domokit._secrets import forget_frames, mask, scrub

__all__ = [
    "APIError",
    "AccountLockedError",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "ConnectionFailedError",
    "DomoDecodeError",
    "DomoError",
    "DryRunRefused",
    "EmptyAnswerError",
    "GrantDeadError",
    "GrantRefusedError",
    "IPNotAllowedError",
    "IncompleteDataError",
    "InvalidClientError",
    "InvalidCredentialsError",
    "InvalidDataError",
    "InvalidInputError",
    "InvalidInstanceError",
    "MaintenanceError",
    "MissingCredentialError",
    "MissingExtraError",
    "NoDataError",
    "NotFoundError",
    "OneTimePasswordRequired",
    "OutcomeUnknown",
    "PermissionDeniedError",
    "RateLimitedError",
    "RefreshTokenLost",
    "RequestTimeoutError",
    "RotationError",
    "SchemaMismatchError",
    "ServerError",
    "ServiceUnavailableError",
    "SessionQuotaError",
    "SeveralFailedError",
    "StoreBusyError",
    "StoreConflictError",
    "StoreCorruptError",
    "StoreError",
    "StoreUnavailableError",
    "StoreUnsafeError",
    "UnexpectedPageError",
    "UnknownInstanceError",
    "UnpersistedError",
    "UnsupportedByAuth",
    "UploadError",
]


class DomoError(Exception):
    """Base of everything this package raises on purpose.

    asked:     what was asked, such as 'GET /api/content/v2/users/me'; empty where nothing was.
    hint:      what to do next, in one sentence; part of the text, too.
    attached:  what was made before the failure and must not be lost, such as a new `DomoAccessToken`; else None.
    retryable:    whether the same may work a little later without anybody doing anything.
    needs_human:  whether it stays as it is until somebody does something: corrects a secret, issues a token.
    """

    hint: str = ""
    asked: str = ""
    attached: Any = None
    retryable: bool = False
    needs_human: bool = False

    def __init__(self, message: str, *, asked: str = "", hint: str = "") -> None:
        self.message: str = " ".join(scrub(message).split())  # in one line, whatever Domo said
        self.asked = asked or type(self).asked
        self.hint = hint or type(self).hint
        super().__init__(self.message)

    def __str__(self) -> str:
        said = f"{self.asked}: {self.message}" if self.asked else self.message
        return f"{said.rstrip('.')}. {self.hint}" if self.hint else said


def same_again(error: DomoError) -> DomoError:
    """The same error for another waiter: one exception raised in many tasks would mix up their tracebacks."""
    again = copy(error)
    again.__cause__ = error.__cause__
    return again


class InvalidInputError(DomoError, ValueError):
    """An argument is wrong; nothing was sent."""


class InvalidInstanceError(InvalidInputError):
    """The text names no Domo instance; nothing was sent."""

    hint = "Pass the name in front of .domo.com: 'acme', 'acme.domo.com' or 'https://acme.domo.com'."


class MissingCredentialError(InvalidInputError):
    """Something that signing in needs was not given; nothing was sent."""


class MissingExtraError(InvalidInputError, ImportError):
    """A library that this needs is not installed; nothing was sent."""


class InvalidDataError(InvalidInputError):
    """A value that the column's type, or Domo, cannot hold. The text says which column, and which row if known.

    The value itself is not in the text. A load that meets it is aborted: nothing of it is visible.
    """


class SchemaMismatchError(InvalidInputError):
    """The columns of the data are not those of the DataSet; nothing was sent.

    diff:  how they differ, a `domokit.bulk.schema.SchemaDiff`.
    """

    hint = "Change the data, or pass evolve_schema='add' or 'replace' to change the DataSet."

    def __init__(self, message: str, *, diff: Any = None, asked: str = "", hint: str = "") -> None:
        super().__init__(message, asked=asked, hint=hint)
        self.diff: Any = diff


class UnsupportedByAuth(DomoError):
    """This kind of auth cannot sign that API family; nothing was sent."""


class DryRunRefused(DomoError):
    """A request that would change something met `dry_run()`; it was not sent."""

    hint = "Leave the dry_run() block to carry it out."


class ConnectionFailedError(DomoError):
    """No answer came, and nothing was done on the other side that could not be repeated."""

    hint = "Check the network, the proxy and the address, then try again."
    retryable = True


class RequestTimeoutError(ConnectionFailedError):
    """No answer came in time (see `ClientOptions.timeout` and `total_timeout`, in seconds)."""

    hint = "Try again, or allow more time with ClientOptions(timeout=…, total_timeout=…)."


class OutcomeUnknown(DomoError):
    """The connection was lost after a request that must not be repeated had left: Domo may have acted or not."""

    hint = "Look whether it happened before asking again; it was not repeated on your behalf."


class RefreshTokenLost(OutcomeUnknown):
    """The new refresh token is lost: the answer with it never came, or the record of it is not there any more.

    The old one is refused, or is not presented: a provider that sees one twice revokes all that came of it.
    """

    hint = "Issue a new token where you got the first one, and give it to the keeper."
    needs_human = True


class StoreError(DomoError):
    """A place where tokens are kept failed."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached, read or written now: a full disk, a server that is away."""

    hint = "See to the store; nothing was spent."
    retryable = True


class StoreBusyError(StoreError):
    """Another task, process or host holds the store's lock for longer than this one may wait."""

    hint = "Try again; if it stays, look for a process that hangs."
    retryable = True


class StoreConflictError(StoreError):
    """Another has written to the store since it was read; nothing was overwritten."""

    retryable = True


class StoreUnsafeError(StoreError):
    """Others could read the store, or put something else in its place; it was neither read nor written."""

    needs_human = True


class StoreCorruptError(StoreError):
    """What the store holds cannot be read. It is never overwritten."""

    needs_human = True


class UnpersistedError(StoreError):
    """A token was received but could not be stored anywhere: only this process holds it."""

    hint = "Mend the store and call aclose() again, before this process ends."
    needs_human = True


class SeveralFailedError(DomoError):
    """Some items of a fan-out failed.

    failures:  the error of each failed item, by item, in the order asked.
    results:   what succeeded, by item.
    """

    hint = "See .failures for each error and .results for what succeeded."

    def __init__(
        self, message: str, *, failures: Mapping[Any, DomoError] | None = None, results: Mapping[Any, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.failures: dict[Any, DomoError] = dict(failures or {})
        self.results: dict[Any, Any] = dict(results or {})


class RotationError(DomoError):
    """A rotation stopped before its end.

    step:        where: 'look', 'generate', 'prove', 'store', 'verify' or 'revoke'.
    left_alive:  ids of access tokens that this run made or meant to revoke and that are still valid.
    stored:      True: the new token is in the account; False: it is not; None: unknown.
    """

    hint = "Run the rotation again: it starts from what is there and removes what this run left."

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        left_alive: Sequence[int] = (),
        stored: bool | None = False,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.left_alive: tuple[int, ...] = tuple(left_alive)
        self.stored = stored


class UploadError(DomoError):
    """A load stopped before its end; its cause is why. The DataSet has its earlier rows, unless `is_committed` is None.

    upload_id:     Domo's number of the upload or execution; None if none was opened.
    is_committed:  False: nothing of it is visible; None: the answer to the commit was lost, so look at the DataSet.
    is_open:       whether the upload could not be aborted and is still open at Domo's, or was left so to be resumed.
    parts_done:    how many parts had arrived.
    """

    def __init__(
        self,
        message: str,
        *,
        asked: str = "",
        hint: str = "",
        upload_id: int | str | None = None,
        is_committed: bool | None = False,
        is_open: bool = False,
        parts_done: int = 0,
    ) -> None:
        super().__init__(message, asked=asked, hint=hint)
        self.upload_id = upload_id
        self.is_committed = is_committed
        self.is_open = is_open
        self.parts_done = parts_done


class IncompleteDataError(DomoError):
    """Rows are missing from what was read: the answer was cut off, or has fewer rows than Domo says there are."""

    hint = "Read it again; what was read so far was not handed out as a whole."
    retryable = True


class APIError(DomoError):
    """Domo answered, and the answer is an error.

    status:       HTTP status.
    domo_message: Domo's own words, if any.
    body:         the decoded JSON, or the text cut to 500 characters; secrets masked.
    request_id:   Domo's trace id (`toe`), to be quoted to its support; None where there is none.
    retry_after:  seconds that Domo asks to wait, or None.
    error:        the code of an OAuth error, such as 'invalid_grant'; None elsewhere.
    """

    def __init__(
        self,
        message: str,
        *,
        asked: str = "",
        hint: str = "",
        status: int = 0,
        domo_message: str | None = None,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, asked=asked, hint=hint)
        self.status = status
        self.domo_message = domo_message
        self.body = body
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def error(self) -> str | None:
        found = self.body.get("error") if isinstance(self.body, Mapping) else None
        return found if isinstance(found, str) else None


class AuthenticationError(APIError):
    """The credential is missing, unknown, expired or revoked, or the sign-in was refused."""

    hint = "Sign in again, or check that the token has neither expired nor been revoked."


class InvalidCredentialsError(AuthenticationError):
    """User name and password, or client id and secret, do not match. Not tried again: that would lock the account."""

    hint = "Correct the credentials; this auth object will not try these again by itself."
    needs_human = True


class InvalidClientError(InvalidCredentialsError):
    """A token endpoint does not know this client id, or not with this secret or this way of presenting it."""

    hint = "Correct client id and secret, or how they are presented (client_auth); they are not tried again by itself."


class GrantDeadError(AuthenticationError):
    """The refresh token is refused: it has expired, was revoked, or was used by somebody else.

    reason:  what the record of its life says: 'expired', 'unknown', or 'refused before' (it was not presented again).
    """

    hint = "Issue a new token where you got the first one, and give it to the keeper."
    needs_human = True
    reason: str = "unknown"


class SessionQuotaError(AuthenticationError):
    """The user has as many sessions as the provider allows."""

    hint = "Wait until one of them ends, or sign in exclusively, which ends the others."
    retryable = True


class AccountLockedError(AuthenticationError):
    """The user is locked after too many failed sign-ins."""

    hint = "Wait, or have an administrator unlock the user."


class OneTimePasswordRequired(AuthenticationError):
    """The instance asks for a one-time password, and none, or a wrong one, was given."""

    hint = "Pass one_time_password=: the code, or a function that returns a fresh one each time."


class PermissionDeniedError(APIError):
    """Signed in, but not allowed to do this."""

    hint = "Ask an administrator for the grant, or use an auth whose user has it."


class UnknownInstanceError(APIError):
    """There is no instance of this name (or the address this call comes from is blocked)."""

    hint = "Check the instance name; if it is right, ask whether this address may reach it."


class IPNotAllowedError(APIError):
    """The instance does not accept calls from this network address."""

    hint = "Have an administrator add this machine's address to the instance's allowlist, or use the VPN."


class NotFoundError(APIError):
    """There is no such thing, or this user may not see it."""

    hint = "Check the id; what is not shared with you looks the same as what does not exist."


class BadRequestError(APIError):
    """Domo did not accept the request."""


class ConflictError(BadRequestError):
    """It exists already, or is in a state that forbids this."""


class NoDataError(BadRequestError):
    """The DataSet has no data yet that can be queried."""

    hint = "Load rows into it first; those of a load can be queried once its `wait_indexed()` returns."


class GrantRefusedError(BadRequestError):
    """A token endpoint does not grant what was asked: a wrong scope, a grant this client may not use."""

    hint = "Correct the scope or the grants, or ask the provider to allow them for this client."
    needs_human = True


class RateLimitedError(APIError):
    """Too many requests; `retry_after` says how long to wait, in seconds, if Domo said so."""

    hint = "Wait, or lower ClientOptions(max_concurrency=…)."
    retryable = True


class ServerError(APIError):
    """Domo failed on its side."""

    hint = "Try again later; quote the request id to Domo's support if it stays."
    retryable = True


class ServiceUnavailableError(ServerError):
    """502, 503 or 504: the service is away for a moment."""


class MaintenanceError(ServiceUnavailableError):
    """Domo shows its maintenance page."""

    hint = "Try again when the maintenance is over."


class DomoDecodeError(APIError):
    """The answer came, but is not what the API promises."""

    hint = "If it stays, report it with the request id; `record()` shows the raw answer."


class UnexpectedPageError(DomoDecodeError):
    """A web page came where data was expected."""

    hint = "Something between here and Domo (a proxy, a login page, a wrong address) answered in its place."


class EmptyAnswerError(DomoDecodeError):
    """Nothing came where data was expected."""


_BY_STATUS: Mapping[int, type[APIError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    407: AuthenticationError,
    409: ConflictError,
    423: ConflictError,
    429: RateLimitedError,
    502: ServiceUnavailableError,
    503: ServiceUnavailableError,
    504: ServiceUnavailableError,
}
_BLOCKED = re.compile(r"whitelist|allowlist|blocked|not allowed from", re.IGNORECASE)
_RATE = re.compile(r"rate.?limit|too many requests|throttl", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>\s*(.*?)\s*</title>", re.IGNORECASE | re.DOTALL)


def seconds_to_wait(header: str | None, now: datetime | None = None) -> float | None:
    """A Retry-After header, in seconds or as a date, as seconds from now (never negative); None if unreadable."""
    if not header:
        return None
    try:
        seconds = float(header)
        return max(0.0, seconds) if isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError):
        return None


def looks_like_page(response: httpx.Response) -> bool:
    """Whether the answer is a web page, by its content type or, where that is missing or wrong, by its beginning."""
    kind = response.headers.get("content-type", "")
    return "html" in kind or response.content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def error_for(
    asked: str, response: httpx.Response, meanings: Mapping[int, Callable[..., APIError]] | None = None
) -> APIError | None:
    """The error that an answer stands for; None if it is none.

    asked:     method and path, for the text of the error.
    meanings:  what odd statuses of this one endpoint mean, before the general table.
    The answer must have been read. Whether a 2xx answer holds the promised data is the decoder's affair.
    """
    status = response.status_code
    if looks_like_page(response):
        return _page_error(asked, response)
    if response.is_success:
        return None
    facts = _facts(response)
    said = facts["domo_message"] or ""
    if 300 <= status < 400:
        return _redirect_error(asked, response, facts)
    meaning: Callable[..., APIError] | None = (meanings or {}).get(status)
    if meaning is None and status == 403:
        meaning = _meaning_of_403(response, said, facts["body"])
    if meaning is None:
        meaning = _BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequestError)
    name = f"{status} {response.reason_phrase}".strip()
    return meaning(f"{name}: {said}" if said else f"{name}, without a message", asked=asked, **facts)


def decode_error(kind: type[DomoDecodeError], asked: str, response: httpx.Response, what: str) -> DomoDecodeError:
    """An answer that is no error by its status and yet is not what was promised."""
    return kind(f"{response.status_code}, but {what}", asked=asked, **_facts(response))


def connection_error(asked: str, lost: Exception, *, repeatable: bool) -> DomoError:
    """The error for a lost connection: nothing done, or outcome unknown. Its cause is the HTTP library's error.

    The frames of the cause are dropped (their locals hold headers and bodies); its kind and text stay.
    """
    forget_frames(lost)
    if isinstance(lost, httpx.RequestError):
        lost.request = httpx.Request("GET", "https://request.invalid/")  # the real one holds the credential
    lost.args = tuple(scrub(str(part)) for part in lost.args)
    reason = _first_words(lost)
    what = f"{type(lost).__name__}: {reason}" if reason else type(lost).__name__
    never_left = isinstance(lost, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError))
    error: DomoError
    if not (repeatable or never_left):
        error = OutcomeUnknown(f"the connection was lost before the answer ({what})", asked=asked)
    elif isinstance(lost, httpx.TimeoutException):
        error = RequestTimeoutError(f"no answer in time ({what})", asked=asked)
    else:
        error = ConnectionFailedError(f"no answer ({what})", asked=asked)
    error.__cause__ = lost
    return error


def _first_words(error: BaseException) -> str:
    """What an error says or, if it says nothing, what the one behind it says: under trio a refused certificate is."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if text := str(link).strip():
            return text
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return ""


def _facts(response: httpx.Response) -> dict[str, Any]:
    """What every error keeps of an answer. No header and no request: both may hold credentials."""
    body: Any
    try:
        body = mask(json.loads(response.content))
    except (ValueError, RecursionError):
        body = scrub(response.text[:500])
    message = request_id = None
    if isinstance(body, dict):
        fields: dict[str, Any] = body
        for key in ("message", "error_description", "description", "reason", "error", "statusReason"):
            if isinstance(fields.get(key), str) and fields[key]:
                message = fields[key][:500]
                break
        request_id = fields.get("toe") if isinstance(fields.get("toe"), str) else None
    elif isinstance(body, str) and body.strip() and not looks_like_page(response):
        message = body.strip()[:200]
    if message is None and "www-authenticate" in response.headers:
        described = re.search(r'error_description="([^"]*)"', response.headers["www-authenticate"])
        message = scrub(described[1]) if described else None
    return {
        "status": response.status_code,
        "domo_message": message,
        "body": body,
        "request_id": request_id or response.headers.get("x-domo-requestid") or response.headers.get("x-request-id"),
        "retry_after": seconds_to_wait(response.headers.get("retry-after")),
    }


def _meaning_of_403(response: httpx.Response, said: str, body: Any) -> type[APIError]:
    if _RATE.search(said):
        return RateLimitedError  # Domo's rate limits may come as 403 with a message
    if "elevat" in said.lower():
        return OneTimePasswordRequired
    if _BLOCKED.search(said):
        return IPNotAllowedError
    if not isinstance(body, dict) and "json" not in response.headers.get("content-type", ""):
        return UnknownInstanceError
    return PermissionDeniedError


def _page_error(asked: str, response: httpx.Response) -> APIError:
    text = response.text
    facts = _facts(response)
    found = _TITLE.search(text)
    title = scrub(found[1][:100]) if found else "without a title"
    status = response.status_code
    kind: type[APIError]
    if "Domo - Blocked" in text or (found and _BLOCKED.search(title)):
        kind = IPNotAllowedError
    elif status >= 500 and "maintenance" in text.lower():
        kind = MaintenanceError
    elif 300 <= status < 400:
        return _redirect_error(asked, response, facts)
    elif status == 403:
        kind = IPNotAllowedError if _BLOCKED.search(text) else UnknownInstanceError
    elif status in (401, 406):  # 406: a refused token where the answer was to be CSV
        kind = AuthenticationError
    elif status < 400:
        kind = UnexpectedPageError
    else:
        kind = _BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequestError)
    return kind(f"{status}, a web page instead of data: {title}", asked=asked, **facts)


def _redirect_error(asked: str, response: httpx.Response, facts: dict[str, Any]) -> APIError:
    target = response.headers.get("location", "")
    kind: type[APIError] = DomoDecodeError
    what = "a redirect that is not followed"
    if _BLOCKED.search(target) or _BLOCKED.search(response.text[:2000]):
        kind, what = IPNotAllowedError, "a redirect to the allowlist page"
    elif re.search(r"/auth\b|login", target, re.IGNORECASE):
        kind, what = AuthenticationError, "a redirect to the sign-in page"
    elif host := urlsplit(target).hostname:
        what = f"a redirect to {host}, which is not followed"
    return kind(f"{response.status_code}, {what}", asked=asked, **facts)
