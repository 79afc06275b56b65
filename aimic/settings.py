"""The settings all processes share. The environment is read here and in services/*/settings.py, nowhere else."""

import os
from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """`AIMIC_…` variables; a secret may also come from the file named by `AIMIC_…_FILE`."""

    model_config = SettingsConfigDict(env_prefix="AIMIC_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".aimic")
    """Where the embedded mode keeps everything."""
    blobs_url: str = ""
    events_url: str = ""
    records_url: str = ""
    predictor_url: str = "local://"
    ingest_url: str = "http://127.0.0.1:8000"
    inference_url: str = "http://127.0.0.1:8001"
    weights_dir: Path | None = None
    """Directory of pretrained weights that is asked before torchvision's download."""
    host: str = "127.0.0.1"
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    """File with the one API key of this installation; without a key only loopback is served."""
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]", "::1")
    """Host names under which we answer without a key (against DNS rebinding)."""
    log_level: str = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _local_defaults(cls, values: dict[str, object]) -> dict[str, object]:
        home = Path(str(values.get("home") or Path.home() / ".aimic")).absolute()
        values["home"] = home
        values["blobs_url"] = values.get("blobs_url") or f"file://{home}/objects"
        values["events_url"] = values.get("events_url") or f"sqlite:///{home}/events.db"
        values["records_url"] = values.get("records_url") or f"sqlite:///{home}/records.db"
        return values

    def key(self) -> str | None:
        """The API key, from the variable or the file; None when there is none."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        if self.api_key_file is not None:
            return self.api_key_file.read_text().strip()
        return None


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine only."""
    return host in {"127.0.0.1", "localhost", "::1", "[::1]"}


def available_cpus() -> int:
    """CPUs this process may use (affinity; a cgroup quota is honoured where there is one)."""
    cpus = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = quota.read_text().split()
        if limit != "max":
            cpus = max(1, min(cpus, int(limit) // int(period)))
    return cpus
