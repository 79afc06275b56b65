"""Which failure of a database passes by itself, and what a person is told of it."""

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DataError, DBAPIError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from aimic.errors import InvalidInputError, UnavailableError
from services.ingest.failures import plain_errors

SQL = "INSERT INTO guarded_names VALUES ('patient')"


def _raise(error: Exception, *, reading: bool = False) -> None:
    with plain_errors(reading=reading):
        raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PoolTimeoutError("QueuePool limit of size 5 overflow 15 reached"), "more than they can answer"),
        (OperationalError(SQL, None, psycopg.OperationalError("connection failed: 10.0.0.7")), "can't be reached"),
        (OperationalError(SQL, None, errors.AdminShutdown("terminating")), "can't be reached"),
        (OperationalError(SQL, None, errors.CannotConnectNow("starting up")), "can't be reached"),
        (OperationalError(SQL, None, errors.TooManyConnections("sorry")), "more than they can answer"),
        (OperationalError(SQL, None, errors.DiskFull("no space left")), "no room left"),
        (OperationalError(SQL, None, errors.LockNotAvailable("lock timeout")), "busy with something else"),
        (OperationalError(SQL, None, errors.QueryCanceled("statement timeout")), "busy with something else"),
        (OperationalError(SQL, None, errors.DeadlockDetected("deadlock")), "busy with something else"),
        (OperationalError(SQL, None, errors.SerializationFailure("try again")), "busy with something else"),
        (InternalError(SQL, None, errors.ReadOnlySqlTransaction("standby")), "may only be read"),
        (InternalError(SQL, None, errors.IdleInTransactionSessionTimeout("idle")), "busy with something else"),
        (OperationalError(SQL, None, errors.InvalidPassword("no")), "refuse our login"),
        (DBAPIError(SQL, None, psycopg.Error("gone"), connection_invalidated=True), "can't be reached"),
    ],
)
def test_what_passes_by_itself_is_told_with_a_time_and_without_its_inside(error: Exception, words: str) -> None:
    with pytest.raises(UnavailableError, match=words) as caught:
        _raise(error)
    assert caught.value.retry_after_s
    assert not {"patient", "INSERT", "10.0.0.7"} & set(caught.value.message.replace("'", " ").split())


_AT = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("failed to resolve host 'db.example': [Errno -2] Name or service not known", "name can't be translated"),
        ('could not translate host name "db.example" to address', "name can't be translated"),
        (f'{_AT}root certificate file "/root/.postgresql/root.crt" does not exist', "sslmode=.*sslrootcert="),
        (f"{_AT}SSL error: certificate verify failed", "sslmode=.*sslrootcert="),
        (f'{_AT}server certificate for "db" does not match host name "db.example"', "for another host name"),
        (f"{_AT}server does not support SSL, but SSL was required", "doesn't speak TLS"),
        (f"{_AT}FATAL:  connection requires a valid client certificate", "sslcert and sslkey"),
        ('connection is bad: weak sslmode "require" may not be used with sslrootcert=system', "look at sslmode"),
        (f"{_AT}SSL SYSCALL error: EOF detected", "can't be reached just now"),
        ("consuming input failed: SSL connection has been closed unexpectedly", "can't be reached just now"),
    ],
)
def test_of_a_connection_that_cannot_be_made_it_is_said_who_has_to_do_what(said: str, words: str) -> None:
    with pytest.raises(UnavailableError, match=words) as caught:
        _raise(OperationalError(SQL, None, psycopg.OperationalError(said)))
    assert caught.value.retry_after_s
    for inside in ("10.0.0.7", "db.example", "/root", "SSL "):
        assert inside not in caught.value.message


@pytest.mark.parametrize(
    "error", [DataError(SQL, None, psycopg.DataError("NUL")), DataError(SQL, None, errors.StringDataRightTruncation())]
)
def test_a_value_that_cannot_be_kept_is_the_callers_matter(error: Exception) -> None:
    with pytest.raises(InvalidInputError, match="Nothing was changed"):
        _raise(error)


def test_our_own_mistakes_stay_what_they_are() -> None:
    for mistake in (errors.UndefinedTable(), errors.InsufficientPrivilege(), errors.SyntaxError()):
        with pytest.raises(ProgrammingError):
            _raise(ProgrammingError(SQL, None, mistake))
    with pytest.raises(InternalError):
        _raise(InternalError(SQL, None, errors.ReadOnlySqlTransaction("writing while reading")), reading=True)
