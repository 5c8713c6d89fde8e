"""Keeps tokens in processes of their own, so that tests can kill and stop them; `keeping.py` is the other side.

It imports everything once and then forks a process for each order on its standard input, a JSON object. What the
processes do and see comes out on its standard output, a JSON object a line with the process id in it; tokens appear
as fingerprints. With the argument 'alone' it does the one order of its first line itself, and then ends as any program.

An order:

    client:     token_url, id, secret.
    seed:       refresh_token, access_token and lifetime of what was issued elsewhere, if anything was.
    password:   user and password to sign in with, if any; tried last.
    file, redis, memory:  the store; 'redis' is a URL, 'memory' just true.
    options:    of the store.
    patience:   seconds to wait for the store's lock, where not the store's own.
    backend:    'asyncio' or 'trio'.
    user_id:    whom to become first.
    die:        [which write, where]: kill itself there; see `Watching`. Or ['request', ''] once a request is made,
                before any of it leaves, and ['response', ''] when the head of an answer is there.
    stop:       the same, and it stops itself there, until somebody lets it go on.
    trouble:    what befalls it when a request is made: 'limit' (files cannot grow any more), 'outlived' (the request
                goes on once the main thread has ended), 'fork' (a child is forked that lives on).
    file_size:  how large a file may become.
    log, state: the file to log to, and the user's directory for state.
    steps:      what to do: names of methods of `Process`, or [name, arguments …].
"""

import contextlib
import faulthandler
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta

import anyio

from domokit._secrets import Secret
from domokit.auth import ClientOptions
from domokit.errors import DomoError
from domokit.oauth import OAuthClient, OAuthToken, PasswordGrant, RefreshGrant, TokenKeeper
from domokit.stores import FileStore, MemoryStore, RedisStore

LONGEST = 120  # seconds; whatever hangs ends after these
SMALL = 200  # bytes: less than any record takes, and more than the name in a lock


def say(**what):
    line = (json.dumps({"pid": os.getpid(), **what}) + "\n").encode()
    assert len(line) <= select.PIPE_BUF, "lines of many processes would mix"
    os.write(1, line)


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONGEST)


class Watching:
    """Made a base of a store: remembers what was last read or written, and dies at one of the writes of a renewal.

    Those are 'change' (that the password is being changed), 'note' (that a refresh token is being spent), 'answer' (as
    it came) and 'token' (what came of it). It dies 'before' it, with 'half' of the new file written, before its
    'replace', just after ('replaced'), or 'after'.
    """

    def __init__(self, *args, die_at=None, stop_at=None, patience=None, **options):
        super().__init__(*args, **options)
        self.die_at = tuple(die_at or ("", ""))
        self.stop_at = tuple(stop_at or ("", ""))
        self.patience = patience
        self.document = None
        self.writing = ""
        self.has_noted = False

    async def load(self, key):
        found = await super().load(key)
        self.document = json.loads(found.text.reveal()) if found else None
        return found

    async def save(self, key, text, *, replacing):
        document = json.loads(text.reveal())
        self.writing = "answer" if document["answer"] else "note" if document["spending"] else "token"
        if document["changing_to"]:
            self.writing = "change"
        elif self.writing == "token" and not self.has_noted:
            self.writing = "seed"
        self.has_noted = self.has_noted or self.writing == "note"
        self.at("before")
        version = await super().save(key, text, replacing=replacing)
        self.document = document
        self.at("after")
        self.writing = ""
        return version

    def lock(self, key, **options):
        if self.patience is not None:
            options["timeout"] = self.patience
        return super().lock(key, **options)

    def at(self, where):
        if self.die_at == (self.writing, where):
            die()
        if self.stop_at == (self.writing, where):
            self.stop_at = ("", "")
            say(did="stop")
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread goes no further, whatever the load

    def remaining(self):
        """Seconds that the stored access token lives yet, as far as this process can know."""
        token = (self.document or {}).get("token")
        return token["expires_at"] - datetime.now(UTC).timestamp() if token else 0.0


