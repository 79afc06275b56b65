"""What the Train page offers, and the request that comes of a person's choices."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from aimic.domain.dataset import DatasetVersion
from aimic.domain.job import JobRequest, TrainSettings
from aimic.domain.networks import NETWORKS
from aimic.domain.split import SplitRequest
from aimic.errors import InvalidInputError
from services.dashboard.views.words import listed, percent, plural

ADVICE = {
    "mobilenet_v2": "small and quick; a good first choice",
    "mobilenet_v3_large": "small and quick, a newer design",
    "shufflenet_v2_x1_0": "the smallest, for slow computers",
    "efficientnet_b0": "small and accurate, slower to train",
    "googlenet": "middle-sized, an older design",
    "resnet34": "middle-sized, robust",
    "resnet50": "large, often a little more accurate",
    "resnext50_32x4d": "large, often the most accurate; slow",
    "inception_v3": "large, looks at finer detail; slow",
    "vgg16": "very large and slow; to compare with older work",
}
"""One line per network, in the order in which they are offered."""

Start = Literal["imagenet", "none", "model", "file"]
STARTS: dict[Start, str] = {
    "imagenet": "A network that has seen a million photographs (recommended)",
    "model": "One of your own models",
    "file": "A weights file",
    "none": "Nothing: learn from these images alone",
}
Depth = Literal["frozen", "full", "last"]
DEPTHS: dict[Depth, str] = {"frozen": "Quick", "full": "Thorough", "last": "In between"}
DEPTH_HELP: dict[Depth, str] = {
    "frozen": "Only the last layer learns. Takes minutes; a good first look.",
    "full": "The whole network learns. The best accuracy; takes much longer.",
    "last": "The last few blocks learn.",
}


def network_label(name: str) -> str:
    """Title and advice."""
    return f"{NETWORKS[name].title}: {ADVICE[name]}"


@dataclass(frozen=True)
class Choices:
    """What a person chose; None is AIMIC's default."""

    networks: tuple[str, ...]
    start: Start = "imagenet"
    weights: str | None = None
    """`model:…` or `file:…` for those starts."""
    depth: Depth = "frozen"
    blocks: int = 1
    judge: Literal["kfold", "holdout", "column"] = "kfold"
    folds: int = 5
    fraction: float = 0.2
    column: str = ""
    lock_test: float = 0.0
    paper: bool = False
    model: str | None = None
    advanced: dict[str, Any] = field(default_factory=dict)
    """epochs, patience, optimizer, lr, batch_size, image_size, seed."""

    def depths(self) -> tuple[Depth, ...]:
        """What may be chosen: with nothing to start from, everything has to learn."""
        return ("full",) if self.start == "none" else ("frozen", "full", "last")


def request(dataset: str, version: int, choices: Choices) -> JobRequest:
    """The job to ask for; InvalidInputError with the reason when the choices don't fit together."""
    mode = {"frozen": "frozen", "full": "full", "last": f"last:{choices.blocks}"}[choices.depth]
    weights = choices.start if choices.start in {"imagenet", "none"} else choices.weights
    if not choices.networks:
        raise InvalidInputError("Choose at least one network.")
    if weights is None:
        raise InvalidInputError("Choose what to start from: the model or the weights file is missing.")
    try:
        split = SplitRequest(
            kind=choices.judge,
            k=choices.folds,
            fraction=choices.fraction,
            column=choices.column or None,
            lock_test=choices.lock_test,
        )
        settings = TrainSettings(
            networks=choices.networks,
            weights=weights,
            mode=mode,
            split=split,
            protocol="paper" if choices.paper else "honest",
            **{key: value for key, value in choices.advanced.items() if value is not None},
        )
        return JobRequest(dataset=dataset, version=version, model=choices.model or None, settings=settings)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InvalidInputError(f"These choices don't fit together: {'; '.join(problems)}.") from error


def sentence(version: DatasetVersion, choices: Choices) -> str:
    """What will happen when Start is pressed."""
    images = plural(sum(version.counts), "image")
    titles = listed([NETWORKS[name].title for name in choices.networks]) or "a network"
    what = f"AIMIC will teach {titles} to tell {plural(len(version.classes), 'class', 'classes')} apart in {images}."
    refit = "The model that you get then learns once more from all images."
    if choices.judge == "kfold":
        how = (
            f"It does so {choices.folds} times, each time setting aside another "
            f"{percent(1 / choices.folds, 0)} of the images to test on. {refit}"
        )
    elif choices.judge == "holdout":
        how = f"It sets {percent(choices.fraction, 0)} of the images aside to test on."
    else:
        how = f"It tests on the parts that the column “{choices.column}” of your labels table names. {refit}"
    return f"{what} {how}{_caveats(version, choices)}"


def _caveats(version: DatasetVersion, choices: Choices) -> str:
    extra = ""
    if choices.lock_test:
        extra += f" {percent(choices.lock_test, 0)} stay locked away for a last test."
    if choices.paper:
        extra += " The number of epochs is chosen on the test images themselves, so the result will look too good."
    few = [
        label
        for label, n in zip(version.classes, version.counts, strict=True)
        if choices.judge == "kfold" and n < choices.folds
    ]
    if few:
        verb = "has" if len(few) == 1 else "have"
        extra += f" {listed(few)} {verb} too few images for {choices.folds} rounds and will be left out."
    return extra
