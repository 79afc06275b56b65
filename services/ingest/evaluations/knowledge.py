"""Which images of a data set a model could know: it, or a model that it started from, was trained on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from aimic.domain.dataset import Refusal
from aimic.domain.split import ALWAYS_TRAIN
from aimic.imaging.near import matches
from aimic.nets.bundle import BundleInfo
from services.ingest.datasets.reading import VersionData, load_version
from services.ingest.datasets.repository import thumbs_of
from services.ingest.datasets.tables import DatasetRow, VersionRow
from services.ingest.dependencies import Ingest
from services.ingest.models.bundles import read_info
from services.ingest.models.tables import ModelVersionRow

PHASH_BITS = 4
"""Perceptual hashes at most this far apart (of 64 bits) may be one picture. Too careful rather than too bold:
all that is known of a foreign model's images is this hash."""
_CHUNK = 4000

REASONS = {
    "same_image": "The model was trained on this very file.",
    "same_pixels": "The model was trained on an image with the same pixels.",
    "near_duplicate": "The model was trained on a copy of this picture (turned, mirrored, moved or re-encoded).",
    "same_group": "The model was trained on other images of the same patient or slide.",
    "unknown_class": "The model does not know this class.",
}


@dataclass(frozen=True)
class _Picture:
    pixel_sha256: str
    thumb: bytes


def refusal(sha256: str, code: str) -> Refusal:
    """One left-out image."""
    return Refusal(name=sha256, code=code, reason=REASONS[code])


def lineage(parts: Ingest, session: Session, model: ModelVersionRow) -> list[BundleInfo]:
    """The model's bundle, and those of the models that it started from, as far as this site has them."""
    infos, key, seen = [], model.bundle_key, {model.bundle_hash}
    while True:
        info = read_info(parts.blobs, key, parts.settings.home / "scratch")
        infos.append(info)
        card = info.weights_card
        if card.kind != "bundle" or card.sha256 is None or card.sha256 in seen:
            return infos
        seen.add(card.sha256)
        query = select(ModelVersionRow.bundle_key).where(
            ModelVersionRow.site == model.site, ModelVersionRow.bundle_hash == card.sha256
        )
        earlier = session.scalars(query.limit(1)).first()
        if earlier is None:
            return infos
        key = earlier


def trained_on(info: BundleInfo) -> dict[str, str]:
    """Perceptual hash by stored hash, of each image that shaped the weights which the bundle holds."""
    serve = str(info.settings.get("serve", "refit"))
    if info.settings.get("protocol") == "paper":
        serve = "refit"  # the held-out fold chose the epoch, so it shaped them too
    held_out = int(serve[5:]) if serve.startswith("fold:") else None
    return {
        member.sha256: member.phash
        for member in info.membership
        if (member.fold >= 0 or member.fold == ALWAYS_TRAIN) and member.fold != held_out
    }


def known(
    parts: Ingest, session: Session, infos: Sequence[BundleInfo], data: VersionData, candidates: Sequence[int]
) -> dict[int, str]:
    """The code of the first reason why each of the candidates (indices into `data`) is known to the models."""
    found: dict[int, str] = {}
    for info in infos:
        trained = trained_on(info)
        for index, code in _known_to_one(parts, session, info, trained, data, candidates):
            found.setdefault(index, code)
    return found


def _known_to_one(
    parts: Ingest,
    session: Session,
    info: BundleInfo,
    trained: dict[str, str],
    data: VersionData,
    candidates: Sequence[int],
) -> Iterator[tuple[int, str]]:
    samples = data.manifest.samples
    yield from ((index, "same_image") for index in candidates if samples[index].sha256 in trained)
    left = [index for index in candidates if samples[index].sha256 not in trained]
    source = _training_version(parts, session, data, info.manifest_hash)
    if source is None:
        yield from ((index, "near_duplicate") for index in _close_hashes(trained, data, left))
        return
    learned = [index for index, sample in enumerate(source.manifest.samples) if sample.sha256 in trained]
    pixels = {source.pixels[index] for index in learned}
    groups = {source.group_keys[index] for index in learned} - {None}
    same_pixels = {index for index in left if data.pixels[index] in pixels}
    yield from ((index, "same_pixels") for index in sorted(same_pixels))
    yield from ((index, "same_group") for index in left if data.group_keys[index] in groups)
    others = [index for index in left if index not in same_pixels and data.group_keys[index] not in groups]
    yield from ((index, "near_duplicate") for index in _copies(session, data, others, source, learned))


def _training_version(parts: Ingest, session: Session, data: VersionData, manifest_hash: str) -> VersionData | None:
    if data.manifest_hash == manifest_hash:
        return data
    site = session.info["site"]
    query = (
        select(DatasetRow.name, VersionRow.version)
        .join(DatasetRow, (DatasetRow.site == VersionRow.site) & (DatasetRow.id == VersionRow.dataset_id))
        .where(VersionRow.site == site, VersionRow.manifest_hash == manifest_hash)
    )
    row = session.execute(query.limit(1)).first()
    return load_version(session, parts.blobs, site, row.name, row.version) if row else None


def _close_hashes(trained: dict[str, str], data: VersionData, candidates: Sequence[int]) -> Iterator[int]:
    if not trained:
        return
    theirs = np.array([int(phash, 16) for phash in set(trained.values())], np.uint64)
    for index in candidates:
        distances = np.bitwise_count(theirs ^ np.uint64(int(data.phashes[index], 16)))
        if int(distances.min()) <= PHASH_BITS:
            yield index


def _copies(
    session: Session, data: VersionData, candidates: Sequence[int], source: VersionData, learned: Sequence[int]
) -> Iterator[int]:
    left = list(candidates)
    for start in range(0, len(learned), _CHUNK):
        seen = _pictures(session, source, learned[start : start + _CHUNK])
        copies: set[int] = set()
        for first in range(0, len(left), _CHUNK):
            part = left[first : first + _CHUNK]
            copies |= {part[pair.first] for pair in matches(_pictures(session, data, part), seen)}
        yield from sorted(copies)
        left = [index for index in left if index not in copies]


def _pictures(session: Session, data: VersionData, indices: Sequence[int]) -> list[_Picture]:
    names = [data.manifest.samples[index].sha256 for index in indices]
    thumbs = thumbs_of(session, session.info["site"], names)
    return [_Picture(data.pixels[index], thumb) for index, thumb in zip(indices, thumbs, strict=True)]
