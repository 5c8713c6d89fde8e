"""On a real port, in a process of its own, and with a state file."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from domokit.sandbox import Sandbox, StateFileError
from domokit.sandbox import store as store_module

from .helpers import bearer, by_session, by_token

pytestmark = pytest.mark.anyio
ME = "/api/content/v2/users/me"


async def test_served_by_async_with_serves_both_families():
    async with Sandbox().serve() as sb:
        assert sb.base_url.startswith("http://127.0.0.1:")
        credentials = sb.credentials()
        assert credentials["base_url"] == sb.base_url
        keys = "base_url instance username password access_token client_id client_secret"
        assert list(credentials) == keys.split()
        async with by_token(sb) as admin, await bearer(sb) as platform:
            assert (await admin.get(ME)).json()["id"] == sb.admin.id
            assert (await platform.get("/v1/users")).status_code == 200
        address = sb.base_url
    assert sb.base_url == "https://acme.domo.com"
    with pytest.raises(httpx.ConnectError):
        httpx.get(address + ME, trust_env=False)


def test_served_by_plain_with_and_again():
    sandbox = Sandbox()
    for _ in range(2):
        with sandbox.serve() as sb:
            assert sb is sandbox
            headers = {"X-DOMO-Developer-Token": sb.access_token}
            answer = httpx.get(sb.base_url + ME, headers=headers, trust_env=False)
            assert answer.json()["id"] == sb.admin.id


def test_a_port_in_use_is_an_error():
    with Sandbox().serve() as sb:
        port = int(sb.base_url.rpartition(":")[2])
        with socket.socket() as blocker:
            blocker.bind(("127.0.0.1", 0))
            blocker.listen()
            with pytest.raises(OSError, match="in use"), Sandbox().serve(port=blocker.getsockname()[1]):
                pass
        assert port > 0


async def test_many_requests_at_once(shared_server: Sandbox):
    statuses: list[int] = []
    async with by_token(shared_server) as admin, anyio.create_task_group() as group:

        async def one() -> None:
            statuses.append((await admin.get(ME)).status_code)

        for _ in range(60):
            group.start_soon(one)
    assert statuses == [200] * 60


def test_serving_twice_at_once_is_an_error(shared_server: Sandbox):
    with pytest.raises(RuntimeError, match="already"), shared_server.serve():
        pass


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 400 "),
        (b"x" * 70_000, b"HTTP/1.1 400 "),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", b"HTTP/1.1 100 Continue"),
        (b"HEAD /v1/users HTTP/1.0\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 405 "),
        (b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 404 "),
    ],
)
async def test_odd_requests(shared_server: Sandbox, sent: bytes, answer: bytes):
    port = int(shared_server.base_url.rpartition(":")[2])
    with anyio.fail_after(60):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(sent)
            assert (await stream.receive()).startswith(answer)


async def test_a_watcher_that_fails_does_not_take_the_server_down(shared_server: Sandbox):
    def fail(phase: str, _: object) -> None:
        raise LookupError(phase)

    stop = shared_server.watch(fail)
    async with by_token(shared_server) as admin:
        assert (await admin.get(ME)).status_code == 500
        stop()
        assert (await admin.get(ME)).status_code == 200


async def test_raw_sockets(shared_server: Sandbox):
    """Pipelining, chunked bodies and one byte at a time: what a client library rarely sends."""
    port = int(shared_server.base_url.rpartition(":")[2])
    login = json.dumps(
        {"method": "password", "emailAddress": shared_server.username, "password": shared_server.password}
    ).encode()
    head = b"POST /api/content/v2/authentication HTTP/1.1\r\nHost: localhost\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (login[:7], login[7:])) + b"0\r\n\r\n"
    plain = head + b"Content-Length: %d\r\n\r\n" % len(login) + login
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    last = head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(login) + login

    async def answers(data: bytes, step: int) -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            for begin in range(0, len(data), step):
                await stream.send(data[begin : begin + step])
                if step < 50:
                    await anyio.sleep(0)
            received = b""
            try:
                while True:
                    received += await stream.receive()
            except anyio.EndOfStream:
                return received

    with anyio.fail_after(60):
        assert (await answers(plain + chunked + last, 10_000)).count(b'"success":true') == 3
        assert (await answers(plain + chunked + last, 7)).count(b'"success":true') == 3


SCRIPT = """
import json, sys
from domokit.sandbox import Sandbox
from domokit.sandbox.serve import run
run(Sandbox(state_file=sys.argv[1]).serve(), on_ready=lambda sb: print(json.dumps(sb.credentials()), flush=True))
print("done", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_serves_until_a_signal_and_keeps_its_state(tmp_path: Path, number: signal.Signals):
    path = tmp_path / "state.json"
    command = [sys.executable, "-c", SCRIPT, str(path)]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        given = json.loads(process.stdout.readline())
        headers = {"X-DOMO-Developer-Token": given["access_token"]}
        with httpx.Client(base_url=given["base_url"], headers=headers, trust_env=False) as admin:
            made = admin.post(
                "/api/content/v3/users",
                json={"displayName": "Kept", "detail": {"email": "kept@example.com"}, "roleId": 4},
            ).json()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, output, errors) == (0, "done\n", "")
    again = Sandbox(state_file=path)
    assert again.state.users[made["id"]].email == "kept@example.com"
    assert again.access_token == given["access_token"]


