"""Carries a history's faults out while its scenario runs."""

import random
import threading
import time
from collections.abc import Callable

from aimic.errors import AimicError
from aimic.events import Message
from tests.faults.histories import Fault, History
from tests.faults.replaying import Replays
from tests.faults.stack import Stack

COPIES = 10


class Injection:
    """All faults of one history, each on a thread of its own; what goes wrong with doing it is kept."""

    def __init__(self, stack: Stack, history: History, replays: Replays) -> None:
        self._stack, self._replays = stack, replays
        self._rng = random.Random(history.seed)
        self._ended = threading.Event()
        self.failed: list[str] = []
        self._threads = [
            threading.Thread(target=self._carry_out, args=(fault,), daemon=True) for fault in history.faults
        ]
        if any(fault.target.startswith("inference.") for fault in history.faults):
            stack.empty_inference()

    def start(self) -> None:
        """Let the clock of the history run."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """The scenario is over: what has not begun is left out, what goes on is waited for."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _carry_out(self, fault: Fault) -> None:
        if fault.kind == "replay":
            self._ended.wait()  # stale calls speak for what is over
        elif self._ended.wait(fault.at):
            return
        acts: dict[str, Callable[[Fault], None]] = {
            "point": self._arm,
            "kill": self._kill,
            "stop": self._stop,
            "away": self._away,
            "topics": self._topics,
            "poison": self._poison,
            "repeat": self._repeat,
            "replay": self._replay,
        }
        try:
            acts.get(fault.kind, self._break)(fault)
        except Exception as error:  # the suite's own trouble must fail the history, not vanish with its thread
            self.failed.append(f"{fault} could not be carried out: {error!r}")

    def _arm(self, fault: Fault) -> None:
        waiting = self._stack.faults / f"~{fault.target}"
        waiting.write_text(fault.wish)
        waiting.rename(self._stack.faults / fault.target)

    def _kill(self, fault: Fault) -> None:
        if fault.target != "child":
            self._stack.processes[fault.target].kill()
            return
        trainers = [self._stack.processes[name] for name in ("trainer-0", "trainer-1")]
        while not any(trainer.kill_child() for trainer in trainers):
            if self._ended.wait(0.1):
                return

    def _stop(self, fault: Fault) -> None:
        process = self._stack.processes[fault.target]
        process.freeze()
        try:
            time.sleep(fault.lasts)
        finally:
            process.thaw()

    def _away(self, fault: Fault) -> None:
        replicas = [self._stack.processes[name] for name in ("ingest-0", "ingest-1")]
        for replica in replicas:
            replica.hold_down()
        time.sleep(fault.lasts)
        for replica in replicas:
            replica.start()

    def _break(self, fault: Fault) -> None:
        self._stack.ground.break_(fault.kind, fault.target)
        time.sleep(fault.lasts)
        self._stack.ground.heal()

    def _topics(self, _: Fault) -> None:
        self._stack.ground.empty_topics()

    def _poison(self, fault: Fault) -> None:
        self._stack.ground.poison(fault.target)

    def _repeat(self, fault: Fault) -> None:
        """Everything that was said, ten times more and in no order."""
        until = time.monotonic() + fault.lasts
        said: list[Message] = []
        events = self._stack.events()
        try:
            while time.monotonic() < until:
                said += self._stack.ear.take()
                again = self._rng.sample(said * COPIES, len(said * COPIES))[: 10 * COPIES]
                for message in again:
                    events.publish(message)
                time.sleep(0.5)
        except AimicError:
            return  # the log is away, which is another fault's wish
        finally:
            events.close()

    def _replay(self, _: Fault) -> None:
        self.failed += self._replays.run()
