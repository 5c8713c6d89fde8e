"""A local, faithful Domo over HTTP, to develop and test against.

In process: `async with Sandbox() as sb` and drive `sb.app` with an ASGI transport.
On a real port: `with Sandbox().serve() as sb` and send requests to `sb.base_url`.
"""

from .clock import Clock
from .faults import Fault
from .records import RequestRecord
from .sandbox import Sandbox
from .serve import Served
from .state import State
from .store import StateFileError

__all__ = ["Clock", "Fault", "RequestRecord", "Sandbox", "Served", "State", "StateFileError"]
