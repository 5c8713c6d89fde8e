"""An OAuth token: what a token endpoint answered, with times that can be trusted."""

import json
import os
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any, Self

import attrs

from domokit._runtime import from_wire, utc_now
from domokit._secrets import Secret, wrap_secrets
from domokit.errors import InvalidInputError

DEFAULT_LIFETIME = 3600.0  # seconds, for an answer that does not say
_LONGEST = 100 * 365 * 86_400.0  # seconds; some mean 'for ever' by a number that no calendar holds

_KNOWN = {"access_token", "refresh_token", "token_type", "scope", "expires_in", "expires_at"}
_MEMBER = r'"%s"\s*:\s*("(?:[^"\\]|\\.)+")'  # whole: with its closing quote
_LIFETIME = re.compile(r'"expires_in"\s*:\s*"?(\d+(?:\.\d+)?)"?\s*[,}]')


@attrs.frozen(kw_only=True)
class OAuthToken:
    """A token and what belongs to it. It shows no secret.

    refresh_token:  None, if the provider gives none.
    expires_at:     end of the access token's life, an aware UTC datetime.
    obtained_at:    when it was asked for; its life counts from there.
    scope:          what it may do, space-separated, as granted.
    extra:          whatever else the provider answered, by name; secrets in it are `Secret`.
    unpersisted:    whether it is held in memory only, because the store failed after it was received.
    """

    access_token: Secret
    expires_at: datetime
    obtained_at: datetime = attrs.field(factory=utc_now)
    refresh_token: Secret | None = None
    refresh_expires_at: datetime | None = None
    token_type: str = "bearer"  # noqa: S105
    scope: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    unpersisted: bool = False

    @property
    def lifetime(self) -> timedelta:
        """How long it was to live when it was obtained."""
        return self.expires_at - self.obtained_at

    @property
    def is_expired(self) -> bool:
        return self.remaining(utc_now()) <= timedelta(0)

    def remaining(self, now: datetime) -> timedelta:
        """How long it lives yet; never more than its lifetime, whatever the clock has been set to since."""
        return min(self.expires_at - now, self.lifetime)

    @property
    def fingerprint(self) -> str:
        """Tells this access token from others, without showing it."""
        return self.access_token.fingerprint

    @property
    def authorization(self) -> Secret:
        """The value of the Authorization header."""
        return Secret(f"Bearer {self.access_token.reveal()}")

    @classmethod
    def from_answer(
        cls, answer: Mapping[str, Any], asked_at: datetime, *, refresh_token: Secret | None = None, scope: str | None
    ) -> Self:
        """Read a decoded answer in whatever style: numbers as text, no lifetime, no new refresh token.

        asked_at:       when the request set out, by the server's clock if its `Date` told.
        refresh_token:  the one in use, which stays if the answer brings no other.
        Raises: KeyError, if there is no access token.
        """
        access, new = _text(answer.get("access_token")), _text(answer.get("refresh_token"))
        if access is None:
            raise KeyError("access_token")
        refresh_life = _seconds(answer.get("refresh_token_expires_in") or answer.get("refresh_expires_in"))
        granted = answer.get("scope")
        return cls(
            access_token=access,
            refresh_token=new or refresh_token,
            refresh_expires_at=asked_at + timedelta(seconds=refresh_life) if refresh_life and new else None,
            token_type=str(answer.get("token_type") or "bearer"),
            scope=" ".join(map(str, granted)) if isinstance(granted, list) else str(granted) if granted else scope,
            obtained_at=asked_at,
            expires_at=asked_at + timedelta(seconds=_lifetime(answer, access, asked_at)),
            extra={name: value for name, value in wrap_secrets(answer).items() if name not in _KNOWN},
        )

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values for a store, secrets in clear."""
        return {
            "access_token": self.access_token.reveal(),
            "refresh_token": self.refresh_token and self.refresh_token.reveal(),
            "token_type": self.token_type,
            "scope": self.scope,
            "obtained_at": self.obtained_at.timestamp(),
            "expires_at": self.expires_at.timestamp(),
            "refresh_expires_at": self.refresh_expires_at and self.refresh_expires_at.timestamp(),
            "extra": revealed(self.extra),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The counterpart of `to_document`. Raises: ValueError, LookupError, TypeError."""
        refresh, end = document.get("refresh_token"), document.get("refresh_expires_at")
        return cls(
            access_token=Secret(document["access_token"]),
            refresh_token=Secret(refresh) if refresh else None,
            refresh_expires_at=datetime.fromtimestamp(end, UTC) if end else None,
            token_type=document["token_type"],
            scope=document["scope"],
            obtained_at=datetime.fromtimestamp(document["obtained_at"], UTC),
            expires_at=datetime.fromtimestamp(document["expires_at"], UTC),
            extra=wrap_secrets(document.get("extra") or {}),
        )


