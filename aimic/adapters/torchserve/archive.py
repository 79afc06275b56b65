"""TorchServe's model archives, built of our bundles: a directory, as TorchServe reads it, with the bundle inside.

There is no pickle in it, and no code: the manifest names our handler, which every worker can import.
"""

import os
import shutil
from pathlib import Path

from aimic.domain.base import canonical_json

HANDLER = "aimic.adapters.torchserve.handler"
BUNDLE = "bundle"
"""The bundle's directory within the archive."""
ASK = "x-aimic-ask"
"""A request with this header wants the model described, not images judged."""
_VERSION = "1.0"
"""Of every model: another bundle has another name."""


def build(bundle: Path, bundle_hash: str, store: Path, threads: int, executor: str | None) -> Path:
    """Build the archive `store/HASH` of a bundle directory. Files are linked where the disk allows, else copied.

    It runs with so many threads and by this executor (None: the usual one). What is there already is built anew.
    """
    archive = store / bundle_hash
    remove(archive)
    work = store / f".{bundle_hash}"
    remove(work)
    shutil.copytree(bundle, work / BUNDLE, copy_function=_link)
    (work / "MAR-INF").mkdir()
    (work / "MAR-INF/MANIFEST.json").write_bytes(canonical_json(_manifest(bundle_hash, threads, executor)))
    work.rename(archive)
    return archive


def remove(archive: Path) -> None:
    """Remove an archive; what isn't there is removed already."""
    shutil.rmtree(archive, ignore_errors=True)


def _manifest(bundle_hash: str, threads: int, executor: str | None) -> dict[str, object]:
    return {
        "createdOn": "",
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {"modelName": bundle_hash, "modelVersion": _VERSION, "handler": HANDLER},
        "aimic": {"threads": threads, "executor": executor},
    }


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
