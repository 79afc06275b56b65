"""What the protocol is told of us and of a model: names, tensors, versions, readiness."""

from dataclasses import dataclass
from importlib.metadata import version

from aimic.errors import NotFoundError
from services.inference.catalogue import Catalogue

SERVER = "aimic"
VERSION = version("aimic")
EXTENSIONS = ("binary_tensor_data", "classification")
PLATFORM = "aimic_bundle"
"""`<project>_<format>`, as the protocol wishes."""

IMAGES = "images"
PIXELS = "pixels"
FREE = -1
"""A size that the caller chooses, or that isn't known yet."""
_LONGEST_VERSION = 9


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, datatype and shape of a tensor that a model takes or gives."""

    name: str
    datatype: str
    shape: tuple[int, ...]


INPUTS = (TensorInfo(IMAGES, "BYTES", (FREE,)), TensorInfo(PIXELS, "UINT8", (FREE, FREE, FREE, 3)))
"""Two ways to say the same, of which a request uses one: image files, or decoded RGB pixels, NHWC."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a client is told of a model."""

    name: str
    versions: tuple[str, ...]
    outputs: tuple[TensorInfo, ...]
    inputs: tuple[TensorInfo, ...] = INPUTS
    platform: str = PLATFORM


def version_of(text: str) -> int | None:
    """A version as the protocol writes it; empty: the one that serves. NotFoundError for what can't be one."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_VERSION):
        raise NotFoundError(f"There is no version {text[:40]!r} here; versions are whole numbers, such as 1.")
    return int(text)


def outputs_with(classes: int) -> tuple[TensorInfo, ...]:
    """The outputs of a model that tells so many classes apart."""
    return (
        TensorInfo("label", "BYTES", (FREE,)),
        TensorInfo("probabilities", "FP32", (FREE, classes)),
        TensorInfo("abstained", "BOOL", (FREE,)),
        TensorInfo("reason", "BYTES", (FREE,)),
        TensorInfo("classes", "BYTES", (classes,)),
    )


def model_info(catalogue: Catalogue, site: str, name: str, version: int | None) -> ModelInfo:
    """NotFoundError for an unknown model. The number of classes is known once the version is in memory."""
    model = catalogue.resolve(site, name, version).model
    classes = len(model.loaded.classes) if model else FREE
    versions = tuple(str(served.entry.version) for served in catalogue.at(site, name))
    return ModelInfo(name, versions, outputs_with(classes))


def is_ready(catalogue: Catalogue, site: str, name: str, version: int | None) -> bool:
    """Whether the version is in memory and answers; NotFoundError for an unknown one."""
    return catalogue.resolve(site, name, version).model is not None
