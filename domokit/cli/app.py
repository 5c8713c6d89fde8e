"""The typer application: all commands in one tree."""

from typing import Annotated

import typer

from domokit.cli import accounts, data, keep, rotate, sandbox, tokens, users
from domokit.cli.options import Group

app = typer.Typer(
    name="domokit",
    cls=Group,
    help="Domo from the command line: access tokens and their rotation, a keeper of credentials, "
    "accounts, users, rows of DataSets, and a local sandbox.\n\n"
    "Try it without a Domo: domokit rotate --sandbox",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from domokit import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Exists for `--version`; the help text is the application's."""


rotate.add_to(app)
keep.add_to(app)
app.add_typer(tokens.app, name="tokens")
app.add_typer(accounts.app, name="accounts")
app.add_typer(data.app, name="data")
app.add_typer(users.app, name="users")
users.add_whoami_to(app)
sandbox.add_to(app)
