"""Each of the ten networks trains one epoch in each weight mode, and serves what it trained."""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model

from aimic.adapters.local_predictor import LocalPredictor
from aimic.domain.base import sha256_of
from aimic.domain.job import TaskKind, TrainSettings, plan_tasks
from aimic.domain.networks import NETWORKS
from aimic.domain.split import Split, SplitRequest
from aimic.domain.work import Claim, TaskInput, TaskSample, TaskSpec, WeightsSource
from aimic.nets.bundle import unpack
from aimic.nets.preprocessing import to_pixels
from services.trainer import oof
from services.trainer.context import Context, Outcome
from services.trainer.reports import Reporter
from services.trainer.spec import ChildSpec
from services.trainer.tasks import run_task

IMAGES = 16
SIDES = {"inception_v3": 75}
MODES = (("none", "full"), ("imagenet", "full"), ("imagenet", "frozen"), ("imagenet", "last:1"))


@pytest.fixture(autouse=True)
def torch_as_found() -> Iterator[None]:
    """Put torch's global switches back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where state files under torchvision's tensor names are made when a network asks for them."""
    return tmp_path_factory.mktemp("weights")


def _state_file(network: str, directory: Path) -> None:
    """A seeded random state, so that the loading path is the real one."""
    file = directory / f"{network}.pth"
    if not file.exists():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            options = {"init_weights": False} if network in {"googlenet", "inception_v3"} else {}
            torch.save(get_model(network, weights=None, **options).state_dict(), file)


def _samples(folder: Path) -> tuple[TaskSample, ...]:
    rng = np.random.default_rng(0)
    found = []
    for index in range(IMAGES):
        colours = rng.integers(0, 90, (48, 48, 3)) + (index % 2) * 150
        out = io.BytesIO()
        Image.fromarray(colours.astype(np.uint8)).save(out, "PNG")
        name = hashlib.sha256(out.getvalue()).hexdigest()
        (folder / name).write_bytes(out.getvalue())
        found.append(TaskSample(index=index, sha256=name, label=index % 2, url=(folder / name).as_uri()))
    return tuple(found)


def _claim(plan: Any, settings: TrainSettings, samples: tuple[TaskSample, ...], inputs: Any) -> Claim:
    folds = tuple(0 if index < 4 else -1 for index in range(IMAGES))
    split = Split(request=SplitRequest(kind="holdout"), seed=0, k=1, folds=folds, inner=((4, 5),), classes=(0, 1))
    return Claim(
        task=TaskSpec(id="task", key=plan.key, kind=plan.kind, network=plan.network, fold=plan.fold),
        site="local",
        job_id="job",
        token="",
        fence=1,
        lease_s=30,
        settings=settings,
        serve="fold:0",
        split=split,
        manifest_hash=sha256_of([sample.sha256 for sample in samples]),
        classes=("dark", "light"),
        clusters=tuple(range(IMAGES)),
        phashes=("0" * 16,) * IMAGES,
        inputs=inputs,
        checkpoint=None,
        weights=WeightsSource(kind="imagenet" if settings.weights == "imagenet" else "none"),
    )


@pytest.mark.parametrize(("weights", "mode"), MODES)
@pytest.mark.parametrize("network", NETWORKS)
def test_trains_and_serves(network: str, weights: str, mode: str, weights_dir: Path, tmp_path: Path) -> None:
    if weights == "imagenet":
        _state_file(network, weights_dir)
    settings = TrainSettings(
        networks=(network,),
        weights=weights,
        mode=mode,
        epochs=1,
        optimizer="adamw",
        lr=1e-4,
        schedule="constant",
        batch_size=5,
        image_size=SIDES.get(network, 32),
        augment="flips_turns",
        threads=1,
        device="cpu",
    )
    samples = _samples(tmp_path)
    done: dict[str, Outcome] = {}
    for number, plan in enumerate(plan_tasks(settings, 1, "fold:0")):
        folder = tmp_path / f"task-{number}"
        folder.mkdir()
        inputs = {key: _as_input(done[key]) for key in plan.after}
        spec = ChildSpec(
            claim=_claim(plan, settings, samples, inputs),
            samples=samples,
            cache=tmp_path / "cache",
            weights_dir=weights_dir,
        )
        with Path(os.devnull).open("w") as sink:
            done[plan.key] = run_task(Context(spec, folder, Reporter(sink)))
    _check_served(done, samples, tmp_path, f"{network}/{'frozen' if mode == 'frozen' else 'fold/0'}")


def _as_input(outcome: Outcome) -> TaskInput:
    return TaskInput(result=outcome.result, objects={name: path.as_uri() for name, path in outcome.files.items()})


def _check_served(done: dict[str, Outcome], samples: tuple[TaskSample, ...], tmp_path: Path, fitted: str) -> None:
    """The in-process predictor gives the logits that the trainer judged."""
    package = next(outcome for key, outcome in done.items() if key.endswith(TaskKind.PACKAGE.value))
    folder = tmp_path / "served"
    info = unpack(package.files["bundle.aimic"], folder)
    judged = oof.OutOfFold.read(done[fitted].files[oof.NAME])
    pixels = np.stack(
        [to_pixels((tmp_path / samples[i].sha256).read_bytes(), info.preprocessing) for i in judged.indices]
    )
    predictor = LocalPredictor()
    try:
        loaded = predictor.load(folder)
        logits = predictor.predict(loaded.bundle_hash, pixels)
    finally:
        predictor.close()
    assert loaded.classes == ("dark", "light")
    scale = max(1.0, float(np.abs(judged.logits).max()))
    assert np.abs(logits - judged.logits).max() < 1e-3 * scale
