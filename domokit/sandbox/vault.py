"""Accounts, as both API families see them: look-up, access, creation, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import Account, Dataset, Stream, User
from .providers import PROVIDERS, Provider
from .state import LEVELS, State
from .wire import Call, Refusal, as_object, objects_at

MASK = "********"
EXTERNAL = "allowExternalUse"


def visible(state: State, user: User) -> list[Account]:
    """The accounts that the user owns, was given access to, or administers."""
    accounts = list(state.accounts.values())
    return [account for account in accounts if state.level_on(account, user) != "NONE"]


def find(call: Call, account_id: int | str, level: str = "CAN_VIEW", *, hidden: int = 403) -> Account:
    """An account on which the caller has at least `level`.

    404 when there is none, `hidden` when it is not shared with the caller, 403 when the level is too low.
    """
    try:
        account = call.state.accounts.get(int(account_id))
    except ValueError:
        account = None
    if account is None:
        raise Refusal(404, f"Account {account_id} was not found")
    held = call.state.level_on(account, call.user)
    if held == "NONE":
        raise Refusal(hidden, f"Account {account_id} is not shared with you")
    if LEVELS.index(held) < LEVELS.index(level):
        raise Refusal(403, f"Your access to account {account_id} is {held}; this needs {level}")
    return account


def provider_of(key: Any) -> Provider:
    """A known connector; 400 otherwise."""
    provider = PROVIDERS.get(key) if isinstance(key, str) else None
    if provider is None:
        raise Refusal(400, f"Unknown data provider '{key}'")
    return provider


def checked(provider: Provider, given: Any, *, whole: bool = False) -> tuple[dict[str, str | None], bool | None]:
    """(configuration, allowExternalUse if given) from a body; 400 for what the provider does not take.

    whole: whether each field that is not optional must be there.
    """
    pairs = as_object(given)
    if pairs is None:
        raise Refusal(400, "configurations must be an object")
    configuration: dict[str, str | None] = {}
    external: bool | None = None
    for key, value in pairs.items():
        if key == EXTERNAL:
            external = _boolean(value)
            continue
        field = provider.fields.get(key)
        if field is None:
            raise Refusal(
                400,
                f"Data provider '{provider.key}' does not have '{key}' authentication scheme configuration",
            )
        if not isinstance(value, str) and not (value is None and field.optional):
            raise Refusal(400, f"The value of '{key}' must be a string")
        configuration[key] = value
    if whole:
        missing = [f.name for f in provider.fields.values() if not f.optional and f.name not in configuration]
        if missing:
            raise Refusal(400, f"Missing configuration: {', '.join(missing)}")
    return configuration, external


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise Refusal(400, f"{EXTERNAL} must be true or false")


def create(
    call: Call,
    *,
    name: str,
    display_name: str,
    provider: Provider,
    configuration: dict[str, str | None],
    external: bool = False,
    credentials_type: str = "fields",
) -> Account:
    """A new account owned by the caller. A label already in use gets ' (2)', ' (3)', … appended."""
    if provider.is_oauth:
        raise Refusal(400, f"Accounts of '{provider.key}' are made by signing in at the provider")
    taken = {account.display_name for account in call.state.accounts.values()}
    label, n = display_name, 1
    while label in taken:
        n += 1
        label = f"{display_name} ({n})"
    now = call.now() // 1000 * 1000  # whole seconds, as Domo keeps them
    account = Account(
        id=call.state.next_id("accounts"),
        name=name if label == display_name else label,
        display_name=label,
        provider=provider.key,
        credentials_type=credentials_type,
        user_id=call.user.id,
        created=now,
        created_by=call.user.id,
        modified=now,
        modified_by=call.user.id,
        configuration=configuration,
        allow_external_use=external,
        shares={f"USER:{call.user.id}": "OWNER"},
    )
    call.state.accounts[account.id] = account
    return account


def touch(call: Call, account: Account) -> None:
    account.modified = call.now() // 1000 * 1000
    account.modified_by = call.user.id


def remove(call: Call, account: Account) -> None:
    call.state.accounts.pop(account.id, None)
    for dataset in call.state.datasets.values():
        if dataset.account_id == account.id:
            dataset.account_id = None
    for stream in call.state.streams.values():
        if account.id in accounts_of(stream.details):
            sign_in_with(stream, *(each for each in accounts_of(stream.details) if each != account.id))


def accounts_of(details: Mapping[str, Any]) -> list[int]:
    """The ids of the accounts that a stream names, the first of which its dataset shows; 400 for what is no id."""
    account = as_object(details.get("account")) or {}
    ids = [account.get("id"), *(each.get("accountId") for each in objects_at(details, "accounts"))]
    try:
        return list(dict.fromkeys(int(each) for each in ids if each is not None))
    except (TypeError, ValueError):
        raise Refusal(400, "The id of an account must be a number") from None


def sign_in_with(stream: Stream, *account_ids: int) -> None:
    """Have it name these accounts and no others."""
    for key in ("account", "accounts"):
        stream.details.pop(key, None)
    if account_ids:
        stream.details["account"] = {"id": account_ids[0]}
        stream.details["accounts"] = [{"accountId": each} for each in account_ids]


def powered(state: State, account: Account) -> list[Dataset]:
    """The datasets that sign in with an account."""
    fed = {each.dataset_id for each in list(state.streams.values()) if account.id in accounts_of(each.details)}
    return [
        dataset
        for dataset in list(state.datasets.values())
        if not dataset.deleted and (dataset.account_id == account.id or dataset.id in fed)
    ]


def grantee(call: Call, kind: Any, given_id: Any) -> str:
    """The key under which a share is kept, for a user or group that exists; number or numeric text."""
    try:
        number = int(given_id)
    except (TypeError, ValueError):
        raise Refusal(400, "id must be a number") from None
    if kind == "USER":
        user = call.state.users.get(number)
        known = user is not None and not user.deleted
    elif kind == "GROUP":
        group = call.state.groups.get(number)
        known = group is not None and group.active
    else:
        raise Refusal(400, "type must be USER or GROUP")
    if not known:
        raise Refusal(404, f"{kind} {number} was not found")
    return f"{kind}:{number}"


def share(account: Account, key: str, level: str) -> None:
    """Set one grantee's access level. 500 when he has it already, which is how Domo says so."""
    held = account.shares.get(key, "NONE")
    if level == "NONE":
        others = [each for each, its in account.shares.items() if its == "OWNER" and each != key]
        if held == "OWNER" and not others:
            raise Refusal(400, "An account needs an owner")
        account.shares.pop(key, None)
        users = [each for each in others if each.startswith("USER:")]
        if key == f"USER:{account.user_id}" and users:
            account.user_id = int(users[0].removeprefix("USER:"))
        return
    if held == level:
        raise Refusal(500, "Internal Server Error")
    if held == "OWNER" and not [e for e, its in account.shares.items() if its == "OWNER" and e != key]:
        raise Refusal(400, "An account needs an owner")
    account.shares[key] = level
