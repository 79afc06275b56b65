"""Each of the ten networks, from each kind of weights, through training mode to a served bundle."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from aimic.domain.networks import NETWORKS
from aimic.nets.architectures import ARCHITECTURES
from aimic.nets.net import Net
from aimic.nets.normalise import normalise
from aimic.nets.package import Training, check_inputs, package
from aimic.nets.runner import load
from aimic.nets.weights import Weights, torchvision_entry
from aimic.nets.zoo import build

SIZES = {name: max(32, known.smallest) for name, known in ARCHITECTURES.items()}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def hub(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """torch's download cache with a seeded random file under torchvision's own name; the file."""
    home = tmp_path_factory.mktemp("hub")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(home))
    options: dict[str, Any] = {}
    if network in {"googlenet", "inception_v3"}:
        options = {"init_weights": False, "aux_logits": True}
    elif network == "vgg16":
        options = {"init_weights": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = get_model(network, weights=None, **options)
        _move_statistics(module)
    file = home / "checkpoints" / torchvision_entry(network).url.rsplit("/", 1)[-1]
    file.parent.mkdir()
    torch.save(module.state_dict(), file)
    yield file
    torch.hub.set_dir(before)
    shutil.rmtree(home)


def _move_statistics(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)


@pytest.fixture(scope="module")
def pretrained(network: str, hub: Path) -> Net:
    """Ours, from the download cache, with the 1,000-class head of the file put back."""
    net = build(network, 1000, SIZES[network], Weights.imagenet(None), seed=5)
    state = torch.load(hub, weights_only=True)
    head = ARCHITECTURES[network].head
    net.head.load_state_dict({name: state[f"{head}.{name}"] for name in ("weight", "bias")})
    return net


def _pictures(net: Net, count: int = 2) -> torch.Tensor:
    return normalise(torch.from_numpy(check_inputs(net.preprocessing.image_size)[:count]), net.preprocessing)


def test_same_logits_as_torchvisions_own_path(network: str, hub: Path, pretrained: Net) -> None:
    reference = get_model(network, weights=torchvision_entry(network)).eval()
    reference.to(memory_format=torch.channels_last)
    pretrained.train(False)
    x = _pictures(pretrained)
    with torch.inference_mode():
        expected, found = reference(x), pretrained.module(x)
    assert torch.equal(found, expected)
    assert found.std() > 0
    book = torchvision_entry(network).transforms()
    assert pretrained.preprocessing.mean == tuple(book.mean)
    assert pretrained.preprocessing.std == tuple(book.std)


def test_features_and_head_are_the_network(pretrained: Net) -> None:
    pretrained.train(False)
    x = _pictures(pretrained)
    with torch.inference_mode():
        features = pretrained.features(x)
        assert features.shape == (2, pretrained.head.in_features)
        assert torch.equal(pretrained.head(features), pretrained.module(x))


def test_random_start_trains_a_step(network: str) -> None:
    net = build(network, 4, SIZES[network], Weights.none(), seed=2)
    assert net.weights_card.kind == "none"
    assert net.preprocessing.mean == (0.5, 0.5, 0.5)
    assert not net.transform_input
    logits, auxiliary = net.forward_train(_pictures(net))
    assert logits.shape == (2, 4)
    assert len(auxiliary) == (2 if network == "googlenet" else 0)
    sum((value.sum() for value in auxiliary), logits.sum()).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in net.trainable())


def test_serves_what_it_was_and_starts_a_new_one(
    network: str, hub: Path, training: Callable[[int], Training], tmp_path: Path
) -> None:
    net = build(network, 4, SIZES[network], Weights.file(hub), seed=5)
    logits, _ = net.forward_train(_pictures(net))
    assert logits.shape == (2, 4)
    net.train(False)
    made = package(tmp_path / "bundle", net, training(4))
    runner = load(tmp_path / "bundle", torch.device("cpu"), Lock())
    assert runner.hash == made
    pixels = check_inputs(SIZES[network])[:2]
    with torch.inference_mode():
        expected = net.module(_pictures(net)).numpy()
    assert not (expected[0] == expected[1]).all()
    assert (runner.logits(pixels) == expected).all()
    earlier = Weights.bundle(tmp_path / "bundle", sha256=made)
    again = build(network, 4, SIZES[network], earlier, seed=9, class_names=training(4).classes)
    again.train(False)
    with torch.inference_mode():
        assert torch.equal(again.module(_pictures(again)), torch.from_numpy(expected))
    assert not again.weights_card.head_replaced
    shutil.rmtree(tmp_path / "bundle")
