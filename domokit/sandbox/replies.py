"""Answers as they leave: JSON, pages, files, and the common error object."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.responses import Response

_TOE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def toe() -> str:
    """A support trace id as Domo prints them: 10-5-5 upper-case letters and digits."""
    text = "".join(random.choices(_TOE, k=20))
    return f"{text[:10]}-{text[10:15]}-{text[15:]}"


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, compact, UTF-8."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Response(text.encode(), status, headers, "application/json")


def empty(status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(b"", status, headers)


class FileReply(Response):
    """An answer that is sent from a file, piece by piece, and without its length; `App` removes the file afterwards."""

    def __init__(self, path: Path, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(b"", 200, headers, media_type)
        self.path: Path = path
        del self.headers["content-length"]


def html_page(title: str, content: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{content}</body></html>"
    return Response(page, status, headers, "text/html")


def error_reply(
    status: int,
    message: str | None = None,
    *,
    path: str | None = None,
    user_id: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The common error object: the product family names the path and the caller in it, the platform does not."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    body: dict[str, Any] = {"status": status, "statusReason": phrase}
    if path is not None:
        body["path"] = path
    body["message"] = phrase if message is None else message
    body["toe"] = toe()
    if path is not None and user_id is not None:
        body["userId"] = str(user_id)
    return reply(body, status, headers)
