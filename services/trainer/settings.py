"""What a trainer can be told, and the environment its child gets. The environment is read here only."""

import os
import re
import socket

from pydantic import Field

import aimic.settings

ALL, NONE = "all", "none"
"""Executors that a trainer tries."""
_SECRET = re.compile(r"AIMIC_\w*(KEY|PASSWORD|SECRET)\w*")


class Settings(aimic.settings.Settings):
    """`AIMIC_TRAINER_…` variables beside those that all services share."""

    trainer_ops_port: int = Field(9003, ge=0, le=65535)
    trainer_poll_s: float | None = Field(None, gt=0)
    """Seconds between two questions for work while idle; None: 2 on one machine, 30 with a broker."""
    trainer_checkpoint_s: float = Field(30.0, gt=0)
    """Seconds of training that a crash may cost, at most (more for networks that are slow to write)."""
    trainer_epoch_checkpoint_s: float = Field(15.0, gt=0)
    """After an epoch, a checkpoint is written unless the last one is fresher than this."""
    trainer_grace_s: float | None = Field(None, gt=0)
    """Seconds between being asked to stop and the task being handed back, with a last checkpoint if there is time for
    one; None: 7 on one machine, 17 with a store that is elsewhere. The process ends at most 8 seconds later."""
    trainer_silence_s: float = Field(3600.0, gt=0)
    """Seconds without a word after which the process that trains is ended, and its task tried again from the last
    checkpoint. While it works it says something every few seconds; only downloading weights or a checkpoint, writing
    one and the work on a single batch are silent."""
    trainer_cache_gib: float = Field(50.0, ge=0)
    """GiB of prepared pixels and features that are kept; what was used within a day stays in any case."""
    trainer_executors: str = ALL
    """Executors that are compared with eager PyTorch when a model is packaged, and may serve it if they answer alike:
    `all` that this machine can run, `none`, or names with commas between them. It takes about a minute of computing."""
    trainer_executor_images: int = Field(512, ge=1)
    """Out-of-fold images, at most, on which they are compared: half of them those most easily decided otherwise."""
    trainer_until_idle: bool = False
    """End with 0 when there is nothing to do, for machines that are started per task."""
    trainer_name: str = Field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")

    @property
    def poll_s(self) -> float:
        """Seconds between two questions for work while idle."""
        if self.trainer_poll_s is not None:
            return self.trainer_poll_s
        return 2.0 if self.events_url.startswith("sqlite:") else 30.0

    @property
    def grace_s(self) -> float:
        """Seconds between being asked to stop and the task being handed back."""
        if self.trainer_grace_s is not None:
            return self.trainer_grace_s
        return 7.0 if self.blobs_url.startswith("file:") else 17.0

    @property
    def claim_key(self) -> str | None:
        """What we ask for tasks with: the platform's worker key, or else the installation's one key."""
        return self.secret("worker_key") or self.key()


def child_environment(threads: int) -> dict[str, str]:
    """The child's environment: ours, with the thread count of the job.

    Libraries read theirs when they are loaded, and sums depend on it in the last bits. cuBLAS needs a
    workspace of fixed size to give the same bits twice. Keys stay with us: the child needs none.
    """
    ours = {name: value for name, value in os.environ.items() if not _SECRET.fullmatch(name)}
    return ours | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # Threads that wait for one another sleep instead of spinning: with more work than cores, as when
        # one small machine runs everything, spinning makes training many times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        # The threads that read images share two heaps: one for each would keep its own peak for good.
        "MALLOC_ARENA_MAX": "2",
    }
