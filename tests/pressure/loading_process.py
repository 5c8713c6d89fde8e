"""Loads rows in a process of its own, so that tests can kill it. The order is a JSON object, its only argument.

family, credentials:  who signs, and where Domo is.
dataset_id:           where the rows go.
action:               replace or append.
options:              of the load.
"""

import json
import sys

import anyio

from domokit import DomoDataset
from tests.pressure.helpers import NEW, QUICK


async def load(order):
    from domokit import ClientOptions, OAuthClientAuth, SessionAuth

    given = order["credentials"]
    options = ClientOptions(base_url=given["base_url"], retry=QUICK)
    if order["family"] == "product":
        auth = SessionAuth(given["instance"], given["username"], given["password"], options=options)
    else:
        auth = OAuthClientAuth(given["client_id"], given["client_secret"], options=options)
    async with auth:
        dataset = await DomoDataset.get_by_id(auth, order["dataset_id"])
        result = await getattr(dataset, order["action"])(NEW, **order["options"])
        print(json.dumps(result.to_dict()))


if __name__ == "__main__":
    anyio.run(load, json.loads(sys.argv[1]))
