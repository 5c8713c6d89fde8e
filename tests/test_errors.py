"""Answers become errors: by status, body and content type, with what to do next, and without a secret.

`data/error_bodies.json` holds what Domo's endpoints answer when they refuse: status, content type, headers, body.
"""

import copy
import inspect
import json
import pickle
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from domokit import ClientOptions, Secret, SessionAuth, errors
from domokit.errors import (
    AccountLockedError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DomoDecodeError,
    DomoError,
    EmptyAnswerError,
    InvalidCredentialsError,
    IPNotAllowedError,
    MaintenanceError,
    NotFoundError,
    OneTimePasswordRequired,
    PermissionDeniedError,
    RateLimitedError,
    RotationError,
    ServerError,
    ServiceUnavailableError,
    SeveralFailedError,
    UnexpectedPageError,
    UnknownInstanceError,
    error_for,
)
from domokit.routes.product.users import get_user_v2, set_password
from domokit.transport import Route, send

BODIES = json.loads((Path(__file__).parent / "data" / "error_bodies.json").read_text(encoding="utf-8"))

BY_STATUS = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: BadRequestError,
    406: AuthenticationError,  # a refused token, where the answer was to be CSV
    409: ConflictError,
    413: BadRequestError,
    416: BadRequestError,
    423: ConflictError,
    429: RateLimitedError,
    500: ServerError,
    501: ServerError,
    502: ServiceUnavailableError,
    503: ServiceUnavailableError,
    504: ServiceUnavailableError,
}


def meaning_of(case):
    """The class that an answer of the data file stands for."""
    page = "html" in case.get("content_type", "")
    if page and "Domo - Blocked" in case["body"]:
        return IPNotAllowedError
    if page and "Maintenance" in case["body"]:
        return MaintenanceError
    if case["status"] == 403 and isinstance(case["body"], str):
        return UnknownInstanceError  # an instance that exists refuses in JSON
    return BY_STATUS[case["status"]]


def response_of(case, **more):
    headers = dict(case.get("headers", {}))
    if kind := case.get("content_type"):
        headers["Content-Type"] = kind
    body = case["body"] if isinstance(case["body"], str) else json.dumps({**case["body"], **more})
    return httpx.Response(case["status"], headers=headers, content=body.encode())


def params(wanted):
    for number, case in enumerate(BODIES):
        if wanted(case):
            yield pytest.param(case, id=f"{number}-{case['id']}-{case['status']}")


def refused(status, body="", content_type="application/json", **headers):
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.Response(status, headers={"Content-Type": content_type, **named}, content=text.encode())
    return error_for("GET /api/x", response)


def page(title, status=200, body="", **headers):
    html = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"
    return refused(status, html, "text/html", **headers)


# -- what Domo's endpoints answer


def test_the_data_is_there():
    assert len(BODIES) > 320
    assert {case["status"] for case in BODIES} == {200, 400, 401, 403, 404, 406, 409, 413, 416, 423, 500, 502}


@pytest.mark.parametrize("case", list(params(lambda case: case["status"] >= 300)))
def test_a_refusal_is_an_error_by_its_meaning(case):
    secret = Secret("live-secret-0123456789")
    response = response_of(case, accessToken="hidden-by-its-name", note=f"echo of {secret.reveal()}")
    asked = f"{case['method']} {case['path']}"

    error = error_for(asked, response)

    assert type(error) is meaning_of(case)
    assert error.status == case["status"]
    assert error.asked == asked
    assert str(error).startswith(f"{asked}: {case['status']}")
    if isinstance(case["body"], dict):
        assert error.request_id == case["body"].get("toe")
        said = case["body"].get("message") or case["body"].get("error_description")
        assert said is None or said in str(error)
        assert said is None or error.domo_message == said
    elif case.get("content_type") == "text/plain":
        assert case["body"] in str(error)
    elif described := re.search(r'error_description="([^"]*)"', case.get("headers", {}).get("WWW-Authenticate", "")):
        assert described[1] in str(error)
    if type(error).hint:
        assert str(error).endswith(type(error).hint)
    assert "\n" not in str(error)
    for shown in (str(error), repr(error), repr(vars(error))):
        assert "hidden-by-its-name" not in shown
        assert secret.reveal() not in shown


