"""`domokit rotate`"""

import json

import pytest

from .helpers import changing

STORY = ("rotate", "--min-remaining", "7")


def options(sandbox, **changed):
    given = {"owner": sandbox.username, "name": "nightly", "days": "30", "account": "nightly token"} | changed
    return [part for name, value in given.items() if value is not None for part in (f"--{name}", value)]


def test_the_story_on_an_embedded_sandbox(embedded):
    ran = embedded(*STORY)
    steps = [line.split()[0] for line in ran.out.splitlines()[:9]]
    assert steps == ["Once", "look", "generate", "prove", "store", "verify", "revoke", "verify", "done"]
    assert "Done: a new token is in place." in ran.out
    assert "Living tokens called 'nightly sync'" in ran.out
    assert "nightly sync token  abstract-credential-store" in ran.out
    assert f"The token in the account signs in as user {embedded.now.admin.id}." in ran.out

    made = embedded.now.state.access_tokens.copy()
    again = embedded(*STORY)
    assert "Nothing to do: 30 days left, 7 days wanted." in again.out
    assert "generate" not in again.out
    assert embedded.now.state.access_tokens == made


def test_the_story_as_json(embedded):
    first = embedded(*STORY, "--json").json
    assert first["changed"] is True
    assert first["generated"]["expires_at"].endswith("Z")
    assert len(first["generated"]["fingerprint"]) == 12
    assert first["state"]["signs_in"] is True
    assert [token["id"] for token in first["state"]["tokens"]] == [first["generated"]["id"]]
    assert first["state"]["account"]["name"] == first["account_name"] == "nightly sync token"

    second = embedded(*STORY, "--json").json
    assert second["changed"] is False
    assert second["generated"] is None
    assert second["state"]["tokens"] == first["state"]["tokens"]


def test_a_token_that_is_revoked_behind_the_account_is_told(embedded):
    token_id = embedded("rotate", "--json").json["generated"]["id"]
    embedded("tokens", "revoke", str(token_id), "--yes")
    state = embedded("rotate", "--dry-run", "--json").json["state"]
    assert state["signs_in"] is False
    assert state["tokens"] == []


def test_the_other_provider_is_understood(embedded):
    facts = embedded("rotate", "--provider", "domo-access-token", "--json").json
    assert facts["state"]["signs_in"] is True
    assert facts["state"]["account"]["provider_type"] == "domo-access-token"


def test_fresh_begins_anew(embedded):
    first = embedded("rotate", "--json").json["generated"]
    ran = embedded("rotate", "--fresh", "--json").json
    assert len(ran["revoked"]) == 1
    assert ran["revoked"][0]["id"] < first["id"]  # the one that the story begins with, in a new sandbox
    assert ran["generated"]["fingerprint"] != first["fingerprint"]


def test_rotating_a_served_one_replaces_and_revokes(cli, served):
    first = cli("rotate", *options(served), "--json").json
    second = cli("rotate", *options(served), "--json").json
    assert [note["id"] for note in second["revoked"]] == [first["generated"]["id"]]
    config = json.loads(served.account_config(second["account_id"])["credentials"])
    assert served.signs_in(config["access_token"]) == served.admin.id
    assert config["token_id"] == second["generated"]["id"]
    assert "state" not in second


def test_a_table_names_what_was_done(cli, served):
    first = cli("rotate", *options(served), "--json").json["generated"]
    out = cli("rotate", *options(served), "--keep-old-for", "2").out
    assert "revoked" not in out
    assert f"still valid  {first['id']}, valid until" in out
    made = max(served.state.access_tokens)
    assert f"new token    {made}, fingerprint" in out


def test_min_remaining_twice_changes_once(cli, served):
    cli("rotate", *options(served), "--min-remaining", "7")
    before = len(changing(served))
    out = cli("rotate", *options(served), "--min-remaining", "7").out
    assert "Nothing to do" in out
    assert len(changing(served)) == before


def test_account_by_id_and_owner_by_id(cli, served):
    made = cli("rotate", *options(served), "--json").json
    again = cli("rotate", *options(served, owner=str(served.admin.id), account=str(made["account_id"])), "--json").json
    assert again["account_id"] == made["account_id"]
    assert len([a for a in served.state.accounts.values() if a.display_name == "nightly token"]) == 1


def test_allow_external_use_is_passed_on(cli, served):
    made = cli("rotate", *options(served), "--allow-external-use", "--json").json
    assert served.state.accounts[made["account_id"]].allow_external_use is True


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_dry_run_sends_nothing_that_changes_anything(cli, served, form):
    served.add_access_token(served.admin.id, "nightly")
    accounts, tokens = len(served.state.accounts), dict(served.state.access_tokens)
    ran = cli("rotate", *options(served), "--dry-run", *form)
    assert changing(served) == []
    assert served.requests  # it did look
    assert (len(served.state.accounts), served.state.access_tokens) == (accounts, tokens)
    if form:
        assert ran.json["dry_run"] is True
        assert [note["id"] for note in ran.json["revoked"]] == [max(tokens)]
    else:
        assert "Dry run, nothing was changed: a new token would be generated" in ran.out
        assert f"to be revoked  {max(tokens)}" in ran.out


@pytest.mark.parametrize("missing", ["owner", "name", "account"])
def test_what_is_missing_is_named(cli, served, missing):
    ran = cli("rotate", *options(served, **{missing: None}), code=2)
    assert f"a rotation needs --{missing}\n" in ran.err
    assert not served.requests


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--days", "0", "more than nothing"),
        ("--days", "nan", "makes no sense"),
        ("--min-remaining", "-1", "min_remaining"),
        ("--provider", "snowflake", "cannot hold a token"),
    ],
)
def test_bad_values_are_refused_before_anything_is_sent(cli, served, option, value, said):
    given = options(served, owner=str(served.admin.id), days=None)
    ran = cli("rotate", *given, option, value, code=2)
    assert said in ran.err
    assert not served.requests


def test_what_a_failed_rotation_left_is_told(cli, served):
    old = served.add_access_token(served.admin.id, "nightly")
    served.misbehave("status", times=None, method="DELETE", path=r"/api/data/v1/accesstokens", status=403)
    ran = cli("rotate", *options(served), code=1)
    assert f"Access tokens that are still valid: {old.id}" in ran.err
    again = cli("rotate", *options(served), "--json", code=1)
    assert again.out == ""
    assert again.error["error"] == "RotationError"
    assert old.id in again.error["left_alive"]
