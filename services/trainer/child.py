"""The process that trains: `python -m services.trainer.child DIRECTORY`, started by the worker.

It reads `spec.json` in DIRECTORY and writes reports to standard output (services/trainer/reports.py).
A line `stop` on standard input asks for a last checkpoint; its end means that the worker is gone, and so are we.
"""

import gc
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

from aimic.telemetry import setup_logging
from services.trainer.context import Context, StoppedError
from services.trainer.reports import Reporter
from services.trainer.spec import ChildSpec


def main(directory: Path) -> int:
    """Do the task in `directory`; 0 when everything that there is to say has been said."""
    setup_logging("trainer-child")
    report = Reporter(_own_stdout())
    context = Context(ChildSpec.read(directory), directory, report)
    threading.Thread(target=_watch, args=(context.stop,), daemon=True).start()
    try:
        # Imported here: torch takes seconds, in which a failure should already be told in plain words.
        from services.trainer.tasks import run_task

        outcome = run_task(context)
    except StoppedError:
        report.stopped()
    except BaseException as error:
        from services.trainer.failures import describe

        gc.collect()
        report.failed(*describe(error))
    else:
        report.result(outcome.result, outcome.files)
    return 0


def _own_stdout() -> TextIO:
    """Standard output for reports alone: whatever else prints goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _watch(stop: threading.Event) -> None:
    # os.read, not sys.stdin: a thread that waits inside a buffered reader breaks the interpreter's end.
    while said := os.read(0, 4096):
        if b"stop" in said:
            stop.set()
    # A worker that was killed closes our standard input by dying. Its lease will be given to another.
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
