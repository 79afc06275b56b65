"""What can be set about ingest."""

from pathlib import Path

from pydantic import Field, SecretStr

from aimic.settings import Settings as SharedSettings


class Settings(SharedSettings):
    """`AIMIC_INGEST_…` and `AIMIC_RECORDS_…` variables, beside the shared ones."""

    records_password: SecretStr | None = None
    records_password_file: Path | None = None
    """Of the login in AIMIC_RECORDS_URL (a member of the role aimic_app); never part of the address."""
    records_system_url: str = ""
    """PostgreSQL only: the same database by a login of the role aimic_system (relay, sweeper, claims across sites)."""
    records_system_password: SecretStr | None = None
    records_system_password_file: Path | None = None
    records_owner_url: str = ""
    """PostgreSQL only: the same database by the tables' owner, for migrations alone. Without it ingest changes no
    schema: run `python -m services.ingest.migrate`, which has it, before a new version starts."""
    records_owner_password: SecretStr | None = None
    records_owner_password_file: Path | None = None
    records_connections: int = Field(20, ge=1)
    """PostgreSQL only: connections that one process may open by each of its two logins; one more listens."""
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
