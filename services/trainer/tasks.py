"""Which function does which kind of task."""

from collections.abc import Callable

from aimic.domain.job import TaskKind
from services.trainer.context import Context, Outcome
from services.trainer.evaluating import run_evaluate
from services.trainer.folds import run_fold, run_refit
from services.trainer.frozen import run_frozen
from services.trainer.judging import run_judge
from services.trainer.packaging import run_package

RUNNERS: dict[TaskKind, Callable[[Context], Outcome]] = {
    TaskKind.FOLD: run_fold,
    TaskKind.FROZEN: run_frozen,
    TaskKind.REFIT: run_refit,
    TaskKind.JUDGE: run_judge,
    TaskKind.PACKAGE: run_package,
    TaskKind.EVALUATE: run_evaluate,
}


def run_task(context: Context) -> Outcome:
    """Do the task. AimicError with a plain sentence when it can't be done; StoppedError when asked to stop."""
    return RUNNERS[context.claim.task.kind](context)
