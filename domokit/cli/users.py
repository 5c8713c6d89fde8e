"""`domokit users …` and `domokit whoami`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from domokit.cli.command import command
from domokit.cli.options import Group

if TYPE_CHECKING:
    from domokit.auth import Auth
    from domokit.cli.connect import Domo
    from domokit.entities.users import DomoUser

app = typer.Typer(cls=Group, help="People: list, get.", no_args_is_help=True)

_COLUMNS = ("id", "name", "email", "role_id", "title", "department", "is_active")


def as_number(text: str) -> int | None:
    """The number that a text of digits is; None for any other text."""
    return int(text) if text.isdecimal() and text.isascii() else None


async def find_user(auth: "Auth", who: str) -> "DomoUser":
    """A user by id or e-mail address."""
    from domokit.entities.users import DomoUser

    number = as_number(who)
    return await (DomoUser.get_by_email(auth, who) if number is None else DomoUser.get_by_id(auth, number))


async def owner_id(auth: "Auth", who: str) -> int:
    """The id behind an id or an e-mail address; an id is taken as it is."""
    number = as_number(who)
    return (await find_user(auth, who)).id if number is None else number


@command(app, "list", client_too=True)
def list_users(
    domo: "Domo",
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those with this text in name or address.")
    ] = None,
) -> None:
    """List the people of the instance.

    Example: domokit users list --search ann
    """
    from domokit.entities.users import DomoUser

    users = domo.run(
        lambda auth: DomoUser.search(auth, search) if search else DomoUser.get_all(auth), doing="listing users"
    )
    domo.out.listing(users.to_dicts(), _COLUMNS, empty="There is no such user.")


@command(app, "get", client_too=True)
def get_user(domo: "Domo", who: Annotated[str, typer.Argument(metavar="ID|EMAIL", show_default=False)]) -> None:
    """Show one person.

    Example: domokit users get ann@example.com
    """
    user = domo.run(lambda auth: find_user(auth, who), doing="looking for the user")
    domo.out.record(user.to_dict())


def add_whoami_to(root: typer.Typer) -> None:
    @command(root, "whoami", client_too=True)
    def whoami(domo: "Domo") -> None:  # pyright: ignore[reportUnusedFunction]
        """Show whom the credentials in the environment sign in as: a way to check them.

        Example: domokit whoami
        """

        async def ask(auth: "Auth") -> dict[str, Any]:
            me = await auth.who_am_i()
            names = {"id": me.id, "name": me.name, "email": me.email, "role": me.role}
            return {**names, "instance": auth.place, "signed_in_with": type(auth).__name__}

        domo.out.record(domo.run(ask, doing="signing in"))
