"""The sandbox on a real port: uvicorn in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

import anyio.to_thread
import uvicorn

from .company import Company
from .wire_connection import Protocol

S = TypeVar("S", bound=Company)


class _Server(uvicorn.Server):
    """Stops at once when asked, where uvicorn looks up only ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        assert self._stop is not None
        counter = 0
        while not await self.on_tick(counter):
            counter += 10
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1)

    def stop(self) -> None:
        """Ask the server to finish, from any thread."""
        self.should_exit = True
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)


class Served(Generic[S]):
    """A sandbox that is being served; enter it with `with` or `async with` to get the sandbox."""

    def __init__(self, sandbox: S, app: Any, host: str = "127.0.0.1", port: int = 0) -> None:
        self.sandbox: S = sandbox
        self._app = app
        self.host: str = host
        self.port: int = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> S:
        if self.sandbox.served_at is not None:
            raise RuntimeError("this sandbox is already being served")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # With the protocol named, asyncio switches Nagle's algorithm off; else an answer in two parts takes 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            self.sandbox.open()
        except BaseException:
            listener.close()
            raise
        config = uvicorn.Config(
            self._app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=2048,
            timeout_graceful_shutdown=1,
        )
        server = self._server = _Server(config)

        def work() -> None:
            try:
                server.run(sockets=[listener])
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                self._failure = error
            finally:
                server.ready.set()
                listener.close()

        self._thread = threading.Thread(target=work, name="domokit-sandbox", daemon=True)
        self._thread.start()
        server.ready.wait()
        if not server.started:
            self._thread.join()
            self._server = None
            raise RuntimeError(f"the sandbox did not start on {self.host}:{self.port}") from self._failure
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.sandbox.served_at = f"http://{shown}:{listener.getsockname()[1]}"
        return self.sandbox

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.stop()
        thread.join()
        self._server = self._thread = None
        self.sandbox.served_at = None
        self.sandbox.close()

    async def __aenter__(self) -> S:
        return await anyio.to_thread.run_sync(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.__exit__)


def run(served: Served[S], *, on_ready: Callable[[S], object]) -> None:
    """Serve until SIGTERM or SIGINT, then save the state and return.

    on_ready: called once with the sandbox, as soon as connections are accepted.
    Outside the main thread no signal can be caught, so there this never returns by itself.
    """
    stop = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {
        number: signal.signal(number, on_signal) for number in ((signal.SIGTERM, signal.SIGINT) if in_main else ())
    }
    try:
        with served as sandbox:
            on_ready(sandbox)
            while not stop.wait(0.5):
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
