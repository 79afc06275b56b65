"""Settings of the dashboard; the only place here that reads the environment."""

from functools import cache

from pydantic import Field

from aimic.settings import Settings as Shared


class Settings(Shared):
    """`AIMIC_DASHBOARD_…` beside the settings all services share."""

    dashboard_port: int = Field(8501, ge=0, le=65535)
    dashboard_ops_port: int = Field(9501, ge=0, le=65535)
    dashboard_upload_mb: int = Field(2048, ge=1)
    """Largest file that a browser may send here: it is held in memory. The command line has no such limit."""


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
