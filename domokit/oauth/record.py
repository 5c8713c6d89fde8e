"""What a store holds about one credential: the token, and a journal of what is being done with it."""

import json
import os
from datetime import UTC, datetime
from hashlib import scrypt
from hmac import compare_digest
from typing import Any

import attrs

from domokit._secrets import Password, Secret
from domokit.errors import StoreCorruptError, StoreError
from domokit.oauth.token import OAuthToken

SCHEMA = 1
_REMEMBERED = 20  # fingerprints
_REFUSED = 3  # passwords


@attrs.frozen(kw_only=True)
class Spending:
    """The note that a refresh token is being presented, written before it is.

    Found after a crash, it says that the outcome is unknown: nobody can tell whether the token is used up. Beside a
    token that could not be stored, it says which refresh token that one replaces.
    """

    fingerprint: str
    since: datetime
    by: str  # host:pid


@attrs.define(kw_only=True)
class TokenRecord:
    """One credential's life, as the store keeps it.

    seed:          a refresh token to begin with, where there is no token yet.
    spending:      set while a refresh token is presented.
    answer:        the raw answer to that, until it has been read.
    taken:         fingerprints of refresh tokens that people handed over, so that none is taken twice.
    dead:          fingerprints of refresh tokens that were refused or are used up: nobody presents them again.
    parked:        tokens that came when another had already written newer ones.
    password:      the password now, where `change_password` has changed it; `changing_to` while it does.
    refused:       passwords that were refused as wrong, so that none is presented again and again: a slow, salted hash
                   of each, and when.
    facts:         client_id, issuer and subject, where they come from the token itself.
    """

    token: OAuthToken | None = None
    seed: Secret | None = None
    spending: Spending | None = None
    answer: Secret | None = None
    taken: list[str] = attrs.field(factory=list)
    dead: list[str] = attrs.field(factory=list)
    parked: list[OAuthToken] = attrs.field(factory=list)
    password: Secret | None = None
    changing_to: Secret | None = None
    refused: list[dict[str, Any]] = attrs.field(factory=list)
    facts: dict[str, str] = attrs.field(factory=dict)

    @property
    def refresh_token(self) -> Secret | None:
        return self.token.refresh_token if self.token else self.seed

    @property
    def has_had_refresh_token(self) -> bool:
        return self.refresh_token is not None or bool(self.dead)

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the refresh token was presented, and its answer never seen."""
        refresh = self.refresh_token
        return self.spending is not None and refresh is not None and self.spending.fingerprint == refresh.fingerprint

    def put(self, token: OAuthToken, *, spent: Secret | None = None) -> None:
        """Go on with a new token, for which a refresh token was spent, if one was."""
        if spent is not None:
            self.bury(spent)
        if token.refresh_token is not None:
            self.dig_up(token.refresh_token)
        self.token = token
        self.seed = self.spending = self.answer = None

    def bury(self, refresh: Secret) -> None:
        """Note that a refresh token is dead."""
        if refresh.fingerprint not in self.dead:
            self.dead = [*self.dead, refresh.fingerprint][-_REMEMBERED:]
        self.spending = None
        self.answer = None

    def dig_up(self, refresh: Secret) -> None:
        """Note that a refresh token was given, and so is good."""
        self.dead = [one for one in self.dead if one != refresh.fingerprint]

    def take(self, refresh: Secret) -> None:
        """Note that somebody handed this refresh token over."""
        self.taken = [*self.taken, refresh.fingerprint][-_REMEMBERED:]

    def refuse(self, password: Secret, at: datetime) -> None:
        """Note that a password was refused as wrong."""
        salt = os.urandom(16).hex()
        refused = {"salt": salt, "hash": _slow_hash(password, salt), "at": at.timestamp()}
        self.refused = [*self.refused, refused][-_REFUSED:]

    def refused_at(self, password: Secret) -> datetime | None:
        """When a password was refused as wrong, if it was."""
        for one in self.refused:
            if compare_digest(_slow_hash(password, one["salt"]), one["hash"]):
                return datetime.fromtimestamp(one["at"], UTC)
        return None

    def encoded(self) -> Secret:
        """As JSON text for a store."""
        return Secret(
            json.dumps({
                "schema": SCHEMA,
                "token": self.token and self.token.to_document(),
                "seed": self.seed and self.seed.reveal(),
                "spending": self.spending and {
                    "fingerprint": self.spending.fingerprint,
                    "since": self.spending.since.timestamp(),
                    "by": self.spending.by,
                },
                "answer": self.answer and self.answer.reveal(),
                "taken": self.taken,
                "dead": self.dead,
                "parked": [token.to_document() for token in self.parked],
                "password": self.password and self.password.reveal(),
                "changing_to": self.changing_to and self.changing_to.reveal(),
                "refused": self.refused,
                "facts": self.facts,
            }, default=str)
        )  # fmt: skip

    @classmethod
    def decoded(cls, text: Secret, key: str) -> "TokenRecord":
        """The counterpart of `encoded`. Raises: StoreCorruptError; StoreError for one of a newer schema."""
        record, problem = _decoded(text)
        if record is not None:
            return record
        if problem == "newer":
            raise StoreError(
                f"the entry {key} was written by a newer domokit", hint="Use that version, or another store."
            )
        raise StoreCorruptError(f"the entry {key} is not a record of a token", hint="Delete it, or use another store.")


def _decoded(text: Secret) -> tuple[TokenRecord | None, str]:
    try:
        document: dict[str, Any] = json.loads(text.reveal())
        if document["schema"] > SCHEMA:
            return None, "newer"
        spending = document.get("spending")
        return TokenRecord(
            token=OAuthToken.from_document(document["token"]) if document["token"] else None,
            seed=_secret(document, "seed", Secret),
            spending=spending
            and Spending(
                fingerprint=spending["fingerprint"],
                since=datetime.fromtimestamp(spending["since"], UTC),
                by=spending["by"],
            ),
            answer=_secret(document, "answer", Secret),
            taken=list(document.get("taken") or ()),
            dead=list(document.get("dead") or ()),
            parked=[OAuthToken.from_document(one) for one in document.get("parked") or ()],
            password=_secret(document, "password", Password),
            changing_to=_secret(document, "changing_to", Password),
            refused=[
                {"salt": str(one["salt"]), "hash": str(one["hash"]), "at": float(one["at"])}
                for one in document.get("refused") or ()
            ],
            facts=dict(document.get("facts") or {}),
        ), ""
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, "corrupt"


def _slow_hash(password: Secret, salt: str) -> str:
    """Takes a twentieth of a second: it lies beside tokens, but a password may be good for more than they are."""
    text = password.reveal().encode("utf-8", "surrogatepass")
    return scrypt(text, salt=salt.encode(), n=2**14, r=8, p=1).hex()


def _secret(document: dict[str, Any], name: str, kind: type[Secret]) -> Secret | None:
    value = document.get(name)
    return kind(value) if value else None
