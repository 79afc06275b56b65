"""The wire of the REST shell that isn't in the kernel."""

from aimic.domain.base import Value
from aimic.domain.model import Stage
from services.inference.catalogue import Served, State


class ModelState(Value):
    """A version and where it stands in this service."""

    name: str
    version: int
    bundle_hash: str
    stage: Stage
    state: State
    reason: str | None
    """Why it is not ready, or not yet as quick as it will be, in plain words."""
    classes: tuple[str, ...] | None = None
    """In the order of the probabilities; known once it is loaded, like the rest below."""
    image_size: int | None = None
    executor: str | None = None


class ModelStates(Value):
    """All versions; `next` is for lists that don't fit one page, which this one always does."""

    items: tuple[ModelState, ...]
    next: str | None = None


def state_of(served: Served) -> ModelState:
    """What the wire says of a version."""
    entry, model = served.entry, served.model
    return ModelState(
        name=entry.name,
        version=entry.version,
        bundle_hash=entry.bundle_hash,
        stage=entry.stage,
        state=served.state,
        reason=served.remark,
        classes=model.loaded.classes if model else None,
        image_size=model.loaded.image_size if model else None,
        executor=model.loaded.executor if model else None,
    )
