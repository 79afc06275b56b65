"""The process that trains: `python -m services.trainer.child`, started by the worker.

Lines on standard input: `task DIRECTORY` begins the task that `spec.json` in DIRECTORY describes, `stop` asks
for a last checkpoint; the end of standard input means that the worker is gone, and so are we. Reports go to
standard output (services/trainer/reports.py). One task at a time; loading torch takes seconds, so a child that
did one task well is given the next. Nothing of one task decides anything of the next: every random draw and
every switch is set anew.
"""

import gc
import os
import queue
import signal
import threading
from pathlib import Path
from typing import NoReturn, TextIO

from aimic import faults, tracing
from aimic.settings import Settings
from aimic.telemetry import request_id, setup_logging
from services.trainer.context import Context, Outcome, StoppedError
from services.trainer.reports import Reporter
from services.trainer.spec import ChildSpec


class Orders:
    """What the worker says, read on a thread of its own while the main one trains."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self.stop = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def next_task(self) -> Path:
        """The directory of the next task."""
        return self._tasks.get()

    def _listen(self) -> None:
        # os.read, not sys.stdin: a thread that waits inside a buffered reader breaks the interpreter's end.
        said = b""
        while more := os.read(0, 4096):
            *lines, said = (said + more).split(b"\n")
            for line in lines:
                self._obey(line.decode())
        # A worker that was killed closes our standard input by dying. Its lease will be given to another.
        os._exit(3)

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "stop":
            self.stop.set()
        elif word == "task":
            self._tasks.put(Path(rest))


def main() -> NoReturn:
    """Do tasks until the worker is gone."""
    # Ctrl-C at a terminal reaches us too, but it is the worker's to say what becomes of the task.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup_logging("trainer-child")
    settings = Settings()
    tracing.begin("trainer-child", settings)
    faults.arm(settings)
    report = Reporter(_own_stdout())
    orders = Orders()
    while True:
        do_task(orders.next_task(), report, orders.stop)
        gc.collect()


def do_task(directory: Path, report: Reporter, stop: threading.Event) -> None:
    """Do the task in `directory`; whatever happens is reported."""
    try:
        outcome = _done(ChildSpec.read(directory), directory, report, stop)
    except StoppedError:
        report.stopped()
    except BaseException as error:
        from services.trainer.failures import describe, store_of

        report.failed(*describe(error), store=store_of(error))
    else:
        report.result(outcome.result, outcome.files)


def _done(spec: ChildSpec, directory: Path, report: Reporter, stop: threading.Event) -> Outcome:
    request_id.set(spec.request_id)
    try:
        with tracing.span(f"train {spec.claim.task.kind}", spec.claim.traceparent, "consumer"):
            # Imported here: loading torch takes seconds and may fail, which should be told in plain words too.
            from services.trainer.tasks import run_task

            return run_task(Context(spec, directory, report, stop))
    finally:
        tracing.hasten()  # our end may come soon, and without a warning


def _own_stdout() -> TextIO:
    """Standard output for reports alone: whatever else prints goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main()
