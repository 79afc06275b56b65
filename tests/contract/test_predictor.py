"""The promise of aimic/ports/predictor.py, kept by every adapter: TorchServe's is a real one.

An adapter's tests share one predictor, since TorchServe takes seconds to start, and so does each of its models. The
last one closes it.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aimic.adapters.local_predictor import LocalPredictor
from aimic.adapters.torchserve.ground import Settings
from aimic.adapters.torchserve_predictor import TorchServePredictor
from aimic.errors import AimicError, CorruptError, DeadlineError, NotFoundError
from aimic.nets import bundle as bundles
from aimic.nets.calibration import probabilities
from aimic.nets.executors.base import Executor
from aimic.nets.info import Member
from aimic.nets.package import Training, admit, check_inputs, package
from aimic.nets.statefile import load_safetensors
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from aimic.ports.predictor import Predictor
from tests.judged import alike
from tests.serving.torchserve_scene import workers

SIZE = 48
ADAPTERS: dict[str, Callable[[], Predictor]] = {
    "local": lambda: LocalPredictor(threads=1),
    "torchserve": lambda: TorchServePredictor(Settings(threads=1)),
}


@pytest.fixture(scope="module", params=sorted(ADAPTERS))
def predictor(request: pytest.FixtureRequest) -> Iterator[Predictor]:
    before = torch.get_num_threads()
    made = ADAPTERS[request.param]()
    yield made
    made.close()
    torch.set_num_threads(before)


def _bundle(directory: Path, seed: int) -> tuple[Path, str]:
    """A network with answers that differ from picture to picture."""
    classes = ("basophil", "eosinophil", "lymphocyte", "monocyte")
    net = build("mobilenet_v2", len(classes), SIZE, Weights.none(), seed=seed)
    with torch.no_grad():
        net.head.weight.mul_(300)
    training = Training(
        classes=classes,
        manifest_hash="00" * 32,
        membership=(Member(sha256="11" * 32, phash="00" * 8, fold=0),),
        split={},
        settings={},
        metrics={},
        class_mix=(1, 2, 3, 4),
    )
    package(directory, net, training)
    return directory, admit(directory, alike("torch-export-fp32-cpu"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return _bundle(tmp_path_factory.mktemp("bundles") / "one", 1)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return _bundle(tmp_path_factory.mktemp("bundles") / "two", 2)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return check_inputs(SIZE)


def test_loads_and_says_what_it_is(predictor: Predictor, bundle: tuple[Path, str]) -> None:
    directory, digest = bundle
    model = predictor.load(directory)
    assert model.bundle_hash == digest and model.image_size == SIZE
    assert model.classes == ("basophil", "eosinophil", "lymphocyte", "monocyte")
    assert model.executor.startswith("torch") and model.memory_bytes > 8_000_000
    assert predictor.loaded() == (model,)
    assert predictor.load(directory) == model
    assert predictor.loaded() == (model,)


def test_answers_as_when_it_was_made(predictor: Predictor, bundle: tuple[Path, str], pixels: NDArray[np.uint8]) -> None:
    predictor.load(bundle[0])
    logits = predictor.predict(bundle[1], pixels)
    expected = load_safetensors(bundle[0] / "check.safetensors")["logits"].numpy()
    assert logits.dtype == np.float32 and logits.shape == (32, 4)
    np.testing.assert_allclose(probabilities(logits), probabilities(expected), atol=1e-5)
    assert len(set(logits.argmax(axis=1).tolist())) > 1


def test_adapters_answer_alike(predictor: Predictor, bundle: tuple[Path, str]) -> None:
    """To 1e-4 in probability, on pictures that none of them was checked with."""
    pictures = np.random.default_rng(5).integers(0, 256, (40, SIZE, SIZE, 3), np.uint8)
    predictor.load(bundle[0])
    found = probabilities(predictor.predict(bundle[1], pictures))
    local = LocalPredictor(threads=1)
    local.load(bundle[0])
    assert np.abs(found - probabilities(local.predict(bundle[1], pictures))).max() < 1e-4


@pytest.mark.parametrize("size", [1, 2, 3, 8, 17, 31])
def test_an_answer_does_not_depend_on_the_batch(
    predictor: Predictor, bundle: tuple[Path, str], pixels: NDArray[np.uint8], size: int
) -> None:
    predictor.load(bundle[0])
    whole = probabilities(predictor.predict(bundle[1], pixels))
    parts = [predictor.predict(bundle[1], pixels[at : at + size]) for at in range(0, 32, size)]
    assert np.abs(probabilities(np.concatenate(parts)) - whole).max() < 1e-5
    many = predictor.predict(bundle[1], np.concatenate([pixels[::-1], pixels]))
    assert np.abs(probabilities(many[32:]) - whole).max() < 1e-5
    assert np.abs(probabilities(many[:32][::-1]) - whole).max() < 1e-5


def test_models_are_kept_apart(
    predictor: Predictor, bundle: tuple[Path, str], second: tuple[Path, str], pixels: NDArray[np.uint8]
) -> None:
    predictor.load(bundle[0])
    predictor.load(second[0])
    assert sorted(model.bundle_hash for model in predictor.loaded()) == sorted([bundle[1], second[1]])
    before = predictor.predict(bundle[1], pixels[:2])
    assert not np.allclose(before, predictor.predict(second[1], pixels[:2]))
    predictor.unload(second[1])
    predictor.unload(second[1])
    assert [model.bundle_hash for model in predictor.loaded()] == [bundle[1]]
    with pytest.raises(NotFoundError):
        predictor.predict(second[1], pixels[:2])
    assert (predictor.predict(bundle[1], pixels[:2]) == before).all()


def test_a_bundle_may_be_there_twice(predictor: Predictor, bundle: tuple[Path, str], pixels: NDArray[np.uint8]) -> None:
    """With two executors, under two names: so a model goes over from one to the other without a gap."""
    one = predictor.load(bundle[0])
    other = predictor.load(bundle[0], "torch-export-fp32-cpu", f"{bundle[1]}_1")
    assert (one.name, other.name) == (bundle[1], f"{bundle[1]}_1")
    assert one.bundle_hash == other.bundle_hash and one.executor != other.executor
    expected = probabilities(predictor.predict(one.name, pixels))
    assert np.abs(probabilities(predictor.predict(other.name, pixels)) - expected).max() < 1e-4
    predictor.unload(one.name)
    assert predictor.loaded() == (other,)
    assert np.abs(probabilities(predictor.predict(other.name, pixels)) - expected).max() < 1e-4
    predictor.unload(other.name)
    assert predictor.loaded() == ()


def test_many_callers_at_once(
    predictor: Predictor, bundle: tuple[Path, str], second: tuple[Path, str], pixels: NDArray[np.uint8]
) -> None:
    """Answers go to who asked, also while another model comes and goes."""
    predictor.load(bundle[0])
    expected = probabilities(predictor.predict(bundle[1], pixels))

    def ask(number: int) -> float:
        at = number % 30
        found = probabilities(predictor.predict(bundle[1], pixels[at : at + 2]))
        return float(np.abs(found - expected[at : at + 2]).max())

    def come_and_go(_: int) -> None:
        predictor.load(second[0])
        predictor.unload(second[1])

    with ThreadPoolExecutor(6) as pool:
        going = pool.map(come_and_go, range(2))
        assert max(pool.map(ask, range(60))) < 1e-5
        assert list(going) == [None] * 2


def test_every_call_ends_by_its_deadline(
    predictor: Predictor, bundle: tuple[Path, str], pixels: NDArray[np.uint8]
) -> None:
    """With an answer or an error of ours; and the next caller is answered."""
    predictor.load(bundle[0])

    def hurry(_: int) -> bool:
        try:
            predictor.predict(bundle[1], pixels, timeout_s=0.02)
        except DeadlineError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert not all(pool.map(hurry, range(24)))
    assert predictor.predict(bundle[1], pixels[:1]).shape == (1, 4)


def test_behind_a_network_that_hangs_nobody_waits_longer_than_he_said(
    predictor: Predictor, bundle: tuple[Path, str], pixels: NDArray[np.uint8]
) -> None:
    """And when it goes on, the next caller is answered."""
    predictor.load(bundle[0])
    with ThreadPoolExecutor(1) as pool:
        with _hanging(predictor, bundle[1]) as entered:
            first = pool.submit(predictor.predict, bundle[1], pixels[:1], 1.0)
            assert entered.wait(60)
            began = time.monotonic()
            with pytest.raises(DeadlineError):
                predictor.predict(bundle[1], pixels[:1], timeout_s=1.0)
            assert time.monotonic() - began < 30
        assert first.exception() is None or isinstance(first.exception(), DeadlineError)
    assert predictor.predict(bundle[1], pixels[:1]).shape == (1, 4)


@contextmanager
def _hanging(predictor: Predictor, bundle_hash: str) -> Iterator[Event]:
    """Within the block the network doesn't come back; the event is set once somebody may wait for it."""
    entered, over = Event(), Event()
    if isinstance(predictor, LocalPredictor):
        runner = predictor._runners[bundle_hash]
        executor, runner._executor = runner._executor, _Hanging(runner._executor, entered, over)
        try:
            yield entered
        finally:
            over.set()
            runner._executor = executor
        return
    assert isinstance(predictor, TorchServePredictor)
    stopped = workers(predictor._keeper.ground.directory)
    assert stopped
    for worker in stopped:
        worker.suspend()
    entered.set()
    try:
        yield entered
    finally:
        for worker in stopped:
            worker.resume()


