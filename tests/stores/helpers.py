"""What the stores' tests have in common."""

import io
import traceback
from hashlib import sha256

from rich.console import Console
from rich.traceback import Traceback

CANARY = "canary-token-5e1f09c4"


def shown(error, rich):
    """All that anybody can be shown of an error: its texts and attributes, and tracebacks with local variables.

    Of the errors that are hidden behind it, too. rich: as this package prints them as well, which takes its time.
    """
    texts = []
    link = error
    while link is not None:
        trace = traceback.TracebackException.from_exception(link, capture_locals=True)
        texts += [repr(link), str(link), repr(vars(link)), *trace.format()]
        if rich:
            console = Console(file=io.StringIO(), width=400)
            options = {"show_locals": True, "locals_max_string": None, "locals_max_length": None, "extra_lines": 0}
            console.print(Traceback.from_exception(type(link), link, link.__traceback__, **options))
            texts.append(console.file.getvalue())
        link = link.__cause__ or link.__context__
    return "\n".join(texts)


def assert_hidden(error, *secrets, rich=False):
    text = shown(error, rich)
    for secret in (CANARY, *secrets):
        where = text.find(secret)
        assert where < 0, f"shown: {text[max(0, where - 400) : where]}{secret[:3]}…"


def content_of(path):
    """To be compared, in tests whose own variables are shown by tracebacks."""
    return sha256(path.read_bytes()).hexdigest()
