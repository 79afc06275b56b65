"""What docs/servers.md tells hospital IT to do on its own servers works as it stands there."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from aimic import wiring
from aimic.adapters.kafka_events import KafkaEvents
from aimic.client import Client
from aimic.events import DEAD
from aimic.settings import Settings
from services.local.cli.check import Check
from services.local.cli.doctor_servers import server_checks
from services.local.platform import Platform
from services.local.servers.kafka import Kafka
from services.local.servers.postgres import ROLES, Postgres
from services.local.servers.together import Servers, fields
from services.local.settings import LocalSettings

pytestmark = pytest.mark.servers
PAGE = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()


def test_up_with_the_addresses_alone_keeps_everything_on_these_servers(
    servers: Servers,
    local_settings: Callable[..., LocalSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with servers.postgres.fresh_database() as database:
        told = servers.environment() | database.environment() | servers.minio.environment(bucket=None)
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        settings = local_settings(tmp_path / "home")
        with Platform(settings, quiet=True), Client(settings.front_url) as client:
            sent = client.uploads.send(b"cells")
        with servers.postgres.administrator(database.name) as connection:
            assert connection.execute("SELECT id FROM uploads").fetchall() == [(sent.id,)]
    assert [blob.size for blob in wiring.blobs(Settings(home=tmp_path, **fields(told))).list("")] == [5]
    kept = {path.name for path in settings.home.rglob("*") if path.is_file()}
    assert not {name for name in kept if ".db" in name}
    assert not (settings.home / "objects").exists() and not settings.servers_home.exists()


def test_the_roles_are_made_with_no_password_in_a_command(postgres_server: Postgres, tmp_path: Path) -> None:
    (shell,) = re.findall(r"```sh\n(.*?psql.*?)```", PAGE, re.DOTALL)
    shutil.copy(ROLES, tmp_path)
    for login in ("owner", "app", "system"):
        (tmp_path / f"{login}.secret").write_text(f"{postgres_server.secret(login)}\n")
    server = {
        "PATH": f"{postgres_server._programs()}:{os.environ['PATH']}",
        "PGPORT": str(postgres_server.port),
        "PGPASSWORD": postgres_server.secret("postgres"),
    }
    with postgres_server.administrator() as connection:
        connection.execute("ALTER ROLE aimic_app PASSWORD 'another'")
    said = subprocess.run(
        ("sh", "-eux", "-c", shell.replace("HOST", "127.0.0.1")),
        cwd=tmp_path, env=os.environ | server, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (command,) = (line for line in said.stderr.splitlines() if line.startswith("+ psql"))
    assert not any(postgres_server.secret(login) in command for login in ("owner", "app", "system"))
    url = postgres_server.url.replace("+psycopg", "")
    psycopg.connect(url, password=postgres_server.secret("app")).close()


def _events_check(home: Path) -> Check:
    (check,) = server_checks(LocalSettings(home=home), None)
    return check


def test_doctor_counts_what_could_not_be_read(
    kafka_server: Kafka, events: KafkaEvents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMIC_EVENTS_URL", kafka_server.url)
    before = _events_check(tmp_path)
    events._append(DEAD, b"", b"hello", [("reason", b"no JSON"), ("group", b"doctor")])
    after = _events_check(tmp_path)
    assert (after.name, after.state) == ("events", "note")
    assert _letters(after) == _letters(before) + 1


def _letters(check: Check) -> int:
    found = re.search(r"aimic\.dead keeps (\d+) record", check.words)
    return int(found[1]) if found else 0
