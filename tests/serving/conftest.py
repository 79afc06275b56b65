"""Ingest and an inference pod as real processes, and models to serve."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from aimic.client import Client
from tests.servers.behind import Service, until
from tests.serving.versions import CLASSES, Version, make

NAME = "cells"
START_S = 120.0
ALIKE = {
    # What is compared must not change with what a measurement finds the quickest.
    "AIMIC_INFERENCE_EXECUTOR": "eager",
    "AIMIC_INFERENCE_DECODERS": "1",
    "AIMIC_INFERENCE_POLL_S": "0.2",
    "AIMIC_INFERENCE_LONGEST_POLL_S": "1",
}


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Version]:
    """Three versions of one model."""
    return {number: make(tmp_path_factory.mktemp("version"), number) for number in CLASSES}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[..., tuple[Service, Service]]]:
    """Starts an ingest and an inference pod that know each other; each has a home of its own, as pods have."""
    with ExitStack() as stack:

        def start(**environment: str) -> tuple[Service, Service]:
            ingest = Service("ingest", tmp_path / "ingest", environment)
            pod = Service("inference", tmp_path / "pod", environment | ALIKE | {"AIMIC_INGEST_URL": ingest.url})
            return stack.enter_context(ingest), stack.enter_context(pod)

        yield start


@pytest.fixture
def publish(versions: Mapping[int, Version]) -> Callable[[Service, Service], None]:
    """Registers the versions, of which the first serves, and waits until it does."""

    def send(ingest: Service, pod: Service) -> None:
        with Client(ingest.url) as client:
            for number in versions:
                assert client.models.import_(versions[number].file, NAME).version == number
        with Client(pod.url) as client:
            until(lambda: _states(client) == {1: "ready", 2: "loading", 3: "loading"}, START_S, "the first one serves")

    return send


def _states(client: Client) -> dict[int, str]:
    return {model["version"]: model["state"] for model in client.served()}
