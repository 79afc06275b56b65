"""Building: seeds, sizes, heads, auxiliary heads, restoring."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aimic.errors import InvalidInputError
from aimic.nets.bundle import verify
from aimic.nets.net import Net
from aimic.nets.package import Training, package
from aimic.nets.statefile import read_bundle_state
from aimic.nets.weights import Weights
from aimic.nets.zoo import build, restore


def _equal(one: Net, other: Net) -> bool:
    a, b = one.module.state_dict(), other.module.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("network", ["shufflenet_v2_x1_0", "googlenet"])
def test_the_seed_alone_decides(network: str) -> None:
    torch.manual_seed(1)
    one = build(network, 3, 32, Weights.none(), seed=7)
    torch.manual_seed(2)
    torch.rand(5)
    before = torch.get_rng_state()
    two = build(network, 3, 32, Weights.none(), seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert _equal(one, two)
    assert not _equal(one, build(network, 3, 32, Weights.none(), seed=8))


def test_first_loss_is_chance() -> None:
    net = build("mobilenet_v2", 8, 32, Weights.none())
    net.train(False)
    with torch.inference_mode():
        logits = net.module(torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(16) % 8)
    assert float(loss) == pytest.approx(math.log(8), abs=0.1)
    assert not net.head.bias.any()


def test_new_network_is_ready_to_train() -> None:
    net = build("mobilenet_v2", 3, 32, Weights.none())
    assert net.module.training and net.mode == "full"
    weight = net.module.state_dict()["features.1.conv.1.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("network", "size", "smallest"), [("inception_v3", 74, 75), ("vgg16", 31, 32)])
def test_too_small_names_the_smallest(network: str, size: int, smallest: int) -> None:
    with pytest.raises(InvalidInputError, match=f"at least {smallest}") as caught:
        build(network, 3, size, Weights.none())
    assert caught.value.details == {"smallest": smallest}


def test_unknown_network_lists_the_ten() -> None:
    with pytest.raises(InvalidInputError, match="mobilenet_v2"):
        build("alexnet", 3, 64, Weights.none())
    with pytest.raises(InvalidInputError):
        build("mobilenet_v2", 0, 64, Weights.none())


def test_inception_below_299_trains_without_its_auxiliary_head() -> None:
    net = build("inception_v3", 3, 128, Weights.none())
    assert len(net.notes) == 1 and "128 px" in net.notes[0] and "299" in net.notes[0]
    assert net.forward_train(torch.zeros(2, 3, 128, 128))[1] == ()
    net.set_mode("frozen")
    assert not net.notes


def test_inception_at_299_has_one_auxiliary_head() -> None:
    net = build("inception_v3", 3, 299, Weights.none())
    assert net.notes == ()
    with torch.no_grad():
        logits, auxiliary = net.forward_train(torch.zeros(2, 3, 299, 299))
    assert logits.shape == (2, 3) and [value.shape for value in auxiliary] == [(2, 3)]
    net.set_mode("frozen")
    assert not [name for name in net.module.state_dict() if name.startswith("AuxLogits")]


def test_googlenet_takes_over_its_auxiliary_heads(tmp_path: Path) -> None:
    source = build("googlenet", 1000, 32, Weights.none(), seed=3)
    whole = source.module.state_dict()
    torch.save(whole, tmp_path / "with.pth")
    net = build("googlenet", 3, 32, Weights.file(tmp_path / "with.pth"), seed=4)
    own = net.module.state_dict()
    assert torch.equal(own["aux1.fc1.weight"], whole["aux1.fc1.weight"])
    assert own["aux2.fc2.weight"].shape == (3, 1024)
    assert net.transform_input and net.notes == ()
    torch.save(source.state(), tmp_path / "without.pth")
    without = build("googlenet", 3, 32, Weights.file(tmp_path / "without.pth"), seed=4)
    assert "start anew" in without.notes[0]
    assert torch.equal(without.module.state_dict()["conv1.conv.weight"], whole["conv1.conv.weight"])


def test_transform_input_travels_in_the_bundle(training: Callable[[int], Training], tmp_path: Path) -> None:
    torch.save(build("googlenet", 9, 32, Weights.none()).state(), tmp_path / "any.pth")
    net = build("googlenet", 3, 32, Weights.file(tmp_path / "any.pth"))
    package(tmp_path / "bundle", net, training(3))
    info = verify(tmp_path / "bundle")
    assert info.transform_input
    assert restore(info, read_bundle_state(tmp_path / "bundle", 0)).transform_input
    assert build("googlenet", 3, 32, Weights.bundle(tmp_path / "bundle")).transform_input


def test_restored_network_is_whole_and_quiet(bundle_dir: Path, small_net: Net) -> None:
    net = restore(verify(bundle_dir), read_bundle_state(bundle_dir, 0))
    assert not net.module.training
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in net.module.parameters())
    assert _equal(net, small_net)


def test_restoring_what_does_not_fit(bundle_dir: Path) -> None:
    state = read_bundle_state(bundle_dir, 0)
    del state["fc.bias"]
    with pytest.raises(InvalidInputError, match="shufflenet"):
        restore(verify(bundle_dir), state)
