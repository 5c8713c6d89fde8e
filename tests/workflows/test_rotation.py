"""rotate_access_token on the sandbox: the order of its steps, and what it leaves, in calm and under misbehaviour."""

from datetime import timedelta

import anyio
import pytest

from domokit import (
    AbstractCredentialStore,
    AccessTokenAuth,
    ClientOptions,
    DomoAccessToken,
    DomoAccessTokenConfig,
    DomoAccount,
    DomoUser,
    RetryPolicy,
    dry_run,
    errors,
    rotate_access_token,
)
from domokit.auth import Secret
from domokit.testing import oauth_client_auth, options_for

PROVIDERS = ["abstract-credential-store", "domo-access-token"]
QUICK = RetryPolicy(attempts=3, base=0.01, cap=0.02)
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


class Story:
    """One owner, one token name, one account, and questions about them that the sandbox can answer."""

    name = "nightly"
    label = "nightly token"

    def __init__(self, sandbox, auth, owner_id, provider="abstract-credential-store"):
        self.sandbox, self.auth, self.owner_id, self.provider = sandbox, auth, owner_id, provider

    async def rotate(self, auth=None, **more):
        arguments = {"account": self.label, "provider": self.provider, **more}
        return await rotate_access_token(auth or self.auth, owner_id=self.owner_id, name=self.name, **arguments)

    @property
    def accounts(self):
        found = self.sandbox.state.accounts.values()
        return [one for one in found if one.display_name.startswith(self.label)]

    @property
    def stored(self):
        """The token in the account, in clear, as the sandbox keeps it; None without an account."""
        if not self.accounts:
            return None
        config = self.sandbox.account_config(self.accounts[0].id)
        if self.provider == "domo-access-token":
            return config["domoAccessToken"]
        return AbstractCredentialStore(config["credentials"]).decoded()["access_token"].reveal()

    async def living(self):
        return {token.id for token in await DomoAccessToken.search(self.auth, owner_id=self.owner_id, name=self.name)}

    def assert_account_works(self):
        assert self.sandbox.signs_in(self.stored) == self.owner_id


@pytest.fixture(params=PROVIDERS)
async def story(request, domo_sandbox, sessions):
    auth = sessions(domo_sandbox, retry=QUICK)
    return Story(domo_sandbox, auth, (await auth.who_am_i()).id, request.param)


def steps_of(sandbox):
    """What changed something, and the proofs, as short words in the order of arrival."""
    words = []
    for request in sandbox.requests:
        method, path = request.method, request.path
        if path.endswith("/accesstokens") and method == "POST":
            words.append("generate")
        elif "/accesstokens/" in path and method == "DELETE":
            words.append("revoke")
        elif path.endswith("/users/me") and request.credential == "developer_token":
            words.append("prove")
        elif method in {"POST", "PUT"} and ("/account/" in path or path.endswith("/v1/accounts")):
            words.append("store")
    return words


async def test_t02_new_token_is_proven_stored_and_proven_before_any_is_revoked(story):
    await story.rotate()
    first = story.stored
    story.sandbox.requests.clear()

    result = await story.rotate()

    words = steps_of(story.sandbox)
    assert words.index("generate") < words.index("prove") < words.index("store")
    assert "prove" in words[words.index("store") : words.index("revoke")]
    assert words.count("generate") == 1
    assert story.sandbox.signs_in(first) is None
    story.assert_account_works()
    assert await story.living() == {result.generated.id}
    assert len(story.accounts) == 1


async def test_at_no_instant_is_the_account_without_a_working_token(story):
    await story.rotate()
    gaps = []

    def look(phase, request):
        if story.sandbox.signs_in(story.stored) != story.owner_id:
            gaps.append((phase, request.method, request.path))

    story.sandbox.watch(look)
    await story.rotate()
    assert gaps == []


async def test_result_names_ids_and_fingerprints_and_shows_no_secret(story):
    await story.rotate()
    result = await story.rotate()
    assert result.changed
    assert result.generated.fingerprint == Secret(story.stored).fingerprint
    assert result.account_id == story.accounts[0].id
    assert [note.id for note in result.revoked] != []
    assert story.stored not in repr(result) + str(result.to_dict())
    assert result.token.token.reveal() == story.stored


async def test_t38_min_remaining_changes_nothing_while_enough_is_left(story):
    await story.rotate(duration=30)
    story.sandbox.requests.clear()

    result = await story.rotate(duration=30, min_remaining=timedelta(days=7))

    assert not result.changed
    assert result.generated is None
    assert "30 days left" in result.reason
    assert not [request for request in story.sandbox.requests if request.method in CHANGING]


