"""Passwords: which one is presented, which no more, and how one is changed."""

import pytest

from domokit.errors import InvalidCredentialsError, InvalidInputError
from domokit.oauth import PasswordGrant, RefreshGrant
from domokit.stores import FileStore, MemoryStore

from .helpers import PASSWORD, USER, keeper_for, record_of

NEW, NEWER = "canary-new-password", "canary-newer-password"


@pytest.fixture
def keepers(server, clock):
    """Keepers for the one user, each as if in a process of its own, on one store."""
    store = MemoryStore()

    def make(word=PASSWORD, **options):
        options = {"store": store, "clock": clock, **options}
        return keeper_for(server, RefreshGrant(), PasswordGrant(USER, word), **options)

    return make


def presented(server):
    return [one.form["password"] for one in server.requests if one.grant == "password"]


# -- refused once, presented no more


async def test_a_wrong_password_is_presented_once_by_all_processes_together(server, keepers, tmp_path):
    """As by a program that cron starts every minute: the account would be locked."""
    store = FileStore(tmp_path / "tokens.json")
    for number in range(4):
        with pytest.raises(InvalidCredentialsError) as caught:
            await keepers("canary-wrong", store=store).renew(insist=False)
        assert caught.value.needs_human
        assert ("is not presented again" in str(caught.value)) == (number > 0)
    assert presented(server) == ["canary-wrong"]
    assert "canary-wrong" not in store.path.read_text()
    # Another password is another matter.
    await keepers(store=store).get_token()
    assert presented(server) == ["canary-wrong", PASSWORD]
    assert (await record_of(keepers(store=store))).refused == []


async def test_somebody_who_knows_better_may_present_it_again(server, keepers):
    keeper = keepers("canary-later")
    for _ in range(2):
        with pytest.raises(InvalidCredentialsError):
            await keeper.get_token()
    server.add_user(USER, "canary-later")
    with pytest.raises(InvalidCredentialsError, match=r"refused on .* keeper\.renew\(\)"):
        await keepers("canary-later").get_token()
    await keepers("canary-later").renew()
    assert presented(server) == ["canary-later"] * 2


async def test_of_several_each_is_known(server, keepers):
    for word in ("canary-1", "canary-2", "canary-1", "canary-2"):
        with pytest.raises(InvalidCredentialsError):
            await keepers(word).get_token()
    assert presented(server) == ["canary-1", "canary-2"]


# -- changing it


async def test_changed_by_a_keeper_and_then_by_somebody_else(server, keepers):
    """The configured one holds by now; the store's does not."""
    await keepers().change_password(NEW)
    server.add_user(USER, "canary-by-somebody-else")
    await keepers("canary-by-somebody-else").change_password(NEWER)
    assert presented(server) == [PASSWORD, NEW, "canary-by-somebody-else"]
    record = await record_of(keepers())
    assert record.password.reveal() == NEWER
    assert record.changing_to is None


async def test_neither_of_two_is_right(server, keepers):
    await keepers().change_password(NEW)
    server.add_user(USER, "canary-by-somebody-else")
    with pytest.raises(InvalidCredentialsError):
        await keepers().change_password(NEWER)
    record = await record_of(keepers())
    assert record.password.reveal() == NEW
    assert record.changing_to is None
    # The same twice is presented once.
    sent = server.count()
    with pytest.raises(InvalidCredentialsError):
        await keepers(NEW).change_password(NEWER)
    assert server.count() == sent + 1


@pytest.mark.parametrize("new", ["", " ", "\t\n "])
async def test_a_blank_one_is_refused(server, keepers, new):
    with pytest.raises(InvalidInputError, match="a new password"):
        await keepers().change_password(new)
    assert server.count() == 0


async def test_the_present_one_is_refused(server, keepers):
    with pytest.raises(InvalidInputError, match="is the present one"):
        await keepers().change_password(PASSWORD)
    assert server.count() == 0
    await keepers().change_password(NEW)
    for word in (PASSWORD, NEW):
        with pytest.raises(InvalidInputError, match="is the present one"):
            await keepers(word).change_password(NEW)
    assert server.count() == 1
    await keepers().change_password(PASSWORD)  # back to the one before
    assert (await record_of(keepers())).password is None
