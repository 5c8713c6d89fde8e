"""pytest fixtures on the sandbox; installed with domokit, so `domo_sandbox` and `domo_auth` are simply there.

    async def test_my_subclass(domo_sandbox, domo_auth):
        domo_sandbox.add_user("Ann", "ann@example.com")
        assert (await MyUser.get_by_email(domo_auth, "ann@example.com")).name == "Ann"

They need the extra `domokit[sandbox]`, and work with pytest-asyncio, pytest-trio and anyio's own plugin alike.

`TokenStoreConformance` holds the tests that every token store must pass, for a store of your own as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from domokit.auth import AccessTokenAuth, ClientOptions, OAuthClientAuth, SessionAuth
    from domokit.sandbox import Sandbox
    from domokit.stores import TokenStore

__all__ = [
    "TokenStoreConformance",
    "access_token_auth",
    "domo_auth",
    "domo_sandbox",
    "oauth_client_auth",
    "options_for",
    "served_domo_sandbox",
    "session_auth",
]


# pytest loads this module in every run of everyone who has domokit installed, hence imports on use only.


def options_for(sandbox: "Sandbox", **options: Any) -> "ClientOptions":
    """Client options that lead to a sandbox: over its port while it is served, in process otherwise."""
    from domokit.auth import ClientOptions

    if sandbox.base_url.startswith("http://"):
        return ClientOptions(base_url=sandbox.base_url, **options)
    return ClientOptions(transport=sandbox.app, **options)


def session_auth(sandbox: "Sandbox", **options: Any) -> "SessionAuth":
    """A SessionAuth of the sandbox's administrator."""
    from domokit.auth import SessionAuth

    return SessionAuth(sandbox.instance, sandbox.username, sandbox.password, options=options_for(sandbox, **options))


def access_token_auth(sandbox: "Sandbox", **options: Any) -> "AccessTokenAuth":
    """An AccessTokenAuth of the sandbox's administrator."""
    from domokit.auth import AccessTokenAuth

    return AccessTokenAuth(sandbox.instance, sandbox.access_token, options=options_for(sandbox, **options))


def oauth_client_auth(sandbox: "Sandbox", *, scope: Any = None, **options: Any) -> "OAuthClientAuth":
    """An OAuthClientAuth of the sandbox's API client, with all scopes unless some are named."""
    from domokit.auth import OAuthClientAuth

    options_ = options_for(sandbox, **options)
    return OAuthClientAuth(sandbox.client_id, sandbox.client_secret, scope=scope, options=options_)


@pytest.fixture
def domo_sandbox() -> "Sandbox":
    """A fresh sandbox in this process: no port, no thread; it ends with the test."""
    from domokit.sandbox import Sandbox

    return Sandbox()


@pytest.fixture
def served_domo_sandbox() -> "Iterator[Sandbox]":
    """A fresh sandbox on a free port of this machine, for code in other processes or with other HTTP clients."""
    from domokit.sandbox import Sandbox

    with Sandbox().serve() as sandbox:
        yield sandbox


@pytest.fixture
def domo_auth(domo_sandbox: "Sandbox") -> "SessionAuth":
    """An auth object of the administrator of `domo_sandbox`."""
    return session_auth(domo_sandbox)


