"""Archives: the bundle's own bytes, a manifest, and nothing that could be run."""

import errno
import json
import os
from pathlib import Path

import pytest

from aimic.adapters.torchserve import archive

HASH = "ab" * 32


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = tmp_path / HASH
    (made / "weights").mkdir(parents=True)
    (made / "weights/0.safetensors").write_bytes(b"weights")
    (made / "bundle.json").write_bytes(b"{}")
    return made


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def _files(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_it_holds_the_bundle_and_names_our_handler(bundle: Path, store: Path) -> None:
    made = archive.build(bundle, HASH, store, 2, "torch-eager-fp32-cpu")
    assert made == store / HASH
    assert _files(made) == {"MAR-INF/MANIFEST.json", "bundle/bundle.json", "bundle/weights/0.safetensors"}
    manifest = json.loads((made / "MAR-INF/MANIFEST.json").read_bytes())
    assert manifest["model"] == {"modelName": HASH, "modelVersion": "1.0", "handler": archive.HANDLER}
    assert manifest["aimic"] == {"bundle": HASH, "threads": 2, "executor": "torch-eager-fp32-cpu"}


def test_what_it_promises_may_change(bundle: Path, store: Path) -> None:
    made = archive.build(bundle, HASH, store, 2, "openvino-fp32-cpu")
    before = json.loads((made / "MAR-INF/MANIFEST.json").read_bytes())
    archive.promise(made, "torch-eager-fp32-cpu")
    after = json.loads((made / "MAR-INF/MANIFEST.json").read_bytes())
    assert after == before | {"aimic": {"bundle": HASH, "threads": 2, "executor": "torch-eager-fp32-cpu"}}
    assert _files(made) == {"MAR-INF/MANIFEST.json", "bundle/bundle.json", "bundle/weights/0.safetensors"}


def test_weights_take_no_place_of_their_own(bundle: Path, store: Path) -> None:
    made = archive.build(bundle, HASH, store, 1, None)
    assert (made / "bundle/weights/0.safetensors").samefile(bundle / "weights/0.safetensors")


def test_another_disk_gets_a_copy(bundle: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def across(_source: str, _target: str) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    made = archive.build(bundle, HASH, store, 1, None)
    copy = made / "bundle/weights/0.safetensors"
    assert copy.read_bytes() == b"weights" and not copy.samefile(bundle / "weights/0.safetensors")


def test_a_full_disk_keeps_nothing_of_it(bundle: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: Path, target: Path) -> None:
        target.write_bytes(b"wei")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive, "_link", full)
    with pytest.raises(OSError, match="No space left") as raised:
        archive.build(bundle, HASH, store, 1, None)
    assert raised.value.errno == errno.ENOSPC
    assert list(store.iterdir()) == []


def test_it_is_built_anew_whatever_lies_there(bundle: Path, store: Path) -> None:
    for left in (store / HASH, store / f".{HASH}"):
        (left / "bundle").mkdir(parents=True)
        (left / "bundle/stale").write_text("")
    archive.build(bundle, HASH, store, 1, None)
    assert "bundle/stale" not in _files(store / HASH)
    assert {path.name for path in store.iterdir()} == {HASH}
    archive.remove(store / HASH)
    archive.remove(store / HASH)
    assert list(store.iterdir()) == []
    assert (bundle / "weights/0.safetensors").read_bytes() == b"weights"
