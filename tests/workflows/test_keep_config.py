"""What a keeper's configuration may say, and how it is told what is wrong with it."""

import sys
import traceback
from datetime import timedelta
from pathlib import Path

import keyring
import pytest

from domokit import AbstractCredentialStore, AccountConfig, DomoAccessTokenConfig, DomoAccount, Secret, errors
from domokit.auth import ClientOptions
from domokit.errors import InvalidInputError, MissingCredentialError
from domokit.testing import options_for
from domokit.workflows.keeping import read_config, status_path
from domokit.workflows.keeping.places import Places
from domokit.workflows.keeping.references import Reference
from tests.stores.made_up import MadeUpKeyring

CANARY = "canary-of-the-config-9h3k"

FULL = """
[keeper]
store = "shared"
check_every = "30s"
status = "state/keep.json"
at_once = 3
first_retry = "1s"
last_retry = "1.5m"

[stores.shared]
kind = "redis"
url = "env:REDIS_URL"
lease = "20s"
prefix = "keep:"
encryption = "file:key"

[stores.local]
kind = "file"
path = "tokens.json"
encryption = "keyring:domokit/key"

[stores.ring]
kind = "keyring"
service = "acme"

[instances.acme]
auth = "session"
instance = "acme"
username = "ann@example.com"
password = "env:ACME_PASSWORD"
base_url = "http://127.0.0.1:8080"

[instances.other]
auth = "access-token"
instance = "other.domo.com"
access_token = "keyring:domo/other"

[instances.api]
auth = "client"
client_id = "id"
client_secret = "file:~/secret"

[credentials.alteryx]
kind = "alteryx"
store = "local"
access_token = "file:first-access"
refresh_token = "file:first-refresh"
issuer = "https://pingauth.alteryxcloud.com/as"
user = "ann"
publish = {instance = "acme", account = "Alteryx token"}

[credentials.rdp]
kind = "rdp"
username = "machine-1"
password = "account:acme/RDP login#password"
app_key = "env:RDP_APP_KEY"
scope = "trapi trapi.data"
exclusive = false
token_url = "https://api.example.com/token"
check_every = "10s"

[[credentials.rdp.publish]]
instance = "acme"
account = 123

[[credentials.rdp.publish]]
instance = "api"
account = "RDP token"
provider = "domo-access-token"

[credentials.domo]
kind = "domo"
client_id = "id"
client_secret = "env:DOMO_SECRET"
scope = ["data", "user"]

[credentials.any]
kind = "oauth"
token_url = "https://login.example.com/token"
client_id = "id"
client_secret = "env:SECRET"
client_auth = "post"
grants = ["refresh_token", "password", "client_credentials"]
username = "ann"
password = "env:PASSWORD"
refresh_token = "env:REFRESH"
user = "ann"
params = {audience = "https://api.example.com", api_key = "env:API_KEY"}

[credentials.public]
kind = "oauth"
token_url = "http://localhost:8080/token"
client_id = "id"
client_auth = "none"
grants = "refresh_token"

[credentials.nightly]
kind = "access-token"
instance = "other"
owner = 27
name = "nightly sync"
duration = "30d"
min_remaining = "7d"
account = "nightly sync token"
provider = "domo-access-token"
keep_old_for = "2h"
allow_external_use = true

[credentials.usual]
kind = "access-token"
instance = "acme"
owner = "ann@example.com"
name = "usual"
account = 5
"""

SMALL = """
[stores.tokens]
kind = "file"
path = "tokens.json"
[instances.acme]
auth = "session"
instance = "acme"
username = "ann@example.com"
password = "env:ACME_PASSWORD"
[credentials.rdp]
kind = "rdp"
username = "machine-1"
password = "env:RDP_PASSWORD"
app_key = "key"
publish = {instance = "acme", account = "RDP token"}
[credentials.any]
kind = "oauth"
token_url = "https://login.example.com/token"
client_id = "id"
client_secret = "env:SECRET"
grants = ["client_credentials"]
[credentials.nightly]
kind = "access-token"
instance = "acme"
owner = 27
name = "nightly sync"
duration = "30d"
min_remaining = "7d"
account = "nightly sync token"
"""


@pytest.fixture
def written(tmp_path):
    """Writes a configuration and gives its path."""

    def write(text):
        path = tmp_path / "keep.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def without(line):
    assert SMALL.count(f"\n{line}\n") == 1
    return SMALL.replace(f"\n{line}\n", "\n")


def changed(line, to):
    assert SMALL.count(f"\n{line}\n") == 1
    return SMALL.replace(f"\n{line}\n", f"\n{to}\n")


def added(heading, line):
    assert SMALL.count(f"[{heading}]\n") == 1
    return SMALL.replace(f"[{heading}]\n", f"[{heading}]\n{line}\n")


