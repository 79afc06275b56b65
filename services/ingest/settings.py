"""What can be set about ingest."""

from pydantic import Field

from aimic.settings import Settings as SharedSettings


class Settings(SharedSettings):
    """`AIMIC_INGEST_…` variables, beside the shared ones."""

    ingest_port: int = 8000
    ingest_ops_port: int = 9000
    ingest_body_limit: int = Field(16 * 2**20, gt=0)
    """Bytes of a request body, uploads' PATCHes apart (those have their own limit)."""
    ingest_workers: bool = True
    """Whether this process also does ingest's own background work (imports, relay, sweeping)."""
    ingest_url_ttl_s: int = Field(12 * 3600, gt=0)
    """Seconds for which addresses given to workers are good."""
    ingest_upload_limit: int = Field(64 * 2**30, gt=0)
    """Bytes of one upload."""
    ingest_upload_ttl_s: int = Field(48 * 3600, gt=0)
    """Seconds after its last piece for which an upload that nobody uses is kept."""
