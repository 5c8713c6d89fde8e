"""A file for a secret: readable by its owner only from the first byte, there whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from domokit.auth import Secret
from domokit.errors import DomoError, InvalidInputError


class SecretFile:
    """Enter it before the secret is made, so that what can fail fails first; then `write` publishes it in one step.

    overwrite:  whether a file that is there already may be replaced.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._overwrite = overwrite
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.check()
        try:
            self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise InvalidInputError(f"{self.path} cannot be written: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._temporary.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises: InvalidInputError, if nothing may or can be written there."""
        if self.path.is_dir():
            raise InvalidInputError(f"{self.path} is a directory")
        if not self._overwrite and os.path.lexists(self.path):
            raise InvalidInputError(f"{self.path} is there already", hint="Name another file, or add --force.")
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise InvalidInputError(f"nothing can be written in {self.path.parent}")

    def write(self, secret: Secret) -> None:
        """Write the bare value, without a line end. Raises: DomoError; then there is no file."""
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secret.reveal().encode())
                file.flush()
                os.fsync(file.fileno())
            self._publish()
        except OSError as error:
            raise DomoError(f"{self.path} could not be written: {error.strerror}") from None

    def _publish(self) -> None:
        if self._overwrite:
            os.replace(self._temporary, self.path)
        elif os.name == "nt":
            os.rename(self._temporary, self.path)  # there it fails if the file exists
        else:
            try:
                os.link(self._temporary, self.path)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links: take the name, then fill it
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                try:
                    os.replace(self._temporary, self.path)
                except OSError:
                    with contextlib.suppress(OSError):
                        self.path.unlink()
                    raise
