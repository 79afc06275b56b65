"""What goes into a bundle beside the weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from aimic.nets.bundle import verify
from aimic.nets.forward import images_at_once, logits_of
from aimic.nets.net import Net
from aimic.nets.package import Training, check_inputs, package
from aimic.nets.statefile import load_safetensors
from aimic.nets.weights import Weights
from aimic.nets.zoo import build


def test_check_inputs_depend_on_the_size_alone() -> None:
    one, two = check_inputs(40), check_inputs(40)
    assert one.shape == (32, 40, 40, 3) and one.dtype == np.uint8
    assert (one == two).all()
    assert len({picture.tobytes() for picture in one}) == 32
    assert len({len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in one}) >= 5


def test_check_holds_what_the_network_says(bundle_dir: Path, small_net: Net) -> None:
    check = load_safetensors(bundle_dir / "check.safetensors")
    assert (check["inputs"].numpy() == check_inputs(32)).all()
    assert check["logits"].dtype == torch.float32 and check["logits"].shape == (32, 3)
    small_net.train(False)
    assert (check["logits"].numpy() == logits_of([small_net], check_inputs(32))).all()
    assert check["logits"].std(dim=0).min() > 0


def test_ensemble_averages_logits(training: Callable[[int], Training], tmp_path: Path) -> None:
    nets = [build("shufflenet_v2_x1_0", 3, 32, Weights.none(), seed=seed) for seed in range(3)]
    package(tmp_path / "bundle", nets[0], training(3), [net.state() for net in nets])
    assert verify(tmp_path / "bundle").ensemble == 3
    for net in nets:
        net.train(False)
    single = [logits_of([net], check_inputs(32)) for net in nets]
    found = load_safetensors(tmp_path / "bundle" / "check.safetensors")["logits"].numpy()
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=1e-6)
    assert "Weight sets: 3" in (tmp_path / "bundle" / "model_card.md").read_text()


def test_packaging_leaves_the_network_as_it_was(training: Callable[[int], Training], tmp_path: Path) -> None:
    net = build("googlenet", 3, 32, Weights.none())
    before = {name: tensor.clone() for name, tensor in net.module.state_dict().items()}
    package(tmp_path / "bundle", net, training(3))
    assert net.module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.module.state_dict().items())
    assert not [n for n in load_safetensors(tmp_path / "bundle" / "weights/0.safetensors") if "aux" in n]


def test_large_images_go_through_in_smaller_numbers(small_net: Net) -> None:
    assert [images_at_once(size) for size in (32, 224, 299, 320, 640, 1024, 4000)] == [32, 32, 32, 32, 8, 3, 1]
    large = build("shufflenet_v2_x1_0", 3, 640, Weights.none())
    large.train(False)
    pixels = check_inputs(640)[:9]
    found = logits_of([large], pixels)
    assert found.shape == (9, 3)
    np.testing.assert_allclose(found[8:], logits_of([large], pixels[8:]), rtol=1e-4)


def test_nothing_asked_nothing_answered(small_net: Net) -> None:
    assert logits_of([small_net], check_inputs(32)[:0]).shape == (0, 3)
