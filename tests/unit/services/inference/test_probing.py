"""A predictor that hangs, dies or forgets is fenced, says why, and comes back."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from aimic.adapters.local_predictor import LocalPredictor
from aimic.domain.site import OWNER
from aimic.errors import AimicError, DeadlineError, InvalidInputError, UnavailableError
from services.inference.app import Service, service
from services.inference.batching import Batcher
from services.inference.catalogue import Catalogue
from services.inference.deadline import Deadline
from services.inference.lane import Lane
from services.inference.probing import Prober, ProbeTimes
from services.inference.settings import Settings
from tests.unit.services.inference.asking import ask, ready, states

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


class Moody(LocalPredictor):
    """The real one, which can be made to hang, to die and to forget."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.mood: dict[str, str] = {}
        self.go = threading.Event()
        self.calls: list[str] = []

    def predict(self, bundle_hash: str, pixels: NDArray[np.uint8], timeout_s: float = 300.0) -> NDArray[np.float32]:
        mood = self.mood.get(bundle_hash, "well")
        self.calls.append(mood)
        if mood == "hangs":
            self.go.wait(120)
        if mood == "dies":
            raise UnavailableError("The worker died")
        logits = super().predict(bundle_hash, pixels, timeout_s)
        return logits + 1 if mood == "forgot" else logits


def nothing() -> Any:
    raise UnavailableError("no broker here")


@pytest.fixture
def moody() -> Any:
    moody = Moody()
    yield moody
    moody.go.set()


@asynccontextmanager
async def started(home: Path, shelf: Any, moody: Moody, **probes: float) -> AsyncIterator[Service]:
    times = {"probe_s": 3600.0, "probe_again_s": 0.05, "probe_timeout_s": 20.0} | probes
    settings = Settings(
        home=home,
        inference_decoders=1,
        inference_poll_s=0.05,
        **{f"inference_{key}": value for key, value in times.items()},  # type: ignore[arg-type]
    )
    async with service(settings, predictor=moody, events=nothing, http=shelf.http()) as parts:
        yield parts


def fenced() -> float | None:
    return REGISTRY.get_sample_value("aimic_inference_models_fenced")


async def answered_or_refused(parts: Service, image: bytes) -> AimicError | None:
    try:
        await ask(parts, image)
    except AimicError as error:
        return error
    return None


async def test_a_predictor_that_hangs_is_fenced_and_comes_back(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any, picture: Picture, monkeypatch: Any
) -> None:
    monkeypatch.setattr("services.inference.batching._GRACE_S", 0.05)
    monkeypatch.setattr("services.inference.probing._GRACE_S", 0.05)
    async with started(tmp_path, shelf, moody, probe_timeout_s=0.5) as parts:
        await ready(parts, until)
        await ask(parts, picture(1))
        moody.mood[export(1).hash] = "hangs"
        while parts.reconciler.not_ready() is None:
            # Late is what the first one is; the others may come before it was given up.
            with pytest.raises((DeadlineError, UnavailableError)):
                await parts.plane.predict("cells", None, [picture(1)], Deadline.after(0.5), "r", principal=OWNER)
        assert "does not come back" in str(parts.reconciler.not_ready())
        with pytest.raises(UnavailableError, match="comes back by itself") as refused:
            await ask(parts, picture(1))
        assert refused.value.retry_after_s and fenced() == 1
        stuck = moody.calls.count("hangs")

        moody.mood.clear()
        await asyncio.sleep(0.3)  # the probe that hangs is not joined by others, though it is due many times
        assert moody.calls.count("hangs") == stuck and stuck <= 2
        moody.go.set()
        await ready(parts, until)
        await ask(parts, picture(1))
        await until(lambda: fenced() == 0)


async def test_callers_need_not_wait_for_their_deadline_when_the_probes_know(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any, picture: Picture, monkeypatch: Any
) -> None:
    monkeypatch.setattr("services.inference.probing._GRACE_S", 0.05)
    async with started(tmp_path, shelf, moody, probe_s=0.05, probe_timeout_s=0.2) as parts:
        await ready(parts, until)
        moody.mood[export(1).hash] = "hangs"
        async with asyncio.timeout(60):
            with pytest.raises(UnavailableError):
                await parts.plane.predict("cells", None, [picture(1)], Deadline.after(3000), "r", principal=OWNER)


@pytest.mark.parametrize(("mood", "words"), [("dies", "The worker died"), ("forgot", "not what it was")])
async def test_an_idle_model_that_fails_is_noticed(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any, picture: Picture, mood: str, words: str
) -> None:
    async with started(tmp_path, shelf, moody, probe_s=0.05) as parts:
        await ready(parts, until)
        moody.mood[export(1).hash] = mood
        await until(lambda: parts.reconciler.not_ready() is not None)
        assert words in str(parts.reconciler.not_ready())
        with pytest.raises(UnavailableError, match=words):
            await ask(parts, picture(1))
        moody.mood.clear()
        await ready(parts, until)
        await ask(parts, picture(1))


async def test_a_worker_that_dies_of_every_request_is_fenced_by_them(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any, picture: Picture
) -> None:
    async with started(tmp_path, shelf, moody) as parts:
        await ready(parts, until)
        moody.mood[export(1).hash] = "dies"
        words = ""
        while "comes back by itself" not in words:
            error = await answered_or_refused(parts, picture(1))
            assert isinstance(error, UnavailableError)
            words = error.message
        assert parts.reconciler.not_ready() is not None


