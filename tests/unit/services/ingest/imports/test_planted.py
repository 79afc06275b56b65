"""What is planted is found: copies of pictures, and borders that give the class away."""

import io
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from aimic.domain.units import units
from aimic.imaging.near import clusters
from services.ingest.datasets import versions
from services.ingest.datasets.reading import load_version


def _cell(seed: int, background: tuple[int, int, int] = (225, 210, 215)) -> Image.Image:
    """A drawn cell: a body and a lobed nucleus somewhere near the middle, slightly blurred and noisy."""
    draw = random.Random(seed)
    image = Image.new("RGB", (96, 96), background)
    pen = ImageDraw.Draw(image)
    x, y, r = draw.randrange(40, 56), draw.randrange(40, 56), draw.randrange(20, 30)
    pen.ellipse((x - r, y - r, x + r, y + r), fill=(190, 150, 190))
    for _ in range(draw.randrange(3, 7)):
        dx, dy, s = draw.randrange(-14, 14), draw.randrange(-14, 14), draw.randrange(4, 11)
        pen.ellipse((x + dx - s, y + dy - s, x + dx + s, y + dy + s), fill=(90, draw.randrange(30, 80), 140))
    for _ in range(6):
        dx, dy = draw.randrange(-45, 45), draw.randrange(-45, 45)
        pen.ellipse((48 + dx - 2, 48 + dy - 2, 48 + dx + 2, 48 + dy + 2), fill=(150, 60, 90))
    noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), float)
    noisy = noisy + np.random.default_rng(seed).normal(0, 4, noisy.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _file(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def test_a_flipped_and_encoded_copy_in_another_class_is_found(lab: Any) -> None:
    files = {f"{'ab'[n % 2]}/{n}.png": _file(_cell(n)) for n in range(12)}
    files["b/copy.jpg"] = _file(_cell(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=85)
    lab.import_(files)
    words = lab.findings()["near_duplicates_across_classes"]
    assert "0.png" in words
    assert "copy.jpg" in words
    assert words.startswith("1 pair")


def test_a_border_that_gives_the_class_away_is_warned_of_with_its_number(lab: Any) -> None:
    tints = {"a": (225, 210, 215), "b": (205, 215, 235)}
    lab.import_({f"{name}/{n}.png": _file(_cell(n + 50 * len(name), tints[name])) for name in tints for n in range(15)})
    words = lab.findings()["shortcut_border"]
    assert "100%" in words
    assert "chance is 50.0%" in words


def test_a_picture_under_two_patients_keeps_the_images_of_both_together(lab: Any) -> None:
    drawn = {"a/1_p1": 1, "a/1_p2": 1, "a/2_p1": 2, "b/3_p2": 3, "b/4_p3": 4, "a/5_p3": 5}
    lab.import_({f"{name}.png": _file(_cell(seed)) for name, seed in drawn.items()}, group_pattern=r"_(p\d)\.")
    with lab.parts.database.read("local") as session:
        data = load_version(session, lab.parts.blobs, "local", "cells")
    groups = [sample.group for sample in data.manifest.samples]
    names = [sample["name"] for sample in lab.samples()]
    found: dict[int, set[str]] = {}
    for name, unit in zip(names, units(groups, data.clusters).tolist(), strict=True):
        found.setdefault(unit, set()).add(name.rpartition("/")[2].partition("_")[0])
    assert sorted(found.values(), key=min) == [{"1", "2", "3"}, {"4", "5"}]
    assert "stay in one fold" in lab.findings()["copies_in_two_groups"]


def test_a_person_is_told_when_not_every_pair_was_compared(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{'ab'[n % 2]}/{n}.png": _file(_cell(n)) for n in range(6)}
    lab.import_(files, "compared")
    assert "copies_not_all_compared" not in lab.findings(dataset="compared")
    monkeypatch.setattr(versions, "clusters", lambda pictures: replace(clusters(pictures), complete=False))
    lab.import_(files, "given-up")
    assert "not every pair was compared" in lab.findings(dataset="given-up")["copies_not_all_compared"]
