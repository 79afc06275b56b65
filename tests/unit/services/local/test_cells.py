"""The drawn image set."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from services.local.demo.cells import KINDS, draw_set


def test_the_same_arguments_give_the_same_pixels(tmp_path: Path) -> None:
    for place in ("a", "b"):
        assert draw_set(tmp_path / place, patients=2, per_kind=2) == 16
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 16
    for file in files:
        assert np.array_equal(
            np.asarray(Image.open(tmp_path / "a" / file)), np.asarray(Image.open(tmp_path / "b" / file))
        )


def test_every_patient_has_every_kind_and_about_two_percent_are_wrong(tmp_path: Path) -> None:
    count = draw_set(tmp_path, patients=40, per_kind=5, side=16)
    with (tmp_path / "truth.csv").open() as handle:
        rows = list(csv.reader(handle))[1:]
    assert len(rows) == count == 40 * 5 * len(KINDS)
    wrong = sum(file.split("/")[0] != kind for file, kind in rows)
    assert 0.005 < wrong / count < 0.04
    kinds_of = {(file.split("/")[1][:3], kind) for file, kind in rows}
    assert len(kinds_of) == 40 * len(KINDS)
