"""Uses stores in processes of their own, so that tests can have many of them, and kill them.

It imports everything once and forks a child for each line on its standard input: a JSON object with `work` (a name in
WORK), `store` (a keyword of STORES and its argument), `output` (a file that gets what the child says) and arguments.
It answers the child's process id.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback

import anyio
import anyio._backends._asyncio  # children find everything loaded

from domokit import FileStore, KeyringStore, RedisStore, Secret, errors
from tests.stores.made_up import MadeUpKeyring

STORES = {
    "file": FileStore,
    "keyring": lambda folder: KeyringStore(backend=MadeUpKeyring(f"{folder}/keyring"), locks=f"{folder}/locks"),
    "redis": RedisStore,
}


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def count(store, times):
    """Add one to a number, many times, under the lock."""
    for _ in range(times):
        async with store.lock("number"):
            found = await store.load("number")
            number = int(found.text.reveal()) if found else 0
            await store.save("number", Secret(str(number + 1)), replacing=found.version if found else None)


async def write(store, key="number", size=3000):
    """Write greater and greater numbers for ever, and tell each that is stored."""
    number, version = 0, None
    if found := await store.load(key):
        number, version = int(found.text.reveal().split()[0]), found.version
    say("starts")
    while True:
        number += 1
        version = await store.save(key, Secret(f"{number} {'x' * size}"), replacing=version)
        say(number)


async def hold(store, key="k", fork=False, reserve=False):
    """Take the lock and keep it; with `fork`, in the presence of a child."""
    async with store.lock(key) as held:
        if reserve:
            await held.reserve()
        if fork:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            say("child", child)
        say("held")
        await anyio.sleep(60)


async def wait_for_lock(store, key="k"):
    say("waits")
    async with store.lock(key, timeout=30):
        say("held")


async def small_files(store, size, reserve):
    """Write where no file may be longer than `size` bytes: what a disk quota is like."""
    old = await store.load("k")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    async with store.lock("k", timeout=5) as held:
        try:
            if reserve:
                await held.reserve()
            await store.save("k", Secret("y" * 3 * size), replacing=old.version)
        except errors.StoreUnavailableError as error:
            say("refused", error.message)
    say("still", (await store.load("k")).text == old.text)


async def as_nobody(store, key="k"):
    """Try everything as a user without rights."""
    os.setgid(65534)
    os.setuid(65534)
    for name, call in {
        "load": lambda: store.load(key),
        "keys": store.keys,
        "save": lambda: store.save(key, Secret("x"), replacing=None),
        "check": store.check,
    }.items():
        try:
            await call()
        except errors.StoreError as error:
            say(name, type(error).__name__)
        else:
            say(name, "worked")


WORK = {one.__name__: one for one in (count, write, hold, wait_for_lock, small_files, as_nobody)}


def child(order):
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        kind, argument = order["store"]
        store = STORES[kind](argument)
        anyio.run(lambda: WORK[order["work"]](store, **order["arguments"]))
        say("done")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        say("failed")
    os._exit(0)


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child stays as a zombie
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child(json.loads(line))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
