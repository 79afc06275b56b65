"""What the worker leaves on disk for its child: everything that a task needs, and no credential."""

from pathlib import Path

from aimic.domain.base import Value
from aimic.domain.work import Claim, TaskSample

SPEC = "spec.json"


class ChildSpec(Value):
    """`spec.json` in the child's directory. The claim's token is blanked: only the worker speaks to ingest."""

    claim: Claim
    samples: tuple[TaskSample, ...]
    """All samples of the manifest, in its order."""
    cache: Path
    """Directory of decoded pixels and features, shared by the tasks of this machine."""
    weights_dir: Path | None = None
    checkpoint_s: float = 30.0
    epoch_checkpoint_s: float = 5.0

    def write(self, directory: Path) -> None:
        """Leave the spec in `directory`."""
        safe = self.model_copy(update={"claim": self.claim.model_copy(update={"token": ""})})
        (directory / SPEC).write_text(safe.model_dump_json())

    @classmethod
    def read(cls, directory: Path) -> "ChildSpec":
        """The spec that the worker left."""
        return cls.model_validate_json((directory / SPEC).read_bytes())
