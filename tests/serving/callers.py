"""Callers over REST and gRPC that ask without a pause, and check every answer against the version that it names."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

import grpc
import httpx

from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from tests.serving.versions import PICTURES, Version, picture

_LONGEST_S = 60.0
_PINNED_EVERY = 8
"""One request in so many names the version that it wants."""
PINNED = 1


class Said(NamedTuple):
    """What an answer says of itself."""

    version: int
    bundle_hash: str
    probabilities: Mapping[str, float]


Ask = Callable[[bytes, int | None], Said]


@contextmanager
def over_rest(port: int) -> Iterator[Ask]:
    """Asks by HTTP."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/inference/v1/models/cells", timeout=_LONGEST_S) as http:

        def ask(image: bytes, version: int | None) -> Said:
            path = "/predict" if version is None else f"/versions/{version}/predict"
            reply = http.post(path, content=image, headers={"content-type": "image/png"})
            assert reply.status_code == httpx.codes.OK, reply.text
            answer = reply.json()["results"][0]["answer"]
            return Said(answer["version"], answer["bundle_hash"], answer["probabilities"])

        yield ask


@contextmanager
def over_grpc(port: int) -> Iterator[Ask]:
    """Asks by gRPC."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = InferenceStub(channel)

        def ask(image: bytes, version: int | None) -> Said:
            request = wire.PredictRequest(model="cells", version=version, images=[wire.Image(data=image)])
            answer = stub.Predict(request, timeout=_LONGEST_S).results[0].answer
            chances = {pair.label: pair.probability for pair in answer.probabilities}
            return Said(answer.version, answer.bundle_hash, chances)

        yield ask


class Callers:
    """They run within the block. `problems` holds what was no right answer, in words."""

    def __init__(self, rest: int, grpc_port: int, versions: Mapping[int, Version], each: int = 3) -> None:
        self.problems: list[str] = []
        self.trails: list[list[int]] = [[] for _ in range(2 * each)]
        """For each caller the versions that answered what named none, in their order, without repetition."""
        self._versions = versions
        self._counts = [0] * (2 * each)
        self._seconds: list[list[float]] = [[] for _ in range(2 * each)]
        self._stop = threading.Event()
        ways = [partial(over_rest, rest), partial(over_grpc, grpc_port)] * each
        self._threads = [
            threading.Thread(target=self._run, args=(caller, way), name=f"caller {caller}")
            for caller, way in enumerate(ways)
        ]

    @property
    def answered(self) -> int:
        """Requests with a right answer."""
        return sum(self._counts)

    def seconds(self) -> list[float]:
        """How long each took, sorted."""
        return sorted(took for one in self._seconds for took in one)

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Until it is so; AssertionError when it isn't in time, or when something went wrong before."""
        ends = time.monotonic() + seconds
        while not condition():
            assert not self.problems, self.problems[:5]
            assert time.monotonic() < ends, (
                f"{what}: not within {seconds:.0f} s, {self.answered} answers, {self.trails}"
            )
            time.sleep(0.02)

    def all_met(self, version: int) -> bool:
        """Whether every caller's last answer came from that version."""
        return all(trail and trail[-1] == version for trail in self.trails)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, caller: int, way: Callable[[], AbstractContextManager[Ask]]) -> None:
        try:
            with way() as ask:
                while not self._stop.is_set():
                    self._one(caller, ask)
        except Exception as error:
            self.problems.append(f"caller {caller}, after {self._counts[caller]} answers: {error!r}")

    def _one(self, caller: int, ask: Ask) -> None:
        turn = self._counts[caller] + caller
        wish = PINNED if turn % _PINNED_EVERY == 0 else None
        number = turn % PICTURES
        started = time.monotonic()
        said = ask(picture(number), wish)
        self._seconds[caller].append(time.monotonic() - started)
        wrong = self._versions[said.version].wrong(number, said.bundle_hash, said.probabilities)
        if wrong or wish not in (None, said.version):
            self.problems.append(f"version {said.version} (asked: {wish}): {wrong}")
        trail = self.trails[caller]
        if wish is None and trail[-1:] != [said.version]:
            trail.append(said.version)
        self._counts[caller] += 1
