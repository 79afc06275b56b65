"""What can be said of the patients in training and in judging."""

from collections.abc import Iterable, Sequence

from aimic.domain.metrics import Patients
from aimic.domain.split import ALWAYS_TRAIN
from aimic.domain.work import TaskSample
from aimic.nets.bundle import BundleInfo


def among(groups: Iterable[int | None]) -> Patients:
    """Of how many of these images the patient is known."""
    known = {group is not None for group in groups}
    if known == {True}:
        return "known"
    return "partly" if True in known else "unknown"


def new_to(info: BundleInfo, samples: Sequence[TaskSample], judged: Sequence[int]) -> Patients:
    """What is known of whether the patients of the images `judged` are new to a model.

    Patients have names within one manifest only, so they can be compared when all that the model learned from
    is among `samples` too: an evaluation on the locked part, or on a later version of its own data set.
    """
    place = {sample.sha256: index for index, sample in enumerate(samples)}
    learned = [member.sha256 for member in info.membership if member.fold >= 0 or member.fold == ALWAYS_TRAIN]
    if info.weights_card.kind == "bundle" or not place.keys() >= set(learned):
        return "unknown"
    theirs = {samples[place[name]].group for name in learned}
    ours = {samples[index].group for index in judged}
    if (theirs & ours) - {None}:
        return "unknown"
    return among([*theirs, *ours])
