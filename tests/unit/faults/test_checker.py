"""The checker can fail: each planted violation is found, and a whole history has none."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.checker import check
from tests.faults.evidence import Evidence, ImportFound, JobFound, ModelFound, TaskFound, UploadFound
from tests.faults.told import Brought, Sent, Told, Trained

HASH = "a" * 64
Change = Callable[[Evidence], Evidence]


def _told() -> Told:
    return Told(
        sent=[Sent("up", b"bytes", acknowledged=5, imported_by="im"), Sent("part", b"bytes", acknowledged=3)],
        brought=[Brought("im", "cells", frozenset({"p1", "p2"}))],
        trained=[Trained("job", HASH)],
    )


def _task(key: str, epochs: int | None = None) -> TaskFound:
    told = tuple(range(1, epochs + 1)) if epochs else ()
    return TaskFound(key, "done", fence=2, begun=2, done=1, epochs=told, epochs_total=epochs)


JOB = JobFound(
    status="done",
    ends=("done",),
    sequence=9,
    published=9,
    sequences=(1, 2, 5, 9),
    heard=9,
    plan=frozenset({"n/fold/0", "n/package"}),
    tasks=(_task("n/fold/0", 2), _task("n/package")),
    judged=16,
    models=(ModelFound("m:1", HASH, HASH, 16),),
)
WHOLE = Evidence(
    uploads={"part": UploadFound(3, b"byt")},
    imports={"im": ImportFound("done", frozenset({"p1", "p2"}), ())},
    jobs={"job": JOB},
    strangers=(),
    missing=(),
    leases=(),
    outbox=0,
    dead=(),
    vanished=(),
)


def _job(**changes: object) -> Change:
    return lambda found: replace(found, jobs={"job": replace(JOB, **changes)})  # type: ignore[arg-type] # one field each


def _fold(**changes: object) -> Change:
    fold = replace(JOB.tasks[0], **changes)  # type: ignore[arg-type] # one field each
    return _job(tasks=(fold, JOB.tasks[1]))


def _model(**changes: object) -> Change:
    return _job(models=(replace(JOB.models[0], **changes),))  # type: ignore[arg-type] # one field each


def _imported(*, status: str = "done", pixels: str = "p1 p2", damaged: tuple[str, ...] = ()) -> Change:
    return lambda found: replace(found, imports={"im": ImportFound(status, frozenset(pixels.split()), damaged)})


def test_a_whole_history_breaks_nothing() -> None:
    assert check(_told(), WHOLE) == []


PLANTED: list[tuple[str, Change]] = [
    ("part is gone", lambda found: replace(found, uploads={})),
    ("3 bytes were acknowledged, 2", lambda found: replace(found, uploads={"part": UploadFound(2, b"by")})),
    ("aren't the bytes", lambda found: replace(found, uploads={"part": UploadFound(3, b"bxt")})),
    ("aren't the bytes", lambda found: replace(found, uploads={"part": UploadFound(3, None)})),
    ("import im was accepted and is gone", lambda found: replace(found, imports={})),
    ("upload up is gone", _imported(status="failed")),
    ("ended as running", _imported(status="running")),
    ("1 of 2 images are not in cells", _imported(pixels="p1")),
    ("1 images that nobody sent", _imported(pixels="p1 p2 p3")),
    ("image local/ab is away", _imported(damaged=("local/ab",))),
    ("job job was accepted and is gone", lambda found: replace(found, jobs={})),
    ("it is running", _job(status="running")),
    ("its ends told are ['done', 'done']", _job(ends=("done", "done"))),
    ("its ends told are ['failed', 'done']", _job(ends=("failed", "done"))),
    ("don't go up to 9", _job(sequences=(1, 2, 5))),
    ("don't go up to 9", _job(sequences=(1, 2, 2, 9))),
    ("told up to 8 of 9", _job(published=8)),
    ("event log told of progress up to 7", _job(heard=7)),
    ("has the tasks", _job(tasks=JOB.tasks[:1])),
    ("has the tasks", _job(tasks=(*JOB.tasks, JOB.tasks[0]))),
    ("that was told 2 times", _fold(done=2)),
    ("should be done once; it is ready", _fold(status="ready")),
    ("given out 2 times and said to have begun 1", _fold(begun=1)),
    ("of 2 epochs these were told: [1, 1, 2]", _fold(epochs=(1, 1, 2))),
    ("of 2 epochs these were told: [2]", _fold(epochs=(2,))),
    ("should have made 1 model versions, not 2", _job(models=JOB.models * 2)),
    ("doesn't open", _model(opened="a byte was changed")),
    ("undisturbed it is", _model(hash="b" * 64, opened="b" * 64)),
    ("24 images were counted in the folds, 16", _model(pooled=24)),
    ("job twice was started", lambda found: replace(found, strangers=("twice",))),
    ("object local/x is named", lambda found: replace(found, missing=("local/x",))),
    ("task n/fold/0 was left", lambda found: replace(found, leases=("task n/fold/0",))),
    ("2 messages were never published", lambda found: replace(found, outbox=2)),
    ("dead letter: nonsense", lambda found: replace(found, dead=("nonsense",))),
    ("put aside by nobody: planted", lambda found: replace(found, vanished=("planted",))),
]


@pytest.mark.parametrize(("words", "change"), PLANTED)
def test_a_planted_violation_is_found(words: str, change: Change) -> None:
    broken = check(_told(), change(WHOLE))
    assert any(words in line for line in broken), broken


def test_what_the_caller_saw_to_be_wrong_counts() -> None:
    told = _told()
    told.wrong.append("upload up: 5 bytes were safe, then 3")
    assert check(told, WHOLE) == told.wrong
