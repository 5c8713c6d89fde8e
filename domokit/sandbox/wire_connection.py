"""uvicorn's HTTP/1.1, but the application can reach its connection: to break it when it is told to misbehave."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

_LINGER_NONE = struct.pack("ii", 1, 0)  # closing then sends RST instead of FIN

_NARROW = 64 * 1024  # bytes


class Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """One connection, given to the application as the ASGI extension `domokit.sandbox`."""

    transport: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False  # the sandbox logs for itself, without query strings
        app: Any = self.app

        async def with_connection(scope: dict[str, Any], receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})["domokit.sandbox"] = self
            await app(scope, receive, send)

        self.app = with_connection

    def abort(self) -> None:
        """Reset the connection: the other side sees RST, not an orderly end."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):  # the other side was quicker
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self.transport.abort()

    def narrow(self) -> None:
        """Let little of what is sent to us wait in the operating system: a sender then notices that nobody reads."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)

    def close(self) -> None:
        """Send what is written, then end the connection."""
        self.transport.close()
