"""Runs rotations in processes of their own, so that tests can kill them.

It imports everything once and then forks a child for each line on its standard input, a JSON object with `count` and
the arguments of `rotate_access_token`. It answers the children's process ids at once, and one line for each that ends:
its exit status and what it reported.
"""

import json
import os
import sys

import anyio
import anyio._backends._asyncio  # children find everything loaded

from domokit import DomoAccessToken, DomoAccount, DomoUser, RetryPolicy, errors, rotate_access_token
from domokit.auth import ClientOptions, SessionAuth


async def rotate(arguments):
    options = ClientOptions(retry=RetryPolicy(attempts=3, base=0.01, cap=0.02))
    async with SessionAuth.from_env(options=options) as auth:
        return await rotate_access_token(auth, **arguments)


LOADED = (DomoAccessToken, DomoAccount, DomoUser)


def child(arguments):
    try:
        result = anyio.run(rotate, arguments)
        return 0, result.to_dict()
    except errors.RotationError as error:
        return 1, {"step": error.step, "left_alive": error.left_alive, "message": str(error)}
    except errors.DomoError as error:
        return 1, {"step": "", "left_alive": [], "message": str(error)}


def say(**what):
    sys.stdout.write(json.dumps(what, default=str) + "\n")
    sys.stdout.flush()


def main():
    for line in sys.stdin:
        order = json.loads(line)
        reports = {}
        for _ in range(order["count"]):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                status, report = child(order["arguments"])
                os.write(writer, json.dumps(report, default=str).encode())
                os._exit(status)
            os.close(writer)
            reports[pid] = reader
        say(pids=list(reports))
        for _ in range(order["count"]):
            pid, status = os.wait()
            with os.fdopen(reports[pid], "rb") as report:
                text = report.read()
            say(pid=pid, status=status, report=json.loads(text) if text else None)


if __name__ == "__main__":
    main()
