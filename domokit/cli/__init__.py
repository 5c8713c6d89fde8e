"""The command line: `domokit rotate`, `domokit tokens list`, … Thin: it calls entities and workflows, and prints."""

import os
import sys
import threading
from contextlib import suppress

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command that the process was started with, and exit: 0 done, 1 Domo refused or failed, 2 bad input."""
    try:
        from domokit.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "click", "rich"):
            raise
        print("The command line needs a few more packages: pip install 'domokit[cli]'", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] - it was closed: 2>&-
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - told before anything is done
        print("Error: standard output is closed; send it to /dev/null if you do not want it.", file=sys.stderr)
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is no reason to fail
        if (change := getattr(stream, "reconfigure", None)) is not None:
            change(errors="backslashreplace")
    try:
        app(prog_name="domokit")
    except OSError as error:  # of what prints before a command runs: --help to a full disk
        print(f"Error: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            _leave_threads()
        raise


def _leave_threads() -> None:
    """End now, if nothing is at work but threads of calls that were given up.

    The interpreter would wait for them, and one that reads from a pipe may go on for ever.
    """
    others = [one for one in threading.enumerate() if one is not threading.main_thread()]
    if others and all(one.name == "AnyIO worker thread" for one in others):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(_INTERRUPTED)
