"""Every table of the records: importing this module makes `Base.metadata` complete."""

from services.ingest import idempotency, outbox
from services.ingest.audit import tables as audit
from services.ingest.datasets import tables as datasets
from services.ingest.evaluations import tables as evaluations
from services.ingest.imports import tables as imports
from services.ingest.jobs import tables as jobs
from services.ingest.models import tables as models
from services.ingest.records import Base
from services.ingest.sites import tables as sites
from services.ingest.tasks import tables as tasks
from services.ingest.uploads import tables as uploads

__all__ = [
    "Base",
    "audit",
    "datasets",
    "evaluations",
    "idempotency",
    "imports",
    "jobs",
    "models",
    "outbox",
    "sites",
    "tasks",
    "uploads",
]
