"""`domokit tokens …`"""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domokit.cli.command import command
from domokit.cli.options import STORE, Group, ProviderText, UserText
from domokit.cli.users import as_number, owner_id

if TYPE_CHECKING:
    from domokit.auth import Auth
    from domokit.cli.connect import Domo
    from domokit.cli.files import SecretFile
    from domokit.entities.access_tokens import DomoAccessToken
    from domokit.errors import DomoError

app = typer.Typer(cls=Group, help="Developer access tokens: list, generate, revoke.", no_args_is_help=True)

COLUMNS = ("id", "name", "owner_id", "expires_at", "days_left")
_FOR_EVER = timedelta(days=20 * 365)


def row_of(token: "DomoAccessToken") -> dict[str, Any]:
    """What a token shows of itself; its value is not even there to be masked."""
    shown = {name: value for name, value in token.to_dict().items() if name not in ("token", "superseded")}
    days = None if token.expires_at is None else round(token.remaining / timedelta(days=1), 1)
    return {**shown, "is_expired": token.is_expired, "days_left": days}


@command(app, "list")
def list_tokens(
    domo: "Domo",
    owner: UserText = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those of exactly this name.")] = None,
    expired: Annotated[bool, typer.Option("--expired", help="Only those that have expired.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Living and expired ones.")] = False,
    expiring_within: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Only living ones that expire within so many days.")
    ] = None,
    leavers: Annotated[
        bool, typer.Option("--leavers", help="Only living ones of users who are deleted or inactive.")
    ] = False,
) -> None:
    """List access tokens: the living ones, unless said otherwise. Administrators see everyone's.

    Example: domokit tokens list --expiring-within 14
    """
    from domokit.entities.access_tokens import DomoAccessToken, as_duration
    from domokit.errors import InvalidInputError

    if sum((expired, everything, leavers)) > 1 or (expired and expiring_within is not None):
        raise InvalidInputError("of --expired, --all and --leavers only one makes sense; what expired does not expire")
    horizon = None if expiring_within is None else as_duration(expiring_within)

    async def find(auth: "Auth") -> "list[DomoAccessToken]":
        owned_by = None if owner is None else await owner_id(auth, owner)
        if leavers:
            found = await DomoAccessToken.owned_by_leavers(auth)
        else:
            found = await DomoAccessToken.search(auth, expired=None if everything else expired)
        return [
            token
            for token in found
            if (owned_by is None or token.owner_id == owned_by)
            and (name is None or token.name == name)
            and (horizon is None or timedelta(0) < token.remaining <= horizon)
        ]

    found = sorted(domo.run(find, doing="listing access tokens"), key=lambda token: (token.remaining, token.id))
    domo.out.listing([row_of(token) for token in found], COLUMNS, empty="There is no such access token.")


@command(app, "generate", changes=True)
def generate_token(
    domo: "Domo",
    owner: Annotated[str, typer.Option(metavar="ID|EMAIL", help="The user it will act as.", show_default=False)],
    name: Annotated[str, typer.Option(metavar="TEXT", help="Its name.", show_default=False)],
    days: Annotated[float, typer.Option(metavar="N", help="How long it lives.", show_default=False)],
    account: Annotated[
        str | None,
        typer.Option(metavar="NAME|ID", help="The account that will hold it; created if there is none of the name."),
    ] = None,
    provider: ProviderText = STORE,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file that will hold it: the bare value, readable by you only."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --out: replace the file if it is there.")] = False,
) -> None:
    """Generate an access token. Its value goes into an account or a file, and is never printed.

    Tokens of the same owner and name stay as they are; domokit rotate is what replaces them.

    Example: domokit tokens generate --owner ann@example.com --name ci --days 30 --out ci.token
    """
    from domokit.errors import InvalidInputError

    if (account is None) == (out is None):
        raise InvalidInputError("say where the value goes: into --account, or into --out (one of them)")
    if out is None:
        assert account is not None
        facts = _generate_into_account(domo, owner, name, days, account, provider)
    else:
        from domokit.cli.files import SecretFile

        facts = _generate_into_file(domo, owner, name, days, SecretFile(out.expanduser(), overwrite=force))
    where = f"account {facts['account_name'] or facts['account_id']}" if out is None else str(facts["file"])
    domo.out.say(
        f"A new access token would be generated and put into {where}."
        if domo.is_dry_run
        else f"A new access token is in {where}."
    )
    domo.out.record(facts)


def _facts(domo: "Domo", **known: Any) -> dict[str, Any]:
    names = ("id", "name", "owner_id", "expires_at", "fingerprint", "account_id", "account_name", "file")
    return {**dict.fromkeys(names), **known, "dry_run": domo.is_dry_run}


