"""Developer access tokens: life, death and who may do what."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from domokit.sandbox import Sandbox

from .helpers import as_user, by_session, by_token, client

pytestmark = pytest.mark.anyio
PATH = "/api/data/v1/accesstokens"
ME = "/api/content/v2/users/me"


def later(sb: Sandbox, **delta: float) -> int:
    return sb.clock.now_ms() + int(timedelta(**delta).total_seconds() * 1000)


async def create(who: httpx.AsyncClient, owner_id: int, expires: int, name: str = "sync") -> httpx.Response:
    return await who.post(PATH, json={"name": name, "ownerId": owner_id, "expires": expires})


async def test_created_once_listed_without_its_secret(sb: Sandbox):
    expires = later(sb, days=30) // 1000 * 1000 + 789
    answer = await create(by_token(sb), sb.admin.id, expires)
    assert answer.status_code == 200
    made = answer.json()
    assert made["expires"] == expires
    assert made["ownerId"] == sb.admin.id
    assert (made["ownerName"], made["ownerEmail"]) == (sb.admin.display_name, sb.username)
    secret = made["token"]
    assert len(secret) == 48
    assert set(secret) <= set("0123456789abcdef")
    rows = (await by_token(sb).get(PATH)).json()
    row = next(row for row in rows if row["id"] == made["id"])
    assert row == {
        "id": made["id"],
        "name": "sync",
        "ownerId": sb.admin.id,
        "ownerName": None,
        "ownerEmail": None,
        "expires": expires - 789,
    }
    assert (await by_token(sb, secret).get(ME)).json()["id"] == sb.admin.id
    assert sb.signs_in(secret) == sb.admin.id


async def test_names_need_not_be_unique(sb: Sandbox):
    first = (await create(by_token(sb), sb.admin.id, later(sb, days=1))).json()
    second = (await create(by_token(sb), sb.admin.id, later(sb, days=1))).json()
    assert first["id"] != second["id"]
    assert first["token"] != second["token"]


async def test_an_expired_token_stops_but_stays_listed(sb: Sandbox):
    made = (await create(by_token(sb), sb.admin.id, later(sb, hours=1))).json()
    sb.clock.advance(timedelta(minutes=59))
    assert (await by_token(sb, made["token"]).get(ME)).status_code == 200
    sb.clock.advance(61)
    assert (await by_token(sb, made["token"]).get(ME)).status_code == 401
    assert sb.signs_in(made["token"]) is None
    assert made["id"] in [row["id"] for row in (await by_token(sb).get(PATH)).json()]


async def test_revocation_is_immediate(sb: Sandbox):
    made = (await create(by_token(sb), sb.admin.id, later(sb, days=1))).json()
    answer = await by_token(sb).delete(f"{PATH}/{made['id']}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await by_token(sb, made["token"]).get(ME)).status_code == 401
    assert sb.signs_in(made["token"]) is None
    assert (await by_token(sb).delete(f"{PATH}/{made['id']}")).status_code == 404


async def test_a_deleted_users_tokens_and_sessions_stop(sb: Sandbox):
    user = sb.add_user("Gone Soon", "gone@example.com", role_id=1, password="pw")
    token = sb.add_access_token(user.id, "t").token
    mine = by_token(sb, token)
    session = (
        await client(sb).post(
            "/api/content/v2/authentication",
            json={"method": "password", "emailAddress": user.email, "password": "pw"},
        )
    ).json()["sessionToken"]
    assert (await mine.get(ME)).status_code == 200
    assert (await by_token(sb).delete(f"/api/identity/v1/users/{user.id}")).status_code == 200
    assert (await mine.get(ME)).status_code == 401
    assert (await client(sb, x_domo_authentication=session).get(ME)).status_code == 401
    assert sb.signs_in(token) is None
    assert user.id not in [row.user_id for row in sb.state.sessions.values()]


@pytest.mark.parametrize(
    "wrong", [{"ownerId": 5}, {"ownerId": None}, {"name": ""}, {"expires": "soon"}, {"expires": None}]
)
async def test_unusable_bodies_are_400_and_create_nothing(sb: Sandbox, wrong: dict[str, object]):
    before = len(sb.state.access_tokens)
    body = {"name": "n", "ownerId": sb.admin.id, "expires": later(sb, days=1)} | wrong
    assert (await by_token(sb).post(PATH, json=body)).status_code == 400
    assert len(sb.state.access_tokens) == before


async def test_permissions(sb: Sandbox):
    plain = sb.add_user("Pat Plain", "pat@example.com")
    mine = as_user(sb, plain)
    assert {row["ownerId"] for row in (await mine.get(PATH)).json()} == {plain.id}
    assert {row["ownerId"] for row in (await by_token(sb).get(PATH)).json()} == {plain.id, sb.admin.id}
    own = await create(mine, plain.id, later(sb, days=1))
    assert own.status_code == 200
    assert (await create(mine, sb.admin.id, later(sb, days=1))).status_code == 403
    admins = next(token.id for token in sb.state.access_tokens.values() if token.token == sb.access_token)
    assert (await mine.delete(f"{PATH}/{admins}")).status_code == 403
    assert sb.signs_in(sb.access_token) == sb.admin.id
    assert (await mine.delete(f"{PATH}/{own.json()['id']}")).status_code == 200
    assert (await create(by_token(sb), plain.id, later(sb, days=1))).status_code == 200
    assert (await (await by_session(sb)).get(PATH)).status_code == 200
