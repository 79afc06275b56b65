"""Addresses and logins of the records are checked before anything is opened, and no password is shown."""

from pathlib import Path
from typing import Any

import pytest

from services.ingest.database import Database
from services.ingest.engines import Logins
from services.ingest.settings import Settings

WHOLE: dict[str, Any] = {
    "records_url": "postgresql+psycopg://app@db/aimic?sslmode=verify-full",
    "records_password": "app's",
    "records_system_url": "postgresql+psycopg://system@db/aimic",
    "records_system_password": "system's",
}


def _logins(tmp_path: Path, **change: Any) -> Logins:
    return Logins.of(Settings(home=tmp_path, **(WHOLE | change)))


def test_each_login_has_its_own_password_and_none_is_shown(tmp_path: Path) -> None:
    owner = tmp_path / "owner"
    owner.write_text("owner's\n")
    found = _logins(
        tmp_path, records_owner_url="postgresql+psycopg://owner@db/aimic", records_owner_password_file=owner
    )
    assert found.owner is not None
    assert [url.password for url in (found.app, found.system, found.owner)] == ["app's", "system's", "owner's"]
    assert found.app.query == {"sslmode": "verify-full"}
    database = Database(found)
    for text in (database.url, repr(found), repr(database.engine)):
        assert "'s" not in text


def test_the_owner_is_nobody_where_its_login_is_not_set(tmp_path: Path) -> None:
    assert Database(_logins(tmp_path)).owner is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"records_url": "postgresql+psycopg://me:secret@localhost/aimic"}, "AIMIC_RECORDS_PASSWORD"),
        ({"records_system_url": "postgresql+psycopg://me:secret@localhost/aimic"}, "AIMIC_RECORDS_SYSTEM_PASSWORD"),
        ({"records_system_url": ""}, "AIMIC_RECORDS_SYSTEM_URL"),
        ({"records_url": "mysql://localhost/aimic"}, "postgresql"),
        ({"records_url": "no address"}, "AIMIC_RECORDS_URL"),
    ],
)
def test_what_does_not_fit_together_is_said(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(SystemExit, match=words) as caught:
        _logins(tmp_path, **change)
    assert "secret" not in str(caught.value)


def test_sqlite_is_one_file_for_all(tmp_path: Path) -> None:
    found = Logins.of(Settings(home=tmp_path))
    assert found.app == found.system == found.owner
    assert not Database(found).shared
