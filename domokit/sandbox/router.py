"""Finds the route of a path, and the nearest one for a path that does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from .wire import Refusal, Route

FAMILIES = ("product", "platform")


def _bucket(path: str) -> tuple[int, str]:
    """What a path and its template have in common: their number of segments, and the first two."""
    return path.count("/"), "/".join(path.split("/", 3)[:3])


class Router:
    """Routes of both families: literal paths by dict, templates in small buckets of patterns."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = list(routes)
        self._literal: dict[tuple[str, str, str], Route] = {}
        self._templates: dict[tuple[str, str, int, str], list[tuple[re.Pattern[str], Route]]] = {}
        for route in self.routes:
            if "{" not in route.path:
                self._literal[route.method, route.family, route.path] = route
                continue
            pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route.path)))
            key = (route.method, route.family, *_bucket(route.path))
            self._templates.setdefault(key, []).append((pattern, route))

    def find(self, families: Sequence[str], method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
        """The route and its path parameters. Raises Refusal: 404 for a path, 405 for a method."""
        path = raw_path.rstrip("/") or "/"
        if (found := self._look(families, method, path)) is not None:
            return found
        methods = {route.method for route in self.routes}
        if here := [each for each in methods if self._look(families, each, path) is not None]:
            offered = ", ".join(sorted(here))
            raise Refusal(405, f"{method} is not offered on {path}, only {offered}", {"Allow": offered})
        raise Refusal(404, f"No such path. {self._nearest(families, method, path)}")

    def _look(self, families: Sequence[str], method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        for family in families:
            if (route := self._literal.get((method, family, path))) is not None:
                return route, {}
            for pattern, route in self._templates.get((method, family, *_bucket(path)), ()):
                if match := pattern.fullmatch(path):
                    return route, match.groupdict()
        return None

    def _nearest(self, families: Sequence[str], method: str, path: str) -> str:
        known = {f"{route.method} {route.path}" for route in self.routes if route.family in families}
        near = difflib.get_close_matches(f"{method} {path}", sorted(known), n=1, cutoff=0.0)
        return f"The nearest known path is {near[0]}" if near else "Nothing is served here"
