"""Large answers go to a file, whole or not at all."""

from collections.abc import Callable
from email.message import Message
from pathlib import Path

import httpx

from aimic.client.transport import Transport

FetchProgress = Callable[[int, int | None], None]
"""Told (bytes written, bytes in all if the server said) after every piece."""


def fetch(transport: Transport, path: str, to: Path, fallback_name: str, progress: FetchProgress | None = None) -> Path:
    """Write the body at `path` to the file `to`, or into the directory `to` under the server's name for it.

    The file appears under its name only when it is complete.
    """
    with transport.stream(path) as response:
        target = to / _name(response, fallback_name) if to.is_dir() else to
        length = response.headers.get("content-length")
        part = target.with_name(f".{target.name}.part")
        try:
            with part.open("wb") as file:
                for piece in response.iter_bytes():
                    file.write(piece)
                    if progress:
                        progress(file.tell(), int(length) if length else None)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return target


def _name(response: httpx.Response, fallback: str) -> str:
    """The file name of Content-Disposition, without any path in it."""
    message = Message()
    message["content-disposition"] = response.headers.get("content-disposition", "")
    name = Path((message.get_filename() or fallback).replace("\\", "/")).name
    return name if name not in {"", ".", ".."} else fallback
