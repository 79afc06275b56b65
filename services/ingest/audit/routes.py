"""The audit log over HTTP, to read only."""

from typing import Annotated

from fastapi import APIRouter, Depends

from aimic.domain.site import Permission, Principal
from services.ingest.audit import service
from services.ingest.audit.schemas import AuditEntry
from services.ingest.dependencies import Parts, permitted
from services.ingest.paging import Page, Paging, cut

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("")
def entries(
    page: Paging, parts: Parts, principal: Annotated[Principal, Depends(permitted(Permission.AUDIT_READ))]
) -> Page[AuditEntry]:
    """Who did what at this site, oldest first."""
    after = page.after()
    rows = service.entries(parts.database, principal.site, int(after[0]) if after else 0, page.limit + 1)
    return cut(rows, page, lambda entry: entry, lambda entry: (entry.number,))
