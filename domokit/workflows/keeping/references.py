"""Where a secret is, instead of what it is: env:NAME, file:PATH, keyring:SERVICE/NAME, account:INSTANCE/NAME#MEMBER."""

import os
import re
import sys
from pathlib import Path

import attrs
from anyio import to_thread

from domokit._secrets import Secret
from domokit.auth import Auth
from domokit.entities.account_config import AbstractCredentialStore
from domokit.entities.accounts import DomoAccount
from domokit.errors import InvalidInputError, MissingCredentialError, StoreUnsafeError

_FORM = re.compile(r"(env|file|keyring|account):(.+)", re.DOTALL)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@attrs.frozen
class Reference:
    """Where a secret is. It can be shown.

    kind, place:  'env' and a name; 'file' and a path (one line end at its end is dropped); 'keyring' and
                  'SERVICE/NAME'; 'account' and 'INSTANCE/ACCOUNT' with '#MEMBER' for a member of it, where INSTANCE
                  is a name in the configuration and ACCOUNT an id or a name.
    """

    kind: str
    place: str

    @classmethod
    def parse(cls, text: str) -> "Reference | None":
        """None for a text that is no reference."""
        if (found := _FORM.fullmatch(text.strip())) is None:
            return None
        kind, place = found[1], found[2].strip()
        if kind == "env" and not _ENV_NAME.fullmatch(place):
            return None
        if kind in ("keyring", "account") and not all(place.partition("/")[::2]):
            return None
        return cls(kind, place)

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"

    async def resolve(self, base: Path, auths: "dict[str, Auth]") -> Secret:
        """The secret. Raises: MissingCredentialError, naming the reference; and what reading an account raises.

        base:   what a relative path is relative to.
        auths:  who signs in at each instance of the configuration.
        """
        if self.kind == "env":
            found = _from_env(self.place)
        elif self.kind == "file":
            found = await to_thread.run_sync(_from_file, base, self.place)
        elif self.kind == "keyring":
            service, _, name = self.place.partition("/")
            found = await to_thread.run_sync(_from_keyring, service, name)
        else:
            found = await self._from_account(auths)
        if not found:
            raise MissingCredentialError(f"{self} holds nothing")
        return found

    async def _from_account(self, auths: "dict[str, Auth]") -> Secret | None:
        instance, _, rest = self.place.partition("/")
        name, _, member = rest.partition("#")
        if instance not in auths:
            raise InvalidInputError(f"{self}: there is no instance {instance!r} in the configuration")
        auth = auths[instance]
        account = await find_account(auth, name)
        config = await account.get_config(unmask=True)
        if isinstance(config, AbstractCredentialStore):
            members = config.decoded() or {}
            value = members.get(member or "access_token", None if member else config.credentials)
        else:
            value = config.fields.get(member or "domoAccessToken")
        return value if isinstance(value, Secret) else None


async def find_account(auth: Auth, name: str) -> DomoAccount:
    """The account of an id or a name. Raises: MissingCredentialError, if there is none."""
    if name.isdecimal():
        return await DomoAccount.get_by_id(auth, int(name))
    if (found := await DomoAccount.search(auth, name=name).first()) is None:
        raise MissingCredentialError(f"there is no account {name!r} that {auth!r} can see")
    return found


def _from_env(name: str) -> Secret | None:
    return Secret(os.environ.get(name, "")) or None


def _from_file(base: Path, name: str) -> Secret | None:
    path = base / Path(name).expanduser()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if sys.platform != "win32" and mode & 0o077:
                raise StoreUnsafeError(
                    f"{path} can be read by others (mode {mode & 0o777:o})", hint=f"chmod 600 {path}"
                )
            return Secret(file.read().decode().removesuffix("\n").removesuffix("\r"))
    except OSError as error:
        raise MissingCredentialError(f"file:{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MissingCredentialError(f"file:{path} is no text") from None


def _from_keyring(service: str, name: str) -> Secret | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ModuleNotFoundError:
        raise InvalidInputError("keyring: references need a package", hint="pip install 'domokit[keyring]'") from None
    try:
        return Secret(keyring.get_password(service, name) or "") or None
    except KeyringError as error:
        raise MissingCredentialError(f"keyring:{service}/{name}: {type(error).__name__}") from None
