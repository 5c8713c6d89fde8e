"""Everything one sandbox knows, in one object that tests may read and change."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from typing import Any
from urllib.parse import quote

from .model import (
    AccessToken,
    Account,
    ApiClient,
    Bearer,
    Dataset,
    DataVersion,
    Execution,
    Group,
    IndexRequest,
    Policy,
    Role,
    Session,
    Stream,
    Upload,
    User,
)

LEVELS = ("NONE", "CAN_VIEW", "CAN_EDIT", "CAN_SHARE", "OWNER")  # each includes those before it
ALL_SCOPES = ("account", "audit", "buzz", "cards", "dashboard", "data", "user", "workflow")


class State:
    """The instance's tables, as dicts by id, and the few questions that several areas ask of them."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.customer_id: str = f"{instance}-0001-0002"
        self.users: dict[int, User] = {}
        self.groups: dict[int, Group] = {}
        self.roles: dict[int, Role] = {}
        self.access_tokens: dict[int, AccessToken] = {}
        self.accounts: dict[int, Account] = {}
        self.api_clients: dict[int, ApiClient] = {}
        self.sessions: dict[str, Session] = {}
        self.bearers: dict[str, Bearer] = {}
        self.datasets: dict[str, Dataset] = {}
        self.data_versions: dict[int, DataVersion] = {}
        self.uploads: dict[int, Upload] = {}
        self.index_requests: dict[str, IndexRequest] = {}
        self.streams: dict[int, Stream] = {}
        self.executions: dict[str, Execution] = {}
        self.policies: dict[int, Policy] = {}
        self.cookies: dict[str, int] = {}  # value of a browser's sign-in cookie -> user id
        self.next_ids: dict[str, int] = {}
        self.signing_key: str = secrets.token_hex(32)
        self._by_secret: dict[str, AccessToken | Session | Bearer] = {}

    def __repr__(self) -> str:
        return f"State({self.instance!r}, users={len(self.users)}, accounts={len(self.accounts)})"

    def next_id(self, table: str, step: int = 1) -> int:
        """A fresh integer id for `table`; ids are never used twice, not even after a delete."""
        taken = self.next_ids[table] = self.next_ids.get(table, 1) + step
        return taken - step

    # people and what they may do

    def live_users(self) -> list[User]:
        return [user for user in list(self.users.values()) if not user.deleted]

    def user_by_email(self, email: str) -> User | None:
        """The living user with this e-mail address or user name, whatever the case."""
        wanted = email.strip().lower()
        for user in list(self.users.values()):
            if not user.deleted and wanted in (user.email.lower(), user.user_name.lower()):
                return user
        return None

    def grants_of(self, user: User) -> list[str]:
        role = self.roles.get(user.role_id)
        return role.grants if role else []

    def role_name(self, role_id: int) -> str:
        role = self.roles.get(role_id)
        return role.name if role else "Anonymous"

    def groups_of(self, user_id: int) -> list[Group]:
        return [group for group in list(self.groups.values()) if group.active and user_id in group.user_ids]

    def level_on(self, account: Account, user: User) -> str:
        """The user's strongest access level on an account, through himself, his groups or his role."""
        if "account.admin" in self.grants_of(user):
            return "OWNER"
        grantees = [f"USER:{user.id}", *(f"GROUP:{group.id}" for group in self.groups_of(user.id))]
        return max((account.shares.get(grantee, "NONE") for grantee in grantees), key=LEVELS.index)

    # credentials

    def add_access_token(self, owner_id: int, name: str, expires: int) -> AccessToken:
        """Issue a developer token; `expires` in epoch milliseconds."""
        token = AccessToken(self.next_id("access_tokens"), name, owner_id, expires, secrets.token_hex(24))
        self.access_tokens[token.id] = token
        self._by_secret[token.token] = token
        return token

    def add_session(self, user: User, *, now: int, lifetime: float, pending: bool = False) -> Session:
        """Sign a user in; `now` in epoch milliseconds, `lifetime` in seconds."""
        session_id = str(uuid.uuid4())
        expires = now + int(lifetime * 1000)
        claims: dict[str, Any] = {
            "customerId": self.customer_id,
            "expiration": expires,
            "sid": session_id,
            "timestamp": now,
            "toes": "UNKNOWN",
            "userId": str(user.id),
        }
        signature = hmac.new(self.signing_key.encode(), repr(sorted(claims.items())).encode(), hashlib.sha256)
        claims["hmacSignature"] = signature.hexdigest()
        text = json.dumps(dict(sorted(claims.items())))
        text += " " * ((1 - len(text)) % 3)  # so that the base64 ends in =, hence the token in %3D
        encoded = base64.b64encode(text.encode()).decode()
        session = Session(session_id, user.id, now, expires, quote(encoded, safe=""), pending)
        self.sessions[session.id] = session
        self._by_secret[session.token] = session
        return session

    def add_bearer(self, bearer: Bearer) -> None:
        self.bearers[bearer.id] = bearer
        self._by_secret[bearer.token] = bearer

    def find_access_token(self, secret: str) -> AccessToken | None:
        found = self._by_secret.get(secret)
        if isinstance(found, AccessToken) and self.access_tokens.get(found.id) is found:
            return found
        return None

    def find_session(self, secret: str) -> Session | None:
        found = self._by_secret.get(secret)
        if isinstance(found, Session) and self.sessions.get(found.id) is found:
            return found
        return None

    def find_bearer(self, secret: str) -> Bearer | None:
        found = self._by_secret.get(secret)
        if isinstance(found, Bearer) and self.bearers.get(found.id) is found:
            return found
        return None

    def index(self) -> None:
        """Rebuild the look-up by secret, after tables were filled from a file."""
        tables = (self.access_tokens, self.sessions, self.bearers)
        self._by_secret = {row.token: row for table in tables for row in table.values()}

    def sign_out(self, user_id: int) -> None:
        """End every session, cookie and bearer of a user. His developer tokens stay listed."""
        for session in [row for row in self.sessions.values() if row.user_id == user_id]:
            self.forget(self.sessions.pop(session.id).token)
        for bearer in [row for row in self.bearers.values() if row.user_id == user_id]:
            self.forget(self.bearers.pop(bearer.id).token)
        self.cookies = {value: owner for value, owner in self.cookies.items() if owner != user_id}

    def forget(self, secret: str) -> None:
        """Drop a revoked secret from the look-up."""
        self._by_secret.pop(secret, None)

    def prune(self, now: int) -> None:
        """Forget what expired more than a day ago, so that a long-lived sandbox does not grow."""
        for table in (self.sessions, self.bearers):
            for row in [row for row in table.values() if row.expires < now - 86_400_000]:
                del table[row.id]
                self.forget(row.token)
