"""What the versions of entries are called, where a store must name them itself."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from secrets import token_hex

from domokit._secrets import Secret
from domokit.errors import StoreUnavailableError

_VERSION = re.compile(r"([1-9][0-9]{0,17})-[0-9a-f]{8}")


class Versions:
    """Names the version of each write: how many there were of its entry, and something random.

    A write that fails may have been carried out all the same, by a server whose answer was lost. Whoever writes the
    same text again in the same place would find it taken: by himself. So that write gets the same version again, and
    a store that finds the very version it is about to write knows that it is done.
    """

    def __init__(self) -> None:
        self._in_doubt: dict[str, tuple[str | None, Secret, str]] = {}

    @contextmanager
    def next(self, key: str, text: Secret, replacing: str | None) -> Generator[str, None, None]:
        """Around a write: the version it shall have."""
        before, failed, version = self._in_doubt.pop(key, (None, None, ""))
        if failed != text or before != replacing:
            version = f"{number_of(replacing) + 1}-{token_hex(4)}"
        try:
            yield version
        except StoreUnavailableError:
            self._in_doubt[key] = replacing, text, version
            raise


def number_of(version: str | None) -> int:
    """How many writes there were up to this version; 0 for none, and for what is no version."""
    found = _VERSION.fullmatch(version or "")
    return int(found[1]) if found else 0
