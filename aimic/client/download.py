"""Large answers go to a file, whole or not at all."""

from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import BinaryIO

import httpx

from aimic.client.transport import Transport
from aimic.errors import AimicError, DeadlineError, OverloadedError, UnavailableError

FetchProgress = Callable[[int, int | None], None]
"""Told (bytes written, bytes in all if the server said) after every piece."""


def fetch(transport: Transport, path: str, to: Path, fallback_name: str, progress: FetchProgress | None = None) -> Path:
    """Write the body at `path` to the file `to`, or into the directory `to` under the server's name for it.

    The file appears under its name only when it is complete. A connection that breaks is made again, from where it
    broke where the server can do that; a server that asks to come again is waited for, as in Transport.request.
    """
    download = _Download(transport, path, to, fallback_name, progress)
    try:
        return download.run()
    finally:
        download.close()


class _Download:
    """What came so far, and the file that it will be."""

    def __init__(
        self, transport: Transport, path: str, to: Path, fallback_name: str, progress: FetchProgress | None
    ) -> None:
        self._transport, self._path, self._to = transport, path, to
        self._fallback_name, self._progress = fallback_name, progress
        self._target = to
        self._file: BinaryIO | None = None
        self._resumable = False

    def run(self) -> Path:
        failures, waited = 0, 0.0
        while True:
            have = self._have()
            try:
                self._receive(have)
                break
            except (UnavailableError, DeadlineError, OverloadedError) as error:
                moved = self._have() > have
                failures, waited = (0, 0.0) if moved else (failures + 1, waited)
                retry, wished = self._transport.retry, _wished(error)
                if (self._have() and not self._resumable) or not retry.allows(failures, wished, waited):
                    raise
                waited += retry.wait(failures, wished, error)
        assert self._file is not None
        self._file.close()
        self._part.replace(self._target)
        return self._target

    def close(self) -> None:
        """Leave nothing half behind."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return self._target.with_name(f".{self._target.name}.part")

    def _have(self) -> int:
        return self._file.tell() if self._file is not None else 0

    def _receive(self, have: int) -> None:
        headers = {"range": f"bytes={have}-"} if have else {}
        with self._transport.stream(self._path, headers) as response:
            file = self._open(response)
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                file.seek(0)
                file.truncate()
            length = response.headers.get("content-length")
            total = file.tell() + int(length) if length else None
            for piece in response.iter_bytes():
                file.write(piece)
                if self._progress:
                    self._progress(file.tell(), total)

    def _open(self, response: httpx.Response) -> BinaryIO:
        if self._file is None:
            self._resumable = response.headers.get("accept-ranges") == "bytes"
            self._target = self._to / _name(response, self._fallback_name) if self._to.is_dir() else self._to
            self._file = self._part.open("wb")
        return self._file


def _wished(error: AimicError) -> float | None:
    """The seconds after which a server asked us to come again; None when it was silent."""
    return error.retry_after_s if "http_status" in error.details else None


def _name(response: httpx.Response, fallback: str) -> str:
    """The file name of Content-Disposition, without any path in it."""
    message = Message()
    message["content-disposition"] = response.headers.get("content-disposition", "")
    name = Path((message.get_filename() or fallback).replace("\\", "/")).name
    return name if name not in {"", ".", ".."} else fallback
