"""Epochs: train, validate, remember the best, and go on after a kill as if nothing had happened."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aimic import faults
from aimic.domain.job import EpochLog
from aimic.domain.metrics import Scores, scores
from aimic.nets.net import Net
from services.trainer import checkpoint, transfer
from services.trainer.checkpoint import Journal, Tensors
from services.trainer.context import Context, StoppedError
from services.trainer.draws import batches, epoch_order, flips_turns
from services.trainer.machine import Machine
from services.trainer.step import Stepper, logits_of

CHECKPOINT_SHARE = 100
"""Training takes at least this many times as long as writing its checkpoints, so that these cost no more than 1 %."""
LONGEST_PAUSE_S = 300.0
"""But no more than this is at stake, however slowly a network is written."""


@dataclass(frozen=True)
class Plan:
    """What to fit on what. Without `choose_by`, the weights of the last epoch are the result."""

    train: tuple[int, ...]
    validate: tuple[int, ...]
    epochs: int
    patience: int | None
    choose_by: Literal["loss", "accuracy"] | None
    part: Literal["inner", "held_out"] | None = None
    """What `validate` is of the split."""


class Fit:
    """One network fitted by one plan."""

    def __init__(self, context: Context, net: Net, pixels: NDArray[np.uint8], plan: Plan, machine: Machine) -> None:
        self._context = context
        self._settings = context.claim.settings
        self.net = net
        self._pixels = pixels
        self._plan = plan
        self.machine = machine
        size = self._settings.batch_size or 16
        self._batches = len(batches(plan.train, size))
        net.module.to(machine.device)
        self._stepper = Stepper(net, self._settings, machine, self._batches * plan.epochs)
        self.journal = Journal(machine=machine)
        self.best: Tensors | None = None
        """The serving network's state at the best epoch so far."""
        self._saved_at = time.monotonic()
        self._save_took = 0.0
        self._saved_step = 0

    def run(self) -> Journal:
        """Train to the end of the plan; afterwards the network holds the chosen weights."""
        self._resume()
        while self.journal.epoch < self._plan.epochs and not self._patience_over():
            self._epoch()
        if self._plan.choose_by is None:
            self.best = self.net.state()
        assert self.best is not None
        self.net.load_state(self.best)
        self.net.module.to(self.machine.device)
        return self.journal

    def _patience_over(self) -> bool:
        best, patience = self.journal.best_epoch, self._plan.patience
        return patience is not None and best is not None and self.journal.epoch - 1 - best >= patience

    def _epoch(self) -> None:
        epoch = self.journal.epoch
        order = epoch_order(self._plan.train, self._context.hashes, self._settings.seed, epoch)
        todo = batches(order, self._settings.batch_size or 16)
        self.net.train(True)
        started, before = time.perf_counter(), self.journal.seconds
        for number in range(self.journal.batch, len(todo)):
            self._batch(epoch, number, todo[number])
            self.journal = self.journal.model_copy(
                update={"batch": number + 1, "seconds": before + time.perf_counter() - started}
            )
            self._tell(len(todo))
            if number + 1 < len(todo):
                self._between_batches()
        self._close_epoch(epoch)

    def _batch(self, epoch: int, number: int, indices: Sequence[int]) -> None:
        pixels = self._pixels[indices]
        if self._settings.augment == "flips_turns":
            names = [self._context.hashes[index] for index in indices]
            pixels = flips_turns(pixels, names, self._settings.seed, epoch)
        targets = self._context.targets[indices]
        loss, hits = self._stepper.step(epoch * self._batches + number, pixels, targets)
        self.journal = self.journal.model_copy(
            update={
                "loss_sum": self.journal.loss_sum + loss * len(indices),
                "correct": self.journal.correct + hits,
                "seen": self.journal.seen + len(indices),
            }
        )

    def _tell(self, total: int) -> None:
        now = self.journal
        speed = now.seen / now.seconds if now.seconds else None
        self._context.report.batch("train", now.batch, total, speed, epoch=now.epoch + 1, epochs=self._plan.epochs)

    def _between_batches(self) -> None:
        if self._context.stop.is_set():
            self._save()
            raise StoppedError
        if self._due(self._context.spec.checkpoint_s):
            self._save()

    def _close_epoch(self, epoch: int) -> None:
        judged = self._validate(epoch)
        score = self._score(judged)
        better = score is not None and (self.journal.best_score is None or score < self.journal.best_score)
        if better:
            self.best = self.net.state()
        log = self._log(epoch, judged, better or self._plan.choose_by is None)
        chosen = {"best_epoch": epoch, "best_score": score} if better else {}
        self.journal = self.journal.model_copy(
            update={
                **chosen,
                "epoch": epoch + 1,
                "batch": 0,
                "loss_sum": 0.0,
                "correct": 0,
                "seen": 0,
                "seconds": 0.0,
                "log": (*self.journal.log, log),
            }
        )
        self._context.report.epoch(log, network=self.net.network, fold=self._context.claim.task.fold)
        faults.point("child.epoch.done")
        if self._context.stop.is_set() or self._due(self._context.spec.epoch_checkpoint_s):
            self._save()
        self._context.check_stop()

    def _due(self, wished_s: float) -> bool:
        pause = max(wished_s, min(CHECKPOINT_SHARE * self._save_took, LONGEST_PAUSE_S))
        return time.monotonic() - self._saved_at >= pause

    def _validate(self, epoch: int) -> Scores | None:
        part = self._plan.validate
        if not part:
            return None
        self._context.report.batch("validate", 0, len(part), epoch=epoch + 1, epochs=self._plan.epochs)
        logits = logits_of(self.net, self.machine.device, self._pixels, part, self._context.report.alive)
        return scores(self._context.targets[list(part)], logits)

    def _score(self, judged: Scores | None) -> float | None:
        """Lower is better; an earlier epoch wins a tie. Without a validation part the newest epoch is best."""
        if self._plan.choose_by is None or judged is None:
            return None
        if self._plan.choose_by == "loss":
            return judged.loss
        return None if judged.accuracy is None else -judged.accuracy

    def _log(self, epoch: int, judged: Scores | None, best: bool) -> EpochLog:
        now = self.journal
        return EpochLog(
            epoch=epoch + 1,
            epochs=self._plan.epochs,
            train_loss=now.loss_sum / now.seen,
            train_accuracy=now.correct / now.seen,
            loss=judged.loss if judged else None,
            accuracy=judged.accuracy if judged else None,
            macro_precision=judged.macro_precision if judged else None,
            macro_recall=judged.macro_recall if judged else None,
            macro_f1=judged.macro_f1 if judged else None,
            lr=self._stepper.lr,
            images_per_s=now.seen / now.seconds,
            seconds=now.seconds,
            best=best,
            part=self._plan.part if judged else None,
        )

    def _save(self) -> None:
        started = time.monotonic()
        step = self.journal.epoch * self._batches + self.journal.batch
        if step == self._saved_step:
            return
        self._saved_step = step
        files = checkpoint.write(
            self._context.directory / "checkpoints",
            step,
            self.journal,
            self.net.module.state_dict(),
            checkpoint.optimizer_tensors(self._stepper.optimizer),
            self.best,
        )
        self._context.report.checkpoint(step, files)
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - started

    def _resume(self) -> None:
        found = self._context.claim.checkpoint
        if found is None:
            return
        folder = self._context.directory / "resumed"
        files = {name: transfer.fetch(url, folder / name, "the last checkpoint") for name, url in found.objects.items()}
        journal = Journal.model_validate_json(files[checkpoint.JOURNAL].read_bytes())
        elsewhere = journal.resumed_elsewhere or journal.machine != self.machine
        if elsewhere and not journal.resumed_elsewhere:
            self._context.report.warning(
                "This training goes on, on another kind of machine than it began on, so its last digits may "
                "differ from a run without interruption."
            )
        self._saved_step = found.step
        self.journal = journal.model_copy(update={"machine": self.machine, "resumed_elsewhere": elsewhere})
        self.net.module.load_state_dict(checkpoint.load_tensors(files[checkpoint.MODEL]))
        checkpoint.restore_optimizer(self._stepper.optimizer, checkpoint.load_tensors(files[checkpoint.OPTIMIZER]))
        if checkpoint.BEST in files:
            self.best = checkpoint.load_tensors(files[checkpoint.BEST])
