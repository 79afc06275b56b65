"""What a database says becomes a sentence with a time to come again; its own words stay inside."""

from pathlib import Path

import pytest
from sqlalchemy.exc import DataError, OperationalError, ProgrammingError

from aimic.errors import FullError, InvalidInputError, UnavailableError
from services.ingest.database import Database
from services.ingest.failures import plain_errors


class _SaidError(Exception):
    """As psycopg's errors, with and without a SQLSTATE."""

    def __init__(self, words: str, sqlstate: str | None = None) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (_SaidError("connection refused"), "can't be reached"),
        (_SaidError('FATAL:  too many connections for role "aimic_app"'), "more than they can answer"),
        (_SaidError("FATAL:  sorry, too many clients already"), "more than they can answer"),
        (_SaidError('FATAL:  password authentication failed for user "aimic_app"'), "refuse our login"),
        (_SaidError("secret", "53300"), "more than they can answer"),
        (_SaidError("secret", "25006"), "may only be read"),
        (_SaidError("secret", "57P03"), "can't be reached"),
        (_SaidError("secret", "55P03"), "busy with something else"),
    ],
)
def test_what_passes_is_a_503_in_plain_words(said: _SaidError, words: str) -> None:
    with pytest.raises(UnavailableError, match=words) as caught, plain_errors():
        raise OperationalError("SELECT secret", None, said)
    assert caught.value.retry_after_s
    assert "secret" not in caught.value.message and "aimic_app" not in caught.value.message


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(FullError), plain_errors():
        raise OperationalError("INSERT", None, _SaidError("no space", "53100"))
    path = tmp_path / "records.db"
    database = Database(f"sqlite:///{path}")
    with pytest.raises(FullError, match="disk that holds the records is full"), database.begin("local") as session:
        session.connection().exec_driver_sql("PRAGMA max_page_count = 1")
        session.connection().exec_driver_sql("CREATE TABLE much (x)")
        session.connection().exec_driver_sql("INSERT INTO much VALUES (zeroblob(100000))")
    database.close()


def test_our_own_mistakes_stay_errors_and_a_senders_are_told() -> None:
    with pytest.raises(ProgrammingError), plain_errors():
        raise ProgrammingError("SELEC", None, _SaidError("syntax", "42601"))
    with pytest.raises(OperationalError), plain_errors(reading=True):
        raise OperationalError("INSERT", None, _SaidError("read-only", "25006"))
    with pytest.raises(InvalidInputError), plain_errors():
        raise DataError("INSERT", None, _SaidError("too long", "22001"))
