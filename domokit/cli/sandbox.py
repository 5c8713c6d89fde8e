"""`domokit sandbox`"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from domokit.cli.command import help_text
from domokit.cli.options import Command

if TYPE_CHECKING:
    from domokit.sandbox import Sandbox

_EXPORTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Sign in with the password:", ("base_url", "instance", "username", "password")),
    ("or with an access token:", ("base_url", "instance", "access_token")),
    ("or as an API client:", ("base_url", "client_id", "client_secret")),
)


def add_to(root: typer.Typer) -> None:
    epilog = "Environment: reads none; it prints the DOMO_ variables that lead to it."
    root.command("sandbox", cls=Command, help=help_text(serve), epilog=epilog)(serve)


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8765,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep its state in this file, which brings its own company.")
    ] = None,
    users: Annotated[int, typer.Option(metavar="N", min=1, help="How many people a new company has.")] = 12,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the instance, acme if new.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print address and credentials as one line of JSON, once it is ready.")
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Accept a --host that other machines can reach.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show each request on stderr.")] = False,
) -> None:
    """Serve a local Domo with a small made-up company in it, until Ctrl-C or SIGTERM.

    It prints what is needed to sign in: throw-away secrets that open nothing but this sandbox. No other command
    prints a secret.

    Example: domokit sandbox --port 8765 --state company.json
    """
    from domokit.cli.report import errors_reported

    with errors_reported(as_json=as_json, verbose=verbose):
        _serve(host, port, state, users, instance, as_json=as_json, allow_remote=allow_remote)


def _serve(
    host: str, port: int, state: Path | None, users: int, instance: str | None, *, as_json: bool, allow_remote: bool
) -> None:
    from domokit.cli.connect import open_sandbox
    from domokit.connection.options import is_loopback
    from domokit.errors import InvalidInputError

    if not allow_remote and not is_loopback(host):
        raise InvalidInputError(
            f"{host} can be reached by other machines, and the sandbox has no protection against them",
            hint="Listen on 127.0.0.1, or add --allow-remote if that is what you want.",
        )
    sandbox = open_sandbox(state and state.expanduser(), instance, users)
    from domokit.sandbox.serve import run

    is_served = False

    def tell(sandbox: "Sandbox") -> None:
        nonlocal is_served
        is_served = True
        (_print_json if as_json else _print_table)(sandbox)

    try:
        run(sandbox.serve(host, port), on_ready=tell)
    except OSError as error:
        if is_served:  # what failed is to tell where
            raise
        where = str(error.filename) if error.filename else f"{host}:{port}"
        raise InvalidInputError(
            f"the sandbox cannot be served: {where}: {error.strerror or error}",
            hint="Choose another --port (0 takes a free one), --host or --state.",
        ) from None


def _print_json(sandbox: "Sandbox") -> None:
    print(json.dumps(sandbox.credentials()), flush=True)


def _print_table(sandbox: "Sandbox") -> None:
    credentials: Mapping[str, str] = sandbox.credentials()
    print(f"A Domo with {len(sandbox.state.users)} made-up people is served at {sandbox.base_url}. Ctrl-C ends it.\n")
    width = max(map(len, credentials))
    for name, value in credentials.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")
    for number, (title, names) in enumerate(_EXPORTS):
        print(f"\n# {title}")
        for name in names:
            # Only the first way is meant to be pasted as it is: with all of them set, the access token would win.
            print(f"{'# ' if number else ''}export DOMO_{name.upper()}={shlex.quote(credentials[name])}")
    print(flush=True)
