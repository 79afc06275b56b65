"""Ports and addresses of the platform on one machine, and the environment it hands to each part."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, model_validator

from aimic.settings import Settings

STEP = 100
"""Ports of a second ingest or trainer lie this much above those of the first, and so on."""


class Profile(StrEnum):
    """What the platform on one machine keeps its data in."""

    LOCAL = "local"
    """Files and SQLite: nothing else to install."""
    SERVERS = "servers"
    """PostgreSQL, Kafka and MinIO, started and stopped with the platform."""


class LocalSettings(Settings):
    """`AIMIC_PORT` is the front; the others stand behind it. Every one can be changed."""

    profile: Profile = Profile.LOCAL
    ingests: int = Field(1, ge=1, le=9)
    trainers: int = Field(1, ge=1, le=9)
    """How many of each; the front spreads requests over the ingests."""

    trainer_executors: str = "all"
    """What the trainers try a model with when they package it; see their settings."""

    port: int = 8080
    ingest_port: int = 8000
    inference_port: int = 8001
    inference_grpc_port: int = 8002
    dashboard_port: int = 8501
    front_ops_port: int = 9080
    ingest_ops_port: int = 9000
    inference_ops_port: int = 9001
    trainer_ops_port: int = 9003
    dashboard_ops_port: int = 9501
    postgres_port: int = 5440
    kafka_port: int = 9092
    kafka_controller_port: int = 9093
    minio_port: int = 9010
    """The servers' ports, used with the profile `servers` only."""
    server: str | None = None
    """Address the command line talks to; without it the platform running on this home, or port 8080."""

    @model_validator(mode="after")
    def _several_need_servers(self) -> "LocalSettings":
        kept_in = (self.records_url, self.events_url, self.blobs_url)
        if self.ingests > 1 and self.profile is not Profile.SERVERS and any(map(_is_local, kept_in)):
            raise ValueError(
                "several ingests need servers: files and SQLite are for one; add --profile servers, or name your own "
                "in AIMIC_RECORDS_URL, AIMIC_EVENTS_URL and AIMIC_BLOBS_URL"
            )
        return self

    @property
    def lock_file(self) -> Path:
        """Held while a platform runs on this home; beside it stand its process id and address."""
        return self.home / "up.json"

    @property
    def servers_home(self) -> Path:
        """Where the servers of the profile `servers` keep their data."""
        return self.home / "servers"

    @property
    def front_url(self) -> str:
        """The one address for browsers and clients."""
        return f"http://{_reachable(self.host)}:{self.port}"

    def ports(self) -> dict[str, int]:
        """Every setting of a port that is used, and its value."""
        fields = type(self).model_fields
        names = [name for name in fields if name == "port" or name.endswith("_port")]
        if self.profile is not Profile.SERVERS:
            names = [name for name in names if not name.startswith(("postgres_", "kafka_", "minio_"))]
        return {name: getattr(self, name) for name in names}

    def repeated(self, name: str, count: int) -> tuple[int, ...]:
        """The ports of this name for each of `count` parts of one kind."""
        first: int = getattr(self, name)
        return tuple(first + STEP * n for n in range(count))

    def bound(self) -> dict[int, str]:
        """Every port that `aimic up` binds → the setting that moves it."""
        made = {port: name for name, port in self.ports().items()}
        for name in ("ingest_port", "ingest_ops_port"):
            made |= dict.fromkeys(self.repeated(name, self.ingests), name)
        return made | dict.fromkeys(self.repeated("trainer_ops_port", self.trainers), "trainer_ops_port")

    def child_environment(self) -> dict[str, str]:
        """`AIMIC_…` variables for all parts."""
        environment = {f"AIMIC_{name.upper()}": str(port) for name, port in self.ports().items()}
        environment |= {
            "AIMIC_HOME": str(self.home),
            "AIMIC_PROFILE": self.profile,
            "AIMIC_INGESTS": str(self.ingests),
            "AIMIC_TRAINERS": str(self.trainers),
            "AIMIC_TRAINER_EXECUTORS": self.trainer_executors,
            "AIMIC_INGEST_URL": f"http://127.0.0.1:{self.ingest_port}",
            "AIMIC_INFERENCE_URL": f"http://127.0.0.1:{self.inference_port}",
            # Logs come through a pipe; without this Python would hold them back.
            "PYTHONUNBUFFERED": "1",
            # Threads that spin while they wait make torch a hundred times slower beside a busy neighbour.
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if self.weights_dir is not None:
            environment["AIMIC_WEIGHTS_DIR"] = str(self.weights_dir.absolute())
        return environment


def _is_local(url: str) -> bool:
    return url.startswith(("sqlite:", "file:"))


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
