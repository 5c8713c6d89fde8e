"""More cases of `test_routes`: DataSets many at once, their versions and ties, and parts of streams."""

from domokit.routes.platform import datasets as platform_datasets
from domokit.routes.platform import row_policies as platform_policies
from domokit.routes.platform import streams as platform_streams
from domokit.routes.product import (
    data_versions,
    dataset_ties,
    datasets,
    many_datasets,
    query,
    row_policies,
    stream_uploads,
    streams,
)
from domokit.transport import Content

V2, V3, STREAMS = "/api/data/v2/datasources", "/api/data/v3/datasources", "/api/data/v1/streams"
UI = "/api/data/v1/ui/bulk"
PARTS = ["core", "permission", "status", "rowcolcount", "pdp", "dataprovider"]
COLUMNS = [{"type": "LONG", "name": "a"}]
PACKED = Content(b"\x1f\x8b packed", "text/csv", "gzip")
IDS = ["a-b", "c-d"]
ITEMS = {"type": "DATA_SOURCE", "ids": IDS}
OUTCOME = {"successful": ["a-b"], "failed": {"c-d": "NO_ACCESS"}}
CERTIFIED = "/api/tags/v3/DATA_SOURCE/a-b/system/CERTIFIED/state"
EXECUTION = f"{STREAMS}/42/executions/7"
POLICIES = "/api/query/v1/data-control/a-b/filter-groups"
DYNAMIC = {
    "name": "Mine",
    "filters": [
        {
            "column": "boss",
            "values": ["domo.policy.managed_employee_id"],
            "operator": "EQUALS",
            "not": False,
            "ignoreCase": False,
            "kind": "DYNAMIC",
        }
    ],
    "user_ids": [27],
    "group_ids": [],
    "virtual_user_ids": [],
    "type": "system",
    "dataset_permissions": True,
}

# What makes more than one request.
SEVERAL = {datasets.set_schema, row_policies.switch_policies}


def cases(case):
    """`case` is that of `test_routes`."""
    return [*_datasets(case), *_many(case), *_versions(case), *_ties(case), *_policies(case), *_streams(case)]


def _datasets(case):
    return [
        case(
            datasets.list_datasets,
            0,
            50,
            order="lastTouched",
            owner_id=27,
            provider="api",
            sends=f"GET {V3}",
            params={
                "offset": "0",
                "limit": "50",
                "orderBy": "lastTouched",
                "ownerId": "27",
                "dataProviderType": "api",
                "part": PARTS,
            },
            answer={"dataSources": [{"id": "a-b"}]},
            gives=[{"id": "a-b"}],
        ),
        case(
            datasets.search_datasets,
            50,
            50,
            text="orders",
            filters={"owned_by_id": 27},
            sort=("create_date", "DESC"),
            sends="POST /api/data/ui/v3/datasources/search",
            body={
                "entities": ["DATASET"],
                "query": "orders",
                "filters": [{"filterType": "term", "field": "owned_by_id", "value": "27", "not": False}],
                "combineResults": True,
                "count": 50,
                "offset": 50,
                "sort": {"isRelevance": False, "fieldSorts": [{"field": "create_date", "sortOrder": "DESC"}]},
            },
            answer={"dataSources": [{"id": "a-b"}], "_metaData": {"totalCount": 51}},
            gives=[{"id": "a-b"}],
            reads=True,
        ),
        case(
            datasets.get_datasets,
            IDS,
            sends=f"POST {V3}/bulk",
            params={"part": PARTS},
            body=IDS,
            answer={"dataSources": [{"id": "a-b"}]},
            gives=[{"id": "a-b"}],
            reads=True,
        ),
        case(
            datasets.get_schema_version,
            "a-b",
            3,
            sends=f"GET {V2}/a-b/schemas/3",
            answer={"schema": {"columns": COLUMNS}},
            gives=COLUMNS,
        ),
        case(
            datasets.get_stored_schema,
            "a-b",
            sends=f"GET {V3}/a-b/schema",
            params={"indexedSchema": "false"},
            answer={"schemaContract": {"schema": {"columns": COLUMNS}}},
            gives=COLUMNS,
        ),
        case(
            datasets.get_indexed_schema,
            "a-b",
            sends=f"GET {V2}/a-b/schemas/indexed",
            answer={"schema": {"columns": COLUMNS}},
            gives=COLUMNS,
        ),
        case(
            datasets.set_permission,
            "a-b",
            kind="USER",
            grantee_id=31,
            level="CAN_VIEW",
            sends=f"PUT {V3}/a-b/permissions",
            body={"accessLevel": "CAN_VIEW", "id": "31", "type": "USER"},
        ),
        case(
            query.request_index,
            "a-b",
            sends="POST /api/query/v1/datasources/a-b",
            answer={"requestKey": "20240320020000.117"},
            twice=True,
        ),
        case(
            platform_datasets.list_datasets,
            0,
            50,
            order="lastTouched",
            sends="GET /v1/datasets",
            params={"offset": "0", "limit": "50", "sort": "lastTouched"},
            answer=[{"id": "a-b"}],
        ),
    ]


