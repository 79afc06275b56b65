"""What each file of a version tells without looking at the cell: the rows of the shortcut test, in little memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from aimic.domain.dataset import Manifest
from services.ingest.datasets.tables import ItemRow, SampleRow

_AT_ONCE = 1000


class SampleFacts(NamedTuple):
    """The facts of one sample."""

    border: Sequence[float]
    width: int
    height: int
    bit_depth: int
    media_type: str
    """As received."""
    encoder: str
    size: int


class FactsTable(Sequence[SampleFacts]):
    """Facts of n samples, held as columns: as objects a hundred thousand of them are 60 MB."""

    def __init__(self, count: int) -> None:
        self._border = np.zeros((count, 6))
        self._numbers = np.zeros((count, 4), np.int64)
        self._words = np.zeros((count, 2), np.int32)
        self._known: dict[str, int] = {}
        self._texts: list[str] = []

    def put(self, index: int, facts: SampleFacts) -> None:
        """The facts of sample `index`."""
        self._border[index] = facts.border
        self._numbers[index] = (facts.width, facts.height, facts.bit_depth, facts.size)
        self._words[index] = (self._word(facts.media_type), self._word(facts.encoder))

    def _word(self, text: str) -> int:
        number = self._known.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return number

    def __len__(self) -> int:
        """How many samples."""
        return len(self._border)

    @overload
    def __getitem__(self, index: int) -> SampleFacts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SampleFacts]: ...
    def __getitem__(self, index: int | slice) -> SampleFacts | Sequence[SampleFacts]:
        """The facts of one sample, or of several."""
        if isinstance(index, slice):
            return [self._one(place) for place in range(*index.indices(len(self)))]
        return self._one(range(len(self))[index])

    def __iter__(self) -> Iterator[SampleFacts]:
        """One after the other."""
        return (self._one(index) for index in range(len(self)))

    def _one(self, index: int) -> SampleFacts:
        width, height, bit_depth, size = self._numbers[index].tolist()
        media_type, encoder = (self._texts[word] for word in self._words[index].tolist())
        return SampleFacts(tuple(self._border[index].tolist()), width, height, bit_depth, media_type, encoder, size)


def load_facts(session: Session, site: str, dataset_id: str, manifest: Manifest) -> FactsTable:
    """The shortcut test's rows, in manifest order."""
    place = {sample.sha256: index for index, sample in enumerate(manifest.samples)}
    held = select(ItemRow.sha256).where(ItemRow.site == site, ItemRow.dataset_id == dataset_id)
    rows = session.execute(
        select(
            SampleRow.sha256,
            SampleRow.border,
            SampleRow.width,
            SampleRow.height,
            SampleRow.bit_depth,
            SampleRow.source_type,
            SampleRow.encoder,
            SampleRow.source_size,
        )
        .where(SampleRow.site == site, SampleRow.sha256.in_(held))
        .execution_options(yield_per=_AT_ONCE)
    )
    table = FactsTable(len(place))
    for row in rows:
        if (index := place.get(row[0])) is not None:
            table.put(index, SampleFacts(*row[1:]))
    return table
