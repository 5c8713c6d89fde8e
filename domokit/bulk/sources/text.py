"""What CSV and JSON lines have in common."""

from collections.abc import Generator
from contextlib import contextmanager

from domokit.errors import InvalidDataError

USE_UTF8 = "Only UTF-8 can be read; convert it."
MARK = b"\xef\xbb\xbf"  # the byte order mark of UTF-8


def without_mark(start: bytes) -> bytes:
    """The first bytes of a file, without a byte order mark. Raises InvalidDataError if it is that of UTF-16."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidDataError("the file is UTF-16", hint=USE_UTF8)
    return start.removeprefix(MARK)


@contextmanager
def not_damaged() -> Generator[None, None, None]:
    """Errors of decompressing become InvalidDataError; those of the disk or the network stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise InvalidDataError("the compressed file is damaged, or cut off") from error