def refused(path):
    with pytest.raises(InvalidInputError) as caught:
        read_config(path)
    return caught.value


# -- what it may say


def test_everything_it_may_say(written, tmp_path):
    config = read_config(written(FULL))
    assert config.path == tmp_path / "keep.toml"
    assert config.status == tmp_path / "state" / "keep.json"
    assert (config.at_once, config.first_retry, config.last_retry) == (3, timedelta(seconds=1), timedelta(seconds=90))

    shared, local, ring = config.stores["shared"], config.stores["local"], config.stores["ring"]
    assert (shared.kind, str(shared.url), str(shared.encryption)) == ("redis", "env:REDIS_URL", "file:key")
    assert (shared.lease, shared.prefix) == (timedelta(seconds=20), "keep:")
    assert (local.path, str(local.encryption)) == (tmp_path / "tokens.json", "keyring:domokit/key")
    assert (ring.kind, ring.service) == ("keyring", "acme")

    acme, other, api = (config.instances[name] for name in ("acme", "other", "api"))
    assert (acme.auth, acme.instance, acme.username) == ("session", "acme", "ann@example.com")
    assert (str(acme.secret), acme.base_url) == ("env:ACME_PASSWORD", "http://127.0.0.1:8080")
    assert (other.auth, other.instance, str(other.secret)) == ("access-token", "other.domo.com", "keyring:domo/other")
    assert (api.auth, api.instance, api.client_id, str(api.secret)) == ("client", None, "id", "file:~/secret")

    alteryx = config.credentials["alteryx"]
    assert (alteryx.kind, alteryx.store, alteryx.user) == ("alteryx", "local", "ann")
    assert (str(alteryx.access_token), str(alteryx.refresh_token)) == ("file:first-access", "file:first-refresh")
    assert [(one.instance, one.account, one.provider) for one in alteryx.publish] == [
        ("acme", "Alteryx token", "abstract-credential-store")
    ]
    rdp = config.credentials["rdp"]
    assert (rdp.username, rdp.scope, rdp.exclusive) == ("machine-1", ("trapi", "trapi.data"), False)
    assert (rdp.app_key, rdp.check_every) == (Reference("env", "RDP_APP_KEY"), timedelta(seconds=10))
    assert [(one.instance, one.account) for one in rdp.publish] == [("acme", 123), ("api", "RDP token")]
    assert rdp.store == "shared"
    assert config.credentials["domo"].scope == ("data", "user")
    any_of_them = config.credentials["any"]
    assert any_of_them.grants == ("refresh_token", "password", "client_credentials")
    assert any_of_them.client_auth == "post"
    assert any_of_them.params == {"audience": "https://api.example.com", "api_key": Reference("env", "API_KEY")}
    assert any_of_them.check_every == timedelta(seconds=30)
    assert config.credentials["public"].client_secret is None
    nightly = config.credentials["nightly"]
    assert (nightly.owner, nightly.keep_old_for, nightly.allow_external_use) == (27, timedelta(hours=2), True)
    usual = config.credentials["usual"]
    assert (usual.account, usual.duration, usual.min_remaining) == (5, timedelta(days=30), timedelta(days=7.5))


def test_what_it_need_not_say(written, tmp_path):
    text = SMALL.replace('[stores.tokens]\nkind = "file"\npath = "tokens.json"\n', "")
    config = read_config(written(text))
    assert {name: (one.kind, one.path) for name, one in config.stores.items()} == {
        "tokens": ("file", tmp_path / "keep.tokens.json")
    }
    assert config.status == tmp_path / "keep.status.json"
    assert config.credentials["rdp"].check_every == timedelta(minutes=1)
    assert config.credentials["nightly"].check_every == timedelta(minutes=15), "it asks Domo every time"


def test_the_same_definition_after_a_change_elsewhere(written):
    before = read_config(written(SMALL))
    after = read_config(written(changed('username = "ann@example.com"', 'username = "bob@example.com"')))
    same = {name: before.definition(name) == after.definition(name) for name in before.credentials}
    assert same == {"rdp": False, "any": True, "nightly": False}
    after = read_config(written(SMALL.replace("[stores", '[keeper]\nfirst_retry = "1m"\n[stores')))
    assert all(before.definition(name) == after.definition(name) for name in before.credentials)


def test_a_definition_is_also_where_its_secrets_are(written):
    text = changed('client_secret = "env:SECRET"', 'client_secret = "account:acme/secret"')
    before = read_config(written(text))
    after = read_config(written(text.replace("ann@example.com", "bob@example.com")))
    assert before.definition("any") != after.definition("any")


# -- what it may not say

