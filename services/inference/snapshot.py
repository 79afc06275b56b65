"""The registry's last word, kept on disk so that a restart serves while the registry is away."""

import logging
import os
from pathlib import Path

from pydantic import ValidationError

from aimic.domain.base import Value
from aimic.domain.model import ServingEntry

logger = logging.getLogger(__name__)


class Wanted(Value):
    """What the file holds."""

    format: int = 1
    items: tuple[ServingEntry, ...] = ()


class Snapshot:
    """One JSON file, replaced as a whole."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stored: tuple[ServingEntry, ...] | None = None

    def read(self) -> tuple[ServingEntry, ...] | None:
        """The list as it was last stored; None when there is none that can be read."""
        try:
            return Wanted.model_validate_json(self._file.read_bytes()).items
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            logger.warning("the stored list of models can't be read", extra={"cause": str(error)})
            return None

    def store(self, items: tuple[ServingEntry, ...]) -> None:
        """Replace the file, durably, if the list changed."""
        if items == self._stored:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with fresh.open("w") as target:
            target.write(Wanted(items=items).model_dump_json())
            target.flush()
            os.fsync(target.fileno())
        fresh.replace(self._file)
        self._stored = items