@pytest.mark.parametrize("case", list(params(lambda case: case["status"] == 200)))
async def test_a_refusal_with_status_200_is_found_by_the_call_it_belongs_to(case):
    """By status they are none: what 200 must hold, the endpoint knows."""
    assert error_for("GET /api/x", response_of(case)) is None
    signing_in = case["id"] == "auth.password_login"

    async def answer(request):
        if request.url.path == "/api/content/v2/authentication" and not signing_in:
            return httpx.Response(200, json={"sessionToken": "session-0123456789"})
        return response_of(case)

    options = ClientOptions(transport=httpx.MockTransport(answer))
    async with SessionAuth("acme", "ann@example.com", "a-password", options=options) as auth:
        call, kind = {
            "auth.password_login": (
                auth.sign_in,
                {"INVALID_CREDENTIALS": InvalidCredentialsError, "ACCOUNT_LOCKED": AccountLockedError}.get(
                    (case["body"] or {}).get("reason"), AuthenticationError
                ),
            ),
            "users.get_v2": (lambda: get_user_v2(auth, 7), NotFoundError),
            "users.reset_password": (lambda: set_password(auth, 7, "another-one"), BadRequestError),
        }[case["id"]]
        with pytest.raises(kind) as caught:
            await call()
    assert type(caught.value) is kind
    assert caught.value.status == 200
    if isinstance(case["body"], dict) and (said := case["body"].get("description") or case["body"].get("reason")):
        assert said in str(caught.value)
    assert "a-password" not in str(caught.value)
    assert "another-one" not in str(caught.value)


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 423, 429, 500, 501, 503, 504, 599]
)
def test_every_status_has_a_meaning(status):
    kind = BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequestError)
    for body in ({"message": "no"}, {"status": status}, {}):
        assert type(refused(status, body)) is kind
    assert refused(status, {"message": "no, because"}).domo_message == "no, because"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_is_no_error(status):
    assert refused(status, {"id": 1}) is None
    assert refused(status, "", "text/plain") is None


# -- pages, redirects, and other strange answers


@pytest.mark.parametrize("status", [200, 403, 503])
def test_the_blocked_page(status):
    error = page("Domo - Blocked", status, "<p>203.0.113.7</p>")
    assert type(error) is IPNotAllowedError
    assert "allowlist" in str(error)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_the_maintenance_page(status):
    error = page("Domo Maintenance", status)
    assert type(error) is MaintenanceError
    assert isinstance(error, ServiceUnavailableError)
    assert "Domo Maintenance" in str(error)


def test_another_page_keeps_the_meaning_of_its_status():
    assert type(page("Bad Gateway", 502)) is ServiceUnavailableError
    assert type(page("Not found", 404)) is NotFoundError
    assert type(page("Forbidden", 403)) is UnknownInstanceError
    assert type(page("Too many", 429)) is RateLimitedError
    assert type(page("Request Entity Too Large", 413)) is BadRequestError


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_a_redirect_to_the_allowlist_page(status):
    where = "https://acme.domo.com/auth/whitelist/blocked"
    assert type(refused(status, "", "text/plain", Location=where)) is IPNotAllowedError
    assert type(page("Not on the whitelist", status, Location=where)) is IPNotAllowedError


@pytest.mark.parametrize("where", ["/auth/index", "https://acme.domo.com/auth/index", "/login?next=x"])
def test_a_redirect_to_the_sign_in_page(where):
    assert type(refused(302, "", "text/plain", Location=where)) is AuthenticationError
    assert type(page("Found", 302, Location=where)) is AuthenticationError


def test_another_redirect_names_the_host_and_no_more():
    error = refused(302, "", "text/plain", Location="https://sso.example.com/start?token=abcdefgh12345")
    assert type(error) is DomoDecodeError
    assert "sso.example.com" in str(error)
    assert "abcdefgh12345" not in f"{error}{error!r}{vars(error)}"


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, html="<html><head><title>Sign in</title></head></html>"),
        httpx.Response(200, text="  \n<!doctype HTML><title>Sign in</title>"),
        httpx.Response(200, content=b"<HTML><TITLE>Sign in</TITLE>", headers={"Content-Type": "application/json"}),
        httpx.Response(200, content=b"<html><title>\n Sign in \n</title>"),
    ],
)
def test_a_page_with_status_200_is_not_taken_for_data(response):
    error = error_for("GET /api/x", response)
    assert type(error) is UnexpectedPageError
    assert "Sign in" in str(error)
    assert "\n" not in str(error)
    assert error.status == 200