ACME_PASSWORD, SECRET = 'password = "env:ACME_PASSWORD"', 'client_secret = "env:SECRET"'
REFUSED = {
    "unknown heading": (SMALL + "[credential.x]\n", "credential is not known; did you mean 'credentials'?"),
    "unknown in keeper": (
        SMALL + "[keeper]\nchek_every = '1m'",
        "keeper.chek_every is not known; did you mean 'check_every'",
    ),
    "unknown in store": (added("stores.tokens", "pth = 'x'"), "stores.tokens.pth is not known; did you mean 'path'?"),
    "unknown in instance": (added("instances.acme", "nobody = 1"), "instances.acme.nobody is not known"),
    "unknown in credential": (
        added("credentials.nightly", "min_remainig = '7d'"),
        "credentials.nightly.min_remainig is not known; did you mean 'min_remaining'?",
    ),
    "unknown in publication": (
        SMALL.replace('"RDP token"}', '"RDP token", acount = 1}'),
        "credentials.rdp.publish.acount is not known; did you mean 'account'?",
    ),
    "misspelled": (
        changed('name = "nightly sync"', 'nmae = "nightly sync"'),
        "credentials.nightly.name is missing; is it what 'nmae' means?",
    ),
    "of another kind": (added("credentials.any", "duration = '1d'"), "credentials.any.duration is not known"),
    "for another grant": (added("credentials.any", "password = 'env:P'"), "credentials.any.password is not known"),
    "keeper no table": ("keeper = 3\n" + SMALL, "keeper must be a table"),
    "keeper an empty text": ("keeper = ''\n" + SMALL, "keeper must be a table"),
    "several keepers": (SMALL + "[[keeper]]\n[[keeper]]\n", "keeper must be a table"),
    "stores no tables": ("credentials = 3\n", "credentials must hold tables"),
    "store no table": (
        SMALL.replace("[stores.tokens]", "[stores]\nother = 1\n[stores.tokens]"),
        "stores.other must be a table",
    ),
    "publish no table": (
        changed('publish = {instance = "acme", account = "RDP token"}', "publish = 3"),
        "credentials.rdp.publish must be a table",
    ),
    "missing secret": (without(SECRET), "credentials.any.client_secret is missing"),
    "missing text": (without('app_key = "key"'), "credentials.rdp.app_key is missing"),
    "missing kind": (without('kind = "rdp"'), "credentials.rdp.kind is missing"),
    "missing path": (without('path = "tokens.json"'), "stores.tokens.path is missing"),
    "missing url": (
        changed('kind = "file"', 'kind = "redis"').replace('path = "tokens.json"\n', ""),
        "stores.tokens.url is missing",
    ),
    "missing instance": (
        SMALL.replace('auth = "session"\ninstance = "acme"', 'auth = "session"'),
        "instances.acme.instance is missing",
    ),
    "missing owner": (without("owner = 27"), "credentials.nightly.owner is missing"),
    "missing account": (SMALL.replace(', account = "RDP token"', ""), "credentials.rdp.publish.account is missing"),
    "missing grants": (without('grants = ["client_credentials"]'), "credentials.any.grants is missing"),
    "missing token_url": (
        without('token_url = "https://login.example.com/token"'),
        "credentials.any.token_url is missing",
    ),
    "missing refresh token": (
        changed('grants = ["client_credentials"]', 'grants = ["refresh_token"]\naccess_token = "env:A"'),
        "credentials.any.refresh_token is missing",
    ),
    "missing password": (
        changed('grants = ["client_credentials"]', 'grants = ["password"]\nusername = "ann"'),
        "credentials.any.password is missing",
    ),
    "number for a text": (changed('app_key = "key"', "app_key = 7"), "credentials.rdp.app_key must be a text"),
    "empty text": (changed('app_key = "key"', "app_key = ' '"), "credentials.rdp.app_key must be a text"),
    "text for a flag": (
        added("credentials.rdp", "exclusive = 'no'"),
        "credentials.rdp.exclusive must be true or false",
    ),
    "number for a flag": (
        added("credentials.nightly", "allow_external_use = 1"),
        "credentials.nightly.allow_external_use must be true or false",
    ),
    "flag for an id": (changed("owner = 27", "owner = true"), "credentials.nightly.owner must be a name or a number"),
    "none at once": (SMALL + "[keeper]\nat_once = 0", "keeper.at_once must be a whole number above 0"),
    "yes at once": (SMALL + "[keeper]\nat_once = true", "keeper.at_once must be a whole number above 0"),
    "bare duration": (changed('duration = "30d"', "duration = 30"), "credentials.nightly.duration must be a duration"),
    "no unit": (changed('duration = "30d"', "duration = '30'"), "credentials.nightly.duration must be a duration"),
    "unknown unit": (
        changed('min_remaining = "7d"', "min_remaining = '1w'"),
        "credentials.nightly.min_remaining must be",
    ),
    "no time": (SMALL + "[keeper]\ncheck_every = '0s'", "keeper.check_every must be a duration"),
    "too long a time": (SMALL + "[keeper]\nlast_retry = '99999999d'", "keeper.last_retry must be a duration"),
    "kept too long": (
        changed('min_remaining = "7d"', 'min_remaining = "30d"'),
        "credentials.nightly.min_remaining must be less than duration",
    ),
    "unknown kind": (
        changed('kind = "rdp"', 'kind = "alterix"'),
        "credentials.rdp.kind is one of alteryx, rdp, domo, oauth, access-token; did you mean",
    ),
    "unknown kind of store": (
        changed('kind = "file"', 'kind = "s3"'),
        "stores.tokens.kind is one of file, redis, keyring",
    ),
    "unknown auth": (
        changed('auth = "session"', 'auth = "password"'),
        "instances.acme.auth is one of session, access-token, client",
    ),
    "unknown grant": (changed('grants = ["client_credentials"]', 'grants = "device"'), "credentials.any.grants knows"),
    "unknown client_auth": (
        added("credentials.any", "client_auth = 'digest'"),
        "credentials.any.client_auth is one of",
    ),
    "secret of a public client": (
        added("credentials.any", "client_auth = 'none'"),
        "credentials.any.client_secret is not known",
    ),
    "unknown provider": (
        added("credentials.nightly", "provider = 'snowflake'"),
        "credentials.nightly.provider is one of",
    ),
    "no scope": (added("credentials.any", "scope = ['a\\\"b']"), "credentials.any.scope holds something"),
    "http": (
        changed('token_url = "https://login.example.com/token"', 'token_url = "http://login.example.com/token"'),
        "credentials.any.token_url will not do",
    ),
    "http to Domo": (added("instances.acme", "base_url = 'http://example.com'"), "instances.acme.base_url will not do"),
    "no instance": (
        SMALL.replace('instance = "acme"\nusername', 'instance = "a/b"\nusername'),
        "instances.acme.instance will not do",
    ),
    "no such store": (added("credentials.rdp", "store = 'other'"), "credentials.rdp.store names 'other'"),
    "no such usual store": (SMALL + "[keeper]\nstore = 'other'", "keeper.store names 'other'"),
    "no such instance": (
        SMALL.replace('publish = {instance = "acme"', 'publish = {instance = "acne"'),
        "credentials.rdp.publish.instance names 'acne'",
    ),
    "no such instance to rotate at": (
        SMALL.replace('instance = "acme"\nowner', 'instance = "acne"\nowner'),
        "credentials.nightly.instance names 'acne'",
    ),
    "no such instance to refer to": (
        changed(SECRET, 'client_secret = "account:acne/secret"'),
        "credentials.any.client_secret names 'acne'",
    ),
    "no such instance for a key": (
        added("stores.tokens", "encryption = 'account:acne/key'"),
        "stores.tokens.encryption names 'acne'",
    ),
    "circle": (
        changed(ACME_PASSWORD, 'password = "account:acme/me"'),
        "instances.acme.password cannot be in an account",
    ),
    "API client that rotates": (
        changed(ACME_PASSWORD, SECRET)
        .replace('username = "ann@example.com"', 'client_id = "id"')
        .replace('"session"', '"client"'),
        "credentials.nightly.instance names 'acme', which signs in as an API client",
    ),
    "half a reference": (
        changed('app_key = "key"', 'app_key = "env:not a name"'),
        "credentials.rdp.app_key is a secret",
    ),
    "negative owner": (
        changed("owner = 27", "owner = -5"),
        "credentials.nightly.owner must be a name or a number above",
    ),
    "account 0": (
        SMALL.replace('account = "RDP token"', "account = 0"),
        "credentials.rdp.publish.account must be a name or a number above 0",
    ),
    "blanks around it": (
        changed('client_id = "id"', 'client_id = " id "'),
        "credentials.any.client_id must be a text without blanks around it",
    ),
    "a line end after it": (
        changed('name = "nightly sync"', 'name = "nightly sync\\n"'),
        "credentials.nightly.name must be a text without blanks around it",
    ),
    "reference to a label": (
        added("credentials.any", "user = 'env:WHO'"),
        "credentials.any.user cannot be given by reference; write it out",
    ),
    "reference to an owner": (
        changed("owner = 27", "owner = 'env:OWNER'"),
        "credentials.nightly.owner cannot be given by reference",
    ),
    "reference to a path": (
        changed('path = "tokens.json"', "path = 'env:TOKENS'"),
        "stores.tokens.path cannot be given by reference",
    ),
    "same grant twice": (
        changed('grants = ["client_credentials"]', 'grants = ["client_credentials", "client_credentials"]'),
        "credentials.any.grants names one twice",
    ),
    "field of the grant itself": (
        SMALL + "[credentials.any.params]\nGrant_Type = 'x'\n",
        "credentials.any.params.Grant_Type is not one of the further fields",
    ),
    "refresh token among the fields": (
        SMALL + "[credentials.any.params]\nrefresh_token = 'env:R'\n",
        "credentials.any.params.refresh_token is not one of the further fields",
    ),
    "scope among the fields": (
        SMALL + "[credentials.any.params]\nscope = 'admin'\n",
        "credentials.any.params.scope is not one of the further fields",
    ),
    "tokens in the place of the file": (
        changed('path = "tokens.json"', 'path = "keep.toml"'),
        "stores.tokens.path is this configuration; tokens need a file of their own",
    ),
    "tokens in the place of the file, by another way": (
        changed('path = "tokens.json"', 'path = "./there/../keep.toml"'),
        "stores.tokens.path is this configuration",
    ),
    "tokens in the place of a secret": (
        changed(SECRET, 'client_secret = "file:./tokens.json"'),
        "stores.tokens.path is what credentials.any.client_secret refers to",
    ),
    "tokens in the place of a password": (
        changed(ACME_PASSWORD, 'password = "file:tokens.json"'),
        "stores.tokens.path is what instances.acme.password refers to",
    ),
    "tokens in the place of their key": (
        added("stores.tokens", "encryption = 'file:tokens.json'"),
        "stores.tokens.path is what stores.tokens.encryption refers to",
    ),
    "status in the place of a secret": (
        changed(SECRET, 'client_secret = "file:keep.status.json"'),
        "keeper.status is a file of its own, which the keeper overwrites, not what credentials.any.client_secret",
    ),
    "one file, two keys": (
        SMALL + "[stores.again]\nkind = 'file'\npath = './tokens.json'\nencryption = 'env:KEY'\n",
        "stores.again is the same place as stores.tokens with another encryption",
    ),
    "one Redis, two keys": (
        SMALL
        + "[stores.a]\nkind = 'redis'\nurl = 'env:R'\nencryption = 'env:A'\n"
        + "[stores.b]\nkind = 'redis'\nurl = 'env:R'\nencryption = 'env:B'\n",
        "stores.b is the same place as stores.a with another encryption",
    ),
    "NUL in a path": (
        changed('path = "tokens.json"', 'path = "a\\u0000b"'),
        "stores.tokens.path will not do: there is",
    ),
    "NUL in the path of the status": (SMALL + '[keeper]\nstatus = "a\\u0000b"', "keeper.status will not do: there is"),
    "NUL in a reference": (
        changed(SECRET, 'client_secret = "file:a\\u0000b"'),
        "credentials.any.client_secret will not do: there is a NUL in it",
    ),
    "home of nobody": (
        changed('path = "tokens.json"', 'path = "~nobody-of-this-name/t.json"'),
        "stores.tokens.path will not do: ~nobody-of-this-name/t.json is in the home of somebody who has none",
    ),
    "number without end": (SMALL + "[keeper]\nat_once = " + "1" * 5000, "a number in it is too long"),
    "nested without end": (SMALL + "[keeper]\nat_once = " + "[" * 5000, "nested too deeply"),
    "status in the place of the file": (SMALL + "[keeper]\nstatus = 'keep.toml'", "keeper.status is a file of its own"),
    "status in the place of tokens": (SMALL + "[keeper]\nstatus = 'tokens.json'", "keeper.status is a file of its own"),
    "empty": ("", "there is nothing to keep"),
    "comments only": ("# nothing\n[keeper]\n", "there is nothing to keep"),
    "no TOML": ("[keeper\n", "is not TOML"),
    "no text": (b"\xff\xfe", "is no text in UTF-8"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_named_by_its_path(written, what):
    text, said = REFUSED[what]
    error = refused(written(text))
    assert said in error.message
    assert "keep.toml" in error.message


def test_the_small_one_is_good(written):
    read_config(written(SMALL))  # or the refusals above would prove nothing


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path):
    assert "cannot be read: No such file" in refused(tmp_path / "nothing.toml").message
    assert "cannot be read" in refused(tmp_path).message


LITERAL = [
    ("instances.acme.password", changed(ACME_PASSWORD, f'password = "{CANARY}"')),
    ("credentials.any.client_secret", changed(SECRET, f'client_secret = "{CANARY}"')),
    ("credentials.any.client_secret", changed(SECRET, f'client_secret = ["{CANARY}"]')),
    ("credentials.any.client_secret", changed(SECRET, f'client_secret = "env:{CANARY}"')),
    ("credentials.any.client_secret", changed(SECRET, f'client_secret = "keyring:{CANARY}"')),
    ("credentials.rdp.password", changed('password = "env:RDP_PASSWORD"', f'password = "vault:{CANARY}"')),
    (
        "credentials.any.params.client_assertion_token",
        SMALL + f'[credentials.any.params]\nclient_assertion_token = "{CANARY}"',
    ),
    (
        "credentials.any.refresh_token",
        changed('grants = ["client_credentials"]', f'grants = "refresh_token"\nrefresh_token = "{CANARY}"'),
    ),
    ("stores.tokens.encryption", added("stores.tokens", f'encryption = "{CANARY}"')),
    ("stores.tokens.url", changed('kind = "file"', f'kind = "redis"\nurl = "redis://:{CANARY}@host/0"')),
]


LITERAL += [
    (f"credentials.any.params.{name}", SMALL + f'[credentials.any.params]\n{name} = "{CANARY}"')
    for name in ("code", "assertion", "client_assertion", "app_key", "Key", "pass_code")
]


@pytest.mark.parametrize(("where", "text"), LITERAL, ids=range(len(LITERAL)))
def test_a_literal_secret_is_refused_and_not_shown(written, where, text):
    error = refused(written(text))
    assert f"{where} is a secret and is given by reference" in error.message
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "read_config" in shown
    assert CANARY not in shown
    assert error.__cause__ is error.__context__ is None, "their frames would show it"


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"
RANDOM = ["Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4MTIz", "9f86d081884c7d659a2feaa0c55ad015"]


@pytest.mark.parametrize("value", [JWT, *RANDOM])
def test_a_field_that_looks_like_a_secret_is_refused(written, value):
    error = refused(written(SMALL + f'[credentials.any.params]\nresource = "{value}"'))
    assert "credentials.any.params.resource is a secret and is given by reference" in error.message
    assert value not in error.message


@pytest.mark.parametrize(
    "value",
    [
        "https://api.example.com/A1/resource-of-the-api-of-2026",
        "00000003-0000-0000-c000-000000000000",
        "123456789012-abcdefghijklmnopqrstuvwxyz123456.apps.example.com",
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "a-name-of-many-words-that-somebody-has-written-2",
    ],
)
def test_a_field_that_looks_like_none_is_good(written, value):
    text = SMALL + f'[credentials.any.params]\nresource = "{value}"\nclient_assertion_type = "{value}"\n'
    assert read_config(written(text)).credentials["any"].params["resource"] == value


@pytest.mark.parametrize(
    "query", [f"client_secret={CANARY}", f"a=1&api_key={CANARY}", f"code={CANARY}", f"x={JWT}", f"x={RANDOM[0]}"]
)
def test_a_secret_in_an_address_is_refused_and_not_shown(written, query):
    line = 'token_url = "https://login.example.com/token"'
    error = refused(written(changed(line, line.replace("/token", f"/token?{query}"))))
    assert "credentials.any.token_url " in error.message
    assert "its query" in error.message
    assert CANARY not in error.message
    assert query.partition("=")[2] not in error.message


def test_an_address_may_have_a_query(written):
    line = 'token_url = "https://login.example.com/token"'
    config = read_config(written(changed(line, line.replace("/token", "/token?tenant=acme&v=2"))))
    assert config.credentials["any"].token_url.endswith("?tenant=acme&v=2")


def test_stores_that_are_the_same_one_and_agree(written):
    config = read_config(written(SMALL + "[stores.again]\nkind = 'file'\npath = './tokens.json'\n"))
    assert list(config.stores) == ["tokens", "again"]


def test_who_it_is_may_be_given_by_reference(written):
    text = (
        SMALL.replace('"ann@example.com"', '"env:ANN"')
        .replace('username = "machine-1"', 'username = "env:MACHINE"')
        .replace('client_id = "id"', 'client_id = "env:CLIENT"')
    )
    config = read_config(written(text))
    assert config.instances["acme"].references["username"] == Reference("env", "ANN")
    assert config.credentials["rdp"].references["username"] == Reference("env", "MACHINE")
    assert config.credentials["any"].references["client_id"] == Reference("env", "CLIENT")
    text = text.replace('"env:ANN"', '"account:acme/ann"')
    assert "instances.acme.username cannot be in an account" in refused(written(text)).message


def test_what_is_no_toml_is_not_shown_either(written):
    error = refused(written(f'password = "{CANARY}"\npassword = "{CANARY}"\n'))
    assert "is not TOML" in error.message
    assert CANARY not in error.message
    assert error.__context__ is None


# -- where the status is


def test_the_status_is_found_though_the_file_is_broken(written, tmp_path):
    assert status_path(written(SMALL)) == tmp_path / "keep.status.json"
    told = SMALL + '[keeper]\nstatus = "elsewhere/s.json"\n'
    assert status_path(written(told)) == tmp_path / "elsewhere" / "s.json"
    assert status_path(written(told + "nonsense = 1\n")) == tmp_path / "elsewhere" / "s.json"
    for broken in (
        "[keeper\n", b"\xff", "keeper = 1", "[keeper]\nstatus = 3", '[keeper]\nstatus = "a\\u0000b"',
        "[keeper]\nstatus = '~nobody-of-this-name/s'", "x = " + "1" * 5000, "x = " + "[" * 5000,
    ):  # fmt: skip
        assert status_path(written(broken)) == tmp_path / "keep.status.json"
    with pytest.raises(InvalidInputError, match=r"nothing\.toml cannot be read: No such file"):
        status_path(tmp_path / "nothing.toml")


# -- references


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("env:NAME", "env", "NAME"),
        (" env: NAME ", "env", "NAME"),
        ("file:/run/secrets/x", "file", "/run/secrets/x"),
        ("file:with space:and colon", "file", "with space:and colon"),
        ("keyring:domokit/ann@example.com", "keyring", "domokit/ann@example.com"),
        ("account:acme/12#refresh", "account", "acme/12#refresh"),
    ],
)
def test_what_is_a_reference(text, kind, place):
    found = Reference.parse(text)
    assert found == Reference(kind, place)
    assert str(found) == f"{kind}:{place}"
    assert place in repr(found)
    assert found.instance == ("acme" if kind == "account" else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NAME",
        "env:",
        "env:a-b",
        "env:A B",
        "file:",
        "keyring:service",
        "keyring:/name",
        "account:acme",
        "account:acme/",
        "ENV:X",
        "vault:x",
    ],
)
def test_what_is_none(text):
    assert Reference.parse(text) is None


