"""What the worker leaves on disk for its child: everything that a task needs, and no credential."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import SkipValidation

from aimic.domain.base import Value
from aimic.domain.work import Claim, TaskSample
from services.trainer.samples import SampleFile

SPEC, SAMPLES = "spec.json", "samples.jsonl"


class ChildSpec(Value):
    """`spec.json` in the child's directory, beside it the samples. The claim's token is blanked: only the worker
    speaks to ingest."""

    claim: Claim
    request_id: str = ""
    """Under which the worker logs this task, and so its child."""
    samples: SkipValidation[Sequence[TaskSample]] = ()
    """All samples of the manifest, in its order."""
    cache: Path
    """Directory of decoded pixels and features, shared by the tasks of this machine."""
    weights_dir: Path | None = None
    checkpoint_s: float = 30.0
    epoch_checkpoint_s: float = 15.0
    executors: str = "none"
    """Which are compared with eager torch when a model is packaged; as in the trainer's settings."""
    executor_images: int = 512

    def write(self, directory: Path, samples: Iterable[TaskSample]) -> None:
        """Leave the spec and `samples`, which may come page by page, in `directory`."""
        SampleFile.write(directory / SAMPLES, samples)
        safe = self.model_copy(update={"claim": self.claim.model_copy(update={"token": ""})})
        (directory / SPEC).write_text(safe.model_dump_json(exclude={"samples"}))

    @classmethod
    def read(cls, directory: Path) -> "ChildSpec":
        """The spec that the worker left."""
        spec = cls.model_validate_json((directory / SPEC).read_bytes())
        return spec.model_copy(update={"samples": SampleFile(directory / SAMPLES)})
