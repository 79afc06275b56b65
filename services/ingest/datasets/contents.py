"""What a data set holds now, as the manifest of its next version: the same items give the same hash."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from aimic.domain.dataset import Manifest, Sample
from aimic.domain.units import joined
from services.ingest.datasets.tables import DatasetRow, ItemRow, NameRow, SampleRow

T = TypeVar("T", bound=Hashable)
Columns = tuple[tuple[str, str], ...]

MAX_FOLD_VALUES = 64
"""A column with more different values names no folds, and might name patients: it stays with the guarded names."""


@dataclass(slots=True)
class Source:
    """A sample and the source files that it came from. There may be a hundred thousand: equal parts are shared."""

    sha256: str
    pixels: str
    size: int
    names: tuple[str, ...] = ()
    """Keyed hashes of the files' names, in the order of the real names."""
    labels: tuple[str, ...] = ()
    """Ascending."""
    groups: tuple[str, ...] = ()
    """Keyed hashes of real groups, ascending; more than one means that somebody is mistaken."""
    columns: Columns = ()
    """Name and value of each, ascending."""

    def add(self, file: "_File") -> None:
        """One more source file."""
        if file.name not in self.names:
            self.names = (*self.names, file.name)
        if not self.labels:
            self.labels, self.groups, self.columns = (file.label,), file.groups, file.columns
            return
        self.labels = tuple(sorted({*self.labels, file.label}))
        self.groups = tuple(sorted({*self.groups, *file.groups}))
        self.columns = tuple(sorted((dict(file.columns) | dict(self.columns)).items()))


class _File(NamedTuple):
    name: str
    label: str
    groups: tuple[str, ...]
    columns: Columns


class Contents(NamedTuple):
    """The next manifest, and what led to it. `sources` are in manifest order."""

    manifest: Manifest
    sources: tuple[Source, ...]
    contradicted: tuple[tuple[Source, ...], ...]
    """Sets of sources with one picture under two labels: set aside until a person decides."""
    classes: tuple[str, ...]
    """All classes in their lasting order, also those that have no sample now."""

    @property
    def group_keys(self) -> tuple[str | None, ...]:
        """Keyed group of each sample."""
        return tuple(source.groups[0] if source.groups else None for source in self.sources)

    @property
    def hash(self) -> str:
        """Changes whenever anything changes that the analysis or the findings rest on."""
        digest = hashlib.sha256(self.manifest.hash.encode())
        for source in (*self.sources, *(one for members in self.contradicted for one in members)):
            said = [source.sha256, source.names, source.labels, source.groups, source.columns]
            # RFC 8785 of lists of texts; the general way takes seconds.
            digest.update(json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode())
        return digest.hexdigest()

    def held_together(self, clusters: Sequence[int]) -> tuple[int, ...]:
        """`clusters` (a number per sample), in which a picture under two patients also joins one image of each."""
        first: dict[int | str, int] = {}
        pairs = [(first.setdefault(number, index), index) for index, number in enumerate(clusters)]
        for index, source in enumerate(self.sources):
            if source.groups:
                first.setdefault(source.groups[0], index)
        for index, source in enumerate(self.sources):
            pairs += [(first.setdefault(group, index), index) for group in source.groups[1:]]
        return tuple(joined(len(clusters), pairs).tolist())

    def fold_columns(self) -> dict[str, tuple[str | None, ...]]:
        """Columns with few enough different values to name folds, in manifest order."""
        values: dict[str, set[str]] = defaultdict(set)
        for source in self.sources:
            for name, value in source.columns:
                values[name].add(value)
        kept = [name for name in sorted(values) if len(values[name]) <= MAX_FOLD_VALUES]
        return {name: tuple(dict(source.columns).get(name) for source in self.sources) for name in kept}


def gather(session: Session, dataset: DatasetRow) -> Contents:
    """Everything in the data set, ordered by the samples' names so that the order of imports doesn't matter."""
    sources = _sources(session, dataset)
    contradicted = _contradicted(sources)
    aside = {source.sha256 for members in contradicted for source in members}
    kept = tuple(source for source in sources if source.sha256 not in aside)
    classes = ordered_classes(dataset.classes, {label for source in sources for label in source.labels})
    used = {label for source in kept for label in source.labels}
    shown = tuple(name for name in classes if name in used)
    index = {name: number for number, name in enumerate(shown)}
    groups: dict[str, int] = {}
    samples = tuple(
        Sample(
            sha256=source.sha256,
            label=index[next(iter(source.labels))],
            group=groups.setdefault(source.groups[0], len(groups)) if source.groups else None,
            size=source.size,
        )
        for source in kept
    )
    return Contents(Manifest(classes=shown, samples=samples), kept, contradicted, classes)


def ordered_classes(known: Sequence[str], found: Iterable[str]) -> tuple[str, ...]:
    """The known order, with new classes behind it in natural order (so that `2` comes before `10`)."""
    return (*known, *sorted(set(found).difference(known), key=_natural))


def _sources(session: Session, dataset: DatasetRow) -> list[Source]:
    rows = session.execute(
        select(
            ItemRow.sha256,
            ItemRow.name_key,
            ItemRow.label,
            ItemRow.group_key,
            ItemRow.columns,
            SampleRow.pixel_sha256,
            SampleRow.size,
        )
        .join(SampleRow, (SampleRow.site == ItemRow.site) & (SampleRow.sha256 == ItemRow.sha256))
        .outerjoin(NameRow, (NameRow.site == ItemRow.site) & (NameRow.key == ItemRow.name_key))
        .where(ItemRow.site == dataset.site, ItemRow.dataset_id == dataset.id)
        .order_by(ItemRow.sha256, NameRow.name, ItemRow.name_key, ItemRow.received)
        .execution_options(yield_per=1000)
    )
    sources: list[Source] = []
    shared: dict[Hashable, Any] = {}

    def once(value: T) -> T:
        """The first of equal values, so that the others needn't stay."""
        return cast(T, shared.setdefault(value, value))

    for sha256, name, label, group, columns, pixels, size in rows:
        if not sources or sources[-1].sha256 != sha256:
            sources.append(Source(sha256, pixels, size))
        groups = () if group is None else once((group,))
        sources[-1].add(_File(name, once(label), groups, once(tuple(sorted(columns.items())))))
    return sources


def _contradicted(sources: Sequence[Source]) -> tuple[tuple[Source, ...], ...]:
    by_pixels: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        by_pixels[source.pixels].append(source)
    return tuple(
        tuple(members)
        for members in by_pixels.values()
        if len({label for source in members for label in source.labels}) > 1
    )


def _natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = [part for part in re.split(r"(\d+)", text) if part]
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], text
