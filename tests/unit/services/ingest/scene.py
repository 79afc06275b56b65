"""Ingest with data in it, as people and workers meet it: the object behind the fixture `scene`."""

import hashlib
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from aimic.domain.base import canonical_json
from aimic.domain.dataset import Manifest, Sample
from aimic.nets import bundle
from aimic.nets.info import BundleInfo, Head, Member, Temperature, WeightsCard
from aimic.nets.preprocessing import Preprocessing
from services.ingest.database import database_clock
from services.ingest.datasets import reading
from services.ingest.datasets.tables import (
    DatasetRow,
    ItemRow,
    NameRow,
    ObjectRow,
    SampleRow,
    ThumbRow,
    VersionRow,
)
from services.ingest.dependencies import Ingest
from services.ingest.tasks import presence


class MovableClock:
    """The database's clock, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self, session: Session) -> datetime:
        return database_clock(session) + timedelta(seconds=self.ahead_s)


class Scene:
    """Ingest with data in it, seen through its HTTP interface as people and workers do."""

    def __init__(self, parts: Ingest, client: TestClient, clock: MovableClock) -> None:
        self.parts, self.client, self.clock = parts, client, clock

    def seed(
        self,
        name: str = "cells",
        labels: Sequence[int] = (0, 1) * 6,
        first: int = 0,
        groups: Sequence[str] | None = None,
    ) -> Manifest:
        """A data set version as an import leaves it; image n's bytes are made from first + n."""
        site, store = "local", self.parts.blobs
        dense = {group: number for number, group in enumerate(dict.fromkeys(groups or ()))}
        shas = [hashlib.sha256(str(first + n).encode()).hexdigest() for n in range(len(labels))]
        samples = tuple(
            Sample(sha256=sha, label=label, size=2, group=dense[groups[n]] if groups else None)
            for n, (sha, label) in enumerate(zip(shas, labels, strict=True))
        )
        manifest = Manifest(classes=tuple(f"class{n}" for n in range(max(labels) + 1)), samples=samples)
        store.put(reading.manifest_key(site, manifest.hash), canonical_json(manifest.model_dump(mode="json")))
        analysis = reading.Analysis(
            clusters=tuple(range(len(shas))),
            phashes=tuple(hashlib.md5(sha.encode()).hexdigest()[:16] for sha in shas),
            pixels=tuple(hashlib.sha256(sha.encode()).hexdigest() for sha in shas),
            group_keys=tuple(groups or [None] * len(shas)),
            columns={},
        )
        key = reading.store_analysis(store, site, analysis)
        with self.parts.database.begin(site) as session:
            self._write(session, name, manifest, analysis, key)
        return manifest

    def _write(self, session: Session, name: str, manifest: Manifest, analysis: reading.Analysis, key: str) -> None:
        site, now, owner = "local", self.parts.database.now(session), "owner"
        session.add(DatasetRow(site=site, id=name, name=name, classes=[], created_by=owner, created_at=now))
        session.flush()
        for n, sample in enumerate(manifest.samples):
            sha = sample.sha256
            thumb = np.random.default_rng(int(sha[:8], 16)).integers(0, 256, 48 * 48 * 3, np.uint8).tobytes()
            if session.get(ObjectRow, (site, sha)) is None:
                session.add(ObjectRow(site=site, sha256=sha, size=2, refs=1))
                session.flush()
                session.add(
                    SampleRow(
                        site=site, sha256=sha, pixel_sha256=analysis.pixels[n], phash=analysis.phashes[n],
                        border=[0.0] * 6, width=48, height=48, bit_depth=8, media_type="image/png",
                        source_type="image/png", encoder="png", size=2, source_size=2,
                    )
                )  # fmt: skip
                session.flush()
                session.add(ThumbRow(site=site, sha256=sha, pixels=thumb))
                self.parts.blobs.put(reading.sample_key(site, sha, 0), b"im")
            session.merge(NameRow(site=site, key=f"key-{sha}", name=f"image-{sha[:6]}.png"))
            session.add(
                ItemRow(
                    site=site, dataset_id=name, received=sha, name_key=f"key-{sha}", sha256=sha,
                    label=manifest.classes[sample.label], group_key=analysis.group_keys[n], columns={},
                )
            )  # fmt: skip
        session.add(
            VersionRow(
                site=site, dataset_id=name, version=1, manifest_hash=manifest.hash, contents_hash=manifest.hash,
                analysis_key=key, classes=list(manifest.classes), counts=list(manifest.counts()), groups=None,
                findings=[], created_by=owner, created_at=now,
            )
        )  # fmt: skip

    def later(self, seconds: float) -> None:
        """Time passes while ingest is there; a leap of the clock means that it was away."""
        end = self.clock.ahead_s + seconds
        while self.clock.ahead_s < end:
            self.clock.ahead_s = min(end, self.clock.ahead_s + 4)
            presence.keep(self.parts)

    def start(self, **settings: Any) -> dict[str, Any]:
        """A job on `cells`: two folds from scratch unless told otherwise."""
        chosen = {"networks": ["resnet34"], "split": {"kind": "kfold", "k": 2}, **settings}
        answer = self.client.post("/api/v1/jobs", json={"dataset": "cells", "settings": chosen})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        return dict(self.client.get(f"/api/v1/jobs/{job_id}").json())

    def claim(self, worker: str = "w", **more: Any) -> dict[str, Any] | None:
        """What a worker is given."""
        answer = self.client.post("/api/v1/tasks/claim", json={"worker": worker, **more})
        assert answer.status_code in {200, 204}, answer.text
        return dict(answer.json()) if answer.status_code == 200 else None

    def tell(self, claim: dict[str, Any], verb: str, **body: Any) -> Any:
        """A worker's call about its task."""
        return self.client.post(
            f"/api/v1/tasks/{claim['task']['id']}/{verb}",
            json={"fence": claim["fence"], **body},
            headers={"X-Task-Token": claim["token"]},
        )

    def write(self, claim: dict[str, Any], step: int, **files: bytes) -> dict[str, str]:
        """Write objects where ingest says; their keys by name."""
        answer = self.tell(claim, "objects", step=step, names=list(files))
        assert answer.status_code == 200, answer.text
        slots = answer.json()["urls"]
        for name, data in files.items():
            path = Path(unquote(urlsplit(slots[name]["put"]).path))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return {name: slot["key"] for name, slot in slots.items()}

    def bundle(self, job: dict[str, Any], seed: int = 0) -> bytes:
        """A real exported bundle as the package task of this job would make it."""
        split = self.client.get(f"/api/v1/jobs/{job['id']}/split").json()
        with self.parts.database.read("local") as session:
            data = reading.load_version(session, self.parts.blobs, "local", job["dataset"])
        parent = job["settings"]["weights"].partition(":")[2]
        known = self.client.get(f"/api/v1/models/{parent}").json()["bundle_hash"] if parent else None
        return exported_bundle(data, split["folds"], job, seed, known)

    def finish_all(self, job: dict[str, Any], seed: int = 0) -> None:
        """Work until nothing is left to claim."""
        while (claim := self.claim()) is not None:
            if claim["task"]["kind"] == "package":
                objects = self.write(claim, 1, **{"bundle.aimic": self.bundle(job, seed)})
                answer = self.tell(claim, "finish", result={}, objects=objects)
            else:
                answer = self.tell(claim, "finish", result={"done": claim["task"]["key"]})
            assert answer.status_code == 204, answer.text


