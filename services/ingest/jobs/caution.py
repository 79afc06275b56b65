"""What a person should know before the training begins, worked out on the job's own folds."""

from aimic.domain.dataset import Finding
from aimic.domain.findings import Facts, about_classes
from aimic.domain.folds import units_needed
from aimic.domain.split import Split
from aimic.domain.units import units
from aimic.imaging.shortcuts import shortcut_test
from services.ingest.datasets.reading import VersionData

_BY_SPLIT = frozenset({"too_few_images", "one_class", "imbalance"})
"""What depends on the number of folds is judged anew for each job."""
_SHORTCUT = "shortcut_"
"""The version's are of the default folds; the job's own folds give its own."""


def warnings_for(data: VersionData, split: Split) -> tuple[Finding, ...]:
    """The version's findings for this split, and how far a classifier gets that sees no cell."""
    samples = data.manifest.samples
    labels, groups = [sample.label for sample in samples], [sample.group for sample in samples]
    facts = Facts(classes=data.manifest.classes, labels=labels, groups=groups, clusters=data.clusters)
    others = [f for f in data.findings if f.code not in _BY_SPLIT and not f.code.startswith(_SHORTCUT)]
    together = units(groups, data.clusters).tolist()
    shortcuts = shortcut_test(data.facts, labels, together, split.folds, split.seed)
    return (*about_classes(facts, units_needed(split.request)), *others, *shortcuts.findings())