async def test_one_model_that_fails_leaves_the_others_and_readiness_alone(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any, picture: Picture
) -> None:
    shelf.put("others", 1, export(2).file, export(2).hash)
    async with started(tmp_path, shelf, moody, probe_s=0.05) as parts:
        await until(lambda: [served.state for served in parts.plane.catalogue] == ["ready", "ready"])
        moody.mood[export(2).hash] = "dies"
        await until(lambda: fenced() == 1)
        assert (await ask(parts, picture(1))).model == "cells"
        with pytest.raises(UnavailableError, match="others"):
            await ask(parts, picture(1), model="others")
        assert parts.reconciler.not_ready() is None
        assert states(parts) == {1: "ready"}


class Busy:
    """A predictor that fails the probe with `error`, which is by default that its turn doesn't come."""

    def __init__(self, error: AimicError | None = None) -> None:
        self.meanwhile: Callable[[], object] = lambda: None
        self._error = error or DeadlineError("other images took all the time there was")

    def predict(self, *_: object) -> NDArray[np.float32]:
        self.meanwhile()
        raise self._error


async def test_a_machine_that_is_busy_with_answers_is_not_fenced(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any
) -> None:
    async with started(tmp_path, shelf, moody) as parts:
        await ready(parts, until)
        slow = Busy()
        times = ProbeTimes(every_s=0.0, again_s=0.0, timeout_s=20.0, failures=1)
        prober = Prober(slow, parts.plane.catalogue, tmp_path / "bundles", times)  # type: ignore[arg-type]
        watch, busy = prober.watch(export(1).hash), prober.watch("another")
        slow.meanwhile = busy.worked
        await prober.step()
        assert not watch.fenced and watch.failures == 0
        slow.meanwhile = lambda: None
        await prober.step()
        assert watch.fenced


async def test_a_neighbour_whose_probe_passes_hides_nobody_who_hangs(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("services.inference.probing._GRACE_S", 0.05)
    shelf.put("others", 1, export(2).file, export(2).hash)
    async with started(tmp_path, shelf, moody) as parts:
        await until(lambda: [served.state for served in parts.plane.catalogue] == ["ready", "ready"])
        times = ProbeTimes(every_s=0.0, again_s=0.0, timeout_s=1.0, failures=1)
        prober = Prober(moody, parts.plane.catalogue, tmp_path / "bundles", times)
        hangs, _ = prober.watch(export(1).hash), prober.watch(export(2).hash)
        moody.mood[export(1).hash] = "hangs"
        await prober.step()
        assert hangs.fenced


async def test_what_surely_failed_is_counted_though_others_are_busy(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any
) -> None:
    async with started(tmp_path, shelf, moody) as parts:
        await ready(parts, until)
        times = ProbeTimes(every_s=0.0, again_s=0.0, timeout_s=20.0, failures=1)
        busy = Busy(UnavailableError("The worker died"))
        prober = Prober(busy, parts.plane.catalogue, tmp_path / "bundles", times)  # type: ignore[arg-type]
        watch, busy.meanwhile = prober.watch(export(1).hash), prober.watch("another").worked
        await prober.step()
        assert watch.fenced


async def test_a_bundle_that_went_is_no_failure(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any
) -> None:
    async with started(tmp_path, shelf, moody) as parts:
        await ready(parts, until)
        times = ProbeTimes(every_s=0.0, again_s=0.0, timeout_s=20.0, failures=1)
        prober = Prober(moody, parts.plane.catalogue, tmp_path / "elsewhere", times)
        watch = prober.watch(export(1).hash)
        await prober.step()
        assert not watch.fenced


async def test_a_model_that_is_loaded_anew_starts_without_blame() -> None:
    times = ProbeTimes(every_s=1.0, again_s=1.0, timeout_s=1.0, failures=1)
    prober = Prober(Busy(), Catalogue(), Path("/nowhere"), times)  # type: ignore[arg-type]
    watch = prober.watch("ab")
    watch.failed(RuntimeError("x"))
    assert watch.fenced and not prober.watch("ab").fenced


async def test_what_the_executor_before_does_is_not_held_against_the_one_that_took_over(
    tmp_path: Path, shelf: Any, moody: Moody, export: Any, until: Any
) -> None:
    async with started(tmp_path, shelf, moody) as parts:
        await ready(parts, until)
        times = ProbeTimes(every_s=1.0, again_s=1.0, timeout_s=1.0, failures=1)
        prober = Prober(moody, parts.plane.catalogue, tmp_path / "bundles", times)
        before, model = prober.watch(export(1).hash), parts.plane.catalogue.resolve("local", "cells", 1).model
        assert model is not None
        prober.watch(export(1).hash)
        with model.batcher.job(1, Deadline.after(60)) as job:
            before.stuck()
            assert not job.over and not before.fenced


async def test_what_a_caller_did_wrong_is_not_the_models_fault() -> None:
    def refuses(*_: object) -> NDArray[np.float32]:
        raise InvalidInputError("other pixels")

    heard = Prober(Busy(), Catalogue(), Path("/nowhere"), ProbeTimes(1, 1, 1, 1))  # type: ignore[arg-type]
    watch, lane = heard.watch("ab"), Lane()
    batcher = Batcher("ab" * 32, refuses, lane, watch, limit=4, window_s=0)
    with batcher.job(1, Deadline.after(60)) as job, pytest.raises(InvalidInputError):
        batcher.submit(job, 0, np.zeros((2, 2, 3), np.uint8))
        await job.results()
    await batcher.close()
    lane.close()
    assert not watch.fenced and watch.failures == 0