class TokenStoreConformance(ABC):
    """What every token store must do, as tests. Subclass it for a store of your own, and pytest runs them:

        class TestMyStore(TokenStoreConformance):
            def make_store(self, tmp_path):
                return MyStore(tmp_path / "tokens")

    They need no plugin: each test runs event loops of its own, under asyncio and, where that is installed, under trio.
    What `make_store` needs of fixtures it finds on `self`, where a fixture of the subclass, with autouse=True, puts it.

    patience:  seconds to wait for a lock that ought to be free; less than the lease of a lock that ends by itself.
    """

    __test__: ClassVar[bool] = False
    patience: ClassVar[float] = 5.0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__test__" not in vars(cls):
            cls.__test__ = not getattr(cls.make_store, "__isabstractmethod__", False)

    @abstractmethod
    def make_store(self, tmp_path: "Path") -> "TokenStore":
        """A store whose data are those of `tmp_path`, an empty directory at first.

        If the store reaches further than its process, each call gives another object, and for the same directory one
        on the same data.
        """

    # -- what is read and written

    def test_at_first_there_is_nothing(self, tmp_path: "Path") -> None:
        async def check(store: "TokenStore", other: "TokenStore") -> None:
            assert store.reach in ("process", "machine", "hosts")
            assert await store.load("nobody") is None
            assert await store.keys() == []
            await store.delete("nobody")

        self._run(tmp_path, check)

    def test_a_text_comes_back_as_it_was(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret

        texts = (
            "x",
            '{"access_token": "a\\\\b\\"c", "n": [1, 2.5, null]}',
            "Grüße, 令牌, \U0001f511, \u2028, \u00a0 ",
            " two\n\tlines\r\n",
            "0123456789abcdef" * 512,
            "ü\U0001f511" * 2048,
        )

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            for number, text in enumerate(texts):
                version = await store.save(f"key-{number}", Secret(text), replacing=None)
                for one in (store, other):
                    found = await one.load(f"key-{number}")
                    assert found is not None
                    assert isinstance(found.text, Secret)
                    assert found.text.reveal() == text
                    assert found.version == version
            for number in reversed(range(len(texts))):  # a long one in the place of a short one, and the other way
                found = await other.load(f"key-{number}")
                assert found is not None
                text = texts[-1 - number]
                await other.save(f"key-{number}", Secret(text), replacing=found.version)
                found = await store.load(f"key-{number}")
                assert found is not None
                assert found.text.reveal() == text

        self._run(tmp_path, check)

    def test_each_write_gives_another_version(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            versions: list[str] = []
            for number in range(6):
                one = store if number % 2 else other
                versions.append(await one.save("k", Secret("same"), replacing=versions[-1] if versions else None))
            assert all(isinstance(version, str) for version in versions)
            await store.delete("k")
            versions.append(await store.save("k", Secret("same"), replacing=None))
            assert len(set(versions)) == len(versions)

        self._run(tmp_path, check)

    def test_only_the_present_version_is_replaced(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret
        from domokit.errors import StoreConflictError

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            with pytest.raises(StoreConflictError):
                await store.save("k", Secret("of nothing"), replacing="1")
            assert await store.load("k") is None
            first = await store.save("k", Secret("first"), replacing=None)
            with pytest.raises(StoreConflictError):
                await other.save("k", Secret("again the first"), replacing=None)
            second = await other.save("k", Secret("second"), replacing=first)
            for version in (None, first, second + "0", "", "nonsense"):
                with pytest.raises(StoreConflictError):
                    await store.save("k", Secret("late"), replacing=version)
            found = await store.load("k")
            assert found is not None
            assert (found.text.reveal(), found.version) == ("second", second)
            await other.delete("k")
            with pytest.raises(StoreConflictError):
                await store.save("k", Secret("of what is gone"), replacing=second)
            third = await store.save("k", Secret("anew"), replacing=None)
            with pytest.raises(StoreConflictError):
                await store.save("k", Secret("late"), replacing=first if first != third else second)

        self._run(tmp_path, check)

    def test_of_many_writers_one_wins(self, tmp_path: "Path") -> None:
        from contextlib import suppress

        import anyio

        from domokit.auth import Secret
        from domokit.errors import StoreConflictError

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            version = None
            for _ in range(3):
                won: list[str] = []

                async def write(one: "TokenStore", replacing: "str | None", won: list[str]) -> None:
                    with suppress(StoreConflictError):
                        won.append(await one.save("k", Secret("the same of all"), replacing=replacing))

                async with anyio.create_task_group() as tasks:
                    for number in range(8):
                        tasks.start_soon(write, store if number % 2 else other, version, won)
                assert len(won) == 1
                version = won[0]

        self._run(tmp_path, check)

    def test_deleting(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            await store.save("gone", Secret("g" * 5000), replacing=None)
            await store.save("stays", Secret("s"), replacing=None)
            await other.delete("gone")
            await other.delete("gone")
            assert await store.load("gone") is None
            assert await store.keys() == ["stays"]
            assert await store.load("stays") is not None

        self._run(tmp_path, check)

    def test_keys_are_listed_and_kept_apart(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret

        keys = ["0", "-", "_", "a", "a.b", "a.b.c", "a-b", "ab", "check", "x" * 64]

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            for key in keys:
                await store.save(key, Secret(f"of {key}"), replacing=None)
            assert await store.keys() == sorted(keys)
            assert await other.keys() == sorted(keys)
            for key in keys:
                found = await other.load(key)
                assert found is not None
                assert found.text.reveal() == f"of {key}"

        self._run(tmp_path, check)

    @pytest.mark.parametrize("key", ["", "a/b", "../a", ".a", "..", "a b", "a\n", "ü", "a:b", "a*", "~a"])
    def test_what_is_no_key_is_refused(self, tmp_path: "Path", key: str) -> None:
        from domokit.auth import Secret

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            with pytest.raises(ValueError):  # noqa: PT011 - InvalidInputError is one
                await store.load(key)
            with pytest.raises(ValueError):  # noqa: PT011
                await store.save(key, Secret("x"), replacing=None)
            with pytest.raises(ValueError):  # noqa: PT011
                await store.delete(key)
            with pytest.raises(ValueError):  # noqa: PT011
                async with store.lock(key):
                    pass
            assert await store.keys() == []

        self._run(tmp_path, check)

    # -- the lock

    def test_a_lock_lets_one_task_in(self, tmp_path: "Path") -> None:
        import anyio

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            inside: list[int] = []
            done: list[int] = []

            async def work(number: int) -> None:
                for _ in range(3):
                    async with (store if number % 2 else other).lock("k"):
                        inside.append(number)
                        await anyio.sleep(0.001)
                        assert inside == [number]
                        inside.remove(number)
                        done.append(number)

            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(work, number)
            assert sorted(done) == sorted([*range(5)] * 3)

        self._run(tmp_path, check)

    def test_a_lock_lets_one_thread_in(self, tmp_path: "Path") -> None:
        import threading

        import anyio

        from domokit.auth import Secret

        async def count(store: "TokenStore") -> None:
            for _ in range(4):
                async with store.lock("k"):
                    found = await store.load("k")
                    number = int(found.text.reveal()) if found else 0
                    await anyio.sleep(0.001)
                    await store.save("k", Secret(str(number + 1)), replacing=found.version if found else None)

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            failed: list[BaseException] = []

            def work(one: "TokenStore") -> None:
                try:
                    anyio.run(count, one, backend="asyncio")
                except BaseException as error:  # noqa: BLE001
                    failed.append(error)

            threads = [threading.Thread(target=work, args=(one,)) for one in (store, other, store, other)]
            for thread in threads:
                thread.start()
            await count(store)
            for thread in threads:
                while thread.is_alive():
                    await anyio.sleep(0.01)
            assert failed == []
            found = await other.load("k")
            assert found is not None
            assert found.text.reveal() == "20"

        self._run(tmp_path, check)

    def test_who_waits_too_long_is_told(self, tmp_path: "Path") -> None:
        import time

        from domokit.errors import StoreBusyError

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async with store.lock("k"):
                for timeout in (0, 0.2):
                    started = time.monotonic()
                    with pytest.raises(StoreBusyError):
                        async with other.lock("k", timeout=timeout):
                            pass
                    assert timeout <= time.monotonic() - started < timeout + 5
                with pytest.raises(StoreBusyError):
                    async with store.lock("k", timeout=0):
                        pass
            async with other.lock("k", timeout=self.patience):
                pass

        self._run(tmp_path, check)

    def test_a_lock_ends_with_its_block(self, tmp_path: "Path") -> None:
        import anyio

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async with store.lock("k"):
                pass
            with pytest.raises(KeyError):
                async with other.lock("k", timeout=self.patience):
                    raise KeyError
            with anyio.move_on_after(0.1):
                async with store.lock("k", timeout=self.patience):
                    await anyio.sleep(60)
            async with other.lock("k", timeout=self.patience):
                pass

        self._run(tmp_path, check)

    def test_who_is_cancelled_while_waiting_gets_no_lock(self, tmp_path: "Path") -> None:
        import anyio

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async with store.lock("k"):
                with anyio.move_on_after(0.1) as scope:
                    async with other.lock("k"):
                        raise AssertionError("two have it")
                assert scope.cancelled_caught
            async with other.lock("k", timeout=self.patience):
                pass
            for number in range(20):  # at the instant in which it is got, too
                with anyio.move_on_after(0.0003 * number):
                    async with store.lock("k"):
                        await anyio.sleep(60)
                async with other.lock("k", timeout=self.patience):
                    pass

        self._run(tmp_path, check)

    def test_who_is_cancelled_in_the_way_of_asyncio_gets_no_lock(self, tmp_path: "Path") -> None:
        import asyncio
        from contextlib import suppress

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async def hold() -> None:
                async with store.lock("k"):
                    await asyncio.sleep(60)

            for number in range(30):
                task = asyncio.get_running_loop().create_task(hold())
                await asyncio.sleep(0.0002 * number)
                task.cancel()
                if number % 3 == 2:
                    await asyncio.sleep(0)
                    task.cancel()  # and once more, while it lets go
                with suppress(asyncio.CancelledError):
                    await task
                async with other.lock("k", timeout=self.patience):
                    pass

        self._run(tmp_path, check, backends=("asyncio",))

    def test_keys_are_locked_one_by_one(self, tmp_path: "Path") -> None:
        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async with (
                store.lock("a"),
                other.lock("b", timeout=self.patience),
                store.lock("a.b", timeout=self.patience),
            ):
                pass

        self._run(tmp_path, check)

    def test_a_lock_hinders_neither_reading_nor_writing(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async with store.lock("k"):
                version = await store.save("k", Secret("1"), replacing=None)
                found = await other.load("k")
                assert found is not None
                assert found.version == version
                await other.save("j", Secret("2"), replacing=None)
                assert await other.keys() == ["j", "k"]
                await store.save("k", Secret("3"), replacing=version)

        self._run(tmp_path, check)

    def test_a_lock_can_be_extended_and_room_reserved(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async with store.lock("k") as held:
                assert held.seconds_left > 0
                await held.extend()
                await held.reserve()
                await held.reserve(100)
                left = held.seconds_left
                assert left > 0
                version = await store.save("k", Secret("first " * 1000), replacing=None)
                await store.save("k", Secret("second " * 1000), replacing=version)
                await held.extend()
                assert held.seconds_left >= left - 1
            assert await other.keys() == ["k"]
            async with other.lock("unknown") as held:
                await held.reserve()
            assert await store.keys() == ["k"]

        self._run(tmp_path, check)

    # -- and otherwise

    def test_a_check_leaves_nothing(self, tmp_path: "Path") -> None:
        async def check(store: "TokenStore", other: "TokenStore") -> None:
            await store.check()
            await store.check()
            assert await other.keys() == []

        self._run(tmp_path, check)

    def test_it_works_after_it_was_closed(self, tmp_path: "Path") -> None:
        from domokit.auth import Secret

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            async with store as entered:
                assert entered is store
                await store.save("k", Secret("1"), replacing=None)
            await store.aclose()
            await store.aclose()
            found = await store.load("k")
            assert found is not None
            async with store.lock("k"):
                await store.save("k", Secret("2"), replacing=found.version)

        self._run(tmp_path, check)

    def test_it_works_in_one_event_loop_after_another(self, tmp_path: "Path") -> None:
        import anyio

        from domokit.auth import Secret

        store = self.make_store(tmp_path)

        async def use(number: int) -> None:
            async with store.lock("k"):
                found = await store.load("k")
                assert (int(found.text.reveal()) if found else 0) == number
                await store.save("k", Secret(str(number + 1)), replacing=found.version if found else None)

        backends = _backends() * 2
        for number, backend in enumerate(backends):
            anyio.run(use, number, backend=backend)
        anyio.run(store.aclose, backend=backends[0])

    def test_it_shows_no_text(self, tmp_path: "Path") -> None:
        import traceback

        from domokit.auth import Secret
        from domokit.errors import StoreConflictError

        text = Secret('{"refresh_token": "canary-7d1f0a"}')
        told = Secret("canary-7d1f0a")

        async def check(store: "TokenStore", other: "TokenStore") -> None:
            await store.save("k", text, replacing=None)
            found = await other.load("k")
            shown = [repr(store), str(store), f"{other}", repr(vars(store)), repr(vars(other)), repr(found), str(found)]
            try:
                await store.save("k", text, replacing=None)
            except StoreConflictError as error:
                link: BaseException | None = error
                while link is not None:
                    trace = traceback.TracebackException.from_exception(link, capture_locals=True)
                    shown += [repr(link), repr(vars(link)), *trace.format()]
                    link = link.__cause__ or link.__context__
            assert len(shown) > 8
            assert told.reveal() not in "".join(shown)

        self._run(tmp_path, check)

    def _run(
        self,
        tmp_path: "Path",
        check: "Callable[[TokenStore, TokenStore], Awaitable[None]]",
        backends: tuple[str, ...] = (),
    ) -> None:
        """Run `check` under each event loop, with a store and, where it reaches that far, a second one on its data."""
        import anyio

        async def checked(place: "Path") -> None:
            store = self.make_store(place)
            other = store if store.reach == "process" else self.make_store(place)
            assert (other is store) == (store.reach == "process")
            try:
                with anyio.fail_after(60):
                    await check(store, other)
            finally:
                with anyio.CancelScope(shield=True):
                    await store.aclose()
                    await other.aclose()

        for backend in backends or _backends():
            place = tmp_path / backend
            place.mkdir()
            try:
                anyio.run(checked, place, backend=backend)
            except BaseException as error:
                error.add_note(f"under {backend}")
                raise


def _backends() -> tuple[str, ...]:
    from importlib.util import find_spec

    return ("asyncio", "trio") if find_spec("trio") else ("asyncio",)
