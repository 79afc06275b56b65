"""What the trainer measures, for Prometheus."""

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

IMAGES = Counter("aimic_trainer_images_total", "Images that training steps have seen", ["network"])
EPOCH_SECONDS = Histogram(
    "aimic_trainer_epoch_duration_seconds",
    "Seconds of training per epoch, without validation",
    ["network"],
    buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600),
)
UP = Gauge("aimic_trainer_server_up", "1 when the server answered the last question for work, else 0", ["server"])
TASKS = Counter("aimic_trainer_tasks_total", "Tasks by kind and how they ended here", ["kind", "ending"])


def observe_epoch(network: str, data: dict[str, Any]) -> None:
    """Count an EpochLog, as the child reported it."""
    seconds = float(data["seconds"])
    EPOCH_SECONDS.labels(network).observe(seconds)
    IMAGES.labels(network).inc(seconds * float(data["images_per_s"]))