def revealed(value: Any) -> Any:
    """Decoded JSON with its secrets in clear, for a store."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        members: Mapping[str, Any] = value
        return {key: revealed(item) for key, item in members.items()}
    if isinstance(value, list):
        items: list[Any] = value
        return [revealed(item) for item in items]
    return value


def read_token_file(path: str | os.PathLike[str]) -> OAuthToken:
    """Read a file in which a program kept the bare answer of a token endpoint, for `TokenKeeper.adopt()`.

    Published samples write such files, with 'expiry_tm' (epoch seconds) beside the answer's own members. Where the
    file tells no end, the token counts as expired, and its refresh token is used.
    Raises: InvalidInputError, naming what is wrong; the file is not changed.
    """
    name = Path(path).expanduser()
    document, problem = _read_json(name)
    if problem:
        raise InvalidInputError(f"{name} {problem}")
    now = utc_now()
    end = from_wire(_number(document.get("expiry_tm", document.get("expires_at"))))
    lifetime = _seconds(document.get("expires_in"))
    if end is None:
        end = now
    start = end - timedelta(seconds=lifetime or 0)
    token = OAuthToken.from_answer({**document, "expires_in": None}, min(start, now), scope=None)
    return attrs.evolve(token, expires_at=end)


def _read_json(path: Path) -> tuple[dict[str, Any], str]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        return {}, f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return {}, "is not JSON"
    if not isinstance(document, dict) or _text(document.get("access_token")) is None:
        return {}, "holds no access_token"
    members: dict[str, Any] = document
    return wrap_secrets(members), ""


def jwt_payload(token: Secret) -> dict[str, Any]:
    """The payload of a JWT, unverified: a hint, not truth. {} for what is no JWT."""
    part = token.reveal().split(".")[1:2]
    try:
        payload = json.loads(urlsafe_b64decode(part[0] + "=" * (-len(part[0]) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def salvaged(body: Secret) -> dict[str, Any]:
    """What stands whole in the beginning of an answer that was cut off."""
    found: dict[str, Any] = {}
    for name in ("access_token", "refresh_token"):
        if match := re.search(_MEMBER % name, body.reveal()):
            with suppress(ValueError):
                found[name] = Secret(json.loads(match[1]))
    if match := _LIFETIME.search(body.reveal()):
        found["expires_in"] = match[1]
    return found


def _lifetime(answer: Mapping[str, Any], access: Secret, asked_at: datetime) -> float:
    if (told := _seconds(answer.get("expires_in"))) is not None:
        return told
    payload = jwt_payload(access)
    end, start = _seconds(payload.get("exp")), _seconds(payload.get("iat"))
    if end is not None:
        return max(0.0, end - (start if start is not None else asked_at.timestamp()))
    return DEFAULT_LIFETIME


def _text(value: Any) -> Secret | None:
    return Secret(value) if isinstance(value, (str, Secret)) and value else None


def _seconds(value: Any) -> float | None:
    number = _number(value)
    return min(number, _LONGEST) if number is not None and number > 0 else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None
