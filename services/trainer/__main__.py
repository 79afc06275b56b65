"""Start a trainer: `python -m services.trainer`."""

import os
import signal
import sys
import threading
import time
from queue import SimpleQueue

from aimic import faults, tracing
from aimic.telemetry import setup_logging
from services.trainer.app import Trainer, compose
from services.trainer.scratch import clear_left
from services.trainer.settings import Settings

LEAVE_S = 8.0
"""Seconds beyond the grace after which we end, whatever still hangs: a broker, a store, a disk."""


def _end(asked: SimpleQueue[int], trainer: Trainer, seconds: float) -> None:
    asked.get()
    trainer.worker.stop()
    time.sleep(seconds)
    os._exit(1)


def main() -> int:
    """Work until SIGTERM or SIGINT; then hand back and end: within 8 seconds on one machine, 25 with servers."""
    settings = Settings()
    setup_logging("trainer", settings.log_level)
    tracing.begin("trainer", settings)
    faults.arm(settings)
    clear_left(settings.home / "work")
    trainer = compose(settings)

    # Handed to a thread: to set an event takes its lock, for which a signal's handler that came while this very thread
    # held it would wait for ever.
    asked: SimpleQueue[int] = SimpleQueue()
    threading.Thread(target=_end, args=(asked, trainer, settings.grace_s + LEAVE_S), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: asked.put(got))
    trainer.operations.start()
    try:
        trainer.worker.run()
    finally:
        trainer.operations.stop()
        trainer.close()
        tracing.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
