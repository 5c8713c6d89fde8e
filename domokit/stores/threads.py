"""Worker threads of the stores' own, for calls that block."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_AT_ONCE = 16  # for each event loop
_limiter: RunVar[CapacityLimiter] = RunVar("domokit.stores.threads")


async def in_thread(call: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Call what blocks in a worker thread.

    They are counted apart from everybody else's: an application whose own worker threads all wait for a token would
    leave none to read it with. Secrets among the arguments must be `Secret`, for tracebacks show arguments.
    """
    if (limiter := _limiter.get(None)) is None:
        limiter = CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
    begun = False

    def work() -> T:
        nonlocal begun
        begun = True
        return call(*arguments)

    try:
        return await to_thread.run_sync(work, limiter=limiter)
    except RuntimeError:
        if begun:
            raise
    # The program is ending, and Python 3.12 and later give no more threads. What still runs is an errand, alone in its
    # event loop: nobody is kept waiting there.
    return call(*arguments)
