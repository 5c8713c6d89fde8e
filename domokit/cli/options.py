"""What every command shares: its options and, through `command`, how it connects and how it reports errors."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

F = TypeVar("F", bound=Callable[..., None])

_PANEL = "Connection and output"
_SECRETS = "DOMO_ACCESS_TOKEN, or DOMO_USERNAME and DOMO_PASSWORD (asked for on a terminal)"
_ENVIRONMENT = f"Environment: DOMO_INSTANCE, and {_SECRETS}{{or_client}}. DOMO_BASE_URL for another address."
_OR_CLIENT = ", or DOMO_CLIENT_ID and DOMO_CLIENT_SECRET"

UserText = Annotated[str | None, typer.Option(metavar="ID|EMAIL", help="The user it belongs to.")]
ProviderText = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        help="Kind of the account, if it is created: abstract-credential-store or domo-access-token.",
    ),
]
STORE = "abstract-credential-store"


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that all commands take, after their own."""

    instance: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The Domo instance, instead of DOMO_INSTANCE.", rich_help_panel=_PANEL),
    ] = None
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Use a made-up Domo inside this process. What it holds is kept from one command to the next.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    fresh: Annotated[
        bool, typer.Option("--fresh", help="With --sandbox: begin with a new one.", rich_help_panel=_PANEL)
    ] = False
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON document. Errors are JSON on stderr.", rich_help_panel=_PANEL),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Show the log on stderr; it holds no secrets.", rich_help_panel=_PANEL),
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be done; nothing that changes anything is sent.", rich_help_panel=_PANEL
        ),
    ] = False


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
            from domokit.cli.connect import Domo
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
        app.command(name, help=help_text(function), epilog=epilog)(run)

    return register


def help_text(function: Callable[..., None]) -> str:
    """The docstring with each paragraph on one line, for the terminal's width to fold."""
    return "\n\n".join(" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n"))
