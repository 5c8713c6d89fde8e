"""Values that must not be seen: the `Secret` type, and masking for everything that is shown or kept."""

import hmac
import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, ClassVar, Never, NoReturn
from urllib.parse import quote
from weakref import WeakValueDictionary

MASK = "***"
_TELLING = 5  # letters; a shorter text stands in harmless words too
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")  # looks the same in a URL and in JSON

# A name that ends like this holds a secret when its value is text. The end is what counts: `credentialsType`,
# `token_type` and `accessTokenId` are not secret, `domoAccessToken` and `client-secret` are.
_NAME = (
    r"(?:pass-?word|pass-?phrase|secret|token|credentials|cookie|authorization|domo-authentication"
    r"|(?:private|api|secret)[-_]?key(?:string)?)"
)
_SECRET_NAME = re.compile(_NAME + r"\Z", re.IGNORECASE)
# The same ends, for a scan of undecoded bodies: plain substrings are found many times faster than a pattern.
_SECRET_ENDS = (
    *(b'password"', b'pass-word"', b'passphrase"', b'pass-phrase"', b'secret"', b'token"', b'credentials"', b'cookie"'),
    *(b'authorization"', b'domo-authentication"'),
    *(b"privatekey", b"private-key", b"private_key", b"apikey", b"api-key", b"api_key"),
    *(b"secretkey", b"secret-key", b"secret_key"),
)
_SECRET_IN_TEXT = re.compile(r'("[^"]*' + _NAME + r'"\s*:\s*")((?:[^"\\]|\\.)*)', re.IGNORECASE)
_SECRET_IN_FORM = re.compile(r"(\b[\w-]*" + _NAME + r"=)([^&\s]+)", re.IGNORECASE)


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")  # half a surrogate pair, too: JSON can bring one


class Secret:
    """A text that shows itself as `Secret(***)` in repr, str, format, logs and tracebacks.

    `reveal()` is the one way out. Pickling and JSON encoding are refused. Two secrets are equal when their texts are.
    """

    __slots__ = ("__forms", "__value", "__weakref__")
    _live: ClassVar["WeakValueDictionary[int, Secret]"] = WeakValueDictionary()

    def __init__(self, value: "str | Secret") -> None:
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  (callers without a checker)
            raise TypeError(f"a secret is text, not {type(text).__name__}")
        self.__value = text
        self.__forms = (text,) if _PLAIN.fullmatch(text) else (text, _quoted(text), json.dumps(text)[1:-1])
        Secret._live[id(self)] = self

    def reveal(self) -> str:
        """The text itself. Keep it out of variables: pass it straight to what needs it."""
        return self.__value

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of the SHA-256: tells two tokens apart without showing either."""
        return sha256(self.__value.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def hide_in(self, text: str) -> str:
        """`text` with this secret masked wherever it stands: as it is, in a URL, or in JSON."""
        if len(self.__value) >= _TELLING:
            for form in self.__forms:
                if form in text:
                    text = text.replace(form, MASK)
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (one.__value.encode("utf-8", "surrogatepass") for one in (self, other))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled; pass a reference to where it is kept instead")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self


class Password(Secret):
    """A secret chosen by a person. It has no fingerprint: a hash of a guessable text can be guessed."""

    __slots__ = ()

    @property
    def fingerprint(self) -> Never:
        raise TypeError("a password has no fingerprint: the hash of a guessable text gives it away")


def is_secret_name(name: str) -> bool:
    """Whether a member of this name, at any depth of a body, holds a secret when its value is text."""
    return _SECRET_NAME.search(name) is not None


def _map_secrets(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, Mapping):
        members: Mapping[Any, Any] = value
        return {
            key: change(item)
            if isinstance(item, str) and item and is_secret_name(str(key))
            else _map_secrets(item, change)
            for key, item in members.items()
        }
    if isinstance(value, (list, tuple)):
        items: list[Any] | tuple[Any, ...] = value
        return [_map_secrets(item, change) for item in items]
    return value


def wrap_secrets(value: Any) -> Any:
    """A copy of decoded JSON in which every secret text, at any depth, is a `Secret`."""
    return _map_secrets(value, Secret)


def may_hold_secrets(body: bytes) -> bool:
    """Whether an undecoded JSON body may have a member whose name is a secret's: a scan, much cheaper than a walk."""
    lower = body.lower()
    return any(map(lower.__contains__, _SECRET_ENDS))


def mask(value: Any) -> Any:
    """A copy of decoded JSON that may be shown: secret members and every live secret become `***`."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        members: Mapping[Any, Any] = value
        return {
            key: MASK if isinstance(item, str) and item and is_secret_name(str(key)) else mask(item)
            for key, item in members.items()
        }
    if isinstance(value, (list, tuple)):
        items: list[Any] | tuple[Any, ...] = value
        return [mask(item) for item in items]
    return value


def scrub(text: str) -> str:
    """`text` without the value of any secret alive in this process and without members named like secrets."""
    text = _SECRET_IN_FORM.sub(rf"\1{MASK}", _SECRET_IN_TEXT.sub(rf"\1{MASK}", text))
    for secret in list(Secret._live.values()):  # pyright: ignore[reportPrivateUsage]
        text = secret.hide_in(text)
    return text


def forget_frames(error: BaseException) -> None:
    """Drop the traceback frames below an error from an HTTP library, and those of its causes.

    Their local variables hold request headers and bodies, which a traceback printed with locals would show.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        todo += [one.__cause__, one.__context__]
