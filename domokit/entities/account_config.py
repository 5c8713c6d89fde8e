"""What an account holds: the configuration of a data provider, typed where it matters."""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

import attrs

from domokit._secrets import is_secret_name
from domokit.auth import Secret
from domokit.errors import InvalidInputError

_MASKED = re.compile(r"\*+")
_SECRET_FIELDS = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)


class Masked:
    """The type of `MASKED`: a value that is there and that Domo does not show. It is unknown, not empty."""

    def __repr__(self) -> str:
        return "MASKED"


MASKED = Masked()
FieldValue = str | Secret | Masked | bool | None
_VALUE_TYPES: Any = (str, Secret, bool, Masked, type(None))


def read_value(name: str, value: Any) -> Any:
    """A configuration value as Domo answers it: asterisks become MASKED, secrets `Secret`, 'true' a bool for flags."""
    text = value.reveal() if isinstance(value, Secret) else value
    if isinstance(text, str) and _MASKED.fullmatch(text):
        return MASKED
    if name == "allowExternalUse" and isinstance(text, str):
        return text.lower() == "true"
    if isinstance(value, str) and value and (is_secret_name(name) or _SECRET_FIELDS.search(name)):
        return Secret(value)
    return value


@attrs.frozen(init=False, repr=False)
class AccountConfig:
    """The configuration of any provider: its key and its fields, as Domo names them.

        AccountConfig("snowflake", {"account": "xy123", "username": "svc", "password": Secret("…"), "role": None})

    provider_type:  the provider's key, `dataProviderType` on the wire.
    fields:         by name; texts, Secrets, booleans or None. No value is shown in `repr`.

    Typed ones for the two kinds that hold credentials of Domo's own are AbstractCredentialStore and
    DomoAccessTokenConfig.
    """

    provider_type: str
    fields: Mapping[str, Any]

    #: Whether this class knows the fields of its provider, so that Domo need not be asked.
    is_typed: ClassVar[bool] = False

    def __init__(self, provider_type: str, fields: Mapping[str, FieldValue]) -> None:
        if not provider_type or not isinstance(provider_type, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError("provider_type is the key of a data provider, such as 'snowflake'")
        if not isinstance(fields, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError("fields must map names to values")
        # Hidden first: whatever is raised below, its traceback shows no local variable with a secret.
        fields = {name: read_value(str(name), value) for name, value in fields.items()}
        for name, value in fields.items():
            if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidInputError("the names of configuration fields are texts")
            if not isinstance(value, _VALUE_TYPES):
                raise InvalidInputError(
                    f"{provider_type}: {name} must be a text, not {type(value).__name__}; encode objects as JSON text"
                )
        self.__attrs_init__(provider_type, fields)  # type: ignore[attr-defined]  # pyright: ignore

    def __repr__(self) -> str:
        # Names only; and a traceback may show an object that is not finished.
        names = ", ".join(getattr(self, "fields", {}))
        return f"{type(self).__name__}({getattr(self, 'provider_type', '?')!r}, {{{names}}})"

    def to_wire(self) -> dict[str, Any]:
        """The fields to send, secrets still as `Secret`.

        Raises: InvalidInputError, if a value is masked: sending it would store the asterisks.
        """
        if masked := [name for name, value in self.fields.items() if isinstance(value, Masked)]:
            raise InvalidInputError(
                f"{self.provider_type}: {', '.join(masked)} came masked and is unknown; sending it back would store "
                "asterisks",
                hint="Give the real value.",
            )
        return dict(self.fields)

    @property
    def is_masked(self) -> bool:
        """Whether some value is there but not shown."""
        return any(isinstance(value, Masked) for value in self.fields.values())

    def check_names(self, declared: list[str]) -> None:
        """Raises: InvalidInputError, if a field is none of those that the provider declares."""
        allowed = {*declared, "allowExternalUse"}
        for name in self.fields:
            if name not in allowed:
                near = get_close_matches(name, declared, n=1)
                raise InvalidInputError(
                    f"{self.provider_type} has no field {name!r}; it has {', '.join(declared)}"
                    + (f". Did you mean {near[0]!r}?" if near else "")
                )


class AbstractCredentialStore(AccountConfig):
    """The provider `abstract-credential-store`: one secret text, by convention JSON.

    credentials:  a mapping, which is encoded as JSON text, or the text itself.
    """

    PROVIDER_TYPE: ClassVar[str] = "abstract-credential-store"
    is_typed: ClassVar[bool] = True

    def __init__(self, credentials: Mapping[str, Any] | str | Secret | Masked) -> None:
        encoded = credentials = _encoded(credentials)  # rebound: no traceback shows a local variable with the text
        if encoded is _NOT_JSON:
            raise InvalidInputError("credentials must be JSON: texts, numbers, lists, mappings")
        super().__init__(self.PROVIDER_TYPE, {"credentials": encoded})

    @property
    def credentials(self) -> Any:
        """The text as a `Secret`, or MASKED."""
        return self.fields["credentials"]

    def decoded(self) -> dict[str, Any] | None:
        """The credentials as a mapping, every text in it a Secret; None if masked, empty or not a JSON object."""
        if not isinstance(self.credentials, Secret):
            return None
        try:
            found = json.loads(self.credentials.reveal())
        except ValueError:
            return None
        if not isinstance(found, dict):
            return None
        members: dict[str, Any] = found
        return {name: Secret(value) if isinstance(value, str) else value for name, value in members.items()}


class DomoAccessTokenConfig(AccountConfig):
    """The provider `domo-access-token`: an access token, and the user name and password of its owner if wanted."""

    PROVIDER_TYPE: ClassVar[str] = "domo-access-token"
    is_typed: ClassVar[bool] = True

    def __init__(
        self,
        access_token: str | Secret | Masked,
        username: str | None = None,
        password: str | Secret | Masked | None = None,
    ) -> None:
        access_token = read_value("domoAccessToken", access_token)  # rebound: no traceback shows the texts
        password = read_value("password", password)
        if not access_token:
            raise InvalidInputError("there is no access token to store; only the answer to generate() has its value")
        fields: dict[str, Any] = {
            "domoAccessToken": access_token,
            "username": username or "",
            "password": "" if password is None else password,  # an empty text when unused, as Domo wants it
        }
        super().__init__(self.PROVIDER_TYPE, fields)

    @property
    def access_token(self) -> Any:
        """The token as a `Secret`, or MASKED."""
        return self.fields["domoAccessToken"]

    @property
    def username(self) -> str:
        return self.fields["username"]


def read_config(provider_type: str, answer: Mapping[str, Any]) -> AccountConfig:
    """The configuration in an answer, as the typed class of its provider if there is one and the fields fit."""
    fields = {name: read_value(name, value) for name, value in answer.items() if _is_value(value)}
    if provider_type == AbstractCredentialStore.PROVIDER_TYPE and "credentials" in fields:
        return AbstractCredentialStore(fields["credentials"])
    if provider_type == DomoAccessTokenConfig.PROVIDER_TYPE and fields.get("domoAccessToken"):
        return DomoAccessTokenConfig(fields["domoAccessToken"], fields.get("username"), fields.get("password"))
    return AccountConfig(provider_type, fields)


def _is_value(value: Any) -> bool:
    return value is None or isinstance(value, (str, bool, Secret))


_NOT_JSON: Any = object()


def _encoded(credentials: Mapping[str, Any] | str | Secret | Masked) -> Any:
    if isinstance(credentials, str):
        return Secret(credentials)
    if not isinstance(credentials, Mapping):
        return credentials
    try:
        return Secret(json.dumps(dict(credentials), default=_reveal, ensure_ascii=False))
    except (TypeError, ValueError):
        return _NOT_JSON


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError
