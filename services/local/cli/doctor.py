"""`aimic doctor`: is this machine fit, and is everything up? In words, with what to do."""

import importlib.util
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import RenderableType

from aimic.client import DEFAULT_SERVER
from aimic.domain.networks import NETWORKS
from aimic.settings import available_cpus
from services.local.cli.check import Check
from services.local.cli.session import Json, show, table
from services.local.lock import read_holder
from services.local.settings import LocalSettings
from services.local.supervisor import is_ready


def doctor(as_json: Json = False) -> None:
    """Check this machine and the platform on it; exit status 1 when something needs a person."""
    from services.local.cli.doctor_servers import server_checks  # brings the database's library along

    settings = LocalSettings()
    holder = read_holder(settings.lock_file)
    checks = [*_machine(settings), *_platform(settings, holder), *server_checks(settings, holder)]
    show(as_json, checks, lambda: _words(checks))
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(1)


def _words(checks: list[Check]) -> RenderableType:
    return table(("", "what", "found"), ((check.state, check.name, check.words) for check in checks))


def _machine(settings: LocalSettings) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield _check("Python", fits, version, f"{version}; AIMIC needs 3.11 to 3.13")
    yield Check(name="processors", state="ok", words=f"{available_cpus()} usable")
    home = settings.home if settings.home.exists() else settings.home.parent
    free = shutil.disk_usage(home).free / 2**30
    yield _check("disk", free >= 2, f"{free:.0f} GiB free at {settings.home}", f"only {free:.1f} GiB free; make room")
    yield _network_disk(settings)
    yield _torch()
    yield _weights(settings)


def _torch() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check(name="torch", state="problem", words="not installed; run: pip install 'aimic[local]'")
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, training runs on the processors"
    return Check(name="torch", state="ok", words=f"{torch.__version__}, {device}")


def _weights(settings: LocalSettings) -> Check:
    folder = settings.weights_dir
    if folder is None:
        return Check(
            name="weights",
            state="note",
            words="AIMIC_WEIGHTS_DIR is not set; imagenet weights are downloaded when asked",
        )
    if not folder.is_dir():
        return Check(name="weights", state="problem", words=f"AIMIC_WEIGHTS_DIR={folder} is no folder; correct it")
    names = [name for name in NETWORKS if any(folder.glob(f"{name}[.-]*"))]
    return Check(name="weights", state="ok", words=f"{folder} has {', '.join(names) or 'none of the ten networks'}")


def _network_disk(settings: LocalSettings) -> Check:
    # SQLite's locks can't be trusted on NFS and SMB (sqlite.org/howtocorrupt.html, 2.1).
    best = ("", "unknown")
    with Path("/proc/mounts").open() as mounts:
        for line in mounts:
            _, place, kind, *_ = line.split()
            if str(settings.home).startswith(place) and len(place) > len(best[0]):
                best = (place, kind)
    bad = best[1].startswith(("nfs", "cifs", "smb", "9p", "fuse.sshfs"))
    return _check("file system", not bad, best[1], f"{best[1]} is a network disk; use --home on a local disk")


def _platform(settings: LocalSettings, holder: dict[str, Any] | None) -> Iterator[Check]:
    if holder is None:
        start = "aimic up --profile servers" if settings.servers_home.exists() else "aimic up"
        yield Check(name="platform", state="note", words=f"not running on {settings.home}; start it with: {start}")
        for port, name in settings.bound().items():
            if _listens(port):
                yield Check(
                    name=f"port {port}", state="problem", words=f"another program uses it; set AIMIC_{name.upper()}"
                )
        return
    yield Check(
        name="platform", state="ok", words=f"process {holder.get('pid')} at {holder.get('url', DEFAULT_SERVER)}"
    )
    for part, port in holder.get("operations", {}).items():
        reason = is_ready(port)
        yield _check(part, reason is None, "ready", f"{reason}; see {settings.home / 'logs' / part}.log")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _check(name: str, fine: bool, words: str, otherwise: str) -> Check:
    return Check(name=name, state="ok" if fine else "problem", words=words if fine else otherwise)
