"""PostgreSQL on this machine: a cluster of its own, never the one that Debian's package may run."""

import os
import pwd
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from aimic.errors import UnavailableError
from services.local.part import PartSpec
from services.local.servers import install
from services.local.servers.server import Server

USER = "postgres"
"""The operating system's user, when we are root: PostgreSQL refuses to run as root."""
DATABASE = "aimic"
ROLES = Path(__file__).with_name("roles.sql")
"""What an administrator of any PostgreSQL runs once for us."""
_VARIABLES = {"owner": "AIMIC_RECORDS_OWNER", "app": "AIMIC_RECORDS", "system": "AIMIC_RECORDS_SYSTEM"}
"""Login → how the names of its settings begin."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "log_line_prefix": "%m [%p] %u@%d ",
}


class PostgresDatabase:
    """One database of a server."""

    def __init__(self, server: "Postgres", name: str) -> None:
        self._server = server
        self.name = name

    def url(self, login: str = "app", port: int | None = None) -> str:
        """SQLAlchemy's address for a login (owner, app, system), without password; `port` of a proxy before it."""
        return f"postgresql+psycopg://aimic_{login}@127.0.0.1:{port or self._server.port}/{self.name}"

    def password(self, login: str = "app") -> str:
        """The password of a login."""
        return self._server.secret(login)

    def environment(self, port: int | None = None) -> dict[str, str]:
        """`AIMIC_RECORDS_…` for all three logins; `port` of a proxy before the server."""
        made = {f"{name}_URL": self.url(login, port) for login, name in _VARIABLES.items()}
        files = {f"{name}_PASSWORD_FILE": str(self._server.secret_file(login)) for login, name in _VARIABLES.items()}
        return made | files


class Postgres(Server):
    """A PostgreSQL server with the database `aimic` and its three logins. `durable=False` for tests: no fsync."""

    name = "postgres"

    def __init__(self, home: Path, port: int | None = None, durable: bool = True) -> None:
        super().__init__(home, port)
        self._durable = durable
        self.database = PostgresDatabase(self, DATABASE)

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self.home / "data"

    def prepare(self) -> None:
        """initdb when there is no cluster yet."""
        if self.data.exists():
            return
        scratch = self.home / "making"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True, mode=0o700)
        password = scratch / "password"
        password.write_text(self.secret("postgres"))
        cluster = scratch / "data"
        cluster.mkdir(mode=0o700)
        if os.geteuid() == 0:
            for path in (scratch, password, cluster):
                shutil.chown(path, USER)
        self._initdb(cluster, password)
        # Renamed when complete: an interrupted initdb leaves nothing that looks like a cluster.
        cluster.rename(self.data)
        shutil.rmtree(scratch)

    def _programs(self) -> Path:
        """Debian keeps several versions side by side, and data is only for the one that made it."""
        version = self.data / "PG_VERSION"
        return install.postgres(int(version.read_text()) if version.exists() else None)

    def _initdb(self, cluster: Path, password: Path) -> None:
        command = (
            *as_user(), str(self._programs() / "initdb"), "--pgdata", str(cluster), "--username", "postgres",
            "--auth", "scram-sha-256", "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C.UTF-8",
            "--no-instructions", *(() if self._durable else ("--no-sync",)),
        )  # fmt: skip
        done = subprocess.run(command, cwd=cluster, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(
                f"PostgreSQL could not make its data directory {self.data}. initdb said:\n{done.stdout}{done.stderr}"
            )

    def spec(self) -> PartSpec:
        """The postmaster."""
        settings = _SETTINGS | {"port": str(self.port)} | ({} if self._durable else {"fsync": "off"})
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return PartSpec(
            name=self.name,
            command=(*as_user(), str(self._programs() / "postgres"), "-D", str(self.data), *options),
            directory=self.data,
            stop_signal=signal.SIGINT,  # SIGTERM would wait until every client has gone
        )

    def not_ready(self) -> str | None:
        """Whether the administrator can ask it something."""
        try:
            with self.administrator():
                return None
        except psycopg.OperationalError as error:
            return str(error).splitlines()[-1] if str(error) else type(error).__name__

    @contextmanager
    def administrator(self, database: str = "postgres") -> Iterator[psycopg.Connection]:
        """A connection of the superuser, in autocommit."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.secret("postgres"),
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        ) as connection:
            yield connection

    def settle(self) -> None:
        """The roles and the database, by the script that an administrator elsewhere runs too."""
        with self.administrator() as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                return
        # By the environment, not by arguments, which every user of the machine can read.
        passwords = {f"{name}_PASSWORD": self.secret(login) for login, name in _VARIABLES.items()}
        done = subprocess.run(
            (str(self._programs() / "psql"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres",
             "-d", "postgres"),
            input=ROLES.read_text(),
            env={"PGPASSWORD": self.secret("postgres"), "PATH": os.defpath, **passwords},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise UnavailableError(f"The database could not be made. psql said:\n{done.stderr}")

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the database `aimic` for the app's login, without password."""
        return self.database.url()

    def environment(self) -> dict[str, str]:
        """`AIMIC_RECORDS_…`."""
        return self.database.environment()

    @contextmanager
    def fresh_database(self, template: str = "template0") -> Iterator[PostgresDatabase]:
        """An empty database (or a copy of one that nobody uses now) with the same logins, dropped at the end with
        whoever still uses it."""
        name = f"aimic_{uuid.uuid4().hex}"
        quoted = sql.Identifier(name)
        with self.administrator() as connection:
            made = sql.SQL("CREATE DATABASE {} OWNER aimic_owner TEMPLATE {}")
            connection.execute(made.format(quoted, sql.Identifier(template)))
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO aimic_app, aimic_system").format(quoted))
        try:
            yield PostgresDatabase(self, name)
        finally:
            with self.administrator() as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(quoted))


def as_user() -> tuple[str, ...]:
    """What stands before a command so that it runs as PostgreSQL's user; nothing unless we are root.

    The user may pass through directories that are root's own (/root, pytest's), which its data lies under, but not
    write to them. The kernel forgets at a change of user that it should end the process with us, so it is told again.
    """
    if os.geteuid() != 0:
        return ()
    try:
        pwd.getpwnam(USER)
    except KeyError:
        raise UnavailableError(f"There is no user {USER!r} to run PostgreSQL. Run: adduser --system {USER}") from None
    capability = "+dac_read_search"
    return (
        "setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps", capability,
        "--ambient-caps", capability, "--pdeathsig", "KILL", "--",
    )  # fmt: skip
