"""Auth objects that share a store: one signs in, the others take over what it got."""

import json
import threading
from datetime import timedelta

import anyio
import pytest

from domokit import DomoUser, FileStore, MemoryStore, OAuthClientAuth, SessionAuth, errors
from domokit.oauth import providers
from domokit.testing import options_for

SIGN_IN = "/api/content/v2/authentication"


def sign_ins(sandbox, path=SIGN_IN):
    return sum(request.path == path for request in sandbox.requests)


def session(sandbox, store, **more):
    return SessionAuth(
        sandbox.instance, more.pop("username", sandbox.username), more.pop("password", sandbox.password),
        store=store, options=options_for(sandbox, **more),
    )  # fmt: skip


def client(sandbox, store, **more):
    return OAuthClientAuth(
        sandbox.client_id, sandbox.client_secret, store=store, scope=more.pop("scope", None),
        options=options_for(sandbox, **more),
    )  # fmt: skip


async def test_a_session_is_shared(domo_sandbox, tmp_path):
    store = FileStore(tmp_path / "tokens.json")
    async with session(domo_sandbox, store) as one, session(domo_sandbox, store) as two:
        assert (await one.who_am_i()).id == (await two.who_am_i()).id == domo_sandbox.admin.id
        assert one.current() == two.current()
    assert sign_ins(domo_sandbox) == 1
    async with session(domo_sandbox, FileStore(tmp_path / "tokens.json")) as later:
        await later.who_am_i()
    assert sign_ins(domo_sandbox) == 1


async def test_a_session_that_domo_has_ended_is_replaced_once_for_all_who_share_it(domo_sandbox, tmp_path):
    store = FileStore(tmp_path / "tokens.json")
    async with session(domo_sandbox, store) as one, session(domo_sandbox, store) as two:
        await one.who_am_i()
        await two.who_am_i()
        old = one.current()
        domo_sandbox.clock.advance(timedelta(hours=9))
        async with anyio.create_task_group() as group:
            for auth in (one, two) * 5:
                group.start_soon(auth.who_am_i)
        assert one.current() == two.current() != old
    assert sign_ins(domo_sandbox) == 2


async def test_users_and_instances_do_not_cross(domo_sandbox, tmp_path):
    store = FileStore(tmp_path / "tokens.json")
    ann = domo_sandbox.add_user("Ann", "ann@example.com", password="a long pass word")
    async with (
        session(domo_sandbox, store) as admin,
        session(domo_sandbox, store, username="ann@example.com", password="a long pass word") as hers,
    ):
        assert (await admin.who_am_i()).id == domo_sandbox.admin.id
        assert (await hers.who_am_i()).id == ann.id
    assert len(await store.keys()) == 2


async def test_a_wrong_password_stores_nothing_and_is_not_tried_again(domo_sandbox, tmp_path):
    store = FileStore(tmp_path / "tokens.json")
    async with session(domo_sandbox, store, password="wrong") as auth:
        for _ in range(3):
            with pytest.raises(errors.InvalidCredentialsError):
                await auth.who_am_i()
    assert await store.keys() == []
    assert sign_ins(domo_sandbox) == 1


async def test_an_api_clients_token_is_shared(domo_sandbox, tmp_path):
    store = FileStore(tmp_path / "tokens.json")
    async with client(domo_sandbox, store) as one, client(domo_sandbox, store) as two:
        assert (await one.who_am_i()).id == (await two.who_am_i()).id == domo_sandbox.admin.id
        assert len(await DomoUser.get_all(two)) == 12
        assert one.current() == two.current()
        async with client(domo_sandbox, store, scope="data") as narrow:
            await narrow.sign_in()
            assert narrow.current() != one.current()
    assert sign_ins(domo_sandbox, "/oauth/token") == 2


async def test_a_refused_token_is_renewed_once_for_all_who_share_it(domo_sandbox, tmp_path):
    store = FileStore(tmp_path / "tokens.json")
    async with client(domo_sandbox, store) as one, client(domo_sandbox, store) as two:
        await one.sign_in()
        await two.who_am_i()
        domo_sandbox.clock.advance(timedelta(hours=2))
        async with anyio.create_task_group() as group:
            for auth in (one, two) * 5:
                group.start_soon(DomoUser.get_by_id, auth, domo_sandbox.admin.id)
        assert one.current() == two.current()
    assert sign_ins(domo_sandbox, "/oauth/token") == 2


def test_threads_share_one_auth_object(served_domo_sandbox):
    sandbox = served_domo_sandbox
    auth = client(sandbox, MemoryStore())
    found = []

    async def ask():
        found.append((await DomoUser.get_by_id(auth, sandbox.admin.id)).id)

    threads = [threading.Thread(target=anyio.run, args=(ask,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [sandbox.admin.id] * 8
    assert sign_ins(sandbox, "/oauth/token") == 1


async def test_what_is_stored_is_what_the_provider_by_name_would_find(domo_sandbox, tmp_path):
    """`OAuthClientAuth` and `providers.domo` are the same machinery, and so are their records."""
    store = FileStore(tmp_path / "tokens.json")
    async with client(domo_sandbox, store) as auth:
        await auth.sign_in()
        url = auth.origin("platform") + "/oauth/token"
        async with providers.domo(
            domo_sandbox.client_id, domo_sandbox.client_secret, token_url=url, store=store
        ) as same:
            assert (await same.get_token()).access_token == auth.current()
    assert sign_ins(domo_sandbox, "/oauth/token") == 1


async def test_the_file_holds_no_password(domo_sandbox, tmp_path):
    store = FileStore(tmp_path / "tokens.json")
    async with session(domo_sandbox, store) as one, client(domo_sandbox, store) as two:
        await one.sign_in()
        await two.sign_in()
    text = (tmp_path / "tokens.json").read_text()
    assert len(json.loads(text)["entries"]) == 2
    assert domo_sandbox.password not in text
    assert domo_sandbox.client_secret not in text
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
