"""A model begins with eager torch and goes over to the executor of its class of machines; no request notices."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aimic.adapters.local_predictor import LocalPredictor
from aimic.domain.executor import ExecutorChoice
from aimic.errors import UnavailableError
from aimic.nets.executors import machine_class
from aimic.ports.predictor import LoadedModel
from services.inference import app, switching
from services.inference.app import Service
from services.inference.settings import Settings
from tests.unit.services.inference.asking import ask, ready

pytestmark = pytest.mark.anyio
EAGER, QUICK = "torch-eager-fp32-cpu", "quick-fp32-cpu"
Start = Callable[..., AbstractAsyncContextManager[Service]]


class Named(LocalPredictor):
    """Runs everything with eager torch, under the name of what it was told to run with."""

    def load(self, bundle: Path, executor: str | None = None, name: str = "") -> LoadedModel:
        loaded = super().load(bundle, None, name)
        return loaded.model_copy(update={"executor": executor or EAGER})


class Measured:
    """A measurement that ends when it is let; how many there were."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.times = 0
        self.fails = 0

    async def __call__(self, directory: Path, *_: object) -> ExecutorChoice:
        self.times += 1
        await self.gate.wait()
        if self.fails:
            self.fails -= 1
            raise UnavailableError("no")
        return ExecutorChoice(bundle_hash=directory.name, machine_class=machine_class(), executor=QUICK)


@pytest.fixture
def measured() -> Measured:
    return Measured()


@pytest.fixture
def shelf(shelf: Any) -> Any:
    """A registry that keeps choices, too."""
    held: dict[str, bytes] = {}

    async def executors(request: Request) -> Response:
        if request.method == "PUT":
            held.setdefault(request.url.path, await request.body())
        found = held.get(request.url.path)
        return Response(status_code=404) if found is None else Response(found)

    path = "/api/v1/models/{name}/versions/{version}/executors/{machine}"
    shelf.app.router.routes.append(Route(path, executors, methods=["GET", "PUT"]))
    return shelf


