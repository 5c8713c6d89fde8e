"""`domokit keep`: hold many credentials fresh, and see how it goes."""

import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer
from typer.core import TyperGroup

from domokit.cli.command import help_text
from domokit.cli.output import Output
from domokit.cli.report import FAILED, errors_reported

if TYPE_CHECKING:
    from domokit.workflows.keeping import Finding, KeepStatus

_COLUMNS = ("name", "kind", "state", "last_renewal", "expires_at", "next_at", "renewals", "adopted", "failures")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to keep; see the README.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document. Errors are JSON on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Log everything, on stderr; it holds no secrets.")]


def keep(
    config: ConfigFile,
    once: Annotated[bool, typer.Option("--once", help="Renew what is due, and end: for cron.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Prove that file, references, stores and accounts are good; change nothing.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Hold the credentials of CONFIG.toml fresh until told to stop (SIGTERM, Ctrl-C).

    OAuth tokens of providers are renewed and published into Domo accounts, access tokens of Domo's own are rotated.
    Each has its own schedule; one that fails does not hold up the others. Several keepers may share a store. The file
    is reread when it changes, or on SIGHUP. How it goes: domokit keep status CONFIG.toml
    """
    if once and check:
        raise typer.BadParameter("--once and --check exclude each other")
    with errors_reported(as_json=json, verbose=verbose):
        from domokit.workflows.keeping import Keeping, read_config

        settings = read_config(config)
        if not (once or check or verbose):
            _log_to_stderr()
        keeping = Keeping(settings)
        out = Output(as_json=json)
        if check:
            _show_findings(out, anyio.run(keeping.check))
        elif once:
            result = anyio.run(keeping.once)
            _show_status(out, result)
            if any(one.last_error for one in result.credentials):
                raise typer.Exit(FAILED)
        else:
            anyio.run(_run_until_told, keeping.run)


def keep_status(config: ConfigFile, json: Json = False, verbose: Verbose = False) -> None:
    """Show what a keeper told last: of each credential the last renewal, the next look, and the last error.

    Exit code 1 if a credential is failing or no keeper is at work.
    """
    with errors_reported(as_json=json, verbose=verbose):
        from domokit.workflows.keeping import read_config, read_status

        settings = read_config(config)
        found = read_status(settings.status)
        _show_status(Output(as_json=json), found)
        if not found.is_running or any(one.state == "failing" for one in found.credentials):
            raise typer.Exit(FAILED)


async def _run_until_told(run: Callable[..., Awaitable[Any]]) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP has the configuration reread."""
    stop, reread = anyio.Event(), False

    def reload() -> bool:
        nonlocal reread
        wanted, reread = reread, False
        return wanted

    async def listen() -> None:
        nonlocal reread
        wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
        with anyio.open_signal_receiver(*wanted) as signals:
            async for number in signals:
                if number in (signal.SIGINT, signal.SIGTERM):
                    if stop.is_set():  # told twice: renewals under way still end by themselves, in their threads
                        group.cancel_scope.cancel()
                    stop.set()
                else:
                    reread = True

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await run(stop, reload=reload)
        group.cancel_scope.cancel()


def _log_to_stderr() -> None:
    """A keeper's log is its face: it is shown without being asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("domokit")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def _show_findings(out: Output, findings: "list[Finding]") -> None:
    rows = [
        {"what": one.what, "good": one.error is None, "error": str(one.error) if one.error else None}
        for one in findings
    ]
    if out.as_json:
        out.document(rows)
    else:
        out.table(rows, ("what", "good", "error"))
    if not all(row["good"] for row in rows):
        raise typer.Exit(FAILED)


def _show_status(out: Output, status: "KeepStatus") -> None:
    if out.as_json:
        out.document(status.to_dict())
        return
    at_work = "at work" if status.is_running else "not at work"
    out.say(f"Keeper {status.pid} on {status.host}, {at_work}, since {status.started_at:%Y-%m-%d %H:%M:%S} UTC")
    if status.config_error:
        out.say(f"The configuration was changed and is not in use: {status.config_error}")
    out.table([one.to_dict() for one in status.credentials], _COLUMNS)
    for one in status.credentials:
        if one.last_error and one.last_error_at:
            out.say(f"{one.name}: {one.last_error_at:%Y-%m-%d %H:%M:%S} UTC: {one.last_error}")


class _KeepGroup(TyperGroup):
    """`keep CONFIG.toml` and `keep status CONFIG.toml`: what is no command is the file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [arg for arg in args if not arg.startswith("-")]
        return super().parse_args(ctx, ["run", *args] if words and words[0] not in self.commands else args)


def add_to(root: typer.Typer) -> None:
    group = typer.Typer(cls=_KeepGroup, no_args_is_help=True, help=help_text(keep))
    group.command("run", help=help_text(keep))(keep)
    group.command("status", help=help_text(keep_status))(keep_status)
    root.add_typer(group, name="keep")