def exported_bundle(
    data: reading.VersionData, folds: Sequence[int], job: dict[str, Any], seed: int, parent: str | None = None
) -> bytes:
    """A tiny bundle with this membership, as one file."""
    side, classes = 8, data.manifest.classes
    info = BundleInfo(
        network=job["settings"]["networks"][0],
        classes=classes,
        preprocessing=Preprocessing(image_size=side, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        head=Head(layer="fc", features=2),
        manifest_hash=data.manifest_hash,
        membership=tuple(
            Member(sha256=sample.sha256, phash=data.phashes[n], fold=folds[n])
            for n, sample in enumerate(data.manifest.samples)
        ),
        split={},
        settings=job["settings"],
        metrics={"pooled": {"accuracy": 0.9}},
        class_mix=data.manifest.counts(),
        temperature=Temperature(),
        weights_card=WeightsCard(
            kind="bundle" if parent else "none", source="x", sha256=parent, licence="none", head_replaced=False
        ),
        libraries={},
    )
    weights = {"fc.weight": np.full((len(classes), 2), seed, np.float32)}
    with tempfile.TemporaryDirectory() as name:
        inputs = np.zeros((32, side, side, 3), np.uint8)
        bundle.write(Path(name) / "b", info, [weights], inputs, np.zeros((32, len(classes)), np.float32))
        bundle.export(Path(name) / "b", Path(name) / "file")
        return (Path(name) / "file").read_bytes()
