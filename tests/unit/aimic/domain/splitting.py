"""What the tests of splits share."""

from typing import Any

from aimic.domain.folds import make_split
from aimic.domain.split import Split, SplitRequest


def split_of(labels: list[int], request: SplitRequest, seed: int = 0, **more: Any) -> Split:
    """A split of single images, unless `more` says otherwise."""
    n = len(labels)
    groups, clusters = more.pop("groups", [None] * n), more.pop("clusters", list(range(n)))
    return make_split(labels, groups, clusters, max(labels) + 1, request, seed, **more)
