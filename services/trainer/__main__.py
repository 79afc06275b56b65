"""Start a trainer: `python -m services.trainer`."""

import signal
import sys
from types import FrameType

from aimic import faults
from aimic.telemetry import setup_logging
from services.trainer.app import compose
from services.trainer.scratch import clear_left
from services.trainer.settings import Settings


def main() -> int:
    """Work until SIGTERM or SIGINT; then hand back and end within 8 seconds."""
    settings = Settings()
    setup_logging("trainer", settings.log_level)
    faults.arm(settings)
    clear_left(settings.home / "work")
    trainer = compose(settings)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        trainer.worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    trainer.operations.start()
    try:
        trainer.worker.run()
    finally:
        trainer.operations.stop()
        trainer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
