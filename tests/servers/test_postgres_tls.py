"""Records behind TLS, as a hospital's PostgreSQL has them: a certificate of its own authority, for one host name."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from services.ingest import migrate
from services.ingest.database import Database
from services.ingest.settings import Settings
from services.local.cli.doctor_servers import server_checks
from services.local.part import PartSpec
from services.local.servers.postgres import USER, Postgres, as_user
from services.local.servers.together import fields
from services.local.settings import LocalSettings

pytestmark = pytest.mark.servers


class _SecurePostgres(Postgres):
    """A server whose certificate is for `localhost`."""

    def prepare(self) -> None:
        """With its certificate, the authority's, and one of an authority that has nothing to do with it."""
        super().prepare()
        key, certificate = self.data / "server.key", self.data / "server.crt"
        for name in ("ca", "other"):
            self._sign(name, self.home / f"{name}.key", self.home / f"{name}.pem")
        named = ("-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE")
        signed = ("-CA", self.home / "ca.pem", "-CAkey", self.home / "ca.key")
        self._sign("localhost", key, certificate, *named, *signed)
        key.chmod(0o600)
        if as_user():
            shutil.chown(key, USER)

    @staticmethod
    def _sign(name: str, key: Path, certificate: Path, *more: str | Path) -> None:
        made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        files = ("-keyout", key, "-out", certificate)
        subprocess.run((*made, "-subj", f"/CN={name}", "-days", "2", *files, *more), check=True, capture_output=True)

    def spec(self) -> PartSpec:
        """With TLS."""
        spec = super().spec()
        return spec.model_copy(update={"command": (*spec.command, "-c", "ssl=on")})

    def checked(self, host: str, authority: str | None) -> dict[str, str]:
        """`AIMIC_RECORDS_…` as our documents write them, with this host and this authority's file."""
        query = {"sslmode": "verify-full"} | ({"sslrootcert": str(self.home / authority)} if authority else {})

        def address(url: str) -> str:
            return str(make_url(url).set(host=host).update_query_dict(query))

        found = self.environment()
        return {name: address(value) if name.endswith("_URL") else value for name, value in found.items()}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_SecurePostgres]:
    """The server."""
    with _SecurePostgres(tmp_path_factory.mktemp("secure"), durable=False) as server:
        yield server


def test_the_address_of_our_documents_is_reached_by_tls(secure: _SecurePostgres, tmp_path: Path) -> None:
    database = Database.of(Settings(home=tmp_path, **fields(secure.checked("localhost", "ca.pem"))))
    migrate.ready(database)
    with database.read("a") as session:
        assert session.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")) is True
    database.close()


@pytest.mark.parametrize(
    ("host", "authority", "words"),
    [
        ("localhost", None, r"sslmode=verify-full&sslrootcert=/path/ca\.pem"),
        ("localhost", "other.pem", r"sslmode=verify-full&sslrootcert=/path/ca\.pem"),
        ("127.0.0.1", "ca.pem", "certificate is for another host name"),
        ("nowhere.invalid", "ca.pem", "name can't be translated into an address"),
    ],
)
def test_what_is_wrong_is_said_at_a_start_by_the_migration_and_by_doctor(
    secure: _SecurePostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    authority: str | None,
    words: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where libpq looks when no authority is named
    monkeypatch.setenv("AIMIC_HOME", str(tmp_path))
    for name, value in secure.checked(host, authority).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(migrate, "WAIT_S", 0)
    monkeypatch.setattr(migrate, "setup_logging", lambda *_: None)  # of the process, which here is pytest's
    database = Database.of(Settings())
    with pytest.raises(SystemExit, match=words) as started:
        migrate.ready(database)
    database.close()
    with pytest.raises(SystemExit, match=words) as migrated:
        migrate.main()
    (check,) = server_checks(LocalSettings(), None)
    assert check.name == "records" and check.state == "problem"
    said = (str(started.value), str(migrated.value), check.words)
    assert all(re.search(words, sentence) and "the administrator has to" in sentence for sentence in said)
    for inside in (secure.secret("app"), secure.secret("owner"), str(secure.home), "aimic_app"):
        assert not any(inside in sentence for sentence in said)
