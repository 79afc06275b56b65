"""Nothing rests on a listing of the store: where that is refused, imports and jobs are done, and only remains stay."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aimic.adapters.local_blobs import LocalBlobs
from aimic.errors import UnavailableError
from aimic.ports.blobs import BlobInfo


@pytest.fixture(autouse=True)
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes that were asked for in vain."""
    asked: list[str] = []

    def no_list(_: LocalBlobs, prefix: str) -> Iterator[BlobInfo]:
        asked.append(prefix)
        raise UnavailableError("The key may not list.")

    monkeypatch.setattr(LocalBlobs, "list", no_list)
    return asked


def test_an_import_is_done_without_listing(lab: Any, draw: Callable[..., bytes], refused: list[str]) -> None:
    files = {f"{kind}/{number}.png": draw(10 * place + number) for place, kind in enumerate("ab") for number in (1, 2)}
    state = lab.import_(files)
    assert (state.status, state.stored) == ("done", 4)
    for sample in lab.samples(state.version):
        assert lab.client.get(f"/api/v1/datasets/cells/samples/{sample['sha256']}/image").is_success
    assert {prefix.partition("/uploads/")[0] for prefix in refused} == {"local"}, "the upload's remains only"


def test_a_job_ends_in_a_model_without_listing(scene: Any, refused: list[str]) -> None:
    job = scene.start()
    scene.finish_all(job)
    assert scene.job(job["id"])["models"] == ["cells-resnet34:1"]
    bundle = scene.client.get("/api/v1/models/cells-resnet34/versions/1/bundle")
    assert bundle.content == scene.bundle(job)
    assert refused == []
