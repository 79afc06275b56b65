"""Task tokens: a signed (site, task, fence), all that a worker needs after a claim.

A token is worth as long as its fence is the task's own: when the work is given away or over, it opens
nothing. Its own end is a second line; each renewal brings a fresh one.
"""

import base64
import binascii
import hmac
import json
import secrets
import time
from typing import NamedTuple

from aimic.errors import NotAuthenticatedError
from services.ingest.database import Database
from services.ingest.tasks.tables import SecretRow
from services.ingest.writing import insert_new

TOKEN_S = 24 * 3600
_NAME = "task_tokens"


class TaskToken(NamedTuple):
    """Whom a token speaks for."""

    site: str
    task: str
    fence: int


def secret_of(database: Database) -> bytes:
    """The key that all replicas sign with, made at first use. It is no site's, so only the system sees its row."""
    with database.read("*") as session:
        row = session.get(SecretRow, ("*", _NAME))
    if row is None:
        with database.system() as session:
            insert_new(session, SecretRow, [{"site": "*", "name": _NAME, "value": secrets.token_hex(32)}])
            row = session.get_one(SecretRow, ("*", _NAME))
    return bytes.fromhex(row.value)


def sign(secret: bytes, token: TaskToken) -> str:
    """The token's text, good for TOKEN_S seconds."""
    body = json.dumps([*token, int(time.time()) + TOKEN_S]).encode()
    return f"{_text(body)}.{_text(hmac.digest(secret, body, 'sha256'))}"


def verify(secret: bytes, text: str) -> TaskToken:
    """Read a token; NotAuthenticatedError when it isn't one of ours or is too old."""
    body, _, signature = text.partition(".")
    try:
        data = base64.urlsafe_b64decode(body)
        signed = hmac.compare_digest(base64.urlsafe_b64decode(signature), hmac.digest(secret, data, "sha256"))
    except (ValueError, binascii.Error) as error:
        raise _refused() from error
    if not signed:
        raise _refused()
    site, task, fence, end = json.loads(data)
    if end < time.time():
        raise _refused()
    return TaskToken(site, task, fence)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _refused() -> NotAuthenticatedError:
    return NotAuthenticatedError("This task token is not valid (any more). Claim a task to get one.")