class WatchingFile(Watching, FileStore):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        replace, fsync = os.replace, os.fsync

        def watched_replace(*names):
            self.at("replace")
            replace(*names)
            self.at("replaced")

        def watched_fsync(descriptor):
            if self.die_at == (self.writing, "half"):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                die()
            fsync(descriptor)

        os.replace, os.fsync = watched_replace, watched_fsync


class WatchingMemory(Watching, MemoryStore):
    pass


class WatchingRedis(Watching, RedisStore):
    pass


class Process:
    """What is done in one process; each step says how it ended."""

    def __init__(self, order):
        self.order = order
        self.children = []
        self.step = ""
        self.store = self.open_store()
        client = order["client"]
        self.keeper = TokenKeeper(
            OAuthClient(
                client["token_url"],
                client["id"],
                client["secret"],
                options=ClientOptions(event_hooks={"request": [self.on_request], "response": [self.on_response]}),
            ),
            grants=self.grants(),
            store=self.store,
            name=client["id"],
            on_event=self.on_event,
        )

    def open_store(self):
        options = {
            "die_at": self.order.get("die"),
            "stop_at": self.order.get("stop"),
            "patience": self.order.get("patience"),
            **self.order.get("options", {}),
        }
        if path := self.order.get("file"):
            return WatchingFile(path, **options)
        if url := self.order.get("redis"):
            return WatchingRedis(url, **options)
        return WatchingMemory(**options)

    def grants(self):
        grants = [RefreshGrant()]
        if seed := self.order.get("seed"):
            grants = [
                RefreshGrant(
                    seed["refresh_token"],
                    access_token=seed["access_token"],
                    expires_at=datetime.now(UTC) + timedelta(seconds=seed["lifetime"]),
                )
            ]
        if password := self.order.get("password"):
            grants.append(PasswordGrant(*password))
        return grants

    # -- what happens meanwhile

    async def on_request(self, request):
        trouble = self.order.get("trouble")
        if trouble == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, resource.RLIM_INFINITY))
        elif trouble == "outlived":
            while threading.main_thread().is_alive():
                await anyio.sleep(0.005)
        elif trouble == "fork" and self.forked() == 0:
            say(did="lives on")
            time.sleep(LONGEST)
        if self.order.get("die") == ["request", ""]:
            die()

    async def on_response(self, response):
        if self.order.get("die") == ["response", ""]:
            die()

    def on_event(self, event):
        say(
            event=event.kind,
            grant=event.grant,
            spent=event.spent,
            gained=event.gained,
            error=type(event.error).__name__ if event.error else None,
            remaining=self.store.remaining(),
        )

    # -- steps

    def run(self, steps):
        for step in steps:
            self.step, *arguments = [step] if isinstance(step, str) else step
            work = getattr(self, self.step)
            if self.step in ("fork", "join", "wait", "unlimited"):
                work(*arguments)
            elif "blocking" in self.step:
                self.report(work, *arguments)
            else:
                anyio.run(self.awaited, work, *arguments, backend=self.order.get("backend", "asyncio"))

    async def awaited(self, work, *arguments):
        try:
            found = await work(*arguments)
            say(did=self.step, **self.shown(found))
        except DomoError as error:
            say(did=self.step, **self.shown(error))
        finally:
            await self.store.aclose()  # its connections end with the event loop

    def report(self, work, *arguments):
        try:
            say(did=self.step, **self.shown(work(*arguments)))
        except DomoError as error:
            say(did=self.step, **self.shown(error))

    def shown(self, found):
        if isinstance(found, OAuthToken):
            return {"token": found.fingerprint, "unpersisted": found.unpersisted, "expired": found.is_expired}
        if isinstance(found, DomoError):
            cause = found.__cause__
            return {"error": type(found).__name__, "message": str(found), "cause": type(cause).__name__}
        return found or {}

    async def get(self, times=1):
        for _ in range(times):
            token = await self.keeper.get_token()
        return token

    def get_blocking(self, times=1):
        for _ in range(times):
            token = self.keeper.get_token_blocking()
        return token

    async def keep(self, stop, pause=0.02):
        """Ask again and again until there is a file `stop`."""
        return await self.kept(self.keeper.get_token, anyio.sleep, stop, pause)

    def keep_blocking(self, stop, pause=0.02):

        async def get():
            return self.keeper.get_token_blocking()

        async def sleep(seconds):
            time.sleep(seconds)

        try:
            self.kept(get, sleep, stop, pause).send(None)
        except StopIteration as ended:
            return ended.value

    async def kept(self, get, sleep, stop, pause):
        """Says each token when it is first served, and each error."""
        served, errors, calls = "", 0, 0
        while not os.path.exists(stop):
            calls += 1
            began = datetime.now(UTC)
            try:
                token = await get()
            except DomoError as error:
                errors += 1
                say(failed="keep", **self.shown(error))
                await sleep(0.1)
            else:
                if token.fingerprint != served:
                    served = token.fingerprint
                    say(served=served, late=token.expires_at < began - timedelta(seconds=0.05))
            await sleep(pause)
        return {"calls": calls, "errors": errors}

    async def renew(self):
        return await self.keeper.renew()

    def renew_blocking(self):
        return self.keeper.replace_blocking(self.keeper.get_token_blocking())

    async def change_password(self, new):
        return await self.keeper.change_password(new)

    async def status(self):
        status = await self.keeper.status()
        return {"state": status.state, "token": status.fingerprint}

    async def close(self):
        await self.keeper.aclose()

    async def adopt(self, access_token, refresh_token, lifetime):
        now = datetime.now(UTC)
        await self.keeper.adopt(
            OAuthToken(
                access_token=Secret(access_token),
                refresh_token=Secret(refresh_token),
                obtained_at=now,
                expires_at=now + timedelta(seconds=lifetime),
            )
        )

    async def adopt_store(self):
        self.store.adopt()

    async def hold_lock(self):
        async with self.store.lock(self.keeper.key):
            say(did="hold lock")
            await anyio.sleep(LONGEST)

    def wait(self, path):
        while not os.path.exists(path):
            time.sleep(0.005)

    def unlimited(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def forked(self):
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            signal.alarm(LONGEST)
            say(did="forked", parent=parent)
        return pid

    def fork(self, count, steps):
        for _ in range(count):
            if (child := self.forked()) == 0:
                self.children = []
                sys.exit(self.whole(steps))
            self.children.append(child)

    def join(self):
        """Wait for the children that `fork` made, and say how they ended."""
        for child in self.children:
            _, status = os.waitpid(child, 0)
            say(pid=child, ended=status)

    def whole(self, steps):
        try:
            self.run(steps)
        except Exception:
            logging.getLogger("keeping").exception("a step failed")
            return 70
        return 0


async def warm_up():
    """Fail to get a token: whatever is imported on the way is there for all who are forked, of whatever user."""

    def refuse():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as directory:
        thread = threading.Thread(target=refuse)
        thread.start()
        client = OAuthClient(f"http://127.0.0.1:{listener.getsockname()[1]}/token", "id", "secret")
        keeper = TokenKeeper(client, grants=[RefreshGrant("none")], store=FileStore(directory + "/tokens.json"))
        with contextlib.suppress(DomoError):
            await keeper.get_token()
        thread.join()


def begin(order):
    signal.alarm(LONGEST)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(log, 2)
    os.environ["XDG_STATE_HOME"] = order["state"]
    if (user_id := order.get("user_id")) is not None:
        os.setgroups([])
        os.setgid(user_id)
        os.setuid(user_id)
    if size := order.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return Process(order)


def child(order):
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.exit(begin(order).whole(order["steps"]))


def serve():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer)
    lines = b""
    living = set()
    while True:
        ready, _, _ = select.select([0, reader], [], [])
        if reader in ready:
            os.read(reader, 1024)
        if 0 in ready:
            got = os.read(0, 1 << 16)
            if not got:
                break
            lines += got
            *whole, lines = lines.split(b"\n")
            for line in whole:
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    child(order)
                living.add(pid)
                say(started=pid, number=order["number"])
        while living:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            living.discard(pid)
            say(pid=pid, ended=status)


def main():
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    if sys.argv[1:] == ["alone"]:
        order = json.loads(sys.stdin.readline())
        process = begin(order)
        process.run(order["steps"])
        say(did="ending")
    else:
        for backend in ("asyncio", "trio"):
            anyio.run(warm_up, backend=backend)
        serve()


if __name__ == "__main__":
    main()
