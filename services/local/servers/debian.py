"""Debian packages, installed when missing. Standard library only."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from aimic.errors import UnavailableError
from services.local.servers.settings import apt_environment
from services.local.servers.tries import thrice

# scripts/apt.sh takes the same lock: apt's own lock on its lists does not wait.
_LOCK = Path("/var/cache/apt/aimic.lock")
_CREATE_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")


def install_packages(*packages: str) -> None:
    """`apt-get install`; UnavailableError with the command for an administrator when it can't be done."""
    words = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise UnavailableError(
            f"This machine lacks {words}, and only an administrator of a Debian machine can have it installed by us. "
            f"Run: sudo apt-get install {words}. Then start again; what was done so far is kept."
        )
    print(f"Installing the Debian package {words} …", flush=True)  # noqa: T201 - progress of a script
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thrice(lambda: _install(packages))


def unpack_package(package: str, place: Path) -> None:
    """The files of a Debian package below `place`, for programs whose package would start a service of its own.

    Nothing is installed: no script of the package runs. UnavailableError when it can't be fetched.
    """
    if shutil.which("apt-get") is None or not _LOCK.parent.exists():
        raise UnavailableError(
            f"This machine lacks {package}, and we can fetch it on Debian only. Install it so that it is on the path, "
            "then start again; what was done so far is kept."
        )
    print(f"Fetching the Debian package {package} …", flush=True)  # noqa: T201 - progress of a script
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        thrice(lambda: _download(package, scratch))
        (file,) = Path(scratch).glob("*.deb")
        subprocess.run(("dpkg-deb", "-x", str(file), str(place)), check=True)


def _install(packages: tuple[str, ...]) -> None:
    _update()
    if any(package.startswith("postgresql") for package in packages):
        _no_cluster_of_its_own()
    _apt("install", "-y", "-qq", "--no-install-recommends", *packages)


def _download(package: str, directory: str) -> None:
    if os.geteuid() == 0:
        with _LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _update()
    _apt("download", package, directory=directory)


def _update() -> None:
    # Where a list can't be had, those of before may do; if not, what comes next says which package is unknown.
    with contextlib.suppress(UnavailableError):
        _apt("update", "-qq")


def _no_cluster_of_its_own() -> None:
    # Debian's package would make and start a database server of its own, on the usual port. We need its programs only.
    _apt("install", "-y", "-qq", "--no-install-recommends", "postgresql-common")
    if "create_main_cluster = false" not in _CREATE_CLUSTER.read_text():
        with _CREATE_CLUSTER.open("a") as conf:
            conf.write("create_main_cluster = false\n")


def _apt(*arguments: str, directory: str | None = None) -> None:
    done = subprocess.run(
        ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", *arguments),
        cwd=directory,
        env=apt_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise UnavailableError(
            f"apt-get {arguments[0]} failed. Is the network there, and are the package sources right? It said:\n{said}"
        )
