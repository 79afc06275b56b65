"""The one path: answers, batches, deadlines, overload, callers who leave."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aimic.domain.prediction import Answer
from aimic.domain.site import OWNER, Principal
from aimic.errors import (
    AimicError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    UnreadableImageError,
)
from aimic.nets.calibration import probabilities
from aimic.nets.preprocessing import to_pixels
from services.inference import dataplane
from services.inference.app import Service
from services.inference.dataplane import DecodedImage, EncodedImage
from services.inference.deadline import Deadline

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


@pytest.fixture(scope="module")
async def parts(
    tmp_path_factory: pytest.TempPathFactory, running: Any, export: Any, until: Any, shelf_class: Any
) -> AsyncIterator[Service]:
    shelf = shelf_class()
    made = export(1)
    shelf.put("cells", 1, made.file, made.hash)
    careful = export(1, thresholds=dict.fromkeys(("round", "lobed", "granular"), 0.9999))
    shelf.put("careful", 1, careful.file, careful.hash)
    async with running(tmp_path_factory.mktemp("home"), shelf, image_bytes=100_000, request_images=40) as parts:
        await until(lambda: parts.reconciler.not_ready() is None)
        yield parts


async def ask(
    parts: Service, *images: bytes | EncodedImage | DecodedImage, seconds: float = 20, model: str = "cells", **more: Any
) -> list[Any]:
    """Answers, or errors in their places."""
    response = await parts.plane.predict(
        model, more.get("version"), images, Deadline.after(seconds), "r1", principal=more.get("principal", OWNER)
    )
    assert [result.index for result in response.results] == list(range(len(images)))
    return [result.answer or result.error for result in response.results]


def near(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same up to the promise of 1e-5 in probability."""
    pairs = zip(one.probabilities.items(), other.probabilities.items(), strict=True)
    return all(a == b and abs(p - q) <= 1e-5 for (a, p), (b, q) in pairs) and one.label == other.label


async def test_answer_is_the_calibrated_softmax_of_the_networks_logits(
    parts: Service, picture: Picture, export: Any
) -> None:
    (answer,) = await ask(parts, picture(1))
    model = next(iter(parts.plane.catalogue.holders(export(1).hash))).model
    assert model is not None
    pixels = to_pixels(picture(1), model.info.preprocessing)
    with model.batcher.job(1, Deadline.after(60)) as job:
        model.batcher.submit(job, 0, pixels)
        computed = await job.results()
    expected = probabilities(computed[0].logits, 2.0)

    assert list(answer.probabilities) == ["round", "lobed", "granular"]
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-12)
    assert answer.label == max(answer.probabilities, key=lambda label: answer.probabilities[label])
    assert (answer.model, answer.version, answer.bundle_hash) == ("cells", 1, export(1).hash)
    assert (answer.executor, answer.request_id) == ("torch-eager-fp32-cpu", "r1")
    assert (answer.abstained, answer.reason) == (False, None)


async def test_pictures_get_different_answers(parts: Service, picture: Picture) -> None:
    one, other = await ask(parts, picture(1), picture(2))
    assert not near(one, other)


async def test_answers_do_not_depend_on_the_batch(parts: Service, picture: Picture) -> None:
    alone = [(await ask(parts, picture(number)))[0] for number in range(10)]
    together = await ask(parts, *(picture(number) for number in range(10)))
    across = await asyncio.gather(*(ask(parts, picture(number), picture(50 + number)) for number in range(10)))
    assert all(near(a, b) for a, b in zip(alone, together, strict=True))
    assert all(near(a, pair[0]) for a, pair in zip(alone, across, strict=True))


async def test_it_abstains_below_the_bundles_threshold(parts: Service, picture: Picture) -> None:
    (answer,) = await ask(parts, picture(1), model="careful")
    assert (answer.label, answer.abstained, answer.reason) == (None, True, "unsure")
    assert sum(answer.probabilities.values()) == pytest.approx(1)


async def test_a_bad_image_is_an_error_in_its_place(parts: Service, picture: Picture) -> None:
    outcomes = await ask(parts, picture(1), b"no image", b"", b"\xff" * 100_001, EncodedImage(picture(2), "two.png"))
    codes = [getattr(outcome, "code", "answer") for outcome in outcomes]
    assert codes == ["answer", "unreadable_image", "unreadable_image", "too_large", "answer"]


async def test_decoded_images_get_the_answers_of_their_files(parts: Service, picture: Picture) -> None:
    files = [picture(1, 100), picture(2, 64), picture(3, 300)]
    pixels = [DecodedImage(np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))) for file in files]
    mixed = await ask(parts, pixels[0], files[1], pixels[1], DecodedImage(np.zeros((4, 4), np.uint8)), pixels[2])
    expected = await ask(parts, files[0], files[1], files[1], files[2])
    assert mixed[3].code == "unreadable_image"
    assert all(near(a, b) for a, b in zip([*mixed[:3], mixed[4]], expected, strict=True))


