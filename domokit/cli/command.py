"""How a function becomes a command: with the common options, a connection, and its errors told kindly."""

import inspect
from collections.abc import Callable
from typing import Any

import typer

from domokit.cli.options import Command, Common

_SECRETS = "DOMO_ACCESS_TOKEN, or DOMO_USERNAME and DOMO_PASSWORD (asked for on a terminal)"
_ENVIRONMENT = f"Environment: DOMO_INSTANCE, and {_SECRETS}{{or_client}}. DOMO_BASE_URL for another address."
_OR_CLIENT = ", or DOMO_CLIENT_ID and DOMO_CLIENT_SECRET"


def command(
    app: typer.Typer, name: str, *, changes: bool = False, client_too: bool = False
) -> Callable[[Callable[..., None]], None]:
    """Register a function as a command: it takes a `Domo`, then its own options; the common ones are added here.

    changes:     whether it changes anything, and so has --dry-run.
    client_too:  whether an API client (client id and secret) can do it; for the help text.
    """

    def register(function: Callable[..., None]) -> None:
        own = list(inspect.signature(function).parameters.values())[1:]
        common = [
            parameter
            for parameter in inspect.signature(Common).parameters.values()
            if changes or parameter.name != "dry_run"
        ]
        names = {parameter.name for parameter in common}

        def run(**values: Any) -> None:
            from domokit.cli.connect import (
                Domo,  # on use: what it stands on takes a moment to load, and --help need not
            )
            from domokit.cli.report import errors_reported

            options = Common(**{key: value for key, value in values.items() if key in names})
            rest = {key: value for key, value in values.items() if key not in names}
            with errors_reported(as_json=options.json, verbose=options.verbose), Domo(options) as domo:
                function(domo, **rest)

        # typer reads the parameters off the function; these are the command's own and the common ones.
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *common)]
        run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__name__ = function.__name__
        epilog = _ENVIRONMENT.format(or_client=_OR_CLIENT if client_too else "")
        app.command(name, cls=Command, help=help_text(function), epilog=epilog)(run)

    return register


def help_text(function: Callable[..., None]) -> str:
    """The docstring with each paragraph on one line, for the terminal's width to fold."""
    return "\n\n".join(" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n"))