async def test_the_state_survives_a_round_trip(tmp_path: Path):
    path = tmp_path / "state.json"
    async with Sandbox("globex", users=5, state_file=path) as sb:
        session = (await by_session(sb)).headers["x-domo-authentication"]
        platform = (await bearer(sb)).headers["authorization"]
        cookie = sb.browser_cookie(sb.username)
        made = (
            await by_token(sb).post(
                "/api/data/v1/accounts",
                json={
                    "displayName": "d",
                    "dataProviderType": "abstract-credential-store",
                    "configurations": {"credentials": "s"},
                },
            )
        ).json()
        sb.clock.advance(1000)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    again = Sandbox("ignored", users=99, state_file=path)
    assert again.credentials() == sb.credentials()
    assert again.instance == "globex"
    assert len(again.state.users) == 5
    assert again.account_config(made["id"]) == {"credentials": "s"}
    assert abs((again.clock.now() - sb.clock.now()).total_seconds()) < 5
    assert again.signs_in(again.access_token) == again.admin.id
    assert again.state.cookies == {cookie: again.admin.id}
    dumped = [store_module.dump(box.state, 0, {}) for box in (sb, again)]
    assert dumped[0] == dumped[1]
    transport = httpx.ASGITransport(app=again.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as local:
        assert (await local.get(ME, headers={"x-domo-authentication": session})).status_code == 200
        assert (await local.get("/v1/users", headers={"authorization": platform})).status_code == 200


async def test_each_change_is_saved_before_it_is_answered(tmp_path: Path):
    path = tmp_path / "state.json"
    sb = Sandbox(state_file=path)
    assert not path.exists()
    body = {"name": "t", "ownerId": sb.admin.id, "expires": 1}
    made = (await by_token(sb).post("/api/data/v1/accesstokens", json=body)).json()
    assert made["id"] in Sandbox(state_file=path).state.access_tokens
    written = path.stat().st_mtime_ns, path.stat().st_ino
    await by_token(sb).get(ME)
    await by_token(sb).post("/api/identity/v1/users/search", json={})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": 99}', b'{"version": 1, "secret": "s3"}'])
def test_a_corrupt_state_file_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(StateFileError, match="state file") as caught:
        Sandbox(state_file=path)
    assert "s3" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_row_of_the_wrong_shape_is_corrupt_too(tmp_path: Path):
    path = tmp_path / "state.json"
    Sandbox(state_file=path).save()
    document = json.loads(path.read_bytes())
    document["tables"]["users"][0]["surprise"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(StateFileError):
        Sandbox(state_file=path)


def test_the_state_file_is_private_from_birth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    replace = os.replace

    def spy(source: Path, target: Path) -> None:
        seen.append(stat.S_IMODE(os.stat(source).st_mode))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    before = os.umask(0)
    try:
        Sandbox(state_file=tmp_path / "state.json").save()
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "state.json"
    sb = Sandbox(state_file=path)
    sb.save()
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    sb.add_user("X", "x@example.com")
    with pytest.raises(OSError, match="disk full"):
        sb.save()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_without_a_state_file_is_an_error(sb: Sandbox):
    with pytest.raises(ValueError, match="no state file"):
        sb.save()


def test_the_package_stands_alone():
    """It loads nothing of domokit's client, and no HTTP client either."""
    code = (
        "import sys; import domokit.sandbox as s; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('httpx', 'attrs', 'trio', 'requests') "
        "or (m.startswith('domokit.') and not m.startswith('domokit.sandbox'))))"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
