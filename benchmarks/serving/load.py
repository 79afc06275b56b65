"""Load from a process of its own: it reads a Plan from standard input, asks a server, and prints an Outcome.

Closed loop: so many clients, each asks again when it has its answer. Open loop (`rate`): requests come at chance times,
whether the server keeps up or not, and the time of each counts from when it should have been sent.
"""

import asyncio
import gc
import itertools
import math
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from aimic.domain.base import Value

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
PATIENCE_S = 60.0
"""Longest that one answer is waited for."""
MOST_WAITING = 2000
"""Open loop: requests under way at once; those beyond are counted as unsent."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_REFUSALS = (429, 503)


class Plan(Value):
    """What to ask, how often and for how long."""

    port: int
    target: str
    content_type: str
    bodies: tuple[Path, ...]
    """Files of whole request bodies, asked in turn."""
    warm: int = 0
    """Requests before the clock runs, one after the other."""
    clients: int = 1
    requests: int | None = None
    """Closed loop: ends after so many."""
    seconds: float = 600.0
    """Ends after so long."""
    rate: float | None = None
    """Open loop: requests per second."""
    seed: int = 0


class Outcome(Value):
    """What came of it."""

    milliseconds: tuple[float, ...]
    """Of each answered request, sorted."""
    refused: int
    """Answers 429 and 503: the server has too much to do."""
    refused_ms: tuple[float, ...] = ()
    """Milliseconds of each of those, sorted."""
    failed: int
    """Any other answer, and broken connections."""
    unsent: int
    seconds: float
    late_ms: float
    """Open loop: how late the latest hundredth of the requests was sent. Large: this process was the bottleneck."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.milliseconds) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the answered requests had their answer."""
        return quantile(self.milliseconds, share)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that is no smaller than this share of them; nan of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


class LoadError(Exception):
    """The process that asks ended without an outcome; its last words."""


def measure(plan: Plan) -> Outcome:
    """Carry the plan out in a process of its own. LoadError when it can't."""
    command = [sys.executable, "-m", "benchmarks.serving.load"]
    question = plan.model_dump_json()
    done = subprocess.run(command, input=question, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise LoadError(f"the load on port {plan.port} failed: {done.stderr[-2000:]}")
    return Outcome.model_validate_json(done.stdout)


class Connection:
    """HTTP 1.1, kept open: as little work as can be for each request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.open = True

    @classmethod
    async def to(cls, port: int) -> Self:
        """A new one to this port."""
        return cls(*await asyncio.open_connection(HOST, port))

    @property
    def usable(self) -> bool:
        """Whether the server has kept it open, as far as can be seen."""
        return self.open and not self._reader.at_eof()

    async def ask(self, request: bytes) -> int:
        """The answer's status. OSError or EOFError when the connection breaks, ValueError for what isn't HTTP."""
        self.open = False
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None:
            raise ValueError("an answer that doesn't tell its length")
        await self._reader.readexactly(int(length[1]))
        self.open = _CLOSE.search(head) is None
        return int(head[9:12])

    def close(self) -> None:
        """Give it up."""
        self._writer.close()


class Load:
    """Carries out one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._turn = itertools.cycle([request(plan, body.read_bytes()) for body in plan.bodies])
        self._idle: list[Connection] = []
        self._times: list[float] = []
        self._late: list[float] = []
        self._refusals: list[float] = []
        self._failed = self._unsent = 0

    async def run(self) -> Outcome:
        """Warm the server, then ask."""
        for _ in range(self._plan.warm):
            await self._ask(time.perf_counter())
        self._times.clear()
        self._refusals.clear()
        self._failed = 0
        began = time.perf_counter()
        await (self._closed(began) if self._plan.rate is None else self._open(began, self._plan.rate))
        seconds = time.perf_counter() - began
        for connection in self._idle:
            connection.close()
        return Outcome(
            milliseconds=tuple(sorted(self._times)), refused=len(self._refusals), failed=self._failed,
            refused_ms=tuple(sorted(self._refusals)), unsent=self._unsent, seconds=seconds,
            late_ms=quantile(sorted(self._late), 0.99) if self._late else 0.0,
        )  # fmt: skip

    async def _closed(self, began: float) -> None:
        left = itertools.count() if self._plan.requests is None else iter(range(self._plan.requests))

        async def client() -> None:
            for _ in left:
                now = time.perf_counter()
                if now - began > self._plan.seconds:
                    return
                await self._ask(now)

        await asyncio.gather(*(client() for _ in range(self._plan.clients)))

    async def _open(self, began: float, rate: float) -> None:
        chance = random.Random(self._plan.seed)
        under_way: set[asyncio.Task[None]] = set()
        due = began
        while (due := due + chance.expovariate(rate)) < began + self._plan.seconds:
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            elif len(under_way) % 16 == 0:
                await asyncio.sleep(0)  # those that are late must not keep answers from being read
            if len(under_way) >= MOST_WAITING:
                self._unsent += 1
                continue
            self._late.append(1000 * (time.perf_counter() - due))
            task = asyncio.create_task(self._ask(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _ask(self, since: float) -> None:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = self._kept() or await Connection.to(self._plan.port)
                status = await connection.ask(next(self._turn))
        except (OSError, EOFError, ValueError):
            self._failed += 1
        else:
            took_ms = 1000 * (time.perf_counter() - since)
            if status == 200:
                self._times.append(took_ms)
            elif status in _REFUSALS:
                self._refusals.append(took_ms)
            else:
                self._failed += 1
        if connection is not None and connection.usable:
            self._idle.append(connection)
        elif connection is not None:
            connection.close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None


def request(plan: Plan, body: bytes) -> bytes:
    """The bytes that go over the wire."""
    head = f"POST {plan.target} HTTP/1.1\r\nhost: {HOST}:{plan.port}\r\ncontent-type: {plan.content_type}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    """From standard input to standard output."""
    load = Load(Plan.model_validate_json(sys.stdin.read()))
    gc.freeze()
    gc.disable()  # nothing here goes in circles, and a pause would be taken for the server's
    print(asyncio.run(load.run()).model_dump_json())


if __name__ == "__main__":
    main()
