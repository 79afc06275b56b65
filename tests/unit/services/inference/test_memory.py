"""Memory for models is bounded in number and bytes; what serves stays, and no request pays for it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.errors import UnavailableError
from services.inference.app import Service
from services.inference.catalogue import Model
from tests.unit.services.inference.asking import ask, ready, states

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


@pytest.fixture
def shelf(shelf: Any, export: Any) -> Any:
    """Version 1 serves, 2 and 3 are candidates."""
    for version in (2, 3):
        shelf.put("cells", version, export(version).file, export(version).hash, "candidate")
    return shelf


def promote(shelf: Any, version: int) -> None:
    for other in {entry.version for entry in shelf.entries}:
        shelf.stage(other, "candidate")
    shelf.stage(version, "serving")


def model_of(parts: Service, version: int) -> Model:
    model = parts.plane.catalogue.resolve("local", "cells", version).model
    assert model is not None
    return model


def weights(export: Any) -> int:
    """Bytes of one model."""
    return int((export(1).directory / "weights/0.safetensors").stat().st_size)


async def test_bytes_make_the_least_recently_used_candidate_go(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf, models_bytes=int(2.5 * weights(export))) as parts:
        await ready(parts, until)
        assert model_of(parts, 1).loaded.memory_bytes == pytest.approx(weights(export), rel=0.05)
        for version in (2, 3):
            await ask(parts, picture(1), version)
        assert states(parts) == {1: "ready", 2: "loading", 3: "ready"}


async def test_what_serves_is_not_loaded_beyond_the_bytes_and_says_so_while_the_version_before_answers(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf, models_bytes=int(1.5 * weights(export))) as parts:
        await ready(parts, until)
        promote(shelf, 2)
        await until(lambda: states(parts)[2] == "refused")
        served = parts.plane.catalogue.resolve("local", "cells", 2)
        assert "AIMIC_INFERENCE_MODELS_BYTES" in str(served.reason)
        assert (await ask(parts, picture(1))).version == 1
        with pytest.raises(UnavailableError, match="memory"):
            await ask(parts, picture(1), 2)
        shelf.entries = [entry for entry in shelf.entries if entry.version != 1]
        await until(lambda: states(parts) == {2: "ready", 3: "loading"})
        assert (await ask(parts, picture(1))).version == 2


async def test_a_model_without_room_keeps_nobody_from_what_has_some(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    shelf.put("others", 1, export(2).file, export(2).hash)
    async with running(tmp_path, shelf, models_bytes=int(1.5 * weights(export))) as parts:
        await ready(parts, until)
        # Which of the two is fetched first is chance.
        by_state = {served.state: served.entry.name for served in parts.plane.catalogue if served.serving}
        assert set(by_state) == {"ready", "refused"}
        assert (await ask(parts, picture(1), model=by_state["ready"])).version == 1


async def test_a_model_that_is_alone_is_loaded_whatever_the_limit(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf, models_bytes=1) as parts:
        await ready(parts, until)
        assert (await ask(parts, picture(1))).version == 1


async def test_a_promotion_may_pass_the_number_for_a_moment_only_and_so_may_its_rollback(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf, models=1) as parts:
        await ready(parts, until)
        for version in (2, 1):
            promote(shelf, version)
            await until(lambda version=version: states(parts)[version] == "ready")
            assert (await ask(parts, picture(1))).version == version
            await until(lambda: list(states(parts).values()).count("ready") == 1)


async def test_a_model_that_makes_room_answers_its_requests_first_and_new_ones_wait(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf, models=2) as parts:
        await ready(parts, until)
        await ask(parts, picture(1), 2)
        before = model_of(parts, 2)
        with before.use():
            promote(shelf, 3)
            await until(lambda: before.leaving)
            waiting = asyncio.create_task(ask(parts, picture(1), 2))
            await asyncio.sleep(0.1)
            assert (await ask(parts, picture(1))).version == 1
            assert not waiting.done()
            assert states(parts)[3] == "loading"
        assert (await waiting).version == 2
        await until(lambda: states(parts)[3] == "ready")
        assert (await ask(parts, picture(1))).version == 3


async def test_versions_that_take_turns_in_memory_all_answer(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf, models=2) as parts:
        await ready(parts, until)
        asked = [1 + number % 3 for number in range(12)]
        answers = await asyncio.gather(*(ask(parts, picture(number), v) for number, v in enumerate(asked)))
        assert [answer.version for answer in answers] == asked
