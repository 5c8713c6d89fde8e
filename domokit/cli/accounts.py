"""`domokit accounts …`"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domokit.cli.command import command
from domokit.cli.options import Group
from domokit.cli.users import as_number

if TYPE_CHECKING:
    from domokit.auth import Auth
    from domokit.cli.connect import Domo
    from domokit.entities.account_config import AccountConfig
    from domokit.entities.accounts import DomoAccount

app = typer.Typer(cls=Group, help="Stored credentials: list, get, upsert.", no_args_is_help=True)

_COLUMNS = ("id", "name", "provider_type", "owner_id", "is_valid", "allow_external_use", "modified_at")


async def find_account(auth: "Auth", which: str) -> "DomoAccount":
    """An account by id or by its exact name. Raises: NotFoundError; ConflictError, if several have the name."""
    from domokit.entities.accounts import DomoAccount
    from domokit.errors import ConflictError, NotFoundError

    if (number := as_number(which)) is not None:
        return await DomoAccount.get_by_id(auth, number)
    found = await DomoAccount.search(auth, name=which)
    if not found:
        raise NotFoundError(
            f"there is no account called {which!r}", hint="domokit accounts list shows those you may see."
        )
    if len(found) > 1:
        ids = ", ".join(str(account.id) for account in found)
        raise ConflictError(f"several accounts are called {which!r}: {ids}", hint="Name one by its id.")
    return found[0]


@command(app, "list", client_too=True)
def list_accounts(
    domo: "Domo",
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those with this text in the name.")] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only those of this provider, such as snowflake.")
    ] = None,
) -> None:
    """List the accounts that you may see.

    Example: domokit accounts list --provider abstract-credential-store
    """
    from domokit.entities.accounts import DomoAccount

    found = domo.run(lambda auth: DomoAccount.search(auth, contains=name, provider=provider), doing="listing accounts")
    domo.out.listing(found.to_dicts(), _COLUMNS, empty="There is no such account.")


@command(app, "get", client_too=True)
def get_account(
    domo: "Domo",
    which: Annotated[str, typer.Argument(metavar="ID|NAME", show_default=False)],
    config: Annotated[bool, typer.Option("--config", help="With its configuration; secrets stay masked.")] = False,
) -> None:
    """Show one account. A text of digits is taken for an id.

    Example: domokit accounts get 'nightly sync token' --config
    """

    async def get(auth: "Auth") -> dict[str, Any]:
        account = await find_account(auth, which)
        row = account.to_dict()
        return {**row, "config": dict((await account.get_config()).fields)} if config else row

    domo.out.record(domo.run(get, doing="looking for the account"))


@command(app, "upsert", changes=True, client_too=True)
def upsert_account(
    domo: "Domo",
    name: Annotated[str, typer.Option(metavar="TEXT", help="The name people see.", show_default=False)],
    provider: Annotated[str, typer.Option(metavar="KEY", help="Its provider, such as snowflake.", show_default=False)],
    field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A field that is no secret. Repeatable.")
    ] = None,
    secret_field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SOURCE",
            help="A secret field, from env:VARIABLE, from file:PATH, or from a prompt (NAME=prompt). Repeatable.",
        ),
    ] = None,
    allow_external_use: Annotated[
        bool,
        typer.Option("--allow-external-use", help="Let those with access read its secrets in clear."),
    ] = False,
) -> None:
    """Create the account of this name and provider, or replace its configuration, all of it, if there is one.

    Secrets never stand on the command line, where other users of the machine and the shell's history see them.

    Example: domokit accounts upsert --name etl --provider snowflake --field account=xy123 --field username=svc
    --secret-field password=env:SNOWFLAKE_PASSWORD
    """
    from domokit.entities.accounts import DomoAccount, check_fields

    wanted = _config(provider, field or [], secret_field or [])

    async def upsert(auth: "Auth") -> dict[str, Any]:
        before = await DomoAccount.find(auth, name, provider)
        facts: dict[str, Any] = {
            "action": "update" if before else "create",
            "dry_run": domo.is_dry_run,
            "fields": list(wanted.fields),
        }
        if domo.is_dry_run:
            await check_fields(auth, wanted, complete=before is None)
            return facts | (before.to_dict() if before else {"id": None, "name": name, "provider_type": provider})
        external = True if allow_external_use else None
        account = await DomoAccount.upsert(auth, name=name, config=wanted, allow_external_use=external)
        return facts | account.to_dict()

    facts = domo.run(upsert, doing="writing the account")
    done = {"create": ("would be created", "was created"), "update": ("would be updated", "was updated")}
    domo.out.say(f"Account {facts['name']!r} {done[facts['action']][not domo.is_dry_run]}.")
    domo.out.record(facts)


def _config(provider: str, fields: Sequence[str], secret_fields: Sequence[str]) -> "AccountConfig":
    """The configuration that the options describe. Raises: InvalidInputError, which never quotes a value."""
    from domokit.auth import Secret
    from domokit.entities.account_config import read_config, read_value
    from domokit.errors import InvalidInputError

    given: dict[str, str | Secret] = {}
    for name, value in _pairs("--field", fields):
        if isinstance(read_value(name, "x"), Secret):
            raise InvalidInputError(
                f"{name} looks like a secret, and the command line is no place for one",
                hint=f"Use --secret-field {name}=env:VARIABLE, {name}=file:PATH or {name}=prompt.",
            )
        given[name] = value
    for name, source in _pairs("--secret-field", secret_fields):
        given[name] = Secret(_read_secret(name, source))
    if not given:
        raise InvalidInputError(
            "an account needs a configuration", hint="Give it with --field NAME=VALUE and --secret-field NAME=SOURCE."
        )
    if len(given) < len(fields) + len(secret_fields):
        raise InvalidInputError("a field is given twice")
    return read_config(provider, given)


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    from domokit.errors import InvalidInputError

    pairs: list[tuple[str, str]] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InvalidInputError(f"{option} takes a name, '=' and a value")
        pairs.append((name, value))
    return pairs


def _read_secret(name: str, source: str) -> str:
    from domokit.cli.connect import ask_secret
    from domokit.errors import InvalidInputError, MissingCredentialError

    kind, _, where = source.partition(":")
    if source == "prompt":
        return ask_secret(f"value of {name}")
    environment: Mapping[str, str] = os.environ
    if kind == "env" and where:
        if not (value := environment.get(where)):
            raise MissingCredentialError(f"{name}: {where} is not set in the environment")
        return value
    if kind == "file" and where:
        try:
            text = Path(where).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"{name}: {where} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidInputError(f"{name}: {where} is no text in UTF-8") from None
        if not (value := text.removesuffix("\n").removesuffix("\r")):  # editors end every file with a line end
            raise MissingCredentialError(f"{name}: {where} is empty")
        return value
    # What stands there may be the secret itself, so it is not repeated.
    raise InvalidInputError(
        f"--secret-field says where the secret is, not what it is: that of {name} does not",
        hint=f"Use {name}=env:VARIABLE, {name}=file:PATH or {name}=prompt.",
    )
