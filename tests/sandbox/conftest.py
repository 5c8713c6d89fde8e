from __future__ import annotations

from collections.abc import Iterator

import pytest

from domokit.sandbox import Sandbox


@pytest.fixture
def sb() -> Sandbox:
    return Sandbox()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Sandbox]:
    with Sandbox().serve() as served:
        yield served
