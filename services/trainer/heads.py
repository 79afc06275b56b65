"""Linear heads by L-BFGS on features: mean cross-entropy + λ‖W‖², the bias not penalised.

The same objective as scikit-learn's LogisticRegression with C = 1 / (2 λ n), to the same probabilities.
Each head has its own step lengths and its own end, so that a fold alone gives the same head as among others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

Floats = NDArray[np.float64]

LAMBDAS = tuple(10.0**exponent for exponent in (-1, -1.5, -2, -2.5, -3, -3.5, -4, -4.5, -5))
"""From strong to weak, so that each head starts from its neighbour's."""
WORSE_IN_A_ROW = 2
"""λ gets no weaker once this many in a row were worse on the inner part: the loss over λ has one valley."""
CHOICE_TOLERANCE = 1e-4
FINAL_TOLERANCE = 1e-7
"""Largest entry of the scaled gradient at which a head is done."""
NO_LENGTH = 1e-10
"""Share of the longest axis' variance below which features don't vary along an axis."""


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each feature on the part that fits the head."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, features: Floats) -> "Standard":
        """From features [n, d]; a feature that never changes keeps its scale."""
        scale = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(scale > 1e-8, scale, 1.0))

    def __call__(self, features: Floats) -> Floats:
        """(features − mean) / scale."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True)
class Head:
    """logits = features · weightᵀ + bias."""

    weight: Floats
    """[classes, d]"""
    bias: Floats
    """[classes]"""

    def logits(self, features: Floats) -> Floats:
        """[n, classes]."""
        return features @ self.weight.T + self.bias

    def folded(self, standard: Standard) -> "Head":
        """The head that gives the same logits for features that are not standardised."""
        weight = self.weight / standard.scale
        return Head(weight, self.bias - weight @ standard.mean)


class Problem:
    """Fitting a head to standardised features [n, d] and classes [n].

    Solved on the principal axes of the features, each scaled by the square root of its curvature: the same
    minimum, reached in tens of steps instead of thousands, since the axes of deep features differ in length
    by powers of ten. Turning the axes leaves ‖W‖ as it is; axes on which nothing varies get weight 0, as
    the penalty wants.
    """

    def __init__(
        self, features: Floats, targets: NDArray[np.int64], classes: int, at_step: Callable[[], None] = lambda: None
    ) -> None:
        """`at_step()` at each of the hundreds of steps, which may end it by raising something."""
        self._at_step = at_step
        self._y = torch.from_numpy(targets)
        self._classes = classes
        x = torch.from_numpy(np.ascontiguousarray(features))
        self._variance, self._axes = _principal_axes(x)
        self._x = x @ self._axes

    def solve(self, strength: float, start: Head | None, tolerance: float) -> Head:
        """The head of least mean cross-entropy + `strength`·‖W‖².

        Convex, so the start decides only how long it takes. Absent classes are learned as never right.
        """
        # Imported here: it takes 20 MiB, which the child of a fold can do without.
        from scipy.optimize import minimize

        begin = self._zero() if start is None else self._turned(start)
        scale = self._scale(begin, strength)

        def value_and_slope(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            self._at_step()
            value, slope = self._value_and_slope(torch.from_numpy(flat).view_as(scale) * scale, strength)
            return value, (slope * scale).numpy().ravel()

        options: Any = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": tolerance, "maxcor": 20}
        first = (begin / scale).numpy().ravel()
        objective: Any = value_and_slope  # scipy's own types know no function that gives both
        found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
        table = torch.from_numpy(found.x).view_as(scale) * scale
        return Head((table[:, :-1] @ self._axes.T).numpy(), table[:, -1].numpy().copy())

    def _zero(self) -> torch.Tensor:
        return torch.zeros(self._classes, self._x.shape[1] + 1, dtype=torch.float64)

    def _turned(self, head: Head) -> torch.Tensor:
        return torch.cat([torch.from_numpy(head.weight) @ self._axes, torch.from_numpy(head.bias)[:, None]], 1)

    def _scale(self, table: torch.Tensor, strength: float) -> torch.Tensor:
        """1/√curvature of each weight, with the mean of p(1-p) at the start for that of the softmax."""
        share = self._logits(table).softmax(1)
        spread = float((share * (1 - share)).mean().clamp(min=1e-3))
        curvature = torch.cat([self._variance * spread + 2 * strength, torch.tensor([spread]).double()])
        return curvature.rsqrt().expand_as(table).contiguous()

    def _logits(self, table: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._x @ table[:, :-1].T + table[:, -1]
        return logits

    def _value_and_slope(self, table: torch.Tensor, strength: float) -> tuple[float, torch.Tensor]:
        weight = table[:, :-1]
        logs = self._logits(table).log_softmax(1)
        rows = torch.arange(len(self._y))
        value = -logs[rows, self._y].mean() + strength * weight.square().sum()
        excess = logs.exp()
        excess[rows, self._y] -= 1
        excess /= len(self._y)
        slope = torch.cat([excess.T @ self._x + 2 * strength * weight, excess.sum(0)[:, None]], dim=1)
        return float(value), slope


def _principal_axes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances [a] and unit axes [d, a] of features [n, d], a ≤ min(n, d), from the smaller Gram matrix."""
    few = len(x) < x.shape[1]
    lengths, turned = torch.linalg.eigh((x @ x.T if few else x.T @ x) / len(x))
    kept = lengths > NO_LENGTH * float(lengths[-1].clamp(min=1e-30))
    lengths, turned = lengths[kept], turned[:, kept]
    axes = x.T @ turned / (len(x) * lengths).sqrt() if few else turned
    return lengths, axes.contiguous()


def loss_of(head: Head, features: Floats, targets: NDArray[np.int64]) -> float:
    """Mean cross-entropy in nats."""
    return float(cross_entropy(torch.from_numpy(head.logits(features)), torch.from_numpy(targets)))


@dataclass(frozen=True)
class Choice:
    """The λ of least loss on the inner part, the losses that were seen, and the head found for it."""

    strength: float
    losses: dict[float, float]
    head: Head


def choose_strength(
    features: Floats,
    targets: NDArray[np.int64],
    inner_features: Floats,
    inner_targets: NDArray[np.int64],
    classes: int,
    at_step: Callable[[], None] = lambda: None,
) -> Choice:
    """λ from LAMBDAS by the inner part's loss; features are standardised already. Of equals, the stronger."""
    losses: dict[float, float] = {}
    problem = Problem(features, targets, classes, at_step)
    head: Head | None = None
    best: Choice | None = None
    worse = 0
    for strength in LAMBDAS:
        head = problem.solve(strength, head, CHOICE_TOLERANCE)
        losses[strength] = loss_of(head, inner_features, inner_targets)
        if best is None or losses[strength] < losses[best.strength]:
            best, worse = Choice(strength, losses, head), 0
        else:
            worse += 1
        if worse == WORSE_IN_A_ROW:
            break
    assert best is not None
    return best
