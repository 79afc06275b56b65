"""Resumable uploads (tus 1.0: core, creation, termination, checksum)."""

import base64
import hashlib
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from aimic.client.problems import error_of, retry_after
from aimic.client.retry import Waiting
from aimic.client.sources import Sendable, Source, source_of
from aimic.client.transport import WORTH_ANOTHER_TRY, Transport
from aimic.domain.dataset import Upload
from aimic.errors import AimicError, DeadlineError, InvalidInputError, NotFoundError, UnavailableError

CHUNK_BYTES = 8 * 2**20
"""Bytes per PATCH; what the server stores as one object."""

PATIENCE_S = 600.0
"""Seconds of waiting in which nothing moves before an upload gives up; what arrived stays and is found again."""

TUS = {"tus-resumable": "1.0.0"}

SendProgress = Callable[[int, int], None]
"""Told (bytes that are safe, bytes in all) after every chunk."""


class Uploads:
    """`client.uploads`: bring bytes to the server, over as many broken connections as it takes."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(
        self,
        what: Sendable,
        filename: str | None = None,
        progress: SendProgress | None = None,
        waiting: Waiting | None = None,
    ) -> Upload:
        """Send a folder (packed on the way), a file or bytes; go on where an earlier try of the same bytes ended.

        While the server, or something behind it, is away or full, it waits (`waiting` is told) and goes on by
        itself; UnavailableError after PATIENCE_S: the next call with the same bytes goes on from there.
        """
        if waiting is not None:
            return Uploads(self._transport.telling(waiting)).send(what, filename, progress)
        source = source_of(what)
        name = filename or source.filename
        path, offset = self._create(source, name)
        failures, waited = 0, 0.0
        if progress:
            progress(offset, source.size)
        while offset < source.size:
            moved, error = self._patch(path, source, offset)
            if moved > offset:
                offset, failures, waited = moved, 0, 0.0
                if progress:
                    progress(offset, source.size)
                continue
            if waited > PATIENCE_S:
                raise _stopped(name, offset, source.size)
            waited += self._wait(failures, error, offset / source.size)
            failures += 1
            path, offset = self._where(path, source, name, offset)
        return Upload(
            id=path.rsplit("/", 1)[-1],
            filename=name,
            length=source.size,
            offset=offset,
            fingerprint=source.fingerprint,
        )

    def delete(self, upload_id: str) -> None:
        """Drop an upload and its bytes."""
        self._transport.request("DELETE", f"/api/v1/uploads/{upload_id}", headers=TUS)

    def _create(self, source: Source, name: str) -> tuple[str, int]:
        headers = TUS | {
            "upload-length": str(source.size),
            "upload-metadata": f"filename {_b64(name)},fingerprint {_b64(source.fingerprint)}",
        }
        # Sent twice, the fingerprint finds the first one: safe to repeat.
        answer = self._transport.request("POST", "/api/v1/uploads", again=True, headers=headers)
        path = urlsplit(answer.headers["location"]).path
        return path, int(answer.headers.get("upload-offset", "0"))

    def _wait(self, failures: int, error: AimicError | None, safe: float) -> float:
        wished = None if error is None else error.retry_after_s
        return self._transport.retry.wait(failures, wished, error, safe)

    def _patch(self, path: str, source: Source, offset: int) -> tuple[int, AimicError | None]:
        """Send one chunk; the offset afterwards, unmoved when it has to be asked again, and why if that is known."""
        chunk = source.read(offset, CHUNK_BYTES)
        if len(chunk) != min(CHUNK_BYTES, source.size - offset):
            raise InvalidInputError(
                f"{source.filename} changed while it was sent, so the rest was not sent and nothing was imported. "
                "Try again."
            )
        checksum = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
        headers = TUS | {
            "upload-offset": str(offset),
            "upload-checksum": f"sha256 {checksum}",
            "content-type": "application/offset+octet-stream",
        }
        try:
            answer = self._transport.once("PATCH", path, headers=headers, content=chunk)
        except (UnavailableError, DeadlineError) as silence:
            silence.retry_after_s = None  # nobody answered, so nobody asked for a longer wait than ours
            return offset, silence
        if answer.status_code < 300:
            return int(answer.headers["upload-offset"]), None
        if answer.status_code in _ASK_AGAIN:
            return offset, None
        error = error_of(answer)
        if answer.status_code not in WORTH_ANOTHER_TRY:
            raise error
        error.retry_after_s = retry_after(answer)
        return offset, error

    def _where(self, path: str, source: Source, name: str, offset: int) -> tuple[str, int]:
        """What the server has by now; a new upload when it has forgotten this one."""
        try:
            # `send` does the waiting, and says what is safe meanwhile.
            answer: httpx.Response = self._transport.request("HEAD", path, headers=TUS, patience_s=0.0)
        except NotFoundError:
            return self._create(source, name)
        except (UnavailableError, DeadlineError):
            return path, offset
        return path, int(answer.headers["upload-offset"])


_ASK_AGAIN = frozenset({404, 409, 410, 423, 460})
"""Forgotten, other offset, another writer's lock, checksum mismatch: ask where we are, then go on."""


def _b64(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()


def _stopped(name: str, offset: int, size: int) -> UnavailableError:
    return UnavailableError(
        f"The upload of {name} stopped at {offset:,} of {size:,} bytes, because the server stays away. What arrived is "
        "kept: do the same again later and it goes on from there."
    )
