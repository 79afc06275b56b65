"""What a person should know of a data set before training, in plain words."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aimic.domain.dataset import Finding, Level
from aimic.domain.units import joined
from aimic.domain.units import units as units_of

IMBALANCE = 3
"""The largest class over the smallest, from which a person is told."""
EXAMPLES = 10


@dataclass(frozen=True)
class Facts:
    """What is known of the samples, in manifest order; a field left empty is not judged."""

    classes: Sequence[str]
    labels: Sequence[int]
    groups: Sequence[int | None] = ()
    clusters: Sequence[int] = ()
    """Samples of one cluster stay together (`aimic.imaging.near.Clusters.ids`)."""
    exact: Sequence[tuple[int, int]] = ()
    """Pairs of samples with equal pixels."""
    near: Sequence[tuple[int, int]] = ()
    """Pairs of samples that show one picture, changed a little."""
    oversized: Sequence[Sequence[int]] = ()
    """Clusters of near duplicates that are too large to be believed, and were not applied."""
    sizes: Sequence[tuple[int, int]] = ()
    """Width and height."""
    media_types: Sequence[str] = ()
    names: Sequence[Sequence[str]] = ()
    """Every source name of a sample: two files with the same bytes are one sample with two names."""
    other_labels: Mapping[int, Collection[int]] = field(default_factory=dict)
    """Further labels under which the very same file of a sample came in."""

    @cached_property
    def counts(self) -> list[int]:
        """Images per class."""
        seen = Counter(self.labels)
        return [seen[label] for label in range(len(self.classes))]

    @cached_property
    def independent(self) -> list[int]:
        """Units per class: images that share no patient, slide or picture."""
        n = len(self.labels)
        units = units_of(self.groups or [None] * n, self.clusters or range(n)).tolist()
        seen = Counter(label for label, _ in set(zip(self.labels, units, strict=True)))
        return [seen[label] for label in range(len(self.classes))]

    def name(self, sample: int) -> str:
        """The sample's first source name, or its number."""
        names = self.names[sample] if self.names else ()
        return names[0].rpartition("/")[2] if names else f"image {sample + 1}"


def findings(facts: Facts, needed: int = 5) -> tuple[Finding, ...]:
    """All findings, those about labels and copies first.

    `needed`: independent images that the split asks of a class (`aimic.domain.folds.units_needed`).
    """
    return (
        *_classes(facts, needed),
        *_copies(facts),
        *_near(facts),
        *_groups(facts),
        *_formats(facts),
    )


def about_classes(facts: Facts, needed: int) -> tuple[Finding, ...]:
    """Those of the findings that depend on the split."""
    return tuple(_classes(facts, needed))


def conflicting(facts: Facts) -> tuple[int, ...]:
    """Samples whose very picture stands under two labels; they are set aside until a person decides."""
    found = {sample for members in _pictures(facts) for sample in members if len(_labels(facts, members)) > 1}
    return tuple(sorted(found))


def _pictures(facts: Facts) -> list[list[int]]:
    """Samples by picture, where there is more than one sample or more than one label."""
    members: dict[int, list[int]] = defaultdict(list)
    for sample, picture in enumerate(joined(len(facts.labels), facts.exact).tolist()):
        members[picture].append(sample)
    return [found for found in members.values() if len(found) > 1 or facts.other_labels.get(found[0])]


def _labels(facts: Facts, samples: Sequence[int]) -> set[int]:
    labels = {facts.labels[sample] for sample in samples}
    return labels.union(*(facts.other_labels.get(sample, ()) for sample in samples))


def _classes(facts: Facts, needed: int) -> Iterator[Finding]:
    few = [label for label, count in enumerate(facts.independent) if count < needed]
    if few:
        listed = ", ".join(f"{facts.classes[c]} ({_images(facts.counts[c])})" for c in few)
        independent = any(facts.counts[c] >= needed for c in few)
        yield _finding(
            "too_few_images",
            f"Set aside: {listed}. A class needs at least {needed} images"
            f"{' that share no patient, slide or picture' if independent else ''} for this split.",
            classes=[facts.classes[c] for c in few],
            needed=needed,
        )
    rest = {label: count for label, count in enumerate(facts.counts) if label not in few}
    if len(rest) < 2:
        yield _finding("one_class", f"Training needs two classes, and only {len(rest)} can take part.")
        return
    large, small = max(rest, key=rest.__getitem__), min(rest, key=rest.__getitem__)
    if rest[large] >= IMBALANCE * rest[small]:
        yield _finding(
            "imbalance",
            f"Imbalance: {facts.classes[large]} has {_images(rest[large])}, {facts.classes[small]} only "
            f"{rest[small]}. Look at the numbers of each class, not only at the accuracy.",
            ratio=round(rest[large] / rest[small], 2),
        )


def _copies(facts: Facts) -> Iterator[Finding]:
    within = [_shown(facts, m) for m in _pictures(facts) if len(_labels(facts, m)) == 1]
    in_pictures = {sample for members in _pictures(facts) for sample in members}
    within += [_shown(facts, [s]) for s in range(len(facts.names)) if len(facts.names[s]) > 1 and s not in in_pictures]
    if within:
        yield _finding(
            "exact_duplicates",
            f"{_pictures_say(len(within))} more than once: {_listed(within)}. Copies stay in one fold.",
            examples=within[:EXAMPLES],
            count=len(within),
        )
    across = [m for m in _pictures(facts) if len(_labels(facts, m)) > 1]
    if across:
        shown = [
            f"{_shown(facts, m)} ({' / '.join(facts.classes[c] for c in sorted(_labels(facts, m)))})" for m in across
        ]
        yield _finding(
            "exact_duplicates_across_classes",
            f"{_pictures_say(len(across))} under two labels: {_listed(shown)}. "
            "They are set aside until a person decides which label is right.",
            examples=shown[:EXAMPLES],
            samples=list(conflicting(facts))[:EXAMPLES],
            count=len(across),
        )


