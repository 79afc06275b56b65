"""What is served follows the registry."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.errors import NotFoundError
from tests.unit.services.inference.asking import ask, ready, states

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


async def test_nothing_known_is_ready(tmp_path: Path, running: Any, until: Any, shelf_class: Any) -> None:
    async with running(tmp_path, shelf_class()) as parts:
        await ready(parts, until)
        with pytest.raises(NotFoundError):
            await ask(parts, b"x")


async def test_promotion_moves_requests_only_when_the_new_version_is_ready(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf, longest_poll_s=0.1) as parts:
        await ready(parts, until)
        shelf.stage(1, "candidate")
        shelf.put("cells", 2, tmp_path / "late.tar", export(2).hash)
        await until(lambda: states(parts) == {1: "ready", 2: "refused"})
        assert (await ask(parts, picture(1))).version == 1
        assert parts.reconciler.not_ready() is None

        shelf.files[export(2).hash] = export(2).file
        await until(lambda: states(parts)[2] == "ready")
        answer = await ask(parts, picture(1))
        assert (answer.version, answer.bundle_hash) == (2, export(2).hash)
        assert (await ask(parts, picture(1), 1)).bundle_hash == export(1).hash


async def test_no_answer_mixes_versions_while_they_change(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    shelf.put("cells", 2, export(2).file, export(2).hash, "candidate")
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        known = {version: (await ask(parts, picture(1), version)).probabilities for version in (1, 2)}
        seen = set()
        for round_ in range(60):
            if round_ % 10 == 5:
                new, old = (2, 1) if round_ % 20 == 5 else (1, 2)
                shelf.stage(old, "candidate")
                shelf.stage(new, "serving")
                await asyncio.sleep(0.1)
            answer = await ask(parts, picture(1))
            assert answer.probabilities == pytest.approx(known[answer.version], abs=1e-5)
            seen.add(answer.version)
    assert seen == {1, 2}


async def test_a_retired_version_finishes_its_requests_and_goes(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        model = parts.plane.catalogue.resolve("local", "cells", 1).model
        assert model is not None
        with model.use():
            shelf.entries.clear()
            await until(lambda: model.leaving)
            with pytest.raises(NotFoundError):
                parts.plane.catalogue.resolve("local", "cells", 1)
            await asyncio.sleep(0.05)
            assert (tmp_path / "bundles" / export(1).hash).is_dir()
        await until(lambda: not list((tmp_path / "bundles").iterdir()))


async def test_a_version_that_is_wanted_again_while_it_leaves_stays_and_answers_at_once(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    async with running(tmp_path, shelf) as parts:
        await ready(parts, until)
        model = parts.plane.catalogue.resolve("local", "cells", 1).model
        with model.use():
            for _ in range(2):
                (entry,) = shelf.entries
                shelf.entries.clear()
                await until(lambda: model.leaving)
                shelf.entries.append(entry)
                await until(lambda: list(parts.plane.catalogue))
                async with asyncio.timeout(5):
                    assert (await ask(parts, picture(1))).version == 1
        assert not model.leaving
        await asyncio.sleep(0.2)
        assert parts.plane.catalogue.resolve("local", "cells", 1).model is model
        assert (await ask(parts, picture(1))).version == 1
    assert shelf.downloads == 1


async def test_two_versions_of_one_bundle_share_it_and_the_last_takes_it_away(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    shelf.put("twins", 1, export(1).file, export(1).hash)
    async with running(tmp_path, shelf) as parts:
        await until(lambda: [served.state for served in parts.plane.catalogue] == ["ready", "ready"])
        shelf.entries.pop(0)
        await until(lambda: len(list(parts.plane.catalogue)) == 1)
        assert (await ask(parts, picture(1), model="twins")).version == 1
    assert shelf.downloads == 1


async def test_the_least_recently_used_candidate_makes_room(
    tmp_path: Path, running: Any, until: Any, shelf: Any, export: Any, picture: Picture
) -> None:
    for version in (2, 3):
        shelf.put("cells", version, export(version).file, export(version).hash, "candidate")
    async with running(tmp_path, shelf, models=2) as parts:
        await ready(parts, until)
        for version in (2, 3):
            await ask(parts, picture(1), version)
        assert states(parts) == {1: "ready", 2: "loading", 3: "ready"}
        assert (await ask(parts, picture(1), 2)).bundle_hash == export(2).hash
        assert states(parts) == {1: "ready", 2: "ready", 3: "loading"}


async def test_who_asks_for_a_new_model_gets_its_answer_at_once(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    entry = shelf.entries.pop()
    async with running(tmp_path, shelf, poll_s=600) as parts:
        await ready(parts, until)
        shelf.entries.append(entry)  # just after the list was read
        assert (await ask(parts, picture(1))).version == 1
        with pytest.raises(NotFoundError):
            await ask(parts, picture(1), model="others")


async def test_a_wake_up_is_heard_before_the_next_poll(tmp_path: Path, running: Any, until: Any, shelf: Any) -> None:
    entry = shelf.entries.pop()
    async with running(tmp_path, shelf, poll_s=600) as parts:
        await ready(parts, until)
        shelf.entries.append(entry)
        parts.reconciler.wake()
        await until(lambda: states(parts) == {1: "ready"})
