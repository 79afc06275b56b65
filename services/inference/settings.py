"""Settings of the inference service. The environment is read here and nowhere else in the service."""

import re
import socket
from pathlib import Path

from pydantic import Field, field_validator

from aimic.settings import Settings as SharedSettings
from aimic.settings import available_cpus
from services.inference.cgroups import memory_limit

MIB = 1024 * 1024


class Settings(SharedSettings):
    """`AIMIC_INFERENCE_…` for what is ours, `AIMIC_…` for what all services share."""

    inference_port: int = 8001
    inference_grpc_port: int = 8002
    inference_grpc_host: str = ""
    """Where gRPC is answered, if not where REST is: REST has the front before it, gRPC has not."""
    inference_ops_port: int = 9001
    inference_replica: str = ""
    """Tells replicas apart: each must hear every change of what is to be served. Without it, machine (in a cluster:
    pod) and port do. It should stay over a restart, since the event log keeps a place for each name."""

    inference_image_bytes: int = Field(16 * MIB, gt=0)
    """Largest encoded image."""
    inference_request_bytes: int = Field(64 * MIB, gt=0)
    """Largest request, all its images together."""
    inference_request_images: int = Field(256, gt=0)
    """Most images of one request."""
    inference_body_bytes: int = Field(512 * MIB, gt=0)
    """Request bodies held in memory at once; beyond it new ones are turned away."""
    inference_s3_readable: dict[str, tuple[str, ...]] = {}
    """From where requests may name images in S3, by site: `{"local": ["bucket", "bucket/prefix/"]}`. Without it,
    nowhere."""
    inference_s3_url: str = ""
    """`s3+http(s)://host[:port][?region=…&style=…]`, the store of these buckets; without it AIMIC_BLOBS_URL's. It is
    asked with AIMIC_S3_ACCESS_KEY and AIMIC_S3_SECRET_KEY of this process."""
    inference_queue_images: int = Field(512, gt=0)
    """Images admitted and not yet answered; beyond it new requests are turned away."""
    inference_deadline_s: float = Field(30.0, gt=0)
    """Deadline of a request that names none."""
    inference_longest_deadline_s: float = Field(300.0, gt=0)

    inference_batch_images: int = Field(32, gt=0)
    inference_batch_window_s: float = Field(0.002, ge=0)
    """How long a batch waits for images that are being decoded; it never waits for ones that may not come."""
    inference_decoders: int = Field(default_factory=available_cpus, gt=0)
    """Processes that decode images."""
    inference_decode_s: float = Field(10.0, gt=0)
    """Longest that one image may take to decode."""

    inference_models: int = Field(8, gt=0)
    """Models in memory. Those that serve stay; of the others the least recently used goes."""
    inference_bundle_bytes: int = Field(4096 * MIB, gt=0)
    """Largest exported bundle that is downloaded."""
    inference_poll_s: float = Field(3.0, gt=0)
    """How often the registry is asked what to serve, if nothing wakes us before."""
    inference_longest_poll_s: float = Field(30.0, gt=0)
    """Up to this the pause doubles while the registry is away."""
    inference_stop_s: float = Field(5.0, gt=0)
    """How long requests that were taken may finish after we were asked to stop."""

    inference_probe_s: float = Field(10.0, gt=0)
    """A model that gave no sign of life for this long is asked for a picture with a known answer."""
    inference_probe_again_s: float = Field(1.0, gt=0)
    """How often, while it doesn't answer as it should."""
    inference_probe_timeout_s: float = Field(5.0, gt=0)
    """How long such an answer may take."""
    inference_probe_failures: int = Field(3, gt=0)
    """After so many failures in a row a model takes no requests until a probe passes."""

    @property
    def replica(self) -> str:
        """What no other replica is called."""
        return self.inference_replica or f"{socket.gethostname()}-{self.inference_port}"

    @property
    def grpc_host(self) -> str:
        """Where gRPC is answered."""
        return self.inference_grpc_host or self.host

    @property
    def bundles(self) -> Path:
        """Directory of verified bundles, one per hash."""
        return self.home / "bundles"

    inference_executor: str = "auto"
    """With what networks run: `auto` takes what was measured to be the quickest on this kind of machine, `eager` or a
    name such as `openvino-fp32-cpu` is used for all models whose bundles admit it, and nothing is measured."""
    inference_reduced_precision: str = ""
    """Hashes of the bundles, with commas between them, that a person has approved for bfloat16: those may run with it
    where they give the same labels. Nothing that holds for all models: each has to be approved by itself."""
    inference_measuring_s: float = Field(300.0, gt=0)
    """How long measuring one model may take; then eager torch serves it, and the next load tries again."""
    inference_models_bytes: int | None = Field(None, gt=0)
    """Memory for models, in bytes, by what each says that it takes. By default half of what this process may use: of
    the pod's limit, or of the machine's memory where there is none."""
    inference_disk_bytes: int = Field(16 * 1024 * MIB, gt=0)
    """Disk for bundles, one that is being fetched included. Beyond it those go that don't serve and are not in memory,
    the least recently used first."""

    inference_worker_s: float = Field(60.0, ge=1)
    """TorchServe only, as all that follow: how long one batch may take before its worker is ended and started again.
    A batch has 32 images at most, unless AIMIC_INFERENCE_BATCH_IMAGES says otherwise."""
    inference_worker_start_s: float = Field(120.0, ge=1)
    """How long TorchServe, and each worker with its model, may take to start."""
    inference_worker_deaths: int = Field(3, gt=0)
    """So many deaths of a model's workers, within the seconds that follow, and it gets no images for a while."""
    inference_worker_deaths_s: float = Field(120.0, gt=0)
    inference_worker_recover_s: float = Field(120.0, gt=0)
    """How long a model may be without a worker before it gets no images for a while."""
    inference_worker_fenced_s: float = Field(10.0, gt=0)
    """The first such while; each further one is twice as long, up to five minutes."""
    inference_token_minutes: float = Field(60.0, ge=1)
    """How long a token for TorchServe is good for. It is renewed at half of it."""

    @property
    def worker(self) -> dict[str, float]:
        """What the predictor is told of workers, by its own names."""
        names = ("worker_s", "worker_start_s", "worker_deaths", "worker_deaths_s", "worker_recover_s")
        told = {name: getattr(self, f"inference_{name}") for name in (*names, "worker_fenced_s", "token_minutes")}
        return {name if name == "worker_s" else name.removeprefix("worker_"): value for name, value in told.items()}

    @field_validator("inference_reduced_precision")
    @classmethod
    def _are_hashes(cls, value: str) -> str:
        if re.fullmatch(r"([0-9a-f]{64}(,[0-9a-f]{64})*)?", value) is None:
            raise ValueError("name the approved bundles by their hashes (64 digits and letters a-f), with commas")
        return value

    @property
    def reduced(self) -> frozenset[str]:
        """Hashes of the bundles that may run with bfloat16."""
        return frozenset(filter(None, self.inference_reduced_precision.split(",")))

    @property
    def models_bytes(self) -> int:
        """Memory for models, in bytes."""
        return self.inference_models_bytes or memory_limit() // 2
