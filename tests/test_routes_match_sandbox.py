"""The SDK's routes and the sandbox's paths are written independently of each other; here they are compared."""

import re
from importlib import import_module
from pkgutil import walk_packages

import pytest

import domokit.routes
from domokit.sandbox import Sandbox
from domokit.sandbox.app import ROUTER
from domokit.transport import Route

NOT_SERVED: dict[str, str] = {}  # "METHOD path": why the sandbox does without it

# What auth objects ask for themselves, without a Route.
SIGN_IN = (
    ("product", "POST", "/api/content/v2/authentication"),
    ("product", "GET", "/api/content/v2/users/me"),
    ("product", "PUT", "/api/identity/v1/authentication/elevations/7"),
    ("platform", "POST", "/oauth/token"),
)


def every_route():
    for module in walk_packages(domokit.routes.__path__, "domokit.routes."):
        for name, value in vars(import_module(module.name)).items():
            if isinstance(value, Route):
                yield pytest.param(value, id=f"{module.name.removeprefix('domokit.routes.')}.{name}")


ROUTES = list(every_route())


def shape(path):
    """A path with its parts unnamed: the two sides may call them differently."""
    return re.sub(r"{\w+}", "{}", path)


def test_the_routes_are_found():
    families = {param.values[0].family for param in ROUTES}
    assert families == {"product", "platform"}
    assert len(ROUTES) > 50
    assert len({(param.values[0].method, param.values[0].path) for param in ROUTES}) > 50


@pytest.mark.parametrize("route", ROUTES)
def test_the_sandbox_serves_it(route):
    if str(route) in NOT_SERVED:
        return
    path = re.sub(r"{\w+}", "7", route.path)
    served, _ = ROUTER.find([route.family], route.method, path)  # raises for an unknown path or method
    assert served.family == route.family
    assert served.method == route.method


@pytest.mark.parametrize("route", ROUTES)
def test_it_is_the_same_endpoint_not_one_that_happens_to_fit(route):
    """`/users/me` must not be taken for `/users/{user_id}`, nor the other way round."""
    if str(route) in NOT_SERVED:
        return
    known = {(family, method, shape(path)) for family, method, path in Sandbox().routes}
    filled = {"PAGE": "PAGE", "USER": "{}"}
    candidates = {shape(route.path), *(shape(route.path).replace(word, part) for word, part in filled.items())}
    assert any((route.family, route.method, one) in known for one in candidates), f"{route} is served as another"


@pytest.mark.parametrize(("family", "method", "path"), SIGN_IN)
def test_signing_in_is_served(family, method, path):
    served, _ = ROUTER.find([family], method, path)
    assert (served.family, served.method) == (family, method)


@pytest.mark.parametrize("route", ROUTES)
def test_both_sides_agree_on_what_changes_something(route):
    """A dry run relies on the SDK's word, a state file on the sandbox's."""
    if str(route) in NOT_SERVED:
        return
    served, _ = ROUTER.find([route.family], route.method, re.sub(r"{\w+}", "7", route.path))
    if served.changes:
        assert route.changes, f"{route} changes something in the sandbox, and would leave in a dry run"


def test_every_exception_is_needed():
    assert set(NOT_SERVED) <= {str(param.values[0]) for param in ROUTES}
