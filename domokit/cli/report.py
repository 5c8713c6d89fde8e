"""What goes to stderr: errors in one or two lines, the log, and the exit codes."""

import json
import logging
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from domokit._secrets import scrub
from domokit.cli.output import printable
from domokit.errors import DomoError, InvalidInputError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

# Hints of the library speak of its classes and arguments; here is what they mean on a command line.
_HINTS: Mapping[str, str] = {
    "InvalidCredentialsError": "Check DOMO_USERNAME and DOMO_PASSWORD, or DOMO_CLIENT_ID and DOMO_CLIENT_SECRET.",
    "OneTimePasswordRequired": "Run it on a terminal, where the code is asked for, or use DOMO_ACCESS_TOKEN.",
    "RateLimitedError": "Wait a moment, then run it again.",
    "RequestTimeoutError": "Try again later.",
    "UnsupportedByAuth": "Set DOMO_ACCESS_TOKEN, or DOMO_USERNAME and DOMO_PASSWORD.",
}


@contextmanager
def errors_reported(*, as_json: bool, verbose: bool) -> Generator[None]:
    """Run a command inside this: what it raises is told on stderr and becomes the exit code."""
    with _log_on_stderr() if verbose else _silence():
        try:
            yield
            sys.stdout.flush()  # a pipe that is closed is noticed here, not when the interpreter ends
        except (typer.Exit, typer.BadParameter):
            raise
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(INTERRUPTED) from None
        except DomoError as error:
            _tell(error, facts_of(error), as_json=as_json, verbose=verbose)
            raise typer.Exit(BAD_INPUT if isinstance(error, InvalidInputError) else FAILED) from None
        except BrokenPipeError:
            raise  # whoever read our output has seen enough; typer ends quietly
        except Exception as error:  # noqa: BLE001 - a bug, or the machine's fault: told without a traceback as well
            is_of_the_system = isinstance(error, OSError) and error.strerror  # a disk is full
            facts = {
                "error": type(error).__name__,
                "message": scrub(_words_of(error)),
                "hint": ""
                if verbose or is_of_the_system
                else "This was not expected. --verbose shows where it happened.",
                "status": None,
                "request_id": None,
            }
            _tell(error, facts, as_json=as_json, verbose=verbose)
            raise typer.Exit(FAILED) from None


def facts_of(error: DomoError) -> dict[str, Any]:
    """What an error tells, as plain values."""
    message = f"{error.asked}: {error.message}" if error.asked else error.message
    facts: dict[str, Any] = {
        "error": type(error).__name__,
        "message": scrub(message),
        # Not scrubbed: hints are the program's own words, and 'password=env:VARIABLE' would look like a secret.
        "hint": _HINTS.get(type(error).__name__, error.hint),
        "status": getattr(error, "status", None) or None,
        "request_id": getattr(error, "request_id", None),
    }
    if left := getattr(error, "left_alive", ()):  # of a rotation: what somebody may have to clean up
        facts["left_alive"] = list(left)
    return facts


def _words_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def note(text: str) -> None:
    """A line on stderr."""
    print(printable(text), file=sys.stderr)


def _tell(error: BaseException, facts: Mapping[str, Any], *, as_json: bool, verbose: bool) -> None:
    if verbose:  # no locals: they may hold secrets
        sys.stderr.write(scrub("".join(traceback.format_exception(error))))
    if as_json:
        print(json.dumps(facts), file=sys.stderr)
        return
    quote = f" (request {facts['request_id']})" if facts["request_id"] else ""
    note(f"Error: {facts['message']}{quote}")
    if left := facts.get("left_alive"):
        note(f"Access tokens that are still valid: {', '.join(map(str, left))}")
    if facts["hint"]:
        note(str(facts["hint"]))


@contextmanager
def _log_on_stderr() -> Generator[None]:
    log = logging.getLogger("domokit")
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
    else:  # rich would fold the lines of a log file
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


@contextmanager
def _silence() -> Generator[None]:
    """Warnings of the library would go to stderr in logging's bare form; they are for --verbose."""
    log = logging.getLogger("domokit")
    handler = logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
