"""Loads that meet retirement, twins, damage, and restarts at the wrong moment."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.inference.catalogue import Catalogue, Served
from tests.unit.services.inference.asking import ask, ready, states

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


async def test_a_version_retired_while_it_is_fetched_leaves_nothing(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        shelf.gate = asyncio.Event()
        shelf.put("others", 1, export(2).file, export(2).hash)
        await until(lambda: shelf.downloads == 2)
        shelf.entries.pop()
        await until(lambda: len(list(parts.plane.catalogue)) == 1)
        shelf.gate.set()
        await until(lambda: [path.name for path in (tmp_path / "bundles").iterdir()] == [export(1).hash])
        assert [model.bundle_hash for model in parts.plane._loader._memory._predictor.loaded()] == [export(1).hash]
        assert (await ask(parts, picture(1))).version == 1


async def test_a_version_that_comes_back_while_its_load_goes_on_is_served_by_it(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        shelf.gate = asyncio.Event()
        shelf.put("others", 1, export(2).file, export(2).hash)
        await until(lambda: shelf.downloads == 2)
        gone = shelf.entries.pop()
        await until(lambda: len(list(parts.plane.catalogue)) == 1)
        shelf.entries.append(gone)
        await until(lambda: len(list(parts.plane.catalogue)) == 2)
        shelf.gate.set()
        assert (await ask(parts, picture(1), model="others")).bundle_hash == export(2).hash
    assert shelf.downloads == 2


async def test_a_twin_of_what_is_in_memory_needs_neither_disk_nor_registry(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        shutil.rmtree(tmp_path / "bundles" / export(1).hash)
        shelf.put("cells", 2, tmp_path / "lost", export(1).hash, "candidate")
        await until(lambda: len(list(parts.plane.catalogue)) == 2)
        assert (await ask(parts, picture(1), 2)).version == 2
        assert states(parts) == {1: "ready", 2: "ready"}
        assert (await ask(parts, picture(1), 1)).version == 1
    assert shelf.downloads == 1


async def test_a_copy_that_went_bad_after_it_was_loaded_is_fetched_again_when_it_is_needed(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    for version in (2, 3):
        shelf.put("cells", version, export(version).file, export(version).hash, "candidate")
    async with running(tmp_path, shelf, models=2) as parts:
        await ready(parts, until)
        expected = await ask(parts, picture(1), 2)
        file = tmp_path / "bundles" / export(2).hash / "weights/0.safetensors"
        file.write_bytes(bytes(file.stat().st_size))
        assert (await ask(parts, picture(1), 2)).probabilities == expected.probabilities
        await ask(parts, picture(1), 3)  # for which version 2 makes room
        assert (await ask(parts, picture(1), 2)).probabilities == expected.probabilities
    assert shelf.downloads == 4


async def test_what_only_the_registry_has_keeps_nobody_from_what_is_here(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    shelf.put("others", 1, export(2).file, export(2).hash)
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
    shutil.rmtree(tmp_path / "bundles" / export(2).hash)
    shelf.away = True
    async with running(tmp_path, shelf, longest_poll_s=0.1) as parts:
        await ready(parts, until)
        assert (await ask(parts, picture(1))).version == 1
        shelf.away = False
        await until(lambda: parts.plane.catalogue.resolve("local", "others", 1).model)
        assert (await ask(parts, picture(1), model="others")).version == 1


async def test_after_a_restart_nobody_meets_the_version_before_though_the_stored_list_is_old(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    shelf.put("cells", 2, export(2).file, export(2).hash, "candidate")
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        await ask(parts, picture(1), 2)
        shelf.stage(1, "candidate")
        shelf.stage(2, "serving")
        await until(lambda: parts.plane.catalogue.answering() == (("local", "cells", 2),))
        stored = tmp_path / "serving.json"
        await until(lambda: json.loads(stored.read_text())["answering"] == [["local", "cells", 2]])
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"answering": [["local", "cells", 1]]}))
    shelf.away = True
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        assert (await ask(parts, picture(1))).version == 2


async def test_bundles_of_versions_that_were_retired_meanwhile_go(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any
) -> None:
    shelf.put("others", 1, export(2).file, export(2).hash)
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
    shelf.entries.pop()
    (tmp_path / "serving.json").unlink()
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        await until(lambda: [path.name for path in (tmp_path / "bundles").iterdir()] == [export(1).hash])


def test_one_that_can_not_be_loaded_keeps_nobody_from_what_is_here(shelf: Any, export: Any) -> None:
    shelf.put("others", 1, export(2).file, export(2).hash)
    catalogue = Catalogue()
    catalogue.apply(tuple(shelf.entries))
    here, fails = catalogue
    for _ in range(10):
        fails.failed("There is no space left on the disk.", refused=False)
    here.failed("The registry is busy.", refused=False)
    assert catalogue.unsettled(alone=False) == [here, fails]  # nothing answers yet
    model: Any = object()
    here.ready(model)
    assert catalogue.unsettled(alone=False) == []
    fails.try_soon()
    fails.failed("The registry is busy.", refused=False)
    assert catalogue.unsettled(alone=False) == [fails]  # it may well be there in a moment
    assert catalogue.unsettled(alone=True) == []


def test_failures_of_a_whole_week_are_no_trouble(shelf: Any) -> None:
    served = Served(shelf.entries[0])
    for _ in range(50_000):
        served.failed("The registry is away.", refused=False)
    assert 0 < served.retry_at - time.monotonic() <= 15
