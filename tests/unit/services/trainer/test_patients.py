"""What is said of patients is true."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from aimic.domain.work import TaskSample
from aimic.nets.bundle import BundleInfo, Member
from aimic.nets.info import WeightsCard
from services.trainer.patients import among, new_to


@pytest.mark.parametrize(
    ("groups", "said"),
    [([1, 2], "known"), ([1, None], "partly"), ([None, None], "unknown"), ([], "unknown")],
)
def test_known_only_when_every_image_has_a_patient(groups: Sequence[int | None], said: str) -> None:
    assert among(groups) == said


def _info(learned: Sequence[int], kind: Literal["none", "bundle"]) -> BundleInfo:
    card = WeightsCard(kind=kind, source="", sha256=None, licence="", head_replaced=True)
    membership = tuple(Member(sha256=f"{i:064x}", phash="0" * 16, fold=0) for i in learned)
    facts: dict[str, Any] = {"membership": membership, "weights_card": card}
    return BundleInfo.model_construct(**facts)


@pytest.mark.parametrize(
    ("groups", "learned", "kind", "said"),
    [
        ([0, 1, 2], (0, 1), "none", "known"),
        ([0, None, 2], (0, 1), "none", "partly"),
        ([0, 1, None], (0, 1), "none", "partly"),
        ([None, None, None], (0, 1), "none", "unknown"),
        ([0, 2, 2], (0, 1), "none", "unknown"),  # a patient of both
        ([0, 1, 2], (0, 99), "none", "unknown"),  # learned from an image that is not of this data set
        ([0, 1, 2], (0, 1), "bundle", "unknown"),  # started from a model that learned from others
    ],
)
def test_new_to_a_model_only_when_all_patients_can_be_compared(
    groups: Sequence[int | None], learned: Sequence[int], kind: Literal["none", "bundle"], said: str
) -> None:
    samples = tuple(TaskSample(index=i, sha256=f"{i:064x}", label=0, group=g) for i, g in enumerate(groups))
    assert new_to(_info(learned, kind), samples, [2]) == said
