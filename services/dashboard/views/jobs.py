"""What the Train page shows of jobs, while they run and afterwards."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from aimic.domain.job import EpochLog, Job, Progress, ProgressKind, Status, TaskKind, TaskView
from aimic.domain.networks import NETWORKS
from services.dashboard.views.words import PUBLISHED, duration, listed

STATUS_WORDS = {
    Status.WAITING: "waiting",
    Status.READY: "waiting for a free worker",
    Status.RUNNING: "running",
    Status.DONE: "done",
    Status.FAILED: "stopped by a problem",
    Status.CANCELLED: "cancelled",
}
STATUS_ICONS = {
    Status.WAITING: ":material/hourglass_empty:",
    Status.READY: ":material/hourglass_empty:",
    Status.RUNNING: ":material/play_circle:",
    Status.DONE: ":material/check_circle:",
    Status.FAILED: ":material/error:",
    Status.CANCELLED: ":material/cancel:",
}
_PHASES = {
    "cache": "reading images",
    "features": "looking at images",
    "train": "learning",
    "validate": "checking itself",
    "heads": "learning the last layer",
    "judge": "adding up the tests",
    "package": "packing the model",
    "executors": "seeing what it may run with",
}
# Fits are nearly all of the work; adding up and packing take seconds.
_WEIGHT = {TaskKind.JUDGE: 0.04, TaskKind.PACKAGE: 0.04}


def task_share(task: TaskView) -> float:
    """How much of a task is done, 0…1."""
    if task.status is Status.DONE:
        return 1.0
    told = task.progress or {}
    if task.status is not Status.RUNNING or not told:
        return 0.0
    batches = max(1, int(told.get("batches") or 1))
    part = min(1.0, float(told.get("batch") or 0) / batches)
    epochs, epoch = int(told.get("epochs") or 0), int(told.get("epoch") or 0)
    phase = told.get("phase")
    if epochs and phase in {"train", "validate"}:
        # Validation is the short end of an epoch.
        within = 0.9 * part if phase == "train" else 0.9 + 0.1 * part
        return min(0.99, (max(0, epoch - 1) + within) / epochs)
    return {"features": 0.8 * part, "heads": 0.8 + 0.19 * part, "cache": 0.02 * part}.get(str(phase), 0.9 * part)


def job_share(job: Job) -> float:
    """How much of a job is done, 0…1."""
    if job.status is Status.DONE or not job.tasks:
        return 1.0 if job.status is Status.DONE else 0.0
    weights = [_WEIGHT.get(task.kind, 1.0) for task in job.tasks]
    done = sum(w * task_share(task) for w, task in zip(weights, job.tasks, strict=True))
    return min(0.99, done / sum(weights))


def job_line(job: Job) -> str:
    """What stands on the job's progress bar."""
    words = STATUS_WORDS[job.status]
    left = f" · {duration(job.eta_s)} left" if job.eta_s and not job.status.over else ""
    return f"{words[0].upper()}{words[1:]} · {100 * job_share(job):.0f} %{left}"


class TaskLine(NamedTuple):
    """One task's bar."""

    title: str
    share: float
    text: str
    begun: bool
    failed: bool


def task_title(task: TaskView, many_networks: bool) -> str:
    """A task in plain words."""
    kind = {
        TaskKind.FOLD: f"Round {(task.fold or 0) + 1}",
        TaskKind.FROZEN: "All rounds",
        TaskKind.REFIT: "Final model",
        TaskKind.JUDGE: "Result",
        TaskKind.PACKAGE: "Packing",
        TaskKind.EVALUATE: "Test",
    }[task.kind]
    return f"{NETWORKS[task.network].title}: {kind.lower()}" if many_networks else kind


def task_lines(job: Job) -> list[TaskLine]:
    """A bar for every task, in the order of the plan."""
    many = len(job.settings.networks) > 1
    return [
        TaskLine(
            title=task_title(task, many),
            share=task_share(task),
            text=_task_text(task),
            begun=task.status not in {Status.WAITING, Status.READY},
            failed=task.status is Status.FAILED,
        )
        for task in job.tasks
    ]


