"""`domokit keep`: hold many credentials fresh, and see how it goes."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domokit.cli.command import help_text
from domokit.cli.options import Command, Group

if TYPE_CHECKING:
    from domokit.cli.output import Output
    from domokit.workflows.keeping import CredentialStatus, Finding, KeepStatus

_COLUMNS = ("name", "kind", "state", "last_renewal", "expires_at", "next_at", "renewals", "adopted", "failures")
_TIME = "%Y-%m-%d %H:%M:%S"
_ENVIRONMENT = "Environment: what the file refers to as env:NAME."

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to keep, where, and for whom.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document. Errors are JSON on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Log everything, on stderr; it holds no secrets.")]


def keep(
    config: ConfigFile,
    once: Annotated[
        bool, typer.Option("--once", help="Renew what is due before the next time (check_every), and end: for cron.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Prove that file, references, stores and accounts are good; change nothing.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Hold the credentials of CONFIG.toml fresh until told to stop (SIGTERM, Ctrl-C).

    OAuth tokens of providers are renewed and published into Domo accounts, access tokens of Domo's own are rotated.
    Each has its own schedule; one that fails does not hold up the others. Several keepers may share a store. The file
    is reread when it changes, or on SIGHUP, and what fails is then tried at once.

    How it goes: domokit keep status CONFIG.toml

    Example: domokit keep keep.toml
    """
    if once and check:
        raise typer.BadParameter("--once and --check exclude each other")
    # On use: what they stand on takes a moment to load, and --help need not.
    from domokit.cli.output import Output
    from domokit.cli.report import FAILED, errors_reported

    with errors_reported(as_json=json, verbose=verbose):
        from domokit.cli.signals import run, run_until_told
        from domokit.workflows.keeping import Keeping, read_config

        keeping = Keeping(read_config(config))
        out = Output(as_json=json)
        if check:
            if not _show_findings(out, run(keeping.check)):
                raise typer.Exit(FAILED)
        elif once:
            status = run_until_told(lambda stop, _: keeping.once(stop))
            _show_status(out, status)
            if any(one.state != "fresh" or one.last_error for one in status.credentials):
                raise typer.Exit(FAILED)
        else:
            with _log_on_stderr(wanted=not verbose):
                run_until_told(lambda stop, reload: keeping.run(stop, reload=reload))


def keep_status(config: ConfigFile, json: Json = False, verbose: Verbose = False) -> None:
    """Show what a keeper told last: of each credential the last renewal, the next look, and the last error.

    Exit code 1 if a credential is failing, or the keeper has died; one that was told to end has not.

    Example: domokit keep status keep.toml
    """
    from domokit.cli.output import Output
    from domokit.cli.report import FAILED, errors_reported

    with errors_reported(as_json=json, verbose=verbose):
        from domokit.workflows.keeping import read_status, status_path

        found = read_status(status_path(config))
        _show_status(Output(as_json=json), found)
        if found.has_died or any(one.state == "failing" for one in found.credentials):
            raise typer.Exit(FAILED)


@contextmanager
def _log_on_stderr(*, wanted: bool) -> Generator[None]:
    """A keeper's log is its face: it is shown without being asked for."""
    log = logging.getLogger("domokit")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = log.level
    if wanted:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        if wanted:
            log.removeHandler(handler)
            log.setLevel(before)


def _show_findings(out: "Output", findings: "list[Finding]") -> bool:
    """Show them; say whether all is well."""
    rows = [
        {"what": one.what, "good": one.error is None, "error": str(one.error) if one.error else None}
        for one in findings
    ]
    if out.as_json:
        out.document(rows)
    else:
        out.table(rows, ("what", "good", "error"))
    return all(row["good"] for row in rows)


def _show_status(out: "Output", status: "KeepStatus") -> None:
    if out.as_json:
        out.document(status.to_dict())
        return
    out.say(f"Keeper {status.pid} on {status.host}, {_work_of(status)}")
    if status.config_error:
        out.say(f"The configuration was changed and is not in use: {status.config_error}")
    out.table([_row(one) for one in status.credentials], _COLUMNS)
    for one in status.credentials:
        if one.last_error and one.last_error_at:
            out.say(f"{one.name}: {one.last_error_at:{_TIME}} UTC: {one.last_error}")


def _work_of(status: "KeepStatus") -> str:
    if status.is_running:
        return f"at work, since {status.started_at:{_TIME}} UTC"
    if status.ended_at is not None:
        return f"not at work: it ended at {status.ended_at:{_TIME}} UTC"
    return f"not at work: it died, and was last heard of at {status.written_at:{_TIME}} UTC; so it stood then:"


def _row(status: "CredentialStatus") -> dict[str, Any]:
    """With seconds, for some tokens live for minutes only."""
    row = status.to_dict()
    return row | {name: f"{value:%m-%d %H:%M:%S}" for name, value in row.items() if isinstance(value, datetime)}


class _KeepGroup(Group):
    """`keep CONFIG.toml` and `keep status CONFIG.toml`: what is no command is the file; options may stand before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [arg for arg in args if not arg.startswith("-")]
        command = words[0] if words and words[0] in self.commands else "run"
        if args:
            if command in words:
                args.remove(command)
            args = [command, *args]
        return super().parse_args(ctx, args)


def add_to(root: typer.Typer) -> None:
    group = typer.Typer(cls=_KeepGroup, no_args_is_help=True, help=help_text(keep))
    group.command("run", cls=Command, help=help_text(keep), epilog=_ENVIRONMENT)(keep)
    group.command("status", cls=Command, help=help_text(keep_status), epilog=_ENVIRONMENT)(keep_status)
    root.add_typer(group, name="keep")