async def test_min_remaining_rotates_when_life_runs_out(story, sessions):
    first = await story.rotate(duration=30)
    clock = story.sandbox.clock
    clock.advance(timedelta(days=25))
    later = sessions(story.sandbox, clock=clock.now)
    result = await story.rotate(auth=later, duration=30, min_remaining=7)
    assert result.changed
    assert [note.id for note in result.revoked] == [first.generated.id]
    story.assert_account_works()


async def test_min_remaining_does_not_trust_a_token_that_is_not_in_the_account(story):
    """A run that died between generating and storing leaves a long-lived token that nobody holds."""
    await story.rotate(duration=1)
    await DomoAccessToken.generate(story.auth, owner_id=story.owner_id, name=story.name, duration=60)
    result = await story.rotate(min_remaining=7)
    assert result.changed
    assert await story.living() == {result.generated.id}
    story.assert_account_works()


async def test_min_remaining_rotates_when_the_account_was_deleted(story):
    await story.rotate()
    await (await DomoAccount.get_by_id(story.auth, story.accounts[0].id)).delete()
    result = await story.rotate(min_remaining=7)
    assert result.changed
    story.assert_account_works()


async def test_run_killed_before_revoking_is_finished_by_the_next(domo_sandbox, sessions):
    """Readable account: the next run sees that the newest token is stored, and only revokes."""
    auth = sessions(domo_sandbox, retry=QUICK)
    story = Story(domo_sandbox, auth, (await auth.who_am_i()).id)
    await story.rotate(allow_external_use=True)
    domo_sandbox.misbehave("status", status=403, method="DELETE", path="/api/data/v1/accesstokens", times=None)
    with pytest.raises(errors.RotationError) as caught:
        await story.rotate()
    assert caught.value.step == "revoke"
    assert caught.value.stored is True
    domo_sandbox.heal()
    before = story.stored
    result = await story.rotate(min_remaining=7)
    assert result.generated is None
    assert [note.id for note in result.revoked] == list(caught.value.left_alive)
    assert story.stored == before
    assert len(await story.living()) == 1


async def test_keep_old_for_leaves_the_old_one_to_a_later_run(story, sessions):
    clock = story.sandbox.clock
    auth = sessions(story.sandbox, clock=clock.now)
    first = await story.rotate(auth=auth)
    old = story.stored

    second = await story.rotate(auth=auth, keep_old_for=timedelta(hours=6))
    assert [note.id for note in second.kept] == [first.generated.id]
    assert second.revoked == ()
    assert story.sandbox.signs_in(old) == story.owner_id

    clock.advance(timedelta(hours=5))
    early = await story.rotate(auth=auth, keep_old_for=timedelta(hours=6), min_remaining=1)
    assert not early.changed
    assert [note.id for note in early.kept] == [first.generated.id]

    clock.advance(timedelta(hours=2))
    late = await story.rotate(auth=auth, keep_old_for=timedelta(hours=6), min_remaining=1)
    assert [note.id for note in late.revoked] == [first.generated.id]
    assert late.generated is None
    assert story.sandbox.signs_in(old) is None
    story.assert_account_works()


async def test_dry_run_says_what_it_would_do_and_sends_nothing_that_changes(story):
    first = await story.rotate()
    story.sandbox.requests.clear()
    planned = await story.rotate(dry_run=True)
    with dry_run():
        also = await story.rotate()
    assert planned.dry_run
    assert planned.changed
    assert planned == also
    assert [note.id for note in planned.revoked] == [first.generated.id]
    assert not [request for request in story.sandbox.requests if request.method in CHANGING]


async def test_without_an_account_the_caller_gets_the_token_and_the_newest_old_one_stays(story):
    first = await story.rotate(account=None)
    second = await story.rotate(account=None)
    assert [note.id for note in second.kept] == [first.generated.id]
    assert story.sandbox.signs_in(second.token.token.reveal()) == story.owner_id
    third = await story.rotate(account=None)
    assert [note.id for note in third.revoked] == [first.generated.id]
    assert story.sandbox.signs_in(second.token.token.reveal()) == story.owner_id


