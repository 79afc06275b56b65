"""Which executors may serve a model: those that answer as eager torch does on its job's out-of-fold images.

What is kept per executor goes up as a checkpoint, so that a trainer that takes over goes on with the next one.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from aimic.domain.base import Value
from aimic.domain.executor import Judgement, reduced
from aimic.domain.work import TaskInput
from aimic.nets.bundle import BundleInfo, verify
from aimic.nets.calibration import probabilities
from aimic.nets.executors import machine_class
from aimic.nets.executors.judging import REFERENCE, Word, present
from aimic.nets.executors.kinds import KINDS
from aimic.nets.executors.libraries import versions
from aimic.nets.package import libraries
from services.trainer import data, oof, transfer
from services.trainer.context import Context
from services.trainer.settings import ALL, NONE
from services.trainer.trying import EndedError, Trying

JOURNAL = "executors.json"
_TRIES = 2
"""Of an executor whose process ends under it: the machine may have been short of memory for a moment."""


class Judged(Value):
    """How far it came: one entry per executor that needs no further look."""

    made_with: dict[str, str] = {}
    """Versions of libraries and the class of machine that decide how executors answer."""
    judgements: tuple[Judgement, ...] = ()
    largest_differences: dict[str, float] = {}
    """Of a probability, by executor. Only the task's result keeps them: they vary with the machine."""
    left_out: dict[str, str] = {}
    """Executors that could not be tried, and why."""

    def over(self) -> set[str]:
        """Names of those that are done with."""
        return {each.executor for each in self.judgements} | set(self.left_out)

    def told(self, word: Word) -> "Judged":
        """With the last word of an executor."""
        if word.judgement is None:
            return self.without(word.executor, word.cause)
        kept = sorted((*self.judgements, word.judgement), key=lambda each: list(KINDS).index(each.executor))
        largest = {**self.largest_differences, word.executor: word.largest_difference}
        return self.model_copy(update={"judgements": tuple(kept), "largest_differences": largest})

    def without(self, name: str, cause: str) -> "Judged":
        """With one that is left out."""
        return self.model_copy(update={"left_out": {**self.left_out, name: cause}})


def judged(context: Context, judge: TaskInput, draft: Path) -> Judged:
    """Compare all executors that are asked for with eager torch, by the bundle in `draft`, on the images that the
    job's folds judged. Nothing where none is asked for, or the folds' answers were not kept.
    """
    names = _asked_for(context)
    if not names or oof.NAME not in judge.objects:
        return Judged()
    file = transfer.fetch(judge.objects[oof.NAME], context.directory / "judged" / oof.NAME, "the folds' judgements")
    info = verify(draft)
    indices = to_look_at(oof.OutOfFold.read(file), info, context.spec.executor_images)
    pixels = context.directory / "pixels.npy"
    _copy(data.pixels(context, indices, info.preprocessing), indices, pixels, context)
    found = _try_all(context, draft, pixels, names)
    for name, cause in found.left_out.items():
        if reduced(name):
            continue  # many a CPU can't, and nobody is served with less than float32 unasked; the result names it
        context.report.warning(f"The model won't run with {name}, which could not be tried here: {cause}")
    return found


def to_look_at(judged: oof.OutOfFold, info: BundleInfo, most: int) -> list[int]:
    """At most `most` positions in the manifest, ascending, the same for the same job: half of them those most easily
    decided otherwise, the rest spread evenly over the others."""
    chances = np.sort(probabilities(judged.logits, info.temperature), axis=1)
    best = chances[:, -1]
    doubt = best - chances[:, -2] if chances.shape[1] > 1 else best
    if info.thresholds:
        limits = np.array([info.thresholds.get(label, 0.0) for label in info.classes])
        doubt = np.minimum(doubt, np.abs(best - limits[judged.logits.argmax(axis=1)]))
    order = np.argsort(doubt, kind="stable")
    first = order[: min(len(order), most - most // 2)]
    others = np.sort(order[len(first) :])
    few = min(len(others), most - len(first))
    spread = others[np.arange(few) * len(others) // max(1, few)]
    return sorted(judged.indices[np.concatenate([first, spread])].tolist())


def _asked_for(context: Context) -> list[str]:
    wish = context.spec.executors
    if wish == NONE:
        return []
    here = present()
    if wish == ALL:
        return list(here)
    asked = [name.strip() for name in wish.split(",")]
    for name in asked:
        if name not in here and name != REFERENCE:
            context.report.warning(f"This trainer is to try the executor {name!r}, which its machine doesn't have.")
    return [name for name in here if name in asked]


def _copy(rows: NDArray[np.uint8], indices: Sequence[int], file: Path, context: Context) -> None:
    """Into a file of their own: the cache has those of the whole data set, and a form of its own."""
    copy = open_memmap(file, "w+", np.uint8, (len(indices), *rows.shape[1:]))
    for place, index in enumerate(indices):
        context.check_stop()
        copy[place] = rows[index]
    copy.flush()


def _try_all(context: Context, draft: Path, pixels: Path, names: Sequence[str]) -> Judged:
    found, kept = _earlier(context), context.claim.checkpoint
    steps = itertools.count(1 + (kept.step if kept else 0))  # also when it is begun anew: none goes back
    ends: dict[str, int] = {}
    while todo := [name for name in names if name not in found.over()]:
        at = REFERENCE
        try:
            for word in _words(context, draft, pixels, todo):
                at = word.executor
                if word.judgement is not None or word.cause:
                    found = found.told(word)
                    _keep(context, found, next(steps))
            lost, cause = todo, "its process ended without a word of it"
        except EndedError as error:
            ends[at] = ends.get(at, 0) + 1
            # Without the answers of eager torch there is nothing to compare with.
            lost, cause = todo if at == REFERENCE else [at], str(error)
            if ends[at] < _TRIES:
                continue
        for name in set(lost) - found.over():
            found = found.without(name, cause)
    return found


def _words(context: Context, draft: Path, pixels: Path, names: Sequence[str]) -> Iterator[Word]:
    with Trying(draft, pixels, names, context.claim.settings.threads or 1) as trying:
        for word in trying.words(context.check_stop):
            context.report.batch("executors", word.done, max(1, word.images), executor=word.executor)
            yield word


def _keep(context: Context, found: Judged, step: int) -> None:
    folder = context.directory / f"judged-{step}"
    folder.mkdir()
    file = folder / JOURNAL
    file.write_text(found.model_dump_json())
    context.report.checkpoint(step, {JOURNAL: file})


def _earlier(context: Context) -> Judged:
    """What a trainer before us found for this very model, if it did so with what we have: the bundle will name our
    libraries, and what they answer is not known from others."""
    kept, ours = context.claim.checkpoint, Judged(made_with=_made_with(context))
    if kept is None or JOURNAL not in kept.objects:
        return ours
    file = transfer.fetch(kept.objects[JOURNAL], context.directory / "earlier" / JOURNAL, "what was tried before")
    earlier = Judged.model_validate_json(file.read_bytes())
    return earlier if earlier.made_with == ours.made_with else ours


def _made_with(context: Context) -> dict[str, str]:
    return {**versions(), **libraries(), "machine": machine_class(context.claim.settings.threads or 1)}
