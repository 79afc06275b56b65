"""`aimic up`: the whole platform on one machine."""

import logging
import os
import shutil
from typing import Any

from rich.console import Console

from aimic.auth import refuse_open_bind
from aimic.errors import ConflictError, UnavailableError
from services.local.lock import HomeLock
from services.local.parts import part_specs, servers_of
from services.local.servers import install
from services.local.servers.ports import is_taken
from services.local.servers.together import Servers
from services.local.settings import LocalSettings, Profile
from services.local.supervisor import Supervisor

_MIN_FREE_BYTES = 500 * 2**20


def up(settings: LocalSettings, console: Console) -> None:
    """Run until Ctrl-C. ConflictError when one runs on this home already or a port is taken."""
    refuse_open_bind(settings)
    lock = HomeLock(settings.lock_file)
    servers = servers_of(settings)
    about: dict[str, Any] = {
        "pid": os.getpid(),
        "url": settings.front_url,
        "profile": settings.profile,
        "ports": settings.ports(),
    }
    lock.acquire(about)
    try:
        _check_profile(settings)
        _check_ports(settings)
        _check_disk(settings)
        if servers is not None:
            install.everything()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        specs = part_specs(settings, servers)
        about["operations"] = {spec.name: spec.ops_port for spec in specs}
        lock.tell(about)
        supervisor = Supervisor(specs, settings.home / "logs", servers.all if servers else ())
        supervisor.stop_on_signals()
        console.print(f"Starting AIMIC on {settings.home} (Ctrl-C stops it) …")

        def ready() -> None:
            lock.tell({**about, "ready": True})
            _announce(settings, servers, console)

        supervisor.run(ready)
        console.print("Stopped. Your data and unfinished jobs are kept; `aimic up` goes on with them.")
    finally:
        lock.release()


def _check_profile(settings: LocalSettings) -> None:
    # The data of one profile is invisible to the other: a person would think that it was lost.
    with_servers, local = settings.servers_home.exists(), (settings.home / "records.db").exists()
    if settings.profile is Profile.SERVERS and local:
        raise ConflictError(
            f"{settings.home} holds data of the profile local (files and SQLite), which the servers would not see. "
            "Give the servers a --home of their own, or start without --profile servers. Nothing was changed."
        )
    if settings.profile is Profile.LOCAL and with_servers:
        raise ConflictError(
            f"{settings.home} holds data of the profile servers (PostgreSQL, Kafka, MinIO). Start it with "
            "--profile servers, or give another --home. Nothing was changed."
        )


def _check_ports(settings: LocalSettings) -> None:
    taken = [(name, port) for port, name in settings.bound().items() if is_taken(port)]
    if taken:
        words = ", ".join(f"{port} (AIMIC_{name.upper()})" for name, port in taken)
        raise ConflictError(
            f"Another program uses port {words}. Stop it, or set the variable in brackets to a free port; "
            "`aimic up --port N` moves the front."
        )


def _check_disk(settings: LocalSettings) -> None:
    free = shutil.disk_usage(settings.home).free
    if free < _MIN_FREE_BYTES:
        raise UnavailableError(
            f"Only {free // 2**20} MiB are free on the disk of {settings.home}. Free some space "
            "(at least 500 MiB) and start again; nothing was changed."
        )


def _announce(settings: LocalSettings, servers: Servers | None, console: Console) -> None:
    console.print(f"\nAIMIC is ready: {settings.front_url}", style="bold")
    console.print(f"  pages and REST   {settings.front_url}")
    console.print(f"  gRPC             127.0.0.1:{settings.inference_grpc_port}")
    console.print(f"  data             {settings.home}")
    for server in servers.all if servers else ():
        console.print(f"  {server.name:<16} 127.0.0.1:{server.port}, data and passwords in {server.home}")
    for spec in part_specs(settings, servers):
        console.print(f"  health, metrics  http://127.0.0.1:{spec.ops_port}/readyz, /metrics ({spec.name})")
