"""What a bundle says of executors that answered as eager torch does, for tests that judge none."""

from aimic.domain.executor import Judgement


def alike(*names: str, **changes: float) -> list[Judgement]:
    """A judgement of each, on nine images, nothing else than `changes` counted."""
    counts = {"images": 9, "labels_changed": 0, "abstentions_changed": 0, "near_threshold": 0, "beyond": 0}
    return [Judgement.model_validate({"executor": name, "allowed": 1e-3, **counts, **changes}) for name in names]
