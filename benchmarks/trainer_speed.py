"""Images per second of the trainer's loop, and of a bare PyTorch loop beside it.

    python -m benchmarks.trainer_speed --images ../shared/data/pbc --weights ../shared/weights

Trains MobileNet-v2 at 224 px for one epoch on a few hundred images of a folder of class folders, without ingest.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import torch

from aimic.domain.base import sha256_of
from aimic.domain.job import TaskKind, TrainSettings
from aimic.domain.split import ALWAYS_TRAIN, Split, SplitRequest
from aimic.domain.work import Claim, TaskSample, TaskSpec, WeightsSource
from benchmarks.bare import bare_loop
from services.trainer.context import Context
from services.trainer.network import build_net
from services.trainer.reports import Reporter
from services.trainer.spec import ChildSpec
from services.trainer.tasks import run_task


def claim_of(folder: Path, count: int, settings: TrainSettings) -> tuple[Claim, tuple[TaskSample, ...]]:
    """A hold-out task on every n-th image of the folder."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    files = files[:: max(1, len(files) // count)][:count]
    classes = tuple(sorted({path.parent.name for path in files}))
    samples = tuple(
        TaskSample(
            index=index,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            label=classes.index(path.parent.name),
            url=path.absolute().as_uri(),
        )
        for index, path in enumerate(files)
    )
    folds = tuple(0 if index % 5 == 4 else ALWAYS_TRAIN for index in range(len(files)))
    split = Split(
        request=SplitRequest(kind="holdout"),
        seed=0,
        k=1,
        folds=folds,
        inner=(tuple(index for index in range(len(files)) if index % 5 == 3)[::2],),
        classes=tuple(range(len(classes))),
    )
    claim = Claim(
        task=TaskSpec(id="bench", key="mobilenet_v2/fold/0", kind=TaskKind.FOLD, network="mobilenet_v2", fold=0),
        site="local",
        job_id="bench",
        token="",
        fence=1,
        lease_s=30,
        settings=settings,
        serve="fold:0",
        split=split,
        manifest_hash=sha256_of([sample.sha256 for sample in samples]),
        classes=classes,
        clusters=tuple(range(len(samples))),
        phashes=("",) * len(samples),
        inputs={},
        checkpoint=None,
        weights=WeightsSource(kind="imagenet", name="imagenet"),
    )
    return claim, samples


def bare(context: Context, images: int) -> float:
    """Images/s of a bare loop in float32."""
    net = build_net(context)
    bare_loop(net, context.claim.settings, context.claim.settings.batch_size or 16, 0, 1)
    return images / bare_loop(net, context.claim.settings, images, 0, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    wish = parser.parse_args()
    settings = TrainSettings(
        networks=("mobilenet_v2",),
        weights="imagenet",
        epochs=1,
        optimizer="adamw",
        lr=1e-3,
        schedule="onecycle",
        weight_decay=0.01,
        label_smoothing=0.05,
        batch_size=wish.batch_size,
        image_size=224,
        augment="flips_turns",
        threads=wish.threads,
        device="cpu",
    )
    torch.set_num_threads(wish.threads)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        claim, samples = claim_of(wish.images, wish.count, settings)
        spec = ChildSpec(claim=claim, samples=samples, cache=directory / "cache", weights_dir=wish.weights)
        context = Context(spec, directory, Reporter(sys.stderr))
        outcome = run_task(context)
        epoch = outcome.result["log"][0]
        print(f"loop {epoch['images_per_s']:.1f} images/s with {outcome.result['machine']['precision']}")
        print(f"bare {bare(context, 160):.1f} images/s with float32")


if __name__ == "__main__":
    main()