async def test_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KEEP_SECRET", CANARY)
    found = await Reference("env", "KEEP_SECRET").resolve(tmp_path)
    assert isinstance(found, Secret)
    assert found.reveal() == CANARY
    for value in ("", None):
        monkeypatch.setenv("KEEP_SECRET", value) if value is not None else monkeypatch.delenv("KEEP_SECRET")
        with pytest.raises(MissingCredentialError, match="env:KEEP_SECRET holds nothing"):
            await Reference("env", "KEEP_SECRET").resolve(tmp_path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
async def test_from_a_file_but_for_its_line_end(tmp_path, end):
    path = tmp_path / "secret"
    path.write_bytes(f" {CANARY}\n{end}".encode())
    path.chmod(0o600)
    for place in ("secret", str(path)):
        assert (await Reference("file", place).resolve(tmp_path)).reveal() == f" {CANARY}\n"[: None if end else -1]


async def test_from_a_file_of_this_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").write_text(CANARY)
    (tmp_path / "secret").chmod(0o400)
    assert (await Reference("file", "~/secret").resolve(Path("/nowhere"))).reveal() == CANARY


@pytest.mark.skipif(sys.platform == "win32", reason="where others may read a file is another matter there")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606], ids="{:o}".format)
async def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_text(CANARY)
    path.chmod(mode)
    with pytest.raises(errors.StoreUnsafeError, match=f"can be read by others .mode {mode:o}") as caught:
        await Reference("file", "secret").resolve(tmp_path)
    assert caught.value.needs_human
    assert f"chmod 600 {path}" in str(caught.value)


