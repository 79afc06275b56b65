"""A store without room says so, keeps what it has, and everything goes on once there is room."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimic import wiring
from aimic.client import Client, Retry, Wait
from aimic.errors import FullError
from aimic.ports.blobs import Blobs
from aimic.settings import Settings
from services.local.part import PartSpec
from services.local.servers.minio import Minio
from services.local.servers.postgres import Postgres
from services.local.servers.together import fields
from tests.faults.pictures import archive
from tests.servers.behind import Service, until

pytestmark = pytest.mark.servers

SIZE_MIB = 64
_ON_SMALL_DISK = f'mount -t tmpfs -o size={SIZE_MIB}m aimic "$0" && exec "$@"'


class SmallMinio(Minio):
    """A store on a disk of SIZE_MIB, in memory, which only its process sees and which goes with it."""

    def spec(self) -> PartSpec:
        """MinIO below a mount of its own."""
        spec = super().spec()
        user = () if os.geteuid() == 0 else ("--map-root-user",)
        around = ("unshare", *user, "--mount", "sh", "-c", _ON_SMALL_DISK, str(self.data))
        return spec.model_copy(update={"command": (*around, *spec.command)})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SmallMinio]:
    with SmallMinio(tmp_path / "minio") as server:
        yield server


@pytest.fixture
def ingest(store: SmallMinio, postgres_server: Postgres, tmp_path: Path) -> Iterator[Service]:
    with postgres_server.fresh_database() as database:
        events = {"AIMIC_EVENTS_URL": f"sqlite:///{tmp_path}/events.db", "AIMIC_LEASE_S": "3"}
        environment = store.environment() | database.environment() | events
        with Service("ingest", tmp_path / "ingest", environment) as service:
            yield service


def _fill(blobs: Blobs) -> None:
    with pytest.raises(FullError, match="full"):
        for number in range(SIZE_MIB):
            blobs.put(f"ballast/{number}", bytes(1 << 20))


def _free(blobs: Blobs) -> None:
    for blob in blobs.list("ballast"):
        blobs.delete(blob.key)


def test_a_full_store_is_told_and_what_waits_goes_on_when_there_is_room(
    store: SmallMinio, ingest: Service, tmp_path: Path
) -> None:
    blobs = wiring.blobs(Settings(**fields(store.environment()), home=tmp_path))
    words: list[str] = []

    def frees(wait: Wait) -> None:
        assert isinstance(wait.error, FullError), wait.error
        words.append(wait.words)
        _free(blobs)

    with Client(ingest.url, retry=Retry(longest_s=1)) as client:
        upload = client.uploads.send(archive("full", 4).data)
        _fill(blobs)
        assert client.uploads.send(os.urandom(2 << 20), waiting=frees).offset == 2 << 20
        assert "is full" in words[0] and "Trying again in 10 s; 0% is safe." in words[0]

        _fill(blobs)
        started = client.datasets.start_import([upload.id], "cells")
        waiting = until(lambda: (found := client.datasets.show_import(started.id)).error and found, 30, "it waits")
        assert waiting.phase == "waiting" and "is full" in waiting.error
        _free(blobs)
        assert list(client.datasets.watch_import(started.id))[-1].stored == 8
