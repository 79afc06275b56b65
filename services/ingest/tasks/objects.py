"""Where workers write, and which of it counts."""

import re

from aimic.domain.work import ObjectSlot, ObjectSlots, ObjectsRequest
from aimic.errors import InvalidInputError
from aimic.ports.blobs import Blobs
from services.ingest.tasks.tables import TaskRow
from services.ingest.tasks.tokens import TaskToken
from services.ingest.tasks.values import prefix_of

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def slots(blobs: Blobs, token: TaskToken, request: ObjectsRequest, ttl_s: int) -> ObjectSlots:
    """An address to write each of the step's objects to, below this claim's own fence."""
    urls: dict[str, ObjectSlot] = {}
    for name in request.names:
        if not _NAME.fullmatch(name):
            raise InvalidInputError(f"{name!r} is no name for an object: use letters, digits, '.', '_' and '-'.")
        key = f"{_prefix(token)}{request.step}/{name}"
        urls[name] = ObjectSlot(put=blobs.url_to_put(key, ttl_s), key=key)
    return ObjectSlots(urls=urls)


def check(blobs: Blobs, token: TaskToken, task: TaskRow, objects: dict[str, str]) -> None:
    """Reported objects must be this claim's own, or the recorded checkpoint's, and be there."""
    known = set(task.checkpoint.values())
    for name, key in objects.items():
        if not _NAME.fullmatch(name) or not (key.startswith(_prefix(token)) or key in known):
            raise InvalidInputError(f"The object {name!r} was not written by this claim of the task.")
        if not blobs.exists(key):
            raise InvalidInputError(f"The object {name!r} was reported, but it has not been written.")


def _prefix(token: TaskToken) -> str:
    return f"{prefix_of(token.site, token.task)}{token.fence}/"
