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
from domokit.stores.keyring import Keyring

KINDS = ("env", "file", "keyring", "account")

_FORM = re.compile(rf"({'|'.join(KINDS)}):(.+)", re.DOTALL)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@attrs.frozen
class Reference:
    """Where a secret is. It can be shown.

    kind, place:  'env' and a name; 'file' and a path (one line end at its end is dropped; nobody else may be able to
                  read it); 'keyring' and 'SERVICE/NAME'; 'account' and 'INSTANCE/ACCOUNT' with '#MEMBER' for another
                  member than the access token, where INSTANCE is a name in the configuration and ACCOUNT an id or a
                  name.
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

    @property
    def instance(self) -> str | None:
        """The instance of the configuration that is asked; None, if none is."""
        return self.place.partition("/")[0] if self.kind == "account" else None

    async def resolve(self, base: Path, auth: Auth | None = None) -> Secret:
        """The secret. Raises: MissingCredentialError, naming the reference; and what reading the place raises.

        base:  what a relative path is relative to.
        auth:  who signs in at `instance`.
        """
        if self.kind == "env":
            found = _from_env(self.place)
        elif self.kind == "file":
            found = await to_thread.run_sync(_from_file, base, self.place)
        elif self.kind == "keyring":
            service, _, name = self.place.partition("/")
            found = await to_thread.run_sync(Keyring(service).get, name)
        else:
            assert auth is not None
            found = await self._from_account(auth)
        if not found:
            raise MissingCredentialError(f"{self} holds nothing")
        return found

    async def _from_account(self, auth: Auth) -> Secret | None:
        name, _, member = self.place.partition("/")[2].partition("#")
        config = await (await self._account(auth, name)).get_config(unmask=True)
        if config.is_masked:
            raise MissingCredentialError(
                f"{self} comes masked", hint="Allow its use outside of Domo, and share it with this user."
            )
        if isinstance(config, AbstractCredentialStore):
            members = config.decoded()
            whole = None if member else config.credentials  # of a text that is no JSON object
            value = whole if members is None else members.get(member or "access_token")
        else:
            value = config.fields.get(member or "domoAccessToken")
        return value if isinstance(value, Secret) else None

    async def _account(self, auth: Auth, name: str) -> DomoAccount:
        if name.isdecimal():
            return await DomoAccount.get_by_id(auth, int(name))
        found = list(await DomoAccount.search(auth, name=name))
        if not found:
            raise MissingCredentialError(f"{self}: there is no account {name!r} that {auth!r} can see")
        if len(found) > 1:
            ids = ", ".join(str(account.id) for account in found)
            raise MissingCredentialError(f"{self}: several accounts are called so: {ids}", hint="Name one by its id.")
        return found[0]


def _from_env(name: str) -> Secret | None:
    return Secret(os.environ.get(name, "")) or None


def path_from(base: Path, text: str) -> Path:
    """A path as written in a file that is in `base`. Raises: InvalidInputError."""
    if "\0" in text:
        raise InvalidInputError("there is a NUL in it")
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        raise InvalidInputError(f"{text} is in the home of somebody who has none") from None


def _from_file(base: Path, name: str) -> Secret | None:
    path = path_from(base, name)
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