async def test_into_an_existing_account_by_id_and_by_object(story):
    config = (
        AbstractCredentialStore({"note": "ours"})
        if story.provider == "abstract-credential-store"
        else DomoAccessTokenConfig("x" * 20, "someone@example.com")
    )
    account = await DomoAccount.create(story.auth, name=story.label, config=config, allow_external_use=True)
    await story.rotate(account=account.id)
    story.assert_account_works()
    await story.rotate(account=account)
    story.assert_account_works()
    if story.provider == "abstract-credential-store":
        kept = (await account.get_config(unmask=True)).decoded()
        assert kept["note"].reveal() == "ours"
        assert kept["token_name"].reveal() == story.name


async def test_account_of_another_kind_is_refused_before_anything_is_made(story):
    warehouse = await DomoAccount.search(story.auth, name="warehouse").first()
    story.sandbox.requests.clear()
    with pytest.raises(errors.InvalidInputError, match="snowflake"):
        await story.rotate(account=warehouse)
    assert steps_of(story.sandbox) == []


async def test_two_accounts_of_one_name_are_an_error_that_names_them(story):
    await story.rotate()
    other = await DomoAccount.create(story.auth, name="other", config=story_config(story))
    await other.update_name(story.label)
    if other.name != story.label:
        pytest.fail("the sandbox keeps labels apart on rename; this test needs another way to make twins")
    with pytest.raises(errors.ConflictError, match=str(other.id)):
        await story.rotate()


def story_config(story):
    return (
        AbstractCredentialStore("{}")
        if story.provider == "abstract-credential-store"
        else DomoAccessTokenConfig("x" * 20)
    )


async def test_rotating_the_token_that_signs_the_calls(story):
    """The auth object goes on with the new token, and the old one is revoked all the same."""
    first = await story.rotate()
    async with AccessTokenAuth(story.sandbox.instance, first.token.token, options=options_for(story.sandbox)) as own:
        result = await story.rotate(auth=own)
        assert story.sandbox.signs_in(first.token.token.reveal()) is None
        assert (await own.who_am_i()).id == story.owner_id
        assert own.signs_with(result.token.token)


async def test_owner_id_may_be_text(story):
    await story.rotate()
    result = await rotate_access_token(
        story.auth, owner_id=str(story.owner_id), name=story.name, account=story.label, provider=story.provider
    )
    assert len(result.revoked) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 0},
        {"duration": -1},
        {"duration": 10**6},
        {"duration": float("nan")},
        {"min_remaining": -1},
        {"keep_old_for": timedelta(days=-1)},
        {"name": " "},
        {"owner_id": "ann"},
        {"provider": "snowflake"},
    ],
)
async def test_bad_input_is_refused_before_anything_is_sent(domo_sandbox, domo_auth, wrong):
    arguments = {"owner_id": 1, "name": "n", "account": "a", **wrong}
    with pytest.raises(errors.InvalidInputError):
        await rotate_access_token(domo_auth, **arguments)
    assert not domo_sandbox.requests


async def test_platform_auth_is_refused_by_name(domo_sandbox):
    with pytest.raises(errors.UnsupportedByAuth, match="AccessTokenAuth"):
        await rotate_access_token(oauth_client_auth(domo_sandbox), owner_id=1, name="n")
    assert not domo_sandbox.requests


async def test_unknown_owner_leaves_everything_as_it_was(story):
    before = dict(story.sandbox.state.access_tokens)
    with pytest.raises(errors.DomoError):
        await rotate_access_token(story.auth, owner_id=424242, name="x", account="x")
    assert dict(story.sandbox.state.access_tokens) == before
    assert not [one for one in story.sandbox.state.accounts.values() if one.display_name == "x"]


async def test_refused_store_revokes_the_new_token_and_keeps_the_old(story):
    first = await story.rotate()
    old = story.stored
    story.sandbox.misbehave("status", status=403, method="PUT", path="/api/data/v1/providers", times=None)
    with pytest.raises(errors.RotationError) as caught:
        await story.rotate()
    assert caught.value.step == "store"
    assert caught.value.stored is False
    assert caught.value.left_alive == ()
    assert await story.living() == {first.generated.id}
    assert story.stored == old
    story.assert_account_works()


async def test_lost_store_keeps_both_alive_and_the_next_run_converges(story):
    await story.rotate()
    story.sandbox.misbehave("reset_after", method="PUT", path="/api/data/v1/providers", times=3)
    with pytest.raises(errors.RotationError) as caught:
        await story.rotate()
    assert caught.value.step == "store"
    assert caught.value.stored is None
    story.assert_account_works()
    result = await story.rotate()
    assert await story.living() == {result.generated.id}
    story.assert_account_works()