def _many(case):
    return [
        case(
            many_datasets.list_dataset_ids,
            100,
            100,
            sends=f"GET {V3}/bulk/datasourceIds",
            params={"offset": "100", "limit": "100"},
            answer=IDS,
        ),
        case(
            many_datasets.list_all_permissions,
            0,
            100,
            sends=f"GET {V3}/bulk/permissions",
            params={"offset": "0", "limit": "100"},
            answer=[{"dataSourceId": "a-b", "id": "27", "type": "USER", "accessLevel": "OWNER"}],
        ),
        case(
            many_datasets.get_statuses,
            IDS,
            sends=f"POST {V3}/statuses",
            body=IDS,
            answer=[{"dataSourceId": "a-b"}],
            reads=True,
        ),
        case(
            many_datasets.delete_datasets,
            IDS,
            for_good=True,
            sends=f"POST {V3}/delete",
            params={"deleteMethod": "hard"},
            body=IDS,
        ),
        case(
            many_datasets.set_owner_of_datasets,
            31,
            IDS,
            sends=f"PUT {V2}/responsible-user/31",
            body=IDS,
        ),
        case(many_datasets.switch_account, 105, IDS, sends=f"POST {V2}/account/105", body=IDS, twice=True),
        case(
            many_datasets.reassign_each,
            IDS,
            kind="USER",
            owner_id=31,
            sends=f"POST {UI}/reassign",
            body={**ITEMS, "userId": "31"},
            answer=OUTCOME,
            twice=True,
        ),
        case(
            many_datasets.reassign_each,
            IDS,
            kind="GROUP",
            owner_id=3,
            sends=f"POST {UI}/reassign",
            body={**ITEMS, "groupId": "3"},
            answer=OUTCOME,
            twice=True,
        ),
        case(
            many_datasets.share_each,
            IDS,
            [{"id": "31", "type": "USER", "accessLevel": "CAN_VIEW"}],
            sends=f"POST {UI}/share",
            body={
                "bulkItems": ITEMS,
                "dataSourceShareEntity": {
                    "permissions": [{"id": "31", "type": "USER", "accessLevel": "CAN_VIEW"}],
                    "sendEmail": False,
                    "message": "",
                },
            },
            answer=OUTCOME,
            twice=True,
        ),
        case(
            many_datasets.add_tags_to_each,
            IDS,
            ["sales"],
            sends=f"POST {UI}/tag",
            body={"bulkItems": ITEMS, "tags": ["sales"]},
            answer=OUTCOME,
            twice=True,
        ),
        case(
            many_datasets.remove_tags_of_each,
            IDS,
            ["sales"],
            sends=f"POST {UI}/tag/delete",
            body={"bulkItems": ITEMS, "tags": ["sales"]},
            answer=OUTCOME,
            twice=True,
        ),
        case(many_datasets.delete_each, IDS, sends=f"POST {UI}/delete", body=ITEMS, answer=OUTCOME, twice=True),
        case(many_datasets.run_each, IDS, sends=f"POST {UI}/run", body=ITEMS, answer=OUTCOME),
    ]


def _versions(case):
    return [
        case(
            data_versions.list_data_versions,
            "a-b",
            status="success",
            sends=f"GET {V2}/a-b/dataversions",
            params={"statusFilter": "success"},
            answer=[{"dataId": 12}],
        ),
        case(
            data_versions.create_version,
            "a-b",
            PACKED,
            append=True,
            partition="2024-03",
            sends=f"POST {V3}/a-b/dataversions",
            params={"index": "true", "append": "latest", "dataTag": "2024-03"},
            body=PACKED,
            answer="12",
        ),
        case(
            data_versions.load_at_once,
            "a-b",
            PACKED,
            action="REPLACE",
            sends=f"POST {V3}/a-b/uploads/stream",
            params={"action": "REPLACE"},
            body=PACKED,
            answer={"uploadId": 17},
        ),
        case(
            data_versions.list_partition_versions,
            "a-b",
            sends=f"GET {V3}/a-b/partitions",
            answer=[{"dataId": 12, "partitionId": "2024-03"}],
        ),
        case(
            data_versions.delete_partition_at_once,
            "a-b",
            "2024/03",
            sends=f"DELETE {V3}/a-b/partitions/2024%2F03",
            params={"mode": "HARD"},
            answer="success",
            gives=None,
        ),
    ]


