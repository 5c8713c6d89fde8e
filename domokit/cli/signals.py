"""Runs what goes on until it is told to stop, by a signal."""

import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import typer

from domokit.cli.report import FAILED

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]]) -> T:
    return anyio.run(work)


def run_until_told(work: Callable[[anyio.Event, Callable[[], bool]], Awaitable[T]]) -> T:
    """What `work` gives. It gets an event, set by SIGTERM and SIGINT, and a function: whether SIGHUP has come since it
    was asked last. The second SIGTERM or SIGINT cancels it, and the command fails.
    """
    return anyio.run(_until_told, work)


async def _until_told(work: Callable[[anyio.Event, Callable[[], bool]], Awaitable[T]]) -> T:
    stop, hung_up = anyio.Event(), False

    def has_hung_up() -> bool:
        nonlocal hung_up
        was_so, hung_up = hung_up, False
        return was_so

    async def listen() -> None:
        nonlocal hung_up
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    hung_up = True
                elif stop.is_set():
                    group.cancel_scope.cancel()
                else:
                    stop.set()

    async with anyio.create_task_group() as group:
        if sys.platform != "win32":  # there Ctrl-C breaks it off, and token requests are finished all the same
            group.start_soon(listen)
        result = await work(stop, has_hung_up)
        group.cancel_scope.cancel()
        return result
    raise typer.Exit(FAILED)
