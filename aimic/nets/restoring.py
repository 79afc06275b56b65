"""A bundle's networks and check, read from its directory."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aimic.errors import CorruptError, InvalidInputError
from aimic.nets.bundle import BundleInfo
from aimic.nets.net import Net
from aimic.nets.statefile import load_safetensors, read_bundle_states
from aimic.nets.zoo import restore


def restored(directory: Path, info: BundleInfo) -> tuple[Net, ...]:
    """The networks of a verified bundle, in evaluation mode on the CPU; CorruptError when weights don't fit it."""
    try:
        return tuple(restore(info, state) for state in read_bundle_states(directory, info))
    except InvalidInputError as error:
        raise CorruptError(f"The model's weights don't fit what it says of itself: {error.message}") from error


def check_tensors(directory: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The check pictures [32, S, S, 3] and the logits [32, classes] that they must give."""
    tensors = load_safetensors(directory / "check.safetensors")
    if set(tensors) != {"inputs", "logits"}:
        raise CorruptError("The model's check is not as we write it. It is not used.")
    return tensors["inputs"].numpy(), tensors["logits"].numpy()