class _Hanging:
    """An executor that doesn't come back before it may."""

    def __init__(self, executor: Executor, entered: Event, over: Event) -> None:
        self.name = executor.name
        self._executor = executor
        self._entered = entered
        self._over = over

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._entered.set()
        assert self._over.wait(120)
        return self._executor.run(pixels)


def test_wrong_pixels_are_an_error_of_ours(predictor: Predictor, bundle: tuple[Path, str]) -> None:
    predictor.load(bundle[0])
    with pytest.raises(AimicError):
        predictor.predict(bundle[1], check_inputs(SIZE + 1))


@pytest.mark.parametrize("member", ["weights/0.safetensors", "bundle.json", "check.safetensors"])
def test_a_changed_byte_is_refused(predictor: Predictor, bundle: tuple[Path, str], tmp_path: Path, member: str) -> None:
    copy = Path(shutil.copytree(bundle[0], tmp_path / "copy"))
    data = bytearray((copy / member).read_bytes())
    data[-20] ^= 1
    (copy / member).write_bytes(data)
    before = predictor.loaded()
    with pytest.raises(CorruptError):
        predictor.load(copy)
    assert predictor.loaded() == before


def test_other_check_logits_are_refused(predictor: Predictor, bundle: tuple[Path, str], tmp_path: Path) -> None:
    """A bundle that is whole, but whose network answers otherwise here."""
    check = load_safetensors(bundle[0] / "check.safetensors")
    state = load_safetensors(bundle[0] / "weights/0.safetensors")
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    logits = check["logits"].numpy() * np.float32(1.01)
    bundles.write(tmp_path / "other", bundles.verify(bundle[0]), [weights], check["inputs"].numpy(), logits)
    before = predictor.loaded()
    with pytest.raises(CorruptError, match="does not answer as it did"):
        predictor.load(tmp_path / "other")
    assert predictor.loaded() == before


def test_no_bundle_there(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        predictor.load(tmp_path)


def test_close_forgets_everything(predictor: Predictor, bundle: tuple[Path, str]) -> None:
    """The last test: it closes what the others shared."""
    predictor.load(bundle[0])
    predictor.close()
    assert predictor.loaded() == ()
