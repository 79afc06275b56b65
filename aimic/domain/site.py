"""Who acts, and for which site. Every record, object key, event and call carries both."""

from enum import StrEnum

from aimic.domain.base import Value

LOCAL_SITE = "local"
PLATFORM_SITE = "*"
"""The site of a principal that works for all of them, such as a shared trainer; no record belongs to it."""


class Permission(StrEnum):
    """What a route may ask for. Roles are sets of these; the matrix is policy, not code in routes."""

    DATASETS_READ = "datasets:read"
    DATASETS_WRITE = "datasets:write"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    MODELS_PROMOTE = "models:promote"
    PREDICT = "predict"
    TASKS_WORK = "tasks:work"
    SERVING_READ = "serving:read"
    SERVING_WRITE = "serving:write"
    AUDIT_READ = "audit:read"


class Principal(Value):
    """The acting person or machine, as the credential says it, never as the request says it."""

    site: str
    name: str
    permissions: frozenset[Permission]

    def may(self, permission: Permission) -> bool:
        """Whether this principal holds `permission`."""
        return permission in self.permissions


OWNER = Principal(site=LOCAL_SITE, name="owner", permissions=frozenset(Permission))
"""The one principal of an embedded installation without credentials (loopback only)."""
