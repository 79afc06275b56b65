"""The wire between ingest and the workers: what a claim holds, and what a worker reports back."""

from typing import Any, Literal

from pydantic import Field

from aimic.domain.base import Command, Value
from aimic.domain.dataset import Refusal
from aimic.domain.job import ProgressKind, TaskKind, TrainSettings
from aimic.domain.split import Split

MAX_ATTEMPTS = 3
"""Attempts without a new checkpoint before a task has failed."""
MAX_OBJECTS = 100
"""Objects one checkpoint or result may name."""
BUNDLE_OBJECT = "bundle.aimic"
"""Name of the object in which a `package` task leaves the exported bundle file."""

WEIGHTS_OBJECT = "weights.safetensors"
"""Name of the object in which a task leaves weights for the job's later tasks; it goes when the job is over."""

ObjectName = str
"""The short name of a result's file, such as `logits.npz`; [A-Za-z0-9._-], at most 100 characters."""


class TaskSpec(Value):
    """Which task it is."""

    id: str
    key: str
    """Unique in the job, such as `resnet34/fold/2`."""
    kind: TaskKind
    network: str
    fold: int | None = None


class TaskInput(Value):
    """What a task that this one waited for has left: its result, and an address to read each object."""

    result: dict[str, Any] = {}
    objects: dict[ObjectName, str] = {}


class CheckpointRef(Value):
    """The newest recorded checkpoint: its step, and an address to read each object."""

    step: int
    objects: dict[ObjectName, str]


class WeightsSource(Value):
    """What a network starts from. `url` and `sha256` are set for `file` (the weights file) and `model`
    (the exported bundle; `sha256` is then the bundle hash); `name` says it for a person."""

    kind: Literal["none", "imagenet", "file", "model"]
    url: str | None = None
    sha256: str | None = None
    name: str = ""


class EvaluateSpec(Value):
    """For a task of kind evaluate: the exported bundle to judge, on which samples, and what was left out."""

    bundle_url: str
    indices: tuple[int, ...]
    """Positions in the manifest, ascending."""
    left_out: tuple[Refusal, ...]


class Claim(Value):
    """A task given to a worker, with everything that it needs to do it.

    `clusters` and `phashes` have one entry per sample of the manifest, in its order, where the task needs them (judge
    and evaluate; package), and are empty elsewhere: of 100,000 samples they are some MiB. All addresses are good for
    hours, not for ever: claim again when one has expired.
    """

    task: TaskSpec
    site: str
    job_id: str
    token: str
    """Task token: `Authorization: Bearer` of every later call about this task."""
    fence: int
    """Goes up with every claim; a call with an older one is refused (code stale_fence)."""
    lease_s: float
    settings: TrainSettings
    serve: str
    """`refit` or `fold:N`."""
    split: Split
    manifest_hash: str
    classes: tuple[str, ...]
    """All classes of the manifest; `split.classes` says which take part."""
    clusters: tuple[int, ...]
    phashes: tuple[str, ...]
    inputs: dict[str, TaskInput]
    """By key of the task that was waited for."""
    checkpoint: CheckpointRef | None
    weights: WeightsSource
    evaluate: EvaluateSpec | None = None
    traceparent: str = ""
    """The trace in which the job was started (W3C Trace Context), if there is one."""


class TaskSample(Value):
    """One sample of the manifest as a task sees it. `url` is None where the task may not read the image
    (locked test part, samples set aside, samples not judged)."""

    index: int
    sha256: str
    label: int
    group: int | None = None
    url: str | None = None
    size: int = 0
    """Stored bytes, so that a worker knows what it takes into memory."""


class TaskSamples(Value):
    """Samples in manifest order; with `?after=INDEX&limit=N` a part of them. `next`: the `after` of the rest."""

    items: tuple[TaskSample, ...]
    next: int | None = None


class Renewal(Value):
    """The lease goes on for `lease_s`; with `cancel` the worker should stop and release the task."""

    lease_s: float
    cancel: bool
    token: str | None = None
    """A fresh task token, to use from now on (a token lives 24 hours)."""


class ObjectSlot(Value):
    """Where to write an object, and the key to report it under."""

    put: str
    key: str


class ObjectSlots(Value):
    """A slot per name asked for."""

    urls: dict[ObjectName, ObjectSlot]


class ClaimRequest(Command):
    """Ask for any task that fits."""

    worker: str = Field(min_length=1, max_length=200)
    kinds: tuple[TaskKind, ...] = Field(tuple(TaskKind), min_length=1, max_length=20)


class FencedRequest(Command):
    """Renew, or hand back."""

    fence: int = Field(ge=1)


class ProgressItem(Command):
    """One thing to tell."""

    kind: ProgressKind
    data: dict[str, Any]


class ProgressReport(FencedRequest):
    """Progress of a task, in order."""

    events: tuple[ProgressItem, ...] = Field(max_length=1000)


class ObjectsRequest(FencedRequest):
    """Ask for slots for a step's objects."""

    step: int = Field(ge=0)
    names: tuple[ObjectName, ...] = Field(min_length=1, max_length=MAX_OBJECTS)


class CheckpointReport(FencedRequest):
    """All objects of a checkpoint are written: make it the newest."""

    step: int = Field(ge=0)
    objects: dict[ObjectName, str] = Field(min_length=1, max_length=MAX_OBJECTS)


class FinishReport(FencedRequest):
    """The task is done. `package` names the exported bundle file as object BUNDLE_OBJECT; `evaluate` has
    `metrics` and `judged` in its result; other kinds put there what their successors want to read."""

    result: dict[str, Any] = {}
    objects: dict[ObjectName, str] = Field({}, max_length=MAX_OBJECTS)


class FailReport(FencedRequest):
    """The task could not be done. With `retry`, another attempt may be made."""

    reason: str = Field(min_length=1, max_length=2000)
    """Plain words for the person who started the job."""
    detail: str = Field("", max_length=20000)
    retry: bool = False
