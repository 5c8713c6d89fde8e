"""Which Domo a command talks to, and as whom."""

import os
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from getpass import getpass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio

from domokit._runtime import state_directory
from domokit.auth import Auth, ClientOptions, Instance, SessionAuth, auth_from_env
from domokit.cli.options import Common
from domokit.cli.output import Output, Progress
from domokit.cli.report import note
from domokit.errors import InvalidInputError, MissingCredentialError
from domokit.transport import dry_run

if TYPE_CHECKING:
    from domokit.sandbox import Sandbox

T = TypeVar("T")

_NEEDS_EXTRA = "pip install 'domokit[cli]'"


class Domo:
    """What a command works with: its options, who asks, and where its result goes.

    sandbox:  the embedded sandbox, with --sandbox; else None.
    """

    def __init__(self, options: Common) -> None:
        self.options = options
        self.out: Output = Output(as_json=options.json)
        self.sandbox: Sandbox | None = None
        self._progress: Progress | None = None
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        if self.options.sandbox:
            self.sandbox = self._exit.enter_context(embedded_sandbox(self.options.instance, fresh=self.options.fresh))
        elif self.options.fresh:
            raise InvalidInputError("--fresh begins with a new sandbox, so it needs --sandbox")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def is_dry_run(self) -> bool:
        return self.options.dry_run

    @cached_property
    def auth(self) -> Auth:
        """Who asks: the embedded sandbox's administrator, or whom the environment names."""
        if self.sandbox is not None:
            return _auth_of_sandbox(self.sandbox)
        return _auth_of_environment(self.options.instance)

    def run(self, call: Callable[[Auth], Awaitable[T]], *, doing: str = "") -> T:
        """Await `call(auth)` in an event loop of its own; with --dry-run nothing that changes anything leaves.

        doing:  what to show while it takes long, such as 'listing users'.

        Questions to the person at the terminal belong between two runs: inside one, Ctrl-C would not end them.
        """
        auth = self.auth

        async def work() -> T:
            async with auth:
                with dry_run() if self.is_dry_run else nullcontext():
                    return await call(auth)

        with Progress(doing, wanted=not self.options.json) as self._progress:
            return anyio.run(work)

    def step(self, step: str, what: str) -> None:
        """A line about a step of something longer, as it happens."""
        with self._progress.away() if self._progress is not None else nullcontext():
            self.out.say(f"{step:<9} {what}")


def stdin_is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def ask_secret(what: str) -> str:
    """Ask on the terminal, without showing what is typed. Raises: MissingCredentialError, if nothing is."""
    if not stdin_is_terminal():
        raise MissingCredentialError(f"there is no terminal to ask for the {what}")
    if not (answer := getpass(f"{what[:1].upper()}{what[1:]}: ", stream=sys.stderr)):
        raise MissingCredentialError(f"no {what} was given")
    return answer


def _auth_of_environment(instance: str | None) -> Auth:
    given: dict[str, Any] = {}
    if name := instance or os.environ.get("DOMO_INSTANCE"):
        given["domo_instance"] = name
    username = os.environ.get("DOMO_USERNAME")
    is_set = {name: bool(os.environ.get(f"DOMO_{name}")) for name in ("ACCESS_TOKEN", "PASSWORD", "CLIENT_SECRET")}
    try:
        if username and stdin_is_terminal() and not is_set["ACCESS_TOKEN"]:
            if is_set["PASSWORD"]:
                return SessionAuth.from_env(one_time_password=_ask_code, **given)
            if not is_set["CLIENT_SECRET"]:
                if name is None:
                    raise MissingCredentialError("not set in the environment: DOMO_INSTANCE")
                password = ask_secret(f"password of {username} at {Instance.parse(name).name}")
                return SessionAuth.from_env(password=password, one_time_password=_ask_code, **given)
        return auth_from_env(**given)
    except MissingCredentialError as error:
        hint = f"{error.hint.rstrip('.')}. " if error.hint else ""
        raise MissingCredentialError(error.message, hint=f"{hint}To try it without a Domo, add --sandbox.") from None


def _ask_code() -> str:
    return ask_secret("one-time password")


# -- the embedded sandbox


def _auth_of_sandbox(sandbox: "Sandbox") -> Auth:
    def clock() -> datetime:
        return datetime.fromtimestamp(sandbox.clock.now_ms() / 1000, UTC)

    options = ClientOptions(transport=sandbox.app, clock=clock)
    return SessionAuth(sandbox.instance, sandbox.username, sandbox.password, options=options)


def state_file() -> Path:
    """Where the embedded sandbox is kept: $DOMOKIT_SANDBOX_STATE, else in the user's directory for state."""
    if chosen := os.environ.get("DOMOKIT_SANDBOX_STATE"):
        return Path(chosen).expanduser()
    return state_directory() / "sandbox.json"


@contextmanager
def embedded_sandbox(instance: str | None, *, fresh: bool) -> "Generator[Sandbox]":
    """The sandbox of `--sandbox`, for one command at a time. Its state file holds secrets: only its owner reads it."""
    path = state_file()
    with ExitStack() as stack:
        with _told_where(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(_only_one(path.with_name(path.name + ".lock")))
            if fresh:
                path.unlink(missing_ok=True)
            sandbox = open_sandbox(path, instance)
            sandbox.open()
        try:
            yield sandbox
        finally:
            with _told_where(path):
                sandbox.close()


@contextmanager
def _told_where(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"the sandbox cannot be kept in {path}: {error.strerror}",
            hint="Name another file in DOMOKIT_SANDBOX_STATE.",
        ) from None


def open_sandbox(path: Path | None, instance: str | None, users: int = 12) -> "Sandbox":
    """A sandbox, from its state file if there is one. Raises: InvalidInputError."""
    try:
        from domokit.sandbox import Sandbox, StateFileError
    except ModuleNotFoundError as error:
        raise InvalidInputError(f"the sandbox needs {error.name}", hint=_NEEDS_EXTRA) from None
    wanted = None if instance is None else Instance.parse(instance).name
    try:
        sandbox = Sandbox(wanted or "acme", users, path)
    except StateFileError as error:
        raise InvalidInputError(str(error), hint="Or begin with a new one: --sandbox --fresh.") from None
    if wanted not in (None, sandbox.instance):
        raise InvalidInputError(
            f"the sandbox in {path} is the instance {sandbox.instance!r}, not {wanted!r}",
            hint="Leave --instance out, or begin with a new sandbox.",
        )
    return sandbox


@contextmanager
def _only_one(lock: Path) -> Generator[None]:
    """Hold an exclusive lock, which ends with the process whatever happens. Without fcntl (Windows): nothing."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if sys.stderr.isatty():
                note("Waiting for another command with --sandbox to end …")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
