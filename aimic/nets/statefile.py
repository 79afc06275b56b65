"""Reading tensors from files. Never a pickle's code: torch.load only with weights_only=True."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from aimic.errors import InvalidInputError, TooLargeError
from aimic.nets.info import BundleInfo

LARGEST_FILE = 4 * 2**30
"""Bytes; VGG-16, the largest of our networks, has 0.55e9."""
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file on the CPU, under plain names.

    Common wrappings are undone: {"state_dict": …} and the like, and a prefix that all names share, such as
    DataParallel's `module.`. InvalidInputError for what is no such file; TooLargeError beyond 4 GiB.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise TooLargeError(f"{path.name} is larger than 4 GiB, which no network of ours needs.")
    content = load_safetensors(path) if _is_safetensors(path) else _load_torch(path)
    return _without_prefix(_unwrap(content, path.name))


def read_bundle_state(directory: Path, index: int) -> dict[str, Tensor]:
    """Weight set `index` of a bundle directory that was verified before."""
    return load_safetensors(directory / "weights" / f"{index}.safetensors")


def read_bundle_states(directory: Path, info: BundleInfo) -> tuple[dict[str, Tensor], ...]:
    """All weight sets of a bundle directory that was verified before."""
    return tuple(read_bundle_state(directory, index) for index in range(info.ensemble))


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; InvalidInputError when it is none."""
    try:
        mapped: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise InvalidInputError(f"{path.name} can't be read as safetensors: {error}") from error
    # These tensors are windows on the file: who wrote into it later would change a network that was checked.
    return {name: tensor.clone() for name, tensor in mapped.items()}


def _is_safetensors(path: Path) -> bool:
    """By content: eight bytes of header length, then the header's opening brace."""
    with path.open("rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _load_torch(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            _refuse_zip_bomb(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (TooLargeError, MemoryError):
        raise
    except Exception as error:  # neither zipfile nor torch says what damaged bytes make them raise
        raise InvalidInputError(
            f"{path.name} can't be read as plain weights. Save it in Python with "
            "torch.save(model.state_dict(), file) and upload that; whole pickled models are never opened."
        ) from error


def _refuse_zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > LARGEST_FILE:
        raise TooLargeError(f"{path.name} would unpack to more than 4 GiB, which no network of ours needs.")


def _unwrap(content: Any, name: str) -> dict[str, Tensor]:
    for _ in range(2):
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if isinstance(content, Mapping):
        state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if state and all(isinstance(key, str) for key in state):
            return state
    raise InvalidInputError(f"{name} holds no named tensors. Save it with torch.save(model.state_dict(), file).")


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in _PREFIXES:
        shared = next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in state)), None)
        if shared is None:
            return state
        state = {key.removeprefix(shared): value for key, value in state.items()}
    return state
