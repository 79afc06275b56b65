"""What a job's networks start from, resolved once and stored in the job."""

import re
from collections.abc import Sequence
from typing import Literal

from aimic.domain.base import Value
from aimic.domain.job import TrainSettings
from aimic.domain.site import Principal
from aimic.domain.split import LOCKED, Split
from aimic.errors import InvalidInputError, NotFoundError
from services.ingest.datasets.reading import VersionData
from services.ingest.dependencies import Ingest
from services.ingest.evaluations.knowledge import known, lineage
from services.ingest.models import repository as models
from services.ingest.models.tables import ModelVersionRow

_SHA256 = re.compile(r"[0-9a-f]{64}")


class JobWeights(Value):
    """`key` is the object that a trainer reads: a weights file, or an exported bundle."""

    kind: Literal["none", "imagenet", "file", "model"]
    name: str
    """For a person."""
    key: str | None = None
    sha256: str | None = None
    """Of the weights file; the bundle hash of a model."""


def file_key(site: str, sha256: str) -> str:
    """Where an uploaded weights file lies."""
    return f"{site}/weights/{sha256}"


def resolve(
    parts: Ingest, principal: Principal, settings: TrainSettings, data: VersionData, split: Split
) -> JobWeights:
    """Look up what is asked for; InvalidInputError or NotFoundError in words when it can't be had."""
    kind, _, rest = settings.weights.partition(":")
    if settings.weights == "none":
        return JobWeights(kind="none", name="random initialisation")
    if settings.weights == "imagenet":
        return JobWeights(kind="imagenet", name="ImageNet")
    if kind == "file" and _SHA256.fullmatch(rest):
        return _file(parts, principal, rest)
    if kind == "model" and rest:
        return _model(parts, principal, settings, rest, (data, split))
    raise InvalidInputError(
        f"Weights {settings.weights!r} are not known: write none, imagenet, file:<SHA-256 of an uploaded file> "
        "or model:<name>[:<version>]."
    )


def _file(parts: Ingest, principal: Principal, sha256: str) -> JobWeights:
    key = file_key(principal.site, sha256)
    if not parts.blobs.exists(key):
        raise NotFoundError(f"There is no weights file {sha256[:12]}… at this site. Upload it first.")
    return JobWeights(kind="file", name=f"file {sha256[:12]}…", key=key, sha256=sha256)


def _model(
    parts: Ingest, principal: Principal, settings: TrainSettings, text: str, case: tuple[VersionData, Split]
) -> JobWeights:
    name, _, number = text.partition(":")
    data, split = case
    with parts.database.read(principal.site) as session:
        if number and not number.isdecimal():
            raise InvalidInputError(f"{number!r} is no version of a model; write model:{name}:<number>.")
        found = (
            models.version(session, principal.site, name, int(number))
            if number
            else models.serving(session, principal.site, name)
        )
        if tuple(settings.networks) != (found.network,):
            raise InvalidInputError(
                f"{name} is a {found.network}, so only {found.network} can start from it, "
                f"not {', '.join(settings.networks)}."
            )
        judged = [index for index, fold in enumerate(split.folds) if fold >= 0 or fold == LOCKED]
        seen = known(parts, session, lineage(parts, session, found), data, judged)
    _refuse_seen(found, len(seen), judged)
    label = f"{found.name}:{found.version}"
    return JobWeights(kind="model", name=label, key=found.bundle_key, sha256=found.bundle_hash)


def _refuse_seen(model: ModelVersionRow, seen: int, judged: Sequence[int]) -> None:
    if seen:
        raise InvalidInputError(
            f"{model.name}:{model.version} learned from {seen} of the {len(judged)} images on which this job would "
            "be judged, now or by its locked test part (the same, copies of them, or the same patients), so its score "
            "would be too good to be true. Start from imagenet or none, or train on images that are new to the model."
        )
