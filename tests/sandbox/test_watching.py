"""Records, watchers, the log, the control interface, and that none of them spills a secret."""

from __future__ import annotations

import logging
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from domokit.sandbox import RequestRecord, Sandbox

from .helpers import bearer, by_session, by_token, client

pytestmark = pytest.mark.anyio
TOKENS = "/api/data/v1/accesstokens"
ME = "/api/content/v2/users/me"


async def test_records(sb: Sandbox):
    body = {"name": "t", "ownerId": sb.admin.id, "expires": 1}
    await by_token(sb).post(TOKENS, params={"a": "1", "b": "x y"}, json=body)
    (record,) = sb.requests
    assert (record.method, record.path, record.status) == ("POST", TOKENS, 200)
    assert (record.user_id, record.credential) == (sb.admin.id, "developer_token")
    assert record.query == {"a": "1", "b": "x y"}
    assert record.headers["x-domo-developer-token"] == sb.access_token
    assert record.json == body
    await client(sb).get(ME)
    assert (sb.requests[-1].status, sb.requests[-1].user_id, sb.requests[-1].credential) == (401, None, None)
    assert sb.requests[-1].json is None
    await (await by_session(sb)).get(ME)
    assert sb.requests[-1].credential == "session"
    await (await bearer(sb)).get("/v1/users")
    assert [record.credential for record in list(sb.requests)[-2:]] == ["client_credentials", "oauth_client"]


def test_records_are_bounded(sb: Sandbox):
    assert sb.requests.maxlen == 100_000


async def test_watchers_are_told_before_and_after_acting(sb: Sandbox):
    seen: list[tuple[str, int | None, int]] = []

    def plain(phase: str, record: RequestRecord) -> None:
        seen.append((phase, record.status, len(sb.state.access_tokens)))

    async def slow(phase: str, record: RequestRecord) -> None:
        seen.append((f"async {phase}", record.user_id, len(sb.state.access_tokens)))

    stop_plain, stop_slow = sb.watch(plain), sb.watch(slow)
    body = {"name": "t", "ownerId": sb.admin.id, "expires": 1}
    await by_token(sb).post(TOKENS, json=body)
    assert seen == [
        ("received", None, 2),
        ("async received", None, 2),
        ("acted", 200, 3),
        ("async acted", sb.admin.id, 3),
    ]
    stop_plain()
    await by_token(sb).get(ME)
    assert [phase for phase, _, _ in seen[4:]] == ["async received", "async acted"]
    stop_slow()
    stop_slow()
    await by_token(sb).get(ME)
    assert len(seen) == 6


async def test_a_watcher_may_change_the_world_before_the_answer(sb: Sandbox):
    def revoke(phase: str, _: RequestRecord) -> None:
        if phase == "received":
            sb.state.access_tokens.clear()

    sb.watch(revoke)
    assert (await by_token(sb).get(ME)).status_code == 401


async def everything(sb: Sandbox) -> list[str]:
    """Send secrets along every road; return them."""
    canaries = ["canary-header", "canary-body", "canary-query", "canary-name", "canary-config"]
    await client(sb, x_domo_developer_token="canary-header").get(ME)
    await client(sb, authorization="Bearer canary-header").get("/v1/users")
    await client(sb).post("/api/content/v2/authentication", content=b'{"password": "canary-body"')
    await by_token(sb).get(ME, params={"token": "canary-query"})
    await by_token(sb).post(TOKENS, json={"name": "canary-name", "ownerId": sb.admin.id, "expires": 1})
    body: dict[str, Any] = {"displayName": "d", "dataProviderType": "abstract-credential-store"}
    body["configurations"] = {"credentials": "canary-config"}
    await by_token(sb).post("/api/data/v1/accounts", json=body)
    await by_session(sb)
    await bearer(sb)
    state = sb.state
    canaries += [user.password for user in state.users.values()]
    canaries += [row.token for row in state.access_tokens.values()]
    canaries += [row.token for row in state.sessions.values()]
    canaries += [row.token for row in state.bearers.values()]
    canaries += [sb.client_secret, state.signing_key]
    for account in state.accounts.values():
        canaries += [value for key, value in account.configuration.items() if key not in ("instance", "role")]
    return canaries


