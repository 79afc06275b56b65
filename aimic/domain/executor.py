"""With what a bundle's network is run on a kind of machine, and the numbers that decided it."""

from typing import Literal

from pydantic import Field

from aimic.domain.base import Value

MACHINE_CLASS = r"[a-z0-9][a-z0-9._-]{0,119}"
"""Form of a machine class, which stands in addresses and names of files."""
_Name = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")


class Timing(Value):
    """How long an executor took on one machine, the least of several turns, in seconds."""

    executor: str = _Name
    one_s: float = Field(gt=0)
    """One image."""
    many_s: float = Field(gt=0)
    """A whole batch."""
    images: int = Field(gt=0)
    """In that batch."""


def reduced(executor: str) -> bool:
    """Whether it computes in less than float32, which a model may only where a person approved that."""
    return "-bf16-" in executor


class Judgement(Value):
    """How often an executor answered otherwise than eager torch in float32, on out-of-fold images at packaging.

    Counts of images, as whole numbers: the largest difference of a probability would be another on every machine, and
    with it the hash of the bundle that this stands in.
    """

    executor: str = _Name
    images: int = Field(ge=1)
    labels_changed: int = Field(ge=0)
    abstentions_changed: int = Field(ge=0)
    """Of images whose probability isn't within `allowed` of the threshold."""
    near_threshold: int = Field(ge=0)
    """Abstentions changed that close to it: allowed, and counted."""
    allowed: float = Field(gt=0, le=1)
    """Largest difference of a probability that was allowed."""
    beyond: int = Field(ge=0)
    """Images with a probability that differs by more, or is no number."""

    @property
    def admits(self) -> bool:
        """Whether nobody could tell its answers from those of eager torch."""
        return not (self.labels_changed or self.abstentions_changed or self.beyond)


class Admission(Value):
    """How an executor's answers compared with those of eager torch in float32."""

    executor: str = _Name
    judged_on: Literal["check inputs", "out-of-fold images"]
    images: int = Field(ge=0)
    labels_changed: int = Field(ge=0)
    abstentions_changed: int = Field(ge=0)
    """Of images whose probability isn't within the allowed difference of the threshold."""
    near_threshold: int = Field(0, ge=0)
    """Abstentions changed that close to it: allowed, and counted."""
    largest_difference: float | None = Field(None, ge=0)
    """Of a probability, by the bundle's temperature; None where only counts were kept."""
    batch_difference: float = Field(0.0, ge=0)
    """Largest difference of a probability between batches of different sizes."""
    admitted: bool
    reason: str = Field("", max_length=1000)
    """In words, why it is not admitted."""


class ExecutorChoice(Value):
    """The executor of one bundle on one class of machines: chosen once, the same in all its replicas."""

    format: Literal[1] = 1
    bundle_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    machine_class: str = Field(pattern=f"^{MACHINE_CLASS}$")
    executor: str = _Name
    weight_of_one: float = Field(0.5, ge=0, le=1)
    """How much the time of one image counts against that of a batch, in the geometric mean that is compared."""
    timings: tuple[Timing, ...] = Field((), max_length=20)
    admissions: tuple[Admission, ...] = Field((), max_length=20)
    libraries: dict[str, str] = Field(default_factory=dict, max_length=20)
