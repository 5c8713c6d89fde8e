"""`domokit rotate`"""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domokit.cli.accounts import find_account
from domokit.cli.command import command
from domokit.cli.options import STORE, ProviderText, UserText
from domokit.cli.tokens import COLUMNS, row_of
from domokit.cli.users import as_number, owner_id

if TYPE_CHECKING:
    from domokit.auth import Auth
    from domokit.cli.connect import Domo
    from domokit.sandbox import Sandbox
    from domokit.workflows.rotation import RotationResult, TokenNote

_STORY_LIFETIME = 3 * 86_400.0  # seconds
_NAME, _ACCOUNT = "nightly sync", "nightly sync token"  # of the story that --sandbox tells


def add_to(root: typer.Typer) -> None:
    command(root, "rotate", changes=True)(rotate)


def rotate(
    domo: "Domo",
    owner: UserText = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="The name of the token.")] = None,
    days: Annotated[float, typer.Option(metavar="N", help="How long the new token lives.")] = 30,
    account: Annotated[
        str | None,
        typer.Option(metavar="NAME|ID", help="The account that holds it; created if there is none of the name."),
    ] = None,
    provider: ProviderText = STORE,
    min_remaining: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="Change nothing if the token in the account lives at least so long."),
    ] = None,
    keep_old_for: Annotated[
        float | None, typer.Option(metavar="DAYS", help="How long replaced tokens stay valid.")
    ] = None,
    allow_external_use: Annotated[
        bool,
        typer.Option("--allow-external-use", help="Let those with access to the account read the token in clear."),
    ] = False,
) -> None:
    """Replace an access token by a new one and keep that in an account, without a moment in which none works.

    A new one is generated, proven to sign in, written to the account and verified to be there; only then are the
    older ones of the same owner and name revoked. Interrupted at any point, the next run puts it right. With
    --min-remaining it may run every hour.

    Example: domokit rotate --owner ann@example.com --name nightly --days 30 --account 'nightly token'
    --min-remaining 7

    Try it without a Domo: domokit rotate --sandbox
    """
    from domokit.errors import InvalidInputError

    if domo.sandbox is not None:
        if owner is None and name is None:
            _begin_the_story(domo, domo.sandbox)
        owner, name, account = owner or str(domo.sandbox.admin.id), name or _NAME, account or _ACCOUNT
    given = {"--owner": owner, "--name": name, "--account": account}
    if missing := [option for option, value in given.items() if value is None]:
        raise InvalidInputError(
            f"a rotation needs {', '.join(missing)}", hint="Or see how it goes: domokit rotate --sandbox"
        )
    assert owner is not None
    assert name is not None
    assert account is not None
    who, what, where = owner, name, account

    async def work(auth: "Auth") -> "RotationResult":
        from domokit.workflows.rotation import rotate_access_token

        number = as_number(where)
        return await rotate_access_token(
            auth,
            owner_id=await owner_id(auth, who),
            name=what,
            duration=days,
            account=where if number is None else number,
            provider=provider,
            min_remaining=min_remaining,
            keep_old_for=keep_old_for,
            allow_external_use=True if allow_external_use else None,
            on_step=domo.step,
        )

    result = domo.run(work, doing="rotating the access token")
    facts = result.to_dict()
    if domo.sandbox is not None:
        facts["state"] = _state(domo, domo.sandbox, result)
    if domo.options.json:
        domo.out.document(facts)
    else:
        _show(domo, result, facts.get("state"))


def _begin_the_story(domo: "Domo", sandbox: "Sandbox") -> None:
    """Whoever tries it with nothing configured has a token that runs out soon, as somebody once issued it by hand."""
    state = sandbox.state
    told_before = any(token.name == _NAME for token in state.access_tokens.values()) or any(
        account.display_name == _ACCOUNT for account in state.accounts.values()
    )
    if not told_before:
        sandbox.add_access_token(sandbox.admin.id, _NAME, lifetime=_STORY_LIFETIME)
        domo.out.say(f"Once upon a time somebody issued the token {_NAME!r} by hand; it has 3 days left.")


def _state(domo: "Domo", sandbox: "Sandbox", result: "RotationResult") -> dict[str, Any]:
    """What a sandbox holds after the rotation; only there can be seen whether a token that is masked works."""
    from domokit.entities.access_tokens import DomoAccessToken

    async def look(auth: "Auth") -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        living = await DomoAccessToken.search(auth, owner_id=result.owner_id, name=result.name)
        tokens = [row_of(token) for token in living]
        if result.account_id is None:
            return tokens, None
        return tokens, (await find_account(auth, str(result.account_id))).to_dict()

    tokens, account = domo.run(look)
    signs_in = account is not None and _stored_token_works(sandbox, account["id"], result.owner_id)
    return {"tokens": tokens, "account": account, "signs_in": signs_in}


def _stored_token_works(sandbox: "Sandbox", account_id: int, owner: int) -> bool:
    config = sandbox.account_config(account_id)
    stored = config.get("domoAccessToken")
    if stored is None:
        try:
            stored = json.loads(config.get("credentials") or "")["access_token"]
        except (ValueError, LookupError, TypeError):
            return False
    return isinstance(stored, str) and sandbox.signs_in(stored) == owner


def _show(domo: "Domo", result: "RotationResult", state: dict[str, Any] | None) -> None:
    out = domo.out
    head = "Dry run, nothing was changed" if result.dry_run else "Done" if result.changed else "Nothing to do"
    out.say(f"{head}: {result.reason}.")
    kept_in = " ".join(str(part) for part in (result.account_id, result.account_name) if part is not None)
    out.record({
        "new_token": result.generated and _described(result.generated),
        "account": kept_in,
        "to_be_revoked" if result.dry_run else "revoked": [note.id for note in result.revoked],
        "still_valid": [_described(note) for note in result.kept],
    })  # fmt: skip
    if state is not None:
        out.say("")
        out.table(state["tokens"], COLUMNS, title=f"Living tokens called {result.name!r}")
        if (account := state["account"]) is not None:
            out.say("")
            out.table([account], ("id", "name", "provider_type", "owner_id", "modified_at"), title="The account")
            works = "signs in" if state["signs_in"] else "does not sign in"
            out.say("")
            out.say(f"The token in the account {works} as user {result.owner_id}.")


def _described(note: "TokenNote") -> str:
    fingerprint = f", fingerprint {note.fingerprint}" if note.fingerprint else ""
    until = f", valid until {note.expires_at:%Y-%m-%d %H:%M} UTC" if note.expires_at else ""
    return f"{note.id}{fingerprint}{until}"
