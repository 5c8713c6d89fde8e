"""The options that commands share, defined once, and how options look in the help."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

_PANEL = "Connection and output"

UserText = Annotated[str | None, typer.Option(metavar="ID|EMAIL", help="The user it belongs to.")]
ProviderText = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        help="Kind of the account, if it is created: abstract-credential-store or domo-access-token.",
    ),
]
STORE = "abstract-credential-store"


def _plain(params: list[Any]) -> list[Any]:
    """The same, whose flags are shown without a type: they take no value."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class Command(TyperCommand):
    """A command whose help says no more than is needed."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """The same for what has commands below it."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))


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
