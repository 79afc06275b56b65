"""The one-cycle rate against torch's own scheduler."""

import pytest
import torch

from services.trainer.schedule import rates


@pytest.mark.parametrize("steps", [2, 3, 10, 137])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_gives_the_rates_of_torch(steps: int, kind: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW([parameter]) if kind == "adamw" else torch.optim.SGD([parameter], lr=1, momentum=0.9)
    )
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        group = optimizer.param_groups[0]
        ours = rates("onecycle", step, steps, 3e-3)
        assert ours.lr == pytest.approx(group["lr"], rel=1e-9)
        momentum = group["betas"][0] if kind == "adamw" else group["momentum"]
        assert ours.momentum == pytest.approx(momentum, rel=1e-9)
        optimizer.step()
        if step + 1 < steps:
            theirs.step()


def test_one_step_alone_is_taken() -> None:
    assert 0 < rates("onecycle", 0, 1, 1e-3).lr <= 1e-3


def test_constant_is_constant() -> None:
    assert {rates("constant", step, 9, 0.1).lr for step in range(9)} == {0.1}