async def test_files_that_hold_no_secret(tmp_path):
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    for path in (empty, binary):
        path.chmod(0o600)
    for name, said in (
        ("empty", "file:empty holds nothing"),
        ("binary", "is no text"),
        ("missing", "cannot be read: No such file"),
        (".", "cannot be read"),
    ):
        with pytest.raises(MissingCredentialError, match=said):
            await Reference("file", name).resolve(tmp_path)


async def test_from_the_keyring(tmp_path, monkeypatch):
    ring = MadeUpKeyring(tmp_path / "ring")
    ring.set_password("domo", "ann/bob", CANARY)
    monkeypatch.setattr(keyring, "get_keyring", lambda: ring)
    assert (await Reference("keyring", "domo/ann/bob").resolve(tmp_path)).reveal() == CANARY
    with pytest.raises(MissingCredentialError, match="keyring:domo/bob holds nothing"):
        await Reference("keyring", "domo/bob").resolve(tmp_path)

    def locked(*_):
        raise RuntimeError("locked")

    monkeypatch.setattr(ring, "get_password", locked)
    with pytest.raises(errors.StoreUnavailableError, match="locked"):
        await Reference("keyring", "domo/bob").resolve(tmp_path)


async def test_from_the_keyring_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(InvalidInputError, match=r"domokit\[keyring\]"):
        await Reference("keyring", "domo/bob").resolve(tmp_path)


