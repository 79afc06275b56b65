"""What we know of each torchvision definition: head, blocks, auxiliary heads, smallest image."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torchvision.models import get_model

from aimic.domain.networks import NETWORKS
from aimic.errors import InvalidInputError


@dataclass(frozen=True)
class Auxiliary:
    """A second classifier that helps training and is gone afterwards."""

    name: str
    last: str
    """Its last linear layer, below `name`."""
    after: str
    """The block whose output it reads."""


@dataclass(frozen=True)
class Architecture:
    """One network. `layout` names blocks from input to output, as `last:N` counts them from the end:
    `a+b` is one block of two layers, `a.*` one block per child of `a`.
    """

    head: str
    layout: tuple[str, ...]
    auxiliaries: tuple[Auxiliary, ...] = ()
    auxiliary_size: int = 0
    """Smallest image at which the auxiliary heads work."""
    smallest: int = 32
    inits: bool = False
    """Whether the builder takes `init_weights`, `transform_input` and `aux_logits`."""


_RESNET = Architecture("fc", ("conv1+bn1", "layer1.*", "layer2.*", "layer3.*", "layer4.*"))
_VGG = Architecture(
    "classifier.6",
    (
        "features.0+features.2",
        "features.5+features.7",
        "features.10+features.12+features.14",
        "features.17+features.19+features.21",
        "features.24+features.26+features.28",
        "classifier.0",
        "classifier.3",
    ),
)
_GOOGLENET = Architecture(
    "fc",
    (
        *("conv1", "conv2", "conv3", "inception3a", "inception3b", "inception4a", "inception4b"),
        *("inception4c", "inception4d", "inception4e", "inception5a", "inception5b"),
    ),
    (Auxiliary("aux1", "fc2", "inception4a"), Auxiliary("aux2", "fc2", "inception4d")),
    inits=True,
)
# 299 px leave 17 × 17 before the auxiliary head, the least from which its pooling makes the 5 × 5
# that its convolution needs; below 75 px nothing is left for the last reduction.
_INCEPTION = Architecture(
    "fc",
    (
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    ),
    (Auxiliary("AuxLogits", "fc", "Mixed_6e"),),
    auxiliary_size=299,
    smallest=75,
    inits=True,
)
_EFFICIENTNET = Architecture(
    "classifier.1", ("features.0", *(f"features.{stage}.*" for stage in range(1, 8)), "features.8")
)

ARCHITECTURES: dict[str, Architecture] = {
    "vgg16": _VGG,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "googlenet": _GOOGLENET,
    "inception_v3": _INCEPTION,
    "resnext50_32x4d": _RESNET,
    "shufflenet_v2_x1_0": Architecture("fc", ("conv1", "stage2.*", "stage3.*", "stage4.*", "conv5")),
    "mobilenet_v2": Architecture("classifier.1", ("features.*",)),
    "mobilenet_v3_large": Architecture("classifier.3", ("features.*", "classifier.0")),
    "efficientnet_b0": _EFFICIENTNET,
}


def architecture(network: str) -> Architecture:
    """The architecture by torchvision's name; InvalidInputError lists the names there are."""
    if network not in ARCHITECTURES:
        raise InvalidInputError(f"There is no network {network!r}. Choose from {', '.join(NETWORKS)}.")
    return ARCHITECTURES[network]


def check_size(network: str, image_size: int) -> None:
    """InvalidInputError, naming the smallest size, when images are too small for the network."""
    smallest = architecture(network).smallest
    if image_size < smallest:
        raise InvalidInputError(
            f"{NETWORKS[network].title} needs images of at least {smallest} pixels a side, not {image_size}. "
            f"Choose image size {smallest} or more, or another network.",
            smallest=smallest,
        )


def construct(network: str, *, transform_input: bool, auxiliary: bool, initialise: bool = True) -> nn.Module:
    """torchvision's own definition with its 1,000 outputs, on whatever torch.device is in force."""
    options: dict[str, bool] = {}
    if architecture(network).inits:
        options = {"transform_input": transform_input, "aux_logits": auxiliary, "init_weights": initialise}
    elif network == "vgg16":
        options = {"init_weights": initialise}
    module: nn.Module = get_model(network, weights=None, **options)
    return module


def blocks(network: str, module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """The names of the layers of each block, from input to output; head and auxiliary heads are in none."""
    found: list[tuple[str, ...]] = []
    for entry in architecture(network).layout:
        if entry.endswith(".*"):
            parent = entry.removesuffix(".*")
            found += [(f"{parent}.{name}",) for name, _ in module.get_submodule(parent).named_children()]
        else:
            found.append(tuple(entry.split("+")))
    return tuple(found)


@cache
def block_names(network: str) -> tuple[str, ...]:
    """What `last:N` can count, for showing; made without allocating any weights."""
    with torch.device("meta"):
        module = construct(network, transform_input=False, auxiliary=False, initialise=False)
    return tuple("+".join(block) for block in blocks(network, module))
