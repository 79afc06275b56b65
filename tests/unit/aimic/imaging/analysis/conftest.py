"""Drawn cells: look-alikes of one kind, each with a texture of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Draw = Callable[[int], Image]


@dataclass(frozen=True)
class Plain:
    """Decoded pixels and nothing else."""

    pixels: Image


def _smooth(rng: np.random.Generator, size: int, scale: int) -> NDArray[np.float64]:
    coarse = rng.normal(0, 1, (size // scale + 3, size // scale + 3))
    place = np.arange(size) / scale
    rows = np.array([np.interp(place, np.arange(len(coarse)), column) for column in coarse.T]).T
    return np.array([np.interp(place, np.arange(len(coarse)), row) for row in rows])


def draw_cell(seed: int, size: int = 144) -> Image:
    """A dark disc with a lobed nucleus on a light ground [size, size, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2 + rng.normal(0, size / 40, 2)[:, None, None]
    radius = np.hypot(x, y) + _smooth(rng, size, size // 5) * size / 40
    cell = np.clip((size * rng.uniform(0.3, 0.36) - radius) / 3, 0, 1)
    nucleus = cell * np.clip(_smooth(rng, size, size // 6) * 2 + 0.6, 0, 1)
    grain = _smooth(rng, size, size // 24) * 12
    picture = np.array([232, 215, 205]) + rng.normal(0, 4, 3)
    picture = picture - cell[..., None] * np.array([40, 70, 30]) - nucleus[..., None] * np.array([70, 80, 20])
    picture = picture + (grain * (0.3 + cell))[..., None] + rng.normal(0, 2, (size, size, 3))
    drawn: Image = np.clip(picture, 0, 255).astype(np.uint8)
    return drawn


@pytest.fixture(scope="session")
def cell() -> Draw:
    """Draws the cell of a seed."""
    drawn: dict[int, Image] = {}
    return lambda seed: drawn.setdefault(seed, draw_cell(seed))


@pytest.fixture(scope="session")
def plain() -> Callable[[Image], Plain]:
    """Wraps pixels as something decoded."""
    return Plain
