"""Three trainers at work, one killed at random every 20 seconds, and the same models as if nothing had happened.

    python -m benchmarks.chaos --minutes 10 [--every 20] [--seed N]

Runs on the real servers, which it starts for itself. A job is trained undisturbed; then the same job again and again
for that many minutes, while trainers are ended by kill -9 and started anew, as Kubernetes would. Every job has to end
with the metrics and the bundles of the undisturbed one, each task done once. What it prints stays in docs/chaos.txt,
unless the run shows nothing: no killed trainer held a task, or the undisturbed job learned nothing. Then it is refused.
"""

import argparse
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aimic.client import Client
from aimic.domain.job import Job, ProgressKind
from benchmarks.stack import OFTEN, SITES, Stack, kill, result_of, small_job, start_job
from benchmarks.tables import when_and_where
from services.local.servers.together import Servers

RECORD = Path(__file__).parents[1] / "docs" / "chaos.txt"
TRAINERS = 3
# Two kinds of networks, one of which draws dropout masks.
NETWORKS = ("shufflenet_v2_x1_0", "mobilenet_v2")
JOB_S = 1800.0


class ShowsNothingError(Exception):
    """The run would have gone as it did if killing a trainer lost its work."""


@dataclass
class Record:
    """What is printed, and kept."""

    lines: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def say(self, words: str) -> None:
        """One line with the time since the beginning."""
        line = f"{time.monotonic() - self.began:7.1f} s  {words}"
        self.lines.append(line)
        print(line, flush=True)


class Killer:
    """Keeps the trainers running, and ends one of them now and then."""

    def __init__(self, stack: Stack, record: Record, every: float, seed: int) -> None:
        self.kills = 0
        self.met = 0
        """Kills of a trainer that held a task."""
        self._stack, self._record, self._every = stack, record, every
        self._random = random.Random(seed)
        self._trainers = [self._start(number) for number in range(TRAINERS)]
        self._next = float("inf")

    def begin(self) -> None:
        """From now on."""
        self._next = time.monotonic() + self._every

    def end(self) -> None:
        """No more."""
        self._next = float("inf")

    def look(self) -> None:
        """Kill if it is time."""
        if time.monotonic() < self._next:
            return
        self._next += self._every
        number = self._random.randrange(TRAINERS)
        name = f"trainer-{number}"
        held = [task for task in self._stack.tasks() if task.holder == name and task.status == "running"]
        kill(self._trainers[number])
        self._trainers[number] = self._start(number)
        self.kills += 1
        self.met += bool(held)
        what = ", ".join(f"{task.key} (step {task.step or 0} saved)" for task in held) or "nothing"
        self._record.say(f"kill -9 {name}, which held {what}")

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        return self._stack.start_trainer(f"trainer-{number}", number)


