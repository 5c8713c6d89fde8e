"""What the web client loads first. It takes a session; anything else is sent to the sign-in page."""

from __future__ import annotations

from typing import Any

from ..wire import Area, Call

area = Area("product")


def _feature(number: int, name: str) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "label": "",
        "description": "",
        "enabled": True,
        "purchased": False,
        "type": "STANDARD",
        "environment": "",
        "owner": "",
    }


@area.on("GET", "/api/domoweb/bootstrap", accepts=frozenset({"session"}))
async def bootstrap(call: Call) -> Any:
    """`currentUser.USER_GROUP` is the customer id; the feature accounts-v2 announces v2 sharing."""
    user = call.user
    no_children: list[Any] = []
    landing = user.landing_pages.get("DESKTOP", "-100000")
    return {
        "notifierConfig": {"apiKey": "", "isEncrypted": False, "host": "api.pusherapp.com"},
        "currentUser": {
            "USER_ID": user.id,
            "USER_GROUP": call.state.customer_id,
            "USER_FULLNAME": user.display_name,
            "USER_NAME": user.email,
            "DEFAULT_PAGE": landing,
            "USER_ROLE": call.state.role_name(user.role_id),
            "USER_ROLE_ID": user.role_id,
            "USER_LOCALE": str(user.attributes.get("locale") or "en-US"),
            "USER_RIGHTS": 63 if user.role_id == 1 else 0,
            "SSO_USER": False,
        },
        "data": {
            "authorities": list(call.state.grants_of(user)),
            "features": [_feature(4, "search"), _feature(5, "accounts-v2")],
            "pages": [
                {
                    "id": "-100000",
                    "title": "Overview",
                    "locked": False,
                    "virtualPage": True,
                    "hasAccess": True,
                    "hierarchy": 0,
                    "children": no_children,
                }
            ],
            "landingPageId": landing,
            "customerHash": "x",
            "locale": "en-US",
            "environmentId": "prod1",
            "version": "1",
        },
    }
