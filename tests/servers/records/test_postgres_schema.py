"""The migrations on PostgreSQL: the declared tables, each under forced row-level security, for three logins."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from services.ingest import migrate as migrating
from services.ingest.database import Database
from services.ingest.migrate import check_login, migrate, ready
from services.ingest.settings import Settings
from services.ingest.tables import Base
from services.local.servers.postgres import Postgres, PostgresDatabase
from services.local.servers.together import fields
from tests.schema import assert_declared

pytestmark = pytest.mark.servers
Replica = Callable[..., Database]


def test_an_empty_database_is_migrated_once_by_two_at_once(postgres_server: Postgres, tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def start(database: Database) -> None:
        try:
            ready(database)
        except BaseException as error:
            failed.append(error)
        database.close()

    with postgres_server.fresh_database() as made:
        settings = Settings(home=tmp_path, **fields(made.environment()))
        starts = [threading.Thread(target=start, args=(Database.of(settings),)) for _ in range(2)]
        for thread in starts:
            thread.start()
        for thread in starts:
            thread.join()
        with postgres_server.administrator(made.name) as connection:
            versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert not failed
    assert len(versions) == 1


def test_the_migrated_schema_is_the_declared_one(replica: Replica) -> None:
    assert_declared(_owner(replica()))


def test_every_table_is_under_forced_security_with_both_policies(replica: Replica) -> None:
    with _owner(replica()).connect() as connection:
        forced = text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND relrowsecurity AND relforcerowsecurity"
        )
        policies = text("SELECT tablename, roles::text[] FROM pg_policies WHERE cmd = 'ALL' AND with_check IS NOT NULL")
        found = {(table, role) for table, roles in connection.execute(policies) for role in roles}
        names = set(Base.metadata.tables)
        assert set(connection.scalars(forced)) == names
        assert found == {(name, role) for name in names for role in ("aimic_app", "aimic_system")}


def _owner(database: Database) -> Engine:
    owner = database.owner
    assert owner is not None
    return owner


@pytest.mark.parametrize("login", ["app", "system"])
def test_no_login_but_the_owners_changes_a_table(replica: Replica, login: str) -> None:
    database = replica()
    site = {"app": "a", "system": "*"}[login]
    for statement in (
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE jobs ADD COLUMN more text",
        "DROP POLICY aimic_app ON jobs",
        "TRUNCATE jobs CASCADE",
        "CREATE TABLE mine (n int)",
        "UPDATE audit SET hash = 'x'",
        "DELETE FROM audit",
        "DELETE FROM audit_heads",
        "SET ROLE aimic_owner",
        "UPDATE alembic_version SET version_num = 'x'",
    ):
        with pytest.raises(DBAPIError) as caught, database.begin(site) as session:
            session.execute(text(statement))
        assert getattr(caught.value.orig, "sqlstate", None) == "42501", statement


def test_the_app_cannot_step_out_of_row_level_security(replica: Replica) -> None:
    database = replica()
    with database.system() as session:
        session.execute(text("INSERT INTO secrets VALUES ('*', 'task_tokens', 'x'), ('b', 'theirs', 'y')"))
    with database.begin("a") as session:
        assert session.execute(text("SELECT * FROM secrets")).all() == []
        session.execute(text("SELECT set_config('aimic.site', '*', true)"))
        assert session.execute(text("SELECT * FROM secrets")).all() == []
    for statement in ("SET LOCAL row_security = off", "SET ROLE aimic_system"):
        with pytest.raises(DBAPIError) as caught, database.begin("a") as session:
            session.execute(text(statement))
            session.execute(text("SELECT * FROM secrets"))
        assert getattr(caught.value.orig, "sqlstate", None) == "42501"
    with database.read("*") as session:
        assert len(session.execute(text("SELECT * FROM secrets")).all()) == 2


def test_without_the_owners_login_a_start_checks_and_says_what_to_do(
    postgres_server: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with postgres_server.fresh_database() as made:
        environment = fields(made.environment())
        restricted = Settings(home=tmp_path, **(environment | {"records_owner_url": ""}))
        database = Database.of(restricted)
        with pytest.raises(SystemExit, match=r"services\.ingest\.migrate"):
            ready(database)
        with pytest.raises(SystemExit, match="AIMIC_RECORDS_OWNER_URL"):
            migrate(database)
        whole = Database.of(Settings(home=tmp_path, **environment))
        migrate(whole)
        ready(database)
        with postgres_server.administrator(made.name) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'of next year'")
        ready(database)  # a newer schema only adds, so this version still runs on it, as during an upgrade
        ready(whole)
        for each in (database, whole):
            each.close()


def test_the_command_migrates_and_says_why_it_can_not(postgres_server: Postgres, tmp_path: Path) -> None:
    def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        mine = {"PATH": os.defpath, "AIMIC_HOME": str(tmp_path), **environment}
        command = (sys.executable, "-m", "services.ingest.migrate")
        return subprocess.run(command, env=mine, capture_output=True, text=True, timeout=120, check=False)

    with postgres_server.fresh_database() as made:
        environment = made.environment()
        assert run(environment).returncode == 0
        without = {name: value for name, value in environment.items() if "OWNER" not in name}
        refused = run(without)
    assert refused.returncode == 1
    assert "AIMIC_RECORDS_OWNER_URL isn't set" in refused.stderr and "Traceback" not in refused.stderr


def test_a_login_whom_security_does_not_bind_is_refused(
    postgres_server: Postgres, records: PostgresDatabase, tmp_path: Path
) -> None:
    environment = fields(records.environment())
    swapped: dict[str, Any] = environment | {
        "records_url": environment["records_system_url"],
        "records_password_file": environment["records_system_password_file"],
    }
    as_owner = environment | {
        "records_url": environment["records_owner_url"],
        "records_password_file": environment["records_owner_password_file"],
    }
    as_superuser = environment | {
        "records_url": records.url().replace("aimic_app@", "postgres@"),
        "records_password_file": str(postgres_server.secret_file("postgres")),
    }
    for settings, words in (
        (swapped, "no member of aimic_app"),
        (as_owner, "no member of aimic_app"),
        (as_superuser, "row-level security doesn't apply"),
    ):
        database = Database.of(Settings(home=tmp_path, **settings))
        with pytest.raises(SystemExit, match=words):
            ready(database)
        database.close()


def test_roles_are_made_or_it_is_said_how_and_the_owner_is_no_login_for_requests(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Postgres(tmp_path_factory.mktemp("bare"), durable=False) as bare:
        with bare.administrator("aimic") as connection:
            for role in ("aimic_app", "aimic_system"):
                connection.execute(f"DROP OWNED BY {role}")
        with bare.administrator() as connection:
            for role in ("aimic_app", "aimic_system"):
                connection.execute(f"REVOKE ALL ON DATABASE aimic FROM {role}")
                connection.execute(f"DROP ROLE {role}")
            settings = Settings(home=tmp_path, **fields(bare.environment()))
            database = Database.of(settings)
            with pytest.raises(SystemExit, match="CREATE ROLE aimic_app NOLOGIN;\nCREATE ROLE aimic_system NOLOGIN;"):
                migrate(database)
            connection.execute("ALTER ROLE aimic_owner CREATEROLE")
            migrate(database)
            made = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'aimic%'").fetchall()
            connection.execute("ALTER ROLE aimic_app LOGIN; GRANT aimic_owner TO aimic_app")
            connection.execute(sql.SQL("ALTER ROLE aimic_app PASSWORD {}").format(bare.secret("app")))
            with pytest.raises(SystemExit, match="aimic_app, who owns the tables"):
                check_login(database.engine, "AIMIC_RECORDS_URL", "aimic_app")
            database.close()
    assert sorted(name for (name,) in made) == ["aimic_app", "aimic_owner", "aimic_system"]


def test_a_start_waits_for_a_database_that_is_away_and_then_says_so(
    records_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = {
        name: value.replace(value.partition("127.0.0.1:")[2].partition("/")[0], "1") if "_url" in name else value
        for name, value in records_settings.items()
    }
    monkeypatch.setattr(migrating, "WAIT_S", 0.5)
    database = Database.of(Settings(home=tmp_path, **nobody))
    with pytest.raises(SystemExit, match="can't be reached just now"):
        ready(database)
    database.close()