async def test_the_log_has_a_line_a_request_and_no_secret(sb: Sandbox, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    secrets = await everything(sb)
    ours = [record for record in caplog.records if record.name == "domokit.sandbox"]
    assert len(ours) == len(sb.requests) >= 8
    lines = [record.getMessage() for record in ours]
    assert f"GET {ME} 200 {sb.admin.id}" in lines
    assert f"GET {ME} 401 -" in lines
    text = "\n".join(lines)
    assert [secret for secret in secrets if secret in text] == []


async def test_a_bug_in_a_handler_is_a_500_without_its_text(sb: Sandbox, caplog: pytest.LogCaptureFixture):
    sb.state.accounts[1] = "canary"  # type: ignore[assignment]
    answer = await by_token(sb).get("/api/data/v1/accounts/1")
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert "AttributeError" in caplog.text
    assert "canary" not in caplog.text


async def test_no_repr_shows_a_secret(sb: Sandbox):
    secrets = await everything(sb)
    state = sb.state
    sb.misbehave("status")
    tables = [state.users, state.access_tokens, state.accounts, state.api_clients, state.sessions]
    shown = [repr(table) for table in (*tables, state.bearers, state.groups, state.roles, state.datasets)]
    shown += [repr(sb), repr(state), repr(sb.clock), repr(list(sb.requests)), repr(sb.faults.active)]
    text = "\n".join(shown)
    public = {"canary-name"}
    assert [secret for secret in secrets if secret in text and secret not in public] == []
    assert "RequestRecord(method='GET'" in text
    assert sb.instance in repr(sb)


def test_fields_that_sound_secret_are_out_of_reprs(sb: Sandbox):
    tables = (sb.state.users, sb.state.access_tokens, sb.state.accounts, sb.state.api_clients)
    for row in (next(iter(table.values())) for table in tables):
        assert is_dataclass(row)
        for each in fields(row):
            secret = any(word in each.name for word in ("password", "secret", "configuration"))
            assert not (each.repr and (secret or each.name == "token")), each.name


async def test_control_interface(sb: Sandbox):
    local = client(sb, host="127.0.0.1:1234")
    before = sb.clock.now()
    answer = await local.post("/_sandbox/clock", json={"advance": 3600})
    assert answer.status_code == 200
    assert (sb.clock.now() - before).total_seconds() >= 3600
    body = {"kind": "status", "status": 500, "times": None, "path": "/api"}
    assert (await local.post("/_sandbox/misbehave", json=body)).status_code == 200
    assert (await by_token(sb).get(ME)).status_code == 500
    assert (await local.delete("/_sandbox/misbehave")).status_code == 200
    assert (await by_token(sb).get(ME)).status_code == 200
    assert (await local.get("/_sandbox/requests")).json() == [
        {"method": "GET", "path": ME, "status": 500, "user_id": None},
        {"method": "GET", "path": ME, "status": 200, "user_id": sb.admin.id},
    ]
    for path, wrong in [
        ("/_sandbox/clock", {}),
        ("/_sandbox/clock", {"advance": "1"}),
        ("/_sandbox/misbehave", {"kind": "tantrum"}),
        ("/_sandbox/misbehave", {}),
        ("/_sandbox/misbehave", {"kind": "latency", "seconds": "x"}),
        ("/_sandbox/misbehave", {"kind": "status", "path": "("}),
        ("/_sandbox/misbehave", {"kind": "status", "times": "x"}),
    ]:
        assert (await local.post(path, json=wrong)).status_code == 400, wrong
    assert (await local.get("/_sandbox/moon")).status_code == 404
    assert sb.faults.active == []
