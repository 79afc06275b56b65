"""Registered models: versions of a name, each an immutable bundle."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from aimic.domain.base import Value
from aimic.domain.dataset import Refusal
from aimic.domain.site import LOCAL_SITE


class Stage(StrEnum):
    """Where a version stands. Exactly one version of a name serves."""

    CANDIDATE = "candidate"
    SERVING = "serving"
    RETIRED = "retired"


class ModelVersion(Value):
    """One version; `metrics` is `bundle.json`'s metrics (see aimic/domain/metrics.py)."""

    name: str
    version: int
    bundle_hash: str
    network: str
    classes: tuple[str, ...]
    stage: Stage
    metrics: dict[str, Any]
    job_id: str | None
    dataset: str | None
    manifest_hash: str
    size: int
    """Bytes of the exported bundle file."""
    created_at: datetime


class ServingEntry(Value):
    """What the registry wants served; inference reconciles with a list of these."""

    site: str = LOCAL_SITE
    name: str
    version: int
    bundle_hash: str
    stage: Stage
    bundle_url: str
    """Path below ingest's address from which the exported bundle is read."""


class Evaluation(Value):
    """A model judged on a data set, without any image it could know."""

    id: str
    model: str
    version: int
    dataset: str
    dataset_version: int
    status: str
    judged: int
    left_out: tuple[Refusal, ...]
    """Images the model trained on (code same_pixels, near_duplicate, same_group, same_image) or
    whose class it doesn't know (unknown_class)."""
    opening: int | None = None
    """Which opening of a locked test part this was, counted from 1; None when no locked image is judged."""
    metrics: dict[str, Any] | None = None
    error: str | None = None
    created_at: datetime
