"""A candidate's bytes become a stored sample: examined in a process that may die, then put under their hash."""

from aimic.errors import UnreadableImageError
from aimic.imaging.sandbox import Sandbox
from services.ingest.datasets.reading import sample_key
from services.ingest.imports import repository
from services.ingest.imports.candidates import Candidate
from services.ingest.imports.lease import Held


class Examiner:
    """Settles candidates that have data; several threads may use one.

    While some threads wait for the store, others have a process of the sandbox decode: the two overlap.
    """

    def __init__(self, held: Held, sandbox: Sandbox) -> None:
        self._held, self._sandbox = held, sandbox
        # An object that begins to die later is noticed at the commit; the import then asks again.
        with held.parts.database.read(held.site) as session:
            self._later = repository.later_generations(session, held.site)

    def settle(self, candidate: Candidate) -> None:
        """Give the candidate a stored sample with its facts, or a refusal in words."""
        data, candidate.data = candidate.data, None
        assert data is not None
        try:
            examined = self._sandbox.examine(data)
        except UnreadableImageError as error:
            candidate.refuse(error.code, error.message)
            return
        del data
        sample = examined.sha256
        generation = self._later.get(sample, 0)
        # Stored before it is recorded: a crash in between leaves an object that the next try finds.
        key = sample_key(self._held.site, sample, generation)
        self._held.unnamed.add(key)
        self._held.parts.blobs.put(key, examined.data)
        candidate.facts = {
            "generation": generation,
            "pixel_sha256": examined.features.pixel_sha256,
            "phash": examined.features.phash,
            "thumb": examined.features.thumb,
            "border": list(examined.features.border),
            "width": examined.width,
            "height": examined.height,
            "bit_depth": examined.bit_depth,
            "media_type": examined.media_type.value,
            "source_type": examined.source_media_type.value,
            "encoder": examined.encoder,
            "size": len(examined.data),
            "source_size": candidate.size,
        }
        candidate.sample = sample
