"""The command line: `domokit rotate`, `domokit tokens list`, … Thin: it calls entities and workflows, and prints."""

import sys

__all__ = ["main"]


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
        sys.exit(130)
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is no reason to fail
        if (change := getattr(stream, "reconfigure", None)) is not None:
            change(errors="backslashreplace")
    app(prog_name="domokit")
