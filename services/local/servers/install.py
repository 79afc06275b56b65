"""The servers' programs, fetched or built once into a cache: `python3 -m services.local.servers.install`.

Standard library only, so that it runs beside pip on a bare machine. Doing it again costs nothing; two at once take
turns. Each function gives the place of one program, and installs it first when it is missing.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from aimic.errors import AimicError, UnavailableError
from services.local.servers import versions
from services.local.servers.debian import install_packages
from services.local.servers.programs import install_go_program, install_kafka, install_prometheus
from services.local.servers.settings import cache_dir

_DEBIAN = Path("/usr/lib/postgresql")


def postgres(major: int | None = None) -> Path:
    """Directory of initdb, postgres and psql: of the version that a data directory has, else the newest."""
    if major is not None and (own := _DEBIAN / str(major) / "bin").exists():
        return own
    if find_postgres() is None:
        install_packages("postgresql")
    return _found(find_postgres(), "PostgreSQL")


def java() -> Path:
    """A Java that is new enough for Kafka."""
    if find_java() is None:
        install_packages("default-jre-headless")
    return _found(find_java(), "Java")


def kafka() -> Path:
    """Directory of Kafka's jars."""
    return install_kafka(_place())


def minio() -> Path:
    """The program minio."""
    return install_go_program("minio", _place())


def toxiproxy() -> Path:
    """Toxiproxy's server."""
    return install_go_program("toxiproxy", _place())


def prometheus() -> Path:
    """Directory of prometheus and promtool: this machine's own, else Debian's in our cache."""
    own = shutil.which("prometheus")
    if own is not None and shutil.which("promtool") is not None:
        return Path(own).resolve().parent
    return install_prometheus(_place())


def curl() -> Path:
    """The program curl, for the examples too."""
    if shutil.which("curl") is None:
        install_packages("curl")
    found = shutil.which("curl")
    return _found(Path(found) if found else None, "curl")


def maven() -> Path:
    """The program mvn, with a compiler for Java beside it, for the example in Java."""
    needed = {"mvn": "maven", "javac": "default-jdk-headless"}
    if missing := [package for program, package in needed.items() if shutil.which(program) is None]:
        install_packages(*missing)
    found = shutil.which("mvn")
    return _found(Path(found) if found else None, "Maven")


def grpcurl() -> Path:
    """The program grpcurl, for the examples of docs/clients.md."""
    return install_go_program("grpcurl", _place())


def helm() -> Path:
    """The program helm, for the checks of the chart."""
    return install_go_program("helm", _place())


def find_postgres() -> Path | None:
    """The newest PostgreSQL on this machine, where Debian puts it or on the path."""
    found = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    fits = [path for path in found if int(path.parent.name) >= versions.POSTGRES_AT_LEAST]
    if fits:
        return max(fits, key=lambda path: int(path.parent.name))
    # Not Debian: the programs are on the path, all in one place.
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def find_java() -> Path | None:
    """The first Java, on the path or where Debian puts it, that is new enough."""
    candidates = [shutil.which("java"), *sorted(map(str, Path("/usr/lib/jvm").glob("*/bin/java")))]
    for candidate in candidates:
        if candidate and _java_version(candidate) >= versions.JAVA_AT_LEAST:
            return Path(candidate)
    return None


def _java_version(program: str) -> int:
    said = subprocess.run((program, "-version"), capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def _found(path: Path | None, name: str) -> Path:
    if path is None:
        raise UnavailableError(f"{name} was installed and still can't be found. Please report it.")
    return path


def _place() -> Path:
    return cache_dir() / "servers"


def everything() -> None:
    """All that the platform's servers need."""
    for program in (postgres, java, kafka, minio):
        program()


def main() -> int:
    """0 when everything is there, what the tests want beside it too."""
    try:
        everything()
        for program in (toxiproxy, prometheus, curl, grpcurl, helm):
            program()
    except AimicError as error:
        print(f"Error: {error.message}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
