"""One history from its beginning to its verdict."""

import time
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from services.ingest.jobs.tables import JobRow
from services.ingest.outbox import OutboxRow
from services.ingest.tasks.tables import DyingObjectRow
from services.ingest.uploads.service import SWEEP_EVERY_S
from tests.faults.checker import check
from tests.faults.collect import Collector, expired, unfinished
from tests.faults.ground import Letters
from tests.faults.histories import PLOTS, History, Plot
from tests.faults.injecting import Injection
from tests.faults.replaying import Replays
from tests.faults.scenario import Answered, Scenario
from tests.faults.stack import Stack

QUIET_S = 180.0
"""Longest time after a history until all work has ended."""
POLL_S = 0.3
SWEPT_S = 2 * SWEEP_EVERY_S
HEARD_S = 60.0
"""Longest wait for what was published to reach the suite's own reader: a group whose member was lost is dealt anew
only after its session, 10 s, and a busy machine may lose one."""


@dataclass
class Verdict:
    """What became of a history."""

    broken: list[str]
    seconds: float
    wrecked: bool = False
    """Work was left over: the stack is of no use to another history."""
    passed: frozenset[str] = frozenset()
    """Named steps that were reached while armed."""


class Runner:
    """Runs histories on a stack; keeps what undisturbed runs gave."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._engine, self._blobs = stack.engine(), stack.blobs()
        self._collector = Collector(self._engine, self._blobs)
        self._ingest, self._inference = stack.ingest(), stack.inference()
        self._undisturbed: dict[Plot, Answered] = {}

    def prepare(self) -> None:
        """An undisturbed run of each plot."""
        for plot in PLOTS:
            scenario = Scenario(f"calm-{plot}", plot, plot == "refit", self._ingest, self._inference)
            scenario.run(None)
            self._settle()
            broken = self._judge(scenario, f"calm-{plot}", ear=True)
            if broken or scenario.answered is None:
                raise AssertionError(f"The undisturbed run of {plot} is not whole: {broken}")
            self._undisturbed[plot] = scenario.answered

    def run(self, history: History) -> Verdict:
        """Disturb, heal, wait, check."""
        began = time.monotonic()
        name = f"h{history.seed}-{int(time.time())}"
        scenario = Scenario(name, history.plot, history.evaluates, self._ingest, self._inference)
        replays = Replays(self._engine, self._stack.ingest(), scenario.told)
        injection = Injection(self._stack, history, replays)
        injection.start()
        broken: list[str] = []
        try:
            scenario.run(self._undisturbed[history.plot].bundle)
        except Exception as error:  # whatever stopped the caller is the history's outcome, not the suite's end
            broken.append(f"the caller could not go on: {type(error).__name__}: {error}")
        finally:
            injection.finish()
        broken += injection.failed
        try:
            # A step that comes late, such as the sweeper's, is waited for before the arms are laid down.
            self._settle()
            passed = self._passed(history)
            self._stack.heal()
            self._settle()
        except TimeoutError as error:
            return Verdict([*broken, str(error)], time.monotonic() - began, wrecked=True)
        broken += self._judge(scenario, name, ear=not any(fault.kind == "topics" for fault in history.faults))
        broken += self._answer(scenario, history.plot)
        return Verdict(broken, time.monotonic() - began, passed=passed)

    def kept_for_ever(self) -> list[str]:
        """Uploads that have ended and that no sweeper has removed, though all had time for it."""
        ends = time.monotonic() + SWEPT_S
        while True:
            with Session(self._engine) as session:
                left = expired(session)
            if not left or time.monotonic() > ends:
                return [f"upload {upload} has ended and was not removed in {SWEPT_S:.0f} s" for upload in left]
            time.sleep(POLL_S)

    def close(self) -> None:
        """Let go of connections."""
        self._ingest.close()
        self._inference.close()
        self._engine.dispose()

    def _passed(self, history: History) -> frozenset[str]:
        waiting = {path.name for path in self._stack.faults.iterdir()}
        return frozenset(f.target for f in history.faults if f.kind == "point" and f.target not in waiting)

    def _settle(self) -> None:
        """Wait until nothing is left to do; TimeoutError says what is."""
        ends = time.monotonic() + QUIET_S
        while left := self._left():
            if time.monotonic() > ends:
                raise TimeoutError(f"not over {QUIET_S:.0f} s after the history: {'; '.join(left[:10])}")
            time.sleep(POLL_S)

    def _left(self) -> list[str]:
        with Session(self._engine) as session:
            left = list(unfinished(session))
            left += [f"message {row.topic} {row.aggregate}" for row in session.scalars(select(OutboxRow))]
            untold = session.scalars(select(JobRow.id).where(JobRow.sequence > JobRow.published))
            left += [f"progress of job {job} isn't published" for job in untold]
            due = or_(DyingObjectRow.due_at <= func.now())
            left += [f"dying object {key}" for key in session.scalars(select(DyingObjectRow.key).where(due))]
        return left

    def _judge(self, scenario: Scenario, name: str, ear: bool) -> list[str]:
        told = scenario.told
        told.wrong += [f"an answer that nobody may get: {answer}" for answer in self._ingest.broken]
        told.wrong += [f"an answer that nobody may get: {answer}" for answer in self._inference.broken]
        self._ingest.broken.clear()
        self._inference.broken.clear()
        jobs = [trained.id for trained in told.trained]
        heard = self._heard(jobs) if ear else None
        return check(told, self._collector.collect(told, name, heard, self._letters()))

    def _heard(self, jobs: list[str]) -> dict[str, int]:
        """What the log told, once it had time to tell all of it."""
        ends = time.monotonic() + HEARD_S
        while True:
            heard = self._stack.ear.progress()
            with Session(self._engine) as session:
                rows = session.execute(select(JobRow.id, JobRow.sequence).where(JobRow.id.in_(jobs))).all()
            if time.monotonic() > ends or all(heard.get(job) == sequence for job, sequence in rows):
                return heard
            time.sleep(0.1)

    def _letters(self) -> Letters:
        """Dead letters, once every group had time to put aside what was planted."""
        ends = time.monotonic() + HEARD_S
        while (letters := self._stack.ground.letters()).lacking and time.monotonic() < ends:
            time.sleep(0.5)
        return letters

    def _answer(self, scenario: Scenario, plot: Plot) -> list[str]:
        answered, calm = scenario.answered, self._undisturbed[plot]
        if answered is None:
            return []  # said already: the caller could not go on
        if answered.bundle != calm.bundle:
            return [f"inference answered with bundle {answered.bundle[:12]}…, undisturbed {calm.bundle[:12]}…"]
        total = sum(answered.probabilities.values())
        return [] if abs(total - 1) < 1e-6 else [f"the probabilities of an answer sum to {total}"]
