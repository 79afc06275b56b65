"""Start a trainer: `python -m services.trainer`."""

import os
import signal
import sys
import threading
from types import FrameType

from aimic import faults, tracing
from aimic.telemetry import setup_logging
from services.trainer.app import compose
from services.trainer.scratch import clear_left
from services.trainer.settings import Settings

LEAVE_S = 8.0
"""Seconds beyond the grace after which we end, whatever still hangs: a broker, a store, a disk."""


def main() -> int:
    """Work until SIGTERM or SIGINT; then hand back and end: within 8 seconds on one machine, 25 with servers."""
    settings = Settings()
    setup_logging("trainer", settings.log_level)
    tracing.begin("trainer", settings)
    faults.arm(settings)
    clear_left(settings.home / "work")
    trainer = compose(settings)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        trainer.worker.stop()
        last = threading.Timer(settings.grace_s + LEAVE_S, os._exit, (1,))
        last.daemon = True
        last.start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
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
