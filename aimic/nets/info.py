"""What a bundle says of itself: the types of `bundle.json`, format 2. No torch here."""

from typing import Any, Final, Literal

from pydantic import Field

from aimic.domain.base import Value
from aimic.domain.executor import Judgement
from aimic.nets.preprocessing import Preprocessing

FORMAT: Final = 2
"""What is written."""
READABLE = (1, FORMAT)
"""Format 1 has no `executors`."""


class WeightsCard(Value):
    """Where the starting weights came from."""

    kind: Literal["none", "imagenet", "file", "bundle"]
    source: str
    """In words: a torchvision weights entry, a file's name, an earlier model; `random initialisation`."""
    sha256: str | None
    """Of the weights file; the bundle hash for an earlier model; None for random initialisation."""
    licence: str
    head_replaced: bool
    """Whether the last layer started anew, since its classes differ."""
    notes: tuple[str, ...] = ()


class Temperature(Value):
    """Temperature scaling (Guo et al. 2017): probabilities = softmax(logits / value)."""

    value: float = Field(1.0, ge=0.25, le=4.0)
    fitted: bool = False
    images: int = 0
    """How many images it was fitted on, or would have been."""
    note: str = ""
    """Why it was not fitted, or why it should be read with care."""


class Member(Value):
    """One training sample of the manifest and what it was used for."""

    sha256: str
    phash: str
    """64-bit perceptual hash, 16 hex digits."""
    fold: int
    """Reported fold, or ALWAYS_TRAIN, LOCKED or SET_ASIDE of aimic/domain/split.py."""


class Head(Value):
    """The last linear layer."""

    layer: str
    """Its name in the network, such as `classifier.1`."""
    features: int
    """How many numbers go in."""


class BundleInfo(Value):
    """`bundle.json`. No clock, no host, no job: the same training gives the same bytes."""

    format: Literal[1, 2] = FORMAT
    network: str
    classes: tuple[str, ...] = Field(min_length=1)
    """In the order of the logits."""
    preprocessing: Preprocessing
    transform_input: bool = False
    """GoogLeNet and Inception-v3 with torchvision's weights renormalise their input themselves."""
    head: Head
    ensemble: int = Field(1, ge=1, le=50)
    """Number of weight sets; their logits are averaged."""
    manifest_hash: str
    membership: tuple[Member, ...]
    split: dict[str, Any]
    """The split's request, seed and number of folds."""
    settings: dict[str, Any]
    metrics: dict[str, Any]
    class_mix: tuple[int, ...]
    """Training images per class."""
    temperature: Temperature
    thresholds: dict[str, float] | None = None
    ood: dict[str, Any] | None = None
    """Reference for telling images of no known class; None: the model knows no such thing."""
    weights_card: WeightsCard
    notes: tuple[str, ...] = ()
    """What the training did differently from the book, such as `without the auxiliary head at 128 px`."""
    executors: tuple[Judgement, ...] = Field((), max_length=20)
    """How those other than eager torch answered on out-of-fold images; who isn't here was not judged, and may not
    serve."""
    libraries: dict[str, str]

    def judgement(self, executor: str) -> Judgement | None:
        """What is kept of an executor of this name."""
        return next((each for each in self.executors if each.executor == executor), None)
