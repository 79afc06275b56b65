"""Which weights a network starts from, and finding them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from torch import Tensor
from torchvision.models import WeightsEnum, get_weight

from aimic.domain.networks import NETWORKS
from aimic.errors import CorruptError, InvalidInputError
from aimic.nets.bundle import inspect
from aimic.nets.info import BundleInfo, WeightsCard
from aimic.nets.statefile import read_bundle_state, read_state

TORCHVISION_LICENCE = "BSD-3-Clause (torchvision); learned on ImageNet, whose pictures have terms of their own"
UNKNOWN_LICENCE = "not stated by the file; ask where it came from"


@dataclass(frozen=True)
class Weights:
    """A wish for starting weights. Make one with `none`, `imagenet`, `file` or `bundle`."""

    kind: Literal["none", "imagenet", "file", "bundle"]
    path: Path | None = None
    """The file; or for `bundle` its directory; or for `imagenet` AIMIC_WEIGHTS_DIR."""
    name: str | None = None
    """What to call it in the card."""
    sha256: str | None = None
    """What the file must hash to (or the bundle's hash), where known."""

    @classmethod
    def none(cls) -> Self:
        """Random initialisation."""
        return cls("none")

    @classmethod
    def imagenet(cls, directory: Path | None) -> Self:
        """Learned on ImageNet: from `directory` (AIMIC_WEIGHTS_DIR), else torchvision's own download."""
        return cls("imagenet", directory)

    @classmethod
    def file(cls, path: Path, name: str | None = None, sha256: str | None = None) -> Self:
        """A .pth (read with weights_only=True) or .safetensors file under torchvision's tensor names."""
        return cls("file", path, name, sha256)

    @classmethod
    def bundle(cls, directory: Path, name: str | None = None, sha256: str | None = None) -> Self:
        """An earlier model of the platform."""
        return cls("bundle", directory, name, sha256)


@dataclass(frozen=True)
class Found:
    """Weights in memory, and their card; `info` when they are an earlier model's."""

    state: dict[str, Tensor]
    card: WeightsCard
    info: BundleInfo | None = None


def resolve(network: str, weights: Weights) -> Found:
    """Find and read the weights.

    InvalidInputError when there are none, saying where was looked and what to do; CorruptError when the
    bytes are not what their hash says.
    """
    if weights.kind == "none":
        card = WeightsCard(kind="none", source="random initialisation", sha256=None, licence="none", head_replaced=True)
        return Found({}, card)
    if weights.kind == "bundle":
        return _bundle(network, weights)
    if weights.kind == "imagenet":
        return _imagenet(network, weights.path)
    return _file(network, weights)


def torchvision_entry(network: str) -> WeightsEnum:
    """torchvision's weights entry for the network."""
    return get_weight(NETWORKS[network].weights)


def _imagenet(network: str, directory: Path | None) -> Found:
    entry = torchvision_entry(network)
    original = entry.url.rsplit("/", 1)[-1]
    names = (f"{network}.pth", f"{network}.safetensors", original)
    present = [directory / name for name in names if (directory / name).is_file()] if directory else []
    source = f"torchvision {NETWORKS[network].weights}"
    if present:
        return _found("imagenet", present[0], source, original)
    return _found("imagenet", _download(network, entry, directory, names), source, original)


def _download(network: str, entry: WeightsEnum, directory: Path | None, names: tuple[str, ...]) -> Path:
    """torchvision's own way, which keeps the file in torch's cache."""
    from torch.hub import get_dir

    cached = Path(get_dir()) / "checkpoints" / names[-1]
    try:
        entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        looked = f"{directory} has no {', '.join(names)}" if directory else "AIMIC_WEIGHTS_DIR is not set"
        raise InvalidInputError(
            f"There are no ImageNet weights for {NETWORKS[network].title}: {looked}, and torchvision's download "
            f"failed ({error}). Put {names[-1]} from {entry.url} into the directory that AIMIC_WEIGHTS_DIR "
            "names, or start from weights none."
        ) from error
    return cached


def _file(network: str, weights: Weights) -> Found:
    assert weights.path is not None
    if not weights.path.is_file():
        raise InvalidInputError(f"There is no weights file {weights.path}. Upload it again, or choose other weights.")
    digest = file_sha256(weights.path)
    if weights.sha256 is not None and weights.sha256 != digest:
        raise CorruptError("The weights file has changed since it was uploaded. Upload it again.")
    name = weights.name or weights.path.name
    return _found("file", weights.path, f"file {name}", torchvision_entry(network).url.rsplit("/", 1)[-1])


def _found(kind: Literal["imagenet", "file"], path: Path, source: str, original: str) -> Found:
    """Read the file; the card calls it torchvision's own only if its bytes are (their names end in the hash)."""
    digest = file_sha256(path)
    its_own = digest.startswith(original.rsplit("-", 1)[-1].removesuffix(".pth"))
    notes: tuple[str, ...] = ()
    if kind == "imagenet" and not its_own:
        source = f"file {path.name}"
        notes = ("The ImageNet weights are not the bytes that torchvision publishes.",)
    card = WeightsCard(
        kind=kind,
        source=source,
        sha256=digest,
        licence=TORCHVISION_LICENCE if its_own else UNKNOWN_LICENCE,
        head_replaced=True,
        notes=notes,
    )
    return Found(read_state(path), card)


def _bundle(network: str, weights: Weights) -> Found:
    assert weights.path is not None
    bundle = inspect(weights.path, weights.sha256)
    info = bundle.info
    if info.network != network:
        raise InvalidInputError(f"That model is a {info.network}; a {network} can't start from it.")
    if info.ensemble != 1:
        raise InvalidInputError("That model is an ensemble of several networks; start from a single one.")
    source = f"earlier model {weights.name or bundle.hash[:12]}, itself from {info.weights_card.source}"
    card = WeightsCard(
        kind="bundle",
        source=source,
        sha256=bundle.hash,
        licence=info.weights_card.licence,
        head_replaced=False,
    )
    return Found(read_bundle_state(weights.path, 0), card, info)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
