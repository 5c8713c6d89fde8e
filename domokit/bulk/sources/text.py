"""What CSV and JSON lines have in common."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from domokit.errors import InvalidDataError

USE_UTF8 = "Only UTF-8 can be read; convert it."
MARK = b"\xef\xbb\xbf"  # the byte order mark of UTF-8


def without_mark(start: bytes) -> bytes:
    """The first bytes of a file, without a byte order mark. Raises InvalidDataError if it is that of UTF-16."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidDataError("the file is UTF-16", hint=USE_UTF8)
    return start.removeprefix(MARK)


def filled(stream: Any, size: int) -> bytes:
    """So many bytes, less only at the end of the stream: pipes give what is there at the moment."""
    found = bytes(stream.read(size))
    if not found or len(found) == size:
        return found
    parts = [found]
    left = size - len(found)
    while left and (more := bytes(stream.read(left))):
        parts.append(more)
        left -= len(more)
    return b"".join(parts)


@contextmanager
def not_damaged(what: str = "the compressed file") -> Generator[None, None, None]:
    """Errors of decompressing become InvalidDataError; those of the disk or the network stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise InvalidDataError(f"{what} is damaged, or cut off") from error
