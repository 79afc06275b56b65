"""`aimic demo`: the platform, a drawn image set, one job from import to prediction, the result table."""

import logging
import time
from pathlib import Path

from rich.console import Group
from rich.text import Text

from aimic.client import Client
from aimic.domain.dataset import DatasetVersion, LabelRule
from aimic.domain.job import Job, JobRequest, Status, TrainSettings
from aimic.domain.split import SplitRequest
from aimic.errors import AimicError, ConflictError
from services.local.cli.models import metrics_words, reference
from services.local.cli.session import err, number, out, table
from services.local.cli.watch import watch
from services.local.demo.cells import HEADING, KINDS, draw_set
from services.local.platform import Platform
from services.local.settings import LocalSettings, Profile

DATASET = "drawn-cells"
# Small and from scratch, so that it ends within two minutes on two cores, and real all the same.
SETTINGS = TrainSettings(
    networks=("shufflenet_v2_x1_0",),
    split=SplitRequest(kind="kfold", k=3),
    epochs=18,
    lr=3e-3,
    batch_size=16,
    image_size=64,
    # Such small steps gain little from a second thread, and waiting for it hurts on a busy machine.
    threads=1,
)


def run_demo(home: Path, once: bool, profile: Profile = Profile.LOCAL) -> int:
    """Run it; 0 when the job was done and every answer came. With `once` everything is stopped afterwards."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # One that ends by itself serves a handful of images: to see what serves them quickest takes longer than that.
    settings = LocalSettings(home=home, profile=profile)
    if once:
        settings = settings.model_copy(update={"trainer_executors": "none"})
    started = time.monotonic()
    try:
        with Platform(settings) as platform:
            _carry_through(settings)
            out.print(f"\nDone in {time.monotonic() - started:.0f} s. Look at it: {settings.front_url}")
            if not once:
                out.print("The platform stays up until Ctrl-C.")
                return platform.process.wait()
    except KeyboardInterrupt:
        # Ctrl-C is how a person ends a demo that stays up; one that should end by itself was cut short.
        return 130 if once else 0
    except AimicError as error:
        err.print(Text.assemble(("Error: ", "red"), error.message))
        return 1
    return 0


def _carry_through(settings: LocalSettings) -> None:
    pictures = settings.home / DATASET
    count = draw_set(pictures)
    out.print(f"\n{HEADING}: {count} images of {len(KINDS)} kinds and 12 drawn patients in {pictures}")
    with Client(settings.front_url, settings.key()) as client:
        done = client.datasets.import_(pictures, DATASET, LabelRule(group_pattern=r"/(P\d+)_"))
        version = client.datasets.version(DATASET, done.version) if done.version else None
        if version is None:
            raise ConflictError(f"The import did not end well: {done.error}")
        _tell(version)
        job = client.jobs.create(JobRequest(dataset=DATASET, settings=SETTINGS))
        job = watch(client, job.id)
        if job.status is not Status.DONE:
            raise ConflictError(job.error or f"The job is {job.status}; see `aimic jobs show {job.id}`.")
        _show_results(client, job, pictures)


def _tell(version: DatasetVersion) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in zip(version.classes, version.counts, strict=True))
    out.print(f"Imported as {version.dataset} version {version.version}: {counts}; {version.groups} patients.")
    for finding in version.findings:
        out.print(f"  {finding.level.value}: {finding.message}")


def _show_results(client: Client, job: Job, pictures: Path) -> None:
    name, number_of_version = reference(job.models[0])
    model = client.models.show(name, number_of_version)
    out.print(Group(metrics_words(model)))
    files = [next(iter(sorted((pictures / kind).glob("*.png")))) for kind in KINDS]
    answers = client.predict(name, files, number_of_version)
    rows = []
    for file, result in zip(files, answers.results, strict=True):
        if result.answer is None:
            raise ConflictError(f"{file} was not answered: {result.error}")
        label = result.answer.label or "–"
        rows.append((f"{file.parent.name}/{file.name}", label, number(result.answer.probabilities.get(label), 3)))
    out.print(table(("image", "class", "probability"), rows, "\nAnswers of the served model"))
