"""Features and logits come out of the same arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from aimic.nets import forward
from aimic.nets.net import Net
from aimic.nets.package import check_inputs


@pytest.fixture(autouse=True)
def evaluating(small_net: Net) -> None:
    """The shared network, as these functions ask for it: in training mode it would learn from what it sees."""
    small_net.train(False)


def test_features_give_the_logits(small_net: Net) -> None:
    pixels = check_inputs(32)
    features = forward.features_of(small_net, pixels)
    assert features.shape == (32, small_net.head.in_features)
    with torch.inference_mode():
        logits = small_net.head(torch.tensor(features)).numpy()
    np.testing.assert_allclose(logits, forward.logits_of([small_net], pixels), atol=1e-6)


def test_features_are_computed_in_full_float32_like_logits(small_net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[str] = []
    real = small_net.features

    @contextmanager
    def full_float32(device: str) -> Iterator[None]:
        inside.append(device)
        yield
        inside.pop()

    def features(x: torch.Tensor) -> torch.Tensor:
        assert inside == ["cpu"]
        return real(x)

    monkeypatch.setattr(forward, "full_float32", full_float32)
    monkeypatch.setattr(small_net, "features", features)
    forward.features_of(small_net, check_inputs(32)[:2])


def test_a_gpu_rounds_no_convolution_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with forward.full_float32("cuda"):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_features_are_the_same_on_every_device_there_is(small_net: Net, device: str) -> None:
    here = forward.features_of(small_net, check_inputs(32))
    small_net.module.to(device)
    try:
        there = forward.features_of(small_net, check_inputs(32), device)
    finally:
        small_net.module.to("cpu")
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)
