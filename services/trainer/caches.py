"""Prepared pixels and features can always be made again, so they may not fill the disk."""

import contextlib
import logging
import shutil
from pathlib import Path

from services.trainer.rows import MARKS

logger = logging.getLogger(__name__)

IN_USE_S = 24 * 3600
"""A cache that was opened within this time may be in use by a task, here or in another trainer."""


def forget_old(cache: Path, limit: int, now: float) -> None:
    """Remove what was opened longest ago until `cache` holds at most `limit` bytes; never what may be in use.

    `now` in seconds since 1970, like the files' times.
    """
    found: list[tuple[float, Path]] = []
    sizes: dict[Path, int] = {}
    for marks in cache.glob(f"*/*/{MARKS}"):
        # Another trainer on the same disk tidies too, and may have removed it since it was listed.
        with contextlib.suppress(FileNotFoundError):
            opened, sizes[marks.parent] = marks.stat().st_mtime, _bytes(marks.parent)
            found.append((opened, marks.parent))
    total = sum(sizes.values())
    for opened, folder in sorted(found):
        if total <= limit or now - opened < IN_USE_S:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= sizes[folder]
        logger.info("old prepared images removed", extra={"folder": folder.name, "bytes": sizes[folder]})


def _bytes(folder: Path) -> int:
    """What the folder takes on disk: a file that is filled by parts takes less than its length."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
