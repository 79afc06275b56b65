"""What can go wrong with a database that is in order, as a 503 in plain words. Mistakes of ours stay errors."""

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from aimic.errors import AimicError, FullError, InvalidInputError, UnavailableError

_AWAY = ("can't be reached just now", 2.0)
_CROWDED = ("are asked for more than they can answer at once", 2.0)
_WAITED = ("were busy with something else for too long", 1.0)
_FULL = ("have no room left; the administrator has to make some", 30.0)
_READ_ONLY = ("are kept by a server that may only be read just now", 5.0)
_REFUSED = ("refuse our login; the administrator has to look at its settings", 30.0)
_NAMELESS = (
    "are kept by a host whose name can't be translated into an address; if that lasts, the administrator has to look "
    "at the host in the records' addresses and at the name service",
    5.0,
)
_UNTRUSTED = (
    "are kept by a server whose certificate can't be checked; the administrator has to name the file of its authority "
    "in the records' addresses (?sslmode=verify-full&sslrootcert=/path/ca.pem)",
    30.0,
)
_MISNAMED = (
    "are kept by a server whose certificate is for another host name; the administrator has to write the name that is "
    "in the certificate into the records' addresses, or have a certificate made for the name that is there",
    30.0,
)
_UNENCRYPTED = (
    "are kept by a server that doesn't speak TLS, which sslmode in their addresses asks for; the administrator has to "
    "switch it on in the server",
    30.0,
)
_TLS = (
    "can't be reached by TLS as it is set; the administrator has to look at sslmode, sslrootcert, sslcert and sslkey "
    "in the records' addresses",
    30.0,
)

_STATES: tuple[tuple[str, tuple[str, float]], ...] = (
    ("53100", _FULL),
    ("53", _CROWDED),  # insufficient resources, such as too many connections
    ("25006", _READ_ONLY),
    ("25P03", _WAITED),  # our transaction did something else for too long and was ended
    ("40001", _WAITED),
    ("40P01", _WAITED),  # deadlock: the other one won
    ("55P03", _WAITED),
    ("57014", _WAITED),  # statement time-out
    ("57P", _AWAY),  # shutting down, crashed, starting
    ("58", _AWAY),  # a disk's fault
    ("08", _AWAY),
    ("28", _REFUSED),
    ("3D000", _REFUSED),
)
"""SQLSTATE, or its beginning, and what it means for a person; the first that fits."""
_WORDS: tuple[tuple[str, tuple[str, float]], ...] = (
    ("too many clients", _CROWDED),
    ("too many connections", _CROWDED),
    ("connection slots", _CROWDED),
    ("authentication failed", _REFUSED),
    ("pg_hba.conf", _REFUSED),
    ("is not permitted to log in", _REFUSED),
    ("permission denied for database", _REFUSED),
    ("failed to resolve host", _NAMELESS),
    ("could not translate host name", _NAMELESS),
    ("does not match host name", _MISNAMED),
    ("root certificate file", _UNTRUSTED),
    ("certificate verify failed", _UNTRUSTED),
    ("does not support SSL", _UNENCRYPTED),
    ("certificate", _TLS),
    ("private key", _TLS),
    ("sslmode", _TLS),
)
"""The same of a connection that was refused, and of one that the driver refuses: it gives its words without the
SQLSTATE; the first that fits. Of a server that doesn't speak English we say only that it can't be reached. "SSL" alone
says nothing: a connection that is merely lost is told with it too."""


@contextlib.contextmanager
def plain_errors(*, reading: bool = False) -> Iterator[None]:
    """UnavailableError for what passes by itself or by an administrator's hand; InvalidInputError for values that
    can't be kept. With `reading`, an attempt to write is our own mistake."""
    try:
        yield
    except PoolTimeoutError as error:
        raise _unavailable(_CROWDED) from error
    except DBAPIError as error:
        plain = _plain(error, reading=reading)
        if plain is None:
            raise
        raise plain from error


def _plain(error: DBAPIError, *, reading: bool) -> AimicError | None:
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig) if isinstance(error, OperationalError) else None
    state = getattr(error.orig, "sqlstate", None)
    if state == "25006" and reading:
        return None
    if state is not None:
        found = next((words for beginning, words in _STATES if state.startswith(beginning)), None)
        if found is not None:
            return _unavailable(found)
    if error.connection_invalidated or (state is None and isinstance(error, OperationalError | InterfaceError)):
        said = str(error.orig)
        return _unavailable(next((words for part, words in _WORDS if part in said), _AWAY))
    if isinstance(error, DataError):
        return InvalidInputError(
            "A value is too long, too large, or has a character that text doesn't have, so it can't be kept. "
            "Nothing was changed."
        )
    return None


def _of_sqlite(error: sqlite3.Error) -> UnavailableError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return FullError("The disk that holds the records is full. What was acknowledged is kept; free some space.")
    return UnavailableError(
        f"The records can't be used just now ({error}). What was acknowledged is kept; try again shortly.",
        retry_after_s=2,
    )


def _unavailable(found: tuple[str, float]) -> UnavailableError:
    words, retry_after_s = found
    kind = FullError if found is _FULL else UnavailableError
    return kind(f"The records {words}. What was acknowledged is kept; try again shortly.", retry_after_s=retry_after_s)
