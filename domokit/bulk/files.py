"""A file that is there whole or not at all."""

import gzip
import os
import secrets
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import IO, Any

from anyio import to_thread

from domokit.errors import InvalidInputError


@asynccontextmanager
async def new_file(path: str | os.PathLike[str], *, is_text: bool) -> AsyncGenerator[IO[bytes], None]:
    """A file to write, readable by its owner only, that takes the place of `path` when the block ends.

    If the block fails or is cancelled nothing is left of it, and a file that was there stays as it was. A file that is
    replaced hands on its permissions.

    is_text:  it is compressed if its name ends in .gz.
    Raises: InvalidInputError, if nothing can be written there.
    """
    raw, temporary, target = await to_thread.run_sync(_opened, path)
    file: IO[bytes] = raw
    try:
        if is_text and target.endswith(".gz"):
            file = _compressing(raw)
        yield file
        await to_thread.run_sync(_published, file, raw, temporary, target)
    finally:
        for one in {id(file): file, id(raw): raw}.values():
            with suppress(OSError, ValueError):
                one.close()
        with suppress(OSError):
            os.unlink(temporary)


def _opened(path: str | os.PathLike[str]) -> tuple[IO[bytes], str, str]:
    if "\0" in os.fsdecode(path):
        raise InvalidInputError("a path cannot hold the character NUL")
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{secrets.token_hex(6)}.part")
    if os.path.isdir(target):
        raise InvalidInputError(f"{target} is a directory")
    if os.path.exists(target) and not os.path.isfile(target):
        raise InvalidInputError(
            f"{target} is a pipe or a device, of which no file can take the place",
            hint="CSV can be written into it as a file object: to_csv(open(path, 'wb')).",
        )
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return open(os.open(temporary, flags, 0o600), "wb"), temporary, target
    except OSError as error:
        reason = error.strerror
    raise InvalidInputError(f"{target} cannot be written: {reason}")


def _published(file: IO[bytes], raw: IO[bytes], temporary: str, target: str) -> None:
    file.close()
    raw.close()
    with suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
    os.replace(temporary, target)


def _compressing(file: IO[bytes]) -> Any:
    try:
        return import_module("isal.igzip").IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=file)
    except ImportError:
        return gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file)
