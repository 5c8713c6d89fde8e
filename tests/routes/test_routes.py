"""Every function of `domokit.routes`: what it sends, and what it makes of the answer.

The expectations are written out from Domo's documentation and from what its clients are seen to send; they know nothing
of the `Route` constants.
"""

import inspect
import json
import logging
import re
from collections.abc import Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import attrs
import httpx
import pytest
import respx

import domokit.routes
from domokit import (
    NO_RETRY,
    AccessTokenAuth,
    ClientOptions,
    OAuthClientAuth,
    RetryPolicy,
    Secret,
    SessionAuth,
    dry_run,
    errors,
    record,
)
from domokit.routes.platform import accounts as platform_accounts
from domokit.routes.platform import datasets as platform_datasets
from domokit.routes.platform import groups as platform_groups
from domokit.routes.platform import row_policies as platform_policies
from domokit.routes.platform import streams as platform_streams
from domokit.routes.platform import users as platform_users
from domokit.routes.product import (
    access_tokens,
    accounts,
    api_clients,
    authentication,
    datasets,
    groups,
    query,
    roles,
    row_policies,
    streams,
    uploads,
    users,
)
from domokit.transport import Content

from . import data_cases

PRODUCT, PLATFORM = "https://acme.domo.com", "https://api.domo.com"
PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
ROW = {"id": 27, "newcomer": None}
ACS = "abstract-credential-store"
NOTHING = object()  # no body at all