def test_a_403_as_text_is_an_unknown_instance_and_as_json_a_missing_grant():
    assert type(refused(403, "Forbidden", "text/plain")) is UnknownInstanceError
    assert type(refused(403, "", "text/plain")) is UnknownInstanceError
    assert type(refused(403, {"status": 403})) is PermissionDeniedError
    assert "instance name" in str(refused(403, "Forbidden", "text/plain"))


@pytest.mark.parametrize(
    "said", ["Rate limit exceeded", "API rate-limit reached", "Too many requests", "You are being throttled"]
)
def test_a_403_about_the_rate_is_a_rate_limit(said):
    error = refused(403, {"status": 403, "message": said}, Retry_After="7")
    assert type(error) is RateLimitedError
    assert (error.status, error.retry_after) == (403, 7.0)
    assert type(refused(403, said, "text/plain")) is RateLimitedError


def test_a_403_for_want_of_a_one_time_password():
    said = "Elevation with a one-time password is required for this session"
    assert type(refused(403, {"message": said})) is OneTimePasswordRequired


@pytest.mark.parametrize(
    ("header", "seconds"), [("0", 0), ("7", 7), ("1.5", 1.5), ("-3", 0), ("soon", None), ("", None)]
)
def test_retry_after_in_seconds(header, seconds):
    assert refused(429, {}, Retry_After=header).retry_after == seconds


@pytest.mark.parametrize("header", ["nan", "inf", "-inf", "1e999"])
def test_retry_after_that_is_no_time(header):
    assert refused(429, {}, Retry_After=header).retry_after in (None, 0)  # never a wait without end


def test_retry_after_as_a_date():
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert 28 < refused(429, {}, Retry_After=format_datetime(soon, usegmt=True)).retry_after <= 30
    gone = soon - timedelta(days=1)
    assert refused(503, {}, Retry_After=format_datetime(gone, usegmt=True)).retry_after == 0


@pytest.mark.parametrize("body", ['{"message": "cut o', "[1, 2", "nonsense", "\x00\x01", '"a text"', "[]", "7", "null"])
def test_a_broken_or_odd_body_is_still_the_error_of_its_status(body):
    assert type(refused(500, body)) is ServerError
    error = refused(404, body)
    assert type(error) is NotFoundError
    assert error.request_id is None
    assert "404" in str(error)


def test_a_body_in_another_encoding_is_still_an_error():
    response = httpx.Response(400, content="gäht nicht".encode("latin-1"), headers={"Content-Type": "text/plain"})
    assert type(error_for("GET /api/x", response)) is BadRequestError


@pytest.mark.parametrize("message", [None, 7, "", [], {"text": "x"}], ids=repr)
def test_a_message_that_is_no_text_is_none(message):
    error = refused(400, {"message": message, "toe": message})
    assert error.domo_message is None
    assert error.request_id is None
    assert "without a message" in str(error)


def test_a_message_of_several_lines_is_shown_in_one():
    for error in (
        refused(400, {"message": "first\nsecond\r\n\tthird"}),
        refused(400, "first\nsecond\r\n\tthird", "text/plain"),
        page("two\n lines", 404),
    ):
        assert "\n" not in str(error)
        assert "\r" not in str(error)


def test_a_long_message_is_cut():
    assert len(str(refused(400, {"message": "x" * 10_000}))) < 800
    assert len(str(refused(400, "x" * 10_000, "text/plain"))) < 800
    assert len(str(page("x" * 10_000, 500))) < 800
    assert len(refused(400, "x" * 10_000, "text/plain").body) <= 500


