"""What is served follows the registry, and survives its absence, damage and restarts."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.prediction import Answer
from aimic.domain.site import OWNER
from aimic.errors import NotFoundError, UnavailableError
from services.inference.app import Service
from services.inference.deadline import Deadline

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


async def ask(parts: Service, image: bytes, version: int | None = None, model: str = "cells") -> Answer:
    response = await parts.plane.predict(model, version, [image], Deadline.after(20), "r", principal=OWNER)
    (result,) = response.results
    assert result.answer is not None
    return result.answer


def states(parts: Service) -> dict[int, str]:
    return {served.entry.version: served.state for served in parts.plane.catalogue}


async def ready(parts: Service, until: Any) -> None:
    await until(lambda: parts.reconciler.not_ready() is None)


async def test_nothing_known_is_ready(tmp_path: Path, running: Any, until: Any, shelf_class: Any) -> None:
    async with running(tmp_path, shelf_class()) as parts:
        await ready(parts, until)
        with pytest.raises(NotFoundError):
            await ask(parts, b"x")


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


async def test_who_asks_for_a_new_model_gets_its_answer_at_once(
    tmp_path: Path, running: Any, until: Any, shelf: Any, picture: Picture
) -> None:
    entry = shelf.entries.pop()
    async with running(tmp_path, shelf, poll_s=600) as parts:
        await ready(parts, until)
        shelf.entries.append(entry)
        await asyncio.sleep(1.1)
        assert (await ask(parts, picture(1))).version == 1
        with pytest.raises(NotFoundError):
            await ask(parts, picture(1), model="others")


async def test_a_disk_that_takes_no_snapshot_is_no_obstacle(
    tmp_path: Path, running: Any, until: Any, shelf: Any
) -> None:
    (tmp_path / "serving.new").mkdir()
    async with running(tmp_path, shelf) as parts:
        await until(lambda: states(parts) == {1: "ready"})
        shelf.entries.clear()
        await until(lambda: states(parts) == {})


async def test_a_wake_up_is_heard_before_the_next_poll(tmp_path: Path, running: Any, until: Any, shelf: Any) -> None:
    entry = shelf.entries.pop()
    async with running(tmp_path, shelf, poll_s=600) as parts:
        await ready(parts, until)
        shelf.entries.append(entry)
        parts.reconciler.wake()
        await until(lambda: states(parts) == {1: "ready"})
