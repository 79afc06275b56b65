"""Versions are promoted and rolled back under load: no request fails, and no answer is of two versions."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import httpx
import pytest

from aimic.client import Client
from tests.servers.behind import Service
from tests.serving.callers import Callers
from tests.serving.versions import Version

TIGHT = {"AIMIC_INFERENCE_MODELS": "2"}
"""Of three versions one is always missing, while one is promoted and another asked for by its number."""
STEP_S = 120.0
LONGEST_S = 3600.0
LONG = int(os.environ.get("AIMIC_TEST_REQUESTS", "100000"))


@pytest.mark.timeout(600)
def test_no_request_fails_while_versions_are_promoted_and_rolled_back(
    processes: Callable[..., tuple[Service, Service]],
    publish: Callable[[Service, Service], None],
    versions: Mapping[int, Version],
) -> None:
    ingest, pod = processes(**TIGHT)
    publish(ingest, pod)
    _roll(ingest, pod, versions, (2, 3, 1, 2, 1), 1200)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_requests(
    processes: Callable[..., tuple[Service, Service]],
    publish: Callable[[Service, Service], None],
    versions: Mapping[int, Version],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ingest, pod = processes(**TIGHT)
    publish(ingest, pod)
    order = (2, 3, 1, 2, 1) * 10
    started = time.monotonic()
    callers = _roll(ingest, pod, versions, order, LONG)
    took, seconds = time.monotonic() - started, callers.seconds()
    with capsys.disabled():
        print(
            f"\n{len(seconds):,} requests over REST and gRPC in {took:.0f} s, {len(order)} promotions and rollbacks: "
            f"{len(callers.problems)} failed, none mixed versions; median {_at(seconds, 0.5):.0f} ms, "
            f"99 % {_at(seconds, 0.99):.0f} ms, longest {_at(seconds, 1):.0f} ms"
        )


def _roll(
    ingest: Service, pod: Service, versions: Mapping[int, Version], order: tuple[int, ...], requests: int
) -> Callers:
    """`requests` requests, and in their course each version of `order` is promoted."""
    url = f"{pod.url}/inference/v1/models/cells"
    with Client(ingest.url) as client, Callers(pod.port, pod.grpc_port, versions) as callers:
        _serves(callers, url, 1)
        for turn, number in enumerate(order, 1):
            _answered(callers, requests * turn // (len(order) + 1))
            client.models.promote("cells", number)
            _serves(callers, url, number)
        _answered(callers, requests)
    assert not callers.problems
    for trail in callers.trails:
        assert _follows(trail, (1, *order)), trail
    return callers


def _answered(callers: Callers, requests: int) -> None:
    callers.wait(lambda: callers.answered >= requests, LONGEST_S, f"{requests} answers")


def _serves(callers: Callers, url: str, number: int) -> None:
    """Every caller meets the version, within the time that a load may take."""
    callers.wait(lambda: callers.all_met(number), STEP_S, f"version {number} answers")
    assert httpx.get(url, timeout=30).json()["version"] == number


def _follows(trail: Iterable[int], order: Iterable[int]) -> bool:
    """Whether the versions that answered are those that were promoted, in their order: none comes back by itself."""
    return list(trail) == list(order) and all(one != other for one, other in pairwise(order))


def _at(seconds: list[float], share: float) -> float:
    return 1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]