def main() -> int:
    """Run, print, keep; 1 when a job ended otherwise than undisturbed, or when the run shows nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=20, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=1, help="of whom to kill")
    parser.add_argument("--epochs", type=int, default=18, help="of each fold: it should outlast a kill or two")
    wish = parser.parse_args()
    record = Record()
    heading = (
        f"python -m benchmarks.chaos --minutes {wish.minutes:g} --every {wish.every:g} --seed {wish.seed} "
        f"--epochs {wish.epochs}\n"
        f"{when_and_where()}\n"
    )
    print(heading)
    shows = True
    try:
        with tempfile.TemporaryDirectory() as name:
            home = Path(name)
            with Servers.on(home / "servers") as servers, Stack(home / "stack", servers, ingests=2, **OFTEN) as stack:
                return 0 if disturb(stack, record, wish) else 1
    except ShowsNothingError as why:
        shows = False
        record.say(f"REFUSED: {why} {RECORD.name} keeps the run before.")
        return 1
    finally:
        if shows:
            RECORD.write_text("\n".join([heading, *record.lines, ""]))


def disturb(stack: Stack, record: Record, wish: argparse.Namespace) -> bool:
    """The undisturbed job, then the disturbed ones; whether all of them gave the same."""
    with stack.client(SITES[0]) as client:
        stack.import_cells(client, patients=12, per_kind=7, side=48)
        killer = Killer(stack, record, wish.every, wish.seed)
        settings = small_job(
            networks=NETWORKS, split={"kind": "kfold", "k": 3}, epochs=wish.epochs, lr=1e-2, image_size=64
        )
        job = start_job(client, settings, "undisturbed")
        expected = result_of(client, job, JOB_S)
        record.say(f"undisturbed: {_words(expected)}")
        demand_learning(expected["metrics"])
        ends = time.monotonic() + 60 * wish.minutes
        killer.begin()
        verdicts: list[bool] = []
        while time.monotonic() < ends:
            job = start_job(client, settings, f"disturbed-{len(verdicts) + 1}")
            verdicts.append(_as_expected(stack, client, killer, record, job, expected, ends))
    same = sum(verdicts)
    record.say(
        f"{killer.kills} kills in {wish.minutes:g} minutes, {killer.met} of a trainer that held a task: {same} of "
        f"{len(verdicts)} disturbed jobs ended with the same metrics and bundles as the undisturbed one, every task "
        f"done once"
    )
    if same < len(verdicts):
        return False
    demand_losses(killer.kills, killer.met)
    return True


def demand_learning(metrics: Sequence[dict[str, Any]]) -> None:
    """ShowsNothingError unless every model is better than chance: the same weights as none that learned prove little.

    Chance is what naming the commonest class scores; better is an accuracy whose 95 % interval lies above that.
    """
    for pooled in (entry["pooled"] for entry in metrics):
        support = [sum(row) for row in pooled["confusion"]]
        chance = max(support) / sum(support)
        low, high = pooled["interval"]["accuracy"]
        if low <= chance:
            raise ShowsNothingError(
                f"The undisturbed job's accuracy of {pooled['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}) "
                f"is no better than chance, which is {chance:.4f} for these images. Train longer (--epochs)."
            )


def demand_losses(kills: int, met: int) -> None:
    """ShowsNothingError unless a killed trainer held a task, so that there was something to lose."""
    if not met:
        raise ShowsNothingError(
            f"No trainer held a task when it was killed ({kills} kills). Try another --seed or --every."
        )


def _as_expected(
    stack: Stack, client: Client, killer: Killer, record: Record, job: Job, expected: dict[str, Any], ends: float
) -> bool:
    """Whether the job, disturbed until `ends`, gives the same, with every task done once."""
    while not client.jobs.show(job.id).status.over:
        if time.monotonic() > ends:
            killer.end()  # the last job ends in peace
        killer.look()
        time.sleep(0.5)
    result = result_of(client, job)
    given = sum(task.fence for task in stack.tasks(job))
    twice = [key for key, count in _done(client, job).items() if count != 1]
    same = result == expected and not twice
    fate = "the same" if same else f"NOT THE SAME: {_words(result)}, done twice: {twice}"
    record.say(f"job {job.id}: {len(job.tasks)} tasks given out {given} times; {fate}")
    return same


def _done(client: Client, job: Job) -> Counter[str]:
    """How often each task was told to be done."""
    keys = {task.id: task.key for task in job.tasks}
    done = Counter(dict.fromkeys(keys.values(), 0))
    for event in client.jobs.progress(job.id):
        if event.kind is ProgressKind.STATUS and event.task_id in keys and event.data.get("status") == "done":
            done[keys[event.task_id]] += 1
    return done


def _words(result: dict[str, Any]) -> str:
    parts = [
        f"accuracy {metrics['pooled']['accuracy']:.4f}, bundle {bundle[:12]}"
        for metrics, bundle in zip(result["metrics"], result["hashes"], strict=True)
    ]
    return "; ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
