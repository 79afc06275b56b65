"""What is asked of the registry."""

from pydantic import Field

from aimic.domain.base import Command
from services.ingest.models.service import NAME


class ModelImport(Command):
    """Register the exported bundle in a finished upload."""

    upload: str = Field(max_length=100)
    name: str | None = Field(None, pattern=f"^{NAME.pattern}$")
    """None: a name made from network and hash."""
