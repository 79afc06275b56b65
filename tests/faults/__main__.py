"""The fault suite: `python -m tests.faults`. Histories of faults on one long-lived stack, each judged afterwards."""

import argparse
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import when_and_where
from tests.faults.ground import Embedded, Ground
from tests.faults.histories import COVERING, History, draw, everything
from tests.faults.running import Runner, Verdict
from tests.faults.stack import Stack, clear_environment

FRESH_EVERY = 500
"""Histories after which a new stack is made: none lives for ever, and lists get long."""


def main() -> int:
    """Run histories; 0 when no invariant was broken and, of the covering seeds, every named step was reached."""
    wishes = arguments(sys.argv[1:])
    logging.basicConfig(level=logging.ERROR)
    clear_environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is mounted and started is to be undone
    suite = Suite(wishes)
    try:
        return suite.run()
    finally:
        suite.close()


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=480, help="begin no further history after so long")
    parser.add_argument("--at-least", type=int, default=COVERING, help="histories to run however long they take")
    parser.add_argument("--number", type=int, help="run exactly so many, whatever the time")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, action="append", help="run just this seed (again); may be repeated")
    parser.add_argument("--profile", choices=("servers", "embedded"), default="servers")
    parser.add_argument("--lease", type=float, default=6.0, help="seconds of a lease")
    parser.add_argument("--home", type=Path, help="where data and logs go; kept")
    parser.add_argument("--keep", type=Path, help="file for what was printed, under date and machine")
    return parser.parse_args(words)


class Suite:
    """Histories one after another, and their sum."""

    def __init__(self, wishes: argparse.Namespace) -> None:
        self._wishes = wishes
        self._home: Path = wishes.home or Path(tempfile.mkdtemp(prefix="aimic-faults-"))
        self._stack: Stack | None = None
        self._runner: Runner | None = None
        self._began = time.monotonic()
        self._verdicts: dict[History, Verdict] = {}
        self._lines: list[str] = []

    def run(self) -> int:
        """All that was asked for; what it said is kept once it has come to its end, well or badly."""
        self._say(f"data and logs: {self._home}")
        self._fresh()
        self._began = time.monotonic()
        for number, seed in enumerate(self._seeds()):
            if self._over(number):
                break
            if number and number % FRESH_EVERY == 0:
                self._fresh()
            self._one(number, draw(seed, self._wishes.profile, self._wishes.lease))
        assert self._runner is not None
        status = self._sum_up(self._runner.kept_for_ever())
        if self._wishes.keep:
            self._keep(self._wishes.keep)
        return status

    def close(self) -> None:
        """End the stack; its data go unless something was broken or a home was given."""
        self._end_stack()
        if not self._wishes.home and not any(verdict.broken for verdict in self._verdicts.values()) and self._verdicts:
            shutil.rmtree(self._home, ignore_errors=True)

    def _seeds(self) -> list[int]:
        wishes = self._wishes
        if wishes.seed:
            return list(wishes.seed)
        return list(range(wishes.first, wishes.first + (wishes.number or 10**6)))

    def _over(self, number: int) -> bool:
        if self._wishes.seed or self._wishes.number:
            return False
        return bool(number >= self._wishes.at_least and time.monotonic() - self._began > self._wishes.seconds)

    def _fresh(self) -> None:
        self._end_stack()
        began = time.monotonic()
        home = self._home / f"stack-{len(list(self._home.glob('stack-*'))) + 1}"
        self._stack = Stack(home, self._ground(home), self._wishes.lease)
        self._stack.start()
        self._runner = Runner(self._stack)
        up = time.monotonic() - began
        self._runner.prepare()
        self._say(
            f"the stack is up after {up:.0f} s, and ran each plot undisturbed in {time.monotonic() - began - up:.0f} s"
        )

    def _ground(self, home: Path) -> Ground:
        if self._wishes.profile == "embedded":
            return Embedded(home / "ground")
        from tests.faults.real import Real

        return Real(home / "ground")

    def _one(self, number: int, history: History) -> None:
        assert self._runner is not None
        verdict = self._verdicts[history] = self._runner.run(history)
        self._progress(number + 1, history, verdict)
        if verdict.broken:
            for line in verdict.broken:
                self._say(f"  BROKEN: {line}")
            self._say(f"  again: python -m tests.faults --profile {self._wishes.profile} --seed {history.seed}")
            self._say(f"  logs: {self._home}")
        if verdict.wrecked:
            self._fresh()

    def _progress(self, done: int, history: History, verdict: Verdict) -> None:
        mean = (time.monotonic() - self._began) / done
        total = len(self._wishes.seed or ()) or self._wishes.number
        if total is None:
            total = max(self._wishes.at_least, round(self._wishes.seconds / mean))
        left = max(0.0, (total - done) * mean)
        word = "BROKEN" if verdict.broken else "whole"
        self._say(f"{done}/{total} {word} {verdict.seconds:5.1f} s, about {left:.0f} s left; {history}")

    def _sum_up(self, kept: list[str]) -> int:
        broken = [history.seed for history, verdict in self._verdicts.items() if verdict.broken]
        passed = {step for verdict in self._verdicts.values() for step in verdict.passed}
        lacking = sorted(self._covered() - passed)
        seconds = time.monotonic() - self._began
        # Once more at the end: of a long log often only the last lines are kept.
        for history, verdict in self._verdicts.items():
            for line in verdict.broken:
                self._say(f"seed {history.seed}: {line[:1000]}")
        for line in kept:
            self._say(line)
        self._say(f"{len(self._verdicts)} histories in {seconds:.0f} s, {len(broken)} broken {broken or ''}".rstrip())
        if lacking:
            self._say(f"never reached while armed: {', '.join(lacking)}")
        return 1 if broken or lacking or kept else 0

    def _covered(self) -> set[str]:
        """Steps that this run has to reach: all, when it ran all covering seeds."""
        if not set(range(COVERING)) <= {history.seed for history in self._verdicts}:
            return set()
        faults = everything(self._wishes.profile, self._wishes.lease)
        return {fault.target for fault in faults if fault.kind == "point"}

    def _say(self, line: str) -> None:
        print(line, flush=True)
        self._lines.append(line)

    def _keep(self, file: Path) -> None:
        heading = f"python -m tests.faults {' '.join(sys.argv[1:])}\n{when_and_where()}\n"
        file.write_text("\n".join([heading, *self._lines, ""]))

    def _end_stack(self) -> None:
        if self._runner is not None:
            self._runner.close()
        if self._stack is not None:
            self._stack.stop()
        self._runner = self._stack = None


if __name__ == "__main__":
    sys.exit(main())
