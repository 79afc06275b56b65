"""What is served survives the registry's absence, damage and restarts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.errors import UnavailableError
from tests.unit.services.inference.asking import ask, ready, states

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


async def test_a_restart_serves_while_the_registry_is_away(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        before = await ask(parts, picture(1))
    shelf.away = True
    async with running(tmp_path, shelf) as parts:
        assert "cells" in (parts.reconciler.not_ready() or "")
        await ready(parts, until)
        assert (await ask(parts, picture(1))).probabilities == before.probabilities
    assert shelf.downloads == 1


async def test_without_a_registry_or_a_past_it_is_ready_and_learns_later(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    shelf.away = True
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        shelf.away = False
        await until(lambda: states(parts) == {1: "ready"})
        assert (await ask(parts, picture(1))).version == 1


async def test_a_damaged_download_is_refused_with_the_reason_and_the_rest_serves(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    damaged = bytearray(export(2).file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file = tmp_path / "damaged.tar"
    file.write_bytes(damaged)
    shelf.put("broken", 1, file, export(2).hash)
    async with running(tmp_path / "home", shelf) as parts:
        await ready(parts, until)
        broken = parts.plane.catalogue.resolve("local", "broken", None)
        assert broken.state == "refused" and "changed" in str(broken.reason)
        with pytest.raises(UnavailableError, match="refused"):
            await ask(parts, picture(1), model="broken")
        assert (await ask(parts, picture(1))).version == 1
    assert [path.name for path in (tmp_path / "home" / "bundles").iterdir()] == [shelf.entries[0].bundle_hash]


async def test_another_bundle_than_promised_is_refused(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any
) -> None:
    shelf.files[shelf.entries[0].bundle_hash] = export(2).file
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        assert states(parts) == {1: "refused"}


async def test_a_file_the_registry_lost_is_refused(tmp_path: Path, running: Any, until: Any, shelf: Any) -> None:
    shelf.files[shelf.entries[0].bundle_hash] = tmp_path / "gone"
    async with running(tmp_path / "home", shelf) as parts:
        await ready(parts, until)
        assert states(parts) == {1: "refused"}


async def test_a_copy_that_went_bad_on_disk_is_fetched_again(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
    weights = tmp_path / "bundles" / shelf.entries[0].bundle_hash / "weights" / "0.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        assert (await ask(parts, picture(1))).version == 1
    assert shelf.downloads == 2


async def test_what_could_not_be_fetched_is_tried_as_soon_as_the_registry_answers_again(
    tmp_path: Path, running: Any, until: Any, shelf: Any
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
    shutil.rmtree(tmp_path / "bundles")
    shelf.away = True
    async with running(tmp_path, shelf, longest_poll_s=0.1) as parts:
        (served,) = parts.plane.catalogue
        await until(lambda: served.failures and parts.reconciler._failures)
        for _ in range(4):
            served.failed("The bundle could not be downloaded.", refused=False)
        shelf.away = False
        await until(lambda: states(parts) == {1: "ready"}, 8)


async def test_a_restart_between_a_promotion_and_its_download_serves_the_version_before(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        shelf.busy = True
        shelf.stage(1, "candidate")
        shelf.put("cells", 2, export(2).file, export(2).hash)
        await until(lambda: '"version":2' in (tmp_path / "serving.json").read_text())
        assert (await ask(parts, picture(1))).version == 1
    shelf.away = True
    async with running(tmp_path, shelf, longest_poll_s=0.1) as parts:
        await ready(parts, until)
        assert (await ask(parts, picture(1))).version == 1
        shelf.away = shelf.busy = False
        await until(lambda: states(parts) == {1: "ready", 2: "ready"})
        assert (await ask(parts, picture(1))).version == 2


async def test_an_address_that_leads_away_from_the_registry_is_not_followed(
    tmp_path: Path, running: Any, until: Any, shelf: Any
) -> None:
    shelf.entries[0] = shelf.entries[0].model_copy(update={"bundle_url": "//elsewhere.example/bundle"})
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        assert states(parts) == {1: "refused"}
    assert shelf.downloads == 0


@pytest.mark.parametrize("stored", ["", "{", '{"items": [{"name": 1}]}', "[]"])
async def test_a_damaged_snapshot_is_no_obstacle(
    tmp_path: Path, running: Any, until: Any, shelf: Any, stored: str
) -> None:
    (tmp_path / "serving.json").write_text(stored)
    async with running(tmp_path, shelf) as parts:
        await until(lambda: states(parts) == {1: "ready"})


async def test_a_disk_that_takes_no_snapshot_is_no_obstacle(
    tmp_path: Path, running: Any, until: Any, shelf: Any
) -> None:
    (tmp_path / "serving.new").mkdir()
    async with running(tmp_path, shelf) as parts:
        await until(lambda: states(parts) == {1: "ready"})
        shelf.entries.clear()
        await until(lambda: states(parts) == {})
