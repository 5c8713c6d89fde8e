"""The connectors that the sandbox knows and the configuration fields of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One configuration field. An optional one may be left out of an update, and may be null."""

    name: str
    secret: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """A connector: its key on the wire, and how its accounts sign in ("fields" or "oauth")."""

    id: int
    key: str
    name: str
    scheme: str
    fields: dict[str, ConfigField]

    @property
    def is_oauth(self) -> bool:
        return self.scheme == "oauth"


# key | shown name | fields: a leading ! marks a secret, a trailing ? an optional field
_TABLE = """
abstract-credential-store | Abstract Credential Store | !credentials
domo-access-token | Domo Access Token | !domoAccessToken username !password?
dataset-copy | DataSet Copy | !accessToken instance
domo-csv | Domo CSV |
domo-governance-d14c2fef-49a8-4898-8ddd-f64998005600 | Domo Governance | !apikey customer
amazon-s3 | Amazon S3 | accessKey !secretKey bucket region
amazons3-advanced | Amazon S3 Advanced | accessKey !secretKey bucket region
aws-athena | AWS Athena | awsAccessKey !awsSecretKey s3StagingDir region workgroup
amazon-athena-high-bandwidth | Amazon Athena High Bandwidth | awsAccessKey !awsSecretKey s3StagingDir region workgroup
snowflake | Snowflake | account username !password role?
snowflake-unload | Snowflake Unload | account username !password accessKey !secretKey bucket
snowflake-unload-v2 | Snowflake Unload V2 | account username !password role? accessKey !secretKey bucket region
snowflake-internal-unload | Snowflake Internal Unload | account username !password role?
snowflake-internal-unload-advanced-partition | Snowflake Unload Advanced Partition | account username !password role?
snowflake-writeback | Snowflake Writeback | domoClientId !domoClientSecret account username !password role?
snowflake-federated | Snowflake Federated | host port user !password warehouse role?
snowflakekeypairauthentication | Snowflake Key Pair | !privateKey !passPhrase? account username role?
snowflake-federated-keypair | Snowflake Federated Key Pair | !privateKeyString !privateKeyPassphrase? user host? port? warehouse? role?
json5 | JSON No Code | authentication apiType? name? !apiKey? username? !password?
google-spreadsheets | Google Sheets | oauth
api | API |
snowflake-oauth-config | Snowflake OAuth Configuration | client-id !client-secret
jira-on-prem-oauth-config | Jira On-Premises OAuth Configuration | client_id !client_secret
"""  # noqa: E501


def _field(word: str) -> ConfigField:
    return ConfigField(word.strip("!?"), secret=word.startswith("!"), optional=word.endswith("?"))


def _provider(number: int, line: str) -> Provider:
    key, name, words = (part.strip() for part in line.split("|"))
    if words == "oauth":
        return Provider(number, key, name, "oauth", {})
    return Provider(number, key, name, "fields", {f.name: f for f in map(_field, words.split())})


_LINES = _TABLE.strip().splitlines()
PROVIDERS: dict[str, Provider] = {
    provider.key: provider for provider in (_provider(12 + n, line) for n, line in enumerate(_LINES))
}