@pytest.fixture
def places(written, domo_sandbox, monkeypatch):
    """The places of a configuration whose instance is the sandbox."""
    monkeypatch.setenv("ACME_PASSWORD", domo_sandbox.password)
    config = read_config(written(SMALL.replace("ann@example.com", domo_sandbox.username)))
    return Places(config, options_for(domo_sandbox))


async def put(auth, name, config, *, shown=True):
    return await DomoAccount.create(auth, name=name, config=config, allow_external_use=shown)


async def secret_of(places, text):
    return (await places.secrets({"it": Reference.parse(text)}))["it"].reveal()


async def test_from_an_account(places):
    auth = await places.auth("acme")
    held = {"access_token": CANARY, "password": "p" + CANARY, "number": 7}
    store = await put(auth, "login", AbstractCredentialStore(held))
    await put(auth, "plain", AbstractCredentialStore("t" + CANARY))
    await put(auth, "token", DomoAccessTokenConfig("d" + CANARY, "ann", "w" + CANARY))
    assert await secret_of(places, "account:acme/login") == CANARY
    assert await secret_of(places, f"account:acme/{store.id}") == CANARY
    assert await secret_of(places, "account:acme/login#password") == "p" + CANARY
    assert await secret_of(places, "account:acme/plain") == "t" + CANARY
    assert await secret_of(places, "account:acme/token") == "d" + CANARY
    assert await secret_of(places, "account:acme/token#password") == "w" + CANARY
    for text in ("account:acme/login#nothing", "account:acme/login#number", "account:acme/plain#x"):
        with pytest.raises(MissingCredentialError, match=f"{text} holds nothing"):
            await secret_of(places, text)
    await places.aclose()


