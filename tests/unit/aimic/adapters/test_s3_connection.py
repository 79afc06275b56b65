"""How the store is reached, and how a request is tried again: for a bounded time, and not by everybody at once."""

import ssl
from base64 import b64encode
from typing import NoReturn

import pytest
import urllib3
from urllib3 import exceptions

from aimic.adapters import s3_connection
from aimic.adapters.s3_address import parse
from aimic.adapters.s3_connection import Connection
from aimic.errors import UnavailableError


@pytest.fixture
def connection() -> Connection:
    return Connection(parse("s3+http://store/cells"), ("a", "s"), ssl.create_default_context(), None)


def _break() -> NoReturn:
    raise exceptions.ProtocolError("Connection aborted.")


def _pauses_of_one_call(connection: Connection, pauses: list[float]) -> list[float]:
    pauses.clear()
    with pytest.raises(UnavailableError, match="can't be reached"):
        connection.call(_break, "a")
    return [*pauses]


def test_pauses_grow_to_a_bound_and_the_last_error_is_told(connection: Connection, pauses: list[float]) -> None:
    taken = _pauses_of_one_call(connection, pauses)
    assert len(taken) > 5
    assert sum(taken) <= s3_connection.RETRY_S
    assert all(0 <= pause <= min(2.0, 0.1 * 2**turn) for turn, pause in enumerate(taken))


def test_those_who_failed_together_do_not_come_back_together(connection: Connection, pauses: list[float]) -> None:
    one, other = (_pauses_of_one_call(connection, pauses) for _ in range(2))
    assert all(mine != theirs for mine, theirs in zip(one, other, strict=False))


def test_a_proxy_is_asked_with_its_own_password() -> None:
    trust = ssl.create_default_context()
    pool = s3_connection._pool(s3_connection.TIMEOUT, trust, "http://me:pass%20word@proxy:3128")
    assert isinstance(pool, urllib3.ProxyManager)
    assert (pool.proxy and pool.proxy.host, pool.proxy and pool.proxy.port) == ("proxy", 3128)
    assert pool.proxy_headers["proxy-authorization"] == "Basic " + b64encode(b"me:pass word").decode()
    assert not isinstance(s3_connection._pool(s3_connection.TIMEOUT, trust, None), urllib3.ProxyManager)
