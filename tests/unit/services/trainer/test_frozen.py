"""Frozen features, the heads of all folds, and the served network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from aimic.domain.job import TaskKind
from aimic.domain.work import WeightsSource
from aimic.nets import forward
from services.trainer import frozen, oof
from services.trainer.checkpoint import load_tensors
from services.trainer.data import pixels
from services.trainer.machine import prepare
from services.trainer.network import build_net
from services.trainer.step import logits_of

MakeLab = Callable[..., Any]


@pytest.fixture
def lab(make_lab: MakeLab, tmp_path: Path) -> Any:
    """A frozen job whose backbone is a seeded random network under torchvision's names."""
    torch.manual_seed(1)
    (tmp_path / "weights").mkdir()
    torch.save(get_model("shufflenet_v2_x1_0").state_dict(), tmp_path / "weights" / "shufflenet_v2_x1_0.pth")
    made = make_lab(mode="frozen", weights="imagenet", images=36, k=3)
    made.weights = WeightsSource(kind="imagenet", name="imagenet")
    made.weights_dir = tmp_path / "weights"
    return made


def test_every_image_is_judged_once_and_better_than_chance(lab: Any) -> None:
    outcome = lab.run(TaskKind.FROZEN)
    judged = oof.OutOfFold.read(outcome.files[oof.NAME])
    assert judged.indices.tolist() == list(range(36))
    assert judged.folds.tolist() == list(lab.split.folds)
    assert (judged.logits.argmax(1) == judged.labels).mean() > 0.8


def test_the_served_network_gives_the_logits_of_the_chosen_head(lab: Any) -> None:
    lab.serve = "fold:1"
    outcome = lab.run(TaskKind.FROZEN)
    judged = oof.OutOfFold.read(outcome.files[oof.NAME])
    context = lab.context(lab.claim(TaskKind.FROZEN))
    net = build_net(context)
    net.load_state(load_tensors(outcome.files["weights.safetensors"]))
    images = pixels(context, range(36), net.preprocessing)
    mine = judged.folds == 1
    expected = judged.logits[mine]
    found = logits_of(net, "cpu", images, judged.indices[mine].tolist())
    assert np.abs(found - expected).max() < 1e-3 * max(1.0, np.abs(expected).max())


def test_a_fold_alone_gives_the_same_head(lab: Any) -> None:
    context = lab.context(lab.claim(TaskKind.FROZEN))
    net = build_net(context)
    machine = prepare(context.claim.settings)
    known = frozen.features(context, net, machine, range(36))
    among_others = frozen._fold_heads(context, known)[2]
    alone = frozen.fold_head(context, known, 2)
    assert np.array_equal(alone.head.weight, among_others.head.weight)
    assert alone.strength == among_others.strength


def test_features_do_not_depend_on_which_were_known_before(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: one by one, by parts and in an order of chance, or all at once. The last bits of this network
    depend on how many images go through it together."""
    network = "mobilenet_v3_large"
    torch.save(get_model(network).state_dict(), lab.weights_dir / f"{network}.pth")
    lab.settings = lab.settings.model_copy(update={"networks": (network,)})
    at_once: list[int] = []
    real = forward.features_of

    def features_of(net: Any, images: Any, device: str) -> Any:
        at_once.append(len(images))
        return real(net, images, device)

    monkeypatch.setattr(frozen, "features_of", features_of)
    cold = _features(lab, range(36))
    lab.home = lab.home / "another"
    lab.home.mkdir()
    for known in ([5], [35, 0, 9], [20, 21, 22], range(10, 30)):
        assert np.array_equal(_features(lab, known)[list(known)], cold[list(known)])
    assert np.array_equal(_features(lab, range(36)), cold)
    assert set(at_once) == {32}


def _features(lab: Any, indices: Sequence[int]) -> Any:
    context = lab.context(lab.claim(TaskKind.FROZEN))
    return frozen.features(context, build_net(context), prepare(context.claim.settings), indices)


def test_features_are_computed_once(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lab.run(TaskKind.FROZEN)
    monkeypatch.setattr(frozen, "_fill_features", None)
    second = lab.run(TaskKind.FROZEN)
    for name, file in first.files.items():
        assert Path(file).read_bytes() == Path(second.files[name]).read_bytes()