@pytest.mark.parametrize(
    ("images", "error"),
    [
        ((b"no image",), UnreadableImageError),
        ((b"",), UnreadableImageError),
        ((b"\xff" * 100_001,), TooLargeError),
        ((b"x",) * 41, TooLargeError),
        ((), InvalidInputError),
    ],
)
async def test_a_request_with_nothing_to_answer_fails(
    parts: Service, images: tuple[bytes, ...], error: type[AimicError]
) -> None:
    with pytest.raises(error) as caught:
        await ask(parts, *images)
    assert type(caught.value) is error


async def test_unknown_models_versions_and_other_sites_are_not_found(parts: Service, picture: Picture) -> None:
    stranger = Principal(site="elsewhere", name="s", permissions=OWNER.permissions)
    wishes: list[dict[str, Any]] = [{"model": "others"}, {"version": 7}, {"principal": stranger}]
    for wish in wishes:
        with pytest.raises(NotFoundError):
            await ask(parts, picture(1), **wish)


async def test_a_deadline_that_is_over_ends_the_call_and_costs_nothing_more(parts: Service, picture: Picture) -> None:
    with pytest.raises(DeadlineError):
        await ask(parts, *(picture(number) for number in range(30)), seconds=0.01)
    assert len(await ask(parts, picture(1))) == 1
    assert _at_rest(parts)


async def test_a_caller_who_leaves_stops_costing(parts: Service, picture: Picture, until: Any) -> None:
    task = asyncio.create_task(ask(parts, *(picture(number) for number in range(40))))
    await until(lambda: _model(parts).in_use == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _at_rest(parts)
    assert len(await ask(parts, picture(1))) == 1


async def test_overload_turns_new_requests_away_with_a_time_to_come_again(
    tmp_path_factory: Any, running: Any, export: Any, until: Any, shelf_class: Any, picture: Picture
) -> None:
    shelf = shelf_class()
    shelf.put("cells", 1, export(1).file, export(1).hash)
    async with running(tmp_path_factory.mktemp("busy"), shelf, queue_images=8) as parts:
        await until(lambda: parts.reconciler.not_ready() is None)
        outcomes = await asyncio.gather(
            *(ask(parts, picture(1), picture(2)) for _ in range(12)), return_exceptions=True
        )
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
    assert len(refused) == 8
    assert all(error.retry_after_s is not None and error.retry_after_s >= 1 for error in refused)
    assert sum(isinstance(outcome, list) for outcome in outcomes) == 4


async def test_who_waits_for_a_model_to_be_loaded_keeps_nobody_from_the_others(
    tmp_path: Any, running: Any, export: Any, until: Any, shelf_class: Any, picture: Picture
) -> None:
    shelf = shelf_class()
    shelf.put("cells", 1, export(1).file, export(1).hash)
    shelf.put("cells", 2, export(2).file, export(2).hash, "candidate")
    async with running(tmp_path, shelf, queue_images=8) as parts:
        await until(lambda: parts.reconciler.not_ready() is None)
        shelf.gate = asyncio.Event()
        waiting = asyncio.create_task(ask(parts, *[picture(1)] * 8, seconds=60, version=2))
        candidate = parts.plane.catalogue.resolve("local", "cells", 2)
        await until(lambda: candidate.waiting)
        assert len(await ask(parts, picture(1))) == 1
        candidate.waiting += 255
        with pytest.raises(OverloadedError, match="to be loaded"):
            await ask(parts, picture(1), version=2)
        candidate.waiting -= 255
        shelf.gate.set()
        assert len(await waiting) == 8


async def test_a_deadline_is_kept_while_decoded_images_are_resized(
    parts: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(pixels: Any, _: Any) -> Any:
        time.sleep(0.05)
        return pixels

    monkeypatch.setattr(dataplane, "pixels_of", slow)
    images = [DecodedImage(np.zeros((64, 64, 3), np.uint8))] * 40
    with pytest.raises(DeadlineError, match="resized"):
        await ask(parts, *images, seconds=0.5)
    assert _at_rest(parts)


def _model(parts: Service) -> Any:
    served = parts.plane.catalogue.resolve("local", "cells", 1)
    assert served.model is not None
    return served.model


def _at_rest(parts: Service) -> bool:
    model = _model(parts)
    return model.in_use == 0 and not model.batcher._jobs and parts.plane._admission._images == 0
