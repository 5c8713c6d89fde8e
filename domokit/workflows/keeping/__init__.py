"""Keep many credentials fresh: what `domokit keep` runs."""

from domokit.workflows.keeping.config import read_config, status_path
from domokit.workflows.keeping.keeping import Finding, Keeping
from domokit.workflows.keeping.settings import KeepConfig
from domokit.workflows.keeping.status import CredentialStatus, KeepStatus, read_status

__all__ = [
    "CredentialStatus",
    "Finding",
    "KeepConfig",
    "KeepStatus",
    "Keeping",
    "read_config",
    "read_status",
    "status_path",
]
