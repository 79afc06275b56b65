"""Named steps at which the fault suite may stop a process. Nothing happens at them unless a test asks.

A process is armed once, by its `__main__`, with a directory (AIMIC_FAULTS_DIR). A file in it named like a point
arms that point for one pass of one process, whichever comes first; its content says what happens there:
`kill` (the process ends as by kill -9), `pause:SECONDS`, or `error` (the step fails as if its other side were away).
"""

import contextlib
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from aimic.domain.job import TaskKind
from aimic.errors import UnavailableError
from aimic.settings import Settings, is_loopback

logger = logging.getLogger(__name__)

POINTS = (
    "ingest.upload.stored",
    "ingest.upload.recorded",
    "ingest.import.batch.before",
    "ingest.import.batch.committed",
    "ingest.version.before",
    "ingest.version.committed",
    "ingest.job.before",
    "ingest.job.committed",
    "ingest.claim.before",
    "ingest.claim.committed",
    "ingest.checkpoint.before",
    "ingest.checkpoint.committed",
    *(f"ingest.finish.{kind}.{when}" for kind in TaskKind for when in ("before", "committed")),
    "ingest.relay.published",
    "ingest.sweeper.removing",
    "ingest.sweeper.removed",
    "trainer.claimed",
    "trainer.checkpoint.uploading",
    "trainer.checkpoint.uploaded",
    "trainer.checkpoint.told",
    "trainer.result.uploading",
    "trainer.result.uploaded",
    "trainer.result.told",
    "child.epoch.done",
    "child.checkpoint.writing",
    "child.checkpoint.written",
    "inference.downloaded",
    "inference.loading",
    "inference.loaded",
    "inference.answering",
)
"""Every point in the code."""

_act: Callable[[str], None] | None = None


def point(name: str) -> None:
    """A named step. Costs one call of an empty function; still, never put one into a loop over images."""
    if _act is not None:
        _act(name)


def arm(settings: Settings) -> None:
    """Let the points of this process look into AIMIC_FAULTS_DIR, if that is set.

    SystemExit when the process serves more than this machine: faults are for tests only.
    """
    global _act  # noqa: PLW0603 - one switch per process, thrown before anything runs
    directory = settings.faults_dir
    if directory is None:
        return
    if not is_loopback(settings.host):
        raise SystemExit("AIMIC_FAULTS_DIR is for tests on this machine; unset it to serve others. Nothing started.")
    logger.warning("FAULTS ARE ARMED: files in this directory end or stop this process", extra={"dir": str(directory)})

    def look(name: str) -> None:
        if (wish := _taken(directory / name)) is not None:
            _carry_out(name, wish)

    _act = look


def disarm() -> None:
    """Points are nothing again."""
    global _act  # noqa: PLW0603 - see arm
    _act = None


def _taken(file: Path) -> str | None:
    """The wish at this point, which is then spent; of several processes one gets it."""
    mine = file.with_name(f"{file.name}.taken-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        file.rename(mine)
    except FileNotFoundError:
        return None
    return mine.read_text().strip()


def _carry_out(name: str, wish: str) -> None:
    logger.warning("fault", extra={"point": name, "wish": wish})
    for handler in logging.getLogger().handlers:
        with contextlib.suppress(OSError):
            handler.flush()
    kind, _, seconds = wish.partition(":")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "pause":
        time.sleep(float(seconds))
    else:
        raise UnavailableError(f"A test asked for a failure at {name}.", retry_after_s=1)
