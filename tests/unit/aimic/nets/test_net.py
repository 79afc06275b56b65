"""What learns, what stays, what is given out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aimic.domain.networks import NETWORKS
from aimic.errors import InvalidInputError
from aimic.nets.architectures import ARCHITECTURES, block_names, construct
from aimic.nets.architectures import blocks as blocks_of
from aimic.nets.info import WeightsCard
from aimic.nets.net import Net
from aimic.nets.preprocessing import PLAIN, Preprocessing
from aimic.nets.weights import Weights
from aimic.nets.zoo import build

EXPECTED_BLOCKS = {
    "vgg16": 7,
    "resnet34": 17,
    "resnet50": 17,
    "googlenet": 12,
    "inception_v3": 16,
    "resnext50_32x4d": 17,
    "shufflenet_v2_x1_0": 18,
    "mobilenet_v2": 19,
    "mobilenet_v3_large": 18,
    "efficientnet_b0": 18,
}


def _train_steps(net: Net, steps: int = 3) -> None:
    net.train(True)
    optimizer = torch.optim.SGD(list(net.trainable()), lr=0.1, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    side = net.preprocessing.image_size
    for _ in range(steps):
        x = torch.randn(4, 3, side, side, generator=generator)
        logits, auxiliary = net.forward_train(x)
        loss = sum((value.square().mean() for value in auxiliary), (logits - 1).square().mean())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        optimizer.step()


def _moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("network", ["shufflenet_v2_x1_0", "mobilenet_v3_large", "googlenet"])
def test_frozen_moves_only_the_head(network: str) -> None:
    net = build(network, 3, 32, Weights.none())
    net.set_mode("frozen")
    before = net.state()
    _train_steps(net)
    head = ARCHITECTURES[network].head
    assert _moved(before, net.state()) == {f"{head}.weight", f"{head}.bias"}


@pytest.mark.parametrize(("network", "last"), [("shufflenet_v2_x1_0", 3), ("mobilenet_v2", 1), ("googlenet", 4)])
def test_last_n_moves_only_the_last_blocks(network: str, last: int) -> None:
    net = build(network, 3, 32, Weights.none())
    net.set_mode(f"last:{last}")
    before = net.state()
    _train_steps(net)
    head = ARCHITECTURES[network].head
    learning = (*(f"{name}." for block in net.blocks[-last:] for name in block), f"{head}.")
    moved = _moved(before, net.state())
    assert moved and all(name.startswith(learning) for name in moved)
    assert any("running_mean" in name for name in moved)
    assert any(name.startswith(learning[0]) for name in moved)


def test_full_moves_everything() -> None:
    net = build("shufflenet_v2_x1_0", 3, 32, Weights.none())
    before = net.state()
    _train_steps(net)
    assert _moved(before, net.state()) == set(before)


def test_full_again_after_frozen() -> None:
    net = build("googlenet", 3, 32, Weights.none())
    net.set_mode("frozen")
    x = torch.zeros(2, 3, 32, 32)
    assert net.forward_train(x)[1] == ()
    net.set_mode("full")
    net.train(True)
    assert len(net.forward_train(x)[1]) == 2
    assert all(parameter.requires_grad for parameter in net.module.parameters())


@pytest.mark.parametrize(("mode", "heads"), [("last:3", 0), ("last:4", 1), ("last:7", 2)])
def test_auxiliary_heads_stay_where_they_teach(mode: str, heads: int) -> None:
    """GoogLeNet's read 4a and 4d, the seventh and fourth block from the end."""
    net = build("googlenet", 3, 32, Weights.none())
    net.set_mode(mode)
    net.train(True)
    assert len(net.forward_train(torch.zeros(2, 3, 32, 32))[1]) == heads


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_blocks_hold_every_tensor_but_the_heads(network: str) -> None:
    with torch.device("meta"):
        module = construct(network, transform_input=False, auxiliary=False, initialise=False)
    blocks = blocks_of(network, module)
    assert len(blocks) == EXPECTED_BLOCKS[network] == len(block_names(network))
    names = [name for block in blocks for name in block]
    inside = [name for name in module.state_dict() if name.startswith(tuple(f"{n}." for n in names))]
    head = ARCHITECTURES[network].head
    assert {*inside, f"{head}.weight", f"{head}.bias"} == set(module.state_dict())


def test_too_many_blocks_names_the_most() -> None:
    net = build("mobilenet_v2", 3, 32, Weights.none())
    with pytest.raises(InvalidInputError, match="last:19") as caught:
        net.set_mode("last:20")
    assert caught.value.details == {"most": 19}
    net.set_mode("last:19")
    for wrong in ("last:0", "head", "", "last:-1", "frozen "):
        with pytest.raises(InvalidInputError):
            net.set_mode(wrong)


def test_state_goes_around_and_is_a_copy(small_net: Net) -> None:
    state = small_net.state()
    other = build("shufflenet_v2_x1_0", 3, 32, Weights.none(), seed=99)
    assert _moved(state, other.state())
    other.load_state(state)
    assert not _moved(state, other.state())
    state["fc.bias"].fill_(7)
    assert not torch.equal(other.state()["fc.bias"], state["fc.bias"])
    assert all(tensor.is_contiguous() for tensor in state.values())


def test_state_leaves_auxiliary_heads_out_and_lets_them_be() -> None:
    net = build("googlenet", 3, 32, Weights.none())
    state = net.state()
    assert not any(name.startswith("aux") for name in state)
    before = net.module.state_dict()["aux1.fc1.weight"].clone()
    net.load_state(state)
    assert torch.equal(net.module.state_dict()["aux1.fc1.weight"], before)


def test_anothers_state_is_refused(small_net: Net) -> None:
    before = small_net.state()
    for wrong in (
        {"fc.weight": torch.zeros(3, 1024)},
        {**before, "fc.bias": torch.zeros(4)},
        {**before, "more": torch.zeros(1)},
    ):
        with pytest.raises(InvalidInputError, match="shufflenet_v2_x1_0"):
            small_net.load_state(wrong)
    assert not _moved(before, small_net.state())


def test_train_keeps_frozen_parts_in_evaluation() -> None:
    net = build("mobilenet_v2", 3, 32, Weights.none())
    net.set_mode("last:2")
    net.train(True)
    training = {name for name, layer in net.module.named_modules() if layer.training}
    assert "classifier.0" in training  # dropout before the head
    assert "features.18.1" in training
    assert not any(name.startswith("features.16") for name in training)
    net.train(False)
    assert not any(layer.training for layer in net.module.modules())


@pytest.fixture
def card() -> Callable[[], WeightsCard]:
    return lambda: WeightsCard(kind="none", source="-", sha256=None, licence="-", head_replaced=True)


def test_net_of_a_module_without_auxiliaries(card: Callable[[], WeightsCard], tmp_path: Path) -> None:
    module = construct("googlenet", transform_input=True, auxiliary=False, initialise=False)
    net = Net("googlenet", module, Preprocessing(image_size=32, mean=PLAIN, std=PLAIN), card())
    assert net.transform_input and net.classes == 1000
    net.set_mode("last:9")
    net.train(True)
    assert net.forward_train(torch.zeros(2, 3, 32, 32))[1] == ()