async def test_accounts_that_will_not_do(places):
    auth = await places.auth("acme")
    await put(auth, "hidden", AbstractCredentialStore({"access_token": CANARY}), shown=False)
    await put(auth, "half", AbstractCredentialStore({"refresh_token": CANARY}))
    await put(auth, "two", AbstractCredentialStore({"access_token": CANARY}))
    await put(
        auth, "two", AccountConfig("snowflake", {"account": "x", "username": "y", "password": CANARY, "role": None})
    )
    for text, said in (
        ("account:acme/hidden", "account:acme/hidden comes masked"),
        ("account:acme/nothing", "account:acme/nothing: there is no account 'nothing'"),
        ("account:acme/half", "account:acme/half holds nothing"),
    ):
        with pytest.raises(MissingCredentialError, match=said):
            await secret_of(places, text)
    with pytest.raises(errors.NotFoundError):
        await secret_of(places, "account:acme/99999")
    await places.aclose()


# -- what is opened by them


async def test_what_is_opened_by_a_secret_is_opened_anew_when_that_changes(places, monkeypatch):
    first = await places.auth("acme")
    assert await places.auth("acme") is first
    await places.reread()
    assert await places.auth("acme") is first
    monkeypatch.setenv("ACME_PASSWORD", "another")
    assert await places.auth("acme") is first, "until it is reread"
    await places.reread()
    second = await places.auth("acme")
    assert second is not first
    monkeypatch.delenv("ACME_PASSWORD")
    await places.reread()
    assert await places.auth("acme") is second, "which may still serve"
    await places.reread(sign_in=True)
    with pytest.raises(MissingCredentialError, match="env:ACME_PASSWORD holds nothing"):
        await places.auth("acme")
    await places.aclose()


