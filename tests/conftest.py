"""What tests of the whole share: a platform of its own, on free ports, in a temporary home."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aimic.client import Client
from services.local.platform import Platform
from services.local.settings import LocalSettings


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@pytest.fixture(scope="session")
def local_settings() -> Callable[..., LocalSettings]:
    """Settings for a platform on a home, every port free."""

    def make(home: Path, **more: object) -> LocalSettings:
        names = list(LocalSettings(home=home).ports())
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        return LocalSettings.model_validate({"home": home, **ports, **more})

    return make


@pytest.fixture(scope="session")
def platform(
    local_settings: Callable[..., LocalSettings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """One running platform for all tests that only use it."""
    with Platform(local_settings(tmp_path_factory.mktemp("home")), quiet=True) as running:
        yield running


@pytest.fixture(scope="session")
def client(platform: Platform) -> Iterator[Client]:
    """The Python client of that platform, through the front."""
    with Client(platform.settings.front_url) as made:
        yield made
