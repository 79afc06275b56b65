"""What a person should know of a version, in plain words. File names stand in it as marks, and are put in when shown.

A mark such as `file:0123456789abcdef` is the beginning of a name's keyed hash: what is stored, and copied into
jobs, holds no name that somebody gave.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from aimic.domain.dataset import Finding
from aimic.domain.findings import Facts, findings
from aimic.domain.folds import make_split
from aimic.domain.split import SplitRequest
from aimic.domain.units import units
from aimic.errors import InvalidInputError
from aimic.imaging.near import Clusters
from aimic.imaging.shortcuts import shortcut_test
from services.ingest.datasets.contents import Contents, Source
from services.ingest.datasets.facts import SampleFacts
from services.ingest.datasets.tables import NameRow

_MARK = re.compile(r"file:([0-9a-f]{16})")
_ASK = 100
_CONTRADICTION = "exact_duplicates_across_classes"


def describe(contents: Contents, copies: Clusters, files: Sequence[SampleFacts]) -> tuple[Finding, ...]:
    """All findings of a version; those that depend on folds are of the default ones, and each job judges its own."""
    samples = contents.manifest.samples
    facts = Facts(
        classes=contents.manifest.classes,
        labels=[sample.label for sample in samples],
        groups=[sample.group for sample in samples],
        clusters=copies.ids,
        exact=[(pair.first, pair.second) for pair in copies.exact],
        near=[(pair.first, pair.second) for pair in copies.near],
        oversized=copies.oversized,
        sizes=[(file.width, file.height) for file in files],
        media_types=[file.media_type for file in files],
        names=[_marks(source) for source in contents.sources],
    )
    return (
        *_contradictions(contents),
        *findings(facts),
        *_unfinished(copies),
        *_two_groups(contents),
        *_shortcuts(contents, copies, files),
    )


def _unfinished(copies: Clusters) -> Iterable[Finding]:
    """Said when not every pair that may be copies was compared."""
    if copies.complete:
        return ()
    return [
        Finding(
            code="copies_not_all_compared",
            message="So many pictures look alike here that not every pair was compared: there may be more near "
            "duplicates than are named, and some could be in two folds. Numbers may be too good. "
            "If the pictures come from few slides or fields, name these as their groups.",
        )
    ]


def _contradictions(contents: Contents) -> Iterable[Finding]:
    """One picture under two labels: such samples are in no manifest, so they are described apart."""
    sources = [source for members in contents.contradicted for source in members]
    if not sources:
        return ()
    index = {name: number for number, name in enumerate(contents.classes)}
    labels = [sorted(index[label] for label in source.labels) for source in sources]
    first: dict[str, int] = {}
    facts = Facts(
        classes=contents.classes,
        labels=[found[0] for found in labels],
        exact=[
            (first[source.pixels], number)
            for number, source in enumerate(sources)
            if first.setdefault(source.pixels, number) != number
        ],
        names=[_marks(source) for source in sources],
        other_labels={number: found[1:] for number, found in enumerate(labels) if len(found) > 1},
    )
    return [finding for finding in findings(facts) if finding.code == _CONTRADICTION]


def _shortcuts(contents: Contents, copies: Clusters, files: Sequence[SampleFacts]) -> Iterable[Finding]:
    """How far a classifier gets that sees no cell, on the folds that a job has by default."""
    samples = contents.manifest.samples
    labels, groups = [sample.label for sample in samples], [sample.group for sample in samples]
    try:
        split = make_split(labels, groups, copies.ids, len(contents.manifest.classes), SplitRequest(), 0)
    except InvalidInputError:
        return ()  # Too small for these folds: each job judges its own.
    together = units(groups, copies.ids).tolist()
    return shortcut_test(files, labels, together, split.folds).findings()


def _two_groups(contents: Contents) -> Iterable[Finding]:
    found = [source for source in contents.sources if len(source.groups) > 1]
    if not found:
        return ()
    shown = [" = ".join(_marks(source)) for source in found]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return [
        Finding(
            code="copies_in_two_groups",
            message=f"{len(found):,} pictures came in under two patients or slides: {', '.join(shown[:3])}{more}. "
            "All images of both stay in one fold; please look which is right.",
            details={"examples": shown[:10], "count": len(found)},
        )
    ]


def _marks(source: Source) -> list[str]:
    return [f"file:{name[:16]}" for name in source.names]


def with_names(session: Session, site: str, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings as their owner sees them: marks replaced by file names (without folders) where these are known."""
    marks = sorted({mark for finding in found for mark in _MARK.findall(finding.model_dump_json())})
    names = _names(session, site, marks)

    def named(value: Any) -> Any:
        if isinstance(value, str):
            return _MARK.sub(lambda match: names.get(match[1], match[0]), value)
        return [named(item) for item in value] if isinstance(value, list | tuple) else value

    return tuple(
        finding.model_copy(
            update={
                "message": named(finding.message),
                "details": {key: named(value) for key, value in finding.details.items()},
            }
        )
        for finding in found
    )


def _names(session: Session, site: str, marks: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for start in range(0, len(marks), _ASK):
        # `g` sorts behind every hexadecimal digit: a range on the key, which the primary key answers.
        ranges = [and_(NameRow.key >= mark, NameRow.key < mark + "g") for mark in marks[start : start + _ASK]]
        rows = session.execute(select(NameRow.key, NameRow.name).where(NameRow.site == site, or_(*ranges)))
        names.update({key[:16]: name.rpartition("/")[2] for key, name in rows})
    return names
