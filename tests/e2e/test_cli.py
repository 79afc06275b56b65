"""A data scientist's day at the command line, each command as a process of its own, on a running platform."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic.client import Client
from services.local.demo.cells import KINDS, draw_set
from services.local.platform import Platform

pytestmark = pytest.mark.timeout(900)


class Shell:
    """Runs `aimic …` against the platform."""

    def __init__(self, platform: Platform) -> None:
        self._environment = {**os.environ, "AIMIC_HOME": str(platform.settings.home)}

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "services.local", *arguments],
            env=self._environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", status=status).stdout)


@pytest.fixture(scope="module")
def shell(platform: Platform) -> Shell:
    return Shell(platform)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("day") / "cells"
    # Its own seed: other tests bring drawn cells to the same platform, and what is known is not stored again.
    draw_set(place, patients=6, per_kind=3, side=32, seed=11)
    (place / "ring" / "broken [x].png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    return place


@pytest.fixture(scope="module")
def trained(shell: Shell, folder: Path) -> dict[str, Any]:
    """The finished job of `train --watch`, with its model."""
    shell.run("datasets", "import", str(folder), "--name", "day", "--group-pattern", r"/(P\d+)_")
    done: dict[str, Any] = shell.json(
        "train", "--dataset", "day", "--network", "shufflenet_v2_x1_0", "--folds", "2", "--epochs", "2",
        "--image-size", "32", "--batch-size", "16", "--lr", "0.005", "--watch",
    )  # fmt: skip
    return done


def test_import_tells_counts_and_refusals(shell: Shell, folder: Path) -> None:
    told = shell.run("datasets", "import", str(folder), "--name", "told", "--group-pattern", r"/(P\d+)_").stdout
    assert "72 stored" in told
    assert "broken [x].png" in told
    assert "6 patients or slides" in told
    again = shell.json("datasets", "import", str(folder), "--name", "told", "--group-pattern", r"/(P\d+)_")
    assert (again["import"]["stored"], again["import"]["known"], again["version"]["version"]) == (0, 72, 1)
    assert [item["name"] for item in again["refused"]] == ["ring/broken [x].png", "truth.csv"]


def test_labels_come_from_a_csv_or_a_pattern_too(shell: Shell, folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["file", "label", "patient"])
        for number, file in enumerate(sorted(folder.glob("r*/*_00[0-9].png"))):
            name = f"{file.parent.name}-{number}.png"
            (flat / name).write_bytes(file.read_bytes())
            rows.writerow([name, file.parent.name, file.name[:3]])
    by_csv = shell.json("datasets", "import", str(flat), "--name", "by-csv", "--labels", str(tmp_path / "labels.csv"))
    by_pattern = shell.json(
        "datasets", "import", str(flat), "--name", "by-re", "--label-pattern", r"(?P<label>[a-z]+)-"
    )
    assert by_csv["version"]["classes"] == by_pattern["version"]["classes"] == ["ring", "round"]
    assert by_csv["version"]["groups"] == 6
    assert by_pattern["version"]["groups"] is None


def test_datasets_are_listed_shown_and_exported(shell: Shell, trained: dict[str, Any], tmp_path: Path) -> None:
    assert "day" in shell.run("datasets", "list").stdout
    version = shell.json("datasets", "show", "day")["version"]
    assert sum(version["counts"]) == 72
    written = shell.json("datasets", "export", "day", "--to", str(tmp_path))["file"]
    with zipfile.ZipFile(written) as archive:
        names = archive.namelist()
    assert sum(name.endswith(".png") for name in names) == 72
    assert {name.split("/")[0] for name in names if "/" in name} == set(KINDS)


def test_a_job_is_listed_shown_and_can_be_cancelled(shell: Shell, trained: dict[str, Any]) -> None:
    job = trained["job"]
    assert job["status"] == "done"
    assert job["id"] in shell.run("jobs", "list").stdout
    assert "shufflenet_v2_x1_0/fold/1" in shell.run("jobs", "show", job["id"]).stdout
    assert "accuracy" in shell.run("jobs", "watch", job["id"]).stdout
    started = shell.json("train", "--dataset", "day", "--network", "vgg16", "--folds", "2", "--epochs", "50")
    assert shell.json("jobs", "cancel", started["id"])["status"] == "cancelled"
    # A job that did not end well ends the watch with a status that scripts can see.
    assert shell.json("jobs", "watch", started["id"], status=1)["job"]["status"] == "cancelled"


def test_a_model_is_shown_exported_imported_and_promoted(shell: Shell, trained: dict[str, Any], tmp_path: Path) -> None:
    model = shell.json("models", "show", "day-shufflenet_v2_x1_0")
    assert model["metrics"]["pooled"]["n"] == 72
    assert 0 <= model["metrics"]["pooled"]["accuracy"] <= 1
    assert model["metrics"]["protocol"] == "honest"
    exported = shell.json("models", "export", "day-shufflenet_v2_x1_0", "--to", str(tmp_path / "it.aimic"))
    imported = shell.json("models", "import", exported["file"], "--name", "carried")
    assert imported["bundle_hash"] == exported["bundle_hash"] == model["bundle_hash"]
    damaged = bytearray((tmp_path / "it.aimic").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.aimic").write_bytes(damaged)
    assert shell.json("models", "import", str(tmp_path / "damaged.aimic"), status=1)["error"]["code"] == "corrupt"
    assert shell.json("models", "promote", "carried:1")["stage"] == "serving"
    assert "carried:1" in shell.run("models", "list").stdout


def test_prediction_writes_a_csv_and_says_what_it_could_not_read(
    shell: Shell, trained: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.csv"
    shell.run("predict", "--model", "day-shufflenet_v2_x1_0", str(folder / "ring"), "--csv", str(answers))
    with answers.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(list((folder / "ring").iterdir()))
    broken = [row for row in rows if row["error"]]
    assert [Path(row["file"]).name for row in broken] == ["broken [x].png"]
    for row in rows:
        if not row["error"]:
            assert sum(float(row[f"p_{kind}"]) for kind in KINDS) == pytest.approx(1, abs=1e-5)
            assert row["label"] in KINDS


def test_samples_of_a_data_set_are_classified_by_their_names(
    platform: Platform, client: Client, trained: dict[str, Any]
) -> None:
    model = "day-shufflenet_v2_x1_0"
    names = [sample.sha256 for sample in client.datasets.some_samples("day", 1, "ring", 3)]
    url = f"{platform.settings.front_url}/inference/v1/models/{model}/predict"
    named = httpx.post(url, json={"dataset": "day", "samples": names}, timeout=60).raise_for_status().json()
    sent = client.predict(model, [(name, client.datasets.image("day", name)) for name in names])
    assert [result["name"] for result in named["results"]] == names
    for one, other in zip(named["results"], sent.results, strict=True):
        assert other.answer is not None
        assert one["answer"]["probabilities"] == pytest.approx(other.answer.probabilities, abs=1e-5)


def test_evaluation_leaves_out_what_the_model_could_know(shell: Shell, trained: dict[str, Any], tmp_path: Path) -> None:
    new = tmp_path / "new"
    draw_set(new, patients=3, per_kind=2, side=32, seed=99)
    shell.run("datasets", "import", str(new), "--name", "new")
    fresh = shell.json("evaluate", "--model", "day-shufflenet_v2_x1_0", "--dataset", "new")
    assert fresh["judged"] == 24
    assert fresh["metrics"]["pooled"]["n"] == 24
    refused = shell.run("evaluate", "--model", "day-shufflenet_v2_x1_0", "--dataset", "day", status=1)
    assert "trained" in refused.stderr


def test_doctor_finds_the_platform_well(shell: Shell) -> None:
    checks = {check["name"]: check["state"] for check in shell.json("doctor")}
    assert checks["platform"] == checks["ingest"] == checks["inference"] == checks["trainer"] == "ok"
