"""`aimic up`: the whole platform on one machine."""

import logging
import os
import shutil
import socket

from rich.console import Console

from aimic.auth import refuse_open_bind
from aimic.errors import ConflictError, UnavailableError
from services.local.lock import HomeLock
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, part_specs

_MIN_FREE_BYTES = 500 * 2**20


def up(settings: LocalSettings, console: Console) -> None:
    """Run until Ctrl-C. ConflictError when one runs on this home already or a port is taken."""
    refuse_open_bind(settings)
    lock = HomeLock(settings.lock_file)
    about = {"pid": os.getpid(), "url": settings.front_url, "ports": settings.ports()}
    lock.acquire(about)
    try:
        _check_ports(settings)
        _check_disk(settings)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        supervisor = Supervisor(part_specs(settings), settings.home / "logs")
        supervisor.stop_on_signals()
        console.print(f"Starting AIMIC on {settings.home} (Ctrl-C stops it) …")

        def ready() -> None:
            lock.tell({**about, "ready": True})
            _announce(settings, console)

        supervisor.run(ready)
        console.print("Stopped. Your data and unfinished jobs are kept; `aimic up` goes on with them.")
    finally:
        lock.release()


def _check_ports(settings: LocalSettings) -> None:
    taken = [(name, port) for name, port in settings.ports().items() if _is_taken(port)]
    if taken:
        words = ", ".join(f"{port} (AIMIC_{name.upper()})" for name, port in taken)
        raise ConflictError(
            f"Another program uses port {words}. Stop it, or set the variable in brackets to a free port; "
            "`aimic up --port N` moves the front."
        )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _check_disk(settings: LocalSettings) -> None:
    free = shutil.disk_usage(settings.home).free
    if free < _MIN_FREE_BYTES:
        raise UnavailableError(
            f"Only {free // 2**20} MiB are free on the disk of {settings.home}. Free some space "
            "(at least 500 MiB) and start again; nothing was changed."
        )


def _announce(settings: LocalSettings, console: Console) -> None:
    console.print(f"\nAIMIC is ready: {settings.front_url}", style="bold")
    console.print(f"  pages and REST   {settings.front_url}")
    console.print(f"  gRPC             127.0.0.1:{settings.inference_grpc_port}")
    console.print(f"  data             {settings.home}")
    for name in ("front", "ingest", "inference", "trainer", "dashboard"):
        port = getattr(settings, f"{name}_ops_port")
        console.print(f"  health, metrics  http://127.0.0.1:{port}/readyz, /metrics ({name})")