def _task_text(task: TaskView) -> str:
    if task.status is Status.FAILED:
        return task.error or "stopped by a problem"
    told = task.progress
    if task.status is not Status.RUNNING or not told:
        return STATUS_WORDS[task.status]
    text = _PHASES.get(str(told.get("phase")), "working")
    if told.get("epochs") and told.get("epoch"):
        text += f", epoch {told['epoch']} of {told['epochs']}"
    if told.get("images_per_s"):
        text += f", {float(told['images_per_s']):.0f} images a second"
    if task.attempt > 1:
        text += f" (try {task.attempt})"
    return text


class Curves(NamedTuple):
    """Rows for the plots: series (round), part (learning or checking), epoch, value."""

    loss: list[dict[str, Any]]
    accuracy: list[dict[str, Any]]


def curves(job: Job, events: Iterable[Progress]) -> Curves:
    """The learning curves from the epoch events of a job; a repeated epoch counts as its last telling."""
    many = len(job.settings.networks) > 1
    titles = {task.id: task_title(task, many) for task in job.tasks}
    rows: dict[tuple[str, int], EpochLog] = {}
    for event in events:
        if event.kind is ProgressKind.EPOCH and event.task_id in titles:
            log = EpochLog.model_validate(event.data)
            rows[titles[event.task_id], log.epoch] = log
    loss: list[dict[str, Any]] = []
    accuracy: list[dict[str, Any]] = []
    order = {title: number for number, title in enumerate(titles.values())}
    for (series, epoch), log in sorted(rows.items(), key=lambda item: (order[item[0][0]], item[0][1])):
        for part, of_loss, of_accuracy in (
            ("learning", log.train_loss, log.train_accuracy),
            ("checking", log.loss, log.accuracy),
        ):
            if of_loss is not None:
                loss.append({"series": series, "part": part, "epoch": epoch, "value": of_loss})
            if of_accuracy is not None:
                accuracy.append({"series": series, "part": part, "epoch": epoch, "value": of_accuracy})
    return Curves(loss, accuracy)


def no_curves_yet(job: Job) -> str:
    """Why there is nothing to plot yet."""
    if job.settings.mode == "frozen":
        return "A quick training has no learning curves: the last layer is worked out in one go."
    return "The learning curves appear after the first epoch."


def warnings(events: Iterable[Progress]) -> list[str]:
    """What the workers remarked, each once."""
    found = [str(e.data.get("message", "")) for e in events if e.kind is ProgressKind.WARNING]
    return list(dict.fromkeys(text for text in found if text))


def title(job: Job) -> str:
    """A job in one line."""
    networks = listed([NETWORKS[name].title for name in job.settings.networks])
    return f"{networks} on {job.dataset}{PUBLISHED if _by_paper(job) else ''}"


def _by_paper(job: Job) -> bool:
    return job.settings.protocol == "paper"


def curve_words(job: Job) -> str:
    """What the lines of the plots are of."""
    solid = (
        "on the held-out images, which also choose the epoch (published protocol), so that its best value looks "
        "better than new images will."
        if _by_paper(job)
        else "on images it only checks itself with."
    )
    return f"Dashed: on the images it learns from. Solid: {solid}"


def failure(job: Job) -> str:
    """Why a job stopped and what was kept."""
    many = len(job.settings.networks) > 1
    # A task's own words, under its plain title; the job's error names it by its key.
    reasons = [f"{task_title(task, many)}: {task.error}" for task in job.tasks if task.status is Status.FAILED]
    reason = (reasons[0] if reasons else job.error or "The reason was not recorded.").rstrip(". ") + "."
    kept = sum(task.status is Status.DONE for task in job.tasks)
    return f"{reason} {kept} of {len(job.tasks)} steps were finished. Your images and other models are untouched."