def _near(facts: Facts) -> Iterator[Finding]:
    doubted = {sample for members in facts.oversized for sample in members}
    pairs = [(a, b) for a, b in facts.near if a not in doubted]
    same = [(a, b) for a, b in pairs if facts.labels[a] == facts.labels[b]]
    across = [(a, b) for a, b in pairs if facts.labels[a] != facts.labels[b]]
    for code, chosen, words in (
        ("near_duplicates", same, "They stay in one fold."),
        (
            "near_duplicates_across_classes",
            across,
            "One of the two labels is probably wrong; please look at them. Until then they stay in one fold.",
        ),
    ):
        if chosen:
            shown = [_shown(facts, pair, "≈") for pair in chosen]
            where = "" if chosen is same else " under two labels"
            yield _finding(
                code,
                f"{len(chosen)} {'pair shows' if len(chosen) == 1 else 'pairs show'} nearly the same "
                f"picture{where}: {_listed(shown)}. {words}",
                examples=shown[:EXAMPLES],
                samples=[list(pair) for pair in chosen[:EXAMPLES]],
                count=len(chosen),
            )
    for members in facts.oversized:
        shown = [facts.name(sample) for sample in members[:EXAMPLES]]
        yield _finding(
            "large_cluster",
            f"{len(members)} images look alike, which is too many to be copies of one picture for certain, so "
            f"they are not kept together: {_listed(shown, len(members))}. "
            "If they are one slide or field, name it as their group.",
            examples=shown,
            samples=list(members[:EXAMPLES]),
            count=len(members),
        )


def _groups(facts: Facts) -> Iterator[Finding]:
    known = [group for group in facts.groups if group is not None]
    if not known:
        yield _finding(
            "no_groups",
            "No patients or slides are known. The numbers will hold for new images of the same patients; "
            "how good the model is on new patients will not be known.",
        )
        return
    if len(known) < len(facts.groups):
        missing = len(facts.groups) - len(known)
        yield _finding(
            "some_without_group",
            f"{_images(missing)} of {len(facts.groups):,} {'has' if missing == 1 else 'have'} no patient or slide "
            "and could share one with images in another fold.",
            count=missing,
        )
    classes: dict[int, set[int]] = defaultdict(set)
    for group, label in zip(facts.groups, facts.labels, strict=True):
        if group is not None:
            classes[group].add(label)
    single = sum(len(found) == 1 for found in classes.values())
    if single:
        yield _finding(
            "groups_in_one_class",
            f"{single:,} of {len(classes):,} patients or slides sit in one class only. A network can then learn "
            "to know the patient or the staining instead of the cell; only numbers from unseen patients show it.",
            Level.WARNING if 2 * single >= len(classes) else Level.INFO,
            count=single,
            groups=len(classes),
        )


def _formats(facts: Facts) -> Iterator[Finding]:
    sizes = Counter(facts.sizes)
    if len(sizes) > 1:
        (width, height), count = sizes.most_common(1)[0]
        smallest, largest = min(sizes, key=_area), max(sizes, key=_area)
        yield _finding(
            "mixed_sizes",
            f"Mixed sizes: {len(sizes)} different ones, from {smallest[0]}×{smallest[1]} to "
            f"{largest[0]}×{largest[1]} pixels; {count:,} of {len(facts.sizes):,} are {width}×{height}. "
            "All are scaled to one size, so that a cell may look larger or smaller than it was.",
            Level.INFO,
            sizes=len(sizes),
        )
    types = Counter(facts.media_types)
    if len(types) > 1:
        listed = ", ".join(
            f"{count:,} {name.rpartition('/')[2].upper()}"
            for name, count in sorted(types.items(), key=lambda item: (-item[1], item[0]))
        )
        yield _finding(
            "mixed_file_types",
            f"Mixed file types: {listed}. If types go with classes, a network can learn the type.",
            Level.INFO,
            types=dict(types),
        )


def _area(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    return size[0] * size[1], size


def _shown(facts: Facts, samples: Sequence[int], sign: str = "=") -> str:
    """Such as `112.bmp = 139.bmp`: every source name of the samples."""
    names = [
        name.rpartition("/")[2]
        for sample in samples
        for name in ((facts.names[sample] if facts.names else ()) or [facts.name(sample)])
    ]
    return f" {sign} ".join(names)


def _listed(examples: Sequence[str], count: int | None = None) -> str:
    """The first few, and how many more there are."""
    more = (count or len(examples)) - min(len(examples), 3)
    return ", ".join(examples[:3]) + (f" and {more} more" if more else "")


def _images(count: int) -> str:
    return f"{count:,} image" + ("" if count == 1 else "s")


def _pictures_say(count: int) -> str:
    return f"{count:,} picture{' is there' if count == 1 else 's are there'}"


def _finding(code: str, message: str, level: Level = Level.WARNING, **details: Any) -> Finding:
    return Finding(code=code, level=level, message=message, details=details)
