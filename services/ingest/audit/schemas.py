"""The audit log on the wire."""

from datetime import datetime
from typing import Any

from aimic.domain.base import Value


class AuditEntry(Value):
    """One deed."""

    number: int
    at: datetime
    principal: str
    action: str
    subject: str
    details: dict[str, Any]
    before: str
    hash: str
