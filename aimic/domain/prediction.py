"""Answers."""

from aimic.domain.base import Value


class Answer(Value):
    """What the system says of one image. Filed as it is, so it names everything that it rests on."""

    label: str | None
    """The most probable class; None when the model abstains."""
    probabilities: dict[str, float]
    """Calibrated probability of every class, in the model's class order; they sum to 1."""
    abstained: bool = False
    reason: str | None = None
    """Why it abstains: `unsure` or `not_a_known_class`."""
    class_mix: str = "training"
    """The class mix assumed."""
    model: str
    version: int
    bundle_hash: str
    executor: str
    request_id: str


class ImageError(Value):
    """What was wrong with one image of several; the others are answered."""

    code: str
    message: str


class ImageResult(Value):
    """One image of a request, in the order they came: an answer or an error."""

    index: int
    name: str | None = None
    answer: Answer | None = None
    error: ImageError | None = None


class PredictResponse(Value):
    """All images of one request."""

    model: str
    version: int
    request_id: str
    results: tuple[ImageResult, ...]