async def test_stores_are_opened_once_and_anew_for_another_configuration(written, tmp_path, monkeypatch):
    places = Places(read_config(written(SMALL)), ClientOptions())
    store = await places.store("tokens")
    assert await places.store("tokens") is store
    places.config = read_config(written(SMALL + "# the same\n"))
    assert await places.store("tokens") is store
    places.config = read_config(written(changed('path = "tokens.json"', 'path = "others.json"')))
    assert (await places.store("tokens")).path == tmp_path / "others.json"
    await places.aclose()


async def test_what_is_no_key_is_told_before_anything_is_stored(written, monkeypatch):
    monkeypatch.setenv("KEEP_KEY", CANARY)
    places = Places(read_config(written(added("stores.tokens", "encryption = 'env:KEEP_KEY'"))), ClientOptions())
    with pytest.raises(InvalidInputError, match="env:KEEP_KEY holds no key: 32 bytes as base64"):
        await places.store("tokens")


async def test_a_token_is_looked_after_once(written):
    places = Places(read_config(written(SMALL)), ClientOptions())
    places.claim("first", "store", "key")
    places.claim("first", "store", "key")
    places.claim("second", "store", "other key")
    with pytest.raises(InvalidInputError, match=r"credentials\.second is the same token as credentials\.first"):
        places.claim("second", "store", "key")
    places.give_up("first")
    places.claim("second", "store", "key")
