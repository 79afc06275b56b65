"""`aimic up --profile servers`: one tree from PostgreSQL to the front, ended as one, its parts replaced as they die."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from aimic.client import Client
from aimic.domain.dataset import LabelRule
from services.local.cli.doctor_servers import server_checks
from services.local.demo.cells import draw_set
from services.local.lock import read_holder
from services.local.platform import Platform
from services.local.settings import LocalSettings, Profile

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]
MakeSettings = Callable[..., LocalSettings]
CommandOf = Callable[[psutil.Process], list[str]]
HasEnded = Callable[[psutil.Process], bool]
SERVERS = {"postgres": "postgres_port", "kafka.Kafka": "kafka_port", "minio": "minio_port"}


@pytest.fixture(scope="module")
def running(local_settings: MakeSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    settings = local_settings(tmp_path_factory.mktemp("home"), profile=Profile.SERVERS, ingests=2, trainers=2)
    with Platform(settings, quiet=True) as platform:
        yield platform


def _tree(platform: Platform) -> list[psutil.Process]:
    return psutil.Process(platform.process.pid).children(recursive=True)


def _until(what: str, condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def _lists_datasets(platform: Platform) -> bool:
    try:
        answer = httpx.get(f"{platform.settings.front_url}/api/v1/datasets", timeout=10)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def test_requests_go_to_both_ingests_and_to_one_while_the_other_is_away(
    running: Platform, command_of: CommandOf
) -> None:
    settings = running.settings
    ops_ports = settings.repeated("ingest_ops_port", 2)
    ports = settings.repeated("ingest_port", 2)
    assert all(httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 200 for port in ops_ports)
    assert all(_answers(port) for port in ports)
    first = next(process for process in _tree(running) if "services.ingest" in command_of(process))
    first.kill()
    for _ in range(4):  # at least two of them are the killed one's turn, which isn't back within milliseconds
        assert httpx.get(f"{settings.front_url}/api/v1/datasets", timeout=30).status_code == 200
    _until("both are back", lambda: all(_answers(port) for port in ports))


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/v1/datasets", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_killed_comes_back_under_the_services(
    running: Platform, server: str, command_of: CommandOf, has_ended: HasEnded
) -> None:
    home = str(running.settings.home)
    mine = [p for p in _tree(running) if server in " ".join(command_of(p)) and home in " ".join(command_of(p))]
    oldest = min(mine, key=psutil.Process.create_time)
    oldest.kill()
    _until(f"{server} is gone", lambda: has_ended(oldest))
    _until("the servers are all there again", lambda: _servers_answer(running))
    _until("the platform works again", lambda: _lists_datasets(running) and _ready(running))


def _servers_answer(running: Platform) -> bool:
    checks = list(server_checks(running.settings, read_holder(running.settings.lock_file)))
    return len(checks) == len(SERVERS) and all(check.state == "ok" for check in checks)


def _ready(running: Platform) -> bool:
    settings = running.settings
    ops = (*settings.repeated("ingest_ops_port", 2), *settings.repeated("trainer_ops_port", 2))
    try:
        return all(httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200 for port in ops)
    except httpx.HTTPError:
        return False


def test_the_other_profile_on_this_home_is_refused_in_words(running: Platform, tmp_path: Path) -> None:
    (tmp_path / "records.db").touch()
    (tmp_path / "other" / "servers").mkdir(parents=True)
    for arguments, words in (
        (("--home", str(tmp_path), "--profile", "servers"), "without --profile servers"),
        (("--home", str(tmp_path / "other")), "--profile servers"),
        (("--home", str(running.settings.home), "--profile", "servers"), f"process {running.process.pid}"),
    ):
        done = subprocess.run(
            (sys.executable, "-m", "services.local", "up", *arguments),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert words in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


@pytest.mark.long
def test_what_was_kept_is_there_after_ctrl_c_and_after_a_kill(local_settings: MakeSettings, tmp_path: Path) -> None:
    settings = local_settings(tmp_path / "home", profile=Profile.SERVERS)
    draw_set(tmp_path / "cells", patients=2, per_kind=1, side=32)
    with Client(settings.front_url) as client:
        with Platform(settings, quiet=True) as platform:
            client.datasets.import_(tmp_path / "cells", "cells", LabelRule())
            version = client.datasets.version("cells")
            assert version is not None and sum(version.counts) == 8
            tree = _tree(platform)
            started = time.monotonic()
            assert platform.stop() == 0
            assert time.monotonic() - started < 10
            assert psutil.wait_procs(tree, timeout=2)[1] == []
        with Platform(settings, quiet=True) as platform:
            assert client.datasets.version("cells") == version
            again = client.datasets.import_(tmp_path / "cells", "cells", LabelRule())
            assert (again.stored, again.known) == (0, 8)
            tree = _tree(platform)
            platform.kill()
            assert psutil.wait_procs(tree, timeout=15)[1] == []


def test_doctor_knows_the_servers_and_says_which_is_wrong(running: Platform) -> None:
    found = _doctor(running.settings)
    assert {name: found[name]["state"] for name in ("records", "events", "objects", "ingest-2", "trainer-2")} == (
        dict.fromkeys(("records", "events", "objects", "ingest-2", "trainer-2"), "ok")
    ), found
    assert found["records"]["words"].startswith("PostgreSQL 1")
    assert "all 4 topics" in found["events"]["words"]


def _doctor(settings: LocalSettings) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        (sys.executable, "-m", "services.local", "doctor", "--json"),
        env={**os.environ, "AIMIC_HOME": str(settings.home)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return {check["name"]: check for check in json.loads(done.stdout)}