def _ties(case):
    return [
        case(
            dataset_ties.get_hierarchy,
            "a-b",
            sends=f"GET {V3}/a-b/hierarchy",
            answer={"dataSourceId": "a-b", "type": "ROOT_DATASOURCE", "inputDataSources": []},
        ),
        case(
            dataset_ties.get_impact,
            "a-b",
            sends=f"GET {V3}/a-b/impacted-resources",
            answer={"brokenCards": [], "affectedCards": []},
        ),
        case(
            dataset_ties.list_cards,
            "a-b",
            sends="GET /api/content/v1/datasources/a-b/cards",
            answer=[{"id": 123456789, "title": "Orders per day"}],
        ),
        case(
            dataset_ties.list_cards,
            "a-b",
            drills=True,
            sends="GET /api/content/v1/datasources/a-b/cards",
            params={"drill": "true"},
            answer=[],
        ),
        case(
            dataset_ties.get_certification,
            "a-b",
            sends=f"GET {CERTIFIED}",
            answer={"tag": "CERTIFIED", "state": None, "metadata": None, "updated": None},
        ),
        case(dataset_ties.certify, "a-b", sends=f"PUT {CERTIFIED}/ACTIVE"),
        case(dataset_ties.clear_certification, "a-b", sends=f"DELETE {CERTIFIED}"),
    ]


def _policies(case):
    dynamic = {
        "name": "Mine",
        "dataSourceId": "a-b",
        "userIds": ["27"],
        "virtualUserIds": [],
        "groupIds": [],
        "dataSourcePermissions": True,
        "parameters": [
            {
                "type": "DYNAMIC",
                "name": "boss",
                "values": ["domo.policy.managed_employee_id"],
                "operator": "EQUALS",
                "not": False,
                "ignoreCase": False,
            }
        ],
    }
    return [
        case(
            row_policies.create_policy,
            "a-b",
            DYNAMIC,
            sends=f"POST {POLICIES}",
            body=dynamic,
            answer={"filterGroupId": 8},
        ),
        case(
            row_policies.update_policy,
            "a-b",
            8,
            DYNAMIC,
            sends=f"PUT {POLICIES}/8",
            body={**dynamic, "filterGroupId": 8},
            answer={"filterGroupId": 8},
        ),
        case(
            row_policies.get_policy_by_id,
            "a-b",
            8,
            sends=f"GET {POLICIES}",
            params={"options": "load_associations,load_filters,include_open_policy"},
            answer=[{"filterGroupId": 7}, {"filterGroupId": 8}],
            gives={"filterGroupId": 8},
        ),
        case(
            platform_policies.get_policy_by_id,
            "a-b",
            8,
            sends="GET /v1/datasets/a-b/policies/8",
            answer={"id": 8},
        ),
        case(
            platform_policies.update_policy,
            "a-b",
            1,
            {"name": "All Rows", "filters": [], "user_ids": [27], "group_ids": [], "virtual_user_ids": []}
            | {"type": "open"},
            sends="PUT /v1/datasets/a-b/policies/1",
            body={
                "id": 1,
                "type": "open",
                "name": "All Rows",
                "filters": [],
                "users": [27],
                "virtualUsers": [],
                "groups": [],
            },
            answer={"id": 1},
        ),
    ]


def _streams(case):
    return [
        case(
            streams.search_streams,
            "dataSource.owner.id:27",
            sends=f"GET {STREAMS}/search",
            params={"q": "dataSource.owner.id:27", "fields": "all"},
            answer=[{"id": 42}],
        ),
        case(
            platform_streams.search_streams,
            "dataSource.owner.id:27",
            sends="GET /v1/streams/search",
            params={"q": "dataSource.owner.id:27", "fields": "all"},
            answer=[{"id": 42}],
        ),
        case(
            streams.set_schedule,
            42,
            '{"type": "DAY", "at": "08:01 PM", "timezone": "UTC"}',
            sends=f"PUT {STREAMS}/42/schedule",
            body='{"type": "DAY", "at": "08:01 PM", "timezone": "UTC"}',
        ),
        case(
            streams.set_schedule_state,
            42,
            "INACTIVE",
            sends=f"POST {STREAMS}/42/scheduleState/INACTIVE",
            twice=True,
        ),
        case(streams.abort_running, 42, sends=f"POST {STREAMS}/42/executions/abort", twice=True),
        case(platform_streams.abort_running, 42, sends="PUT /v1/streams/42/executions/abort"),
        case(stream_uploads.upload_part, 42, 7, 2, PACKED, sends=f"PUT {EXECUTION}/part/2", body=PACKED),
        case(
            stream_uploads.start_execution_upload,
            42,
            7,
            sends=f"POST {EXECUTION}/upload",
            answer={"streamId": 42, "executionId": 7, "uploadId": 17},
            gives=17,
        ),
        case(
            stream_uploads.put_execution_upload_part,
            42,
            7,
            17,
            2,
            PACKED,
            sends=f"PUT {EXECUTION}/upload/17/part/2",
            body=PACKED,
            answer={"uploadStatus": "ok"},
            gives=None,
        ),
        case(
            stream_uploads.commit_execution_upload,
            42,
            7,
            17,
            update_method="APPEND",
            partition="2024-03",
            sends=f"PUT {EXECUTION}/upload/17/commit",
            params={"updateMethod": "APPEND", "dataTag": "2024-03"},
            answer={"uploadId": 17, "status": "success"},
            twice=False,
        ),
    ]