@attrs.frozen(eq=False)
class Case:
    """One call and what must come of it.

    sends:   method, path and query.
    body:    JSON, or bytes for a bare text.
    answer:  what Domo answers, JSON or bytes; NOTHING where it says nothing.
    gives:   what the function returns; by default the answer.
    reads:   whether it changes nothing.
    twice:   whether it may be sent again after a lost answer.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    sends: str
    query: dict[str, str]
    body: Any
    answer: Any
    gives: Any
    reads: bool
    twice: bool

    @property
    def platform(self):
        return ".platform." in self.function.__module__

    def __call__(self, auth):
        return self.function(auth, *self.arguments, **self.keywords)

    def response(self):
        if self.answer is NOTHING:
            return httpx.Response(200)
        if isinstance(self.answer, bytes):
            return httpx.Response(200, content=self.answer)
        return httpx.Response(200, json=self.answer)


def case(
    function,
    *arguments,
    sends,
    params=None,
    body=NOTHING,
    answer=NOTHING,
    gives=NOTHING,
    reads=None,
    twice=None,
    **named,
):
    method = sends.partition(" ")[0]
    reads = method == "GET" if reads is None else reads
    twice = reads or method in {"PUT", "DELETE"} if twice is None else twice
    if gives is NOTHING:
        gives = None if answer is NOTHING else answer
    name = f"{function.__module__.removeprefix('domokit.routes.')}.{function.__name__}"
    return Case(name, function, arguments, named, sends, params or {}, body, answer, gives, reads, twice)


def filters(*wanted):
    """The body of a search for accounts."""
    return {
        "query": "*etl*",
        "entityList": [["account"]],
        "count": 50,
        "offset": 100,
        "combineResults": False,
        "filters": list(wanted),
        "facetValuesToInclude": [],
        "queryProfile": "GLOBAL",
        "hideSearchObjects": True,
        "sort": {"fieldSorts": [{"field": "display_name_sort", "sortOrder": "ASC"}]},
    }


BY_ADDRESS = {"filterType": "text", "field": "emailAddress", "text": "ann@example.com"}
IDENTITY = "/api/identity/v1/users"
PROVIDER_FIELDS = "id,key,name,authenticationScheme,connectorValidatorPresent,defaultConnectorId"

CASES = [
    # access tokens
    case(access_tokens.get_all_access_tokens, sends="GET /api/data/v1/accesstokens", answer=[ROW, None]),
    case(
        access_tokens.generate_access_token,
        owner_id=27,
        name="etl",
        expires=1_767_225_600_000,
        sends="POST /api/data/v1/accesstokens",
        body={"name": "etl", "ownerId": 27, "expires": 1_767_225_600_000},
        answer={"id": 200_001, "token": "0123456789abcdef"},
        gives={"id": 200_001, "token": Secret("0123456789abcdef")},
    ),
    case(access_tokens.revoke_access_token, 200_001, sends="DELETE /api/data/v1/accesstokens/200001"),
    # accounts
    case(accounts.get_accounts, sends="GET /api/data/v1/accounts", answer=[ROW]),
    case(accounts.get_account_by_id, 105, sends="GET /api/data/v1/accounts/105", answer=ROW),
    case(
        accounts.create_account,
        name="etl",
        provider_type=ACS,
        fields={"credentials": Secret('{"a": "b"}')},
        allow_external_use=True,
        sends="POST /api/data/v1/accounts",
        body={
            "name": "etl",
            "displayName": "etl",
            "dataProviderType": ACS,
            "type": "data",
            "configurations": {"credentials": '{"a": "b"}'},
            "allowExternalUse": True,
        },
        answer=ROW,
    ),
    case(
        accounts.create_account,
        name="etl",
        provider_type="snowflake",
        fields={"role": None, "username": "svc"},
        sends="POST /api/data/v1/accounts",
        body={
            "name": "etl",
            "displayName": "etl",
            "dataProviderType": "snowflake",
            "type": "data",
            "configurations": {"role": None, "username": "svc"},
        },
        answer=ROW,
    ),
    case(
        accounts.get_account_config,
        "domo-access-token",
        105,
        sends="GET /api/data/v1/providers/domo-access-token/account/105",
        answer={"domoAccessToken": "********", "username": "ann@example.com", "allowExternalUse": "true"},
        gives={"domoAccessToken": Secret("********"), "username": "ann@example.com", "allowExternalUse": "true"},
    ),
    case(
        accounts.get_account_config,
        ACS,
        105,
        unmask=True,
        sends=f"GET /api/data/v1/providers/{ACS}/account/105",
        params={"unmask": "true"},
        answer={},
    ),
    case(
        accounts.update_account_config,
        ACS,
        105,
        {"credentials": Secret('ünï "quoted"')},
        sends=f"PUT /api/data/v1/providers/{ACS}/account/105",
        body={"credentials": 'ünï "quoted"'},
        answer=ROW,
        gives=None,
    ),
    case(
        accounts.update_account_name,
        105,
        'Übertragung "2"',
        sends="PUT /api/data/v1/accounts/105/name",
        body='Übertragung "2"'.encode(),
        answer=ROW,
        gives=None,
    ),
    case(accounts.delete_account, 105, sends="DELETE /api/data/v1/accounts/105"),
    case(
        accounts.share_account,
        105,
        kind="USER",
        grantee_id=27,
        level="CAN_VIEW",
        sends="PUT /api/data/v2/accounts/share/105",
        body={"type": "USER", "id": "27", "accessLevel": "CAN_VIEW"},
    ),
    case(
        accounts.get_account_access,
        105,
        sends="GET /api/data/v2/accounts/share/105",
        answer={"list": [{"type": "USER", "id": "27", "accessLevel": "OWNER", "name": "Ann"}], "totalUserCount": 1},
        gives=[{"type": "USER", "id": "27", "accessLevel": "OWNER", "name": "Ann"}],
    ),
    case(
        accounts.search_accounts,
        query="*etl*",
        count=50,
        offset=100,
        sends="POST /api/search/v1/query",
        body=filters(),
        answer={"searchResultsMap": {"account": [{"databaseId": "105"}]}},
        gives=[{"databaseId": "105"}],
        reads=True,
    ),
    case(
        accounts.search_accounts,
        query="*etl*",
        provider_type=ACS,
        count=50,
        offset=100,
        sends="POST /api/search/v1/query",
        body=filters(
            {
                "field": "dataproviderkey_facet",
                "filterType": "term",
                "name": "Data Provider Type",
                "value": ACS,
                "not": False,
            }
        ),
        answer={"searchResultsMap": {}},
        gives=[],
        reads=True,
    ),
    case(
        accounts.get_account_datasets,
        105,
        sends="GET /api/data/v2/datasources/account/105",
        answer=[{"dataSourceId": "a-b"}],
    ),
    case(accounts.get_providers_in_use, sends="GET /api/data/v2/datasources/providers", answer=[{"key": ACS}]),
    case(
        accounts.get_providers,
        sends="GET /api/data/v1/providers",
        params={"fields": PROVIDER_FIELDS},
        answer=[{"key": ACS}],
    ),
    case(
        accounts.get_provider,
        ACS,
        sends=f"GET /api/data/v1/providers/{ACS}",
        params={"fields": "all"},
        answer={"key": ACS, "authenticationSchemeConfiguration": [{"name": "credentials"}]},
    ),
    # API clients
    case(api_clients.get_api_clients, sends="GET /api/identity/v1/developer-tokens", answer=[ROW]),
    case(
        api_clients.get_api_clients,
        sends="GET /api/identity/v1/developer-tokens",
        answer={"entries": [ROW]},
        gives=[ROW],
    ),
    case(
        api_clients.create_api_client,
        name="automation",
        description="nightly jobs",
        scopes=("data", "audit"),
        sends="POST /api/identity/v1/developer-tokens",
        body={"name": "automation", "description": "nightly jobs", "scopes": ["data", "audit"]},
        answer={"id": 4711, "clientId": "d6e2", "clientSecret": "dac4726b"},
        gives={"id": 4711, "clientId": "d6e2", "clientSecret": Secret("dac4726b")},
    ),
    case(api_clients.revoke_api_client, 4711, sends="DELETE /api/identity/v1/developer-tokens/4711"),
    # who is signed in
    case(authentication.get_me, sends="GET /api/content/v2/users/me", answer=ROW),
    case(authentication.get_me_v3, sends="GET /api/content/v3/users/me", answer=ROW),
    case(
        authentication.get_sessions,
        limit=500,
        sends="GET /api/sessions/v1/admin",
        params={"limit": "500"},
        answer=[{"id": "70bb8a73-0000-4000-8000-000000000001", "userId": 27}],
    ),
    case(
        authentication.revoke_session,
        "70bb8a73-0000-4000-8000-000000000001",
        sends="DELETE /api/sessions/v1/admin/70bb8a73-0000-4000-8000-000000000001",
    ),
    # groups
    case(
        groups.list_groups,
        60,
        30,
        search="Data & co",
        sends="GET /api/content/v2/groups/grouplist",
        params={"offset": "60", "limit": "30", "ascending": "true", "sort": "name", "search": "Data & co"},
        answer=[{"groupId": 1200}],
    ),
    case(
        groups.list_groups,
        0,
        30,
        sends="GET /api/content/v2/groups/grouplist",
        params={"offset": "0", "limit": "30", "ascending": "true", "sort": "name"},
        answer=[],
    ),
    case(
        groups.get_group_by_id,
        1200,
        sends="GET /api/content/v2/groups/1200",
        params={"includeUsers": "true"},
        answer={"id": 1200, "userIds": [27]},
    ),
    case(
        groups.get_groups_by_ids,
        [1200, "1300"],
        sends="POST /api/content/v2/groups/get",
        params={"includeActive": "true", "includeUsers": "true"},
        body=["1200", "1300"],
        answer=[ROW],
        reads=True,
    ),
    case(
        groups.list_group_members,
        1200,
        500,
        500,
        sends="GET /api/content/v2/groups/users",
        params={"group": "1200", "offset": "500", "limit": "500"},
        answer={"groupUserList": [{"userId": 27}]},
        gives=[{"userId": 27}],
    ),
    # roles
    case(roles.get_roles, sends="GET /api/authorization/v1/roles", answer=[ROW]),
    case(roles.get_role_by_id, 700_000_001, sends="GET /api/authorization/v1/roles/700000001", answer=ROW),
    case(
        roles.get_role_grants,
        1,
        sends="GET /api/authorization/v1/roles/1/authorities",
        answer=["dataset.manage", "content.card.edit"],
    ),
    case(
        roles.get_role_members,
        1,
        sends="GET /api/authorization/v1/roles/1/users",
        answer={"users": [{"userId": 27}]},
        gives=[{"userId": 27}],
    ),
    case(roles.get_grants, sends="GET /api/authorization/v1/authorities", answer=[{"authority": "dataset.manage"}]),
    # users
    case(
        users.list_users,
        500,
        100,
        sends=f"GET {IDENTITY}",
        params={"offset": "500", "limit": "100", "parts": "DETAILED"},
        answer={"users": [ROW]},
        gives=[ROW],
    ),
    case(
        users.get_user_by_id,
        27,
        sends=f"GET {IDENTITY}/27",
        params={"parts": "DETAILED"},
        answer={"users": [ROW]},
        gives=ROW,
    ),
    case(
        users.create_user,
        name="Robin Sample",
        email="robin@example.com",
        role_id=2,
        title="Analyst",
        sends="POST /api/content/v3/users",
        params={"sendInvite": "false"},
        body={"displayName": "Robin Sample", "roleId": 2, "detail": {"email": "robin@example.com", "title": "Analyst"}},
        answer=ROW,
    ),
    case(
        users.create_user,
        name="Robin Sample",
        email="robin@example.com",
        role_id=2,
        send_invite=True,
        sends="POST /api/content/v3/users",
        params={"sendInvite": "true"},
        body={"displayName": "Robin Sample", "roleId": 2, "detail": {"email": "robin@example.com"}},
        answer=ROW,
    ),
    case(
        users.create_user_identity,
        name="Robin Sample",
        email="robin@example.com",
        role_id=2,
        sends=f"POST {IDENTITY}",
        body={"displayName": "Robin Sample", "emailAddress": "robin@example.com", "roleId": 2},
        answer=ROW,
    ),
    case(
        users.update_user,
        27,
        {"displayName": "Ann", "roleId": 3, "reportsTo": "5", "department": None},
        sends=f"PATCH {IDENTITY}/27",
        body={
            "attributes": [
                {"key": "displayName", "values": ["Ann"]},
                {"key": "roleId", "values": [3]},
                {"key": "reportsTo", "values": ["5"]},
                {"key": "department", "values": [None]},
            ]
        },
        answer=ROW,
        gives=None,
        twice=True,
    ),
    case(users.delete_user, 27, sends=f"DELETE {IDENTITY}/27", answer=1, gives=None),
    case(
        users.set_password,
        27,
        Secret("N3w!pass"),
        sends="PUT /api/identity/v1/password",
        body={"domoUserId": 27, "password": "N3w!pass"},
        answer={},
        gives=None,
        twice=False,  # the second time it would be refused as used before
    ),
    case(users.get_all_users_v2, sends="GET /api/content/v2/users", answer=[ROW]),
    case(users.get_user_v2, 27, sends="GET /api/content/v2/users/27", answer=ROW),
    case(
        users.get_user_v3,
        27,
        sends="GET /api/content/v3/users/27",
        params={"includeDetails": "true"},
        answer=ROW,
    ),
    case(
        users.list_users_v3,
        0,
        500,
        sends="GET /api/content/v3/users",
        params={"offset": "0", "limit": "500", "includeDetails": "true"},
        answer=[ROW],
    ),
    case(
        users.get_users_by_ids,
        [27, "28", 0],
        sends="GET /api/content/v3/users",
        params={"id": "27,28,0", "includeDetails": "true"},
        answer=[ROW],
    ),
    case(
        users.bulk_update_users,
        "11111111-2222-4333-8444-555555555555",
        [{"id": "27", "title": "Analyst"}],
        sends="PUT /api/content/v2/users/bulk",
        body={"transactionId": "11111111-2222-4333-8444-555555555555", "users": [{"id": "27", "title": "Analyst"}]},
        answer={},
        gives=None,
    ),
    case(
        users.get_user_manager,
        27,
        sends="GET /api/content/v2/users/27/teams",
        answer={"reportsTo": [{"userId": 5, "displayName": "Robin"}]},
        gives=[{"userId": 5, "displayName": "Robin"}],
    ),
    case(
        users.set_user_manager,
        27,
        5,
        sends="POST /api/content/v2/users/27/teams",
        body={"reportsTo": [{"userId": 5}]},
    ),
    case(
        users.get_user_state,
        27,
        "twoFactorEnabled",
        "other",
        sends="GET /api/content/v2/users/27/state",
        params={"keys": "twoFactorEnabled,other"},
        answer={"twoFactorEnabled": "true"},
    ),
    case(
        users.find_users_with_grants,
        0,
        50,
        grants=["dataset.manage", "audit"],
        sends="GET /api/content/v1/typeahead",
        params={"type": "userByName", "authorities": "dataset.manage,audit", "offset": "0", "limit": "50"},
        answer={"users": [{"id": 27, "displayName": "Ann"}]},
        gives=[{"id": 27, "displayName": "Ann"}],
    ),
    case(
        users.set_direct_sign_on,
        [27, 28],
        allowed=False,
        sends="POST /api/content/v3/users/directSignOn",
        params={"value": "false"},
        body=[27, 28],
        twice=True,
    ),
    case(
        users.request_password_reset,
        "ann+x@example.com",
        sends="GET /api/domoweb/auth/sendReset",
        params={"email": "ann+x@example.com", "local": "en-us", "locale": "en-us"},
        answer=b"sent",
        gives=None,
        reads=False,  # a GET that sends a mail
        twice=False,
    ),
    case(
        users.set_landing_page,
        27,
        300,
        target="MOBILE",
        sends="PUT /api/content/v1/landings/target/MOBILE/entity/PAGE/id/300/27",
    ),
    case(
        users.get_avatar,
        27,
        size=100,
        sends="GET /api/content/v1/avatar/USER/27",
        params={"size": "100"},
        answer=PNG,
    ),
    # platform: accounts
    case(
        platform_accounts.list_accounts,
        50,
        50,
        sends="GET /v1/accounts",
        params={"offset": "50", "limit": "50"},
        answer=[{"id": "88"}],
    ),
    case(platform_accounts.get_account_by_id, "88", sends="GET /v1/accounts/88", answer={"id": "88"}),
    case(
        platform_accounts.create_account,
        name="loader",
        provider_type="xyz",
        fields={"username": "svc", "password": Secret("x y")},
        sends="POST /v1/accounts",
        body={"name": "loader", "type": {"id": "xyz", "properties": {"username": "svc", "password": "x y"}}},
        answer={"id": "88"},
    ),
    case(
        platform_accounts.update_account_config,
        "xyz",
        "88",
        {"password": Secret("x y")},
        sends="PATCH /v1/accounts/88",
        body={"type": {"id": "xyz", "properties": {"password": "x y"}}},
        answer={"id": "88"},
        gives=None,
        twice=True,
    ),
    case(
        platform_accounts.update_account_name,
        "88",
        "loader 2",
        sends="PATCH /v1/accounts/88",
        body={"name": "loader 2"},
        gives=None,
        twice=True,
    ),
    case(platform_accounts.delete_account, "88", sends="DELETE /v1/accounts/88"),
    case(
        platform_accounts.share_account_with_user,
        "88",
        27,
        sends="POST /v1/accounts/88/shares",
        body={"user": {"id": 27}},
        twice=True,
    ),
    case(
        platform_accounts.list_account_types,
        0,
        50,
        sends="GET /v1/account-types",
        params={"offset": "0", "limit": "50"},
        answer=[{"id": "basecamp", "name": "Basecamp"}],
    ),
    case(platform_accounts.get_account_type, "xyz", sends="GET /v1/account-types/xyz", answer={"id": "xyz"}),
    # platform: DataSets
    case(
        platform_datasets.list_datasets,
        50,
        50,
        name_like="Or",
        sends="GET /v1/datasets",
        params={"offset": "50", "limit": "50", "sort": "name", "nameLike": "Or"},
        answer=[{"id": "a-b"}],
    ),
    case(platform_datasets.get_dataset_by_id, "a-b", sends="GET /v1/datasets/a-b", answer={"id": "a-b"}),
    # platform: groups
    case(
        platform_groups.list_groups,
        0,
        100,
        sends="GET /v1/groups",
        params={"offset": "0", "limit": "100"},
        answer=[ROW],
    ),
    case(platform_groups.get_group_by_id, 1200, sends="GET /v1/groups/1200", answer=ROW),
    case(
        platform_groups.list_group_members,
        1200,
        0,
        500,
        sends="GET /v1/groups/1200/users",
        params={"offset": "0", "limit": "500"},
        answer=[800_000_004, 800_000_005],
    ),
    # platform: users
    case(
        platform_users.list_users,
        0,
        500,
        sends="GET /v1/users",
        params={"offset": "0", "limit": "500"},
        answer=[ROW],
    ),
    case(platform_users.get_user_by_id, 27, sends="GET /v1/users/27", answer=ROW),
    case(
        platform_users.create_user,
        name="Robin Sample",
        email="robin@example.com",
        role_id=4,
        title="Analyst",
        sends="POST /v1/users",
        params={"sendInvite": "false"},
        body={"name": "Robin Sample", "email": "robin@example.com", "role": "Participant", "title": "Analyst"},
        answer=ROW,
    ),
    case(
        platform_users.update_user,
        27,
        {"name": "Robin", "email": "robin@example.com", "role": "Admin", "title": None},
        sends="PUT /v1/users/27",
        body={"name": "Robin", "email": "robin@example.com", "role": "Admin", "title": None},
    ),
    case(platform_users.delete_user, 27, sends="DELETE /v1/users/27"),
    case(
        users.search_users,
        400,
        200,
        filters=[BY_ADDRESS],
        ids=(27, 28),
        include_deleted=True,
        sends=f"POST {IDENTITY}/search",
        body={
            "showCount": True,
            "count": False,
            "includeDeleted": True,
            "includeSupport": False,
            "limit": 200,
            "offset": 400,
            "sort": {"field": "displayName", "order": "ASC"},
            "filters": [BY_ADDRESS],
            "ids": [27, 28],
        },
        answer={"users": [ROW], "count": 1},
        gives=[ROW],
        reads=True,
    ),
]
# -- DataSets and their rows

V2, V3, STREAMS = "/api/data/v2/datasources", "/api/data/v3/datasources", "/api/data/v1/streams"
QUERY = "/api/query/v1"
PARTS = ["core", "permission", "status", "rowcolcount", "pdp", "dataprovider"]
COLUMNS = [{"type": "LONG", "name": "a"}]
PACKED = Content(b"\x1f\x8b packed", "text/csv", "gzip")
POLICY = {
    "name": "West",
    "filters": [{"column": "region", "values": ["West"], "operator": "EQUALS", "not": False, "ignoreCase": True}],
    "user_ids": [27],
    "group_ids": ["3"],
    "virtual_user_ids": ["v"],
}
PRODUCT_POLICY = {
    "name": "West",
    "dataSourceId": "a-b",
    "userIds": ["27"],
    "virtualUserIds": ["v"],
    "groupIds": ["3"],
    "dataSourcePermissions": False,
    "parameters": [
        {
            "type": "COLUMN",
            "name": "region",
            "values": ["West"],
            "operator": "EQUALS",
            "not": False,
            "ignoreCase": True,
        }
    ],
}
PLATFORM_POLICY = {
    "type": "user",
    "name": "West",
    "filters": [{"column": "region", "values": ["West"], "operator": "EQUALS", "not": False}],
    "users": [27],
    "virtualUsers": ["v"],
    "groups": [3],
}
NEW_STREAM = {"name": "Orders", "description": "d", "columns": COLUMNS, "update_method": "UPSERT", "key_columns": ["a"]}

CASES += [
    case(
        datasets.list_datasets,
        50,
        50,
        name_like="Or",
        sends=f"GET {V3}",
        params={"offset": "50", "limit": "50", "orderBy": "name", "nameLike": "Or", "part": PARTS},
        answer={"dataSources": [{"id": "a-b"}], "_metaData": {"totalCount": 51}},
        gives=[{"id": "a-b"}],
    ),
    case(datasets.get_dataset_by_id, "a-b", sends=f"GET {V3}/a-b", params={"part": PARTS}, answer={"id": "a-b"}),
    case(
        datasets.create_dataset,
        name="Orders",
        description="d",
        columns=COLUMNS,
        sends=f"POST {V2}",
        body={
            "userDefinedType": "api",
            "dataSourceName": "Orders",
            "dataSourceDescription": "d",
            "schema": {"columns": COLUMNS},
        },
        answer={"dataSource": {"dataSourceId": "a-b"}},
        gives="a-b",
    ),
    case(
        datasets.update_dataset,
        "a-b",
        name="New",
        sends=f"PUT {V3}/a-b/properties",
        body={"dataSourceName": "New"},
    ),
    case(datasets.delete_dataset, "a-b", sends=f"DELETE {V3}/a-b", params={"deleteMethod": "soft"}),
    case(datasets.delete_dataset, "a-b", for_good=True, sends=f"DELETE {V3}/a-b", params={"deleteMethod": "hard"}),
    case(
        datasets.restore_datasets,
        ["a-b"],
        owner_id=27,
        sends=f"POST {V3}/restore",
        body={"datasets": [{"datasetId": "a-b", "newOwnerId": "27"}]},
        twice=True,
    ),
    case(
        datasets.get_dataset_status,
        "a-b",
        sends=f"GET {V3}/a-b/statuses",
        params={"expireCache": "true"},
        answer={"version": {"latestDataVersionId": 3}},
    ),
    case(
        datasets.get_schema,
        "a-b",
        sends=f"GET {V2}/a-b/schemas/latest",
        answer={"schema": {"columns": COLUMNS}},
        gives=COLUMNS,
    ),
    case(
        datasets.list_versions,
        "a-b",
        sends=f"GET {V3}/a-b/dataversions/details",
        params={"limitToIndexed": "false"},
        answer=[{"dataVersionId": 12}],
    ),
    case(
        datasets.delete_versions,
        "a-b",
        [12, 13],
        sends=f"DELETE {V2}/a-b/dataversions",
        params={"index": "true"},
        body=[12, 13],
    ),
    case(
        datasets.set_owner,
        "a-b",
        kind="USER",
        owner_id=27,
        sends=f"PUT {V2}/a-b/responsibleUsers",
        body={"responsibleUserId": 27},
    ),
    case(
        datasets.set_owner,
        "a-b",
        kind="GROUP",
        owner_id=3,
        sends=f"PUT {V2}/a-b/responsibleUsers",
        body={"responsibleGroupId": 3},
    ),
    case(
        datasets.list_permissions,
        "a-b",
        sends=f"GET {V3}/a-b/permissions",
        answer={"list": [{"id": "27", "type": "USER", "accessLevel": "OWNER"}], "totalUserCount": 1},
        gives=[{"id": "27", "type": "USER", "accessLevel": "OWNER"}],
    ),
    case(
        datasets.delete_permission,
        "a-b",
        kind="USER",
        grantee_id=31,
        sends=f"DELETE {V3}/a-b/permissions/USER/31",
    ),
    case(datasets.get_my_level, "a-b", sends=f"GET {V3}/a-b/permissions/currentUser", answer="CAN_EDIT"),
    case(
        datasets.share_dataset,
        "a-b",
        [{"type": "USER", "id": "31", "accessLevel": "CAN_VIEW"}],
        sends=f"POST {V3}/a-b/share",
        body={
            "permissions": [{"type": "USER", "id": "31", "accessLevel": "CAN_VIEW"}],
            "sendEmail": False,
            "message": "",
        },
        twice=True,
    ),
    case(
        datasets.set_tags,
        "a-b",
        ["sales"],
        sends="POST /api/data/ui/v3/datasources/a-b/tags",
        body=["sales"],
        twice=True,
    ),
    # uploads
    case(
        uploads.start_upload,
        "a-b",
        sends=f"POST {V3}/a-b/uploads",
        body={"action": None, "appendId": None},
        answer={"uploadId": 17},
        gives=17,
    ),
    case(
        uploads.start_upload,
        "a-b",
        partition="2026-03",
        sends=f"POST {V3}/a-b/uploads",
        params={"dataTag": "2026-03"},
        body={"action": None, "appendId": "latest"},
        answer={"uploadId": 17},
        gives=17,
    ),
    case(uploads.upload_part, "a-b", 17, 2, PACKED, sends=f"PUT {V3}/a-b/uploads/17/parts/2", body=PACKED),
    case(
        uploads.commit_upload,
        "a-b",
        17,
        action="REPLACE",
        sends=f"PUT {V3}/a-b/uploads/17/commit",
        body={"action": "REPLACE", "index": True},
        answer={"size": {"rowCount": 2}},
        twice=False,
    ),
    case(
        uploads.commit_upload,
        "a-b",
        17,
        action="REPLACE",
        partition="2026-03",
        sends=f"PUT {V3}/a-b/uploads/17/commit",
        body={"action": "APPEND", "index": True, "dataTag": "2026-03", "appendId": "latest"},
        answer={"size": {"rowCount": 2}},
        twice=False,
    ),
    case(uploads.abort_upload, "a-b", 17, sends=f"PUT {V3}/a-b/uploads/17/abort", body={}),
    case(
        uploads.request_index,
        "a-b",
        sends=f"POST {V3}/a-b/indexes",
        body={"dataIds": []},
        answer={"requestKey": "20240320020000.117"},
        twice=True,
    ),
    case(
        uploads.get_index_status,
        "a-b",
        "20240320020000.117",
        sends=f"GET {V3}/a-b/indexes/20240320020000.117/statuses",
        answer={"progress": {"progress": 100}},
    ),
    case(
        uploads.list_partitions,
        "a-b",
        100,
        100,
        sends=f"POST {QUERY}/datasources/a-b/partition/list",
        body={
            "paginationFields": [
                {"fieldName": "datecompleted", "sortOrder": "DESC", "filterValues": {"MIN": None, "MAX": None}}
            ],
            "limit": 100,
            "offset": 100,
        },
        answer=[{"partitionId": "2026-03"}],
        reads=True,
    ),
    # queries
    case(
        query.query,
        "a-b",
        "SELECT 1",
        sends=f"POST {QUERY}/execute/a-b",
        body={"sql": "SELECT 1"},
        answer={"rows": []},
        reads=True,
    ),
    case(
        query.get_indexed_schema,
        "a-b",
        sends=f"GET {QUERY}/datasources/a-b/schema/indexed",
        answer={"tables": [{"columns": COLUMNS}]},
        gives=COLUMNS,
    ),
    case(
        row_policies.get_data_control,
        "a-b",
        sends="GET /api/query/v2/data-control/a-b",
        answer={"enabled": False},
    ),
    # row policies
    case(
        row_policies.list_policies,
        "a-b",
        sends=f"GET {QUERY}/data-control/a-b/filter-groups",
        params={"options": "load_associations,load_filters,include_open_policy"},
        answer=[{"filterGroupId": 8}],
    ),
    case(
        row_policies.create_policy,
        "a-b",
        POLICY,
        sends=f"POST {QUERY}/data-control/a-b/filter-groups",
        body=PRODUCT_POLICY,
        answer={"filterGroupId": 8},
    ),
    case(
        row_policies.update_policy,
        "a-b",
        8,
        POLICY,
        sends=f"PUT {QUERY}/data-control/a-b/filter-groups/8",
        body={**PRODUCT_POLICY, "filterGroupId": 8},
        answer={"filterGroupId": 8},
    ),
    case(row_policies.delete_policy, "a-b", 8, sends=f"DELETE {QUERY}/data-control/a-b/filter-groups/8"),
    # streams
    case(
        streams.list_streams,
        0,
        500,
        sends=f"GET {STREAMS}",
        params={"offset": "0", "limit": "500"},
        answer=[{"id": 42}],
    ),
    case(streams.get_stream_by_id, 42, sends=f"GET {STREAMS}/42", params={"fields": "all"}, answer={"id": 42}),
    case(
        streams.create_stream,
        **NEW_STREAM,
        sends=f"POST {STREAMS}",
        body={
            "transport": {"type": "API", "description": "API", "version": "1"},
            "dataProvider": {"key": "api", "name": "API"},
            "updateMethod": "UPSERT",
            "dataSource": {"name": "Orders", "description": "d"},
            "schemaDefinition": {"columns": COLUMNS},
            "configuration": [],
            "advancedScheduleJson": '{"type":"MANUAL","timezone":"UTC"}',
            "keyColumnNames": ["a"],
        },
        answer={"id": 42},
    ),
    case(streams.delete_stream, 42, sends=f"DELETE {STREAMS}/42"),
    case(
        streams.start_execution,
        42,
        sends=f"POST {STREAMS}/42/executions",
        body={"runType": "MANUAL"},
        answer={"executionId": 7},
    ),
    case(
        streams.list_executions,
        42,
        50,
        50,
        sends=f"GET {STREAMS}/42/executions",
        params={"offset": "50", "limit": "50"},
        answer=[{"executionId": 7}],
    ),
    case(streams.get_execution, 42, 7, sends=f"GET {STREAMS}/42/executions/7", answer={"executionId": 7}),
    case(
        streams.commit_execution,
        42,
        7,
        sends=f"PUT {STREAMS}/42/executions/7/commit",
        answer={"executionId": 7},
        twice=False,
    ),
    case(
        streams.abort_execution,
        42,
        7,
        sends=f"PUT {STREAMS}/42/executions/7/abort",
        body={"category": "USER", "message": "stopped"},
    ),
    # platform
    case(
        platform_datasets.create_dataset,
        name="Orders",
        description="d",
        columns=COLUMNS,
        sends="POST /v1/datasets",
        body={"name": "Orders", "description": "d", "schema": {"columns": COLUMNS}},
        answer={"id": "a-b"},
        gives="a-b",
    ),
    case(
        platform_datasets.update_dataset,
        "a-b",
        description="new",
        sends="PUT /v1/datasets/a-b",
        body={"description": "new"},
        answer={"id": "a-b"},
        gives=None,
    ),
    case(platform_datasets.delete_dataset, "a-b", sends="DELETE /v1/datasets/a-b"),
    case(
        platform_datasets.get_schema,
        "a-b",
        sends="GET /v1/datasets/a-b",
        answer={"schema": {"columns": COLUMNS}},
        gives=COLUMNS,
    ),
    case(
        platform_datasets.set_schema,
        "a-b",
        COLUMNS,
        sends="PUT /v1/datasets/a-b",
        body={"schema": {"columns": COLUMNS}},
        answer={"id": "a-b"},
        gives=None,
    ),
    case(
        platform_datasets.import_rows,
        "a-b",
        PACKED,
        update_method="APPEND",
        sends="PUT /v1/datasets/a-b/data",
        params={"updateMethod": "APPEND"},
        body=PACKED,
        twice=False,
    ),
    case(
        platform_datasets.query,
        "a-b",
        "SELECT 1",
        sends="POST /v1/datasets/query/execute/a-b",
        body={"sql": "SELECT 1"},
        answer={"rows": []},
        reads=True,
    ),
    case(platform_policies.list_policies, "a-b", sends="GET /v1/datasets/a-b/policies", answer=[{"id": 8}]),
    case(
        platform_policies.create_policy,
        "a-b",
        POLICY,
        sends="POST /v1/datasets/a-b/policies",
        body=PLATFORM_POLICY,
        answer={"id": 8},
    ),
    case(
        platform_policies.update_policy,
        "a-b",
        8,
        POLICY,
        sends="PUT /v1/datasets/a-b/policies/8",
        body={**PLATFORM_POLICY, "id": 8},
        answer={"id": 8},
    ),
    case(platform_policies.delete_policy, "a-b", 8, sends="DELETE /v1/datasets/a-b/policies/8"),
    case(
        platform_policies.switch_policies,
        "a-b",
        enabled=True,
        sends="PUT /v1/datasets/a-b",
        body={"pdpEnabled": True},
    ),
    case(
        platform_streams.list_streams,
        0,
        500,
        sends="GET /v1/streams",
        params={"offset": "0", "limit": "500", "fields": "all"},
        answer=[{"id": 42}],
    ),
    case(
        platform_streams.find_stream,
        "a-b",
        sends="GET /v1/streams/search",
        params={"q": "dataSource.id:a-b", "fields": "all"},
        answer=[{"id": 41, "dataSet": {"id": "a-c"}}, {"id": 42, "dataSet": {"id": "a-b"}}],
        gives={"id": 42, "dataSet": {"id": "a-b"}},
    ),
    case(
        platform_streams.get_stream_by_id,
        42,
        sends="GET /v1/streams/42",
        params={"fields": "all"},
        answer={"id": 42},
    ),
    case(
        platform_streams.create_stream,
        **NEW_STREAM,
        sends="POST /v1/streams",
        body={
            "dataSet": {"name": "Orders", "description": "d", "schema": {"columns": COLUMNS}},
            "updateMethod": "UPSERT",
            "keyColumnNames": ["a"],
        },
        answer={"id": 42},
    ),
    case(
        platform_streams.update_stream,
        42,
        update_method="UPSERT",
        key_columns=["a"],
        sends="PATCH /v1/streams/42",
        body={"updateMethod": "UPSERT", "keyColumnNames": ["a"]},
        answer={"id": 42},
        gives=None,
        twice=True,
    ),
    case(platform_streams.delete_stream, 42, sends="DELETE /v1/streams/42"),
    case(
        platform_streams.start_execution,
        42,
        update_method="APPEND",
        sends="POST /v1/streams/42/executions",
        body={"updateMethod": "APPEND"},
        answer={"id": 7},
    ),
    case(
        platform_streams.list_executions,
        42,
        0,
        500,
        sends="GET /v1/streams/42/executions",
        params={"offset": "0", "limit": "500"},
        answer=[{"id": 7}],
    ),
    case(platform_streams.get_execution, 42, 7, sends="GET /v1/streams/42/executions/7", answer={"id": 7}),
    case(
        platform_streams.upload_part,
        42,
        7,
        2,
        PACKED,
        sends="PUT /v1/streams/42/executions/7/part/2",
        body=PACKED,
        answer={"id": 7},
        gives=None,
    ),
    case(
        platform_streams.commit_execution,
        42,
        7,
        sends="PUT /v1/streams/42/executions/7/commit",
        answer={"id": 7},
        twice=False,
    ),
    case(platform_streams.abort_execution, 42, 7, sends="PUT /v1/streams/42/executions/7/abort"),
]
CASES += data_cases.cases(case)
# What makes more than one request is tested with what calls it, on the sandbox.
SEVERAL = {uploads.delete_partition, streams.find_stream, streams.update_stream, *data_cases.SEVERAL}
for place, one in enumerate(CASES):  # a second call of a function gets a name of its own
    if one.name in {earlier.name for earlier in CASES[:place]}:
        CASES[place] = attrs.evolve(one, name=f"{one.name} again")
OPEN_BODIES = {f"{IDENTITY}/search": {"parts", "attributes"}}  # what is asked for is domokit's choice


@asynccontextmanager
async def domo(**options):
    """(the route that catches everything, the auth of each family by `Case.platform`): nothing leaves unseen."""
    given = ClientOptions(**{"retry": NO_RETRY, **options})
    async with (
        respx.mock(assert_all_called=False) as wire,
        AccessTokenAuth("acme", "t" * 48, options=given) as product,
        OAuthClientAuth("client", "secret of the client", options=given) as platform,
    ):
        wire.post(f"{PLATFORM}/oauth/token").respond(json={"access_token": "jwt", "expires_in": 3599})
        yield wire.route(host__in=("acme.domo.com", "api.domo.com")), {False: product, True: platform}


async def outcome(call):
    """What a call gives, or the kind of its error."""
    try:
        return await call
    except errors.DomoError as error:
        return type(error)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
async def test_what_is_sent_and_what_comes_back(one):
    async with domo() as (caught, auths):
        caught.return_value = one.response()
        given = await one(auths[one.platform])
    assert caught.call_count == 1
    request = caught.calls.last.request
    method, _, path = one.sends.partition(" ")
    origin = PLATFORM if one.platform else PRODUCT
    assert f"{request.method} {request.url.copy_with(query=None)}" == f"{method} {origin}{path}"
    asked = [
        (name, each) for name, value in one.query.items() for each in ([value] if isinstance(value, str) else value)
    ]
    assert sorted(request.url.params.multi_items()) == sorted(asked)
    if one.platform:
        assert request.headers["authorization"] == "bearer jwt"
        assert "x-domo-developer-token" not in request.headers
    else:
        assert request.headers["x-domo-developer-token"] == "t" * 48
        assert "authorization" not in request.headers

    if one.body is NOTHING:
        assert request.content == b""
        assert "content-type" not in request.headers
    elif isinstance(one.body, Content):
        assert request.content == one.body.data
        assert (request.headers["content-type"], request.headers["content-encoding"]) == ("text/csv", "gzip")
    elif isinstance(one.body, bytes):
        assert request.content == one.body
        assert request.headers["content-type"].startswith("text/plain")
    else:
        body = json.loads(request.content)
        for name in OPEN_BODIES.get(path, ()):
            assert isinstance(body.pop(name), list)
        assert body == one.body
        assert request.headers["content-type"] == "application/json"
    assert given == one.gives
    assert type(given) is type(one.gives)


def test_no_function_is_left_out():
    found = set()
    for module in walk_packages(domokit.routes.__path__, "domokit.routes."):
        for name, value in vars(import_module(module.name)).items():
            if inspect.iscoroutinefunction(value) and value.__module__ == module.name and not name.startswith("_"):
                found.add(value)
    assert found - {one.function for one in CASES} == {authentication.get_session_token, *SEVERAL}  # see below
    assert len(found) > 60


def test_every_function_tells_its_source():
    for one in CASES:
        told = re.findall(r"(GET|POST|PUT|PATCH|DELETE) (/[\w{}/-]+)", inspect.getdoc(one.function))
        patterns = [f"{method} {re.sub('{.*?}', '[^/]+', path)}" for method, path in told]
        assert any(re.fullmatch(pattern, one.sends) for pattern in patterns), one.name


async def test_get_session_token_signs_in():
    async with respx.mock(base_url=PRODUCT) as wire:
        login = wire.post("/api/content/v2/authentication").respond(json={"success": True, "sessionToken": "abc%3D"})
        async with SessionAuth("acme", "ann@example.com", "pass word") as auth:
            token = await authentication.get_session_token(auth)
    assert token == Secret("abc%3D")
    sent = login.calls.last.request
    assert json.loads(sent.content) == {
        "method": "password",
        "emailAddress": "ann@example.com",
        "password": "pass word",
    }
    assert sent.headers["origin"] == PRODUCT


# -- answers of other kinds

ANYTHING = {
    "200, empty": httpx.Response(200),
    "204": httpx.Response(204),
    "201, an object": httpx.Response(201, json={"id": 1}),
    "202, a number": httpx.Response(202, json=1),
    "200, text": httpx.Response(200, text="OK"),
    "200, a list": httpx.Response(200, json=[]),
}


@pytest.mark.parametrize("answer", ANYTHING)
async def test_where_nothing_is_promised_any_success_will_do(answer):
    # set_password looks into the answer, for a refusal
    silent = [one for one in CASES if one.gives is None and one.function is not users.set_password]
    async with domo() as (caught, auths):
        caught.return_value = ANYTHING[answer]
        given = {one.name: await outcome(one(auths[one.platform])) for one in silent}
    assert given == {one.name: None for one in silent}
    assert len(silent) > 15


@pytest.mark.parametrize("content", [b"", b" \n"])
async def test_where_data_is_promised_nothing_is_an_error(content):
    special = {users.get_user_v2: errors.NotFoundError, users.get_avatar: content}  # bytes are bytes
    promising = [one for one in CASES if one.gives is not None]
    async with domo() as (caught, auths):
        caught.return_value = httpx.Response(200, content=content)
        given = {one.name: await outcome(one(auths[one.platform])) for one in promising}
    assert given == {one.name: special.get(one.function, errors.EmptyAnswerError) for one in promising}


async def test_an_object_without_the_expected_members_holds_nothing():
    """An answer poorer than the documented one reads as 'none', not as an accident."""
    answered_with_objects = [one for one in CASES if one.gives is not None and isinstance(one.answer, dict)]
    async with domo() as (caught, auths):
        caught.return_value = httpx.Response(200, json={})
        given = {one.name: await outcome(one(auths[one.platform])) for one in answered_with_objects}
    nothing = {list: [], dict: {}}  # an id, that is needed to go on, cannot be nothing
    expected = {one.name: nothing.get(type(one.gives), errors.DomoDecodeError) for one in answered_with_objects}
    assert given == expected | {"product.users.get_user_by_id": errors.NotFoundError}


@pytest.mark.parametrize("page", ["text/html", "application/json"])
async def test_a_web_page_is_no_data(page):
    promising = [one for one in CASES if one.gives is not None]
    async with domo() as (caught, auths):
        html = "<!DOCTYPE html><html><title>Sign in</title></html>"
        caught.return_value = httpx.Response(200, text=html, headers={"content-type": page})
        given = {one.name: await outcome(one(auths[one.platform])) for one in promising}
    assert given == {one.name: errors.UnexpectedPageError for one in promising}


async def test_an_image_is_asked_for_as_such_and_comes_as_bytes():
    async with domo() as (caught, auths):
        caught.return_value = httpx.Response(200, content=PNG, headers={"content-type": "image/png"})
        assert await users.get_avatar(auths[False], 27) == PNG
    accepted = caught.calls.last.request.headers["accept"]
    assert any(kind in accepted for kind in ("image/png", "image/*", "*/*"))


# -- secrets

SECRET = 'hidden "and" ünï\n\\ 東京'
FIELDS = {"password": Secret(SECRET), "user": "svc"}
WITH_SECRETS = {
    "create_account": lambda auth: accounts.create_account(auth, name="x", provider_type="y", fields=FIELDS),
    "update_account_config": lambda auth: accounts.update_account_config(auth, "y", 105, FIELDS),
    "set_password": lambda auth: users.set_password(auth, 27, SECRET),
    "platform create_account": lambda auth: platform_accounts.create_account(
        auth, name="x", provider_type="y", fields=FIELDS
    ),
    "platform update_account_config": lambda auth: platform_accounts.update_account_config(auth, "y", "88", FIELDS),
}


@pytest.mark.parametrize("name", WITH_SECRETS)
async def test_secrets_are_revealed_on_the_wire_and_nowhere_else(name, caplog):
    caplog.set_level(logging.DEBUG)
    async with domo() as (caught, auths):
        auth = auths[name.startswith("platform")]
        caught.return_value = httpx.Response(200, json={"id": 1})
        with record() as answers:
            await WITH_SECRETS[name](auth)
        assert json.dumps(SECRET, ensure_ascii=False) in caught.calls.last.request.content.decode()
        caught.return_value = httpx.Response(400, json={"message": f"bad value {SECRET}"})
        with pytest.raises(errors.BadRequestError) as failed:
            await WITH_SECRETS[name](auth)
    shown = repr(answers) + str(answers[-1].request_body) + caplog.text + str(failed.value) + repr(failed.value.body)
    assert "***" in shown
    for form in (SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET, ensure_ascii=False)[1:-1]):
        assert form not in shown


async def test_secrets_of_an_answer_come_wrapped():
    async with domo() as (caught, auths):
        caught.return_value = httpx.Response(
            200, json={"id": 1, "token": "first secret", "deep": [{"clientSecret": "second secret", "tokenType": "x"}]}
        )
        given = await access_tokens.generate_access_token(auths[False], owner_id=1, name="x", expires=1)
    assert given["token"].reveal() == "first secret"
    assert given["deep"][0]["clientSecret"].reveal() == "second secret"
    assert given["deep"][0]["tokenType"] == "x"
    assert "secret" not in repr(given).replace("Secret(***)", "").replace("clientSecret", "")


# -- parts of a path


@pytest.mark.parametrize(
    ("part", "quoted"),
    [("a/b", "a%2Fb"), ("a b", "a%20b"), ("a?b#c", "a%3Fb%23c"), ("ü", "%C3%BC"), ("a%2Fb", "a%252Fb"), ("..a", "..a")],
)
async def test_parts_of_a_path_are_quoted(part, quoted):
    async with domo() as (caught, auths):
        caught.return_value = httpx.Response(200, json={})
        await accounts.get_provider(auths[False], part)
    assert caught.calls.last.request.url.raw_path == f"/api/data/v1/providers/{quoted}?fields=all".encode()


@pytest.mark.parametrize("part", ["", " ", ".", "..", Secret("hidden")])
async def test_parts_that_would_lead_elsewhere_are_refused_before_anything_is_sent(part):
    async with domo() as (caught, auths):
        with pytest.raises(errors.InvalidInputError) as failed:
            await accounts.get_provider(auths[False], part)
    assert caught.call_count == 0
    assert "hidden" not in str(failed.value)


# -- what may be sent, by whom, and how often


async def test_a_dry_run_lets_pass_what_only_reads():
    seen = {}
    async with domo() as (caught, auths):
        with dry_run():
            for one in CASES:
                before = caught.call_count
                caught.return_value = one.response()
                given = await outcome(one(auths[one.platform]))
                seen[one.name] = (given, caught.call_count - before)
    assert seen == {one.name: (one.gives, 1) if one.reads else (errors.DryRunRefused, 0) for one in CASES}


async def test_after_a_lost_answer_only_what_does_no_harm_is_sent_again():
    seen = {}
    async with domo(retry=RetryPolicy(attempts=3, base=0, cap=0)) as (caught, auths):
        caught.side_effect = httpx.ReadError("lost")
        for one in CASES:
            before = caught.call_count
            given = await outcome(one(auths[one.platform]))
            seen[one.name] = (given, caught.call_count - before)
    lost, unknown = (errors.ConnectionFailedError, 3), (errors.OutcomeUnknown, 1)
    assert seen == {one.name: lost if one.twice else unknown for one in CASES}


async def test_the_wrong_auth_is_refused_before_anything_is_sent():
    async with domo() as (caught, auths):
        for one in CASES:
            with pytest.raises(errors.UnsupportedByAuth) as failed:
                await one(auths[not one.platform])
            kinds = "OAuthClientAuth" if one.platform else "SessionAuth or AccessTokenAuth"
            assert failed.value.hint == f"Use {kinds}.", one.name
    assert caught.call_count == 0


# -- what odd statuses mean

MEANINGS = {
    ("product.access_tokens.revoke_access_token", 404): errors.NotFoundError,
    ("product.access_tokens.generate_access_token", 400): errors.BadRequestError,
    ("product.api_clients.revoke_api_client", 400): errors.NotFoundError,
    ("product.accounts.get_account_by_id", 403): errors.PermissionDeniedError,
    ("product.accounts.get_account_by_id", 404): errors.NotFoundError,
    ("product.accounts.create_account", 400): errors.BadRequestError,
    ("product.accounts.share_account", 500): errors.ServerError,
    ("product.accounts.search_accounts", 429): errors.RateLimitedError,
    ("product.users.get_user_v3", 404): errors.NotFoundError,
    ("product.users.create_user", 400): errors.BadRequestError,
    ("product.users.delete_user", 404): errors.NotFoundError,
    ("product.authentication.get_me", 401): errors.AuthenticationError,
    ("platform.users.create_user", 409): errors.ConflictError,
    ("platform.users.get_user_by_id", 404): errors.NotFoundError,
}


async def test_statuses_have_their_meaning():
    named = {one.name: one for one in CASES}
    async with domo() as (caught, auths):
        for (name, status), kind in MEANINGS.items():
            said = {"status": status, "statusReason": "x", "message": "because", "toe": "A1B2C3D4E5-F6G7H-I8J9K"}
            caught.return_value = httpx.Response(status, json=said)
            with pytest.raises(kind) as failed:
                await named[name](auths[named[name].platform])
            error = failed.value
            assert type(error) is kind, name
            assert (error.status, error.domo_message) == (status, "because"), name
            assert error.request_id == "A1B2C3D4E5-F6G7H-I8J9K", name


async def test_a_password_refused_with_status_200_is_an_error():
    async with domo() as (caught, auths):
        caught.return_value = httpx.Response(200, json={"description": "Password has been used previously."})
        with pytest.raises(errors.BadRequestError, match="used previously"):
            await users.set_password(auths[False], 27, "N3w!pass")
        caught.return_value = httpx.Response(200)
        await users.set_password(auths[False], 27, "N3w!pass")


@pytest.mark.parametrize(
    ("role_id", "told"),
    [
        (1, {"role": "Admin"}),
        (2, {"role": "Privileged"}),
        (3, {"role": "Editor"}),
        (4, {"role": "Participant"}),
        (5, {"role": "Social"}),
        (700_000_001, {"role": "Participant", "roleId": 700_000_001}),
    ],
)
def test_roles_on_the_platform(role_id, told):
    assert platform_users.role(role_id) == told
