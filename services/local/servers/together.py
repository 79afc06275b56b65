"""All three servers as one."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.postgres import Postgres
from services.local.servers.server import Server


def fields(environment: dict[str, str]) -> dict[str, Any]:
    """`AIMIC_…` variables as arguments of a settings class."""
    return {name.removeprefix("AIMIC_").lower(): value for name, value in environment.items()}


class Servers:
    """PostgreSQL, Kafka and MinIO with their homes below `home`."""

    def __init__(self, postgres: Postgres, kafka: Kafka, minio: Minio) -> None:
        self.postgres = postgres
        self.kafka = kafka
        self.minio = minio

    @classmethod
    def on(cls, home: Path, durable: bool = True) -> Self:
        """Three new servers on free ports."""
        return cls(
            Postgres(home / "postgres", durable=durable),
            Kafka(home / "kafka"),
            Minio(home / "minio"),
        )

    @classmethod
    def at(cls, home: Path, *, postgres: int, kafka: int, kafka_controller: int, minio: int) -> Self:
        """The three of a platform: on given ports, durable, and all with passwords."""
        return cls(
            Postgres(home / "postgres", postgres),
            Kafka(home / "kafka", kafka, controller_port=kafka_controller, secured=True),
            Minio(home / "minio", minio),
        )

    @property
    def all(self) -> tuple[Server, ...]:
        """In the order in which they start."""
        return (self.postgres, self.kafka, self.minio)

    def environment(self) -> dict[str, str]:
        """`AIMIC_…` settings that make every service use them."""
        return {name: value for server in self.all for name, value in server.environment().items()}

    def fields(self) -> dict[str, Any]:
        """The same as arguments of a settings class."""
        return fields(self.environment())

    def start(self) -> Self:
        """Start all side by side, and wait for all."""
        with ExitStack() as undo:
            for server in self.all:
                undo.callback(server.stop)
                server.launch()
            for server in self.all:
                server.wait()
            undo.pop_all()
        return self

    def stop(self) -> None:
        """Stop all."""
        for server in self.all:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
