"""The servers themselves: they come back with their data, and nobody is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.postgres import Postgres
from services.local.servers.server import Server
from services.local.servers.together import Servers

pytestmark = pytest.mark.servers


def _family(server: Server) -> list[psutil.Process]:
    family = []
    for pid in server.pids():
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's process of a connection that was just closed
            family.append(psutil.Process(pid))
    return family


@pytest.mark.parametrize("kind", [Postgres, Kafka, Minio])
def test_a_killed_server_comes_back_on_its_port(kind: type[Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        port, family = server.port, _family(server)
        server.kill()
        assert not server.running
        assert psutil.wait_procs(family, timeout=10)[1] == []
        assert server.not_ready() is not None
        server.start()
        assert server.port == port and server.not_ready() is None
        server.restart()
        assert server.not_ready() is None
        family = _family(server)
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_paused_server_does_not_answer_until_it_goes_on(minio_server: Minio) -> None:
    minio_server.pause()
    try:
        assert minio_server.not_ready() is not None
    finally:
        minio_server.resume()
    assert minio_server.not_ready() is None


def test_records_are_there_after_a_kill(tmp_path: Path) -> None:
    with Postgres(tmp_path) as server:
        with server.administrator("aimic") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        server.kill()
        server.start()
        with server.administrator("aimic") as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_the_three_logins_may_do_no_more_than_they_need(postgres_server: Postgres) -> None:
    with postgres_server.administrator() as connection:
        rows = connection.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname LIKE 'aimic%' ORDER BY 1"
        ).fetchall()
    assert rows == [(f"aimic_{name}", False, False, False) for name in ("app", "owner", "system")]


def test_a_fresh_database_is_empty_and_goes_again(postgres_server: Postgres) -> None:
    with postgres_server.fresh_database() as database:
        url = database.url("app").replace("+psycopg", "")
        with psycopg.connect(url, password=database.password("app")) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url, password=database.password("app"))


def test_passwords_are_for_us_only(servers: Servers) -> None:
    files = [Path(value) for name, value in servers.environment().items() if name.endswith("_FILE")]
    assert len(files) == 5
    assert {file.stat().st_mode & 0o077 for file in files} == {0}
    assert httpx.get(servers.minio.endpoint).status_code == 403


def test_servers_end_with_the_process_that_started_them(
    tmp_path: Path, command_of: Callable[[psutil.Process], list[str]]
) -> None:
    script = (
        "import sys, time, pathlib; from services.local.servers.together import Servers;"
        "Servers.on(pathlib.Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen((sys.executable, "-c", script, tmp_path), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == "up\n", "the servers did not start"
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len([process for process in family if str(tmp_path) in " ".join(command_of(process))]) >= 3
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
