"""The registry's last word, kept on disk so that a restart serves while the registry is away."""

import logging
import os
from pathlib import Path

from pydantic import ValidationError

from aimic.domain.base import Value
from aimic.domain.model import ServingEntry
from services.inference.catalogue import Key

logger = logging.getLogger(__name__)


class Wanted(Value):
    """What the file holds."""

    format: int = 1
    items: tuple[ServingEntry, ...] = ()
    answering: tuple[Key, ...] = ()
    """Of each name the version that answered, which may be the one before the one that should."""


class Snapshot:
    """One JSON file, replaced as a whole."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stored: Wanted | None = None

    def read(self) -> Wanted | None:
        """The list as it was last stored; None when there is none that can be read."""
        try:
            return Wanted.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            logger.warning("the stored list of models can't be read", extra={"cause": str(error)})
            return None

    def store(self, wanted: Wanted) -> None:
        """Replace the file, durably, if the list changed. A disk that doesn't take it keeps nobody from serving."""
        if wanted == self._stored:
            return
        try:
            self._replace(wanted)
        except OSError as error:
            logger.warning(
                "the list of models could not be stored; a restart without the registry would serve the last one that "
                "was",
                extra={"cause": str(error)},
            )
        else:
            self._stored = wanted

    def _replace(self, wanted: Wanted) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with fresh.open("w") as target:
            target.write(wanted.model_dump_json())
            target.flush()
            os.fsync(target.fileno())
        fresh.replace(self._file)