def test_the_challenge_says_why():
    challenge = 'Bearer error="invalid_token", error_description="Jwt expired at 2024-05-13T22:43:25Z"'
    error = refused(401, "", "text/plain", WWW_Authenticate=challenge)
    assert error.domo_message == "Jwt expired at 2024-05-13T22:43:25Z"
    assert error.domo_message in str(error)
    assert "Sign in again" in str(error)


def test_what_one_endpoint_means_by_a_status_goes_first():
    response = httpx.Response(400, json={"message": "No such client"})
    error = error_for("DELETE /api/x", response, {400: NotFoundError})
    assert type(error) is NotFoundError
    assert error.status == 400


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(200, content=b'{"id": 1'), DomoDecodeError),
        (httpx.Response(200, content=b""), EmptyAnswerError),
        (httpx.Response(200, content=b"  \n"), EmptyAnswerError),
        (httpx.Response(200, json=[1]), DomoDecodeError),
        (httpx.Response(200, content=b"\xff\xfe\x00"), DomoDecodeError),
        (httpx.Response(200, content=b"NaN"), DomoDecodeError),
    ],
)
async def test_an_answer_that_does_not_hold_what_was_promised(answer, kind):
    async def handle(request):
        if request.method == "POST":
            return httpx.Response(200, json={"sessionToken": "session-0123456789"})
        return answer

    options = ClientOptions(transport=httpx.MockTransport(handle))
    async with SessionAuth("acme", "ann@example.com", "a-password", options=options) as auth:
        with pytest.raises(kind) as caught:
            await send(auth, Route("product", "GET", "/api/x"))
    assert type(caught.value) is kind
    assert caught.value.asked == "GET /api/x"
    assert caught.value.status == 200
    assert caught.value.__context__ is None  # the decoder's error quotes the body


# -- the tree


def made(kind):
    if issubclass(kind, APIError):
        return kind(
            "404 Not Found: gone",
            asked="GET /api/x",
            status=404,
            domo_message="gone",
            body={"message": "gone"},
            request_id="ABC",
            retry_after=1.5,
        )
    if kind is RotationError:
        return kind("stopped", step="store", left_alive=[7], stored=None)
    if kind is SeveralFailedError:
        failed = NotFoundError("gone", status=404)
        return kind("1 of 2 failed", failures={7: failed}, results={8: "there"})
    return kind("not so", asked="GET /api/x")


ALL = [getattr(errors, name) for name in errors.__all__ if inspect.isclass(getattr(errors, name))]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
def test_a_copy_is_the_same_error(kind, how):
    error = made(kind)
    error.attached = {"left": 7}
    error.hint = "do this"

    again = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    }[how](error)

    assert type(again) is kind
    assert str(again) == str(error)
    assert again is not error
    shown = {name: repr(value) for name, value in vars(error).items()}
    assert {name: repr(value) for name, value in vars(again).items()} == shown


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_tree_and_in_its_picture(kind):
    assert issubclass(kind, DomoError)
    assert issubclass(kind, Exception)
    assert kind.__doc__
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__)


def test_every_class_of_the_module_is_public():
    here = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
    }
    assert here <= set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)


def test_the_picture_is_the_tree():
    """What stands indented under a name in the docstring is its subclass."""
    above, checked = [], 0
    for line in errors.__doc__.splitlines():
        indent = re.match(r"[\s│├└─]*", line)[0]
        names = [name for name in re.findall(r"\w+", line) if name in errors.__all__]
        if not indent or not names:
            continue
        above = [(depth, kind) for depth, kind in above if depth < len(indent)]
        for name in names:
            kind = getattr(errors, name)
            assert not above or issubclass(kind, above[-1][1]), name
            checked += 1
        above.append((len(indent), getattr(errors, names[0])))
    assert checked == len(ALL)


def test_an_error_says_what_was_asked_what_came_and_what_to_do():
    error = refused(404, {"status": 404, "message": "No such access token.", "toe": "ABC-1"})
    assert str(error) == (
        "GET /api/x: 404 Not Found: No such access token. "
        "Check the id; what is not shared with you looks the same as what does not exist."
    )


def test_bad_arguments_are_value_errors_too():
    assert issubclass(errors.InvalidInputError, ValueError)
    assert issubclass(errors.InvalidInstanceError, ValueError)
    assert not issubclass(APIError, ValueError)
