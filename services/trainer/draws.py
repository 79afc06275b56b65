"""Every random draw is a pure function of (seed, epoch, sample, purpose), never of a stream.

So a run that was killed and resumed draws what the unbroken one draws, whatever the order of the work.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def draw(seed: int, epoch: int, name: str, purpose: str) -> int:
    """63 random bits (BLAKE2b of the four)."""
    text = f"{seed}/{epoch}/{name}/{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def epoch_order(indices: Sequence[int], hashes: Sequence[str], seed: int, epoch: int) -> list[int]:
    """The samples in the order of one epoch; depends on the set of samples, not on how it was listed."""
    return sorted(indices, key=lambda index: (draw(seed, epoch, hashes[index], "order"), index))


def batches(order: Sequence[int], size: int) -> list[list[int]]:
    """Batches of `size`; a last batch of one joins the one before, since batch norm needs company."""
    parts = [list(order[start : start + size]) for start in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        single = parts.pop()
        parts[-1] += single
    return parts


def flips_turns(pixels: NDArray[np.uint8], names: Sequence[str], seed: int, epoch: int) -> NDArray[np.uint8]:
    """Each image [n, S, S, 3] in one of its eight positions (quarter turns, mirrored or not).

    Cells lie on the slide in any of them, so the label stays.
    """
    turned = np.empty_like(pixels)
    for place, (image, name) in enumerate(zip(pixels, names, strict=True)):
        position = draw(seed, epoch, name, "flips_turns") & 7
        moved = np.rot90(image, position >> 1)
        turned[place] = moved[:, ::-1] if position & 1 else moved
    return turned
