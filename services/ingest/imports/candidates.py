"""From files to candidates: labelled, hashed, and told apart from what is known, before anything is decoded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aimic.domain.dataset import Refusal
from aimic.domain.labels import Labelled, Labeller
from aimic.errors import UnreadableImageError
from aimic.imaging.archives import Entry
from services.ingest.imports.sources import Opened, counted
from services.ingest.sites.service import SiteKey

GATHER = 50
"""Files whose hashes are looked up at once."""
GATHER_BYTES = 16 << 20
MAX_COLUMNS = 32
MAX_VALUE = 200

Lookup = Callable[[Sequence[str]], Mapping[str, str]]
"""Keyed hashes of received bytes → samples that the site has stored already."""


@dataclass
class Candidate:
    """One file on its way in. It is settled once it has a sample or a refusal."""

    position: int
    ignored: int
    """Hidden files and the like that were passed over until here."""
    name: str
    labelled: Labelled | None = None
    refusal: Refusal | None = None
    data: bytes | None = None
    """What was received, until it is handed to be examined."""
    size: int = 0
    received: str = ""
    sample: str | None = None
    """SHA-256 of the stored bytes."""
    facts: Mapping[str, Any] | None = None
    """Columns of a new sample's row, with `thumb`; None when the site has the sample already."""
    first: "Candidate | None" = field(default=None, repr=False)
    """An unsettled candidate with the same bytes, whose fate this one shares."""

    def settled(self) -> bool:
        """Whether it is known what becomes of it."""
        if self.first is not None and self.first.settled():
            if self.first.refusal is not None:
                self.refuse(self.first.refusal.code, self.first.refusal.reason)
            self.sample, self.first = self.first.sample, None
        return self.sample is not None or self.refusal is not None

    def refuse(self, code: str, reason: str) -> None:
        """It does not go in."""
        self.refusal = Refusal(name=self.name, code=code, reason=reason)


class Candidates:
    """Reads files a few at a time, and looks each few up at once."""

    def __init__(self, uploads: Opened, skip: int, labeller: Labeller, key: SiteKey, known: Lookup) -> None:
        self._files = counted(uploads, skip)
        self._labeller, self._key, self._known = labeller, key, known
        self._open: dict[str, Candidate] = {}

    def __iter__(self) -> Iterator[Candidate]:
        """All candidates in order; those neither settled nor `first` have `data` to be examined."""
        while gathered := self._gather():
            known = self._known([one.received for one in gathered if one.received])
            for candidate in gathered:
                self._compare(candidate, known)
                yield candidate

    def forget(self, candidate: Candidate) -> None:
        """It is committed: from now on the records know it."""
        if self._open.get(candidate.received) is candidate:
            del self._open[candidate.received]

    def _gather(self) -> list[Candidate]:
        gathered: list[Candidate] = []
        size = 0
        for position, ignored, entry in self._files:
            candidate = self._candidate(position, ignored, entry)
            gathered.append(candidate)
            size += candidate.size
            if len(gathered) >= GATHER or size >= GATHER_BYTES:
                break
        return gathered

    def _candidate(self, position: int, ignored: int, entry: Entry | Refusal) -> Candidate:
        candidate = Candidate(position, ignored, entry.name)
        if isinstance(entry, Refusal):
            candidate.refusal = entry
            return candidate
        found = self._labeller.of(entry.name)
        if isinstance(found, Refusal):
            candidate.refusal = found
            return candidate
        candidate.labelled = found
        try:
            candidate.data = entry.read()
        except UnreadableImageError as error:
            candidate.refuse(error.code, error.message)
            return candidate
        candidate.size = len(candidate.data)
        candidate.received = self._key.received(candidate.data)
        return candidate

    def _compare(self, candidate: Candidate, known: Mapping[str, str]) -> None:
        if not candidate.received or candidate.refusal:
            return
        candidate.sample = known.get(candidate.received)
        if candidate.sample is None:
            first = self._open.setdefault(candidate.received, candidate)
            candidate.first = None if first is candidate else first
        if candidate.sample or candidate.first:
            candidate.data = None


def columns_of(labelled: Labelled) -> dict[str, str]:
    """The further columns that are kept, within limits."""
    kept = list(labelled.columns.items())[:MAX_COLUMNS]
    return {name[:MAX_VALUE]: value[:MAX_VALUE] for name, value in kept}
