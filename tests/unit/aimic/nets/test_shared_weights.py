"""Real weights, where the machine has them beside the repository (see ../shared/weights/SOURCE.md)."""

from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from aimic.nets.normalise import normalise
from aimic.nets.package import check_inputs
from aimic.nets.weights import Weights
from aimic.nets.zoo import build

SHARED = Path(__file__).parents[5] / "shared" / "weights"
here = pytest.mark.skipif(not (SHARED / "mobilenet_v2.pth").is_file(), reason=f"no weights in {SHARED}")


@here
def test_mobilenet_v2_answers_as_in_torchvision() -> None:
    state = torch.load(SHARED / "mobilenet_v2.pth", weights_only=True)
    reference = mobilenet_v2()
    reference.load_state_dict(state, strict=True)
    reference.eval().to(memory_format=torch.channels_last)
    net = build("mobilenet_v2", 1000, 224, Weights.imagenet(SHARED))
    net.head.load_state_dict({name: state[f"classifier.1.{name}"] for name in ("weight", "bias")})
    net.train(False)
    x = normalise(torch.from_numpy(check_inputs(224)[:2]), net.preprocessing)
    with torch.inference_mode():
        assert torch.equal(net.module(x), reference(x))


@here
def test_features_without_a_classifier_are_enough() -> None:
    file = SHARED / "mobilenet_v2.deepsort_features_only.pth"
    state = torch.load(file, weights_only=True)
    net = build("mobilenet_v2", 5, 64, Weights.file(file))
    found = net.state()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert net.weights_card.head_replaced and net.classes == 5