async def test_lost_answer_to_generate_is_answered_by_looking_not_by_repeating_blindly(story):
    await story.rotate()
    story.sandbox.misbehave("reset_after", method="POST", path="/api/data/v1/accesstokens")
    result = await story.rotate()
    assert await story.living() == {result.generated.id}
    assert len(result.revoked) == 2  # the old one, and the one whose value nobody knows
    story.assert_account_works()


async def test_answer_to_generate_lost_twice_names_what_appeared(story):
    await story.rotate()
    story.sandbox.misbehave("reset_after", method="POST", path="/api/data/v1/accesstokens", times=2)
    with pytest.raises(errors.RotationError) as caught:
        await story.rotate()
    assert caught.value.step == "generate"
    assert len(caught.value.left_alive) == 1
    assert set(caught.value.left_alive) < await story.living()
    story.assert_account_works()
    assert len(await story.living()) == 3
    await story.rotate()
    assert len(await story.living()) == 1


async def test_cancelled_run_leaves_a_working_account_and_the_next_one_tidies_up(story):
    await story.rotate()
    for step in ("generate", "prove", "store", "verify", "revoke"):
        with anyio.CancelScope() as scope:
            await story.rotate(on_step=lambda now, _, step=step, scope=scope: now == step and scope.cancel())
        assert scope.cancelled_caught
        story.assert_account_works()
    result = await story.rotate()
    assert await story.living() == {result.generated.id}


async def test_cancelled_while_proving_takes_the_new_token_back(story):
    first = await story.rotate()
    with anyio.CancelScope() as scope:
        await story.rotate(on_step=lambda step, _: step == "prove" and scope.cancel())
    assert await story.living() == {first.generated.id}


async def test_another_run_that_stored_in_between_wins_and_ours_is_revoked(story):
    """The other run starts after ours has stored and before ours has looked again."""
    await story.rotate()
    others = []

    async def interfere(phase, request):
        stored = phase == "acted" and request.method == "PUT" and "/account/" in request.path
        if stored and not others:
            others.append(None)
            others.append(await story.rotate())

    story.sandbox.watch(interfere)
    ours = await story.rotate()
    story.assert_account_works()
    assert others[1].generated is not None
    assert ours.superseded or ours.generated.id in await story.living()
    assert story.sandbox.signs_in(story.stored) == story.owner_id
    assert len(await story.living()) <= 2


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("latency", {"seconds": 0.02}),
        ("rate_limit", {"retry_after": 0}),
        ("status", {"status": 500}),
        ("status", {"status": 503}),
        ("reset_before", {}),
        ("reset_after", {}),
        ("truncated", {}),
        ("half_json", {}),
        ("html", {}),
        ("blocked", {}),
        ("maintenance", {}),
        ("empty", {}),
        ("login_redirect", {}),
    ],
)
async def test_every_misbehaviour_at_every_request_leaves_a_working_account(domo_sandbox, sessions, kind, details):
    auth = sessions(domo_sandbox, retry=QUICK)
    story = Story(domo_sandbox, auth, (await auth.who_am_i()).id)
    await story.rotate()
    domo_sandbox.requests.clear()
    await story.rotate()
    requests_of_a_run = len(domo_sandbox.requests)
    for position in range(requests_of_a_run):
        fault = domo_sandbox.misbehave(kind, times=1, skip=position, **details)
        try:
            await story.rotate()
        except errors.DomoError:
            pass
        else:
            assert fault.hits or position >= requests_of_a_run
        domo_sandbox.heal()
        story.assert_account_works()
    result = await story.rotate()
    assert await story.living() == {result.generated.id}
    story.assert_account_works()


async def test_owner_who_cannot_sign_in_gets_no_token_left_behind(domo_sandbox, sessions):
    """The new token does not sign in as the owner: it is taken back, and the error says so."""
    auth = sessions(domo_sandbox, retry=QUICK)
    me = await DomoUser.get_me(auth)
    story = Story(domo_sandbox, auth, me.id)
    await story.rotate()
    domo_sandbox.misbehave("status", status=401, path="/api/content/v2/users/me", times=None)
    with pytest.raises(errors.RotationError) as caught:
        await story.rotate()
    domo_sandbox.heal()
    assert caught.value.step == "prove"
    assert len(await story.living()) == 1
    story.assert_account_works()


def test_options_are_passed_on_to_the_proof():
    """The new token is proven over the same transport as everything else."""
    options = ClientOptions(max_connections=3)
    auth = AccessTokenAuth("acme", "t" * 48, options=options)
    token = DomoAccessToken(auth=auth, id=1, token=Secret("u" * 48))
    assert token.auth_with().options is options
