"""TorchServe's model archives, built of our bundles: a directory, as TorchServe reads it, with the bundle inside.

There is no pickle in it, and no code: the manifest names our handler, which every worker can import.
"""

import json
import os
import shutil
from pathlib import Path

from aimic.domain.base import canonical_json

HANDLER = "aimic.adapters.torchserve.handler"
BUNDLE = "bundle"
"""The bundle's directory within the archive."""
ASK = "x-aimic-ask"
"""A request with this header wants the model described, not images judged."""
PROMISED = "x-aimic-executor"
"""A request with images says here which executor its answer will name; a worker that runs another one refuses it."""
_MANIFEST = "MAR-INF/MANIFEST.json"
_VERSION = "1.0"
"""Of every model: another bundle has another name."""


def build(
    bundle: Path, bundle_hash: str, store: Path, threads: int, executor: str | None, name: str | None = None
) -> Path:
    """Build the archive `store/NAME` (by default its hash) of a bundle. Files are linked where the disk allows, else
    copied.

    It runs with so many threads and by this executor (None: the usual one). What is there already is built anew.
    OSError when the disk doesn't take it; nothing of it stays then.
    """
    name = name or bundle_hash
    archive = store / name
    remove(archive)
    work = store / f".{name}"
    remove(work)
    wishes: dict[str, object] = {"bundle": bundle_hash, "threads": threads, "executor": executor}
    try:
        for file in sorted(file for file in bundle.rglob("*") if file.is_file()):
            target = work / BUNDLE / file.relative_to(bundle)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(file, target)
        (work / _MANIFEST).parent.mkdir(parents=True)
        (work / _MANIFEST).write_bytes(canonical_json(_manifest(name, wishes)))
        work.rename(archive)
    except BaseException:
        remove(work)
        raise
    return archive


def promise(archive: Path, executor: str) -> None:
    """Every worker of this archive that starts from now on is to run this executor. OSError when the disk doesn't take
    it; the archive is as before then, or to be removed.
    """
    manifest = archive / _MANIFEST
    said = json.loads(manifest.read_bytes())
    said["aimic"]["executor"] = executor
    fresh = manifest.with_suffix(".new")
    fresh.write_bytes(canonical_json(said))
    fresh.replace(manifest)  # in one step: a worker may be reading it


def remove(archive: Path) -> None:
    """Remove an archive; what isn't there is removed already."""
    shutil.rmtree(archive, ignore_errors=True)


def _manifest(name: str, wishes: dict[str, object]) -> dict[str, object]:
    return {
        "createdOn": "",
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {"modelName": name, "modelVersion": _VERSION, "handler": HANDLER},
        "aimic": wishes,
    }


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
