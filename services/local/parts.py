"""What the platform on one machine is made of, and what each part is told."""

import sys
from collections.abc import Iterator

from services.local.part import PartSpec
from services.local.servers.together import Servers
from services.local.settings import LocalSettings, Profile

_GRACE_S = "3"
"""Seconds a trainer takes for its last checkpoint here: everything has to end within the supervisor's time."""


def part_specs(settings: LocalSettings, servers: Servers | None = None) -> tuple[PartSpec, ...]:
    """The services, in the order in which they are started."""
    front = PartSpec(
        name="front",
        command=_command("services.local.front"),
        ops_port=settings.front_ops_port,
        environment={**_common(settings), "AIMIC_HOST": settings.host},
    )
    return (*_ingests(settings, servers), _inference(settings, servers), *_trainers(settings, servers),
            _dashboard(settings), front)  # fmt: skip


def _command(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


def _common(settings: LocalSettings) -> dict[str, str]:
    # Only the front and the gRPC port may face the network; the rest stays on loopback behind the front.
    # Operations ports ask for no key, so they never do.
    return {**settings.child_environment(), "AIMIC_HOST": "127.0.0.1", "AIMIC_OPS_HOST": "127.0.0.1"}


def _ingests(settings: LocalSettings, servers: Servers | None) -> Iterator[PartSpec]:
    ports = settings.repeated("ingest_port", settings.ingests)
    ops_ports = settings.repeated("ingest_ops_port", settings.ingests)
    for n, (port, ops_port) in enumerate(zip(ports, ops_ports, strict=True), 1):
        own = {"AIMIC_INGEST_PORT": str(port), "AIMIC_INGEST_OPS_PORT": str(ops_port)}
        if n > 1:  # each clears its scratch directory when it starts
            own["AIMIC_HOME"] = str(settings.home / "parts" / _numbered("ingest", n))
        yield PartSpec(
            name=_numbered("ingest", n),
            command=_command("services.ingest"),
            ops_port=ops_port,
            ends_late=True,
            environment={**_common(settings), **(servers.environment() if servers else {}), **own},
        )


def _inference(settings: LocalSettings, servers: Servers | None) -> PartSpec:
    return PartSpec(
        name="inference",
        command=_command("services.inference"),
        ops_port=settings.inference_ops_port,
        environment={**_common(settings), **_events_of(servers), "AIMIC_INFERENCE_GRPC_HOST": settings.host},
    )


def _trainers(settings: LocalSettings, servers: Servers | None) -> Iterator[PartSpec]:
    behind = settings.repeated("ingest_port", settings.ingests)
    for n, ops_port in enumerate(settings.repeated("trainer_ops_port", settings.trainers), 1):
        own = {
            "AIMIC_TRAINER_OPS_PORT": str(ops_port),
            # Straight to an ingest: the front would ask for a person's credential.
            "AIMIC_INGEST_URL": f"http://127.0.0.1:{behind[(n - 1) % len(behind)]}",
            "AIMIC_TRAINER_GRACE_S": _GRACE_S,
        }
        yield PartSpec(
            name=_numbered("trainer", n),
            command=_command("services.trainer"),
            ops_port=ops_port,
            environment={**_common(settings), **_events_of(servers), **own},
        )


def _dashboard(settings: LocalSettings) -> PartSpec:
    return PartSpec(
        name="dashboard",
        command=_command("services.dashboard"),
        ops_port=settings.dashboard_ops_port,
        environment=_common(settings),
    )


def _events_of(servers: Servers | None) -> dict[str, str]:
    # The broker is all that trainers and inference need: they reach objects by addresses that ingest gives.
    return servers.kafka.environment() if servers else {}


def _numbered(name: str, n: int) -> str:
    return name if n == 1 else f"{name}-{n}"


def servers_of(settings: LocalSettings) -> Servers | None:
    """The three servers of the profile `servers`, with their data in the home; None in the profile `local`."""
    if settings.profile is not Profile.SERVERS:
        return None
    servers = Servers.at(
        settings.servers_home,
        postgres=settings.postgres_port,
        kafka=settings.kafka_port,
        kafka_controller=settings.kafka_controller_port,
        minio=settings.minio_port,
    )
    for server in servers.all:
        server.logs = settings.home / "logs"
    return servers