@pytest.fixture
def start(shelf: Any, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(app, "Measurement", lambda *_, **__: measured)
    monkeypatch.setattr(switching, "_AGAIN_S", 0.05)
    monkeypatch.setattr(switching, "_REST", 0)

    def no_events() -> Any:
        raise UnavailableError("no broker here")

    @asynccontextmanager
    async def begin(home: Path, **settings: Any) -> AsyncIterator[Service]:
        named: dict[str, Any] = {
            "inference_decoders": 1,
            "inference_poll_s": 0.05,
            "inference_executor": "auto",
        } | settings
        chosen = Settings(home=home, **named)
        async with app.service(chosen, predictor=Named(threads=1), events=no_events, http=shelf.http()) as parts:
            yield parts

    return begin


async def _executor(parts: Service, image: bytes, version: int | None = None) -> tuple[int, str]:
    answer = await ask(parts, image, version)
    return answer.version, answer.executor


async def test_a_new_model_answers_at_once_and_goes_over_when_it_is_measured(
    tmp_path: Path, start: Start, measured: Measured, until: Any, picture: Any
) -> None:
    async with start(tmp_path) as parts:
        await ready(parts, until)
        first = await ask(parts, picture(1))
        assert first.executor == EAGER
        served = parts.plane.catalogue.resolve("local", "cells", 1)
        assert (served.state, served.remark) == ("ready", switching.FOR_NOW)
        await until(lambda: measured.times == 1)
        measured.gate.set()
        seen = [EAGER]
        while seen[-1] == EAGER:
            seen.append((await _executor(parts, picture(1)))[1])
        assert seen[-1] == QUICK and measured.times == 1
        assert served.remark is None
        last = await ask(parts, picture(1))
        assert last.probabilities == pytest.approx(first.probabilities, abs=1e-5)
        await until(lambda: len(parts.predictor.loaded()) == 1)
    async with start(tmp_path) as parts:  # the next time it begins with it
        await ready(parts, until)
        assert (await _executor(parts, picture(1)))[1] == QUICK and measured.times == 1


async def test_a_request_ends_with_what_it_began_with(
    tmp_path: Path, start: Start, measured: Measured, until: Any, shelf: Any
) -> None:
    async with start(tmp_path) as parts:
        await ready(parts, until)
        served = parts.plane.catalogue.resolve("local", "cells", 1)
        before = served.model
        assert before is not None
        with before.use():
            measured.gate.set()
            await until(lambda: served.model is not before)
            names = {model.name for model in parts.predictor.loaded()}
            assert before.loaded.name in names and len(names) == 2
        await until(lambda: len(parts.predictor.loaded()) == 1)
        assert served.model is not None and served.model.loaded.executor == QUICK


async def test_a_promotion_is_measured_first_unless_somebody_waits(
    tmp_path: Path, start: Start, measured: Measured, until: Any, picture: Any, shelf: Any, export: Any
) -> None:
    measured.gate.set()
    async with start(tmp_path) as parts:
        await ready(parts, until)
        while await _executor(parts, picture(1)) != (1, QUICK):
            pass
        measured.gate.clear()
        for version in (2, 3):
            shelf.put("cells", version, export(version).file, export(version).hash, "candidate")
        assert await _executor(parts, picture(1), 2) == (2, EAGER)  # by its number: somebody waits
        await until(lambda: measured.times == 2)
        shelf.stage(1, "candidate")
        shelf.stage(3, "serving")
        await until(lambda: parts.plane.catalogue.resolve("local", "cells", 3).entry.stage == "serving")
        assert (await _executor(parts, picture(1)))[0] == 1
        measured.gate.set()
        while (found := await _executor(parts, picture(1)))[0] == 1:
            assert found == (1, QUICK)
        assert found == (3, QUICK) and measured.times == 3


async def test_what_could_not_be_settled_is_tried_again(
    tmp_path: Path, start: Start, measured: Measured, until: Any, picture: Any, shelf: Any
) -> None:
    measured.fails = 2
    measured.gate.set()
    async with start(tmp_path) as parts:
        await ready(parts, until)
        while (await _executor(parts, picture(1)))[1] == EAGER:
            pass
        assert measured.times == 3


async def test_a_measurement_that_failed_before_a_load_is_not_repeated_at_once(
    tmp_path: Path,
    start: Start,
    measured: Measured,
    until: Any,
    picture: Any,
    shelf: Any,
    export: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured.gate.set()
    async with start(tmp_path) as parts:
        await ready(parts, until)
        while await _executor(parts, picture(1)) != (1, QUICK):
            pass
        monkeypatch.setattr(switching, "_AGAIN_S", 3600)
        measured.fails = 1
        shelf.stage(1, "candidate")
        shelf.put("cells", 2, export(2).file, export(2).hash)
        while (found := await _executor(parts, picture(1)))[0] == 1:
            pass
        reads = parts.reconciler._done
        await until(lambda: parts.reconciler._done > reads + 3)  # each of them begins what is due
        assert await _executor(parts, picture(1)) == found == (2, EAGER) and measured.times == 2


async def test_without_room_for_both_eager_torch_goes_on(
    tmp_path: Path,
    start: Start,
    measured: Measured,
    until: Any,
    picture: Any,
    export: Any,
    caplog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = (export(1).directory / "weights/0.safetensors").stat().st_size
    measured.gate.set()
    async with start(tmp_path, inference_models_bytes=int(1.5 * size)) as parts:
        await ready(parts, until)
        tries, memory = list[str](), parts.plane._loader._memory
        switch = memory.switch

        async def counted(bundle_hash: str, *how: Any) -> None:
            tries.append(bundle_hash)
            await switch(bundle_hash, *how)

        monkeypatch.setattr(memory, "switch", counted)
        await until(lambda: len(tries) > 3)
        assert caplog.text.count("eager torch goes on") == 1
        assert (await _executor(parts, picture(1)))[1] == EAGER
        assert len(parts.predictor.loaded()) == 1
    async with start(tmp_path, inference_models_bytes=int(1.5 * size)) as parts:
        await ready(parts, until)
        assert (await _executor(parts, picture(1)))[1] == QUICK


async def test_a_candidate_makes_room_for_the_executor_of_what_serves(
    tmp_path: Path, start: Start, measured: Measured, until: Any, picture: Any, shelf: Any, export: Any
) -> None:
    shelf.put("cells", 2, export(2).file, export(2).hash, "candidate")
    size = (export(1).directory / "weights/0.safetensors").stat().st_size
    async with start(tmp_path, inference_models_bytes=int(2.5 * size)) as parts:
        await ready(parts, until)
        assert await _executor(parts, picture(1), 2) == (2, EAGER)
        measured.gate.set()
        served = parts.plane.catalogue.resolve("local", "cells", 1)
        await until(lambda: served.model is not None and served.model.loaded.executor == QUICK, 15)
        assert (await _executor(parts, picture(1), 2))[0] == 2


async def test_who_is_retired_is_measured_no_longer(
    tmp_path: Path, start: Start, measured: Measured, until: Any, shelf: Any
) -> None:
    async with start(tmp_path) as parts:
        await ready(parts, until)
        await until(lambda: measured.times == 1)
        shelf.entries = []
        await until(lambda: not parts.predictor.loaded())
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("choose")])