def _generate_into_account(
    domo: "Domo", owner: str, name: str, days: float, account: str, provider: str
) -> dict[str, Any]:
    from domokit.errors import ConflictError
    from domokit.workflows.rotation import RotationResult, rotate_access_token

    async def generate(auth: "Auth") -> RotationResult:
        number = as_number(account)
        # A rotation that keeps all older tokens: it proves, stores and verifies, and cleans up where that fails.
        return await rotate_access_token(
            auth,
            owner_id=await owner_id(auth, owner),
            name=name,
            duration=days,
            account=account if number is None else number,
            provider=provider,
            keep_old_for=_FOR_EVER,
        )

    result = domo.run(generate, doing="generating the access token")
    if result.superseded:
        raise ConflictError(f"no new token: {result.reason}", hint="Run it again if you need one of your own.")
    new = result.generated
    return _facts(
        domo,
        id=new and new.id,
        name=result.name,
        owner_id=result.owner_id,
        expires_at=new and new.expires_at,
        fingerprint=new and new.fingerprint,
        account_id=result.account_id,
        account_name=result.account_name,
    )


def _generate_into_file(domo: "Domo", owner: str, name: str, days: float, file: "SecretFile") -> dict[str, Any]:
    from domokit.entities.access_tokens import DomoAccessToken, as_duration
    from domokit.errors import DomoError

    duration = as_duration(days)

    async def generate(auth: "Auth") -> dict[str, Any]:
        owned_by = await owner_id(auth, owner)
        if domo.is_dry_run:
            file.check()
            return _facts(domo, name=name, owner_id=owned_by, file=str(file.path))
        with file:
            made = await DomoAccessToken.generate(auth, owner_id=owned_by, name=name, duration=duration)
            assert made.token is not None
            try:
                file.write(made.token)
            except DomoError as error:
                await _revoke_unwritten(made, error)
                raise
        return _facts(
            domo,
            id=made.id,
            name=made.name,
            owner_id=made.owner_id,
            expires_at=made.expires_at,
            fingerprint=made.token.fingerprint,
            file=str(file.path),
        )

    return domo.run(generate, doing="generating the access token")


async def _revoke_unwritten(token: "DomoAccessToken", error: "DomoError") -> None:
    """Revoke a token whose value is lost, and let the error say so."""
    from domokit.errors import DomoError

    try:
        await token.revoke(missing_ok=True, even_if_in_use=True)
    except DomoError:
        error.hint = f"Access token {token.id} was generated, nobody has its value, and revoking it failed: revoke it."
    else:
        error.hint = f"Access token {token.id} was generated for it and revoked again."


@command(app, "revoke", changes=True)
def revoke_token(
    domo: "Domo",
    token_id: Annotated[int, typer.Argument(metavar="ID", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    even_if_in_use: Annotated[
        bool,
        typer.Option("--even-if-in-use", help="Also if it is, or may be, the token that signs this very command."),
    ] = False,
) -> None:
    """Revoke an access token: it stops working at once, for good. Shows it first, and asks.

    Example: domokit tokens revoke 200017
    """
    from domokit.cli.connect import stdin_is_terminal
    from domokit.cli.report import note
    from domokit.entities.access_tokens import DomoAccessToken
    from domokit.errors import InvalidInputError

    token = domo.run(lambda auth: DomoAccessToken.get_by_id(auth, token_id), doing="looking for the access token")
    row = row_of(token)
    domo.out.table([row], COLUMNS)
    if domo.is_dry_run:
        domo.out.say(f"Access token {token.id} would be revoked.")
    else:
        if not yes:
            if not stdin_is_terminal():
                raise InvalidInputError(
                    f"access token {token.id} was not revoked: there is no terminal to ask on",
                    hint="Add --yes to revoke it without being asked.",
                )
            if domo.options.json:  # then the table above was not printed
                note(f"Access token {token.id}, {token.name!r} of user {token.owner_id}")
            if not typer.confirm(f"Revoke access token {token.id}?", err=True):
                note("Nothing was revoked.")
                raise typer.Exit(1)

        async def revoke(auth: "Auth") -> None:
            await token.revoke(even_if_in_use=even_if_in_use)

        try:
            domo.run(revoke, doing="revoking the access token")
        except InvalidInputError as error:
            hint = "Sign in as somebody else or with a password, or add --even-if-in-use."
            raise InvalidInputError(error.message, hint=hint) from None
        domo.out.say(f"Access token {token.id} was revoked.")
    if domo.options.json:
        domo.out.document({**row, "revoked": not domo.is_dry_run, "dry_run": domo.is_dry_run})
