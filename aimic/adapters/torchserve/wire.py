"""HTTP over a Unix socket, with one deadline for the whole of a call. Connections are kept for the next ones."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from aimic.errors import DeadlineError, UnavailableError


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Its beginning as words, for a log or a person."""
        return " ".join(self.body[:2000].decode(errors="replace").split())[:300]


class Wire:
    """Connections to one socket. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[_Connection] = []
        self._asking: dict[_Connection, str] = {}
        self._lock = Lock()
        self._closed = False

    def call(
        self, method: str, target: str, ends: float, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """The answer. DeadlineError when there is none at `ends` (monotonic seconds), UnavailableError when nobody
        is there or went away, or `abandon` was called.
        """
        connection = self._take(target)
        kept = False
        try:
            connection.within(ends)
            connection.request(method, target, body, dict(headers))
            connection.within(ends)
            response = connection.getresponse()
            connection.within(ends)
            answer = Answer(response.status, response.read())
            kept = not response.will_close
        except TimeoutError as error:
            raise DeadlineError(
                "The network gave no answer in the time there was. Ask again, or with a later deadline."
            ) from error
        except (OSError, HTTPException) as error:
            raise UnavailableError(
                "The program that runs the networks went away; it is started again. Ask again in a few seconds.",
                retry_after_s=2,
            ) from error
        finally:
            self._give_back(connection, kept)
        return answer

    def abandon(self, target: str) -> None:
        """End the calls to this target that wait for an answer: there will be none."""
        with self._lock:
            # Within the lock: a moment later the connection may serve another call.
            for connection, asked in self._asking.items():
                if asked == target:
                    connection.cut()

    def close(self) -> None:
        """Keep no connection any longer."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self, target: str) -> "_Connection":
        with self._lock:
            connection = self._idle.pop() if self._idle else _Connection(self._path)
            self._asking[connection] = target
        return connection

    def _give_back(self, connection: "_Connection", kept: bool) -> None:
        with self._lock:
            self._asking.pop(connection, None)
            if kept and not (self._closed or connection.was_cut):
                self._idle.append(connection)
                return
        connection.close()


class _Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("torchserve")
        self._path = path
        self.was_cut = False
        """Whether it is of no use any longer."""

    def within(self, ends: float) -> None:
        """The next step may take until then; a hundredth of a second at least, since none means for ever."""
        self.timeout = max(0.01, ends - time.monotonic())
        if self.sock is not None:
            self.sock.settimeout(self.timeout)

    def cut(self) -> None:
        """Whoever waits for its answer learns that there is none."""
        self.was_cut = True
        sock = self.sock
        if sock is not None:
            with suppress(OSError):  # it ended by itself
                sock.shutdown(socket.SHUT_RDWR)

    def connect(self) -> None:
        """See HTTPConnection."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self.timeout)
            made.connect(str(self._path))
        except BaseException:
            made.close()
            raise
        self.sock = made
